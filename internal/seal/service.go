package seal

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"github.com/claudeaudit/claudeaudit/internal/kms"
	"github.com/claudeaudit/claudeaudit/internal/witness"
)

// serviceKey signs with an Ed25519 key in a key management service. What it
// signed is held against the public key that was noted when the key was set up:
// another key, or another version of it, is told before its signature is stored.
type serviceKey struct {
	key *kms.Key
	pub ed25519.PublicKey
}

func (s *serviceKey) sign(ctx context.Context, msg []byte) ([]byte, error) {
	sig, err := s.key.Sign(ctx, msg)
	if err != nil {
		return nil, err
	}
	if !ed25519.Verify(s.pub, msg, sig) {
		return nil, fmt.Errorf("sign with %s: %w: its signature does not fit the public key that was noted; was the key rotated?", s.key, kms.ErrKind)
	}
	return sig, nil
}

// noteSigner is a serviceKey for checkpoints.
type noteSigner struct {
	note.Verifier // its name and hash
	serviceKey
}

// Sign implements note.Signer.
func (s *noteSigner) Sign(msg []byte) ([]byte, error) { return s.sign(context.Background(), msg) }

// SignContext is Sign that gives up when ctx ends.
func (s *noteSigner) SignContext(ctx context.Context, msg []byte) ([]byte, error) {
	return s.sign(ctx, msg)
}

// checkText is what a key signs to see whether it can; no checkpoint has such a text.
const checkText = "claudeaudit key check\n"

// Check asks the service of a key that is in one to sign. kms.ErrUnavailable
// says that it may yet; another error is a mistake in the set-up.
func (k *CheckpointKey) Check(ctx context.Context) error {
	s, ok := k.Signer.(*noteSigner)
	if !ok {
		return nil
	}
	_, err := s.sign(ctx, []byte(checkText))
	return err
}

// Close frees connections to a key's service.
func (k *CheckpointKey) Close() error {
	if s, ok := k.Signer.(*noteSigner); ok {
		return s.key.Close()
	}
	return nil
}

// OpenCheckpointKey loads the key of a file, or opens the one in a service that a
// reference names, there or given itself. A key in a service is of the name and
// public key in publicPath. It does not ask the service.
func OpenCheckpointKey(pathOrReference, publicPath string) (*CheckpointKey, error) {
	reference := pathOrReference
	if !kms.IsReference(reference) {
		text, err := readKeyFile(pathOrReference, true)
		if err != nil {
			return nil, fmt.Errorf("read checkpoint key: %w", err)
		}
		if reference = strings.TrimSpace(text); !kms.IsReference(reference) {
			k, err := ParseCheckpointKey(text)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", pathOrReference, err)
			}
			return k, nil
		}
	}
	key, err := kms.Open(reference, kms.Signing)
	if err != nil {
		return nil, fmt.Errorf("checkpoint key: %w", err)
	}
	public, err := LoadVerifierKeys(publicPath)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("public half of %s, as `claudeaudit keygen --kms` writes it: %w", reference, err), key.Close())
	}
	k, err := serviceCheckpointKey(key, public)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", publicPath, err), key.Close())
	}
	return k, nil
}

func serviceCheckpointKey(key *kms.Key, public []string) (*CheckpointKey, error) {
	if len(public) != 1 {
		return nil, fmt.Errorf("%w: %d keys, must be one", ErrKey, len(public))
	}
	v, err := note.NewVerifier(public[0])
	if err != nil {
		return nil, fmt.Errorf("%w: must be name+hash+base64", ErrKey)
	}
	pub, err := verifierPublic(public[0])
	if err != nil {
		return nil, err
	}
	return &CheckpointKey{Signer: &noteSigner{v, serviceKey{key, pub}}, VerifierKey: public[0], secret: key.String()}, nil
}

// MakeServiceCheckpointKey asks the service for a key's public half and gives it a name.
func MakeServiceCheckpointKey(ctx context.Context, reference, name string) (*CheckpointKey, error) {
	key, pub, err := openSigning(ctx, reference)
	if err != nil {
		return nil, err
	}
	if err := checkName(name); err != nil {
		return nil, errors.Join(err, key.Close())
	}
	vkey, err := note.NewEd25519VerifierKey(name, pub)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("checkpoint key: %w", err), key.Close())
	}
	return serviceCheckpointKey(key, []string{vkey})
}

// openSigning opens a key and asks for its public half, and for a signature that fits it.
func openSigning(ctx context.Context, reference string) (*kms.Key, ed25519.PublicKey, error) {
	key, err := kms.Open(reference, kms.Signing)
	if err != nil {
		return nil, nil, err
	}
	pub, err := key.Public(ctx)
	if err != nil {
		return nil, nil, errors.Join(err, key.Close())
	}
	s := &serviceKey{key, pub.(ed25519.PublicKey)} // of a key for signing it is no other
	if _, err := s.sign(ctx, []byte(checkText)); err != nil {
		return nil, nil, errors.Join(err, key.Close())
	}
	return key, s.pub, nil
}

// OpenCosigner is OpenCheckpointKey for a witness's key.
func OpenCosigner(path, publicPath string) (*witness.Signer, error) {
	text, err := readKeyFile(path, true)
	if err != nil {
		return nil, fmt.Errorf("read witness key: %w", err)
	}
	reference := strings.TrimSpace(text)
	if !kms.IsReference(reference) {
		s, err := witness.ParseSigner(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		return s, nil
	}
	v, err := LoadCosignerKey(publicPath)
	if err != nil {
		return nil, fmt.Errorf("public half of %s, as `claudeaudit keygen --kms` writes it: %w", reference, err)
	}
	key, err := kms.Open(reference, kms.Signing)
	if err != nil {
		return nil, fmt.Errorf("witness key: %w", err)
	}
	return serviceCosigner(key, v), nil
}

func serviceCosigner(key *kms.Key, v *witness.Verifier) *witness.Signer {
	s := &serviceKey{key, v.PublicKey()}
	return witness.NewSigner(v, func(msg []byte) ([]byte, error) { return s.sign(context.Background(), msg) })
}

// WriteServiceCosigner asks the service for a key's public half, gives it a name,
// and writes the reference to path and the public key to publicPath, never over
// an existing file.
func WriteServiceCosigner(ctx context.Context, reference, name, path, publicPath string) (v *witness.Verifier, err error) {
	key, pub, err := openSigning(ctx, reference)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, key.Close()) }()
	if v, err = witness.NewVerifier(name, pub); err != nil {
		return nil, err
	}
	return v, writePair(path, key.String(), publicPath, v.String())
}
