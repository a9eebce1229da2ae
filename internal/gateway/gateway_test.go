package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/andybalholm/brotli"
	"github.com/google/uuid"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/claudeaudit/claudeaudit/internal/audit"
	"github.com/claudeaudit/claudeaudit/internal/fakeclaude"
	"github.com/claudeaudit/claudeaudit/internal/genai"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// sink reads what the gateway tells, as the processor does.
type sink struct {
	mu    sync.Mutex
	told  []genai.Interaction
	event []string
	named []named
	fail  error
	// before is called with each event before it is taken.
	before func(event string)
}

// named is what the gateway said of an answer's ids.
type named struct {
	call                  uuid.UUID
	responseID, requestID string
}

func (s *sink) NameCall(call uuid.UUID, responseID, requestID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.named = append(s.named, named{call, responseID, requestID})
}

// names are the ids of answers that were said.
func (s *sink) names() []named {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.named)
}

func (*sink) Capabilities() consumer.Capabilities { return consumer.Capabilities{} }

func (s *sink) ConsumeLogs(ctx context.Context, ld plog.Logs) error {
	told, ok := genai.FromGateway(ctx)
	if !ok {
		return errors.New("not marked as the gateway's")
	}
	told.Names.Tell(s)
	sl := ld.ResourceLogs().At(0).ScopeLogs().At(0)
	event := sl.LogRecords().At(0).EventName()
	if s.before != nil {
		s.before(event)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return s.fail
	}
	for _, rec := range sl.LogRecords().All() {
		var it genai.Interaction
		if err := genai.ReadGateway(&it, told.Calls, sl.Scope(), rec); err != nil {
			return err
		}
		s.told = append(s.told, it)
		s.event = append(s.event, event)
	}
	return nil
}

func (s *sink) setFail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = err
}

// events are the tellings of one kind.
func (s *sink) events(event string) []genai.Interaction {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []genai.Interaction
	for i := range s.told {
		if s.event[i] == event {
			out = append(out, s.told[i])
		}
	}
	return out
}

// ended waits for n outcomes, and returns them in the order in which the calls began: several are recorded at a time.
func (s *sink) ended(t *testing.T, n int) []genai.Interaction {
	t.Helper()
	require.Eventually(t, func() bool { return len(s.events(eventEnded)) >= n }, 10*time.Second, 2*time.Millisecond, "outcomes")
	ended := s.events(eventEnded)
	slices.SortStableFunc(ended, func(a, b genai.Interaction) int { return a.Start.Compare(b.Start) })
	return ended
}

type noMetrics struct{}

func (noMetrics) Opened()                {}
func (noMetrics) Closed(Surface, string) {}
func (noMetrics) Refused(string)         {}
func (noMetrics) Blocked(string)         {}
func (noMetrics) Recorded(time.Duration) {}
func (noMetrics) Unrecorded(string)      {}

// harness is a gateway between a client and a fake of the API.
type harness struct {
	sink    *sink
	fake    *fakeclaude.Server
	gateway *Gateway
	url     string
	client  *http.Client
	health  []error
}

func testLimits() Limits {
	return Limits{
		HeaderBytes: 64 << 10, RequestBytes: 1 << 20, BatchBytes: 2 << 20, BufferedBytes: 8 << 20, ResponseBytes: 1 << 20,
		BodyTimeout: time.Second, HeaderTimeout: 5 * time.Second, IdleTimeout: 5 * time.Second, WriteTimeout: 5 * time.Second,
		RecordTimeout: 5 * time.Second, PendingOutcomes: 64,
	}
}

func newHarness(t *testing.T, change func(*Settings)) *harness {
	t.Helper()
	fake, err := fakeclaude.New(fakeclaude.Config{LogBodyMax: -1})
	require.NoError(t, err)
	return newHarnessBefore(t, fake, change, fake)
}

