package detect

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

func newEngine(t testing.TB, cfg Config) *Engine {
	t.Helper()
	e, err := New(cfg)
	require.NoError(t, err)
	return e
}

// rulesIn are the rules that match a text.
func rulesIn(e *Engine, text string) []string {
	var out []string
	for _, d := range e.Scan([]Segment{{Text: text}}, Scope{}, Options{}).Detections {
		out = append(out, d.Rule)
	}
	return out
}

// Every embedded rule says what it must find and what it must not.
func TestExamples(t *testing.T) {
	e := newEngine(t, Config{NoInjection: true})
	require.NotEmpty(t, e.Rules())
	for _, r := range e.Rules() {
		t.Run(r.ID, func(t *testing.T) {
			require.NotEmpty(t, r.Examples.Match, "a rule needs an example")
			for _, failed := range e.TestRule(r) {
				t.Errorf("%s: match=%v: %q found %v", r.Where(), failed.Want, failed.Text, rulesIn(e, failed.Text))
			}
			require.False(t, slices.Contains(r.Examples.Match, ""))
		})
	}
}
