package detect

import (
	"container/list"
	"math"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/claudeaudit/claudeaudit/internal/detect/injection"
)

// FlagContextOverflow says that a prompt is abnormally long, against the model's
// window or what its application sends otherwise, or hardly anything but
// repetition, or an attack behind a long text that has nothing to do with it.
const FlagContextOverflow = "context_overflow"

// ModelWindow is the context window of models.
type ModelWindow struct {
	// Match is a model's name, with * for any characters.
	Match  string
	Tokens int64
}

// DefaultWindows are the context windows of Claude's models.
var DefaultWindows = []ModelWindow{{Match: "*claude*", Tokens: 200_000}}

// windowShare is how much of a window is normal.
const windowShare = 0.95

// window is the context window of a model, 0 if it isn't known. A prompt that is
// longer than the window of the table was sent to a model with a larger one.
func (e *Engine) window(model string, tokens int64) int64 {
	for _, w := range e.windows {
		if ok, err := path.Match(w.Match, model); err == nil && ok && tokens <= w.Tokens {
			return w.Tokens
		}
	}
	return 0
}

// overflows says whether the prompt of a call is abnormally long.
func (e *Engine) overflows(segs []Segment, sc Scope) bool {
	tokens := sc.PromptTokens
	if tokens == 0 {
		for i := range segs {
			if segs[i].Origin != Output {
				tokens += int64(len(segs[i].Text)) / 4
			}
		}
	}
	if w := e.window(sc.Model, tokens); w > 0 && float64(tokens) > windowShare*float64(w) {
		return true
	}
	return e.baselines.observe(sc.Application, tokens)
}

// Repetition is looked for in texts of some length: pieces of a text that hardly
// says anything new come again soon after.
const (
	minRepetition = 16 << 10
	firstProbes   = 8
	probes        = 40
	probeBytes    = 24
	probeReach    = 4 << 10
)

// repeats says whether nearly every piece of a text comes again within the next
// few kilobytes. An ordinary text is given up after the first pieces.
func repeats(text string) bool {
	if len(text) < minRepetition {
		return false
	}
	step := (len(text) - probeReach - probeBytes) / probes
	missed := 0
	for i := range probes {
		// the first pieces are from all over the text
		at := i * (probes / firstProbes) % (probes - 1) * step
		if !strings.Contains(text[at+probeBytes:at+probeBytes+probeReach], text[at:at+probeBytes]) {
			if missed++; missed > probes/8 || i < firstProbes && missed > 2 {
				return false
			}
		}
	}
	return true
}

// padded says whether a long text has nothing of an attack but at its end: what
// stands before is there to be pushed out of mind.
func padded(text string, attacks []injection.Finding) bool {
	const (
		minPadding = 64 << 10
		endBytes   = 2 << 10
	)
	return len(text) >= minPadding && len(attacks) > 0 &&
		!slices.ContainsFunc(attacks, func(f injection.Finding) bool { return f.Start < len(text)-endBytes })
}

// Baselines remembers how long the prompts of each application are, so that one
// that is far longer stands out. It holds a few numbers for each application, and
// at most so many applications: those seen last.
type Baselines struct {
	limit int

	mu     sync.Mutex
	byName map[string]*list.Element
	used   *list.List // the most recently seen first
}

// DefaultBaselines is how many applications are remembered.
const DefaultBaselines = 1024

type baseline struct {
	application string
	seen        int
	// mean and spread of the logarithm of tokens, the last ones weighing most
	mean, variance float64
}

// Bounds of a baseline.
const (
	learnCalls  = 50   // before anything is abnormal
	learnWeight = 0.02 // of a call
	minTokens   = 8192 // that are abnormal for anybody
	minSpread   = 0.35 // of the logarithm: prompts of one application differ by a third
	farSpreads  = 4
)

// NewBaselines remembers at most so many applications; 0 is DefaultBaselines.
func NewBaselines(limit int) *Baselines {
	if limit <= 0 {
		limit = DefaultBaselines
	}
	return &Baselines{limit: limit, byName: map[string]*list.Element{}, used: list.New()}
}

// observe learns the length of a prompt and says whether it is abnormal for its
// application. What is abnormal is learnt too, at the length up to which it
// would have been normal, so that a lasting change becomes normal.
func (b *Baselines) observe(application string, tokens int64) bool {
	if b == nil || tokens <= 0 {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	e, ok := b.byName[application]
	if !ok {
		if len(b.byName) >= b.limit {
			last := b.used.Back()
			delete(b.byName, b.used.Remove(last).(*baseline).application)
		}
		e = b.used.PushFront(&baseline{application: application})
		b.byName[application] = e
	}
	b.used.MoveToFront(e)
	return e.Value.(*baseline).observe(tokens)
}

func (l *baseline) observe(tokens int64) bool {
	x := math.Log(float64(tokens))
	if l.seen == 0 {
		l.mean = x
	}
	far := l.mean + farSpreads*max(math.Sqrt(l.variance), minSpread)
	abnormal := l.seen >= learnCalls && tokens >= minTokens && x > far
	w := max(learnWeight, 1/float64(l.seen+1))
	d := min(x, max(far, l.mean)) - l.mean
	if l.seen < learnCalls {
		d = x - l.mean
	}
	l.mean += w * d
	l.variance = (1 - w) * (l.variance + w*d*d)
	if l.seen < learnCalls {
		l.seen++
	}
	return abnormal
}
