package injection

import (
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"slices"
	"strings"
	"unicode/utf8"
)

// Bounds of what is decoded.
const (
	maxRun    = 64 << 10 // bytes of one encoded run
	maxDecode = 1 << 20  // bytes decoded of one text
	minRun    = 16       // characters of an encoded run at least
	maxDepth  = 2        // of encodings in encodings
)

// Layer is another reading of parts of a text.
type Layer struct {
	Flag string // the obfuscation, if the layer holds a finding that the text itself has not
	Text string
}

// Expand returns other readings of the parts of a text where it may hide
// something: without what hides it, spaced letters joined, leet read, rot13 and
// reversal undone where the hits show their words, encoded runs decoded. Parts
// of one kind make one layer, an empty line between them. Each is bounded by the
// text's length. certain are obfuscations that are certain whatever the text
// says; truncated tells that there was more to decode than the bound.
func Expand(text string, hits []Hit, places *Places) (layers []Layer, certain []string, truncated bool) {
	var sig Signals
	var parts parts
	for _, s := range places.at[placeHigh] {
		part := widen(text, s, 96)
		if !odd(part) {
			continue
		}
		if base, found := Normalise(part); base != part || found != (Signals{}) {
			sig.add(found)
			if base != part {
				parts.add(base)
			}
		}
	}
	layers = parts.layer(layers, sig.main())
	certain = sig.Flags()

	hidden(text, hits, 1, func(part string) { parts.add(rot13(part)) })
	layers = parts.layer(layers, Encoded)
	hidden(text, hits, 2, func(part string) {
		parts.add(reverse(part))
		parts.add(reverseWords(part))
	})
	layers = parts.layer(layers, Encoded)

	for _, s := range places.at[placeSingle] {
		parts.add(unspace(widen(text, s, 32)))
	}
	layers = parts.layer(layers, Encoded)

	var other []string
	for _, s := range places.at[placeLeet] {
		if part := widen(text, s, 64); leetWords(part) >= 2 {
			one, two := unleet(part)
			parts.add(one)
			if two != one {
				other = append(other, two)
			}
		}
	}
	layers = parts.layer(layers, Leet)
	for _, s := range other {
		parts.add(s)
	}
	layers = parts.layer(layers, Leet)

	for _, s := range places.at[placeEscape] {
		if part := widen(text, s, 64); escapes(part) >= 3 {
			if plain := unescape(part); plain != part {
				parts.add(plain)
			}
		}
	}
	layers = parts.layer(layers, Encoded)

	left, done := maxDecode, 0
	for _, s := range places.at[placeRun] {
		if s.from < done {
			continue
		}
		run := runAt(text, s.from)
		if run == "" {
			continue
		}
		if left -= len(run); left < 0 {
			truncated = true
			break
		}
		done = s.from + len(run)
		parts.add(string(decodeRun(run)))
	}
	for _, kind := range [...]int{placePair, placeBinary} {
		for _, s := range places.at[kind] {
			parts.add(string(decodeOctets(widen(text, s, 64))))
		}
	}
	for _, s := range places.at[placeMorse] {
		parts.add(string(decodeMorse(widen(text, s, 64))))
	}
	return parts.layer(layers, Encoded), certain, truncated
}

// parts collects the parts of a layer.
type parts struct {
	text string
	more []string
}

func (p *parts) add(part string) {
	switch {
	case part == "":
	case p.text == "":
		p.text = part
	default:
		p.more = append(p.more, part)
	}
}

// layer appends the parts as one layer and begins anew.
func (p *parts) layer(layers []Layer, flag string) []Layer {
	if p.text == "" {
		return layers
	}
	text := p.text
	if len(p.more) > 0 {
		text += "\n\n" + strings.Join(p.more, "\n\n")
	}
	p.text, p.more = "", p.more[:0]
	return append(layers, Layer{Flag: flag, Text: text})
}

// widen is the part of a text with at most n bytes more on each side, up to white
// space if there is any.
func widen(text string, s stretch, n int) string {
	from, to := max(0, min(s.from, len(text))), min(s.to, len(text))
	for k := 0; from > 0 && k < n && text[from-1] > ' '; k++ {
		from--
	}
	for k := 0; to < len(text) && k < n && text[to] > ' '; k++ {
		to++
	}
	for from > 0 && from < len(text) && !utf8.RuneStart(text[from]) {
		from--
	}
	for to < len(text) && !utf8.RuneStart(text[to]) {
		to++
	}
	return text[from:to]
}

