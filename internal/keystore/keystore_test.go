package keystore

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/claudeaudit/claudeaudit/internal/bucket"
	"github.com/claudeaudit/claudeaudit/internal/seal"
)

func newIdentity(t *testing.T) *seal.Identity {
	t.Helper()
	id, err := seal.GenerateIdentity()
	require.NoError(t, err)
	return id
}

func TestKeys(t *testing.T) {
	ctx := t.Context()
	folder := filepath.Join(t.TempDir(), "keys")
	store := bucket.NewLocal(folder)
	reader, recovery, stranger := newIdentity(t), newIdentity(t), newIdentity(t)
	w := NewWriter(store, reader.Recipient(), recovery.Recipient())
	now := time.Date(2026, 11, 24, 23, 0, 0, 0, time.UTC)
	w.now = func() time.Time { return now }
	alice, err := w.For(ctx, "user:alice")
	require.NoError(t, err)
	again, err := w.For(ctx, "user:alice")
	require.NoError(t, err)
	require.Equal(t, alice.KeyID(), again.KeyID(), "one a day")
	bob, err := w.For(ctx, "user:bob")
	require.NoError(t, err)
	require.NotEqual(t, alice.KeyID(), bob.KeyID())
	now = now.Add(2 * time.Hour)
	tomorrow, err := w.For(ctx, "user:alice")
	require.NoError(t, err)
	require.NotEqual(t, alice.KeyID(), tomorrow.KeyID())
	// A collector that was started anew makes a new one: it can't read its old ones.
	other, err := NewWriter(store, reader.Recipient()).For(ctx, "user:alice")
	require.NoError(t, err)
	require.NotEqual(t, tomorrow.KeyID(), other.KeyID())

	aad := []byte("event")
	sealed, err := alice.Seal([]byte("hello"), aad)
	require.NoError(t, err)
	direct, err := reader.Recipient().Seal([]byte("hello"), aad)
	require.NoError(t, err)
	for name, id := range map[string]*seal.Identity{"reader": reader, "recovery": recovery} {
		for range 2 { // the second time from memory
			got, err := NewRing(store, stranger, id).Open(ctx, sealed, aad)
			require.NoError(t, err, name)
			require.Equal(t, "hello", string(got))
		}
	}
	got, err := NewRing(nil, reader).Open(ctx, direct, aad)
	require.NoError(t, err)
	require.Equal(t, "hello", string(got))
	_, err = NewRing(nil, reader).Open(ctx, sealed, aad)
	require.ErrorIs(t, err, seal.ErrWrongKey)
	_, err = NewRing(store, stranger).Open(ctx, sealed, aad)
	require.ErrorIs(t, err, seal.ErrWrongKey)
	_, err = NewRing(store, reader).Open(ctx, sealed, []byte("another event"))
	require.ErrorIs(t, err, seal.ErrOpen)
	_, err = NewRing(store, reader).Open(ctx, []byte("x"), aad)
	require.ErrorIs(t, err, seal.ErrFormat)

	// No private key lies anywhere in clear.
	require.NoError(t, filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		require.NotContains(t, string(b), "claudeaudit-content-identity")
		return err
	}))

	there, err := Has(ctx, store, alice.KeyID())
	require.NoError(t, err)
	require.True(t, there)
	require.NoError(t, Destroy(ctx, store, alice.KeyID()))
	require.NoError(t, Destroy(ctx, store, alice.KeyID()))
	there, err = Has(ctx, store, alice.KeyID())
	require.NoError(t, err)
	require.False(t, there)
	_, err = NewRing(store, reader, recovery).Open(ctx, sealed, aad)
	require.ErrorIs(t, err, ErrDestroyed)
	for _, bad := range []string{"", "../../../etc/passw", strings.Repeat("G", 16), strings.Repeat("a", 17)} {
		require.Error(t, Destroy(ctx, store, bad))
	}
}

func TestDamagedKeyFiles(t *testing.T) {
	ctx := t.Context()
	folder := t.TempDir()
	store := bucket.NewLocal(folder)
	reader := newIdentity(t)
	key, err := NewWriter(store, reader.Recipient()).For(ctx, "user:alice")
	require.NoError(t, err)
	sealed, err := key.Seal([]byte("hello"), nil)
	require.NoError(t, err)
	p, err := path(key.KeyID())
	require.NoError(t, err)
	name := filepath.Join(folder, filepath.FromSlash(p))
	whole, err := os.ReadFile(name)
	require.NoError(t, err)
	require.NoError(t, os.Chmod(name, 0o600))
	for i := range whole {
		b := append([]byte(nil), whole...)
		b[i] ^= 1
		require.NoError(t, os.WriteFile(name, b, 0o600))
		if got, err := NewRing(store, reader).Open(ctx, sealed, nil); err == nil {
			require.Equal(t, "hello", string(got))
			day := strings.Index(string(whole), `"day":`)
			require.True(t, i >= day && i < day+len(`"day":"2026-11-24"`), "only the day is not needed to open: %d", i)
		}
	}
}

func TestOneKeyForAllCallers(t *testing.T) {
	w := NewWriter(bucket.NewLocal(t.TempDir()), newIdentity(t).Recipient())
	ids := make([]string, 32)
	var wg sync.WaitGroup
	for i := range ids {
		wg.Go(func() {
			if key, err := w.For(t.Context(), "user:alice"); err == nil {
				ids[i] = key.KeyID()
			}
		})
	}
	wg.Wait()
	for _, id := range ids {
		require.Equal(t, ids[0], id)
	}
	require.NotEmpty(t, ids[0])
}
