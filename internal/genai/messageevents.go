package genai

import (
	"strings"

	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/claudeaudit/claudeaudit/internal/conversation"
	"github.com/claudeaudit/claudeaudit/internal/jcs"
)

// messageEvent reads a log event that is one message of a call.
func (r *reader) messageEvent(body pcommon.Value) {
	if isContentEvent(r.it.EventName) && body.Type() == pcommon.ValueTypeEmpty {
		if r.it.EventName == eventContentPrompt {
			r.oldPrompt(r.a.all, "gen_ai.prompt")
		} else {
			r.oldCompletion(r.a.all, "gen_ai.completion")
		}
		return
	}
	r.eventMessage(r.it.EventName, body)
}

// eventSide returns the side that a per-message event tells of.
func (r *reader) eventSide(event string) (s *side, choice bool) {
	if event == eventChoice || event == eventContentCompletion {
		return &r.answer, true
	}
	return &r.prompt, false
}

// eventMessage reads the body of a per-message event.
func (r *reader) eventMessage(event string, body pcommon.Value) {
	s, _ := r.eventSide(event)
	// With content off the tool calls are still listed, without arguments.
	s.bareIsStripped = true
	v, reason := r.eventBody(body)
	if reason != "" {
		r.unparsed("body", body, reason, s)
		return
	}
	if v.Kind() == jcs.KindObject {
		r.eventObject(event, v)
	}
}

func (r *reader) eventObject(event string, v jcs.Value) {
	if v.Get("content").Get("tools").Kind() == jcs.KindArray {
		// Traceloop sends the definitions of tools as a message of the user.
		r.it.silent = r.it.Kind != KindCall
		return
	}
	s, choice := r.eventSide(event)
	m := r.messages(s)
	if choice {
		r.choiceEvent(&m, v)
		return
	}
	role := messageEvents[event]
	if told := v.Get("role").Str(); told != "" && role == "" {
		role = told
	}
	v = withMember(v, "role", jcs.String(role))
	if role == conversation.RoleTool {
		v = withMember(v, "tool_call_id", v.Get("id"))
	}
	msg, ok := m.message(v)
	if !ok {
		return
	}
	// openai-v2 leaves out the text beside a tool call.
	if role == conversation.RoleAssistant && strings.HasPrefix(r.it.Scope, scopeOpenAIV2) && callsWithoutText(msg) {
		s.partial = true
	}
	r.it.Content.Messages = append(r.it.Content.Messages, msg)
}

func (r *reader) choiceEvent(m *messageReader, v jcs.Value) {
	r.it.setStopReason(v.Get("finish_reason").Str())
	body := v.Get("message")
	switch body.Kind() {
	case jcs.KindString:
		body = jcs.Object([]jcs.Member{{Key: "content", Value: body}})
	case jcs.KindObject:
	default:
		body = v
	}
	if calls := v.Get("tool_calls"); calls.Kind() == jcs.KindArray {
		body = withMember(body, "tool_calls", calls)
	}
	msg, ok := m.message(withMember(body, "role", jcs.String(conversation.RoleAssistant)))
	if !ok {
		return
	}
	msg.FinishReason = v.Get("finish_reason").Str()
	// botocore leaves out the text beside a tool call.
	if strings.HasPrefix(r.it.Scope, scopeBotocore) && callsWithoutText(msg) {
		r.answer.partial = true
	}
	r.it.Content.Output = append(r.it.Content.Output, msg)
}

// eventBody returns the body as an object; a text that is none is its content.
func (r *reader) eventBody(body pcommon.Value) (jcs.Value, string) {
	if body.Type() == pcommonStr {
		s := strings.TrimSpace(body.Str())
		if s == "" || isPlaceholder(s) {
			return jcs.Value{}, ""
		}
		if s[0] != '{' {
			return jcs.Object([]jcs.Member{{Key: "content", Value: jcs.String(body.Str())}}), ""
		}
	}
	return valueJSON(body, r.mem)
}

func withMember(v jcs.Value, name string, value jcs.Value) jcs.Value {
	members := make([]jcs.Member, 0, v.Len()+1)
	for k, e := range v.Members() {
		if k != name {
			members = append(members, jcs.Member{Key: k, Value: e})
		}
	}
	return jcs.Object(append(members, jcs.Member{Key: name, Value: value}))
}

func callsWithoutText(m conversation.Message) bool {
	calls := false
	for _, p := range m.Parts {
		if p.Type == conversation.PartText {
			return false
		}
		calls = calls || p.Type == conversation.PartToolCall
	}
	return calls
}
