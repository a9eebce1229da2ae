package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// Output formats.
const (
	formatTable = "table"
	formatJSON  = "json"
	formatCSV   = "csv"
)

// choice is a flag with a fixed set of values.
type choice struct {
	value   string
	allowed []string
	upper   bool // values are upper case, and may be given in any
}

func (c *choice) String() string { return c.value }
func (c *choice) Type() string   { return "string" }

func (c *choice) Set(s string) error {
	if c.upper {
		s = strings.ToUpper(s)
	}
	if !slices.Contains(c.allowed, s) {
		return fmt.Errorf("must be one of %s", strings.Join(c.allowed, ", "))
	}
	c.value = s
	return nil
}

// addChoice adds a flag that takes one of the allowed values, and completes them.
func addChoice(cmd *cobra.Command, c *choice, name, usage string) {
	cmd.Flags().Var(c, name, usage+" ("+strings.Join(c.allowed, ", ")+")")
	complete(cmd.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(c.allowed, cobra.ShellCompDirectiveNoFileComp)))
}

// printable makes text that others chose safe for a terminal: what isn't
// printable, such as an escape sequence, is written as an escape.
func printable(s string) string {
	if strings.IndexFunc(s, func(r rune) bool { return r == utf8.RuneError || !unicode.IsPrint(r) }) < 0 {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case unicode.IsPrint(r) && r != utf8.RuneError:
			b.WriteRune(r)
		case r < 0x10000:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			fmt.Fprintf(&b, `\U%08x`, r)
		}
	}
	return b.String()
}

// printableText is printable for text of several lines.
func printableText(s string) string {
	lines := strings.Split(strings.ReplaceAll(s, "\r\n", "\n"), "\n")
	for i, l := range lines {
		parts := strings.Split(l, "\t")
		for j, p := range parts {
			parts[j] = printable(p)
		}
		lines[i] = strings.Join(parts, "\t")
	}
	return strings.Join(lines, "\n")
}

// shorten cuts s to n characters, the last of which then says so.
func shorten(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	return string([]rune(s)[:n-1]) + "…"
}

// terminal returns the width of the terminal that w is, or false.
func terminal(w io.Writer) (int, bool) {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return 0, false
	}
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil || width < 40 {
		width = 80
	}
	return width, true
}

// column is a column of a table.
type column struct {
	title string
	// least is the width that the column may be cut down to; 0 means never.
	least int
	// drop says when the column is left out for want of room: the highest
	// first, 0 never.
	drop  int
	right bool
}

// writeTable writes aligned columns. With a width it cuts what may be cut, and
// then leaves out what may be left out, to fit.
func writeTable(w io.Writer, columns []column, rows [][]string, width int) error {
	natural := make([]int, len(columns))
	for i, c := range columns {
		natural[i] = utf8.RuneCountInString(c.title)
		for _, r := range rows {
			natural[i] = max(natural[i], utf8.RuneCountInString(r[i]))
		}
	}
	shown := make([]int, len(columns))
	for i := range shown {
		shown[i] = i
	}
	widths := slices.Clone(natural)
	for width > 0 {
		over := -2 - width
		for _, i := range shown {
			widths[i] = natural[i]
			over += natural[i] + 2
		}
		for _, i := range shown {
			if least := columns[i].least; over > 0 && least > 0 && widths[i] > least {
				cut := min(over, widths[i]-least)
				widths[i] -= cut
				over -= cut
			}
		}
		if over <= 0 {
			break
		}
		last := slices.MaxFunc(shown, func(a, b int) int { return columns[a].drop - columns[b].drop })
		if columns[last].drop == 0 {
			break // it does not fit, whatever we do
		}
		shown = slices.DeleteFunc(shown, func(i int) bool { return i == last })
	}
	line := func(cells func(i int) string) string {
		var b strings.Builder
		for n, i := range shown {
			cell := shorten(cells(i), widths[i])
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			switch {
			case columns[i].right:
				cell = pad + cell
			case n < len(shown)-1:
				cell += pad
			}
			if n > 0 {
				b.WriteString("  ")
			}
			b.WriteString(cell)
		}
		return b.String() + "\n"
	}
	if _, err := io.WriteString(w, line(func(i int) string { return columns[i].title })); err != nil {
		return err
	}
	for _, r := range rows {
		if _, err := io.WriteString(w, line(func(i int) string { return r[i] })); err != nil {
			return err
		}
	}
	return nil
}

// progress shows how far long work has come, on a terminal alone.
type progress struct {
	bar *progressbar.ProgressBar
}

// newProgress starts a bar to total on w; total -1 is not known.
func newProgress(w io.Writer, total int64, what, unit string) *progress {
	if _, ok := terminal(w); !ok {
		return &progress{}
	}
	return &progress{bar: progressbar.NewOptions64(total,
		progressbar.OptionSetWriter(w), progressbar.OptionSetDescription(what), progressbar.OptionShowCount(),
		progressbar.OptionShowIts(), progressbar.OptionSetItsString(unit), progressbar.OptionThrottle(100_000_000),
		progressbar.OptionClearOnFinish(), progressbar.OptionSetPredictTime(true), progressbar.OptionFullWidth(),
	)}
}

// add moves the bar on. A bar that can't be drawn is no reason to stop.
func (p *progress) add(n int) {
	if p.bar != nil {
		_ = p.bar.Add(n)
	}
}

func (p *progress) setTotal(n int64) {
	if p.bar != nil {
		p.bar.ChangeMax64(n)
	}
}

func (p *progress) finish() {
	if p.bar != nil {
		_ = p.bar.Finish()
	}
}
