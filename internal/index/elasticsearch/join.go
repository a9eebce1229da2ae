package elasticsearch

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/claudeaudit/claudeaudit/internal/index"
)

// termsPerSearch bounds the values that one search looks for; the server takes
// 65,536.
const termsPerSearch = 5000

const (
	// idsPerRound and docsPerRound bound what is joined at once: so many ids, and
	// about so many documents that tell them.
	idsPerRound  = 100
	docsPerRound = 256
)

// join finds out which of the events of a batch others have written too, under
// the same event_id or with the same id of the call, and makes one of each. They
// are looked for on all days: what others tell of a call may have another time.
//
// An event of which nothing changed that they could be found by was looked for
// when it was written before; who wrote since then has looked himself.
func (t *taking) join(ctx context.Context) error {
	var events []string
	var ids []index.CallID
	written := t.touchedIndices()
	for _, w := range t.work {
		if w.day.IsZero() || w.known {
			continue // expired, or looked for before
		}
		// A try that failed may have written it.
		if name := t.s.names.day(w.day); !slices.Contains(written, name) {
			written = append(written, name)
		}
		events = append(events, w.event.String())
		ids = append(ids, w.ids...)
	}
	all := []string{t.s.names.days(), t.s.names.parked()}
	// Other writers make visible what they write, once there are any. What one
	// wrote before that is not visible by itself.
	written = append(written, t.s.names.parked())
	if !t.s.refreshed {
		written = all
	}
	if err := t.s.refresh(ctx, written); err != nil {
		return err
	}
	t.s.refreshed = true
	double, err := t.s.tally(ctx, all, "event_id", events, 2)
	if err != nil {
		return err
	}
	for e := range double {
		if err := t.joins.one(ctx, uuid.MustParse(e)); err != nil {
			return err
		}
	}
	if double, err = t.s.tally(ctx, all, "index.ids", idNames(ids), 2); err != nil {
		return err
	}
	ids = slices.DeleteFunc(ids, func(id index.CallID) bool { return double[id.String()] == 0 })
	return t.joins.run(ctx, ids...)
}

// tally counts the documents that have each of the values, where they are at least
// so many.
func (s *Store) tally(ctx context.Context, indices []string, field string, values []string, least int) (map[string]int, error) {
	out := map[string]int{}
	for part := range slices.Chunk(values, termsPerSearch) {
		a, err := s.search(ctx, indices, map[string]any{
			"size": 0, "track_total_hits": false,
			"query": map[string]any{"bool": map[string]any{"filter": map[string]any{"terms": map[string]any{field: part}}}},
			"aggs": map[string]any{"values": map[string]any{"terms": map[string]any{
				"field": field, "include": part, "size": termsPerSearch, "shard_size": termsPerSearch, "min_doc_count": least, "execution_hint": "map",
			}}},
		})
		if err != nil {
			return nil, fmt.Errorf("looking for twins by %s: %w", field, err)
		}
		for _, b := range a.Aggregations["values"].Buckets {
			out[b.Key] = b.Count
		}
	}
	return out, nil
}

// one makes one document of the copies of an event that two writers wrote on
// different days. What the copies were joined by before is noted.
func (j *joins) one(ctx context.Context, event uuid.UUID) error {
	s := j.s
	for range maxRounds {
		places, err := s.searchEvents(ctx, []string{event.String()})
		if err != nil {
			return err
		}
		var days []time.Time
		for _, p := range places {
			if d, ok := s.names.dayNamed(p.Index); ok {
				days = append(days, d)
			}
		}
		got, err := s.find(ctx, []uuid.UUID{event}, map[uuid.UUID][]time.Time{event: days}, nil)
		if err != nil {
			return err
		}
		copies := readable(got[event])
		if len(copies) == 0 {
			return nil
		}
		c := &changes{}
		d := gather(event, copies, nil)
		c.settle(s.names, d, copies)
		if c.empty() {
			return nil
		}
		if err := j.note(ctx, rejoin(&d, copies)...); err != nil {
			return err
		}
		if err := s.carryOut(ctx, c); err != nil {
			return err
		}
		if err := s.refresh(ctx, c.indices()); err != nil {
			return err
		}
	}
	return errBusy
}

// rejoin are the ids whose documents have to be looked at when a document takes the
// place of its copies: that they had, or are joined by.
func rejoin(d *document, copies []found) []index.CallID {
	var out []index.CallID
	after := d.ids()
	for _, cp := range copies {
		if before := cp.doc.ids(); !slices.Equal(before, after) || cp.doc.role == parked || cp.doc.joined() {
			out = append(append(out, before...), after...)
		}
	}
	return out
}

