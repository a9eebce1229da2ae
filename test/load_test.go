package e2e

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/claudeaudit/claudeaudit/internal/ledger"
	"github.com/claudeaudit/claudeaudit/internal/otlpclient"
)

// call is one made-up model call, told by one span.
type call struct {
	traceID pcommon.TraceID
	spanID  pcommon.SpanID
	start   time.Time
	user    string
	prompt  string
}

func newCall(user, prompt string) call {
	c := call{user: user, prompt: prompt, start: time.Now().UTC().Add(-time.Second)}
	_, _ = rand.Read(c.traceID[:])
	_, _ = rand.Read(c.spanID[:])
	return c
}

// id is how the ledger and the index name the span.
func (c call) id() string { return c.traceID.String() + ":" + c.spanID.String() }

// span writes the call as the semantic conventions for GenAI have it.
func (c call) span(span ptrace.Span) {
	span.SetTraceID(c.traceID)
	span.SetSpanID(c.spanID)
	span.SetKind(ptrace.SpanKindClient)
	span.SetName("chat claude-sonnet-4-5-20250929")
	span.SetStartTimestamp(pcommon.NewTimestampFromTime(c.start))
	span.SetEndTimestamp(pcommon.NewTimestampFromTime(c.start.Add(250 * time.Millisecond)))
	attributes := span.Attributes()
	attributes.PutStr("gen_ai.operation.name", "chat")
	attributes.PutStr("gen_ai.provider.name", "anthropic")
	attributes.PutStr("gen_ai.request.model", "claude-sonnet-4-5-20250929")
	attributes.PutStr("gen_ai.response.model", "claude-sonnet-4-5-20250929")
	attributes.PutStr("gen_ai.response.id", "msg_"+c.traceID.String())
	attributes.PutInt("gen_ai.usage.input_tokens", 12)
	attributes.PutInt("gen_ai.usage.output_tokens", 3)
	attributes.PutEmptySlice("gen_ai.response.finish_reasons").AppendEmpty().SetStr("end_turn")
	attributes.PutStr("user.id", c.user)
	attributes.PutStr("session.id", "session-"+c.user)
	attributes.PutStr("gen_ai.input.messages", messagesJSON("user", c.prompt))
	attributes.PutStr("gen_ai.output.messages", messagesJSON("assistant", "noted"))
}

func messagesJSON(role, text string) string {
	out, err := json.Marshal([]any{map[string]any{
		"role":  role,
		"parts": []any{map[string]any{"type": "text", "content": text}},
	}})
	if err != nil {
		panic(err) // of strings: cannot be
	}
	return string(out)
}

// traces puts calls into one export request.
func traces(calls ...call) otlpclient.Payload {
	td := ptrace.NewTraces()
	resource := td.ResourceSpans().AppendEmpty()
	resource.Resource().Attributes().PutStr("service.name", "e2e")
	spans := resource.ScopeSpans().AppendEmpty().Spans()
	for _, c := range calls {
		c.span(spans.AppendEmpty())
	}
	return otlpclient.FromTraces(td)
}

// load keeps workers sending, each request until it is taken, across restarts
// of the collector: as an SDK with patience does.
type load struct {
	mu      sync.Mutex
	acked   map[string]int // call id → number of times it was answered with success
	pending []request      // sent, not answered with success so far
	refused []error        // refusals that are not retryable
}

type request struct {
	calls []call
	via   otlpclient.Transport
}

// run sends with one worker per transport and copy until ctx ends.
func (l *load) run(ctx context.Context, client *otlpclient.Client, copies int) {
	var workers sync.WaitGroup
	for n := range copies * len(otlpclient.Transports) {
		via := otlpclient.Transports[n%len(otlpclient.Transports)]
		workers.Go(func() {
			for ctx.Err() == nil {
				l.sendOne(ctx, client, l.next(via))
			}
		})
	}
	workers.Wait()
}

// next is a request that still waits for its answer, or a new one.
func (l *load) next(via otlpclient.Transport) request {
	l.mu.Lock()
	defer l.mu.Unlock()
	if last := len(l.pending) - 1; last >= 0 {
		r := l.pending[last]
		l.pending = l.pending[:last]
		return r
	}
	r := request{via: via}
	var size [2]byte
	_, _ = rand.Read(size[:])
	for range 1 + int(size[0])%3 {
		r.calls = append(r.calls, newCall("load", hex.EncodeToString(make([]byte, 16*int(size[1])))))
	}
	return r
}

func (l *load) sendOne(ctx context.Context, client *otlpclient.Client, r request) {
	err := client.Send(ctx, traces(r.calls...), r.via)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil {
		for _, c := range r.calls {
			l.acked[c.id()]++
		}
		return
	}
	l.pending = append(l.pending, r)
	var refusal *otlpclient.Error
	if asRefusal(err, &refusal) && !refusal.Retryable && ctx.Err() == nil {
		l.refused = append(l.refused, err)
	}
}

// drain sends what still waits for an answer, once the collector is up.
func (l *load) drain(t *testing.T, client *otlpclient.Client) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for _, r := range l.pending {
		_, err := client.SendRetrying(ctx, traces(r.calls...), r.via)
		require.NoError(t, err)
		for _, c := range r.calls {
			l.acked[c.id()]++
		}
	}
	l.pending = nil
}

// entries counts the ledger's entries of model calls by span, over all streams.
func (c *collector) entries() map[string]int {
	c.t.Helper()
	counts := map[string]int{}
	c.eachLine(func(line []byte) {
		var entry struct {
			Kind    string `json:"kind"`
			TraceID string `json:"trace_id"`
			SpanID  string `json:"span_id"`
		}
		require.NoError(c.t, json.Unmarshal(line, &entry))
		if entry.Kind == "interaction" {
			counts[entry.TraceID+":"+entry.SpanID]++
		}
	})
	return counts
}

// eachLine calls fn with every line of the ledger.
func (c *collector) eachLine(fn func(line []byte)) {
	c.t.Helper()
	eachLineOf(c.t, filepath.Join(c.data, "ledger"), fn)
}

// eachLineOf calls fn with every line of a ledger.
func eachLineOf(t *testing.T, dir string, fn func(line []byte)) {
	t.Helper()
	reader, err := ledger.OpenReader(dir)
	require.NoError(t, err)
	defer func() { require.NoError(t, reader.Close()) }()
	streams, err := reader.Streams()
	require.NoError(t, err)
	for _, stream := range streams {
		require.NoError(t, reader.Entries(t.Context(), stream, 0, func(_ uint64, line []byte) error {
			fn(line)
			return nil
		}))
	}
}

// requireExactlyOnce wants every call that was answered with success in the
// ledger exactly once, and nothing more than once.
func (c *collector) requireExactlyOnce(acked map[string]int) {
	c.t.Helper()
	entries := c.entries()
	var lost, doubled []string
	for id := range acked {
		if entries[id] == 0 {
			lost = append(lost, id)
		}
	}
	for id, n := range entries {
		if n > 1 {
			doubled = append(doubled, fmt.Sprintf("%s %d times", id, n))
		}
	}
	require.Empty(c.t, lost, "acknowledged and not in the ledger, of %d acknowledged", len(acked))
	require.Empty(c.t, doubled, "in the ledger more than once")
}
