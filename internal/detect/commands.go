package detect

import "strings"

// Passwords on command lines and in calls stand behind no word that says so: curl -u
// bob:…, sshpass -p …, new NetworkCredential("bob", "…"). What does is the program or
// the function, which is the keyword.

// passwordFlags are how programs are given a password: flags whose next word it is,
// flags that it is glued to, and flags whose next word is a name, a sign, and it.
var passwordFlags = map[string]struct {
	next, glued, pair []string
	sign              byte
}{
	"curl":        {pair: []string{"-u", "--user", "--proxy-user", "-U"}, sign: ':'},
	"wget":        {glued: []string{"--password=", "--http-password=", "--ftp-password="}},
	"sshpass":     {next: []string{"-p"}, glued: []string{"-p"}},
	"mysql":       {glued: []string{"-p", "--password="}},
	"mysqldump":   {glued: []string{"-p", "--password="}},
	"mysqladmin":  {glued: []string{"-p", "--password="}},
	"mariadb":     {glued: []string{"-p", "--password="}},
	"mongo":       {next: []string{"-p", "--password"}, glued: []string{"--password="}},
	"mongosh":     {next: []string{"-p", "--password"}, glued: []string{"--password="}},
	"mongodump":   {next: []string{"-p", "--password"}, glued: []string{"--password="}},
	"docker":      {next: []string{"-p", "--password"}, glued: []string{"--password="}},
	"podman":      {next: []string{"-p", "--password"}, glued: []string{"--password="}},
	"helm":        {next: []string{"-p", "--password"}, glued: []string{"--password="}},
	"az":          {next: []string{"-p", "--password"}, glued: []string{"--password="}},
	"oc":          {next: []string{"-p", "--password"}, glued: []string{"--password=", "-p="}},
	"psexec":      {next: []string{"-p"}},
	"psexec64":    {next: []string{"-p"}},
	"plink":       {next: []string{"-pw"}},
	"pscp":        {next: []string{"-pw"}},
	"net":         {next: []string{"/user:"}},
	"cmdkey":      {glued: []string{"/pass:"}},
	"xfreerdp":    {glued: []string{"/p:"}},
	"redis-cli":   {next: []string{"-a", "--pass"}},
	"ldapsearch":  {next: []string{"-w"}},
	"ldapmodify":  {next: []string{"-w"}},
	"ldapadd":     {next: []string{"-w"}},
	"sqlcmd":      {next: []string{"-P"}, glued: []string{"-P"}},
	"smbclient":   {pair: []string{"-U", "--user"}, sign: '%'},
	"rpcclient":   {pair: []string{"-U", "--user"}, sign: '%'},
	"evil-winrm":  {next: []string{"-p"}},
	"openssl":     {pair: []string{"-pass", "-passin", "-passout"}, sign: ':'},
	"rabbitmqctl": {next: []string{"add_user", "change_password"}},
	"htpasswd":    {next: []string{"-b", "-cb", "-bc", "-Bb", "-bB"}},
}

// skipped is how many words stand between such a flag and the password.
var skipped = map[string]int{"rabbitmqctl": 1, "htpasswd": 2}

// maxCommand is how much of a line is looked at behind a program's name, and
// maxArguments how many words of it.
const (
	maxCommand   = 256
	maxArguments = 24
)

// commandPassword is a password that a program is given on its command line. The
// keyword is the program's name.
func commandPassword(s *scanner, r *Rule, start, end int) (int, int, Confidence) {
	t := s.text
	name := end
	for name > start && t[name-1] == ' ' {
		name--
	}
	program := strings.ToLower(t[start:name])
	program, _, _ = strings.Cut(program, " ")
	flags, ok := passwordFlags[program]
	if !ok || start > 0 && (isWordByte(t[start-1]) || t[start-1] == '-' || t[start-1] == '.') {
		return 0, 0, None
	}
	line := t[:min(len(t), end+maxCommand)]
	if n := strings.IndexByte(line[end:], '\n'); n >= 0 && (n == 0 || line[end+n-1] != '\\') {
		line = line[:end+n]
	}
	take := -1 // words until the password
	var sign byte
	for i, n := end, 0; i < len(line) && n < maxArguments; n++ {
		from, to, next := word(line, i)
		if from == to {
			break
		}
		i = next
		w := line[from:to]
		if sign != 0 {
			if _, pass, ok := strings.Cut(w, string(sign)); ok && givenPassword(pass) {
				return to - len(pass), to, r.conf
			}
			sign = 0
		}
		if take == 0 {
			if givenPassword(w) {
				return from, to, r.conf
			}
			take = -1
		}
		take = max(take-1, -1)
		for _, f := range flags.next {
			if w == f || strings.HasSuffix(f, ":") && hasFold(w, f) {
				take = skipped[program]
			}
		}
		for _, f := range flags.glued {
			if len(w) > len(f) && hasFold(w, f) {
				if a, b := unquoted(line, from+len(f), to); givenPassword(line[a:b]) {
					return a, b, r.conf
				}
			}
		}
		for _, f := range flags.pair {
			switch {
			case w == f:
				sign = flags.sign
			case len(f) > 2 && strings.HasPrefix(w, f+"="):
				if _, pass, ok := strings.Cut(w[len(f)+1:], string(flags.sign)); ok && givenPassword(pass) {
					return to - len(pass), to, r.conf
				}
			}
		}
	}
	return 0, 0, None
}

