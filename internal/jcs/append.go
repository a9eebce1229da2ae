package jcs

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxExact is up to where every integer is a double.
const maxExact = 1 << 53

// Append appends the canonical form of v (RFC 8785) to dst. An Invalid value is
// written as null.
func (v Value) Append(dst []byte) []byte {
	switch v.kind {
	case KindBool:
		if v.s != "" {
			return append(dst, "true"...)
		}
		return append(dst, "false"...)
	case KindNumber:
		return appendNumber(dst, v.s)
	case KindString:
		switch v.form {
		case plain:
			return AppendString(dst, v.s)
		case loose:
			return appendLoose(dst, v.s)
		}
		dst = slices.Grow(dst, len(v.s)+2)
		dst = append(dst, '"')
		dst = append(dst, v.s...)
		return append(dst, '"')
	case KindArray:
		dst = append(dst, '[')
		for i := range v.c.elems {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = v.c.elems[i].Append(dst)
		}
		return append(dst, ']')
	case KindObject:
		dst = append(dst, '{')
		for i := range v.c.members {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = AppendString(dst, v.c.members[i].Key)
			dst = append(dst, ':')
			dst = v.c.members[i].Value.Append(dst)
		}
		return append(dst, '}')
	}
	return append(dst, "null"...)
}

// exactDigits is how many digits an integer may have to surely be a double.
const exactDigits = 15

// appendNumber appends the canonical form of a number as it was told.
func appendNumber(dst []byte, text string) []byte {
	if len(text) <= exactDigits && text != "-0" && !strings.ContainsAny(text, ".eE") {
		return append(dst, text...)
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil {
		// Parse has refused such a number, and no constructor makes one.
		return append(dst, "null"...)
	}
	return AppendFloat(dst, f)
}

// AppendInt appends an integer as RFC 8785 has it: beyond 2^53 it is that of the
// nearest double.
func AppendInt(dst []byte, i int64) []byte {
	if i > maxExact || i < -maxExact {
		return AppendFloat(dst, float64(i))
	}
	return strconv.AppendInt(dst, i, 10)
}

// AppendFloat appends a number in the form of ECMAScript's Number.toString. NaN and
// the infinities, which have none in JSON, are written as null.
func AppendFloat(dst []byte, f float64) []byte {
	switch abs := math.Abs(f); {
	case f == 0: // also -0
		return append(dst, '0')
	case math.IsNaN(f) || math.IsInf(f, 0):
		return append(dst, "null"...)
	case abs >= 1e-6 && abs < 1e21:
		return strconv.AppendFloat(dst, f, 'f', -1, 64)
	}
	dst = strconv.AppendFloat(dst, f, 'e', -1, 64)
	// strconv writes at least two digits of the exponent, ECMAScript as many as it has.
	if n := len(dst); n >= 4 && dst[n-4] == 'e' && dst[n-2] == '0' {
		dst[n-2] = dst[n-1]
		dst = dst[:n-1]
	}
	return dst
}

const hexDigits = "0123456789abcdef"

// AppendString appends s as a JSON string with no more escapes than needed. Every
// byte of s that isn't part of valid UTF-8 is written as U+FFFD.
func AppendString(dst []byte, s string) []byte {
	dst = slices.Grow(dst, len(s)+2+slack)
	dst = append(dst, '"')
	dst = AppendEscaped(dst, s)
	return append(dst, '"')
}

// AppendEscaped is AppendString without the quotes. What it appends for a long string is
// what it appends for its pieces, where the cuts don't part a character.
func AppendEscaped(dst []byte, s string) []byte {
	start := len(dst)
	end, seen := run(s, 0)
	dst = append(dst, s[:end]...)
	for end < len(s) {
		dst = appendEscape(dst, s[end])
		rest := len(s) - end - 1
		if cap(dst)-len(dst) < rest+slack {
			// A quarter more than there is to write, as there will be more escapes.
			dst = slices.Grow(dst, rest+rest/4+slack)
		}
		n := len(dst)
		next, more := copyRun(dst[n:cap(dst)], s, end+1)
		seen |= more
		dst = dst[:n+next-end-1]
		end = next
	}
	if seen&highs != 0 && !validUTF8(s) {
		return AppendEscaped(dst[:start], repair(s))
	}
	return dst
}

// appendLoose appends the string whose literal Parse has read, in its canonical form,
// which isn't longer.
func appendLoose(dst []byte, raw string) []byte {
	dst = slices.Grow(dst, len(raw)+2)
	dst = append(dst, '"')
	i := 0
	for {
		end, _ := run(raw, i)
		dst = append(dst, raw[i:end]...)
		if end == len(raw) {
			return append(dst, '"')
		}
		r, width, _ := readEscape(raw[end:])
		if r < utf8.RuneSelf && special[r] {
			dst = appendEscape(dst, byte(r))
		} else {
			dst = utf8.AppendRune(dst, r)
		}
		i = end + width
	}
}

func appendEscape(dst []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(dst, '\\', c)
	case '\b':
		return append(dst, '\\', 'b')
	case '\f':
		return append(dst, '\\', 'f')
	case '\n':
		return append(dst, '\\', 'n')
	case '\r':
		return append(dst, '\\', 'r')
	case '\t':
		return append(dst, '\\', 't')
	}
	return append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&0xf])
}
