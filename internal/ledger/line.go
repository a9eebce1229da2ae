package ledger

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Hash is a SHA-256 digest.
type Hash = [sha256.Size]byte

const (
	// MaxLine bounds one entry's line in bytes.
	MaxLine = 1 << 20
	// MaxContent bounds one entry's sealed content in bytes.
	MaxContent = 64 << 20
	// MaxOrigin bounds a stream's name in bytes.
	MaxOrigin = 200

	maxClass = 64
	maxSeq   = 1<<53 - 1
)

const (
	keyLog  = `{"_log":"`
	keyPrev = `","_prev":"`
	keySeq  = `","_seq":`
)

// linePrefix is what every line of a stream starts with, up to _prev's value.
func linePrefix(origin string) []byte { return []byte(keyLog + origin + keyPrev) }

func leafHash(line []byte) Hash {
	h := sha256.New()
	h.Write([]byte{0})
	h.Write(line)
	var sum Hash
	h.Sum(sum[:0])
	return sum
}

// originHash is _prev of a stream's first entry.
func originHash(origin, verifierKey string) Hash {
	return sha256.Sum256([]byte("origin\n" + origin + "\n" + verifierKey))
}

var errLine = errors.New("malformed line")

// splitLine returns _prev and _seq of a line of the stream with this prefix,
// and where the body begins.
func splitLine(line, prefix []byte) (prev Hash, seq uint64, body int, err error) {
	if !bytes.HasPrefix(line, prefix) {
		return prev, 0, 0, fmt.Errorf("%w: does not start with the stream's _log", errLine)
	}
	rest := line[len(prefix):]
	if len(rest) < 64+len(keySeq)+3 || string(rest[64:64+len(keySeq)]) != keySeq {
		return prev, 0, 0, fmt.Errorf("%w: no _prev and _seq", errLine)
	}
	if !decodeHex(prev[:], rest[:64]) {
		return prev, 0, 0, fmt.Errorf("%w: _prev is not 64 lower-case hex digits", errLine)
	}
	rest = rest[64+len(keySeq):]
	n := 0
	for n < len(rest) && n < 17 && rest[n] >= '0' && rest[n] <= '9' {
		seq = seq*10 + uint64(rest[n]-'0')
		n++
	}
	if n == 0 || n > 1 && rest[0] == '0' || seq > maxSeq || n == len(rest) || rest[n] != ',' && rest[n] != '}' {
		return prev, 0, 0, fmt.Errorf("%w: _seq is not a number", errLine)
	}
	if line[len(line)-1] != '}' {
		return prev, 0, 0, fmt.Errorf("%w: does not end with '}'", errLine)
	}
	return prev, seq, len(line) - len(rest) + n, nil
}

// unhex has 0xff for what is no lower-case hex digit.
var unhex = func() (t [256]byte) {
	for i := range t {
		t[i] = 0xff
	}
	for i, c := range "0123456789abcdef" {
		t[c] = byte(i)
	}
	return t
}()

func decodeHex(dst, src []byte) bool {
	var bad byte
	for i := range dst {
		hi, lo := unhex[src[2*i]], unhex[src[2*i+1]]
		bad |= hi | lo
		dst[i] = hi<<4 | lo&15
	}
	return bad < 16
}

// member returns the string value of the first member of that name in canonical
// JSON. A quote inside of a JSON string is always escaped, so `"name":"` can't
// occur in one.
func member(line []byte, name string) []byte {
	i := bytes.Index(line, []byte(`"`+name+`":"`))
	if i < 0 {
		return nil
	}
	v := line[i+len(name)+4:]
	j := bytes.IndexByte(v, '"')
	if j < 0 {
		return nil
	}
	return v[:j]
}

// object returns the text of the first member of that name whose value is an
// object without objects in it, up to its first closing brace.
func object(line []byte, name string) []byte {
	i := bytes.Index(line, []byte(`"`+name+`":{`))
	if i < 0 {
		return nil
	}
	return line[i+len(name)+3:]
}

