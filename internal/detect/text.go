package detect

import (
	"net/netip"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/nyaruka/phonenumbers"
)

// Matchers for data that are told by words and separators more than by digits.

// fileTypes are ends of names that look like domains and aren't.
var fileTypes = map[string]bool{
	"png": true, "jpg": true, "jpeg": true, "gif": true, "svg": true, "webp": true, "ico": true, "js": true, "ts": true, "css": true,
	"scss": true, "html": true, "json": true, "yaml": true, "yml": true, "xml": true, "txt": true, "md5": true, "pdf": true, "zip": true,
	"gz": true, "tar": true, "go": true, "java": true, "cpp": true, "service": true, "local": false,
}

// email is an address around an '@' (RFC 5321, the forms in use).
func email(t string, at int) (int, int, bool) {
	start := at
	for start > 0 && at-start <= 64 && isLocal(t[start-1]) {
		start--
	}
	for start < at && (t[start] == '.' || t[start] == '\'' || t[start] == '-' || t[start] == '=' || t[start] == '/') {
		start++
	}
	if start == at || at-start > 64 || t[at-1] == '.' || strings.Contains(t[start:at], "..") {
		return 0, 0, false
	}
	// a user's part of a URL
	if start >= 1 && t[start-1] == ':' || start >= 3 && t[start-3:start] == "://" {
		if i := strings.LastIndex(t[max(0, start-64):start], "://"); i >= 0 && !strings.ContainsAny(t[max(0, start-64)+i:start], " \t\n") {
			return 0, 0, false
		}
	}
	end, label, dots, lastDot := at+1, 0, 0, at
	for end < len(t) && end-at <= 254 {
		c := t[end]
		if isAlnum(c) || c == '-' && label > 0 {
			label++
		} else if c == '.' && label > 0 && end+1 < len(t) && isAlnum(t[end+1]) {
			label, dots, lastDot = 0, dots+1, end
		} else {
			break
		}
		end++
	}
	for end > at+1 && t[end-1] == '-' {
		end--
	}
	if dots == 0 || end-at > 254 {
		return 0, 0, false
	}
	tld := strings.ToLower(t[lastDot+1 : end])
	if len(tld) < 2 || !allLetters(tld) && !strings.HasPrefix(tld, "xn--") || fileTypes[tld] {
		return 0, 0, false
	}
	return start, end, true
}

func isLocal(c byte) bool {
	return isAlnum(c) || strings.IndexByte("._%+-'=/!#$&*?^`{|}~", c) >= 0 && strings.IndexByte("'`{|}/=&?#*!^$~", c) < 0
}

// ipv4 is an address in dotted decimal that isn't a version number.
func ipv4(s *scanner, r *Rule, start, end int) (int, int, Confidence) {
	t := s.text
	if end-start > 3 || end >= len(t) || t[end] != '.' {
		return 0, 0, None
	}
	if start >= 1 && (t[start-1] == '.' || t[start-1] == '-' || t[start-1] == '_') {
		return 0, 0, None
	}
	i, value, octets := start, 0, 0
	var ip [4]int
	for digits := 0; ; i++ {
		if i < len(t) && isDigit(t[i]) && digits < 3 {
			value = value*10 + digit(t[i])
			digits++
			continue
		}
		if digits == 0 || value > 255 || digits > 1 && t[i-digits] == '0' {
			return 0, 0, None
		}
		ip[octets] = value
		octets++
		if octets == 4 {
			break
		}
		if i >= len(t) || t[i] != '.' {
			return 0, 0, None
		}
		value, digits = 0, 0
	}
	if i < len(t) && (isAlnum(t[i]) || t[i] == '.' && i+1 < len(t) && isAlnum(t[i+1]) || t[i] == '-' && i+1 < len(t) && isAlnum(t[i+1])) {
		return 0, 0, None
	}
	switch {
	case ip[0] == 0, ip[0] == 127, ip == [4]int{255, 255, 255, 255}, ip[0] == 255:
		return 0, 0, None
	}
	// a version: small numbers, or the word before
	before := strings.ToLower(t[max(0, start-12):start])
	if strings.Contains(before, "version") || strings.HasSuffix(strings.TrimRight(before, " ="), "v") || strings.Contains(before, "oid") ||
		strings.HasSuffix(strings.TrimRight(before, " "), "§") || strings.HasSuffix(strings.TrimRight(before, " "), "section") {
		return 0, 0, None
	}
	if ip[0] < 10 && ip[1] < 30 && ip[2] < 30 && ip[3] < 30 {
		return start, i, None
	}
	return start, i, r.conf
}

