package buckettest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/claudeaudit/claudeaudit/internal/bucket"
)

// Conformance is the suite that every store passes. open gives an empty store.
func Conformance(t *testing.T, open func(t *testing.T) bucket.Store) {
	t.Run("put and get", func(t *testing.T) { testPutGet(t, open(t)) })
	t.Run("list", func(t *testing.T) { testList(t, open(t)) })
	t.Run("one of many wins", func(t *testing.T) { testRace(t, open(t)) })
	t.Run("retention", func(t *testing.T) { testRetention(t, open(t)) })
	t.Run("legal hold", func(t *testing.T) { testHold(t, open(t)) })
	t.Run("probe", func(t *testing.T) { testProbe(t, open(t)) })
}

func testPutGet(t *testing.T, s bucket.Store) {
	ctx := t.Context()
	body := []byte("body")
	require.NoError(t, s.Put(ctx, "v1/a/b", body, bucket.PutOptions{ContentType: "text/plain"}))
	require.NoError(t, s.Put(ctx, "v1/a/b", body, bucket.PutOptions{ContentType: "text/plain"}), "the same again")
	require.ErrorIs(t, s.Put(ctx, "v1/a/b", []byte("Body"), bucket.PutOptions{}), bucket.ErrExists)
	require.ErrorIs(t, s.Put(ctx, "v1/a/b", []byte("body longer"), bucket.PutOptions{}), bucket.ErrExists)
	require.NoError(t, s.Put(ctx, "v1/a/empty", nil, bucket.PutOptions{}))

	b, err := s.Get(ctx, "v1/a/b", 10)
	require.NoError(t, err)
	require.Equal(t, "body", string(b))
	_, err = s.Get(ctx, "v1/a/b", 3)
	require.ErrorContains(t, err, "than 3")
	_, err = s.Get(ctx, "v1/none", 3)
	require.ErrorIs(t, err, bucket.ErrNotFound)
	b, err = s.Get(ctx, "v1/a/empty", 10)
	require.NoError(t, err)
	require.Empty(t, b)

	b, err = s.GetRange(ctx, "v1/a/b", 1, 2)
	require.NoError(t, err)
	require.Equal(t, "od", string(b))
	b, err = s.GetRange(ctx, "v1/a/b", 0, 4)
	require.NoError(t, err)
	require.Equal(t, "body", string(b))
	b, err = s.GetRange(ctx, "v1/a/b", 4, 0)
	require.NoError(t, err)
	require.Empty(t, b)
	for _, r := range [][2]int64{{0, 5}, {5, 0}, {-1, 2}, {1, -1}, {4, 1}, {1, 1 << 62}} {
		_, err = s.GetRange(ctx, "v1/a/b", r[0], r[1])
		require.ErrorIs(t, err, io.ErrUnexpectedEOF, "%v", r)
	}
	_, err = s.GetRange(ctx, "v1/none", 0, 1)
	require.ErrorIs(t, err, bucket.ErrNotFound)

	info, err := s.Stat(ctx, "v1/a/b")
	require.NoError(t, err)
	require.Equal(t, bucket.ObjectInfo{Key: "v1/a/b", Size: 4}, info)
	_, err = s.Stat(ctx, "v1/none")
	require.ErrorIs(t, err, bucket.ErrNotFound)

	for _, key := range []string{"", ".", "/a", "a/", "a//b", "../a", "a/../b", `a\b`, "a\x00"} {
		require.Error(t, s.Put(ctx, key, nil, bucket.PutOptions{}), "%q", key)
		_, err := s.Get(ctx, key, 1)
		require.Error(t, err, "%q", key)
		require.Error(t, s.Delete(ctx, key), "%q", key)
	}
	big := make([]byte, 5<<20)
	for i := range big {
		big[i] = byte(i * i >> 8)
	}
	require.NoError(t, s.Put(ctx, "v1/big", big, bucket.PutOptions{}))
	b, err = s.Get(ctx, "v1/big", int64(len(big)))
	require.NoError(t, err)
	require.Equal(t, big, b)

	require.NoError(t, s.Delete(ctx, "v1/big"))
	require.NoError(t, s.Delete(ctx, "v1/big"), "it is gone already")
	_, err = s.Stat(ctx, "v1/big")
	require.ErrorIs(t, err, bucket.ErrNotFound)

	done, cancel := context.WithCancel(ctx)
	cancel()
	require.ErrorIs(t, s.Put(done, "v1/x", nil, bucket.PutOptions{}), context.Canceled)
}

