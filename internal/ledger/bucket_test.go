package ledger

import (
	"context"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/claudeaudit/claudeaudit/internal/bucket"
	"github.com/claudeaudit/claudeaudit/internal/bucket/buckettest"
)

// remote is a ledger whose records and content are in two buckets.
type remote struct {
	*env
	srv   *buckettest.Server
	via   string // what the writer's requests go through
	user  string // of the writer; "": the owner
	locks time.Duration
}

const (
	writerSecret = "writersecret"
	// session is a writer of MinIO with the policy that the documentation has.
	session = "session"
)

func newRemote(t *testing.T, srv *buckettest.Server, user string) *remote {
	t.Helper()
	r := &remote{env: newEnv(t), srv: srv, user: user, locks: time.Hour}
	switch user {
	case "":
	case session:
		policy, err := os.ReadFile("../../docs/iam/s3-writer.json")
		require.NoError(t, err)
		srv.AssumeRole(t, strings.NewReplacer("acme-evidence", "records", "acme-content", "content").Replace(string(policy)))
	default:
		srv.CreateUser(user, writerSecret)
	}
	for _, b := range []string{"records", "content"} {
		srv.NewS3Bucket(b, true)
		if user != "" && user != session {
			srv.SetBucketPolicy(b, buckettest.WriterPolicy(b, user))
		}
	}
	return r
}

func (r *remote) writer(t *testing.T) *Stores {
	open := func(name string) bucket.Store {
		c := r.srv.S3Config(name, r.via)
		c.URL += "/claude"
		c.Timeout = 2 * time.Second
		switch r.user {
		case "":
		case session:
			c.AccessKeyID, c.SecretAccessKey = "", "" // the standard chain's
		default:
			c.AccessKeyID, c.SecretAccessKey = r.user, writerSecret
		}
		return buckettest.Open(t, c)
	}
	return &Stores{Records: open("records"), Contents: open("content"), Copy: bucket.NewLocal(filepath.Join(r.dir, "store"))}
}

// owner reads past whatever the writer's requests go through.
func (r *remote) owner(t *testing.T) *Stores {
	open := func(name string) bucket.Store {
		c := r.srv.S3Config(name, "")
		c.URL += "/claude"
		return buckettest.Open(t, c)
	}
	return &Stores{Records: open("records"), Contents: open("content")}
}

func (r *remote) openLog(t *testing.T, change ...func(*Options)) *Log {
	return r.open(t, append([]func(*Options){func(o *Options) {
		o.Store, o.SegmentEntries, o.StoreTimeout = r.writer(t), 5, 3*time.Second
		o.Origin = "example.com/collector-1"
		o.hooks.retry, o.hooks.pause = 20*time.Millisecond, 500*time.Millisecond
		o.Retention = func(_ string, newest time.Time) time.Time { return newest.Add(r.locks) }
	}}, change...)...)
}

func (r *remote) verifyBucket(t *testing.T, change ...func(*VerifyOptions)) *Report {
	return r.verify(t, append([]func(*VerifyOptions){func(o *VerifyOptions) {
		o.Dir, o.Store, o.WALDir = "", r.owner(t), filepath.Join(r.dir, "wal")
	}}, change...)...)
}

func appendContents(t *testing.T, l *Log, from, n int) {
	t.Helper()
	for i := from; i < from+n; i++ {
		e := testEntry(i, fmt.Appendf(nil, "content %d", i))
		if i%3 == 0 {
			e.Class = "other"
		}
		_, err := l.Append(t.Context(), []Entry{e})
		require.NoError(t, err)
	}
}

func awaitCheckpoint(t *testing.T, l *Log, size uint64) {
	t.Helper()
	require.Eventually(t, func() bool { return l.Stats().Checkpointed >= size }, 30*time.Second, 10*time.Millisecond, "checkpoint of %d", size)
}

// bucketWriters are the servers that buckets are of, and who writes there.
var bucketWriters = map[string]struct {
	start func(testing.TB) *buckettest.Server
	user  string
}{
	"VersityGW, writer that may only put": {buckettest.StartVersityGW, "writer"},
	"VersityGW, owner":                    {buckettest.StartVersityGW, ""},
	"MinIO, writer that may only put":     {buckettest.StartMinIO, session},
	"MinIO, owner":                        {buckettest.StartMinIO, ""},
}

