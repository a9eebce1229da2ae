package e2e

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"

	"github.com/claudeaudit/claudeaudit/internal/otlpclient"
)

// randomText is text of n bytes that does not compress well.
func randomText(t *testing.T, n int) string {
	t.Helper()
	raw := make([]byte, (n+1)/2)
	_, err := rand.Read(raw)
	require.NoError(t, err)
	return hex.EncodeToString(raw)[:n]
}

// What no client should send is refused with a clear answer, or recorded with
// what could not be read; the collector stays up and goes on recording.
func TestBadInput(t *testing.T) {
	c := newCollector(t, "local.yaml", nil)
	c.start()
	client := c.client()

	good := func(t *testing.T) {
		t.Helper()
		require.True(t, c.running(), "the collector is gone:\n%s", c.logTail())
		sent := newCall("good", "still there?")
		require.NoError(t, client.Send(t.Context(), traces(sent), otlpclient.GRPC))
		require.Equal(t, 1, c.in(t).entries()[sent.id()])
	}

	t.Run("malformed bodies are refused as bad requests", func(t *testing.T) {
		proto, err := traces0().MarshalProto()
		require.NoError(t, err)
		for name, tc := range map[string]struct{ body, contentType string }{
			"not JSON":               {"{", "application/json"},
			"JSON of another kind":   {`[1,2]`, "application/json"},
			"spans that are a text":  {`{"resourceSpans":"x"}`, "application/json"},
			"a trace id that is not": {`{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"zz"}]}]}]}`, "application/json"},
			"not protobuf":           {"\xff\xff\xff\xff", "application/x-protobuf"},
			"protobuf cut short":     {string(proto[:len(proto)-3]), "application/x-protobuf"},
		} {
			t.Run(name, func(t *testing.T) {
				for _, signal := range []otlpclient.Signal{otlpclient.Traces, otlpclient.Logs} {
					if signal == otlpclient.Logs && strings.Contains(tc.body, "resourceSpans") {
						continue // an unknown member there
					}
					refusal := refusalOf(t, client.SendRaw(t.Context(), signal, []byte(tc.body), tc.contentType))
					require.Equal(t, http.StatusBadRequest, refusal.Code, refusal)
					require.NotEmpty(t, refusal.Message)
				}
			})
		}
		good(t)
	})

	t.Run("an unknown content type is refused", func(t *testing.T) {
		refusal := refusalOf(t, client.SendRaw(t.Context(), otlpclient.Traces, []byte("x"), "text/plain"))
		require.Equal(t, http.StatusUnsupportedMediaType, refusal.Code)
	})

	t.Run("a body over the limit is refused", func(t *testing.T) {
		body := bytes.Repeat([]byte{'x'}, 80<<20)
		err := client.SendRaw(t.Context(), otlpclient.Traces, body, "application/json")
		refusal := refusalOf(t, err)
		if refusal.Code != 0 { // 0: the server hung up before it had all, which it may
			require.Contains(t, []int{http.StatusBadRequest, http.StatusRequestEntityTooLarge}, refusal.Code, refusal)
		}
		good(t)
	})

	t.Run("a million attributes", func(t *testing.T) {
		sent := newCall("attributes", "hello")
		td := ptrace.NewTraces()
		span := td.ResourceSpans().AppendEmpty().ScopeSpans().AppendEmpty().Spans().AppendEmpty()
		// not one by one: that is quadratic
		many := make(map[string]any, 1_000_000)
		for i := range 1_000_000 {
			many["x"+strconv.Itoa(i)] = i
		}
		require.NoError(t, span.Attributes().FromRaw(many))
		sent.span(span)
		c.in(t).refusedOrRecorded(client, otlpclient.FromTraces(td), otlpclient.HTTPProtobuf, sent)
		good(t)
	})

	for name, size := range map[string]int{"a 1 MB attribute": 1 << 20, "a 60 MB attribute": 60 << 20} {
		t.Run(name, func(t *testing.T) {
			for _, via := range []otlpclient.Transport{otlpclient.HTTPProtobuf, otlpclient.GRPC} {
				sent := newCall("large", strings.Repeat("all work and no play ", size/21))
				c.in(t).refusedOrRecorded(client, traces(sent), via, sent)
			}
			good(t)
		})
	}

	t.Run("content that can't be read is named in the record", func(t *testing.T) {
		for name, messages := range map[string]string{
			"not JSON":         "please keep my IBAN DE89370400440532013000 safe",
			"JSON cut short":   `[{"role":"user","parts":[{"type":"text","content":"please keep my IB`,
			"another shape":    `{"role":{"parts":7}}`,
			"deeply nested":    strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000),
			"invalid UTF-8":    "[{\"role\":\"user\",\"parts\":[{\"type\":\"text\",\"content\":\"a\xff\xfeb\"}]}]",
			"a zero byte":      "[{\"role\":\"user\x00\",\"parts\":[{\"type\":\"te\\u0000xt\"}]}]",
			"half a surrogate": `[{"role":"user","parts":[{"type":"text","content":"\ud800"}]}]`,
		} {
			t.Run(name, func(t *testing.T) {
				sent := newCall("unreadable", "")
				td := ptrace.NewTraces()
				span := td.ResourceSpans().AppendEmpty().ScopeSpans().AppendEmpty().Spans().AppendEmpty()
				sent.span(span)
				span.Attributes().PutStr("gen_ai.input.messages", messages)
				require.NoError(t, client.Send(t.Context(), otlpclient.FromTraces(td), otlpclient.HTTPProtobuf))
				got := c.in(t).recordOf(sent)
				content, _ := got["content"].(map[string]any)
				if name == "a zero byte" || name == "half a surrogate" || name == "invalid UTF-8" {
					return // may be read, with the replacement character; that there is a record is enough
				}
				require.Equal(t, "unparsed", content["prompt"], "%v", got)
				require.NotEmpty(t, got["unparsed"], "%v", got)
				require.Nil(t, got["prompt_hash"], "what could not be read has no prompt hash")
				require.Contains(t, got["missing"], "prompt_hash")
			})
		}
		good(t)
	})

	t.Run("invalid UTF-8 in every text", func(t *testing.T) {
		bad := "bad\xff\xfe\x80"
		sent := newCall("utf8"+bad, bad)
		td := ptrace.NewTraces()
		resource := td.ResourceSpans().AppendEmpty()
		resource.Resource().Attributes().PutStr("service.name", bad)
		scope := resource.ScopeSpans().AppendEmpty()
		scope.Scope().SetName(bad)
		span := scope.Spans().AppendEmpty()
		sent.span(span)
		span.SetName(bad)
		span.Status().SetCode(ptrace.StatusCodeError)
		span.Status().SetMessage(bad)
		span.Attributes().PutStr("error.type", bad)
		span.Attributes().PutStr("gen_ai.response.model", bad)
		span.Attributes().PutStr(bad, bad)
		span.Attributes().PutStr("gen_ai.input.messages", messagesJSON("user", "x")+bad)
		c.in(t).refusedOrRecorded(client, otlpclient.FromTraces(td), otlpclient.HTTPProtobuf, sent)
		good(t)
	})

	t.Run("spans that say nothing and spans out of order", func(t *testing.T) {
		td := ptrace.NewTraces()
		spans := td.ResourceSpans().AppendEmpty().ScopeSpans().AppendEmpty().Spans()
		spans.AppendEmpty() // no ids, no times
		backwards := newCall("times", "x")
		span := spans.AppendEmpty()
		backwards.span(span)
		span.SetStartTimestamp(1 << 63)
		span.SetEndTimestamp(1)
		noIDs := spans.AppendEmpty()
		newCall("no-ids", "x").span(noIDs)
		noIDs.SetTraceID([16]byte{})
		noIDs.SetSpanID([8]byte{})
		noIDs.Attributes().Remove("gen_ai.response.id")
		for _, via := range otlpclient.Transports {
			require.NoError(t, client.Send(t.Context(), otlpclient.FromTraces(copyOf(td)), via))
		}
		require.Equal(t, 1, c.in(t).entries()[backwards.id()])
		require.Len(t, c.in(t).awaitRecords(1, "--user", "no-ids"), 1)
		good(t)
	})

	c.stop()
	c.verify()
}

