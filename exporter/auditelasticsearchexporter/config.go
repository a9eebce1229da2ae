package auditelasticsearchexporter

import (
	"errors"
	"fmt"
	"time"

	"go.opentelemetry.io/collector/component"

	"github.com/claudeaudit/claudeaudit/internal/index/elasticsearch"
	"github.com/claudeaudit/claudeaudit/internal/index/elasticsearch/esclient"
)

const (
	defaultEndpoint = "http://127.0.0.1:9200"
	defaultLedger   = "./audit-data/ledger"

	minPoll        = 10 * time.Millisecond
	maxPoll        = 10 * time.Minute
	maxBatchSize   = 50_000
	maxConcurrency = 64
	maxReplicas    = 10
	// maxRetentionDays keeps the age a time.Duration can say.
	maxRetentionDays = 36_500
)

// Config is the configuration of the audit_elasticsearch exporter.
type Config struct {
	// Client says where the cluster is and how to be let in.
	Client esclient.Config `mapstructure:",squash"`
	// Ledger is the folder of the ledger to follow, the directory of
	// audit_ledger.
	Ledger string `mapstructure:"ledger"`
	// Admin is the data folder of the log of holds and erasures, that says whose
	// fields are erased. "" is the folder "admin" beside the ledger.
	Admin string `mapstructure:"admin"`
	// Index says what the indices are called and who makes their template.
	Index IndexConfig `mapstructure:"index"`
	// PollInterval is how often to look for entries that no delivery told of.
	PollInterval time.Duration `mapstructure:"poll_interval"`
	// BatchSize is the most entries between two positions of the cursor.
	BatchSize int `mapstructure:"batch_size"`
	// Concurrency is how many requests write at once.
	Concurrency int `mapstructure:"concurrency"`
	// RetentionDays is how long records stay in the index; 0 keeps them.
	RetentionDays int `mapstructure:"retention_days"`
}

// IndexConfig configures the indices.
type IndexConfig struct {
	// Prefix begins the names of the indices.
	Prefix string `mapstructure:"prefix"`
	// Replicas of each index; nil leaves that to the cluster.
	Replicas *int `mapstructure:"replicas"`
	// ManageTemplate installs and updates index template and lifecycle policy.
	ManageTemplate bool `mapstructure:"manage_template"`
}

var _ component.Config = (*Config)(nil)

// Validate tells what is wrong, key by key.
func (c *Config) Validate() error {
	var errs []error
	if c.Ledger == "" {
		errs = append(errs, errors.New("ledger: must be the folder of the ledger, the directory of audit_ledger"))
	}
	if err := elasticsearch.CheckPrefix(c.Index.Prefix); err != nil {
		errs = append(errs, fmt.Errorf("index::prefix: %w", err))
	}
	if r := c.Index.Replicas; r != nil && (*r < 0 || *r > maxReplicas) {
		errs = append(errs, errors.New("index::replicas: must be between 0 and 10"))
	}
	if c.PollInterval < minPoll || c.PollInterval > maxPoll {
		errs = append(errs, errors.New("poll_interval: must be between 10ms and 10m"))
	}
	if c.BatchSize < 1 || c.BatchSize > maxBatchSize {
		errs = append(errs, errors.New("batch_size: must be between 1 and 50000"))
	}
	if c.Concurrency < 1 || c.Concurrency > maxConcurrency {
		errs = append(errs, errors.New("concurrency: must be between 1 and 64"))
	}
	if c.RetentionDays < 0 || c.RetentionDays > maxRetentionDays {
		errs = append(errs, errors.New("retention_days: must be between 0 (keep) and 36500"))
	}
	return errors.Join(errs...)
}
