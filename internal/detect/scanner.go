package detect

import (
	"cmp"
	"hash/maphash"
	"slices"
	"strings"

	"github.com/claudeaudit/claudeaudit/internal/detect/injection"
	"github.com/claudeaudit/claudeaudit/internal/detect/sweep"
)

// Bounds of a scan.
const (
	// blockBytes is how much text is filtered before its hits are judged; it
	// stays in the first-level cache for both.
	blockBytes = 16 << 10
	// lookAhead is how far beyond a block hits are known, lookBehind how long
	// they are kept: more than the longest keyword.
	lookAhead, lookBehind = 256, 256
	// maxMatches bounds what is remembered of one text; more are only counted.
	maxMatches = 512
	// maxInjectionHits bounds the hits told to package injection for one text.
	maxInjectionHits = 1 << 17
	// maxValue is the longest value, but for keys that are blocks of lines.
	maxValue = 4096
)

// match is a piece of text that a rule takes for its kind of data.
type match struct {
	start, end uint32
	rule       uint16
	conf       Confidence
	// rank orders matches that overlap, see resolve.
	rank uint8
	hash uint64 // of the value
}

// scanner is the state of a scan, reused.
type scanner struct {
	e      *Engine
	text   string
	seg    Segment
	hits   []hit
	sig    signals
	places injection.Places
	found  []match // of the current block and what reaches into the next
	part   partResult
	// numbersDone is where the token with digits that was looked at last ends.
	numbersDone int
	// phoneDone is where the last telephone number ends.
	phoneDone int
	// phonesParsed is how many were looked up, see maxParsed.
	phonesParsed int
	ahits        []injection.Hit
	// valueFrom and valueTo are the stretch of a value's bytes that was walked through
	// last, see endOfValue.
	valueFrom, valueTo int
	chunks             [maxChunks]chunk
	chunked            bool // chunks are in use
	// around are the groups with a word in the chunks aroundFrom to aroundTo, which
	// are those around aroundAt.
	around                         bitset
	aroundAt, aroundFrom, aroundTo int
	// digits, groups and number are those of token.
	digits [maxDigits]byte
	groups [maxGroups]uint8
	number number
}

// partResult is what one text holds; it stays in the cache and is never changed.
type partResult struct {
	matches   []match // accepted, in order, at most maxMatches
	counts    []ruleCount
	flags     []string
	secret    bool // with at least medium confidence
	truncated bool
}

// nothing is what most texts hold.
var nothing = &partResult{}

type ruleCount struct {
	rule  uint16
	conf  Confidence
	count uint32 // of all matches, also those that are not in matches
	// sure is the count of matches of at least medium confidence
	sure uint32
}

func (s *scanner) scan(seg Segment) *partResult {
	s.text, s.seg = seg.Text, seg
	s.hits, s.found = s.hits[:0], s.found[:0]
	s.part = partResult{matches: s.part.matches[:0], counts: s.part.counts[:0], flags: s.part.flags[:0]}
	s.numbersDone, s.phoneDone, s.phonesParsed = 0, 0, 0
	s.valueFrom, s.valueTo = 0, 0
	s.sig.numbers, s.sig.ats = s.sig.numbers[:0], s.sig.ats[:0]
	s.ahits = s.ahits[:0]
	s.places.Reset()
	s.sig.places = nil
	if s.e.inject && (seg.Origin == User || seg.Origin == Tool) {
		s.sig.places = &s.places
	}
	if s.chunked {
		for i := range s.chunks {
			s.chunks[i].index = 0
		}
		s.chunked = false
	}
	s.aroundAt, s.aroundTo = -1, -1
	filtered, judged := 0, 0
	n := len(s.text)
	for judged < n {
		end := min(judged+blockBytes, n)
		upTo := min(end+lookAhead, n)
		first := len(s.hits)
		s.hits = s.e.pre.scan(s.text, filtered, upTo, s.hits, &s.sig)
		s.order(first)
		filtered = upTo
		s.judge(judged, end)
		s.settle(end, end == n)
		judged = end
		s.forget(end - lookBehind)
	}
	s.hashed()
	s.inspect()
	p := s.finish()
	s.text, s.seg = "", Segment{}
	return p
}

