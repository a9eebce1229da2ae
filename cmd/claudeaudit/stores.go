package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/claudeaudit/claudeaudit/internal/bucket"
	"github.com/claudeaudit/claudeaudit/internal/ledger"
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
