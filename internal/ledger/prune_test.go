package ledger

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/claudeaudit/claudeaudit/internal/bucket"
)

func mayAll(context.Context, *Candidate) (string, error) { return "", nil }

// mayBefore lets go what lies before an entry.
func mayBefore(seq uint64) func(context.Context, *Candidate) (string, error) {
	return func(_ context.Context, c *Candidate) (string, error) {
		if c.End > seq {
			return "is kept", nil
		}
		return "", nil
	}
}

// removal is what an entry of the log of holds and erasures says.
func removal(p Pruned, k testKey) Removal {
	return Removal{Origin: p.Origin, Size: p.Size, Root: p.Root(), Note: p.Digest(), Key: k.vkey}
}

// prune removes what a plan says, up to a number of objects (negative: all).
func prune(t testing.TB, store bucket.Store, p Pruned, k testKey, objects int) {
	t.Helper()
	msg, err := p.Sign(t.Context(), k.signer)
	require.NoError(t, err)
	require.NoError(t, store.Put(t.Context(), p.Key(), msg, bucket.PutOptions{}))
	n := 0
	require.NoError(t, RemovedObjects(t.Context(), store, p.Origin, p.Size, func(o bucket.ObjectInfo) error {
		if n++; objects >= 0 && n > objects {
			return nil
		}
		return store.Delete(t.Context(), o.Key)
	}))
}

