package genai

import (
	"strings"
	"time"

	"github.com/claudeaudit/claudeaudit/internal/conversation"
	"github.com/claudeaudit/claudeaudit/internal/jcs"
)

// logfire reads a call span of Logfire. A streamed call makes two: one around the
// request, and one of no length, at the end of the stream, with the rest.
func (r *reader) logfire() {
	it, c := r.it, &r.it.Content
	request, _ := r.a.json(keyRequestData, r.mem)
	response, _ := r.a.json(keyResponseData, r.mem)
	// The request as it was sent is better than the messages made of it, in which
	// the blocks of a tool result run together; unless the scrubber was there.
	if isRequest(request) && !strings.Contains(r.a.text(keyRequestData), scrubbed) {
		c.System, c.Messages = r.request(request)
		c.Output = r.outputMessages(r.content(keyOutputMessages, &r.answer), keyOutputMessages)
	} else {
		r.semconv()
	}
	if len(c.Output) == 0 && response.Kind() == jcs.KindObject {
		c.Output = r.logfireResponse(response)
	}
	if it.PromptTokens == nil || it.CompletionTokens == nil {
		r.openInferenceUsage(response.Get("usage"))
	}
	seconds, timed := r.a.float(keyDuration)
	switch {
	case r.a.text(keyLogfireSpanType) == "log" || timed:
		it.Half = "response"
		if timed && seconds >= 0 && seconds < maxSeconds {
			ms := seconds * 1000
			it.LatencyMs = &ms
			it.Start = it.End.Add(-time.Duration(seconds * float64(time.Second)))
		}
	case !it.Failed && r.answer.empty() && it.CompletionTokens == nil && it.ResponseID == "":
		it.Half = "request"
		it.LatencyMs = nil
	}
}

// scrubbed is what Logfire puts in place of texts that look like secrets.
const scrubbed = "[Scrubbed due to "

// maxSeconds bounds a duration, so that a time before it can be told.
const maxSeconds = 1 << 30

// logfireResponse reads response_data: the message as of chat completions, or the
// text of a stream put together.
func (r *reader) logfireResponse(v jcs.Value) []conversation.Message {
	m := r.messages(&r.answer)
	if msg := v.Get("message"); msg.Kind() == jcs.KindObject {
		out, ok := m.message(msg)
		if !ok {
			return nil
		}
		for i := range out.Parts {
			// The arguments are the dump of the block's input member.
			p := &out.Parts[i]
			if p.Type != conversation.PartToolCall {
				continue
			}
			if args, reason := parse(p.Value.Str(), r.mem); reason == "" && args.Len() == 1 && args.Get("input").Kind() == jcs.KindObject {
				p.Value = args.Get("input")
			}
		}
		// Of several texts it has the last only.
		r.answer.as = ContentTextOnly
		return []conversation.Message{out}
	}
	if s := v.Get("combined_chunk_content").Str(); strings.TrimSpace(s) != "" {
		r.answer.as = ContentTextOnly
		return r.plainText(s, conversation.RoleAssistant, &r.answer)
	}
	return nil
}
