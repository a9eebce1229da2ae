// Package cputime measures what work costs on a machine that does other work too.
// It is for tests that compare how the cost grows.
package cputime

import (
	"runtime"
	"time"
)

// Of is the CPU time that f takes on the calling goroutine, the least of several
// runs; the elapsed time where the system does not tell.
func Of(runs int, f func()) time.Duration {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	best := time.Duration(1<<63 - 1)
	for range max(runs, 1) {
		from := now()
		f()
		best = min(best, now()-from)
	}
	return best
}

// Growth is how many times as much the work on large costs as that on small. It is
// measured again, up to a few times, while it is above enough: what is true of the work
// shows in the least of it.
func Growth(enough float64, small, large func()) float64 {
	const floor = 100 * time.Microsecond // below, the clock is what is measured
	ratio := 0.0
	for attempt := range 5 {
		a, b := Of(3, small), Of(2, large)
		if r := float64(b) / float64(max(a, floor)); attempt == 0 || r < ratio {
			ratio = r
		}
		if ratio <= enough {
			break
		}
	}
	return ratio
}