// hidden calls f with the parts of a text that have hidden words of a kind: two
// near each other, or one in a short text.
func hidden(text string, hits []Hit, kind uint8, f func(part string)) {
	const around = 400
	kinds := lex().hidden
	first, last, n := 0, 0, 0
	end := func() {
		if n >= 2 || n == 1 && len(text) <= shortText {
			f(widen(text, stretch{first - around, last + around}, 32))
		}
		n = 0
	}
	for _, h := range hits {
		if h.Keyword < 0 || h.Keyword >= len(kinds) || kinds[h.Keyword] != kind || h.End > len(text) {
			continue
		}
		if n > 0 && h.End-last > around {
			end()
		}
		if n == 0 {
			first = h.End
		}
		last = h.End
		n++
	}
	end()
}

const (
	gLetter = 1 << iota
	gDigit
	gLeet  // may stand for a letter
	gToken // belongs to encodings
	gHigh
)

var gateClass = func() (t [256]uint8) {
	for c := range t {
		switch {
		case c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z':
			t[c] = gLetter
		case c >= '0' && c <= '9':
			t[c] = gDigit
		case c == '@' || c == '$' || c == '!' || c == '|':
			t[c] = gLeet
		case c == '+' || c == '/' || c == '=' || c == '_':
			t[c] = gToken
		case c >= utf8.RuneSelf:
			t[c] = gHigh
		}
	}
	return t
}()

// leetWords counts the words of letters and digits that read as words of the
// vocabulary.
func leetWords(s string) (n int) {
	l := lex()
	var word [2][maxLeet]byte
	for i := 0; i < len(s); {
		if gateClass[s[i]]&(gLetter|gDigit|gLeet) == 0 {
			i++
			continue
		}
		j, letters, digits := i, 0, 0
		for j < len(s) && gateClass[s[j]]&(gLetter|gDigit|gLeet|gToken|gHigh) != 0 {
			if gateClass[s[j]]&gLetter != 0 {
				letters++
			} else if gateClass[s[j]]&(gDigit|gLeet) != 0 {
				digits++
			}
			j++
		}
		if w := s[i:j]; letters > 0 && digits > 0 && len(w) >= 4 && len(w) <= maxLeet {
			for len(w) > 1 && w[len(w)-1] == '!' {
				w = w[:len(w)-1]
			}
			for k := range len(w) {
				c := lowerByte(w[k])
				word[0][k], word[1][k] = c, c
				if c < utf8.RuneSelf && leetLetter[c] != 0 {
					word[0][k], word[1][k] = leetLetter[c], leetLetter[c]
					if c == '1' || c == '|' || c == '!' {
						word[1][k] = 'l'
					}
				}
			}
			if l.words[string(word[0][:len(w)])]&^cTail != 0 || l.words[string(word[1][:len(w)])]&^cTail != 0 {
				n++
			}
		}
		i = j
	}
	return n
}

const maxLeet = 20 // bytes of a word that may be leet

// escapes counts what unescape reads.
func escapes(s string) (n int) {
	for i := 0; i+2 < len(s); i++ {
		switch s[i] {
		case '%':
			if v, ok := hexValue(s[i+1 : i+3]); ok && v >= ' ' {
				n++
			}
		case '\\':
			if s[i+1] == 'x' || s[i+1] == 'u' {
				n++
			}
		case '&':
			if s[i+1] == '#' {
				n++
			}
		}
	}
	return n
}

