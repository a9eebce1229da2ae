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
func NewItem(in genai.Interaction) Item {
	it := Item{Interaction: in}
	it.Encode()
	return it
}

// Encode encodes and hashes the content of the item's interaction.
func (in *Item) Encode() { in.Encoded = encode(&in.Content) }

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

// encode brings a normalised conversation into canonical form. Where the two
// forms are the same, which is wherever there is no blob, it is written once
// and hashed as written.
func encode(c *conversation.Conversation) Encoded {
	hasPrompt, hasOutput := c.HasPrompt(), c.HasOutput()
	if !hasPrompt && !hasOutput {
		return Encoded{}
	}
	buf := buffers.Get().(*[]byte)
	b := (*buf)[:0]
	// The places of the canonical texts in what is written.
	var input, system, output [2]int
	var hashes [2 * hexHash]byte
	prompt, response := hashes[:hexHash], hashes[hexHash:]
	if hasPrompt {
		b = append(b, `{"messages":`...)
		input[0] = len(b)
		b = conversation.AppendMessages(b, c.Messages, conversation.Stored)
		input[1] = len(b)
		b = append(b, `,"system":`...)
		system[0] = len(b)
		b = conversation.AppendParts(b, c.System, conversation.Stored)
		system[1] = len(b)
		b = append(b, '}')
		if hasBlob(c.System) || anyBlob(c.Messages) {
			copy(prompt, conversation.PromptHash(c.System, c.Messages))
		} else {
			hashTo(prompt, b)
		}
	}
	if hasOutput {
		output[0] = len(b)
		b = conversation.AppendMessages(b, c.Output, conversation.Stored)
		output[1] = len(b)
		if anyBlob(c.Output) {
			copy(response, conversation.ResponseHash(c.Output))
		} else {
			hashTo(response, b[output[0]:])
		}
	}
	var e Encoded
	text, hex := string(b), string(hashes[:])
	if hasPrompt {
		e.PromptHash = hex[:hexHash]
		if len(c.Messages) > 0 {
			e.Input = text[input[0]:input[1]]
		}
		if len(c.System) > 0 {
			e.System = text[system[0]:system[1]]
		}
	}
	if hasOutput {
		e.ResponseHash = hex[hexHash:]
		e.Output = text[output[0]:output[1]]
	}
	if cap(b) <= maxPooled {
		*buf = b
		buffers.Put(buf)
	}
	return e
}

// hexHash is the length of a hash in hexadecimal digits.
const hexHash = 2 * sha256.Size

func hashTo(dst, b []byte) {
	sum := sha256.Sum256(b)
	hex.Encode(dst, sum[:])
}

func hasBlob(parts []conversation.Part) bool {
	return slices.ContainsFunc(parts, func(p conversation.Part) bool { return p.Type == conversation.PartBlob })
}

func anyBlob(messages []conversation.Message) bool {
	return slices.ContainsFunc(messages, func(m conversation.Message) bool { return hasBlob(m.Parts) })
}
