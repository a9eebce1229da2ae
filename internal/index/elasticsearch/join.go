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

// maxTwins bounds the events that one response id joins. An id that more
// events share identifies no call, and joins none of them.
const maxTwins = 32

// termsPerSearch bounds the values that one search looks for; the server takes
// 65,536.
const termsPerSearch = 5000

// join finds out which of the events of a batch others have written too, under
// the same event_id or with the same response id, and makes one of each. They
// are looked for on all days: what others tell of a call may have another time.
//
// An event of which nothing changed that they could be found by was looked for
// when it was written before; who wrote since then has looked himself.
func (t *taking) join(ctx context.Context) error {
	var events, responses []string
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
		if w.response != "" {
			responses = append(responses, w.response)
		}
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
	double, err := t.s.doubles(ctx, all, "event_id", events)
	if err != nil {
		return err
	}
	for _, e := range double {
		if err := t.joins.one(ctx, uuid.MustParse(e)); err != nil {
			return err
		}
	}
	if double, err = t.s.doubles(ctx, all, "index.response", responses); err != nil {
		return err
	}
	return t.joins.run(ctx, double...)
}

// doubles returns those of the values that several documents have.
func (s *Store) doubles(ctx context.Context, indices []string, field string, values []string) ([]string, error) {
	var out []string
	for part := range slices.Chunk(values, termsPerSearch) {
		a, err := s.search(ctx, indices, map[string]any{
			"size": 0, "track_total_hits": false,
			"query": map[string]any{"bool": map[string]any{"filter": map[string]any{"terms": map[string]any{field: part}}}},
			"aggs": map[string]any{"double": map[string]any{"terms": map[string]any{
				"field": field, "size": termsPerSearch, "shard_size": termsPerSearch, "min_doc_count": 2, "execution_hint": "map",
			}}},
		})
		if err != nil {
			return nil, fmt.Errorf("looking for twins by %s: %w", field, err)
		}
		for _, b := range a.Aggregations["double"].Buckets {
			out = append(out, b.Key)
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

// rejoin are the response ids whose documents have to be looked at when a
// document takes the place of its copies: that they had, or are joined by.
func rejoin(d *document, copies []found) []string {
	var out []string
	after := d.response()
	for _, cp := range copies {
		if before := cp.doc.response(); before != after || cp.doc.role == parked || cp.doc.joined() {
			out = append(out, before, after)
		}
	}
	return out
}

func readable(copies []found) []found {
	return slices.DeleteFunc(slices.Clone(copies), func(f found) bool { return len(f.doc.entries) == 0 })
}

// joins are the response ids whose documents have to be brought in order. They
// are written down before anything is changed that leads to them: what a crash
// leaves half done does not show by the documents of the batch alone.
type joins struct {
	s      *Store
	stream string
	// purpose keeps what another process does with the stream apart from its batches.
	purpose string
	from    uint64 // the batch's first entry

	mu      sync.Mutex
	noted   []string
	written int
}

// dropped stands for a batch where a stream is removed.
const dropped = math.MaxUint64

type joinsNote struct {
	From      uint64   `json:"from"`
	Responses []string `json:"responses"`
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
		j.noted, j.written = n.Responses, len(n.Responses)
	}
	return nil
}

// note writes response ids down. An empty one is none.
func (j *joins) note(ctx context.Context, responses ...string) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, r := range responses {
		if r != "" && !slices.Contains(j.noted, r) {
			j.noted = append(j.noted, r)
		}
	}
	if len(j.noted) == j.written {
		return nil
	}
	path := "/" + j.s.names.state() + "/_doc/" + j.id()
	if err := j.s.call(ctx, http.MethodPut, path, joinsNote{j.from, j.noted}, nil); err != nil {
		return fmt.Errorf("noting %d response ids: %w", len(j.noted), err)
	}
	j.written = len(j.noted)
	return nil
}

// run brings the documents of all noted response ids, and of more, into the
// state that their entries make: the primary with all entries, its twins parked,
// others alone. It ends when a look at them finds nothing to change.
func (j *joins) run(ctx context.Context, more ...string) error {
	s := j.s
	left := slices.Concat(j.noted, more)
	slices.Sort(left)
	left = slices.Compact(left)
	rounds := map[string]int{}
	for len(left) > 0 {
		response := left[0]
		left = left[1:]
		if response == "" {
			continue
		}
		if rounds[response]++; rounds[response] > maxRounds {
			return errBusy
		}
		members, tooMany, err := s.members(ctx, response)
		if err != nil {
			return err
		}
		c, others := group(s.names, response, members, tooMany)
		if c.empty() {
			continue
		}
		if len(others) > 0 {
			if err := j.note(ctx, append(others, response)...); err != nil {
				return err
			}
		}
		if err := s.carryOut(ctx, c); err != nil {
			return err
		}
		if err := s.refresh(ctx, c.indices()); err != nil {
			return err
		}
		for _, r := range append(others, response) {
			if !slices.Contains(left, r) {
				left = append(left, r)
			}
		}
	}
	return nil
}

// member is an event with its documents.
type member struct {
	event  uuid.UUID
	own    []index.Parsed
	copies []found
}

// members returns the events with a response id, and those that are joined with
// them. Of an id that too many have, those that are joined are enough.
func (s *Store) members(ctx context.Context, response string) ([]member, bool, error) {
	query := func(indices []string, size int, filter ...any) ([]hit, int, error) {
		a, err := s.search(ctx, indices, map[string]any{
			"size": size, "track_total_hits": 10 * maxTwins, "_source": []string{"event_id", "index.events", "head"},
			"query": map[string]any{"bool": map[string]any{"filter": filter}},
		})
		if err != nil {
			return nil, 0, fmt.Errorf("looking for the twins of a response: %w", err)
		}
		return a.Hits.Hits, a.Hits.Total.Value, nil
	}
	of := map[string]any{"term": map[string]any{"index.response": response}}
	all := []string{s.names.days(), s.names.parked()}
	hits, total, err := query(all, maxTwins+1, of)
	if err != nil {
		return nil, false, err
	}
	if total > maxTwins {
		// Only what is joined has to be changed, and that is few.
		if hits, _, err = query([]string{s.names.parked()}, 2*maxTwins, of); err != nil {
			return nil, false, err
		}
	}
	days := map[uuid.UUID][]time.Time{}
	var events []uuid.UUID
	add := func(text string, place string) {
		e, err := uuid.Parse(text)
		if err != nil {
			return // not ours
		}
		if !slices.Contains(events, e) {
			events = append(events, e)
		}
		if d, ok := s.names.dayNamed(place); ok && !slices.Contains(days[e], d) {
			days[e] = append(days[e], d)
		}
	}
	var heads []string
	for _, h := range hits {
		doc, err := readSource(h.Source)
		if err != nil {
			continue // spoiled; repair mends it
		}
		add(doc.Event, h.Index)
		for _, e := range doc.Index.Events {
			add(e, "")
		}
		if doc.Head != "" {
			heads = append(heads, doc.Head)
		}
	}
	// The heads that pretend to have a twin, and those that have.
	for part := range slices.Chunk(eventNames(events), idsPerRequest) {
		hits, _, err := query([]string{s.names.days()}, 2*idsPerRequest, map[string]any{"terms": map[string]any{"index.events": part}})
		if err != nil {
			return nil, false, err
		}
		for _, h := range hits {
			if doc, err := readSource(h.Source); err == nil {
				add(doc.Event, h.Index)
			}
		}
	}
	places, err := s.searchEvents(ctx, append(heads, eventNames(events)...))
	if err != nil {
		return nil, false, err
	}
	for _, p := range places {
		add(p.ID, p.Index)
	}
	found, err := s.find(ctx, events, days, nil)
	if err != nil {
		return nil, false, err
	}
	return gatherMembers(events, found), total > maxTwins, nil
}

func eventNames(events []uuid.UUID) []string {
	out := make([]string, len(events))
	for i, e := range events {
		out[i] = e.String()
	}
	return out
}

// gatherMembers gives each event its own entries, from whichever documents have
// them.
func gatherMembers(events []uuid.UUID, docs map[uuid.UUID][]found) []member {
	own := map[uuid.UUID][]index.Parsed{}
	for _, copies := range docs {
		for _, cp := range copies {
			for _, e := range cp.doc.entries {
				id := e.Record.EventID
				own[id] = union(own[id], []index.Parsed{e})
			}
		}
	}
	for id := range own {
		if !slices.Contains(events, id) {
			events = append(events, id)
		}
	}
	slices.SortFunc(events, compareEvents)
	var out []member
	for _, e := range events {
		if len(own[e]) > 0 {
			out = append(out, member{event: e, own: own[e], copies: readable(docs[e])})
		}
	}
	return out
}

// group computes the documents of the events around a response id. others are
// the response ids of events that don't have this one and that have to change.
func group(n names, response string, members []member, tooMany bool) (c *changes, others []string) {
	var with, without []member
	for _, m := range members {
		if rec := index.MergeParsed(slices.Clone(m.own)); rec.ResponseID == response {
			with = append(with, m)
		} else if !apart(m, members, response) {
			without = append(without, m)
			others = append(others, rec.ResponseID)
		}
	}
	c = &changes{}
	for _, m := range without {
		c.settle(n, newDocument(m.event, slices.Clone(m.own)), m.copies)
	}
	if len(with) == 0 {
		return c, others
	}
	primary := slices.MinFunc(with, func(a, b member) int { return firstPlace(a.own).Compare(firstPlace(b.own)) })
	stream := firstPlace(primary.own).Stream
	var twins []member
	joined := slices.Clone(primary.own)
	for _, m := range with {
		switch {
		case m.event == primary.event:
		case !tooMany && len(with) <= maxTwins && firstPlace(m.own).Stream != stream:
			twins = append(twins, m)
			joined = append(joined, m.own...)
		default:
			c.settle(n, newDocument(m.event, slices.Clone(m.own)), m.copies)
		}
	}
	head := newDocument(primary.event, joined)
	c.settle(n, head, primary.copies)
	for _, m := range twins {
		d := newDocument(m.event, slices.Clone(m.own))
		d.role, d.head, d.time = parked, head.event, head.time
		c.settle(n, d, m.copies)
	}
	return c, others
}

// apart says that an event that does not have a response id has nothing to do
// with those that have: it is not parked under one of them, nor are their
// entries in its document, nor is it in several places.
func apart(m member, members []member, response string) bool {
	if len(m.copies) != 1 {
		return false
	}
	has := func(e uuid.UUID) bool {
		return slices.ContainsFunc(members, func(o member) bool {
			if o.event != e {
				return false
			}
			rec := index.MergeParsed(slices.Clone(o.own))
			return rec.ResponseID == response
		})
	}
	d := &m.copies[0].doc
	if d.role == parked && has(d.head) {
		return false
	}
	if !sameEntries(d.own(), m.own) {
		return false
	}
	return !slices.ContainsFunc(d.entries, func(e index.Parsed) bool {
		return e.Record.EventID != m.event && has(e.Record.EventID)
	})
}
