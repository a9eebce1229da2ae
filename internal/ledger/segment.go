package ledger

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/claudeaudit/claudeaudit/internal/bucket"
)

// A segment file is zstd frames of whole lines, then four skippable frames:
//
//	0x184D2A50 leaf hashes, 32 bytes a line
//	0x184D2A51 content: containers uint16, each: class length uint8, class,
//	           items uint32, size uint64, hash of its index [32]byte; then
//	           references uint32, each: line uint32, container uint16,
//	           SHA-256 [32]byte
//	0x184D2A52 index: frames uint32, each: offset uint64, compressed length
//	           uint32, raw length uint32, lines uint32
//	0x184D2A53 trailer, see segTrailer
//
// Integers are little-endian. The trailer's checksum covers every byte before
// it, so no bit of the file is without a check; the leaf hashes and the name
// tie the lines to the log.
const (
	segMagic      = "CASEG1\r\n"
	skipMagic     = 0x184D2A50
	skipHead      = 8
	segTrailerLen = len(segMagic) + 8 + 4 + 8 + 3*8 + 32 + 4 + 4
	segTail       = skipHead + segTrailerLen

	frameRaw      = 1 << 20     // most bytes of lines in a frame
	maxFrameRaw   = MaxLine + 1 // a single line may fill one
	maxSegRaw     = 128 << 20   // all lines
	maxSegFile    = 192 << 20   // the file
	maxSegEntries = 1 << 20
	segSuffix     = ".ndjson.zst"
)

var errSegment = errors.New("invalid segment")

type segTrailer struct {
	first     uint64
	count     uint32
	hour      time.Time
	leavesAt  uint64
	contentAt uint64
	indexAt   uint64
	prev      Hash
	dataCRC   uint32
}

type segFrame struct {
	offset uint64
	packed uint32
	raw    uint32
	lines  uint32
}

// containerRef is what a segment says of a content container beside it.
type containerRef struct {
	class string
	items uint32
	size  uint64
	hash  Hash // of the container's index
}

// contentRef is a content that a line of the segment came with.
type contentRef struct {
	line      uint32 // from the segment's first
	container uint16
	sha       Hash
}

// encoder packs frames, any number at a time. What it needs for that it keeps: a segment is made every few seconds under load, and
// a pool would be empty again.
var encoder = sync.OnceValue(func() *zstd.Encoder {
	e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1),
		zstd.WithEncoderCRC(true), zstd.WithSingleSegment(true), zstd.WithWindowSize(frameRaw))
	if err != nil {
		panic(err) // the options are constants
	}
	return e
})

var decoders = sync.Pool{New: func() any {
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxFrameRaw),
		zstd.WithDecodeAllCapLimit(true), zstd.WithDecoderLowmem(true))
	if err != nil {
		panic(err) // the options are constants
	}
	return d
}}

// segBuilder makes a segment's bytes. The same lines always give the same name.
type segBuilder struct {
	first  uint64
	hour   time.Time
	prev   Hash
	raw    []byte
	lines  uint32
	out    []byte
	leaves []Hash
	frames []segFrame
	refs   []contentRef
}

func newSegBuilder(first uint64, prev Hash, hour time.Time) *segBuilder {
	return &segBuilder{first: first, prev: prev, hour: hour.UTC().Truncate(time.Hour)}
}

func (b *segBuilder) add(line []byte, leaf Hash) {
	if len(b.raw) > 0 && len(b.raw)+len(line)+1 > frameRaw {
		b.flush()
	}
	b.raw = append(append(b.raw, line...), '\n')
	b.lines++
	b.leaves = append(b.leaves, leaf)
}

func (b *segBuilder) flush() {
	if len(b.raw) == 0 {
		return
	}
	at := len(b.out)
	b.out = encoder().EncodeAll(b.raw, b.out)
	b.frames = append(b.frames, segFrame{uint64(at), uint32(len(b.out) - at), uint32(len(b.raw)), b.lines})
	b.raw, b.lines = b.raw[:0], 0
}

func (b *segBuilder) name() string {
	root := treeRoot(b.leaves)
	return fmt.Sprintf("%s/%016d-%d-%x%s", hourPath(b.hour), b.first, len(b.leaves), root[:8], segSuffix)
}

