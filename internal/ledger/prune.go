package ledger

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"github.com/claudeaudit/claudeaudit/internal/bucket"
)

// Candidate is a segment that may be removed next.
type Candidate struct {
	First, End uint64
	Segment    string   // its key
	Containers []string // keys of its content, which may be gone
	// Lines calls fn with its entries.
	Lines func(fn func(seq uint64, line []byte) error) error
}

// Plan is how many of a stream's first entries may be removed.
type Plan struct {
	// Pruned is where the stream would begin. Its Size is From where nothing may be removed.
	Pruned Pruned
	From   uint64 // where it begins now
	// Why it can't begin later, and Next, the first entry that this is about.
	Why  string
	Next uint64
}

// PlanPrune finds how many of a stream's first entries may be removed: whole
// segments, of which may says each that nothing keeps it ("") or what does, and
// that end with the entry of a signed checkpoint, so that what stays of them can
// be held against it. Nothing at or after limit is removed, nor what is not
// sealed, checkpointed and witnessed yet.
func (r *Reader) PlanPrune(ctx context.Context, stream string, limit uint64, may func(context.Context, *Candidate) (string, error)) (*Plan, error) {
	begin, err := r.Pruned(ctx, stream)
	if err != nil {
		return nil, err
	}
	begin.Origin = stream
	p := &Plan{Pruned: begin, From: begin.Size, Next: begin.Size, Why: "nothing after it is sealed"}
	key, heads, err := r.claims(ctx, stream)
	if err != nil {
		return nil, err
	}
	// The checkpoints lie in the order of the segments.
	dir := checkpointDir(stream)
	cps := newListed(ctx, r.store, dir)
	defer cps.stop()
	signed := func(size uint64) bool {
		for cps.ok {
			if n, ok := parseCheckpointKey(cps.cur.Key[len(dir):]); ok && n >= size {
				return n == size
			}
			cps.advance()
		}
		return false
	}
	if wal, ok, err := r.firstInWAL(stream); err != nil {
		return nil, err
	} else if ok {
		limit = min(limit, wal)
	}
	tree := begin.tiles()
	cp := "" // name of the checkpoint of p.Pruned
	for {
		c, n, seg, err := r.candidate(ctx, stream, tree.size)
		if err != nil {
			return nil, err
		}
		if c == nil {
			break
		}
		if c.End > limit {
			p.Next, p.Why = c.First, "is not witnessed yet"
			break
		}
		why, err := may(ctx, c)
		if err != nil {
			return nil, err
		}
		if why != "" {
			p.Next, p.Why = c.First, why
			break
		}
		for i := range seg.count {
			tree.add(seg.leaf(i))
		}
		p.Next, p.Why = tree.size, "nothing after it is sealed"
		root, head := heads[tree.size]
		if !head && !signed(tree.size) {
			continue
		}
		p.Pruned = Pruned{Origin: stream, Size: tree.size, Last: seg.leaf(seg.count - 1), Hour: n.hour, Nodes: tree.nodes()}
		if head && root != p.Pruned.Root() {
			return nil, fmt.Errorf("the first %d entries of %s are not those that the claim of the next stream names", tree.size, stream)
		}
		cp = cps.cur.Key
		if head {
			cp = ""
		}
	}
	if cps.err != nil {
		return nil, fmt.Errorf("list checkpoints: %w", cps.err)
	}
	if cp == "" {
		return p, nil
	}
	msg, err := r.store.Get(ctx, cp, maxNote)
	if err != nil {
		return nil, fmt.Errorf("read checkpoint: %w", err)
	}
	c, err := ParseCheckpoint(msg, note.VerifierList(key))
	if err == nil && c != (Checkpoint{stream, p.Pruned.Size, p.Pruned.Root()}) {
		err = fmt.Errorf("%w: it signs other entries", errCheckpoint)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", cp, err)
	}
	return p, nil
}

// candidate returns the segment that begins with an entry, nil if there is none.
func (r *Reader) candidate(ctx context.Context, stream string, seq uint64) (*Candidate, segName, *segment, error) {
	n, ok := r.find(stream, seq)
	if !ok {
		if err := r.list(ctx, stream); err != nil {
			return nil, n, nil, err
		}
		if n, ok = r.find(stream, seq); !ok {
			return nil, n, nil, nil
		}
	}
	seg, err := r.segment(ctx, n)
	if err != nil {
		return nil, n, nil, err
	}
	if n.first != seq {
		return nil, n, nil, fmt.Errorf("segment %s: %w: it begins before entry %d", n.key, errSegment, seq)
	}
	c := &Candidate{First: n.first, End: n.end(), Segment: n.key}
	for _, ref := range seg.containers {
		c.Containers = append(c.Containers, "v1/"+stream+"/cnt/"+cntName(ref, seg.first, seg.hour))
	}
	c.Lines = func(fn func(uint64, []byte) error) error {
		return seg.lines(0, func(i uint32, line []byte) error { return fn(n.first+uint64(i), line) })
	}
	return c, n, seg, nil
}

