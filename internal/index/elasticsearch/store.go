package elasticsearch

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"sync"
	"time"

	"github.com/elastic/go-elasticsearch/v8/esapi"
	"github.com/google/uuid"

	"github.com/claudeaudit/claudeaudit/internal/index"
)

const (
	// DefaultPrefix begins the names of the indices.
	DefaultPrefix = "claude-audit"
	// DefaultConcurrency is how many requests write at once.
	DefaultConcurrency = 4
	// maxStreams bounds the streams of an index: their cursors are one document.
	maxStreams = 4096
	// eventsPerWorker is how many events one round of a worker writes.
	eventsPerWorker = 1000
	// nearMidnight is how far from the change of the day another observation of
	// a call may lie on the other day.
	nearMidnight = 15 * time.Minute
	// maxRounds bounds how often something is tried again because another
	// writer was there first.
	maxRounds = 100
)

var errBusy = errors.New("other writers changed the same documents again and again")

// Options of a Store.
type Options struct {
	// Prefix begins the names of the indices: lower-case letters, digits and
	// hyphens. DefaultPrefix when empty.
	Prefix string
	// Concurrency is how many requests write at once; DefaultConcurrency when 0.
	Concurrency int
	// Replicas of each index; nil leaves that to the cluster.
	Replicas *int
	// Retention of whole days, for the cluster's lifecycle management; 0 for
	// none.
	Retention time.Duration
	// KeepTemplate leaves the index template and the policy as somebody else
	// installed them.
	KeepTemplate bool
	// Refresh makes each batch visible to searches at once, at a price. Without,
	// the server does within a second.
	Refresh bool
	// Refused is told of items that the server refused for now and that are sent
	// again, Dead of documents that it can never take. May be nil.
	Refused func(items int)
	Dead    func(event uuid.UUID, reason string)
}

var prefixPattern = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)

// CheckPrefix says whether names of indices may begin so.
func CheckPrefix(prefix string) error {
	if !prefixPattern.MatchString(prefix) {
		return errors.New("must be 1 to 63 lower-case letters, digits and hyphens")
	}
	return nil
}

// Store writes an index in Elasticsearch. Any number of stores may write the
// same one, each with streams of its own.
type Store struct {
	*Reader
	opts Options
	ilm  bool

	// refreshed says that searches see all that was written before this store
	// knew of other writers. It is Apply's alone.
	refreshed bool

	mu    sync.Mutex
	ready map[string]bool // indices that are known to be right
}

var _ index.Store = (*Store)(nil)

// Open opens the index for writing and puts its template in place. It returns
// index.ErrSchema when what is there was written with another schema.
func Open(ctx context.Context, client esapi.Transport, o Options) (*Store, error) {
	if o.Concurrency <= 0 {
		o.Concurrency = DefaultConcurrency
	}
	r, err := OpenReader(client, o.Prefix)
	if err != nil {
		return nil, err
	}
	s := &Store{Reader: r, opts: o, ready: map[string]bool{}}
	if err := s.install(ctx); err != nil {
		return nil, fmt.Errorf("opening the index: %w", err)
	}
	return s, nil
}

// state is the document that says how far the index is.
type state struct {
	Streams map[string]*streamState `json:"streams"`
	// Horizon is the time, as of index.UnixNano, before which nothing is kept.
	Horizon *int64 `json:"horizon,omitempty"`
	// Erasures say how far the index was erased by which streams.
	Erasures map[string]*streamState `json:"erasures,omitempty"`
	at       *version
}

type streamState struct {
	Next uint64 `json:"next"`
	// Last is the hash of the entry before, "" when nothing was taken yet.
	Last     string `json:"last"`
	Dropping bool   `json:"dropping,omitempty"`
}

func (s *state) horizon() int64 {
	if s.Horizon == nil {
		return -1 << 63
	}
	return *s.Horizon
}

const stateID = "state"

func (r *Reader) readState(ctx context.Context) (*state, error) {
	docs, err := r.get(ctx, []documentID{{r.names.state(), stateID}})
	if err != nil {
		return nil, err
	}
	st := &state{}
	if len(docs) > 0 {
		if err := json.Unmarshal(docs[0].source, st); err != nil {
			return nil, fmt.Errorf("%w: its cursors: %w", index.ErrCorrupt, err)
		}
		st.at = &docs[0].version
	}
	if st.Streams == nil {
		st.Streams = map[string]*streamState{}
	}
	return st, nil
}

