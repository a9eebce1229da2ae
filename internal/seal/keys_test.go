package seal

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"
)

func TestKeyTextRoundTrip(t *testing.T) {
	r, id := newPair(t)
	secret, err := id.Text()
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(secret, identityPrefix))
	require.True(t, strings.HasPrefix(r.String(), publicPrefix))

	id2, err := ParseIdentity(" " + secret + "\n")
	require.NoError(t, err)
	r2, err := ParseRecipient(r.String() + "\r\n")
	require.NoError(t, err)
	c, err := r2.Seal([]byte("x"), nil)
	require.NoError(t, err)
	_, err = id2.Open(c, nil)
	require.NoError(t, err)
}

func TestPrintingAnIdentityKeepsItsSecret(t *testing.T) {
	_, id := newPair(t)
	secret, err := id.Text()
	require.NoError(t, err)
	secret = strings.TrimPrefix(secret, identityPrefix)
	for _, verb := range []string{"%s", "%v", "%+v", "%#v"} {
		require.NotContains(t, fmt.Sprintf(verb, id), secret[:20])
	}
}

func TestParseKeyErrors(t *testing.T) {
	r, id := newPair(t)
	pub := r.String()
	secret, err := id.Text()
	require.NoError(t, err)
	swap := func(s string) string { // another last character
		last := "A"
		if strings.HasSuffix(s, "A") {
			last = "B"
		}
		return s[:len(s)-1] + last
	}
	for name, tc := range map[string]struct{ text, want string }{
		"empty":         {"", "empty"},
		"foreign":       {"age1xyz", `must start with "claudeaudit-content-public-v1:"`},
		"secret":        {secret, "this is a secret content identity"},
		"not base64":    {publicPrefix + "***", "base64url"},
		"short":         {publicPrefix + "AAAA", "holds 3 bytes, must be 36"},
		"line break":    {pub[:60] + "\r" + pub[60:], "base64url"},
		"mistyped":      {swap(pub), ""},
		"other version": {strings.Replace(pub, "-v1:", "-v2:", 1), "must start with"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ParseRecipient(tc.text)
			require.ErrorIs(t, err, ErrKey)
			require.ErrorContains(t, err, tc.want)
			require.NotContains(t, err.Error(), strings.TrimPrefix(secret, identityPrefix)[:16])
		})
	}
	_, err = ParseIdentity(pub)
	require.ErrorContains(t, err, "this is a content public key")
	_, err = ParseIdentity(swap(secret))
	require.ErrorIs(t, err, ErrKey)
}

func TestContentKeyFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	secret, public := filepath.Join(dir, "content.identity"), filepath.Join(dir, "content.pub")
	_, id := newPair(t)
	require.NoError(t, WriteContentKeys(id, secret, public))
	st, err := os.Stat(secret)
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o600), st.Mode().Perm())
	st, err = os.Stat(public)
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o644), st.Mode().Perm())

	r, err := LoadRecipient(public)
	require.NoError(t, err)
	require.Equal(t, id.KeyID(), r.KeyID())
	got, err := LoadIdentity(secret)
	require.NoError(t, err)
	require.Equal(t, id.KeyID(), got.KeyID())

	before, err := os.ReadFile(secret)
	require.NoError(t, err)
	_, other := newPair(t)
	require.ErrorIs(t, WriteContentKeys(other, secret, public), fs.ErrExist)
	after, err := os.ReadFile(secret)
	require.NoError(t, err)
	require.Equal(t, before, after)

	require.NoError(t, os.Remove(public))
	require.ErrorIs(t, WriteContentKeys(other, secret, public), fs.ErrExist)
	require.NoFileExists(t, public, "no public key of a secret that was not written")

	for _, mode := range []fs.FileMode{0o640, 0o604, 0o660, 0o644} {
		require.NoError(t, os.Chmod(secret, mode))
		_, err = LoadIdentity(secret)
		require.ErrorIs(t, err, ErrExposed)
		require.ErrorContains(t, err, "chmod 600")
	}
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 1, "temporary files are left")

	_, err = LoadRecipient(filepath.Join(dir, "none"))
	require.ErrorIs(t, err, fs.ErrNotExist)
	_, err = LoadRecipient(dir)
	require.ErrorContains(t, err, "not a regular file")
	long := filepath.Join(dir, "long")
	require.NoError(t, os.WriteFile(long, make([]byte, maxKeyFile+1), 0o600))
	_, err = LoadIdentity(long)
	require.ErrorIs(t, err, ErrKey)
}