// ipv6 is an address of at least two colons that isn't ::1.
func ipv6(s *scanner, r *Rule, start, end int) (int, int, Confidence) {
	t := s.text
	if end-start > 4 || end >= len(t) && start < 2 {
		return 0, 0, None
	}
	// back to the beginning: a group of letters is a token without digits
	from := start
	for from > 0 && start-from < 40 && (isHex(t[from-1]) || t[from-1] == ':') {
		from--
	}
	if from > 0 && (isWordByte(t[from-1]) || t[from-1] == '.') {
		return 0, 0, None
	}
	to, colons := from, 0
	for to < len(t) && to-from < 46 && (isHex(t[to]) || t[to] == ':' || t[to] == '.' && colons > 1) {
		if t[to] == ':' {
			colons++
		}
		to++
	}
	for to > from && (t[to-1] == '.' || t[to-1] == ':' && !strings.HasSuffix(t[from:to], "::")) {
		to--
	}
	if colons < 2 || to < end || to < len(t) && isWordByte(t[to]) {
		return 0, 0, None
	}
	a, err := netip.ParseAddr(t[from:to])
	if err != nil || !a.Is6() || a.IsLoopback() || a.IsUnspecified() || a.Is4In6() {
		return 0, 0, None
	}
	if to-from < 8 {
		return from, to, None // a::b is often something else
	}
	return from, to, r.conf
}

// mac is a hardware address: six pairs with ':' or '-', or three groups of four
// with dots.
func mac(s *scanner, r *Rule, start, end int) (int, int, Confidence) {
	return macAt(s.text, r, start, end)
}

func macAt(t string, r *Rule, start, end int) (int, int, Confidence) {
	n := end - start
	if n != 2 && n != 4 || !allHex(t[start:end]) {
		return 0, 0, None
	}
	groups := 12 / n
	sep := byte('.')
	// back to the first group
	from := start
	for k := 0; k < groups-1; k++ {
		if from < n+1 || !allHex(t[from-n-1:from-1]) || strings.IndexByte(":-.", t[from-1]) < 0 {
			break
		}
		from -= n + 1
	}
	to := from + n
	if to >= len(t) {
		return 0, 0, None
	}
	sep = t[to]
	if n == 2 && sep != ':' && sep != '-' || n == 4 && sep != '.' {
		return 0, 0, None
	}
	for range groups - 1 {
		if to+n >= len(t) || t[to] != sep || !allHex(t[to+1:to+1+n]) {
			return 0, 0, None
		}
		to += n + 1
	}
	if from > 0 && (isAlnum(t[from-1]) || t[from-1] == sep) || to < len(t) && (isAlnum(t[to]) || t[to] == sep && to+1 < len(t) && isAlnum(t[to+1])) {
		return 0, 0, None
	}
	v := strings.ToLower(strings.ReplaceAll(t[from:to], string(sep), ""))
	if v == "ffffffffffff" || v == "000000000000" {
		return 0, 0, None
	}
	return from, to, r.conf
}

func allHex(s string) bool {
	for i := range len(s) {
		if !isHex(s[i]) {
			return false
		}
	}
	return s != ""
}

// macNear finds an address without digits after a word that announces it.
func macNear(s *scanner, r *Rule, _, end int) (int, int, Confidence) {
	t := s.text
	for i := end; i < min(len(t), end+40); i++ {
		if isHex(t[i]) && (i == 0 || !isAlnum(t[i-1])) {
			j := i
			for j < len(t) && isAlnum(t[j]) && j-i < 5 {
				j++
			}
			if a, b, c := macAt(t, r, i, j); c != None {
				return a, b, c
			}
		}
	}
	return 0, 0, None
}