// With rights to put and to read locks alone, and on a store that grants
// everything, the ledger is written, locked and goes on after a restart.
func TestLedgerInBuckets(t *testing.T) {
	for name, tc := range bucketWriters {
		t.Run(name, func(t *testing.T) {
			r := newRemote(t, tc.start(t), tc.user)
			l := r.openLog(t)
			appendContents(t, l, 0, 23)
			closeLog(t, l)
			rep := r.verifyBucket(t)
			requireIntact(t, rep)
			require.Equal(t, Complete, rep.Completeness)
			require.Equal(t, uint64(23), rep.Entries)
			require.Equal(t, uint64(23), rep.ContentsRead)
			require.Equal(t, uint64(23), rep.Streams[0].Witnessed)

			// The stream goes on, and knows what it has.
			l = r.openLog(t)
			require.Equal(t, "example.com/collector-1/1", l.Origin())
			res, err := l.Append(t.Context(), []Entry{testEntry(3, []byte("content 3"))})
			require.NoError(t, err)
			require.Equal(t, 1, res.Duplicates)
			appendContents(t, l, 23, 7)
			awaitCheckpoint(t, l, 28)
			crash(t, l)
			requireIntact(t, r.verifyBucket(t))

			// Every object is locked, content apart from records, and in the copy is no content.
			owner := r.owner(t)
			count := map[bool]int{}
			require.NoError(t, owner.List(t.Context(), "", "", func(o bucket.ObjectInfo) error {
				l, err := owner.Lock(t.Context(), o.Key)
				require.NoError(t, err)
				require.Equal(t, "COMPLIANCE", l.Mode, o.Key)
				require.True(t, l.RetainUntil.After(time.Now().Add(r.locks-time.Minute)), o.Key)
				require.ErrorIs(t, owner.Delete(t.Context(), o.Key), bucket.ErrLocked)
				count[isContent(o.Key)]++
				return nil
			}))
			require.Equal(t, 12, count[true], "two classes in each of six segments")
			require.GreaterOrEqual(t, count[false], 6+2+1, "segments, checkpoints, the claim")
			require.NoError(t, owner.Records.List(t.Context(), "", "", func(o bucket.ObjectInfo) error {
				require.False(t, isContent(o.Key), o.Key)
				return nil
			}))
			requireIntact(t, r.verify(t, func(o *VerifyOptions) { o.MissingContent = true }))
			require.Empty(t, files(t, r.dir, "*.cnt"))

			// Who lost the folder begins an epoch of its own.
			require.NoError(t, os.RemoveAll(r.dir))
			l = r.openLog(t)
			require.Equal(t, "example.com/collector-1/2", l.Origin())
			appendContents(t, l, 30, 2)
			closeLog(t, l)
			rep = r.verifyBucket(t)
			requireIntact(t, rep)
			require.Len(t, rep.Streams, 2)
			require.Equal(t, uint64(30), rep.Entries, "two that were not sealed went with the folder")
		})
	}
}

// requireOnce wants the entries of these numbers, each once and no other.
func requireOnce(t *testing.T, r *remote, n int) {
	t.Helper()
	seen := map[string]int{}
	reader := NewReader(r.owner(t), filepath.Join(r.dir, "wal"))
	defer func() { require.NoError(t, reader.Close()) }()
	streams, err := reader.Streams()
	require.NoError(t, err)
	for _, s := range streams {
		require.NoError(t, reader.Entries(t.Context(), s, 0, func(_ uint64, line []byte) error {
			seen[string(member(line, "filler"))]++
			return nil
		}))
	}
	require.Len(t, seen, n)
	for i := range n {
		require.Equal(t, 1, seen[fmt.Sprintf("entry %d", i)], "entry %d", i)
	}
}

