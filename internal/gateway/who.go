package gateway

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"go.opentelemetry.io/collector/client"
	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/claudeaudit/claudeaudit/internal/audit"
	"github.com/claudeaudit/claudeaudit/internal/conversation"
	"github.com/claudeaudit/claudeaudit/internal/genai"
	"github.com/claudeaudit/claudeaudit/internal/jcs"
)

// Identity says by what it is known who calls.
type Identity struct {
	// RefuseAnonymous refuses calls of which it isn't known who makes them.
	RefuseAnonymous bool
	// Authenticated says that the server lets nobody in who hasn't shown something: who has, but
	// isn't named, is somebody all the same.
	Authenticated bool
	// Keys are the credentials that are known, by their SHA-256.
	Keys map[[sha256.Size]byte]Key
	// Tokens checks the JWT in TokenHeader.
	Tokens      TokenVerifier
	TokenHeader string
	// Certificate says what of a client's certificate is its user: uri, email, dns or
	// common_name; "" for nothing.
	Certificate string
	// Proxies are the addresses whose AddressHeader and ProxyUserHeader are believed.
	Proxies         []netip.Prefix
	AddressHeader   string
	ProxyUserHeader string
	// UserHeader, SessionHeader and ApplicationHeader are what clients say of themselves.
	UserHeader        string
	SessionHeader     string
	ApplicationHeader string
	// ApplicationPath takes /app/NAME before an API's own path for the application's name.
	ApplicationPath bool
}

// Key is whom a credential belongs to. Any field may be empty.
type Key struct{ Application, User, Department string }

// Claims are what a token says of the user.
type Claims struct{ User, Department string }

// TokenVerifier checks a token's signature, issuer, audience and times.
type TokenVerifier func(ctx context.Context, token string) (Claims, error)

// identity is who calls, and how sure that is.
type identity struct {
	genai.Who
	assurance string
	// known says that somebody is: a user, or the application that a key was given to.
	known bool
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
	rankVerified = 1  // shown by a token, a certificate, an authenticator, a key
	rankHeader   = 2  // a header of the application's, for this purpose
	rankMetadata = 6  // what Claude Code puts into the API's metadata
	rankOpaque   = 70 // metadata.user_id: whatever the application chose
	rankDerived  = 90 // of the conversation's beginning
)

// identify reads who calls from the connection and the headers. Its error says that the caller
// isn't who it claims to be, or that nobody knows who it is.
func (c *call) identify() *apiError {
	w, r, by := &c.who, c.r, &c.g.set.Identity
	h := r.Header
	w.assurance = audit.AssuranceNone
	w.trace, w.span = traceParent(h.Get("Traceparent"))
	secret, shown := credential(h)
	sum := sha256.Sum256([]byte(secret))
	if secret != "" {
		w.key = "sha256:" + hex.EncodeToString(sum[:6])
	}
	peer := peerAddress(r)
	w.Address = hostOf(r.RemoteAddr)
	if peer.IsValid() {
		w.Address = peer.String()
	}
	viaProxy := contains(by.Proxies, peer)
	if viaProxy && by.AddressHeader != "" {
		if addr := clientBehind(by.Proxies, h.Values(by.AddressHeader)); addr.IsValid() {
			w.Address = addr.String()
		}
	}
	var bad *apiError
	// The surest first; a later one only fills what is missing.
	if auth := client.FromContext(r.Context()).Auth; auth != nil {
		for _, name := range []string{"subject", "username"} {
			if user, ok := auth.GetAttribute(name).(string); ok && user != "" {
				w.verified(user, audit.AssuranceVerified)
			}
		}
	}
	if by.Tokens != nil {
		w.private = append(w.private, by.TokenHeader)
		if token := strings.TrimSpace(h.Get(by.TokenHeader)); token != "" {
			if scheme, rest, ok := strings.Cut(token, " "); ok && strings.EqualFold(scheme, "bearer") {
				token = strings.TrimSpace(rest)
			}
			claims, err := by.Tokens(r.Context(), token)
			if err != nil {
				bad, claims = errBadToken, Claims{} // what else is known of the caller is recorded all the same
			}
			w.verified(claims.User, audit.AssuranceVerified)
			w.Department = claims.Department
		}
	}
	w.verified(certificateUser(r, by.Certificate), audit.AssuranceVerified)
	key, known := by.Keys[sum]
	if known && shown {
		w.known = true
		if key.Application != "" {
			w.Application = key.Application // whatever the path says
		}
		if w.Department == "" {
			w.Department = key.Department
		}
		w.verified(key.User, audit.AssuranceGateway)
		if w.User == "" {
			w.assurance = audit.AssuranceGateway
		}
	}
	if by.ProxyUserHeader != "" {
		w.private = append(w.private, by.ProxyUserHeader)
		if viaProxy {
			w.verified(h.Get(by.ProxyUserHeader), audit.AssuranceGateway)
		}
	}
	if by.ApplicationHeader != "" && w.Application == "" {
		w.Application = h.Get(by.ApplicationHeader)
	}
	if w.Application == "" && strings.HasPrefix(h.Get("User-Agent"), "claude-cli/") {
		w.Application = "claude-code" // as its telemetry names it
	}
	if by.SessionHeader != "" {
		w.setSession(h.Get(by.SessionHeader), rankHeader)
	}
	w.setSession(h.Get("X-Claude-Code-Session-Id"), rankHeader+1)
	if by.Authenticated && !w.known && !c.unauthenticated {
		w.known = true
		w.assurance = audit.AssuranceGateway
	}
	if by.UserHeader != "" {
		w.asserted(h.Get(by.UserHeader), rankHeader)
	}
	if bad == nil && by.RefuseAnonymous && !w.known {
		bad = errAnonymous
	}
	return bad
}

