// Package identity finds out which tellings are of the same call. A call of a
// model is told by one or two spans and by any number of log events, in any
// order, across export requests and after a restart; the Window gives all of
// them one event_id, finds the user, session and address on other spans of the
// trace, and gathers what single messages and prompts are told apart.
//
// The Window never holds back an observation because it has seen it before:
// the ledger may have refused it. It makes the same observation with the same
// digest again, and the ledger's writer drops what it already has.
package identity

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"hash/maphash"
	"iter"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/claudeaudit/claudeaudit/internal/genai"
)

// Options bound a Window. The zero value of a field means its default.
type Options struct {
	// MaxCalls is the number of calls kept; default 100,000, about 1 KB each.
	MaxCalls int
	// MaxSpans is the number of other spans kept for their user, session and
	// address; default 100,000, about 200 bytes each.
	MaxSpans int
	// MaxContentBytes bounds the content of single messages and prompts that
	// wait for the rest of their call; default 64 MiB.
	MaxContentBytes int64
	// TTL is how long a call or span is kept after it was last told of;
	// default 24 h.
	TTL time.Duration
	// Now is the clock; default time.Now.
	Now func() time.Time
}

const (
	maxSources      = 8  // tellings of one call that are kept to compare with
	maxPerParent    = 32 // calls kept under one parent span
	maxDepth        = 64 // ancestors looked at
	maxNodesOfTrace = 10_000
	maxCallsOfTrace = 10_000
	maxParts        = 4_096 // message events of one call
	maxPartBytes    = 32 << 20
	maxCallsOfTurn  = 1_024
)

// slack is how far the clocks of two spans of one call may be apart.
const slack = time.Second

// clockSkew is how far the clocks of two hosts that tell of one call may be apart.
const clockSkew = 2 * time.Minute

// key names a call by one of its identities: a byte that says which kind, then
// trace and span id, or 24 bytes of a SHA-256. No client can make one that
// collides with another's.
type key [25]byte

// maxKeyText is how long the names of a key may be together for it to be made without
// memory of its own.
const maxKeyText = 256

func makeKey(kind string, parts ...string) key {
	b := append(make([]byte, 0, maxKeyText), kind...)
	for _, p := range parts {
		b = binary.BigEndian.AppendUint64(b, uint64(len(p)))
		b = append(b, p...)
	}
	sum := sha256.Sum256(b)
	k := key{1}
	copy(k[1:], sum[:])
	return k
}

func spanKey(trace pcommon.TraceID, span pcommon.SpanID) key {
	var k key
	copy(k[1:], trace[:])
	copy(k[17:], span[:])
	return k
}

// eventID derives a call's event_id, a version 8 UUID (RFC 9562), from the
// identity that it was first told by.
func eventID(kind string, k key) uuid.UUID {
	b := append(make([]byte, 0, maxKeyText), "claudeaudit.event/1\x00"...)
	b = append(append(b, kind...), 0)
	sum := sha256.Sum256(append(b, k[:]...))
	id := uuid.UUID(sum[:16])
	id[6] = id[6]&0x0f | 0x80
	id[8] = id[8]&0x3f | 0x80
	return id
}

// source is one telling of a call, kept to tell twins from other calls.
type source struct {
	scope, app, model   uint64 // name, 0 is none
	response, request   uint64
	trace               pcommon.TraceID
	span, parent        pcommon.SpanID
	start, end          int64 // Unix, ns; 0 is not known
	sequence            int64
	half                uint64
	failed, log, native bool

	next ref // of its call
}

var nameSeed = maphash.MakeSeed()

// name is a number for a string, 0 for "": enough to compare strings by within
// one process, and not to be foreseen by who sends them.
func name(s string) uint64 {
	if s == "" {
		return 0
	}
	return max(maphash.String(nameSeed, s), 1)
}

func nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

