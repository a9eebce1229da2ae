package genai

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"slices"

	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/claudeaudit/claudeaudit/internal/jcs"
)

// Reasons of Unparsed.
const (
	reasonInvalidJSON = "invalid_json"
	reasonTooDeep     = "too_deep"
	ReasonTooLarge    = "too_large"
	reasonWrongShape  = "wrong_shape"
	reasonInvalidUTF8 = "invalid_utf8"
)

// side counts what was read of a prompt or of a response, to say how complete it is.
type side struct {
	told     int // parts with content
	stripped int // parts whose content was taken out: content off, or hidden
	bare     int // tool calls without arguments
	lost     int // parts of which only the type is told, an image for example

	partial, truncated, unparsed bool
	// as overrides "full" where the dialect tells less than the whole by its nature.
	as Completeness
	// bareIsStripped says that a tool call without arguments has lost them.
	bareIsStripped bool
}

func (s *side) empty() bool { return s.told+s.stripped+s.bare+s.lost == 0 && !s.unparsed }

// cutShort says that content was read from another place than the one that could
// not be read: it may well be cut, too.
func (s *side) cutShort() {
	if s.unparsed && s.told > 0 {
		s.unparsed, s.truncated = false, true
	}
}

// nothing reports whether what was read has no content: every part that could
// have some was stripped of it.
func (s *side) nothing() bool {
	return s.told == 0 && s.lost == 0 && (s.stripped > 0 || s.bareIsStripped)
}

func (s *side) drop(content func()) {
	if s.nothing() {
		content()
	}
}

func (s *side) completeness(empty bool) Completeness {
	switch {
	case s.truncated:
		return ContentTruncated
	case s.unparsed:
		return ContentUnparsed
	case empty:
		return ContentNone
	case s.partial || s.stripped > 0 || s.lost > 0 || s.bareIsStripped && s.bare > 0:
		return ContentPartial
	case s.as != "":
		return s.as
	}
	return ContentFull
}

// isPlaceholder reports whether a text stands for content that was taken out.
func isPlaceholder(s string) bool {
	return slices.Contains(placeholders, s)
}

var placeholders = []string{"<REDACTED>", "__REDACTED__", "redacted-by-litellm"}

// isWithheld is isPlaceholder for the text of a string value.
func isWithheld(v jcs.Value) bool { return slices.ContainsFunc(placeholders, v.Is) }

// parse reads JSON; the reason is "" when it could be read.
func parse(s string, mem *memory) (jcs.Value, string) {
	v, err := mem.json.Parse(s, mem.Limits.json())
	switch {
	case err == nil:
		return v, ""
	case errors.Is(err, jcs.ErrTooDeep):
		return jcs.Value{}, reasonTooDeep
	case errors.Is(err, jcs.ErrTooLarge):
		return jcs.Value{}, ReasonTooLarge
	case errors.Is(err, jcs.ErrInvalidUTF8):
		return jcs.Value{}, reasonInvalidUTF8
	}
	return jcs.Value{}, reasonInvalidJSON
}

// json returns an attribute that holds JSON, as text or structured. It is Invalid
// without a reason when there is nothing in it: absent, empty, or a placeholder.
func (a *attributes) json(k key, mem *memory) (jcs.Value, string) {
	if !a.has(k) {
		return jcs.Value{}, ""
	}
	return valueJSON(a.known[k], mem)
}

func valueJSON(v pcommon.Value, mem *memory) (jcs.Value, string) {
	switch v.Type() {
	case pcommon.ValueTypeStr:
		s := v.Str()
		if s == "" || isPlaceholder(s) {
			return jcs.Value{}, ""
		}
		return parse(s, mem)
	case pcommon.ValueTypeMap, pcommon.ValueTypeSlice:
		return structured(v, mem)
	case pcommon.ValueTypeEmpty:
		return jcs.Value{}, ""
	default:
		return jcs.Value{}, reasonWrongShape
	}
}

// content reads an attribute that should hold content. What can't be read is
// named in Unparsed, with the hash of its bytes but never the bytes.
func (r *reader) content(k key, s *side) jcs.Value {
	v, reason := r.a.json(k, r.mem)
	if reason != "" {
		r.unparsed(keyNames[k], r.a.known[k], reason, s)
	}
	return v
}

func (r *reader) unparsed(name string, v pcommon.Value, reason string, s *side) {
	u := Unparsed{Key: name, Reason: reason}
	h := sha256.New()
	if v.Type() == pcommon.ValueTypeStr {
		u.Bytes = len(v.Str())
		writeString(h, v.Str())
	} else {
		u.Bytes = hashValue(h, v, r.mem.MaxDepth)
	}
	u.SHA256 = hex.EncodeToString(h.Sum(nil))
	r.it.Unparsed = append(r.it.Unparsed, u)
	if s != nil {
		s.unparsed = true
	}
}

// foldTexts returns the content of a tool result in the form that the canonical
// one knows: text parts of the message schema, which hold it in "content", as text blocks.
func foldTexts(v jcs.Value) jcs.Value {
	if v.Kind() != jcs.KindArray || v.Len() == 0 {
		return v
	}
	texts := make([]jcs.Value, 0, v.Len())
	for _, e := range v.Elems() {
		var text jcs.Value
		switch {
		case e.Kind() == jcs.KindString:
			text = e
		case e.Get("type").Str() == "text" && e.Get("text").Kind() == jcs.KindString:
			text = e.Get("text")
		case e.Get("type").Str() == "text" && e.Get("content").Kind() == jcs.KindString:
			text = e.Get("content")
		case e.Get("type").Kind() == jcs.KindInvalid && e.Get("text").Kind() == jcs.KindString && e.Len() == 1:
			text = e.Get("text")
		default:
			return v
		}
		texts = append(texts, jcs.Object([]jcs.Member{{Key: "text", Value: text}, {Key: "type", Value: jcs.String("text")}}))
	}
	return jcs.Array(texts)
}

func writeString(h io.Writer, s string) { _, _ = io.WriteString(h, s) }

// hashValue writes a structured value to a hash, in the order that it came in,
// and returns how many bytes of text it holds.
func hashValue(h io.Writer, v pcommon.Value, depth int) int {
	n := 0
	switch v.Type() {
	case pcommon.ValueTypeMap:
		writeString(h, "{")
		if depth > 0 {
			for name, e := range v.Map().All() {
				writeString(h, name)
				writeString(h, ":")
				n += len(name) + hashValue(h, e, depth-1)
			}
		}
		writeString(h, "}")
	case pcommon.ValueTypeSlice:
		writeString(h, "[")
		if depth > 0 {
			for _, e := range v.Slice().All() {
				n += hashValue(h, e, depth-1)
			}
		}
		writeString(h, "]")
	case pcommon.ValueTypeBytes:
		b := v.Bytes().AsRaw()
		_, _ = h.Write(b)
		n += len(b)
	default:
		s := v.AsString()
		writeString(h, s)
		n += len(s)
	}
	writeString(h, ",")
	return n
}
