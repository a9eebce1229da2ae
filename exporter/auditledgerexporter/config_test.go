package auditledgerexporter

import (
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/confmap/confmaptest"

	"github.com/claudeaudit/claudeaudit/exporter/auditledgerexporter/internal/metadata"
	"github.com/claudeaudit/claudeaudit/internal/bucket"
	"github.com/claudeaudit/claudeaudit/internal/readmetest"
)

func TestConfig(t *testing.T) {
	cm, err := confmaptest.LoadConf(filepath.Join("testdata", "config.yaml"))
	require.NoError(t, err)
	tests := []struct {
		name string
		want *Config  // nil: it isn't valid
		errs []string // what its error says, each
	}{
		{name: "defaults", want: createDefaultConfig().(*Config)},
		{name: "all", want: &Config{
			Directory: "/var/lib/claudeaudit/ledger",
			Origin:    "claudeaudit/frankfurt-1",
			Timeout:   5 * time.Second,
			Keys: KeysConfig{
				Directory: "/etc/claudeaudit/keys", Generate: false,
				Checkpoint: "/run/secrets/checkpoint.key", Content: "/etc/claudeaudit/content.pub",
				Subjects: bucket.Config{URL: "s3://acme-keys"}, Recovery: "/etc/claudeaudit/recovery.pub",
			},
			Witness: WitnessConfig{
				Files:   []string{"/mnt/witness-a/checkpoints", "/mnt/witness-b/checkpoints"},
				Servers: []WitnessServer{{URL: "https://witness.example.com", PublicKey: "/etc/claudeaudit/witness.pub"}},
			},
			Segment: SegmentConfig{MaxBytes: 1 << 20, MaxEntries: 1000, MaxAge: time.Minute},
			Spool:   SpoolConfig{MaxBytes: 100 << 20, MinFreeBytes: 1 << 30},
			Dedup:   DedupConfig{MaxEntries: 5000, MaxAge: 48 * time.Hour},

			AliveInterval: 2 * time.Minute,
			Store: bucket.Config{
				URL: "s3://evidence/prod", Region: "eu-central-1", Endpoint: "https://minio.example.com:9000", PathStyle: true, CAFile: "/etc/ssl/minio.pem",
				Lock: "governance", Timeout: time.Minute, Profile: "audit", AccessKeyID: "AKIA", SecretAccessKey: "secret", SessionToken: "token",
			},
			ContentStore: bucket.Config{URL: "gs://content", CredentialsFile: "/run/secrets/gcp.json"},
			Retention:    RetentionConfig{File: "/etc/claudeaudit/retention.yaml"},
		}},
		{name: "store_url", want: func() *Config {
			c := createDefaultConfig().(*Config)
			c.Store = bucket.Config{URL: "s3://evidence?region=eu-central-1"}
			c.Retention = RetentionConfig{Class: "sec17a4", Max: "7y"}
			return c
		}()},
		{name: "store_without_retention", errs: []string{"retention::class: must be given for a bucket"}},
		{name: "content_store_alone", errs: []string{"store: must be given with content_store"}},
		{name: "kms", want: func() *Config {
			c := createDefaultConfig().(*Config)
			c.Keys.Checkpoint = "awskms:///arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
			c.Keys.Subjects = bucket.Config{URL: "s3://acme-keys"}
			return c
		}()},
		{name: "kms_wrong", errs: []string{
			"keys::checkpoint: wrong kind of key: Azure Key Vault has no Ed25519 keys", "keys::content: must be the path of the public key",
			"keys::recovery: must be the path of the public key",
		}},
		{name: "recovery_alone", errs: []string{"keys::subjects: must be given with keys::recovery"}},
		{name: "bad_store", errs: []string{"store::url: must be s3://BUCKET/PREFIX", "content_store::lock: must be compliance or governance"}},
		{name: "store_without_url", errs: []string{"store::url: must be s3://BUCKET/PREFIX"}},
		{name: "retention_both", errs: []string{"retention::file: must be without class"}},
		{name: "retention_class", errs: []string{`retention::class: default: class "gobd" is not defined`}},
		{name: "retention_max", errs: []string{`retention::class: default: class "financial" keeps for 7y, longer than max_retention 5y`}},
		{name: "no_directory", errs: []string{"directory: must be the path of a folder"}},
		{name: "timeout", errs: []string{"timeout: must be a positive duration"}},
		{name: "origin", errs: []string{"origin: must be"}},
		{name: "witness", errs: []string{"witness::files[1]: must be the path of a file"}},
		{name: "witness_servers", errs: []string{"witness::servers[0]::url: must be", "witness::servers[0]::public_key: must be"}},
		{name: "segment", errs: []string{
			"segment::max_bytes: must be greater than 0",
			"segment::max_entries: must be greater than 0",
			"segment::max_age: must be a positive duration",
		}},
		{name: "spool", errs: []string{"spool::max_bytes: must be greater than 0", "spool::min_free_bytes: must be greater than 0"}},
		{name: "alive_short", errs: []string{"alive_interval: must be 0, or between 1s and 1h"}},
		{name: "alive_long", errs: []string{"alive_interval: must be 0, or between 1s and 1h"}},
		{name: "dedup", errs: []string{"dedup::max_entries: must be greater than 0", "dedup::max_age: must be a positive duration"}},
		{name: "everything_wrong", errs: []string{"directory: must be", "timeout: must be", "spool::max_bytes: must be"}},
		{name: "unknown", errs: []string{"folder"}},
		{name: "unknown_in_block", errs: []string{"spool", "max_byte"}},
		{name: "wrong_type", errs: []string{"segment", "max_age"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg, err := load(t, cm, component.NewIDWithName(metadata.Type, tt.name).String())
			if tt.want != nil {
				require.NoError(t, err)
				require.Equal(t, tt.want, cfg)
				return
			}
			for _, e := range tt.errs {
				require.ErrorContains(t, err, e)
			}
		})
	}
	require.Len(t, cm.ToStringMap(), len(tests), "each document of testdata/config.yaml has a case")
}