func newHarnessBefore(t *testing.T, fake *fakeclaude.Server, change func(*Settings), upstream http.Handler) *harness {
	t.Helper()
	h := &harness{sink: &sink{}, fake: fake}
	server := httptest.NewServer(upstream)
	up, err := NewUpstream(UpstreamSettings{Endpoint: server.URL})
	require.NoError(t, err)
	set := Settings{
		Name: "claude_gateway", Next: h.sink, Upstreams: map[Surface]*Upstream{Anthropic: up, Foundry: up},
		Limits: testLimits(), Logger: zap.NewNop(), Metrics: noMetrics{}, Report: func(err error) { h.health = append(h.health, err) },
	}
	if change != nil {
		change(&set)
	}
	h.gateway = New(set)
	front := httptest.NewUnstartedServer(h.gateway)
	front.Listener = h.gateway.Attach(front.Config, front.Listener)
	front.Start()
	h.url = front.URL
	h.client = &http.Client{Transport: &http.Transport{DisableCompression: true}}
	t.Cleanup(func() {
		h.client.CloseIdleConnections()
		front.Close()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		require.NoError(t, h.gateway.Shutdown(ctx))
		server.Close()
	})
	return h
}

func (h *harness) request(t *testing.T, method, path, body string, header ...string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, h.url+path, strings.NewReader(body))
	require.NoError(t, err)
	r.Header.Set("X-Api-Key", "sk-ant-secret-of-the-test")
	r.Header.Set("Anthropic-Version", "2023-06-01")
	r.Header.Set("Content-Type", "application/json")
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return r
}

func (h *harness) do(t *testing.T, method, path, body string, header ...string) (*http.Response, string, error) {
	t.Helper()
	resp, err := h.client.Do(h.request(t, method, path, body, header...))
	require.NoError(t, err)
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	return resp, string(got), err
}

// message is a Messages request whose last user message is prompt.
func message(prompt string, extra string) string {
	p, err := json.Marshal(prompt)
	if err != nil {
		panic(err) // of a string: cannot be
	}
	return `{"model":"claude-sonnet-4-5","max_tokens":64,"messages":[{"role":"user","content":` + string(p) + `}]` + extra + `}`
}

func outputText(it *genai.Interaction) string {
	var b strings.Builder
	for _, m := range it.Content.Output {
		for i := range m.Parts {
			b.WriteString(m.Parts[i].Text())
		}
	}
	return b.String()
}

// What is compressed is decoded as far as it has come, whatever the pieces are.
func TestDecoderKeepsUp(t *testing.T) {
	const first, second = `{"type":"message","id":"msg_1",`, `"content":[{"type":"text","text":"one"}]}`
	type flusher interface {
		io.WriteCloser
		Flush() error
	}
	for encoding, compress := range map[string]func(io.Writer) flusher{
		"gzip":    func(w io.Writer) flusher { return gzip.NewWriter(w) },
		"deflate": func(w io.Writer) flusher { return zlib.NewWriter(w) },
		"br":      func(w io.Writer) flusher { return brotli.NewWriter(w) },
		"zstd": func(w io.Writer) flusher {
			z, err := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1))
			require.NoError(t, err)
			return z
		},
	} {
		for _, piece := range []int{1, 7, 1 << 10} {
			inner := &jsonObserver{proto: protoMessages, max: 1 << 10}
			o := newDecoder(encoding, inner)
			var wire bytes.Buffer
			w := compress(&wire)
			pass := func() {
				for wire.Len() > 0 {
					o.write(wire.Next(piece))
				}
			}
			_, err := io.WriteString(w, first)
			require.NoError(t, err)
			require.NoError(t, w.Flush())
			pass()
			require.Equal(t, first, string(inner.buf), "%s, pieces of %d", encoding, piece)
			_, err = io.WriteString(w, second)
			require.NoError(t, err)
			require.NoError(t, w.Close())
			pass()
			id, _ := o.id()
			require.Equal(t, "msg_1", id, "%s, pieces of %d", encoding, piece)
			a := o.close(true)
			require.True(t, a.whole)
			require.Equal(t, "one", a.output[0].Parts[0].Text())
		}
	}
	// Several members, and then none.
	var wire bytes.Buffer
	for _, text := range []string{first, second} {
		w := gzip.NewWriter(&wire)
		_, err := io.WriteString(w, text)
		require.NoError(t, err)
		require.NoError(t, w.Close())
	}
	o := newDecoder("gzip", &jsonObserver{proto: protoMessages, max: 1 << 10})
	o.write(wire.Bytes())
	require.Equal(t, "one", o.close(true).output[0].Parts[0].Text())
	for _, encoding := range []string{"gzip", "deflate", "br", "zstd", "lzma"} {
		o := newDecoder(encoding, &jsonObserver{proto: protoMessages, max: 1 << 10})
		o.write([]byte("this is not compressed at all"))
		o.write([]byte("and nor is this"))
		require.Empty(t, o.close(true).output, encoding)
	}
}

