package ledger

import (
	"fmt"
	"math/bits"

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
