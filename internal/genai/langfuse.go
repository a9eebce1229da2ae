package genai

import (
	"github.com/claudeaudit/claudeaudit/internal/anthropic"
	"github.com/claudeaudit/claudeaudit/internal/conversation"
	"github.com/claudeaudit/claudeaudit/internal/jcs"
)

// langfuse reads a generation of Langfuse's SDKs. Its input and output are
// whatever the application gave: a request or messages, a response or a text.
func (r *reader) langfuse() {
	c := &r.it.Content
	c.System, c.Messages = r.langfuseInput()
	c.Output = r.langfuseOutput()
	for i := range c.Output {
		c.Output[i].Role = conversation.RoleAssistant
	}
	usage, _ := r.a.json(keyLangfuseUsage, r.mem)
	r.langfuseUsage(usage)
}

func (r *reader) langfuseInput() ([]conversation.Part, []conversation.Message) {
	v, plain := r.langfuseValue(keyLangfuseInput, &r.prompt)
	switch {
	case plain != "":
		r.prompt.partial = true
		return nil, r.plainText(plain, conversation.RoleUser, &r.prompt)
	case isRequest(v):
		return r.request(v)
	case v.Kind() == jcs.KindInvalid:
		return nil, nil
	}
	return nil, r.promptMessages(v, keyLangfuseInput)
}

func (r *reader) langfuseOutput() []conversation.Message {
	v, plain := r.langfuseValue(keyLangfuseOutput, &r.answer)
	switch {
	case plain != "":
		r.answer.as = ContentTextOnly
		return r.plainText(plain, conversation.RoleAssistant, &r.answer)
	case isResponse(v):
		out, info := anthropic.ReadResponse(v)
		r.answer.told += len(out)
		r.responseID(info.ID)
		r.it.setStopReason(info.StopReason)
		return out
	case v.Get("choices").Kind() == jcs.KindArray:
		return r.choices(v)
	case v.Kind() == jcs.KindInvalid:
		return nil
	case v.Kind() == jcs.KindArray && isBlocks(v) && v.Index(0).Get("role").Kind() == jcs.KindInvalid:
		m := r.messages(&r.answer)
		return []conversation.Message{{Role: conversation.RoleAssistant, Parts: m.content(nil, v)}}
	}
	return r.outputMessages(v, keyLangfuseOutput)
}

// langfuseValue returns JSON, or a text where the attribute is one.
func (r *reader) langfuseValue(k key, s *side) (jcs.Value, string) {
	text := r.a.text(k)
	if text == "" || isPlaceholder(text) {
		return jcs.Value{}, ""
	}
	if text[0] != '{' && text[0] != '[' && text[0] != '"' {
		return jcs.Value{}, text
	}
	v := r.content(k, s)
	if v.Kind() == jcs.KindString {
		return jcs.Value{}, v.Str()
	}
	return v, ""
}

// langfuseUsage reads usage_details, whose names differ by who wrote them.
func (r *reader) langfuseUsage(v jcs.Value) {
	if v.Kind() != jcs.KindObject {
		return
	}
	it := r.it
	named := func(names ...string) *int64 {
		for _, name := range names {
			if n := jsonCount(v.Get(name)); n != nil {
				return n
			}
		}
		return nil
	}
	if it.CacheReadTokens == nil {
		it.CacheReadTokens = named("cache_read_input_tokens", "input_cached_tokens", "input_cache_read", "cache_read")
	}
	if it.CacheWriteTokens == nil {
		it.CacheWriteTokens = named("cache_creation_input_tokens", "input_cache_creation", "cache_write")
	}
	if it.CompletionTokens == nil {
		it.CompletionTokens = named("output", "output_tokens", "completion_tokens", "completionTokens")
	}
	if it.PromptTokens == nil {
		// Langfuse's input leaves out what is counted on its own.
		if in := named("input", "input_tokens"); in != nil {
			sum := *in
			for _, n := range []*int64{it.CacheReadTokens, it.CacheWriteTokens} {
				if n != nil {
					sum += *n
				}
			}
			it.PromptTokens = &sum
		} else {
			it.PromptTokens = named("prompt_tokens", "promptTokens")
		}
	}
}
