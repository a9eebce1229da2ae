package elasticsearch

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/claudeaudit/claudeaudit/internal/audit"
	"github.com/claudeaudit/claudeaudit/internal/index"
	"github.com/claudeaudit/claudeaudit/internal/index/elasticsearch/estest"
	"github.com/claudeaudit/claudeaudit/internal/index/indextest"
	"github.com/claudeaudit/claudeaudit/internal/index/sqlite"
)

func TestMain(m *testing.M) { os.Exit(estest.Main(m)) }

func none() *int { n := 0; return &n }

// openStore opens an index of the test's own.
func openStore(t testing.TB, s *estest.Server, prefix string, change ...func(*Options)) *Store {
	t.Helper()
	o := Options{Prefix: prefix, Replicas: none(), Refresh: true}
	for _, f := range change {
		f(&o)
	}
	st, err := Open(t.Context(), s.Client(t), o)
	require.NoError(t, err)
	return st
}

func TestConformance(t *testing.T) {
	server := estest.Shared(t)
	indextest.Run(t, func(t *testing.T) index.Store {
		return openStore(t, server, server.Prefix(t))
	}, func(t *testing.T, s index.Store, l *indextest.Ledger, erased *index.Erased) []string {
		return runCheck(t, l, erased, nil, s.(*Store).NewChecker)
	})
}

// reference is what SQLite makes of a ledger: another implementation of the same
// merges.
func reference(t *testing.T, l *indextest.Ledger) *sqlite.Store {
	t.Helper()
	s, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "audit.db"))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	require.NoError(t, (&index.Follower{Ledger: l, Store: s}).CatchUp(t.Context()))
	return s
}

// check compares an index with its ledger and returns what it finds.
func check(t *testing.T, r *Reader, l *indextest.Ledger, elsewhere ...string) []string {
	t.Helper()
	return runCheck(t, l, nil, elsewhere, r.NewChecker)
}

func repair(t *testing.T, s *Store, l *indextest.Ledger, elsewhere ...string) []string {
	t.Helper()
	return runCheck(t, l, nil, elsewhere, s.NewRepair)
}

func runCheck(t *testing.T, l *indextest.Ledger, erased *index.Erased, elsewhere []string, open func(context.Context, CheckOptions) (*Checker, error)) []string {
	t.Helper()
	expected, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "expected.db"))
	require.NoError(t, err)
	defer func() { require.NoError(t, expected.Close()) }()
	streams, err := l.Streams()
	require.NoError(t, err)
	var found []string
	c, err := open(t.Context(), CheckOptions{
		Expected: expected, Erased: erased, Streams: streams, Elsewhere: elsewhere,
		Found: func(f Finding) { found = append(found, f.String()) },
	})
	require.NoError(t, err)
	for _, s := range streams {
		require.NoError(t, l.Entries(t.Context(), s, 0, func(seq uint64, line []byte) error { return c.Entry(context.Background(), s, seq, line) }))
	}
	require.NoError(t, c.Finish(t.Context()))
	return found
}

// history makes a ledger of some streams whose events meet: the same event in
// several, events with the same response or request id, observations that change an
// id or the day.
func history(seed uint64, entries int, streams ...string) *indextest.Ledger {
	rnd := rand.New(rand.NewPCG(seed, seed))
	l := indextest.NewLedger()
	for range entries {
		n := rnd.IntN(entries / 3)
		l.Append(streams[rnd.IntN(len(streams))], indextest.Record(n, func(r *audit.Record) {
			r.Timestamp = indextest.Day.Add(time.Duration(n%7-3) * time.Second)
			if rnd.IntN(8) == 0 { // now and then on the other side of midnight
				r.Timestamp = indextest.Day.Add(time.Duration(rnd.IntN(7)-3) * time.Second)
				r.Source.Rank = 1 + rnd.IntN(3)
			}
			if rnd.IntN(8) == 0 { // or on quite another day
				r.Timestamp = r.Timestamp.AddDate(0, 0, 10)
				r.Source.Rank = 1 + rnd.IntN(3)
			}
			switch rnd.IntN(3) {
			case 0:
				r.ResponseID = ""
			case 1:
				r.ResponseID = fmt.Sprintf("msg_%d", rnd.IntN(entries/4))
			}
			if rnd.IntN(3) == 0 {
				r.RequestID = fmt.Sprintf("req_0123456789ab_%d", rnd.IntN(entries/3))
			}
			if rnd.IntN(4) == 0 {
				r.Status, r.UserID = audit.StatusInitiated, ""
			}
			if rnd.IntN(3) == 0 {
				r.PolicyFlags = []string{fmt.Sprintf("flag.%d", rnd.IntN(3))}
			}
		}))
	}
	return l
}

