package index

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/claudeaudit/claudeaudit/internal/audit"
)

// EraseOperation is the operation of the entries that name the events whose
// fields are erased. Such an entry stands in the log of holds and erasures, has
// status success, and names up to EventsPerErasure events.
const EraseOperation = "subject.erase.events"

const (
	// eventsPerDetail is as many events as a detail has room for in base64, and
	// detailsPerErasure leaves room for others beside.
	eventsPerDetail   = audit.MaxField / 4 * 3 / 16
	detailsPerErasure = audit.MaxItems - 4
	eventDetail       = "events_"

	// EventsPerErasure is how many events one entry names.
	EventsPerErasure = eventsPerDetail * detailsPerErasure
	// maxErased bounds the events that are held in memory, each in about 40 bytes.
	maxErased = 16 << 20
	// erasePerCall is how many events a store is asked to erase at a time.
	erasePerCall = 1000
)

// EraseDetails name events in an entry, at most EventsPerErasure.
func EraseDetails(events []uuid.UUID) map[string]string {
	out := map[string]string{}
	for part := range slices.Chunk(events, eventsPerDetail) {
		b := make([]byte, 0, 16*len(part))
		for _, e := range part {
			b = append(b, e[:]...)
		}
		out[fmt.Sprintf("%s%02d", eventDetail, len(out))] = base64.RawURLEncoding.EncodeToString(b)
	}
	return out
}

// erasedBy returns the events that an entry names, none of another entry.
func erasedBy(r *audit.Record) ([]uuid.UUID, error) {
	if r.Kind != audit.KindSystem || r.Operation != EraseOperation || r.Status != audit.StatusSuccess {
		return nil, nil
	}
	var out []uuid.UUID
	for _, d := range r.Details {
		if !strings.HasPrefix(d.Name, eventDetail) {
			continue
		}
		b, err := base64.RawURLEncoding.DecodeString(d.Value)
		if err != nil || len(b)%16 != 0 {
			return nil, fmt.Errorf("its %s names no events", d.Name)
		}
		for id := range slices.Chunk(b, 16) {
			out = append(out, uuid.UUID(id))
		}
	}
	return out, nil
}

// Erased are the events whose records an index has in erased form. The zero
// value and nil have none.
type Erased struct{ events map[uuid.UUID]struct{} }

// Len returns how many there are.
func (e *Erased) Len() int {
	if e == nil {
		return 0
	}
	return len(e.events)
}

// Take takes an entry of a log of holds and erasures.
func (e *Erased) Take(rec *audit.Record) error {
	events, err := erasedBy(rec)
	if err != nil {
		return err
	}
	return e.add(events)
}

func (e *Erased) add(events []uuid.UUID) error {
	if len(events) == 0 {
		return nil
	}
	if e.events == nil {
		e.events = map[uuid.UUID]struct{}{}
	}
	for _, id := range events {
		e.events[id] = struct{}{}
	}
	if len(e.events) > maxErased {
		return fmt.Errorf("more than %d events are erased, which is the most an index can hold", maxErased)
	}
	return nil
}

var eventKey = []byte(`"event_id":"`)

// Form returns the form in which an index has an entry: of an event that was
// erased without what names a person, of others, and of what can't be read, the
// line itself.
func (e *Erased) Form(line []byte) []byte {
	if e.Len() == 0 || !e.mayName(line) {
		return line
	}
	rec, err := audit.ParseRecord(line)
	if err != nil {
		return line
	}
	if _, ok := e.events[rec.EventID]; !ok {
		return line
	}
	return EraseForm(&rec, line)
}

// mayName looks for the event without parsing the line: within a string the bytes
// looked for can't occur, though in an object in it.
func (e *Erased) mayName(line []byte) bool {
	for {
		i := bytes.Index(line, eventKey)
		if i < 0 || len(line) < i+len(eventKey)+36 {
			return false
		}
		line = line[i+len(eventKey):]
		if id, err := uuid.ParseBytes(line[:36]); err == nil {
			if _, ok := e.events[id]; ok {
				return true
			}
		}
	}
}

// EraseForm erases a record that was parsed from line, and returns it as a line.
func EraseForm(rec *audit.Record, line []byte) []byte {
	leaf := LeafHash(line)
	rec.Erase(hex.EncodeToString(leaf[:]))
	return rec.AppendJSON(nil)
}