// The id of an answer is told before the client can know it, also of one that is compressed: telemetry that names it finds
// the call.
func TestIDsAreToldAhead(t *testing.T) {
	for name, prompt := range map[string]string{"plain": "[[fake: text='one two']]", "compressed": "[[fake: gzip text='one two']]"} {
		for kind, extra := range map[string]string{"stream": `,"stream":true`, "whole": ""} {
			t.Run(name+" "+kind, func(t *testing.T) {
				fake, err := fakeclaude.New(fakeclaude.Config{})
				require.NoError(t, err)
				// With a length, as the API has it where it doesn't stream.
				h := newHarnessBefore(t, fake, nil, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if extra != "" {
						fake.ServeHTTP(w, r)
						return
					}
					rec := httptest.NewRecorder()
					fake.ServeHTTP(rec, r)
					maps.Copy(w.Header(), rec.Header())
					w.Header().Set("Content-Length", strconv.Itoa(rec.Body.Len()))
					_, _ = w.Write(rec.Body.Bytes())
				}))
				resp, err := h.client.Do(h.request(t, http.MethodPost, "/v1/messages", message(prompt, extra), "Accept-Encoding", "gzip"))
				require.NoError(t, err)
				defer resp.Body.Close()
				require.Equal(t, name == "compressed", resp.Header.Get("Content-Encoding") == "gzip")
				_, err = io.ReadAll(resp.Body)
				require.NoError(t, err)
				told := ""
				names := h.sink.names() // now: the outcome may not be recorded yet
				for _, n := range names {
					told += n.responseID
				}
				require.NotEmpty(t, told)
				it := h.sink.ended(t, 1)[0]
				require.Equal(t, told, it.ResponseID)
				for _, n := range names {
					require.Equal(t, it.Gateway.CallID, n.call)
				}
			})
		}
	}
}

