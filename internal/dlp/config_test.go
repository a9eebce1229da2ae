package dlp

import (
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/confmap"
)

func TestUnmarshal(t *testing.T) {
	cfg := NewDefaultConfig()
	require.NoError(t, confmap.NewFromStringMap(map[string]any{
		"endpoint": "https://dlp.example.org/analyze", "timeout": "700ms", "protocol": "presidio", "language": "de", "min_score": 0.6,
		"types": map[string]any{"ACME_ID": "employee_id"}, "levels": map[string]any{"employee_id": "RESTRICTED"},
		"origins": []any{"user"}, "max_concurrent": 2, "on_failure": "refuse",
		"breaker": map[string]any{"open": "1s"}, "cache": map[string]any{"entries": 0},
	}).Unmarshal(&cfg))
	require.NoError(t, cfg.Validate())
	want := NewDefaultConfig()
	require.NoError(t, confmap.New().Unmarshal(&want)) // confighttp folds settings of its own
	want.ClientConfig.Endpoint, want.ClientConfig.Timeout = "https://dlp.example.org/analyze", 700*time.Millisecond
	want.Protocol, want.Language, want.MinScore = ProtocolPresidio, "de", 0.6
	want.Types, want.Levels = map[string]string{"ACME_ID": "employee_id"}, map[string]string{"employee_id": "RESTRICTED"}
	want.Origins, want.MaxConcurrent, want.OnFailure = []string{"user"}, 2, OnFailureRefuse
	want.Breaker.Open, want.Cache.Entries = time.Second, 0
	require.Equal(t, want, cfg)

	require.ErrorContains(t, confmap.NewFromStringMap(map[string]any{"protokoll": "presidio"}).Unmarshal(&cfg), "protokoll")
}

func TestValidate(t *testing.T) {
	for key, change := range map[string]func(*Config){
		"endpoint: is needed":              func(c *Config) { c.ClientConfig.Endpoint = "" },
		"endpoint: is not a URL":           func(c *Config) { c.ClientConfig.Endpoint = "dlp.example.org:8080" },
		"endpoint: is not a URL that":      func(c *Config) { c.ClientConfig.Endpoint = "ftp://hunter2@dlp.example.org" },
		"timeout: ":                        func(c *Config) { c.ClientConfig.Timeout = 0 },
		`protocol: must be presidio or`:    func(c *Config) { c.Protocol = "soap" },
		"language: is needed":              func(c *Config) { c.Protocol, c.Language = ProtocolPresidio, "" },
		"min_score: ":                      func(c *Config) { c.MinScore = 1.5 },
		`types: "e mail" is no name`:       func(c *Config) { c.Types = map[string]string{"A": "e mail"} },
		`levels: "SECRET" of a is not one`: func(c *Config) { c.Levels = map[string]string{"a": "SECRET"} },
		`origins: "model" is not`:          func(c *Config) { c.Origins = []string{"model"} },
		"max_concurrent: ":                 func(c *Config) { c.MaxConcurrent = 0 },
		"max_text_bytes: ":                 func(c *Config) { c.MaxTextBytes = 10 },
		"overlap_bytes: must be from 0 to": func(c *Config) { c.OverlapBytes = c.MaxTextBytes },
		"max_call_bytes: ":                 func(c *Config) { c.MaxCallBytes = -1 },
		"max_answer_bytes: ":               func(c *Config) { c.MaxAnswerBytes = 0 },
		"call_timeout: ":                   func(c *Config) { c.CallTimeout = 0 },
		`on_failure: must be flag or`:      func(c *Config) { c.OnFailure = "ignore" },
		"breaker::failures: ":              func(c *Config) { c.Breaker.Failures = 0 },
		"breaker::open: ":                  func(c *Config) { c.Breaker.Open = 0 },
		"cache::entries: ":                 func(c *Config) { c.Cache.Entries = -1 },
		"cache::ttl: ":                     func(c *Config) { c.Cache.TTL = 0 },
	} {
		t.Run(key, func(t *testing.T) {
			cfg := NewDefaultConfig()
			cfg.ClientConfig.Endpoint = "http://localhost:5002/analyze"
			require.NoError(t, cfg.Validate())
			change(&cfg)
			err := cfg.Validate()
			require.ErrorContains(t, err, key)
			require.NotContains(t, err.Error(), "hunter2")
		})
	}
}

// Every type of the table is one that the built-in rules or its own level know.
func TestPresidioTable(t *testing.T) {
	for entity, typ := range PresidioEntities() {
		require.True(t, isName(entity), entity)
		require.True(t, typ == "" || isName(typ), typ)
	}
}

// The table of the documentation has every key of ours, with its default.
func TestDocumented(t *testing.T) {
	doc, err := os.ReadFile("../../docs/external-classifier.md")
	require.NoError(t, err)
	for f := range reflect.TypeFor[Config]().Fields() {
		if key := f.Tag.Get(confmap.MapstructureTag); !strings.Contains(key, "squash") && key != "breaker" && key != "cache" {
			require.Contains(t, string(doc), "`"+key+"`", key)
		}
	}
	c := NewDefaultConfig()
	for _, row := range []string{
		fmt.Sprintf("| `protocol` | `%s` |", c.Protocol),
		fmt.Sprintf("| `timeout` | `%v` |", c.ClientConfig.Timeout),
		fmt.Sprintf("| `call_timeout` | `%v` |", c.CallTimeout),
		fmt.Sprintf("| `max_concurrent` | `%d` |", c.MaxConcurrent),
		fmt.Sprintf("| `max_text_bytes` | `%d` |", c.MaxTextBytes),
		fmt.Sprintf("| `overlap_bytes` | `%d` |", c.OverlapBytes),
		fmt.Sprintf("| `max_call_bytes` | `%d` |", c.MaxCallBytes),
		fmt.Sprintf("| `max_answer_bytes` | `%d` |", c.MaxAnswerBytes),
		fmt.Sprintf("| `on_failure` | `%s` |", c.OnFailure),
		fmt.Sprintf("| `breaker::failures`, `breaker::open` | `%d`, `%v` |", c.Breaker.Failures, c.Breaker.Open),
		fmt.Sprintf("| `cache::entries`, `cache::ttl` | `%d`, `%s` |", c.Cache.Entries, strings.TrimSuffix(c.Cache.TTL.String(), "0s")),
		fmt.Sprintf("| `language`, `min_score` | `%s`, `%v` |", c.Language, c.MinScore),
	} {
		require.Contains(t, string(doc), row)
	}
}
