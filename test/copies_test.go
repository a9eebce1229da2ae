package e2e

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/claudeaudit/claudeaudit/internal/otlpclient"
)

// identifying are the ids in a capture that tell its calls from others: of traces, spans and sessions, and those that the
// API gives requests and answers.
var identifying = regexp.MustCompile(`\b(?:[0-9a-f]{32}|[0-9a-f]{16}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|(?:msg_(?:bdrk_)?01|req_011)[0-9A-Za-z]+)\b`)

// captureCopy is a capture as if its client had made the same calls once more, with ids that neither the capture nor any other
// has; n tells which time. Each of its spans and log records is an export request of its own.
func captureCopy(t *testing.T, e expectation, n int) (expectation, []otlpclient.Payload) {
	t.Helper()
	mark := e.Capture + "#" + strconv.Itoa(n)
	digest := func(id string) string {
		sum := sha256.Sum256([]byte(mark + " " + id))
		return hex.EncodeToString(sum[:])
	}
	other := func(text string) string {
		return identifying.ReplaceAllStringFunc(text, func(id string) string {
			switch {
			case strings.Contains(id, "_"):
				return id + digest(id)[:8]
			case strings.Trim(id, "0123456789") == "": // a number's
				return id
			}
			digits := digest(id)
			if parts := strings.Split(id, "-"); len(parts) > 1 {
				for i, p := range parts {
					parts[i], digits = digits[:len(p)], digits[len(p):]
				}
				return strings.Join(parts, "-")
			}
			return digits[:len(id)]
		})
	}
	text, err := json.Marshal(e)
	require.NoError(t, err)
	var renamed expectation
	require.NoError(t, json.Unmarshal([]byte(other(string(text))), &renamed))
	renamed.Capture = mark
	var out []otlpclient.Payload
	for _, in := range e.Inputs {
		data, err := os.ReadFile(filepath.Join(capturesDir(t), in.File))
		require.NoError(t, err)
		data = []byte(other(string(data)))
		if in.Signal == "traces" {
			td, err := (&ptrace.JSONUnmarshaler{}).UnmarshalTraces(data)
			require.NoError(t, err)
			out = append(out, singleSpans(td)...)
		} else {
			ld, err := (&plog.JSONUnmarshaler{}).UnmarshalLogs(data)
			require.NoError(t, err)
			out = append(out, singleRecords(ld)...)
		}
	}
	return renamed, out
}

func singleSpans(td ptrace.Traces) (out []otlpclient.Payload) {
	for _, rs := range td.ResourceSpans().All() {
		for _, ss := range rs.ScopeSpans().All() {
			for _, span := range ss.Spans().All() {
				one := ptrace.NewTraces()
				r := one.ResourceSpans().AppendEmpty()
				rs.Resource().CopyTo(r.Resource())
				s := r.ScopeSpans().AppendEmpty()
				ss.Scope().CopyTo(s.Scope())
				span.CopyTo(s.Spans().AppendEmpty())
				out = append(out, otlpclient.FromTraces(one))
			}
		}
	}
	return out
}

func singleRecords(ld plog.Logs) (out []otlpclient.Payload) {
	for _, rl := range ld.ResourceLogs().All() {
		for _, sl := range rl.ScopeLogs().All() {
			for _, record := range sl.LogRecords().All() {
				one := plog.NewLogs()
				r := one.ResourceLogs().AppendEmpty()
				rl.Resource().CopyTo(r.Resource())
				s := r.ScopeLogs().AppendEmpty()
				sl.Scope().CopyTo(s.Scope())
				record.CopyTo(s.LogRecords().AppendEmpty())
				out = append(out, otlpclient.FromLogs(one))
			}
		}
	}
	return out
}

// copies are n copies of every capture, and their export requests in an order made of seed. A capture that tells one call in two
// traces is left out: going by the trace does not bring those together.
func copies(t *testing.T, n int, seed uint64) ([]expectation, []otlpclient.Payload) {
	t.Helper()
	var all []expectation
	var requests []otlpclient.Payload
	for k := range n {
		for _, e := range expectations(t) {
			if e.Capture == "duptraceloop-plain" {
				continue
			}
			renamed, r := captureCopy(t, e, k)
			all, requests = append(all, renamed), append(requests, r...)
		}
	}
	rng := rand.New(rand.NewPCG(seed, seed))
	rng.Shuffle(len(requests), func(i, j int) { requests[i], requests[j] = requests[j], requests[i] })
	return all, requests
}

// requireApart wants what several ledgers tell of one trace, or of one session without traces, to be in one of them alone.
func requireApart(t *testing.T, ledgers ...*collector) {
	t.Helper()
	in := map[string]int{}
	for i, c := range ledgers {
		found := false
		c.eachLine(func(line []byte) {
			var entry struct {
				Kind      string `json:"kind"`
				TraceID   string `json:"trace_id"`
				SessionID string `json:"session_id"`
			}
			require.NoError(t, json.Unmarshal(line, &entry))
			key := "trace " + entry.TraceID
			if entry.TraceID == "" {
				key = "session " + entry.SessionID
			}
			if entry.Kind == "system" || key == "session " {
				return
			}
			found = true
			if other, ok := in[key]; ok && other != i {
				t.Errorf("%s is in ledgers %d and %d", key, other, i)
			}
			in[key] = i
		})
		require.True(t, found, "ledger %d has nothing", i)
	}
}
