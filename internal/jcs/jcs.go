// Package jcs reads JSON into a bounded tree and writes the canonical form of
// RFC 8785 (JSON Canonicalization Scheme).
//
// The tree shares the bytes of the text it was read from: a string with escapes
// is kept as it was told, and is unescaped when somebody asks for its text.
// Most texts are told in the canonical form already, so that reading and re-writing a
// long prompt costs little more than a pass over it and a copy. A tree therefore
// keeps its source alive.
package jcs

import (
	"cmp"
	"iter"
	"math"
	"slices"
	"sort"
	"strconv"
	"strings"
)

// Kind is the JSON type of a Value.
type Kind uint8

// The kinds of values. KindInvalid is that of the zero Value, which stands for
// "not there".
const (
	KindInvalid Kind = iota
	KindNull
	KindBool
	KindNumber
	KindString
	KindArray
	KindObject
)

var kindNames = [...]string{"invalid", "null", "bool", "number", "string", "array", "object"}

// String returns the kind's name in lower case.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return kindNames[KindInvalid]
}

// Value is a JSON value. It is small, immutable and safe to copy and to read
// from several goroutines. The zero Value is Invalid; every method may be
// called on a value of any kind and answers with a zero value where the kind
// doesn't fit.
type Value struct {
	// s is the text of a string, in the form that form tells, or of a number, as it
	// was told; "true" for the true Bool, else "".
	s string
	c *container
	// order is the place of a member in its source; it lets members with the
	// same key be told apart while they are sorted.
	order uint32
	kind  Kind
	form  form
}

// form is how a Value holds a string.
type form uint8

const (
	// plain: the text, of which nothing is known.
	plain form = iota
	// clean: the text, valid UTF-8 without a character that has to be escaped, so
	// that it is its own literal.
	clean
	// literal: what stands between the quotes in the canonical form: valid UTF-8 with
	// at least one escape and no other escapes than needed.
	literal
	// loose: what stands between the quotes of a literal: valid UTF-8 with at least
	// one escape that the canonical form has otherwise.
	loose
)

// container holds what an array or an object holds. Members are sorted by the
// UTF-16 code units of their keys, and no key is there twice.
type container struct {
	elems   []Value
	members []Member
}

// Member is a name and its value within an object.
type Member struct {
	Key   string
	Value Value
}

// Null returns the null value.
func Null() Value { return Value{kind: KindNull} }

// Bool returns true or false.
func Bool(b bool) Value {
	if b {
		return Value{kind: KindBool, s: "true"}
	}
	return Value{kind: KindBool}
}

// String returns a string value. Invalid UTF-8 is kept here and replaced
// when the value is written.
func String(s string) Value { return Value{kind: KindString, s: s} }

// Int returns a number. Integers beyond 2^53 are written as the nearest
// double, as RFC 8785 has it; Int gives them back whole.
func Int(i int64) Value { return Value{kind: KindNumber, s: strconv.FormatInt(i, 10)} }

// Float returns a number, or null for NaN and the infinities, which JSON has no
// form for.
func Float(f float64) Value {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return Null()
	}
	var buf [32]byte
	return Value{kind: KindNumber, s: string(AppendFloat(buf[:0], f))}
}

// Array returns an array of elems, which must not be changed afterwards.
// Invalid elements are written as null.
func Array(elems []Value) Value {
	return Value{kind: KindArray, c: &container{elems: elems}}
}

// Object returns an object of members, which must not be changed
// afterwards. They may come in any order; of members with the same key the last
// counts. Members whose value is Invalid are left out. Keys that aren't
// valid UTF-8 are repaired with U+FFFD.
func Object(members []Member) Value {
	dirty := len(members) > math.MaxUint32
	for i := range members {
		if members[i].Value.kind == KindInvalid || !validUTF8(members[i].Key) ||
			i > 0 && compareKeys(members[i-1].Key, members[i].Key) >= 0 {
			dirty = true
			break
		}
	}
	if dirty {
		sorted := make([]Member, 0, len(members))
		for _, m := range members {
			if m.Value.kind == KindInvalid {
				continue
			}
			m.Key = repair(m.Key)
			m.Value.order = uint32(len(sorted)) // #nosec G115 -- memory ends long before 2^32 members
			sorted = append(sorted, m)
		}
		members, _ = sortMembers(sorted)
	}
	return Value{kind: KindObject, c: &container{members: members}}
}

