package e2e

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// messages is the head of a request to the Messages API, to which headers and a body can be added.
const messages = "POST /v1/messages HTTP/1.1\r\nHost: gateway\r\nX-Api-Key: k\r\nAnthropic-Version: 2023-06-01\r\n"

const good = `{"model":"claude-sonnet-4-5","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}`

func length(body string) string {
	return "Content-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n" + body
}

func chunked(body string) string {
	return strconv.FormatInt(int64(len(body)), 16) + "\r\n" + body + "\r\n0\r\n\r\n"
}

// Whatever is sent, nothing reaches upstream but what is recorded, and every refusal has a record, and the API's shape.
func TestGatewayBadInput(t *testing.T) {
	const isJSON = "Content-Type: application/json\r\n"
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	_, err := io.CopyN(z, zeros{}, 64<<20)
	require.NoError(t, err)
	require.NoError(t, z.Close())
	c, fake, _ := newGateway(t, map[string]any{"receivers": map[string]any{"claude_gateway": map[string]any{
		"read_header_timeout": "1s", "timeouts": map[string]any{"body": "1s"},
	}}})
	c.start()
	cases := map[string]badInput{
		"headers that never end":                    {sent: messages + "X-Slow: ", unread: true},
		"a request line alone":                      {sent: "POST /v1/messages", status: 400, kind: "invalid_request_error", unread: true},
		"a body that never comes":                   {sent: messages + isJSON + "Content-Length: 100\r\n\r\n{", status: 408, kind: "timeout_error"},
		"a body that is not wanted and never comes": {sent: messages + "Content-Type: text/plain\r\nContent-Length: 100\r\n\r\n", status: 415, kind: "invalid_request_error"},
		"a body that ends early":                    {sent: messages + isJSON + "Content-Length: 100\r\n\r\n{", end: true, status: 400, kind: "invalid_request_error"},

		"a large header":      {sent: messages + "X-Large: " + strings.Repeat("a", 128<<10) + "\r\n" + length(good), status: 431, kind: "invalid_request_error"},
		"many headers":        {sent: messages + strings.Repeat("X-A: 1\r\n", 20_000) + length(good), status: 431, kind: "invalid_request_error"},
		"a long request line": {sent: "POST /v1/messages?" + strings.Repeat("a", 128<<10) + " HTTP/1.1\r\nHost: gateway\r\n" + length(good), status: 431, kind: "invalid_request_error"},
		"a huge header":       {sent: messages + "X-Large: " + strings.Repeat("a", 1<<20) + "\r\n" + length(good), status: 431, kind: "invalid_request_error", unread: true},

		"two lengths":                   {sent: messages + isJSON + "Content-Length: 5\r\n" + length(good), status: 400, kind: "invalid_request_error", unread: true},
		"a signed length":               {sent: messages + isJSON + "Content-Length: +5\r\n\r\nhello", status: 400, kind: "invalid_request_error", unread: true},
		"a negative length":             {sent: messages + isJSON + "Content-Length: -5\r\n\r\nhello", status: 400, kind: "invalid_request_error", unread: true},
		"an unknown transfer encoding":  {sent: messages + isJSON + "Transfer-Encoding: xchunked\r\n\r\n" + chunked(good), status: 501, kind: "invalid_request_error", unread: true},
		"two transfer encodings":        {sent: messages + isJSON + "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n" + chunked(good), status: 501, kind: "invalid_request_error", unread: true},
		"a blank before the colon":      {sent: messages + isJSON + "Transfer-Encoding : chunked\r\n\r\n" + chunked(good), status: 400, kind: "invalid_request_error", unread: true},
		"a zero byte in a header":       {sent: messages + isJSON + "X-Zero: a\x00b\r\n" + length(good), status: 400, kind: "invalid_request_error", unread: true},
		"no host":                       {sent: "POST /v1/messages HTTP/1.1\r\n" + isJSON + length(good), status: 400, kind: "invalid_request_error", unread: true},
		"two hosts":                     {sent: messages + "Host: other\r\n" + isJSON + length(good), status: 400, kind: "invalid_request_error", unread: true},
		"another version":               {sent: "POST /v1/messages HTTP/3.0\r\nHost: gateway\r\n" + isJSON + length(good), status: 505, kind: "invalid_request_error", unread: true},
		"no HTTP":                       {sent: "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", status: 400, kind: "invalid_request_error", unread: true},
		"a chunk of no number":          {sent: messages + isJSON + "Transfer-Encoding: chunked\r\n\r\nzz\r\n" + good + "\r\n0\r\n\r\n", status: 400, kind: "invalid_request_error"},
		"a chunk longer than it says":   {sent: messages + isJSON + "Transfer-Encoding: chunked\r\n\r\n5\r\n" + good + "\r\n0\r\n\r\n", status: 400, kind: "invalid_request_error"},
		"a chunk size that overflows":   {sent: messages + isJSON + "Transfer-Encoding: chunked\r\n\r\n10000000000000001\r\n" + good + "\r\n0\r\n\r\n", status: 400, kind: "invalid_request_error"},
		"a target that climbs":          {sent: strings.Replace(messages, "/v1/messages", "/v1/models/../messages", 1) + isJSON + length(good), status: 404, kind: "not_found_error"},
		"an absolute target":            {sent: strings.Replace(messages, "/v1/messages", "http://elsewhere/v1/messages/", 1) + isJSON + length(good), status: 404, kind: "not_found_error"},
		"another method on a path":      {sent: strings.Replace(messages, "POST", "PUT", 1) + isJSON + length(good), status: 404, kind: "not_found_error"},
		"the length and chunks as well": {sent: messages + isJSON + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n" + chunked(good), status: 200, forwarded: true},
		"a folded header":               {sent: messages + isJSON + "X-Folded: a\r\n b\r\nConnection: close\r\n" + length(good), status: 200, forwarded: true},
		"lines that end in a bare LF":   {sent: strings.ReplaceAll(messages+isJSON+"Connection: close\r\n", "\r\n", "\n") + length(good), status: 200, forwarded: true},

		"text":                     {sent: messages + "Content-Type: text/plain\r\n" + length(good), status: 415, kind: "invalid_request_error"},
		"a form":                   {sent: messages + "Content-Type: application/x-www-form-urlencoded\r\n" + length(good), status: 415, kind: "invalid_request_error"},
		"no content type":          {sent: messages + length(good), status: 415, kind: "invalid_request_error"},
		"two content types":        {sent: messages + "Content-Type: application/json, text/plain\r\n" + length(good), status: 415, kind: "invalid_request_error"},
		"a bomb":                   {sent: messages + isJSON + "Content-Encoding: gzip\r\n" + length(bomb.String()), status: 415, kind: "invalid_request_error"},
		"an unknown encoding":      {sent: messages + isJSON + "Content-Encoding: x\r\n" + length(good), status: 415, kind: "invalid_request_error"},
		"100 MB, as it says":       {sent: messages + isJSON + "Content-Length: 104857600\r\n\r\n", more: 100 << 20, status: 413, kind: "request_too_large"},
		"100 MB that it is silent": {sent: messages + isJSON + "Transfer-Encoding: chunked\r\n\r\n6400000\r\n", more: 100 << 20, status: 413, kind: "request_too_large"},

		"no JSON":                {sent: messages + isJSON + length("hello"), status: 400, kind: "invalid_request_error"},
		"half a JSON text":       {sent: messages + isJSON + length(good[:40]), status: 400, kind: "invalid_request_error"},
		"two JSON texts":         {sent: messages + isJSON + length(good+good), status: 400, kind: "invalid_request_error"},
		"no object":              {sent: messages + isJSON + length("[1]"), status: 400, kind: "invalid_request_error"},
		"nothing":                {sent: messages + isJSON + length(""), status: 400, kind: "invalid_request_error"},
		"a deep nest":            {sent: messages + isJSON + length(strings.Repeat(`{"a":[`, 200_000)), status: 400, kind: "invalid_request_error"},
		"a key that comes twice": {sent: messages + isJSON + length(`{"model":"m",`+good[1:]), status: 400, kind: "invalid_request_error"},
		"no UTF-8":               {sent: messages + isJSON + length(strings.Replace(good, "hi", "h\xff", 1)), status: 400, kind: "invalid_request_error"},
		"a zero byte":            {sent: messages + isJSON + length(strings.Replace(good, "hi", "h\x00", 1)), status: 400, kind: "invalid_request_error"},
	}
	forwarded, refused := 0, map[string]int{}
	t.Run("sent", func(t *testing.T) {
		for name, tc := range cases {
			switch {
			case tc.forwarded:
				forwarded++
			case tc.unread:
				refused["unread_request"]++
			default:
				refused[tc.kind]++
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				tc.send(t, strings.TrimPrefix(c.gateway, "http://"))
			})
		}
	})
	require.Len(t, requests(fake), forwarded)
	recorded := map[string]int{}
	for _, r := range c.awaitStatus(len(cases), "success", "blocked") {
		if r.text("status") == "blocked" {
			recorded[r.text("error_type")]++
		}
	}
	require.Equal(t, refused, recorded)
	c.requireOneToOne(fake)
	c.stop()
	c.verify()
}