// order sorts hits[first:] by start. They come in the order of their rarest
// four bytes, so that little moves.
func (s *scanner) order(first int) {
	h := s.hits
	for i := max(first, 1); i < len(h); i++ {
		for j := i; j > 0 && h[j].start < h[j-1].start; j-- {
			h[j], h[j-1] = h[j-1], h[j]
		}
	}
}

// forget drops hits and signals before a place.
func (s *scanner) forget(before int) {
	if before <= 0 {
		return
	}
	i, _ := slices.BinarySearchFunc(s.hits, uint32(before), func(h hit, at uint32) int { return cmp.Compare(h.start, at) })
	s.hits = s.hits[:copy(s.hits, s.hits[i:])]
}

// judge runs the matchers for the hits and signals in text[from:to).
func (s *scanner) judge(from, to int) {
	i, _ := slices.BinarySearchFunc(s.hits, uint32(from), func(h hit, at uint32) int { return cmp.Compare(h.start, at) })
	for ; i < len(s.hits) && int(s.hits[i].start) < to; i++ {
		h := s.hits[i]
		role := &s.e.roles[h.keyword]
		for _, r := range role.anchors {
			s.anchor(r, h)
		}
		if role.injection > 0 {
			if len(s.ahits) < maxInjectionHits {
				s.ahits = append(s.ahits, injection.Hit{Keyword: role.injection - 1, End: int(h.end)})
			} else {
				s.part.truncated = true
			}
		}
	}
	n := 0
	for ; n < len(s.sig.ats) && int(s.sig.ats[n]) < to; n++ {
		for _, r := range s.e.ats {
			if a, b, ok := r.validator.at(s.text, int(s.sig.ats[n])); ok {
				s.emit(r, a, b)
			}
		}
	}
	s.sig.ats = s.sig.ats[:copy(s.sig.ats, s.sig.ats[n:])]
	n = 0
	for ; n < len(s.sig.numbers) && int(s.sig.numbers[n]) < to; n++ {
		s.numbersAt(int(s.sig.numbers[n]))
	}
	s.sig.numbers = s.sig.numbers[:copy(s.sig.numbers, s.sig.numbers[n:])]
}

// anchor runs a rule at one of its keywords.
func (s *scanner) anchor(r *Rule, h hit) {
	start, end := int(h.start), int(h.end)
	switch {
	case r.re != nil:
		a, b, ok := s.pattern(r, start, end)
		if ok {
			s.emit(r, a, b)
		}
	case r.validator != nil:
		if r.validator.keyword != nil {
			if a, b, c := r.validator.keyword(s, r, start, end); b > a {
				s.emitAs(r, a, b, c)
			}
		}
	default:
		if r.exactCase == nil || slices.Contains(r.exactCase, s.text[start:end]) {
			s.emit(r, start, end)
		}
	}
}

// pattern matches a rule's regular expression at a keyword.
func (s *scanner) pattern(r *Rule, start, end int) (int, int, bool) {
	if r.Window.Before == 0 && r.preceded == nil {
		if glued(s.text, start) {
			return 0, 0, false
		}
	}
	if r.lead != nil && !r.lead.fits(s.text, start) {
		return 0, 0, false
	}
	first := -1
	if r.preceded != nil {
		if first = r.preceded.before(s.text, start); first < 0 {
			return 0, 0, false
		}
	}
	from := max(0, start-r.Window.Before)
	to := min(len(s.text), end+r.Window.After)
	if r.sequences != nil {
		f, ok := matchFirst(r.sequences, s.text[from:to])
		if !ok {
			return 0, 0, false
		}
		a, b := start, f.end+from
		if first >= 0 {
			a = first
		}
		if r.cut(s.text, a, b) {
			return 0, 0, false
		}
		if f.from >= 0 {
			a, b = f.from+from, f.to+from
		}
		return a, b, a < b
	}
	if !r.need.in(s.text[from:to]) {
		return 0, 0, false
	}
	loc := r.re.FindStringSubmatchIndex(s.text[from:to])
	if loc == nil {
		return 0, 0, false
	}
	a, b := loc[0]+from, loc[1]+from
	if first >= 0 {
		a = first
	}
	if r.cut(s.text, a, b) {
		return 0, 0, false
	}
	if len(loc) > 2 && loc[2] >= 0 {
		a, b = loc[2]+from, loc[3]+from
	}
	return a, b, a < b
}

