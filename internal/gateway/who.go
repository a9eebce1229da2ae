package gateway

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"

	"go.opentelemetry.io/collector/client"
	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/claudeaudit/claudeaudit/internal/audit"
	"github.com/claudeaudit/claudeaudit/internal/conversation"
	"github.com/claudeaudit/claudeaudit/internal/genai"
	"github.com/claudeaudit/claudeaudit/internal/jcs"
)

// identity is who calls, and how sure that is.
type identity struct {
	genai.Who
	assurance string
	// key is "sha256:" and the first 12 hex digits of the SHA-256 of the client's credential: enough to group by,
	// not enough to find it again.
	key   string
	flags []string
	trace pcommon.TraceID
	span  pcommon.SpanID
	// private are headers that are for the gateway and don't go upstream.
	private []string
}

// Ranks of what the gateway is told of the caller, on the scale of package genai: lower is better.
const (
	rankHeader   = 2  // a header of the application's, for this purpose
	rankMetadata = 6  // what Claude Code puts into the API's metadata
	rankOpaque   = 70 // metadata.user_id: whatever the application chose
	rankDerived  = 90 // of the conversation's beginning
)

// identify reads who calls from the connection and the headers.
func (c *call) identify() {
	w := &c.who
	w.assurance = audit.AssuranceNone
	h := c.r.Header
	w.key = credentialKey(h)
	if addr := client.FromContext(c.r.Context()).Addr; addr != nil {
		w.Address = hostOf(addr.String())
	} else {
		w.Address = hostOf(c.r.RemoteAddr)
	}
	if s := h.Get("X-Claude-Code-Session-Id"); s != "" {
		w.setSession(s, rankHeader)
	}
	w.trace, w.span = traceParent(h.Get("Traceparent"))
}

func hostOf(addr string) string {
	if i := strings.LastIndexByte(addr, ':'); i > 0 && strings.IndexByte(addr, ']') < i && (strings.Count(addr, ":") == 1 || addr[0] == '[') {
		addr = addr[:i]
	}
	return strings.Trim(addr, "[]")
}

// credentialKey is the keyless digest of the client's credential.
func credentialKey(h http.Header) string {
	secret := firstHeader(h, "X-Api-Key", "Api-Key")
	if secret == "" {
		secret = h.Get("Authorization")
		if scheme, rest, ok := strings.Cut(secret, " "); ok && strings.EqualFold(scheme, "bearer") {
			secret = strings.TrimSpace(rest)
		}
	}
	if secret == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(secret))
	return "sha256:" + hex.EncodeToString(sum[:6])
}

// identifyBody reads what the request's body says of the caller. It describes and does not
// authenticate.
func (c *call) identifyBody() {
	w := &c.who
	user := c.request.UserID
	if v, err := jcs.Parse(user, jcs.Limits{MaxBytes: 4096, MaxNodes: 64, MaxDepth: 4}); err == nil && v.Kind() == jcs.KindObject {
		// Claude Code's: {"device_id","account_uuid","session_id"}.
		if s := v.Get("session_id").Str(); s != "" {
			w.setSession(s, rankMetadata)
		}
		user = v.Get("account_uuid").Str()
	}
	if user != "" && w.User == "" {
		w.User, w.UserRank, w.assurance = user, rankOpaque, audit.AssuranceAsserted
	}
	if w.Session == "" && len(c.conv.Messages) > 0 {
		w.setSession(derivedSession(c.conv.Messages[0]), rankDerived)
	}
}

func (w *identity) setSession(s string, rank int) {
	if w.SessionRank == 0 || rank < w.SessionRank {
		w.Session, w.SessionRank = s, rank
	}
}

// derivedPrefix marks a session that nobody named: calls whose conversations begin with
// the same message have the same.
const derivedPrefix = "derived:"

func derivedSession(first conversation.Message) string {
	return derivedPrefix + conversation.PromptHash(nil, []conversation.Message{first})[:32]
}

// strip takes headers away that are for the gateway.
func (w *identity) strip(h http.Header) {
	for _, name := range w.private {
		h.Del(name)
	}
}

// traceParent reads a W3C trace context.
func traceParent(s string) (trace pcommon.TraceID, span pcommon.SpanID) {
	if len(s) < 55 || s[2] != '-' || s[35] != '-' || s[52] != '-' {
		return trace, span
	}
	if _, err := hex.Decode(trace[:], []byte(s[3:35])); err != nil {
		return pcommon.TraceID{}, pcommon.SpanID{}
	}
	if _, err := hex.Decode(span[:], []byte(s[36:52])); err != nil {
		return pcommon.TraceID{}, pcommon.SpanID{}
	}
	return trace, span
}

func surfaceOf(path string) Surface {
	if strings.HasPrefix(path, "/anthropic/") {
		return Foundry
	}
	return Anthropic
}
