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

	"github.com/claudeaudit/claudeaudit/internal/audit"
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
// in the index's name, and the store only those that it left; it takes no older
// records any more. Where it hasn't, the store removes days itself. This cluster's
// lifecycle management is a stub.
func TestRetention(t *testing.T) {
	server := estest.Shared(t)
	retention := 30 * 24 * time.Hour
	fill := func(s *Store) {
		l := indextest.NewLedger()
		for i := range 6 { // days 0 to 5
			l.Append("a", indextest.Record(i, response("twins"), func(r *audit.Record) { r.Timestamp = indextest.Day.AddDate(0, 0, i) }))
		}
		l.Append("b", indextest.Record(6, response("twins")))
		require.NoError(t, (&index.Follower{Ledger: l, Store: s}).CatchUp(t.Context()))
		require.Len(t, parkedEvents(t, s), 1)
	}
	now := indextest.Day.AddDate(0, 0, 34).Add(time.Hour) // day 4 is the first that retention keeps

	stub := &ilmStub{target: server.URL, policies: map[string]json.RawMessage{}}
	front := httptest.NewServer(stub)
	defer front.Close()
	prefix := server.Prefix(t)
	client, err := elastic.NewBaseClient(elastic.Config{Addresses: []string{front.URL}, DisableRetry: true})
	require.NoError(t, err)
	s, err := Open(t.Context(), client, Options{Prefix: prefix, Replicas: none(), Refresh: true, Retention: retention})
	require.NoError(t, err)
	fill(s)
	n, err := s.Prune(t.Context(), now.Add(-retention), 100)
	require.NoError(t, err)
	require.Equal(t, 2, n)
	require.Equal(t, []string{"/" + prefix + "-2026.11.24", "/" + prefix + "-2026.11.25"}, stub.deleted, "days that the lifecycle management left")
	require.Empty(t, parkedEvents(t, s), "it knows nothing of these")
	st := indextest.NewStream("c")
	applied, err := s.Apply(t.Context(), index.Batch{Stream: "c", Lines: []index.Line{st.Next(indextest.Record(3))}})
	require.NoError(t, err)
	require.Equal(t, 1, applied.Expired)

	own := openStore(t, server, server.Prefix(t), func(o *Options) { o.Retention = retention })
	fill(own)
	n, err = own.Prune(t.Context(), now.Add(-retention), 100)
	require.NoError(t, err)
	require.Equal(t, 4, n)
	require.Equal(t, []int{5, 4}, indextest.IDs(t, own, index.Query{}))
	require.Empty(t, parkedEvents(t, own))
}

func response(id string) func(*audit.Record) {
	return func(r *audit.Record) { r.ResponseID = id }
}

func parkedEvents(t *testing.T, s *Store) []hit {
	t.Helper()
	a, err := s.search(t.Context(), []string{s.names.parked()}, map[string]any{})
	require.NoError(t, err)
	return a.Hits.Hits
}

// exchange is a request that is expected, with its answer.
type exchange struct {
	method, path, body string
	status             int
	answer             string
}

// script answers the requests that are expected, in their order.
type script struct {
	t    *testing.T
	left []exchange
}

func (s *script) Perform(r *http.Request) (*http.Response, error) {
	require.NotEmpty(s.t, s.left, "%s %s: one request too many", r.Method, r.URL)
	want := s.left[0]
	s.left = s.left[1:]
	require.Equal(s.t, want.method+" "+want.path, r.Method+" "+r.URL.RequestURI())
	if want.body != "" {
		require.Equal(s.t, "application/json", r.Header.Get("Content-Type"))
		body, err := io.ReadAll(r.Body)
		require.NoError(s.t, err)
		require.JSONEq(s.t, want.body, string(body))
	} else {
		require.Nil(s.t, r.Body)
	}
	return &http.Response{StatusCode: want.status, Body: io.NopCloser(strings.NewReader(want.answer))}, nil
}

// What is asked of a cluster to have the index in place, as its API documents it:
// the policy before the template that names it, and both before any index.
func TestInstalling(t *testing.T) {
	const (
		unknown = `{"error":{"type":"resource_not_found_exception","reason":"not found"},"status":404}`
		done    = `{"acknowledged":true}`
		policy  = `{"policy":{"phases":{"hot":{"min_age":"0ms","actions":{}},"delete":{"min_age":"9624h","actions":{"delete":{}}}}}}`
		there   = `{"acme":{"version":1,"policy":{"phases":{}}}}`
	)
	template := func(settings map[string]any) string {
		var tpl map[string]any
		require.NoError(t, json.Unmarshal(Template(), &tpl))
		for k, v := range settings {
			tpl["settings"].(map[string]any)[k] = v
		}
		b, err := json.Marshal(map[string]any{
			"index_patterns": []string{"acme-*"}, "priority": 500, "version": 2, "template": tpl, "_meta": map[string]any{"managed_by": "claudeaudit"},
		})
		require.NoError(t, err)
		return string(b)
	}
	managed := map[string]any{"index.lifecycle.name": "acme", "index.lifecycle.parse_origination_date": true}
	templates := `{"index_templates":[{"name":"acme","index_template":{"version":2}}]}`
	year := 400 * 24 * time.Hour
	for name, tt := range map[string]struct {
		options Options
		want    []exchange
		ilm     bool
	}{
		"a new cluster with lifecycle management": {
			options: Options{Retention: year}, ilm: true,
			want: []exchange{
				{"GET", "/_index_template/acme", "", 404, unknown},
				{"GET", "/_ilm/policy/acme", "", 404, unknown},
				{"PUT", "/_ilm/policy/acme", policy, 200, done},
				{"PUT", "/_index_template/acme", template(managed), 200, done},
			},
		},
		"one that has all": {
			options: Options{Retention: year}, ilm: true,
			want: []exchange{
				{"GET", "/_index_template/acme", "", 200, templates},
				{"GET", "/_ilm/policy/acme", "", 200, there},
				{"PUT", "/_ilm/policy/acme", policy, 200, done},
				{"PUT", "/_index_template/acme", template(managed), 200, done},
			},
		},
		"one without lifecycle management": {
			options: Options{Retention: year},
			want: []exchange{
				{"GET", "/_index_template/acme", "", 404, unknown},
				{"GET", "/_ilm/policy/acme", "", 400, `{"error":"no handler found for uri [/_ilm/policy/acme] and method [GET]"}`},
				{"PUT", "/_index_template/acme", template(nil), 200, done},
			},
		},
		"no retention": {
			options: Options{Replicas: none()},
			want: []exchange{
				{"GET", "/_index_template/acme", "", 404, unknown},
				{"PUT", "/_index_template/acme", template(map[string]any{"index.number_of_replicas": 0}), 200, done},
			},
		},
		"somebody else's template": {
			options: Options{Retention: year, KeepTemplate: true},
			want:    []exchange{{"GET", "/_index_template/acme", "", 200, templates}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := &script{t: t, left: tt.want}
			for _, index := range []string{"acme.dead-letter", "acme.state", "acme.twins"} {
				s.left = append(s.left,
					exchange{"HEAD", "/" + index, "", 200, ""},
					exchange{"GET", "/" + index + "/_mapping", "", 200, `{"` + index + `":{"mappings":{"_meta":{"schema":2}}}}`})
			}
			tt.options.Prefix = "acme"
			st, err := Open(t.Context(), s, tt.options)
			require.NoError(t, err)
			require.Empty(t, s.left)
			require.Equal(t, tt.ilm, st.ilm)
		})
	}
}