// verified takes a user that was shown to be who calls.
func (w *identity) verified(user, assurance string) {
	if user == "" {
		return
	}
	w.known = true
	if w.User == "" {
		w.User, w.UserRank, w.assurance = user, rankVerified, assurance
	} else if w.User != user {
		w.clash()
	}
}

// asserted takes a user that the client says it is.
func (w *identity) asserted(user string, rank int) {
	switch {
	case user == "":
	case w.User == "":
		w.User, w.UserRank, w.assurance = user, rank, audit.AssuranceAsserted
	case w.User != user && w.UserRank == rankVerified && rank < rankOpaque:
		w.clash()
	}
}

func (w *identity) clash() {
	if !slices.Contains(w.flags, audit.FlagIdentityClash) {
		w.flags = append(w.flags, audit.FlagIdentityClash)
	}
}

func (w *identity) setSession(s string, rank int) {
	if s != "" && (w.SessionRank == 0 || rank < w.SessionRank) {
		w.Session, w.SessionRank = s, rank
	}
}

func peerAddress(r *http.Request) netip.Addr {
	addr, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return addr.Addr().Unmap().WithZone("")
}

func contains(prefixes []netip.Prefix, addr netip.Addr) bool {
	return addr.IsValid() && slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// clientBehind reads a list of addresses, each written by the proxy after it: the last one that
// isn't a trusted proxy's is the client's. What stands before it anybody can have written.
func clientBehind(proxies []netip.Prefix, values []string) netip.Addr {
	list := strings.Split(strings.Join(values, ","), ",")
	for _, text := range slices.Backward(list) {
		text = strings.TrimSpace(text)
		addr, err := netip.ParseAddr(strings.Trim(text, "[]"))
		if err != nil {
			withPort, err := netip.ParseAddrPort(text)
			if err != nil {
				return netip.Addr{}
			}
			addr = withPort.Addr()
		}
		if addr = addr.Unmap(); !contains(proxies, addr) {
			return addr
		}
	}
	return netip.Addr{}
}

// certificateUser is the user of a certificate that the server has verified.
func certificateUser(r *http.Request, what string) string {
	if what == "" || r.TLS == nil || len(r.TLS.VerifiedChains) == 0 {
		return ""
	}
	cert := r.TLS.VerifiedChains[0][0]
	switch what {
	case "uri":
		if len(cert.URIs) > 0 {
			return cert.URIs[0].String()
		}
	case "email":
		if len(cert.EmailAddresses) > 0 {
			return cert.EmailAddresses[0]
		}
	case "dns":
		if len(cert.DNSNames) > 0 {
			return cert.DNSNames[0]
		}
	case "common_name":
		return cert.Subject.CommonName
	}
	return ""
}

// applicationPrefix is what stands before an application's name in a path.
const applicationPrefix = "/app/"

// applicationPath takes the application's name off a path. A name that isn't plain stays, and the
// path is on no list.
func applicationPath(path string) (application, rest string) {
	tail, ok := strings.CutPrefix(path, applicationPrefix)
	if !ok {
		return "", path
	}
	application, rest, ok = strings.Cut(tail, "/")
	if !ok || !plainSegment(application) {
		return "", path
	}
	return application, "/" + rest
}

func hostOf(addr string) string {
	if i := strings.LastIndexByte(addr, ':'); i > 0 && strings.IndexByte(addr, ']') < i && (strings.Count(addr, ":") == 1 || addr[0] == '[') {
		addr = addr[:i]
	}
	return strings.Trim(addr, "[]")
}

// credential is the secret that the client shows the API. Of a signed request of AWS it is the access
// key's id, which isn't one: it says who signed, and shows it to nobody.
func credential(h http.Header) (secret string, shown bool) {
	if secret := firstHeader(h, "X-Api-Key", "Api-Key"); secret != "" {
		return secret, true
	}
	secret = h.Get("Authorization")
	if strings.HasPrefix(secret, "AWS4-") {
		_, id, _ := strings.Cut(secret, "Credential=")
		id, _, _ = strings.Cut(id, "/")
		return id, false
	}
	if scheme, rest, ok := strings.Cut(secret, " "); ok && strings.EqualFold(scheme, "bearer") {
		secret = strings.TrimSpace(rest)
	}
	return secret, secret != ""
}

// identifyBody reads what the request's body says of the caller. It describes and does not
// authenticate.
func (c *call) identifyBody() {
	w := &c.who
	user := c.request.UserID
	if account, session, ok := claudeCodeUser(user); ok {
		user = account
		w.setSession(session, rankMetadata)
	}
	w.asserted(user, rankOpaque)
	if w.Session == "" && len(c.conv.Messages) > 0 {
		w.setSession(derivedSession(c.conv.Messages[0]), rankDerived)
	}
}

// claudeCodeUser reads what Claude Code sends as user_id: {"device_id","account_uuid","session_id"}.
func claudeCodeUser(id string) (account, session string, ok bool) {
	if !strings.Contains(id, "{") {
		return "", "", false // most are no JSON, and to say why not takes longer than to see it
	}
	v, err := jcs.Parse(id, jcs.Limits{MaxBytes: 4096, MaxNodes: 64, MaxDepth: 4})
	if err != nil || v.Kind() != jcs.KindObject {
		return "", "", false
	}
	return v.Get("account_uuid").Str(), v.Get("session_id").Str(), true
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
