package gateway

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/trace"

	"github.com/claudeaudit/claudeaudit/internal/anthropic"
	"github.com/claudeaudit/claudeaudit/internal/audit"
	"github.com/claudeaudit/claudeaudit/internal/conversation"
	"github.com/claudeaudit/claudeaudit/internal/genai"
	"github.com/claudeaudit/claudeaudit/internal/jcs"
)

// call is one request on its way through.
type call struct {
	g  *Gateway
	w  http.ResponseWriter
	r  *http.Request
	up *Upstream

	id    uuid.UUID
	op    operation
	path  string // raw, as it goes upstream
	start time.Time
	who   identity
	// unauthenticated says that the server's authenticator refused it.
	unauthenticated bool
	// detail says what was refused.
	detail string

	body    []byte
	read    bool  // to its end
	held    int64 // of the body, in the gateway's budget
	sha     string
	conv    conversation.Conversation
	request anthropic.RequestInfo
	// completeness is that of the prompt.
	completeness genai.Completeness
	// items are the requests of a batch, item what names this one in it.
	items    []*call
	item     string
	raw      string // what was asked, of a request of a batch
	unparsed []genai.Unparsed
	// asked is what the policy was asked about; nil when there is none.
	asked    *Call
	decision Decision
	// watch looks at the answer; nil when no rule is about it.
	watch *Watch

	// What became of it.
	status    int
	passed    int64
	requestID string
	firstByte time.Time
	span      trace.Span // nil where calls have none
}

// serve records the call, forwards it and records how it ended.
func (c *call) serve() {
	g := c.g
	if err := c.readBody(); err != nil {
		c.refuse(err)
		return
	}
	defer c.release()
	if err := c.parse(); err != nil {
		c.refuse(err)
		return
	}
	err := c.decide()
	if err == nil {
		err = c.decideItems()
	}
	if err != nil {
		g.set.Metrics.Blocked(c.decision.Rule)
		c.refuse(err)
		return
	}
	if c.op.name == batchDelete {
		if err := c.beforeDelete(); err != nil {
			c.refuse(err)
			return
		}
	}
	if err := g.initiated(c); err != nil {
		g.set.Metrics.Refused(errNoAudit.kind)
		errNoAudit.write(c.w, c.op.surface, c.id.String())
		c.status = errNoAudit.on(c.op.surface)
		// The record may stand all the same, when it was another exporter that failed.
		g.outcome(c, c.outcome(audit.StatusError, audit.EndedRefused, "audit_unavailable"))
		return
	}
	g.set.Metrics.Opened()
	c.conv = conversation.Conversation{} // recorded: the answer needs it no more
	c.forward()
}

// isJSON tells whether a request of the content type is JSON. AWS's SDKs send Bedrock's InvokeModel bytes of no type, or of any, when
// the application tells them none.
func (o *operation) isJSON(contentType string) bool {
	media, _, err := mime.ParseMediaType(contentType)
	if o.surface == Bedrock && o.proto == protoMessages && (contentType == "" || media == "application/octet-stream") {
		return true
	}
	return err == nil && (media == "application/json" || strings.HasSuffix(media, "+json"))
}

// readBy is until when the client has to have sent more, or there is none: a client that
// sends nothing ends. The next request on the connection has a time of its own.
func (c *call) readBy(t time.Time) {
	_ = http.NewResponseController(c.w).SetReadDeadline(t) // a server without deadlines, as of a test, has no slow clients
}

