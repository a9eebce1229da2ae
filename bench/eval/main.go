// Command eval measures detection on labelled lines: personal data, secrets,
// prompt injection and what is none, by type and by source, and what of it is left
// for a source that was not looked at; the engine's speed; and the same of
// Presidio's pattern recognisers, gitleaks and detect-secrets on the same lines.
// It prints tables in Markdown.
//
//	CLAUDEAUDIT_DETECTION_CORPUS=DIR make eval
//
// The folder has pii.jsonl, secrets.jsonl, injection.jsonl and benign.jsonl: a JSON
// object a line with id, text, labels, spans ([start, end, type] in code points),
// source, and what else [row] names. Some of the files will do: so other lines can
// be measured that nobody has looked at. They are other people's and no part of
// this project. Without the folder it says so and ends with exit status 0.
//
// With another folder in CLAUDEAUDIT_DETECTION_UNSEEN, of which injection.jsonl is
// read, it also measures injection on sources that nothing was learnt from. With
// -doc the tables go into a document, in the place of those that it has.
//
// Nothing of a line's text is printed.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"

	"github.com/claudeaudit/claudeaudit/internal/detect"
)

const corpusVar = "CLAUDEAUDIT_DETECTION_CORPUS"

// section is a part of the report.
type section struct {
	name string
	run  func(context.Context, *evaluation) error
	of   func(*corpus) []row // the lines that it can't do without
}

func ofPersonal(c *corpus) []row  { return c.personal }
func ofSecrets(c *corpus) []row   { return c.secrets }
func ofInjection(c *corpus) []row { return c.injection }

var sections = []section{
	{"personal", personal, ofPersonal},
	{"secrets", secrets, ofSecrets},
	{"levels", levels, nil},
	{"injection", injections, ofInjection},
	{"unseen", unseen, nil},
	{"disguise", disguises, ofInjection},
	{"without", without, ofInjection},
	{"speed", speed, nil},
	{"rivals", rivals, nil},
}

// evaluation is what the parts of the report share.
type evaluation struct {
	*report
	root   string // of the source tree
	corpus *corpus
	engine *detect.Engine
	misses bool
	goals  []goal
}

func main() {
	var names []string
	for _, s := range sections {
		names = append(names, s.name)
	}
	dir := flag.String("corpus", os.Getenv(corpusVar), "folder of the labelled lines")
	only := flag.String("only", "", "parts to run, of "+strings.Join(names, ", ")+"; all if empty")
	root := flag.String("root", ".", "root of the source tree, for training without a source")
	misses := flag.Bool("misses", false, "name the lines that came out wrong, by id")
	doc := flag.String("doc", "", "document whose parts are replaced by what is measured")
	asClassifier := flag.Bool("classify", false, "read rows on standard input, write what the engine says of each")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	var printed strings.Builder
	err := run(ctx, os.Stdin, io.MultiWriter(os.Stdout, &printed), *dir, *only, *root, *misses, *asClassifier)
	if err == nil && *doc != "" {
		err = updateDocument(*doc, printed.String())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "eval:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, in io.Reader, out io.Writer, dir, only, root string, misses, asClassifier bool) error {
	engine, err := detect.New(detect.Config{CacheBytes: -1})
	if err != nil {
		return err
	}
	if asClassifier {
		return classify(engine, in, out)
	}
	if dir == "" {
		_, err := fmt.Fprintf(out, "skipped: %s names no folder with labelled lines\n", corpusVar)
		return err
	}
	if _, err := os.Stat(dir); err != nil {
		_, err := fmt.Fprintf(out, "skipped: no labelled lines: %v\n", err)
		return err
	}
	c, err := readCorpus(dir)
	if err != nil {
		return err
	}
	wanted := strings.FieldsFunc(only, func(r rune) bool { return r == ',' })
	for _, w := range wanted {
		if !slices.ContainsFunc(sections, func(s section) bool { return s.name == w }) {
			return fmt.Errorf("-only: there is no part %q", w)
		}
	}
	e := &evaluation{report: &report{out: out}, root: root, corpus: c, engine: engine, misses: misses}
	e.text("%d lines with personal data, %d with secrets, %d with attacks and their like, %d harmless.", len(c.personal), len(c.secrets), len(c.injection), len(c.benign))
	if len(c.missing) > 0 {
		e.text("Not there, so that parts are left out: %s.", strings.Join(c.missing, ", "))
	}
	for _, s := range sections {
		if len(wanted) > 0 && !slices.Contains(wanted, s.name) || s.of != nil && len(s.of(c)) == 0 {
			continue
		}
		if err := s.run(ctx, e); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	e.printGoals()
	return e.err
}
