package gateway

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel/propagation"
	"go.uber.org/zap"

	"github.com/claudeaudit/claudeaudit/internal/audit"
	"github.com/claudeaudit/claudeaudit/internal/genai"
)

// Causes of a cancelled request to upstream.
var (
	errUpstreamTimeout = errors.New("upstream took too long")
	errStopping        = errors.New("the gateway is shutting down")
)

// chunkSize is how much of an answer is read at a time.
const chunkSize = 32 << 10

var chunks = sync.Pool{New: func() any { return new([chunkSize]byte) }}

// forward sends the request upstream and the answer to the client.
func (c *call) forward() {
	g := c.g
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(c.r.Context()))
	defer cancel(nil)
	if !g.set.Drain {
		defer context.AfterFunc(c.r.Context(), func() { cancel(errClientGone) })()
	}
	defer context.AfterFunc(g.aborted, func() { cancel(errStopping) })()
	timer := time.AfterFunc(g.set.Limits.HeaderTimeout, func() { cancel(errUpstreamTimeout) })
	defer timer.Stop()

	ctx = c.startSpan(ctx)
	req, err := c.upstreamRequest(ctx)
	if err != nil {
		g.set.Logger.Error("a call can't be forwarded", zap.String("event_id", c.id.String()), zap.Error(err))
		c.failed(nil)
		return
	}
	resp, err := c.up.transport.RoundTrip(req)
	if err != nil {
		c.failed(context.Cause(ctx))
		return
	}
	defer resp.Body.Close()
	if rewritten := c.op.proto == protoBatch || c.op.proto == protoBatchObject; rewritten && resp.StatusCode < 300 {
		timer.Reset(g.set.Limits.IdleTimeout)
		c.batchAnswer(resp)
	}
	c.release() // the transport has sent it, or upstream doesn't want it
	c.pass(ctx, cancel, timer, resp)
}

// upstreamRequest is the request as it came, but for the host and what concerns the
// connection.
func (c *call) upstreamRequest(ctx context.Context) (*http.Request, error) {
	r := c.r
	target, err := c.up.url(c.path, r.URL.RawQuery)
	if err != nil {
		return nil, err
	}
	req := &http.Request{
		Method: r.Method, URL: target, Host: target.Host, Header: make(http.Header, len(r.Header)),
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}
	endToEnd(req.Header, r.Header)
	req.Header.Del("Expect") // the body is here already
	req.Header.Del("Content-Length")
	c.who.strip(req.Header)
	if c.span != nil {
		traceContext.Inject(ctx, propagation.HeaderCarrier(req.Header))
	}
	if _, ok := req.Header["User-Agent"]; !ok {
		req.Header["User-Agent"] = []string{""} // or the transport would name itself
	}
	// A call is forwarded once: under its canonical name the transport would
	// take this header for leave to send it again.
	for _, name := range []string{"Idempotency-Key", "X-Idempotency-Key"} {
		if v, ok := req.Header[name]; ok {
			delete(req.Header, name)
			req.Header[strings.ToLower(name)] = v
		}
	}
	if c.watch != nil || c.op.proto == protoBatch || c.op.proto == protoBatchObject {
		// What is compressed can't be looked at piece by piece, and a batch's results_url is rewritten.
		req.Header["Accept-Encoding"] = []string{"identity"}
	}
	if len(c.body) > 0 {
		body := c.body
		req.ContentLength = int64(len(body))
		req.Body = io.NopCloser(bytes.NewReader(body))
		// For a connection that turns out to be dead before anything was written to it.
		req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	}
	if c.up.credential != nil {
		if err := c.up.credential(req, c.sha); err != nil {
			return nil, err
		}
	}
	return req.WithContext(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		Got1xxResponse: func(code int, header textproto.MIMEHeader) error {
			if code == http.StatusContinue {
				return nil
			}
			h := c.w.Header()
			for name, values := range header {
				h[name] = values
			}
			c.w.WriteHeader(code)
			clear(h)
			return nil
		},
	})), nil
}

