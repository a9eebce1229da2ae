package ledger

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"

	"github.com/claudeaudit/claudeaudit/internal/bucket"
)

func (e *env) verify(t testing.TB, change ...func(*VerifyOptions)) *Report {
	t.Helper()
	o := VerifyOptions{Dir: e.dir, PublicKeys: []string{e.key.vkey}, WitnessFiles: []string{e.witness}}
	for _, c := range change {
		c(&o)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r, err := Verify(ctx, o)
	require.NoError(t, err)
	return r
}

func requireIntact(t testing.TB, r *Report) {
	t.Helper()
	require.Empty(t, r.Problems)
	require.Equal(t, Intact, r.Integrity)
}

// snapshot is a folder's files, to put back.
type snapshot map[string][]byte

func (e *env) snapshot(t testing.TB) snapshot {
	t.Helper()
	s := snapshot{}
	root := filepath.Dir(e.dir)
	require.NoError(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		s[path] = b
		return err
	}))
	return s
}

func (e *env) restore(t testing.TB, s snapshot) {
	t.Helper()
	root := filepath.Dir(e.dir)
	require.NoError(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if _, ok := s[path]; !ok {
			return os.Remove(path)
		}
		return nil
	}))
	for path, b := range s {
		put(t, path, b)
	}
}

// put replaces a file, read-only or not.
func put(t testing.TB, path string, b []byte) {
	t.Helper()
	if st, err := os.Lstat(path); err == nil && st.Mode().IsRegular() {
		if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, b) {
			return
		}
	}
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
	require.NoError(t, removeIfThere(path))
	require.NoError(t, os.WriteFile(path, b, 0o600))
}

// tamperEnv is a ledger with four sealed segments of 5, each under a
// checkpoint, with content, and three entries in an open write-ahead file.
func tamperEnv(t testing.TB) *env {
	t.Helper()
	e := newEnv(t)
	l := e.open(t, func(o *Options) { o.SegmentEntries = 5; o.SegmentAge = time.Hour })
	for i := range 20 {
		x := testEntry(i, fmt.Appendf(nil, "content %d", i))
		if i%2 == 1 {
			x.Class = "other"
		}
		_, err := l.Append(t.Context(), []Entry{x})
		require.NoError(t, err)
		if i%5 == 4 {
			require.Eventually(t, func() bool { return l.Stats().Checkpointed == uint64(i+1) }, 5*time.Second, time.Millisecond)
		}
	}
	appendN(t, l, 20, 3)
	crash(t, l)
	requireIntact(t, e.verify(t))
	return e
}