// The store fails in every way there is, is killed and comes back, and so is the
// writer; nothing acknowledged is lost, nothing stands twice.
func TestFailingBucketLosesNothing(t *testing.T) {
	for name, tc := range bucketWriters {
		t.Run(name, func(t *testing.T) {
			srv := tc.start(t)
			r := newRemote(t, srv, tc.user)
			p := buckettest.NewProxy(t, srv.URL)
			r.via = p.URL
			l := r.openLog(t)
			rng := rand.New(rand.NewPCG(1, 2))
			var mu sync.Mutex
			faults := []buckettest.Fault{
				buckettest.Status503, buckettest.Hang, buckettest.Drop, buckettest.BadAnswer, buckettest.Corrupt, buckettest.ReadOnly,
				buckettest.Full, buckettest.BadRead,
			}
			p.Script(func(*http.Request) buckettest.Fault {
				mu.Lock()
				defer mu.Unlock()
				if i := rng.IntN(2 * len(faults)); i < len(faults) {
					if faults[i] == buckettest.Hang && rng.IntN(4) > 0 {
						return buckettest.Status503 // each costs seconds
					}
					return faults[i]
				}
				return buckettest.Healthy
			})
			n := 0
			for round := range 4 {
				for range 12 {
					appendContents(t, l, n, 1)
					n++
					time.Sleep(10 * time.Millisecond)
				}
				switch round {
				case 0:
					srv.Kill()
					appendContents(t, l, n, 3)
					n += 3
					srv.Start()
				case 1, 2:
					crash(t, l)
					l = r.openLog(t)
				}
			}
			require.LessOrEqual(t, l.Stats().SpoolBytes, l.Stats().SpoolMaxBytes)
			p.Fail(buckettest.Healthy)
			closeLog(t, l)
			rep := r.verifyBucket(t)
			requireIntact(t, rep)
			require.Equal(t, Complete, rep.Completeness)
			require.Len(t, rep.Streams, 1)
			requireOnce(t, r, n)
			for _, f := range faults {
				t.Logf("%-12s %d", f, p.Count(f))
			}
		})
	}
}

// A store that takes nothing fills the spool up to its bound; then entries are
// refused, the state says why, and it recovers by itself.
func TestReadOnlyBucket(t *testing.T) {
	srv := buckettest.StartVersityGW(t)
	r := newRemote(t, srv, "")
	p := buckettest.NewProxy(t, srv.URL)
	r.via = p.URL
	states := make(chan error, 100)
	l := r.openLog(t, func(o *Options) { o.MaxSpoolBytes = 30_000; o.State = func(err error) { states <- err } })
	appendContents(t, l, 0, 5)
	awaitCheckpoint(t, l, 5)
	for _, f := range []buckettest.Fault{buckettest.ReadOnly, buckettest.Full, buckettest.Hang} {
		p.Fail(f)
		n := int(l.Durable())
		var err error
		for i := n; err == nil; i++ {
			require.Less(t, i, n+200)
			_, err = l.Append(t.Context(), []Entry{testEntry(i)})
		}
		require.ErrorIs(t, err, ErrFull)
		require.Less(t, l.Stats().SpoolBytes, int64(40_000))
		select {
		case err := <-states:
			require.Error(t, err)
		case <-time.After(30 * time.Second):
			t.Fatal("the state was not told")
		}
		p.Fail(buckettest.Healthy)
		size := l.Durable()
		awaitCheckpoint(t, l, size/5*5)
		require.Eventually(t, func() bool {
			select {
			case err := <-states:
				return err == nil
			default:
				return false
			}
		}, 30*time.Second, 10*time.Millisecond)
		appendN(t, l, int(size), 1)
	}
	n := int(l.Durable())
	closeLog(t, l)
	requireIntact(t, r.verifyBucket(t))
	requireOnce(t, r, n)
}

