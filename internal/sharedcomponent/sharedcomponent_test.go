package sharedcomponent

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
)

type counter struct{ starts, stops int }

func (c *counter) Start(context.Context, component.Host) error { c.starts++; return nil }
func (c *counter) Shutdown(context.Context) error              { c.stops++; return nil }

func TestOneInstancePerID(t *testing.T) {
	m := New[*counter]()
	made := 0
	create := func() (*counter, error) { made++; return &counter{}, nil }
	id := component.MustNewID("audit_thing")

	traces, err := m.LoadOrStore(id, create)
	require.NoError(t, err)
	logs, err := m.LoadOrStore(id, create)
	require.NoError(t, err)
	require.Same(t, traces, logs)
	other, err := m.LoadOrStore(component.MustNewIDWithName("audit_thing", "b"), create)
	require.NoError(t, err)
	require.NotSame(t, traces, other)
	require.Equal(t, 2, made)

	for _, c := range []*Component[*counter]{traces, logs} {
		require.NoError(t, c.Start(t.Context(), componenttest.NewNopHost()))
	}
	for _, c := range []*Component[*counter]{traces, logs} {
		require.NoError(t, c.Shutdown(t.Context()))
	}
	require.Equal(t, &counter{starts: 1, stops: 1}, traces.Unwrap())

	again, err := m.LoadOrStore(id, create)
	require.NoError(t, err)
	require.NotSame(t, traces, again, "a stopped instance is not used again")
}

func TestCreateFails(t *testing.T) {
	boom := errors.New("boom")
	_, err := New[*counter]().LoadOrStore(component.MustNewID("x"), func() (*counter, error) { return nil, boom })
	require.ErrorIs(t, err, boom)
}
