package ledger

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strings"
	"time"
)

// A write-ahead file is walMagic, a header frame, then batches. A frame is, in
// little-endian integers,
//
//	length uint32   of the payload
//	crc    uint32   CRC32C of the length and the payload
//	payload
//
// Payloads by their first byte:
//
//	'H' header: JSON of walHeader
//	'B' batch:  file id [8]byte, own offset uint64, first seq uint64,
//	            count uint32, length of the batch's entry frames uint64
//	'E' entry:  id [16]byte, digest [16]byte, time int64 (Unix ns), class
//	            length uint8, class, line length uint32, number of contents
//	            uint8, their lengths uint32 each, 0x00, line, contents
//
// The zero byte before the line lets the leaf hash be taken over the buffer in
// place. A batch is written only when everything before it is synced, so a
// batch frame that states its own offset proves that all bytes before it were
// once durable: damage before it is damage, not a torn tail.
const (
	walMagic    = "CAWAL1\r\n"
	walSuffix   = ".wal"
	frameHead   = 8
	entryHead   = 1 + 16 + 16 + 8 + 1 // up to the class
	batchLen    = 1 + 8 + 8 + 8 + 4 + 8
	maxHeader   = 1 << 14
	maxContents = 16
	maxFrame    = entryHead + maxClass + 4 + 1 + 4*maxContents + 1 + MaxLine + MaxContent
	walDurable  = "durable"
	walCut      = "cut-"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksum is the CRC-32C that the ledger's files use throughout.
func checksum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

// walHeader is the state of the stream at the file's first entry: with it a
// writer continues, whatever the store can be asked.
type walHeader struct {
	Format   string    `json:"format"`
	ID       string    `json:"id"` // 16 hex digits
	Origin   string    `json:"origin"`
	Key      string    `json:"key"`
	Instance string    `json:"instance"`
	First    uint64    `json:"first"`
	Prev     string    `json:"prev"`
	Edge     []string  `json:"edge"`
	Hour     time.Time `json:"hour"`            // partition of the segment
	After    string    `json:"after,omitempty"` // the stream that this one follows in the folder
}

const walFormat = "claudeaudit.wal/1"

func (h *walHeader) edge() (e edge, prev Hash, err error) {
	e.size = h.First
	e.nodes = make([]Hash, len(h.Edge))
	for i, s := range h.Edge {
		if len(s) != 64 || !decodeHex(e.nodes[i][:], []byte(s)) {
			return e, prev, errors.New("edge is not 64 hex digits")
		}
	}
	if len(h.Prev) != 64 || !decodeHex(prev[:], []byte(h.Prev)) {
		return e, prev, errors.New("prev is not 64 hex digits")
	}
	if !e.valid() {
		return e, prev, errors.New("edge does not fit the first sequence number")
	}
	return e, prev, nil
}

func (h *walHeader) setEdge(e edge, prev Hash) {
	h.First, h.Prev, h.Edge = e.size, hexString(prev), make([]string, len(e.nodes))
	for i, n := range e.nodes {
		h.Edge[i] = hexString(n)
	}
}

func (h *walHeader) encode() ([]byte, error) {
	text, err := json.Marshal(h)
	if err != nil {
		return nil, fmt.Errorf("encode write-ahead header: %w", err)
	}
	b := append([]byte(walMagic), make([]byte, frameHead)...)
	b = append(b, 'H')
	b = append(b, text...)
	finishFrame(b, len(walMagic))
	return b, nil
}

// finishFrame fills in the head of the frame that starts at b[at:] and ends with b.
func finishFrame(b []byte, at int) {
	binary.LittleEndian.PutUint32(b[at:], uint32(len(b)-at-frameHead))
	binary.LittleEndian.PutUint32(b[at+4:], frameCRC(b[at:]))
}

func frameCRC(frame []byte) uint32 {
	crc := crc32.Update(0, castagnoli, frame[:4])
	return crc32.Update(crc, castagnoli, frame[frameHead:])
}

func walName(first uint64) string { return fmt.Sprintf("%016d%s", first, walSuffix) }

// parseWalName returns the first sequence number in a write-ahead file's name.
func parseWalName(name string) (uint64, bool) {
	digits, ok := strings.CutSuffix(name, walSuffix)
	if !ok || len(digits) != 16 {
		return 0, false
	}
	var n uint64
	for _, c := range []byte(digits) {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + uint64(c-'0')
	}
	return n, true
}

// appendBatchFrame appends a batch frame; its values are filled in by putBatch.
func appendBatchFrame(b []byte) []byte {
	return append(b, make([]byte, frameHead+batchLen)...)
}

func putBatch(b []byte, id [8]byte, offset int64, first uint64, count int) {
	p := b[frameHead:]
	p[0] = 'B'
	copy(p[1:], id[:])
	binary.LittleEndian.PutUint64(p[9:], uint64(offset))
	binary.LittleEndian.PutUint64(p[17:], first)
	binary.LittleEndian.PutUint32(p[25:], uint32(count))
	binary.LittleEndian.PutUint64(p[29:], uint64(len(b)-frameHead-batchLen))
	finishFrame(b[:frameHead+batchLen], 0)
}

type walBatch struct {
	offset int64
	first  uint64
	count  uint32
	length uint64
}

func parseBatch(payload []byte, id [8]byte) (b walBatch, ok bool) {
	if len(payload) != batchLen || payload[0] != 'B' || !bytes.Equal(payload[1:9], id[:]) {
		return b, false
	}
	return walBatch{
		offset: int64(binary.LittleEndian.Uint64(payload[9:])),
		first:  binary.LittleEndian.Uint64(payload[17:]),
		count:  binary.LittleEndian.Uint32(payload[25:]),
		length: binary.LittleEndian.Uint64(payload[29:]),
	}, true
}

// walEntry is one entry of a write-ahead file. Its slices are valid until the
// next one is read.
type walEntry struct {
	seq      uint64
	id       [16]byte
	digest   [16]byte
	time     time.Time
	class    string
	line     []byte
	leafed   []byte // 0x00 || line, for the leaf hash
	contents [][]byte
	end      int64 // file offset after it
}

func (e *walEntry) parse(p []byte) bool {
	if len(p) < entryHead+4+1+1 || p[0] != 'E' {
		return false
	}
	copy(e.id[:], p[1:])
	copy(e.digest[:], p[17:])
	e.time = time.Unix(0, int64(binary.LittleEndian.Uint64(p[33:]))).UTC()
	n := int(p[41])
	p = p[entryHead:]
	if n > maxClass || len(p) < n+6 {
		return false
	}
	if e.class != string(p[:n]) {
		e.class = string(p[:n])
	}
	line := int(binary.LittleEndian.Uint32(p[n:]))
	count := int(p[n+4])
	p = p[n+5:]
	if count > maxContents || line > MaxLine || len(p) < 4*count+1+line || p[4*count] != 0 {
		return false
	}
	sizes := p[:4*count]
	e.leafed = p[4*count : 4*count+1+line]
	e.line = e.leafed[1:]
	p = p[4*count+1+line:]
	e.contents = e.contents[:0]
	for ; len(sizes) > 0; sizes = sizes[4:] {
		n := int(binary.LittleEndian.Uint32(sizes))
		if n > len(p) {
			return false
		}
		e.contents = append(e.contents, p[:n:n])
		p = p[n:]
	}
	return len(p) == 0
}

var (
	errTorn    = errors.New("torn tail")
	errDamaged = errors.New("damaged")
)

// walReader reads a write-ahead file frame by frame, sequentially.
type walReader struct {
	src    io.ReaderAt
	buf    []byte // bytes of the file from base on
	base   int64
	header walHeader
	id     [8]byte
	start  int64 // where batches begin
	entry  walEntry
	walPlace
}

// walPlace is a place in a write-ahead file that reading can go on from.
type walPlace struct {
	pos     int64  // next frame
	next    uint64 // sequence number of the next entry
	left    uint32 // entries left in the batch
	batchTo int64  // where the batch ends
	good    int64  // end of the last whole batch or entry
}

// newWalReader reads the header. Errors are errTorn (a header that was never
// finished), errDamaged or those of reading.
func newWalReader(src io.ReaderAt) (*walReader, error) {
	r := &walReader{src: src}
	magic, err := r.bytes(0, len(walMagic))
	if err != nil {
		return nil, err
	}
	if string(magic) != walMagic {
		return nil, fmt.Errorf("%w: not a write-ahead file", errDamaged)
	}
	r.pos = int64(len(walMagic))
	p, err := r.frame(maxHeader)
	if err != nil {
		return nil, err
	}
	if len(p) == 0 || p[0] != 'H' {
		return nil, fmt.Errorf("%w: no header", errDamaged)
	}
	dec := json.NewDecoder(bytes.NewReader(p[1:]))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&r.header); err != nil {
		return nil, fmt.Errorf("%w: header: %w", errDamaged, err)
	}
	id, err := hex.DecodeString(r.header.ID)
	if r.header.Format != walFormat || err != nil || len(id) != len(r.id) {
		return nil, fmt.Errorf("%w: header of another format", errDamaged)
	}
	copy(r.id[:], id)
	if _, _, err := r.header.edge(); err != nil {
		return nil, fmt.Errorf("%w: header: %w", errDamaged, err)
	}
	if err := checkOrigin(r.header.Origin); err != nil {
		return nil, fmt.Errorf("%w: header: %w", errDamaged, err)
	}
	r.next = r.header.First
	r.start, r.good = r.pos, r.pos
	return r, nil
}

