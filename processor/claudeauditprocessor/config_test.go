package claudeauditprocessor

import (
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/config/configoptional"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/confmap/confmaptest"

	"github.com/claudeaudit/claudeaudit/internal/audit"
	"github.com/claudeaudit/claudeaudit/internal/dlp"
	"github.com/claudeaudit/claudeaudit/internal/pseudonym"
	"github.com/claudeaudit/claudeaudit/internal/readmetest"
	"github.com/claudeaudit/claudeaudit/processor/claudeauditprocessor/internal/metadata"
)

const (
	oneOfLevels = "must be one of PUBLIC, INTERNAL, CONFIDENTIAL, RESTRICTED"
	secret      = "a key of 16 bytes or more"
)

func TestConfig(t *testing.T) {
	cm, err := confmaptest.LoadConf(filepath.Join("testdata", "config.yaml"))
	require.NoError(t, err)
	changed := func(change func(*Config)) *Config {
		c := createDefaultConfig().(*Config)
		change(c)
		return c
	}
	tests := []struct {
		name string
		want *Config  // nil: it isn't valid
		errs []string // what its error says, each
	}{
		{name: "defaults", want: createDefaultConfig().(*Config)},
		{name: "all", want: &Config{
			Content: ContentDrop, Models: ModelsClaude,
			UserID:    UserIDConfig{Pseudonymize: PseudonymizeHMAC, KeyFile: "/etc/claudeaudit/user.key"},
			IPAddress: IPAddressConfig{Mask: pseudonym.MaskHash, Key: secret},
			Classification: ClassificationConfig{Default: audit.Public, Rules: []ClassificationRule{
				{Level: audit.Restricted, Conditions: []string{`IsMatch(attributes["gen_ai.input.messages"], "(?i)iban")`}},
				{Level: audit.Confidential, Conditions: []string{
					`resource.attributes["service.name"] == "hr-assistant"`, `attributes["audit.department"] == "legal"`,
				}},
			}},
			Detection: DetectionConfig{
				RuleFiles: []string{"/etc/claudeaudit/rules.yaml"}, Disable: []string{"business.*"},
				MaxBytes: 1 << 20, CacheBytes: 0, ReloadInterval: time.Minute,
				External: configoptional.Default(dlp.NewDefaultConfig()),
			},
			Policies: []PolicyConfig{
				{Flag: "restricted_from_chat", Conditions: []string{`attributes["audit.data_classification"] == "RESTRICTED"`}},
			},
			IdentityWindow: WindowConfig{MaxCalls: 10, MaxSpans: 20, MaxContentBytes: 30, TTL: 40 * time.Minute, Ledger: "/var/lib/claudeaudit/ledger"},
			Limits:         LimitsConfig{MaxContentBytes: 1 << 20},
		}},
		{name: "full_address", want: changed(func(c *Config) { c.IPAddress.Mask = pseudonym.MaskFull })},
		{name: "span_only_condition", want: changed(func(c *Config) {
			c.Classification.Rules = []ClassificationRule{{audit.Confidential, []string{"kind == SPAN_KIND_CLIENT"}}}
		})},
		{name: "log_only_condition", want: changed(func(c *Config) {
			c.Classification.Rules = []ClassificationRule{{audit.Confidential, []string{"severity_number >= SEVERITY_NUMBER_WARN"}}}
		})},
		{name: "content", errs: []string{`content: must be keep or drop, is "maybe"`}},
		{name: "models", errs: []string{`models: must be all or claude, is "gpt"`}},
		{name: "pseudonymize", errs: []string{`user_id::pseudonymize: must be none or hmac, is "md5"`}},
		{name: "hmac_without_key", errs: []string{"user_id::key: must be set, or key_file, for pseudonymize: hmac"}},
		{name: "hmac_with_two_keys", errs: []string{"user_id::key: must not be set together with user_id::key_file"}},
		{name: "hmac_with_short_key", errs: []string{"user_id::key: must have at least 16 bytes"}},
		{name: "key_without_hmac", errs: []string{"user_id::key: must be set for pseudonymize: hmac only"}},
		{name: "key_file_without_hash", errs: []string{"ip_address::key_file: must be set for mask: hash only"}},
		{name: "mask", errs: []string{`ip_address::mask: must be truncate, full, hash or drop, is "half"`}},
		{name: "hash_without_key", errs: []string{"ip_address::key: must be set, or key_file, for mask: hash"}},
		{name: "classification_default", errs: []string{"classification::default: " + oneOfLevels + `, is "internal"`}},
		{name: "classification_rules", errs: []string{
			"classification::rules[0]::level: " + oneOfLevels + `, is "SECRET"`,
			"classification::rules[0]::conditions: must have at least one OTTL condition",
			"classification::rules[1]::conditions[1]: must be an OTTL condition over a span or a log record: ",
		}},
		{name: "window", errs: []string{
			"identity_window::max_calls: must be greater than 0",
			"identity_window::max_spans: must be greater than 0",
			"identity_window::max_content_bytes: must be greater than 0",
			"identity_window::ttl: must be a positive duration",
		}},
		{name: "detection", errs: []string{
			"detection::max_bytes: must be greater than 0",
			"detection::cache_bytes: must be 0 or greater",
			"detection::reload_interval: must be 1s or longer",
		}},
		{name: "external", want: changed(func(c *Config) {
			ext := dlp.NewDefaultConfig()
			require.NoError(t, confmap.New().Unmarshal(&ext)) // confighttp folds settings of its own
			ext.ClientConfig.Endpoint, ext.Protocol = "http://127.0.0.1:5002/analyze", dlp.ProtocolPresidio
			c.Detection.External = configoptional.Some(ext)
		})},
		{name: "external_wrong", errs: []string{"detection::external: ", "endpoint: is needed", `protocol: must be presidio or claudeaudit, not "soap"`}},
		{name: "external_unknown", errs: []string{"detection.external", "has invalid keys: on_failures"}},
		{name: "policies", errs: []string{
			`policies[0]::flag: must be 1 to 64 lower-case letters, digits, dots, underscores and hyphens, is "No spaces"`,
			"policies[0]::conditions: must have at least one OTTL condition",
			"policies[1]::conditions[0]: must be an OTTL condition over a span or a log record: ",
		}},
		{name: "limits", errs: []string{
			"limits::max_content_bytes: must be greater than 0",
		}},
		{name: "unknown", errs: []string{"contents"}},
		{name: "unknown_in_block", errs: []string{"ip_address", "masks"}},
		{name: "unknown_in_rule", errs: []string{"rules[0]", "condition"}},
		{name: "wrong_type", errs: []string{"identity_window", "max_calls"}},
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
			require.NotContains(t, err.Error(), secret)
			require.NotContains(t, err.Error(), "too short")
		})
	}
	require.Len(t, cm.ToStringMap(), len(tests), "each document of testdata/config.yaml has a case")
}

