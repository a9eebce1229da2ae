// Package fakeclaude is a deterministic stand-in for the places where Claude is
// served: the Anthropic API, Amazon Bedrock, Google Vertex AI and Microsoft
// Foundry. It records everything it is sent.
package fakeclaude

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Config of a Server; the zero value works.
type Config struct {
	LogPath     string        // JSONL log, "" for none
	LogSync     bool          // fsync after each line
	LogBodyMax  int           // bytes of body and text kept in a line; 0 = 64 KiB, <0 = all
	Keep        int           // records kept for GET /_fake/requests; 0 = 20000, <0 = none
	Strict      bool          // refuse content block types that the public API refuses
	NoAuth      bool          // accept calls without a credential
	APIKeys     []string      // when set, the only x-api-key / bearer values accepted
	AWSKey      string        // when set, SigV4 is verified with this pair and refused when wrong
	AWSSecret   string        //
	PublicURL   string        // scheme://host that results_url is made of; "" = from the request's Host
	BatchPolls  int           // retrieves that answer in_progress before ended; default 1
	Tokens      int           // words of the default reply; 0 = an echo of the prompt
	Rate        float64       // deltas a second, 0 = no pause
	Delay, TTFT time.Duration // before the headers; between message_start and the first delta
	Gzip        string        // "", "json" or "all": compress when the client accepts it
	MaxBody     int64         // default 32 MiB
}

// Server is an http.Handler.
type Server struct {
	cfg  Config
	rec  *recorder
	seq  atomic.Int64
	mu   sync.Mutex
	cnt  map[string]int
	seen map[string]bool
	bat  map[string]*batch
	bord []string
	fil  map[string]*file
	ford []string
	infl atomic.Int64
}

// New makes a Server.
func New(cfg Config) (*Server, error) {
	if cfg.LogBodyMax == 0 {
		cfg.LogBodyMax = 64 << 10
	}
	if cfg.Keep == 0 {
		cfg.Keep = 20000
	}
	if cfg.MaxBody == 0 {
		cfg.MaxBody = 32 << 20
	}
	if cfg.BatchPolls == 0 {
		cfg.BatchPolls = 1
	}
	rec, err := newRecorder(cfg.LogPath, cfg.Keep, cfg.LogBodyMax, cfg.LogSync)
	if err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, rec: rec}
	s.reset()
	return s, nil
}

// Records returns what has been recorded so far.
func (s *Server) Records() []Record { return s.rec.snapshot() }

func (s *Server) reset() {
	s.mu.Lock()
	s.cnt, s.seen, s.bat, s.fil = map[string]int{}, map[string]bool{}, map[string]*batch{}, map[string]*file{}
	s.bord, s.ford = nil, nil
	s.mu.Unlock()
	s.rec.reset()
}

func (s *Server) countdown(key string, n int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cnt[key]++
	return s.cnt[key] <= n
}

func (s *Server) cacheSeen(k string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.seen[k]
	s.seen[k] = true
	return was
}

// call is one request on its way through.
type call struct {
	s       *Server
	w       http.ResponseWriter
	r       *http.Request
	body    []byte
	seq     int64
	rid     string
	surface string // anthropic | foundry | bedrock | vertex
	op      string
	t0      time.Time
	res     Record
	done    bool
}

func (c *call) finish() {
	if c.done {
		return
	}
	c.done = true
	c.res.Kind, c.res.Seq, c.res.Surface, c.res.Op, c.res.RequestID = "response", c.seq, c.surface, c.op, c.rid
	c.res.DurationMS = float64(time.Since(c.t0).Microseconds()) / 1000
	c.s.rec.add(c.res)
}

func (c *call) setText(t string) {
	c.res.TextLen, c.res.TextSHA256 = len(t), sha([]byte(t))
	c.res.Text, _ = c.s.rec.cut([]byte(t))
}

func (c *call) json(status int, v any) {
	var b []byte
	if raw, ok := v.([]byte); ok {
		b = raw
	} else {
		b = mustJSON(v)
	}
	h := c.w.Header()
	if h.Get("Content-Type") == "" {
		h.Set("Content-Type", "application/json")
	}
	c.res.Status = status
	if status == 200 && c.gzipOK(false) {
		h.Set("Content-Encoding", "gzip")
		h.Add("Vary", "Accept-Encoding")
		var z bytes.Buffer
		g := gzip.NewWriter(&z)
		g.Write(b)
		g.Close()
		b = z.Bytes()
	}
	h.Set("Content-Length", itoa(int64(len(b))))
	c.w.WriteHeader(status)
	_, err := c.w.Write(b)
	c.res.Complete = err == nil
	c.res.ClientGone = err != nil || c.r.Context().Err() != nil
	c.finish()
}

