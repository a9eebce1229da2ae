// Package kms uses keys that a key management service holds: it signs with an
// Ed25519 key, and decrypts what was encrypted to an RSA key, without the
// private half ever being in this process. The services' own client libraries
// do the work; what is here names keys, bounds calls and tells errors apart.
//
// A key is named by a reference, which is no secret:
//
//	awskms:///arn:aws:kms:eu-central-1:111122223333:key/1234abcd-…
//	awskms:///alias/claudeaudit?region=eu-central-1
//	gcpkms://projects/P/locations/L/keyRings/R/cryptoKeys/K/cryptoKeyVersions/1
//	azurekms://NAME.vault.azure.net/KEY/VERSION
//	hashivault://KEY?mount=transit&version=1
//
// Credentials are found by each service's standard chain, for Vault and OpenBao
// in BAO_ADDR and BAO_TOKEN, or VAULT_ADDR and VAULT_TOKEN.
package kms

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

var (
	// ErrReference says that a reference can't be read.
	ErrReference = errors.New("invalid key reference")
	// ErrKind says that a key is not of the kind that is needed.
	ErrKind = errors.New("wrong kind of key")
	// ErrDenied says that the service refuses these credentials the operation.
	ErrDenied = errors.New("refused by the key management service")
	// ErrNoKey says that the service has no such key, or has it disabled.
	ErrNoKey = errors.New("no usable key of that name in the key management service")
	// ErrRefused says that the service refuses the request for another reason.
	ErrRefused = errors.New("request not accepted by the key management service")
	// ErrUnavailable says that the service did not answer, or not now: asking again may help.
	ErrUnavailable = errors.New("the key management service does not answer")
)

const (
	// Timeout bounds a call with its repetitions.
	Timeout = 10 * time.Second
	// attempts bounds how often a call is sent.
	attempts = 3
	// firstPause and longestPause are between them.
	firstPause   = 200 * time.Millisecond
	longestPause = time.Second
	// MaxMessage is the longest that AWS signs as it is, and so the longest that is signed here.
	MaxMessage = 4096
	// maxCiphertext is that of an RSA key of 8192 bits.
	maxCiphertext = 1024
)

// Use is what a key is for.
type Use string

// Uses of keys.
const (
	// Signing needs an Ed25519 key.
	Signing Use = "signing"
	// Decrypting needs an RSA key of at least 2048 bits for OAEP with SHA-256.
	Decrypting Use = "decrypting"
)

// Schemes of references.
const (
	schemeAWS   = "awskms"
	schemeGCP   = "gcpkms"
	schemeAzure = "azurekms"
	schemeVault = "hashivault"
)

var schemes = []string{schemeAWS, schemeGCP, schemeAzure, schemeVault}

// IsReference says whether a text is meant to be a reference rather than a path.
func IsReference(text string) bool {
	scheme, _, ok := strings.Cut(text, "://")
	return ok && slices.Contains(schemes, scheme)
}

// reference is a parsed reference.
type reference struct {
	text     string
	scheme   string
	name     string // of the key, as its service writes it
	version  string // Azure's and Vault's
	host     string // of an Azure vault
	endpoint string
	region   string
	profile  string
	mount    string
	token    string // path of a file with a Vault token
}

var (
	awsName    = regexp.MustCompile(`^(arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:(key|alias)/[A-Za-z0-9/_-]+|alias/[A-Za-z0-9/_-]+|[0-9a-f-]{36}|mrk-[0-9a-f]{32})$`)
	gcpName    = regexp.MustCompile(`^projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+/cryptoKeyVersions/[0-9]+$`)
	azureName  = regexp.MustCompile(`^[0-9A-Za-z-]{1,127}$`)
	azureHost  = regexp.MustCompile(`^[0-9A-Za-z-]+\.(vault|managedhsm)\.(azure\.net|azure\.cn|usgovcloudapi\.net)$`)
	vaultName  = regexp.MustCompile(`^[0-9A-Za-z_.-]{1,200}$`)
	vaultMount = regexp.MustCompile(`^[0-9A-Za-z_.-]+(/[0-9A-Za-z_.-]+)*$`)
)

