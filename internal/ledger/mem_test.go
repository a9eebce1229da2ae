package ledger

import (
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestVerifyMemoryIsFlat needs LEDGER_TEST_ENTRIES, for instance 10000000.
func TestVerifyMemoryIsFlat(t *testing.T) {
	n, err := strconv.Atoi(os.Getenv("LEDGER_TEST_ENTRIES"))
	if err != nil {
		t.Skip("LEDGER_TEST_ENTRIES is not set")
	}
	e := newEnv(t)
	l := e.open(t, func(o *Options) { o.DedupEntries = 1000; o.MaxSpoolBytes = 8 << 30; o.CheckpointInterval = time.Second })
	for i := 0; i < n; i += 2000 {
		batch := make([]Entry, 2000)
		for j := range batch {
			batch[j] = benchEntry(uint64(i + j))
		}
		_, err := l.Append(t.Context(), batch)
		require.NoError(t, err)
	}
	closeLog(t, l)
	runtime.GC()
	var peak atomic.Uint64
	start := time.Now()
	r := e.verify(t, func(o *VerifyOptions) {
		o.Progress = func(int64, int64) {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			peak.Store(max(peak.Load(), m.Sys-m.HeapReleased))
		}
	})
	requireIntact(t, r)
	status, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(status)) {
		if strings.HasPrefix(line, "VmHWM") {
			t.Log(strings.TrimSpace(line))
		}
	}
	t.Logf("%d entries verified in %v, at most %d MiB from the system while verifying", r.Entries, time.Since(start), peak.Load()>>20)
}
