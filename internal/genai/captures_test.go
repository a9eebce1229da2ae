package genai

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/claudeaudit/claudeaudit/internal/conversation"
	"github.com/claudeaudit/claudeaudit/internal/jcs"
)

const captureDir = "../../testdata/captures"

// expectation is an expectation file, as far as this package can answer it; its
// format is told in testdata/captures/README.md.
type expectation struct {
	Capture string
	Inputs  []struct{ File, Signal string }
	Records []record
	// NotRecords are spans and events that are no calls of their own.
	NotRecords []struct {
		SpanID        string `json:"span_id"`
		Name          string
		EventName     string `json:"event_name"`
		EventSequence int64  `json:"event_sequence"`
	} `json:"not_records"`
}

type record struct {
	Match struct {
		TraceID       string `json:"trace_id"`
		SpanID        string `json:"span_id"`
		EventName     string `json:"event_name"`
		EventSequence *int64 `json:"event_sequence"`
	}
	UserID            *string  `json:"user_id"`
	SessionID         *string  `json:"session_id"`
	ApplicationID     *string  `json:"application_id"`
	IPAddress         *string  `json:"ip_address"`
	NeedsTraceContext []string `json:"needs_trace_context"`
	Model             *string
	RequestModel      *string `json:"request_model"`
	PromptTokens      *int64  `json:"prompt_tokens"`
	CompletionTokens  *int64  `json:"completion_tokens"`
	CacheReadTokens   *int64  `json:"cache_read_tokens"`
	CacheWriteTokens  *int64  `json:"cache_write_tokens"`
	Status            string
	ErrorType         *string  `json:"error_type"`
	StopReason        *string  `json:"stop_reason"`
	StopReasonAnyOf   []string `json:"stop_reason_any_of"`
	StopClass         *string  `json:"stop_class"`
	LatencyMs         *float64 `json:"latency_ms"`
	EventTimestamp    string   `json:"event_timestamp"`
	Content           struct{ Prompt, Response Completeness }
	PromptMessages    []told   `json:"prompt_messages"`
	ResponseMessages  []told   `json:"response_messages"`
	MustNotAppear     []string `json:"must_not_appear_in_metadata"`
	SameCallSpans     []string `json:"same_call_spans"`
}

type told struct {
	Role       string
	Texts      []string
	ToolCalls  []toldCall `json:"tool_calls"`
	Reasoning  []string
	OtherParts []string `json:"other_parts"`
}

type toldCall struct {
	ID, Name  string
	Arguments json.RawMessage
}

func loadExpectations(t testing.TB) []expectation {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(captureDir, "*.expect.json"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	out := make([]expectation, 0, len(files))
	for _, f := range files {
		b, err := os.ReadFile(f)
		require.NoError(t, err)
		var e expectation
		require.NoError(t, json.Unmarshal(b, &e), f)
		out = append(out, e)
	}
	return out
}

func loadTraces(t testing.TB, file string) ptrace.Traces {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(captureDir, file))
	require.NoError(t, err)
	var u ptrace.JSONUnmarshaler
	traces, err := u.UnmarshalTraces(b)
	require.NoError(t, err)
	return traces
}

func loadLogs(t testing.TB, file string) plog.Logs {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(captureDir, file))
	require.NoError(t, err)
	var u plog.JSONUnmarshaler
	logs, err := u.UnmarshalLogs(b)
	require.NoError(t, err)
	return logs
}

func eachSpan(traces ptrace.Traces, fn func(pcommon.Map, pcommon.InstrumentationScope, ptrace.Span)) {
	for _, rs := range traces.ResourceSpans().All() {
		for _, ss := range rs.ScopeSpans().All() {
			for _, span := range ss.Spans().All() {
				fn(rs.Resource().Attributes(), ss.Scope(), span)
			}
		}
	}
}

func eachLog(logs plog.Logs, fn func(pcommon.Map, pcommon.InstrumentationScope, plog.LogRecord)) {
	for _, rl := range logs.ResourceLogs().All() {
		for _, sl := range rl.ScopeLogs().All() {
			for _, rec := range sl.LogRecords().All() {
				fn(rl.Resource().Attributes(), sl.Scope(), rec)
			}
		}
	}
}

