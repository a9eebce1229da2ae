//go:build !linux

package ledger

import "os"

func syncData(f *os.File) error { return f.Sync() }

// dropCache does nothing: what is read next may come from memory.
func dropCache(*os.File) error { return nil }
