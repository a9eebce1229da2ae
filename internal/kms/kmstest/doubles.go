// Package kmstest has doubles of key management services, written from the
// vendors' documents: they show that the client asks what the documents say
// and reads what they say is answered, not that the service does so.
//
// kmstest/transit is another thing: the engine of a real Vault.
package kmstest

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// Double is a service with one Ed25519 key and one RSA key.
type Double struct {
	*httptest.Server
	Signing    ed25519.PrivateKey
	Decrypting *rsa.PrivateKey
	// SigningRef and DecryptingRef name the keys.
	SigningRef, DecryptingRef string

	calls atomic.Int64
	mu    sync.Mutex
	fail  http.HandlerFunc
}

// Fail makes every request be answered by fn; nil: the service works again.
func (d *Double) Fail(fn http.HandlerFunc) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fail = fn
}

// Hang answers no request, until the client goes away.
func Hang(_ http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body) // only then does the server notice that
	<-r.Context().Done()
}

// Calls counts the requests.
func (d *Double) Calls() int64 { return d.calls.Load() }

func (d *Double) failing() http.HandlerFunc {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.fail
}

func start(t testing.TB, tls bool, h func(d *Double, w http.ResponseWriter, r *http.Request, body map[string]any)) *Double {
	t.Helper()
	_, signing, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	decrypting, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	d := &Double{Signing: signing, Decrypting: decrypting}
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d.calls.Add(1)
		if fail := d.failing(); fail != nil {
			fail(w, r)
			return
		}
		b, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
		body := map[string]any{}
		if err == nil && len(b) > 0 {
			err = json.Unmarshal(b, &body)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		h(d, w, r, body)
	})
	if tls {
		d.Server = httptest.NewTLSServer(handler)
	} else {
		d.Server = httptest.NewServer(handler)
	}
	t.Cleanup(d.Close)
	return d
}

func answer(w http.ResponseWriter, status int, v any) {
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // a client that went away is the test's business
}

func (d *Double) sign(msg []byte) []byte { return ed25519.Sign(d.Signing, msg) }

func (d *Double) open(ciphertext []byte) ([]byte, error) {
	return rsa.DecryptOAEP(sha256.New(), nil, d.Decrypting, ciphertext, nil)
}

func (d *Double) der(signing bool) []byte {
	var pub crypto.PublicKey = &d.Decrypting.PublicKey
	if signing {
		pub = d.Signing.Public()
	}
	b, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		panic(err) // of a key that was just made
	}
	return b
}

func (d *Double) pem(signing bool) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: d.der(signing)}))
}

func decoded(v any) []byte {
	s, _ := v.(string)
	b, _ := base64.StdEncoding.DecodeString(s) // nil fails in what follows
	return b
}