// callingCodes are the country codes of telephone numbers and how many digits
// may follow (ITU E.164 and national numbering plans).
var callingCodes = map[string][2]int{
	"1": {10, 10}, "7": {10, 10}, "20": {8, 10}, "27": {9, 9}, "30": {10, 10}, "31": {9, 9}, "32": {8, 9}, "33": {9, 9}, "34": {9, 9},
	"36": {8, 9}, "39": {6, 11}, "40": {9, 9}, "41": {9, 9}, "43": {6, 13}, "44": {9, 10}, "45": {8, 8}, "46": {7, 10}, "47": {8, 8},
	"48": {9, 9}, "49": {6, 11}, "51": {8, 9}, "52": {10, 11}, "53": {6, 8}, "54": {10, 11}, "55": {10, 11}, "56": {9, 9}, "57": {8, 10},
	"58": {10, 10}, "60": {8, 10}, "61": {9, 9}, "62": {8, 12}, "63": {8, 10}, "64": {8, 10}, "65": {8, 8}, "66": {8, 9}, "81": {9, 10},
	"82": {8, 10}, "84": {9, 10}, "86": {10, 11}, "90": {10, 10}, "91": {10, 10}, "92": {9, 10}, "93": {9, 9}, "94": {9, 9}, "95": {7, 10},
	"98": {10, 10}, "211": {9, 9}, "212": {9, 9}, "213": {8, 9}, "216": {8, 8}, "218": {8, 9}, "220": {7, 7}, "221": {9, 9}, "225": {8, 10},
	"233": {9, 9}, "234": {8, 10}, "237": {8, 9}, "251": {9, 9}, "254": {9, 9}, "255": {9, 9}, "256": {9, 9}, "260": {9, 9}, "263": {9, 10},
	"351": {9, 9}, "352": {6, 9}, "353": {7, 9}, "354": {7, 9}, "355": {8, 9}, "356": {8, 8}, "357": {8, 8}, "358": {6, 11}, "359": {7, 9},
	"370": {8, 8}, "371": {8, 8}, "372": {7, 8}, "373": {8, 8}, "374": {8, 8}, "375": {9, 9}, "376": {6, 9}, "377": {8, 9}, "380": {9, 9},
	"381": {8, 9}, "382": {8, 8}, "385": {8, 9}, "386": {8, 8}, "387": {8, 8}, "389": {8, 8}, "420": {9, 9}, "421": {9, 9}, "423": {7, 7},
	"501": {7, 7}, "502": {8, 8}, "503": {8, 8}, "504": {8, 8}, "505": {8, 8}, "506": {8, 8}, "507": {7, 8}, "591": {8, 8}, "593": {8, 9},
	"594": {9, 9}, "595": {9, 9}, "598": {8, 8}, "852": {8, 8}, "853": {8, 8}, "855": {8, 9}, "856": {8, 10}, "880": {8, 10}, "886": {8, 9},
	"960": {7, 7}, "961": {7, 8}, "962": {8, 9}, "963": {8, 9}, "964": {8, 10}, "965": {8, 8}, "966": {8, 9}, "967": {7, 9}, "968": {8, 8},
	"970": {8, 9}, "971": {8, 9}, "972": {8, 9}, "973": {8, 8}, "974": {8, 8}, "975": {7, 8}, "976": {8, 8}, "977": {8, 10}, "992": {9, 9},
	"993": {8, 8}, "994": {9, 9}, "995": {9, 9}, "996": {9, 9}, "998": {9, 9},
}

// maxParsed bounds the telephone numbers of one text that the library judges: it
// takes microseconds for each. More of them are judged by their length.
const maxParsed = 16

// validPhone says whether a number with its country code is one that is given
// out, by the rules of libphonenumber.
func validPhone(digits string) bool {
	n, err := phonenumbers.Parse("+"+digits, "")
	return err == nil && phonenumbers.IsValidNumber(n)
}

// mobilePlans are countries whose mobile numbers begin with digits that little else
// begins with, as they are dialled at home.
var mobilePlans = []string{"FR", "AT", "DE", "GB", "CH", "BE", "NL"}

// isMobile says whether digits without a space between are a mobile number as it is
// dialled at home, by the rules of libphonenumber, and no number of a book.
func isMobile(s *scanner, t string, start, end int) bool {
	d := t[start:end]
	if len(d) < 10 || len(d) > 13 || d[0] != '0' || d[1] == '0' || !allDigits(d) || sequential(d) || len(d) == 10 && isISBN(d) {
		return false
	}
	if start > 0 && strings.IndexByte("/=_-.,@", t[start-1]) >= 0 || end < len(t) && (isWordByte(t[end]) || strings.IndexByte("/=-@", t[end]) >= 0) {
		return false
	}
	for _, region := range mobilePlans {
		if s.phonesParsed == maxParsed {
			return false
		}
		s.phonesParsed++
		n, err := phonenumbers.Parse(d, region)
		if err == nil && phonenumbers.IsValidNumberForRegion(n, region) && phonenumbers.GetNumberType(n) == phonenumbers.MOBILE {
			return true
		}
	}
	return false
}

// isISBN says whether ten digits are the number of a book, by its check digit.
func isISBN(d string) bool {
	sum := 0
	for i := range len(d) {
		sum += (10 - i) * digit(d[i])
	}
	return sum%11 == 0
}