// cut says whether text[a:b] is a part of something longer.
func (r *Rule) cut(text string, a, b int) bool {
	return glued(text, a) ||
		!r.glued && b < len(text) && isWordByte(text[b]) && isWordByte(text[b-1]) && !again(text, a, b)
}

// again says whether what begins with a prefix is followed by another of its kind,
// without anything between: ghp_…ghp_…
func again(text string, a, b int) bool {
	i := a
	for i < b && i-a < 8 && isAlnum(text[i]) {
		i++
	}
	if i == b || i-a < 2 || i-a == 8 {
		return false
	}
	prefix := text[a : i+1]
	return strings.HasPrefix(text[b:], prefix) || b-len(prefix)+1 > i && text[b-len(prefix)+1:b+1] == prefix
}

// glued says whether a value that begins at a place is the end of something longer.
func glued(text string, at int) bool {
	return at > 0 && isWordByte(text[at-1]) && isWordByte(text[at]) && !escapeEnds(text, at)
}

// escapeEnds says whether an escape ends at a place: the \n, \t and \u0022 of JSON
// inside of a string, %3D of a URL, the sequence that sets a terminal's colour.
func escapeEnds(text string, at int) bool {
	switch c := text[at-1]; {
	case at > 1 && text[at-2] == '\\' && strings.IndexByte("nrtbf0", c) >= 0:
		return true
	case at > 2 && text[at-3] == '%' && isHex(c) && isHex(text[at-2]):
		return true
	case c == 'm':
		i := at - 2
		for i >= 0 && at-i < 12 && (isDigit(text[i]) || text[i] == ';') {
			i--
		}
		return i > 0 && text[i] == '[' && text[i-1] == 0x1b
	case isHex(c) && at > 5 && text[at-6] == '\\' && text[at-5] == 'u':
		return isHex(text[at-2]) && isHex(text[at-3]) && isHex(text[at-4])
	}
	return false
}

func isWordByte(c byte) bool { return isAlnum(c) || c == '_' }

// emit takes text[start:end] for the rule's data, as surely as the rule says.
func (s *scanner) emit(r *Rule, start, end int) { s.emitAs(r, start, end, r.conf) }

// emitAs is emit with the confidence that the matcher has without context.
func (s *scanner) emitAs(r *Rule, start, end int, conf Confidence) {
	if end-start > maxValue && !r.long {
		return
	}
	value := s.text[start:end]
	if !r.accepts(value) {
		return
	}
	if r.alone > conf && s.alone(start, end) {
		conf = r.alone
	}
	if r.contextConf > conf && s.context(r, start, end) {
		conf = r.contextConf
	}
	if conf == None {
		return
	}
	rank := uint8(conf)
	if r.checked {
		rank += 4
	}
	s.found = append(s.found, match{
		start: uint32(start), end: uint32(end), rule: r.index, conf: conf, rank: rank, hash: maphash.String(s.e.seed, value),
	})
}

// alone says whether there is nothing but text[start:end] in the text, apart
// from spaces and punctuation: the value of a field needs no word that says
// what it is as much as one inside of a sentence.
func (s *scanner) alone(start, end int) bool {
	if len(s.text)-(end-start) > 8 {
		return false
	}
	return !strings.ContainsFunc(s.text[:start], isWordRune) && !strings.ContainsFunc(s.text[end:], isWordRune)
}

func isWordRune(r rune) bool { return r >= 0x80 || isAlnum(byte(r)) }

