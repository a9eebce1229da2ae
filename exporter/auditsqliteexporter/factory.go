package auditsqliteexporter

import (
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/exporter"

	"github.com/claudeaudit/claudeaudit/exporter/auditsqliteexporter/internal/metadata"
	"github.com/claudeaudit/claudeaudit/internal/index"
	"github.com/claudeaudit/claudeaudit/internal/indexer"
)

// NewFactory returns the factory of the audit_sqlite exporter.
func NewFactory() exporter.Factory {
	p := indexer.NewPipelines(func(set exporter.Settings, cfg component.Config) (*sqliteIndexer, error) {
		return newIndexer(set, cfg.(*Config))
	})
	return exporter.NewFactory(
		metadata.Type,
		createDefaultConfig,
		exporter.WithTraces(p.CreateTraces, metadata.TracesStability),
		exporter.WithLogs(p.CreateLogs, metadata.LogsStability),
	)
}

func createDefaultConfig() component.Config {
	return &Config{
		Path: defaultPath, Ledger: defaultLedger,
		PollInterval: time.Second, BatchSize: index.DefaultBatchEntries,
	}
}
