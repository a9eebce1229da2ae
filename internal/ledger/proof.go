package ledger

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/claudeaudit/claudeaudit/internal/bucket"
)

const (
	proofMagic = "c2sp.org/tlog-proof@v1"
	// maxProof bounds a proof's text: a line in base64, 53 hashes, a note.
	maxProof = MaxLine/3*4 + 53*45 + maxNote + 1024
)

var (
	// ErrProof says that a proof is malformed or does not prove its entry.
	ErrProof = errors.New("invalid proof")
	// ErrNotCovered says that no checkpoint covers the entry yet.
	ErrNotCovered = errors.New("no checkpoint covers the entry yet")
)

// Place is where an entry lies.
type Place struct {
	Stream string
	Seq    uint64
}

// FindEvent returns the places of an event's entries, by stream and number. It
// reads the whole ledger.
func (r *Reader) FindEvent(ctx context.Context, eventID string) ([]Place, error) {
	needle := []byte(`"event_id":"` + eventID + `"`)
	var out []Place
	if err := r.All(ctx, func(p Place, line []byte) error {
		if bytes.Contains(line, needle) {
			out = append(out, p)
		}
		return nil
	}); err != nil {
		return nil, err
	}
	return out, nil
}

// Prove returns a proof that an entry is in the log: C2SP tlog-proof text whose
// extra line is the entry in base64. It is over the newest checkpoint in the
// store; ErrNotCovered if there is none that covers the entry.
func Prove(ctx context.Context, r *Reader, stream string, seq uint64) ([]byte, error) {
	line, err := r.Entry(ctx, stream, seq)
	if err != nil {
		return nil, err
	}
	cp, msg, err := r.newestCheckpoint(ctx, stream)
	if err != nil {
		return nil, err
	}
	return proveUnder(cp, msg, seq, line, func(indexes []int64) ([]tlog.Hash, error) { return r.treeHashes(ctx, stream, indexes) })
}