// readCapture reads all spans and events of a capture.
func readCapture(t testing.TB, e expectation) (spans, events []Interaction) {
	t.Helper()
	for _, in := range e.Inputs {
		if in.Signal == "traces" {
			eachSpan(loadTraces(t, in.File), func(res pcommon.Map, scope pcommon.InstrumentationScope, span ptrace.Span) {
				spans = append(spans, ReadSpan(ReadResource(res), scope, span, DefaultLimits))
			})
			continue
		}
		eachLog(loadLogs(t, in.File), func(res pcommon.Map, scope pcommon.InstrumentationScope, rec plog.LogRecord) {
			events = append(events, ReadLog(ReadResource(res), scope, rec, DefaultLimits))
		})
	}
	return spans, events
}

// joinCapture puts together what a capture tells of one call, in the simplest way
// that fits a file: by trace and span id, and with Claude Code by request id and
// the prompt before it.
func joinCapture(t *testing.T, r record, spans, events []Interaction) Interaction {
	t.Helper()
	if r.Match.EventName != "" {
		return joinClaudeCode(t, r, spans, events)
	}
	i := slices.IndexFunc(spans, func(it Interaction) bool { return it.SpanID.String() == r.Match.SpanID })
	require.GreaterOrEqual(t, i, 0, "the span of the record")
	it := spans[i]
	require.Equal(t, KindCall, it.Kind)
	require.Equal(t, r.Match.TraceID, it.TraceID.String())
	var parts []Interaction
	for _, ev := range events {
		if ev.TraceID != it.TraceID || ev.SpanID != it.SpanID {
			continue
		}
		if ev.Kind == KindCall { // the operation's details
			require.Equal(t, it.ResponseID, ev.ResponseID)
			require.Equal(t, it.PromptTokens, ev.PromptTokens)
			require.Equal(t, it.StopReason, ev.StopReason)
		}
		parts = append(parts, ev)
	}
	return withContent(it, parts)
}

func withContent(it Interaction, parts []Interaction) Interaction {
	if len(parts) == 0 {
		return it
	}
	joined := parts[0]
	if joined.Kind == KindPart {
		joined = Join(parts)
	}
	if it.PromptCompleteness == ContentNone {
		it.Content.System, it.Content.Messages = joined.Content.System, joined.Content.Messages
		it.PromptCompleteness = joined.PromptCompleteness
	}
	if it.ResponseCompleteness == ContentNone {
		it.Content.Output, it.ResponseCompleteness = joined.Content.Output, joined.ResponseCompleteness
	}
	if it.StopReason == "" {
		it.StopReason, it.StopExact, it.StopClass = joined.StopReason, joined.StopExact, joined.StopClass
	}
	return it
}

func joinClaudeCode(t *testing.T, r record, spans, events []Interaction) Interaction {
	t.Helper()
	i := slices.IndexFunc(events, func(it Interaction) bool {
		return it.EventName == r.Match.EventName && it.Sequence == *r.Match.EventSequence
	})
	require.GreaterOrEqual(t, i, 0, "the event of the record")
	it := events[i]
	require.Equal(t, KindCall, it.Kind)
	assert.Equal(t, r.EventTimestamp, it.End.Format("2006-01-02T15:04:05.000Z"))
	if it.LatencyMs != nil {
		assert.InDelta(t, *it.LatencyMs, float64(it.End.Sub(it.Start).Milliseconds()), 1)
	}
	last := int64(-1) // the call before it in the same turn
	for _, ev := range events {
		if ev.Kind == KindCall && ev.PromptID == it.PromptID && ev.Sequence < it.Sequence {
			last = max(last, ev.Sequence)
		}
	}
	var parts []Interaction
	for _, ev := range events {
		if ev.Kind != KindPart || ev.PromptID != it.PromptID {
			continue
		}
		if ev.RequestID == it.RequestID || ev.RequestID == "" && ev.Sequence < it.Sequence {
			if last >= 0 && ev.EventName == "claude_code.user_prompt" {
				ev.PromptCompleteness = ContentUserPromptOfTurn
			}
			parts = append(parts, ev)
		}
	}
	it = withContent(it, parts)
	for _, span := range spans {
		if span.Kind == KindCall && span.RequestID == it.RequestID {
			assert.Equal(t, it.PromptTokens, span.PromptTokens)
			assert.Equal(t, it.CompletionTokens, span.CompletionTokens)
			assert.Empty(t, span.ResponseID)
			assert.Contains(t, r.SameCallSpans, span.SpanID.String())
			it.StopReason, it.StopClass = span.StopReason, span.StopClass
		}
	}
	return it
}

