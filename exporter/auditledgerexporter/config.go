package auditledgerexporter

import (
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"go.opentelemetry.io/collector/component"

	"github.com/claudeaudit/claudeaudit/internal/alive"
	"github.com/claudeaudit/claudeaudit/internal/bucket"
	"github.com/claudeaudit/claudeaudit/internal/kms"
	"github.com/claudeaudit/claudeaudit/internal/ledger"
	"github.com/claudeaudit/claudeaudit/internal/retention"
	"github.com/claudeaudit/claudeaudit/internal/seal"
	"github.com/claudeaudit/claudeaudit/internal/witness"
)

// Config is the configuration of the audit_ledger exporter.
type Config struct {
	// Directory is the ledger's folder: write-ahead files, and the store's objects in store/.
	Directory string `mapstructure:"directory"`
	// Store keeps the sealed objects: a bucket, or a folder. By default store/ in Directory.
	Store bucket.Config `mapstructure:"store"`
	// ContentStore keeps the encrypted content, if not Store.
	ContentStore bucket.Config `mapstructure:"content_store"`
	// LocalCopy keeps a copy of what goes to a bucket, without content, in store/ of Directory: for the index
	// and for readers on this host. Default true.
	LocalCopy bool `mapstructure:"local_copy"`
	// Retention says how long objects are locked; required for a bucket.
	Retention RetentionConfig `mapstructure:"retention"`
	// Keys says where the checkpoint and content keys are.
	Keys KeysConfig `mapstructure:"keys"`
	// Witness is where signed checkpoints go besides the store.
	Witness WitnessConfig `mapstructure:"witness"`
	// Origin is the log's name without its epoch; by default one is made at the first start.
	Origin string `mapstructure:"origin"`
	// Segment says when entries are sealed.
	Segment SegmentConfig `mapstructure:"segment"`
	// Spool bounds what waits to be sealed.
	Spool SpoolConfig `mapstructure:"spool"`
	// Dedup bounds the memory of observations that are not appended again.
	Dedup DedupConfig `mapstructure:"dedup"`
	// AliveInterval is how often an entry says that the ledger is being written. 0 for none; default 1m.
	AliveInterval time.Duration `mapstructure:"alive_interval"`
	// Timeout bounds one request; default 30s.
	Timeout time.Duration `mapstructure:"timeout"`
}

// RetentionConfig says how long objects are locked.
type RetentionConfig struct {
	// File is a policy with classes and rules, see docs/retention.md.
	File string `mapstructure:"file"`
	// Class is the preset for everything, without a file: financial, hipaa, mifid2, sec17a4, ukgdpr.
	Class string `mapstructure:"class"`
	// Max is the longest retention that is allowed, without a file; default 10y.
	Max string `mapstructure:"max"`
}

// policy is nil without retention.
func (c RetentionConfig) policy() (*retention.Policy, error) {
	if c.File != "" {
		p, err := retention.Load(c.File)
		if err != nil {
			return nil, fmt.Errorf("retention::file: %w", err)
		}
		return p, nil
	}
	if c.Class == "" {
		return nil, nil
	}
	p, err := retention.Of(c.Class, c.Max)
	if err != nil {
		return nil, fmt.Errorf("retention::class: %w", err)
	}
	return p, nil
}

// KeysConfig says where the keys are.
type KeysConfig struct {
	// Directory holds checkpoint.key, checkpoint.pub and content.pub; by
	// default the folder keys beside the ledger's.
	Directory string `mapstructure:"directory"`
	// Generate makes the keys at the first start when there are none, the
	// content identity with them. For the embedded use: elsewhere the identity
	// doesn't belong on the collector's machine. Default true.
	Generate bool `mapstructure:"generate"`
	// Checkpoint is the path of the key that signs checkpoints, if not in Directory, or the reference of a key
	// in a key management service, whose public half is checkpoint.pub in Directory. See docs/kms.md.
	Checkpoint string `mapstructure:"checkpoint"`
	// Content is the path of the public key that content is encrypted to, if not in Directory.
	Content string `mapstructure:"content"`
	// Subjects is where a key per subject and day is kept, which content is encrypted to instead, wrapped to
	// Content and to Recovery: a folder or a bucket without lock, from which keys can be deleted. By default
	// content is encrypted to Content itself.
	Subjects bucket.Config `mapstructure:"subjects"`
	// Recovery is the path of a second public key that the subjects' keys are wrapped to, whose identity is offline.
	Recovery string `mapstructure:"recovery"`
}