// Every way a call can end has its own status, and says how much was answered.
func TestEndings(t *testing.T) {
	for name, tc := range map[string]struct {
		prompt string
		extra  string
		header []string

		status    int
		broken    bool // the client sees no end
		want      string
		ended     string
		errorType string
		stop      string
		text      string
		complete  genai.Completeness
	}{
		"json":             {prompt: "hi", status: 200, want: audit.StatusSuccess, ended: audit.EndedComplete, stop: "end_turn", text: fakeclaude.DefaultText("hi"), complete: genai.ContentFull},
		"stream":           {prompt: "hi", extra: `,"stream":true`, status: 200, want: audit.StatusSuccess, ended: audit.EndedComplete, stop: "end_turn", text: fakeclaude.DefaultText("hi"), complete: genai.ContentFull},
		"stream, crlf":     {prompt: "[[fake: crlf split=7 text='one two']]", extra: `,"stream":true`, status: 200, want: audit.StatusSuccess, ended: audit.EndedComplete, stop: "end_turn", text: "one two", complete: genai.ContentFull},
		"gzip json":        {prompt: "[[fake: gzip text='one two']]", header: []string{"Accept-Encoding", "gzip"}, status: 200, want: audit.StatusSuccess, ended: audit.EndedComplete, stop: "end_turn", text: "one two", complete: genai.ContentFull},
		"gzip stream":      {prompt: "[[fake: gzip text='one two']]", extra: `,"stream":true`, header: []string{"Accept-Encoding", "gzip"}, status: 200, want: audit.StatusSuccess, ended: audit.EndedComplete, stop: "end_turn", text: "one two", complete: genai.ContentFull},
		"overloaded":       {prompt: "[[fake: error=529]]", status: 529, want: audit.StatusError, ended: audit.EndedComplete, errorType: "overloaded_error", complete: genai.ContentNone},
		"bad request":      {prompt: "[[fake: error=400]]", status: 400, want: audit.StatusError, ended: audit.EndedComplete, errorType: "invalid_request_error", complete: genai.ContentNone},
		"error event":      {prompt: "[[fake: text='one two three four' midstream_error=overloaded_error after=2]]", extra: `,"stream":true`, status: 200, want: audit.StatusError, ended: audit.EndedUpstreamError, errorType: "overloaded_error", text: "one two", complete: genai.ContentPartial},
		"cut stream":       {prompt: "[[fake: text='one two three four' cut after=2]]", extra: `,"stream":true`, status: 200, broken: true, want: audit.StatusError, ended: audit.EndedUpstreamCut, errorType: "upstream_cut", text: "one two", complete: genai.ContentPartial},
		"cut json":         {prompt: "[[fake: cut]]", status: 200, broken: true, want: audit.StatusError, ended: audit.EndedUpstreamCut, errorType: "upstream_cut", complete: genai.ContentUnparsed},
		"no message_stop":  {prompt: "[[fake: no_stop text='one two']]", extra: `,"stream":true`, status: 200, want: audit.StatusError, ended: audit.EndedUpstreamCut, errorType: "upstream_cut", stop: "end_turn", text: "one two", complete: genai.ContentPartial},
		"refusal":          {prompt: "[[fake: refusal]]", status: 200, want: audit.StatusSuccess, ended: audit.EndedComplete, stop: "refusal", complete: genai.ContentNone},
		"unknown blocks":   {prompt: "[[fake: unknown text='one two']]", extra: `,"stream":true`, status: 200, want: audit.StatusSuccess, ended: audit.EndedComplete, stop: "end_turn", text: "one two", complete: genai.ContentFull},
		"server tool":      {prompt: "[[fake: server_tool]]", extra: `,"stream":true`, status: 200, want: audit.StatusSuccess, ended: audit.EndedComplete, stop: "end_turn", text: "I will search for that.The page says so.", complete: genai.ContentFull},
		"thinking, hidden": {prompt: "[[fake: thinking redacted text='one']]", extra: `,"stream":true`, status: 200, want: audit.StatusSuccess, ended: audit.EndedComplete, stop: "end_turn", text: "Let me consider the request step by step.one", complete: genai.ContentFull},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t, nil)
			body := message(tc.prompt, tc.extra)
			resp, _, err := h.do(t, http.MethodPost, "/v1/messages", body, tc.header...)
			require.Equal(t, tc.status, resp.StatusCode)
			require.Equal(t, tc.broken, err != nil, "%v", err)
			ended := h.sink.ended(t, 1)[0]
			require.Len(t, h.sink.events(eventInitiated), 1)
			start := h.sink.events(eventInitiated)[0]

			require.Equal(t, start.Gateway.CallID, ended.Gateway.CallID)
			require.Equal(t, audit.StatusInitiated, start.Gateway.Status)
			require.Equal(t, genai.ContentFull, start.PromptCompleteness)
			require.Equal(t, tc.prompt, start.Content.Messages[0].Parts[0].Text())
			require.Equal(t, "claude-sonnet-4-5", start.RequestModel)

			require.Equal(t, tc.want, ended.Gateway.Status)
			require.Equal(t, tc.ended, ended.Gateway.Ended)
			require.Equal(t, tc.errorType, ended.ErrorType)
			require.Equal(t, tc.stop, ended.StopReason)
			require.Equal(t, tc.text, outputText(&ended))
			require.Equal(t, tc.complete, ended.ResponseCompleteness)
			require.EqualValues(t, tc.status, *ended.Gateway.HTTPStatus)
			require.NotNil(t, ended.LatencyMs)
			require.NotEmpty(t, ended.RequestID)
			if tc.want == audit.StatusSuccess {
				require.NotNil(t, ended.PromptTokens)
				require.NotNil(t, ended.CompletionTokens)
				require.NotEmpty(t, ended.ResponseID)
			}
			// What reached upstream is the request, byte for byte.
			got := h.fake.Records()[0]
			require.Equal(t, body, got.Body)
			require.Equal(t, got.BodySHA256, start.Gateway.RequestSHA256)
		})
	}
}

// Nothing goes upstream before it is recorded, and nothing at all when it can't be.
func TestRecordedBeforeForwarded(t *testing.T) {
	h := newHarness(t, nil)
	h.sink.before = func(event string) {
		if event == eventInitiated {
			time.Sleep(20 * time.Millisecond) // it would have been there by now
			if len(h.fake.Records()) > 0 {
				t.Error("the request is upstream before it is recorded")
			}
		}
	}
	resp, _, err := h.do(t, http.MethodPost, "/v1/messages", message("hi", ""))
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, resp.StatusCode)
	h.sink.ended(t, 1)
}

