package detect

import (
	"encoding/binary"
	"math/bits"
	"sync"
	"unicode"
	"unicode/utf8"
)

// FlagPromptLeak says that a response holds a good part of the system prompt.
const FlagPromptLeak = "output.system_prompt_leak"

// A system prompt is known by its stretches of a few words in a row.
const (
	leakWords = 8
	// leakBytes in a row of the response that are in the system prompt, or
	// leakShare of a system prompt of at least leakMin bytes, are a leak.
	leakBytes = 160
	leakMin   = 80
	leakShare = 0.6
	// maxLeak bounds the bytes of the system prompt and of the response that are
	// compared.
	maxLeak = 1 << 20
)

// leaks says whether output segments repeat what system segments say. Its time
// and memory are linear in both.
func leaks(segs []Segment) bool {
	output := 0
	for i := range segs {
		if segs[i].Origin == Output {
			output += len(segs[i].Text)
		}
	}
	if output < leakMin {
		return false
	}
	l := Leak{known: shingleSets.Get().(*shingleSet)}
	defer l.known.free()
	left := maxLeak
	for i := range segs {
		if segs[i].Origin == System {
			left = l.learn(segs[i].Text, left)
		}
	}
	if !l.ready() {
		return false
	}
	total := 0
	left = maxLeak
	for i := range segs {
		if segs[i].Origin != Output || left <= 0 {
			continue
		}
		text := segs[i].Text[:min(len(segs[i].Text), left)]
		left -= len(text)
		if l.in(text, &total) {
			return true
		}
	}
	return false
}

// Leak knows a system prompt by its stretches, to find them in what comes of an answer.
type Leak struct {
	system int // bytes
	known  *shingleSet
}

// NewLeak knows up to max bytes of a system prompt. It is nil for one that is too short to tell.
func NewLeak(system []string, max int) *Leak {
	l := &Leak{known: new(shingleSet)}
	for _, text := range system {
		max = l.learn(text, max)
	}
	if !l.ready() {
		return nil
	}
	l.known.hashes = nil
	return l
}

// learn takes a text of the system prompt, up to left bytes of it, and says how many are left then.
func (l *Leak) learn(text string, left int) int {
	l.system += len(text)
	text = text[:min(len(text), max(left, 0))]
	w := words{text: text}
	for w.shingle() {
		l.known.hashes = append(l.known.hashes, w.sum)
	}
	return left - len(text)
}

// ready makes what was learned ready to be found; false when it is too little.
func (l *Leak) ready() bool {
	if l.system < leakMin || len(l.known.hashes) == 0 {
		return false
	}
	l.known.build()
	return true
}

// In tells whether a piece of an answer repeats enough of the system prompt by itself.
func (l *Leak) In(text string) bool {
	total := 0
	return l != nil && l.in(text, &total)
}

// in adds what the text repeats to the total, until it is enough.
func (l *Leak) in(text string, total *int) bool {
	run, reach := 0, -1 // the stretch in a row that is known, and its end
	w := words{text: text}
	for w.shingle() {
		if !l.known.has(w.sum) {
			continue
		}
		if start := w.start(); start > reach {
			run = start
			*total += w.end - start
		} else {
			*total += w.end - reach
		}
		reach = w.end
		if reach-run >= leakBytes || l.system <= 4*leakBytes && float64(*total) >= leakShare*float64(l.system) {
			return true
		}
	}
	return false
}

// shingleSet is a set of hashes of stretches.
type shingleSet struct {
	hashes []uint64
	slots  []uint64 // open addressing, 0 is free
	shift  int
}

var shingleSets = sync.Pool{New: func() any { return new(shingleSet) }}

// maxShingles bounds what an idle set holds on to.
const maxShingles = 16 << 10

func (s *shingleSet) free() {
	if cap(s.slots) > maxShingles || cap(s.hashes) > maxShingles {
		*s = shingleSet{}
	}
	s.hashes = s.hashes[:0]
	shingleSets.Put(s)
}

// build makes the set that of the hashes.
func (s *shingleSet) build() {
	log := bits.Len(uint(len(s.hashes))) + 1 // at most half of the slots are taken
	if n := 1 << log; n > cap(s.slots) {
		s.slots = make([]uint64, n)
	} else {
		s.slots = s.slots[:n]
		clear(s.slots)
	}
	s.shift = 64 - log
	for _, h := range s.hashes {
		at := s.find(h)
		s.slots[at] = h | 1
	}
}

