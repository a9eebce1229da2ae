// Package pseudonym makes identifiers of persons less identifying before they
// reach the record: addresses are cut, hashed or dropped, user ids are replaced
// by keyed hashes.
package pseudonym

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
)

// MinKeyBytes is the least length of a key, in bytes: a shorter one could be
// found by trying.
const MinKeyBytes = 16

// maxKeyFile bounds what is read of a key file.
const maxKeyFile = 4096

// Prefix marks a pseudonym, so that it is never taken for an id.
const Prefix = "hmac-sha256:"

// ErrKeyTooShort is returned for a key of less than MinKeyBytes.
var ErrKeyTooShort = fmt.Errorf("must have at least %d bytes", MinKeyBytes)

// Key makes pseudonyms. The same key makes the same pseudonym of the same id,
// so that a person's records can be found by who holds the key.
type Key struct{ secret []byte }

// NewKey makes a key from a secret.
func NewKey(secret []byte) (*Key, error) {
	if len(secret) < MinKeyBytes {
		return nil, ErrKeyTooShort
	}
	return &Key{secret: bytes.Clone(secret)}, nil
}

// ReadKey reads a key from a file: its bytes, without the line end at its end.
func ReadKey(path string) (*Key, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open the key file: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err != nil {
		return nil, fmt.Errorf("read the key file: %w", err)
	}
	if len(b) > maxKeyFile {
		return nil, fmt.Errorf("the key file has more than %d bytes", maxKeyFile)
	}
	k, err := NewKey(bytes.TrimRight(b, "\r\n"))
	if err != nil {
		return nil, fmt.Errorf("the key %w", err)
	}
	return k, nil
}

func (k *Key) sum(kind, id string) []byte {
	h := hmac.New(sha256.New, k.secret)
	h.Write([]byte(kind + "\x00"))
	h.Write([]byte(id))
	return h.Sum(nil)
}

// User is the pseudonym of a user id: Prefix and 43 characters. "" stays "".
func (k *Key) User(id string) string {
	if id == "" {
		return ""
	}
	return Prefix + base64.RawURLEncoding.EncodeToString(k.sum("user", id))
}

// Mask says what becomes of an address.
type Mask string

// Masks of an address.
const (
	// MaskFull keeps the whole address.
	MaskFull Mask = "full"
	// MaskTruncate keeps the network: the first 24 bits of an IPv4 address, the first 48 of an IPv6 address.
	MaskTruncate Mask = "truncate"
	// MaskHash replaces the address by an address in fd00::/8 made from its keyed hash, so that
	// the field stays an address: equal ones stay equal.
	MaskHash Mask = "hash"
	// MaskDrop leaves the address out.
	MaskDrop Mask = "drop"
)

// Masks are all of them.
var Masks = []Mask{MaskTruncate, MaskFull, MaskHash, MaskDrop}

var errNoKey = errors.New("hashing addresses needs a key")

// Address masks an address. What isn't an address is dropped: it can't be told
// how identifying it is. A port is cut off.
func (k *Key) Address(s string, m Mask) (string, error) {
	if s == "" || m == MaskDrop {
		return "", nil
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		ap, err := netip.ParseAddrPort(s)
		if err != nil {
			return "", nil
		}
		a = ap.Addr()
	}
	a = a.Unmap().WithZone("")
	switch m {
	case MaskFull:
		return a.String(), nil
	case MaskHash:
		if k == nil {
			return "", errNoKey
		}
		sum := k.sum("address", a.String())
		var b [16]byte
		b[0] = 0xfd
		copy(b[1:], sum)
		return netip.AddrFrom16(b).String(), nil
	}
	bits := 48
	if a.Is4() {
		bits = 24
	}
	p, err := a.Prefix(bits)
	if err != nil {
		return "", fmt.Errorf("cut the address: %w", err)
	}
	return p.Addr().String(), nil
}
