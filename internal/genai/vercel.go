package genai

import (
	"github.com/claudeaudit/claudeaudit/internal/conversation"
	"github.com/claudeaudit/claudeaudit/internal/jcs"
)

// vercel reads a call span of the Vercel AI SDK (ai.*).
func (r *reader) vercel() {
	c := &r.it.Content
	c.Messages = r.promptMessages(r.content(keyVercelPromptMessages, &r.prompt), keyVercelPromptMessages)
	c.Output = r.vercelAnswer()

	metadata, _ := r.a.json(keyVercelMetadata, r.mem)
	u := metadata.Get("anthropic").Get("usage")
	if u.Kind() == jcs.KindInvalid {
		u = metadata.Get("bedrock").Get("usage")
	}
	api := apiUsage(u)
	if api.prompt != nil {
		// The SDK's own sum leaves out cached tokens in some versions.
		r.it.PromptTokens = api.prompt
	}
	if r.it.CompletionTokens == nil {
		r.it.CompletionTokens = api.output
	}
	// The SDK tells 0 also where the provider told nothing.
	r.it.CacheReadTokens = orPositive(r.it.CacheReadTokens, api.cacheRead)
	r.it.CacheReadTokens = orPositive(r.it.CacheReadTokens, r.a.count(keyVercelCacheRead))
	r.it.CacheWriteTokens = orPositive(r.it.CacheWriteTokens, api.cacheWrite)
}

// vercelAnswer puts together the answer, whose pieces are attributes of their
// own, in the order in which Claude gives them.
func (r *reader) vercelAnswer() []conversation.Message {
	m := r.messages(&r.answer)
	var parts []conversation.Part
	if r.a.has(keyVercelReasoning) {
		if s := r.a.text(keyVercelReasoning); s != "" {
			parts = m.text(parts, conversation.PartReasoning, jcs.String(s))
		}
	}
	for _, k := range []key{keyVercelText, keyVercelObject} {
		if s := r.a.text(k); s != "" {
			parts = m.text(parts, conversation.PartText, jcs.String(s))
		}
	}
	for _, call := range r.content(keyVercelToolCalls, &r.answer).Elems() {
		parts = m.toolCall(parts, call)
	}
	for _, file := range r.content(keyVercelFiles, &r.answer).Elems() {
		parts = m.file(parts, file, firstOf(file, "data", "base64"), "file")
	}
	if len(parts) == 0 {
		return nil
	}
	return []conversation.Message{{Role: conversation.RoleAssistant, Parts: parts}}
}
