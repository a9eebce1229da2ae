package auditsqliteexporter

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/confmap/confmaptest"

	"github.com/claudeaudit/claudeaudit/exporter/auditsqliteexporter/internal/metadata"
	"github.com/claudeaudit/claudeaudit/internal/readmetest"
)

func TestConfig(t *testing.T) {
	cm, err := confmaptest.LoadConf(filepath.Join("testdata", "config.yaml"))
	require.NoError(t, err)
	load := func(t *testing.T, name string) (*Config, error) {
		sub, err := cm.Sub(component.NewIDWithName(metadata.Type, name).String())
		require.NoError(t, err)
		cfg := NewFactory().CreateDefaultConfig().(*Config)
		if err := sub.Unmarshal(cfg); err != nil {
			return nil, err
		}
		return cfg, confmap.Validate(cfg)
	}
	for name, want := range map[string]Config{
		"": {Path: "./audit-data/index/audit.db", Ledger: "./audit-data/ledger", PollInterval: time.Second, BatchSize: 10_000},
		"all": {
			Path: "/var/lib/audit/index.db", Ledger: "/var/lib/audit/ledger", Admin: "/var/lib/audit/holds", PollInterval: 500 * time.Millisecond,
			BatchSize: 1000, RetentionDays: 400,
		},
	} {
		t.Run("valid "+name, func(t *testing.T) {
			cfg, err := load(t, name)
			require.NoError(t, err)
			require.Equal(t, &want, cfg)
		})
	}
	for name, want := range map[string]string{
		"no_path":        "path: must be the name of a file or a folder",
		"no_ledger":      "ledger: must be the folder of the ledger",
		"poll_short":     "poll_interval: must be between 10ms and 10m",
		"poll_long":      "poll_interval: must be between 10ms and 10m",
		"batch_zero":     "batch_size: must be between 1 and 50000",
		"batch_large":    "batch_size: must be between 1 and 50000",
		"retention":      "retention_days: must be between 0 (keep) and 36500",
		"retention_long": "retention_days: must be between 0 (keep) and 36500",
		"unknown":        "retention",
		"type":           "batch_size",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := load(t, name)
			require.ErrorContains(t, err, want)
		})
	}
	t.Run("all at once", func(t *testing.T) {
		err := (&Config{}).Validate()
		for _, key := range []string{"path:", "ledger:", "poll_interval:", "batch_size:"} {
			require.ErrorContains(t, err, key)
		}
	})
}

func TestFile(t *testing.T) {
	dir := t.TempDir()
	for path, want := range map[string]string{
		dir:                                filepath.Join(dir, "audit.db"),
		filepath.Join(dir, "x.db"):         filepath.Join(dir, "x.db"),
		filepath.Join(dir, "new") + "/":    filepath.Join(dir, "new", "audit.db"),
		filepath.Join(dir, "new", "index"): filepath.Join(dir, "new", "index"),
	} {
		require.Equal(t, want, (&Config{Path: path}).File())
	}
	_, err := os.Stat(filepath.Join(dir, "new"))
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestExamplesOfTheReadmeAreValid(t *testing.T) {
	for _, example := range readmetest.YAML(t, "README.md") {
		readmetest.Configs(t, example, "exporters", NewFactory())
	}
}
