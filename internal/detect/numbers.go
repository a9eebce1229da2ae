package detect

import (
	"math/bits"
	"slices"
	"unsafe"
)

// Numbers are found by their shape: a token is a stretch of ASCII letters and
// digits, a number is one or more tokens of digits with one separator between
// each. Boundaries are those of ASCII, so that a number that is glued to a
// Korean particle or stands in Chinese text is seen.

// Bounds of numbers.
const (
	maxDigits = 20 // of a number
	maxToken  = 64 // bytes of a token that validators look at
	maxGroups = 8
)

// fit is how well a value has the form of a kind of data.
type fit uint8

const (
	noFit fit = iota
	// weakFit is a form that much else has: it counts with context only.
	weakFit
	goodFit
)

// number is a stretch of digits in one or more groups.
type number struct {
	text       string
	start, end int
	digits     string // without separators
	groups     []uint8
	// sep is the separator, 0 for none; mixed is set when there are several.
	sep   byte
	mixed bool
}

// plain says whether the digits stand without separators.
func (n *number) plain() bool { return len(n.groups) == 1 }

// shape says whether the groups have these lengths.
func (n *number) shape(lengths ...uint8) bool {
	if len(n.groups) != len(lengths) || n.mixed {
		return false
	}
	for i, l := range lengths {
		if n.groups[i] != l {
			return false
		}
	}
	return true
}

// groupings are the lengths of the groups in which a validator's numbers may stand,
// for those that don't take any. All but us_ssn_spaced and kr_licence take numbers
// without separators as well. They keep most validators from most numbers.
var groupings = map[string][]string{
	"aba": {"441"}, "us_ssn": {"324"}, "us_itin": {"324", "36", "54"}, "us_ssn_spaced": {"324"}, "us_ein": {"27"}, "us_npi": {},
	"nhs": {"334"}, "uk_utr": {"55"}, "sort_code": {"222", "2228"}, "ng_nin": {}, "kr_licence": {"2262"}, "kr_rrn": {"67"}, "kr_brn": {"325"},
	"de_tax_id": {"2333"}, "it_vat": {}, "nl_bsn": {"333", "423"}, "pl_pesel": {}, "be_national": {"22232", "632"},
	"se_personnummer": {"64", "84"}, "se_orgnr": {"64"}, "dk_cpr": {"64"}, "no_fnr": {"65"}, "pt_nif": {"333"}, "at_svnr": {"46"}, "cz_rc": {"63", "64"},
	"ro_cnp": {}, "bg_egn": {}, "hr_oib": {}, "ee_lt_id": {}, "gr_afm": {}, "hu_taj": {"333"}, "si_emso": {}, "tr_tckn": {},
	"za_id": {"643", "6421"}, "in_aadhaar": {"444"}, "au_tfn": {"333", "332"}, "au_acn": {"333"}, "au_abn": {"2333"}, "au_medicare": {"451"},
	"ca_sin": {"333"}, "ar_cuit": {"281"}, "jp_my_number": {"444"}, "il_id": {}, "th_id": {"14521"}, "imei": {"2661"},
}

// grouping is the lengths of groups as one number, five bits each.
type grouping uint64

// with is the grouping with one more group, which has place i.
func (g grouping) with(i, length int) grouping { return g | grouping(length)<<(5*i) }

func parseGrouping(s string) (g grouping) {
	for i := range len(s) {
		g = g.with(i, digit(s[i]))
	}
	return g
}

// numberRules are the rules that are tried at numbers with one count of digits.
type numberRules struct {
	plain []*Rule
	// grouped are those for numbers in groups: by the place of the grouping in
	// groupings, the last for all others.
	groupings []grouping
	grouped   [][]*Rule
}

// newNumberRules puts rules where their validators can fit, in their order.
func newNumberRules(rules []*Rule) (n numberRules) {
	n.plain = rules
	for _, r := range rules {
		for _, s := range groupings[r.Validator] {
			if g := parseGrouping(s); !slices.Contains(n.groupings, g) {
				n.groupings = append(n.groupings, g)
			}
		}
	}
	n.grouped = make([][]*Rule, len(n.groupings)+1)
	for i := range n.grouped {
		for _, r := range rules {
			list, some := groupings[r.Validator]
			if !some || i < len(n.groupings) && slices.ContainsFunc(list, func(s string) bool { return parseGrouping(s) == n.groupings[i] }) {
				n.grouped[i] = append(n.grouped[i], r)
			}
		}
	}
	return n
}

// of are the rules for a grouping.
func (n *numberRules) of(g grouping) []*Rule {
	i := 0
	for i < len(n.groupings) && n.groupings[i] != g {
		i++
	}
	return n.grouped[i]
}

