package jcs

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
	"unsafe"
)

// What can be wrong with a text. Errors of Parse wrap one of these and tell the
// place in bytes, never the content.
var (
	// ErrInvalid: the text isn't JSON, or holds a number that no double can hold.
	ErrInvalid = errors.New("invalid JSON")
	// ErrTooDeep: arrays and objects are nested deeper than Limits.MaxDepth.
	ErrTooDeep = errors.New("JSON nested too deep")
	// ErrTooLarge: more bytes or more values than the limits allow.
	ErrTooLarge = errors.New("JSON too large")
	// ErrInvalidUTF8: a string isn't valid UTF-8.
	ErrInvalidUTF8 = errors.New("invalid UTF-8 in JSON")
	// ErrDuplicateKey: an object has a key twice. Only ParseStrict minds; the error is also ErrInvalid.
	ErrDuplicateKey = fmt.Errorf("%w: duplicate key", ErrInvalid)
)

// Limits bound what Parse accepts. A field that is zero or negative means that
// of DefaultLimits.
type Limits struct {
	// MaxDepth is how deep arrays and objects may be nested; a scalar has depth 0.
	MaxDepth int
	// MaxNodes is how many values, of any kind and at any depth, there may be.
	// A value takes up to about 100 bytes beside its text.
	MaxNodes int
	// MaxBytes is the length of the text.
	MaxBytes int
}

// DefaultLimits hold the largest request the Messages API takes (32 MB), twice.
var DefaultLimits = Limits{MaxDepth: 256, MaxNodes: 1 << 20, MaxBytes: 64 << 20}

// Parse reads one JSON text. It accepts what encoding/json accepts, but for
// three things: strings must be valid UTF-8, numbers must fit a double, and the limits
// hold. Of members with the same key the last counts. An escaped surrogate without
// its partner becomes U+FFFD. The values share s.
func Parse(s string, lim Limits) (Value, error) {
	var p Parser
	return p.parse(s, lim, false)
}

// ParseStrict is Parse, but refuses an object that has a key twice.
func ParseStrict(s string, lim Limits) (Value, error) {
	var p Parser
	return p.parse(s, lim, true)
}

// Parser reads texts into memory that it uses again: the arrays and objects of what it
// has read are good until Reset; Value.Clone makes one that stays. The zero Parser is
// ready for use, by one goroutine at a time.
type Parser struct {
	s      string
	i      int
	depth  int
	nodes  int // how many more values there may be
	strict bool

	// Stacks of the elements and members of the containers that are still open.
	vals       []Value
	mems       []Member
	elems      Slab[Value]
	members    Slab[Member]
	containers Slab[container]
}

// Parse is the function Parse, in the parser's memory.
func (p *Parser) Parse(s string, lim Limits) (Value, error) {
	return p.parse(s, lim, false)
}

// Reset takes back the memory of all values read.
func (p *Parser) Reset() {
	p.s = ""
	p.elems.Reset()
	p.members.Reset()
	p.containers.Reset()
	p.vals = emptied(p.vals)
	p.mems = emptied(p.mems)
}

// emptied is a stack without items, and without its memory when that is much.
func emptied[T any](s []T) []T {
	if cap(s) > maxSlab {
		return nil
	}
	clear(s[:cap(s)])
	return s[:0]
}

func (p *Parser) parse(s string, lim Limits, strict bool) (Value, error) {
	if lim.MaxDepth <= 0 {
		lim.MaxDepth = DefaultLimits.MaxDepth
	}
	if lim.MaxNodes <= 0 {
		lim.MaxNodes = DefaultLimits.MaxNodes
	}
	if lim.MaxBytes <= 0 {
		lim.MaxBytes = DefaultLimits.MaxBytes
	}
	if len(s) > lim.MaxBytes {
		return Value{}, fmt.Errorf("%w: %d bytes, at most %d allowed", ErrTooLarge, len(s), lim.MaxBytes)
	}
	p.s, p.i, p.depth, p.nodes, p.strict = s, 0, lim.MaxDepth, min(lim.MaxNodes, math.MaxInt32), strict
	p.vals, p.mems = p.vals[:0], p.mems[:0]
	v, err := p.value()
	if err != nil {
		return Value{}, err
	}
	p.space()
	if p.i < len(s) {
		return Value{}, p.fail(ErrInvalid, "text after the value")
	}
	return v, nil
}

