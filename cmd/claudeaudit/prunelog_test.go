package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/claudeaudit/claudeaudit/internal/audit"
	"github.com/claudeaudit/claudeaudit/internal/bucket"
	"github.com/claudeaudit/claudeaudit/internal/bucket/buckettest"
	"github.com/claudeaudit/claudeaudit/internal/index/indextest"
	"github.com/claudeaudit/claudeaudit/internal/ledger"
	"github.com/claudeaudit/claudeaudit/internal/seal"
)

// prunable is a fixture whose ledger keeps what is written until a time that a
// test sets.
type prunable struct {
	*fixture
	until   time.Time
	witness *ledger.FileWitness
	opts    ledger.Options
	next    int
}

func newPrunable(t *testing.T) *prunable {
	t.Helper()
	f := newFixture(t)
	f.closeLedger()
	require.NoError(t, errors.Join(os.RemoveAll(f.path("ledger")), os.RemoveAll(f.path("witness"))))
	k, err := seal.LoadCheckpointKey(f.path("keys", "checkpoint.key"))
	require.NoError(t, err)
	p := &prunable{fixture: f, until: time.Now().Add(time.Hour)}
	p.witness, err = ledger.NewFileWitness(f.path("witness", "checkpoints"))
	require.NoError(t, err)
	t.Cleanup(func() {
		f.closeLedger()
		require.NoError(t, p.witness.Close())
	})
	p.opts = ledger.Options{
		Dir: f.path("ledger"), Origin: "test/log", Signer: k.Signer, VerifierKey: k.VerifierKey, Witnesses: []ledger.Witness{p.witness},
		SegmentEntries: 1, CheckpointInterval: 1,
		Retention: func(string, time.Time) time.Time { return p.until },
	}
	return p
}

// write appends n records that are kept until a time, one in each segment. Their own
// retention ended yesterday unless change says otherwise.
func (p *prunable) write(n int, until time.Time, change ...func(*audit.Record)) {
	p.t.Helper()
	p.until = until
	var err error
	p.log, err = ledger.Open(p.t.Context(), p.opts)
	require.NoError(p.t, err)
	for range n {
		size := p.log.Stats().Durable
		p.appendWithContent(indextest.Record(p.next, append([]func(*audit.Record){func(r *audit.Record) {
			r.UserID = fmt.Sprintf("user%d", p.next)
			r.RetentionClass, r.RetentionRule = "sec17a4", "default"
			r.RetentionUntil = time.Now().UTC().AddDate(0, 0, -1).Format(time.DateOnly)
		}}, change...)...))
		p.next++
		require.Eventually(p.t, func() bool { return p.log.Stats().Checkpointed == size+1 }, 20*time.Second, time.Millisecond)
	}
	p.closeLedger()
}

func (p *prunable) pruneLog(args ...string) result {
	p.t.Helper()
	return runWith(p.t, "", append([]string{
		"prune", "--data", p.dir, "--log", "--yes", "--by", "records", "--approver", "dpo", "--approver", "counsel", "--reason", "sec17a4 ended",
	}, args...)...)
}

type verdict struct {
	code                    int
	Integrity, Completeness string
	Streams                 []struct{ Pruned, Entries, Covered uint64 }
	Problems, Notes         []ledger.Problem
}

func (p *prunable) verdict(args ...string) (v verdict) {
	p.t.Helper()
	got := runWith(p.t, "", append([]string{"verify", "--data", p.dir, "--format", "json"}, args...)...)
	require.NoError(p.t, json.Unmarshal([]byte(got.out), &v), got.stderr)
	v.code = got.code
	return v
}

func (v *verdict) kinds() (out []string) {
	for _, p := range v.Problems {
		out = append(out, p.Kind)
	}
	return out
}

// waitUntil waits for a retention to end: the store's clock is the host's.
func waitUntil(t *testing.T, end time.Time) {
	t.Helper()
	require.Eventually(t, func() bool { return time.Now().After(end.Add(time.Second)) }, 30*time.Second, 10*time.Millisecond)
}

// tree is a folder's files, to put back.
type tree map[string][]byte