// repair returns s with every byte that isn't part of valid UTF-8 replaced by U+FFFD.
func repair(s string) string {
	if validUTF8(s) {
		return s
	}
	var b strings.Builder
	b.Grow(len(s) + 8)
	for _, r := range s {
		b.WriteRune(r)
	}
	return b.String()
}

// sortMembers sorts in place by key; of several members with one key it keeps the
// one of the highest order, and says whether there were any.
func sortMembers(m []Member) (_ []Member, duplicates bool) {
	sorted := true
	for i := 1; i < len(m); i++ {
		if compareKeys(m[i-1].Key, m[i].Key) >= 0 {
			sorted = false
			break
		}
	}
	if sorted {
		return m, false
	}
	slices.SortFunc(m, func(a, b Member) int {
		if c := compareKeys(a.Key, b.Key); c != 0 {
			return c
		}
		return cmp.Compare(a.Value.order, b.Value.order)
	})
	n := 0
	for i := range m {
		if i+1 < len(m) && m[i].Key == m[i+1].Key {
			continue
		}
		m[n] = m[i]
		n++
	}
	clear(m[n:])
	return m[:n], n < len(m)
}

// compareKeys orders valid UTF-8 strings by their UTF-16 code units.
func compareKeys(a, b string) int {
	n := min(len(a), len(b))
	i := 0
	for i+8 <= n && load64(a, i) == load64(b, i) {
		i += 8
	}
	for i < n && a[i] == b[i] {
		i++
	}
	if i == n {
		return cmp.Compare(len(a), len(b))
	}
	x, y := a[i], b[i]
	// Bytes of UTF-8 sort like code points. UTF-16 differs in one thing only: the
	// surrogates of characters from U+10000 on (first byte F0 and up) come
	// before U+E000 to U+FFFF (first byte EE and EF).
	if x >= 0xEE && y >= 0xEE && (x >= 0xF0) != (y >= 0xF0) {
		return cmp.Compare(y, x)
	}
	return cmp.Compare(x, y)
}

// Clone returns the value in memory of its own, but for the text that it was read from.
func (v Value) Clone() Value {
	switch v.kind {
	case KindArray:
		elems := make([]Value, len(v.c.elems))
		for i, e := range v.c.elems {
			elems[i] = e.Clone()
		}
		v.c = &container{elems: elems}
	case KindObject:
		members := make([]Member, len(v.c.members))
		for i, m := range v.c.members {
			members[i] = Member{Key: m.Key, Value: m.Value.Clone()}
		}
		v.c = &container{members: members}
	}
	return v
}

// Kind returns the value's kind.
func (v Value) Kind() Kind { return v.kind }

// IsNull reports whether the value is null. A missing value isn't.
func (v Value) IsNull() bool { return v.kind == KindNull }

// Str returns the text of a string, and "" for other kinds. It makes a new string
// of one that was told with escapes, each time: Is, SameStr and Append need none.
func (v Value) Str() string {
	switch {
	case v.kind != KindString:
		return ""
	case v.form >= literal:
		return unescape(v.s)
	}
	return v.s
}

// Plain returns the text of a string when it is at hand without its being made.
func (v Value) Plain() (string, bool) {
	return v.s, v.kind == KindString && v.form < literal
}

// AppendStr appends the text of a string, and nothing for other kinds.
func (v Value) AppendStr(dst []byte) []byte {
	switch {
	case v.kind != KindString:
		return dst
	case v.form >= literal:
		return appendUnescaped(dst, v.s)
	}
	return append(dst, v.s...)
}

// maxEscape is how many bytes of a literal stand for one of its text at the most.
const maxEscape = len(`\u0041`)

// Is reports whether the value is a string whose text is s. However long the string is,
// that takes no more time than s is long.
func (v Value) Is(s string) bool {
	switch {
	case v.kind != KindString:
		return false
	case v.form < literal:
		return v.s == s
	}
	// A literal is longer than its text.
	return len(v.s) > len(s) && len(v.s) <= maxEscape*len(s) && unescape(v.s) == s
}

