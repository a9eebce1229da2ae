package claudegatewayreceiver

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/config/confighttp"
	"go.opentelemetry.io/collector/config/configopaque"
	"go.opentelemetry.io/collector/config/configtls"
	"go.opentelemetry.io/collector/confmap"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/google"

	"github.com/claudeaudit/claudeaudit/internal/gateway"
)

// Config is the configuration of the claude_gateway receiver.
type Config struct {
	// Server is the HTTP server that clients are pointed at: endpoint, tls, auth.
	Server confighttp.ServerConfig `mapstructure:",squash"`
	// Tracing makes a span of each call, in the collector's own telemetry, whose context goes upstream; default false.
	Tracing bool `mapstructure:"tracing"`
	// Upstreams says where Claude is served. What has no endpoint is refused.
	Upstreams UpstreamsConfig `mapstructure:"upstreams"`
	// Anonymous says what becomes of calls of which it isn't known who makes them: refuse or allow.
	Anonymous string `mapstructure:"anonymous"`
	// Identity says by what it is known who calls.
	Identity IdentityConfig `mapstructure:"identity"`
	// Policy decides what becomes of calls.
	Policy PolicyConfig `mapstructure:"policy"`
	// Ledger is the directory of the audit_ledger exporter: calls that a crash left open
	// are closed from it at the start. "" leaves them open.
	Ledger string `mapstructure:"ledger"`
	// BatchPoll is how often the results of message batches are looked for that nobody fetched; default 5m, 0 is never.
	BatchPoll time.Duration `mapstructure:"batch_poll"`
	// PublicURL is what clients reach the gateway by, for the results_url of batches. "" takes the host that they ask.
	PublicURL string `mapstructure:"public_url"`
	// ClientGone says what becomes of an answer whose client has left: cancel or drain.
	ClientGone string `mapstructure:"client_gone"`
	// Limits bound what a request can cost.
	Limits LimitsConfig `mapstructure:"limits"`
	// Timeouts bound how long things may take.
	Timeouts TimeoutsConfig `mapstructure:"timeouts"`
}

// UpstreamsConfig has an upstream for each surface.
type UpstreamsConfig struct {
	// Anthropic is the Claude API.
	Anthropic UpstreamConfig `mapstructure:"anthropic"`
	// Foundry is Microsoft Foundry; clients use the path /anthropic.
	Foundry UpstreamConfig `mapstructure:"foundry"`
	// Bedrock is Amazon Bedrock's runtime.
	Bedrock BedrockConfig `mapstructure:"bedrock"`
	// Vertex is Vertex AI.
	Vertex VertexConfig `mapstructure:"vertex"`
}

// BedrockConfig is Amazon Bedrock.
type BedrockConfig struct {
	// Endpoint is its base URL, such as https://bedrock-runtime.eu-central-1.amazonaws.com.
	Endpoint string `mapstructure:"endpoint"`
	// Region to sign requests for. "" passes the client's credential on, which must then be a bearer
	// token: AWS refuses a signature for the gateway's host.
	Region string `mapstructure:"region"`
	// AccessKeyID and SecretAccessKey sign requests; by default the credentials are found as AWS's SDKs
	// find them.
	AccessKeyID     string              `mapstructure:"access_key_id"`
	SecretAccessKey configopaque.String `mapstructure:"secret_access_key"`
	// BearerToken is sent in place of the client's credential, instead of a signature.
	BearerToken configopaque.String `mapstructure:"bearer_token"`
	// TLS of the connection.
	TLS configtls.ClientConfig `mapstructure:"tls"`
	// MaxConnections at a time over HTTP/1.1; 0 is no bound.
	MaxConnections int `mapstructure:"max_connections"`
}

// VertexConfig is Vertex AI.
type VertexConfig struct {
	// Endpoint is its base URL without the version, such as https://europe-west1-aiplatform.googleapis.com.
	Endpoint string `mapstructure:"endpoint"`
	// BearerToken is sent in place of the client's credential.
	BearerToken configopaque.String `mapstructure:"bearer_token"`
	// DefaultCredentials sends a token of Google's application default credentials in place of the
	// client's, and a new one before it expires.
	DefaultCredentials bool `mapstructure:"default_credentials"`
	// TLS of the connection.
	TLS configtls.ClientConfig `mapstructure:"tls"`
	// MaxConnections at a time over HTTP/1.1; 0 is no bound.
	MaxConnections int `mapstructure:"max_connections"`
}

