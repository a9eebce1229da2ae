package claudeauditprocessor

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/config/configopaque"
	"go.opentelemetry.io/collector/config/configoptional"

	"github.com/claudeaudit/claudeaudit/internal/audit"
	"github.com/claudeaudit/claudeaudit/internal/detect"
	"github.com/claudeaudit/claudeaudit/internal/dlp"
	"github.com/claudeaudit/claudeaudit/internal/genai"
	"github.com/claudeaudit/claudeaudit/internal/identity"
	"github.com/claudeaudit/claudeaudit/internal/pseudonym"
)

// ContentMode says what becomes of prompts and responses.
type ContentMode string

// Content modes.
const (
	// ContentKeep leaves the content on the span or log record, in canonical
	// form, for the ledger to encrypt.
	ContentKeep ContentMode = "keep"
	// ContentDrop removes it. Hashes and completeness stay.
	ContentDrop ContentMode = "drop"
)

// Models says whose calls become records.
type Models string

// Models.
const (
	// ModelsAll makes records of every model call: a name behind a gateway need
	// not say that it is Claude.
	ModelsAll Models = "all"
	// ModelsClaude makes records of calls whose model is Claude or not told.
	ModelsClaude Models = "claude"
)

// Pseudonymize says how user ids reach the record.
type Pseudonymize string

// Ways to pseudonymise.
const (
	PseudonymizeNone Pseudonymize = "none"
	PseudonymizeHMAC Pseudonymize = "hmac"
)

// Config is the configuration of the claude_audit processor.
type Config struct {
	// Content is keep (default) or drop.
	Content ContentMode `mapstructure:"content"`
	// Models is all (default) or claude.
	Models Models `mapstructure:"models"`
	// UserID says how the user's id reaches the record.
	UserID UserIDConfig `mapstructure:"user_id"`
	// IPAddress says how the caller's address reaches the record.
	IPAddress IPAddressConfig `mapstructure:"ip_address"`
	// Classification gives each record its data class.
	Classification ClassificationConfig `mapstructure:"classification"`
	// Detection looks for sensitive data and attacks in the content.
	Detection DetectionConfig `mapstructure:"detection"`
	// Policies are the company's own flags.
	Policies []PolicyConfig `mapstructure:"policies"`
	// IdentityWindow bounds what is remembered to join tellings of one call.
	IdentityWindow WindowConfig `mapstructure:"identity_window"`
	// Limits bound what is read of one span or log record.
	Limits LimitsConfig `mapstructure:"limits"`
}

// UserIDConfig configures pseudonyms of users.
type UserIDConfig struct {
	// Pseudonymize is none (default) or hmac.
	Pseudonymize Pseudonymize `mapstructure:"pseudonymize"`
	// Key is the secret of hmac; use ${env:NAME}.
	Key configopaque.String `mapstructure:"key"`
	// KeyFile is the path of a file with the secret of hmac.
	KeyFile string `mapstructure:"key_file"`
}

// IPAddressConfig configures the masking of addresses.
type IPAddressConfig struct {
	// Mask is truncate (default; /24 and /48), full, hash or drop.
	Mask pseudonym.Mask `mapstructure:"mask"`
	// Key is the secret of hash; use ${env:NAME}.
	Key configopaque.String `mapstructure:"key"`
	// KeyFile is the path of a file with the secret of hash.
	KeyFile string `mapstructure:"key_file"`
}

// ClassificationConfig gives a data class by conditions. What detection finds
// raises it.
type ClassificationConfig struct {
	// Default is the class of a record that no rule applies to and in which nothing
	// was found; INTERNAL by default.
	Default string `mapstructure:"default"`
	// Rules give a class. The highest that applies counts.
	Rules []ClassificationRule `mapstructure:"rules"`
}

// ClassificationRule gives a level to the records that one of its conditions applies to.
type ClassificationRule struct {
	// Level is PUBLIC, INTERNAL, CONFIDENTIAL or RESTRICTED.
	Level string `mapstructure:"level"`
	// Conditions are OTTL conditions over the span or log record, with the
	// record in its audit.* attributes and the content in gen_ai.*.
	Conditions []string `mapstructure:"conditions"`
}