// bytes returns n bytes at off, valid until the next call; errTorn past the end.
func (r *walReader) bytes(off int64, n int) ([]byte, error) {
	if i := off - r.base; i >= 0 && i+int64(n) <= int64(len(r.buf)) {
		return r.buf[i : i+int64(n)], nil
	}
	const chunk = 256 << 10
	keep := 0
	if i := off - r.base; i >= 0 && i < int64(len(r.buf)) {
		keep = copy(r.buf, r.buf[i:])
	}
	r.buf, r.base = r.buf[:keep], off
	for len(r.buf) < n {
		// Grow by what was read, so that a length from a damaged head costs no memory.
		want := max(chunk, min(n-len(r.buf), 4*len(r.buf)))
		if cap(r.buf)-len(r.buf) < want {
			r.buf = append(make([]byte, 0, len(r.buf)+want), r.buf...)
		}
		m, err := r.src.ReadAt(r.buf[len(r.buf):len(r.buf)+want], r.base+int64(len(r.buf)))
		r.buf = r.buf[:len(r.buf)+m]
		if err != nil && len(r.buf) < n {
			if errors.Is(err, io.EOF) {
				return nil, errTorn
			}
			return nil, fmt.Errorf("read write-ahead file: %w", err)
		}
	}
	return r.buf[:n], nil
}