// call is a call in the window. A pointer to one is good until the request's end, also
// when it leaves the window before.
type call struct {
	links
	self ref
	// life tells the calls apart that were in this place one after the other.
	life    uint64
	id      uuid.UUID
	touched int64 // Unix, ns
	told    bool  // the call itself was told, not only parts of it

	// own is what the call's own observations said of the caller when they were first made.
	own ranks

	keys    ref // its names
	parents ref // the keys that it is listed under
	sources ref // in the order told
	nSource int
	traces  ref // memberships

	held      ref  // content of parts
	partsLost bool // content of earlier parts is no longer at hand

	// Of a call of a Claude Code turn.
	turn    ref
	seq     int64
	exact   bool // seq is that of the call's own event, not of one of its answer
	hasBody bool // an api_request_body belongs to it already
	adopted bool // the event_id is that of the turn's prompt
	// typed is the completeness that the call's own observation gave the turn's
	// prompt, typedNone when it did not have it.
	typed typed
}

// ranks are the ranks of what is known of the caller; 0 is not known.
type ranks struct{ user, session, address, department, agent int }

// typed is a completeness that what the user typed can have as the prompt of a call.
type typed uint8

const (
	typedNone typed = iota
	typedHere       // for this call
	typedTurn       // for an earlier call of the turn
)

func (t typed) completeness() genai.Completeness {
	return [...]genai.Completeness{"", genai.ContentUserPromptOnly, genai.ContentUserPromptOfTurn}[t]
}

// named is a key of a call: one of its names, or one that it is listed under.
type named struct {
	key  key
	next ref // of the call
}

// listed is a call under a key that several calls can share.
type listed struct{ call, next ref }

// listing is the calls under a key.
type listing struct {
	first, last ref
	n           int32
}

// member is a call of a trace.
type member struct {
	call, trace   ref
	newer, older  ref // of the trace
	nextOfTheCall ref
}

// held is the content of a call's parts.
type held struct {
	links
	call  ref
	parts []part
	bytes int64
}

type part struct {
	in     genai.Interaction
	digest [16]byte
}

// turn is one prompt of a Claude Code user and the calls that it led to.
type turn struct {
	links
	self    ref
	key     key
	calls   []turnCall // claimed by a call event, by sequence
	pending []turnCall // opened by a prompt or a request body, not claimed yet
	prompt  *Item
	bytes   int64
	touched int64
}

// turnCall is a call as a turn remembers it: it may have left the window since.
type turnCall struct {
	*call
	life uint64
}

func (c *call) ofTurn() turnCall { return turnCall{c, c.life} }

// node is a span.
type node struct {
	spanRef
	parent pcommon.SpanID
	who    ref  // what it says of the caller
	prompt bool // there is one of it in prompts
	next   ref  // of the trace
}

// caller is what a span says of who called, in one text.
type caller struct {
	text string
	// Where the user, the session, the address and the department end; the agent's
	// name is the rest.
	ends                  [4]int
	userRank, sessionRank int
}

func callerOf(who *genai.Who) caller {
	c := caller{userRank: who.UserRank, sessionRank: who.SessionRank}
	b := append(make([]byte, 0, maxKeyText), who.User...)
	c.ends[0] = len(b)
	b = append(b, who.Session...)
	c.ends[1] = len(b)
	b = append(b, who.Address...)
	c.ends[2] = len(b)
	b = append(b, who.Department...)
	c.ends[3] = len(b)
	c.text = string(append(b, who.AgentName...))
	return c
}

func (c *caller) who() genai.Who {
	return genai.Who{
		User: c.text[:c.ends[0]], UserRank: c.userRank,
		Session: c.text[c.ends[0]:c.ends[1]], SessionRank: c.sessionRank,
		Address: c.text[c.ends[1]:c.ends[2]], Department: c.text[c.ends[2]:c.ends[3]], AgentName: c.text[c.ends[3]:],
	}
}

// heldPrompt is what the user typed, as the span of a Claude Code interaction tells it.
type heldPrompt struct {
	item  *Item
	bytes int64
}