func traces0() ptraceotlp.ExportRequest {
	td := ptrace.NewTraces()
	newCall("malformed", "x").span(td.ResourceSpans().AppendEmpty().ScopeSpans().AppendEmpty().Spans().AppendEmpty())
	return ptraceotlp.NewExportRequestFromTraces(td)
}

func copyOf(td ptrace.Traces) ptrace.Traces {
	out := ptrace.NewTraces()
	td.CopyTo(out)
	return out
}

func refusalOf(t *testing.T, err error) *otlpclient.Error {
	t.Helper()
	require.Error(t, err, "it was taken")
	var refusal *otlpclient.Error
	require.True(t, errors.As(err, &refusal), "not a refusal: %v", err)
	return refusal
}

// refusedOrRecorded sends p, which tells of sent: it must be refused with a
// reason, or be found in the ledger.
func (c *collector) refusedOrRecorded(client *otlpclient.Client, p otlpclient.Payload, via otlpclient.Transport, sent call) {
	c.t.Helper()
	err := client.Send(c.t.Context(), p, via)
	if err != nil {
		refusal := refusalOf(c.t, err)
		require.NotZero(c.t, refusal.Code, "no answer: %s", refusal.Message)
		require.NotEmpty(c.t, refusal.Message)
		require.Zero(c.t, c.entries()[sent.id()], "refused, and recorded all the same")
		c.t.Logf("%s: refused: %v", via, refusal)
		return
	}
	require.Equal(c.t, 1, c.entries()[sent.id()])
}

// recordOf waits for the index to have the record of a call, and gives it.
func (c *collector) recordOf(sent call) record {
	c.t.Helper()
	var found record
	require.Eventually(c.t, func() bool {
		for _, r := range c.found("--user", sent.user) {
			if r.text("span_id") == sent.spanID.String() {
				found = r
				return true
			}
		}
		return false
	}, followTimeout, 50*time.Millisecond, "no record of the call")
	return found
}
