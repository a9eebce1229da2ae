package elasticsearch

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/elastic/go-elasticsearch/v8/esapi"
	"github.com/google/uuid"

	"github.com/claudeaudit/claudeaudit/internal/audit"
	"github.com/claudeaudit/claudeaudit/internal/index"
)

// maxIndicesPerRequest bounds how many days one request asks.
const maxIndicesPerRequest = 64

// Reader answers queries from an index in Elasticsearch. It is safe for
// concurrent use.
type Reader struct {
	connection
	names names
}

var _ index.Searcher = (*Reader)(nil)

// OpenReader returns a reader of the index whose names begin with prefix,
// DefaultPrefix when it is empty. It asks the server nothing.
func OpenReader(client esapi.Transport, prefix string) (*Reader, error) {
	prefix = cmp.Or(prefix, DefaultPrefix)
	if err := CheckPrefix(prefix); err != nil {
		return nil, fmt.Errorf("opening the index: prefix: %w", err)
	}
	return &Reader{connection{client}, names{prefix}}, nil
}

// Close implements index.Searcher. The client is the caller's.
func (r *Reader) Close() error { return nil }

// days lists the days that there are indices of, oldest first, within what a
// query asks for. It returns index.ErrNoIndex when there is nothing at all.
func (r *Reader) days(ctx context.Context, from, to time.Time) ([]time.Time, error) {
	var answer struct {
		Indices []struct {
			Name string `json:"name"`
		} `json:"indices"`
	}
	err := r.call(ctx, http.MethodGet, "/_resolve/index/"+r.names.days()+","+r.names.state(), nil, &answer)
	if hasStatus(err, http.StatusNotFound) || err == nil && len(answer.Indices) == 0 {
		return nil, fmt.Errorf("%w in Elasticsearch named %s", index.ErrNoIndex, r.names.days())
	}
	if err != nil {
		return nil, fmt.Errorf("listing the days of the index: %w", err)
	}
	var days []time.Time
	for _, i := range answer.Indices {
		d, ok := r.names.dayNamed(i.Name)
		switch {
		case !ok:
		case !from.IsZero() && d.Before(dayOf(from)):
		case !to.IsZero() && d.After(dayOf(to)):
		default:
			days = append(days, d)
		}
	}
	slices.SortFunc(days, time.Time.Compare)
	return days, nil
}

// clauses are the conditions of a query.
func clauses(q *index.Query) []any {
	var filter []any
	for _, f := range []struct{ field, value string }{
		{"user_id", q.User},
		{"session_id", q.Session},
		{"application_id", q.Application},
		{"model", q.Model},
		{"data_classification", q.Classification},
		{"policy_flags", q.Flag},
		{"status", q.Status},
	} {
		if f.value != "" {
			filter = append(filter, map[string]any{"term": map[string]any{f.field: f.value}})
		}
	}
	if q.Kind != index.KindAll {
		filter = append(filter, map[string]any{"term": map[string]any{"kind": q.Kind}})
	}
	span := map[string]any{}
	if !q.From.IsZero() {
		span["gte"] = index.UnixNano(q.From)
	}
	if !q.To.IsZero() {
		span["lt"] = index.UnixNano(q.To)
	}
	if len(span) > 0 {
		filter = append(filter, map[string]any{"range": map[string]any{"index.time": span}})
	}
	return filter
}

// Search implements index.Searcher. It goes from day to day, newest or oldest
// first, some at a time, until the page is full: a query without dates asks the
// server for no more than it shows.
func (r *Reader) Search(ctx context.Context, q index.Query) (index.Page, error) {
	if err := q.Normalize(); err != nil {
		return index.Page{}, err
	}
	hits, err := r.searchHits(ctx, &q)
	if err != nil {
		return index.Page{}, fmt.Errorf("searching the index: %w", err)
	}
	var page index.Page
	if len(hits) > q.Limit {
		hits = hits[:q.Limit]
		page.Next = hits[q.Limit-1].position.String()
	}
	page.Records = make([]audit.Record, 0, len(hits))
	for _, h := range hits {
		rec, err := audit.ParseRecord(h.Source)
		if err != nil {
			return index.Page{}, fmt.Errorf("searching the index: %w: document %s: %w", index.ErrCorrupt, h.ID, err)
		}
		page.Records = append(page.Records, rec)
	}
	return page, nil
}