// only is a part of a ledger's streams.
type only struct {
	*indextest.Ledger
	streams []string
}

func (o only) Streams() ([]string, error) { return o.streams, nil }

// follow catches up whatever fails on the way.
func follow(t *testing.T, l index.Ledger, s index.Store, batch int) {
	t.Helper()
	var err error
	for range 50 {
		if err = (&index.Follower{Ledger: l, Store: s, BatchEntries: batch}).CatchUp(t.Context()); err == nil {
			return
		}
	}
	require.NoError(t, err)
}

// Several collectors write the twins of one another's calls at the same time.
// What comes out is what SQLite makes of all their entries, whoever was first.
func TestConcurrentWriters(t *testing.T) {
	server := estest.Shared(t)
	for seed := range uint64(3) {
		prefix := server.Prefix(t)
		l := history(seed+1, 300, "a", "b", "c")
		var wg sync.WaitGroup
		for i, stream := range []string{"a", "b", "c"} {
			s := openStore(t, server, prefix, func(o *Options) { o.Refresh = false })
			wg.Go(func() { follow(t, only{l, []string{stream}}, s, 10+7*i) })
		}
		wg.Wait()
		s := openStore(t, server, prefix)
		require.NoError(t, s.refresh(t.Context(), []string{s.names.days(), s.names.parked()}))
		require.Equal(t, indextest.Dump(t, reference(t, l)), indextest.Dump(t, s))
		require.Empty(t, check(t, s.Reader, l))
	}
}

// Two writers disagree about the day of a call, for one knows a twin that the other
// doesn't: each removes what the other keeps. One of the two has to stay.
func TestOppositeMoves(t *testing.T) {
	server := estest.Shared(t)
	s := openStore(t, server, server.Prefix(t))
	l := indextest.NewLedger()
	own, twin := indextest.Record(1), indextest.Record(2)
	own.Timestamp, twin.Timestamp = indextest.Day, indextest.Day.AddDate(0, 0, 2)
	own.Source.Rank, twin.Source.Rank = 3, 1
	l.Append("b", own)
	l.Append("a", twin)
	entries := func(streams ...string) (out []index.Parsed) {
		for _, stream := range streams {
			p, err := index.ParseEntry(index.Entry{Stream: stream, Line: l.Line(stream, 0)})
			require.NoError(t, err)
			out = append(out, p)
		}
		return out
	}
	event := own.EventID
	alone, joined := newDocument(event, entries("b")), newDocument(event, entries("a", "b"))
	require.NotEqual(t, s.names.index(&alone), s.names.index(&joined))
	copies := func() []found {
		got, err := s.find(t.Context(), []uuid.UUID{event}, map[uuid.UUID][]time.Time{event: daysOf(entries("a", "b"))}, nil)
		require.NoError(t, err)
		return got[event]
	}
	for _, tt := range []struct{ first, then document }{{alone, joined}, {joined, alone}} {
		one, other := &changes{}, &changes{}
		one.settle(s.names, tt.then, copies())
		require.NoError(t, s.carryOut(t.Context(), one))
		before := copies()
		require.Len(t, before, 1)

		one = &changes{}
		one.settle(s.names, tt.first, before)
		require.NoError(t, s.bulk(t.Context(), one.writes, nil))
		other.settle(s.names, tt.then, copies())
		require.NoError(t, s.carryOut(t.Context(), other))
		require.NoError(t, s.bulk(t.Context(), one.removals, nil))
		require.Len(t, copies(), 1)
	}
}

