package ledger

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/claudeaudit/claudeaudit/internal/bucket"
	"github.com/claudeaudit/claudeaudit/internal/bucket/buckettest"
)

// benchEntry makes lines of about 1,000 bytes.
var benchFiller = strings.Repeat("The quick brown fox jumps over it. ", 21)

type benchBody struct{ id, digest [16]byte }

func (b *benchBody) AppendBody(dst []byte, revision int64) []byte {
	dst = append(dst, `"event_id":"`...)
	for i, part := range [][]byte{b.id[:4], b.id[4:6], b.id[6:8], b.id[8:10], b.id[10:]} {
		if i > 0 {
			dst = append(dst, '-')
		}
		dst = hex.AppendEncode(dst, part)
	}
	dst = append(dst, `","filler":"`...)
	dst = append(dst, benchFiller...)
	return append(dst, `","revision":1}`[:len(`","revision":1`)]...)
}

func benchEntry(n uint64) Entry {
	b := &benchBody{}
	for i := range 8 {
		b.id[i], b.digest[i] = byte(n>>(8*i)), byte(n>>(8*i))+1
	}
	return Entry{ID: b.id, Digest: b.digest, Time: time.Unix(int64(n), 0), Body: b}
}

func (e *env) benchOpen(b *testing.B) *Log {
	b.Helper()
	l, err := Open(b.Context(), Options{
		Dir: e.dir, Signer: e.key.signer, VerifierKey: e.key.vkey, MaxSpoolBytes: 64 << 30, MinFreeBytes: 1, Logger: zap.NewNop(),
	})
	require.NoError(b, err)
	return l
}

// BenchmarkAppend compares appends of single entries with plain group-committed
// writes of as many bytes, by concurrent writers that wait for the sync.
func BenchmarkAppend(b *testing.B) {
	for _, writers := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("ledger/writers=%d", writers), func(b *testing.B) {
			l := newEnv(b).benchOpen(b)
			var n atomic.Uint64
			b.ResetTimer()
			run(b, writers, func() error {
				_, err := l.Append(context.Background(), []Entry{benchEntry(n.Add(1))})
				return err
			})
			b.StopTimer()
			s := l.Stats()
			b.ReportMetric(float64(s.Entries)/b.Elapsed().Seconds(), "entries/s")
			b.ReportMetric(float64(s.Entries)/float64(s.Batches), "entries/sync")
			b.ReportMetric(float64(s.Bytes)/float64(s.Entries), "bytes/entry")
			b.ReportMetric(float64(s.SyncTime.Microseconds())/float64(s.Batches), "µs/sync")
			closeLog(b, l)
		})
		b.Run(fmt.Sprintf("plain/writers=%d", writers), func(b *testing.B) {
			g := newGroupWriter(b)
			rec := make([]byte, 1150)
			b.ResetTimer()
			run(b, writers, func() error { return g.write(rec) })
			b.StopTimer()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "entries/s")
			b.ReportMetric(float64(b.N)/float64(g.syncs), "entries/sync")
			g.close()
		})
	}
}

