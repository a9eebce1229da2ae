package ledger

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/claudeaudit/claudeaudit/internal/bucket"
)

// copyDir copies a ledger's folder and witness to a new place.
func (e *env) copy(t testing.TB) *env {
	t.Helper()
	from, to := filepath.Dir(e.dir), t.TempDir()
	require.NoError(t, os.CopyFS(to, os.DirFS(from)))
	return &env{dir: filepath.Join(to, filepath.Base(e.dir)), key: e.key, witness: filepath.Join(to, "witness", "checkpoints")}
}

func (e *env) setDurable(t testing.TB, n uint64) {
	t.Helper()
	require.NoError(t, os.WriteFile(filepath.Join(e.dir, "wal", walDurable), encodeHead(originOf(t, e), n), 0o600))
}

// stride is how far apart the tries of an exhaustive test are: full is for a
// run with LEDGER_TEST_EVERY set, which takes minutes.
func stride(t testing.TB, full, normal int64) int64 {
	t.Helper()
	if os.Getenv("LEDGER_TEST_EVERY") != "" {
		return full
	}
	return normal
}

// crashEnv is a ledger with a sealed segment of 3 entries and a write-ahead
// file of two batches, 2 and 3 entries with content.
func crashEnv(t testing.TB) (e *env, wal string, lastBatch int64) {
	t.Helper()
	e = newEnv(t)
	l := e.open(t)
	appendN(t, l, 0, 3)
	closeLog(t, l)
	l = e.open(t)
	_, err := l.Append(t.Context(), []Entry{testEntry(3, []byte("c3")), testEntry(4)})
	require.NoError(t, err)
	lastBatch = l.part.size
	_, err = l.Append(t.Context(), []Entry{testEntry(5), testEntry(6, []byte("c6")), testEntry(7)})
	require.NoError(t, err)
	crash(t, l)
	return e, files(t, e.dir, "*.wal")[0], lastBatch
}

func TestCrashAtEveryByteOfTheTail(t *testing.T) {
	e, wal, lastBatch := crashEnv(t)
	whole, err := os.ReadFile(wal)
	require.NoError(t, err)
	all := readAll(t, e.dir)
	require.Len(t, all, 8)
	e.setDurable(t, 5) // the last batch was not acknowledged
	step := stride(t, 1, 29)
	for n := int64(len(whole)); n >= lastBatch; n-- {
		// Without LEDGER_TEST_EVERY only every 29th, and all around the ends.
		if n%step != 0 && n > lastBatch+3 && n < int64(len(whole))-3 && n != lastBatch+frameHead+batchLen {
			continue
		}
		c := e.copy(t)
		require.NoError(t, os.Truncate(filepath.Join(c.dir, "wal", filepath.Base(wal)), n))
		before := c.verify(t)
		requireIntact(t, before)
		torn := n != int64(len(whole)) && n != lastBatch
		require.Equal(t, torn, before.Completeness == Incomplete, "cut at %d", n)

		l := c.open(t)
		got := l.Durable()
		require.GreaterOrEqual(t, got, uint64(5))
		require.Equal(t, all[:got], readAll(t, c.dir), "what is kept is what was written")
		if !torn {
			require.Zero(t, l.Stats().TornBytes)
		}
		// A client that had no answer sends again.
		_, err := l.Append(t.Context(), []Entry{testEntry(5), testEntry(6, []byte("c6")), testEntry(7)})
		require.NoError(t, err)
		closeLog(t, l)
		require.Len(t, readAll(t, c.dir), 8)
		r := c.verify(t)
		requireIntact(t, r)
		require.Equal(t, Complete, r.Completeness)
	}
}