// Whatever request is cut off, before the server saw it or before its answer
// came, the next try ends with the same documents.
func TestCutOffAnywhere(t *testing.T) {
	server := estest.Shared(t)
	l := history(5, 60, "a", "b")
	want := indextest.Dump(t, reference(t, l))
	for _, answered := range []bool{false, true} {
		for from := int64(12); from < 160; from += 37 {
			proxy := estest.NewProxy(t, server)
			proxy.Share.Store(5)
			prefix := server.Prefix(t)
			var cuts atomic.Int64
			proxy.Fail = func(n int64, a bool) bool {
				return a == answered && n >= from && n%7 == from%7 && cuts.Add(1) <= 6
			}
			behind := &estest.Server{URL: proxy.URL}
			follow(t, l, openStore(t, behind, prefix), 9)
			s := openStore(t, server, prefix)
			require.NoError(t, s.refresh(t.Context(), []string{s.names.days(), s.names.parked()}))
			require.Equal(t, want, indextest.Dump(t, s))
			require.Empty(t, check(t, s.Reader, l))
			if proxy.Requests.Load() < from {
				break
			}
		}
	}
}

// A document that does not fit the mapping goes to the dead letters with the
// reason, and its neighbours into the index.
func TestDeadLetters(t *testing.T) {
	server := estest.Shared(t)
	prefix := server.Prefix(t)
	var dead []string
	s := openStore(t, server, prefix, func(o *Options) {
		o.Dead = func(e uuid.UUID, reason string) { dead = append(dead, e.String()+" "+reason) }
	})
	l := indextest.NewLedger()
	for i := range 20 {
		l.Append("a", indextest.Record(i, func(r *audit.Record) {
			if i == 7 {
				r.RetentionClass, r.RetentionUntil = "x", "2030-99-99"
			}
		}))
	}
	indextest.Apply(t, s, l)
	require.Len(t, indextest.IDs(t, s, index.Query{}), 19)
	require.Len(t, dead, 1)
	require.Contains(t, dead[0], indextest.EventID(7).String())
	require.Contains(t, dead[0], "retention.until")
	require.NotContains(t, dead[0], "2030-99-99", "the value is nobody's business")
	require.Len(t, check(t, s.Reader, l), 1)
	require.Contains(t, check(t, s.Reader, l)[0], "is missing (a dead letter: ")

	// A later observation that mends it brings it back.
	l.Append("a", indextest.Record(7, func(r *audit.Record) { r.RetentionClass, r.RetentionUntil = "x", "2031-01-01" }))
	indextest.Apply(t, s, l)
	require.Equal(t, indextest.Dump(t, reference(t, l)), indextest.Dump(t, s))
	require.Empty(t, check(t, s.Reader, l))
}

// What is refused for now, some of the items or whole requests, is sent again, and nothing is written twice.
func TestRefusedItems(t *testing.T) {
	server := estest.Shared(t)
	for name, tc := range map[string]struct {
		share, whole int64
		batch        int
	}{
		"items":    {share: 30, batch: index.DefaultBatchEntries},
		"requests": {whole: 30, batch: 20},
	} {
		t.Run(name, func(t *testing.T) {
			proxy := estest.NewProxy(t, server)
			proxy.Share.Store(tc.share)
			proxy.Whole.Store(tc.whole)
			l := history(9, 600, "a")
			prefix := server.Prefix(t)
			refused := 0
			var mu sync.Mutex
			s := openStore(t, &estest.Server{URL: proxy.URL}, prefix, func(o *Options) {
				o.Refused = func(n int) { mu.Lock(); refused += n; mu.Unlock() }
			})
			require.NoError(t, (&index.Follower{Ledger: l, Store: s, BatchEntries: tc.batch}).CatchUp(t.Context()))
			require.Positive(t, refused)
			require.EqualValues(t, proxy.Refused.Load(), refused)
			require.Equal(t, indextest.Dump(t, reference(t, l)), indextest.Dump(t, s))
			require.Empty(t, check(t, s.Reader, l))
		})
	}
}