func readTree(t *testing.T, root string) tree {
	t.Helper()
	out := tree{}
	require.NoError(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		out[path], err = os.ReadFile(path)
		return err
	}))
	return out
}

// put makes a folder have these files and no others.
func (tr tree) put(t *testing.T, root string) {
	t.Helper()
	for path := range readTree(t, root) {
		if _, ok := tr[path]; !ok {
			require.NoError(t, os.Remove(path))
		}
	}
	for path := range tr {
		tr.back(t, path)
	}
}

// back puts one file back.
func (tr tree) back(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		require.NoError(t, err)
	}
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
	require.NoError(t, os.WriteFile(path, tr[path], 0o600))
}

// The oldest entries go at the end of their retention: what is left verifies, is
// found and proven, the log goes on, and more goes later.
func TestPruneLog(t *testing.T) {
	p := newPrunable(t)
	end := time.Now().Add(2 * time.Second)
	p.write(4, end)
	p.write(2, time.Now().Add(time.Hour))
	must(t, "reindex", "--data", p.dir)
	proof := filepath.Join(t.TempDir(), "old.proof")
	must(t, "prove", indextest.EventID(1).String(), "--data", p.dir, "--output", proof)
	require.Contains(t, must(t, "prune", "--data", p.dir), "test/log/1: no entry could be removed, it begins at entry 0; entry 0: v1/test/log/1/seg/")
	require.Contains(t, p.pruneLog().out, "is locked until")
	require.Equal(t, uint64(0), p.verdict().Streams[0].Pruned)

	waitUntil(t, end)
	dry := must(t, "prune", "--data", p.dir, "--dry-run")
	require.Contains(t, dry, "test/log/1: 4 entries in 4 segments and 4 containers, ")
	require.Contains(t, dry, "could be removed (--log --yes); it would begin at entry 4, after ")
	require.Contains(t, dry, "; entry 4: v1/test/log/1/seg/")
	for name, args := range map[string][]string{
		"nobody approves":    {"--log", "--yes", "--by", "records", "--reason", "r"},
		"one approves":       {"--log", "--yes", "--by", "records", "--reason", "r", "--approver", "dpo"},
		"one approves twice": {"--log", "--yes", "--by", "records", "--reason", "r", "--approver", "dpo", "--approver", "DPO"},
		"the one who orders": {"--log", "--yes", "--by", "records", "--reason", "r", "--approver", "dpo", "--approver", "records"},
		"no reason":          {"--log", "--yes", "--by", "records", "--approver", "dpo", "--approver", "counsel"},
		"nobody orders":      {"--log", "--yes", "--reason", "r", "--approver", "dpo", "--approver", "counsel"},
		"approvers for what": {"--yes", "--by", "records", "--approver", "dpo"},
		"shown and deleted":  {"--yes", "--by", "records", "--dry-run"},
		"no policy file":     {"--log", "--yes", "--by", "records", "--reason", "r", "--approver", "dpo", "--approver", "counsel", "--policy", "none"},
	} {
		require.Equal(t, 2, runWith(t, "", append([]string{"prune", "--data", p.dir}, args...)...).code, name)
	}
	got := p.pruneLog()
	require.Zero(t, got.code, got.stderr)
	require.Contains(t, got.out, "test/log/1: 4 entries in 4 objects are removed, 0 objects are kept; it begins at entry 4; entry 4: v1/test/log/1/seg/")
	require.Contains(t, p.pruneLog().out, "test/log/1: no entry is removed, it begins at entry 4")

	v := p.verdict("--index")
	require.Zero(t, v.code, "%v", v.Problems)
	require.Equal(t, "complete", v.Completeness)
	require.Equal(t, uint64(4), v.Streams[0].Pruned)
	require.Equal(t, uint64(6), v.Streams[0].Entries)
	require.Empty(t, v.Notes)
	text := must(t, "verify", "--data", p.dir)
	require.Contains(t, text, "removed       test/log/1: the first 4 entries, at the end of their retention")
	require.Contains(t, text, "the log of holds and erasures, for what was removed, and its public key in "+p.path("admin", "keys", "checkpoint.pub"))
	must(t, "verify", "--data", p.path("admin"))
	// Who, why and what stands in the log of holds and erasures, before and after.
	var said []map[string]string
	require.NoError(t, adminEntries(t.Context(), placesBeside(p.path("ledger"), ""), func(r *audit.Record, d map[string]string) error {
		if r.Operation == opPruneLog {
			d["status"] = r.Status
			said = append(said, d)
		}
		return nil
	}))
	require.Len(t, said, 2)
	for i, status := range []string{audit.StatusInitiated, audit.StatusSuccess} {
		for name, want := range map[string]string{
			"status": status, "stream": "test/log/1", "from": "0", "size": "4", "by": "records", "approver_1": "dpo", "approver_2": "counsel",
			"reason": "sec17a4 ended", "classes": "sec17a4", "retention_until": time.Now().UTC().AddDate(0, 0, -1).Format(time.DateOnly),
		} {
			require.Equal(t, want, said[i][name], name)
		}
	}
	require.Equal(t, "4", said[1]["objects"])

	find := func(n int) string {
		t.Helper()
		return must(t, "search", "--data", p.dir, "--user", fmt.Sprintf("user%d", n), "--format", "json")
	}
	look := func(first int) {
		t.Helper()
		for n := range p.next {
			if n < first {
				require.NotContains(t, find(n), "event_id")
				require.Equal(t, 1, runWith(t, "", "prove", indextest.EventID(n).String(), "--data", p.dir).code)
				continue
			}
			require.Contains(t, find(n), indextest.EventID(n).String())
			fresh := filepath.Join(t.TempDir(), "proof")
			must(t, "prove", indextest.EventID(n).String(), "--data", p.dir, "--output", fresh)
			must(t, "verify", "--proof", fresh, "--data", p.dir)
		}
		must(t, "verify", "--proof", proof, "--data", p.dir)
		folder := filepath.Join(t.TempDir(), "case")
		require.Contains(t, must(t, "export", "--case", folder, "--data", p.dir, "--application", "app"), fmt.Sprintf("%d records in %d entries", p.next-first, p.next-first))
		tiles := runWith(t, "", "export", "--tlog-tiles", filepath.Join(t.TempDir(), "tiles"), "--data", p.dir)
		require.Equal(t, 2, tiles.code)
		require.Contains(t, tiles.stderr, "the first 4 entries were removed at the end of its retention, and no tile without them is full before entry 256")
	}
	look(4)
	require.NoError(t, os.RemoveAll(p.path("index")))
	must(t, "reindex", "--data", p.dir)
	look(4)
	require.Zero(t, p.verdict("--index").code)

	// The log goes on.
	p.write(3, time.Now().Add(time.Hour))
	must(t, "reindex", "--data", p.dir)
	look(4)
	v = p.verdict("--index")
	require.Zero(t, v.code, "%v", v.Problems)
	require.Equal(t, uint64(9), v.Streams[0].Covered)
}

