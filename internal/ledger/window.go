package ledger

import "time"

// window remembers the observations of the last entries, so that a redelivery
// is not appended again, and counts the entries of each event for its revision.
// Bounded by number and age, the oldest go first.
type window struct {
	max int
	ttl time.Duration

	ring []seen // a queue in a ring
	head int
	n    int
	keys map[observed]uint64 // size of the log that has it, 0 if it is in another log
	ids  map[[16]byte]revisions
}

type observed struct{ id, digest [16]byte }

type seen struct {
	key observed
	end uint64
	at  int64 // Unix ns
}

type revisions struct {
	last int64
	live int32 // entries of the event in the window
}

func newWindow(maxEntries int, ttl time.Duration) *window {
	return &window{max: maxEntries, ttl: ttl, keys: map[observed]uint64{}, ids: map[[16]byte]revisions{}}
}

// find returns how large the log must be to have the observation. The zero
// digest is of none.
func (w *window) find(id, digest [16]byte) (end uint64, ok bool) {
	if digest == ([16]byte{}) {
		return 0, false
	}
	end, ok = w.keys[observed{id, digest}]
	return end, ok
}

// revision is that of the event's next entry.
func (w *window) revision(id [16]byte) int64 { return w.ids[id].last + 1 }

// add remembers an entry as the newest. revision 0 stands for the next one.
func (w *window) add(id, digest [16]byte, end uint64, revision int64, now time.Time) {
	w.expire(now)
	if w.n == w.max {
		w.dropOldest()
	}
	if w.n == len(w.ring) {
		grown := make([]seen, min(w.max, max(64, 2*len(w.ring))))
		for i := range w.n {
			grown[i] = w.ring[(w.head+i)%len(w.ring)]
		}
		w.ring, w.head = grown, 0
	}
	k := observed{id, digest}
	w.ring[(w.head+w.n)%len(w.ring)] = seen{k, end, now.UnixNano()}
	w.n++
	w.keys[k] = end
	r := w.ids[id]
	if revision == 0 {
		revision = r.last + 1
	}
	w.ids[id] = revisions{max(r.last, revision), r.live + 1}
}

// undo forgets the newest n entries, which were never written.
func (w *window) undo(n int) {
	for ; n > 0 && w.n > 0; n-- {
		w.n--
		s := w.ring[(w.head+w.n)%len(w.ring)]
		r := w.ids[s.key.id]
		r.last--
		w.forget(s, r)
	}
}

func (w *window) dropOldest() {
	s := w.ring[w.head]
	w.head = (w.head + 1) % len(w.ring)
	w.n--
	w.forget(s, w.ids[s.key.id])
}

func (w *window) forget(s seen, r revisions) {
	if w.keys[s.key] == s.end { // a newer entry may have the same key
		delete(w.keys, s.key)
	}
	if r.live--; r.live <= 0 {
		delete(w.ids, s.key.id)
		return
	}
	w.ids[s.key.id] = r
}

func (w *window) expire(now time.Time) {
	limit := now.Add(-w.ttl).UnixNano()
	for w.n > 0 && w.ring[w.head].at < limit {
		w.dropOldest()
	}
}

// settle marks all entries as those of another log, which is whole.
func (w *window) settle() {
	for i := range w.n {
		w.ring[(w.head+i)%len(w.ring)].end = 0
	}
	for k := range w.keys {
		w.keys[k] = 0
	}
}
