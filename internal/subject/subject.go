// Package subject finds what a ledger has of one person: which records, under
// which keys their content is, and where it lies.
package subject

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/claudeaudit/claudeaudit/internal/audit"
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

// maxTwins bounds the events that one response id joins, as in an index: an id that
// more events share identifies no call.
const maxTwins = 32

// twins finds the events that another stream tells of the same calls under another
// event id: with the same response id. Such a telling may name no user, and yet a session.
func twins(each func(fn func(p ledger.Place, rec *audit.Record) error) error, events map[uuid.UUID]bool) ([]uuid.UUID, error) {
	type told struct {
		mine    map[uuid.UUID]bool
		streams map[string]bool // that tell of mine
		others  []uuid.UUID
		outside []uuid.UUID // of others, those that a stream tells that tells none of mine
	}
	responses := map[string]*told{}
	if err := each(func(p ledger.Place, rec *audit.Record) error {
		if rec.ResponseID == "" || !events[rec.EventID] {
			return nil
		}
		t := responses[rec.ResponseID]
		if t == nil {
			t = &told{mine: map[uuid.UUID]bool{}, streams: map[string]bool{}}
			responses[rec.ResponseID] = t
		}
		if len(t.mine) <= maxTwins {
			t.mine[rec.EventID] = true
		}
		t.streams[p.Stream] = true
		return nil
	}); err != nil || len(responses) == 0 {
		return nil, err
	}
	if err := each(func(p ledger.Place, rec *audit.Record) error {
		t := responses[rec.ResponseID]
		if t == nil || events[rec.EventID] || len(t.others) > maxTwins || slices.Contains(t.others, rec.EventID) {
			return nil
		}
		t.others = append(t.others, rec.EventID)
		if !t.streams[p.Stream] {
			t.outside = append(t.outside, rec.EventID)
		}
		return nil
	}); err != nil {
		return nil, err
	}
	var out []uuid.UUID
	for _, t := range responses {
		if len(t.mine)+len(t.others) <= maxTwins {
			out = append(out, t.outside...)
		}
	}
	slices.SortFunc(out, func(a, b uuid.UUID) int { return strings.Compare(a.String(), b.String()) })
	return slices.Compact(out), nil
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
		more, err := twins(each, events)
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