// What an administrator of the storage host can do behind the server's back,
// and what the writer's credentials can do through it, is found.
func TestTamperingBehindTheBucket(t *testing.T) {
	srv := buckettest.StartVersityGW(t)
	r := newRemote(t, srv, "")
	l := r.openLog(t)
	for i := range 4 {
		appendContents(t, l, 5*i, 5)
		awaitCheckpoint(t, l, uint64(5*i+5))
	}
	closeLog(t, l)
	requireIntact(t, r.verifyBucket(t))
	objects := filepath.Join(srv.Data, "objects")
	segs := files(t, filepath.Join(objects, "records"), "*.zst")
	cps := files(t, filepath.Join(objects, "records", "claude", "v1", "example.com"), "*.note")
	cnts := files(t, filepath.Join(objects, "content"), "*.cnt")
	require.Len(t, segs, 4)
	require.Len(t, cps, 4)
	key := func(path, b string) string {
		rel, err := filepath.Rel(filepath.Join(objects, b), path)
		require.NoError(t, err)
		return filepath.ToSlash(rel)
	}
	for _, tc := range []struct {
		name  string
		do    func(t *testing.T) (undo func())
		kinds []string
		seq   int64
	}{
		{"a byte of a segment", func(t *testing.T) func() {
			return edit(t, segs[1], func(b []byte) []byte { b[len(b)/2] ^= 1; return b })
		}, []string{KindSegment}, 5},
		{"a segment cut short", func(t *testing.T) func() { return edit(t, segs[2], func(b []byte) []byte { return b[:len(b)-9] }) }, []string{KindSegment}, 10},
		{"a segment deleted", func(t *testing.T) func() { return removeFile(t, segs[1]) }, []string{KindMissing}, 5},
		{"two segments swapped", func(t *testing.T) func() {
			a, b := readFile(t, segs[0]), readFile(t, segs[1])
			undoA, undoB := edit(t, segs[0], func([]byte) []byte { return b }), edit(t, segs[1], func([]byte) []byte { return a })
			return func() { undoA(); undoB() }
		}, []string{KindSegment}, 0},
		{"the last segment and its checkpoint deleted", func(t *testing.T) func() {
			undoA, undoB := removeFile(t, segs[3]), removeFile(t, cps[3])
			return func() { undoA(); undoB() }
		}, []string{KindTruncated, KindMissing, KindNoCheckpoint}, 15},
		{"an old checkpoint under a new name", func(t *testing.T) func() {
			old := readFile(t, cps[0])
			return edit(t, cps[3], func([]byte) []byte { return old })
		}, []string{KindCheckpoint}, 19},
		{"a byte of content", func(t *testing.T) func() { return edit(t, cnts[0], func(b []byte) []byte { b[10] ^= 1; return b }) }, []string{KindContent}, 0},
		{"content deleted", func(t *testing.T) func() { return removeFile(t, cnts[0]) }, []string{KindNoContent}, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			undo := tc.do(t)
			rep := r.verifyBucket(t)
			undo()
			require.Equal(t, Bad, rep.Integrity)
			require.NotEmpty(t, rep.Problems)
			first := rep.Problems[0]
			require.Contains(t, tc.kinds, first.Kind, "%v", rep.Problems)
			require.NotNil(t, first.Seq, "%v", first)
			require.Equal(t, tc.seq, int64(*first.Seq), "%v", first)
			requireIntact(t, r.verifyBucket(t))
		})
	}
	// Through the server: a newer version, a delete marker. The evidence is the first version.
	srv.Overwrite("records", key(segs[1], "records"), []byte("another"))
	srv.Hide("records", key(cps[2], "records"))
	rep := r.verifyBucket(t)
	require.Equal(t, Bad, rep.Integrity)
	require.Len(t, rep.Problems, 2, "%v", rep.Problems)
	for _, p := range rep.Problems {
		require.Equal(t, KindOverwritten, p.Kind)
	}
	require.Equal(t, uint64(20), rep.Entries)
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	return b
}

// edit changes a file in place, which keeps the server's extended attributes.
func edit(t *testing.T, path string, change func([]byte) []byte) (undo func()) {
	t.Helper()
	was := readFile(t, path)
	now := change(append([]byte(nil), was...))
	st, err := os.Stat(path)
	require.NoError(t, err)
	require.NoError(t, os.Chmod(path, 0o600))
	require.NoError(t, os.WriteFile(path, now, fs.FileMode(0o600)))
	return func() {
		require.NoError(t, os.WriteFile(path, was, 0o600))
		require.NoError(t, os.Chmod(path, st.Mode()))
	}
}

func removeFile(t *testing.T, path string) (undo func()) {
	t.Helper()
	away := filepath.Join(t.TempDir(), "object")
	require.NoError(t, os.Rename(path, away))
	return func() { require.NoError(t, os.Rename(away, path)) }
}

// An object written elsewhere meanwhile, under a name that is ours, is no
// success for who can read.
func TestForeignObjectUnderOurName(t *testing.T) {
	srv := buckettest.StartVersityGW(t)
	r := newRemote(t, srv, "")
	l := r.openLog(t)
	appendContents(t, l, 0, 4)
	// The checkpoint of the next segment is there already, and is not ours.
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	require.NoError(t, r.owner(t).Put(ctx, checkpointKey(l.Origin(), l.hour(), 5), []byte("junk"), bucket.PutOptions{}))
	appendContents(t, l, 4, 1)
	require.Eventually(t, func() bool { return l.Stats().LastError != "" }, 10*time.Second, 10*time.Millisecond)
	require.Contains(t, l.Stats().LastError, bucket.ErrExists.Error())
	require.Equal(t, uint64(5), l.Durable(), "nothing is given up")
	crash(t, l)
	require.Len(t, files(t, filepath.Join(r.dir, "wal"), "*.wal"), 2)
}
