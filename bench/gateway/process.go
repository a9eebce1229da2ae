package main

import (
	"bufio"
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
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/claudeaudit/claudeaudit/internal/foreignenv"
	"github.com/claudeaudit/claudeaudit/internal/freeport"
)

// process is a server that is measured.
type process struct {
	name, url string
	cmd       *exec.Cmd
	stdin     io.Closer // closed to end it; nil: it is told by a signal
	done      chan struct{}
}

// startSelf starts this program in a role.
func startSelf(ctx context.Context, role, target, log string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self, "-role", role, "-target", target, "-log", log)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	url, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", role, err), stdin.Close(), cmd.Wait())
	}
	name := role
	if role == "upstream" {
		name = "direct"
	}
	return &process{name: name, url: strings.TrimSpace(url), cmd: cmd, stdin: stdin, done: waited(cmd)}, nil
}

func waited(cmd *exec.Cmd) chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = cmd.Wait() // how it ended shows in what it did
	}()
	return done
}

// startGateway starts the built collector, with its data under dir.
func startGateway(ctx context.Context, set settings, dir, upstream string) (*process, error) {
	addr, err := freeport.Addr()
	if err != nil {
		return nil, err
	}
	// the settings of config/local.yaml, but for the ports
	ports := map[string]any{
		"receivers": map[string]any{
			"claude_gateway": map[string]any{"endpoint": addr},
			"otlp":           map[string]any{"protocols": map[string]any{"grpc": map[string]any{"endpoint": "127.0.0.1:0"}, "http": map[string]any{"endpoint": "127.0.0.1:0"}}},
		},
		"extensions": map[string]any{"health_check": map[string]any{"endpoint": "127.0.0.1:0"}},
		"service":    map[string]any{"telemetry": map[string]any{"metrics": map[string]any{"level": "none"}}},
	}
	text, err := json.Marshal(ports) // which is YAML too
	if err != nil {
		return nil, err
	}
	own := filepath.Join(dir, "ports.yaml")
	if err := os.WriteFile(own, text, 0o600); err != nil {
		return nil, err
	}
	args := []string{"--config", filepath.Join(set.root, "config", "local.yaml"), "--config", own}
	if set.config != "" {
		args = append(args, "--config", set.config)
	}
	cmd := exec.CommandContext(ctx, filepath.Join(set.root, "_build", "otelcol-claudeaudit"), args...)
	cmd.Env = append(os.Environ(), "CLAUDEAUDIT_UPSTREAM="+upstream, "CLAUDEAUDIT_DATA="+filepath.Join(dir, "data"))
	return start(ctx, "gateway", "http://"+addr, "/", cmd, filepath.Join(dir, "gateway.log"))
}

// litellmConfig sends one model to the stand-in, and logs every call to a file.
const litellmConfig = `model_list:
  - model_name: claude-sonnet-4-5
    litellm_params: {model: anthropic/claude-sonnet-4-5, api_base: %q, api_key: k}
litellm_settings:
  callbacks: log_calls.log
  telemetry: false
`

// litellmLog is the logger of LiteLLM's documentation: what it is told of a call goes into a file, a line a call. Nothing is synced.
const litellmLog = `import json
from litellm.integrations.custom_logger import CustomLogger

class Log(CustomLogger):
    def __init__(self):
        super().__init__()
        self.out = open("calls.jsonl", "a")

    async def async_log_success_event(self, kwargs, response_obj, start_time, end_time):
        self.out.write(json.dumps(kwargs.get("standard_logging_object"), default=str) + "\n")
        self.out.flush()

log = Log()
`

// startLiteLLM starts LiteLLM's proxy with one worker. The error says why it can't be had.
func startLiteLLM(ctx context.Context, dir, upstream string) (*process, error) {
	python, err := foreignenv.Python(ctx, foreignenv.LiteLLM)
	if err != nil {
		return nil, err
	}
	addr, err := freeport.Addr()
	if err != nil {
		return nil, err
	}
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	for name, text := range map[string]string{"litellm.yaml": fmt.Sprintf(litellmConfig, upstream), "log_calls.py": litellmLog} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	cmd := exec.CommandContext(ctx, python, "-c", "from litellm.proxy.proxy_cli import run_server; run_server()",
		"--config", "litellm.yaml", "--host", "127.0.0.1", "--port", port, "--num_workers", "1", "--telemetry", "False")
	cmd.Env = append(os.Environ(), "LITELLM_LOCAL_MODEL_COST_MAP=True", "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY=true", "LITELLM_LOG=ERROR", "NO_PROXY=127.0.0.1")
	return start(ctx, "litellm", "http://"+addr, "/health/liveliness", cmd, filepath.Join(dir, "litellm.log"))
}

// start starts a server and waits until it answers.
func start(ctx context.Context, name, url, ready string, cmd *exec.Cmd, log string) (*process, error) {
	out, err := os.Create(log)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	cmd.Dir, cmd.Stdout, cmd.Stderr = filepath.Dir(log), out, out
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{name: name, url: url, cmd: cmd, done: waited(cmd)}
	client := http.Client{Timeout: time.Second}
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline) && ctx.Err() == nil; {
		select {
		case <-p.done:
			return nil, fmt.Errorf("%s ended before it was ready: %s", name, tail(log))
		case <-time.After(50 * time.Millisecond):
		}
		r, err := http.NewRequestWithContext(ctx, http.MethodHead, url+ready, nil)
		if name == "litellm" {
			r, err = http.NewRequestWithContext(ctx, http.MethodGet, url+ready, nil)
		}
		if err != nil {
			return nil, err
		}
		if resp, err := client.Do(r); err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return p, nil
			}
		}
	}
	p.stop()
	return nil, fmt.Errorf("%s was not ready in time: %s", name, tail(log))
}

func tail(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return string(b[max(0, len(b)-2000):])
}

// stop ends the process; it may be called twice.
func (p *process) stop() {
	if p.stdin != nil {
		_ = p.stdin.Close()
	} else {
		_ = p.cmd.Process.Signal(syscall.SIGTERM)
	}
	select {
	case <-p.done:
	case <-time.After(time.Minute):
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

// clockTick is USER_HZ, which is 100 on every architecture of Linux that Go has.
const clockTick = 100

// cpu is the CPU time of the process so far. Only Linux tells it.
func (p *process) cpu() (time.Duration, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	f := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	const utime, stime = 11, 12
	if len(f) <= stime {
		return 0, errors.New("/proc has a stat of another form")
	}
	var ticks int64
	for _, s := range [][]byte{f[utime], f[stime]} {
		n, err := strconv.ParseInt(string(s), 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * time.Second / clockTick, nil
}

// resident is the memory that the process has, in bytes.
func (p *process) resident() (int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	f := bytes.Fields(b)
	if len(f) < 2 {
		return 0, errors.New("/proc has a statm of another form")
	}
	n, err := strconv.ParseInt(string(f[1]), 10, 64)
	return n * int64(os.Getpagesize()), err
}
