package elasticsearch

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/claudeaudit/claudeaudit/internal/index"
)

// Kinds of findings.
const (
	KindMissing = "missing" // the ledger tells of it, and the index lacks it
	KindExtra   = "extra"   // the ledger does not tell of it
	KindDiffers = "differs" // a field is not as the ledger has it
)

// Finding is a document that is not as the ledger has it.
type Finding struct {
	Kind string
	// Index and ID of the document; ID is "" when a whole index is meant.
	Index, ID string
	// Fields that differ.
	Fields []string
	Detail string
}

func (f Finding) String() string {
	var b strings.Builder
	switch {
	case f.ID == "":
		fmt.Fprintf(&b, "index %s", f.Index)
	default:
		fmt.Fprintf(&b, "document %s of %s", f.ID, f.Index)
	}
	switch f.Kind {
	case KindMissing:
		b.WriteString(" is missing")
	case KindExtra:
		b.WriteString(": the ledger lacks it")
	case KindDiffers:
		b.WriteString(" is not what the ledger says")
	}
	if len(f.Fields) > 0 {
		b.WriteString(": " + strings.Join(f.Fields, ", "))
	}
	if f.Detail != "" {
		b.WriteString(" (" + f.Detail + ")")
	}
	return b.String()
}

const (
	// maxFields bounds the fields that a finding names.
	maxFields = 20
	// checkPage is how many documents are read at a time.
	checkPage = 1000
	// repairing stands for a batch where documents are written anew.
	repairing = math.MaxUint64 - 2
)

// Checker compares the index with the entries of a ledger: that it holds a
// document for each of the ledger's records and no others, each with the fields
// that its entries make, in the place where it belongs.
//
// The expected records are made from the ledger anew in another store, an
// implementation of its own, and both are then gone through side by side, day by
// day. Entries that the index has not taken yet are no finding, nor are those it
// takes meanwhile.
type Checker struct {
	r        *Reader
	expected index.Store
	found    func(Finding)
	page     int // documents read at a time
	cursors  map[string]uint64
	erased   *index.Erased
	batcher  index.Batcher

	repair   *Store
	broken   []uuid.UUID
	mended   []index.CallID // of the documents that were written anew
	Repaired int            // documents that were written or removed
}

// CheckOptions say what an index is compared with.
type CheckOptions struct {
	// Expected is an empty store, which is filled; the caller closes it.
	Expected index.Store
	// Streams are those of the ledger.
	Streams []string
	// Elsewhere are streams of other ledgers that the index also holds. What they
	// tell is not checked. Others that the ledger lacks are findings.
	Elsewhere []string
	// Erased are the events that the index has to have in erased form.
	Erased *index.Erased
	// Found is told what is wrong.
	Found func(Finding)
}

// NewChecker starts a comparison.
func (r *Reader) NewChecker(ctx context.Context, o CheckOptions) (*Checker, error) {
	c := &Checker{r: r, expected: o.Expected, found: o.Found, page: checkPage, erased: o.Erased, cursors: map[string]uint64{}, batcher: index.Batcher{Store: o.Expected}}
	st, err := r.readState(ctx)
	if err != nil {
		return nil, fmt.Errorf("checking the index: %w", err)
	}
	for _, name := range slices.Concat(o.Streams, o.Elsewhere) {
		c.cursors[name] = 0
	}
	for name, s := range st.Streams {
		cur, known := s.cursor(name)
		switch {
		case slices.Contains(o.Streams, name):
			if known && !s.Dropping {
				c.cursors[name] = cur.Next
			}
		case !slices.Contains(o.Elsewhere, name):
			c.cursors[name] = 0
			c.found(Finding{Kind: KindExtra, Index: r.names.prefix, Detail: "it holds stream " + name + ", which is not checked"})
		}
	}
	if st.Horizon != nil {
		if _, err := o.Expected.Prune(ctx, time.Unix(0, *st.Horizon).UTC(), 1); err != nil {
			return nil, fmt.Errorf("checking the index: %w", err)
		}
	}
	return c, nil
}

