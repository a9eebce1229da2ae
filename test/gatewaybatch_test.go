package e2e

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/claudeaudit/claudeaudit/internal/fakeclaude"
)

// The official Python SDK works unchanged with batches, files and completions; each request of a batch has a record.
func TestGatewayBatchesWithThePythonSDK(t *testing.T) {
	python := pythonSDKs(t)
	c, fake, _ := newGateway(t, nil)
	c.start()
	out := runSDK(t, python, filepath.Join("sdk", "batches.py"), c.gateway)
	require.Contains(t, out, " passed, 0 failed")
	items := c.awaitItems(map[string]string{"a": "success", "b": "error", "c": "success", "d": "interrupted"})
	require.NotEmpty(t, items["a"].text("response_hash"))
	require.NotEmpty(t, items["a"].text("prompt_hash"))
	require.NotEqual(t, items["a"].text("prompt_hash"), items["c"].text("prompt_hash"))
	require.Equal(t, "end_turn", items["a"].text("stop_reason"))
	require.NotEqual(t, "0", fmt.Sprint(items["a"]["prompt_tokens"]))
	require.Equal(t, "batch_canceled", items["d"].text("error_type"))
	var uploads int
	for _, r := range c.found("--kind", "all") {
		if r.text("operation") == "files.create" {
			uploads++
			require.Equal(t, "activity", r.text("kind"))
			require.NotEmpty(t, r.text("prompt_hash"))
		}
	}
	require.Equal(t, 1, uploads)
	c.requireOneToOne(fake)
	c.stop()
	c.verify()
	c.requireNowhere(map[string]string{"sk-ant-test": "the client's key", "what the report says": "the file", "report.txt": "its name"})
}

// A batch whose results nobody fetched before the gateway was killed has them recorded by the next one, which knows the
// batch from the ledger.
func TestGatewayBatchOverAKill(t *testing.T) {
	fake, url := upstream(t, fakeclaude.Config{BatchPolls: 1})
	gateway := map[string]any{
		"batch_poll": "1h",
		"upstreams":  map[string]any{"anthropic": map[string]any{"endpoint": url, "api_key": "of-the-gateway"}},
	}
	c := newCollector(t, "local.yaml", map[string]any{"receivers": map[string]any{"claude_gateway": gateway}})
	c.start()
	body := `{"requests":[{"custom_id":"x","params":{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"one"}]}},` +
		`{"custom_id":"y","params":{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"two"}]}}]}`
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, c.gateway+"/v1/messages/batches", strings.NewReader(body))
	require.NoError(t, err)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Anthropic-Version", "2023-06-01")
	resp, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	got, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, http.StatusOK, resp.StatusCode, string(got))
	c.awaitItems(map[string]string{"x": "initiated", "y": "initiated"})
	c.kill()

	c.configs = append(c.configs, c.writeYAML("poll.yaml", map[string]any{
		"receivers": map[string]any{"claude_gateway": map[string]any{"batch_poll": "50ms"}},
	}))
	c.start()
	items := c.awaitItems(map[string]string{"x": "success", "y": "success"})
	require.NotEmpty(t, items["x"].text("prompt_hash"), "of what was asked before the kill")
	require.NotEmpty(t, items["x"].text("response_hash"), "of what was answered after it")
	fetched := 0
	for _, q := range requests(fake) {
		if q.Op == "batches.results" {
			fetched++
		}
	}
	require.Equal(t, 1, fetched)
	c.stop()
	c.verify()
}

// awaitItems waits until requests of batches have the statuses, one record each.
func (c *collector) awaitItems(want map[string]string) map[string]record {
	c.t.Helper()
	var items map[string]record
	require.Eventually(c.t, func() bool {
		items = map[string]record{}
		n := 0
		for _, r := range c.found("--kind", "all") {
			if item := r.text("batch_item"); want[item] != "" {
				items[item] = r
				n++
			}
		}
		if n != len(want) {
			return false
		}
		for item, status := range want {
			if items[item].text("status") != status {
				return false
			}
		}
		return true
	}, followTimeout, 100*time.Millisecond, "the batch's requests never had the statuses %v", want)
	return items
}

// A gateway that was killed before it knew whether there is a batch leaves no request of it without an end.
func TestGatewayKilledWhileABatchIsMade(t *testing.T) {
	arrived, over := make(chan struct{}), make(chan struct{})
	silent := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		close(arrived)
		<-over
	}))
	t.Cleanup(silent.Close)
	t.Cleanup(func() { close(over) })
	c := newCollector(t, "local.yaml", nil)
	c.env = append(c.env, "CLAUDEAUDIT_UPSTREAM="+silent.URL)
	c.start()
	body := `{"requests":[{"custom_id":"x","params":{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"one"}]}}]}`
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, c.gateway+"/v1/messages/batches", strings.NewReader(body))
	require.NoError(t, err)
	r.Header.Set("Content-Type", "application/json")
	asked := make(chan error, 1)
	go func() {
		resp, err := http.DefaultClient.Do(r)
		if err == nil {
			err = resp.Body.Close()
		}
		asked <- err
	}()
	<-arrived
	c.awaitItems(map[string]string{"x": "initiated"})
	c.kill()
	require.Error(t, <-asked)
	c.start()
	require.Equal(t, "gateway_killed", c.awaitItems(map[string]string{"x": "interrupted"})["x"].text("ended"))
	c.stop()
	c.verify()
}
