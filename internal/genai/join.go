package genai

import (
	"slices"
	"strings"

	"github.com/claudeaudit/claudeaudit/internal/conversation"
)

// Join puts together what several parts (KindPart) tell of one call: per-message
// events, or the events of Claude Code around a call. They are taken in the
// order of their times, those of the same time in the order given. The result is a
// part itself. Parts of several calls must not be given together; which belong
// together the caller knows by their trace and span id, or by the prompt id, the
// request id and the sequence. A part that is there twice, as after a redelivery, counts once.
func Join(parts []Interaction) Interaction {
	parts = slices.Clone(parts)
	slices.SortStableFunc(parts, func(a, b Interaction) int {
		if a.Sequence >= 0 && b.Sequence >= 0 && a.Sequence != b.Sequence {
			return int(min(max(a.Sequence-b.Sequence, -1), 1))
		}
		return a.End.Compare(b.End)
	})
	if len(parts) == 0 {
		return Interaction{Kind: KindNone, Sequence: -1, PromptCompleteness: ContentNone, ResponseCompleteness: ContentNone}
	}
	out := parts[0]
	out.Kind = KindPart
	out.Content = conversation.Conversation{}
	out.Unparsed = nil
	j := joiner{out: &out, results: map[string]struct{}{}}
	seen := map[partKey]struct{}{}
	for i := range parts {
		if k := keyOf(&parts[i]); k.redelivered(seen) {
			continue
		}
		j.scalars(&parts[i])
		if parts[i].Dialect == DialectClaudeCodeEvents || parts[i].Dialect == DialectClaudeCodeTraces {
			j.claudeCode(&parts[i])
		} else {
			j.message(&parts[i])
		}
	}
	out.PromptCompleteness = j.prompt.completeness()
	if out.PromptCompleteness == ContentFull && resultWithoutCall(out.Content.Messages) {
		out.PromptCompleteness = ContentPartial
	}
	out.ResponseCompleteness = j.answer.completeness()
	return out
}

// partKey tells a part from others of its call.
type partKey struct {
	event, prompt, answer string
	end, sequence         int64
}

func keyOf(p *Interaction) partKey {
	k := partKey{event: p.EventName, sequence: p.Sequence}
	if !p.End.IsZero() {
		k.end = p.End.UnixNano()
	}
	if p.Content.HasPrompt() {
		k.prompt = conversation.PromptHash(p.Content.System, p.Content.Messages)
	}
	if p.Content.HasOutput() {
		k.answer = conversation.ResponseHash(p.Content.Output)
	}
	return k
}

// redelivered reports whether the same part was there before. Without a time
// nothing tells a message that was said twice from one that was sent twice.
func (k partKey) redelivered(seen map[partKey]struct{}) bool {
	if k.end == 0 {
		return false
	}
	n := len(seen)
	seen[k] = struct{}{}
	return len(seen) == n
}

type joiner struct {
	out            *Interaction
	prompt, answer joined
	results        map[string]struct{} // ids of the tool results that are there
}

// joined is the completeness of one side of what was put together.
type joined struct {
	any   bool // a part spoke of this side
	worst Completeness
	none  bool // a part had nothing of it
}

// severity orders completenesses that messages of one side can have.
var severity = map[Completeness]int{
	ContentFull: 1, ContentTextOnly: 2, ContentPartial: 3, ContentTruncated: 4, ContentUnparsed: 5,
}

func (j *joined) add(c Completeness) {
	j.any = true
	if c == ContentNone || c == "" {
		j.none = true
		return
	}
	if severity[c] > severity[j.worst] {
		j.worst = c
	}
}

func (j *joined) completeness() Completeness {
	switch {
	case j.worst == "":
		return ContentNone
	case j.none && severity[j.worst] < severity[ContentPartial]:
		return ContentPartial
	}
	return j.worst
}

// message adds a per-message event.
func (j *joiner) message(p *Interaction) {
	if p.silent {
		return
	}
	c := &j.out.Content
	switch {
	case p.EventName == eventChoice || p.EventName == eventContentCompletion:
		j.answer.add(p.ResponseCompleteness)
		j.output(p)
		return
	case messageEvents[p.EventName] == "" && p.EventName != eventContentPrompt:
		j.whole(p)
		return
	}
	if len(p.Content.System) > 0 && len(c.Messages) > 0 {
		// A system message in the middle of a conversation stays where it is.
		c.Messages = append(c.Messages, conversation.Message{Role: conversation.RoleSystem, Parts: p.Content.System})
	} else {
		c.System = append(c.System, p.Content.System...)
	}
	repeated := false
	for _, m := range p.Content.Messages {
		// botocore sends a tool result twice, as an event of its own and within the
		// message that brought it.
		if id, ok := resultID(m); ok {
			if _, seen := j.results[id]; seen {
				repeated = true
				continue
			}
			j.results[id] = struct{}{}
		}
		c.Messages = append(c.Messages, m)
	}
	if !repeated || len(p.Content.Messages) > 1 {
		j.prompt.add(p.PromptCompleteness)
	}
}

