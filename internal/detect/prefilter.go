package detect

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
	"unsafe"
)

// The prefilter finds every keyword of every rule, every place where numbers
// stand, every '@' and every long token in one pass.
//
// An Aho-Corasick automaton looks each byte up in a table at an address that
// depends on the byte before, so that the processor can only wait: about 300
// MB/s here. This filter has no such chain: of each keyword it takes the four
// bytes that are rarest in ordinary text and marks them in a table;
// each position of the text is looked up in the table by itself,
// eight positions to one branch. The few positions that pass are looked up
// and compared. Letters are folded by setting bit 5 of every byte, which can
// only let too much through to the comparison, never too little.

// keyword is a literal that the prefilter finds, ASCII letters in any case.
type keyword struct {
	text string // ASCII letters in lower case
	// left and right require that no ASCII letter or digit stands before or
	// after.
	left, right bool
}

// gramLen is the length of what is tested for at each position.
const gramLen = 4

// minKeyword is the shortest keyword; one of three bytes needs a left
// boundary, which makes up the fourth.
// Without one it is looked for with every byte after it, and not found at
// the very end of a text.
const minKeyword = 3

// hit is a keyword found in a text.
type hit struct {
	keyword    uint32
	start, end uint32
}

type gramRef struct {
	keyword uint32
	offset  int32 // of the gram in the keyword; -1 when it begins with the boundary
}

// gramSlot is a place of the table of grams: refs[first:first+n] begin with it.
type gramSlot struct {
	gram  uint32
	first uint32
	n     uint32
}

// gramTableBits is the base-2 logarithm of the number of entries of a table
// of grams, a byte each: reading a bit would take three instructions more at
// each position, and the loads don't wait for each other.
const gramTableBits = 18

type gramTable [1 << gramTableBits]uint8

const gramHash = 0x9E3779B1

type prefilter struct {
	table    gramTable
	slots    []gramSlot // open addressing, a power of two
	mask     uint32
	refs     []gramRef
	keywords []keyword
	longest  int // keyword
	// asciiFold is every byte with ASCII capitals in lower case.
	fold [256]byte
}

// fold4 sets bit 5 of every byte.
func fold4(g uint32) uint32 { return g | 0x20202020 }

func gramAt(s string, i int) uint32 {
	return fold4(uint32(s[i]) | uint32(s[i+1])<<8 | uint32(s[i+2])<<16 | uint32(s[i+3])<<24)
}

// boundaryBytes are the bytes that may stand before a short word, folded: all
// but ASCII letters and digits.
var boundaryBytes = func() []byte {
	var seen [256]bool
	for b := range 256 {
		if !isAlnum(byte(b)) {
			seen[b|0x20] = true
		}
	}
	var out []byte
	for b, ok := range seen {
		if ok {
			out = append(out, byte(b))
		}
	}
	return out
}()

func newPrefilter(words []keyword) (*prefilter, error) {
	p := &prefilter{keywords: words}
	for i := range p.fold {
		p.fold[i] = byte(i)
		if i >= 'A' && i <= 'Z' {
			p.fold[i] |= 0x20
		}
	}
	grams := map[uint32][]gramRef{}
	for i, w := range words {
		switch {
		case len(w.text) < minKeyword:
			return nil, fmt.Errorf("keyword %q is shorter than %d bytes", w.text, minKeyword)
		case len(w.text) == minKeyword && !w.left:
			for b := range 256 {
				if b&0x20 != 0 {
					g := gramAt(w.text+string([]byte{byte(b)}), 0)
					grams[g] = append(grams[g], gramRef{keyword: uint32(i)})
				}
			}
		case len(w.text) == minKeyword:
			for _, b := range boundaryBytes {
				g := gramAt(string([]byte{b})+w.text, 0)
				grams[g] = append(grams[g], gramRef{keyword: uint32(i), offset: -1})
			}
		default:
			off := rarestGram(w.text)
			g := gramAt(w.text, off)
			grams[g] = append(grams[g], gramRef{keyword: uint32(i), offset: int32(off)})
		}
		p.longest = max(p.longest, len(w.text))
	}
	size := 16
	for size < 2*len(grams) {
		size *= 2
	}
	p.slots = make([]gramSlot, size)
	p.mask = uint32(size - 1)
	order := make([]uint32, 0, len(grams))
	for g := range grams {
		order = append(order, g)
	}
	slices.Sort(order)
	for _, g := range order {
		h := g * gramHash
		p.table[h>>(32-gramTableBits)] = 1
		s := h >> 7 & p.mask
		for p.slots[s].n != 0 {
			s = (s + 1) & p.mask
		}
		p.slots[s] = gramSlot{gram: g, first: uint32(len(p.refs)), n: uint32(len(grams[g]))}
		p.refs = append(p.refs, grams[g]...)
	}
	return p, nil
}

