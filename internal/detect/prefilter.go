package detect

import (
	_ "embed"
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
	"slices"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"
	"unsafe"

	"github.com/claudeaudit/claudeaudit/internal/detect/injection"
	"github.com/claudeaudit/claudeaudit/internal/detect/sweep"
)

// The prefilter finds every keyword of every rule, every place where numbers
// stand and every '@' in one pass over what package sweep tells of a text.
//
// Of each keyword it takes the four bytes that are rarest in ordinary text. Of
// the positions where sweep finds one of these grams, most are dismissed by a
// comparison of eight bytes with those that all keywords with the gram have in
// common; the others are compared keyword by keyword. Letters are folded by
// setting bit 5 of every byte, which can only let too much through to the
// comparison, never too little.

// keyword is a literal that the prefilter finds, ASCII letters in any case.
type keyword struct {
	text string // ASCII letters in lower case
	// left and right require that no ASCII letter or digit stands before or
	// after.
	left, right bool
}

const gramLen = sweep.GramLen

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
// All of them need that the eight bytes from back bytes before the gram, folded,
// are want where mask is set.
type gramSlot struct {
	gram       uint32
	first      uint32
	n          uint16
	back       uint16
	mask, want uint64
}

type prefilter struct {
	table    sweep.Table
	slots    []gramSlot // open addressing, a power of two
	mask     uint32
	refs     []gramRef
	keywords []keyword
	longest  int // keyword
	// asciiFold is every byte with ASCII capitals in lower case.
	fold [256]byte
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
					g := sweep.Gram(w.text+string([]byte{byte(b)}), 0)
					grams[g] = append(grams[g], gramRef{keyword: uint32(i)})
				}
			}
		case len(w.text) == minKeyword:
			for _, b := range boundaryBytes {
				g := sweep.Gram(string([]byte{b})+w.text, 0)
				grams[g] = append(grams[g], gramRef{keyword: uint32(i), offset: -1})
			}
		default:
			off := rarestGram(w.text)
			g := sweep.Gram(w.text, off)
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
		p.table.Add(g)
		s := sweep.Hash(g) >> 7 & p.mask
		for p.slots[s].n != 0 {
			s = (s + 1) & p.mask
		}
		if len(grams[g]) > math.MaxUint16 {
			return nil, fmt.Errorf("more than %d keywords share four bytes", math.MaxUint16)
		}
		slot := gramSlot{gram: g, first: uint32(len(p.refs)), n: uint16(len(grams[g]))}
		slot.compare(words, grams[g])
		p.slots[s] = slot
		p.refs = append(p.refs, grams[g]...)
	}
	return p, nil
}

// compare chooses the eight bytes around the gram of which most are the same in
// all of its keywords.
func (s *gramSlot) compare(words []keyword, refs []gramRef) {
	for back := range 5 {
		mask, want := ^uint64(0), uint64(0)
		for i, r := range refs {
			var m, w uint64
			for k := range 8 {
				// byte k is byte k-back of the gram
				if at := int(r.offset) + k - back; at >= 0 && at < len(words[r.keyword].text) {
					m |= 0xff << (8 * k)
					w |= uint64(words[r.keyword].text[at]|0x20) << (8 * k)
				}
			}
			if i == 0 {
				want = w
			}
			// a byte in which they differ is compared in none
			for k := range 8 {
				if b := uint64(0xff) << (8 * k); (w^want)&b != 0 {
					m &^= b
				}
			}
			mask &= m
		}
		if bits.OnesCount64(mask) > bits.OnesCount64(s.mask) {
			s.back, s.mask, s.want = uint16(back), mask, want&mask
		}
	}
}

// letterFrequency is how often a letter stands in ordinary English text, per
// thousand; other Latin languages are close enough for a choice of grams.
var letterFrequency = [26]float64{
	82, 15, 28, 43, 127, 22, 20, 61, 70, 1.5, 7.7, 40, 24, 67, 75, 19, 0.95, 60, 63, 91, 28, 9.8, 24, 1.5, 20, 0.74,
}

// grams are the commonest grams of documentation, code and configuration in
// English, four bytes each, the commonest first. They were counted in the
// modules of a Go cache.
//
//go:embed grams.txt
var grams string

// gramRank is the place of a gram among the commonest.
var gramRank = sync.OnceValue(func() map[string]int {
	ranks := make(map[string]int, len(grams)/gramLen)
	for i := 0; i+gramLen <= len(grams); i += gramLen {
		ranks[grams[i:i+gramLen]] = i / gramLen
	}
	return ranks
})

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
		g := []byte(w[i : i+gramLen])
		for k := range g {
			g[k] |= 0x20
		}
		if rank, ok := gramRank()[string(g)]; ok {
			// more than letters alone can make
			score = 40 + float64(len(grams)/gramLen-rank)
		}
		if score < best {
			best, at = score, i
		}
	}
	return at
}

// blocksAtOnce is how many blocks are swept before they are looked at: with what
// they tell of they stay in the first-level cache.
const blocksAtOnce = 64

