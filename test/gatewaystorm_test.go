package e2e

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/claudeaudit/claudeaudit/internal/audit"
	"github.com/claudeaudit/claudeaudit/internal/conversation"
	"github.com/claudeaudit/claudeaudit/internal/fakeclaude"
)

// stormCalls is how many calls the storm makes: 2000, or as CLAUDEAUDIT_STORM_CALLS says.
func stormCalls(t *testing.T) int {
	t.Helper()
	text := os.Getenv("CLAUDEAUDIT_STORM_CALLS")
	if text == "" {
		return 2000
	}
	n, err := strconv.Atoi(text)
	require.NoError(t, err, "CLAUDEAUDIT_STORM_CALLS must be a number")
	return n
}

// stormBody is the n-th call of the storm, which no other call equals.
func stormBody(n int) (body string, leave bool) {
	kinds := []struct {
		directive     string
		stream, leave bool
	}{
		{directive: ""},
		{directive: "tokens=12"},
		{directive: "tokens=12", stream: true},
		{directive: "tokens=40 rate=400", stream: true},
		{directive: "tool=weather", stream: true},
		{directive: "error=529"},
		{directive: "error=400"},
		{directive: "midstream_error after=2 tokens=9", stream: true},
		{directive: "cut after=2 tokens=9", stream: true},
		{directive: "cut"},
		{directive: "no_stop tokens=4", stream: true},
		{directive: "thinking unknown", stream: true},
		{directive: "tokens=400 rate=100", stream: true, leave: true},
		{directive: "delay=300ms", leave: true},
	}
	k := kinds[n%len(kinds)]
	extra := ""
	if k.stream {
		extra = `,"stream":true`
	}
	prompt := fmt.Sprintf("storm call %d", n)
	if k.directive != "" {
		prompt = "[[fake: " + k.directive + "]] " + prompt
	}
	return `{"model":"claude-sonnet-4-5","max_tokens":64,"tools":[{"name":"weather","input_schema":{"type":"object"}}],"messages":[{"role":"user","content":` +
		quoted(prompt) + `}]` + extra + `}`, k.leave
}

// A storm of calls of every kind, over HTTP/1.1 and HTTP/2, whose clients leave, whose upstream breaks and whose gateway is killed again and
// again. Nothing reached upstream without a record that was there before it; every call has one record and an end.
func TestGatewayStorm(t *testing.T) {
	fake, err := fakeclaude.New(fakeclaude.Config{LogBodyMax: -1, Keep: 1 << 20})
	require.NoError(t, err)
	server := httptest.NewServer(fake)
	// Not the test server's Close, which waits for connections that the storm has left in any state.
	t.Cleanup(func() { require.NoError(t, server.Config.Close()) })
	c := newCollector(t, "local.yaml", smallSegments)
	c.env = append(c.env, "CLAUDEAUDIT_UPSTREAM="+server.URL)

	var next, answered atomic.Int64
	total := int64(stormCalls(t))
	one := func(client *http.Client, n int) {
		body, leave := stormBody(n)
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		if leave {
			time.AfterFunc(time.Duration(20+rand.IntN(200))*time.Millisecond, cancel)
		}
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.gateway+"/v1/messages", strings.NewReader(body))
		if err != nil {
			t.Error(err)
			return
		}
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("X-Api-Key", "k")
		r.Header.Set("Anthropic-Version", "2023-06-01")
		resp, err := client.Do(r)
		if err != nil {
			return // the gateway is down, or it was this client that left
		}
		defer resp.Body.Close()
		if _, err = io.Copy(io.Discard, resp.Body); err == nil {
			answered.Add(1)
		}
	}
	const rounds = 4
	for round := range rounds {
		c.start()
		var http2 http.Protocols
		http2.SetUnencryptedHTTP2(true)
		clients := []*http.Client{{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}, {Transport: &http.Transport{Protocols: &http2}}}
		until := total * int64(round+1) / rounds
		var workers sync.WaitGroup
		for range 32 {
			workers.Go(func() {
				for n := next.Add(1); n <= until; n = next.Add(1) {
					one(clients[rand.IntN(len(clients))], int(n))
				}
			})
		}
		done := make(chan struct{})
		go func() {
			workers.Wait()
			close(done)
		}()
		// Upstream breaks all its connections now and then.
		broken := time.NewTicker(700 * time.Millisecond)
		kill := time.After(time.Duration(500+rand.IntN(1500)) * time.Millisecond)
	storm:
		for {
			select {
			case <-broken.C:
				server.CloseClientConnections()
			case <-kill:
				if round < rounds-1 {
					require.True(t, c.running(), "the collector ended by itself:\n%s", c.logTail())
					c.kill()
					next.Store(until) // those that remain of this round find nobody
				}
			case <-done:
				break storm
			}
		}
		broken.Stop()
		for _, client := range clients {
			client.CloseIdleConnections()
		}
		if round < rounds-1 {
			c.kill()
		}
		next.Store(until)
	}
	c.stop()
	// The next start closes what the last kill left open, if anything.
	c.start()
	c.stop()
	c.verify()
	require.Positive(t, answered.Load())
	c.requireStormRecorded(fake)
}

