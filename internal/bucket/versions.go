package bucket

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// maxFirsts bounds the keys remembered because something was written over them.
const maxFirsts = 100_000

// firsts are the first versions of keys that have more, or that were deleted
// over, as listings found them.
type firsts struct {
	mu sync.Mutex
	by map[string]string
}

func (f *firsts) of(key string) (id string, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	id, ok = f.by[key]
	return id, ok
}

func (f *firsts) remember(url, key, id string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.by == nil {
		f.by = map[string]string{}
	}
	if len(f.by) >= maxFirsts {
		return fmt.Errorf("list %s: more than %d objects were written over", url, maxFirsts)
	}
	f.by[key] = id
	return nil
}

// version is one version of an object in a listing.
type version struct {
	key, id string
	size    int64
	at      time.Time
	sum     string // tells whether two versions have the same bytes; empty: unknown
	marker  bool   // S3's delete marker
	newest  bool   // what a plain read returns, where the store tells that
}

// versionWalk turns a listing of versions, those of a key together, into one of objects.
type versionWalk struct {
	firsts *firsts
	url    string
	prefix string
	after  string
	fn     func(ObjectInfo) error
	// older says whether a version is older than the oldest so far; nil: the listing has the newest first.
	older func(v, than version) bool
	// current: the store tells which version is the newest, and an object
	// without one is hidden.
	current bool

	key     string
	first   version
	found   int
	again   int // of the found, later ones in a row with the bytes of the first
	markers int
	visible bool
}

func (w *versionWalk) add(v version) error {
	key, ok := strings.CutPrefix(v.key, w.prefix)
	if !ok || key <= w.after {
		return nil
	}
	if key != w.key {
		if err := w.flush(); err != nil {
			return err
		}
		w.key, w.markers, w.visible = key, 0, false
	}
	if v.marker {
		w.markers++
		return nil
	}
	switch {
	case w.found == 0:
		w.first, w.again = v, 0
	case w.older == nil || w.older(v, w.first):
		// A put whose answer was lost is made again, and a store that looks before it writes may take both.
		if w.first.sum != "" && w.first.sum == v.sum && w.first.size == v.size {
			w.again++
		} else {
			w.again = 0
		}
		w.first = v
	}
	w.found++
	w.visible = w.visible || v.newest
	return nil
}

// flush hands on the key whose versions were gathered.
func (w *versionWalk) flush() error {
	if w.found == 0 {
		return nil // nothing, or delete markers alone
	}
	info := ObjectInfo{Key: w.key, Size: w.first.size, Overwritten: w.found - 1 - w.again + w.markers}
	if w.current && !w.visible {
		info.Overwritten++
	}
	w.found = 0
	if info.Overwritten > 0 {
		if err := w.firsts.remember(w.url, info.Key, w.first.id); err != nil {
			return err
		}
	}
	return w.fn(info)
}

// sortVersions sorts by key, and within a key the newest first.
func sortVersions(v []version) {
	slices.SortStableFunc(v, func(a, b version) int {
		if c := strings.Compare(a.key, b.key); c != 0 {
			return c
		}
		return b.at.Compare(a.at)
	})
}
