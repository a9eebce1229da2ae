package claudeauditprocessor

import (
	"cmp"
	"context"
	"errors"
	"strings"
	"sync"

	"github.com/google/uuid"
	"github.com/open-telemetry/opentelemetry-collector-contrib/pkg/ottl/contexts/ottllog"
	"github.com/open-telemetry/opentelemetry-collector-contrib/pkg/ottl/contexts/ottlspan"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.uber.org/zap"

	"github.com/claudeaudit/claudeaudit/internal/audit"
	"github.com/claudeaudit/claudeaudit/internal/dlp"
	"github.com/claudeaudit/claudeaudit/internal/genai"
	"github.com/claudeaudit/claudeaudit/internal/identity"
	"github.com/claudeaudit/claudeaudit/processor/claudeauditprocessor/internal/metadata"
)

// auditProcessor serves both signals of one component id: they share the
// window, because a call is told by spans and log records together.
type auditProcessor struct {
	cfg      *Config
	set      component.TelemetrySettings
	logger   *zap.Logger
	tb       *metadata.TelemetryBuilder
	window   *identity.Window
	requests sync.Pool // of *request
	pseudo   masker
	detector *detector
	spanCond conditions[*ottlspan.TransformContext]
	logCond  conditions[*ottllog.TransformContext]
}

func newProcessor(cfg *Config, set component.TelemetrySettings) (*auditProcessor, error) {
	tb, err := metadata.NewTelemetryBuilder(set)
	if err != nil {
		return nil, err
	}
	p := &auditProcessor{
		cfg: cfg, set: set, logger: set.Logger, tb: tb, window: identity.New(cfg.IdentityWindow.options()),
	}
	p.requests.New = func() any {
		return &request{reader: genai.NewReader(genai.Limits{MaxContentBytes: cfg.Limits.MaxContentBytes})}
	}
	sp, err := spanParser(set)
	if err != nil {
		return nil, err
	}
	if p.spanCond, err = parseConditions(cfg, sp); err != nil {
		return nil, err
	}
	lp, err := logParser(set)
	if err != nil {
		return nil, err
	}
	if p.logCond, err = parseConditions(cfg, lp); err != nil {
		return nil, err
	}
	return p, nil
}

// Start reads the keys and the detection rules, and rebuilds the identity window
// from the ledger.
func (p *auditProcessor) Start(ctx context.Context, host component.Host) error {
	var err error
	if p.pseudo, err = newMasker(p.cfg); err != nil {
		return err
	}
	if err := p.restore(ctx); err != nil {
		return err
	}
	if p.detector, err = startDetector(ctx, &p.cfg.Detection, host, p.set, p.tb); err != nil {
		return err
	}
	window := func(f func(identity.Stats) int64) metric.Int64Callback {
		return func(_ context.Context, o metric.Int64Observer) error {
			o.Observe(f(p.window.Stats()))
			return nil
		}
	}
	for _, register := range []error{
		p.tb.RegisterProcessorWindowCallsCallback(window(func(s identity.Stats) int64 { return int64(s.Calls) })),
		p.tb.RegisterProcessorWindowSpansCallback(window(func(s identity.Stats) int64 { return int64(s.Spans) })),
		p.tb.RegisterProcessorWindowContentCallback(window(func(s identity.Stats) int64 { return s.ContentBytes })),
		p.tb.RegisterProcessorWindowEvictionsCallback(window(func(s identity.Stats) int64 { return s.Evicted })),
	} {
		if register != nil {
			return register
		}
	}
	return nil
}

// Shutdown ends the watch over the rules and the component's telemetry; the window's state is in the ledger.
func (p *auditProcessor) Shutdown(context.Context) error {
	p.detector.shutdown()
	p.tb.Shutdown()
	return nil
}

// dropClaimed removes attributes of the audit namespace: what comes from outside is not believed.
func (p *auditProcessor) dropClaimed(ctx context.Context, m pcommon.Map) {
	n := int64(0)
	m.RemoveIf(func(k string, _ pcommon.Value) bool {
		if !strings.HasPrefix(k, audit.AttrPrefix) {
			return false
		}
		n++
		return true
	})
	if n > 0 {
		p.tb.ProcessorClaimedAttributes.Add(ctx, n)
	}
}