// Prefixes of every shape go one after the other: what remains verifies, is read
// and proven as before, and the log goes on.
func TestPrune(t *testing.T) {
	const n = 800
	e := newEnv(t)
	l := e.open(t, func(o *Options) { o.SegmentEntries = 7 })
	for i := 0; i < n; i += 7 {
		var batch []Entry
		for j := i; j < min(i+7, n); j++ {
			batch = append(batch, testEntry(j))
		}
		_, err := l.Append(t.Context(), batch)
		require.NoError(t, err)
	}
	closeLog(t, l)
	stream := l.Origin()
	r, err := OpenReader(e.dir)
	require.NoError(t, err)
	defer func() { require.NoError(t, r.Close()) }()
	lines := readStream(t, r, stream)
	store, admin := bucket.NewLocal(filepath.Join(e.dir, "store")), newKey(t, "admin")
	var leaves edge
	var roots []Hash // by size
	for _, l := range lines {
		roots = append(roots, leaves.root())
		leaves.add(leafHash([]byte(l)))
	}
	whole := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) { return r.treeHashes(t.Context(), stream, indexes) })
	consistency := map[uint64]tlog.TreeProof{}
	for size := uint64(7); size < n; size += 63 {
		p, err := tlog.ProveTree(n, int64(size), whole)
		require.NoError(t, err)
		consistency[size] = p
	}
	proofs := map[uint64]string{}
	for seq := uint64(0); seq < n; seq += 31 {
		p, err := Prove(t.Context(), r, stream, seq)
		require.NoError(t, err)
		proofs[seq] = string(p)
	}
	old, err := NewReader(store, "").NewProver(t.Context(), stream)
	require.NoError(t, err)

	tiles := exportedTiles(t, r, stream)

	var removals []Removal
	backed := func(o *VerifyOptions) { o.Removals = removals }
	from := uint64(0)
	for _, want := range []uint64{7, 14, 252, 259, 511, 518, 763, 798, n} {
		plan, err := r.PlanPrune(t.Context(), stream, n, mayBefore(want))
		require.NoError(t, err)
		require.Equal(t, want, plan.Pruned.Size)
		require.Equal(t, from, plan.From)
		if want < n {
			require.Equal(t, roots[want], plan.Pruned.Root())
			require.Equal(t, "is kept", plan.Why)
			require.Equal(t, want, plan.Next)
		}
		require.Equal(t, Hash(leafHash([]byte(lines[want-1]))), plan.Pruned.Last)
		removals = append(removals, removal(plan.Pruned, admin))
		prune(t, store, plan.Pruned, admin, -1)
		from = want

		rep := e.verify(t, backed)
		requireIntact(t, rep)
		require.Equal(t, Complete, rep.Completeness)
		require.Empty(t, rep.Notes)
		require.Equal(t, want, rep.Streams[0].Pruned)
		require.Equal(t, uint64(n), rep.Streams[0].Entries)
		require.Equal(t, uint64(n), rep.Streams[0].Covered)
		require.Equal(t, uint64(n), rep.Streams[0].Witnessed)
		require.Equal(t, hexString(leaves.root()), rep.Streams[0].Root)

		for name, r := range map[string]*Reader{"a reader from before": r, "a new one": NewReader(store, filepath.Join(e.dir, "wal")), "of the store alone": NewReader(store, "")} {
			next := from
			require.NoError(t, r.Entries(t.Context(), stream, 0, func(seq uint64, line []byte) error {
				require.Equal(t, next, seq, name)
				require.Equal(t, lines[seq], string(line))
				next++
				return nil
			}))
			require.Equal(t, uint64(n), next)
			size, err := r.Size(t.Context(), stream)
			require.NoError(t, err)
			require.Equal(t, uint64(n), size)
			first, _, err := r.First(t.Context(), stream)
			require.NoError(t, err)
			require.Equal(t, from, first)
		}
		if from < n {
			_, err = r.Entry(t.Context(), stream, from-1)
			require.ErrorIs(t, err, ErrPruned)
			_, err = Prove(t.Context(), r, stream, from-1)
			require.ErrorIs(t, err, ErrPruned)
		}
		prover, err := r.NewProver(t.Context(), stream)
		require.NoError(t, err)
		for seq := uint64(0); seq < n; seq += 31 {
			// A proof from before stands.
			_, err := CheckProof([]byte(proofs[seq]), e.key.vkey)
			require.NoError(t, err)
			if seq < from {
				continue
			}
			p, err := Prove(t.Context(), r, stream, seq)
			require.NoError(t, err)
			require.Equal(t, proofs[seq], string(p))
			p, err = prover.Prove(t.Context(), seq, []byte(lines[seq]))
			require.NoError(t, err, "entry %d after %d", seq, from)
			require.Equal(t, proofs[seq], string(p))
		}
		for size, want := range consistency {
			got, err := tlog.ProveTree(n, int64(size), whole)
			if size >= from {
				require.NoError(t, err)
				require.Equal(t, want, got)
			} else if err != nil {
				require.ErrorIs(t, err, ErrPruned)
			}
		}
		requirePrunedTiles(t, r, stream, from, n, tiles)
	}
	require.Equal(t, uint64(n), from)
	// A prover that read the leaves before has what it needs but for the lowest block.
	_, err = old.Prove(t.Context(), n-1, []byte(lines[n-1]))
	require.Error(t, err)

	l = e.open(t)
	require.Equal(t, stream, l.Origin())
	appendN(t, l, n, 40)
	closeLog(t, l)
	l = e.open(t)
	require.Equal(t, stream, l.Origin())
	appendN(t, l, n+40, 3)
	closeLog(t, l)
	rep := e.verify(t, backed)
	requireIntact(t, rep)
	require.Equal(t, Complete, rep.Completeness)
	require.Equal(t, uint64(n+43), rep.Streams[0].Covered)
	text, err := Prove(t.Context(), r, stream, n+41)
	require.NoError(t, err)
	_, err = CheckProof(text, e.key.vkey)
	require.NoError(t, err)
}

// exportedTiles are the files of an exported log by their path, and where they are.
type exportedFiles struct {
	dir   string
	files map[string]string
}

func exportedTiles(t *testing.T, r *Reader, stream string) exportedFiles {
	t.Helper()
	out := exportedFiles{t.TempDir(), map[string]string{}}
	_, _, err := ExportTiles(t.Context(), r, stream, out.dir)
	require.NoError(t, err)
	for _, f := range files(t, out.dir, "*") {
		rel, err := filepath.Rel(out.dir, f)
		require.NoError(t, err)
		out.files[filepath.ToSlash(rel)] = string(readFile(t, f))
	}
	return out
}

