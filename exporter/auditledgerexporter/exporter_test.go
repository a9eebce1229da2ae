package auditledgerexporter

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.opentelemetry.io/collector/exporter"
	"go.opentelemetry.io/collector/exporter/exportertest"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/metric/metricdata/metricdatatest"

	"go.uber.org/zap/zaptest"

	"github.com/claudeaudit/claudeaudit/exporter/auditledgerexporter/internal/metadata"
	"github.com/claudeaudit/claudeaudit/exporter/auditledgerexporter/internal/metadatatest"
	"github.com/claudeaudit/claudeaudit/internal/alive"
	"github.com/claudeaudit/claudeaudit/internal/audit"
	"github.com/claudeaudit/claudeaudit/internal/ledger"
	"github.com/claudeaudit/claudeaudit/internal/seal"
)

const (
	inputMessages  = `[{"parts":[{"content":"What is the capital of France?","type":"text"}],"role":"user"}]`
	systemParts    = `[{"content":"Answer in one word.","type":"text"}]`
	outputMessages = `[{"parts":[{"content":"Paris.","type":"text"}],"role":"assistant"}]`
)

// host notes what components report of themselves.
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

func (h *host) statuses() []componentstatus.Status {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []componentstatus.Status
	for _, e := range h.events {
		out = append(out, e.Status())
	}
	return out
}

// inFolder is a configuration under a fresh folder.
func inFolder(t testing.TB, change ...func(*Config)) *Config {
	t.Helper()
	cfg := createDefaultConfig().(*Config)
	cfg.Directory = filepath.Join(t.TempDir(), "ledger")
	cfg.Spool.MinFreeBytes = 1
	cfg.AliveInterval = 0 // the tests count entries
	for _, c := range change {
		c(cfg)
	}
	return cfg
}

func settings() exporter.Settings { return exportertest.NewNopSettings(metadata.Type) }

// start makes both signals' exporters of one component and starts them.
func start(t testing.TB, cfg *Config, set exporter.Settings, h component.Host) (exporter.Traces, exporter.Logs) {
	t.Helper()
	f := NewFactory()
	traces, err := f.CreateTraces(t.Context(), set, cfg)
	require.NoError(t, err)
	logs, err := f.CreateLogs(t.Context(), set, cfg)
	require.NoError(t, err)
	require.NoError(t, traces.Start(t.Context(), h))
	require.NoError(t, logs.Start(t.Context(), h))
	t.Cleanup(func() { stop(t, traces, logs) })
	return traces, logs
}

func stop(t testing.TB, components ...component.Component) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for _, c := range components {
		require.NoError(t, c.Shutdown(ctx))
	}
}

func id(n byte) uuid.UUID { return uuid.UUID{6: 0x80, 8: 0x80, 15: n} }

// observation is one telling of call n.
func observation(n byte, telling byte) audit.Record {
	r := audit.Record{
		EventID: id(n), Kind: audit.KindInteraction, Timestamp: time.Unix(1_790_000_000, int64(n)).UTC(),
		Status: audit.StatusSuccess, UserID: "u-4711", Model: "claude-sonnet-4-5", DataClassification: audit.Internal,
		Content: audit.Content{Prompt: "full", Response: "full"},
		Source:  audit.Source{Dialect: "semconv", Digest: fmt.Sprintf("%030x%02x", n, telling), Signal: "span", Rank: 1},
	}
	r.Complete()
	return r
}

func putContent(m pcommon.Map) {
	m.PutStr(audit.AttrInputMessages, inputMessages)
	m.PutStr(audit.AttrSystemInstructions, systemParts)
	m.PutStr(audit.AttrOutputMessages, outputMessages)
}

func tracesOf(observations ...audit.Record) ptrace.Traces {
	td := ptrace.NewTraces()
	spans := td.ResourceSpans().AppendEmpty().ScopeSpans().AppendEmpty().Spans()
	for i := range observations {
		span := spans.AppendEmpty()
		span.SetName("chat claude-sonnet-4-5")
		observations[i].PutAttributes(span.Attributes())
		putContent(span.Attributes())
	}
	return td
}

