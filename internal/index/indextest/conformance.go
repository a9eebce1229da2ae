package indextest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/claudeaudit/claudeaudit/internal/audit"
	"github.com/claudeaudit/claudeaudit/internal/index"
)

// Day is the day that the suite's records are of.
var Day = time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)

// EventID returns the n-th event id.
func EventID(n int) uuid.UUID {
	return uuid.MustParse(fmt.Sprintf("%08x-0000-8000-8000-%012x", n, n))
}

// Record returns the n-th record of the suite, changed by the given functions.
// It is of second n of Day.
func Record(n int, change ...func(*audit.Record)) audit.Record {
	tokens := int64(n)
	r := audit.Record{
		EventID: EventID(n), Kind: audit.KindInteraction, Timestamp: Day.Add(time.Duration(n) * time.Second), Status: audit.StatusSuccess,
		UserID: "alice@example.com", SessionID: "s1", ApplicationID: "app", Model: "claude-sonnet-4-5",
		PromptHash: "p", ResponseHash: "r", PromptTokens: &tokens, CompletionTokens: &tokens, LatencyMs: &tokens,
		DataClassification: audit.Internal, ResponseID: fmt.Sprintf("msg_%d", n), IdentityAssurance: audit.AssuranceAsserted,
		Source: audit.Source{Dialect: "semconv", Evidence: "sdk", Signal: "span", Digest: fmt.Sprintf("%032x", n), Rank: 2},
	}
	for _, f := range change {
		f(&r)
	}
	r.Complete()
	return r
}

// Apply puts a ledger's entries into a store as the follower does.
func Apply(tb testing.TB, s index.Store, l *Ledger) {
	tb.Helper()
	require.NoError(tb, (&index.Follower{Ledger: l, Store: s, BatchEntries: 3}).CatchUp(tb.Context()))
}

// IDs returns the numbers of the events that a query finds, over all pages.
func IDs(tb testing.TB, s index.Searcher, q index.Query) []int {
	tb.Helper()
	var ids []int
	for pages := 0; ; pages++ {
		require.Less(tb, pages, 1000, "endless pages")
		page, err := s.Search(tb.Context(), q)
		require.NoError(tb, err)
		for _, r := range page.Records {
			var n int
			_, err := fmt.Sscanf(r.EventID.String()[:8], "%x", &n)
			require.NoError(tb, err)
			ids = append(ids, n)
		}
		if page.Next == "" {
			return ids
		}
		q.After = page.Next
	}
}

// Dump returns all that a store answers, for comparing two stores.
func Dump(tb testing.TB, s index.Searcher) []string {
	tb.Helper()
	var out []string
	q := index.Query{Kind: index.KindAll, Limit: 7}
	for {
		page, err := s.Search(tb.Context(), q)
		require.NoError(tb, err)
		for _, r := range page.Records {
			found, err := s.Get(tb.Context(), r.EventID)
			require.NoError(tb, err)
			require.Equal(tb, string(r.AppendJSON(nil)), string(found.Record.AppendJSON(nil)))
			line := string(r.AppendJSON(nil))
			for _, e := range found.Entries {
				line += fmt.Sprintf(" %s/%d", e.Stream, e.Seq)
			}
			out = append(out, line)
		}
		if page.Next == "" {
			return out
		}
		q.After = page.Next
	}
}

// Check compares a store with a ledger and the events that are erased, and returns
// what it finds.
type Check func(t *testing.T, s index.Store, l *Ledger, erased *index.Erased) []string

// Run holds a store against what index.Store promises. open returns an empty
// store, which the test closes; check is its own comparison with a ledger.
func Run(t *testing.T, open func(t *testing.T) index.Store, check Check) {
	for _, tt := range []struct {
		name string
		test func(t *testing.T, open func() index.Store)
	}{
		{"search", testSearch},
		{"pages", testPages},
		{"bad queries", testBadQueries},
		{"get", testGet},
		{"merge", testMerge},
		{"chain", testChain},
		{"twins", testTwins},
		{"twins by ids", testTwinsByIDs},
		{"order of arrival", testOrder},
		{"times", testTimes},
		{"days apart", testDaysApart},
		{"told again", testToldAgain},
		{"drop stream", testDropStream},
		{"forget", testForget},
		{"prune", testPrune},
		{"erase", testErase},
		{"erase before and after", testEraseOrder},
		{"unreadable entries", testUnreadable},
		{"cancelled", testCancelled},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.test(t, func() index.Store {
				s := open(t)
				t.Cleanup(func() { require.NoError(t, s.Close()) })
				return s
			})
		})
	}
	t.Run("check", func(t *testing.T) {
		s := open(t)
		t.Cleanup(func() { require.NoError(t, s.Close()) })
		testCheck(t, s, check)
	})
}

// What a store has not taken yet is no difference; what it has not forgotten or erased
// yet is one.
func testCheck(t *testing.T, s index.Store, check Check) {
	l, log := NewLedger(), NewLedger()
	for i := range 6 {
		l.Append("a", Record(i))
		l.Append("b", Record(100+i))
	}
	Apply(t, s, l)
	require.Empty(t, check(t, s, l, nil))
	l.Append("a", Record(50))
	require.Empty(t, check(t, s, l, nil), "not taken yet")
	for _, removed := range []struct {
		stream string
		before uint64
	}{{"a", 2}, {"b", 6}, {"a", 4}} {
		l.Remove(removed.stream, removed.before)
		require.NotEmpty(t, check(t, s, l, nil), "not forgotten yet: %v", removed)
		catchUp(t, s, l, log)
		require.Empty(t, check(t, s, l, nil), "forgotten: %v", removed)
	}
	AppendErasure(log, "admin", 5)
	erased, err := index.ReadErased(t.Context(), log)
	require.NoError(t, err)
	require.NotEmpty(t, check(t, s, l, erased), "not erased yet")
	catchUp(t, s, l, log)
	require.Empty(t, check(t, s, l, erased))
}