// WitnessConfig says who else keeps checkpoints.
type WitnessConfig struct {
	// Files are appended to; put them where the collector's host can't rewrite them. By default
	// witness/checkpoints beside the ledger's folder.
	Files []string `mapstructure:"files"`
	// Servers cosign checkpoints, see `claudeaudit witness`.
	Servers []WitnessServer `mapstructure:"servers"`
}

// WitnessServer is a witness on the network.
type WitnessServer struct {
	// URL to which /add-checkpoint is added.
	URL string `mapstructure:"url"`
	// PublicKey is the witness's public key, or the path of a file with it.
	PublicKey string `mapstructure:"public_key"`
}

func (w WitnessServer) verifier() (*witness.Verifier, error) {
	if strings.Contains(w.PublicKey, "+") {
		return witness.ParseVerifier(w.PublicKey)
	}
	return seal.LoadCosignerKey(w.PublicKey)
}

// SegmentConfig says when a segment is closed.
type SegmentConfig struct {
	// MaxBytes of entries; default 8 MiB.
	MaxBytes int `mapstructure:"max_bytes"`
	// MaxEntries; default 16384.
	MaxEntries int `mapstructure:"max_entries"`
	// MaxAge since its first entry; default 10s. It bounds how much of the tail no checkpoint covers.
	MaxAge time.Duration `mapstructure:"max_age"`
}

// SpoolConfig bounds the write-ahead files.
type SpoolConfig struct {
	// MaxBytes of write-ahead files; requests are refused beyond it. Default 1 GiB.
	MaxBytes int64 `mapstructure:"max_bytes"`
	// MinFreeBytes that are left on the disk; requests are refused below it. Default 64 MiB, a tenth of
	// the disk at the most.
	MinFreeBytes int64 `mapstructure:"min_free_bytes"`
}

// DedupConfig bounds the dedup window.
type DedupConfig struct {
	// MaxEntries remembered; default 262144, about 100 bytes each.
	MaxEntries int `mapstructure:"max_entries"`
	// MaxAge remembered; default 24h.
	MaxAge time.Duration `mapstructure:"max_age"`
}

var _ component.Config = (*Config)(nil)

func createDefaultConfig() component.Config {
	return &Config{
		Directory: "./audit-data/ledger",
		LocalCopy: true,
		Keys:      KeysConfig{Generate: true},
		Segment:   SegmentConfig{MaxBytes: 8 << 20, MaxEntries: 16384, MaxAge: 10 * time.Second},
		Spool:     SpoolConfig{MaxBytes: 1 << 30, MinFreeBytes: 64 << 20},
		Dedup:     DedupConfig{MaxEntries: 1 << 18, MaxAge: 24 * time.Hour},
		Timeout:   30 * time.Second,

		AliveInterval: time.Minute,
	}
}

const (
	positive         = "greater than 0"
	positiveDuration = "a positive duration such as "
)

