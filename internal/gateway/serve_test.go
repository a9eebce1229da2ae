package gateway

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"io"
	"math/big"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/claudeaudit/claudeaudit/internal/audit"
	"github.com/claudeaudit/claudeaudit/internal/genai"
)

// person is a certificate that names a person, of an authority of its own, and good for both ends of a connection.
func person(t *testing.T, name string) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), Subject: pkix.Name{CommonName: name},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

// secured is a server with TLS for the harness's gateway, and what a client needs for it.
func (h *harness) secured(t *testing.T) (addr string, client *tls.Config) {
	t.Helper()
	server, addr, client := h.securedServer(t)
	t.Cleanup(func() { require.NoError(t, server.Close()) })
	return addr, client
}

func (h *harness) securedServer(t *testing.T) (server *http.Server, addr string, client *tls.Config) {
	t.Helper()
	cert, pool := person(t, "ana")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server = &http.Server{Handler: h.gateway}
	addr = l.Addr().String()
	l = h.gateway.Attach(server, tls.NewListener(l, &tls.Config{
		Certificates: []tls.Certificate{cert}, ClientCAs: pool, ClientAuth: tls.VerifyClientCertIfGiven, NextProtos: []string{"h2", "http/1.1"},
	}))
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(l) }) // until it is closed
	t.Cleanup(serving.Wait)
	return server, addr, &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{cert}}
}

// dial connects to the harness's gateway, with TLS or without.
func (h *harness) dial(t *testing.T, secure bool, protos ...string) net.Conn {
	t.Helper()
	addr := strings.TrimPrefix(h.url, "http://")
	var (
		conn net.Conn
		err  error
	)
	if secure {
		var cfg *tls.Config
		addr, cfg = h.secured(t)
		cfg.NextProtos = protos
		conn, err = (&tls.Dialer{Config: cfg}).DialContext(t.Context(), "tcp", addr)
	} else {
		conn, err = (&net.Dialer{}).DialContext(t.Context(), "tcp", addr)
	}
	require.NoError(t, err)
	require.NoError(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
	t.Cleanup(func() { _ = conn.Close() }) // it may be closed already
	return conn
}

func transport(t *testing.T, secure bool, test func(t *testing.T, secure bool)) {
	t.Helper()
	name := "plain"
	if secure {
		name = "TLS"
	}
	t.Run(name, func(t *testing.T) {
		t.Parallel() // the server lingers before it closes
		test(t, secure)
	})
}

// A request that the HTTP server refuses by itself, or that has no end, is recorded and answered in the API's shape; a connection
// that asks nothing is not.
func TestUnreadRequests(t *testing.T) {
	const whole = "POST /v1/messages HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: "
	const bad = "400 Bad Request"
	for name, tc := range map[string]struct {
		sent string
		want []string // error types of the records, in turn
		// reason is why the server refused the last one, which is answered last.
		reason string
	}{
		"nothing at all":                    {sent: ""},
		"an empty line":                     {sent: whole + "5\r\n\r\nhello\r\n", want: []string{"invalid_request_error"}},
		"no HTTP":                           {sent: "\x16\x03\x01\x02\x00\r\n\r\n", want: []string{unreadRequest}, reason: bad},
		"two lengths":                       {sent: whole + "5\r\nContent-Length: 6\r\n\r\nhello", want: []string{unreadRequest}, reason: bad},
		"no host":                           {sent: "GET /v1/models HTTP/1.1\r\n\r\n", want: []string{unreadRequest}, reason: bad + ": missing required Host header"},
		"an encoding that isn't known":      {sent: whole + "5\r\nTransfer-Encoding: x\r\n\r\nhello", want: []string{unreadRequest}, reason: "501 Not Implemented"},
		"another version":                   {sent: "GET / HTTP/3.0\r\nHost: h\r\n\r\n", want: []string{unreadRequest}, reason: "505 HTTP Version Not Supported: unsupported protocol version"},
		"half a request":                    {sent: "POST /v1/mess", want: []string{unreadRequest}, reason: bad},
		"what is refused":                   {sent: whole + "5\r\n\r\nhello", want: []string{"invalid_request_error"}},
		"OPTIONS *":                         {sent: "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", want: []string{"not_found_error"}},
		"an expectation nobody meets":       {sent: "POST /v1/messages HTTP/1.1\r\nHost: h\r\nExpect: wonders\r\nContent-Length: 0\r\n\r\n", want: []string{unreadRequest}, reason: "417 Expectation Failed"},
		"a second one that is no HTTP":      {sent: whole + "5\r\n\r\nhello" + "nonsense\r\n\r\n", want: []string{"invalid_request_error", unreadRequest}, reason: bad},
		"half a second one":                 {sent: whole + "5\r\n\r\nhello" + "GET /v1/mod", want: []string{"invalid_request_error", unreadRequest}, reason: bad},
		"the beginning of HTTP/2":           {sent: "PRI * HTTP/2.0\r\n\r\nSM", want: []string{"not_found_error"}},
		"HTTP/2 without any request":        {sent: http2.ClientPreface + "\x00\x00\x00\x04\x00\x00\x00\x00\x00"},
		"headers above what a server reads": {sent: "GET /v1/models HTTP/1.1\r\nX-A: " + strings.Repeat("a", 1<<20) + "\r\n\r\n", want: []string{unreadRequest}, reason: "431 Request Header Fields Too Large"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, secure := range []bool{false, true} {
				transport(t, secure, func(t *testing.T, secure bool) {
					h := newHarness(t, func(s *Settings) { s.Identity.Certificate = "common_name" })
					conn := h.dial(t, secure)
					var sending sync.WaitGroup
					sending.Go(func() { // the gateway may have answered before it has all
						_, _ = io.WriteString(conn, tc.sent)
						_ = conn.(interface{ CloseWrite() error }).CloseWrite()
					})
					got, _ := io.ReadAll(conn) // until the server closes, however it does that
					sending.Wait()
					ended := h.sink.ended(t, len(tc.want))
					require.Len(t, ended, len(tc.want))
					for i, it := range ended {
						require.Equal(t, tc.want[i], it.ErrorType)
						require.Equal(t, audit.StatusBlocked, it.Gateway.Status)
						require.Equal(t, audit.EndedRefused, it.Gateway.Ended)
						require.Equal(t, "127.0.0.1", it.Who.Address)
						require.Equal(t, map[bool]string{true: "ana"}[secure], it.Who.User)
					}
					require.Empty(t, h.fake.Records())
					if tc.reason != "" {
						requireRefusal(t, got, tc.reason, &ended[len(ended)-1])
					}
				})
			}
		})
	}
}