func testSearch(t *testing.T, open func() index.Store) {
	s, l := open(), NewLedger()
	for _, r := range []audit.Record{
		Record(1),
		Record(2, func(r *audit.Record) { r.UserID = "bob@example.com" }),
		Record(3, func(r *audit.Record) { r.SessionID = "s2"; r.PolicyFlags = []string{"pii.email", "pii.iban"} }),
		Record(4, func(r *audit.Record) { r.ApplicationID = "other"; r.PolicyFlags = []string{"pii.email"} }),
		Record(5, func(r *audit.Record) { r.Model = "claude-opus-4-5"; r.DataClassification = audit.Restricted }),
		Record(6, func(r *audit.Record) { r.Status = audit.StatusError; r.UserID = "bob@example.com" }),
		Record(7, func(r *audit.Record) { r.Kind = audit.KindAccess }),
		Record(8, func(r *audit.Record) { r.UserID, r.SessionID, r.Model = "", "", "" }),
	} {
		l.Append("a", r)
	}
	Apply(t, s, l)
	for _, tt := range []struct {
		name string
		q    index.Query
		want []int
	}{
		{"everything, newest first", index.Query{}, []int{8, 6, 5, 4, 3, 2, 1}},
		{"oldest first", index.Query{Order: index.OldestFirst}, []int{1, 2, 3, 4, 5, 6, 8}},
		{"user", index.Query{User: "bob@example.com"}, []int{6, 2}},
		{"user in another case", index.Query{User: "Bob@example.com"}, nil},
		{"part of a user", index.Query{User: "bob"}, nil},
		{"session", index.Query{Session: "s2"}, []int{3}},
		{"application", index.Query{Application: "other"}, []int{4}},
		{"model", index.Query{Model: "claude-opus-4-5"}, []int{5}},
		{"classification", index.Query{Classification: audit.Restricted}, []int{5}},
		{"flag", index.Query{Flag: "pii.email"}, []int{4, 3}},
		{"part of a flag", index.Query{Flag: "pii"}, nil},
		{"second flag with user", index.Query{Flag: "pii.iban", User: "alice@example.com"}, []int{3}},
		{"flag with another user", index.Query{Flag: "pii.iban", User: "bob@example.com"}, nil},
		{"flag of incomplete records", index.Query{Flag: audit.FlagIncomplete}, []int{8}},
		{"status", index.Query{Status: audit.StatusError}, []int{6}},
		{"common status", index.Query{Status: audit.StatusSuccess}, []int{8, 5, 4, 3, 2, 1}},
		{"status and user", index.Query{Status: audit.StatusError, User: "alice@example.com"}, nil},
		{"kind", index.Query{Kind: audit.KindAccess}, []int{7}},
		{"all kinds", index.Query{Kind: index.KindAll}, []int{8, 7, 6, 5, 4, 3, 2, 1}},
		{"from is inclusive", index.Query{From: Day.Add(5 * time.Second)}, []int{8, 6, 5}},
		{"to is exclusive", index.Query{To: Day.Add(3 * time.Second)}, []int{2, 1}},
		{"user and dates", index.Query{User: "alice@example.com", From: Day.Add(2 * time.Second), To: Day.Add(5 * time.Second)}, []int{4, 3}},
		{"flag and dates", index.Query{Flag: "pii.email", From: Day.Add(4 * time.Second)}, []int{4}},
		{"far dates", index.Query{From: time.Date(1, 1, 1, 0, 0, 0, 1, time.UTC), To: time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC), User: "bob@example.com"}, []int{6, 2}},
		{"SQL is a value", index.Query{User: "' OR 1=1 --"}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			require.Equal(t, tt.want, IDs(t, s, tt.q))
			tt.q.Limit = 1
			require.Equal(t, tt.want, IDs(t, s, tt.q), "page by page")
		})
	}
}

// testTimes has records of all times, among them such as no clock shows.
func testTimes(t *testing.T, open func() index.Store) {
	s, l := open(), NewLedger()
	times := []time.Time{
		{},
		time.Date(1, 1, 2, 0, 0, 0, 0, time.UTC), time.Date(1969, 12, 31, 23, 59, 59, 999_999_999, time.UTC), time.Unix(0, 0).UTC(),
		time.Date(1999, 12, 31, 0, 0, 0, 0, time.UTC), time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC),
		Day.Add(-1), Day, Day.AddDate(0, 0, 1).Add(-1), Day.AddDate(0, 0, 1), Day.AddDate(1, 0, 0),
		time.Date(2150, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC),
	}
	var want []int
	for i, ts := range times {
		l.Append("a", Record(i+1, func(r *audit.Record) { r.Timestamp = ts }))
		want = append(want, i+1)
	}
	Apply(t, s, l)
	for _, q := range []index.Query{{}, {User: "alice@example.com"}, {Session: "s1"}, {Application: "app"}} {
		q.Order = index.OldestFirst
		for _, q.Limit = range []int{1, 2, 100} {
			require.Equal(t, want, IDs(t, s, q))
			q.From, q.To = Day, Day.AddDate(0, 0, 1)
			require.Equal(t, []int{8, 9}, IDs(t, s, q))
			q.From, q.To = time.Time{}, time.Date(2000, 1, 1, 0, 0, 0, 1, time.UTC)
			require.Equal(t, want[:6], IDs(t, s, q))
			q.From, q.To = time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC), time.Time{}
			require.Equal(t, want[11:], IDs(t, s, q))
			q.From = time.Time{}
		}
	}
}

