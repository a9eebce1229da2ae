package gateway

import (
	"context"
	"crypto/sha256"
	"errors"
	"net/http"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"

	"github.com/claudeaudit/claudeaudit/internal/audit"
	"github.com/claudeaudit/claudeaudit/internal/fakeclaude"
)

func keyOf(secret string, k Key) map[[sha256.Size]byte]Key {
	return map[[sha256.Size]byte]Key{sha256.Sum256([]byte(secret)): k}
}

// Who calls, and how sure that is, from every source.
func TestIdentity(t *testing.T) {
	const secret = "sk-ant-secret-of-the-test"
	tokens := func(_ context.Context, token string) (Claims, error) {
		if token != "good" {
			return Claims{}, errors.New("bad signature")
		}
		return Claims{User: "ana@example.org", Department: "legal"}, nil
	}
	loopback := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("10.0.0.0/8")}
	claudeCode := `,"metadata":{"user_id":"{\"device_id\":\"d\",\"account_uuid\":\"acc-1\",\"session_id\":\"cc-session\"}"}`
	for name, tc := range map[string]struct {
		identity Identity
		path     string
		header   []string
		extra    string

		status              int
		user, assurance     string
		application, depart string
		session, address    string
		flags               []string
		notForwarded        []string
	}{
		"nobody": {assurance: audit.AssuranceNone, address: "127.0.0.1"},
		"nobody, refused": {
			identity: Identity{RefuseAnonymous: true}, status: 401, assurance: audit.AssuranceNone, address: "127.0.0.1",
		},
		"metadata is no way in": {
			identity: Identity{RefuseAnonymous: true, UserHeader: "X-User"}, header: []string{"X-User", "ana"}, status: 401,
			user: "ana", assurance: audit.AssuranceAsserted, address: "127.0.0.1",
		},
		"metadata": {extra: `,"metadata":{"user_id":"opaque-7"}`, user: "opaque-7", assurance: audit.AssuranceAsserted, address: "127.0.0.1"},
		"claude code": {
			extra: claudeCode, header: []string{"User-Agent", "claude-cli/2.1.197 (external, sdk-cli)"},
			user: "acc-1", assurance: audit.AssuranceAsserted, application: "claude-code", session: "cc-session", address: "127.0.0.1",
		},
		"claude code's header before its metadata": {
			extra: claudeCode, header: []string{"X-Claude-Code-Session-Id", "cc-header"},
			user: "acc-1", assurance: audit.AssuranceAsserted, session: "cc-header", address: "127.0.0.1",
		},
		"key of an application": {
			identity:  Identity{RefuseAnonymous: true, Keys: keyOf(secret, Key{Application: "invoices", Department: "finance"})},
			assurance: audit.AssuranceGateway, application: "invoices", depart: "finance", address: "127.0.0.1",
		},
		"key of a user": {
			identity: Identity{RefuseAnonymous: true, Keys: keyOf(secret, Key{User: "bo"})},
			extra:    `,"metadata":{"user_id":"opaque-7"}`, user: "bo", assurance: audit.AssuranceGateway, address: "127.0.0.1",
		},
		"key that isn't known": {
			identity: Identity{RefuseAnonymous: true, Keys: keyOf("another", Key{User: "bo"})}, status: 401,
			assurance: audit.AssuranceNone, address: "127.0.0.1",
		},
		"token": {
			identity: Identity{RefuseAnonymous: true, Tokens: tokens, TokenHeader: "X-Identity-Token"}, header: []string{"X-Identity-Token", "Bearer good"},
			user: "ana@example.org", assurance: audit.AssuranceVerified, depart: "legal", address: "127.0.0.1", notForwarded: []string{"x-identity-token"},
		},
		"token that doesn't hold": {
			identity: Identity{Tokens: tokens, TokenHeader: "X-Identity-Token"}, header: []string{"X-Identity-Token", "forged"}, status: 401,
			assurance: audit.AssuranceNone, address: "127.0.0.1",
		},
		"token of one, header of another": {
			identity: Identity{Tokens: tokens, TokenHeader: "X-Identity-Token", UserHeader: "X-User"},
			header:   []string{"X-Identity-Token", "good", "X-User", "eve"}, user: "ana@example.org", assurance: audit.AssuranceVerified,
			depart: "legal", address: "127.0.0.1", flags: []string{audit.FlagIdentityClash}, notForwarded: []string{"x-identity-token"},
		},
		"token of one, key of another": {
			identity: Identity{Tokens: tokens, TokenHeader: "X-Identity-Token", Keys: keyOf(secret, Key{User: "bo"})},
			header:   []string{"X-Identity-Token", "good"}, user: "ana@example.org", assurance: audit.AssuranceVerified,
			depart: "legal", address: "127.0.0.1", flags: []string{audit.FlagIdentityClash}, notForwarded: []string{"x-identity-token"},
		},
		"trusted proxy": {
			identity: Identity{RefuseAnonymous: true, Proxies: loopback, AddressHeader: "X-Forwarded-For", ProxyUserHeader: "X-Auth-User"},
			header:   []string{"X-Auth-User", "cy", "X-Forwarded-For", "6.6.6.6, 203.0.113.9, 10.1.2.3"},
			user:     "cy", assurance: audit.AssuranceGateway, address: "203.0.113.9", notForwarded: []string{"x-auth-user"},
		},
		"a proxy that isn't trusted": {
			identity: Identity{Proxies: loopback[1:], AddressHeader: "X-Forwarded-For", ProxyUserHeader: "X-Auth-User"},
			header:   []string{"X-Auth-User", "cy", "X-Forwarded-For", "203.0.113.9"}, assurance: audit.AssuranceNone, address: "127.0.0.1",
			notForwarded: []string{"x-auth-user"},
		},
		"session header":     {identity: Identity{SessionHeader: "X-Session-Id"}, header: []string{"X-Session-Id", "s-1"}, assurance: audit.AssuranceNone, session: "s-1", address: "127.0.0.1"},
		"application header": {identity: Identity{ApplicationHeader: "X-App-Name"}, header: []string{"X-App-Name", "a-1"}, assurance: audit.AssuranceNone, application: "a-1", address: "127.0.0.1"},
		"application path":   {identity: Identity{ApplicationPath: true}, path: "/app/a-1/v1/messages", assurance: audit.AssuranceNone, application: "a-1", address: "127.0.0.1"},
		"no application path": {
			path: "/app/a-1/v1/messages", status: 404, assurance: audit.AssuranceNone, address: "127.0.0.1",
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t, func(s *Settings) { s.Identity = tc.identity })
			if tc.path == "" {
				tc.path = "/v1/messages"
			}
			if tc.status == 0 {
				tc.status = http.StatusOK
			}
			resp, body, err := h.do(t, http.MethodPost, tc.path, message("hi", tc.extra), tc.header...)
			require.NoError(t, err)
			require.Equal(t, tc.status, resp.StatusCode, body)
			it := h.sink.ended(t, 1)[0]
			require.Equal(t, tc.user, it.Who.User)
			require.Equal(t, tc.assurance, it.Gateway.Assurance)
			require.Equal(t, tc.application, it.Who.Application)
			require.Equal(t, tc.depart, it.Who.Department)
			require.Equal(t, tc.address, it.Who.Address)
			require.Equal(t, tc.flags, it.Gateway.Flags)
			switch {
			case tc.session != "":
				require.Equal(t, tc.session, it.Who.Session)
			case tc.status == http.StatusOK:
				require.Regexp(t, "^derived:[0-9a-f]{32}$", it.Who.Session)
			}
			if tc.status != http.StatusOK {
				require.Empty(t, h.fake.Records())
				return
			}
			got := h.fake.Records()[0]
			require.Equal(t, "/v1/messages", got.Path)
			for _, name := range tc.notForwarded {
				require.NotContains(t, got.Headers, name)
			}
		})
	}
}

