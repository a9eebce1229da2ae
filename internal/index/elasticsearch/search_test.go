package elasticsearch

import (
	"bytes"
	"encoding/json"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/elastic/go-elasticsearch/v8/esapi"
	"github.com/stretchr/testify/require"

	"github.com/claudeaudit/claudeaudit/internal/audit"
	"github.com/claudeaudit/claudeaudit/internal/index"
	"github.com/claudeaudit/claudeaudit/internal/index/elasticsearch/estest"
	"github.com/claudeaudit/claudeaudit/internal/index/indextest"
	"github.com/claudeaudit/claudeaudit/internal/index/sqlite"
)

// searchRecords is how many records TestUserBetweenDates searches: 5,000, or as
// CLAUDEAUDIT_INDEX_RECORDS says.
func searchRecords(t *testing.T) int {
	t.Helper()
	text := os.Getenv("CLAUDEAUDIT_INDEX_RECORDS")
	if text == "" {
		return 5000
	}
	n, err := strconv.Atoi(text)
	require.NoError(t, err, "CLAUDEAUDIT_INDEX_RECORDS must be a number")
	return n
}

// All that a user did between two dates is the same in both indices. How long the
// server took for it is printed; with 5 million records that says something.
func TestUserBetweenDates(t *testing.T) {
	server := estest.Shared(t)
	n, prefix := searchRecords(t), server.Prefix(t)
	days := min(90, max(9, n/10_000)) // of few records a quarter would be few on many days
	users := min(benchUsers, n/100)
	ledger := generated{n, time.Duration(days) * 24 * time.Hour / time.Duration(n), users}

	lite, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "audit.db"))
	require.NoError(t, err)
	defer func() { require.NoError(t, lite.Close()) }()
	s := openStore(t, server, prefix, func(o *Options) { o.Refresh = false })
	began := time.Now()
	took := make(chan error, 1)
	go func() { took <- (&index.Follower{Ledger: ledger, Store: lite}).CatchUp(t.Context()) }()
	require.NoError(t, (&index.Follower{Ledger: ledger, Store: s, BatchEntries: 20_000}).CatchUp(t.Context()))
	t.Logf("Elasticsearch took %d records in %v, SQLite beside it", n, time.Since(began).Round(time.Second))
	require.NoError(t, <-took)
	require.NoError(t, s.refresh(t.Context(), []string{s.names.days()}))

	observed := &observed{Transport: server.Client(t)}
	r, err := OpenReader(observed, prefix)
	require.NoError(t, err)
	rnd := rand.New(rand.NewPCG(2, 3))
	for _, span := range []int{max(1, days*7/90), days / 3, days} {
		const questions = 100
		var took []int64
		found := 0
		for range questions {
			from := benchStart.AddDate(0, 0, rnd.IntN(days-span+1))
			q := index.Query{
				User: indextest.User(rnd.IntN(users)), From: from, To: from.AddDate(0, 0, span), Limit: index.MaxLimit,
			}
			observed.took = 0
			got := allRecords(t, r, q)
			took = append(took, observed.took)
			require.Equal(t, allRecords(t, lite, q), got)
			found += len(got)
		}
		require.Positive(t, found)
		slices.Sort(took)
		t.Logf("a user's %d days, %d records on average: the server took p50 %d ms, p95 %d ms, at most %d ms",
			span, found/questions, took[questions/2], took[questions*95/100], took[questions-1])
	}
}

func allRecords(t *testing.T, s index.Searcher, q index.Query) []audit.Record {
	t.Helper()
	var all []audit.Record
	for {
		page, err := s.Search(t.Context(), q)
		require.NoError(t, err)
		all = append(all, page.Records...)
		if page.Next == "" {
			return all
		}
		q.After = page.Next
	}
}

// observed sums up what the server says of the searches it is asked.
type observed struct {
	esapi.Transport
	// profile has it count the documents that it goes through.
	profile bool

	took    int64 // milliseconds
	visited int
}

func (o *observed) Perform(req *http.Request) (*http.Response, error) {
	if !strings.HasSuffix(req.URL.Path, "/_search") {
		return o.Transport.Perform(req)
	}
	if o.profile {
		var body map[string]json.RawMessage
		if err := json.NewDecoder(req.Body).Decode(&body); err != nil {
			return nil, err
		}
		body["profile"] = json.RawMessage("true")
		b, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		req.Body, req.ContentLength = io.NopCloser(bytes.NewReader(b)), int64(len(b))
	}
	resp, err := o.Transport.Perform(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }() // read to its end
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	resp.Body = io.NopCloser(bytes.NewReader(b))
	var answer struct {
		Took    int64 `json:"took"`
		Profile struct {
			Shards []struct {
				Searches []struct {
					Query []struct {
						Breakdown map[string]int `json:"breakdown"`
					} `json:"query"`
				} `json:"searches"`
			} `json:"shards"`
		} `json:"profile"`
	}
	if err := json.Unmarshal(b, &answer); err != nil {
		return nil, err
	}
	o.took += answer.Took
	for _, shard := range answer.Profile.Shards {
		for _, search := range shard.Searches {
			for _, q := range search.Query {
				o.visited += q.Breakdown["next_doc_count"] + q.Breakdown["advance_count"]
			}
		}
	}
	return resp, nil
}
