package e2e

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/claudeaudit/claudeaudit/internal/fakeclaude"
)

// TestGatewayFigures measures the same calls direct, through a bare pass-through proxy and through the gateway, whose every call
// is on disk before it is forwarded. It runs where CLAUDEAUDIT_FIGURES is set, and prints what it measured: figures say
// more about the machine than a test could hold them to.
func TestGatewayFigures(t *testing.T) {
	if os.Getenv("CLAUDEAUDIT_FIGURES") == "" {
		t.Skip("CLAUDEAUDIT_FIGURES is not set")
	}
	fake, err := fakeclaude.New(fakeclaude.Config{Keep: -1})
	require.NoError(t, err)
	server := httptest.NewServer(fake)
	t.Cleanup(server.Close)
	target, err := url.Parse(server.URL)
	require.NoError(t, err)
	proxy := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(target) },
		FlushInterval: -1,
		Transport:     &http.Transport{MaxIdleConnsPerHost: 256, DisableCompression: true},
	})
	t.Cleanup(proxy.Close)
	c := newCollector(t, "local.yaml", nil)
	c.env = append(c.env, "CLAUDEAUDIT_UPSTREAM="+server.URL)
	c.start()
	for _, callers := range []int{1, 32} {
		for range 3 {
			for _, way := range []struct{ name, url string }{{"direct", server.URL}, {"proxy", proxy.URL}, {"gateway", c.gateway}} {
				took, all := measure(t, way.url, callers, 1000*min(callers, 4))
				t.Logf("%2d callers %-8s %7.0f calls/s  p50 %7.3f ms  p99 %7.3f ms", callers, way.name,
					float64(len(took))/all.Seconds(), ms(took[len(took)/2]), ms(took[len(took)*99/100]))
			}
		}
	}
	c.stop()
	c.verify()
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// measure makes n calls and gives how long each took, sorted, and all together.
func measure(t *testing.T, base string, callers, n int) ([]time.Duration, time.Duration) {
	t.Helper()
	body := `{"model":"claude-sonnet-4-5","max_tokens":64,"messages":[{"role":"user","content":` + quoted(strings.Repeat("What do whales dream of? ", 80)) + `}]}`
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 256}}
	defer client.CloseIdleConnections()
	next := make(chan struct{}, n)
	for range n {
		next <- struct{}{}
	}
	close(next)
	one := func() (time.Duration, error) {
		from := time.Now()
		r, err := http.NewRequest(http.MethodPost, base+"/v1/messages", strings.NewReader(body))
		if err != nil {
			return 0, err
		}
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("X-Api-Key", "k")
		r.Header.Set("Anthropic-Version", "2023-06-01")
		resp, err := client.Do(r)
		if err != nil {
			return 0, err
		}
		defer resp.Body.Close()
		_, err = io.Copy(io.Discard, resp.Body)
		return time.Since(from), err
	}
	var mu sync.Mutex
	var took []time.Duration
	var workers sync.WaitGroup
	from := time.Now()
	for range callers {
		workers.Go(func() {
			var own []time.Duration
			for range next {
				d, err := one()
				if err != nil {
					t.Error(err)
					return
				}
				own = append(own, d)
			}
			mu.Lock()
			defer mu.Unlock()
			took = append(took, own...)
		})
	}
	workers.Wait()
	all := time.Since(from)
	require.Len(t, took, n)
	slices.Sort(took)
	return took, all
}
