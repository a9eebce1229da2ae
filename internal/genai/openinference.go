package genai

import (
	"strings"

	"github.com/claudeaudit/claudeaudit/internal/anthropic"
	"github.com/claudeaudit/claudeaudit/internal/conversation"
	"github.com/claudeaudit/claudeaudit/internal/jcs"
)

// openInference reads an LLM span of OpenInference. The request and the response
// are told twice: as JSON in input.value and output.value, whole where they are
// those of the API, and as indexed attributes, which may lack the system prompt.
func (r *reader) openInference() {
	c := &r.it.Content
	request, reqWhole := r.openInferenceJSON(keyInputValue, keyInputMime, &r.prompt)
	response, _ := r.openInferenceJSON(keyOutputValue, keyOutputMime, &r.answer)
	r.openInferenceUser(request)

	switch {
	case reqWhole && isRequest(request):
		c.System, c.Messages = r.request(request)
	case r.a.indexed.input:
		c.Messages = r.indexed("llm.input_messages.", &r.prompt, openInferenceField)
		r.prompt.cutShort()
		if !systemIn(c.Messages) && r.prompt.told > 0 {
			// The JS instrumentation leaves it out of the messages.
			if params, _ := r.a.json(keyInvocationParameters, r.mem); params.Get("system").Kind() != jcs.KindInvalid {
				m := r.messages(&r.prompt)
				c.System = m.content(nil, params.Get("system"))
			}
		}
	case request.Kind() == jcs.KindArray || request.Get("messages").Kind() == jcs.KindArray:
		if request.Kind() == jcs.KindObject {
			request = request.Get("messages")
		}
		c.Messages = r.promptMessages(request, keyInputValue)
		// The system prompt of Converse is no message.
		r.prompt.partial = !systemIn(c.Messages)
	case request.Kind() == jcs.KindInvalid && !r.prompt.unparsed:
		if s := r.a.text(keyInputValue); s != "" && !isPlaceholder(s) {
			c.Messages = r.plainText(s, conversation.RoleUser, &r.prompt)
			r.prompt.partial = true
		}
	}

	switch {
	case isResponse(response):
		out, info := anthropic.ReadResponse(response)
		c.Output = out
		r.answer.told += len(out)
		r.responseID(info.ID)
		r.it.setStopReason(info.StopReason)
		r.openInferenceUsage(response.Get("usage"))
	case r.a.indexed.output:
		c.Output = r.indexed("llm.output_messages.", &r.answer, openInferenceField)
		r.answer.cutShort()
	case response.Get("choices").Kind() == jcs.KindArray:
		c.Output = r.choices(response)
	case response.Get("content").Kind() != jcs.KindInvalid:
		c.Output = r.outputMessages(response, keyOutputValue)
	case response.Kind() == jcs.KindInvalid && !r.answer.unparsed:
		if s := r.a.text(keyOutputValue); s != "" && !isPlaceholder(s) {
			c.Output = r.plainText(s, conversation.RoleAssistant, &r.answer)
			r.answer.as = ContentTextOnly
		}
	}
	r.openInferenceIDs(response)
	for i := range c.Output {
		c.Output[i].Role = conversation.RoleAssistant
	}
}

// openInferenceJSON returns input.value or output.value when it is JSON. A
// value that says it is JSON and isn't was cut, most likely by an attribute limit of
// the exporter: the indexed attributes next to it may be, too.
func (r *reader) openInferenceJSON(k, mime key, s *side) (jcs.Value, bool) {
	if !r.a.has(k) {
		return jcs.Value{}, false
	}
	if r.a.known[k].Type() == pcommonStr && !strings.Contains(r.a.text(mime), "json") {
		return jcs.Value{}, false
	}
	v := r.content(k, s)
	return v, v.Kind() != jcs.KindInvalid
}

// isRequest reports whether v is a request with its messages: of the Messages
// API or of chat completions, not a batch of LangChain messages.
func isRequest(v jcs.Value) bool {
	messages := v.Get("messages")
	if messages.Kind() != jcs.KindArray {
		return false
	}
	first := messages.Index(0)
	return first.Kind() == jcs.KindInvalid || first.Get("role").Kind() == jcs.KindString
}

func isResponse(v jcs.Value) bool {
	return v.Get("content").Kind() == jcs.KindArray && (v.Get("type").Str() == "message" || v.Get("stop_reason").Kind() == jcs.KindString)
}

// request reads a request in whole.
func (r *reader) request(v jcs.Value) ([]conversation.Part, []conversation.Message) {
	if isChatCompletion(v) {
		m := r.messages(&r.prompt)
		return nil, r.readWith(&m, v.Get("messages"), keyInputValue)
	}
	c, info := anthropic.ReadRequest(v)
	r.prompt.told += len(c.System) + len(c.Messages)
	if r.it.Dialect != DialectClaudeCodeEvents {
		// Claude Code's is made of the ids of its installation and session.
		r.it.Who.user(info.UserID, rankOpaque)
	}
	return c.System, c.Messages
}

