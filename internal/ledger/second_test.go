package ledger

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/claudeaudit/claudeaudit/internal/bucket"
	"github.com/claudeaudit/claudeaudit/internal/bucket/buckettest"
)

// second runs the verifier that was written apart from this one.
type second struct {
	Integrity string
	Streams   []struct {
		Origin  string
		Pruned  uint64
		Entries uint64
		Root    string
		Covered uint64
	}
	Problems []struct{ Kind, Where, Detail string }
}

const secondVerifier = "../../docs/verify/verify.py"

func runSecond(t *testing.T, e *env, more ...string) (second, int) {
	t.Helper()
	args := append([]string{secondVerifier, filepath.Join(e.dir, "store"), "--key", e.key.vkey, "--checkpoints", e.witness}, more...)
	cmd := exec.Command("python3", args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	var s second
	require.NoError(t, json.Unmarshal(stdout.Bytes(), &s), "%s%s", stdout.String(), stderr.String())
	return s, cmd.ProcessState.ExitCode()
}

func needsSecond(t *testing.T) {
	t.Helper()
	if err := exec.Command("python3", "-c", "import cryptography").Run(); err != nil {
		buckettest.Unavailable(t, "the second verifier needs python3 with the package cryptography: %v", err)
	}
	if _, err := exec.LookPath("zstd"); err != nil {
		if exec.Command("python3", "-c", "import compression.zstd").Run() != nil {
			buckettest.Unavailable(t, "the second verifier needs zstd: %v", err)
		}
	}
}

// sealed is the ledger of tamperEnv without write-ahead files: what lies in a bucket.
func sealedEnv(t *testing.T) *env {
	t.Helper()
	e := newEnv(t)
	l := e.open(t, func(o *Options) { o.SegmentEntries = 5 })
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
	closeLog(t, l)
	return e
}

// The two verifiers agree on a good ledger, and on what is bad: a byte changed at any place of
// any object, and objects removed, swapped, copied, put back, cut.
func TestSecondVerifierAgrees(t *testing.T) {
	needsSecond(t)
	e := sealedEnv(t)
	first := func() *Report {
		return e.verify(t, func(o *VerifyOptions) { o.Dir, o.Store = "", bucket.NewLocal(filepath.Join(e.dir, "store")) })
	}
	rep := first()
	requireIntact(t, rep)
	s, code := runSecond(t, e)
	require.Zero(t, code, "%v", s.Problems)
	require.Equal(t, "intact", s.Integrity)
	require.Len(t, s.Streams, 1)
	require.Equal(t, rep.Streams[0].Origin, s.Streams[0].Origin)
	require.Equal(t, rep.Streams[0].Sealed, s.Streams[0].Entries)
	require.Equal(t, rep.Streams[0].Root, s.Streams[0].Root)
	require.Equal(t, rep.Streams[0].Covered, s.Streams[0].Covered)

	snap := e.snapshot(t)
	var objects []string
	require.NoError(t, filepath.WalkDir(filepath.Join(e.dir, "store", "v1"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			objects = append(objects, path)
		}
		return err
	}))
	slices.Sort(objects)
	kind := func(part string) (out []string) {
		for _, o := range objects {
			if strings.Contains(o, part) {
				out = append(out, o)
			}
		}
		return out
	}
	segs, cps, cnts := kind("/seg/"), kind("/cp/"), kind("/cnt/")
	require.Len(t, segs, 4)
	require.Len(t, cps, 4)
	require.Len(t, cnts, 8)
	cases := map[string]func(){
		"a segment removed":          func() { require.NoError(t, os.Remove(segs[1])) },
		"the last segment removed":   func() { require.NoError(t, os.Remove(segs[3])) },
		"the end removed":            func() { require.NoError(t, errors.Join(os.Remove(segs[3]), os.Remove(cps[3]))) },
		"a container removed":        func() { require.NoError(t, os.Remove(cnts[2])) },
		"the claim removed":          func() { require.NoError(t, os.RemoveAll(filepath.Join(e.dir, "store/v1/_claims"))) },
		"two segments swapped":       func() { swapFiles(t, segs[0], segs[2]) },
		"two checkpoints swapped":    func() { swapFiles(t, cps[0], cps[2]) },
		"two containers swapped":     func() { swapFiles(t, cnts[0], cnts[1]) },
		"an old checkpoint put back": func() { put(t, cps[3], readFile(t, cps[0])) },
		"a segment under another name": func() {
			put(t, strings.Replace(segs[3], "0000000000000015", "0000000000000020", 1), readFile(t, segs[3]))
		},
		"a foreign object": func() { put(t, filepath.Join(e.dir, "store/v1/notes.txt"), []byte("x")) },
		"a container too many": func() {
			put(t, strings.Replace(cnts[0], "0000000000000000-", "0000000000000001-", 1), readFile(t, cnts[0]))
		},
		"a checkpoint of a new date": func() { put(t, strings.Replace(cps[1], "/cp/dt=20", "/cp/dt=21", 1), readFile(t, cps[1])) },
		"a segment cut":              func() { put(t, segs[2], readFile(t, segs[2])[:300]) },
		"a segment empty":            func() { put(t, segs[2], nil) },
		"a checkpoint of another key": func() {
			k := newKey(t, "test")
			msg, err := signCheckpoint(t.Context(), Checkpoint{Origin: rep.Streams[0].Origin, Size: 20}, k.signer)
			require.NoError(t, err)
			put(t, cps[3], msg)
		},
		"a witnessed checkpoint of a longer log": func() {
			msg, err := signCheckpoint(t.Context(), Checkpoint{Origin: rep.Streams[0].Origin, Size: 40}, e.key.signer)
			require.NoError(t, err)
			put(t, e.witness, append(append(readFile(t, e.witness), msg...), '\n'))
		},
		"another history, signed with the key": func() {
			msg, err := signCheckpoint(t.Context(), Checkpoint{Origin: rep.Streams[0].Origin, Size: 20}, e.key.signer)
			require.NoError(t, err)
			put(t, cps[3], msg)
		},
	}
	rng := rand.New(rand.NewPCG(7, 8))
	for i := range 40 {
		o := objects[i%len(objects)]
		at := rng.IntN(len(snap[o]))
		bit := byte(1) << rng.IntN(8)
		cases[fmt.Sprintf("bit %d: %s at %d", i, filepath.Base(o), at)] = func() {
			b := append([]byte(nil), snap[o]...)
			b[at] ^= bit
			put(t, o, b)
		}
	}
	for name, do := range cases {
		t.Run(name, func(t *testing.T) {
			do()
			defer e.restore(t, snap)
			rep := first()
			s, code := runSecond(t, e)
			require.Equal(t, Bad, rep.Integrity)
			require.Equal(t, "bad", s.Integrity, "the first says %v", rep.Problems)
			require.Equal(t, 1, code)
			require.NotEmpty(t, s.Problems)
		})
	}
	_, code = runSecond(t, e)
	require.Zero(t, code)
}