// NewRepair is NewChecker, and mends what is found.
func (s *Store) NewRepair(ctx context.Context, o CheckOptions) (*Checker, error) {
	c, err := s.NewChecker(ctx, o)
	if err == nil {
		c.repair = s
	}
	return c, err
}

// Entry takes an entry of the ledger. It is called with all entries, in order
// within a stream, from one goroutine.
func (c *Checker) Entry(ctx context.Context, stream string, seq uint64, line []byte) error {
	next, ok := c.cursors[stream]
	if !ok || seq >= next {
		return nil
	}
	return expecting(c.batcher.Add(ctx, stream, index.Line{Seq: seq, Leaf: index.LeafHash(line), Data: bytes.Clone(c.erased.Form(line))}))
}

func expecting(err error) error {
	if errors.Is(err, index.ErrDiverged) {
		return fmt.Errorf("checking the index: %w: see what verify says of the ledger", err)
	}
	if err != nil {
		return fmt.Errorf("making the expected records: %w", err)
	}
	return nil
}

// Finish compares. Call it after the last entry.
func (c *Checker) Finish(ctx context.Context) error {
	if err := expecting(c.batcher.Flush(ctx)); err != nil {
		return err
	}
	if err := c.compare(ctx); err != nil {
		return fmt.Errorf("checking the index: %w", err)
	}
	return nil
}

// side is one of the two lists that are gone through: newest day first, and
// within a day newest time first, events of the same time largest first. That is
// how the server keeps the documents of a day, so that a page costs what is on it.
type side struct {
	next func() ([]listed, error) // the next page, none at the end
	page []listed
}

type listed struct {
	day   time.Time // whose index holds it, or should
	time  int64
	event uuid.UUID
	// Of the index's side:
	hit     hit
	foreign bool // it has no time or no event
}

// compare is below 0 when l comes before o.
func (l *listed) compare(o *listed) int {
	return cmp.Or(o.day.Compare(l.day), cmp.Compare(o.time, l.time), compareEvents(o.event, l.event))
}

func (s *side) peek() (*listed, error) {
	if len(s.page) == 0 {
		var err error
		if s.page, err = s.next(); err != nil || len(s.page) == 0 {
			return nil, err
		}
	}
	return &s.page[0], nil
}

func (s *side) pop() { s.page = s.page[1:] }

func (c *Checker) compare(ctx context.Context) error {
	if err := c.foreignIndices(ctx); err != nil {
		return err
	}
	want, have := c.ledgerSide(ctx), c.indexSide(ctx)
	for {
		w, err := want.peek()
		if err != nil {
			return err
		}
		h, err := have.peek()
		if err != nil {
			return err
		}
		switch {
		case w == nil && h == nil:
			if err := c.parked(ctx); err != nil {
				return err
			}
			if err := c.mend(ctx); err != nil {
				return err
			}
			return c.rejoin(ctx)
		case h == nil || w != nil && w.compare(h) < 0: // h comes later
			err = c.missing(ctx, w.event)
			want.pop()
		case w == nil || w.compare(h) > 0:
			err = c.extra(ctx, h)
			have.pop()
		default:
			var f index.Found
			if f, err = c.expected.Get(ctx, w.event); err == nil {
				err = c.same(ctx, f, stored{h.hit.Index, h.hit.ID, version{}, h.hit.Source})
			}
			want.pop()
			have.pop()
		}
		if err != nil {
			return err
		}
	}
}

// foreignIndices reports those that dashboards would take for days.
func (c *Checker) foreignIndices(ctx context.Context) error {
	var answer struct {
		Indices []struct {
			Name string `json:"name"`
		} `json:"indices"`
	}
	if err := c.r.call(ctx, http.MethodGet, "/_resolve/index/"+c.r.names.days(), nil, &answer); err != nil && !hasStatus(err, http.StatusNotFound) {
		return fmt.Errorf("listing the indices: %w", err)
	}
	for _, i := range answer.Indices {
		if _, ok := c.r.names.dayNamed(i.Name); !ok {
			c.found(Finding{Kind: KindExtra, Index: i.Name, Detail: "its name is no day's; it is left alone"})
		}
	}
	return nil
}

