package gateway

import (
	"bytes"
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
	"github.com/claudeaudit/claudeaudit/internal/jcs"
	"github.com/claudeaudit/claudeaudit/internal/ledger"
)

// tailEntries is how many of a ledger's last entries are looked through for calls without an end.
const tailEntries = 1 << 20

// Unfinished finds the calls that the gateway of this name began and never told the end of, in
// the tails of a ledger's streams. A ledger that isn't there yet has none. Calls
// that began after before are not looked at: they may be under way. Requests of a batch end with its
// results: the batches that have none yet are found too.
func Unfinished(ctx context.Context, dir, name string, before time.Time) ([]audit.Record, []*Batch, error) {
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	r, err := ledger.OpenReader(dir)
	if err != nil {
		return nil, nil, fmt.Errorf("open the ledger: %w", err)
	}
	defer r.Close()
	streams, err := r.Streams()
	if err != nil {
		return nil, nil, fmt.Errorf("list the ledger's streams: %w", err)
	}
	ours := oursIn(name)
	open := map[uuid.UUID][]byte{} // lines
	seen := batchesSeen{made: map[string]*Batch{}, calls: map[uuid.UUID]string{}, bySHA: map[string][]uuid.UUID{}, told: map[string]bool{}}
	ended := map[uuid.UUID]bool{} // in another stream, should it be read first
	for _, s := range streams {
		err := r.Tail(ctx, s, tailEntries, func(_ uint64, line []byte) error {
			// Of what can't be read the processor, which reads the same entries, says how many there are.
			id, ok := ours.event(line)
			if !ok {
				return nil
			}
			if bytes.Contains(line, memberActivity) && bytes.Contains(line, memberBatch) {
				if rec, err := audit.ParseRecord(line); err == nil {
					seen.add(&rec)
				}
			}
			switch {
			case !bytes.Contains(line, memberInitiated):
				ended[id] = true
				delete(open, id)
			case !ended[id]:
				open[id] = bytes.Clone(line)
			}
			return nil
		})
		if err != nil {
			return nil, nil, fmt.Errorf("read the ledger's tail: %w", err)
		}
	}
	var out []audit.Record
	for _, line := range open {
		rec, err := audit.ParseRecord(line)
		if err != nil || !rec.Timestamp.Before(before) {
			continue
		}
		if !seen.awaited(&rec, before) {
			out = append(out, rec)
		}
	}
	return out, seen.open(before), nil
}

// Members of a record as they stand in a line. A line is canonical JSON, within whose strings no quote stands without a
// backslash before it: so they are found without its being parsed, which of a million lines takes seconds.
var (
	memberInitiated = []byte(`"status":"` + audit.StatusInitiated + `"`)
	memberActivity  = []byte(`"kind":"` + audit.KindActivity + `"`)
	memberBatch     = []byte(`"batch_id":"`)
	memberEvent     = []byte(`"event_id":"`)
	memberGateway   = []byte(`"dialect":"` + genai.DialectGateway + `"`)
)

// oursIn finds the lines of the gateway of a name.
func oursIn(name string) lineFilter {
	return lineFilter{scope: jcs.AppendString([]byte(`"scope":`), name)}
}

type lineFilter struct{ scope []byte }

// event returns the event of a line that is the gateway's.
func (f *lineFilter) event(line []byte) (id uuid.UUID, ok bool) {
	if !bytes.Contains(line, memberGateway) || !bytes.Contains(line, f.scope) {
		return id, false
	}
	i := bytes.Index(line, memberEvent)
	if i < 0 || len(line) < i+len(memberEvent)+36 {
		return id, false
	}
	id, err := uuid.ParseBytes(line[i+len(memberEvent):][:36])
	return id, err == nil
}

// batchesSeen are the batches that a ledger's tail tells of.
type batchesSeen struct {
	made  map[string]*Batch      // by their ids
	calls map[uuid.UUID]string   // the ids, by the calls that made them
	bySHA map[string][]uuid.UUID // those calls, by what was sent
	told  map[string]bool        // all results are recorded
}

// add takes what a record says of a batch.
func (s *batchesSeen) add(rec *audit.Record) {
	c := &rec.Call
	switch {
	case rec.Kind != audit.KindActivity || c.BatchID == "":
	case rec.Operation == batchCreate && s.made[c.BatchID] == nil:
		s.made[c.BatchID] = &Batch{
			ID: c.BatchID, Surface: Surface(c.Surface), Call: rec.EventID, Start: rec.Timestamp,
			// Names may be pseudonyms here, which must not become pseudonyms of pseudonyms: the first entry has them.
			Who: genai.Who{Application: rec.ApplicationID, Department: rec.Department},
		}
		s.calls[rec.EventID] = c.BatchID
		s.bySHA[c.RequestSHA256] = append(s.bySHA[c.RequestSHA256], rec.EventID)
	case rec.Operation == batchResults && rec.Status == audit.StatusSuccess:
		s.told[c.BatchID] = true
	}
}

// awaited tells whether a call without an end is a request of a batch whose results are still to come.
func (s *batchesSeen) awaited(rec *audit.Record, now time.Time) bool {
	if rec.Call.BatchItem == "" || now.Sub(rec.Timestamp) > BatchResultsKept {
		return false
	}
	for _, create := range s.bySHA[rec.Call.RequestSHA256] {
		if itemID(create, rec.Call.BatchItem) == rec.EventID {
			return !s.told[s.calls[create]]
		}
	}
	return false
}

func (s *batchesSeen) open(now time.Time) []*Batch {
	var out []*Batch
	for id, b := range s.made {
		if !s.told[id] && now.Sub(b.Start) <= BatchResultsKept {
			out = append(out, b)
		}
	}
	return out
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
					BatchID: rec.Call.BatchID, BatchItem: rec.Call.BatchItem,
				},
			})
		}
		g.outcomes.Go(func() { g.recordOutcome(context.WithoutCancel(ctx), its...) })
	}
	if len(calls) > 0 {
		g.set.Logger.Warn("calls that the last run left without an end are closed as interrupted", zap.Int("calls", len(calls)))
	}
}