func readable(copies []found) []found {
	return slices.DeleteFunc(slices.Clone(copies), func(f found) bool { return len(f.doc.entries) == 0 })
}

// joins are the ids whose documents have to be brought in order. They are written
// down before anything is changed that leads to them: what a crash leaves half done
// does not show by the documents of the batch alone.
type joins struct {
	s      *Store
	stream string
	// purpose keeps what another process does with the stream apart from its batches.
	purpose string
	from    uint64 // the batch's first entry

	mu      sync.Mutex
	noted   []index.CallID
	written int
}

// dropped stands for a batch where a stream is removed.
const dropped = math.MaxUint64

type joinsNote struct {
	From uint64         `json:"from"`
	IDs  []index.CallID `json:"ids"`
}

func (j *joins) id() string {
	sum := sha256.Sum256([]byte(j.stream + j.purpose))
	return "joins-" + hex.EncodeToString(sum[:])
}

// load reads what was written down when the same batch was taken before.
func (j *joins) load(ctx context.Context) error {
	docs, err := j.s.get(ctx, []documentID{{j.s.names.state(), j.id()}})
	if err != nil || len(docs) == 0 {
		return err
	}
	var n joinsNote
	if err := json.Unmarshal(docs[0].source, &n); err != nil {
		return fmt.Errorf("%w: its joins: %w", index.ErrCorrupt, err)
	}
	if n.From == j.from {
		j.noted, j.written = n.IDs, len(n.IDs)
	}
	return nil
}

// note writes ids down.
func (j *joins) note(ctx context.Context, ids ...index.CallID) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.noted = unique(append(j.noted, ids...))
	if len(j.noted) == j.written {
		return nil
	}
	path := "/" + j.s.names.state() + "/_doc/" + j.id()
	if err := j.s.call(ctx, http.MethodPut, path, joinsNote{j.from, j.noted}, nil); err != nil {
		return fmt.Errorf("noting %d ids of calls: %w", len(j.noted), err)
	}
	j.written = len(j.noted)
	return nil
}

// unique leaves out what came before.
func unique[T comparable](list []T) []T {
	seen := make(map[T]bool, len(list))
	return slices.DeleteFunc(list, func(v T) bool {
		again := seen[v]
		seen[v] = true
		return again
	})
}

// run brings the documents of all noted ids, and of more, into the state that their
// entries make: the primary with all entries, its twins parked, others alone. It ends
// when a look at them finds nothing to change.
func (j *joins) run(ctx context.Context, more ...index.CallID) error {
	s := j.s
	left := unique(slices.Concat(j.noted, more))
	started := make(map[index.CallID]bool, len(left))
	for _, id := range left {
		started[id] = true
	}
	rounds := map[index.CallID]int{}
	for len(left) > 0 {
		v := newView(s)
		part, err := v.begin(ctx, left)
		if err != nil {
			return err
		}
		left = left[len(part):]
		for _, id := range part {
			if rounds[id]++; rounds[id] > maxRounds {
				return errBusy
			}
		}
		c, changed, err := v.settle(ctx)
		if err != nil {
			return err
		}
		if c.empty() {
			left = slices.DeleteFunc(slices.Clone(left), v.right)
			continue
		}
		// What shares no id with those that this began with is not found by them again.
		for _, ids := range changed {
			if !slices.ContainsFunc(ids, func(id index.CallID) bool { return started[id] }) {
				if err := j.note(ctx, ids...); err != nil {
					return err
				}
			}
			part = append(part, ids...)
		}
		if err := s.carryOut(ctx, c); err != nil {
			return err
		}
		if err := s.refresh(ctx, c.indices()); err != nil {
			return err
		}
		// Others may have written meanwhile; it is done when there is nothing to do.
		left = unique(slices.Concat(left, part))
	}
	return nil
}

// view is what the index has of the events around some ids, as it was when it was
// looked at.
type view struct {
	s      *Store
	counts map[index.CallID]int // documents that tell an id
	looks  []look
	docs   map[uuid.UUID][]found
	own    map[uuid.UUID][]index.Parsed // the entries of an event, from whichever documents have them
	twins  map[uuid.UUID]index.Twin
	// settled are the events of which it was seen where they belong.
	settled  map[uuid.UUID]bool
	families *index.Families
}