// UpstreamConfig is one place where Claude is served.
type UpstreamConfig struct {
	// Endpoint is its base URL.
	Endpoint string `mapstructure:"endpoint"`
	// APIKey is sent in place of the client's credential, so that clients need to have none.
	APIKey configopaque.String `mapstructure:"api_key"`
	// TLS of the connection.
	TLS configtls.ClientConfig `mapstructure:"tls"`
	// MaxConnections at a time over HTTP/1.1; 0 is no bound.
	MaxConnections int `mapstructure:"max_connections"`
}

// IdentityConfig says by what it is known who calls, beside the server's auth.
type IdentityConfig struct {
	// KeysFile lists the credentials that were given to applications and users, by their SHA-256.
	KeysFile string `mapstructure:"keys_file"`
	// Token is a JWT in a header.
	Token TokenConfig `mapstructure:"token"`
	// Certificate says what of a verified client certificate is the user: uri, email, dns,
	// common_name, or none.
	Certificate string `mapstructure:"certificate"`
	// TrustedProxies are whose headers are believed.
	TrustedProxies ProxiesConfig `mapstructure:"trusted_proxies"`
	// UserHeader is where clients say which user they are of. It is evidence of the grade asserted.
	UserHeader string `mapstructure:"user_header"`
	// SessionHeader is where clients say which session a call is of; default X-Session-Id.
	SessionHeader string `mapstructure:"session_header"`
	// ApplicationHeader is where clients say which application they are.
	ApplicationHeader string `mapstructure:"application_header"`
	// ApplicationPath takes /app/NAME before an API's own path for the application's name.
	ApplicationPath bool `mapstructure:"application_path"`
}

// TokenConfig says how a JWT is checked.
type TokenConfig struct {
	// Header that holds it, with or without "Bearer"; default X-Identity-Token. It isn't forwarded.
	Header string `mapstructure:"header"`
	// Issuer that the token must name. "" checks no tokens.
	Issuer string `mapstructure:"issuer"`
	// Audience that the token must be for.
	Audience string `mapstructure:"audience"`
	// JWKSURL is where the issuer's keys are; fetched when a token is signed with a key that isn't known.
	JWKSURL string `mapstructure:"jwks_url"`
	// UserClaim is the claim that names the user; default sub.
	UserClaim string `mapstructure:"user_claim"`
	// DepartmentClaim is the claim that names the user's department.
	DepartmentClaim string `mapstructure:"department_claim"`
}

// ProxiesConfig says which proxies are believed, and what.
type ProxiesConfig struct {
	// CIDRs are their addresses.
	CIDRs []string `mapstructure:"cidrs"`
	// AddressHeader lists the addresses that a request came by; default X-Forwarded-For.
	AddressHeader string `mapstructure:"address_header"`
	// UserHeader names the user that the proxy has authenticated. It isn't forwarded.
	UserHeader string `mapstructure:"user_header"`
}

// LimitsConfig bounds sizes, in bytes, and numbers.
type LimitsConfig struct {
	// MaxRequestBytes of a request's body; default 33554432 (32 MiB).
	MaxRequestBytes int64 `mapstructure:"max_request_bytes"`
	// MaxBatchBytes of the body that makes a message batch; default 268435456 (256 MiB), the API's own.
	MaxBatchBytes int64 `mapstructure:"max_batch_bytes"`
	// MaxBufferedBytes of the bodies of all requests at a time; default 536870912 (512 MiB).
	MaxBufferedBytes int64 `mapstructure:"max_buffered_bytes"`
	// MaxResponseBytes of an answer's content that are recorded; default 16777216 (16 MiB).
	MaxResponseBytes int `mapstructure:"max_response_bytes"`
	// MaxHeaderBytes of a request's headers; default 65536 (64 KiB).
	MaxHeaderBytes int `mapstructure:"max_header_bytes"`
	// MaxPendingOutcomes are calls whose outcome waits to be recorded; default 4096.
	MaxPendingOutcomes int `mapstructure:"max_pending_outcomes"`
}