func swapFiles(t *testing.T, a, b string) {
	t.Helper()
	ba, bb := readFile(t, a), readFile(t, b)
	put(t, a, bb)
	put(t, b, ba)
}

// tessera is a checker of tlog-tiles logs by other people.
const tessera = "github.com/transparency-dev/tessera/cmd/fsck@v1.0.4"

// An exported log passes a checker that knows nothing of us. It has a time
// limit: this version of it doesn't end on a damaged bundle.
func TestUnrelatedCheckerOfTiles(t *testing.T) {
	fsck := buckettest.Tool(t, tessera)
	e, r, stream := proofEnv(t, 700)
	dir := filepath.Join(t.TempDir(), "tiles")
	n, _, err := ExportTiles(t.Context(), r, stream, dir)
	require.NoError(t, err)
	require.Equal(t, uint64(700), n)
	key := filepath.Join(t.TempDir(), "key")
	require.NoError(t, os.WriteFile(key, []byte(e.key.vkey), 0o600))
	check := func() (string, error) {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		out, err := exec.CommandContext(ctx, fsck, "--ui=false", "--logtostderr", "--v=1", "--storage_url=file://"+dir, "--origin="+stream, "--public_key="+key).CombinedOutput()
		return string(out), err
	}
	out, err := check()
	require.NoError(t, err, out)
	require.Contains(t, out, "Completed ranges")
	require.NotContains(t, out, "failed")

	bundle := filepath.Join(dir, "tile", "entries", "001")
	b := readFile(t, bundle)
	b[len(b)/2] ^= 1
	require.NoError(t, os.WriteFile(bundle, b, 0o600))
	out, err = check()
	require.True(t, err != nil || strings.Contains(out, "failed"), out)
}