func logsOf(observations ...audit.Record) plog.Logs {
	ld := plog.NewLogs()
	records := ld.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty().LogRecords()
	for i := range observations {
		rec := records.AppendEmpty()
		observations[i].PutAttributes(rec.Attributes())
		putContent(rec.Attributes())
	}
	return ld
}

type entry struct {
	audit.Record
	stream string
}

// read returns all entries of a ledger that may be open for writing.
func read(t testing.TB, cfg *Config) []entry {
	t.Helper()
	r, err := ledger.OpenReader(cfg.Directory)
	require.NoError(t, err)
	defer func() { require.NoError(t, r.Close()) }()
	streams, err := r.Streams()
	require.NoError(t, err)
	var out []entry
	for _, s := range streams {
		require.NoError(t, r.Entries(context.Background(), s, 0, func(_ uint64, line []byte) error {
			rec, err := audit.ParseRecord(line)
			out = append(out, entry{rec, s})
			return err
		}))
	}
	return out
}

// open returns the plaintext of a sealed content.
func open(t testing.TB, cfg *Config, sum string, aad []byte) (string, error) {
	t.Helper()
	r, err := ledger.OpenReader(cfg.Directory)
	require.NoError(t, err)
	defer func() { require.NoError(t, r.Close()) }()
	sealed, err := r.Content(sum)
	require.NoError(t, err)
	require.False(t, bytes.Contains(sealed, []byte("France")), "sealed")
	identity, err := seal.LoadIdentity(cfg.beside("keys", "content.identity"))
	require.NoError(t, err)
	plain, err := identity.Open(sealed, aad)
	return string(plain), err
}

func TestEntriesAreOnDiskAtReturn(t *testing.T) {
	cfg := inFolder(t)
	traces, logs := start(t, cfg, settings(), newHost())

	require.NoError(t, traces.ConsumeTraces(t.Context(), tracesOf(observation(1, 1), observation(2, 1))))
	require.Len(t, read(t, cfg), 2)
	require.NoError(t, logs.ConsumeLogs(t.Context(), logsOf(observation(1, 2))))
	got := read(t, cfg)
	require.Len(t, got, 3)
	for i, want := range []struct {
		id       uuid.UUID
		revision int64
	}{{id(1), 1}, {id(2), 1}, {id(1), 2}} {
		require.Equal(t, want.id, got[i].EventID)
		require.Equal(t, want.revision, got[i].Revision, "entry %d", i)
		require.EqualValues(t, i, got[i].Seq)
		require.Equal(t, "u-4711", got[i].UserID)
		require.Equal(t, audit.Internal, got[i].DataClassification)
	}

	stop(t, traces, logs)
	require.Len(t, read(t, cfg), 3, "sealed at shutdown")
}

func TestObservationsOnSpanEvents(t *testing.T) {
	cfg := inFolder(t)
	traces, _ := start(t, cfg, settings(), newHost())
	td := ptrace.NewTraces()
	span := td.ResourceSpans().AppendEmpty().ScopeSpans().AppendEmpty().Spans().AppendEmpty()
	span.Attributes().PutStr(audit.AttrRecordID, id(9).String()) // belongs to a call, tells nothing itself
	for i, name := range []string{audit.ObservationEvent, "exception", audit.ObservationEvent} {
		e := span.Events().AppendEmpty()
		e.SetName(name)
		o := observation(byte(i+1), 1)
		o.PutAttributes(e.Attributes())
	}
	td.MarkReadOnly() // others read the same data
	require.NoError(t, traces.ConsumeTraces(t.Context(), td))
	got := read(t, cfg)
	require.Len(t, got, 2)
	require.Equal(t, id(1), got[0].EventID)
	require.Equal(t, id(3), got[1].EventID)
}

func TestWhatIsNoObservationIsNotAppended(t *testing.T) {
	cfg := inFolder(t)
	traces, logs := start(t, cfg, settings(), newHost())
	td := ptrace.NewTraces()
	span := td.ResourceSpans().AppendEmpty().ScopeSpans().AppendEmpty().Spans().AppendEmpty()
	span.Attributes().PutStr("http.request.method", "POST")
	span.Attributes().PutStr(audit.AttrInputMessages, inputMessages)
	require.NoError(t, traces.ConsumeTraces(t.Context(), td))
	require.NoError(t, traces.ConsumeTraces(t.Context(), ptrace.NewTraces()))
	require.NoError(t, logs.ConsumeLogs(t.Context(), plog.NewLogs()))
	require.Empty(t, read(t, cfg))
}

