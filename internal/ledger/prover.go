package ledger

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"
)

const (
	// blockHeight is the height of the subtrees of which an EntryProver keeps the
	// roots; what is below it computes from the leaf hashes when it is asked for.
	blockHeight = 8
	blockLeaves = 1 << blockHeight
)

// EntryProver proves many entries of a stream under its newest checkpoint. It reads
// all leaf hashes once, and keeps 64 bytes for each 256 of them. It is not safe
// for concurrent use.
type EntryProver struct {
	r      *Reader
	stream string
	cp     Checkpoint // its Origin "" without one
	msg    []byte
	left   edge          // the tree of the entries that were removed
	levels [][]tlog.Hash // of whole subtrees without removed entries, from blockHeight up
	block  []Hash        // the leaf hashes of the last block asked for
	at     uint64        // its first
}

// NewProver reads a stream's newest checkpoint and the leaf hashes under it.
func (r *Reader) NewProver(ctx context.Context, stream string) (*EntryProver, error) {
	p := &EntryProver{r: r, stream: stream}
	cp, msg, err := r.newestCheckpoint(ctx, stream)
	if errors.Is(err, ErrNotCovered) {
		return p, nil
	}
	if err != nil {
		return nil, err
	}
	p.cp, p.msg = cp, msg
	pruned, err := r.Pruned(ctx, stream)
	if err != nil {
		return nil, err
	}
	p.left = pruned.edge()
	var tree edge
	begin := p.base(0) * blockLeaves // the first whole block
	err = r.eachLeaf(ctx, stream, begin, cp.Size, func(leaf Hash) error {
		if tree.add(leaf); tree.size == blockLeaves {
			p.add(0, tlog.Hash(tree.root()))
			tree = edge{nodes: tree.nodes[:0]}
		}
		return nil
	})
	return p, err
}

// base is which subtree of a level is the first without removed entries.
func (p *EntryProver) base(level int) uint64 {
	leaves := uint64(blockLeaves) << level
	return (p.left.size + leaves - 1) / leaves
}

// add puts the root of the next whole subtree of a level in its place.
func (p *EntryProver) add(level int, h tlog.Hash) {
	if level == len(p.levels) {
		p.levels = append(p.levels, nil)
	}
	l := append(p.levels[level], h)
	p.levels[level] = l
	if n := len(l); n > 1 && (p.base(level)+uint64(n))%2 == 0 {
		p.add(level+1, tlog.NodeHash(l[n-2], l[n-1]))
	}
}

// Prove returns the proof of an entry, as the function Prove does.
func (p *EntryProver) Prove(ctx context.Context, seq uint64, line []byte) ([]byte, error) {
	if p.cp.Origin == "" {
		return nil, fmt.Errorf("%w: %s has no checkpoint", ErrNotCovered, p.stream)
	}
	return proveUnder(p.cp, p.msg, seq, line, func(indexes []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(indexes))
		for i, x := range indexes {
			var err error
			if out[i], err = p.node(ctx, x); err != nil {
				return nil, err
			}
		}
		return out, nil
	})
}

func (p *EntryProver) node(ctx context.Context, index int64) (tlog.Hash, error) {
	level, n := tlog.SplitStoredHashIndex(index)
	from, to := uint64(n)<<level, uint64(n+1)<<level
	switch {
	case from >= p.left.size && level >= blockHeight:
		i := uint64(n) - p.base(level-blockHeight)
		if level-blockHeight >= len(p.levels) || i >= uint64(len(p.levels[level-blockHeight])) {
			return tlog.Hash{}, fmt.Errorf("%w: leaf hashes of %s", ErrGap, p.stream)
		}
		return p.levels[level-blockHeight][i], nil
	case from >= p.left.size:
		return p.inBlock(ctx, from, to)
	}
	if h, ok := p.left.subtree(from, to); ok {
		return tlog.Hash(h), nil
	}
	if to <= p.left.size {
		return tlog.Hash{}, fmt.Errorf("tree of entries %d to %d of %s: %w", from, to-1, p.stream, ErrPruned)
	}
	// It has both: one of its halves is known, or has both again.
	left, err := p.node(ctx, tlog.StoredHashIndex(level-1, 2*n))
	if err != nil {
		return tlog.Hash{}, err
	}
	right, err := p.node(ctx, tlog.StoredHashIndex(level-1, 2*n+1))
	return tlog.NodeHash(left, right), err
}

// inBlock computes a node within a block.
func (p *EntryProver) inBlock(ctx context.Context, from, to uint64) (tlog.Hash, error) {
	if at := max(from&^(blockLeaves-1), p.left.size); len(p.block) == 0 || at != p.at {
		p.at, p.block = at, p.block[:0]
		end := min(from&^(blockLeaves-1)+blockLeaves, p.cp.Size)
		if err := p.r.eachLeaf(ctx, p.stream, at, end, func(leaf Hash) error {
			p.block = append(p.block, leaf)
			return nil
		}); err != nil {
			return tlog.Hash{}, err
		}
	}
	if to-p.at > uint64(len(p.block)) {
		return tlog.Hash{}, fmt.Errorf("%w: leaf hashes of %s end at %d", ErrGap, p.stream, p.at+uint64(len(p.block)))
	}
	return tlog.Hash(treeRoot(p.block[from-p.at : to-p.at])), nil
}