var tilePath = regexp.MustCompile(`^tile/(entries|\d+)/((?:x\d{3}/)*\d{3})(\.p/\d+)?$`)

// tileEnd is the end index of a tile or bundle (C2SP tlog-tiles).
func tileEnd(t *testing.T, path string) uint64 {
	t.Helper()
	m := tilePath.FindStringSubmatch(path)
	require.NotNil(t, m, path)
	level := 0
	if m[1] != "entries" {
		_, err := fmt.Sscan(m[1], &level)
		require.NoError(t, err)
	}
	n, err := strconv.ParseUint(strings.NewReplacer("x", "", "/", "").Replace(m[2]), 10, 64)
	require.NoError(t, err)
	return (n + 1) << (8 * (level + 1))
}

// requirePrunedTiles wants of the export of a log that begins at an entry what the
// format asks of a pruned one: every file that a whole log has, but those that end at
// or before the minimum index. Somebody else's code reads it.
func requirePrunedTiles(t *testing.T, r *Reader, stream string, from, size uint64, whole exportedFiles) {
	t.Helper()
	minimum := (from + 255) / 256 * 256
	if minimum > size {
		_, _, err := ExportTiles(t.Context(), r, stream, t.TempDir())
		require.ErrorIs(t, err, ErrPruned)
		return
	}
	dir := t.TempDir()
	n, first, err := ExportTiles(t.Context(), r, stream, dir)
	require.NoError(t, err)
	require.Equal(t, []uint64{size, minimum}, []uint64{n, first})
	want := maps.Clone(whole.files)
	maps.DeleteFunc(want, func(path, _ string) bool { return path != "checkpoint" && tileEnd(t, path) <= minimum })
	require.Equal(t, slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(exportedTiles(t, r, stream).files)))
	for path, content := range want {
		require.True(t, content == string(readFile(t, filepath.Join(dir, filepath.FromSlash(path)))), path)
	}
	cp, _, err := r.newestCheckpoint(t.Context(), stream)
	require.NoError(t, err)
	root := tlog.Hash(cp.Root)
	hashes := tlog.TileHashReader(tlog.Tree{N: int64(size), Hash: root}, tileReader{dir})
	complete := tlog.TileHashReader(tlog.Tree{N: int64(size), Hash: root}, tileReader{whole.dir})
	for _, at := range []uint64{minimum, minimum + 1, (minimum + size) / 2, size - 1} {
		if at >= size || at < minimum {
			continue
		}
		line, err := r.Entry(t.Context(), stream, at)
		require.NoError(t, err)
		p, err := tlog.ProveRecord(int64(size), int64(at), hashes)
		require.NoError(t, err)
		require.NoError(t, tlog.CheckRecord(p, int64(size), root, int64(at), tlog.RecordHash(line)))
		if at == 0 {
			continue
		}
		old, err := tlog.TreeHash(int64(at), complete)
		require.NoError(t, err)
		c, err := tlog.ProveTree(int64(size), int64(at), hashes)
		require.NoError(t, err)
		require.NoError(t, tlog.CheckTree(c, int64(size), root, int64(at), old))
	}
}

