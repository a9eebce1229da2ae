package anthropic

import (
	"slices"
	"strings"

	"github.com/claudeaudit/claudeaudit/internal/conversation"
	"github.com/claudeaudit/claudeaudit/internal/jcs"
)

// Stream puts a streamed response of the Messages API together from its events,
// to what ReadResponse would read of the same response in one piece. It never fails: what it can't
// read it counts.
type Stream struct {
	// MaxBytes bounds the content that is kept. Zero means no bound.
	MaxBytes int
	// Text, where it is set, is told the content as it comes, kept or not: texts and arguments as they are,
	// in pieces, each block's on a line of its own, and whatever else there is as JSON.
	Text func(string)

	message jcs.Value // of message_start
	usage   Usage
	blocks  []*block
	size    int

	stopReason string
	errorType  string
	requestID  string

	// Started, Stopped tell whether message_start and message_stop were seen, FirstDelta
	// whether any content was.
	Started, Stopped, FirstDelta bool
	// Truncated says that content was left out because of MaxBytes.
	Truncated bool
	// Unreadable counts events that were no JSON.
	Unreadable int
}

type block struct {
	index int64
	start jcs.Value
	text  strings.Builder
	// more are the deltas of kinds that are not known.
	more []jcs.Value
}

// maxBlocks bounds the content blocks of one response.
const maxBlocks = 4096

// Event takes the data of one event, JSON. The event's own name repeats its type, which counts.
func (s *Stream) Event(data []byte) {
	v, err := jcs.Parse(string(data), jcs.DefaultLimits)
	if err != nil {
		s.Unreadable++
		s.say(string(data))
		return
	}
	switch v.Get("type").Str() {
	case "message_start":
		s.Started = true
		s.message = v.Get("message")
		s.addUsage(s.message.Get("usage"))
		if reason := s.message.Get("stop_reason").Str(); reason != "" {
			s.stopReason = reason
		}
	case "content_block_start":
		s.FirstDelta = true
		s.sayStart(v.Get("content_block"), data)
		index, _ := v.Get("index").Int()
		if len(s.blocks) < maxBlocks && s.take(len(data)) {
			s.blocks = append(s.blocks, &block{index: index, start: v.Get("content_block")})
		}
	case "content_block_delta":
		s.FirstDelta = true
		s.delta(v, data)
	case "message_delta":
		if reason := v.Get("delta").Get("stop_reason").Str(); reason != "" {
			s.stopReason = reason
		}
		s.addUsage(v.Get("usage"))
	case "completion":
		s.completion(v)
	case "message_stop":
		s.Stopped = true
		s.addMetrics(v.Get("amazon-bedrock-invocationMetrics"))
	case "error":
		s.errorType = v.Get("error").Get("type").Str()
		if s.errorType == "" {
			s.errorType = "api_error"
		}
		s.requestID = v.Get("request_id").Str()
	case "content_block_stop", "ping":
	default:
		s.say(string(data))
	}
}

func (s *Stream) say(text string) {
	if s.Text != nil && text != "" {
		s.Text(text)
	}
}

// sayStart tells what a block begins with.
func (s *Stream) sayStart(block jcs.Value, data []byte) {
	if s.Text == nil {
		return
	}
	s.say("\n")
	switch block.Get("type").Str() {
	case "text":
		s.say(block.Get("text").Str())
	case "thinking":
		s.say(block.Get("thinking").Str())
	default:
		s.say(string(data) + "\n")
	}
}

// completion takes an event of a legacy completion, which has a piece of its text, and at the end why it stopped.
func (s *Stream) completion(v jcs.Value) {
	if !s.Started {
		s.Started, s.message = true, v.Without("completion")
	}
	if piece := v.Get("completion").Str(); piece != "" {
		s.FirstDelta = true
		s.say(piece)
		if len(s.blocks) == 0 {
			s.blocks = append(s.blocks, &block{})
		}
		if s.take(len(piece)) {
			s.blocks[0].text.WriteString(piece)
		}
	}
	if reason := v.Get("stop_reason").Str(); reason != "" {
		s.stopReason, s.Stopped = reason, true
	}
}

// Fail notes an error that was told outside of the events, as Bedrock's exceptions are.
func (s *Stream) Fail(errorType string) { s.errorType = errorType }

// take makes room for n bytes, and tells whether there is any.
func (s *Stream) take(n int) bool {
	if s.MaxBytes > 0 && s.size+n > s.MaxBytes {
		s.Truncated = true
		return false
	}
	s.size += n
	return true
}

