package identity

import (
	"crypto/sha256"
	"slices"
	"strings"
	"sync"

	"github.com/google/uuid"
	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/claudeaudit/claudeaudit/internal/audit"
	"github.com/claudeaudit/claudeaudit/internal/conversation"
	"github.com/claudeaudit/claudeaudit/internal/genai"
)

// Signals of an observation's carrier.
const (
	SignalSpan = "span"
	SignalLog  = "log"
)

// Observation is what one span or log record, or several of one request
// together, tell of a call.
type Observation struct {
	Record audit.Record
	// Content goes to the content store with the entry; empty when none is told.
	Content Encoded
	// Conversation is what Content encodes, also where Content is left out for want
	// of room. It is to be read only, and not to be kept.
	Conversation conversation.Conversation
	// Carrier is the place, in the request, of the span or log record that the
	// observation rides on.
	Carrier int
	// Own is true when the observation is of the carrier's own call, and is
	// written to its attributes; others ride beside it.
	Own bool
}

// Result is what a request tells.
type Result struct {
	// EventIDs holds, for each item of the request, the event_id of its call;
	// Nil for those that belong to none.
	EventIDs     []uuid.UUID
	Observations []Observation
}

var results = sync.Pool{New: func() any { return new(Result) }}

// maxKept is how many observations an idle result has room for.
const maxKept = 1024

// Release gives the result's memory back; it is not to be used after that.
func (r *Result) Release() {
	if cap(r.Observations) > maxKept || cap(r.EventIDs) > maxKept {
		return
	}
	clear(r.Observations)
	results.Put(&Result{EventIDs: r.EventIDs[:0], Observations: r.Observations[:0]})
}

// Resolve finds the calls of the items of one export request, in the order in
// which they stand in it, and makes the observations. The items stay the
// caller's, and so does the memory of their content; texts may be kept until their
// call is complete.
func (w *Window) Resolve(items []Item, signal string) Result {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.begin()
	b := batch{w: w, items: items, signal: signal, res: *results.Get().(*Result)}
	b.res.EventIDs = slices.Grow(b.res.EventIDs, len(items))[:len(items)]
	clear(b.res.EventIDs)
	w.expire()
	if signal == SignalSpan {
		for i := range items {
			w.addNode(&items[i])
		}
	}
	for i := range items {
		in := &items[i]
		switch {
		case in.Gateway != nil:
			b.gateway(i, in)
		case in.Kind == genai.KindCall:
			b.call(i, in)
		case in.Kind == genai.KindPart && isClaudeCode(in):
			b.claudeCodePart(i, in)
		case in.Kind == genai.KindPart:
			b.part(i, in)
		case in.Kind == genai.KindUncorrelated:
			b.uncorrelated(i, in)
		case in.Kind == genai.KindContext && isClaudeCode(in):
			b.claudeCodeInteraction(i, in)
		}
	}
	b.joinParts()
	if signal == SignalSpan {
		b.context()
	}
	return b.res
}

// batch is the state of one Resolve.
type batch struct {
	w      *Window
	items  []Item
	signal string
	res    Result
	// copied is how many bytes of content the request's observations repeat.
	copied int64
	// joined are the calls that single messages of this request belong to, with
	// the place of the last of them.
	joined   []joinedCall
	joinedAt map[*call]int // place in joined
	// places is where each span stands in the request, made when it is needed.
	places map[spanRef]int
}

// maxCopied bounds the content that one request's observations repeat, in
// bytes: a prompt is kept with each call of its turn, and a turn can have many. Beyond
// it a call has the prompt's hash; the turn's first call has the content.
const maxCopied = 8 << 20

// copyOf is the content to repeat in another observation, as far as there is room.
func (b *batch) copyOf(e Encoded) Encoded {
	if n := e.size(); b.copied+n <= maxCopied {
		b.copied += n
		return e
	}
	return Encoded{PromptHash: e.PromptHash, ResponseHash: e.ResponseHash}
}

type joinedCall struct {
	c    *call
	last int
	// parts are those of this request: the call may have to let go of them
	// before the request's end.
	parts []part
}