func TestVerifyIntact(t *testing.T) {
	e := newEnv(t)
	l := e.open(t, func(o *Options) { o.SegmentEntries = 5 })
	r := e.verify(t)
	requireIntact(t, r)
	require.Equal(t, Complete, r.Completeness)
	for i := range 22 {
		_, err := l.Append(t.Context(), []Entry{testEntry(i, fmt.Appendf(nil, "content %d", i))})
		require.NoError(t, err)
	}
	require.Eventually(t, func() bool { return l.Stats().Checkpointed == 20 }, 5*time.Second, time.Millisecond)
	var seen []uint64
	r = e.verify(t, func(o *VerifyOptions) {
		o.OnEntry = func(stream string, seq uint64, line []byte) error {
			require.Equal(t, l.Origin(), stream)
			require.Contains(t, string(line), fmt.Sprintf(`"filler":"entry %d"`, seq))
			seen = append(seen, seq)
			return nil
		}
	})
	requireIntact(t, r)
	require.Equal(t, OpenTail, r.Completeness)
	require.Len(t, r.Notes, 1)
	require.Equal(t, KindUncovered, r.Notes[0].Kind)
	require.Len(t, seen, 22)
	require.True(t, slices.IsSorted(seen))
	require.Equal(t, uint64(22), r.Entries)
	require.Len(t, r.Streams, 1)
	s := r.Streams[0]
	require.Equal(t, l.Origin(), s.Origin)
	require.Equal(t, []uint64{22, 20, 20, 20}, []uint64{s.Entries, s.Sealed, s.Covered, s.Witnessed})
	closeLog(t, l)

	r = e.verify(t)
	requireIntact(t, r)
	require.Equal(t, Complete, r.Completeness)
	require.Equal(t, uint64(22), r.Contents)
	require.Equal(t, uint64(22), r.ContentsRead)
	require.Empty(t, r.Notes)

	t.Run("the store alone", func(t *testing.T) {
		r := e.verify(t, func(o *VerifyOptions) { o.Dir = filepath.Join(e.dir, "store") })
		requireIntact(t, r)
		require.Equal(t, Complete, r.Completeness)
	})
	t.Run("without a key", func(t *testing.T) {
		r := e.verify(t, func(o *VerifyOptions) { o.PublicKeys = nil })
		require.Equal(t, Unchecked, r.Integrity)
		require.NotEmpty(t, r.Unchecked)
	})
	t.Run("without a witness", func(t *testing.T) {
		r := e.verify(t, func(o *VerifyOptions) { o.WitnessFiles = nil })
		requireIntact(t, r)
		require.NotEmpty(t, r.Unchecked)
	})
	t.Run("no content read", func(t *testing.T) {
		r := e.verify(t, func(o *VerifyOptions) { o.ContentEvery = -1 })
		requireIntact(t, r)
		require.Zero(t, r.ContentsRead)
	})
	t.Run("progress ends at the total", func(t *testing.T) {
		var done, total int64
		e.verify(t, func(o *VerifyOptions) { o.Progress = func(d, n int64) { done, total = d, n } })
		require.Equal(t, total, done)
		require.Positive(t, total)
	})
}

func TestVerifyNotPossible(t *testing.T) {
	e := newEnv(t)
	for name, tc := range map[string]struct {
		opts VerifyOptions
		want string
	}{
		"no folder":   {VerifyOptions{Dir: filepath.Join(e.dir, "none")}, "no ledger here"},
		"empty":       {VerifyOptions{Dir: t.TempDir()}, "no ledger here"},
		"nothing":     {VerifyOptions{}, "neither Dir nor Store"},
		"empty store": {VerifyOptions{Store: bucket.NewLocal(t.TempDir())}, "no ledger here"},
		"key":         {VerifyOptions{Store: bucket.NewLocal(t.TempDir()), PublicKeys: []string{"x"}}, "must be name+hash+base64"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Verify(t.Context(), tc.opts)
			require.ErrorContains(t, err, tc.want)
		})
	}
	closeLog(t, e.open(t))
	_, err := Verify(t.Context(), VerifyOptions{Dir: e.dir, WitnessFiles: []string{filepath.Join(e.dir, "none")}})
	require.ErrorIs(t, err, fs.ErrNotExist)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = Verify(ctx, VerifyOptions{Dir: e.dir})
	require.ErrorIs(t, err, context.Canceled)
}

// resealed rewrites a segment file as an attacker with the source code would:
// everything that is not signed fits again.
func resealed(t testing.TB, path string, change func(lines [][]byte) [][]byte) (name string, body []byte) {
	t.Helper()
	name, body, _ = resealedFrom(t, path, nil, change)
	return name, body
}

// resealedFrom is resealed with another hash before its first line, and returns
// that of its last.
func resealedFrom(t testing.TB, path string, prev *Hash, change func(lines [][]byte) [][]byte) (name string, body []byte, last Hash) {
	t.Helper()
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	seg, err := parseSegment(b)
	require.NoError(t, err)
	var lines [][]byte
	require.NoError(t, seg.lines(0, func(_ uint32, line []byte) error {
		lines = append(lines, bytes.Clone(line))
		return nil
	}))
	if prev == nil {
		prev = &seg.prev
	}
	nb := newSegBuilder(seg.first, *prev, seg.hour)
	in := map[Hash]uint16{}
	for _, r := range seg.refs {
		in[r.sha] = r.container
	}
	for i, line := range change(lines) {
		last = leafHash(line)
		nb.add(line, last)
		contentHashes(line, func(text []byte) {
			var h Hash
			require.True(t, decodeHex(h[:], text))
			nb.refs = append(nb.refs, contentRef{uint32(i), in[h], h})
		})
	}
	return nb.name(), nb.finish(seg.containers), last
}

