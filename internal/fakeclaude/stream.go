package fakeclaude

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws/protocol/eventstream"
)

var errCut = errors.New("scripted cut")

func mustJSON(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(err)
	}
	return bytes.TrimRight(b.Bytes(), "\n")
}

// sink carries one event to the client.
type sink interface {
	event(name string, data []byte) error
	fail(typ, msg, requestID string) error // an error after the stream began
	close() error
}

type flushWriter struct {
	w     io.Writer
	f     http.Flusher
	gz    *gzip.Writer
	split int
}

func (w *flushWriter) write(b []byte) error {
	if w.gz != nil {
		if _, err := w.gz.Write(b); err != nil {
			return err
		}
		if err := w.gz.Flush(); err != nil {
			return err
		}
		w.f.Flush()
		return nil
	}
	if w.split > 0 {
		for len(b) > 0 {
			n := min(w.split, len(b))
			if _, err := w.w.Write(b[:n]); err != nil {
				return err
			}
			w.f.Flush()
			b = b[n:]
		}
		return nil
	}
	_, err := w.w.Write(b)
	w.f.Flush()
	return err
}

type sseSink struct {
	*flushWriter
	crlf bool
	buf  []byte
}

func (s *sseSink) event(name string, data []byte) error {
	nl := "\n"
	if s.crlf {
		nl = "\r\n"
	}
	b := append(s.buf[:0], "event: "...)
	b = append(b, name...)
	b = append(b, nl...)
	b = append(b, "data: "...)
	b = append(b, data...)
	b = append(b, nl...)
	b = append(b, nl...)
	s.buf = b
	return s.write(b)
}

func (s *sseSink) fail(typ, msg, rid string) error {
	return s.event("error", mustJSON(map[string]any{"type": "error", "error": map[string]any{"details": nil, "type": typ, "message": msg}, "request_id": rid}))
}

func (s *sseSink) close() error {
	if s.gz != nil {
		err := s.gz.Close()
		s.f.Flush()
		return err
	}
	return nil
}

// frameSink writes application/vnd.amazon.eventstream.
type frameSink struct {
	*flushWriter
	enc  *eventstream.Encoder
	wrap bool // invoke: {"bytes": base64}, converse: the payload itself
	n    int
}

func newFrameSink(w *flushWriter, wrap bool) *frameSink {
	return &frameSink{flushWriter: w, enc: eventstream.NewEncoder(), wrap: wrap}
}

const padding = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

func (s *frameSink) frame(h map[string]string, payload []byte) error {
	var hs eventstream.Headers
	for _, k := range []string{":event-type", ":exception-type", ":content-type", ":message-type"} {
		if v, ok := h[k]; ok {
			hs.Set(k, eventstream.StringValue(v))
		}
	}
	var b bytes.Buffer
	if err := s.enc.Encode(&b, eventstream.Message{Headers: hs, Payload: payload}); err != nil {
		return err
	}
	return s.write(b.Bytes())
}

func (s *frameSink) event(name string, data []byte) error {
	s.n++
	pad := padding[:1+(s.n*7)%len(padding)]
	h := map[string]string{":event-type": name, ":content-type": "application/json", ":message-type": "event"}
	if s.wrap {
		h[":event-type"] = "chunk"
		return s.frame(h, mustJSON(map[string]any{"bytes": base64.StdEncoding.EncodeToString(data), "p": pad}))
	}
	// converse: "p" sits inside the event's own object
	data = append(data[:len(data)-1:len(data)-1], []byte(`,"p":"`+pad+`"}`)...)
	if bytes.HasPrefix(data, []byte("{,")) {
		data = append([]byte("{"), data[2:]...)
	}
	return s.frame(h, data)
}

var awsExceptions = map[string]string{
	"overloaded_error": "serviceUnavailableException", "api_error": "internalServerException",
	"rate_limit_error": "throttlingException", "timeout_error": "modelTimeoutException",
	"invalid_request_error": "validationException",
}

func (s *frameSink) fail(typ, msg, rid string) error {
	x := awsExceptions[typ]
	if x == "" {
		x = "modelStreamErrorException"
	}
	return s.frame(map[string]string{":exception-type": x, ":content-type": "application/json", ":message-type": "exception"}, mustJSON(map[string]any{"message": msg}))
}

func (s *frameSink) close() error { return nil }

func newFlush(w http.ResponseWriter, p *plan, gz bool) *flushWriter {
	f := &flushWriter{w: w, f: w.(http.Flusher), split: p.split}
	if gz {
		f.gz = gzip.NewWriter(w)
	}
	return f
}

// pacer spaces deltas on a fixed schedule.
type pacer struct {
	ctx  context.Context
	t0   time.Time
	step time.Duration
	n    int64
}

func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

func (p *pacer) wait() error {
	if p.step == 0 {
		return nil
	}
	p.n++
	return sleep(p.ctx, time.Until(p.t0.Add(time.Duration(p.n)*p.step)))
}

func stampNow() string { return strconv.FormatInt(time.Now().UnixNano(), 10) + " " }