// look is what was found around some ids: the events that tell them, and those that
// these are joined with now.
type look struct {
	ids    []index.CallID
	events []uuid.UUID
	days   map[uuid.UUID][]time.Time
}

func (l *look) add(n names, text, place string) {
	e, err := uuid.Parse(text)
	if err != nil {
		return // not ours
	}
	if !slices.Contains(l.events, e) {
		l.events = append(l.events, e)
	}
	if d, ok := n.dayNamed(place); ok && !slices.Contains(l.days[e], d) {
		l.days[e] = append(l.days[e], d)
	}
}

func newView(s *Store) *view {
	v := &view{
		s: s, counts: map[index.CallID]int{}, docs: map[uuid.UUID][]found{}, own: map[uuid.UUID][]index.Parsed{},
		twins: map[uuid.UUID]index.Twin{}, settled: map[uuid.UUID]bool{},
	}
	v.families = index.NewFamilies(v.told)
	return v
}

// begin looks around the first of the ids, and returns these.
func (v *view) begin(ctx context.Context, ids []index.CallID) ([]index.CallID, error) {
	ids = ids[:min(len(ids), idsPerRound)]
	if err := v.count(ctx, ids); err != nil {
		return nil, err
	}
	n, docs := 0, 0
	for ; n < len(ids); n++ {
		if docs += min(v.counts[ids[n]], index.MaxTwins); n > 0 && docs > docsPerRound {
			break
		}
	}
	return slices.Clone(ids[:n]), v.load(ctx, ids[:n])
}

func (v *view) count(ctx context.Context, ids []index.CallID) error {
	tally, err := v.s.tally(ctx, v.indices(), "index.ids", idNames(ids), 1)
	if err != nil {
		return err
	}
	for _, id := range ids {
		v.counts[id] = tally[id.String()]
	}
	return nil
}

func (v *view) indices() []string { return []string{v.s.names.days(), v.s.names.parked()} }

// load reads the documents of the events that tell ids, which were counted, and of
// those that are joined with them. Of an id that too many tell, those that it may have
// joined before are enough, and those are few: where they are many, others joined them.
func (v *view) load(ctx context.Context, ids []index.CallID) error {
	l := look{ids: ids, days: map[uuid.UUID][]time.Time{}}
	var few []string
	var hits []hit
	size := 0
	for _, id := range ids {
		switch n := v.counts[id]; {
		case n > index.MaxTwins:
			twins, err := v.search(ctx, []string{v.s.names.parked()}, index.MaxTwins+1, []string{id.String()}, "index.ids")
			if err != nil {
				return err
			}
			if len(twins) <= index.MaxTwins {
				hits = append(hits, twins...)
			}
		case n > 0:
			few = append(few, id.String())
			size += n
		}
	}
	if len(few) > 0 {
		more, err := v.search(ctx, v.indices(), size, few, "index.ids")
		if err != nil {
			return err
		}
		hits = append(hits, more...)
	}
	for _, h := range hits {
		doc, err := readSource(h.Source)
		if err != nil {
			continue // spoiled; repair mends it
		}
		l.add(v.s.names, doc.Event, h.Index)
		for _, e := range append(doc.Index.Events, doc.Head) {
			l.add(v.s.names, e, "")
		}
	}
	// The heads that pretend to have a twin, and those that have.
	for part := range slices.Chunk(eventNames(l.events), idsPerRequest) {
		more, err := v.search(ctx, []string{v.s.names.days()}, 4*idsPerRequest, part, "event_id", "index.events")
		if err != nil {
			return err
		}
		for _, h := range more {
			if doc, err := readSource(h.Source); err == nil {
				l.add(v.s.names, doc.Event, h.Index)
			}
		}
	}
	if err := v.read(ctx, &l); err != nil {
		return err
	}
	v.looks = append(v.looks, l)
	return nil
}

// search finds documents that have one of the values in one of the fields.
func (v *view) search(ctx context.Context, indices []string, size int, values []string, fields ...string) ([]hit, error) {
	var should []any
	for _, f := range fields {
		should = append(should, map[string]any{"terms": map[string]any{f: values}})
	}
	a, err := v.s.search(ctx, indices, map[string]any{
		"size": size, "track_total_hits": false, "_source": []string{"event_id", "head", "index.events"},
		"query": map[string]any{"bool": map[string]any{"filter": map[string]any{"bool": map[string]any{"should": should}}}},
	})
	if err != nil {
		return nil, fmt.Errorf("looking for the twins of a call: %w", err)
	}
	return a.Hits.Hits, nil
}