func TestFailsClosed(t *testing.T) {
	h := newHarness(t, nil)
	h.sink.setFail(errors.New("disk full"))
	resp, body, err := h.do(t, http.MethodPost, "/v1/messages", message("hi", ""))
	require.NoError(t, err)
	require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
	require.Equal(t, "true", resp.Header.Get("X-Should-Retry"))
	require.NotEmpty(t, resp.Header.Get("Retry-After"))
	requireAPIError(t, body, "api_error")
	require.Empty(t, h.fake.Records(), "it was forwarded")
	require.Len(t, h.health, 1)
	require.False(t, h.gateway.Ready())

	h.sink.setFail(nil)
	resp, _, err = h.do(t, http.MethodPost, "/v1/messages", message("hi", ""))
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, resp.StatusCode)
	require.True(t, h.gateway.Ready())
	// The refused call is told of as soon as it can be.
	ended := h.sink.ended(t, 2)
	var refused, passed int
	for _, it := range ended {
		switch it.Gateway.Ended {
		case audit.EndedRefused:
			refused++
			require.Equal(t, "audit_unavailable", it.ErrorType)
		case audit.EndedComplete:
			passed++
		}
	}
	require.Equal(t, 1, refused)
	require.Equal(t, 1, passed)
}

func requireAPIError(t *testing.T, body, kind string) {
	t.Helper()
	var e struct {
		Type  string
		Error struct{ Type, Message string }
	}
	require.NoError(t, json.Unmarshal([]byte(body), &e), "%s", body)
	require.Equal(t, "error", e.Type)
	require.Equal(t, kind, e.Error.Type)
	require.NotEmpty(t, e.Error.Message)
}

// What is not on the list, or can't be read, is refused with an error of the API's shape, is not
// forwarded, and is recorded.
func TestRefused(t *testing.T) {
	ok := message("hi", "")
	for name, tc := range map[string]struct {
		method, path, body string
		header             []string
		status             int
		kind               string
	}{
		"another path":        {"POST", "/v1/agents", ok, nil, 404, "not_found_error"},
		"doubled slash":       {"POST", "/v1//messages", ok, nil, 404, "not_found_error"},
		"trailing slash":      {"POST", "/v1/messages/", ok, nil, 404, "not_found_error"},
		"escaped letter":      {"POST", "/v1/%6Dessages", ok, nil, 404, "not_found_error"},
		"dot segment":         {"POST", "/v1/x/../messages", ok, nil, 404, "not_found_error"},
		"another method":      {"PUT", "/v1/messages", ok, nil, 404, "not_found_error"},
		"model with a slash":  {"GET", "/v1/models/a%2Fb", "", nil, 404, "not_found_error"},
		"a parameter":         {"POST", "/v1/messages;x", ok, nil, 404, "not_found_error"},
		"upper case":          {"POST", "/V1/Messages", ok, nil, 404, "not_found_error"},
		"escaped slash":       {"POST", "/v1%2Fmessages", ok, nil, 404, "not_found_error"},
		"escaped query":       {"POST", "/v1/messages%3Fbeta=true", ok, nil, 404, "not_found_error"},
		"an API of others":    {"POST", "/v1/chat/completions", ok, nil, 404, "not_found_error"},
		"a prompt to models":  {"GET", "/v1/models", ok, nil, 400, "invalid_request_error"},
		"a prompt to a file":  {"DELETE", "/v1/files/file_1", ok, nil, 400, "invalid_request_error"},
		"a prompt to a batch": {"POST", "/v1/messages/batches/msgbatch_1/cancel", ok, nil, 400, "invalid_request_error"},
		"malformed":           {"POST", "/v1/messages", `{"model":`, nil, 400, "invalid_request_error"},
		"no object":           {"POST", "/v1/messages", `[1]`, nil, 400, "invalid_request_error"},
		"empty":               {"POST", "/v1/messages", ``, nil, 400, "invalid_request_error"},
		"a key twice":         {"POST", "/v1/messages", `{"model":"m","messages":[],"messages":[{"role":"user","content":"x"}]}`, nil, 400, "invalid_request_error"},
		"no UTF-8":            {"POST", "/v1/messages", "{\"model\":\"\xff\"}", nil, 400, "invalid_request_error"},
		"too deep":            {"POST", "/v1/messages", strings.Repeat("[", 5000) + strings.Repeat("]", 5000), nil, 400, "invalid_request_error"},
		"too large":           {"POST", "/v1/messages", message(strings.Repeat("x", 2<<20), ""), nil, 413, "request_too_large"},
		"compressed":          {"POST", "/v1/messages", ok, []string{"Content-Encoding", "gzip"}, 415, "invalid_request_error"},
		"another type":        {"POST", "/v1/messages", ok, []string{"Content-Type", "text/plain"}, 415, "invalid_request_error"},
		"a type that is none": {"POST", "/v1/messages", ok, []string{"Content-Type", "/;"}, 415, "invalid_request_error"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t, nil)
			r := h.request(t, tc.method, "", tc.body, tc.header...)
			r.URL.Opaque = tc.path // as it is, not cleaned
			resp, err := h.client.Do(r)
			require.NoError(t, err)
			body, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			require.NoError(t, resp.Body.Close())
			require.Equal(t, tc.status, resp.StatusCode, "%s", body)
			requireAPIError(t, string(body), tc.kind)
			require.Equal(t, "false", resp.Header.Get("X-Should-Retry"))
			it := h.sink.ended(t, 1)[0]
			require.Equal(t, audit.StatusBlocked, it.Gateway.Status)
			require.Equal(t, audit.EndedRefused, it.Gateway.Ended)
			require.Equal(t, tc.kind, it.ErrorType)
			require.Empty(t, h.sink.events(eventInitiated))
			require.Empty(t, h.fake.Records(), "it was forwarded")
		})
	}
}