// update changes the state until nobody else did at the same time.
func (s *Store) update(ctx context.Context, change func(*state) error) (*state, error) {
	for range maxRounds {
		st, err := s.readState(ctx)
		if err != nil {
			return nil, err
		}
		if err := change(st); err != nil {
			return nil, err
		}
		ok, err := s.put(ctx, s.names.state(), stateID, st, st.at)
		if err != nil || ok {
			return st, err
		}
	}
	return nil, errBusy
}

func (st *streamState) cursor(name string) (c index.Cursor, known bool) {
	c = index.Cursor{Stream: name, Next: st.Next}
	n, err := hex.Decode(c.Last[:], []byte(st.Last))
	return c, err == nil && n == len(c.Last)
}

// Apply implements index.Store. The cursor moves when all documents are
// written; a batch that fails half-way is taken again whole, which changes
// nothing in the documents that have it.
func (s *Store) Apply(ctx context.Context, b index.Batch) (index.Applied, error) {
	if len(b.Lines) == 0 {
		return index.Applied{}, nil
	}
	applied, err := s.apply(ctx, b)
	if err != nil {
		return index.Applied{}, fmt.Errorf("applying entries %d to %d of %s: %w",
			b.Lines[0].Seq, b.Lines[len(b.Lines)-1].Seq, b.Stream, err)
	}
	return applied, nil
}

func (s *Store) apply(ctx context.Context, b index.Batch) (index.Applied, error) {
	applied := index.Applied{Entries: len(b.Lines)}
	if err := ctx.Err(); err != nil {
		return applied, err
	}
	st, err := s.readState(ctx)
	if err != nil {
		return applied, err
	}
	cursor, err := begin(st, b)
	if err != nil {
		return applied, err
	}
	end, err := index.FollowChain(cursor, st.Streams[b.Stream] != nil && st.Streams[b.Stream].Last != "", b.Lines)
	if err != nil {
		return applied, err
	}
	if st.Streams[b.Stream] == nil {
		// Known to the other writers before the first document is.
		if st, err = s.register(ctx, b); err != nil {
			return applied, err
		}
	}
	t := newTaking(s, b, st.horizon())
	if err := t.joins.load(ctx); err != nil {
		return applied, err
	}
	if err := t.read(ctx, b); err != nil {
		return applied, err
	}
	applied.Unreadable = t.unreadable
	if err := t.write(ctx); err != nil {
		return applied, err
	}
	applied.Expired = t.expired
	return applied, s.commit(ctx, t, cursor, end)
}

// begin is where a batch has to begin.
func begin(st *state, b index.Batch) (index.Cursor, error) {
	have := st.Streams[b.Stream]
	if have == nil {
		if len(st.Streams) >= maxStreams {
			return index.Cursor{}, fmt.Errorf("the index holds %d streams, which is the most it can", maxStreams)
		}
		return index.Cursor{Stream: b.Stream, Next: b.Lines[0].Seq}, nil
	}
	if have.Dropping {
		return index.Cursor{}, fmt.Errorf("%w: stream %s is being removed", index.ErrDiverged, b.Stream)
	}
	c, known := have.cursor(b.Stream)
	if !known {
		c.Next = b.Lines[0].Seq
	}
	return c, nil
}

func (s *Store) register(ctx context.Context, b index.Batch) (*state, error) {
	s.refreshed = false // somebody may have been alone until now
	return s.update(ctx, func(st *state) error {
		if st.Streams[b.Stream] == nil {
			st.Streams[b.Stream] = &streamState{Next: b.Lines[0].Seq}
		}
		return nil
	})
}

