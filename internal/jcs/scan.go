package jcs

import (
	"encoding/binary"
	"math/bits"
)

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// load64 reads 8 bytes, the first lowest. The compiler makes one load of it.
func load64(s string, i int) uint64 {
	s = s[i : i+8]
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
		uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
}

// specials marks, by the high bit of its byte, the first byte of w that is a
// quote, a backslash or below 0x20. Bytes above the first marked one may be
// marked wrongly, because a subtraction borrows.
func specials(w uint64) uint64 {
	return ((w - ones*0x20) | ((w ^ ones*'"') - ones) | ((w ^ ones*'\\') - ones)) &^ w & highs
}

// special says which bytes end a run of string content.
var special = func() (t [256]bool) {
	for i := range 0x20 {
		t[i] = true
	}
	t['"'], t['\\'] = true, true
	return t
}()

// run returns the index of the first quote, backslash or control character of
// s from i on, len(s) when there is none, and a word with the bits of the bytes
// passed, whose highs tell whether a byte beyond ASCII was among them (it may
// tell so of a byte shortly after the run as well).
func run(s string, i int) (end int, seen uint64) {
	for ; i+16 <= len(s); i += 16 {
		a, b := load64(s, i), load64(s, i+8)
		seen |= a
		if m := specials(a); m != 0 {
			return i + bits.TrailingZeros64(m)>>3, seen
		}
		seen |= b
		if m := specials(b); m != 0 {
			return i + 8 + bits.TrailingZeros64(m)>>3, seen
		}
	}
	for ; i < len(s); i++ {
		if special[s[i]] {
			return i, seen
		}
		seen |= uint64(s[i])
	}
	return i, seen
}

// survey tells whether s has control characters, and bytes beyond ASCII.
func survey(s string) (control, beyond bool) {
	var low, seen uint64
	i := 0
	for ; i+32 <= len(s); i += 32 {
		a, b, c, d := load64(s, i), load64(s, i+8), load64(s, i+16), load64(s, i+24)
		seen |= a | b | c | d
		// By the high bits, as in specials: none is marked wrongly where none is rightly.
		low |= (a-ones*0x20)&^a | (b-ones*0x20)&^b | (c-ones*0x20)&^c | (d-ones*0x20)&^d
	}
	for ; i < len(s); i++ {
		seen |= uint64(s[i])
		if s[i] < 0x20 {
			return true, seen&highs != 0
		}
	}
	return low&highs != 0, seen&highs != 0
}

// slack is how much room copyRun may write to beyond what it copies.
const slack = 8

// copyRun is run, and copies what it passes to dst, which must have room for the
// rest of s and slack. It is quicker than run and copy where runs are short.
func copyRun(dst []byte, s string, i int) (end int, seen uint64) {
	n := 0
	for ; i+8 <= len(s); i, n = i+8, n+8 {
		w := load64(s, i)
		binary.LittleEndian.PutUint64(dst[n:], w)
		seen |= w
		if m := specials(w); m != 0 {
			return i + bits.TrailingZeros64(m)>>3, seen
		}
	}
	for ; i < len(s); i, n = i+1, n+1 {
		if special[s[i]] {
			return i, seen
		}
		dst[n] = s[i]
		seen |= uint64(s[i])
	}
	return i, seen
}

// UTF-8 is checked by an automaton whose states are shift counts: the entry of a
// byte holds, at each state's bits, the state that follows. A step is a load,
// which doesn't wait for the state, and a shift.
const (
	utf8Ok    = 0  // between characters
	utf8Bad   = 6  // for good
	utf8Last1 = 12 // one more byte
	utf8Last2 = 18 // two more
	utf8Last3 = 24 // three more
	utf8E0    = 30 // after E0: A0..BF
	utf8ED    = 36 // after ED: 80..9F
	utf8F0    = 42 // after F0: 90..BF
	utf8F4    = 48 // after F4: 80..8F
)

var utf8Steps = func() (t [256]uint64) {
	states := []int{utf8Ok, utf8Bad, utf8Last1, utf8Last2, utf8Last3, utf8E0, utf8ED, utf8F0, utf8F4}
	next := func(state int, c int) uint64 {
		in := func(lo, hi int) bool { return c >= lo && c <= hi }
		switch {
		case state == utf8Ok && in(0x00, 0x7F):
			return utf8Ok
		case state == utf8Ok && in(0xC2, 0xDF):
			return utf8Last1
		case state == utf8Ok && c == 0xE0:
			return utf8E0
		case state == utf8Ok && c == 0xED:
			return utf8ED
		case state == utf8Ok && in(0xE1, 0xEF):
			return utf8Last2
		case state == utf8Ok && c == 0xF0:
			return utf8F0
		case state == utf8Ok && in(0xF1, 0xF3):
			return utf8Last3
		case state == utf8Ok && c == 0xF4:
			return utf8F4
		case state == utf8Last1 && in(0x80, 0xBF):
			return utf8Ok
		case state == utf8Last2 && in(0x80, 0xBF), state == utf8E0 && in(0xA0, 0xBF), state == utf8ED && in(0x80, 0x9F):
			return utf8Last1
		case state == utf8Last3 && in(0x80, 0xBF), state == utf8F0 && in(0x90, 0xBF), state == utf8F4 && in(0x80, 0x8F):
			return utf8Last2
		}
		return utf8Bad
	}
	for c := range t {
		for _, state := range states {
			t[c] |= next(state, c) << state
		}
	}
	return t
}()

// validUTF8 is utf8.ValidString, quicker on text beyond ASCII.
func validUTF8(s string) bool {
	var state uint64
	i := 0
	for ; i+8 <= len(s); i += 8 {
		w := load64(s, i)
		if w&highs == 0 && state&63 == utf8Ok {
			for i+40 <= len(s) && (load64(s, i+8)|load64(s, i+16)|load64(s, i+24)|load64(s, i+32))&highs == 0 {
				i += 32
			}
			continue
		}
		state = utf8Steps[byte(w)] >> (state & 63)
		state = utf8Steps[byte(w>>8)] >> (state & 63)
		state = utf8Steps[byte(w>>16)] >> (state & 63)
		state = utf8Steps[byte(w>>24)] >> (state & 63)
		state = utf8Steps[byte(w>>32)] >> (state & 63)
		state = utf8Steps[byte(w>>40)] >> (state & 63)
		state = utf8Steps[byte(w>>48)] >> (state & 63)
		state = utf8Steps[byte(w>>56)] >> (state & 63)
		if state&63 == utf8Bad {
			return false
		}
	}
	for ; i < len(s); i++ {
		state = utf8Steps[s[i]] >> (state & 63)
	}
	return state&63 == utf8Ok
}
