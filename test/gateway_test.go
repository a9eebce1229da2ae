package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/anthropics/anthropic-sdk-go"
	"github.com/anthropics/anthropic-sdk-go/option"
	"github.com/stretchr/testify/require"

	"github.com/claudeaudit/claudeaudit/internal/fakeclaude"
	"github.com/claudeaudit/claudeaudit/internal/foreignenv"
)

// upstream is a fake of the places where Claude is served.
func upstream(t *testing.T, cfg fakeclaude.Config) (*fakeclaude.Server, string) {
	t.Helper()
	cfg.LogBodyMax = -1
	fake, err := fakeclaude.New(cfg)
	require.NoError(t, err)
	server := httptest.NewUnstartedServer(fake)
	server.Config.Protocols = new(http.Protocols)
	server.Config.Protocols.SetHTTP1(true)
	server.Config.Protocols.SetUnencryptedHTTP2(true)
	server.Start()
	t.Cleanup(server.Close)
	return fake, server.URL
}

// newGateway is a collector whose gateway forwards to a fake.
func newGateway(t *testing.T, settings map[string]any) (*collector, *fakeclaude.Server, string) {
	t.Helper()
	fake, url := upstream(t, fakeclaude.Config{})
	c := newCollector(t, "local.yaml", settings)
	c.env = append(c.env, "CLAUDEAUDIT_UPSTREAM="+url)
	return c, fake, url
}

// The first thing that anyone tries: the SDK, pointed at the gateway of `make run`.
func TestGatewayWithTheGoSDK(t *testing.T) {
	c, _, _ := newGateway(t, nil)
	c.start()
	client := anthropic.NewClient(option.WithBaseURL(c.gateway), option.WithAPIKey("sk-ant-not-for-the-ledger"), option.WithMaxRetries(0))
	params := anthropic.MessageNewParams{
		Model: "claude-sonnet-4-5", MaxTokens: 64,
		Messages: []anthropic.MessageParam{anthropic.NewUserMessage(anthropic.NewTextBlock("hello there"))},
		Metadata: anthropic.MetadataParam{UserID: anthropic.String("u-4711")},
	}
	message, err := client.Messages.New(t.Context(), params)
	require.NoError(t, err)
	require.Equal(t, fakeclaude.DefaultText("hello there"), message.Content[0].Text)

	stream := client.Messages.NewStreaming(t.Context(), params)
	var streamed anthropic.Message
	for stream.Next() {
		require.NoError(t, streamed.Accumulate(stream.Current()))
	}
	require.NoError(t, stream.Err())
	require.Equal(t, fakeclaude.DefaultText("hello there"), streamed.Content[0].Text)

	params.Messages[0] = anthropic.NewUserMessage(anthropic.NewTextBlock("[[fake: error=429]]"))
	_, err = client.Messages.New(t.Context(), params)
	var failure *anthropic.Error
	require.ErrorAs(t, err, &failure)
	require.Equal(t, http.StatusTooManyRequests, failure.StatusCode)

	records := c.awaitStatus(3, "success", "error")
	byID := map[string]record{}
	for _, r := range records {
		byID[r.text("response_id")] = r
	}
	for _, id := range []string{message.ID, streamed.ID} {
		r := byID[id]
		require.NotNil(t, r, id)
		require.Equal(t, "success", r.text("status"))
		require.Equal(t, "gateway", r["source"].(map[string]any)["evidence"])
		require.Equal(t, "complete", r.text("ended"))
		require.Equal(t, "u-4711", r.text("user_id"))
		require.Equal(t, "asserted", r.text("identity_assurance"))
		require.Equal(t, "127.0.0.0", r.text("ip_address"))
		require.Equal(t, "end_turn", r.text("stop_reason"))
		require.Equal(t, fmt.Sprint(message.Usage.InputTokens), fmt.Sprint(r["prompt_tokens"]))
		require.Equal(t, fmt.Sprint(message.Usage.OutputTokens), fmt.Sprint(r["completion_tokens"]))
	}
	// The same conversation, streamed or not, has the same hashes.
	require.Equal(t, byID[message.ID].text("prompt_hash"), byID[streamed.ID].text("prompt_hash"))
	require.Equal(t, byID[message.ID].text("response_hash"), byID[streamed.ID].text("response_hash"))
	require.NotEmpty(t, byID[message.ID].text("response_hash"))
	refused := byID[""]
	require.Equal(t, "rate_limit_error", refused.text("error_type"))
	require.Equal(t, "429", fmt.Sprint(refused["http_status"]))
	c.stop()
	c.verify()
	c.requireNowhere(map[string]string{"sk-ant-not-for-the-ledger": "the client's key", "hello there": "the prompt"})
}