func testList(t *testing.T, s bucket.Store) {
	ctx := t.Context()
	want := []string{"a", "b-b", "b.b", "b/a", "b/b-c", "b/b/c", "b/b0", "b0/x", "c"}
	for _, k := range want {
		require.NoError(t, s.Put(ctx, k, []byte(k), bucket.PutOptions{}))
	}
	list := func(prefix, after string) (got []string) {
		require.NoError(t, s.List(ctx, prefix, after, func(o bucket.ObjectInfo) error {
			require.Equal(t, int64(len(o.Key)), o.Size)
			require.Zero(t, o.Overwritten)
			got = append(got, o.Key)
			return nil
		}))
		return got
	}
	require.Equal(t, want, list("", ""))
	for i, k := range want {
		require.Equal(t, append([]string(nil), want[i+1:]...), list("", k), "after %s", k)
	}
	require.Equal(t, []string{"b/a", "b/b-c", "b/b/c", "b/b0"}, list("b/", ""))
	require.Equal(t, []string{"b/b-c", "b/b/c", "b/b0"}, list("b/", "b/a"))
	require.Equal(t, []string{"b/b0"}, list("b/", "b/b/d"))
	require.Empty(t, list("none/", ""))
	require.Error(t, s.List(ctx, "../", "", nil))
	require.ErrorIs(t, s.List(ctx, "", "", func(bucket.ObjectInfo) error { return io.ErrClosedPipe }), io.ErrClosedPipe)
}

func testRace(t *testing.T, s bucket.Store) {
	const writers = 16
	errs := make([]error, writers)
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			errs[i] = s.Put(t.Context(), "v1/race", fmt.Appendf(nil, "writer %2d", i), bucket.PutOptions{})
		})
	}
	wg.Wait()
	winner := -1
	for i, err := range errs {
		if err == nil {
			require.Equal(t, -1, winner, "two writers won")
			winner = i
		}
	}
	require.GreaterOrEqual(t, winner, 0, "nobody won: %v", errors.Join(errs...))
	got, err := s.Get(t.Context(), "v1/race", 100)
	require.NoError(t, err)
	require.Equal(t, fmt.Sprintf("writer %2d", winner), string(got))
}

