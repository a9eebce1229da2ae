package ledger

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// checkWAL reads the stream's write-ahead files against the sealed entries and
// continues the chain with what is not sealed. again: a writer sealed more
// meanwhile, so the segments have to be read on first.
func (v *verifier) checkWAL(ctx context.Context, s *streamCheck) (again bool, err error) {
	s.Entries = s.tree.size
	if v.walDir == "" {
		return false, nil
	}
	for try := 0; ; try++ {
		c := walCheck{v: v, s: s, next: s.tree.size, prev: s.prev, prevOK: s.prevOK}
		again, err := c.run(ctx)
		if err != nil || again {
			return again, err
		}
		// A writer at work may change a file while it is read: look again before believing that it is bad.
		if len(c.problems) > 0 && try < 3 {
			select {
			case <-ctx.Done():
				return false, context.Cause(ctx)
			case <-time.After(20 * time.Millisecond):
			}
			continue
		}
		if c.bad {
			v.badWAL = nil
		}
		for _, p := range c.problems {
			v.problem(p.Kind, p.Object, s.Origin, p.Seq, "%s", p.Detail)
		}
		for _, p := range c.notes {
			v.note(p.Kind, p.Object, s.Origin, p.Seq, "%s", p.Detail)
		}
		s.Entries = c.next
		if v.opts.OnEntry != nil {
			for _, l := range c.lines {
				if err := v.opts.OnEntry(s.Origin, l.seq, l.line); err != nil {
					return false, err
				}
			}
		}
		return false, nil
	}
}

type walLine struct {
	seq  uint64
	line []byte
}

type walCheck struct {
	v        *verifier
	s        *streamCheck
	next     uint64
	prev     Hash
	prevOK   bool
	lines    []walLine
	problems []Problem
	notes    []Problem
	bad      bool // v.badWAL is in problems
}

func (c *walCheck) problem(kind, object string, seq uint64, format string, args ...any) {
	c.problems = append(c.problems, Problem{Kind: kind, Object: object, Seq: at(seq), Detail: fmt.Sprintf(format, args...)})
}

func (c *walCheck) run(ctx context.Context) (again bool, err error) {
	v, s := c.v, c.s
	// The count before the files: they can only have more.
	head, headErr := readHead(v.walDir)
	if headErr != nil && !errors.Is(headErr, fs.ErrNotExist) {
		return false, headErr
	}
	entries, err := os.ReadDir(v.walDir)
	if err != nil {
		return false, fmt.Errorf("list write-ahead files: %w", err)
	}
	var parts []walPart
	for _, e := range entries {
		if _, ok := parseWalName(e.Name()); !ok {
			continue
		}
		h, err := readWalHeader(filepath.Join(v.walDir, e.Name()))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return true, nil
		case errors.Is(err, errTorn), errors.Is(err, errDamaged):
			continue // reported by snapshotWAL
		case err != nil:
			return false, err
		}
		if h.Origin == s.Origin {
			parts = append(parts, walPart{e.Name(), h})
		}
	}
	acked, mine, ok := parseHead(head, s.Origin)
	if len(parts) == 0 {
		switch {
		case !ok || !mine:
		case len(v.badWAL) > 0:
			for _, b := range v.badWAL {
				c.problem(KindWAL, "wal/"+b.name, b.first, "header: %v", b.err)
			}
			c.bad = true
		case acked > c.next:
			c.problem(KindTruncated, "wal/", c.next, "entries %d to %d were acknowledged and are not there", c.next, acked-1)
		default:
			c.problem(KindState, "wal/", c.next, "the write-ahead file is not there; a writer always leaves one")
		}
		return false, nil
	}
	slices.SortFunc(parts, func(a, b walPart) int {
		if a.header.First < b.header.First {
			return -1
		}
		return 1
	})
	if parts[0].header.First > s.tree.size {
		if parts[0].header.First > s.floor {
			return true, nil // sealed since the verification began
		}
		c.problem(KindMissing, "wal/"+parts[0].name, s.tree.size, "entries %d to %d are in no segment and no write-ahead file", s.tree.size, parts[0].header.First-1)
		c.next, c.prevOK = parts[0].header.First, false
	}
	for i, p := range parts {
		limit := uint64(maxSeq)
		if i+1 < len(parts) {
			limit = parts[i+1].header.First
		}
		if again, err := c.part(ctx, p, limit, i+1 == len(parts)); err != nil || again {
			return again, err
		}
	}
	switch {
	case !ok:
		c.problem(KindState, "wal/"+walDurable, c.next, "the count of durable entries is missing or damaged")
	case mine && acked > c.next:
		c.problem(KindTruncated, "wal/"+parts[len(parts)-1].name, c.next, "entries %d to %d were acknowledged and are not there", c.next, acked-1)
	}
	return false, nil
}