// phone is a telephone number: with a country code and that country's length,
// in the form of the North American plan, with a trunk 0 in groups, or
// anything of a plausible length next to a word that says so.
func phone(s *scanner, r *Rule, start, end int) (int, int, Confidence) {
	t := s.text
	if start < s.phoneDone || !isDigit(t[start]) || end-start > 15 {
		return 0, 0, None
	}
	// an extension or unit may be glued to the last group only
	from, plus, paren := start, false, false
	if from > 0 && t[from-1] == '(' {
		from, paren = from-1, true
	}
	if from > 0 && t[from-1] == '+' {
		from, plus = from-1, true
	}
	if from > 0 && t[from-1] == '(' && plus {
		from--
	}
	if from > 0 {
		switch c := t[from-1]; {
		case isWordByte(c) && !plus, c == '.' && !plus && from > 1 && isDigit(t[from-2]), c == '$' || c == '#' || c == '%':
			return 0, 0, None
		case c == '-' && from > 1 && isAlnum(t[from-2]) && !plus:
			return 0, 0, None
		}
	}
	var d [16]byte
	var ends, sizes [8]int // of groups
	n, g, i := 0, 0, start
	hyphen := false
	for i < len(t) && g < len(ends) {
		k := i
		for k < len(t) && isDigit(t[k]) && n < len(d) {
			d[n] = t[k]
			n++
			k++
		}
		if k == i || k < len(t) && isDigit(t[k]) {
			break
		}
		if k < len(t) && isAlnum(t[k]) && t[k]|0x20 != 'x' && t[k]|0x20 != 'e' || k < len(t) && t[k] == '_' {
			n -= k - i
			break
		}
		ends[g], sizes[g] = k, k-i
		g++
		// a separator: one or two of these
		i = k
	separators:
		for i < len(t) && i-k < 3 {
			switch t[i] {
			case ' ', '.', '/', '(':
			case '-':
				hyphen = true
			case ')':
				paren = paren || g <= 2
			default:
				break separators
			}
			i++
		}
		if i-k > 2 && t[i-1] != '(' && t[i-1] != ')' || i == k {
			break
		}
		if t[i-1] == '/' && g > 1 {
			break
		}
	}
	if g == 0 {
		return 0, 0, None
	}
	// without what tells a number by itself it needs a word
	if !plus && !paren && d[0] != '0' && sizes[0] != 1 && sizes[0] != 3 && len(t) > shortText && !s.groupsAround(start).has(r.group) {
		return 0, 0, None
	}
	best, conf, b := 0, None, 0
	n = 0
	for k := range g {
		n += sizes[k]
	}
	for ; g > 0; n, g = n-sizes[g-1], g-1 {
		if !plus && (n < 7 || n > 13) {
			continue // as phoneForm says
		}
		c, ok := phoneForm(string(d[:n]), sizes[:g], plus, paren, hyphen)
		if ok && plus && s.phonesParsed < maxParsed {
			s.phonesParsed++
			switch valid := validPhone(string(d[:n])); {
			case valid:
				c = High
			case c == High:
				c = Medium // of the right length, but not given out
			}
		}
		if ok && (c > conf || best == 0) {
			best, conf, b = g, c, ends[g-1]
			if conf > None {
				break
			}
		}
	}
	if best == 0 {
		// of no form that is known, right behind a word that says what it is
		return announcedPhone(s, r, start, from, d[:], sizes[:], ends[:])
	}
	if conf == None && from == start && isMobile(s, t, start, ends[0]) {
		conf, b = Medium, ends[0]
	}
	if conf == None {
		// needs a word: taken only with one, so that later groups are tried too
		if r.group < 0 || !s.near(r.group, from, b, r.Context.Before, r.Context.After) {
			return 0, 0, None
		}
		s.phoneDone = b
		return from, b, r.contextConf
	}
	s.phoneDone = b
	return from, b, conf
}

// phoneWord is how far a word for telephones may stand before a number of any form.
const phoneWord = 20

// announcedPhone is a number right behind a word for telephones, whatever its groups
// are; ends is where they end.
func announcedPhone(s *scanner, r *Rule, start, from int, d []byte, sizes, ends []int) (int, int, Confidence) {
	if r.group < 0 || !s.groupsAround(start).has(r.group) {
		return 0, 0, None
	}
	n, g := 0, 0
	for g < len(sizes) && sizes[g] > 0 && n+sizes[g] <= 15 {
		n += sizes[g]
		g++
	}
	if n < 8 || allSame(string(d[:n])) || g == 3 && (sizes[0] == 4 && sizes[1] <= 2 && sizes[2] <= 2 || sizes[2] == 4 && sizes[0] <= 2 && sizes[1] <= 2) {
		return 0, 0, None
	}
	if !s.near(r.group, from, ends[g-1], phoneWord, 0) {
		return 0, 0, None
	}
	s.phoneDone = ends[g-1]
	return from, ends[g-1], r.contextConf
}

// phoneForm judges digits in groups. No confidence and true is a form that
// needs a word that says what it is.
func phoneForm(d string, groups []int, plus, paren, hyphen bool) (Confidence, bool) {
	n := len(d)
	if plus {
		for k := 1; k <= 3 && k < n; k++ {
			lens, ok := callingCodes[d[:k]]
			if !ok {
				continue
			}
			rest := d[k:]
			if len(rest) >= lens[0] && len(rest) <= lens[1] || len(rest) == lens[1]+1 && rest[0] == '0' {
				if allSame(rest) {
					return None, false
				}
				return High, true
			}
			return None, false
		}
		return None, n >= 8 && n <= 15
	}
	if n < 7 || n > 13 || allSame(d) {
		return None, false
	}
	nanp := d
	ng := groups
	if n == 11 && d[0] == '1' && groups[0] == 1 {
		nanp, ng = d[1:], groups[1:]
	}
	if len(nanp) == 10 && len(ng) == 3 && ng[0] == 3 && ng[1] == 3 && nanp[0] >= '2' && (nanp[3] >= '2' || paren || n == 11 || nanp[0] == '8') {
		return Medium, true
	}
	if len(nanp) == 10 && len(ng) == 2 && ng[0] == 3 && paren && nanp[0] >= '2' {
		return Medium, true
	}
	isDate := len(groups) == 3 && (groups[0] == 4 && groups[1] <= 2 && groups[2] <= 2 || groups[2] == 4 && groups[0] <= 2 && groups[1] <= 2)
	years := len(groups) == 2 && groups[0] == 4 && groups[1] == 4 && (d[:2] == "19" || d[:2] == "20") && (d[4:6] == "19" || d[4:6] == "20")
	if isDate || years {
		return None, false
	}
	if d[0] == '0' && d[1] != '0' && n >= 9 && n <= 12 && len(groups) >= 3 && len(groups) <= 6 && groups[0] >= 2 {
		return Medium, true
	}
	if d[:2] == "00" && n >= 11 {
		return phoneForm(d[2:], groups, true, paren, hyphen)
	}
	if paren && n >= 8 && groups[0] >= 2 && groups[0] <= 5 && len(groups) >= 2 {
		return None, true
	}
	// thousands
	if len(groups) > 1 && !hyphen {
		thousands := groups[0] <= 3
		for _, g := range groups[1:] {
			thousands = thousands && g == 3
		}
		if thousands {
			return None, len(groups) == 3 && groups[0] > 1
		}
	}
	return None, len(groups) <= 5
}

