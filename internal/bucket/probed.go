package bucket

import (
	"context"
	"sync"
)

// ProbedStore takes no put before a probe of the store went well.
type ProbedStore struct {
	Store
	report func(Report)

	mu   sync.Mutex
	done bool
}

// Probed wraps a store; report is told once what the probe found.
func Probed(s Store, report func(Report)) *ProbedStore { return &ProbedStore{Store: s, report: report} }

// Probe probes the store, if that was not done yet.
func (p *ProbedStore) Probe(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.done {
		return nil
	}
	r, err := Probe(ctx, p.Store)
	if err != nil {
		return err
	}
	p.done = true
	p.report(r)
	return nil
}

// Put implements Store.
func (p *ProbedStore) Put(ctx context.Context, key string, body []byte, opts PutOptions) error {
	if err := p.Probe(ctx); err != nil {
		return err
	}
	return p.Store.Put(ctx, key, body, opts)
}
