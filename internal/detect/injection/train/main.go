// Command train makes the weights of the injection model.
//
//	go run ./internal/detect/injection/train -rows rows.jsonl -attacks a.txt -harmless h.txt -text DIR -o internal/detect/injection/weights.bin
//
// Rows are JSON objects with text, source and labels (or label), where the label
// "attack" or 1 marks an attack and rows with soft set are left out. Files of
// -attacks and -harmless hold a text a line, those of -text honest documents and
// code. It prints what the model finds of every source when it was trained
// without it, beside the rules, and then trains on all. The same input gives the
// same weights.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/claudeaudit/claudeaudit/internal/detect/injection"
)

type example struct {
	source    string
	attack    bool
	rules     bool // found by the rules alone
	text      string
	hits      []injection.Hit
	stretches [][]uint32
	long      bool
}

type list []string

func (l *list) String() string     { return strings.Join(*l, " ") }
func (l *list) Set(s string) error { *l = append(*l, s); return nil }

func main() {
	var rows, attacks, harmless, texts list
	flag.Var(&rows, "rows", "JSONL file; may be repeated")
	flag.Var(&attacks, "attacks", "file of attacks; may be repeated")
	flag.Var(&harmless, "harmless", "file of harmless lines; may be repeated")
	flag.Var(&texts, "text", "folder of honest files; may be repeated")
	out := flag.String("o", "", "where the weights go; without it only the table is printed")
	epochs := flag.Int("epochs", 12, "passes over the examples")
	l2 := flag.Float64("l2", 0.0006, "regularisation")
	flag.Parse()
	if err := run(rows, attacks, harmless, texts, *out, *epochs, *l2); err != nil {
		fmt.Fprintln(os.Stderr, "train:", err)
		os.Exit(1)
	}
}

func run(rows, attacks, harmless, texts []string, out string, epochs int, l2 float64) error {
	var all []example
	add := func(text, source string, attack bool) {
		hits := injection.Match(text)
		e := example{source: source, attack: attack, text: text, hits: hits, stretches: injection.Stretches(text, hits)}
		e.rules = len(injection.ScoreWith(nil, text, hits, injection.User)) > 0
		e.long = len(e.stretches) > 2
		all = append(all, e)
	}
	for _, p := range rows {
		if err := readRows(p, add); err != nil {
			return fmt.Errorf("reading %s: %w", p, err)
		}
	}
	for _, f := range []struct {
		paths  []string
		attack bool
	}{{attacks, true}, {harmless, false}} {
		for _, p := range f.paths {
			if err := readLines(p, f.attack, add); err != nil {
				return fmt.Errorf("reading %s: %w", p, err)
			}
		}
	}
	for _, d := range texts {
		if err := readTexts(d, add); err != nil {
			return fmt.Errorf("reading %s: %w", d, err)
		}
	}
	report(all, epochs, l2)
	if out == "" {
		return nil
	}
	m := fit(all, "", epochs, l2)
	if err := os.WriteFile(out, m.Append(nil), 0o644); err != nil {
		return fmt.Errorf("writing the weights: %w", err)
	}
	return nil
}

func readRows(path string, add func(text, source string, attack bool)) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	sc := bufio.NewScanner(f)
	sc.Buffer(nil, 64<<20)
	for sc.Scan() {
		var r struct {
			Text, Source string
			Labels       []string
			Label        any
			Soft         bool
			Derived      bool
		}
		if err := json.Unmarshal(sc.Bytes(), &r); err != nil {
			return err
		}
		// obfuscated copies repeat their source
		if r.Soft || r.Derived {
			continue
		}
		add(r.Text, r.Source, slices.Contains(r.Labels, "attack") || r.Label == "attack" || r.Label == 1.0)
	}
	return sc.Err()
}

func readLines(path string, attack bool, add func(text, source string, attack bool)) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	// attacks.txt and harmless.txt of one number are one source
	source := strings.NewReplacer("attacks", "lines", "harmless", "lines").Replace(filepath.Base(path))
	for l := range strings.Lines(string(b)) {
		l = strings.TrimSpace(l)
		if l == "" || strings.HasPrefix(l, "# ") {
			continue
		}
		if kind, text, ok := strings.Cut(l, " | "); ok && attack && !strings.Contains(kind, " ") {
			l = text
		}
		add(strings.ReplaceAll(l, `\n`, "\n"), source, attack)
	}
	return nil
}