// TimeoutsConfig bounds durations.
type TimeoutsConfig struct {
	// Body is how long a client may send nothing of its request; default 30s.
	Body time.Duration `mapstructure:"body"`
	// Header is how long the API may take until its answer begins; default 10m.
	Header time.Duration `mapstructure:"header"`
	// Idle is how long the API may pause within an answer; default 10m.
	Idle time.Duration `mapstructure:"idle"`
	// Write is how long a client may not take what is sent to it; default 1m.
	Write time.Duration `mapstructure:"write"`
	// Record is how long a record may take until it is durable; default 10s.
	Record time.Duration `mapstructure:"record"`
	// Drain is how long calls may go on when the collector stops; default 10s.
	Drain time.Duration `mapstructure:"drain"`
}

// Values of anonymous.
const (
	anonymousRefuse = "refuse"
	anonymousAllow  = "allow"
)

// certificateNone takes no user from certificates.
const certificateNone = "none"

// Values of client_gone.
const (
	clientGoneCancel = "cancel"
	clientGoneDrain  = "drain"
)

var _ component.Config = (*Config)(nil)

func createDefaultConfig() component.Config {
	server := confighttp.NewDefaultServerConfig()
	server.NetAddr.Endpoint = "127.0.0.1:8787"
	server.WriteTimeout = 0 // a streamed answer takes as long as it takes; timeouts::write bounds each piece
	server.ReadHeaderTimeout = 10 * time.Second
	// Bodies stay as they came: what is forwarded has to be what was recorded.
	server.CompressionAlgorithms = []string{}
	return &Config{
		Server:     server,
		Upstreams:  UpstreamsConfig{Anthropic: UpstreamConfig{Endpoint: "https://api.anthropic.com"}},
		ClientGone: clientGoneCancel,
		BatchPoll:  5 * time.Minute,
		Policy:     PolicyConfig{Terminated: TerminatedConfig{Duration: 24 * time.Hour}},
		Anonymous:  anonymousRefuse,
		Identity: IdentityConfig{
			Token: TokenConfig{Header: "X-Identity-Token", UserClaim: "sub"}, Certificate: certificateNone, SessionHeader: "X-Session-Id",
			TrustedProxies: ProxiesConfig{AddressHeader: "X-Forwarded-For"},
		},
		Limits: LimitsConfig{
			MaxRequestBytes: 32 << 20, MaxBatchBytes: 256 << 20, MaxBufferedBytes: 512 << 20, MaxResponseBytes: 16 << 20,
			MaxHeaderBytes: 64 << 10, MaxPendingOutcomes: 4096,
		},
		Timeouts: TimeoutsConfig{
			Body: 30 * time.Second, Header: 10 * time.Minute, Idle: 10 * time.Minute, Write: time.Minute,
			Record: 10 * time.Second, Drain: 10 * time.Second,
		},
	}
}

// Unmarshal refuses unknown keys, which the server's block, because its keys stand among ours, lets pass.
func (c *Config) Unmarshal(conf *confmap.Conf) error {
	if err := conf.Unmarshal(c, confmap.WithIgnoreUnused()); err != nil {
		return err
	}
	known := keysOf(reflect.TypeFor[Config]())
	var errs []error
	for key := range conf.ToStringMap() {
		if !known[key] {
			errs = append(errs, fmt.Errorf("has invalid keys: %s", key))
		}
	}
	for key, block := range map[string]any{
		"upstreams": &c.Upstreams, "identity": &c.Identity, "policy": &c.Policy, "limits": &c.Limits, "timeouts": &c.Timeouts,
	} {
		if !conf.IsSet(key) {
			continue
		}
		sub, err := conf.Sub(key)
		if err == nil {
			err = sub.Unmarshal(block)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", key, err))
		}
	}
	return errors.Join(errs...)
}

// keysOf are the keys that a block has, those of blocks that stand among them too.
func keysOf(t reflect.Type) map[string]bool {
	keys := map[string]bool{}
	for i := range t.NumField() {
		name, options, _ := strings.Cut(t.Field(i).Tag.Get("mapstructure"), ",")
		switch {
		case strings.Contains(options, "squash"):
			maps.Copy(keys, keysOf(t.Field(i).Type))
		case name != "":
			keys[name] = true
		}
	}
	return keys
}

