package main

import (
	"bytes"
	"context"
	"embed"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/claudeaudit/claudeaudit/internal/dlp"
	"github.com/claudeaudit/claudeaudit/internal/foreignenv"
)

//go:embed python/*.py
var scripts embed.FS

// foundBy is what another program says of a text.
type foundBy struct {
	ID       string `json:"id"`
	NS       int64  `json:"ns"`
	Findings []struct {
		Type       string
		Start, End int
		Score      float64
	} `json:"findings"`
}

// rival is another program: a command that reads and writes lines.
type rival struct {
	name    string
	command []string
	dir     string
	missing error // why it can't run
	answers map[string]foundBy
}

// ask runs a rival over texts by their id.
func (r *rival) ask(ctx context.Context, texts []row) error {
	var in bytes.Buffer
	enc := json.NewEncoder(&in)
	for i := range texts {
		if err := enc.Encode(map[string]string{"id": texts[i].ID, "text": texts[i].Text}); err != nil {
			return err
		}
	}
	cmd := exec.CommandContext(ctx, r.command[0], r.command[1:]...)
	cmd.Dir = r.dir
	cmd.Stdin = &in
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		s := strings.TrimSpace(said.String())
		return fmt.Errorf("%s: %w: %s", r.name, err, s[max(0, len(s)-300):])
	}
	r.answers = map[string]foundBy{}
	for line := range bytes.Lines(out) {
		var a foundBy
		if err := json.Unmarshal(line, &a); err != nil {
			return fmt.Errorf("%s: read an answer: %w", r.name, err)
		}
		r.answers[a.ID] = a
	}
	for i := range texts {
		if _, ok := r.answers[texts[i].ID]; !ok {
			return fmt.Errorf("%s said nothing of %s", r.name, texts[i].ID)
		}
	}
	return nil
}

// rate is bytes a second of computing over texts.
func (r *rival) rate(texts []row) float64 {
	n, ns := 0, int64(0)
	for i := range texts {
		n += len(texts[i].Text)
		ns += r.answers[texts[i].ID].NS
	}
	if n == 0 {
		return math.NaN()
	}
	return float64(n) / (float64(max(ns, 1)) / 1e9)
}

func rivals(ctx context.Context, e *evaluation) error {
	work, err := os.MkdirTemp("", "eval-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	if err := os.CopyFS(work, scripts); err != nil {
		return err
	}
	python, pythonMissing := foreignenv.Python(ctx, foreignenv.Detection)
	script := func(name, file string, args ...string) *rival {
		return &rival{name: name, command: append([]string{python, filepath.Join(work, "python", file)}, args...), missing: pythonMissing}
	}
	scanners := []*rival{
		script("Presidio, recognisers on by default", "presidio_lines.py", "default"),
		script("Presidio, every pattern recogniser", "presidio_lines.py", "all"),
	}
	secretScanners := []*rival{
		e.gitleaks(ctx, work),
		script("detect-secrets", "detect_secrets_lines.py"),
	}
	var long []row
	for i, p := range pieces(e.workloads()[1].texts) {
		long = append(long, row{ID: fmt.Sprintf("piece-%d", i), Text: p})
	}
	for _, r := range slices.Concat(scanners, secretScanners) {
		if r.missing == nil {
			texts := slices.Concat(e.corpus.secrets, e.corpus.benign, long)
			if slices.Contains(scanners, r) {
				texts = slices.Concat(e.corpus.personal, long)
			}
			r.missing = r.ask(ctx, texts)
		}
	}
	if len(e.corpus.personal) > 0 {
		if err := e.personalRivals(ctx, scanners, long); err != nil {
			return err
		}
	}
	if len(e.corpus.secrets) > 0 {
		return e.secretRivals(ctx, secretScanners, long)
	}
	return nil
}

// gitleaks builds the command of the module beside this one.
func (e *evaluation) gitleaks(ctx context.Context, work string) *rival {
	program := filepath.Join(work, "gitleaks")
	r := &rival{name: "gitleaks", command: []string{program}}
	dir := filepath.Join(e.root, "bench", "gitleaks")
	out, err := exec.CommandContext(ctx, "go", "build", "-C", dir, "-o", program, ".").CombinedOutput()
	if err != nil {
		r.missing = fmt.Errorf("build: %w: %s", err, bytes.TrimSpace(out[:min(len(out), 300)]))
	}
	return r
}

// thresholds are the scores from which Presidio's findings are counted.
var thresholds = []float64{0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.85}