// whole adds a part that tells the prompt, the answer or both in whole.
func (j *joiner) whole(p *Interaction) {
	c := &j.out.Content
	if severity[p.PromptCompleteness] > 0 {
		j.prompt.add(p.PromptCompleteness)
		c.System, c.Messages = p.Content.System, p.Content.Messages
	}
	if severity[p.ResponseCompleteness] > 0 {
		j.answer.add(p.ResponseCompleteness)
		c.Output = p.Content.Output
	}
}

func resultID(m conversation.Message) (string, bool) {
	if len(m.Parts) != 1 || m.Parts[0].Type != conversation.PartToolCallResponse || m.Parts[0].ID == "" {
		return "", false
	}
	return m.Parts[0].ID, true
}

// output adds a choice. Traceloop makes one of each block of the answer.
func (j *joiner) output(p *Interaction) {
	c := &j.out.Content
	for _, m := range p.Content.Output {
		if n := len(c.Output); n > 0 && strings.HasPrefix(p.Scope, scopeTraceloop) {
			c.Output[n-1].Parts = append(slices.Clip(c.Output[n-1].Parts), m.Parts...)
			continue
		}
		c.Output = append(c.Output, m)
	}
}

// claudeCode adds an event of Claude Code: a whole body is better than the text
// of it, and what the user typed is better than nothing.
func (j *joiner) claudeCode(p *Interaction) {
	c := &j.out.Content
	switch p.PromptCompleteness {
	case ContentFull, ContentPartial:
		j.prompt = joined{any: true, worst: p.PromptCompleteness}
		c.System, c.Messages = p.Content.System, p.Content.Messages
	case ContentTruncated, ContentUnparsed:
		if j.prompt.worst != ContentFull && j.prompt.worst != ContentPartial {
			j.prompt = joined{any: true, worst: p.PromptCompleteness}
		}
	case ContentUserPromptOnly, ContentUserPromptOfTurn:
		if j.prompt.worst == "" {
			j.prompt = joined{any: true, worst: p.PromptCompleteness}
		}
		if len(c.Messages) == 0 {
			c.Messages = p.Content.Messages
		}
	}
	switch p.ResponseCompleteness {
	case ContentFull, ContentPartial:
		j.answer = joined{any: true, worst: p.ResponseCompleteness}
		c.Output = p.Content.Output
	case ContentTextOnly, ContentTruncated, ContentUnparsed:
		if j.answer.worst == "" || j.answer.worst == ContentTruncated || j.answer.worst == ContentUnparsed {
			j.answer = joined{any: true, worst: p.ResponseCompleteness}
		}
		if len(c.Output) == 0 {
			c.Output = p.Content.Output
		}
	}
}

// scalars takes over what the first part that knows it says.
func (j *joiner) scalars(p *Interaction) {
	out := j.out
	out.Unparsed = append(out.Unparsed, p.Unparsed...)
	for _, s := range []struct {
		dst *string
		src string
	}{
		{&out.ResponseID, p.ResponseID},
		{&out.RequestID, p.RequestID},
		{&out.PromptID, p.PromptID},
		{&out.Provider, p.Provider},
		{&out.Operation, p.Operation},
		{&out.RequestModel, p.RequestModel},
		{&out.ResponseModel, p.ResponseModel},
		{&out.Who.Application, p.Who.Application},
		{&out.Who.Address, p.Who.Address},
		{&out.Who.AgentName, p.Who.AgentName},
		{&out.Who.Department, p.Who.Department},
	} {
		if *s.dst == "" {
			*s.dst = s.src
		}
	}
	out.Who.user(p.Who.User, p.Who.UserRank)
	out.Who.session(p.Who.Session, p.Who.SessionRank)
	if p.StopReason != "" && (out.StopReason == "" || p.StopExact && !out.StopExact) {
		out.StopReason, out.StopExact, out.StopClass = p.StopReason, p.StopExact, p.StopClass
	}
	if p.Failed {
		out.Failed = true
		if out.ErrorType == "" {
			out.ErrorType, out.ErrorTypeExact = p.ErrorType, p.ErrorTypeExact
		}
	}
	for _, id := range p.QuotedRequestIDs {
		if len(out.QuotedRequestIDs) < maxQuotes && !contains(out.QuotedRequestIDs, id) {
			out.QuotedRequestIDs = append(out.QuotedRequestIDs, id)
		}
	}
	for _, n := range []struct{ dst, src **int64 }{
		{&out.PromptTokens, &p.PromptTokens},
		{&out.CompletionTokens, &p.CompletionTokens},
		{&out.CacheReadTokens, &p.CacheReadTokens},
		{&out.CacheWriteTokens, &p.CacheWriteTokens},
	} {
		if *n.dst == nil {
			*n.dst = *n.src
		}
	}
	if p.End.After(out.End) {
		out.End = p.End
	}
}