// A conversation that nobody named has one session from its first call to its last.
func TestDerivedSession(t *testing.T) {
	h := newHarness(t, nil)
	first := message("where do whales sleep?", "")
	later := `{"model":"claude-sonnet-4-5","max_tokens":64,"system":"be brief","messages":[{"role":"user","content":[{"type":"text","text":"where do whales sleep?"}]},` +
		`{"role":"assistant","content":"At sea."},{"role":"user","content":"and seals?"}]}`
	for _, body := range []string{first, later, message("something else", "")} {
		_, _, err := h.do(t, http.MethodPost, "/v1/messages", body)
		require.NoError(t, err)
	}
	h.sink.ended(t, 3)
	its := h.sink.events(eventInitiated)
	require.Equal(t, its[0].Who.Session, its[1].Who.Session)
	require.NotEqual(t, its[0].Who.Session, its[2].Who.Session)
}

// With a key of its own the gateway doesn't pass the client's on.
func TestUpstreamKey(t *testing.T) {
	h := newHarness(t, nil)
	up := h.gateway.set.Upstreams[Anthropic]
	own, err := NewUpstream(UpstreamSettings{Endpoint: up.base.String(), APIKey: "the-provider's"})
	require.NoError(t, err)
	h.gateway.set.Upstreams[Anthropic] = own
	_, _, err = h.do(t, http.MethodPost, "/v1/messages", message("hi", ""), "X-Api-Key", "", "Authorization", "Bearer mine")
	require.NoError(t, err)
	h.sink.ended(t, 1)
	require.Equal(t, "x-api-key:"+fakeDigest("the-provider's"), h.fake.Records()[0].Auth)
}

// The gateway's token is asked for with each call: it may be another by then. A call that has none is not forwarded.
func TestUpstreamTokens(t *testing.T) {
	h := newHarness(t, nil)
	tokens := &tokenList{tokens: []string{"first", "second"}}
	own, err := NewUpstream(UpstreamSettings{Endpoint: h.gateway.set.Upstreams[Anthropic].base.String(), Tokens: tokens})
	require.NoError(t, err)
	h.gateway.set.Upstreams[Anthropic] = own
	for i, want := range []int{http.StatusOK, http.StatusOK, http.StatusBadGateway} {
		resp, _, err := h.do(t, http.MethodPost, "/v1/messages", message("hi", ""), "X-Api-Key", "", "Authorization", "Bearer mine")
		require.NoError(t, err)
		require.Equal(t, want, resp.StatusCode)
		h.sink.ended(t, i+1)
	}
	var auth []string
	for _, r := range h.fake.Records() {
		if r.Kind == "request" {
			auth = append(auth, r.Auth)
		}
	}
	require.Equal(t, []string{"bearer:" + fakeDigest("first"), "bearer:" + fakeDigest("second")}, auth)
	require.Equal(t, "upstream_unreachable", h.sink.ended(t, 3)[2].ErrorType)
}

// tokenList gives one token after the other.
type tokenList struct{ tokens []string }

func (l *tokenList) Token() (*oauth2.Token, error) {
	if len(l.tokens) == 0 {
		return nil, errors.New("no more")
	}
	token := &oauth2.Token{AccessToken: l.tokens[0]}
	l.tokens = l.tokens[1:]
	return token, nil
}

func fakeDigest(secret string) string { return fakeclaude.Short(secret) }