// commit moves the cursor. Before, it joins what was written with what other
// writers wrote of the same calls, if there are any.
func (s *Store) commit(ctx context.Context, t *taking, from, to index.Cursor) error {
	joined := false
	for range maxRounds {
		st, err := s.readState(ctx)
		if err != nil {
			return err
		}
		if len(st.Streams) > 1 && !joined {
			if err := t.join(ctx); err != nil {
				return err
			}
			joined = true
			continue // others may have come meanwhile, but those look for us
		}
		have := st.Streams[to.Stream]
		if have == nil || have.Dropping {
			return fmt.Errorf("%w: stream %s was removed meanwhile", index.ErrDiverged, to.Stream)
		}
		if c, known := have.cursor(to.Stream); known && c != from {
			return fmt.Errorf("%w: its cursor of %s moved meanwhile", index.ErrLocked, to.Stream)
		}
		st.Streams[to.Stream] = &streamState{Next: to.Next, Last: hex.EncodeToString(to.Last[:])}
		ok, err := s.put(ctx, s.names.state(), stateID, st, st.at)
		if err != nil {
			return err
		}
		if ok {
			if s.opts.Refresh {
				return s.refresh(ctx, append(t.touchedIndices(), s.names.parked()))
			}
			return nil
		}
	}
	return errBusy
}

// taking is one batch on its way into the index.
type taking struct {
	s          *Store
	stream     string
	horizon    int64
	unreadable int
	expired    int
	work       []*pending

	joins joins

	mu      sync.Mutex
	touched map[string]bool // indices written to
}

// pending is what a batch tells of one event.
type pending struct {
	event   uuid.UUID
	entries []index.Parsed
	// look says that the event may be in the index already.
	look bool
	// sure says that it is, or was.
	sure bool
	// known says that it was written before and has stayed where it was, with the
	// ids it had.
	known bool
	// ids are those of the document as it was written.
	ids []index.CallID
	day time.Time
}

func newTaking(s *Store, b index.Batch, horizon int64) *taking {
	return &taking{
		s: s, stream: b.Stream, horizon: horizon, touched: map[string]bool{},
		joins: joins{s: s, stream: b.Stream, from: b.Lines[0].Seq},
	}
}

// read reads the lines of a batch, on all processors, and gathers them by event.
func (t *taking) read(ctx context.Context, b index.Batch) error {
	parsed := make([]index.Parsed, len(b.Lines))
	bad := make([]error, len(b.Lines))
	b.EachParsed(func(i int, p index.Parsed, err error) { parsed[i], bad[i] = p, err })
	byEvent := make(map[uuid.UUID]*pending, len(parsed))
	var unreadable []*item
	for i, p := range parsed {
		if bad[i] != nil {
			// An entry that this version can't read is no part of a record, and no
			// reason to stop: it stays in the ledger, and here for a look.
			t.unreadable++
			unreadable = append(unreadable, t.unreadableItem(b.Lines[i], bad[i]))
			continue
		}
		w := byEvent[p.Record.EventID]
		if w == nil {
			w = &pending{event: p.Record.EventID}
			byEvent[p.Record.EventID] = w
			t.work = append(t.work, w)
			// What has no time of its own tells more of a call that has.
			w.sure = p.Record.Revision > 1 || p.Record.Timestamp.IsZero()
		}
		w.entries = append(w.entries, p)
	}
	for _, w := range t.work {
		for _, e := range w.entries {
			ts := e.Record.Timestamp
			day := dayOf(ts)
			w.look = w.look || index.UnixNano(ts) < t.horizon || ts.Sub(day) < nearMidnight || day.AddDate(0, 0, 1).Sub(ts) < nearMidnight
		}
		w.look = w.look || w.sure || len(w.entries) > 1
	}
	if err := t.s.bulk(ctx, unreadable, t.s.opts.Refused); err != nil {
		return err
	}
	if len(unreadable) > 0 {
		t.touch(t.s.names.dead())
	}
	return nil
}

// unreadableItem is the write that keeps an entry that can't be read, until
// retention after now: its own time nobody knows. One that is there already is a
// conflict, and the same.
func (t *taking) unreadableItem(l index.Line, why error) *item {
	type entry struct {
		Stream string `json:"stream"`
		Seq    uint64 `json:"seq"`
		Line   string `json:"line"`
	}
	doc, err := json.Marshal(map[string]any{
		"reason": why.Error(),
		"index":  map[string]any{"streams": []string{t.stream}, "time": time.Now().UnixNano(), "entries": []entry{{t.stream, l.Seq, string(l.Data)}}},
	})
	if err != nil {
		panic(err) // strings and numbers
	}
	return &item{index: t.s.names.dead(), id: hex.EncodeToString(l.Leaf[:]), doc: doc}
}

