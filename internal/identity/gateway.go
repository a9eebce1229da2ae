package identity

import (
	"crypto/sha256"
	"slices"

	"github.com/google/uuid"

	"github.com/claudeaudit/claudeaudit/internal/audit"
	"github.com/claudeaudit/claudeaudit/internal/genai"
)

// gateway resolves what the gateway tells of a call that passes through it. The
// event_id is the gateway's id of the call, so no window is needed to find the call
// again; it is entered so that the application's own telemetry finds it, by the ids
// that the API gave the answer.
func (b *batch) gateway(i int, in *Item) {
	g := in.Gateway
	if g.CallID == uuid.Nil {
		return
	}
	c := b.w.gatewayCall(g.CallID, in.ResponseID, in.RequestID)
	b.res.EventIDs[i] = c.id
	if !g.Activity {
		c.told = true
		src := b.source(in)
		said := b.w.anySource(c, func(s *source) bool {
			started := s.log && s.scope == src.scope && s.span.IsEmpty()
			if started {
				*s = src // the outcome says more than the start
			}
			return started
		})
		if !said {
			b.w.addSource(c, src)
		}
	}
	o := b.own(i, in, c.id, &context{})
	r := &o.Record
	r.IdentityAssurance = g.Assurance
	r.Status = g.Status
	if g.Activity {
		r.Kind = audit.KindActivity
	}
	r.PolicyFlags = slices.Clone(g.Flags)
	r.Call = audit.Call{
		Surface: g.Surface, Ended: g.Ended, HTTPStatus: g.HTTPStatus, TTFTMs: g.TTFTMs, ResponseBytes: g.ResponseBytes,
		RequestSHA256: g.RequestSHA256, ClientKey: g.ClientKey, BatchID: g.BatchID, BatchItem: g.BatchItem,
		PolicyDecision: g.PolicyDecision, PolicyRule: g.PolicyRule, PolicyReason: g.PolicyReason,
	}
	r.Source.Digest = gatewayDigest(g)
	c.own.add(r)
}

// gatewayCall is the call that is told of, which is known by the API's ids from now on.
func (w *Window) gatewayCall(id uuid.UUID, responseID, requestID string) *call {
	k := makeKey("event", string(id[:]))
	c := w.find(k)
	if c == nil {
		c = w.newCall(id)
		w.bind(c, k)
	} else {
		w.touch(c)
	}
	w.bindIDs(c, responseID, requestID)
	return c
}

// NameCall implements genai.Namer: nothing is observed.
func (w *Window) NameCall(call uuid.UUID, responseID, requestID string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.begin()
	w.gatewayCall(call, responseID, requestID)
}

// gatewayDigest identifies a telling of the gateway's: it tells of a call once when it is
// recorded and once when it has ended, and again only what was refused.
func gatewayDigest(g *genai.Gateway) string {
	h := sha256.New()
	h.Write(g.CallID[:])
	h.Write([]byte(g.Status + "\x00" + g.Ended))
	if g.BatchID != "" {
		h.Write([]byte("\x00" + g.BatchID)) // a batch is named once it is made
	}
	return hexDigest(h.Sum(nil))
}