// requireRefusal wants the last answer of a connection to be an error of the API's shape, with the record's id.
func requireRefusal(t *testing.T, got []byte, reason string, it *genai.Interaction) {
	t.Helper()
	at := bytes.LastIndex(got, []byte("HTTP/1.1 "))
	require.GreaterOrEqual(t, at, 0, "%q", got)
	resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(got[at:])), nil)
	require.NoError(t, err)
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, reason[:3], resp.Status[:3])
	require.True(t, resp.Close)
	require.Equal(t, "application/json", resp.Header.Get("Content-Type"))
	require.Equal(t, "false", resp.Header.Get("X-Should-Retry"))
	var answer struct {
		Type      string
		Error     struct{ Type, Message string }
		RequestID string `json:"request_id"`
	}
	require.NoError(t, json.Unmarshal(body, &answer), "%s", body)
	require.Equal(t, "error", answer.Type)
	require.Equal(t, "invalid_request_error", answer.Error.Type)
	require.Equal(t, "the audit gateway can't read the request: "+reason, answer.Error.Message)
	require.Equal(t, it.Gateway.CallID.String(), answer.RequestID)
	require.EqualValues(t, resp.StatusCode, *it.Gateway.HTTPStatus)
	require.Equal(t, reason, it.Gateway.PolicyReason)
}

// A client that speaks no TLS to a gateway that does is told so, and recorded.
func TestNoTLS(t *testing.T) {
	h := newHarness(t, nil)
	addr, cfg := h.secured(t)
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", addr)
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
	_, err = io.WriteString(conn, "POST /v1/messages HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}")
	require.NoError(t, err)
	require.NoError(t, conn.(*net.TCPConn).CloseWrite())
	got, err := io.ReadAll(conn)
	require.NoError(t, err)
	requireRefusal(t, got, "400 Bad Request: the gateway speaks TLS here", &h.sink.ended(t, 1)[0])

	// One that doesn't trust the gateway has asked nothing.
	_, err = (&tls.Dialer{Config: &tls.Config{RootCAs: x509.NewCertPool()}}).DialContext(t.Context(), "tcp", addr)
	require.Error(t, err)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: cfg}}
	defer client.CloseIdleConnections()
	r := h.request(t, http.MethodGet, "/v1/unknown", "")
	r.URL.Scheme, r.URL.Host = "https", addr
	resp, err := client.Do(r)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, "not_found_error", h.sink.ended(t, 2)[1].ErrorType)
}

