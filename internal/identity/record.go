package identity

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"math"
	"slices"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/claudeaudit/claudeaudit/internal/audit"
	"github.com/claudeaudit/claudeaudit/internal/genai"
)

// DialectContext is the dialect of an observation that only brings the user,
// session or address found on another span.
const DialectContext = "context"

// Ranks of sources: whose times, model and tokens a record takes.
const (
	rankCall    = 1 // the span or event around the whole call
	rankSecond  = 2 // the second telling of the same client
	rankNative  = 3 // the SDK's own span, inside of another
	rankEvent   = 5 // an event that has no duration
	rankPart    = 6
	rankLost    = 7 // parts of a call whose other parts are no longer at hand
	rankContext = 9
)

// halfRequest is the half of a streamed call that the response's follows.
const halfRequest = "request"

func sourceRank(in *Item, signal string) int {
	switch {
	case in.Kind == genai.KindPart || in.Kind == genai.KindUncorrelated:
		return rankPart
	case in.Dialect == genai.DialectClaudeCodeEvents:
		return rankCall
	case isClaudeCode(in) || in.Half == halfRequest:
		return rankSecond
	case signal == SignalLog:
		return rankEvent
	case isNative(in.Scope):
		return rankNative
	}
	return rankCall
}

// setRecord makes r the observation that one telling is, without the caller,
// classification and content address.
func setRecord(r *audit.Record, id uuid.UUID, in *Item, signal string) {
	*r = audit.Record{
		Kind: audit.KindInteraction, Timestamp: in.Start, ApplicationID: in.Who.Application,
		Model: in.ResponseModel, RequestModel: in.RequestModel, Provider: in.Provider, Operation: in.Operation,
		ResponseID: in.ResponseID, RequestID: in.RequestID,
		PromptTokens: in.PromptTokens, CompletionTokens: in.CompletionTokens,
		CacheReadTokens: in.CacheReadTokens, CacheWriteTokens: in.CacheWriteTokens,
		ErrorType: in.ErrorType, StopReason: in.StopReason, StopClass: in.StopClass,
		PromptHash: in.Encoded.PromptHash, ResponseHash: in.Encoded.ResponseHash,
		Content: audit.Content{Prompt: string(in.PromptCompleteness), Response: string(in.ResponseCompleteness)},
		Source: audit.Source{
			Dialect: in.Dialect, Scope: in.Scope, Evidence: in.Evidence, Signal: signal,
			PromptID: in.PromptID, Rank: sourceRank(in, signal), StopExact: in.StopExact, ErrorExact: in.ErrorTypeExact,
		},
	}
	if r.Model == "" {
		r.Model = in.RequestModel
	}
	if r.Timestamp.IsZero() {
		r.Timestamp = in.End
	}
	if in.LatencyMs != nil {
		n := int64(math.Round(*in.LatencyMs))
		r.LatencyMs = &n
	}
	if in.Kind == genai.KindCall {
		r.Status = audit.StatusSuccess
		if in.Failed {
			r.Status = audit.StatusError
		}
	} else if in.Failed {
		r.Status = audit.StatusError
	} else if len(in.Content.Output) > 0 || in.StopReason != "" {
		r.Status = audit.StatusSuccess
	}
	if in.Sequence >= 0 && isClaudeCode(in) && signal == SignalLog {
		n := in.Sequence
		r.Source.Sequence = &n
	}
	if r.RequestID == "" && len(in.QuotedRequestIDs) == 1 {
		r.RequestID = in.QuotedRequestIDs[0] // and so a restart knows it
	}
	if in.EventName != "" {
		r.Source.Events = []string{in.EventName}
	}
	if !in.TraceID.IsEmpty() && !(signal == SignalLog && isClaudeCode(in)) {
		span, parent := in.SpanID, in.ParentSpanID
		if in.OfParent {
			span, parent = in.ParentSpanID, pcommon.SpanID{}
			r.Source.Spans = []string{in.TraceID.String() + ":" + in.SpanID.String()}
		}
		ids := hexOf(in.TraceID, span, parent)
		r.TraceID = ids[:hexTrace]
		if !span.IsEmpty() {
			r.SpanID = ids[hexTrace : hexTrace+hexSpan]
		}
		if !parent.IsEmpty() {
			r.Source.ParentSpanID = ids[hexTrace+hexSpan:]
		}
	}
	for _, u := range in.Unparsed {
		r.Unparsed = append(r.Unparsed, audit.Unparsed{Key: u.Key, Bytes: int64(u.Bytes), SHA256: u.SHA256, Reason: u.Reason})
	}
	// Not of the id and the caller: a digest beside a pseudonym must not let it be
	// guessed, and what is found on other spans changes with the order of arrival.
	if in.Gateway == nil { // which has a digest of its own
		r.Source.Digest = recordDigest(r)
	}
	r.EventID, r.Department, r.AgentName = id, in.Who.Department, in.Who.AgentName
}