// hasFold says whether w begins with a flag; those with a slash have no case.
func hasFold(w, flag string) bool {
	if flag[0] == '/' {
		return len(w) >= len(flag) && strings.EqualFold(w[:len(flag)], flag)
	}
	return strings.HasPrefix(w, flag)
}

// word is the next word of a command line, without its quotes, and where the one
// after it may begin.
func word(line string, i int) (from, to, next int) {
	for i < len(line) && (line[i] <= ' ' || line[i] == '\\' && i+1 < len(line) && line[i+1] == '\n') {
		i++
	}
	from = i
	quote := byte(0)
	for ; i < len(line); i++ {
		switch c := line[i]; {
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case isQuote(c):
			quote = c
		case c <= ' ' || c == '|' || c == '>' || c == '&' && i+1 < len(line) && line[i+1] == '&':
			if i == from {
				return from, from, from
			}
			a, b := unquoted(line, from, i)
			return a, b, i
		}
	}
	a, b := unquoted(line, from, i)
	return a, b, i
}

// unquoted is line[a:b] without the quotes around it.
func unquoted(line string, a, b int) (int, int) {
	if b-a >= 2 && isQuote(line[a]) && line[b-1] == line[a] {
		return a + 1, b - 1
	}
	return a, b
}

// givenPassword says whether a word of a command line can be a password: no other
// flag, variable, file or part of a manual.
func givenPassword(v string) bool {
	if v == "" || strings.IndexByte("-$<{@/.~(", v[0]) >= 0 || strings.Contains(v, "$(") {
		return false
	}
	return looksPassword(v, true)
}

// callPassword is a password among the arguments of a call: the last of two or three
// that are strings. The keyword is the function's name, with the parenthesis.
func callPassword(s *scanner, r *Rule, _, end int) (int, int, Confidence) {
	t := s.text
	i, limit := end, min(len(t), end+maxCommand)
	if i < limit && t[i] == '(' {
		i++
	}
	for n := 1; n <= 3; n++ {
		for i < limit && (t[i] == ' ' || t[i] == '\t' || t[i] == '\n' || t[i] == '\r') {
			i++
		}
		if i >= limit || !isQuote(t[i]) {
			return 0, 0, None
		}
		from := i + 1
		length := strings.IndexByte(t[from:limit], t[i])
		if length < 0 {
			return 0, 0, None
		}
		to := from + length
		for i = to + 1; i < limit && (t[i] == ' ' || t[i] == '\t' || t[i] == '\n' || t[i] == '\r'); {
			i++
		}
		if n > 1 && (i >= limit || t[i] == ')' || n == 3) {
			v := t[from:to]
			if strings.IndexByte(v, ' ') >= 0 || !givenPassword(v) {
				return 0, 0, None
			}
			return from, to, r.conf
		}
		if i >= limit || t[i] != ',' {
			return 0, 0, None
		}
		i++
	}
	return 0, 0, None
}

// phraseLengths are the counts of words of a wallet's phrase (BIP 39).
var phraseLengths = map[int]bool{12: true, 15: true, 18: true, 21: true, 24: true}

// plainWords stand in sentences and in no such phrase.
var plainWords = map[string]bool{
	"the": true, "and": true, "are": true, "for": true, "from": true, "was": true, "with": true, "you": true, "your": true, "have": true, "has": true,
	"not": true, "they": true, "its": true, "our": true, "which": true, "were": true, "please": true, "words": true,
}

// seedPhrase is the phrase of a wallet behind a word that announces one: twelve to
// twenty-four words in small letters and nothing else.
func seedPhrase(s *scanner, r *Rule, _, end int) (int, int, Confidence) {
	t := s.text
	i := end
	for i < len(t) && i-end < 32 && t[i] != '\n' {
		c := t[i]
		if c == ':' || c == '=' || isQuote(c) {
			break
		}
		i++
	}
	for i < len(t) && i-end < 40 && !isLower(t[i]) {
		i++
	}
	from, to, n := i, i, 0
	for n <= 24 {
		j := i
		for j < len(t) && isLower(t[j]) && j-i <= 8 {
			j++
		}
		if j-i < 3 || j-i > 8 || plainWords[t[i:j]] {
			break
		}
		n, to = n+1, j
		i = j
		for i < len(t) && i-j < 2 && (t[i] == ' ' || t[i] == ',' || t[i] == '\n') {
			i++
		}
		if i == j {
			break
		}
	}
	if !phraseLengths[n] || to < len(t) && isWordByte(t[to]) {
		return 0, 0, None
	}
	return from, to, r.conf
}