// proveUnder makes the proof of an entry under a checkpoint.
func proveUnder(cp Checkpoint, msg []byte, seq uint64, line []byte, hashes tlog.HashReaderFunc) ([]byte, error) {
	if cp.Size <= seq {
		return nil, fmt.Errorf("prove entry %d of %s: %w (the newest is of %d)", seq, cp.Origin, ErrNotCovered, cp.Size)
	}
	path, err := tlog.ProveRecord(int64(cp.Size), int64(seq), hashes)
	if err != nil {
		return nil, fmt.Errorf("prove entry %d of %s: %w", seq, cp.Origin, err)
	}
	if err := tlog.CheckRecord(path, int64(cp.Size), cp.Root, int64(seq), leafHash(line)); err != nil {
		return nil, fmt.Errorf("prove entry %d of %s: %w: the entries are not those of the checkpoint", seq, cp.Origin, ErrProof)
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s\nextra %s\nindex %d\n", proofMagic, base64.StdEncoding.EncodeToString(line), seq)
	for _, h := range path {
		fmt.Fprintln(&b, h)
	}
	b.WriteByte('\n')
	b.Write(msg)
	return b.Bytes(), nil
}

// newestCheckpoint returns the stream's checkpoint of the greatest size, unchecked.
func (r *Reader) newestCheckpoint(ctx context.Context, stream string) (Checkpoint, []byte, error) {
	if err := checkOrigin(stream); err != nil {
		return Checkpoint{}, nil, err
	}
	dir := checkpointDir(stream)
	var key string
	var size uint64
	if err := r.store.List(ctx, dir, "", func(o bucket.ObjectInfo) error {
		if n, ok := parseCheckpointKey(o.Key[len(dir):]); ok && n >= size {
			key, size = o.Key, n
		}
		return nil
	}); err != nil {
		return Checkpoint{}, nil, fmt.Errorf("list checkpoints: %w", err)
	}
	if key == "" {
		return Checkpoint{}, nil, fmt.Errorf("%w: %s has no checkpoint", ErrNotCovered, stream)
	}
	msg, err := r.store.Get(ctx, key, maxNote)
	if err != nil {
		return Checkpoint{}, nil, fmt.Errorf("read checkpoint: %w", err)
	}
	text, _, _ := strings.Cut(string(msg), "\n\n")
	cp, err := parseCheckpointText(text + "\n")
	if err != nil {
		return Checkpoint{}, nil, fmt.Errorf("read checkpoint %s: %w", key, err)
	}
	if cp.Size != size || cp.Origin != stream {
		return Checkpoint{}, nil, fmt.Errorf("read checkpoint %s: %w: not what its name says", key, errCheckpoint)
	}
	return cp, msg, nil
}

// treeHashes computes nodes of the stream's tree from the segments' leaf
// hashes: one pass, memory for one segment.
func (r *Reader) treeHashes(ctx context.Context, stream string, indexes []int64) ([]tlog.Hash, error) {
	type span struct {
		from, to uint64
		tree     edge
	}
	pruned, err := r.Pruned(ctx, stream)
	if err != nil {
		return nil, err
	}
	left := pruned.edge()
	spans := make([]span, len(indexes))
	end := uint64(0)
	for i, x := range indexes {
		level, n := tlog.SplitStoredHashIndex(x)
		s := &spans[i]
		*s = span{from: uint64(n) << level, to: uint64(n+1) << level}
		end = max(end, s.to)
		if s.from >= left.size {
			continue
		}
		known := false
		if s.to <= left.size {
			var h Hash
			h, known = left.subtree(s.from, s.to)
			s.tree = edge{s.to - s.from, []Hash{h}}
		} else {
			s.tree, known = left.from(s.from)
		}
		if !known {
			return nil, fmt.Errorf("tree of entries %d to %d of %s: %w", s.from, s.to-1, stream, ErrPruned)
		}
	}
	seq := left.size
	err = r.eachLeaf(ctx, stream, seq, end, func(leaf Hash) error {
		for i := range spans {
			if s := &spans[i]; seq >= s.from && seq < s.to {
				s.tree.add(leaf)
			}
		}
		seq++
		return nil
	})
	if err != nil {
		return nil, err
	}
	out := make([]tlog.Hash, len(spans))
	for i := range spans {
		if spans[i].tree.size != spans[i].to-spans[i].from {
			return nil, fmt.Errorf("%w: leaf hashes of %s end at %d", ErrGap, stream, seq)
		}
		out[i] = spans[i].tree.root()
	}
	return out, nil
}

// eachLeaf calls fn with the leaf hashes of the sealed entries in [from, end),
// as the segments state them.
func (r *Reader) eachLeaf(ctx context.Context, stream string, from, end uint64, fn func(Hash) error) error {
	for seq := from; seq < end; {
		n, ok := r.find(stream, seq)
		if !ok {
			if err := r.list(ctx, stream); err != nil {
				return err
			}
			if n, ok = r.find(stream, seq); !ok {
				return nil
			}
		}
		leaves, err := r.leaves(ctx, n)
		if err != nil {
			return fmt.Errorf("read segment %s: %w", n.key, err)
		}
		for i := seq - n.first; i < uint64(n.count) && seq < end; i++ {
			if err := fn(Hash(leaves[32*i : 32*i+32])); err != nil {
				return err
			}
			seq++
		}
	}
	return nil
}

// leaves reads a segment's leaf hashes without its lines.
func (r *Reader) leaves(ctx context.Context, n segName) ([]byte, error) {
	if n.size < int64(segTail) {
		return nil, fmt.Errorf("%w: length", errSegment)
	}
	tail, err := r.store.GetRange(ctx, n.key, n.size-int64(segTail), int64(segTail))
	if err != nil {
		return nil, err
	}
	at := int64(binary.LittleEndian.Uint64(tail[skipHead+len(segMagic)+20:]))
	size := int64(skipHead) + 32*int64(n.count)
	if !isSkip(tail, 3, segTrailerLen) || at < 0 || at > n.size-size {
		return nil, fmt.Errorf("%w: trailer", errSegment)
	}
	b, err := r.store.GetRange(ctx, n.key, at, size)
	if err != nil {
		return nil, err
	}
	if !isSkip(b, 0, 32*int(n.count)) {
		return nil, fmt.Errorf("%w: no leaf hashes", errSegment)
	}
	return b[skipHead:], nil
}

// Proof is a checked proof.
type Proof struct {
	Checkpoint  Checkpoint
	Seq         uint64
	Line        []byte
	VerifierKey string // the key that signed the checkpoint
}

// CheckProof checks a proof that Prove made against the verifier keys that may
// have signed; the error is ErrProof, wrapped, if it does not hold.
func CheckProof(text []byte, verifierKeys ...string) (*Proof, error) {
	p, path, msg, err := parseProof(text)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrProof, err)
	}
	err = errors.New("no verifier key given")
	for _, k := range verifierKeys {
		v, verr := note.NewVerifier(k)
		if verr != nil {
			return nil, fmt.Errorf("verifier key %q: must be name+hash+base64", k)
		}
		if p.Checkpoint, err = ParseCheckpoint(msg, note.VerifierList(v)); err == nil {
			p.VerifierKey = k
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrProof, err)
	}
	_, seq, _, err := splitLine(p.Line, linePrefix(p.Checkpoint.Origin))
	if err != nil {
		return nil, fmt.Errorf("%w: the entry: %w", ErrProof, err)
	}
	if seq != p.Seq || p.Seq >= p.Checkpoint.Size {
		return nil, fmt.Errorf("%w: the entry is number %d, the proof is of %d in %d", ErrProof, seq, p.Seq, p.Checkpoint.Size)
	}
	if err := tlog.CheckRecord(path, int64(p.Checkpoint.Size), p.Checkpoint.Root, int64(p.Seq), leafHash(p.Line)); err != nil {
		return nil, fmt.Errorf("%w: the entry is not in the log that the checkpoint signs", ErrProof)
	}
	return p, nil
}

