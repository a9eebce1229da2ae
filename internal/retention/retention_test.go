package retention

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const policy = `
default: ukgdpr
max_retention: 10y
classes:
  works_council: {period: 18m, source: agreement of 2026-03-01, erase: shred}
rules:
  - {name: trading, department: [trading, treasury], class: mifid2}
  - {name: secrets, classification: [RESTRICTED], class: financial}
  - {name: hr tool, application: [hr-helper], provider: [anthropic], class: works_council}
`

func TestChoose(t *testing.T) {
	p, err := Parse([]byte(policy))
	require.NoError(t, err)
	for name, tc := range map[string]struct {
		a           Attributes
		class, rule string
	}{
		"none applies":     {Attributes{}, "ukgdpr", "default"},
		"one":              {Attributes{Department: "treasury"}, "mifid2", "trading"},
		"the longest wins": {Attributes{Department: "trading", Classification: "RESTRICTED"}, "financial", "secrets"},
		"all conditions":   {Attributes{Application: "hr-helper", Provider: "anthropic"}, "works_council", "hr tool"},
		"half a condition": {Attributes{Application: "hr-helper", Provider: "aws"}, "ukgdpr", "default"},
		"shorter than the default still wins over it": {Attributes{Department: "trading", Application: "x"}, "mifid2", "trading"},
	} {
		t.Run(name, func(t *testing.T) {
			c, rule := p.Choose(tc.a)
			require.Equal(t, tc.class, c.Name)
			require.Equal(t, tc.rule, rule)
		})
	}
	at := time.Date(2026, 11, 24, 10, 0, 0, 0, time.UTC)
	require.Equal(t, "2031-11-24", p.Until("mifid2", at).Format(time.DateOnly))
	require.Equal(t, "2028-05-24", p.Until("works_council", at).Format(time.DateOnly))
	require.Equal(t, "2033-11-24", p.Until("", at).Format(time.DateOnly), "the longest in use")
	require.Equal(t, "2033-11-24", p.Until("unknown", at).Format(time.DateOnly))
	require.Equal(t, "financial", p.Longer("mifid2", "financial"))
	require.Equal(t, "mifid2", p.Longer("mifid2", "nonsense"))
	var names []string
	for _, c := range p.InUse() {
		names = append(names, c.Name)
		require.NotEmpty(t, c.Source)
	}
	require.Equal(t, []string{"financial", "ukgdpr", "mifid2", "works_council"}, names)
}

func TestLeapDay(t *testing.T) {
	require.Equal(t, "2033-03-01", Period{years: 5}.After(time.Date(2028, 2, 29, 0, 0, 0, 0, time.UTC)).Format(time.DateOnly))
}

func TestPresets(t *testing.T) {
	for class, want := range map[string]string{"mifid2": "5y", "sec17a4": "6y", "hipaa": "6y", "ukgdpr": "6y", "financial": "7y"} {
		p, err := Of(class, "")
		require.NoError(t, err)
		c, rule := p.Choose(Attributes{})
		require.Equal(t, "default", rule)
		require.Equal(t, want, c.Period.String())
		require.NotEmpty(t, c.Source)
	}
}

func TestErrors(t *testing.T) {
	for name, tc := range map[string]struct{ text, want string }{
		"empty":             {"", "default: must name a class"},
		"unknown key":       {"default: hipaa\nmaximum: 1y", "maximum"},
		"unknown class":     {"default: gobd", `class "gobd" is not defined; the presets are financial, hipaa, mifid2, sec17a4, ukgdpr`},
		"too long":          {"default: x\nclasses: {x: {period: 100y}}", "longer than max_retention 10y"},
		"above its own max": {"default: hipaa\nmax_retention: 5y", "longer than max_retention 5y"},
		"shorter preset":    {"default: hipaa\nclasses: {hipaa: {period: 1y}}", "shorter than the preset's 6y"},
		"period":            {"default: x\nclasses: {x: {period: forever}}", "must be a number of years"},
		"zero":              {"default: x\nclasses: {x: {period: 0d}}", "must be a number of years"},
		"class name":        {"default: x\nclasses: {X/y: {period: 1y}}", "lower-case letters"},
		"erase":             {"default: x\nclasses: {x: {period: 1y, erase: never}}", "erase: must be refuse, defer or shred"},
		"rule's name":       {"default: hipaa\nrules: [{department: [a], class: hipaa}]", "rules[0]: name"},
		"rule's condition":  {"default: hipaa\nrules: [{name: a, class: hipaa}]", "rules[0]: must have a condition"},
		"rule's class":      {"default: hipaa\nrules: [{name: a, department: [a]}]", "rules[0]: class"},
		"max":               {"default: hipaa\nmax_retention: long", "max_retention: period"},
		"documents":         {"default: hipaa\n---\ndefault: hipaa", "more than one"},
		"not a map":         {"- a", "cannot unmarshal"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse([]byte(tc.text))
			require.ErrorContains(t, err, tc.want)
		})
	}
	_, err := Load(filepath.Join(t.TempDir(), "none"))
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestShippedPolicy(t *testing.T) {
	p, err := Load("../../config/retention.yaml")
	require.NoError(t, err)
	require.NotEmpty(t, p.Rules)
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(policy))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := Parse(b)
		if err != nil {
			return
		}
		c, rule := p.Choose(Attributes{Department: "trading"})
		require.NotEmpty(t, rule)
		require.LessOrEqual(t, c.Period.compare(p.Max), 0)
	})
}
