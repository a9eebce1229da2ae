package audit

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	jcsref "github.com/gowebpki/jcs"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
)

func ptr(n int64) *int64 { return &n }

// full has every field set.
func full() Record {
	return Record{
		EventID: uuid.MustParse("0190b6a4-7e2a-8c3d-9f10-1a2b3c4d5e6f"), Revision: 2, Kind: KindInteraction,
		Timestamp: time.Date(2026, 11, 24, 10, 11, 12, 131415, time.UTC), Status: StatusError,
		UserID: "u-4711", SessionID: "sess \"8c1f\"\n\u2028", ApplicationID: "invoice-assistant", Model: "claude-sonnet-4-5",
		PromptHash: strings.Repeat("ab", 32), ResponseHash: strings.Repeat("cd", 32),
		PromptTokens: ptr(13), CompletionTokens: ptr(0), LatencyMs: ptr(math.MaxInt32),
		DataClassification: Confidential, ClassificationBasis: "default",
		PolicyFlags: []string{"policy.x", "record.y"},
		Detections:  []Detection{{Type: "email", Count: 3, Confidence: "high"}},
		IPAddress:   "198.51.100.0/24", ErrorType: "rate_limit_error", StopReason: "end_turn", StopClass: "stop",
		Provider: "anthropic", Operation: "chat", RequestModel: "claude-sonnet-4-5", ResponseID: "msg_1", RequestID: "req_1",
		CacheReadTokens: ptr(1), CacheWriteTokens: ptr(2),
		TraceID: strings.Repeat("0a", 16), SpanID: strings.Repeat("0b", 8),
		IdentityAssurance: AssuranceAsserted, Department: "treasury", AgentName: "weather_agent",
		Source: Source{
			Dialect: "semconv", Scope: "opentelemetry.instrumentation.anthropic", Evidence: "sdk", Signal: "span",
			Digest: strings.Repeat("ef", 16), ParentSpanID: strings.Repeat("0c", 8), PromptID: "p", Sequence: ptr(4),
			Spans: []string{"t:s"}, Events: []string{"gen_ai.choice"}, Parts: 3, Rank: 1, UserRank: 10, SessionRank: 11,
			StopExact: true, ErrorExact: true,
		},
		Content: Content{
			Prompt: "full", Response: "text_only", PromptSHA256: strings.Repeat("11", 32),
			ResponseSHA256: strings.Repeat("22", 32), KeyID: "k1", Suite: "hpke",
		},
		Unparsed:       []Unparsed{{Key: "gen_ai.input.messages", Bytes: 12, SHA256: "aa", Reason: "invalid_json"}},
		RetentionClass: "fs", RetentionUntil: "2033-11-24", Missing: []string{"user_id"},
		Call: Call{
			Surface: "anthropic", Ended: EndedClientGone, HTTPStatus: ptr(200), TTFTMs: ptr(40), ResponseBytes: ptr(1234),
			RequestSHA256: strings.Repeat("44", 32), ClientKey: "sha256:0123456789ab", BatchID: "msgbatch_1", BatchItem: "row-1",
			PolicyDecision: "flag", PolicyRule: "no_cards", PolicyReason: "pii.card",
		},
		Log: "org/audit/a/1", Seq: 7, Prev: strings.Repeat("33", 32),
	}
}

func TestCanonical(t *testing.T) {
	for name, r := range map[string]Record{
		"full":  full(),
		"empty": {EventID: uuid.MustParse("0190b6a4-7e2a-8c3d-9f10-1a2b3c4d5e6f")},
	} {
		t.Run(name, func(t *testing.T) {
			got := r.AppendJSON(nil)
			want, err := jcsref.Transform(got)
			require.NoError(t, err)
			require.Equal(t, string(want), string(got))
		})
	}
}

func TestRoundTrip(t *testing.T) {
	want := full()
	got, err := ParseRecord(want.AppendJSON(nil))
	require.NoError(t, err)
	require.Equal(t, want, got)

	m := pcommon.NewMap()
	want.PutAttributes(m)
	got = Record{}
	require.True(t, got.FromAttributes(m))
	// What the ledger's writer gives does not travel.
	want.Revision, want.Log, want.Seq, want.Prev = 0, "", 0, ""
	want.Content = Content{Prompt: want.Content.Prompt, Response: want.Content.Response}
	require.Equal(t, want, got)
}

