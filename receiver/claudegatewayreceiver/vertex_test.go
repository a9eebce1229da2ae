package claudegatewayreceiver

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// The gateway's own tokens for Vertex AI come from Google's credentials: one is kept as long as it is good, and followed by
// another; what Google doesn't give is an error that has no secret.
func TestVertexTokens(t *testing.T) {
	var issued atomic.Int64
	lasts := 1 // seconds: about to expire at once
	endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer" || r.FormValue("assertion") == "" {
			http.Error(w, "no assertion", http.StatusBadRequest)
			return
		}
		if lasts == 0 {
			http.Error(w, `{"error":"invalid_grant"}`, http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `{"access_token":"token-%d","token_type":"Bearer","expires_in":%d}`, issued.Add(1), lasts)
	}))
	defer endpoint.Close()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	account, err := json.Marshal(map[string]string{
		"type": "service_account", "client_email": "gateway@p-1.iam.gserviceaccount.com", "private_key_id": "k-1", "token_uri": endpoint.URL,
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), "project_id": "p-1",
	})
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "account.json")
	require.NoError(t, os.WriteFile(file, account, 0o600))
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", file)

	none, err := (&VertexConfig{}).tokens(t.Context())
	require.NoError(t, err)
	require.Nil(t, none)
	tokens, err := (&VertexConfig{DefaultCredentials: true}).tokens(t.Context())
	require.NoError(t, err)
	require.Zero(t, issued.Load(), "a token is fetched before it is needed")
	take := func() string {
		token, err := tokens.Token()
		require.NoError(t, err)
		return token.AccessToken
	}
	require.Equal(t, "token-1", take())
	lasts = 3600
	require.Equal(t, "token-2", take(), "one that is about to expire is sent")
	require.Equal(t, "token-2", take())

	lasts = 0
	tokens, err = (&VertexConfig{DefaultCredentials: true}).tokens(t.Context())
	require.NoError(t, err)
	_, err = tokens.Token()
	require.ErrorContains(t, err, "invalid_grant")
	require.NotContains(t, err.Error(), "PRIVATE")

	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", filepath.Join(t.TempDir(), "none.json"))
	_, err = (&VertexConfig{DefaultCredentials: true}).tokens(t.Context())
	require.ErrorContains(t, err, "find the credentials for Google")
}
