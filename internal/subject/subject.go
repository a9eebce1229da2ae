// Package subject finds what a ledger has of one person: which records, under
// which keys their content is, and where it lies.
package subject

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/claudeaudit/claudeaudit/internal/audit"
	"github.com/claudeaudit/claudeaudit/internal/index"
	"github.com/claudeaudit/claudeaudit/internal/ledger"
)

// Of names the subject of a record for its content key: the user, without one
// the session, without both nobody.
func Of(r *audit.Record) string {
	switch {
	case r.UserID != "":
		return "user:" + r.UserID
	case r.SessionID != "":
		return "session:" + r.SessionID
	}
	return "nobody"
}

// Query says which records are meant: those that have every value that is given.
type Query struct {
	User        string    `json:"user,omitempty"`
	Session     string    `json:"session,omitempty"`
	Application string    `json:"application,omitempty"`
	Department  string    `json:"department,omitempty"`
	From        time.Time `json:"from,omitzero"`
	To          time.Time `json:"to,omitzero"` // exclusive
}

// Empty says whether the query means everything.
func (q Query) Empty() bool { return q == Query{} }

// Matches says whether an entry, which may tell only a part of a record, has
// what the query asks for, and contradicts nothing of it.
func (q Query) Matches(r *audit.Record) bool {
	for _, c := range [][2]string{{q.User, r.UserID}, {q.Session, r.SessionID}, {q.Application, r.ApplicationID}, {q.Department, r.Department}} {
		if c[0] != "" && c[0] != c[1] {
			return false
		}
	}
	if !q.From.IsZero() && r.Timestamp.Before(q.From) {
		return false
	}
	return q.To.IsZero() || r.Timestamp.Before(q.To)
}

// Key is a content key under which content of the found records is.
type Key struct {
	ID string
	// Entries of the found records, and of others.
	Mine, Others int
}

// Class is a retention class of the found entries that have content.
type Class struct {
	Name    string
	Entries int
	Until   string // the latest, an RFC 3339 date
}

// Found is what a ledger has.
type Found struct {
	Events  []uuid.UUID
	Entries []ledger.Place
	Keys    []Key
	Classes []Class
}

// maxEvents bounds the records that are held in memory.
const maxEvents = 10 << 20

// ErrTooMany says that a query matches more records than can be worked on at a time.
var ErrTooMany = errors.New("too many records")

// eachEntry goes over the entries of a ledger.
type eachEntry func(fn func(p ledger.Place, rec *audit.Record) error) error

// twins finds the events that an index makes one record with some: those that another
// stream tells of the same calls under another event id. Such a telling may name no
// user, and yet a session.
func twins(ctx context.Context, each eachEntry, events map[uuid.UUID]bool) ([]uuid.UUID, error) {
	t := tellers{byID: map[index.CallID][]uuid.UUID{}, byEvent: map[uuid.UUID]*teller{}}
	if err := each(func(p ledger.Place, rec *audit.Record) error {
		if events[rec.EventID] {
			t.tell(p, rec)
		}
		return nil
	}); err != nil || len(t.byID) == 0 {
		return nil, err
	}
	mine := slices.Collect(maps.Keys(t.byEvent))
	// An event leads to another by the id of a request, that by the response's to others,
	// and one of these by the id of its request to the last. Then their other entries are to be seen.
	const passes = 4
	for range passes {
		before := len(t.byEvent)
		if err := each(func(p ledger.Place, rec *audit.Record) error {
			if t.byEvent[rec.EventID] != nil || t.wants(rec) {
				t.tell(p, rec)
			}
			return nil
		}); err != nil {
			return nil, err
		}
		if len(t.byEvent) == before {
			break
		}
	}
	families := index.NewFamilies(t.told)
	more := map[uuid.UUID]bool{}
	for _, e := range mine {
		family, err := families.Of(ctx, t.byEvent[e].twin(e))
		if err != nil {
			return nil, err
		}
		for _, o := range family {
			if !events[o.Event] {
				more[o.Event] = true
			}
		}
	}
	return slices.SortedFunc(maps.Keys(more), func(a, b uuid.UUID) int { return strings.Compare(a.String(), b.String()) }), nil
}

// tellers are the events that tell some ids.
type tellers struct {
	byID    map[index.CallID][]uuid.UUID // of more than index.MaxTwins one more
	byEvent map[uuid.UUID]*teller
}

// teller is what the entries of an event tell: the ids, each from the best source, as
// in the merge.
type teller struct {
	first             index.Place
	response, request said
}

type said struct {
	id       index.CallID
	rank     int
	revision int64
}

func (t *tellers) wants(rec *audit.Record) bool {
	return slices.ContainsFunc(index.AppendCallIDs(nil, rec), func(id index.CallID) bool {
		told := len(t.byID[id])
		return told > 0 && told <= index.MaxTwins
	})
}

