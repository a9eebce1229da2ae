package ledger

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/claudeaudit/claudeaudit/internal/bucket"
)

func TestAppendAndRead(t *testing.T) {
	e := newEnv(t)
	l := e.open(t)
	require.True(t, strings.HasPrefix(l.Origin(), "claudeaudit/"))
	notify := l.Notify()
	res, err := l.Append(t.Context(), []Entry{testEntry(0), testEntry(1), testEntry(2)})
	require.NoError(t, err)
	require.Equal(t, AppendResult{First: 0, Count: 3}, res)
	<-notify
	require.Equal(t, uint64(3), l.Durable())
	open := readAll(t, e.dir)
	require.Len(t, open, 3)
	require.True(t, strings.HasPrefix(open[0], `{"_log":"`+l.Origin()+`","_prev":"`))
	prev := originHash(l.Origin(), e.key.vkey)
	for i, line := range open {
		p, seq, body, err := splitLine([]byte(line), linePrefix(l.Origin()))
		require.NoError(t, err)
		require.Equal(t, prev, p)
		require.Equal(t, uint64(i), seq)
		require.True(t, strings.HasPrefix(line[body:], `,"event_id":`))
		prev = leafHash([]byte(line))
	}
	closeLog(t, l)
	require.Equal(t, open, readAll(t, e.dir), "sealed lines are the same bytes")
	require.Equal(t, open, readAll(t, filepath.Join(e.dir, "store")), "the store alone has them")
	require.Len(t, files(t, e.dir, "*.wal"), 1, "only the next write-ahead file is left")

	l = e.open(t)
	require.Equal(t, uint64(3), l.Durable())
	appendN(t, l, 3, 2)
	closeLog(t, l)
	all := readAll(t, e.dir)
	require.Len(t, all, 5)
	require.Equal(t, open, all[:3])
	require.ErrorIs(t, l.Close(t.Context()), ErrClosed)
	_, err = l.Append(t.Context(), []Entry{testEntry(9)})
	require.ErrorIs(t, err, ErrClosed)
}

func TestSegmentsAreReadByZstd(t *testing.T) {
	bin, err := exec.LookPath("zstd")
	if err != nil {
		t.Skip("no zstd command here")
	}
	e := newEnv(t)
	l := e.open(t)
	appendN(t, l, 0, 10)
	closeLog(t, l)
	out, err := exec.Command(bin, append([]string{"-dc"}, files(t, e.dir, "*.zst")...)...).Output()
	require.NoError(t, err)
	require.Equal(t, strings.Join(readAll(t, e.dir), "\n")+"\n", string(out))
}

func TestRedeliveryAddsNothing(t *testing.T) {
	e := newEnv(t)
	l := e.open(t)
	for range 2 {
		res, err := l.Append(t.Context(), []Entry{testEntry(0), testEntry(1), testEntry(0)})
		require.NoError(t, err)
		require.Equal(t, 3, res.Count+res.Duplicates)
	}
	closeLog(t, l)
	for _, how := range []string{"from segments", "from the write-ahead file"} {
		l = e.open(t)
		res, err := l.Append(t.Context(), []Entry{testEntry(1), testEntry(0)})
		require.NoError(t, err)
		require.Equal(t, 2, res.Duplicates, how)
		if how == "from segments" {
			_, err = l.Append(t.Context(), []Entry{testEntry(2)})
			require.NoError(t, err)
			crash(t, l)
			continue
		}
		res, err = l.Append(t.Context(), []Entry{testEntry(2)})
		require.NoError(t, err)
		require.Equal(t, AppendResult{First: 3, Duplicates: 1}, res, how)
		closeLog(t, l)
	}
	require.Len(t, readAll(t, e.dir), 3)
}

func TestRevisionsCountAnEventsEntries(t *testing.T) {
	e := newEnv(t)
	l := e.open(t)
	want := []int{1, 2, 1, 3, 4}
	for i, ev := range []int{0, 0, 1, 0} {
		x := testEntry(ev)
		b := x.Body.(testBody)
		b.digest[0] = byte(i)
		x.Body, x.Digest = b, b.digest
		_, err := l.Append(t.Context(), []Entry{x})
		require.NoError(t, err)
	}
	closeLog(t, l)
	l = e.open(t)
	_, err := l.Append(t.Context(), []Entry{testEntry(0)})
	require.NoError(t, err)
	closeLog(t, l)
	for i, line := range readAll(t, e.dir) {
		require.Contains(t, line, fmt.Sprintf(`"revision":%d,`, want[i]))
	}
}

