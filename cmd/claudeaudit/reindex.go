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
	"github.com/claudeaudit/claudeaudit/internal/index/sqlite"
)

func (a *app) newReindex() *cobra.Command {
	return &cobra.Command{
		Use:   "reindex",
		Short: "Rebuild the index from the ledger",
		Long: `Rebuild the index from the ledger: the new one is made beside the old, which
answers searches until it is replaced.

The collector must not be running with this index; its audit_sqlite exporter
does the same by itself when the index is missing or of another version.

With --config, records older than audit_sqlite's retention_days are left out.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.reindex(cmd.Context()) },
	}
}

func (a *app) reindex(ctx context.Context) (err error) {
	p, err := a.where.find(ctx)
	if err != nil {
		return err
	}
	l, err := openLedger(ctx, p.ledger)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	if err := os.MkdirAll(filepath.Dir(p.index), 0o700); err != nil {
		return fmt.Errorf("making the index's folder: %w", err)
	}
	began := time.Now()
	var entries, unreadable int
	err = sqlite.Rebuild(ctx, p.index, func(s *sqlite.Store) error {
		total, err := index.Lag(ctx, l, s)
		if err != nil {
			return err
		}
		bar := newProgress(a.err, int64(total), "indexing", "entries")
		defer bar.finish()
		if p.retentionDays > 0 {
			// Of an empty index nothing is removed, but older records are not taken.
			if _, err := s.Prune(ctx, began.AddDate(0, 0, -p.retentionDays), 1); err != nil {
				return err
			}
		}
		f := &index.Follower{
			Ledger: l, Store: s,
			Observe: func(e index.Event) {
				if e.Applied != nil {
					entries += e.Applied.Entries
					unreadable += e.Applied.Unreadable
					bar.add(e.Applied.Entries)
				}
			},
		}
		return f.CatchUp(ctx)
	})
	if errors.Is(err, index.ErrLocked) {
		return fmt.Errorf("%w: is the collector running? Stop it first; it also rebuilds a missing index by itself", err)
	}
	if err != nil {
		return err
	}
	if unreadable > 0 {
		fmt.Fprintf(a.err, "warning: %d entries can't be read as records by this version\n", unreadable)
	}
	fmt.Fprintf(a.out, "%d entries indexed in %s: %s\n", entries, time.Since(began).Round(10*time.Millisecond), p.index)
	return nil
}
