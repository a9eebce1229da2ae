package claudeauditprocessor

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/open-telemetry/opentelemetry-collector-contrib/pkg/golden"
	"github.com/open-telemetry/opentelemetry-collector-contrib/pkg/pdatatest/plogtest"
	"github.com/open-telemetry/opentelemetry-collector-contrib/pkg/pdatatest/ptracetest"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/confmap/confmaptest"
)

var update = flag.Bool("update", false, "write testdata/*/expected.yaml anew")

// TestGolden hands testdata/<case>/input.yaml on, after before.yaml where there
// is one, and compares what comes out with expected.yaml. config.yaml holds the
// keys of the case.
func TestGolden(t *testing.T) {
	cases, err := filepath.Glob(filepath.Join("testdata", "*", "input.yaml"))
	require.NoError(t, err)
	require.NotEmpty(t, cases)
	for _, input := range cases {
		dir := filepath.Dir(input)
		t.Run(filepath.Base(dir), func(t *testing.T) {
			p := start(t, goldenConfig(t, filepath.Join(dir, "config.yaml")))
			before, expected := filepath.Join(dir, "before.yaml"), filepath.Join(dir, "expected.yaml")
			text, err := os.ReadFile(input)
			require.NoError(t, err)
			if bytes.Contains(text, []byte("resourceLogs:")) {
				if _, err := os.Stat(before); err == nil {
					ld, err := golden.ReadLogs(before)
					require.NoError(t, err)
					p.sendLogs(t, ld)
				}
				ld, err := golden.ReadLogs(input)
				require.NoError(t, err)
				got := p.sendLogs(t, ld)
				if *update {
					require.NoError(t, golden.WriteLogsToFile(expected, got))
				}
				want, err := golden.ReadLogs(expected)
				require.NoError(t, err)
				require.NoError(t, plogtest.CompareLogs(want, got))
				return
			}
			if _, err := os.Stat(before); err == nil {
				td, err := golden.ReadTraces(before)
				require.NoError(t, err)
				p.sendTraces(t, td)
			}
			td, err := golden.ReadTraces(input)
			require.NoError(t, err)
			got := p.sendTraces(t, td)
			if *update {
				require.NoError(t, golden.WriteTracesToFile(expected, got))
			}
			want, err := golden.ReadTraces(expected)
			require.NoError(t, err)
			require.NoError(t, ptracetest.CompareTraces(want, got))
		})
	}
}

func goldenConfig(t *testing.T, path string) *Config {
	t.Helper()
	cfg := createDefaultConfig().(*Config)
	if _, err := os.Stat(path); err == nil {
		cm, err := confmaptest.LoadConf(path)
		require.NoError(t, err)
		require.NoError(t, cm.Unmarshal(cfg))
		require.NoError(t, confmap.Validate(cfg))
	}
	return cfg
}