func TestContentIsSealed(t *testing.T) {
	cfg := inFolder(t)
	traces, logs := start(t, cfg, settings(), newHost())
	require.NoError(t, traces.ConsumeTraces(t.Context(), tracesOf(observation(1, 1))))

	check := func(t *testing.T) {
		got := read(t, cfg)[0]
		c := got.Content
		require.NotEmpty(t, c.KeyID)
		require.Equal(t, seal.Suite, c.Suite)
		require.NotEqual(t, c.PromptSHA256, c.ResponseSHA256)

		prompt, err := open(t, cfg, c.PromptSHA256, audit.PromptAAD(got.EventID))
		require.NoError(t, err)
		require.Equal(t, `{"messages":`+inputMessages+`,"system":`+systemParts+`}`, prompt)
		response, err := open(t, cfg, c.ResponseSHA256, audit.ResponseAAD(got.EventID))
		require.NoError(t, err)
		require.Equal(t, outputMessages, response)

		_, err = open(t, cfg, c.PromptSHA256, audit.PromptAAD(id(2)))
		require.ErrorIs(t, err, seal.ErrOpen, "as the prompt of another call")
		_, err = open(t, cfg, c.PromptSHA256, audit.ResponseAAD(got.EventID))
		require.ErrorIs(t, err, seal.ErrOpen, "as the response")
	}
	t.Run("in the write-ahead file", check)
	stop(t, traces, logs)
	t.Run("in a segment", check)

	require.NoError(t, filepath.WalkDir(filepath.Dir(cfg.Directory), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		require.NotContains(t, string(b), "capital of France", path)
		return err
	}))
}

func TestPartsOfContent(t *testing.T) {
	tests := []struct {
		name             string
		put              func(pcommon.Map)
		prompt, response string
	}{
		{name: "none", put: func(pcommon.Map) {}},
		{
			name: "system only", prompt: `{"messages":[],"system":` + systemParts + `}`,
			put: func(m pcommon.Map) { m.PutStr(audit.AttrSystemInstructions, systemParts) },
		},
		{
			name: "messages only", prompt: `{"messages":` + inputMessages + `,"system":[]}`,
			put: func(m pcommon.Map) { m.PutStr(audit.AttrInputMessages, inputMessages) },
		},
		{
			name: "answer only", response: outputMessages,
			put: func(m pcommon.Map) { m.PutStr(audit.AttrOutputMessages, outputMessages) },
		},
		{
			name: "not canonical text", // the processor puts strings
			put:  func(m pcommon.Map) { m.PutEmptySlice(audit.AttrInputMessages).AppendEmpty().SetStr("x") },
		},
	}
	cfg := inFolder(t)
	traces, _ := start(t, cfg, settings(), newHost())
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			td := ptrace.NewTraces()
			m := td.ResourceSpans().AppendEmpty().ScopeSpans().AppendEmpty().Spans().AppendEmpty().Attributes()
			o := observation(byte(i+1), 1)
			o.PutAttributes(m)
			tt.put(m)
			require.NoError(t, traces.ConsumeTraces(t.Context(), td))
			got := read(t, cfg)[i]
			for _, side := range []struct {
				want, sum string
				aad       []byte
			}{{tt.prompt, got.Content.PromptSHA256, audit.PromptAAD(id(byte(i + 1)))}, {tt.response, got.Content.ResponseSHA256, audit.ResponseAAD(id(byte(i + 1)))}} {
				if side.want == "" {
					require.Empty(t, side.sum)
					continue
				}
				plain, err := open(t, cfg, side.sum, side.aad)
				require.NoError(t, err)
				require.Equal(t, side.want, plain)
			}
			require.Equal(t, tt.prompt == "" && tt.response == "", got.Content.KeyID == "")
		})
	}
}

