package genai

import (
	"math"
	"strconv"
	"strings"

	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/claudeaudit/claudeaudit/internal/jcs"
)

// attributes is one attribute map, read once: the values of the keys that some
// dialect uses, and which families of indexed keys there are.
type attributes struct {
	all      pcommon.Map
	known    [numKeys]pcommon.Value
	set      []key // those of known that are there
	indexed  indexedFamilies
	anyGenAI bool // some attribute is of a GenAI namespace
}

type indexedFamilies struct {
	prompt, completion bool // gen_ai.prompt.N., gen_ai.completion.N.
	input, output      bool // llm.input_messages.N., llm.output_messages.N.
}

// read fills a from m. Of several attributes with one key the first counts. It
// looks at all of them, however many: a call must not hide behind the others.
func (a *attributes) read(m pcommon.Map) {
	a.all = m
	for name, v := range m.All() {
		n, ok := names[name]
		if !ok {
			a.family(name)
			a.anyGenAI = a.anyGenAI || isGenAIName(name)
			continue
		}
		if n.key != 0 && !a.has(n.key) {
			a.known[n.key] = v
			a.set = append(a.set, n.key)
		}
		a.anyGenAI = a.anyGenAI || n.genAI
	}
}

// reset makes a ready for another map.
func (a *attributes) reset() {
	for _, k := range a.set {
		a.known[k] = pcommon.Value{}
	}
	a.all, a.set, a.indexed, a.anyGenAI = pcommon.Map{}, a.set[:0], indexedFamilies{}, false
}

func (a *attributes) family(name string) {
	switch {
	case strings.HasPrefix(name, "gen_ai.prompt."):
		a.indexed.prompt = a.indexed.prompt || startsWithDigit(name[len("gen_ai.prompt."):])
	case strings.HasPrefix(name, "gen_ai.completion."):
		a.indexed.completion = a.indexed.completion || startsWithDigit(name[len("gen_ai.completion."):])
	case strings.HasPrefix(name, "llm.input_messages."):
		a.indexed.input = true
	case strings.HasPrefix(name, "llm.output_messages."):
		a.indexed.output = true
	}
}

func startsWithDigit(s string) bool { return s != "" && s[0] >= '0' && s[0] <= '9' }

// has reports whether the attribute is there, be it empty.
func (a *attributes) has(k key) bool { return a.known[k] != (pcommon.Value{}) }

// text returns the attribute as text. "" counts as absent everywhere: LiteLLM
// writes what it doesn't know as "".
func (a *attributes) text(k key) string {
	if !a.has(k) {
		return ""
	}
	return valueText(a.known[k])
}

func (a *attributes) first(keys ...key) string {
	for _, k := range keys {
		if s := a.text(k); s != "" {
			return s
		}
	}
	return ""
}

// count returns a number of tokens, nil when the attribute isn't there or is none.
func (a *attributes) count(keys ...key) *int64 {
	for _, k := range keys {
		if !a.has(k) {
			continue
		}
		if n, ok := valueInt(a.known[k]); ok && n >= 0 {
			return &n
		}
	}
	return nil
}

// float returns a number that may be told as text.
func (a *attributes) float(k key) (float64, bool) {
	if !a.has(k) {
		return 0, false
	}
	return valueFloat(a.known[k])
}

// yes and no report a boolean that may be told as text.
func (a *attributes) yes(k key) bool {
	return strings.EqualFold(a.text(k), "true")
}

func (a *attributes) no(k key) bool {
	return strings.EqualFold(a.text(k), "false")
}

// valueText returns a scalar as text, "" for others.
func valueText(v pcommon.Value) string {
	switch v.Type() {
	case pcommon.ValueTypeStr:
		return v.Str()
	case pcommon.ValueTypeInt, pcommon.ValueTypeDouble, pcommon.ValueTypeBool:
		return v.AsString()
	default:
		return ""
	}
}

func valueInt(v pcommon.Value) (int64, bool) {
	switch v.Type() {
	case pcommon.ValueTypeInt:
		return v.Int(), true
	case pcommon.ValueTypeDouble:
		f := v.Double()
		if f != math.Trunc(f) || math.Abs(f) > 1<<53 {
			return 0, false
		}
		return int64(f), true
	case pcommon.ValueTypeStr:
		n, err := strconv.ParseInt(v.Str(), 10, 64)
		return n, err == nil
	default:
		return 0, false
	}
}

func valueFloat(v pcommon.Value) (float64, bool) {
	var f float64
	switch v.Type() {
	case pcommon.ValueTypeInt:
		f = float64(v.Int())
	case pcommon.ValueTypeDouble:
		f = v.Double()
	case pcommon.ValueTypeStr:
		var err error
		if f, err = strconv.ParseFloat(v.Str(), 64); err != nil {
			return 0, false
		}
	default:
		return 0, false
	}
	return f, !math.IsNaN(f) && !math.IsInf(f, 0)
}

// structured converts a structured AnyValue into JSON; bytes become base64. It is
// Invalid with a reason when a limit is exceeded.
func structured(v pcommon.Value, mem *memory) (jcs.Value, string) {
	c := converter{depth: mem.MaxDepth, nodes: mem.MaxNodes, bytes: mem.MaxContentBytes}
	out := c.value(v)
	if c.reason != "" {
		return jcs.Value{}, c.reason
	}
	return out, ""
}

type converter struct {
	depth, nodes, bytes int
	reason              string
}

func (c *converter) take(bytes int) {
	if c.bytes -= bytes; c.bytes < 0 {
		c.reason = ReasonTooLarge
	}
}

func (c *converter) value(v pcommon.Value) jcs.Value {
	if c.nodes--; c.nodes < 0 {
		c.reason = ReasonTooLarge
	}
	if c.reason != "" {
		return jcs.Value{}
	}
	switch v.Type() {
	case pcommon.ValueTypeStr:
		c.take(len(v.Str()))
		return jcs.String(v.Str())
	case pcommon.ValueTypeInt:
		return jcs.Int(v.Int())
	case pcommon.ValueTypeDouble:
		return jcs.Float(v.Double())
	case pcommon.ValueTypeBool:
		return jcs.Bool(v.Bool())
	case pcommon.ValueTypeBytes:
		c.take(v.Bytes().Len())
		return jcs.String(v.AsString()) // base64
	case pcommon.ValueTypeSlice, pcommon.ValueTypeMap:
		if c.depth--; c.depth < 0 {
			c.reason = reasonTooDeep
			return jcs.Value{}
		}
		defer func() { c.depth++ }()
		if v.Type() == pcommon.ValueTypeSlice {
			elems := make([]jcs.Value, 0, min(v.Slice().Len(), 1024))
			for _, e := range v.Slice().All() {
				elems = append(elems, c.value(e))
				if c.reason != "" {
					return jcs.Value{}
				}
			}
			return jcs.Array(elems)
		}
		members := make([]jcs.Member, 0, min(v.Map().Len(), 1024))
		for name, e := range v.Map().All() {
			c.take(len(name))
			members = append(members, jcs.Member{Key: name, Value: c.value(e)})
			if c.reason != "" {
				return jcs.Value{}
			}
		}
		return jcs.Object(members)
	default:
		return jcs.Null()
	}
}
