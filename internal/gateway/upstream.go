package gateway

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"golang.org/x/oauth2"
)

// Upstream is where a surface is served.
type Upstream struct {
	base      *url.URL
	transport http.RoundTripper
	// credential sets the credential of a request; nil passes the client's on.
	credential func(r *http.Request, bodySHA256 string) error
}

// UpstreamSettings make an Upstream.
type UpstreamSettings struct {
	// Endpoint is the base URL: scheme, host and, where there is one, a path before the API's own.
	Endpoint string
	TLS      *tls.Config
	// APIKey is sent in place of the client's credential, as x-api-key. "" passes the client's on.
	APIKey string
	// BearerToken is sent in place of the client's credential, as Authorization: Bearer.
	BearerToken string
	// Tokens gives what is sent in place of the client's credential, as Authorization: Bearer.
	Tokens oauth2.TokenSource
	// Sign signs requests in place of the client, with AWS's Signature Version 4.
	Sign *AWSSigner
	// MaxConnections at a time; 0 is no bound.
	MaxConnections int
}

// NewUpstream makes an Upstream. Its transport neither follows redirects nor decompresses nor
// adds headers.
func NewUpstream(set UpstreamSettings) (*Upstream, error) {
	base, err := url.Parse(set.Endpoint)
	if err != nil {
		return nil, fmt.Errorf("must be a URL: %w", err)
	}
	if base.Scheme != "https" && base.Scheme != "http" || base.Host == "" || base.RawQuery != "" || base.Fragment != "" || base.User != nil {
		return nil, fmt.Errorf("must be an http or https URL without user, query and fragment, is %q", base.Redacted())
	}
	base.Path = strings.TrimSuffix(base.Path, "/")
	u := &Upstream{base: base, transport: &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSClientConfig:       set.TLS,
		TLSHandshakeTimeout:   10 * time.Second,
		ForceAttemptHTTP2:     true,
		DisableCompression:    true,
		MaxIdleConns:          1024,
		MaxIdleConnsPerHost:   1024,
		MaxConnsPerHost:       set.MaxConnections,
		IdleConnTimeout:       90 * time.Second,
		ExpectContinueTimeout: time.Second,
		WriteBufferSize:       32 << 10,
		ReadBufferSize:        16 << 10,
	}}
	switch {
	case set.APIKey != "":
		u.credential = func(r *http.Request, _ string) error {
			withoutCredential(r.Header)
			r.Header["X-Api-Key"] = []string{set.APIKey}
			return nil
		}
	case set.BearerToken != "":
		u.credential = func(r *http.Request, _ string) error {
			withoutCredential(r.Header)
			r.Header["Authorization"] = []string{"Bearer " + set.BearerToken}
			return nil
		}
	case set.Tokens != nil:
		u.credential = func(r *http.Request, _ string) error {
			token, err := set.Tokens.Token()
			if err != nil {
				return fmt.Errorf("retrieve the token for the API: %w", err)
			}
			withoutCredential(r.Header)
			r.Header["Authorization"] = []string{"Bearer " + token.AccessToken}
			return nil
		}
	case set.Sign != nil:
		u.credential = set.Sign.sign
	}
	return u, nil
}

// withoutCredential takes away what the client has shown, whatever it is.
func withoutCredential(h http.Header) {
	for _, name := range []string{"Authorization", "X-Api-Key", "Api-Key", "X-Amz-Date", "X-Amz-Security-Token", "X-Amz-Content-Sha256"} {
		h.Del(name)
	}
	for name := range h {
		if strings.HasPrefix(name, "Amz-Sdk-") {
			delete(h, name)
		}
	}
}

// AWSSigner signs requests to Bedrock.
type AWSSigner struct {
	Region      string
	Credentials aws.CredentialsProvider
}

// emptySHA256 is the SHA-256 of nothing.
const emptySHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// sign signs host and content type; the client's other headers may change on their way.
func (s *AWSSigner) sign(r *http.Request, bodySHA256 string) error {
	credentials, err := s.Credentials.Retrieve(r.Context())
	if err != nil {
		return fmt.Errorf("retrieve the credentials for AWS: %w", err)
	}
	if bodySHA256 == "" {
		bodySHA256 = emptySHA256
	}
	withoutCredential(r.Header)
	signed := &http.Request{Method: r.Method, URL: r.URL, Host: r.Host, Header: http.Header{}, ContentLength: r.ContentLength}
	if v := r.Header.Get("Content-Type"); v != "" {
		signed.Header.Set("Content-Type", v)
	}
	if err := v4.NewSigner().SignHTTP(r.Context(), credentials, signed, bodySHA256, "bedrock", s.Region, time.Now()); err != nil {
		return fmt.Errorf("sign the request for AWS: %w", err)
	}
	for _, name := range []string{"Authorization", "X-Amz-Date", "X-Amz-Security-Token"} {
		if v := signed.Header.Get(name); v != "" {
			r.Header.Set(name, v)
		}
	}
	return nil
}

// url is where a request of the raw path and query goes.
func (u *Upstream) url(rawPath, rawQuery string) (*url.URL, error) {
	path := u.base.EscapedPath() + rawPath
	plain, err := url.PathUnescape(path)
	if err != nil {
		return nil, err
	}
	target := *u.base
	target.Path, target.RawPath, target.RawQuery = plain, path, rawQuery
	return &target, nil
}

// close gives idle connections up.
func (u *Upstream) close() {
	if t, ok := u.transport.(*http.Transport); ok {
		t.CloseIdleConnections()
	}
}

// hopByHop are the headers that concern one connection only (RFC 9110, 7.6.1).
var hopByHop = []string{
	"Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Te", "Trailer",
	"Transfer-Encoding", "Upgrade",
}

// endToEnd copies the headers that aren't of one connection.
func endToEnd(dst, src http.Header) {
	var named []string
	for _, v := range src["Connection"] {
		for name := range strings.SplitSeq(v, ",") {
			named = append(named, http.CanonicalHeaderKey(strings.TrimSpace(name)))
		}
	}
next:
	for name, values := range src {
		for _, h := range hopByHop {
			if name == h {
				continue next
			}
		}
		for _, h := range named {
			if name == h {
				continue next
			}
		}
		dst[name] = values
	}
}
