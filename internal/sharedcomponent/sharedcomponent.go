// Package sharedcomponent lets the instances that the collector makes of one
// configured component, one per signal and pipeline, be one.
package sharedcomponent

import (
	"context"
	"sync"

	"go.opentelemetry.io/collector/component"
)

// Map holds the shared instances of a factory by component id.
type Map[T component.Component] struct {
	mu   sync.Mutex
	byID map[component.ID]*Component[T]
}

// New makes an empty map; a factory keeps one.
func New[T component.Component]() *Map[T] {
	return &Map[T]{byID: map[component.ID]*Component[T]{}}
}

// LoadOrStore returns the instance of id, made by create when there is none. It
// is forgotten when it is shut down, so that the next collector of the same
// process gets its own.
func (m *Map[T]) LoadOrStore(id component.ID, create func() (T, error)) (*Component[T], error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if c := m.byID[id]; c != nil {
		return c, nil
	}
	inner, err := create()
	if err != nil {
		return nil, err
	}
	c := &Component[T]{inner: inner}
	c.forget = func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.byID[id] == c {
			delete(m.byID, id)
		}
	}
	m.byID[id] = c
	return c, nil
}

// Component starts and stops its inner component once, however often it is told to.
type Component[T component.Component] struct {
	inner    T
	forget   func()
	start    sync.Once
	startErr error
	stop     sync.Once
	stopErr  error
}

// Unwrap is the one instance.
func (c *Component[T]) Unwrap() T { return c.inner }

// Start starts the inner component the first time.
func (c *Component[T]) Start(ctx context.Context, host component.Host) error {
	c.start.Do(func() { c.startErr = c.inner.Start(ctx, host) })
	return c.startErr
}

// Shutdown stops the inner component the first time: the collector stops all
// components of a kind before those that they hand on to.
func (c *Component[T]) Shutdown(ctx context.Context) error {
	c.stop.Do(func() {
		c.forget()
		c.stopErr = c.inner.Shutdown(ctx)
	})
	return c.stopErr
}
