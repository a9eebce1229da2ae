package kms

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/claudeaudit/claudeaudit/internal/kms/kmstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, ref string, use Use) *Key {
	t.Helper()
	k, err := Open(ref, use)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, k.Close()) })
	return k
}

// signs is what a key that checkpoints are signed with does.
func signs(t *testing.T, k *Key) {
	t.Helper()
	pub, err := k.Public(t.Context())
	require.NoError(t, err)
	for _, msg := range [][]byte{[]byte("x"), make([]byte, MaxMessage)} {
		sig, err := k.Sign(t.Context(), msg)
		require.NoError(t, err)
		require.True(t, ed25519.Verify(pub.(ed25519.PublicKey), msg, sig), "not a signature of pure Ed25519")
	}
	_, err = k.Sign(t.Context(), make([]byte, MaxMessage+1))
	require.ErrorIs(t, err, ErrRefused)
}

// decrypts is what a key that subjects' keys are wrapped to does.
func decrypts(t *testing.T, k *Key) {
	t.Helper()
	pub, err := k.Public(t.Context())
	require.NoError(t, err)
	plain := []byte("claudeaudit-content-identity-v1:0123456789012345678901234567890123456789012345678")
	ct, err := rsa.EncryptOAEP(sha256.New(), rand.Reader, pub.(*rsa.PublicKey), plain, nil)
	require.NoError(t, err)
	got, err := k.Decrypt(t.Context(), ct)
	require.NoError(t, err)
	require.Equal(t, plain, got)
	ct[10] ^= 1
	_, err = k.Decrypt(t.Context(), ct)
	require.ErrorIs(t, err, ErrRefused)
	for _, bad := range [][]byte{nil, make([]byte, maxCiphertext+1)} {
		_, err = k.Decrypt(t.Context(), bad)
		require.ErrorIs(t, err, ErrRefused)
	}
}

func TestServices(t *testing.T) {
	for name, start := range map[string]func(testing.TB) *kmstest.Double{"AWS": kmstest.NewAWS, "Google": kmstest.NewGCP, "Vault": kmstest.NewVault} {
		t.Run(name, func(t *testing.T) {
			d := start(t)
			signing, decrypting := open(t, d.SigningRef, Signing), open(t, d.DecryptingRef, Decrypting)
			signs(t, signing)
			decrypts(t, decrypting)

			_, err := open(t, d.SigningRef, Decrypting).Public(t.Context())
			require.ErrorIs(t, err, ErrKind)
			_, err = open(t, d.DecryptingRef, Signing).Public(t.Context())
			require.ErrorIs(t, err, ErrKind)

			before := d.Calls()
			d.Fail(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
			_, err = signing.Sign(t.Context(), []byte("x"))
			require.ErrorIs(t, err, ErrUnavailable)
			require.Equal(t, before+attempts, d.Calls(), "it is tried again, and not for ever")

			d.Fail(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(http.StatusForbidden)
				_, _ = w.Write([]byte(`{"__type":"AccessDeniedException","message":"no","errors":["no"],"error":{"code":403,"message":"no"}}`))
			})
			before = d.Calls()
			_, err = decrypting.Decrypt(t.Context(), make([]byte, 256))
			require.ErrorIs(t, err, ErrDenied)
			require.Equal(t, before+1, d.Calls(), "a refusal is no reason to ask again")

			d.Fail(kmstest.Hang)
			signing.timeout = 50 * time.Millisecond
			_, err = signing.Sign(t.Context(), []byte("x"))
			require.ErrorIs(t, err, ErrUnavailable, "a call that hangs ends")
			signing.timeout = Timeout
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			_, err = signing.Sign(ctx, []byte("x"))
			require.ErrorIs(t, err, ErrUnavailable)

			d.Fail(nil)
			signs(t, signing)
			d.Close()
			_, err = signing.Sign(t.Context(), []byte("x"))
			require.ErrorIs(t, err, ErrUnavailable)
			require.NotContains(t, err.Error(), kmstest.VaultToken)
		})
	}
}

type token struct{}

func (token) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{Token: kmstest.AzureToken, ExpiresOn: time.Now().Add(time.Hour)}, nil
}

