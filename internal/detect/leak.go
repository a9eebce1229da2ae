package detect

import (
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
	system, output := 0, 0
	for i := range segs {
		switch segs[i].Origin {
		case System:
			system += len(segs[i].Text)
		case Output:
			output += len(segs[i].Text)
		}
	}
	if system < leakMin || output < leakMin {
		return false
	}
	// stretches of the shorter side are kept, and counted on the longer: few
	// system prompts are short and few answers long
	known := make(map[uint64]struct{}, min(system, maxLeak)/5)
	left := maxLeak
	for i := range segs {
		if segs[i].Origin == System && left > 0 {
			text := segs[i].Text[:min(len(segs[i].Text), left)]
			left -= len(text)
			shingles(text, func(h uint64, _, _ int) bool {
				known[h] = struct{}{}
				return true
			})
		}
	}
	if len(known) == 0 {
		return false
	}
	leak := false
	total := 0
	left = maxLeak
	for i := range segs {
		if segs[i].Origin != Output || left <= 0 {
			continue
		}
		text := segs[i].Text[:min(len(segs[i].Text), left)]
		left -= len(text)
		run, reach := 0, -1 // the stretch in a row that is known, and its end
		shingles(text, func(h uint64, start, end int) bool {
			if _, ok := known[h]; !ok {
				return true
			}
			if start > reach {
				run = start
				total += end - start
			} else {
				total += end - reach
			}
			reach = end
			leak = reach-run >= leakBytes || system <= 4*leakBytes && float64(total) >= leakShare*float64(system)
			return !leak
		})
		if leak {
			return true
		}
	}
	return false
}

// shingles calls f with a hash of every leakWords words in a row and where they
// are, until it returns false. Words are letters and digits in lower case; a
// character of a script without spaces is a word.
func shingles(text string, f func(hash uint64, start, end int) bool) {
	const factor = 0x9E3779B97F4A7C15
	var words [leakWords]uint64
	var starts [leakWords]int
	n := 0
	for i := 0; i < len(text); {
		start, h := i, uint64(0)
		for i < len(text) {
			c := text[i]
			if c < utf8.RuneSelf {
				if !isAlnum(c) {
					break
				}
				h = (h ^ uint64(c|0x20)) * factor
				i++
				continue
			}
			r, size := utf8.DecodeRuneInString(text[i:])
			if !unicode.IsLetter(r) && !unicode.IsDigit(r) && !unicode.IsMark(r) {
				break
			}
			if r >= 0x2e80 && r < 0xa000 || r >= 0xf900 && r < 0xfb00 {
				if i == start {
					h = (h ^ uint64(r)) * factor
					i += size
				}
				break
			}
			h = (h ^ uint64(unicode.ToLower(r))) * factor
			i += size
		}
		if i == start {
			_, size := utf8.DecodeRuneInString(text[i:])
			i += size
			continue
		}
		words[n%leakWords], starts[n%leakWords] = h^h>>29, start
		n++
		if n < leakWords {
			continue
		}
		sum := uint64(0)
		for k := range leakWords {
			sum = (sum ^ words[(n+k)%leakWords]) * factor
			sum ^= sum >> 32
		}
		if !f(sum, starts[n%leakWords], i) {
			return
		}
	}
}
