package ledger

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/claudeaudit/claudeaudit/internal/durable/durabletest"
)

func TestFullDisk(t *testing.T) {
	root := durabletest.Tmpfs(t, "96m")
	for name, floor := range map[string]int64{"with a floor": 0, "to the last byte": 1} {
		t.Run(name, func(t *testing.T) {
			dir, err := os.MkdirTemp(root, "ledger")
			require.NoError(t, err)
			defer func() { require.NoError(t, os.RemoveAll(dir)) }()
			filler := filepath.Join(dir, "filler")
			require.NoError(t, os.WriteFile(filler, make([]byte, 32<<20), 0o600))
			e := &env{dir: filepath.Join(dir, "ledger"), key: newKey(t, "test"), witness: filepath.Join(dir, "witness")}
			l := e.open(t, func(o *Options) { o.MinFreeBytes = floor; o.SegmentEntries = 200 })
			content := make([]byte, 50_000)
			n := 0
			for ; ; n++ {
				content[0], content[1] = byte(n), byte(n>>8)
				if _, err = l.Append(t.Context(), []Entry{testEntry(n, content)}); err != nil {
					break
				}
			}
			require.ErrorIs(t, err, ErrFull)
			require.Equal(t, uint64(n), l.Durable())
			requireIntact(t, e.verify(t))
			require.NoError(t, os.Remove(filler))
			content[0], content[1] = byte(n), byte(n>>8)
			require.Eventually(t, func() bool {
				_, err := l.Append(t.Context(), []Entry{testEntry(n, content)})
				return err == nil
			}, 10*time.Second, 10*time.Millisecond)
			closeLog(t, l)
			r := e.verify(t)
			requireIntact(t, r)
			require.Equal(t, uint64(n+1), r.Entries)
			t.Logf("%d entries", n)
		})
	}
}