// badInput is what a client sends that is not as it should be.
type badInput struct {
	// sent is sent as it is; more bytes follow, if any, as long as the gateway takes them.
	sent string
	more int64
	end  bool // the client says that it sends nothing more
	// status is the answer's; 0: the connection is closed without one.
	status int
	// kind is the type of the error, in the API's shape.
	kind string
	// unread says that the server refuses it before there is a call, which is recorded all the same.
	unread    bool
	forwarded bool
}

func (c badInput) send(t *testing.T, addr string) {
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", addr)
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(time.Minute)))
	var sending sync.WaitGroup
	defer sending.Wait()
	defer conn.Close()
	sending.Go(func() {
		// The gateway may answer and close before it has all.
		if _, err := io.WriteString(conn, c.sent); err == nil && c.more > 0 {
			_, _ = io.CopyN(conn, zeros{}, c.more)
		}
		if c.end {
			_ = conn.(*net.TCPConn).CloseWrite()
		}
	})
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NotErrorIs(t, err, os.ErrDeadlineExceeded, "it was not closed")
	if c.status == 0 {
		require.Error(t, err)
		return
	}
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Equal(t, c.status, resp.StatusCode, "%s", body)
	if c.forwarded {
		return
	}
	var answer struct {
		Type  string
		Error struct{ Type, Message string }
	}
	require.NoError(t, json.Unmarshal(body, &answer), "%s", body)
	require.Equal(t, "error", answer.Type)
	require.Equal(t, c.kind, answer.Error.Type)
	require.NotEmpty(t, answer.Error.Message)
	require.Equal(t, "false", resp.Header.Get("X-Should-Retry"))
}

// zeros has zero bytes without end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
