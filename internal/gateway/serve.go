package gateway

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"

	"github.com/claudeaudit/claudeaudit/internal/audit"
)

// headerRoom is how many times the limit of headers a server reads: what is above the limit and below that is refused by
// the gateway, with a record that says who sent it.
const headerRoom = 4

// unreadRequest is the error type of a request that ended before there was a call.
const unreadRequest = "unread_request"

// Attach sets up a server whose handler passes requests on to the gateway, and returns the listener that it is to serve. The
// server refuses by itself what is no HTTP request, and what could be taken for two; such a request has a record too, and an answer
// in the API's shape.
func (g *Gateway) Attach(server *http.Server, l net.Listener) net.Listener {
	server.MaxHeaderBytes = headerRoom * g.set.Limits.HeaderBytes
	server.DisableGeneralOptionsHandler = true // OPTIONS * is refused as any other
	// The AWS SDK for JavaScript speaks HTTP/2 without TLS to http endpoints. To the server the connections of a listener with TLS
	// are without, too: it sees what is within.
	server.Protocols = new(http.Protocols)
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetUnencryptedHTTP2(true)

	server.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		return context.WithValue(ctx, connectionKey{}, c)
	}
	server.ConnState = func(c net.Conn, state http.ConnState) {
		if c, ok := c.(*connection); ok && state == http.StateIdle {
			c.idle()
		}
	}
	handler := server.Handler
	server.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, ok := r.Context().Value(connectionKey{}).(*connection); ok {
			c.handle(r)
		}
		handler.ServeHTTP(w, r)
	})
	return listener{l, g}
}

type connectionKey struct{}

type listener struct {
	net.Listener
	g *Gateway
}

func (l listener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &connection{Conn: conn, g: l.g}, nil
}

// connection is one of a server's, as the server reads and writes it: what TLS there is lies below. It notices requests that no
// handler sees, and answers that no handler gives.
type connection struct {
	net.Conn
	g *Gateway

	// began is set when something was read.
	began atomic.Bool
	// unread is set while something of a request has come that no handler has seen.
	unread atomic.Bool
	// handling is set from when a handler has seen a request until its answer is written.
	handling atomic.Bool
	ended    atomic.Bool
	// foreign is what a client is answered by that should speak TLS and doesn't.
	foreign net.Conn

	secure sync.Once
	state  *tls.ConnectionState // nil without TLS

	// Of HTTP/2, where one connection has many requests at a time.
	http2   atomic.Bool
	preface int    // how much of it was read
	frames  frames // the client's, after it
	asked   atomic.Int64
	seen    atomic.Int64 // of those that were asked, by a handler
	told    int64        // of those that were not seen, with a record
	telling sync.Mutex
}

// http2Preface begins an HTTP/2 connection.
const http2Preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

func (c *connection) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	switch {
	case n > 0:
		c.began.Store(true)
		c.follow(p[:n])
	case err != nil && !c.began.Load():
		c.noHandshake(err)
	}
	return n, err
}

// noHandshake notices a client that did not come as far as to ask anything.
func (c *connection) noHandshake(err error) {
	if _, ok := c.Conn.(*tls.Conn); !ok || c.foreign != nil || errors.Is(err, io.EOF) {
		return
	}
	if other := (tls.RecordHeaderError{}); errors.As(err, &other) && other.Conn != nil {
		c.foreign = other.Conn
		c.unread.Store(true)
		return
	}
	c.g.set.Logger.Debug("TLS handshake failed", zap.Stringer("address", c.RemoteAddr()), zap.Error(err))
}

// follow looks at what the client sends.
func (c *connection) follow(p []byte) {
	if c.http2.Load() {
		c.asked.Add(c.frames.opened(p))
		return
	}
	if c.preface >= 0 {
		n := min(len(p), len(http2Preface)-c.preface)
		switch {
		case string(p[:n]) != http2Preface[c.preface:c.preface+n]:
			c.preface = -1
		case c.preface+n == len(http2Preface):
			c.http2.Store(true)
			c.unread.Store(false)
			c.asked.Add(c.frames.opened(p[n:]))
			return
		default:
			c.preface += n
		}
	}
	if !c.handling.Load() {
		c.unread.Store(true)
	}
}

// Write puts the gateway's answer in the place of one that the server gives by itself, after which it closes the connection.
func (c *connection) Write(p []byte) (int, error) {
	if c.http2.Load() || c.handling.Load() || !c.began.Load() && c.foreign == nil {
		return c.Conn.Write(p)
	}
	out := c.Conn
	if c.foreign != nil {
		out = c.foreign
	}
	if _, err := out.Write(c.refusal(p)); err != nil {
		return 0, err
	}
	// A connection that is closed before all was read from it is reset, and the answer may be lost.
	if closer, ok := out.(interface{ CloseWrite() error }); ok && closer.CloseWrite() == nil {
		_ = out.SetReadDeadline(time.Now().Add(lingering))
		_, _ = io.Copy(io.Discard, out)
	}
	return len(p), nil
}

// lingering is how long the rest of a request is read that was refused before its end.
const lingering = 500 * time.Millisecond

