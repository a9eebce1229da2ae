package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/claudeaudit/claudeaudit/internal/index"
	"github.com/claudeaudit/claudeaudit/internal/ledger"
	"github.com/claudeaudit/claudeaudit/internal/usage"
)

// kindUsage is completeness's note of calls that the provider counted and nobody recorded.
const kindUsage = "missing-usage"

// usageReport is what verify shows of a comparison with what the provider counted.
type usageReport struct {
	Files   []string `json:"files"`
	Verdict string   `json:"verdict"` // holds, differs, unchecked
	Why     string   `json:"why,omitempty"`
	// Buckets are the times that were compared, Removed those that were not, because
	// entries of then were removed at the end of their retention.
	Buckets int             `json:"buckets"`
	Removed int             `json:"buckets_removed,omitzero"`
	Missing []*usage.Bucket `json:"missing"`
}

// usageCheck makes the records of a ledger anew, and holds them against a usage report.
type usageCheck struct {
	usage   usage.Report
	records *expectedStore
	batcher index.Batcher
	removed time.Time // before which entries were removed
	report  usageReport
}

func newUsageCheck(ctx context.Context, e evidence, files []string) (_ *usageCheck, err error) {
	c := &usageCheck{report: usageReport{Files: files, Missing: []*usage.Bucket{}}}
	for _, name := range files {
		if err := c.read(name); err != nil {
			return nil, fmt.Errorf("--usage %s: %w", name, err)
		}
	}
	if err := c.usage.Complete(); err != nil {
		return nil, fmt.Errorf("--usage: %w", err)
	}
	if err := c.findRemoved(ctx, e); err != nil {
		return nil, err
	}
	if c.records, err = newExpectedStore(ctx); err != nil {
		return nil, err
	}
	c.batcher.Store = c.records
	if from, _ := c.usage.Span(); !from.IsZero() {
		// What is older is not kept.
		if _, err := c.records.Prune(ctx, from, 1); err != nil {
			return nil, errors.Join(err, c.close())
		}
	}
	return c, nil
}

func (c *usageCheck) read(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(c.usage.Read(f), f.Close())
}

// findRemoved finds until when the streams' removed entries were written.
func (c *usageCheck) findRemoved(ctx context.Context, e evidence) (err error) {
	l, err := e.reader()
	if errors.Is(err, ledger.ErrNoLedger) {
		return nil // the verification says it
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	streams, err := l.Streams()
	if err != nil {
		return err
	}
	for _, s := range streams {
		// A note that can't be read is the verifier's business.
		if first, hour, err := l.First(ctx, s); err == nil && first > 0 && hour.Add(time.Hour).After(c.removed) {
			c.removed = hour.Add(time.Hour)
		}
	}
	return nil
}

// entry takes the next entry of a stream.
func (c *usageCheck) entry(ctx context.Context, stream string, seq uint64, line []byte) error {
	if c.report.Why != "" {
		return nil
	}
	return c.taken(c.batcher.Add(ctx, stream, index.Line{Seq: seq, Leaf: index.LeafHash(line), Data: bytes.Clone(line)}))
}

func (c *usageCheck) taken(err error) error {
	if errors.Is(err, index.ErrDiverged) {
		c.report.Why = err.Error()
		return nil
	}
	return err
}

// finish compares, when all entries were taken.
func (c *usageCheck) finish(ctx context.Context) (*usageReport, error) {
	if c.report.Why == "" {
		if err := c.taken(c.batcher.Flush(ctx)); err != nil {
			return nil, err
		}
	}
	if c.report.Why != "" {
		c.report.Verdict = verdictUnchecked
		return &c.report, nil
	}
	from, to := c.usage.Span()
	q := index.Query{From: from, To: to, Limit: index.MaxLimit, Order: index.OldestFirst}
	for {
		page, err := c.records.Search(ctx, q)
		if err != nil {
			return nil, err
		}
		for i := range page.Records {
			c.usage.Add(&page.Records[i])
		}
		if page.Next == "" {
			break
		}
		q.After = page.Next
	}
	c.report.Verdict = verdictHolds
	for _, b := range c.usage.Buckets {
		if b.Start.Before(c.removed) {
			c.report.Removed++
			continue
		}
		c.report.Buckets++
		if b.Missing() != (usage.Counts{}) {
			c.report.Missing = append(c.report.Missing, b)
			c.report.Verdict = verdictDiffers
		}
	}
	return &c.report, nil
}

func (c *usageCheck) close() error { return c.records.Close() }
