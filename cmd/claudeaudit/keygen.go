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
	"github.com/claudeaudit/claudeaudit/internal/witness"
)

const (
	keysCheckpoint = "checkpoint"
	keysContent    = "content"
	keysWriter     = "writer"
	keysReader     = "reader"
	keysWitness    = "witness"
	keysRecovery   = "recovery"
	keysAll        = "all"
)

// keyPair is a pair of key files, the secret one first.
type keyPair struct {
	kind, secret, public string
}

// Sets of keys, each for the machine that needs it.
var (
	checkpointPair = keyPair{keysCheckpoint, "checkpoint.key", "checkpoint.pub"}
	contentPair    = keyPair{keysContent, "content.identity", "content.pub"}
	recoveryPair   = keyPair{keysRecovery, "recovery.identity", "recovery.pub"}
	witnessPair    = keyPair{keysWitness, "witness.key", "witness.pub"}
	keySets        = map[string][]keyPair{
		keysAll: {checkpointPair, contentPair}, keysCheckpoint: {checkpointPair}, keysContent: {contentPair},
		keysWriter: {checkpointPair}, keysReader: {contentPair}, keysWitness: {witnessPair, checkpointPair}, keysRecovery: {recoveryPair},
	}
)

func (a *app) newKeygen() *cobra.Command {
	var dir, name string
	which := choice{value: keysAll, allowed: []string{keysAll, keysCheckpoint, keysContent, keysWriter, keysReader, keysRecovery, keysWitness}}
	cmd := &cobra.Command{
		Use:   "keygen",
		Short: "Make the keys of a ledger",
		Long: `Make the keys of a ledger in a folder, by default keys in the data folder:

  checkpoint.key    signs the ledger's checkpoints; the collector needs it (0600)
  checkpoint.pub    verifies them; give it to whoever verifies
  content.identity  opens encrypted content; keep it away from the collector (0600)
  content.pub       encrypts content; the collector needs it
  witness.key       cosigns checkpoints; "claudeaudit witness" needs it (0600)
  witness.pub       verifies cosignatures; give it to whoever verifies, and to the collector

Elsewhere than on a single machine, make each set where it is needed, and carry
the public halves over:

  --only writer     on the collector: checkpoint.key, checkpoint.pub
  --only reader     where content may be read: content.identity, content.pub
  --only recovery   offline: recovery.identity, recovery.pub, which subjects' keys
                    are wrapped to as well
  --only witness    on the witness: witness.key, witness.pub, and a checkpoint
                    key of its own for the log of what it cosigned

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
	set := keySets[which]
	// All or nothing: a second pair beside a first would be of no use.
	for _, p := range set {
		for _, f := range []string{p.secret, p.public} {
			path := filepath.Join(dir, f)
			if _, err := os.Lstat(path); err == nil {
				return fmt.Errorf("%s is there already, and keys are never overwritten (--only makes another kind)", path)
			} else if !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("making the folder: %w", err)
	}
	for _, p := range set {
		if err := a.makePair(p, dir, name); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) makePair(p keyPair, dir, name string) error {
	secret, public := filepath.Join(dir, p.secret), filepath.Join(dir, p.public)
	var says, text string
	switch p.kind {
	case keysCheckpoint:
		k, err := seal.GenerateCheckpointKey(name)
		if err != nil {
			return fmt.Errorf("--name: %w", err)
		}
		if err := seal.WriteCheckpointKey(k, secret, public); err != nil {
			return err
		}
		says, text = "signs checkpoints (secret)", k.VerifierKey
	case keysContent, keysRecovery:
		id, err := seal.GenerateIdentity()
		if err != nil {
			return err
		}
		if err := seal.WriteContentKeys(id, secret, public); err != nil {
			return err
		}
		says, text = "opens content (secret; keep it away from the collector)", id.Recipient().String()
	case keysWitness:
		s, err := witness.GenerateSigner(name)
		if err != nil {
			return fmt.Errorf("--name: %w", err)
		}
		if err := seal.WriteCosigner(s, secret, public); err != nil {
			return err
		}
		says, text = "cosigns checkpoints (secret; keep it away from the collector)", s.Verifier.String()
	}
	_, err := fmt.Fprintf(a.out, "%s  %s\n%s  %s\n", secret, says, public, text)
	return err
}
