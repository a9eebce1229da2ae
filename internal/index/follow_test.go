package index_test

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/claudeaudit/claudeaudit/internal/index"
	"github.com/claudeaudit/claudeaudit/internal/index/indextest"
	"github.com/claudeaudit/claudeaudit/internal/index/sqlite"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func openStore(t *testing.T) *sqlite.Store {
	t.Helper()
	s, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "audit.db"))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func TestCatchUpRebuildsWhatDiverged(t *testing.T) {
	s, l := openStore(t), indextest.NewLedger()
	for i := range 10 {
		l.Append("a", indextest.Record(i))
		l.Append("b", indextest.Record(100+i))
	}
	var diverged []string
	f := &index.Follower{Ledger: l, Store: s, BatchEntries: 4, Observe: func(e index.Event) {
		if e.Diverged != nil {
			diverged = append(diverged, e.Stream)
		}
	}}
	require.NoError(t, f.CatchUp(t.Context()))
	require.Len(t, indextest.IDs(t, s, index.Query{}), 20)

	l.Cut("a", 5)
	for i := range 10 {
		l.Append("a", indextest.Record(50+i))
	}
	require.NoError(t, f.CatchUp(t.Context()))
	require.Equal(t, []string{"a"}, diverged)
	want := []int{0, 1, 2, 3, 4, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59}
	require.Equal(t, want, indextest.IDs(t, s, index.Query{Order: index.OldestFirst, To: indextest.Day.Add(90 * time.Second)}))

	// A ledger that is merely shorter may be one that is not all there yet.
	diverged = nil
	l.Cut("a", 7)
	require.ErrorContains(t, f.CatchUp(t.Context()), "the ledger lacks entry 14")
	require.Error(t, f.CatchUp(t.Context()))
	require.Empty(t, diverged)
	require.NoError(t, f.CatchUp(t.Context()))
	require.Equal(t, []string{"a"}, diverged)
	require.Len(t, indextest.IDs(t, s, index.Query{}), 17)
}

func TestCatchUpStopsAtABreak(t *testing.T) {
	s, l := openStore(t), indextest.NewLedger()
	for i := range 10 {
		l.Append("a", indextest.Record(i))
		l.Append("b", indextest.Record(100+i))
	}
	good := slices.Clone(l.Line("a", 5))
	bad := slices.Clone(good)
	bad[len(bad)-3] ^= 1
	l.Replace("a", 5, bad)
	diverged := 0
	f := &index.Follower{Ledger: l, Store: s, Observe: func(e index.Event) {
		if e.Diverged != nil {
			diverged++
		}
	}}
	for range 3 {
		err := f.CatchUp(t.Context())
		require.ErrorIs(t, err, index.ErrBroken)
		require.ErrorContains(t, err, "at entry 6 of a")
		require.Len(t, indextest.IDs(t, s, index.Query{}), 16, "the entries before the break and the other stream")
	}
	require.Zero(t, diverged)
	// When the ledger is mended, the bad entry is taken out again.
	l.Replace("a", 5, good)
	require.NoError(t, f.CatchUp(t.Context()))
	require.Equal(t, 1, diverged)
	require.Len(t, indextest.IDs(t, s, index.Query{}), 20)
}

func TestRun(t *testing.T) {
	s, l := openStore(t), indextest.NewLedger()
	notify := make(chan struct{}, 1)
	var mu sync.Mutex
	var states []error
	f := &index.Follower{
		Ledger: l, Store: s, Notify: notify, Poll: time.Hour,
		State: func(err error) { mu.Lock(); states = append(states, err); mu.Unlock() },
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()

	l.Append("a", indextest.Record(1))
	notify <- struct{}{}
	found := func(n int) func() bool {
		return func() bool {
			page, err := s.Search(t.Context(), index.Query{})
			return err == nil && len(page.Records) == n
		}
	}
	require.Eventually(t, found(1), 10*time.Second, time.Millisecond)

	// A failure is told, and gone through by itself.
	errDown := errors.New("down")
	l.Fail(errDown)
	notify <- struct{}{}
	require.Eventually(t, func() bool {
		mu.Lock()
		defer mu.Unlock()
		return errors.Is(states[len(states)-1], errDown)
	}, 10*time.Second, time.Millisecond)
	l.Append("a", indextest.Record(2))
	l.Fail(nil)
	require.Eventually(t, found(2), 10*time.Second, time.Millisecond)
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)
}

func TestRunPrunes(t *testing.T) {
	s, l := openStore(t), indextest.NewLedger()
	for i := range 10 {
		r := indextest.Record(i)
		r.Timestamp = time.Now().Add(-time.Duration(i) * 24 * time.Hour)
		l.Append("a", r)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	pruned := make(chan int, 10)
	go func() {
		done <- (&index.Follower{Ledger: l, Store: s, Retention: 100 * time.Hour, Observe: func(e index.Event) {
			if e.Pruned > 0 {
				pruned <- e.Pruned
			}
		}}).Run(ctx)
	}()
	require.Equal(t, 5, <-pruned)
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)
	require.Equal(t, []int{0, 1, 2, 3, 4}, indextest.IDs(t, s, index.Query{}))
}

func FuzzPrevHash(f *testing.F) {
	f.Add([]byte(`{"_log":"a","_prev":"0000000000000000000000000000000000000000000000000000000000000000","_seq":0}`))
	f.Add([]byte(`{"_log":"","_prev":"`))
	f.Fuzz(func(_ *testing.T, line []byte) {
		_, _ = index.PrevHash(line)
	})
}

func FuzzParsePosition(f *testing.F) {
	f.Add("")
	f.Add(index.Position{Time: indextest.Day, Event: indextest.EventID(7)}.String())
	f.Fuzz(func(t *testing.T, s string) {
		p, err := index.ParsePosition(s)
		if err != nil {
			require.ErrorIs(t, err, index.ErrQuery)
			return
		}
		require.Equal(t, s, p.String())
	})
}
