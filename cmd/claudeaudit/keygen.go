package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/claudeaudit/claudeaudit/internal/seal"
)

const (
	keysCheckpoint = "checkpoint"
	keysContent    = "content"
	keysAll        = "all"
)

func (a *app) newKeygen() *cobra.Command {
	var dir, name string
	which := choice{value: keysAll, allowed: []string{keysAll, keysCheckpoint, keysContent}}
	cmd := &cobra.Command{
		Use:   "keygen",
		Short: "Make the keys of a ledger",
		Long: `Make the keys of a ledger in a folder, by default keys in the data folder:

  checkpoint.key    signs the ledger's checkpoints; the collector needs it (0600)
  checkpoint.pub    verifies them; give it to whoever verifies
  content.identity  opens encrypted content; keep it away from the collector (0600)
  content.pub       encrypts content; the collector needs it

A key that is there is never overwritten.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.keygen(cmd.Context(), dir, name, which.value)
		},
	}
	f := cmd.Flags()
	f.StringVar(&dir, "dir", "", "`folder` to make the keys in")
	f.StringVar(&name, "name", "claudeaudit", "`name` of the checkpoint key, shown in checkpoints")
	addChoice(cmd, &which, "only", "which keys to make")
	complete(cmd.MarkFlagDirname("dir"))
	complete(cmd.RegisterFlagCompletionFunc("name", cobra.NoFileCompletions))
	return cmd
}

func (a *app) keygen(ctx context.Context, dir, name, which string) error {
	if dir == "" {
		p, err := a.where.find(ctx)
		if err != nil {
			return err
		}
		dir = p.keys
	}
	wanted := map[string][2]string{}
	if which != keysContent {
		wanted[keysCheckpoint] = [2]string{"checkpoint.key", "checkpoint.pub"}
	}
	if which != keysCheckpoint {
		wanted[keysContent] = [2]string{"content.identity", "content.pub"}
	}
	// All or nothing: a second pair beside a first would be of no use.
	for kind, files := range wanted {
		for i, f := range files {
			files[i] = filepath.Join(dir, f)
			if _, err := os.Lstat(files[i]); err == nil {
				return fmt.Errorf("%s is there already, and keys are never overwritten (--only makes the other kind)", files[i])
			} else if !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
		wanted[kind] = files
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("making the folder: %w", err)
	}
	if files, ok := wanted[keysCheckpoint]; ok {
		k, err := seal.GenerateCheckpointKey(name)
		if err != nil {
			return fmt.Errorf("--name: %w", err)
		}
		if err := seal.WriteCheckpointKey(k, files[0], files[1]); err != nil {
			return err
		}
		fmt.Fprintf(a.out, "%s  signs checkpoints (secret)\n%s  %s\n", files[0], files[1], k.VerifierKey)
	}
	if files, ok := wanted[keysContent]; ok {
		id, err := seal.GenerateIdentity()
		if err != nil {
			return err
		}
		if err := seal.WriteContentKeys(id, files[0], files[1]); err != nil {
			return err
		}
		fmt.Fprintf(a.out, "%s  opens content (secret; keep it away from the collector)\n%s  %s\n", files[0], files[1], id.Recipient())
	}
	return nil
}