// A tree that is built on from its tiles' edge at any size has the root of the whole
// one, and fills the same tiles.
func TestTileEdge(t *testing.T) {
	const n = 70_000
	leaf := func(i int) Hash { return tlog.RecordHash([]byte(strconv.Itoa(i))) }
	var stored []tlog.Hash
	read := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(indexes))
		for i, x := range indexes {
			out[i] = stored[x]
		}
		return out, nil
	})
	at := map[uint64]Hash{}
	for _, size := range []uint64{1, 255, 256, 257, 511, 512, 65_535, 65_536, 65_537, 66_000, n} {
		at[size] = Hash{}
	}
	var whole tileEdge
	var filled []string
	whole.full = func(level int, hashes []Hash) { filled = append(filled, fmt.Sprint(level, whole.size, hashes)) }
	edges := map[uint64][]Hash{}
	for i := range n {
		hs, err := tlog.StoredHashesForRecordHash(int64(i), leaf(i), read)
		require.NoError(t, err)
		stored = append(stored, hs...)
		whole.add(leaf(i))
		if _, ok := at[whole.size]; ok {
			root, err := tlog.TreeHash(int64(whole.size), read)
			require.NoError(t, err)
			e := whole.edge()
			require.True(t, e.valid())
			require.Equal(t, root, tlog.Hash(e.root()), "%d leaves", whole.size)
			at[whole.size], edges[whole.size] = root, whole.nodes()
		}
	}
	require.Len(t, filled, 1, "a level above the lowest has a full tile")
	for size, nodes := range edges {
		again, ok := newTileEdge(size, nodes)
		require.True(t, ok, "%d leaves", size)
		again.full = func(level int, hashes []Hash) {
			require.Equal(t, filled[0], fmt.Sprint(level, again.size, hashes), "from %d leaves on", size)
		}
		for i := int(size); i < n; i++ {
			again.add(leaf(i))
		}
		e := again.edge()
		require.Equal(t, at[n], e.root(), "from %d leaves on", size)
		_, ok = newTileEdge(size, nodes[1:])
		require.False(t, ok, "a hash too few")
		_, ok = newTileEdge(size, append(nodes, Hash{}))
		require.False(t, ok, "a hash too many")
	}
}

// The second verifier makes the same tree of a note's nodes, and goes on with it.
func TestSecondVerifierReadsTileEdges(t *testing.T) {
	needsSecond(t)
	type want struct {
		Size  uint64
		Nodes []string
		Root  string
		Next  string // the root with one leaf more
	}
	leaf := func(i uint64) Hash { return tlog.RecordHash([]byte(strconv.FormatUint(i, 10))) }
	var tree tileEdge
	var all []want
	for _, size := range []uint64{1, 6, 255, 256, 257, 800, 65_535, 65_536, 66_000} {
		for tree.size < size {
			tree.add(leaf(tree.size))
		}
		e := tree.edge()
		w := want{Size: size, Root: hexString(e.root())}
		for _, h := range tree.nodes() {
			w.Nodes = append(w.Nodes, hexString(h))
		}
		e.add(leaf(size))
		w.Next = hexString(e.root())
		all = append(all, w)
	}
	in, err := json.Marshal(all)
	require.NoError(t, err)
	cmd := exec.Command("python3", "-c", `
import json, sys
sys.path.insert(0, "../../docs/verify")
import verify
for w in json.load(sys.stdin):
    nodes = [bytes.fromhex(n) for n in w["Nodes"]]
    assert verify.Tree.nodes(w["Size"]) == len(nodes), w["Size"]
    tree = verify.Tree.of(w["Size"], nodes)
    assert tree.root().hex() == w["Root"], w["Size"]
    tree.add(verify.leaf_hash(str(w["Size"]).encode()))
    assert tree.root().hex() == w["Next"], w["Size"]
    print(w["Size"])
`)
	cmd.Env = append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1")
	cmd.Stdin = bytes.NewReader(in)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	require.Equal(t, len(all), strings.Count(string(out), "\n"))
}

// A stream that another one follows is removed whole: the head that the next
// claim names is what is left of it.
func TestPruneAStreamThatEnded(t *testing.T) {
	e := newEnv(t)
	l := e.open(t, func(o *Options) { o.SegmentEntries = 5 })
	stream := l.Origin()
	appendN(t, l, 0, 13)
	crash(t, l)
	was := e.key
	e.key = newKey(t, "next")
	l = e.open(t)
	appendN(t, l, 13, 5)
	closeLog(t, l)
	both := func(o *VerifyOptions) { o.PublicKeys = append(o.PublicKeys, was.vkey) }
	requireIntact(t, e.verify(t, both))
	store, admin := bucket.NewLocal(filepath.Join(e.dir, "store")), newKey(t, "admin")
	plan, err := NewReader(store, filepath.Join(e.dir, "wal")).PlanPrune(t.Context(), stream, maxSeq, mayAll)
	require.NoError(t, err)
	require.Equal(t, uint64(13), plan.Pruned.Size)
	prune(t, store, plan.Pruned, admin, -1)
	require.Empty(t, files(t, filepath.Join(e.dir, "store/v1", stream, "seg"), "*"))
	rep := e.verify(t, both, func(o *VerifyOptions) { o.Removals = []Removal{removal(plan.Pruned, admin)} })
	requireIntact(t, rep)
	require.Equal(t, uint64(13), rep.Streams[0].Pruned)
	require.Equal(t, uint64(13), rep.Streams[0].Covered)
	require.Equal(t, Bad, e.verify(t, both).Integrity)
}

