// Package detect finds sensitive data and attacks in the text of prompts and
// responses and says which data class they make.
//
// One pass over a text finds the keywords of every rule and every place with
// numbers (see prefilter); only there the rules' matchers run: hand-written
// validators with checksums, or regular expressions in RE2 syntax on a bounded
// window. So the time is linear in the text, whatever it holds. Rules, word
// lists and the taxonomy are data (see the folder rules); an [Engine] is built
// from them once and never changes. A [Watcher] builds a new one when files
// change.
//
// Nothing that leaves this package holds any of the text: detections are types,
// counts and rule names, spans are positions.
package detect

import (
	"fmt"
	"hash/maphash"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/claudeaudit/claudeaudit/internal/audit"
	"github.com/claudeaudit/claudeaudit/internal/detect/injection"
)

// Origin is who wrote a text.
type Origin uint8

// Origins.
const (
	User Origin = iota
	System
	// Assistant is the model's own earlier answers in the history.
	Assistant
	// Tool is what came from outside: tool results, documents.
	Tool
	Output
)

var originNames = [...]string{User: "user", System: "system", Assistant: "assistant", Tool: "tool", Output: "output"}

// String is the origin's name, in lower case.
func (o Origin) String() string {
	if int(o) < len(originNames) {
		return originNames[o]
	}
	return fmt.Sprintf("origin(%d)", uint8(o))
}

// ParseOrigin is the origin of a name.
func ParseOrigin(name string) (Origin, bool) {
	i := slices.Index(originNames[:], name)
	return Origin(max(i, 0)), i >= 0
}

// Segment is a text from one origin.
type Segment struct {
	Origin Origin
	Text   string
}

// Scope is the call that the segments are from.
type Scope struct {
	Application, Model string
	PromptTokens       int64
}

// Options say what a scan is to return.
type Options struct {
	// Spans asks for positions. Texts from the cache are scanned again.
	Spans bool
	// Once says that these texts won't come again: they aren't remembered.
	Once bool
}

// Confidence is how sure a rule is.
type Confidence uint8

// Confidences. None is no detection.
const (
	None Confidence = iota
	// Low is a shape that other things have too.
	Low
	// Medium is a checksum or a specific shape, or a weak shape with a word
	// near it that says what it is.
	Medium
	// High is a checksum or a specific prefix together with such a word, or a
	// shape that nothing else has.
	High
)

var confidenceNames = [...]string{None: "", Low: "low", Medium: "medium", High: "high"}

// String is "low", "medium", "high", or "" for None.
func (c Confidence) String() string {
	if int(c) < len(confidenceNames) {
		return confidenceNames[c]
	}
	return fmt.Sprintf("confidence(%d)", uint8(c))
}

// Detection is a kind of data that a rule found, never the data.
type Detection struct {
	Type, Rule string
	// Confidence is the highest of the occurrences.
	Confidence string
	Count      int
}

// Span is where a detection is: bytes [Start, End) of the segment's text.
type Span struct {
	Segment, Start, End int
	Type, Rule          string
}

// Flags that the engine itself raises.
const (
	// FlagTruncated says that not all of the text was looked at.
	FlagTruncated = "detection.truncated"
	// FlagOutputSecret says that a response holds a secret.
	FlagOutputSecret = "output.secret"
)

// Result is what the segments of a call hold.
type Result struct {
	// Level is the highest class of the taxonomy's steps that apply, "" for
	// none: the caller's default applies then.
	Level string
	// Basis is the step that set the level and the rule that it rests on.
	Basis string
	// Flags are sorted and unique.
	Flags      []string
	Detections []Detection
	// Spans are there only when asked for, at most maxSpans for each segment.
	Spans []Span
	// Truncated is set when not all of the text was looked at; the flag
	// detection.truncated says the same.
	Truncated bool
}

// Config says what an engine is built of.
type Config struct {
	// Files are rule files that are added to the embedded ones: a rule whose id
	// is there already replaces it.
	Files []string
	// NoDefaults leaves the embedded rules out.
	NoDefaults bool
	// Disable lists ids of rules and taxonomy steps, or their prefixes with ".*".
	Disable []string
	// Dictionaries are the customer's own keyword lists.
	Dictionaries []Dictionary
	// MaxBytes bounds the text of one call that is looked at; 0 is
	// DefaultMaxBytes. What exceeds it raises detection.truncated.
	MaxBytes int
	// CacheBytes bounds the memory of remembered results of texts that come
	// again; 0 is DefaultCacheBytes, negative is no cache.
	CacheBytes int
	// NoInjection leaves the search for prompt injection and obfuscation out.
	NoInjection bool
	// Windows are context windows of models, the first that matches counts; nil is
	// DefaultWindows.
	Windows []ModelWindow
	// Baselines remembers how long the prompts of each application are; nil
	// compares them with nothing. A [Watcher] makes one and keeps it.
	Baselines *Baselines
}

