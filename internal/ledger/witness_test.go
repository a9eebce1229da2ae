package ledger

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestFileWitness(t *testing.T) {
	path := filepath.Join(t.TempDir(), "w", "checkpoints")
	k := newKey(t, "test")
	note := func(origin string, size uint64, root byte) []byte {
		msg, err := signCheckpoint(t.Context(), Checkpoint{Origin: origin, Size: size, Root: Hash{root}}, k.signer)
		require.NoError(t, err)
		return msg
	}
	w, err := NewFileWitness(path)
	require.NoError(t, err)
	ctx := t.Context()
	last := func(w *FileWitness, origin string) uint64 {
		n, err := w.Last(ctx, origin)
		require.NoError(t, err)
		return n
	}
	require.Zero(t, last(w, "a/1"))
	require.NoError(t, w.add(note("a/1", 5, 1)))
	require.NoError(t, w.add(note("a/1", 5, 1)), "the newest again")
	require.ErrorIs(t, w.add(note("a/1", 5, 2)), ErrStale)
	require.ErrorIs(t, w.add(note("a/1", 4, 1)), ErrStale)
	require.NoError(t, w.add(note("b/1", 3, 1)))
	require.NoError(t, w.add(note("a/1", 6, 1)))
	require.Error(t, w.add([]byte("no note")))
	require.Error(t, w.add([]byte("a\nb\nc\n\n— x y\n")))
	require.NoError(t, w.Close())
	whole, err := os.ReadFile(path)
	require.NoError(t, err)

	// Whatever a crash leaves of the last note is cut off, the others stay.
	for n := len(whole); n > len(whole)-200; n-- {
		require.NoError(t, os.WriteFile(path, whole[:n], 0o600))
		w, err := NewFileWitness(path)
		require.NoError(t, err)
		require.Equal(t, uint64(3), last(w, "b/1"))
		want := uint64(5)
		if n == len(whole) {
			want = 6
		}
		require.Equal(t, want, last(w, "a/1"), "cut at %d", n)
		require.NoError(t, w.add(note("a/1", 6, 1)))
		require.NoError(t, w.Close())
		got, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, whole, got)
		if n < len(whole)-150 {
			break
		}
	}
}