func encoded(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

// NewAWS is a double of AWS KMS, of its API reference of 2025: GetPublicKey, Sign, Decrypt.
func NewAWS(t testing.TB) *Double {
	t.Helper()
	for k, v := range map[string]string{
		"AWS_ACCESS_KEY_ID": "AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_SESSION_TOKEN": "", "AWS_CONFIG_FILE": "/nonexistent",
		"AWS_SHARED_CREDENTIALS_FILE": "/nonexistent", "AWS_EC2_METADATA_DISABLED": "true", "AWS_REGION": "",
	} {
		setenv(t, k, v)
	}
	const arn = "arn:aws:kms:eu-central-1:111122223333:key/"
	signing, decrypting := arn+"1234abcd-12ab-34cd-56ef-1234567890ab", arn+"abcd1234-12ab-34cd-56ef-1234567890ab"
	d := start(t, false, func(d *Double, w http.ResponseWriter, r *http.Request, body map[string]any) {
		refuse := func(code string) {
			answer(w, http.StatusBadRequest, map[string]any{"__type": code, "message": "double"})
		}
		id, _ := body["KeyId"].(string)
		operation, ok := strings.CutPrefix(r.Header.Get("X-Amz-Target"), "TrentService.")
		switch {
		case !ok, !strings.HasPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 "):
			refuse("AccessDeniedException")
		case id != signing && id != decrypting:
			refuse("NotFoundException")
		case operation == "GetPublicKey" && id == signing:
			answer(w, http.StatusOK, map[string]any{
				"KeyId": id, "KeySpec": "ECC_NIST_EDWARDS25519", "KeyUsage": "SIGN_VERIFY", "PublicKey": encoded(d.der(true)),
				"SigningAlgorithms": []string{"ED25519_SHA_512", "ED25519_PH_SHA_512"},
			})
		case operation == "GetPublicKey":
			answer(w, http.StatusOK, map[string]any{
				"KeyId": id, "KeySpec": "RSA_2048", "KeyUsage": "ENCRYPT_DECRYPT", "PublicKey": encoded(d.der(false)),
				"EncryptionAlgorithms": []string{"RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256"},
			})
		case operation == "Sign" && id == signing && body["SigningAlgorithm"] == "ED25519_SHA_512" && body["MessageType"] == "RAW":
			answer(w, http.StatusOK, map[string]any{"KeyId": id, "SigningAlgorithm": "ED25519_SHA_512", "Signature": encoded(d.sign(decoded(body["Message"])))})
		case operation == "Decrypt" && id == decrypting && body["EncryptionAlgorithm"] == "RSAES_OAEP_SHA_256":
			plain, err := d.open(decoded(body["CiphertextBlob"]))
			if err != nil {
				refuse("InvalidCiphertextException")
				return
			}
			answer(w, http.StatusOK, map[string]any{"KeyId": id, "EncryptionAlgorithm": "RSAES_OAEP_SHA_256", "Plaintext": encoded(plain)})
		default:
			refuse("InvalidKeyUsageException")
		}
	})
	d.SigningRef, d.DecryptingRef = "awskms:///"+signing+"?endpoint="+d.URL, "awskms:///"+decrypting+"?endpoint="+d.URL
	return d
}

// NewGCP is a double of Cloud KMS v1: getPublicKey, asymmetricSign, asymmetricDecrypt.
func NewGCP(t testing.TB) *Double {
	t.Helper()
	const ring = "projects/acme/locations/europe-west3/keyRings/audit/cryptoKeys/"
	signing, decrypting := ring+"checkpoint/cryptoKeyVersions/1", ring+"reader/cryptoKeyVersions/2"
	crc := func(b []byte) string {
		return strconv.FormatInt(int64(crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli))), 10)
	}
	d := start(t, false, func(d *Double, w http.ResponseWriter, r *http.Request, body map[string]any) {
		refuse := func(status int, code string) {
			answer(w, status, map[string]any{"error": map[string]any{"code": status, "message": "double: " + code, "status": code}})
		}
		path := strings.TrimPrefix(r.URL.Path, "/v1/")
		switch {
		case r.Method == http.MethodGet && (path == signing+"/publicKey" || path == decrypting+"/publicKey"):
			name, algorithm := signing, "EC_SIGN_ED25519"
			if strings.HasPrefix(path, decrypting) {
				name, algorithm = decrypting, "RSA_DECRYPT_OAEP_2048_SHA256"
			}
			text := d.pem(name == signing)
			answer(w, http.StatusOK, map[string]any{"name": name, "algorithm": algorithm, "pem": text, "pemCrc32c": crc([]byte(text))})
		case r.Method == http.MethodPost && path == signing+":asymmetricSign":
			data := decoded(body["data"])
			if len(data) == 0 || body["dataCrc32c"] != crc(data) {
				refuse(http.StatusBadRequest, "INVALID_ARGUMENT")
				return
			}
			sig := d.sign(data)
			answer(w, http.StatusOK, map[string]any{"name": signing, "signature": encoded(sig), "signatureCrc32c": crc(sig), "verifiedDataCrc32c": true})
		case r.Method == http.MethodPost && path == decrypting+":asymmetricDecrypt":
			ct := decoded(body["ciphertext"])
			plain, err := d.open(ct)
			if err != nil || body["ciphertextCrc32c"] != crc(ct) {
				refuse(http.StatusBadRequest, "INVALID_ARGUMENT")
				return
			}
			answer(w, http.StatusOK, map[string]any{"plaintext": encoded(plain), "plaintextCrc32c": crc(plain), "verifiedCiphertextCrc32c": true})
		case strings.HasSuffix(path, ":asymmetricSign"), strings.HasSuffix(path, ":asymmetricDecrypt"):
			refuse(http.StatusBadRequest, "FAILED_PRECONDITION")
		default:
			refuse(http.StatusNotFound, "NOT_FOUND")
		}
	})
	d.SigningRef, d.DecryptingRef = "gcpkms://"+signing+"?endpoint="+d.URL, "gcpkms://"+strings.Replace(decrypting, "/cryptoKeyVersions/", "/versions/", 1)+"?endpoint="+d.URL
	return d
}

// AzureToken is what the double of Key Vault takes for a token.
const AzureToken = "a-token"