// DetectionConfig says what is looked for in prompts and responses.
type DetectionConfig struct {
	// Enabled is true by default.
	Enabled bool `mapstructure:"enabled"`
	// RuleFiles are added to the built-in rules: a rule whose id is there already
	// replaces it.
	RuleFiles []string `mapstructure:"rule_files"`
	// BuiltinRules is true by default.
	BuiltinRules bool `mapstructure:"builtin_rules"`
	// Disable lists ids of rules and taxonomy steps, or their prefixes with ".*".
	Disable []string `mapstructure:"disable"`
	// Injection looks for prompt injection and obfuscation; true by default.
	Injection bool `mapstructure:"injection"`
	// MaxBytes bounds the text of one observation that is looked at; default 16 MiB.
	MaxBytes int `mapstructure:"max_bytes"`
	// CacheBytes bounds what is remembered of texts that come again; default 16
	// MiB, 0 is nothing.
	CacheBytes int `mapstructure:"cache_bytes"`
	// ReloadInterval is how often the rule files are looked at for changes;
	// default 10s.
	ReloadInterval time.Duration `mapstructure:"reload_interval"`
	// External is a classifier of the customer's own that is asked too; absent by default.
	External configoptional.Optional[dlp.Config] `mapstructure:"external"`
}

// PolicyConfig gives a flag to the records that one of its conditions applies to.
type PolicyConfig struct {
	// Flag is the policy's name, given to records as "policy.<flag>".
	Flag string `mapstructure:"flag"`
	// Conditions are OTTL conditions as those of ClassificationRule; they see the
	// classification too.
	Conditions []string `mapstructure:"conditions"`
}

// WindowConfig bounds the identity window.
type WindowConfig struct {
	// MaxCalls is the number of calls remembered; default 100000.
	MaxCalls int `mapstructure:"max_calls"`
	// MaxSpans is the number of other spans remembered; default 100000.
	MaxSpans int `mapstructure:"max_spans"`
	// MaxContentBytes bounds messages and prompts that wait for their call; default 64 MiB.
	MaxContentBytes int64 `mapstructure:"max_content_bytes"`
	// TTL is how long a call is remembered after it was last told of; default 24h.
	TTL time.Duration `mapstructure:"ttl"`
	// Ledger is the folder of the ledger that the window is rebuilt from at the
	// start; empty (default): the window starts empty.
	Ledger string `mapstructure:"ledger"`
}

// LimitsConfig bounds what is read of one span or log record.
type LimitsConfig struct {
	// MaxContentBytes is the largest content that is read; what is larger is
	// recorded as unparsed, with its hash. Default 32 MiB.
	MaxContentBytes int `mapstructure:"max_content_bytes"`
}

var _ component.Config = (*Config)(nil)

func createDefaultConfig() component.Config {
	lim := genai.DefaultLimits
	return &Config{
		Content:        ContentKeep,
		Models:         ModelsAll,
		UserID:         UserIDConfig{Pseudonymize: PseudonymizeNone},
		IPAddress:      IPAddressConfig{Mask: pseudonym.MaskTruncate},
		Classification: ClassificationConfig{Default: audit.Internal},
		Detection: DetectionConfig{
			Enabled: true, BuiltinRules: true, Injection: true,
			MaxBytes: detect.DefaultMaxBytes, CacheBytes: detect.DefaultCacheBytes, ReloadInterval: 10 * time.Second,
			External: configoptional.Default(dlp.NewDefaultConfig()),
		},
		IdentityWindow: WindowConfig{MaxCalls: 100_000, MaxSpans: 100_000, MaxContentBytes: 64 << 20, TTL: 24 * time.Hour},
		Limits:         LimitsConfig{MaxContentBytes: lim.MaxContentBytes},
	}
}

