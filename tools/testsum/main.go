// Command testsum reads the output of `go test -json` on stdin, shows one line
// per package and the whole output of what failed, and adds up the results.
//
//	go test -json ./... | testsum --counts FILE
//
// FILE gets one more line "PASSED FAILED SKIPPED". A test with subtests is
// counted through them and for itself, as go test does. A package that fails
// without a failed test (it did not build, it panicked, it ran out of time)
// counts as one failure. The exit status is 1 when anything failed.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

type event struct {
	Action     string
	Package    string
	ImportPath string // of build-output
	Test       string
	Elapsed    float64
	Output     string
}

type counts struct{ passed, failed, skipped int }

type key struct{ pkg, test string }

type summary struct {
	out io.Writer
	counts
	output  map[key][]string
	build   map[string][]string
	failing map[string]int // failed tests by package
	skips   []string
}

func newSummary(out io.Writer) *summary {
	return &summary{out: out, output: map[key][]string{}, build: map[string][]string{}, failing: map[string]int{}}
}

func main() {
	countsFile := flag.String("counts", "", "file that gets a line with the counts")
	flag.Parse()
	s := newSummary(os.Stdout)
	if err := s.read(os.Stdin); err != nil {
		fmt.Fprintln(os.Stderr, "testsum:", err)
		os.Exit(2)
	}
	if err := appendCounts(*countsFile, s.counts); err != nil {
		fmt.Fprintln(os.Stderr, "testsum:", err)
		os.Exit(2)
	}
	if s.failed > 0 {
		os.Exit(1)
	}
}

func (s *summary) read(in io.Reader) error {
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			var e event
			if json.Unmarshal(line, &e) != nil {
				// what go itself says between the events
				fmt.Fprint(s.out, string(line))
			} else {
				s.add(e)
			}
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return fmt.Errorf("read events: %w", err)
		}
	}
	slices.Sort(s.skips)
	for _, skip := range s.skips {
		fmt.Fprint(s.out, skip)
	}
	return nil
}

func (s *summary) add(e event) {
	k := key{e.Package, e.Test}
	switch e.Action {
	case "output":
		s.output[k] = append(s.output[k], e.Output)
	case "build-output":
		s.build[e.ImportPath] = append(s.build[e.ImportPath], e.Output)
	case "build-fail":
		for _, line := range s.build[e.ImportPath] {
			fmt.Fprint(s.out, line)
		}
		delete(s.build, e.ImportPath)
	case "pass", "skip", "fail":
		s.end(e, k)
	}
}

func (s *summary) end(e event, k key) {
	lines := s.output[k]
	delete(s.output, k)
	if e.Test == "" {
		s.endPackage(e, lines)
		return
	}
	switch e.Action {
	case "pass":
		s.passed++
	case "skip":
		s.skipped++
		reason := ""
		for _, line := range lines {
			// the line of t.Skip is the last that is not a "---" or "==="
			if strings.HasPrefix(line, "    ") && !strings.HasPrefix(strings.TrimSpace(line), "---") {
				reason = line
			}
		}
		s.skips = append(s.skips, fmt.Sprintf("SKIP  %s %s: %s\n", e.Package, e.Test, strings.TrimSpace(reason)))
	case "fail":
		s.failed++
		s.failing[e.Package]++
		for _, line := range lines {
			fmt.Fprint(s.out, line)
		}
	}
}

func (s *summary) endPackage(e event, lines []string) {
	if e.Action == "fail" && s.failing[e.Package] == 0 {
		s.failed++
	}
	if e.Action == "fail" {
		// output of tests that never ended stands before the package's own
		for k, unfinished := range s.output {
			if k.pkg == e.Package {
				for _, line := range unfinished {
					fmt.Fprint(s.out, line)
				}
			}
		}
		for _, line := range lines {
			fmt.Fprint(s.out, line)
		}
	}
	if e.Action != "skip" { // a package without tests
		fmt.Fprintf(s.out, "%-5s %s %.1fs\n", e.Action, e.Package, e.Elapsed)
	}
}

func appendCounts(path string, c counts) error {
	if path == "" {
		return nil
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open counts: %w", err)
	}
	if _, err := fmt.Fprintf(file, "%d %d %d\n", c.passed, c.failed, c.skipped); err != nil {
		return fmt.Errorf("write counts: %w", err)
	}
	if err := file.Close(); err != nil {
		return fmt.Errorf("close counts: %w", err)
	}
	return nil
}
