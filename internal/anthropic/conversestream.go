package anthropic

import (
	"slices"
	"strings"

	"github.com/claudeaudit/claudeaudit/internal/conversation"
	"github.com/claudeaudit/claudeaudit/internal/jcs"
)

// ConverseStream puts a response of Bedrock's ConverseStream together from its events, to what
// ReadConverseResponse would read of the same response in one piece. It never fails.
type ConverseStream struct {
	// MaxBytes bounds the content that is kept. Zero means no bound.
	MaxBytes int
	// Text is as that of Stream.
	Text func(string)

	blocks     []*converseBlock
	size       int
	stopReason string
	usage      Usage
	errorType  string

	// Started, Stopped tell whether messageStart and messageStop were seen, FirstDelta whether any
	// content was.
	Started, Stopped, FirstDelta bool
	// Truncated says that content was left out because of MaxBytes.
	Truncated bool
	// Unreadable counts events that were no JSON.
	Unreadable int
}

type converseBlock struct {
	index     int64
	kind      string // text, toolUse, reasoningContent, or whatever the delta's key is
	start     jcs.Value
	text      strings.Builder
	redacted  string
	otherwise jcs.Value
}

// Event takes the payload of an event of the type that its :event-type header says.
func (s *ConverseStream) Event(kind string, payload []byte) {
	v, err := jcs.Parse(string(payload), jcs.DefaultLimits)
	if err != nil {
		s.Unreadable++
		s.say(string(payload))
		return
	}
	switch kind {
	case "messageStart":
		s.Started = true
	case "contentBlockStart":
		s.FirstDelta = true
		s.say("\n" + string(payload) + "\n")
		for key, start := range v.Get("start").Members() {
			if b := s.block(v); b != nil {
				b.kind, b.start = key, start
			}
		}
	case "contentBlockDelta":
		s.FirstDelta = true
		s.delta(v, payload)
	case "messageStop":
		s.Stopped = true
		s.stopReason = v.Get("stopReason").Str()
	case "metadata":
		_, info := ReadConverseResponse(v)
		s.usage = info.Usage
	case "contentBlockStop":
		s.say("\n")
	default:
		s.say(string(payload))
	}
}

func (s *ConverseStream) say(text string) {
	if s.Text != nil && text != "" {
		s.Text(text)
	}
}

// Fail notes an exception that ended the stream.
func (s *ConverseStream) Fail(errorType string) { s.errorType = errorType }

func (s *ConverseStream) block(v jcs.Value) *converseBlock {
	index, _ := v.Get("contentBlockIndex").Int()
	if i := slices.IndexFunc(s.blocks, func(b *converseBlock) bool { return b.index == index }); i >= 0 {
		return s.blocks[i]
	}
	if len(s.blocks) >= maxBlocks {
		s.Truncated = true
		return nil
	}
	b := &converseBlock{index: index}
	s.blocks = append(s.blocks, b)
	return b
}

func (s *ConverseStream) delta(v jcs.Value, payload []byte) {
	b := s.block(v)
	if b == nil {
		s.say(string(payload))
		return
	}
	for key, d := range v.Get("delta").Members() {
		text := ""
		switch key {
		case "text":
			text = d.Str()
		case "toolUse":
			text = d.Get("input").Str()
		case "reasoningContent":
			text = d.Get("text").Str()
			if r := d.Get("redactedContent"); r.Kind() == jcs.KindString {
				b.redacted += r.Str()
			}
		default:
			s.say(string(payload))
			b.otherwise = d
		}
		s.say(text)
		if b.kind == "" {
			b.kind = key
		}
		if s.MaxBytes > 0 && s.size+len(text) > s.MaxBytes {
			s.Truncated = true
			return
		}
		s.size += len(text)
		b.text.WriteString(text)
	}
}

// Response is what has been read so far.
func (s *ConverseStream) Response() ([]conversation.Message, ResponseInfo) {
	info := ResponseInfo{StopReason: s.stopReason, Usage: s.usage, ErrorType: s.errorType}
	slices.SortStableFunc(s.blocks, func(a, b *converseBlock) int { return int(a.index - b.index) })
	var parts []conversation.Part
	for _, b := range s.blocks {
		parts = appendConverseMember(parts, b.kind, b.whole())
	}
	if len(parts) == 0 {
		return nil, info
	}
	return []conversation.Message{{Role: conversation.RoleAssistant, Parts: parts, FinishReason: s.stopReason}}, info
}

func (b *converseBlock) whole() jcs.Value {
	text := jcs.String(b.text.String())
	switch b.kind {
	case "text":
		return text
	case "toolUse":
		input := text
		if parsed, err := jcs.Parse(b.text.String(), jcs.DefaultLimits); err == nil {
			input = parsed
		} else if b.text.Len() == 0 {
			input = jcs.Object(nil)
		}
		return jcs.Object([]jcs.Member{
			{Key: "toolUseId", Value: b.start.Get("toolUseId")}, {Key: "name", Value: b.start.Get("name")}, {Key: "input", Value: input},
		})
	case "reasoningContent":
		if b.redacted != "" {
			return jcs.Object([]jcs.Member{{Key: "redactedContent", Value: jcs.String(b.redacted)}})
		}
		return jcs.Object([]jcs.Member{{Key: "reasoningText", Value: jcs.Object([]jcs.Member{{Key: "text", Value: text}})}})
	}
	return b.otherwise
}
