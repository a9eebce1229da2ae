package elasticsearch

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	elastic "github.com/elastic/go-elasticsearch/v8"
	"github.com/elastic/go-elasticsearch/v8/esutil"
	"github.com/stretchr/testify/require"

	"github.com/claudeaudit/claudeaudit/internal/audit"
	"github.com/claudeaudit/claudeaudit/internal/index"
	"github.com/claudeaudit/claudeaudit/internal/index/elasticsearch/estest"
	"github.com/claudeaudit/claudeaudit/internal/index/indextest"
)

var benchRecords = flag.Int("index.records", 100_000, "records of the benchmark")

const benchUsers = 5000

var benchStart = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// generated is a ledger that makes its entries as they are read.
type generated struct {
	entries int
	step    time.Duration
	users   int
}

func (g generated) Streams() ([]string, error) { return []string{"bench"}, nil }

func (g generated) Size(context.Context, string) (uint64, error) { return uint64(g.entries), nil }

func (g generated) First(context.Context, string) (uint64, time.Time, error) {
	return 0, time.Time{}, nil
}

func (g generated) Entries(_ context.Context, _ string, from uint64, fn func(uint64, []byte) error) error {
	records, st := indextest.NewGenerator(1, g.users, benchStart, g.step), indextest.NewStream("bench")
	st.Forget = true
	for i := range uint64(g.entries) {
		l := st.Next(records.Next())
		if i < from {
			continue
		}
		if err := fn(l.Seq, l.Data); err != nil {
			return err
		}
	}
	return nil
}

// BenchmarkBulk compares taking records from a ledger with what
// esutil.BulkIndexer alone needs to write the same documents, made beforehand,
// to an index of the same template: in turns, in one run.
func BenchmarkBulk(b *testing.B) {
	server := estest.Shared(b)
	n := *benchRecords
	ledger := generated{n, 2 * 24 * time.Hour / time.Duration(n), benchUsers} // two days
	lines := make([][]byte, 0, n)
	require.NoError(b, ledger.Entries(b.Context(), "bench", 0, func(_ uint64, line []byte) error {
		lines = append(lines, bytes.Clone(line))
		return nil
	}))
	type prepared struct {
		index, id string
		doc       []byte
	}
	var docs []prepared
	for i, line := range lines {
		p, err := index.ParseEntry(index.Entry{Stream: "bench", Seq: uint64(i), Line: line})
		require.NoError(b, err)
		d := newDocument(p.Record.EventID, []index.Parsed{p})
		docs = append(docs, prepared{names{"x"}.index(&d), d.event.String(), d.append(nil)})
	}
	client := func() *elastic.Client {
		c, err := elastic.NewClient(elastic.Config{Addresses: []string{server.URL}, CompressRequestBody: true, CompressRequestBodyLevel: 1, PoolCompressor: true})
		require.NoError(b, err)
		return c
	}
	alone := func() time.Duration {
		s := openStore(b, server, server.Prefix(b), func(o *Options) { o.Refresh = false })
		var failed atomic.Int64
		bi, err := esutil.NewBulkIndexer(esutil.BulkIndexerConfig{Client: client(), NumWorkers: DefaultConcurrency, FlushBytes: bulkBytes})
		require.NoError(b, err)
		began := time.Now()
		for _, d := range docs {
			require.NoError(b, bi.Add(b.Context(), esutil.BulkIndexerItem{
				Action: "create", Index: s.names.prefix + d.index[1:], DocumentID: d.id, Body: bytes.NewReader(d.doc),
				OnFailure: func(context.Context, esutil.BulkIndexerItem, esutil.BulkIndexerResponseItem, error) { failed.Add(1) },
			}))
		}
		require.NoError(b, bi.Close(b.Context()))
		took := time.Since(began)
		require.Zero(b, failed.Load())
		return took
	}
	ours := func() time.Duration {
		s := openStore(b, server, server.Prefix(b), func(o *Options) { o.Refresh = false })
		began := time.Now()
		require.NoError(b, (&index.Follower{Ledger: &held{lines}, Store: s}).CatchUp(b.Context()))
		return time.Since(began)
	}
	alone() // the server warms up
	var a, o []time.Duration
	for b.Loop() {
		a = append(a, alone())
		o = append(o, ours())
	}
	slices.Sort(a)
	slices.Sort(o)
	am, om := a[len(a)/2], o[len(o)/2]
	b.ReportMetric(float64(n)/am.Seconds(), "indexer-docs/s")
	b.ReportMetric(float64(n)/om.Seconds(), "docs/s")
	b.ReportMetric(100*am.Seconds()/om.Seconds(), "%-of-indexer")
}

// held is a ledger of one stream in memory.
type held struct{ lines [][]byte }

func (h *held) Streams() ([]string, error) { return []string{"bench"}, nil }

func (h *held) Size(context.Context, string) (uint64, error) { return uint64(len(h.lines)), nil }

func (h *held) First(context.Context, string) (uint64, time.Time, error) {
	return 0, time.Time{}, nil
}

func (h *held) Entries(_ context.Context, _ string, from uint64, fn func(uint64, []byte) error) error {
	for i, l := range h.lines[from:] {
		if err := fn(from+uint64(i), l); err != nil {
			return err
		}
	}
	return nil
}

// BenchmarkJoin measures joining calls that another ledger has told before, by the id
// of the request.
func BenchmarkJoin(b *testing.B) {
	server := estest.Shared(b)
	s := openStore(b, server, server.Prefix(b), func(o *Options) { o.Refresh = false })
	l := indextest.NewLedger()
	tell := func(stream string, first int) {
		for i := range b.N {
			l.Append(stream, indextest.Record(first+i, func(r *audit.Record) { r.ResponseID, r.RequestID = "", fmt.Sprintf("req_%016d", i) }))
		}
		require.NoError(b, (&index.Follower{Ledger: l, Store: s}).CatchUp(b.Context()))
	}
	tell("a", 0)
	b.ResetTimer()
	tell("b", b.N)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "calls/s")
	b.StopTimer()
	require.Len(b, indextest.IDs(b, s, index.Query{Limit: index.MaxLimit}), b.N)
}
