package auditsqliteexporter

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/exporter"
	"go.opentelemetry.io/collector/exporter/exportertest"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/metric/metricdata/metricdatatest"

	"github.com/claudeaudit/claudeaudit/exporter/auditsqliteexporter/internal/metadata"
	"github.com/claudeaudit/claudeaudit/exporter/auditsqliteexporter/internal/metadatatest"
	"github.com/claudeaudit/claudeaudit/internal/index"
	"github.com/claudeaudit/claudeaudit/internal/index/indextest"
	"github.com/claudeaudit/claudeaudit/internal/index/sqlite"
	"github.com/claudeaudit/claudeaudit/internal/indexer"
	"github.com/claudeaudit/claudeaudit/internal/ledger"
	"github.com/claudeaudit/claudeaudit/internal/seal"
)

const patience = 30 * time.Second

// host remembers the status that was reported last.
type host struct {
	component.Host
	mu     sync.Mutex
	events []*componentstatus.Event
}

func newHost() *host { return &host{Host: componenttest.NewNopHost()} }

func (h *host) Report(e *componentstatus.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.events = append(h.events, e)
}

func (h *host) last() *componentstatus.Event {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.events) == 0 {
		return nil
	}
	return h.events[len(h.events)-1]
}

func openLedger(t *testing.T, dir string) *ledger.Log {
	t.Helper()
	k, err := seal.GenerateCheckpointKey("test")
	require.NoError(t, err)
	l, err := ledger.Open(t.Context(), ledger.Options{Dir: dir, Signer: k.Signer, VerifierKey: k.VerifierKey})
	require.NoError(t, err)
	return l
}

func appendRecords(t *testing.T, l *ledger.Log, from, to int) {
	t.Helper()
	var entries []ledger.Entry
	for i := from; i < to; i++ {
		r := indextest.Record(i)
		entries = append(entries, ledger.Entry{ID: r.EventID, Digest: [16]byte{15: byte(i), 14: 1}, Time: r.Timestamp, Body: &r})
	}
	_, err := l.Append(t.Context(), entries)
	require.NoError(t, err)
}

type pair struct {
	traces exporter.Traces
	logs   exporter.Logs
}

func start(t *testing.T, set exporter.Settings, cfg *Config, h component.Host) pair {
	t.Helper()
	f := NewFactory()
	traces, err := f.CreateTraces(t.Context(), set, cfg)
	require.NoError(t, err)
	logs, err := f.CreateLogs(t.Context(), set, cfg)
	require.NoError(t, err)
	require.NoError(t, traces.Start(t.Context(), h))
	require.NoError(t, logs.Start(t.Context(), h))
	return pair{traces, logs}
}

func (p pair) stop(t *testing.T) {
	t.Helper()
	require.NoError(t, p.traces.Shutdown(context.Background()))
	require.NoError(t, p.logs.Shutdown(context.Background()))
}

func config(dir string) *Config {
	cfg := createDefaultConfig().(*Config)
	cfg.Path, cfg.Ledger, cfg.PollInterval = filepath.Join(dir, "index", "audit.db"), filepath.Join(dir, "ledger"), time.Minute
	return cfg
}

func found(cfg *Config) int {
	r, err := sqlite.OpenReader(context.Background(), cfg.File())
	if err != nil {
		return -1
	}
	defer func() { _ = r.Close() }()
	page, err := r.Search(context.Background(), index.Query{Limit: index.MaxLimit})
	if err != nil {
		return -1
	}
	return len(page.Records)
}

