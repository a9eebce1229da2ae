package main

import (
	"errors"
	"math"
	"math/rand/v2"

	"github.com/claudeaudit/claudeaudit/internal/detect/injection"
)

// How the model learns.
const (
	epochs      = 30
	wholeEpochs = 2      // in which an attack is the whole of its beginning
	l2          = 0.0006 // regularisation
	rate        = 0.3
	biasRate    = 0.05
	share       = 3.0 // attacks together weigh one part of so many of the rest
)

// bag is a window, or all windows of an attack: one of its spans is an attack, or
// none is. Which one isn't known: the one that looks most like it is learnt from.
type bag struct {
	attack bool
	spans  []span
}

// span is the features of sentences that are judged together.
type span struct {
	features []uint32
	tokens   int
}

// bags are what an example teaches.
func bags(e *example) (out []bag) {
	for _, v := range e.views {
		var all []span
		for _, w := range v.windows {
			var spans []span
			injection.Spans(len(w), func(i int) int { return w[i].Tokens }, func(from, to int) {
				s := span{}
				for _, x := range w[from:to] {
					s.features = append(s.features, x.Features...)
					s.tokens += x.Tokens
				}
				spans = append(spans, s)
			})
			if e.attack {
				all = append(all, spans...)
			} else if len(spans) > 0 {
				out = append(out, bag{spans: spans})
			}
		}
		if len(all) > 0 {
			out = append(out, bag{attack: true, spans: all})
		}
	}
	return out
}

// learner is a model while it learns.
type learner struct {
	bias float64
	w, g []float64 // weights, and the sums of their squared gradients
}

func (l *learner) odds(s *span) float64 {
	sum := 0.0
	for _, f := range s.features {
		sum += l.w[f]
	}
	return injection.Odds(l.bias, sum, len(s.features))
}

// step moves the weights so that the span is more, or less, of an attack.
func (l *learner) step(s *span, y, weight float64) {
	n := 1 / math.Sqrt(float64(len(s.features))+1)
	d := (1/(1+math.Exp(-l.odds(s))) - y) * weight
	l.bias -= float64(biasRate * d)
	for _, f := range s.features {
		// the conversions keep processors from rounding sums of products once
		gr := float64(d*n) + float64(l2*l.w[f])
		l.g[f] += float64(gr * gr)
		l.w[f] -= float64(rate * gr / math.Sqrt(l.g[f]+1e-6))
	}
}

// fit learns from all examples but those of a source.
func fit(all []example, without string) (*injection.Model, error) {
	var list []bag
	attacks, harmless := 0.0, 0.0
	for i := range all {
		if all[i].source == without {
			continue
		}
		for _, b := range bags(&all[i]) {
			list = append(list, b)
			if b.attack {
				attacks++
			} else {
				harmless++
			}
		}
	}
	if attacks == 0 || harmless == 0 {
		return nil, errors.New("nothing to learn from: there must be attacks and what is none")
	}
	attackWeight := max(1, harmless/(share*attacks))
	l := &learner{w: make([]float64, injection.ModelSize), g: make([]float64, injection.ModelSize)}
	rng := rand.New(rand.NewPCG(3, 4))
	for epoch := range epochs {
		rng.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		for i := range list {
			b := &list[i]
			best, top := &b.spans[0], math.Inf(-1)
			for k := range b.spans {
				s := &b.spans[k]
				x := l.odds(s)
				if b.attack && epoch < wholeEpochs {
					x = float64(s.tokens)
				}
				if x > top {
					best, top = s, x
				}
			}
			if b.attack {
				l.step(best, 1, attackWeight)
			} else {
				l.step(best, 0, 1)
			}
		}
	}
	return l.model(), nil
}

// model is what was learnt, in a byte for each weight.
func (l *learner) model() *injection.Model {
	top := 0.0
	for _, v := range l.w {
		top = max(top, math.Abs(v))
	}
	m := &injection.Model{Bias: float32(l.bias), Scale: float32(top / 127), Weights: make([]int8, injection.ModelSize)}
	for i, v := range l.w {
		m.Weights[i] = int8(math.Round(v / top * 127))
	}
	return m
}
