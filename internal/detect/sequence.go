package detect

import (
	"regexp/syntax"
	"unicode/utf8"
)

// Most patterns are a few literals and runs of classes in a row, in which no byte can
// belong to two of them: nothing is ever tried again with another length. Such a
// pattern is matched here, an order of magnitude faster than by package regexp.
// Classes are of bytes: what isn't ASCII counts as its bytes.

// sequence is atoms in a row.
type sequence []atom

type atom struct {
	kind     atomKind
	min, max int
	class    *[256]bool
}

type atomKind uint8

const (
	greedyRun atomKind = iota
	lazyRun            // followed by what may begin anywhere in it
	wordEdge
	textEnd
	openGroup
	closeGroup
)

// Bounds of what becomes sequences.
const (
	maxSequences = 64
	maxAtoms     = 512
	unbounded    = 1 << 20
)

// sequencesOf is a pattern that matches from the beginning of a text as sequences, the
// one to prefer first; nil if it isn't that simple.
func sequencesOf(re *syntax.Regexp) []sequence {
	list, ok := expand(re)
	if !ok {
		return nil
	}
	for _, s := range list {
		if !s.decided() {
			return nil
		}
	}
	return list
}

func expand(re *syntax.Regexp) ([]sequence, bool) {
	one := func(a atom) ([]sequence, bool) { return []sequence{{a}}, true }
	switch re.Op {
	case syntax.OpEmptyMatch, syntax.OpBeginText:
		return []sequence{nil}, true
	case syntax.OpEndText:
		return one(atom{kind: textEnd})
	case syntax.OpWordBoundary:
		return one(atom{kind: wordEdge})
	case syntax.OpLiteral:
		var s sequence
		for _, r := range re.Rune {
			if r >= utf8.RuneSelf || len(s) == maxAtoms {
				return nil, false
			}
			class := new([256]bool)
			class[r] = true
			if c := byte(r); re.Flags&syntax.FoldCase != 0 && isLetter(c) {
				class[c|0x20], class[c&^0x20] = true, true
			}
			s = append(s, atom{min: 1, max: 1, class: class})
		}
		return []sequence{s}, true
	case syntax.OpCharClass, syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		return one(atom{min: 1, max: 1, class: classOf(re)})
	case syntax.OpStar, syntax.OpPlus, syntax.OpQuest, syntax.OpRepeat:
		return expandRepeat(re)
	case syntax.OpCapture:
		list, ok := expand(re.Sub[0])
		for i, s := range list {
			list[i] = append(append(sequence{{kind: openGroup}}, s...), atom{kind: closeGroup})
		}
		return list, ok
	case syntax.OpAlternate:
		var out []sequence
		for _, sub := range re.Sub {
			list, ok := expand(sub)
			if !ok || len(out)+len(list) > maxSequences {
				return nil, false
			}
			out = append(out, list...)
		}
		return out, true
	case syntax.OpConcat:
		out := []sequence{nil}
		for _, sub := range re.Sub {
			list, ok := expand(sub)
			if !ok || len(out)*len(list) > maxSequences {
				return nil, false
			}
			out = product(out, list)
		}
		return out, true
	}
	return nil, false
}

// product is every sequence of a with every one of b behind it.
func product(a, b []sequence) []sequence {
	var out []sequence
	for _, x := range a {
		for _, y := range b {
			out = append(out, append(append(sequence{}, x...), y...))
		}
	}
	return out
}

func expandRepeat(re *syntax.Regexp) ([]sequence, bool) {
	lo, hi := re.Min, re.Max
	switch re.Op {
	case syntax.OpStar:
		lo, hi = 0, -1
	case syntax.OpPlus:
		lo, hi = 1, -1
	case syntax.OpQuest:
		lo, hi = 0, 1
	}
	lazy := re.Flags&syntax.NonGreedy != 0
	list, ok := expand(re.Sub[0])
	if !ok {
		return nil, false
	}
	if len(list) == 1 && len(list[0]) == 1 && list[0][0].kind == greedyRun && list[0][0].min == 1 && list[0][0].max == 1 {
		a := list[0][0]
		if a.min, a.max = lo, hi; hi < 0 {
			a.max = unbounded
		}
		if lazy {
			a.kind = lazyRun
		}
		return []sequence{{a}}, true
	}
	// a group that may be missing
	if lo != 0 || hi != 1 || lazy {
		return nil, false
	}
	return append(list, nil), len(list) < maxSequences
}

// classOf is the bytes of a class, all that aren't ASCII if it has any such
// character.
func classOf(re *syntax.Regexp) *[256]bool {
	class := new([256]bool)
	ranges := re.Rune
	switch re.Op {
	case syntax.OpAnyChar:
		ranges = []rune{0, utf8.MaxRune}
	case syntax.OpAnyCharNotNL:
		ranges = []rune{0, '\n' - 1, '\n' + 1, utf8.MaxRune}
	}
	for ; len(ranges) > 0; ranges = ranges[2:] {
		for b := range class {
			if b >= int(ranges[0]) && b <= int(ranges[1]) || b >= utf8.RuneSelf && ranges[1] >= utf8.RuneSelf {
				class[b] = true
			}
		}
	}
	return class
}

// decided says whether the length of every greedy run follows from the text: what
// comes behind it begins with no byte of its class. There may be one lazy run.
func (s sequence) decided() bool {
	lazy := 0
	for i, a := range s {
		if a.kind == lazyRun {
			if lazy++; lazy > 1 {
				return false
			}
		}
		if a.kind != greedyRun || a.min == a.max {
			continue
		}
	behind:
		for _, b := range s[i+1:] {
			switch b.kind {
			case lazyRun:
				return false
			case wordEdge:
				for c, in := range a.class {
					if in && !isWordByte(byte(c)) {
						return false
					}
				}
				break behind
			case greedyRun:
				for c, in := range a.class {
					if in && b.class[c] {
						return false
					}
				}
				if b.min > 0 {
					break behind
				}
			}
		}
	}
	return true
}

// found is where a sequence matches: its end, its group (-1 if there is none), and
// where the lazy run ends.
type found struct{ end, from, to, gap int }

// match matches a sequence at the beginning of a text.
func (s sequence) match(text string, at int, f *found) bool {
	for i := range s {
		a := &s[i]
		switch a.kind {
		case greedyRun:
			if a.max == 1 && a.min == 1 {
				if at == len(text) || !a.class[text[at]] {
					return false
				}
				at++
				continue
			}
			stop := at
			for limit := min(len(text), at+a.max); stop < limit && a.class[text[stop]]; {
				stop++
			}
			if stop-at < a.min {
				return false
			}
			at = stop
		case lazyRun:
			for n := 0; ; n++ {
				if n >= a.min && s[i+1:].match(text, at, f) {
					f.gap = at
					return true
				}
				if n == a.max || at == len(text) || !a.class[text[at]] {
					return false
				}
				at++
			}
		case wordEdge:
			if (at > 0 && isWordByte(text[at-1])) == (at < len(text) && isWordByte(text[at])) {
				return false
			}
		case textEnd:
			if at != len(text) {
				return false
			}
		case openGroup:
			f.from = at
		case closeGroup:
			f.to = at
		}
	}
	f.end = at
	return true
}

// matchFirst is the match of the sequence to prefer: that with the shortest lazy run,
// then the first.
func matchFirst(list []sequence, text string) (best found, ok bool) {
	for _, s := range list {
		f := found{from: -1, to: -1}
		if s.match(text, 0, &f) && (!ok || f.gap < best.gap) {
			best, ok = f, true
			if f.gap == 0 {
				break
			}
		}
	}
	return best, ok
}
