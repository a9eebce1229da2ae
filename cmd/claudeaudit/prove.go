package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/claudeaudit/claudeaudit/internal/audit"
	"github.com/claudeaudit/claudeaudit/internal/ledger"
)

// proofStart is the first line of a C2SP tlog-proof. No other line of one can
// be the same, so a file may hold several.
const proofStart = "c2sp.org/tlog-proof@v1\n"

// maxProofFile bounds what is read of a proof file.
const maxProofFile = 256 << 20

func (a *app) newProve() *cobra.Command {
	var output string
	var revision int64
	cmd := &cobra.Command{
		Use:   "prove EVENT_ID",
		Short: "Prove that a record's entries are in the ledger",
		Long: `Write a proof that the entries of a call are in the ledger: for each entry, in
the order they were observed, a C2SP tlog-proof with the entry itself, the
hashes between it and the root, and the signed checkpoint.

Who holds the proof and the public key needs neither the ledger nor this
machine: "claudeaudit verify --proof FILE --public-key checkpoint.pub".

Exit codes: 1 there is no such event; 2 also when no checkpoint covers the
entry yet, which takes seconds while the collector runs.`,
		Example:           `  claudeaudit prove 6f1c2a34-8a1b-8c3d-9e4f-5a6b7c8d9e0f --output event.proof`,
		Args:              exactlyOne("EVENT_ID"),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			event, err := parseEvent(args[0])
			if err != nil {
				return err
			}
			if revision < 0 {
				return errors.New("--revision: must be 1 or greater")
			}
			return a.prove(cmd.Context(), event, revision, output)
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "", "`file` to write the proof to, instead of standard output")
	cmd.Flags().Int64Var(&revision, "revision", 0, "prove the entry of this `revision` alone")
	complete(cmd.RegisterFlagCompletionFunc("revision", cobra.NoFileCompletions))
	return cmd
}

func (a *app) prove(ctx context.Context, event uuid.UUID, revision int64, output string) (err error) {
	p, l, err := a.where.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	places, err := findEntries(ctx, p, l.Reader, event)
	if err != nil {
		return err
	}
	var proofs []byte
	removed := 0
	for _, at := range places {
		line, err := l.Entry(ctx, at.Stream, at.Seq)
		if errors.Is(err, ledger.ErrPruned) {
			removed++ // the index has it still
			continue
		}
		if err != nil {
			return err
		}
		if revision > 0 {
			if rec, err := audit.ParseRecord(line); err != nil || rec.Revision != revision {
				continue
			}
		}
		proof, err := ledger.Prove(ctx, l.Reader, at.Stream, at.Seq)
		if err != nil {
			return err
		}
		proofs = append(proofs, proof...)
	}
	switch {
	case removed > 0 && removed == len(places):
		return negative{fmt.Errorf("the entries of event %s were %w", event, ledger.ErrPruned)}
	case len(places) == 0:
		return negative{fmt.Errorf("no such event in the ledger: %s", event)}
	case len(proofs) == 0:
		return negative{fmt.Errorf("event %s has no entry of revision %d", event, revision)}
	}
	if output != "" {
		if err := os.WriteFile(output, proofs, 0o644); err != nil {
			return fmt.Errorf("--output: %w", err)
		}
		return nil
	}
	_, err = a.out.Write(proofs)
	return err
}

// findEntries asks the index where the entries of an event are, and looks
// through the ledger when the index doesn't know all.
func findEntries(ctx context.Context, p places, l *ledger.Reader, event uuid.UUID) ([]ledger.Place, error) {
	if found, ok := findInIndex(ctx, p, l, event); ok {
		return found, nil
	}
	return l.FindEvent(ctx, event.String())
}

func findInIndex(ctx context.Context, p places, l *ledger.Reader, event uuid.UUID) (found []ledger.Place, ok bool) {
	r, err := openIndex(ctx, p)
	if err != nil {
		return nil, false
	}
	defer func() { _ = r.Close() }() // only read
	if lag, err := behind(ctx, l, r); err != nil || lag > 0 {
		return nil, false
	}
	record, err := r.Get(ctx, event)
	if err != nil {
		return nil, false
	}
	for _, e := range record.Entries {
		found = append(found, ledger.Place{Stream: e.Stream, Seq: e.Seq})
	}
	return found, true
}

// provenEntry is a checked proof, as --format json shows it.
type provenEntry struct {
	Stream         string          `json:"stream"`
	Seq            uint64          `json:"seq"`
	CheckpointSize uint64          `json:"checkpoint_size"`
	VerifierKey    string          `json:"verifier_key"`
	Entry          json.RawMessage `json:"entry"`
}

// verifyProof checks the proofs of a file. None of them may be wrong.
func (a *app) verifyProof(ctx context.Context, o verifyOptions) error {
	keys, _, err := a.proofKeys(ctx, o)
	if err != nil {
		return err
	}
	if len(keys) == 0 {
		return errors.New("the proof could not be checked: name the public key with --public-key")
	}
	b, err := readProofFile(a.in, o.proof)
	if err != nil {
		return fmt.Errorf("--proof: %w", err)
	}
	var proven []provenEntry
	for i, text := range splitProofs(b) {
		p, err := ledger.CheckProof(text, keys...)
		if errors.Is(err, ledger.ErrProof) {
			return negative{fmt.Errorf("proof %d: %w", i+1, err)}
		}
		if err != nil {
			return err
		}
		proven = append(proven, provenEntry{p.Checkpoint.Origin, p.Seq, p.Checkpoint.Size, p.VerifierKey, p.Line})
	}
	if o.format == formatJSON {
		enc := json.NewEncoder(a.out)
		enc.SetEscapeHTML(false)
		return enc.Encode(proven)
	}
	var out strings.Builder
	for _, p := range proven {
		fmt.Fprintf(&out, "proven: entry %d of %s is in the log of %d entries that this key signed: %s\n%s\n",
			p.Seq, printable(p.Stream), p.CheckpointSize, printable(p.VerifierKey), printable(string(p.Entry)))
	}
	_, err = io.WriteString(a.out, out.String())
	return err
}

// proofKeys are those of the command line, or of the data folder when it has
// any.
func (a *app) proofKeys(ctx context.Context, o verifyOptions) (keys, from []string, err error) {
	if len(o.publicKeys) > 0 {
		return loadPublicKeys(o.publicKeys)
	}
	p, err := a.where.find(ctx)
	if err != nil {
		return nil, nil, err
	}
	var e evidence
	err = e.findKeys(o, p)
	return e.keys, e.keysFrom, err
}

func readProofFile(stdin io.Reader, name string) ([]byte, error) {
	in := stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer func() { _ = f.Close() }() // only read
		in = f
	}
	b, err := io.ReadAll(io.LimitReader(in, maxProofFile+1))
	if err != nil {
		return nil, err
	}
	if len(b) > maxProofFile {
		return nil, fmt.Errorf("the file is larger than %d bytes", maxProofFile)
	}
	return b, nil
}

// splitProofs splits at the first lines of proofs. There is at least one part,
// which may be no proof.
func splitProofs(b []byte) [][]byte {
	var parts [][]byte
	for {
		next := bytes.Index(b[min(1, len(b)):], []byte("\n"+proofStart))
		if next < 0 {
			return append(parts, b)
		}
		cut := min(1, len(b)) + next + 1
		parts = append(parts, b[:cut])
		b = b[cut:]
	}
}