func hourPath(t time.Time) string { return t.UTC().Format("dt=2006-01-02/hh=15") }
func dayPath(t time.Time) string  { return t.UTC().Format("dt=2006-01-02") }

// finish returns the file's bytes.
func (b *segBuilder) finish(containers []containerRef) []byte {
	b.flush()
	t := segTrailer{first: b.first, count: uint32(len(b.leaves)), hour: b.hour, prev: b.prev}
	out := b.out

	t.leavesAt = uint64(len(out))
	out = appendSkip(out, 0, len(b.leaves)*32)
	for i := range b.leaves {
		out = append(out, b.leaves[i][:]...)
	}

	t.contentAt = uint64(len(out))
	out = appendSkip(out, 1, 0)
	at := len(out)
	out = binary.LittleEndian.AppendUint16(out, uint16(len(containers)))
	for _, c := range containers {
		out = append(append(out, byte(len(c.class))), c.class...)
		out = binary.LittleEndian.AppendUint32(out, c.items)
		out = binary.LittleEndian.AppendUint64(out, c.size)
		out = append(out, c.hash[:]...)
	}
	out = binary.LittleEndian.AppendUint32(out, uint32(len(b.refs)))
	for _, r := range b.refs {
		out = binary.LittleEndian.AppendUint32(out, r.line)
		out = binary.LittleEndian.AppendUint16(out, r.container)
		out = append(out, r.sha[:]...)
	}
	binary.LittleEndian.PutUint32(out[at-4:], uint32(len(out)-at))

	t.indexAt = uint64(len(out))
	out = appendSkip(out, 2, 4+20*len(b.frames))
	out = binary.LittleEndian.AppendUint32(out, uint32(len(b.frames)))
	for _, f := range b.frames {
		out = binary.LittleEndian.AppendUint64(out, f.offset)
		out = binary.LittleEndian.AppendUint32(out, f.packed)
		out = binary.LittleEndian.AppendUint32(out, f.raw)
		out = binary.LittleEndian.AppendUint32(out, f.lines)
	}

	t.dataCRC = checksum(out)
	return t.append(out)
}

func appendSkip(b []byte, id uint32, n int) []byte {
	b = binary.LittleEndian.AppendUint32(b, skipMagic+id)
	return binary.LittleEndian.AppendUint32(b, uint32(n))
}

func (t *segTrailer) append(b []byte) []byte {
	at := len(b)
	b = appendSkip(b, 3, segTrailerLen)
	b = append(b, segMagic...)
	b = binary.LittleEndian.AppendUint64(b, t.first)
	b = binary.LittleEndian.AppendUint32(b, t.count)
	b = binary.LittleEndian.AppendUint64(b, uint64(t.hour.Unix()))
	b = binary.LittleEndian.AppendUint64(b, t.leavesAt)
	b = binary.LittleEndian.AppendUint64(b, t.contentAt)
	b = binary.LittleEndian.AppendUint64(b, t.indexAt)
	b = append(b, t.prev[:]...)
	b = binary.LittleEndian.AppendUint32(b, t.dataCRC)
	return binary.LittleEndian.AppendUint32(b, checksum(b[at:]))
}

// segment is a parsed segment file. Its frames are decoded on demand.
type segment struct {
	segTrailer
	data       []byte
	frames     []segFrame
	containers []containerRef
	refs       []contentRef
}

