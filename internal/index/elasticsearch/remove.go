package elasticsearch

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/claudeaudit/claudeaudit/internal/index"
)

const (
	// chunk bounds the documents that one step of DropStream changes.
	chunk = 500
	// lifecycleDelay is how much later than the cluster's lifecycle management days
	// are removed here: those that were made before there was a policy, and those
	// it leaves because it was stopped.
	lifecycleDelay = 48 * time.Hour
)

// Prune implements index.Store. Days are removed whole, oldest first; the one
// that before lies in stays. Where the cluster's lifecycle management removes
// days, those alone are removed here that it has left.
func (s *Store) Prune(ctx context.Context, before time.Time, limit int) (int, error) {
	if limit < 1 {
		return 0, fmt.Errorf("pruning the index: the limit must be positive, not %d", limit)
	}
	n, err := s.prune(ctx, dayOf(before), limit)
	if err != nil {
		return n, fmt.Errorf("pruning the index: %w", err)
	}
	return n, nil
}

func (s *Store) prune(ctx context.Context, day time.Time, limit int) (int, error) {
	if !day.After(firstDay) {
		return 0, nil // also holds what has no date at all
	}
	ts := day.UnixNano()
	st, err := s.readState(ctx)
	if err != nil {
		return 0, err
	}
	if ts > st.horizon() {
		if _, err := s.update(ctx, func(st *state) error {
			h := max(ts, st.horizon())
			st.Horizon = &h
			return nil
		}); err != nil {
			return 0, err
		}
	}
	last := day
	if s.ilm {
		last = last.Add(-lifecycleDelay)
	}
	days, err := s.days(ctx, time.Time{}, time.Time{})
	if err != nil {
		return 0, err
	}
	pruned := 0
	for _, d := range days {
		if !d.Before(last) || pruned >= limit {
			break
		}
		name := s.names.day(d)
		if err := s.refresh(ctx, []string{name}); err != nil {
			return pruned, err
		}
		var count struct {
			Count int `json:"count"`
		}
		if err := s.call(ctx, http.MethodGet, "/"+name+"/_count", nil, &count); err != nil {
			return pruned, fmt.Errorf("counting the records of index %s: %w", name, err)
		}
		if err := s.removeIndex(ctx, name); err != nil {
			return pruned, err
		}
		pruned += count.Count
	}
	if pruned < limit {
		err = s.removeAside(ctx, map[string]any{"range": map[string]any{"index.time": map[string]any{"lt": ts}}})
	}
	return pruned, err
}

// removeAside removes documents that searches don't see.
func (s *Store) removeAside(ctx context.Context, query any) error {
	path := "/" + s.names.parked() + "," + s.names.dead() + "/_delete_by_query?refresh=true&conflicts=proceed"
	err := s.call(ctx, http.MethodPost, path, map[string]any{"query": query}, nil)
	if err != nil {
		return fmt.Errorf("removing documents that are parked: %w", err)
	}
	return nil
}

// DropStream implements index.Store.
func (s *Store) DropStream(ctx context.Context, name string) error {
	if err := s.dropStream(ctx, name); err != nil {
		return fmt.Errorf("removing stream %s from the index: %w", name, err)
	}
	return nil
}

func (s *Store) dropStream(ctx context.Context, name string) error {
	st, err := s.readState(ctx)
	if err != nil {
		return err
	}
	if st.Streams[name] == nil {
		return nil
	}
	// Marked first, so that nothing is taken into it, and nobody counts on its
	// cursor, before the last has gone.
	if _, err := s.update(ctx, func(st *state) error {
		if st.Streams[name] != nil {
			st.Streams[name].Dropping = true
		}
		return nil
	}); err != nil {
		return err
	}
	j := &joins{s: s, stream: name, from: dropped}
	if err := j.load(ctx); err != nil {
		return err
	}
	if err := j.run(ctx); err != nil {
		return err
	}
	all := []string{s.names.days(), s.names.parked(), s.names.dead()}
	stuck := 0
	for {
		if err := s.refresh(ctx, all); err != nil {
			return err
		}
		a, err := s.search(ctx, all, map[string]any{
			"size": chunk, "track_total_hits": false, "seq_no_primary_term": true,
			"query": map[string]any{"term": map[string]any{"index.streams": name}},
		})
		if err != nil {
			return fmt.Errorf("looking for its documents: %w", err)
		}
		if len(a.Hits.Hits) == 0 {
			break
		}
		if stuck++; stuck > maxRounds+1 {
			return errBusy
		}
		conflicts, err := s.dropFrom(ctx, j, a.Hits.Hits, func(e place) bool { return e.Stream == name })
		if err != nil {
			return err
		}
		if len(conflicts) < len(a.Hits.Hits) {
			stuck = 0
		}
	}
	_, err = s.update(ctx, func(st *state) error {
		delete(st.Streams, name)
		return nil
	})
	return err
}

