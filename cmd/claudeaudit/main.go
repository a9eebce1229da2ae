// Command claudeaudit searches, verifies and administers what Claude Audit
// wrote.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// Exit codes.
const (
	exitOK = 0
	// exitNegative says no: not found, or evidence is bad.
	exitNegative = 1
	// exitFailed says that there is no answer: wrong usage, or something failed.
	exitFailed = 2
)

// negative is an answer of no. Its text is what to say on standard error, if
// anything.
type negative struct{ err error }

func (n negative) Error() string { return n.err.Error() }
func (n negative) Unwrap() error { return n.err }

// errSaid is the error of a negative answer that the output already gave.
var errSaid = errors.New("")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], streams{in: os.Stdin, out: os.Stdout, err: os.Stderr})
	stop()
	os.Exit(code)
}

// streams are the standard streams.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

// run runs the command and returns the exit code.
func run(ctx context.Context, args []string, std streams) int {
	root := newRoot(std)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	var no negative
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &no):
		if !errors.Is(err, errSaid) {
			fmt.Fprintf(std.err, "claudeaudit: %s\n", printable(err.Error()))
		}
		return exitNegative
	default:
		fmt.Fprintf(std.err, "claudeaudit: %s\n", printable(err.Error()))
		return exitFailed
	}
}

// app is what the subcommands share.
type app struct {
	streams
	where location
}

func newRoot(std streams) *cobra.Command {
	a := &app{streams: std}
	root := &cobra.Command{
		Use:   "claudeaudit",
		Short: "Search, verify and administer the audit trail of Claude",
		Long: `Search, verify and administer the audit trail of Claude.

Ledger, index and keys are found in the data folder (--data, default
$CLAUDEAUDIT_DATA or ./audit-data), or where a collector configuration has
them (--config).

Exit codes: 0 yes or done; 1 no (not found, evidence is bad); 2 wrong usage, or
something failed and there is no answer.`,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetIn(std.in)
	root.SetOut(std.out)
	root.SetErr(std.err)
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return fmt.Errorf("%w (see %s --help)", err, c.CommandPath())
	})
	a.where.flags(root)
	root.AddCommand(
		a.newSearch(), a.newShow(), a.newVerify(), a.newProve(), a.newRetention(), a.newWitness(), a.newHold(), a.newSubject(), a.newSession(), a.newExport(), a.newPrune(), a.newHash(), a.newKeygen(), a.newReindex(),
		a.newClassify(), a.newRules(),
	)
	return root
}
