package e2e

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/claudeaudit/claudeaudit/internal/index/elasticsearch/estest"
	"github.com/claudeaudit/claudeaudit/internal/otlpclient"
)

// newBalancer starts a collector that spreads calls over others.
func newBalancer(t *testing.T, over ...*elastic) *otlpclient.Client {
	t.Helper()
	addresses := make([]string, len(over))
	for i, c := range over {
		addresses[i] = c.grpcAddr
	}
	b := newCollector(t, "balance.yaml", nil)
	b.env = append(b.env, "CLAUDEAUDIT_CENTRALS=["+strings.Join(addresses, ", ")+"]")
	b.start()
	return b.client()
}

// Without Kafka: collectors near the applications spread calls over central ones, each with a ledger of its own, which
// write one index.
func TestBalanced(t *testing.T) {
	server := estest.Shared(t)
	prefix := server.Prefix(t)
	var centrals []*elastic
	for range 3 {
		c := newElastic(t, "elasticsearch.yaml", server.URL, prefix, nil)
		c.launch()
		centrals = append(centrals, c)
	}
	for _, c := range centrals {
		c.waitReady()
	}
	agents := []*otlpclient.Client{newBalancer(t, centrals[:2]...), newBalancer(t, centrals[:2]...)}

	// What is told of one call, each part in a request of its own and by whichever agent, meets in one of them.
	captures, requests := copies(t, 2, 1)
	for i, p := range requests {
		require.NoError(t, agents[i%2].Send(t.Context(), p, otlpclient.Transports[i%len(otlpclient.Transports)]))
	}
	followed := func() {
		for _, c := range centrals {
			c.awaitFollowed()
		}
		server.Do(t, http.MethodPost, "/"+prefix+"-*/_refresh", nil, nil)
	}
	followed()
	requireExpected(t, captures, centrals[0].records(), compareMetadata)
	requireApart(t, centrals[0].collector, centrals[1].collector)

	// One of them is killed under load: what it would have had is refused so that it is sent again.
	l := &load{acked: map[string]int{}}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.run(ctx, agents[0], 1)
	}()
	time.Sleep(500 * time.Millisecond)
	centrals[1].kill()
	time.Sleep(time.Second)
	centrals[1].start()
	stop()
	<-done
	require.Empty(t, l.refused, "requests were refused for good: %v", l.refused)
	l.drain(t, agents[0])

	// The list changes while calls are under way: one comes, then another goes. What had the first part of a call does not get
	// the second, and they meet in the index: by the span that both name, or by the id of the response.
	for _, change := range []struct {
		before, after []*elastic
		byLog         bool
	}{
		{centrals[:2], centrals, true},
		{centrals, []*elastic{centrals[0], centrals[2]}, false},
	} {
		before, after := newBalancer(t, change.before...), newBalancer(t, change.after...)
		calls := make([]splitCall, 60)
		for i := range calls {
			calls[i] = newSplitCall(change.byLog)
			require.NoError(t, before.Send(t.Context(), calls[i].first, otlpclient.GRPC))
			require.NoError(t, after.Send(t.Context(), calls[i].second, otlpclient.GRPC))
		}
		followed()
		ledgers := ledgersByTrace(t, centrals...)
		records := map[string][]record{}
		for _, r := range centrals[0].records("--application", "split") {
			records[r.text("trace_id")] = append(records[r.text("trace_id")], r)
		}
		split := 0
		for _, c := range calls {
			id := c.traceID.String()
			if ledgers[id] == 2 {
				split++
			}
			require.Len(t, records[id], 1, "of a call that %d ledgers have", ledgers[id])
			require.Equal(t, "asker", records[id][0].text("user_id"), "what the first part told")
			require.NotEmpty(t, records[id][0].text("prompt_hash"), "what the second part told")
		}
		require.Positive(t, split, "no call came to two of them")
		t.Logf("%d of %d calls were told half to one and half to another", split, len(calls))
		if change.byLog {
			requireAllHold(t, centrals...)
		}
	}

	counted := spansIn(t, server, prefix)
	for id := range l.acked {
		require.Equal(t, 1, counted[id], "call %s is in the index %d times", id, counted[id])
	}
	for _, c := range centrals {
		c.stop()
		require.Zero(t, c.cli("verify").code)
	}
}

// ledgersByTrace counts the ledgers that have something of each trace.
func ledgersByTrace(t *testing.T, centrals ...*elastic) map[string]int {
	t.Helper()
	out := map[string]int{}
	for _, c := range centrals {
		here := map[string]bool{}
		c.eachLine(func(line []byte) {
			var entry struct {
				TraceID string `json:"trace_id"`
			}
			require.NoError(t, json.Unmarshal(line, &entry))
			here[entry.TraceID] = true
		})
		for id := range here {
			out[id]++
		}
	}
	return out
}

// splitCall is a call that is told in two parts, of which the first has the user and the second the content.
type splitCall struct {
	call
	first, second otlpclient.Payload
}

// newSplitCall is told by a span, and by a log record of the same span, or by another span with the id of the same response.
func newSplitCall(byLog bool) splitCall {
	c := splitCall{call: newCall("asker", "a question")}
	spanOf := func(of call, scope string) (ptrace.Traces, ptrace.Span) {
		td := ptrace.NewTraces()
		resource := td.ResourceSpans().AppendEmpty()
		resource.Resource().Attributes().PutStr("service.name", "split")
		spans := resource.ScopeSpans().AppendEmpty()
		spans.Scope().SetName(scope)
		span := spans.Spans().AppendEmpty()
		of.span(span)
		return td, span
	}
	told, span := spanOf(c.call, "framework")
	span.Attributes().Remove("gen_ai.input.messages")
	span.Attributes().Remove("gen_ai.output.messages")
	c.first = otlpclient.FromTraces(told)

	other := c.call
	if !byLog {
		other.spanID = newCall("", "").spanID
	}
	again, span := spanOf(other, "sdk")
	span.Attributes().Remove("user.id")
	if !byLog {
		span.SetParentSpanID(c.spanID)
		c.second = otlpclient.FromTraces(again)
		return c
	}
	ld := plog.NewLogs()
	resource := ld.ResourceLogs().AppendEmpty()
	resource.Resource().Attributes().PutStr("service.name", "split")
	event := resource.ScopeLogs().AppendEmpty().LogRecords().AppendEmpty()
	event.SetEventName("gen_ai.client.inference.operation.details")
	event.SetTraceID(span.TraceID())
	event.SetSpanID(span.SpanID())
	event.SetTimestamp(span.EndTimestamp())
	span.Attributes().CopyTo(event.Attributes())
	c.second = otlpclient.FromLogs(ld)
	return c
}