// Validate checks the keys. Each error has its key's whole path.
func (c *Config) Validate() error {
	var errs []error
	bad := func(key, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s: %w", key, fmt.Errorf(format, args...)))
	}
	if c.Server.NetAddr.Endpoint == "" {
		bad("endpoint", "must be an address such as 127.0.0.1:8787")
	}
	if len(c.Server.CompressionAlgorithms) > 0 {
		bad("compression_algorithms", "must be empty: bodies are forwarded as they came")
	}
	if c.Server.WriteTimeout != 0 {
		bad("write_timeout", "must be 0, because it would cut streams; use timeouts::write")
	}
	any := false
	for _, u := range c.Upstreams.all() {
		if u.set.Endpoint == "" {
			continue
		}
		any = true
		if _, err := gateway.NewUpstream(gateway.UpstreamSettings{Endpoint: u.set.Endpoint}); err != nil {
			bad("upstreams::"+string(u.surface)+"::endpoint", "%w", err)
		}
		if u.set.MaxConnections < 0 {
			bad("upstreams::"+string(u.surface)+"::max_connections", "must not be negative")
		}
	}
	if !any {
		bad("upstreams", "must have an endpoint")
	}
	if b := &c.Upstreams.Bedrock; (b.AccessKeyID == "") != (b.SecretAccessKey == "") {
		bad("upstreams::bedrock::secret_access_key", "must be set together with upstreams::bedrock::access_key_id")
	} else if b.AccessKeyID != "" && b.Region == "" {
		bad("upstreams::bedrock::region", "must be set with upstreams::bedrock::access_key_id")
	} else if b.BearerToken != "" && b.Region != "" {
		bad("upstreams::bedrock::bearer_token", "must not be set with upstreams::bedrock::region, which signs instead")
	}
	if c.BatchPoll < 0 {
		bad("batch_poll", "must be 0, or a duration such as 5m")
	}
	if u, err := url.Parse(c.PublicURL); c.PublicURL != "" && (err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "") {
		bad("public_url", "must be an http or https URL such as https://gateway.example.com")
	}
	if v := &c.Upstreams.Vertex; v.BearerToken != "" && v.DefaultCredentials {
		bad("upstreams::vertex::bearer_token", "must not be set with upstreams::vertex::default_credentials, which has a token of its own")
	}
	if ways := []string{clientGoneCancel, clientGoneDrain}; !slices.Contains(ways, c.ClientGone) {
		bad("client_gone", "must be %s, is %q", strings.Join(ways, " or "), c.ClientGone)
	}
	if ways := []string{anonymousRefuse, anonymousAllow}; !slices.Contains(ways, c.Anonymous) {
		bad("anonymous", "must be %s, is %q", strings.Join(ways, " or "), c.Anonymous)
	}
	id := &c.Identity
	if c.Anonymous == anonymousRefuse && !c.Server.Auth.HasValue() && id.KeysFile == "" && id.Token.Issuer == "" &&
		id.Certificate == certificateNone && id.TrustedProxies.UserHeader == "" {
		bad("anonymous", "must be allow where nothing says who calls: set auth, identity::keys_file, identity::token, identity::certificate or "+
			"identity::trusted_proxies::user_header")
	}
	if ways := []string{"uri", "email", "dns", "common_name", certificateNone}; !slices.Contains(ways, id.Certificate) {
		bad("identity::certificate", "must be one of %s, is %q", strings.Join(ways, ", "), id.Certificate)
	} else if id.Certificate != certificateNone && (!c.Server.TLS.HasValue() || c.Server.TLS.Get().ClientCAFile == "") {
		bad("identity::certificate", "must be none without tls::client_ca_file")
	}
	if t := &id.Token; t.Issuer != "" {
		for _, k := range []struct{ key, value string }{
			{"header", t.Header}, {"audience", t.Audience}, {"jwks_url", t.JWKSURL}, {"user_claim", t.UserClaim},
		} {
			if k.value == "" {
				bad("identity::token::"+k.key, "must be set with identity::token::issuer")
			}
		}
	}
	if _, err := id.TrustedProxies.prefixes(); err != nil {
		bad("identity::trusted_proxies::cidrs", "%w", err)
	}
	if id.TrustedProxies.UserHeader != "" && len(id.TrustedProxies.CIDRs) == 0 {
		bad("identity::trusted_proxies::user_header", "must not be set without identity::trusted_proxies::cidrs")
	}
	errs = append(errs, c.Policy.check()...)
	for _, n := range []struct {
		key string
		n   int64
	}{
		{"max_request_bytes", c.Limits.MaxRequestBytes},
		{"max_batch_bytes", c.Limits.MaxBatchBytes},
		{"max_buffered_bytes", c.Limits.MaxBufferedBytes},
		{"max_response_bytes", int64(c.Limits.MaxResponseBytes)},
		{"max_header_bytes", int64(c.Limits.MaxHeaderBytes)},
		{"max_pending_outcomes", int64(c.Limits.MaxPendingOutcomes)},
	} {
		if n.n <= 0 {
			bad("limits::"+n.key, "must be greater than 0")
		}
	}
	if c.Limits.MaxBufferedBytes < max(c.Limits.MaxRequestBytes, c.Limits.MaxBatchBytes) {
		bad("limits::max_buffered_bytes", "must be at least limits::max_request_bytes and limits::max_batch_bytes")
	}
	for _, d := range []struct {
		key string
		d   time.Duration
	}{
		{"body", c.Timeouts.Body},
		{"header", c.Timeouts.Header},
		{"idle", c.Timeouts.Idle},
		{"write", c.Timeouts.Write},
		{"record", c.Timeouts.Record},
		{"drain", c.Timeouts.Drain},
	} {
		if d.d <= 0 {
			bad("timeouts::"+d.key, "must be a positive duration such as 30s")
		}
	}
	return errors.Join(errs...)
}