func isClaudeCode(in *Item) bool { return isClaudeCodeDialect(in.Dialect) }

func isClaudeCodeDialect(dialect string) bool {
	return dialect == genai.DialectClaudeCodeEvents || dialect == genai.DialectClaudeCodeTraces
}

// isNative tells whether the scope is that of Anthropic's own SDKs.
func isNative(scope string) bool { return strings.HasPrefix(scope, "com.anthropic.sdk") }

// ownsSpan tells whether the item's span id is that of the call's own span. A
// Claude Code event has the ids of whatever span was open around it.
func (b *batch) ownsSpan(in *Item) bool {
	return !in.SpanID.IsEmpty() && !in.TraceID.IsEmpty() && !(b.signal == SignalLog && isClaudeCode(in))
}

func (b *batch) source(in *Item) source {
	s := source{
		scope: name(in.Scope), app: name(in.Who.Application), model: name(in.RequestModel),
		response: name(in.ResponseID), request: name(in.RequestID),
		start: nanos(in.Start), end: nanos(in.End), sequence: in.Sequence, half: name(in.Half),
		failed: in.Failed, log: b.signal == SignalLog, native: isNative(in.Scope),
	}
	if b.ownsSpan(in) {
		s.trace, s.span, s.parent = in.TraceID, in.SpanID, in.ParentSpanID
	}
	return s
}

// own adds the observation that the item at i is of its own call.
func (b *batch) own(i int, in *Item, id uuid.UUID, ctx *context) *Observation {
	b.res.EventIDs[i] = id
	o := b.observe(id, in, in.Encoded, i, ctx)
	o.Own = true
	return o
}

// retell adds an observation of what in tells of another call as well.
func (b *batch) retell(id uuid.UUID, in *Item, carrier int) *Observation {
	return b.observe(id, in, b.copyOf(in.Encoded), carrier, &context{})
}

// observe adds an observation of what in tells of a call, with the caller that
// in and the ancestors of its span name. It stays where it is until the next
// one is added: it is large, and made in its place.
func (b *batch) observe(id uuid.UUID, in *Item, content Encoded, carrier int, ctx *context) *Observation {
	if len(b.res.Observations) == 0 {
		// As a rule one of each item that isn't around a call.
		n := 0
		for i := range b.items {
			if k := b.items[i].Kind; k != genai.KindNone && k != genai.KindContext {
				n++
			}
		}
		b.res.Observations = slices.Grow(b.res.Observations, n)
	}
	b.res.Observations = append(b.res.Observations, Observation{Content: content, Conversation: in.Content, Carrier: carrier})
	o := &b.res.Observations[len(b.res.Observations)-1]
	setRecord(&o.Record, id, in, b.signal)
	tellWho(&o.Record, &in.Who, ctx)
	return o
}

// call resolves a telling of a whole call.
func (b *batch) call(i int, in *Item) {
	src := b.source(in)
	c := b.find(in, &src)
	if c == nil {
		c = b.w.newCall(callID(in, &src))
	} else {
		b.w.touch(c)
	}
	first := !b.w.anySource(c, func(s *source) bool {
		return s.log == src.log && s.scope == src.scope && s.trace == src.trace && s.span == src.span && s.sequence == src.sequence
	})
	if first {
		b.w.addSource(c, src)
		b.w.bindIDs(c, in.ResponseID, in.RequestID)
		if in.Half != "" {
			b.w.list(c, in.halfKey())
		}
		for _, id := range in.QuotedRequestIDs {
			b.w.bind(c, makeKey("request", id))
		}
	}
	if src.span.IsEmpty() && src.request == 0 && src.response == 0 {
		b.w.bind(c, anonymousKey(in))
	}
	c.told = true

	var ctx context
	if b.signal == SignalSpan {
		b.w.ancestors(in.TraceID, in.ParentSpanID, &ctx)
	} else if !in.SpanID.IsEmpty() {
		from := in.SpanID // a Claude Code event: the span around it
		if b.ownsSpan(in) {
			from = b.w.parentOf(in.TraceID, in.SpanID)
		}
		b.w.ancestors(in.TraceID, from, &ctx)
	}
	var t *turn
	if isClaudeCode(in) && in.PromptID != "" && b.signal == SignalLog {
		t = b.enterTurn(c, in, true, i)
	}
	o := b.own(i, in, c.id, &ctx)
	if t != nil {
		b.tellPrompt(o, t, c, in)
	}
	if first {
		c.own.add(&o.Record)
	}
	if isClaudeCode(in) && b.signal == SignalSpan {
		if n := b.w.nodeOf[spanRef{in.TraceID, in.ParentSpanID}]; n != 0 && b.w.nodes.at(n).prompt {
			b.tellChildren(i, b.w.prompts[n].item)
		}
	}
}