func TestAcknowledgedEntriesAreNeverCut(t *testing.T) {
	e, wal, _ := crashEnv(t)
	whole, err := os.ReadFile(wal)
	require.NoError(t, err)
	for n := len(whole) - 1; n >= 0; n -= int(stride(t, 1, 41)) {
		require.NoError(t, os.WriteFile(wal, whole[:n], 0o600))
		_, err := Open(t.Context(), e.options(t))
		require.ErrorIs(t, err, ErrDamaged, "cut at %d", n)
	}
	for n := 0; n < len(whole); n += int(stride(t, 1, 41)) {
		b := bytes.Clone(whole)
		b[n] ^= 1
		require.NoError(t, os.WriteFile(wal, b, 0o600))
		_, err := Open(t.Context(), e.options(t))
		require.ErrorIs(t, err, ErrDamaged, "bit of byte %d", n)
	}
	require.NoError(t, os.WriteFile(wal, whole, 0o600))
	l := e.open(t)
	require.Equal(t, uint64(8), l.Durable())
	closeLog(t, l)
}

// Without the count, what follows tells damage from a torn tail.
func TestDamageBeforeADurableBatch(t *testing.T) {
	e, wal, lastBatch := crashEnv(t)
	whole, err := os.ReadFile(wal)
	require.NoError(t, err)
	require.NoError(t, os.Remove(filepath.Join(e.dir, "wal", walDurable)))
	b := bytes.Clone(whole)
	b[lastBatch-10] ^= 1
	require.NoError(t, os.WriteFile(wal, b, 0o600))
	_, err = Open(t.Context(), e.options(t))
	require.ErrorIs(t, err, ErrDamaged)
	require.ErrorContains(t, err, "synced entries follow")

	b = bytes.Clone(whole)
	b[len(b)-10] ^= 1
	require.NoError(t, os.WriteFile(wal, b, 0o600))
	l := e.open(t)
	require.Equal(t, uint64(7), l.Durable())
	require.Positive(t, l.Stats().TornBytes)
	require.Len(t, files(t, e.dir, walCut+"*"), 1, "what was cut is kept")
	closeLog(t, l)
	requireIntact(t, e.verify(t))
}

// chaos fails writes and syncs at random, as a failing disk does.
type chaos struct {
	mu  sync.Mutex
	rng *rand.Rand
	off atomic.Bool
}

func (c *chaos) hooks(o *Options) {
	o.hooks.write = func(f *os.File, b []byte, off int64) (int, error) {
		if !c.hit(8) {
			return f.WriteAt(b, off)
		}
		n, err := f.WriteAt(b[:c.n(len(b))], off)
		return n, errors.Join(err, []error{syscall.ENOSPC, syscall.EIO, nil}[c.n(3)])
	}
	o.hooks.sync = func(f *os.File) error {
		if c.hit(8) {
			return syscall.EIO
		}
		return syncData(f)
	}
}

func (c *chaos) hit(n int) bool { return !c.off.Load() && c.n(n) == 0 }

func (c *chaos) n(n int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.rng.IntN(n)
}

func TestFailingDiskLosesNothing(t *testing.T) {
	e := newEnv(t)
	c := &chaos{rng: rand.New(rand.NewPCG(3, 4))}
	c.off.Store(true)
	l := e.open(t, c.hooks, func(o *Options) { o.SegmentEntries = 20 })
	c.off.Store(false)
	const writers, each = 8, 60
	var wg sync.WaitGroup
	var refused atomic.Int64
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				for {
					_, err := l.Append(context.Background(), []Entry{testEntry(w*each + i)})
					if err == nil {
						break
					}
					refused.Add(1)
					if !errors.Is(err, ErrFull) && !errors.Is(err, ErrUnavailable) {
						t.Error(err)
						return
					}
				}
			}
		})
	}
	wg.Wait()
	s := l.Stats()
	require.Positive(t, s.WriteErrors)
	require.Positive(t, s.SyncErrors)
	require.Positive(t, refused.Load())
	require.Equal(t, uint64(writers*each), s.Durable)
	c.off.Store(true)
	closeLog(t, l)
	seen := map[string]bool{}
	for _, line := range readAll(t, e.dir) {
		seen[string(member([]byte(line), "event_id"))] = true
	}
	require.Len(t, seen, writers*each)
	require.Len(t, readAll(t, e.dir), writers*each)
	requireIntact(t, e.verify(t))
}

