package auditledgerexporter

import (
	"context"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/exporter"
	"go.opentelemetry.io/collector/exporter/exporterhelper"

	"github.com/claudeaudit/claudeaudit/exporter/auditledgerexporter/internal/metadata"
	"github.com/claudeaudit/claudeaudit/internal/sharedcomponent"
)

var exporters = sharedcomponent.New[*ledgerExporter]()

// NewFactory makes the factory of the audit_ledger exporter.
func NewFactory() exporter.Factory {
	return exporter.NewFactory(metadata.Type, createDefaultConfig,
		exporter.WithTraces(createTraces, metadata.TracesStability),
		exporter.WithLogs(createLogs, metadata.LogsStability))
}

// shared makes one exporter serve all signals and pipelines: a ledger has one writer.
func shared(set exporter.Settings, cfg component.Config) (*sharedcomponent.Component[*ledgerExporter], error) {
	return exporters.LoadOrStore(set.ID, func() (*ledgerExporter, error) {
		return newExporter(cfg.(*Config), set.TelemetrySettings)
	})
}

// There is neither a queue nor a retry: the client that is told so has the
// data, and only what is on disk is acknowledged.
func options(s *sharedcomponent.Component[*ledgerExporter], cfg component.Config) []exporterhelper.Option {
	return []exporterhelper.Option{
		exporterhelper.WithStart(s.Start), exporterhelper.WithShutdown(s.Shutdown),
		exporterhelper.WithTimeout(exporterhelper.TimeoutConfig{Timeout: cfg.(*Config).Timeout}),
	}
}

func createTraces(ctx context.Context, set exporter.Settings, cfg component.Config) (exporter.Traces, error) {
	s, err := shared(set, cfg)
	if err != nil {
		return nil, err
	}
	return exporterhelper.NewTraces(ctx, set, cfg, s.Unwrap().consumeTraces, options(s, cfg)...)
}

func createLogs(ctx context.Context, set exporter.Settings, cfg component.Config) (exporter.Logs, error) {
	s, err := shared(set, cfg)
	if err != nil {
		return nil, err
	}
	return exporterhelper.NewLogs(ctx, set, cfg, s.Unwrap().consumeLogs, options(s, cfg)...)
}