func TestContents(t *testing.T) {
	e := newEnv(t)
	l := e.open(t)
	x := testEntry(0, []byte("prompt"), []byte("response"))
	y := testEntry(1, []byte("other"))
	y.Class = "sec17a4"
	_, err := l.Append(t.Context(), []Entry{x, y})
	require.NoError(t, err)
	check := func() {
		r, err := OpenReader(e.dir)
		require.NoError(t, err)
		defer func() { require.NoError(t, r.Close()) }()
		for i, x := range []Entry{x, y} {
			for j, c := range x.Contents {
				sha := x.Body.(testBody).contents[j]
				got, err := r.ContentOf(t.Context(), l.Origin(), uint64(i), sha)
				require.NoError(t, err)
				require.Equal(t, c, got)
				got, err = r.Content(sha)
				require.NoError(t, err)
				require.Equal(t, c, got)
			}
		}
		_, err = r.Content(strings.Repeat("0", 64))
		require.ErrorIs(t, err, bucket.ErrNotFound)
		_, err = r.ContentOf(t.Context(), l.Origin(), 0, strings.Repeat("0", 64))
		require.ErrorIs(t, err, bucket.ErrNotFound)
		_, err = r.Content("xyz")
		require.ErrorContains(t, err, "64 lower-case hex digits")
	}
	check()
	closeLog(t, l)
	check()
	cnt := files(t, e.dir, "*.cnt")
	require.Len(t, cnt, 2)
	require.Contains(t, cnt[0], "/cnt/default/dt=")
	require.Contains(t, cnt[1], "/cnt/sec17a4/dt=")
}

func TestInvalidEntriesAreRefusedWhole(t *testing.T) {
	e := newEnv(t)
	l := e.open(t)
	long := testEntry(1)
	long.Body = testBody{filler: strings.Repeat("x", MaxLine)}
	empty := testEntry(1)
	empty.Body = bodyFunc(func(dst []byte) []byte { return dst })
	broken := testEntry(1)
	broken.Body = bodyFunc(func(dst []byte) []byte { return append(dst, "\"a\":\n1"...) })
	class := testEntry(1)
	class.Class = "../x"
	many := testEntry(1)
	many.Contents = make([][]byte, maxContents+1)
	for name, x := range map[string]Entry{"long line": long, "empty body": empty, "line break": broken, "class": class, "no body": {}, "contents": many} {
		t.Run(name, func(t *testing.T) {
			_, err := l.Append(t.Context(), []Entry{testEntry(0), x})
			require.ErrorIs(t, err, ErrInvalid)
		})
	}
	require.Equal(t, uint64(0), l.Durable())
	res, err := l.Append(t.Context(), []Entry{testEntry(0)})
	require.NoError(t, err)
	require.Equal(t, 1, res.Count, "the refused call left no trace in the window")
	res, err = l.Append(t.Context(), nil)
	require.NoError(t, err)
	require.Zero(t, res)
	closeLog(t, l)
}

type bodyFunc func(dst []byte) []byte

func (f bodyFunc) AppendBody(dst []byte, _ int64) []byte { return f(dst) }

func TestOneWriterAtATime(t *testing.T) {
	e := newEnv(t)
	l := e.open(t)
	_, err := Open(t.Context(), e.options(t))
	require.ErrorIs(t, err, ErrLocked)
	closeLog(t, l)
	closeLog(t, e.open(t))
}

func TestConcurrentAppendsShareSyncs(t *testing.T) {
	e := newEnv(t)
	l := e.open(t, func(o *Options) { o.SegmentEntries = 500 })
	const writers, each = 32, 60
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				if _, err := l.Append(context.Background(), []Entry{testEntry(w*each + i)}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	s := l.Stats()
	require.Equal(t, uint64(writers*each), s.Durable)
	require.Less(t, s.Batches, uint64(writers*each/2))
	closeLog(t, l)
	require.Len(t, readAll(t, e.dir), writers*each)
	require.Greater(t, len(files(t, e.dir, "*.zst")), 2)
}

func TestSegmentsCloseByAgeAndDay(t *testing.T) {
	e := newEnv(t)
	now := time.Date(2026, 11, 24, 23, 59, 0, 0, time.UTC)
	var mu sync.Mutex
	clock := func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	l := e.open(t, func(o *Options) { o.hooks.now = clock })
	appendN(t, l, 0, 1)
	mu.Lock()
	now = now.Add(2 * time.Minute)
	mu.Unlock()
	appendN(t, l, 1, 1)
	require.Eventually(t, func() bool { return l.Stats().Checkpointed == 1 }, 5*time.Second, time.Millisecond)
	mu.Lock()
	now = now.Add(-time.Hour) // a clock that goes back does not take the partition with it
	mu.Unlock()
	closeLog(t, l)
	segs := files(t, e.dir, "*.zst")
	require.Len(t, segs, 2)
	require.Contains(t, segs[0], "dt=2026-11-24/hh=23/0000000000000000-1-")
	require.Contains(t, segs[1], "dt=2026-11-25/hh=00/0000000000000001-1-")

	l = e.open(t, func(o *Options) { o.SegmentAge = time.Millisecond })
	appendN(t, l, 2, 1)
	require.Eventually(t, func() bool { return l.Stats().Checkpointed == 3 }, 5*time.Second, time.Millisecond)
	closeLog(t, l)
}

func TestOptionErrors(t *testing.T) {
	e := newEnv(t)
	other := newKey(t, "test")
	for want, change := range map[string]func(*Options){
		"Dir is required":                        func(o *Options) { o.Dir = "" },
		"Signer and VerifierKey are required":    func(o *Options) { o.Signer = nil },
		"VerifierKey must be name+hash+base64":   func(o *Options) { o.VerifierKey = "x" },
		"VerifierKey is not the public key of":   func(o *Options) { o.VerifierKey = other.vkey },
		"SegmentBytes must not be negative":      func(o *Options) { o.SegmentBytes = -1 },
		`Origin: log name "a//b"`:                func(o *Options) { o.Origin = "a//b" },
		`Origin: log name "a b": may hold only`:  func(o *Options) { o.Origin = "a b" },
		`path element "seg" is reserved`:         func(o *Options) { o.Origin = "a/seg" },
		"Instance may hold only printable ASCII": func(o *Options) { o.Instance = "a\nb" },
	} {
		t.Run(want, func(t *testing.T) {
			_, err := Open(t.Context(), e.options(t, change))
			require.ErrorContains(t, err, want)
		})
	}
	require.NoDirExists(t, e.dir)
}

func TestAppendEndsWithItsContext(t *testing.T) {
	e := newEnv(t)
	begun, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	l := e.open(t, func(o *Options) {
		o.hooks.sync = func(f *os.File) error {
			if st, err := f.Stat(); err == nil && st.Size() > 2000 { // not a new file's header
				once.Do(func() { close(begun); <-release })
			}
			return syncData(f)
		}
	})
	x := testEntry(0)
	x.Contents = [][]byte{make([]byte, 2000)}
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error)
	go func() {
		_, err := l.Append(ctx, []Entry{x})
		result <- err
	}()
	<-begun
	cancel()
	require.ErrorIs(t, <-result, context.Canceled)
	// The redelivery waits for the sync that is under way.
	go func() {
		res, err := l.Append(t.Context(), []Entry{x})
		if err == nil && res.Duplicates != 1 {
			err = fmt.Errorf("%d duplicates", res.Duplicates)
		}
		result <- err
	}()
	select {
	case err := <-result:
		t.Fatalf("acknowledged before the sync: %v", err)
	case <-time.After(20 * time.Millisecond):
	}
	close(release)
	require.NoError(t, <-result)
	closeLog(t, l)
	require.Len(t, readAll(t, e.dir), 1)
}

