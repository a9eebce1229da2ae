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

// Layer is another reading of a text.
type Layer struct {
	Flag    string   // the obfuscation, if the layer holds a finding that the text itself has not
	Certain []string // obfuscations that are certain whatever the layer holds
	Text    string
}

// Expand returns the other readings of a text: without what hides it, spaced
// letters joined, leet read, rot13 and reversal undone where the hits show
// their words, encoded runs decoded. Each is bounded by the text's length.
// truncated tells that there was more to decode than the bound. Text that is
// ASCII and has no long unbroken or oddly built words costs one quick pass.
func Expand(text string, hits []Hit) (layers []Layer, truncated bool) {
	base, sig := Normalise(text)
	if base != text {
		layers = append(layers, Layer{Flag: sig.main(), Certain: sig.Flags(), Text: base})
	} else if f := sig.Flags(); len(f) > 0 {
		layers = append(layers, Layer{Flag: sig.main(), Certain: f})
	}
	rot, rev := 0, 0
	kinds := lex().hidden
	for _, h := range hits {
		if h.Keyword >= 0 && h.Keyword < len(kinds) {
			switch kinds[h.Keyword] {
			case 1:
				rot++
			case 2:
				rev++
			}
		}
	}
	if rot > 0 {
		layers = append(layers, Layer{Flag: Encoded, Text: rot13(around(text, hits, kinds, 1))})
	}
	if rev > 0 {
		part := around(text, hits, kinds, 2)
		layers = append(layers, Layer{Flag: Encoded, Text: reverse(part)}, Layer{Flag: Encoded, Text: reverseWords(part)})
	}
	g := look4(base)
	if g.spaced {
		if s := unspace(base); s != "" {
			layers = append(layers, Layer{Flag: Encoded, Text: s})
		}
	}
	if g.mixed >= 2 {
		one, two := unleet(base)
		if one != base {
			layers = append(layers, Layer{Flag: Leet, Text: one})
		}
		if two != one {
			layers = append(layers, Layer{Flag: Leet, Text: two})
		}
	}
	if g.escapes >= 3 {
		if s := unescape(base); s != base {
			layers = append(layers, Layer{Flag: Encoded, Text: s})
		}
	}
	if g.long || g.dashes >= 20 || g.octets >= 4 {
		s, cut := decodeRuns(base, g)
		truncated = cut
		if s != "" {
			layers = append(layers, Layer{Flag: Encoded, Text: s})
		}
	}
	return layers, truncated
}

// around is the part of a text that has hidden words, with what surrounds them.
func around(text string, hits []Hit, kinds []uint8, kind uint8) string {
	first, last := len(text), 0
	for _, h := range hits {
		if h.Keyword >= 0 && h.Keyword < len(kinds) && kinds[h.Keyword] == kind {
			first, last = min(first, h.End), max(last, h.End)
		}
	}
	first, last = max(0, first-400), min(len(text), last+400)
	for first > 0 && !utf8.RuneStart(text[first]) {
		first--
	}
	for last < len(text) && !utf8.RuneStart(text[last]) {
		last++
	}
	return text[first:last]
}

// gate is what one quick pass sees of a text.
type gate struct {
	spaced  bool // single letters with one separator each between them, five at least
	mixed   int  // words that mix letters and digits
	long    bool // an unbroken token of minRun bytes or more
	escapes int  // %XX, \xXX, \uXXXX, &#NN;
	dashes  int  // signs of morse
	octets  int  // tokens of eight binary digits, or pairs of hex digits
}

const (
	gLetter = 1 << iota
	gDigit
	gLeet   // may stand for a letter
	gToken  // belongs to encodings
	gEscape // begins an escape
	gMorse
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
		case c == '%' || c == '\\' || c == '&':
			t[c] = gEscape
		case c == '-' || c == '.':
			t[c] = gMorse
		case c >= utf8.RuneSelf:
			t[c] = gHigh
		}
	}
	return t
}()

