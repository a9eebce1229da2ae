package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/claudeaudit/claudeaudit/internal/index/elasticsearch/estest"
	"github.com/claudeaudit/claudeaudit/internal/otlpclient"
)

func TestMain(m *testing.M) { os.Exit(estest.Main(m)) }

// elastic is a collector whose index is in Elasticsearch.
type elastic struct {
	*collector
	prefix string
	// patience is how long a command may take.
	patience time.Duration
}

// newElastic prepares a collector with a file of config/ that has an index in
// Elasticsearch.
func newElastic(t *testing.T, configFile string, url, prefix string, settings map[string]any) *elastic {
	t.Helper()
	c := &elastic{newCollector(t, configFile, settings), prefix, 10 * time.Minute}
	c.env = append(c.env, "ELASTICSEARCH_URL="+url, "CLAUDEAUDIT_INDEX="+prefix)
	return c
}

// cli runs the command with the collector's configuration.
func (c *elastic) cli(args ...string) result {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), c.patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, program(c.t, "claudeaudit"), append(args, "--config", c.configs[0])...)
	cmd.Dir = c.dir
	cmd.Env = append(append(os.Environ(), "NO_COLOR=1", "CLAUDEAUDIT_DATA="+c.data), c.env...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		c.t.Fatalf("claudeaudit %s: %v", strings.Join(args, " "), err)
	}
	return result{stdout: stdout.String(), stderr: stderr.String(), code: cmd.ProcessState.ExitCode()}
}

// awaitCaughtUp waits until the index has what the ledger has and gives its
// records of all kinds.
func (c *elastic) awaitCaughtUp(timeout time.Duration) []record {
	c.t.Helper()
	var records []record
	var got result
	require.Eventually(c.t, func() bool {
		got = c.cli("search", "--kind", "all", "--format", "json", "--limit", "0")
		if got.code != 0 || got.stderr != "" { // there is no index, or it lacks entries
			return false
		}
		// What was written is visible within a second.
		time.Sleep(1500 * time.Millisecond)
		got = c.cli("search", "--kind", "all", "--format", "json", "--limit", "0")
		if got.code != 0 || got.stderr != "" {
			return false
		}
		records = decodeRecords(c.t, got.stdout)
		return true
	}, timeout, 200*time.Millisecond, "the index never caught up with the ledger")
	return records
}

// requireIndexHolds wants verify to find index and ledger equal.
func (c *elastic) requireIndexHolds() {
	c.t.Helper()
	got := c.cli("verify", "--index")
	require.Zero(c.t, got.code, "verify --index: %s", got)
	require.Contains(c.t, got.stdout, "index         holds")
}