func run(b *testing.B, writers int, do func() error) {
	var wg sync.WaitGroup
	var left atomic.Int64
	left.Store(int64(b.N))
	for range writers {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				if err := do(); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// groupWriter is the least that a durable log does: writers copy into a shared
// buffer, one writes and syncs it.
type groupWriter struct {
	f     *os.File
	mu    sync.Mutex
	cond  *sync.Cond
	buf   []byte
	done  chan struct{}
	stop  bool
	ended chan struct{}
	syncs int
}

func newGroupWriter(b *testing.B) *groupWriter {
	f, err := os.Create(filepath.Join(b.TempDir(), "plain"))
	require.NoError(b, err)
	g := &groupWriter{f: f, done: make(chan struct{}), ended: make(chan struct{})}
	g.cond = sync.NewCond(&g.mu)
	go func() {
		defer close(g.ended)
		var spare []byte
		for {
			g.mu.Lock()
			for len(g.buf) == 0 && !g.stop {
				g.cond.Wait()
			}
			if g.stop {
				g.mu.Unlock()
				return
			}
			buf, done := g.buf, g.done
			g.buf, g.done = spare[:0], make(chan struct{})
			g.mu.Unlock()
			if _, err := f.Write(buf); err != nil {
				b.Error(err)
			}
			if err := syncData(f); err != nil {
				b.Error(err)
			}
			g.syncs++
			spare = buf
			close(done)
		}
	}()
	return g
}

func (g *groupWriter) write(rec []byte) error {
	g.mu.Lock()
	g.buf = append(g.buf, rec...)
	done := g.done
	g.cond.Signal()
	g.mu.Unlock()
	<-done
	return nil
}

func (g *groupWriter) close() {
	g.mu.Lock()
	g.stop = true
	g.cond.Signal()
	g.mu.Unlock()
	<-g.ended
	g.f.Close()
}

// BenchmarkVerify compares the verification of sealed 1-KB entries with bare
// SHA-256 over the same bytes, each on one core.
func BenchmarkVerify(b *testing.B) {
	const entries = 100_000
	e := newEnv(b)
	l := e.benchOpen(b)
	for i := 0; i < entries; i += 500 {
		batch := make([]Entry, 500)
		for j := range batch {
			batch[j] = benchEntry(uint64(i + j))
		}
		_, err := l.Append(b.Context(), batch)
		require.NoError(b, err)
	}
	closeLog(b, l)
	r, err := OpenReader(e.dir)
	require.NoError(b, err)
	var lines [][]byte
	var size int64
	require.NoError(b, r.Entries(b.Context(), l.Origin(), 0, func(_ uint64, line []byte) error {
		lines = append(lines, append([]byte(nil), line...))
		size += int64(len(line))
		return nil
	}))
	require.Len(b, lines, entries)
	b.Run("ledger", func(b *testing.B) {
		b.SetBytes(size)
		for b.Loop() {
			rep, err := Verify(b.Context(), VerifyOptions{Dir: e.dir, PublicKeys: []string{e.key.vkey}, Workers: 1})
			require.NoError(b, err)
			require.Equal(b, Intact, rep.Integrity, "%v", rep.Problems)
			require.Equal(b, uint64(entries), rep.Entries)
		}
		b.ReportMetric(float64(entries)*float64(b.N)/b.Elapsed().Seconds(), "entries/s")
	})
	b.Run("sha256", func(b *testing.B) {
		b.SetBytes(size)
		for b.Loop() {
			for _, line := range lines {
				sha256.Sum256(line)
			}
		}
		b.ReportMetric(float64(entries)*float64(b.N)/b.Elapsed().Seconds(), "entries/s")
	})
}

// BenchmarkSeal appends as 64 writers do and waits until all of it is sealed,
// locked and under a checkpoint: in a folder, and in a bucket of a real S3
// server on this machine.
func BenchmarkSeal(b *testing.B) {
	for _, where := range []string{"folder", "bucket"} {
		b.Run(where, func(b *testing.B) {
			e := newEnv(b)
			o := Options{Dir: e.dir, Signer: e.key.signer, VerifierKey: e.key.vkey, MaxSpoolBytes: 64 << 30, MinFreeBytes: 1, Logger: zap.NewNop()}
			if where == "bucket" {
				srv := buckettest.StartVersityGW(b)
				srv.NewS3Bucket("records", true)
				o.Store = &Stores{Records: buckettest.Open(b, srv.S3Config("records", "")), Copy: bucket.NewLocal(filepath.Join(e.dir, "store"))}
				o.Retention = func(_ string, newest time.Time) time.Time { return time.Now().Add(time.Hour) }
			}
			l, err := Open(b.Context(), o)
			require.NoError(b, err)
			var n atomic.Uint64
			b.ResetTimer()
			run(b, 64, func() error {
				_, err := l.Append(context.Background(), []Entry{benchEntry(n.Add(1))})
				return err
			})
			b.StopTimer()
			appended := b.Elapsed()
			behind := l.Stats().Durable - l.Stats().Sealed
			start := time.Now()
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
			defer cancel()
			require.NoError(b, l.Close(ctx))
			b.ReportMetric(float64(b.N)/appended.Seconds(), "entries/s")
			b.ReportMetric(float64(b.N)/(appended+time.Since(start)).Seconds(), "sealed-entries/s")
			b.ReportMetric(float64(behind), "behind-entries")
		})
	}
}
