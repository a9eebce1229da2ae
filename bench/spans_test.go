package bench

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

const spansPerRequest = 16

// Text of a kind that prompts are full of: prose, a list, a little code with
// quotes, an umlaut. Nothing in it is to be redacted: the common case.
const prose = `Please go through the minutes of Tuesday's meeting and write a summary that a new colleague would understand.
Keep to what was decided; leave out who said it. Three points matter most:
 - the invoice run for October was late because the "partial delivery" flag was not set for two warehouses,
 - the team in Zürich asked for a longer retention of the delivery notes, and nobody objected,
 - the export job should log its exit status: if err != nil { log.Printf("export: %v", err) }
If a point is unclear, say so rather than guess. `

// mark stands at the head of every text; identify writes another word of the
// same length over it, so that no text comes twice.
const mark = "(case nnnnnnnn) "

// conversation gives messages with size bytes of text in all, in turns of at
// most 2 KB.
func conversation(size int) (system string, turns []string) {
	text := strings.Repeat(prose, size/len(prose)+1)[:size]
	system, text = mark+text[:256-len(mark)], text[256:]
	for len(text) > 0 {
		n := min(2048, len(text))
		for n < len(text) && text[n]&0xc0 == 0x80 { // not inside of a character
			n++
		}
		turns = append(turns, mark+text[:n-len(mark)])
		text = text[n:]
	}
	return system, turns
}

func mustJSON(v any) string {
	var out strings.Builder
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false) // as the clients' encoders write it
	if err := encoder.Encode(v); err != nil {
		panic(err)
	}
	return strings.TrimSuffix(out.String(), "\n")
}

type part struct {
	Type    string `json:"type"`
	Content string `json:"content"`
}

type message struct {
	Role  string `json:"role"`
	Parts []part `json:"parts"`
}

// request makes one export request of 16 model calls as the semantic
// conventions for GenAI have them, each with size bytes of prompt text.
func request(size int) ptrace.Traces {
	system, turns := conversation(size)
	var messages []message
	for i, turn := range turns {
		messages = append(messages, message{[]string{"user", "assistant"}[i%2], []part{{"text", turn}}})
	}
	input := mustJSON(messages)
	instructions := mustJSON([]part{{"text", system}})
	output := mustJSON([]message{{"assistant", []part{{"text", mark + prose[:200-len(mark)]}}}})

	td := ptrace.NewTraces()
	resource := td.ResourceSpans().AppendEmpty()
	resource.Resource().Attributes().PutStr("service.name", "invoice-assistant")
	resource.Resource().Attributes().PutStr("service.version", "1.42.0")
	scope := resource.ScopeSpans().AppendEmpty()
	scope.Scope().SetName("opentelemetry.instrumentation.anthropic")
	for i := range spansPerRequest {
		span := scope.Spans().AppendEmpty()
		span.SetName("chat claude-sonnet-4-5-20250929")
		span.SetKind(ptrace.SpanKindClient)
		span.SetStartTimestamp(1_795_482_848_832_806_566 + pcommon.Timestamp(i))
		span.SetEndTimestamp(1_795_482_849_932_806_566 + pcommon.Timestamp(i))
		attributes := span.Attributes()
		attributes.PutStr("gen_ai.operation.name", "chat")
		attributes.PutStr("gen_ai.provider.name", "anthropic")
		attributes.PutStr("gen_ai.request.model", "claude-sonnet-4-5-20250929")
		attributes.PutStr("gen_ai.response.model", "claude-sonnet-4-5-20250929")
		attributes.PutInt("gen_ai.request.max_tokens", 1024)
		attributes.PutStr("gen_ai.response.id", fmt.Sprintf("msg_%024d", i))
		attributes.PutInt("gen_ai.usage.input_tokens", int64(size/4))
		attributes.PutInt("gen_ai.usage.output_tokens", 50)
		attributes.PutEmptySlice("gen_ai.response.finish_reasons").AppendEmpty().SetStr("stop")
		attributes.PutStr("user.id", fmt.Sprintf("u-%d", i))
		attributes.PutStr("session.id", fmt.Sprintf("sess-%d", i))
		attributes.PutStr("gen_ai.system_instructions", instructions)
		attributes.PutStr("gen_ai.input.messages", input)
		attributes.PutStr("gen_ai.output.messages", output)
	}
	return td
}

// contentKeys are the attributes that have the texts.
var contentKeys = []string{"gen_ai.system_instructions", "gen_ai.input.messages", "gen_ai.output.messages"}

// renew makes the texts of a span others: all of them, or but for the last of the
// prompt and the answer, as when a conversation goes on.
func renew(attributes pcommon.Map, id [8]byte, all bool) {
	var word [8]byte
	for i, b := range id {
		word[i] = 'a' + b
	}
	for _, key := range contentKeys {
		v, _ := attributes.Get(key)
		text := []byte(v.Str())
		at := 0
		if !all && key == "gen_ai.system_instructions" {
			continue
		}
		if !all && key == "gen_ai.input.messages" {
			at = bytes.LastIndex(text, []byte(mark[:6]))
		}
		for {
			i := bytes.Index(text[at:], []byte(mark[:6]))
			if i < 0 {
				break
			}
			at += i + 6
			copy(text[at:], word[:])
		}
		v.SetStr(string(text))
	}
}

// identify gives every span of the request ids and texts that were never used
// before, so that each is a call of its own.
func identify(td ptrace.Traces, n *uint64, allNew bool) {
	spans := td.ResourceSpans().At(0).ScopeSpans().At(0).Spans()
	for i := range spans.Len() {
		*n++
		var id [8]byte
		binary.BigEndian.PutUint64(id[:], *n)
		span := spans.At(i)
		span.SetSpanID(id)
		span.SetTraceID(pcommon.TraceID(append(id[:], id[:]...)))
		span.Attributes().PutStr("gen_ai.response.id", "msg_"+hex.EncodeToString(id[:]))
		renew(span.Attributes(), spread(*n), allNew)
	}
}

// spread gives the lowest 32 bits of n, four in each byte.
func spread(n uint64) (id [8]byte) {
	for i := range id {
		id[i] = byte(n>>(4*i)) & 0x0f
	}
	return id
}

// sizes of the prompts that are measured, in bytes of text.
var sizes = []struct {
	name  string
	bytes int
}{{"4KB", 4 << 10}, {"32KB", 32 << 10}}

// eachSize runs a benchmark per size; bytes/s are bytes of prompt text.
func eachSize(b *testing.B, run func(b *testing.B, size int)) {
	for _, size := range sizes {
		b.Run(size.name, func(b *testing.B) {
			run(b, size.bytes)
		})
	}
}