// placed is a document with its place in the order of an answer.
type placed struct {
	hit
	position index.Position
}

// place reads the place of a document with a time.
func (h *hit) place(at json.RawMessage) (placed, error) {
	var ns int64
	if json.Unmarshal(at, &ns) != nil {
		return placed{}, fmt.Errorf("%w: document %s has no time", index.ErrCorrupt, h.ID)
	}
	var doc struct {
		Event uuid.UUID `json:"event_id"`
	}
	if json.Unmarshal(h.Source, &doc) != nil || doc.Event == uuid.Nil {
		return placed{}, fmt.Errorf("%w: document %s has no event_id", index.ErrCorrupt, h.ID)
	}
	return placed{*h, index.Position{Time: time.Unix(0, ns).UTC(), Event: doc.Event}}, nil
}

func placeEach(hits []hit, at json.RawMessage) ([]placed, error) {
	out := make([]placed, len(hits))
	for i := range hits {
		t := at
		if t == nil {
			t = hits[i].Sort[0]
		}
		var err error
		if out[i], err = hits[i].place(t); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// searchHits returns up to one hit more than the page takes.
//
// The server orders by the time alone: for the order by event it would look up the
// event of each document that it finds, which takes longer than all else. Where a
// page ends among documents of one time, those are asked for by event.
func (r *Reader) searchHits(ctx context.Context, q *index.Query) ([]placed, error) {
	days, err := r.days(ctx, q.From, q.To)
	if err != nil {
		return nil, err
	}
	newest, behind := q.Order == index.NewestFirst, "gt"
	if newest {
		behind = "lt"
		slices.Reverse(days)
	}
	filter := clauses(q)
	var hits []placed
	if q.After != "" {
		pos, err := index.ParsePosition(q.After)
		if err != nil {
			return nil, err
		}
		if hits, err = r.sameTime(ctx, q, nanoseconds(pos.Time), pos.Event.String(), q.Limit+1); err != nil {
			return nil, err
		}
		// This takes the server to the page's first document.
		filter = append(filter, map[string]any{"range": map[string]any{"index.time": map[string]any{behind: nanoseconds(pos.Time)}}})
		day := dayOf(pos.Time)
		days = slices.DeleteFunc(days, func(d time.Time) bool {
			return newest && d.After(day) || !newest && d.Before(day)
		})
	}
	if len(hits) > q.Limit {
		return hits, nil
	}
	body := recordsBy("index.time", q.Order, filter)
	// The first days are most likely to fill a page; a span with both ends is
	// asked for at once.
	n := 8
	if !q.From.IsZero() && !q.To.IsZero() {
		n = maxIndicesPerRequest
	}
	for len(days) > 0 && len(hits) <= q.Limit {
		n = min(n, len(days))
		var indices []string
		for _, d := range days[:n] {
			indices = append(indices, r.names.day(d))
		}
		body["size"] = q.Limit + 1 - len(hits)
		a, err := r.search(ctx, indices, body)
		if err != nil {
			return nil, err
		}
		more, err := placeEach(a.Hits.Hits, nil)
		if err != nil {
			return nil, err
		}
		hits = append(hits, more...)
		days = days[n:]
		n = min(2*n, maxIndicesPerRequest)
	}
	if len(hits) > q.Limit {
		if last := hits[q.Limit].position.Time; hits[q.Limit-1].position.Time.Equal(last) {
			first := slices.IndexFunc(hits, func(h placed) bool { return h.position.Time.Equal(last) })
			same, err := r.sameTime(ctx, q, nanoseconds(last), "", q.Limit+1-first)
			if err != nil {
				return nil, err
			}
			hits = append(hits[:first], same...)
		}
	}
	slices.SortStableFunc(hits, func(a, b placed) int {
		c := cmp.Or(a.position.Time.Compare(b.position.Time), compareEvents(a.position.Event, b.position.Event))
		if q.Order == index.NewestFirst {
			return -c
		}
		return c
	})
	return hits, nil
}

// recordsBy is a search for the records that pass a filter, in the order of a field.
func recordsBy(field string, o index.Order, filter []any) map[string]any {
	order := "asc"
	if o == index.NewestFirst {
		order = "desc"
	}
	return map[string]any{
		"track_total_hits": false,
		"query":            map[string]any{"bool": map[string]any{"filter": filter}},
		"sort":             []any{map[string]any{field: order}},
		"_source":          map[string]any{"excludes": []string{"index"}},
	}
}

func nanoseconds(t time.Time) json.Number { return json.Number(strconv.FormatInt(t.UnixNano(), 10)) }

// sameTime returns the first hits of a time, in the order of their events, behind
// one when it is given.
func (r *Reader) sameTime(ctx context.Context, q *index.Query, t json.Number, after string, size int) ([]placed, error) {
	body := recordsBy("event_id", q.Order, append(clauses(q), map[string]any{"term": map[string]any{"index.time": t}}))
	body["size"] = size
	if after != "" {
		body["search_after"] = []string{after}
	}
	ns, err := t.Int64()
	if err != nil {
		return nil, fmt.Errorf("reading a time: %w", err)
	}
	a, err := r.search(ctx, []string{r.names.day(time.Unix(0, ns))}, body)
	if err != nil {
		return nil, err
	}
	return placeEach(a.Hits.Hits, json.RawMessage(t))
}

// Get implements index.Searcher.
func (r *Reader) Get(ctx context.Context, event uuid.UUID) (index.Found, error) {
	f, err := r.lookUp(ctx, event)
	if err != nil && !errors.Is(err, index.ErrNotFound) {
		return index.Found{}, fmt.Errorf("looking up %s: %w", event, err)
	}
	return f, err
}

func (r *Reader) lookUp(ctx context.Context, event uuid.UUID) (index.Found, error) {
	a, err := r.search(ctx, []string{r.names.days()}, map[string]any{
		"size": 10, "track_total_hits": false,
		"query": map[string]any{"term": map[string]any{"index.events": event.String()}},
	})
	if err != nil {
		return index.Found{}, err
	}
	if len(a.Hits.Hits) == 0 {
		if _, err := r.days(ctx, time.Time{}, time.Time{}); err != nil {
			return index.Found{}, err
		}
		return index.Found{}, fmt.Errorf("%w: %s", index.ErrNotFound, event)
	}
	// A document on its way from one day to another is in two places.
	var d document
	for i, h := range a.Hits.Hits {
		have, err := readDocument(h.Source, shown)
		if err != nil {
			return index.Found{}, err
		}
		if i == 0 || len(have.entries) > len(d.entries) {
			d = have
			rec, err := audit.ParseRecord(h.Source)
			if err != nil {
				return index.Found{}, fmt.Errorf("%w: %w", index.ErrCorrupt, err)
			}
			// What the index says, also where somebody changed it; verify says
			// whether it is what the entries do.
			d.record = rec
		}
	}
	f := index.Found{Record: d.record}
	for _, e := range d.entries {
		f.Entries = append(f.Entries, e.Entry)
	}
	return f, nil
}

// Cursors implements index.Searcher. A stream that is being dropped is not
// among them.
func (r *Reader) Cursors(ctx context.Context) ([]index.Cursor, error) {
	st, err := r.readState(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the index's cursors: %w", err)
	}
	return cursorsOf(st.Streams), nil
}

// Erasures implements index.Searcher.
func (r *Reader) Erasures(ctx context.Context) ([]index.Cursor, error) {
	st, err := r.readState(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading how far the index was erased: %w", err)
	}
	return cursorsOf(st.Erasures), nil
}

func cursorsOf(streams map[string]*streamState) []index.Cursor {
	var cursors []index.Cursor
	for name, s := range streams {
		if c, known := s.cursor(name); known && !s.Dropping {
			cursors = append(cursors, c)
		}
	}
	slices.SortFunc(cursors, func(a, b index.Cursor) int { return cmp.Compare(a.Stream, b.Stream) })
	return cursors
}
