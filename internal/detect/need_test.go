package detect

import (
	"regexp/syntax"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNeed(t *testing.T) {
	for _, c := range []struct {
		pattern, literal string
		run              int
		in, notIn        string
	}{
		{`key_[a-z]{3}`, "", 0, "anything", ""},
		{`key_([a-z0-9]{20})`, "", 20, "key_" + strings.Repeat("a1", 10), "key_" + strings.Repeat("a1", 9) + "-a1a1a1a1a1a1"},
		{`key_[a-z0-9]{20,40}\b`, "", 20, strings.Repeat(" ", 19) + strings.Repeat("x", 20), strings.Repeat("0123456789abcdefghi ", 20)},
		{`key(?:[a-z]{12}|[0-9]{10,})`, "", 10, "0123456789", "012345678-abcdefghi"},
		{`key(?:[a-z]{12}|x)`, "", 0, "", ""},
		{`key(?:[a-z]{12})?`, "", 0, "", ""},
		{`key[^\n]{0,40}?secret-part [a-z]{9}`, "secret-part ", 9, "the secret-part abcdefghi", "abcdefghi secret part"},
		{`key(?i:secret-part) [a-z]{9}`, "", 9, "SECRET-PART abcdefghi", "secret-part abcdefgh"},
		{`(?:key_[a-z]{9}){2}`, "", 9, "abcdefghi", ""},
		{`key[^a]{8}`, "", 8, "ößäüößäü", "xaxaxaxaxaxaxaxaxa"},
	} {
		re, err := syntax.Parse(c.pattern, syntax.Perl)
		require.NoError(t, err)
		n := needOf(re, []string{"*key*"})
		require.Equal(t, c.literal, n.literal, c.pattern)
		require.Equal(t, c.run, n.run, c.pattern)
		require.True(t, n.in(c.in), c.pattern)
		if c.notIn != "" {
			require.False(t, n.in(c.notIn), c.pattern)
		}
	}
}

// What a pattern is said to need is in whatever it matches.
func TestNeedIsInExamples(t *testing.T) {
	needed := 0
	for _, r := range newEngine(t, Config{}).Rules() {
		if r.re == nil {
			continue
		}
		if r.need.run > 0 {
			needed++
		}
		for _, text := range r.Examples.Match {
			if strings.HasPrefix(r.re.String(), `\A`) {
				for i := range text {
					if r.re.MatchString(text[i:]) {
						require.True(t, r.need.in(r.re.FindString(text[i:])), r.ID)
					}
				}
			} else if m := r.re.FindString(text); m != "" {
				require.True(t, r.need.in(m), r.ID)
			}
		}
	}
	require.Greater(t, needed, 50)
}
