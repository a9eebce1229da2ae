package main

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/claudeaudit/claudeaudit/internal/aggregate"
	"github.com/claudeaudit/claudeaudit/internal/ledger"
	"github.com/claudeaudit/claudeaudit/internal/seal"
	"github.com/claudeaudit/claudeaudit/internal/stamp"
	"github.com/claudeaudit/claudeaudit/internal/stamp/stamptest"
	"github.com/claudeaudit/claudeaudit/internal/witness"
)

// An authority that is away at first: it is said, tried again, and then there is
// a time stamp that verify takes with the policy's certificate.
func TestStampDaily(t *testing.T) {
	tsa := stamptest.Start(t)
	var asked atomic.Int64
	flaky := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1) <= 2 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		resp, err := http.Post(tsa.URL, r.Header.Get("Content-Type"), r.Body)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		defer resp.Body.Close()
		_, _ = io.Copy(w, resp.Body)
	}))
	defer http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	defer flaky.Close()

	dir := filepath.Join(t.TempDir(), "ledger")
	key, err := seal.GenerateCheckpointKey("witness.example.com")
	require.NoError(t, err)
	state, err := aggregate.Open(t.Context(), ledger.Options{Dir: dir, Signer: key.Signer, VerifierKey: key.VerifierKey, SegmentEntries: 1})
	require.NoError(t, err)
	cp := witness.Checkpoint{Origin: "example.com/log/1", Size: 5, LogKey: "log", Signature: "— log x\n", Cosignature: "— w x\n"}
	cp.Text = "example.com/log/1\n5\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"
	require.NoError(t, state.Add(t.Context(), cp))
	require.Eventually(t, func() bool { return state.Stats().Checkpointed > 0 }, 10*time.Second, time.Millisecond)

	c, err := stamp.NewClient(flaky.URL, 10*time.Second)
	require.NoError(t, err)
	core, logs := observer.New(zap.InfoLevel)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		stampDaily(ctx, state, c, zap.New(core), time.Millisecond)
	}()
	require.Eventually(t, func() bool { return logs.FilterMessage("time stamp stored").Len() == 1 }, 20*time.Second, time.Millisecond)
	cancel()
	<-done
	require.NoError(t, c.Close())
	require.Equal(t, 2, logs.FilterMessage("no time stamp of the aggregate; it is tried again").Len())
	require.EqualValues(t, 3, asked.Load(), "not again on the same day")
	require.NoError(t, state.Close(t.Context()))

	policy := filepath.Join(t.TempDir(), "policy")
	require.NoError(t, os.WriteFile(policy, []byte("log "+key.VerifierKey+"\ntsa daily "+tsa.RootText+"\nquorum none\n"), 0o600))
	r := runWith(t, "", "verify", dir, "--policy", policy)
	require.Equal(t, 0, r.code, r.stderr)
	require.Contains(t, r.out, "  stamped     ")
	require.Contains(t, r.out, "by daily at ")

	r = runWith(t, "", "witness", "--timestamp-url", "tsa.example.com", "--log", key.VerifierKey, "--dir", dir)
	require.Equal(t, 2, r.code)
	require.Contains(t, r.stderr, "--timestamp-url: must be an address")
}