// readBody reads the whole body: a request is recorded before it is forwarded.
func (c *call) readBody() *apiError {
	r, lim := c.r, &c.g.set.Limits
	most := lim.RequestBytes
	if c.op.proto == protoBatch {
		most = lim.BatchBytes
	}
	if e := r.Header.Get("Content-Encoding"); e != "" && !strings.EqualFold(e, "identity") {
		return errEncoding
	}
	if c.op.proto.json() && !c.op.isJSON(r.Header.Get("Content-Type")) {
		return errNoContentType
	}
	if r.ContentLength > most {
		return errTooLarge
	}
	if r.ContentLength == 0 || r.Body == http.NoBody {
		return nil
	}
	size := r.ContentLength
	if size < 0 {
		size = 64 << 10
	}
	if !c.hold(size) {
		return errOverloaded
	}
	buf := make([]byte, 0, size+1) // one more, to see the end
	for {
		if len(buf) == cap(buf) {
			if int64(len(buf)) > most {
				return errTooLarge
			}
			more := min(int64(len(buf)), most+1-int64(len(buf)))
			if !c.hold(more) {
				return errOverloaded
			}
			grown := make([]byte, len(buf), int64(len(buf))+more)
			copy(grown, buf)
			buf = grown
		}
		c.readBy(time.Now().Add(lim.BodyTimeout))
		n, err := r.Body.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if int64(len(buf)) > most {
			return errTooLarge
		}
		if err == nil {
			continue
		}
		if errors.Is(err, io.EOF) {
			c.readBy(time.Time{})
			c.body, c.read = buf, true
			sum := sha256.Sum256(buf)
			c.sha = hex.EncodeToString(sum[:])
			return nil
		}
		c.body = buf // for the record of what was refused
		var max *http.MaxBytesError
		switch {
		case errors.As(err, &max):
			return errTooLarge
		case isTimeout(err):
			return errBodySlow
		}
		return errBodyCut
	}
}

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}

// holdPatience is how long a request waits until there is room for its body.
const holdPatience = 5 * time.Second

// hold takes n bytes of the budget for bodies.
func (c *call) hold(n int64) bool {
	if !c.g.buffered.TryAcquire(n) {
		ctx, cancel := context.WithTimeout(c.r.Context(), holdPatience)
		defer cancel()
		if c.g.buffered.Acquire(ctx, n) != nil {
			return false
		}
	}
	c.held += n
	return true
}

// release gives the body's memory back. It may be called more than once.
func (c *call) release() {
	c.body = nil
	c.g.buffered.Release(c.held)
	c.held = 0
}

// parse reads the request's conversation. What can't be read, or can be read in two ways, is not
// forwarded: nobody could say what was asked.
func (c *call) parse() *apiError {
	c.completeness = genai.ContentNone
	if c.op.proto == protoFile {
		return c.parseFile()
	}
	if !c.op.proto.json() {
		if body := bytes.TrimSpace(c.body); len(body) > 0 && string(body) != "{}" {
			c.completeness = genai.ContentUnparsed
			c.unparsed = append(c.unparsed, unparsed("request", c.body, jcs.ErrInvalid))
			return errBody
		}
		return nil
	}
	if c.op.proto == protoBatch {
		return c.parseBatch()
	}
	v, err := jcs.ParseStrict(text(c.body), jcs.DefaultLimits)
	if err == nil && v.Kind() != jcs.KindObject {
		err = jcs.ErrInvalid
	}
	if err != nil {
		c.completeness = genai.ContentUnparsed
		c.unparsed = append(c.unparsed, unparsed("request", c.body, err))
		return errUnreadable
	}
	switch c.op.proto {
	case protoComplete:
		c.conv, c.request = anthropic.ReadCompleteRequest(v)
	case protoConverse:
		c.conv, c.request = anthropic.ReadConverseRequest(v)
	case protoBedrockCount:
		if err := c.parseBedrockCount(v.Get("input")); err != nil {
			c.completeness = genai.ContentUnparsed
			c.unparsed = append(c.unparsed, unparsed("request", c.body, err))
			return errUnreadable
		}
	default:
		c.conv, c.request = anthropic.ReadRequest(v)
	}
	if c.op.model == "" {
		c.op.model = c.request.Model
	}
	c.conv.Normalize()
	if c.conv.HasPrompt() {
		c.completeness = genai.ContentFull
	}
	c.identifyBody()
	return nil
}

// parseBedrockCount reads the request that CountTokens is asked about.
func (c *call) parseBedrockCount(input jcs.Value) error {
	if v := input.Get("converse"); v.Kind() == jcs.KindObject {
		c.conv, c.request = anthropic.ReadConverseRequest(v)
		return nil
	}
	body, err := base64.StdEncoding.DecodeString(input.Get("invokeModel").Get("body").Str())
	if err != nil {
		return jcs.ErrInvalid
	}
	v, err := jcs.ParseStrict(text(body), jcs.DefaultLimits)
	if err != nil {
		return err
	}
	c.conv, c.request = anthropic.ReadRequest(v)
	return nil
}