// narrow makes a call of a model that is not recorded the context of others.
func (p *auditProcessor) narrow(in *genai.Interaction) {
	if in.Kind == genai.KindCall && p.cfg.Models != ModelsAll && !in.Claude {
		in.Kind = genai.KindContext
	}
}

// request is what one export request is read into. Its memory is used again.
type request struct {
	reader *genai.Reader
	items  []identity.Item
	spans  []spanRef
	logs   []logRef
}

// maxKept is how many items an idle request has room for.
const maxKept = 1024

func (p *auditProcessor) begin() *request { return p.requests.Get().(*request) }

// end gives a request's memory back.
func (p *auditProcessor) end(r *request) {
	if cap(r.items) > maxKept {
		return
	}
	r.reader.Reset()
	clear(r.items)
	clear(r.spans)
	clear(r.logs)
	r.items, r.spans, r.logs = r.items[:0], r.spans[:0], r.logs[:0]
	p.requests.Put(r)
}

// next is the place of the request's next item.
func (r *request) next() *identity.Item {
	r.items = append(r.items, identity.Item{})
	return &r.items[len(r.items)-1]
}

// encode encodes what was read. Content that takes more than the limit as it is
// stored is hashed and not kept.
func (p *auditProcessor) encode(it *identity.Item) {
	it.Encode()
	if n := it.Encoded.Len(); n > p.cfg.Limits.MaxContentBytes {
		it.Unparsed = append(it.Unparsed, genai.Unparsed{
			Key: "content", Bytes: n, SHA256: cmp.Or(it.Encoded.PromptHash, it.Encoded.ResponseHash), Reason: genai.ReasonTooLarge,
		})
		it.Encoded.System, it.Encoded.Input, it.Encoded.Output = "", "", ""
	}
}

// carrier is the span or log record that an observation is written to.
type carrier[K any] interface {
	attributes() pcommon.Map
	resource() pcommon.Map // its resource's attributes
	// open gives conditions access to it, until it is closed.
	open() (tc K, closeTC func())
}

type spanRef struct {
	rs   ptrace.ResourceSpans
	ss   ptrace.ScopeSpans
	span ptrace.Span
}

func (r spanRef) attributes() pcommon.Map { return r.span.Attributes() }
func (r spanRef) resource() pcommon.Map   { return r.rs.Resource().Attributes() }

func (r spanRef) open() (*ottlspan.TransformContext, func()) {
	tc := ottlspan.NewTransformContextPtr(r.rs, r.ss, r.span)
	return tc, tc.Close
}

func (p *auditProcessor) processTraces(ctx context.Context, td ptrace.Traces) (ptrace.Traces, error) {
	req := p.begin()
	defer p.end(req)
	for _, rs := range td.ResourceSpans().All() {
		p.dropClaimed(ctx, rs.Resource().Attributes())
		res := genai.ReadResource(rs.Resource().Attributes())
		for _, ss := range rs.ScopeSpans().All() {
			p.dropClaimed(ctx, ss.Scope().Attributes())
			for _, span := range ss.Spans().All() {
				p.dropClaimed(ctx, span.Attributes())
				for _, e := range span.Events().All() {
					p.dropClaimed(ctx, e.Attributes())
				}
				for _, l := range span.Links().All() {
					p.dropClaimed(ctx, l.Attributes())
				}
				it := req.next()
				req.reader.Span(&it.Interaction, &res, ss.Scope(), span)
				p.narrow(&it.Interaction)
				genai.StripSpan(span, it.Kind)
				p.encode(it)
				req.spans = append(req.spans, spanRef{rs, ss, span})
			}
		}
	}
	res, refs := p.window.Resolve(req.items, identity.SignalSpan), req.spans
	defer res.Release()
	found, err := p.detector.ask(ctx, res.Observations)
	if err != nil {
		return td, err
	}
	name(p, res.EventIDs, refs)
	for i := range res.Observations {
		o := &res.Observations[i]
		ref := refs[o.Carrier]
		if o.Own {
			record(ctx, p, &p.spanCond, ref, o, at(found, i))
			continue
		}
		e := ref.span.Events().AppendEmpty()
		e.SetName(audit.ObservationEvent)
		e.SetTimestamp(ref.span.EndTimestamp())
		p.recordBeside(ctx, o, at(found, i), e.Attributes())
	}
	p.count(ctx, res.Observations)
	return td, nil
}