func (c *Checker) ledgerSide(ctx context.Context) *side {
	q := index.Query{Kind: index.KindAll, Limit: c.page}
	done := false
	return &side{next: func() ([]listed, error) {
		for !done {
			page, err := c.expected.Search(ctx, q)
			if err != nil {
				return nil, err
			}
			q.After, done = page.Next, page.Next == ""
			out := make([]listed, len(page.Records))
			for i := range page.Records {
				r := &page.Records[i]
				out[i] = listed{day: dayOf(r.Timestamp), time: index.UnixNano(r.Timestamp), event: r.EventID}
			}
			if len(out) > 0 {
				return out, nil
			}
		}
		return nil, nil
	}}
}

// indexSide lists the documents of all days.
func (c *Checker) indexSide(ctx context.Context) *side {
	var days []time.Time
	var day *pages
	var of time.Time
	started := false
	return &side{next: func() ([]listed, error) {
		if !started {
			started = true
			var err error
			days, err = c.r.days(ctx, time.Time{}, time.Time{})
			if err != nil && !errors.Is(err, index.ErrNoIndex) {
				return nil, err
			}
		}
		for {
			if day == nil {
				if len(days) == 0 {
					return nil, nil
				}
				last := days[len(days)-1]
				day = &pages{r: c.r, index: c.r.names.day(last), size: c.page}
				of = last
				days = days[:len(days)-1]
			}
			hits, err := day.next(ctx)
			if err != nil {
				return nil, err
			}
			if len(hits) == 0 {
				day = nil
				continue
			}
			page := list(of, hits)
			for _, l := range page {
				if !l.foreign {
					continue
				}
				c.found(Finding{Kind: KindExtra, Index: l.hit.Index, ID: l.hit.ID, Detail: "it is none of ours"})
				if err := c.removeHit(ctx, l.hit.documentID); err != nil {
					return nil, err
				}
			}
			page = slices.DeleteFunc(page, func(l listed) bool { return l.foreign })
			if len(page) > 0 {
				return page, nil
			}
		}
	}}
}

// pages lists the documents of an index, page by page: those with a time in the
// order in which the server keeps those of a day, then those without, which somebody
// added.
//
// A page costs the server what is on it. With search_after alone it would go
// through all that comes before the page: the bound on the time, by which the
// documents lie sorted, takes it to the first. And to order them by event too it
// would look up the event of more documents than the page has: that is the caller's.
type pages struct {
	r      *Reader
	index  string
	size   int
	filter any // documents are listed that match it; nil for all

	last  []json.RawMessage // the time of the last document
	over  bool              // the documents with a time are
	aside *aside            // to be read before it goes on
}

// aside are documents that the time does not put in order.
type aside struct {
	filter, mustNot []any
	time            json.RawMessage // which they share; nil when they have none
	sort            []any
	last            []json.RawMessage
}

// next is the next page, none at the end. A document is sorted by its time, nil when it
// has none.
func (p *pages) next(ctx context.Context) ([]hit, error) {
	for p.aside != nil || !p.over {
		var page []hit
		var err error
		if p.aside != nil {
			page, err = p.nextAside(ctx)
		} else {
			page, err = p.nextTimed(ctx)
		}
		if err != nil || len(page) > 0 {
			return page, err
		}
	}
	return nil, nil
}

func (p *pages) nextTimed(ctx context.Context) ([]hit, error) {
	bound := exists("index.time")
	if p.last != nil {
		bound = map[string]any{"range": map[string]any{"index.time": map[string]any{"lt": p.last[0]}}}
	}
	hits, err := p.search(ctx, []any{bound}, nil, []any{descending("index.time")}, p.last)
	if err != nil {
		return nil, err
	}
	if len(hits) < p.size {
		p.over = true
		p.aside = &aside{mustNot: []any{exists("index.time")}, sort: []any{"_seq_no"}}
		return hits, nil
	}
	// More of the last one's time may follow.
	p.last = hits[len(hits)-1].Sort
	p.aside = &aside{
		filter: []any{map[string]any{"term": map[string]any{"index.time": p.last[0]}}}, time: p.last[0],
		sort: []any{descending("event_id"), descending("_seq_no")}, // which tells copies apart
	}
	n := slices.IndexFunc(hits, func(h hit) bool { return bytes.Equal(h.Sort[0], p.last[0]) })
	return hits[:n], nil
}

