package identity

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/claudeaudit/claudeaudit/internal/audit"
	"github.com/claudeaudit/claudeaudit/internal/genai"
)

const captures = "../../testdata/captures"

// told is one span or log record of a capture.
type told struct {
	item   Item
	signal string
}

type expected struct {
	Match struct {
		TraceID   string `json:"trace_id"`
		SpanID    string `json:"span_id"`
		RequestID string `json:"request_id"`
	} `json:"match"`
	UserID           *string  `json:"user_id"`
	SessionID        *string  `json:"session_id"`
	ApplicationID    *string  `json:"application_id"`
	IPAddress        *string  `json:"ip_address"`
	Model            *string  `json:"model"`
	PromptTokens     *int64   `json:"prompt_tokens"`
	CompletionTokens *int64   `json:"completion_tokens"`
	CacheReadTokens  *int64   `json:"cache_read_tokens"`
	Status           string   `json:"status"`
	ErrorType        *string  `json:"error_type"`
	ErrorTypeAnyOf   []string `json:"error_type_any_of"`
	StopReason       *string  `json:"stop_reason"`
	StopReasonAnyOf  []string `json:"stop_reason_any_of"`
	StopClass        *string  `json:"stop_class"`
	LatencyMs        *float64 `json:"latency_ms"`
	SameCallSpans    []string `json:"same_call_spans"`
	Content          struct {
		Prompt   string `json:"prompt"`
		Response string `json:"response"`
	} `json:"content"`
}

type expectation struct {
	Inputs []struct {
		File   string `json:"file"`
		Signal string `json:"signal"`
	} `json:"inputs"`
	RecordCount      *int       `json:"record_count"`
	RecordCountAnyOf []int      `json:"record_count_any_of"`
	Records          []expected `json:"records"`
}

func load(t testing.TB, name string) (expectation, []told) {
	var e expectation
	b, err := os.ReadFile(filepath.Join(captures, name+".expect.json"))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(b, &e))
	var all []told
	for _, in := range e.Inputs {
		b, err := os.ReadFile(filepath.Join(captures, in.File))
		require.NoError(t, err)
		if in.Signal == "traces" {
			td, err := (&ptrace.JSONUnmarshaler{}).UnmarshalTraces(b)
			require.NoError(t, err)
			for _, rs := range td.ResourceSpans().All() {
				for _, ss := range rs.ScopeSpans().All() {
					for _, s := range ss.Spans().All() {
						all = append(all, told{NewItem(genai.ReadSpan(genai.ReadResource(rs.Resource().Attributes()), ss.Scope(), s, genai.DefaultLimits)), SignalSpan})
					}
				}
			}
			continue
		}
		ld, err := (&plog.JSONUnmarshaler{}).UnmarshalLogs(b)
		require.NoError(t, err)
		for _, rl := range ld.ResourceLogs().All() {
			for _, sl := range rl.ScopeLogs().All() {
				for _, r := range sl.LogRecords().All() {
					all = append(all, told{NewItem(genai.ReadLog(genai.ReadResource(rl.Resource().Attributes()), sl.Scope(), r, genai.DefaultLimits)), SignalLog})
				}
			}
		}
	}
	return e, all
}

