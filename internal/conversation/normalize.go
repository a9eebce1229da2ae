package conversation

import (
	"strings"

	"github.com/claudeaudit/claudeaudit/internal/jcs"
)

// Gaps says where content is known to be missing: the telemetry tells that there
// was something, but not what. A hash over the rest isn't that of the
// conversation.
type Gaps struct {
	Prompt bool
	Output bool
}

// Normalize brings the conversation into the form that is stored and hashed,
// in place. Doing it again changes nothing. It
//
//   - folds role names: human is user, ai and model are assistant, function is tool,
//     developer is system; an output message without a role is the assistant's;
//   - moves leading system messages to System;
//   - gives each tool result a message of its own, of role tool, in the order told; what
//     stood before and after it in the same message stays before and after;
//   - parses arguments that are a JSON string holding an object; none at all
//     are an empty object;
//   - folds a tool result that is a list of only text blocks to one string, the
//     texts joined by "\n" as a model would read them on lines of their own; none at all is
//     an empty string; of blocks that stay, cache_control goes;
//   - makes data: URLs blobs, and writes base64 in the standard alphabet with padding;
//   - takes away empty texts, placeholders (see Withheld) and messages without parts.
//
// What was only said to be there (see Part.Gap) it reports as gaps. It does so the first time: a
// placeholder is gone the second.
func (c *Conversation) Normalize() Gaps {
	var gaps Gaps
	c.System = normalizeParts(c.System, &gaps.Prompt)
	c.Messages = normalizeMessages(c.Messages, "", &gaps.Prompt)
	c.Output = normalizeMessages(c.Output, RoleAssistant, &gaps.Output)
	n := 0
	for n < len(c.Messages) && c.Messages[n].Role == RoleSystem {
		c.System = append(c.System, c.Messages[n].Parts...)
		n++
	}
	c.Messages = c.Messages[n:]
	return gaps
}

func normalizeMessages(messages []Message, defaultRole string, gap *bool) []Message {
	split := false
	n := 0
	for i := range messages {
		m := &messages[i]
		m.Role = foldRole(m.Role, defaultRole)
		m.Parts = normalizeParts(m.Parts, gap)
		if len(m.Parts) == 0 {
			continue
		}
		split = split || !isWhole(m)
		if n < i {
			messages[n] = *m
		}
		n++
	}
	clear(messages[n:])
	messages = messages[:n]
	if !split {
		return messages
	}
	out := make([]Message, 0, len(messages)+1)
	for _, m := range messages {
		out = appendSplit(out, m)
	}
	return out
}

// isWhole reports whether a message has either one tool result and nothing else, or none.
func isWhole(m *Message) bool {
	for i := range m.Parts {
		if m.Parts[i].Type == PartToolCallResponse {
			return m.Role == RoleTool && len(m.Parts) == 1
		}
	}
	return true
}

// appendSplit appends m, with each tool result as a message of its own. The finish
// reason stays with the last of the messages made.
func appendSplit(out []Message, m Message) []Message {
	if isWhole(&m) {
		return append(out, m)
	}
	from := 0
	for i := range m.Parts {
		if m.Parts[i].Type != PartToolCallResponse {
			continue
		}
		if from < i {
			out = append(out, Message{Role: m.Role, Parts: m.Parts[from:i:i]})
		}
		out = append(out, Message{Role: RoleTool, Parts: m.Parts[i : i+1 : i+1]})
		from = i + 1
	}
	if from < len(m.Parts) {
		out = append(out, Message{Role: m.Role, Parts: m.Parts[from:]})
	}
	out[len(out)-1].FinishReason = m.FinishReason
	return out
}

func foldRole(role, defaultRole string) string {
	switch role {
	case RoleUser, RoleAssistant, RoleSystem, RoleTool:
		return role
	}
	switch role = strings.ToLower(strings.TrimSpace(role)); role {
	case "":
		return defaultRole
	case "human":
		return RoleUser
	case "ai", "model":
		return RoleAssistant
	case "function":
		return RoleTool
	case "developer":
		return RoleSystem
	}
	return role
}

func normalizeParts(parts []Part, gap *bool) []Part {
	n := 0
	for i := range parts {
		p := &parts[i]
		if p.Type == PartOther {
			// A reader that didn't know the type may have kept what has a form here. Read it
			// now, as it would be read back from the stored form.
			*p = parsePart(p.other())
		}
		if p.Gap() {
			*gap = true
		}
		if !normalizePart(p) {
			continue
		}
		if n < i {
			parts[n] = *p
		}
		n++
	}
	clear(parts[n:])
	return parts[:n]
}

