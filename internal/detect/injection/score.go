package injection

import (
	"math/bits"
	"slices"
	"strings"
	"sync"
)

// Origin is who wrote a text. The values are those of the engine.
type Origin uint8

// Origins.
const (
	User      Origin = iota // the end user's prompt
	System                  // the application's system prompt
	Assistant               // earlier answers of the model
	Tool                    // results of tools, retrieved documents
	Output                  // the answer
)

// Hit is an occurrence of a keyword: its index in [Keywords] and the byte after
// its end.
type Hit struct{ Keyword, End int }

// Flags a finding can have.
const (
	Override = "prompt_injection.instruction_override"
	Disclose = "prompt_injection.system_prompt_disclosure"
	Persona  = "prompt_injection.persona_jailbreak"
	Template = "prompt_injection.template_forgery"
	Exfil    = "prompt_injection.exfiltration"
	Abuse    = "prompt_injection.tool_abuse"
	Indirect = "prompt_injection.indirect"
)

// Flags are all that [Inspect] raises, those of obfuscation too.
func Flags() []string {
	return append(flagOf[:kinds:kinds], Indirect, Homoglyph, ZeroWidth, Bidi, Tags, Encoded, Leet)
}

// kinds of evidence, indexes into evidence
const (
	kOverride = iota
	kDisclose
	kPersona
	kTemplate
	kExfil
	kAbuse
	kinds
)

var flagOf = [kinds]string{Override, Disclose, Persona, Template, Exfil, Abuse}

// Finding is a flag that a text raises.
type Finding struct {
	Flag       string
	Score      float32  // evidence, 1 and more; above 1.5 it is strong
	Start, End int      // bytes of the strongest evidence
	Signals    []string // names of what was found, strongest first; never the text
}

// Signal is one piece of evidence, for [Explain].
type Signal struct {
	Flag   string
	Name   string
	Weight float32
}

const (
	windowBefore = 220 // bytes looked at before a keyword
	windowAfter  = 260 // and after it
	reachBytes   = 160 // within which keywords count together
	maxWindow    = 16 << 10
	shortText    = 600 // bytes of a text in which every keyword opens a window
	mediumText   = 4 << 10
)

var threshold float32 = 0.75

type signal struct {
	name       string
	weight     float32
	start, end int32
}

// evidence collects signals. A name counts once a flag, with its greatest weight.
type evidence struct {
	of [kinds][]signal
	// what is added counts so much: less where the model sees nothing of an attack
	share float32
}

func (e *evidence) add(kind int, name string, weight float32, start, end int32) {
	if weight *= e.share; weight <= 0.01 {
		return
	}
	for i, s := range e.of[kind] {
		if s.name == name {
			if weight > s.weight {
				e.of[kind][i] = signal{name, weight, start, end}
			}
			return
		}
	}
	e.of[kind] = append(e.of[kind], signal{name, weight, start, end})
}

func (e *evidence) reset() {
	for k := range e.of {
		e.of[k] = e.of[k][:0]
	}
	e.share = 1
}

func (e *evidence) sum(kind int) (sum float32) {
	for _, s := range e.of[kind] {
		sum += s.weight
	}
	return sum
}

// Score judges a text by the keywords found in it. It looks only at windows
// around hits, which must be in the order of their ends. The words of a system
// prompt, of earlier answers and of the output are no attack.
func Score(text string, hits []Hit, origin Origin) []Finding {
	m, _ := model() // weights that cannot be read are none; a test reads them
	return ScoreWith(m, text, hits, origin)
}

// ScoreWith is Score with other weights, or with the rules alone for nil.
func ScoreWith(m *Model, text string, hits []Hit, origin Origin) []Finding {
	if len(hits) == 0 || origin != User && origin != Tool {
		return nil
	}
	s := newScorer(m, text, origin)
	defer s.free()
	s.collect(hits)
	return s.e.findings(text, origin)
}

// Explain returns every piece of evidence of a text, whether or not it is
// enough for a flag, strongest first.
func Explain(text string, hits []Hit, origin Origin) []Signal {
	if len(hits) == 0 {
		return nil
	}
	m, _ := model()
	s := newScorer(m, text, origin)
	defer s.free()
	s.collect(hits)
	e := &s.e
	var out []Signal
	for k := range kinds {
		for _, s := range e.of[k] {
			out = append(out, Signal{flagOf[k], s.name, s.weight})
		}
	}
	slices.SortStableFunc(out, func(a, b Signal) int {
		switch {
		case a.Weight > b.Weight:
			return -1
		case a.Weight < b.Weight:
			return 1
		}
		return 0
	})
	return out
}

var scorers = sync.Pool{New: func() any { return &scorer{z: tokenizer{lex: lex()}} }}

func newScorer(m *Model, text string, origin Origin) *scorer {
	s := scorers.Get().(*scorer)
	s.text, s.origin, s.m, s.judge = text, origin, m, nil
	if m != nil {
		s.judge = s.weigh
	}
	s.talkAt, s.noLimits = 0, 0
	s.longer = longerUser * float32(bits.Len(uint(len(text)>>10)))
	if origin == Tool {
		s.longer = longerData * float32(bits.Len(uint(len(text)>>10)))
	}
	s.e.reset()
	return s
}

