package injection

import (
	"encoding/binary"
	"strings"
	"unicode"
	"unicode/utf8"
	"unsafe"

	"golang.org/x/text/unicode/norm"
)

// Flags of text that hides what it says.
const (
	Homoglyph = "obfuscation.homoglyph"
	ZeroWidth = "obfuscation.zero_width"
	Bidi      = "obfuscation.bidi"
	Tags      = "obfuscation.tags"
	Encoded   = "obfuscation.encoded"
	Leet      = "obfuscation.leet"
)

// Signals is what [Normalise] undid. The counts are of characters, those of
// Homoglyph of words.
type Signals struct {
	ZeroWidth  int // invisible characters between letters of a word
	SoftHyphen int // soft hyphens between letters
	Bidi       int // overrides of the direction in text without right-to-left letters
	Tags       int // tag characters and supplementary variation selectors outside emoji
	Homoglyph  int // words that mix Latin letters with look-alikes of other scripts
	Compat     int // letters in a compatibility form: full width, mathematical, enclosed
	Marks      int // combining marks dropped after ASCII letters
	letters    int
}

// Flags are the obfuscations that are certain whatever the text says. No script
// and no honest use of joiners, soft hyphens and isolates is among them.
func (s Signals) Flags() (out []string) {
	if s.Homoglyph >= 2 {
		out = append(out, Homoglyph)
	}
	if s.ZeroWidth >= 3 || s.SoftHyphen >= 8 && s.SoftHyphen*4 > s.letters {
		out = append(out, ZeroWidth)
	}
	if s.Bidi > 0 {
		out = append(out, Bidi)
	}
	if s.Tags >= 3 {
		out = append(out, Tags)
	}
	return out
}

func (s *Signals) add(o Signals) {
	s.ZeroWidth += o.ZeroWidth
	s.SoftHyphen += o.SoftHyphen
	s.Bidi += o.Bidi
	s.Tags += o.Tags
	s.Homoglyph += o.Homoglyph
	s.Compat += o.Compat
	s.Marks += o.Marks
	s.letters += o.letters
}

// main is the flag of the layer when what it holds raises a finding.
func (s Signals) main() string {
	switch {
	case s.Tags > 0:
		return Tags
	case s.Bidi > 0:
		return Bidi
	case s.ZeroWidth+s.SoftHyphen > 0:
		return ZeroWidth
	}
	return Homoglyph
}

// oddLead tells the first bytes of characters that may hide something: 1 always
// to be looked at, 2 letters of scripts with look-alikes of Latin ones.
var oddLead = func() (t [256]uint8) {
	for _, c := range []byte{0xc2, 0xc9, 0xca, 0xcb, 0xcc, 0xcd, 0xe1, 0xe2, 0xe3, 0xef, 0xf0, 0xf3} {
		t[c] = 1
	}
	for _, c := range []byte{0xce, 0xcf, 0xd0, 0xd1, 0xd2, 0xd3, 0xd4, 0xd5, 0xd6} {
		t[c] = 2
	}
	return t
}()

// odd tells text in which Normalise may find something.
func odd(text string) bool {
	others := 0
	for i := 0; i < len(text); i++ {
		if i+8 <= len(text) && isASCII(text[i:i+8]) {
			i += 7
			continue
		}
		switch c := text[i]; oddLead[c] {
		case 1:
			r, n := utf8.DecodeRuneInString(text[i:])
			if l := lookOf(r); l != plain {
				return true
			}
			i += n - 1
		case 2:
			// a letter of another script beside a Latin one
			if i > 0 && text[i-1]|0x20 >= 'a' && text[i-1]|0x20 <= 'z' || i+2 < len(text) && text[i+2]|0x20 >= 'a' && text[i+2]|0x20 <= 'z' {
				return true
			}
			others++
			i++
		}
	}
	if others == 0 {
		return false
	}
	letters := 0
	for i := range len(text) {
		if c := text[i] | 0x20; c >= 'a' && c <= 'z' {
			letters++
		}
	}
	return letters > others
}