// failed is a call that upstream gave no answer to.
func (c *call) failed(cause error) {
	e, ended, kind := errUpstreamDown, audit.EndedUpstreamCut, "upstream_unreachable"
	switch {
	case errors.Is(cause, errClientGone):
		c.end(audit.EndedClientGone, nil)
		panic(http.ErrAbortHandler)
	case errors.Is(cause, errStopping):
		e, ended, kind = errShuttingDown, audit.EndedShutdown, "gateway_shutdown"
	case errors.Is(cause, errUpstreamTimeout):
		e, ended, kind = errUpstreamSlow, audit.EndedUpstreamTimeout, "upstream_timeout"
	}
	c.release()
	e.write(c.w, c.op.surface, c.id.String())
	c.status = e.on(c.op.surface)
	it := c.outcome(audit.StatusError, ended, kind)
	c.endSpan(it)
	c.g.set.Metrics.Closed(c.op.surface, ended)
	c.g.outcome(c, it)
}

// pass passes the answer on as it comes, and reads along.
func (c *call) pass(ctx context.Context, cancel context.CancelCauseFunc, timer *time.Timer, resp *http.Response) {
	g := c.g
	c.status = resp.StatusCode
	c.requestID = firstHeader(resp.Header, "Request-Id", "X-Amzn-Requestid")
	if c.watch != nil && resp.StatusCode < 300 {
		c.passWatched(ctx, cancel, timer, resp)
		return
	}
	header := c.w.Header()
	endToEnd(header, resp.Header)
	if _, ok := header["Content-Type"]; !ok {
		header["Content-Type"] = nil // nothing is guessed
	}
	for name := range resp.Trailer {
		header.Add("Trailer", name)
	}
	obs := newObserver(c, resp, g.set.Limits.ResponseBytes)
	stream := resp.ContentLength < 0
	if c.requestID != "" && (stream || resp.StatusCode >= 400) {
		g.answering(c, "")
	}
	rc := http.NewResponseController(c.w)
	c.w.WriteHeader(resp.StatusCode)
	if stream {
		_ = rc.Flush() // a server that can't flush writes at the end
	}
	buf := chunks.Get().(*[chunkSize]byte)
	defer chunks.Put(buf)
	var (
		settled bool  // the message's id was told, or there is none
		gone    bool  // the client has left
		sent    error // what a write to it said
		err     error
	)
	for {
		timer.Reset(g.set.Limits.IdleTimeout)
		var n int
		n, err = resp.Body.Read(buf[:])
		p := buf[:n]
		last := errors.Is(err, io.EOF) || resp.ContentLength >= 0 && c.passed+int64(n) >= resp.ContentLength
		ahead := !settled && (n > 0 || last)
		if ahead {
			// Before the client can know the id.
			obs.write(p)
			if last || !whole(obs) {
				var id string
				if id, settled = obs.id(); id != "" {
					g.answering(c, id)
				}
			}
		}
		if n > 0 && !gone {
			_ = rc.SetWriteDeadline(time.Now().Add(g.set.Limits.WriteTimeout)) // a server without deadlines has none
			if _, sent = c.w.Write(p); sent == nil && stream {
				sent = rc.Flush()
			}
			if sent == nil {
				c.passed += int64(n)
			}
			// With a connection that takes it, but to nobody, the context is the first to know.
			gone = sent != nil || !last && c.r.Context().Err() != nil
			if gone && !g.set.Drain {
				cancel(errClientGone)
			}
		}
		if n > 0 && !ahead && (!gone || g.set.Drain) {
			obs.write(p)
		}
		if c.firstByte.IsZero() && n > 0 && obs.content() {
			c.firstByte = g.set.Now()
		}
		if err != nil || gone && !g.set.Drain {
			break
		}
	}
	c.passedOn(ctx, resp, obs, errors.Is(err, io.EOF), gone)
}

