package sqlite

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/claudeaudit/claudeaudit/internal/audit"
	"github.com/claudeaudit/claudeaudit/internal/index"
	"github.com/claudeaudit/claudeaudit/internal/index/indextest"
)

func TestCheck(t *testing.T) {
	flagged := func(r *audit.Record) { r.PolicyFlags = []string{"a", "b"} }
	for _, tt := range []struct {
		name   string
		tamper string // SQL
		want   []string
	}{
		{"as it should be", "", nil},
		{"row hidden by another user", "UPDATE records SET user = 1 WHERE id = (1<<40)+2", []string{"entry 2 of a: its record is not what its entries say"}},
		{"row hidden by another time", "UPDATE records SET ts = 1 WHERE id = (1<<40)+2", []string{"entry 2 of a: its record is not what its entries say"}},
		{"row removed", "DELETE FROM records WHERE id = (1<<40)+2", []string{"it holds 23 entries, and its records are of 21"}},
		{"row hidden as a twin", "UPDATE records SET head = 7 WHERE id = (1<<40)+2", []string{"it holds 4 flags, and its records are of 2", "entry 2 of a: its record is hidden as a twin that it isn't"}},
		{"twin by response that shows for itself", "UPDATE records SET head = id WHERE id = (2<<40)+10", []string{"entry 10 of b: its record shows twice: it is not joined with its twin"}},
		{"twin by request that shows for itself", "UPDATE records SET head = id WHERE id = (2<<40)+11", []string{"entry 11 of b: its record shows twice: it is not joined with its twin"}},
		{"twin of another", "UPDATE records SET head = (1<<40)+5 WHERE id = (2<<40)+10", []string{"entry 10 of b: its record is hidden as a twin that it isn't"}},
		{"flag removed", "DELETE FROM flags WHERE record = (1<<40)+2", []string{"entry 2 of a: its record is not found by its flags"}},
		{"day removed", "DELETE FROM days", []string{"entry 0 of a: its record is not found by its day"}},
		{"flag added", "INSERT INTO flags VALUES (1, 2, 3)", []string{"it holds 5 flags, and its records are of 4"}},
		{"entry changed", "", []string{"entry 3 of a: the index has it otherwise"}},
		{"entry that can't be read", "UPDATE entries SET line = x'ffffff00' WHERE id = (1<<40)+2", []string{"entry 2 of a: the index has it otherwise", "entry 2 of a: its record can't be read from its entries"}},
		{"entry removed", "DELETE FROM entries WHERE id = (1<<40)+3", []string{"entry 3 of a: the index lacks it"}},
		{"entry added", "INSERT INTO entries SELECT (1<<40)+900, record, line FROM entries WHERE id = (1<<40)+3", []string{"entry 900 of a: the ledger lacks it"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, err := Open(t.Context(), filepath.Join(t.TempDir(), "audit.db"))
			require.NoError(t, err)
			defer func() { require.NoError(t, s.Close()) }()
			l := indextest.NewLedger()
			request := func(r *audit.Record) { r.RequestID = "req_011CQ4NtYbDoBCcXkMsT" }
			for i := range 9 {
				l.Append("a", indextest.Record(i))
				if i == 2 {
					l.Append("a", indextest.Record(i, flagged))
				}
			}
			l.Append("a", indextest.Record(9, request))
			for i := range 10 {
				l.Append("b", indextest.Record(100+i))
			}
			l.Append("b", indextest.Record(200, flagged, func(r *audit.Record) { r.ResponseID = "msg_1" })) // a twin of 1
			l.Append("b", indextest.Record(201, request, func(r *audit.Record) { r.ResponseID = "" }))      // a twin of 9
			indextest.Apply(t, s, l)
			if tt.tamper != "" {
				_, err := s.conn.ExecContext(t.Context(), tt.tamper)
				require.NoError(t, err)
			}
			if tt.name == "entry changed" {
				forged := pack(bytes.Replace(l.Line("a", 3), []byte("alice"), []byte("alfie"), 1))
				_, err := s.conn.ExecContext(t.Context(), "UPDATE entries SET line = ? WHERE id = (1<<40)+3", forged)
				require.NoError(t, err)
			}
			// What comes after is not taken yet.
			l.Append("a", indextest.Record(50))
			got := check(t, s, l)
			if tt.want == nil {
				require.Empty(t, got)
			}
			for _, want := range tt.want {
				require.Contains(t, got, want)
			}
		})
	}
	t.Run("pruned", func(t *testing.T) {
		s, err := Open(t.Context(), filepath.Join(t.TempDir(), "audit.db"))
		require.NoError(t, err)
		defer func() { require.NoError(t, s.Close()) }()
		l := indextest.NewLedger()
		for i := range 10 {
			l.Append("a", indextest.Record(i))
		}
		indextest.Apply(t, s, l)
		_, err = s.Prune(t.Context(), indextest.Record(5).Timestamp, 100)
		require.NoError(t, err)
		require.Empty(t, check(t, s, l))
	})
}

