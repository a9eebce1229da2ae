package claudeauditprocessor

import (
	"context"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/processor"
	"go.opentelemetry.io/collector/processor/processortest"

	"github.com/claudeaudit/claudeaudit/processor/claudeauditprocessor/internal/metadata"
)

// pipeline is a processor's two signals between a sender and sinks.
type pipeline struct {
	traces   processor.Traces
	logs     processor.Logs
	spans    *consumertest.TracesSink
	records  *consumertest.LogsSink
	shutdown func()
}

func create(t testing.TB, cfg *Config, set processor.Settings) *pipeline {
	t.Helper()
	p := &pipeline{spans: new(consumertest.TracesSink), records: new(consumertest.LogsSink)}
	f := NewFactory()
	var err error
	p.traces, err = f.CreateTraces(t.Context(), set, cfg, p.spans)
	require.NoError(t, err)
	p.logs, err = f.CreateLogs(t.Context(), set, cfg, p.records)
	require.NoError(t, err)
	p.shutdown = func() {
		require.NoError(t, p.traces.Shutdown(context.Background()))
		require.NoError(t, p.logs.Shutdown(context.Background()))
	}
	t.Cleanup(p.shutdown)
	return p
}

// start makes and starts a processor of its own.
func start(t testing.TB, cfg *Config) *pipeline {
	t.Helper()
	set := processortest.NewNopSettings(metadata.Type)
	set.ID = component.NewIDWithName(metadata.Type, uuid.NewString())
	return startWith(t, cfg, set)
}

func startWith(t testing.TB, cfg *Config, set processor.Settings) *pipeline {
	t.Helper()
	p := create(t, cfg, set)
	require.NoError(t, p.traces.Start(t.Context(), componenttest.NewNopHost()))
	require.NoError(t, p.logs.Start(t.Context(), componenttest.NewNopHost()))
	return p
}

// sendTraces returns what came out.
func (p *pipeline) sendTraces(t testing.TB, td ptrace.Traces) ptrace.Traces {
	t.Helper()
	p.spans.Reset()
	require.NoError(t, p.traces.ConsumeTraces(t.Context(), td))
	require.Len(t, p.spans.AllTraces(), 1)
	return p.spans.AllTraces()[0]
}

func (p *pipeline) sendLogs(t testing.TB, ld plog.Logs) plog.Logs {
	t.Helper()
	p.records.Reset()
	require.NoError(t, p.logs.ConsumeLogs(t.Context(), ld))
	require.Len(t, p.records.AllLogs(), 1)
	return p.records.AllLogs()[0]
}

func TestFactory(t *testing.T) {
	f := NewFactory()
	require.Equal(t, component.MustNewType("claude_audit"), f.Type())
	require.Equal(t, metadata.TracesStability, f.TracesStability())
	require.Equal(t, metadata.LogsStability, f.LogsStability())
	set := processortest.NewNopSettings(f.Type())
	_, err := f.CreateMetrics(t.Context(), set, f.CreateDefaultConfig(), consumertest.NewNop())
	require.Error(t, err, "metrics are not audited")

	p := create(t, createDefaultConfig().(*Config), set)
	require.True(t, p.traces.Capabilities().MutatesData)
	require.True(t, p.logs.Capabilities().MutatesData)
}

func TestSignalsShareOneWindow(t *testing.T) {
	set := processortest.NewNopSettings(metadata.Type)
	a, err := shared(set, createDefaultConfig())
	require.NoError(t, err)
	b, err := shared(set, createDefaultConfig())
	require.NoError(t, err)
	require.Same(t, a.Unwrap().window, b.Unwrap().window)
	set.ID = component.NewIDWithName(metadata.Type, "other")
	other, err := shared(set, createDefaultConfig())
	require.NoError(t, err)
	require.NotSame(t, a.Unwrap().window, other.Unwrap().window)
	require.NoError(t, a.Shutdown(t.Context()))
	require.NoError(t, other.Shutdown(t.Context()))
}

func TestConditionsAreParsedAtCreation(t *testing.T) {
	cfg := createDefaultConfig().(*Config)
	cfg.Classification.Rules = []ClassificationRule{{"RESTRICTED", []string{"true", "no such(function"}}}
	_, err := NewFactory().CreateTraces(t.Context(), processortest.NewNopSettings(metadata.Type), cfg, consumertest.NewNop())
	require.ErrorContains(t, err, "classification::rules[0]::conditions[1]: ")
}
