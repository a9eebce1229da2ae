package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/claudeaudit/claudeaudit/internal/fakeclaude"
	"github.com/claudeaudit/claudeaudit/internal/foreignenv"
)

// nodeModules is a folder with modules for Node.js.
func nodeModules(t *testing.T, set foreignenv.NodeSet) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	dir, err := foreignenv.Node(ctx, set)
	if err != nil {
		unavailable(t, "the clients for Node.js can't be had: %v", err)
	}
	return dir
}

// The SDKs for TypeScript and JavaScript give through the gateway what they give without it: every message, event, header, id and
// error, to the byte. Upstream is sent the same, but for the signature of AWS.
func TestGatewayWithTheNodeSDKs(t *testing.T) {
	modules := nodeModules(t, foreignenv.NodeSDKs)
	keys := fakeclaude.Config{AWSKey: "AKIDGATEWAY", AWSSecret: "of the gateway"}
	behind, url := upstream(t, keys)
	c := newCollector(t, "local.yaml", map[string]any{"receivers": map[string]any{"claude_gateway": map[string]any{"upstreams": map[string]any{
		"bedrock": map[string]any{"endpoint": url, "region": "eu-central-1", "access_key_id": "AKIDGATEWAY", "secret_access_key": "of the gateway"},
		"vertex":  map[string]any{"endpoint": url},
	}}}})
	c.env = append(c.env, "CLAUDEAUDIT_UPSTREAM="+url)
	c.start()
	direct, directURL := upstream(t, fakeclaude.Config{})
	for _, script := range []string{"messages.mjs", "clouds.mjs"} {
		without := runSDK(t, "node", filepath.Join("sdk", script), directURL, modules)
		with := runSDK(t, "node", filepath.Join("sdk", script), c.gateway, modules)
		require.Greater(t, strings.Count(without, "\n"), 10)
		require.Equal(t, without, with)
	}
	a, b := requests(direct), requests(behind)
	require.Len(t, b, len(a))
	h2 := 0
	for i := range a {
		require.Equal(t, a[i].Path+"?"+a[i].Query, b[i].Path+"?"+b[i].Query)
		require.Equal(t, a[i].BodySHA256, b[i].BodySHA256)
		if b[i].Surface == "bedrock" {
			require.Equal(t, "valid", b[i].SigV4)
		}
		if a[i].Proto == "HTTP/2.0" {
			h2++
		}
	}
	require.Positive(t, h2, "the SDK of AWS speaks HTTP/2 without TLS")
	c.awaitStatus(len(b), "success", "error", "interrupted")
	c.requireOneToOne(behind)
	c.stop()
	c.verify()
}

// ofTheMoment is what differs between two runs of Claude Code.
var ofTheMoment = regexp.MustCompile(`"(duration_ms|duration_api_ms|ttft_ms|ttft_stream_ms|time_to_request_ms)":\d+|"(session_id|uuid)":"[^"]*"`)

// Claude Code completes a turn with a tool through the gateway as it does without, and its session and every prompt are recorded.
func TestGatewayWithClaudeCode(t *testing.T) {
	// of the package for this platform
	found, err := filepath.Glob(filepath.Join(nodeModules(t, foreignenv.ClaudeCode), "node_modules", "@anthropic-ai", "claude-code-*", "claude"))
	require.NoError(t, err)
	require.NotEmpty(t, found)
	claude := found[0]
	c, behind, _ := newGateway(t, nil)
	c.start()
	_, directURL := upstream(t, fakeclaude.Config{})
	home := filepath.Join(t.TempDir(), "home") // the same for all: its name is in the prompt
	run := func(base, prompt string) string {
		require.NoError(t, os.RemoveAll(home))
		require.NoError(t, os.Mkdir(home, 0o700))
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, claude, "-p", prompt, "--output-format", "json", "--allowedTools", "Bash(echo:*)")
		cmd.Dir = home
		cmd.Env = []string{
			"HOME=" + home, "PATH=" + os.Getenv("PATH"), "ANTHROPIC_BASE_URL=" + base, "ANTHROPIC_AUTH_TOKEN=sk-of-claude-code",
			"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1", "DISABLE_AUTOUPDATER=1", "NO_PROXY=127.0.0.1",
		}
		var said strings.Builder
		cmd.Stderr = &said
		out, err := cmd.Output()
		require.NoError(t, err, "%s%s", out, &said)
		return ofTheMoment.ReplaceAllString(string(out), "")
	}
	for _, prompt := range []string{"hello there", `[[fake: tool=Bash input='{"command":"echo whales","description":"say it"}']]`} {
		without, with := run(directURL, prompt), run(c.gateway, prompt)
		require.Contains(t, with, `"is_error":false`)
		require.Equal(t, without, with)
	}
	sent := requests(behind)
	require.GreaterOrEqual(t, len(sent), 3, "a turn, and one with a tool's result")
	for _, r := range c.awaitStatus(len(sent), "success") {
		require.NotEmpty(t, r.text("session_id"))
		require.NotEmpty(t, r.text("prompt_hash"))
	}
	c.requireOneToOne(behind)
	c.stop()
	c.verify()
	c.requireNowhere(map[string]string{"sk-of-claude-code": "the client's key"})
}
