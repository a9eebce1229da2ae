package auditelasticsearchexporter

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/config/configopaque"
	"go.opentelemetry.io/collector/exporter"
	"go.opentelemetry.io/collector/exporter/exportertest"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/metric/metricdata/metricdatatest"

	"github.com/claudeaudit/claudeaudit/exporter/auditelasticsearchexporter/internal/metadata"
	"github.com/claudeaudit/claudeaudit/exporter/auditelasticsearchexporter/internal/metadatatest"
	"github.com/claudeaudit/claudeaudit/internal/index"
	"github.com/claudeaudit/claudeaudit/internal/index/elasticsearch"
	"github.com/claudeaudit/claudeaudit/internal/index/elasticsearch/estest"
	"github.com/claudeaudit/claudeaudit/internal/index/indextest"
	"github.com/claudeaudit/claudeaudit/internal/indexer"
	"github.com/claudeaudit/claudeaudit/internal/ledger"
	"github.com/claudeaudit/claudeaudit/internal/seal"
)

const patience = 60 * time.Second

// host remembers the status that was reported last.
type host struct {
	component.Host
	mu   sync.Mutex
	last *componentstatus.Event
}

func newHost() *host { return &host{Host: componenttest.NewNopHost()} }

func (h *host) Report(e *componentstatus.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.last = e
}

func (h *host) is(s componentstatus.Status) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.last != nil && h.last.Status() == s
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

// appendOld appends a record of the year 2021.
func appendOld(t *testing.T, l *ledger.Log) {
	t.Helper()
	r := indextest.Record(100)
	r.Timestamp = time.Date(2021, 5, 5, 5, 5, 5, 0, time.UTC)
	_, err := l.Append(t.Context(), []ledger.Entry{{ID: r.EventID, Digest: [16]byte{1}, Time: r.Timestamp, Body: &r}})
	require.NoError(t, err)
}

func start(t *testing.T, set exporter.Settings, cfg *Config, h component.Host) (exporter.Traces, exporter.Logs) {
	t.Helper()
	f := NewFactory()
	traces, err := f.CreateTraces(t.Context(), set, cfg)
	require.NoError(t, err)
	logs, err := f.CreateLogs(t.Context(), set, cfg)
	require.NoError(t, err)
	require.Same(t, traces.(*indexer.Pipeline[*elasticIndexer]).Unwrap(), logs.(*indexer.Pipeline[*elasticIndexer]).Unwrap())
	require.NoError(t, traces.Start(t.Context(), h))
	require.NoError(t, logs.Start(t.Context(), h))
	return traces, logs
}

func stop(t *testing.T, parts ...component.Component) {
	t.Helper()
	for _, p := range parts {
		require.NoError(t, p.Shutdown(context.Background()))
	}
}

func config(dir, url, prefix string) *Config {
	cfg := createDefaultConfig().(*Config)
	replicas := 0
	cfg.Client.ClientConfig.Endpoint, cfg.Index.Prefix, cfg.Index.Replicas = url, prefix, &replicas
	cfg.Ledger, cfg.PollInterval = filepath.Join(dir, "ledger"), time.Minute
	return cfg
}

func TestFollowsTheLedger(t *testing.T) {
	server := estest.Start(t, estest.Options{})
	prefix := server.Prefix(t)
	proxy := estest.NewProxy(t, server)
	reader, err := elasticsearch.OpenReader(server.Client(t), prefix)
	require.NoError(t, err)
	found := func() int {
		page, err := reader.Search(t.Context(), index.Query{Limit: index.MaxLimit})
		if err != nil {
			return -1
		}
		return len(page.Records)
	}
	tel := componenttest.NewTelemetry()
	defer func() { require.NoError(t, tel.Shutdown(context.Background())) }()
	set := exportertest.NewNopSettings(metadata.Type)
	set.TelemetrySettings = tel.NewTelemetrySettings()
	cfg, h := config(t.TempDir(), proxy.URL, prefix), newHost()

	// It starts before there is a ledger, and takes deliveries all the same.
	traces, logs := start(t, set, cfg, h)
	require.NoError(t, traces.ConsumeTraces(t.Context(), ptrace.NewTraces()))
	require.NoError(t, logs.ConsumeLogs(t.Context(), plog.NewLogs()))
	l := openLedger(t, cfg.Ledger)
	defer func() { require.NoError(t, l.Close(context.Background())) }()
	appendRecords(t, l, 0, 10)
	require.Eventually(t, func() bool { return found() == 10 }, patience, 20*time.Millisecond)
	require.Eventually(t, func() bool { return h.is(componentstatus.StatusOK) }, patience, 5*time.Millisecond)

	// A delivery of either signal wakes it; the poll interval is far away.
	appendRecords(t, l, 10, 15)
	require.NoError(t, traces.ConsumeTraces(t.Context(), ptrace.NewTraces()))
	require.Eventually(t, func() bool { return found() == 15 }, patience, 20*time.Millisecond)

	// Half of the writes are refused.
	proxy.Share.Store(50)
	appendRecords(t, l, 15, 40)
	require.NoError(t, logs.ConsumeLogs(t.Context(), plog.NewLogs()))
	require.Eventually(t, func() bool { return found() == 40 }, patience, 20*time.Millisecond)
	proxy.Share.Store(0)

	// The server dies and comes back with what it had.
	server.Kill(t)
	appendRecords(t, l, 40, 50)
	require.NoError(t, traces.ConsumeTraces(t.Context(), ptrace.NewTraces()), "a delivery is never refused")
	require.Eventually(t, func() bool { return h.is(componentstatus.StatusRecoverableError) }, patience, 5*time.Millisecond)
	server.Restart(t)
	require.Eventually(t, func() bool { return found() == 50 }, patience, 20*time.Millisecond)
	require.Eventually(t, func() bool { return h.is(componentstatus.StatusOK) }, patience, 5*time.Millisecond)
	stop(t, traces, logs)
	metadatatest.AssertEqualAuditElasticsearchEntries(t, tel, []metricdata.DataPoint[int64]{{Value: 50}}, metricdatatest.IgnoreTimestamp())
	metadatatest.AssertEqualAuditElasticsearchLag(t, tel, []metricdata.DataPoint[int64]{{Value: 0}}, metricdatatest.IgnoreTimestamp())
	refused, err := tel.GetMetric("claudeaudit_audit_elasticsearch_refused")
	require.NoError(t, err)
	require.EqualValues(t, proxy.Refused.Load(), refused.Data.(metricdata.Sum[int64]).DataPoints[0].Value)

	// What was written while it was down, it takes at the next start.
	appendRecords(t, l, 50, 60)
	traces, logs = start(t, set, cfg, h)
	require.Eventually(t, func() bool { return found() == 60 }, patience, 20*time.Millisecond)
	stop(t, traces, logs)

	// Deleted, it is made anew.
	server.Do(t, http.MethodDelete, "/"+prefix+"-2026.11.24,"+prefix+".state", nil, nil)
	traces, logs = start(t, set, cfg, h)
	require.Eventually(t, func() bool { return found() == 60 }, patience, 20*time.Millisecond)
	stop(t, traces, logs)
}