func TestRedeliveryAppendsNothing(t *testing.T) {
	cfg := inFolder(t)
	tel := componenttest.NewTelemetry()
	t.Cleanup(func() { require.NoError(t, tel.Shutdown(context.Background())) })
	traces, logs := start(t, cfg, metadatatest.NewSettings(tel), newHost())
	td := tracesOf(observation(1, 1), observation(2, 1))
	for range 3 {
		require.NoError(t, traces.ConsumeTraces(t.Context(), td))
	}
	require.NoError(t, traces.ConsumeTraces(t.Context(), tracesOf(observation(2, 1), observation(3, 1))), "partly new")
	require.Len(t, read(t, cfg), 3)
	ignore := metricdatatest.IgnoreTimestamp()
	metadatatest.AssertEqualLedgerDuplicates(t, tel, []metricdata.DataPoint[int64]{{Value: 5}}, ignore)
	metadatatest.AssertEqualLedgerEntries(t, tel, []metricdata.DataPoint[int64]{{Value: 3}}, ignore)
	metadatatest.AssertEqualLedgerErrors(t, tel, []metricdata.DataPoint[int64]{{Value: 0}}, ignore)
	metadatatest.AssertEqualLedgerUncovered(t, tel, []metricdata.DataPoint[int64]{{Value: 3}}, ignore)
	_, err := tel.GetMetric("claudeaudit_ledger_spool")
	require.NoError(t, err)

	stop(t, traces, logs)
	traces, _ = start(t, cfg, settings(), newHost())
	require.NoError(t, traces.ConsumeTraces(t.Context(), td))
	require.Len(t, read(t, cfg), 3, "after a restart")
}

