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
	"container/list"
	"crypto/sha256"
	"encoding/binary"
	"hash/maphash"
	"slices"
	"strconv"
	"strings"
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

func makeKey(kind string, parts ...string) key {
	h := sha256.New()
	h.Write([]byte(kind))
	var n [8]byte
	for _, p := range parts {
		binary.BigEndian.PutUint64(n[:], uint64(len(p)))
		h.Write(n[:])
		h.Write([]byte(p))
	}
	k := key{1}
	copy(k[1:], h.Sum(nil))
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
	h := sha256.New()
	h.Write([]byte("claudeaudit.event/1\x00" + kind + "\x00"))
	h.Write(k[:])
	id := uuid.UUID(h.Sum(nil)[:16])
	id[6] = id[6]&0x0f | 0x80
	id[8] = id[8]&0x3f | 0x80
	return id
}

// source is one telling of a call, kept to tell twins from other calls. It has
// no pointers: the collector's garbage collector passes over a hundred thousand of them.
type source struct {
	scope, app, model   uint64 // name, 0 is none
	response, request   uint64
	trace               pcommon.TraceID
	span, parent        pcommon.SpanID
	start, end          int64 // Unix, ns; 0 is not known
	sequence            int64
	half                uint64
	failed, log, native bool
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

type call struct {
	id      uuid.UUID
	told    bool // the call itself was told, not only parts of it
	keys    []key
	parents []key
	sources []source
	traces  []pcommon.TraceID

	// own is what the call's own observations said of the caller when they were first made.
	own ranks

	// state is what few calls need.
	*state

	touched    int64 // Unix, ns
	prev, next *call // neighbours in the order of last telling
}

// state is of calls that are told in parts or are of a Claude Code turn.
type state struct {
	parts       []part
	partBytes   int64
	partsLost   bool // content of earlier parts is no longer at hand
	partsHeldIn *list.Element

	turn    *turn
	seq     int64
	exact   bool // seq is that of the call's own event, not of one of its answer
	hasBody bool // an api_request_body belongs to it already
	adopted bool // the event_id is that of the turn's prompt
	// typed is the completeness that the call's own observation gave the turn's
	// prompt, "" when it did not have it.
	typed genai.Completeness
}

// more makes c's state.
func (c *call) more() *state {
	if c.state == nil {
		c.state = &state{seq: -1}
	}
	return c.state
}

// ranks are the ranks of what is known of the caller; 0 is not known.
type ranks struct{ user, session, address, department, agent int }

type part struct {
	in     genai.Interaction
	digest [16]byte
}

// turn is one prompt of a Claude Code user and the calls that it led to.
type turn struct {
	key     key
	calls   []*call // claimed by a call event, by sequence
	pending []*call // opened by a prompt or a request body, not claimed yet
	prompt  *Item
	bytes   int64
	touched time.Time
	elem    *list.Element
}

type node struct {
	id, parent pcommon.SpanID
	who        *genai.Who
	prompt     *Item // of a Claude Code interaction
	bytes      int64
}

// manyNodes is from how many nodes on a trace has an index of them.
const manyNodes = 16

type trace struct {
	id      pcommon.TraceID
	nodes   []node
	index   map[pcommon.SpanID]int32 // of nodes, when there are many
	calls   []*call
	touched time.Time
	elem    *list.Element
}

func (t *trace) node(id pcommon.SpanID) *node {
	if t.index != nil {
		if i, ok := t.index[id]; ok {
			return &t.nodes[i]
		}
		return nil
	}
	for i := range t.nodes {
		if t.nodes[i].id == id {
			return &t.nodes[i]
		}
	}
	return nil
}

func (t *trace) add(n node) {
	t.nodes = append(t.nodes, n)
	switch {
	case t.index != nil:
		t.index[n.id] = int32(len(t.nodes) - 1)
	case len(t.nodes) > manyNodes:
		t.index = make(map[pcommon.SpanID]int32, 2*len(t.nodes))
		for i := range t.nodes {
			t.index[t.nodes[i].id] = int32(i)
		}
	}
}

// Window is safe for concurrent use.
type Window struct {
	opts Options

	mu       sync.Mutex
	byKey    map[key]*call
	under    map[key][]*call // calls under a parent span, or with a prompt in common
	newest   *call           // in the order of last telling
	oldest   *call
	count    int
	turns    map[key]*turn
	turnList *list.List
	traces   map[pcommon.TraceID]*trace
	traceLst *list.List
	spans    int
	held     *list.List // of *call with content, most recent first
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
		byKey: map[key]*call{}, under: map[key][]*call{},
		turns: map[key]*turn{}, turnList: list.New(),
		traces: map[pcommon.TraceID]*trace{}, traceLst: list.New(),
		held: list.New(),
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
	return Stats{Calls: w.count, Spans: w.spans, ContentBytes: w.heldSize, Evicted: w.evicted}
}

// --- calls ---

func (w *Window) newCall(id uuid.UUID, now time.Time) *call {
	c := &call{id: id, touched: now.UnixNano()}
	w.pushFront(c)
	w.count++
	for w.count > w.opts.MaxCalls {
		w.evicted++
		w.dropCall(w.oldest)
	}
	return c
}

func (w *Window) pushFront(c *call) {
	c.prev, c.next = nil, w.newest
	if w.newest != nil {
		w.newest.prev = c
	} else {
		w.oldest = c
	}
	w.newest = c
}

func (w *Window) unlink(c *call) {
	if c.prev != nil {
		c.prev.next = c.next
	} else {
		w.newest = c.next
	}
	if c.next != nil {
		c.next.prev = c.prev
	} else {
		w.oldest = c.prev
	}
	c.prev, c.next = nil, nil
}

func (w *Window) touch(c *call, now time.Time) {
	c.touched = now.UnixNano()
	w.unlink(c)
	w.pushFront(c)
}

func (w *Window) dropCall(c *call) {
	w.unlink(c)
	w.count--
	for _, k := range c.keys {
		if w.byKey[k] == c {
			delete(w.byKey, k)
		}
	}
	for _, k := range c.parents {
		if l := without(w.under[k], c); len(l) > 0 {
			w.under[k] = l
		} else {
			delete(w.under, k)
		}
	}
	for _, id := range c.traces {
		if t := w.traces[id]; t != nil {
			t.calls = without(t.calls, c)
			w.dropEmptyTrace(t)
		}
	}
	if c.state == nil {
		return
	}
	if c.turn != nil {
		c.turn.calls = without(c.turn.calls, c)
		c.turn.pending = without(c.turn.pending, c)
	}
	w.release(c)
}

func without[T comparable](s []T, v T) []T {
	if i := slices.Index(s, v); i >= 0 {
		return slices.Delete(s, i, i+1)
	}
	return s
}

// bind makes k a name of c, unless it is another call's already: a response id
// that a cache replays belongs to the call that had it first.
func (w *Window) bind(c *call, k key) {
	if w.byKey[k] == nil {
		w.byKey[k] = c
		c.keys = append(c.keys, k)
	}
}

func (w *Window) addSource(c *call, s source) {
	if len(c.sources) < maxSources {
		c.sources = append(c.sources, s)
	}
	if !s.span.IsEmpty() {
		w.bind(c, spanKey(s.trace, s.span))
		w.joinTrace(c, s.trace)
		if !s.parent.IsEmpty() && !s.log {
			w.list(c, spanKey(s.trace, s.parent))
		}
	}
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
	if l := w.under[k]; len(l) < maxPerParent && !slices.Contains(l, c) {
		w.under[k] = append(l, c)
		c.parents = append(c.parents, k)
	}
}

func (w *Window) joinTrace(c *call, id pcommon.TraceID) {
	if slices.Contains(c.traces, id) {
		return
	}
	t := w.trace(id)
	if len(t.calls) < maxCallsOfTrace {
		t.calls = append(t.calls, c)
		c.traces = append(c.traces, id)
	}
}

// --- traces ---

func (w *Window) trace(id pcommon.TraceID) *trace {
	now := w.opts.Now()
	t := w.traces[id]
	if t == nil {
		t = &trace{id: id}
		t.elem = w.traceLst.PushFront(t)
		w.traces[id] = t
	} else {
		w.traceLst.MoveToFront(t.elem)
	}
	t.touched = now
	return t
}

func (w *Window) addNode(in *Item) {
	if in.SpanID.IsEmpty() || in.TraceID.IsEmpty() {
		return
	}
	t := w.trace(in.TraceID)
	n := t.node(in.SpanID)
	if n == nil {
		if len(t.nodes) >= maxNodesOfTrace {
			return
		}
		t.add(node{id: in.SpanID, parent: in.ParentSpanID})
		n = &t.nodes[len(t.nodes)-1]
		w.spans++
	}
	if who := in.Who; n.who == nil && (who.User != "" || who.Session != "" || who.Address != "" || who.Department != "" || who.AgentName != "") {
		// Not to keep the text alive that a value may be a part of.
		who.User, who.Session, who.Address = strings.Clone(who.User), strings.Clone(who.Session), strings.Clone(who.Address)
		n.who = &who
	}
	if n.prompt == nil && isClaudeCode(in) && len(in.Content.Messages) > 0 {
		if size := in.Encoded.size(); w.heldSize+size <= w.opts.MaxContentBytes {
			n.prompt, n.bytes = kept(in), size
			w.heldSize += size
		}
	}
	for w.spans > w.opts.MaxSpans {
		oldest := w.traceLst.Back().Value.(*trace)
		if oldest == t {
			break
		}
		w.forgetNodes(oldest)
	}
}

func (w *Window) forgetNodes(t *trace) {
	w.spans -= len(t.nodes)
	for _, n := range t.nodes {
		w.heldSize -= n.bytes
	}
	t.nodes, t.index = nil, nil
	w.traceLst.MoveToFront(t.elem)
	w.dropEmptyTrace(t)
}

func (w *Window) dropEmptyTrace(t *trace) {
	if len(t.nodes) == 0 && len(t.calls) == 0 {
		delete(w.traces, t.id)
		w.traceLst.Remove(t.elem)
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
	t := w.traces[id]
	if t == nil {
		return
	}
	ctx.start = len(ctx.way)
	for depth := 0; depth < maxDepth && !parent.IsEmpty(); depth++ {
		n := t.node(parent)
		if n == nil {
			return
		}
		ctx.way = append(ctx.way, parent)
		if n.who != nil {
			ctx.add(n.who)
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

func (w *Window) hold(c *call, p part, size int64) {
	c.more()
	if c.partBytes+size > maxPartBytes {
		c.partsLost = true
		w.release(c)
	}
	c.parts = append(c.parts, p)
	c.partBytes += size
	w.heldSize += size
	if c.partsHeldIn == nil {
		c.partsHeldIn = w.held.PushFront(c)
	} else {
		w.held.MoveToFront(c.partsHeldIn)
	}
	for w.heldSize > w.opts.MaxContentBytes && w.held.Len() > 0 {
		oldest := w.held.Back().Value.(*call)
		if oldest == c && w.held.Len() == 1 {
			return // one call alone: its request is bounded by the receiver
		}
		oldest.partsLost = true
		w.release(oldest)
	}
}

func (w *Window) release(c *call) {
	w.heldSize -= c.partBytes
	c.parts, c.partBytes = nil, 0
	if c.partsHeldIn != nil {
		w.held.Remove(c.partsHeldIn)
		c.partsHeldIn = nil
	}
}

// --- expiry ---

func (w *Window) expire(now time.Time) {
	limit := now.Add(-w.opts.TTL)
	for w.oldest != nil && w.oldest.touched < limit.UnixNano() {
		w.dropCall(w.oldest)
	}
	for e := w.turnList.Back(); e != nil; e = w.turnList.Back() {
		t := e.Value.(*turn)
		if !t.touched.Before(limit) && w.turnList.Len() <= w.opts.MaxCalls {
			break
		}
		w.dropTurn(t)
	}
	for e := w.traceLst.Back(); e != nil && e.Value.(*trace).touched.Before(limit); e = w.traceLst.Back() {
		t := e.Value.(*trace)
		t.touched = now // what is left has calls, and goes with them
		w.forgetNodes(t)
	}
}

func (w *Window) turn(session, prompt string, now time.Time) *turn {
	k := makeKey("turn", session, prompt)
	t := w.turns[k]
	if t == nil {
		t = &turn{key: k}
		t.elem = w.turnList.PushFront(t)
		w.turns[k] = t
	} else {
		w.turnList.MoveToFront(t.elem)
	}
	t.touched = now
	return t
}

// enter makes c one of the turn's calls. The events of an answer come after
// their call's own and before the next call's, so that any of them gives the
// call's place among the others.
func (t *turn) enter(c *call, seq int64, exact bool) {
	t.pending = without(t.pending, c)
	c.more()
	switch {
	case !slices.Contains(t.calls, c):
		if len(t.calls) >= maxCallsOfTurn {
			return
		}
		t.calls = append(t.calls, c)
		c.turn, c.seq, c.exact = t, seq, exact
	case exact && !c.exact || exact == c.exact && seq < c.seq:
		c.seq, c.exact = seq, exact
	default:
		return
	}
	slices.SortStableFunc(t.calls, func(a, b *call) int { return cmp.Compare(a.seq, b.seq) })
}

func (w *Window) dropTurn(t *turn) {
	for _, c := range t.calls {
		c.turn = nil
	}
	for _, c := range t.pending {
		c.turn = nil
	}
	w.heldSize -= t.bytes
	delete(w.turns, t.key)
	w.turnList.Remove(t.elem)
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