// months are the first letters of the names of months.
var months = map[string]bool{
	"jan": true, "feb": true, "mar": true, "apr": true, "may": true, "jun": true, "jul": true, "aug": true, "sep": true, "oct": true,
	"nov": true, "dec": true, "mär": true, "mai": true, "okt": true, "dez": true, "fév": true, "avr": true, "jui": true, "aoû": true,
	"déc": true, "ene": true, "abr": true, "ago": true, "dic": true, "gen": true, "mag": true, "giu": true, "lug": true, "set": true,
	"ott": true, "fev": true, "out": true, "maa": true, "mei": true, "janv": true,
}

// dateAt reads a date at a place.
func dateAt(t string, i int) (int, bool) {
	start := i
	var nums [3]int
	var lens [3]int
	k := 0
	month := false
	for k < 3 && i < len(t) && i-start < 32 {
		switch {
		case isDigit(t[i]):
			j := i
			for j < len(t) && isDigit(t[j]) && j-i < 5 {
				j++
			}
			if j-i > 4 || j-i == 3 {
				return 0, false
			}
			nums[k], lens[k] = num(t[i:j]), j-i
			k++
			i = j
			// ordinals
			if i+1 < len(t) && isLower(t[i]) && (t[i:i+2] == "st" || t[i:i+2] == "nd" || t[i:i+2] == "rd" || t[i:i+2] == "th") {
				i += 2
			}
		case isLetter(t[i]) || t[i] >= 0x80:
			j := i
			for j < len(t) && j-i < 14 && (isLetter(t[j]) || t[j] >= 0x80) {
				j++
			}
			w := strings.ToLower(t[i:j])
			r := []rune(w)
			if len(r) >= 3 && months[string(r[:3])] && !month {
				month = true
				lens[k], nums[k] = 0, 1
				k++
			} else if w != "of" && w != "de" && w != "del" && r[0] != '년' && r[0] != '월' && r[0] != '年' && r[0] != '月' {
				return 0, false
			}
			i = j
		default:
			return 0, false
		}
		if k == 3 {
			break
		}
		j := i
		for j < len(t) && j-i < 3 && strings.IndexByte(" -/.,", t[j]) >= 0 {
			j++
		}
		if j == i && (i >= len(t) || t[i] < 0x80) {
			return 0, false
		}
		i = j
	}
	if k < 3 {
		return 0, false
	}
	year, day, m := 0, 0, 0
	for j := range 3 {
		switch {
		case lens[j] == 4:
			year++
			if nums[j] < 1880 || nums[j] > 2100 {
				return 0, false
			}
		case lens[j] == 0 || nums[j] >= 1 && nums[j] <= 12:
			m++
		case nums[j] >= 1 && nums[j] <= 31:
			day++
		case nums[j] <= 99:
			year++
		default:
			return 0, false
		}
	}
	if i < len(t) && isAlnum(t[i]) {
		return 0, false
	}
	return i, year <= 1 && m >= 1 && year+day+m == 3
}

// dateNear is a date that follows a word such as "born".
func dateNear(s *scanner, r *Rule, _, end int) (int, int, Confidence) {
	t := s.text
	for i := end; i < min(len(t), end+32); i++ {
		c := t[i]
		if c == '\n' && i > end+3 {
			break
		}
		if !isDigit(c) && !isUpper(c) || i > 0 && isAlnum(t[i-1]) {
			continue
		}
		if e, ok := dateAt(t, i); ok {
			return i, e, r.conf
		}
		if isDigit(c) {
			break
		}
	}
	return 0, 0, None
}