// What somebody changes, removes or adds is found, and repaired from the ledger.
func TestTampering(t *testing.T) {
	server := estest.Shared(t)
	l := history(11, 90, "a", "b")
	for _, tt := range []struct {
		name   string
		tamper func(t *testing.T, s *Store, doc hit)
		want   string
	}{
		{"a field", func(t *testing.T, _ *Store, doc hit) {
			server.Do(t, http.MethodPost, "/"+doc.Index+"/_update/"+doc.ID+"?refresh=true", `{"doc":{"user_id":"mallory"}}`, nil)
		}, "is not what the ledger says: user_id"},
		{"a number", func(t *testing.T, _ *Store, doc hit) {
			server.Do(t, http.MethodPost, "/"+doc.Index+"/_update/"+doc.ID+"?refresh=true", `{"doc":{"prompt_tokens":987654}}`, nil)
		}, "is not what the ledger says: prompt_tokens"},
		{"the time to order by", func(t *testing.T, _ *Store, doc hit) {
			server.Do(t, http.MethodPost, "/"+doc.Index+"/_update/"+doc.ID+"?refresh=true", `{"doc":{"index":{"time":5}}}`, nil)
		}, "is not what the ledger says: index.time"},
		{"removed", func(t *testing.T, _ *Store, doc hit) {
			server.Do(t, http.MethodDelete, "/"+doc.Index+"/_doc/"+doc.ID+"?refresh=true", nil, nil)
		}, "is missing"},
		{"added", func(t *testing.T, _ *Store, doc hit) {
			forged := bytes.ReplaceAll(doc.Source, []byte(doc.ID), []byte(indextest.EventID(4711).String()))
			server.Do(t, http.MethodPut, "/"+doc.Index+"/_doc/"+indextest.EventID(4711).String()+"?refresh=true", string(forged), nil)
		}, "the ledger lacks it"},
		{"a copy under another id", func(t *testing.T, _ *Store, doc hit) {
			server.Do(t, http.MethodPut, "/"+doc.Index+"/_doc/x?refresh=true", string(doc.Source), nil)
		}, "the ledger lacks it"},
		{"a copy on another day", func(t *testing.T, s *Store, doc hit) {
			server.Do(t, http.MethodPut, "/"+s.names.day(indextest.Day.AddDate(0, 0, 30))+"/_doc/"+doc.ID+"?refresh=true", string(doc.Source), nil)
		}, "the ledger lacks it"},
		{"a document of nothing", func(t *testing.T, _ *Store, doc hit) {
			server.Do(t, http.MethodPut, "/"+doc.Index+"/_doc/y?refresh=true", `{"user_id":"mallory"}`, nil)
		}, "it is none of ours"},
		{"a whole day", func(t *testing.T, _ *Store, doc hit) {
			server.Do(t, http.MethodDelete, "/"+doc.Index, nil, nil)
		}, "is missing"},
		{"a parked twin", func(t *testing.T, s *Store, _ hit) {
			server.Do(t, http.MethodPost, "/"+s.names.parked()+"/_delete_by_query?refresh=true", `{"query":{"match_all":{}}}`, nil)
		}, ".twins is missing"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := openStore(t, server, server.Prefix(t))
			follow(t, l, s, 50)
			require.Empty(t, check(t, s.Reader, l))
			want := indextest.Dump(t, s)
			a, err := s.search(t.Context(), []string{s.names.day(indextest.Day)}, map[string]any{"size": 1, "sort": []any{"event_id"}})
			require.NoError(t, err)
			require.NotEmpty(t, a.Hits.Hits)
			tt.tamper(t, s, a.Hits.Hits[0])
			found := check(t, s.Reader, l)
			require.NotEmpty(t, found)
			require.Contains(t, strings.Join(found, "\n"), tt.want)
			require.Equal(t, found, repair(t, s, l))
			require.NoError(t, s.refresh(t.Context(), []string{s.names.days(), s.names.parked()}))
			require.Empty(t, check(t, s.Reader, l))
			require.Equal(t, want, indextest.Dump(t, s))
			require.Empty(t, repair(t, s, l), "a second repair changes nothing")
		})
	}
}

