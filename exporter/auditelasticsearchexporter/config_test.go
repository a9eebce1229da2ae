package auditelasticsearchexporter

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/confmap/confmaptest"

	"github.com/claudeaudit/claudeaudit/exporter/auditelasticsearchexporter/internal/metadata"
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
	replicas := 1
	for name, want := range map[string]func(*Config){
		"": func(*Config) {},
		"all": func(c *Config) {
			c.Client.ClientConfig.Endpoint, c.Client.ClientConfig.TLS.CAFile = "https://es.example:9200", "/etc/ca.pem"
			c.Client.APIKey, c.Ledger = "c2VjcmV0", "/var/lib/audit/ledger"
			c.Index = IndexConfig{Prefix: "audit-eu", Replicas: &replicas}
			c.PollInterval, c.BatchSize, c.Concurrency, c.RetentionDays = 500*time.Millisecond, 1000, 8, 400
		},
		"nodes": func(c *Config) {
			c.Client.ClientConfig.Endpoint, c.Client.Endpoints = "", []string{"https://a:9200", "https://b:9200"}
			c.Client.User, c.Client.Password = "writer", "secret"
		},
		"cloud": func(c *Config) {
			c.Client.ClientConfig.Endpoint, c.Client.CloudID, c.Client.APIKey = "", "x:ZXhhbXBsZS5jb20kYSRi", "c2VjcmV0"
		},
	} {
		t.Run("valid "+name, func(t *testing.T) {
			cfg, err := load(t, name)
			require.NoError(t, err)
			wanted := createDefaultConfig().(*Config)
			want(wanted)
			require.Equal(t, wanted, cfg)
			require.NotContains(t, fmt.Sprintf("%+v", cfg), "c2VjcmV0")
			require.NotContains(t, fmt.Sprintf("%+v", cfg), "secret")
		})
	}
	for name, want := range map[string]string{
		"no_endpoint":        "endpoint: must be the URL of an Elasticsearch node",
		"bad_endpoint":       "endpoint: must be a URL such as https://host:9200",
		"password_in_url":    "endpoint: must hold no password",
		"two_places":         "endpoints: must be empty when there is an endpoint",
		"cloud_and_endpoint": "cloud_id: must be empty when there is an endpoint",
		"two_credentials":    "api_key: must be empty when there is a user",
		"half_credentials":   "password: user and password must both be set",
		"compression":        "compression: must be gzip or none",
		"timeout":            "timeout: must not be set",
		"no_ledger":          "ledger: must be the folder of the ledger",
		"prefix":             "index::prefix: must be 1 to 63",
		"replicas":           "index::replicas: must be between 0 and 10",
		"poll":               "poll_interval: must be between 10ms and 10m",
		"batch":              "batch_size: must be between 1 and 50000",
		"concurrency":        "concurrency: must be between 1 and 64",
		"retention":          "retention_days: must be between 0 (keep) and 36500",
		"unknown":            "endpont",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := load(t, name)
			require.ErrorContains(t, err, want)
			require.NotContains(t, err.Error(), "secret")
		})
	}
}

func TestExamplesOfTheReadmeAreValid(t *testing.T) {
	t.Setenv("ELASTICSEARCH_API_KEY", "c2VjcmV0")
	for _, example := range readmetest.YAML(t, "README.md") {
		readmetest.Configs(t, example, "exporters", NewFactory())
	}
}