// free gives the scorer back, without the text.
func (s *scorer) free() {
	s.text, s.judge = "", nil
	scorers.Put(s)
}

// collect looks at windows of the text around places where enough words of
// different kinds stand within reach of each other.
func (s *scorer) collect(hits []Hit) {
	l, text := s.z.lex, s.text
	marks := markOf()
	need := 5 // points
	switch {
	case len(text) <= shortText:
		need = 1
	case len(text) <= mediumText:
		need = 3
	}
	if s.origin == Tool && need > 1 {
		need -= 1 // what comes in as data has less that speaks to a model
	}
	var last [groupsCount]int // end of the last keyword of each group
	from, to := -1, -1        // the window that is open
	for i := range last {
		last[i] = -1 << 30
	}
	for _, h := range hits {
		if h.Keyword < 0 || h.Keyword >= len(l.group) || h.End > len(text) {
			continue
		}
		if m := marks[h.Keyword]; m != nil {
			s.mark(m, h.End)
		}
		g := l.group[h.Keyword]
		if g == 0 {
			continue
		}
		if g != groupAlone {
			for ; g != 0; g &= g - 1 {
				last[bits.TrailingZeros16(g)] = h.End
			}
			points := 0
			for k, end := range last {
				if h.End-end <= reachBytes {
					points++
					if k >= firstKind {
						points++
					}
				}
			}
			if points < need {
				continue
			}
		}
		// the words that count may stand anywhere within reach
		begin := max(0, h.End-windowBefore)
		if from >= 0 && (begin > to || h.End-from > maxWindow) {
			s.look(from, to)
			from = -1
		}
		if from < 0 {
			from = begin
		}
		to = h.End + windowAfter
	}
	if from >= 0 {
		s.look(from, to)
	}
}

// look judges a window.
func (s *scorer) look(from, to int) {
	a, b := s.bounds(from, to)

	s.low, s.lowAt = appendLower(s.low[:0], s.text[a:b]), a
	s.z.window(s.text, a, b)
	s.part()
	if s.m != nil {
		s.sum(s.m)
		if s.doubts() {
			s.e.share = doubted
		}
	}
	s.window()
	if s.origin == Tool {
		s.data()
	}
	s.e.share = 1
	if s.judge != nil {
		s.judge()
	}
}

// bounds moves a window's ends outward to white space, a little.
func (s *scorer) bounds(from, to int) (int, int) {
	from, to = max(from, 0), min(to, len(s.text))
	for n := 0; from > 0 && n < 32 && s.text[from-1] > ' '; n++ {
		from--
	}
	for n := 0; to < len(s.text) && n < 32 && s.text[to] > ' '; n++ {
		to++
	}
	return from, to
}

func (e *evidence) findings(text string, origin Origin) []Finding {
	var sums [kinds]float32
	var total, top float32
	for k := range kinds {
		sums[k] = e.sum(k)
		total += min(sums[k], 1)
		top = max(top, sums[k])
	}
	// forged frames count by what they frame
	if sums[kTemplate] >= 0.3 {
		if other := max(sums[kOverride], sums[kPersona], sums[kDisclose], sums[kAbuse]); other >= 0.4 {
			sums[kTemplate] += min(other, 0.7)
			top = max(top, sums[kTemplate])
		}
	}
	var out []Finding
	for k := range kinds {
		if sums[k] < threshold && !(sums[k] == top && top >= 0.5 && total >= 1.15) {
			continue
		}
		f := Finding{Flag: flagOf[k], Score: max(sums[k], threshold)}
		slices.SortStableFunc(e.of[k], func(a, b signal) int {
			switch {
			case a.weight > b.weight:
				return -1
			case a.weight < b.weight:
				return 1
			}
			return 0
		})
		for i, s := range e.of[k] {
			if i == 0 {
				f.Start, f.End = int(s.start), int(s.end)
			}
			f.Signals = append(f.Signals, s.name)
		}
		out = append(out, f)
	}
	if len(out) > 0 && (origin == Tool || embedded(text, out[0].Start)) {
		f := out[0]
		f.Flag = Indirect
		out = append(out, f)
	}
	return out
}

// embedded tells that a place in the user's text lies in a document the user
// pasted: within a comment or an element of a page, or after the words that
// introduce one.
func embedded(text string, at int) bool {
	before := lower(text[max(0, at-600):at])
	for _, mark := range [...]string{
		"<!--", "<div", "<span", "<p", "/*", "<document", "[document", "[pdf", "[email", "[hidden", "[calendar", "from:", "subject:",
		"following document", "following email", "following page", "following article", "following text", "this document", "this email", "this page", "this webpage", "this pdf", "customer review", "search result", "this review", "this csv", "code comment", "file:", "this page.",
	} {
		if strings.Contains(before, mark) {
			return true
		}
	}
	return false
}

func appendLower(dst []byte, s string) []byte {
	dst = append(dst, s...)
	for i, c := range dst[len(dst)-len(s):] {
		if c >= 'A' && c <= 'Z' {
			dst[len(dst)-len(s)+i] = c + 'a' - 'A'
		}
	}
	return dst
}

func lower(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}
