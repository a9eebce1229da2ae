package genai

import (
	"strings"

	"github.com/claudeaudit/claudeaudit/internal/anthropic"
	"github.com/claudeaudit/claudeaudit/internal/conversation"
	"github.com/claudeaudit/claudeaudit/internal/jcs"
)

// messageReader reads messages of any shape that telemetry has them in. The
// shapes differ in their members, so one reader tells them all apart: the
// GenAI message schema (parts), the Messages API (typed blocks), Converse
// (keyed blocks), chat completions (tool_calls), LangChain's dumps, and Vercel's
// (tool-call, tool-result).
type messageReader struct {
	mem  *memory
	side *side
	n    int
	over bool
	// calls are the ids of the tool calls of the message that is being read.
	calls callSet
}

// callSet is the ids of a message's tool calls.
type callSet map[string]struct{}

// add reports whether the id is new. Calls without an id are always new.
func (c *callSet) add(id string) bool {
	if id == "" {
		return true
	}
	if *c == nil {
		*c = callSet{}
	}
	n := len(*c)
	(*c)[id] = struct{}{}
	return len(*c) > n
}

func (r *reader) messages(s *side) messageReader { return messageReader{mem: r.mem, side: s} }

// list reads an array of messages, or a single one. It is false when v is neither.
func (m *messageReader) list(v jcs.Value) ([]conversation.Message, bool) {
	switch v.Kind() {
	case jcs.KindObject:
		msg, ok := m.message(v)
		if !ok {
			return nil, false
		}
		return []conversation.Message{msg}, true
	case jcs.KindArray:
		// LangChain's batch of one.
		if v.Len() == 1 && v.Index(0).Kind() == jcs.KindArray {
			v = v.Index(0)
		}
		out := m.mem.messages.Take(min(v.Len(), m.mem.MaxMessages))[:0]
		for _, e := range v.Elems() {
			if m.n >= m.mem.MaxMessages {
				m.over = true
				break
			}
			msg, ok := m.message(e)
			if !ok {
				return nil, false
			}
			out = append(out, msg)
		}
		return out, true
	}
	return nil, false
}

// message reads one message.
func (m *messageReader) message(v jcs.Value) (conversation.Message, bool) {
	if v.Kind() != jcs.KindObject {
		return conversation.Message{}, false
	}
	m.n++
	m.calls = nil
	// LangChain: {"lc":1,"type":"constructor","kwargs":{…}} or {"type":"human","data":{…}}.
	if kw := v.Get("kwargs"); kw.Kind() == jcs.KindObject && v.Get("lc").Kind() != jcs.KindInvalid {
		v = kw
	} else if data := v.Get("data"); data.Kind() == jcs.KindObject && v.Get("role").Kind() == jcs.KindInvalid {
		v = data
	}
	role := v.Get("role").Str()
	if role == "" {
		role = v.Get("type").Str()
	}
	content, parts, calls := v.Get("content"), v.Get("parts"), v.Get("tool_calls")
	if role == "" && content.Kind() == jcs.KindInvalid && parts.Kind() == jcs.KindInvalid && calls.Kind() == jcs.KindInvalid {
		return conversation.Message{}, false
	}
	msg := conversation.Message{Role: foldRole(role), FinishReason: v.Get("finish_reason").Str()}
	if parts.Kind() == jcs.KindArray {
		msg.Parts = m.elements(msg.Parts, parts)
	}
	result := toolCallID(v)
	switch {
	case msg.Role == conversation.RoleTool || result != "" && msg.Role != conversation.RoleAssistant:
		msg.Role = conversation.RoleTool
		msg.Parts = m.toolMessage(msg.Parts, result, content)
	default:
		msg.Parts = m.content(msg.Parts, content)
	}
	for _, c := range calls.Elems() {
		msg.Parts = m.toolCall(msg.Parts, c)
	}
	if fc := v.Get("function_call"); fc.Kind() == jcs.KindObject {
		msg.Parts = m.toolCall(msg.Parts, fc)
	}
	return msg, true
}

