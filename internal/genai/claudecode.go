package genai

import (
	"strings"
	"time"

	"github.com/claudeaudit/claudeaudit/internal/anthropic"
	"github.com/claudeaudit/claudeaudit/internal/conversation"
)

// claudeCodeKind says what an event of Claude Code is, by its full name.
func claudeCodeKind(event string) Kind {
	switch strings.TrimPrefix(event, claudeCodePrefix) {
	case "api_request", "api_error":
		return KindCall
	case "user_prompt", "assistant_response", "api_refusal", "api_request_body", "api_response_body":
		return KindPart
	}
	return KindContext
}

// claudeCodeEvent reads a log event of Claude Code. The time of an event is the
// end of its call; the start is that less the duration.
func (r *reader) claudeCodeEvent() {
	it := r.it
	if t, err := time.Parse(time.RFC3339Nano, r.a.text(keyEventTimestamp)); err == nil && it.End.IsZero() {
		it.End = t
	}
	if n, ok := r.a.float(keyEventSequence); ok && n >= 0 && n < 1<<53 {
		it.Sequence = int64(n)
	}
	it.PromptID = r.a.text(keyPromptID)
	if it.Kind == KindContext {
		return
	}
	it.RequestModel = r.a.text(keyModel)
	it.RequestID = r.a.text(keyRequestID)
	switch strings.TrimPrefix(it.EventName, claudeCodePrefix) {
	case "api_request":
		r.claudeCodeTokens()
		r.claudeCodeDuration()
		r.it.setStopReason(r.a.text(keyStopReason))
	case "api_error":
		r.claudeCodeDuration()
		it.Failed = true
		it.ErrorType = r.a.text(keyStatusCode)
		if v, ok := r.a.all.Get("error"); ok {
			r.quote(valueText(v))
		}
	case "api_refusal":
		r.it.setStopReason("refusal")
	case "user_prompt":
		r.claudeCodePrompt(keyCCPrompt)
	case "assistant_response":
		if s := r.a.text(keyCCResponse); s != "" && !isPlaceholder(s) {
			it.Content.Output = r.plainText(s, conversation.RoleAssistant, &r.answer)
			r.answer.as = ContentTextOnly
		}
	case "api_request_body":
		r.claudeCodeRequestBody()
	case "api_response_body":
		r.claudeCodeResponseBody()
	}
}

// claudeCodePrompt takes what the user typed, which is not the prompt that was sent.
func (r *reader) claudeCodePrompt(k key) {
	if s := r.a.text(k); s != "" && !isPlaceholder(s) {
		r.it.Content.Messages = r.plainText(s, conversation.RoleUser, &r.prompt)
		r.prompt.as = ContentUserPromptOnly
	}
}

// claudeCodeTokens counts all input tokens: Claude Code's own input_tokens leave
// out the cached ones.
func (r *reader) claudeCodeTokens() {
	it := r.it
	it.CompletionTokens = r.a.count(keyCCOutputTokens)
	it.CacheReadTokens = r.a.count(keyCCCacheRead)
	it.CacheWriteTokens = r.a.count(keyCCCacheCreation)
	if in := r.a.count(keyCCInputTokens); in != nil {
		sum := *in
		for _, n := range []*int64{it.CacheReadTokens, it.CacheWriteTokens} {
			if n != nil {
				sum += *n
			}
		}
		it.PromptTokens = &sum
	}
}

func (r *reader) claudeCodeDuration() {
	ms, ok := r.a.float(keyDurationMs)
	if !ok || ms < 0 || ms > maxSeconds*1000 {
		return
	}
	r.it.LatencyMs = &ms
	if !r.it.End.IsZero() {
		r.it.Start = r.it.End.Add(-time.Duration(ms * float64(time.Millisecond)))
	}
}

// claudeCodeRequestBody reads the whole request. One that was cut is no JSON any
// more, and nothing of it is taken.
func (r *reader) claudeCodeRequestBody() {
	if !r.a.has(keyCCBody) {
		return
	}
	if r.a.yes(keyCCBodyTruncated) {
		r.prompt.truncated = true
		return
	}
	v := r.content(keyCCBody, &r.prompt)
	if !isRequest(v) {
		if len(r.it.Unparsed) == 0 && v.Len() > 0 {
			r.wrongShape(keyCCBody, &r.prompt)
		}
		return
	}
	r.it.Content.System, r.it.Content.Messages = r.request(v)
}

func (r *reader) claudeCodeResponseBody() {
	if !r.a.has(keyCCBody) {
		return
	}
	if r.a.yes(keyCCBodyTruncated) {
		r.answer.truncated = true
		return
	}
	v := r.content(keyCCBody, &r.answer)
	if !isResponse(v) {
		if len(r.it.Unparsed) == 0 && v.Len() > 0 {
			r.wrongShape(keyCCBody, &r.answer)
		}
		return
	}
	out, info := anthropic.ReadResponse(v)
	r.it.Content.Output = out
	r.answer.told += len(out)
	r.responseID(info.ID)
	r.it.setStopReason(info.StopReason)
	r.it.ResponseModel = info.Model
	u := apiUsage(v.Get("usage"))
	r.it.PromptTokens, r.it.CompletionTokens = u.prompt, u.output
	r.it.CacheReadTokens, r.it.CacheWriteTokens = u.cacheRead, u.cacheWrite
}

// claudeCodeSpan reads claude_code.llm_request.
func (r *reader) claudeCodeSpan() {
	it := r.it
	if it.RequestModel == "" {
		it.RequestModel = r.a.text(keyModel)
	}
	if id := r.a.text(keyRequestID); id != "" {
		it.RequestID = id
	}
	it.ResponseID = "" // gen_ai.response.id is the request id
	r.claudeCodeTokens()
	r.it.setStopReason(r.a.text(keyStopReason))
	if it.Failed {
		it.ErrorType = r.a.text(keyStatusCode)
		if v, ok := r.a.all.Get("error"); ok {
			r.quote(valueText(v))
		}
	}
}

// claudeCodeInteraction takes what the user typed from the span around the calls
// that answer it.
func (r *reader) claudeCodeInteraction() {
	if r.a.text(keySpanType) == "interaction" {
		r.claudeCodePrompt(keyCCUserPrompt)
	}
}
