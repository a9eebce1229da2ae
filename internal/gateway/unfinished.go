package gateway

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"

	"github.com/claudeaudit/claudeaudit/internal/audit"
	"github.com/claudeaudit/claudeaudit/internal/genai"
	"github.com/claudeaudit/claudeaudit/internal/ledger"
)

// tailEntries is how many of a ledger's last entries are looked through for calls without an end.
const tailEntries = 1 << 20

// Unfinished finds the calls that the gateway of this name began and never told the end of, in
// the tails of a ledger's streams. A ledger that isn't there yet has none. Calls
// that began after before are not looked at: they may be under way.
func Unfinished(ctx context.Context, dir, name string, before time.Time) ([]audit.Record, error) {
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	r, err := ledger.OpenReader(dir)
	if err != nil {
		return nil, fmt.Errorf("open the ledger: %w", err)
	}
	defer r.Close()
	streams, err := r.Streams()
	if err != nil {
		return nil, fmt.Errorf("list the ledger's streams: %w", err)
	}
	open := map[uuid.UUID]audit.Record{}
	ended := map[uuid.UUID]bool{} // in another stream, should it be read first
	for _, s := range streams {
		err := r.Tail(ctx, s, tailEntries, func(_ uint64, line []byte) error {
			rec, err := audit.ParseRecord(line)
			switch {
			case err != nil || rec.Source.Dialect != genai.DialectGateway || rec.Source.Scope != name:
				// Not ours: the processor, which reads the same entries, says how many it can't read.
			case rec.Status != audit.StatusInitiated:
				ended[rec.EventID] = true
				delete(open, rec.EventID)
			case !ended[rec.EventID] && rec.Timestamp.Before(before) && rec.Call.BatchItem == "":
				open[rec.EventID] = rec
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("read the ledger's tail: %w", err)
		}
	}
	out := make([]audit.Record, 0, len(open))
	for _, rec := range open {
		out = append(out, rec)
	}
	return out, nil
}

// closeAtOnce is how many calls are closed in one request.
const closeAtOnce = 256

// CloseKilled records of calls that Unfinished found that they were interrupted: what became of
// them nobody knows. It does so in the background, and tries until it works.
func (g *Gateway) CloseKilled(ctx context.Context, calls []audit.Record) {
	for from := 0; from < len(calls); from += closeAtOnce {
		var its []*genai.Interaction
		for i := range calls[from:min(from+closeAtOnce, len(calls))] {
			rec := &calls[from+i]
			its = append(its, &genai.Interaction{
				Start: rec.Timestamp, Operation: rec.Operation, Provider: rec.Provider, RequestModel: rec.RequestModel,
				ErrorType: audit.EndedKilled,
				Gateway: &genai.Gateway{
					CallID: rec.EventID, Activity: rec.Kind == audit.KindActivity, Status: audit.StatusInterrupted,
					Assurance: rec.IdentityAssurance, Ended: audit.EndedKilled, Surface: rec.Call.Surface,
					RequestSHA256: rec.Call.RequestSHA256, ClientKey: rec.Call.ClientKey,
				},
			})
		}
		g.outcomes.Go(func() { g.recordOutcome(context.WithoutCancel(ctx), its...) })
	}
	if len(calls) > 0 {
		g.set.Logger.Warn("calls that the last run left without an end are closed as interrupted", zap.Int("calls", len(calls)))
	}
}