// unspace joins letters that stand alone, one separator apart. A wider gap parts
// words; where there is none the words are found by the vocabulary.
func unspace(s string) string {
	var out []byte
	for i := 0; i < len(s); {
		// a run: letter, (separators letter)*
		j, letters, gaps := i, 0, 0
		sep := byte(0)
		mark := len(out)
		for j < len(s) && gateClass[s[j]]&(gLetter|gDigit) != 0 && (j+1 == len(s) || gateClass[s[j+1]]&(gLetter|gDigit|gHigh) == 0) {
			if letters == 0 && j > 0 && gateClass[s[j-1]]&(gLetter|gDigit|gHigh) != 0 {
				break
			}
			out = append(out, s[j])
			letters++
			j++
			k := j
			for k < len(s) && gateClass[s[k]]&(gLetter|gDigit|gHigh) == 0 {
				k++
			}
			if k == len(s) {
				j = k
				break
			}
			if sep == 0 && k > j {
				sep = s[j]
			}
			gap := s[j:k]
			if k-j > 1 || k > j && s[j] != sep {
				gaps++
				if strings.ContainsAny(gap, ".!?;\n:") && strings.Trim(gap, string(sep)) != "" {
					out = append(out, '.')
				}
				out = append(out, ' ')
			}
			j = k
		}
		if letters >= 5 {
			run := string(out[mark:])
			if gaps == 0 && letters > 9 {
				run = segment(run)
			}
			out = append(out[:mark], run...)
			out = append(out, ' ')
			i = j
			continue
		}
		out = out[:mark]
		if j == i {
			j++
		}
		out = append(out, s[i:j]...)
		i = j
	}
	if string(out) == s {
		return ""
	}
	return string(out)
}

// segment parts a run of letters into words of the vocabulary.
func segment(s string) string {
	const longest = 16
	if len(s) > 4096 {
		s = s[:4096]
	}
	l := lex()
	f := fold(s)
	if len(f) != len(s) {
		return s
	}
	cost := make([]int, len(f)+1)
	from := make([]int, len(f)+1)
	for i := 1; i <= len(f); i++ {
		cost[i], from[i] = cost[i-1]+4, i-1
		for n := 1; n <= longest && n <= i; n++ {
			w := f[i-n : i]
			if _, ok := l.words[w]; !ok && !commonWords[w] || n == 1 && w != "i" && w != "a" {
				continue
			}
			if c := cost[i-n] + 1; c < cost[i] || c == cost[i] && n > i-from[i] {
				cost[i], from[i] = c, i-n
			}
		}
	}
	var parts []string
	for i := len(f); i > 0; i = from[i] {
		parts = append(parts, s[from[i]:i])
	}
	slices.Reverse(parts)
	return strings.Join(parts, " ")
}

var commonWords = func() map[string]bool {
	m := map[string]bool{}
	for w := range strings.FieldsSeq("the a an of in on at to and or is are be been was were for with this that these those you your me my it as by from not no do does have has had will can all any new how what who when where why just only so if then than there here about into out up down over again more most other some such own same too very now tell say give make use go get see know take come think want look") {
		m[w] = true
	}
	return m
}()

var leetLetter = [128]byte{'0': 'o', '1': 'i', '3': 'e', '4': 'a', '5': 's', '6': 'g', '7': 't', '8': 'b', '9': 'g', '@': 'a', '$': 's', '!': 'i', '|': 'i', '2': 'z'}

// unleet reads digits in words as the letters they look like; 1 is i in the
// first reading and l in the second.
func unleet(s string) (string, string) {
	one, two := []byte(s), []byte(s)
	for i := 0; i < len(s); {
		if gateClass[s[i]]&(gLetter|gDigit|gLeet) == 0 {
			i++
			continue
		}
		j, letters, digits := i, 0, 0
		for j < len(s) && gateClass[s[j]]&(gLetter|gDigit|gLeet) != 0 {
			if gateClass[s[j]]&gLetter != 0 {
				letters++
			} else {
				digits++
			}
			j++
		}
		end := j
		for end > i+1 && s[end-1] == '!' { // a mark of exclamation
			end--
		}
		if digits > 0 && (letters > 0 || end-i <= 3) && end-i <= 24 {
			for k := i; k < end; k++ {
				if r := leetLetter[s[k]&0x7f]; r != 0 && s[k] < utf8.RuneSelf {
					one[k], two[k] = r, r
					if s[k] == '1' || s[k] == '|' || s[k] == '!' {
						two[k] = 'l'
					}
				}
			}
		}
		i = j
	}
	return string(one), string(two)
}

