package estest

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

// Proxy stands before a server and refuses some of the writes of bulk requests, or
// some of these requests, as a server does whose queue or memory is full: those are
// not carried out, and answered with 429.
type Proxy struct {
	URL     string
	Refused atomic.Int64 // writes
	Passed  atomic.Int64 // writes
	// Share of the writes to refuse, and Whole of the requests of writes, in percent.
	Share, Whole atomic.Int64
	// Requests counts all, and Fail is asked before each is handed on and after
	// it was answered whether to break the connection instead. May be nil.
	Requests atomic.Int64
	Fail     func(n int64, answered bool) bool

	target atomic.Pointer[Server]
}

// NewProxy starts a proxy before a server.
func NewProxy(tb testing.TB, s *Server) *Proxy {
	tb.Helper()
	p := &Proxy{}
	p.target.Store(s)
	h := httptest.NewServer(p)
	tb.Cleanup(h.Close)
	p.URL = h.URL
	return p
}

// ServeHTTP implements http.Handler.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n := p.Requests.Add(1)
	if p.Fail != nil && p.Fail(n, false) {
		panic(http.ErrAbortHandler)
	}
	body, err := readBody(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	var refused []bool
	if strings.HasSuffix(r.URL.Path, "/_bulk") {
		if rand.Int64N(100) < p.Whole.Load() {
			p.thin(body, 100)
			writeAnswer(w, http.StatusTooManyRequests, []byte(`{"error":{"type":"circuit_breaking_exception","reason":"refused by a test"},"status":429}`))
			return
		}
		body, refused = p.thin(body, p.Share.Load())
		if len(body) == 0 {
			writeAnswer(w, http.StatusOK, merge(nil, refused))
			return
		}
	}
	req, err := http.NewRequestWithContext(r.Context(), r.Method, p.target.Load().URL+r.URL.RequestURI(), bytes.NewReader(body))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	req.Header = r.Header.Clone()
	for _, k := range []string{"Content-Encoding", "Content-Length", "Accept-Encoding"} {
		req.Header.Del(k)
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		panic(http.ErrAbortHandler) // as the server itself would
	}
	answer, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close() // read to its end
	if err != nil || p.Fail != nil && p.Fail(n, true) {
		panic(http.ErrAbortHandler)
	}
	if refused != nil && resp.StatusCode == http.StatusOK {
		answer = merge(answer, refused)
	}
	for k, v := range resp.Header {
		if k != "Content-Length" {
			w.Header()[k] = v
		}
	}
	writeAnswer(w, resp.StatusCode, answer)
}

func writeAnswer(w http.ResponseWriter, status int, body []byte) {
	w.Header().Set("X-Elastic-Product", "Elasticsearch")
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(body) // the client went away, which it may
}

func readBody(r *http.Request) ([]byte, error) {
	if r.Header.Get("Content-Encoding") != "gzip" {
		return io.ReadAll(r.Body)
	}
	z, err := gzip.NewReader(r.Body)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(z)
}

// thin takes out the writes that are refused, a share in percent.
func (p *Proxy) thin(body []byte, share int64) ([]byte, []bool) {
	lines := bytes.SplitAfter(body, []byte("\n"))
	var out []byte
	var refused []bool
	for i := 0; i < len(lines) && len(bytes.TrimSpace(lines[i])) > 0; {
		n := 2
		if bytes.HasPrefix(lines[i], []byte(`{"delete"`)) {
			n = 1
		}
		refuse := rand.Int64N(100) < share
		refused = append(refused, refuse)
		if refuse {
			p.Refused.Add(1)
		} else {
			p.Passed.Add(1)
			for _, l := range lines[i : i+n] {
				out = append(out, l...)
			}
		}
		i += n
	}
	return out, refused
}

// merge puts the refusals among the server's results.
func merge(answer []byte, refused []bool) []byte {
	var a struct {
		Errors bool              `json:"errors"`
		Items  []json.RawMessage `json:"items"`
	}
	if len(answer) > 0 && json.Unmarshal(answer, &a) != nil {
		return answer
	}
	const refusal = `{"index":{"status":429,"error":{"type":"es_rejected_execution_exception","reason":"rejected by a test"}}}`
	var items []json.RawMessage
	for _, r := range refused {
		switch {
		case r:
			items = append(items, json.RawMessage(refusal))
			a.Errors = true
		case len(a.Items) == 0:
			panic(fmt.Sprintf("the server answered for too few of %d writes", len(refused)))
		default:
			items = append(items, a.Items[0])
			a.Items = a.Items[1:]
		}
	}
	a.Items = items
	b, err := json.Marshal(a)
	if err != nil {
		panic(err) // it was JSON before
	}
	return b
}
