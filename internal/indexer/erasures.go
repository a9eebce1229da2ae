package indexer

import (
	"context"
	"errors"
	"path/filepath"
	"time"

	"github.com/claudeaudit/claudeaudit/internal/index"
	"github.com/claudeaudit/claudeaudit/internal/ledger"
)

// AdminFolder is the folder of the log of holds and erasures where none is
// named: it stands beside the ledger.
func AdminFolder(ledgerDir string) string {
	return filepath.Join(filepath.Dir(filepath.Clean(ledgerDir)), "admin")
}

// Erasures is the log of holds and erasures in a folder. It has no streams as
// long as nobody made it: that is done with the first hold or erasure.
type Erasures struct {
	dir string
	r   *ledger.Reader
}

var _ index.Ledger = (*Erasures)(nil)

// OpenErasures opens the log in the data folder admin.
func OpenErasures(admin string) *Erasures {
	return &Erasures{dir: filepath.Join(admin, "ledger")}
}

// Streams implements index.Ledger.
func (e *Erasures) Streams() ([]string, error) {
	if e.r == nil {
		r, err := ledger.OpenReader(e.dir)
		if errors.Is(err, ledger.ErrNoLedger) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		e.r = r
	}
	return e.r.Streams()
}

// Size implements index.Ledger. It is asked of streams that Streams named.
func (e *Erasures) Size(ctx context.Context, stream string) (uint64, error) {
	return e.r.Size(ctx, stream)
}

// First implements index.Ledger. It is asked of streams that Streams named.
func (e *Erasures) First(ctx context.Context, stream string) (uint64, time.Time, error) {
	return e.r.First(ctx, stream)
}

// Entries implements index.Ledger. It is asked of streams that Streams named.
func (e *Erasures) Entries(ctx context.Context, stream string, from uint64, fn func(seq uint64, line []byte) error) error {
	return e.r.Entries(ctx, stream, from, fn)
}

// Close closes what was opened.
func (e *Erasures) Close() error {
	if e.r == nil {
		return nil
	}
	return e.r.Close()
}