func (w *Window) parentOf(id pcommon.TraceID, span pcommon.SpanID) pcommon.SpanID {
	if n := w.node(id, span); n != nil {
		return n.parent
	}
	return pcommon.SpanID{}
}

func (r *ranks) add(rec *audit.Record) {
	if better(rec.Source.UserRank, r.user) {
		r.user = rec.Source.UserRank
	}
	if better(rec.Source.SessionRank, r.session) {
		r.session = rec.Source.SessionRank
	}
	if rec.IPAddress != "" {
		r.address = 1
	}
	if rec.Department != "" {
		r.department = 1
	}
	if rec.AgentName != "" {
		r.agent = 1
	}
}

// callID derives the event_id from the best identity that the first telling has.
func callID(in *Item, src *source) uuid.UUID {
	switch {
	case !src.span.IsEmpty():
		return eventID("span", spanKey(src.trace, src.span))
	case in.RequestID != "":
		return eventID("request", makeKey("request", in.RequestID))
	case in.ResponseID != "":
		return eventID("response", makeKey("response", in.ResponseID))
	}
	return eventID("anonymous", anonymousKey(in))
}

// anonymousKey names a call that has no id at all by what is told of it.
func anonymousKey(in *Item) key {
	if in.PromptID != "" {
		return makeKey("sequence", in.Who.Session, in.PromptID, sequenceText(in.Sequence))
	}
	d := digest(in)
	return makeKey("digest", string(d[:]))
}

// find looks for the call that another telling has opened.
func (b *batch) find(in *Item, src *source) *call {
	w := b.w
	if !src.span.IsEmpty() {
		if c := w.find(spanKey(src.trace, src.span)); c != nil {
			return c
		}
	}
	if in.ResponseID != "" {
		if c := w.find(makeKey("response", in.ResponseID)); c != nil && !w.retold(c, src) && w.near(c, src) {
			return c
		}
	}
	if c := b.findRequest(in.RequestID, src); c != nil {
		return c
	}
	for _, id := range in.QuotedRequestIDs {
		if c := b.findRequest(id, src); c != nil {
			return c
		}
	}
	if src.span.IsEmpty() {
		if c := w.find(anonymousKey(in)); c != nil {
			return c
		}
		return b.claimPending(in)
	}
	if in.Half != "" {
		for c := range w.callsUnder(in.halfKey()) {
			if w.otherHalf(c, src) {
				return c
			}
		}
	}
	if !src.parent.IsEmpty() {
		if c := w.find(spanKey(src.trace, src.parent)); c != nil && w.twin(c, src) {
			return c
		}
	}
	var best *call
	for c := range w.callsUnder(spanKey(src.trace, src.span)) {
		if w.twin(c, src) && (best == nil || w.lastEnd(c) > w.lastEnd(best)) {
			best = c
		}
	}
	if best != nil {
		return best
	}
	if !src.parent.IsEmpty() {
		for c := range w.callsUnder(spanKey(src.trace, src.parent)) {
			if w.sibling(c, src) {
				return c
			}
		}
	}
	return nil
}

