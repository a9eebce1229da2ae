package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/claudeaudit/claudeaudit/internal/otlpclient"
)

// The oldest entries are removed while the collector runs: its index drops them, the
// rest is verified, found and proven, and it goes on, also after a restart.
func TestPruneBesideARunningCollector(t *testing.T) {
	c := newCollector(t, "local.yaml", smallSegments)
	c.start()
	send := func(user string, n int) {
		t.Helper()
		for i := range n {
			require.NoError(t, c.client().Send(t.Context(), traces(newCall(user, fmt.Sprint(user, " ", i))), otlpclient.HTTPProtobuf))
		}
	}
	send("early", 30)
	c.awaitRecords(30, "--user", "early")
	c.stop() // seals all
	// No class ends while a test runs: a folder's locks are files, which say here that they have ended.
	store := filepath.Join(c.data, "ledger", "store")
	for _, dir := range []string{"seg", "cnt"} {
		matches, err := filepath.Glob(filepath.Join(store, "v1", "*", "*", "*", dir))
		require.NoError(t, err)
		require.Len(t, matches, 1)
		for _, f := range filesUnder(t, matches[0], "") {
			rel, err := filepath.Rel(store, f)
			require.NoError(t, err)
			lock := filepath.Join(store, ".locks", rel+".json")
			require.NoError(t, os.MkdirAll(filepath.Dir(lock), 0o700))
			require.NoError(t, os.WriteFile(lock, []byte(`{"retain_until":"2026-01-01T00:00:00Z"}`), 0o600))
		}
	}
	c.start()
	send("late", 30)
	late := c.awaitRecords(30, "--user", "late")
	require.Contains(t, mustRun(t, "prune", "--data", c.data), "could be removed (--log --yes); it would begin at entry ")
	out := mustRun(t, "prune", "--data", c.data, "--log", "--yes", "--by", "records", "--approver", "dpo", "--approver", "counsel", "--reason", "e2e")
	require.Contains(t, out, " objects are removed, 0 objects are kept; it begins at entry ")
	require.Eventually(t, func() bool { return len(c.search("--user", "early")) == 0 }, followTimeout, 100*time.Millisecond, "the index has the removed entries still")
	require.Len(t, c.search("--user", "late"), 30)
	c.verify()
	mustRun(t, "verify", "--data", c.data, "--index")
	proof := filepath.Join(t.TempDir(), "proof")
	mustRun(t, "prove", late[0].text("event_id"), "--data", c.data, "--output", proof)
	mustRun(t, "verify", "--data", c.data, "--proof", proof)

	c.kill()
	c.start()
	send("last", 5)
	c.awaitRecords(5, "--user", "last")
	c.stop()
	c.verify()
	require.NoError(t, os.RemoveAll(filepath.Join(c.data, "index")))
	mustRun(t, "reindex", "--data", c.data)
	require.Empty(t, c.search("--user", "early"))
	require.Len(t, c.search("--user", "late"), 30)
	require.Len(t, c.search("--user", "last"), 5)
	mustRun(t, "verify", "--data", c.data, "--index")

	// Without the log of holds and erasures they are missing.
	require.NoError(t, os.Rename(filepath.Join(c.data, "admin"), filepath.Join(t.TempDir(), "admin")))
	got := claudeaudit(t, "verify", "--data", c.data)
	require.Equal(t, 1, got.code, "%s", got)
	require.True(t, strings.Contains(got.stdout, "missing-entries"), "%s", got)
}