// testDaysApart has streams that tell of one call with times that lie days apart:
// under one event id, or under two with one response id. Whoever tells first, it is
// one record, at the time that the better source tells.
func testDaysApart(t *testing.T, open func() index.Store) {
	at := func(ts time.Time, rank int) func(*audit.Record) {
		return func(r *audit.Record) { r.Timestamp, r.Source.Rank = ts, rank }
	}
	lines, streams := map[string][]index.Line{}, map[string]*Stream{}
	tell := func(stream string, r audit.Record) {
		if streams[stream] == nil {
			streams[stream] = NewStream(stream)
		}
		lines[stream] = append(lines[stream], streams[stream].Next(r))
	}
	times, ids := map[int]time.Time{}, []int{}
	for _, far := range []time.Time{
		Day.Add(36 * time.Hour), Day.AddDate(0, 0, -40), Day.AddDate(0, 0, 300), {},
	} {
		for _, better := range []string{"a", "b"} {
			n := 1 + len(ids)/2
			rank := map[string]int{"a": 2, "b": 2}
			rank[better] = 1
			twins := response(fmt.Sprintf("msg_far_%d", n))
			tell("a", Record(n, at(Day, rank["a"])))
			tell("b", Record(n, at(far, rank["b"])))
			tell("a", Record(100+n, at(Day, rank["a"]), twins))
			tell("b", Record(200+n, at(far, rank["b"]), twins))
			times[n] = Day
			if better == "b" && !far.IsZero() {
				times[n] = far
			}
			times[100+n] = times[n]
			ids = append(ids, n, 100+n)
		}
	}
	// What c tells of moves to another day when c learns better, and d tells of it too.
	tell("c", Record(300, at(Day.AddDate(0, 0, 20), 3)))
	tell("c", Record(300, at(Day.AddDate(0, 0, -20), 1)))
	tell("d", Record(300, at(Day.AddDate(0, 0, 60), 2)))
	times[300], ids = Day.AddDate(0, 0, -20), append(ids, 300)

	var want []string
	for order, size := range map[[4]string]int{{"a", "b", "c", "d"}: 3, {"d", "c", "b", "a"}: 100} {
		s := open()
		for _, name := range order {
			for part := range slices.Chunk(lines[name], size) {
				_, err := s.Apply(t.Context(), index.Batch{Stream: name, Lines: part})
				require.NoError(t, err)
			}
		}
		require.ElementsMatch(t, ids, IDs(t, s, index.Query{}), "%v by %d", order, size)
		for id, ts := range times {
			found, err := s.Get(t.Context(), EventID(id))
			require.NoError(t, err)
			require.Equal(t, ts, found.Record.Timestamp, "event %d", id)
			require.Contains(t, IDs(t, s, index.Query{From: ts, To: ts.Add(1)}), id)
		}
		got := Dump(t, s)
		if want == nil {
			want = got
		}
		require.Equal(t, want, got, "%v by %d", order, size)
	}
}

// testToldAgain has one stream that tells calls again more than a day later, when its
// writer does not know of the first telling any more and counts its revisions from one.
func testToldAgain(t *testing.T, open func() index.Store) {
	batches := [][]audit.Record{
		{Record(1, initiated), Record(2), Record(3, initiated)},
		{Record(4, func(r *audit.Record) { r.Timestamp = Day.Add(36 * time.Hour) })},
		{
			// The results of a batch, with the time at which it was sent.
			Record(1, func(r *audit.Record) { r.PolicyFlags = []string{"again"} }),
			// The user, found on another span: nothing of the time.
			Record(2, func(r *audit.Record) { r.Timestamp, r.UserID, r.Source.Rank = time.Time{}, "bob@example.com", 9 }),
		},
		{Record(3, func(r *audit.Record) { r.PolicyFlags = []string{"again"} }), Record(3, func(r *audit.Record) { r.Timestamp = time.Time{} })},
	}
	s, st := open(), NewStream("a")
	st.Forget = true
	for _, records := range batches {
		b := index.Batch{Stream: "a"}
		for _, r := range records {
			b.Lines = append(b.Lines, st.Next(r))
		}
		_, err := s.Apply(t.Context(), b)
		require.NoError(t, err)
	}
	require.Equal(t, []int{4, 3, 2, 1}, IDs(t, s, index.Query{}))
	require.Equal(t, []int{3, 1}, IDs(t, s, index.Query{Flag: "again", Status: audit.StatusSuccess}))
	require.Equal(t, []int{2}, IDs(t, s, index.Query{User: "bob@example.com", From: Day, To: Day.AddDate(0, 0, 1)}))
	for n, entries := range map[int]int{1: 2, 2: 2, 3: 3, 4: 1} {
		found, err := s.Get(t.Context(), EventID(n))
		require.NoError(t, err)
		require.Len(t, found.Entries, entries, "event %d", n)
	}
}