func (p *Parser) fail(kind error, what string) error {
	return fmt.Errorf("%w: %s at byte %d", kind, what, p.i)
}

func (p *Parser) space() {
	for p.i < len(p.s) {
		switch p.s[p.i] {
		case ' ', '\n', '\t', '\r':
			p.i++
		default:
			return
		}
	}
}

// peek skips white space and returns the next byte, 0 at the end. A 0 byte is
// nowhere allowed, so the two need not be told apart.
func (p *Parser) peek() byte {
	p.space()
	if p.i < len(p.s) {
		return p.s[p.i]
	}
	return 0
}

func (p *Parser) value() (Value, error) {
	c := p.peek()
	if p.nodes--; p.nodes < 0 {
		return Value{}, p.fail(ErrTooLarge, "too many values")
	}
	switch c {
	case '"':
		s, f, err := p.str()
		return Value{kind: KindString, s: s, form: f}, err
	case '{':
		return p.object()
	case '[':
		return p.array()
	case 't':
		return p.literal("true", Bool(true))
	case 'f':
		return p.literal("false", Bool(false))
	case 'n':
		return p.literal("null", Null())
	}
	if c == '-' || c >= '0' && c <= '9' {
		return p.number()
	}
	return Value{}, p.fail(ErrInvalid, "no value")
}

func (p *Parser) literal(word string, v Value) (Value, error) {
	if !strings.HasPrefix(p.s[p.i:], word) {
		return Value{}, p.fail(ErrInvalid, "no value")
	}
	p.i += len(word)
	return v, nil
}

// digits skips digits and reports whether there were any.
func (p *Parser) digits() bool {
	start := p.i
	for p.i < len(p.s) && p.s[p.i] >= '0' && p.s[p.i] <= '9' {
		p.i++
	}
	return p.i > start
}

// safeDigits is a number of digits that can't leave the range of a double.
const safeDigits = 300

func (p *Parser) number() (Value, error) {
	start := p.i
	if p.s[p.i] == '-' {
		p.i++
	}
	if p.i < len(p.s) && p.s[p.i] == '0' {
		p.i++
	} else if !p.digits() {
		return Value{}, p.fail(ErrInvalid, "number without digits")
	}
	risky := p.i-start > safeDigits
	if p.i < len(p.s) && p.s[p.i] == '.' {
		p.i++
		if !p.digits() {
			return Value{}, p.fail(ErrInvalid, "fraction without digits")
		}
	}
	if p.i < len(p.s) && p.s[p.i]|0x20 == 'e' {
		p.i++
		if p.i < len(p.s) && (p.s[p.i] == '+' || p.s[p.i] == '-') {
			p.i++
		}
		if !p.digits() {
			return Value{}, p.fail(ErrInvalid, "exponent without digits")
		}
		risky = true
	}
	text := p.s[start:p.i]
	if risky {
		if _, err := strconv.ParseFloat(text, 64); err != nil {
			p.i = start
			return Value{}, p.fail(ErrInvalid, "number out of range")
		}
	}
	return Value{kind: KindNumber, s: text}, nil
}

func (p *Parser) enter() error {
	if p.depth--; p.depth < 0 {
		return p.fail(ErrTooDeep, "too many open arrays and objects")
	}
	p.i++
	return nil
}

func (p *Parser) array() (Value, error) {
	if err := p.enter(); err != nil {
		return Value{}, err
	}
	base := len(p.vals)
	if p.peek() == ']' {
		p.i++
	} else {
		for done := false; !done; {
			v, err := p.value()
			if err != nil {
				return Value{}, err
			}
			p.vals = append(p.vals, v)
			switch p.peek() {
			case ',':
				p.i++
			case ']':
				p.i++
				done = true
			default:
				return Value{}, p.fail(ErrInvalid, "neither comma nor end of array")
			}
		}
	}
	c := &p.containers.Take(1)[0]
	c.elems = p.elems.keep(p.vals[base:])
	p.vals = p.vals[:base]
	p.depth++
	return Value{kind: KindArray, c: c}, nil
}

