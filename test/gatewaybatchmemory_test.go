package e2e

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The memory that a batch takes grows with its body and what is garbage until it is collected, that of its results does not grow. With
// CLAUDEAUDIT_BATCH_BYTES=268435456 the larger of the two batches that are compared is as large as the API takes.
func TestGatewayBatchMemory(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the most memory that a process had is read from Linux's /proc")
	}
	large := int64(32 << 20)
	if s := os.Getenv("CLAUDEAUDIT_BATCH_BYTES"); s != "" {
		var err error
		large, err = strconv.ParseInt(s, 10, 64)
		require.NoError(t, err)
	}
	small := large / 4
	const (
		item    = 16 << 10 // of a request
		answers = 4        // times that is its result
		least   = 48 << 20 // what garbage may be there or not, whatever the size
	)
	text := strings.Repeat("Whales sleep at sea. ", item/21)
	var items int
	var sum string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if r.Method == http.MethodPost {
			hash := sha256.New()
			if _, err := io.Copy(hash, r.Body); err != nil {
				return
			}
			sum = hex.EncodeToString(hash.Sum(nil))
			fmt.Fprintf(w, `{"id":"msgbatch_%s","type":"message_batch","processing_status":"in_progress"}`, sum[:12])
			return
		}
		w.Header().Set("Content-Type", "application/x-jsonl")
		for i := range items {
			fmt.Fprintf(w, `{"custom_id":"request-%d","result":{"type":"succeeded","message":{"id":"msg_%s_%d","type":"message","role":"assistant","model":"m",`+
				`"content":[{"type":"text","text":"%s"}],"stop_reason":"end_turn","usage":{"input_tokens":3,"output_tokens":4}}}}`+"\n", i, sum[:12], i, strings.Repeat(text, answers))
		}
	}))
	t.Cleanup(server.Close)

	type peaks struct{ create, results int64 }
	measure := func(size int64) peaks {
		c := newCollector(t, "local.yaml", nil)
		c.env = append(c.env, "CLAUDEAUDIT_UPSTREAM="+server.URL)
		c.start()
		body := &bytes.Buffer{}
		body.WriteString(`{"requests":[`)
		for items = 0; int64(body.Len()) < size-2*item; items++ {
			if items > 0 {
				body.WriteByte(',')
			}
			fmt.Fprintf(body, `{"custom_id":"request-%d","params":{"model":"m","max_tokens":64,"messages":[{"role":"user","content":"%d: %s"}]}}`, items, items, text)
		}
		body.WriteString(`]}`)
		want := sha256.Sum256(body.Bytes())
		client := &http.Client{Timeout: 10 * time.Minute}
		defer client.CloseIdleConnections()
		ask := func(method, path string, body io.Reader) (peak int64) {
			before := c.peakMemory()
			r, err := http.NewRequestWithContext(t.Context(), method, c.gateway+path, body)
			require.NoError(t, err)
			r.Header.Set("Content-Type", "application/json")
			resp, err := client.Do(r)
			require.NoError(t, err)
			_, err = io.Copy(io.Discard, resp.Body)
			require.NoError(t, err)
			require.NoError(t, resp.Body.Close())
			require.Equal(t, http.StatusOK, resp.StatusCode)
			return c.peakMemory() - before
		}
		var p peaks
		p.create = ask(http.MethodPost, "/v1/messages/batches", body)
		require.Equal(t, hex.EncodeToString(want[:]), sum, "what reached upstream")
		c.stop()
		c.start() // a process gives memory back late
		p.results = ask(http.MethodGet, "/v1/messages/batches/msgbatch_"+sum[:12]+"/results", nil)
		t.Logf("%d requests in %d MiB: %d MiB more to create it, %d MiB more for results of %d MiB", items, size>>20, p.create>>20, p.results>>20, answers*size>>20)
		c.stop()
		c.verify()
		return p
	}
	a, b := measure(small), measure(large)
	require.LessOrEqual(t, b.create-a.create, 5*(large-small)/2+least, "the body, an eighth of it for what each request is, and as much garbage")
	require.LessOrEqual(t, b.results-a.results, answers*(large-small)/8+least, "results are held some at a time")
}

// peakMemory is the most memory that the process had since this was asked last, in bytes.
func (c *collector) peakMemory() int64 {
	c.t.Helper()
	proc := filepath.Join("/proc", strconv.Itoa(c.cmd.Process.Pid))
	status, err := os.ReadFile(filepath.Join(proc, "status"))
	require.NoError(c.t, err)
	require.NoError(c.t, os.WriteFile(filepath.Join(proc, "clear_refs"), []byte("5"), 0))
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			require.NoError(c.t, err)
			return kib << 10
		}
	}
	c.t.Fatal("no VmHWM in the process's status")
	return 0
}