func testPages(t *testing.T, open func() index.Store) {
	s, l := open(), NewLedger()
	var want []int
	for i := 1; i <= 50; i++ {
		// Ten records share each second.
		l.Append("a", Record(i, func(r *audit.Record) { r.Timestamp = Day.Add(time.Duration(i/10) * time.Second) }))
		want = append(want, i)
	}
	Apply(t, s, l)
	for _, limit := range []int{1, 3, 10, 49, 50, 51} {
		require.Equal(t, want, IDs(t, s, index.Query{Limit: limit, Order: index.OldestFirst}))
		require.Equal(t, want, IDs(t, s, index.Query{Limit: limit, Order: index.OldestFirst, User: "alice@example.com"}))
	}
	slices.Reverse(want)
	require.Equal(t, want, IDs(t, s, index.Query{Limit: 3}))

	// What comes in while pages are turned neither repeats nor shifts them.
	page, err := s.Search(t.Context(), index.Query{Limit: 10})
	require.NoError(t, err)
	l.Append("a", Record(90))
	Apply(t, s, l)
	require.Equal(t, want[10:], IDs(t, s, index.Query{Limit: 10, After: page.Next}))
}

func testBadQueries(t *testing.T, open func() index.Store) {
	s := open()
	for name, q := range map[string]index.Query{
		"limit below":  {Limit: -1},
		"limit above":  {Limit: index.MaxLimit + 1},
		"dates":        {From: Day, To: Day},
		"after":        {After: "x"},
		"after binary": {After: "!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!"},
		"long value":   {User: string(make([]byte, 5000))},
	} {
		_, err := s.Search(t.Context(), q)
		require.ErrorIs(t, err, index.ErrQuery, name)
	}
}

func testGet(t *testing.T, open func() index.Store) {
	s, l := open(), NewLedger()
	l.Append("a", Record(1))
	Apply(t, s, l)
	found, err := s.Get(t.Context(), EventID(1))
	require.NoError(t, err)
	require.Equal(t, "alice@example.com", found.Record.UserID)
	require.Len(t, found.Entries, 1)
	require.Equal(t, string(l.Line("a", 0)), string(found.Entries[0].Line))
	_, err = s.Get(t.Context(), EventID(2))
	require.ErrorIs(t, err, index.ErrNotFound)
	// An id that shares its first half with one that is there.
	near := EventID(1)
	near[15]++
	_, err = s.Get(t.Context(), near)
	require.ErrorIs(t, err, index.ErrNotFound)
}

func initiated(r *audit.Record) {
	r.Status, r.UserID, r.ResponseID, r.CompletionTokens, r.ResponseHash = audit.StatusInitiated, "", "", nil, ""
}

func testMerge(t *testing.T, open func() index.Store) {
	s, l := open(), NewLedger()
	l.Append("a", Record(1, initiated))
	Apply(t, s, l)
	require.Equal(t, []int{1}, IDs(t, s, index.Query{Status: audit.StatusInitiated}))
	require.Equal(t, []int{1}, IDs(t, s, index.Query{Flag: audit.FlagIncomplete}))

	l.Append("a", Record(2))
	l.Append("a", Record(1, func(r *audit.Record) { r.PolicyFlags = []string{"pii.email"} }))
	Apply(t, s, l)
	require.Empty(t, IDs(t, s, index.Query{Status: audit.StatusInitiated}))
	require.Equal(t, []int{2, 1}, IDs(t, s, index.Query{User: "alice@example.com"}))
	require.Equal(t, []int{1}, IDs(t, s, index.Query{Flag: "pii.email"}))
	require.Empty(t, IDs(t, s, index.Query{Flag: audit.FlagIncomplete}))

	found, err := s.Get(t.Context(), EventID(1))
	require.NoError(t, err)
	require.Len(t, found.Entries, 2)
	require.EqualValues(t, 2, found.Record.Revision)
	require.Equal(t, audit.StatusSuccess, found.Record.Status)

	// All entries in one batch give the same.
	at1 := open()
	require.NoError(t, (&index.Follower{Ledger: l, Store: at1}).CatchUp(t.Context()))
	require.Equal(t, Dump(t, s), Dump(t, at1))
}

func testChain(t *testing.T, open func() index.Store) {
	s := open()
	st := NewStream("a")
	var lines []index.Line
	for i := range 4 {
		lines = append(lines, st.Next(Record(i+1)))
	}
	apply := func(l ...index.Line) error {
		_, err := s.Apply(t.Context(), index.Batch{Stream: "a", Lines: l})
		return err
	}
	cursor := func() index.Cursor {
		cursors, err := s.Cursors(t.Context())
		require.NoError(t, err)
		require.Len(t, cursors, 1)
		return cursors[0]
	}
	require.NoError(t, apply())
	require.NoError(t, apply(lines[0], lines[1]))
	want := index.Cursor{Stream: "a", Next: 2, Last: lines[1].Leaf}
	require.Equal(t, want, cursor())

	other := NewStream("a")
	for i := range 2 {
		other.Next(Record(i + 10))
	}
	foreign := other.Next(Record(12))
	for name, l := range map[string][]index.Line{
		"another chain":  {foreign},
		"gap":            {lines[3]},
		"repetition":     {lines[1]},
		"gap within":     {lines[2], lines[2]},
		"foreign within": {lines[2], {Seq: 3, Leaf: foreign.Leaf, Data: foreign.Data}},
		"no line":        {{Seq: 2, Data: []byte("{}")}},
		"bad hash":       {{Seq: 2, Data: []byte(`{"_log":"a","_prev":"` + fmt.Sprintf("%064s", "z") + `"}`)}},
	} {
		require.ErrorIs(t, apply(l...), index.ErrDiverged, name)
		require.Equal(t, want, cursor(), name)
		require.Equal(t, []int{2, 1}, IDs(t, s, index.Query{}), name)
	}
	require.NoError(t, apply(lines[2], lines[3]))
	require.Equal(t, []int{4, 3, 2, 1}, IDs(t, s, index.Query{}))

	// A new stream may begin anywhere: its beginning may be gone by age.
	st = NewStream("b")
	st.Next(Record(20))
	_, err := s.Apply(t.Context(), index.Batch{Stream: "b", Lines: []index.Line{st.Next(Record(21))}})
	require.NoError(t, err)
}