// What is not sealed, checkpointed and witnessed yet is not removed.
func TestPlanPruneStopsBeforeWhatIsOpen(t *testing.T) {
	e := tamperEnv(t) // 20 sealed, 3 not
	r, err := OpenReader(e.dir)
	require.NoError(t, err)
	defer func() { require.NoError(t, r.Close()) }()
	streams, err := r.Streams()
	require.NoError(t, err)
	for name, tc := range map[string]struct {
		limit uint64
		may   func(context.Context, *Candidate) (string, error)
		want  uint64
		why   string
	}{
		"all":                        {maxSeq, mayAll, 20, "nothing after it is sealed"},
		"up to a witness":            {17, mayAll, 15, "is not witnessed yet"},
		"a segment that is kept":     {maxSeq, mayBefore(12), 10, "is kept"},
		"the first one that is kept": {maxSeq, mayBefore(0), 0, "is kept"},
	} {
		t.Run(name, func(t *testing.T) {
			plan, err := r.PlanPrune(t.Context(), streams[0], tc.limit, tc.may)
			require.NoError(t, err)
			require.Equal(t, tc.want, plan.Pruned.Size)
			require.Equal(t, tc.want, plan.Next)
			require.Equal(t, tc.why, plan.Why)
		})
	}
	boom := errors.New("the store does not answer")
	_, err = r.PlanPrune(t.Context(), streams[0], maxSeq, func(context.Context, *Candidate) (string, error) { return "", boom })
	require.ErrorIs(t, err, boom)
	// Where a checkpoint is not there, the log ends at the one before.
	cps := files(t, filepath.Join(e.dir, "store"), "*000020.note")
	require.NoError(t, os.Remove(cps[0]))
	plan, err := r.PlanPrune(t.Context(), streams[0], maxSeq, mayAll)
	require.NoError(t, err)
	require.Equal(t, uint64(15), plan.Pruned.Size)
	require.Equal(t, uint64(20), plan.Next)
}

// prunedEnv is the ledger of sealedEnv of which the first ten entries were removed.
func prunedEnv(t *testing.T) (*env, Pruned, testKey) {
	t.Helper()
	e := sealedEnv(t)
	store, admin := bucket.NewLocal(filepath.Join(e.dir, "store")), newKey(t, "admin")
	r := NewReader(store, filepath.Join(e.dir, "wal"))
	streams, err := r.Streams()
	require.NoError(t, err)
	plan, err := r.PlanPrune(t.Context(), streams[0], maxSeq, mayBefore(12))
	require.NoError(t, err)
	require.Equal(t, uint64(10), plan.Pruned.Size)
	prune(t, store, plan.Pruned, admin, -1)
	return e, plan.Pruned, admin
}

