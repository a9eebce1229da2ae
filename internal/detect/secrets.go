package detect

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"strings"
)

// Secrets that no fixed prefix tells: what stands where a key or a password is
// given and looks as if a machine or a careful person had made it up.

// placeholders are pieces of values that stand for a secret.
var placeholders = []string{
	"xxxx", "****", "....", "your_", "your-", "yourkey", "yourtoken", "youraccesstoken", "example", "placeholder", "changeme",
	"change_me", "change-me", "redacted", "insert_", "insert-", "dummy", "notareal", "not-a-real", "not_a_real", "fakekey", "fake_",
	"my_secret", "mysecret", "my-secret", "${", "{{", "}}", "$(", "<%", "process.env", "os.environ", "os.getenv", "getenv(", "env.get",
	"secrets.", "vars.", "undefined", "todo", "foobar", "replace_", "replace-", "replaceme", "enter_", "somepass", "secret_here", "key_here",
	"token_here", "goes_here", "goes-here", "____", "----",
}

// isPlaceholder says whether a value stands for a secret and is none.
func isPlaceholder(v string) bool {
	if v == "" {
		return true
	}
	if hasPlaceholder(v) {
		return true
	}
	switch v[0] {
	case '<', '$', '%', '{', '[':
		if len(v) > 1 && (v[len(v)-1] == '>' || v[len(v)-1] == '}' || v[len(v)-1] == '%' || v[len(v)-1] == ']' || v[0] == '$' && allWord(v[1:])) {
			return true
		}
	}
	// few different characters, or one run for most of it
	var n [256]int
	distinct, most := 0, 0
	for i := range len(v) {
		c := lowerBytes[v[i]]
		if n[c] == 0 {
			distinct++
		}
		n[c]++
		most = max(most, n[c])
	}
	return len(v) >= 6 && distinct <= 2 || len(v) >= 8 && (distinct <= 3 || most*10 > len(v)*7)
}

// lowerBytes is every byte with ASCII capitals in lower case.
var lowerBytes = func() (t [256]byte) {
	for i := range t {
		t[i] = byte(i)
		if isUpper(byte(i)) {
			t[i] |= 0x20
		}
	}
	return t
}()

// placeholderStarts are the pieces of placeholders by their first two bytes, and
// placeholderPairs the set of these, which most pairs of bytes are not in.
var placeholderStarts, placeholderPairs = func() (map[uint16][]string, *[1 << 10]uint64) {
	starts, pairs := map[uint16][]string{}, new([1 << 10]uint64)
	for _, p := range placeholders {
		k := uint16(p[0]) | uint16(p[1])<<8
		starts[k] = append(starts[k], p)
		pairs[k>>6] |= 1 << (k & 63)
	}
	return starts, pairs
}()

// hasPlaceholder says whether v has a piece of a placeholder in it.
func hasPlaceholder(v string) bool {
	for i := 0; i+1 < len(v); i++ {
		k := uint16(lowerBytes[v[i]]) | uint16(lowerBytes[v[i+1]])<<8
		if placeholderPairs[k>>6]>>(k&63)&1 == 0 {
			continue
		}
		for _, p := range placeholderStarts[k] {
			if len(p) <= len(v)-i && hasPrefixFold(v[i:], p) {
				return true
			}
		}
	}
	return false
}

// hasPrefixFold says whether v begins with p, which is in lower case.
func hasPrefixFold(v, p string) bool {
	for i := range len(p) {
		if lowerBytes[v[i]] != p[i] {
			return false
		}
	}
	return true
}

func allWord(s string) bool {
	for i := range len(s) {
		if !isWordByte(s[i]) {
			return false
		}
	}
	return s != ""
}

// commonPairs are pairs of letters that are frequent in words of Latin
// languages. In words most pairs are, in random letters about one of four.
var commonPairs = func() (t [26 * 26]bool) {
	for _, p := range strings.Fields(`th he in er an re on at en nd ti es or te of ed is it al ar st to nt ng se ha as ou io le ve co me de hi
		ri ro ic ne ea ra ce li ch ll be ma si om ur ca el ta la ns di fo ho pe ec pr no ct us ac ot il tr ly nc et ut ss so rs un lo wa ge ie wh ee
		wi em ad ol rt po we na ul ni ts mo ow pa im mi ai sh ir su id os iv ia am fi ci vi pl ig tu ev ld ry mp fe bl ab gh ty op wo sa ay ex ke ui
		fr oo ag if ap ck gr od bo sp rd do uc bu ei ov by rm ep tt oc fa ef cu rn sc gi da yo cr cl du ga qu ue ff ba ey ls va um pp ua up lu go ht
		ru ug ds lt pi rc rr eg au ck ew mu br bi pt ak pu ui rg ib tl ny ki rk ys ob mm fu ph og ms ye ud mb ip ub oi rl gu dr hr cc tw ft wn nu af
		hu nn eo vo rv nf xp gn sm fl iz ok nl my gl aw ju oa eq sy sl ps lf nv je nk gg dg jo be ox`) {
		t[int(p[0]-'a')*26+int(p[1]-'a')] = true
	}
	return t
}()

// wordy is the share of pairs of letters in s that are those of words, and the
// number of pairs.
func wordy(s string) (float64, int) {
	common, pairs := 0, 0
	for i := 1; i < len(s); i++ {
		a, b := s[i-1]|0x20, s[i]|0x20
		if !isLetter(s[i-1]) || !isLetter(s[i]) {
			continue
		}
		pairs++
		if commonPairs[int(a-'a')*26+int(b-'a')] {
			common++
		}
	}
	if pairs == 0 {
		return 0, 0
	}
	return float64(common) / float64(pairs), pairs
}