// contentHashes calls fn with each hex SHA-256 that a line names in its content
// object: the members whose names end with "sha256".
func contentHashes(line []byte, fn func(hex []byte)) {
	const key = `sha256":"`
	o := object(line, "content")
	if end := bytes.IndexByte(o, '}'); end >= 0 { // the object is flat
		o = o[:end]
	}
	for {
		i := bytes.Index(o, []byte(key))
		if i < 0 {
			return
		}
		o = o[i+len(key):]
		if len(o) > 64 && o[64] == '"' {
			fn(o[:64])
		}
	}
}

// observation reads what the dedup window needs of a line: event_id,
// source.digest and revision. ok is false if the line has no event_id.
func observation(line []byte) (id, digest [16]byte, revision int64, ok bool) {
	text := member(line, "event_id")
	if len(text) != 36 {
		return id, digest, 0, false
	}
	var flat [32]byte
	n := copy(flat[:], text[:8])
	n += copy(flat[n:], text[9:13])
	n += copy(flat[n:], text[14:18])
	n += copy(flat[n:], text[19:23])
	copy(flat[n:], text[24:])
	if !decodeHex(id[:], flat[:]) {
		return id, digest, 0, false
	}
	if d := member(object(line, "source"), "digest"); len(d) != 32 || !decodeHex(digest[:], d) {
		digest = [16]byte{}
	}
	if i := bytes.Index(line, []byte(`"revision":`)); i >= 0 {
		v := line[i+len(`"revision":`):]
		for len(v) > 0 && v[0] >= '0' && v[0] <= '9' && revision < maxSeq/10 {
			revision = revision*10 + int64(v[0]-'0')
			v = v[1:]
		}
	}
	return id, digest, revision, true
}

// checkOrigin says whether a stream's name can stand in lines, keys and notes.
func checkOrigin(origin string) error {
	if origin == "" || len(origin) > MaxOrigin {
		return fmt.Errorf("log name must have 1 to %d bytes", MaxOrigin)
	}
	for part := range strings.SplitSeq(origin, "/") {
		switch {
		case part == "" || part == "." || part == "..":
			return fmt.Errorf("log name %q: empty or relative path element", origin)
		case part == "seg" || part == "cnt" || part == "cp" || part == "wit" || part == "tsr" || part == "pruned" || part[0] == '_' || part[0] == '.':
			return fmt.Errorf("log name %q: path element %q is reserved", origin, part)
		}
		for _, c := range []byte(part) {
			if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_' || c == '.') {
				return fmt.Errorf("log name %q: may hold only letters, digits and - _ . /", origin)
			}
		}
	}
	return nil
}

// splitOrigin divides "<base>/<epoch>".
func splitOrigin(origin string) (base string, epoch uint64, err error) {
	if err := checkOrigin(origin); err != nil {
		return "", 0, err
	}
	i := strings.LastIndexByte(origin, '/')
	if i < 0 {
		return "", 0, fmt.Errorf("log name %q: must end with /<epoch>", origin)
	}
	epoch, err = strconv.ParseUint(origin[i+1:], 10, 53)
	if err != nil || epoch == 0 || strconv.FormatUint(epoch, 10) != origin[i+1:] {
		return "", 0, fmt.Errorf("log name %q: epoch must be a number from 1", origin)
	}
	return origin[:i], epoch, nil
}

// checkClass says whether a retention class can stand in keys.
func checkClass(class string) error {
	if class == "" || len(class) > maxClass {
		return fmt.Errorf("retention class must have 1 to %d bytes", maxClass)
	}
	for i, c := range []byte(class) {
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || i > 0 && (c == '-' || c == '_' || c == '.')) {
			return fmt.Errorf("retention class may hold only letters, digits and - _ . and must start with a letter or digit")
		}
	}
	return nil
}

func hexString(h Hash) string { return hex.EncodeToString(h[:]) }
