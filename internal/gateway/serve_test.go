package gateway

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/claudeaudit/claudeaudit/internal/audit"
)

func (h *harness) dial(t *testing.T) net.Conn {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", strings.TrimPrefix(h.url, "http://"))
	require.NoError(t, err)
	require.NoError(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
	t.Cleanup(func() { _ = conn.Close() }) // it may be closed already
	return conn
}

// A request that the HTTP server refuses by itself, or that has no end, is recorded; a connection that asks nothing is not.
func TestUnreadRequests(t *testing.T) {
	const whole = "POST /v1/messages HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: "
	for name, tc := range map[string]struct {
		sent string
		want []string // error types of the records, in turn
	}{
		"nothing at all":                    {sent: ""},
		"no HTTP":                           {sent: "\x16\x03\x01\x02\x00\r\n\r\n", want: []string{unreadRequest}},
		"two lengths":                       {sent: whole + "5\r\nContent-Length: 6\r\n\r\nhello", want: []string{unreadRequest}},
		"half a request":                    {sent: "POST /v1/mess", want: []string{unreadRequest}},
		"what is refused":                   {sent: whole + "5\r\n\r\nhello", want: []string{"invalid_request_error"}},
		"OPTIONS *":                         {sent: "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", want: []string{"not_found_error"}},
		"an expectation nobody meets":       {sent: "POST /v1/messages HTTP/1.1\r\nHost: h\r\nExpect: wonders\r\nContent-Length: 0\r\n\r\n", want: []string{unreadRequest}},
		"a second one that is no HTTP":      {sent: whole + "5\r\n\r\nhello" + "nonsense\r\n\r\n", want: []string{"invalid_request_error", unreadRequest}},
		"HTTP/2 without any request":        {sent: "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"},
		"headers above what a server reads": {sent: "GET /v1/models HTTP/1.1\r\nX-A: " + strings.Repeat("a", 1<<20) + "\r\n\r\n", want: []string{unreadRequest}},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t, nil)
			conn := h.dial(t)
			_, err := io.WriteString(conn, tc.sent)
			if len(tc.sent) < 1<<20 { // of more the server need not read all
				require.NoError(t, err)
			}
			require.NoError(t, conn.(*net.TCPConn).CloseWrite())
			_, _ = io.Copy(io.Discard, conn) // until the server closes; what it did not read may reset the connection
			ended := h.sink.ended(t, len(tc.want))
			require.Len(t, ended, len(tc.want))
			for i, it := range ended {
				require.Equal(t, tc.want[i], it.ErrorType)
				require.Equal(t, audit.StatusBlocked, it.Gateway.Status)
				require.Equal(t, audit.EndedRefused, it.Gateway.Ended)
				require.Equal(t, "127.0.0.1", it.Who.Address)
			}
			require.Empty(t, h.fake.Records())
		})
	}
}

// Headers above the limit get the API's own error.
func TestHeaderLimit(t *testing.T) {
	h := newHarness(t, func(s *Settings) { s.Limits.HeaderBytes = 8 << 10 })
	for size, status := range map[int]int{7 << 10: http.StatusOK, 9 << 10: http.StatusRequestHeaderFieldsTooLarge} {
		resp, body, err := h.do(t, http.MethodPost, "/v1/messages", message("hi", ""), "X-Large", strings.Repeat("a", size))
		require.NoError(t, err)
		require.Equal(t, status, resp.StatusCode, body)
		if status != http.StatusOK {
			require.Contains(t, body, `"invalid_request_error"`)
		}
	}
	require.Equal(t, 7<<10, len(lastRequest(h.fake).Headers["x-large"]))
	require.Len(t, h.sink.ended(t, 2), 2)
}

// A gateway that has stopped takes no request on.
func TestStoppedGatewayTakesNothing(t *testing.T) {
	h := newHarness(t, nil)
	conn := h.dial(t)
	require.NoError(t, h.gateway.Shutdown(t.Context()))
	_, err := io.WriteString(conn, "GET /v1/models HTTP/1.1\r\nHost: h\r\nX-Api-Key: k\r\n\r\n")
	require.NoError(t, err)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	defer resp.Body.Close()
	require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
	require.Empty(t, h.fake.Records())
	require.Empty(t, h.sink.events(eventEnded))
}