// readTexts takes a few pieces of every file.
func readTexts(dir string, add func(text, source string, attack bool)) error {
	rng := rand.New(rand.NewPCG(1, 2))
	return filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		if len(b) < 500 || slices.Contains(b[:400], 0) {
			return nil
		}
		for range 1 + min(len(b)>>14, 4) {
			k := rng.IntN(len(b) - 300)
			add(string(b[k:min(len(b), k+200+rng.IntN(1500))]), "text "+filepath.Base(dir), false)
		}
		return nil
	})
}

// fit trains on all examples but those of a source.
func fit(all []example, without string, epochs int, l2 float64) *injection.Model {
	type sample struct {
		f []uint32
		y float64
	}
	var samples []sample
	for _, e := range all {
		// which stretch of a long attack is the attack is not known
		if e.source == without || e.attack && e.long {
			continue
		}
		for _, f := range e.stretches {
			y := 0.0
			if e.attack {
				y = 1
			}
			samples = append(samples, sample{f, y})
		}
	}
	// attacks are few: they weigh a third of the rest
	attacks := 0.0
	for _, s := range samples {
		attacks += s.y
	}
	weight := max(1, (float64(len(samples))-attacks)/(3*max(attacks, 1)))
	rng := rand.New(rand.NewPCG(3, 4))
	w, g := make([]float64, injection.ModelSize), make([]float64, injection.ModelSize)
	bias := 0.0
	for range epochs {
		rng.Shuffle(len(samples), func(i, j int) { samples[i], samples[j] = samples[j], samples[i] })
		for _, s := range samples {
			n := 1 / math.Sqrt(float64(len(s.f))+1)
			x := bias
			for _, f := range s.f {
				x += w[f] * n
			}
			d := 1/(1+math.Exp(-x)) - s.y
			if s.y == 1 {
				d *= weight
			}
			bias -= 0.05 * d
			for _, f := range s.f {
				gr := d*n + l2*w[f]
				g[f] += gr * gr
				w[f] -= 0.3 * gr / math.Sqrt(g[f]+1e-6)
			}
		}
	}
	top := 0.0
	for _, v := range w {
		top = max(top, math.Abs(v))
	}
	m := &injection.Model{Bias: float32(bias), Scale: float32(top / 127), Weights: make([]int8, injection.ModelSize)}
	for i, v := range w {
		m.Weights[i] = int8(math.Round(v / top * 127))
	}
	return m
}

// report prints, for every source, what a model made without it finds.
func report(all []example, epochs int, l2 float64) {
	var sources []string
	for _, e := range all {
		if !slices.Contains(sources, e.source) {
			sources = append(sources, e.source)
		}
	}
	slices.Sort(sources)
	thresholds := []float32{1, 1.5, 2, 2.5, 3}
	fmt.Printf("%-52s %-8s %5s %6s %6s", "source left out", "rows", "n", "rules", "both")
	for _, t := range thresholds {
		fmt.Printf(" %6.1f", t)
	}
	fmt.Println("   (share that the model alone puts above these log-odds)")
	for _, src := range sources {
		m := fit(all, src, epochs, l2)
		for _, attack := range []bool{true, false} {
			n, rules, both := 0, 0, 0
			counts := make([]int, len(thresholds))
			for _, e := range all {
				if e.source != src || e.attack != attack {
					continue
				}
				n++
				if e.rules {
					rules++
				}
				if len(injection.ScoreWith(m, e.text, e.hits, injection.User)) > 0 {
					both++
				}
				best := float32(math.Inf(-1))
				for _, f := range e.stretches {
					best = max(best, m.Score(f))
				}
				for i, t := range thresholds {
					if best >= t {
						counts[i]++
					}
				}
			}
			if n == 0 {
				continue
			}
			kind := "harmless"
			if attack {
				kind = "attacks"
			}
			fmt.Printf("%-52.52s %-8s %5d %6.3f %6.3f", src, kind, n, float64(rules)/float64(n), float64(both)/float64(n))
			for _, c := range counts {
				fmt.Printf(" %6.3f", float64(c)/float64(n))
			}
			fmt.Println()
		}
	}
}