// leastPrivileges is the role of the README.
func leastPrivileges(t *testing.T, prefix string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "role.json"))
	require.NoError(t, err)
	return strings.ReplaceAll(string(b), elasticsearch.DefaultPrefix, prefix)
}

// The role that the README gives is enough with security on, and without it, or
// with a wrong key, nothing is written.
func TestLeastPrivileges(t *testing.T) {
	server := estest.Start(t, estest.Options{Security: true})
	prefix := server.Prefix(t)
	server.Do(t, http.MethodPut, "/_security/role/audit_writer", leastPrivileges(t, prefix), nil)
	server.Do(t, http.MethodPut, "/_security/user/writer", `{"password":"writer-secret","roles":["audit_writer"]}`, nil)
	server.Do(t, http.MethodPut, "/_security/user/nobody", `{"password":"nobody-secret","roles":[]}`, nil)
	var key struct {
		Encoded string `json:"encoded"`
	}
	server.Do(t, http.MethodPost, "/_security/api_key", map[string]any{
		"name": "audit", "role_descriptors": map[string]any{"audit_writer": json.RawMessage(leastPrivileges(t, prefix))},
	}, &key)
	reader, err := elasticsearch.OpenReader(server.Client(t), prefix)
	require.NoError(t, err)
	found := func() int {
		page, err := reader.Search(t.Context(), index.Query{Limit: index.MaxLimit})
		if err != nil {
			return -1
		}
		return len(page.Records)
	}
	dir := t.TempDir()
	l := openLedger(t, filepath.Join(dir, "ledger"))
	defer func() { require.NoError(t, l.Close(context.Background())) }()
	appendRecords(t, l, 0, 5)
	set := exportertest.NewNopSettings(metadata.Type)
	for _, wrong := range []string{"nobody", ""} {
		cfg, h := config(dir, server.URL, prefix), newHost()
		if wrong != "" {
			cfg.Client.User, cfg.Client.Password = wrong, "nobody-secret"
		}
		traces, logs := start(t, set, cfg, h)
		require.Eventually(t, func() bool { return h.is(componentstatus.StatusRecoverableError) }, patience, 5*time.Millisecond)
		require.NotContains(t, h.last.Err().Error(), "nobody-secret")
		stop(t, traces, logs)
		require.Equal(t, -1, found())
	}

	cfg, h := config(dir, server.URL, prefix), newHost()
	cfg.Client.User, cfg.Client.Password, cfg.RetentionDays = "writer", "writer-secret", 36_500
	traces, logs := start(t, set, cfg, h)
	require.Eventually(t, func() bool { return found() == 5 }, patience, 20*time.Millisecond)
	require.Eventually(t, func() bool { return h.is(componentstatus.StatusOK) }, patience, 5*time.Millisecond)
	stop(t, traces, logs)

	appendRecords(t, l, 5, 9)
	cfg, h = config(dir, server.URL, prefix), newHost()
	cfg.Client.APIKey = configopaque.String(key.Encoded)
	traces, logs = start(t, set, cfg, h)
	require.Eventually(t, func() bool { return found() == 9 }, patience, 20*time.Millisecond)
	stop(t, traces, logs)

	// The same role removes days past retention, of a time before this test.
	appendOld(t, l)
	cfg, h = config(dir, server.URL, prefix), newHost()
	cfg.Client.APIKey = configopaque.String(key.Encoded)
	traces, logs = start(t, set, cfg, h)
	require.Eventually(t, func() bool { return found() == 10 }, patience, 20*time.Millisecond)
	stop(t, traces, logs)
	cfg.RetentionDays = int(time.Since(indextest.Day).Hours()/24) + 30
	traces, logs = start(t, set, cfg, h)
	require.Eventually(t, func() bool { return found() == 9 }, patience, 20*time.Millisecond)
	stop(t, traces, logs)
}
