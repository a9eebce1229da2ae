package kms

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"

	"github.com/openbao/openbao/api/v2"
)

// maxToken bounds a token's file.
const maxToken = 64 << 10

// vaultKey is a key of the transit engine of Vault or OpenBao, whose interface
// is the same in what is used here.
type vaultKey struct {
	client *api.Client
	ref    reference

	mu      sync.Mutex
	version string // the reference's, or the newest when its public key was asked for
}

func openVault(r reference, t *http.Transport) (*vaultKey, error) {
	cfg := api.DefaultConfig() // with what the environment says of address and TLS
	if cfg.Error != nil {
		return nil, fmt.Errorf("configuration in the environment: %w", cfg.Error)
	}
	own, ok := cfg.HttpClient.Transport.(*http.Transport)
	if !ok {
		return nil, errors.New("the client has an unknown transport")
	}
	own.DialContext, own.DisableKeepAlives = t.DialContext, true // as with AWS
	cfg.MaxRetries, cfg.Timeout = attempts-1, Timeout
	cfg.MinRetryWait, cfg.MaxRetryWait = firstPause, longestPause
	cfg.CheckRetry = func(ctx context.Context, resp *http.Response, err error) (bool, error) {
		if resp != nil && resp.StatusCode == http.StatusInternalServerError {
			return false, err // what it says of a ciphertext that doesn't open
		}
		return api.DefaultRetryPolicy(ctx, resp, err)
	}
	if r.endpoint != "" {
		cfg.Address = r.endpoint
	}
	c, err := api.NewClient(cfg)
	if err != nil {
		return nil, err
	}
	return &vaultKey{client: c, ref: r, version: r.version}, nil
}

func vaultError(err error) error {
	var re *api.ResponseError
	if !errors.As(err, &re) {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	kind := ofStatus(re.StatusCode)
	text := strings.Join(re.Errors, "; ")
	if re.StatusCode == http.StatusBadRequest && strings.Contains(text, "key not found") {
		kind = ErrNoKey
	}
	if re.StatusCode == http.StatusInternalServerError && strings.Contains(text, "decryption error") {
		kind = ErrRefused
	}
	return fmt.Errorf("%w: %d %s", kind, re.StatusCode, text)
}

// login takes the token that an agent keeps fresh in a file.
func (k *vaultKey) login() error {
	if k.ref.token == "" {
		return nil
	}
	f, err := os.Open(k.ref.token)
	if err != nil {
		return fmt.Errorf("%w: token_file: %w", ErrDenied, err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxToken))
	if err != nil {
		return fmt.Errorf("%w: token_file: %w", ErrDenied, err)
	}
	k.client.SetToken(strings.TrimSpace(string(b)))
	return nil
}

func (k *vaultKey) path(operation string) string {
	return k.ref.mount + "/" + operation + "/" + k.ref.name
}

func (k *vaultKey) write(ctx context.Context, operation string, data map[string]any) (*api.Secret, error) {
	if err := k.login(); err != nil {
		return nil, err
	}
	s, err := k.client.Logical().WriteWithContext(ctx, k.path(operation), data)
	if err != nil {
		return nil, vaultError(err)
	}
	if s == nil {
		return nil, fmt.Errorf("%w: an empty answer", ErrRefused)
	}
	return s, nil
}

func (k *vaultKey) public(ctx context.Context) (crypto.PublicKey, error) {
	if err := k.login(); err != nil {
		return nil, err
	}
	s, err := k.client.Logical().ReadWithContext(ctx, k.path("keys"))
	if err != nil {
		return nil, vaultError(err)
	}
	if s == nil {
		return nil, ErrNoKey
	}
	version := k.ref.version
	if version == "" {
		n, ok := s.Data["latest_version"].(json.Number)
		if !ok {
			return nil, fmt.Errorf("%w: its answer has no latest_version", ErrRefused)
		}
		version = n.String()
	}
	keys, ok := s.Data["keys"].(map[string]any)
	if !ok {
		return nil, fmt.Errorf("%w: its answer has no keys", ErrRefused)
	}
	one, ok := keys[version].(map[string]any)
	if !ok {
		return nil, fmt.Errorf("%w: it has no version %s with a public key", ErrNoKey, version)
	}
	text, _ := one["public_key"].(string)
	k.mu.Lock()
	k.version = version
	k.mu.Unlock()
	if s.Data["type"] == "ed25519" {
		raw, err := base64.StdEncoding.DecodeString(text)
		if err != nil || len(raw) != ed25519.PublicKeySize {
			return nil, fmt.Errorf("%w: its public key can't be read", ErrKind)
		}
		return ed25519.PublicKey(raw), nil
	}
	return parsePEM(text)
}

// result reads "vault:v<version>:<base64>".
func vaultResult(s *api.Secret, field string) ([]byte, error) {
	text, _ := s.Data[field].(string)
	parts := strings.SplitN(text, ":", 3)
	if len(parts) != 3 || parts[0] != "vault" {
		return nil, fmt.Errorf("%w: its answer has no %s", ErrRefused, field)
	}
	b, err := base64.StdEncoding.DecodeString(parts[2])
	if err != nil {
		return nil, fmt.Errorf("%w: its %s can't be read", ErrRefused, field)
	}
	return b, nil
}

func (k *vaultKey) sign(ctx context.Context, msg []byte) ([]byte, error) {
	data := map[string]any{"input": base64.StdEncoding.EncodeToString(msg)}
	if k.ref.version != "" {
		n, err := strconv.Atoi(k.ref.version)
		if err != nil {
			return nil, fmt.Errorf("%w: version", ErrReference)
		}
		data["key_version"] = n
	}
	s, err := k.write(ctx, "sign", data)
	if err != nil {
		return nil, err
	}
	return vaultResult(s, "signature")
}

func (k *vaultKey) decrypt(ctx context.Context, ciphertext []byte) ([]byte, error) {
	k.mu.Lock()
	version := k.version
	k.mu.Unlock()
	if version == "" {
		if _, err := k.public(ctx); err != nil {
			return nil, err
		}
		k.mu.Lock()
		version = k.version
		k.mu.Unlock()
	}
	s, err := k.write(ctx, "decrypt", map[string]any{"ciphertext": "vault:v" + version + ":" + base64.StdEncoding.EncodeToString(ciphertext)})
	if err != nil {
		return nil, err
	}
	text, _ := s.Data["plaintext"].(string)
	plain, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, fmt.Errorf("%w: its plaintext can't be read", ErrRefused)
	}
	return plain, nil
}
