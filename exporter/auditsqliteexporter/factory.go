package auditsqliteexporter

import (
	"context"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/exporter"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/claudeaudit/claudeaudit/exporter/auditsqliteexporter/internal/metadata"
	"github.com/claudeaudit/claudeaudit/internal/index"
	"github.com/claudeaudit/claudeaudit/internal/sharedcomponent"
)

// NewFactory returns the factory of the audit_sqlite exporter.
func NewFactory() exporter.Factory {
	f := &factory{shared: sharedcomponent.New[*sqliteIndexer]()}
	return exporter.NewFactory(
		metadata.Type,
		createDefaultConfig,
		exporter.WithTraces(f.createTraces, metadata.TracesStability),
		exporter.WithLogs(f.createLogs, metadata.LogsStability),
	)
}

func createDefaultConfig() component.Config {
	return &Config{
		Path: defaultPath, Ledger: defaultLedger,
		PollInterval: time.Second, BatchSize: index.DefaultBatchEntries,
	}
}

// factory makes one indexer per configured exporter: a database has one writer,
// and a pipeline per signal.
type factory struct {
	shared *sharedcomponent.Map[*sqliteIndexer]
}

func (f *factory) create(set exporter.Settings, cfg component.Config) (*shim, error) {
	c, err := f.shared.LoadOrStore(set.ID, func() (*sqliteIndexer, error) { return newIndexer(set, cfg.(*Config)) })
	if err != nil {
		return nil, err
	}
	return &shim{Component: c}, nil
}

func (f *factory) createTraces(_ context.Context, set exporter.Settings, cfg component.Config) (exporter.Traces, error) {
	return f.create(set, cfg)
}

func (f *factory) createLogs(_ context.Context, set exporter.Settings, cfg component.Config) (exporter.Logs, error) {
	return f.create(set, cfg)
}

// shim is the end of a pipeline. What is delivered is not looked at: it is in
// the ledger already, and read from there. So nothing here can refuse it.
type shim struct {
	*sharedcomponent.Component[*sqliteIndexer]
}

func (s *shim) Capabilities() consumer.Capabilities { return consumer.Capabilities{} }

func (s *shim) ConsumeTraces(context.Context, ptrace.Traces) error {
	s.Unwrap().Wake()
	return nil
}

func (s *shim) ConsumeLogs(context.Context, plog.Logs) error {
	s.Unwrap().Wake()
	return nil
}
