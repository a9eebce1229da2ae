// Package indexer runs an index.Follower for a component of the collector: it
// opens ledger and store, opens them again after what can pass by itself, tells
// the host whether all is in order, and counts.
package indexer

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.opentelemetry.io/otel/metric"
	"go.uber.org/zap"

	"github.com/claudeaudit/claudeaudit/internal/index"
	"github.com/claudeaudit/claudeaudit/internal/ledger"
)

const (
	// minRetry and maxRetry bound the wait between two tries to open the store
	// and the ledger.
	minRetry = 100 * time.Millisecond
	maxRetry = 5 * time.Second
	// startGrace is how long after the start a ledger may be missing: it is
	// audit_ledger that makes it, maybe after this.
	startGrace = 10 * time.Second
)

// Settings of an Indexer.
type Settings struct {
	// Ledger is the folder of the ledger to follow.
	Ledger string
	// Admin is the data folder of the log of holds and erasures; "" is beside the ledger.
	Admin string
	// Open opens the store.
	Open func(ctx context.Context) (index.Store, error)
	// Reopen says whether the store has to be opened anew after an error. May be
	// nil.
	Reopen func(error) bool

	PollInterval time.Duration
	BatchEntries int
	// Retention is how long records are kept; 0 keeps them.
	Retention time.Duration

	Log     *zap.Logger
	Metrics Metrics
}

// Metrics are those that every index has.
type Metrics struct {
	Entries, Unreadable, Pruned, Rebuilds metric.Int64Counter
	Lag                                   metric.Int64Gauge
}

// Indexer keeps a store in step with a ledger, in a goroutine of its own.
type Indexer struct {
	Settings
	notify chan struct{}

	host    component.Host
	healthy bool // what was reported last; the follower's goroutine alone
	told    bool

	cancel context.CancelFunc
	done   sync.WaitGroup
}

// New returns an indexer that is not started.
func New(s Settings) *Indexer { return &Indexer{Settings: s, notify: make(chan struct{}, 1)} }

// Start starts the goroutine. What can pass by itself, a ledger that isn't
// there yet, a full disk or a server that is away, is reported as status and
// tried again: the index may fall behind, but never stops the pipeline.
func (x *Indexer) Start(host component.Host) {
	x.host = host
	ctx, cancel := context.WithCancel(context.Background())
	x.cancel = cancel
	x.done.Go(func() { x.run(ctx) })
}

// Shutdown stops the goroutine. What is not taken then is taken at the next
// start.
func (x *Indexer) Shutdown() {
	if x.cancel != nil {
		x.cancel()
		x.done.Wait()
	}
}

// Wake tells the goroutine that there is something new. It never waits.
func (x *Indexer) Wake() {
	select {
	case x.notify <- struct{}{}:
	default: // it has been told and has not looked yet
	}
}

func (x *Indexer) run(ctx context.Context) {
	began := time.Now()
	retry := minRetry
	for ctx.Err() == nil {
		opened, err := x.follow(ctx)
		if ctx.Err() != nil {
			return
		}
		if !errors.Is(err, ledger.ErrNoLedger) || time.Since(began) > startGrace {
			x.report(err)
		}
		if opened {
			retry = minRetry
		}
		t := time.NewTimer(retry)
		select {
		case <-ctx.Done():
		case <-t.C:
		}
		t.Stop()
		retry = min(2*retry, maxRetry)
	}
}

// follow opens the ledger and the store, and follows until ctx is done or the
// store has to be opened anew. opened says that both could be opened.
func (x *Indexer) follow(ctx context.Context) (opened bool, err error) {
	reader, err := ledger.OpenReader(x.Ledger)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, reader.Close()) }()
	store, err := x.Open(ctx)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	erasures := OpenErasures(cmp.Or(x.Admin, AdminFolder(x.Ledger)))
	defer func() { err = errors.Join(err, erasures.Close()) }()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	f := &index.Follower{
		Ledger: reader, Store: store, Erasures: erasures, Notify: x.notify, Poll: x.PollInterval, BatchEntries: x.BatchEntries,
		Retention: x.Retention,
		Observe:   func(e index.Event) { x.observe(ctx, e) },
		State: func(err error) {
			x.measureLag(ctx, reader, store)
			x.report(err)
			if err != nil && x.Reopen != nil && x.Reopen(err) {
				stop(err)
			}
		},
	}
	_ = f.Run(ctx) // ctx's error, whose cause says more
	return true, context.Cause(ctx)
}

func (x *Indexer) observe(ctx context.Context, e index.Event) {
	switch {
	case e.Applied != nil:
		x.Metrics.Entries.Add(ctx, int64(e.Applied.Entries))
		if n := e.Applied.Unreadable; n > 0 {
			x.Metrics.Unreadable.Add(ctx, int64(n))
			x.Log.Warn("Entries of the ledger can't be read as records by this version.",
				zap.String("stream", e.Stream), zap.Int("entries", n), zap.Uint64("before", e.Cursor.Next))
		}
	case e.Diverged != nil:
		x.Metrics.Rebuilds.Add(ctx, 1)
		x.Log.Warn("Rebuilding a stream of the index from the ledger.", zap.String("stream", e.Stream), zap.Error(e.Diverged))
	case e.Pruned > 0:
		x.Metrics.Pruned.Add(ctx, int64(e.Pruned))
	}
}

func (x *Indexer) measureLag(ctx context.Context, l index.Ledger, s index.Searcher) {
	lag, err := index.Lag(ctx, l, s)
	if err != nil {
		return // the pass just failed for the same reason, and is reported
	}
	x.Metrics.Lag.Record(ctx, int64(lag))
}

// report tells the host of a change between in order and not.
func (x *Indexer) report(err error) {
	healthy := err == nil
	if x.told && healthy == x.healthy {
		return
	}
	x.told, x.healthy = true, healthy
	if healthy {
		componentstatus.ReportStatus(x.host, componentstatus.NewEvent(componentstatus.StatusOK))
		return
	}
	x.Log.Error("The index falls behind the ledger. The records are in the ledger; trying again.", zap.Error(err))
	componentstatus.ReportStatus(x.host, componentstatus.NewRecoverableErrorEvent(err))
}