// nameNear is a name that follows a title or a word that announces one: one to
// four words that begin with capitals.
func nameNear(s *scanner, r *Rule, _, end int) (int, int, Confidence) {
	t := s.text
	i := end
	for i < len(t) && i-end < 6 && (strings.IndexByte(" .:=\"'*", t[i]) >= 0) {
		i++
	}
	start, words, stop := i, 0, i
	for words < 4 {
		j, ok := nameWord(t, i)
		if !ok {
			break
		}
		words++
		stop = j
		if j >= len(t) || t[j] != ' ' {
			break
		}
		i = j + 1
	}
	if words == 0 || stop-start < 3 || strings.Contains(t[end:start], "\n") {
		return 0, 0, None
	}
	return start, stop, r.conf
}

// nameWord reads a word of a name: a capital, then small letters, also with
// hyphen or apostrophe; or an initial.
func nameWord(t string, i int) (int, bool) {
	r, n := utf8.DecodeRuneInString(t[i:])
	if !unicode.IsUpper(r) {
		return 0, false
	}
	j, lower := i+n, 0
	for j < len(t) && j-i < 32 {
		r, n = utf8.DecodeRuneInString(t[j:])
		switch {
		case unicode.IsLower(r):
			lower++
		case unicode.IsUpper(r) && lower > 0 || r == '-' || r == '\'' || r == '’':
			next, _ := utf8.DecodeRuneInString(t[j+n:])
			if !unicode.IsLetter(next) {
				return j, lower > 0
			}
		case r == '.' && lower == 0:
			return j + 1, true
		default:
			return j, lower > 0
		}
		j += n
	}
	return j, lower > 0
}

// capital says whether a word begins with a capital or a digit, as words of
// street names do.
func capital(w string) bool {
	r, _ := utf8.DecodeRuneInString(w)
	return unicode.IsUpper(r) || unicode.IsDigit(r)
}

// wordBefore is the word that ends at a place, after at most two spaces or a
// comma and a space.
func wordBefore(t string, end int) (int, int) {
	e := end
	for e > 0 && end-e < 3 && (t[e-1] == ' ' || t[e-1] == ',') {
		e--
	}
	b := e
	for b > 0 && e-b < 32 && (isAlnum(t[b-1]) || t[b-1] >= 0x80 || t[b-1] == '\'' || t[b-1] == '-' || t[b-1] == '.') {
		b--
	}
	return b, e
}

// houseNumber says whether w is a number of a house: up to five digits and
// perhaps a letter.
func houseNumber(w string) bool {
	n := 0
	for n < len(w) && isDigit(w[n]) {
		n++
	}
	return n >= 1 && n <= 6 && (n == len(w) || n+1 == len(w) && isLetter(w[n])) && (w[0] != '0' || n > 1)
}

// addressSuffix is a street as in English: a number, one to four words and the
// keyword, such as Street, then perhaps a unit, a city and a code.
func addressSuffix(s *scanner, r *Rule, start, end int) (int, int, Confidence) {
	t := s.text
	if !isUpper(t[start]) {
		return 0, 0, None
	}
	at := start
	for range 4 {
		b, e := wordBefore(t, at)
		if b == e || e-at > 0 || strings.Contains(t[e:at], ",") {
			return 0, 0, None
		}
		w := t[b:e]
		if houseNumber(w) && at != start {
			// another number before it is the real one: 21 170 London Place
			if b2, e2 := wordBefore(t, b); e2 > b2 && houseNumber(t[b2:e2]) && e2 == b-1 {
				b = b2
			}
			return b, addressTail(t, end), r.conf
		}
		if !capital(w) {
			return 0, 0, None
		}
		at = b
	}
	return 0, 0, None
}

// streetSuffixes are the last words of names of streets, in lower case.
var streetSuffixes = func() map[string]bool {
	m := map[string]bool{}
	for _, w := range strings.Fields(`street st avenue ave av road rd boulevard blvd lane ln drive dr court ct place pl terrace ter square sq
		parkway pkwy highway hwy circle cir trail trl way crescent close alley plaza mews grove gardens heights hill ridge loop path pike
		crossing turnpike estate estates springs stream streams island islands isle mountain mountains valley valleys village villages view
		views creek crest crossroad crossroads curve cove dale fall falls field fields flat flats ford forest forge fork forks fort garden
		glen glens harbor harbors haven inlet junction junctions key keys knoll knolls lake lakes landing lodge manor manors
		meadow meadows mill mills mission motorway mount neck orchard oval overpass park parks parkways pass passage pine pines plain plains
		port ports prairie radial ramp ranch rapid rapids ridges river roads route row run shoal shoals shore shores skyway spring spur spurs
		squares station stravenue summit throughway trace track trafficway tunnel underpass union unions via viaduct ville vista walk walks
		wall ways well wells brook brooks burg burgs bypass camp canyon cape causeway center centers cliff cliffs club common commons corner
		corners course courts coves extension extensions expressway freeway bluff bluffs bottom branch bridge bayou beach bend`) {
		m[w] = true
	}
	return m
}()

