package auditsqliteexporter

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.opentelemetry.io/collector/exporter"
	"go.uber.org/zap"

	"github.com/claudeaudit/claudeaudit/exporter/auditsqliteexporter/internal/metadata"
	"github.com/claudeaudit/claudeaudit/internal/index"
	"github.com/claudeaudit/claudeaudit/internal/index/sqlite"
	"github.com/claudeaudit/claudeaudit/internal/ledger"
)

const (
	// minRetry and maxRetry bound the wait between two tries to open the
	// database and the ledger.
	minRetry = 100 * time.Millisecond
	maxRetry = 5 * time.Second
	// startGrace is how long after the start a ledger may be missing: it is
	// audit_ledger that makes it, maybe after this.
	startGrace = 10 * time.Second
)

// indexer keeps a database in step with a ledger, in a goroutine of its own.
type indexer struct {
	cfg       *Config
	file      string
	log       *zap.Logger
	telemetry *metadata.TelemetryBuilder
	notify    chan struct{}

	host    component.Host
	healthy bool // what was reported last; the follower's goroutine alone
	told    bool

	cancel context.CancelFunc
	done   sync.WaitGroup
}

func newIndexer(set exporter.Settings, cfg *Config) (*indexer, error) {
	tb, err := metadata.NewTelemetryBuilder(set.TelemetrySettings)
	if err != nil {
		return nil, fmt.Errorf("making metrics: %w", err)
	}
	return &indexer{cfg: cfg, log: set.Logger, telemetry: tb, notify: make(chan struct{}, 1)}, nil
}

// Start makes the database's folder and starts the goroutine. What can pass by
// itself, a ledger that isn't there yet or a full disk, is reported as status
// and tried again: the index may fall behind, but never stops the pipeline.
func (x *indexer) Start(_ context.Context, host component.Host) error {
	x.host = host
	x.file = x.cfg.File()
	if err := os.MkdirAll(filepath.Dir(x.file), 0o700); err != nil {
		return fmt.Errorf("path: must be in a folder that can be written: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	x.cancel = cancel
	x.done.Go(func() { x.run(ctx) })
	return nil
}

// Shutdown stops the goroutine. The transaction it is in is finished, which is
// bounded by the batch size; the rest is taken at the next start.
func (x *indexer) Shutdown(context.Context) error {
	if x.cancel != nil {
		x.cancel()
		x.done.Wait()
	}
	x.telemetry.Shutdown()
	return nil
}

// wake tells the goroutine that there is something new. It never waits.
func (x *indexer) wake() {
	select {
	case x.notify <- struct{}{}:
	default: // it has been told and has not looked yet
	}
}

func (x *indexer) run(ctx context.Context) {
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

// follow opens the ledger and the database, and follows until ctx is done or
// the database turns out damaged. opened says that both could be opened.
func (x *indexer) follow(ctx context.Context) (opened bool, err error) {
	reader, err := ledger.OpenReader(x.cfg.Ledger)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, reader.Close()) }()
	store, rebuilt, err := sqlite.OpenOrRebuild(ctx, x.file)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	if rebuilt != nil {
		x.log.Warn("Rebuilding the index from the ledger.", zap.String("path", x.file), zap.Error(rebuilt))
		x.telemetry.AuditSqliteRebuilds.Add(ctx, 1)
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	f := &index.Follower{
		Ledger: reader, Store: store, Notify: x.notify, Poll: x.cfg.PollInterval, BatchEntries: x.cfg.BatchSize,
		Retention: time.Duration(x.cfg.RetentionDays) * 24 * time.Hour,
		Observe:   func(e index.Event) { x.observe(ctx, e) },
		State: func(err error) {
			x.measureLag(ctx, reader, store)
			x.report(err)
			if errors.Is(err, index.ErrCorrupt) {
				stop(err) // opening it again rebuilds it
			}
		},
	}
	_ = f.Run(ctx) // ctx's error, whose cause says more
	return true, context.Cause(ctx)
}

func (x *indexer) observe(ctx context.Context, e index.Event) {
	switch {
	case e.Applied != nil:
		x.telemetry.AuditSqliteEntries.Add(ctx, int64(e.Applied.Entries))
		if n := e.Applied.Unreadable; n > 0 {
			x.telemetry.AuditSqliteUnreadable.Add(ctx, int64(n))
			x.log.Warn("Entries of the ledger can't be read as records by this version.",
				zap.String("stream", e.Stream), zap.Int("entries", n), zap.Uint64("before", e.Cursor.Next))
		}
	case e.Diverged != nil:
		x.telemetry.AuditSqliteRebuilds.Add(ctx, 1)
		x.log.Warn("Rebuilding a stream of the index from the ledger.", zap.String("stream", e.Stream), zap.Error(e.Diverged))
	case e.Pruned > 0:
		x.telemetry.AuditSqlitePruned.Add(ctx, int64(e.Pruned))
	}
}

func (x *indexer) measureLag(ctx context.Context, l index.Ledger, s index.Searcher) {
	lag, err := index.Lag(ctx, l, s)
	if err != nil {
		return // the pass just failed for the same reason, and is reported
	}
	x.telemetry.AuditSqliteLag.Record(ctx, int64(lag))
}

// report tells the host of a change between in order and not.
func (x *indexer) report(err error) {
	healthy := err == nil
	if x.told && healthy == x.healthy {
		return
	}
	x.told, x.healthy = true, healthy
	if healthy {
		componentstatus.ReportStatus(x.host, componentstatus.NewEvent(componentstatus.StatusOK))
		return
	}
	x.log.Error("The index falls behind the ledger. The records are in the ledger; trying again.", zap.Error(err))
	componentstatus.ReportStatus(x.host, componentstatus.NewRecoverableErrorEvent(err))
}