func response(id string) func(*audit.Record) {
	return func(r *audit.Record) { r.ResponseID = id }
}

func testTwins(t *testing.T, open func() index.Store) {
	s, l := open(), NewLedger()
	check := func(want []int, msg string) {
		t.Helper()
		Apply(t, s, l)
		require.Equal(t, want, IDs(t, s, index.Query{Kind: index.KindAll}), msg)
	}
	l.Append("b", Record(2, response("msg_x")))
	check([]int{2}, "alone")
	l.Append("a", Record(1, response("msg_x"), func(r *audit.Record) { r.PolicyFlags = []string{"from.a"}; r.UserID = "" }))
	check([]int{1}, "the smaller (stream, seq) is primary")
	for _, id := range []int{1, 2} {
		found, err := s.Get(t.Context(), EventID(id))
		require.NoError(t, err)
		require.Equal(t, EventID(1), found.Record.EventID)
		require.Len(t, found.Entries, 2)
		require.Equal(t, "alice@example.com", found.Record.UserID)
	}
	require.Equal(t, []int{1}, IDs(t, s, index.Query{User: "alice@example.com", Flag: "from.a"}))

	l.Append("a", Record(3, response("msg_x")))
	check([]int{3, 1}, "events of one stream stay apart")
	l.Append("c", Record(4, response("msg_x")))
	check([]int{3, 1}, "three")
	l.Append("c", Record(5, response("")))
	l.Append("b", Record(6, response("")))
	check([]int{6, 5, 3, 1}, "no response id is none in common")

	// The same event in two streams is one record by itself.
	l.Append("a", Record(7, response("msg_y"), initiated))
	l.Append("b", Record(7, response("msg_y"), func(r *audit.Record) { r.PolicyFlags = []string{"from.b"} }))
	check([]int{7, 6, 5, 3, 1}, "same event")
	require.Equal(t, []int{7}, IDs(t, s, index.Query{Flag: "from.b"}))

	// A response id that is learnt later joins later.
	l.Append("a", Record(8, response("")))
	l.Append("b", Record(9, response("msg_z")))
	check([]int{9, 8, 7, 6, 5, 3, 1}, "not known to be twins yet")
	l.Append("a", Record(8, response("msg_z")))
	check([]int{8, 7, 6, 5, 3, 1}, "learnt")

	// An id that many events share says nothing.
	for i := range 40 {
		l.Append([]string{"a", "b"}[i%2], Record(100+i, response("chatcmpl-0")))
	}
	Apply(t, s, l)
	require.Len(t, IDs(t, s, index.Query{From: Day.Add(100 * time.Second)}), 40)

	at1 := open()
	require.NoError(t, (&index.Follower{Ledger: l, Store: at1}).CatchUp(t.Context()))
	require.Equal(t, Dump(t, s), Dump(t, at1))
}

