package indexer

import (
	"context"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/exporter"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/claudeaudit/claudeaudit/internal/sharedcomponent"
)

// Waker is a component around an Indexer.
type Waker interface {
	component.Component
	Wake()
}

// Pipelines makes the ends of an exporter's pipelines, one per signal, over one
// indexer per configured exporter: an index has one writer.
type Pipelines[T Waker] struct {
	shared *sharedcomponent.Map[T]
	create func(exporter.Settings, component.Config) (T, error)
}

// NewPipelines makes the pipelines of a factory; create makes an indexer.
func NewPipelines[T Waker](create func(exporter.Settings, component.Config) (T, error)) *Pipelines[T] {
	return &Pipelines[T]{shared: sharedcomponent.New[T](), create: create}
}

func (p *Pipelines[T]) end(set exporter.Settings, cfg component.Config) (*Pipeline[T], error) {
	c, err := p.shared.LoadOrStore(set.ID, func() (T, error) { return p.create(set, cfg) })
	if err != nil {
		return nil, err
	}
	return &Pipeline[T]{Component: c}, nil
}

// CreateTraces is an exporter.CreateTracesFunc.
func (p *Pipelines[T]) CreateTraces(_ context.Context, set exporter.Settings, cfg component.Config) (exporter.Traces, error) {
	return p.end(set, cfg)
}

// CreateLogs is an exporter.CreateLogsFunc.
func (p *Pipelines[T]) CreateLogs(_ context.Context, set exporter.Settings, cfg component.Config) (exporter.Logs, error) {
	return p.end(set, cfg)
}

// Pipeline is the end of a pipeline. What is delivered is not looked at: it is in
// the ledger already, and read from there. So nothing here can refuse it.
type Pipeline[T Waker] struct {
	*sharedcomponent.Component[T]
}

// Capabilities says that nothing is changed.
func (p *Pipeline[T]) Capabilities() consumer.Capabilities { return consumer.Capabilities{} }

// ConsumeTraces wakes the indexer.
func (p *Pipeline[T]) ConsumeTraces(context.Context, ptrace.Traces) error {
	p.Unwrap().Wake()
	return nil
}

// ConsumeLogs wakes the indexer.
func (p *Pipeline[T]) ConsumeLogs(context.Context, plog.Logs) error {
	p.Unwrap().Wake()
	return nil
}
