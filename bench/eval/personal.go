package main

import (
	"context"
	"fmt"
	"slices"
	"unicode/utf8"

	"github.com/claudeaudit/claudeaudit/internal/detect"
)

// structured are the types of personal and health data that have a form, and
// that the lines label.
var structured = []string{
	"email", "phone", "credit_card", "iban", "bank_routing", "swift", "us_ssn", "national_id", "passport", "driver_license",
	"ip_address", "mac_address", "nhs_number", "health_insurance",
}

// finder returns what is in a line, nil for a line that it was not given.
type finder func(r *row) []span

// find is the engine's finder.
func (e *evaluation) find(r *row) []span {
	res := e.engine.Scan([]detect.Segment{{Text: r.Text}}, detect.Scope{}, detect.Options{Spans: true})
	var out []span
	for _, s := range res.Spans {
		out = append(out, span{utf8.RuneCountInString(r.Text[:s.Start]), utf8.RuneCountInString(r.Text[:s.End]), s.Type})
	}
	return out
}

// personalScore is what a finder reaches, by type and by source. Lines counts for
// every line and type whether the type is found in it, values every place that is
// labelled and every place that is found.
type personalScore struct {
	lines, values, sources tallies
}

func scorePersonal(rows []row, find finder, of []string, miss func(id, what string)) personalScore {
	var sc personalScore
	for i := range rows {
		r := &rows[i]
		found := find(r)
		for _, typ := range of {
			if slices.Contains(r.Unscored, typ) || typ == "us_ssn" && slices.Contains(r.Unscored, "gov_id") {
				continue
			}
			want, have := places(r.Spans, typ), places(found, typ)
			there := len(want) > 0 || slices.Contains(r.Labels, typ)
			if !there && !r.Annotated.has(typ) {
				continue
			}
			sc.lines.at(typ).count(there, len(have) > 0)
			sc.sources.at(project(r.Source)).count(there, len(have) > 0)
			if there != (len(have) > 0) {
				what := "missed "
				if !there {
					what = "false "
				}
				miss(r.ID, what+typ)
			}
			v := sc.values.at(typ)
			for _, w := range want {
				v.count(true, slices.ContainsFunc(have, w.overlaps))
			}
			if r.Annotated.has(typ) {
				// a value that is labelled once may stand in the line several times
				text := []rune(r.Text)
				var values []string
				for _, w := range want {
					values = append(values, string(text[w.Start:w.End]))
				}
				for _, h := range have {
					if !slices.ContainsFunc(want, h.overlaps) && !slices.Contains(values, string(text[h.Start:h.End])) {
						v.count(false, true)
					}
				}
			}
		}
	}
	return sc
}

// places are the different spans of a type.
func places(spans []span, typ string) []span {
	var out []span
	for _, s := range spans {
		if s.Type == typ && !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

func personal(_ context.Context, e *evaluation) error {
	e.heading("Structured personal and health data")
	e.text("Lines: is the type found in the line that has it, and only there. Values: is each value found where it is. False alarms are counted where the line says that the type isn't there.")
	sc := scorePersonal(e.corpus.personal, e.find, structured, e.miss)
	line := func(name string, l, v tally) []string {
		return []string{
			name, fmt.Sprint(l.tp + l.fn), l.precision().String(), l.recall().String(), l.f1().String(),
			fmt.Sprint(v.tp + v.fn), v.precision().String(), v.recall().String(), v.f1().String(),
		}
	}
	var rows [][]string
	for _, typ := range structured {
		rows = append(rows, line(typ, *sc.lines.at(typ), *sc.values.at(typ)))
	}
	rows = append(rows, line("all", sc.lines.total(), sc.values.total()))
	e.table([]string{"type", "lines", "precision", "recall", "F1", "values", "precision", "recall", "F1"}, rows)
	e.byProject("source", &sc.sources)
	total := sc.lines.total()
	e.atLeast("structured personal data: precision", total.precision(), 0.95)
	e.atLeast("structured personal data: recall", total.recall(), 0.90)

	e.text("What the lines label without a form of its own, by the engine's types (found in the line; the lines don't say where it isn't):")
	rows = nil
	for _, t := range [][2]string{{"person", "person"}, {"address", "address"}, {"username", "username"}, {"employee_id", "employee_id"}, {"customer_id", "customer_id"}, {"password", "password"}, {"pin", "pin"}, {"cvv", "cvv"}, {"bank_account", "bank_account"}} {
		var c tally
		for i := range e.corpus.personal {
			r := &e.corpus.personal[i]
			if len(places(r.Spans, t[1])) > 0 && !slices.Contains(r.Unscored, t[1]) {
				c.count(true, len(places(e.find(r), t[0])) > 0)
			}
		}
		rows = append(rows, []string{t[0], t[1], fmt.Sprint(c.tp + c.fn), c.recall().String()})
	}
	e.table([]string{"type", "label", "lines", "recall"}, rows)

	e.text("Rules and their own examples, which the rules were made with: `claudeaudit rules test` runs them. Health and business data stand here because no line above labels more of them.")
	type both struct{ match, none ratio }
	by := map[string]*both{}
	for _, r := range e.engine.Rules() {
		b := by[r.Category]
		if b == nil {
			b = &both{}
			by[r.Category] = b
		}
		b.match.of += len(r.Examples.Match)
		b.none.of += len(r.Examples.NoMatch)
		b.match.n += len(r.Examples.Match)
		b.none.n += len(r.Examples.NoMatch)
		for _, f := range e.engine.TestRule(r) {
			if f.Want {
				b.match.n--
			} else {
				b.none.n--
			}
		}
	}
	rows = nil
	for _, k := range []string{detect.CategoryPersonal, detect.CategoryHealth, detect.CategorySecret, detect.CategoryBusiness} {
		if b := by[k]; b != nil {
			rows = append(rows, []string{k, b.match.percent(), b.none.percent()})
		}
	}
	e.table([]string{"category", "must match and does", "must not match and doesn't"}, rows)
	return nil
}

// byProject prints counts of lines by their source.
func (e *evaluation) byProject(name string, t *tallies) {
	var rows [][]string
	for _, n := range t.names {
		c := t.of[n]
		rows = append(rows, []string{n, fmt.Sprint(c.tp + c.fn), fmt.Sprint(c.fp + c.tn), c.precision().String(), c.recall().String(), c.f1().String(), c.alarms().String()})
	}
	c := t.total()
	rows = append(rows, []string{"all", fmt.Sprint(c.tp + c.fn), fmt.Sprint(c.fp + c.tn), c.precision().String(), c.recall().String(), c.f1().String(), c.alarms().String()})
	e.table([]string{name, "there", "not there", "precision", "recall", "F1", "false alarms"}, rows)
}