// tryNumber runs the validators for a number.
func (s *scanner) tryNumber(v *number, g grouping) {
	n := &s.e.numbers[len(v.digits)]
	rules := n.plain
	if !v.plain() {
		rules = n.of(g)
	}
	for _, r := range rules {
		if !s.mayCount(r, v.start) {
			continue
		}
		if f := r.validator.number(v); f != noFit {
			s.emitFit(r, v.start, v.end, f)
		}
	}
}

// mayCount says whether a value of the rule near the token that is looked at can
// count at all: most rules for numbers ask for a word that says what they are, and
// most numbers have none.
func (s *scanner) mayCount(r *Rule, at int) bool {
	return r.conf != None || len(s.text) <= shortText || s.groupsAround(at).has(r.group)
}

// shortText is the length up to which a text may be nothing but a value.
const shortText = 256

// validator is a built-in matcher. Exactly one of its functions is set, which
// says where it is tried.
type validator struct {
	// number is tried at every number with one of these counts of digits.
	number func(n *number) fit
	digits []int
	// token is tried at every token with digits whose length is in
	// [tokenMin, tokenMax]; it returns where the value is, which may reach
	// beyond the token.
	token              func(text string, start, end int) (int, int, fit)
	tokenMin, tokenMax int
	// tokenKinds and the least count of digits say more of those tokens.
	tokenKinds  tokenKinds
	tokenDigits int
	// run is tried at every token with digits that has one of the bytes of beside
	// right before or after it, "" for any. Like keyword it returns where the
	// value is, empty if there is none, and its confidence without context.
	run    func(s *scanner, r *Rule, start, end int) (int, int, Confidence)
	beside string
	// at is tried at every '@'.
	at func(text string, at int) (int, int, bool)
	// keyword is tried at the rule's keywords.
	keyword func(s *scanner, r *Rule, start, end int) (int, int, Confidence)
	// checked values have a checksum or a structure that makes chance unlikely:
	// they win over others that overlap.
	checked bool
	// long values are blocks of lines.
	long bool
	// judges says that it tells placeholders by itself, by a part of the value.
	judges bool
}

// tokenKinds is a set of kinds of tokens.
type tokenKinds uint8

const (
	digitToken  tokenKinds = 1 << iota // nothing but digits
	letterToken                        // begins with a letter
	mixedToken                         // begins with a digit and has letters
)

const kindsOfToken = 3

// kindOf is the kind of a token, by the number of its bit, and its count of
// digits.
func kindOf(token string) (kind, digits int) {
	for i := range len(token) {
		if isDigit(token[i]) {
			digits++
		}
	}
	switch {
	case digits == len(token):
		return 0, digits
	case !isDigit(token[0]):
		return 1, digits
	}
	return 2, digits
}

// numbersAt looks at the tokens with digits around the 8 bytes at a place.
func (s *scanner) numbersAt(at int) {
	t := s.text
	// a number may have begun in the bytes before with a single digit
	p := max(s.numbersDone, at-8)
	to := min(at+8, len(t))
	for p < to {
		if !isDigit(t[p]) {
			p++
			continue
		}
		start := p
		for start > s.numbersDone && isAlnum(t[start-1]) && p-start < 2*maxToken {
			start--
		}
		end := p + 1
		for end < len(t) && isAlnum(t[end]) {
			end++
		}
		s.numbersDone = end
		p = end
		if start > 0 && isAlnum(t[start-1]) {
			continue // the end of something long
		}
		s.token(start, end)
	}
}