// letterFrequency is how often a letter stands in ordinary English text, per
// thousand; other Latin languages are close enough for a choice of grams.
var letterFrequency = [26]float64{
	82, 15, 28, 43, 127, 22, 20, 61, 70, 1.5, 7.7, 40, 24, 67, 75, 19, 0.95, 60, 63, 91, 28, 9.8, 24, 1.5, 20, 0.74,
}

// commonGrams are pieces of words that are everywhere.
var commonGrams = map[string]bool{}

func init() {
	for _, w := range strings.Fields(`the that this with from have your what which there their about would other into more some
		could them these than then when been were will only also time like just over such make made most after first well
		ation tions ement ments ition ising izing ating ction inter ently ality ingly ering ersion under before because through
		between where while being should each many those need using used user data file name number system value return
		function string example provide information process different following include create possible question answer
		people world work years part place water long great little company report market service account
		person order state general note page line list text code type test case set get point form content`) {
		for i := 0; i+gramLen <= len(w); i++ {
			commonGrams[w[i:i+gramLen]] = true
		}
	}
}

// rarestGram is the offset of the four bytes of w that ordinary text holds
// least often.
func rarestGram(w string) int {
	best, at := math.Inf(1), 0
	for i := 0; i+gramLen <= len(w); i++ {
		score := 0.0
		for _, b := range []byte(w[i : i+gramLen]) {
			f := 2.0 // digits, punctuation
			switch {
			case b >= 'a' && b <= 'z':
				f = letterFrequency[b-'a']
			case b == ' ':
				f = 180
			case b == '-' || b == '_':
				f = 3
			case b >= utf8.RuneSelf:
				f = 30
			}
			score += math.Log(f)
		}
		if commonGrams[w[i:i+gramLen]] {
			score += 6
		}
		if score < best {
			best, at = score, i
		}
	}
	return at
}

// signals are what the pass over a text noticed apart from keywords.
type signals struct {
	// numbers are positions from which, in the next 8 bytes, at least two
	// digits stand, or the second of two.
	numbers []uint32
	ats     []uint32 // '@'
}

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// scan appends the keywords that have their rarest four bytes start in
// text[from:to) to hits and collects signals.
func (p *prefilter) scan(text string, from, to int, hits []hit, sig *signals) []hit {
	scanSignals(bytesOf(text), from, to, sig)
	return p.keywordsIn(text, from, to, hits)
}

// bytesOf are the text's own bytes, only to be read: a conversion would copy
// them.
func bytesOf(text string) []byte { return unsafe.Slice(unsafe.StringData(text), len(text)) }

// keywordsIn is scan without signals.
func (p *prefilter) keywordsIn(text string, from, to int, hits []hit) []hit {
	data := bytesOf(text)
	if from == 0 && len(text) >= minKeyword {
		// a short keyword at the start has no byte before it
		g := fold4(' ' | uint32(text[0])<<8 | uint32(text[1])<<16 | uint32(text[2])<<24)
		if p.has(g) {
			hits = p.verify(text, -1, g, hits)
		}
	}
	wide := min(to-7, len(text)-gramStride+1) // for whole groups of eight
	i := from
	for {
		i = nextGrams(&p.table, data, i, wide)
		if i >= wide {
			break
		}
		for j := i; j < i+8; j++ {
			if g := gramAt(text, j); p.has(g) {
				hits = p.verify(text, j, g, hits)
			}
		}
		i += 8
	}
	for ; i < to && i+gramLen <= len(text); i++ {
		if g := gramAt(text, i); p.has(g) {
			hits = p.verify(text, i, g, hits)
		}
	}
	return hits
}

// gramStride is what nextGrams reads at a time.
const gramStride = 8 + gramLen

// nextGrams is the first of i, i+8, i+16, … below end from which one of eight
// positions may begin a gram, or the first that isn't below end. data has
// gramStride bytes from each.
func nextGrams(table *gramTable, data []byte, i, end int) int {
	const s = 32 - gramTableBits
	for ; i < end; i += 8 {
		b := data[i : i+gramStride]
		w := binary.LittleEndian.Uint64(b) | 0x2020202020202020
		v := w>>32 | (uint64(binary.LittleEndian.Uint32(b[8:]))|0x20202020)<<32
		m := table[uint32(w)*gramHash>>s]
		m |= table[uint32(w>>8)*gramHash>>s]
		m |= table[uint32(w>>16)*gramHash>>s]
		m |= table[uint32(w>>24)*gramHash>>s]
		m |= table[uint32(v)*gramHash>>s]
		m |= table[uint32(v>>8)*gramHash>>s]
		m |= table[uint32(v>>16)*gramHash>>s]
		m |= table[uint32(v>>24)*gramHash>>s]
		if m != 0 {
			break
		}
	}
	return i
}

