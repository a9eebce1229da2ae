package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/collector/component"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	tracenoop "go.opentelemetry.io/otel/trace/noop"
	"go.uber.org/zap"

	"github.com/claudeaudit/claudeaudit/internal/index"
	"github.com/claudeaudit/claudeaudit/internal/index/elasticsearch"
	"github.com/claudeaudit/claudeaudit/internal/index/elasticsearch/esclient"
	"github.com/claudeaudit/claudeaudit/internal/index/sqlite"
	"github.com/claudeaudit/claudeaudit/internal/indexer"
)

// openIndex opens the index, with a hint when there is none.
func openIndex(ctx context.Context, p places) (index.Searcher, error) {
	var r index.Searcher
	var err error
	if p.elastic != nil {
		r, err = openElastic(ctx, p.elastic)
	} else {
		r, err = sqlite.OpenReader(ctx, p.index)
	}
	return r, hint(err)
}

// hint adds to an error what to do about it.
func hint(err error) error {
	switch {
	case errors.Is(err, index.ErrNoIndex):
		return fmt.Errorf("%w: has the collector run with this data folder? An index is made from a ledger by \"claudeaudit reindex\"", err)
	case errors.Is(err, index.ErrCorrupt):
		return fmt.Errorf("%w: it is rebuilt from the ledger by \"claudeaudit reindex\"", err)
	}
	return err
}

// elasticReader is a reader with the client that it uses.
type elasticReader struct {
	*elasticsearch.Reader
	client *esclient.Client
}

func openElastic(ctx context.Context, c *elasticConfig) (*elasticReader, error) {
	client, err := newElasticClient(ctx, c)
	if err != nil {
		return nil, err
	}
	r, err := elasticsearch.OpenReader(client, c.Index.Prefix)
	if err != nil {
		client.Close()
		return nil, err
	}
	return &elasticReader{r, client}, nil
}

// Close implements index.Searcher.
func (r *elasticReader) Close() error {
	err := r.Reader.Close()
	r.client.Close()
	return err
}

// elasticStore is a store with the client that it uses.
type elasticStore struct {
	*elasticsearch.Store
	client *esclient.Client
}

func openElasticStore(ctx context.Context, p places) (*elasticStore, error) {
	client, err := newElasticClient(ctx, p.elastic)
	if err != nil {
		return nil, err
	}
	s, err := elasticsearch.Open(ctx, client, elasticsearch.Options{
		Prefix: p.elastic.Index.Prefix, Replicas: p.elastic.Index.Replicas, KeepTemplate: !p.elastic.Index.ManageTemplate,
		Retention: time.Duration(p.retentionDays) * 24 * time.Hour,
	})
	if err != nil {
		client.Close()
		return nil, err
	}
	return &elasticStore{s, client}, nil
}

// Close implements index.Store.
func (s *elasticStore) Close() error {
	err := s.Store.Close()
	s.client.Close()
	return err
}

// errNotMade says that an index in a file is not there.
var errNotMade = errors.New("there is no index")

