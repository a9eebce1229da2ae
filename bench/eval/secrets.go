package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/claudeaudit/claudeaudit/internal/detect"
)

// secretRules are the rules that found a secret in a text, surely enough to count.
func secretRules(e *detect.Engine, text string) []string {
	var out []string
	for _, d := range e.Scan([]detect.Segment{{Text: text}}, detect.Scope{}, detect.Options{}).Detections {
		if e.Rule(d.Rule).Category == detect.CategorySecret && d.Confidence != detect.Low.String() {
			out = append(out, d.Rule)
		}
	}
	return out
}

func secrets(_ context.Context, e *evaluation) error {
	e.heading("Secrets")
	e.text("A line counts as found when any rule finds a secret in it with medium or high confidence.")
	var bySource, byLabel tallies
	// the sources of whose lines a rule finds any
	support := map[string][]string{}
	for i := range e.corpus.secrets {
		r := &e.corpus.secrets[i]
		rules := secretRules(e.engine, r.Text)
		there := len(r.Labels) > 0
		bySource.at(r.Source).count(there, len(rules) > 0)
		for _, l := range r.Labels {
			byLabel.at(l).count(true, len(rules) > 0)
		}
		if there {
			for _, rule := range rules {
				if !slices.Contains(support[rule], r.Source) {
					support[rule] = append(support[rule], r.Source)
				}
			}
		}
		switch {
		case there && len(rules) == 0:
			e.miss(r.ID, "missed secret")
		case !there && len(rules) > 0:
			e.miss(r.ID, "false secret")
		}
	}
	e.byProject("source", &bySource)
	var rows [][]string
	for _, l := range byLabel.names {
		c := byLabel.of[l]
		rows = append(rows, []string{l, fmt.Sprint(c.tp + c.fn), c.recall().String()})
	}
	e.table([]string{"type", "lines", "recall"}, rows)
	total := bySource.total()
	e.atLeast("secrets: precision", total.precision(), 0.95)
	e.atLeast("secrets: recall", total.recall(), 0.90)

	var alarms tallies
	for i := range e.corpus.benign {
		r := &e.corpus.benign[i]
		found := len(secretRules(e.engine, r.Text)) > 0
		alarms.at(r.Source).count(false, found)
		if found {
			e.miss(r.ID, "false secret")
		}
	}
	rows = nil
	for _, n := range alarms.names {
		rows = append(rows, []string{n, alarms.of[n].alarms().percent()})
	}
	rows = append(rows, []string{"all", alarms.total().alarms().percent()})
	e.text("Secrets found in harmless prompts, documents and code:")
	e.table([]string{"source", "false alarms"}, rows)
	e.atMost("secrets: false alarms in harmless texts", alarms.total().alarms(), 0.002)

	return e.secretsWithout(&bySource, support)
}

// secretsWithout says what is left of a source's lines when the rules that only
// its lines speak for are taken out.
func (e *evaluation) secretsWithout(all *tallies, support map[string][]string) error {
	e.text("Without a source. Rules can't be unlearned: their authors saw these lines. What can be said is what the other sources' rules find: " +
		"every rule that finds secrets in lines of this source and of no other is taken out, however well known the format is apart from these lines. " +
		"The last column takes out every rule of a specific format (those of `secrets.yaml`) and leaves the ones that go by words near a value: what a format nobody knows can hope for.")
	var specific []string
	for _, r := range e.engine.Rules() {
		if r.Category == detect.CategorySecret && strings.Contains(r.Where(), "secrets.yaml:") {
			specific = append(specific, r.ID)
		}
	}
	var rows [][]string
	var sum tally
	for _, source := range all.names {
		var only []string
		for rule, of := range support {
			if len(of) == 1 && of[0] == source {
				only = append(only, rule)
			}
		}
		left, err := e.secretRecall(source, only)
		if err != nil {
			return err
		}
		general, err := e.secretRecall(source, specific)
		if err != nil {
			return err
		}
		sum.add(left)
		rows = append(rows, []string{source, all.of[source].recall().String(), fmt.Sprint(len(only)), left.recall().String(), general.recall().String()})
	}
	rows = append(rows, []string{"all", all.total().recall().String(), "", sum.recall().String(), ""})
	e.table([]string{"source", "recall", "rules taken out", "recall without them", "recall without specific formats"}, rows)
	return nil
}

func (e *evaluation) secretRecall(source string, disabled []string) (tally, error) {
	var c tally
	engine, err := detect.New(detect.Config{CacheBytes: -1, NoInjection: true, Disable: disabled})
	if err != nil {
		return c, err
	}
	for i := range e.corpus.secrets {
		if r := &e.corpus.secrets[i]; r.Source == source {
			c.count(len(r.Labels) > 0, len(secretRules(engine, r.Text)) > 0)
		}
	}
	return c, nil
}