// stretches is how many stretches of one kind a value of letters and digits has, a
// word with a capital being one. What is made of words has long ones; of random
// letters and digits every other byte begins a new one.
func stretches(v string) int {
	n := 1
	for i := 1; i < len(v); i++ {
		a, b := v[i-1], v[i]
		switch {
		case isDigit(a) != isDigit(b), isLower(a) && isUpper(b):
			n++
		case isUpper(a) && isLower(b) && i > 1 && isUpper(v[i-2]):
			n++
		}
	}
	return n
}

// choppy says whether the stretches of a value are as short as chance makes them.
func choppy(v string) bool { return len(v) >= 10 && stretches(v)*13 >= len(v)*5 }

// uuidLike says whether v has the groups of a UUID, of letters and digits.
func uuidLike(v string) bool {
	if len(v) != 36 || v[8] != '-' || v[13] != '-' || v[18] != '-' || v[23] != '-' {
		return false
	}
	for i := range len(v) {
		if !isAlnum(v[i]) && v[i] != '-' {
			return false
		}
	}
	return true
}

// slug says whether v is a name of words and numbers with signs between:
// token-count-2026-05-13, us-west-2:123456789012. At most one part may be a short
// one of letters and digits.
func slug(v string) bool {
	parts, mixed := 0, 0
	for from := 0; from <= len(v); {
		to := from
		for to < len(v) && isAlnum(v[to]) {
			to++
		}
		if p := v[from:to]; p != "" {
			parts++
			switch c := classesOf(p); {
			case c.digits == len(p):
			case c.digits > 0:
				if mixed++; len(p) > 6 {
					return false
				}
			case len(p) > 4:
				if w, _ := wordy(p); w < 0.5 {
					return false
				}
			}
		}
		from = to + 1
	}
	return parts > 1 && mixed < 2
}

type charClasses struct{ digits, lower, upper, other int }

func classesOf(v string) (c charClasses) {
	for i := range len(v) {
		switch b := v[i]; {
		case isDigit(b):
			c.digits++
		case isLower(b):
			c.lower++
		case isUpper(b):
			c.upper++
		default:
			c.other++
		}
	}
	return c
}

// looksRandom says whether a value of at least minimum bytes looks made by a
// machine: letters and digits mixed, much entropy, and not words.
func looksRandom(v string, minimum int) bool {
	return len(v) >= minimum && mixed(v) && !isPlaceholder(v)
}

// mixed is looksRandom for a value that is long enough and stands for no other.
func mixed(v string) bool {
	c := classesOf(v)
	letters := c.lower + c.upper
	if c.other*3 > len(v) {
		return false
	}
	if letters > 0 && len(v) >= 24 && allHex(v) {
		return entropy(v) >= 2.5
	}
	if c.digits == 0 {
		// letters only: both cases, mixed up as no name is, or most of the alphabet
		w, pairs := wordy(v)
		if len(v) >= 20 && c.other == 0 && c.upper >= 4 && w < 0.75 && choppy(v) {
			return true
		}
		if len(v) >= 20 && c.other <= 1 && w < 0.55 && entropy(v) >= 3.9 {
			return true
		}
		return len(v) >= 20 && c.lower > 3 && c.upper > 3 && pairs > 8 && w < 0.45 && entropy(v) >= 3.8 || len(v) >= 24 && c.upper == 0 && c.other == 0 && w < 0.4 && entropy(v) >= 3.3
	}
	if letters == 0 {
		return c.other == 0 && len(v) >= 20 && entropy(v) >= 2.3 // shorter numbers are much else
	}
	e := entropy(v)
	if allHex(v) {
		return e >= 2.5
	}
	if e < 2.8 {
		return false
	}
	// names with a number in them, versions, paths, dates
	w, pairs := wordy(v)
	if pairs >= 5 && w > 0.62 && c.digits*4 < len(v) && !(c.other == 0 && c.digits >= 2 && w < 0.8 && choppy(v)) && !(uuidLike(v) && c.digits >= 4) {
		return false
	}
	if c.other > 0 && slug(v) {
		return false
	}
	if strings.Count(v, "/") > 1 && strings.IndexByte(v, '+') < 0 && v[len(v)-1] != '=' && pairs >= 6 && w > 0.5 {
		return false
	}
	return c.digits >= 2 || len(v) >= 24 && w < 0.5 || c.other == 0 && c.upper >= 3 && c.lower >= 3 && w < 0.5 && choppy(v)
}

func isValueByte(c byte) bool { return valueBytes[c] }

var valueBytes = func() (t [256]bool) {
	for c := range t {
		t[c] = isAlnum(byte(c)) || strings.IndexByte("_-+/=.~:%", byte(c)) >= 0
	}
	return t
}()

func isQuote(c byte) bool { return c == '"' || c == '\'' || c == '`' }

// fillers are words that may stand between the name of a secret and its value.
var fillers = map[string]bool{
	"is": true, "key": true, "keys": true, "token": true, "tokens": true, "secret": true, "access": true, "api": true, "id": true,
	"value": true, "bearer": true, "basic": true, "private": true, "public": true, "client": true, "the": true, "string": true,
	"to": true, "for": true, "as": true, "ist": true, "est": true, "es": true, "est:": true, "prod": true, "production": true, "live": true,
	"test": true, "auth": true, "apikey": true, "master": true, "new": true, "be": true, "was": true, "set": true, "here": true, "my": true,
}

