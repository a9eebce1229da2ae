package seal

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"github.com/claudeaudit/claudeaudit/internal/durable"
	"github.com/claudeaudit/claudeaudit/internal/witness"
)

const (
	publicPrefix   = "claudeaudit-content-public-v1:"
	identityPrefix = "claudeaudit-content-identity-v1:"
	rsaPrefix      = "claudeaudit-content-public-rsa-v1:"

	// maxKeyFile bounds what is read of a key file.
	maxKeyFile = 4096
	hpkeKeyLen = 32
	checkLen   = 4
)

var (
	// ErrKey says that a key's text can't be read. It never quotes the text.
	ErrKey = errors.New("invalid key")
	// ErrExposed says that others than the owner can read a secret key file.
	ErrExposed = errors.New("secret key file is readable by others")
)

// String returns the public key as one line of text.
func (r *Recipient) String() string { return encodeKey(publicPrefix, r.pub.Bytes()) }

// Text returns the secret key as one line of text. It is not called String so
// that printing an Identity does not print the key.
func (i *Identity) Text() (string, error) {
	raw, err := i.priv.Bytes()
	if err != nil {
		return "", fmt.Errorf("encode content identity: %w", err)
	}
	return encodeKey(identityPrefix, raw), nil
}

// String names the identity by its key id, without the secret.
func (i *Identity) String() string { return "content identity " + i.KeyID() }

// GoString is String, so that %#v does not print the secret either.
func (i *Identity) GoString() string { return i.String() }

// encodeKey appends a 4-byte check of prefix and key so that a typing error is
// told from a key that opens nothing.
func encodeKey(prefix string, key []byte) string {
	sum := keyCheck(prefix, key)
	return prefix + base64.RawURLEncoding.EncodeToString(append(bytes.Clone(key), sum...))
}

func keyCheck(prefix string, key []byte) []byte {
	h := sha256.New()
	io.WriteString(h, prefix)
	h.Write(key)
	return h.Sum(nil)[:checkLen]
}

