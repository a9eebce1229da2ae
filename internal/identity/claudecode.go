package identity

import (
	"cmp"
	"slices"
	"time"

	"github.com/claudeaudit/claudeaudit/internal/audit"
	"github.com/claudeaudit/claudeaudit/internal/genai"
)

// Claude Code tells a call in several log events. Those of the answer carry the
// request id; the prompt and the request body come before it is known, and are
// tied to the call by the turn (prompt.id) and their place in it (event.sequence).

// tellPrompt adds what the user typed to the observation of one of the turn's calls.
func (b *batch) tellPrompt(o *Observation, t *turn, c *call, in *Item) {
	if t.hasPrompt() && !c.adopted && len(in.Content.Messages) == 0 {
		prompt := b.copyOf(t.prompt.Encoded)
		o.Content.System, o.Content.Input = prompt.System, prompt.Input
		o.Conversation.System, o.Conversation.Messages = t.prompt.Content.System, t.prompt.Content.Messages
		if c.typed == typedNone {
			c.typed = promptOf(t, c)
		}
		setPrompt(&o.Record, t.prompt, c.typed.completeness())
	}
}

// enterTurn makes c one of the calls of the event's turn. Calls that come later
// in the turn may have been told first, as if they were the turn's first.
func (b *batch) enterTurn(c *call, in *Item, exact bool, carrier int) *turn {
	t := b.w.turn(in.Who.Session, in.PromptID)
	t.enter(c, in.Sequence, exact)
	if t.hasPrompt() && len(t.calls) > 1 && t.calls[0].call == c {
		for _, later := range t.calls[1:] {
			b.retellPrompt(t, later.call, carrier)
		}
	}
	return t
}

func promptOf(t *turn, c *call) typed {
	if len(t.calls) > 0 && t.calls[0].call != c {
		return typedTurn
	}
	return typedHere
}

// retellPrompt makes an observation of what the user typed for a call of the turn.
func (b *batch) retellPrompt(t *turn, c *call, carrier int) {
	if c.typed == promptOf(t, c) {
		return // its own observation has it
	}
	o := b.retell(c.id, t.prompt, carrier)
	setPrompt(&o.Record, t.prompt, promptOf(t, c).completeness())
	o.Record.Kind = audit.KindInteraction
	o.Record.Status = ""
	label(&o.Record, o.Record.Content.Prompt)
}

// claimPending is the call that a prompt or a request body of the turn opened
// for the event to tell the rest of; nil when there is none.
func (b *batch) claimPending(in *Item) *call {
	if !isClaudeCode(in) || in.PromptID == "" {
		return nil
	}
	r := b.w.turnOf[makeKey("turn", in.Who.Session, in.PromptID)]
	if r == 0 {
		return nil
	}
	t := b.w.turns.at(r)
	t.forget()
	var c *call
	for _, p := range t.pending {
		if p.seq < in.Sequence && (c == nil || p.seq > c.seq) {
			c = p.call
		}
	}
	if c != nil {
		t.pending = without(t.pending, c)
	}
	return c
}

// claudeCodePart is an event that tells a part of a call.
func (b *batch) claudeCodePart(i int, in *Item) {
	switch {
	case in.EventName == "claude_code.user_prompt":
		b.userPrompt(i, in)
	case in.RequestID != "":
		b.answerPart(i, in)
	case in.EventName == "claude_code.api_request_body" && in.PromptID != "":
		b.requestBody(i, in)
	default:
		b.uncorrelated(i, in)
	}
}

// answerPart is an event of the answer: assistant_response, api_response_body,
// api_refusal.
func (b *batch) answerPart(i int, in *Item) {
	k := makeKey("request", in.RequestID)
	c := b.w.find(k)
	if c == nil {
		if c = b.claimPending(in); c == nil {
			c = b.w.newCall(eventID("request", k))
		}
		b.w.bind(c, k)
	} else {
		b.w.touch(c)
	}
	b.w.bindIDs(c, in.ResponseID, "")
	if in.PromptID != "" {
		b.enterTurn(c, in, false, i)
	}
	b.own(i, in, c.id, &context{})
}