// retold tells whether the same instrumentation of the same application has
// told this response before on another span: then it is another call, which a
// cache answered, and no twin. The two halves of a stream are one call.
func (w *Window) retold(c *call, src *source) bool {
	return w.anySource(c, func(s *source) bool {
		return s.scope == src.scope && s.app == src.app && s.log == src.log &&
			(s.span != src.span || s.trace != src.trace) && !s.span.IsEmpty() && s.half == src.half
	})
}

func (b *batch) findRequest(id string, src *source) *call {
	if id == "" {
		return nil
	}
	if c := b.w.find(makeKey("request", id)); c != nil && !b.w.contradicts(c, src) && b.w.near(c, src) {
		return c
	}
	return nil
}

// near tells whether a telling with an id in common is of about the same time
// as the call: a response that is shown again, hours later, is no twin. Clocks of
// an application and of a gateway before it may be apart.
func (w *Window) near(c *call, src *source) bool {
	if src.start == 0 || c.nSource == 0 {
		return true
	}
	return w.anySource(c, func(s *source) bool {
		return s.start == 0 || s.start <= max(src.end, src.start)+int64(clockSkew) && max(s.end, s.start) >= src.start-int64(clockSkew)
	})
}

// halfKey names what the two spans of one streamed call have in common when no
// id links them: the client, the prompt.
func halfKey(app, scope, promptHash string) key { return makeKey("half", app, scope, promptHash) }

func (in *Item) halfKey() key { return halfKey(in.Who.Application, in.Scope, in.Encoded.PromptHash) }

// otherHalf tells whether c is a call of which only the other half was told, at
// the same time.
func (w *Window) otherHalf(c *call, src *source) bool {
	return c.nSource > 0 && !w.anySource(c, func(s *source) bool {
		apart := s.start - src.start
		return s.half == 0 || s.half == src.half || max(apart, -apart) > int64(slack)
	})
}

// contradicts tells whether the two have different response ids.
func (w *Window) contradicts(c *call, src *source) bool {
	return w.anySource(c, func(s *source) bool {
		return s.response != 0 && src.response != 0 && s.response != src.response
	})
}

// compatible tells whether nothing speaks against c and src being one call:
// another instrumentation, no different ids, the same outcome.
func (w *Window) compatible(c *call, src *source) bool {
	if !c.told || w.contradicts(c, src) {
		return false
	}
	return !w.anySource(c, func(s *source) bool {
		if s.request != 0 && src.request != 0 && s.request != src.request {
			return true
		}
		if s.scope == src.scope && s.app == src.app && s.log == src.log && (s.half == 0 || s.half == src.half) {
			return true
		}
		return !s.log && s.failed != src.failed
	})
}

// twin tells whether a call and a telling whose span is parent or child of the
// call's are one: a model call within a model call is the same call, unless it
// was one of several tries.
func (w *Window) twin(c *call, src *source) bool {
	return w.compatible(c, src) && w.anySource(c, func(s *source) bool {
		return within(s, src) || within(src, s)
	})
}

// sibling tells whether a telling under the same parent is of the same call:
// the SDK's own span beside an instrumentation's that isn't current while it
// runs, where no id links them.
func (w *Window) sibling(c *call, src *source) bool {
	return w.compatible(c, src) && w.anySource(c, func(s *source) bool {
		if s.native == src.native || s.model != 0 && src.model != 0 && s.model != src.model {
			return false
		}
		if s.native {
			return within(s, src)
		}
		return within(src, s)
	})
}

// within tells whether inner ran while outer did.
func within(inner, outer *source) bool {
	return inner.start != 0 && outer.start != 0 &&
		inner.start >= outer.start-int64(slack) && inner.end <= outer.end+int64(slack)
}

func (w *Window) lastEnd(c *call) int64 {
	var t int64
	for s := range w.sourcesOf(c) {
		t = max(t, s.end)
	}
	return t
}

// callOfSpan is the call that a span tells, opened when it isn't known yet.
func (b *batch) callOfSpan(trace pcommon.TraceID, span pcommon.SpanID) *call {
	k := spanKey(trace, span)
	if c := b.w.find(k); c != nil {
		b.w.touch(c)
		return c
	}
	c := b.w.newCall(eventID("span", k))
	b.w.bind(c, k)
	b.w.joinTrace(c, trace)
	return c
}

