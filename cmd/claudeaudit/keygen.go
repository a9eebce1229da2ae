package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/claudeaudit/claudeaudit/internal/kms"
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
	says                 string // of the secret one
}

// use is what a key in a service has to be able to do.
func (p keyPair) use() kms.Use {
	if p.kind == keysContent || p.kind == keysRecovery {
		return kms.Decrypting
	}
	return kms.Signing
}

// Sets of keys, each for the machine that needs it.
var (
	checkpointPair = keyPair{keysCheckpoint, "checkpoint.key", "checkpoint.pub", "signs checkpoints (secret)"}
	contentPair    = keyPair{keysContent, "content.identity", "content.pub", "opens content (secret; keep it away from the collector)"}
	recoveryPair   = keyPair{keysRecovery, "recovery.identity", "recovery.pub", "opens content (secret; keep it away from the collector)"}
	witnessPair    = keyPair{keysWitness, "witness.key", "witness.pub", "cosigns checkpoints (secret; keep it away from the collector)"}
	keySets        = map[string][]keyPair{
		keysAll: {checkpointPair, contentPair}, keysCheckpoint: {checkpointPair}, keysContent: {contentPair},
		keysWriter: {checkpointPair}, keysReader: {contentPair}, keysWitness: {witnessPair, checkpointPair}, keysRecovery: {recoveryPair},
	}
)

func (a *app) newKeygen() *cobra.Command {
	var dir, name string
	var services []string
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

--kms makes no key: the secret half stays in a key management service, the
secret key's file names it there, and the public half is asked for and written.
checkpoint.key and witness.key need an Ed25519 key, content.identity and
recovery.identity an RSA key for decryption with OAEP and SHA-256:

  awskms:///ARN
  gcpkms://projects/P/locations/L/keyRings/R/cryptoKeys/K/cryptoKeyVersions/V
  azurekms://NAME.vault.azure.net/KEY/VERSION       (RSA only)
  hashivault://KEY?mount=transit&version=1          (Vault, OpenBao)

Of a set with two keys, give it twice, in the order above.

A key that is there is never overwritten.`,
		Example: `  claudeaudit keygen --only reader --dir ./reader-keys
  claudeaudit keygen --only writer --kms awskms:///arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab --dir ./writer-keys`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.keygen(cmd.Context(), dir, name, which.value, services)
		},
	}
	f := cmd.Flags()
	f.StringVar(&dir, "dir", "", "`folder` to make the keys in")
	f.StringVar(&name, "name", "claudeaudit", "`name` of the checkpoint key, shown in checkpoints")
	f.StringArrayVar(&services, "kms", nil, "`reference` of a key that stays in a key management service, one for each key")
	addChoice(cmd, &which, "only", "which keys to make")
	complete(cmd.MarkFlagDirname("dir"))
	complete(cmd.RegisterFlagCompletionFunc("name", cobra.NoFileCompletions))
	return cmd
}

func (a *app) keygen(ctx context.Context, dir, name, which string, services []string) error {
	if dir == "" {
		p, err := a.where.find(ctx)
		if err != nil {
			return err
		}
		dir = p.keys
	}
	set := keySets[which]
	if len(services) > 0 && len(services) != len(set) {
		return fmt.Errorf("--kms: --only %s has %d keys, %d are named", which, len(set), len(services))
	}
	for i, ref := range services {
		if err := kms.Check(ref, set[i].use()); err != nil {
			return fmt.Errorf("--kms: %s: %w", set[i].secret, err)
		}
	}
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
	for i, p := range set {
		secret, public := filepath.Join(dir, p.secret), filepath.Join(dir, p.public)
		var text string
		var err error
		says := p.says
		if len(services) > 0 {
			says = "names " + services[i]
			text, err = noteKey(ctx, p, services[i], name, secret, public)
		} else {
			text, err = makeKey(p, name, secret, public)
		}
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(a.out, "%s  %s\n%s  %s\n", secret, says, public, text); err != nil {
			return err
		}
	}
	return nil
}

// makeKey makes a pair and returns the public half's text.
func makeKey(p keyPair, name, secret, public string) (string, error) {
	switch p.kind {
	case keysCheckpoint:
		k, err := seal.GenerateCheckpointKey(name)
		if err != nil {
			return "", fmt.Errorf("--name: %w", err)
		}
		return k.VerifierKey, seal.WriteCheckpointKey(k, secret, public)
	case keysWitness:
		s, err := witness.GenerateSigner(name)
		if err != nil {
			return "", fmt.Errorf("--name: %w", err)
		}
		return s.Verifier.String(), seal.WriteCosigner(s, secret, public)
	}
	id, err := seal.GenerateIdentity()
	if err != nil {
		return "", err
	}
	return id.Recipient().String(), seal.WriteContentKeys(id, secret, public)
}

// noteKey is makeKey of a key that stays in a service.
func noteKey(ctx context.Context, p keyPair, reference, name, secret, public string) (text string, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("--kms: %s: %w", p.secret, err)
		}
	}()
	switch p.kind {
	case keysCheckpoint:
		k, err := seal.MakeServiceCheckpointKey(ctx, reference, name)
		if err != nil {
			return "", err
		}
		return k.VerifierKey, errors.Join(seal.WriteCheckpointKey(k, secret, public), k.Close())
	case keysWitness:
		v, err := seal.WriteServiceCosigner(ctx, reference, name, secret, public)
		if err != nil {
			return "", err
		}
		return v.String(), nil
	}
	id, err := seal.OpenServiceIdentity(ctx, reference)
	if err != nil {
		return "", err
	}
	return id.Recipient().String(), errors.Join(seal.WriteServiceIdentity(id, secret, public), id.Close())
}
