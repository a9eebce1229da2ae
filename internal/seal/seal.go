// Package seal encrypts content to a public key whose private half the writer
// does not hold, and keeps the key files of the product.
//
// # Container
//
// A sealed container is, with big-endian integers:
//
//	"CAS1"            magic and version
//	kem    uint16     0x0020  DHKEM(X25519, HKDF-SHA256)
//	kdf    uint16     0x0001  HKDF-SHA256
//	cipher uint16     0x0002  AES-256-GCM
//	keyID  [8]byte    first 8 bytes of SHA-256 of the recipient's public key
//	enc    [32]byte   HPKE encapsulated key
//	nonce  [12]byte   random
//	ciphertext and tag
//
// HPKE (RFC 9180) runs in export-only mode with info "claudeaudit content v1"
// followed by the key id; the 32 bytes exported under "content key" are the
// AES-256-GCM key. The additional data of AES-GCM is the container up to and
// including enc, followed by the caller's additional data, so a container can
// be opened only as what it was sealed for.
//
// An encapsulation costs about a hundred microseconds, so a Recipient reuses
// one for up to MaxSealsPerKey containers or MaxKeyAge, each with a random
// nonce of its own. With 96-bit random nonces and at most 65,536 uses of a key
// the chance that two nonces meet is below 2^-64. Containers of one
// encapsulation show the same enc, which tells that one process sealed them
// within ten minutes and nothing else.
package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/hpke"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"time"
)

const (
	// Suite names the algorithms of the container for records.
	Suite = "hpke-x25519-hkdfsha256-aes256gcm"

	// Overhead is what a container is longer than its plaintext, in bytes.
	Overhead = headerLen + nonceLen + tagLen

	// MaxSealsPerKey and MaxKeyAge bound how long one encapsulation is used.
	MaxSealsPerKey = 1 << 16
	MaxKeyAge      = 10 * time.Minute

	magic     = "CAS1"
	kemX25519 = 0x0020
	kdfSHA256 = 0x0001
	aesGCM256 = 0x0002
	keyIDLen  = 8
	encLen    = 32
	nonceLen  = 12
	tagLen    = 16
	headerLen = len(magic) + 6 + keyIDLen + encLen

	hpkeInfo      = "claudeaudit content v1"
	exportContext = "content key"

	// openCache is how many unwrapped content keys an Identity remembers.
	openCache = 64
)

var (
	// ErrFormat says that the bytes are not a container this version reads.
	ErrFormat = errors.New("not a sealed content container")
	// ErrWrongKey says that the container was sealed to another key.
	ErrWrongKey = errors.New("sealed to another key")
	// ErrOpen says that the container or its additional data was changed.
	ErrOpen = errors.New("sealed content does not open: it was changed or belongs elsewhere")
)

// Recipient seals content to a public key. It is safe for concurrent use.
type Recipient struct {
	pub hpke.PublicKey
	id  [keyIDLen]byte
	now func() time.Time

	mu     sync.Mutex
	header []byte
	aead   cipher.AEAD
	uses   int
	born   time.Time
}

// Identity opens what was sealed to its public key. It is safe for concurrent use.
type Identity struct {
	priv hpke.PrivateKey
	id   [keyIDLen]byte

	mu    sync.Mutex
	keys  map[[encLen]byte]cipher.AEAD
	order [][encLen]byte
}

// GenerateIdentity makes a new key pair.
func GenerateIdentity() (*Identity, error) {
	priv, err := kem().GenerateKey()
	if err != nil {
		return nil, fmt.Errorf("generate content identity: %w", err)
	}
	return newIdentity(priv), nil
}

func kem() hpke.KEM { return hpke.DHKEM(ecdh.X25519()) }

func newIdentity(priv hpke.PrivateKey) *Identity {
	return &Identity{
		priv: priv,
		id:   keyID(priv.PublicKey().Bytes()),
		keys: make(map[[encLen]byte]cipher.AEAD, openCache),
	}
}

func newRecipient(pub hpke.PublicKey) *Recipient {
	return &Recipient{pub: pub, id: keyID(pub.Bytes()), now: time.Now}
}

func keyID(pub []byte) (id [keyIDLen]byte) {
	sum := sha256.Sum256(pub)
	copy(id[:], sum[:])
	return id
}

// KeyID is the key's name in records and containers: 16 lower-case hex digits.
func (r *Recipient) KeyID() string { return hex.EncodeToString(r.id[:]) }

// KeyID is the key's name in records and containers: 16 lower-case hex digits.
func (i *Identity) KeyID() string { return hex.EncodeToString(i.id[:]) }

// Recipient returns the public half.
func (i *Identity) Recipient() *Recipient { return newRecipient(i.priv.PublicKey()) }

// Seal encrypts plaintext so that only the recipient's identity opens it, and
// only together with the same aad. The result is len(plaintext)+Overhead long.
func (r *Recipient) Seal(plaintext, aad []byte) ([]byte, error) {
	return seal(r, aad, plaintext)
}

// SealJoined is Seal of the texts one after the other.
func (r *Recipient) SealJoined(aad []byte, texts ...string) ([]byte, error) {
	return seal(r, aad, texts...)
}

