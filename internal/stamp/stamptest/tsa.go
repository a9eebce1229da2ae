// Package stamptest has a time stamping authority: OpenSSL's, which is another
// implementation than the one that checks.
package stamptest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TSA is an authority of its own root.
type TSA struct {
	URL      string
	RootPEM  string // path
	RootText string // base64 of DER, as a policy has it
}

const config = `
crypto_device = builtin
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256
accuracy = secs:1
ess_cert_id_alg = sha256
`

// Start starts an authority, and skips the test where there is no openssl.
func Start(t testing.TB) *TSA {
	t.Helper()
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		if os.Getenv("CLAUDEAUDIT_E2E") == "required" {
			t.Fatal("openssl is not on the path")
		}
		t.Skip("openssl is not on the path")
	}
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	now := time.Now()
	root := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "root"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	rootKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	rootDER, err := x509.CreateCertificate(rand.Reader, root, root, rootKey.Public(), rootKey)
	require.NoError(t, err)
	// RFC 3161: the usage is critical, and the only one.
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "authority"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature,
	}
	value, err := asn1.Marshal([]asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 8}})
	require.NoError(t, err)
	leaf.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 37}, Critical: true, Value: value}}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, root, key.Public(), rootKey)
	require.NoError(t, err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	encode := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	rootPath := write("root.pem", encode("CERTIFICATE", rootDER))
	leafPath := write("tsa.pem", encode("CERTIFICATE", leafDER))
	keyPath := write("tsa.key", encode("PRIVATE KEY", keyDER))
	serial := write("serial", "01\n")
	conf := write("tsa.conf", "[tsa]\ndefault_tsa = t\n[t]\nserial = "+serial+config)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(io.LimitReader(r.Body, 1<<16))
		if err != nil || r.Header.Get("Content-Type") != "application/timestamp-query" {
			http.Error(w, "no query", http.StatusBadRequest)
			return
		}
		query, err := os.CreateTemp(dir, "*.tsq")
		if err == nil {
			_, err = query.Write(body)
		}
		if err == nil {
			err = query.Close()
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		cmd := exec.Command(openssl, "ts", "-reply", "-queryfile", query.Name(), "-signer", leafPath, "-inkey", keyPath, "-chain", rootPath, "-config", conf)
		out, err := cmd.Output()
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/timestamp-reply")
		_, _ = w.Write(out)
	}))
	t.Cleanup(srv.Close)
	return &TSA{srv.URL, rootPath, base64.StdEncoding.EncodeToString(rootDER)}
}

// Verify has OpenSSL check a time stamp.
func (a *TSA) Verify(t testing.TB, response, text []byte) error {
	t.Helper()
	dir := t.TempDir()
	tsr, data := filepath.Join(dir, "x.tsr"), filepath.Join(dir, "x")
	require.NoError(t, os.WriteFile(tsr, response, 0o600))
	require.NoError(t, os.WriteFile(data, text, 0o600))
	return exec.Command("openssl", "ts", "-verify", "-in", tsr, "-data", data, "-CAfile", a.RootPEM).Run()
}