// normalizePart normalises one part, and reports whether it is to stay.
func normalizePart(p *Part) bool {
	switch p.Type {
	case PartText, PartReasoning:
		return !p.Value.Is("") && !isWithheld(p.Value)
	case PartToolCall:
		p.Value = foldArguments(p.Value)
	case PartToolCallResponse:
		p.Value = foldResponse(p.Value)
	case PartURI:
		mime, data, ok := DataURL(p.URI)
		if !ok {
			return p.URI != "" && !IsPlaceholder(p.URI)
		}
		*p = Part{Type: PartBlob, MimeType: mime, Data: data}
		normalizeBlob(p)
	case PartFile:
		return p.URI != "" && !IsPlaceholder(p.URI)
	case PartBlob:
		normalizeBlob(p)
	}
	return true
}

// normalizeBlob makes a blob without data a part of type other, so that it still shows that
// there was one.
func normalizeBlob(p *Part) {
	p.MimeType = foldMimeType(p.MimeType)
	if mime, data, ok := DataURL(p.Data); ok {
		p.Data = data
		if p.MimeType == "" {
			p.MimeType = mime
		}
	} else if data, ok := canonicalBase64(p.Data); ok {
		p.Data = data
	}
	// Data that isn't base64 is hashed as it is stored.
	p.Data = strings.ToValidUTF8(p.Data, "\ufffd")
	if p.Data == "" || IsPlaceholder(p.Data) {
		*p = Part{Type: PartOther, Kind: string(PartBlob), Value: jcs.Object([]jcs.Member{{Key: "mime_type", Value: jcs.String(p.MimeType)}})}
	}
}

func foldArguments(v jcs.Value) jcs.Value {
	switch v.Kind() {
	case jcs.KindInvalid, jcs.KindNull:
		return jcs.Object(nil)
	case jcs.KindString:
		text := strings.TrimSpace(v.Str())
		if text == "" || IsPlaceholder(text) {
			return jcs.Object(nil)
		}
		if text[0] != '{' {
			return v
		}
		// What can't be read stays the string it came as: a model may make
		// arguments that aren't JSON, and a stream may end in the middle of them.
		if parsed, err := jcs.Parse(text, jcs.DefaultLimits); err == nil {
			return parsed
		}
	}
	return v
}

func foldResponse(v jcs.Value) jcs.Value {
	switch v.Kind() {
	case jcs.KindInvalid, jcs.KindNull:
		return jcs.String("")
	case jcs.KindString:
		if isWithheld(v) {
			return jcs.String("")
		}
	case jcs.KindArray:
		return foldBlocks(v)
	}
	return v
}

// foldBlocks joins the texts of a list of only text blocks. Of another list
// it takes cache_control away from the blocks.
func foldBlocks(v jcs.Value) jcs.Value {
	texts := make([]jcs.Value, 0, v.Len())
	cached := false
	for _, block := range v.Elems() {
		if text, ok := blockText(block); ok {
			texts = append(texts, text)
		}
		cached = cached || block.Get("cache_control").Kind() != jcs.KindInvalid
	}
	switch {
	case len(texts) == 1 && v.Len() == 1:
		return texts[0]
	case len(texts) == v.Len():
		var b strings.Builder
		for i, text := range texts {
			if i > 0 {
				b.WriteByte('\n')
			}
			b.WriteString(text.Str())
		}
		return jcs.String(b.String())
	case !cached:
		return v
	}
	blocks := make([]jcs.Value, 0, v.Len())
	for _, block := range v.Elems() {
		blocks = append(blocks, block.Without("cache_control"))
	}
	return jcs.Array(blocks)
}

// blockText returns the text of a block of a tool result, of the shapes
// {"type":"text","text":…}, {"type":"text","content":…} and {"text":…}.
func blockText(v jcs.Value) (jcs.Value, bool) {
	if v.Kind() != jcs.KindObject {
		return jcs.Value{}, false
	}
	kind := v.Get("type")
	if kind.Kind() != jcs.KindInvalid && !kind.Is(string(PartText)) {
		return jcs.Value{}, false
	}
	text := v.Get("text")
	switch {
	case text.Kind() == jcs.KindString:
	case kind.Kind() == jcs.KindInvalid:
		return jcs.Value{}, false
	default:
		text = v.Get("content")
	}
	if text.Kind() != jcs.KindString || kind.Kind() == jcs.KindInvalid && v.Len() != 1 {
		return jcs.Value{}, false
	}
	return text, true
}
