package detect

import (
	"container/list"
	"hash/maphash"
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
type cache struct {
	seeds [2]maphash.Seed
	limit int

	mu    sync.Mutex
	bytes int
	byKey map[cacheKey]*list.Element
	used  *list.List // the most recently used first
}

type cacheKey struct {
	a, b   uint64
	length int
	origin Origin
}

type cacheEntry struct {
	key  cacheKey
	part *partResult
	size int
}

func newCache(limit int) *cache {
	return &cache{
		seeds: [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()},
		limit: limit, byKey: map[cacheKey]*list.Element{}, used: list.New(),
	}
}

func (c *cache) key(seg Segment) cacheKey {
	return cacheKey{
		a: maphash.String(c.seeds[0], seg.Text), b: maphash.String(c.seeds[1], seg.Text), length: len(seg.Text), origin: seg.Origin,
	}
}

func (c *cache) get(key cacheKey) *partResult {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.byKey[key]
	if !ok {
		return nil
	}
	c.used.MoveToFront(e)
	return e.Value.(*cacheEntry).part
}

// entryOverhead is what an entry takes beside its result: the entry, the list's
// element and the map's share.
const entryOverhead = int(unsafe.Sizeof(cacheEntry{})+unsafe.Sizeof(list.Element{})+unsafe.Sizeof(cacheKey{})) + 64

func (c *cache) put(key cacheKey, p *partResult) {
	size := entryOverhead + int(unsafe.Sizeof(*p)) + cap(p.matches)*int(unsafe.Sizeof(match{})) + cap(p.counts)*int(unsafe.Sizeof(ruleCount{}))
	for _, f := range p.flags {
		size += len(f) + 16
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.byKey[key]; ok || size > c.limit {
		return
	}
	c.byKey[key] = c.used.PushFront(&cacheEntry{key, p, size})
	c.bytes += size
	for c.bytes > c.limit {
		last := c.used.Back()
		old := c.used.Remove(last).(*cacheEntry)
		delete(c.byKey, old.key)
		c.bytes -= old.size
	}
}