func TestAzureKeyVault(t *testing.T) {
	d := kmstest.NewAzure(t)
	at := func(ref string) *Key {
		r, err := parse(ref)
		require.NoError(t, err)
		tr := newTransport()
		tr.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", d.Listener.Addr().String())
		}
		roots := d.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
		tr.TLSClientConfig = &tls.Config{RootCAs: roots, ServerName: "example.com", MinVersion: tls.VersionTLS12}
		s, err := newAzure(r, token{}, azureOptions(tr))
		require.NoError(t, err)
		k := &Key{ref: r, use: Decrypting, service: s, transport: tr, timeout: Timeout}
		t.Cleanup(func() { require.NoError(t, k.Close()) })
		return k
	}
	decrypts(t, at(d.DecryptingRef))
	_, err := at("azurekms://acme.vault.azure.net/reader/ffffffffffffffffffffffffffffffff").Public(t.Context())
	require.ErrorIs(t, err, ErrNoKey)
	_, err = Open(d.DecryptingRef, Signing)
	require.ErrorIs(t, err, ErrKind)
	require.ErrorContains(t, err, "Azure Key Vault has no Ed25519 keys")
	d.Fail(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) })
	_, err = at(d.DecryptingRef).Public(t.Context())
	require.ErrorIs(t, err, ErrDenied)
}

func TestTokenFile(t *testing.T) {
	d := kmstest.NewVault(t)
	t.Setenv("VAULT_TOKEN", "hvs.old")
	file := filepath.Join(t.TempDir(), "token")
	k := open(t, d.SigningRef+"&token_file="+file, Signing)
	_, err := k.Sign(t.Context(), []byte("x"))
	require.ErrorIs(t, err, ErrDenied)
	require.ErrorContains(t, err, "token_file")
	// The agent writes it anew when it renewed it.
	require.NoError(t, os.WriteFile(file, []byte(kmstest.VaultToken+"\n"), 0o600))
	signs(t, k)
}

func TestReferences(t *testing.T) {
	for ref, want := range map[string]string{
		"awskms:///arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab":  "",
		"awskms:///arn:aws-us-gov:kms:us-gov-west-1:111122223333:alias/audit/prod":                  "",
		"awskms:///alias/audit?region=eu-central-1&profile=audit":                                   "",
		"gcpkms://projects/acme/locations/europe-west3/keyRings/r/cryptoKeys/k/cryptoKeyVersions/1": "",
		"gcpkms://projects/acme/locations/europe-west3/keyRings/r/cryptoKeys/k/versions/12":         "",
		"hashivault://checkpoint?mount=teams/audit/transit&version=3&token_file=/run/token":         "",
		"/etc/claudeaudit/keys/checkpoint.key":                                                      "must begin with awskms://",
		"https://vault.example.com/key":                                                             "must begin with awskms://",
		"awskms://localhost/alias/audit":                                                            "must be awskms:///KEY",
		"awskms:///":                                                                                "must be awskms:///KEY",
		"awskms:///alias/audit?regoin=x":                                                            `option "regoin"`,
		"awskms:///alias/audit?region=":                                                             `option "region"`,
		"awskms:///alias/audit?endpoint=localhost:8080":                                             "endpoint must be an address",
		"awskms://user:secret@/alias/audit":                                                         "must not hold credentials",
		"gcpkms://projects/acme/locations/europe-west3/keyRings/r/cryptoKeys/k":                     "must be gcpkms://projects/P/",
		"azurekms://evil.example.com/reader/0123":                                                   "must be azurekms://NAME.vault.azure.net/KEY/VERSION",
		"azurekms://acme.vault.azure.net/reader":                                                    "must be azurekms://NAME.vault.azure.net/KEY/VERSION",
		"azurekms://acme.vault.azure.net/checkpoint/0123":                                           "Azure Key Vault has no Ed25519 keys",
		"hashivault://checkpoint/1":                                                                 "must be hashivault://KEY",
		"hashivault://checkpoint?version=0":                                                         "version must be a number from 1 on",
		"hashivault://checkpoint?version=01":                                                        "version must be a number from 1 on",
		"hashivault://checkpoint?mount=../sys":                                                      "must be hashivault://KEY",
		"hashivault://checkpoint#1":                                                                 "must not have a fragment",
	} {
		t.Run(ref, func(t *testing.T) {
			err := Check(ref, Signing)
			if want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, want)
			require.NotContains(t, err.Error(), "secret")
		})
	}
	require.NoError(t, Check("azurekms://acme.vault.azure.net/reader/0123", Decrypting))
	require.True(t, IsReference("awskms:///nonsense"), "a mistake in a reference is told as such")
	require.False(t, IsReference("./awskms"))
}