func TestAFailedCallLeavesNothing(t *testing.T) {
	e := newEnv(t)
	var fail atomic.Pointer[error]
	l := e.open(t, func(o *Options) {
		o.hooks.write = func(f *os.File, b []byte, off int64) (int, error) {
			if err := fail.Load(); err != nil {
				n, _ := f.WriteAt(b[:len(b)/2], off)
				return n, *err
			}
			return f.WriteAt(b, off)
		}
	})
	appendN(t, l, 0, 2)
	var full error = syscall.ENOSPC
	fail.Store(&full)
	_, err := l.Append(t.Context(), []Entry{testEntry(2)})
	require.ErrorIs(t, err, ErrFull)
	require.Contains(t, l.Stats().LastError, "no space left")
	require.Len(t, readAll(t, e.dir), 2)
	requireIntact(t, e.verify(t))
	fail.Store(nil)
	appendN(t, l, 2, 1)
	require.Empty(t, l.Stats().LastError)
	closeLog(t, l)
	require.Len(t, readAll(t, e.dir), 3)
}

func TestFreeSpaceFloorAndSpoolBound(t *testing.T) {
	e := newEnv(t)
	var free atomic.Int64
	free.Store(1 << 40)
	l := e.open(t, func(o *Options) {
		o.hooks.free = func(string) (int64, int64, error) { return free.Load(), 1 << 40, nil }
	})
	appendN(t, l, 0, 1)
	free.Store(64 << 20)
	_, err := l.Append(t.Context(), []Entry{testEntry(1)})
	require.ErrorIs(t, err, ErrFull)
	require.ErrorContains(t, err, "free on the disk")
	free.Store(1 << 40)
	appendN(t, l, 1, 1)
	closeLog(t, l)

	store := &flakyStore{Store: bucket.NewLocal(filepath.Join(e.dir, "store"))}
	l = e.open(t, func(o *Options) { o.Store = store; o.MaxSpoolBytes = 20_000; o.SegmentEntries = 2 })
	store.fail.Store(true)
	n := 2
	for ; ; n++ {
		if _, err = l.Append(t.Context(), []Entry{testEntry(n)}); err != nil {
			break
		}
		require.Less(t, n, 100)
	}
	require.ErrorIs(t, err, ErrFull)
	require.ErrorContains(t, err, "wait for the store")
	require.Positive(t, l.Stats().Backlog)
	require.Eventually(t, func() bool { return strings.Contains(l.Stats().LastError, "503") }, 5*time.Second, time.Millisecond)
	store.fail.Store(false)
	require.Eventually(t, func() bool {
		_, err = l.Append(t.Context(), []Entry{testEntry(n)})
		return err == nil
	}, 5*time.Second, time.Millisecond)
	closeLog(t, l)
	require.Len(t, readAll(t, e.dir), n+1)
	requireIntact(t, e.verify(t))
}

// flakyStore fails on demand.
type flakyStore struct {
	bucket.Store
	fail  atomic.Bool
	chaos func() string
}

var err503 = errors.New("503 service unavailable")

func (s *flakyStore) Put(ctx context.Context, key string, body []byte, o bucket.PutOptions) error {
	if s.fail.Load() {
		return err503
	}
	if s.chaos != nil {
		switch s.chaos() {
		case "503":
			return err503
		case "hang":
			<-ctx.Done()
			return ctx.Err()
		case "loss": // says yes and keeps nothing
			return nil
		case "answer lost":
			if err := s.Store.Put(ctx, key, body, o); err != nil {
				return err
			}
			return err503
		}
	}
	return s.Store.Put(ctx, key, body, o)
}

func (s *flakyStore) Get(ctx context.Context, key string, limit int64) ([]byte, error) {
	b, err := s.Store.Get(ctx, key, limit)
	if err == nil && s.chaos != nil && s.chaos() == "other bytes" {
		b[len(b)/2] ^= 1
	}
	return b, err
}