// A chunked body without a length is bounded too.
func TestChunkedBodyIsBounded(t *testing.T) {
	h := newHarness(t, nil)
	r := h.request(t, http.MethodPost, "/v1/messages", "")
	r.Body, r.ContentLength = io.NopCloser(strings.NewReader(message(strings.Repeat("x", 2<<20), ""))), -1
	resp, err := h.client.Do(r)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, http.StatusRequestEntityTooLarge, resp.StatusCode)

	r = h.request(t, http.MethodPost, "/v1/messages", "")
	body := message(strings.Repeat("y", 200<<10), "")
	r.Body, r.ContentLength = io.NopCloser(strings.NewReader(body)), -1
	resp, err = h.client.Do(r)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, http.StatusOK, resp.StatusCode)
	require.Equal(t, body, h.fake.Records()[0].Body)
	h.sink.ended(t, 2)
}

// A client that leaves is recorded as such, with what it had got, and upstream is told.
func TestClientGone(t *testing.T) {
	for _, drain := range []bool{false, true} {
		t.Run(map[bool]string{false: "cancel", true: "drain"}[drain], func(t *testing.T) {
			h := newHarness(t, func(s *Settings) { s.Drain = drain })
			ctx, cancel := context.WithCancel(t.Context())
			r := h.request(t, http.MethodPost, "/v1/messages", message("[[fake: tokens=20 rate=50]]", `,"stream":true`)).WithContext(ctx)
			resp, err := h.client.Do(r)
			require.NoError(t, err)
			buf := make([]byte, 2048)
			_, err = io.ReadAtLeast(resp.Body, buf, 1200)
			require.NoError(t, err)
			cancel()
			require.NoError(t, resp.Body.Close())
			it := h.sink.ended(t, 1)[0]
			require.Equal(t, audit.StatusInterrupted, it.Gateway.Status)
			require.Equal(t, audit.EndedClientGone, it.Gateway.Ended)
			got := outputText(&it)
			all := fakeclaude.NWords(20)
			require.True(t, strings.HasPrefix(all, got), "%s", got)
			if drain {
				require.Equal(t, all, got)
				require.NotNil(t, it.CompletionTokens)
				require.Equal(t, "end_turn", it.StopReason)
			} else {
				require.NotEmpty(t, got)
				require.NotEqual(t, all, got)
				require.Equal(t, genai.ContentPartial, it.ResponseCompleteness)
				require.Eventually(t, func() bool {
					records := h.fake.Records()
					return records[len(records)-1].ClientGone
				}, 5*time.Second, 5*time.Millisecond, "upstream was not cancelled")
			}
		})
	}
}

