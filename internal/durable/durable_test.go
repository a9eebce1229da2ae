package durable

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestReplace(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "state")
	for _, text := range []string{"first", "", "a longer one"} {
		require.NoError(t, Replace(path, []byte(text)))
		b, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, text, string(b))
	}
	st, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o600), st.Mode())

	t.Run("a name that can't be taken leaves nothing behind", func(t *testing.T) {
		taken := filepath.Join(dir, "folder")
		require.NoError(t, os.MkdirAll(filepath.Join(taken, "full"), 0o700))
		require.Error(t, Replace(taken, []byte("text")))
		require.ErrorIs(t, Replace(filepath.Join(dir, "nowhere", "state"), nil), fs.ErrNotExist)
		left, err := os.ReadDir(dir)
		require.NoError(t, err)
		require.Len(t, left, 2)
	})
}

func TestMkdirAll(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	require.NoError(t, MkdirAll(dir))
	require.NoError(t, MkdirAll(dir))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "file"), nil, 0o600))
	require.ErrorContains(t, MkdirAll(filepath.Join(dir, "file")), "not a folder")
	require.Error(t, MkdirAll(filepath.Join(dir, "file", "below")))
}