func TestFailingStoreLosesNothing(t *testing.T) {
	e := newEnv(t)
	rng := rand.New(rand.NewPCG(5, 6))
	var mu sync.Mutex
	faults := []string{"503", "hang", "loss", "answer lost", "other bytes", "", "", "", ""}
	hits := map[string]int{}
	store := &flakyStore{Store: bucket.NewLocal(filepath.Join(e.dir, "store"))}
	l := e.open(t, func(o *Options) {
		o.Store, o.SegmentEntries, o.StoreTimeout = store, 5, 5*time.Millisecond
	})
	store.chaos = func() string {
		mu.Lock()
		defer mu.Unlock()
		f := faults[rng.IntN(len(faults))]
		hits[f]++
		return f
	}
	for i := range 60 {
		_, err := l.Append(t.Context(), []Entry{testEntry(i, fmt.Appendf(nil, "content %d", i))})
		require.NoError(t, err, "the store's faults are not the callers'")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	require.NoError(t, l.Close(ctx))
	require.Len(t, hits, 6)
	require.Positive(t, l.Stats().StoreErrors)
	require.Len(t, readAll(t, e.dir), 60)
	r := e.verify(t)
	requireIntact(t, r)
	require.Equal(t, Complete, r.Completeness)
}

func TestCloseGivesUpOnTheStoreNotOnEntries(t *testing.T) {
	e := newEnv(t)
	store := &flakyStore{Store: bucket.NewLocal(filepath.Join(e.dir, "store"))}
	l := e.open(t, func(o *Options) { o.Store = store })
	appendN(t, l, 0, 3)
	store.fail.Store(true)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	err := l.Close(ctx)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, "are sealed after the next start")
	require.Len(t, readAll(t, e.dir), 3)
	requireIntact(t, e.verify(t))
	l = e.open(t)
	closeLog(t, l)
	r := e.verify(t)
	requireIntact(t, r)
	require.Equal(t, Complete, r.Completeness)
}

// failingWitness refuses until it is told to work.
type failingWitness struct {
	Witness
	fail atomic.Bool
}

func (w *failingWitness) Add(ctx context.Context, msg []byte, prove Prover) ([]byte, error) {
	if w.fail.Load() {
		return nil, errors.New("witness is away")
	}
	return w.Witness.Add(ctx, msg, prove)
}

func TestWriteAheadFilesWaitForTheWitness(t *testing.T) {
	e := newEnv(t)
	var w *failingWitness
	wrap := func(o *Options) {
		w = &failingWitness{Witness: o.Witnesses[0]}
		w.fail.Store(true)
		o.Witnesses[0] = w
		o.SegmentEntries = 2
	}
	l := e.open(t, wrap)
	appendN(t, l, 0, 2)
	require.Eventually(t, func() bool { return l.Stats().WitnessErrors > 0 }, 5*time.Second, time.Millisecond)
	appendN(t, l, 2, 3)
	s := l.Stats()
	require.Zero(t, s.Checkpointed)
	require.Positive(t, s.Backlog)
	requireIntact(t, e.verify(t))
	crash(t, l)
	requireIntact(t, e.verify(t))
	// After the crash the checkpoint that was stored but not witnessed is given again.
	l = e.open(t)
	closeLog(t, l)
	r := e.verify(t)
	requireIntact(t, r)
	require.Equal(t, Complete, r.Completeness)
}

func TestANewWitnessGetsAllCheckpoints(t *testing.T) {
	e := newEnv(t)
	l := e.open(t, func(o *Options) { o.SegmentEntries = 2 })
	for i := range 6 {
		appendN(t, l, i, 1)
		if i%2 == 1 {
			require.Eventually(t, func() bool { return l.Stats().Checkpointed == uint64(i+1) }, 5*time.Second, time.Millisecond)
		}
	}
	closeLog(t, l)
	e.witness = filepath.Join(t.TempDir(), "second")
	closeLog(t, e.open(t))
	requireIntact(t, e.verify(t))
	b, err := os.ReadFile(e.witness)
	require.NoError(t, err)
	require.Equal(t, 3, bytes.Count(b, []byte("\n— test ")))
}

func TestDeletedWriteAheadFileIsWrittenAnew(t *testing.T) {
	e := newEnv(t)
	l := e.open(t)
	appendN(t, l, 0, 3)
	wal := files(t, e.dir, "*.wal")[0]
	require.NoError(t, os.Remove(wal))
	appendN(t, l, 3, 2)
	require.FileExists(t, wal)
	require.Equal(t, uint64(1), l.Stats().Rescued)
	require.Len(t, readAll(t, e.dir), 5)
	appendN(t, l, 5, 1)
	crash(t, l)
	require.Len(t, readAll(t, e.dir), 6)
	l = e.open(t)
	closeLog(t, l)
	requireIntact(t, e.verify(t))
}