// Whoever is patient shares the sync of one who is not, and has one of their own in the end.
func TestPatientAppends(t *testing.T) {
	e := newEnv(t)
	var syncs atomic.Int32
	l := e.open(t, func(o *Options) {
		o.hooks.sync = func(f *os.File) error {
			syncs.Add(1)
			return syncData(f)
		}
	})
	before := syncs.Load()
	_, err := l.Append(Patient(t.Context()), []Entry{testEntry(0)})
	require.NoError(t, err, "nobody else came")
	require.Equal(t, before+1, syncs.Load())

	entered := func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.next == 4
	}
	var patient sync.WaitGroup
	for n := range 3 {
		patient.Go(func() {
			_, err := l.Append(Patient(t.Context()), []Entry{testEntry(1 + n)})
			require.NoError(t, err)
		})
	}
	require.Eventually(t, entered, 10*time.Second, 50*time.Microsecond)
	appendN(t, l, 4, 1)
	patient.Wait()
	require.Equal(t, uint64(5), l.Durable())
	require.LessOrEqual(t, syncs.Load(), before+3)

	// one that waits when the log is closed is written
	done := make(chan error, 1)
	go func() {
		_, err := l.Append(Patient(t.Context()), []Entry{testEntry(5)})
		done <- err
	}()
	require.Eventually(t, func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.next == 6
	}, 10*time.Second, 50*time.Microsecond)
	closeLog(t, l)
	require.NoError(t, <-done)
	require.Len(t, readAll(t, e.dir), 6)
}

// A follower that begins with the entry it knows, to see that it is still there, reads what is new and not the whole file.
func TestFollowingReadsWhatIsNew(t *testing.T) {
	e := newEnv(t)
	l := e.open(t)
	appendN(t, l, 0, 1000)
	r, err := OpenReader(e.dir)
	require.NoError(t, err)
	defer r.Close()
	got := func(from uint64) (n int) {
		require.NoError(t, r.Entries(t.Context(), l.Origin(), from, func(seq uint64, _ []byte) error {
			require.Equal(t, from+uint64(n), seq)
			n++
			return nil
		}))
		return n
	}
	require.Equal(t, 1000, got(0))
	follow := r.streams[l.Origin()].follow
	counted := &countingReader{src: follow.r.src}
	follow.r.src = counted
	for n := 1000; n < 1050; n++ {
		appendN(t, l, n, 1)
		require.Equal(t, 2, got(uint64(n-1)))
	}
	require.Same(t, follow, r.streams[l.Origin()].follow)
	require.Less(t, counted.n, int64(50*4<<10))
	require.Equal(t, 1050, got(0), "from the start again")
	closeLog(t, l)
}

type countingReader struct {
	src io.ReaderAt
	n   int64
}

func (c *countingReader) ReadAt(p []byte, off int64) (int, error) {
	n, err := c.src.ReadAt(p, off)
	c.n += int64(n)
	return n, err
}