func TestConcurrentRequests(t *testing.T) {
	cfg := inFolder(t)
	traces, logs := start(t, cfg, settings(), newHost())
	const senders, requests = 8, 16
	errs := make(chan error, senders*requests)
	var wg sync.WaitGroup
	for s := range senders {
		wg.Go(func() {
			for n := range requests {
				if s%2 == 0 {
					errs <- traces.ConsumeTraces(t.Context(), tracesOf(observation(byte(s), byte(n+1))))
				} else {
					errs <- logs.ConsumeLogs(t.Context(), logsOf(observation(byte(s), byte(n+1))))
				}
			}
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		require.NoError(t, err)
	}
	revisions := map[uuid.UUID]int64{}
	for i, e := range read(t, cfg) {
		require.EqualValues(t, i, e.Seq)
		revisions[e.EventID]++
		require.Equal(t, revisions[e.EventID], e.Revision)
	}
	require.Len(t, revisions, senders)
}

func TestWithoutDigestIsPermanent(t *testing.T) {
	for _, digest := range []string{"", "12", "not hexadecimal digits, but 32 of"} {
		cfg := inFolder(t)
		traces, _ := start(t, cfg, settings(), newHost())
		o := observation(1, 1)
		o.Source.Digest = digest
		err := traces.ConsumeTraces(t.Context(), tracesOf(observation(2, 1), o))
		require.Error(t, err)
		require.True(t, consumererror.IsPermanent(err))
		require.ErrorContains(t, err, "claude_audit")
		require.Empty(t, read(t, cfg), "all of a request or nothing")
	}
}

func TestFullSpool(t *testing.T) {
	// No segment is closed while the test runs, so the spool stays full until the restart.
	cfg := inFolder(t, func(c *Config) {
		c.Spool.MaxBytes = 16 << 10
		c.Segment.MaxAge = time.Hour
	})
	tel := componenttest.NewTelemetry()
	t.Cleanup(func() { require.NoError(t, tel.Shutdown(context.Background())) })
	h := newHost()
	traces, logs := start(t, cfg, metadatatest.NewSettings(tel), h)
	taken := 0
	var err error
	for n := byte(1); n < 100 && err == nil; n++ {
		if err = traces.ConsumeTraces(t.Context(), tracesOf(observation(n, 1))); err == nil {
			taken++
		}
	}
	require.ErrorIs(t, err, ledger.ErrFull)
	require.False(t, consumererror.IsPermanent(err), "the client is to send again")
	require.Positive(t, taken)
	require.Len(t, read(t, cfg), taken)

	require.Error(t, logs.ConsumeLogs(t.Context(), logsOf(observation(200, 1))))
	// That there is little room is said while entries are still taken, that there is none then; each once.
	require.Equal(t, []componentstatus.Status{componentstatus.StatusRecoverableError, componentstatus.StatusRecoverableError}, h.statuses())
	require.ErrorContains(t, h.events[0].Err(), "the spool is nearly full")
	require.NotErrorIs(t, h.events[0].Err(), ledger.ErrFull)
	require.ErrorIs(t, h.events[1].Err(), ledger.ErrFull)
	metadatatest.AssertEqualLedgerRefused(t, tel, []metricdata.DataPoint[int64]{{Value: 2}}, metricdatatest.IgnoreTimestamp(), metricdatatest.IgnoreExemplars())

	require.NoError(t, traces.ConsumeTraces(t.Context(), ptrace.NewTraces()), "nothing to append is no recovery")
	require.Len(t, h.statuses(), 2)
}

func TestRoomAgain(t *testing.T) {
	// The store's folder can't be written while a file has its place, so that segments wait in the spool.
	cfg := inFolder(t, func(c *Config) {
		c.Spool.MaxBytes = 64 << 10
		c.Segment.MaxEntries = 2
	})
	h := newHost()
	traces, _ := start(t, cfg, settings(), h)
	store := filepath.Join(cfg.Directory, "store")
	away := filepath.Join(cfg.Directory, "store.away")
	require.NoError(t, os.Rename(store, away))
	require.NoError(t, os.WriteFile(store, nil, 0o600))

	taken := 0
	var err error
	for n := byte(1); n < 200 && err == nil; n++ {
		if err = traces.ConsumeTraces(t.Context(), tracesOf(observation(n, 1))); err == nil {
			taken++
		}
	}
	require.ErrorIs(t, err, ledger.ErrFull)
	// First that nothing can be sealed, then that therefore there is little room, then that nothing more is taken.
	bad := componentstatus.StatusRecoverableError
	require.Equal(t, []componentstatus.Status{bad, bad, bad}, h.statuses())
	require.NotErrorIs(t, h.events[1].Err(), ledger.ErrFull)
	require.ErrorIs(t, h.events[2].Err(), ledger.ErrFull)

	require.NoError(t, os.Remove(store))
	require.NoError(t, os.Rename(away, store))
	require.Eventually(t, func() bool {
		return traces.ConsumeTraces(t.Context(), tracesOf(observation(250, 1))) == nil
	}, 30*time.Second, 20*time.Millisecond)
	require.Eventually(t, func() bool {
		s := h.statuses()
		return traces.ConsumeTraces(t.Context(), tracesOf(observation(250, 1))) == nil && s[len(s)-1] == componentstatus.StatusOK
	}, 10*time.Second, 10*time.Millisecond, "in order again when both are")
	require.Len(t, read(t, cfg), taken+1, "nothing acknowledged is lost")
}

func TestClosedLedgerIsNotPermanent(t *testing.T) {
	cfg := inFolder(t)
	e, err := newExporter(cfg, settings().TelemetrySettings)
	require.NoError(t, err)
	require.NoError(t, e.Start(t.Context(), newHost()))
	require.NoError(t, e.Shutdown(t.Context()))
	err = e.consumeTraces(t.Context(), tracesOf(observation(1, 1)))
	require.ErrorIs(t, err, ledger.ErrClosed)
	require.False(t, consumererror.IsPermanent(err))
}

func TestTooLargeIsPermanent(t *testing.T) {
	cfg := inFolder(t)
	traces, _ := start(t, cfg, settings(), newHost())
	td := tracesOf(observation(1, 1))
	m := td.ResourceSpans().At(0).ScopeSpans().At(0).Spans().At(0).Attributes()
	m.PutStr(audit.AttrInputMessages, string(bytes.Repeat([]byte("x"), 80<<20)))
	err := traces.ConsumeTraces(t.Context(), td)
	require.ErrorIs(t, err, ledger.ErrInvalid)
	require.True(t, consumererror.IsPermanent(err), "sending again can't help")
	require.NotContains(t, err.Error(), "xxx")
}

func TestKeysAreMadeAtTheFirstStart(t *testing.T) {
	cfg := inFolder(t)
	traces, logs := start(t, cfg, settings(), newHost())
	keys := cfg.beside("keys")
	before := map[string]string{}
	for name, mode := range map[string]fs.FileMode{
		"checkpoint.key": 0o600, "checkpoint.pub": 0o644, "content.identity": 0o600, "content.pub": 0o644,
	} {
		st, err := os.Stat(filepath.Join(keys, name))
		require.NoError(t, err)
		if runtime.GOOS != "windows" {
			require.Equal(t, mode, st.Mode().Perm(), name)
		}
		b, err := os.ReadFile(filepath.Join(keys, name))
		require.NoError(t, err)
		before[name] = string(b)
	}
	require.NoError(t, traces.ConsumeTraces(t.Context(), tracesOf(observation(1, 1))))
	stop(t, traces, logs)

	start(t, cfg, settings(), newHost())
	for name, text := range before {
		b, err := os.ReadFile(filepath.Join(keys, name))
		require.NoError(t, err)
		require.Equal(t, text, string(b), "%s is not made anew", name)
	}
	require.Equal(t, []string{read(t, cfg)[0].stream}, streams(t, cfg), "the log goes on")
}

func streams(t testing.TB, cfg *Config) []string {
	t.Helper()
	r, err := ledger.OpenReader(cfg.Directory)
	require.NoError(t, err)
	defer func() { require.NoError(t, r.Close()) }()
	s, err := r.Streams()
	require.NoError(t, err)
	return s
}

func TestStartErrorsNameTheirKey(t *testing.T) {
	exposed := func(t *testing.T, cfg *Config) {
		if runtime.GOOS == "windows" {
			t.Skip("no mode bits")
		}
		traces, logs := start(t, cfg, settings(), newHost())
		stop(t, traces, logs)
		require.NoError(t, os.Chmod(cfg.beside("keys", "checkpoint.key"), 0o644))
	}
	file := func(t *testing.T, path string) {
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, []byte("not a key\n"), 0o600))
	}
	tests := []struct {
		name   string
		change func(*Config)
		before func(*testing.T, *Config)
		errs   []string
		is     error
	}{
		{
			name: "no keys and none to be made", change: func(c *Config) { c.Keys.Generate = false },
			errs: []string{"keys::checkpoint: ", "claudeaudit keygen"}, is: fs.ErrNotExist,
		},
		{
			name:   "no content key and none to be made",
			change: func(c *Config) { c.Keys.Generate = false },
			before: func(t *testing.T, c *Config) {
				k, err := seal.GenerateCheckpointKey("test")
				require.NoError(t, err)
				require.NoError(t, seal.WriteCheckpointKey(k, c.checkpointKeyPath(), c.beside("keys", "checkpoint.pub")))
			},
			errs: []string{"keys::content: ", "claudeaudit keygen"}, is: fs.ErrNotExist,
		},
		{
			name:   "a named key is never made",
			change: func(c *Config) { c.Keys.Checkpoint = filepath.Join(c.Directory, "no-such.key") },
			errs:   []string{"keys::checkpoint: "}, is: fs.ErrNotExist,
		},
		{name: "readable by others", before: exposed, errs: []string{"keys::checkpoint: ", "0600"}, is: seal.ErrExposed},
		{
			name:   "checkpoint key that is none",
			before: func(t *testing.T, c *Config) { file(t, c.checkpointKeyPath()) },
			errs:   []string{"keys::checkpoint: "}, is: seal.ErrKey,
		},
		{
			name:   "content key that is none",
			before: func(t *testing.T, c *Config) { file(t, c.contentKeyPath()) },
			errs:   []string{"keys::content: "}, is: seal.ErrKey,
		},
		{
			name:   "keys in a folder that is a file",
			before: func(t *testing.T, c *Config) { file(t, c.beside("keys")) },
			errs:   []string{"keys::directory: "},
		},
		{
			name:   "witness in a folder that is a file",
			before: func(t *testing.T, c *Config) { file(t, c.beside("witness")) },
			errs:   []string{"witness::files[0]: "},
		},
		{
			name:   "ledger's folder is a file",
			before: func(t *testing.T, c *Config) { file(t, c.Directory) },
			errs:   []string{"directory: "},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg := inFolder(t)
			if tt.change != nil {
				tt.change(cfg)
			}
			if tt.before != nil {
				tt.before(t, cfg)
			}
			traces, err := NewFactory().CreateTraces(t.Context(), settings(), cfg)
			require.NoError(t, err)
			err = traces.Start(t.Context(), newHost())
			for _, e := range tt.errs {
				require.ErrorContains(t, err, e)
			}
			if tt.is != nil {
				require.ErrorIs(t, err, tt.is)
			}
			require.NotContains(t, err.Error(), "not a key\n")
			stop(t, traces)
		})
	}
}