func TestNullsAreNeverInvented(t *testing.T) {
	r := Record{EventID: uuid.New(), Kind: KindInteraction}
	r.Complete()
	line := string(r.AppendJSON(nil))
	for _, f := range required {
		require.Contains(t, line, `"`+f.name+`":null`)
		require.Contains(t, r.Missing, f.name)
	}
	require.Equal(t, []string{FlagIncomplete}, r.PolicyFlags)

	r.CompletionTokens = ptr(0)
	r.Complete()
	require.NotContains(t, r.Missing, "completion_tokens", "0 is not null")
}

func TestFieldsAreBounded(t *testing.T) {
	r := full()
	r.UserID = strings.Repeat("u", 60<<20)
	r.SessionID = strings.Repeat("\x01", 200)
	r.ApplicationID = strings.Repeat("a", MaxField)
	r.Unparsed = []Unparsed{{Key: strings.Repeat("k", 5_000)}}
	r.Complete()
	require.True(t, strings.HasPrefix(r.UserID, "sha256:"))
	require.True(t, strings.HasPrefix(r.SessionID, "sha256:"), "200 control characters are 1200 bytes of JSON")
	require.Len(t, r.ApplicationID, MaxField)
	require.Contains(t, r.PolicyFlags, FlagFieldTooLong)

	// The worst record fits an entry of the ledger.
	worst := full()
	for i := range strAttrs {
		*strAttrs[i].field(&worst) = strings.Repeat("x", MaxField)
	}
	for i := range listAttrs {
		for range 10_000 {
			*listAttrs[i].field(&worst) = append(*listAttrs[i].field(&worst), strings.Repeat("\x01", 1000))
		}
	}
	for range 10_000 {
		worst.Unparsed = append(worst.Unparsed, Unparsed{Key: strings.Repeat("k", 5_000), SHA256: strings.Repeat("a", 64), Reason: "invalid_json"})
		worst.Detections = append(worst.Detections, Detection{Type: "email", Confidence: "high"})
	}
	worst.Complete()
	require.Less(t, len(worst.AppendJSON(nil)), 60<<10)
}

func TestParseRecordRefuses(t *testing.T) {
	for name, line := range map[string]string{
		"no JSON":       `{`,
		"an array":      `[]`,
		"no event id":   `{"kind":"interaction"}`,
		"bad event id":  `{"event_id":"x"}`,
		"wrong type":    `{"event_id":"0190b6a4-7e2a-8c3d-9f10-1a2b3c4d5e6f","user_id":7}`,
		"wrong number":  `{"event_id":"0190b6a4-7e2a-8c3d-9f10-1a2b3c4d5e6f","prompt_tokens":"7"}`,
		"wrong schema":  `{"event_id":"0190b6a4-7e2a-8c3d-9f10-1a2b3c4d5e6f","schema":"x"}`,
		"bad time":      `{"event_id":"0190b6a4-7e2a-8c3d-9f10-1a2b3c4d5e6f","timestamp":"yesterday"}`,
		"bad source":    `{"event_id":"0190b6a4-7e2a-8c3d-9f10-1a2b3c4d5e6f","source":[]}`,
		"bad content":   `{"event_id":"0190b6a4-7e2a-8c3d-9f10-1a2b3c4d5e6f","content":""}`,
		"negative _seq": `{"_seq":-1,"event_id":"0190b6a4-7e2a-8c3d-9f10-1a2b3c4d5e6f"}`,
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ParseRecord([]byte(line))
			require.ErrorIs(t, err, ErrNotARecord)
		})
	}
}

