// Package witness has what is told between a log and those who cosign its
// checkpoints: C2SP cosignatures (tlog-cosignature, cosignature/v1), the
// protocol to get one (tlog-witness), and the policy of who has to have
// cosigned (tlog-policy).
package witness

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
)

const (
	// algCosignature is the algorithm byte of Ed25519 cosignature keys.
	algCosignature = 0x04
	privateHead    = "PRIVATE+KEY+"
	sigLen         = 8 + ed25519.SignatureSize
)

// ErrKey says that a key's text can't be read. It never quotes the text.
var ErrKey = errors.New("invalid cosignature key")

func keyHash(name string, pub []byte) uint32 {
	h := sha256.New()
	h.Write([]byte(name + "\n"))
	h.Write([]byte{algCosignature})
	h.Write(pub)
	return binary.BigEndian.Uint32(h.Sum(nil))
}

// Verifier verifies cosignatures of one key.
type Verifier struct {
	name string
	hash uint32
	pub  ed25519.PublicKey
}

var _ note.Verifier = (*Verifier)(nil)

// ParseVerifier reads a public key, name+hash+base64.
func ParseVerifier(vkey string) (*Verifier, error) {
	name, hash, key, err := splitKey(strings.TrimSpace(vkey))
	if err != nil {
		return nil, err
	}
	if len(key) != ed25519.PublicKeySize || keyHash(name, key) != hash {
		return nil, fmt.Errorf("%w: its hash does not match", ErrKey)
	}
	return &Verifier{name, hash, key}, nil
}