func TestCheckpointKeyFiles(t *testing.T) {
	dir := t.TempDir()
	path, public := filepath.Join(dir, "checkpoint.key"), filepath.Join(dir, "checkpoint.pub")
	for range 20 { // base64 of the seed holds '+' now and then
		k, err := GenerateCheckpointKey("example.com/log")
		require.NoError(t, err)
		require.NoError(t, WriteCheckpointKey(k, path, public))
		got, err := LoadCheckpointKey(path)
		require.NoError(t, err)
		require.Equal(t, k.VerifierKey, got.VerifierKey)
		keys, err := LoadVerifierKeys(public)
		require.NoError(t, err)
		require.Equal(t, []string{k.VerifierKey}, keys)

		v, err := note.NewVerifier(keys[0])
		require.NoError(t, err)
		msg, err := note.Sign(&note.Note{Text: "text\n"}, got.Signer)
		require.NoError(t, err)
		_, err = note.Open(msg, note.VerifierList(v))
		require.NoError(t, err)
		require.NoError(t, os.Remove(path))
		require.NoError(t, os.Remove(public))
	}
}

func TestEnsureKeys(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	path, public := filepath.Join(dir, "checkpoint.key"), filepath.Join(dir, "checkpoint.pub")
	k, made, err := EnsureCheckpointKey(path, public, "log")
	require.NoError(t, err)
	require.True(t, made)
	require.NoError(t, os.Remove(public)) // as a crash in between leaves it
	again, made, err := EnsureCheckpointKey(path, public, "log")
	require.NoError(t, err)
	require.False(t, made)
	require.Equal(t, k.VerifierKey, again.VerifierKey)
	keys, err := LoadVerifierKeys(public)
	require.NoError(t, err)
	require.Equal(t, []string{k.VerifierKey}, keys)
	require.NoError(t, os.Remove(path))
	_, _, err = EnsureCheckpointKey(path, public, "log")
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.ErrorContains(t, err, "its secret key")

	identity, recipient := filepath.Join(dir, "content.identity"), filepath.Join(dir, "content.pub")
	r, made, err := EnsureContentKeys(identity, recipient)
	require.NoError(t, err)
	require.True(t, made)
	require.NoError(t, os.Remove(recipient))
	for range 2 {
		got, made, err := EnsureContentKeys(identity, recipient)
		require.NoError(t, err)
		require.False(t, made)
		require.Equal(t, r.KeyID(), got.KeyID())
		require.NoError(t, removeIfExists(identity)) // a writer needs the public key only
	}
}

func removeIfExists(path string) error {
	if there, err := exists(path); err != nil || !there {
		return err
	}
	return os.Remove(path)
}

func TestCheckpointKeyErrors(t *testing.T) {
	for _, name := range []string{"", "a b", "a+b", "a\nb"} {
		_, err := GenerateCheckpointKey(name)
		require.ErrorContains(t, err, "checkpoint key name")
	}
	k, err := GenerateCheckpointKey("log")
	require.NoError(t, err)
	for name, text := range map[string]string{"empty": "", "public": k.VerifierKey, "cut": k.secret[:len(k.secret)-4], "other": "PRIVATE+KEY+log+00000000+AAAA"} {
		t.Run(name, func(t *testing.T) {
			_, err := ParseCheckpointKey(text)
			require.ErrorIs(t, err, ErrKey)
		})
	}
	path := filepath.Join(t.TempDir(), "k")
	for name, tc := range map[string]struct{ text, want string }{
		"secret":  {k.secret, "this is a secret key"},
		"empty":   {"# none\n\n", "no key in the file"},
		"garbage": {"x+y", "name+hash+base64"},
	} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, os.WriteFile(path, []byte(tc.text), 0o600))
			_, err := LoadVerifierKeys(path)
			require.ErrorIs(t, err, ErrKey)
			require.ErrorContains(t, err, tc.want)
		})
	}
}

func FuzzParseKeys(f *testing.F) {
	r, id := newPair(f)
	secret, err := id.Text()
	require.NoError(f, err)
	f.Add(r.String())
	f.Add(secret)
	f.Add(publicPrefix + "1iGkCcGAYu1ag7iX-YIlCvJL\rrT0a_w7QVbKINnElRkzlYfpw")
	f.Add("PRIVATE+KEY+log+00000000+AAAA")
	f.Fuzz(func(t *testing.T, text string) {
		if r, err := ParseRecipient(text); err == nil {
			require.Equal(t, strings.TrimSpace(text), r.String())
		}
		if i, err := ParseIdentity(text); err == nil {
			_, err := i.Text()
			require.NoError(t, err)
		}
		_, _ = ParseCheckpointKey(text)
	})
}