// progress is what really left, for the log.
type progress struct {
	text   strings.Builder
	events int
	broken string // scripted mid-stream error type
}

// counted wraps a sink with the scripted faults.
type counted struct {
	sink
	p   *plan
	pr  *progress
	rid string
	n   int // deltas so far
}

var errMid = errors.New("scripted mid-stream error")

func (c *counted) send(name string, data []byte, isDelta bool) error {
	if isDelta {
		if c.p.midErr != "" && c.n >= c.p.midAfter {
			c.pr.broken = c.p.midErr
			msg := "Overloaded"
			if c.p.midErr != "overloaded_error" {
				msg = "scripted mid-stream failure"
			}
			if err := c.fail(c.p.midErr, msg, c.rid); err != nil {
				return err
			}
			return errMid
		}
		if c.p.cut && c.n >= c.p.cutAfter {
			return errCut
		}
		c.n++
	}
	if err := c.event(name, data); err != nil {
		return err
	}
	c.pr.events++
	if isDelta && c.p.pingEvery > 0 && c.n%c.p.pingEvery == 0 {
		return c.ping()
	}
	return nil
}

func (c *counted) ping() error {
	if f, ok := c.sink.(*frameSink); ok && !f.wrap {
		return nil
	}
	c.pr.events++
	return c.event("ping", []byte(`{"type": "ping"}`))
}

// streamMessages writes a Messages API event stream.
func (s *Server) streamMessages(ctx context.Context, c *conv, p *plan, msgID, model string, out *counted, metrics func() map[string]any) error {
	startUsage := map[string]any{}
	for k, v := range p.usage {
		startUsage[k] = v
	}
	startUsage["output_tokens"] = min(1, p.outTokens)
	delete(startUsage, "server_tool_use")
	delete(startUsage, "output_tokens_details")
	if err := out.send("message_start", mustJSON(map[string]any{"type": "message_start", "message": map[string]any{
		"id": msgID, "type": "message", "role": "assistant", "model": model, "content": []any{},
		"stop_reason": nil, "stop_sequence": nil, "stop_details": nil, "usage": startUsage,
	}}), false); err != nil {
		return err
	}
	if err := sleep(ctx, p.ttft); err != nil {
		return err
	}
	pc := &pacer{ctx: ctx, t0: time.Now()}
	if p.rate > 0 {
		pc.step = time.Duration(float64(time.Second) / p.rate)
	}
	for i, b := range p.blocks {
		idx := strconv.Itoa(i)
		if err := out.send("content_block_start", []byte(`{"type":"content_block_start","index":`+idx+`,"content_block":`+string(mustJSON(b.json(b.kind == "raw" || b.kind == "redacted_thinking")))+`}`), false); err != nil {
			return err
		}
		if i == 0 {
			if err := out.ping(); err != nil {
				return err
			}
		}
		delta := func(kind, field, v string) error {
			if err := pc.wait(); err != nil {
				return err
			}
			if p.stamp && kind == "text_delta" {
				v = stampNow()
			}
			err := out.send("content_block_delta", []byte(`{"type":"content_block_delta","index":`+idx+`,"delta":{"type":"`+kind+`","`+field+`":`+string(mustJSON(v))+`}}`), true)
			if err == nil && kind == "text_delta" {
				out.pr.text.WriteString(v)
			}
			return err
		}
		switch b.kind {
		case "text":
			for _, w := range words(b.text, p.chunk) {
				if err := delta("text_delta", "text", w); err != nil {
					return err
				}
			}
			for _, cit := range b.citations {
				if err := out.send("content_block_delta", []byte(`{"type":"content_block_delta","index":`+idx+`,"delta":{"type":"citations_delta","citation":`+string(cit)+`}}`), true); err != nil {
					return err
				}
			}
		case "thinking":
			for _, w := range words(b.text, p.chunk) {
				if err := delta("thinking_delta", "thinking", w); err != nil {
					return err
				}
			}
			if err := delta("signature_delta", "signature", b.signature); err != nil {
				return err
			}
		case "tool_use", "server_tool_use", "mcp_tool_use":
			if err := delta("input_json_delta", "partial_json", ""); err != nil {
				return err
			}
			if b.input != "{}" {
				for _, w := range words(b.input, max(p.chunk, 7)) {
					if err := delta("input_json_delta", "partial_json", w); err != nil {
						return err
					}
				}
			}
		}
		if p.unknown && b.kind == "raw" {
			if err := out.send("content_block_delta", []byte(`{"type":"content_block_delta","index":`+idx+`,"delta":{"type":"hologram_delta","depth":4}}`), false); err != nil {
				return err
			}
		}
		if err := out.send("content_block_stop", []byte(`{"type":"content_block_stop","index":`+idx+`}`), false); err != nil {
			return err
		}
	}
	if p.unknown {
		if err := out.send("telemetry_hint", []byte(`{"type":"telemetry_hint","value":1}`), false); err != nil {
			return err
		}
	}
	if p.cut && out.n <= p.cutAfter {
		return errCut
	}
	endUsage := map[string]any{
		"input_tokens": p.usage["input_tokens"], "cache_creation_input_tokens": p.usage["cache_creation_input_tokens"],
		"cache_read_input_tokens": p.usage["cache_read_input_tokens"], "output_tokens": p.outTokens,
	}
	for _, k := range []string{"server_tool_use", "output_tokens_details"} {
		if v, ok := p.usage[k]; ok {
			endUsage[k] = v
		}
	}
	if err := out.send("message_delta", mustJSON(map[string]any{
		"type":  "message_delta",
		"delta": map[string]any{"stop_reason": p.stop, "stop_sequence": p.stopSeq}, "usage": endUsage,
	}), false); err != nil {
		return err
	}
	if p.noStop {
		return nil
	}
	stop := map[string]any{"type": "message_stop"}
	if metrics != nil {
		stop["amazon-bedrock-invocationMetrics"] = metrics()
	}
	return out.send("message_stop", mustJSON(stop), false)
}