// requireStormRecorded compares what reached upstream with the ledger and with the index.
func (c *collector) requireStormRecorded(fake *fakeclaude.Server) {
	c.t.Helper()
	type told struct {
		initiated bool
		at        time.Time
		statuses  []string
	}
	calls := map[string]*told{}   // by event_id
	bodies := map[string]string{} // request_sha256 → event_id
	c.eachLine(func(line []byte) {
		rec, err := audit.ParseRecord(line)
		require.NoError(c.t, err)
		if rec.Kind == audit.KindSystem {
			return // the ledger of itself
		}
		require.NotEqual(c.t, "unread_request", rec.ErrorType, "every client sent what can be read")
		id := rec.EventID.String()
		if calls[id] == nil {
			calls[id] = &told{at: rec.Timestamp}
		}
		if rec.Status == audit.StatusInitiated {
			calls[id].initiated = true
		} else {
			calls[id].statuses = append(calls[id].statuses, rec.Status+"/"+rec.Call.Ended)
		}
		if had, ok := bodies[rec.Call.RequestSHA256]; ok {
			require.Equal(c.t, had, id, "two records of one request")
		}
		bodies[rec.Call.RequestSHA256] = id
	})
	answers := map[int64]fakeclaude.Record{}
	for _, r := range fake.Records() {
		if r.Kind == "response" {
			answers[r.Seq] = r
		}
	}
	records := map[string]record{}
	for _, r := range c.awaitRecords(len(calls), "--kind", "all") {
		require.NotContains(c.t, records, r.text("event_id"))
		records[r.text("event_id")] = r
	}
	require.Len(c.t, records, len(calls))
	ends := map[string]int{}
	for id, call := range calls {
		require.Len(c.t, call.statuses, 1, "call %s has not one end: %v", id, call.statuses)
		ends[call.statuses[0]]++
		require.Equal(c.t, call.statuses[0], records[id].text("status")+"/"+records[id].text("ended"))
	}
	reached, whole := 0, 0
	for _, q := range requests(fake) {
		if q.BodyPartial {
			continue // upstream never had the whole of it
		}
		reached++
		id, ok := bodies[q.BodySHA256]
		require.True(c.t, ok, "a request reached upstream that is not recorded")
		sent, err := time.Parse(time.RFC3339Nano, q.Time)
		require.NoError(c.t, err)
		require.True(c.t, calls[id].initiated, "no record before it")
		require.False(c.t, calls[id].at.After(sent))
		if a := answers[q.Seq]; records[id].text("status") == "success" && a.Text != "" && len(a.OutputsJSON) == 0 && !strings.Contains(q.Body, "thinking") {
			whole++
			require.Equal(c.t, a.RequestID, records[id].text("request_id"))
			require.Equal(c.t, textHash(a.Text), records[id].text("response_hash"))
			require.Equal(c.t, a.StopReason, records[id].text("stop_reason"))
		}
	}
	require.Positive(c.t, whole)
	for _, want := range []string{"success/complete", "error/complete", "error/upstream_error", "error/upstream_cut", "interrupted/client_gone", "interrupted/gateway_killed"} {
		require.Positive(c.t, ends[want], "no call ended as %s: %v", want, ends)
	}
	c.t.Logf("%d calls recorded, %d requests upstream, %d answers compared; ends: %v", len(calls), reached, whole, ends)
}

// textHash is the response_hash of an answer that is one text.
func textHash(text string) string {
	return conversation.ResponseHash([]conversation.Message{{Role: conversation.RoleAssistant, Parts: []conversation.Part{conversation.Text(text)}}})
}