func (c *call) gzipOK(stream bool) bool {
	return strings.Contains(c.r.Header.Get("Accept-Encoding"), "gzip") && (c.s.cfg.Gzip == "all" || c.s.cfg.Gzip == "json" && !stream)
}

func (c *call) fail(e *apiErr, p *plan) {
	h := c.w.Header()
	c.res.ErrorType = e.typ
	if p != nil && p.retryAfter != "" {
		h.Set("Retry-After", p.retryAfter)
	} else if e.status == 429 && c.surface != "bedrock" {
		h.Set("Retry-After", "1")
	}
	if p != nil && p.retryAfterMS != "" {
		h.Set("Retry-After-Ms", p.retryAfterMS)
	}
	switch c.surface {
	case "bedrock":
		st, x := awsError(e)
		h.Set("X-Amzn-Errortype", x+":http://internal.amazon.com/coral/com.amazon.bedrock/")
		c.json(st, map[string]any{"message": e.msg})
	case "vertex":
		if e.status == 401 || e.status == 403 || e.status == 429 || e.status == 404 {
			st := map[int]string{401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 429: "RESOURCE_EXHAUSTED", 404: "NOT_FOUND"}[e.status]
			c.json(e.status, map[string]any{"error": map[string]any{"code": e.status, "message": e.msg, "status": st}})
			return
		}
		c.anthropicError(e, p)
	default:
		c.anthropicError(e, p)
	}
}

func (c *call) anthropicError(e *apiErr, p *plan) {
	retry := "false"
	if e.status == 408 || e.status == 409 || e.status == 429 || e.status >= 500 {
		retry = "true"
	}
	if p != nil && p.shouldRetry != "" {
		retry = p.shouldRetry
	}
	if retry != "none" {
		c.w.Header().Set("x-should-retry", retry)
	}
	c.json(e.status, map[string]any{"type": "error", "error": map[string]any{"type": e.typ, "message": e.msg}, "request_id": c.rid})
}

func awsError(e *apiErr) (int, string) {
	switch e.status {
	case 401:
		return 403, "UnrecognizedClientException"
	case 403:
		return 403, "AccessDeniedException"
	case 404:
		return 404, "ResourceNotFoundException"
	case 408, 504:
		return 408, "ModelTimeoutException"
	case 429:
		return 429, "ThrottlingException"
	case 503, 529:
		return 503, "ServiceUnavailableException"
	case 500:
		return 500, "InternalServerException"
	}
	return 400, "ValidationException"
}

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := r.URL.Path
	if strings.HasPrefix(path, "/_fake/") {
		s.admin(w, r)
		return
	}
	s.infl.Add(1)
	defer s.infl.Add(-1)
	c := &call{s: s, w: w, r: r, seq: s.seq.Add(1), t0: time.Now()}
	defer c.finish()
	c.surface, c.op = route(r.Method, r.URL)
	switch c.surface {
	case "bedrock":
		c.rid = fmt.Sprintf("fa4e0000-0000-4000-8000-%012x", c.seq)
		w.Header().Set("x-amzn-RequestId", c.rid)
	default:
		c.rid = fmt.Sprintf("req_011Fake%016d", c.seq)
		w.Header().Set("request-id", c.rid)
		if c.surface != "vertex" {
			w.Header().Set("anthropic-organization-id", "00000000-fa4e-4000-8000-000000000001")
		}
	}
	limit := s.cfg.MaxBody
	switch c.op {
	case "files.create":
		limit = 500 << 20
	case "batches.create":
		limit = 256 << 20
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, limit+1))
	c.body = body
	s.request(c, err != nil)
	if err != nil {
		c.res.ClientGone = true
		return
	}
	if int64(len(body)) > limit {
		c.fail(&apiErr{413, "request_too_large", "Request exceeds the maximum size"}, nil)
		return
	}
	if ce := r.Header.Get("Content-Encoding"); ce == "gzip" {
		z, err := gzip.NewReader(bytes.NewReader(body))
		if err == nil {
			c.body, err = io.ReadAll(z)
		}
		if err != nil {
			c.fail(bad("invalid gzip body"), nil)
			return
		}
	}
	if e := s.auth(c); e != nil {
		c.fail(e, nil)
		return
	}
	s.dispatch(c)
}

