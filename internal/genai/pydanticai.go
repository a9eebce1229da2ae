package genai

import "github.com/claudeaudit/claudeaudit/internal/jcs"

// pydanticAI reads a chat span of Pydantic AI. With content off, parts lose their
// content and tool calls their arguments.
func (r *reader) pydanticAI() {
	r.prompt.bareIsStripped, r.answer.bareIsStripped = true, true
	r.semconv()
	if !r.prompt.empty() || !r.answer.empty() || !r.a.has(keyEvents) {
		return
	}
	// Version 1 of its format has the per-message events as a JSON array.
	for _, e := range r.content(keyEvents, &r.prompt).Elems() {
		if name := e.Get("event.name").Str(); e.Kind() == jcs.KindObject && messageEvents[name] != "" {
			r.eventObject(name, e)
		}
	}
}
