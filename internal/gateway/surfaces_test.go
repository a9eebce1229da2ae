package gateway

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/stretchr/testify/require"

	"github.com/claudeaudit/claudeaudit/internal/audit"
	"github.com/claudeaudit/claudeaudit/internal/conversation"
	"github.com/claudeaudit/claudeaudit/internal/fakeclaude"
	"github.com/claudeaudit/claudeaudit/internal/genai"
)

const vertexModels = "/v1/projects/p-1/locations/europe-west1/publishers/anthropic/models/"

// The same conversation has the same hashes on every surface, streamed or not, and each surface's own words
// for the rest.
func TestSurfaces(t *testing.T) {
	fake, err := fakeclaude.New(fakeclaude.Config{LogBodyMax: -1, AWSKey: "AKIDOFTHEGATEWAY", AWSSecret: "secret of the gateway"})
	require.NoError(t, err)
	h := newHarnessBefore(t, fake, func(s *Settings) {
		base := s.Upstreams[Anthropic].base.String()
		signed, err := NewUpstream(UpstreamSettings{Endpoint: base, Sign: &AWSSigner{
			Region: "eu-central-1", Credentials: credentials.NewStaticCredentialsProvider("AKIDOFTHEGATEWAY", "secret of the gateway", ""),
		}})
		require.NoError(t, err)
		token, err := NewUpstream(UpstreamSettings{Endpoint: base, BearerToken: "the-gateway's"})
		require.NoError(t, err)
		s.Upstreams[Bedrock], s.Upstreams[Vertex] = signed, token
	}, fake)

	prompt := "[[fake: thinking text='one two three' tool=weather input='{\"city\":\"Oslo\"}' say='one two three']]"
	tool := `{"name":"weather","input_schema":{"type":"object","properties":{"city":{"type":"string"}}}}`
	messages := `"messages":[{"role":"user","content":` + quote(prompt) + `}]`
	bedrock := `{"anthropic_version":"bedrock-2023-05-31","max_tokens":64,"tools":[` + tool + `],` + messages + `}`
	vertex := strings.Replace(bedrock, "bedrock-2023-05-31", "vertex-2023-10-16", 1)
	vertexStream := strings.Replace(vertex, `"max_tokens"`, `"stream":true,"max_tokens"`, 1)
	converse := `{"messages":[{"role":"user","content":[{"text":` + quote(prompt) + `}]}],"inferenceConfig":{"maxTokens":64},"toolConfig":{"tools":[{"toolSpec":{"name":"weather","inputSchema":{"json":{"type":"object","properties":{"city":{"type":"string"}}}}}}]}}`
	first := `{"model":"claude-sonnet-4-5","max_tokens":64,"tools":[` + tool + `],` + messages + `}`
	sigv4 := []string{"Authorization", "AWS4-HMAC-SHA256 Credential=AKIDOFACLIENT/20261124/eu-central-1/bedrock/aws4_request, SignedHeaders=host, Signature=00", "X-Amz-Date", "20261124T000000Z", "X-Amz-Security-Token", "t"}

	var promptHash, responseHash string
	n := 0
	for _, tc := range []struct {
		name, path, body string
		header           []string
		surface          Surface
		provider, model  string
		id               bool
	}{
		{"messages", "/v1/messages", first, nil, Anthropic, "anthropic", "claude-sonnet-4-5", true},
		{"foundry", "/anthropic/v1/messages", first, nil, Foundry, "anthropic", "claude-sonnet-4-5", true},
		{"invoke", "/model/eu.anthropic.claude-x-v1%3A0/invoke", bedrock, sigv4, Bedrock, "aws.bedrock", "eu.anthropic.claude-x-v1:0", true},
		{"invoke, of no type", "/model/eu.anthropic.claude-x-v1%3A0/invoke", bedrock, append(sigv4, "Content-Type", ""), Bedrock, "aws.bedrock", "eu.anthropic.claude-x-v1:0", true},
		{"invoke, of any type", "/model/eu.anthropic.claude-x-v1%3A0/invoke", bedrock, append(sigv4, "Content-Type", "application/octet-stream"), Bedrock, "aws.bedrock", "eu.anthropic.claude-x-v1:0", true},
		{"invoke, stream", "/model/eu.anthropic.claude-x-v1%3A0/invoke-with-response-stream", bedrock, sigv4, Bedrock, "aws.bedrock", "eu.anthropic.claude-x-v1:0", true},
		{"converse", "/model/arn%3Aaws%3Abedrock%3Aeu-central-1%3A1%3Aapplication-inference-profile%2Fabc/converse", converse, sigv4, Bedrock, "aws.bedrock", "arn:aws:bedrock:eu-central-1:1:application-inference-profile/abc", false},
		{"converse, stream", "/model/anthropic.claude-x-v1:0/converse-stream", converse, sigv4, Bedrock, "aws.bedrock", "anthropic.claude-x-v1:0", false},
		{"vertex", vertexModels + "claude-x@20250929:rawPredict", vertex, nil, Vertex, "gcp.vertex_ai", "claude-x@20250929", true},
		{"vertex, stream", vertexModels + "claude-x@20250929:streamRawPredict", vertexStream, nil, Vertex, "gcp.vertex_ai", "claude-x@20250929", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := h.request(t, http.MethodPost, "", tc.body, tc.header...)
			r.URL.Opaque = tc.path
			if tc.header != nil {
				r.Header.Del("X-Api-Key")
			}
			resp, err := h.client.Do(r)
			require.NoError(t, err)
			body := passed(t, resp)
			require.Equal(t, http.StatusOK, resp.StatusCode, body)
			n++
			it := h.sink.ended(t, n)[n-1]
			require.Equal(t, audit.StatusSuccess, it.Gateway.Status)
			require.Equal(t, audit.EndedComplete, it.Gateway.Ended)
			require.Equal(t, string(tc.surface), it.Gateway.Surface)
			require.Equal(t, tc.provider, it.Provider)
			require.Equal(t, tc.model, it.RequestModel)
			require.Equal(t, "tool_use", it.StopReason)
			require.Equal(t, genai.ContentFull, it.ResponseCompleteness)
			require.NotNil(t, it.PromptTokens)
			require.NotNil(t, it.CompletionTokens)
			require.NotEmpty(t, it.RequestID)
			require.Equal(t, tc.id, it.ResponseID != "")
			start := h.sink.events(eventInitiated)[n-1]
			ph := conversation.PromptHash(start.Content.System, start.Content.Messages)
			rh := conversation.ResponseHash(withoutToolIDs(it.Content.Output))
			if promptHash == "" {
				promptHash, responseHash = ph, rh
			}
			require.Equal(t, promptHash, ph)
			require.Equal(t, responseHash, rh)
			got := lastRequest(h.fake)
			require.Equal(t, tc.body, got.Body)
			require.Equal(t, tc.path, got.Path)
			if tc.surface == Bedrock {
				require.Equal(t, "valid", got.SigV4, "signed by the gateway")
				require.NotContains(t, got.Headers, "x-amz-security-token")
			}
		})
	}
}

