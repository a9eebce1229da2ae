package buckettest

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

// Fault is what a Proxy does to a request.
type Fault string

// Faults. They befall puts, or every request where said so.
const (
	Healthy   Fault = ""
	Status503 Fault = "503"         // every request
	Hang      Fault = "hang"        // every request, until the client gives up
	Drop      Fault = "drop"        // the store takes the put, and the connection ends without an answer
	Corrupt   Fault = "corrupt"     // a byte of the body is changed on its way
	ReadOnly  Fault = "read-only"   // 403 AccessDenied
	Full      Fault = "full"        // 507 InsufficientStorage
	BadAnswer Fault = "bad answer"  // the store takes the put, the answer is no HTTP
	WrongTime Fault = "wrong time"  // the answer says that it is ten minutes earlier
	BadRead   Fault = "corrupt get" // a byte of what is read is changed
)

// Proxy stands between a client and a store and fails on demand.
type Proxy struct {
	URL string

	mu     sync.Mutex
	next   func(*http.Request) Fault
	counts map[Fault]int
}

// NewProxy starts a proxy to an address.
func NewProxy(t testing.TB, target string) *Proxy {
	t.Helper()
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{counts: map[Fault]int{}}
	transport := &http.Transport{DisableKeepAlives: true}
	forward := &httputil.ReverseProxy{
		Transport: transport,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(u)
			// The signature is over the host that the client sees.
			r.Out.Host = r.In.Host
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	}
	done := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { p.serve(w, r, forward, done) }))
	p.URL = srv.URL
	t.Cleanup(func() {
		close(done)
		srv.Close()
	})
	return p
}

// Fail makes every request that a fault befalls fail in that way.
func (p *Proxy) Fail(f Fault) { p.Script(func(*http.Request) Fault { return f }) }

// Script asks fn for each request what becomes of it.
func (p *Proxy) Script(fn func(*http.Request) Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.next = fn
}

// Count is how many requests a fault befell.
func (p *Proxy) Count(f Fault) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.counts[f]
}

func (p *Proxy) fault(r *http.Request) Fault {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.next == nil {
		return Healthy
	}
	f := p.next(r)
	put := r.Method == http.MethodPut || r.Method == http.MethodPost
	switch f {
	case Healthy:
		return f
	case Status503, Hang:
	case BadRead:
		if r.Method != http.MethodGet || len(r.URL.RawQuery) > 0 && !strings.HasPrefix(r.URL.RawQuery, "x-id=GetObject") {
			return Healthy
		}
	default:
		if !put {
			return Healthy
		}
	}
	p.counts[f]++
	return f
}

func (p *Proxy) serve(w http.ResponseWriter, r *http.Request, forward http.Handler, done chan struct{}) {
	answer := func(status int, code string) {
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, `<?xml version="1.0" encoding="UTF-8"?><Error><Code>`+code+`</Code><Message>injected</Message></Error>`)
	}
	switch f := p.fault(r); f {
	case Status503:
		answer(http.StatusServiceUnavailable, "ServiceUnavailable")
	case Hang:
		_, _ = io.Copy(io.Discard, r.Body) // or the end of the connection isn't seen
		select {
		case <-r.Context().Done():
		case <-done:
		}
	case Drop, BadAnswer:
		forward.ServeHTTP(httptest.NewRecorder(), r)
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		if f == BadAnswer {
			_, _ = io.WriteString(conn, "what?\r\n\r\n")
		}
		_ = conn.Close()
	case Corrupt:
		b, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		if len(b) > 0 {
			b[len(b)/2] ^= 1
		}
		r.Body = io.NopCloser(bytes.NewReader(b))
		forward.ServeHTTP(w, r)
	case ReadOnly:
		answer(http.StatusForbidden, "AccessDenied")
	case Full:
		answer(http.StatusInsufficientStorage, "InsufficientStorage")
	case BadRead, WrongTime:
		rec := httptest.NewRecorder()
		forward.ServeHTTP(rec, r)
		for k, v := range rec.Header() {
			w.Header()[k] = v
		}
		if f == WrongTime {
			w.Header().Set("Date", time.Now().Add(-10*time.Minute).UTC().Format(http.TimeFormat))
		}
		w.WriteHeader(rec.Code)
		b := rec.Body.Bytes()
		if f == BadRead && len(b) > 0 {
			b[len(b)/2] ^= 1
		}
		_, _ = w.Write(b)
	default:
		forward.ServeHTTP(w, r)
	}
}
