package ledger

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/claudeaudit/claudeaudit/internal/bucket"
)

const prunedFormat = "claudeaudit.pruned/1"

// MaxPrunedNote bounds a pruned note: 255 hashes for each of six levels of tiles are 77 KiB.
const MaxPrunedNote = 96 << 10

var (
	// ErrPruned says that entries were removed at the end of their retention.
	ErrPruned = errors.New("removed at the end of its retention")
	errPruned = errors.New("invalid pruned note")
)

// Pruned is where a stream begins whose first entries were removed at the end
// of their retention, and what stays of them: enough to check the chain and the
// tree of the entries that follow. The zero value is a whole stream.
type Pruned struct {
	Origin string
	Size   uint64    // how many entries were removed
	Last   Hash      // leaf hash of the last of them, _prev of the next entry
	Hour   time.Time // of its segment
	// Nodes are the hashes of the right-most tile (C2SP tlog-tiles) of each level above
	// the lowest, the highest level first, and then the roots of the perfect subtrees that what
	// is in no full tile of the lowest level is made of, the largest first.
	Nodes []Hash
}

// Root is the root of the tree over the removed entries.
func (p *Pruned) Root() Hash {
	e := p.edge()
	return e.root()
}

func (p *Pruned) edge() edge {
	t := p.tiles()
	return t.edge()
}

func (p *Pruned) tiles() tileEdge {
	t, _ := newTileEdge(p.Size, p.Nodes) // parsePrunedText looks at the number of nodes
	return t
}

func (p *Pruned) text() string {
	root := p.Root()
	var b strings.Builder
	b64 := base64.StdEncoding.EncodeToString
	fmt.Fprintf(&b, "%s\norigin %s\nsize %d\nroot %s\nlast %s\nhour %s\n", prunedFormat, p.Origin, p.Size, b64(root[:]), b64(p.Last[:]), p.Hour.UTC().Format(time.RFC3339))
	for _, h := range p.Nodes {
		fmt.Fprintf(&b, "node %s\n", b64(h[:]))
	}
	return b.String()
}

// Digest is the SHA-256 of the note's text, by which the log of holds and
// erasures names it.
func (p *Pruned) Digest() Hash { return sha256.Sum256([]byte(p.text())) }

func prunedDir(origin string) string { return "v1/" + origin + "/pruned/" }

func prunedKey(origin string, size uint64) string {
	return fmt.Sprintf("%s%016d%s", prunedDir(origin), size, noteSuffix)
}

// parsePrunedKey reads "<size>.note".
func parsePrunedKey(rest string) (size uint64, ok bool) {
	digits, isNote := strings.CutSuffix(rest, noteSuffix)
	if !isNote || len(digits) != 16 {
		return 0, false
	}
	size, err := strconv.ParseUint(digits, 10, 53)
	return size, err == nil && size > 0 && fmt.Sprintf("%016d", size) == digits
}

// parsePrunedText reads a pruned note without its signature.
func parsePrunedText(text string) (Pruned, error) {
	bad := func(what string) (Pruned, error) { return Pruned{}, fmt.Errorf("%w: %s", errPruned, what) }
	lines := strings.Split(text, "\n")
	if len(lines) < 8 || lines[0] != prunedFormat {
		return bad("not " + prunedFormat)
	}
	var vals [5]string
	for i, name := range []string{"origin ", "size ", "root ", "last ", "hour "} {
		v, ok := strings.CutPrefix(lines[i+1], name)
		if !ok {
			return bad("no " + strings.TrimSpace(name))
		}
		vals[i] = v
	}
	p := Pruned{Origin: vals[0]}
	if _, _, err := splitOrigin(p.Origin); err != nil {
		return bad(err.Error())
	}
	var err error
	if p.Size, err = parseSize(vals[1]); err != nil || p.Size == 0 {
		return bad("size")
	}
	var ok bool
	if p.Last, ok = decodeHash(vals[3]); !ok {
		return bad("last")
	}
	if p.Hour, err = time.Parse(time.RFC3339, vals[4]); err != nil || !p.Hour.Equal(p.Hour.Truncate(time.Hour)) {
		return bad("hour")
	}
	nodes := lines[6 : len(lines)-1]
	for _, l := range nodes {
		v, _ := strings.CutPrefix(l, "node ")
		h, ok := decodeHash(v)
		if !ok {
			return bad("node")
		}
		p.Nodes = append(p.Nodes, h)
	}
	if _, ok := newTileEdge(p.Size, p.Nodes); !ok {
		return bad("it has not the nodes of its size")
	}
	if p.text() != text {
		return bad("its root is not that of its nodes, or it is not canonical")
	}
	return p, nil
}

func decodeHash(s string) (h Hash, ok bool) {
	raw, ok := decodeBase64(s)
	if !ok || len(raw) != len(h) {
		return h, false
	}
	return Hash(raw), true
}

// parsePruned reads the stream's pruned note of a size; its signature is not checked.
func parsePruned(msg []byte, origin string, size uint64) (Pruned, error) {
	if len(msg) > MaxPrunedNote {
		return Pruned{}, fmt.Errorf("%w: too long", errPruned)
	}
	text, _, found := strings.Cut(string(msg), "\n\n")
	if !found {
		return Pruned{}, fmt.Errorf("%w: malformed note", errPruned)
	}
	p, err := parsePrunedText(text + "\n")
	if err != nil {
		return Pruned{}, err
	}
	if p.Origin != origin || p.Size != size {
		return Pruned{}, fmt.Errorf("%w: it is of %d entries of %s", errPruned, p.Size, p.Origin)
	}
	return p, nil
}

