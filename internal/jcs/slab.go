package jcs

// Slab gives out small slices cut from larger ones, which double in length from minSlab
// to maxSlab, so that small texts don't pay for large ones. The zero Slab is ready
// for use.
type Slab[T any] struct {
	chunks [][]T
	at     int // the chunk that is cut from
	used   int // of it
}

const (
	minSlab = 8
	maxSlab = 256
	// maxKept is how many chunks an emptied slab holds on to.
	maxKept = 64
)

// Take returns a zeroed slice of n items, which is good until Reset.
func (s *Slab[T]) Take(n int) []T {
	for s.at < len(s.chunks) {
		c := s.chunks[s.at]
		if n <= len(c)-s.used {
			out := c[s.used : s.used+n : s.used+n]
			s.used += n
			return out
		}
		if n >= maxSlab/4 {
			return make([]T, n)
		}
		s.at, s.used = s.at+1, 0
	}
	if n >= maxSlab/4 {
		return make([]T, n)
	}
	size := max(minSlab, n)
	if s.at > 0 {
		size = max(min(2*len(s.chunks[s.at-1]), maxSlab), n)
	}
	s.chunks = append(s.chunks, make([]T, size))
	s.used = n
	return s.chunks[s.at][:n:n]
}

// keep copies items from a stack into a slice of their own.
func (s *Slab[T]) keep(items []T) []T {
	if len(items) == 0 {
		return nil
	}
	out := s.Take(len(items))
	copy(out, items)
	return out
}

// Reset takes back all slices given out, and lets go of what they refer to.
func (s *Slab[T]) Reset() {
	for i := range s.at {
		clear(s.chunks[i])
	}
	if s.at < len(s.chunks) {
		clear(s.chunks[s.at][:s.used])
	}
	if len(s.chunks) > maxKept {
		clear(s.chunks[maxKept:])
		s.chunks = s.chunks[:maxKept]
	}
	s.at, s.used = 0, 0
}
