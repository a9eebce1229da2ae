// Command gitleaks runs the rules of gitleaks over lines, for `make eval`. It is a
// module of its own, so that gitleaks is no dependency of anything else here.
//
// Each line of standard input is a JSON object with "id" and "text"; each line of
// output has the "id", the CPU time that the text took ("ns"), and "findings", each
// with the rule as "type".
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"syscall"

	"github.com/rs/zerolog"
	"github.com/zricethezav/gitleaks/v8/detect"
)

type finding struct {
	Type string `json:"type"`
}

type answer struct {
	ID       string    `json:"id"`
	NS       int64     `json:"ns"`
	Findings []finding `json:"findings"`
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "gitleaks:", err)
		os.Exit(1)
	}
}

func run() error {
	runtime.GOMAXPROCS(1)
	zerolog.SetGlobalLevel(zerolog.Disabled)
	d, err := detect.NewDetectorDefaultConfig()
	if err != nil {
		return fmt.Errorf("load the default rules: %w", err)
	}
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 64<<20)
	out := json.NewEncoder(os.Stdout)
	d.DetectString("warm up") // what is compiled on first use is not the text's
	for in.Scan() {
		var row struct{ ID, Text string }
		if err := json.Unmarshal(in.Bytes(), &row); err != nil {
			return fmt.Errorf("read a line: %w", err)
		}
		from := cpu()
		found := d.DetectString(row.Text)
		a := answer{ID: row.ID, NS: cpu() - from, Findings: []finding{}}
		for _, f := range found {
			a.Findings = append(a.Findings, finding{f.RuleID})
		}
		if err := out.Encode(a); err != nil {
			return fmt.Errorf("write a line: %w", err)
		}
	}
	return in.Err()
}

// cpu is the time that the process has computed, ns.
func cpu() int64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err) // cannot be: the arguments are constants
	}
	return u.Utime.Nano() + u.Stime.Nano()
}