// context says whether a word of the rule's context stands near text[start:end].
func (s *scanner) context(r *Rule, start, end int) bool {
	return r.group >= 0 && s.near(r.group, start, end, r.Context.Before, r.Context.After)
}

// near says whether a word of a group stands at most before bytes before start
// or at most after bytes after end.
func (s *scanner) near(group, start, end, before, after int) bool {
	from, to := max(0, start-before), min(len(s.text), end+after)
	for c := max(0, from-maxKeyword) / chunkBytes; c <= to/chunkBytes; c++ {
		k := &s.chunks[c%maxChunks]
		if k.index != c+1 {
			s.fill(k, c)
		}
		if !k.groups.has(group) {
			continue
		}
		for _, h := range k.hits {
			if !s.e.contexts[h.keyword].has(group) {
				continue
			}
			if int(h.end) <= start && int(h.end) >= from || int(h.start) >= end && int(h.start) <= to {
				return true
			}
		}
	}
	return false
}

// Words of context are looked for in chunks of the text, each once, when
// something in or near it needs them: most text has nothing that does.
const (
	chunkBytes = 512
	// maxChunks is how many are kept: those of a block and around it.
	maxChunks = 64
)

type chunk struct {
	index  int // plus one
	hits   []hit
	groups bitset // of any of the words
}

// groupsAround are the groups that may have a word near a value that begins about
// at a place.
func (s *scanner) groupsAround(at int) bitset {
	if at == s.aroundAt {
		return s.around
	}
	s.aroundAt = at
	from, to := max(0, at-s.e.reach)/chunkBytes, min(len(s.text), at+s.e.reach)/chunkBytes
	if from == s.aroundFrom && to == s.aroundTo {
		return s.around
	}
	s.aroundFrom, s.aroundTo = from, to
	clear(s.around)
	for c := from; c <= to; c++ {
		k := &s.chunks[c%maxChunks]
		if k.index != c+1 {
			s.fill(k, c)
		}
		s.around.add(k.groups)
	}
	return s.around
}

// fill looks for the words of context whose rarest bytes are in a chunk.
func (s *scanner) fill(c *chunk, index int) {
	s.chunked = true
	c.index = index + 1
	from := index * chunkBytes
	c.hits = s.e.around.keywordsIn(s.text, from, min(from+chunkBytes, len(s.text)), c.hits[:0], s.sig.blocks[:chunkBytes/sweep.Size])
	clear(c.groups)
	for _, h := range c.hits {
		c.groups.add(s.e.contexts[h.keyword])
	}
}

// settle accepts matches that start before end: of those that overlap the one
// that was validated, then the longest, then the surest.
func (s *scanner) settle(end int, last bool) {
	if len(s.found) == 0 {
		return
	}
	slices.SortFunc(s.found, func(a, b match) int {
		return cmp.Or(cmp.Compare(a.start, b.start), cmp.Compare(b.end, a.end))
	})
	kept := s.found[:0]
	for i := 0; i < len(s.found); {
		// a cluster of matches that overlap
		j, reach := i+1, s.found[i].end
		for j < len(s.found) && s.found[j].start < reach && j-i < maxCluster {
			reach = max(reach, s.found[j].end)
			j++
		}
		if !last && int(reach) > end && j-i < maxCluster {
			kept = append(kept, s.found[i:]...)
			break
		}
		s.resolve(s.found[i:j])
		i = j
	}
	s.found = kept
}

// maxCluster bounds how many matches that overlap are judged together, so that a text
// in which each overlaps the next is no heap that grows.
const maxCluster = 256