func (s *Server) request(c *call, partial bool) {
	rec := Record{
		Kind: "request", Seq: c.seq, Surface: c.surface, Op: c.op, Method: c.r.Method, Path: c.r.URL.EscapedPath(),
		Query: c.r.URL.RawQuery, Host: c.r.Host, Proto: c.r.Proto, Headers: plainHeaders(c.r.Header), Auth: authSummary(c.r.Header),
		BodyLen: len(c.body), BodyPartial: partial, RequestID: c.rid,
	}
	if len(c.body) > 0 {
		rec.BodySHA256 = sha(c.body)
		rec.Body, rec.BodyCut = s.rec.cut(c.body)
		var m struct {
			Model  string `json:"model"`
			Stream bool   `json:"stream"`
		}
		if json.Unmarshal(c.body, &m) == nil {
			rec.Model, rec.Stream = m.Model, m.Stream
		}
	}
	if m := pathModel(c.r.URL); m != "" {
		rec.Model = m
	}
	if strings.HasSuffix(c.op, "stream") {
		rec.Stream = true
	}
	if strings.HasPrefix(c.r.Header.Get("Authorization"), "AWS4") {
		rec.SigV4 = "unchecked"
		if s.cfg.AWSKey != "" {
			rec.SigV4 = verifySigV4(c.r, c.body, s.cfg.AWSKey, s.cfg.AWSSecret)
		}
	}
	s.rec.add(rec)
}

func (s *Server) auth(c *call) *apiErr {
	if s.cfg.NoAuth || c.op == "unknown" && c.r.Method == "HEAD" {
		return nil
	}
	h := c.r.Header
	a := h.Get("Authorization")
	if c.surface == "bedrock" {
		if strings.HasPrefix(a, "AWS4") {
			if s.cfg.AWSKey == "" {
				return nil
			}
			switch v := verifySigV4(c.r, c.body, s.cfg.AWSKey, s.cfg.AWSSecret); v {
			case "valid":
				return nil
			case "bad-key":
				return &apiErr{401, "", "The security token included in the request is invalid."}
			default:
				return &apiErr{403, "", "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details."}
			}
		}
		if strings.HasPrefix(a, "Bearer ") {
			return nil
		}
		return &apiErr{403, "", "Missing Authentication Token"}
	}
	key := h.Get("x-api-key")
	if key == "" && c.surface == "foundry" {
		key = h.Get("api-key")
	}
	if strings.HasPrefix(strings.ToLower(a), "bearer ") && key == "" {
		key = a[7:]
	}
	if strings.HasPrefix(a, "AWS4") { // Claude Platform on AWS, Bedrock Mantle
		key = "sigv4"
	}
	if key == "" {
		if c.surface == "vertex" {
			return &apiErr{401, "", "Request is missing required authentication credential. Expected OAuth 2 access token, login cookie or other valid authentication credential."}
		}
		return &apiErr{401, "authentication_error", "x-api-key header is required"}
	}
	if len(s.cfg.APIKeys) > 0 {
		for _, k := range s.cfg.APIKeys {
			if k == key {
				return nil
			}
		}
		return &apiErr{401, "authentication_error", "invalid x-api-key"}
	}
	return nil
}

func pathModel(u *url.URL) string {
	p := u.EscapedPath()
	if i := strings.Index(p, "/model/"); i == 0 {
		m := p[len("/model/"):]
		if j := strings.LastIndexByte(m, '/'); j >= 0 {
			m = m[:j]
		}
		if d, err := url.PathUnescape(m); err == nil {
			return d
		}
		return m
	}
	if i := strings.Index(p, "/publishers/anthropic/models/"); i >= 0 {
		m := p[i+len("/publishers/anthropic/models/"):]
		if d, err := url.PathUnescape(m); err == nil {
			m = d
		}
		if j := strings.LastIndexByte(m, ':'); j >= 0 {
			m = m[:j]
		}
		return m
	}
	return ""
}