// verifyKeys verifies with the keys of both epochs.
func verifyKeys(t testing.TB, e *env, keys ...testKey) *Report {
	t.Helper()
	return e.verify(t, func(o *VerifyOptions) {
		o.PublicKeys = nil
		for _, k := range keys {
			o.PublicKeys = append(o.PublicKeys, k.vkey)
		}
	})
}

func TestAnotherKeyBeginsAnEpoch(t *testing.T) {
	for _, how := range []string{"after a close", "after a crash"} {
		t.Run(how, func(t *testing.T) {
			e := newEnv(t)
			l := e.open(t)
			appendN(t, l, 0, 3)
			first := l.Origin()
			if how == "after a close" {
				closeLog(t, l)
			} else {
				crash(t, l)
			}
			old := e.key
			e.key = newKey(t, "test2")
			l = e.open(t)
			require.True(t, strings.HasSuffix(first, "/1"))
			require.Equal(t, strings.TrimSuffix(first, "1")+"2", l.Origin())
			res, err := l.Append(t.Context(), []Entry{testEntry(1), testEntry(3)})
			require.NoError(t, err)
			require.Equal(t, AppendResult{First: 0, Count: 1, Duplicates: 1}, res, "the window goes on")
			closeLog(t, l)
			r := verifyKeys(t, e, old, e.key)
			requireIntact(t, r)
			require.Equal(t, Complete, r.Completeness, "the claim covers what the old key did not sign: %v", r.Notes)
			require.Equal(t, uint64(4), r.Entries)
			require.Equal(t, KindKey, verifyKeys(t, e, e.key).Problems[0].Kind)

			// The tail of the old stream is held by the claim of the new one.
			seg := files(t, filepath.Join(e.dir, "store", "v1", first), "*.zst")[0]
			require.NoError(t, os.Remove(seg))
			require.Equal(t, Bad, verifyKeys(t, e, old, e.key).Integrity)
		})
	}
}

func TestLostStateBeginsAnEpoch(t *testing.T) {
	e := newEnv(t)
	l := e.open(t, func(o *Options) { o.Origin = "example.com/audit/a" })
	appendN(t, l, 0, 3)
	closeLog(t, l)
	require.NoError(t, os.RemoveAll(filepath.Join(e.dir, "wal")))
	l = e.open(t) // the name is found in the store
	require.Equal(t, "example.com/audit/a/2", l.Origin())
	appendN(t, l, 3, 2)
	closeLog(t, l)
	r := e.verify(t)
	requireIntact(t, r)
	require.Equal(t, uint64(5), r.Entries)
}

func TestARestoredFolderBeginsAnEpoch(t *testing.T) {
	e := newEnv(t)
	l := e.open(t)
	appendN(t, l, 0, 3)
	closeLog(t, l)
	backup := e.copy(t)
	l = e.open(t)
	appendN(t, l, 3, 3)
	closeLog(t, l)
	// The write-ahead folder of the backup with the store of today.
	require.NoError(t, os.RemoveAll(filepath.Join(e.dir, "wal")))
	require.NoError(t, os.CopyFS(filepath.Join(e.dir, "wal"), os.DirFS(filepath.Join(backup.dir, "wal"))))
	l = e.open(t)
	require.True(t, strings.HasSuffix(l.Origin(), "/2"))
	appendN(t, l, 6, 1)
	closeLog(t, l)
	requireIntact(t, e.verify(t))
	// The whole folder of the backup: the witness remembers.
	e.dir = backup.dir
	l = e.open(t)
	require.True(t, strings.HasSuffix(l.Origin(), "/2"))
	closeLog(t, l)
	r := e.verify(t)
	require.Equal(t, Bad, r.Integrity, "the entries of the day are lost")
}

