package genai

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/claudeaudit/claudeaudit/internal/conversation"
)

// smallLimits keep a fuzzed input from costing more than it is worth.
var smallLimits = Limits{MaxContentBytes: 1 << 16, MaxMessages: 64, MaxDepth: 16, MaxNodes: 4096}

// useInteraction does with a reading what its callers do.
func useInteraction(t testing.TB, it Interaction) {
	t.Helper()
	if it.PromptCompleteness == ContentFull {
		require.NotEmpty(t, conversation.PromptHash(it.Content.System, it.Content.Messages))
	}
	for _, u := range it.Unparsed {
		require.NotEmpty(t, u.Reason)
	}
	for _, p := range []*int64{it.PromptTokens, it.CompletionTokens, it.CacheReadTokens, it.CacheWriteTokens} {
		require.True(t, p == nil || *p >= 0)
	}
	require.LessOrEqual(t, len(it.QuotedRequestIDs), maxQuotes)
}

func FuzzReadSpan(f *testing.F) {
	for _, name := range []string{"openinference-tool", "sdknative-tool", "tlold-tool", "vercel5-tool", "lctl-plain", "oijs-err429"} {
		traces := loadTraces(f, name+".otlp.json")
		b, err := (&ptrace.ProtoMarshaler{}).MarshalTraces(traces)
		require.NoError(f, err)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		traces, err := (&ptrace.ProtoUnmarshaler{}).UnmarshalTraces(b)
		if err != nil {
			return
		}
		eachSpan(traces, func(res pcommon.Map, scope pcommon.InstrumentationScope, span ptrace.Span) {
			it := ReadSpan(ReadResource(res), scope, span, smallLimits)
			useInteraction(t, it)
			StripSpan(span, it.Kind)
			if it.Kind == KindCall || it.Kind == KindPart {
				again := ReadSpan(ReadResource(res), scope, span, smallLimits)
				require.Contains(t, []Completeness{ContentNone, ContentTruncated, ContentUnparsed}, again.PromptCompleteness)
				require.Empty(t, again.Content.Messages)
				require.Empty(t, again.Content.Output)
			}
		})
	})
}

func FuzzReadLog(f *testing.F) {
	for _, name := range []string{"botocore-conversetool.logs", "openaiv2-tool.logs", "traceloopevents-tool.logs", "otelgenaievent-tool.logs", "claudecode-rawbodies"} {
		logs := loadLogs(f, name+".otlp.json")
		b, err := (&plog.ProtoMarshaler{}).MarshalLogs(logs)
		require.NoError(f, err)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		logs, err := (&plog.ProtoUnmarshaler{}).UnmarshalLogs(b)
		if err != nil {
			return
		}
		var parts []Interaction
		eachLog(logs, func(res pcommon.Map, scope pcommon.InstrumentationScope, rec plog.LogRecord) {
			it := ReadLog(ReadResource(res), scope, rec, smallLimits)
			useInteraction(t, it)
			StripLog(rec, it.Kind)
			if it.Kind == KindPart {
				parts = append(parts, it)
			}
		})
		useInteraction(t, Join(parts))
	})
}