// setPrompt gives an observation the prompt that another event told.
func setPrompt(r *audit.Record, prompt *Item, c genai.Completeness) {
	r.PromptHash = prompt.Encoded.PromptHash
	r.Content.Prompt = string(c)
}

// tellWho sets the caller from the telling itself and from the ancestors of its
// span, whichever is the better evidence.
func tellWho(r *audit.Record, who *genai.Who, ctx *context) {
	r.UserID, r.Source.UserRank = who.User, ownRank(who.UserRank)
	if better(ctx.who.UserRank, r.Source.UserRank) {
		r.UserID, r.Source.UserRank = ctx.who.User, ctx.who.UserRank
	}
	r.SessionID, r.Source.SessionRank = who.Session, ownRank(who.SessionRank)
	if better(ctx.who.SessionRank, r.Source.SessionRank) {
		r.SessionID, r.Source.SessionRank = ctx.who.Session, ctx.who.SessionRank
	}
	if r.UserID == "" {
		r.Source.UserRank = 0
	}
	if r.SessionID == "" {
		r.Source.SessionRank = 0
	}
	r.IPAddress = who.Address
	if r.IPAddress == "" {
		r.IPAddress = ctx.who.Address
	}
	if r.Department == "" {
		r.Department = ctx.who.Department
	}
	if r.AgentName == "" {
		r.AgentName = ctx.who.AgentName
	}
	r.IdentityAssurance = audit.AssuranceNone
	if r.UserID != "" {
		r.IdentityAssurance = audit.AssuranceAsserted
	}
}

// recordDigest identifies what a telling says, so far as the record has it.
func recordDigest(r *audit.Record) string {
	buf := buffers.Get().(*[]byte)
	*buf = r.AppendBody((*buf)[:0], 0)
	sum := sha256.Sum256(*buf)
	buffers.Put(buf)
	return hexDigest(sum[:])
}

func hexDigest(sum []byte) string {
	var text [32]byte
	hex.Encode(text[:], sum[:16])
	return string(text[:])
}

const (
	hexTrace = 2 * len(pcommon.TraceID{})
	hexSpan  = 2 * len(pcommon.SpanID{})
)

// hexOf is the ids in hexadecimal digits, one after the other.
func hexOf(trace pcommon.TraceID, span, parent pcommon.SpanID) string {
	var text [hexTrace + 2*hexSpan]byte
	hex.Encode(text[:], trace[:])
	hex.Encode(text[hexTrace:], span[:])
	hex.Encode(text[hexTrace+hexSpan:], parent[:])
	return string(text[:])
}

func digest(in *Item) [16]byte {
	signal := SignalLog
	if in.EventName == "" {
		signal = SignalSpan
	}
	var r audit.Record
	setRecord(&r, uuid.Nil, in, signal)
	return digestBytes(r.Source.Digest)
}

func digestBytes(digest string) (d [16]byte) {
	_, _ = hex.Decode(d[:], []byte(digest)) // our own hex
	return d
}

// digestOf is the digest of several messages told together, in any order.
func digestOf(parts [][16]byte) string {
	slices.SortFunc(parts, func(a, b [16]byte) int { return bytes.Compare(a[:], b[:]) })
	h := sha256.New()
	for _, p := range parts {
		h.Write(p[:])
	}
	return hexDigest(h.Sum(nil))
}

// label makes the record's digest that of the same telling under a label: what
// it tells of another call, or as another kind of prompt.
func label(r *audit.Record, label string) {
	d := digestBytes(r.Source.Digest)
	h := sha256.New()
	h.Write(d[:])
	h.Write([]byte(label))
	r.Source.Digest = hexDigest(h.Sum(nil))
}

func (w *Window) firstStart(c *call) int64 {
	var t int64
	for s := range w.sourcesOf(c) {
		if t == 0 || s.start < t {
			t = s.start
		}
	}
	return t
}

