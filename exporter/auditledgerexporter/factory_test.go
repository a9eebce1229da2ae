package auditledgerexporter

import (
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/exporter/exportertest"

	"github.com/claudeaudit/claudeaudit/exporter/auditledgerexporter/internal/metadata"
)

func TestFactory(t *testing.T) {
	f := NewFactory()
	require.Equal(t, component.MustNewType("audit_ledger"), f.Type())
	require.Equal(t, metadata.TracesStability, f.TracesStability())
	require.Equal(t, metadata.LogsStability, f.LogsStability())
	_, err := f.CreateMetrics(t.Context(), exportertest.NewNopSettings(f.Type()), f.CreateDefaultConfig())
	require.Error(t, err, "metrics are not audited")
}

func TestSignalsShareOneWriter(t *testing.T) {
	f := NewFactory()
	set := settings()
	cfg := inFolder(t)
	a, err := shared(set, cfg)
	require.NoError(t, err)
	b, err := shared(set, cfg)
	require.NoError(t, err)
	require.Same(t, a, b)
	other, err := shared(settings(), cfg)
	require.NoError(t, err)
	require.NotSame(t, a, other)
	stop(t, a, other)

	traces, err := f.CreateTraces(t.Context(), set, cfg)
	require.NoError(t, err)
	require.False(t, traces.Capabilities().MutatesData)
	stop(t, traces)
}
