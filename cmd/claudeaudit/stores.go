package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/claudeaudit/claudeaudit/internal/aggregate"
	"github.com/claudeaudit/claudeaudit/internal/audit"
	"github.com/claudeaudit/claudeaudit/internal/bucket"
	"github.com/claudeaudit/claudeaudit/internal/keystore"
	"github.com/claudeaudit/claudeaudit/internal/ledger"
	"github.com/claudeaudit/claudeaudit/internal/seal"
	"github.com/claudeaudit/claudeaudit/internal/witness"
)

// openStores opens the stores of a ledger. Closing them is the caller's.
func openStores(ctx context.Context, loc ledger.Location) (bucket.Store, error) {
	records, err := bucket.Open(ctx, bucket.Config{URL: loc.Store})
	if err != nil {
		return nil, err
	}
	s := &ledger.Stores{Records: records}
	if loc.ContentStore != "" {
		if s.Contents, err = bucket.Open(ctx, bucket.Config{URL: loc.ContentStore}); err != nil {
			return nil, errors.Join(fmt.Errorf("content store: %w", err), records.Close())
		}
	}
	return s, nil
}

// openedLedger is a reader with the stores that were opened for it.
type openedLedger struct {
	*ledger.Reader
	store bucket.Store
}

// Close closes both.
func (l *openedLedger) Close() error {
	err := l.Reader.Close()
	if l.store != nil {
		err = errors.Join(err, l.store.Close())
	}
	return err
}

// openLedger opens a ledger's folder. Of one whose objects are in a bucket the
// entries are read of the copy in the folder, when there is one, and the content
// of the bucket.
func openLedger(ctx context.Context, dir string) (*openedLedger, error) {
	loc, ok, err := ledger.ReadLocation(dir)
	if err != nil {
		return nil, err
	}
	if !ok {
		r, err := ledger.OpenReader(dir)
		if err != nil {
			return nil, err
		}
		return &openedLedger{Reader: r}, nil
	}
	local := filepath.Join(dir, "store")
	_, err = os.Stat(local)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("open ledger: %w", err)
	}
	var s bucket.Store
	if err == nil {
		address := loc.ContentStore
		if address == "" {
			address = loc.Store
		}
		contents, err := bucket.Open(ctx, bucket.Config{URL: address})
		if err != nil {
			return nil, fmt.Errorf("open ledger: content store: %w", err)
		}
		s = &ledger.Stores{Records: bucket.NewLocal(local), Contents: contents}
	} else if s, err = openStores(ctx, loc); err != nil {
		return nil, fmt.Errorf("open ledger: %w", err)
	}
	return &openedLedger{Reader: ledger.NewReader(s, filepath.Join(dir, "wal")), store: s}, nil
}

// open finds the ledger and opens it for reading.
func (l *location) open(ctx context.Context) (places, *openedLedger, error) {
	p, err := l.find(ctx)
	if err != nil {
		return places{}, nil, err
	}
	opened, err := openLedger(ctx, p.ledger)
	return p, opened, err
}

// openHeld finds the ledger and opens it with the store in which locks and holds are set: never a copy.
func (l *location) openHeld(ctx context.Context) (places, *openedLedger, error) {
	p, err := l.find(ctx)
	if err != nil {
		return places{}, nil, err
	}
	loc, ok, err := ledger.ReadLocation(p.ledger)
	if err != nil {
		return places{}, nil, err
	}
	var s bucket.Store = bucket.NewLocal(filepath.Join(p.ledger, "store"))
	if ok {
		if s, err = openStores(ctx, loc); err != nil {
			return places{}, nil, err
		}
	}
	return p, &openedLedger{Reader: ledger.NewReader(s, filepath.Join(p.ledger, "wal")), store: s}, nil
}

// readAggregate reads what a witness cosigned from its own ledger.
func readAggregate(ctx context.Context, path string) (notes ledger.WitnessNotes, err error) {
	var l *openedLedger
	if strings.Contains(path, "://") {
		s, err := bucket.Open(ctx, bucket.Config{URL: path})
		if err != nil {
			return notes, err
		}
		l = &openedLedger{Reader: ledger.NewReader(s, ""), store: s}
	} else if l, err = openLedger(ctx, path); err != nil {
		return notes, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	notes.Name = path
	err = aggregate.Each(ctx, l.Reader, func(c witness.Checkpoint) error {
		if len(notes.Notes) == maxAggregate {
			return fmt.Errorf("it has more than %d checkpoints", maxAggregate)
		}
		notes.Notes = append(notes.Notes, c.Note())
		return nil
	})
	return notes, err
}

// maxAggregate bounds the checkpoints that are held in memory.
const maxAggregate = 4 << 20

// openSubjectKeys opens the store of the subjects' keys.
func openSubjectKeys(ctx context.Context, p places) (bucket.Store, error) {
	s, err := bucket.Open(ctx, bucket.Config{URL: p.subject})
	if err != nil {
		return nil, fmt.Errorf("keys of the subjects: %w", err)
	}
	return s, nil
}

// openedRing is a reader's keys with what was opened for them.
type openedRing struct {
	*keystore.Ring
	closers []io.Closer
}

// Close closes that.
func (r *openedRing) Close() error {
	var errs []error
	for _, c := range r.closers {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

// openRing opens the keys that an identity opens, which is in a file or in a key management service.
func openRing(ctx context.Context, p places, identity string) (*openedRing, error) {
	id, err := seal.OpenIdentity(ctx, identity)
	if err != nil {
		return nil, fmt.Errorf("--identity: %w", err)
	}
	r := &openedRing{}
	if c, ok := id.(io.Closer); ok {
		r.closers = append(r.closers, c)
	}
	keys, err := openSubjectKeys(ctx, p)
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	r.closers = append(r.closers, keys)
	r.Ring = keystore.NewRing(keys, id)
	return r, nil
}

// countShredded makes a verification count the contents whose keys were
// destroyed. The function that it returns gives the number.
func countShredded(ctx context.Context, p places, opts *ledger.VerifyOptions) func() (uint64, error) {
	contents := map[string]uint64{} // by key id
	next := opts.OnEntry
	opts.OnEntry = func(stream string, seq uint64, line []byte) error {
		if r, err := audit.ParseRecord(line); err == nil && r.Content.KeyID != "" {
			for _, sum := range []string{r.Content.PromptSHA256, r.Content.ResponseSHA256} {
				if sum != "" {
					contents[r.Content.KeyID]++
				}
			}
		}
		if next != nil {
			return next(stream, seq, line)
		}
		return nil
	}
	return func() (n uint64, err error) {
		keys, err := openSubjectKeys(ctx, p)
		if err != nil {
			return 0, err
		}
		defer func() { err = errors.Join(err, keys.Close()) }()
		own := ""
		if r, err := seal.LoadWrapper(filepath.Join(p.keys, "content.pub")); err == nil {
			own = r.KeyID()
		}
		for id, count := range contents {
			if id == own {
				continue
			}
			there, err := keystore.Has(ctx, keys, id)
			if err != nil {
				return 0, err
			}
			if !there {
				n += count
			}
		}
		return n, nil
	}
}
