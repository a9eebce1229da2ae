package injection

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func lines(t testing.TB, path string) (out []string) {
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	for l := range strings.Lines(string(b)) {
		if l = strings.TrimSuffix(l, "\n"); l != "" && !strings.HasPrefix(l, "# ") {
			out = append(out, strings.ReplaceAll(l, `\n`, "\n"))
		}
	}
	return out
}

// The wordings of the two files are our own; those of the public corpora are
// judged by `make eval`.
func TestAttacks(t *testing.T) {
	kinds := map[string]string{"override": Override, "disclosure": Disclose, "persona": Persona, "template": Template, "exfiltration": Exfil, "tool": Abuse}
	found, named, n := 0, 0, 0
	for _, l := range lines(t, "testdata/attacks.txt") {
		kind, text, ok := strings.Cut(l, " | ")
		require.True(t, ok, l)
		require.Contains(t, kinds, kind)
		origin := User
		if kind == "tool" || kind == "exfiltration" {
			origin = Tool
		}
		n++
		in := inspect(text, origin)
		if len(in.Findings) > 0 {
			found++
		} else {
			t.Logf("missed: %s %q %v", kind, text, Explain(text, Match(text), origin))
		}
		for _, f := range in.Findings {
			if f.Flag == kinds[kind] {
				named++
				break
			}
		}
	}
	t.Logf("%d of %d found, %d by their kind", found, n, named)
	require.GreaterOrEqual(t, float64(found), 0.9*float64(n))
	require.GreaterOrEqual(t, float64(named), 0.8*float64(n))
}

// These are of any kind, in wordings that the rules were not made for. The model
// was trained with them: what it does without them the training command prints.
func TestOtherWordings(t *testing.T) {
	found, n := 0, 0
	for _, p := range []string{"testdata/attacks2.txt", "testdata/attacks3.txt", "testdata/attacks4.txt", "testdata/attacks5.txt", "testdata/attacks6.txt"} {
		for _, l := range lines(t, p) {
			n++
			if len(inspect(l, User).Findings) > 0 {
				found++
			} else {
				t.Logf("missed: %q", l)
			}
		}
	}
	require.GreaterOrEqual(t, float64(found), 0.9*float64(n))
}

func TestHarmless(t *testing.T) {
	for pattern, origins := range map[string][]Origin{"testdata/harmless*.txt": {User}, "testdata/documents*.txt": {User, Tool}} {
		paths, err := filepath.Glob(pattern)
		require.NoError(t, err)
		require.NotEmpty(t, paths)
		for _, path := range paths {
			for _, l := range lines(t, path) {
				for _, origin := range origins {
					in := inspect(l, origin)
					if len(in.Findings)+len(in.Obfuscation) > 0 {
						t.Errorf("%s %q: %v %v", path, l, in.Findings, in.Obfuscation)
					}
				}
			}
		}
	}
}

// As above: the model was trained with these.
func TestIndirect(t *testing.T) {
	found, n := 0, 0
	for _, l := range slices.Concat(lines(t, "testdata/indirect.txt"), lines(t, "testdata/indirect2.txt")) {
		n++
		in := inspect(l, Tool)
		if len(in.Findings) == 0 {
			t.Logf("missed: %q", l)
			continue
		}
		found++
		require.Equal(t, Indirect, in.Findings[len(in.Findings)-1].Flag, l)
	}
	t.Logf("%d of %d found", found, n)
	require.GreaterOrEqual(t, float64(found), 0.75*float64(n))
}