const longestFiller = len("production")

// hashWords are words before values that are no secrets.
var hashWords = map[string]bool{
	"commit": true, "sha": true, "hash": true, "digest": true, "checksum": true, "revision": true, "fingerprint": true, "etag": true,
	"uuid": true, "guid": true, "trace": true, "span": true, "request": true, "version": true, "build": true, "image": true, "at": true,
}

// Bounds of a value behind a word: how much of it is taken, and how much is looked at
// to tell what it is.
const (
	maxGiven  = 1024
	maxJudged = 160
)

// endOfValue is where the bytes of a value end that begin at a place. A long one in
// which many words stand is walked through once.
func (s *scanner) endOfValue(i int) int {
	if i < s.valueFrom || i >= s.valueTo {
		j := i
		for j < len(s.text) && isValueByte(s.text[j]) && j-i < 4*maxGiven {
			j++
		}
		s.valueFrom, s.valueTo = i, j
	}
	return min(s.valueTo, i+maxGiven)
}

// assignment is a value that follows a word such as token: within the next
// bytes, with nothing but signs and a few words between.
func assignment(s *scanner, r *Rule, start, end int) (int, int, Confidence) {
	t := s.text
	// the rest of the name: api_key_v2, tokenValue
	i := end
	for i < len(t) && i-end < 24 && isWordByte(t[i]) {
		i++
	}
	rest := i - end
	if rest >= 16 {
		// the value itself is glued to the name
		from := start
		for from > 0 && start-from < 32 && isWordByte(t[from-1]) {
			from--
		}
		if (i < len(t) && isWordByte(t[i]) || looksRandom(t[end:i], 16)) && !isPlaceholder(t[from:i]) {
			i = end
		}
	}
	minimum := max(r.Length, 16)
	weak := minimum > 16 // the word alone says little
	if weak && namesPublic(t, start) {
		return 0, 0, None
	}
	lines, words, op, unknown := 0, 0, false, false
	limit := min(len(t), i+56)
	for i < limit {
		c := t[i]
		if c == '\n' {
			if lines++; lines > 1 {
				return 0, 0, None
			}
		}
		if c == '(' && i+1 < len(t) && (isLetter(t[i+1]) || t[i+1] == ')') || c == ';' || c == '$' && i+1 < len(t) && (t[i+1] == '{' || t[i+1] == '(') {
			return 0, 0, None
		}
		op = op || c == '=' || c == ':' || c == '>' || c == ',' && isQuote(t[i-1])
		if op && isQuote(c) {
			if n := generated(t[i:]); n > 0 {
				return i + 1, i + 1 + n, r.conf
			}
		}
		if c == '-' && strings.HasPrefix(t[i:], "-----") || c == '@' {
			return 0, 0, None // the body of a block that has a rule of its own; what is pinned
		}
		if !isValueByte(c) {
			i++
			continue
		}
		// a value begins with a letter or digit, or one of the few signs
		if !isAlnum(c) && c != '_' && c != '/' && c != '+' {
			i++
			continue
		}
		j := s.endOfValue(i)
		stop := j
		for stop > i && strings.IndexByte(".:-", t[stop-1]) >= 0 {
			stop--
		}
		v := t[i:min(stop, i+maxJudged)]
		if j < len(t) && t[j] == '(' {
			return 0, 0, None // a call
		}
		if weak && uuidLike(v) && (start == 0 || !isWordByte(t[start-1]) && t[start-1] != '-') && isLetter(t[start]) {
			return 0, 0, None // the key of a record
		}
		if looksRandom(v, minimum) && !isReference(v) || op && len(v) >= 14 && len(v) < minimum && (!weak || len(v) >= 16) && looksToken(v) {
			return i, stop, r.conf
		}
		if quoted := isQuote(t[max(i-1, 0)]) && j < len(t) && t[j] == t[i-1]; op && quoted && !weak && (looksShortToken(v) || looksScrambled(v)) {
			return i, stop, r.conf
		}
		word := strings.Trim(v, "_-:=.+/")
		known := len(word) <= longestFiller && fillers[strings.ToLower(word)]
		if !known && !weak && !unknown && len(v) <= 12 && allLetters(v) && !hashWords[strings.ToLower(v)] {
			unknown, known = true, true // one word of the sentence: the token for Heron is …
			minimum = max(minimum, 20)
		}
		if words++; words > 3 || !known {
			// name=value glued together
			if k := strings.LastIndexAny(v, "=:"); k > 0 && k < len(v)-1 && words <= 3 && looksRandom(v[k+1:], minimum) && !isReference(v[k+1:]) {
				return i + k + 1, stop, r.conf
			}
			return 0, 0, None
		}
		i = j
	}
	return 0, 0, None
}