func (p *pages) nextAside(ctx context.Context) ([]hit, error) {
	a := p.aside
	hits, err := p.search(ctx, a.filter, a.mustNot, a.sort, a.last)
	if err != nil {
		return nil, err
	}
	if len(hits) < p.size {
		p.aside = nil
	} else {
		a.last = hits[len(hits)-1].Sort
	}
	for i := range hits {
		hits[i].Sort = []json.RawMessage{a.time}
	}
	return hits, nil
}

func (p *pages) search(ctx context.Context, filter, mustNot, sort []any, after []json.RawMessage) ([]hit, error) {
	if p.filter != nil {
		filter = append(slices.Clone(filter), p.filter)
	}
	body := map[string]any{
		"size": p.size, "track_total_hits": false, "seq_no_primary_term": true,
		"query": map[string]any{"bool": map[string]any{"filter": filter, "must_not": mustNot}}, "sort": sort,
	}
	if after != nil {
		body["search_after"] = after
	}
	a, err := p.r.search(ctx, []string{p.index}, body)
	if err != nil {
		return nil, err
	}
	return a.Hits.Hits, nil
}

// list puts a page of a day in order.
func list(day time.Time, hits []hit) []listed {
	out := make([]listed, len(hits))
	for i, h := range hits {
		l := listed{day: day, hit: h}
		if pl, err := h.place(h.Sort[0]); err == nil {
			l.time, l.event = pl.position.Time.UnixNano(), pl.position.Event
		} else {
			l.foreign = true
		}
		out[i] = l
	}
	slices.SortStableFunc(out, func(a, b listed) int { return a.compare(&b) })
	return out
}

func descending(field string) map[string]any { return map[string]any{field: "desc"} }

func exists(field string) map[string]any {
	return map[string]any{"exists": map[string]any{"field": field}}
}

// newer are the entries of a document that the ledger was not asked for: those
// that the index took after the comparison began, and those of other ledgers.
func (c *Checker) newer(entries []index.Parsed, expected []index.Parsed) []index.Parsed {
	var out []index.Parsed
	for _, e := range entries {
		next, known := c.cursors[e.Stream]
		if known && e.Seq >= next && !slices.ContainsFunc(expected, func(o index.Parsed) bool { return o.Stream == e.Stream && o.Seq == e.Seq }) {
			out = append(out, e)
		}
	}
	return out
}