func names(t testing.TB) []string {
	files, err := filepath.Glob(filepath.Join(captures, "*.expect.json"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for i, f := range files {
		files[i] = strings.TrimSuffix(filepath.Base(f), ".expect.json")
	}
	return files
}

// book is a ledger of observations, as its writer keeps it.
type book struct {
	entries map[uuid.UUID][]*audit.Record
	seen    map[string]bool
	order   []audit.Record
}

func newBook() *book { return &book{entries: map[uuid.UUID][]*audit.Record{}, seen: map[string]bool{}} }

// append returns how many entries are new.
func (b *book) append(t testing.TB, res Result) int {
	n := 0
	for _, o := range res.Observations {
		r := o.Record
		require.NotEmpty(t, r.Source.Digest)
		k := r.EventID.String() + r.Source.Digest
		if b.seen[k] {
			continue
		}
		b.seen[k] = true
		n++
		r.Revision = int64(len(b.entries[r.EventID]) + 1)
		r.Complete()
		line := r.AppendJSON(nil)
		r, err := audit.ParseRecord(line) // what a restart would read
		require.NoError(t, err)
		b.entries[r.EventID] = append(b.entries[r.EventID], &r)
		b.order = append(b.order, r)
	}
	return n
}

func (b *book) records() []audit.Record {
	var out []audit.Record
	for _, es := range b.entries {
		if r := audit.Merge(es); r.Kind == audit.KindInteraction {
			out = append(out, r)
		}
	}
	return out
}

// send hands the items on in requests of the given sizes.
func send(t testing.TB, w *Window, b *book, all []told, size func(left int) int) int {
	n := 0
	for len(all) > 0 {
		k := min(max(size(len(all)), 1), len(all))
		for j := 1; j < k; j++ {
			if all[j].signal != all[0].signal {
				k = j
			}
		}
		items := make([]Item, k)
		for j := range items {
			items[j] = all[j].item
		}
		n += b.append(t, w.Resolve(items, all[0].signal))
		all = all[k:]
	}
	return n
}

func whole(left int) int { return left }
func single(int) int     { return 1 }

func check(t *testing.T, e expectation, b *book) {
	t.Helper()
	recs := b.records()
	if e.RecordCount != nil {
		require.Len(t, recs, *e.RecordCount)
	} else {
		require.Contains(t, e.RecordCountAnyOf, len(recs))
	}
	str := func(s *string) string {
		if s == nil {
			return ""
		}
		return *s
	}
	for _, want := range e.Records {
		i := slices.IndexFunc(recs, func(r audit.Record) bool {
			if want.Match.SpanID != "" {
				return r.TraceID == want.Match.TraceID && r.SpanID == want.Match.SpanID
			}
			return r.RequestID == want.Match.RequestID
		})
		require.GreaterOrEqual(t, i, 0, "no record of %+v", want.Match)
		got := recs[i]
		require.Equal(t, str(want.UserID), got.UserID, "user_id")
		require.Equal(t, str(want.SessionID), got.SessionID, "session_id")
		require.Equal(t, str(want.ApplicationID), got.ApplicationID, "application_id")
		require.Equal(t, str(want.IPAddress), got.IPAddress, "ip_address")
		require.Equal(t, str(want.Model), got.Model, "model")
		require.Equal(t, want.PromptTokens, got.PromptTokens, "prompt_tokens")
		require.Equal(t, want.CompletionTokens, got.CompletionTokens, "completion_tokens")
		require.Equal(t, want.Status, got.Status, "status")
		if len(want.ErrorTypeAnyOf) > 0 {
			require.Contains(t, want.ErrorTypeAnyOf, got.ErrorType)
		} else {
			require.Equal(t, str(want.ErrorType), got.ErrorType, "error_type")
		}
		if len(want.StopReasonAnyOf) > 0 {
			require.Contains(t, want.StopReasonAnyOf, got.StopReason)
		} else {
			require.Equal(t, str(want.StopReason), got.StopReason, "stop_reason")
		}
		require.Equal(t, str(want.StopClass), got.StopClass, "stop_class")
		if want.LatencyMs != nil {
			require.InDelta(t, *want.LatencyMs, float64(*got.LatencyMs), 1, "latency_ms")
		}
		if want.Content.Prompt != "uncorrelated" {
			require.Equal(t, want.Content.Prompt, got.Content.Prompt, "prompt")
			require.Equal(t, want.Content.Response, got.Content.Response, "response")
		}
		if want.Content.Prompt != "truncated" {
			require.Equal(t, got.PromptHash == "", got.Content.Prompt == "none" || got.Content.Prompt == "", "prompt_hash of %s", got.Content.Prompt)
		}
		for _, s := range want.SameCallSpans {
			if len(e.Records) == 1 {
				require.True(t, slices.ContainsFunc(got.Source.Spans, func(o string) bool { return strings.HasSuffix(o, ":"+s) }), "span %s", s)
			}
		}
	}
}

// facts is what must not depend on the order of arrival.
func facts(b *book) string {
	m := map[string]string{}
	for _, r := range b.records() {
		id := r.TraceID + r.SpanID
		if id == "" || r.Source.Dialect == "claude_code.events" {
			id = r.RequestID
		}
		if _, twice := m[id]; twice {
			id += " again"
		}
		r.EventID, r.Revision, r.Source = uuid.Nil, 0, audit.Source{}
		r.Timestamp = r.Timestamp.Round(0)
		m[id] = string(r.AppendJSON(nil))
	}
	var s strings.Builder
	for _, k := range slices.Sorted(maps.Keys(m)) {
		fmt.Fprintf(&s, "%s %s\n", k, m[k])
	}
	return s.String()
}

func TestCaptures(t *testing.T) {
	for _, name := range names(t) {
		t.Run(name, func(t *testing.T) {
			e, all := load(t, name)
			b := newBook()
			send(t, New(Options{}), b, all, whole)
			check(t, e, b)
			want := facts(b)

			rng := rand.New(rand.NewPCG(1, 2))
			for round := range 40 {
				shuffled := slices.Clone(all)
				rng.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
				b := newBook()
				w := New(Options{})
				size := single
				if round%2 == 0 {
					size = func(int) int { return 1 + rng.IntN(4) }
				}
				send(t, w, b, shuffled, size)
				check(t, e, b)
				require.Equal(t, want, facts(b), "round %d", round)

				// The same again, in another order, after a restart.
				w = New(Options{})
				for _, r := range b.order {
					w.Restore(&r)
				}
				rng.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
				send(t, w, b, shuffled, single)
				check(t, e, b)
				require.Equal(t, want, facts(b), "round %d, again after a restart", round)
			}
		})
	}
}

func TestRedeliveryAddsNothing(t *testing.T) {
	for _, name := range names(t) {
		t.Run(name, func(t *testing.T) {
			_, all := load(t, name)
			b := newBook()
			w := New(Options{})
			send(t, w, b, all, whole)
			require.Zero(t, send(t, w, b, all, whole), "the same request again")
			w = New(Options{})
			for _, r := range b.order {
				w.Restore(&r)
			}
			require.Zero(t, send(t, w, b, all, whole), "the same request after a restart")
		})
	}
}

func TestAllCapturesTogether(t *testing.T) {
	b := newBook()
	w := New(Options{})
	rng := rand.New(rand.NewPCG(3, 4))
	type request struct{ all []told }
	var requests []request
	want := 0
	for _, name := range names(t) {
		e, all := load(t, name)
		for _, signal := range []string{SignalSpan, SignalLog} {
			var part []told
			for _, x := range all {
				if x.signal == signal {
					part = append(part, x)
				}
			}
			if len(part) > 0 {
				requests = append(requests, request{part})
			}
		}
		if e.RecordCount != nil {
			want += *e.RecordCount
		} else {
			want += e.RecordCountAnyOf[0]
		}
	}
	rng.Shuffle(len(requests), func(i, j int) { requests[i], requests[j] = requests[j], requests[i] })
	for _, r := range requests {
		send(t, w, b, r.all, whole)
	}
	require.Len(t, b.records(), want)
}