// part keeps a message that is told apart from its call.
func (b *batch) part(i int, in *Item) {
	if !b.ownsSpan(in) {
		b.uncorrelated(i, in)
		return
	}
	if in.OfParent {
		b.partOfParent(i, in)
		return
	}
	c := b.callOfSpan(in.TraceID, in.SpanID)
	b.res.EventIDs[i] = c.id
	p := part{in: in.Interaction, digest: digest(in)}
	j, joined := b.joinedAt[c]
	if !joined {
		if b.joinedAt == nil {
			b.joinedAt = map[*call]int{}
		}
		j = len(b.joined)
		b.joinedAt[c] = j
		b.joined = append(b.joined, joinedCall{c: c})
	}
	jc := &b.joined[j]
	jc.last = i
	if len(jc.parts) < maxParts {
		jc.parts = append(jc.parts, p)
	}
	known := b.w.partsOf(c)
	switch {
	case len(known) >= maxParts:
		c.partsLost = c.partsLost || !hasPart(known, p.digest)
	case !hasPart(known, p.digest):
		p.in.Content = in.Content.Clone()
		b.w.hold(c, p, in.Encoded.size())
	}
}

func hasPart(parts []part, digest [16]byte) bool {
	return slices.ContainsFunc(parts, func(p part) bool { return p.digest == digest })
}

// partOfParent is a span that tells more of its parent's call.
func (b *batch) partOfParent(i int, in *Item) {
	c := b.callOfSpan(in.TraceID, in.ParentSpanID)
	b.w.bind(c, spanKey(in.TraceID, in.SpanID))
	b.w.bindIDs(c, in.ResponseID, "")
	b.own(i, in, c.id, &context{})
}

// all is what the call holds, and what it no longer holds of this request.
func (jc *joinedCall) all(w *Window) []part {
	held := w.partsOf(jc.c)
	if len(held) >= len(jc.parts) && !jc.c.partsLost {
		return held
	}
	own := make([]part, 0, len(jc.parts))
	seen := make(map[[16]byte]bool, len(jc.parts))
	for _, p := range jc.parts {
		if !seen[p.digest] {
			seen[p.digest] = true
			own = append(own, p)
		}
	}
	var all []part // in the order of arrival
	for _, p := range held {
		if !seen[p.digest] {
			all = append(all, p)
		}
	}
	return append(all, own...)
}

// joinParts makes one observation of all messages that are known of a call.
func (b *batch) joinParts() {
	for _, jc := range b.joined {
		c := jc.c
		parts := jc.all(b.w)
		ins := make([]genai.Interaction, len(parts))
		digests := make([][16]byte, len(parts))
		for i, p := range parts {
			ins[i], digests[i] = p.in, p.digest
		}
		whole := NewItem(genai.Join(ins))
		o := b.observe(c.id, &whole, whole.Encoded, jc.last, &context{})
		o.Own = true
		o.Record.Source.Digest = digestOf(digests)
		o.Record.Source.Parts = len(parts)
		if c.partsLost {
			o.Record.Source.Parts, o.Record.Source.Rank = 0, rankLost
			if o.Record.Content.Prompt == string(genai.ContentFull) {
				o.Record.Content.Prompt = string(genai.ContentPartial)
			}
		}
		// Messages are told while the call runs; its end is told by the answer.
		o.Record.Status = audit.StatusInitiated
		if len(whole.Content.Output) > 0 || whole.StopReason != "" {
			o.Record.Status = audit.StatusSuccess
		}
	}
}

// uncorrelated is content of some call; it is kept as an activity of its own.
func (b *batch) uncorrelated(i int, in *Item) {
	o := b.own(i, in, uuid.Nil, &context{})
	d := digestBytes(o.Record.Source.Digest)
	o.Record.EventID = eventID("digest", makeKey("digest", string(d[:])))
	o.Record.Kind = audit.KindActivity
	b.res.EventIDs[i] = o.Record.EventID
}