// The tiles of a log that was removed in part are those of a pruned log.
func TestTilesOfAPrunedLog(t *testing.T) {
	p := newPrunable(t)
	end := time.Now().Add(time.Second)
	p.write(4, end)
	p.write(256, time.Now().Add(time.Hour))
	waitUntil(t, end)
	require.Zero(t, p.pruneLog().code)
	dir := filepath.Join(t.TempDir(), "tiles")
	require.Equal(t, "260 entries of test/log/1; minimum index 256, since entries before were removed\n", must(t, "export", "--tlog-tiles", dir, "--data", p.dir))
	var paths []string
	for path := range readTree(t, dir) {
		paths = append(paths, strings.TrimPrefix(path, dir))
	}
	require.ElementsMatch(t, []string{"/checkpoint", "/tile/0/001.p/4", "/tile/1/000.p/1", "/tile/entries/001.p/4"}, paths)
}

// Prefixes go one after the other, and what the index has of them with it.
func TestPruneLogAgain(t *testing.T) {
	p := newPrunable(t)
	p.write(3, time.Now().Add(time.Second))
	p.write(3, time.Now().Add(3*time.Second))
	second := p.until
	must(t, "reindex", "--data", p.dir)
	require.Eventually(t, func() bool { return strings.Contains(p.pruneLog().out, "it begins at entry 3") }, 20*time.Second, 50*time.Millisecond)
	if time.Now().Before(second) {
		require.Equal(t, uint64(3), p.verdict("--index").Streams[0].Pruned)
	}
	p.write(2, time.Now().Add(time.Hour))
	waitUntil(t, second)
	require.Zero(t, p.pruneLog().code)
	v := p.verdict()
	require.Zero(t, v.code, "%v", v.Problems)
	require.Equal(t, uint64(6), v.Streams[0].Pruned)
	require.Equal(t, uint64(8), v.Streams[0].Covered)
	p.write(1, time.Now().Add(time.Hour))
	must(t, "reindex", "--data", p.dir)
	require.Zero(t, p.verdict("--index").code)
}