// unescape reads %XX, \xXX, \uXXXX and &#NN; and leaves what is none of these.
func unescape(s string) string {
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); {
		switch {
		case s[i] == '%' && i+2 < len(s):
			if v, ok := hexValue(s[i+1 : i+3]); ok && v >= ' ' {
				out = append(out, byte(v))
				i += 3
				continue
			}
		case s[i] == '\\' && i+3 < len(s) && s[i+1] == 'x':
			if v, ok := hexValue(s[i+2 : i+4]); ok {
				out = append(out, byte(v))
				i += 4
				continue
			}
		case s[i] == '\\' && i+5 < len(s) && s[i+1] == 'u':
			if v, ok := hexValue(s[i+2 : i+6]); ok {
				out = utf8.AppendRune(out, v)
				i += 6
				continue
			}
		case s[i] == '&' && i+3 < len(s) && s[i+1] == '#':
			v, k := rune(0), i+2
			if s[k] == 'x' || s[k] == 'X' {
				e := k + 1
				for e < len(s) && e < k+7 && s[e] != ';' {
					e++
				}
				if x, ok := hexValue(s[k+1 : e]); ok {
					v, k = x, e
				}
			} else {
				for k < len(s) && k < i+9 && s[k] >= '0' && s[k] <= '9' {
					v = v*10 + rune(s[k]-'0')
					k++
				}
			}
			if v >= ' ' && v <= utf8.MaxRune {
				out = utf8.AppendRune(out, v)
				if k < len(s) && s[k] == ';' {
					k++
				}
				i = k
				continue
			}
		}
		out = append(out, s[i])
		i++
	}
	return strings.ToValidUTF8(string(out), "�")
}

func hexValue(s string) (rune, bool) {
	v := rune(0)
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c >= '0' && c <= '9':
			v = v<<4 | rune(c-'0')
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			v = v<<4 | rune(c|0x20-'a'+10)
		default:
			return 0, false
		}
	}
	return v, len(s) > 0
}

// runAt is the run of base64, base32 or hex of which a stretch of letters and
// digits begins at a place, if it may be text.
func runAt(text string, at int) string {
	from := at
	// many may begin in one unbroken run, so each looks back only a little
	for n := 0; from > 0 && n < 4*minRun && inRun[text[from-1]]; n++ {
		from--
	}
	switch {
	case mayDecode(text[from:]):
	case from < at && mayDecode(text[at:]):
		from = at
	default:
		return ""
	}
	to := at
	for to < len(text) && to-from < maxRun && b64[text[to]] {
		to++
		// wrapped lines of encoders
		if to-from >= 60 && to+1 < len(text) && (text[to] == '\n' && b64[text[to+1]] || text[to] == '\r' && to+2 < len(text) && b64[text[to+2]]) && lineLong(text, to) {
			for to < len(text) && (text[to] == '\r' || text[to] == '\n') {
				to++
			}
		}
	}
	return text[from:to]
}

// inRun tells what may stand before the letters and digits of a run.
var inRun = func() (t [256]bool) {
	for i := range t {
		t[i] = value64[i] < 64
	}
	return t
}()

// mayDecode tells quickly whether the beginning of a run may be text that was
// encoded: of words in a programming language few look so.
func mayDecode(run string) bool {
	if len(run) < minRun {
		return false
	}
	if run[0] == '0' && run[1] == 'x' {
		return true
	}
	if beginsText(run) {
		return true
	}
	text := true // as hex
	for i := 0; text && i < 12; i += 2 {
		v, ok := hexValue(run[i : i+2])
		text = ok && (textByte[v] || v == 0)
	}
	if text {
		return true
	}
	for i := range minRun { // as base32, of which one in 30 words in capitals has the form
		if c := run[i]; (c < 'A' || c > 'Z') && (c < '2' || c > '7') {
			return false
		}
	}
	return true
}

// beginsText tells whether the first 12 bytes of a run of base64 are text.
func beginsText(run string) bool {
	var out [12]byte
	high := byte(0)
	for i := 0; i < len(out); i += 3 {
		k := i / 3 * 4
		a, b, c, d := value64[run[k]], value64[run[k+1]], value64[run[k+2]], value64[run[k+3]]
		out[i], out[i+1], out[i+2] = a<<2|b>>4, b<<4|c>>2, c<<6|d
		if a|b|c|d > 63 || !textByte[out[i]] || !textByte[out[i+1]] || !textByte[out[i+2]] {
			return false
		}
		high |= out[i] | out[i+1] | out[i+2]
	}
	if high < utf8.RuneSelf {
		return true
	}
	for n := len(out); n > len(out)-utf8.UTFMax; n-- {
		if utf8.Valid(out[:n]) {
			return true
		}
	}
	return false
}