type logRef struct {
	rl  plog.ResourceLogs
	sl  plog.ScopeLogs
	rec plog.LogRecord
}

func (r logRef) attributes() pcommon.Map { return r.rec.Attributes() }
func (r logRef) resource() pcommon.Map   { return r.rl.Resource().Attributes() }

func (r logRef) open() (*ottllog.TransformContext, func()) {
	tc := ottllog.NewTransformContextPtr(r.rl, r.sl, r.rec)
	return tc, tc.Close
}

func (p *auditProcessor) processLogs(ctx context.Context, ld plog.Logs) (plog.Logs, error) {
	told, gateway := genai.FromGateway(ctx)
	if gateway {
		told.Names.Tell(p.window)
	}
	req := p.begin()
	defer p.end(req)
	for _, rl := range ld.ResourceLogs().All() {
		p.dropClaimed(ctx, rl.Resource().Attributes())
		res := genai.ReadResource(rl.Resource().Attributes())
		for _, sl := range rl.ScopeLogs().All() {
			p.dropClaimed(ctx, sl.Scope().Attributes())
			for _, rec := range sl.LogRecords().All() {
				p.dropClaimed(ctx, rec.Attributes())
				it := req.next()
				if !gateway {
					req.reader.Log(&it.Interaction, &res, sl.Scope(), rec)
				} else if err := genai.ReadGateway(&it.Interaction, told.Calls, sl.Scope(), rec); err != nil {
					return ld, err
				}
				p.narrow(&it.Interaction)
				genai.StripLog(rec, it.Kind)
				p.encode(it)
				req.logs = append(req.logs, logRef{rl, sl, rec})
			}
		}
	}
	res, refs := p.window.Resolve(req.items, identity.SignalLog), req.logs
	defer res.Release()
	found, err := p.detector.ask(ctx, res.Observations)
	if err != nil {
		return ld, err
	}
	name(p, res.EventIDs, refs)
	for i := range res.Observations {
		if o := &res.Observations[i]; o.Own {
			record(ctx, p, &p.logCond, refs[o.Carrier], o, at(found, i))
		}
	}
	// New records last: appending moves the others.
	for i := range res.Observations {
		o := &res.Observations[i]
		if o.Own {
			continue
		}
		rec := refs[o.Carrier].sl.LogRecords().AppendEmpty()
		rec.SetEventName(audit.ObservationEvent)
		rec.SetTimestamp(pcommon.NewTimestampFromTime(o.Record.Timestamp))
		p.recordBeside(ctx, o, at(found, i), rec.Attributes())
	}
	p.count(ctx, res.Observations)
	return ld, nil
}

// name writes into what is told of a call, each by its reference, which record
// is its own, and masks the caller there.
func name[K any, C carrier[K]](p *auditProcessor, ids []uuid.UUID, refs []C) {
	var masked pcommon.Map
	for i, id := range ids {
		if id == uuid.Nil {
			continue
		}
		attrs := refs[i].attributes()
		attrs.PutStr(audit.AttrRecordID, id.String())
		p.pseudo.maskCaller(attrs)
		if res := refs[i].resource(); res != masked {
			masked = res
			p.pseudo.maskCaller(res)
		}
	}
}

// at is the result for an observation, nil if nothing was asked.
func at(found []dlp.Result, i int) *dlp.Result {
	if found == nil {
		return nil
	}
	return &found[i]
}

// Bases of a classification that rests neither on a condition nor on what was found.
const (
	basisDefault     = "default"
	basisApplication = "application" // the taxonomy's default for it
)

