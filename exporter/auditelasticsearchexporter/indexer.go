package auditelasticsearchexporter

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/exporter"
	"go.uber.org/zap"

	"github.com/claudeaudit/claudeaudit/exporter/auditelasticsearchexporter/internal/metadata"
	"github.com/claudeaudit/claudeaudit/internal/index"
	"github.com/claudeaudit/claudeaudit/internal/index/elasticsearch"
	"github.com/claudeaudit/claudeaudit/internal/index/elasticsearch/esclient"
	"github.com/claudeaudit/claudeaudit/internal/indexer"
)

// elasticIndexer keeps an index in Elasticsearch in step with a ledger.
type elasticIndexer struct {
	*indexer.Indexer
	cfg       *Config
	set       component.TelemetrySettings
	telemetry *metadata.TelemetryBuilder
	client    *esclient.Client
}

func newIndexer(set exporter.Settings, cfg *Config) (*elasticIndexer, error) {
	tb, err := metadata.NewTelemetryBuilder(set.TelemetrySettings)
	if err != nil {
		return nil, fmt.Errorf("making metrics: %w", err)
	}
	x := &elasticIndexer{cfg: cfg, set: set.TelemetrySettings, telemetry: tb}
	x.Indexer = indexer.New(indexer.Settings{
		Ledger: cfg.Ledger, Admin: cfg.Admin, Open: x.open,
		// Somebody replaced an index: opening puts things in place again.
		Reopen:       func(err error) bool { return errors.Is(err, index.ErrSchema) },
		PollInterval: cfg.PollInterval, BatchEntries: cfg.BatchSize, Retention: x.retention(),
		Log: set.Logger,
		Metrics: indexer.Metrics{
			Entries: tb.AuditElasticsearchEntries, Unreadable: tb.AuditElasticsearchUnreadable, Pruned: tb.AuditElasticsearchPruned,
			Rebuilds: tb.AuditElasticsearchRebuilds, Lag: tb.AuditElasticsearchLag,
		},
	})
	return x, nil
}

func (x *elasticIndexer) retention() time.Duration {
	return time.Duration(x.cfg.RetentionDays) * 24 * time.Hour
}

// Start makes the client and starts following. The server need not be there
// yet.
func (x *elasticIndexer) Start(ctx context.Context, host component.Host) error {
	var err error
	if x.client, err = x.cfg.Client.New(ctx, host.GetExtensions(), x.set); err != nil {
		return err
	}
	x.Indexer.Start(host)
	return nil
}

// Shutdown stops following. A batch that is under way is taken again at the next
// start.
func (x *elasticIndexer) Shutdown(context.Context) error {
	x.Indexer.Shutdown()
	if x.client != nil {
		x.client.Close()
	}
	x.telemetry.Shutdown()
	return nil
}

func (x *elasticIndexer) open(ctx context.Context) (index.Store, error) {
	return elasticsearch.Open(ctx, x.client, elasticsearch.Options{
		Prefix: x.cfg.Index.Prefix, Concurrency: x.cfg.Concurrency, Replicas: x.cfg.Index.Replicas,
		Retention: x.retention(), KeepTemplate: !x.cfg.Index.ManageTemplate,
		Refused: func(items int) { x.telemetry.AuditElasticsearchRefused.Add(ctx, int64(items)) },
		Dead: func(event uuid.UUID, reason string) {
			x.telemetry.AuditElasticsearchDeadLetters.Add(ctx, 1)
			x.set.Logger.Warn("Elasticsearch can't take a document; it is in the dead-letter index.",
				zap.String("event_id", event.String()), zap.String("reason", reason))
		},
	})
}