// testTwinsByIDs holds which events the ids of responses and requests make one
// record, whatever comes first.
func testTwinsByIDs(t *testing.T, open func() index.Store) {
	type told struct {
		stream            string
		event             int
		response, request string
	}
	const q, q2 = "req_011CQ4NtYbDoBCcXkMsT", "req_011CQ5yBkrSgfKRoKzZn"
	constant := func(response, request string) (list []told) {
		for i := range index.MaxTwins + 1 {
			list = append(list, told{[]string{"a", "b", "c", "d"}[i%4], i, response, request})
		}
		return list
	}
	alone := func(n int) (list [][]int) {
		for i := range n {
			list = append(list, []int{i})
		}
		return list
	}
	cases := []struct {
		name string
		told []told
		want [][]int // events that are one record, the primary first
	}{
		{"one request, as Claude Code's span and event", []told{{"b", 1, "", q}, {"a", 2, "", q}}, [][]int{{2, 1}}},
		{"one of them knows the response", []told{{"a", 1, "", q}, {"b", 2, "msg", q}}, [][]int{{1, 2}}},
		{"one between two that share nothing", []told{{"a", 1, "", q}, {"b", 2, "msg", ""}, {"c", 3, "msg", q}}, [][]int{{1, 2, 3}}},
		{"two between", []told{{"d", 1, "", q}, {"c", 2, "msg", q}, {"b", 3, "msg", q2}, {"a", 4, "", q2}}, [][]int{{4, 3, 2, 1}}},
		{"one between two of one stream", []told{{"a", 1, "", q}, {"a", 2, "msg", ""}, {"b", 3, "msg", q}}, [][]int{{1, 2, 3}}},
		{"no id", []told{{"a", 1, "", ""}, {"b", 2, "", ""}}, alone(3)[1:]},
		{"an id that is too short for one", []told{{"a", 1, "", "req_17"}, {"b", 2, "", "req_17"}}, alone(3)[1:]},
		{"a request with the name of a response", []told{{"a", 1, q, ""}, {"b", 2, "", q}}, alone(3)[1:]},
		{"one request with two responses", []told{{"a", 1, "msg", q}, {"b", 2, "msg_2", q}, {"c", 3, "", q}}, alone(4)[1:]},
		{"one request with two responses, and their twins", []told{
			{"a", 1, "msg", q}, {"b", 2, "msg_2", q}, {"c", 3, "msg", ""}, {"d", 4, "msg_2", ""},
		}, [][]int{{1, 3}, {2, 4}}},
		{"requests of a batch under one id", []told{{"a", 1, "", q}, {"a", 2, "", q}, {"b", 3, "", q}}, alone(4)[1:]},
		{"tries, each with its request", []told{{"a", 1, "", q}, {"a", 2, "msg", q2}, {"b", 3, "", q}, {"b", 4, "msg", q2}}, [][]int{{1, 3}, {2, 4}}},
		{"an answer that a cache repeated", []told{{"b", 1, "msg", ""}, {"a", 2, "msg", ""}, {"b", 3, "msg", ""}}, [][]int{{2, 1}, {3}}},
		{"an answer repeated by another request", []told{{"a", 1, "msg", q}, {"a", 2, "msg", q2}, {"b", 3, "", q2}}, [][]int{{1}, {2, 3}}},
		{"a constant request", constant("", q), alone(index.MaxTwins + 1)},
		{"a constant response", constant("chatcmpl-0", ""), alone(index.MaxTwins + 1)},
		{"a constant response, and a request", append(constant("chatcmpl-0", ""), told{"a", 50, "chatcmpl-0", q}, told{"b", 51, "", q}), append(alone(index.MaxTwins+1), []int{50, 51})},
		{"a request that is learnt later", []told{{"a", 1, "", ""}, {"b", 2, "", q}, {"a", 1, "", q}}, [][]int{{1, 2}}},
		{"a response that is learnt later, and speaks against it", []told{{"a", 1, "", q}, {"b", 2, "msg", q}, {"a", 1, "msg_2", q}}, alone(3)[1:]},
	}
	lines, streams := map[string][]index.Line{}, map[string]*Stream{}
	for i, tt := range cases {
		for _, told := range tt.told {
			if streams[told.stream] == nil {
				streams[told.stream] = NewStream(told.stream)
			}
			lines[told.stream] = append(lines[told.stream], streams[told.stream].Next(Record(1000*i+told.event, func(r *audit.Record) {
				r.ResponseID, r.RequestID = told.response, told.request
				for _, id := range []*string{&r.ResponseID, &r.RequestID} {
					if *id != "" {
						*id += fmt.Sprintf("-%d", i) // ids of this case alone
					}
				}
			})))
		}
	}
	for _, round := range []struct {
		order []string
		size  int
	}{{[]string{"a", "b", "c", "d"}, 9}, {[]string{"d", "c", "b", "a"}, 1000}} {
		s := open()
		left := map[string][]index.Line{}
		for name, l := range lines {
			left[name] = l
		}
		for len(left) > 0 {
			for _, name := range round.order {
				n := min(round.size, len(left[name]))
				_, err := s.Apply(t.Context(), index.Batch{Stream: name, Lines: left[name][:n]})
				require.NoError(t, err)
				if left[name] = left[name][n:]; len(left[name]) == 0 {
					delete(left, name)
				}
			}
		}
		heads := map[int]bool{}
		for _, n := range IDs(t, s, index.Query{}) {
			heads[n] = true
		}
		for i, tt := range cases {
			for _, family := range tt.want {
				for j, n := range family {
					n += 1000 * i
					found, err := s.Get(t.Context(), EventID(n))
					require.NoError(t, err)
					require.Equal(t, EventID(1000*i+family[0]), found.Record.EventID, "%s: event %d", tt.name, n-1000*i)
					require.Equal(t, j == 0, heads[n], "%s: event %d", tt.name, n-1000*i)
					delete(heads, n)
				}
			}
		}
		require.Empty(t, heads, "events that no case has")
	}
}

