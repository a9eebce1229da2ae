package auditelasticsearchexporter

import (
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/exporter"

	"github.com/claudeaudit/claudeaudit/exporter/auditelasticsearchexporter/internal/metadata"
	"github.com/claudeaudit/claudeaudit/internal/index"
	"github.com/claudeaudit/claudeaudit/internal/index/elasticsearch"
	"github.com/claudeaudit/claudeaudit/internal/index/elasticsearch/esclient"
	"github.com/claudeaudit/claudeaudit/internal/indexer"
)

// NewFactory returns the factory of the audit_elasticsearch exporter.
func NewFactory() exporter.Factory {
	p := indexer.NewPipelines(func(set exporter.Settings, cfg component.Config) (*elasticIndexer, error) {
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
	client := esclient.Default()
	client.ClientConfig.Endpoint = defaultEndpoint
	return &Config{
		Client: client, Ledger: defaultLedger,
		Index:        IndexConfig{Prefix: elasticsearch.DefaultPrefix, ManageTemplate: true},
		PollInterval: time.Second, BatchSize: index.DefaultBatchEntries, Concurrency: elasticsearch.DefaultConcurrency,
	}
}