// Restore rebuilds the window from an entry of the ledger; call it with the
// ledger's tail, oldest first, before the first Resolve. Content is not at
// hand any more: it was encrypted to a key that the collector doesn't have.
func (w *Window) Restore(r *audit.Record) {
	if r.Kind != audit.KindInteraction && r.Kind != audit.KindActivity || r.Source.Digest == "" {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.begin()
	k := makeKey("event", string(r.EventID[:]))
	c := w.find(k)
	if c == nil {
		c = w.newCall(r.EventID)
		w.bind(c, k)
	} else {
		w.touch(c)
	}
	if r.Source.Dialect == DialectContext {
		return
	}
	isPart := r.Source.Rank == rankPart || r.Source.Rank == rankLost
	fromClaudeCode := isClaudeCodeDialect(r.Source.Dialect)
	if fromClaudeCode && r.Source.PromptID != "" && r.Source.Sequence != nil {
		w.restoreTurn(c, r)
	}
	w.bindIDs(c, r.ResponseID, r.RequestID)
	src := source{
		scope: name(r.Source.Scope), app: name(r.ApplicationID), model: name(r.RequestModel),
		response: name(r.ResponseID), request: name(r.RequestID),
		start: nanos(r.Timestamp), sequence: -1,
		failed: r.Status == audit.StatusError, log: r.Source.Signal == SignalLog, native: isNative(r.Source.Scope),
	}
	if r.Source.Sequence != nil {
		src.sequence = *r.Source.Sequence
	}
	if r.LatencyMs != nil {
		src.end = src.start + *r.LatencyMs*int64(time.Millisecond)
	}
	trace, okTrace := decodeTrace(r.TraceID)
	span, okSpan := decodeSpan(r.SpanID)
	if okTrace && okSpan {
		w.bind(c, spanKey(trace, span))
		src.trace, src.span = trace, span
		if parent, ok := decodeSpan(r.Source.ParentSpanID); ok {
			src.parent = parent
		}
	}
	if isPart {
		if !fromClaudeCode {
			c.partsLost = true
		}
		if okTrace && okSpan {
			w.joinTrace(c, trace)
		}
		return
	}
	if r.Kind != audit.KindInteraction {
		return
	}
	c.told = true
	if r.Source.Rank == rankSecond && !fromClaudeCode {
		src.half = name(halfRequest)
		w.list(c, halfKey(r.ApplicationID, r.Source.Scope, r.PromptHash))
	}
	w.addSource(c, src)
	if src.span.IsEmpty() && src.request == 0 && src.response == 0 && r.Source.PromptID != "" {
		w.bind(c, makeKey("sequence", r.SessionID, r.Source.PromptID, sequenceText(src.sequence)))
	}
	c.own.add(r)
}

func (w *Window) restoreTurn(c *call, r *audit.Record) {
	events := r.Source.Events
	t := w.turn(r.SessionID, r.Source.PromptID)
	seq := *r.Source.Sequence
	switch {
	case slices.Contains(events, "claude_code.user_prompt"):
		k := makeKey("prompt", r.SessionID, r.Source.PromptID)
		if w.byKey[k] == 0 {
			w.bind(c, k)
			if !c.told {
				c.adopted, c.turn, c.seq = true, t.self, seq
				t.pending = append(without(t.pending, c), c.ofTurn())
			}
		}
	case slices.Contains(events, "claude_code.api_request_body"):
		w.bind(c, makeKey("body", r.SessionID, r.Source.PromptID, sequenceText(seq)))
		c.hasBody = true
		if !c.told && index(t.pending, c) < 0 {
			c.turn, c.seq = t.self, seq
			t.pending = append(t.pending, c.ofTurn())
		}
	case r.Source.Rank == rankCall:
		switch genai.Completeness(r.Content.Prompt) {
		case genai.ContentUserPromptOnly:
			c.typed = typedHere
		case genai.ContentUserPromptOfTurn:
			c.typed = typedTurn
		}
		t.enter(c, seq, true)
	case r.RequestID != "":
		t.enter(c, seq, false)
	}
}

func decodeTrace(s string) (id pcommon.TraceID, ok bool) {
	n, err := hex.Decode(id[:], []byte(s[:min(len(s), 32)]))
	return id, err == nil && n == len(id)
}

func decodeSpan(s string) (id pcommon.SpanID, ok bool) {
	n, err := hex.Decode(id[:], []byte(s[:min(len(s), 16)]))
	return id, err == nil && n == len(id)
}
