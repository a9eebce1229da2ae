package genai

import (
	"strings"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/claudeaudit/claudeaudit/internal/conversation"
	"github.com/claudeaudit/claudeaudit/internal/jcs"
)

// spanEvents reads the oldest form: content in events of the span, or in two
// attributes of it, each a JSON text of messages.
func (r *reader) spanEvents(span ptrace.Span) {
	for _, e := range span.Events().All() {
		name := e.Name()
		switch {
		case name == eventContentPrompt:
			r.oldPrompt(e.Attributes(), "gen_ai.prompt")
		case name == eventContentCompletion:
			r.oldCompletion(e.Attributes(), "gen_ai.completion")
		case messageEvents[name] != "":
			// The Azure clients send the per-message events as span events.
			if v, ok := e.Attributes().Get(keyNames[keyEventContent]); ok {
				body := v
				r.eventMessage(name, body)
			}
		}
	}
	if r.prompt.empty() {
		r.oldPrompt(r.a.all, "gen_ai.prompt")
	}
	if r.answer.empty() {
		r.oldCompletion(r.a.all, "gen_ai.completion")
	}
}

func (r *reader) oldPrompt(attrs pcommon.Map, name string) {
	r.it.Content.Messages = append(r.it.Content.Messages, r.oldMessages(attrs, name, conversation.RoleUser, &r.prompt)...)
}

func (r *reader) oldCompletion(attrs pcommon.Map, name string) {
	r.it.Content.Output = append(r.it.Content.Output, r.oldMessages(attrs, name, conversation.RoleAssistant, &r.answer)...)
}

// oldMessages reads "[{role, content}]", or a plain text.
func (r *reader) oldMessages(attrs pcommon.Map, name, role string, s *side) []conversation.Message {
	v, ok := attrs.Get(name)
	if !ok {
		return nil
	}
	text := strings.TrimSpace(valueText(v))
	if text != "" && text[0] != '[' && text[0] != '{' {
		if isPlaceholder(text) {
			return nil
		}
		// OpenLIT joins the messages of a prompt into one text.
		if role == conversation.RoleUser {
			s.partial = true
		} else {
			s.as = ContentTextOnly
		}
		return r.plainText(valueText(v), role, s)
	}
	parsed, reason := valueJSON(v, r.mem)
	if reason == "" && parsed.Kind() == jcs.KindInvalid {
		return nil
	}
	m := r.messages(s)
	out, ok := m.list(parsed)
	switch {
	case reason != "":
		r.unparsed(name, v, reason, s)
	case !ok:
		r.unparsed(name, v, reasonWrongShape, s)
	case m.over:
		r.unparsed(name, v, ReasonTooLarge, s)
	}
	for i := range out {
		if out[i].Role == "" || role == conversation.RoleAssistant {
			out[i].Role = role
		}
	}
	return out
}
