package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/claudeaudit/claudeaudit/internal/fakeclaude"
)

// issuer issues tokens, with a key that can be changed.
type issuer struct {
	t   *testing.T
	url string
	mu  sync.Mutex
	key *ecdsa.PrivateKey
	n   int
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	is := &issuer{t: t}
	is.rotate()
	server := httptest.NewServer(is)
	t.Cleanup(server.Close)
	is.url = server.URL
	return is
}

func (is *issuer) rotate() {
	is.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(is.t, err)
	is.mu.Lock()
	defer is.mu.Unlock()
	is.key = key
	is.n++
}

func (is *issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	is.mu.Lock()
	defer is.mu.Unlock()
	if r.URL.Path == "/.well-known/openid-configuration" {
		_ = json.NewEncoder(w).Encode(map[string]any{"issuer": is.url, "jwks_uri": is.url + "/keys", "id_token_signing_alg_values_supported": []string{"ES256"}})
		return
	}
	point, err := is.key.PublicKey.Bytes()
	if err != nil {
		http.Error(w, "no key", http.StatusInternalServerError)
		return
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"keys": []any{map[string]string{
		"kty": "EC", "crv": "P-256", "kid": fmt.Sprint(is.n), "alg": "ES256", "use": "sig",
		"x": base64.RawURLEncoding.EncodeToString(point[1:33]), "y": base64.RawURLEncoding.EncodeToString(point[33:]),
	}}})
}

// token is a token for the gateway, of a user.
func (is *issuer) token(user string) string {
	is.t.Helper()
	is.mu.Lock()
	defer is.mu.Unlock()
	part := func(v any) string {
		out, err := json.Marshal(v)
		require.NoError(is.t, err)
		return base64.RawURLEncoding.EncodeToString(out)
	}
	text := part(map[string]string{"alg": "ES256", "kid": fmt.Sprint(is.n)}) + "." +
		part(map[string]any{"iss": is.url, "aud": "gateway", "sub": user, "department": "legal", "iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix()})
	sum := sha256.Sum256([]byte(text))
	r, s, err := ecdsa.Sign(rand.Reader, is.key, sum[:])
	require.NoError(is.t, err)
	signature := make([]byte, 64)
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	return text + "." + base64.RawURLEncoding.EncodeToString(signature)
}

// authority makes certificates.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	n    int64
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t}
	a.cert, a.key = a.issue(&x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign, Subject: pkix.Name{CommonName: "CA of the test"}})
	return a
}

func (a *authority) issue(template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(a.t, err)
	a.n++
	template.SerialNumber = big.NewInt(a.n)
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	require.NoError(a.t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(a.t, err)
	return cert, key
}

// write writes a certificate, and its key where there is one, and gives the files.
func (a *authority) write(dir, name string, cert *x509.Certificate, key *ecdsa.PrivateKey) (certFile, keyFile string) {
	a.t.Helper()
	certFile, keyFile = filepath.Join(dir, name+".pem"), filepath.Join(dir, name+".key")
	require.NoError(a.t, os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}), 0o600))
	if key != nil {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		require.NoError(a.t, err)
		require.NoError(a.t, os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600))
	}
	return certFile, keyFile
}

