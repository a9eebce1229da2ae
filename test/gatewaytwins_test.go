package e2e

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/claudeaudit/claudeaudit/internal/otlpclient"
)

// twin is a call that is told twice: by the gateway that it passes through, and by a capture of the telemetry
// of the application that makes it.
type twin struct {
	capture string
	want    expectedRecord
	// response and request are the ids that the API gives the answer, as the telemetry names them.
	response, request string
	path, body        string
	// answer is JSON; stream the same answer as events, "" where it is not of the Messages API.
	answer, stream string
}

// telemetry is a capture's export requests, and the calls that they tell of.
type telemetry struct {
	payloads []otlpclient.Payload
	twins    []twin
}

var (
	idOfResponse = regexp.MustCompile(`msg_(?:bdrk_)?01[0-9A-Za-z]+`)
	idOfRequest  = regexp.MustCompile(`req_011[0-9A-Za-z]+`)
	// Keys whose value is the id of the request that AWS answered.
	awsRequestID = regexp.MustCompile(`"aws\.request_id",\s*"value":\s*\{\s*"stringValue":\s*"([0-9a-f-]+)"`)
	unixNano     = regexp.MustCompile(`("[a-zA-Z]*[tT]imeUnixNano":\s*")(\d+)"`)
)

// retarget reads a capture as if the client ran now: at this time, with ids that no other capture has. Calls of which the
// telemetry doesn't tell all of prompt and answer, or names no id of the answer, have no twin.
func retarget(t *testing.T, e expectation, now time.Time) telemetry {
	t.Helper()
	mark := strings.ReplaceAll(e.Capture, "-", "")
	sum := sha256.Sum256([]byte(mark))
	ids := strings.NewReplacer("msg_01FAKE", "msg_01"+mark, "msg_bdrk_01FAKE", "msg_bdrk_01"+mark, "req_011FAKE", "req_011"+mark,
		"00000000-0000-4000-8000-", fmt.Sprintf("%x-0000-4000-8000-", sum[:4]))
	var out telemetry
	var texts []string
	var latest int64
	for _, in := range e.Inputs {
		data, err := os.ReadFile(filepath.Join(capturesDir(t), in.File))
		require.NoError(t, err)
		text := ids.Replace(string(data))
		for _, m := range unixNano.FindAllStringSubmatch(text, -1) {
			n, err := strconv.ParseInt(m[2], 10, 64)
			require.NoError(t, err)
			latest = max(latest, n)
		}
		texts = append(texts, text)
	}
	for _, text := range texts {
		text = unixNano.ReplaceAllStringFunc(text, func(s string) string {
			m := unixNano.FindStringSubmatch(s)
			n, _ := strconv.ParseInt(m[2], 10, 64)
			if n == 0 {
				return s
			}
			return m[1] + strconv.FormatInt(now.UnixNano()-latest+n, 10) + `"`
		})
		p, err := otlpclient.ParseJSON([]byte(text))
		require.NoError(t, err)
		out.payloads = append(out.payloads, p)
	}
	for _, want := range e.Records {
		tw := twin{capture: e.Capture, want: want}
		tw.response, tw.request = idsOf(t, texts, want)
		if want.Content.Prompt == "full" && want.Content.Response == "full" && (tw.response != "" || tw.request != "") && tw.build(t) {
			out.twins = append(out.twins, tw)
		}
	}
	return out
}

// idsOf are the ids that the spans and events of a call name in attributes of theirs.
func idsOf(t *testing.T, texts []string, want expectedRecord) (response, request string) {
	t.Helper()
	spans := append([]string{want.Match.SpanID}, want.SameCallSpans...)
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, e := range v {
				walk(e)
			}
		case map[string]any:
			if id, _ := v["spanId"].(string); id != "" && slices.Contains(spans, id) {
				own := map[string]any{"attributes": v["attributes"]}
				if body, ok := v["body"]; ok {
					own["body"] = body
				}
				text, err := json.Marshal(own)
				require.NoError(t, err)
				response = first(response, idOfResponse.FindAllString(string(text), -1))
				request = first(request, idOfRequest.FindAllString(string(text), -1))
				if m := awsRequestID.FindStringSubmatch(string(text)); m != nil {
					request = m[1]
				}
			}
			for _, e := range v {
				walk(e)
			}
		}
	}
	for _, text := range texts {
		var v any
		require.NoError(t, json.Unmarshal([]byte(text), &v))
		walk(v)
	}
	return response, request
}

