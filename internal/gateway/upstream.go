package gateway

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Upstream is where a surface is served.
type Upstream struct {
	base      *url.URL
	transport http.RoundTripper
	// credential sets the credential of a request; nil passes the client's on.
	credential func(*http.Request, []byte) error
}

// UpstreamSettings make an Upstream.
type UpstreamSettings struct {
	// Endpoint is the base URL: scheme, host and, where there is one, a path before the API's own.
	Endpoint string
	TLS      *tls.Config
	// APIKey is sent in place of the client's credential, as x-api-key. "" passes the client's on.
	APIKey string
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
	if set.APIKey != "" {
		key := set.APIKey
		u.credential = func(r *http.Request, _ []byte) error {
			r.Header.Del("Authorization")
			r.Header["X-Api-Key"] = []string{key}
			return nil
		}
	}
	return u, nil
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