// place is that of an entry.
type place = index.Place

// Forget implements index.Store.
func (s *Store) Forget(ctx context.Context, name string, before uint64, hour time.Time) error {
	if err := s.forget(ctx, name, before, hour); err != nil {
		return fmt.Errorf("removing entries of %s from the index: %w", name, err)
	}
	return nil
}

// writingTime is how long after the hour of a segment its last entry may have
// been written, and how far a record's time may be after its writing.
const writingTime = 25 * time.Hour

func (s *Store) forget(ctx context.Context, name string, before uint64, hour time.Time) error {
	st, err := s.readState(ctx)
	if err != nil || before == 0 || st.Streams[name] == nil || st.Streams[name].Dropping {
		return err
	}
	j := &joins{s: s, stream: name, from: dropped, purpose: " forget"}
	if err := j.load(ctx); err != nil {
		return err
	}
	if err := j.run(ctx); err != nil {
		return err
	}
	gone := func(e place) bool { return e.Stream == name && e.Seq < before }
	// The entries of a document are not searched by: documents of the time are
	// looked at, and those whose last entry was removed, of whatever time.
	stream := map[string]any{"term": map[string]any{"index.streams": name}}
	query := map[string]any{"bool": map[string]any{
		"filter": stream,
		"should": []any{
			map[string]any{"range": map[string]any{"index.time": map[string]any{"lte": index.UnixNano(hour.Add(writingTime))}}},
			map[string]any{"bool": map[string]any{"filter": []any{
				map[string]any{"term": map[string]any{"_log": name}}, map[string]any{"range": map[string]any{"_seq": map[string]any{"lt": before}}},
			}}},
		},
		"minimum_should_match": 1,
	}}
	days, err := s.days(ctx, time.Time{}, time.Time{})
	if err != nil && !errors.Is(err, index.ErrNoIndex) {
		return err
	}
	var indices []string
	for _, d := range days {
		indices = append(indices, s.names.day(d))
	}
	indices = append(indices, s.names.parked())
	if err := s.refresh(ctx, []string{s.names.days(), s.names.parked()}); err != nil {
		return err
	}
	for _, name := range indices {
		if err := s.forgetIn(ctx, j, name, query, gone); err != nil {
			return err
		}
	}
	return s.forgetDead(ctx, j, stream, gone)
}

// forgetIn goes through the documents of an index, page by page and newest first as
// they lie there, and removes entries of them.
func (s *Store) forgetIn(ctx context.Context, j *joins, name string, query any, gone func(place) bool) error {
	p := &pages{r: s.Reader, index: name, size: chunk, filter: query}
	for {
		page, err := p.next(ctx)
		if err != nil {
			return fmt.Errorf("looking for its documents: %w", err)
		}
		if len(page) == 0 {
			return nil
		}
		if err := s.forgetFrom(ctx, j, having(page, gone), gone); err != nil {
			return err
		}
	}
}

// forgetFrom removes entries from documents and from all that are joined with them: one
// that still had an entry would give it back to the others. What others changed meanwhile
// is read again, wherever it lies then.
func (s *Store) forgetFrom(ctx context.Context, j *joins, hits []hit, gone func(place) bool) error {
	for range maxRounds {
		if len(hits) == 0 {
			return nil
		}
		all, err := s.joinedWith(ctx, hits)
		if err != nil {
			return err
		}
		if hits = having(all, gone); len(hits) > 0 {
			if _, err := s.dropFrom(ctx, j, hits, gone); err != nil {
				return err
			}
		}
	}
	return errBusy
}