// passed is what came of a body, to its end or until it broke off.
func passed(t *testing.T, resp *http.Response) string {
	t.Helper()
	var body bytes.Buffer
	if _, err := body.ReadFrom(resp.Body); err != nil {
		require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	}
	require.NoError(t, resp.Body.Close())
	return body.String()
}

// withoutToolIDs leaves the ids of tool calls out, which the fake counts.
func withoutToolIDs(messages []conversation.Message) []conversation.Message {
	for _, m := range messages {
		for i := range m.Parts {
			m.Parts[i].ID = ""
		}
	}
	return messages
}

func lastRequest(fake *fakeclaude.Server) fakeclaude.Record {
	var last fakeclaude.Record
	for _, r := range fake.Records() {
		if r.Kind == "request" {
			last = r
		}
	}
	return last
}

func quote(s string) string {
	out, err := json.Marshal(s)
	if err != nil {
		panic(err) // of a string: cannot be
	}
	return string(out)
}

// Errors have the shape that each surface's clients read, those of the gateway's own as well.
func TestErrorsOfSurfaces(t *testing.T) {
	h := newHarness(t, func(s *Settings) {
		s.Upstreams[Bedrock], s.Upstreams[Vertex] = s.Upstreams[Anthropic], s.Upstreams[Anthropic]
	})
	for name, tc := range map[string]struct {
		path, body string
		status     int
		want       string
		recorded   string
		ended      string
	}{
		"bedrock, exception in the stream": {"/model/m/invoke-with-response-stream", `{"anthropic_version":"b","max_tokens":9,"messages":[{"role":"user","content":"[[fake: tokens=9 midstream_error after=3]]"}]}`, 200, "xception", "", audit.EndedUpstreamError},
		"bedrock, cut":                     {"/model/m/converse-stream", `{"messages":[{"role":"user","content":[{"text":"[[fake: tokens=9 cut after=3]]"}]}]}`, 200, "", "upstream_cut", audit.EndedUpstreamCut},
		"bedrock, throttled":               {"/model/m/converse", `{"messages":[{"role":"user","content":[{"text":"[[fake: error=429]]"}]}]}`, 429, "message", "rate_limit_error", audit.EndedComplete},
		"bedrock, not on the list":         {"/model/m/apply-guardrail", `{}`, 403, `{"message":`, "not_found_error", audit.EndedRefused},
		"bedrock, malformed":               {"/model/m/converse", `{`, 400, `{"message":`, "invalid_request_error", audit.EndedRefused},
		"bedrock, no model":                {"/model/a%2e%2e/converse", `{}`, 403, `{"message":`, "not_found_error", audit.EndedRefused},
		"vertex, not on the list":          {vertexModels + "m:predict", `{}`, 404, `"status":"NOT_FOUND"`, "not_found_error", audit.EndedRefused},
		"vertex, another publisher":        {"/v1/projects/p/locations/l/publishers/google/models/m:rawPredict", `{}`, 404, `"status":"NOT_FOUND"`, "not_found_error", audit.EndedRefused},
		"vertex, error event":              {vertexModels + "m:streamRawPredict", `{"anthropic_version":"vertex-2023-10-16","stream":true,"max_tokens":9,"messages":[{"role":"user","content":"[[fake: tokens=9 midstream_error after=3]]"}]}`, 200, "overloaded_error", "overloaded_error", audit.EndedUpstreamError},
	} {
		t.Run(name, func(t *testing.T) {
			had := len(h.sink.events(eventEnded))
			r := h.request(t, http.MethodPost, "", tc.body, "Authorization", "Bearer b")
			r.URL.Opaque = tc.path
			resp, err := h.client.Do(r)
			require.NoError(t, err)
			body := passed(t, resp)
			require.Equal(t, tc.status, resp.StatusCode, body)
			require.Contains(t, body, tc.want)
			it := h.sink.ended(t, had+1)[had]
			require.Equal(t, tc.ended, it.Gateway.Ended)
			require.EqualValues(t, tc.status, *it.Gateway.HTTPStatus, "what the client got")
			if tc.recorded != "" {
				require.Equal(t, tc.recorded, it.ErrorType)
			}
			require.NotEmpty(t, it.ErrorType)
		})
	}
}