// record classifies an observation of the carrier's own call, completes it and
// writes it there.
func record[K any](ctx context.Context, p *auditProcessor, cs *conditions[K], c carrier[K], o *identity.Observation, external *dlp.Result) {
	r, attrs := &o.Record, c.attributes()
	level, basis := p.detector.find(ctx, o, external)
	r.DataClassification, r.ClassificationBasis = p.cfg.Classification.Default, basisDefault
	if basis == basisApplication {
		r.DataClassification, r.ClassificationBasis = level, basis
	}
	if !cs.any() {
		raise(r, level, basis)
	} else {
		putContent(&o.Content, attrs)
		r.PutAttributes(attrs)
		tc, closeTC := c.open()
		err := cs.classify(ctx, tc, r)
		raise(r, level, basis)
		if len(cs.policies) > 0 {
			r.PutAttributes(attrs)
			err = errors.Join(err, cs.flag(ctx, tc, r))
		}
		closeTC()
		if err != nil {
			p.tb.ProcessorConditionErrors.Add(ctx, 1)
			p.logger.Debug("condition could not be evaluated", zap.Error(err))
		}
	}
	p.finish(&o.Record)
	p.put(o, attrs, cs.any())
}

// recordBeside completes an observation of another carrier's call. It has no
// class but for what is found in it: that of its call is the highest of all.
func (p *auditProcessor) recordBeside(ctx context.Context, o *identity.Observation, external *dlp.Result, attrs pcommon.Map) {
	if level, basis := p.detector.find(ctx, o, external); basis != basisApplication {
		raise(&o.Record, level, basis)
	}
	p.finish(&o.Record)
	p.put(o, attrs, false)
}

// raise gives the record a level if it is higher than that which it has.
func raise(r *audit.Record, level, basis string) {
	if audit.ClassificationLevel(level) > audit.ClassificationLevel(r.DataClassification) {
		r.DataClassification, r.ClassificationBasis = level, basis
	}
}

// Options of the observations' metric by kind of record, made once.
var (
	kindInteraction = metric.WithAttributeSet(attribute.NewSet(attribute.String("kind", audit.KindInteraction)))
	kindActivity    = metric.WithAttributeSet(attribute.NewSet(attribute.String("kind", audit.KindActivity)))
)

// finish masks the caller and completes the record.
func (p *auditProcessor) finish(r *audit.Record) {
	p.pseudo.mask(r)
	r.Complete()
}

// count counts the finished observations of a request.
func (p *auditProcessor) count(ctx context.Context, observations []identity.Observation) {
	var interactions, activities, unparsed int64
	for i := range observations {
		r := &observations[i].Record
		if r.Kind == audit.KindInteraction {
			interactions++
		} else {
			activities++
		}
		if len(r.Unparsed) > 0 {
			unparsed++
		}
	}
	if interactions > 0 {
		p.tb.ProcessorObservations.Add(ctx, interactions, kindInteraction)
	}
	if activities > 0 {
		p.tb.ProcessorObservations.Add(ctx, activities, kindActivity)
	}
	if unparsed > 0 {
		p.tb.ProcessorUnparsed.Add(ctx, unparsed)
	}
}

// put writes the finished observation and its content to its carrier, over what
// the conditions may have seen there.
func (p *auditProcessor) put(o *identity.Observation, m pcommon.Map, seen bool) {
	if seen {
		m.RemoveIf(func(k string, _ pcommon.Value) bool { return strings.HasPrefix(k, audit.AttrPrefix) })
	}
	o.Record.PutAttributes(m)
	if p.cfg.Content == ContentKeep {
		putContent(&o.Content, m)
	} else if seen {
		for _, k := range []string{audit.AttrSystemInstructions, audit.AttrInputMessages, audit.AttrOutputMessages} {
			m.Remove(k)
		}
	}
}

func putContent(c *identity.Encoded, m pcommon.Map) {
	for _, a := range []struct{ key, value string }{
		{audit.AttrSystemInstructions, c.System},
		{audit.AttrInputMessages, c.Input},
		{audit.AttrOutputMessages, c.Output},
	} {
		if a.value != "" {
			m.PutStr(a.key, a.value)
		}
	}
}