// passedOn records how an answer ended, and lets the client see that.
func (c *call) passedOn(ctx context.Context, resp *http.Response, obs observer, eof, gone bool) {
	gone = gone || !eof && c.r.Context().Err() != nil
	a := obs.close(eof)
	cause := context.Cause(ctx)
	ended := audit.EndedComplete
	switch {
	case gone:
		ended = audit.EndedClientGone
	case errors.Is(cause, errUpstreamTimeout):
		ended = audit.EndedUpstreamTimeout
	case errors.Is(cause, errStopping):
		ended = audit.EndedShutdown
	case a.info.ErrorType != "" && resp.StatusCode < 400:
		ended = audit.EndedUpstreamError
	case !eof, !a.whole && c.op.proto != protoNone && resp.StatusCode < 400:
		ended = audit.EndedUpstreamCut
	}
	if eof {
		for name, values := range resp.Trailer {
			c.w.Header()[name] = values
		}
	}
	c.end(ended, &a)
	if !eof {
		_ = http.NewResponseController(c.w).Flush() // what there is of it, before the connection ends
		panic(http.ErrAbortHandler)                 // the client is to see that there was no end
	}
}

func firstHeader(h http.Header, names ...string) string {
	for _, name := range names {
		if v := h.Get(name); v != "" {
			return v
		}
	}
	return ""
}

// end records how a call ended that upstream was asked for.
func (c *call) end(ended string, a *answer) {
	status, kind := audit.StatusSuccess, ""
	switch ended {
	case audit.EndedClientGone:
		status, kind = audit.StatusInterrupted, "client_gone"
	case audit.EndedUpstreamCut:
		status, kind = audit.StatusError, "upstream_cut"
	case audit.EndedUpstreamTimeout:
		status, kind = audit.StatusError, "upstream_timeout"
	case audit.EndedShutdown:
		status, kind = audit.StatusInterrupted, "gateway_shutdown"
	case audit.EndedPolicy:
		status, kind = audit.StatusBlocked, "policy_"+string(c.decision.Action)
	}
	exact := false
	if a != nil && ended != audit.EndedPolicy && a.info.ErrorType != "" {
		kind, exact = a.info.ErrorType, true
		if status == audit.StatusSuccess {
			status = audit.StatusError
		}
	} else if c.status >= 400 && status == audit.StatusSuccess {
		status, kind, exact = audit.StatusError, errorTypeOf(c.status), true
	}
	it := c.outcome(status, ended, kind)
	it.ErrorTypeExact = exact
	it.ResponseCompleteness = genai.ContentNone
	if a != nil {
		it.ResponseModel, it.ResponseID = a.info.Model, a.info.ID
		it.StopReason = a.info.StopReason
		it.PromptTokens = a.info.Usage.PromptTokens()
		it.CompletionTokens = a.info.Usage.OutputTokens
		it.CacheReadTokens, it.CacheWriteTokens = a.info.Usage.CacheReadTokens, a.info.Usage.CacheWriteTokens
		if a.tokens != nil {
			it.PromptTokens = a.tokens
		}
		if it.RequestID == "" {
			it.RequestID = a.info.RequestID
		}
		if c.asked != nil && it.PromptTokens != nil && it.CompletionTokens != nil {
			if err := c.g.set.Policy.Ended(c.asked, *it.PromptTokens+*it.CompletionTokens); err != nil {
				c.g.set.Logger.Error("the tokens of a call are not counted", zap.String("event_id", c.id.String()), zap.Error(err))
			}
		}
		it.Content.Output = a.output
		it.Content.Normalize()
		it.ResponseCompleteness, it.Unparsed = a.completeness, a.unparsed
	}
	c.endSpan(it)
	c.g.set.Metrics.Closed(c.op.surface, ended)
	c.g.outcome(c, it)
}

// errorTypes are the API's error types by status, for an error whose body doesn't say.
var errorTypes = map[int]string{
	http.StatusBadRequest: "invalid_request_error", http.StatusUnauthorized: "authentication_error", http.StatusPaymentRequired: "billing_error",
	http.StatusForbidden: "permission_error", http.StatusNotFound: "not_found_error", http.StatusConflict: "conflict_error",
	http.StatusRequestEntityTooLarge: "request_too_large", http.StatusTooManyRequests: "rate_limit_error",
	http.StatusGatewayTimeout: "timeout_error", 529: "overloaded_error",
}

func errorTypeOf(status int) string {
	if t, ok := errorTypes[status]; ok {
		return t
	}
	return "api_error"
}
