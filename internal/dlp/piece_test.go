package dlp

import (
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/claudeaudit/claudeaudit/internal/detect"
)

// checkPieces holds pieces of a text to what they are for.
func checkPieces(t *testing.T, text string, size, overlap int) {
	t.Helper()
	pieces := appendPieces(nil, detect.Tool, text, size, overlap)
	at, counted := 0, 0
	for i, p := range pieces {
		start := counted - p.from // where the piece begins in the text
		require.LessOrEqual(t, len(p.text), size)
		require.Equal(t, text[start:start+len(p.text)], p.text)
		require.LessOrEqual(t, start, at, "nothing is left out")
		if i > 0 {
			require.GreaterOrEqual(t, p.from, overlap, "text before the first that counts")
		}
		if i < len(pieces)-1 {
			require.GreaterOrEqual(t, len(p.text)-p.to, overlap, "text after the last that counts")
		}
		require.Less(t, p.from, p.to)
		require.Equal(t, i, p.part)
		require.Equal(t, len(pieces), p.parts)
		require.Equal(t, detect.Tool, p.origin)
		if utf8.ValidString(text) {
			require.True(t, utf8.ValidString(p.text))
		}
		at, counted = start+len(p.text), start+p.to
	}
	require.Equal(t, len(text), counted, "every byte counts once")
}

func TestPieces(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	letters := []string{"a", "ä", "字", "😀", "\xff", "\x80"}
	for range 300 {
		var b strings.Builder
		for range rng.IntN(6000) {
			b.WriteString(letters[rng.IntN(len(letters))])
		}
		size := 1024 + rng.IntN(1000)
		checkPieces(t, b.String(), size, rng.IntN(size/4))
	}
	checkPieces(t, strings.Repeat("\x80", 5000), 1024, 256)
	checkPieces(t, strings.Repeat("a", 1024), 1024, 256)
	checkPieces(t, strings.Repeat("a", 1025), 1024, 0)
}

func FuzzPieces(f *testing.F) {
	f.Add("aä字😀\xff", uint16(300), uint16(20))
	f.Fuzz(func(t *testing.T, s string, times, overlap uint16) {
		if s == "" {
			return
		}
		text := strings.Repeat(s, 1+int(times)%(1+20000/len(s)))
		checkPieces(t, text, 1024, int(overlap)%256)
	})
}

func FuzzAnswers(f *testing.F) {
	f.Add("a text with ä", `[{"entity_type":"EMAIL_ADDRESS","start":0,"end":3,"score":0.9}]`)
	f.Add("a text with ä", `{"level":"RESTRICTED","flags":["a.b"],"detections":[{"type":"x","rule":"y","confidence":"low","start":1,"end":2},{"type":"z","count":3}]}`)
	c := &Client{cfg: NewDefaultConfig()}
	f.Fuzz(func(t *testing.T, text, body string) {
		p := piece{text: text, to: len(text)}
		for _, read := range []func([]byte, piece) (answer, error){c.readPresidio, c.readContract} {
			a, err := read([]byte(body), p)
			if err != nil {
				require.ErrorIs(t, err, errAnswer)
				continue
			}
			for _, d := range a.detections {
				require.True(t, isName(d.Type) && isName(strings.TrimPrefix(d.Rule, "external.")), "%+v", d)
				require.Contains(t, []string{"low", "medium", "high"}, d.Confidence)
				require.Positive(t, d.Count)
			}
		}
	})
}
