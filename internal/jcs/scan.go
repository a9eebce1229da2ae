package jcs

import "math/bits"

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
