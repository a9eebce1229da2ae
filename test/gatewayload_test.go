package e2e

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// 300 streams are open at the same time, and all of them end whole; then prompts of 30 MB reach upstream as they are.
func TestGatewayHolds(t *testing.T) {
	const streams, large, size = 300, 3, 30 << 20
	var open atomic.Int32
	all := make(chan struct{})
	first := "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_%s\",\"model\":\"m\",\"usage\":{\"input_tokens\":1}}}\n\n"
	const last = "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"the end\"}}\n\n" +
		"event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sum := sha256.New()
		if _, err := io.Copy(sum, r.Body); err != nil {
			return
		}
		id := hex.EncodeToString(sum.Sum(nil))
		w.Header().Set("Content-Type", "text/event-stream")
		w.Header().Set("Request-Id", "req_"+id)
		fmt.Fprintf(w, first, id)
		_ = http.NewResponseController(w).Flush()
		if open.Add(1) == streams {
			close(all)
		}
		select {
		case <-all:
		case <-r.Context().Done():
			return
		}
		_, _ = io.WriteString(w, last)
	}))
	t.Cleanup(server.Close)
	c := newCollector(t, "local.yaml", nil)
	c.env = append(c.env, "CLAUDEAUDIT_UPSTREAM="+server.URL)
	c.start()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: streams}, Timeout: 2 * time.Minute}
	defer client.CloseIdleConnections()
	var mu sync.Mutex
	sent := map[string]string{} // request id → SHA-256 of what was sent
	ask := func(prompt string) {
		body := `{"model":"m","max_tokens":9,"stream":true,"messages":[{"role":"user","content":` + quoted(prompt) + `}]}`
		sum := sha256.Sum256([]byte(body))
		id := hex.EncodeToString(sum[:])
		resp, err := client.Post(c.gateway+"/v1/messages", "application/json", strings.NewReader(body))
		if err != nil {
			t.Error(err)
			return
		}
		defer resp.Body.Close()
		got, err := io.ReadAll(resp.Body)
		if err != nil || string(got) != fmt.Sprintf(first, id)+last {
			t.Errorf("status %d, error %v, %d bytes", resp.StatusCode, err, len(got))
		}
		mu.Lock()
		defer mu.Unlock()
		sent["req_"+id] = id
	}
	var callers sync.WaitGroup
	for n := range streams {
		callers.Go(func() { ask(fmt.Sprintf("stream %d", n)) })
	}
	callers.Wait()
	for n := range large {
		callers.Go(func() { ask(fmt.Sprintf("%d ", n) + strings.Repeat("Thirty megabytes of whales. ", size/28)) })
	}
	callers.Wait()
	for _, r := range c.awaitStatus(streams+large, "success") {
		require.Equal(t, sent[r.text("request_id")], r.text("request_sha256"))
		require.NotEmpty(t, r.text("prompt_hash"))
		delete(sent, r.text("request_id"))
	}
	require.Empty(t, sent)
	c.stop()
	c.verify()
}