func (e *evaluation) personalRivals(ctx context.Context, scanners []*rival, long []row) error {
	e.heading("Beside Presidio's patterns")
	e.text("The same lines, counted alike; the recognisers of names, which need a language model, are left out. Presidio is given the words near a value. " +
		"Its findings are counted from the score that gives it the best F1 on these lines. In the second pair of columns only the types that Presidio knows are counted. Speed as above, each on one core: on harmless 32 KiB prompts, and on these lines.")
	entities := dlp.PresidioEntities()
	var known []string
	for _, typ := range structured {
		if slices.Contains(slices.Collect(maps.Values(entities)), typ) {
			known = append(known, typ)
		}
	}
	rows := [][]string{}
	silent := func(string, string) {}
	line := func(name string, find finder, longRate, lineRate float64) {
		all, some := scorePersonal(e.corpus.personal, find, structured, silent), scorePersonal(e.corpus.personal, find, known, silent)
		l, v, s := all.lines.total(), all.values.total(), some.lines.total()
		rows = append(rows, []string{
			name, l.precision().String(), l.recall().String(), l.f1().String(), v.f1().String(), s.precision().String(), s.recall().String(), s.f1().String(),
			megabytes(longRate), megabytes(lineRate),
		})
	}
	loads := e.workloads()
	ourLong, err := rate(ctx, loads[0], e.scan)
	if err != nil {
		return err
	}
	ourLines, err := rate(ctx, loads[2], e.scan)
	if err != nil {
		return err
	}
	line("Claude Audit", e.find, ourLong, ourLines)
	var missing []string
	for _, r := range scanners {
		if r.missing != nil {
			missing = append(missing, fmt.Sprintf("%s: not measured: %v", r.name, r.missing))
			continue
		}
		find := func(from float64) finder {
			return func(row *row) (out []span) {
				for _, f := range r.answers[row.ID].Findings {
					if f.Score >= from && f.Score > 0 && entities[f.Type] != "" {
						out = append(out, span{f.Start, f.End, entities[f.Type]})
					}
				}
				return out
			}
		}
		best, bestF1 := 0.0, -1.0
		for _, from := range thresholds {
			sc := scorePersonal(e.corpus.personal, find(from), structured, silent)
			if f1 := sc.lines.total().f1().value(); f1 > bestF1 {
				best, bestF1 = from, f1
			}
		}
		line(fmt.Sprintf("%s, from %.2f", r.name, best), find(best), r.rate(long), r.rate(e.corpus.personal))
		if best != 0 {
			line(r.name+", all findings", find(0), r.rate(long), r.rate(e.corpus.personal))
		}
	}
	e.table([]string{"", "precision", "recall", "F1", "F1 of values", "precision, its types", "recall", "F1", "32 KiB prompts", "these lines"}, rows)
	for _, m := range missing {
		e.text("%s", m)
	}
	return nil
}

func (e *evaluation) secretRivals(ctx context.Context, scanners []*rival, long []row) error {
	e.heading("Beside secret scanners")
	e.text("A line counts as found when the scanner finds anything in it. gitleaks' own lines are the examples of its rules.")
	type column struct {
		name        string
		find        func(*row) bool
		long, lines float64
	}
	loads := e.workloads()
	ourLong, err := rate(ctx, loads[0], e.scan)
	if err != nil {
		return err
	}
	ourLines, err := rate(ctx, loads[3], e.scan)
	if err != nil {
		return err
	}
	columns := []column{{"Claude Audit", func(r *row) bool { return len(secretRules(e.engine, r.Text)) > 0 }, ourLong, ourLines}}
	var missing []string
	for _, s := range scanners {
		if s.missing != nil {
			missing = append(missing, fmt.Sprintf("%s: not measured: %v", s.name, s.missing))
			continue
		}
		columns = append(columns, column{s.name, func(r *row) bool { return len(s.answers[r.ID].Findings) > 0 }, s.rate(long), s.rate(e.corpus.secrets)})
	}
	var sources []string
	for i := range e.corpus.secrets {
		if s := e.corpus.secrets[i].Source; !slices.Contains(sources, s) {
			sources = append(sources, s)
		}
	}
	head := []string{""}
	for _, c := range columns {
		head = append(head, c.name)
	}
	var rows [][]string
	line := func(name string, value func(column) string) {
		cells := []string{name}
		for _, c := range columns {
			cells = append(cells, value(c))
		}
		rows = append(rows, cells)
	}
	score := func(c column, keep func(*row) bool) (t tally) {
		for i := range e.corpus.secrets {
			if r := &e.corpus.secrets[i]; keep(r) {
				t.count(len(r.Labels) > 0, c.find(r))
			}
		}
		return t
	}
	for _, s := range sources {
		keep := func(r *row) bool { return r.Source == s }
		line(s+": precision, recall, F1", func(c column) string {
			t := score(c, keep)
			return fmt.Sprintf("%s, %s, %s", t.precision(), t.recall(), t.f1())
		})
	}
	line("all: precision, recall, F1", func(c column) string {
		t := score(c, func(*row) bool { return true })
		return fmt.Sprintf("%s, %s, %s", t.precision(), t.recall(), t.f1())
	})
	line("all but gitleaks' own: F1", func(c column) string {
		return score(c, func(r *row) bool { return !strings.HasPrefix(r.Source, "gitleaks/") }).f1().String()
	})
	line("harmless texts with a finding", func(c column) string {
		var t tally
		for i := range e.corpus.benign {
			t.count(false, c.find(&e.corpus.benign[i]))
		}
		return t.alarms().percent()
	})
	line("32 KiB prompts, one core", func(c column) string { return megabytes(c.long) })
	line("these lines, one core", func(c column) string { return megabytes(c.lines) })
	e.table(head, rows)
	for _, m := range missing {
		e.text("%s", m)
	}
	return nil
}