// Validate checks the keys that need no file. It checks those of the blocks
// too, so that each error has its key's whole path.
func (c *Config) Validate() error {
	var errs []error
	for _, b := range []struct {
		key  string
		ok   bool
		must string
	}{
		{"directory", c.Directory != "", "the path of a folder"},
		{"timeout", c.Timeout > 0, positiveDuration + "30s"},
		{"segment::max_bytes", c.Segment.MaxBytes > 0, positive},
		{"segment::max_entries", c.Segment.MaxEntries > 0, positive},
		{"segment::max_age", c.Segment.MaxAge > 0, positiveDuration + "10s"},
		{"spool::max_bytes", c.Spool.MaxBytes > 0, positive},
		{"spool::min_free_bytes", c.Spool.MinFreeBytes > 0, positive},
		{"dedup::max_entries", c.Dedup.MaxEntries > 0, positive},
		{
			"alive_interval", c.AliveInterval == 0 || c.AliveInterval >= alive.MinInterval && c.AliveInterval <= alive.MaxInterval,
			"0, or between 1s and 1h",
		},
		{"dedup::max_age", c.Dedup.MaxAge > 0, positiveDuration + "24h"},
	} {
		if !b.ok {
			errs = append(errs, fmt.Errorf("%s: must be %s", b.key, b.must))
		}
	}
	if c.Origin != "" {
		if err := ledger.CheckOrigin(c.Origin); err != nil {
			errs = append(errs, fmt.Errorf("origin: must be a name such as claudeaudit/frankfurt-1: %w", err))
		}
	}
	for i, f := range c.Witness.Files {
		if f == "" {
			errs = append(errs, fmt.Errorf("witness::files[%d]: must be the path of a file", i))
		}
	}
	for i, s := range c.Witness.Servers {
		if u, err := url.Parse(s.URL); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil {
			errs = append(errs, fmt.Errorf("witness::servers[%d]::url: must be such as https://witness.example.com", i))
		}
		if s.PublicKey == "" {
			errs = append(errs, fmt.Errorf("witness::servers[%d]::public_key: must be the witness's public key or a file with it", i))
		}
	}
	for _, b := range []struct {
		key string
		c   bucket.Config
	}{{"store", c.Store}, {"content_store", c.ContentStore}, {"keys::subjects", c.Keys.Subjects}} {
		if b.c == (bucket.Config{}) {
			continue
		}
		if err := b.c.Check(); err != nil {
			errs = append(errs, fmt.Errorf("%s::%w", b.key, err))
		}
	}
	if kms.IsReference(c.Keys.Checkpoint) {
		if err := kms.Check(c.Keys.Checkpoint, kms.Signing); err != nil {
			errs = append(errs, fmt.Errorf("keys::checkpoint: %w", err))
		}
	}
	for key, path := range map[string]string{"content": c.Keys.Content, "recovery": c.Keys.Recovery} {
		if kms.IsReference(path) {
			errs = append(errs, fmt.Errorf("keys::%s: must be the path of the public key that `claudeaudit keygen --kms` writes: who encrypts needs no right in the service", key))
		}
	}
	if c.Keys.Recovery != "" && c.Keys.Subjects.URL == "" {
		errs = append(errs, errors.New("keys::subjects: must be given with keys::recovery"))
	}
	if c.ContentStore.URL != "" && c.Store.URL == "" {
		errs = append(errs, errors.New("store: must be given with content_store"))
	}
	switch {
	case c.Retention.File != "" && (c.Retention.Class != "" || c.Retention.Max != ""):
		errs = append(errs, errors.New("retention::file: must be without class and max, which the file has"))
	case c.Retention.File == "" && c.Retention.Class == "" && (c.Store.Remote() || c.ContentStore.Remote()):
		errs = append(errs, errors.New("retention::class: must be given for a bucket, or retention::file: what is locked can't be deleted before"))
	case c.Retention.Class == "" && c.Retention.Max != "":
		errs = append(errs, errors.New("retention::class: must be given with max"))
	case c.Retention.Class != "":
		if _, err := c.Retention.policy(); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// beside is a path beside the ledger's folder.
func (c *Config) beside(elem ...string) string {
	return filepath.Join(append([]string{filepath.Dir(filepath.Clean(c.Directory))}, elem...)...)
}

func (c *Config) keysDir() string {
	if c.Keys.Directory != "" {
		return c.Keys.Directory
	}
	return c.beside("keys")
}

func (c *Config) checkpointKeyPath() string {
	if c.Keys.Checkpoint != "" {
		return c.Keys.Checkpoint
	}
	return filepath.Join(c.keysDir(), "checkpoint.key")
}

func (c *Config) contentKeyPath() string {
	if c.Keys.Content != "" {
		return c.Keys.Content
	}
	return filepath.Join(c.keysDir(), "content.pub")
}

func (c *Config) witnessFiles() []string {
	if len(c.Witness.Files) > 0 {
		return c.Witness.Files
	}
	return []string{c.beside("witness", "checkpoints")}
}