// FuzzContent puts any text where each dialect has its content.
func FuzzContent(f *testing.F) {
	files, err := filepath.Glob(filepath.Join(captureDir, "*-tool.otlp.json"))
	require.NoError(f, err)
	for _, file := range files {
		b, err := os.ReadFile(file)
		require.NoError(f, err)
		f.Add(string(b[:min(len(b), 4096)]))
	}
	for _, s := range []string{
		`[{"role":"user","parts":[{"type":"text","content":"x"},{"type":"blob","content":"data:,"},{"type":"file","file":{"file_data":"data:a;base64,eA=="}}]}]`,
		`{"messages":[[{"lc":1,"kwargs":{"content":"x","type":"human"}}]]}`,
		`{"messages":[{"role":"tool","tool_call_id":"1","content":[{"text":"x"}]}],"system":[{"type":"text","text":"x"}]}`,
		`{"generations":[[{"message":{"kwargs":{"response_metadata":{"id":"msg_1"}}}}]]}`,
		`[{'role': 'user', 'content': "it's"}, Usage(a=1, b=None, c=[True, (1, 2.5e3)]), '\x41\u00e9\U0001F600']`,
		`{"choices":[{"message":{"role":"assistant","tool_calls":[{"id":"1","function":{"name":"f","arguments":"{}"}}]}}]}`,
	} {
		f.Add(s)
	}
	keys := []string{
		"gen_ai.system_instructions", "gen_ai.input.messages", "gen_ai.output.messages", "input.value", "output.value", "ai.prompt.messages",
		"ai.response.toolCalls", "ai.response.providerMetadata", "ai.response.files", "request_data", "response_data", "langfuse.observation.input", "langfuse.observation.output",
		"langfuse.observation.usage_details", "gen_ai.prompt", "gen_ai.completion", "events", "metadata.usage_object", "llm.anthropic.messages", "llm.anthropic.content",
		"llm.anthropic.usage", "llm.invocation_parameters", "metadata", "gen_ai.prompt.0.content", "gen_ai.completion.0.content", "llm.input_messages.0.message.content",
		"gen_ai.response.finish_reasons", "body", "prompt", "response",
	}
	shapes := []fixture{
		{scope: "x", span: "chat", attrs: attrs{"gen_ai.operation.name": "chat"}},
		{scope: "x", span: "x", attrs: attrs{"openinference.span.kind": "LLM", "input.mime_type": "application/json", "output.mime_type": "application/json"}},
		{scope: "ai", span: "x", attrs: attrs{"ai.operationId": "ai.generateText.doGenerate"}},
		{scope: "litellm", span: "litellm_request", attrs: attrs{}},
		{scope: "litellm", span: "raw_gen_ai_request", attrs: attrs{}},
		{scope: "logfire.anthropic", span: "x", attrs: attrs{"logfire.msg_template": "x", "gen_ai.operation.name": "chat"}},
		{scope: "pydantic-ai", span: "x", attrs: attrs{"gen_ai.operation.name": "chat"}},
		{scope: "x", span: "x", attrs: attrs{"langfuse.observation.type": "generation"}},
		{scope: "x", span: "x", attrs: attrs{"llm.request.type": "chat"}},
		{scope: scopeTraceloopChain, span: "x", attrs: attrs{"gen_ai.operation.name": "chat"}},
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, shape := range shapes {
			a := attrs{}
			for k, v := range shape.attrs {
				a[k] = v
			}
			for _, k := range keys {
				a[k] = s
			}
			shape.attrs = a
			res, scope, span := shape.build(t)
			it := ReadSpan(ReadResource(res), scope, span, smallLimits)
			useInteraction(t, it)
			StripSpan(span, it.Kind)
		}
		for _, event := range []string{"gen_ai.user.message", "gen_ai.tool.message", "gen_ai.assistant.message", "gen_ai.choice", "gen_ai.content.prompt"} {
			useInteraction(t, readRecord(t, "x", logRecord(t, event, s, nil)))
			useInteraction(t, readRecord(t, "x", logRecord(t, event, attrs{"content": s, "message": s, "tool_calls": s}, nil)))
		}
		for _, event := range []string{"api_request_body", "api_response_body", "user_prompt", "assistant_response"} {
			useInteraction(t, readRecord(t, scopeClaudeCodeEvents, logRecord(t, "", "claude_code."+event, attrs{"body": s, "prompt": s, "response": s})))
		}
	})
}

// Whatever a span holds, reading it takes time in proportion to its size: these
// would not end in the time of a test run if it were the square.
func TestHostileSpansTakeLinearTime(t *testing.T) {
	many := func(n int, fn func(i int, m attrs)) attrs {
		m := attrs{"gen_ai.operation.name": "chat"}
		for i := range n {
			fn(i, m)
		}
		return m
	}
	const n = 100_000
	calls := `[{"role":"assistant","parts":[` + strings.Repeat(`{"type":"tool_call","id":"x","name":"f","arguments":{}},`, n) + `{"type":"text","content":"{\"type\":\"tool_use\",\"id\":\"x\"}"}]}]`
	unique := &strings.Builder{}
	unique.WriteString(`[{"role":"assistant","tool_calls":[`)
	for i := range n {
		if i > 0 {
			unique.WriteByte(',')
		}
		unique.WriteString(`{"id":"` + itoa(i) + `","name":"f","args":{}}`)
	}
	unique.WriteString(`]}]`)
	tests := map[string]attrs{
		"attributes": many(1_000_000, func(i int, m attrs) { m["gen_ai.x"+itoa(i)] = true }),
		"indexes":    many(n, func(i int, m attrs) { m["gen_ai.prompt."+itoa(i)+".content"] = "x" }),
		"tool calls": many(1, func(_ int, m attrs) { m["gen_ai.output.messages"] = calls }),
		"ids":        many(1, func(_ int, m attrs) { m["gen_ai.output.messages"] = unique.String() }),
		"depth":      many(1, func(_ int, m attrs) { m["gen_ai.input.messages"] = strings.Repeat(`[`, 10_000_000) }),
		"python":     many(1, func(_ int, m attrs) { m["metadata.usage_object"] = strings.Repeat(`(`, 10_000_000) }),
		"size":       many(1, func(_ int, m attrs) { m["gen_ai.input.messages"] = `["` + strings.Repeat(`a`, 60<<20) + `"]` }),
		"utf-8":      many(1, func(_ int, m attrs) { m["gen_ai.input.messages"] = `["` + strings.Repeat("\xff", 1<<20) + `"]` }),
		"requests": many(1, func(_ int, m attrs) {
			m["error.type"] = "x"
			m["error.message"] = strings.Repeat("req_", 10_000_000)
		}),
	}
	for name, m := range tests {
		t.Run(name, func(t *testing.T) {
			span := ptrace.NewSpan()
			require.NoError(t, span.Attributes().FromRaw(m))
			if name == "python" {
				span.SetName(liteLLMRequest)
			}
			scope := pcommon.NewInstrumentationScope()
			scope.SetName(scopeTraceloopChain)
			it := ReadSpan(Resource{}, scope, span, DefaultLimits)
			useInteraction(t, it)
			switch name {
			case "attributes":
				assert.Equal(t, KindCall, it.Kind, "a call doesn't hide behind other attributes")
				assert.Empty(t, it.Unparsed)
			case "depth":
				assert.Equal(t, reasonTooDeep, it.Unparsed[0].Reason)
			case "size":
				assert.Equal(t, ReasonTooLarge, it.Unparsed[0].Reason)
				assert.Equal(t, 60<<20+4, it.Unparsed[0].Bytes)
				assert.Equal(t, ContentUnparsed, it.PromptCompleteness)
			case "indexes":
				assert.Len(t, it.Content.Messages, n)
			case "ids":
				assert.Len(t, it.Content.Output[0].Parts, n)
			}
			StripSpan(span, it.Kind)
		})
	}
}