// Who shows a certificate is known by it, whatever the version of HTTP.
func TestCertificateByVersion(t *testing.T) {
	h := newHarness(t, func(s *Settings) {
		s.Identity.Certificate, s.Identity.RefuseAnonymous = "common_name", true
	})
	addr, cfg := h.secured(t)
	for i, major := range []int{1, 2} {
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: cfg.Clone(), ForceAttemptHTTP2: major == 2}}
		r := h.request(t, http.MethodPost, "/v1/messages", message("hi", ""))
		r.URL.Scheme, r.URL.Host = "https", addr
		resp, err := client.Do(r)
		require.NoError(t, err)
		_, err = io.Copy(io.Discard, resp.Body)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		client.CloseIdleConnections()
		require.Equal(t, http.StatusOK, resp.StatusCode)
		require.Equal(t, major, resp.ProtoMajor)
		it := h.sink.ended(t, i+1)[i]
		require.Equal(t, "ana", it.Who.User)
		require.Equal(t, audit.AssuranceVerified, it.Gateway.Assurance)
	}
}

// A server that stops lets the calls end that are under way, of an HTTP/2 connection with TLS too.
func TestDrainOfHTTP2(t *testing.T) {
	h := newHarness(t, nil)
	server, addr, cfg := h.securedServer(t)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: cfg, ForceAttemptHTTP2: true}}
	defer client.CloseIdleConnections()
	r := h.request(t, http.MethodPost, "/v1/messages", message("[[fake: tokens=20 rate=40]]", `,"stream":true`))
	r.URL.Scheme, r.URL.Host = "https", addr
	resp, err := client.Do(r)
	require.NoError(t, err)
	defer resp.Body.Close()
	require.Equal(t, 2, resp.ProtoMajor)
	stopped := make(chan error, 1)
	go func() { stopped <- server.Shutdown(t.Context()) }()
	got, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Contains(t, string(got), "message_stop")
	require.NoError(t, <-stopped)
	require.Equal(t, audit.EndedComplete, h.sink.ended(t, 1)[0].Gateway.Ended)
}

// A stream of an HTTP/2 connection that no handler sees is recorded; one that a handler sees is recorded once.
func TestUnreadStreams(t *testing.T) {
	get := []string{":method", "GET", ":scheme", "http", ":authority", "h", ":path", "/v1/unknown"}
	between := func(t *testing.T, c *h2Client) {
		c.open(t, 1, get...)
		c.open(t, 3, get[:6]...)
		c.open(t, 5, get...)
	}
	for name, tc := range map[string]struct {
		secure bool
		send   func(t *testing.T, c *h2Client)
		want   []string // error types of the records, in any order
	}{
		"no path":                  {send: func(t *testing.T, c *h2Client) { c.open(t, 1, get[:6]...) }, want: []string{unreadRequest}},
		"a path that is no path":   {send: func(t *testing.T, c *h2Client) { c.open(t, 1, append(get[:6:6], ":path", "v1")...) }, want: []string{unreadRequest}},
		"an upper-case header":     {send: func(t *testing.T, c *h2Client) { c.open(t, 1, append(get, "X-A", "1")...) }, want: []string{unreadRequest}},
		"an unknown pseudo-header": {send: func(t *testing.T, c *h2Client) { c.open(t, 1, append(get, ":x", "1")...) }, want: []string{unreadRequest}},
		"two paths":                {send: func(t *testing.T, c *h2Client) { c.open(t, 1, append(get, ":path", "/v1/messages")...) }, want: []string{unreadRequest}},
		"a line break in a header": {send: func(t *testing.T, c *h2Client) { c.open(t, 1, append(get, "x-a", "1\r\nHost: other")...) }, want: []string{unreadRequest}},
		"a header of HTTP/1":       {send: func(t *testing.T, c *h2Client) { c.open(t, 1, append(get, "connection", "close")...) }, want: []string{unreadRequest}},
		"an encoding of HTTP/1":    {send: func(t *testing.T, c *h2Client) { c.open(t, 1, append(get, "transfer-encoding", "chunked")...) }, want: []string{unreadRequest}},
		"too large headers":        {send: func(t *testing.T, c *h2Client) { c.open(t, 1, append(get, "x-a", strings.Repeat("~", 600<<10))...) }, want: []string{unreadRequest}},
		"no headers that can be read": {send: func(t *testing.T, c *h2Client) {
			require.NoError(t, c.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0xff, 0xff, 0xff, 0xff, 0xff}, EndHeaders: true}))
		}, want: []string{unreadRequest}},
		"headers without an end": {send: func(t *testing.T, c *h2Client) {
			require.NoError(t, c.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: c.block(t, get...)}))
		}, want: []string{unreadRequest}},
		"a bad one between two": {send: between, want: []string{"not_found_error", "not_found_error", unreadRequest}},
		"the same with TLS":     {secure: true, send: between, want: []string{"not_found_error", "not_found_error", unreadRequest}},
		"several bad ones": {send: func(t *testing.T, c *h2Client) {
			for id := uint32(1); id < 9; id += 2 {
				c.open(t, id, get[:6]...)
			}
		}, want: []string{unreadRequest, unreadRequest, unreadRequest, unreadRequest}},
		"trailers": {send: func(t *testing.T, c *h2Client) {
			require.NoError(t, c.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: c.block(t, get...), EndHeaders: true}))
			c.open(t, 1, "x-trailer", "1")
		}, want: []string{"not_found_error"}},
		"one that is reset at once": {send: func(t *testing.T, c *h2Client) {
			c.open(t, 1, get...)
			require.NoError(t, c.WriteRSTStream(1, http2.ErrCodeCancel))
		}, want: []string{"not_found_error"}},
		"none": {send: func(t *testing.T, c *h2Client) { require.NoError(t, c.WritePing(false, [8]byte{})) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHarness(t, nil)
			conn := h.dial(t, tc.secure, "h2")
			c := newH2Client(t, conn)
			var sending sync.WaitGroup
			sending.Go(func() {
				tc.send(t, c)
				_ = conn.(interface{ CloseWrite() error }).CloseWrite() // the server may have closed it
			})
			_, _ = io.Copy(io.Discard, conn)
			sending.Wait()
			_ = conn.Close() // as it may have here
			var got []string
			for _, it := range h.sink.ended(t, len(tc.want)) {
				got = append(got, it.ErrorType)
				require.Equal(t, audit.StatusBlocked, it.Gateway.Status)
			}
			require.ElementsMatch(t, tc.want, got)
			require.Empty(t, h.fake.Records())
			// And nothing is told later.
			require.NoError(t, h.gateway.Shutdown(t.Context()))
			require.Len(t, h.sink.events(eventEnded), len(tc.want))
		})
	}
}

