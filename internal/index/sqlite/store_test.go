package sqlite

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/claudeaudit/claudeaudit/internal/index"
	"github.com/claudeaudit/claudeaudit/internal/index/indextest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConformance(t *testing.T) {
	indextest.Run(t, func(t *testing.T) index.Store {
		s, err := Open(t.Context(), filepath.Join(t.TempDir(), "audit.db"))
		require.NoError(t, err)
		return s
	}, func(t *testing.T, s index.Store, l *indextest.Ledger, erased *index.Erased) []string {
		return checkErased(t, s.(*Store), l, erased)
	})
}

func TestOpen(t *testing.T) {
	for _, name := range []string{"audit.db", "a b.db", "100%.db", "what?#&=.db", "ä.db"} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), name)
			_, err := OpenReader(t.Context(), path)
			require.ErrorIs(t, err, index.ErrNoIndex)
			s, err := Open(t.Context(), path)
			require.NoError(t, err)
			_, err = Open(t.Context(), path)
			require.ErrorIs(t, err, index.ErrLocked)

			l := indextest.NewLedger()
			l.Append("a", indextest.Record(1))
			indextest.Apply(t, s, l)
			// Another process reads while this one writes, and after it.
			r, err := OpenReader(t.Context(), path)
			require.NoError(t, err)
			require.Equal(t, []int{1}, indextest.IDs(t, r, index.Query{}))
			l.Append("a", indextest.Record(2))
			indextest.Apply(t, s, l)
			require.Equal(t, []int{2, 1}, indextest.IDs(t, r, index.Query{}))
			require.NoError(t, s.Close())
			require.Equal(t, []int{2, 1}, indextest.IDs(t, r, index.Query{}))
			require.NoError(t, r.Close())

			st, err := os.Stat(path)
			require.NoError(t, err)
			require.Equal(t, os.FileMode(0o600), st.Mode().Perm())

			s, err = Open(t.Context(), path)
			require.NoError(t, err)
			l.Append("a", indextest.Record(3))
			indextest.Apply(t, s, l)
			require.Equal(t, []int{3, 2, 1}, indextest.IDs(t, s, index.Query{}))
			require.NoError(t, s.Close())
			r, err = OpenReader(t.Context(), path)
			require.NoError(t, err)
			require.Equal(t, []int{3, 2, 1}, indextest.IDs(t, r, index.Query{}))
			require.NoError(t, r.Close())
			require.NoError(t, Remove(path))
			require.NoFileExists(t, path)
		})
	}
}

func TestOpenRefuses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.db")
	s, err := Open(t.Context(), path)
	require.NoError(t, err)
	_, err = s.conn.ExecContext(t.Context(), fmt.Sprintf("PRAGMA user_version = %d", SchemaVersion+1))
	require.NoError(t, err)
	require.NoError(t, s.Close())
	_, err = OpenReader(t.Context(), path)
	require.ErrorIs(t, err, index.ErrSchema)
	require.ErrorContains(t, err, "claudeaudit reindex")
	_, err = Open(t.Context(), path)
	require.ErrorIs(t, err, index.ErrSchema)

	s, rebuilt, err := OpenOrRebuild(t.Context(), path)
	require.NoError(t, err)
	require.ErrorIs(t, rebuilt, index.ErrSchema)
	l := indextest.NewLedger()
	for i := range 1000 {
		l.Append("a", indextest.Record(i))
	}
	indextest.Apply(t, s, l)
	require.NoError(t, s.Close())

	// Damaged inside.
	whole, err := os.ReadFile(path)
	require.NoError(t, err)
	for i := 100; i < len(whole); i++ {
		whole[i] = 0xff
	}
	require.NoError(t, os.WriteFile(path, whole, 0o600))
	_, err = OpenReader(t.Context(), path)
	require.ErrorIs(t, err, index.ErrCorrupt)
	_, err = Open(t.Context(), path)
	require.ErrorIs(t, err, index.ErrCorrupt)
	s, rebuilt, err = OpenOrRebuild(t.Context(), path)
	require.NoError(t, err)
	require.ErrorIs(t, rebuilt, index.ErrCorrupt)
	require.Empty(t, indextest.IDs(t, s, index.Query{}))
	_, err = s.conn.ExecContext(t.Context(), "PRAGMA application_id = 1")
	require.NoError(t, err)
	require.NoError(t, s.Close())

	// Not ours: refused, and left as it is.
	text := filepath.Join(t.TempDir(), "text.db")
	require.NoError(t, os.WriteFile(text, []byte("this is no database, whatever its name may say"), 0o600))
	for _, name := range []string{path, text} {
		before, err := os.ReadFile(name)
		require.NoError(t, err)
		_, err = OpenReader(t.Context(), name)
		require.ErrorIs(t, err, index.ErrForeign)
		_, _, err = OpenOrRebuild(t.Context(), name)
		require.ErrorIs(t, err, index.ErrForeign)
		require.ErrorIs(t, Remove(name), index.ErrForeign)
		after, err := os.ReadFile(name)
		require.NoError(t, err)
		require.Equal(t, before, after)
	}

	empty := filepath.Join(t.TempDir(), "empty.db")
	require.NoError(t, os.WriteFile(empty, nil, 0o600))
	_, err = OpenReader(t.Context(), empty)
	require.ErrorIs(t, err, index.ErrNoIndex)
	_, err = Open(t.Context(), filepath.Join(t.TempDir(), "no", "such", "folder.db"))
	require.Error(t, err)
}

