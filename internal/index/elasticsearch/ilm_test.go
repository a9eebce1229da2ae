package elasticsearch

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	elastic "github.com/elastic/go-elasticsearch/v8"
	"github.com/stretchr/testify/require"

	"github.com/claudeaudit/claudeaudit/internal/index"
	"github.com/claudeaudit/claudeaudit/internal/index/elasticsearch/estest"
	"github.com/claudeaudit/claudeaudit/internal/index/indextest"
)

// ilmStub stands before a real server and adds the two addresses of lifecycle
// management that it lacks. It is a stub: it takes a policy and carries nothing
// out. The setting that names the policy is taken out of what goes on to the
// server, which doesn't know it.
type ilmStub struct {
	target string

	mu       sync.Mutex
	policies map[string]json.RawMessage
	template string
	deleted  []string
}

func (s *ilmStub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("X-Elastic-Product", "Elasticsearch")
	w.Header().Set("Content-Type", "application/json")
	s.mu.Lock()
	defer s.mu.Unlock()
	name, ilm := strings.CutPrefix(r.URL.Path, "/_ilm/policy/")
	switch {
	case ilm && r.Method == http.MethodGet && s.policies[name] == nil:
		w.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(w, `{"error":{"type":"resource_not_found_exception","reason":"Lifecycle policy not found"},"status":404}`)
		return
	case ilm && r.Method == http.MethodGet:
		_, _ = w.Write(s.policies[name])
		return
	case ilm:
		s.policies[name] = body
		_, _ = io.WriteString(w, `{"acknowledged":true}`)
		return
	case strings.HasPrefix(r.URL.Path, "/_index_template/") && r.Method == http.MethodPut:
		s.template = string(body)
		var t map[string]any
		if json.Unmarshal(body, &t) == nil {
			settings := t["template"].(map[string]any)["settings"].(map[string]any)
			delete(settings, "index.lifecycle.name")
			delete(settings, "index.lifecycle.parse_origination_date")
			if body, err = json.Marshal(t); err != nil {
				panic(err)
			}
		}
	case r.Method == http.MethodDelete:
		s.deleted = append(s.deleted, r.URL.Path)
	}
	req, err := http.NewRequestWithContext(r.Context(), r.Method, s.target+r.URL.RequestURI(), strings.NewReader(string(body)))
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if kind := r.Header.Get("Content-Type"); kind != "" {
		req.Header.Set("Content-Type", kind)
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	defer func() { _ = resp.Body.Close() }() // copied to its end
	w.WriteHeader(resp.StatusCode)
	_, _ = io.Copy(w, resp.Body)
}

// Where the cluster has lifecycle management, a policy removes days, by the date
// in the index's name, and the store does not; it only takes no older records
// any more. Where it hasn't, the store removes days itself. This cluster's
// lifecycle management is a stub.
func TestRetention(t *testing.T) {
	server := estest.Shared(t)
	retention := 30 * 24 * time.Hour
	now := indextest.Day.AddDate(0, 0, 40)
	fill := func(s *Store) {
		l := indextest.NewLedger()
		l.Append("a", indextest.Record(1))
		r := indextest.Record(2)
		r.Timestamp = now
		l.Append("a", r)
		require.NoError(t, (&index.Follower{Ledger: l, Store: s}).CatchUp(t.Context()))
	}

	stub := &ilmStub{target: server.URL, policies: map[string]json.RawMessage{}}
	front := httptest.NewServer(stub)
	defer front.Close()
	prefix := server.Prefix(t)
	client, err := elastic.NewBaseClient(elastic.Config{Addresses: []string{front.URL}, DisableRetry: true})
	require.NoError(t, err)
	s, err := Open(t.Context(), client, Options{Prefix: prefix, Replicas: none(), Refresh: true, Retention: retention})
	require.NoError(t, err)
	require.JSONEq(t, `{"policy":{"phases":{"hot":{"min_age":"0ms","actions":{}},"delete":{"min_age":"744h","actions":{"delete":{}}}}}}`, string(stub.policies[prefix]))
	require.Contains(t, stub.template, `"index.lifecycle.name":"`+prefix+`"`)
	require.Contains(t, stub.template, `"index.lifecycle.parse_origination_date":true`)
	fill(s)
	n, err := s.Prune(t.Context(), now.Add(-retention), 100)
	require.NoError(t, err)
	require.Zero(t, n)
	require.Empty(t, stub.deleted)
	st := indextest.NewStream("b")
	applied, err := s.Apply(t.Context(), index.Batch{Stream: "b", Lines: []index.Line{st.Next(indextest.Record(3))}})
	require.NoError(t, err)
	require.Equal(t, 1, applied.Expired)

	own := openStore(t, server, server.Prefix(t), func(o *Options) { o.Retention = retention })
	fill(own)
	n, err = own.Prune(t.Context(), now.Add(-retention), 100)
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.Equal(t, []int{2}, indextest.IDs(t, own, index.Query{}))
}
