// Package dlp calls a customer's own classifier: Presidio's analyzer by its REST
// API, or any service that speaks the contract of
// docs/external-classifier.openapi.yaml. What it says is added to what the
// built-in engine found; it can raise a data class, never lower it.
//
// Texts go to the configured endpoint and nowhere else: no redirect is followed.
// Nothing of a text, and nothing of what a service answered but names, numbers
// and levels, is kept, logged or part of an error.
package dlp

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.opentelemetry.io/collector/config/confighttp"
	"go.opentelemetry.io/collector/config/configoptional"
	"go.opentelemetry.io/collector/confmap"

	"github.com/claudeaudit/claudeaudit/internal/audit"
	"github.com/claudeaudit/claudeaudit/internal/detect"
)

// Protocol is how a service is spoken to.
type Protocol string

// Protocols.
const (
	// ProtocolPresidio is the REST API of Presidio's analyzer: POST /analyze.
	ProtocolPresidio Protocol = "presidio"
	// ProtocolOwn is the contract of docs/external-classifier.openapi.yaml.
	ProtocolOwn Protocol = "claudeaudit"
)

// OnFailure is what becomes of a call that the service did not answer for.
type OnFailure string

// What can become of it.
const (
	// OnFailureFlag keeps what the built-in engine found and raises [FlagUnavailable].
	OnFailureFlag OnFailure = "flag"
	// OnFailureRefuse makes an error of it, so that the sender tries again.
	OnFailureRefuse OnFailure = "refuse"
)

// Config is the configuration of a service. NewDefaultConfig has the defaults.
type Config struct {
	// ClientConfig has endpoint, the URL that texts are posted to; timeout of one
	// request, 2s by default; tls, headers, auth and the rest of confighttp.
	ClientConfig confighttp.ClientConfig `mapstructure:",squash"`
	// Protocol is presidio or claudeaudit (default).
	Protocol Protocol `mapstructure:"protocol"`
	// Language is the language that Presidio is told; default en.
	Language string `mapstructure:"language"`
	// MinScore is the score from which Presidio's findings count, 0 to 1; default 0.4.
	MinScore float64 `mapstructure:"min_score"`
	// Types are the types of data that the service's names mean, beside and before
	// the built-in table of Presidio's entities. Empty: not counted. A name in
	// neither is a type itself, in lower case.
	Types map[string]string `mapstructure:"types"`
	// Levels are the classes of types that the taxonomy doesn't know, or that are to
	// make a higher one when the service finds them.
	Levels map[string]string `mapstructure:"levels"`
	// Origins are whose texts are sent: user, system, assistant, tool, output;
	// default all.
	Origins []string `mapstructure:"origins"`
	// MaxConcurrent is the number of requests at a time; default 8.
	MaxConcurrent int `mapstructure:"max_concurrent"`
	// MaxTextBytes is the most text of one request; longer texts are cut into parts;
	// default 64 KiB.
	MaxTextBytes int `mapstructure:"max_text_bytes"`
	// OverlapBytes is how much text on either side of a cut both parts have: what is
	// no longer than this is seen whole by one of them; default 512.
	OverlapBytes int `mapstructure:"overlap_bytes"`
	// MaxCallBytes is the most text of one call that is sent; more raises
	// detection.truncated; default 1 MiB.
	MaxCallBytes int `mapstructure:"max_call_bytes"`
	// MaxAnswerBytes is the longest answer; default 1 MiB.
	MaxAnswerBytes int `mapstructure:"max_answer_bytes"`
	// CallTimeout bounds all requests of one call together; default 5s.
	CallTimeout time.Duration `mapstructure:"call_timeout"`
	// OnFailure is flag (default) or refuse.
	OnFailure OnFailure `mapstructure:"on_failure"`
	// Breaker stops asking a service that fails.
	Breaker BreakerConfig `mapstructure:"breaker"`
	// Cache remembers answers, so that a conversation that is sent again and again
	// is asked about once.
	Cache CacheConfig `mapstructure:"cache"`
}

// BreakerConfig configures the circuit breaker.
type BreakerConfig struct {
	// Failures in a row open it; default 5.
	Failures int `mapstructure:"failures"`
	// Open is how long it stays open before one request tries again; default 10s.
	Open time.Duration `mapstructure:"open"`
}

// CacheConfig configures what is remembered: hashes of texts and the names, counts
// and levels of what was found in them.
type CacheConfig struct {
	// Entries is the number of texts; default 10000, 0 remembers none.
	Entries int `mapstructure:"entries"`
	// TTL is how long an answer counts; default 10m.
	TTL time.Duration `mapstructure:"ttl"`
}

