package genai

import (
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/claudeaudit/claudeaudit/internal/jcs"
)

// python reads the repr of Python data: dicts, lists, tuples, strings, numbers,
// None, True and False, and objects as Name(member=value, …), which become
// objects. Anything else is false, and so is text after it.
func python(s string, mem *memory) (jcs.Value, bool) {
	if s == "" || len(s) > mem.MaxContentBytes {
		return jcs.Value{}, false
	}
	p := pythonReader{s: s, depth: mem.MaxDepth, nodes: mem.MaxNodes}
	v, ok := p.value()
	p.space()
	if !ok || p.i != len(s) {
		return jcs.Value{}, false
	}
	return v, true
}

type pythonReader struct {
	s            string
	i            int
	depth, nodes int
}

func (p *pythonReader) space() {
	for p.i < len(p.s) && strings.IndexByte(" \t\r\n", p.s[p.i]) >= 0 {
		p.i++
	}
}

func (p *pythonReader) next(c byte) bool {
	p.space()
	if p.i < len(p.s) && p.s[p.i] == c {
		p.i++
		return true
	}
	return false
}

func (p *pythonReader) value() (jcs.Value, bool) {
	p.space()
	if p.nodes--; p.nodes < 0 || p.i >= len(p.s) {
		return jcs.Value{}, false
	}
	switch c := p.s[p.i]; {
	case c == '{' || c == '[' || c == '(':
		if p.depth--; p.depth < 0 {
			return jcs.Value{}, false
		}
		defer func() { p.depth++ }()
		p.i++
		switch c {
		case '{':
			return p.dict()
		case '[':
			return p.list(']')
		}
		return p.list(')')
	case c == '\'' || c == '"':
		s, ok := p.str()
		return jcs.String(s), ok
	case c >= '0' && c <= '9' || c == '-' || c == '.':
		return p.number()
	default:
		return p.name()
	}
}

func (p *pythonReader) list(end byte) (jcs.Value, bool) {
	var elems []jcs.Value
	for {
		if p.next(end) {
			return jcs.Array(elems), true
		}
		v, ok := p.value()
		if !ok {
			return jcs.Value{}, false
		}
		elems = append(elems, v)
		if !p.next(',') {
			return jcs.Array(elems), p.next(end)
		}
	}
}

func (p *pythonReader) dict() (jcs.Value, bool) {
	var members []jcs.Member
	for {
		if p.next('}') {
			return jcs.Object(members), true
		}
		k, ok := p.value()
		if !ok || !p.next(':') {
			return jcs.Value{}, false
		}
		v, ok := p.value()
		if !ok {
			return jcs.Value{}, false
		}
		name := k.Str()
		if k.Kind() != jcs.KindString {
			name = string(k.Append(nil))
		}
		members = append(members, jcs.Member{Key: name, Value: v})
		if !p.next(',') {
			return jcs.Object(members), p.next('}')
		}
	}
}

func (p *pythonReader) word() string {
	start := p.i
	for p.i < len(p.s) && (isIDChar(p.s[p.i]) && p.s[p.i] != '-' || p.s[p.i] == '.') {
		p.i++
	}
	return p.s[start:p.i]
}

// name reads None, True, False, or Name(member=value, …).
func (p *pythonReader) name() (jcs.Value, bool) {
	switch w := p.word(); w {
	case "":
		return jcs.Value{}, false
	case "None":
		return jcs.Null(), true
	case "True", "False":
		return jcs.Bool(w == "True"), true
	}
	if p.depth--; p.depth < 0 {
		return jcs.Value{}, false
	}
	defer func() { p.depth++ }()
	if !p.next('(') {
		return jcs.Value{}, false
	}
	var members []jcs.Member
	for {
		if p.next(')') {
			return jcs.Object(members), true
		}
		p.space()
		name := p.word()
		if name == "" || !p.next('=') {
			return jcs.Value{}, false
		}
		v, ok := p.value()
		if !ok {
			return jcs.Value{}, false
		}
		members = append(members, jcs.Member{Key: name, Value: v})
		if !p.next(',') {
			return jcs.Object(members), p.next(')')
		}
	}
}

func (p *pythonReader) number() (jcs.Value, bool) {
	start := p.i
	for p.i < len(p.s) && strings.IndexByte("0123456789+-.eE", p.s[p.i]) >= 0 {
		p.i++
	}
	text := p.s[start:p.i]
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return jcs.Int(n), true
	}
	f, err := strconv.ParseFloat(text, 64)
	return jcs.Float(f), err == nil
}

var pythonEscapes = map[byte]byte{
	'\\': '\\', '\'': '\'', '"': '"', 'n': '\n', 'r': '\r', 't': '\t', 'a': '\a', 'b': '\b', 'f': '\f', 'v': '\v',
}

func (p *pythonReader) str() (string, bool) {
	quote := p.s[p.i]
	p.i++
	start := p.i
	for p.i < len(p.s) && p.s[p.i] != quote && p.s[p.i] != '\\' {
		p.i++
	}
	if p.i < len(p.s) && p.s[p.i] == quote {
		p.i++
		return p.s[start : p.i-1], true
	}
	b := []byte(p.s[start:p.i])
	for p.i < len(p.s) {
		c := p.s[p.i]
		p.i++
		switch c {
		case quote:
			return string(b), true
		case '\\':
			if p.i >= len(p.s) {
				return "", false
			}
			e := p.s[p.i]
			p.i++
			digits := map[byte]int{'x': 2, 'u': 4, 'U': 8}[e]
			if r, ok := pythonEscapes[e]; ok {
				b = append(b, r)
				continue
			}
			if digits == 0 || p.i+digits > len(p.s) {
				return "", false
			}
			n, err := strconv.ParseUint(p.s[p.i:p.i+digits], 16, 32)
			if err != nil {
				return "", false
			}
			p.i += digits
			b = utf8.AppendRune(b, rune(n)) //nolint:gosec // AppendRune replaces what is no character
		default:
			b = append(b, c)
		}
	}
	return "", false
}