func (t *taking) touch(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.touched[name] = true
}

func (t *taking) touchedIndices() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []string
	for name := range t.touched {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// write writes all events of the batch, some at a time.
func (t *taking) write(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	chunks := make(chan []*pending)
	var wg sync.WaitGroup
	for range t.s.opts.Concurrency {
		wg.Go(func() {
			for chunk := range chunks {
				if err := t.putEvents(ctx, chunk); err != nil {
					cancel(err)
				}
			}
		})
	}
	size := min(eventsPerWorker, max(100, (len(t.work)+t.s.opts.Concurrency-1)/t.s.opts.Concurrency))
	for chunk := range slices.Chunk(t.work, size) {
		if ctx.Err() != nil {
			break
		}
		chunks <- chunk
	}
	close(chunks)
	wg.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// putEvents adds to each event's document what the batch tells of it, and
// repeats that for those that others wrote meanwhile.
func (t *taking) putEvents(ctx context.Context, work []*pending) error {
	for range maxRounds {
		var ask []uuid.UUID
		sure := map[uuid.UUID]bool{}
		days := map[uuid.UUID][]time.Time{}
		for _, w := range work {
			if w.look {
				ask = append(ask, w.event)
				sure[w.event] = w.sure
				days[w.event] = daysOf(w.entries)
			}
		}
		found, err := t.s.find(ctx, ask, days, sure)
		if err != nil {
			return err
		}
		c := &changes{}
		var ids []index.CallID
		for _, w := range work {
			taken, again := t.plan(w, found[w.event], c)
			ids = append(ids, again...)
			if !taken {
				t.mu.Lock()
				t.expired += len(w.entries)
				t.mu.Unlock()
			}
		}
		if err := t.joins.note(ctx, ids...); err != nil {
			return err
		}
		if err := t.s.carryOut(ctx, c); err != nil {
			return err
		}
		for _, name := range c.indices() {
			t.touch(name)
		}
		again := c.conflicted()
		if len(again) == 0 {
			return nil
		}
		var left []*pending
		for _, w := range work {
			if again[w.event.String()] {
				w.look = true
				left = append(left, w)
			}
		}
		work = left
	}
	return errBusy
}

// daysOf are the days on which an event with these entries may lie.
func daysOf(entries []index.Parsed) []time.Time {
	var days []time.Time
	add := func(d time.Time) {
		if !slices.Contains(days, d) {
			days = append(days, d)
		}
	}
	for _, e := range entries {
		ts := e.Record.Timestamp
		add(dayOf(ts))
		add(dayOf(ts.Add(-nearMidnight)))
		add(dayOf(ts.Add(nearMidnight)))
	}
	return days
}

// plan says what to write for an event. taken is false when the event is too old
// to be taken. again are the ids whose documents have to be looked at
// because this one had them, or is joined with others.
func (t *taking) plan(w *pending, copies []found, c *changes) (taken bool, again []index.CallID) {
	var d document
	if len(copies) == 0 {
		d = newDocument(w.event, slices.Clone(w.entries))
		if d.time < t.horizon {
			return false, nil
		}
	} else {
		d = gather(w.event, copies, w.entries)
	}
	w.ids, w.day = d.ids(), dayOf(d.record.Timestamp)
	w.known = t.knew(&d, copies)
	c.settle(t.s.names, d, copies)
	return true, rejoin(&d, copies)
}

// knew says whether a document takes the place of one that earlier batches of this
// stream wrote, and that others find by the same as before.
func (t *taking) knew(d *document, copies []found) bool {
	if len(copies) != 1 || copies[0].index != t.s.names.index(d) || !slices.Equal(copies[0].doc.ids(), d.ids()) {
		return false
	}
	before := false
	for _, e := range copies[0].doc.entries {
		if e.Stream == t.stream {
			if e.Seq >= t.joins.from {
				return false // of a try of this batch
			}
			before = true
		}
	}
	return before
}

// found is a document that is there.
type found struct {
	stored
	doc document
}

// gather makes one document of an event's copies and of more entries. Where
// one of the copies is shown, it is.
func gather(event uuid.UUID, copies []found, more []index.Parsed) document {
	var entries []index.Parsed
	var out document
	out.role = dead
	for _, cp := range copies {
		entries = union(entries, cp.doc.entries)
		if cp.doc.role < out.role {
			out.role, out.head, out.time = cp.doc.role, cp.doc.head, cp.doc.time
		}
	}
	d := newDocument(event, union(entries, more))
	if out.role == parked {
		d.role, d.head, d.time = parked, out.head, out.time
	}
	return d
}

// changes are writes and removals to be carried out, the writes first.
type changes struct {
	writes, removals []*item
	docs             []document // of the writes
}

// settle adds what it takes to have a document where it belongs, and nowhere
// else. What the server refused is not tried again before there is more of it.
func (c *changes) settle(n names, d document, copies []found) {
	if slices.ContainsFunc(copies, func(cp found) bool { return cp.doc.role == dead && sameEntries(cp.doc.entries, d.entries) }) {
		return
	}
	c.place(n, d, copies)
}

// place adds what it takes to have a document where it belongs in place of copies.
func (c *changes) place(n names, d document, copies []found) {
	home := n.index(&d)
	body := d.append(nil)
	stays := slices.IndexFunc(copies, func(cp found) bool { return cp.index == home })
	elsewhere := 0
	for _, cp := range copies {
		if cp.index != home {
			c.removals = append(c.removals, &item{index: cp.index, id: cp.id, at: &cp.version})
			elsewhere++
		}
	}
	switch {
	case stays < 0:
		c.write(&item{index: home, id: d.event.String(), doc: body}, d)
	case elsewhere > 0 || string(copies[stays].source) != string(body):
		// Also one that is right is written when others are removed for it: another
		// writer, to whom it belongs elsewhere, would remove just this one.
		c.write(&item{index: home, id: copies[stays].id, doc: body, at: &copies[stays].version}, d)
	}
}

func (c *changes) write(it *item, d document) {
	c.writes, c.docs = append(c.writes, it), append(c.docs, d)
}

func (c *changes) empty() bool { return len(c.writes)+len(c.removals) == 0 }

func (c *changes) indices() []string {
	var out []string
	for _, it := range slices.Concat(c.writes, c.removals) {
		if !slices.Contains(out, it.index) {
			out = append(out, it.index)
		}
	}
	return out
}

// conflicted are the events that others wrote meanwhile.
func (c *changes) conflicted() map[string]bool {
	out := map[string]bool{}
	for _, it := range slices.Concat(c.writes, c.removals) {
		if it.conflict {
			out[it.id] = true
		}
	}
	return out
}

// carryOut carries changes out. Documents that the server can't take go to the
// dead letters; nothing of an event is removed of which something could not be
// written.
func (s *Store) carryOut(ctx context.Context, c *changes) error {
	for _, it := range c.writes {
		if s.names.roleOf(it.index) == shown {
			if err := s.ensureDay(ctx, it.index); err != nil {
				return err
			}
		}
	}
	if err := s.bulk(ctx, c.writes, s.opts.Refused); err != nil {
		return err
	}
	var buried []*item
	var graves []documentID
	undone := map[string]bool{}
	for i, it := range c.writes {
		if it.conflict {
			undone[it.id] = true
		}
		if it.refused == nil {
			continue
		}
		d := c.docs[i]
		d.role, d.reason = dead, it.refused.Error()
		buried = append(buried, &item{index: s.names.dead(), id: it.id, doc: d.append(nil)})
		graves = append(graves, documentID{s.names.dead(), it.id})
		if s.opts.Dead != nil {
			s.opts.Dead(d.event, d.reason)
		}
	}
	if err := s.bury(ctx, buried, graves); err != nil {
		return err
	}
	for _, it := range buried {
		// Its grave was counted among the copies to be removed.
		c.removals = slices.DeleteFunc(c.removals, func(r *item) bool { return r.id == it.id && r.index == it.index })
	}
	removals := slices.DeleteFunc(slices.Clone(c.removals), func(it *item) bool { return undone[it.id] })
	return s.bulk(ctx, removals, s.opts.Refused)
}

// bury writes dead letters over what is there.
func (s *Store) bury(ctx context.Context, items []*item, ids []documentID) error {
	for range maxRounds {
		if len(items) == 0 {
			return nil
		}
		have, err := s.get(ctx, ids)
		if err != nil {
			return err
		}
		for _, it := range items {
			it.at, it.conflict = nil, false
			for _, h := range have {
				if h.id == it.id {
					it.at = &h.version
				}
			}
		}
		if err := s.bulk(ctx, items, s.opts.Refused); err != nil {
			return err
		}
		items = slices.DeleteFunc(slices.Clone(items), func(it *item) bool { return !it.conflict })
		if i := slices.IndexFunc(items, func(it *item) bool { return it.refused != nil }); i >= 0 {
			return fmt.Errorf("writing a dead letter: %w", items[i].refused)
		}
	}
	return errBusy
}

// find returns the documents of events, wherever they lie: on the given days,
// on those of what is found, and among the parked and the dead. Where an event
// is sure to be somewhere and isn't there, all days are searched.
func (s *Store) find(ctx context.Context, events []uuid.UUID, days map[uuid.UUID][]time.Time, sure map[uuid.UUID]bool) (map[uuid.UUID][]found, error) {
	out := map[uuid.UUID][]found{}
	if len(events) == 0 {
		return out, nil
	}
	asked := map[documentID]bool{}
	var ask []documentID
	want := func(index string, event uuid.UUID) {
		id := documentID{index, event.String()}
		if !asked[id] {
			asked[id] = true
			ask = append(ask, id)
		}
	}
	for _, e := range events {
		for _, d := range days[e] {
			want(s.names.day(d), e)
		}
		want(s.names.parked(), e)
		want(s.names.dead(), e)
	}
	searched := false
	for len(ask) > 0 {
		got, err := s.get(ctx, ask)
		if err != nil {
			return nil, err
		}
		ask = nil
		for _, g := range got {
			event, err := uuid.Parse(g.id)
			if err != nil {
				continue // none that was asked for
			}
			doc, err := readDocument(g.source, s.names.roleOf(g.index))
			if err != nil {
				// Somebody spoiled it. What is told of the event now is written over
				// it; the rest comes back by repair.
				doc = document{event: event, role: s.names.roleOf(g.index)}
			}
			out[event] = append(out[event], found{g, doc})
			for _, d := range daysOf(doc.entries) {
				want(s.names.day(d), event)
			}
		}
		if len(ask) > 0 || searched {
			continue
		}
		searched = true
		var lost []string
		for _, e := range events {
			if sure[e] && len(out[e]) == 0 {
				lost = append(lost, e.String())
			}
		}
		if len(lost) == 0 {
			break
		}
		if err := s.refresh(ctx, []string{s.names.days()}); err != nil {
			return nil, err
		}
		places, err := s.searchEvents(ctx, lost)
		if err != nil {
			return nil, err
		}
		for _, p := range places {
			event, err := uuid.Parse(p.ID)
			if err == nil {
				want(p.Index, event)
			}
		}
	}
	return out, nil
}

// searchEvents looks for documents on all days.
func (s *Store) searchEvents(ctx context.Context, events []string) ([]documentID, error) {
	var out []documentID
	for part := range slices.Chunk(events, idsPerRequest) {
		a, err := s.search(ctx, []string{s.names.days()}, map[string]any{
			"size": 2 * idsPerRequest, "_source": false, "track_total_hits": false,
			"query": map[string]any{"terms": map[string]any{"event_id": part}},
		})
		if err != nil {
			return nil, fmt.Errorf("looking for %d events: %w", len(part), err)
		}
		for _, h := range a.Hits.Hits {
			out = append(out, h.documentID)
		}
	}
	return out, nil
}

// removeIndex removes an index, if it is there.
func (s *Store) removeIndex(ctx context.Context, name string) error {
	err := s.call(ctx, http.MethodDelete, "/"+name, nil, nil)
	if err != nil && !hasStatus(err, http.StatusNotFound) {
		return fmt.Errorf("removing index %s: %w", name, err)
	}
	s.mu.Lock()
	delete(s.ready, name)
	s.mu.Unlock()
	return nil
}