// provider is a value behind the name of a service that gives out keys, where no
// word says that it is one: on the same line, behind a sign or in quotes or by
// itself, and as random as only keys are.
func provider(s *scanner, r *Rule, start, end int) (int, int, Confidence) {
	t := s.text
	if start > 0 && strings.IndexByte("/.@", t[start-1]) >= 0 {
		return 0, 0, None // a part of a path, of a host, of an address
	}
	// the rest of the name, in which words of other rules may stand
	i := end
	for i < len(t) && i-end < 32 && isWordByte(t[i]) {
		i++
	}
	if i < len(t) && strings.IndexByte("/.@-", t[i]) >= 0 && i+1 < len(t) && isWordByte(t[i+1]) {
		return 0, 0, None
	}
	op := false
	for words, limit := 0, min(len(t), i+40); i < limit; {
		c := t[i]
		switch {
		case c == '\n', c == '(' && i+1 < len(t) && !isQuote(t[i+1]), c == ';', c == '@':
			return 0, 0, None
		case !isAlnum(c):
			op = op || c == '=' || c == ':' || isQuote(c)
			i++
			continue
		}
		j := s.endOfValue(i)
		stop := j
		for stop > i && strings.IndexByte(".:-/=", t[stop-1]) >= 0 && (t[stop-1] != '=' || op) {
			stop--
		}
		v := t[i:min(stop, i+maxJudged)]
		if minimum := 32; len(v) >= 20 {
			if op {
				minimum = 20
			}
			if looksRandom(v, minimum) && !isReference(v) && (len(v) < 24 || strings.IndexByte(v, '/') < 0) && !allDigits(v) {
				return i, stop, r.conf
			}
		}
		if op && len(v) >= 14 && len(v) < 20 && isQuote(t[i-1]) && j < len(t) && t[j] == t[i-1] && (looksToken(v) || looksScrambled(v)) {
			return i, stop, r.conf
		}
		word := strings.ToLower(strings.Trim(v, "_-:=.+/"))
		if words++; words > 2 || len(word) > longestFiller || !fillers[word] || hashWords[word] {
			return 0, 0, None
		}
		i = j
	}
	return 0, 0, None
}

// publicWords are words in the prefix of what is no secret.
var publicWords = map[string]bool{"pk": true, "pub": true, "public": true, "publishable": true}

// maxPrefixed bounds a token with a prefix.
const maxPrefixed = 160

// prefixedToken is a token whose prefix says who gave it out and what for, in words
// between which '_' or '-' stands: acme_live_…, sk-acme-…. The keyword is the word
// that says what for.
func prefixedToken(s *scanner, r *Rule, start, end int) (int, int, Confidence) {
	t := s.text
	from := start
	for from > 0 && start-from < 24 && (isWordByte(t[from-1]) || t[from-1] == '-') {
		from--
	}
	stop := end
	for stop < len(t) && stop-start < maxPrefixed && (isWordByte(t[stop]) || t[stop] == '-') {
		stop++
	}
	if stop-end < 20 || start-from == 24 || stop-start == maxPrefixed || from > 0 && strings.IndexByte("/.@$", t[from-1]) >= 0 ||
		stop < len(t) && strings.IndexByte("(/@", t[stop]) >= 0 {
		return 0, 0, None
	}
	token := t[from:stop]
	last := strings.LastIndexAny(token, "_-") + 1
	secret := token[last:]
	words := strings.FieldsFunc(token[:last], func(r rune) bool { return r == '_' || r == '-' })
	if len(secret) < 20 || len(words) == 0 || len(words) > 4 {
		return 0, 0, None
	}
	for _, w := range words {
		if len(w) > 12 || !isLetter(w[0]) || hashWords[strings.ToLower(w)] || publicWords[strings.ToLower(w)] {
			return 0, 0, None
		}
	}
	c := classesOf(secret)
	if c.digits < 2 || c.lower+c.upper < 4 || entropy(secret) < 3.2 || !choppy(secret) && !allHex(secret) || !looksRandom(secret, 20) {
		return 0, 0, None
	}
	return from, stop, r.conf
}

// basicAuth is what stands behind the word Basic in a header: a name and a password
// in base64.
func basicAuth(s *scanner, r *Rule, _, end int) (int, int, Confidence) {
	t := s.text
	i := end
	for i < len(t) && i-end < 4 && strings.IndexByte(" \t:=\"'", t[i]) >= 0 {
		i++
	}
	if i == end && isWordByte(t[end-1]) {
		return 0, 0, None
	}
	j := i
	for j < len(t) && j-i < 1024 && (isAlnum(t[j]) || strings.IndexByte("+/_-", t[j]) >= 0) {
		j++
	}
	stop := j
	for stop < len(t) && t[stop] == '=' && stop-j < 2 {
		stop++
	}
	if j-i < 8 || stop < len(t) && (isWordByte(t[stop]) || t[stop] == '=') {
		return 0, 0, None
	}
	enc := base64.RawStdEncoding
	if strings.ContainsAny(t[i:j], "_-") {
		enc = base64.RawURLEncoding
	}
	plain, err := enc.DecodeString(t[i:j])
	if err != nil {
		return 0, 0, None
	}
	user, pass, ok := strings.Cut(string(plain), ":")
	if !ok || pass == "" && len(user) < 16 || isStockPassword(pass) || isPlaceholder(pass) && (pass != "" || isPlaceholder(user)) {
		return 0, 0, None
	}
	for _, b := range plain {
		if b < ' ' || b >= 0x7f {
			return 0, 0, None
		}
	}
	return i, stop, r.conf
}

// looksToken is looksRandom for shorter values, which an operator must stand
// before.
func looksToken(v string) bool {
	c := classesOf(v)
	w, pairs := wordy(v)
	return c.other == 0 && c.digits >= 3 && c.lower+c.upper >= 3 && (w <= 0.5 || pairs < 5 || c.digits*2 >= len(v)) &&
		entropy(v) >= 2.9 && !isPlaceholder(v)
}

// looksShortToken is looksToken for values of ten bytes and more, which must stand
// in quotes as well.
func looksShortToken(v string) bool {
	if len(v) < 10 || len(v) > 16 {
		return false
	}
	c := classesOf(v)
	w, pairs := wordy(v)
	return c.other == 0 && c.digits >= 2 && c.lower+c.upper >= 3 && (pairs < 3 || w <= 0.5) && choppy(v) && entropy(v) >= 2.8 &&
		!sequential(v) && !isPlaceholder(v)
}

