package gateway

import (
	"context"
	"slices"
	"time"

	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.uber.org/zap"

	"github.com/claudeaudit/claudeaudit/internal/audit"
	"github.com/claudeaudit/claudeaudit/internal/genai"
)

// Names of the events.
const (
	eventInitiated = "claudeaudit.gateway.initiated"
	eventAnswering = "claudeaudit.gateway.answering"
	eventEnded     = "claudeaudit.gateway.ended"
)

// consume hands tellings on. It does not end when the client leaves: half a
// record would be worse than one that came too late.
func (g *Gateway) consume(ctx context.Context, event string, its ...*genai.Interaction) error {
	ld := plog.NewLogs()
	sl := ld.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty()
	sl.Scope().SetName(g.set.Name)
	sl.LogRecords().EnsureCapacity(len(its))
	for _, it := range its {
		rec := sl.LogRecords().AppendEmpty()
		rec.SetEventName(event)
		genai.PutGateway(rec, it)
	}
	ctx, cancel := context.WithTimeout(genai.WithGateway(context.WithoutCancel(ctx)), g.set.Limits.RecordTimeout)
	defer cancel()
	return g.set.Next.ConsumeLogs(ctx, ld)
}

// initiated records a call that is about to be forwarded. When it returns nil the record is
// durable.
func (g *Gateway) initiated(c *call) error {
	it := c.initial()
	it.Gateway.Status = audit.StatusInitiated
	from := time.Now()
	err := g.consume(c.r.Context(), eventInitiated, it)
	if err == nil {
		err = g.initiatedItems(c)
	}
	g.set.Metrics.Recorded(time.Since(from))
	if err != nil {
		g.set.Metrics.Unrecorded(eventInitiated)
	}
	g.health(err)
	return err
}

// answering tells the processor what ids the API gave the answer, before the client can know
// them: telemetry of the client's that names one of them then finds the call. It makes no record.
func (g *Gateway) answering(c *call, responseID string) {
	if responseID == "" && c.requestID == "" {
		return
	}
	it := &genai.Interaction{ResponseID: responseID, RequestID: c.requestID, Gateway: &genai.Gateway{CallID: c.id}}
	if err := g.consume(c.r.Context(), eventAnswering, it); err != nil {
		// The index finds the two tellings by the response id all the same.
		g.set.Metrics.Unrecorded(eventAnswering)
	}
}

// outcome records how a call ended, without keeping its client waiting. It is tried until it
// works or the gateway stops: a call that has no end is found at the next start.
func (g *Gateway) outcome(c *call, it *genai.Interaction) {
	g.outcomes.Add(1)
	ctx := context.WithoutCancel(c.r.Context())
	record := func() {
		defer g.outcomes.Done()
		for some := range slices.Chunk(c.itemOutcomes(it), tellAtOnce) {
			g.recordOutcome(ctx, some...)
		}
		g.recordOutcome(ctx, it)
	}
	select {
	case g.slots <- struct{}{}:
		go func() {
			defer func() { <-g.slots }()
			record()
		}()
	default:
		record() // as many as may be wait already: now the client waits too
	}
}

const (
	firstRetry = 100 * time.Millisecond
	lastRetry  = 10 * time.Second
	// retriesAtStop is how often an outcome is tried when the gateway stops.
	retriesAtStop = 3
)

func (g *Gateway) recordOutcome(ctx context.Context, its ...*genai.Interaction) {
	id := zap.String("event_id", its[0].Gateway.CallID.String())
	wait, stopped := firstRetry, 0
	for {
		err := g.consume(ctx, eventEnded, its...)
		g.health(err)
		if err == nil {
			return
		}
		g.set.Metrics.Unrecorded(eventEnded)
		if consumererror.IsPermanent(err) {
			g.set.Logger.Error("the outcome of a call was refused for good", id, zap.Error(err))
			return
		}
		if wait == firstRetry {
			g.set.Logger.Warn("the outcome of a call can't be recorded; trying again", id, zap.Error(err))
		}
		select {
		case <-time.After(wait):
		case <-g.stopping:
			if stopped++; stopped > retriesAtStop {
				g.set.Logger.Error("the outcome of a call was not recorded; the next start closes it as interrupted", id, zap.Error(err))
				return
			}
			time.Sleep(firstRetry)
		}
		wait = min(2*wait, lastRetry)
	}
}