// Validate checks the whole configuration, its blocks too, so that each error
// has its key's whole path. Key files are read at the start.
func (c *Config) Validate() error {
	var errs []error
	bad := func(key, format string, args ...any) { errs = append(errs, fmt.Errorf(key+": "+format, args...)) }
	levels := strings.Join(audit.Classifications, ", ")

	if c.Content != ContentKeep && c.Content != ContentDrop {
		bad("content", "must be keep or drop, is %q", c.Content)
	}
	if c.Models != ModelsAll && c.Models != ModelsClaude {
		bad("models", "must be all or claude, is %q", c.Models)
	}
	if u := &c.UserID; u.Pseudonymize != PseudonymizeNone && u.Pseudonymize != PseudonymizeHMAC {
		bad("user_id::pseudonymize", "must be none or hmac, is %q", u.Pseudonymize)
	} else if err := checkKey("user_id", u.Key, u.KeyFile, "pseudonymize: hmac", u.Pseudonymize == PseudonymizeHMAC); err != nil {
		errs = append(errs, err)
	}
	if a := &c.IPAddress; !slices.Contains(pseudonym.Masks, a.Mask) {
		bad("ip_address::mask", "must be truncate, full, hash or drop, is %q", a.Mask)
	} else if err := checkKey("ip_address", a.Key, a.KeyFile, "mask: hash", a.Mask == pseudonym.MaskHash); err != nil {
		errs = append(errs, err)
	}
	if audit.ClassificationLevel(c.Classification.Default) == 0 {
		bad("classification::default", "must be one of %s, is %q", levels, c.Classification.Default)
	}
	for i, r := range c.Classification.Rules {
		key := fmt.Sprintf("classification::rules[%d]", i)
		if audit.ClassificationLevel(r.Level) == 0 {
			bad(key+"::level", "must be one of %s, is %q", levels, r.Level)
		}
		errs = append(errs, checkConditions(key, r.Conditions)...)
	}
	for i, pol := range c.Policies {
		key := fmt.Sprintf("policies[%d]", i)
		if !policyFlag.MatchString(pol.Flag) {
			bad(key+"::flag", "must be 1 to 64 lower-case letters, digits, dots, underscores and hyphens, is %q", pol.Flag)
		}
		errs = append(errs, checkConditions(key, pol.Conditions)...)
	}
	w, l, d := &c.IdentityWindow, &c.Limits, &c.Detection
	if d.CacheBytes < 0 {
		bad("detection::cache_bytes", "must be 0 or greater")
	}
	if d.ReloadInterval < minReload {
		bad("detection::reload_interval", "must be %s or longer", minReload)
	}
	for _, b := range []struct {
		key string
		ok  bool
	}{
		{"identity_window::max_calls", w.MaxCalls > 0},
		{"identity_window::max_spans", w.MaxSpans > 0},
		{"identity_window::max_content_bytes", w.MaxContentBytes > 0},
		{"limits::max_content_bytes", l.MaxContentBytes > 0},
		{"detection::max_bytes", d.MaxBytes > 0},
	} {
		if !b.ok {
			bad(b.key, "must be greater than 0")
		}
	}
	if w.TTL <= 0 {
		bad("identity_window::ttl", "must be a positive duration such as 24h")
	}
	return errors.Join(errs...)
}

// minReload is the shortest time between looks at the rule files.
const minReload = time.Second

// policyFlag is what a policy may be called.
var policyFlag = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,63}$`)

func checkConditions(key string, conditions []string) []error {
	if len(conditions) == 0 {
		return []error{fmt.Errorf("%s::conditions: must have at least one OTTL condition", key)}
	}
	var errs []error
	for i, c := range conditions {
		if err := checkCondition(c); err != nil {
			errs = append(errs, fmt.Errorf("%s::conditions[%d]: must be an OTTL condition over a span or a log record: %w", key, i, err))
		}
	}
	return errs
}

// checkKey checks the key of a block, which it needs for one of its ways only.
func checkKey(block string, key configopaque.String, file, way string, needed bool) error {
	switch {
	case needed && key == "" && file == "":
		return fmt.Errorf("%s::key: must be set, or key_file, for %s; a key from an environment variable that isn't set is empty", block, way)
	case key != "" && file != "":
		return fmt.Errorf("%[1]s::key: must not be set together with %[1]s::key_file", block)
	case !needed && key != "":
		return fmt.Errorf("%s::key: must be set for %s only", block, way)
	case !needed && file != "":
		return fmt.Errorf("%s::key_file: must be set for %s only", block, way)
	case key != "" && len(key) < pseudonym.MinKeyBytes:
		return fmt.Errorf("%s::key: %w", block, pseudonym.ErrKeyTooShort)
	}
	return nil
}

func (c *DetectionConfig) engine() detect.Config {
	cache := c.CacheBytes
	if cache == 0 {
		cache = -1 // none, where the engine's 0 is its default
	}
	return detect.Config{
		Files: c.RuleFiles, NoDefaults: !c.BuiltinRules, Disable: c.Disable,
		MaxBytes: c.MaxBytes, CacheBytes: cache, NoInjection: !c.Injection,
	}
}

func (c *WindowConfig) options() identity.Options {
	return identity.Options{MaxCalls: c.MaxCalls, MaxSpans: c.MaxSpans, MaxContentBytes: c.MaxContentBytes, TTL: c.TTL}
}
