package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// roundTime is how long a way is measured before it is another's turn.
	roundTime = 2 * time.Second
	// callRounds are the rounds of whole calls for each of other things: two turns of the same way differ by a tenth.
	callRounds = 3
)

func partsOf(s string) map[string]bool {
	parts := map[string]bool{}
	for p := range strings.SplitSeq(s, ",") {
		parts[p] = true
	}
	return parts
}

// taken is what was measured in one turn.
type taken struct {
	p50, p99 float64 // ms
	rate     float64 // calls a second
	perCPU   float64 // calls a second of the process's CPU time
}

// calls measures whole calls, with 1 and with 32 callers that each wait for their answer.
func calls(ctx context.Context, set settings, ways []*process) error {
	for _, way := range ways { // none is measured cold
		if _, err := call(ctx, way, 8, roundTime/2); err != nil {
			return fmt.Errorf("%s: %w", way.name, err)
		}
	}
	for range callRounds * set.rounds {
		for _, callers := range []int{1, 32} {
			got := map[string]taken{}
			for _, way := range ways {
				t, err := call(ctx, way, callers, roundTime)
				if err != nil {
					return fmt.Errorf("%s: %w", way.name, err)
				}
				got[way.name] = t
				line("GatewayCalls/callers=%d/%s", callers, way.name)("p50-ms", t.p50, "p99-ms", t.p99, "calls/s", t.rate, "calls/cpu-s", t.perCPU)
			}
			proxy, syncing, gateway := got["proxy"], got["proxy-sync"], got["gateway"]
			line("GatewayAdded/callers=%d", callers)("p50-ms", gateway.p50-proxy.p50, "p99-ms", gateway.p99-proxy.p99,
				"sync-ms", syncing.p50-proxy.p50, "over-ms", gateway.p50-syncing.p50)
		}
	}
	return nil
}

// line prints as a benchmark does.
func line(name string, args ...any) func(...any) {
	return func(values ...any) {
		var b strings.Builder
		fmt.Fprintf(&b, "Benchmark"+name+"\t1", args...)
		for i := 0; i+1 < len(values); i += 2 {
			fmt.Fprintf(&b, "\t%.4g %s", values[i+1], values[i])
		}
		fmt.Println(b.String())
	}
}

// prompt is of 2 KB.
var prompt = strings.Repeat("What do whales dream of? ", 80)

func request(ctx context.Context, base, user, text string, stream bool) (*http.Request, error) {
	body, err := json.Marshal(map[string]any{
		"model": "claude-sonnet-4-5", "max_tokens": 64, "stream": stream, "metadata": map[string]any{"user_id": user},
		"messages": []any{map[string]any{"role": "user", "content": text}},
	})
	if err != nil {
		return nil, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, base+"/v1/messages", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("X-Api-Key", "k")
	r.Header.Set("Anthropic-Version", "2023-06-01")
	return r, nil
}

// call makes calls for as long as it is told.
func call(ctx context.Context, way *process, callers int, long time.Duration) (taken, error) {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: callers}}
	defer client.CloseIdleConnections()
	one := func(caller, n int) (time.Duration, error) {
		// no two conversations are the same
		r, err := request(ctx, way.url, "user-"+strconv.Itoa(caller), fmt.Sprintf("%d %d %s", time.Now().UnixNano(), n, prompt), false)
		if err != nil {
			return 0, err
		}
		from := time.Now()
		resp, err := client.Do(r)
		if err != nil {
			return 0, err
		}
		defer resp.Body.Close()
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			return 0, err
		}
		if resp.StatusCode != http.StatusOK {
			return 0, errors.New(resp.Status)
		}
		return time.Since(from), nil
	}
	var mu sync.Mutex
	var took []time.Duration
	var failed error
	var workers sync.WaitGroup
	before, err := way.cpu()
	if err != nil {
		return taken{}, err
	}
	from := time.Now()
	for w := range callers {
		workers.Go(func() {
			var own []time.Duration
			var err error
			for n := w; time.Since(from) < long && err == nil; n += callers {
				var d time.Duration
				if d, err = one(w, n); err == nil {
					own = append(own, d)
				}
			}
			mu.Lock()
			defer mu.Unlock()
			took = append(took, own...)
			failed = errors.Join(failed, err)
		})
	}
	workers.Wait()
	all := time.Since(from)
	after, err := way.cpu()
	if err := errors.Join(failed, err); err != nil {
		return taken{}, err
	}
	slices.Sort(took)
	n := float64(len(took))
	return taken{
		p50: ms(took[len(took)/2]), p99: ms(took[len(took)*99/100]), rate: n / all.Seconds(),
		perCPU: n / max((after-before).Seconds(), 1.0/clockTick),
	}, nil
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// verify makes sure that what was measured was recorded.
func verify(ctx context.Context, set settings, dir string) error {
	out, err := exec.CommandContext(ctx, filepath.Join(set.root, "_build", "claudeaudit"), "verify", "--data", filepath.Join(dir, "data")).CombinedOutput()
	if err != nil {
		return fmt.Errorf("the ledger does not verify: %w: %s", err, out)
	}
	return nil
}