// rechained makes the lines follow each other again.
func rechained(prev Hash, lines [][]byte) [][]byte {
	for i, line := range lines {
		at := bytes.Index(line, []byte(keyPrev)) + len(keyPrev)
		copy(line[at:], hexString(prev))
		prev = leafHash(line)
		lines[i] = line
	}
	return lines
}

func TestTampering(t *testing.T) {
	e := tamperEnv(t)
	clean := e.snapshot(t)
	segs, cps, cnts := files(t, e.dir, "*.zst"), []string{}, files(t, e.dir, "*.cnt")
	for _, f := range files(t, e.dir, "*.note") {
		if strings.Contains(f, "/cp/") {
			cps = append(cps, f)
		}
	}
	claim := files(t, filepath.Join(e.dir, "store", "v1", "_claims"), "*.note")[0]
	wal := files(t, e.dir, "*.wal")[0]
	require.Len(t, segs, 4)
	require.Len(t, cps, 4)
	require.Len(t, cnts, 8)
	blocks := strings.SplitAfter(string(clean[e.witness]), "\n\n")
	notes := func(order ...int) []byte { // the witness file's notes are two blocks each
		var out string
		for _, i := range order {
			out += blocks[2*i] + blocks[2*i+1]
		}
		return []byte(out)
	}
	require.Equal(t, clean[e.witness], notes(0, 1, 2, 3))
	flip := func(path string, off int) {
		b := bytes.Clone(clean[path])
		if off < 0 {
			off += len(b)
		}
		b[off] ^= 4
		put(t, path, b)
	}
	remove := func(path string) { require.NoError(t, os.Remove(path)) }
	swap := func(a, b string) { put(t, a, clean[b]); put(t, b, clean[a]) }
	reseal := func(path string, change func(lines [][]byte) [][]byte) {
		name, body := resealed(t, path, change)
		remove(path)
		put(t, filepath.Join(path, "../../..", name), body)
	}
	seqOf := func(n uint64) *uint64 { return &n }
	forged := newKey(t, "test")

	for name, tc := range map[string]struct {
		do   func()
		kind string
		seq  *uint64 // of the first problem
	}{
		"bit of a line":              {func() { flip(segs[1], 60) }, KindSegment, seqOf(5)},
		"bit of a leaf hash":         {func() { flip(segs[1], bytes.Index(clean[segs[1]], []byte{0x50, 0x2a, 0x4d, 0x18})+20) }, KindSegment, seqOf(5)},
		"bit of the trailer":         {func() { flip(segs[2], -30) }, KindSegment, seqOf(10)},
		"segment cut short":          {func() { put(t, segs[0], clean[segs[0]][:200]) }, KindSegment, seqOf(0)},
		"segment emptied":            {func() { put(t, segs[0], nil) }, KindSegment, seqOf(0)},
		"segment removed":            {func() { remove(segs[1]) }, KindMissing, seqOf(5)},
		"first segment removed":      {func() { remove(segs[0]) }, KindMissing, seqOf(0)},
		"last segment removed":       {func() { remove(segs[3]) }, KindMissing, seqOf(15)},
		"segments swapped":           {func() { swap(segs[1], segs[2]) }, KindSegment, seqOf(5)},
		"segment under another name": {func() { put(t, strings.Replace(segs[1], "0000000000000005", "0000000000000020", 1), clean[segs[1]]) }, KindSegment, seqOf(5)},
		"segment twice":              {func() { put(t, strings.Replace(segs[1], "/hh=", "/hh=0", 1), clean[segs[1]]) }, KindForeign, nil},
		"segment on another day": {func() {
			put(t, strings.Replace(segs[1], "/dt=20", "/dt=30", 1), clean[segs[1]])
			remove(segs[1])
		}, KindSegment, seqOf(5)},
		"foreign file": {func() { put(t, filepath.Join(e.dir, "store", "notes.txt"), nil) }, KindForeign, nil},
		"line removed": {func() {
			reseal(segs[1], func(l [][]byte) [][]byte { return append(l[:2:2], l[3:]...) })
		}, KindEntry, seqOf(7)},
		"lines exchanged": {func() {
			reseal(segs[1], func(l [][]byte) [][]byte { l[2], l[3] = l[3], l[2]; return l })
		}, KindEntry, seqOf(7)},
		"line twice": {func() {
			reseal(segs[1], func(l [][]byte) [][]byte { return append(append(l[:3:3], l[2]), l[3:]...) })
		}, KindEntry, seqOf(8)},
		"line changed": {func() {
			reseal(segs[1], func(l [][]byte) [][]byte {
				l[2] = bytes.Replace(l[2], []byte("entry 7"), []byte("entry 9"), 1)
				return l
			})
		}, KindChain, seqOf(8)},
		"last line of a segment changed": {func() {
			reseal(segs[1], func(l [][]byte) [][]byte {
				l[4] = bytes.Replace(l[4], []byte("entry 9"), []byte("entry 8"), 1)
				return l
			})
		}, KindRewritten, seqOf(5)},
		"rewritten up to the next segment": {func() {
			reseal(segs[1], func(l [][]byte) [][]byte {
				l[2] = bytes.Replace(l[2], []byte("entry 7"), []byte("entry 9"), 1)
				prev, _, _, err := splitLine(l[0], linePrefix(originOf(t, e)))
				require.NoError(t, err)
				return rechained(prev, l)
			})
		}, KindRewritten, seqOf(5)},
		"bit of a checkpoint":     {func() { flip(cps[1], 2) }, KindCheckpoint, seqOf(9)},
		"bit of its signature":    {func() { flip(cps[1], -8) }, KindCheckpoint, seqOf(9)},
		"checkpoint removed":      {func() { remove(cps[1]) }, KindNoCheckpoint, seqOf(9)},
		"last checkpoint removed": {func() { remove(cps[3]) }, KindNoCheckpoint, seqOf(19)},
		"all checkpoints removed": {func() {
			for _, c := range cps {
				remove(c)
			}
		}, KindNoCheckpoint, seqOf(4)},
		"old checkpoint as the newest":  {func() { put(t, cps[3], clean[cps[0]]) }, KindCheckpoint, seqOf(19)},
		"old checkpoint under its size": {func() { put(t, strings.Replace(cps[0], "/dt=20", "/dt=30", 1), clean[cps[0]]) }, KindCheckpoint, seqOf(4)},
		"checkpoint of another key": {func() {
			msg, err := note.Sign(&note.Note{Text: strings.SplitAfter(string(clean[cps[3]]), "\n\n")[0][:len(strings.SplitAfter(string(clean[cps[3]]), "\n\n")[0])-1]}, forged.signer)
			require.NoError(t, err)
			put(t, cps[3], msg)
		}, KindCheckpoint, seqOf(19)},
		"claim removed":                {func() { remove(claim) }, KindClaim, nil},
		"bit of the claim":             {func() { flip(claim, 40) }, KindClaim, nil},
		"tail cut with its checkpoint": {func() { remove(segs[3]); remove(cps[3]) }, KindMissing, seqOf(15)},
		"tail cut, write-ahead files too": {func() {
			remove(segs[3])
			remove(cps[3])
			require.NoError(t, os.RemoveAll(filepath.Join(e.dir, "wal")))
		}, KindTruncated, seqOf(15)},
		"witness: bit":                   {func() { flip(e.witness, bytes.Index(clean[e.witness], []byte("— test "))+30) }, KindWitness, seqOf(4)},
		"witness: note removed":          {func() { put(t, e.witness, notes(0, 2, 3)) }, KindNotWitnessed, seqOf(9)},
		"witness: first removed":         {func() { put(t, e.witness, notes(1, 2, 3)) }, KindNotWitnessed, seqOf(4)},
		"witness: last removed":          {func() { put(t, e.witness, notes(0, 1, 2)) }, KindNotWitnessed, seqOf(19)},
		"witness: emptied":               {func() { put(t, e.witness, nil) }, KindNotWitnessed, seqOf(4)},
		"witness: note twice":            {func() { put(t, e.witness, notes(0, 1, 1, 2, 3)) }, KindWitness, seqOf(9)},
		"witness: order":                 {func() { put(t, e.witness, notes(0, 2, 1, 3)) }, KindWitness, seqOf(9)},
		"witness: old at the end":        {func() { put(t, e.witness, notes(0, 1, 2, 3, 0)) }, KindWitness, seqOf(4)},
		"witness: cut":                   {func() { put(t, e.witness, clean[e.witness][:len(clean[e.witness])-30]) }, KindNotWitnessed, seqOf(19)},
		"content: bit":                   {func() { flip(cnts[0], 12) }, KindContent, seqOf(0)},
		"content: bit of index":          {func() { flip(cnts[0], -100) }, KindContent, seqOf(0)},
		"content: bit of magic":          {func() { flip(cnts[0], 0) }, KindContent, seqOf(0)},
		"content: cut":                   {func() { put(t, cnts[1], clean[cnts[1]][:50]) }, KindContent, seqOf(5)},
		"content: removed":               {func() { remove(cnts[2]) }, KindNoContent, seqOf(10)},
		"content: swapped":               {func() { swap(cnts[0], cnts[1]) }, KindContent, seqOf(0)},
		"content: twice":                 {func() { put(t, strings.Replace(cnts[0], "/dt=20", "/dt=30", 1), clean[cnts[0]]) }, KindForeign, seqOf(0)},
		"write-ahead: bit of the header": {func() { flip(wal, 40) }, KindWAL, seqOf(20)},
		"write-ahead: bit of an entry":   {func() { flip(wal, -20) }, KindWAL, seqOf(22)},
		"write-ahead: cut":               {func() { put(t, wal, clean[wal][:len(clean[wal])-20]) }, KindTruncated, seqOf(22)},
		"write-ahead: removed":           {func() { remove(wal) }, KindTruncated, seqOf(20)},
		"write-ahead: foreign file":      {func() { put(t, filepath.Join(e.dir, "wal", "x"), nil) }, KindForeign, nil},
		"count of durable entries: bit":  {func() { flip(filepath.Join(e.dir, "wal", walDurable), 0) }, KindState, seqOf(23)},
		"count of durable entries: gone": {func() { remove(filepath.Join(e.dir, "wal", walDurable)) }, KindState, seqOf(23)},
	} {
		t.Run(name, func(t *testing.T) {
			defer e.restore(t, clean)
			tc.do()
			r := e.verify(t)
			require.Equal(t, Bad, r.Integrity)
			require.NotEmpty(t, r.Problems)
			require.Equal(t, tc.kind, r.Problems[0].Kind, "%v", r.Problems)
			require.Equal(t, tc.seq, r.Problems[0].Seq, "%v", r.Problems)
			e.restore(t, clean)
			requireIntact(t, e.verify(t))
		})
	}
	t.Run("another key", func(t *testing.T) {
		r := e.verify(t, func(o *VerifyOptions) { o.PublicKeys = []string{forged.vkey} })
		require.Equal(t, Bad, r.Integrity)
		require.Equal(t, KindKey, r.Problems[0].Kind)
	})
}

