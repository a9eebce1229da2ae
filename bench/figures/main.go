// Command figures reads the output of `go test -bench` on stdin and prints what
// was measured as ratios: of one thing to another, both measured in the same run
// on the same machine, beside the ratio to reach.
//
// A benchmark that ran several times counts with its median.
package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
)

// figure is a line of the table. Its value is unit of bench, over unit of base
// when there is one.
type figure struct {
	what  string
	bench string
	unit  string
	base  string  // "" for an absolute value
	per   string  // unit of base, when it is another
	reach float64 // 0: nothing is set, it is shown for comparison
	most  bool    // reach is an upper bound
	may   bool    // what it needs can't be had everywhere
	form  string
}

// measured holds benchmark → unit → values.
type measured map[string]map[string][]float64

func main() {
	m, err := read(io.TeeReader(os.Stdin, os.Stderr))
	if err == nil {
		err = m.print(os.Stdout, figures)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "figures:", err)
		os.Exit(1)
	}
}

var benchLine = regexp.MustCompile(`^Benchmark(\S+?)(?:-\d+)?\s+\d+\s+(.*)$`)

func read(in io.Reader) (measured, error) {
	m := measured{}
	lines := bufio.NewScanner(in)
	failed := false
	for lines.Scan() {
		line := lines.Text()
		if strings.HasPrefix(line, "FAIL") || strings.HasPrefix(line, "--- FAIL") {
			failed = true
		}
		match := benchLine.FindStringSubmatch(line)
		if match == nil {
			continue
		}
		fields := strings.Fields(match[2])
		for i := 0; i+1 < len(fields); i += 2 {
			value, err := strconv.ParseFloat(fields[i], 64)
			if err != nil {
				return nil, fmt.Errorf("benchmark %s: %w", match[1], err)
			}
			if m[match[1]] == nil {
				m[match[1]] = map[string][]float64{}
			}
			m[match[1]][fields[i+1]] = append(m[match[1]][fields[i+1]], value)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read benchmarks: %w", err)
	}
	if failed {
		return nil, errors.New("a benchmark failed")
	}
	return m, nil
}

// median gives the median of what was measured, and whether anything was.
func (m measured) median(bench, unit string) (float64, bool) {
	values := slices.Clone(m[bench][unit])
	if len(values) == 0 {
		return 0, false
	}
	slices.Sort(values)
	return values[len(values)/2], true
}

func (m measured) print(out io.Writer, list []figure) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "work\tmeasured\tbase\tratio\tto reach\t")
	var missing []string
	for _, f := range list {
		value, ok := m.median(f.bench, f.unit)
		if _, based := m[f.base]; f.may && (!ok || f.base != "" && !based) {
			fmt.Fprintf(table, "%s\tnot measured\t\t\t\t\n", f.what)
			continue
		}
		if !ok {
			missing = append(missing, f.bench+" ("+f.unit+")")
			continue
		}
		ratio, base := value, "-"
		if f.base != "" {
			per := f.per
			if per == "" {
				per = f.unit
			}
			under, ok := m.median(f.base, per)
			if !ok || under == 0 {
				missing = append(missing, f.base+" ("+per+")")
				continue
			}
			ratio, base = value/under, number(under)+" "+per
		}
		fmt.Fprintf(table, "%s\t%s %s\t%s\t%s\t%s\n", f.what, number(value), f.unit, base,
			fmt.Sprintf(f.form, shown(ratio, f.form)), f.verdict(ratio))
	}
	if err := table.Flush(); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	if len(missing) > 0 {
		return fmt.Errorf("not measured: %s", strings.Join(missing, ", "))
	}
	return nil
}

// verdict is the ratio to reach, and whether it was missed.
func (f figure) verdict(ratio float64) string {
	if f.reach == 0 {
		return "-\t"
	}
	bound, missed := "≥ ", ratio < f.reach
	if f.most {
		bound, missed = "≤ ", ratio > f.reach
	}
	text := bound + fmt.Sprintf(f.form, shown(f.reach, f.form)) + "\t"
	if missed {
		text += "missed"
	}
	return text
}

// shown is a ratio as its form wants it: a percentage or as it is.
func shown(ratio float64, form string) float64 {
	if strings.Contains(form, "%%") {
		return 100 * ratio
	}
	return ratio
}

// number writes a value with three digits that mean something.
func number(v float64) string {
	switch {
	case v >= 1e6:
		return strconv.FormatFloat(v/1e6, 'f', 2, 64) + " M"
	case v >= 1e4:
		return strconv.FormatFloat(v/1e3, 'f', 1, 64) + " k"
	case v >= 100:
		return strconv.FormatFloat(v, 'f', 0, 64)
	default:
		return strconv.FormatFloat(v, 'g', 3, 64)
	}
}
