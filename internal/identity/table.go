package identity

// ref is the place of an item in its table; 0 is none.
type ref uint32

// The window's items lie in tables and refer to each other by their places. What is in
// the tables and maps has no pointers, but for what few calls need: Go's garbage
// collector passes over a hundred thousand calls without looking at one.

const (
	chunkBits = 8
	chunkLen  = 1 << chunkBits
)

// table holds items in chunks that never move: a pointer to an item is good until
// the item is removed, and its place is used again afterwards.
type table[T any] struct {
	chunks []*[chunkLen]T
	free   []ref
	used   ref // places that were ever used, and place 0
}

// add makes room for an item, which is zero.
func (t *table[T]) add() (ref, *T) {
	if n := len(t.free); n > 0 {
		r := t.free[n-1]
		t.free = t.free[:n-1]
		return r, t.at(r)
	}
	r := max(t.used, 1)
	if int(r>>chunkBits) == len(t.chunks) {
		t.chunks = append(t.chunks, new([chunkLen]T))
	}
	t.used = r + 1
	return r, t.at(r)
}

func (t *table[T]) at(r ref) *T { return &t.chunks[r>>chunkBits][r%chunkLen] }

func (t *table[T]) remove(r ref) {
	*t.at(r) = *new(T)
	t.free = append(t.free, r)
}

// len is the number of items.
func (t *table[T]) len() int { return max(int(t.used)-1, 0) - len(t.free) }

// links are an item's neighbours in the order of last use.
type links struct{ newer, older ref }

func (l *links) order() *links { return l }

// lru is a table whose items are in the order of their last use as well.
type lru[T any, P interface {
	*T
	order() *links
}] struct {
	table[T]
	newest, oldest ref
	count          int // of the items in the order
}

func (l *lru[T, P]) links(r ref) *links { return P(l.at(r)).order() }

// push makes the item the newest.
func (l *lru[T, P]) push(r ref) {
	*l.links(r) = links{older: l.newest}
	if l.newest != 0 {
		l.links(l.newest).newer = r
	} else {
		l.oldest = r
	}
	l.newest = r
	l.count++
}

// unlink takes the item out of the order.
func (l *lru[T, P]) unlink(r ref) {
	k := *l.links(r)
	if k.newer != 0 {
		l.links(k.newer).older = k.older
	} else {
		l.newest = k.older
	}
	if k.older != 0 {
		l.links(k.older).newer = k.newer
	} else {
		l.oldest = k.newer
	}
	*l.links(r) = links{}
	l.count--
}

// touch makes an item of the order its newest.
func (l *lru[T, P]) touch(r ref) {
	if l.newest != r {
		l.unlink(r)
		l.push(r)
	}
}