func (s *Stream) delta(v jcs.Value, data []byte) {
	b, d := s.blockOf(v), v.Get("delta")
	var text string
	switch d.Get("type").Str() {
	case "text_delta":
		text = d.Get("text").Str()
	case "thinking_delta":
		text = d.Get("thinking").Str()
	case "input_json_delta":
		text = d.Get("partial_json").Str()
	case "compaction_delta":
		text = d.Get("content").Str()
	case "signature_delta":
		return // what is left of a block holds none
	case "citations_delta":
		s.say(string(data))
		return // as above
	default:
		s.say(string(data))
		if b != nil && len(b.more) < maxBlocks && s.take(len(d.Get("type").Str())+64) {
			b.more = append(b.more, d)
		}
		return
	}
	s.say(text)
	if b != nil && s.take(len(text)) {
		b.text.WriteString(text)
	}
}

// blockOf is the block of a delta, nil when there are too many. A delta without its block is kept as a text block's
// would be.
func (s *Stream) blockOf(v jcs.Value) *block {
	index, _ := v.Get("index").Int()
	if i := slices.IndexFunc(s.blocks, func(b *block) bool { return b.index == index }); i >= 0 {
		return s.blocks[i]
	}
	if len(s.blocks) >= maxBlocks {
		s.Truncated = true
		return nil
	}
	s.blocks = append(s.blocks, &block{index: index})
	return s.blocks[len(s.blocks)-1]
}

// addUsage takes counts that are told; they are cumulative, so that a later one replaces
// an earlier one.
func (s *Stream) addUsage(v jcs.Value) {
	for _, c := range []struct {
		key string
		dst **int64
	}{
		{"input_tokens", &s.usage.InputTokens},
		{"output_tokens", &s.usage.OutputTokens},
		{"cache_read_input_tokens", &s.usage.CacheReadTokens},
		{"cache_creation_input_tokens", &s.usage.CacheWriteTokens},
	} {
		if n := count(v, c.key); n != nil {
			*c.dst = n
		}
	}
}

// addMetrics takes Bedrock's counts where the stream has none of its own.
func (s *Stream) addMetrics(v jcs.Value) {
	if s.usage.InputTokens == nil {
		s.usage.InputTokens = count(v, "inputTokenCount")
	}
	if s.usage.OutputTokens == nil {
		s.usage.OutputTokens = count(v, "outputTokenCount")
	}
}

// ID is the message's id, "" before it is known.
func (s *Stream) ID() string { return s.message.Get("id").Str() }

// Response is what has been read so far.
func (s *Stream) Response() ([]conversation.Message, ResponseInfo) {
	info := ResponseInfo{
		ID: s.ID(), Model: s.message.Get("model").Str(), StopReason: s.stopReason, Usage: s.usage,
		ErrorType: s.errorType, RequestID: s.requestID,
	}
	slices.SortStableFunc(s.blocks, func(a, b *block) int { return int(a.index - b.index) })
	var parts []conversation.Part
	for _, b := range s.blocks {
		parts = appendBlock(parts, b.whole())
	}
	if len(parts) == 0 {
		return nil, info
	}
	return []conversation.Message{{Role: conversation.RoleAssistant, Parts: parts, FinishReason: s.stopReason}}, info
}

// whole is the block as a response in one piece has it.
func (b *block) whole() jcs.Value {
	kind := b.start.Get("type").Str()
	set := func(key string, v jcs.Value) jcs.Value {
		var members []jcs.Member
		for k, m := range b.start.Without(key).Members() {
			members = append(members, jcs.Member{Key: k, Value: m})
		}
		return jcs.Object(append(members, jcs.Member{Key: key, Value: v}))
	}
	text := b.text.String()
	switch kind {
	case "":
		return jcs.Object([]jcs.Member{{Key: "type", Value: jcs.String("text")}, {Key: "text", Value: jcs.String(text)}})
	case "text":
		return set("text", jcs.String(b.start.Get("text").Str()+text))
	case "thinking":
		return set("thinking", jcs.String(b.start.Get("thinking").Str()+text))
	case "tool_use", "server_tool_use", "mcp_tool_use":
		if text == "" {
			return b.start
		}
		// Arguments that aren't JSON, or not whole, stay the text they are.
		if input, err := jcs.Parse(text, jcs.DefaultLimits); err == nil {
			return set("input", input)
		}
		return set("input", jcs.String(text))
	}
	v := b.start
	if text != "" {
		v = set("content", jcs.String(b.start.Get("content").Str()+text))
	}
	if len(b.more) > 0 {
		b.start = v
		v = set("deltas", jcs.Array(b.more))
	}
	return v
}
