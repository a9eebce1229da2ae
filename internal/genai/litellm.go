package genai

import (
	"strings"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/claudeaudit/claudeaudit/internal/anthropic"
	"github.com/claudeaudit/claudeaudit/internal/conversation"
	"github.com/claudeaudit/claudeaudit/internal/jcs"
)

// liteLLM reads LiteLLM's request span, or its child with the request and
// response as they went over the wire.
func (r *reader) liteLLM(span ptrace.Span) {
	if span.Name() == liteLLMRawRequest {
		r.liteLLMRaw()
		return
	}
	r.semconv()
	c := &r.it.Content
	// Tool calls are missing from the output message; of one of them the name and
	// the arguments are told, without the id.
	if name := r.a.text(keyFunctionCallName); name != "" && !hasToolCall(c.Output) {
		m := r.messages(&r.answer)
		call := jcs.Object([]jcs.Member{
			{Key: "arguments", Value: jcs.String(r.a.text(keyFunctionCallArguments))},
			{Key: "name", Value: jcs.String(name)},
		})
		if len(c.Output) == 0 {
			c.Output = []conversation.Message{{Role: conversation.RoleAssistant}}
		}
		last := &c.Output[len(c.Output)-1]
		last.Parts = m.toolCall(last.Parts, call)
		r.answer.partial = true
	}
	if r.it.CacheReadTokens == nil && r.it.CacheWriteTokens == nil {
		u := r.liteLLMUsage(r.a.text(keyLiteLLMUsage))
		r.it.CacheReadTokens, r.it.CacheWriteTokens = u.cacheRead, u.cacheWrite
		if r.it.PromptTokens == nil {
			r.it.PromptTokens, r.it.CompletionTokens = u.prompt, u.output
		}
	}
	r.liteLLMUser(r.a.text(keyLiteLLMUserMetadata))
}

func hasToolCall(messages []conversation.Message) bool {
	for _, m := range messages {
		for _, p := range m.Parts {
			if p.Type == conversation.PartToolCall {
				return true
			}
		}
	}
	return false
}

// liteLLMUsage reads metadata.usage_object, the repr of a Python object. Its
// prompt tokens include the cached ones.
func (r *reader) liteLLMUsage(s string) usage {
	v, ok := python(s, r.mem)
	if !ok {
		return usage{}
	}
	u := usage{
		prompt:     jsonCount(v.Get("prompt_tokens")),
		output:     jsonCount(v.Get("completion_tokens")),
		cacheRead:  jsonCount(v.Get("cache_read_input_tokens")),
		cacheWrite: jsonCount(v.Get("cache_creation_input_tokens")),
	}
	if u.cacheRead == nil {
		u.cacheRead = jsonCount(v.Get("prompt_tokens_details").Get("cached_tokens"))
	}
	return u
}

func (r *reader) liteLLMUser(metadata string) {
	if metadata == "" || r.it.Who.UserRank != 0 {
		return
	}
	if v, ok := python(metadata, r.mem); ok {
		r.it.Who.user(v.Get("user_id").Str(), rankOpaque)
	}
}

// liteLLMRaw reads raw_gen_ai_request: llm.PROVIDER.NAME for every member of the
// request and of the response, lists and objects as Python's repr. It tells of
// the call of its parent.
func (r *reader) liteLLMRaw() {
	it := r.it
	it.OfParent = true
	it.LatencyMs = nil
	var request, response []jcs.Member
	for name, v := range r.a.all.All() {
		rest, ok := strings.CutPrefix(name, "llm.")
		if !ok {
			continue
		}
		_, member, ok := strings.Cut(rest, ".")
		if !ok {
			continue
		}
		switch member {
		case "messages", "system":
			request = append(request, jcs.Member{Key: member, Value: r.pythonAttribute(name, v, &r.prompt)})
		case "content":
			response = append(response, jcs.Member{Key: member, Value: r.pythonAttribute(name, v, &r.answer)})
		case "role", "stop_reason", "type":
			response = append(response, jcs.Member{Key: member, Value: jcs.String(valueText(v))})
		case "id":
			r.responseID(valueText(v))
		case "model":
			if it.ResponseModel == "" {
				it.ResponseModel = valueText(v)
			}
		case "usage":
			if u, ok := python(valueText(v), r.mem); ok {
				api := apiUsage(u)
				it.PromptTokens, it.CompletionTokens = api.prompt, api.output
				it.CacheReadTokens, it.CacheWriteTokens = api.cacheRead, api.cacheWrite
			}
		case "metadata":
			r.liteLLMUser(valueText(v))
		}
	}
	c := &it.Content
	if req := jcs.Object(request); req.Get("messages").Kind() == jcs.KindArray {
		c.System, c.Messages = r.request(req)
	}
	res := jcs.Object(response)
	r.it.setStopReason(res.Get("stop_reason").Str())
	if res.Get("content").Kind() == jcs.KindArray {
		c.Output, _ = anthropic.ReadResponse(res)
		r.answer.told += len(c.Output)
	}
}

// pythonAttribute reads an attribute that is the repr of a list, or plain text.
func (r *reader) pythonAttribute(name string, v pcommon.Value, s *side) jcs.Value {
	text := valueText(v)
	if v.Type() != pcommonStr {
		out, reason := valueJSON(v, r.mem)
		if reason != "" {
			r.unparsed(name, v, reason, s)
		}
		return out
	}
	if !strings.HasPrefix(text, "[") && !strings.HasPrefix(text, "{") {
		if isPlaceholder(text) {
			return jcs.Value{}
		}
		return jcs.String(text)
	}
	if out, ok := python(text, r.mem); ok {
		return out
	}
	r.unparsed(name, v, reasonInvalidJSON, s)
	return jcs.Value{}
}
