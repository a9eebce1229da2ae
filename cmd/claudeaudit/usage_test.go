package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/claudeaudit/claudeaudit/internal/audit"
	"github.com/claudeaudit/claudeaudit/internal/index"
	"github.com/claudeaudit/claudeaudit/internal/index/indextest"
)

// usageFile writes a report of the day that the tests' records are of.
func usageFile(t *testing.T, input, output int64) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "usage.json")
	day := indextest.Day.Truncate(24 * time.Hour)
	text := fmt.Sprintf(`{"data":[{"starting_at":%q,"ending_at":%q,"results":[{"uncached_input_tokens":%d,"output_tokens":%d}]}],"has_more":false,"next_page":null}`,
		day.Format(time.RFC3339), day.AddDate(0, 0, 1).Format(time.RFC3339), input, output)
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

// What the provider counted and the ledger doesn't have was dropped before it was
// recorded. A call is counted once, however many entries tell of it.
func TestVerifyUsage(t *testing.T) {
	f := newFixture(t)
	tokens := func(in, out int64) func(*audit.Record) {
		return func(r *audit.Record) { r.PromptTokens, r.CompletionTokens, r.Provider = &in, &out, "anthropic" }
	}
	f.append(
		indextest.Record(1, func(r *audit.Record) { r.Status, r.PromptTokens, r.CompletionTokens = audit.StatusInitiated, nil, nil }),
		indextest.Record(1, tokens(100, 10)),
		indextest.Record(1, tokens(100, 10), func(r *audit.Record) { r.Source.Evidence = "client_asserted" }),
		indextest.Record(2, tokens(20, 2)),
		indextest.Record(3, tokens(5000, 500), func(r *audit.Record) { r.Provider = "aws.bedrock" }),
	)
	f.closeLedger()
	type report struct {
		Integrity, Completeness string
		Usage                   usageReport
		Notes                   []struct{ Kind, Detail string }
	}
	verify := func(want int, args ...string) (r report) {
		t.Helper()
		got := runWith(t, "", append([]string{"verify", "--data", f.dir, "--format", "json"}, args...)...)
		require.Equal(t, want, got.code, got.stderr)
		require.NoError(t, json.Unmarshal([]byte(got.out), &r))
		return r
	}
	r := verify(0, "--usage", usageFile(t, 120, 12))
	require.Equal(t, "complete", r.Completeness)
	require.Equal(t, verdictHolds, r.Usage.Verdict)
	require.Equal(t, 1, r.Usage.Buckets)
	require.Empty(t, r.Usage.Missing)

	short := usageFile(t, 150, 13)
	r = verify(1, "--usage", short)
	require.Equal(t, []string{"intact", "incomplete", verdictDiffers}, []string{r.Integrity, r.Completeness, r.Usage.Verdict})
	require.Len(t, r.Usage.Missing, 1)
	require.Equal(t, 2, r.Usage.Missing[0].Calls)
	require.Equal(t, int64(120), r.Usage.Missing[0].Recorded.Input)
	require.Equal(t, kindUsage, r.Notes[0].Kind)
	require.Contains(t, r.Notes[0].Detail, "and 30 and 1 more than the 2 calls that are recorded")
	text := runWith(t, "", "verify", "--data", f.dir, "--usage", short).out
	require.Contains(t, text, "usage         differs: 1 times of the provider's report, of 1 the ledger has less than was counted\n")

	for name, args := range map[string][]string{
		"no file":      {"--usage", filepath.Join(t.TempDir(), "none")},
		"no report":    {"--usage", f.path("keys", "checkpoint.pub")},
		"with a proof": {"--usage", short, "--proof", "event.proof"},
	} {
		require.Equal(t, 2, runWith(t, "", append([]string{"verify", "--data", f.dir}, args...)...).code, name)
	}

	// Of a ledger that was tampered with nothing can be said, but that.
	f.openLedger()
	f.append(indextest.Record(4, tokens(1, 1)))
	f.closeLedger()
	segments, err := filepath.Glob(f.path("ledger", "store", "v1", "test", "log", "1", "seg", "*", "*", "*"))
	require.NoError(t, err)
	require.Len(t, segments, 2)
	require.NoError(t, os.Remove(segments[0]))
	f.openLedger()
	f.append(indextest.Record(5, tokens(1, 1)))
	f.closeLedger()
	r = verify(1, "--usage", short)
	require.Equal(t, "bad", r.Integrity)
	require.NotEqual(t, verdictHolds, r.Usage.Verdict)
}

// Times of which entries were removed are not compared.
func TestVerifyUsageOfAPrunedLedger(t *testing.T) {
	p := newPrunable(t)
	end := time.Now().Add(time.Second)
	p.write(2, end)
	p.write(1, time.Now().Add(time.Hour))
	waitUntil(t, end)
	require.Zero(t, p.pruneLog().code)
	require.Contains(t, must(t, "verify", "--data", p.dir, "--usage", usageFile(t, 1000, 1000)),
		"usage         holds: 0 times of the provider's report, of 0 the ledger has less than was counted; 1 were not compared, since entries of then were removed\n")
}

// diverging finds that the entries don't follow one another.
type diverging struct{ entries int }

func (d *diverging) Entry(context.Context, string, uint64, []byte) error {
	d.entries++
	return fmt.Errorf("checking: %w", index.ErrDiverged)
}

func (d *diverging) Finish(context.Context) error { return index.ErrDiverged }

// An index can't be compared with a ledger whose entries don't follow one another;
// what is wrong with the ledger is told all the same.
func TestIndexCheckOfABrokenLedger(t *testing.T) {
	d := &diverging{}
	c := &indexCheck{checker: d}
	for i := range 3 {
		require.NoError(t, c.entry(t.Context(), "a", uint64(i), nil))
	}
	require.Equal(t, 1, d.entries)
	for name, c := range map[string]*indexCheck{"while reading": c, "at the end": {checker: d}} {
		r, err := c.finish(t.Context())
		require.NoError(t, err, name)
		require.Equal(t, verdictUnchecked, r.Verdict)
		require.Len(t, r.Problems, 1)
	}
}