// However the pages of a day fall, between documents of one time, copies of one,
// or documents that have no time or no event, each document is looked at once.
func TestCheckPages(t *testing.T) {
	server := estest.Shared(t)
	l := indextest.NewLedger()
	for i := range 40 {
		l.Append("a", indextest.Record(i, func(r *audit.Record) {
			switch {
			case i < 20: // all at once
				r.Timestamp = indextest.Day
			case i < 25: // the day before, and one that no clock shows
				r.Timestamp = indextest.Day.Add(time.Duration(i-30) * time.Second)
			case i == 39:
				r.Timestamp = time.Time{}
			}
		}))
	}
	s := openStore(t, server, server.Prefix(t))
	follow(t, l, s, 50)
	day := s.names.day(indextest.Day)
	var all struct {
		Hits struct{ Hits []hit } `json:"hits"`
	}
	server.Do(t, http.MethodGet, "/"+day+"/_search?size=100", nil, &all)
	require.Len(t, all.Hits.Hits, 34)
	want := map[string]bool{}
	add := func(id, doc string) {
		server.Do(t, http.MethodPut, "/"+day+"/_doc/"+id, doc, nil)
		want[id] = true
	}
	for i, h := range all.Hits.Hits[:5] {
		for copies := range i {
			add(fmt.Sprintf("copy-%d-%d", i, copies), string(h.Source))
		}
	}
	for i := range 7 {
		add(fmt.Sprintf("empty-%d", i), `{}`)
		add(fmt.Sprintf("timeless-%d", i), `{"event_id":"`+indextest.EventID(i).String()+`"}`)
		add(fmt.Sprintf("eventless-%d", i), fmt.Sprintf(`{"index":{"time":%d}}`, indextest.Day.UnixNano()))
	}
	gone := []string{indextest.EventID(3).String(), indextest.EventID(22).String(), indextest.EventID(39).String()}
	for _, id := range gone {
		server.Do(t, http.MethodPost, "/"+s.names.days()+"/_delete_by_query?refresh=true", `{"query":{"term":{"_id":"`+id+`"}}}`, nil)
		want[id] = true
	}
	for _, size := range []int{1, 2, 3, 7, 1000} {
		expected := reference(t, indextest.NewLedger())
		var found []string
		c, err := s.NewChecker(t.Context(), CheckOptions{
			Expected: expected, Streams: []string{"a"}, Found: func(f Finding) { found = append(found, f.ID) },
		})
		require.NoError(t, err)
		c.page = size
		require.NoError(t, l.Entries(t.Context(), "a", 0, func(seq uint64, line []byte) error { return c.Entry(t.Context(), "a", seq, line) }))
		require.NoError(t, c.Finish(t.Context()))
		require.ElementsMatch(t, slices.Collect(maps.Keys(want)), found, "pages of %d", size)
	}
	require.Len(t, repair(t, s, l), len(want))
	require.NoError(t, s.refresh(t.Context(), []string{s.names.days()}))
	require.Empty(t, check(t, s.Reader, l))
	require.Equal(t, indextest.Dump(t, reference(t, l)), indextest.Dump(t, s))
}

// What a page costs the server does not grow with the pages before it: it goes
// through as many documents as it gives, in the check, in a search, and where entries
// are removed that the ledger does not have any more.
func TestPagesAreLinear(t *testing.T) {
	server := estest.Shared(t)
	const records, size = 3000, 100
	prefix := server.Prefix(t)
	s := openStore(t, server, prefix, func(o *Options) { o.Refresh = false })
	require.NoError(t, (&index.Follower{Ledger: generated{records, time.Second, benchUsers}, Store: s}).CatchUp(t.Context()))
	server.Do(t, http.MethodPost, "/"+s.names.days()+"/_forcemerge?max_num_segments=1", nil, nil)
	observed := &observed{Transport: server.Client(t), profile: true}
	r, err := OpenReader(observed, prefix)
	require.NoError(t, err)

	read := 0
	for p := (&pages{r: r, index: r.names.day(benchStart), size: size}); ; {
		page, err := p.next(t.Context())
		require.NoError(t, err)
		if len(page) == 0 {
			break
		}
		read += len(page)
	}
	require.Equal(t, records, read)
	require.Less(t, observed.visited, 2*records, "in the check")
	require.Greater(t, observed.visited, records)

	observed.visited = 0
	require.Len(t, indextest.IDs(t, r, index.Query{Limit: size}), records)
	require.Less(t, observed.visited, 2*records, "in a search")

	again, err := Open(t.Context(), observed, Options{Prefix: prefix, Replicas: none()})
	require.NoError(t, err)
	observed.visited = 0
	require.NoError(t, again.Forget(t.Context(), "bench", 1, benchStart))
	require.Greater(t, observed.visited, records)
	require.Less(t, observed.visited, 3*records, "in forgetting, where the server counts a document twice")
	require.NoError(t, again.refresh(t.Context(), []string{again.names.days()}))
	require.Len(t, indextest.IDs(t, r, index.Query{Limit: size}), records-1)
}

