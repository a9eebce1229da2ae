package injection

import (
	_ "embed"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"slices"
	"strings"
	"sync"
)

// Model is a logistic regression over hashed features of a stretch of words: the
// words, pairs of neighbours, their classes, and ordered pairs of classes near
// each other. It stands beside the rules and adds evidence to theirs. Its
// weights are made by the command in the folder train.
type Model struct {
	Bias    float32
	Scale   float32 // of the weights
	Weights []int8  // ModelSize of them
}

// ModelSize is the number of weights.
const (
	modelBits = 15
	ModelSize = 1 << modelBits
)

const (
	stretchTokens = 64
	modelMagic    = "injmodel1"
	// log-odds from which the model is evidence alone, and beside the rules
	modelAlone  = 1.8
	modelBeside = 0.8
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

// Score is the log-odds that a stretch with these features is an attack.
func (m *Model) Score(features []uint32) float32 {
	sum := int64(0)
	for _, f := range features {
		sum += int64(m.Weights[f&(ModelSize-1)])
	}
	return m.Bias + m.Scale*float32(sum)/float32(math.Sqrt(float64(len(features))+1))
}

// Stretches returns the features of the stretches of a text that the model would
// judge, for training.
func Stretches(text string, hits []Hit) (out [][]uint32) {
	s := &scorer{text: text, z: tokenizer{lex: lex()}}
	s.judge = func(_, _ int, f []uint32) { out = append(out, slices.Clone(f)) }
	s.collect(hits)
	return out
}

// stretches judges the window's tokens, at most stretchTokens at once, parted
// where sentences end.
func (s *scorer) stretches() {
	t := s.z.toks
	for from := 0; from < len(t); {
		to := min(from+stretchTokens, len(t))
		if to < len(t) {
			for k := to; k > from+stretchTokens/2; k-- {
				if t[k].sentence != t[k-1].sentence {
					to = k
					break
				}
			}
		}
		if to-from >= 3 {
			s.feats = s.features(s.feats[:0], from, to)
			s.judge(from, to, s.feats)
		}
		from = to
	}
}

// weigh adds what the model says of a stretch to the evidence.
func (s *scorer) weigh(from, to int, features []uint32) {
	x := s.odds(s.m, from, to, features)
	c := s.near(from, to)
	if x < modelBeside {
		return
	}
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
		}
	}
	w := float32(0)
	switch {
	case x >= modelAlone:
		w = 0.8
	case top >= 0.35:
		w = 0.4
	}
	s.e.add(kind, "model", w, s.z.toks[from].start, s.z.toks[to-1].end)
}

// odds is the model's score of a stretch, less where it talks of attacks.
func (s *scorer) odds(m *Model, from, to int, features []uint32) float32 {
	x := m.Score(features)
	if s.near(from, to)&(cTalk|cGuard) != 0 {
		x -= 1.5
	}
	// "your instructions for the oven" are not the model's
	for k := from + 1; k+1 < to; k++ {
		if t := s.z.toks; t[k].is(cInstr|cRule) && t[k-1].is(cYour) && !t[k].is(cSystem) && s.word(k+1) == "for" {
			x -= 1.5
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
)

const notFeature = cTail | cAnchor | cForeign

func (s *scorer) features(dst []uint32, from, to int) []uint32 {
	t := s.z.toks
	for i := from; i < to; i++ {
		dst = append(dst, mix(fWord, uint64(t[i].hash)))
		if i+1 < to && t[i+1].sentence == t[i].sentence {
			dst = append(dst, mix(fPair, uint64(t[i].hash)<<32|uint64(t[i+1].hash)))
		}
		for x := t[i].class &^ notFeature; x != 0; x &= x - 1 {
			a := x & -x
			dst = append(dst, mix(fClass, uint64(a)))
			for k := i + 1; k < to && k <= i+5 && t[k].sentence == t[i].sentence; k++ {
				for y := t[k].class &^ notFeature; y != 0; y &= y - 1 {
					dst = append(dst, mix(fClasses, classPair(a, y&-y)))
				}
			}
		}
	}
	return dst
}

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

// ExplainModel returns the model's log-odds for the stretch of a text that it
// holds most likely an attack, and that stretch's features, strongest first. The
// names hold words of the text.
func ExplainModel(text string, hits []Hit) (float32, []Feature) {
	m, err := model()
	if err != nil {
		return 0, nil
	}
	best, found := float32(math.Inf(-1)), []Feature(nil)
	s := &scorer{text: text, z: tokenizer{lex: lex()}}
	s.judge = func(from, to int, f []uint32) {
		if x := m.Score(f); x > best {
			best, found = x, s.named(m, from, to, len(f))
		}
	}
	s.collect(hits)
	slices.SortStableFunc(found, func(a, b Feature) int {
		switch x, y := abs(a.Weight), abs(b.Weight); {
		case x > y:
			return -1
		case x < y:
			return 1
		}
		return strings.Compare(a.Name, b.Name)
	})
	return best, found
}

func abs(x float32) float32 { return max(x, -x) }

func (s *scorer) named(m *Model, from, to, n int) (out []Feature) {
	t := s.z.toks
	unit := m.Scale / float32(math.Sqrt(float64(n)+1))
	seen := map[uint32]int{}
	add := func(f uint32, name func() string) {
		w := m.Weights[f]
		if w == 0 {
			return
		}
		if k, ok := seen[f]; ok {
			out[k].Weight += float32(w) * unit
			return
		}
		seen[f] = len(out)
		out = append(out, Feature{name(), float32(w) * unit})
	}
	for i := from; i < to; i++ {
		add(mix(fWord, uint64(t[i].hash)), func() string { return strings.Clone(s.word(i)) })
		if i+1 < to && t[i+1].sentence == t[i].sentence {
			add(mix(fPair, uint64(t[i].hash)<<32|uint64(t[i+1].hash)), func() string { return s.word(i) + " " + s.word(i+1) })
		}
		for x := t[i].class &^ notFeature; x != 0; x &= x - 1 {
			a := x & -x
			add(mix(fClass, uint64(a)), func() string { return "<" + className(a) + ">" })
			for k := i + 1; k < to && k <= i+5 && t[k].sentence == t[i].sentence; k++ {
				for y := t[k].class &^ notFeature; y != 0; y &= y - 1 {
					b := y & -y
					add(mix(fClasses, classPair(a, b)), func() string { return "<" + className(a) + "> <" + className(b) + ">" })
				}
			}
		}
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
