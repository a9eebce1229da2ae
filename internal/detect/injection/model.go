package injection

import (
	"cmp"
	_ "embed"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"slices"
	"strings"
	"sync"
)

// Model is a logistic regression over hashed features of neighbouring sentences:
// the words, pairs of neighbours, their classes, and ordered pairs of classes near
// each other, and in what comes in as data the words and pairs once more, since the
// same words weigh differently there. A feature counts once a sentence. Names of
// programs are features of their own, and so is how many of them a sentence has.
// The model stands beside the rules and adds evidence to theirs. Its weights are
// made by the command in the folder train.
type Model struct {
	Bias    float32
	Scale   float32 // of the weights
	Weights []int8  // ModelSize of them
}

// ModelSize is the number of weights.
const (
	modelBits = 17
	ModelSize = 1 << modelBits
)

const (
	modelMagic = "injmodel3"
	// tokens and sentences that are judged together at most, and tokens at least
	maxSpan      = 64
	maxSentences = 4
	minSpan      = 3
)

// Log-odds from which the model is evidence alone, and beside the rules; in what
// comes in as data it knows orders that the rules don't. Each doubling of a text
// from 1 KB on asks for more, since of many sentences one looks like an attack by
// chance. Below doubtful, what the rules find counts for a part.
const (
	modelAlone   = 0.6
	modelBeside  = 0.1
	quotedAttack = 100 // more than any
	dataAlone    = 0.7
	dataBeside   = 0.1
	longerUser   = 1
	longerData   = 0.4
	doubtful     = -2.2
	doubted      = 0.6
	inCode       = 1 // less for what stands in code or in quotation marks
)

//go:embed weights.bin
var weights []byte

var errModel = errors.New("not the weights of a model")

var model = sync.OnceValues(func() (*Model, error) { return ParseModel(weights) })

// ParseModel reads what [Model.Append] wrote.
func ParseModel(b []byte) (*Model, error) {
	if len(b) != len(modelMagic)+8+ModelSize || string(b[:len(modelMagic)]) != modelMagic {
		return nil, fmt.Errorf("%w: %d bytes", errModel, len(b))
	}
	b = b[len(modelMagic):]
	u := func(k int) float32 {
		return math.Float32frombits(uint32(b[k]) | uint32(b[k+1])<<8 | uint32(b[k+2])<<16 | uint32(b[k+3])<<24)
	}
	m := &Model{Bias: u(0), Scale: u(4), Weights: make([]int8, ModelSize)}
	for i, c := range b[8:] {
		m.Weights[i] = int8(c)
	}
	return m, nil
}

// Append appends the model's bytes.
func (m *Model) Append(dst []byte) []byte {
	dst = append(dst, modelMagic...)
	for _, f := range []float32{m.Bias, m.Scale} {
		v := math.Float32bits(f)
		dst = append(dst, byte(v), byte(v>>8), byte(v>>16), byte(v>>24))
	}
	for _, w := range m.Weights {
		dst = append(dst, byte(w))
	}
	return dst
}

// Sentence is a sentence as the model sees it, or a part of a long one.
type Sentence struct {
	Features []uint32
	Tokens   int
}

// Odds are the log-odds that sentences with so many features, whose weights have a
// sum, are an attack.
func Odds(bias, sum float64, features int) float64 {
	return bias + sum/math.Sqrt(float64(features)+1)
}

func (m *Model) odds(sum int64, features int) float32 {
	return float32(Odds(float64(m.Bias), float64(m.Scale)*float64(sum), features))
}

// Spans calls f with the ranges [from, to) of sentences that are judged together,
// by how many tokens each has.
func Spans(sentences int, tokens func(int) int, f func(from, to int)) {
	for from := range sentences {
		n := 0
		for to := from; to < min(sentences, from+maxSentences); to++ {
			if n += tokens(to); n > maxSpan {
				break
			}
			if n >= minSpan {
				f(from, to+1)
			}
		}
	}
}

// Windows returns the sentences of every window of a text that the model would
// judge, for training.
func Windows(text string, hits []Hit, origin Origin) [][]Sentence {
	return windows(text, origin, func(s *scorer) { s.collect(hits) })
}

// AllWindows is Windows of the whole text, wherever it has keywords: what words
// honest text has is learnt from all of it.
func AllWindows(text string, origin Origin) [][]Sentence {
	return windows(text, origin, func(s *scorer) {
		for from := 0; from < len(text); from += wholeWindow {
			s.look(from, from+wholeWindow)
		}
	})
}

// wholeWindow is as long as most windows are.
const wholeWindow = windowBefore + windowAfter + reachBytes

func windows(text string, origin Origin, look func(*scorer)) (out [][]Sentence) {
	s := newScorer(nil, text, origin)
	defer s.free()
	s.judge = func() {
		window := make([]Sentence, len(s.sentences))
		for i, p := range s.sentences {
			window[i] = Sentence{s.features(nil, p.from, p.to), p.to - p.from}
		}
		out = append(out, window)
	}
	look(s)
	return out
}

