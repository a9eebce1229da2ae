package detect

import (
	"bufio"
	"cmp"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/claudeaudit/claudeaudit/internal/audit"
)

// corpusVar names the folder of the labelled lines that detection is measured
// on. They are other people's and no part of this project.
const corpusVar = "CLAUDEAUDIT_DETECTION_CORPUS"

type corpusRow struct {
	ID        string   `json:"id"`
	Text      string   `json:"text"`
	Labels    []string `json:"labels"`
	Spans     [][3]any `json:"spans"`
	Source    string   `json:"source"`
	Rule      string   `json:"rule"`
	Kind      string   `json:"kind"`
	Annotated any      `json:"annotated"` // types, or "*"
	Bare      bool     `json:"bare"`
}

func corpus(t *testing.T, name string) []corpusRow {
	t.Helper()
	dir := os.Getenv(corpusVar)
	if dir == "" {
		t.Skipf("%s doesn't name a folder with the detection corpus", corpusVar)
	}
	f, err := os.Open(filepath.Join(dir, name))
	require.NoError(t, err)
	defer f.Close()
	var rows []corpusRow
	s := bufio.NewScanner(f)
	s.Buffer(nil, 16<<20)
	for s.Scan() {
		var r corpusRow
		require.NoError(t, json.Unmarshal(s.Bytes(), &r))
		rows = append(rows, r)
	}
	require.NoError(t, s.Err())
	return rows
}

type score struct{ tp, fp, fn int }

func (s score) precision() float64 { return float64(s.tp) / float64(max(s.tp+s.fp, 1)) }
func (s score) recall() float64    { return float64(s.tp) / float64(max(s.tp+s.fn, 1)) }

func report(t *testing.T, title string, scores map[string]*score) score {
	t.Helper()
	var total score
	var keys []string
	for k := range scores {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		s := scores[k]
		total.tp, total.fp, total.fn = total.tp+s.tp, total.fp+s.fp, total.fn+s.fn
		t.Logf("%-8s %-60.60s tp %4d  fp %4d  fn %4d  P %.3f  R %.3f", title, k, s.tp, s.fp, s.fn, s.precision(), s.recall())
	}
	t.Logf("%-8s %-60s tp %4d  fp %4d  fn %4d  P %.3f  R %.3f", title, "all", total.tp, total.fp, total.fn, total.precision(), total.recall())
	return total
}

// structured are the types of personal data that have a form.
var structured = []string{
	"email", "phone", "credit_card", "iban", "us_ssn", "nhs_number", "national_id", "passport", "driver_license", "bank_routing",
	"ip_address", "mac_address", "swift", "health_insurance",
}

func at(sets map[string]*score, key string) *score {
	if sets[key] == nil {
		sets[key] = &score{}
	}
	return sets[key]
}

// textOf are the types that a text has.
func typesOf(e *Engine, text string) []string {
	var out []string
	for _, d := range e.Scan([]Segment{{Text: text}}, Scope{}, Options{}).Detections {
		if !slices.Contains(out, d.Type) {
			out = append(out, d.Type)
		}
	}
	return out
}

func short(s string) string {
	if len(s) > 200 {
		s = s[:200]
	}
	return strings.ReplaceAll(s, "\n", "⏎")
}

func TestCorpusPersonal(t *testing.T) {
	rows := corpus(t, "pii.jsonl")
	e := newEngine(t, Config{NoInjection: true})
	byType, bySource := map[string]*score{}, map[string]*score{}
	for _, r := range rows {
		got := typesOf(e, r.Text)
		for _, typ := range structured {
			want := slices.Contains(r.Labels, typ)
			for _, s := range r.Spans {
				want = want || s[2] == typ
			}
			has := slices.Contains(got, typ)
			source, _, _ := strings.Cut(r.Source, " ")
			switch {
			case want && has:
				at(byType, typ).tp++
				at(bySource, source).tp++
			case want:
				at(byType, typ).fn++
				at(bySource, source).fn++
				t.Logf("missed %s: %s", typ, around(r, typ))
			case has && annotated(r, typ):
				at(byType, typ).fp++
				at(bySource, source).fp++
				t.Logf("false %s (%v): %s", typ, rulesIn(e, r.Text), short(r.Text))
			}
		}
	}
	report(t, "source", bySource)
	total := report(t, "type", byType)
	require.GreaterOrEqual(t, total.precision(), 0.95)
	require.GreaterOrEqual(t, total.recall(), 0.90)
}

// annotated says whether the row's labels say of a type that it isn't there.
func annotated(r corpusRow, typ string) bool {
	if list, ok := r.Annotated.([]any); ok {
		return slices.Contains(list, any(typ))
	}
	return r.Annotated == "*"
}

// around is the text around the first span of a type.
func around(r corpusRow, typ string) string {
	text := []rune(r.Text)
	for _, s := range r.Spans {
		if s[2] == typ {
			a, b := int(s[0].(float64)), int(s[1].(float64))
			return short(string(text[max(0, a-40):a]) + "[[" + string(text[a:b]) + "]]" + string(text[b:min(len(text), b+20)]))
		}
	}
	return short(r.Text)
}

func TestCorpusSecrets(t *testing.T) {
	rows := corpus(t, "secrets.jsonl")
	e := newEngine(t, Config{NoInjection: true})
	bySource := map[string]*score{}
	for _, r := range rows {
		found := false
		for _, d := range e.Scan([]Segment{{Text: r.Text}}, Scope{}, Options{}).Detections {
			if e.Rule(d.Rule).Category == CategorySecret && d.Confidence != "low" {
				found = true
			}
		}
		want := len(r.Labels) > 0
		s := at(bySource, r.Source)
		switch {
		case want && found:
			s.tp++
		case want:
			s.fn++
			t.Logf("missed %s: %s", r.Rule, short(r.Text))
		case found:
			s.fp++
			t.Logf("false %s %v: %s", r.Rule, rulesIn(e, r.Text), short(r.Text))
		}
	}
	total := report(t, "source", bySource)
	require.GreaterOrEqual(t, total.precision(), 0.95)
	require.GreaterOrEqual(t, total.recall(), 0.90)
}

func TestCorpusBenign(t *testing.T) {
	rows := corpus(t, "benign.jsonl")
	e := newEngine(t, Config{NoInjection: true})
	raised, levels := 0, map[string]int{}
	for _, r := range rows {
		res := e.Scan([]Segment{{Text: r.Text}}, Scope{}, Options{})
		levels[cmp.Or(res.Level, "none")]++
		if res.Level == audit.Restricted || res.Level == audit.Confidential {
			t.Logf("%s %s %s: %s", res.Level, res.Basis, r.Source, hitText(e, r.Text, res.Basis))
		}
		if res.Level == audit.Restricted {
			raised++
		}
	}
	t.Logf("%d of %d raised to RESTRICTED; levels %v", raised, len(rows), levels)
	require.LessOrEqual(t, float64(raised), 0.02*float64(len(rows)))
}

func hitText(e *Engine, text, basis string) string {
	_, rule, _ := strings.Cut(basis, ":")
	for _, s := range e.Scan([]Segment{{Text: text}}, Scope{}, Options{Spans: true}).Spans {
		if s.Rule == rule {
			return short(text[max(0, s.Start-40):s.Start] + "[[" + text[s.Start:s.End] + "]]")
		}
	}
	return ""
}