// resolve accepts from a cluster of overlapping matches.
func (s *scanner) resolve(cluster []match) {
	if len(cluster) > 1 {
		order := slices.Clone(cluster)
		slices.SortStableFunc(order, func(a, b match) int {
			ra, rb := s.e.rules[a.rule], s.e.rules[b.rule]
			return cmp.Or(
				cmp.Compare(rb.priority, ra.priority),
				cmp.Compare(b.rank&4, a.rank&4),
				cmp.Compare(b.end-b.start, a.end-a.start),
				cmp.Compare(b.rank, a.rank),
			)
		})
		chosen := cluster[:0]
		var taken []match
		for _, m := range order {
			if !slices.ContainsFunc(taken, func(t match) bool { return m.start < t.end && t.start < m.end }) {
				taken = append(taken, m)
			}
		}
		chosen = append(chosen, taken...)
		slices.SortFunc(chosen, func(a, b match) int { return cmp.Compare(a.start, b.start) })
		cluster = chosen
	}
	for _, m := range cluster {
		s.accept(m)
	}
}

func (s *scanner) accept(m match) {
	p := &s.part
	if len(p.matches) < maxMatches {
		p.matches = append(p.matches, m)
	}
	i := slices.IndexFunc(p.counts, func(c ruleCount) bool { return c.rule == m.rule })
	if i < 0 {
		i = len(p.counts)
		p.counts = append(p.counts, ruleCount{rule: m.rule})
	}
	c := &p.counts[i]
	c.count++
	c.conf = max(c.conf, m.conf)
	if m.conf >= Medium {
		c.sure++
	}
}

// inspect looks for attacks in the whole text and in what it hides.
func (s *scanner) inspect() {
	if !s.e.inject {
		return
	}
	slices.SortFunc(s.ahits, func(a, b injection.Hit) int { return cmp.Compare(a.End, b.End) })
	in := injection.Inspect(s.text, s.ahits, &s.places, injectionOrigin[s.seg.Origin], s.e.injectionHits)
	for _, f := range in.Findings {
		s.part.flag(f.Flag)
	}
	for _, f := range in.Obfuscation {
		s.part.flag(f)
	}
	s.part.truncated = s.part.truncated || in.Truncated
	if padded(s.text, in.Findings) || s.seg.Origin != Output && repeats(s.text) {
		s.part.flag(FlagContextOverflow)
	}
}

func (p *partResult) flag(f string) {
	if f != "" && !slices.Contains(p.flags, f) {
		p.flags = append(p.flags, f)
	}
}

var injectionOrigin = [...]injection.Origin{
	User: injection.User, System: injection.System, Assistant: injection.Assistant, Tool: injection.Tool, Output: injection.Output,
}

// injectionHits finds the keywords of package injection in a text that was
// derived from another.
func (e *Engine) injectionHits(text string) []injection.Hit {
	var sig signals
	var out []injection.Hit
	for _, h := range e.pre.scan(text, 0, len(text), nil, &sig) {
		if k := e.roles[h.keyword].injection; k > 0 && len(out) < maxInjectionHits {
			out = append(out, injection.Hit{Keyword: k - 1, End: int(h.end)})
		}
	}
	slices.SortFunc(out, func(a, b injection.Hit) int { return cmp.Compare(a.End, b.End) })
	return out
}

// finish drops rules that weren't found often enough, sums up and returns a copy.
func (s *scanner) finish() *partResult {
	p := &s.part
	if len(p.counts) == 0 && len(p.flags) == 0 && !p.truncated {
		return nothing
	}
	few := func(rule uint16) bool {
		least := s.e.rules[rule].MinCount
		return least > 1 && slices.ContainsFunc(p.counts, func(c ruleCount) bool { return c.rule == rule && int(c.count) < least })
	}
	p.matches = slices.DeleteFunc(p.matches, func(m match) bool { return few(m.rule) })
	p.counts = slices.DeleteFunc(p.counts, func(c ruleCount) bool { return few(c.rule) })
	for _, c := range p.counts {
		if s.e.rules[c.rule].Category == CategorySecret && c.conf >= Medium {
			p.secret = true
		}
	}
	slices.SortStableFunc(p.matches, func(a, b match) int { return cmp.Compare(a.start, b.start) })
	return &partResult{
		matches: slices.Clip(slices.Clone(p.matches)), counts: slices.Clip(slices.Clone(p.counts)), flags: slices.Clip(slices.Clone(p.flags)),
		secret: p.secret, truncated: p.truncated,
	}
}
