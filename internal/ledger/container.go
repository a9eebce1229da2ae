package ledger

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"
)

// A content container is cntMagic, the ciphertexts one after the other, an
// index (for each: SHA-256 [32]byte, offset uint64, length uint64, sequence
// number uint64, sorted as stored) and a trailer: index offset uint64, items
// uint32, first sequence number of its segment uint64, hour int64, class
// length uint8 and class padded to 64 bytes, CRC32C of the index and the
// trailer so far, cntMagic. Integers are little-endian. The name holds the
// first 8 bytes of the SHA-256 of index and trailer.
const (
	cntMagic      = "CACNT1\r\n"
	cntItemLen    = 32 + 8 + 8 + 8
	cntTrailerLen = 8 + 4 + 8 + 8 + 1 + maxClass + 4 + len(cntMagic)
	cntSuffix     = ".cnt"
	maxCntFile    = 1 << 30
	maxCntItems   = maxSegEntries * maxContents
)

var errContainer = errors.New("invalid content container")

type cntItem struct {
	sha    Hash
	offset uint64
	length uint64
	seq    uint64
}

type cntBuilder struct {
	class string
	buf   []byte
	items []cntItem
	bySHA map[Hash]bool
}

// newCntBuilder makes one in the memory of room, as far as that is enough.
func newCntBuilder(class string, room []byte) *cntBuilder {
	return &cntBuilder{class: class, buf: append(room[:0], cntMagic...), bySHA: map[Hash]bool{}}
}

// add stores a content once, at the first entry that came with it.
func (b *cntBuilder) add(seq uint64, content []byte) Hash {
	sha := sha256.Sum256(content)
	if !b.bySHA[sha] {
		b.bySHA[sha] = true
		b.items = append(b.items, cntItem{sha, uint64(len(b.buf)), uint64(len(content)), seq})
		b.buf = append(b.buf, content...)
	}
	return sha
}

// finish returns the file's bytes and what the segment says of it.
func (b *cntBuilder) finish(first uint64, hour time.Time) ([]byte, containerRef) {
	at := len(b.buf)
	out := b.buf
	for _, it := range b.items {
		out = append(out, it.sha[:]...)
		out = binary.LittleEndian.AppendUint64(out, it.offset)
		out = binary.LittleEndian.AppendUint64(out, it.length)
		out = binary.LittleEndian.AppendUint64(out, it.seq)
	}
	out = binary.LittleEndian.AppendUint64(out, uint64(at))
	out = binary.LittleEndian.AppendUint32(out, uint32(len(b.items)))
	out = binary.LittleEndian.AppendUint64(out, first)
	out = binary.LittleEndian.AppendUint64(out, uint64(hour.Unix()))
	out = append(append(out, byte(len(b.class))), b.class...)
	out = append(out, make([]byte, maxClass-len(b.class))...)
	out = binary.LittleEndian.AppendUint32(out, checksum(out[at:]))
	out = append(out, cntMagic...)
	return out, containerRef{class: b.class, items: uint32(len(b.items)), size: uint64(len(out)), hash: sha256.Sum256(out[at:])}
}

func cntName(c containerRef, first uint64, hour time.Time) string {
	return fmt.Sprintf("%s/%s/%016d-%x%s", c.class, hourPath(hour), first, c.hash[:8], cntSuffix)
}

// container is a container's parsed tail.
type container struct {
	first uint64
	hour  time.Time
	class string
	items []cntItem
	hash  Hash
	at    uint64 // where the index begins
}

// cntIndexAt reads from a file's last bytes where its index begins.
func cntIndexAt(tail []byte, size int64) (int64, error) {
	if len(tail) < cntTrailerLen || size < int64(len(cntMagic)+cntTrailerLen) || size > maxCntFile {
		return 0, fmt.Errorf("%w: length", errContainer)
	}
	t := tail[len(tail)-cntTrailerLen:]
	at, items := binary.LittleEndian.Uint64(t), binary.LittleEndian.Uint32(t[8:])
	if items > maxCntItems || at < uint64(len(cntMagic)) || at+uint64(items)*cntItemLen+uint64(cntTrailerLen) != uint64(size) {
		return 0, fmt.Errorf("%w: trailer", errContainer)
	}
	return int64(at), nil
}

// parseContainer reads index and trailer: the file's bytes from at on.
func parseContainer(b []byte, at int64) (*container, error) {
	bad := func(what string) (*container, error) { return nil, fmt.Errorf("%w: %s", errContainer, what) }
	if len(b) < cntTrailerLen || (len(b)-cntTrailerLen)%cntItemLen != 0 {
		return bad("length")
	}
	t := b[len(b)-cntTrailerLen:]
	crcAt := len(b) - len(cntMagic) - 4
	if string(b[crcAt+4:]) != cntMagic {
		return bad("magic")
	}
	if checksum(b[:crcAt]) != binary.LittleEndian.Uint32(b[crcAt:]) {
		return bad("checksum")
	}
	n := int(binary.LittleEndian.Uint32(t[8:]))
	hour := int64(binary.LittleEndian.Uint64(t[20:]))
	k := int(t[28])
	if binary.LittleEndian.Uint64(t) != uint64(at) || n*cntItemLen != len(b)-cntTrailerLen || k > maxClass {
		return bad("trailer")
	}
	c := &container{
		first: binary.LittleEndian.Uint64(t[12:]), hour: time.Unix(hour, 0).UTC(), class: string(t[29 : 29+k]),
		hash: sha256.Sum256(b), at: uint64(at), items: make([]cntItem, n),
	}
	next := uint64(len(cntMagic))
	for i := range c.items {
		p := b[i*cntItemLen:]
		it := cntItem{Hash(p[:32]), binary.LittleEndian.Uint64(p[32:]), binary.LittleEndian.Uint64(p[40:]), binary.LittleEndian.Uint64(p[48:])}
		if it.offset != next || it.length > uint64(at) {
			return bad("index")
		}
		next += it.length
		c.items[i] = it
	}
	if next != uint64(at) {
		return bad("index")
	}
	return c, nil
}

// parseCntKey reads "<class>/dt=…/hh=…/<first>-<hash>.cnt".
func parseCntKey(rest string) (class string, first uint64, ok bool) {
	class, tail, found := strings.Cut(rest, "/")
	i := strings.LastIndexByte(tail, '/')
	if !found || i < 0 || checkClass(class) != nil {
		return "", 0, false
	}
	hour, err := time.Parse("dt=2006-01-02/hh=15", tail[:i])
	name := tail[i+1:]
	if err != nil || len(name) != 16+1+16+len(cntSuffix) {
		return "", 0, false
	}
	var hash Hash
	raw, err := hex.DecodeString(name[17:33])
	if err != nil {
		return "", 0, false
	}
	copy(hash[:], raw)
	for _, c := range []byte(name[:16]) {
		if c < '0' || c > '9' {
			return "", 0, false
		}
		first = first*10 + uint64(c-'0')
	}
	return class, first, first <= maxSeq && cntName(containerRef{class: class, hash: hash}, first, hour) == rest
}