// h2Client writes the frames of a client.
type h2Client struct {
	*http2.Framer
	headers bytes.Buffer
	encoder *hpack.Encoder
}

func newH2Client(t *testing.T, conn net.Conn) *h2Client {
	t.Helper()
	_, err := io.WriteString(conn, http2.ClientPreface)
	require.NoError(t, err)
	c := &h2Client{Framer: http2.NewFramer(conn, nil)}
	c.encoder = hpack.NewEncoder(&c.headers)
	require.NoError(t, c.WriteSettings())
	return c
}

// block are headers as a frame has them: names and values in turn.
func (c *h2Client) block(t *testing.T, headers ...string) []byte {
	t.Helper()
	c.headers.Reset()
	for i := 0; i+1 < len(headers); i += 2 {
		require.NoError(t, c.encoder.WriteField(hpack.HeaderField{Name: headers[i], Value: headers[i+1]}))
	}
	return bytes.Clone(c.headers.Bytes())
}

// open opens a stream whose request has no body.
func (c *h2Client) open(t *testing.T, id uint32, headers ...string) {
	t.Helper()
	block := c.block(t, headers...)
	n := min(len(block), 16<<10)
	require.NoError(t, c.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block[:n], EndStream: true, EndHeaders: n == len(block)}))
	for block = block[n:]; len(block) > 0; block = block[n:] {
		n = min(len(block), 16<<10)
		if c.WriteContinuation(id, n == len(block), block[:n]) != nil {
			return // the server wants no more
		}
	}
}

// Heads of frames are found in whatever pieces they come.
func TestFrames(t *testing.T) {
	var sent bytes.Buffer
	c := http2.NewFramer(&sent, nil)
	for id := uint32(1); id < 20; id += 2 {
		require.NoError(t, c.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: []byte("headers"), EndHeaders: true}))
		require.NoError(t, c.WriteData(id, false, bytes.Repeat([]byte{1}, 300)))
		require.NoError(t, c.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: []byte("trailers"), EndHeaders: true}))
	}
	for _, piece := range []int{1, 2, 8, 9, 10, 100, sent.Len()} {
		var f frames
		n := int64(0)
		for rest := sent.Bytes(); len(rest) > 0; {
			k := min(piece, len(rest))
			n += f.opened(rest[:k])
			rest = rest[k:]
		}
		require.EqualValues(t, 10, n, "pieces of %d", piece)
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
	conn := h.dial(t, false)
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
