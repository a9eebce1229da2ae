package index

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/google/uuid"
)

// Position is the place of a record in the order of an answer: the content of
// a page cursor. It does not depend on the store that made it.
type Position struct {
	Time  time.Time
	Event uuid.UUID
}

// String returns the cursor of the position: 32 characters, safe in a URL.
func (p Position) String() string {
	var b [24]byte
	binary.BigEndian.PutUint64(b[:8], uint64(p.Time.UnixNano()))
	copy(b[8:], p.Event[:])
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// ParsePosition reads a cursor back. Its errors wrap ErrQuery.
func ParsePosition(s string) (Position, error) {
	var b [24]byte
	if len(s) != 32 {
		return Position{}, fmt.Errorf("%w: after must be the cursor of a page", ErrQuery)
	}
	if n, err := base64.RawURLEncoding.Strict().Decode(b[:], []byte(s)); err != nil || n != len(b) {
		return Position{}, fmt.Errorf("%w: after must be the cursor of a page", ErrQuery)
	}
	p := Position{Time: time.Unix(0, int64(binary.BigEndian.Uint64(b[:8]))).UTC()}
	copy(p.Event[:], b[8:])
	return p, nil
}
