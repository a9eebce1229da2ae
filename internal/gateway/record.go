package gateway

import (
	"context"
	"time"

	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.uber.org/zap"

	"github.com/claudeaudit/claudeaudit/internal/audit"
	"github.com/claudeaudit/claudeaudit/internal/genai"
	"github.com/claudeaudit/claudeaudit/internal/ledger"
)

// Names of the events.
const (
	eventInitiated = "claudeaudit.gateway.initiated"
	eventEnded     = "claudeaudit.gateway.ended"
)

// consume hands tellings on. It does not end when the client leaves: half a
// record would be worse than one that came too late.
func (g *Gateway) consume(ctx context.Context, event string, its ...*genai.Interaction) error {
	ld := plog.NewLogs()
	sl := ld.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty()
	sl.Scope().SetName(g.set.Name)
	sl.LogRecords().EnsureCapacity(len(its))
	for i, it := range its {
		rec := sl.LogRecords().AppendEmpty()
		rec.SetEventName(event)
		genai.PutGateway(rec, i, it)
	}
	ctx, cancel := context.WithTimeout(genai.WithGateway(context.WithoutCancel(ctx), genai.Told{Calls: its, Names: &g.names}), g.set.Limits.RecordTimeout)
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
// them: telemetry of the client's that names one of them then finds the call.
func (g *Gateway) answering(c *call, responseID string) {
	if responseID != "" || c.requestID != "" {
		g.names.NameCall(c.id, responseID, c.requestID)
	}
}

// ended is a call that ended, and the requests of the batch that it didn't make.
type ended struct {
	it    *genai.Interaction
	items []*call
}

const (
	// recorders are how many outcomes, or groups of them, are recorded at a time.
	recorders = 4
	// recordAtOnce is how many outcomes are recorded in one group.
	recordAtOnce = 64
)

// outcome records how a call ended, without keeping its client waiting. It is tried until it
// works or the gateway stops: a call that has no end is found at the next start. What ends while others
// are being recorded is recorded together.
func (g *Gateway) outcome(c *call, it *genai.Interaction) {
	e := ended{it: it}
	if c.op.batch == "" { // else it was made: they end with their results
		e.items = c.items
	}
	select {
	case g.ended <- e:
	default: // as many as may be wait already: now the client waits too
		ctx := context.WithoutCancel(c.r.Context())
		g.recordItems(ctx, it, e.items)
		g.recordOutcome(ctx, it)
	}
}

// recordEnded records what has ended, until there is no more to come.
func (g *Gateway) recordEnded() {
	group := make([]*genai.Interaction, 0, recordAtOnce)
	for e := range g.ended {
		for more := true; more; {
			// Before the end of the batch they are of.
			g.recordItems(context.Background(), e.it, e.items)
			group = append(group, e.it)
			more = false
			if len(group) < recordAtOnce {
				select {
				case e, more = <-g.ended:
				default:
				}
			}
		}
		g.recordOutcome(context.Background(), group...)
		clear(group)
		group = group[:0]
	}
}

const (
	firstRetry = 100 * time.Millisecond
	lastRetry  = 10 * time.Second
	// retriesAtStop is how often an outcome is tried when the gateway stops.
	retriesAtStop = 3
)

func (g *Gateway) recordOutcome(ctx context.Context, its ...*genai.Interaction) {
	id, calls := zap.String("event_id", its[0].Gateway.CallID.String()), zap.Int("calls", len(its))
	ctx = ledger.Patient(ctx) // what waits for a sync is another call, about to begin
	wait, stopped := firstRetry, 0
	for {
		err := g.consume(ctx, eventEnded, its...)
		g.health(err)
		if err == nil {
			return
		}
		if consumererror.IsPermanent(err) && len(its) > 1 {
			for _, it := range its { // of which one may be the reason
				g.recordOutcome(ctx, it)
			}
			return
		}
		for range its {
			g.set.Metrics.Unrecorded(eventEnded)
		}
		if consumererror.IsPermanent(err) {
			g.set.Logger.Error("the outcome of a call was refused for good", id, zap.Error(err))
			return
		}
		if wait == firstRetry {
			g.set.Logger.Warn("the outcome of a call can't be recorded; trying again", id, calls, zap.Error(err))
		}
		select {
		case <-time.After(wait):
		case <-g.stopping:
			if stopped++; stopped > retriesAtStop {
				g.set.Logger.Error("the outcome of a call was not recorded; the next start closes it as interrupted", id, calls, zap.Error(err))
				return
			}
			time.Sleep(firstRetry)
		}
		wait = min(2*wait, lastRetry)
	}
}