// NewAzure is a double of Key Vault 7.x: get key, decrypt, and the challenge
// before both. Its address is not in its reference: the caller has to connect
// the name to it.
func NewAzure(t testing.TB) *Double {
	t.Helper()
	const path = "/keys/reader/0123456789abcdef0123456789abcdef"
	d := start(t, true, func(d *Double, w http.ResponseWriter, r *http.Request, body map[string]any) {
		refuse := func(status int, code string) {
			answer(w, status, map[string]any{"error": map[string]any{"code": code, "message": "double"}})
		}
		switch {
		case r.Header.Get("Authorization") != "Bearer "+AzureToken:
			w.Header().Set("WWW-Authenticate", `Bearer authorization="https://login.microsoftonline.com/72f988bf-86f1-41af-91ab-2d7cd011db47", resource="https://vault.azure.net"`)
			refuse(http.StatusUnauthorized, "Unauthorized")
		case r.Method == http.MethodGet && r.URL.Path == path:
			e := []byte{1, 0, 1}
			answer(w, http.StatusOK, map[string]any{"key": map[string]any{
				"kid": "https://acme.vault.azure.net" + path, "kty": "RSA", "key_ops": []string{"decrypt"},
				"n": base64.RawURLEncoding.EncodeToString(d.Decrypting.N.Bytes()), "e": base64.RawURLEncoding.EncodeToString(e),
			}})
		case r.Method == http.MethodPost && r.URL.Path == path+"/decrypt" && body["alg"] == "RSA-OAEP-256":
			value, _ := body["value"].(string)
			ct, _ := base64.RawURLEncoding.DecodeString(value) // nil doesn't open
			plain, err := d.open(ct)
			if err != nil {
				refuse(http.StatusBadRequest, "BadParameter")
				return
			}
			answer(w, http.StatusOK, map[string]any{"kid": "https://acme.vault.azure.net" + path, "value": base64.RawURLEncoding.EncodeToString(plain)})
		default:
			refuse(http.StatusNotFound, "KeyNotFound")
		}
	})
	d.DecryptingRef = "azurekms://acme.vault.azure.net/reader/0123456789abcdef0123456789abcdef"
	return d
}

// VaultToken is what the double of Vault takes for a token.
const VaultToken = "hvs.token"

// NewVault is a double of the transit engine: read key, sign, decrypt.
func NewVault(t testing.TB) *Double {
	t.Helper()
	for _, k := range []string{"BAO_ADDR", "BAO_TOKEN", "VAULT_NAMESPACE", "BAO_NAMESPACE"} {
		setenv(t, k, "")
		require.NoError(t, os.Unsetenv(k)) // what is empty counts, too
	}
	setenv(t, "VAULT_TOKEN", VaultToken)
	d := start(t, false, func(d *Double, w http.ResponseWriter, r *http.Request, body map[string]any) {
		refuse := func(status int, text ...string) { answer(w, status, map[string]any{"errors": text}) }
		key := func(kind, public string) {
			// A key of two versions, of which the second is the newest.
			answer(w, http.StatusOK, map[string]any{"data": map[string]any{
				"type": kind, "latest_version": 2, "keys": map[string]any{"1": map[string]any{"public_key": "AAAA"}, "2": map[string]any{"public_key": public}},
			}})
		}
		if r.Header.Get("X-Vault-Token") != VaultToken {
			refuse(http.StatusForbidden, "permission denied")
			return
		}
		switch r.Method + " " + r.URL.Path {
		case "GET /v1/transit/keys/checkpoint":
			key("ed25519", encoded(d.Signing.Public().(ed25519.PublicKey)))
		case "GET /v1/transit/keys/reader":
			key("rsa-2048", d.pem(false))
		case "PUT /v1/transit/sign/checkpoint":
			if v, ok := body["key_version"]; ok && v != 2.0 {
				refuse(http.StatusBadRequest, "the double has one version with a key")
				return
			}
			answer(w, http.StatusOK, map[string]any{"data": map[string]any{"signature": "vault:v2:" + encoded(d.sign(decoded(body["input"])))}})
		case "PUT /v1/transit/decrypt/reader":
			text, _ := body["ciphertext"].(string)
			ct, ok := strings.CutPrefix(text, "vault:v2:")
			plain, err := d.open(decoded(ct))
			if !ok {
				refuse(http.StatusBadRequest, "invalid ciphertext: no prefix")
				return
			}
			if err != nil { // as the real engine does
				refuse(http.StatusInternalServerError, "failed to RSA decrypt the ciphertext: crypto/rsa: decryption error")
				return
			}
			answer(w, http.StatusOK, map[string]any{"data": map[string]any{"plaintext": encoded(plain)}})
		default:
			refuse(http.StatusNotFound)
		}
	})
	d.SigningRef, d.DecryptingRef = "hashivault://checkpoint?endpoint="+d.URL, "hashivault://reader?version=2&endpoint="+d.URL
	return d
}

func setenv(t testing.TB, k, v string) {
	t.Helper()
	s, ok := t.(interface{ Setenv(key, value string) })
	if !ok {
		panic(fmt.Sprintf("%T can't set %s", t, k))
	}
	s.Setenv(k, v)
}