func decodeKey(prefix, text string) ([]byte, error) {
	text = strings.TrimSpace(text)
	rest, ok := strings.CutPrefix(text, prefix)
	switch {
	case ok:
	case strings.HasPrefix(text, publicPrefix), strings.HasPrefix(text, rsaPrefix):
		return nil, fmt.Errorf("%w: this is a content public key, want %q", ErrKey, prefix)
	case strings.HasPrefix(text, identityPrefix):
		return nil, fmt.Errorf("%w: this is a secret content identity, want %q", ErrKey, prefix)
	case text == "":
		return nil, fmt.Errorf("%w: empty, want %q", ErrKey, prefix)
	default:
		return nil, fmt.Errorf("%w: must start with %q", ErrKey, prefix)
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(rest)
	if err != nil || strings.ContainsAny(rest, "\r\n") { // the decoder skips line breaks
		return nil, fmt.Errorf("%w: after the prefix must follow unpadded base64url", ErrKey)
	}
	switch {
	case prefix != rsaPrefix && len(raw) != hpkeKeyLen+checkLen:
		return nil, fmt.Errorf("%w: holds %d bytes, must be %d", ErrKey, len(raw), hpkeKeyLen+checkLen)
	case len(raw) < checkLen:
		return nil, fmt.Errorf("%w: holds %d bytes", ErrKey, len(raw))
	}
	key, sum := raw[:len(raw)-checkLen], raw[len(raw)-checkLen:]
	if !bytes.Equal(sum, keyCheck(prefix, key)) {
		return nil, fmt.Errorf("%w: check digits don't match, the text was mistyped or cut", ErrKey)
	}
	return key, nil
}

// ParseRecipient reads a public key's text.
func ParseRecipient(text string) (*Recipient, error) {
	raw, err := decodeKey(publicPrefix, text)
	if err != nil {
		return nil, fmt.Errorf("content public key: %w", err)
	}
	pub, err := kem().NewPublicKey(raw)
	if err != nil {
		return nil, fmt.Errorf("content public key: %w: %w", ErrKey, err)
	}
	return newRecipient(pub), nil
}

// ParseIdentity reads a secret key's text.
func ParseIdentity(text string) (*Identity, error) {
	raw, err := decodeKey(identityPrefix, text)
	if err != nil {
		return nil, fmt.Errorf("content identity: %w", err)
	}
	priv, err := kem().NewPrivateKey(raw)
	if err != nil {
		return nil, fmt.Errorf("content identity: %w", ErrKey)
	}
	return newIdentity(priv), nil
}

// LoadRecipient reads a public key file.
func LoadRecipient(path string) (*Recipient, error) {
	text, err := readKeyFile(path, false)
	if err != nil {
		return nil, fmt.Errorf("read content public key: %w", err)
	}
	r, err := ParseRecipient(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}

// LoadIdentity reads a secret key file; ErrExposed if others than its owner can read it.
func LoadIdentity(path string) (*Identity, error) {
	text, err := readKeyFile(path, true)
	if err != nil {
		return nil, fmt.Errorf("read content identity: %w", err)
	}
	i, err := ParseIdentity(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return i, nil
}

// WriteContentKeys writes the secret key to identityPath (mode 0600) and the
// public key to publicPath (0644). Existing files are never overwritten: the
// error then is fs.ErrExist, wrapped.
func WriteContentKeys(i *Identity, identityPath, publicPath string) error {
	text, err := i.Text()
	if err != nil {
		return err
	}
	return writePair(identityPath, text, publicPath, i.Recipient().String())
}

// CheckpointKey signs checkpoints: with a key that is here, or with one in a key
// management service.
type CheckpointKey struct {
	Signer note.Signer
	// VerifierKey is the public key's text, "name+hash+base64".
	VerifierKey string

	secret string // or the reference
}

// GenerateCheckpointKey makes an Ed25519 key in the form of signed notes. The
// name must not be empty or hold spaces or "+".
func GenerateCheckpointKey(name string) (*CheckpointKey, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	skey, _, err := note.GenerateKey(rand.Reader, name)
	if err != nil {
		return nil, fmt.Errorf("generate checkpoint key: %w", err)
	}
	return ParseCheckpointKey(skey)
}

func checkName(name string) error {
	if name == "" || strings.ContainsAny(name, "+ \t\r\n") {
		return fmt.Errorf("checkpoint key name %q: must not be empty or hold spaces or '+'", name)
	}
	return nil
}

// verifierPublic is the Ed25519 key of a verifier key that note.NewVerifier took.
func verifierPublic(vkey string) (ed25519.PublicKey, error) {
	parts := strings.SplitN(vkey, "+", 3)
	raw, err := base64.StdEncoding.Strict().DecodeString(parts[len(parts)-1])
	if err != nil || len(raw) != 1+ed25519.PublicKeySize {
		return nil, fmt.Errorf("%w: must be an Ed25519 key", ErrKey)
	}
	return ed25519.PublicKey(raw[1:]), nil
}

// ParseCheckpointKey reads a secret checkpoint key's text ("PRIVATE+KEY+…").
func ParseCheckpointKey(text string) (*CheckpointKey, error) {
	text = strings.TrimSpace(text)
	signer, err := note.NewSigner(text)
	if err != nil {
		return nil, fmt.Errorf("checkpoint key: %w: must be one line PRIVATE+KEY+name+hash+base64", ErrKey)
	}
	// note.NewSigner checked the form: the algorithm byte and the 32-byte seed follow the fourth '+'.
	parts := strings.SplitN(text, "+", 5)
	raw, err := base64.StdEncoding.Strict().DecodeString(parts[len(parts)-1])
	if err != nil || len(raw) != 1+ed25519.SeedSize {
		return nil, fmt.Errorf("checkpoint key: %w", ErrKey)
	}
	pub := ed25519.NewKeyFromSeed(raw[1:]).Public().(ed25519.PublicKey)
	vkey, err := note.NewEd25519VerifierKey(signer.Name(), pub)
	if err != nil {
		return nil, fmt.Errorf("checkpoint key: %w", err)
	}
	return &CheckpointKey{Signer: signer, VerifierKey: vkey, secret: text}, nil
}

// LoadCheckpointKey is OpenCheckpointKey for a file with the public key beside
// it; ErrExposed if others than its owner can read it.
func LoadCheckpointKey(path string) (*CheckpointKey, error) {
	return OpenCheckpointKey(path, strings.TrimSuffix(path, ".key")+".pub")
}

// WriteCheckpointKey writes the secret key to path (mode 0600) and the
// verifier key to publicPath (0644), never over an existing file.
func WriteCheckpointKey(k *CheckpointKey, path, publicPath string) error {
	return writePair(path, k.secret, publicPath, k.VerifierKey)
}

// WriteCosigner writes a witness's secret key to path (mode 0600) and the public
// key to publicPath (0644), never over an existing file.
func WriteCosigner(s *witness.Signer, path, publicPath string) error {
	return writePair(path, s.Text(), publicPath, s.Verifier.String())
}

// LoadCosignerKey reads a witness's public key file.
func LoadCosignerKey(path string) (*witness.Verifier, error) {
	text, err := readKeyFile(path, false)
	if err != nil {
		return nil, fmt.Errorf("read witness public key: %w", err)
	}
	v, err := witness.ParseVerifier(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return v, nil
}

// LoadVerifierKeys reads a file of verifier keys, one a line; empty lines and
// lines that start with '#' are skipped.
func LoadVerifierKeys(path string) ([]string, error) {
	text, err := readKeyFile(path, false)
	if err != nil {
		return nil, fmt.Errorf("read checkpoint public key: %w", err)
	}
	var keys []string
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if strings.HasPrefix(line, "PRIVATE+KEY+") {
			return nil, fmt.Errorf("%s: %w: this is a secret key, want the public one", path, ErrKey)
		}
		if _, err := note.NewVerifier(line); err != nil {
			return nil, fmt.Errorf("%s: %w: must be name+hash+base64", path, ErrKey)
		}
		keys = append(keys, line)
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("%s: %w: no key in the file", path, ErrKey)
	}
	return keys, nil
}

func readKeyFile(path string, secret bool) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return "", err
	}
	if !st.Mode().IsRegular() {
		return "", fmt.Errorf("%s: not a regular file", path)
	}
	// Windows has no such mode bits; its files inherit the folder's access list.
	if secret && runtime.GOOS != "windows" && st.Mode().Perm()&0o077 != 0 {
		return "", fmt.Errorf("%s: %w: mode is %#o, must be 0600 or less (chmod 600)", path, ErrExposed, st.Mode().Perm())
	}
	text, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	if len(text) > maxKeyFile {
		return "", fmt.Errorf("%s: %w: longer than %d bytes", path, ErrKey, maxKeyFile)
	}
	return string(text), nil
}

// writePair writes the secret half first: the public one can be made of it when
// a crash comes in between.
func writePair(secretPath, secret, publicPath, public string) error {
	for _, p := range []string{secretPath, publicPath} {
		there, err := exists(p)
		if err == nil && there {
			err = fs.ErrExist
		}
		if err != nil {
			return fmt.Errorf("write key %s: %w", p, err)
		}
	}
	if err := writeNew(secretPath, secret, 0o600); err != nil {
		return err
	}
	return writeNew(publicPath, public, 0o644)
}

func exists(path string) (bool, error) {
	_, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// EnsureCheckpointKey loads the secret key at path, or makes one of that name if
// there is neither it nor the public one, and sees to it that the public key
// is at publicPath, also after a crash. made says that the key is new.
func EnsureCheckpointKey(path, publicPath, name string) (k *CheckpointKey, made bool, err error) {
	secret, err := exists(path)
	if err != nil {
		return nil, false, fmt.Errorf("checkpoint key: %w", err)
	}
	public, err := exists(publicPath)
	if err != nil {
		return nil, false, fmt.Errorf("checkpoint public key: %w", err)
	}
	switch {
	case secret:
		if k, err = LoadCheckpointKey(path); err != nil {
			return nil, false, err
		}
		if !public {
			err = writeNew(publicPath, k.VerifierKey, 0o644)
		}
		return k, false, err
	case public:
		return nil, false, fmt.Errorf("checkpoint key: %s is there, its secret key %s is not: %w", publicPath, path, fs.ErrNotExist)
	}
	if k, err = GenerateCheckpointKey(name); err != nil {
		return nil, false, err
	}
	return k, true, WriteCheckpointKey(k, path, publicPath)
}

// EnsureContentKeys loads the public key at publicPath; without it, makes it of
// the identity at identityPath; without that, makes both. made says that the
// keys are new.
func EnsureContentKeys(identityPath, publicPath string) (r Wrapper, made bool, err error) {
	public, err := exists(publicPath)
	if err != nil {
		return nil, false, fmt.Errorf("content public key: %w", err)
	}
	if public {
		r, err = LoadWrapper(publicPath)
		return r, false, err
	}
	secret, err := exists(identityPath)
	if err != nil {
		return nil, false, fmt.Errorf("content identity: %w", err)
	}
	var id *Identity
	if secret {
		if id, err = LoadIdentity(identityPath); err != nil {
			return nil, false, err
		}
		r := id.Recipient()
		return r, false, writeNew(publicPath, r.String(), 0o644)
	}
	if id, err = GenerateIdentity(); err != nil {
		return nil, false, err
	}
	return id.Recipient(), true, WriteContentKeys(id, identityPath, publicPath)
}

// writeNew creates path with one line of text, all of it or nothing, and fails
// with fs.ErrExist if it is there.
func writeNew(path, text string, mode fs.FileMode) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("write key: %w", err)
	}
	tmp, err := os.CreateTemp(dir, ".key-*") // mode 0600
	if err != nil {
		return fmt.Errorf("write key: %w", err)
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.WriteString(text + "\n")
	if err == nil {
		err = tmp.Chmod(mode)
	}
	if err == nil {
		err = tmp.Sync()
	}
	if err = errors.Join(err, tmp.Close()); err != nil {
		return fmt.Errorf("write key %s: %w", path, err)
	}
	// A hard link fails when the name exists; a rename would replace it.
	if err := os.Link(tmp.Name(), path); err != nil {
		return fmt.Errorf("write key: %w", err)
	}
	return durable.SyncDir(dir)
}
