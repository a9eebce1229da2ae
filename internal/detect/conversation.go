package detect

import (
	"encoding/base64"
	"strings"
	"unsafe"

	"github.com/claudeaudit/claudeaudit/internal/conversation"
	"github.com/claudeaudit/claudeaudit/internal/jcs"
)

// FlagNotText says that the conversation holds content that isn't text, such as an
// image or a PDF, which was not looked at.
const FlagNotText = "detection.not_text"

// Texts makes segments of a conversation. Its memory is used again: the segments
// are good until the next call. The zero Texts is ready for use.
type Texts struct {
	segments []Segment
	buf      []byte
	from     int // where the current segment begins in buf
	notText  bool
}

// maxKept bounds the memory that an idle Texts holds on to, in bytes.
const maxKept = 1 << 20

// Segments are the texts of c, each part by its own, in order: texts and
// reasoning, the names and values of a tool's arguments and results, documents
// that are text. notText tells that there was content which isn't text.
func (t *Texts) Segments(c *conversation.Conversation) (segments []Segment, notText bool) {
	clear(t.segments)
	t.segments, t.notText = t.segments[:0], false
	if cap(t.buf) > maxKept {
		t.buf = nil
	}
	t.buf = t.buf[:0]
	for i := range c.System {
		t.part(System, &c.System[i])
	}
	for i := range c.Messages {
		m := &c.Messages[i]
		origin := originOf(m.Role)
		for j := range m.Parts {
			t.part(origin, &m.Parts[j])
		}
	}
	for i := range c.Output {
		for j := range c.Output[i].Parts {
			t.part(Output, &c.Output[i].Parts[j])
		}
	}
	return t.segments, t.notText
}

func originOf(role string) Origin {
	switch role {
	case conversation.RoleSystem:
		return System
	case conversation.RoleAssistant:
		return Assistant
	case conversation.RoleTool:
		return Tool
	}
	return User
}

func (t *Texts) part(origin Origin, p *conversation.Part) {
	switch p.Type {
	case conversation.PartText, conversation.PartReasoning:
		t.value(origin, p.Value)
	case conversation.PartToolCall:
		t.value(origin, p.Value)
	case conversation.PartToolCallResponse:
		t.value(fromOutside(origin), p.Value)
	case conversation.PartURI:
		t.add(origin, p.URI)
	case conversation.PartBlob:
		t.blob(origin, p)
	case conversation.PartFile:
		t.notText = true // its id is known, not what it holds
	case conversation.PartOther:
		if p.Kind == "document" || strings.HasSuffix(p.Kind, "_result") {
			origin = fromOutside(origin)
		}
		t.value(origin, p.Value)
	}
}

// fromOutside is the origin of what a user's or assistant's message brings in.
func fromOutside(origin Origin) Origin {
	if origin == Output {
		return Output
	}
	return Tool
}

// blob looks into documents that are text.
func (t *Texts) blob(origin Origin, p *conversation.Part) {
	if !strings.HasPrefix(p.MimeType, "text/") && p.MimeType != "application/json" {
		t.notText = true
		return
	}
	t.from = len(t.buf)
	buf, err := base64.StdEncoding.AppendDecode(t.buf, []byte(p.Data))
	if err != nil {
		t.notText = true
		return
	}
	t.buf = buf
	t.added(fromOutside(origin))
}

func (t *Texts) add(origin Origin, text string) {
	if text != "" {
		t.segments = append(t.segments, Segment{Origin: origin, Text: text})
	}
}

// added makes a segment of what was written to the buffer.
func (t *Texts) added(origin Origin) {
	if b := t.buf[t.from:]; len(b) > 0 {
		// Not written again before the next Segments: the buffer only grows, into a
		// new array when it has to.
		t.add(origin, unsafe.String(unsafe.SliceData(b), len(b)))
	}
}

// value adds a string as it is, and the leaves of anything else, one a line with
// their keys: a key can say what its value is.
func (t *Texts) value(origin Origin, v jcs.Value) {
	if v.Kind() == jcs.KindString {
		if text, same := v.Plain(); same {
			t.add(origin, text)
			return
		}
	}
	t.from = len(t.buf)
	t.leaves("", v)
	t.added(origin)
}

func (t *Texts) leaves(key string, v jcs.Value) {
	switch v.Kind() {
	case jcs.KindObject:
		for k, member := range v.Members() {
			t.leaves(k, member)
		}
		return
	case jcs.KindArray:
		for _, elem := range v.Elems() {
			t.leaves(key, elem)
		}
		return
	case jcs.KindString, jcs.KindNumber:
	default:
		return
	}
	if len(t.buf) > t.from {
		t.buf = append(t.buf, '\n')
	}
	if key != "" {
		t.buf = append(append(t.buf, key...), ": "...)
	}
	if v.Kind() == jcs.KindNumber {
		t.buf = append(t.buf, v.NumberText()...)
	} else {
		t.buf = v.AppendStr(t.buf)
	}
}