func TestTwoExportersOnOneFolder(t *testing.T) {
	cfg := inFolder(t)
	traces, logs := start(t, cfg, settings(), newHost())
	second, err := NewFactory().CreateTraces(t.Context(), settings(), cfg)
	require.NoError(t, err)
	err = second.Start(t.Context(), newHost())
	require.ErrorIs(t, err, ledger.ErrLocked)
	require.ErrorContains(t, err, "directory: ")
	stop(t, second)

	require.NoError(t, traces.ConsumeTraces(t.Context(), tracesOf(observation(1, 1))), "the first goes on")
	stop(t, traces, logs)
	third, _ := start(t, cfg, settings(), newHost())
	require.NoError(t, third.ConsumeTraces(t.Context(), tracesOf(observation(2, 1))))
	require.Len(t, read(t, cfg), 2)
}

func TestCheckpointsReachTheWitness(t *testing.T) {
	a, b := filepath.Join(t.TempDir(), "a"), filepath.Join(t.TempDir(), "b")
	cfg := inFolder(t, func(c *Config) {
		c.Witness.Files = []string{a, b}
		c.Origin = "claudeaudit/test-1"
		c.Segment.MaxEntries = 1
	})
	traces, logs := start(t, cfg, settings(), newHost())
	require.NoError(t, traces.ConsumeTraces(t.Context(), tracesOf(observation(1, 1))))
	stop(t, traces, logs)
	for _, path := range cfg.Witness.Files {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Contains(t, string(text), "claudeaudit/test-1/1\n")
	}
	require.Equal(t, []string{"claudeaudit/test-1/1"}, streams(t, cfg))
}

