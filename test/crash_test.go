package e2e

import (
	"context"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/claudeaudit/claudeaudit/internal/otlpclient"
)

// crashRounds is how often the collector is killed: 5 times, or as
// CLAUDEAUDIT_CRASH_ROUNDS says.
func crashRounds(t *testing.T) int {
	t.Helper()
	text := os.Getenv("CLAUDEAUDIT_CRASH_ROUNDS")
	if text == "" {
		return 5
	}
	rounds, err := strconv.Atoi(text)
	require.NoError(t, err, "CLAUDEAUDIT_CRASH_ROUNDS must be a number")
	return rounds
}

// The collector is killed at random moments under load, now and then while it
// still starts. Whatever was answered with success is in the ledger exactly
// once, and the ledger verifies after every kill.
func TestKilledUnderLoad(t *testing.T) {
	c := newCollector(t, "local.yaml", smallSegments)
	l := &load{acked: map[string]int{}}
	const copies = 3

	for round := range crashRounds(t) {
		c.launch()
		if rand.IntN(4) == 0 {
			time.Sleep(time.Duration(rand.IntN(500)) * time.Millisecond) // the moment is the point of it
			c.kill()
			continue
		}
		c.waitReady()
		client, err := otlpclient.New(c.httpAddr, c.grpcAddr)
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			l.run(ctx, client, copies)
		}()
		time.Sleep(time.Duration(50+rand.IntN(1500)) * time.Millisecond)
		require.True(t, c.running(), "the collector ended by itself:\n%s", c.logTail())
		c.kill()
		cancel()
		<-done
		require.NoError(t, client.Close())
		require.Empty(t, l.refused, "requests were refused for good")

		c.requireExactlyOnce(l.acked)
		c.verify()
		t.Logf("round %d: %d calls acknowledged so far, %d requests to send again", round+1, len(l.acked), len(l.pending))
	}

	c.start()
	l.drain(t, c.client())
	require.NotEmpty(t, l.acked)
	c.requireExactlyOnce(l.acked)
	require.Len(t, c.entries(), len(l.acked))
	require.Len(t, c.awaitRecords(len(l.acked)), len(l.acked))
	c.stop()
	c.requireExactlyOnce(l.acked)
	c.verify()
}