func TestCountTokensOfSurfaces(t *testing.T) {
	h := newHarness(t, func(s *Settings) {
		s.Upstreams[Bedrock], s.Upstreams[Vertex] = s.Upstreams[Anthropic], s.Upstreams[Anthropic]
	})
	inner := `{"anthropic_version":"bedrock-2023-05-31","max_tokens":1,"messages":[{"role":"user","content":"hello there"}]}`
	for i, tc := range []struct{ path, body string }{
		{"/model/m/count-tokens", `{"input":{"invokeModel":{"body":"` + base64.StdEncoding.EncodeToString([]byte(inner)) + `"}}}`},
		{"/model/m/count-tokens", `{"input":{"converse":{"messages":[{"role":"user","content":[{"text":"hello there"}]}]}}}`},
		{vertexModels + "count-tokens:rawPredict", `{"model":"m","messages":[{"role":"user","content":"hello there"}]}`},
	} {
		resp, body, err := h.do(t, http.MethodPost, tc.path, tc.body, "Authorization", "Bearer b")
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, resp.StatusCode, body)
		it := h.sink.ended(t, i+1)[i]
		require.Equal(t, "count_tokens", it.Operation)
		require.NotNil(t, it.PromptTokens)
		start := h.sink.events(eventInitiated)[i]
		require.Equal(t, "hello there", start.Content.Messages[0].Parts[0].Text())
	}
}

