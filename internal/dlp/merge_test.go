package dlp

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/claudeaudit/claudeaudit/internal/audit"
	"github.com/claudeaudit/claudeaudit/internal/detect"
)

func TestMerge(t *testing.T) {
	e, err := detect.New(detect.Config{})
	require.NoError(t, err)
	found := func(typ, confidence string) detect.Detection {
		return detect.Detection{Type: typ, Rule: "external." + typ, Confidence: confidence, Count: 1}
	}
	for name, tt := range map[string]struct {
		res         detect.Result
		ext         Result
		level       string
		basis       string
		flags       []string
		detections  int
		isTruncated bool
	}{
		"nothing": {},
		"the taxonomy of the type": {
			res:   detect.Result{Level: audit.Internal, Basis: "internal.contact:personal.email", Detections: []detect.Detection{{Type: "email"}}},
			ext:   Result{Detections: []detect.Detection{found("credit_card", "high")}},
			level: audit.Restricted, basis: "restricted.payment:external.credit_card", detections: 2,
		},
		"too unsure": {ext: Result{Detections: []detect.Detection{found("credit_card", "low")}}, detections: 1},
		"a name alone raises nothing": {
			ext: Result{Detections: []detect.Detection{found("person", "high")}}, detections: 1,
		},
		"a type that no rule knows": {
			ext: Result{Detections: []detect.Detection{found("acme_plant", "high")}}, detections: 1,
		},
		"the level of the service": {ext: Result{Level: audit.Confidential}, level: audit.Confidential, basis: "external"},
		"never lower": {
			res: detect.Result{Level: audit.Restricted, Basis: "restricted.secret:x"}, ext: Result{Level: audit.Public, Detections: []detect.Detection{found("email", "high")}},
			level: audit.Restricted, basis: "restricted.secret:x", detections: 1,
		},
		"flags": {
			res: detect.Result{Flags: []string{"b", "c"}}, ext: Result{Flags: []string{"a", "c", detect.FlagTruncated}},
			flags: []string{"a", "b", "c", detect.FlagTruncated}, isTruncated: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			before := append([]string(nil), tt.res.Flags...)
			got := Merge(e, detect.Scope{}, tt.res, tt.ext)
			require.Equal(t, tt.level, got.Level)
			require.Equal(t, tt.basis, got.Basis)
			require.ElementsMatch(t, tt.flags, got.Flags)
			require.IsNonDecreasing(t, append([]string{""}, got.Flags...))
			require.Len(t, got.Detections, tt.detections)
			require.Equal(t, tt.isTruncated, got.Truncated)
			// the engine's results may be shared with its cache
			require.Equal(t, before, append([]string(nil), tt.res.Flags...))
		})
	}
}