// One stream that tells a call again, when it does not know of the first telling any
// more, and with a time that lies on another day: the one case in which a call gets two
// documents. The check finds it, and the repair makes one of them.
func TestToldAgainOfAnotherDay(t *testing.T) {
	server := estest.Shared(t)
	s := openStore(t, server, server.Prefix(t))
	l := indextest.NewLedger()
	l.Forget("a")
	l.Append("a", indextest.Record(1))
	follow(t, l, s, 50)
	l.Append("a", indextest.Record(1, func(r *audit.Record) { r.Timestamp = indextest.Day.AddDate(0, 0, 2) }))
	follow(t, l, s, 50)
	require.Equal(t, []int{1, 1}, indextest.IDs(t, s, index.Query{}))
	require.NotEmpty(t, check(t, s.Reader, l))
	require.NotEmpty(t, repair(t, s, l))
	require.NoError(t, s.refresh(t.Context(), []string{s.names.days()}))
	require.Empty(t, check(t, s.Reader, l))
	require.Equal(t, indextest.Dump(t, reference(t, l)), indextest.Dump(t, s))
}

// An index that two collectors with ledgers of their own write is checked and
// repaired from each, and neither takes what it does not know for wrong.
func TestTwoLedgers(t *testing.T) {
	server := estest.Shared(t)
	l := history(13, 90, "a", "b")
	s := openStore(t, server, server.Prefix(t))
	follow(t, l, s, 50)
	want := indextest.Dump(t, s)
	mine := indextest.NewLedger()
	require.NoError(t, l.Entries(t.Context(), "a", 0, func(_ uint64, line []byte) error {
		rec, err := audit.ParseRecord(line)
		if err == nil {
			mine.Append("a", rec)
		}
		return err
	}))
	require.Empty(t, check(t, s.Reader, mine, "b"))
	require.Empty(t, repair(t, s, mine, "b"))
	require.Equal(t, want, indextest.Dump(t, s))
	found := check(t, s.Reader, mine)
	require.Len(t, found, 1)
	require.Contains(t, found[0], "it holds stream b, which is not checked")
}

// Ledgers that each tell a part of a call hold with an index that joined them, from
// any side, also where only what another ledger tells joins two records of one. A part
// that was changed is still found, and repaired to what it was.
func TestTwinsOfTwoLedgers(t *testing.T) {
	server := estest.Shared(t)
	s := openStore(t, server, server.Prefix(t))
	const request = "req_011CQ4NtYbDoBCcXkMsT"
	all, ends, middle, end := indextest.NewLedger(), indextest.NewLedger(), indextest.NewLedger(), indextest.NewLedger()
	for _, part := range []struct {
		stream            string
		response, request string
		ledgers           []*indextest.Ledger
	}{
		{"a", "", request, []*indextest.Ledger{all, ends}},
		{"b", "msg_x", request, []*indextest.Ledger{all, middle}},
		{"c", "msg_x", "", []*indextest.Ledger{all, ends, end}},
	} {
		n := int(part.stream[0]-'a') + 1
		for _, l := range part.ledgers {
			l.Append(part.stream, indextest.Record(n, func(r *audit.Record) { r.ResponseID, r.RequestID = part.response, part.request }))
		}
	}
	follow(t, all, s, 50)
	require.Equal(t, []int{1}, indextest.IDs(t, s, index.Query{}))
	require.Len(t, parkedEvents(t, s), 2)
	want := indextest.Dump(t, s)
	for _, tt := range []struct {
		ledger    *indextest.Ledger
		elsewhere []string
	}{{all, nil}, {ends, []string{"b"}}, {middle, []string{"a", "c"}}, {end, []string{"a", "b"}}} {
		require.Empty(t, check(t, s.Reader, tt.ledger, tt.elsewhere...))
		require.Empty(t, repair(t, s, tt.ledger, tt.elsewhere...))
		require.Equal(t, want, indextest.Dump(t, s))
	}
	for _, tamper := range []struct {
		index string
		event int
		doc   string
	}{
		{s.names.parked(), 3, `{"doc":{"index":{"ids":["response:msg_y"]}}}`},
		{s.names.day(indextest.Day), 1, `{"doc":{"user_id":"mallory"}}`},
	} {
		server.Do(t, http.MethodPost, "/"+tamper.index+"/_update/"+indextest.EventID(tamper.event).String()+"?refresh=true", tamper.doc, nil)
		require.NotEmpty(t, check(t, s.Reader, ends, "b"))
		require.NotEmpty(t, repair(t, s, ends, "b"))
		require.NoError(t, s.refresh(t.Context(), []string{s.names.days(), s.names.parked()}))
		require.Empty(t, check(t, s.Reader, all))
		require.Equal(t, want, indextest.Dump(t, s))
	}
}