func route(method string, u *url.URL) (surface, op string) {
	p := u.Path
	if strings.HasPrefix(p, "/model/") {
		switch {
		case strings.HasSuffix(p, "/invoke"):
			return "bedrock", "invoke"
		case strings.HasSuffix(p, "/invoke-with-response-stream"):
			return "bedrock", "invoke.stream"
		case strings.HasSuffix(p, "/converse"):
			return "bedrock", "converse"
		case strings.HasSuffix(p, "/converse-stream"):
			return "bedrock", "converse.stream"
		case strings.HasSuffix(p, "/count-tokens"):
			return "bedrock", "count_tokens"
		}
		return "bedrock", "unknown"
	}
	if strings.HasPrefix(p, "/inference-profiles") || strings.HasPrefix(p, "/foundation-models") {
		return "bedrock", "control"
	}
	if strings.Contains(p, "/publishers/anthropic/models/") {
		switch {
		case strings.HasSuffix(p, "count-tokens:rawPredict"):
			return "vertex", "count_tokens"
		case strings.HasSuffix(p, ":rawPredict"):
			return "vertex", "rawPredict"
		case strings.HasSuffix(p, ":streamRawPredict"):
			return "vertex", "streamRawPredict.stream"
		}
		return "vertex", "unknown"
	}
	surface = "anthropic"
	if strings.HasPrefix(p, "/anthropic/") {
		surface, p = "foundry", strings.TrimPrefix(p, "/anthropic")
	}
	get, post, del := method == "GET", method == "POST", method == "DELETE"
	seg := strings.Split(strings.Trim(p, "/"), "/")
	n := len(seg)
	is := func(i int, s string) bool { return i < n && seg[i] == s }
	switch {
	case !is(0, "v1"):
		return surface, "unknown"
	case n == 2 && is(1, "messages") && post:
		return surface, "messages"
	case n == 3 && is(1, "messages") && is(2, "count_tokens") && post:
		return surface, "count_tokens"
	case is(1, "messages") && is(2, "batches"):
		switch {
		case n == 3 && post:
			return surface, "batches.create"
		case n == 3 && get:
			return surface, "batches.list"
		case n == 4 && get:
			return surface, "batches.retrieve"
		case n == 4 && del:
			return surface, "batches.delete"
		case n == 5 && is(4, "results") && get:
			return surface, "batches.results"
		case n == 5 && is(4, "cancel") && post:
			return surface, "batches.cancel"
		}
	case n == 2 && is(1, "complete") && post:
		return surface, "complete"
	case n == 2 && is(1, "models") && get:
		return surface, "models.list"
	case n == 3 && is(1, "models") && get:
		return surface, "models.get"
	case is(1, "files"):
		switch {
		case n == 2 && post:
			return surface, "files.create"
		case n == 2 && get:
			return surface, "files.list"
		case n == 3 && get:
			return surface, "files.get"
		case n == 3 && del:
			return surface, "files.delete"
		case n == 4 && is(3, "content") && get:
			return surface, "files.content"
		}
	}
	return surface, "unknown"
}

func (s *Server) dispatch(c *call) {
	switch c.op {
	case "messages", "rawPredict", "streamRawPredict.stream", "invoke", "invoke.stream", "converse", "converse.stream":
		s.message(c)
	case "count_tokens":
		s.countTokens(c)
	case "complete":
		s.complete(c)
	case "models.list", "models.get", "control":
		s.models(c)
	case "unknown":
		if c.r.Method == "HEAD" && c.r.URL.Path == "/" {
			c.res.Status, c.res.Complete = 200, true
			c.w.WriteHeader(200)
			return
		}
		c.fail(&apiErr{404, "not_found_error", "Not found"}, nil)
	default:
		if strings.HasPrefix(c.op, "batches.") {
			s.batches(c)
		} else {
			s.files(c)
		}
	}
}

// The API versions of the anthropic-version header.
const (
	Version2023 = "2023-06-01"
	Version2026 = "2026-10-21"
)

func version(c *call) *apiErr {
	switch v := c.r.Header.Get("anthropic-version"); v {
	case Version2023, Version2026:
		return nil
	case "":
		return bad("anthropic-version: header is required")
	default:
		return bad("anthropic-version: %q is not a valid version", v)
	}
}

