package identity

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"sync"

	"github.com/claudeaudit/claudeaudit/internal/conversation"
	"github.com/claudeaudit/claudeaudit/internal/genai"
)

// Item is what one span or log record tells, with its content in canonical
// form and hashed: that work is done before the window is entered.
type Item struct {
	genai.Interaction
	Encoded Encoded
}

// NewItem encodes and hashes the content of an interaction.
func NewItem(in genai.Interaction) Item { return Item{Interaction: in, Encoded: Encode(&in.Content)} }

// Encoded is a conversation in canonical form: JSON arrays in stored form, ""
// for what isn't told, and the hashes over the hashed form.
type Encoded struct {
	System, Input, Output    string
	PromptHash, ResponseHash string
}

// Len is the length of the content in canonical form, in bytes.
func (e *Encoded) Len() int { return len(e.System) + len(e.Input) + len(e.Output) }

// size is about what the content holds in memory, in bytes: the text that was
// read and its canonical form.
func (e *Encoded) size() int64 { return int64(2*e.Len() + 1024) }

var buffers = sync.Pool{New: func() any { return new([]byte) }}

// maxPooled bounds what an idle buffer may hold on to.
const maxPooled = 1 << 20

// Encode brings a normalised conversation into canonical form. Where the two
// forms are the same, which is wherever there is no blob, it is written once
// and hashed as written.
func Encode(c *conversation.Conversation) Encoded {
	var e Encoded
	hasPrompt, hasOutput := c.HasPrompt(), c.HasOutput()
	if !hasPrompt && !hasOutput {
		return e
	}
	buf := buffers.Get().(*[]byte)
	b := (*buf)[:0]
	if hasPrompt {
		b = append(b, `{"messages":`...)
		from := len(b)
		b = conversation.AppendMessages(b, c.Messages, conversation.Stored)
		if len(c.Messages) > 0 {
			e.Input = string(b[from:])
		}
		b = append(b, `,"system":`...)
		from = len(b)
		b = conversation.AppendParts(b, c.System, conversation.Stored)
		if len(c.System) > 0 {
			e.System = string(b[from:])
		}
		b = append(b, '}')
		if hasBlob(c.System) || anyBlob(c.Messages) {
			e.PromptHash = conversation.PromptHash(c.System, c.Messages)
		} else {
			e.PromptHash = hashOf(b)
		}
	}
	if hasOutput {
		b = conversation.AppendMessages(b[:0], c.Output, conversation.Stored)
		e.Output = string(b)
		if anyBlob(c.Output) {
			e.ResponseHash = conversation.ResponseHash(c.Output)
		} else {
			e.ResponseHash = hashOf(b)
		}
	}
	if cap(b) <= maxPooled {
		*buf = b
		buffers.Put(buf)
	}
	return e
}

func hashOf(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

func hasBlob(parts []conversation.Part) bool {
	return slices.ContainsFunc(parts, func(p conversation.Part) bool { return p.Type == conversation.PartBlob })
}

func anyBlob(messages []conversation.Message) bool {
	return slices.ContainsFunc(messages, func(m conversation.Message) bool { return hasBlob(m.Parts) })
}
