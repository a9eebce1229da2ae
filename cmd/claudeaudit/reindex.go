package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/claudeaudit/claudeaudit/internal/index"
	"github.com/claudeaudit/claudeaudit/internal/index/elasticsearch"
	"github.com/claudeaudit/claudeaudit/internal/index/sqlite"
	"github.com/claudeaudit/claudeaudit/internal/indexer"
	"github.com/claudeaudit/claudeaudit/internal/ledger"
)

func (a *app) newReindex() *cobra.Command {
	var o reindexOptions
	cmd := &cobra.Command{
		Use:   "reindex",
		Short: "Rebuild the index from the ledger, or repair it",
		Long: `Rebuild the index from the ledger: the new one is made beside the old, which
answers searches until it is replaced. --repair compares first, and rebuilds only
an index that is not what the ledger says.

The collector must not be running with this index; its audit_sqlite exporter
does the same by itself when the index is missing or of another version.

An index in Elasticsearch (--config) is always repaired, in place: what it has
not taken yet is taken, then every document is compared with the ledger, and what
is missing, different or not the ledger's is written or removed. The collector
may go on. Where collectors with other ledgers write the same index, --elsewhere
names their streams, which are left as they are.

With --config, records older than the exporter's retention_days are left out.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.reindex(cmd.Context(), o) },
	}
	f := cmd.Flags()
	f.BoolVar(&o.repair, "repair", false, "compare first, and change only what is not as the ledger has it")
	f.StringArrayVar(&o.elsewhere, "elsewhere", nil, "`stream` that another ledger has; may be repeated")
	return cmd
}

type reindexOptions struct {
	repair    bool
	elsewhere []string
}

func (a *app) reindex(ctx context.Context, o reindexOptions) (err error) {
	p, l, err := a.where.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	if p.elastic != nil {
		return a.repairElastic(ctx, p, l.Reader, o.elsewhere)
	}
	if len(o.elsewhere) > 0 {
		return errors.New("--elsewhere: is for an index in Elasticsearch")
	}
	if o.repair {
		holds, err := a.holds(ctx, p, l.Reader)
		if err != nil || holds {
			return err
		}
	}
	return a.rebuild(ctx, p, l.Reader)
}

// holds compares an index in SQLite with the ledger. One that can't be read does
// not hold.
func (a *app) holds(ctx context.Context, p places, l *ledger.Reader) (_ bool, err error) {
	r, err := sqlite.OpenReader(ctx, p.index)
	if errors.Is(err, index.ErrNoIndex) || errors.Is(err, index.ErrCorrupt) || errors.Is(err, index.ErrSchema) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	lag, err := behind(ctx, l, r)
	if err != nil || lag > 0 {
		return false, err
	}
	findings := 0
	erased, err := readErased(ctx, p)
	if err != nil {
		return false, err
	}
	c, err := r.NewChecker(ctx, erased, func(sqlite.Finding) { findings++ })
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	streams, err := l.Streams()
	if err != nil {
		return false, err
	}
	for _, s := range streams {
		first, _, err := l.First(ctx, s)
		if err != nil {
			return false, err
		}
		c.Begin(s, first)
	}
	if err := eachEntry(ctx, l, c.Entry); err != nil {
		return false, err
	}
	if err := c.Finish(ctx); err != nil {
		return false, err
	}
	if findings == 0 {
		fmt.Fprintf(a.out, "nothing to repair: %s\n", p.index)
	}
	return findings == 0, nil
}

// eachEntry calls fn for all entries of a ledger.
func eachEntry(ctx context.Context, l *ledger.Reader, fn func(ctx context.Context, stream string, seq uint64, line []byte) error) error {
	return l.All(ctx, func(p ledger.Place, line []byte) error {
		if err := fn(ctx, p.Stream, p.Seq, line); err != nil {
			return fmt.Errorf("reading stream %s: %w", p.Stream, err)
		}
		return nil
	})
}

// repairElastic brings an index in Elasticsearch into the state that the ledger
// says.
func (a *app) repairElastic(ctx context.Context, p places, l *ledger.Reader, elsewhere []string) (err error) {
	began := time.Now()
	s, err := openElasticStore(ctx, p)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if p.retentionDays > 0 {
		if _, err := s.Prune(ctx, began.AddDate(0, 0, -p.retentionDays), 1); err != nil {
			return err
		}
	}
	taken, err := a.catchUp(ctx, p, l, s)
	if err != nil {
		return err
	}
	expected, err := newExpectedStore(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, expected.Close()) }()
	streams, err := l.Streams()
	if err != nil {
		return err
	}
	erased, err := readErased(ctx, p)
	if err != nil {
		return err
	}
	findings := 0
	c, err := s.NewRepair(ctx, elasticsearch.CheckOptions{
		Erased: erased, Expected: expected, Streams: streams, Elsewhere: elsewhere,
		Found: func(f elasticsearch.Finding) {
			if findings++; findings <= maxShown {
				fmt.Fprintln(a.err, printable(f.String()))
			}
		},
	})
	if err != nil {
		return err
	}
	if err := eachEntry(ctx, l, c.Entry); err != nil {
		return err
	}
	if err := c.Finish(ctx); err != nil {
		return err
	}
	if findings > maxShown {
		fmt.Fprintf(a.err, "and %d more\n", findings-maxShown)
	}
	fmt.Fprintf(a.out, "%d entries taken, %d differences found, %d documents repaired in %s: %s\n",
		taken, findings, c.Repaired, time.Since(began).Round(10*time.Millisecond), p.where())
	return nil
}

// catchUp lets a store take what the ledger has, with a progress bar.
func (a *app) catchUp(ctx context.Context, p places, l *ledger.Reader, s index.Store) (entries int, err error) {
	erasures := indexer.OpenErasures(p.admin)
	defer func() { err = errors.Join(err, erasures.Close()) }()
	total, err := index.Lag(ctx, l, s)
	if err != nil {
		return 0, err
	}
	bar := newProgress(a.err, int64(total), "indexing", "entries")
	defer bar.finish()
	unreadable := 0
	f := &index.Follower{
		Ledger: l, Store: s, Erasures: erasures,
		Observe: func(e index.Event) {
			if e.Applied != nil {
				entries += e.Applied.Entries
				unreadable += e.Applied.Unreadable
				bar.add(e.Applied.Entries)
			}
		},
	}
	if err := f.CatchUp(ctx); err != nil {
		return entries, err
	}
	if unreadable > 0 {
		fmt.Fprintf(a.err, "warning: %d entries can't be read as records by this version\n", unreadable)
	}
	return entries, nil
}

// rebuild makes an index in SQLite anew.
func (a *app) rebuild(ctx context.Context, p places, l *ledger.Reader) error {
	if err := os.MkdirAll(filepath.Dir(p.index), 0o700); err != nil {
		return fmt.Errorf("making the index's folder: %w", err)
	}
	began := time.Now()
	entries := 0
	err := sqlite.Rebuild(ctx, p.index, func(s *sqlite.Store) error {
		if p.retentionDays > 0 {
			// Of an empty index nothing is removed, but older records are not taken.
			if _, err := s.Prune(ctx, began.AddDate(0, 0, -p.retentionDays), 1); err != nil {
				return err
			}
		}
		var err error
		entries, err = a.catchUp(ctx, p, l, s)
		return err
	})
	if errors.Is(err, index.ErrLocked) {
		return fmt.Errorf("%w: is the collector running? Stop it first; it also rebuilds a missing index by itself", err)
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(a.out, "%d entries indexed in %s: %s\n", entries, time.Since(began).Round(10*time.Millisecond), p.index)
	return nil
}
