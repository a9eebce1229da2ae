package jcs

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf16"
	"unicode/utf8"

	independent "github.com/gowebpki/jcs"
	"github.com/stretchr/testify/require"
)

func mustParse(t testing.TB, s string) Value {
	t.Helper()
	v, err := Parse(s, DefaultLimits)
	require.NoError(t, err)
	return v
}

func TestCanonicalForm(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"null", " null ", `null`},
		{"booleans", "[true,\tfalse]", `[true,false]`},
		{"empty", `[{ },[ ],""]`, `[{},[],""]`},
		{
			"RFC 8785, 3.2.2: numbers, strings, literals",
			`{
			  "numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
			  "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
			  "literals": [null, true, false]
			}`,
			`{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],"string":"€$\u000f\nA'B\"\\\\\"/"}`,
		},
		{
			"RFC 8785, 3.2.3: keys by UTF-16 code units",
			`{
			  "\u20ac": "Euro Sign",
			  "\r": "Carriage Return",
			  "\ufb33": "Hebrew Letter Dalet With Dagesh",
			  "1": "One",
			  "\ud83d\ude00": "Emoji: Grinning Face",
			  "\u0080": "Control",
			  "\u00f6": "Latin Small Letter O With Diaeresis"
			}`,
			"{\"\\r\":\"Carriage Return\",\"1\":\"One\",\"\u0080\":\"Control\",\"ö\":\"Latin Small Letter O With Diaeresis\",\"€\":\"Euro Sign\",\"😀\":\"Emoji: Grinning Face\",\"\ufb33\":\"Hebrew Letter Dalet With Dagesh\"}",
		},
		{"keys that start alike", `{"aa":1,"a":2,"":3,"ab":4,"aaaaaaaaaaaaaaaaab":5,"aaaaaaaaaaaaaaaaaa":6}`, `{"":3,"a":2,"aa":1,"aaaaaaaaaaaaaaaaaa":6,"aaaaaaaaaaaaaaaaab":5,"ab":4}`},
		{"keys that differ within a character", `{"\ud83d\ude01":1,"\ud83d\ude00":2,"é":3,"è":4}`, `{"è":4,"é":3,"😀":2,"😁":1}`},
		{"nested objects", `{"b":{"d":1,"c":2},"a":[{"z":0,"y":0}]}`, `{"a":[{"y":0,"z":0}],"b":{"c":2,"d":1}}`},
		{"short escapes", `"\b\f\n\r\t\"\\\/"`, `"\b\f\n\r\t\"\\/"`},
		{"control characters", `"\u0000\u0001\u001F\u007f\u0009"`, "\"\\u0000\\u0001\\u001f\u007f\\t\""},
		{"needless escapes", `"\u0041\u00e9\u20AC"`, `"Aé€"`},
		{"line separators stay", `"\u2028\u2029<>&"`, "\"\u2028\u2029<>&\""},
		{"surrogate pair", `"\uD83D\uDE00"`, `"😀"`},
		{"lone surrogates", `"\ud800|\udc00|\ud800\u0041|\ud800\ud83d\ude00"`, `"�|�|�A|�😀"`},
		{"integers", `[0,-0,1,-1,10,999999999999999,9007199254740991,9007199254740993,-9007199254740993,100000000000000000000000]`, `[0,0,1,-1,10,999999999999999,9007199254740991,9007199254740992,-9007199254740992,1e+23]`},
		{"fractions", `[1.0,-0.0,1.50,1e0,1E+2,0.1e1,0.000001,0.0000001,123456789012345678901,1234567890123456789012]`, `[1,0,1.5,1,100,1,0.000001,1e-7,123456789012345680000,1.2345678901234568e+21]`},
		{"numbers that underflow", `[1e-400,-1e-400,0e999]`, `[0,0,0]`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := mustParse(t, tt.in).Append(nil)
			require.Equal(t, tt.want, string(got))
			again := mustParse(t, string(got)).Append(nil)
			require.Equal(t, tt.want, string(again), "the canonical form is its own canonical form")
			other, err := independent.Transform(got)
			require.NoError(t, err)
			require.Equal(t, tt.want, string(other), "independent implementation")
		})
	}
}