// frame returns the payload at pos and moves on. At the end of the file the
// error is io.EOF; if the frame is not all there, errTorn; if it is there and
// its check fails, errDamaged.
func (r *walReader) frame(limit int) ([]byte, error) {
	head, err := r.bytes(r.pos, frameHead)
	if err != nil {
		if _, one := r.bytes(r.pos, 1); errors.Is(err, errTorn) && errors.Is(one, errTorn) {
			return nil, io.EOF
		}
		return nil, err
	}
	n := binary.LittleEndian.Uint32(head)
	if n == 0 || int64(n) > int64(limit) {
		return nil, fmt.Errorf("%w: frame of %d bytes at offset %d", errDamaged, n, r.pos)
	}
	b, err := r.bytes(r.pos, frameHead+int(n))
	if err != nil {
		return nil, err
	}
	if frameCRC(b) != binary.LittleEndian.Uint32(b[4:]) {
		return nil, fmt.Errorf("%w: checksum of the frame at offset %d", errDamaged, r.pos)
	}
	r.pos += frameHead + int64(n)
	return b[frameHead:], nil
}

// read returns the next entry; io.EOF at the end of the last whole batch.
// errTorn and errDamaged leave r.good at the end of the last whole entry.
func (r *walReader) read() (*walEntry, error) {
	for r.left == 0 {
		if r.batchTo != 0 && r.pos != r.batchTo {
			return nil, fmt.Errorf("%w: batch ends at offset %d instead of %d", errDamaged, r.pos, r.batchTo)
		}
		at := r.pos
		p, err := r.frame(batchLen)
		if err != nil {
			return nil, err
		}
		b, ok := parseBatch(p, r.id)
		if !ok || b.offset != at || b.first != r.next {
			return nil, fmt.Errorf("%w: batch at offset %d does not belong there", errDamaged, at)
		}
		r.left, r.batchTo = b.count, r.pos+int64(b.length)
		r.good = r.pos
	}
	p, err := r.frame(maxFrame)
	if errors.Is(err, io.EOF) || errors.Is(err, errTorn) {
		// The frame's length may be what is damaged: it is a torn tail only if the file ends within the batch.
		if _, whole := r.bytes(r.batchTo-1, 1); whole == nil {
			return nil, fmt.Errorf("%w: frame at offset %d is longer than its batch", errDamaged, r.pos)
		}
		return nil, errTorn
	}
	if err != nil {
		return nil, err
	}
	if r.pos > r.batchTo || !r.entry.parse(p) {
		return nil, fmt.Errorf("%w: entry that ends at offset %d", errDamaged, r.pos)
	}
	r.left--
	r.entry.seq = r.next
	r.entry.end = r.pos
	r.next++
	r.good = r.pos
	return &r.entry, nil
}

// followed says whether after r.good a batch starts that belongs to this file
// at that offset: proof that what lies before it was durable once.
func (r *walReader) followed() (bool, error) {
	const step = 1 << 20
	n := frameHead + batchLen
	buf := make([]byte, step+n)
	for off := r.good; ; off += step {
		m, err := r.src.ReadAt(buf, off)
		if err != nil && !errors.Is(err, io.EOF) {
			return false, fmt.Errorf("read write-ahead file: %w", err)
		}
		for i := 0; i+n <= m && i < step; i++ {
			if binary.LittleEndian.Uint32(buf[i:]) != batchLen || buf[i+frameHead] != 'B' {
				continue
			}
			f := buf[i : i+n]
			b, ok := parseBatch(f[frameHead:], r.id)
			if ok && b.offset == off+int64(i) && b.offset > r.good && frameCRC(f) == binary.LittleEndian.Uint32(f[4:]) {
				return true, nil
			}
		}
		if err != nil || m < len(buf) {
			return false, nil
		}
	}
}
