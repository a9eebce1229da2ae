package conversation

import (
	"errors"
	"fmt"

	"github.com/claudeaudit/claudeaudit/internal/jcs"
)

// ErrShape: the JSON holds no messages.
var ErrShape = errors.New("not messages")

// ParseMessages reads messages: the Stored form, and the message schema of the
// OpenTelemetry GenAI conventions with what is seen of it in practice. A message may have its
// parts, or a text, in "content", and tool calls and results as OpenAI's chat completions do
// ("tool_calls", "tool_call_id"). What comes out isn't normalised. An array, or one message
// by itself, is taken; an element that isn't an object is ErrShape.
func ParseMessages(v jcs.Value) ([]Message, error) {
	switch v.Kind() {
	case jcs.KindObject:
		m, err := parseMessage(v)
		if err != nil {
			return nil, err
		}
		return []Message{m}, nil
	case jcs.KindArray:
	default:
		return nil, fmt.Errorf("%w: %s instead of an array", ErrShape, v.Kind())
	}
	messages := make([]Message, 0, v.Len())
	for i, e := range v.Elems() {
		m, err := parseMessage(e)
		if err != nil {
			return nil, fmt.Errorf("reading message %d: %w", i, err)
		}
		messages = append(messages, m)
	}
	return messages, nil
}

func parseMessage(v jcs.Value) (Message, error) {
	if v.Kind() != jcs.KindObject {
		return Message{}, fmt.Errorf("%w: %s instead of an object", ErrShape, v.Kind())
	}
	m := Message{Role: v.Get("role").Str(), FinishReason: v.Get("finish_reason").Str()}
	content := first(v, "parts", "content")
	if id := v.Get("tool_call_id"); id.Kind() == jcs.KindString {
		m.Parts = []Part{{Type: PartToolCallResponse, ID: id.Str(), Value: content}}
		return m, nil
	}
	if content.Kind() != jcs.KindInvalid {
		var err error
		if m.Parts, err = ParseParts(content); err != nil {
			return Message{}, err
		}
	}
	for _, call := range v.Get("tool_calls").Elems() {
		function := call.Get("function")
		m.Parts = append(m.Parts, Part{
			Type: PartToolCall, ID: call.Get("id").Str(),
			Name: function.Get("name").Str(), Value: function.Get("arguments"),
		})
	}
	return m, nil
}

// ParseParts reads the parts of a message, or system instructions: an array, one part
// by itself, or a plain text. A part of an unknown type or shape is kept as PartOther; one
// that has lost its content (it was switched off) has the text Withheld.
func ParseParts(v jcs.Value) ([]Part, error) {
	switch v.Kind() {
	case jcs.KindString:
		return []Part{TextOf(v)}, nil
	case jcs.KindObject:
		return []Part{parsePart(v)}, nil
	case jcs.KindArray:
	default:
		return nil, fmt.Errorf("%w: %s instead of an array of parts", ErrShape, v.Kind())
	}
	parts := make([]Part, 0, v.Len())
	for _, e := range v.Elems() {
		parts = append(parts, parsePart(e))
	}
	return parts, nil
}

// first returns the first of an object's members that is there and not null.
func first(v jcs.Value, keys ...string) jcs.Value {
	for _, key := range keys {
		if m := v.Get(key); m.Kind() != jcs.KindInvalid && !m.IsNull() {
			return m
		}
	}
	return jcs.Value{}
}

func parsePart(v jcs.Value) Part {
	if v.Kind() == jcs.KindString {
		return TextOf(v)
	}
	if v.Kind() != jcs.KindObject {
		return Part{Type: PartOther, Value: v}
	}
	kind := v.Get("type").Str()
	switch kind {
	case "text":
		if p, ok := parseText(v, PartText, "content", "text"); ok {
			return p
		}
	case "reasoning", "thinking":
		if p, ok := parseText(v, PartReasoning, "content", "thinking", "text"); ok {
			return p
		}
	case "tool_call":
		return Part{Type: PartToolCall, ID: v.Get("id").Str(), Name: v.Get("name").Str(), Value: first(v, "arguments")}
	case "server_tool_call":
		return Part{Type: PartToolCall, ID: v.Get("id").Str(), Name: v.Get("name").Str(), Value: first(v, "server_tool_call", "arguments")}
	case "tool_call_response":
		return Part{Type: PartToolCallResponse, ID: v.Get("id").Str(), Value: first(v, "response", "result", "content")}
	case "blob":
		if data := first(v, "content", "data"); data.Kind() == jcs.KindString {
			return Part{Type: PartBlob, MimeType: v.Get("mime_type").Str(), Data: data.Str()}
		}
	case "uri":
		return Part{Type: PartURI, URI: first(v, "uri", "url").Str()}
	case "file":
		if id := v.Get("file_id"); id.Kind() == jcs.KindString {
			return Part{Type: PartFile, URI: id.Str()}
		}
	case "image_url":
		url := v.Get("image_url")
		if url.Kind() == jcs.KindObject {
			url = url.Get("url")
		}
		if url.Kind() == jcs.KindString {
			return Part{Type: PartURI, URI: url.Str()}
		}
	case "":
		if p, ok := parseText(v, PartText, "text", "content"); ok && !p.Value.Is(Withheld) {
			return p
		}
	}
	return Part{Type: PartOther, Kind: kind, Value: v.Without("type", "cache_control")}
}

// parseText reads the text of a part from the first of keys that is there. It is false when
// that is no text, and Withheld when there is none.
func parseText(v jcs.Value, as PartType, keys ...string) (Part, bool) {
	text := first(v, keys...)
	switch text.Kind() {
	case jcs.KindInvalid:
		return Part{Type: as, Value: jcs.String(Withheld)}, true
	case jcs.KindString:
		return Part{Type: as, Value: text}, true
	}
	return Part{}, false
}