// read reads the documents of the events of a look, and of those whose entries are in
// these.
func (v *view) read(ctx context.Context, l *look) error {
	for i := 0; i < len(l.events); {
		ask := slices.DeleteFunc(slices.Clone(l.events[i:]), func(e uuid.UUID) bool { return v.docs[e] != nil })
		i = len(l.events)
		got, err := v.s.find(ctx, ask, l.days, nil)
		if err != nil {
			return err
		}
		changed := map[uuid.UUID]bool{}
		for _, e := range ask {
			v.docs[e] = append([]found{}, got[e]...)
			for _, cp := range got[e] {
				for _, entry := range cp.doc.entries {
					id := entry.Record.EventID
					v.own[id] = union(v.own[id], []index.Parsed{entry})
					changed[id] = true
				}
			}
		}
		for e := range changed {
			v.twins[e] = index.TwinOf(slices.Clone(v.own[e]))
			if v.docs[e] == nil && !slices.Contains(l.events, e) {
				l.events = append(l.events, e)
				l.days[e] = daysOf(v.own[e])
			}
		}
	}
	slices.SortFunc(l.events, compareEvents)
	return nil
}

func eventNames(events []uuid.UUID) []string {
	out := make([]string, len(events))
	for i, e := range events {
		out[i] = e.String()
	}
	return out
}

// told returns the events that tell an id.
func (v *view) told(ctx context.Context, id index.CallID) ([]index.Twin, error) {
	if err := v.lookAlso(ctx, []index.CallID{id}); err != nil {
		return nil, err
	}
	if v.counts[id] > index.MaxTwins {
		return make([]index.Twin, index.MaxTwins+1), nil
	}
	var out []index.Twin
	for _, t := range v.twins {
		if slices.Contains(t.IDs, id) {
			out = append(out, t)
		}
	}
	return out, nil
}

// lookAlso looks around those ids that it has not yet looked around.
func (v *view) lookAlso(ctx context.Context, ids []index.CallID) error {
	ids = slices.DeleteFunc(unique(ids), func(id index.CallID) bool {
		_, counted := v.counts[id]
		return counted && slices.ContainsFunc(v.looks, func(l look) bool { return slices.Contains(l.ids, id) })
	})
	if len(ids) == 0 {
		return nil
	}
	if err := v.count(ctx, ids); err != nil {
		return err
	}
	return v.load(ctx, ids)
}

// settle computes the documents of the events that it began with. changed are the
// ids of each record whose documents have to change.
func (v *view) settle(ctx context.Context) (c *changes, changed [][]index.CallID, err error) {
	c = &changes{}
	events := v.looks[0].events
	var also []index.CallID
	for _, e := range events {
		also = append(also, v.twins[e].IDs...)
	}
	if err := v.lookAlso(ctx, also); err != nil {
		return nil, nil, err
	}
	for _, e := range events {
		if v.settled[e] || len(v.own[e]) == 0 {
			continue
		}
		family, err := v.families.Of(ctx, v.twins[e])
		if err != nil {
			return nil, nil, err
		}
		before := len(c.writes) + len(c.removals)
		v.settleFamily(c, family)
		if len(c.writes)+len(c.removals) == before {
			continue
		}
		var ids []index.CallID
		for _, t := range family {
			ids = append(ids, t.IDs...)
		}
		changed = append(changed, ids)
	}
	return c, changed, nil
}

// settleFamily adds what it takes to have a record shown by its primary with all
// entries, and its twins parked.
func (v *view) settleFamily(c *changes, family []index.Twin) {
	var all []index.Parsed
	for _, t := range family {
		all = append(all, v.own[t.Event]...)
		v.settled[t.Event] = true
	}
	head := newDocument(family[0].Event, all)
	c.settle(v.s.names, head, v.docs[head.event])
	for _, t := range family[1:] {
		d := newDocument(t.Event, slices.Clone(v.own[t.Event]))
		d.role, d.head, d.time = parked, head.event, head.time
		c.settle(v.s.names, d, v.docs[t.Event])
	}
}

// right says that all events around an id were found to be where they belong, if
// there was nothing to change.
func (v *view) right(id index.CallID) bool {
	return slices.ContainsFunc(v.looks, func(l look) bool {
		return slices.Contains(l.ids, id) && !slices.ContainsFunc(l.events, func(e uuid.UUID) bool { return !v.settled[e] && len(v.own[e]) > 0 })
	})
}