func look4(s string) (g gate) {
	start, singles, octets := 0, 0, 0
	var mask uint8
	for i := 0; i <= len(s); i++ {
		var c uint8
		if i < len(s) {
			c = gateClass[s[i]]
			if c&(gLetter|gDigit|gLeet|gToken|gHigh) != 0 {
				mask |= c
				continue
			}
		}
		switch n := i - start; {
		case n == 0:
		case n == 1 && mask&gLetter != 0:
			singles++
			if singles >= 5 {
				g.spaced = true
			}
		default:
			singles = 0
			if n >= minRun {
				g.long = true
			}
			if mask&gLetter != 0 && mask&(gDigit|gLeet) != 0 && n <= 20 {
				g.mixed++
			}
			if n == 8 && mask == gDigit || n == 2 && mask&^(gDigit|gLetter) == 0 && mask&gDigit != 0 {
				octets++
				g.octets = max(g.octets, octets)
			} else if n != 2 {
				octets = 0
			}
		}
		if c&gEscape != 0 {
			g.escapes++
		} else if c&gMorse != 0 && i == start {
			g.dashes++
		}
		start, mask = i+1, 0
	}
	return g
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

// decodeRuns decodes what of a text is base64, base32, hex, binary or morse and
// gives text, joined by lines.
func decodeRuns(s string, g gate) (string, bool) {
	var out []byte
	left := maxDecode
	add := func(b []byte) {
		out = append(out, b...)
		out = append(out, '\n')
	}
	if g.long {
		for i := 0; i < len(s); {
			if !b64[s[i]] {
				i++
				continue
			}
			j := i
			for j < len(s) && b64[s[j]] {
				j++
				// wrapped lines of encoders
				if j-i >= 60 && j+1 < len(s) && (s[j] == '\n' && b64[s[j+1]] || s[j] == '\r' && j+2 < len(s) && b64[s[j+2]]) && lineLong(s, j) {
					for s[j] == '\r' || s[j] == '\n' {
						j++
					}
				}
			}
			if j-i >= minRun {
				run := s[i:min(j, i+maxRun)]
				if left -= min(len(run), 64); left < 0 {
					return string(out), true
				}
				if b := decodeRun(run); b != nil {
					if left -= len(run); left < 0 {
						return string(out), true
					}
					add(b)
				}
			}
			i = j
		}
	}
	if g.octets >= 4 {
		if b := decodeOctets(s); b != nil {
			add(b)
		}
	}
	if g.dashes >= 20 {
		if b := decodeMorse(s); b != nil {
			add(b)
		}
	}
	return string(out), false
}

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

// Inspect judges a text and all its readings, with match as the prefilter. A
// reading's obfuscation counts when the reading raises a flag that the text
// itself does not. Findings of readings have no place in the text: their Start
// and End are 0.
func Inspect(text string, hits []Hit, origin Origin, match func(string) []Hit) Inspection {
	var in Inspection
	in.Findings = Score(text, hits, origin)
	if origin != User && origin != Tool {
		return in
	}
	in.layers(text, hits, origin, match, 1)
	slices.Sort(in.Obfuscation)
	in.Obfuscation = slices.Compact(in.Obfuscation)
	return in
}

func (in *Inspection) layers(text string, hits []Hit, origin Origin, match func(string) []Hit, depth int) {
	layers, cut := Expand(text, hits)
	in.Truncated = in.Truncated || cut
	for _, l := range layers {
		in.Obfuscation = append(in.Obfuscation, l.Certain...)
		if l.Text == "" {
			continue
		}
		h := match(l.Text)
		for _, f := range Score(l.Text, h, origin) {
			if !slices.ContainsFunc(in.Findings, func(o Finding) bool { return o.Flag == f.Flag }) {
				f.Start, f.End = 0, 0
				in.Findings = append(in.Findings, f)
				in.Obfuscation = append(in.Obfuscation, l.Flag)
			}
		}
		if depth < maxDepth {
			in.layers(l.Text, h, origin, match, depth+1)
		}
	}
}
