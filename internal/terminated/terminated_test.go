package terminated

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestSessions(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "terminated")
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	found, err := List(dir, now)
	require.NoError(t, err)
	require.Empty(t, found)
	s, err := Open(dir, time.Hour)
	require.NoError(t, err)
	require.ErrorIs(t, s.Terminate("", "r", now), ErrNoSession)
	require.NoError(t, s.Terminate("s-2", "attacks", now.Add(time.Minute)))
	require.NoError(t, s.Terminate("../s-1", "attacks", now))

	until, rule := s.Until("../s-1", now)
	require.Equal(t, now.Add(time.Hour), until)
	require.Equal(t, "attacks", rule)
	until, _ = s.Until("s-3", now)
	require.Zero(t, until)
	found, err = List(dir, now)
	require.NoError(t, err)
	require.Len(t, found, 2)
	require.Equal(t, Session{Session: "../s-1", Rule: "attacks", Since: now, Until: now.Add(time.Hour)}, found[0])

	_, err = Find(dir, "s-3", now)
	require.ErrorIs(t, err, ErrNotTerminated)
	got, err := Find(dir, "../s-1", now)
	require.NoError(t, err)
	require.Equal(t, found[0], got)
	require.NoError(t, Lift(dir, "../s-1"))
	require.ErrorIs(t, Lift(dir, "../s-1"), ErrNotTerminated)
	until, _ = s.Until("../s-1", now)
	require.Zero(t, until)

	later := now.Add(2 * time.Hour)
	found, err = List(dir, later)
	require.NoError(t, err)
	require.Empty(t, found, "it has expired")
	_, err = Find(dir, "s-2", later)
	require.ErrorIs(t, err, ErrNotTerminated)
	until, _ = s.Until("s-2", later)
	require.Zero(t, until)
}

// Whoever can break a file is not let in by it; and it can be lifted.
func TestBrokenFile(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir, time.Hour)
	require.NoError(t, err)
	now := time.Now()
	require.NoError(t, s.Terminate("s-1", "attacks", now))
	require.NoError(t, os.WriteFile(path(dir, "s-1"), []byte("{"), 0o600))
	until, _ := s.Until("s-1", now)
	require.Equal(t, now.Add(time.Hour), until)
	_, err = List(dir, now)
	require.Error(t, err)
	_, err = Find(dir, "s-1", now)
	require.NoError(t, err)
	require.NoError(t, Lift(dir, "s-1"))
}
