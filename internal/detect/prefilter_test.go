package detect

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// slowHits finds keywords the plain way.
func slowHits(words []keyword, text string) []hit {
	var out []hit
	lower := lowerASCII(text)
	for k, w := range words {
		for at := 0; ; at++ {
			i := strings.Index(lower[at:], w.text)
			if i < 0 {
				break
			}
			at += i
			end := at + len(w.text)
			if w.left && at > 0 && isAlnum(text[at-1]) || w.right && end < len(text) && isAlnum(text[end]) {
				continue
			}
			// three bytes without a boundary are not found at the very end
			if len(w.text) == minKeyword && !w.left && end == len(text) {
				continue
			}
			out = append(out, hit{keyword: uint32(k), start: uint32(at), end: uint32(end)})
		}
	}
	sortHits(out)
	return out
}

func sortHits(h []hit) {
	slices.SortFunc(h, func(a, b hit) int { return cmp.Or(cmp.Compare(a.start, b.start), cmp.Compare(a.keyword, b.keyword)) })
}

var filterWords = []keyword{
	{text: "ssn", left: true, right: true},
	{text: "dob", left: true},
	{text: "abc"},
	{text: "akia"},
	{text: "password"},
	{text: "pass", left: true},
	{text: "여권", left: true, right: true},
	{text: "ausweis", left: true},
	{text: "nummer", right: true},
	{text: "a b c d"},
	{text: "straße", right: true},
	{text: "----begin"},
}

func TestPrefilterFindsWhatSearchFinds(t *testing.T) {
	p, err := newPrefilter(filterWords)
	require.NoError(t, err)
	pieces := []string{
		"ssn", "SSN", "dob", "DoB", "abc", "AKIA", "password", "Pass", "여권", "Ausweis", "nummer", "a b c d", "Straße", "----BEGIN",
		" ", "\n", ".", "x", "9", "é", "\xff", "=", "ssnx", "xssn", "한", "0123456789", "-", "\x00", "@",
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 3000 {
		var b strings.Builder
		for range r.IntN(12) {
			b.WriteString(pieces[r.IntN(len(pieces))])
		}
		text := b.String()
		var sig signals
		whole := p.scan(text, 0, len(text), nil, &sig)
		sortHits(whole)
		require.Equal(t, slowHits(filterWords, text), whole, "%q", text)

		// in blocks the same is found
		var inBlocks []hit
		for from := 0; from < len(text); {
			to := min(from+1+r.IntN(9), len(text))
			inBlocks = p.scan(text, from, to, inBlocks, &sig)
			from = to
		}
		sortHits(inBlocks)
		require.Equal(t, whole, inBlocks, "%q", text)
	}
}

func TestPrefilterSignals(t *testing.T) {
	p, err := newPrefilter(nil)
	require.NoError(t, err)
	r := rand.New(rand.NewPCG(3, 4))
	for range 2000 {
		b := make([]byte, r.IntN(60))
		for i := range b {
			b[i] = "0123456789ab .@/\xe9"[r.IntN(17)]
		}
		text := string(b)
		var sig signals
		p.scan(text, 0, len(text), nil, &sig)
		var ats []uint32
		for i := range text {
			if text[i] == '@' {
				ats = append(ats, uint32(i))
			}
		}
		require.Equal(t, ats, sig.ats, "%q", text)
		for i := 1; i < len(text); i++ {
			if isDigit(text[i]) && isDigit(text[i-1]) {
				require.True(t, slices.ContainsFunc(sig.numbers, func(n uint32) bool { return int(n) >= i-8 && int(n) <= i+8 }), "%q at %d", text, i)
			}
		}
	}
}

func TestPrefilterRefusesShortKeywords(t *testing.T) {
	_, err := newPrefilter([]keyword{{text: "ab"}})
	require.ErrorContains(t, err, `"ab" is shorter than 3 bytes`)
}

func TestCaseForms(t *testing.T) {
	require.Equal(t, []string{"passport"}, caseForms("Passport"))
	require.ElementsMatch(t, []string{"паспорт", "ПАСПОРТ", "Паспорт"}, caseForms("паспорт"))
	require.ElementsMatch(t, []string{"médico", "mÉdico"}, caseForms("médico"))
}

func FuzzPrefilter(f *testing.F) {
	f.Add("my SSN is", 3)
	f.Add("여권번호 AKIA ----BEGIN", 7)
	f.Add("a control character before\x10SSN", 0)
	p, err := newPrefilter(filterWords)
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, text string, split int) {
		var sig signals
		whole := p.scan(text, 0, len(text), nil, &sig)
		split = min(max(split, 0), len(text))
		parts := p.scan(text, 0, split, nil, &sig)
		parts = p.scan(text, split, len(text), parts, &sig)
		sortHits(whole)
		sortHits(parts)
		if split > 0 {
			require.Equal(t, whole, parts)
		}
		require.Equal(t, slowHits(filterWords, text), whole)
	})
}
