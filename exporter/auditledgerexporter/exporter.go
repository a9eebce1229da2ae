package auditledgerexporter

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/otel/metric"
	"go.uber.org/zap"

	"github.com/claudeaudit/claudeaudit/exporter/auditledgerexporter/internal/metadata"
	"github.com/claudeaudit/claudeaudit/internal/alive"
	"github.com/claudeaudit/claudeaudit/internal/audit"
	"github.com/claudeaudit/claudeaudit/internal/heap"
	"github.com/claudeaudit/claudeaudit/internal/keystore"
	"github.com/claudeaudit/claudeaudit/internal/ledger"
	"github.com/claudeaudit/claudeaudit/internal/retention"
	"github.com/claudeaudit/claudeaudit/internal/seal"
	"github.com/claudeaudit/claudeaudit/internal/subject"
	"github.com/claudeaudit/claudeaudit/internal/witness"
)

type ledgerExporter struct {
	cfg    *Config
	set    component.TelemetrySettings
	tb     *metadata.TelemetryBuilder
	log    *ledger.Log
	key    *seal.Recipient   // nil: there are subjects' keys
	keys   *keystore.Writer  // nil: content is sealed to key itself
	policy *retention.Policy // nil: none
	alive  *alive.Writer     // nil: it is not said
	host   component.Host
	closer []interface{ Close() error }

	noteMu sync.Mutex
	notes  []audit.Record // entries about the ledger itself that wait for room
	noting atomic.Bool    // notes has some

	statusMu sync.Mutex
	refusing error // why entries are refused
	unsealed error // why nothing can be sealed
	low      error // what there is little left of
	lowRoom  atomic.Bool
}

func newExporter(cfg *Config, set component.TelemetrySettings) (*ledgerExporter, error) {
	tb, err := metadata.NewTelemetryBuilder(set)
	if err != nil {
		return nil, err
	}
	return &ledgerExporter{cfg: cfg, set: set, tb: tb}, nil
}

// Start opens the ledger: it recovers what the last run left.
func (e *ledgerExporter) Start(ctx context.Context, host component.Host) error {
	e.host = host
	heap.Ease()
	k, err := loadKeys(ctx, e.cfg, e.set.Logger)
	if k.checkpoint != nil {
		e.closer = append(e.closer, k.checkpoint)
	}
	if err != nil {
		return errors.Join(err, e.closeAll())
	}
	e.key, _ = k.content.(*seal.Recipient) // else there are subjects' keys
	if err := e.openKeys(ctx, k); err != nil {
		return errors.Join(err, e.closeAll())
	}
	var witnesses []ledger.Witness
	for i, path := range e.cfg.witnessFiles() {
		w, err := ledger.NewFileWitness(path)
		if err != nil {
			return errors.Join(fmt.Errorf("witness::files[%d]: %w", i, err), e.closeAll())
		}
		e.closer = append(e.closer, w)
		witnesses = append(witnesses, w)
	}
	c := e.cfg
	for i, s := range c.Witness.Servers {
		v, err := s.verifier()
		if err != nil {
			return errors.Join(fmt.Errorf("witness::servers[%d]::public_key: %w", i, err), e.closeAll())
		}
		w, err := witness.NewClient(s.URL, v, c.Timeout)
		if err != nil {
			return errors.Join(fmt.Errorf("witness::servers[%d]::url: %w", i, err), e.closeAll())
		}
		e.closer = append(e.closer, w)
		witnesses = append(witnesses, ledger.Cosigner{Client: w})
	}
	if e.policy, err = c.Retention.policy(); err != nil {
		return errors.Join(err, e.closeAll())
	}
	store, err := e.openStore(ctx)
	if err != nil {
		return errors.Join(err, e.closeAll())
	}
	opts := ledger.Options{
		Dir: c.Directory, Store: store, Origin: c.Origin,
		Signer: k.checkpoint.Signer, VerifierKey: k.checkpoint.VerifierKey, Witnesses: witnesses,
		MaxSpoolBytes: c.Spool.MaxBytes, MinFreeBytes: c.Spool.MinFreeBytes,
		SegmentBytes: c.Segment.MaxBytes, SegmentEntries: c.Segment.MaxEntries, SegmentAge: c.Segment.MaxAge,
		DedupEntries: c.Dedup.MaxEntries, DedupAge: c.Dedup.MaxAge,
		State: e.sealing, Logger: e.set.Logger,
	}
	if e.policy != nil {
		opts.Retention = e.policy.Until
	}
	if e.log, err = ledger.Open(ctx, opts); err != nil {
		return errors.Join(fmt.Errorf("directory: open the ledger: %w", err), e.closeAll())
	}
	if store != nil {
		if err := ledger.WriteLocation(c.Directory, c.location()); err != nil {
			return errors.Join(fmt.Errorf("directory: %w", err), e.log.Close(ctx), e.closeAll())
		}
	}
	if c.AliveInterval > 0 {
		e.alive = alive.Start(ctx, e.log, c.Directory, c.AliveInterval, e.retain, e.set.Logger)
	}
	if err := e.flushNotes(ctx); err != nil {
		e.set.Logger.Warn("what the store says of itself is not in the ledger yet", zap.Error(err))
	}
	return e.register()
}

