package gateway

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws/protocol/eventstream"
	"github.com/stretchr/testify/require"

	"github.com/claudeaudit/claudeaudit/internal/audit"
	"github.com/claudeaudit/claudeaudit/internal/genai"
)

// frame is a frame of an AWS event stream with a chunk of the Messages API's stream.
func frame(t *testing.T, payload string) string {
	t.Helper()
	var b bytes.Buffer
	m := eventstream.Message{Payload: []byte(payload)}
	for name, value := range map[string]string{":message-type": "event", ":event-type": "chunk", ":content-type": "application/json"} {
		m.Headers.Set(name, eventstream.StringValue(value))
	}
	require.NoError(t, eventstream.NewEncoder().Encode(&b, m))
	return b.String()
}

// What upstream sends that can't be read passes as it is, is recorded as far as it could be read, and takes nothing down.
func TestBrokenAnswers(t *testing.T) {
	chunk := func(event string) string {
		return frame(t, `{"bytes":"`+base64.StdEncoding.EncodeToString([]byte(event))+`"}`)
	}
	begun := chunk(`{"type":"message_start","message":{"id":"msg_1","model":"claude-x","usage":{"input_tokens":3,"output_tokens":1}}}`) +
		chunk(`{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}`) +
		chunk(`{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"so far"}}`)
	flipped := []byte(chunk(`{"type":"content_block_stop","index":0}`))
	flipped[len(flipped)/2] ^= 1
	const sse = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"model\":\"claude-x\"}}\n\n" +
		"event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"so far\"}}\n\n"
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	for range 64 {
		_, err := z.Write(make([]byte, 1<<20))
		require.NoError(t, err)
	}
	require.NoError(t, z.Close())
	const bedrock, messages = "/model/anthropic.claude-x/invoke-with-response-stream", "/v1/messages"
	for name, tc := range map[string]struct {
		path, media, encoding, body string
		text                        string
		completeness                genai.Completeness
		whole                       bool // it has its end all the same
	}{
		"a frame whose checksum is wrong":        {path: bedrock, body: begun + string(flipped), text: "so far", completeness: genai.ContentPartial},
		"a frame without a length":               {path: bedrock, body: begun + "\x00\x00\x00\x00" + begun, text: "so far", completeness: genai.ContentPartial},
		"a frame of 4 GB":                        {path: bedrock, body: begun + "\xff\xff\xff\xff" + begun, text: "so far", completeness: genai.ContentPartial},
		"a frame whose headers are too long":     {path: bedrock, body: begun + "\x00\x00\x00\x20\x00\x00\xff\xff" + strings.Repeat("x", 24), text: "so far", completeness: genai.ContentPartial},
		"half a frame":                           {path: bedrock, body: begun + begun[:40], text: "so far", completeness: genai.ContentPartial},
		"no frame":                               {path: bedrock, body: "hello, this is no event stream at all", completeness: genai.ContentPartial},
		"a frame that holds no JSON":             {path: bedrock, body: begun + frame(t, "hello"), text: "so far", completeness: genai.ContentPartial},
		"a frame that holds no base64":           {path: bedrock, body: begun + frame(t, `{"bytes":"???"}`), text: "so far", completeness: genai.ContentPartial},
		"a frame that holds no event":            {path: bedrock, body: begun + chunk("[1"), text: "so far", completeness: genai.ContentPartial},
		"nothing":                                {path: bedrock, completeness: genai.ContentNone},
		"an event that is no JSON":               {path: messages, media: "text/event-stream", body: sse + "data: {\n\n", text: "so far", completeness: genai.ContentPartial},
		"an event without an end":                {path: messages, media: "text/event-stream", body: sse + "data: " + strings.Repeat("x", 2<<20), text: "so far", completeness: genai.ContentTruncated},
		"bytes that are no events":               {path: messages, media: "text/event-stream", body: "\xff\xfe\x00\x00\n\n\r\r\x00", completeness: genai.ContentNone},
		"half a JSON text":                       {path: messages, media: "application/json", body: `{"type":"message","content":[`, completeness: genai.ContentUnparsed},
		"a deep JSON text":                       {path: messages, media: "application/json", body: strings.Repeat("[", 100_000), completeness: genai.ContentUnparsed},
		"a page":                                 {path: messages, media: "text/html", body: "<html>", completeness: genai.ContentUnparsed},
		"an encoding that the body doesn't have": {path: messages, media: "application/json", encoding: "gzip", body: "hello", completeness: genai.ContentUnparsed},
		"a bomb":                                 {path: messages, media: "application/json", encoding: "gzip", body: bomb.String(), completeness: genai.ContentTruncated, whole: true},
	} {
		t.Run(name, func(t *testing.T) {
			media := tc.media
			if media == "" {
				media = "application/vnd.amazon.eventstream"
			}
			h := newHarnessBefore(t, nil, func(s *Settings) { s.Upstreams[Bedrock] = s.Upstreams[Anthropic] },
				http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					w.Header().Set("Content-Type", media)
					if tc.encoding != "" {
						w.Header().Set("Content-Encoding", tc.encoding)
					}
					for piece := tc.body; piece != ""; { // in pieces that end where no frame does
						n := min(len(piece), 1021)
						_, _ = w.Write([]byte(piece[:n]))
						piece = piece[n:]
					}
				}))
			_, got, err := h.do(t, http.MethodPost, tc.path, message("hi", ""))
			require.NoError(t, err)
			require.True(t, tc.body == got, "the bytes are upstream's")
			require.Len(t, h.sink.events(eventInitiated), 1)
			it := h.sink.ended(t, 1)[0]
			require.Equal(t, tc.completeness, it.ResponseCompleteness)
			require.Equal(t, tc.text, outputText(&it))
			if !tc.whole {
				require.Equal(t, audit.EndedUpstreamCut, it.Gateway.Ended)
				require.Equal(t, audit.StatusError, it.Gateway.Status)
			}
			require.EqualValues(t, len(tc.body), *it.Gateway.ResponseBytes)
		})
	}
}