// parseSegment reads the skippable frames and checks everything but the lines.
// Errors wrap errSegment.
func parseSegment(data []byte) (*segment, error) {
	bad := func(what string) (*segment, error) { return nil, fmt.Errorf("%w: %s", errSegment, what) }
	if len(data) < segTail || len(data) > maxSegFile {
		return bad("length")
	}
	at := len(data) - segTail
	s := &segment{data: data}
	tail := data[at:]
	if !isSkip(tail, 3, segTrailerLen) || string(tail[skipHead:skipHead+len(segMagic)]) != segMagic {
		return bad("no trailer")
	}
	if checksum(tail[:segTail-4]) != binary.LittleEndian.Uint32(tail[segTail-4:]) {
		return bad("checksum of the trailer")
	}
	p := tail[skipHead+len(segMagic):]
	s.first = binary.LittleEndian.Uint64(p)
	s.count = binary.LittleEndian.Uint32(p[8:])
	hour := int64(binary.LittleEndian.Uint64(p[12:]))
	s.leavesAt = binary.LittleEndian.Uint64(p[20:])
	s.contentAt = binary.LittleEndian.Uint64(p[28:])
	s.indexAt = binary.LittleEndian.Uint64(p[36:])
	copy(s.prev[:], p[44:])
	s.dataCRC = binary.LittleEndian.Uint32(p[76:])
	if checksum(data[:at]) != s.dataCRC {
		return bad("checksum")
	}
	const lastHour = 253402300799 // year 9999
	if hour < 0 || hour > lastHour || hour%3600 != 0 || s.count == 0 || s.count > maxSegEntries || s.first > maxSeq {
		return bad("trailer")
	}
	s.hour = time.Unix(hour, 0).UTC()
	n := uint64(at)
	if s.leavesAt > s.contentAt || s.contentAt > s.indexAt || s.indexAt > n ||
		s.contentAt-s.leavesAt != uint64(skipHead)+32*uint64(s.count) || s.indexAt-s.contentAt < uint64(skipHead)+6 || n-s.indexAt < uint64(skipHead)+4 ||
		!isSkip(data[s.leavesAt:], 0, 32*int(s.count)) ||
		!isSkip(data[s.contentAt:], 1, int(s.indexAt-s.contentAt)-skipHead) ||
		!isSkip(data[s.indexAt:], 2, int(n-s.indexAt)-skipHead) {
		return bad("layout")
	}
	if !s.parseIndex(data[s.indexAt+uint64(skipHead) : n]) {
		return bad("frame index")
	}
	if !s.parseContent(data[s.contentAt+uint64(skipHead) : s.indexAt]) {
		return bad("content references")
	}
	return s, nil
}

func isSkip(b []byte, id uint32, n int) bool {
	return len(b) >= skipHead && binary.LittleEndian.Uint32(b) == skipMagic+id && int64(binary.LittleEndian.Uint32(b[4:])) == int64(n)
}

func (s *segment) parseIndex(p []byte) bool {
	n := binary.LittleEndian.Uint32(p)
	p = p[4:]
	if uint64(len(p)) != 20*uint64(n) || n == 0 || n > s.count {
		return false
	}
	s.frames = make([]segFrame, n)
	var at, raw, lines uint64
	for i := range s.frames {
		f := segFrame{
			binary.LittleEndian.Uint64(p), binary.LittleEndian.Uint32(p[8:]),
			binary.LittleEndian.Uint32(p[12:]), binary.LittleEndian.Uint32(p[16:]),
		}
		p = p[20:]
		if f.offset != at || f.raw > maxFrameRaw || f.raw == 0 || f.lines == 0 {
			return false
		}
		at += uint64(f.packed)
		raw += uint64(f.raw)
		lines += uint64(f.lines)
		s.frames[i] = f
	}
	return at == s.leavesAt && raw <= maxSegRaw && lines == uint64(s.count)
}

func (s *segment) parseContent(p []byte) bool {
	n := int(binary.LittleEndian.Uint16(p))
	p = p[2:]
	for range n {
		if len(p) < 1 || len(p) < 1+int(p[0])+44 {
			return false
		}
		k := int(p[0])
		c := containerRef{class: string(p[1 : 1+k])}
		p = p[1+k:]
		c.items = binary.LittleEndian.Uint32(p)
		c.size = binary.LittleEndian.Uint64(p[4:])
		copy(c.hash[:], p[12:])
		p = p[44:]
		if checkClass(c.class) != nil || c.items == 0 {
			return false
		}
		s.containers = append(s.containers, c)
	}
	if len(p) < 4 {
		return false
	}
	m := binary.LittleEndian.Uint32(p)
	p = p[4:]
	if uint64(len(p)) != 38*uint64(m) {
		return false
	}
	s.refs = make([]contentRef, m)
	last := uint32(0)
	for i := range s.refs {
		r := contentRef{line: binary.LittleEndian.Uint32(p), container: binary.LittleEndian.Uint16(p[4:])}
		copy(r.sha[:], p[6:])
		p = p[38:]
		if r.line < last || r.line >= s.count || int(r.container) >= n {
			return false
		}
		last = r.line
		s.refs[i] = r
	}
	return true
}

func (s *segment) leaf(i uint32) (h Hash) {
	copy(h[:], s.data[s.leavesAt+uint64(skipHead)+32*uint64(i):])
	return h
}