// value64 is what a character of base64 stands for, 0xff for others.
var value64 = func() (t [256]byte) {
	for i := range t {
		t[i] = 0xff
	}
	for i, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/") {
		t[c] = byte(i)
	}
	t['-'], t['_'] = 62, 63
	return t
}()

// textByte tells bytes that stand in text, or in text of 16 bits.
var textByte = func() (t [256]bool) {
	for i := range t {
		t[i] = i >= ' ' && i != 0x7f || i == '\n' || i == '\r' || i == '\t' || i == 0
	}
	return t
}()

var b64 = func() (t [256]bool) {
	for _, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_=") {
		t[c] = true
	}
	return t
}()

// lineLong tells that the line which ends at j is as long as encoders write.
func lineLong(s string, j int) bool {
	k := j
	for k > 0 && j-k < 80 && s[k-1] != '\n' {
		k--
	}
	return j-k >= 60
}

func decodeRun(run string) []byte {
	run = strings.Trim(run, "-_/+")
	if strings.ContainsAny(run, "\r\n") {
		run = strings.NewReplacer("\r", "", "\n", "").Replace(run)
	}
	digits := strings.HasPrefix(run, "0x")
	if digits {
		run = run[2:]
	}
	if len(run) < minRun {
		return nil
	}
	if isHex(run) {
		b, err := hex.DecodeString(run[:len(run)&^1])
		if err == nil {
			if t := asText(b); t != nil {
				return t
			}
		}
	}
	if t := decode64(run); t != nil {
		return t
	}
	up := strings.TrimRight(run, "=")
	for i := 0; i < len(up); i++ {
		if c := up[i]; (c < 'A' || c > 'Z') && (c < '2' || c > '7') {
			return nil
		}
	}
	b, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(up)
	if err != nil {
		return nil
	}
	return asText(b)
}

func isHex(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'f') {
			return false
		}
	}
	return true
}

func decode64(run string) []byte {
	if k := strings.IndexByte(run, '='); k >= 0 {
		run = run[:k]
	}
	enc := base64.RawStdEncoding
	if strings.ContainsAny(run, "-_") {
		enc = base64.RawURLEncoding
	}
	// what is no text shows in the first bytes
	if len(run) > 48 {
		head, err := enc.DecodeString(run[:32])
		if err != nil || asText(head) == nil {
			return nil
		}
	}
	if len(run)%4 == 1 {
		run = run[:len(run)-1]
	}
	b, err := enc.DecodeString(run)
	if err != nil {
		return nil
	}
	return asText(b)
}

// asText returns bytes that are text, nil for others. Text in 16 bits is narrowed.
func asText(b []byte) []byte {
	if len(b) < 6 {
		return nil
	}
	zeros := 0
	for i := 1; i < len(b); i += 2 {
		if b[i] == 0 {
			zeros++
		}
	}
	if zeros*2 >= len(b)-1 {
		narrow := make([]byte, 0, len(b)/2+1)
		for i := 0; i < len(b); i += 2 {
			narrow = append(narrow, b[i])
		}
		b = narrow
	}
	// a rune may be cut at the end
	for n := 0; n < 3 && len(b) > 0 && !utf8.Valid(b); n++ {
		b = b[:len(b)-1]
	}
	if !utf8.Valid(b) {
		return nil
	}
	letters := 0
	for _, c := range b {
		switch {
		case c < ' ' && c != '\n' && c != '\r' && c != '\t', c == 0x7f:
			return nil
		case c|0x20 >= 'a' && c|0x20 <= 'z' || c == ' ' || c >= utf8.RuneSelf:
			letters++
		}
	}
	if letters*10 < len(b)*7 {
		return nil
	}
	return b
}

