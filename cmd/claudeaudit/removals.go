package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/claudeaudit/claudeaudit/internal/audit"
	"github.com/claudeaudit/claudeaudit/internal/ledger"
)

// removals is what the log of holds and erasures says of removed entries.
type removals struct {
	all  []ledger.Removal // none unless that log verifies
	from []string         // where its public keys are
	why  string           // why nothing it says counts
}

// removals reads and verifies the log of holds and erasures, if entries of the
// ledger were removed.
func (e *evidence) removals(ctx context.Context, o verifyOptions) (r removals, err error) {
	pruned, err := e.pruned(ctx)
	if err != nil || !pruned {
		return r, err
	}
	opts, done, err := e.adminEvidence(ctx, o, &r)
	if err != nil {
		return r, fmt.Errorf("log of holds and erasures: %w", err)
	}
	defer func() { err = errors.Join(err, done()) }()
	if r.why != "" {
		return r, nil
	}
	type said struct {
		stream string
		ledger.Removal
	}
	var found []said
	opts.ContentEvery = -1
	opts.OnEntry = func(stream string, _ uint64, line []byte) error {
		rec, err := audit.ParseRecord(line)
		if err != nil || rec.Operation != opPruneLog {
			return nil
		}
		if rm, ok := removalOf(&rec); ok {
			found = append(found, said{stream, rm})
		}
		return nil
	}
	rep, err := ledger.Verify(ctx, opts)
	switch {
	case errors.Is(err, ledger.ErrNoLedger):
		r.why = "the log of holds and erasures is not there"
		return r, nil
	case err != nil:
		return r, fmt.Errorf("log of holds and erasures: %w", err)
	case rep.Integrity == ledger.Bad:
		r.why = "the log of holds and erasures does not verify: " + rep.Problems[0].String()
		return r, nil
	case rep.Integrity != ledger.Intact:
		r.why = "the log of holds and erasures could not be verified: name its public key with --admin-key"
		return r, nil
	}
	for _, f := range found {
		i := slices.IndexFunc(rep.Streams, func(s ledger.StreamReport) bool { return s.Origin == f.stream })
		f.Key = rep.Streams[i].VerifierKey
		r.all = append(r.all, f.Removal)
	}
	return r, nil
}

// removalOf reads an entry's details.
func removalOf(rec *audit.Record) (rm ledger.Removal, ok bool) {
	d := map[string]string{}
	for _, x := range rec.Details {
		d[x.Name] = x.Value
	}
	var err error
	if rm.Size, err = strconv.ParseUint(d["size"], 10, 64); err != nil {
		return rm, false
	}
	rm.Origin = d["stream"]
	for _, f := range []struct {
		to   *ledger.Hash
		text string
	}{{&rm.Root, d["root"]}, {&rm.Note, d["note_sha256"]}} {
		b, err := hex.DecodeString(f.text)
		if err != nil || len(b) != len(f.to) {
			return rm, false
		}
		copy(f.to[:], b)
	}
	return rm, true
}

// pruned says whether any stream says that entries were removed.
func (e *evidence) pruned(ctx context.Context) (pruned bool, err error) {
	r, err := e.reader()
	if errors.Is(err, ledger.ErrNoLedger) {
		return false, nil // the verification says it
	}
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	streams, err := r.Streams()
	if err != nil {
		return false, err
	}
	for _, s := range streams {
		// A note that can't be read is the verifier's business.
		if p, err := r.Pruned(ctx, s); err != nil || p.Size > 0 {
			return true, nil
		}
	}
	return false, nil
}

// adminEvidence is what the log of holds and erasures is verified with; done
// closes what was opened for it.
func (e *evidence) adminEvidence(ctx context.Context, o verifyOptions, r *removals) (opts ledger.VerifyOptions, done func() error, err error) {
	own := &evidence{}
	done = own.close
	at := o.admin
	if at == "" {
		if e.at.admin == "" {
			r.why = "nothing says where the log of holds and erasures is: name it with --admin"
			return opts, done, nil
		}
		at = adminPlaces(e.at).ledger
	}
	if strings.Contains(at, "://") {
		if own.store, err = openStores(ctx, ledger.Location{Store: at}); err != nil {
			return opts, done, err
		}
	} else {
		// Its data folder, its ledger's, or the store's.
		if st, err := os.Stat(filepath.Join(at, "ledger")); err == nil && st.IsDir() {
			at = filepath.Join(at, "ledger")
		}
		if filepath.Base(at) == "store" {
			at = filepath.Dir(at)
		}
		if _, err := os.Stat(at); errors.Is(err, fs.ErrNotExist) {
			r.why = "the log of holds and erasures is not there: " + at
			return opts, done, nil
		}
	}
	own.dir = at
	p := placesBeside(at, "")
	if own.store != nil {
		p = places{}
	}
	if len(o.adminKeys) > 0 || p.keys != "" {
		if err := own.findKeys(verifyOptions{publicKeys: o.adminKeys}, p); err != nil {
			return opts, done, err
		}
	}
	r.from = own.keysFrom
	for _, w := range p.witness {
		if _, err := os.Stat(w); err == nil {
			own.witnesses = append(own.witnesses, w)
		}
	}
	return own.options(), done, nil
}

// explain adds to a report why nothing that was removed is backed.
func (r *removals) explain(rep *ledger.Report) {
	if r.why == "" {
		return
	}
	for i := range rep.Problems {
		if p := &rep.Problems[i]; p.Kind == ledger.KindPruned {
			p.Detail += ": " + r.why
		}
	}
}