func parse(text string) (r reference, err error) {
	bad := func(format string, args ...any) (reference, error) {
		return reference{}, fmt.Errorf("%w: "+format, append([]any{ErrReference}, args...)...)
	}
	text = strings.TrimSpace(text)
	if !IsReference(text) {
		return bad("must begin with %s", strings.Join(schemes, "://, ")+"://")
	}
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return bad("it can't be read")
	case u.User != nil:
		return bad("it must not hold credentials")
	case u.Fragment != "":
		return bad("it must not have a fragment")
	}
	r = reference{text: text, scheme: u.Scheme, mount: "transit"}
	allowed := map[string]map[string]*string{
		schemeAWS:   {"region": &r.region, "profile": &r.profile, "endpoint": &r.endpoint},
		schemeGCP:   {"endpoint": &r.endpoint},
		schemeAzure: {},
		schemeVault: {"mount": &r.mount, "version": &r.version, "token_file": &r.token, "endpoint": &r.endpoint},
	}[u.Scheme]
	for name, values := range u.Query() {
		to := allowed[name]
		if to == nil || len(values) != 1 || values[0] == "" {
			return bad("option %q", name)
		}
		*to = values[0]
	}
	if r.endpoint != "" {
		if e, err := url.Parse(r.endpoint); err != nil || e.Scheme != "http" && e.Scheme != "https" || e.Host == "" || e.User != nil {
			return bad("endpoint must be an address such as https://kms.example.com")
		}
	}
	path := strings.TrimPrefix(u.Path, "/")
	switch u.Scheme {
	case schemeAWS:
		r.name = path
		if u.Host != "" || !awsName.MatchString(path) {
			return bad("must be awskms:///KEY, where KEY is the key's ARN or id, or an alias such as alias/NAME")
		}
		if f := strings.Split(path, ":"); len(f) == 6 && r.region == "" {
			r.region = f[3]
		}
	case schemeGCP:
		r.name = strings.Replace(u.Host+u.Path, "/versions/", "/cryptoKeyVersions/", 1)
		if !gcpName.MatchString(r.name) {
			return bad("must be gcpkms://projects/P/locations/L/keyRings/R/cryptoKeys/K/cryptoKeyVersions/V")
		}
	case schemeAzure:
		r.host = u.Host
		r.name, r.version, _ = strings.Cut(path, "/")
		if !azureHost.MatchString(u.Host) || !azureName.MatchString(r.name) || !azureName.MatchString(r.version) {
			return bad("must be azurekms://NAME.vault.azure.net/KEY/VERSION")
		}
	case schemeVault:
		r.name = u.Host
		if path != "" || strings.Contains(r.mount, "..") || !vaultName.MatchString(r.name) || !vaultMount.MatchString(r.mount) {
			return bad("must be hashivault://KEY, with ?mount=… where transit is not mounted under transit")
		}
		if r.version != "" {
			if n, err := strconv.ParseUint(r.version, 10, 31); err != nil || n == 0 || strconv.FormatUint(n, 10) != r.version {
				return bad("version must be a number from 1 on")
			}
		}
	}
	return r, nil
}

// Check checks a reference without asking the service.
func Check(text string, use Use) error {
	r, err := parse(text)
	if err != nil {
		return err
	}
	if use == Signing && r.scheme == schemeAzure {
		return errAzureSigning
	}
	return nil
}

var errAzureSigning = fmt.Errorf("%w: Azure Key Vault has no Ed25519 keys, which checkpoints are signed with: use a key in another service or in a file", ErrKind)

// service does what a service does with one key. Its errors are those of this package, wrapped.
type service interface {
	public(ctx context.Context) (crypto.PublicKey, error)
	sign(ctx context.Context, msg []byte) ([]byte, error)
	decrypt(ctx context.Context, ciphertext []byte) ([]byte, error)
}

// Key is one key of a service. It is safe for concurrent use.
type Key struct {
	ref       reference
	use       Use
	service   service
	transport *http.Transport
	timeout   time.Duration
}

// Open names a key and what it is to be used for. It does not ask the service yet.
func Open(text string, use Use) (*Key, error) {
	if err := Check(text, use); err != nil {
		return nil, err
	}
	r, err := parse(text)
	if err != nil {
		return nil, err
	}
	k := &Key{ref: r, use: use, transport: newTransport(), timeout: Timeout}
	switch r.scheme {
	case schemeAWS:
		k.service, err = openAWS(context.Background(), r, k.transport)
	case schemeGCP:
		k.service, err = openGCP(r, k.transport)
	case schemeAzure:
		k.service, err = openAzure(r, k.transport)
	case schemeVault:
		k.service, err = openVault(r, k.transport)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", r.text, err)
	}
	return k, nil
}