// testOrder gives the same streams in many interleavings and batch sizes.
func testOrder(t *testing.T, open func() index.Store) {
	rnd := rand.New(rand.NewPCG(7, 7))
	var history []struct {
		stream string
		rec    audit.Record
	}
	for range 120 {
		n := rnd.IntN(25)
		stream := string(rune('a' + rnd.IntN(3)))
		rec := Record(n, func(r *audit.Record) {
			r.ResponseID = ""
			if rnd.IntN(2) == 0 {
				r.ResponseID = fmt.Sprintf("msg_%d", rnd.IntN(10))
			}
			if rnd.IntN(2) == 0 {
				r.RequestID = fmt.Sprintf("req_0123456789ab_%d", rnd.IntN(14))
			}
			if rnd.IntN(3) == 0 {
				initiated(r)
			}
			if rnd.IntN(3) == 0 {
				r.PolicyFlags = []string{fmt.Sprintf("flag.%d", rnd.IntN(3))}
			}
		})
		history = append(history, struct {
			stream string
			rec    audit.Record
		}{stream, rec})
	}
	lines := map[string][]index.Line{}
	streams := map[string]*Stream{}
	for _, h := range history {
		if streams[h.stream] == nil {
			streams[h.stream] = NewStream(h.stream)
		}
		lines[h.stream] = append(lines[h.stream], streams[h.stream].Next(h.rec))
	}
	var want []string
	for round := range 8 {
		s := open()
		left := map[string][]index.Line{}
		var names []string
		for name, l := range lines {
			left[name] = l
			names = append(names, name)
		}
		for len(names) > 0 {
			i := rnd.IntN(len(names))
			name := names[i]
			n := min(1+rnd.IntN(1+round*6), len(left[name]))
			_, err := s.Apply(t.Context(), index.Batch{Stream: name, Lines: left[name][:n]})
			require.NoError(t, err)
			if left[name] = left[name][n:]; len(left[name]) == 0 {
				names = slices.Delete(names, i, i+1)
			}
		}
		got := Dump(t, s)
		if round == 0 {
			want = got
			require.Greater(t, len(want), 5)
		}
		require.Equal(t, want, got)
		for flag := range 3 {
			var count int
			for _, line := range want {
				if rec, err := audit.ParseRecord([]byte(line[:1+lastBrace(line)])); err == nil && slices.Contains(rec.PolicyFlags, fmt.Sprintf("flag.%d", flag)) {
					count++
				}
			}
			require.Len(t, IDs(t, s, index.Query{Flag: fmt.Sprintf("flag.%d", flag)}), count)
		}
	}
}

func lastBrace(s string) int {
	for i := len(s) - 1; i >= 0; i-- {
		if s[i] == '}' {
			return i
		}
	}
	return -1
}

func testDropStream(t *testing.T, open func() index.Store) {
	build := func(s index.Store, streams ...string) {
		l := NewLedger()
		for _, name := range []string{"a", "b", "c"} {
			if !slices.Contains(streams, name) {
				continue
			}
			for i := range 10 {
				l.Append(name, Record(i, response(""), func(r *audit.Record) { r.PolicyFlags = []string{"from." + name} }))
			}
			l.Append(name, Record(int(100+name[0]), response("msg_twin")))
			l.Append(name, Record(int(200+name[0])))
			// Each tells by another id that it is the same call as those before.
			l.Append(name, Record(400+int(name[0]), func(r *audit.Record) {
				r.ResponseID = map[string]string{"a": "", "b": "msg_chain", "c": "msg_chain"}[name]
				r.RequestID = map[string]string{"a": "req_0123456789ab_c", "b": "req_0123456789ab_c"}[name]
			}))
		}
		Apply(t, s, l)
	}
	s := open()
	build(s, "a", "b", "c")
	require.NoError(t, s.DropStream(t.Context(), "no such stream"))
	require.NoError(t, s.DropStream(t.Context(), "a"))
	without := open()
	build(without, "b", "c")
	require.Equal(t, Dump(t, without), Dump(t, s))
	require.Empty(t, IDs(t, s, index.Query{Flag: "from.a"}))
	require.Len(t, IDs(t, s, index.Query{Flag: "from.b"}), 10)
	cursors, err := s.Cursors(t.Context())
	require.NoError(t, err)
	require.Len(t, cursors, 2)

	require.NoError(t, s.DropStream(t.Context(), "b"))
	require.NoError(t, s.DropStream(t.Context(), "c"))
	require.Empty(t, Dump(t, s))
	build(s, "a", "b", "c")
	whole := open()
	build(whole, "a", "b", "c")
	require.Equal(t, Dump(t, whole), Dump(t, s))
}

// What is left when the ledger's first entries are removed is what an index has
// that is made of the others.
func testForget(t *testing.T, open func() index.Store) {
	hour := Day.Add(2 * time.Hour)
	build := func() *Ledger {
		l := NewLedger()
		for i := range 8 {
			// Calls that begin before an entry is removed and end after, and such in two streams.
			l.Append("a", Record(i, initiated))
			if i >= 3 {
				l.Append("a", Record(i-3, func(r *audit.Record) { r.PolicyFlags = []string{"ended"} }))
			}
			if i%3 == 0 {
				l.Append("b", Record(i, response(""), func(r *audit.Record) { r.PolicyFlags = []string{"from.b"} }))
				l.Append("b", Record(100+i, response(fmt.Sprintf("msg_%d", i))))
				request := func(r *audit.Record) { r.ResponseID, r.RequestID = "", fmt.Sprintf("req_0123456789ab_%d", i) }
				l.Append("a", Record(200+i, request))
				l.Append("b", Record(300+i, request))
			}
		}
		// Told of a record that is later than its writing.
		l.Append("a", Record(50, func(r *audit.Record) { r.Timestamp = Day.AddDate(0, 2, 0) }))
		return l
	}
	s, l := open(), build()
	Apply(t, s, l)
	whole := Dump(t, s)
	require.NoError(t, s.Forget(t.Context(), "no such stream", 5, hour))
	require.NoError(t, s.Forget(t.Context(), "a", 0, hour))
	require.Equal(t, whole, Dump(t, s))
	for _, cut := range []struct {
		stream string
		before uint64
	}{{"a", 5}, {"b", 3}, {"a", 13}} {
		l.Remove(cut.stream, cut.before)
		require.NoError(t, s.Forget(t.Context(), cut.stream, cut.before, hour))
		without := open()
		Apply(t, without, l)
		require.Equal(t, Dump(t, without), Dump(t, s), "cut %v", cut)
		require.NoError(t, s.Forget(t.Context(), cut.stream, cut.before, hour))
		require.Equal(t, Dump(t, without), Dump(t, s), "again at %v", cut)
	}

	// The follower does it by itself; it goes on where the entry before is not there
	// any more, and passes over what went before it was taken.
	late := open()
	Apply(t, late, l)
	l.Append("a", Record(60))
	Apply(t, s, l)
	l.Remove("a", 15)
	l.Append("a", Record(61))
	Apply(t, s, l)
	Apply(t, late, l)
	lag, err := index.Lag(t.Context(), l, s)
	require.NoError(t, err)
	require.Zero(t, lag)
	fresh := open()
	Apply(t, fresh, l)
	require.Equal(t, Dump(t, fresh), Dump(t, s))
	require.Equal(t, Dump(t, fresh), Dump(t, late))

	// A stream alone has no twins.
	alone := open()
	l = NewLedger()
	for i := range 5 {
		l.Append("a", Record(i, initiated))
		l.Append("a", Record(i))
	}
	Apply(t, alone, l)
	require.NoError(t, alone.Forget(t.Context(), "a", 3, hour))
	require.Equal(t, []int{4, 3, 2, 1}, IDs(t, alone, index.Query{}))
}