// Bytes of an event stream may come in any pieces, and may be broken.
func FuzzFrames(f *testing.F) {
	fake, err := fakeclaude.New(fakeclaude.Config{NoAuth: true, Keep: -1})
	require.NoError(f, err)
	for _, path := range []string{"/model/m/converse-stream", "/model/m/invoke-with-response-stream"} {
		body := `{"anthropic_version":"b","max_tokens":9,"messages":[{"role":"user","content":"[[fake: thinking tokens=3]]"}]}`
		if strings.Contains(path, "converse") {
			body = `{"messages":[{"role":"user","content":[{"text":"[[fake: thinking tokens=3]]"}]}]}`
		}
		w := httptest.NewRecorder()
		fake.ServeHTTP(w, httptest.NewRequest(http.MethodPost, path, strings.NewReader(body)))
		f.Add(w.Body.Bytes(), uint8(7), strings.Contains(path, "converse"))
	}
	f.Fuzz(func(t *testing.T, data []byte, piece uint8, converse bool) {
		whole, pieces := newFrameObserver(converse, 1<<20), newFrameObserver(converse, 1<<20)
		whole.write(data)
		for rest := data; len(rest) > 0; {
			n := min(len(rest), int(piece)+1)
			pieces.write(rest[:n])
			rest = rest[n:]
		}
		require.Equal(t, outcomeOf(whole), outcomeOf(pieces))
	})
}

// The same of server-sent events.
func FuzzEvents(f *testing.F) {
	fake, err := fakeclaude.New(fakeclaude.Config{NoAuth: true, Keep: -1})
	require.NoError(f, err)
	for _, d := range []string{"thinking tokens=3", "crlf server_tool", "unknown midstream_error after=1", "ping_every=1 no_stop"} {
		w := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodPost, "/v1/messages", strings.NewReader(message("[[fake: "+d+"]]", `,"stream":true`)))
		r.Header.Set("Anthropic-Version", "2023-06-01")
		fake.ServeHTTP(w, r)
		f.Add(w.Body.Bytes(), uint8(7))
	}
	f.Add([]byte("data: {\"type\":\"message_start\"}\r\r\rdata\n\n: c\n\n"), uint8(0))
	f.Fuzz(func(t *testing.T, data []byte, piece uint8) {
		whole, pieces := newStreamObserver(1<<20), newStreamObserver(1<<20)
		whole.write(data)
		for rest := data; len(rest) > 0; {
			n := min(len(rest), int(piece)+1)
			pieces.write(rest[:n])
			rest = rest[n:]
		}
		require.Equal(t, outcomeOf(whole), outcomeOf(pieces))
	})
}

// outcomeOf is what an observer made of its bytes, as it is recorded.
func outcomeOf(o observer) string {
	a := o.close(true)
	c := conversation.Conversation{Output: a.output}
	c.Normalize()
	out := conversation.AppendMessages(nil, c.Output, conversation.Stored)
	return string(out) + string(a.completeness) + a.info.ErrorType + a.info.StopReason + a.info.ID
}
