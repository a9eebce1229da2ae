package elasticsearch

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/claudeaudit/claudeaudit/internal/index"
	"github.com/claudeaudit/claudeaudit/internal/index/elasticsearch/estest"
	"github.com/claudeaudit/claudeaudit/internal/index/indextest"
)

func TestMain(m *testing.M) { os.Exit(estest.Main(m)) }

func none() *int { n := 0; return &n }

// openStore opens an index of the test's own.
func openStore(t testing.TB, s *estest.Server, prefix string, change ...func(*Options)) *Store {
	t.Helper()
	o := Options{Prefix: prefix, Replicas: none(), Refresh: true}
	for _, f := range change {
		f(&o)
	}
	st, err := Open(t.Context(), s.Client(t), o)
	require.NoError(t, err)
	return st
}

func TestConformance(t *testing.T) {
	server := estest.Shared(t)
	indextest.Run(t, func(t *testing.T) index.Store {
		return openStore(t, server, server.Prefix(t))
	})
}
