package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/claudeaudit/claudeaudit/internal/freeport"
	"github.com/claudeaudit/claudeaudit/internal/otlpclient"
)

const (
	startTimeout = 60 * time.Second
	stopTimeout  = 60 * time.Second
	// how long the index may take to have what the ledger has
	followTimeout = 60 * time.Second
)

// program gives the absolute path of a built program, and skips or fails the
// test when it is not there.
func program(t *testing.T, name string) string {
	t.Helper()
	path := filepath.Join(repository(t), "_build", name)
	if _, err := os.Stat(path); err != nil {
		unavailable(t, "%s is missing: run make build", path)
	}
	return path
}

// unavailable skips a test that needs what isn't there, or fails it where all of it has to be.
func unavailable(t *testing.T, format string, args ...any) {
	t.Helper()
	if os.Getenv("CLAUDEAUDIT_E2E") == "required" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// repository is the absolute path of the root of the checkout.
func repository(t *testing.T) string {
	t.Helper()
	root, err := filepath.Abs("..")
	require.NoError(t, err)
	return root
}

// collector is one configured distribution with a data folder of its own. It
// can be started, stopped, killed and started again.
type collector struct {
	t *testing.T
	// configs are the --config arguments, later ones win.
	configs []string
	// dir is where it runs and what it writes to beside data: configuration, log.
	dir, data, log     string
	httpAddr, grpcAddr string
	// gateway is the base URL of the claude_gateway.
	gateway    string
	healthURL  string
	readyURL   string // of those that have one
	metricsURL string
	env        []string

	cmd    *exec.Cmd
	exited chan error // the end of cmd, one value
}

// newCollector prepares the distribution with a file of config/ on ports of its
// own, and with settings laid over it.
func newCollector(t *testing.T, configFile string, settings map[string]any) *collector {
	t.Helper()
	return newCollectorIn(t, t.TempDir(), configFile, settings)
}

// newCollectorIn is newCollector with a data folder below parent.
func newCollectorIn(t *testing.T, parent, configFile string, settings map[string]any) *collector {
	t.Helper()
	program(t, "otelcol-claudeaudit")
	program(t, "claudeaudit")
	dir := t.TempDir()
	c := &collector{
		t:    t,
		dir:  dir,
		data: filepath.Join(parent, "audit-data"),
		log:  filepath.Join(dir, "collector.log"),
	}
	c.httpAddr, c.grpcAddr = freeAddr(t), freeAddr(t)
	gateway := freeAddr(t)
	c.gateway = "http://" + gateway
	health := freeAddr(t)
	c.healthURL = "http://" + health + "/"
	ready := freeAddr(t)
	c.readyURL = "http://" + ready + "/"
	c.env = append(c.env, "CLAUDEAUDIT_READY_ENDPOINT="+ready)
	metrics := freeAddr(t)
	c.metricsURL = "http://" + metrics + "/metrics"
	metricsHost, port, err := net.SplitHostPort(metrics)
	require.NoError(t, err)
	metricsPort, err := strconv.Atoi(port)
	require.NoError(t, err)

	own := map[string]any{
		"receivers": map[string]any{"otlp": map[string]any{"protocols": map[string]any{
			"grpc": map[string]any{"endpoint": c.grpcAddr},
			"http": map[string]any{"endpoint": c.httpAddr},
		}}},
		"extensions": map[string]any{"health_check": map[string]any{"endpoint": health}},
		"service": map[string]any{"telemetry": map[string]any{"metrics": map[string]any{
			"readers": []any{map[string]any{"pull": map[string]any{"exporter": map[string]any{
				"prometheus": map[string]any{"host": metricsHost, "port": metricsPort},
			}}}},
		}}},
	}
	text, err := os.ReadFile(filepath.Join(repository(t), "config", configFile))
	require.NoError(t, err)
	if bytes.Contains(text, []byte("claude_gateway:")) {
		own["receivers"].(map[string]any)["claude_gateway"] = map[string]any{"endpoint": gateway}
	}
	c.configs = []string{
		filepath.Join(repository(t), "config", configFile),
		c.writeYAML("ports.yaml", own),
	}
	if settings != nil {
		c.configs = append(c.configs, c.writeYAML("settings.yaml", settings))
	}
	t.Cleanup(c.finish)
	return c
}

func (c *collector) writeYAML(name string, v any) string {
	c.t.Helper()
	out, err := yaml.Marshal(v)
	require.NoError(c.t, err)
	path := filepath.Join(c.dir, name)
	require.NoError(c.t, os.WriteFile(path, out, 0o600))
	return path
}

// launch starts the process and does not wait until it is ready.
func (c *collector) launch() {
	c.t.Helper()
	log, err := os.OpenFile(c.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(c.t, err)
	var args []string
	for _, config := range c.configs {
		args = append(args, "--config", config)
	}
	c.cmd = exec.Command(program(c.t, "otelcol-claudeaudit"), args...)
	c.cmd.Dir = c.dir
	c.cmd.Env = append(append(os.Environ(), "CLAUDEAUDIT_DATA="+c.data), c.env...)
	c.cmd.Stdout, c.cmd.Stderr = log, log
	require.NoError(c.t, c.cmd.Start())
	c.exited = make(chan error, 1)
	go func(cmd *exec.Cmd, exited chan<- error) {
		err := cmd.Wait()
		log.Close()
		exited <- err
	}(c.cmd, c.exited)
}

// start starts the process and waits until it is ready.
func (c *collector) start() {
	c.t.Helper()
	c.launch()
	c.waitReady()
}

func (c *collector) waitReady() {
	c.t.Helper()
	client := http.Client{Timeout: time.Second}
	deadline := time.Now().Add(startTimeout)
	for time.Now().Before(deadline) {
		select {
		case err := <-c.exited:
			c.cmd = nil
			c.t.Fatalf("collector ended before it was ready (%v):\n%s", err, c.logTail())
		case <-time.After(20 * time.Millisecond):
		}
		resp, err := client.Get(c.healthURL)
		if err != nil {
			continue
		}
		resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			return
		}
	}
	c.t.Fatalf("collector not ready within %v:\n%s", startTimeout, c.logTail())
}

// running tells whether the process is still there.
func (c *collector) running() bool {
	select {
	case err := <-c.exited:
		c.exited <- err
		return false
	default:
		return c.cmd != nil
	}
}

// stop ends the process as an operator does and checks that it ends well.
func (c *collector) stop() {
	c.t.Helper()
	if c.cmd == nil {
		return
	}
	require.NoError(c.t, c.cmd.Process.Signal(syscall.SIGTERM))
	select {
	case err := <-c.exited:
		require.NoError(c.t, err, "collector's log:\n%s", c.logTail())
	case <-time.After(stopTimeout):
		c.kill()
		c.t.Fatalf("collector did not stop within %v:\n%s", stopTimeout, c.logTail())
	}
	c.cmd = nil
}

// kill ends the process with SIGKILL.
func (c *collector) kill() {
	c.t.Helper()
	if c.cmd == nil {
		return
	}
	if err := c.cmd.Process.Kill(); !errors.Is(err, os.ErrProcessDone) {
		require.NoError(c.t, err)
	}
	<-c.exited
	c.cmd = nil
}

// waitExit waits for a process that should end by itself, and gives its exit status.
func (c *collector) waitExit(timeout time.Duration) int {
	c.t.Helper()
	select {
	case <-c.exited:
		code := c.cmd.ProcessState.ExitCode()
		c.cmd = nil
		return code
	case <-time.After(timeout):
		c.kill()
		c.t.Fatalf("collector still ran after %v:\n%s", timeout, c.logTail())
		return 0
	}
}

func (c *collector) finish() {
	c.kill()
	log := c.logText()
	for _, sign := range []string{"panic:", "fatal error:", "[signal SIG", "\ngoroutine "} {
		if i := strings.Index(log, sign); i >= 0 {
			c.t.Errorf("the collector panicked:\n%s", log[i:min(len(log), i+4000)])
			break
		}
	}
	if c.t.Failed() {
		c.t.Logf("end of the collector's log:\n%s", c.logTail())
	}
}

func (c *collector) logText() string {
	log, err := os.ReadFile(c.log)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		c.t.Errorf("read log: %v", err)
	}
	return string(log)
}