func TestCaptures(t *testing.T) {
	for _, e := range loadExpectations(t) {
		t.Run(e.Capture, func(t *testing.T) {
			spans, events := readCapture(t, e)
			for i, r := range e.Records {
				checkRecord(t, r, joinCapture(t, r, spans, events), i)
			}
			for _, n := range e.NotRecords {
				checkNoRecord(t, e, n.SpanID, n.EventName, n.EventSequence, spans, events)
			}
			checkCalls(t, e, spans, events)
		})
	}
}

func checkRecord(t *testing.T, r record, it Interaction, i int) {
	t.Helper()
	assert.True(t, it.Claude, "Claude")
	assert.Empty(t, it.Unparsed, "unparsed")
	if !slices.Contains(r.NeedsTraceContext, "user_id") {
		assert.Equal(t, or(r.UserID), it.Who.User, "user_id of %d", i)
	}
	if !slices.Contains(r.NeedsTraceContext, "session_id") {
		assert.Equal(t, or(r.SessionID), it.Who.Session, "session_id of %d", i)
	}
	if !slices.Contains(r.NeedsTraceContext, "ip_address") {
		assert.Equal(t, or(r.IPAddress), it.Who.Address, "ip_address of %d", i)
	}
	assert.Equal(t, or(r.ApplicationID), it.Who.Application, "application_id of %d", i)
	assert.Equal(t, or(r.Model), it.Model(), "model of %d", i)
	if r.RequestModel != nil {
		assert.Equal(t, *r.RequestModel, it.RequestModel, "request_model of %d", i)
	}
	assert.Equal(t, r.PromptTokens, it.PromptTokens, "prompt_tokens of %d", i)
	assert.Equal(t, r.CompletionTokens, it.CompletionTokens, "completion_tokens of %d", i)
	assert.Equal(t, r.CacheReadTokens, it.CacheReadTokens, "cache_read_tokens of %d", i)
	assert.Equal(t, r.CacheWriteTokens, it.CacheWriteTokens, "cache_write_tokens of %d", i)
	assert.Equal(t, r.Status == "error", it.Failed, "status of %d", i)
	assert.Equal(t, or(r.ErrorType), it.ErrorType, "error_type of %d", i)
	assert.Equal(t, or(r.StopReason), it.StopReason, "stop_reason of %d", i)
	assert.Equal(t, or(r.StopClass), it.StopClass, "stop_class of %d", i)
	require.NotNil(t, it.LatencyMs)
	assert.InDelta(t, *r.LatencyMs, *it.LatencyMs, 1, "latency_ms of %d", i)
	if r.Content.Prompt == "uncorrelated" {
		assert.Equal(t, ContentNone, it.PromptCompleteness)
		assert.Equal(t, ContentNone, it.ResponseCompleteness)
		return
	}
	assert.Equal(t, r.Content.Prompt, it.PromptCompleteness, "prompt of %d", i)
	assert.Equal(t, r.Content.Response, it.ResponseCompleteness, "response of %d", i)
	prompt := it.Content.Messages
	if len(it.Content.System) > 0 {
		prompt = append([]conversation.Message{{Role: "system", Parts: it.Content.System}}, prompt...)
	}
	checkMessages(t, r.PromptMessages, prompt, "prompt")
	checkMessages(t, r.ResponseMessages, it.Content.Output, "response")
}

