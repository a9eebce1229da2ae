package detect

import (
	"hash/maphash"
	"math/bits"
	"sync"
	"unsafe"
)

// minCached is the shortest text worth remembering: a shorter one is scanned in
// the time that the cache takes.
const minCached = 256

// cache remembers what texts hold, so that a long history that comes again with
// every call is scanned once. Its key is 128 bits of two keyed hashes with
// seeds of this process, so that nobody outside can make two texts collide. It
// belongs to an engine: new rules start with an empty one.
//
// Most texts hold nothing. For them there is a key and no more, in memory without
// pointers, which costs a collection of garbage nothing.
type cache struct {
	seeds [2]maphash.Seed

	mu sync.Mutex
	// sets are the keys, each in the set that its hash says, the most recently used
	// first.
	sets []cacheSet
	// parts are what was found, the oldest first: parts[head] has number first.
	parts []*partResult
	head  int
	first uint64
	bytes int // of parts
	limit int // of bytes
}

type cacheKey struct{ a, b uint64 }

// cacheSlot is a key and the number of what was found, 0 in a slot that is free.
type cacheSlot struct {
	key  cacheKey
	part uint64
}

type cacheSet [8]cacheSlot

// numberOfNothing is the number of nothing.
const numberOfNothing = 1

// newCache makes a cache of limit bytes, half of them for keys.
func newCache(limit int) *cache {
	return &cache{
		seeds: [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()},
		sets:  make([]cacheSet, max(limit/2/int(unsafe.Sizeof(cacheSet{})), 1)),
		first: numberOfNothing + 1,
		limit: limit / 2,
	}
}

func (c *cache) key(seg Segment) cacheKey {
	return cacheKey{
		// who wrote a text makes its key another for certain
		a: maphash.String(c.seeds[0], seg.Text) ^ uint64(seg.Origin),
		b: maphash.String(c.seeds[1], seg.Text),
	}
}

// set is where a key is, if it is there.
func (c *cache) set(key cacheKey) *cacheSet {
	i, _ := bits.Mul64(key.b, uint64(len(c.sets)))
	return &c.sets[i]
}

func (c *cache) get(key cacheKey) *partResult {
	c.mu.Lock()
	defer c.mu.Unlock()
	set := c.set(key)
	for i := range set {
		s := set[i]
		if s.key != key || s.part == 0 {
			continue
		}
		if s.part == numberOfNothing {
			set.use(i, s)
			return nothing
		}
		if s.part < c.first {
			return nil // it had to go
		}
		set.use(i, s)
		return c.parts[c.head+int(s.part-c.first)]
	}
	return nil
}

// use puts a slot first, in place of that at i.
func (set *cacheSet) use(i int, s cacheSlot) {
	copy(set[1:i+1], set[:i])
	set[0] = s
}

func (c *cache) put(key cacheKey, p *partResult) {
	size := p.size()
	if p != nothing && size > c.limit {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s := cacheSlot{key: key, part: numberOfNothing}
	if p != nothing {
		s.part = c.first + uint64(len(c.parts)-c.head)
		c.parts = append(c.parts, p)
		for c.bytes += size; c.bytes > c.limit; c.head++ {
			c.bytes -= c.parts[c.head].size()
			c.parts[c.head] = nil
			c.first++
		}
		if c.head > len(c.parts)/2 {
			n := copy(c.parts, c.parts[c.head:])
			clear(c.parts[n:])
			c.parts, c.head = c.parts[:n], 0
		}
	}
	set := c.set(key)
	last := len(set) - 1
	for i := range set {
		if set[i].key == key { // from a scan at the same time, or too old
			last = i
			break
		}
	}
	set.use(last, s)
}

// size is the memory of what was found.
func (p *partResult) size() int {
	size := int(unsafe.Sizeof(*p)+unsafe.Sizeof(p)) + cap(p.matches)*int(unsafe.Sizeof(match{})) + cap(p.counts)*int(unsafe.Sizeof(ruleCount{}))
	for _, f := range p.flags {
		size += len(f) + int(unsafe.Sizeof(f))
	}
	return size
}
