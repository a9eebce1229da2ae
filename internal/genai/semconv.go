package genai

import (
	"strings"

	"github.com/claudeaudit/claudeaudit/internal/conversation"
	"github.com/claudeaudit/claudeaudit/internal/jcs"
)

// semconv reads the message attributes of the GenAI conventions, which are JSON
// text on spans and structured on log events, in each case either.
func (r *reader) semconv() {
	c := &r.it.Content
	if v := r.content(keySystemInstructions, &r.prompt); v.Kind() != jcs.KindInvalid {
		c.System = r.system(v)
	} else if r.a.has(keySystemInstructions) && r.plainSystem() {
		// Traceloop's agents have it as plain text, which was noted as unparsed.
		c.System = []conversation.Part{conversation.Text(r.a.text(keySystemInstructions))}
	}
	c.Messages = r.promptMessages(r.content(keyInputMessages, &r.prompt), keyInputMessages)
	c.Output = r.outputMessages(r.content(keyOutputMessages, &r.answer), keyOutputMessages)
	if len(c.System) > 0 {
		c.Messages = withoutRepeatedSystem(c.System, c.Messages)
	}
	if r.a.yes(keyTruncated) {
		r.prompt.truncated = !r.prompt.empty()
		r.answer.truncated = !r.answer.empty()
	}
	if r.it.Scope == scopeTraceloopChain {
		for i := range c.Messages {
			c.Messages[i].Parts = withoutRepeatedCalls(c.Messages[i].Parts, r.mem)
		}
		for i := range c.Output {
			c.Output[i].Parts = withoutRepeatedCalls(c.Output[i].Parts, r.mem)
		}
	}
}

// plainSystem takes back that the system instructions could not be read, when
// they are a text that was never meant to be JSON.
func (r *reader) plainSystem() bool {
	s := strings.TrimSpace(r.a.text(keySystemInstructions))
	n := len(r.it.Unparsed)
	if s == "" || s[0] == '[' || s[0] == '{' || n == 0 || r.it.Unparsed[n-1].Reason != reasonInvalidJSON {
		return false
	}
	r.it.Unparsed = r.it.Unparsed[:n-1]
	r.prompt.unparsed = false
	r.prompt.told++
	return true
}

// system reads system instructions: an array of parts, messages with parts
// (LiteLLM), or a text.
func (r *reader) system(v jcs.Value) []conversation.Part {
	m := r.messages(&r.prompt)
	switch v.Kind() {
	case jcs.KindArray:
		var parts []conversation.Part
		if n := v.Len(); n > 0 {
			parts = r.mem.parts.Take(min(n, maxAhead))[:0]
		}
		for _, e := range v.Elems() {
			if e.Get("parts").Kind() == jcs.KindArray {
				for _, p := range e.Get("parts").Elems() {
					parts = m.part(parts, p)
				}
				continue
			}
			parts = m.part(parts, e)
		}
		return parts
	case jcs.KindString, jcs.KindObject:
		return m.part(r.mem.parts.Take(1)[:0], v)
	}
	r.wrongShape(keySystemInstructions, &r.prompt)
	return nil
}

func (r *reader) promptMessages(v jcs.Value, k key) []conversation.Message {
	return r.readMessages(v, k, &r.prompt)
}

func (r *reader) outputMessages(v jcs.Value, k key) []conversation.Message {
	out := r.readMessages(v, k, &r.answer)
	for i := range out {
		if out[i].Role == "" {
			out[i].Role = conversation.RoleAssistant
		}
	}
	return out
}

func (r *reader) readMessages(v jcs.Value, k key, s *side) []conversation.Message {
	if v.Kind() == jcs.KindInvalid || v.IsNull() {
		return nil
	}
	m := r.messages(s)
	out, ok := m.list(v)
	if !ok {
		r.wrongShape(k, s)
		return nil
	}
	if m.over {
		r.tooLarge(k, s)
	}
	return out
}

func (r *reader) wrongShape(k key, s *side) {
	if r.a.has(k) {
		r.unparsed(keyNames[k], r.a.known[k], reasonWrongShape, s)
	}
}

func (r *reader) tooLarge(k key, s *side) {
	if r.a.has(k) {
		r.unparsed(keyNames[k], r.a.known[k], ReasonTooLarge, s)
	}
}

// withoutRepeatedSystem drops system messages at the head of a prompt that say
// what its system instructions say.
func withoutRepeatedSystem(system []conversation.Part, messages []conversation.Message) []conversation.Message {
	i, n := 0, 0
	for n < len(messages) && messages[n].Role == conversation.RoleSystem {
		for _, p := range messages[n].Parts {
			if i >= len(system) || p.Type != conversation.PartText || !p.Value.SameStr(system[i].Value) {
				return messages
			}
			i++
		}
		n++
	}
	if i != len(system) {
		return messages
	}
	return messages[n:]
}

// withoutRepeatedCalls drops texts that are the JSON of a tool_use block that the
// message also has as a tool call, as Traceloop's LangChain instrumentation
// writes them.
func withoutRepeatedCalls(parts []conversation.Part, mem *memory) []conversation.Part {
	var calls callSet
	for i := range parts {
		if parts[i].Type == conversation.PartToolCall {
			calls.add(parts[i].ID)
		}
	}
	if len(calls) == 0 {
		return parts
	}
	repeated := func(p conversation.Part) bool {
		if p.Type != conversation.PartText {
			return false
		}
		text := p.Text()
		if !strings.HasPrefix(text, "{") || !strings.Contains(text, `"tool_use"`) {
			return false
		}
		v, reason := parse(text, mem)
		if reason != "" || v.Get("type").Str() != "tool_use" {
			return false
		}
		_, ok := calls[v.Get("id").Str()]
		return ok
	}
	var out []conversation.Part
	for i, p := range parts {
		if repeated(p) {
			if out == nil {
				out = append(make([]conversation.Part, 0, len(parts)), parts[:i]...)
			}
			continue
		}
		if out != nil {
			out = append(out, p)
		}
	}
	if out == nil {
		return parts
	}
	return out
}