// An index that has what the log has no more is found and mended: by the next prune,
// and by a repair.
func TestPruneLogOfAnIndexThatKeepsIt(t *testing.T) {
	p := newPrunable(t)
	end := time.Now().Add(time.Second)
	p.write(3, end)
	p.write(1, time.Now().Add(time.Hour))
	must(t, "reindex", "--data", p.dir)
	before := readTree(t, p.path("index"))
	waitUntil(t, end)
	require.Zero(t, p.pruneLog().code)
	for name, mend := range map[string]func() string{
		"it begins at entry 3": func() string { return p.pruneLog().out },
		"1 entries indexed":    func() string { return must(t, "reindex", "--repair", "--data", p.dir) },
	} {
		before.put(t, p.path("index"))
		got := runWith(t, "", "verify", "--data", p.dir, "--index")
		require.Equal(t, 1, got.code, got.out)
		require.Contains(t, got.out, "entry 0 of test/log/1: the ledger removed it at the end of its retention, and the index still has it")
		require.Contains(t, mend(), name)
		require.Zero(t, p.verdict("--index").code)
	}
	require.Contains(t, must(t, "reindex", "--repair", "--data", p.dir), "nothing to repair")
}

// What is held, kept longer by its own retention, or not verified is not removed.
func TestPruneLogStops(t *testing.T) {
	p := newPrunable(t)
	end := time.Now().Add(time.Second)
	p.write(5, end)
	p.write(1, end, func(r *audit.Record) { r.RetentionUntil = "2999-01-01" })
	waitUntil(t, end)
	plan := func() string { return must(t, "prune", "--data", p.dir) }
	require.Contains(t, plan(), "it would begin at entry 5, after ")
	require.Contains(t, plan(), "entry 5: entry 5 is kept until 2999-01-01 (sec17a4)")

	must(t, "hold", "add", "--data", p.dir, "--matter", "m", "--by", "legal", "--user", "user3")
	require.Contains(t, plan(), "it would begin at entry 3, after ")
	require.Contains(t, plan(), "is under a legal hold")
	store := bucket.NewLocal(p.path("ledger", "store"))
	var keys []string
	require.NoError(t, store.List(t.Context(), "v1/test/log/1/", "", func(o bucket.ObjectInfo) error {
		keys = append(keys, o.Key)
		return store.SetHold(t.Context(), o.Key, false)
	}))
	require.Contains(t, plan(), "it would begin at entry 3, after ")
	require.Contains(t, plan(), "is held by a matter")
	must(t, "hold", "remove", "--data", p.dir, "--matter", "m", "--requester", "legal", "--approver", "a", "--approver", "b")

	// A hold of somebody else on the content of one.
	for _, k := range keys {
		if strings.Contains(k, "/cnt/") && strings.Contains(k, "0000000000000002-") {
			require.NoError(t, store.SetHold(t.Context(), k, true))
			defer func() { require.NoError(t, store.SetHold(context.Background(), k, false)) }()
		}
	}
	require.Contains(t, plan(), "it would begin at entry 2, after ")

	// Of a ledger that was tampered with nothing goes.
	seg := ""
	for _, k := range keys {
		if strings.Contains(k, "/seg/") && strings.Contains(k, "0000000000000001-") {
			seg = filepath.Join(store.Root(), filepath.FromSlash(k))
		}
	}
	before := readTree(t, store.Root())
	b := append([]byte(nil), before[seg]...)
	b[len(b)/2] ^= 1
	tree{seg: b}.back(t, seg)
	got := p.pruneLog()
	require.Equal(t, 1, got.code)
	require.Contains(t, got.stderr, "the ledger does not verify, nothing was removed")
	before.put(t, store.Root())
	// Nor of one that a witness has to have cosigned and did not.
	witnessKeys := filepath.Join(t.TempDir(), "witness")
	must(t, "keygen", "--dir", witnessKeys, "--only", "witness", "--name", "witness.example.com")
	policy := func(lines ...string) string {
		path := filepath.Join(t.TempDir(), "policy")
		require.NoError(t, os.WriteFile(path, []byte(strings.Join(append(lines, ""), "\n")), 0o600))
		return path
	}
	wit, err := os.ReadFile(filepath.Join(witnessKeys, "witness.pub"))
	require.NoError(t, err)
	log := "log " + p.opts.VerifierKey
	got = p.pruneLog("--policy", policy(log, "witness w "+strings.TrimSpace(string(wit)), "quorum w"))
	require.Equal(t, 1, got.code)
	require.Contains(t, got.stderr, "missing-quorum")
	got = p.pruneLog("--policy", policy(log, "quorum none"))
	require.Zero(t, got.code, got.stderr)
	require.Equal(t, uint64(2), p.verdict("--allow-missing-content").Streams[0].Pruned)
}