// looksScrambled says whether a value is small letters in an order that no words have.
func looksScrambled(v string) bool {
	if len(v) < 14 || len(v) > 64 {
		return false
	}
	c := classesOf(v)
	w, pairs := wordy(v)
	return c.lower == len(v) && pairs > 12 && w <= 0.5 && entropy(v) >= 3 && !isPlaceholder(v)
}

// generated is the length of a value in quotes with signs of all kinds, as frameworks
// make their secret keys, 0 if what begins with a quote at t[0] is none.
func generated(t string) int {
	n := strings.IndexByte(t[1:min(len(t), 2+maxJudged)], t[0])
	if n < 32 {
		return 0
	}
	v := t[1 : 1+n]
	c := classesOf(v)
	if c.digits < 3 || c.lower < 4 || c.other < 4 || c.other*4 > n*3 {
		return 0
	}
	if w, pairs := wordy(v); pairs > 12 && w > 0.45 || strings.Count(v, " ") > 6 || strings.Contains(v, "://") || entropy(v) < 4.2 || isPlaceholder(v) {
		return 0
	}
	signs := 0
	var seen [128]bool
	for i := range n {
		if b := v[i]; b < 128 && b > ' ' && !isAlnum(b) && strings.IndexByte("-_+/=.:", b) < 0 && !seen[b] {
			seen[b] = true
			signs++
		}
	}
	if signs < 4 {
		return 0
	}
	return n
}

// namesPublic says whether the name that a word is the end of says that its value is
// for everybody.
func namesPublic(t string, at int) bool {
	from := at
	for from > 0 && at-from < 24 && (isWordByte(t[from-1]) || t[from-1] == '-') {
		from--
	}
	for i := from; i+3 <= at; i++ {
		if hasPrefixFold(t[i:at], "pub") {
			return true
		}
	}
	return false
}

// isReference says whether a value names something: a URL, a path, a file, an
// identifier with dots, a version, a time.
func isReference(v string) bool {
	if strings.Contains(v, "://") || strings.HasPrefix(v, "//") || strings.HasPrefix(v, "./") || strings.HasPrefix(v, "../") || strings.Contains(v, "::") {
		return true
	}
	if strings.HasPrefix(v, "arn:") || strings.HasPrefix(v, "sha256:") || strings.HasPrefix(v, "sha1:") || strings.HasPrefix(v, "sha512-") || strings.HasPrefix(v, "sha256-") || strings.HasPrefix(v, "projects/") {
		return true
	}
	if i := strings.LastIndexByte(v, '.'); i > 0 && len(v)-i <= 6 && isLetter(v[len(v)-1]) {
		if w, pairs := wordy(v[:i]); pairs > 3 && w > 0.5 {
			return true // a file
		}
	}
	if dotted(v) {
		return true
	}
	// 2024-01-31T12:00:00Z
	return len(v) >= 16 && isDigit(v[0]) && len(v) > 10 && v[4] == '-' && v[7] == '-' && (v[10] == 'T' || v[10] == ' ')
}

// dotted says whether v is names with dots between: obj.field, host.domain.
func dotted(v string) bool {
	parts := strings.Split(v, ".")
	if len(parts) < 2 || len(parts) > 6 {
		return false
	}
	words := 0
	for _, p := range parts {
		if p == "" || len(p) > 24 {
			return false
		}
		if w, pairs := wordy(p); pairs >= 2 && w > 0.6 && len(p) < 16 {
			words++
		}
	}
	return words*2 >= len(parts)
}