// Bounds of a Config.
const (
	DefaultMaxBytes   = 16 << 20
	DefaultCacheBytes = 16 << 20
)

// Engine finds data in texts. It never changes and may be used by many
// goroutines.
type Engine struct {
	rules []*Rule
	pre   *prefilter
	roles []role // of each keyword
	// around finds the words of context, only near what needs them.
	around    *prefilter
	contexts  []bitset // of each word, the groups it is in
	reach     int      // how far from the beginning of a value its context may begin
	numbers   [maxDigits + 1]numberRules
	tokens    [kindsOfToken][maxToken + 1][]tokenRule
	runs      []*Rule     // tried at numbers, at most maxRuns
	beside    [256]uint32 // the runs that a byte right before or after a number asks for
	ats       []*Rule
	taxonomy  *taxonomy
	hashes    *hashList
	inject    bool
	windows   []ModelWindow
	baselines *Baselines
	maxBytes  int
	cache     *cache
	pool      sync.Pool // of *scanner
	facts     sync.Pool // of *facts
	seed      maphash.Seed
	files     []string // that rules came from, apart from the embedded ones
}

// role is what a keyword is for.
type role struct {
	anchors []*Rule
	// injection is the keyword's place among those of package injection plus
	// one, 0 if it isn't one.
	injection int
}

type bitset []uint64

func (b bitset) has(i int) bool { return uint(i)>>6 < uint(len(b)) && b[i>>6]>>(i&63)&1 != 0 }

func (b *bitset) set(i int) {
	for len(*b) <= i>>6 {
		*b = append(*b, 0)
	}
	(*b)[i>>6] |= 1 << (i & 63)
}

// add makes b the union with o.
func (b *bitset) add(o bitset) {
	for len(*b) < len(o) {
		*b = append(*b, 0)
	}
	for i, w := range o {
		(*b)[i] |= w
	}
}

// New builds an engine. Its errors name the file and line of what is wrong.
func New(cfg Config) (*Engine, error) {
	set, err := load(cfg)
	if err != nil {
		return nil, err
	}
	e := &Engine{rules: set.rules, inject: !cfg.NoInjection, maxBytes: cfg.MaxBytes, hashes: set.hashes, seed: maphash.MakeSeed(), files: set.files}
	if e.maxBytes <= 0 {
		e.maxBytes = DefaultMaxBytes
	}
	e.windows, e.baselines = cfg.Windows, cfg.Baselines
	if e.windows == nil {
		e.windows = DefaultWindows
	}
	for _, w := range e.windows {
		if _, err := path.Match(w.Match, ""); err != nil || w.Tokens <= 0 {
			return nil, fmt.Errorf("context window of %q: %d tokens: not a pattern and a number above 0", w.Match, w.Tokens)
		}
	}
	switch {
	case cfg.CacheBytes == 0:
		e.cache = newCache(DefaultCacheBytes)
	case cfg.CacheBytes > 0:
		e.cache = newCache(cfg.CacheBytes)
	}
	if e.taxonomy, err = set.compileTaxonomy(); err != nil {
		return nil, err
	}
	words, around := newVocabulary(), newVocabulary()
	for i, r := range e.rules {
		r.index = uint16(i)
		for _, w := range r.anchorWords() {
			role, err := words.add(w)
			if err != nil {
				return nil, fmt.Errorf("%s: rule %s: %w", r.where(), r.ID, err)
			}
			for _, x := range role {
				x.anchors = append(x.anchors, r)
			}
		}
		r.group = -1
		if len(r.contextWords) > 0 {
			r.group, err = around.group(r.contextWords)
			if err != nil {
				return nil, fmt.Errorf("%s: rule %s: %w", r.where(), r.ID, err)
			}
			e.reach = max(e.reach, maxKeyword+maxSpread+max(r.Context.Before, r.Context.After))
		}
		if err := e.place(r); err != nil {
			return nil, err
		}
	}
	for i := range e.numbers {
		e.numbers[i] = newNumberRules(e.numbers[i].plain)
	}
	if e.inject {
		for i, w := range injection.Keywords() {
			// what is shorter is part of nearly every text: no anchor
			if len(w) >= minKeyword {
				words.literal(w).injection = i + 1
			}
		}
	}
	if e.pre, err = newPrefilter(words.words); err != nil {
		return nil, err
	}
	for _, r := range words.roles {
		e.roles = append(e.roles, *r)
	}
	if e.around, err = newPrefilter(around.words); err != nil {
		return nil, err
	}
	e.contexts = around.contexts
	e.pool.New = func() any { return &scanner{e: e} }
	e.facts.New = func() any { return newFacts(len(e.rules)) }
	return e, nil
}

