package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
)

// part is a heading of a document with what stands below it.
type part struct{ name, text string }

// parts are what stands before the first heading, and the rest by headings.
func parts(doc string) (head string, out []part) {
	pieces := strings.Split("\n"+doc, "\n## ")
	for _, p := range pieces[1:] {
		name, text, _ := strings.Cut(p, "\n")
		out = append(out, part{name, strings.Trim(text, "\n")})
	}
	return strings.Trim(pieces[0], "\n"), out
}

// updateDocument replaces the parts of a document that were printed and leaves the
// rest of it. Of the figures to reach it replaces those that were measured.
func updateDocument(path, printed string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read the document: %w", err)
	}
	head, old := parts(string(b))
	_, fresh := parts(printed)
	if len(fresh) == 0 {
		return fmt.Errorf("nothing was measured that %s has", path)
	}
	after := -1
	for _, p := range fresh {
		k := slices.IndexFunc(old, func(o part) bool { return o.name == p.name })
		switch {
		case k < 0:
			k = after + 1
			old = slices.Insert(old, k, p)
		case p.name == goalsHeading:
			old[k].text = mergeRows(old[k].text, p.text)
		default:
			old[k] = p
		}
		after = k
	}
	var out strings.Builder
	out.WriteString(head + "\n")
	for _, p := range old {
		out.WriteString("\n## " + p.name + "\n\n" + p.text + "\n")
	}
	if err := os.WriteFile(path, []byte(out.String()), 0o644); err != nil {
		return fmt.Errorf("write the document: %w", err)
	}
	return nil
}

// mergeRows replaces the rows of a table by those of another with the same first
// cell, and adds the rest at its end.
func mergeRows(table, fresh string) string {
	lines := strings.Split(table, "\n")
	cell := func(l string) string {
		first, _, _ := strings.Cut(strings.TrimPrefix(l, "| "), " | ")
		return first
	}
	for _, l := range strings.Split(fresh, "\n") {
		if !strings.HasPrefix(l, "| ") || strings.HasPrefix(l, "| ---") {
			continue
		}
		if k := slices.IndexFunc(lines, func(o string) bool { return strings.HasPrefix(o, "| ") && cell(o) == cell(l) }); k >= 0 {
			lines[k] = l
		} else {
			lines = append(lines, l)
		}
	}
	return strings.Join(lines, "\n")
}