// password is what follows a word such as password: with a sign or a verb
// between and not a word of the language or of code.
func password(s *scanner, r *Rule, start, end int) (int, int, Confidence) {
	t := s.text
	for end > start && t[end-1] < 0x80 && !isWordByte(t[end-1]) {
		end-- // a sign that the keyword ends in
	}
	if word := t[start:end]; len(word) <= 4 && !startsName(t, start) {
		return 0, 0, None // the end of another word: bypass
	}
	i := end
	// the rest of the name
	for i < len(t) && i-end < 20 && isWordByte(t[i]) {
		i++
	}
	if i-end > 0 && i < len(t) && (t[i] == ' ' || t[i] == '\n') && isLower(t[end]) {
		// a longer word in a sentence
		if w := strings.ToLower(t[end:i]); w == "less" || w == "s" || strings.HasPrefix(w, "d") {
			return 0, 0, None
		}
	}
	i, op, quote := givenTo(t, i)
	if quote == 0 && op == ':' && t[start:end] == "PASS" && (start == 0 || t[start-1] <= ' ') {
		return 0, 0, None // what tests print
	}
	if op == 0 && quote == 0 {
		k := i
		for k < len(t) && k-i < 12 && (isLower(t[k]) || t[k] >= 0x80) {
			k++
		}
		switch w := t[i:k]; w {
		case "is", "was", "ist", "est", "es", "é", "wäre", "lautet", "to", "는", "은", "이", "가", "를", "을", "です", "は", "是", "为":
			// words: "password is X", 비밀번호는 X
			i = k
			for i < len(t) && strings.IndexByte(" :\"'`", t[i]) >= 0 && i-k < 4 {
				if t[i] != ' ' && t[i] != ':' {
					quote = t[i]
				}
				i++
			}
		default:
			switch {
			case i == end && start > 0 && strings.IndexByte("|=;", t[start-1]) >= 0 && i < len(t) && t[i] < 0x80 && k == i:
				// glued: PASSWORD$j5KvPo^Y
			case i > end && i < len(t) && t[i-1] <= ' ':
				return strongPassword(s, r, start, i)
			default:
				return 0, 0, None
			}
		}
	}
	j := i
	for j < len(t) && j-i < 128 && t[j] > ' ' && t[j] < 0x7f {
		if quote != 0 && t[j] == quote {
			break
		}
		if quote == 0 && (t[j] == ',' || t[j] == ';' || t[j] == '"' || t[j] == '\'' || t[j] == '<' || t[j] == '|' || t[j] == '&' && op == '=' || t[j] == '`') {
			break
		}
		j++
	}
	if quote != 0 && (j == len(t) || t[j] != quote) && j < len(t) && t[j] != ' ' {
		return 0, 0, None
	}
	v := t[i:j]
	if quote == 0 {
		v = strings.TrimRight(v, ".)]}")
	} else {
		v = strings.TrimSuffix(v, `\`) // of an escaped quote
	}
	if !looksPassword(v, quote != 0) {
		return 0, 0, None
	}
	return i, i + len(v), r.conf
}

// nameParts are words to which a short word for a password is glued in small letters.
var nameParts = map[string]bool{
	"db": true, "my": true, "user": true, "admin": true, "root": true, "bind": true, "mail": true, "smtp": true, "ftp": true, "sql": true,
	"pg": true, "ldap": true, "ssh": true, "login": true, "key": true, "store": true, "auth": true, "proxy": true, "usr": true, "app": true,
	"http": true, "mysql": true, "redis": true, "wifi": true, "imap": true, "pop": true, "sudo": true, "test": true, "web": true, "api": true,
}

// startsName says whether a short word at a place begins a name or a part of one:
// pass, db_pass, dbPass, DBPASS, and not bypass.
func startsName(t string, at int) bool {
	if at == 0 || !isLetter(t[at-1]) || isUpper(t[at]) && isLower(t[at-1]) {
		return true
	}
	from := at
	for from > 0 && at-from < 8 && isLetter(t[from-1]) {
		from--
	}
	return nameParts[strings.ToLower(t[from:at])]
}

// maxGap is how far a value may stand behind its name.
const maxGap = 16

// givenTo reads what stands between a name that ends at a place and its value: where
// the value begins, the sign that gives it, and the quote that it stands in. Both are
// 0 where there is neither.
func givenTo(t string, i int) (value int, op, quote byte) {
	from := i
	for i < len(t) && i-from < maxGap {
		c := t[i]
		switch {
		case c == '=' || c == ':' || c == '>' && i > 0 && (t[i-1] == '=' || t[i-1] == '-' || op == 0):
			op = c
		case isQuote(c):
			if op != 0 || i > from && t[i-1] == ' ' {
				return i + 1, op, c
			}
			if at, q := attribute(t, i+1); at > 0 {
				return at, '=', q
			}
		case c == ',' && i > from && isQuote(t[i-1]), c == '(' && i+1 < len(t) && isQuote(t[i+1]):
			op = c // define('DB_PASSWORD', '…'), setPassword("…")
		case c == '\\' && i+1 < len(t) && isQuote(t[i+1]):
		case strings.HasPrefix(t[i:], "：") || strings.HasPrefix(t[i:], "＝"):
			op = ':'
			i += len("：") - 1
		case c == ' ' || c == '\t' || c == '*' || c == ')' || c == ']' || c == '!':
		default:
			if op == ':' {
				if at, q := typed(t, i); at > 0 {
					return at, '=', q
				}
			}
			return i, op, quote
		}
		i++
	}
	return i, op, quote
}

// attribute is where the value of the attribute begins that gives one to the name in
// the attribute before: name="Password" value="…".
func attribute(t string, i int) (int, byte) {
	from := i
	for i < len(t) && i-from < 4 && (t[i] == ' ' || t[i] == '\t') {
		i++
	}
	if i == from {
		return 0, 0
	}
	for _, w := range [...]string{"value", "default", "content"} {
		if len(t)-i > len(w)+2 && hasPrefixFold(t[i:], w) {
			if i += len(w); t[i] == '=' && isQuote(t[i+1]) {
				return i + 2, t[i+1]
			}
			return 0, 0
		}
	}
	return 0, 0
}

// typed is where the value begins behind a name's type: password: str = "…".
func typed(t string, i int) (int, byte) {
	from := i
	for i < len(t) && i-from < 16 && (isAlnum(t[i]) || t[i] == '?' || t[i] == '.') {
		i++
	}
	if i == from {
		return 0, 0
	}
	for i < len(t) && t[i] == ' ' && i-from < 18 {
		i++
	}
	if i+2 >= len(t) || t[i] != '=' {
		return 0, 0
	}
	for i++; i < len(t) && t[i] == ' ' && i-from < 22; {
		i++
	}
	if i+1 >= len(t) || !isQuote(t[i]) {
		return 0, 0
	}
	return i + 1, t[i]
}

// strongPassword is a value right behind a word for passwords, with nothing between
// that says so: it must look as no word of a sentence does, or a login's name go
// before.
func strongPassword(s *scanner, r *Rule, start, i int) (int, int, Confidence) {
	t := s.text
	j := i
	for j < len(t) && j-i < 64 && t[j] > ' ' && t[j] < 0x7f && strings.IndexByte(",;\"'<>|`(){}[]=/\\", t[j]) < 0 {
		j++
	}
	if j < len(t) && t[j] > ' ' && strings.IndexByte(",;)\"'", t[j]) < 0 {
		return 0, 0, None
	}
	v := strings.TrimRight(t[i:j], ".:?")
	c := classesOf(v)
	login := strings.Contains(t[max(0, start-64):start], "login ") // .netrc
	enough := c.digits >= 2 && c.upper > 0 && c.lower > 0 || c.digits >= 1 && strings.ContainsAny(v, "!@#$%^&*?+~") && c.lower+c.upper >= 3
	if !login && (len(v) < 8 || !enough || !isAlnum(v[0])) || !looksPassword(v, false) {
		return 0, 0, None
	}
	return i, i + len(v), r.conf
}

// looksPassword says whether a value looks as people's and machines' passwords
// do: at least two kinds of characters, no code and no placeholder.
func looksPassword(v string, quoted bool) bool {
	if len(v) < 6 || len(v) > 100 || isPlaceholder(v) || isStockPassword(v) {
		return false
	}
	c := classesOf(v)
	// names of files and hosts have few signs
	if strings.IndexByte(v, ':') >= 0 || !strings.ContainsAny(v, "!@#$%^&*?+~") {
		if isReference(v) {
			return false
		}
	}
	kinds := 0
	for _, n := range []int{c.digits, c.lower, c.upper, c.other} {
		if n > 0 {
			kinds++
		}
	}
	// code: calls, fields, indexes, joined strings
	if v[0] == '+' || v[0] == '.' {
		return false
	}
	if i := strings.IndexByte(v, '('); i > 0 && strings.Trim(v[:i], "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.") == "" && i > 3 {
		return false
	}
	if strings.ContainsAny(v, "()[]{}") && (!quoted && c.digits+c.upper < 3 || strings.Contains(v, "()")) {
		return false
	}
	w, pairs := wordy(v)
	if c.other > 0 && c.digits == 0 && !strings.ContainsAny(v, "!@#$%^&*?+~") {
		return false // snake_case, kebab-case, dotted
	}
	if c.digits == 0 && c.upper == 0 {
		return c.other > 0 && quoted || c.other > 1 || quoted && looksScrambled(v)
	}
	if c.digits == 0 && c.other == 0 {
		return pairs > 5 && w < 0.4
	}
	if kinds == 1 {
		return quoted && c.digits == len(v) && len(v) <= 12 && !sequential(v)
	}
	// identifiers with a number: sha256, user1, md5_hash
	if c.digits <= 1 && c.other == 0 && c.upper == 0 && w > 0.7 && !quoted {
		return false
	}
	return true
}

// isStockPassword says whether a password is a word that documentation writes for
// one.
func isStockPassword(pass string) bool {
	switch strings.ToLower(pass) {
	case "pass", "password", "passwd", "pwd", "secret", "token", "pw", "user", "key", "apikey", "port", "test":
		return true
	}
	return false
}

// urlPassword is a URL with a user's password in it, around an '@'.
func urlPassword(t string, at int) (int, int, bool) {
	from := max(0, at-256)
	if !strings.Contains(t[from:at], "://") { // far quicker than to look for the last
		return 0, 0, false
	}
	i := strings.LastIndex(t[from:at], "://")
	auth := t[from+i+3 : at]
	user, pass, ok := strings.Cut(auth, ":")
	if !ok || len(pass) < 3 || strings.ContainsAny(auth, " \t\r\n\"'<>`/?#@") && !strings.ContainsAny(auth, "/@#") || strings.ContainsAny(auth, " \t\r\n\"'<>`") {
		return 0, 0, false
	}
	if strings.ContainsAny(user, "/?#") || strings.ContainsAny(auth, "/") && strings.Contains(auth, "//") {
		return 0, 0, false
	}
	if j := strings.IndexByte(pass, '/'); j >= 0 && allDigits(pass[:j]) {
		return 0, 0, false // a port and a path
	}
	if isPlaceholder(pass) || strings.ContainsAny(user, "{}$<>*") {
		return 0, 0, false
	}
	if isStockPassword(pass) {
		return 0, 0, false
	}
	start := from + i
	for start > 0 && (isAlnum(t[start-1]) || t[start-1] == '+' || t[start-1] == '-' || t[start-1] == '.') && from+i-start < 32 {
		start--
	}
	if start == from+i {
		return 0, 0, false
	}
	end := at + 1
	for end < len(t) && end-at < 256 && (isAlnum(t[end]) || strings.IndexByte(".-:/_,?=&%", t[end]) >= 0) {
		end++
	}
	for end > at && strings.IndexByte(".,?:", t[end-1]) >= 0 {
		end--
	}
	if end <= at+1 || !isAlnum(t[at+1]) && t[at+1] != '[' {
		return 0, 0, false
	}
	return start, end, true
}

// jwt is a JSON web token: two or three parts of base64url of which the first is
// a header (RFC 7515).
func jwt(s *scanner, r *Rule, start, _ int) (int, int, Confidence) {
	t := s.text
	if start > 0 && (isWordByte(t[start-1]) || t[start-1] == '-' || t[start-1] == '.') || !strings.HasPrefix(t[start:], "ey") {
		return 0, 0, None
	}
	var ends [5]int
	i, parts := start, 0
	for parts < len(ends) {
		j := i
		for j < len(t) && j-i < 3000 && (isWordByte(t[j]) || t[j] == '-' || t[j] == '=') {
			j++
		}
		if j == i && parts != 1 {
			break
		}
		ends[parts] = j
		parts++
		if j >= len(t) || t[j] != '.' {
			break
		}
		i = j + 1
	}
	if parts < 2 || ends[1]-ends[0] < 5 {
		return 0, 0, None
	}
	if !jsonPart(t[start:ends[0]], "alg", "typ", "enc", "kid") {
		return 0, 0, None
	}
	return start, ends[parts-1], r.conf
}

// jsonPart says whether p is base64url of an object with one of the members.
func jsonPart(p string, members ...string) bool {
	b, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(p, "="))
	if err != nil {
		return false
	}
	var m map[string]json.RawMessage
	if err := json.Unmarshal(b, &m); err != nil {
		return false
	}
	for _, k := range members {
		if _, ok := m[k]; ok {
			return true
		}
	}
	return false
}