// Before the headers there is nothing to pass on: the client's leaving cancels the call.
func TestClientGoneBeforeTheAnswer(t *testing.T) {
	h := newHarness(t, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err := h.client.Do(h.request(t, http.MethodPost, "/v1/messages", message("[[fake: delay=10s]]", "")).WithContext(ctx))
	require.Error(t, err)
	it := h.sink.ended(t, 1)[0]
	require.Equal(t, audit.EndedClientGone, it.Gateway.Ended)
	require.Equal(t, audit.StatusInterrupted, it.Gateway.Status)
}

func TestUpstreamTimeouts(t *testing.T) {
	h := newHarness(t, func(s *Settings) {
		s.Limits.HeaderTimeout, s.Limits.IdleTimeout = 100*time.Millisecond, 100*time.Millisecond
	})
	resp, body, err := h.do(t, http.MethodPost, "/v1/messages", message("[[fake: delay=10s]]", ""))
	require.NoError(t, err)
	require.Equal(t, http.StatusGatewayTimeout, resp.StatusCode)
	requireAPIError(t, body, "timeout_error")
	require.Equal(t, audit.EndedUpstreamTimeout, h.sink.ended(t, 1)[0].Gateway.Ended)

	_, _, err = h.do(t, http.MethodPost, "/v1/messages", message("[[fake: ttft=10s]]", `,"stream":true`))
	require.Error(t, err, "the client sees an end that was none")
	it := h.sink.ended(t, 2)[1]
	require.Equal(t, audit.EndedUpstreamTimeout, it.Gateway.Ended)
	require.Equal(t, audit.StatusError, it.Gateway.Status)
	require.NotEmpty(t, it.ResponseID, "message_start was seen")
}

func TestUpstreamDown(t *testing.T) {
	down := httptest.NewServer(http.NotFoundHandler())
	down.Close()
	h := newHarness(t, func(s *Settings) {
		up, err := NewUpstream(UpstreamSettings{Endpoint: down.URL})
		require.NoError(t, err)
		s.Upstreams = map[Surface]*Upstream{Anthropic: up}
	})
	resp, body, err := h.do(t, http.MethodPost, "/v1/messages", message("hi", ""))
	require.NoError(t, err)
	require.Equal(t, http.StatusBadGateway, resp.StatusCode)
	requireAPIError(t, body, "api_error")
	it := h.sink.ended(t, 1)[0]
	require.Equal(t, audit.EndedUpstreamCut, it.Gateway.Ended)
	require.Equal(t, "upstream_unreachable", it.ErrorType)

	resp, body, err = h.do(t, http.MethodPost, "/anthropic/v1/messages", message("hi", ""))
	require.NoError(t, err)
	require.Equal(t, http.StatusNotFound, resp.StatusCode)
	requireAPIError(t, body, "not_found_error")
	h.sink.ended(t, 2)
}

// Headers go both ways as they are, but for those of the connection.
func TestHeaders(t *testing.T) {
	var got http.Header
	var host, query string
	upstream := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got, host, query = r.Header.Clone(), r.Host, r.URL.RawQuery
		w.Header().Set("Request-Id", "req_1")
		w.Header().Set("Anthropic-Organization-Id", "org")
		w.Header().Set("Set-Cookie", "a=b")
		w.Header().Set("Connection", "X-Hop")
		w.Header().Set("X-Hop", "1")
		w.Header()["X-Two"] = []string{"1", "2"}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusEarlyHints)
		_, _ = io.WriteString(w, `{"id":"msg_1","type":"message","content":[]}`)
	})
	h := newHarnessBefore(t, nil, nil, upstream)
	resp, body, err := h.do(t, http.MethodPost, "/v1/messages?beta=true&x=%2f", message("hi", ""),
		"Anthropic-Beta", "a,b", "X-Custom", "yes", "Accept-Encoding", "br;q=0.1, zstd", "User-Agent", "", "Idempotency-Key", "k", "Connection", "X-Mine", "X-Mine", "1")
	require.NoError(t, err)
	require.Equal(t, `{"id":"msg_1","type":"message","content":[]}`, body)
	require.Equal(t, "a,b", got.Get("Anthropic-Beta"))
	require.Equal(t, "yes", got.Get("X-Custom"))
	require.Equal(t, "br;q=0.1, zstd", got.Get("Accept-Encoding"))
	require.Equal(t, "sk-ant-secret-of-the-test", got.Get("X-Api-Key"))
	require.Equal(t, "k", got.Get("Idempotency-Key"))
	require.Empty(t, got.Get("User-Agent"))
	require.Empty(t, got.Get("X-Mine"))
	require.Empty(t, got.Get("X-Forwarded-For"))
	require.Equal(t, "beta=true&x=%2f", query)
	require.NotEqual(t, strings.TrimPrefix(h.url, "http://"), host, "the host is upstream's")
	require.Equal(t, "req_1", resp.Header.Get("Request-Id"))
	require.Equal(t, "org", resp.Header.Get("Anthropic-Organization-Id"))
	require.Equal(t, "a=b", resp.Header.Get("Set-Cookie"))
	require.Equal(t, []string{"1", "2"}, resp.Header["X-Two"])
	require.Empty(t, resp.Header.Get("X-Hop"))
	it := h.sink.ended(t, 1)[0]
	require.Equal(t, "req_1", it.RequestID)
	require.Equal(t, "msg_1", it.ResponseID)
	require.Equal(t, "sha256:", it.Gateway.ClientKey[:7])
	require.Len(t, it.Gateway.ClientKey, 7+12)
}

