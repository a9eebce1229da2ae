package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"go.opentelemetry.io/collector/component"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	tracenoop "go.opentelemetry.io/otel/trace/noop"
	"go.uber.org/zap"

	"github.com/claudeaudit/claudeaudit/internal/index"
	"github.com/claudeaudit/claudeaudit/internal/index/elasticsearch"
	"github.com/claudeaudit/claudeaudit/internal/index/elasticsearch/esclient"
	"github.com/claudeaudit/claudeaudit/internal/index/sqlite"
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
