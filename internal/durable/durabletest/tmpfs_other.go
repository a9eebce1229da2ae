//go:build !linux

package durabletest

import "testing"

// Tmpfs skips the test: only Linux has it.
func Tmpfs(t testing.TB, _ string) (dir string) {
	t.Helper()
	t.Skip("a small file system can't be mounted here")
	return ""
}
