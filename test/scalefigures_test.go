package e2e

import (
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/claudeaudit/claudeaudit/internal/index/elasticsearch/estest"
	"github.com/claudeaudit/claudeaudit/internal/otlpclient"
)

// TestScaleFigures prints figures of docs/scale.md: what one central collector takes from Kafka in a second, and how many bytes a call is on the
// way. Every call is a span with a prompt of 2 KB of words and an answer of a few.
func TestScaleFigures(t *testing.T) {
	n, err := strconv.Atoi(os.Getenv("CLAUDEAUDIT_SCALE_CALLS"))
	if err != nil {
		t.Skip("it measures, and asserts nothing: set CLAUDEAUDIT_SCALE_CALLS to the number of calls")
	}
	for _, partitions := range []int{4, 16, 64} {
		t.Run(strconv.Itoa(partitions)+" partitions", func(t *testing.T) { measureScale(t, n, partitions) })
	}
}

func measureScale(t *testing.T, n, partitions int) {
	kafka := newBroker(t, partitions)
	server := estest.Start(t, estest.Options{})
	prefix := server.Prefix(t)
	agent := newCollector(t, "agent.yaml", map[string]any{
		"exporters": map[string]any{"kafka": map[string]any{"producer": map[string]any{"allow_auto_topic_creation": true}}},
	})
	agent.env = append(agent.env, "KAFKA_BROKER="+kafka.addr)
	kafka.await()
	agent.start()
	client := agent.client()
	const senders, perRequest = 8, 10
	_, err := client.SendRetrying(t.Context(), traces(newCall("u", wordsOf(2048))), otlpclient.GRPC)
	require.NoError(t, err)
	began := time.Now()
	var all sync.WaitGroup
	for range senders {
		all.Go(func() {
			for range n / senders / perRequest {
				calls := make([]call, perRequest)
				for i := range calls {
					calls[i] = newCall("user"+strconv.Itoa(rand.IntN(1000)), wordsOf(2048))
				}
				if _, err := client.SendRetrying(t.Context(), traces(calls...), otlpclient.GRPC); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	n = n/senders/perRequest*senders*perRequest + 1
	t.Logf("agent: %d calls in %v, %.0f/s", n, time.Since(began), float64(n)/time.Since(began).Seconds())
	agent.stop()
	t.Logf("Kafka: %d bytes a call", bytesUnder(t, filepath.Join(kafka.dir, "data"), "claudeaudit_spans-")/int64(n))

	c := newElastic(t, "central.yaml", server.URL, prefix, nil)
	c.withoutOTLP()
	c.env = append(c.env, "KAFKA_BROKER="+kafka.addr, "CLAUDEAUDIT_NAME=one")
	var first time.Time
	taken := 0
	c.start()
	require.Eventually(t, func() bool {
		taken = metricOf(t, c.metricsURL, "claudeaudit_ledger_entries")
		if first.IsZero() && taken > 0 {
			first, began = time.Now(), time.Now()
			n -= taken
		}
		return taken >= n
	}, 10*time.Minute, 10*time.Millisecond)
	t.Logf("central: %d calls in %v, %.0f/s", n, time.Since(began), float64(n)/time.Since(began).Seconds())
	c.awaitFollowed()
	t.Logf("index: all of it after %v", time.Since(began))
	c.stop()
	entries := 0
	c.eachLine(func([]byte) { entries++ })
	t.Logf("ledger: %d entries, %d bytes each in segments, %d bytes of content", entries,
		bytesUnder(t, filepath.Join(c.data, "ledger", "store"), string(filepath.Separator)+"seg"+string(filepath.Separator))/int64(entries),
		bytesUnder(t, filepath.Join(c.data, "ledger", "store"), string(filepath.Separator)+"cnt"+string(filepath.Separator))/int64(entries))
	server.Do(t, http.MethodPost, "/"+prefix+"-*/_forcemerge?max_num_segments=1&flush=true", nil, nil)
	server.Do(t, http.MethodPost, "/"+prefix+"-*/_refresh", nil, nil)
	var stats struct {
		All struct {
			Primaries struct {
				Docs  struct{ Count int64 }
				Store struct {
					Bytes int64 `json:"size_in_bytes"`
				}
			}
		} `json:"_all"`
	}
	server.Do(t, http.MethodGet, "/"+prefix+"-*/_stats/docs,store", nil, &stats)
	t.Logf("index: %d documents, %d bytes each", stats.All.Primaries.Docs.Count, stats.All.Primaries.Store.Bytes/stats.All.Primaries.Docs.Count)
}

// wordsOf is a text of about n bytes.
func wordsOf(n int) string {
	var b strings.Builder
	for b.Len() < n {
		fmt.Fprintf(&b, "%s ", strconv.FormatInt(rand.Int64N(40_000)+1_000_000, 36))
	}
	return b.String()
}

// bytesUnder adds up the files below a folder whose path holds a text.
func bytesUnder(t *testing.T, dir, holding string) (n int64) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || !strings.Contains(path, holding) || strings.HasSuffix(path, "index") {
			return err
		}
		info, err := d.Info()
		n += info.Size()
		return err
	}))
	return n
}
