package genai

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/claudeaudit/claudeaudit/internal/conversation"
	"github.com/claudeaudit/claudeaudit/internal/jcs"
)

// indexedField is one attribute of a message that is told as indexed attributes.
type indexedField struct {
	message int    // N
	group   string // "", "contents" or "tool_calls"
	item    int    // M, within the group
	name    string // "role", "content", "id", "name", "arguments", "type", "text", …
	value   pcommon.Value
}

// indexedMessages reads gen_ai.prompt.N.… and gen_ai.completion.N.…, Traceloop's
// form until 2025, of the sides that aren't told otherwise.
func (r *reader) indexedMessages() {
	c := &r.it.Content
	if r.a.indexed.prompt && r.prompt.empty() {
		c.Messages = r.indexed("gen_ai.prompt.", &r.prompt, traceloopField)
	}
	if r.a.indexed.completion && r.answer.empty() {
		c.Output = r.indexed("gen_ai.completion.", &r.answer, traceloopField)
		for i := range c.Output {
			c.Output[i].Role = conversation.RoleAssistant
		}
	}
}

// indexed gathers the attributes with the prefix into messages, in the order of
// their numbers, which may be sparse and of any size.
func (r *reader) indexed(prefix string, s *side, field func(string, *indexedField) bool) []conversation.Message {
	var fields []indexedField
	for name, v := range r.a.all.All() {
		rest, ok := strings.CutPrefix(name, prefix)
		if !ok {
			continue
		}
		f := indexedField{value: v}
		num, rest, ok := number(rest)
		if !ok {
			continue
		}
		f.message = num
		if field(rest, &f) {
			fields = append(fields, f)
		}
	}
	slices.SortStableFunc(fields, func(a, b indexedField) int {
		return cmp.Or(cmp.Compare(a.message, b.message), cmp.Compare(a.group, b.group), cmp.Compare(a.item, b.item))
	})
	m := r.messages(s)
	var out []conversation.Message
	for len(fields) > 0 {
		end := 1
		for end < len(fields) && fields[end].message == fields[0].message {
			end++
		}
		if len(out) >= r.mem.MaxMessages {
			r.it.Unparsed = append(r.it.Unparsed, Unparsed{Key: prefix + "N", Reason: ReasonTooLarge})
			s.unparsed = true
			break
		}
		if msg, ok := m.message(indexedMessage(fields[:end], m.mem)); ok {
			out = append(out, msg)
		}
		fields = fields[end:]
	}
	return out
}

// number cuts the index off the head of a key: "12.role" is 12 and "role".
func number(s string) (int, string, bool) {
	head, rest, ok := strings.Cut(s, ".")
	if !ok || head == "" || len(head) > 9 || !startsWithDigit(head) {
		return 0, "", false
	}
	n, err := strconv.Atoi(head)
	return n, rest, err == nil
}

// traceloopField reads "role", "content", "finish_reason", "tool_calls.M.name".
func traceloopField(rest string, f *indexedField) bool {
	if tail, ok := strings.CutPrefix(rest, "tool_calls."); ok {
		f.group = "tool_calls"
		f.item, f.name, ok = number(tail)
		return ok
	}
	f.name = rest
	switch rest {
	case "role", "content", "finish_reason", "tool_call_id":
		return true
	}
	return false
}

// openInferenceField reads "message.role", "message.contents.M.message_content.text",
// "message.tool_calls.M.tool_call.function.name".
func openInferenceField(rest string, f *indexedField) bool {
	rest, ok := strings.CutPrefix(rest, "message.")
	if !ok {
		return false
	}
	for _, g := range []string{"contents", "tool_calls"} {
		tail, ok := strings.CutPrefix(rest, g+".")
		if !ok {
			continue
		}
		f.group = g
		f.item, f.name, ok = number(tail)
		if !ok {
			return false
		}
		f.name = strings.TrimPrefix(f.name, "message_content.")
		f.name = strings.TrimPrefix(f.name, "tool_call.")
		f.name = strings.TrimPrefix(f.name, "function.")
		return true
	}
	f.name = rest
	switch rest {
	case "role", "content", "tool_call_id":
		return true
	case "function_call_name":
		f.group, f.name = "tool_calls", "name"
		return true
	case "function_call_arguments_json":
		f.group, f.name = "tool_calls", "arguments"
		return true
	}
	return false
}

// indexedMessage puts the fields of one message, sorted, into the form that
// messageReader reads.
func indexedMessage(fields []indexedField, mem *memory) jcs.Value {
	var members []jcs.Member
	for len(fields) > 0 {
		f := fields[0]
		if f.group == "" {
			v := jcs.String(valueText(f.value))
			if f.name == "content" {
				v = indexedContent(f.value, mem)
			}
			members = append(members, jcs.Member{Key: f.name, Value: v})
			fields = fields[1:]
			continue
		}
		end := 0
		var items []jcs.Value
		for end < len(fields) && fields[end].group == f.group {
			item := end
			var of []jcs.Member
			for end < len(fields) && fields[end].group == f.group && fields[end].item == fields[item].item {
				of = append(of, itemMember(fields[end]))
				end++
			}
			items = append(items, itemValue(f.group, of))
		}
		name := f.group
		if name == "contents" {
			name = "parts"
		}
		members = append(members, jcs.Member{Key: name, Value: jcs.Array(items)})
		fields = fields[end:]
	}
	return jcs.Object(members)
}

func itemMember(f indexedField) jcs.Member {
	if f.name == "image.image.url" {
		f.name = "image"
	}
	return jcs.Member{Key: f.name, Value: jcs.String(valueText(f.value))}
}

// itemValue makes a part or a tool call. A part of type tool_use has the fields of
// a tool call.
func itemValue(group string, members []jcs.Member) jcs.Value {
	if group == "contents" {
		for i, m := range members {
			if m.Key == "type" && m.Value.Str() == "tool_use" {
				members[i].Value = jcs.String("tool_call")
			}
		}
	}
	return jcs.Object(members)
}

// indexedContent reads the content of a message: a text, or an array of blocks
// as JSON text.
func indexedContent(v pcommon.Value, mem *memory) jcs.Value {
	if v.Type() == pcommon.ValueTypeSlice || v.Type() == pcommon.ValueTypeMap {
		if out, reason := structured(v, mem); reason == "" {
			return out
		}
		return jcs.Value{}
	}
	s := valueText(v)
	if strings.HasPrefix(s, "[{") || strings.HasPrefix(s, "[ {") {
		if blocks, reason := parse(s, mem); reason == "" && isBlocks(blocks) {
			return blocks
		}
	}
	return jcs.String(s)
}

// isBlocks reports whether every element is a block: an object with a type, or a
// keyed block of Converse.
func isBlocks(v jcs.Value) bool {
	for _, e := range v.Elems() {
		if e.Get("type").Kind() != jcs.KindString && e.Get("toolResult").Kind() != jcs.KindObject &&
			e.Get("toolUse").Kind() != jcs.KindObject {
			return false
		}
	}
	return v.Len() > 0
}