// streetNumber is a street as in English, from the number: one to four words
// with capitals of which the last is such as Street, then what may follow; or
// words and a unit.
func streetNumber(s *scanner, r *Rule, start, end int) (int, int, Confidence) {
	t := s.text
	if end-start > 7 || end >= len(t) || t[end] != ' ' || !houseNumber(t[start:end]) || start > 0 && (isWordByte(t[start-1]) || strings.IndexByte(".-/:$#", t[start-1]) >= 0) {
		return 0, 0, None
	}
	at := end
	for words := range 5 {
		i := at + 1
		j := i
		for j < len(t) && j-i < 32 && (isAlnum(t[j]) || t[j] >= 0x80 || t[j] == '\'' || t[j] == '-') {
			j++
		}
		w := t[i:j]
		if w == "" || !capital(w) {
			return 0, 0, None
		}
		if words > 0 && isDigit(w[0]) {
			return 0, 0, None
		}
		l := w
		if words > 0 || !isDigit(w[0]) {
			l = strings.ToLower(w)
		}
		switch {
		case words > 0 && streetSuffixes[l] && !(j+1 < len(t) && t[j] == ' ' && isUpper(t[j+1]) && streetSuffixes[nextWord(t, j+1)]):
			if j < len(t) && t[j] == '.' && len(l) <= 4 {
				j++
			}
			return start, addressTail(t, j), r.conf
		case words > 1 && (l == "suite" || l == "apt"):
			if e := addressTail(t, at); e > at {
				return start, e, r.conf
			}
			return 0, 0, None
		}
		if j < len(t) && t[j] == '.' && len(l) <= 2 {
			j++
		}
		if at = j; at >= len(t) || t[at] != ' ' && t[at] != '\n' {
			return 0, 0, None
		}
	}
	return 0, 0, None
}

func nextWord(t string, i int) string {
	j := i
	for j < len(t) && j-i < 16 && isLetter(t[j]) {
		j++
	}
	return strings.ToLower(t[i:j])
}

// addressTail reads what may follow a street: units, a city and a code, each
// behind a comma, a space or a line's end.
func addressTail(t string, end int) int {
	for range 4 {
		i := end
		for i < len(t) && i-end < 3 && (t[i] == ',' || t[i] == ' ' || t[i] == '.' || t[i] == '\n') {
			i++
		}
		if i == end {
			break
		}
		j := i
		for j < len(t) && j-i < 24 && (isAlnum(t[j]) || t[j] == '-') {
			j++
		}
		w := strings.ToLower(t[i:j])
		switch w {
		case "apt", "suite", "ste", "unit", "apartment", "floor", "room", "no":
			for j < len(t) && (t[j] == '.' || t[j] == ' ' || t[j] == '#') {
				j++
			}
			k := j
			for k < len(t) && isAlnum(t[k]) {
				k++
			}
			if k == j {
				return end
			}
			end = k
			continue
		}
		if len(w) >= 4 && len(w) <= 10 && allDigits(strings.ReplaceAll(w, "-", "")) {
			end = j
			continue
		}
		if t[end] == ',' && j > i && isUpper(t[i]) && allLetters(w) {
			// a city or a state, if a code follows within a few words
			if k := codeAfter(t, j); k > 0 {
				return k
			}
		}
		break
	}
	return end
}

// codeAfter is the end of a postal code that follows within two words.
func codeAfter(t string, i int) int {
	for range 3 {
		for i < len(t) && (t[i] == ' ' || t[i] == ',') {
			i++
		}
		j := i
		for j < len(t) && j-i < 16 && (isAlnum(t[j]) || t[j] == '-') {
			j++
		}
		if j == i {
			return 0
		}
		if w := t[i:j]; len(w) >= 5 && allDigits(strings.ReplaceAll(w, "-", "")) {
			return j
		}
		if !isUpper(t[i]) {
			return 0
		}
		i = j
	}
	return 0
}

// addressPrefix is a street as in Romance languages: the keyword, such as rue
// or calle, one to four words, and a number before the keyword or behind.
func addressPrefix(s *scanner, r *Rule, start, end int) (int, int, Confidence) {
	t := s.text
	i, stop, words := end, end, 0
	for words < 5 && i < len(t) && t[i] == ' ' {
		j := i + 1
		for j < len(t) && j-i < 32 && (isAlnum(t[j]) || t[j] >= 0x80 || t[j] == '\'' || t[j] == '-' || t[j] == '.') {
			j++
		}
		w := t[i+1 : j]
		if w == "" || w[0] >= 0x80 && !capital(w) && words > 0 {
			break
		}
		if isDigit(w[0]) || !capital(w) && !particle(w) {
			break
		}
		words, i, stop = words+1, j, j
	}
	if words == 0 {
		return 0, 0, None
	}
	if b, e := wordBefore(t, start); e > b && houseNumber(t[b:e]) {
		return b, addressTail(t, stop), r.conf
	}
	j := stop
	for j < len(t) && j-stop < 6 && (t[j] == ' ' || t[j] == ',' || t[j] == 'n' || t[j] == '.' || t[j] >= 0x80) {
		j++
	}
	k := j
	for k < len(t) && k-j < 6 && isAlnum(t[k]) {
		k++
	}
	if j > stop && houseNumber(t[j:k]) && (isUpper(t[start]) || t[stop] == ',') {
		return start, addressTail(t, k), r.conf
	}
	return 0, 0, None
}