// The captures of real clients go in, and both indices give the same answers to
// the same questions; nothing that was said is in Elasticsearch, and no address
// that was to be masked.
func TestElasticsearchAnswersAsSQLite(t *testing.T) {
	server := estest.Shared(t)
	prefix := server.Prefix(t)
	c := newElastic(t, "elasticsearch.yaml", server.URL, prefix, silent)
	c.start()
	captures := expectations(t)
	sendCaptures(t, c.client(), captures, 1)
	records := c.awaitCaughtUp(followTimeout)
	require.NotEmpty(t, records)
	c.stop()
	mustRun(t, "reindex", "--data", c.data)

	// With --data the commands ask SQLite, with --config Elasticsearch.
	questions := [][]string{
		{"search", "--limit", "0", "--format", "json"},
		{"search", "--limit", "0", "--format", "csv", "--kind", "all"},
		{"search", "--limit", "7", "--format", "json"},
		{"search", "--limit", "0", "--format", "json", "--status", "error"},
		{"search", "--limit", "0", "--format", "json", "--classification", "RESTRICTED"},
		{"search", "--limit", "0", "--format", "json", "--flag", "record.incomplete"},
		{"search", "--limit", "0", "--format", "json", "--from", "2020-01-01", "--to", "2100-01-01"},
		{"search", "--limit", "0", "--format", "json", "--from", "1999-01-01", "--to", "2000-01-01"},
	}
	seen := map[string]bool{}
	for _, r := range records {
		for _, f := range []struct{ flag, key string }{{"--user", "user_id"}, {"--session", "session_id"}, {"--application", "application_id"}, {"--model", "model"}} {
			if v := r.text(f.key); v != "" && !seen[f.flag+v] {
				seen[f.flag+v] = true
				questions = append(questions, []string{"search", "--limit", "0", "--format", "json", f.flag + "=" + v})
			}
		}
		if len(questions) > 40 {
			break
		}
	}
	for i, r := range records {
		if i%10 == 0 {
			questions = append(questions, []string{"show", r.text("event_id"), "--entries", "--format", "json"})
		}
	}
	questions = append(questions, []string{"show", "00000000-0000-8000-8000-000000000000"})
	for _, q := range questions {
		want, got := claudeaudit(t, append(q, "--data", c.data)...), c.cli(q...)
		require.True(t, want == got, "%s\nSQLite: %s\nElasticsearch: %s", strings.Join(q, " "), want, got)
	}

	c.requireIndexHolds()
	secrets := contentOf(captures)
	var all struct {
		Hits struct {
			Hits []struct {
				Source json.RawMessage `json:"_source"`
			} `json:"hits"`
		} `json:"hits"`
	}
	server.Do(t, http.MethodGet, "/"+prefix+"*/_search?size=10000", nil, &all)
	require.NotEmpty(t, all.Hits.Hits)
	for _, h := range all.Hits.Hits {
		for text, capture := range secrets {
			require.NotContains(t, string(h.Source), text, "a text of %s", capture)
		}
		var doc struct {
			Address string `json:"ip_address"`
		}
		require.NoError(t, json.Unmarshal(h.Source, &doc))
		if doc.Address != "" {
			require.Regexp(t, `^(\d+\.\d+\.\d+\.0|[0-9a-f:]+::)$`, doc.Address, "an address that is not masked")
		}
	}

	// Somebody changes one document, removes one and adds one.
	victim := records[0].text("event_id")
	server.Do(t, http.MethodPost, "/"+prefix+"-*/_update_by_query?refresh=true",
		`{"query":{"term":{"event_id":"`+victim+`"}},"script":{"source":"ctx._source.user_id='mallory'"}}`, nil)
	server.Do(t, http.MethodPost, "/"+prefix+"-*/_delete_by_query?refresh=true", `{"query":{"term":{"event_id":"`+records[1].text("event_id")+`"}}}`, nil)
	server.Do(t, http.MethodPut, "/"+prefix+"-2026.01.01/_doc/added?refresh=true", `{"user_id":"mallory"}`, nil)
	got := c.cli("verify", "--index", "--format", "json")
	require.Equal(t, 1, got.code, "%s", got)
	var report struct {
		Index struct {
			Verdict  string   `json:"verdict"`
			Problems []string `json:"problems"`
		} `json:"index"`
	}
	require.NoError(t, json.Unmarshal([]byte(got.stdout), &report))
	require.Equal(t, "differs", report.Index.Verdict)
	require.Len(t, report.Index.Problems, 3, "%s", got)
	got = c.cli("reindex", "--repair")
	require.Zero(t, got.code, "%s", got)
	require.Contains(t, got.stdout, "3 differences found, 3 documents repaired")
	time.Sleep(1500 * time.Millisecond)
	c.requireIndexHolds()
	got = c.cli("reindex")
	require.Contains(t, got.stdout, "0 entries taken, 0 differences found, 0 documents repaired", "a second one changes nothing")

	// All of it is lost, and made again.
	var have struct {
		Indices []struct {
			Name string `json:"name"`
		} `json:"indices"`
	}
	server.Do(t, http.MethodGet, "/_resolve/index/"+prefix+"*", nil, &have)
	for _, i := range have.Indices {
		server.Do(t, http.MethodDelete, "/"+i.Name, nil, nil)
	}
	require.Equal(t, 2, c.cli("search").code)
	got = c.cli("reindex")
	require.Zero(t, got.code, "%s", got)
	time.Sleep(1500 * time.Millisecond)
	c.requireIndexHolds()
	q := []string{"search", "--limit", "0", "--format", "csv", "--kind", "all"}
	require.Equal(t, claudeaudit(t, append(q, "--data", c.data)...), c.cli(q...))
}

// elasticRecords is how many calls TestElasticsearchKilled sends: 20,000, or as
// CLAUDEAUDIT_ELASTIC_RECORDS says.
func elasticRecords(t *testing.T) int {
	t.Helper()
	text := os.Getenv("CLAUDEAUDIT_ELASTIC_RECORDS")
	if text == "" {
		return 20_000
	}
	n, err := strconv.Atoi(text)
	require.NoError(t, err, "CLAUDEAUDIT_ELASTIC_RECORDS must be a number")
	return n
}