func (p *Parser) object() (Value, error) {
	if err := p.enter(); err != nil {
		return Value{}, err
	}
	base := len(p.mems)
	if p.peek() == '}' {
		p.i++
	} else {
		for done := false; !done; {
			if p.peek() != '"' {
				return Value{}, p.fail(ErrInvalid, "no key")
			}
			key, err := p.key()
			if err != nil {
				return Value{}, err
			}
			if p.peek() != ':' {
				return Value{}, p.fail(ErrInvalid, "no colon after key")
			}
			p.i++
			v, err := p.value()
			if err != nil {
				return Value{}, err
			}
			v.order = uint32(len(p.mems) - base) // #nosec G115 -- bounded by MaxNodes
			p.mems = append(p.mems, Member{Key: key, Value: v})
			switch p.peek() {
			case ',':
				p.i++
			case '}':
				p.i++
				done = true
			default:
				return Value{}, p.fail(ErrInvalid, "neither comma nor end of object")
			}
		}
	}
	members, duplicates := sortMembers(p.mems[base:])
	if duplicates && p.strict {
		return Value{}, p.fail(ErrDuplicateKey, "in the object that ends")
	}
	c := &p.containers.Take(1)[0]
	c.members = p.members.keep(members)
	p.mems = p.mems[:base]
	p.depth++
	return Value{kind: KindObject, c: c}, nil
}

// str reads the string literal that starts at p.i, and leaves it as it stands there.
func (p *Parser) str() (string, form, error) {
	src, start := p.s, p.i+1
	if end, f := longLiteral(src, start); end > 0 {
		s := src[start:end]
		if control, beyond := survey(s); !control && (!beyond || validUTF8(s)) {
			p.i = end + 1
			return s, f, nil
		}
	}
	return p.shortStr()
}

// longLiteral finds the end of the literal whose text begins at i, where that is far off, by
// the searches of the standard library, and says how it has its escapes. It is 0 where the
// end is near, escapes are many or something is wrong: shortStr reads those.
func longLiteral(s string, i int) (end int, f form) {
	const (
		near   = 32
		few    = 8  // escapes, on which it isn't judged yet
		sparse = 40 // bytes for each escape, for a search to be quicker than a loop
	)
	start, escapes := i, 0
	if len(s)-i < near || strings.IndexByte(s[i:i+near], '"') >= 0 {
		return 0, 0
	}
	f = clean
	for {
		n := strings.IndexByte(s[i:], '"')
		if n < 0 {
			return 0, 0
		}
		quote := i + n
		for i <= quote {
			n := strings.IndexByte(s[i:quote], '\\')
			if n < 0 {
				return quote, f
			}
			i += n
			width, how := escapeForm(s, i)
			if escapes++; width == 0 || escapes >= few && i-start < escapes*sparse {
				return 0, 0
			}
			f = max(f, how)
			i += width // past the quote when that was escaped
		}
	}
}

// escapeForm returns the length of the escape at i, 0 when it is malformed, and the form that
// a string with it has.
func escapeForm(s string, i int) (width int, f form) {
	if i+1 < len(s) && simpleEscape[s[i+1]] {
		return 2, literal
	}
	_, width, canonical := readEscape(s[i:])
	if !canonical {
		return width, loose
	}
	return width, literal
}

