package main

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"

	"github.com/claudeaudit/claudeaudit/internal/detect/injection"
)

// report prints, for every source, what the rules find alone and together with a
// model that learnt from all others: as a user's text and as a tool's result.
func report(out io.Writer, all []example) error {
	var sources []string
	for i := range all {
		if !slices.Contains(sources, all[i].source) {
			sources = append(sources, all[i].source)
		}
	}
	slices.Sort(sources)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "source left out\tas\ttexts\tn\trules\trules and model")
	for _, source := range sources {
		m, err := fit(all, source)
		if err != nil {
			return fmt.Errorf("without %s: %w", source, err)
		}
		for _, origin := range []injection.Origin{injection.User, injection.Tool} {
			for _, attack := range []bool{true, false} {
				n, rules, both := 0, 0, 0
				for i := range all {
					e := &all[i]
					if e.source != source || e.attack != attack || !slices.ContainsFunc(e.views, func(v view) bool { return v.origin == origin }) {
						continue
					}
					n++
					if len(injection.ScoreWith(nil, e.text, e.hits, origin)) > 0 {
						rules++
					}
					if len(injection.ScoreWith(m, e.text, e.hits, origin)) > 0 {
						both++
					}
				}
				if n == 0 {
					continue
				}
				as := map[injection.Origin]string{injection.User: "user", injection.Tool: "tool"}[origin]
				kind := "harmless"
				if attack {
					kind = "attacks"
				}
				fmt.Fprintf(w, "%.60s\t%s\t%s\t%d\t%.3f\t%.3f\n", source, as, kind, n, float64(rules)/float64(n), float64(both)/float64(n))
			}
		}
	}
	return w.Flush()
}