// newTransport has bounds on everything that can hang.
func newTransport() *http.Transport {
	return &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSHandshakeTimeout: 5 * time.Second,
		IdleConnTimeout:     90 * time.Second,
		MaxIdleConns:        4,
		ForceAttemptHTTP2:   true,
	}
}

// String is the reference.
func (k *Key) String() string { return k.ref.text }

// Close frees connections.
func (k *Key) Close() error {
	k.transport.CloseIdleConnections()
	return nil
}

// call runs one operation within the time-out.
func (k *Key) call(ctx context.Context, what string, fn func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, k.timeout)
	defer cancel()
	err := fn(ctx)
	if err != nil && ctx.Err() != nil && !errors.Is(err, ErrUnavailable) {
		err = fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	if err != nil {
		return fmt.Errorf("%s with %s: %w", what, k.ref.text, err)
	}
	return nil
}

// Public asks for the public key: ed25519.PublicKey or *rsa.PublicKey, as the use wants it.
func (k *Key) Public(ctx context.Context) (pub crypto.PublicKey, err error) {
	err = k.call(ctx, "read the public key", func(ctx context.Context) error {
		if pub, err = k.service.public(ctx); err != nil {
			return err
		}
		return checkKind(pub, k.use)
	})
	return pub, err
}

func checkKind(pub crypto.PublicKey, use Use) error {
	switch p := pub.(type) {
	case ed25519.PublicKey:
		if use == Signing {
			return nil
		}
	case *rsa.PublicKey:
		switch bits := p.N.BitLen(); {
		case use != Decrypting:
		case bits < 2048 || bits > 8*maxCiphertext:
			return fmt.Errorf("%w: an RSA key of %d bits, must have 2048 to %d", ErrKind, bits, 8*maxCiphertext)
		default:
			return nil
		}
	}
	if use == Signing {
		return fmt.Errorf("%w: checkpoints are signed with Ed25519, this key is another", ErrKind)
	}
	return fmt.Errorf("%w: must be an RSA key for decryption", ErrKind)
}

// Sign signs a message with Ed25519, the message as it is (RFC 8032, pure).
func (k *Key) Sign(ctx context.Context, msg []byte) (sig []byte, err error) {
	if len(msg) > MaxMessage {
		return nil, fmt.Errorf("sign with %s: %w: the message has %d bytes, at most %d can be signed", k.ref.text, ErrRefused, len(msg), MaxMessage)
	}
	err = k.call(ctx, "sign", func(ctx context.Context) error {
		sig, err = k.service.sign(ctx, msg)
		if err == nil && len(sig) != ed25519.SignatureSize {
			err = fmt.Errorf("%w: it answers with a signature of %d bytes, Ed25519's have %d", ErrKind, len(sig), ed25519.SignatureSize)
		}
		return err
	})
	return sig, err
}

// Decrypt decrypts what was encrypted to the public key: RSA-OAEP with SHA-256 and no label.
func (k *Key) Decrypt(ctx context.Context, ciphertext []byte) (plain []byte, err error) {
	if n := len(ciphertext); n == 0 || n > maxCiphertext {
		return nil, fmt.Errorf("decrypt with %s: %w: a ciphertext of %d bytes", k.ref.text, ErrRefused, n)
	}
	err = k.call(ctx, "decrypt", func(ctx context.Context) error {
		plain, err = k.service.decrypt(ctx, ciphertext)
		return err
	})
	return plain, err
}

// ofStatus tells what an HTTP status means; 0: there was no answer.
func ofStatus(status int) error {
	switch {
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return ErrDenied
	case status == http.StatusNotFound:
		return ErrNoKey
	case status == http.StatusRequestTimeout, status == http.StatusTooManyRequests, status < 400, status >= 500:
		return ErrUnavailable
	}
	return ErrRefused
}

// parsePEM reads a public key in PEM form.
func parsePEM(text string) (crypto.PublicKey, error) {
	b, _ := pem.Decode([]byte(text))
	if b == nil {
		return nil, fmt.Errorf("%w: its answer has no public key in PEM form", ErrRefused)
	}
	return parseDER(b.Bytes)
}

func parseDER(der []byte) (crypto.PublicKey, error) {
	pub, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return nil, fmt.Errorf("%w: its answer's public key can't be read: %w", ErrKind, err)
	}
	return pub, nil
}