// first is what is known, else the last of what is found: an agent's history names the answers before its own.
func first(known string, found []string) string {
	if known == "" && len(found) > 0 {
		return found[len(found)-1]
	}
	return known
}

// build makes the request that the client sent, and the answer that it got, of what the capture is known to hold.
// It says false where that is not all of it: an image.
func (tw *twin) build(t *testing.T) bool {
	t.Helper()
	want := &tw.want
	converse := strings.Contains(tw.capture, "converse")
	if strings.HasSuffix(tw.capture, "-image") {
		return false
	}
	model := "claude-sonnet-4-5"
	if want.RequestModel != nil {
		model = *want.RequestModel
	}
	tw.path = "/v1/messages"
	if strings.HasPrefix(tw.capture, "bedrock") || strings.HasPrefix(tw.capture, "botocore") {
		tw.path = "/model/" + strings.ReplaceAll(model, ":", "%3A") + "/invoke"
		if converse {
			tw.path = strings.TrimSuffix(tw.path, "invoke") + "converse"
		}
	}
	blocks := func(m expectedMessage, results []string) []map[string]any {
		var out []map[string]any
		if m.Role == "tool" {
			for i, text := range m.Texts {
				if converse {
					out = append(out, map[string]any{"toolResult": map[string]any{"toolUseId": results[i], "content": []any{map[string]any{"text": text}}}})
				} else {
					out = append(out, map[string]any{"type": "tool_result", "tool_use_id": results[i], "content": text})
				}
			}
			return out
		}
		for _, text := range m.Reasoning {
			out = append(out, map[string]any{"type": "thinking", "thinking": text, "signature": "sig"})
		}
		for _, text := range m.Texts {
			if converse {
				out = append(out, map[string]any{"text": text})
			} else {
				out = append(out, map[string]any{"type": "text", "text": text})
			}
		}
		for _, call := range m.ToolCalls {
			if converse {
				out = append(out, map[string]any{"toolUse": map[string]any{"toolUseId": call.ID, "name": call.Name, "input": call.Arguments}})
			} else {
				out = append(out, map[string]any{"type": "tool_use", "id": call.ID, "name": call.Name, "input": call.Arguments})
			}
		}
		return out
	}
	request := map[string]any{"max_tokens": 256}
	if tw.path == "/v1/messages" {
		request["model"] = model
	}
	var messages, system []map[string]any
	var calls []string // of tools, whose results come next
	for _, m := range want.PromptMessages {
		switch m.Role {
		case "system":
			system = append(system, blocks(m, nil)...)
			continue
		case "tool":
			messages = append(messages, map[string]any{"role": "user", "content": blocks(m, calls)})
		default:
			messages = append(messages, map[string]any{"role": m.Role, "content": blocks(m, nil)})
		}
		calls = calls[:0]
		for _, call := range m.ToolCalls {
			calls = append(calls, call.ID)
		}
	}
	request["messages"] = messages
	if system != nil {
		request["system"] = system
	}
	require.Len(t, want.ResponseMessages, 1, tw.capture)
	content := blocks(want.ResponseMessages[0], nil)
	stop := "end_turn"
	if len(want.ResponseMessages[0].ToolCalls) > 0 {
		stop = "tool_use"
	}
	answer := map[string]any{
		"id": tw.response, "type": "message", "role": "assistant", "model": model, "content": content, "stop_reason": stop,
		"usage": map[string]any{"input_tokens": 13, "output_tokens": 9},
	}
	if converse {
		answer = map[string]any{
			"output": map[string]any{"message": map[string]any{"role": "assistant", "content": content}}, "stopReason": stop,
			"usage": map[string]any{"inputTokens": 13, "outputTokens": 9, "totalTokens": 22},
		}
	}
	encode := func(v any) string {
		out, err := json.Marshal(v)
		require.NoError(t, err)
		return string(out)
	}
	if tw.path == "/v1/messages" {
		tw.stream = events(encode, answer, content)
		request["stream"] = true
	}
	tw.body, tw.answer = encode(request), encode(answer)
	return true
}