// unparsed is evidence of bytes that could not be read.
func unparsed(key string, body []byte, err error) genai.Unparsed {
	sum := sha256.Sum256(body)
	reason := "invalid_json"
	switch {
	case errors.Is(err, jcs.ErrTooDeep):
		reason = "too_deep"
	case errors.Is(err, jcs.ErrTooLarge):
		reason = genai.ReasonTooLarge
	case errors.Is(err, jcs.ErrInvalidUTF8):
		reason = "invalid_utf8"
	case errors.Is(err, jcs.ErrDuplicateKey):
		reason = "duplicate_key"
	}
	return genai.Unparsed{Key: key, Bytes: len(body), SHA256: hex.EncodeToString(sum[:]), Reason: reason}
}

// refuse answers with an error of the gateway's own and records that.
func (c *call) refuse(e *apiError) {
	g := c.g
	g.set.Metrics.Refused(e.kind)
	c.status = e.on(c.op.surface)
	if len(c.body) > 0 && c.sha == "" {
		sum := sha256.Sum256(c.body)
		c.sha = hex.EncodeToString(sum[:])
	}
	it := c.initial()
	it.Gateway.Status, it.Gateway.Ended = audit.StatusBlocked, audit.EndedRefused
	it.End = g.set.Now()
	it.ErrorType, it.ErrorTypeExact = e.kind, true
	it.Gateway.HTTPStatus = number(int64(c.status))
	if c.asked != nil && severity[c.decision.Action] >= severity[Block] && !c.decision.Shadow {
		it.Gateway.Ended, it.ErrorType = audit.EndedPolicy, "policy_"+string(c.decision.Action)
		it.ErrorTypeExact = false
	} else {
		it.Gateway.PolicyReason = c.detail
	}
	c.release()
	if !c.read && c.r.Body != http.NoBody && e != errBodySlow {
		// The server reads on for a while, so that the client sees the answer.
		c.readBy(time.Now().Add(g.set.Limits.BodyTimeout))
	}
	e.write(c.w, c.op.surface, c.id.String())
	g.outcome(c, it)
}

// initial is what is known of the call before it is forwarded.
func (c *call) initial() *genai.Interaction {
	it := c.identified()
	it.Content = c.conv
	it.PromptCompleteness = c.completeness
	it.Unparsed = c.unparsed
	return it
}

// outcome is what an ending says that nothing was answered by.
func (c *call) outcome(status, ended, errorType string) *genai.Interaction {
	it := c.identified()
	it.End = c.g.set.Now()
	it.Gateway.Status, it.Gateway.Ended = status, ended
	it.ErrorType = errorType
	it.RequestID = c.requestID
	it.Gateway.ResponseBytes = number(c.passed)
	if c.status != 0 {
		it.Gateway.HTTPStatus = number(int64(c.status))
	}
	if !c.firstByte.IsZero() {
		it.Gateway.TTFTMs = number(c.firstByte.Sub(c.start).Milliseconds())
	}
	return it
}

// identified is what every telling of the call has.
func (c *call) identified() *genai.Interaction {
	it := &genai.Interaction{
		Start: c.start, Operation: c.op.name, Provider: provider(c.op.surface), RequestModel: c.op.model,
		Who: c.who.Who, TraceID: c.who.trace, ParentSpanID: c.who.span,
		Gateway: &genai.Gateway{
			CallID: c.id, Activity: c.op.activity, Assurance: c.who.assurance, Flags: c.who.flags,
			Surface: string(c.op.surface), RequestSHA256: c.sha, ClientKey: c.who.key, BatchID: c.op.batch, BatchItem: c.item,
		},
	}
	if c.asked != nil {
		d := &c.decision
		it.Gateway.PolicyDecision, it.Gateway.PolicyRule, it.Gateway.PolicyReason = string(d.Action), d.Rule, d.Reason
		if d.Shadow {
			it.Gateway.PolicyDecision = "shadow:" + it.Gateway.PolicyDecision
		}
	}
	return it
}

// provider is gen_ai.provider.name of a surface.
func provider(s Surface) string {
	switch s {
	case Bedrock:
		return "aws.bedrock"
	case Vertex:
		return "gcp.vertex_ai"
	}
	return "anthropic"
}

func number(n int64) *int64 { return &n }