// A reader that may not write beside the file reads it all the same, once the
// writer has closed it.
func TestReadOnlyFolder(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("root may write everywhere")
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "audit.db")
	s, err := Open(t.Context(), path)
	require.NoError(t, err)
	l := indextest.NewLedger()
	l.Append("a", indextest.Record(1))
	indextest.Apply(t, s, l)
	require.NoError(t, s.Close())
	require.NoError(t, os.Chmod(dir, 0o500))
	defer func() { require.NoError(t, os.Chmod(dir, 0o700)) }()
	r, err := OpenReader(t.Context(), path)
	require.NoError(t, err)
	require.Equal(t, []int{1}, indextest.IDs(t, r, index.Query{}))
	require.NoError(t, r.Close())
}

// An interrupted removal of a stream is finished, and until then nobody relies
// on the stream's cursor.
func TestDropStreamInterrupted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.db")
	s, err := Open(t.Context(), path)
	require.NoError(t, err)
	l := indextest.NewLedger()
	for i := range 2 * chunk {
		l.Append("a", indextest.Record(i))
	}
	l.Append("b", indextest.Record(5000))
	require.NoError(t, (&index.Follower{Ledger: l, Store: s}).CatchUp(t.Context()))
	want := indextest.IDs(t, s, index.Query{Limit: 1000})
	done, err := s.dropSome(t.Context(), "a")
	require.NoError(t, err)
	require.False(t, done)
	require.NoError(t, s.Close())

	s, err = Open(t.Context(), path)
	require.NoError(t, err)
	cursors, err := s.Cursors(t.Context())
	require.NoError(t, err)
	require.Len(t, cursors, 1)
	require.NoError(t, (&index.Follower{Ledger: l, Store: s}).CatchUp(t.Context()))
	require.Equal(t, want, indextest.IDs(t, s, index.Query{Limit: 1000}))
	require.NoError(t, s.Close())
}

// What queries go along is chosen by planFor; the planner must be able to.
func TestPlans(t *testing.T) {
	s, err := Open(t.Context(), filepath.Join(t.TempDir(), "audit.db"))
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	for _, q := range []index.Query{
		{},
		{User: "u"},
		{Session: "s"},
		{Application: "a"},
		{Classification: "c"},
		{Flag: "f"},
		{Status: "error"},
		{Status: "success"},
		{Kind: "access"},
		{Kind: index.KindAll},
		{Model: "m"},
		{User: "u", Session: "s", Application: "a", Model: "m", Classification: "c", Flag: "f", Status: "error", Kind: "access"},
	} {
		for _, order := range []index.Order{index.NewestFirst, index.OldestFirst} {
			q.Order = order
			q.After = index.Position{Time: indextest.Day}.String()
			_, err := s.Search(t.Context(), q)
			require.NoError(t, err)
		}
	}
}

func FuzzUnpack(f *testing.F) {
	f.Add([]byte(`{"_log":"a"}`))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0x0f})
	f.Add(pack(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		if line, err := unpack(b); err != nil {
			require.ErrorIs(t, err, index.ErrCorrupt)
		} else {
			require.LessOrEqual(t, len(line), maxLine)
		}
		got, err := unpack(pack(b))
		require.NoError(t, err)
		require.Equal(t, string(b), string(got))
	})
}
