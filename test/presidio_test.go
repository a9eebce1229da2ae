package e2e

import (
	"bufio"
	"context"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"

	"github.com/claudeaudit/claudeaudit/internal/audit"
	"github.com/claudeaudit/claudeaudit/internal/detect"
	"github.com/claudeaudit/claudeaudit/internal/dlp"
	"github.com/claudeaudit/claudeaudit/internal/foreignenv"
)

// presidio is a running server with Presidio's analyzer.
type presidio struct {
	python string
	port   int
	cmd    *exec.Cmd
}

func newPresidio(t *testing.T) *presidio {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	python, err := foreignenv.Python(ctx, foreignenv.Detection)
	if err != nil {
		unavailable(t, "Presidio's analyzer can't be had: %v", err)
	}
	p := &presidio{python: python}
	t.Cleanup(func() { p.stop(t) })
	p.start(t)
	return p
}

// start starts the server, on the same port as before.
func (p *presidio) start(t *testing.T) {
	t.Helper()
	p.cmd = exec.Command(p.python, "testdata/presidio_server.py", strconv.Itoa(p.port))
	var said strings.Builder
	p.cmd.Stderr = &said
	out, err := p.cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, p.cmd.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	if err == nil {
		p.port, err = strconv.Atoi(strings.TrimSpace(line))
	}
	if err != nil {
		p.stop(t)
		t.Fatalf("Presidio's analyzer did not start: %v\n%s", err, said.String())
	}
}

func (p *presidio) stop(t *testing.T) {
	if p.cmd == nil {
		return
	}
	if err := p.cmd.Process.Kill(); err != nil {
		t.Logf("stop Presidio's analyzer: %v", err)
	}
	_ = p.cmd.Wait() // the status of a killed process says nothing
	p.cmd = nil
}

func (p *presidio) client(t *testing.T, change func(*dlp.Config)) *dlp.Client {
	t.Helper()
	cfg := dlp.NewDefaultConfig()
	cfg.ClientConfig.Endpoint = fmt.Sprintf("http://127.0.0.1:%d/analyze", p.port)
	cfg.Protocol = dlp.ProtocolPresidio
	cfg.ClientConfig.Timeout, cfg.CallTimeout = 20*time.Second, time.Minute
	if change != nil {
		change(&cfg)
	}
	require.NoError(t, cfg.Validate())
	c, err := dlp.New(t.Context(), cfg, nil, componenttest.NewNopTelemetrySettings())
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

// The client and the real analyzer understand each other.
func TestPresidio(t *testing.T) {
	p := newPresidio(t)
	counts := func(res dlp.Result) map[string]int {
		out := map[string]int{}
		for _, d := range res.Detections {
			out[d.Type] += d.Count
		}
		return out
	}

	t.Run("types", func(t *testing.T) {
		c := p.client(t, nil)
		res, err := c.Classify(t.Context(), []detect.Segment{
			{Origin: detect.System, Text: "Du hilfst Kundinnen – freundlich 🙂."},
			{Origin: detect.User, Text: "🙂 Grüße an anna@example.org und bob@example.org, card 4111 1111 1111 1111, IBAN GB82 WEST 1234 5698 7654 32, host 10.1.2.3"},
		}, detect.Scope{})
		require.NoError(t, err)
		require.Empty(t, res.Flags)
		require.Equal(t, map[string]int{"email": 2, "credit_card": 1, "iban": 1, "ip_address": 1}, counts(res))

		engine, err := detect.New(detect.Config{})
		require.NoError(t, err)
		merged := dlp.Merge(engine, detect.Scope{}, detect.Result{}, res)
		require.Equal(t, audit.Restricted, merged.Level)
		require.Contains(t, merged.Basis, "external.")
	})

	t.Run("long text in parts", func(t *testing.T) {
		c := p.client(t, func(cfg *dlp.Config) {
			cfg.MaxTextBytes, cfg.OverlapBytes = 4096, 128
		})
		var text strings.Builder
		n := 0
		for text.Len() < 60_000 {
			fmt.Fprintf(&text, "Zeile %d für person%d@example.org 🙂%s\n", n, n, strings.Repeat(" wörter", n%13))
			n++
		}
		res, err := c.Classify(t.Context(), []detect.Segment{{Text: text.String()}}, detect.Scope{})
		require.NoError(t, err)
		require.Empty(t, res.Flags)
		require.Equal(t, n, counts(res)["email"])
		require.Greater(t, c.Stats().Requests, int64(10))
	})

	t.Run("it says no", func(t *testing.T) {
		c := p.client(t, func(cfg *dlp.Config) { cfg.Language = "xx" })
		res, err := c.Classify(t.Context(), []detect.Segment{{Text: "anna@example.org"}}, detect.Scope{})
		require.NoError(t, err)
		require.Equal(t, dlp.Result{Flags: []string{dlp.FlagUnavailable}}, res)
	})

	t.Run("it goes and comes back", func(t *testing.T) {
		breaker := dlp.BreakerConfig{Failures: 2, Open: 50 * time.Millisecond}
		refusing := p.client(t, func(cfg *dlp.Config) { cfg.OnFailure, cfg.Breaker, cfg.Cache.Entries = dlp.OnFailureRefuse, breaker, 0 })
		ask := func() error {
			_, err := refusing.Classify(t.Context(), []detect.Segment{{Text: "anna@example.org"}}, detect.Scope{})
			return err
		}
		require.NoError(t, ask())
		p.stop(t)
		for range 4 {
			require.ErrorIs(t, ask(), dlp.ErrUnavailable)
		}
		require.True(t, refusing.Stats().Open)
		p.start(t)
		require.Eventually(t, func() bool { return ask() == nil }, 20*time.Second, 50*time.Millisecond)
		require.False(t, refusing.Stats().Open)
	})
}