func TestTwoWritersOneStore(t *testing.T) {
	store := bucket.NewLocal(t.TempDir())
	a, b := newEnv(t), newEnv(t)
	b.key = a.key
	with := func(o *Options) { o.Store = store; o.Origin = "example.com/x" }
	la, lb := a.open(t, with), b.open(t, with)
	require.NotEqual(t, la.Origin(), lb.Origin())
	appendN(t, la, 0, 2)
	appendN(t, lb, 0, 2)
	closeLog(t, la)
	closeLog(t, lb)
	r, err := Verify(t.Context(), VerifyOptions{Store: store, PublicKeys: []string{a.key.vkey}, WitnessFiles: []string{}})
	require.NoError(t, err)
	requireIntact(t, r)
	require.Len(t, r.Streams, 2)
}

// The reader sees each entry once and in order while segments replace
// write-ahead files under it.
func TestReadWhileWriting(t *testing.T) {
	e := newEnv(t)
	l := e.open(t, func(o *Options) { o.SegmentEntries = 3 })
	const n = 400
	go func() {
		for i := range n {
			if _, err := l.Append(context.Background(), []Entry{testEntry(i)}); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	r, err := OpenReader(e.dir)
	require.NoError(t, err)
	next := uint64(0)
	for next < n {
		notify := l.Notify()
		at := next
		require.NoError(t, r.Entries(t.Context(), l.Origin(), next, func(seq uint64, line []byte) error {
			require.Equal(t, next, seq)
			require.Contains(t, string(line), fmt.Sprintf(`"filler":"entry %d"`, seq))
			next++
			return nil
		}))
		if next == at {
			<-notify
		}
	}
	size, err := r.Size(t.Context(), l.Origin())
	require.NoError(t, err)
	require.Equal(t, uint64(n), size)
	var tail []uint64
	require.NoError(t, r.Tail(t.Context(), l.Origin(), 5, func(seq uint64, _ []byte) error { tail = append(tail, seq); return nil }))
	require.Equal(t, []uint64{n - 5, n - 4, n - 3, n - 2, n - 1}, tail)
	require.NoError(t, r.Close())
	closeLog(t, l)
}

// TestKilledWriter kills a writing process and looks whether all that it had
// acknowledged is there.
func TestKilledWriter(t *testing.T) {
	if dir := os.Getenv("LEDGER_TEST_WRITE"); dir != "" {
		childWriter(t, dir)
		return
	}
	rounds := 12
	if testing.Short() {
		rounds = 3
	}
	e := newEnv(t)
	keyFile := filepath.Join(t.TempDir(), "vkey")
	acked := map[string]bool{}
	rng := rand.New(rand.NewPCG(7, 8))
	for round := range rounds {
		cmd := exec.Command(os.Args[0], "-test.run=^TestKilledWriter$", "-test.v")
		cmd.Env = append(os.Environ(), "LEDGER_TEST_WRITE="+e.dir, "LEDGER_TEST_WITNESS="+e.witness, "LEDGER_TEST_KEY="+keyFile, "LEDGER_TEST_FROM="+strconv.Itoa(1000*round))
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		kill := func() {
			time.AfterFunc(time.Duration(20+rng.IntN(120))*time.Millisecond, func() { _ = cmd.Process.Kill() })
		}
		first := round == 0 // is killed only after it wrote something, however slow the machine is
		if !first {
			kill()
		}
		sc := bufio.NewScanner(out)
		for sc.Scan() {
			if id, ok := strings.CutPrefix(sc.Text(), "acked "); ok {
				acked[id] = true
				if first {
					first = false
					kill()
				}
			}
		}
		_ = cmd.Wait() // killed
	}
	require.NotEmpty(t, acked)
	vkey, err := os.ReadFile(keyFile)
	require.NoError(t, err)
	check := func() {
		seen := map[string]int{}
		for _, line := range readAll(t, e.dir) {
			seen[string(member([]byte(line), "filler"))]++
		}
		for id := range acked {
			require.Equal(t, 1, seen[id], id)
		}
		requireIntact(t, e.verify(t, func(o *VerifyOptions) { o.PublicKeys = []string{strings.Split(string(vkey), "\n")[1]} }))
	}
	check()
	t.Logf("%d acknowledged entries over %d kills", len(acked), rounds)
}
