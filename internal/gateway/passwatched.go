package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws/protocol/eventstream"

	"github.com/claudeaudit/claudeaudit/internal/audit"
)

var errCut = errors.New("a rule of the policy cut the answer")

// lookedAt is an observer that tells its text to a watch.
type lookedAt struct {
	observer
	// pending is how many of the bytes written were not looked at yet: they are of an event that has no end.
	pending func() int
	// broken says why what follows can't be looked at, "" while it can.
	broken func() string
	// whole is set for an answer that is looked at when all of it is there.
	whole *jsonObserver
	// refuse ends a streamed answer that has begun, with an error in its own shape.
	refuse func(w io.Writer, e *apiError, id string) error
}

// watched makes an observer of an answer tell the watch what it reads; false where it can't.
func watched(obs observer, w *Watch) (lookedAt, bool) {
	reason := func(err error) string {
		if err != nil {
			return err.Error()
		}
		return ""
	}
	switch o := obs.(type) {
	case *streamObserver:
		o.stream.Text = w.Text
		return lookedAt{obs, o.sse.Pending, func() string { return reason(o.err) }, nil, writeErrorEvent}, true
	case *frameObserver:
		if o.converse != nil {
			o.converse.Text = w.Text
		} else {
			o.messages.Text = w.Text
		}
		return lookedAt{obs, func() int { return len(o.buf) }, func() string { return reason(o.err) }, nil, writeErrorFrame}, true
	case *jsonObserver:
		return lookedAt{obs, func() int { return o.size }, func() string {
			if o.size > o.max {
				return "it is larger than what is recorded"
			}
			return ""
		}, o, nil}, true
	}
	return lookedAt{}, false
}

// passWatched passes an answer on that rules are about: each piece after it was looked at. Where no rule might cut it,
// pieces don't wait.
func (c *call) passWatched(ctx context.Context, cancel context.CancelCauseFunc, timer *time.Timer, resp *http.Response) {
	g, w := c.g, c.watch
	obs := newObserver(c, resp, g.set.Limits.ResponseBytes)
	look, ok := watched(obs, w)
	if !ok {
		w.unreadable("it is of no form that is known, or compressed")
		if c.take() {
			c.cut(cancel, obs, &look, false)
			return
		}
		look.observer, look.pending, look.broken = obs, func() int { return 0 }, func() string { return "" }
	}
	header := c.w.Header()
	begun := false
	begin := func() {
		begun = true
		endToEnd(header, resp.Header)
		if w.holds && look.whole == nil {
			header.Del("Content-Length") // it may have another end
		}
		if _, ok := header["Content-Type"]; !ok {
			header["Content-Type"] = nil // nothing is guessed
		}
		for name := range resp.Trailer {
			header.Add("Trailer", name)
		}
		c.w.WriteHeader(resp.StatusCode)
	}
	rc := http.NewResponseController(c.w)
	stream := resp.ContentLength < 0 || look.whole == nil
	if c.requestID != "" && stream {
		g.answering(c, "")
	}
	if stream && look.whole == nil {
		begin()
		_ = rc.Flush() // a server that can't flush writes at the end
	}
	buf := chunks.Get().(*[chunkSize]byte)
	defer chunks.Put(buf)
	var (
		held    []byte // read, and not passed on
		read    int64
		looked  bool // at the end
		settled bool // the message's id was told, or there is none
		gone    bool // the client has left
		err     error
	)
	for {
		timer.Reset(g.set.Limits.IdleTimeout)
		var n int
		n, err = resp.Body.Read(buf[:])
		read += int64(n)
		last := errors.Is(err, io.EOF) || resp.ContentLength >= 0 && read >= resp.ContentLength
		obs.write(buf[:n])
		held = append(held, buf[:n]...)
		if last && ok && !looked {
			looked = true
			c.lookAtRest(&look, held)
		}
		if why := look.broken(); why != "" {
			w.unreadable(why)
		}
		if c.take() {
			if gone {
				break
			}
			c.cut(cancel, obs, &look, begun)
			return
		}
		ready := len(held)
		if w.holds && !last {
			ready -= min(look.pending(), ready)
		}
		if !settled && (look.whole == nil && n > 0 || last) {
			var id string
			if id, settled = obs.id(); id != "" {
				g.answering(c, id) // before the client can know it
			}
		}
		if c.firstByte.IsZero() && n > 0 && obs.content() {
			c.firstByte = g.set.Now()
		}
		if (ready > 0 || last && !begun) && !gone {
			if !begun {
				begin()
			}
			_ = rc.SetWriteDeadline(time.Now().Add(g.set.Limits.WriteTimeout)) // a server without deadlines has none
			_, sent := c.w.Write(held[:ready])
			if sent == nil && stream {
				sent = rc.Flush()
			}
			if sent == nil {
				c.passed += int64(ready)
			}
			gone = sent != nil || !last && c.r.Context().Err() != nil
			if gone && !g.set.Drain {
				cancel(errClientGone)
			}
		}
		held = append(held[:0], held[ready:]...)
		if err != nil || gone && !g.set.Drain {
			break
		}
	}
	if !begun { // the answer broke off before any of it was passed on
		begin()
	}
	c.passedOn(ctx, resp, obs, errors.Is(err, io.EOF), gone)
}

