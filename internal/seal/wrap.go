package seal

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/claudeaudit/claudeaudit/internal/kms"
)

// Ways in which a subject's key is wrapped.
const (
	// WrapHPKE is a sealed container, see the package's comment.
	WrapHPKE = ""
	// WrapRSA is RSA-OAEP with SHA-256 and no label, which every key management
	// service can decrypt. What it is bound to is in what it holds: a wrapped
	// key's own id has to be that of its file.
	WrapRSA = "rsa-oaep-sha256"
)

// Wrapper wraps subjects' keys to a public key. It is safe for concurrent use.
type Wrapper interface {
	// KeyID is the public key's name: 16 lower-case hex digits.
	KeyID() string
	// Wrap encrypts a key's text and says in which way.
	Wrap(text string, aad []byte) (way string, wrapped []byte, err error)
	// String is the public key as one line of text.
	String() string
}

// Unwrapper has the private half of a Wrapper, or knows who has it. It is safe
// for concurrent use.
type Unwrapper interface {
	KeyID() string
	// Unwrap gives what was given to Wrap. Errors are ErrFormat, ErrWrongKey,
	// ErrOpen, or the service's that was asked.
	Unwrap(ctx context.Context, way string, wrapped, aad []byte) (text string, err error)
}

var (
	_ Wrapper   = (*Recipient)(nil)
	_ Unwrapper = (*Identity)(nil)
	_ Wrapper   = (*ServiceRecipient)(nil)
	_ Unwrapper = (*ServiceIdentity)(nil)
)

// Wrap implements Wrapper.
func (r *Recipient) Wrap(text string, aad []byte) (string, []byte, error) {
	c, err := r.Seal([]byte(text), aad)
	return WrapHPKE, c, err
}

// Unwrap implements Unwrapper.
func (i *Identity) Unwrap(_ context.Context, way string, wrapped, aad []byte) (string, error) {
	if way != WrapHPKE {
		return "", fmt.Errorf("%w: wrapped by %q", ErrFormat, way)
	}
	text, err := i.Open(wrapped, aad)
	return string(text), err
}

// ServiceRecipient is the public half of an RSA key in a key management
// service. Wrapping doesn't ask the service.
type ServiceRecipient struct {
	pub *rsa.PublicKey
	der []byte
}

func newServiceRecipient(pub *rsa.PublicKey) (*ServiceRecipient, error) {
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return nil, fmt.Errorf("content public key: %w", err)
	}
	return &ServiceRecipient{pub, der}, nil
}

// parseServiceRecipient reads a public key's text.
func parseServiceRecipient(text string) (*ServiceRecipient, error) {
	der, err := decodeKey(rsaPrefix, text)
	if err != nil {
		return nil, fmt.Errorf("content public key: %w", err)
	}
	pub, err := x509.ParsePKIXPublicKey(der)
	r, ok := pub.(*rsa.PublicKey)
	if err != nil || !ok || r.N.BitLen() < 2048 || r.N.BitLen() > 8192 {
		return nil, fmt.Errorf("content public key: %w: must be an RSA key of 2048 to 8192 bits", ErrKey)
	}
	return &ServiceRecipient{r, der}, nil
}

// KeyID implements Wrapper.
func (r *ServiceRecipient) KeyID() string {
	id := keyID(r.der)
	return hex.EncodeToString(id[:])
}

// String implements Wrapper.
func (r *ServiceRecipient) String() string { return encodeKey(rsaPrefix, r.der) }

// Wrap implements Wrapper.
func (r *ServiceRecipient) Wrap(text string, _ []byte) (string, []byte, error) {
	c, err := rsa.EncryptOAEP(sha256.New(), rand.Reader, r.pub, []byte(text), nil)
	if err != nil {
		return "", nil, fmt.Errorf("wrap a key: %w", err)
	}
	return WrapRSA, c, nil
}

// ServiceIdentity is an RSA key in a key management service.
type ServiceIdentity struct {
	key *kms.Key
	own *ServiceRecipient
}

// OpenServiceIdentity asks the service for the public key.
func OpenServiceIdentity(ctx context.Context, reference string) (*ServiceIdentity, error) {
	k, err := kms.Open(reference, kms.Decrypting)
	if err != nil {
		return nil, err
	}
	pub, err := k.Public(ctx)
	if err != nil {
		return nil, errors.Join(err, k.Close())
	}
	r, err := newServiceRecipient(pub.(*rsa.PublicKey)) // of a key for decrypting it is no other
	if err != nil {
		return nil, errors.Join(err, k.Close())
	}
	return &ServiceIdentity{k, r}, nil
}

// KeyID implements Unwrapper.
func (i *ServiceIdentity) KeyID() string { return i.own.KeyID() }

// Recipient returns the public half.
func (i *ServiceIdentity) Recipient() *ServiceRecipient { return i.own }

// String names the key in its service.
func (i *ServiceIdentity) String() string { return i.key.String() }

// Close frees connections.
func (i *ServiceIdentity) Close() error { return i.key.Close() }

// Unwrap implements Unwrapper: it asks the service.
func (i *ServiceIdentity) Unwrap(ctx context.Context, way string, wrapped, _ []byte) (string, error) {
	if way != WrapRSA {
		return "", fmt.Errorf("%w: wrapped by %q", ErrFormat, way)
	}
	text, err := i.key.Decrypt(ctx, wrapped)
	switch {
	case errors.Is(err, kms.ErrRefused):
		return "", fmt.Errorf("%w: %w", ErrOpen, err)
	case err != nil:
		return "", err
	}
	return string(text), nil
}

// LoadWrapper reads a public key file of either kind.
func LoadWrapper(path string) (Wrapper, error) {
	if kms.IsReference(path) {
		return nil, fmt.Errorf("read content public key: %w: a key in a service is named by the file that `claudeaudit keygen --kms` makes of it, so that whoever encrypts needs no right in the service", ErrKey)
	}
	text, err := readKeyFile(path, false)
	if err != nil {
		return nil, fmt.Errorf("read content public key: %w", err)
	}
	if strings.HasPrefix(strings.TrimSpace(text), rsaPrefix) {
		r, err := parseServiceRecipient(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		return r, nil
	}
	r, err := ParseRecipient(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}

// OpenIdentity opens the secret key of a file, or the key in a service that a
// reference names, there or given itself.
func OpenIdentity(ctx context.Context, pathOrReference string) (Unwrapper, error) {
	reference := pathOrReference
	if !kms.IsReference(reference) {
		text, err := readKeyFile(pathOrReference, true)
		if err != nil {
			return nil, fmt.Errorf("read content identity: %w", err)
		}
		if reference = strings.TrimSpace(text); !kms.IsReference(reference) {
			i, err := ParseIdentity(text)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", pathOrReference, err)
			}
			return i, nil
		}
	}
	i, err := OpenServiceIdentity(ctx, reference)
	if err != nil {
		return nil, fmt.Errorf("content identity: %w", err)
	}
	return i, nil
}

// WriteServiceIdentity writes the reference to identityPath and the public key
// to publicPath, never over an existing file.
func WriteServiceIdentity(i *ServiceIdentity, identityPath, publicPath string) error {
	return writePair(identityPath, i.String(), publicPath, i.own.String())
}