// claims returns the stream's key and the heads of it that other claims name.
func (r *Reader) claims(ctx context.Context, stream string) (key note.Verifier, heads map[uint64]Hash, err error) {
	heads = map[uint64]Hash{}
	err = r.store.List(ctx, claimsDir, "", func(o bucket.ObjectInfo) error {
		msg, err := r.store.Get(ctx, o.Key, maxNote)
		if err != nil {
			return err
		}
		c, err := parseClaim(msg)
		if err != nil {
			return fmt.Errorf("%s: %w", o.Key, err)
		}
		if o.Key == claimKey(stream) {
			if key, err = note.NewVerifier(c.VerifierKey); err != nil {
				return fmt.Errorf("%s: %w", o.Key, err)
			}
		}
		if c.Previous.Origin == stream && c.Previous.Size > 0 {
			heads[c.Previous.Size] = c.Previous.Root
		}
		return nil
	})
	if err == nil && key == nil {
		err = fmt.Errorf("%w: of %s", bucket.ErrNotFound, stream)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read claims: %w", err)
	}
	return key, heads, nil
}

// firstInWAL is the first entry of the stream's write-ahead files.
func (r *Reader) firstInWAL(stream string) (first uint64, ok bool, err error) {
	if r.walDir == "" {
		return 0, false, nil
	}
	entries, err := os.ReadDir(r.walDir)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, fmt.Errorf("list write-ahead files: %w", err)
	}
	for _, e := range entries {
		n, isWAL := parseWalName(e.Name())
		if !isWAL || ok && n >= first {
			continue
		}
		h, err := readWalHeader(filepath.Join(r.walDir, e.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue // sealed meanwhile
		}
		if err != nil {
			return 0, false, fmt.Errorf("write-ahead file %s: %w", e.Name(), err)
		}
		if h.Origin == stream {
			first, ok = n, true
		}
	}
	return first, ok, nil
}

// RemovedObjects calls fn with the objects of a stream's first size entries that
// a store still has: content, then segments. fn may delete them.
func RemovedObjects(ctx context.Context, store bucket.Store, stream string, size uint64, fn func(bucket.ObjectInfo) error) error {
	if err := checkOrigin(stream); err != nil {
		return err
	}
	removed := func(kind string, is func(rest string) bool) error {
		dir := "v1/" + stream + "/" + kind + "/"
		after := ""
		for {
			// Page by page: no listing need bear that what it lists is deleted.
			var page []bucket.ObjectInfo
			err := store.List(ctx, dir, after, func(o bucket.ObjectInfo) error {
				if after = o.Key; is(o.Key[len(dir):]) {
					page = append(page, o)
				}
				if len(page) == removedPage {
					return errStop
				}
				return nil
			})
			if err != nil && !errors.Is(err, errStop) {
				return fmt.Errorf("list what is removed: %w", err)
			}
			for _, o := range page {
				if err := fn(o); err != nil {
					return err
				}
			}
			if err == nil {
				return nil
			}
		}
	}
	if err := removed("cnt", func(rest string) bool {
		_, first, ok := parseCntKey(rest)
		return ok && first < size
	}); err != nil {
		return err
	}
	return removed("seg", func(rest string) bool {
		n, ok := parseSegKey(rest)
		return ok && n.end() <= size
	})
}

const removedPage = 1000

// NewestCheckpointKey is the name of the stream's checkpoint of the greatest size,
// "" without any.
func (r *Reader) NewestCheckpointKey(ctx context.Context, stream string) (string, error) {
	var keys []string
	if err := r.store.List(ctx, checkpointDir(stream), "", func(o bucket.ObjectInfo) error {
		keys = append(keys, o.Key)
		return nil
	}); err != nil {
		return "", fmt.Errorf("list checkpoints: %w", err)
	}
	if len(keys) == 0 {
		return "", nil
	}
	return slices.MaxFunc(keys, func(a, b string) int { return strings.Compare(filepath.Base(a), filepath.Base(b)) }), nil
}