// NewDefaultConfig returns the defaults. The endpoint has none.
func NewDefaultConfig() Config {
	client := confighttp.NewDefaultClientConfig()
	client.Timeout = 2 * time.Second
	// all connections go to one host
	keep := confighttp.NewDefaultKeepaliveClientConfig()
	keep.MaxIdleConnsPerHost = keep.MaxIdleConns
	client.Keepalive = configoptional.Some(keep)
	return Config{
		ClientConfig:   client,
		Protocol:       ProtocolOwn,
		Language:       "en",
		MinScore:       0.4,
		MaxConcurrent:  8,
		MaxTextBytes:   64 << 10,
		OverlapBytes:   512,
		MaxCallBytes:   1 << 20,
		MaxAnswerBytes: 1 << 20,
		CallTimeout:    5 * time.Second,
		OnFailure:      OnFailureFlag,
		Breaker:        BreakerConfig{Failures: 5, Open: 10 * time.Second},
		Cache:          CacheConfig{Entries: 10_000, TTL: 10 * time.Minute},
	}
}

var _ confmap.Unmarshaler = (*Config)(nil)

// Unmarshal refuses keys that are not the configuration's: the decoder ignores
// them beside the squashed settings of confighttp.
func (c *Config) Unmarshal(conf *confmap.Conf) error {
	if err := conf.Unmarshal(c); err != nil {
		return err
	}
	known := keys(reflect.TypeFor[Config]())
	for _, key := range slices.Sorted(maps.Keys(conf.ToStringMap())) {
		if !slices.Contains(known, key) {
			return fmt.Errorf("has invalid keys: %s", key)
		}
	}
	return nil
}

// keys are the keys of a struct's fields.
func keys(t reflect.Type) (out []string) {
	for f := range t.Fields() {
		name, squash, _ := strings.Cut(f.Tag.Get(confmap.MapstructureTag), ",")
		switch {
		case squash == "squash":
			out = append(out, keys(f.Type)...)
		case name != "":
			out = append(out, name)
		}
	}
	return out
}

// Bounds of names that come from a service or from its configuration, and of how
// many of each an answer may have.
const (
	maxName     = 64
	maxFindings = 10_000
	maxKinds    = 256
	maxFlags    = 32
)

var nameForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]*$`)

func isName(s string) bool { return len(s) <= maxName && nameForm.MatchString(s) }

// Validate names the key of what is wrong.
func (c *Config) Validate() error {
	var errs []error
	wrong := func(key, format string, args ...any) {
		errs = append(errs, fmt.Errorf(key+": "+format, args...))
	}
	// the endpoint may hold a password: it is never quoted
	switch u, err := url.Parse(c.ClientConfig.Endpoint); {
	case c.ClientConfig.Endpoint == "":
		wrong("endpoint", "is needed")
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		wrong("endpoint", "is not a URL that begins with http:// or https://")
	}
	if c.ClientConfig.Timeout <= 0 {
		wrong("timeout", "must be positive")
	}
	if c.Protocol != ProtocolPresidio && c.Protocol != ProtocolOwn {
		wrong("protocol", "must be %s or %s, not %q", ProtocolPresidio, ProtocolOwn, string(c.Protocol))
	}
	if c.Protocol == ProtocolPresidio && c.Language == "" {
		wrong("language", "is needed for %s", ProtocolPresidio)
	}
	if !(c.MinScore >= 0 && c.MinScore <= 1) {
		wrong("min_score", "must be from 0 to 1")
	}
	for _, name := range slices.Sorted(maps.Keys(c.Types)) {
		if t := c.Types[name]; t != "" && !isName(t) {
			wrong("types", "%q is no name of a type", t)
		}
	}
	for _, typ := range slices.Sorted(maps.Keys(c.Levels)) {
		if l := c.Levels[typ]; audit.ClassificationLevel(l) == 0 {
			wrong("levels", "%q of %s is not one of %s", l, typ, strings.Join(audit.Classifications, ", "))
		}
	}
	for _, o := range c.Origins {
		if _, ok := detect.ParseOrigin(o); !ok {
			wrong("origins", "%q is not user, system, assistant, tool or output", o)
		}
	}
	between := func(key string, v, least, most int) {
		if v < least || v > most {
			wrong(key, "must be from %d to %d", least, most)
		}
	}
	between("max_concurrent", c.MaxConcurrent, 1, 1024)
	between("max_text_bytes", c.MaxTextBytes, 1<<10, 64<<20)
	between("overlap_bytes", c.OverlapBytes, 0, max(0, c.MaxTextBytes/4))
	between("max_call_bytes", c.MaxCallBytes, 1<<10, 1<<30)
	between("max_answer_bytes", c.MaxAnswerBytes, 1<<10, 64<<20)
	if c.CallTimeout <= 0 {
		wrong("call_timeout", "must be positive")
	}
	if c.OnFailure != OnFailureFlag && c.OnFailure != OnFailureRefuse {
		wrong("on_failure", "must be %s or %s, not %q", OnFailureFlag, OnFailureRefuse, string(c.OnFailure))
	}
	between("breaker::failures", c.Breaker.Failures, 1, 1_000_000)
	if c.Breaker.Open <= 0 {
		wrong("breaker::open", "must be positive")
	}
	between("cache::entries", c.Cache.Entries, 0, 10_000_000)
	if c.Cache.Entries > 0 && c.Cache.TTL <= 0 {
		wrong("cache::ttl", "must be positive")
	}
	return errors.Join(errs...)
}