func itoa(i int) string {
	var b [20]byte
	k := len(b)
	for {
		k--
		b[k] = byte('0' + i%10)
		if i /= 10; i == 0 {
			return string(b[k:])
		}
	}
}

func TestPython(t *testing.T) {
	tests := map[string]string{
		`None`:                               `null`,
		`{'a': 1, "b": [True, False, None]}`: `{"a":1,"b":[true,false,null]}`,
		`(1, 2.5, -3,)`:                      `[1,2.5,-3]`,
		`'it\'s'`:                            `"it's"`,
		`"a\n\t\\ \x41\u00e9\U0001F600"`:     "\"a\\n\\t\\\\ A\u00e9\U0001F600\"",
		`Usage(prompt_tokens=3, details=Details(cached=None, x='y'), z=[])`: `{"details":{"cached":null,"x":"y"},"prompt_tokens":3,"z":[]}`,
		`{1: 'one'}`:       `{"1":"one"}`,
		` [ ] `:            `[]`,
		``:                 ``,
		`{'a'`:             ``,
		`{'a': }`:          ``,
		`[1 2]`:            ``,
		`'open`:            ``,
		`'\`:               ``,
		`'\x4'`:            ``,
		`nope`:             ``,
		`f(1)`:             ``,
		`[1] x`:            ``,
		`<object at 0x7f>`: ``,
	}
	for in, want := range tests {
		v, ok := python(in, &memory{Limits: DefaultLimits})
		require.Equal(t, want != "", ok, "%s", in)
		if ok {
			assert.Equal(t, want, string(v.Append(nil)), "%s", in)
		}
	}
}

func BenchmarkReadSpan(b *testing.B) {
	for _, name := range []string{"otelgenai-nocontent", "otelgenai-plain", "openinference-tool", "tlold-tool", "vercel5-plain", "otelgenai-serverspan"} {
		b.Run(name, func(b *testing.B) {
			traces := loadTraces(b, name+".otlp.json")
			spans := traces.SpanCount()
			b.ReportAllocs()
			for b.Loop() {
				eachSpan(traces, func(res pcommon.Map, scope pcommon.InstrumentationScope, span ptrace.Span) {
					ReadSpan(ReadResource(res), scope, span, DefaultLimits)
				})
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*spans), "ns/span")
		})
	}
	for _, size := range []int{4 << 10, 32 << 10} {
		b.Run("prompt of "+itoa(size), func(b *testing.B) {
			f := fixture{scope: "x", span: "chat", attrs: attrs{
				"gen_ai.operation.name": "chat", "gen_ai.request.model": "claude",
				"gen_ai.input.messages": `[{"role":"user","parts":[{"type":"text","content":"` + strings.Repeat("All work and no play. ", size/22) + `"}]}]`,
			}}
			res, scope, span := f.build(b)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				ReadSpan(ReadResource(res), scope, span, DefaultLimits)
			}
		})
	}
}

func BenchmarkStripSpan(b *testing.B) {
	traces := loadTraces(b, "openinference-tool.otlp.json")
	b.ReportAllocs()
	for b.Loop() {
		c := ptrace.NewTraces()
		traces.CopyTo(c)
		eachSpan(c, func(_ pcommon.Map, _ pcommon.InstrumentationScope, span ptrace.Span) { StripSpan(span, KindCall) })
	}
}
