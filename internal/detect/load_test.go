package detect

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// What is wrong with a rule file is told with its name and line.
func TestLoadErrors(t *testing.T) {
	const good = "\n    type: x\n    category: personal\n    keywords: [abcd]\n    confidence: high\n"
	tests := map[string]struct{ text, want string }{
		"not yaml":           {"rules:\n\t- id: x", "r.yaml:"},
		"unknown key":        {"rules:\n  - id: x\n    confidense: high\n", "r.yaml:3: field confidense is unknown"},
		"wrong kind":         {"rules:\n  - id: x\n    priority: a lot\n", "r.yaml:3: "},
		"no id":              {"rules:\n  - type: x\n", "r.yaml:2: rule has no id"},
		"twice":              {"rules:\n  - id: x" + good + "  - id: x" + good, "r.yaml:7: rule x is there already in line 2"},
		"no type":            {"rules:\n  - id: x\n", "r.yaml:2: rule x: has no type"},
		"category":           {"\n\nrules:\n  - {id: x, type: y, category: z}\n", `r.yaml:4: rule x: category "z" is not one of`},
		"level":              {"rules:\n  - id: x\n    level: SECRET" + good, `r.yaml:2: rule x: level "SECRET" is unknown`},
		"confidence":         {"rules:\n  - {id: x, type: y, category: secret, keywords: [abcd], confidence: sure}\n", `confidence "sure" is not low, medium or high`},
		"no confidence":      {"rules:\n  - {id: x, type: y, category: secret, keywords: [abcd]}\n", "has no confidence"},
		"pattern":            {"rules:\n  - id: x\n    pattern: 'a(b'" + good, "r.yaml:2: rule x: pattern: error parsing regexp"},
		"backreference":      {"rules:\n  - id: x\n    pattern: '(a)\\1'" + good, "pattern: error parsing regexp"},
		"two groups":         {"rules:\n  - id: x\n    pattern: '(a)(b)'" + good, "more than one group"},
		"empty match":        {"rules:\n  - id: x\n    pattern: 'a*'" + good, "matches the empty text"},
		"no keywords":        {"rules:\n  - {id: x, type: y, category: secret, pattern: abcd, confidence: high}\n", "pattern needs keywords"},
		"validator":          {"rules:\n  - {id: x, type: y, category: secret, validator: magic, confidence: high}\n", `validator "magic" is unknown`},
		"both":               {"rules:\n  - id: x\n    pattern: ab\n    validator: card" + good, "both a validator and a pattern"},
		"short keyword":      {"rules:\n  - {id: x, type: y, category: secret, keywords: [ab], confidence: high}\n", `word "ab" is shorter than 3 bytes`},
		"word list":          {"rules:\n  - {id: x, type: y, category: secret, keywords: ['@nope'], confidence: high}\n", `there is no word list "nope"`},
		"far context":        {"rules:\n  - id: x\n    context: {words: [abcd], before: 100000, confidence: high}" + good, "farther than 400 bytes"},
		"step level":         {"taxonomy:\n  steps:\n    - {id: s, level: HIGH, types: [email]}\n", `r.yaml:3: taxonomy: step s: level "HIGH" is unknown`},
		"step types":         {"taxonomy:\n  steps:\n    - {id: s, level: PUBLIC}\n", "r.yaml:3: taxonomy: step s: names no types"},
		"step near":          {"taxonomy:\n  steps:\n    - {id: s, level: PUBLIC, types: [email], near: [phone]}\n", "near needs within"},
		"application":        {"taxonomy:\n  applications:\n    - {match: '[', default: PUBLIC}\n", `r.yaml:3: taxonomy: application "[": not a pattern`},
		"dictionary file":    {"dictionaries:\n  - {id: d, file: missing.txt}\n", "r.yaml:2: dictionary d:"},
		"dictionary":         {"dictionaries:\n  - {words: [abcd]}\n", "r.yaml:2: dictionary has no id"},
		"two documents":      {"rules: []\n---\nrules: []\n", "more than one YAML document"},
		"pattern in a flow":  {"rules:\n  - {id: x, type: y, category: secret, keywords: [abcd], pattern: 'x{9999}', confidence: high}\n", "r.yaml:2: rule x: pattern"},
		"disabled rule":      {"disable:\n  - personal.email\n  - personal.emial\n", `r.yaml:3: disable: there is no rule or taxonomy step "personal.emial"`},
		"disabled prefix":    {"disable: [nope.*]\n", `r.yaml:1: disable: there is no rule or taxonomy step "nope.*"`},
		"disabled step":      {"taxonomy:\n  applications:\n    - {match: x, disable: [nope]}\n", `r.yaml:3: taxonomy: application "x": disable: there is no taxonomy step "nope"`},
		"preceded by a word": {"rules:\n  - {id: x, type: y, category: secret, keywords: [abcd], preceded: 'a{3}', pattern: abcd, confidence: high}\n", "r.yaml:2: rule x: preceded: \"a{3}\" is not a class"},
		"preceded by much":   {"rules:\n  - {id: x, type: y, category: secret, keywords: [abcd], preceded: '[a-z]{3,}', pattern: abcd, confidence: high}\n", "rule x: preceded: "},
		"preceded, window":   {"rules:\n  - {id: x, type: y, category: secret, keywords: [abcd], preceded: '[a-z]{3}', window: {before: 3}, pattern: abcd, confidence: high}\n", "no place for a window"},
		"rules elsewhere":    {"words: &w\n  a: [abcd]\nrules: &r\n  - {id: x, type: y, category: z}\ndisable: []\n", `r.yaml:4: rule x: category "z" is not one of`},
		"list by an alias":   {"disable: &l\n  - nope\n  - nay\nwords: {a: *l}\n", `r.yaml:2: disable: there is no rule or taxonomy step "nope"`},
		"merged map":         {"taxonomy:\n  applications:\n    - &a {match: x, disable: [nope]}\n    - {<<: *a, match: y}\n", `r.yaml:3: taxonomy: application "x": disable`},
		"hash list is empty": {"hashes:\n  - {id: h}\n", "r.yaml:2: hashes h: has no id or no file"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := filepath.Join(t.TempDir(), "r.yaml")
			require.NoError(t, os.WriteFile(p, []byte(tt.text), 0o600))
			_, err := New(Config{Files: []string{p}, NoInjection: true})
			require.ErrorContains(t, err, tt.want)
		})
	}
	_, err := New(Config{Files: []string{filepath.Join(t.TempDir(), "none.yaml")}})
	require.ErrorIs(t, err, os.ErrNotExist)

	_, err = New(Config{NoInjection: true, Disable: []string{"secret.*", "secrets.*"}})
	require.ErrorContains(t, err, `configuration: disable: there is no rule or taxonomy step "secrets.*"`)
}