// splitKey reads name+hash+base64(algorithm, key).
func splitKey(text string) (name string, hash uint32, key []byte, err error) {
	parts := strings.SplitN(text, "+", 3)
	bad := fmt.Errorf("%w: must be name+hash+base64 with the algorithm of cosignatures", ErrKey)
	if len(parts) != 3 || !validName(parts[0]) || len(parts[1]) != 8 {
		return "", 0, nil, bad
	}
	n, err := strconv.ParseUint(parts[1], 16, 32)
	if err != nil || fmt.Sprintf("%08x", n) != parts[1] {
		return "", 0, nil, bad
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(parts[2])
	if err != nil || len(raw) < 1 || raw[0] != algCosignature || strings.ContainsAny(parts[2], "\r\n") {
		return "", 0, nil, bad
	}
	return parts[0], uint32(n), raw[1:], nil
}

func validName(name string) bool {
	return name != "" && len(name) <= 200 && !strings.ContainsAny(name, "+ \t\r\n")
}

// Name implements note.Verifier.
func (v *Verifier) Name() string { return v.name }

// KeyHash implements note.Verifier.
func (v *Verifier) KeyHash() uint32 { return v.hash }

// Verify implements note.Verifier.
func (v *Verifier) Verify(msg, sig []byte) bool {
	if len(sig) != sigLen {
		return false
	}
	return ed25519.Verify(v.pub, signed(binary.BigEndian.Uint64(sig), msg), sig[8:])
}

// signed is what a cosignature is over.
func signed(at uint64, text []byte) []byte {
	return append([]byte("cosignature/v1\ntime "+strconv.FormatUint(at, 10)+"\n"), text...)
}

// String is the public key's text.
func (v *Verifier) String() string {
	return fmt.Sprintf("%s+%08x+%s", v.name, v.hash, base64.StdEncoding.EncodeToString(append([]byte{algCosignature}, v.pub...)))
}

// Signer cosigns with one key.
type Signer struct {
	*Verifier
	key  ed25519.PrivateKey // nil: sign has it
	sign func(msg []byte) ([]byte, error)
	now  func() time.Time
}

var _ note.Signer = (*Signer)(nil)

// GenerateSigner makes a key.
func GenerateSigner(name string) (*Signer, error) {
	if !validName(name) {
		return nil, errName(name)
	}
	seed := make([]byte, ed25519.SeedSize)
	if _, err := rand.Read(seed); err != nil {
		return nil, fmt.Errorf("generate cosignature key: %w", err)
	}
	return newSigner(name, seed), nil
}

func newSigner(name string, seed []byte) *Signer {
	key := ed25519.NewKeyFromSeed(seed)
	pub := key.Public().(ed25519.PublicKey)
	return &Signer{
		Verifier: &Verifier{name, keyHash(name, pub), pub}, key: key, now: time.Now,
		sign: func(msg []byte) ([]byte, error) { return ed25519.Sign(key, msg), nil },
	}
}

// NewVerifier is the verifier of a public key under a name.
func NewVerifier(name string, pub ed25519.PublicKey) (*Verifier, error) {
	if !validName(name) {
		return nil, errName(name)
	}
	return &Verifier{name, keyHash(name, pub), pub}, nil
}

func errName(name string) error {
	return fmt.Errorf("cosignature key name %q: must not be empty or hold spaces or '+'", name)
}

// PublicKey is the Ed25519 key.
func (v *Verifier) PublicKey() ed25519.PublicKey { return v.pub }

// NewSigner cosigns with a key that is elsewhere: sign makes Ed25519 signatures
// that the verifier's key fits.
func NewSigner(v *Verifier, sign func(msg []byte) ([]byte, error)) *Signer {
	return &Signer{Verifier: v, sign: sign, now: time.Now}
}

// ParseSigner reads a secret key, "PRIVATE+KEY+name+hash+base64".
func ParseSigner(text string) (*Signer, error) {
	rest, ok := strings.CutPrefix(strings.TrimSpace(text), privateHead)
	if !ok {
		return nil, fmt.Errorf("%w: must start with %s", ErrKey, privateHead)
	}
	name, hash, seed, err := splitKey(rest)
	if err != nil {
		return nil, err
	}
	if len(seed) != ed25519.SeedSize {
		return nil, fmt.Errorf("%w: length", ErrKey)
	}
	s := newSigner(name, seed)
	if s.hash != hash {
		return nil, fmt.Errorf("%w: its hash does not match", ErrKey)
	}
	return s, nil
}

// Text is the secret key's text; not for one that is elsewhere.
func (s *Signer) Text() string {
	return fmt.Sprintf("%s%s+%08x+%s", privateHead, s.name, s.hash, base64.StdEncoding.EncodeToString(append([]byte{algCosignature}, s.key.Seed()...)))
}

// GoString keeps %#v from printing the secret.
func (s *Signer) GoString() string { return s.Verifier.String() }

// Sign implements note.Signer: it cosigns now.
func (s *Signer) Sign(msg []byte) ([]byte, error) {
	at := uint64(s.now().Unix())
	sig, err := s.sign(signed(at, msg))
	if err != nil {
		return nil, err
	}
	return append(binary.BigEndian.AppendUint64(nil, at), sig...), nil
}

// Line is the signature line of a note's text.
func (s *Signer) Line(text string) (string, error) {
	sig, err := s.Sign([]byte(text))
	if err != nil {
		return "", err
	}
	b := append(binary.BigEndian.AppendUint32(nil, s.hash), sig...)
	return "— " + s.name + " " + base64.StdEncoding.EncodeToString(b) + "\n", nil
}

// Time is when a signature line of a verifier's key was made; false if there is
// none in the note.
func (v *Verifier) Time(msg []byte) (time.Time, bool) {
	_, sigs, ok := strings.Cut(string(msg), "\n\n")
	if !ok {
		return time.Time{}, false
	}
	for line := range strings.Lines(sigs) {
		f := strings.Fields(line)
		if len(f) != 3 || f[1] != v.name {
			continue
		}
		raw, err := base64.StdEncoding.Strict().DecodeString(f[2])
		if err == nil && len(raw) == 4+sigLen && binary.BigEndian.Uint32(raw) == v.hash {
			return time.Unix(int64(binary.BigEndian.Uint64(raw[4:])), 0).UTC(), true
		}
	}
	return time.Time{}, false
}