func originOf(t testing.TB, e *env) string {
	t.Helper()
	r, err := OpenReader(e.dir)
	require.NoError(t, err)
	s, err := r.Streams()
	require.NoError(t, err)
	require.Len(t, s, 1)
	return s[0]
}

// A forger who owns the ledger but not its key writes it anew, with a key of
// the same name.
func TestRewrittenWithAnotherKey(t *testing.T) {
	e := tamperEnv(t)
	origin := originOf(t, e)
	witness, err := os.ReadFile(e.witness)
	require.NoError(t, err)
	other := &env{dir: e.dir, key: newKey(t, "test"), witness: filepath.Join(t.TempDir(), "w")}
	require.NoError(t, os.RemoveAll(e.dir))
	base, _, err := splitOrigin(origin)
	require.NoError(t, err)
	l := other.open(t, func(o *Options) { o.Origin = base })
	require.Equal(t, origin, l.Origin())
	appendN(t, l, 0, 23)
	closeLog(t, l)
	requireIntact(t, other.verify(t))
	put(t, e.witness, witness)
	r := e.verify(t)
	require.Equal(t, Bad, r.Integrity)
	require.Equal(t, KindKey, r.Problems[0].Kind)
	r = e.verify(t, func(o *VerifyOptions) { o.PublicKeys = nil })
	require.Equal(t, Bad, r.Integrity, "the witness alone tells")
}

