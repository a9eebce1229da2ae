package main

import (
	"fmt"
	"io"
	"strings"
)

// report writes Markdown. Its first error stays.
type report struct {
	out io.Writer
	err error
}

func (r *report) write(s string) {
	if r.err == nil {
		_, r.err = io.WriteString(r.out, s)
	}
}

func (r *report) heading(s string) { r.write("\n## " + s + "\n") }

func (r *report) text(format string, args ...any) {
	r.write("\n" + fmt.Sprintf(format, args...) + "\n")
}

// table writes a table; columns after the first are aligned right.
func (r *report) table(head []string, rows [][]string) {
	var b strings.Builder
	line := func(cells []string) {
		b.WriteString("| " + strings.Join(cells, " | ") + " |\n")
	}
	b.WriteString("\n")
	line(head)
	rule := make([]string, len(head))
	for i := range rule {
		rule[i] = "---:"
	}
	rule[0] = "---"
	line(rule)
	for _, row := range rows {
		for i := range row {
			row[i] = strings.ReplaceAll(row[i], "|", `\|`)
		}
		line(row)
	}
	r.write(b.String())
}

// tally counts what was found.
type tally struct{ tp, fp, fn, tn int }

// count adds a line (or a value): whether it is there and whether it was found.
func (t *tally) count(there, found bool) {
	switch {
	case there && found:
		t.tp++
	case there:
		t.fn++
	case found:
		t.fp++
	default:
		t.tn++
	}
}

func (t *tally) add(o tally) {
	t.tp, t.fp, t.fn, t.tn = t.tp+o.tp, t.fp+o.fp, t.fn+o.fn, t.tn+o.tn
}

func (t tally) precision() ratio { return ratio{t.tp, t.tp + t.fp} }
func (t tally) recall() ratio    { return ratio{t.tp, t.tp + t.fn} }
func (t tally) alarms() ratio    { return ratio{t.fp, t.fp + t.tn} }
func (t tally) f1() ratio        { return ratio{2 * t.tp, 2*t.tp + t.fp + t.fn} }

// ratio is a share of something counted.
type ratio struct{ n, of int }

func (r ratio) value() float64 { return float64(r.n) / float64(max(r.of, 1)) }

// String is the value, or - where there was nothing to count.
func (r ratio) String() string {
	if r.of == 0 {
		return "-"
	}
	return fmt.Sprintf("%.3f", r.value())
}

// percent is the value in percent with its numbers.
func (r ratio) percent() string {
	if r.of == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f %% (%d of %d)", 100*r.value(), r.n, r.of)
}

// tallies are counts under names, in the order in which those came.
type tallies struct {
	names []string
	of    map[string]*tally
}

func (t *tallies) at(name string) *tally {
	if t.of == nil {
		t.of = map[string]*tally{}
	}
	if t.of[name] == nil {
		t.of[name] = &tally{}
		t.names = append(t.names, name)
	}
	return t.of[name]
}

func (t *tallies) total() (sum tally) {
	for _, o := range t.of {
		sum.add(*o)
	}
	return sum
}

// goal is a figure to reach.
type goal struct {
	what  string
	value ratio
	reach float64
	most  bool // reach is an upper bound
}

func (e *evaluation) atLeast(what string, v ratio, reach float64) {
	e.reach(goal{what, v, reach, false})
}

func (e *evaluation) atMost(what string, v ratio, reach float64) { e.reach(goal{what, v, reach, true}) }

// reach notes a goal, if there was anything to count.
func (e *evaluation) reach(g goal) {
	if g.value.of > 0 {
		e.goals = append(e.goals, g)
	}
}

const goalsHeading = "Figures to reach on these lines"

func (e *evaluation) printGoals() {
	if len(e.goals) == 0 {
		return
	}
	e.heading(goalsHeading)
	var rows [][]string
	for _, g := range e.goals {
		bound, holds := "≥", g.value.value() >= g.reach
		if g.most {
			bound, holds = "≤", g.value.value() <= g.reach
		}
		verdict := "no"
		if holds {
			verdict = "yes"
		}
		rows = append(rows, []string{g.what, g.value.String(), fmt.Sprintf("%d of %d", g.value.n, g.value.of), fmt.Sprintf("%s %.3f", bound, g.reach), verdict})
	}
	e.table([]string{"figure", "measured", "counted", "to reach", "holds"}, rows)
}

// miss names a line that came out wrong.
func (e *evaluation) miss(id, what string) {
	if e.misses {
		e.write("- " + id + ": " + what + "\n")
	}
}
