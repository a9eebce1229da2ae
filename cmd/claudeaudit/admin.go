package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/claudeaudit/claudeaudit/internal/audit"
	"github.com/claudeaudit/claudeaudit/internal/ledger"
	"github.com/claudeaudit/claudeaudit/internal/seal"
)

// Operations of the entries about the trail itself.
const (
	opHoldAdd     = "hold.add"
	opHoldApply   = "hold.apply"
	opHoldRemove  = "hold.remove"
	opErase       = "subject.erase"
	opExport      = "subject.export"
	opPrune       = "prune"
	opPruneLog    = "prune.log"
	opSessionLift = "session.lift"
)

// adminLedger is the log of what was done to the trail: holds, erasures,
// exports, terminations that were lifted. It is a ledger of its own, because a ledger has one writer and the
// collector is that of the calls'.
type adminLedger struct {
	log     *ledger.Log
	key     *seal.CheckpointKey
	witness *ledger.FileWitness
}

// adminPlaces are those of a data folder of its own.
func adminPlaces(p places) places {
	return placesBeside(filepath.Join(p.admin, "ledger"), filepath.Join(p.admin, "index", "audit.db"))
}

// openAdmin opens the log to write, and makes it with its key at the first time.
func openAdmin(ctx context.Context, p places) (*adminLedger, error) {
	own := adminPlaces(p)
	key, _, err := seal.EnsureCheckpointKey(filepath.Join(own.keys, "checkpoint.key"), filepath.Join(own.keys, "checkpoint.pub"), "claudeaudit-admin")
	if err != nil {
		return nil, err
	}
	w, err := ledger.NewFileWitness(own.witness[0])
	if err != nil {
		return nil, err
	}
	l, err := ledger.Open(ctx, ledger.Options{Dir: own.ledger, Signer: key.Signer, VerifierKey: key.VerifierKey, Witnesses: []ledger.Witness{w}})
	if errors.Is(err, ledger.ErrLocked) {
		return nil, errors.Join(errors.New("another claudeaudit command writes the log of holds and erasures; try again"), w.Close())
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("log of holds and erasures: %w", err), w.Close())
	}
	return &adminLedger{l, key, w}, nil
}

// note appends an entry, durable when it returns.
func (a *adminLedger) note(ctx context.Context, operation, status string, details map[string]string) error {
	r := audit.Record{EventID: uuid.New(), Kind: audit.KindSystem, Timestamp: time.Now().UTC(), Status: status, Operation: operation}
	told := map[string]string{}
	for name, value := range details {
		if len(value) > audit.MaxField {
			return fmt.Errorf("%s: must not have more than %d bytes", name, audit.MaxField)
		}
		if value != "" {
			told[name] = value
		}
	}
	r.Details = audit.DetailsOf(told)
	sum := sha256.Sum256(r.AppendJSON(nil))
	r.Source.Digest = hex.EncodeToString(sum[:16])
	r.Complete()
	e := ledger.Entry{ID: r.EventID, Time: r.Timestamp, Body: &r}
	copy(e.Digest[:], sum[:])
	if _, err := a.log.Append(ctx, []ledger.Entry{e}); err != nil {
		return fmt.Errorf("log of holds and erasures: %w", err)
	}
	return nil
}

// close seals what was written.
func (a *adminLedger) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	return errors.Join(a.log.Close(ctx), a.witness.Close())
}

// adminEntries calls fn with the entries of the log of holds and erasures, the
// oldest first. One that isn't there has none.
func adminEntries(ctx context.Context, p places, fn func(r *audit.Record, details map[string]string) error) (err error) {
	r, err := ledger.OpenReader(adminPlaces(p).ledger)
	if errors.Is(err, ledger.ErrNoLedger) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("log of holds and erasures: %w", err)
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	return r.All(ctx, func(p ledger.Place, line []byte) error {
		rec, err := audit.ParseRecord(line)
		if err != nil {
			return fmt.Errorf("log of holds and erasures: entry %d of %s: %w", p.Seq, p.Stream, err)
		}
		return fn(&rec, rec.DetailValues())
	})
}

// twoApprovers wants two persons who are neither each other nor the requester.
func twoApprovers(approvers []string, requester string) error {
	if len(approvers) != 2 {
		return errors.New("--approver: name two persons who approved, one each time")
	}
	seen := map[string]bool{}
	for _, n := range append([]string{requester}, approvers...) {
		n = strings.ToLower(strings.TrimSpace(n))
		if n == "" {
			return errors.New("the one who asks and --approver must not be empty")
		}
		if seen[n] {
			return errors.New("--approver: two different persons, and neither may be who asks")
		}
		seen[n] = true
	}
	return nil
}