func (c *collector) logTail() string {
	const most = 6000
	log := c.logText()
	return log[max(0, len(log)-most):]
}

// in is the same collector seen from a subtest, for looking at it.
func (c *collector) in(t *testing.T) *collector {
	view := *c
	view.t = t
	return &view
}

// client makes an OTLP client for the collector, closed at the end of the test.
func (c *collector) client() *otlpclient.Client {
	c.t.Helper()
	client, err := otlpclient.New(c.httpAddr, c.grpcAddr)
	require.NoError(c.t, err)
	c.t.Cleanup(func() { require.NoError(c.t, client.Close()) })
	return client
}

// result is what a run of the claudeaudit command gave.
type result struct {
	stdout, stderr string
	code           int
}

func (r result) String() string {
	return fmt.Sprintf("exit %d\nstdout:\n%s\nstderr:\n%s", r.code, clip(r.stdout), clip(r.stderr))
}

func clip(s string) string {
	const most = 4000
	if len(s) <= most {
		return s
	}
	return s[:most/2] + "\n…\n" + s[len(s)-most/2:]
}

// claudeaudit runs the command with an empty standard input.
func claudeaudit(t *testing.T, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program(t, "claudeaudit"), args...)
	cmd.Dir = t.TempDir()
	cmd.Env = append(os.Environ(), "NO_COLOR=1")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("claudeaudit %s: %v", strings.Join(args, " "), err)
	}
	require.NoError(t, ctx.Err(), "claudeaudit %s did not end", strings.Join(args, " "))
	return result{stdout: stdout.String(), stderr: stderr.String(), code: cmd.ProcessState.ExitCode()}
}