// RFC 8785, appendix B.
func TestNumbersOfTheAppendix(t *testing.T) {
	tests := []struct {
		bits uint64
		want string
	}{
		{0x0000000000000000, "0"},
		{0x8000000000000000, "0"},
		{0x0000000000000001, "5e-324"},
		{0x8000000000000001, "-5e-324"},
		{0x7fefffffffffffff, "1.7976931348623157e+308"},
		{0xffefffffffffffff, "-1.7976931348623157e+308"},
		{0x4340000000000000, "9007199254740992"},
		{0xc340000000000000, "-9007199254740992"},
		{0x4430000000000000, "295147905179352830000"},
		{0x7fffffffffffffff, "null"},
		{0x7ff0000000000000, "null"},
		{0x44b52d02c7e14af5, "9.999999999999997e+22"},
		{0x44b52d02c7e14af6, "1e+23"},
		{0x44b52d02c7e14af7, "1.0000000000000001e+23"},
		{0x444b1ae4d6e2ef4e, "999999999999999700000"},
		{0x444b1ae4d6e2ef4f, "999999999999999900000"},
		{0x444b1ae4d6e2ef50, "1e+21"},
		{0x3eb0c6f7a0b5ed8c, "9.999999999999997e-7"},
		{0x3eb0c6f7a0b5ed8d, "0.000001"},
		{0x41b3de4355555553, "333333333.3333332"},
		{0x41b3de4355555554, "333333333.33333325"},
		{0x41b3de4355555555, "333333333.3333333"},
		{0x41b3de4355555556, "333333333.3333334"},
		{0x41b3de4355555557, "333333333.33333343"},
		{0xbecbf647612f3696, "-0.0000033333333333333333"},
		{0x43143ff3c1cb0959, "1424953923781206.2"},
	}
	for _, tt := range tests {
		f := math.Float64frombits(tt.bits)
		require.Equal(t, tt.want, string(AppendFloat(nil, f)), "%x", tt.bits)
		require.Equal(t, tt.want, string(Float(f).Append(nil)), "%x", tt.bits)
	}
}

func TestNumbersAgreeWithIndependentImplementation(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 200_000 {
		f := math.Float64frombits(rnd.Uint64())
		if math.IsNaN(f) || math.IsInf(f, 0) {
			continue
		}
		want, err := independent.NumberToJSON(f)
		require.NoError(t, err)
		require.Equal(t, want, string(AppendFloat(nil, f)))
	}
	for range 50_000 {
		i := int64(rnd.Uint64()) >> rnd.IntN(64) // #nosec G115 -- any bits will do
		want, err := independent.NumberToJSON(float64(i))
		require.NoError(t, err)
		require.Equal(t, want, string(AppendInt(nil, i)))
		require.Equal(t, want, string(Int(i).Append(nil)))
	}
}