func (t *tellers) tell(p ledger.Place, rec *audit.Record) {
	ids := index.AppendCallIDs(nil, rec)
	e := t.byEvent[rec.EventID]
	place := index.Place{Stream: p.Stream, Seq: p.Seq}
	switch {
	case e == nil && len(ids) == 0:
		return
	case e == nil:
		e = &teller{first: place}
		t.byEvent[rec.EventID] = e
	case place.Compare(e.first) < 0:
		e.first = place
	}
	for _, id := range ids {
		if told := t.byID[id]; len(told) <= index.MaxTwins && !slices.Contains(told, rec.EventID) {
			t.byID[id] = append(told, rec.EventID)
		}
		at := &e.response
		if id.IsRequest() {
			at = &e.request
		}
		s := said{id, rec.SourceRank(), rec.Revision}
		if at.id == (index.CallID{}) || cmp.Or(cmp.Compare(s.rank, at.rank), cmp.Compare(at.revision, s.revision)) < 0 {
			*at = s
		}
	}
}

func (e *teller) twin(event uuid.UUID) index.Twin {
	t := index.Twin{Event: event, First: e.first}
	for _, s := range []said{e.response, e.request} {
		if s.id != (index.CallID{}) {
			t.IDs = append(t.IDs, s.id)
		}
	}
	return t
}

func (t *tellers) told(_ context.Context, id index.CallID) ([]index.Twin, error) {
	var out []index.Twin
	for _, event := range t.byID[id] {
		if twin := t.byEvent[event].twin(event); len(t.byID[id]) > index.MaxTwins || slices.Contains(twin.IDs, id) {
			out = append(out, twin)
		}
	}
	return out, nil
}

// Find goes over a ledger for the events of which any entry matches, in a ledger of several streams for
// their twins, for all entries of these events, and for what else is under their keys. Entries about the
// trail itself are left out.
func Find(ctx context.Context, r *ledger.Reader, match func(*audit.Record) bool) (*Found, error) {
	events := map[uuid.UUID]bool{}
	var order []uuid.UUID
	each := func(fn func(p ledger.Place, rec *audit.Record) error) error {
		return r.All(ctx, func(p ledger.Place, line []byte) error {
			rec, err := audit.ParseRecord(line)
			if err != nil {
				return fmt.Errorf("entry %d of %s: %w", p.Seq, p.Stream, err)
			}
			if rec.Kind == audit.KindSystem {
				return nil
			}
			return fn(p, &rec)
		})
	}
	if err := each(func(_ ledger.Place, rec *audit.Record) error {
		if !match(rec) || events[rec.EventID] {
			return nil
		}
		if len(order) == maxEvents {
			return fmt.Errorf("%w: more than %d", ErrTooMany, maxEvents)
		}
		events[rec.EventID] = true
		order = append(order, rec.EventID)
		return nil
	}); err != nil {
		return nil, err
	}
	if len(order) == 0 {
		return &Found{}, nil
	}
	streams, err := r.Streams()
	if err != nil {
		return nil, err
	}
	if len(streams) > 1 { // there are no twins within a stream
		more, err := twins(ctx, each, events)
		if err != nil {
			return nil, err
		}
		if len(order)+len(more) > maxEvents {
			return nil, fmt.Errorf("%w: more than %d", ErrTooMany, maxEvents)
		}
		for _, id := range more {
			events[id] = true
		}
		order = append(order, more...)
	}
	out := &Found{Events: order}
	keys := map[string]*Key{}
	classes := map[string]*Class{}
	if err := each(func(p ledger.Place, rec *audit.Record) error {
		id := rec.Content.KeyID
		if !events[rec.EventID] {
			return nil
		}
		out.Entries = append(out.Entries, p)
		if id == "" {
			return nil
		}
		if keys[id] == nil {
			keys[id] = &Key{ID: id}
		}
		keys[id].Mine++
		name := rec.RetentionClass
		if classes[name] == nil {
			classes[name] = &Class{Name: name}
		}
		classes[name].Entries++
		classes[name].Until = max(classes[name].Until, rec.RetentionUntil)
		return nil
	}); err != nil {
		return nil, err
	}
	if len(keys) > 0 {
		if err := each(func(_ ledger.Place, rec *audit.Record) error {
			if k := keys[rec.Content.KeyID]; k != nil && !events[rec.EventID] {
				k.Others++
			}
			return nil
		}); err != nil {
			return nil, err
		}
	}
	for _, k := range keys {
		out.Keys = append(out.Keys, *k)
	}
	slices.SortFunc(out.Keys, func(a, b Key) int { return strings.Compare(a.ID, b.ID) })
	for _, c := range classes {
		out.Classes = append(out.Classes, *c)
	}
	slices.SortFunc(out.Classes, func(a, b Class) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}
