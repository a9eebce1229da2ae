package main

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/claudeaudit/claudeaudit/internal/audit"
	"github.com/claudeaudit/claudeaudit/internal/index/indextest"
	"github.com/claudeaudit/claudeaudit/internal/ledger"
)

// A call of which only the beginning is in the ledger is named when it is old
// enough; one that ended, however, is not, nor an entry about the trail itself.
func TestVerifyNamesCallsWithoutEnd(t *testing.T) {
	f := newFixture(t)
	begun := func(r *audit.Record) { r.Status, r.ResponseHash, r.ResponseID = audit.StatusInitiated, "", "" }
	f.append(
		indextest.Record(1, begun),
		indextest.Record(2, begun),
		indextest.Record(3, begun, func(r *audit.Record) { r.Timestamp = time.Now().Add(-time.Minute) }),
		indextest.Record(4, begun, func(r *audit.Record) { r.Kind = audit.KindSystem }),
		indextest.Record(5, begun),
		indextest.Record(1),
		indextest.Record(5, func(r *audit.Record) { r.Status = audit.StatusInterrupted }),
	)
	f.closeLedger()
	verified := func(args ...string) (r report) {
		t.Helper()
		out := must(t, append([]string{"verify", "--data", f.dir, "--format", "json"}, args...)...)
		require.NoError(t, json.Unmarshal([]byte(out), &r))
		require.Equal(t, ledger.Intact, r.Integrity)
		return r
	}
	named := func(r report) (out []uint64) {
		for _, n := range r.Notes {
			if n.Kind == kindUnended {
				require.Equal(t, "test/log/1", n.Stream)
				out = append(out, *n.Seq)
			}
		}
		return out
	}

	r := verified()
	require.Equal(t, ledger.Incomplete, r.Completeness)
	require.Equal(t, 1, r.Unended)
	require.Equal(t, []uint64{1}, named(r))
	r = verified("--unended-after", "10s")
	require.Equal(t, 2, r.Unended)
	require.Equal(t, []uint64{1, 2}, named(r))
	r = verified("--unended-after", "1000000h")
	require.Equal(t, ledger.Complete, r.Completeness)
	require.Zero(t, r.Unended)
	require.Empty(t, named(r))
	require.Contains(t, must(t, "verify", "--data", f.dir), "1 calls began and have no end")
	require.Equal(t, 2, runWith(t, "", "verify", "--data", f.dir, "--unended-after", "-1h").code)
}

func TestVerifySamplesContent(t *testing.T) {
	f := newFixture(t)
	f.fill()
	f.closeLedger()
	for sample, read := range map[string]uint64{"1": 2, "0": 0} {
		var r report
		require.NoError(t, json.Unmarshal([]byte(must(t, "verify", "--data", f.dir, "--format", "json", "--sample-content", sample)), &r))
		require.Equal(t, uint64(2), r.Contents)
		require.Equal(t, read, r.ContentsRead, "one in %s", sample)
	}
	require.Equal(t, 2, runWith(t, "", "verify", "--data", f.dir, "--sample-content", "-1").code)
}