func TestParseRefuses(t *testing.T) {
	tests := []struct {
		name string
		in   string
		want error
	}{
		{"nothing", "", ErrInvalid},
		{"only space", " \n", ErrInvalid},
		{"byte order mark", "\ufeff1", ErrInvalid},
		{"comment", `[1/*x*/]`, ErrInvalid},
		{"comma before the end of an array", `[1,]`, ErrInvalid},
		{"comma before the end of an object", `{"a":1,}`, ErrInvalid},
		{"no comma", `[1 2]`, ErrInvalid},
		{"no colon", `{"a" 1}`, ErrInvalid},
		{"no key", `{1:1}`, ErrInvalid},
		{"single quotes", `{'a':1}`, ErrInvalid},
		{"open array", `[1`, ErrInvalid},
		{"open object", `{"a":1`, ErrInvalid},
		{"wrong end", `[1}`, ErrInvalid},
		{"two values", `1 1`, ErrInvalid},
		{"half a word", `tru`, ErrInvalid},
		{"a longer word", `nullx`, ErrInvalid},
		{"NaN", `NaN`, ErrInvalid},
		{"leading zero", `01`, ErrInvalid},
		{"plus", `+1`, ErrInvalid},
		{"only minus", `-`, ErrInvalid},
		{"no digit before the point", `.5`, ErrInvalid},
		{"no digit after the point", `1.`, ErrInvalid},
		{"no exponent", `1e`, ErrInvalid},
		{"no exponent after its sign", `1e+`, ErrInvalid},
		{"hexadecimal", `0x1`, ErrInvalid},
		{"beyond double, by exponent", `[1e309]`, ErrInvalid},
		{"beyond double, by digits", strings.Repeat("9", 310), ErrInvalid},
		{"open string", `"a`, ErrInvalid},
		{"open escape", `"a\`, ErrInvalid},
		{"open escape after an escape", `"a\n\`, ErrInvalid},
		{"open string after an escape", `"a\n`, ErrInvalid},
		{"control character", "\"a\nb\"", ErrInvalid},
		{"control character after an escape", "\"a\\n\x00b\"", ErrInvalid},
		{"unknown escape", `"\x41"`, ErrInvalid},
		{"escaped control character", "\"\\\n\"", ErrInvalid},
		{"escape beyond ASCII", `"\é"`, ErrInvalid},
		{"short unicode escape", `"\u12"`, ErrInvalid},
		{"unicode escape without digits", `"\u12g4"`, ErrInvalid},
		{"unicode escape at the end", `"\u`, ErrInvalid},
		{"invalid UTF-8", "\"a\xff\"", ErrInvalidUTF8},
		{"invalid UTF-8 in a long string", `"` + strings.Repeat("a", 100) + "\xc3" + strings.Repeat("a", 100) + `"`, ErrInvalidUTF8},
		{"invalid UTF-8 after an escape", "\"\\n\xff\"", ErrInvalidUTF8},
		{"invalid UTF-8 in a key", "{\"\xff\":1}", ErrInvalidUTF8},
		{"encoded surrogate", "\"\xed\xa0\x80\"", ErrInvalidUTF8},
		{"too deep", strings.Repeat("[", 257) + strings.Repeat("]", 257), ErrTooDeep},
		{"too deep and open", strings.Repeat(`{"a":`, 1_000_000), ErrTooDeep},
		{"too many values", "[" + strings.Repeat("0,", 1<<20) + "0]", ErrTooLarge},
		{"too many bytes", strings.Repeat(" ", 64<<20) + "1", ErrTooLarge},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v, err := Parse(tt.in, DefaultLimits)
			require.ErrorIs(t, err, tt.want)
			require.Equal(t, KindInvalid, v.Kind())
			_, err = ParseStrict(tt.in, DefaultLimits)
			require.ErrorIs(t, err, tt.want)
		})
	}
}

func TestErrorsTellThePlaceAndNotTheContent(t *testing.T) {
	_, err := Parse(`{"secret":"hunter2", oops}`, DefaultLimits)
	require.EqualError(t, err, "invalid JSON: no key at byte 21")
}

func TestLimits(t *testing.T) {
	tests := []struct {
		name string
		in   string
		lim  Limits
		want error
	}{
		{"depth reached", `[[1]]`, Limits{MaxDepth: 2}, nil},
		{"depth passed", `[[[1]]]`, Limits{MaxDepth: 2}, ErrTooDeep},
		{"depth counts open ones only", `[[1],[1],{"a":[]}]`, Limits{MaxDepth: 3}, nil},
		{"nodes reached", `[1,{"a":2}]`, Limits{MaxNodes: 4}, nil},
		{"nodes passed", `[1,{"a":2}]`, Limits{MaxNodes: 3}, ErrTooLarge},
		{"bytes reached", `[1]`, Limits{MaxBytes: 3}, nil},
		{"bytes passed", `[1] `, Limits{MaxBytes: 3}, ErrTooLarge},
		{"zero means default", strings.Repeat("[", 256) + strings.Repeat("]", 256), Limits{}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Parse(tt.in, tt.lim)
			if tt.want == nil {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, tt.want)
		})
	}
}