// userPrompt is what the user typed. It belongs to every call of the turn, and
// opens the first one when none is known.
func (b *batch) userPrompt(i int, in *Item) {
	if in.PromptID == "" {
		b.uncorrelated(i, in)
		return
	}
	t := b.w.turn(in.Who.Session, in.PromptID)
	b.w.setPrompt(t, in)
	k := makeKey("prompt", in.Who.Session, in.PromptID)
	c := b.w.find(k)
	if c == nil && len(t.calls) > 0 {
		c = t.calls[0].call
	}
	if c == nil && len(t.pending) > 0 {
		c = t.pending[0].call
	}
	if c == nil {
		c = b.w.newCall(eventID("prompt", k))
		c.adopted, c.turn, c.seq = true, t.self, in.Sequence
		t.pending = append(t.pending, c.ofTurn())
	} else {
		b.w.touch(c)
	}
	b.w.bind(c, k)
	o := b.own(i, in, c.id, &context{})
	if len(in.Content.Messages) > 0 {
		setPrompt(&o.Record, in, genai.ContentUserPromptOnly)
	}
	o.Record.Kind = audit.KindActivity
	o.Record.Status = audit.StatusInitiated
	label(&o.Record, o.Record.Content.Prompt)
	if t.hasPrompt() {
		for _, later := range t.calls {
			if later.call != c {
				b.retellPrompt(t, later.call, i)
			}
		}
	}
}

// requestBody is the body of the request that the next call event of the turn
// tells of.
func (b *batch) requestBody(i int, in *Item) {
	t := b.w.turn(in.Who.Session, in.PromptID)
	k := makeKey("body", in.Who.Session, in.PromptID, sequenceText(in.Sequence))
	c := b.w.find(k)
	if c == nil {
		for _, next := range t.calls { // by sequence
			if next.seq > in.Sequence && !next.hasBody {
				c = next.call
				break
			}
		}
	}
	if c == nil {
		for _, p := range t.pending {
			if !p.hasBody && p.seq < in.Sequence {
				c = p.call
			}
		}
	}
	if c == nil {
		c = b.w.newCall(eventID("body", k))
		c.turn, c.seq = t.self, in.Sequence
		t.pending = append(t.pending, c.ofTurn())
	} else {
		b.w.touch(c)
	}
	c.hasBody = true
	b.w.bind(c, k)
	o := b.own(i, in, c.id, &context{})
	o.Record.Kind = audit.KindActivity
	o.Record.Status = audit.StatusInitiated
}

// claudeCodeInteraction is the span around the calls of a prompt; it has what
// the user typed.
func (b *batch) claudeCodeInteraction(i int, in *Item) {
	if len(in.Content.Messages) == 0 || in.SpanID.IsEmpty() {
		return
	}
	b.tellChildren(i, in)
}

// tellChildren tells the calls under an interaction what its user typed.
func (b *batch) tellChildren(carrier int, in *Item) {
	children := slices.Collect(b.w.callsUnder(spanKey(in.TraceID, in.SpanID)))
	slices.SortStableFunc(children, func(x, y *call) int { return cmp.Compare(b.w.firstStart(x), b.w.firstStart(y)) })
	for n, c := range children {
		o := b.retell(c.id, in, carrier)
		how := typedHere
		if n > 0 {
			how = typedTurn
		}
		setPrompt(&o.Record, in, how.completeness())
		o.Record.Kind, o.Record.Status = audit.KindInteraction, ""
		o.Record.Timestamp, o.Record.LatencyMs = time.Unix(0, b.w.firstStart(c)).UTC(), nil
		o.Record.SpanID, o.Record.Source.ParentSpanID = "", ""
		o.Record.Source.Rank = rankPart
		label(&o.Record, c.id.String()+o.Record.Content.Prompt)
	}
}
