package auditsqliteexporter

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"

	"go.opentelemetry.io/collector/component"
)

const (
	defaultPath   = "./audit-data/index/audit.db"
	defaultLedger = "./audit-data/ledger"

	minPoll      = 10 * time.Millisecond
	maxPoll      = 10 * time.Minute
	maxBatchSize = 50_000
	// maxRetentionDays keeps the age a time.Duration can say.
	maxRetentionDays = 36_500
)

// Config is the configuration of the audit_sqlite exporter.
type Config struct {
	// Path of the database: a file, or a folder for an audit.db in it.
	Path string `mapstructure:"path"`
	// Ledger is the folder of the ledger to follow, the directory of
	// audit_ledger.
	Ledger string `mapstructure:"ledger"`
	// Admin is the data folder of the log of holds and erasures, that says whose
	// fields are erased. "" is the folder "admin" beside the ledger.
	Admin string `mapstructure:"admin"`
	// PollInterval is how often to look for entries that no delivery told of.
	PollInterval time.Duration `mapstructure:"poll_interval"`
	// BatchSize is the most entries that one transaction takes.
	BatchSize int `mapstructure:"batch_size"`
	// RetentionDays is how long records stay in the index; 0 keeps them.
	RetentionDays int `mapstructure:"retention_days"`
}

var _ component.Config = (*Config)(nil)

// Validate tells what is wrong, key by key.
func (c *Config) Validate() error {
	var errs []error
	if c.Path == "" {
		errs = append(errs, errors.New("path: must be the name of a file or a folder"))
	}
	if c.Ledger == "" {
		errs = append(errs, errors.New("ledger: must be the folder of the ledger, the directory of audit_ledger"))
	}
	if c.PollInterval < minPoll || c.PollInterval > maxPoll {
		errs = append(errs, errors.New("poll_interval: must be between 10ms and 10m"))
	}
	if c.BatchSize < 1 || c.BatchSize > maxBatchSize {
		errs = append(errs, errors.New("batch_size: must be between 1 and 50000"))
	}
	if c.RetentionDays < 0 || c.RetentionDays > maxRetentionDays {
		errs = append(errs, errors.New("retention_days: must be between 0 (keep) and 36500"))
	}
	return errors.Join(errs...)
}

// File returns the name of the database file.
func (c *Config) File() string {
	if strings.HasSuffix(c.Path, "/") || strings.HasSuffix(c.Path, string(os.PathSeparator)) {
		return filepath.Join(c.Path, "audit.db")
	}
	if st, err := os.Stat(c.Path); err == nil && st.IsDir() {
		return filepath.Join(c.Path, "audit.db")
	}
	return c.Path
}