func toolCallID(v jcs.Value) string {
	for _, name := range []string{"tool_call_id", "toolCallId"} {
		if id := v.Get(name).Str(); id != "" {
			return id
		}
	}
	return ""
}

// foldRole folds the names that LangChain and others have for the roles.
func foldRole(role string) string {
	switch role {
	case "human", "HumanMessage", "HumanMessageChunk":
		return conversation.RoleUser
	case "ai", "model", "AIMessage", "AIMessageChunk":
		return conversation.RoleAssistant
	case "function", "ToolMessage", "FunctionMessage":
		return conversation.RoleTool
	case "developer", "SystemMessage":
		return conversation.RoleSystem
	}
	return role
}

// toolMessage makes a message of role tool whose content is the result itself
// into the part that it is; a message whose parts are results already stays.
func (m *messageReader) toolMessage(parts []conversation.Part, id string, content jcs.Value) []conversation.Part {
	blocks := m.content(nil, content)
	for _, p := range append(parts, blocks...) {
		if p.Type == conversation.PartToolCallResponse {
			return append(parts, blocks...)
		}
	}
	if len(parts) == 0 && len(blocks) == 0 {
		return nil
	}
	value := content
	if len(parts) > 0 {
		texts := make([]jcs.Value, 0, len(parts))
		for _, p := range parts {
			if p.Type != conversation.PartText {
				return append(parts, blocks...)
			}
			texts = append(texts, p.Value)
		}
		value = jcs.Array(texts)
	}
	return []conversation.Part{{Type: conversation.PartToolCallResponse, ID: id, Value: foldTexts(value)}}
}

// content reads the content of a message: a text, or an array of blocks, or one block.
func (m *messageReader) content(dst []conversation.Part, v jcs.Value) []conversation.Part {
	switch v.Kind() {
	case jcs.KindString, jcs.KindObject:
		if dst == nil {
			dst = m.mem.parts.Take(1)[:0]
		}
		return m.part(dst, v)
	case jcs.KindArray:
		return m.elements(dst, v)
	}
	return dst
}

// elements reads the elements of an array of parts or blocks.
func (m *messageReader) elements(dst []conversation.Part, v jcs.Value) []conversation.Part {
	n := v.Len()
	if dst == nil && n > 0 {
		dst = m.mem.parts.Take(min(n, maxAhead))[:0]
	}
	for i := range n {
		dst = m.part(dst, v.Index(i))
	}
	return dst
}

// maxAhead bounds the room that is made for parts before they are read: they are larger
// than the values that they are read from.
const maxAhead = 64

func (m *messageReader) text(dst []conversation.Part, typ conversation.PartType, v jcs.Value) []conversation.Part {
	switch v.Kind() {
	case jcs.KindString:
		if isWithheld(v) {
			m.side.stripped++
			return dst
		}
		m.side.told++
		return append(dst, conversation.Part{Type: typ, Value: v})
	case jcs.KindInvalid:
		m.side.stripped++
	}
	return dst
}