func TestDuplicateKeys(t *testing.T) {
	const in = `{"b":1,"a":1,"\u0061":{"x":1},"c":0,"a":3}`
	v := mustParse(t, in)
	require.Equal(t, `{"a":3,"b":1,"c":0}`, string(v.Append(nil)))
	require.Equal(t, "3", v.Get("a").NumberText())
	_, err := ParseStrict(in, DefaultLimits)
	require.ErrorIs(t, err, ErrDuplicateKey)
	require.ErrorIs(t, err, ErrInvalid)
	_, err = ParseStrict(`{"a":{"a":1},"b":{"a":1}}`, DefaultLimits)
	require.NoError(t, err)
}

func TestDuplicateKeysKeepTheLastAmongMany(t *testing.T) {
	var b strings.Builder
	b.WriteByte('{')
	for i := range 5000 {
		fmt.Fprintf(&b, `"k%d":%d,`, i%700, i)
	}
	b.WriteString(`"end":0}`)
	v := mustParse(t, b.String())
	require.Equal(t, 701, v.Len())
	for i := range 700 {
		last, ok := v.Get(fmt.Sprintf("k%d", i)).Int()
		require.True(t, ok)
		require.Equal(t, int64(i+(4999-i)/700*700), last)
	}
}

func TestAccess(t *testing.T) {
	v := mustParse(t, `{"s":"x","i":7,"f":1.5,"b":true,"n":null,"a":[1,"two"],"o":{"k":1},"e":"a\nb","one":1.0}`)
	require.Equal(t, KindObject, v.Kind())
	require.Equal(t, "x", v.Get("s").Str())
	require.Equal(t, "a\nb", v.Get("e").Str())
	i, ok := v.Get("i").Int()
	require.True(t, ok)
	require.Equal(t, int64(7), i)
	f, ok := v.Get("f").Float()
	require.True(t, ok)
	require.InDelta(t, 1.5, f, 0)
	_, ok = v.Get("f").Int()
	require.False(t, ok)
	i, ok = v.Get("one").Int()
	require.True(t, ok)
	require.Equal(t, int64(1), i)
	require.True(t, v.Get("b").Bool())
	require.True(t, v.Get("n").IsNull())
	require.Equal(t, 2, v.Get("a").Len())
	require.Equal(t, "two", v.Get("a").Index(1).Str())
	require.Equal(t, KindInvalid, v.Get("a").Index(2).Kind())
	require.Equal(t, KindInvalid, v.Get("a").Index(-1).Kind())
	require.Equal(t, KindInvalid, v.Get("none").Kind())
	require.Equal(t, KindInvalid, v.Get("s").Get("x").Kind())
	require.False(t, v.Get("none").IsNull())

	var keys []string
	for k, m := range v.Members() {
		require.NotEqual(t, KindInvalid, m.Kind())
		keys = append(keys, k)
	}
	require.Equal(t, []string{"a", "b", "e", "f", "i", "n", "o", "one", "s"}, keys)
	for range v.Members() {
		break
	}
	n := 0
	for i, e := range v.Get("a").Elems() {
		require.Equal(t, n, i)
		require.NotEqual(t, KindInvalid, e.Kind())
		n++
	}
	require.Equal(t, 2, n)
	for range v.Get("a").Elems() {
		break
	}
}