// One who has the key as well, but not the witness.
func TestRewrittenWithTheKey(t *testing.T) {
	e := tamperEnv(t)
	base, _, err := splitOrigin(originOf(t, e))
	require.NoError(t, err)
	require.NoError(t, os.RemoveAll(e.dir))
	other := &env{dir: e.dir, key: e.key, witness: filepath.Join(t.TempDir(), "w")}
	l := other.open(t, func(o *Options) { o.Origin = base; o.SegmentEntries = 5 })
	for i := range 23 {
		_, err := l.Append(t.Context(), []Entry{testEntry(100 + i)})
		require.NoError(t, err)
	}
	closeLog(t, l)
	requireIntact(t, other.verify(t))
	r := e.verify(t)
	require.Equal(t, Bad, r.Integrity)
	require.Condition(t, func() bool {
		return slices.ContainsFunc(r.Problems, func(p Problem) bool { return p.Kind == KindWitness || p.Kind == KindRewritten })
	}, "%v", r.Problems)
}

func TestAWholeStreamRemoved(t *testing.T) {
	e := tamperEnv(t)
	require.NoError(t, os.RemoveAll(e.dir))
	l := e.open(t)
	appendN(t, l, 0, 3)
	closeLog(t, l)
	r := e.verify(t)
	require.Equal(t, Bad, r.Integrity)
	require.Equal(t, KindNoStream, r.Problems[0].Kind)
}