// part reads one part or block of any shape.
func (m *messageReader) part(dst []conversation.Part, v jcs.Value) []conversation.Part {
	switch v.Kind() {
	case jcs.KindString:
		return m.text(dst, conversation.PartText, v)
	case jcs.KindObject:
	default:
		return dst
	}
	switch typ := v.Get("type").Str(); typ {
	case "text", "input_text", "output_text":
		return m.text(dst, conversation.PartText, firstOf(v, "content", "text"))
	case "refusal":
		return m.text(dst, conversation.PartText, firstOf(v, "refusal", "content"))
	case "reasoning":
		return m.text(dst, conversation.PartReasoning, firstOf(v, "content", "text", "reasoning"))
	case "tool_call", "tool-call", "function_call", "function":
		return m.toolCall(dst, v)
	case "tool_call_response", "tool-result":
		return m.toolResult(dst, v)
	case "blob":
		return m.blob(dst, firstOf(v, "mime_type", "media_type", "mimeType").Str(), firstOf(v, "content", "data").Str(), typ)
	case "uri":
		return m.uri(dst, v.Get("uri").Str(), typ)
	case "image_url":
		url := v.Get("image_url")
		if url.Kind() == jcs.KindObject {
			url = url.Get("url")
		}
		return m.uri(dst, url.Str(), "image")
	case "image":
		if v.Get("source").Kind() == jcs.KindObject {
			return m.block(dst, v)
		}
		data := firstOf(v, "image", "data", "url")
		if data.Kind() == jcs.KindObject { // OpenInference
			data = firstOf(firstOf(data, "image"), "url")
		}
		return m.file(dst, v, data, typ)
	case "file":
		if id := v.Get("file_id").Str(); id != "" {
			m.side.told++
			return append(dst, conversation.Part{Type: conversation.PartFile, URI: id})
		}
		return m.file(dst, v, v.Get("data"), typ)
	case "":
		return m.keyed(dst, v)
	default:
		return m.block(dst, v)
	}
}

func firstOf(v jcs.Value, names ...string) jcs.Value {
	for _, name := range names {
		if e := v.Get(name); e.Kind() != jcs.KindInvalid {
			return e
		}
	}
	return jcs.Value{}
}

// keyed reads a block without a type: Converse's {"text":…}, {"toolUse":…}.
func (m *messageReader) keyed(dst []conversation.Part, v jcs.Value) []conversation.Part {
	if v.Len() == 0 {
		return dst
	}
	if t := v.Get("text"); t.Kind() == jcs.KindString {
		return m.text(dst, conversation.PartText, t)
	}
	if t := v.Get("content"); t.Kind() == jcs.KindString && v.Len() == 1 {
		return m.text(dst, conversation.PartText, t)
	}
	return m.blocks(dst, anthropic.ReadConverseBlocks(jcs.Array([]jcs.Value{v})))
}

// block reads a block of the Messages API, or one of a type that isn't known.
func (m *messageReader) block(dst []conversation.Part, v jcs.Value) []conversation.Part {
	typ := v.Get("type").Str()
	// Anthropic's SDK tells of an image only that it was one; so does Envoy.
	if name, ok := strings.CutPrefix(typ, "anthropic_"); ok || typ == "image" || typ == "audio" || typ == "document" {
		if v.Len() <= 1 {
			m.side.lost++
			if !ok {
				name = typ
			}
			return append(dst, conversation.Part{Type: conversation.PartOther, Kind: name, Value: jcs.Object(nil)})
		}
	}
	return m.blocks(dst, anthropic.ReadBlocks(jcs.Array([]jcs.Value{v})))
}

func (m *messageReader) blocks(dst, blocks []conversation.Part) []conversation.Part {
	m.side.told += len(blocks)
	for _, b := range blocks {
		if b.Type == conversation.PartToolCall && !m.calls.add(b.ID) {
			continue
		}
		dst = append(dst, b)
	}
	return dst
}

// file reads an image or a file that is told as data, as a data: URL, or by its URL.
func (m *messageReader) file(dst []conversation.Part, v, data jcs.Value, typ string) []conversation.Part {
	s := data.Str()
	if data.Kind() == jcs.KindObject { // Vercel 7: {"type":"data","data":…} or {"type":"url","url":…}
		s = firstOf(data, "data", "url", "text").Str()
	}
	if strings.Contains(s[:min(len(s), 16)], "://") || strings.HasPrefix(s, "data:") {
		return m.uri(dst, s, typ)
	}
	if s == "" && v.Get("file").Kind() == jcs.KindObject { // chat completions
		f := v.Get("file")
		if id := f.Get("file_id").Str(); id != "" {
			m.side.told++
			return append(dst, conversation.Part{Type: conversation.PartFile, URI: id})
		}
		return m.uri(dst, f.Get("file_data").Str(), typ)
	}
	return m.blob(dst, firstOf(v, "mediaType", "media_type", "mime_type", "mimeType").Str(), s, typ)
}