func parseProof(text []byte) (p *Proof, path tlog.RecordProof, msg []byte, err error) {
	if len(text) > maxProof {
		return nil, nil, nil, errors.New("too long")
	}
	rest := string(text)
	next := func() string {
		line, after, ok := strings.Cut(rest, "\n")
		if !ok {
			line, after = "", ""
		}
		rest = after
		return line
	}
	if next() != proofMagic {
		return nil, nil, nil, errors.New("not a " + proofMagic)
	}
	extra, ok := strings.CutPrefix(next(), "extra ")
	if !ok {
		return nil, nil, nil, errors.New("no extra line with the entry")
	}
	p = &Proof{}
	if p.Line, ok = decodeBase64(extra); !ok || len(p.Line) > MaxLine {
		return nil, nil, nil, errors.New("extra line is not the entry in base64")
	}
	index, ok := strings.CutPrefix(next(), "index ")
	if !ok {
		return nil, nil, nil, errors.New("no index line")
	}
	if p.Seq, err = parseSize(index); err != nil {
		return nil, nil, nil, errors.New("index is not a number")
	}
	for {
		line := next()
		if line == "" {
			break
		}
		raw, ok := decodeBase64(line)
		if !ok || len(raw) != 32 || len(path) >= 64 {
			return nil, nil, nil, errors.New("malformed hash")
		}
		path = append(path, tlog.Hash(raw))
	}
	return p, path, []byte(rest), nil
}

