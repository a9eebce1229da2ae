package gateway

import (
	"bytes"
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"sync"
	"sync/atomic"

	"go.uber.org/zap"

	"github.com/claudeaudit/claudeaudit/internal/audit"
)

// headerRoom is how many times the limit of headers a server reads: what is above the limit and below that is refused by
// the gateway, in the API's shape and with a record that says who sent it.
const headerRoom = 4

// unreadRequest is the error type of a request that ended before there was a call.
const unreadRequest = "unread_request"

// Attach sets up a server whose handler passes requests on to the gateway, and returns the listener that it is to serve. The
// server refuses by itself what is no HTTP request, and what could be taken for two; such a request has a record too.
func (g *Gateway) Attach(server *http.Server, l net.Listener) net.Listener {
	server.MaxHeaderBytes = headerRoom * g.set.Limits.HeaderBytes
	server.DisableGeneralOptionsHandler = true // OPTIONS * is refused as any other
	// The AWS SDK for JavaScript speaks HTTP/2 without TLS to http endpoints.
	server.Protocols = new(http.Protocols)
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetHTTP2(true)
	server.Protocols.SetUnencryptedHTTP2(true)

	var conns sync.Map // net.Conn to *connection
	server.ConnContext = func(ctx context.Context, conn net.Conn) context.Context {
		c := &connection{}
		if plain, ok := conn.(*plainConn); ok {
			c = &plain.connection
		}
		conns.Store(conn, c)
		return context.WithValue(ctx, connectionKey{}, c)
	}
	server.ConnState = func(conn net.Conn, state http.ConnState) {
		v, ok := conns.Load(conn)
		if !ok {
			return // a new one, whose context comes next
		}
		c := v.(*connection)
		switch state {
		case http.StateActive:
			c.unread.Store(true)
		case http.StateIdle:
			c.unread.Store(false)
			c.handling.Store(false)
		case http.StateHijacked, http.StateClosed:
			conns.Delete(conn)
			if c.unread.Load() {
				g.unread(conn.RemoteAddr())
			}
		}
	}
	handler := server.Handler
	server.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, ok := r.Context().Value(connectionKey{}).(*connection); ok {
			c.handling.Store(true)
			c.unread.Store(false)
		}
		handler.ServeHTTP(w, r)
	})
	return plainListener{l}
}

type connectionKey struct{}

// connection is one of a server's.
type connection struct {
	// unread is set while something of a request has come that no handler has seen.
	unread atomic.Bool
	// handling is set from when a handler has seen a request until its answer is written.
	handling atomic.Bool
}

// plainListener makes plainConns of connections without TLS: a server that looks for HTTP/2 on them first does not tell when
// a request comes.
type plainListener struct{ net.Listener }

func (l plainListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if _, ok := conn.(*tls.Conn); ok || err != nil {
		return conn, err
	}
	return &plainConn{Conn: conn}, nil
}

type plainConn struct {
	net.Conn
	connection
	begun, http2 bool // of the goroutine that reads
}

// http2Preface begins an HTTP/2 connection, and no request: its method is none.
var http2Preface = []byte("PRI ")

func (c *plainConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 && !c.begun {
		c.begun = true
		c.http2 = bytes.HasPrefix(p[:n], http2Preface)
	}
	if n > 0 && !c.http2 && !c.handling.Load() {
		c.unread.Store(true)
	}
	return n, err
}

// Write notices an answer that no handler gives.
func (c *plainConn) Write(p []byte) (int, error) {
	if !c.http2 && !c.handling.Load() {
		c.unread.Store(true)
	}
	return c.Conn.Write(p)
}

// CloseWrite lets the server end a refusal so that the client can read it.
func (c *plainConn) CloseWrite() error {
	if tcp, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return tcp.CloseWrite()
	}
	return nil
}

// unread records that a request ended before there was a call.
func (g *Gateway) unread(addr net.Addr) {
	if !g.enter() {
		return
	}
	defer g.callsOpen.Done()
	c := &call{
		g: g, r: &http.Request{Header: http.Header{}, RemoteAddr: addr.String()}, id: newCallID(), start: g.set.Now(),
		op: operation{name: "refused", activity: true, surface: Anthropic},
	}
	_ = c.identify() // nobody: it had no headers that could be read
	g.set.Metrics.Refused(unreadRequest)
	g.set.Logger.Info("a request could not be read; nothing of it was forwarded", zap.String("event_id", c.id.String()))
	it := c.outcome(audit.StatusBlocked, audit.EndedRefused, unreadRequest)
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
