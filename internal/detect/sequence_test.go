package detect

import (
	"math/rand/v2"
	"regexp"
	"regexp/syntax"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSequencesOf(t *testing.T) {
	for pattern, want := range map[string]bool{
		`gh[ps]_[a-z0-9]{36,255}`:                true,
		`(?:a|b)c(?:[^c]|$)`:                     true,
		`(?i:key)[^\n]{0,50}?\b([0-9a-f]{32})\b`: true,
		`[a-z]{2,8}k`:                            false, // the k may be one of the letters
		`[a-z]{2,8}[0-9]*k`:                      false,
		`[a-z-]{2,8}\b`:                          false,
		`(?:ab){2,3}`:                            false,
		`a.*?b.*?c`:                              false,
		`é`:                                      false,
	} {
		re, err := syntax.Parse(`\A(?:`+pattern+`)`, syntax.Perl)
		require.NoError(t, err)
		require.Equal(t, want, sequencesOf(re) != nil, pattern)
	}
}

// What is matched here is what package regexp finds: with every rule's pattern, in its
// examples and in what is nearly one.
func TestSequencesMatchAsRegexpDoes(t *testing.T) {
	e := newEngine(t, Config{NoInjection: true})
	r := rand.New(rand.NewPCG(1, 2))
	const bytes = "aZ09_-=. \n:/\"'"
	rules := 0
	for _, rule := range e.Rules() {
		if rule.sequences == nil {
			continue
		}
		rules++
		re := regexp.MustCompile(`\A(?:` + rule.Pattern + `)`)
		for _, example := range append(rule.Examples.Match, rule.Examples.NoMatch...) {
			for range 300 {
				b := []byte(example)
				for range r.IntN(4) {
					switch i := r.IntN(len(b)); r.IntN(3) {
					case 0:
						b[i] = bytes[r.IntN(len(bytes))]
					case 1:
						b = append(b[:i:i], append([]byte{bytes[r.IntN(len(bytes))]}, b[i:]...)...)
					case 2:
						b = append(b[:i:i], b[min(len(b), i+1+r.IntN(3)):]...)
					}
					if len(b) == 0 {
						b = []byte("x")
					}
				}
				for from := range min(len(b), 40) {
					text := string(b[from:])
					f, ok := matchFirst(rule.sequences, text)
					loc := re.FindStringSubmatchIndex(text)
					require.Equal(t, loc != nil, ok, "%s: %q", rule.ID, text)
					if loc == nil {
						continue
					}
					require.Equal(t, loc[1], f.end, "%s: %q", rule.ID, text)
					if len(loc) > 2 {
						require.Equal(t, loc[2:], []int{f.from, f.to}, "%s: %q", rule.ID, text)
					}
				}
			}
		}
	}
	require.Greater(t, rules, 100)
}
