package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/claudeaudit/claudeaudit/internal/audit"
	"github.com/claudeaudit/claudeaudit/internal/detect"
)

// levels says which class the texts get, before the caller's default.
func levels(_ context.Context, e *evaluation) error {
	e.heading("Data class")
	e.text("The class that the default taxonomy gives; none: nothing was found, the application's default applies.")
	const none = "none"
	names := []string{none, audit.Public, audit.Internal, audit.Confidential, audit.Restricted}
	type group struct {
		name string
		rows []row
		keep func(*row) bool
	}
	all := func(*row) bool { return true }
	var groups []group
	var sources []string
	for i := range e.corpus.benign {
		if s := e.corpus.benign[i].Source; !slices.Contains(sources, s) {
			sources = append(sources, s)
			groups = append(groups, group{"harmless: " + s, e.corpus.benign, func(r *row) bool { return r.Source == s }})
		}
	}
	groups = append(groups,
		group{"harmless: all", e.corpus.benign, all},
		group{"harmless lines among attacks", e.corpus.injection, func(r *row) bool { return !r.attack() }},
		group{"with a secret", e.corpus.secrets, func(r *row) bool { return len(r.Labels) > 0 }},
		group{"with what looks like a secret", e.corpus.secrets, func(r *row) bool { return len(r.Labels) == 0 }},
		group{"with structured personal data", e.corpus.personal, func(r *row) bool {
			return slices.ContainsFunc(r.Spans, func(s span) bool { return slices.Contains(structured, s.Type) })
		}},
	)
	var table [][]string
	for _, g := range groups {
		counts, n := map[string]int{}, 0
		for i := range g.rows {
			if r := &g.rows[i]; g.keep(r) {
				n++
				res := e.engine.Scan([]detect.Segment{{Text: r.Text}}, detect.Scope{}, detect.Options{})
				counts[cmp.Or(res.Level, none)]++
				if res.Level == audit.Restricted && len(r.Spans) == 0 && !slices.Contains(r.Labels, "attack") && g.name == "harmless: all" {
					e.miss(r.ID, "RESTRICTED by "+res.Basis)
				}
			}
		}
		if n == 0 {
			continue
		}
		line := []string{g.name, fmt.Sprint(n)}
		for _, l := range names {
			line = append(line, fmt.Sprintf("%.1f %%", 100*ratio{counts[l], n}.value()))
		}
		table = append(table, line)
		if g.name == "harmless: all" {
			e.atMost("harmless texts raised to RESTRICTED", ratio{counts[audit.Restricted], n}, 0.02)
		}
	}
	e.table(append([]string{"texts", "n"}, names...), table)

	var code tally
	for i := range e.corpus.benign {
		r := &e.corpus.benign[i]
		res := e.engine.Scan([]detect.Segment{{Text: r.Text}}, detect.Scope{}, detect.Options{})
		code.count(slices.Contains(r.Labels, "source_code"), slices.ContainsFunc(res.Detections, func(d detect.Detection) bool { return d.Type == "source_code" }))
	}
	if code.tp+code.fn == 0 {
		return nil
	}
	e.text("Source code among them: precision %s, recall %s of %d.", code.precision(), code.recall(), code.tp+code.fn)
	return nil
}