// Sign makes the note.
func (p *Pruned) Sign(ctx context.Context, signer note.Signer) ([]byte, error) {
	msg, err := signNote(ctx, p.text(), signer)
	if err != nil {
		return nil, fmt.Errorf("sign pruned note: %w", err)
	}
	return msg, nil
}

// Key is the note's name in the store.
func (p *Pruned) Key() string { return prunedKey(p.Origin, p.Size) }

// Pruned returns where the stream begins, as the newest pruned note says; the
// zero value when nothing was removed. Whether the note is to be believed is
// the verifier's question.
func (r *Reader) Pruned(ctx context.Context, stream string) (Pruned, error) {
	if err := checkOrigin(stream); err != nil {
		return Pruned{}, err
	}
	dir := prunedDir(stream)
	var size uint64
	if err := r.store.List(ctx, dir, "", func(o bucket.ObjectInfo) error {
		if n, ok := parsePrunedKey(o.Key[len(dir):]); ok {
			size = max(size, n)
		}
		return nil
	}); err != nil {
		return Pruned{}, fmt.Errorf("list pruned notes: %w", err)
	}
	if size == 0 {
		return Pruned{}, nil
	}
	msg, err := r.store.Get(ctx, prunedKey(stream, size), MaxPrunedNote)
	if err != nil {
		return Pruned{}, fmt.Errorf("read pruned note: %w", err)
	}
	p, err := parsePruned(msg, stream, size)
	if err != nil {
		return Pruned{}, fmt.Errorf("read %s: %w", prunedKey(stream, size), err)
	}
	return p, nil
}

// First returns the number of the stream's first entry that was not removed, and
// the hour in which the last one before it was written.
func (r *Reader) First(ctx context.Context, stream string) (uint64, time.Time, error) {
	p, err := r.Pruned(ctx, stream)
	return p.Size, p.Hour, err
}

// skip returns where to read on when an entry is nowhere: the first one there
// is at or before the stream's begin. It is the same entry when nothing was removed.
func (r *Reader) skip(ctx context.Context, stream string, seq uint64) (uint64, error) {
	p, err := r.Pruned(ctx, stream)
	if err != nil || p.Size <= seq {
		return seq, err
	}
	r.forget(prunedKey(stream, p.Size))
	if err := r.list(ctx, stream); err != nil {
		return seq, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, n := range r.view(stream).segs {
		if n.first > seq {
			return min(n.first, p.Size), nil
		}
	}
	return p.Size, nil
}

// forget drops what is remembered of the segments of a key's stream: some may
// have been removed.
func (r *Reader) forget(key string) {
	stream, _, _, _ := splitKey(key)
	r.mu.Lock()
	defer r.mu.Unlock()
	v := r.view(stream)
	v.segs, v.last = nil, ""
}

// Removal is what the log of holds and erasures says of a prefix that was
// removed. It has to be verified before.
type Removal struct {
	Origin string
	Size   uint64
	Root   Hash
	Note   Hash   // Pruned.Digest
	Key    string // verifier key of the log that says so
}

// begin puts a stream's check at the place where it begins. Without a pruned note
// that the log of holds and erasures backs it is the first entry: what is
// missing then was taken away.
func (v *verifier) begin(ctx context.Context, s *streamCheck) error {
	for i := len(s.notes) - 1; i >= 0; i-- {
		p, err := v.checkPruned(ctx, s, s.notes[i])
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			v.problem(KindPruned, prunedKey(s.Origin, s.notes[i]), s.Origin, at(s.notes[i]), "%v", err)
			continue
		}
		if s.Pruned == 0 {
			s.Pruned = p.Size
			s.tree, s.prev, s.prevOK, s.lastHour = p.edge(), p.Last, true, p.Hour
		}
	}
	return nil
}

func (v *verifier) checkPruned(ctx context.Context, s *streamCheck, size uint64) (Pruned, error) {
	msg, err := v.get(ctx, prunedKey(s.Origin, size), MaxPrunedNote)
	if err != nil {
		return Pruned{}, fmt.Errorf("can't be read: %w", err)
	}
	p, err := parsePruned(msg, s.Origin, size)
	if err != nil {
		return p, err
	}
	why := fmt.Errorf("the log of holds and erasures has no entry that the first %d entries were removed", size)
	if len(v.opts.Removals) == 0 {
		why = fmt.Errorf("%w: none of it was given that verifies", why)
	}
	for _, r := range v.opts.Removals {
		if r.Origin != s.Origin || r.Size != size {
			continue
		}
		if r.Note != p.Digest() || r.Root != p.Root() {
			why = errors.New("it is not the note that the log of holds and erasures names")
			continue
		}
		key, err := note.NewVerifier(r.Key)
		if err != nil {
			return p, fmt.Errorf("key of the log of holds and erasures: %w", err)
		}
		if _, err := openNote(msg, note.VerifierList(key)); err != nil {
			why = fmt.Errorf("signature: %w", err)
			continue
		}
		return p, nil
	}
	return p, why
}

// checkBegin holds what is left of the removed entries against what was signed of them.
func (v *verifier) checkBegin(s *streamCheck, m *marks) {
	if s.Pruned == 0 {
		return
	}
	m.pass(s.Pruned - 1)
	for s.tree.size == m.next() {
		m.check(s)
	}
	if m.covered != s.Pruned && !s.rootBad {
		v.problem(KindPruned, prunedKey(s.Origin, s.Pruned), s.Origin, at(s.Pruned), "no checkpoint of the %d removed entries is there", s.Pruned)
	}
}

// left counts an object of the removed entries that is still there.
func (s *streamCheck) left(key string) {
	if s.leftovers++; s.leftovers == 1 {
		s.leftover = key
	}
}