func parseEntries(list []index.Entry) ([]index.Parsed, error) {
	var out []index.Parsed
	for _, e := range list {
		p, err := index.ParseEntry(e)
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

// same compares a document with what its entries in the ledger say.
func (c *Checker) same(ctx context.Context, f index.Found, have stored) error {
	entries, err := parseEntries(f.Entries)
	if err != nil {
		return err
	}
	event := f.Record.EventID
	want := newDocument(event, entries)
	body := want.append(nil)
	if have.index == c.r.names.index(&want) && have.id == event.String() && bytes.Equal(body, have.source) {
		return c.parkedOf(ctx, &want)
	}
	if doc, err := readDocument(have.source, shown); err == nil && have.id == event.String() {
		grown, err := c.grown(ctx, event, entries, doc.entries)
		if err != nil {
			return err
		}
		if grown != nil && have.index == c.r.names.index(grown) && bytes.Equal(grown.append(nil), have.source) {
			return nil
		}
	}
	fields := differing(body, have.source)
	finding := Finding{Kind: KindDiffers, Index: have.index, ID: have.id, Fields: fields}
	if place := c.r.names.index(&want); place != have.index {
		finding.Detail = "it belongs into " + place
	}
	if have.id != event.String() {
		finding.Kind, finding.Detail = KindExtra, "its id is not its event_id"
		c.found(finding)
		if err := c.removeHit(ctx, documentID{have.index, have.id}); err != nil {
			return err
		}
		return c.missing(ctx, event)
	}
	c.found(finding)
	return c.mendLater(ctx, event)
}

// grown is the document of a record of the ledger together with what the ledger was
// not asked for, nil when there is nothing of that. Such entries may join it to other
// records of the ledger.
func (c *Checker) grown(ctx context.Context, event uuid.UUID, expected, have []index.Parsed) (*document, error) {
	more := c.newer(have, expected)
	if len(more) == 0 {
		return nil, nil
	}
	all := union(slices.Clone(expected), more)
	for _, e := range have {
		if slices.ContainsFunc(all, func(o index.Parsed) bool { return o.Stream == e.Stream && o.Seq == e.Seq }) {
			continue
		}
		f, err := c.expected.Get(ctx, e.Record.EventID)
		if errors.Is(err, index.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		other, err := parseEntries(f.Entries)
		if err != nil {
			return nil, err
		}
		all = union(all, other)
	}
	if !oneFamily(all) {
		return nil, nil
	}
	d := newDocument(event, all)
	return &d, nil
}

// oneFamily says whether entries are of events that their ids join.
func oneFamily(entries []index.Parsed) bool {
	own := map[uuid.UUID][]index.Parsed{}
	for _, e := range entries {
		own[e.Record.EventID] = append(own[e.Record.EventID], e)
	}
	var twins []index.Twin
	for _, list := range own {
		twins = append(twins, index.TwinOf(list))
	}
	family, err := index.NewFamilies(func(_ context.Context, id index.CallID) ([]index.Twin, error) {
		return slices.DeleteFunc(slices.Clone(twins), func(t index.Twin) bool { return !slices.Contains(t.IDs, id) }), nil
	}).Of(context.Background(), twins[0])
	return err == nil && len(family) == len(twins)
}

// parkedOf checks the parked documents of a record's twins.
func (c *Checker) parkedOf(ctx context.Context, head *document) error {
	if !head.joined() {
		return nil
	}
	for _, name := range head.events()[1:] {
		event := uuid.MustParse(name)
		want := c.parkedDocument(head, event)
		got, err := c.r.get(ctx, []documentID{{c.r.names.parked(), name}})
		if err != nil {
			return err
		}
		switch {
		case len(got) == 0:
			c.found(Finding{Kind: KindMissing, Index: c.r.names.parked(), ID: name})
		case !bytes.Equal(got[0].source, want.append(nil)):
			c.found(Finding{Kind: KindDiffers, Index: c.r.names.parked(), ID: name, Fields: differing(want.append(nil), got[0].source)})
		default:
			continue
		}
		if err := c.mendLater(ctx, event); err != nil {
			return err
		}
	}
	return nil
}

func (c *Checker) parkedDocument(head *document, event uuid.UUID) document {
	var own []index.Parsed
	for _, e := range head.entries {
		if e.Record.EventID == event {
			own = append(own, e)
		}
	}
	d := newDocument(event, own)
	d.role, d.head, d.time = parked, head.event, head.time
	return d
}

// parked looks for parked documents of events that aren't twins.
func (c *Checker) parked(ctx context.Context) error {
	var after []json.RawMessage
	for {
		body := map[string]any{"size": c.page, "track_total_hits": false, "sort": []string{"_seq_no"}}
		if after != nil {
			body["search_after"] = after
			body["query"] = map[string]any{"bool": map[string]any{"filter": map[string]any{"range": map[string]any{"_seq_no": map[string]any{"gt": after[0]}}}}}
		}
		a, err := c.r.search(ctx, []string{c.r.names.parked()}, body)
		if err != nil {
			return err
		}
		for _, h := range a.Hits.Hits {
			after = h.Sort
			event, err := uuid.Parse(h.ID)
			known := false
			if err == nil {
				var f index.Found
				f, err = c.expected.Get(ctx, event)
				if err == nil && f.Record.EventID != event {
					continue
				}
				if known = err == nil; known {
					joined, err := c.joinedElsewhere(ctx, f, h)
					if err != nil {
						return err
					}
					if joined {
						continue
					}
				}
			}
			if err != nil && !errors.Is(err, index.ErrNotFound) && event != uuid.Nil {
				return err
			}
			if doc, err := readDocument(h.Source, parked); err == nil && len(c.newer(doc.entries, nil)) > 0 {
				continue
			}
			c.found(Finding{Kind: KindExtra, Index: h.Index, ID: h.ID})
			if known {
				err = c.mendLater(ctx, event) // it shows for itself, or is joined anew
			} else {
				err = c.removeHit(ctx, h.documentID)
			}
			if err != nil {
				return err
			}
		}
		if len(a.Hits.Hits) < c.page {
			return nil
		}
	}
}

// joinedElsewhere says whether a parked document is that of a record of the ledger
// which the index has joined to one that other ledgers tell of.
func (c *Checker) joinedElsewhere(ctx context.Context, f index.Found, h hit) (bool, error) {
	own, err := parseEntries(f.Entries)
	if err != nil {
		return false, err
	}
	head, err := c.r.lookUp(ctx, f.Record.EventID)
	switch {
	case errors.Is(err, index.ErrNotFound), errors.Is(err, index.ErrCorrupt), errors.Is(err, index.ErrNoIndex):
		return false, nil
	case err != nil:
		return false, err
	}
	all, err := parseEntries(head.Entries)
	if err != nil {
		return false, nil // the document of the record is found damaged for itself
	}
	grown, err := c.grown(ctx, head.Record.EventID, own, all)
	if err != nil || grown == nil {
		return false, err
	}
	want := c.parkedDocument(grown, f.Record.EventID)
	return bytes.Equal(want.append(nil), h.Source), nil
}

// missing is called for a record that the index does not have where it should.
// It may be that the search did not see it yet, or that it was just moved.
func (c *Checker) missing(ctx context.Context, event uuid.UUID) error {
	f, err := c.expected.Get(ctx, event)
	if err != nil {
		return err
	}
	entries, err := parseEntries(f.Entries)
	if err != nil {
		return err
	}
	want := newDocument(event, entries)
	place := c.r.names.index(&want)
	got, err := c.r.get(ctx, []documentID{{place, event.String()}, {c.r.names.dead(), event.String()}})
	if err != nil {
		return err
	}
	finding := Finding{Kind: KindMissing, Index: place, ID: event.String()}
	for _, g := range got {
		if g.index == place {
			return c.same(ctx, f, g)
		}
		if s, err := readSource(g.source); err == nil {
			finding.Detail = "a dead letter: " + s.Reason
		}
	}
	if moved, err := c.r.lookUp(ctx, event); err == nil {
		all, err := parseEntries(moved.Entries)
		if err == nil && len(c.newer(all, entries)) > 0 {
			return nil
		}
	} else if !errors.Is(err, index.ErrNotFound) && !errors.Is(err, index.ErrCorrupt) && !errors.Is(err, index.ErrNoIndex) {
		return err
	}
	c.found(finding)
	return c.mendLater(ctx, event)
}

// extra is called for a document that the ledger does not have so.
func (c *Checker) extra(ctx context.Context, h *listed) error {
	id := documentID{h.hit.Index, h.hit.ID}
	f, err := c.expected.Get(ctx, h.event)
	switch {
	case errors.Is(err, index.ErrNotFound):
	case err != nil:
		return err
	case f.Record.EventID == h.event && h.hit.ID == h.event.String():
		entries, err := parseEntries(f.Entries)
		if err != nil {
			return err
		}
		want := newDocument(h.event, entries)
		if c.r.names.index(&want) == h.hit.Index {
			return nil // where it is missing, it is told of
		}
	}
	// Written since, or moved since: then it has entries that were not asked for.
	if doc, err := readDocument(h.hit.Source, shown); err == nil && len(c.newer(doc.entries, nil)) > 0 {
		grown := newDocument(doc.event, slices.Clone(doc.entries))
		if bytes.Equal(grown.append(nil), h.hit.Source) {
			return nil
		}
	}
	c.found(Finding{Kind: KindExtra, Index: id.Index, ID: id.ID})
	return c.removeHit(ctx, id)
}

// removeHit removes a document when repairing.
func (c *Checker) removeHit(ctx context.Context, id documentID) error {
	if c.repair == nil {
		return nil
	}
	got, err := c.r.get(ctx, []documentID{id})
	if err != nil || len(got) == 0 {
		return err
	}
	it := &item{index: got[0].index, id: got[0].id, at: &got[0].version}
	c.Repaired++
	return c.repair.bulk(ctx, []*item{it}, nil)
}

// mendLater notes an event whose documents are to be written anew.
func (c *Checker) mendLater(ctx context.Context, event uuid.UUID) error {
	if c.repair == nil {
		return nil
	}
	if c.broken = append(c.broken, event); len(c.broken) < idsPerRequest {
		return nil
	}
	return c.mend(ctx)
}

// mend writes the noted events' documents as the ledger has them.
func (c *Checker) mend(ctx context.Context) error {
	for range maxRounds {
		if len(c.broken) == 0 {
			return nil
		}
		ch := &changes{}
		days := map[uuid.UUID][]time.Time{}
		wants := map[uuid.UUID]document{}
		for _, event := range c.broken {
			f, err := c.expected.Get(ctx, event)
			if err != nil {
				return err
			}
			entries, err := parseEntries(f.Entries)
			if err != nil {
				return err
			}
			d := newDocument(f.Record.EventID, entries)
			if d.event != event {
				d = c.parkedDocument(&d, event)
			}
			wants[event] = d
			days[event] = daysOf(d.entries)
		}
		got, err := c.repair.find(ctx, c.broken, days, nil)
		if err != nil {
			return err
		}
		for _, event := range c.broken {
			d := wants[event]
			var more []index.Parsed
			for _, cp := range got[event] {
				more = union(more, c.newer(cp.doc.entries, d.entries))
			}
			if len(more) > 0 {
				grown := newDocument(event, union(slices.Clone(d.entries), more))
				grown.role, grown.head = d.role, d.head
				if d.role == parked {
					grown.time = d.time
				}
				d = grown
			}
			ch.place(c.r.names, d, got[event]) // also for one that was refused the time has come
			c.mended = append(c.mended, d.ids()...)
		}
		if err := c.repair.carryOut(ctx, ch); err != nil {
			return err
		}
		again := ch.conflicted()
		c.Repaired += len(ch.writes) + len(ch.removals) - len(again)
		c.broken = slices.DeleteFunc(c.broken, func(e uuid.UUID) bool { return !again[e.String()] })
	}
	return errBusy
}

// rejoin joins what was mended with what other ledgers tell of the same calls.
func (c *Checker) rejoin(ctx context.Context) error {
	if len(c.mended) == 0 {
		return nil
	}
	if err := c.repair.refresh(ctx, []string{c.r.names.days(), c.r.names.parked()}); err != nil {
		return err
	}
	j := &joins{s: c.repair, stream: "repair", from: repairing}
	return j.run(ctx, c.mended...)
}

// differing names the fields in which two documents differ.
func differing(want, have []byte) []string {
	flat := func(b []byte) map[string]any {
		var v map[string]any
		d := json.NewDecoder(bytes.NewReader(b))
		d.UseNumber()
		if d.Decode(&v) != nil {
			return nil
		}
		out := map[string]any{}
		flatten("", v, out)
		return out
	}
	w, h := flat(want), flat(have)
	names := map[string]bool{}
	for k, v := range w {
		if o, ok := h[k]; !ok || !reflect.DeepEqual(v, o) {
			names[k] = true
		}
	}
	for k := range h {
		if _, ok := w[k]; !ok {
			names[k] = true
		}
	}
	out := slices.Sorted(maps.Keys(names))
	if len(out) > maxFields {
		out = append(out[:maxFields], fmt.Sprintf("and %d more", len(out)-maxFields))
	}
	return out
}

func flatten(prefix string, v map[string]any, out map[string]any) {
	for k, e := range v {
		if m, ok := e.(map[string]any); ok {
			flatten(prefix+k+".", m, out)
		} else {
			out[prefix+k] = e
		}
	}
}
