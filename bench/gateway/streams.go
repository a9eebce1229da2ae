package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"
)

// streams measures how long chunks are on their way, from when upstream makes one until the client has it: 100
// streams at a time, of 50 chunks a second each.
func streams(ctx context.Context, set settings, ways []*process) error {
	for range set.rounds {
		got := map[string]taken{}
		for _, way := range ways {
			t, err := stream(ctx, way, 100, "[[fake: stamp rate=50 tokens=200]]", nil)
			if err != nil {
				return fmt.Errorf("%s: %w", way.name, err)
			}
			got[way.name] = t
			line("GatewayChunks/%s", way.name)("p50-ms", t.p50, "p99-ms", t.p99)
		}
		proxy, gateway := got["proxy"], got["gateway"]
		line("GatewayChunksAdded")("p50-ms", gateway.p50-proxy.p50, "p99-ms", gateway.p99-proxy.p99)
	}
	return nil
}

// stream reads n streams at a time. held is called once all of them have begun.
func stream(ctx context.Context, way *process, n int, text string, held func() error) (taken, error) {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: n}}
	defer client.CloseIdleConnections()
	var mu sync.Mutex
	var took []time.Duration
	var failed error
	var begun, ended sync.WaitGroup
	begun.Add(n)
	for i := range n {
		ended.Go(func() {
			// one after another, or all of the chunks would come at once
			time.Sleep(time.Duration(i) * time.Second / 50 / time.Duration(n))
			var once sync.Once
			own, err := read(ctx, client, way.url, text, func() { once.Do(begun.Done) })
			once.Do(begun.Done)
			mu.Lock()
			defer mu.Unlock()
			took = append(took, own...)
			failed = errors.Join(failed, err)
		})
	}
	begun.Wait()
	if held != nil {
		if err := held(); err != nil {
			return taken{}, err
		}
	}
	ended.Wait()
	if failed != nil {
		return taken{}, failed
	}
	slices.Sort(took)
	return taken{p50: ms(took[len(took)/2]), p99: ms(took[len(took)*99/100])}, nil
}

// read reads one stream, whose deltas are the time of their making.
func read(ctx context.Context, client *http.Client, base, text string, begun func()) ([]time.Duration, error) {
	r, err := request(ctx, base, "user", text, true)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, errors.New(resp.Status)
	}
	var took []time.Duration
	whole := false
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		now := time.Now()
		whole = whole || bytes.Contains(lines.Bytes(), []byte(`"message_stop"`))
		_, delta, ok := bytes.Cut(lines.Bytes(), []byte(`"text_delta","text":"`))
		if !ok {
			continue
		}
		made, err := strconv.ParseInt(string(delta[:max(0, bytes.IndexByte(delta, ' '))]), 10, 64)
		if err != nil {
			return nil, fmt.Errorf("a delta without its time: %w", err)
		}
		took = append(took, now.Sub(time.Unix(0, made)))
		begun()
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	if !whole || len(took) == 0 {
		return nil, errors.New("the stream has no end")
	}
	return took, nil
}

// memory measures what an open stream costs: by how much a gateway that has done no more than a few calls grows by 300 streams,
// divided by their number.
func memory(ctx context.Context, set settings, dir, upstream string) error {
	const open = 300
	for i := range set.rounds {
		own := filepath.Join(dir, "memory-"+strconv.Itoa(i))
		if err := os.Mkdir(own, 0o700); err != nil {
			return err
		}
		gateway, err := startGateway(ctx, set, own, upstream)
		if err != nil {
			return err
		}
		err = func() error {
			defer gateway.stop()
			if _, err := call(ctx, gateway, 1, roundTime/4); err != nil {
				return err
			}
			before, err := gateway.resident()
			if err != nil {
				return err
			}
			_, err = stream(ctx, gateway, open, "[[fake: stamp rate=10 tokens=40]]", func() error {
				during, err := gateway.resident()
				line("GatewayMemory")("KiB/stream", float64(during-before)/open/1024)
				return err
			})
			return err
		}()
		if err != nil {
			return err
		}
	}
	return nil
}