// check2026 refuses what API version 2026-10-21 no longer takes.
func check2026(body []byte) *apiErr {
	var m struct {
		Messages []struct {
			Role    string
			Content json.RawMessage
		}
	}
	var raw map[string]json.RawMessage
	_ = json.Unmarshal(body, &raw)
	for _, k := range []string{"temperature", "top_p", "top_k"} {
		if raw[k] != nil {
			return bad("%s: Extra inputs are not permitted", k)
		}
	}
	_ = json.Unmarshal(body, &m)
	for i, x := range m.Messages {
		bs, _ := blocks(x.Content)
		for j, b := range bs {
			if x.Role == "assistant" && b.s("type") == "document" {
				return bad("messages.%d.content.%d: document blocks are not allowed in assistant messages", i, j)
			}
			if c := b["citations"]; x.Role == "user" && b.s("type") == "text" && len(c) > 2 && c[0] == '[' {
				return bad("messages.%d.content.%d.citations: not allowed in user messages", i, j)
			}
		}
	}
	return nil
}

func (c *call) headerDirective() Directive {
	if v := c.r.Header.Get("x-fake-directive"); v != "" {
		return ParseDirective(v)
	}
	return nil
}

func (s *Server) message(c *call) {
	var cv *conv
	var e *apiErr
	urlModel := pathModel(c.r.URL)
	converse := strings.HasPrefix(c.op, "converse")
	switch {
	case converse:
		cv, e = parseConverse(urlModel, c.body)
	case c.surface == "bedrock" || c.surface == "vertex":
		cv, e = parseMessages(c.body, false, true, s.cfg.Strict)
		if e == nil {
			var m map[string]json.RawMessage
			_ = json.Unmarshal(c.body, &m)
			if m["anthropic_version"] == nil {
				e = bad("anthropic_version: Field required")
			} else if m["model"] != nil {
				e = bad("model: Extra inputs are not permitted")
			} else if m["stream"] != nil && c.surface == "bedrock" {
				e = bad("stream: Extra inputs are not permitted")
			}
		}
	default:
		if e = version(c); e == nil {
			if cv, e = parseMessages(c.body, true, true, s.cfg.Strict); e == nil && c.r.Header.Get("anthropic-version") == Version2026 {
				e = check2026(c.body)
			}
		}
	}
	if e != nil {
		c.fail(e, nil)
		return
	}
	if urlModel != "" {
		cv.model = urlModel
	}
	p := s.plan(cv, c.headerDirective(), c.seq)
	stream := strings.HasSuffix(c.op, ".stream") || c.op == "messages" && cv.stream
	ctx := c.r.Context()
	if err := sleep(ctx, p.delay); err != nil {
		c.res.ClientGone = true
		return
	}
	if p.err != nil {
		c.fail(p.err, p)
		return
	}
	prefix := map[string]string{"bedrock": "msg_bdrk_", "vertex": "msg_vrtx_"}[c.surface]
	if prefix == "" {
		prefix = "msg_"
	}
	id := fmt.Sprintf("%s01Fake%016d", prefix, c.seq)
	h := c.w.Header()
	if c.surface == "anthropic" || c.surface == "foundry" {
		now := time.Now().UTC().Add(time.Minute).Format(time.RFC3339)
		for _, k := range []string{"requests", "tokens", "input-tokens", "output-tokens"} {
			h.Set("anthropic-ratelimit-"+k+"-limit", "100000")
			h.Set("anthropic-ratelimit-"+k+"-remaining", "99999")
			h.Set("anthropic-ratelimit-"+k+"-reset", now)
		}
	}
	c.res.MessageID, c.res.StopReason, c.res.OutputsJSON = id, p.stop, p.inputs()
	if converse {
		c.res.MessageID = ""
	}
	if !stream {
		if p.cut {
			c.abort(p.text())
		}
		c.setText(p.text())
		c.res.Usage = p.usage
		if c.surface == "bedrock" {
			h.Set("X-Amzn-Bedrock-Input-Token-Count", itoa(int64(p.inTokens)))
			h.Set("X-Amzn-Bedrock-Output-Token-Count", itoa(int64(p.outTokens)))
			h.Set("X-Amzn-Bedrock-Invocation-Latency", itoa(p.latency()))
		}
		if converse {
			c.json(200, map[string]any{
				"output":     map[string]any{"message": map[string]any{"role": "assistant", "content": converseBlocks(p)}},
				"stopReason": p.stop, "usage": converseUsage(p), "metrics": map[string]any{"latencyMs": p.latency()},
			})
			return
		}
		if p.gzip && strings.Contains(c.r.Header.Get("Accept-Encoding"), "gzip") {
			c.jsonGzip(message(cv, p, id))
			return
		}
		c.json(200, message(cv, p, id))
		return
	}

	gz := c.surface != "bedrock" && (p.gzip || s.cfg.Gzip == "all") && strings.Contains(c.r.Header.Get("Accept-Encoding"), "gzip")
	if gz {
		h.Set("Content-Encoding", "gzip")
		h.Add("Vary", "Accept-Encoding")
	}
	pr := &progress{}
	fw := newFlush(c.w, p, false)
	var snk sink
	if c.surface == "bedrock" {
		h.Set("Content-Type", "application/vnd.amazon.eventstream")
		if !converse {
			h.Set("X-Amzn-Bedrock-Content-Type", "application/json")
		}
		snk = newFrameSink(fw, !converse)
	} else {
		h.Set("Content-Type", "text/event-stream; charset=utf-8")
		h.Set("Cache-Control", "no-cache")
		if gz {
			fw.gz = gzip.NewWriter(c.w)
		}
		snk = &sseSink{flushWriter: fw, crlf: p.crlf}
	}
	c.w.WriteHeader(200)
	fw.f.Flush()
	c.res.Status = 200
	cn := &counted{sink: snk, p: p, pr: pr, rid: c.rid}
	var err error
	if converse {
		err = s.streamConverse(ctx, cv, p, cn)
	} else {
		var metrics func() map[string]any
		if c.surface == "bedrock" {
			metrics = func() map[string]any {
				return map[string]any{
					"inputTokenCount": p.inTokens, "outputTokenCount": p.outTokens,
					"invocationLatency": p.latency(), "firstByteLatency": p.ttft.Milliseconds(),
				}
			}
		}
		err = s.streamMessages(ctx, cv, p, id, cv.model, cn, metrics)
	}
	if err == nil || errors.Is(err, errMid) {
		if e := snk.close(); err == nil && e != nil {
			err = e
		}
	}
	c.setText(pr.text.String())
	c.res.EventsSent = pr.events
	switch {
	case err == nil && ctx.Err() == nil:
		c.res.Complete, c.res.Usage = true, p.usage
	case errors.Is(err, errMid):
		c.res.ErrorType, c.res.StopReason = pr.broken, ""
	case errors.Is(err, errCut):
		c.res.ErrorType, c.res.StopReason = "cut", ""
		c.finish()
		panic(http.ErrAbortHandler)
	default:
		c.res.ClientGone, c.res.StopReason = true, ""
	}
}