func (e *ledgerExporter) register() error {
	observe := func(f func(ledger.Stats) int64) metric.Int64Callback {
		return func(_ context.Context, o metric.Int64Observer) error {
			o.Observe(f(e.log.Stats()))
			return nil
		}
	}
	return errors.Join(
		e.tb.RegisterLedgerDuplicatesCallback(observe(func(s ledger.Stats) int64 { return int64(s.Duplicates) })),
		e.tb.RegisterLedgerEntriesCallback(observe(func(s ledger.Stats) int64 { return int64(s.Durable) })),
		e.tb.RegisterLedgerErrorsCallback(observe(func(s ledger.Stats) int64 {
			return int64(s.WriteErrors + s.SyncErrors + s.SignErrors + s.StoreErrors + s.WitnessErrors)
		})),
		e.tb.RegisterLedgerSpoolCallback(observe(func(s ledger.Stats) int64 { return s.SpoolBytes })),
		e.tb.RegisterLedgerUncoveredCallback(observe(func(s ledger.Stats) int64 { return int64(s.Durable - s.Checkpointed) })),
	)
}

// Shutdown seals what is open.
func (e *ledgerExporter) Shutdown(ctx context.Context) error {
	e.tb.Shutdown()
	var err error
	if e.alive != nil {
		e.alive.Stop(ctx)
	}
	if e.log != nil {
		err = e.log.Close(ctx)
	}
	return errors.Join(err, e.closeAll())
}

func (e *ledgerExporter) closeAll() error {
	var errs []error
	for _, c := range e.closer {
		errs = append(errs, c.Close())
	}
	e.closer = nil
	return errors.Join(errs...)
}

func (e *ledgerExporter) consumeTraces(ctx context.Context, td ptrace.Traces) error {
	var entries []ledger.Entry
	for _, rs := range td.ResourceSpans().All() {
		for _, ss := range rs.ScopeSpans().All() {
			for _, span := range ss.Spans().All() {
				var err error
				if entries, err = e.add(ctx, entries, span.Attributes()); err != nil {
					return err
				}
				for _, ev := range span.Events().All() {
					if ev.Name() != audit.ObservationEvent {
						continue
					}
					if entries, err = e.add(ctx, entries, ev.Attributes()); err != nil {
						return err
					}
				}
			}
		}
	}
	return e.append(ctx, entries)
}

func (e *ledgerExporter) consumeLogs(ctx context.Context, ld plog.Logs) error {
	var entries []ledger.Entry
	for _, rl := range ld.ResourceLogs().All() {
		for _, sl := range rl.ScopeLogs().All() {
			for _, rec := range sl.LogRecords().All() {
				var err error
				if entries, err = e.add(ctx, entries, rec.Attributes()); err != nil {
					return err
				}
			}
		}
	}
	return e.append(ctx, entries)
}

// add makes the entry of the observation that the attributes hold, if they hold
// one, and seals its content.
func (e *ledgerExporter) add(ctx context.Context, entries []ledger.Entry, m pcommon.Map) ([]ledger.Entry, error) {
	r := new(audit.Record)
	if !r.FromAttributes(m) {
		return entries, nil
	}
	e.retain(r)
	entry, err := entryOf(r)
	if err != nil {
		return nil, consumererror.NewPermanent(err)
	}
	input, system, output := text(m, audit.AttrInputMessages), text(m, audit.AttrSystemInstructions), text(m, audit.AttrOutputMessages)
	key := e.key
	if e.keys != nil && (input != "" || system != "" || output != "") {
		// Durable before anything that is sealed to it.
		if key, err = e.keys.For(ctx, subject.Of(r)); err != nil {
			return nil, err
		}
	}
	if input != "" || system != "" {
		sum, err := sealContent(key, &entry, audit.PromptAAD(r.EventID), prompt(input, system)...)
		if err != nil {
			return nil, err
		}
		r.Content.PromptSHA256 = sum
	}
	if output != "" {
		sum, err := sealContent(key, &entry, audit.ResponseAAD(r.EventID), output)
		if err != nil {
			return nil, err
		}
		r.Content.ResponseSHA256 = sum
	}
	if len(entry.Contents) > 0 {
		r.Content.KeyID, r.Content.Suite = key.KeyID(), seal.Suite
	}
	return append(entries, entry), nil
}