// An index of another schema is not written to.
func TestOtherSchema(t *testing.T) {
	server := estest.Shared(t)
	prefix := server.Prefix(t)
	s := openStore(t, server, prefix)
	server.Do(t, http.MethodPut, "/"+s.names.day(indextest.Day.AddDate(0, 0, 1)), nil, nil)
	server.Do(t, http.MethodPut, "/"+s.names.day(indextest.Day.AddDate(0, 0, 1))+"/_mapping", `{"_meta":{"schema":99}}`, nil)
	st := indextest.NewStream("a")
	_, err := s.Apply(t.Context(), index.Batch{Stream: "a", Lines: []index.Line{st.Next(indextest.Record(1, func(r *audit.Record) {
		r.Timestamp = r.Timestamp.AddDate(0, 0, 1)
	}))}})
	require.ErrorIs(t, err, index.ErrSchema)

	server.Do(t, http.MethodPut, "/_index_template/"+prefix, map[string]any{"index_patterns": []string{prefix + "-*"}, "version": 99}, nil)
	_, err = Open(t.Context(), server.Client(t), Options{Prefix: prefix})
	require.ErrorIs(t, err, index.ErrSchema)
}

func TestNoIndex(t *testing.T) {
	server := estest.Shared(t)
	r, err := OpenReader(server.Client(t), server.Prefix(t))
	require.NoError(t, err)
	_, err = r.Search(t.Context(), index.Query{})
	require.ErrorIs(t, err, index.ErrNoIndex)
	_, err = r.Get(t.Context(), indextest.EventID(1))
	require.ErrorIs(t, err, index.ErrNoIndex)
	_, err = OpenReader(server.Client(t), "Wrong_Prefix*")
	require.ErrorContains(t, err, "prefix: must be")
}

// Every field a record can have is in the template, under its own name, and
// every alias points at one.
func TestTemplateHasTheRecord(t *testing.T) {
	fields := templateFields(t)
	one, long := int64(1), strings.Repeat("x", 3)
	rec := indextest.Record(1, func(r *audit.Record) {
		r.ClassificationBasis, r.PolicyFlags = long, []string{long}
		r.Detections = []audit.Detection{{Type: long, Rule: long, Count: 1, Confidence: long}}
		r.IPAddress, r.ErrorType, r.StopReason, r.StopClass, r.Provider, r.Operation, r.RequestModel = "10.0.0.0", long, long, long, long, long, long
		r.RequestID, r.CacheReadTokens, r.CacheWriteTokens, r.TraceID, r.SpanID = long, &one, &one, long, long
		r.Department, r.AgentName, r.RetentionClass, r.RetentionUntil = long, long, long, "2030-01-01"
		r.Source = audit.Source{
			Dialect: long, Scope: long, Evidence: long, Signal: long, Digest: long, ParentSpanID: long, PromptID: long, Sequence: &one,
			Spans: []string{long}, Events: []string{long}, Parts: 1, Rank: 1, UserRank: 1, SessionRank: 1, StopExact: true, ErrorExact: true,
		}
		r.Content = audit.Content{Prompt: long, Response: long, PromptSHA256: long, ResponseSHA256: long, KeyID: long, Suite: long}
		r.Unparsed = []audit.Unparsed{{Key: long, Bytes: 1, SHA256: long, Reason: long}}
		r.RetentionRule, r.Details = long, []audit.Detail{{Name: long, Value: long}}
		r.Call = audit.Call{
			Surface: long, Ended: long, HTTPStatus: &one, TTFTMs: &one, ResponseBytes: &one, RequestSHA256: long, ClientKey: long,
			BatchID: long, BatchItem: long, PolicyDecision: long, PolicyRule: long, PolicyReason: long,
		}
	})
	rec.Log, rec.Prev, rec.Missing, rec.Erased = "a", "b", []string{"c"}, "d"
	rec.Seq, rec.Revision = 1, 1
	requireSet(t, "Record", reflect.ValueOf(rec))
	var v map[string]any
	require.NoError(t, json.Unmarshal(rec.AppendJSON(nil), &v))
	flat := map[string]any{}
	flatten("", v, flat)
	flat["_hash"] = true
	for name, value := range flat {
		if list, ok := value.([]any); ok && len(list) > 0 {
			if o, ok := list[0].(map[string]any); ok {
				for k := range o {
					require.Contains(t, fields, name+"."+k)
				}
				continue
			}
		}
		if parent, _, ok := strings.Cut(name, "."); ok && fields[parent].Type == "flattened" {
			continue // whatever names it has
		}
		require.Contains(t, fields, name)
	}
	for name, f := range fields {
		if f.Type == "alias" {
			require.Contains(t, fields, f.Path, "alias %s", name)
			require.NotEqual(t, "alias", fields[f.Path].Type)
			require.NotContains(t, flat, name, "a field of the record must not be an alias")
		}
	}
	for _, alias := range []string{
		"@timestamp", "user.id", "source.ip", "event.id", "event.outcome", "service.name", "gen_ai.request.model",
		"gen_ai.response.model", "gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens", "trace.id", "span.id", "error.type",
	} {
		require.Equal(t, "alias", fields[alias].Type, alias)
	}
}