// frame decodes frame i into buf, with one free byte before the first line so
// that a leaf hash can be taken in place. The lines end with '\n' each.
func (s *segment) frame(i int, buf []byte) ([]byte, error) {
	f := s.frames[i]
	if need := int(f.raw) + 1; cap(buf) < need {
		buf = make([]byte, 0, max(need, frameRaw+1))
	}
	dec := decoders.Get().(*zstd.Decoder)
	defer decoders.Put(dec)
	out, err := dec.DecodeAll(s.data[f.offset:f.offset+uint64(f.packed)], buf[1:1:1+int(f.raw)])
	if err != nil {
		return nil, fmt.Errorf("%w: frame %d: %w", errSegment, i, err)
	}
	if len(out) != int(f.raw) || out[len(out)-1] != '\n' {
		return nil, fmt.Errorf("%w: frame %d: length", errSegment, i)
	}
	return buf[:1+len(out)], nil
}

// lines calls fn with each line from the segment's index from on. The line is
// valid until fn returns.
func (s *segment) lines(from uint32, fn func(i uint32, line []byte) error) error {
	var buf []byte
	at := uint32(0)
	for i, f := range s.frames {
		if at+f.lines <= from {
			at += f.lines
			continue
		}
		var err error
		if buf, err = s.frame(i, buf); err != nil {
			return err
		}
		end := at + f.lines
		for rest := buf[1:]; len(rest) > 0; at++ {
			n := bytes.IndexByte(rest, '\n')
			if n < 0 || at == end || n > MaxLine {
				return fmt.Errorf("%w: frame %d: lines", errSegment, i)
			}
			if at >= from {
				if err := fn(at, rest[:n:n]); err != nil {
					return err
				}
			}
			rest = rest[n+1:]
		}
		if at != end {
			return fmt.Errorf("%w: frame %d: lines", errSegment, i)
		}
	}
	return nil
}

// segName is what a segment's key tells.
type segName struct {
	key   string
	hour  time.Time
	first uint64
	count uint32
	root  string
	size  int64
}

func (n segName) end() uint64 { return n.first + uint64(n.count) }

// eachSegment calls fn with the names of a stream's segments after a key, in their order; next is the entry that the
// first of them begins with. Where one is missing it looks once more: a store over folders may show a segment that has
// just been stored and not the one that was before. An error of fn ends it and is returned as it is.
func eachSegment(ctx context.Context, store bucket.Store, stream, after string, next uint64, fn func(segName) error) error {
	dir := "v1/" + stream + "/seg/"
	for looked, again := "", true; again; {
		again = false
		err := store.List(ctx, dir, after, func(o bucket.ObjectInfo) error {
			n, ok := parseSegKey(o.Key[len(dir):])
			if !ok {
				return nil
			}
			if again = n.first > next && o.Key != looked; again {
				looked = o.Key
				return errStop
			}
			n.key, n.size = o.Key, o.Size
			after, next = n.key, max(next, n.end())
			return fn(n)
		})
		if err != nil && !again {
			return err
		}
	}
	return nil
}

// parseSegKey reads "dt=…/hh=…/<first>-<count>-<root>.ndjson.zst".
func parseSegKey(rest string) (n segName, ok bool) {
	i := strings.LastIndexByte(rest, '/')
	if i < 0 {
		return n, false
	}
	hour, err := time.Parse("dt=2006-01-02/hh=15", rest[:i])
	name, found := strings.CutSuffix(rest[i+1:], segSuffix)
	parts := strings.Split(name, "-")
	if err != nil || !found || len(parts) != 3 || len(parts[0]) != 16 || len(parts[2]) != 16 {
		return n, false
	}
	first, err1 := strconv.ParseUint(parts[0], 10, 53)
	count, err2 := strconv.ParseUint(parts[1], 10, 32)
	if err1 != nil || err2 != nil || count == 0 || count > maxSegEntries {
		return n, false
	}
	n = segName{hour: hour, first: first, count: uint32(count), root: parts[2]}
	// Only one spelling of a name is valid.
	if fmt.Sprintf("%s/%016d-%d-%s%s", hourPath(hour), first, count, n.root, segSuffix) != rest {
		return n, false
	}
	return n, true
}
