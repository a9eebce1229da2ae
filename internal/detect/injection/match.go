package injection

import "sync"

// Match finds the keywords of a text. It serves where the engine's prefilter is
// not at hand: training, explaining, tests.
func Match(text string) []Hit { return matcher().match(text) }

// automaton is a dense Aho-Corasick automaton over bytes, ASCII case folded.
type automaton struct {
	next [][256]int32
	out  [][]int32 // keywords that end in a state
}

var matcher = sync.OnceValue(func() *automaton {
	a := &automaton{next: make([][256]int32, 1), out: make([][]int32, 1)}
	for k, w := range Keywords() {
		s := int32(0)
		for i := 0; i < len(w); i++ {
			c := lowerByte(w[i])
			if a.next[s][c] == 0 {
				a.next = append(a.next, [256]int32{})
				a.out = append(a.out, nil)
				a.next[s][c] = int32(len(a.next) - 1)
			}
			s = a.next[s][c]
		}
		a.out[s] = append(a.out[s], int32(k))
	}
	fail := make([]int32, len(a.next))
	var queue []int32
	for _, n := range a.next[0] {
		if n != 0 {
			queue = append(queue, n)
		}
	}
	for len(queue) > 0 {
		s := queue[0]
		queue = queue[1:]
		a.out[s] = append(a.out[s], a.out[fail[s]]...)
		for c, n := range a.next[s] {
			if n == 0 {
				a.next[s][c] = a.next[fail[s]][c]
				continue
			}
			fail[n] = a.next[fail[s]][c]
			queue = append(queue, n)
		}
	}
	return a
})

func (a *automaton) match(text string) (hits []Hit) {
	s := int32(0)
	for i := 0; i < len(text); i++ {
		s = a.next[s][lowerByte(text[i])]
		for _, k := range a.out[s] {
			hits = append(hits, Hit{Keyword: int(k), End: i + 1})
		}
	}
	return hits
}

func lowerByte(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}
