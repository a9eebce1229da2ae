// Command gateway measures what the gateway adds to calls of the Messages API: the same calls are made
// direct, through a bare pass-through proxy, through one that has the request on disk before it forwards it, through
// the gateway of config/local.yaml, whose every call is recorded on disk before it is forwarded, and through
// LiteLLM's proxy with logging on. All are processes of their own on one machine, in front of the same stand-in for
// the API, and take turns within one run. It prints lines as `go test -bench` does, for the command figures.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/claudeaudit/claudeaudit/internal/fakeclaude"
)

// roles are what this program is when it starts itself.
var roles = map[string]func(target, log string) (http.Handler, error){
	"upstream": func(string, string) (http.Handler, error) { return fakeclaude.New(fakeclaude.Config{Keep: -1}) },
	"proxy": func(target, _ string) (http.Handler, error) {
		return bareProxy(target, func([]byte) error { return nil })
	},
	"proxy-sync": func(target, log string) (http.Handler, error) {
		f, err := os.Create(log)
		if err != nil {
			return nil, err
		}
		var mu sync.Mutex
		return bareProxy(target, func(body []byte) error {
			mu.Lock()
			defer mu.Unlock()
			if _, err := f.Write(body); err != nil {
				return err
			}
			return unix.Fdatasync(int(f.Fd()))
		})
	},
}

// bareProxy forwards what first has taken.
func bareProxy(target string, first func(body []byte) error) (http.Handler, error) {
	to, err := url.Parse(target)
	proxy := &httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(to) },
		FlushInterval: -1,
		Transport:     &http.Transport{MaxIdleConnsPerHost: 1024, DisableCompression: true},
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// With the body passed on as it comes, it cuts a stream now and then when many begin at once.
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // the client has gone
		}
		if err := first(body); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		proxy.ServeHTTP(w, r)
	}), err
}

func main() {
	role := flag.String("role", "", "what the program is when it starts itself")
	target := flag.String("target", "", "base URL that the role forwards to")
	log := flag.String("log", "", "file that the role syncs requests to")
	root := flag.String("root", "..", "root of the source tree, with the built programs in _build")
	count := flag.Int("count", 3, "rounds of every measurement; whole calls take three times as many")
	config := flag.String("config", "", "a further configuration file of the gateway, to look at one setting")
	parts := flag.String("parts", "calls,streams,memory,litellm", "what to measure")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	var err error
	if *role != "" {
		err = serve(ctx, *role, *target, *log)
	} else {
		err = run(ctx, settings{root: *root, rounds: *count, config: *config, parts: partsOf(*parts)})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "gateway:", err)
		os.Exit(1)
	}
}

// serve is a role: it says where it listens, and ends with its standard input.
func serve(ctx context.Context, role, target, log string) error {
	make, ok := roles[role]
	if !ok {
		return fmt.Errorf("-role: there is no %q", role)
	}
	handler, err := make(target, log)
	if err != nil {
		return err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Printf("http://%s\n", listener.Addr())
	server := &http.Server{Handler: handler}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		_ = server.Close()
	}()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

type settings struct {
	root   string
	rounds int
	config string
	parts  map[string]bool
}

func run(ctx context.Context, set settings) error {
	root, err := filepath.Abs(set.root)
	if err != nil {
		return err
	}
	set.root = root
	// beside the programs, because the folder for temporary files may be in memory, where a sync costs nothing
	dir, err := os.MkdirTemp(filepath.Join(root, "_build"), "gateway-")
	if err != nil {
		return fmt.Errorf("%w: run make build", err)
	}
	defer os.RemoveAll(dir)
	upstream, err := startSelf(ctx, "upstream", "", "")
	if err != nil {
		return err
	}
	defer upstream.stop()
	proxy, err := startSelf(ctx, "proxy", upstream.url, "")
	if err != nil {
		return err
	}
	defer proxy.stop()
	syncing, err := startSelf(ctx, "proxy-sync", upstream.url, filepath.Join(dir, "requests"))
	if err != nil {
		return err
	}
	defer syncing.stop()
	gateway, err := startGateway(ctx, set, dir, upstream.url)
	if err != nil {
		return err
	}
	defer gateway.stop()
	ways := []*process{upstream, proxy, gateway}
	whole := append(slices.Clone(ways), syncing)
	var litellm *process
	if set.parts["litellm"] {
		litellm, err = startLiteLLM(ctx, dir, upstream.url)
		if err != nil {
			fmt.Fprintln(os.Stderr, "LiteLLM is not measured:", err)
		} else {
			defer litellm.stop()
			whole = append(whole, litellm)
		}
	}
	if set.parts["calls"] || set.parts["litellm"] {
		if err := calls(ctx, set, whole); err != nil {
			return err
		}
	}
	if logged, err := os.Stat(filepath.Join(dir, "calls.jsonl")); litellm != nil && (err != nil || logged.Size() == 0) {
		return errors.New("LiteLLM did not log its calls")
	}
	if set.parts["streams"] {
		if err := streams(ctx, set, ways); err != nil {
			return err
		}
	}
	if set.parts["memory"] {
		if err := memory(ctx, set, dir, upstream.url); err != nil {
			return err
		}
	}
	gateway.stop()
	return verify(ctx, set, dir)
}
