package e2e

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	"github.com/claudeaudit/claudeaudit/internal/durable/durabletest"
	"github.com/claudeaudit/claudeaudit/internal/fakeclaude"
	"github.com/claudeaudit/claudeaudit/internal/otlpclient"
)

func asRefusal(err error, refusal **otlpclient.Error) bool { return errors.As(err, refusal) }

// A full disk: requests are refused in a way that clients retry, what was
// acknowledged stays, and when there is space again the next request is taken.
func TestFullDisk(t *testing.T) {
	disk := durabletest.Tmpfs(t, "96m")
	ballast := filepath.Join(disk, "ballast")
	require.NoError(t, os.WriteFile(ballast, make([]byte, 32<<20), 0o600))

	c := newCollectorIn(t, disk, "local.yaml", smallDisk)
	c.start()
	client := c.client()

	// What compression can't make small, so that the disk fills.
	prompt := func() string { return randomText(t, 200<<10) }
	acked := map[string]int{}
	var waiting []call
	var mu sync.Mutex
	require.Eventually(t, func() bool {
		var workers sync.WaitGroup
		for _, via := range otlpclient.Transports {
			sent := newCall("disk", prompt())
			workers.Go(func() {
				err := client.Send(t.Context(), traces(sent), via)
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					acked[sent.id()]++
					return
				}
				requireRetryable(t, err)
				waiting = append(waiting, sent)
			})
		}
		workers.Wait()
		return len(waiting) >= 12
	}, 2*time.Minute, time.Millisecond, "the disk never got full")
	require.NotEmpty(t, acked)
	require.True(t, c.running())
	c.requireExactlyOnce(acked)

	// Killed and started while there is no space at all: nothing is lost by that either.
	c.kill()
	c.requireExactlyOnce(acked)

	require.NoError(t, os.Remove(ballast))
	c.start()
	client = c.client()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for i, sent := range waiting {
		_, err := client.SendRetrying(ctx, traces(sent), otlpclient.Transports[i%len(otlpclient.Transports)])
		require.NoError(t, err, "not taken though there is space again")
		acked[sent.id()]++
	}
	c.requireExactlyOnce(acked)
	require.Len(t, c.awaitRecords(len(acked), "--user", "disk"), len(acked))
	c.stop()
	c.requireExactlyOnce(acked)
	c.verify()
}

// Space that comes back is noticed without a restart.
func TestFullDiskRecoversWithoutRestart(t *testing.T) {
	disk := durabletest.Tmpfs(t, "64m")
	ballast := filepath.Join(disk, "ballast")

	c := newCollectorIn(t, disk, "local.yaml", smallDisk)
	c.start()
	client := c.client()
	before := newCall("disk", "before")
	require.NoError(t, client.Send(t.Context(), traces(before), otlpclient.HTTPProtobuf))

	fill(t, ballast)
	during := newCall("disk", randomText(t, 200<<10))
	for _, via := range otlpclient.Transports {
		err := client.Send(t.Context(), traces(during), via)
		require.Error(t, err, via)
		requireRetryable(t, err)
	}
	require.True(t, c.running())

	require.NoError(t, os.Remove(ballast))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, err := client.SendRetrying(ctx, traces(during), otlpclient.GRPC)
	require.NoError(t, err)
	c.requireExactlyOnce(map[string]int{before.id(): 1, during.id(): 1})
	require.Len(t, c.awaitRecords(2, "--user", "disk"), 2)
	c.stop()
	c.verify()
}

// A gateway says that it isn't ready while it still forwards calls, before the disk is so full that it refuses them; with
// space again it is ready again. It is alive all the time.
func TestGatewayIsNotReadyBeforeItRefuses(t *testing.T) {
	disk := durabletest.Tmpfs(t, "64m")
	_, url := upstream(t, fakeclaude.Config{})
	c := newCollectorIn(t, disk, "gateway.yaml", smallDisk)
	keys := filepath.Join(t.TempDir(), "keys.yaml")
	sum := sha256.Sum256([]byte("of-the-client"))
	require.NoError(t, os.WriteFile(keys, []byte("- {sha256: "+hex.EncodeToString(sum[:])+", application: one}\n"), 0o600))
	c.env = append(c.env, "CLAUDEAUDIT_UPSTREAM="+url, "CLAUDEAUDIT_GATEWAY_KEYS="+keys)
	c.start()
	get := func(url string) int {
		resp, err := http.Get(url)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		return resp.StatusCode
	}
	call := func() int {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, c.gateway+"/v1/messages", strings.NewReader(good))
		require.NoError(t, err)
		r.Header.Set("X-Api-Key", "of-the-client")
		r.Header.Set("Anthropic-Version", "2023-06-01")
		r.Header.Set("Content-Type", "application/json")
		resp, err := http.DefaultClient.Do(r)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		return resp.StatusCode
	}
	becomes := func(status int, what string) {
		require.Eventually(t, func() bool { return get(c.readyURL) == status }, 10*time.Second, 20*time.Millisecond, what)
	}
	require.Equal(t, http.StatusOK, call())
	becomes(http.StatusOK, "ready at first")

	ballast := filepath.Join(disk, "ballast")
	leave(t, disk, ballast, 3<<20) // less than twice what has to stay free
	require.Equal(t, http.StatusOK, call())
	becomes(http.StatusInternalServerError, "not ready while calls are still forwarded")
	require.Equal(t, http.StatusOK, call())

	leave(t, disk, ballast+"-2", 1<<20)
	require.Equal(t, http.StatusServiceUnavailable, call())
	require.Equal(t, http.StatusInternalServerError, get(c.readyURL))
	require.Equal(t, http.StatusOK, get(c.healthURL), "it is alive")

	require.NoError(t, os.Remove(ballast))
	require.Equal(t, http.StatusOK, call())
	becomes(http.StatusOK, "ready again")
	c.stop()
	c.verify()
}

// leave writes a file that leaves so many bytes of the file system of dir.
func leave(t *testing.T, dir, path string, bytes int64) {
	t.Helper()
	var st syscall.Statfs_t
	require.NoError(t, syscall.Statfs(dir, &st))
	free := int64(st.Bavail) * st.Bsize
	require.Greater(t, free, bytes)
	require.NoError(t, os.WriteFile(path, make([]byte, free-bytes), 0o600))
}

// requireRetryable wants a refusal that an OTLP client answers with another try.
func requireRetryable(t *testing.T, err error) {
	t.Helper()
	var refusal *otlpclient.Error
	if !errors.As(err, &refusal) {
		t.Errorf("not a refusal: %v", err)
		return
	}
	allowed := []int{http.StatusTooManyRequests, http.StatusServiceUnavailable}
	if refusal.Transport == otlpclient.GRPC {
		allowed = []int{int(codes.Unavailable), int(codes.ResourceExhausted)}
	}
	for _, code := range allowed {
		if refusal.Code == code {
			return
		}
	}
	t.Errorf("refused, but not so that a client would try again: %v", err)
}

// fill writes a file until the file system has no space left.
func fill(t *testing.T, path string) {
	t.Helper()
	file, err := os.Create(path)
	require.NoError(t, err)
	defer file.Close()
	for _, size := range []int{1 << 20, 4 << 10} {
		block := []byte(strings.Repeat("x", size))
		for err = nil; err == nil; {
			_, err = file.Write(block)
		}
		require.ErrorIs(t, err, syscall.ENOSPC)
	}
}