// signals are what the pass over a text noticed apart from keywords.
type signals struct {
	// numbers are positions in whose next 8 bytes a digit stands that has another
	// at most seven bytes before it.
	numbers []uint32
	ats     []uint32 // '@'
	// places are where a text may hide something, nil if nobody wants to know.
	places *injection.Places
	blocks [blocksAtOnce]sweep.Block
}

// scan appends the keywords that have their rarest four bytes start in
// text[from:to) to hits and collects signals.
func (p *prefilter) scan(text string, from, to int, hits []hit, sig *signals) []hit {
	hits = p.first(text, from, hits)
	var before uint64 // the digits of the bytes before, the last in the top bit
	for i := max(0, from-8); i < from; i++ {
		before >>= 1
		if isDigit(text[i]) {
			before |= 1 << 63
		}
	}
	for to = min(to, len(text)); from < to; {
		n := sweep.Text(sig.blocks[:], text, from, &p.table)
		if sig.places != nil {
			sig.places.Add(from, sig.blocks[:min(n, (to-from+sweep.Size-1)/sweep.Size)])
		}
		for k := range sig.blocks[:n] {
			b := &sig.blocks[k]
			left := to - from
			if left <= 0 {
				break
			}
			gram, digit, at := b.Gram, b.Digit, b.At
			if left < sweep.Size {
				m := uint64(1)<<left - 1
				gram, digit, at = gram&m, digit&m, at&m
			}
			for ; at != 0; at &= at - 1 {
				sig.ats = append(sig.ats, uint32(from+bits.TrailingZeros64(at)))
			}
			if digit != 0 {
				// digits with another at most seven bytes before them
				two := uint64(0)
				for n := 1; n < 8; n++ {
					two |= digit<<n | before>>(64-n)
				}
				for two &= digit; two != 0; {
					g := bits.TrailingZeros64(two) &^ 7
					sig.numbers = append(sig.numbers, uint32(from+g))
					two &^= 0xff << g
				}
			}
			before = digit
			for ; gram != 0; gram &= gram - 1 {
				hits = p.candidate(text, from+bits.TrailingZeros64(gram), hits)
			}
			from += sweep.Size
		}
	}
	return hits
}

// bytesOf are the text's own bytes, only to be read: a conversion would copy
// them.
func bytesOf(text string) []byte { return unsafe.Slice(unsafe.StringData(text), len(text)) }

// first finds a short keyword at the start of a text, which has no byte before
// it.
func (p *prefilter) first(text string, from int, hits []hit) []hit {
	if from > 0 || len(text) < minKeyword {
		return hits
	}
	g := sweep.Fold(' ' | uint32(text[0])<<8 | uint32(text[1])<<16 | uint32(text[2])<<24)
	if p.table.Has(g) {
		hits = p.verify(text, -1, g, hits)
	}
	return hits
}

// keywordsIn is scan without signals.
func (p *prefilter) keywordsIn(text string, from, to int, hits []hit, blocks []sweep.Block) []hit {
	hits = p.first(text, from, hits)
	for from < to {
		n := sweep.Text(blocks, text, from, &p.table)
		for k := range blocks[:n] {
			gram := blocks[k].Gram
			if left := to - from; left < sweep.Size {
				gram &= uint64(1)<<max(left, 0) - 1
			}
			for ; gram != 0; gram &= gram - 1 {
				hits = p.candidate(text, from+bits.TrailingZeros64(gram), hits)
			}
			from += sweep.Size
		}
		if n == 0 {
			break
		}
	}
	return hits
}

// candidate appends the keywords that have their gram at text[at:], where the
// table says there may be one.
func (p *prefilter) candidate(text string, at int, hits []hit) []hit {
	g := sweep.Gram(text, at)
	if !p.table.Has(g) {
		return hits
	}
	for s := sweep.Hash(g) >> 7 & p.mask; ; s = (s + 1) & p.mask {
		slot := &p.slots[s]
		if slot.n == 0 {
			return hits
		}
		if slot.gram != g {
			continue
		}
		if from := at - int(slot.back); from >= 0 && from+8 <= len(text) {
			w := binary.LittleEndian.Uint64(bytesOf(text[from : from+8]))
			if (w|0x2020202020202020)&slot.mask != slot.want {
				return hits
			}
		}
		return p.compare(text, at, slot, hits)
	}
}

// verify is candidate without the quick comparison.
func (p *prefilter) verify(text string, at int, gram uint32, hits []hit) []hit {
	for s := sweep.Hash(gram) >> 7 & p.mask; p.slots[s].n != 0; s = (s + 1) & p.mask {
		if p.slots[s].gram == gram {
			return p.compare(text, at, &p.slots[s], hits)
		}
	}
	return hits
}

// compare appends the keywords of a slot whose gram is at text[at:].
func (p *prefilter) compare(text string, at int, slot *gramSlot, hits []hit) []hit {
	for _, r := range p.refs[slot.first:][:slot.n] {
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