func TestStringsAreKeptAsTold(t *testing.T) {
	tests := []struct {
		name, in, text string
		// literal is what Literal gives, "" when it is not at hand.
		literal string
	}{
		{"no escapes", `"é a"`, "é a", "é a"},
		{"canonical escapes", `"a\n\t\"\\\b\f\r\u0000\u001fé"`, "a\n\t\"\\\b\f\r\x00\x1fé", `a\n\t\"\\\b\f\r\u0000\u001fé`},
		{"needless escape", `"a\/b"`, "a/b", ""},
		{"letter as a number", `"\u0041\n"`, "A\n", ""},
		{"line break as a number", `"\u000a"`, "\n", ""},
		{"number in upper case", `"\u001F"`, "\x1f", ""},
		{"quote as a number", `"\u0022"`, `"`, ""},
		{"pair", `"\ud83d\ude00"`, "😀", ""},
		{"half a pair", `"\ud83d\n"`, "\ufffd\n", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v := mustParse(t, tt.in)
			require.Equal(t, tt.text, v.Str())
			literal, ok := v.Literal()
			require.Equal(t, tt.literal != "", ok)
			if ok {
				require.Equal(t, tt.literal, literal)
			}
			require.Equal(t, string(AppendString(nil, tt.text)), string(v.Append(nil)))
			require.True(t, v.Is(tt.text))
			require.False(t, v.Is(tt.text+"x"))
			require.False(t, v.Is(tt.text[1:]))
			require.False(t, v.Is(""))
			for _, other := range tests {
				same := tt.text == other.text
				require.Equal(t, same, v.SameStr(mustParse(t, other.in)), other.name)
				require.Equal(t, same, v.SameStr(String(other.text)), other.name)
				require.Equal(t, same, String(tt.text).SameStr(mustParse(t, other.in)), other.name)
			}
			require.Equal(t, tt.text, mustParse(t, `{`+tt.in+`:1}`).members()[0])
		})
	}
	require.True(t, mustParse(t, `""`).Is(""))
	require.False(t, mustParse(t, `1`).Is("1"))
	require.False(t, String("1").SameStr(Int(1)))
	require.False(t, mustParse(t, `"`+strings.Repeat(`\u0041`, 1<<20)+`"`).Is("A"), "and in no time")
}

func (v Value) members() (keys []string) {
	for k := range v.Members() {
		keys = append(keys, k)
	}
	return keys
}

func TestZeroValueAnswersEverything(t *testing.T) {
	var v Value
	require.Equal(t, KindInvalid, v.Kind())
	require.Equal(t, "invalid", v.Kind().String())
	require.Equal(t, "invalid", Kind(200).String())
	require.Equal(t, "null", string(v.Append(nil)))
	require.Empty(t, v.Str())
	require.Empty(t, v.NumberText())
	require.False(t, v.Bool())
	require.False(t, v.IsNull())
	require.Zero(t, v.Len())
	_, ok := v.Int()
	require.False(t, ok)
	_, ok = v.Float()
	require.False(t, ok)
	for range v.Members() {
		t.Fatal("no members")
	}
	for range v.Elems() {
		t.Fatal("no elements")
	}
}

func TestInts(t *testing.T) {
	tests := []struct {
		in   string
		want int64
		ok   bool
	}{
		{"0", 0, true},
		{"-0", 0, true},
		{"9223372036854775807", math.MaxInt64, true},
		{"9223372036854775808", 0, false},
		{"1e3", 1000, true},
		{"1.5", 0, false},
		{"9007199254740992.0", 1 << 53, true},
		{"1e16", 0, false},
		{`"1"`, 0, false},
	}
	for _, tt := range tests {
		got, ok := mustParse(t, tt.in).Int()
		require.Equal(t, tt.ok, ok, tt.in)
		require.Equal(t, tt.want, got, tt.in)
	}
}

func TestConstructors(t *testing.T) {
	v := Object([]Member{
		{"z", Array([]Value{Int(-3), Float(0.5), Float(math.NaN()), Float(math.Inf(-1)), Bool(true), Bool(false), Null(), {}})},
		{"a", String("old")},
		{"gone", Value{}},
		{"\xff", String("bad key")},
		{"bad", String("x\xffy\xc3")},
		{"a", String("new")},
		{"none", Array(nil)},
		{"empty", Object(nil)},
	})
	require.Equal(t,
		`{"a":"new","bad":"x�y�","empty":{},"none":[],"z":[-3,0.5,null,null,true,false,null,null],"�":"bad key"}`,
		string(v.Append(nil)))
	sorted := []Member{{"a", Int(1)}, {"b", Int(2)}}
	require.Equal(t, `{"a":1,"b":2}`, string(Object(sorted).Append(nil)))
	given := []Member{{"b", Int(2)}, {"a", Int(1)}}
	require.Equal(t, `{"a":1,"b":2}`, string(Object(given).Append([]byte{})))
	require.Equal(t, "b", given[0].Key, "what was given is not changed")
}