// entryOf makes an entry of a record that has a digest.
func entryOf(r *audit.Record) (ledger.Entry, error) {
	entry := ledger.Entry{ID: r.EventID, Time: r.Timestamp, Body: r, Class: r.RetentionClass}
	if n, err := hex.Decode(entry.Digest[:], []byte(r.Source.Digest[:min(len(r.Source.Digest), 2*len(entry.Digest))])); err != nil || n != len(entry.Digest) {
		return entry, errors.New("the observation has no digest: it must come from the claude_audit processor")
	}
	return entry, nil
}

// prompt is the canonical prompt in stored form, in pieces.
func prompt(input, system string) []string {
	return []string{`{"messages":`, cmp.Or(input, "[]"), `,"system":`, cmp.Or(system, "[]"), "}"}
}

func text(m pcommon.Map, key string) string {
	if v, ok := m.Get(key); ok && v.Type() == pcommon.ValueTypeStr {
		return v.Str()
	}
	return ""
}

func sealContent(key *seal.Recipient, entry *ledger.Entry, aad []byte, texts ...string) (string, error) {
	c, err := key.SealJoined(aad, texts...)
	if err != nil {
		return "", fmt.Errorf("seal content: %w", err)
	}
	entry.Contents = append(entry.Contents, c)
	sum := sha256.Sum256(c)
	return hex.EncodeToString(sum[:]), nil
}

// append returns when the entries are on disk. Its error makes the client send
// again, unless sending again could not help.
func (e *ledgerExporter) append(ctx context.Context, entries []ledger.Entry) error {
	if len(entries) == 0 {
		return nil
	}
	_, err := e.log.Append(ctx, entries)
	if err == nil {
		e.report(nil)
		e.room(e.log.Room())
		if e.noting.Load() {
			if err := e.flushNotes(ctx); err != nil {
				e.set.Logger.Warn("what the store says of itself is not in the ledger yet", zap.Error(err))
			}
		}
		return nil
	}
	e.tb.LedgerRefused.Add(ctx, 1)
	if errors.Is(err, ledger.ErrInvalid) {
		return consumererror.NewPermanent(fmt.Errorf("append to the ledger: %w", err))
	}
	if errors.Is(err, ledger.ErrFull) || errors.Is(err, ledger.ErrUnavailable) {
		e.report(err)
	}
	return fmt.Errorf("append to the ledger: %w", err)
}

// report shows in the component's status, once each way, whether the ledger
// takes entries.
func (e *ledgerExporter) report(err error) {
	e.statusMu.Lock()
	defer e.statusMu.Unlock()
	if refusing := err != nil; refusing != (e.refusing != nil) {
		e.refusing = err
		if refusing {
			e.set.Logger.Error("ledger refuses entries; clients are told to send again", zap.Error(err))
		} else {
			e.set.Logger.Info("ledger takes entries again")
		}
		e.showStatus()
	}
}

// room shows, once each way, that entries will be refused before long unless something is done.
func (e *ledgerExporter) room(err error) {
	if e.lowRoom.Load() == (err != nil) {
		return
	}
	e.statusMu.Lock()
	defer e.statusMu.Unlock()
	if e.lowRoom.Load() == (err != nil) {
		return
	}
	e.lowRoom.Store(err != nil)
	e.low = err
	if err != nil {
		e.set.Logger.Error("ledger is running out of room; entries are still taken", zap.Error(err))
	} else {
		e.set.Logger.Info("ledger has room again")
	}
	e.showStatus()
}

// sealing shows the same of whether what is on disk gets into the store and to
// the witnesses.
func (e *ledgerExporter) sealing(err error) {
	e.statusMu.Lock()
	defer e.statusMu.Unlock()
	e.unsealed = err
	if err != nil {
		e.set.Logger.Error("ledger can't seal; entries stay on this disk, and it is tried again", zap.Error(err))
	} else {
		e.set.Logger.Info("ledger seals again")
	}
	e.showStatus()
}

// showStatus is called with statusMu.
func (e *ledgerExporter) showStatus() {
	if err := errors.Join(e.refusing, e.unsealed, e.low); err != nil {
		componentstatus.ReportStatus(e.host, componentstatus.NewRecoverableErrorEvent(err))
		return
	}
	componentstatus.ReportStatus(e.host, componentstatus.NewEvent(componentstatus.StatusOK))
}