func TestEveryFlippedBitIsFound(t *testing.T) {
	e := tamperEnv(t)
	clean := e.snapshot(t)
	every := int(stride(t, 11, 499)) // primes, so that all bits of a byte have their turn
	rng := rand.New(rand.NewPCG(1, 2))
	paths := make([]string, 0, len(clean))
	for p := range clean {
		if filepath.Base(p) != "lock" {
			paths = append(paths, p)
		}
	}
	slices.Sort(paths)
	n := 0
	for _, path := range paths {
		for bit := rng.IntN(every); bit < 8*len(clean[path]); bit += every {
			b := bytes.Clone(clean[path])
			b[bit/8] ^= 1 << (bit % 8)
			put(t, path, b)
			r := e.verify(t)
			require.Equal(t, Bad, r.Integrity, "%s bit %d", path, bit)
			put(t, path, clean[path])
			n++
		}
	}
	require.Greater(t, n, 50)
	requireIntact(t, e.verify(t))
}

func TestEveryFileCounts(t *testing.T) {
	e := tamperEnv(t)
	clean := e.snapshot(t)
	for path, b := range clean {
		if filepath.Base(path) == "lock" {
			continue
		}
		require.NoError(t, os.Remove(path))
		if path == e.witness {
			_, err := Verify(t.Context(), VerifyOptions{Dir: e.dir, PublicKeys: []string{e.key.vkey}, WitnessFiles: []string{e.witness}})
			require.Error(t, err)
		} else {
			require.Equal(t, Bad, e.verify(t).Integrity, path)
		}
		put(t, path, b)
		for _, n := range []int{0, 1, len(b) / 2, len(b) - 1} {
			put(t, path, b[:n])
			require.Equal(t, Bad, e.verify(t).Integrity, "%s cut to %d", path, n)
		}
		put(t, path, append(bytes.Clone(b), 0))
		r := e.verify(t)
		if path == e.witness || strings.HasSuffix(path, walSuffix) {
			// As a crash in the middle of a write leaves it.
			require.Equal(t, Incomplete, r.Completeness, "%s longer", path)
		} else {
			require.Equal(t, Bad, r.Integrity, "%s longer", path)
		}
		put(t, path, b)
	}
	requireIntact(t, e.verify(t))
}