func TestDeadline(t *testing.T) {
	cfg := inFolder(t)
	traces, _ := start(t, cfg, settings(), newHost())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := traces.ConsumeTraces(ctx, tracesOf(observation(1, 1)))
	if err != nil {
		require.True(t, errors.Is(err, context.Canceled), err)
		require.False(t, consumererror.IsPermanent(err))
	}
	require.NoError(t, traces.ConsumeTraces(t.Context(), tracesOf(observation(1, 1))))
	require.Len(t, read(t, cfg), 1, "sent again, stored once")
}

// The ledger says when it was started and stopped, around what it took meanwhile.
func TestSaysThatItRuns(t *testing.T) {
	cfg := inFolder(t, func(c *Config) { c.AliveInterval = time.Minute })
	for n := range byte(2) {
		traces, logs := start(t, cfg, settings(), newHost())
		require.NoError(t, traces.ConsumeTraces(t.Context(), tracesOf(observation(n+1, 1))))
		stop(t, traces, logs)
	}
	var operations, stopped []string
	for _, e := range read(t, cfg) {
		operations = append(operations, e.Operation)
		for _, d := range e.Details {
			if d.Name == "previous_stopped" {
				stopped = append(stopped, d.Value)
			}
		}
	}
	require.Equal(t, []string{alive.OpStart, "", alive.OpStop, alive.OpStart, "", alive.OpStop}, operations)
	require.Equal(t, []string{"true"}, stopped)
}

// A first start that is killed between the two halves of a pair leaves the
// secret one; the next start makes the other of it.
func TestHalfMadeKeysAreCompleted(t *testing.T) {
	cfg := createDefaultConfig().(*Config)
	cfg.Directory = filepath.Join(t.TempDir(), "ledger")
	first, err := loadKeys(t.Context(), cfg, zaptest.NewLogger(t))
	require.NoError(t, err)
	for _, name := range []string{"checkpoint.pub", "content.pub"} {
		require.NoError(t, os.Remove(filepath.Join(cfg.keysDir(), name)))
	}
	again, err := loadKeys(t.Context(), cfg, zaptest.NewLogger(t))
	require.NoError(t, err)
	require.Equal(t, first.content.String(), again.content.String())
	public, err := seal.LoadVerifierKeys(filepath.Join(cfg.keysDir(), "checkpoint.pub"))
	require.NoError(t, err)
	require.Equal(t, []string{first.checkpoint.VerifierKey}, public)
}