// find is the slot of a hash, or the free one where it belongs. The lowest bit,
// which nothing depends on, makes hashes other than 0.
func (s *shingleSet) find(hash uint64) int {
	hash |= 1
	at := int(hash * hashFactor >> s.shift)
	for s.slots[at] != 0 && s.slots[at] != hash {
		at = (at + 1) & (len(s.slots) - 1)
	}
	return at
}

func (s *shingleSet) has(hash uint64) bool { return s.slots[s.find(hash)] != 0 }

const hashFactor = 0x9E3779B97F4A7C15

// oldest is hashFactor to the power of leakWords: what a word's hash was
// multiplied by when it leaves the stretch.
var oldest = func() uint64 {
	f := uint64(1)
	for range leakWords {
		f *= hashFactor
	}
	return f
}()

// words goes through a text's words: letters and digits in lower case; a
// character of a script without spaces is a word.
type words struct {
	text   string
	end    int // of the last word
	n      int // of words
	hashes [leakWords]uint64
	starts [leakWords]int
	sum    uint64 // the hash of the last leakWords words
}

// start is where the stretch of the last leakWords words begins.
func (w *words) start() int { return w.starts[w.n%leakWords] }

// shingle goes on by a word, or to the end of the first stretch. It is false when
// there is none more.
func (w *words) shingle() bool {
	for w.next() {
		if w.n >= leakWords {
			return true
		}
	}
	return false
}

func (w *words) next() bool {
	text, i := w.text, w.end
	for i < len(text) {
		start, h := i, uint64(0)
		for i < len(text) {
			// letters and digits of ASCII, up to eight at once
			if i+8 <= len(text) {
				b := binary.LittleEndian.Uint64(bytesOf(text[i : i+8]))
				n := bits.TrailingZeros64(^alnumBytes(b)&highBits) / 8
				if n == 8 {
					h = (h ^ (b | lowerBits)) * hashFactor
					h ^= h >> 29
					i += 8
					continue
				}
				if n > 0 {
					h = (h ^ (b|lowerBits)&(1<<(8*n)-1)) * hashFactor
					h ^= h >> 29
					i += n
				}
			} else if isAlnum(text[i]) {
				b, n := uint64(0), 0
				for ; n < 8 && i < len(text) && isAlnum(text[i]); n++ {
					b |= uint64(text[i]|0x20) << (8 * n)
					i++
				}
				h = (h ^ b) * hashFactor
				h ^= h >> 29
			}
			if i == len(text) || text[i] < utf8.RuneSelf {
				break
			}
			r, size := utf8.DecodeRuneInString(text[i:])
			if !unicode.IsLetter(r) && !unicode.IsDigit(r) && !unicode.IsMark(r) {
				break
			}
			if r >= 0x2e80 && r < 0xa000 || r >= 0xf900 && r < 0xfb00 {
				if i == start {
					h = (h ^ uint64(r)) * hashFactor
					i += size
				}
				break
			}
			h = (h ^ uint64(unicode.ToLower(r))) * hashFactor
			i += size
		}
		if i == start {
			if text[i] < utf8.RuneSelf {
				i++
			} else {
				_, size := utf8.DecodeRuneInString(text[i:])
				i += size
			}
			continue
		}
		h ^= h >> 29
		slot := w.n % leakWords
		w.sum = w.sum*hashFactor + h - w.hashes[slot]*oldest
		w.hashes[slot], w.starts[slot], w.end = h, start, i
		w.n++
		return true
	}
	w.end = i
	return false
}

const (
	lowBits   = 0x0101010101010101
	highBits  = 0x80 * lowBits
	lowerBits = 0x20 * lowBits
)

// alnumBytes has the highest bit of each byte that is an ASCII letter or digit.
func alnumBytes(x uint64) uint64 {
	y := x &^ highBits
	l := y | lowerBits
	letter := (l + (0x80-'a')*lowBits) &^ (l + (0x7f-'z')*lowBits)
	digit := (y + (0x80-'0')*lowBits) &^ (y + (0x7f-'9')*lowBits)
	return (letter | digit) &^ x & highBits
}