// events are an answer as server-sent events.
func events(encode func(any) string, answer map[string]any, content []map[string]any) string {
	var out strings.Builder
	event := func(v map[string]any) { fmt.Fprintf(&out, "event: %s\ndata: %s\n\n", v["type"], encode(v)) }
	start := maps.Clone(answer)
	start["content"], start["stop_reason"] = []any{}, nil
	event(map[string]any{"type": "message_start", "message": start})
	for i, block := range content {
		empty, delta := maps.Clone(block), map[string]any{}
		switch block["type"] {
		case "text":
			empty["text"] = ""
			delta = map[string]any{"type": "text_delta", "text": block["text"]}
		case "thinking":
			empty["thinking"] = ""
			delta = map[string]any{"type": "thinking_delta", "thinking": block["thinking"]}
		case "tool_use":
			empty["input"] = map[string]any{}
			delta = map[string]any{"type": "input_json_delta", "partial_json": encode(block["input"])}
		}
		event(map[string]any{"type": "content_block_start", "index": i, "content_block": empty})
		event(map[string]any{"type": "content_block_delta", "index": i, "delta": delta})
		event(map[string]any{"type": "content_block_stop", "index": i})
	}
	event(map[string]any{"type": "message_delta", "delta": map[string]any{"stop_reason": answer["stop_reason"]}, "usage": answer["usage"]})
	event(map[string]any{"type": "message_stop"})
	return out.String()
}

// answers is an upstream that has been told what to answer next. A streamed answer does not end before it is let go.
type answers struct {
	mu   sync.Mutex
	next twin
	hold chan struct{}
}

func (a *answers) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	tw, hold := a.next, a.hold
	a.mu.Unlock()
	if strings.HasPrefix(r.URL.Path, "/model/") {
		w.Header().Set("X-Amzn-Requestid", tw.request)
	} else if tw.request != "" {
		w.Header().Set("Request-Id", tw.request)
	}
	if tw.stream == "" {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, tw.answer)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	_, _ = io.WriteString(w, tw.stream)
	_ = http.NewResponseController(w).Flush()
	select {
	case <-hold:
	case <-r.Context().Done():
	}
}

// through makes the call through the gateway, and gives back how to let the answer end, when all of it is there. Of what is
// not streamed the end is there already.
func (a *answers) through(t *testing.T, base string, tw twin) (end func()) {
	t.Helper()
	hold := make(chan struct{})
	a.mu.Lock()
	a.next, a.hold = tw, hold
	a.mu.Unlock()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, base+tw.path, strings.NewReader(tw.body))
	require.NoError(t, err)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("X-Api-Key", "k")
	transport := &http.Transport{}
	resp, err := transport.RoundTrip(r)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, resp.StatusCode)
	want := tw.stream
	if want == "" {
		want = tw.answer
	}
	got := make([]byte, len(want))
	_, err = io.ReadFull(resp.Body, got)
	require.NoError(t, err)
	require.Equal(t, want, string(got))
	return func() {
		close(hold)
		_, _ = io.Copy(io.Discard, resp.Body) // whether it ends well is another test's matter: the gateway may be gone
		_ = resp.Body.Close()
		transport.CloseIdleConnections()
	}
}