// A prefix that was removed without the log of holds and erasures saying so is
// missing, and so is one whose entry was removed.
func TestPruneLogTampering(t *testing.T) {
	p := newPrunable(t)
	end := time.Now().Add(time.Second)
	p.write(4, end)
	p.write(4, time.Now().Add(time.Hour))
	waitUntil(t, end)
	store, admin := p.path("ledger", "store"), p.path("admin")
	byHand := readTree(t, store)
	for path := range byHand {
		if strings.Contains(path, "000000000000000"+"0-") || strings.Contains(path, "0000000000000001-") {
			require.NoError(t, os.Remove(path))
		}
	}
	v := p.verdict("--allow-missing-content")
	require.Equal(t, 1, v.code)
	require.Contains(t, v.kinds(), ledger.KindMissing)
	byHand.put(t, store)

	require.Zero(t, p.pruneLog().code)
	require.Zero(t, p.verdict().code)
	stored, noted := readTree(t, store), readTree(t, admin)
	note := filepath.Join(store, "v1/test/log/1/pruned/0000000000000004.note")
	require.Contains(t, stored, note)
	segments := func(seq int) (out []string) {
		for path := range stored {
			if strings.Contains(path, fmt.Sprintf("/%016d-", seq)) && strings.HasSuffix(path, ".zst") {
				out = append(out, path)
			}
		}
		require.Len(t, out, 1)
		return out
	}
	adminCheckpoint := ""
	for path := range noted {
		if strings.Contains(path, "/cp/") {
			adminCheckpoint = path
		}
	}
	for name, tc := range map[string]struct {
		do   func()
		args []string
		want string // a part of a problem
		// whole: nothing is missing by what is to be believed.
		whole bool
	}{
		"the log of holds and erasures is gone": {do: func() { require.NoError(t, os.RemoveAll(admin)) }, want: "the log of holds and erasures is not there"},
		"it was changed": {do: func() {
			b := append([]byte(nil), noted[adminCheckpoint]...)
			b[len(b)/2] ^= 1
			tree{adminCheckpoint: b}.back(t, adminCheckpoint)
		}, want: "the log of holds and erasures does not verify"},
		"it is another's":         {do: func() {}, args: []string{"--admin-key", p.path("keys", "checkpoint.pub")}, want: "the log of holds and erasures does not verify"},
		"it is a ledger of calls": {do: func() {}, args: []string{"--admin", p.path("ledger")}, want: "has no entry that the first 4 entries were removed"},
		"its key is not there":    {do: func() { require.NoError(t, os.RemoveAll(filepath.Join(admin, "keys"))) }, want: "name its public key with --admin-key"},
		"the note is gone":        {do: func() { require.NoError(t, os.Remove(note)) }, want: "entries 0 to 3 are in no segment"},
		"a segment more is gone":  {do: func() { require.NoError(t, os.Remove(segments(4)[0])) }, want: "entries 4 to 4 are in no segment"},
		"the note says more entries": {do: func() {
			more := strings.Replace(note, "4.note", "5.note", 1)
			tree{more: []byte(strings.Replace(string(stored[note]), "size 4\n", "size 5\n", 1))}.back(t, more)
		}, want: "it has not the nodes of its size", whole: true},
		"the note is forged": {do: func() {
			other, _, err := seal.EnsureCheckpointKey(filepath.Join(t.TempDir(), "k"), filepath.Join(t.TempDir(), "p"), "claudeaudit-admin")
			require.NoError(t, err)
			r, err := ledger.OpenReader(p.path("ledger"))
			require.NoError(t, err)
			begin, err := r.Pruned(t.Context(), "test/log/1")
			require.NoError(t, errors.Join(err, r.Close()))
			msg, err := begin.Sign(t.Context(), other.Signer)
			require.NoError(t, err)
			tree{note: msg}.back(t, note)
		}, want: "not signed by a known key"},
	} {
		t.Run(name, func(t *testing.T) {
			tc.do()
			v := p.verdict(tc.args...)
			stored.put(t, store)
			if err := os.MkdirAll(admin, 0o700); err != nil {
				t.Fatal(err)
			}
			noted.put(t, admin)
			require.Equal(t, 1, v.code)
			if !tc.whole {
				require.Equal(t, "incomplete", v.Completeness)
				require.Contains(t, v.kinds(), ledger.KindMissing)
			}
			require.Contains(t, fmt.Sprint(v.Problems), tc.want)
		})
	}
	require.Zero(t, p.verdict().code)
	// Named elsewhere, it counts as well.
	elsewhere := filepath.Join(t.TempDir(), "admin")
	require.NoError(t, os.Rename(admin, elsewhere))
	require.Equal(t, 1, p.verdict().code)
	require.Zero(t, p.verdict("--admin", elsewhere).code)
	require.Zero(t, p.verdict("--admin", filepath.Join(elsewhere, "ledger", "store"), "--admin-key", filepath.Join(elsewhere, "keys", "checkpoint.pub")).code)
}