// joinedWith returns the documents of the events of documents, as they are now, and of
// those that are joined with them.
func (s *Store) joinedWith(ctx context.Context, hits []hit) ([]hit, error) {
	var events, ask []uuid.UUID
	sure := map[uuid.UUID]bool{}
	days := map[uuid.UUID][]time.Time{}
	add := func(name string, day time.Time) {
		event, err := uuid.Parse(name)
		if err != nil {
			return // none of ours
		}
		if !sure[event] {
			sure[event] = true
			events = append(events, event)
		}
		if !day.IsZero() {
			days[event] = append(days[event], day)
		}
	}
	addAll := func(where string, source []byte) {
		doc, err := readSource(source)
		if err != nil {
			return // spoiled; repair mends it
		}
		day, _ := s.names.dayNamed(where)
		add(doc.Event, day)
		for _, e := range doc.Index.Events {
			add(e, time.Time{})
		}
		if doc.Head != "" { // of which it has the time
			add(doc.Head, dayOf(time.Unix(0, doc.Index.Time)))
		}
	}
	for _, h := range hits {
		addAll(h.Index, h.Source)
	}
	var out []hit
	for len(events) > 0 {
		ask, events = events, nil
		found, err := s.find(ctx, ask, days, sure)
		if err != nil {
			return nil, err
		}
		for _, e := range ask {
			for _, cp := range found[e] {
				out = append(out, hit{documentID: documentID{cp.index, cp.id}, Source: cp.source, SeqNo: cp.version.seqNo, Term: cp.version.term})
				addAll(cp.index, cp.source)
			}
		}
	}
	return out, nil
}

// having are the documents that have entries to be removed.
func having(hits []hit, gone func(place) bool) []hit {
	var out []hit
	for _, h := range hits {
		src, err := readSource(h.Source)
		has := err == nil && len(src.Index.Entries) == 0 && gone(place{Stream: src.Log, Seq: src.Seq})
		for i := range src.Index.Entries {
			e := &src.Index.Entries[i]
			has = has || gone(place{Stream: e.Stream, Seq: e.Seq})
		}
		if has {
			out = append(out, h)
		}
	}
	return out
}

// forgetDead removes dead letters of a stream. They have no order, and one that can't
// be read has the time of its taking.
func (s *Store) forgetDead(ctx context.Context, j *joins, stream any, gone func(place) bool) error {
	if err := s.refresh(ctx, []string{s.names.dead()}); err != nil {
		return err
	}
	// The server gives no more; the rest is seen when these are mended.
	for kept, stuck := 0, 0; kept+chunk <= maxWindow; {
		a, err := s.search(ctx, []string{s.names.dead()}, map[string]any{
			"size": chunk, "from": kept, "track_total_hits": false, "seq_no_primary_term": true, "query": stream,
		})
		if err != nil {
			return fmt.Errorf("looking for its documents: %w", err)
		}
		if len(a.Hits.Hits) == 0 {
			return nil
		}
		hits := having(a.Hits.Hits, gone)
		kept += len(a.Hits.Hits) - len(hits)
		conflicts, err := s.dropFrom(ctx, j, hits, gone)
		if err != nil {
			return err
		}
		if len(conflicts) < len(hits) || len(hits) == 0 {
			stuck = 0
		} else if stuck++; stuck > maxRounds {
			return errBusy
		}
	}
	return nil
}

// maxWindow is how many documents the server counts off before a page.
const maxWindow = 10_000

// dropFrom removes entries from documents. It returns the ids of those that others
// changed meanwhile.
func (s *Store) dropFrom(ctx context.Context, j *joins, hits []hit, gone func(place) bool) (conflicts map[string]bool, err error) {
	c := &changes{}
	var ids []index.CallID
	for _, h := range hits {
		at := version{h.SeqNo, h.Term}
		cp := found{stored: stored{h.Index, h.ID, at, h.Source}}
		doc, err := readDocument(h.Source, s.names.roleOf(h.Index))
		if err != nil {
			// Of an entry that can't be read, or spoiled: nothing is left of it.
			c.removals = append(c.removals, &item{index: h.Index, id: h.ID, at: &at})
			continue
		}
		cp.doc = doc
		ids = append(ids, doc.ids()...)
		left := slices.DeleteFunc(slices.Clone(doc.entries), func(e index.Parsed) bool {
			return gone(place{Stream: e.Stream, Seq: e.Seq}) || e.Record.EventID != doc.event
		})
		if len(left) == 0 {
			c.removals = append(c.removals, &item{index: h.Index, id: h.ID, at: &at})
			continue
		}
		d := newDocument(doc.event, left)
		d.role, d.reason = doc.role, doc.reason
		if doc.role == parked {
			d.head, d.time = doc.head, doc.time
		}
		ids = append(ids, d.ids()...)
		c.settle(s.names, d, []found{cp})
	}
	if err := j.note(ctx, ids...); err != nil {
		return nil, err
	}
	if err := s.carryOut(ctx, c); err != nil {
		return nil, err
	}
	if err := s.refresh(ctx, c.indices()); err != nil {
		return nil, err
	}
	return c.conflicted(), j.run(ctx)
}