// Only what the log of holds and erasures says was removed may be missing, and
// what is left of it has to be what was signed.
func TestVerifyOfARemovedPrefix(t *testing.T) {
	e, p, admin := prunedEnv(t)
	good := removal(p, admin)
	with := func(rs ...Removal) func(*VerifyOptions) { return func(o *VerifyOptions) { o.Removals = rs } }
	requireIntact(t, e.verify(t, with(good)))
	snap := e.snapshot(t)
	store := func(parts ...string) string { return filepath.Join(append([]string{e.dir, "store"}, parts...)...) }
	noteFile := store(filepath.FromSlash(p.Key()))
	sign := func(t *testing.T, p Pruned, k testKey) []byte {
		msg, err := p.Sign(t.Context(), k.signer)
		require.NoError(t, err)
		return msg
	}
	other := func(change func(*Pruned)) Pruned {
		q := p
		q.Nodes = slices.Clone(p.Nodes)
		change(&q)
		return q
	}
	cps := files(t, store(), "*000010.note")
	require.Len(t, cps, 2, "a checkpoint and the note")
	segs := files(t, store(), "*.zst")
	require.Len(t, segs, 2)
	for name, tc := range map[string]struct {
		do    func(t *testing.T) []Removal
		kinds []string
	}{
		"no entry":           {func(*testing.T) []Removal { return nil }, []string{KindPruned, KindMissing}},
		"no note":            {func(t *testing.T) []Removal { require.NoError(t, os.Remove(noteFile)); return []Removal{good} }, []string{KindMissing}},
		"of another stream":  {func(*testing.T) []Removal { r := good; r.Origin = "other/1"; return []Removal{r} }, []string{KindPruned, KindMissing}},
		"of a smaller size":  {func(*testing.T) []Removal { r := good; r.Size = 5; return []Removal{r} }, []string{KindPruned, KindMissing}},
		"of another root":    {func(*testing.T) []Removal { r := good; r.Root[0] ^= 1; return []Removal{r} }, []string{KindPruned, KindMissing}},
		"of another note":    {func(*testing.T) []Removal { r := good; r.Note[0] ^= 1; return []Removal{r} }, []string{KindPruned, KindMissing}},
		"signed by a second": {func(t *testing.T) []Removal { put(t, noteFile, sign(t, p, newKey(t, "admin"))); return []Removal{good} }, []string{KindPruned, KindMissing}},
		"a wrong node": {func(t *testing.T) []Removal {
			q := other(func(q *Pruned) { q.Nodes[0][0] ^= 1 })
			put(t, noteFile, sign(t, q, admin))
			return []Removal{good}
		}, []string{KindPruned, KindMissing}},
		"a wrong node that an entry backs": {func(t *testing.T) []Removal {
			q := other(func(q *Pruned) { q.Nodes[0][0] ^= 1 })
			put(t, noteFile, sign(t, q, admin))
			return []Removal{removal(q, admin)}
		}, []string{KindRewritten}},
		"another last entry that an entry backs": {func(t *testing.T) []Removal {
			q := other(func(q *Pruned) { q.Last[0] ^= 1 })
			put(t, noteFile, sign(t, q, admin))
			return []Removal{removal(q, admin)}
		}, []string{KindChain}},
		"a bigger size than the entry": {func(t *testing.T) []Removal {
			q := other(func(q *Pruned) { q.Size = 12 })
			put(t, store(filepath.FromSlash(q.Key())), sign(t, q, admin))
			require.NoError(t, os.Remove(segs[0]))
			return []Removal{good}
		}, []string{KindPruned, KindMissing}},
		"a segment more than the entry": {func(t *testing.T) []Removal {
			require.NoError(t, os.Remove(segs[0]))
			return []Removal{good}
		}, []string{KindMissing}},
		"more than was sealed": {func(t *testing.T) []Removal {
			q := other(func(q *Pruned) { q.Size = 40 })
			put(t, store(filepath.FromSlash(q.Key())), sign(t, q, admin))
			return []Removal{good, removal(q, admin)}
		}, []string{KindPruned}},
		"no checkpoint of its size": {func(t *testing.T) []Removal {
			for _, c := range cps {
				if c != noteFile {
					require.NoError(t, os.Remove(c))
				}
			}
			return []Removal{good}
		}, []string{KindPruned, KindNoCheckpoint}},
		"a note under another name": {func(t *testing.T) []Removal {
			q := p
			q.Size = 12
			put(t, store(filepath.FromSlash(q.Key())), readFile(t, noteFile))
			return []Removal{good}
		}, []string{KindPruned}},
		"a foreign object beside": {func(t *testing.T) []Removal {
			put(t, noteFile+".copy", readFile(t, noteFile))
			return []Removal{good}
		}, []string{KindForeign}},
		"an entry changed after it": {func(t *testing.T) []Removal {
			b := readFile(t, segs[0])
			b[20] ^= 1
			put(t, segs[0], b)
			return []Removal{good}
		}, []string{KindSegment}},
	} {
		t.Run(name, func(t *testing.T) {
			defer e.restore(t, snap)
			rep := e.verify(t, with(tc.do(t)...))
			require.Equal(t, Bad, rep.Integrity)
			kinds := map[string]bool{}
			for _, p := range rep.Problems {
				kinds[p.Kind] = true
			}
			for _, k := range tc.kinds {
				require.True(t, kinds[k], "%s is not among %v", k, rep.Problems)
			}
		})
	}
	for at := range snap[noteFile] {
		put(t, noteFile, bytes.Clone(snap[noteFile]))
		b := readFile(t, noteFile)
		b[at] ^= 1 << (at % 8)
		put(t, noteFile, b)
		require.Equal(t, Bad, e.verify(t, with(good), func(o *VerifyOptions) { o.ContentEvery = -1 }).Integrity, "byte %d", at)
	}
	e.restore(t, snap)
	requireIntact(t, e.verify(t, with(good)))
}

