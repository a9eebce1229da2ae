package ledger

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/claudeaudit/claudeaudit/internal/bucket"
	"github.com/claudeaudit/claudeaudit/internal/bucket/buckettest"
)

// rewriteAll writes all segments anew with one entry changed, so that every name, count,
// hash and link fits again: what the owner of the storage can do with the source code at hand.
func rewriteAll(t *testing.T, e *env, from, to string) {
	t.Helper()
	var prev *Hash
	for _, path := range files(t, e.dir, "*.zst") {
		name, body, last := resealedFrom(t, path, prev, func(lines [][]byte) [][]byte {
			for i := range lines {
				lines[i] = bytes.Replace(lines[i], []byte(from), []byte(to), 1)
			}
			if prev == nil {
				first, _, _, err := splitLine(lines[0], linePrefix(originOf(t, e)))
				require.NoError(t, err)
				return rechained(first, lines)
			}
			return rechained(*prev, lines)
		})
		prev = &last
		require.NoError(t, removeIfThere(path))
		put(t, filepath.Join(path, "../../..", name), body)
	}
}

// The threats that are about a whole ledger: each is named as docs/threat-model.md has it. Those about single
// objects are in TestTampering, the witness's in internal/aggregate.
func TestThreats(t *testing.T) {
	e := sealedEnv(t)
	requireIntact(t, e.verify(t))
	clean := e.snapshot(t)
	segs := files(t, e.dir, "*.zst")
	require.Len(t, segs, 4)
	checkpoints := func() (out []string) {
		for _, f := range files(t, e.dir, "*.note") {
			if strings.Contains(f, "/cp/") {
				out = append(out, f)
			}
		}
		return out
	}
	removeAll := func(paths []string) {
		for _, p := range paths {
			require.NoError(t, removeIfThere(p))
		}
	}
	noWitness := func(o *VerifyOptions) { o.WitnessFiles = nil }
	other := sealedEnv(t)

	for _, tt := range []struct {
		name   string
		do     func()
		verify func(*VerifyOptions)
		kind   string
		seq    uint64
	}{
		{
			"the owner of the storage rewrites everything and recomputes all hashes; the checkpoints stay",
			func() { rewriteAll(t, e, "entry 7", "entry 9") }, noWitness, KindRewritten, 5,
		},
		{
			"the same, of the first entry",
			func() { rewriteAll(t, e, "entry 0", "entry 9") }, noWitness, KindRewritten, 0,
		},
		{
			"the same, and no checkpoint is left: a copy of them elsewhere tells",
			func() { rewriteAll(t, e, "entry 7", "entry 9"); removeAll(checkpoints()) }, func(*VerifyOptions) {}, KindRewritten, 0,
		},
		{
			"a fork: another history beside the first",
			func() {
				name, body, _ := resealedFrom(t, segs[2], nil, func(l [][]byte) [][]byte {
					l[4] = bytes.Replace(l[4], []byte("entry 14"), []byte("entry 99"), 1)
					return l
				})
				put(t, filepath.Join(segs[2], "../../..", name), body)
			}, noWitness, KindOverlap, 10,
		},
		{
			"entries of another log spliced in",
			func() {
				theirs := files(t, other.dir, "*.zst")[1]
				b, err := os.ReadFile(theirs)
				require.NoError(t, err)
				removeAll(segs[1:2])
				put(t, filepath.Join(filepath.Dir(segs[1]), filepath.Base(theirs)), b)
			}, noWitness, KindEntry, 5,
		},
		{
			"rolled back: an older state put back whole",
			func() { removeAll(segs[2:]); removeAll(checkpoints()[2:]) }, func(*VerifyOptions) {}, KindMissing, 10,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			defer e.restore(t, clean)
			tt.do()
			r := e.verify(t, tt.verify)
			require.Equal(t, Bad, r.Integrity)
			require.Equal(t, tt.kind, r.Problems[0].Kind, "%v", r.Problems)
			require.NotNil(t, r.Problems[0].Seq, "%v", r.Problems)
			require.Equal(t, tt.seq, *r.Problems[0].Seq, "%v", r.Problems)
		})
	}
	t.Run("rewritten without any checkpoint anywhere: nothing covers it", func(t *testing.T) {
		defer e.restore(t, clean)
		rewriteAll(t, e, "entry 7", "entry 9")
		removeAll(checkpoints())
		r := e.verify(t, noWitness)
		require.NotEqual(t, Complete, r.Completeness)
		require.Zero(t, r.Streams[0].Covered)
		require.NotEmpty(t, r.Unchecked)
	})
}

// Whoever may put objects puts older ones over newer ones, or hides them, through
// the server: the first version of each counts, and what lies over it is named.
func TestOlderVersionsPutBack(t *testing.T) {
	for name, start := range map[string]func(testing.TB) *buckettest.Server{"versitygw": buckettest.StartVersityGW, "minio": buckettest.StartMinIO} {
		t.Run(name, func(t *testing.T) {
			srv := start(t)
			r := newRemote(t, srv, "")
			l := r.openLog(t)
			for i := range 3 {
				appendContents(t, l, 5*i, 5)
				awaitCheckpoint(t, l, uint64(5*i+5))
			}
			closeLog(t, l)
			requireIntact(t, r.verifyBucket(t))
			owner := r.owner(t)
			defer func() { require.NoError(t, owner.Close()) }()
			list := func(part string) (keys []string, bodies [][]byte) {
				require.NoError(t, owner.Records.List(t.Context(), "v1/"+l.Origin()+"/"+part+"/", "", func(o bucket.ObjectInfo) error {
					b, err := owner.Records.Get(t.Context(), o.Key, 1<<20)
					keys, bodies = append(keys, o.Key), append(bodies, b)
					return err
				}))
				return keys, bodies
			}
			segs, segBodies := list("seg")
			cps, cpBodies := list("cp")
			require.Len(t, segs, 3)
			require.Len(t, cps, 3)
			srv.Overwrite("records", "claude/"+cps[2], cpBodies[0])
			srv.Overwrite("records", "claude/"+segs[2], segBodies[1])
			srv.Hide("records", "claude/"+segs[1])
			rep := r.verifyBucket(t)
			require.Equal(t, Bad, rep.Integrity)
			require.Len(t, rep.Problems, 3, "%v", rep.Problems)
			for _, p := range rep.Problems {
				require.Equal(t, KindOverwritten, p.Kind)
				require.Contains(t, []string{cps[2], segs[2], segs[1]}, p.Object)
			}
			require.Equal(t, uint64(15), rep.Entries, "the first versions are whole")
			require.Equal(t, uint64(15), rep.Streams[0].Covered)
		})
	}
}