func particle(w string) bool {
	switch w {
	case "de", "la", "le", "les", "du", "des", "del", "della", "delle", "dei", "do", "da", "dos", "das", "los", "las", "el", "di", "d":
		return true
	}
	return strings.HasPrefix(w, "l'") || strings.HasPrefix(w, "d'")
}

// addressCompound is a street as in German or Dutch: a word that ends with the
// keyword, then a number, or a number before it.
func addressCompound(s *scanner, r *Rule, start, end int) (int, int, Confidence) {
	t := s.text
	b, _ := wordBefore(t, end)
	if b >= start && start > 0 && t[start-1] == ' ' {
		// two words: Lange Straße
		b, _ = wordBefore(t, start)
	}
	if !capital(t[b:end]) {
		return 0, 0, None
	}
	i := end
	if i < len(t) && t[i] == '.' {
		i++
	}
	if i < len(t) && t[i] == ' ' {
		j := i + 1
		for j < len(t) && j-i < 7 && isAlnum(t[j]) {
			j++
		}
		if houseNumber(t[i+1 : j]) {
			return b, addressTail(t, j), r.conf
		}
	}
	if p, e := wordBefore(t, b); e > p && houseNumber(t[p:e]) && e == b-1 {
		return p, addressTail(t, end), r.conf
	}
	return 0, 0, None
}

// shortCode is three to eight digits that follow a word such as CVV or PIN.
func shortCode(s *scanner, r *Rule, _, end int) (int, int, Confidence) {
	t := s.text
	for end < len(t) && isWordByte(t[end]) {
		end++ // the rest of the word: CVV2
	}
	for i := end; i < min(len(t), end+24); i++ {
		if isDigit(t[i]) {
			j := i
			for j < len(t) && isAlnum(t[j]) && j-i < 12 {
				j++
			}
			if d := t[i:j]; allDigits(d) && len(d) >= 3 && len(d) <= 8 && (j == len(t) || t[j] != '.' && t[j] != ',' && t[j] != '/' || j+1 == len(t) || !isDigit(t[j+1])) {
				return i, j, r.conf
			}
			return 0, 0, None
		}
		if t[i] == '\n' && i > end+2 {
			break
		}
	}
	return 0, 0, None
}

// countries are the codes of countries that banks are in (ISO 3166).
const countries = "AD AE AF AG AI AL AM AO AR AT AU AW AZ BA BB BD BE BF BG BH BI BJ BM BN BO BR BS BT BW BY BZ CA CD CF CG CH CI CL CM CN CO CR CU CV CW CY CZ DE DJ DK DM DO DZ EC EE EG ES ET FI FJ FK FO FR GA GB GD GE GG GH GI GL GM GN GQ GR GT GW GY HK HN HR HT HU ID IE IL IM IN IQ IR IS IT JE JM JO JP KE KG KH KM KN KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MG MK ML MM MN MO MR MS MT MU MV MW MX MY MZ NA NC NE NG NI NL NO NP NZ OM PA PE PF PG PH PK PL PS PT PY QA RO RS RU RW SA SB SC SD SE SG SI SK SL SM SN SO SR ST SV SY SZ TD TG TH TJ TL TM TN TO TR TT TW TZ UA UG US UY UZ VA VC VE VG VN VU WS XK YE ZA ZM ZW"

// swiftNear is a bank's code (ISO 9362) that follows a word such as BIC.
func swiftNear(s *scanner, r *Rule, _, end int) (int, int, Confidence) {
	t := s.text
	for i := end; i < min(len(t), end+40); i++ {
		if !isUpper(t[i]) || isAlnum(t[i-1]) {
			continue
		}
		j := i
		for j < len(t) && j-i < 12 && isAlnum(t[j]) {
			j++
		}
		if w := t[i:j]; (len(w) == 8 || len(w) == 11) && w == strings.ToUpper(w) && allLetters(w[:6]) && strings.Contains(countries, w[4:6]) {
			return i, j, r.conf
		}
	}
	return 0, 0, None
}

// usernameNear is the name of an account that follows a word such as username.
func usernameNear(s *scanner, r *Rule, _, end int) (int, int, Confidence) {
	t := s.text
	i, op := end, false
	for i < len(t) && i-end < 8 && strings.IndexByte(" :=\"'", t[i]) >= 0 {
		op = op || t[i] == ':' || t[i] == '='
		i++
	}
	j := i
	for j < len(t) && j-i < 40 && (isAlnum(t[j]) || t[j] == '_' || t[j] == '.' || t[j] == '-') {
		j++
	}
	if !op || j-i < 3 || !strings.ContainsAny(t[i:j], "0123456789._-") || isPlaceholder(t[i:j]) {
		return 0, 0, None
	}
	return i, j, r.conf
}