// tokenRule is a rule that is tried at tokens with at least some digits.
type tokenRule struct {
	digits int
	match  func(text string, start, end int) (int, int, fit)
	rule   *Rule
}

// maxRuns is how many rules may be tried at numbers by what stands beside them.
const maxRuns = 32

// place puts a rule where its validator is triggered.
func (e *Engine) place(r *Rule) error {
	v := r.validator
	if v == nil {
		return nil
	}
	for _, n := range v.digits {
		e.numbers[n].plain = append(e.numbers[n].plain, r)
	}
	if v.token != nil {
		for n := v.tokenMin; n <= v.tokenMax; n++ {
			for kind := range kindsOfToken {
				if v.tokenKinds>>kind&1 != 0 {
					e.tokens[kind][n] = append(e.tokens[kind][n], tokenRule{v.tokenDigits, v.token, r})
				}
			}
		}
	}
	if v.run != nil {
		if len(e.runs) == maxRuns {
			return fmt.Errorf("%s: rule %s: more than %d rules have validators such as %s", r.where(), r.ID, maxRuns, r.Validator)
		}
		bit := uint32(1) << len(e.runs)
		e.runs = append(e.runs, r)
		for c := range e.beside {
			if v.beside == "" || strings.IndexByte(v.beside, byte(c)) >= 0 {
				e.beside[c] |= bit
			}
		}
	}
	if v.at != nil {
		e.ats = append(e.ats, r)
	}
	return nil
}

// Rules are the engine's rules, in the order of their ids.
func (e *Engine) Rules() []*Rule { return e.rules }

// Finds are the flags and the types of data that a result can have, sorted and unique.
func (e *Engine) Finds() []string {
	out := []string{FlagTruncated, FlagOutputSecret, FlagContextOverflow, FlagPromptLeak}
	if e.inject {
		out = append(out, injection.Flags()...)
	}
	for _, r := range e.rules {
		out = append(out, r.Type)
		if r.Flag != "" {
			out = append(out, r.Flag)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Rule is the rule with an id, nil if there is none.
func (e *Engine) Rule(id string) *Rule {
	i, ok := slices.BinarySearchFunc(e.rules, id, func(r *Rule, id string) int { return strings.Compare(r.ID, id) })
	if !ok {
		return nil
	}
	return e.rules[i]
}

// Scan looks at the texts of one call.
func (e *Engine) Scan(segs []Segment, sc Scope, opt Options) Result {
	var (
		res   Result
		facts = e.facts.Get().(*facts)
		left  = e.maxBytes
		flags []string
	)
	for i := range segs {
		seg := segs[i]
		if len(seg.Text) > left {
			res.Truncated = true
			seg.Text = seg.Text[:left]
		}
		left -= len(seg.Text)
		part := e.part(seg, opt)
		facts.add(part)
		flags = append(flags, part.flags...)
		if seg.Origin == Output && part.secret {
			flags = append(flags, FlagOutputSecret)
		}
		if opt.Spans {
			for _, m := range part.matches {
				r := e.rules[m.rule]
				res.Spans = append(res.Spans, Span{Segment: i, Start: int(m.start), End: int(m.end), Type: r.Type, Rule: r.ID})
			}
		}
		res.Truncated = res.Truncated || part.truncated
	}
	if res.Truncated {
		flags = append(flags, FlagTruncated)
	}
	if e.overflows(segs, sc) {
		flags = append(flags, FlagContextOverflow)
	}
	if leaks(segs) {
		flags = append(flags, FlagPromptLeak)
	}
	res.Level, res.Basis, res.Detections = e.taxonomy.judge(e.rules, facts, sc)
	facts.reset()
	e.facts.Put(facts)
	for i := range res.Detections {
		if f := e.Rule(res.Detections[i].Rule).Flag; f != "" {
			flags = append(flags, f)
		}
	}
	slices.Sort(flags)
	res.Flags = slices.Compact(flags)
	return res
}

// part is what one text holds.
func (e *Engine) part(seg Segment, opt Options) *partResult {
	if len(seg.Text) < minCached || e.cache == nil || opt.Spans || opt.Once {
		return e.scanText(seg)
	}
	key := e.cache.key(seg)
	if p := e.cache.get(key); p != nil {
		return p
	}
	p := e.scanText(seg)
	e.cache.put(key, p)
	return p
}

func (e *Engine) scanText(seg Segment) *partResult {
	s := e.pool.Get().(*scanner)
	p := s.scan(seg)
	e.pool.Put(s)
	return p
}

// levelOf is the place of a level, 0 for none.
func levelOf(level string) int { return audit.ClassificationLevel(level) }
