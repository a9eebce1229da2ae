// Command train makes the weights of the injection model:
//
//	CLAUDEAUDIT_DETECTION_CORPUS=DIR make weights
//
// It learns from two sets of texts: our own lines, in the folder testdata beside it,
// and those of a corpus, a folder with injection.jsonl and benign.jsonl as `make
// eval` reads them. Of a row it uses
//
//	text     what is learnt
//	labels   an attack if "attack" is among them
//	source   where it is from, for the table
//	origin   who wrote it: user, or tool for tool results and documents
//	subtype  clean_context for harmless documents
//	path     the file it is from, so that it is a document
//	soft     attacks that only their place makes attacks: left out
//	derived  copies of other rows: left out
//
// Attacks without origin are learnt as either, harmless documents too, harmless
// prompts as the user's. It first prints what the rules and the model find of every
// source when the model was trained without it, then writes the weights that it
// learnt from everything. The same texts give the same bytes, on one kind of
// processor.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/claudeaudit/claudeaudit/internal/detect/injection"
)

func main() {
	corpus := flag.String("corpus", os.Getenv("CLAUDEAUDIT_DETECTION_CORPUS"), "folder with injection.jsonl and benign.jsonl")
	lines := flag.String("lines", "internal/detect/injection/testdata", "folder of our own lines")
	out := flag.String("o", "", "where the weights go; without it only the table is printed")
	table := flag.Bool("table", true, "print what is found of every source that the model didn't learn from")
	flag.Parse()
	if err := run(os.Stdout, *corpus, *lines, *out, *table); err != nil {
		fmt.Fprintln(os.Stderr, "train:", err)
		os.Exit(1)
	}
}

func run(stdout io.Writer, corpus, lines, out string, table bool) error {
	if corpus == "" {
		return errors.New("no corpus: name its folder with -corpus or in CLAUDEAUDIT_DETECTION_CORPUS")
	}
	all, err := readOwn(lines)
	if err != nil {
		return err
	}
	for _, name := range []string{"injection.jsonl", "benign.jsonl"} {
		rows, err := readRows(filepath.Join(corpus, name))
		if err != nil {
			return err
		}
		all = append(all, rows...)
	}
	if table {
		if err := report(stdout, all); err != nil {
			return err
		}
	}
	if out == "" {
		return nil
	}
	m, err := fit(all, "")
	if err != nil {
		return err
	}
	if err := os.WriteFile(out, m.Append(nil), 0o644); err != nil {
		return fmt.Errorf("write the weights: %w", err)
	}
	return nil
}

// example is a text to learn from.
type example struct {
	source string
	attack bool
	text   string
	hits   []injection.Hit
	views  []view
}

// view is a text as one origin's.
type view struct {
	origin  injection.Origin
	windows [][]injection.Sentence
}

func newExample(text, source string, attack bool, origins ...injection.Origin) example {
	e := example{source: source, attack: attack, text: text, hits: injection.Match(text)}
	for _, o := range origins {
		v := view{origin: o, windows: injection.Windows(text, e.hits, o)}
		if !attack {
			v.windows = append(v.windows, injection.AllWindows(text, o)...)
		}
		e.views = append(e.views, v)
	}
	return e
}

func readRows(path string) ([]example, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read the corpus: %w", err)
	}
	defer f.Close()
	var out []example
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 64<<20)
	for n := 1; lines.Scan(); n++ {
		var r struct {
			Text, Source, Origin, Subtype, Path string
			Labels                              []string
			Soft, Derived                       bool
		}
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			return nil, fmt.Errorf("%s:%d: not a row of a corpus", path, n) // the error could quote the text
		}
		if r.Soft || r.Derived {
			continue
		}
		attack := slices.Contains(r.Labels, "attack")
		var origins []injection.Origin
		switch {
		case r.Origin == "tool":
			origins = []injection.Origin{injection.Tool}
		case r.Origin == "" && (attack || r.Path != "" || r.Subtype == "clean_context"):
			origins = []injection.Origin{injection.User, injection.Tool}
		case r.Origin == "", r.Origin == "user":
			origins = []injection.Origin{injection.User}
		default:
			continue // nothing else is judged
		}
		out = append(out, newExample(r.Text, r.Source, attack, origins...))
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return out, nil
}

// readOwn reads our own lines. Files of one number are one source.
func readOwn(dir string) ([]example, error) {
	both, user, tool := []injection.Origin{injection.User, injection.Tool}, []injection.Origin{injection.User}, []injection.Origin{injection.Tool}
	var out []example
	for _, f := range []struct {
		kind    string
		attack  bool
		origins []injection.Origin
		source  string
	}{
		{"attacks", true, both, "our own prompts"},
		{"harmless", false, user, "our own prompts"},
		{"indirect", true, tool, "our own documents"},
		{"documents", false, both, "our own documents"},
	} {
		paths, err := filepath.Glob(filepath.Join(dir, f.kind+"*.txt"))
		if err != nil {
			return nil, err
		}
		if len(paths) == 0 {
			return nil, fmt.Errorf("%s has no files %s*.txt", dir, f.kind)
		}
		for _, p := range paths {
			b, err := os.ReadFile(p)
			if err != nil {
				return nil, fmt.Errorf("read our own lines: %w", err)
			}
			source := f.source + strings.TrimSuffix(" "+strings.TrimPrefix(strings.TrimSuffix(filepath.Base(p), ".txt"), f.kind), " ")
			for l := range strings.Lines(string(b)) {
				l = strings.TrimSpace(l)
				if l == "" || strings.HasPrefix(l, "# ") {
					continue
				}
				// the kind of attack
				if kind, text, ok := strings.Cut(l, " | "); ok && f.attack && !strings.Contains(kind, " ") {
					l = text
				}
				out = append(out, newExample(strings.ReplaceAll(l, `\n`, "\n"), source, f.attack, f.origins...))
			}
		}
	}
	return out, nil
}
