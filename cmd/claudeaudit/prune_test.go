package main

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/claudeaudit/claudeaudit/internal/audit"
	"github.com/claudeaudit/claudeaudit/internal/bucket"
	"github.com/claudeaudit/claudeaudit/internal/index/indextest"
	"github.com/claudeaudit/claudeaudit/internal/ledger"
	"github.com/claudeaudit/claudeaudit/internal/seal"
)

// Content goes when its retention has ended, unless it is held; the rest stands.
func TestPrune(t *testing.T) {
	f := newFixture(t)
	f.closeLedger()
	k, err := seal.LoadCheckpointKey(f.path("keys", "checkpoint.key"))
	require.NoError(t, err)
	w, err := ledger.NewFileWitness(f.path("witness", "checkpoints"))
	require.NoError(t, err)
	defer func() { require.NoError(t, w.Close()) }()
	end := time.Now().Add(5 * time.Second) // after all that comes before
	f.log, err = ledger.Open(t.Context(), ledger.Options{
		Dir: f.path("ledger"), Origin: "test/log", Signer: k.Signer, VerifierKey: k.VerifierKey, Witnesses: []ledger.Witness{w},
		SegmentEntries: 1, CheckpointInterval: 1,
		Retention: func(class string, newest time.Time) time.Time {
			if class == ledger.DefaultClass {
				return end
			}
			return newest.Add(time.Hour)
		},
	})
	require.NoError(t, err)
	for n, user := range []string{"carol", "dave", "erin", "dave"} {
		if n == 3 {
			// Of the second call that comes later the store shows no hold yet.
			must(t, "hold", "add", "--data", f.dir, "--matter", "m", "--by", "legal", "--user", "dave")
		}
		f.appendWithContent(indextest.Record(10+n, func(r *audit.Record) { r.UserID = user }))
		require.Eventually(t, func() bool { return f.log.Stats().Checkpointed == uint64(n+1) }, 10*time.Second, time.Millisecond)
	}
	require.NoError(t, f.log.Close(context.Background()))
	f.log = nil
	require.Equal(t, "0 containers with 0 bytes of content are deleted, 4 are kept\n", must(t, "prune", "--data", f.dir, "--yes", "--by", "dpo"))
	time.Sleep(time.Until(end) + time.Second)
	require.Contains(t, must(t, "prune", "--data", f.dir), "2 containers")
	must(t, "verify", "--data", f.dir)
	require.Equal(t, 2, runWith(t, "", "prune", "--data", f.dir, "--yes").code, "somebody orders it")
	require.Contains(t, must(t, "prune", "--data", f.dir, "--yes", "--by", "dpo"), "are deleted, 2 are kept")
	require.Contains(t, must(t, "prune", "--data", f.dir), "0 containers")

	require.Equal(t, 1, runWith(t, "", "verify", "--data", f.dir).code)
	require.Contains(t, must(t, "verify", "--data", f.dir, "--allow-missing-content"), "4 gone")
	must(t, "prove", indextest.EventID(10).String(), "--data", f.dir, "--output", filepath.Join(t.TempDir(), "proof"))
	must(t, "verify", "--data", f.path("admin"))

	s := bucket.NewLocal(f.path("ledger", "store"))
	require.Equal(t, 1, heldContainers(t, s))
	require.Equal(t, 2, runWith(t, "", "hold", "apply", "--data", f.dir).code, "somebody orders it")
	require.Contains(t, must(t, "hold", "apply", "--data", f.dir, "--by", "job"), "1 matters: 2 objects more are held")
	require.Equal(t, 2, heldContainers(t, s))
	require.Contains(t, must(t, "hold", "apply", "--data", f.dir, "--by", "job"), "1 matters: 0 objects more are held")
	must(t, "verify", "--data", f.path("admin"))

	// Of a call whose content is gone the rest is held, and released.
	require.Equal(t, "matter late: 1 records in 1 objects are held; 1 containers of content were deleted before, at the end of their retention\n",
		must(t, "hold", "add", "--data", f.dir, "--matter", "late", "--by", "legal", "--user", "erin"))
	require.Contains(t, must(t, "hold", "apply", "--data", f.dir, "--by", "job"), "2 matters: 0 objects more are held")
	require.Equal(t, "matter late: 1 objects are released, 0 stay held by other matters; 1 containers of content were deleted before, at the end of their retention\n",
		must(t, "hold", "remove", "--data", f.dir, "--matter", "late", "--requester", "legal", "--approver", "a", "--approver", "b"))

	// What another holds, the store doesn't delete either.
	held := ""
	require.NoError(t, s.List(t.Context(), "v1/test/log/1/cnt/", "", func(o bucket.ObjectInfo) error { held = o.Key; return nil }))
	require.ErrorIs(t, s.Delete(t.Context(), held), bucket.ErrLocked)
}

// heldContainers counts the containers of which the store shows a hold.
func heldContainers(t *testing.T, s bucket.Store) (n int) {
	t.Helper()
	require.NoError(t, s.List(t.Context(), "v1/test/log/1/cnt/", "", func(o bucket.ObjectInfo) error {
		l, err := s.Lock(t.Context(), o.Key)
		if l.Hold {
			n++
		}
		return err
	}))
	return n
}