func or(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func checkMessages(t *testing.T, want []told, got []conversation.Message, what string) {
	t.Helper()
	require.Len(t, got, len(want), "messages of the %s", what)
	for i, w := range want {
		g := got[i]
		assert.Equal(t, w.Role, g.Role)
		assert.Equal(t, len(w.Texts), len(conversation.Texts(g)))
		for k, text := range conversation.Texts(g) {
			assert.Equal(t, w.Texts[k], text)
		}
		var calls []toldCall
		var reasoning, others []string
		for _, p := range g.Parts {
			switch p.Type {
			case conversation.PartToolCall:
				calls = append(calls, toldCall{ID: p.ID, Name: p.Name, Arguments: p.Value.Append(nil)})
			case conversation.PartReasoning:
				reasoning = append(reasoning, p.Text())
			case conversation.PartBlob:
				kind, _, _ := strings.Cut(p.MimeType, "/")
				others = append(others, kind)
			case conversation.PartURI, conversation.PartFile, conversation.PartOther:
				others = append(others, string(p.Type)+p.Kind)
			}
		}
		assert.Equal(t, w.Reasoning, reasoning)
		assert.Equal(t, w.OtherParts, others)
		require.Len(t, calls, len(w.ToolCalls))
		for k, call := range w.ToolCalls {
			assert.Equal(t, call.ID, calls[k].ID)
			assert.Equal(t, call.Name, calls[k].Name)
			assert.JSONEq(t, string(call.Arguments), string(calls[k].Arguments))
		}
	}
}

// checkNoRecord checks that a span or event isn't a call, or that it is known to
// be a second telling of one.
func checkNoRecord(t *testing.T, e expectation, span, event string, sequence int64, spans, events []Interaction) {
	t.Helper()
	if event != "" {
		for _, it := range events {
			if it.EventName == event && it.Sequence == sequence {
				assert.NotEqual(t, KindCall, it.Kind, event)
				return
			}
		}
		t.Errorf("%s %d is not in the capture", event, sequence)
		return
	}
	for _, it := range spans {
		if it.SpanID.String() != span {
			continue
		}
		for _, r := range e.Records {
			if slices.Contains(r.SameCallSpans, span) {
				checkTwin(t, it, r, spans)
				return
			}
		}
		assert.Equal(t, KindContext, it.Kind, span)
		return
	}
	t.Errorf("span %s is not in the capture", span)
}

// checkTwin checks that a second span of a call can be told to be one.
func checkTwin(t *testing.T, twin Interaction, r record, spans []Interaction) {
	t.Helper()
	assert.Equal(t, KindCall, twin.Kind)
	assert.Equal(t, DialectSDKNative, twin.Dialect)
	assert.Equal(t, EvidenceSDK, twin.Evidence)
	if r.Status == "error" {
		assert.True(t, twin.ErrorTypeExact, twin.ErrorType)
	} else {
		assert.True(t, twin.StopExact, twin.StopReason)
	}
	found := false
	for _, it := range spans {
		if it.SpanID == twin.SpanID {
			continue
		}
		found = found || twin.ResponseID != "" && it.ResponseID == twin.ResponseID ||
			slices.Contains(it.QuotedRequestIDs, twin.RequestID) ||
			it.Kind == KindCall && twin.ParentSpanID == it.SpanID
	}
	assert.True(t, found, "ids %q %q that tie the twin to a call", twin.ResponseID, twin.RequestID)
}

// checkCalls checks that there are no calls beside those expected.
func checkCalls(t *testing.T, e expectation, spans, events []Interaction) {
	t.Helper()
	known := map[string]bool{}
	for _, r := range e.Records {
		known[r.Match.SpanID] = true
		for _, id := range r.SameCallSpans {
			known[id] = true
		}
	}
	for _, it := range spans {
		if it.Kind == KindCall {
			assert.True(t, known[it.SpanID.String()], "call %s", it.SpanID)
		}
	}
	n := 0
	for _, it := range events {
		if it.Kind == KindCall && it.Dialect == DialectClaudeCodeEvents {
			n++
		}
	}
	if n > 0 {
		assert.Len(t, e.Records, n)
	}
}

// The same conversation has the same hash through every dialect that tells it in full.
func TestSameConversationSameHash(t *testing.T) {
	type hash struct{ capture, prompt string }
	byPrompt := map[string][]hash{}
	dialects := map[string]bool{}
	for _, e := range loadExpectations(t) {
		spans, events := readCapture(t, e)
		for _, r := range e.Records {
			if r.Content.Prompt != ContentFull {
				continue
			}
			it := joinCapture(t, r, spans, events)
			want, err := json.Marshal(r.PromptMessages)
			require.NoError(t, err)
			byPrompt[string(want)] = append(byPrompt[string(want)], hash{e.Capture, conversation.PromptHash(it.Content.System, it.Content.Messages)})
			dialects[it.Dialect+" "+it.Scope] = true
		}
	}
	for prompt, hashes := range byPrompt {
		for _, h := range hashes {
			assert.Equal(t, hashes[0].prompt, h.prompt, "%s and %s tell %s", hashes[0].capture, h.capture, prompt)
			assert.Len(t, h.prompt, 64)
		}
	}
	names := make([]string, 0, len(dialects))
	for d := range dialects {
		names = append(names, d)
	}
	sort.Strings(names)
	assert.GreaterOrEqual(t, len(names), 12, "dialects and scopes: %q", names)
	assert.GreaterOrEqual(t, len(byPrompt[`[{"Role":"user","Texts":["What is the capital of France?"],"tool_calls":null,"Reasoning":null,"other_parts":null}]`]), 10)
}

// After stripping, nothing of a conversation is left in the telemetry.
func TestStripLeavesNoContent(t *testing.T) {
	for _, e := range loadExpectations(t) {
		t.Run(e.Capture, func(t *testing.T) {
			secrets := captureSecrets(e)
			for _, in := range e.Inputs {
				left := stripCapture(t, in.File, in.Signal)
				for _, s := range secrets {
					assert.NotContains(t, left, s)
				}
			}
		})
	}
}

// captureSecrets are the texts that must not be left, as they stand in JSON text
// within JSON text. A word that is as common as "hello" still must not.
func captureSecrets(e expectation) []string {
	seen := map[string]bool{"": true}
	var out []string
	add := func(s string) {
		b, _ := json.Marshal(s)
		s = string(b[1 : len(b)-1])
		if !seen[s] {
			seen[s] = true
			out = append(out, s)
		}
	}
	for _, r := range e.Records {
		for _, m := range append(r.PromptMessages, r.ResponseMessages...) {
			for _, s := range append(m.Texts, m.Reasoning...) {
				add(s)
			}
			for _, c := range m.ToolCalls {
				v, err := jcs.Parse(string(c.Arguments), jcs.DefaultLimits)
				if err == nil {
					add(v.Get("city").Str())
				}
			}
		}
		for _, s := range r.MustNotAppear {
			add(s)
		}
	}
	if strings.HasPrefix(e.Capture, "claudecode-tool") {
		add("echo synthetic-output")
	}
	add("get_weather tool description: Current weather for a city"[len("get_weather tool description: "):])
	add("llm.invocation_parameters")
	return out
}

func stripCapture(t *testing.T, file, signal string) string {
	t.Helper()
	if signal == "traces" {
		traces := loadTraces(t, file)
		eachSpan(traces, func(res pcommon.Map, scope pcommon.InstrumentationScope, span ptrace.Span) {
			StripSpan(span, ReadSpan(ReadResource(res), scope, span, DefaultLimits).Kind)
		})
		b, err := (&ptrace.JSONMarshaler{}).MarshalTraces(traces)
		require.NoError(t, err)
		return string(b)
	}
	logs := loadLogs(t, file)
	eachLog(logs, func(res pcommon.Map, scope pcommon.InstrumentationScope, rec plog.LogRecord) {
		StripLog(rec, ReadLog(ReadResource(res), scope, rec, DefaultLimits).Kind)
	})
	b, err := (&plog.JSONMarshaler{}).MarshalLogs(logs)
	require.NoError(t, err)
	return string(b)
}
