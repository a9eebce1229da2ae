package conversation

import (
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"sync"

	"github.com/claudeaudit/claudeaudit/internal/jcs"
)

// Form is one of the two canonical forms. They differ in blobs only.
type Form uint8

const (
	// Stored is the form that is kept: a blob has its data,
	// {"content":BASE64,"mime_type":…,"type":"blob"}.
	Stored Form = iota
	// Hashed is the form that is hashed: a blob is the hex SHA-256 of its decoded bytes,
	// {"mime_type":…,"sha256":…,"type":"blob"}.
	Hashed
)

// AppendParts appends the canonical JSON array of parts to dst. The parts must be
// normalised for two tellings of the same conversation to give the same bytes.
func AppendParts(dst []byte, parts []Part, form Form) []byte {
	w := writer{buf: dst, form: form}
	w.parts(parts)
	return w.buf
}

// AppendMessages appends the canonical JSON array of messages, each {"parts":[…],"role":…}, to dst.
func AppendMessages(dst []byte, messages []Message, form Form) []byte {
	w := writer{buf: dst, form: form}
	w.messages(messages)
	return w.buf
}

// PromptHash returns the lower-case hex SHA-256 of the canonical prompt,
// {"messages":[…],"system":[…]} in Hashed form, and "" when there is nothing to hash.
// System and messages must be normalised.
func PromptHash(system []Part, messages []Message) string {
	if !(Conversation{System: system, Messages: messages}).HasPrompt() {
		return ""
	}
	w := newHasher()
	w.raw(`{"messages":`)
	w.messages(messages)
	w.raw(`,"system":`)
	w.parts(system)
	w.raw(`}`)
	return w.sum()
}

// ResponseHash returns the lower-case hex SHA-256 of the output messages in Hashed
// form, and "" when there is nothing to hash. The messages must be normalised.
func ResponseHash(output []Message) string {
	if !hasParts(output) {
		return ""
	}
	w := newHasher()
	w.messages(output)
	return w.sum()
}

// writer writes canonical JSON to a buffer; with a hash, the buffer goes there
// whenever it is full, so that memory doesn't grow with the conversation.
type writer struct {
	buf  []byte
	form Form
	hash hash.Hash
}

const (
	// flushAt is from what length on the buffer goes to the hash. It is small enough
	// for what was written to still be in the processor's first cache.
	flushAt = 16 << 10
	// maxPooled bounds what a pooled buffer may hold on to.
	maxPooled = 256 << 10
)

var hashers = sync.Pool{New: func() any {
	return &writer{hash: sha256.New(), form: Hashed}
}}

func newHasher() *writer {
	w := hashers.Get().(*writer)
	w.hash.Reset()
	w.buf = w.buf[:0]
	return w
}

// sum ends the hash and gives the writer back.
func (w *writer) sum() string {
	w.hash.Write(w.buf)
	var sum [sha256.Size]byte
	w.hash.Sum(sum[:0])
	if cap(w.buf) > maxPooled {
		w.buf = nil
	}
	hashers.Put(w)
	return hex.EncodeToString(sum[:])
}

func (w *writer) flush() {
	if w.hash != nil && len(w.buf) >= flushAt {
		w.hash.Write(w.buf)
		w.buf = w.buf[:0]
	}
}

func (w *writer) raw(s string) { w.buf = append(w.buf, s...) }

func (w *writer) str(s string) {
	if w.hash == nil {
		w.buf = jcs.AppendString(w.buf, s)
		return
	}
	w.buf = append(w.buf, '"')
	for len(s) > flushAt {
		n := cut(s, flushAt)
		w.buf = jcs.AppendEscaped(w.buf, s[:n])
		w.flush()
		s = s[n:]
	}
	w.buf = jcs.AppendEscaped(w.buf, s)
	w.buf = append(w.buf, '"')
	w.flush()
}

// cut returns the largest index up to n at which s can be cut without parting a
// character. n must be more than 3 and less than len(s).
func cut(s string, n int) int {
	for i := n; i > n-4; i-- {
		if s[i]&0xC0 != 0x80 {
			return i
		}
	}
	return n // no character is that long: these bytes belong to none
}

func (w *writer) value(v jcs.Value) {
	if w.hash == nil || v.Kind() != jcs.KindString {
		w.buf = v.Append(w.buf)
		w.flush()
		return
	}
	s, ok := v.Literal()
	if !ok {
		w.str(v.Str())
		return
	}
	w.buf = append(w.buf, '"')
	for len(s) > 0 {
		n := min(len(s), flushAt)
		w.buf = append(w.buf, s[:n]...)
		w.flush()
		s = s[n:]
	}
	w.buf = append(w.buf, '"')
}

func (w *writer) messages(messages []Message) {
	w.raw("[")
	for i := range messages {
		if i > 0 {
			w.raw(",")
		}
		w.raw(`{"parts":`)
		w.parts(messages[i].Parts)
		w.raw(`,"role":`)
		w.str(messages[i].Role)
		w.raw(`}`)
	}
	w.raw("]")
}

func (w *writer) parts(parts []Part) {
	w.raw("[")
	for i := range parts {
		if i > 0 {
			w.raw(",")
		}
		w.part(&parts[i])
	}
	w.raw("]")
}

// part writes the members of each type in their canonical order.
func (w *writer) part(p *Part) {
	switch p.Type {
	case PartText, PartReasoning:
		w.raw(`{"content":`)
		w.value(p.Value)
	case PartToolCall:
		w.raw(`{"arguments":`)
		w.value(p.Value)
		w.raw(`,"id":`)
		w.str(p.ID)
		w.raw(`,"name":`)
		w.str(p.Name)
	case PartToolCallResponse:
		w.raw(`{"id":`)
		w.str(p.ID)
		w.raw(`,"response":`)
		w.value(p.Value)
	case PartBlob:
		if w.form == Hashed {
			w.raw(`{"mime_type":`)
			w.str(p.MimeType)
			w.raw(`,"sha256":`)
			w.str(blobSum(p.Data))
		} else {
			w.raw(`{"content":`)
			w.str(p.Data)
			w.raw(`,"mime_type":`)
			w.str(p.MimeType)
		}
	case PartURI:
		w.raw(`{"type":"uri","uri":`)
		w.str(p.URI)
		w.raw(`}`)
		return
	case PartFile:
		w.raw(`{"file_id":`)
		w.str(p.URI)
	default:
		w.value(p.other())
		return
	}
	w.raw(`,"type":"`)
	w.raw(string(p.Type))
	w.raw(`"}`)
}

// other returns the object of a part without a form of its own: its members and its
// type. A value that isn't an object is the member "value".
func (p *Part) other() jcs.Value {
	members := make([]jcs.Member, 0, p.Value.Len()+2)
	switch p.Value.Kind() {
	case jcs.KindObject:
		for key, value := range p.Value.Members() {
			if key != "type" {
				members = append(members, jcs.Member{Key: key, Value: value})
			}
		}
	case jcs.KindInvalid:
	default:
		members = append(members, jcs.Member{Key: "value", Value: p.Value})
	}
	return jcs.Object(append(members, jcs.Member{Key: "type", Value: jcs.String(p.Kind)}))
}