// refusal records a request that the server refuses, and gives the answer to it: the server's status, in the API's shape.
func (c *connection) refusal(answer []byte) []byte {
	server, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(answer)), nil)
	if err != nil {
		return answer
	}
	_ = server.Body.Close() // of a text in memory
	c.unread.Store(false)
	reason := server.Status // what it says is constant, and nothing of the request
	if c.foreign != nil {
		reason += ": the gateway speaks TLS here"
	}
	id := newCallID()
	c.g.unread(c, id, server.StatusCode, reason)
	own := &apiError{server.StatusCode, "invalid_request_error", "the audit gateway can't read the request: " + reason, 0}
	r := http.Response{ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{}, Close: true}
	var body []byte
	r.StatusCode, body = own.answer(r.Header, Anthropic, id.String())
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	var out bytes.Buffer
	if r.Write(&out) != nil {
		return answer
	}
	return out.Bytes()
}

// CloseWrite lets the server end a refusal so that the client can read it.
func (c *connection) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

func (c *connection) Close() error {
	err := c.Conn.Close()
	if c.ended.CompareAndSwap(false, true) {
		if c.unread.Load() {
			c.g.unread(c, newCallID(), 0, "")
		}
		c.settle()
	}
	return err
}

// handle notices that a handler sees a request.
func (c *connection) handle(r *http.Request) {
	r.TLS = c.tls()
	if c.http2.Load() {
		c.seen.Add(1)
		return
	}
	c.handling.Store(true)
	c.unread.Store(false)
}

// idle notices that a handler's answer is written; of HTTP/2, that all are.
func (c *connection) idle() {
	if c.http2.Load() {
		c.settle()
		return
	}
	c.unread.Store(false)
	c.handling.Store(false)
}

// tls is what is known of the connection's TLS, nil when it has none.
func (c *connection) tls() *tls.ConnectionState {
	c.secure.Do(func() {
		if conn, ok := c.Conn.(*tls.Conn); ok {
			state := conn.ConnectionState()
			c.state = &state
		}
	})
	return c.state
}

// handlerGrace is how long the handler of a stream may take until it runs. That it runs is decided before the stream ends.
const handlerGrace = time.Second

// settle records the streams that no handler sees: those that are malformed, and what the server answers by itself.
func (c *connection) settle() {
	asked := c.asked.Load()
	if asked == c.seen.Load() || !c.g.enter() {
		return
	}
	time.AfterFunc(handlerGrace, func() {
		defer c.g.callsOpen.Done()
		c.telling.Lock()
		defer c.telling.Unlock()
		for ; c.told < asked-c.seen.Load(); c.told++ {
			c.g.recordUnread(c, newCallID(), 0, "")
		}
	})
}

// frames follows the frames of an HTTP/2 connection, of which it reads the heads.
type frames struct {
	head [frameHead]byte
	have int    // of the head
	skip uint32 // of the payload
	last uint32 // the stream that was opened last
}

const (
	frameHead    = 9
	frameHeaders = 1 // the type of a frame that opens a stream
)

// opened counts the streams that are opened by what comes next.
func (f *frames) opened(p []byte) (n int64) {
	for len(p) > 0 {
		if over := min(int(f.skip), len(p)); over > 0 {
			f.skip -= uint32(over)
			p = p[over:]
			continue
		}
		took := copy(f.head[f.have:], p)
		f.have += took
		p = p[took:]
		if f.have < frameHead {
			return n
		}
		f.have = 0
		f.skip = binary.BigEndian.Uint32(f.head[:]) >> 8
		if stream := binary.BigEndian.Uint32(f.head[5:]) &^ (1 << 31); f.head[3] == frameHeaders && stream > f.last {
			f.last = stream
			n++
		}
	}
	return n
}

// unread records a request that ended before there was a call, unless the gateway has stopped.
func (g *Gateway) unread(conn *connection, id uuid.UUID, status int, detail string) {
	if g.enter() {
		defer g.callsOpen.Done()
		g.recordUnread(conn, id, status, detail)
	}
}

// recordUnread records a request that ended before there was a call, and what it was answered, if anything.
func (g *Gateway) recordUnread(conn *connection, id uuid.UUID, status int, detail string) {
	c := &call{
		g: g, r: &http.Request{Header: http.Header{}, RemoteAddr: conn.RemoteAddr().String(), TLS: conn.tls()}, id: id, start: g.set.Now(),
		op: operation{name: "refused", activity: true, surface: Anthropic}, status: status,
	}
	_ = c.identify() // by its certificate, or nobody: it had no headers that could be read
	g.set.Metrics.Refused(unreadRequest)
	g.set.Logger.Info("a request could not be read; nothing of it was forwarded", zap.String("event_id", id.String()))
	it := c.outcome(audit.StatusBlocked, audit.EndedRefused, unreadRequest)
	it.Gateway.PolicyReason = detail
	g.outcome(c, it)
}

// enter counts a request that came, unless the gateway has stopped.
func (g *Gateway) enter() bool {
	g.entry.RLock()
	defer g.entry.RUnlock()
	if g.stopped {
		return false
	}
	g.callsOpen.Add(1)
	return true
}

// headersTooLarge tells whether a request's line and headers exceed the limit, as they are written in HTTP/1.1.
func (g *Gateway) headersTooLarge(r *http.Request) bool {
	n := len(r.Method) + len(r.RequestURI) + len(" HTTP/1.1\r\n") + len(" Host: \r\n") + len(r.Host)
	for name, values := range r.Header {
		for _, v := range values {
			n += len(name) + len(v) + len(": \r\n")
		}
	}
	return n > g.set.Limits.HeaderBytes
}
