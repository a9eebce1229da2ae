package claudeauditprocessor

import (
	"context"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/processor"
	"go.opentelemetry.io/collector/processor/processorhelper"

	"github.com/claudeaudit/claudeaudit/internal/sharedcomponent"
	"github.com/claudeaudit/claudeaudit/processor/claudeauditprocessor/internal/metadata"
)

var processors = sharedcomponent.New[*auditProcessor]()

// NewFactory makes the factory of the claude_audit processor.
func NewFactory() processor.Factory {
	return processor.NewFactory(metadata.Type, createDefaultConfig,
		processor.WithTraces(createTraces, metadata.TracesStability),
		processor.WithLogs(createLogs, metadata.LogsStability))
}

func shared(set processor.Settings, cfg component.Config) (*sharedcomponent.Component[*auditProcessor], error) {
	return processors.LoadOrStore(set.ID, func() (*auditProcessor, error) {
		return newProcessor(cfg.(*Config), set.TelemetrySettings)
	})
}

var mutates = processorhelper.WithCapabilities(consumer.Capabilities{MutatesData: true})

func createTraces(ctx context.Context, set processor.Settings, cfg component.Config, next consumer.Traces) (processor.Traces, error) {
	s, err := shared(set, cfg)
	if err != nil {
		return nil, err
	}
	return processorhelper.NewTraces(ctx, set, cfg, next, s.Unwrap().processTraces, mutates,
		processorhelper.WithStart(s.Start), processorhelper.WithShutdown(s.Shutdown))
}

func createLogs(ctx context.Context, set processor.Settings, cfg component.Config, next consumer.Logs) (processor.Logs, error) {
	s, err := shared(set, cfg)
	if err != nil {
		return nil, err
	}
	return processorhelper.NewLogs(ctx, set, cfg, next, s.Unwrap().processLogs, mutates,
		processorhelper.WithStart(s.Start), processorhelper.WithShutdown(s.Shutdown))
}