// openStore opens the index to change it: errNotMade where there is none, and
// index.ErrLocked where a collector writes it.
func openStore(ctx context.Context, p places) (index.Store, error) {
	if p.elastic != nil {
		s, err := openElasticStore(ctx, p)
		if err != nil {
			return nil, err
		}
		return s, nil
	}
	if _, err := os.Stat(p.index); errors.Is(err, fs.ErrNotExist) {
		return nil, errNotMade
	}
	s, err := sqlite.Open(ctx, p.index)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// readErased reads which events an index has to have in erased form.
func readErased(ctx context.Context, p places) (_ *index.Erased, err error) {
	if p.admin == "" {
		return nil, nil
	}
	l := indexer.OpenErasures(p.admin)
	defer func() { err = errors.Join(err, l.Close()) }()
	return index.ReadErased(ctx, l)
}

// eraseIndex erases in the index what was recorded. Where the collector writes
// the index, it does so, and is waited for.
func (a *app) eraseIndex(ctx context.Context, p places) (err error) {
	s, err := openStore(ctx, p)
	if errors.Is(err, errNotMade) {
		_, err = fmt.Fprintln(a.out, "there is no index to erase the person's fields in")
		return err
	}
	if errors.Is(err, index.ErrLocked) {
		return a.awaitErased(ctx, p)
	}
	if err != nil {
		return fmt.Errorf("erasing in the index: %w", hint(err))
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	l := indexer.OpenErasures(p.admin)
	defer func() { err = errors.Join(err, l.Close()) }()
	if err := (&index.Follower{Store: s, Erasures: l}).Erase(ctx); err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.out, "the person's fields are erased in the index %s\n", printable(p.where()))
	return err
}

// elsewhere are records by which an index that several ledgers share names a
// person, and of which other ledgers tell.
type elsewhere struct {
	records int
	more    bool     // there may be others: it was not looked at all
	streams []string // that tell of them, sorted
}

const (
	// maxElsewhere bounds the records that are looked at, and maxElsewhereStreams the streams that are named.
	maxElsewhere        = 100_000
	maxElsewhereStreams = 100
)

// findElsewhere looks in the index for what ledgers with other streams than own tell
// of a person, whose events in this one were found.
func findElsewhere(ctx context.Context, p places, own []string, user string, found []uuid.UUID) (e elsewhere, err error) {
	r, err := openIndex(ctx, p)
	if errors.Is(err, index.ErrNoIndex) || errors.Is(err, index.ErrCorrupt) || errors.Is(err, index.ErrSchema) {
		return e, nil // nothing is found by it; it is made anew
	}
	if err != nil {
		return e, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	mine := make(map[uuid.UUID]bool, len(found))
	for _, id := range found {
		mine[id] = true
	}
	streams := map[string]bool{}
	q := index.Query{User: user, Kind: index.KindAll, Limit: index.MaxLimit}
	for looked := 0; ; {
		page, err := r.Search(ctx, q)
		if errors.Is(err, index.ErrNoIndex) {
			return e, nil
		}
		if err != nil {
			return e, err
		}
		for i := range page.Records {
			rec := &page.Records[i]
			if mine[rec.EventID] {
				continue
			}
			tellers := []string{rec.Log}
			if slices.Contains(own, rec.Log) {
				// The last entry is this ledger's; it may not be what names the person.
				got, err := r.Get(ctx, rec.EventID)
				if errors.Is(err, index.ErrNotFound) {
					continue
				}
				if err != nil {
					return e, err
				}
				for _, entry := range got.Entries {
					tellers = append(tellers, entry.Stream)
				}
			}
			tellers = slices.DeleteFunc(tellers, func(s string) bool { return slices.Contains(own, s) })
			if len(tellers) == 0 {
				continue // it came since
			}
			e.records++
			for _, s := range tellers {
				if e.more = e.more || len(streams) == maxElsewhereStreams && !streams[s]; len(streams) < maxElsewhereStreams {
					streams[s] = true
				}
			}
		}
		if looked += len(page.Records); page.Next == "" || looked >= maxElsewhere {
			e.more = e.more || page.Next != ""
			e.streams = slices.Sorted(maps.Keys(streams))
			return e, nil
		}
		q.After = page.Next
	}
}

func (e *elsewhere) String() string {
	least := ""
	if e.more {
		least = "at least "
	}
	names := make([]string, len(e.streams))
	for i, s := range e.streams {
		names[i] = printable(s)
	}
	return fmt.Sprintf("%s%d records of the person are in the index by other ledgers, whose streams are %s", least, e.records, strings.Join(names, ", "))
}

// eraseWait is how long the collector is waited for.
const eraseWait = 30 * time.Second

// awaitErased waits until the collector has erased what was recorded.
func (a *app) awaitErased(ctx context.Context, p places) (err error) {
	l := indexer.OpenErasures(p.admin)
	defer func() { err = errors.Join(err, l.Close()) }()
	want, err := index.LastErasures(ctx, l)
	if err != nil {
		return err
	}
	r, err := sqlite.OpenReader(ctx, p.index)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for until := time.Now().Add(eraseWait); ; {
		have, err := r.Erasures(ctx)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(want, func(c index.Cursor) bool { return !slices.Contains(have, c) }) {
			_, err = fmt.Fprintf(a.out, "the collector has erased the person's fields in the index %s\n", printable(p.where()))
			return err
		}
		if time.Now().After(until) {
			return fmt.Errorf("the erasure is recorded, but the collector has not erased the person's fields in the index %s within %s: does its exporter read %s?",
				p.where(), eraseWait, p.admin)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

func newElasticClient(ctx context.Context, c *elasticConfig) (*esclient.Client, error) {
	if c.Client.ClientConfig.Auth.HasValue() {
		return nil, errors.New("audit_elasticsearch: auth: this command has no extensions of the collector; use api_key, or user and password")
	}
	return c.Client.New(ctx, nil, component.TelemetrySettings{
		Logger: zap.NewNop(), TracerProvider: tracenoop.NewTracerProvider(), MeterProvider: metricnoop.NewMeterProvider(),
	})
}

// where names the index for people.
func (p *places) where() string {
	if p.elastic == nil {
		return p.index
	}
	at := p.elastic.Client.CloudID
	if addresses := p.elastic.Client.Addresses(); len(addresses) > 0 {
		at = addresses[0]
	}
	return fmt.Sprintf("%s at %s", p.elastic.Index.Prefix, at)
}

// expectedStore is a store beside, that the expected records are made in.
type expectedStore struct {
	*sqlite.Store
	dir string
}

// newExpectedStore makes one in the folder for temporary files. It takes as much
// space as an index in SQLite does, and is removed by Close.
func newExpectedStore(ctx context.Context) (*expectedStore, error) {
	dir, err := os.MkdirTemp("", "claudeaudit-verify")
	if err != nil {
		return nil, fmt.Errorf("making a folder for the expected records: %w", err)
	}
	s, err := sqlite.Open(ctx, filepath.Join(dir, "expected.db"))
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return &expectedStore{s, dir}, nil
}

// Close closes and removes it.
func (s *expectedStore) Close() error { return errors.Join(s.Store.Close(), os.RemoveAll(s.dir)) }