// awaitStatus waits until n records have one of the statuses.
func (c *collector) awaitStatus(n int, statuses ...string) []record {
	c.t.Helper()
	var records []record
	require.Eventually(c.t, func() bool {
		records = records[:0]
		for _, r := range c.found("--kind", "all") {
			for _, s := range statuses {
				if r.text("status") == s {
					records = append(records, r)
				}
			}
		}
		return len(records) >= n
	}, followTimeout, 100*time.Millisecond, "the index never had %d records of status %v", n, statuses)
	return records
}

// What a client sees through the gateway is what it sees without it, byte for byte.
func TestGatewayIsTransparent(t *testing.T) {
	c, behind, _ := newGateway(t, nil)
	direct, directURL := upstream(t, fakeclaude.Config{})
	c.start()
	ask := func(base, body string, header map[string]string) (int, http.Header, string, bool) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, base+"/v1/messages?beta=true", strings.NewReader(body))
		require.NoError(t, err)
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("X-Api-Key", "k")
		r.Header.Set("Anthropic-Version", "2023-06-01")
		r.Header.Set("Anthropic-Beta", "some-beta-2026-01-01")
		for k, v := range header {
			r.Header.Set(k, v)
		}
		transport := &http.Transport{DisableCompression: true}
		defer transport.CloseIdleConnections()
		resp, err := transport.RoundTrip(r)
		require.NoError(t, err)
		defer resp.Body.Close()
		got, err := io.ReadAll(resp.Body)
		return resp.StatusCode, resp.Header, string(got), err != nil
	}
	n := 0
	for _, prompt := range []string{
		"hi", "[[fake: server_tool]]", "[[fake: unknown thinking redacted]]", "[[fake: error=529 retry_after=3]]", "[[fake: error=400]]",
		"[[fake: crlf ping_every=2 tokens=40 split=11]]", "[[fake: midstream_error after=3 tokens=9]]", "[[fake: cut after=3 tokens=9]]",
		"[[fake: no_stop tokens=3]]", "[[fake: gzip tokens=200]]", "Zażółć gęślą jaźń \\u0041 \u2028 \U0001F600",
	} {
		for _, stream := range []string{"", `,"stream":true`} {
			// Number forms, order of keys, white space and escapes are the client's.
			body := `{ "max_tokens":1.0e2,"messages":[{"content":` + quoted(prompt) + `,"role":"user"}],` + "\n" + `"model":"claude-sonnet-4-5","unknown":{"b":1,"a":2}` + stream + `}`
			for _, header := range []map[string]string{nil, {"Accept-Encoding": "gzip"}} {
				status, h, got, broken := ask(directURL, body, header)
				status2, h2, got2, broken2 := ask(c.gateway, body, header)
				require.Equal(t, status, status2, prompt)
				require.Equal(t, got, got2, prompt)
				require.Equal(t, broken, broken2, prompt)
				// A header of the moment, and nothing else, differs.
				for _, name := range []string{"Date", "Anthropic-Ratelimit-Requests-Reset", "Anthropic-Ratelimit-Tokens-Reset", "Anthropic-Ratelimit-Input-Tokens-Reset", "Anthropic-Ratelimit-Output-Tokens-Reset"} {
					h.Del(name)
					h2.Del(name)
				}
				require.Equal(t, h, h2, prompt)
				n++
			}
		}
	}
	a, b := requests(direct), requests(behind)
	require.Len(t, a, n)
	require.Len(t, b, n)
	for i := range a {
		require.Equal(t, a[i].Body, b[i].Body)
		require.Equal(t, a[i].Headers, b[i].Headers)
		require.Equal(t, a[i].Path+"?"+a[i].Query, b[i].Path+"?"+b[i].Query)
		require.Equal(t, a[i].Auth, b[i].Auth)
	}
}