// eraseTogether erases the entries of an event of which one is erased: another
// ledger's writer of the same index may not know of it.
func eraseTogether(entries []Parsed) {
	for i := range entries {
		e := &entries[i]
		if e.Record.Erased == "" && slices.ContainsFunc(entries, func(o Parsed) bool {
			return o.Record.Erased != "" && o.Record.EventID == e.Record.EventID
		}) {
			e.Erase()
		}
	}
}

// ReadErased reads all erasures that a ledger has; nil has none.
func ReadErased(ctx context.Context, l Ledger) (*Erased, error) {
	e := &erasing{ledger: l}
	if err := e.read(ctx, nil); err != nil {
		return nil, err
	}
	return &e.erased, nil
}

// LastErasures returns where a store is that was told all erasures of a ledger.
func LastErasures(ctx context.Context, l Ledger) ([]Cursor, error) {
	e := &erasing{ledger: l}
	if err := e.read(ctx, nil); err != nil {
		return nil, err
	}
	var out []Cursor
	for _, c := range e.last {
		out = append(out, c)
	}
	return out, nil
}

// erasing follows the erasures of a ledger.
type erasing struct {
	ledger Ledger
	erased Erased
	at     map[string]Cursor // how far each stream was read
	last   map[string]Cursor // behind the last erasure of each stream
}

// errOtherErasures says that a store was erased by another ledger.
var errOtherErasures = errors.New("the store was erased by another ledger")

// read reads on. A store, if there is one, gets what it has not been told of yet.
func (e *erasing) read(ctx context.Context, s Store) error {
	if e.ledger == nil {
		return nil
	}
	if e.at == nil {
		e.at, e.last = map[string]Cursor{}, map[string]Cursor{}
	}
	streams, err := e.ledger.Streams()
	if err != nil {
		return fmt.Errorf("listing the streams of the log of holds and erasures: %w", err)
	}
	if len(streams) == 0 {
		return nil
	}
	var told []Cursor
	if s != nil {
		if told, err = s.Erasures(ctx); err != nil {
			return err
		}
	}
	for _, stream := range streams {
		c := Cursor{Stream: stream}
		if i := slices.IndexFunc(told, func(c Cursor) bool { return c.Stream == stream }); i >= 0 {
			c = told[i]
		}
		err := e.stream(ctx, s, c)
		if errors.Is(err, errOtherErasures) {
			delete(e.at, stream)
			if err := s.SetErasures(ctx, Cursor{Stream: stream}); err != nil {
				return err
			}
			err = e.stream(ctx, s, Cursor{Stream: stream})
		}
		if err != nil {
			return fmt.Errorf("log of holds and erasures: %w", err)
		}
	}
	return nil
}

// stream reads on in one stream. told is how far the store was told.
func (e *erasing) stream(ctx context.Context, s Store, told Cursor) error {
	at := e.at[told.Stream]
	at.Stream = told.Stream
	if at.Next < told.Next && at.Next > 0 {
		at = Cursor{Stream: told.Stream} // another process has told it more
	}
	var pending []uuid.UUID
	tell := func() error {
		if s == nil || len(pending) == 0 {
			return nil
		}
		for part := range slices.Chunk(pending, erasePerCall) {
			if err := s.Erase(ctx, part); err != nil {
				return err
			}
		}
		pending = nil
		return s.SetErasures(ctx, e.last[at.Stream])
	}
	err := e.ledger.Entries(ctx, told.Stream, at.Next, func(seq uint64, line []byte) error {
		leaf := LeafHash(line)
		if seq != at.Next && at.Next > 0 {
			return fmt.Errorf("%w at entry %d of %s", ErrBroken, at.Next, at.Stream)
		}
		if at.Next > 0 {
			if prev, err := PrevHash(line); err != nil || prev != at.Last {
				return fmt.Errorf("%w at entry %d of %s", ErrBroken, seq, at.Stream)
			}
		}
		at.Next, at.Last = seq+1, leaf
		if at.Next == told.Next && at.Last != told.Last {
			return errOtherErasures
		}
		rec, err := audit.ParseRecord(line)
		if err != nil {
			return nil // of a later version; what this one writes it can read
		}
		events, err := erasedBy(&rec)
		if err != nil {
			return fmt.Errorf("entry %d of %s: %w", seq, at.Stream, err)
		}
		if len(events) == 0 {
			return nil
		}
		if err := e.erased.add(events); err != nil {
			return err
		}
		e.last[at.Stream] = at
		if at.Next > told.Next {
			if pending = append(pending, events...); len(pending) >= erasePerCall {
				return tell()
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if at.Next < told.Next {
		return errOtherErasures
	}
	if err := tell(); err != nil {
		return err
	}
	e.at[told.Stream] = at
	return nil
}