type trace struct {
	links
	id          pcommon.TraceID
	nodes       ref
	nNodes      int
	first, last ref // members
	nCalls      int
	touched     int64
}

// Window is safe for concurrent use.
type Window struct {
	opts Options

	mu      sync.Mutex
	now     int64 // Unix, ns
	calls   lru[call, *call]
	dead    []ref // calls that left the window since the request began
	lives   uint64
	keys    table[named]
	sources table[source]
	byKey   map[key]ref // calls

	under  map[key]listing // calls under a parent span, or with a prompt in common
	listed table[listed]

	turns  lru[turn, *turn]
	turnOf map[key]ref

	traces  lru[trace, *trace]
	traceOf map[pcommon.TraceID]ref
	members table[member]
	nodes   table[node]
	nodeOf  map[spanRef]ref
	callers table[caller]
	prompts map[ref]heldPrompt // by node

	held     lru[held, *held]
	heldSize int64
	evicted  int64
}

// New makes an empty window.
func New(o Options) *Window {
	if o.MaxCalls <= 0 {
		o.MaxCalls = 100_000
	}
	if o.MaxSpans <= 0 {
		o.MaxSpans = 100_000
	}
	if o.MaxContentBytes <= 0 {
		o.MaxContentBytes = 64 << 20
	}
	if o.TTL <= 0 {
		o.TTL = 24 * time.Hour
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Window{
		opts:  o,
		byKey: map[key]ref{}, under: map[key]listing{}, turnOf: map[key]ref{},
		traceOf: map[pcommon.TraceID]ref{}, nodeOf: map[spanRef]ref{}, prompts: map[ref]heldPrompt{},
	}
}

// Stats is the size of a window.
type Stats struct {
	Calls, Spans int
	ContentBytes int64
	Evicted      int64 // calls that left before their TTL, because of MaxCalls
}

// Stats tells how full the window is.
func (w *Window) Stats() Stats {
	w.mu.Lock()
	defer w.mu.Unlock()
	return Stats{Calls: w.calls.count, Spans: w.nodes.len(), ContentBytes: w.heldSize, Evicted: w.evicted}
}

// begin starts a request or the restoring of an entry.
func (w *Window) begin() {
	w.now = w.opts.Now().UnixNano()
	for _, r := range w.dead {
		w.calls.remove(r)
	}
	w.dead = w.dead[:0]
}

// --- calls ---

func (w *Window) newCall(id uuid.UUID) *call {
	r, c := w.calls.add()
	w.lives++
	*c = call{self: r, life: w.lives, id: id, touched: w.now, seq: -1}
	w.calls.push(r)
	for w.calls.count > w.opts.MaxCalls {
		w.evicted++
		w.dropCall(w.calls.at(w.calls.oldest))
	}
	return c
}

func (w *Window) touch(c *call) {
	c.touched = w.now
	w.calls.touch(c.self)
}

// find is the call with a name, nil when there is none.
func (w *Window) find(k key) *call {
	if r := w.byKey[k]; r != 0 {
		return w.calls.at(r)
	}
	return nil
}

// dropCall takes a call out of the window. Its place is used again after the request: a
// pointer to it may be at hand.
func (w *Window) dropCall(c *call) {
	w.calls.unlink(c.self)
	w.dead = append(w.dead, c.self)
	for r := c.keys; r != 0; {
		n := w.keys.at(r)
		if w.byKey[n.key] == c.self {
			delete(w.byKey, n.key)
		}
		r = w.freeNamed(r)
	}
	for r := c.parents; r != 0; {
		w.unlist(c, w.keys.at(r).key)
		r = w.freeNamed(r)
	}
	for r := c.sources; r != 0; {
		next := w.sources.at(r).next
		w.sources.remove(r)
		r = next
	}
	for r := c.traces; r != 0; {
		m := *w.members.at(r)
		w.leave(r)
		w.dropEmptyTrace(m.trace)
		r = m.nextOfTheCall
	}
	c.keys, c.parents, c.sources, c.nSource, c.traces = 0, 0, 0, 0, 0
	if c.turn != 0 {
		t := w.turns.at(c.turn)
		t.calls, t.pending = without(t.calls, c), without(t.pending, c)
	}
	c.life = 0 // for the other turns that have it
	w.release(c)
}

func (w *Window) freeNamed(r ref) (next ref) {
	next = w.keys.at(r).next
	w.keys.remove(r)
	return next
}

// bind makes k a name of c, unless it is another call's already: a response id
// that a cache replays belongs to the call that had it first.
func (w *Window) bind(c *call, k key) {
	if w.byKey[k] == 0 {
		w.byKey[k] = c.self
		c.keys = w.addNamed(k, c.keys)
	}
}

func (w *Window) addNamed(k key, next ref) ref {
	r, n := w.keys.add()
	*n = named{k, next}
	return r
}

func (w *Window) addSource(c *call, s source) {
	if c.nSource < maxSources {
		r, n := w.sources.add()
		*n = s
		last := &c.sources
		for *last != 0 {
			last = &w.sources.at(*last).next
		}
		*last = r
		c.nSource++
	}
	if !s.span.IsEmpty() {
		w.bind(c, spanKey(s.trace, s.span))
		w.joinTrace(c, s.trace)
		if !s.parent.IsEmpty() && !s.log {
			w.list(c, spanKey(s.trace, s.parent))
		}
	}
}

// sourcesOf are the tellings of a call that are kept.
func (w *Window) sourcesOf(c *call) iter.Seq[*source] {
	return func(yield func(*source) bool) {
		for r := c.sources; r != 0; {
			s := w.sources.at(r)
			if !yield(s) {
				return
			}
			r = s.next
		}
	}
}

// anySource tells whether f is true of one of the tellings.
func (w *Window) anySource(c *call, f func(*source) bool) bool {
	for s := range w.sourcesOf(c) {
		if f(s) {
			return true
		}
	}
	return false
}

// bindIDs makes the API's ids names of c.
func (w *Window) bindIDs(c *call, responseID, requestID string) {
	if responseID != "" {
		w.bind(c, makeKey("response", responseID))
	}
	if requestID != "" {
		w.bind(c, makeKey("request", requestID))
	}
}

// list adds c to the calls under k, which several can share.
func (w *Window) list(c *call, k key) {
	l := w.under[k]
	if l.n >= maxPerParent {
		return
	}
	for r := l.first; r != 0; r = w.listed.at(r).next {
		if w.listed.at(r).call == c.self {
			return
		}
	}
	r, n := w.listed.add()
	n.call = c.self
	if l.first == 0 {
		l.first = r
	} else {
		w.listed.at(l.last).next = r
	}
	l.last = r
	l.n++
	w.under[k] = l
	c.parents = w.addNamed(k, c.parents)
}

// unlist takes c from the calls under k.
func (w *Window) unlist(c *call, k key) {
	l := w.under[k]
	for before, r := ref(0), l.first; r != 0; before, r = r, w.listed.at(r).next {
		n := *w.listed.at(r)
		if n.call != c.self {
			continue
		}
		if before == 0 {
			l.first = n.next
		} else {
			w.listed.at(before).next = n.next
		}
		if l.last == r {
			l.last = before
		}
		l.n--
		w.listed.remove(r)
		break
	}
	if l.first == 0 {
		delete(w.under, k)
	} else {
		w.under[k] = l
	}
}

// callsUnder are the calls that share k, in the order in which they were told.
func (w *Window) callsUnder(k key) iter.Seq[*call] {
	return func(yield func(*call) bool) {
		for r := w.under[k].first; r != 0; r = w.listed.at(r).next {
			if !yield(w.calls.at(w.listed.at(r).call)) {
				return
			}
		}
	}
}

// --- traces ---

func (w *Window) joinTrace(c *call, id pcommon.TraceID) {
	for r := c.traces; r != 0; r = w.members.at(r).nextOfTheCall {
		if w.traces.at(w.members.at(r).trace).id == id {
			return
		}
	}
	tr, t := w.trace(id)
	if t.nCalls >= maxCallsOfTrace {
		return
	}
	r, m := w.members.add()
	*m = member{call: c.self, trace: tr, older: t.last, nextOfTheCall: c.traces}
	if t.last == 0 {
		t.first = r
	} else {
		w.members.at(t.last).newer = r
	}
	t.last = r
	t.nCalls++
	c.traces = r
}

// leave ends a membership; its call's list of them is to be forgotten.
func (w *Window) leave(r ref) {
	m := *w.members.at(r)
	t := w.traces.at(m.trace)
	if m.newer != 0 {
		w.members.at(m.newer).older = m.older
	} else {
		t.last = m.older
	}
	if m.older != 0 {
		w.members.at(m.older).newer = m.newer
	} else {
		t.first = m.newer
	}
	t.nCalls--
	w.members.remove(r)
}

// callsOf are the calls of a trace, in the order in which they were told.
func (w *Window) callsOf(t *trace) iter.Seq[*call] {
	return func(yield func(*call) bool) {
		for r := t.first; r != 0; r = w.members.at(r).newer {
			if !yield(w.calls.at(w.members.at(r).call)) {
				return
			}
		}
	}
}

func (w *Window) trace(id pcommon.TraceID) (ref, *trace) {
	r := w.traceOf[id]
	if r == 0 {
		r, _ = w.traces.add()
		w.traces.at(r).id = id
		w.traces.push(r)
		w.traceOf[id] = r
	} else {
		w.traces.touch(r)
	}
	t := w.traces.at(r)
	t.touched = w.now
	return r, t
}

// node is a span of a trace, nil when it isn't known.
func (w *Window) node(trace pcommon.TraceID, span pcommon.SpanID) *node {
	if r := w.nodeOf[spanRef{trace, span}]; r != 0 {
		return w.nodes.at(r)
	}
	return nil
}

func (w *Window) addNode(in *Item) {
	if in.SpanID.IsEmpty() || in.TraceID.IsEmpty() {
		return
	}
	tr, t := w.trace(in.TraceID)
	id := spanRef{in.TraceID, in.SpanID}
	r := w.nodeOf[id]
	if r == 0 {
		if t.nNodes >= maxNodesOfTrace {
			return
		}
		var n *node
		r, n = w.nodes.add()
		*n = node{spanRef: id, parent: in.ParentSpanID, next: t.nodes}
		w.nodeOf[id] = r
		t.nodes = r
		t.nNodes++
	}
	n := w.nodes.at(r)
	if who := &in.Who; n.who == 0 && (who.User != "" || who.Session != "" || who.Address != "" || who.Department != "" || who.AgentName != "") {
		var c *caller
		n.who, c = w.callers.add()
		*c = callerOf(who)
	}
	if !n.prompt && isClaudeCode(in) && len(in.Content.Messages) > 0 {
		if size := in.Encoded.size(); w.heldSize+size <= w.opts.MaxContentBytes {
			n.prompt = true
			w.prompts[r] = heldPrompt{kept(in), size}
			w.heldSize += size
		}
	}
	for w.nodes.len() > w.opts.MaxSpans {
		if w.traces.oldest == tr {
			break
		}
		w.forgetNodes(w.traces.oldest)
	}
}

// forgetNodes makes the trace the newest without spans: what is left has calls, and
// goes with them.
func (w *Window) forgetNodes(tr ref) {
	t := w.traces.at(tr)
	for r := t.nodes; r != 0; {
		n := *w.nodes.at(r)
		delete(w.nodeOf, n.spanRef)
		if n.who != 0 {
			w.callers.remove(n.who)
		}
		if n.prompt {
			w.heldSize -= w.prompts[r].bytes
			delete(w.prompts, r)
		}
		w.nodes.remove(r)
		r = n.next
	}
	t.nodes, t.nNodes = 0, 0
	w.traces.touch(tr)
	w.dropEmptyTrace(tr)
}

func (w *Window) dropEmptyTrace(tr ref) {
	if t := w.traces.at(tr); t.nodes == 0 && t.nCalls == 0 {
		delete(w.traceOf, t.id)
		w.traces.unlink(tr)
		w.traces.remove(tr)
	}
}

// context is what the ancestors of a span say of the caller, and which of them.
type context struct {
	who                                       genai.Who
	user, session, address, department, agent origin
	// way are the spans that were walked over, from each of the call's spans up.
	way   []pcommon.SpanID
	start int // of the part of way that is of the span at hand
}

// origin is the span that a value is from: the last of way[from:to], which are
// the spans that lead to it from the call.
type origin struct{ from, to int }

// span is the origin's span, or none.
func (ctx *context) span(o origin) (id pcommon.SpanID) {
	if o.to > 0 {
		id = ctx.way[o.to-1]
	}
	return id
}

// ancestorRank makes the same attribute count less on an ancestor than on the
// call's own span.
func ancestorRank(rank int) int { return ownRank(rank) + 1 }

func ownRank(rank int) int {
	if rank <= 0 {
		return 0
	}
	return rank * 2
}

// ancestors walks up from a span, nearest first.
func (w *Window) ancestors(id pcommon.TraceID, parent pcommon.SpanID, ctx *context) {
	ctx.start = len(ctx.way)
	for depth := 0; depth < maxDepth && !parent.IsEmpty(); depth++ {
		n := w.node(id, parent)
		if n == nil {
			return
		}
		ctx.way = append(ctx.way, parent)
		if n.who != 0 {
			who := w.callers.at(n.who).who()
			ctx.add(&who)
		}
		parent = n.parent
	}
}

// add takes what the span that was walked to last says.
func (ctx *context) add(who *genai.Who) {
	here := origin{ctx.start, len(ctx.way)}
	if who.User != "" && better(ancestorRank(who.UserRank), ctx.who.UserRank) {
		ctx.who.User, ctx.who.UserRank, ctx.user = who.User, ancestorRank(who.UserRank), here
	}
	if who.Session != "" && better(ancestorRank(who.SessionRank), ctx.who.SessionRank) {
		ctx.who.Session, ctx.who.SessionRank, ctx.session = who.Session, ancestorRank(who.SessionRank), here
	}
	if who.Address != "" && ctx.who.Address == "" {
		ctx.who.Address, ctx.address = who.Address, here
	}
	if who.Department != "" && ctx.who.Department == "" {
		ctx.who.Department, ctx.department = who.Department, here
	}
	if who.AgentName != "" && ctx.who.AgentName == "" {
		ctx.who.AgentName, ctx.agent = who.AgentName, here
	}
}

// better tells whether rank a is to be preferred to b; 0 is no value.
func better(a, b int) bool { return a > 0 && (b == 0 || a < b) }

// --- content held ---

// partsOf are the parts of a call whose content is at hand.
func (w *Window) partsOf(c *call) []part {
	if c.held == 0 {
		return nil
	}
	return w.held.at(c.held).parts
}

func (w *Window) hold(c *call, p part, size int64) {
	if c.held != 0 && w.held.at(c.held).bytes+size > maxPartBytes || size > maxPartBytes {
		c.partsLost = true
		w.release(c)
	}
	if c.held == 0 {
		c.held, _ = w.held.add()
		w.held.at(c.held).call = c.self
		w.held.push(c.held)
	} else {
		w.held.touch(c.held)
	}
	h := w.held.at(c.held)
	h.parts = append(h.parts, p)
	h.bytes += size
	w.heldSize += size
	for w.heldSize > w.opts.MaxContentBytes && w.held.count > 0 {
		oldest := w.calls.at(w.held.at(w.held.oldest).call)
		if oldest == c && w.held.count == 1 {
			return // one call alone: its request is bounded by the receiver
		}
		oldest.partsLost = true
		w.release(oldest)
	}
}

func (w *Window) release(c *call) {
	if c.held != 0 {
		w.heldSize -= w.held.at(c.held).bytes
		w.held.unlink(c.held)
		w.held.remove(c.held)
		c.held = 0
	}
}

// --- expiry ---

func (w *Window) expire() {
	limit := w.now - int64(w.opts.TTL)
	for r := w.calls.oldest; r != 0 && w.calls.at(r).touched < limit; r = w.calls.oldest {
		w.dropCall(w.calls.at(r))
	}
	for r := w.turns.oldest; r != 0; r = w.turns.oldest {
		if w.turns.at(r).touched >= limit && w.turns.count <= w.opts.MaxCalls {
			break
		}
		w.dropTurn(r)
	}
	for r := w.traces.oldest; r != 0 && w.traces.at(r).touched < limit; r = w.traces.oldest {
		w.traces.at(r).touched = w.now
		w.forgetNodes(r)
	}
}

func (w *Window) turn(session, prompt string) *turn {
	k := makeKey("turn", session, prompt)
	r := w.turnOf[k]
	if r == 0 {
		r, _ = w.turns.add()
		*w.turns.at(r) = turn{self: r, key: k}
		w.turns.push(r)
		w.turnOf[k] = r
	} else {
		w.turns.touch(r)
	}
	t := w.turns.at(r)
	t.touched = w.now
	t.forget()
	return t
}

// forget lets go of calls that have left the window.
func (t *turn) forget() {
	left := func(c turnCall) bool { return c.call.life != c.life }
	t.calls, t.pending = slices.DeleteFunc(t.calls, left), slices.DeleteFunc(t.pending, left)
}

func without(calls []turnCall, c *call) []turnCall {
	if i := index(calls, c); i >= 0 {
		return slices.Delete(calls, i, i+1)
	}
	return calls
}

func index(calls []turnCall, c *call) int {
	return slices.IndexFunc(calls, func(x turnCall) bool { return x.call == c })
}

// enter makes c one of the turn's calls. The events of an answer come after
// their call's own and before the next call's, so that any of them gives the
// call's place among the others.
func (t *turn) enter(c *call, seq int64, exact bool) {
	t.pending = without(t.pending, c)
	switch {
	case index(t.calls, c) < 0:
		if len(t.calls) >= maxCallsOfTurn {
			return
		}
		t.calls = append(t.calls, c.ofTurn())
		c.turn, c.seq, c.exact = t.self, seq, exact
	case exact && !c.exact || exact == c.exact && seq < c.seq:
		c.seq, c.exact = seq, exact
	default:
		return
	}
	slices.SortStableFunc(t.calls, func(a, b turnCall) int { return cmp.Compare(a.seq, b.seq) })
}

func (w *Window) dropTurn(r ref) {
	t := w.turns.at(r)
	t.forget()
	for _, c := range t.calls {
		c.turn = 0
	}
	for _, c := range t.pending {
		c.turn = 0
	}
	w.heldSize -= t.bytes
	delete(w.turnOf, t.key)
	w.turns.unlink(r)
	w.turns.remove(r)
}

// hasPrompt tells whether what the user typed is known and at hand.
func (t *turn) hasPrompt() bool { return t.prompt != nil && len(t.prompt.Content.Messages) > 0 }

// kept is a copy of an item to keep: the item itself is its request's, and so is the
// memory of its content.
func kept(in *Item) *Item {
	c := *in
	c.Content = in.Content.Clone()
	return &c
}

// setPrompt keeps the turn's prompt while there is room for it.
func (w *Window) setPrompt(t *turn, in *Item) {
	size := in.Encoded.size()
	if t.prompt == nil && w.heldSize+size <= w.opts.MaxContentBytes {
		t.prompt, t.bytes = kept(in), size
		w.heldSize += size
	}
}

func sequenceText(n int64) string { return strconv.FormatInt(n, 10) }