// discordToken is a bot's token: its id in base64, a time, a signature. The id
// is a number, so that its base64 begins with M, N or O.
func discordToken(t string, start, end int) (int, int, fit) {
	if n := end - start; n != 24 && n != 26 {
		return 0, 0, noFit // the base64 of 17 to 19 digits
	}
	if t[start] < 'M' || t[start] > 'O' || end >= len(t) || t[end] != '.' || start > 0 && (t[start-1] == '.' || t[start-1] == '_' || t[start-1] == '-') {
		return 0, 0, noFit
	}
	part := func(i int) int {
		j := i
		for j < len(t) && j-i < 48 && (isWordByte(t[j]) || t[j] == '-') {
			j++
		}
		return j
	}
	middle := part(end + 1)
	if middle-end-1 != 6 || middle >= len(t) || t[middle] != '.' {
		return 0, 0, noFit
	}
	stop := part(middle + 1)
	if n := stop - middle - 1; n < 27 || n > 40 || isPlaceholder(t[start:stop]) {
		return 0, 0, noFit
	}
	return start, stop, goodFit
}

// maxKeyBlock bounds a private key in text.
const maxKeyBlock = 16 << 10

// privateKey is a PEM or OpenPGP block with a private key in it; the keyword is
// the end of the block's first line.
func privateKey(s *scanner, r *Rule, start, end int) (int, int, Confidence) {
	t := s.text
	from := strings.LastIndex(t[max(0, start-40):end], "-----BEGIN")
	if from < 0 {
		return 0, 0, None
	}
	from += max(0, start-40)
	head := strings.IndexByte(t[end:min(len(t), end+24)], '-')
	if head < 0 {
		return 0, 0, None
	}
	body := end + head
	for body < len(t) && t[body] == '-' {
		body++
	}
	limit := min(len(t), body+maxKeyBlock)
	stop := limit
	// up to the next line of dashes: no byte is looked at for two blocks
	if i := strings.Index(t[body:limit], "-----"); i >= 0 {
		stop, limit = body+i, body+i
	}
	if strings.HasPrefix(t[stop:], "-----END") {
		if j := strings.Index(t[stop+8:min(len(t), stop+64)], "-----"); j >= 0 {
			limit = stop + 8 + j + 5
		}
	} else {
		// without an end: as far as it is base64
		stop = body
		for stop < limit && (isAlnum(t[stop]) || strings.IndexByte("+/=\\ \r\n\t:,-", t[stop]) >= 0) {
			stop++
		}
		limit = stop
	}
	content := t[body:stop]
	n := 0
	for i := range len(content) {
		if isAlnum(content[i]) || content[i] == '+' || content[i] == '/' {
			n++
		}
	}
	if n < 32 || strings.Contains(content, "...") || isPlaceholder(content[:min(len(content), 64)]) && n < 128 {
		return 0, 0, None
	}
	return from, limit, r.conf
}

