package anthropic

import (
	"github.com/claudeaudit/claudeaudit/internal/conversation"
	"github.com/claudeaudit/claudeaudit/internal/jcs"
)

// ReadConverseRequest reads the body of a Bedrock Converse request. Only System and Messages of the
// conversation are set.
func ReadConverseRequest(v jcs.Value) (conversation.Conversation, RequestInfo) {
	maxTokens, _ := v.Get("inferenceConfig").Get("maxTokens").Int()
	conv := conversation.Conversation{System: ReadConverseBlocks(v.Get("system")), Messages: ReadConverseMessages(v.Get("messages"))}
	return conv, RequestInfo{Model: v.Get("modelId").Str(), MaxTokens: maxTokens}
}

// ReadConverseResponse reads the body of a Bedrock Converse response. There is one output message,
// or none.
func ReadConverseResponse(v jcs.Value) ([]conversation.Message, ResponseInfo) {
	usage := v.Get("usage")
	info := ResponseInfo{
		StopReason: v.Get("stopReason").Str(),
		Usage: Usage{
			InputTokens:      count(usage, "inputTokens"),
			OutputTokens:     count(usage, "outputTokens"),
			CacheReadTokens:  count(usage, "cacheReadInputTokens"),
			CacheWriteTokens: count(usage, "cacheWriteInputTokens"),
		},
	}
	messages := ReadConverseMessages(v.Get("output").Get("message"))
	for i := range messages {
		messages[i].FinishReason = info.StopReason
	}
	return messages, info
}

// ReadConverseMessages reads a list of Converse messages, or one by itself.
func ReadConverseMessages(v jcs.Value) []conversation.Message {
	if v.Kind() == jcs.KindObject {
		return []conversation.Message{readConverseMessage(v)}
	}
	var messages []conversation.Message
	for _, m := range v.Elems() {
		messages = append(messages, readConverseMessage(m))
	}
	return messages
}

func readConverseMessage(v jcs.Value) conversation.Message {
	return conversation.Message{Role: v.Get("role").Str(), Parts: ReadConverseBlocks(v.Get("content"))}
}

// ReadConverseBlocks reads Converse content: a list of blocks, each an object whose one
// key names its type, one block by itself, or a text. Cache points are left out; a block of an unknown
// type is kept whole as a part of type other, its kind the key.
func ReadConverseBlocks(v jcs.Value) []conversation.Part {
	switch v.Kind() {
	case jcs.KindString:
		return []conversation.Part{conversation.TextOf(v)}
	case jcs.KindObject:
		return appendConverseBlock(nil, v)
	}
	if v.Len() == 0 {
		return nil
	}
	parts := make([]conversation.Part, 0, v.Len())
	for _, block := range v.Elems() {
		parts = appendConverseBlock(parts, block)
	}
	return parts
}

func appendConverseBlock(parts []conversation.Part, block jcs.Value) []conversation.Part {
	if block.Kind() != jcs.KindObject {
		return append(parts, other("", block))
	}
	for key, v := range block.Members() {
		parts = appendConverseMember(parts, key, v)
	}
	return parts
}

func appendConverseMember(parts []conversation.Part, key string, v jcs.Value) []conversation.Part {
	switch key {
	case "text":
		if v.Kind() == jcs.KindString {
			return append(parts, conversation.TextOf(v))
		}
	case "toolUse":
		return append(parts, conversation.Part{
			Type: conversation.PartToolCall, ID: v.Get("toolUseId").Str(), Name: v.Get("name").Str(), Value: v.Get("input"),
		})
	case "toolResult":
		return append(parts, conversation.Part{
			Type: conversation.PartToolCallResponse, ID: v.Get("toolUseId").Str(), Value: v.Get("content"),
		})
	case "image", "video", "audio":
		if p, ok := readConverseSource(key, v); ok {
			return append(parts, p)
		}
	case "document":
		return appendConverseDocument(parts, v)
	case "reasoningContent":
		return appendConverseReasoning(parts, v)
	case "guardContent":
		// What is to be checked by a guardrail is said to the model like the rest.
		if text := v.Get("text").Get("text"); text.Kind() == jcs.KindString {
			return append(parts, conversation.TextOf(text))
		}
		if p, ok := readConverseSource("image", v.Get("image")); ok {
			return append(parts, p)
		}
	case "citationsContent":
		if content := v.Get("content"); content.Kind() == jcs.KindArray {
			return append(parts, ReadConverseBlocks(content)...)
		}
	case "cachePoint":
		return parts
	}
	return append(parts, other(key, v))
}

func appendConverseReasoning(parts []conversation.Part, v jcs.Value) []conversation.Part {
	text := v.Get("reasoningText").Get("text")
	if text.Kind() == jcs.KindInvalid {
		text = v.Get("text") // the form of a streamed block
	}
	if text.Kind() == jcs.KindString {
		return append(parts, conversation.Part{Type: conversation.PartReasoning, Value: text})
	}
	if data := v.Get("redactedContent"); data.Kind() != jcs.KindInvalid {
		return append(parts, other("redacted_thinking", jcs.Object([]jcs.Member{{Key: "data", Value: data}})))
	}
	return append(parts, other("reasoningContent", v))
}

// converseTypes are the media types of Converse's formats that aren't kind/format.
var converseTypes = map[string]string{
	"pdf": "application/pdf", "txt": "text/plain", "md": "text/markdown", "html": "text/html", "csv": "text/csv",
	"doc": "application/msword", "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
	"xls": "application/vnd.ms-excel", "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}

// readConverseSource reads an image or document whose source is bytes (base64 in JSON) or a place in S3.
func readConverseSource(kind string, v jcs.Value) (conversation.Part, bool) {
	source := v.Get("source")
	if data := source.Get("bytes"); data.Kind() == jcs.KindString {
		format := v.Get("format").Str()
		mime, ok := converseTypes[format]
		if !ok && format != "" && kind != "document" {
			mime = kind + "/" + format
		}
		return conversation.Part{Type: conversation.PartBlob, MimeType: mime, Data: data.Str()}, true
	}
	if uri := source.Get("s3Location").Get("uri"); uri.Kind() == jcs.KindString {
		return conversation.Part{Type: conversation.PartURI, URI: uri.Str()}, true
	}
	return conversation.Part{}, false
}

// appendConverseDocument appends a document, in the parts that appendDocument makes of
// one; its name is the title.
func appendConverseDocument(parts []conversation.Part, v jcs.Value) []conversation.Part {
	var members []jcs.Member
	if m := v.Get("context"); m.Str() != "" {
		members = append(members, jcs.Member{Key: "context", Value: m})
	}
	if m := v.Get("name"); m.Str() != "" {
		members = append(members, jcs.Member{Key: "title", Value: m})
	}
	if p, ok := readConverseSource("document", v); ok {
		if len(members) > 0 {
			parts = append(parts, other("document", jcs.Object(members)))
		}
		return append(parts, p)
	}
	source := v.Get("source")
	for _, key := range []string{"text", "content"} {
		if m := source.Get(key); m.Kind() != jcs.KindInvalid {
			members = append(members, jcs.Member{Key: "content", Value: m})
			return append(parts, other("document", jcs.Object(members)))
		}
	}
	return append(parts, other("document", v))
}
