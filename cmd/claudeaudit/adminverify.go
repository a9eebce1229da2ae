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
	"github.com/claudeaudit/claudeaudit/internal/index"
	"github.com/claudeaudit/claudeaudit/internal/ledger"
)

// adminLog is the log of holds and erasures as a verification finds it, and what
// it says that the verification of the ledger needs.
type adminLog struct {
	path     string         // folder or URL
	remote   bool           // path is a URL
	report   *ledger.Report // nil where there is no such log
	from     []string       // where its public keys are
	why      string         // why nothing it says of removed entries counts
	removals []ledger.Removal
	events   index.Erased // that an index has in erased form
	erased   bool         // keys of a person's content were destroyed
}

// adminReport is what verify shows of it.
type adminReport struct {
	Path       string         `json:"path"`
	Integrity  ledger.Verdict `json:"integrity"`
	Entries    uint64         `json:"entries"`
	PublicKeys []string       `json:"public_keys_from"`
}

// verifyAdmin verifies the log of holds and erasures, where there is one.
func (e *evidence) verifyAdmin(ctx context.Context, o verifyOptions) (l *adminLog, err error) {
	l = &adminLog{}
	opts, done, err := e.adminEvidence(ctx, o, l)
	defer func() { err = errors.Join(err, done()) }()
	if err != nil {
		return nil, fmt.Errorf("log of holds and erasures: %w", err)
	}
	if l.why != "" {
		return l, nil
	}
	type said struct {
		stream string
		ledger.Removal
	}
	var removed []said
	opts.ContentEvery = -1
	opts.OnEntry = func(stream string, seq uint64, line []byte) error {
		rec, err := audit.ParseRecord(line)
		if err != nil {
			return nil // of a later version; what this one writes it can read
		}
		switch rec.Operation {
		case opPruneLog:
			if rm, ok := removalOf(&rec); ok {
				removed = append(removed, said{stream, rm})
			}
		case opErase:
			l.erased = l.erased || rec.Status == audit.StatusSuccess
		}
		if err := l.events.Take(&rec); err != nil {
			return fmt.Errorf("entry %d of %s: %w", seq, stream, err)
		}
		return nil
	}
	rep, err := ledger.Verify(ctx, opts)
	switch {
	case errors.Is(err, ledger.ErrNoLedger):
		l.why = "the log of holds and erasures is not there"
		return l, nil
	case err != nil:
		return nil, fmt.Errorf("log of holds and erasures: %w", err)
	}
	l.report = rep
	switch rep.Integrity {
	case ledger.Intact:
	case ledger.Bad:
		l.why = "the log of holds and erasures does not verify: " + rep.Problems[0].String()
		return l, nil
	default:
		l.why = "the log of holds and erasures could not be verified: name its public key with --admin-key"
		return l, nil
	}
	for _, r := range removed {
		i := slices.IndexFunc(rep.Streams, func(s ledger.StreamReport) bool { return s.Origin == r.stream })
		r.Key = rep.Streams[i].VerifierKey
		l.removals = append(l.removals, r.Removal)
	}
	return l, nil
}

// bad says whether the log is there and was tampered with.
func (l *adminLog) bad() bool { return l.report != nil && l.report.Integrity == ledger.Bad }

// removalOf reads an entry's details.
func removalOf(rec *audit.Record) (rm ledger.Removal, ok bool) {
	d := rec.DetailValues()
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

// adminEvidence is what the log of holds and erasures is verified with; done
// closes what was opened for it.
func (e *evidence) adminEvidence(ctx context.Context, o verifyOptions, l *adminLog) (opts ledger.VerifyOptions, done func() error, err error) {
	own := &evidence{}
	done = own.close
	at := o.admin
	if at == "" {
		if e.at.admin == "" {
			l.why = "nothing says where the log of holds and erasures is: name it with --admin"
			return opts, done, nil
		}
		at = adminPlaces(e.at).ledger
	}
	if l.remote = strings.Contains(at, "://"); l.remote {
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
		switch _, err := os.Stat(at); {
		case errors.Is(err, fs.ErrNotExist) && o.admin == "":
			l.why = "the log of holds and erasures is not there: " + at
			return opts, done, nil
		case err != nil:
			return opts, done, err
		}
	}
	own.dir, l.path = at, at
	p := placesBeside(at, "")
	if l.remote {
		p = places{}
	}
	if len(o.adminKeys) > 0 || p.keys != "" {
		if err := own.findKeys(verifyOptions{publicKeys: o.adminKeys}, p); err != nil {
			return opts, done, err
		}
	}
	l.from = own.keysFrom
	for _, w := range p.witness {
		if _, err := os.Stat(w); err == nil {
			own.witnesses = append(own.witnesses, w)
		}
	}
	return own.options(), done, nil
}

// explain adds what was found of the log of holds and erasures to a ledger's report.
func (l *adminLog) explain(r *report) {
	if l.why != "" {
		for i := range r.Problems {
			if p := &r.Problems[i]; p.Kind == ledger.KindPruned {
				p.Detail += ": " + l.why
			}
		}
	}
	for _, s := range r.Streams {
		if s.Pruned > 0 {
			r.RemovalsFrom = l.from
		}
	}
	if l.report == nil {
		return
	}
	r.Admin = &adminReport{Path: l.path, Integrity: l.report.Integrity, Entries: l.report.Entries, PublicKeys: append([]string{}, l.from...)}
	for _, p := range l.report.Problems {
		r.Problems = append(r.Problems, l.place(p))
	}
	r.MoreProblems += l.report.MoreProblems
	switch l.report.Integrity {
	case ledger.Bad:
		r.Integrity = ledger.Bad
	case ledger.Unchecked:
		r.Unchecked = append(r.Unchecked, l.why)
	}
	if l.report.Completeness == ledger.Incomplete {
		r.Completeness = ledger.Incomplete
		for _, n := range l.report.Notes {
			r.Notes = append(r.Notes, l.place(n))
		}
	}
}

// place says of a finding that it is about this log, and where its object lies.
func (l *adminLog) place(p ledger.Problem) ledger.Problem {
	switch stored := strings.HasPrefix(p.Object, "v1/"); {
	case stored && l.remote:
		p.Object = strings.TrimSuffix(l.path, "/") + "/" + p.Object
	case stored:
		p.Object = filepath.Join(l.path, "store", p.Object)
	case strings.HasPrefix(p.Object, "wal/"):
		p.Object = filepath.Join(l.path, p.Object)
	}
	p.Detail = "log of holds and erasures: " + p.Detail
	return p
}
