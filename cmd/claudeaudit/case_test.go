package main

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/claudeaudit/claudeaudit/internal/audit"
	"github.com/claudeaudit/claudeaudit/internal/cputime"
	"github.com/claudeaudit/claudeaudit/internal/index/indextest"
	"github.com/claudeaudit/claudeaudit/internal/ledger"
	"github.com/claudeaudit/claudeaudit/internal/seal"
)

// TestExportCaseOfMany needs CASE_TEST_RECORDS, for instance 100000: so many are
// exported, each other one of the ledger, without content and with the prompt and
// response of each.
func TestExportCaseOfMany(t *testing.T) {
	n, err := strconv.Atoi(os.Getenv("CASE_TEST_RECORDS"))
	if err != nil {
		t.Skip("CASE_TEST_RECORDS is not set")
	}
	sum := func(b []byte) string { s := sha256.Sum256(b); return hex.EncodeToString(s[:]) }
	prompt, response := []byte(strings.Repeat(thePrompt, 4)), []byte(strings.Repeat(theResponse, 4))
	for name, content := range map[string]bool{"without content": false, "with content": true} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			const batch = 1000
			for i := 0; i < 2*n; i += batch {
				recs := make([]audit.Record, 0, batch)
				var entries []ledger.Entry
				for j := range batch {
					recs = append(recs, indextest.Record(i+j, func(r *audit.Record) {
						r.UserID = []string{"carol", "dave"}[j%2]
						r.Source.Digest = fmt.Sprintf("%032x", i+j+1)
					}))
					r := &recs[j]
					e := ledger.Entry{ID: r.EventID, Time: r.Timestamp, Body: r}
					binary.BigEndian.PutUint64(e.Digest[8:], uint64(i+j+1))
					if content {
						p, err := f.seal.Seal(prompt, audit.PromptAAD(r.EventID))
						require.NoError(t, err)
						q, err := f.seal.Seal(response, audit.ResponseAAD(r.EventID))
						require.NoError(t, err)
						r.Content = audit.Content{Prompt: "full", Response: "full", PromptSHA256: sum(p), ResponseSHA256: sum(q), KeyID: f.seal.KeyID(), Suite: seal.Suite}
						e.Contents = [][]byte{p, q}
					}
					entries = append(entries, e)
				}
				_, err := f.log.Append(t.Context(), entries)
				require.NoError(t, err)
			}
			f.closeLedger()
			dir := filepath.Join(t.TempDir(), "case")
			args := []string{"export", "--case", dir, "--data", f.dir, "--user", "carol"}
			if content {
				args = append(args, "--identity", f.path("keys", "content.identity"))
			}
			var out string
			spent := cputime.Of(1, func() { out = must(t, args...) })
			require.Contains(t, out, fmt.Sprintf("%d records in %d entries", n, n))
			if content {
				found, err := os.ReadDir(filepath.Join(dir, "content"))
				require.NoError(t, err)
				require.Len(t, found, 2*n)
			}
			t.Logf("%d of %d records exported in %v of CPU time, %v each", n, 2*n, spent, spent/time.Duration(n))
		})
	}
}