// abort closes the connection half way through a JSON body.
func (c *call) abort(text string) {
	c.res.Status, c.res.ErrorType = 200, "cut"
	c.w.Header().Set("Content-Type", "application/json")
	c.w.Header().Set("Content-Length", "4096")
	c.w.WriteHeader(200)
	c.w.Write([]byte(`{"id":"msg_cut","type":"message","role":"assistant","content":[{"type":"text","text":"`))
	c.w.(http.Flusher).Flush()
	c.finish()
	panic(http.ErrAbortHandler)
}

func (c *call) jsonGzip(v any) {
	var z bytes.Buffer
	g := gzip.NewWriter(&z)
	g.Write(mustJSON(v))
	g.Close()
	h := c.w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Encoding", "gzip")
	h.Set("Content-Length", itoa(int64(z.Len())))
	c.res.Status = 200
	c.w.WriteHeader(200)
	_, err := c.w.Write(z.Bytes())
	c.res.Complete = err == nil
	c.finish()
}

func message(cv *conv, p *plan, id string) map[string]any {
	content := []any{}
	for _, b := range p.blocks {
		content = append(content, b.json(true))
	}
	return map[string]any{
		"id": id, "type": "message", "role": "assistant", "model": cv.model, "content": content,
		"stop_reason": p.stop, "stop_sequence": p.stopSeq, "stop_details": nil, "usage": p.usage,
	}
}

func (s *Server) countTokens(c *call) {
	body := c.body
	if c.surface == "bedrock" {
		var m struct {
			Input struct {
				Invoke struct {
					Body string `json:"body"`
				} `json:"invokeModel"`
				Converse json.RawMessage `json:"converse"`
			} `json:"input"`
		}
		_ = json.Unmarshal(body, &m)
		if m.Input.Converse != nil {
			cv, e := parseConverse(pathModel(c.r.URL), m.Input.Converse)
			if e != nil {
				c.fail(e, nil)
				return
			}
			c.json(200, map[string]any{"inputTokens": max(1, tokensOf(cv.chars))})
			return
		}
		b, err := base64.StdEncoding.DecodeString(m.Input.Invoke.Body)
		if err != nil {
			c.fail(bad("invalid base64 body"), nil)
			return
		}
		body = b
	}
	cv, e := parseMessages(body, c.surface != "bedrock", false, s.cfg.Strict)
	if e != nil {
		c.fail(e, nil)
		return
	}
	n := max(1, tokensOf(cv.chars))
	if c.surface == "bedrock" {
		c.json(200, map[string]any{"inputTokens": n})
		return
	}
	c.json(200, map[string]any{"input_tokens": n})
}