// requireSet wants every field of a struct set, and of those in it: a field that
// the record gets must be looked at here.
func requireSet(t *testing.T, name string, v reflect.Value) {
	t.Helper()
	require.False(t, v.IsZero(), "the test's record lacks %s", name)
	switch {
	case v.Kind() == reflect.Slice:
		requireSet(t, name, v.Index(0))
	case v.Kind() == reflect.Struct && v.Type() != reflect.TypeFor[time.Time]():
		for i := range v.NumField() {
			requireSet(t, name+"."+v.Type().Field(i).Name, v.Field(i))
		}
	}
}

// templateField is a field of the template's mapping.
type templateField struct {
	Type       string                   `json:"type"`
	Path       string                   `json:"path"`
	Properties map[string]templateField `json:"properties"`
}

func templateFields(t *testing.T) map[string]templateField {
	t.Helper()
	var tpl struct {
		Mappings templateField `json:"mappings"`
	}
	require.NoError(t, json.Unmarshal(Template(), &tpl))
	out := map[string]templateField{}
	var walk func(prefix string, f templateField)
	walk = func(prefix string, f templateField) {
		for name, child := range f.Properties {
			if child.Properties == nil {
				out[prefix+name] = child
			}
			walk(prefix+name+".", child)
		}
	}
	walk("", tpl.Mappings)
	return out
}

// A document that still has what was erased is found and mended; two ledgers that
// tell of one call have it erased, whoever erased it.
func TestCheckErased(t *testing.T) {
	server := estest.Shared(t)
	s := openStore(t, server, server.Prefix(t))
	l, other, log := indextest.NewLedger(), indextest.NewLedger(), indextest.NewLedger()
	for i := range 4 {
		l.Append("a", indextest.Record(i))
	}
	require.NoError(t, (&index.Follower{Ledger: l, Store: s}).CatchUp(t.Context()))
	indextest.AppendErasure(log, "admin", 2)
	erased, err := index.ReadErased(t.Context(), log)
	require.NoError(t, err)
	found := runCheck(t, l, erased, nil, s.NewChecker)
	require.Len(t, found, 1)
	require.Contains(t, found[0], indextest.EventID(2).String())
	require.Contains(t, found[0], "user_id")
	require.Len(t, runCheck(t, l, erased, nil, s.NewRepair), 1)
	require.NoError(t, s.refresh(t.Context(), []string{s.names.days()}))
	require.Empty(t, runCheck(t, l, erased, nil, s.NewChecker))
	require.Equal(t, []int{3, 1, 0}, indextest.IDs(t, s, index.Query{User: "alice@example.com"}))

	other.Append("z", indextest.Record(2))
	require.NoError(t, (&index.Follower{Ledger: other, Store: s}).CatchUp(t.Context()))
	require.Equal(t, []int{3, 1, 0}, indextest.IDs(t, s, index.Query{User: "alice@example.com"}))
	got, err := s.Get(t.Context(), indextest.EventID(2))
	require.NoError(t, err)
	require.Len(t, got.Entries, 2)
	require.Empty(t, runCheck(t, l, erased, []string{"z"}, s.NewChecker))
	require.Empty(t, runCheck(t, other, nil, []string{"a"}, s.NewChecker))
}
