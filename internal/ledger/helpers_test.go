package ledger

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/mod/sumdb/note"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testBody is a record as small as the ledger's conventions allow, with filler.
type testBody struct {
	id, digest [16]byte
	contents   []string
	filler     string
}

func (b testBody) AppendBody(dst []byte, revision int64) []byte {
	if len(b.contents) > 0 {
		dst = append(dst, `"content":{"key_id":"k"`...)
		for i, c := range b.contents {
			dst = fmt.Appendf(dst, `,"p%d_sha256":"%s"`, i, c)
		}
		dst = append(dst, `},`...)
	}
	dst = fmt.Appendf(dst, `"event_id":"%x-%x-%x-%x-%x","filler":"%s","revision":%d,"source":{"digest":"%x"}`,
		b.id[:4], b.id[4:6], b.id[6:8], b.id[8:10], b.id[10:], b.filler, revision, b.digest)
	return dst
}

func eventID(n int) (id [16]byte) {
	sum := sha256.Sum256(fmt.Appendf(nil, "event %d", n))
	copy(id[:], sum[:])
	return id
}

func testEntry(n int, contents ...[]byte) Entry {
	b := testBody{id: eventID(n), digest: eventID(-n - 1), filler: fmt.Sprintf("entry %d", n)}
	for _, c := range contents {
		sum := sha256.Sum256(c)
		b.contents = append(b.contents, hex.EncodeToString(sum[:]))
	}
	return Entry{ID: b.id, Digest: b.digest, Time: time.Now(), Body: b, Contents: contents}
}

type testKey struct {
	signer note.Signer
	vkey   string
}

func newKey(t testing.TB, name string) testKey {
	t.Helper()
	skey, vkey, err := note.GenerateKey(rand.Reader, name)
	require.NoError(t, err)
	s, err := note.NewSigner(skey)
	require.NoError(t, err)
	return testKey{s, vkey}
}

// bench is a ledger folder with its key and witness.
type env struct {
	dir     string
	key     testKey
	witness string
}

func newEnv(t testing.TB) *env {
	t.Helper()
	root := t.TempDir()
	return &env{dir: filepath.Join(root, "ledger"), key: newKey(t, "test"), witness: filepath.Join(root, "witness", "checkpoints")}
}

func (e *env) options(t testing.TB, change ...func(*Options)) Options {
	t.Helper()
	w, err := NewFileWitness(e.witness)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, w.Close()) })
	o := Options{
		Dir: e.dir, Signer: e.key.signer, VerifierKey: e.key.vkey, Witnesses: []Witness{w},
		SegmentAge: time.Hour, CheckpointInterval: time.Nanosecond,
	}
	o.hooks.retry = time.Millisecond
	o.hooks.kill = make(chan struct{})
	for _, c := range change {
		c(&o)
	}
	return o
}

func (e *env) open(t testing.TB, change ...func(*Options)) *Log {
	t.Helper()
	l, err := Open(t.Context(), e.options(t, change...))
	require.NoError(t, err)
	return l
}

func closeLog(t testing.TB, l *Log) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	require.NoError(t, l.Close(ctx))
}

// crash ends a log as a killed process would: nothing is written any more.
func crash(t testing.TB, l *Log) {
	t.Helper()
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.seal.cancel()
	<-l.seal.done
	close(l.opts.hooks.kill)
	<-l.done
	for _, p := range l.seal.queue {
		_ = p.file.Close()
	}
	_ = l.part.file.Close()
	require.NoError(t, l.release())
}

func appendN(t testing.TB, l *Log, from, n int) {
	t.Helper()
	for i := from; i < from+n; i++ {
		res, err := l.Append(t.Context(), []Entry{testEntry(i)})
		require.NoError(t, err)
		require.Equal(t, AppendResult{First: res.First, Count: 1}, res)
	}
}

// readAll returns the lines of the only stream.
func readAll(t testing.TB, dir string) []string {
	t.Helper()
	r, err := OpenReader(dir)
	require.NoError(t, err)
	defer func() { require.NoError(t, r.Close()) }()
	streams, err := r.Streams()
	require.NoError(t, err)
	require.Len(t, streams, 1)
	return readStream(t, r, streams[0])
}

func readStream(t testing.TB, r *Reader, stream string) []string {
	t.Helper()
	var lines []string
	require.NoError(t, r.Entries(t.Context(), stream, 0, func(seq uint64, line []byte) error {
		require.Equal(t, uint64(len(lines)), seq)
		lines = append(lines, string(line))
		return nil
	}))
	return lines
}

func files(t testing.TB, dir, pattern string) []string {
	t.Helper()
	var out []string
	require.NoError(t, filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err == nil && !info.IsDir() {
			if ok, _ := filepath.Match(pattern, filepath.Base(path)); ok {
				out = append(out, path)
			}
		}
		return err
	}))
	return out
}
