//go:build !unix

package sqlite

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/claudeaudit/claudeaudit/internal/index"
)

// Lock is held by the one process that writes the database at a path.
type Lock struct {
	f    *os.File
	name string
}

// TryLock takes the lock of the database at path, or returns index.ErrLocked.
// After a crash the file has to be removed by hand.
func TryLock(path string) (*Lock, error) {
	name := path + ".lock"
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		if errors.Is(err, fs.ErrExist) {
			return nil, fmt.Errorf("%w: %s", index.ErrLocked, path)
		}
		return nil, fmt.Errorf("opening the index's lock: %w", err)
	}
	return &Lock{f: f, name: name}, nil
}

// Unlock releases the lock.
func (l *Lock) Unlock() error {
	return errors.Join(l.f.Close(), os.Remove(l.name))
}