// A prune that was ended at any point leaves a ledger that verifies, and the
// next one ends it.
func TestPruneEndsAnywhere(t *testing.T) {
	e := sealedEnv(t)
	store, admin := bucket.NewLocal(filepath.Join(e.dir, "store")), newKey(t, "admin")
	r := NewReader(store, filepath.Join(e.dir, "wal"))
	streams, err := r.Streams()
	require.NoError(t, err)
	plan, err := r.PlanPrune(t.Context(), streams[0], maxSeq, mayBefore(15))
	require.NoError(t, err)
	require.Equal(t, uint64(15), plan.Pruned.Size)
	backed := func(o *VerifyOptions) { o.Removals = []Removal{removal(plan.Pruned, admin)} }
	requireIntact(t, e.verify(t, backed)) // the entry was made, and nothing else
	for done := range 3*2 + 3 {
		prune(t, store, plan.Pruned, admin, done)
		rep := e.verify(t, backed)
		requireIntact(t, rep)
		require.Equal(t, Complete, rep.Completeness)
		require.Equal(t, uint64(15), rep.Streams[0].Pruned)
		left := 9 - done*(done+1)/2
		if left <= 0 {
			require.Empty(t, rep.Notes)
			break
		}
		require.Len(t, rep.Notes, 1)
		require.Equal(t, KindLeft, rep.Notes[0].Kind)
		require.True(t, strings.HasPrefix(rep.Notes[0].Detail, fmt.Sprint(left)+" objects"), rep.Notes[0].Detail)
	}
	next := uint64(15)
	require.NoError(t, NewReader(store, "").Entries(t.Context(), streams[0], 0, func(seq uint64, _ []byte) error {
		require.Equal(t, next, seq)
		next++
		return nil
	}))
	require.Equal(t, uint64(20), next)
}

func FuzzPrunedNote(f *testing.F) {
	p := Pruned{Origin: "a/1", Size: 6, Nodes: []Hash{{1}, {2}}}
	f.Add(p.text())
	p = Pruned{Origin: "a/1", Size: 2*tileWidth + 1, Nodes: []Hash{{1}, {2}, {3}}}
	f.Add(p.text())
	f.Add(prunedFormat + "\norigin a/1\nsize 1\nroot \nlast \nhour \nnode \n")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := parsePrunedText(text)
		if err == nil {
			require.Equal(t, text, p.text())
		}
	})
}

// adminBody is an entry of the log of holds and erasures about a removed prefix.
type adminBody struct {
	testBody
	said Removal
}

func (b adminBody) AppendBody(dst []byte, revision int64) []byte {
	dst = fmt.Appendf(dst, `"details":{"note_sha256":"%x","root":"%x","size":"%d","stream":"%s"},`, b.said.Note, b.said.Root, b.said.Size, b.said.Origin)
	dst = b.testBody.AppendBody(dst, revision)
	return append(dst, `,"operation":"prune.log"`...)
}