func TestFollowsTheLedger(t *testing.T) {
	tel := componenttest.NewTelemetry()
	defer func() { require.NoError(t, tel.Shutdown(context.Background())) }()
	set := exportertest.NewNopSettings(metadata.Type)
	set.TelemetrySettings = tel.NewTelemetrySettings()
	cfg, h := config(t.TempDir()), newHost()

	// It starts before there is a ledger, and takes deliveries all the same.
	p := start(t, set, cfg, h)
	require.NoError(t, p.traces.ConsumeTraces(t.Context(), ptrace.NewTraces()))
	require.NoError(t, p.logs.ConsumeLogs(t.Context(), plog.NewLogs()))
	l := openLedger(t, cfg.Ledger)
	defer func() { require.NoError(t, l.Close(context.Background())) }()
	appendRecords(t, l, 0, 10)
	require.Eventually(t, func() bool { return found(cfg) == 10 }, patience, 5*time.Millisecond)
	require.Eventually(t, func() bool { e := h.last(); return e != nil && e.Status() == componentstatus.StatusOK }, patience, 5*time.Millisecond)

	// A delivery of either signal wakes it; the poll interval is far away.
	appendRecords(t, l, 10, 15)
	require.NoError(t, p.traces.ConsumeTraces(t.Context(), ptrace.NewTraces()))
	require.Eventually(t, func() bool { return found(cfg) == 15 }, patience, 5*time.Millisecond)
	appendRecords(t, l, 15, 20)
	require.NoError(t, p.logs.ConsumeLogs(t.Context(), plog.NewLogs()))
	require.Eventually(t, func() bool { return found(cfg) == 20 }, patience, 5*time.Millisecond)
	p.stop(t)
	metadatatest.AssertEqualAuditSqliteEntries(t, tel, []metricdata.DataPoint[int64]{{Value: 20}}, metricdatatest.IgnoreTimestamp())
	metadatatest.AssertEqualAuditSqliteLag(t, tel, []metricdata.DataPoint[int64]{{Value: 0}}, metricdatatest.IgnoreTimestamp())

	// What was written while it was down, it takes at the next start.
	appendRecords(t, l, 20, 30)
	p = start(t, set, cfg, h)
	require.Eventually(t, func() bool { return found(cfg) == 30 }, patience, 5*time.Millisecond)
	p.stop(t)

	// Deleted, it is made anew.
	require.NoError(t, sqlite.Remove(cfg.File()))
	p = start(t, set, cfg, h)
	require.Eventually(t, func() bool { return found(cfg) == 30 }, patience, 5*time.Millisecond)
	p.stop(t)
}

func TestReportsWhatIsWrong(t *testing.T) {
	set := exportertest.NewNopSettings(metadata.Type)
	cfg, h := config(t.TempDir()), newHost()
	l := openLedger(t, cfg.Ledger)
	defer func() { require.NoError(t, l.Close(context.Background())) }()
	appendRecords(t, l, 0, 3)

	// Another process writes the index.
	require.NoError(t, os.MkdirAll(filepath.Dir(cfg.Path), 0o700))
	lock, err := sqlite.TryLock(cfg.File())
	require.NoError(t, err)
	p := start(t, set, cfg, h)
	require.Eventually(t, func() bool {
		e := h.last()
		return e != nil && e.Status() == componentstatus.StatusRecoverableError
	}, patience, 5*time.Millisecond)
	require.ErrorIs(t, h.last().Err(), index.ErrLocked)
	require.NoError(t, p.traces.ConsumeTraces(t.Context(), ptrace.NewTraces()))
	require.NoError(t, lock.Unlock())
	require.Eventually(t, func() bool { return found(cfg) == 3 && h.last().Status() == componentstatus.StatusOK }, patience, 5*time.Millisecond)
	p.stop(t)
}

func TestLeavesForeignFilesAlone(t *testing.T) {
	set := exportertest.NewNopSettings(metadata.Type)
	cfg, h := config(t.TempDir()), newHost()
	l := openLedger(t, cfg.Ledger)
	defer func() { require.NoError(t, l.Close(context.Background())) }()
	require.NoError(t, os.MkdirAll(filepath.Dir(cfg.Path), 0o700))
	require.NoError(t, os.WriteFile(cfg.Path, []byte("somebody's notes"), 0o600))
	p := start(t, set, cfg, h)
	require.Eventually(t, func() bool { return h.last() != nil }, patience, 5*time.Millisecond)
	require.ErrorIs(t, h.last().Err(), index.ErrForeign)
	p.stop(t)
	b, err := os.ReadFile(cfg.Path)
	require.NoError(t, err)
	require.Equal(t, "somebody's notes", string(b))
}

func TestStartRefusesAnImpossiblePath(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "file"), nil, 0o600))
	cfg := config(dir)
	cfg.Path = filepath.Join(dir, "file", "audit.db")
	c, err := NewFactory().CreateTraces(t.Context(), exportertest.NewNopSettings(metadata.Type), cfg)
	require.NoError(t, err)
	require.ErrorContains(t, c.Start(t.Context(), newHost()), "path: must be in a folder that can be written")
	require.NoError(t, c.Shutdown(t.Context()))
}

func TestSignalsShareOneInstance(t *testing.T) {
	f, set, cfg := NewFactory(), exportertest.NewNopSettings(metadata.Type), config(t.TempDir())
	traces, err := f.CreateTraces(t.Context(), set, cfg)
	require.NoError(t, err)
	logs, err := f.CreateLogs(t.Context(), set, cfg)
	require.NoError(t, err)
	require.Same(t, traces.(*indexer.Pipeline[*sqliteIndexer]).Unwrap(), logs.(*indexer.Pipeline[*sqliteIndexer]).Unwrap())
	require.NoError(t, traces.Shutdown(t.Context()))
	require.NoError(t, logs.Shutdown(t.Context()))
}