func TestMerge(t *testing.T) {
	id := uuid.New()
	call := func(rev int64, f func(*Record)) Record {
		r := Record{EventID: id, Revision: rev, Kind: KindInteraction, Source: Source{Rank: 1, Evidence: "client_asserted"}}
		f(&r)
		return r
	}
	for name, tc := range map[string]struct {
		entries []Record
		check   func(*testing.T, Record)
	}{
		"a known value beats null": {
			[]Record{
				call(1, func(r *Record) { r.UserID, r.Status = "u", StatusInitiated }),
				call(2, func(r *Record) { r.Status, r.Model, r.PromptTokens = StatusSuccess, "claude", ptr(3) }),
			},
			func(t *testing.T, r Record) {
				require.Equal(t, "u", r.UserID)
				require.Equal(t, StatusSuccess, r.Status)
				require.Equal(t, int64(3), *r.PromptTokens)
				require.Equal(t, int64(2), r.Revision)
			},
		},
		"a late start does not undo an end": {
			[]Record{
				call(1, func(r *Record) { r.Status = StatusError }),
				call(2, func(r *Record) { r.Status = StatusInitiated }),
			},
			func(t *testing.T, r Record) { require.Equal(t, StatusError, r.Status) },
		},
		"an interruption gives way to the outcome": {
			[]Record{
				call(1, func(r *Record) { r.Status = StatusInterrupted }),
				call(2, func(r *Record) { r.Status, r.Source.Rank = StatusSuccess, 3 }),
			},
			func(t *testing.T, r Record) { require.Equal(t, StatusSuccess, r.Status) },
		},
		"the primary source gives times, the exact one the stop reason": {
			[]Record{
				call(1, func(r *Record) {
					r.LatencyMs, r.StopReason, r.StopClass, r.Source.StopExact, r.Source.Rank = ptr(9), "end_turn", "stop", true, 2
					r.TraceID, r.SpanID, r.CacheReadTokens = "t", "inner", ptr(0)
				}),
				call(2, func(r *Record) {
					r.LatencyMs, r.StopReason, r.StopClass = ptr(10), "stop", "stop"
					r.TraceID, r.SpanID = "t", "outer"
				}),
			},
			func(t *testing.T, r Record) {
				require.Equal(t, int64(10), *r.LatencyMs)
				require.Equal(t, "end_turn", r.StopReason)
				require.Equal(t, "outer", r.SpanID)
				require.Equal(t, []string{"t:inner"}, r.Source.Spans)
				require.Equal(t, int64(0), *r.CacheReadTokens)
			},
		},
		"the user of the better evidence": {
			[]Record{
				call(1, func(r *Record) { r.UserID, r.Source.UserRank, r.IdentityAssurance = "opaque", 90, AssuranceAsserted }),
				call(2, func(r *Record) { r.UserID, r.Source.UserRank, r.IdentityAssurance = "alice", 11, AssuranceAsserted }),
				call(3, func(r *Record) { r.UserID, r.Source.UserRank, r.IdentityAssurance = "other", 50, AssuranceAsserted }),
			},
			func(t *testing.T, r Record) { require.Equal(t, "alice", r.UserID) },
		},
		"a verified user beats a better attribute": {
			[]Record{
				call(1, func(r *Record) { r.UserID, r.Source.UserRank, r.IdentityAssurance = "v", 90, AssuranceVerified }),
				call(2, func(r *Record) { r.UserID, r.Source.UserRank, r.IdentityAssurance = "a", 1, AssuranceAsserted }),
			},
			func(t *testing.T, r Record) { require.Equal(t, "v", r.UserID) },
		},
		"the more complete content, prompt and response apart": {
			[]Record{
				call(1, func(r *Record) {
					r.PromptHash, r.Content = "p1", Content{Prompt: "user_prompt_only", Response: "none", PromptSHA256: "c1"}
				}),
				call(2, func(r *Record) {
					r.ResponseHash, r.Content = "r2", Content{Prompt: "none", Response: "text_only", ResponseSHA256: "c2"}
				}),
				call(3, func(r *Record) { r.Content = Content{Prompt: "none", Response: "none"} }),
			},
			func(t *testing.T, r Record) {
				require.Equal(t, "p1", r.PromptHash)
				require.Equal(t, "r2", r.ResponseHash)
				require.Equal(t, Content{
					Prompt: "user_prompt_only", Response: "text_only", PromptSHA256: "c1", ResponseSHA256: "c2",
				}, r.Content)
			},
		},
		"the highest class, all flags": {
			[]Record{
				call(1, func(r *Record) {
					r.DataClassification, r.ClassificationBasis, r.PolicyFlags = Restricted, "rule 1", []string{"b"}
				}),
				call(2, func(r *Record) {
					r.DataClassification, r.ClassificationBasis, r.PolicyFlags = Internal, "default", []string{"a"}
				}),
			},
			func(t *testing.T, r Record) {
				require.Equal(t, Restricted, r.DataClassification)
				require.Equal(t, "rule 1", r.ClassificationBasis)
				require.Equal(t, []string{"a", "b", FlagIncomplete}, r.PolicyFlags)
			},
		},
		"a prompt becomes an interaction with its call": {
			[]Record{
				{EventID: id, Revision: 1, Kind: KindActivity},
				call(2, func(r *Record) {}),
			},
			func(t *testing.T, r Record) { require.Equal(t, KindInteraction, r.Kind) },
		},
		"a reported 0 gives way to a count": {
			[]Record{
				call(1, func(r *Record) { r.PromptTokens = ptr(0) }),
				call(2, func(r *Record) { r.PromptTokens, r.Source.Rank = ptr(14), 2 }),
			},
			func(t *testing.T, r Record) { require.Equal(t, int64(14), *r.PromptTokens) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			entries := make([]*Record, len(tc.entries))
			for i := range entries {
				entries[i] = &tc.entries[i]
			}
			want := Merge(entries)
			tc.check(t, want)
			for range 10 {
				rand.Shuffle(len(entries), func(i, j int) { entries[i], entries[j] = entries[j], entries[i] })
				got := Merge(entries)
				require.Equal(t, string(want.AppendJSON(nil)), string(got.AppendJSON(nil)), "order of arrival")
			}
		})
	}
}

