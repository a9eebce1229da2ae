// Package anthropic reads the wire formats that Claude is spoken to in: the
// Messages API, which Bedrock's InvokeModel, Vertex AI and Foundry share, and
// Bedrock's Converse.
//
// Readers take any JSON. What they don't know they keep, as a part of type other;
// what isn't there they leave out. Nothing they return is normalised.
package anthropic

import (
	"strings"

	"github.com/claudeaudit/claudeaudit/internal/conversation"
	"github.com/claudeaudit/claudeaudit/internal/jcs"
)

// RequestInfo is what a request says beside its conversation.
type RequestInfo struct {
	Model  string // as sent; empty on Bedrock and Vertex, where the path names it
	UserID string // metadata.user_id: whatever the application chose
	// MaxTokens is the cap on the answer, 0 when there is none told.
	MaxTokens int64
	Stream    bool
}

// Usage counts tokens as the API does: InputTokens are those that were neither read from nor
// written to the cache. A count that isn't told is nil.
type Usage struct {
	InputTokens, OutputTokens         *int64
	CacheReadTokens, CacheWriteTokens *int64
}

// PromptTokens returns all input tokens, cached ones included, nil when they aren't told.
func (u Usage) PromptTokens() *int64 {
	if u.InputTokens == nil {
		return nil
	}
	total := *u.InputTokens
	for _, n := range []*int64{u.CacheReadTokens, u.CacheWriteTokens} {
		if n != nil {
			total += *n
		}
	}
	return &total
}

// ResponseInfo is what a response says beside its content.
type ResponseInfo struct {
	ID         string
	Model      string
	StopReason string // in the API's own words; see StopClass
	Usage      Usage
	// ErrorType and RequestID are those of an error response.
	ErrorType string
	RequestID string
}

// ReadRequest reads the body of a Messages API request, of count_tokens, or of
// the params of a batch item. Only System and Messages of the conversation are set.
func ReadRequest(v jcs.Value) (conversation.Conversation, RequestInfo) {
	var c conversation.Conversation
	c.System = ReadBlocks(v.Get("system"))
	for _, m := range v.Get("messages").Elems() {
		c.Messages = append(c.Messages, conversation.Message{
			Role:  m.Get("role").Str(),
			Parts: ReadBlocks(m.Get("content")),
		})
	}
	maxTokens, _ := v.Get("max_tokens").Int()
	return c, RequestInfo{
		Model:     v.Get("model").Str(),
		UserID:    v.Get("metadata").Get("user_id").Str(),
		MaxTokens: maxTokens,
		Stream:    v.Get("stream").Bool(),
	}
}

// ReadResponse reads the body of a Messages API response, or of an error. There is one
// output message, or none.
func ReadResponse(v jcs.Value) ([]conversation.Message, ResponseInfo) {
	usage := v.Get("usage")
	info := ResponseInfo{
		ID:         v.Get("id").Str(),
		Model:      v.Get("model").Str(),
		StopReason: v.Get("stop_reason").Str(),
		Usage: Usage{
			InputTokens:      count(usage, "input_tokens"),
			OutputTokens:     count(usage, "output_tokens"),
			CacheReadTokens:  count(usage, "cache_read_input_tokens"),
			CacheWriteTokens: count(usage, "cache_creation_input_tokens"),
		},
		RequestID: v.Get("request_id").Str(),
	}
	if v.Get("type").Str() == "error" {
		info.ErrorType = v.Get("error").Get("type").Str()
		return nil, info
	}
	parts := ReadBlocks(v.Get("content"))
	if len(parts) == 0 {
		return nil, info
	}
	return []conversation.Message{{
		Role: conversation.RoleAssistant, Parts: parts, FinishReason: info.StopReason,
	}}, info
}

// count reads a number of tokens, nil when it isn't a whole number of at least 0.
func count(usage jcs.Value, key string) *int64 {
	n, ok := usage.Get(key).Int()
	if !ok || n < 0 {
		return nil
	}
	return &n
}

// ReadBlocks reads content of the Messages API: a text, a list of content
// blocks, or one block by itself.
func ReadBlocks(v jcs.Value) []conversation.Part {
	switch v.Kind() {
	case jcs.KindString:
		return []conversation.Part{conversation.TextOf(v)}
	case jcs.KindObject:
		return appendBlock(nil, v)
	}
	if v.Len() == 0 {
		return nil
	}
	parts := make([]conversation.Part, 0, v.Len())
	for _, block := range v.Elems() {
		parts = appendBlock(parts, block)
	}
	return parts
}

