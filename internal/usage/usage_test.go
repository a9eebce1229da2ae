package usage

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/claudeaudit/claudeaudit/internal/audit"
)

// grouped is a report of two days, grouped by model and service tier.
const grouped = `{"data":[
 {"starting_at":"2026-11-23T00:00:00Z","ending_at":"2026-11-24T00:00:00Z","results":[
  {"api_key_id":null,"workspace_id":null,"model":"claude-sonnet-4-5-20250929","service_tier":"standard","context_window":null,"uncached_input_tokens":100,"cache_creation":{"ephemeral_1h_input_tokens":7,"ephemeral_5m_input_tokens":3},"cache_read_input_tokens":10,"output_tokens":50,"server_tool_use":{"web_search_requests":1}},
  {"model":"claude-sonnet-4-5-20250929","service_tier":"batch","uncached_input_tokens":1000,"output_tokens":500,"cache_creation":null,"cache_read_input_tokens":0},
  {"model":"claude-opus-4-1","uncached_input_tokens":40,"output_tokens":4}]},
 {"starting_at":"2026-11-24T00:00:00Z","ending_at":"2026-11-25T00:00:00Z","results":[
  {"model":"claude-sonnet-4-5-20250929","uncached_input_tokens":9,"output_tokens":1}]}
],"has_more":false,"next_page":null}`

func read(t *testing.T, pages ...string) *Report {
	t.Helper()
	var r Report
	for _, p := range pages {
		require.NoError(t, r.Read(strings.NewReader(p)))
	}
	require.NoError(t, r.Complete())
	return &r
}

func n(i int64) *int64 { return &i }

// call is a call of the day before the last of the report.
func call(input, output int64, change ...func(*audit.Record)) *audit.Record {
	r := &audit.Record{
		Kind: audit.KindInteraction, Status: audit.StatusSuccess, Timestamp: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC), Provider: "anthropic",
		Model: "claude-sonnet-4-5-20250929", PromptTokens: n(input), CompletionTokens: n(output), LatencyMs: n(1000),
	}
	for _, f := range change {
		f(r)
	}
	return r
}

func at(day int, clock string) func(*audit.Record) {
	c, err := time.Parse(time.TimeOnly, clock)
	if err != nil {
		panic(err)
	}
	return func(r *audit.Record) {
		r.Timestamp = time.Date(2026, 11, day, c.Hour(), c.Minute(), c.Second(), 0, time.UTC)
	}
}

func TestMissing(t *testing.T) {
	batch := func(r *audit.Record) { r.Call.BatchItem = "1" }
	opus := func(r *audit.Record) { r.Model = "claude-opus-4-1-20250805" }
	all := []*audit.Record{call(120, 50), call(1000, 500), call(40, 4, opus), call(9, 1, at(24, "12:00:00"))}
	without := func(i int) []*audit.Record { return append(append([]*audit.Record{}, all[:i]...), all[i+1:]...) }
	with := func(i int, r *audit.Record) []*audit.Record { return append(without(i), r) }
	for _, tt := range []struct {
		name    string
		records []*audit.Record
		want    []Counts // of the buckets opus, sonnet on the 23rd, sonnet on the 24th
	}{
		{"all recorded", all, []Counts{{}, {}, {}}},
		{"none recorded", nil, []Counts{{40, 4}, {1120, 550}, {9, 1}}},
		{"a call dropped", without(0), []Counts{{}, {120, 50}, {}}},
		{"the only one of a model dropped", without(2), []Counts{{40, 4}, {}, {}}},
		{"more than was counted", append(all, call(5, 5)), []Counts{{}, {}, {}}},
		{"of another provider", with(0, call(120, 50, func(r *audit.Record) { r.Provider = "aws.bedrock" })), []Counts{{}, {120, 50}, {}}},
		{"on another surface", with(0, call(120, 50, func(r *audit.Record) { r.Call.Surface = "foundry" })), []Counts{{}, {120, 50}, {}}},
		{"no call", with(0, call(120, 50, func(r *audit.Record) { r.Kind = audit.KindAlert })), []Counts{{}, {120, 50}, {}}},
		{"a provider that isn't told", with(0, call(120, 50, func(r *audit.Record) { r.Provider = "" })), []Counts{{}, {}, {}}},
		{"the model asked for", with(0, call(120, 50, func(r *audit.Record) { r.RequestModel, r.Model = r.Model, "" })), []Counts{{}, {}, {}}},
		{"tokens that are not told", with(0, call(120, 50, func(r *audit.Record) { r.PromptTokens = nil })), []Counts{{}, {120, 0}, {}}},
		{"over midnight", with(0, call(120, 50, at(23, "23:59:59"), func(r *audit.Record) { r.LatencyMs = n(60_000) })), []Counts{{}, {}, {}}},
		{"shortly before the day", with(0, call(120, 50, at(22, "23:56:00"))), []Counts{{}, {}, {}}},
		{"long before the day", with(0, call(120, 50, at(22, "23:50:00"))), []Counts{{}, {120, 50}, {}}},
		{"on the wrong day", with(3, call(9, 1)), []Counts{{}, {}, {9, 1}}},
		{"a batch that ended the day after", with(3, call(9, 1, batch)), []Counts{{}, {}, {}}},
		{"a batch of two days before", with(3, call(9, 1, batch, at(22, "12:00:00"))), []Counts{{}, {}, {9, 1}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := read(t, grouped)
			for _, rec := range tt.records {
				r.Add(rec)
			}
			var got []Counts
			for _, b := range r.Buckets {
				got = append(got, b.Missing())
			}
			require.Equal(t, tt.want, got)
		})
	}
}