func TestVerifyEndsOnHostileInput(t *testing.T) {
	e := tamperEnv(t)
	clean := e.snapshot(t)
	segs := files(t, e.dir, "*.zst")
	t.Run("a frame that unpacks to gigabytes", func(t *testing.T) {
		seg, err := parseSegment(clean[segs[0]])
		require.NoError(t, err)
		b := newSegBuilder(seg.first, seg.prev, seg.hour)
		b.leaves = make([]Hash, seg.count)
		b.raw, b.lines = bytes.Repeat([]byte{'\n'}, 200<<20), seg.count
		body := b.finish(seg.containers)
		put(t, segs[0], body)
		require.Equal(t, Bad, e.verify(t).Integrity)
		e.restore(t, clean)
	})
	t.Run("a pipe instead of a file", func(t *testing.T) {
		require.NoError(t, os.Remove(segs[0]))
		require.NoError(t, mkfifo(segs[0]))
		require.Equal(t, Bad, e.verify(t).Integrity)
		e.restore(t, clean)
	})
	t.Run("more problems than are kept", func(t *testing.T) {
		for i := range 50 {
			put(t, filepath.Join(e.dir, "store", "x", fmt.Sprint(i)), nil)
		}
		r := e.verify(t, func(o *VerifyOptions) { o.MaxProblems = 10 })
		require.Len(t, r.Problems, 10)
		require.Equal(t, 40, r.MoreProblems)
		e.restore(t, clean)
	})
}

func TestTornTailIsANote(t *testing.T) {
	e := tamperEnv(t)
	wal := files(t, e.dir, "*.wal")[0]
	b, err := os.ReadFile(wal)
	require.NoError(t, err)
	// The beginning of a batch that was never acknowledged.
	head := make([]byte, frameHead+batchLen+100)
	binary.LittleEndian.PutUint32(head, batchLen)
	put(t, wal, append(b, head[:30]...))
	r := e.verify(t)
	requireIntact(t, r)
	require.Equal(t, Incomplete, r.Completeness)
	require.Equal(t, KindTorn, r.Notes[len(r.Notes)-1].Kind)
}

func TestVerifyWhileWriting(t *testing.T) {
	e := newEnv(t)
	l := e.open(t, func(o *Options) { o.SegmentEntries = 7 })
	ctx, cancel := context.WithCancel(t.Context())
	var acknowledged atomic.Uint64
	done := make(chan error, 1)
	go func() {
		var err error
		for i := 0; i < 20_000 && err == nil && ctx.Err() == nil; i++ { // a verification takes the longer, the more there is
			if _, err = l.Append(context.Background(), []Entry{testEntry(i, fmt.Appendf(nil, "c%d", i))}); err == nil {
				acknowledged.Add(1)
			}
		}
		done <- err
	}()
	for range 25 {
		before := acknowledged.Load()
		r := e.verify(t)
		requireIntact(t, r)
		require.GreaterOrEqual(t, r.Entries, before)
	}
	cancel()
	require.NoError(t, <-done)
	closeLog(t, l)
	r := e.verify(t)
	requireIntact(t, r)
	require.Equal(t, Complete, r.Completeness)
}

func TestOnEntryErrorEndsTheVerification(t *testing.T) {
	e := tamperEnv(t)
	_, err := Verify(t.Context(), VerifyOptions{Dir: e.dir, OnEntry: func(string, uint64, []byte) error { return io.ErrClosedPipe }})
	require.ErrorIs(t, err, io.ErrClosedPipe)
}
