// Package heap keeps a process whose heap is small from collecting its garbage all the time.
//
// Go collects when the heap has doubled. With 30 MB alive and 200 MB of garbage a second, which a busy gateway makes, that is seven
// times a second. Ease lets garbage grow to Room before it is collected, whatever is alive. From Room on it is Go's own rule: memory
// is never more than that of a process without Ease and Room.
package heap

import (
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
)

// Room is how much garbage there may be at least, in bytes.
const Room = 64 << 20

// Go's own rule, and the most that Ease sets.
const (
	goPercent  = 100
	maxPercent = 1000
)

var once sync.Once

// Ease sets the collector's pace for the rest of the process. It does nothing where the environment variable GOGC does.
func Ease() {
	if _, set := os.LookupEnv("GOGC"); set {
		return
	}
	once.Do(func() {
		debug.SetGCPercent(percent(live()))
		follow(&watch{})
	})
}

// percent is GOGC for a heap of which so many bytes are alive.
func percent(live uint64) int {
	return int(min(max(Room*100/max(live, 1), goPercent), maxPercent))
}

func live() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	if sample[0].Value.Kind() != metrics.KindUint64 {
		return math.MaxInt64
	}
	return sample[0].Value.Uint64()
}

// watch is unreachable, so that each collection finds it.
type watch struct {
	set int
	// Smaller objects share their memory with others, and a finalizer waits until all of them are unreachable.
	_ [2]int
}

// follow adapts the pace after the next collection, and every one after it.
func follow(w *watch) {
	runtime.SetFinalizer(w, func(w *watch) {
		// Setting it stops the process for a moment: not for a little.
		if p := percent(live()); p < w.set*9/10 || p > w.set*11/10 {
			w.set = p
			debug.SetGCPercent(p)
		}
		follow(w)
	})
}
