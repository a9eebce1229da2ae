package cputime

import (
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var sink int

func work(n int) func() {
	return func() {
		for i := range n {
			sink += i * i
		}
	}
}

func TestGrowth(t *testing.T) {
	require.InDelta(t, 4, Growth(4, work(2_000_000), work(8_000_000)), 1.5)
}

func TestWaitingCostsNothing(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux tells the CPU time of a thread")
	}
	require.Less(t, Of(1, func() { time.Sleep(50 * time.Millisecond) }), 40*time.Millisecond)
}