// token runs the matchers for a token with digits.
func (s *scanner) token(start, end int) {
	t := s.text
	n := end - start
	var before, after byte
	if start > 0 {
		before = t[start-1]
	}
	if end < len(t) {
		after = t[end]
	}
	kind, count := kindOf(t[start:min(end, start+maxToken)])
	// most numbers are short and stand by themselves
	if kind == 0 && n < 6 && !s.joined(start, end, before, after) {
		return
	}
	for m := s.e.beside[before] | s.e.beside[after]; m != 0; m &= m - 1 {
		r := s.e.runs[bits.TrailingZeros32(m)]
		if a, b, c := r.validator.run(s, r, start, end); b > a {
			s.emitAs(r, a, b, c)
		}
	}
	if n <= maxToken {
		rules := s.e.tokens[kind][n]
		for i := range rules {
			if count < rules[i].digits || !s.mayCount(rules[i].rule, start) {
				continue
			}
			if a, b, f := rules[i].match(t, start, end); f != noFit {
				s.emitFit(rules[i].rule, a, b, f)
			}
		}
		if tokenKinds(1<<kind) != digitToken {
			return
		}
	}
	if end-start > maxDigits {
		return
	}
	digits := &s.digits
	copy(digits[:], t[start:end])
	// the fraction of a decimal number, or one with thousands separators
	if start >= 2 && (t[start-1] == '.' || t[start-1] == ',') && isDigit(t[start-2]) && !(t[start-1] == '.' && isDotted(t, start)) {
		return
	}
	groups := &s.groups
	v := &s.number // all of these are the scanner's: nothing keeps them
	*v = number{text: t, start: start}
	count, g, at := end-start, 1, end
	groups[0] = uint8(count)
	shape := grouping(0).with(0, count)
	for {
		v.end, v.digits, v.groups = at, unsafe.String(&digits[0], count), groups[:g]
		if v.ends() {
			s.tryNumber(v, shape)
		}
		// one more group
		if g == maxGroups || at+1 >= len(t) {
			return
		}
		sep, next := t[at], at+1
		switch sep {
		case ' ', '-', '.', '/':
		default:
			return
		}
		if sep == ' ' && next+1 < len(t) && t[next] == '-' {
			return
		}
		stop := next
		for stop < len(t) && isDigit(t[stop]) && stop-next+count < maxDigits {
			digits[count+stop-next] = t[stop]
			stop++
		}
		if stop == next || stop < len(t) && isAlnum(t[stop]) {
			return
		}
		if v.sep == 0 {
			v.sep = sep
		} else if v.sep != sep {
			v.mixed = true
		}
		count += stop - next
		groups[g] = uint8(stop - next)
		shape = shape.with(g, stop-next)
		g++
		at = stop
	}
}

// joined says whether a short number may be part of something longer: another
// group follows, or one with letters goes before.
func (s *scanner) joined(start, end int, before, after byte) bool {
	t := s.text
	switch after {
	case ' ':
		if end+1 < len(t) {
			if c := t[end+1]; isDigit(c) || isUpper(c) || c >= 0x80 || c == '(' || c == '-' || c == '+' {
				return true
			}
		}
	case '-', '.', '/', ':', '(', ')':
		if end+1 < len(t) && t[end+1] > ' ' {
			return true
		}
	}
	switch before {
	case '-', '.', ':':
		return start > 1 && t[start-2] > ' '
	}
	return false
}

// isDotted says whether the group of digits that starts at a place is part of
// more than two with dots between them, so that the dot is no decimal point.
func isDotted(t string, start int) bool {
	dots := 1
	for i := start - 2; i >= 0 && i > start-16; i-- {
		switch {
		case isDigit(t[i]):
		case t[i] == '.':
			dots++
		default:
			return dots > 1
		}
	}
	i := start
	for i < len(t) && isDigit(t[i]) {
		i++
	}
	return dots > 1 || i+1 < len(t) && t[i] == '.' && isDigit(t[i+1])
}

// ends says whether the number may end where it does: not before another group
// with the same separator, if that isn't a space, and not inside of a longer
// code such as a UUID.
func (n *number) ends() bool {
	t := n.text
	if n.end+1 < len(t) {
		switch c := t[n.end]; c {
		case '-', '/', '_', '+':
			if isAlnum(t[n.end+1]) && (c == '-' && n.sep == '-' || c == '_') {
				return false
			}
		case '.', ',':
			if isDigit(t[n.end+1]) && (n.sep == 0 || n.sep == c) {
				return false
			}
		}
	}
	if n.start >= 2 {
		switch c := t[n.start-1]; c {
		case '-':
			if n.sep == '-' && isDigit(t[n.start-2]) {
				return false
			}
			if inUUID(t, n.start) {
				return false
			}
		case '.':
			if n.sep == '.' && isDigit(t[n.start-2]) {
				return false
			}
		case '$', '#':
		}
	}
	if n.plain() && n.end < len(t) && t[n.end] == '-' && inUUID(t, n.start) {
		return false
	}
	return true
}

// inUUID says whether the token at start is a group of a UUID.
func inUUID(t string, start int) bool {
	from := start
	for from > 0 && start-from < 36 && (isHex(t[from-1]) || t[from-1] == '-') {
		from--
	}
	to := start
	for to < len(t) && to-from <= 36 && (isHex(t[to]) || t[to] == '-') {
		to++
	}
	if to-from < 36 {
		return false
	}
	u := t[from : from+36]
	return u[8] == '-' && u[13] == '-' && u[18] == '-' && u[23] == '-'
}

// emitFit is emit for a form that may be weak.
func (s *scanner) emitFit(r *Rule, start, end int, f fit) {
	if f == weakFit {
		s.emitAs(r, start, end, None)
		return
	}
	s.emit(r, start, end)
}