// decodeOctets reads bytes written as eight binary or two hex digits with
// white space, commas or colons between them.
func decodeOctets(s string) []byte {
	var out, run []byte
	width := 0
	end := func() {
		if len(run) >= 6 && asText(run) != nil {
			out = append(out, run...)
			out = append(out, '\n')
		}
		run, width = run[:0], 0
	}
	for i := 0; i < len(s); {
		c := gateClass[s[i]]
		if c&(gLetter|gDigit) == 0 {
			if s[i] != ' ' && s[i] != ',' && s[i] != ':' && s[i] != '\n' && s[i] != '\t' {
				end()
			}
			i++
			continue
		}
		j := i
		for j < len(s) && gateClass[s[j]]&(gLetter|gDigit) != 0 {
			j++
		}
		w := strings.TrimPrefix(s[i:j], "0x")
		v, ok := rune(0), false
		switch len(w) {
		case 8:
			ok = true
			for k := range len(w) {
				ok = ok && (w[k] == '0' || w[k] == '1')
				v = v<<1 | rune(w[k]&1)
			}
		case 2:
			v, ok = hexValue(w)
		}
		if !ok || width != 0 && width != len(w) {
			end()
		}
		if ok {
			width = len(w)
			run = append(run, byte(v))
		}
		i = j
		if len(out)+len(run) > maxRun {
			break
		}
	}
	end()
	if len(out) == 0 {
		return nil
	}
	return out
}

var morse = map[string]byte{
	".-": 'a', "-...": 'b', "-.-.": 'c', "-..": 'd', ".": 'e', "..-.": 'f', "--.": 'g', "....": 'h', "..": 'i', ".---": 'j', "-.-": 'k', ".-..": 'l', "--": 'm', "-.": 'n', "---": 'o', ".--.": 'p', "--.-": 'q',
	".-.": 'r', "...": 's', "-": 't', "..-": 'u', "...-": 'v', ".--": 'w', "-..-": 'x', "-.--": 'y', "--..": 'z',
}

// decodeMorse reads dots and dashes; a slash parts words.
func decodeMorse(s string) []byte {
	var out, run []byte
	letters := 0
	end := func() {
		if letters >= 8 {
			out = append(out, run...)
			out = append(out, '\n')
		}
		run, letters = run[:0], 0
	}
	for i := 0; i < len(s); {
		switch c := s[i]; {
		case c == '.' || c == '-':
			j := i
			for j < len(s) && (s[j] == '.' || s[j] == '-') {
				j++
			}
			if l, ok := morse[s[i:j]]; ok {
				run = append(run, l)
				letters++
			} else {
				end()
			}
			i = j
		case c == '/':
			run = append(run, ' ')
			i++
		case c == ' ':
			i++
		default:
			end()
			i++
		}
		if len(out)+len(run) > maxRun {
			break
		}
	}
	end()
	if len(out) == 0 {
		return nil
	}
	return out
}

// Inspection is what [Inspect] finds.
type Inspection struct {
	Findings    []Finding
	Obfuscation []string // flags, sorted
	Truncated   bool
}

// Inspect judges a text and all its readings, with match as the prefilter and the
// places of the text. A reading's obfuscation counts when the reading raises a
// flag that the text itself does not. Findings of readings have no place in the
// text: their Start and End are 0.
func Inspect(text string, hits []Hit, places *Places, origin Origin, match func(string) []Hit) Inspection {
	var in Inspection
	in.Findings = Score(text, hits, origin)
	if origin != User && origin != Tool {
		return in
	}
	in.layers(text, hits, places, origin, match, 1)
	slices.Sort(in.Obfuscation)
	in.Obfuscation = slices.Compact(in.Obfuscation)
	return in
}

func (in *Inspection) layers(text string, hits []Hit, places *Places, origin Origin, match func(string) []Hit, depth int) {
	layers, certain, cut := Expand(text, hits, places)
	in.Truncated = in.Truncated || cut
	in.Obfuscation = append(in.Obfuscation, certain...)
	for _, l := range layers {
		h := match(l.Text)
		for _, f := range Score(l.Text, h, origin) {
			if !slices.ContainsFunc(in.Findings, func(o Finding) bool { return o.Flag == f.Flag }) {
				f.Start, f.End = 0, 0
				in.Findings = append(in.Findings, f)
				in.Obfuscation = append(in.Obfuscation, l.Flag)
			}
		}
		if depth < maxDepth {
			var inner Places
			inner.Sweep(l.Text)
			in.layers(l.Text, h, &inner, origin, match, depth+1)
		}
	}
}