// A prune that ended at any point leaves a ledger that verifies, and the next ends it.
func TestPruneLogEndsAnywhere(t *testing.T) {
	p := newPrunable(t)
	end := time.Now().Add(time.Second)
	p.write(3, end)
	p.write(1, time.Now().Add(time.Hour))
	waitUntil(t, end)
	store := p.path("ledger", "store")
	must(t, "prune", "--data", p.dir, "--yes", "--by", "records") // the content
	before := readTree(t, store)
	require.Zero(t, p.pruneLog().code)
	after := readTree(t, store)
	note := filepath.Join(store, "v1/test/log/1/pruned/0000000000000003.note")

	// After the entry.
	before.put(t, store)
	require.Zero(t, p.verdict("--allow-missing-content").code)
	require.Contains(t, p.pruneLog().out, "3 entries in 3 objects are removed")
	require.Zero(t, p.verdict().code)

	// After the note and a part of the objects.
	for _, gone := range []int{0, 1, 2} {
		before.put(t, store)
		after.back(t, note)
		for i := range gone {
			for path := range before {
				if strings.Contains(path, fmt.Sprintf("/%016d-", i)) {
					require.NoError(t, os.Remove(path))
				}
			}
		}
		v := p.verdict()
		require.Zero(t, v.code, "%v", v.Problems)
		require.Equal(t, "complete", v.Completeness)
		require.Len(t, v.Notes, 1)
		require.Equal(t, ledger.KindLeft, v.Notes[0].Kind)
		require.Contains(t, p.pruneLog().out, fmt.Sprintf("0 entries in %d objects are removed, 0 objects are kept; it begins at entry 3", 3-gone))
		v = p.verdict()
		require.Zero(t, v.code, "%v", v.Problems)
		require.Empty(t, v.Notes)
	}
	require.Equal(t, len(readTree(t, filepath.Join(store, "v1"))), strings.Count(strings.Join(slices.Collect(maps.Keys(after)), "\n"), "/store/v1/"))
	must(t, "verify", "--data", p.path("admin"))
}