// isASCII tells text that has nothing for Normalise.
func isASCII(s string) bool {
	for len(s) >= 8 {
		if binary.LittleEndian.Uint64(unsafe.Slice(unsafe.StringData(s), 8))&0x8080808080808080 != 0 {
			return false
		}
		s = s[8:]
	}
	for i := 0; i < len(s); i++ {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// character classes of Normalise
type look uint8

const (
	plain look = iota
	invisible
	softHyphen
	override  // changes the direction by force
	direction // other marks of direction
	tag
	selector
	mark3
	compat
	fake // looks like a Latin letter
)

func lookOf(r rune) look {
	switch {
	case r < 0xad:
		return plain
	case r == 0xad:
		return softHyphen
	case r < 0x250:
		return plain
	case r >= 0x300 && r < 0x370:
		if r == 0x34f {
			return invisible
		}
		return mark3
	case r == 0x180e, r >= 0x200b && r <= 0x200d, r >= 0x2060 && r <= 0x2064, r == 0xfeff, r == 0x115f, r == 0x1160, r == 0x3164, r == 0xffa0:
		return invisible
	case r == 0x202d || r == 0x202e:
		return override
	case r >= 0x200e && r <= 0x200f, r >= 0x202a && r <= 0x202c, r >= 0x2066 && r <= 0x2069, r == 0x61c:
		return direction
	case r >= 0xe0000 && r < 0xe0080:
		return tag
	case r >= 0xe0100 && r < 0xe01f0:
		return selector
	case r >= 0x20d0 && r <= 0x20f0, r == 0x488 || r == 0x489:
		return mark3
	case r >= 0x2100 && r <= 0x214f, r >= 0x2460 && r <= 0x24ff, r >= 0xff01 && r <= 0xffee, r >= 0x1d400 && r <= 0x1d7ff, r >= 0x1f110 && r <= 0x1f1ff, r >= 0x1d2c && r <= 0x1d6a:
		return compat
	}
	if _, ok := confusable[r]; ok {
		return fake
	}
	return plain
}

// Normalise undoes what makes text look other than it reads, or read other than
// it looks: invisible characters go, tag characters become what they spell, text
// that is forced to the other direction is turned, compatibility forms and
// look-alike letters become plain ones. Words of another script are left alone
// unless they mix it with Latin or the text is mostly Latin. It returns the text
// itself when there is nothing to undo; ASCII is returned at once.
func Normalise(text string) (string, Signals) {
	var sig Signals
	if isASCII(text) {
		return text, sig
	}
	// is there anything at all, and what is the text written in
	latin, other, rtl, odd := 0, 0, false, false
	prev := rune(0)
	for i := 0; i < len(text); {
		c := text[i]
		if c < utf8.RuneSelf {
			if c|0x20 >= 'a' && c|0x20 <= 'z' {
				latin++
			}
			prev = rune(c)
			i++
			continue
		}
		r, n := utf8.DecodeRuneInString(text[i:])
		i += n
		switch lookOf(r) {
		case plain:
			if unicode.IsLetter(r) {
				if r < 0x250 {
					latin++
				} else {
					other++
				}
				rtl = rtl || r >= 0x590 && r < 0x900
			}
		case fake:
			other++
			odd = true
		case invisible, selector:
			// joiners within emoji and scripts that need them are no sign
			odd = odd || prev < 0x250
		default:
			odd = true
		}
		prev = r
	}
	sig.letters = latin + other
	if !odd {
		return text, sig
	}
	n := normaliser{text: text, latin: latin > other, rtl: rtl, sig: &sig}
	out := n.run()
	if out == text {
		return text, sig
	}
	return out, sig
}

type normaliser struct {
	text  string
	latin bool // most letters are Latin
	rtl   bool
	sig   *Signals
	out   []byte
}

func (n *normaliser) run() string {
	text := n.text
	n.out = make([]byte, 0, len(text))
	turned := -1 // where in out the text forced to the other direction begins
	turn := func() {
		if turned >= 0 {
			r := reverse(string(n.out[turned:]))
			n.out = append(n.out[:turned], r...)
			turned = -1
		}
	}
	prev := rune(' ')
	inTags := false
	emoji := false
	var smuggled []byte
	endSmuggled := func() {
		if len(smuggled) > 0 {
			if len(smuggled) > 3 && printable(smuggled) {
				n.out = append(n.out, ' ')
				n.out = append(n.out, smuggled...)
				n.out = append(n.out, '\n')
			}
			smuggled = smuggled[:0]
		}
	}
	for i := 0; i < len(text); {
		c := text[i]
		if c < utf8.RuneSelf {
			endSmuggled()
			if inTags {
				n.out = append(n.out, '\n')
				inTags = false
			}
			if c == '\n' {
				turn()
			}
			n.out = append(n.out, c)
			prev, emoji = rune(c), false
			i++
			continue
		}
		r, size := utf8.DecodeRuneInString(text[i:])
		l := lookOf(r)
		if l != tag && inTags {
			n.out = append(n.out, '\n')
			inTags = false
		}
		if l != selector {
			endSmuggled()
		}
		switch l {
		case invisible, softHyphen:
			next, _ := utf8.DecodeRuneInString(text[i+size:])
			if prev < 0x250 && next < 0x2100 && (unicode.IsLetter(prev) || prev == ' ') && (unicode.IsLetter(next) || lookOf(next) != plain || next == ' ') {
				if l == invisible {
					n.sig.ZeroWidth++
				} else {
					n.sig.SoftHyphen++
				}
			} else if unicode.Is(unicode.Han, prev) || prev >= 0x600 {
				n.out = append(n.out, text[i:i+size]...)
			}
			i += size
			continue
		case override:
			turn()
			if !n.rtl {
				n.sig.Bidi++
			}
			if r == 0x202e {
				turned = len(n.out)
			}
			i += size
			continue
		case direction:
			if r == 0x202c {
				turn()
			}
			i += size
			continue
		case tag:
			// a flag of a region is a black flag with tags
			if !emoji {
				if r >= 0xe0020 && r <= 0xe007e {
					if !inTags {
						n.out = append(n.out, '\n')
						inTags = true
					}
					n.out = append(n.out, byte(r-0xe0000))
					n.sig.Tags++
				}
			}
			i += size
			continue
		case selector:
			n.sig.Tags++
			if b := r - 0xe0100 + 16; len(smuggled) < maxRun {
				smuggled = append(smuggled, byte(b))
			}
			i += size
			continue
		case mark3:
			if prev < utf8.RuneSelf && unicode.IsLetter(prev) {
				n.sig.Marks++
			} else if unicode.IsLetter(prev) || prev >= 0x300 && prev < 0x370 {
				if prev > 0x250 && !(prev >= 0x300 && prev < 0x370) {
					n.out = append(n.out, text[i:i+size]...)
				}
			}
			i += size
			continue
		case compat:
			i += n.compat(r, size, i)
		default:
			if unicode.IsLetter(r) {
				j := wordEnd(text, i)
				n.word(i, j)
				if j > i {
					prev, _ = utf8.DecodeLastRuneInString(text[i:j])
					i = j
					emoji = false
					continue
				}
			}
			n.out = append(n.out, text[i:i+size]...)
			i += size
		}
		prev, emoji = r, r == 0x1f3f4
	}
	endSmuggled()
	turn()
	return string(n.out)
}

func printable(b []byte) bool {
	for _, c := range b {
		if c < ' ' && c != '\n' && c != '\t' && c != '\r' || c >= 0x7f {
			return false
		}
	}
	return true
}

// compat appends the plain form of a compatibility character and returns its size.
func (n *normaliser) compat(r rune, size, at int) int {
	switch {
	case r == 0xff5c: // a full-width bar stands for an I in some hand-made texts
		if next, _ := utf8.DecodeRuneInString(n.text[at+size:]); next >= 0xff41 && next <= 0xff5a {
			n.out = append(n.out, 'I')
			return size
		}
	case r >= 0x1f1e6 && r <= 0x1f1ff:
		n.out = append(n.out, byte('a'+r-0x1f1e6))
		return size
	case r >= 0x1f130 && r <= 0x1f149, r >= 0x1f150 && r <= 0x1f169, r >= 0x1f170 && r <= 0x1f189:
		n.out = append(n.out, byte('a'+(r-0x1f130)%0x20))
		n.sig.Compat++
		return size
	}
	s := norm.NFKC.String(n.text[at : at+size])
	if s != n.text[at:at+size] {
		n.sig.Compat++
	}
	n.out = append(n.out, s...)
	return size
}

// wordEnd is the end of the run of letters that begins at i.
func wordEnd(text string, i int) int {
	for i < len(text) {
		r, n := utf8.DecodeRuneInString(text[i:])
		if !unicode.IsLetter(r) || unspaced(r) || lookOf(r) == compat {
			break
		}
		i += n
	}
	return i
}

// word appends a word from its first non-ASCII letter on; ASCII letters before
// it are in out already.
func (n *normaliser) word(i, j int) {
	from := i
	for from > 0 && n.text[from-1]|0x20 >= 'a' && n.text[from-1]|0x20 <= 'z' {
		from--
	}
	mixed, all := from < i, true
	fakes, count, strong := 0, i-from, false
	for k := i; k < j; {
		r, size := utf8.DecodeRuneInString(n.text[k:j])
		k += size
		count++
		switch {
		case r < 0x250:
			mixed = true
		case lookOf(r) == fake:
			fakes++
			// Greek letters are symbols in formulas and names of substances
			strong = strong || r >= 0x370 && r < 0x1d00 && !(r >= 'α' && r <= 'ω') || r == 'ο' || r == 'ι' || r == 'ν' || r == 'ρ' || r == 'υ'
		default:
			all = false
		}
	}
	// phonetic letters and small capitals are no script of their own
	first, _ := utf8.DecodeRuneInString(n.text[i:])
	phonetic := first >= 0x250 && first < 0x2b0 || first >= 0x1d00 && first < 0x1d80
	if fakes == 0 || !all || !mixed && !n.latin && !phonetic {
		n.out = append(n.out, n.text[i:j]...)
		return
	}
	if mixed && strong && !phonetic && count >= 3 {
		n.sig.Homoglyph++
	}
	for k := i; k < j; {
		r, size := utf8.DecodeRuneInString(n.text[k:j])
		if p, ok := confusable[r]; ok {
			n.out = append(n.out, p)
		} else {
			n.out = append(n.out, n.text[k:k+size]...)
		}
		k += size
	}
}

// confusable maps letters to the Latin letter they look like, after the
// published tables of confusable characters. Pairs of strings of equal length.
var confusable = func() map[rune]byte {
	m := map[rune]byte{}
	for _, p := range [...][2]string{
		// Cyrillic
		{"аАВвсСԁеЕёЁғҒһНніІїЇјЈкКӏԛмМпоОрРгѕЅтТυуУѵхХУүҮѡԝꙅ", "aABbcCdeEeEfFhHhiIiIjJkKlqmMnoOpPrsStTuyYvxXYyYwws"},
		// Greek
		{"αΑΒβϲСεΕϝηΗιΙκΚνΝοΟρΡτΤυΥχΧζΖωγϳ", "aABbcCeEfnHiIkKvNoOpPtTuYxXzZwyj"},
		{"Μ", "M"},
		// Armenian, Cherokee
		{"օսոհցզյեՕՍᎪᏴᏟᎠᎬᏀᎻᎫᏦᏞᎷᏢᎡᏚᎢᏙᎳᏃ", "ounhgqjtOUABCDEGHJKLMPRSTVWZ"},
		// small capitals, letters of phonetic alphabets
		{"ᴀʙᴄᴅᴇꜰɢʜɪᴊᴋʟᴍɴᴏᴘʀꜱᴛᴜᴠᴡʏᴢɑɡıɩʋɐɔɘ", "abcdefghijklmnoprstuvwyzagiivaoe"},
	} {
		from, to := []rune(p[0]), p[1]
		for i, r := range from {
			if i < len(to) && r >= utf8.RuneSelf {
				m[r] = to[i]
			}
		}
	}
	return m
}()

// hiddenAnchors are words whose rot13 and reversed forms are keywords too, beside
// the longer anchors of the vocabulary.
var hiddenAnchors = []string{
	"ignore", "forget", "prompt", "system", "reveal", "bypass", "previous", "earlier", "developer", "pretend", "assistant", "repeat", "everything", "anything", "without", "character", "language", "answer", "question", "instruction",
	"illegal", "command", "message", "conversation", "uncensored", "output", "restriction", "guideline", "disregard", "override",
}

// hiddenKinds tells which keywords are such forms of words: 1 rot13, 2 reversed.
func hiddenKinds(keys, words []string) []uint8 {
	rot, rev := map[string]bool{}, map[string]bool{}
	for _, w := range words {
		rot[rot13(w)] = true
		rev[reverse(w)] = true
	}
	out := make([]uint8, len(keys))
	for i, k := range keys {
		if rot[k] {
			out[i] = 1
		} else if rev[k] {
			out[i] = 2
		}
	}
	return out
}

func rot13(s string) string {
	b := []byte(s)
	for i, c := range b {
		switch {
		case c >= 'a' && c <= 'z':
			b[i] = 'a' + (c-'a'+13)%26
		case c >= 'A' && c <= 'Z':
			b[i] = 'A' + (c-'A'+13)%26
		}
	}
	return string(b)
}

func reverse(s string) string {
	out := make([]byte, len(s))
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n <= 1 {
			out[len(s)-i-1] = s[i]
			i++
			continue
		}
		copy(out[len(s)-i-n:], s[i:i+n])
		i += n
	}
	return string(out)
}

// reverseWords turns every word for itself.
func reverseWords(s string) string {
	var b strings.Builder
	b.Grow(len(s))
	for i := 0; i < len(s); {
		j := i
		for j < len(s) && s[j] != ' ' && s[j] != '\n' {
			j++
		}
		b.WriteString(reverse(s[i:j]))
		if j < len(s) {
			b.WriteByte(s[j])
			j++
		}
		i = j
	}
	return b.String()
}