// ExportTiles writes the log up to its newest checkpoint as a C2SP tlog-tiles
// folder: checkpoint, tile/<level>/… and tile/entries/…. It returns the size and the
// log's minimum index. Of a log whose first entries were removed that is the next multiple of 256,
// and the folder has what the format asks of a log that is pruned there; with a newest
// checkpoint before that it is refused (ErrPruned). So is an entry that the format can't hold, 65,535 bytes.
func ExportTiles(ctx context.Context, r *Reader, stream, dir string) (size, minimum uint64, err error) {
	cp, msg, err := r.newestCheckpoint(ctx, stream)
	if err != nil {
		return 0, 0, err
	}
	pruned, err := r.Pruned(ctx, stream)
	if err != nil {
		return 0, 0, err
	}
	x := &tileWriter{dir: dir, tree: pruned.tiles(), first: (pruned.Size + tileWidth - 1) / tileWidth * tileWidth}
	if x.first > cp.Size {
		return 0, 0, fmt.Errorf("export %s: the first %d entries were %w, and no tile without them is full before entry %d; the newest checkpoint is of %d entries, which are proven with \"claudeaudit prove\" or \"export --case\"",
			stream, pruned.Size, ErrPruned, x.first, cp.Size)
	}
	x.tree.full = func(level int, hashes []Hash) { x.hashes(level, x.tree.size-1, hashes) }
	err = r.Entries(ctx, stream, pruned.Size, func(seq uint64, line []byte) error {
		if seq >= cp.Size {
			return errStop
		}
		return x.add(seq, line)
	})
	if err != nil && !errors.Is(err, errStop) {
		return 0, 0, err
	}
	if e := x.tree.edge(); e.size != cp.Size || e.root() != cp.Root {
		return 0, 0, fmt.Errorf("export %s: %w: its %d entries are not those of the checkpoint", stream, ErrProof, e.size)
	}
	if err := x.flush(); err != nil {
		return 0, 0, err
	}
	if err := os.WriteFile(filepath.Join(dir, "checkpoint"), msg, 0o644); err != nil {
		return 0, 0, fmt.Errorf("export checkpoint: %w", err)
	}
	return cp.Size, x.first, nil
}

// tileWriter writes the tiles of a log.
type tileWriter struct {
	dir     string
	tree    tileEdge
	first   uint64 // of the entries that are in tiles, a multiple of tileWidth
	entries []byte // the last bundle, and its tile
	leaves  []Hash
	err     error // of the first tile that could not be written
}

func (x *tileWriter) add(seq uint64, line []byte) error {
	if len(line) > 0xffff {
		return fmt.Errorf("export entry %d: %d bytes are more than the tile format can hold", seq, len(line))
	}
	leaf := leafHash(line)
	x.tree.add(leaf)
	if seq >= x.first {
		x.entries = append(binary.BigEndian.AppendUint16(x.entries, uint16(len(line))), line...)
		if x.leaves = append(x.leaves, leaf); len(x.leaves) == tileWidth {
			x.bundle(seq)
		}
	}
	return x.err
}

// bundle writes the entries up to one, and the tile of their hashes.
func (x *tileWriter) bundle(last uint64) {
	x.write("entries", last/tileWidth, len(x.leaves), x.entries)
	x.hashes(0, last, x.leaves)
	x.entries, x.leaves = x.entries[:0], x.leaves[:0]
}

// hashes writes the tile of a level that an entry is under.
func (x *tileWriter) hashes(level int, seq uint64, hashes []Hash) {
	b := make([]byte, 0, 32*len(hashes))
	for _, h := range hashes {
		b = append(b, h[:]...)
	}
	x.write(strconv.Itoa(level), seq>>(tileHeight*(level+1)), len(hashes), b)
}

// flush writes the partial tiles.
func (x *tileWriter) flush() error {
	if len(x.leaves) > 0 {
		x.bundle(x.tree.size - 1)
	}
	for i, hashes := range x.tree.levels {
		if len(hashes) > 0 {
			// The last entry under a tile of this level; what is after it is in no full tile below.
			last := x.tree.size>>(tileHeight*(i+1))<<(tileHeight*(i+1)) - 1
			x.hashes(i+1, last, hashes)
		}
	}
	return x.err
}

func (x *tileWriter) write(level string, n uint64, width int, b []byte) {
	if x.err != nil {
		return
	}
	path := fmt.Sprintf("%03d", n%1000)
	for n >= 1000 {
		n /= 1000
		path = fmt.Sprintf("x%03d/%s", n%1000, path)
	}
	if width < tileWidth {
		path += fmt.Sprintf(".p/%d", width)
	}
	name := filepath.Join(x.dir, "tile", level, filepath.FromSlash(path))
	x.err = os.MkdirAll(filepath.Dir(name), 0o755)
	if x.err == nil {
		x.err = os.WriteFile(name, b, 0o644)
	}
	if x.err != nil {
		x.err = fmt.Errorf("export tile: %w", x.err)
	}
}