// Elasticsearch is killed twice, and refuses one write in twenty, while a
// collector takes calls. Every call is acknowledged all the same, and in the end
// every document is what the ledger says.
func TestElasticsearchKilled(t *testing.T) {
	server := estest.Start(t, estest.Options{})
	prefix := server.Prefix(t)
	proxy := estest.NewProxy(t, server)
	proxy.Share.Store(5)
	c := newElastic(t, "elasticsearch.yaml", proxy.URL, prefix, silent)
	c.start()
	client := c.client()
	n := elasticRecords(t)
	c.patience += time.Duration(n) * 2 * time.Millisecond // the commands go through all records
	const perRequest = 100
	began := time.Now()
	kills := 0
	back := make(chan struct{})
	close(back)
	for sent := 0; sent < n; sent += perRequest {
		if kills < 2 && sent >= (kills+1)*n/3 {
			kills++
			<-back
			server.Kill(t)
			back = make(chan struct{})
			go func() {
				defer close(back)
				server.Restart(t)
			}()
		}
		calls := make([]call, perRequest)
		for i := range calls {
			calls[i] = newCall("user"+strconv.Itoa((sent+i)%50), "a question")
		}
		require.NoError(t, client.Send(t.Context(), traces(calls...), otlpclient.GRPC))
	}
	<-back
	step := func(what string, args ...any) {
		t.Logf(what+" after %v", append(args, time.Since(began).Round(time.Second))...)
	}
	step("%d calls acknowledged, with the server killed %d times,", n, kills)
	require.Eventually(t, func() bool {
		got := c.cli("search", "--limit", "1")
		return got.code == 0 && !strings.Contains(got.stderr, "lacks") && !strings.Contains(got.stderr, "can't tell")
	}, c.patience, time.Second, "the index never caught up")
	step("caught up, %d writes refused on the way and %d passed,", proxy.Refused.Load(), proxy.Passed.Load())
	require.Positive(t, proxy.Refused.Load())
	server.Do(t, http.MethodPost, "/"+prefix+"*/_refresh", nil, nil)
	var count struct {
		Count int `json:"count"`
	}
	server.Do(t, http.MethodGet, "/"+prefix+"-*/_count", nil, &count)
	require.Equal(t, n, count.Count)
	c.requireIndexHolds()
	step("verify --index holds")
	got := c.cli("reindex")
	require.Contains(t, got.stdout, "0 entries taken, 0 differences found, 0 documents repaired")
	step("reindex changed nothing")
	c.stop()
	c.verify()
	step("the ledger holds")
}

// What is erased of a person is erased in Elasticsearch too, by the command and by
// a collector that runs; a document that has it again is found and mended.
func TestErasureInElasticsearch(t *testing.T) {
	server := estest.Shared(t)
	c := newElastic(t, "elasticsearch.yaml", server.URL, server.Prefix(t), nil)
	c.start()
	for _, u := range []string{"carol", "carol", "dave"} {
		require.NoError(t, c.client().Send(t.Context(), traces(newCall(u, "a prompt")), otlpclient.HTTPJSON))
	}
	carol := slices.DeleteFunc(c.awaitCaughtUp(followTimeout), func(r record) bool { return r.text("user_id") != "carol" })
	require.Len(t, carol, 2)
	got := c.cli("subject", "erase", "carol", "--basis", "Art. 17 request 4711", "--requester", "dpo@example.org",
		"--approver", "counsel@example.org", "--approver", "cro@example.org", "--certificate", filepath.Join(t.TempDir(), "certificate.txt"))
	require.Zero(t, got.code, "%s", got)
	c.awaitCaughtUp(followTimeout)
	requireErased(t, carol, c.cli)

	day := "/" + c.prefix + "-*"
	server.Do(t, http.MethodPost, day+"/_update_by_query?refresh=true",
		`{"query":{"term":{"event_id":"`+carol[0].text("event_id")+`"}},"script":{"source":"ctx._source.user_id='carol'"}}`, nil)
	got = c.cli("verify", "--index")
	require.Equal(t, 1, got.code, "%s", got)
	require.Contains(t, got.stdout, "is not what the ledger says: user_id")
	require.Zero(t, c.cli("reindex", "--repair").code)
	c.stop()
	server.Do(t, http.MethodPost, day+"/_refresh", "", nil)
	requireErased(t, carol, c.cli)

	// From nothing.
	server.Do(t, http.MethodDelete, "/"+c.prefix+"-"+time.Now().UTC().Format("2006.01.02"), "", nil)
	server.Do(t, http.MethodDelete, "/"+c.prefix+".state", "", nil)
	got = c.cli("reindex")
	require.Zero(t, got.code, "%s", got)
	server.Do(t, http.MethodPost, day+"/_refresh", "", nil)
	requireErased(t, carol, c.cli)
}
