package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// without trains the injection model again without each source and says what the
// whole engine, with those weights, finds in the source's lines. It builds this
// program with the weights in the place of those in the tree.
func without(ctx context.Context, e *evaluation) error {
	e.heading("Prompt injection without a source")
	e.text("The linear model is trained again without the lines of the source, by the command that makes its weights (`internal/detect/injection/train`), " +
		"and the whole engine judges the source's lines with it. The vocabulary and the rules beside the model can't be unlearned: their authors saw these lines, so this bounds what the model alone has by heart. " +
		"The last lines of the table use a model that saw our own lines only, and none of this corpus.")
	work, err := os.MkdirTemp("", "eval-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	t := trainer{e: e, work: work}
	if err := t.prepare(ctx); err != nil {
		return fmt.Errorf("build the training command: %w", err)
	}
	shipped, err := t.judge(ctx, "", nil)
	if err != nil {
		return err
	}
	same, err := t.sameWeights(ctx)
	if err != nil {
		return err
	}
	if same {
		e.text("Trained on all, the command (`make weights`) gives the weights in the tree.")
	} else {
		e.text("Trained on all, the command (`make weights`) gives other weights than those in the tree: those were made with other lines, so the columns differ by more than the source.")
	}
	var sources []string
	for i := range e.corpus.injection {
		if r := &e.corpus.injection[i]; plain(r) && !slices.Contains(sources, r.Source) {
			sources = append(sources, r.Source)
		}
	}
	var rows [][]string
	var sum tally
	var lines []tally // each of one line of its source, judged without the source
	count := func(keep func(*row) bool, verdicts map[string]bool) (c tally) {
		for i := range e.corpus.injection {
			if r := &e.corpus.injection[i]; plain(r) && keep(r) {
				c.count(r.attack(), verdicts[r.ID])
			}
		}
		return c
	}
	line := func(name string, with, left tally) {
		rows = append(rows, []string{
			name, fmt.Sprint(with.tp + with.fn), with.recall().String(), left.recall().String(),
			with.alarms().percent(), left.alarms().percent(),
		})
	}
	for _, s := range sources {
		keep := func(r *row) bool { return r.Source == s }
		verdicts, err := t.judge(ctx, s, keep)
		if err != nil {
			return err
		}
		for i := range e.corpus.injection {
			if r := &e.corpus.injection[i]; plain(r) && keep(r) {
				var c tally
				c.count(r.attack(), verdicts[r.ID])
				lines = append(lines, c)
			}
		}
		with, left := count(keep, shipped), count(keep, verdicts)
		line(project(s), with, left)
		sum.add(left)
	}
	all := func(*row) bool { return true }
	line("all, each without its own source", count(all, shipped), sum)
	none, err := t.judge(ctx, "none", func(*row) bool { return true })
	if err != nil {
		return err
	}
	line("all, without any of this corpus", count(all, shipped), count(all, none))
	e.table([]string{"source left out", "attacks", "recall", "recall without it", "harmless flagged", "harmless flagged without it"}, rows)
	e.atLeast("prompt injection, each source left out: precision", sum.precision(), 0.95)
	e.atLeast("prompt injection, each source left out: recall", sum.recall(), 0.45)
	e.text("Each source left out, with what other samples of as many lines would give (95 %%): precision %s, recall %s, F1 %s.",
		within(sum.precision(), lines, tally.precision), within(sum.recall(), lines, tally.recall), within(sum.f1(), lines, tally.f1))
	return nil
}

type trainer struct {
	e          *evaluation
	work       string
	root       string
	train      string // the training command
	candidates bytes.Buffer
}

const weightsPath = "internal/detect/injection/weights.bin"

func (t *trainer) prepare(ctx context.Context) error {
	var err error
	if t.root, err = filepath.Abs(t.e.root); err != nil {
		return err
	}
	t.train = filepath.Join(t.work, "train")
	if err := t.run(ctx, "go", "build", "-o", t.train, "./internal/detect/injection/train"); err != nil {
		return err
	}
	enc := json.NewEncoder(&t.candidates)
	for i := range t.e.corpus.injection {
		r := &t.e.corpus.injection[i]
		if err := enc.Encode(map[string]string{"id": r.ID, "text": r.Text, "origin": r.Origin}); err != nil {
			return err
		}
	}
	return nil
}

// sameWeights says whether training on everything gives the weights in the tree.
func (t *trainer) sameWeights(ctx context.Context) (bool, error) {
	file, err := t.weights(ctx, "all", func(*row) bool { return false })
	if err != nil {
		return false, err
	}
	a, err := os.ReadFile(file)
	if err != nil {
		return false, err
	}
	b, err := os.ReadFile(filepath.Join(t.root, weightsPath))
	return bytes.Equal(a, b), err
}

// weights trains without the rows of out. Harmless texts of other corpora stay.
func (t *trainer) weights(ctx context.Context, name string, out func(*row) bool) (string, error) {
	base := filepath.Join(t.work, strings.Map(func(r rune) rune {
		if r < '0' || r > 'z' {
			return '_'
		}
		return r
	}, name))
	if err := os.Mkdir(base, 0o700); err != nil {
		return "", err
	}
	for file, list := range map[string][]row{"injection.jsonl": t.e.corpus.injection, "benign.jsonl": t.e.corpus.benign} {
		var rows bytes.Buffer
		enc := json.NewEncoder(&rows)
		for i := range list {
			r := &list[i]
			if out(r) {
				continue
			}
			if err := enc.Encode(map[string]any{
				"text": r.Text, "source": r.Source, "labels": r.Labels, "origin": r.Origin, "subtype": r.Subtype, "path": r.Path, "soft": r.Soft, "derived": r.Derived,
			}); err != nil {
				return "", err
			}
		}
		if err := os.WriteFile(filepath.Join(base, file), rows.Bytes(), 0o600); err != nil {
			return "", err
		}
	}
	return base + ".bin", t.run(ctx, t.train, "-table=false", "-corpus", base, "-o", base+".bin")
}

// judge returns the rows that are flagged with weights trained without the rows
// of out, or with those in the tree for nil.
func (t *trainer) judge(ctx context.Context, name string, out func(*row) bool) (map[string]bool, error) {
	flagged := map[string]bool{}
	if out == nil {
		for i := range t.e.corpus.injection {
			r := &t.e.corpus.injection[i]
			flagged[r.ID] = injected(flags(t.e.engine, r.Text, r.origin()))
		}
		return flagged, nil
	}
	file, err := t.weights(ctx, name, out)
	if err != nil {
		return nil, fmt.Errorf("train without %s: %w", name, err)
	}
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{filepath.Join(t.root, weightsPath): file}})
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(file+".json", overlay, 0o600); err != nil {
		return nil, err
	}
	program := file + ".eval"
	if err := t.run(ctx, "go", "build", "-C", "bench", "-overlay", file+".json", "-o", program, "./eval"); err != nil {
		return nil, fmt.Errorf("build with the weights without %s: %w", name, err)
	}
	cmd := exec.CommandContext(ctx, program, "-classify")
	cmd.Stdin = bytes.NewReader(t.candidates.Bytes())
	cmd.Stderr = os.Stderr
	answers, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("classify with the weights without %s: %w", name, err)
	}
	for line := range bytes.Lines(answers) {
		var v verdict
		if err := json.Unmarshal(line, &v); err != nil {
			return nil, fmt.Errorf("read a verdict: %w", err)
		}
		flagged[v.ID] = injected(v.Flags)
	}
	return flagged, os.Remove(program)
}

// run runs a command in the root of the tree; its error ends with what it said last.
func (t *trainer) run(ctx context.Context, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = t.root
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out[max(0, len(out)-500):])
	}
	return nil
}