// part reads one write-ahead file. limit is where the next one begins.
func (c *walCheck) part(ctx context.Context, p walPart, limit uint64, last bool) (again bool, err error) {
	v, s := c.v, c.s
	object := "wal/" + p.name
	first := p.header.First
	tree, prev, err := p.header.edge()
	if err != nil {
		c.problem(KindWAL, object, first, "header: %v", err)
		return false, nil
	}
	if p.header.Key != s.VerifierKey && s.claim != nil {
		c.problem(KindWAL, object, first, "header: another key than the claim's")
	}
	if s.treeOK && first == s.tree.size && !slices.Equal(tree.nodes, s.tree.nodes) {
		c.problem(KindWAL, object, first, "its header says that other entries are before it than the segments have")
	}
	if c.prevOK && first == c.next && prev != c.prev {
		c.problem(KindChain, object, first, "its header's _prev is not the hash of the entry before")
	}
	if first > c.next {
		c.problem(KindMissing, object, c.next, "entries %d to %d are in no segment and no write-ahead file", c.next, first-1)
		c.next, c.prevOK = first, false
	}
	var sealed []Hash
	if first < s.tree.size {
		if sealed, err = c.sealed(ctx, first, min(limit, s.tree.size)); err != nil {
			c.problem(KindWAL, object, first, "can't be compared with the segments: %v", err)
		}
	}
	f, err := openRegular(filepath.Join(v.walDir, p.name))
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	prefix := linePrefix(s.Origin)
	chain, seq := prev, first
	r, err := scanPart(f, func(e *walEntry) error {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		if e.seq >= limit {
			return errStop
		}
		linePrev, lineSeq, _, serr := splitLine(e.line, prefix)
		if serr != nil || lineSeq != e.seq || linePrev != chain {
			c.problem(KindChain, object, e.seq, "the entry does not follow the one before")
			return errStop
		}
		chain = sha256.Sum256(e.leafed)
		seq = e.seq + 1
		if i := e.seq - first; i < uint64(len(sealed)) && sealed[i] != chain {
			c.problem(KindWAL, object, e.seq, "the entry is another one in the segments")
			return errStop
		}
		if e.seq >= c.next {
			c.next, c.prev, c.prevOK = seq, chain, true
			if v.opts.OnEntry != nil {
				c.lines = append(c.lines, walLine{e.seq, slices.Clone(e.line)})
			}
		}
		return nil
	})
	if r != nil {
		v.read.Add(r.pos)
	}
	switch {
	case err == nil || errors.Is(err, errStop):
	case errors.Is(err, errTorn) && last:
		c.notes = append(c.notes, Problem{Kind: KindTorn, Object: object, Seq: at(seq), Detail: "an entry at the end is not written whole; it was not acknowledged"})
	case (errors.Is(err, errTorn) || errors.Is(err, errDamaged)) && seq == limit:
	case errors.Is(err, errTorn), errors.Is(err, errDamaged):
		c.problem(KindWAL, object, seq, "%v", err)
	default:
		return false, err
	}
	if !last && seq < limit && len(c.problems) == 0 {
		c.problem(KindMissing, object, seq, "entries %d to %d are not in it", seq, limit-1)
	}
	return false, nil
}

// sealed returns the leaf hashes of sealed entries.
func (c *walCheck) sealed(ctx context.Context, from, to uint64) ([]Hash, error) {
	r := NewReader(c.v.store, "")
	var out []Hash
	err := r.Entries(ctx, c.s.Origin, from, func(seq uint64, line []byte) error {
		if seq >= to {
			return errStop
		}
		out = append(out, leafHash(line))
		return nil
	})
	if errors.Is(err, errStop) {
		err = nil
	}
	return out, err
}