func (s *Server) complete(c *call) {
	var m struct {
		Model  string `json:"model"`
		Prompt string `json:"prompt"`
		Max    int    `json:"max_tokens_to_sample"`
		Stream bool   `json:"stream"`
	}
	if err := json.Unmarshal(c.body, &m); err != nil || m.Prompt == "" || m.Max == 0 || m.Model == "" {
		c.fail(bad("prompt, model and max_tokens_to_sample are required"), nil)
		return
	}
	text := " " + DefaultText(m.Prompt)
	id := fmt.Sprintf("compl_01Fake%016d", c.seq)
	c.res.MessageID, c.res.StopReason = id, "stop_sequence"
	c.setText(text)
	one := func(t string, stop any) map[string]any {
		return map[string]any{"type": "completion", "id": id, "completion": t, "stop_reason": stop, "stop": nil, "model": m.Model, "log_id": id}
	}
	if !m.Stream {
		c.json(200, one(text, "stop_sequence"))
		return
	}
	c.w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	c.w.WriteHeader(200)
	c.res.Status = 200
	out := &sseSink{flushWriter: newFlush(c.w, &plan{}, false)}
	var err error
	for _, w := range words(text, 0) {
		if err = out.event("completion", mustJSON(one(w, nil))); err != nil {
			break
		}
	}
	if err == nil {
		err = out.event("completion", mustJSON(one("", "stop_sequence")))
	}
	c.res.Complete, c.res.ClientGone = err == nil, err != nil
}

// Models served by GET /v1/models.
var Models = []string{"claude-opus-4-8", "claude-sonnet-5", "claude-opus-4-5-20251101", "claude-sonnet-4-5-20250929", "claude-haiku-4-5-20251001"}

func (s *Server) models(c *call) {
	if c.op == "control" {
		key := "inferenceProfileSummaries"
		if strings.HasPrefix(c.r.URL.Path, "/foundation-models") {
			key = "modelSummaries"
		}
		c.json(200, map[string]any{key: []any{}})
		return
	}
	info := func(id string) map[string]any {
		return map[string]any{"type": "model", "id": id, "display_name": id, "created_at": "2025-09-29T00:00:00Z", "max_input_tokens": 200000, "max_tokens": 64000}
	}
	if c.op == "models.get" {
		id := c.r.URL.Path[strings.LastIndexByte(c.r.URL.Path, '/')+1:]
		for _, m := range Models {
			if m == id {
				c.json(200, info(id))
				return
			}
		}
		c.fail(&apiErr{404, "not_found_error", "model: " + id}, nil)
		return
	}
	var l []any
	for _, m := range Models {
		l = append(l, info(m))
	}
	c.json(200, map[string]any{"data": l, "has_more": false, "first_id": Models[0], "last_id": Models[len(Models)-1]})
}

func (s *Server) admin(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	switch strings.TrimPrefix(r.URL.Path, "/_fake/") {
	case "health":
		fmt.Fprint(w, `{"ok":true}`)
	case "reset":
		s.reset()
		fmt.Fprint(w, `{"ok":true}`)
	case "stats":
		s.rec.mu.Lock()
		defer s.rec.mu.Unlock()
		fmt.Fprintf(w, `{"requests":%d,"responses":%d,"in_flight":%d}`, s.rec.nreq, s.rec.nres, s.infl.Load())
	case "requests":
		w.Header().Set("Content-Type", "application/x-ndjson")
		e := json.NewEncoder(w)
		q := r.URL.Query()
		for _, x := range s.rec.snapshot() {
			if k := q.Get("kind"); k != "" && k != x.Kind {
				continue
			}
			if k := q.Get("contains"); k != "" && !strings.Contains(x.Body, k) {
				continue
			}
			_ = e.Encode(x)
		}
	default:
		w.WriteHeader(404)
		fmt.Fprint(w, `{"error":"health, stats, requests or reset"}`)
	}
}