// load reads and validates one component's part of a configuration, with the
// environment variables put in as the collector does, which has none of those.
func load(t *testing.T, cm *confmap.Conf, id string) (component.Config, error) {
	t.Helper()
	sub, err := cm.Sub(id)
	require.NoError(t, err)
	cfg := NewFactory().CreateDefaultConfig()
	if err := sub.Unmarshal(cfg); err != nil {
		return nil, err
	}
	if c := cfg.(*Config); strings.HasPrefix(string(c.UserID.Key), "${env:") {
		c.UserID.Key = ""
	}
	return cfg, confmap.Validate(cfg)
}

func TestExamplesOfTheReadmeAreValid(t *testing.T) {
	t.Setenv("CLAUDEAUDIT_USER_KEY", secret)
	for _, example := range readmetest.YAML(t, "README.md") {
		readmetest.Configs(t, example, "processors", NewFactory())
	}
}

// The figures of the README are those of the document that "make eval" writes.
func TestReadmeHasTheMeasuredFigures(t *testing.T) {
	_, text, ok := strings.Cut(readmetest.Text(t, "README.md"), "\n## What detection finds\n")
	require.True(t, ok)
	text, _, _ = strings.Cut(text, "\n## ")
	measured := strings.Split(readmetest.Text(t, filepath.Join("..", "..", "docs", "detection-measured.md")), "\n")
	rows := 0
	for line := range strings.Lines(text) {
		if line = strings.TrimSuffix(line, "\n"); strings.HasPrefix(line, "| ") {
			require.Contains(t, measured, line)
			rows++
		}
	}
	require.Greater(t, rows, 30)
}

func TestReadmeNamesEveryKey(t *testing.T) {
	text := readmetest.Text(t, "README.md")
	var keys func(prefix string, typ reflect.Type)
	keys = func(prefix string, typ reflect.Type) {
		for i := range typ.NumField() {
			f := typ.Field(i)
			key := prefix + f.Tag.Get("mapstructure")
			switch {
			case f.Type == reflect.TypeFor[configoptional.Optional[dlp.Config]]():
				// its keys have a page of their own
				require.Contains(t, text, "| `"+key+"` |")
			case f.Type.Kind() == reflect.Struct:
				keys(key+"::", f.Type)
			case f.Type.Kind() == reflect.Slice && f.Type.Elem().Kind() == reflect.Struct:
				require.Contains(t, text, "| `"+key+"` |")
				keys(key+"[]::", f.Type.Elem())
			default:
				require.Contains(t, text, "| `"+key+"` |", "the README's table of keys has %s", key)
			}
		}
	}
	keys("", reflect.TypeFor[Config]())
}

func TestSecretsAreNotPrinted(t *testing.T) {
	c := createDefaultConfig().(*Config)
	c.UserID.Key, c.IPAddress.Key = secret, secret
	m := confmap.New()
	require.NoError(t, m.Marshal(c))
	for _, k := range m.AllKeys() {
		require.NotEqual(t, secret, m.Get(k), k)
	}
}