func TestWithout(t *testing.T) {
	v := mustParse(t, `{"a":1,"b":{"a":2},"c":3}`)
	require.Equal(t, `{"b":{"a":2}}`, string(v.Without("a", "c", "x").Append(nil)))
	require.Equal(t, `{"a":1,"b":{"a":2},"c":3}`, string(v.Append(nil)), "v stays")
	require.Equal(t, v, v.Without("x"))
	require.Equal(t, String("a"), String("a").Without("a"))
	require.Equal(t, KindInvalid, Value{}.Without("a").Kind())
}

func TestAppendStringAtEveryPlace(t *testing.T) {
	// A character of each sort at each place of a word, before and after others.
	for _, c := range []string{`"`, `\`, "\n", "\x00", "\x1f", " ", "\x7f", "é", "€", "😀", "\xff", "\xc3", "\xe2\x82", "\x80"} {
		for before := range 35 {
			s := strings.Repeat("a", before) + c + "b" + c + strings.Repeat("é", before%3)
			got := string(AppendString(nil, s))
			var want bytes.Buffer
			enc := json.NewEncoder(&want)
			enc.SetEscapeHTML(false)
			require.NoError(t, enc.Encode(repair(s)))
			require.Equal(t, strings.TrimSuffix(want.String(), "\n"), got)
			v, err := Parse(got, DefaultLimits)
			require.NoError(t, err)
			require.Equal(t, repair(s), v.Str())
		}
	}
}

func TestStringsShareTheirSource(t *testing.T) {
	src := `["` + strings.Repeat("x", 1<<20) + `"]`
	v := mustParse(t, src)
	allocs := testing.AllocsPerRun(10, func() { _ = v.Index(0).Str() })
	require.Zero(t, allocs)
	res := testing.Benchmark(func(b *testing.B) {
		for range b.N {
			_, _ = Parse(src, DefaultLimits)
		}
	})
	require.Less(t, res.AllocedBytesPerOp(), int64(1<<16))
}

func TestKeyOrderIsThatOfUTF16(t *testing.T) {
	chars := []rune{0, 'a', 'b', 0x7f, 0x80, 0x7ff, 0x800, 0xd7ff, 0xe000, 0xfffd, 0xffff, 0x10000, 0x10ffff}
	rnd := rand.New(rand.NewPCG(3, 4))
	for range 20_000 {
		var a, b []rune
		prefix := rnd.IntN(12)
		for range prefix {
			c := chars[rnd.IntN(len(chars))]
			a, b = append(a, c), append(b, c)
		}
		for range rnd.IntN(3) {
			a = append(a, chars[rnd.IntN(len(chars))])
		}
		for range rnd.IntN(3) {
			b = append(b, chars[rnd.IntN(len(chars))])
		}
		x, y := utf16.Encode(a), utf16.Encode(b)
		want := 0
		for i := 0; i < len(x) && i < len(y) && want == 0; i++ {
			want = int(x[i]) - int(y[i])
		}
		if want == 0 {
			want = len(x) - len(y)
		}
		got := compareKeys(string(a), string(b))
		require.Equal(t, want < 0, got < 0, "%q %q", string(a), string(b))
		require.Equal(t, want > 0, got > 0, "%q %q", string(a), string(b))
	}
}

// Time must not grow faster than the input, however it is made.
func TestHostileInputIsLinear(t *testing.T) {
	long := strings.Repeat("k", 1000)
	var keys, same, equal, unsorted strings.Builder
	for i := range 300_000 {
		fmt.Fprintf(&keys, `"%d":0,`, (i*7919)%300_000)
		same.WriteString(`"a":0,`)
		fmt.Fprintf(&unsorted, `"%d":{"b":0,"a":0},`, 300_000-i)
	}
	for i := range 30_000 {
		fmt.Fprintf(&equal, `"%s%d":0,`, long, (i*7919)%30_000)
	}
	tests := []struct{ name, in string }{
		{"many keys", "{" + keys.String() + `"z":0}`},
		{"one key many times", "{" + same.String() + `"z":0}`},
		{"many objects", "{" + unsorted.String() + `"z":0}`},
		{"long keys that start alike", "{" + equal.String() + `"z":0}`},
		{"escapes", `"` + strings.Repeat(`\u0041\n`, 4_000_000) + `"`},
		{"open strings in escapes", `"` + strings.Repeat(`\"`, 8_000_000)},
		{"long number", strings.Repeat("1", 300) + "." + strings.Repeat("1", 20_000_000)},
		{"white space", strings.Repeat(" ", 30_000_000)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v, err := Parse(tt.in, DefaultLimits)
			if err == nil {
				v.Append(nil)
			}
		})
	}
}