type namedUpstream struct {
	surface gateway.Surface
	set     gateway.UpstreamSettings
	tls     *configtls.ClientConfig
}

func (u *UpstreamsConfig) all() []namedUpstream {
	anthropic := func(c *UpstreamConfig) gateway.UpstreamSettings {
		return gateway.UpstreamSettings{Endpoint: c.Endpoint, APIKey: string(c.APIKey), MaxConnections: c.MaxConnections}
	}
	b, v := &u.Bedrock, &u.Vertex
	return []namedUpstream{
		{gateway.Anthropic, anthropic(&u.Anthropic), &u.Anthropic.TLS},
		{gateway.Foundry, anthropic(&u.Foundry), &u.Foundry.TLS},
		{gateway.Bedrock, gateway.UpstreamSettings{Endpoint: b.Endpoint, BearerToken: string(b.BearerToken), MaxConnections: b.MaxConnections}, &b.TLS},
		{gateway.Vertex, gateway.UpstreamSettings{Endpoint: v.Endpoint, BearerToken: string(v.BearerToken), MaxConnections: v.MaxConnections}, &v.TLS},
	}
}

// googleScope is what a token for Vertex AI is for.
const googleScope = "https://www.googleapis.com/auth/cloud-platform"

// tokens are those of the credentials that Google's libraries find; nil where they aren't to be sent.
func (c *VertexConfig) tokens(ctx context.Context) (oauth2.TokenSource, error) {
	if !c.DefaultCredentials {
		return nil, nil
	}
	ctx = context.WithValue(context.WithoutCancel(ctx), oauth2.HTTPClient, &http.Client{Timeout: 10 * time.Second})
	found, err := google.FindDefaultCredentials(ctx, googleScope)
	if err != nil {
		return nil, fmt.Errorf("find the credentials for Google: %w", err)
	}
	return found.TokenSource, nil
}

// signer signs requests to Bedrock; nil where they aren't to be signed.
func (c *BedrockConfig) signer(ctx context.Context) (*gateway.AWSSigner, error) {
	if c.Region == "" {
		return nil, nil
	}
	if c.AccessKeyID != "" {
		return &gateway.AWSSigner{
			Region:      c.Region,
			Credentials: credentials.NewStaticCredentialsProvider(c.AccessKeyID, string(c.SecretAccessKey), ""),
		}, nil
	}
	found, err := config.LoadDefaultConfig(ctx, config.WithRegion(c.Region))
	if err != nil {
		return nil, fmt.Errorf("find the credentials for AWS: %w", err)
	}
	return &gateway.AWSSigner{Region: c.Region, Credentials: found.Credentials}, nil
}
