package anthropic

import (
	"github.com/claudeaudit/claudeaudit/internal/conversation"
	"github.com/claudeaudit/claudeaudit/internal/jcs"
)

// ReadCompleteRequest reads the body of a legacy completion. Its prompt, which holds the turns of a
// conversation in one text, is one message of the user.
func ReadCompleteRequest(v jcs.Value) (conversation.Conversation, RequestInfo) {
	var c conversation.Conversation
	if prompt := v.Get("prompt"); prompt.Kind() == jcs.KindString {
		c.Messages = []conversation.Message{{Role: "user", Parts: []conversation.Part{conversation.TextOf(prompt)}}}
	}
	maxTokens, _ := v.Get("max_tokens_to_sample").Int()
	return c, RequestInfo{
		Model: v.Get("model").Str(), UserID: v.Get("metadata").Get("user_id").Str(), MaxTokens: maxTokens, Stream: v.Get("stream").Bool(),
	}
}

// ReadCompleteResponse reads the answer to a legacy completion. It counts no tokens.
func ReadCompleteResponse(v jcs.Value) ([]conversation.Message, ResponseInfo) {
	_, info := ReadResponse(v)
	text := v.Get("completion")
	if text.Kind() != jcs.KindString || text.Is("") {
		return nil, info
	}
	return []conversation.Message{{
		Role: conversation.RoleAssistant, Parts: []conversation.Part{conversation.TextOf(text)}, FinishReason: info.StopReason,
	}}, info
}