// sentence is tokens [from, to) of a window, with the sum of its features' weights.
type sentence struct {
	from, to int
	sum      int64
	features int
}

// part parts the window's tokens into sentences.
func (s *scorer) part() {
	t := s.z.toks
	s.sentences = s.sentences[:0]
	for from := 0; from < len(t); {
		to := from + 1
		for to < len(t) && to-from < maxSpan && t[to].sentence == t[from].sentence {
			to++
		}
		s.sentences = append(s.sentences, sentence{from: from, to: to})
		from = to
	}
}

// sum makes the sums of the window's sentences.
func (s *scorer) sum(m *Model) {
	for i := range s.sentences {
		p := &s.sentences[i]
		s.feats = s.features(s.feats[:0], p.from, p.to)
		for _, f := range s.feats {
			p.sum += int64(m.Weights[f&(ModelSize-1)])
		}
		p.features = len(s.feats)
	}
}

// spans calls f with the spans of the window's tokens and their log-odds.
func (s *scorer) spans(m *Model, f func(from, to int, odds float32)) {
	p := s.sentences
	Spans(len(p), func(i int) int { return p[i].to - p[i].from }, func(from, to int) {
		sum, n := int64(0), 0
		for _, x := range p[from:to] {
			sum += x.sum
			n += x.features
		}
		f(p[from].from, p[to-1].to, m.odds(sum, n))
	})
}

// doubts tells that the model sees nothing of an attack in the window.
func (s *scorer) doubts() bool {
	best := float32(math.Inf(-1))
	s.spans(s.m, func(_, _ int, odds float32) { best = max(best, odds) })
	return best < doubtful+s.longer
}

// weigh adds what the model says of the window to the evidence.
func (s *scorer) weigh() {
	alone, beside := float32(modelAlone), float32(modelBeside)
	if s.origin == Tool {
		alone, beside = dataAlone, dataBeside
	}
	alone, beside = alone+s.longer, beside+s.longer
	s.spans(s.m, func(from, to int, odds float32) {
		if odds < beside {
			return
		}
		if odds -= s.discount(from, to); odds >= beside {
			s.weighSpan(from, to, odds >= alone)
		}
	})
}

func (s *scorer) weighSpan(from, to int, alone bool) {
	c := s.near(from, to)
	kind, top := kOverride, float32(0)
	for k := range kinds {
		if v := s.e.sum(k); v > top {
			kind, top = k, v
		}
	}
	if top == 0 {
		switch {
		case c&(cFree|cJail) != 0, c&cRole != 0, c&cNo != 0 && c&(cLimit|cSafety) != 0:
			kind = kPersona
		case c&(cReveal|cShow|cWhat) != 0 && c&(cInstr|cRule) != 0:
			kind = kDisclose
		case s.origin == Tool:
			kind = kAbuse
		}
	}
	w := float32(0)
	switch {
	case alone:
		w = 0.8
	case top >= 0.35:
		w = 0.4
	}
	s.e.add(kind, "model", w, s.z.toks[from].start, s.z.toks[to-1].end)
}

// discount is what the log-odds of a span are too high by, since it talks of
// attacks or of what isn't the model's, or is code.
func (s *scorer) discount(from, to int) (x float32) {
	if s.near(from, to)&(cTalk|cGuard) != 0 {
		x += 1.5
		// nothing is left of a quotation beside what says that it is an attack
		for k := from + 1; k < to; k++ {
			if s.z.toks[k].punct == '"' {
				return quotedAttack
			}
		}
	}
	if s.code(from) < 1 || s.origin == Tool && s.quoted((from+to)/2) {
		x += inCode
	}
	// "your instructions for the oven" are not the model's
	for k := from + 1; k+1 < to; k++ {
		if t := s.z.toks; t[k].is(cInstr|cRule) && t[k-1].is(cYour) && !t[k].is(cSystem) && s.word(k+1) == "for" {
			x += 1.5
		}
	}
	return x
}

// kinds of features
const (
	fWord = 1 + iota
	fPair
	fClass
	fClasses
	fName
	fNames
	inData // added to the kind of a word or pair in what comes in as data
)

const notFeature = cTail | cAnchor | cForeign

func (s *scorer) features(dst []uint32, from, to int) []uint32 {
	if s.turn++; s.turn == 0 {
		clear(s.seen[:])
		s.turn = 1
	}
	s.each(from, to, func(f uint32, _, _ int, _, _ class) {
		if s.seen[f] != s.turn {
			s.seen[f] = s.turn
			dst = append(dst, f)
		}
	})
	return dst
}

// named tells that token i is, or is part of, a name of a program as in
// system_prompt, os.environ, print(, $HOME and /etc/hosts.
func (s *scorer) named(i int) bool {
	t := &s.z.toks[i]
	if t.start > 0 {
		switch s.text[t.start-1] {
		case '_', '.', '$', '/', '\\':
			return true
		}
	}
	if int(t.end) >= len(s.text) {
		return false
	}
	switch s.text[t.end] {
	case '_', '(', '=', '[':
		return true
	case '.':
		return int(t.end)+1 < len(s.text) && s.text[t.end+1]-'a' <= 'z'-'a'
	}
	return false
}

