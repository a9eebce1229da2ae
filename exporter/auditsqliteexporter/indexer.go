package auditsqliteexporter

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/exporter"
	"go.uber.org/zap"

	"github.com/claudeaudit/claudeaudit/exporter/auditsqliteexporter/internal/metadata"
	"github.com/claudeaudit/claudeaudit/internal/index"
	"github.com/claudeaudit/claudeaudit/internal/index/sqlite"
	"github.com/claudeaudit/claudeaudit/internal/indexer"
)

// sqliteIndexer keeps a database in step with a ledger.
type sqliteIndexer struct {
	*indexer.Indexer
	cfg       *Config
	file      string
	log       *zap.Logger
	telemetry *metadata.TelemetryBuilder
}

func newIndexer(set exporter.Settings, cfg *Config) (*sqliteIndexer, error) {
	tb, err := metadata.NewTelemetryBuilder(set.TelemetrySettings)
	if err != nil {
		return nil, fmt.Errorf("making metrics: %w", err)
	}
	x := &sqliteIndexer{cfg: cfg, log: set.Logger, telemetry: tb}
	x.Indexer = indexer.New(indexer.Settings{
		Ledger: cfg.Ledger, Admin: cfg.Admin, Open: x.open,
		// Opening a damaged database rebuilds it.
		Reopen:       func(err error) bool { return errors.Is(err, index.ErrCorrupt) },
		PollInterval: cfg.PollInterval, BatchEntries: cfg.BatchSize,
		Retention: time.Duration(cfg.RetentionDays) * 24 * time.Hour,
		Log:       set.Logger,
		Metrics: indexer.Metrics{
			Entries: tb.AuditSqliteEntries, Unreadable: tb.AuditSqliteUnreadable, Pruned: tb.AuditSqlitePruned,
			Rebuilds: tb.AuditSqliteRebuilds, Lag: tb.AuditSqliteLag,
		},
	})
	return x, nil
}

// Start makes the database's folder and starts following.
func (x *sqliteIndexer) Start(_ context.Context, host component.Host) error {
	x.file = x.cfg.File()
	if err := os.MkdirAll(filepath.Dir(x.file), 0o700); err != nil {
		return fmt.Errorf("path: must be in a folder that can be written: %w", err)
	}
	x.Indexer.Start(host)
	return nil
}

// Shutdown stops following. The transaction that is under way is finished, which
// is bounded by the batch size.
func (x *sqliteIndexer) Shutdown(context.Context) error {
	x.Indexer.Shutdown()
	x.telemetry.Shutdown()
	return nil
}

func (x *sqliteIndexer) open(ctx context.Context) (index.Store, error) {
	store, rebuilt, err := sqlite.OpenOrRebuild(ctx, x.file)
	if err != nil {
		return nil, err
	}
	if rebuilt != nil {
		x.log.Warn("Rebuilding the index from the ledger.", zap.String("path", x.file), zap.Error(rebuilt))
		x.telemetry.AuditSqliteRebuilds.Add(ctx, 1)
	}
	return store, nil
}