// scanSignals collects the signals of data[from:to).
func scanSignals(data []byte, from, to int, sig *signals) {
	var carry uint64
	if from > 0 && isDigit(data[from-1]) {
		carry = 0x80
	}
	i := from
	for ; i+8 <= min(to, len(data)); i += 8 {
		w := binary.LittleEndian.Uint64(data[i:])
		// a byte is a digit if it is 0x30 to 0x39
		x := w ^ 0x3030303030303030
		digits := ^(x&0x7f7f7f7f7f7f7f7f + 0x7676767676767676 | x) & highs
		y := w ^ 0x4040404040404040
		at := (y - ones) &^ y & highs
		if at|digits&(digits-1)|digits&carry != 0 {
			if digits&(digits-1)|digits&carry != 0 {
				sig.numbers = append(sig.numbers, uint32(i))
			}
			for j := i; at != 0 && j < i+8; j++ {
				if data[j] == '@' {
					sig.ats = append(sig.ats, uint32(j))
				}
			}
		}
		carry = digits >> 56
	}
	last := carry != 0
	for ; i < min(to, len(data)); i++ {
		c := data[i]
		switch {
		case isDigit(c):
			if last {
				sig.numbers = append(sig.numbers, uint32(i))
			}
		case c == '@':
			sig.ats = append(sig.ats, uint32(i))
		}
		last = isDigit(c)
	}
}

func (p *prefilter) has(g uint32) bool {
	return p.table[g*gramHash>>(32-gramTableBits)] != 0
}

// verify appends the keywords of which the gram at text[at:] is a part.
func (p *prefilter) verify(text string, at int, gram uint32, hits []hit) []hit {
	for s := gram * gramHash >> 7 & p.mask; p.slots[s].n != 0; s = (s + 1) & p.mask {
		if p.slots[s].gram != gram {
			continue
		}
		for _, r := range p.refs[p.slots[s].first:][:p.slots[s].n] {
			start := at - int(r.offset)
			w := &p.keywords[r.keyword]
			end := start + len(w.text)
			if start < 0 || end > len(text) || !p.equalFold(text[start:end], w.text) {
				continue
			}
			if w.left && start > 0 && isAlnum(text[start-1]) || w.right && end < len(text) && isAlnum(text[end]) {
				continue
			}
			hits = append(hits, hit{keyword: r.keyword, start: uint32(start), end: uint32(end)})
		}
		break
	}
	return hits
}

// equalFold compares s with w, which is in lower case, both of one length.
func (p *prefilter) equalFold(s, w string) bool {
	w = w[:len(s)]
	for i := range len(s) {
		if p.fold[s[i]] != w[i] {
			return false
		}
	}
	return true
}

// caseForms are the ways in which w is written: itself in lower case and,
// where it has letters outside of ASCII, which the prefilter compares byte by
// byte, also with these in upper case, all or only the first letter.
func caseForms(w string) []string {
	lower := strings.ToLower(w)
	forms := []string{lowerASCII(lower)}
	upper := strings.ToUpper(w)
	first, n := utf8.DecodeRuneInString(lower)
	title := string(unicode.ToTitle(first)) + lower[n:]
	for _, f := range []string{lowerASCII(upper), lowerASCII(title)} {
		if !slices.Contains(forms, f) {
			forms = append(forms, f)
		}
	}
	return forms
}

// lowerASCII is s with ASCII capitals in lower case and all else as it is.
func lowerASCII(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			b[i] = c | 0x20
		}
	}
	return string(b)
}

func isDigit(c byte) bool { return c-'0' <= 9 }
func isUpper(c byte) bool { return c-'A' <= 'Z'-'A' }
func isLower(c byte) bool { return c-'a' <= 'z'-'a' }
func isLetter(c byte) bool {
	return c|0x20-'a' <= 'z'-'a' && (c|0x20) >= 'a'
}
func isAlnum(c byte) bool { return isDigit(c) || isLetter(c) }
func isHex(c byte) bool   { return isDigit(c) || (c|0x20)-'a' <= 5 }
func isSpace(c byte) bool { return c == ' ' || c-'\t' <= '\r'-'\t' }