// The client's own telemetry can come before the outcome is recorded: the processor knows the ids before
// the client does.
func TestIDsAreKnownBeforeTheClientHasThem(t *testing.T) {
	for _, extra := range []string{"", `,"stream":true`} {
		h := newHarness(t, nil)
		h.sink.before = func(event string) {
			if event == eventEnded {
				time.Sleep(300 * time.Millisecond) // as on a slow disk
			}
		}
		resp, body, err := h.do(t, http.MethodPost, "/v1/messages", message("hi", extra))
		require.NoError(t, err)
		require.Empty(t, h.sink.events(eventEnded))
		var response, request bool
		for _, n := range h.sink.names() {
			response = response || n.responseID != "" && strings.Contains(body, n.responseID)
			request = request || n.requestID == resp.Header.Get("Request-Id")
		}
		require.True(t, response)
		require.True(t, request)
		h.sink.ended(t, 1)
	}
}

func TestCountTokensAndModels(t *testing.T) {
	h := newHarness(t, nil)
	_, body, err := h.do(t, http.MethodPost, "/v1/messages/count_tokens", message("hello there", ""))
	require.NoError(t, err)
	var n struct {
		InputTokens int64 `json:"input_tokens"`
	}
	require.NoError(t, json.Unmarshal([]byte(body), &n))
	it := h.sink.ended(t, 1)[0]
	require.Equal(t, "count_tokens", it.Operation)
	require.Equal(t, n.InputTokens, *it.PromptTokens)
	require.False(t, it.Gateway.Activity)

	resp, _, err := h.do(t, http.MethodGet, "/v1/models?limit=5", "")
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, resp.StatusCode)
	it = h.sink.ended(t, 2)[1]
	require.Equal(t, "models.list", it.Operation)
	require.True(t, it.Gateway.Activity)
	require.Equal(t, audit.StatusSuccess, it.Gateway.Status)

	resp, err = h.client.Head(h.url + "/")
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, http.StatusOK, resp.StatusCode)
	require.Len(t, h.fake.Records(), 4, "HEAD / was forwarded")
}

// When the gateway stops, calls that go on too long end as such.
func TestAbort(t *testing.T) {
	h := newHarness(t, nil)
	resp, err := h.client.Do(h.request(t, http.MethodPost, "/v1/messages", message("[[fake: tokens=500 rate=20]]", `,"stream":true`)))
	require.NoError(t, err)
	_, err = io.ReadAtLeast(resp.Body, make([]byte, 2048), 1200)
	require.NoError(t, err)
	h.gateway.Abort()
	_, err = io.ReadAll(resp.Body)
	require.Error(t, err)
	require.NoError(t, resp.Body.Close())
	it := h.sink.ended(t, 1)[0]
	require.Equal(t, audit.EndedShutdown, it.Gateway.Ended)
	require.Equal(t, audit.StatusInterrupted, it.Gateway.Status)
	require.NotEmpty(t, outputText(&it))
}
