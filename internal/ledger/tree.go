package ledger

import (
	"fmt"
	"math/bits"
	"slices"

	"golang.org/x/mod/sumdb/tlog"
)

// edge is the right edge of an RFC 6962 tree: the roots of the perfect subtrees
// that its size is made of, the largest first. It is all that appending and
// the tree's own root need, and at most 64 hashes.
type edge struct {
	size  uint64
	nodes []Hash
}

// add appends a leaf.
func (e *edge) add(leaf Hash) {
	h := tlog.Hash(leaf)
	for n := e.size; n&1 == 1; n >>= 1 {
		h = tlog.NodeHash(e.nodes[len(e.nodes)-1], h)
		e.nodes = e.nodes[:len(e.nodes)-1]
	}
	e.nodes = append(e.nodes, h)
	e.size++
}

// root returns the tree's root.
func (e *edge) root() Hash {
	if e.size == 0 {
		h, _ := tlog.TreeHash(0, nil) // the empty tree needs no reader and has no error
		return h
	}
	h := tlog.Hash(e.nodes[len(e.nodes)-1])
	for i := len(e.nodes) - 2; i >= 0; i-- {
		h = tlog.NodeHash(e.nodes[i], h)
	}
	return h
}

func (e *edge) clone() edge { return edge{e.size, append([]Hash(nil), e.nodes...)} }

// growthHashes are the stored hashes that a proof of growth since mark needs:
// roots of mark's perfect subtrees, and of subtrees of the leaves after it.
func growthHashes(mark *edge, since []Hash, indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, x := range indexes {
		level, n := tlog.SplitStoredHashIndex(x)
		from, to := uint64(n)<<level, uint64(n+1)<<level
		switch {
		case from >= mark.size && to <= mark.size+uint64(len(since)):
			out[i] = treeRoot(since[from-mark.size : to-mark.size])
		default:
			h, ok := mark.subtree(from, to)
			if !ok {
				return nil, fmt.Errorf("tree hash %d to %d is not at hand", from, to)
			}
			out[i] = h
		}
	}
	return out, nil
}

// subtree returns the root of one of the perfect subtrees that the size is made of.
func (e *edge) subtree(from, to uint64) (Hash, bool) {
	at := uint64(0)
	for i := range e.nodes {
		n := uint64(1) << (63 - bits.LeadingZeros64(e.size-at))
		if at == from && at+n == to {
			return e.nodes[i], true
		}
		at += n
	}
	return Hash{}, false
}

// from returns the edge of the tree over the leaves from at on, a place where
// one of the perfect subtrees begins.
func (e *edge) from(at uint64) (edge, bool) {
	begin := uint64(0)
	for i := range e.nodes {
		if begin == at {
			return edge{e.size - at, append([]Hash(nil), e.nodes[i:]...)}, true
		}
		begin += 1 << (63 - bits.LeadingZeros64(e.size-begin))
	}
	return edge{}, at == e.size
}

// valid says whether there are as many nodes as the size asks for.
func (e *edge) valid() bool { return len(e.nodes) == bits.OnesCount64(e.size) && e.size <= maxSeq }

func treeRoot(leaves []Hash) Hash {
	var e edge
	for _, l := range leaves {
		e.add(l)
	}
	return e.root()
}

// Tiles of C2SP tlog-tiles stand for tileHeight levels of the tree, and have tileWidth hashes.
const (
	tileHeight = 8
	tileWidth  = 1 << tileHeight
)

// tileEdge is the right edge of a tree that is cut into tiles. Beside what an edge
// has, it has what the tiles of the levels above the lowest need to be written on.
type tileEdge struct {
	size uint64
	low  edge // of the leaves after the last full tile of the lowest level
	// levels are the hashes of the last tile of each level above, from level 1 on; it is never full.
	levels [][]Hash
	// full, if set, is told of each tile of these levels that is full.
	full func(level int, hashes []Hash)
}

// add appends a leaf.
func (t *tileEdge) add(leaf Hash) {
	t.low.add(leaf)
	if t.size++; t.low.size < tileWidth {
		return
	}
	h := t.low.root()
	t.low = edge{nodes: t.low.nodes[:0]}
	for i := 0; ; i++ {
		if i == len(t.levels) {
			t.levels = append(t.levels, nil)
		}
		if t.levels[i] = append(t.levels[i], h); len(t.levels[i]) < tileWidth {
			return
		}
		if t.full != nil {
			t.full(i+1, t.levels[i])
		}
		h = treeRoot(t.levels[i])
		t.levels[i] = t.levels[i][:0]
	}
}

// edge returns the edge of the whole tree.
func (t *tileEdge) edge() edge {
	e := edge{size: t.size}
	for _, hashes := range slices.Backward(t.levels) {
		var part edge
		for _, h := range hashes {
			part.add(h)
		}
		e.nodes = append(e.nodes, part.nodes...)
	}
	e.nodes = append(e.nodes, t.low.nodes...)
	return e
}

// nodes returns all hashes, those of the highest level first.
func (t *tileEdge) nodes() (out []Hash) {
	for _, hashes := range slices.Backward(t.levels) {
		out = append(out, hashes...)
	}
	return append(out, t.low.nodes...)
}

// newTileEdge makes one of a size and its nodes.
func newTileEdge(size uint64, nodes []Hash) (tileEdge, bool) {
	t := tileEdge{size: size, low: edge{size: size % tileWidth}}
	for level := (bits.Len64(size)+tileHeight-1)/tileHeight - 1; level > 0; level-- {
		n := int(size >> (tileHeight * level) % tileWidth)
		if n > len(nodes) {
			return t, false
		}
		t.levels = append(t.levels, slices.Clone(nodes[:n]))
		nodes = nodes[n:]
	}
	slices.Reverse(t.levels)
	t.low.nodes = slices.Clone(nodes)
	return t, t.low.valid()
}