// load reads and validates one component's part of a configuration.
func load(t *testing.T, cm *confmap.Conf, id string) (component.Config, error) {
	t.Helper()
	sub, err := cm.Sub(id)
	require.NoError(t, err)
	cfg := NewFactory().CreateDefaultConfig()
	if err := sub.Unmarshal(cfg); err != nil {
		return nil, err
	}
	return cfg, confmap.Validate(cfg)
}

func TestExamplesOfTheReadmeAreValid(t *testing.T) {
	for _, example := range readmetest.YAML(t, "README.md") {
		readmetest.Configs(t, example, "exporters", NewFactory())
	}
}

func TestReadmeNamesEveryKey(t *testing.T) {
	text := readmetest.Text(t, "README.md")
	var keys func(prefix string, typ reflect.Type)
	keys = func(prefix string, typ reflect.Type) {
		for i := range typ.NumField() {
			f := typ.Field(i)
			key := prefix + f.Tag.Get("mapstructure")
			if f.Type == reflect.TypeFor[bucket.Config]() && key != "store" {
				require.Contains(t, text, "| `"+key+"` |", "the README says that it has the keys of store")
				continue
			}
			if f.Type.Kind() == reflect.Struct {
				keys(key+"::", f.Type)
				continue
			}
			require.Contains(t, text, "| `"+key+"` |", "the README's table of keys has %s", key)
		}
	}
	keys("", reflect.TypeFor[Config]())
}

func TestPathsBesideTheLedger(t *testing.T) {
	c := createDefaultConfig().(*Config)
	c.Directory = "/data/ledger/"
	require.Equal(t, "/data/keys/checkpoint.key", c.checkpointKeyPath())
	require.Equal(t, "/data/keys/content.pub", c.contentKeyPath())
	require.Equal(t, []string{"/data/witness/checkpoints"}, c.witnessFiles())
}
