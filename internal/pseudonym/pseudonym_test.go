package pseudonym

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func key(t *testing.T, secret string) *Key {
	k, err := NewKey([]byte(secret))
	require.NoError(t, err)
	return k
}

func TestAddress(t *testing.T) {
	for _, tc := range []struct {
		in   string
		mask Mask
		want string
	}{
		{"198.51.100.23", MaskTruncate, "198.51.100.0"},
		{"198.51.100.23:4711", MaskTruncate, "198.51.100.0"},
		{"2001:db8:1:2:3:4:5:6", MaskTruncate, "2001:db8:1::"},
		{"[2001:db8:1:2::1]:80", MaskTruncate, "2001:db8:1::"},
		{"::ffff:198.51.100.23", MaskTruncate, "198.51.100.0"},
		{"fe80::1%eth0", MaskFull, "fe80::1"},
		{"198.51.100.23", MaskFull, "198.51.100.23"},
		{"198.51.100.23", MaskDrop, ""},
		{"alice's laptop", MaskFull, ""},
		{"", MaskTruncate, ""},
	} {
		got, err := (*Key)(nil).Address(tc.in, tc.mask)
		require.NoError(t, err)
		require.Equal(t, tc.want, got, "%s %s", tc.mask, tc.in)
	}
}

func TestHashedAddress(t *testing.T) {
	k := key(t, strings.Repeat("k", 32))
	a, err := k.Address("198.51.100.23", MaskHash)
	require.NoError(t, err)
	same, err := k.Address("198.51.100.23:80", MaskHash)
	require.NoError(t, err)
	require.Equal(t, a, same)
	other, err := k.Address("198.51.100.24", MaskHash)
	require.NoError(t, err)
	require.NotEqual(t, a, other)
	require.True(t, netip.MustParseAddr(a).IsPrivate(), "stays an address, and no one's")

	_, err = (*Key)(nil).Address("198.51.100.23", MaskHash)
	require.ErrorIs(t, err, errNoKey)
}

func TestUser(t *testing.T) {
	k := key(t, strings.Repeat("k", 32))
	require.Empty(t, k.User(""))
	require.Equal(t, k.User("alice"), k.User("alice"))
	require.NotEqual(t, k.User("alice"), k.User("bob"))
	require.NotEqual(t, k.User("alice"), key(t, strings.Repeat("q", 32)).User("alice"))
	require.NotContains(t, k.User("alice"), "alice")
	require.True(t, strings.HasPrefix(k.User("alice"), Prefix))
}

func TestReadKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	require.NoError(t, os.WriteFile(path, []byte(strings.Repeat("k", 32)+"\n"), 0o600))
	k, err := ReadKey(path)
	require.NoError(t, err)
	require.Equal(t, key(t, strings.Repeat("k", 32)).User("alice"), k.User("alice"), "without the line end")

	require.NoError(t, os.WriteFile(path, []byte("short\n"), 0o600))
	_, err = ReadKey(path)
	require.ErrorIs(t, err, ErrKeyTooShort)
	require.NotContains(t, err.Error(), "short\n")

	require.NoError(t, os.WriteFile(path, make([]byte, maxKeyFile+1), 0o600))
	_, err = ReadKey(path)
	require.ErrorContains(t, err, "more than")

	_, err = ReadKey(filepath.Join(t.TempDir(), "absent"))
	require.ErrorIs(t, err, os.ErrNotExist)
}