func FuzzParseRecord(f *testing.F) {
	r := full()
	f.Add(r.AppendJSON(nil))
	f.Add([]byte(`{"event_id":"0190b6a4-7e2a-8c3d-9f10-1a2b3c4d5e6f"}`))
	plain := r
	plain.SessionID = "s"
	f.Add(plain.AppendJSON(nil))
	f.Fuzz(func(t *testing.T, line []byte) {
		r, err := ParseRecord(line)
		var plain Record
		if plain.readLine(string(line)) {
			want, err := parseRecord(string(line))
			require.NoError(t, err)
			require.Equal(t, want, plain)
		}
		if err != nil {
			return
		}
		again, err := ParseRecord(r.AppendJSON(nil))
		require.NoError(t, err)
		require.Equal(t, string(r.AppendJSON(nil)), string(again.AppendJSON(nil)))
	})
}

func BenchmarkAppendBody(b *testing.B) {
	r := full()
	buf := r.AppendBody(nil, 1)
	b.SetBytes(int64(len(buf)))
	for b.Loop() {
		buf = r.AppendBody(buf[:0], 1)
	}
}

// What readLine reads, it reads as the parser does.
func TestReadLine(t *testing.T) {
	plain := full()
	plain.SessionID, plain.Revision = "s", 1
	plain.Details = []Detail{{"a", "1"}, {"b", ""}}
	plain.Source.Sequence = ptr(-3)
	empty := Record{EventID: plain.EventID}
	for name, tc := range map[string]struct {
		line string
		read bool
	}{
		"full":                  {string(plain.AppendJSON(nil)), true},
		"empty":                 {string(empty.AppendJSON(nil)), true},
		"lists without items":   {`{"details":{},"detections":[],"event_id":"` + plain.EventID.String() + `","missing":[],"source":{}}`, true},
		"escapes":               {`{"event_id":"` + plain.EventID.String() + `","user_id":"a\"b"}`, false},
		"not ASCII":             {`{"event_id":"` + plain.EventID.String() + `","user_id":"é"}`, false},
		"white space":           {`{"event_id": "` + plain.EventID.String() + `"}`, false},
		"keys that descend":     {`{"user_id":"u","event_id":"` + plain.EventID.String() + `"}`, false},
		"a key twice":           {`{"event_id":"` + plain.EventID.String() + `","user_id":"u","user_id":"v"}`, false},
		"a later version's key": {`{"event_id":"` + plain.EventID.String() + `","zone":1}`, false},
		"a fraction":            {`{"event_id":"` + plain.EventID.String() + `","latency_ms":1.0}`, false},
		"a leading zero":        {`{"event_id":"` + plain.EventID.String() + `","latency_ms":01}`, false},
		"digits enough":         {`{"event_id":"` + plain.EventID.String() + `","latency_ms":999999999999999999}`, true},
		"a digit too many":      {`{"event_id":"` + plain.EventID.String() + `","latency_ms":9223372036854775808}`, false},
		"more behind it":        {`{"event_id":"` + plain.EventID.String() + `"}x`, false},
		"too long":              {`{"event_id":"` + plain.EventID.String() + `","user_id":"` + strings.Repeat("u", maxPlainLine) + `"}`, false},
		"no end":                {`{"event_id":"` + plain.EventID.String() + `","user_id":"u`, false},
		"no event":              {`{"user_id":"u"}`, false},
	} {
		t.Run(name, func(t *testing.T) {
			var got Record
			require.Equal(t, tc.read, got.readLine(tc.line))
			if tc.read {
				want, err := parseRecord(tc.line)
				require.NoError(t, err)
				require.Equal(t, want, got)
			}
		})
	}
}

func BenchmarkParseRecord(b *testing.B) {
	r := full()
	r.SessionID = "s"
	line := r.AppendJSON(nil)
	for name, parse := range map[string]func([]byte) (Record, error){
		"plain": ParseRecord, "any": func(b []byte) (Record, error) { return parseRecord(string(b)) },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(line)))
			for b.Loop() {
				if _, err := parse(line); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