// In a bucket only what the store's lock has ended on is removed, of the copy in
// the folder as well; an auditor names the log of holds and erasures.
func TestPruneLogInABucket(t *testing.T) {
	for name, start := range map[string]func(testing.TB) *buckettest.Server{"VersityGW": buckettest.StartVersityGW, "MinIO": buckettest.StartMinIO} {
		t.Run(name, func(t *testing.T) {
			srv := start(t)
			for _, b := range []string{"records", "content"} {
				srv.NewS3Bucket(b, true)
			}
			t.Setenv("AWS_ACCESS_KEY_ID", buckettest.RootKey)
			t.Setenv("AWS_SECRET_ACCESS_KEY", buckettest.RootSecret)
			t.Setenv("AWS_REGION", "us-east-1")
			url := func(b string) string { return "s3://" + b + "/claude?region=us-east-1&endpoint=" + srv.URL }
			at := ledger.Location{Store: url("records"), ContentStore: url("content")}
			records, err := openStores(t.Context(), at)
			require.NoError(t, err)
			defer func() { require.NoError(t, records.Close()) }()
			s := records.(*ledger.Stores)
			p := newPrunable(t)
			copied := bucket.NewLocal(p.path("ledger", "store"))
			p.opts.Store = &ledger.Stores{Records: s.Records, Contents: s.Contents, Copy: copied}
			require.NoError(t, os.MkdirAll(p.path("ledger"), 0o700))
			require.NoError(t, ledger.WriteLocation(p.path("ledger"), at))
			end := time.Now().Add(4 * time.Second)
			p.write(3, end)
			p.write(2, time.Now().Add(time.Minute))
			must(t, "reindex", "--data", p.dir)
			require.Contains(t, must(t, "prune", "--data", p.dir), "is locked until")
			require.ErrorIs(t, s.Delete(t.Context(), firstKey(t, s, "v1/test/log/1/seg/")), bucket.ErrLocked)
			waitUntil(t, end)
			got := p.pruneLog()
			require.Zero(t, got.code, got.stderr)
			require.Contains(t, got.out, "3 entries in 3 objects are removed, 0 objects are kept; it begins at entry 3")
			for _, store := range []bucket.Store{s, copied} {
				require.Contains(t, firstKey(t, store, "v1/test/log/1/seg/"), "0000000000000003-")
				require.Contains(t, firstKey(t, store, "v1/test/log/1/pruned/"), "0000000000000003.note")
			}
			for _, args := range [][]string{{"--locks"}, {"--local-copy"}, {"--index"}} {
				v := p.verdict(args...)
				require.Zero(t, v.code, "%v: %v", args, v.Problems)
				require.Equal(t, uint64(3), v.Streams[0].Pruned)
			}
			auditor := []string{
				"verify", url("records"), "--content-store", url("content"), "--public-key", p.path("keys", "checkpoint.pub"),
				"--checkpoints", p.path("witness", "checkpoints"),
			}
			alone := runWith(t, "", auditor...)
			require.Equal(t, 1, alone.code)
			require.Contains(t, alone.out, "name it with --admin")
			must(t, append(auditor, "--admin", p.path("admin"))...)
			p.write(2, time.Now().Add(time.Minute))
			require.Zero(t, p.verdict().code)
			must(t, "prove", indextest.EventID(4).String(), "--data", p.dir, "--output", filepath.Join(t.TempDir(), "proof"))
		})
	}
}

func firstKey(t *testing.T, s bucket.Store, prefix string) (key string) {
	t.Helper()
	require.NoError(t, s.List(t.Context(), prefix, "", func(o bucket.ObjectInfo) error {
		if key == "" {
			key = o.Key
		}
		return nil
	}))
	return key
}