func testPrune(t *testing.T, open func() index.Store) {
	s, l := open(), NewLedger()
	days := func(n int) func(*audit.Record) {
		return func(r *audit.Record) { r.Timestamp = Day.AddDate(0, 0, n).Add(time.Hour) }
	}
	for i := range 20 {
		l.Append("a", Record(i, initiated, days(i)))
		l.Append("a", Record(i, days(i), func(r *audit.Record) { r.PolicyFlags = []string{"x"} }))
	}
	l.Append("b", Record(30, response("msg_3"), days(3)))
	Apply(t, s, l)
	before := Day.AddDate(0, 0, 10)
	n, err := s.Prune(t.Context(), before, 7)
	require.NoError(t, err)
	require.Equal(t, 7, n)
	n, err = s.Prune(t.Context(), before, 7)
	require.NoError(t, err)
	require.Equal(t, 3, n)
	n, err = s.Prune(t.Context(), before, 7)
	require.NoError(t, err)
	require.Zero(t, n)
	require.Equal(t, []int{10, 11, 12, 13, 14, 15, 16, 17, 18, 19}, IDs(t, s, index.Query{Order: index.OldestFirst}))
	require.Len(t, IDs(t, s, index.Query{Flag: "x"}), 10)
	for _, gone := range []int{3, 30} {
		_, err = s.Get(t.Context(), EventID(gone))
		require.ErrorIs(t, err, index.ErrNotFound)
	}
	_, err = s.Prune(t.Context(), before, 0)
	require.Error(t, err)

	// What is older is not taken any more, but the cursor goes on.
	st := NewStream("c")
	applied, err := s.Apply(t.Context(), index.Batch{Stream: "c", Lines: []index.Line{
		st.Next(Record(5, days(5))), st.Next(Record(15, days(15))), st.Next(Record(25, days(25))),
	}})
	require.NoError(t, err)
	require.Equal(t, index.Applied{Entries: 3, Expired: 1}, applied)
	require.Len(t, IDs(t, s, index.Query{}), 11)
	require.NoError(t, s.DropStream(t.Context(), "a"))
	Apply(t, s, l)
	require.Len(t, IDs(t, s, index.Query{}), 11)
}

func testUnreadable(t *testing.T, open func() index.Store) {
	s := open()
	st := NewStream("a")
	lines := []index.Line{st.Next(Record(1)), st.Next(Record(2)), st.Next(Record(3))}
	// The chain holds, the record is of a kind this version can't read.
	bad := lines[1]
	bad.Data = []byte(`{"_log":"a","_prev":"` + fmt.Sprintf("%x", lines[0].Leaf) + `","_seq":1,"schema":"claudeaudit.record/99"}`)
	bad.Leaf = index.LeafHash(bad.Data)
	next := lines[2]
	next.Data = []byte(`{"_log":"a","_prev":"` + fmt.Sprintf("%x", bad.Leaf) + string(lines[2].Data[len(`{"_log":"a","_prev":"`)+64:]))
	next.Leaf = index.LeafHash(next.Data)
	applied, err := s.Apply(t.Context(), index.Batch{Stream: "a", Lines: []index.Line{lines[0], bad, next}})
	require.NoError(t, err)
	require.Equal(t, index.Applied{Entries: 3, Unreadable: 1}, applied)
	require.Equal(t, []int{3, 1}, IDs(t, s, index.Query{}))
	require.NoError(t, s.DropStream(t.Context(), "a"))
	require.Empty(t, IDs(t, s, index.Query{}))
}

func testCancelled(t *testing.T, open func() index.Store) {
	s := open()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	st := NewStream("a")
	_, err := s.Apply(ctx, index.Batch{Stream: "a", Lines: []index.Line{st.Next(Record(1))}})
	require.ErrorIs(t, err, context.Canceled)
	_, err = s.Search(ctx, index.Query{})
	require.Error(t, err)
	require.False(t, errors.Is(err, index.ErrCorrupt))
	require.Empty(t, IDs(t, s, index.Query{}))
}