func seal[T string | []byte](r *Recipient, aad []byte, texts ...T) ([]byte, error) {
	header, aead, err := r.context()
	if err != nil {
		return nil, err
	}
	n := headerLen + nonceLen
	for _, t := range texts {
		n += len(t)
	}
	out := make([]byte, headerLen+nonceLen, n+tagLen)
	copy(out, header)
	nonce := out[headerLen:]
	if _, err := rand.Read(nonce); err != nil {
		return nil, fmt.Errorf("seal content: read random nonce: %w", err)
	}
	for _, t := range texts {
		out = append(out, t...)
	}
	plaintext := out[headerLen+nonceLen:] // its ciphertext takes its place
	return aead.Seal(out[:headerLen+nonceLen], nonce, plaintext, boundData(header, aad)), nil
}

func boundData(header, aad []byte) []byte {
	return append(append(make([]byte, 0, headerLen+len(aad)), header...), aad...)
}

// context returns the header and cipher in use, a new one when the last is used up.
func (r *Recipient) context() ([]byte, cipher.AEAD, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	if r.aead != nil && r.uses < MaxSealsPerKey && now.Sub(r.born) < MaxKeyAge && !now.Before(r.born) {
		r.uses++
		return r.header, r.aead, nil
	}
	enc, sender, err := hpke.NewSender(r.pub, hpke.HKDFSHA256(), hpke.ExportOnly(), info(r.id))
	if err != nil {
		return nil, nil, fmt.Errorf("seal content: encapsulate: %w", err)
	}
	key, err := sender.Export(exportContext, 32)
	if err != nil {
		return nil, nil, fmt.Errorf("seal content: derive key: %w", err)
	}
	aead, err := newGCM(key)
	if err != nil {
		return nil, nil, fmt.Errorf("seal content: %w", err)
	}
	header := make([]byte, 0, headerLen)
	header = append(header, magic...)
	header = binary.BigEndian.AppendUint16(header, kemX25519)
	header = binary.BigEndian.AppendUint16(header, kdfSHA256)
	header = binary.BigEndian.AppendUint16(header, aesGCM256)
	header = append(header, r.id[:]...)
	header = append(header, enc...)
	r.header, r.aead, r.uses, r.born = header, aead, 1, now
	return header, aead, nil
}

func info(id [keyIDLen]byte) []byte { return append([]byte(hpkeInfo), id[:]...) }

func newGCM(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// Header is what a container tells without a key.
type Header struct {
	KeyID string // 16 lower-case hex digits
	Suite string
}

// ParseHeader reads a container's header. It returns ErrFormat, wrapped, for
// anything that is not a container.
func ParseHeader(container []byte) (Header, error) {
	if len(container) < Overhead {
		return Header{}, fmt.Errorf("%w: %d bytes are fewer than the %d of an empty one", ErrFormat, len(container), Overhead)
	}
	if string(container[:len(magic)]) != magic {
		return Header{}, fmt.Errorf("%w: unknown magic", ErrFormat)
	}
	b := container[len(magic):]
	kem, kdf, ciph := binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:]), binary.BigEndian.Uint16(b[4:])
	if kem != kemX25519 || kdf != kdfSHA256 || ciph != aesGCM256 {
		return Header{}, fmt.Errorf("%w: unknown suite %04x-%04x-%04x", ErrFormat, kem, kdf, ciph)
	}
	return Header{KeyID: hex.EncodeToString(b[6 : 6+keyIDLen]), Suite: Suite}, nil
}

// Open decrypts a container. aad must be what was given to Seal. Errors are
// ErrFormat, ErrWrongKey or ErrOpen, wrapped.
func (i *Identity) Open(container, aad []byte) ([]byte, error) {
	h, err := ParseHeader(container)
	if err != nil {
		return nil, fmt.Errorf("open content: %w", err)
	}
	if h.KeyID != i.KeyID() {
		return nil, fmt.Errorf("open content: %w: key %s, this identity is %s", ErrWrongKey, h.KeyID, i.KeyID())
	}
	header := container[:headerLen]
	aead, err := i.key([encLen]byte(header[headerLen-encLen:]))
	if err != nil {
		return nil, fmt.Errorf("open content: %w", err)
	}
	nonce, ct := container[headerLen:headerLen+nonceLen], container[headerLen+nonceLen:]
	plain, err := aead.Open(nil, nonce, ct, boundData(header, aad))
	if err != nil {
		return nil, fmt.Errorf("open content: %w", ErrOpen)
	}
	return plain, nil
}

func (i *Identity) key(enc [encLen]byte) (cipher.AEAD, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if aead, ok := i.keys[enc]; ok {
		return aead, nil
	}
	rcpt, err := hpke.NewRecipient(enc[:], i.priv, hpke.HKDFSHA256(), hpke.ExportOnly(), info(i.id))
	if err != nil {
		return nil, fmt.Errorf("%w: encapsulated key: %w", ErrOpen, err)
	}
	key, err := rcpt.Export(exportContext, 32)
	if err != nil {
		return nil, fmt.Errorf("derive content key: %w", err)
	}
	aead, err := newGCM(key)
	if err != nil {
		return nil, err
	}
	if len(i.order) >= openCache {
		delete(i.keys, i.order[0])
		i.order = append(i.order[:0], i.order[1:]...)
	}
	i.keys[enc] = aead
	i.order = append(i.order, enc)
	return aead, nil
}