func TestRuleFileReplacesAndAdds(t *testing.T) {
	p := filepath.Join(t.TempDir(), "r.yaml")
	require.NoError(t, os.WriteFile(p, []byte(`
words:
  ours: [Reiher, '@more']
  more: [Storch]
disable: [personal.phone]
rules:
  - {id: personal.email, type: email, category: personal, validator: email, confidence: low}
  - id: ours.order
    type: order
    category: business
    level: CONFIDENTIAL
    pattern: 'ORD-([0-9]{6})'
    keywords: [ord-]
    confidence: medium
    context: {words: ['@ours'], confidence: high}
`), 0o600))
	e := newEngine(t, Config{Files: []string{p}, NoInjection: true})
	require.Equal(t, "low", scan(e, "a.b@firma-beispiel.de").Detections[0].Confidence)
	require.Empty(t, scan(e, "+49 30 901820").Detections)
	res := scan(e, "der Storch hat ORD-123456")
	require.Equal(t, []Detection{{Type: "order", Rule: "ours.order", Confidence: "high", Count: 1}}, res.Detections)
	require.Equal(t, "123456", "der Storch hat ORD-123456"[res.Spans[0].Start:res.Spans[0].End])
	require.Empty(t, scan(e, "WORD-123456").Detections)
}

func FuzzLoad(f *testing.F) {
	f.Add("rules:\n  - {id: x, type: y, category: secret, keywords: [abcd], confidence: high}\n")
	f.Add("taxonomy: {steps: [{id: a, level: PUBLIC, types: [x]}], applications: [{match: '*'}]}")
	f.Add("words: {a: ['@a']}\nrules: [{id: x, type: y, category: secret, keywords: ['@a'], confidence: high}]")
	f.Add("words: {a: &l [abcd]}\ndisable: *l")
	f.Add("taxonomy: {steps: &s [{id: a, level: PUBLIC, types: [x]}], applications: [{match: '*', steps: *s}]}")
	f.Add("<<: {rules: [{id: x, type: y, category: secret, keywords: [abcd], confidence: high}]}")
	f.Add("<<: [{disable: [a]}, {hashes: [{id: h}], dictionaries: [~]}]\ntaxonomy: {<<: {steps: [~]}}")
	f.Add("rules: [~]\ndictionaries: [{id: d, words: ['*a*', abcd]}]")
	f.Fuzz(func(t *testing.T, text string) {
		p := filepath.Join(t.TempDir(), "r.yaml")
		require.NoError(t, os.WriteFile(p, []byte(text), 0o600))
		e, err := New(Config{Files: []string{p}, NoInjection: true, NoDefaults: true, CacheBytes: -1})
		if err == nil {
			e.Scan([]Segment{{Text: withData}}, Scope{}, Options{})
		}
	})
}

func TestWatcher(t *testing.T) {
	dir := t.TempDir()
	list := filepath.Join(dir, "names.txt")
	rules := filepath.Join(dir, "r.yaml")
	require.NoError(t, os.WriteFile(list, []byte("Reiher\n"), 0o600))
	require.NoError(t, os.WriteFile(rules, []byte("dictionaries:\n  - {id: birds, file: names.txt}\n"), 0o600))

	var mu sync.Mutex
	var errs []error
	w, err := NewWatcher(Config{Files: []string{rules}, NoDefaults: true, NoInjection: true}, 0, func(_ *Engine, err error) {
		mu.Lock()
		defer mu.Unlock()
		errs = append(errs, err)
	})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { w.Run(ctx); close(done) }()

	found := func(text string) bool { return len(scan(w.Engine(), text).Detections) > 0 }
	require.True(t, found("reiher"))
	require.False(t, found("storch"))
	require.NoError(t, os.WriteFile(list, []byte("Reiher\nStorch\n"), 0o600))
	require.Eventually(t, func() bool { return found("storch") }, 10*time.Second, 10*time.Millisecond)

	// what can't be loaded changes nothing and is told
	require.NoError(t, os.WriteFile(rules, []byte("rules: [{id: x}]\n"), 0o600))
	require.Eventually(t, func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(errs) > 0 && errs[len(errs)-1] != nil
	}, 10*time.Second, 10*time.Millisecond)
	require.True(t, found("storch"))
	require.ErrorContains(t, errs[len(errs)-1], "r.yaml:1: rule x: has no type")
	cancel()
	<-done
}