// Every way in which a gateway knows who calls, as it is configured: each lets in whom it knows and nobody else, and the
// record says who it was and how sure that is.
func TestGatewayKnowsWhoCalls(t *testing.T) {
	dir := t.TempDir()
	is, ca := newIssuer(t), newAuthority(t)
	caFile, _ := ca.write(dir, "ca", ca.cert, nil)
	serverCert, serverKey := ca.issue(&x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	serverFile, serverKeyFile := ca.write(dir, "server", serverCert, serverKey)
	spiffe, err := url.Parse("spiffe://example.org/invoices")
	require.NoError(t, err)
	client := func(of *authority) *http.Client {
		cert, key := of.issue(&x509.Certificate{URIs: []*url.URL{spiffe}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
		roots := x509.NewCertPool()
		roots.AddCert(ca.cert)
		transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{{Certificate: [][]byte{cert.Raw}, PrivateKey: key}}}}
		t.Cleanup(transport.CloseIdleConnections)
		return &http.Client{Transport: transport}
	}
	keys := filepath.Join(dir, "keys.yaml")
	sum := sha256.Sum256([]byte("key-of-invoices"))
	require.NoError(t, os.WriteFile(keys, fmt.Appendf(nil, "- {sha256: %x, application: invoices, department: finance}\n", sum), 0o600))

	fake, up := upstream(t, fakeclaude.Config{})
	addrs := map[string]string{}
	gateway := func(name string, more map[string]any) map[string]any {
		addrs[name] = freeAddr(t)
		more["endpoint"] = addrs[name]
		more["anonymous"] = "refuse"
		more["upstreams"] = map[string]any{"anthropic": map[string]any{"endpoint": up, "api_key": "of-the-gateway"}}
		return more
	}
	auth := func(extension string) map[string]any {
		return map[string]any{"auth": map[string]any{"authenticator": extension}}
	}
	c := newCollector(t, "local.yaml", map[string]any{
		"extensions": map[string]any{
			"oidc":            map[string]any{"providers": []any{map[string]any{"issuer_url": is.url, "audience": "gateway"}}},
			"bearertokenauth": map[string]any{"token": "of-the-operator"},
		},
		"receivers": map[string]any{
			"claude_gateway/mtls": gateway("mtls", map[string]any{
				"tls":      map[string]any{"cert_file": serverFile, "key_file": serverKeyFile, "client_ca_file": caFile},
				"identity": map[string]any{"certificate": "uri"},
			}),
			"claude_gateway/oidc":   gateway("oidc", auth("oidc")),
			"claude_gateway/bearer": gateway("bearer", auth("bearertokenauth")),
			"claude_gateway/token": gateway("token", map[string]any{"identity": map[string]any{
				"token":       map[string]any{"issuer": is.url, "audience": "gateway", "jwks_url": is.url + "/keys", "department_claim": "department"},
				"user_header": "X-User",
			}}),
			"claude_gateway/keys": gateway("keys", map[string]any{"identity": map[string]any{"keys_file": keys}}),
			"claude_gateway/proxy": gateway("proxy", map[string]any{"identity": map[string]any{
				"trusted_proxies": map[string]any{"cidrs": []any{"127.0.0.0/8"}, "user_header": "X-Auth-User"},
			}}),
			"claude_gateway/far": gateway("far", map[string]any{"identity": map[string]any{
				"trusted_proxies": map[string]any{"cidrs": []any{"192.0.2.0/24"}, "user_header": "X-Auth-User"},
			}}),
		},
		"service": map[string]any{
			"extensions": []any{"health_check", "oidc", "bearertokenauth"},
			"pipelines": map[string]any{"logs": map[string]any{"receivers": []any{
				"otlp", "claude_gateway/mtls", "claude_gateway/oidc", "claude_gateway/bearer", "claude_gateway/token", "claude_gateway/keys",
				"claude_gateway/proxy", "claude_gateway/far",
			}}},
		},
	})
	c.start()

	type want struct{ user, assurance, application, department, address, flag string }
	n := 0
	expected := map[string]want{} // by prompt hash: each prompt is one call
	ask := func(client *http.Client, name string, status int, w want, header ...string) {
		t.Helper()
		n++
		session := fmt.Sprintf("s-%d", n)
		scheme := "http://"
		if name == "mtls" {
			scheme = "https://"
		}
		got, body := askClaude(t, client, scheme+addrs[name], fmt.Sprintf("call %d", n), append(header, "X-Session-Id", session)...)
		require.Equal(t, status, got, "%s: %s", name, body)
		if status == http.StatusUnauthorized {
			require.Contains(t, body, `"authentication_error"`, name)
		}
		expected[session] = w
	}
	const ok, refused = http.StatusOK, http.StatusUnauthorized
	plain := http.DefaultClient

	ask(client(ca), "mtls", ok, want{user: spiffe.String(), assurance: "verified"})
	stranger := newAuthority(t)
	_, err = client(stranger).Get("https://" + addrs["mtls"] + "/v1/models")
	require.Error(t, err, "a certificate of another authority is taken")

	ask(plain, "oidc", ok, want{user: "ana@example.org", assurance: "verified"}, "Authorization", "Bearer "+is.token("ana@example.org"))
	ask(plain, "token", ok, want{user: "ana@example.org", assurance: "verified", department: "legal"}, "X-Identity-Token", is.token("ana@example.org"))
	old := is.token("eve@example.org")
	is.rotate()
	ask(plain, "oidc", ok, want{user: "bo@example.org", assurance: "verified"}, "Authorization", "Bearer "+is.token("bo@example.org"))
	ask(plain, "token", ok, want{user: "bo@example.org", assurance: "verified", department: "legal", flag: "identity.clash"},
		"X-Identity-Token", is.token("bo@example.org"), "X-User", "eve@example.org")
	ask(plain, "token", refused, want{assurance: "none"}, "X-Identity-Token", old)
	ask(plain, "token", refused, want{user: "eve", assurance: "asserted"}, "X-User", "eve")
	ask(plain, "oidc", refused, want{assurance: "none"})

	ask(plain, "bearer", ok, want{assurance: "gateway"}, "Authorization", "Bearer of-the-operator")
	ask(plain, "bearer", refused, want{assurance: "none"}, "Authorization", "Bearer guessed")
	ask(plain, "keys", ok, want{assurance: "gateway", application: "invoices", department: "finance"}, "X-Api-Key", "key-of-invoices")
	ask(plain, "keys", refused, want{assurance: "none"}, "X-Api-Key", "guessed")
	ask(plain, "proxy", ok, want{user: "cy", assurance: "gateway", address: "203.0.113.0"}, "X-Auth-User", "cy", "X-Forwarded-For", "198.51.100.1, 203.0.113.9")
	ask(plain, "far", refused, want{assurance: "none", address: "127.0.0.0"}, "X-Auth-User", "cy", "X-Forwarded-For", "203.0.113.9")

	bySession := map[string]record{}
	for _, r := range c.awaitStatus(n, "success", "blocked") {
		bySession[r.text("session_id")] = r
	}
	passed := 0
	for session, w := range expected {
		r := bySession[session]
		require.NotNil(t, r, session)
		got := want{
			user: r.text("user_id"), assurance: r.text("identity_assurance"), application: r.text("application_id"), department: r.text("department"),
			address: w.address,
		}
		if w.address != "" {
			got.address = r.text("ip_address")
		}
		flags, _ := r["policy_flags"].([]any)
		for _, f := range flags {
			if f == "identity.clash" {
				got.flag = "identity.clash"
			}
		}
		require.Equal(t, w, got, "%v", r)
		if r.text("status") == "success" {
			passed++
		}
	}
	require.Len(t, requests(fake), passed, "what was refused was forwarded")
	for _, q := range requests(fake) {
		require.Equal(t, "x-api-key:"+fakeclaude.Short("of-the-gateway"), q.Auth)
		require.NotContains(t, q.Headers, "x-identity-token")
		require.NotContains(t, q.Headers, "x-auth-user")
	}
	c.stop()
	c.verify()
}