// mustRun runs the command, which has to exit 0, and gives its output.
func mustRun(t *testing.T, args ...string) string {
	t.Helper()
	got := claudeaudit(t, args...)
	require.Zero(t, got.code, "claudeaudit %s: %s", strings.Join(args, " "), got)
	return got.stdout
}

// record is an audit record as the command prints it.
type record map[string]any

func (r record) text(key string) string {
	s, _ := r[key].(string)
	return s
}

// search gives all records that the index has for the arguments.
func (c *collector) search(args ...string) []record {
	c.t.Helper()
	return decodeRecords(c.t, mustRun(c.t, c.searchArgs(args)...))
}

func (c *collector) searchArgs(args []string) []string {
	return append([]string{"search", "--data", c.data, "--format", "json", "--limit", "0"}, args...)
}

// found is search for a collector whose index may not be there yet. What the ledger
// says of itself is left out.
func (c *collector) found(args ...string) []record {
	c.t.Helper()
	got := claudeaudit(c.t, c.searchArgs(args)...)
	if got.code != 0 {
		require.Contains(c.t, got.stderr, "there is no index", "%s", got)
		return nil
	}
	return slices.DeleteFunc(decodeRecords(c.t, got.stdout), func(r record) bool { return r.text("kind") == "system" })
}

// decodeRecords reads a JSON array of records, or one record after another.
func decodeRecords(t *testing.T, out string) []record {
	t.Helper()
	decoder := json.NewDecoder(strings.NewReader(out))
	decoder.UseNumber()
	var records []record
	for {
		var value any
		err := decoder.Decode(&value)
		if errors.Is(err, io.EOF) {
			return records
		}
		require.NoError(t, err, "output:\n%s", clip(out))
		switch value := value.(type) {
		case []any:
			for _, element := range value {
				require.IsType(t, map[string]any{}, element)
				records = append(records, element.(map[string]any))
			}
		case map[string]any:
			records = append(records, value)
		default:
			t.Fatalf("neither a record nor a list of them: %T", value)
		}
	}
}

// awaitRecords waits until the index has at least n records for the arguments.
func (c *collector) awaitRecords(n int, args ...string) []record {
	c.t.Helper()
	var records []record
	require.Eventually(c.t, func() bool {
		records = c.found(args...)
		return len(records) >= n
	}, followTimeout, 100*time.Millisecond, "the index never had %d records", n)
	return records
}

// verify checks the ledger and its witness, and wants them to hold.
func (c *collector) verify() {
	c.t.Helper()
	got := claudeaudit(c.t, "verify", "--data", c.data)
	require.Zero(c.t, got.code, "verify: %s", got)
}

// freeAddr gives a loopback address that nothing listens on.
func freeAddr(t *testing.T) string {
	t.Helper()
	addr, err := freeport.Addr()
	require.NoError(t, err)
	return addr
}
