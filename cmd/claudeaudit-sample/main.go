// Command claudeaudit-sample sends saved exports of real GenAI clients to a
// running collector, so that there is something to look at. It is a tool of
// this repository (`make sample`) and not installed with the product.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/claudeaudit/claudeaudit/internal/otlpclient"
)

type options struct {
	captures string
	httpAddr string
	grpcAddr string
	seed     uint64
	timeout  time.Duration
}

func main() {
	var o options
	flag.StringVar(&o.captures, "captures", "testdata/captures", "folder with *.otlp.json files, one export request each")
	flag.StringVar(&o.httpAddr, "http", "127.0.0.1:4318", "host:port of the collector's OTLP/HTTP receiver")
	flag.StringVar(&o.grpcAddr, "grpc", "127.0.0.1:4317", "host:port of the collector's OTLP/gRPC receiver")
	flag.Uint64Var(&o.seed, "seed", 1, "order in which the files are sent")
	flag.DurationVar(&o.timeout, "timeout", time.Minute, "how long one file is tried for")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Stdout, o); err != nil {
		fmt.Fprintln(os.Stderr, "claudeaudit-sample:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer, o options) error {
	files, err := filepath.Glob(filepath.Join(o.captures, "*.otlp.json"))
	if err != nil {
		return fmt.Errorf("list captures: %w", err)
	}
	if len(files) == 0 {
		return fmt.Errorf("no *.otlp.json in %s; run it from the root of the repository or name the folder with --captures", o.captures)
	}
	slices.Sort(files)
	rng := rand.New(rand.NewPCG(o.seed, 0))
	rng.Shuffle(len(files), func(i, j int) { files[i], files[j] = files[j], files[i] })

	for _, addr := range []string{o.httpAddr, o.grpcAddr} {
		if err := reachable(ctx, addr); err != nil {
			return err
		}
	}
	client, err := otlpclient.New(o.httpAddr, o.grpcAddr)
	if err != nil {
		return err
	}
	defer client.Close()

	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	var failed []string
	for i, file := range files {
		via := otlpclient.Transports[i%len(otlpclient.Transports)]
		name := filepath.Base(file)
		items, signal, err := send(ctx, client, file, via, o.timeout)
		if err != nil {
			failed = append(failed, name)
			fmt.Fprintf(table, "%s\t%s\t%v\n", name, via, err)
			continue
		}
		fmt.Fprintf(table, "%s\t%s\t%d %s\tok\n", name, via, items, signal)
	}
	if err := table.Flush(); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	if len(failed) > 0 {
		return fmt.Errorf("%d of %d files were not taken: %s", len(failed), len(files), strings.Join(failed, ", "))
	}
	fmt.Fprintf(out, "\nsent %d files\n", len(files))
	return nil
}

func send(ctx context.Context, client *otlpclient.Client, file string, via otlpclient.Transport, timeout time.Duration) (items int, what string, err error) {
	payload, err := otlpclient.ReadFile(file)
	if err != nil {
		return 0, "", err
	}
	what = "spans"
	if payload.Signal == otlpclient.Logs {
		what = "log records"
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	_, err = client.SendRetrying(ctx, payload, via)
	return payload.Items(), what, err
}

// reachable tells, before anything is sent, whether a collector listens at addr.
func reachable(ctx context.Context, addr string) error {
	dialer := net.Dialer{Timeout: 3 * time.Second}
	conn, err := dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		if errors.Is(err, context.Canceled) {
			return err
		}
		return fmt.Errorf("no collector at %s; start one with `make run` and try again (%w)", addr, err)
	}
	return conn.Close()
}
