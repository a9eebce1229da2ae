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
	// the second, and they meet in the index: by the span that both name, or by the id of the response or of the request.
	for _, change := range []struct {
		before, after []*elastic
		share         string
	}{
		{centrals[:2], centrals, "span"},
		{centrals, []*elastic{centrals[0], centrals[2]}, "response"},
		{centrals[:2], centrals, "request"},
	} {
		before, after := newBalancer(t, change.before...), newBalancer(t, change.after...)
		calls := make([]splitCall, 60)
		for i := range calls {
			calls[i] = newSplitCall(change.share)
			require.NoError(t, before.Send(t.Context(), calls[i].first, otlpclient.GRPC))
			require.NoError(t, after.Send(t.Context(), calls[i].second, otlpclient.GRPC))
		}
		followed()
		ledgers := ledgersByCall(t, centrals...)
		records := map[string][]record{}
		for _, r := range centrals[0].records("--application", "split") {
			id := splitID(r.text("trace_id"), r.text("request_id"))
			records[id] = append(records[id], r)
		}
		split := 0
		for _, c := range calls {
			id := c.traceID.String()
			if ledgers[id] == 2 {
				split++
			}
			require.Len(t, records[id], 1, "of a call of which %d ledgers tell the same %s", ledgers[id], change.share)
			require.Equal(t, "asker", records[id][0].text("user_id"), "what the first part told")
			require.NotEmpty(t, records[id][0].text("response_hash"), "what the second part told")
		}
		require.Positive(t, split, "no call came to two of them")
		t.Logf("%d of %d calls were told half to one and half to another, the same %s", split, len(calls), change.share)
		requireAllHold(t, centrals...)
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

// splitID names a call that is told in parts: by its trace, of which its request has the name.
func splitID(trace, request string) string {
	if id, ok := strings.CutPrefix(request, "req_"); ok {
		return id
	}
	return trace
}

// ledgersByCall counts the ledgers that have something of each call that is told in parts.
func ledgersByCall(t *testing.T, centrals ...*elastic) map[string]int {
	t.Helper()
	out := map[string]int{}
	for _, c := range centrals {
		here := map[string]bool{}
		c.eachLine(func(line []byte) {
			var entry struct {
				TraceID   string `json:"trace_id"`
				RequestID string `json:"request_id"`
			}
			require.NoError(t, json.Unmarshal(line, &entry))
			here[splitID(entry.TraceID, entry.RequestID)] = true
		})
		for id := range here {
			out[id]++
		}
	}
	return out
}

// splitCall is a call that is told in two parts, of which the first has the user and the second the answer.
type splitCall struct {
	call
	first, second otlpclient.Payload
}

// newSplitCall is told by a span, and by a log record of the same span, by another span with the id of the same response, or,
// as by Claude Code, by an event with the id of the same request.
func newSplitCall(share string) splitCall {
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
	logOf := func(scope string, span ptrace.Span) (plog.Logs, plog.LogRecord) {
		ld := plog.NewLogs()
		resource := ld.ResourceLogs().AppendEmpty()
		resource.Resource().Attributes().PutStr("service.name", "split")
		logs := resource.ScopeLogs().AppendEmpty()
		logs.Scope().SetName(scope)
		event := logs.LogRecords().AppendEmpty()
		event.SetTraceID(span.TraceID())
		event.SetTimestamp(span.EndTimestamp())
		return ld, event
	}
	if share == "request" {
		told, span := spanOf(c.call, "com.anthropic.claude_code.tracing")
		span.SetName("claude_code.llm_request")
		id := "req_" + c.traceID.String()
		attributes := span.Attributes()
		attributes.Clear()
		for k, v := range map[string]string{"span.type": "llm_request", "user.id": "asker", "model": "claude-sonnet-4-5-20250929", "request_id": id} {
			attributes.PutStr(k, v)
		}
		c.first = otlpclient.FromTraces(told)
		again, event := logOf("com.anthropic.claude_code.events", span)
		event.Body().SetStr("claude_code.assistant_response")
		attributes = event.Attributes()
		for k, v := range map[string]string{
			"event.name": "assistant_response", "prompt.id": c.spanID.String(), "session.id": "session", "request_id": id,
			"model": "claude-sonnet-4-5-20250929", "response": "an answer",
		} {
			attributes.PutStr(k, v)
		}
		attributes.PutInt("event.sequence", 2)
		c.second = otlpclient.FromLogs(again)
		return c
	}
	told, span := spanOf(c.call, "framework")
	span.Attributes().Remove("gen_ai.input.messages")
	span.Attributes().Remove("gen_ai.output.messages")
	c.first = otlpclient.FromTraces(told)

	other := c.call
	if share == "response" {
		other.spanID = newCall("", "").spanID
	}
	again, span := spanOf(other, "sdk")
	span.Attributes().Remove("user.id")
	if share == "response" {
		span.SetParentSpanID(c.spanID)
		c.second = otlpclient.FromTraces(again)
		return c
	}
	ld, event := logOf("", span)
	event.SetEventName("gen_ai.client.inference.operation.details")
	event.SetSpanID(span.SpanID())
	span.Attributes().CopyTo(event.Attributes())
	c.second = otlpclient.FromLogs(ld)
	return c
}
