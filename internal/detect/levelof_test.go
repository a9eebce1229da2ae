package detect

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/claudeaudit/claudeaudit/internal/audit"
)

func TestLevelOf(t *testing.T) {
	file := filepath.Join(t.TempDir(), "rules.yaml")
	require.NoError(t, os.WriteFile(file, []byte(`
rules:
  - {id: ours.codename, type: codename, category: business, level: RESTRICTED, keywords: [heron], confidence: high}
taxonomy:
  steps:
    - {id: ours.many, level: RESTRICTED, types: [email], count: 3}
  applications:
    - {match: "shop-*", disable: [restricted.payment]}
`), 0o600))
	e, err := New(Config{Files: []string{file}})
	require.NoError(t, err)
	for name, tt := range map[string]struct {
		d           Detection
		application string
		level, step string
	}{
		"type":                       {d: Detection{Type: "credit_card", Confidence: "medium", Count: 1}, level: audit.Restricted, step: "restricted.payment"},
		"category":                   {d: Detection{Type: "api_key", Confidence: "high", Count: 1}, level: audit.Restricted, step: "restricted.secret"},
		"not sure enough":            {d: Detection{Type: "credit_card", Confidence: "low", Count: 1}},
		"of the application":         {d: Detection{Type: "credit_card", Confidence: "high", Count: 1}, application: "shop-1"},
		"one":                        {d: Detection{Type: "email", Confidence: "high", Count: 2}, level: audit.Internal, step: "internal.contact"},
		"many":                       {d: Detection{Type: "email", Confidence: "high", Count: 3}, level: audit.Restricted, step: "ours.many"},
		"different values are asked": {d: Detection{Type: "phone", Confidence: "high", Count: 20}, level: audit.Internal, step: "internal.contact"},
		"the level of a single rule": {d: Detection{Type: "codename", Confidence: "high", Count: 1}},
		"unknown type":               {d: Detection{Type: "plant", Confidence: "high", Count: 1}},
		"unknown confidence":         {d: Detection{Type: "credit_card", Confidence: "total", Count: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			level, step := e.LevelOf(tt.d, Scope{Application: tt.application})
			require.Equal(t, tt.level, level)
			require.Equal(t, tt.step, step)
		})
	}
}
