package ledger

import (
	"os"

	"golang.org/x/sys/unix"
)

// syncData makes a file's bytes and length durable.
func syncData(f *os.File) error {
	for {
		if err := unix.Fdatasync(int(f.Fd())); err != unix.EINTR {
			return err
		}
	}
}

// dropCache asks that what is read next comes from the disk.
func dropCache(f *os.File) error {
	return unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
}