// hasLoneSurrogate reports whether a text escapes half a character, where the independent
// implementation takes away the character that follows.
func hasLoneSurrogate(canonical []byte) bool { return bytes.Contains(canonical, []byte("\ufffd")) }

func FuzzParse(f *testing.F) {
	for _, s := range []string{
		`{"a":[1,2.5,-0,1e5,null,true,false,"x\n\u00e9\ud83d\ude00"],"b":{"a":{}}}`,
		`[{"role":"user","parts":[{"type":"text","content":"hi"}]}]`,
		`"\ud800\u0041"`, `1e400`, `{"a":1,"a":2}`, "\"\xff\"", `[[[[[[]]]]]]`, `{"\u0061":1,"a":2,"€":3,"😀":4,"\ufb33":5}`,
		"\"\x7f\u2028\"", ` [ 1 , 2 ] `, `-`, `"\`, `{"":""}`, `0.1e-7`, `"\/\b\f"`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		v, err := Parse(s, DefaultLimits)
		valid := json.Valid([]byte(s))
		if err != nil {
			require.Equal(t, KindInvalid, v.Kind())
			if valid {
				// The three documented differences.
				var x any
				outOfRange := json.Unmarshal([]byte(s), &x) != nil
				require.True(t, outOfRange || !utf8.ValidString(s) || strings.Count(s, "[")+strings.Count(s, "{") > DefaultLimits.MaxDepth, "%v", err)
			}
			return
		}
		require.True(t, valid, "encoding/json refuses it")

		canonical := v.Append(nil)
		require.True(t, utf8.Valid(canonical))
		if v.Kind() == KindString {
			text := v.Str()
			require.True(t, v.Is(text))
			require.True(t, v.SameStr(String(text)))
			require.Equal(t, string(AppendString(nil, text)), string(canonical), "as told, and from the text")
			if literal, ok := v.Literal(); ok {
				require.Equal(t, string(canonical), `"`+literal+`"`)
			}
		}
		var a, b any
		require.NoError(t, json.Unmarshal([]byte(s), &a))
		require.NoError(t, json.Unmarshal(canonical, &b))
		require.Equal(t, a, b, "same meaning as read by encoding/json")

		again, err := ParseStrict(string(canonical), DefaultLimits)
		require.NoError(t, err)
		require.Equal(t, string(canonical), string(again.Append(nil)))

		other, err := independent.Transform(canonical)
		require.NoError(t, err)
		require.Equal(t, string(other), string(canonical))
		if other, err := independent.Transform([]byte(s)); err == nil && !hasLoneSurrogate(canonical) {
			require.Equal(t, string(other), string(canonical))
		}
	})
}

func FuzzValidUTF8(f *testing.F) {
	for _, s := range []string{"", "a", "é", "\xff", "\xc0\x80", "\xed\xa0\x80", "\xed\x9f\xbf", "\xf4\x90\x80\x80", "\xf0\x8f\xbf\xbf", "aaaaaaa\xe2\x82\xacaaaaaaa", "\xe2\x82"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for pad := range 8 {
			s := strings.Repeat("a", pad) + s
			require.Equal(t, utf8.ValidString(s), validUTF8(s), "%q", s)
		}
	})
}

func TestValidUTF8AtTheEdges(t *testing.T) {
	// Every second, third and fourth byte after every first, at the edges of the ranges.
	edges := []int{0x00, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC1, 0xC2, 0xFF}
	for first := range 256 {
		for _, b := range edges {
			for _, c := range edges {
				for _, d := range edges {
					for n := range 4 {
						s := string([]byte{byte(first), byte(b), byte(c), byte(d)}[:n+1])
						if utf8.ValidString(s) != validUTF8(s) {
							t.Fatalf("%x", s)
						}
					}
				}
			}
		}
	}
}

func FuzzAppendString(f *testing.F) {
	f.Add("a\"b\\c\n\x00é\xff")
	f.Add("\xed\xa0\x80 0123456789abcdef")
	f.Fuzz(func(t *testing.T, s string) {
		got := AppendString([]byte("x"), s)
		v, err := Parse(string(got[1:]), DefaultLimits)
		require.NoError(t, err)
		require.Equal(t, repair(s), v.Str())
		require.Equal(t, string(got[1:]), string(String(s).Append(nil)))
		other, err := independent.Transform(got[1:])
		require.NoError(t, err)
		require.Equal(t, string(other), string(got[1:]))
	})
}

// prose returns text of about n bytes with a line break each 70 or so.
func prose(n int, word string) string {
	var b strings.Builder
	for i := 0; b.Len() < n; i++ {
		b.WriteString(word)
		if i%10 == 9 {
			b.WriteByte('\n')
		} else {
			b.WriteByte(' ')
		}
	}
	return b.String()
}

func BenchmarkThroughput(b *testing.B) {
	const size = 32 << 10
	texts := map[string]string{
		"plain":    strings.ReplaceAll(prose(size, "abcdef"), "\n", " "),
		"lines":    prose(size, "abcdef"),
		"code":     prose(size, `f("x")`),
		"cyrillic": prose(size, "слово"),
		"chinese":  prose(size, "一二三"),
	}
	encode := func(text string) string {
		return `[{"role":"user","parts":[{"type":"text","content":` + string(AppendString(nil, text)) + `}]}]`
	}
	sources := map[string]string{}
	for name, text := range texts {
		sources[name] = encode(text)
	}
	var escaped strings.Builder
	for _, r := range texts["cyrillic"] {
		if r < 0x80 {
			escaped.WriteByte(byte(r))
		} else {
			fmt.Fprintf(&escaped, `\u%04x`, r)
		}
	}
	sources["cyrillic-escaped"] = `["` + strings.ReplaceAll(escaped.String(), "\n", `\n`) + `"]`
	sources["small-blocks"] = "[" + strings.Repeat(`{"role":"user","parts":[{"type":"text","content":"short text"},{"type":"tool_call","id":"t1","name":"f","arguments":{"a":1,"b":[1,2,3]}}]},`, 220) + "null]"
	for name, src := range sources {
		buf := make([]byte, 0, 2*len(src))
		v := mustParse(b, src)
		b.Run(name+"/parse", func(b *testing.B) {
			b.SetBytes(int64(len(src)))
			b.ReportAllocs()
			for b.Loop() {
				_, _ = Parse(src, DefaultLimits)
			}
		})
		b.Run(name+"/append", func(b *testing.B) {
			b.SetBytes(int64(len(src)))
			for b.Loop() {
				buf = v.Append(buf[:0])
			}
		})
		b.Run(name+"/parse+append+sha256", func(b *testing.B) {
			b.SetBytes(int64(len(src)))
			for b.Loop() {
				v, _ := Parse(src, DefaultLimits)
				buf = v.Append(buf[:0])
				_ = sha256.Sum256(buf)
			}
		})
		b.Run(name+"/sha256", func(b *testing.B) {
			b.SetBytes(int64(len(src)))
			for b.Loop() {
				_ = sha256.Sum256([]byte(src))
			}
		})
	}
}
