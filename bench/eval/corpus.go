package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/claudeaudit/claudeaudit/internal/detect"
)

// row is a labelled line.
type row struct {
	ID     string   `json:"id"`
	Text   string   `json:"text"`
	Labels []string `json:"labels"`
	Spans  []span   `json:"spans"`
	Source string   `json:"source"`
	// Annotated are the types of personal data of which the line says whether they
	// are there.
	Annotated types `json:"annotated"`
	// Unscored are types whose labels are in doubt.
	Unscored []string `json:"unscored"`
	Subtype  string   `json:"subtype"`
	// Soft marks attacks that only their place makes attacks: harmless requests in
	// a document.
	Soft bool `json:"soft"`
	// Origin is who wrote the text, as `claudeaudit classify` reads it; user if absent.
	Origin string `json:"origin"`
	// Derived marks copies of other lines, disguised or lengthened.
	Derived bool `json:"derived"`
	// Path is the file that a document is from.
	Path string `json:"path"`
}

func (r *row) attack() bool { return slices.Contains(r.Labels, "attack") }

// origin is who wrote the text; readRows has checked the name.
func (r *row) origin() detect.Origin {
	o, _ := detect.ParseOrigin(r.Origin)
	return o
}

// span is a place in a line, in code points.
type span struct {
	Start, End int
	Type       string
}

func (s *span) UnmarshalJSON(b []byte) error {
	return json.Unmarshal(b, &[...]any{&s.Start, &s.End, &s.Type})
}

func (s span) overlaps(o span) bool { return s.Start < o.End && o.Start < s.End }

// types are names, or all of them: "*".
type types struct {
	all   bool
	names []string
}

func (t *types) UnmarshalJSON(b []byte) error {
	if string(b) == `"*"` {
		t.all = true
		return nil
	}
	return json.Unmarshal(b, &t.names)
}

func (t types) has(name string) bool { return t.all || slices.Contains(t.names, name) }

type corpus struct {
	missing                              []string // files that are not there: their lines are none
	personal, secrets, injection, benign []row
}

func readCorpus(dir string) (*corpus, error) {
	c := &corpus{}
	for _, f := range []struct {
		name string
		rows *[]row
	}{{"pii.jsonl", &c.personal}, {"secrets.jsonl", &c.secrets}, {"injection.jsonl", &c.injection}, {"benign.jsonl", &c.benign}} {
		switch err := readRows(filepath.Join(dir, f.name), f.rows); {
		case errors.Is(err, fs.ErrNotExist):
			c.missing = append(c.missing, f.name)
		case err != nil:
			return nil, err
		}
	}
	if len(c.missing) == 4 {
		return nil, fmt.Errorf("%s has none of %s", dir, strings.Join(c.missing, ", "))
	}
	return c, nil
}

func readRows(path string, rows *[]row) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 64<<20)
	for n := 1; lines.Scan(); n++ {
		var r row
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			var typ *json.UnmarshalTypeError
			if errors.As(err, &typ) {
				return fmt.Errorf("%s:%d: %s is not a %s", path, n, typ.Field, typ.Type)
			}
			return fmt.Errorf("%s:%d: not a JSON object", path, n) // the error could quote the text
		}
		if _, ok := detect.ParseOrigin(r.Origin); !ok && r.Origin != "" {
			return fmt.Errorf("%s:%d: origin is not user, system, assistant, tool or output", path, n)
		}
		*rows = append(*rows, r)
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	if len(*rows) == 0 {
		return fmt.Errorf("%s has no lines", path)
	}
	return nil
}

// project is the source without the file and without remarks in parentheses.
func project(source string) string {
	source, _, _ = strings.Cut(source, ":")
	source, _, _ = strings.Cut(source, " (")
	return source
}