func testRetention(t *testing.T, s bucket.Store) {
	ctx := t.Context()
	until := time.Now().Add(time.Hour)
	opts := bucket.PutOptions{RetainUntil: until}
	require.NoError(t, s.Put(ctx, "v1/kept", []byte("1"), opts))
	l, err := s.Lock(ctx, "v1/kept")
	require.NoError(t, err)
	require.False(t, l.RetainUntil.Before(until))
	require.Less(t, l.RetainUntil.Sub(until), 2*time.Second)
	require.NotEmpty(t, l.Mode)
	require.False(t, l.Hold)
	require.ErrorIs(t, s.Delete(ctx, "v1/kept"), bucket.ErrLocked)
	require.ErrorIs(t, s.Put(ctx, "v1/kept", []byte("2"), opts), bucket.ErrExists)
	got, err := s.Get(ctx, "v1/kept", 10)
	require.NoError(t, err)
	require.Equal(t, "1", string(got))

	// Longer on a put of the same, or when asked; never shorter.
	later := until.Add(time.Hour)
	require.NoError(t, s.Put(ctx, "v1/kept", []byte("1"), bucket.PutOptions{RetainUntil: later}))
	l, err = s.Lock(ctx, "v1/kept")
	require.NoError(t, err)
	require.False(t, l.RetainUntil.Before(later), "a put of the same with a longer retention extends it")
	later = later.Add(time.Hour)
	require.NoError(t, s.Extend(ctx, "v1/kept", later))
	require.NoError(t, s.Extend(ctx, "v1/kept", until))
	require.NoError(t, s.Put(ctx, "v1/kept", []byte("1"), opts))
	l, err = s.Lock(ctx, "v1/kept")
	require.NoError(t, err)
	require.False(t, l.RetainUntil.Before(later))

	require.NoError(t, s.Put(ctx, "v1/short", []byte("1"), bucket.PutOptions{RetainUntil: time.Now().Add(2 * time.Second)}))
	require.ErrorIs(t, s.Delete(ctx, "v1/short"), bucket.ErrLocked)
	require.Eventually(t, func() bool { return s.Delete(ctx, "v1/short") == nil }, 10*time.Second, 200*time.Millisecond)
	_, err = s.Stat(ctx, "v1/short")
	require.ErrorIs(t, err, bucket.ErrNotFound)

	require.NoError(t, s.Put(ctx, "v1/free", []byte("1"), bucket.PutOptions{}))
	l, err = s.Lock(ctx, "v1/free")
	require.NoError(t, err)
	require.Zero(t, l)
	require.NoError(t, s.Put(ctx, "v1/free", []byte("1"), opts), "a store killed between writing and locking left it like this")
	l, err = s.Lock(ctx, "v1/free")
	require.NoError(t, err)
	require.False(t, l.RetainUntil.Before(until))
	require.NotEmpty(t, l.Mode)
	require.ErrorIs(t, s.Delete(ctx, "v1/free"), bucket.ErrLocked)
	_, err = s.Lock(ctx, "v1/none")
	require.ErrorIs(t, err, bucket.ErrNotFound)
}

func testHold(t *testing.T, s bucket.Store) {
	ctx := t.Context()
	require.NoError(t, s.Put(ctx, "v1/held", []byte("1"), bucket.PutOptions{Hold: true}))
	l, err := s.Lock(ctx, "v1/held")
	require.NoError(t, err)
	require.Equal(t, bucket.Lock{Hold: true}, l)
	require.ErrorIs(t, s.Delete(ctx, "v1/held"), bucket.ErrLocked)
	require.ErrorIs(t, s.SetHold(ctx, "v1/absent", true), bucket.ErrNotFound)
	require.NoError(t, s.SetHold(ctx, "v1/held", false))
	require.NoError(t, s.SetHold(ctx, "v1/held", true))
	require.ErrorIs(t, s.Delete(ctx, "v1/held"), bucket.ErrLocked)
	require.NoError(t, s.SetHold(ctx, "v1/held", false))
	require.NoError(t, s.Delete(ctx, "v1/held"))

	// Both: each holds by itself.
	require.NoError(t, s.Put(ctx, "v1/both", []byte("1"), bucket.PutOptions{Hold: true, RetainUntil: time.Now().Add(time.Hour)}))
	require.NoError(t, s.SetHold(ctx, "v1/both", false))
	require.ErrorIs(t, s.Delete(ctx, "v1/both"), bucket.ErrLocked)
}

func testProbe(t *testing.T, s bucket.Store) {
	r, err := bucket.Probe(t.Context(), s)
	require.NoError(t, err)
	require.Equal(t, s.URL(), r.Store)
	if r.Settings.Lock == bucket.None {
		require.Empty(t, r.Key)
		return
	}
	require.Equal(t, bucket.Enabled, r.Settings.Lock)
	require.True(t, r.MayRead)
	require.True(t, r.MayList)
	require.True(t, r.MayDelete)
	require.NotEmpty(t, r.Mode)
	require.ErrorIs(t, s.Delete(t.Context(), r.Key), bucket.ErrLocked, "what it put is locked")
}
