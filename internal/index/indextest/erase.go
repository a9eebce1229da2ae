package indextest

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/claudeaudit/claudeaudit/internal/audit"
	"github.com/claudeaudit/claudeaudit/internal/index"
)

// AppendErasure appends an entry to a log of holds and erasures that erases the
// events with these numbers.
func AppendErasure(log *Ledger, stream string, numbers ...int) {
	var events []uuid.UUID
	for _, n := range numbers {
		events = append(events, EventID(n))
	}
	r := audit.Record{
		EventID: uuid.New(), Kind: audit.KindSystem, Timestamp: Day, Status: audit.StatusSuccess, Operation: index.EraseOperation,
		Source: audit.Source{Digest: "0"}, Details: audit.DetailsOf(index.EraseDetails(events)),
	}
	log.Append(stream, r)
}

// counting counts the calls of Erase.
type counting struct {
	index.Store
	calls int
}

func (c *counting) Erase(ctx context.Context, events []uuid.UUID) error {
	c.calls++
	return c.Store.Erase(ctx, events)
}

func catchUp(t *testing.T, s index.Store, l, log *Ledger) {
	t.Helper()
	require.NoError(t, (&index.Follower{Ledger: l, Store: s, Erasures: log, BatchEntries: 3}).CatchUp(t.Context()))
}

func testErase(t *testing.T, open func() index.Store) {
	s, l, log := &counting{Store: open()}, NewLedger(), NewLedger()
	carol := func(r *audit.Record) {
		r.UserID, r.SessionID, r.IPAddress, r.Department, r.AgentName = "carol", "s9", "192.0.2.7", "tax", "carol's helper"
		r.Call.ClientKey, r.Call.BatchItem, r.Source.PromptID, r.Source.UserRank, r.Source.SessionRank = "sha256:0123456789ab", "carol-1", "p1", 3, 4
		r.PolicyFlags = []string{"pii.email"}
	}
	l.Append("a", Record(1, carol, initiated))
	l.Append("a", Record(1, carol))
	l.Append("a", Record(2))
	l.Append("a", Record(3, carol, response("msg_x")))
	l.Append("b", Record(4, carol, response("msg_x"))) // a twin of 3
	l.Append("b", Record(1, carol))
	catchUp(t, s, l, log)
	all := index.Query{Kind: index.KindAll}
	require.Equal(t, []int{3, 1}, IDs(t, s, index.Query{User: "carol"}))

	AppendErasure(log, "admin", 1, 3, 4, 77)
	catchUp(t, s, l, log)
	require.Equal(t, 1, s.calls)
	check := func() {
		t.Helper()
		for _, q := range []index.Query{{User: "carol"}, {Session: "s9"}} {
			require.Empty(t, IDs(t, s, q))
		}
		for _, n := range []int{1, 3, 4} {
			found, err := s.Get(t.Context(), EventID(n))
			require.NoError(t, err)
			r := found.Record
			require.Len(t, r.Erased, 64)
			require.Equal(t, []string{"", "", "", "", "", "", "", ""},
				[]string{r.UserID, r.SessionID, r.IPAddress, r.Department, r.AgentName, r.Call.ClientKey, r.Call.BatchItem, r.Source.PromptID})
			require.Empty(t, r.IdentityAssurance)
			require.Zero(t, r.Source.UserRank+r.Source.SessionRank)
			require.Equal(t, []string{"pii.email"}, r.PolicyFlags, "what is erased is not missing")
			require.Empty(t, r.Missing)
			require.Equal(t, []string{"p", "r", audit.Internal, "app"}, []string{r.PromptHash, r.ResponseHash, r.DataClassification, r.ApplicationID})
			require.NotNil(t, r.PromptTokens)
			for _, e := range found.Entries {
				require.NotContains(t, string(e.Line), "carol")
				require.NotContains(t, string(e.Line), "192.0.2.7")
			}
		}
		require.Equal(t, []int{2}, IDs(t, s, index.Query{User: "alice@example.com"}))
		require.Equal(t, []int{3, 1}, IDs(t, s, index.Query{Flag: "pii.email"}))
	}
	check()
	require.Equal(t, []int{3, 2, 1}, IDs(t, s, all))
	found, err := s.Get(t.Context(), EventID(3))
	require.NoError(t, err)
	require.Len(t, found.Entries, 2, "twins stay joined")

	// Another follower has nothing to do, and what comes later comes erased.
	catchUp(t, s, l, log)
	require.Equal(t, 1, s.calls)
	l.Append("a", Record(1, carol))
	l.Append("b", Record(2))
	catchUp(t, s, l, log)
	check()
	before := Dump(t, s)

	// So it is made anew.
	anew := open()
	catchUp(t, anew, l, log)
	require.Equal(t, before, Dump(t, anew))
	require.NoError(t, s.DropStream(t.Context(), "a"))
	catchUp(t, s, l, log)
	require.Equal(t, before, Dump(t, s))

	// More erasures go on from there; those of another log are all carried out.
	AppendErasure(log, "admin", 2)
	catchUp(t, s, l, log)
	require.Empty(t, IDs(t, s, index.Query{User: "alice@example.com"}))
	require.Equal(t, 2, s.calls)
	log.Cut("admin", 0)
	AppendErasure(log, "admin", 9)
	AppendErasure(log, "admin", 1)
	l.Append("a", Record(9))
	catchUp(t, s, l, log)
	require.Equal(t, 3, s.calls)
	require.Equal(t, []int{9, 3, 2, 1}, IDs(t, s, all))
	require.Empty(t, IDs(t, s, index.Query{User: "alice@example.com"}))
}

// testEraseOrder holds that it makes no difference what came first, the entries or
// the erasure.
func testEraseOrder(t *testing.T, open func() index.Store) {
	rnd := rand.New(rand.NewPCG(3, 3))
	early, late, l, log := open(), open(), NewLedger(), NewLedger()
	for i := range 4 {
		for range 10 {
			n := rnd.IntN(30)
			l.Append([]string{"a", "b", "c"}[rnd.IntN(3)], Record(n, func(r *audit.Record) {
				r.Timestamp = Day.Add(time.Duration(n%7-3) * time.Second)
				r.UserID = []string{"alice", "bob", ""}[rnd.IntN(3)]
				r.ResponseID = []string{"", "msg_1", "msg_2", "msg_3"}[n%4]
			}))
		}
		if i%2 == 0 {
			catchUp(t, early, l, log)
		}
		AppendErasure(log, "admin", rnd.IntN(30), rnd.IntN(30))
	}
	catchUp(t, early, l, log)
	catchUp(t, late, l, log)
	require.Equal(t, Dump(t, late), Dump(t, early))
}