const base58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"

// base58Check says whether d is a Bitcoin address with a valid checksum.
func base58Check(d string) bool {
	v := new(big.Int)
	for i := range len(d) {
		k := strings.IndexByte(base58, d[i])
		if k < 0 {
			return false
		}
		v.Mul(v, big.NewInt(58))
		v.Add(v, big.NewInt(int64(k)))
	}
	b := v.Bytes()
	if len(b) > 25 {
		return false
	}
	b = append(make([]byte, 25-len(b)), b...)
	h := sha256.Sum256(b[:21])
	h = sha256.Sum256(h[:])
	return string(h[:4]) == string(b[21:])
}

// sourceCode is a line of code: the keyword begins it and it ends as
// statements do.
func sourceCode(s *scanner, r *Rule, start, end int) (int, int, Confidence) {
	t := s.text
	i := start
	for i > 0 && start-i < 64 && (t[i-1] == ' ' || t[i-1] == '\t') {
		i--
	}
	if i > 0 && t[i-1] != '\n' {
		return 0, 0, None
	}
	stop := strings.IndexByte(t[end:min(len(t), end+200)], '\n')
	if stop < 0 {
		stop = min(len(t), end+200) - end
	}
	line := strings.TrimRight(t[start:end+stop], " \t\r")
	if line == "" {
		return 0, 0, None
	}
	switch line[len(line)-1] {
	case '{', ';', ':', ')', ',', '>', '"', '(', '}', '\'':
		return start, start + len(line), r.conf
	}
	if strings.HasPrefix(line, "import ") || strings.HasPrefix(line, "package ") || strings.HasPrefix(line, "return ") && strings.ContainsAny(line, "()[].") ||
		strings.Contains(line, " = ") || strings.Contains(line, " := ") || strings.HasPrefix(line, "#include") || strings.HasPrefix(line, "#!/") {
		return start, start + len(line), r.conf
	}
	return 0, 0, None
}
