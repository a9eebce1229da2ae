package sqlite

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/claudeaudit/claudeaudit/internal/cputime"
	"github.com/claudeaudit/claudeaudit/internal/index"
	"github.com/claudeaudit/claudeaudit/internal/index/indextest"
)

var (
	benchRecords = flag.Int("index.records", 1_000_000, "records of the search benchmark")
	benchKeep    = flag.String("index.keep", "", "keep the search benchmark's database in this folder and use it again")
)

const benchUsers = 5000

var benchStart = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// fill applies n generated records and returns the time spent in Apply, and the CPU
// time of the goroutine that called it, which reads a part of the lines and does all that SQLite does.
func fill(tb testing.TB, s *Store, n int, step time.Duration) (spent, cpu time.Duration) {
	tb.Helper()
	g := indextest.NewGenerator(1, benchUsers, benchStart, step)
	st := indextest.NewStream("bench")
	st.Forget = true
	for done := 0; done < n; {
		b := index.Batch{Stream: "bench"}
		for len(b.Lines) < min(index.DefaultBatchEntries, n-done) {
			b.Lines = append(b.Lines, st.Next(g.Next()))
		}
		t := time.Now()
		cpu += cputime.Of(1, func() {
			_, err := s.Apply(tb.Context(), b)
			require.NoError(tb, err)
		})
		spent += time.Since(t)
		done += len(b.Lines)
		if done%1_000_000 == 0 {
			tb.Logf("%d records, %.0f/s so far", done, float64(done)/spent.Seconds())
		}
	}
	return spent, cpu
}

// BenchmarkApply measures taking new records, in batches: where there is one stream,
// and beside another, where twins are looked for.
func BenchmarkApply(b *testing.B) {
	for _, beside := range []bool{false, true} {
		b.Run(map[bool]string{false: "alone", true: "beside another stream"}[beside], func(b *testing.B) {
			s, err := Open(b.Context(), filepath.Join(b.TempDir(), "audit.db"))
			require.NoError(b, err)
			defer func() { require.NoError(b, s.Close()) }()
			if beside {
				l := indextest.NewLedger()
				l.Append("another", indextest.Record(1))
				indextest.Apply(b, s, l)
			}
			b.ResetTimer()
			spent, cpu := fill(b, s, b.N, time.Second)
			b.ReportMetric(float64(b.N)/spent.Seconds(), "records/s")
			b.ReportMetric(float64(cpu.Nanoseconds())/float64(b.N), "cpu-ns/record")
		})
	}
}

// BenchmarkSearch measures "everything a user did between two dates" and
// other queries over a year of records.
func BenchmarkSearch(b *testing.B) {
	dir := *benchKeep
	if dir == "" {
		dir = b.TempDir()
	}
	path := filepath.Join(dir, fmt.Sprintf("audit-%d.db", *benchRecords))
	step := 365 * 24 * time.Hour / time.Duration(*benchRecords)
	_, statErr := os.Stat(path)
	s, err := Open(b.Context(), path)
	require.NoError(b, err)
	if statErr != nil {
		spent, _ := fill(b, s, *benchRecords, step)
		b.Logf("%d records taken at %.0f/s", *benchRecords, float64(*benchRecords)/spent.Seconds())
	}
	require.NoError(b, s.Close())
	r, err := OpenReader(b.Context(), path)
	require.NoError(b, err)
	defer func() { require.NoError(b, r.Close()) }()

	days := func(n int) time.Duration { return time.Duration(n) * 24 * time.Hour }
	for _, tt := range []struct {
		name  string
		query func(rnd *rand.Rand, from time.Time) index.Query
	}{
		{"user_month", func(rnd *rand.Rand, from time.Time) index.Query {
			return index.Query{User: indextest.User(rnd.IntN(benchUsers)), From: from, To: from.Add(days(30))}
		}},
		{"user_flag_year", func(rnd *rand.Rand, _ time.Time) index.Query {
			return index.Query{User: indextest.User(rnd.IntN(benchUsers)), Flag: "pii.email"}
		}},
		{"flag_day", func(_ *rand.Rand, from time.Time) index.Query {
			return index.Query{Flag: "pii.email", From: from, To: from.Add(days(1))}
		}},
		{"application_classification_week", func(rnd *rand.Rand, from time.Time) index.Query {
			return index.Query{Application: fmt.Sprintf("app-%02d", rnd.IntN(40)), Classification: "RESTRICTED", From: from, To: from.Add(days(7))}
		}},
		{"status_day", func(_ *rand.Rand, from time.Time) index.Query {
			return index.Query{Status: "error", From: from, To: from.Add(days(1))}
		}},
	} {
		b.Run(tt.name, func(b *testing.B) {
			rnd := rand.New(rand.NewPCG(2, 3))
			var took []time.Duration
			found := 0
			for b.Loop() {
				q := tt.query(rnd, benchStart.Add(days(rnd.IntN(330))))
				t := time.Now()
				page, err := r.Search(b.Context(), q)
				took = append(took, time.Since(t))
				require.NoError(b, err)
				found += len(page.Records)
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)*50/100].Microseconds())/1000, "p50-ms")
			b.ReportMetric(float64(took[len(took)*95/100].Microseconds())/1000, "p95-ms")
			b.ReportMetric(float64(found)/float64(len(took)), "records/query")
		})
	}
}

// BenchmarkPack measures the compression of a line.
func BenchmarkPack(b *testing.B) {
	g, st := indextest.NewGenerator(1, benchUsers, benchStart, time.Second), indextest.NewStream("claudeaudit/5e1f0a9c33b7d264/1")
	var raw, packed int
	for b.Loop() {
		l := st.Next(g.Next())
		raw += len(l.Data)
		packed += len(pack(l.Data))
	}
	b.ReportMetric(float64(packed)/float64(raw), "ratio")
	b.ReportMetric(float64(raw)/float64(b.N), "bytes/line")
}