// A call that passes through the gateway and is told by its application too is one record: whether its outcome or the
// telemetry is there first, whether the gateway is killed before the outcome, or after it and before the telemetry. Both tell
// the same prompt and the same answer, by their hashes.
func TestGatewayAndTelemetryAreOneRecord(t *testing.T) {
	stub := &answers{}
	server := httptest.NewServer(stub)
	t.Cleanup(server.Close)
	c := newCollector(t, "local.yaml", map[string]any{"receivers": map[string]any{"claude_gateway": map[string]any{"upstreams": map[string]any{
		"anthropic": map[string]any{"endpoint": server.URL}, "bedrock": map[string]any{"endpoint": server.URL},
	}}}})
	var all []telemetry
	dialects := map[string]bool{}
	n := 0
	for _, e := range expectations(t) {
		if tl := retarget(t, e, time.Now()); len(tl.twins) > 0 {
			all = append(all, tl)
			n += len(tl.twins)
			dialects[strings.SplitN(e.Capture, "-", 2)[0]] = true
		}
	}
	require.Greater(t, n, 60, "captures are missing")
	for _, d := range []string{
		"botocore", "bedrockgenai", "bedrockoi", "bedrocktl", "lcgenai", "lcoi", "lctl", "oijs", "openaiv2", "openinference", "otelgenai", "otelgenaiboth",
		"otelgenaievent", "sdknative", "tlold", "traceloop", "vercel5",
	} {
		require.True(t, dialects[d], "no capture of %s is complete", d)
	}
	tell := func(i int) {
		client := c.client()
		for j, p := range all[i].payloads {
			require.NoError(t, client.Send(t.Context(), p, otlpclient.Transports[(i+j)%len(otlpclient.Transports)]))
		}
	}
	c.start()
	var open []func()
	for i, tl := range all {
		for _, tw := range tl.twins {
			end := stub.through(t, c.gateway, tw)
			if i%3 == 0 {
				end()
			} else {
				open = append(open, end)
			}
		}
		switch i % 3 {
		case 0: // told after the restart
		case 1: // told before the outcome
			tell(i)
			for _, end := range open {
				end()
			}
			open = open[:0]
		case 2: // told, and then there is no outcome
			tell(i)
			defer func(open []func()) {
				for _, end := range open {
					end()
				}
			}(slices.Clone(open))
			open = open[:0]
		}
	}
	c.awaitSettled(n)
	c.kill()
	c.start()
	for i := 0; i < len(all); i += 3 {
		tell(i)
	}
	c.awaitSettled(n)
	c.stop()
	c.verify()
	requireTwins(t, c, all)
}

// requireTwins wants one record of each call, told by both, with one hash of the prompt and one of the answer.
func requireTwins(t *testing.T, c *collector, all []telemetry) {
	t.Helper()
	type entry struct {
		EventID      string `json:"event_id"`
		ResponseID   string `json:"response_id"`
		RequestID    string `json:"request_id"`
		PromptHash   string `json:"prompt_hash"`
		ResponseHash string `json:"response_hash"`
		Source       struct {
			Evidence, Dialect string
		} `json:"source"`
	}
	byEvent := map[string][]entry{}
	of := map[string]string{} // id → event
	c.eachLine(func(line []byte) {
		var e entry
		require.NoError(t, json.Unmarshal(line, &e))
		byEvent[e.EventID] = append(byEvent[e.EventID], e)
		for _, id := range []string{e.ResponseID, e.RequestID} {
			if id == "" {
				continue
			}
			if of[id] != "" && of[id] != e.EventID {
				t.Errorf("%s is of two calls", id)
			}
			of[id] = e.EventID
		}
	})
	records := map[string]record{}
	for _, r := range c.found() {
		records[r.text("event_id")] = r
	}
	for _, tl := range all {
		for _, tw := range tl.twins {
			id := of[tw.response]
			if id == "" {
				id = of[tw.request]
			}
			require.NotEmpty(t, id, "%s: no record of %s %s", tw.capture, tw.response, tw.request)
			hashes := map[string]map[string]bool{"prompt": {}, "answer": {}}
			evidence := map[string]bool{}
			for _, e := range byEvent[id] {
				hashes["prompt"][e.PromptHash] = true
				hashes["answer"][e.ResponseHash] = true
				evidence[e.Source.Evidence] = true
			}
			if len(evidence) < 2 || !evidence["gateway"] {
				t.Errorf("%s: told by %v", tw.capture, evidence)
			}
			for what, of := range hashes {
				delete(of, "")
				if len(of) != 1 {
					t.Errorf("%s: %d hashes of the %s: %+v", tw.capture, len(of), what, byEvent[id])
				}
			}
			r := records[id]
			require.NotNil(t, r, "%s: the index has no record", tw.capture)
			require.True(t, hashes["prompt"][r.text("prompt_hash")] && hashes["answer"][r.text("response_hash")], "%s: %v", tw.capture, r)
			require.Equal(t, "gateway", r["source"].(map[string]any)["evidence"], tw.capture)
			require.NotEmpty(t, r.text("span_id"), "%s: the record doesn't name the application's span", tw.capture)
		}
	}
}