func TestWhatIsSaid(t *testing.T) {
	r := read(t, grouped)
	r.Add(call(1000, 500, func(r *audit.Record) { r.CompletionTokens = nil }))
	r.Add(call(0, 0, func(r *audit.Record) { r.PromptTokens, r.Status = nil, audit.StatusBlocked }))
	require.Equal(t, "2026-11-23T00:00:00Z to 2026-11-24T00:00:00Z of claude-sonnet-4-5: the provider counted 1120 input and 550 output tokens, "+
		"and 120 and 550 more than the 2 calls that are recorded; 1 of these don't tell their tokens", r.Buckets[1].String())
	from, to := r.Span()
	require.Equal(t, "2026-11-21T22:55:00Z 2026-11-25T00:05:00Z", from.Format(time.RFC3339)+" "+to.Format(time.RFC3339))
}

// Pages, in one file or several; without groups all models count together.
func TestPages(t *testing.T) {
	first := `{"data":[{"starting_at":"2026-11-23T00:00:00Z","ending_at":"2026-11-23T01:00:00Z","results":[{"uncached_input_tokens":1,"output_tokens":2}]},
		{"starting_at":"2026-11-23T01:00:00Z","ending_at":"2026-11-23T02:00:00Z","results":[]}],"has_more":true,"next_page":"page_2"}`
	last := `{"data":[{"starting_at":"2026-11-23T12:00:00Z","ending_at":"2026-11-23T13:00:00Z","results":[{"model":null,"uncached_input_tokens":3,"output_tokens":4}]}],"has_more":false}`
	for _, pages := range [][]string{{first, last}, {last, first}, {first + "\n" + last}} {
		r := read(t, pages...)
		require.Len(t, r.Buckets, 2)
		r.Add(call(3, 0, func(r *audit.Record) { r.Model = "claude-opus-4-1" }))
		r.Add(call(0, 4))
		require.Equal(t, Counts{1, 2}, r.Buckets[0].Missing())
		require.Equal(t, Counts{}, r.Buckets[1].Missing())
	}
}

func TestReportsThatCantBe(t *testing.T) {
	bucket := func(results string) string {
		return `{"data":[{"starting_at":"2026-11-23T00:00:00Z","ending_at":"2026-11-24T00:00:00Z","results":[` + results + `]}],"has_more":false}`
	}
	for _, tt := range []struct{ name, text, want string }{
		{"nothing", "", "it is empty"},
		{"no JSON", "usage", "not a usage report"},
		{"something else", `{"type":"error","error":{"type":"authentication_error"}}`, "it has no data and has_more"},
		{"a page is missing", strings.Replace(grouped, `"has_more":false`, `"has_more":true`, 1), "its last page is missing"},
		{"no time", `{"data":[{"results":[]}],"has_more":false}`, "a bucket has no starting_at"},
		{"a time that ends before it starts", `{"data":[{"starting_at":"2026-11-24T00:00:00Z","ending_at":"2026-11-23T00:00:00Z","results":[]}],"has_more":false}`, "a bucket has no starting_at"},
		{"less than nothing", bucket(`{"output_tokens":-1}`), "a count that can't be"},
		{"more than can be", bucket(`{"uncached_input_tokens":9223372036854775807}`), "a count that can't be"},
		{"no number", bucket(`{"output_tokens":"many"}`), "not a usage report"},
		{"in part by model", bucket(`{"model":"a"},{"output_tokens":1}`), "group it by model, or not"},
		{"overlapping times", bucket(`{"model":"a"}`) + strings.ReplaceAll(bucket(`{"model":"a"}`), "T00:", "T12:"), "overlaps another one"},
		{"of two lengths", bucket(`{"model":"a"}`) + strings.ReplaceAll(bucket(`{"model":"a"}`), "24T00:", "24T12:"), "overlaps another one"},
		{"cut off", grouped[:100], "not a usage report"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var r Report
			err := r.Read(strings.NewReader(tt.text))
			if err == nil {
				err = r.Complete()
			}
			require.ErrorContains(t, err, tt.want)
		})
	}
}
