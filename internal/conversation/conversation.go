// Package conversation holds the canonical form of what was said to a model
// and what it answered, and the hashes over it. Every dialect of telemetry and
// every wire protocol is brought into this form, so that the same conversation
// has the same hash whoever tells it.
package conversation

import (
	"slices"

	"github.com/claudeaudit/claudeaudit/internal/jcs"
)

// Roles of a message in canonical form.
const (
	RoleSystem    = "system"
	RoleUser      = "user"
	RoleAssistant = "assistant"
	RoleTool      = "tool"
)

// PartType names what a part holds. The names are those of the OpenTelemetry
// GenAI message schema.
type PartType string

const (
	PartText             PartType = "text"
	PartReasoning        PartType = "reasoning"
	PartToolCall         PartType = "tool_call"
	PartToolCallResponse PartType = "tool_call_response"
	PartBlob             PartType = "blob"
	PartURI              PartType = "uri"
	PartFile             PartType = "file"
	// PartOther keeps a part of a type that has no form of its own: Kind is
	// its original type, Value its other members.
	PartOther PartType = "other"
)

// Part is one piece of a message. Which fields are set depends on Type:
//
//	text, reasoning      Value (a string; see Text)
//	tool_call            ID, Name, Value (the arguments; parsed when they came as a JSON string)
//	tool_call_response   ID, Value (a string, or any JSON; a list of only text blocks is folded to a string)
//	blob                 MimeType, Data (base64, standard alphabet, padded)
//	uri, file            URI (the uri, or the file id)
//	other                Kind, Value (an object)
type Part struct {
	Type     PartType
	ID       string
	Name     string
	Value    jcs.Value
	MimeType string
	Data     string
	URI      string
	Kind     string
}

// Text returns a text part.
func Text(s string) Part { return TextOf(jcs.String(s)) }

// TextOf returns a text part whose text is that of a string value, which is kept as it was
// told: a long prompt is hashed and stored without ever being unescaped.
func TextOf(v jcs.Value) Part { return Part{Type: PartText, Value: v} }

// Text returns the text of a text or reasoning part. It can cost a copy of it.
func (p *Part) Text() string { return p.Value.Str() }

// Withheld is the text of a part that was there, but whose content the
// telemetry leaves out. Normalize takes such parts away and reports a gap.
const Withheld = "<REDACTED>"

// IsPlaceholder reports whether a client wrote s in place of content that it was told
// to keep back.
func IsPlaceholder(s string) bool {
	return s == Withheld || s == withheldToo
}

const withheldToo = "__REDACTED__"

// isWithheld is IsPlaceholder for the text of a string value.
func isWithheld(v jcs.Value) bool { return v.Is(Withheld) || v.Is(withheldToo) }

// Gap reports whether the part says that there was something without telling
// what: a placeholder for its content, an image without its bytes.
func (p *Part) Gap() bool {
	switch p.Type {
	case PartText, PartReasoning, PartToolCall, PartToolCallResponse:
		return isWithheld(p.Value)
	case PartBlob:
		return p.Data == "" || IsPlaceholder(p.Data)
	case PartURI, PartFile:
		return p.URI == "" || IsPlaceholder(p.URI)
	}
	switch p.Value.Kind() {
	case jcs.KindInvalid, jcs.KindNull:
		return true
	case jcs.KindArray, jcs.KindObject:
		return p.Value.Len() == 0 || p.Kind == string(PartBlob)
	}
	return false
}

// Message is one message of a conversation.
type Message struct {
	Role  string
	Parts []Part
	// FinishReason as told beside an output message; not part of any hash.
	FinishReason string
}

// Texts returns the plain texts of a message in order: of its text parts and
// of the tool results that are texts. Reasoning is not among them.
func Texts(m Message) []string {
	var texts []string
	for i := range m.Parts {
		p := &m.Parts[i]
		switch p.Type {
		case PartText:
			texts = append(texts, p.Text())
		case PartToolCallResponse:
			if p.Value.Kind() == jcs.KindString {
				texts = append(texts, p.Value.Str())
				continue
			}
			for _, block := range p.Value.Elems() {
				if text, ok := blockText(block); ok {
					texts = append(texts, text.Str())
				}
			}
		}
	}
	return texts
}

// Conversation is a prompt and its answer.
type Conversation struct {
	System   []Part
	Messages []Message
	Output   []Message
}

// Clone returns the conversation in memory of its own, but for the texts.
func (c Conversation) Clone() Conversation {
	return Conversation{System: cloneParts(c.System), Messages: cloneMessages(c.Messages), Output: cloneMessages(c.Output)}
}

func cloneMessages(messages []Message) []Message {
	out := slices.Clone(messages)
	for i := range out {
		out[i].Parts = cloneParts(out[i].Parts)
	}
	return out
}

func cloneParts(parts []Part) []Part {
	out := slices.Clone(parts)
	for i := range out {
		out[i].Value = out[i].Value.Clone()
	}
	return out
}

// HasPrompt reports whether anything of the prompt is there.
func (c Conversation) HasPrompt() bool {
	return len(c.System) > 0 || hasParts(c.Messages)
}

// HasOutput reports whether anything of the answer is there.
func (c Conversation) HasOutput() bool { return hasParts(c.Output) }

func hasParts(messages []Message) bool {
	for _, m := range messages {
		if len(m.Parts) > 0 {
			return true
		}
	}
	return false
}