// appendBlock appends the parts of one content block. What stays of a block is what was said:
//
//	text                       text; citations, which quote what is said elsewhere, go
//	thinking                   reasoning, without its signature
//	tool_use, server_tool_use,
//	mcp_tool_use               tool call
//	tool_result,
//	mcp_tool_result            tool call response
//	image, document            blob, uri or file, by their source (see appendDocument)
//	container_upload           file
//	anything else              other, whole
func appendBlock(parts []conversation.Part, v jcs.Value) []conversation.Part {
	if v.Kind() == jcs.KindString {
		return append(parts, conversation.TextOf(v))
	}
	kind := v.Get("type").Str()
	switch kind {
	case "text":
		if text := v.Get("text"); text.Kind() == jcs.KindString {
			return append(parts, conversation.TextOf(text))
		}
	case "thinking":
		if text := v.Get("thinking"); text.Kind() == jcs.KindString {
			return append(parts, conversation.Part{Type: conversation.PartReasoning, Value: text})
		}
	case "tool_use", "server_tool_use", "mcp_tool_use":
		return append(parts, conversation.Part{
			Type: conversation.PartToolCall, ID: v.Get("id").Str(), Name: v.Get("name").Str(), Value: v.Get("input"),
		})
	case "tool_result", "mcp_tool_result":
		return append(parts, conversation.Part{
			Type: conversation.PartToolCallResponse, ID: v.Get("tool_use_id").Str(), Value: v.Get("content"),
		})
	case "image":
		if p, ok := readSource(v.Get("source")); ok {
			return append(parts, p)
		}
	case "document":
		return appendDocument(parts, v)
	case "container_upload":
		if id := v.Get("file_id"); id.Kind() == jcs.KindString {
			return append(parts, conversation.Part{Type: conversation.PartFile, URI: id.Str()})
		}
	case "":
		if text := v.Get("text"); text.Kind() == jcs.KindString && v.Len() == 1 {
			return append(parts, conversation.TextOf(text))
		}
	}
	return append(parts, other(kind, v))
}

// readSource reads the source of an image or document that has a part of its own.
func readSource(source jcs.Value) (conversation.Part, bool) {
	switch source.Get("type").Str() {
	case "base64":
		if data := source.Get("data"); data.Kind() == jcs.KindString {
			return conversation.Part{
				Type: conversation.PartBlob, MimeType: source.Get("media_type").Str(), Data: data.Str(),
			}, true
		}
	case "url":
		if url := source.Get("url"); url.Kind() == jcs.KindString {
			return conversation.Part{Type: conversation.PartURI, URI: url.Str()}, true
		}
	case "file":
		if id := source.Get("file_id"); id.Kind() == jcs.KindString {
			return conversation.Part{Type: conversation.PartFile, URI: id.Str()}, true
		}
	}
	return conversation.Part{}, false
}

// appendDocument appends a document. One whose source is a blob, a uri or a file
// is that part, so that it is the same as told by clients that tell no more; title and context,
// when it has them, come before it as a part of type other. One that holds its text is one part of type
// other, with the members title, context and content (a text, or content blocks).
func appendDocument(parts []conversation.Part, v jcs.Value) []conversation.Part {
	var members []jcs.Member
	for _, key := range []string{"context", "title"} {
		if m := v.Get(key); m.Kind() != jcs.KindInvalid && !m.IsNull() && m.Str() != "" {
			members = append(members, jcs.Member{Key: key, Value: m})
		}
	}
	source := v.Get("source")
	if p, ok := readSource(source); ok {
		if len(members) > 0 {
			parts = append(parts, other("document", jcs.Object(members)))
		}
		return append(parts, p)
	}
	switch source.Get("type").Str() {
	case "text":
		members = append(members, jcs.Member{Key: "content", Value: source.Get("data")})
	case "content":
		members = append(members, jcs.Member{Key: "content", Value: withoutCaching(source.Get("content"))})
	default:
		return append(parts, other("document", v))
	}
	return append(parts, other("document", jcs.Object(members)))
}

// withoutCaching takes cache_control away from each block of a list.
func withoutCaching(v jcs.Value) jcs.Value {
	if v.Kind() != jcs.KindArray {
		return v
	}
	blocks := make([]jcs.Value, 0, v.Len())
	for _, block := range v.Elems() {
		blocks = append(blocks, block.Without("cache_control"))
	}
	return jcs.Array(blocks)
}

// other keeps a block whole, but for how it is to be cached.
func other(kind string, v jcs.Value) conversation.Part {
	return conversation.Part{
		Type: conversation.PartOther, Kind: kind, Value: v.Without("type", "cache_control"),
	}
}

// The classes that stop reasons fall into.
const (
	StopClassStop     = "stop"      // the model had said what it wanted to say
	StopClassLength   = "length"    // a limit on tokens was reached
	StopClassToolCall = "tool_call" // it wants a tool to be run
	StopClassRefusal  = "refusal"   // it, or a filter, refused
)

var stopClasses = map[string]string{
	"end_turn": StopClassStop, "stop_sequence": StopClassStop, "stop": StopClassStop, "pause_turn": StopClassStop,
	"max_tokens": StopClassLength, "length": StopClassLength, "model_context_window_exceeded": StopClassLength, "max_output_tokens": StopClassLength,
	"tool_use": StopClassToolCall, "tool_call": StopClassToolCall, "tool_calls": StopClassToolCall, "function_call": StopClassToolCall,
	"refusal": StopClassRefusal, "content_filter": StopClassRefusal, "content_filtered": StopClassRefusal, "guardrail_intervened": StopClassRefusal,
}

// StopClass folds a stop reason, of whichever vocabulary, to one of the classes, and to ""
// when it is unknown.
func StopClass(reason string) string {
	if class, ok := stopClasses[reason]; ok {
		return class
	}
	return stopClasses[strings.ReplaceAll(strings.ToLower(strings.TrimSpace(reason)), "-", "_")]
}