// The two verifiers agree on a ledger whose first entries were removed, as it is
// meant and as it is not.
func TestSecondVerifierAgreesOnARemovedPrefix(t *testing.T) {
	needsSecond(t)
	e, p, key := prunedEnv(t)
	good := removal(p, key)
	q := p
	q.Nodes = slices.Clone(p.Nodes)
	q.Nodes[1][3] ^= 8
	wrong := removal(q, key)
	log := &env{dir: filepath.Join(t.TempDir(), "admin"), key: key, witness: filepath.Join(t.TempDir(), "checkpoints")}
	l := log.open(t)
	for i, said := range []Removal{good, wrong} {
		x := testEntry(i)
		x.Body = adminBody{x.Body.(testBody), said}
		_, err := l.Append(t.Context(), []Entry{x})
		require.NoError(t, err)
	}
	closeLog(t, l)
	sign := func(p Pruned, k testKey) []byte {
		msg, err := p.Sign(t.Context(), k.signer)
		require.NoError(t, err)
		return msg
	}
	store := filepath.Join(e.dir, "store")
	noteFile := filepath.Join(store, filepath.FromSlash(p.Key()))
	segs := files(t, store, "*.zst")
	admin := []string{"--admin", filepath.Join(log.dir, "store"), "--admin-key", key.vkey}
	backed := func(o *VerifyOptions) {
		o.Dir, o.Store, o.Removals = "", bucket.NewLocal(store), []Removal{good, wrong}
	}
	rep := e.verify(t, backed)
	requireIntact(t, rep)
	s, code := runSecond(t, e, admin...)
	require.Zero(t, code, "%v", s.Problems)
	require.Equal(t, rep.Streams[0].Pruned, s.Streams[0].Pruned)
	require.Equal(t, rep.Streams[0].Sealed, s.Streams[0].Entries)
	require.Equal(t, rep.Streams[0].Root, s.Streams[0].Root)
	require.Equal(t, rep.Streams[0].Covered, s.Streams[0].Covered)

	snap, adminSnap := e.snapshot(t), log.snapshot(t)
	bad := func(name string, options func(*VerifyOptions), args []string) {
		t.Helper()
		require.Equal(t, Bad, e.verify(t, options).Integrity, name)
		s, code := runSecond(t, e, args...)
		require.Equal(t, 1, code, "%s: %v", name, s.Problems)
	}
	none := func(o *VerifyOptions) { backed(o); o.Removals = nil }
	bad("without the log of holds and erasures", none, nil)
	bad("without its key", none, admin[:2])
	bad("with another key", none, []string{admin[0], admin[1], "--admin-key", newKey(t, "other").vkey})
	segment := files(t, log.dir, "*.zst")[0]
	b := readFile(t, segment)
	b[len(b)/2] ^= 4
	put(t, segment, b)
	bad("with one that was changed", none, admin)
	log.restore(t, adminSnap)
	for name, do := range map[string]func(){
		"the note removed":        func() { require.NoError(t, os.Remove(noteFile)) },
		"signed by another":       func() { put(t, noteFile, sign(p, newKey(t, "admin"))) },
		"a node that was changed": func() { put(t, noteFile, sign(q, key)) },
		"a segment more removed":  func() { require.NoError(t, os.Remove(segs[0])) },
		"a note of more than was said": func() {
			m := p
			m.Size, m.Hour = 12, p.Hour.Add(1)
			put(t, filepath.Join(store, filepath.FromSlash(m.Key())), sign(m, key))
		},
		"its checkpoint removed": func() {
			for _, f := range files(t, store, "*000010.note") {
				if f != noteFile {
					require.NoError(t, os.Remove(f))
				}
			}
		},
	} {
		do()
		bad(name, backed, admin)
		e.restore(t, snap)
	}
	for i := range 8 {
		b := bytes.Clone(snap[noteFile])
		at := (i*97 + 5) % len(b)
		b[at] ^= 1 << (i % 8)
		put(t, noteFile, b)
		bad(fmt.Sprintf("bit %d of byte %d of the note", i%8, at), backed, admin)
		e.restore(t, snap)
	}
	_, code = runSecond(t, e, admin...)
	require.Zero(t, code)
}