func TestCheckErased(t *testing.T) {
	s, err := Open(t.Context(), filepath.Join(t.TempDir(), "audit.db"))
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	l, log := indextest.NewLedger(), indextest.NewLedger()
	for i := range 4 {
		l.Append("a", indextest.Record(i))
	}
	indextest.Apply(t, s, l)
	indextest.AppendErasure(log, "admin", 2)
	erased, err := index.ReadErased(t.Context(), log)
	require.NoError(t, err)
	require.Equal(t, []string{"entry 2 of a: the index still has what was erased of it"}, checkErased(t, s, l, erased))
	require.NoError(t, (&index.Follower{Ledger: l, Store: s, Erasures: log}).CatchUp(t.Context()))
	require.Empty(t, checkErased(t, s, l, erased))
	require.Equal(t, []string{"entry 2 of a: the index has it otherwise"}, check(t, s, l), "erased without a word")
}

func check(t *testing.T, s *Store, l *indextest.Ledger) []string {
	t.Helper()
	return checkErased(t, s, l, nil)
}

func checkErased(t *testing.T, s *Store, l *indextest.Ledger, erased *index.Erased) []string {
	t.Helper()
	var found []string
	c, err := s.NewChecker(t.Context(), erased, func(f Finding) { found = append(found, f.String()) })
	require.NoError(t, err)
	defer func() { require.NoError(t, c.Close()) }()
	streams, err := l.Streams()
	require.NoError(t, err)
	for _, stream := range streams {
		first, _, err := l.First(t.Context(), stream)
		require.NoError(t, err)
		c.Begin(stream, first)
		require.NoError(t, l.Entries(t.Context(), stream, 0, func(seq uint64, line []byte) error {
			return c.Entry(context.Background(), stream, seq, line)
		}))
	}
	require.NoError(t, c.Finish(t.Context()))
	return found
}

var _ index.Ledger = (*indextest.Ledger)(nil)

// What is erased is not left in the file, nor in the log beside it.
func TestErasedIsGoneFromTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.db")
	s, err := Open(t.Context(), path)
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	l, log := indextest.NewLedger(), indextest.NewLedger()
	for i := range 50 {
		l.Append("a", indextest.Record(i))
	}
	indextest.Apply(t, s, l)
	left := func(seq int) bool {
		for _, f := range Files(path) {
			b, err := os.ReadFile(f)
			require.NoError(t, err)
			if bytes.Contains(b, pack(l.Line("a", seq))) {
				return true
			}
		}
		return false
	}
	require.True(t, left(7))
	indextest.AppendErasure(log, "admin", 7)
	require.NoError(t, (&index.Follower{Ledger: l, Store: s, Erasures: log}).CatchUp(t.Context()))
	require.False(t, left(7))
	require.True(t, left(8))
}