// lookAtRest looks at what has come to its end: an answer in one piece, or an event without an end.
func (c *call) lookAtRest(look *lookedAt, held []byte) {
	if look.whole == nil {
		if n := min(look.pending(), len(held)); n > 0 {
			c.watch.Text(string(held[len(held)-n:]))
		}
		return
	}
	a := look.whole.answer()
	if len(a.output) == 0 {
		c.watch.Text(string(look.whole.buf)) // whatever it is
		return
	}
	c.watch.Whole(a.output)
}

// cut ends an answer that a rule doesn't let pass: with an error, before anything was passed on or in the midst of it.
// What was read of it is recorded, with the piece that was held back.
func (c *call) cut(cancel context.CancelCauseFunc, obs observer, look *lookedAt, begun bool) {
	cancel(errCut)
	e := &apiError{http.StatusForbidden, "permission_error", c.decision.Message, 0}
	if begun && look.refuse != nil {
		rc := http.NewResponseController(c.w)
		_ = rc.SetWriteDeadline(time.Now().Add(c.g.set.Limits.WriteTimeout))
		// A client that has gone misses nothing that isn't recorded.
		_ = look.refuse(c.w, e, c.id.String())
		_ = rc.Flush()
	} else {
		c.status = e.on(c.op.surface)
		e.write(c.w, c.op.surface, c.id.String())
	}
	a := obs.close(look.whole != nil)
	c.end(audit.EndedPolicy, &a)
}

// writeErrorEvent is the error within a stream that the SDKs raise.
func writeErrorEvent(w io.Writer, e *apiError, id string) error {
	body, err := json.Marshal(map[string]any{
		"type": "error", "error": map[string]string{"type": e.kind, "message": e.message}, "request_id": id,
	})
	if err != nil {
		return err
	}
	_, err = w.Write(append(append([]byte("event: error\ndata: "), body...), "\n\n"...))
	return err
}

// writeErrorFrame is the exception within an event stream that AWS's SDKs raise, and don't send again for.
func writeErrorFrame(w io.Writer, e *apiError, _ string) error {
	body, err := json.Marshal(map[string]string{"message": e.message})
	if err != nil {
		return err
	}
	var m eventstream.Message
	for _, h := range [][2]string{
		{":exception-type", "validationException"}, {":content-type", "application/json"}, {":message-type", "exception"},
	} {
		m.Headers.Set(h[0], eventstream.StringValue(h[1]))
	}
	m.Payload = body
	return eventstream.NewEncoder().Encode(w, m)
}