// shortStr is str, byte by byte where it has to be: it knows what is wrong and where.
func (p *Parser) shortStr() (string, form, error) {
	src, start, f := p.s, p.i+1, clean
	i, seen := run(src, start)
	for {
		if i >= len(src) {
			p.i = start - 1
			return "", 0, p.fail(ErrInvalid, "end of text in the string that starts")
		}
		c := src[i]
		if c == '"' {
			break
		}
		if c != '\\' {
			p.i = i
			return "", 0, p.fail(ErrInvalid, "control character in string")
		}
		width, how := escapeForm(src, i)
		if width == 0 {
			p.i = i
			return "", 0, p.fail(ErrInvalid, badEscape(src[i:]))
		}
		f = max(f, how)
		var more uint64
		i, more = run(src, i+width)
		seen |= more
	}
	s := src[start:i]
	// What escapes stand for is valid, and escapes are ASCII: the text is valid if its
	// literal is.
	if seen&highs != 0 && !validUTF8(s) {
		p.i = start - 1
		return "", 0, p.fail(ErrInvalidUTF8, "in the string that starts")
	}
	p.i = i + 1
	return s, f, nil
}

// key reads the name of a member, unescaped.
func (p *Parser) key() (string, error) {
	s, f, err := p.str()
	if f >= literal {
		s = unescape(s)
	}
	return s, err
}

// unescape returns the text of a literal that Parse has read. It is shorter.
func unescape(raw string) string {
	text := appendUnescaped(make([]byte, 0, len(raw)), raw)
	if len(text) < len(raw)/2 {
		return string(text) // Chinese told as \uXXXX: don't keep twice of what it takes
	}
	return unsafe.String(unsafe.SliceData(text), len(text))
}

func appendUnescaped(dst []byte, raw string) []byte {
	dst = slices.Grow(dst, len(raw))
	for {
		i := strings.IndexByte(raw, '\\')
		if i < 0 {
			return append(dst, raw...)
		}
		dst = append(dst, raw[:i]...)
		raw = raw[i:]
		if c := unescapes[raw[1]]; c != 0 {
			dst, raw = append(dst, c), raw[2:]
			continue
		}
		r, width, _ := readEscape(raw)
		dst, raw = utf8.AppendRune(dst, r), raw[width:]
	}
}

var unescapes = [256]byte{'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}

// simpleEscape says which characters after a backslash are an escape of the canonical form.
var simpleEscape = [256]bool{'"': true, '\\': true, 'b': true, 'f': true, 'n': true, 'r': true, 't': true}

// readEscape decodes the escape that s starts with and returns its length, 0 when it is
// malformed; canonical tells whether the canonical form has it so.
func readEscape(s string) (r rune, width int, canonical bool) {
	if len(s) < 2 {
		return 0, 0, false
	}
	if c := s[1]; c != 'u' {
		if u := unescapes[c]; u != 0 {
			return rune(u), 2, c != '/'
		}
		return 0, 0, false
	}
	r, width = unicodeEscape(s)
	// Control characters are escaped by their number in lower case, where they have no
	// short escape.
	canonical = width > 0 && r < 0x20 && !shortEscape[r] && (s[5] < 'A' || s[5] > 'F')
	return r, width, canonical
}

var shortEscape = [0x20]bool{'\b': true, '\f': true, '\n': true, '\r': true, '\t': true}

// badEscape says what is wrong with the escape that s starts with.
func badEscape(s string) string {
	switch {
	case len(s) < 2:
		return "end of text in an escape"
	case s[1] == 'u':
		return "bad unicode escape"
	}
	return "unknown escape"
}

// unicodeEscape decodes the \uXXXX, or pair of them, that s starts with, and
// returns its length, 0 when it is malformed.
func unicodeEscape(s string) (rune, int) {
	r := hex4(s)
	if r < 0 {
		return 0, 0
	}
	if !utf16.IsSurrogate(r) {
		return r, 6
	}
	if len(s) >= 12 && s[6] == '\\' && s[7] == 'u' {
		if pair := utf16.DecodeRune(r, hex4(s[6:])); pair != utf8.RuneError {
			return pair, 12
		}
	}
	return utf8.RuneError, 6
}

// hex4 reads the four digits of \uXXXX, -1 when they aren't.
func hex4(s string) rune {
	if len(s) < 6 {
		return -1
	}
	var r rune
	for _, c := range []byte(s[2:6]) {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			c = c | 0x20 - 'a' + 10
		default:
			return -1
		}
		r = r<<4 | rune(c)
	}
	return r
}
