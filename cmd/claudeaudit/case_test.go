package main

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/claudeaudit/claudeaudit/internal/audit"
	"github.com/claudeaudit/claudeaudit/internal/cputime"
	"github.com/claudeaudit/claudeaudit/internal/index/indextest"
	"github.com/claudeaudit/claudeaudit/internal/ledger"
)

// TestExportCaseOfMany needs CASE_TEST_RECORDS, for instance 100000: so many are
// exported, each other one of the ledger.
func TestExportCaseOfMany(t *testing.T) {
	n, err := strconv.Atoi(os.Getenv("CASE_TEST_RECORDS"))
	if err != nil {
		t.Skip("CASE_TEST_RECORDS is not set")
	}
	f := newFixture(t)
	recs := make([]audit.Record, 0, 1000)
	for i := 0; i < 2*n; i += cap(recs) {
		var entries []ledger.Entry
		recs = recs[:0]
		for j := range cap(recs) {
			recs = append(recs, indextest.Record(i+j, func(r *audit.Record) {
				r.UserID = []string{"carol", "dave"}[j%2]
				r.Source.Digest = fmt.Sprintf("%032x", i+j+1)
			}))
			e := ledger.Entry{ID: recs[j].EventID, Time: recs[j].Timestamp, Body: &recs[j]}
			binary.BigEndian.PutUint64(e.Digest[8:], uint64(i+j+1))
			entries = append(entries, e)
		}
		_, err := f.log.Append(t.Context(), entries)
		require.NoError(t, err)
	}
	f.closeLedger()
	dir := filepath.Join(t.TempDir(), "case")
	var out string
	spent := cputime.Of(1, func() {
		out = must(t, "export", "--case", dir, "--data", f.dir, "--user", "carol")
	})
	require.Contains(t, out, fmt.Sprintf("%d records in %d entries", n, n))
	t.Logf("%d of %d records exported in %v of CPU time, %v each", n, 2*n, spent, spent/time.Duration(n))
}