// SameStr reports whether both values are strings with the same text.
func (v Value) SameStr(o Value) bool {
	if v.kind != KindString || o.kind != KindString {
		return false
	}
	if v.form == o.form && v.form != loose {
		return v.s == o.s // clean and canonical literals are the same when their texts are
	}
	if v.form < literal {
		return o.Is(v.s)
	}
	return v.Is(o.Str())
}

// Literal returns what the canonical form of a string has between its quotes, when
// that is at hand; Append otherwise has to make it.
func (v Value) Literal() (string, bool) {
	return v.s, v.kind == KindString && (v.form == clean || v.form == literal)
}

// Bool reports whether the value is true.
func (v Value) Bool() bool { return v.kind == KindBool && v.s != "" }

// NumberText returns a number as it was told, and "" for other kinds.
func (v Value) NumberText() string {
	if v.kind != KindNumber {
		return ""
	}
	return v.s
}

// Int returns a number as an integer. It is false for other kinds and for
// numbers that aren't whole or don't fit; 1.0 and 1e3 are whole.
func (v Value) Int() (int64, bool) {
	if v.kind != KindNumber {
		return 0, false
	}
	if i, err := strconv.ParseInt(v.s, 10, 64); err == nil {
		return i, true
	}
	if !strings.ContainsAny(v.s, ".eE") {
		return 0, false
	}
	f, err := strconv.ParseFloat(v.s, 64)
	if err != nil || f != math.Trunc(f) || math.Abs(f) > maxExact {
		return 0, false
	}
	return int64(f), true
}

// Float returns a number as the nearest double, and false for other kinds.
func (v Value) Float() (float64, bool) {
	if v.kind != KindNumber {
		return 0, false
	}
	f, err := strconv.ParseFloat(v.s, 64)
	return f, err == nil
}

// Len returns the number of elements of an array or members of an object, else 0.
func (v Value) Len() int {
	switch v.kind {
	case KindArray:
		return len(v.c.elems)
	case KindObject:
		return len(v.c.members)
	}
	return 0
}

// Index returns an array's element, Invalid when there is none.
func (v Value) Index(i int) Value {
	if v.kind != KindArray || i < 0 || i >= len(v.c.elems) {
		return Value{}
	}
	return v.c.elems[i]
}

// fewMembers is up to how many members a scan finds a key sooner than a
// binary search.
const fewMembers = 12

// Get returns the value of an object's member, Invalid when there is none. It
// takes logarithmic time.
func (v Value) Get(key string) Value {
	if v.kind != KindObject {
		return Value{}
	}
	m := v.c.members
	if len(m) <= fewMembers {
		for i := range m {
			if m[i].Key == key {
				return m[i].Value
			}
		}
		return Value{}
	}
	i := sort.Search(len(m), func(i int) bool { return compareKeys(m[i].Key, key) >= 0 })
	if i < len(m) && m[i].Key == key {
		return m[i].Value
	}
	return Value{}
}

// Members iterates over the members of an object in canonical order.
func (v Value) Members() iter.Seq2[string, Value] {
	return func(yield func(string, Value) bool) {
		if v.kind != KindObject {
			return
		}
		for i := range v.c.members {
			if !yield(v.c.members[i].Key, v.c.members[i].Value) {
				return
			}
		}
	}
}

// Elems iterates over the elements of an array.
func (v Value) Elems() iter.Seq2[int, Value] {
	return func(yield func(int, Value) bool) {
		if v.kind != KindArray {
			return
		}
		for i, e := range v.c.elems {
			if !yield(i, e) {
				return
			}
		}
	}
}

// Without returns an object without the members of some keys. Other kinds, and
// objects that have none of them, it returns as they are.
func (v Value) Without(keys ...string) Value {
	found := false
	for _, key := range keys {
		found = found || v.Get(key).kind != KindInvalid
	}
	if !found {
		return v
	}
	members := make([]Member, 0, len(v.c.members))
	for _, m := range v.c.members {
		if !slices.Contains(keys, m.Key) {
			members = append(members, m)
		}
	}
	return Object(members)
}
