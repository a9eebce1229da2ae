//go:build unix

package sqlite

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/claudeaudit/claudeaudit/internal/index"
)

// Lock is held by the one process that writes the database at a path. It is
// released by Unlock or the end of the process.
type Lock struct{ f *os.File }

// TryLock takes the lock of the database at path, or returns index.ErrLocked.
// The lock is a file beside the database, because the database itself is
// replaced by a rebuild.
func TryLock(path string) (*Lock, error) {
	f, err := os.OpenFile(path+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the index's lock: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close() // nothing was written
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("%w: %s", index.ErrLocked, path)
		}
		return nil, fmt.Errorf("locking the index: %w", err)
	}
	return &Lock{f: f}, nil
}

// Unlock releases the lock. The file stays: removing it would let two
// processes hold locks on two files of one name.
func (l *Lock) Unlock() error {
	return l.f.Close()
}
