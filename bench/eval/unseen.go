package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"

	"github.com/claudeaudit/claudeaudit/internal/detect"
)

// unseenVar names a folder with another injection.jsonl, of sources that nothing
// was learnt from.
const unseenVar = "CLAUDEAUDIT_DETECTION_UNSEEN"

// unseen measures injection on texts of other sources, each as the text of who
// wrote it.
func unseen(_ context.Context, e *evaluation) error {
	dir := os.Getenv(unseenVar)
	if dir == "" {
		return nil
	}
	var rows []row
	if err := readRows(filepath.Join(dir, "injection.jsonl"), &rows); err != nil {
		return err
	}
	e.heading("Prompt injection in texts of other sources")
	e.text("The texts in the folder that `%s` names, of sources that the weights were not made with. A text counts as found when a `prompt_injection.*` flag is raised for it as the text of who wrote it.", unseenVar)
	names := map[detect.Origin]string{detect.User: "a user's prompt", detect.Tool: "a tool's result or document"}
	for _, origin := range []detect.Origin{detect.User, detect.Tool} {
		var by tallies
		for i := range rows {
			r := &rows[i]
			if r.origin() != origin || r.Soft {
				continue
			}
			found := injected(flags(e.engine, r.Text, origin))
			by.at(project(r.Source)).count(r.attack(), found)
			if found != r.attack() {
				e.miss(r.ID, "as "+names[origin])
			}
		}
		if len(by.names) == 0 {
			continue
		}
		e.text("As %s:", names[origin])
		var lines [][]string
		var groups []tally
		line := func(name string, c tally) []string {
			return []string{name, fmt.Sprint(c.tp + c.fn), c.recall().String(), fmt.Sprint(c.fp + c.tn), c.alarms().percent()}
		}
		slices.Sort(by.names)
		for _, n := range by.names {
			groups = append(groups, *by.of[n])
			lines = append(lines, line(n, *by.of[n]))
		}
		all := by.total()
		e.table([]string{"source", "attacks", "recall", "harmless", "harmless flagged"}, append(lines, line("all", all)))
		e.text("Precision %s, recall %s, harmless flagged %s (over other samples of as many sources).",
			within(all.precision(), groups, tally.precision), within(all.recall(), groups, tally.recall), within(all.alarms(), groups, tally.alarms))
	}
	return nil
}

// within is a figure with the middle 95 % of what it would be over other samples.
func within(v ratio, groups []tally, figure func(tally) ratio) string {
	low, high := spread(groups, figure)
	return fmt.Sprintf("%.3f (%.3f to %.3f)", v.value(), low, high)
}

// spread is the middle 95 % of a figure over samples of as many groups, drawn with
// replacement. The same groups give the same figures.
func spread(groups []tally, figure func(tally) ratio) (low, high float64) {
	const samples = 2000
	rng := rand.New(rand.NewPCG(5, 6))
	values := make([]float64, 0, samples)
	for range samples {
		var sum tally
		for range groups {
			sum.add(groups[rng.IntN(len(groups))])
		}
		if v := figure(sum); v.of > 0 {
			values = append(values, v.value())
		}
	}
	if len(values) == 0 {
		return 0, 0
	}
	slices.Sort(values)
	return values[len(values)*25/1000], values[len(values)*975/1000]
}