// streamConverse writes the Bedrock Converse event stream.
func (s *Server) streamConverse(ctx context.Context, c *conv, p *plan, out *counted) error {
	obj := func(v map[string]any) []byte { return mustJSON(v) }
	if err := out.send("messageStart", obj(map[string]any{"role": "assistant"}), false); err != nil {
		return err
	}
	if err := sleep(ctx, p.ttft); err != nil {
		return err
	}
	pc := &pacer{ctx: ctx, t0: time.Now()}
	if p.rate > 0 {
		pc.step = time.Duration(float64(time.Second) / p.rate)
	}
	i := -1
	for _, b := range p.blocks {
		if b.kind == "raw" || b.kind == "server_tool_use" || b.kind == "mcp_tool_use" {
			continue
		}
		i++
		delta := func(d map[string]any) error {
			if err := pc.wait(); err != nil {
				return err
			}
			return out.send("contentBlockDelta", obj(map[string]any{"contentBlockIndex": i, "delta": d}), true)
		}
		switch b.kind {
		case "text":
			for _, w := range words(b.text, p.chunk) {
				if p.stamp {
					if err := pc.wait(); err != nil {
						return err
					}
					w = stampNow()
					if err := out.send("contentBlockDelta", obj(map[string]any{"contentBlockIndex": i, "delta": map[string]any{"text": w}}), true); err != nil {
						return err
					}
					out.pr.text.WriteString(w)
					continue
				}
				if err := delta(map[string]any{"text": w}); err != nil {
					return err
				}
				out.pr.text.WriteString(w)
			}
		case "thinking":
			for _, w := range words(b.text, p.chunk) {
				if err := delta(map[string]any{"reasoningContent": map[string]any{"text": w}}); err != nil {
					return err
				}
			}
			if err := delta(map[string]any{"reasoningContent": map[string]any{"signature": b.signature}}); err != nil {
				return err
			}
		case "redacted_thinking":
			if err := delta(map[string]any{"reasoningContent": map[string]any{"redactedContent": b.text}}); err != nil {
				return err
			}
		case "tool_use":
			if err := out.send("contentBlockStart", obj(map[string]any{"contentBlockIndex": i, "start": map[string]any{"toolUse": map[string]any{"toolUseId": b.id, "name": b.name}}}), false); err != nil {
				return err
			}
			for _, w := range words(b.input, max(p.chunk, 7)) {
				if err := delta(map[string]any{"toolUse": map[string]any{"input": w}}); err != nil {
					return err
				}
			}
		}
		if err := out.send("contentBlockStop", obj(map[string]any{"contentBlockIndex": i}), false); err != nil {
			return err
		}
	}
	if err := out.send("messageStop", obj(map[string]any{"stopReason": p.stop}), false); err != nil {
		return err
	}
	return out.send("metadata", obj(map[string]any{"usage": converseUsage(p), "metrics": map[string]any{"latencyMs": p.latency()}}), false)
}

// latency is what the answer tells as its own time, in milliseconds. It is of
// the plan and not measured, so that a request is answered with the same bytes twice.
func (p *plan) latency() int64 { return p.ttft.Milliseconds() }

func converseUsage(p *plan) map[string]any {
	cw, cr := p.usage["cache_creation_input_tokens"].(int), p.usage["cache_read_input_tokens"].(int)
	return map[string]any{
		"inputTokens": p.inTokens, "outputTokens": p.outTokens, "totalTokens": p.inTokens + p.outTokens + cw + cr,
		"cacheReadInputTokens": cr, "cacheWriteInputTokens": cw,
	}
}

func converseBlocks(p *plan) []any {
	var l []any
	for _, b := range p.blocks {
		switch b.kind {
		case "text":
			l = append(l, map[string]any{"text": b.text})
		case "thinking":
			l = append(l, map[string]any{"reasoningContent": map[string]any{"reasoningText": map[string]any{"text": b.text, "signature": b.signature}}})
		case "redacted_thinking":
			l = append(l, map[string]any{"reasoningContent": map[string]any{"redactedContent": b.text}})
		case "tool_use":
			l = append(l, map[string]any{"toolUse": map[string]any{"toolUseId": b.id, "name": b.name, "input": json.RawMessage(b.input)}})
		}
	}
	return l
}
