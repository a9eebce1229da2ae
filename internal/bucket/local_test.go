package bucket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestLocal(t *testing.T) {
	s := NewLocal(filepath.Join(t.TempDir(), "store"))
	ctx := t.Context()
	require.NoError(t, s.List(ctx, "", "", func(ObjectInfo) error { return errors.New("nothing is there") }))
	require.NoError(t, s.Put(ctx, "v1/a/b", []byte("body"), PutOptions{}))
	require.NoError(t, s.Put(ctx, "v1/a/b", []byte("body"), PutOptions{}), "the same again")
	require.ErrorIs(t, s.Put(ctx, "v1/a/b", []byte("other"), PutOptions{}), ErrExists)
	require.ErrorIs(t, s.Put(ctx, "v1/a/b", []byte("body longer"), PutOptions{}), ErrExists)
	st, err := os.Stat(filepath.Join(s.Root(), "v1/a/b"))
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o444), st.Mode().Perm())

	b, err := s.Get(ctx, "v1/a/b", 10)
	require.NoError(t, err)
	require.Equal(t, "body", string(b))
	_, err = s.Get(ctx, "v1/a/b", 3)
	require.ErrorContains(t, err, "object has 4 bytes, more than 3")
	_, err = s.Get(ctx, "v1/none", 3)
	require.ErrorIs(t, err, ErrNotFound)
	b, err = s.GetRange(ctx, "v1/a/b", 1, 2)
	require.NoError(t, err)
	require.Equal(t, "od", string(b))
	for _, r := range [][2]int64{{0, 5}, {5, 0}, {-1, 2}, {1, -1}, {4, 1}, {1, 1 << 62}} {
		_, err = s.GetRange(ctx, "v1/a/b", r[0], r[1])
		require.ErrorIs(t, err, io.ErrUnexpectedEOF, "%v", r)
	}
	info, err := s.Stat(ctx, "v1/a/b")
	require.NoError(t, err)
	require.Equal(t, ObjectInfo{Key: "v1/a/b", Size: 4}, info)
	_, err = s.Stat(ctx, "v1/none")
	require.ErrorIs(t, err, ErrNotFound)

	for _, key := range []string{"", ".", "/a", "a/", "a//b", "../a", "a/../b", `a\b`, "a\x00"} {
		require.Error(t, s.Put(ctx, key, nil, PutOptions{}), "%q", key)
		_, err := s.Get(ctx, key, 1)
		require.Error(t, err, "%q", key)
	}
	done, cancel := context.WithCancel(ctx)
	cancel()
	require.ErrorIs(t, s.Put(done, "v1/x", nil, PutOptions{}), context.Canceled)
}

func TestLocalListsInTheOrderOfKeys(t *testing.T) {
	s := NewLocal(t.TempDir())
	want := []string{"a", "a-b", "a.b", "b/a", "b/b/c", "b0/x", "c"}
	for _, k := range want {
		require.NoError(t, s.Put(t.Context(), k, nil, PutOptions{}))
	}
	list := func(prefix, after string) (got []string) {
		require.NoError(t, s.List(t.Context(), prefix, after, func(o ObjectInfo) error { got = append(got, o.Key); return nil }))
		return got
	}
	require.Equal(t, want, list("", ""))
	for i, k := range want {
		require.Equal(t, append([]string(nil), want[i+1:]...), list("", k), "after %s", k)
	}
	require.Equal(t, []string{"b/a", "b/b/c"}, list("b/", ""))
	require.Equal(t, []string{"b/b/c"}, list("b/", "b/a"))
	require.Error(t, s.List(t.Context(), "../", "", nil))
	require.ErrorIs(t, s.List(t.Context(), "", "", func(ObjectInfo) error { return io.ErrClosedPipe }), io.ErrClosedPipe)
}

func TestLocalRemovesWhatACrashLeft(t *testing.T) {
	root := t.TempDir()
	tmp := filepath.Join(root, tempDir)
	require.NoError(t, os.MkdirAll(tmp, 0o700))
	for name, age := range map[string]time.Duration{"old": 2 * staleTemp, "new": 0} {
		path := filepath.Join(tmp, name)
		require.NoError(t, os.WriteFile(path, nil, 0o600))
		at := time.Now().Add(-age)
		require.NoError(t, os.Chtimes(path, at, at))
	}
	require.NoError(t, NewLocal(root).Put(t.Context(), "a", nil, PutOptions{}))
	entries, err := os.ReadDir(tmp)
	require.NoError(t, err)
	require.Len(t, entries, 1)
	require.Equal(t, "new", entries[0].Name())
}

// What is listed while objects are put one after the other, as a ledger's segments are, has no gaps: a folder's entries are in
// no order, so reading them may pass over a file that was made before another one that it has.
func TestListWhilePutting(t *testing.T) {
	s := NewLocal(t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	var putting sync.WaitGroup
	putting.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			// As Put does, but without a sync.
			path := filepath.Join(s.Root(), fmt.Sprintf("seg/hh=%02d/%08d", i/2000, i))
			assert.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
			assert.NoError(t, os.WriteFile(path, nil, 0o600))
		}
	})
	for listed := 0; listed < 10_000; {
		n := 0
		require.NoError(t, s.List(ctx, "seg/", "", func(o ObjectInfo) error {
			if want := fmt.Sprintf("seg/hh=%02d/%08d", n/2000, n); o.Key != want {
				return fmt.Errorf("%s instead of %s", o.Key, want)
			}
			n++
			return nil
		}))
		require.GreaterOrEqual(t, n, listed)
		listed = n
	}
	cancel()
	putting.Wait()
}
