package keystore

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/claudeaudit/claudeaudit/internal/bucket"
	"github.com/claudeaudit/claudeaudit/internal/kms/kmstest"
	"github.com/claudeaudit/claudeaudit/internal/seal"
)

// Keys wrapped to a key in a service and to a recovery key in a file: writing
// asks the service nothing, each of the two opens, and destroying takes both.
func TestKeyInAService(t *testing.T) {
	ctx := t.Context()
	d := kmstest.NewGCP(t)
	dir := t.TempDir()
	id, err := seal.OpenServiceIdentity(ctx, d.DecryptingRef)
	require.NoError(t, err)
	require.NoError(t, seal.WriteServiceIdentity(id, filepath.Join(dir, "content.identity"), filepath.Join(dir, "content.pub")))
	require.NoError(t, id.Close())
	public, err := seal.LoadWrapper(filepath.Join(dir, "content.pub"))
	require.NoError(t, err)
	require.Equal(t, id.KeyID(), public.KeyID())

	recovery := newIdentity(t)
	store := bucket.NewLocal(filepath.Join(dir, "keys"))
	asked := d.Calls()
	key, err := NewWriter(store, public, recovery.Recipient()).For(ctx, "user:alice")
	require.NoError(t, err)
	require.Equal(t, asked, d.Calls(), "the writer needs no right in the service")
	sealed, err := key.Seal([]byte("hello"), []byte("event"))
	require.NoError(t, err)

	reader, err := seal.OpenIdentity(ctx, filepath.Join(dir, "content.identity"))
	require.NoError(t, err)
	defer func() { require.NoError(t, reader.(*seal.ServiceIdentity).Close()) }()
	ring := NewRing(store, reader)
	for range 3 {
		got, err := ring.Open(ctx, sealed, []byte("event"))
		require.NoError(t, err)
		require.Equal(t, "hello", string(got))
	}
	require.Equal(t, asked+2, d.Calls(), "the public key once, and the subject's key once")
	got, err := NewRing(store, recovery).Open(ctx, sealed, []byte("event"))
	require.NoError(t, err)
	require.Equal(t, "hello", string(got))

	// Another subject's wrapped key under this one's name is told.
	other, err := NewWriter(store, public).For(ctx, "user:bob")
	require.NoError(t, err)
	p, err := path(key.KeyID())
	require.NoError(t, err)
	q, err := path(other.KeyID())
	require.NoError(t, err)
	file := func(key string) string { return filepath.Join(dir, "keys", filepath.FromSlash(key)) }
	mine, err := os.ReadFile(file(p))
	require.NoError(t, err)
	theirs, err := os.ReadFile(file(q))
	require.NoError(t, err)
	swapped := []byte(replaceOnce(t, string(theirs), other.KeyID(), key.KeyID()))
	require.NoError(t, os.Chmod(file(p), 0o600))
	require.NoError(t, os.WriteFile(file(p), swapped, 0o600))
	_, err = NewRing(store, reader).Open(ctx, sealed, []byte("event"))
	require.ErrorContains(t, err, "its file holds another key")
	require.NoError(t, os.WriteFile(file(p), []byte(replaceOnce(t, string(mine), `"way":"rsa-oaep-sha256"`, `"way":"rot13"`)), 0o600))
	_, err = NewRing(store, reader).Open(ctx, sealed, []byte("event"))
	require.ErrorIs(t, err, seal.ErrFormat)

	require.NoError(t, Destroy(ctx, store, key.KeyID()))
	for _, id := range []seal.Unwrapper{reader, recovery} {
		_, err = NewRing(store, id).Open(ctx, sealed, []byte("event"))
		require.ErrorIs(t, err, ErrDestroyed)
	}
}

func replaceOnce(t *testing.T, s, old, with string) string {
	t.Helper()
	require.Equal(t, 1, strings.Count(s, old))
	return strings.Replace(s, old, with, 1)
}