func (r *reader) readWith(m *messageReader, v jcs.Value, k key) []conversation.Message {
	out, ok := m.list(v)
	if !ok {
		r.wrongShape(k, m.side)
		return nil
	}
	if m.over {
		r.tooLarge(k, m.side)
	}
	return out
}

// isChatCompletion tells a request of OpenAI's shape from one of the Messages API.
func isChatCompletion(v jcs.Value) bool {
	if v.Get("system").Kind() != jcs.KindInvalid || v.Get("anthropic_version").Kind() != jcs.KindInvalid {
		return false
	}
	for _, e := range v.Get("messages").Elems() {
		switch e.Get("role").Str() {
		case "tool", "function", "developer":
			return true
		}
		if e.Get("tool_calls").Kind() == jcs.KindArray {
			return true
		}
	}
	return false
}

// choices reads a response of chat completions.
func (r *reader) choices(v jcs.Value) []conversation.Message {
	m := r.messages(&r.answer)
	var out []conversation.Message
	for _, choice := range v.Get("choices").Elems() {
		if msg, ok := m.message(choice.Get("message")); ok {
			msg.FinishReason = choice.Get("finish_reason").Str()
			out = append(out, msg)
		}
	}
	return out
}

func systemIn(messages []conversation.Message) bool {
	return len(messages) > 0 && messages[0].Role == conversation.RoleSystem
}

func (r *reader) plainText(s, role string, side *side) []conversation.Message {
	side.told++
	return []conversation.Message{{Role: role, Parts: []conversation.Part{conversation.Text(s)}}}
}

// openInferenceUser finds the user id that the application gave to the API, the last
// resort.
func (r *reader) openInferenceUser(request jcs.Value) {
	if r.it.Who.UserRank != 0 {
		return
	}
	if params, reason := r.a.json(keyInvocationParameters, r.mem); reason == "" {
		r.it.Who.user(params.Get("metadata").Get("user_id").Str(), rankOpaque)
	}
	r.it.Who.user(request.Get("metadata").Get("user_id").Str(), rankOpaque)
}

// openInferenceIDs finds the message id and the exact stop reason in the
// response: it is the API's own, or LangChain's dump of it.
func (r *reader) openInferenceIDs(response jcs.Value) {
	if response.Kind() != jcs.KindObject {
		return
	}
	if r.it.ResponseID == "" {
		id := response.Get("id").Str()
		if id == "" {
			id = langChainMetadata(response).Get("id").Str()
		}
		if strings.HasPrefix(id, "msg_") || response.Get("choices").Kind() == jcs.KindArray {
			r.responseID(id)
		}
	}
	for _, v := range []jcs.Value{response, langChainMetadata(response)} {
		r.it.setStopReason(v.Get("stop_reason").Str())
		r.it.setStopReason(v.Get("stopReason").Str())
		if r.it.ResponseModel == "" {
			r.it.ResponseModel = v.Get("model").Str()
		}
	}
}

// langChainMetadata returns the API's response metadata in a dump of LangChain's result.
func langChainMetadata(v jcs.Value) jcs.Value {
	generation := v.Get("generations").Index(0)
	if generation.Kind() == jcs.KindArray {
		generation = generation.Index(0)
	}
	if m := generation.Get("message").Get("kwargs").Get("response_metadata"); m.Kind() == jcs.KindObject {
		return m
	}
	return v.Get("llm_output")
}

// openInferenceUsage takes the API's own counts where the attributes have none. A
// cache that wasn't used is left out there, so a 0 counts as not told.
func (r *reader) openInferenceUsage(usage jcs.Value) {
	u := apiUsage(usage)
	if r.it.PromptTokens == nil {
		r.it.PromptTokens = u.prompt
	}
	if r.it.CompletionTokens == nil {
		r.it.CompletionTokens = u.output
	}
	r.it.CacheReadTokens = orPositive(r.it.CacheReadTokens, u.cacheRead)
	r.it.CacheWriteTokens = orPositive(r.it.CacheWriteTokens, u.cacheWrite)
}

// usage is the API's token counts, with all input tokens in prompt.
type usage struct {
	prompt, output, cacheRead, cacheWrite *int64
}

func apiUsage(v jcs.Value) usage {
	var u usage
	u.output = jsonCount(v.Get("output_tokens"))
	u.cacheRead = jsonCount(v.Get("cache_read_input_tokens"))
	u.cacheWrite = jsonCount(v.Get("cache_creation_input_tokens"))
	if in := jsonCount(v.Get("input_tokens")); in != nil {
		sum := *in
		for _, c := range []*int64{u.cacheRead, u.cacheWrite} {
			if c != nil {
				sum += *c
			}
		}
		u.prompt = &sum
	}
	return u
}

func jsonCount(v jcs.Value) *int64 {
	if n, ok := v.Int(); ok && n >= 0 {
		return &n
	}
	return nil
}

func orPositive(known, other *int64) *int64 {
	if known != nil || other == nil || *other == 0 {
		return known
	}
	return other
}
