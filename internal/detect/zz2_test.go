package detect

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/claudeaudit/claudeaudit/internal/cputime"
)

func TestZSlow(t *testing.T) {
	e := newEngine(t, Config{CacheBytes: -1, NoInjection: os.Getenv("INJ") == ""})
	type in struct {
		name, piece string
		took        time.Duration
	}
	var all []in
	const size = 64 << 10
	one := func(name, p string) {
		text := repeatTo(p, size)
		all = append(all, in{name, p, cputime.Of(3, func() { e.Scan([]Segment{{Text: text}}, Scope{}, Options{Once: true}) })})
	}
	for _, r := range e.Rules() {
		for _, p := range pieces(r) {
			one(r.ID, p)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(shapes)) {
		one(name, shapes[name])
	}
	slices.SortFunc(all, func(a, b in) int { return -cmp.Compare(a.took, b.took) })
	seen := map[string]int{}
	n := 0
	for _, x := range all {
		if seen[x.name]++; seen[x.name] > 2 {
			continue
		}
		fmt.Printf("SLOW %6.1f MB/s %s: %.70q\n", size/1e6/x.took.Seconds(), x.name, x.piece)
		if n++; n > 70 {
			break
		}
	}
}
