package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/claudeaudit/claudeaudit/internal/audit"
	"github.com/claudeaudit/claudeaudit/internal/terminated"
)

func (a *app) newSession() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "session",
		Short: "List the sessions that a policy has terminated, and lift a termination",
		Long: `List the sessions that a policy of the gateway has terminated, and lift a
termination before it expires. They are in the folder policy of the data folder, or
in policy::directory of the configuration's claude_gateway.`,
		Args: cobra.NoArgs,
	}
	cmd.AddCommand(a.newSessionList(), a.newSessionLift())
	return cmd
}

// terminatedIn is the folder of terminated sessions.
func (a *app) terminatedIn(ctx context.Context) (string, places, error) {
	p, err := a.where.find(ctx)
	if err == nil && p.policy == "" {
		err = errors.New("--config: it has several claude_gateway receivers; name the data folder that has the folder policy with --data")
	}
	return filepath.Join(p.policy, "terminated"), p, err
}

func (a *app) newSessionList() *cobra.Command {
	format := choice{value: formatText, allowed: []string{formatText, formatJSON}}
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the sessions that are terminated",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, _, err := a.terminatedIn(cmd.Context())
			if err != nil {
				return err
			}
			sessions, err := terminated.List(dir, time.Now())
			if err != nil {
				return fmt.Errorf("terminated sessions: %w", err)
			}
			if format.value == formatJSON {
				enc := json.NewEncoder(a.out)
				enc.SetIndent("", "  ")
				return enc.Encode(append([]terminated.Session{}, sessions...))
			}
			var b strings.Builder
			for _, s := range sessions {
				fmt.Fprintf(&b, "%s  since %s until %s by the rule %s\n", printable(s.Session), s.Since.Format(time.RFC3339), s.Until.Format(time.RFC3339), printable(s.Rule))
			}
			if len(sessions) == 0 {
				b.WriteString("no session is terminated\n")
			}
			_, err = io.WriteString(a.out, b.String())
			return err
		},
	}
	addChoice(cmd, &format, "format", "output format")
	return cmd
}

func (a *app) newSessionLift() *cobra.Command {
	var by, reason string
	cmd := &cobra.Command{
		Use:   "lift SESSION",
		Short: "Lift the termination of a session",
		Long: `Lift the termination of a session: its next call is decided as any other. Who
lifted it and why is an entry in the log of holds and erasures, made before it is
lifted.`,
		Example: `  claudeaudit session lift 3a7d26c9-d173-4951-8879-e477cabb037e --by ops@example.org --reason "a false alarm"`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if by == "" || reason == "" {
				return errors.New("--by and --reason must be given")
			}
			return a.sessionLift(cmd.Context(), args[0], by, reason)
		},
	}
	cmd.Flags().StringVar(&by, "by", "", "`person` who lifts it")
	cmd.Flags().StringVar(&reason, "reason", "", "`text` that says why")
	return cmd
}

func (a *app) sessionLift(ctx context.Context, session, by, reason string) (err error) {
	dir, p, err := a.terminatedIn(ctx)
	if err != nil {
		return err
	}
	found, err := terminated.Find(dir, session, time.Now())
	if errors.Is(err, terminated.ErrNotTerminated) {
		return negative{err}
	}
	if err != nil {
		return err
	}
	admin, err := openAdmin(ctx, p)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, admin.close()) }()
	details := map[string]string{"session": session, "by": by, "reason": reason, "rule": found.Rule}
	if !found.Until.IsZero() {
		details["until"] = found.Until.Format(time.RFC3339)
	}
	if err := admin.note(ctx, opSessionLift, audit.StatusInitiated, details); err != nil {
		return err
	}
	if err := terminated.Lift(dir, session); err != nil {
		return errors.Join(err, admin.note(ctx, opSessionLift, audit.StatusError, details))
	}
	if err := admin.note(ctx, opSessionLift, audit.StatusSuccess, details); err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.out, "session %s is no longer terminated\n", printable(session))
	return err
}