func (m *messageReader) uri(dst []conversation.Part, uri, typ string) []conversation.Part {
	if mime, data, ok := conversation.DataURL(uri); ok {
		return m.blob(dst, mime, data, typ)
	}
	if uri == "" || isPlaceholder(uri) {
		return m.lostPart(dst, typ, uri != "")
	}
	m.side.told++
	return append(dst, conversation.Part{Type: conversation.PartURI, URI: uri})
}

func (m *messageReader) blob(dst []conversation.Part, mime, data, typ string) []conversation.Part {
	if data == "" || isPlaceholder(data) {
		return m.lostPart(dst, typ, data != "")
	}
	m.side.told++
	return append(dst, conversation.Part{Type: conversation.PartBlob, MimeType: mime, Data: data})
}

// lostPart keeps the type of a part whose content isn't told: of an image some
// clients never tell more, of a blob it was taken out.
func (m *messageReader) lostPart(dst []conversation.Part, typ string, hidden bool) []conversation.Part {
	if hidden || typ == "blob" || typ == "uri" {
		m.side.stripped++
	} else {
		m.side.lost++
	}
	return append(dst, conversation.Part{Type: conversation.PartOther, Kind: typ, Value: jcs.Object(nil)})
}

// toolCall reads a tool call: {"id","name","arguments"}, chat completions'
// {"id","function":{"name","arguments"}}, LangChain's {"id","name","args"}, Vercel's
// {"toolCallId","toolName","input"}. One that the message has already is left out:
// several dialects tell it both as a block and in a list.
func (m *messageReader) toolCall(dst []conversation.Part, v jcs.Value) []conversation.Part {
	if v.Kind() != jcs.KindObject {
		return dst
	}
	id := firstOf(v, "id", "toolCallId", "call_id").Str()
	if !m.calls.add(id) {
		return dst
	}
	fn := v
	if f := v.Get("function"); f.Kind() == jcs.KindObject {
		fn = f
	}
	p := conversation.Part{Type: conversation.PartToolCall, ID: id, Name: firstOf(fn, "name", "toolName").Str()}
	p.Value = firstOf(fn, "arguments", "args", "input")
	switch {
	case p.Value.Kind() == jcs.KindInvalid:
		m.side.bare++
		p.Value = jcs.Object(nil)
	case isWithheld(p.Value):
		m.side.stripped++
		p.Value = jcs.Object(nil) // which also stops Normalize from counting it again
	default:
		m.side.told++
	}
	return append(dst, p)
}

// toolResult reads a tool's result: the message schema's, where it is in
// "response", "result" or "content", or Vercel's, where it is in "output".
func (m *messageReader) toolResult(dst []conversation.Part, v jcs.Value) []conversation.Part {
	p := conversation.Part{Type: conversation.PartToolCallResponse, ID: firstOf(v, "id", "toolCallId", "tool_call_id").Str()}
	value := firstOf(v, "response", "result", "content", "output")
	if out := value; value.Kind() == jcs.KindObject && isVercelOutput(out) {
		value = out.Get("value")
	}
	switch {
	case value.Kind() == jcs.KindInvalid, isWithheld(value):
		m.side.stripped++
		return dst
	}
	m.side.told++
	p.Value = foldTexts(value)
	return append(dst, p)
}

func isVercelOutput(v jcs.Value) bool {
	if v.Get("value").Kind() == jcs.KindInvalid {
		return false
	}
	switch v.Get("type").Str() {
	case "text", "json", "error-text", "error-json", "content":
		return true
	}
	return false
}