// context tells the calls of the request's traces of a user, session or address
// on one of their ancestors, when the request brought that span or one that
// leads to it.
func (b *batch) context() {
	var seen map[pcommon.TraceID]bool
	for i := range b.items {
		id := b.items[i].TraceID
		t := b.w.traceOf[id]
		if t == 0 || b.w.traces.at(t).nCalls == 0 || seen[id] {
			continue
		}
		b.contextOf(b.w.traces.at(t))
		if i+1 < len(b.items) {
			if seen == nil {
				seen = map[pcommon.TraceID]bool{}
			}
			seen[id] = true
		}
	}
}

// fewItems is up to how many items a search through them needs no index.
const fewItems = 16

type spanRef struct {
	trace pcommon.TraceID
	span  pcommon.SpanID
}

// place is where a span stands in the request, -1 when it doesn't.
func (b *batch) place(trace pcommon.TraceID, span pcommon.SpanID) int {
	if len(b.items) <= fewItems {
		for i := range b.items {
			if b.items[i].SpanID == span && b.items[i].TraceID == trace {
				return i
			}
		}
		return -1
	}
	if b.places == nil {
		b.places = make(map[spanRef]int, len(b.items))
		for i := range b.items {
			b.places[spanRef{b.items[i].TraceID, b.items[i].SpanID}] = i
		}
	}
	if i, ok := b.places[spanRef{trace, span}]; ok {
		return i
	}
	return -1
}

func (b *batch) contextOf(t *trace) {
	id := t.id
	var ctx context
	for c := range b.w.callsOf(t) {
		ctx = context{way: ctx.way[:0]}
		for s := range b.w.sourcesOf(c) {
			if s.trace == id && !s.log {
				b.w.ancestors(id, s.parent, &ctx)
			}
		}
		rec := audit.Record{EventID: c.id, Kind: audit.KindInteraction}
		rec.Source = audit.Source{Dialect: DialectContext, Signal: b.signal, Evidence: genai.EvidenceClientAsserted, Rank: rankContext}
		carrier := -1
		// take tells whether the value is news, and has its span carry it, or the
		// span that leads to it.
		take := func(o origin) bool {
			for j := o.to - 1; j >= o.from; j-- {
				if i := b.place(id, ctx.way[j]); i >= 0 {
					carrier = i
					return true
				}
			}
			return false
		}
		var from [5]pcommon.SpanID
		if better(ctx.who.UserRank, c.own.user) && take(ctx.user) {
			rec.UserID, rec.Source.UserRank, rec.IdentityAssurance = ctx.who.User, ctx.who.UserRank, audit.AssuranceAsserted
			from[0] = ctx.span(ctx.user)
		}
		if better(ctx.who.SessionRank, c.own.session) && take(ctx.session) {
			rec.SessionID, rec.Source.SessionRank = ctx.who.Session, ctx.who.SessionRank
			from[1] = ctx.span(ctx.session)
		}
		if ctx.who.Address != "" && c.own.address == 0 && take(ctx.address) {
			rec.IPAddress = ctx.who.Address
			from[2] = ctx.span(ctx.address)
		}
		if ctx.who.Department != "" && c.own.department == 0 && take(ctx.department) {
			rec.Department = ctx.who.Department
			from[3] = ctx.span(ctx.department)
		}
		if ctx.who.AgentName != "" && c.own.agent == 0 && take(ctx.agent) {
			rec.AgentName = ctx.who.AgentName
			from[4] = ctx.span(ctx.agent)
		}
		if carrier < 0 {
			continue
		}
		rec.Source.Scope = b.items[carrier].Scope
		// Of the spans that the values are from, and not of the values: a digest
		// beside a pseudonym must not let it be guessed.
		h := sha256.New()
		h.Write([]byte("context"))
		h.Write(c.id[:])
		for i := range from {
			h.Write(from[i][:])
		}
		rec.Source.Digest = hexDigest(h.Sum(nil))
		b.res.Observations = append(b.res.Observations, Observation{Record: rec, Carrier: carrier})
	}
}