// requests are what reached the fake, in order.
func requests(fake *fakeclaude.Server) []fakeclaude.Record {
	var out []fakeclaude.Record
	for _, r := range fake.Records() {
		if r.Kind == "request" {
			out = append(out, r)
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Seq < out[j].Seq })
	return out
}

func quoted(s string) string {
	out, err := json.Marshal(s)
	if err != nil {
		panic(err) // of a string: cannot be
	}
	return string(out)
}

// The official Python SDK works unchanged, with what it was made for: tools, streams, errors and their retries.
func TestGatewayWithThePythonSDK(t *testing.T) {
	python := pythonSDKs(t)
	c, fake, _ := newGateway(t, nil)
	c.start()
	out := runSDK(t, python, filepath.Join("sdk", "messages.py"), c.gateway)
	require.Contains(t, out, " passed, 0 failed")
	c.awaitStatus(len(requests(fake)), "success", "error", "interrupted")
	records := c.found("--kind", "all")
	require.Len(t, records, len(requests(fake)), "one record for each request that reached upstream, retries too")
	c.requireOneToOne(fake)
	c.stop()
	c.verify()
}

// The clients for the clouds work unchanged: those for Bedrock with credentials that aren't the provider's, because the
// gateway signs anew.
func TestGatewayWithTheCloudSDKs(t *testing.T) {
	python := pythonSDKs(t)
	fake, url := upstream(t, fakeclaude.Config{AWSKey: "AKIDGATEWAY", AWSSecret: "of the gateway"})
	endpoint := map[string]any{"endpoint": url}
	c := newCollector(t, "local.yaml", map[string]any{"receivers": map[string]any{"claude_gateway": map[string]any{"upstreams": map[string]any{
		"bedrock": map[string]any{"endpoint": url, "region": "eu-central-1", "access_key_id": "AKIDGATEWAY", "secret_access_key": "of the gateway"},
		"vertex":  endpoint, "foundry": endpoint,
	}}}})
	c.start()
	out := runSDK(t, python, filepath.Join("sdk", "clouds.py"), c.gateway)
	require.Contains(t, out, " passed, 0 failed")
	for _, q := range requests(fake) {
		if q.Surface == "bedrock" {
			require.Equal(t, "valid", q.SigV4)
		}
	}
	c.awaitStatus(len(requests(fake))+1, "success", "error", "blocked")
	c.requireOneToOne(fake)
	c.stop()
	c.verify()
	c.requireNowhere(map[string]string{"of the gateway": "the gateway's secret"})
}

// requireOneToOne compares what reached upstream with the records.
func (c *collector) requireOneToOne(fake *fakeclaude.Server) {
	c.t.Helper()
	byRequest := map[string]record{}
	for _, r := range c.found("--kind", "all") {
		if id := r.text("request_id"); id != "" {
			require.NotContains(c.t, byRequest, id, "two records of one request")
			byRequest[id] = r
		}
	}
	for _, q := range requests(fake) {
		r := byRequest[q.RequestID]
		require.NotNil(c.t, r, "no record of %s %s", q.Op, q.RequestID)
		require.Equal(c.t, q.BodySHA256, r.text("request_sha256"))
		sent, err := time.Parse(time.RFC3339Nano, q.Time)
		require.NoError(c.t, err)
		began, err := time.Parse(time.RFC3339Nano, r.text("timestamp"))
		require.NoError(c.t, err)
		require.False(c.t, began.After(sent), "it was upstream before it was begun")
	}
}

// pythonSDKs is a Python that has the SDKs.
func pythonSDKs(t *testing.T) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	python, err := foreignenv.Python(ctx, foreignenv.PythonSDKs)
	if err != nil {
		unavailable(t, "the SDKs for Python can't be had: %v", err)
	}
	return python
}

// runSDK runs a script of test/sdk against a base URL.
func runSDK(t *testing.T, program, script string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, append([]string{script}, args...)...)
	cmd.Env = append(os.Environ(), "NODE_NO_WARNINGS=1")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	return string(out)
}