// each calls f with the features of the tokens [from, to), which are of one
// sentence, and what each is made of: one or two tokens, one or two classes, or
// nothing of these.
func (s *scorer) each(from, to int, f func(feature uint32, i, j int, a, b class)) {
	t := s.z.toks
	data := s.origin == Tool
	names := 0
	for i := from; i < to; i++ {
		word := uint64(t[i].hash)
		if s.named(i) {
			names++
			f(mix(fName, word), i, -1, 0, 0)
			continue
		}
		f(mix(fWord, word), i, -1, 0, 0)
		if data {
			f(mix(fWord+inData, word), i, -1, 0, 0)
		}
		if i+1 < to {
			pair := word<<32 | uint64(t[i+1].hash)
			f(mix(fPair, pair), i, i+1, 0, 0)
			if data {
				f(mix(fPair+inData, pair), i, i+1, 0, 0)
			}
		}
		for x := t[i].class &^ notFeature; x != 0; x &= x - 1 {
			a := x & -x
			f(mix(fClass, uint64(a)), -1, -1, a, 0)
			for k := i + 1; k < to && k <= i+5; k++ {
				for y := t[k].class &^ notFeature; y != 0; y &= y - 1 {
					b := y & -y
					f(mix(fClasses, classPair(a, b)), -1, -1, a, b)
				}
			}
		}
	}
	f(mix(fNames, uint64(min(maxNames, names*2*maxNames/(to-from)))), -1, -1, 0, 0)
}

const maxNames = 4 // steps of the share of names, up to one half

func classPair(a, b class) uint64 { return uint64(a)*31 + uint64(b)*0x9e3779b97f4a7c15 }

func mix(kind, v uint64) uint32 {
	v = (v + kind*0x9e3779b97f4a7c15) * 0xbf58476d1ce4e5b9
	v ^= v >> 29
	v *= 0x94d049bb133111eb
	return uint32(v >> (64 - modelBits))
}

// Feature is a feature of a text and what it adds to the model's log-odds.
type Feature struct {
	Name   string // a word, two words, a class, or two classes in their order
	Weight float32
}

// Explain returns the model's log-odds for the sentences of a text that it holds
// most likely an attack, and their features, strongest first. The names hold words
// of the text.
func (m *Model) Explain(text string, hits []Hit, origin Origin) (float32, []Feature) {
	best, found := float32(math.Inf(-1)), []Feature(nil)
	s := newScorer(m, text, origin)
	defer s.free()
	s.judge = func() {
		s.spans(m, func(from, to int, odds float32) {
			if odds > best {
				best, found = odds, s.weighed(m, from, to)
			}
		})
	}
	s.collect(hits)
	slices.SortStableFunc(found, func(a, b Feature) int {
		return cmp.Or(cmp.Compare(abs(b.Weight), abs(a.Weight)), strings.Compare(a.Name, b.Name))
	})
	return best, found
}

// ExplainModel is [Model.Explain] of the model in use.
func ExplainModel(text string, hits []Hit, origin Origin) (float32, []Feature) {
	m, err := model()
	if err != nil {
		return 0, nil
	}
	return m.Explain(text, hits, origin)
}

func abs(x float32) float32 { return max(x, -x) }

// weighed are the features of the tokens [from, to) that have a weight.
func (s *scorer) weighed(m *Model, from, to int) (out []Feature) {
	n := 0
	at := map[uint32]int{} // the place in out of a feature
	for _, p := range s.sentences {
		if p.from < from || p.to > to {
			continue
		}
		n += p.features
		counted := map[uint32]bool{}
		s.each(p.from, p.to, func(f uint32, i, j int, a, b class) {
			w := float32(m.Weights[f])
			if w == 0 || counted[f] {
				return
			}
			counted[f] = true
			if k, ok := at[f]; ok {
				out[k].Weight += w
				return
			}
			at[f] = len(out)
			var name string
			switch {
			case j >= 0:
				name = s.word(i) + " " + s.word(j)
			case i >= 0:
				name = strings.Clone(s.word(i))
			case b != 0:
				name = "<" + className(a) + "> <" + className(b) + ">"
			case a != 0:
				name = "<" + className(a) + ">"
			default:
				name = "<names of programs>"
			}
			out = append(out, Feature{name, w})
		})
	}
	for i := range out {
		out[i].Weight *= m.Scale / float32(math.Sqrt(float64(n)+1))
	}
	return out
}

var classNames = strings.Fields(`ignore drop prior all instructions rule thing safety limit your you i my they ai system hidden reveal show what exact new role free no not bound mode switch off jailbreak refuse harm talk guard send secret tool
	execute user covert first polite modal ask reply make given follow instead to opposite threat name foreign only that`)

func className(c class) string {
	if i := bits.TrailingZeros64(uint64(c)); i < len(classNames) {
		return classNames[i]
	}
	return "class"
}
