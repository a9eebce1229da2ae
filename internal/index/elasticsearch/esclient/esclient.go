// Package esclient makes clients of Elasticsearch from the configuration that
// the collector's exporter and the claudeaudit command share.
package esclient

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	elastic "github.com/elastic/go-elasticsearch/v8"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/config/configcompression"
	"go.opentelemetry.io/collector/config/confighttp"
	"go.opentelemetry.io/collector/config/configopaque"
	"go.opentelemetry.io/collector/config/configoptional"
)

// Config says where a cluster is and how to be let in.
type Config struct {
	// ClientConfig has endpoint, tls, headers, proxy_url, compression, auth and
	// the other keys of confighttp.
	ClientConfig confighttp.ClientConfig `mapstructure:",squash"`
	// Endpoints are the URLs of several nodes, in the place of endpoint.
	Endpoints []string `mapstructure:"endpoints"`
	// CloudID names a deployment of Elastic Cloud, in the place of endpoint.
	CloudID string `mapstructure:"cloud_id"`
	// APIKey is the encoded form of an API key.
	APIKey configopaque.String `mapstructure:"api_key"`
	// User and Password are for HTTP basic authentication.
	User     string              `mapstructure:"user"`
	Password configopaque.String `mapstructure:"password"`
}

// Default is the configuration without any key set.
func Default() Config {
	c := confighttp.NewDefaultClientConfig()
	c.Compression = configcompression.TypeGzip
	c.CompressionParams.Level = 1 // the server is mostly near, and the processors are few
	keep := confighttp.NewDefaultKeepaliveClientConfig()
	keep.MaxIdleConnsPerHost = 16
	c.Keepalive = configoptional.Some(keep)
	return Config{ClientConfig: c}
}

// Addresses are the URLs of the nodes, none with a cloud id.
func (c *Config) Addresses() []string {
	if c.ClientConfig.Endpoint != "" {
		return append([]string{c.ClientConfig.Endpoint}, c.Endpoints...)
	}
	return c.Endpoints
}

// Validate tells what is wrong, key by key.
func (c *Config) Validate() error {
	var errs []error
	addresses := c.Addresses()
	switch {
	case len(addresses) == 0 && c.CloudID == "":
		errs = append(errs, errors.New("endpoint: must be the URL of an Elasticsearch node, or endpoints or cloud_id must be set"))
	case len(addresses) > 0 && c.CloudID != "":
		errs = append(errs, errors.New("cloud_id: must be empty when there is an endpoint"))
	case c.ClientConfig.Endpoint != "" && len(c.Endpoints) > 0:
		errs = append(errs, errors.New("endpoints: must be empty when there is an endpoint"))
	}
	for _, a := range addresses {
		u, err := url.Parse(a)
		switch {
		case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
			errs = append(errs, errors.New("endpoint: must be a URL such as https://host:9200"))
		case u.User != nil:
			errs = append(errs, errors.New("endpoint: must hold no password: use user and password, or api_key"))
		}
	}
	if c.APIKey != "" && (c.User != "" || c.Password != "") {
		errs = append(errs, errors.New("api_key: must be empty when there is a user"))
	}
	if (c.User == "") != (c.Password == "") {
		errs = append(errs, errors.New("password: user and password must both be set, or neither"))
	}
	if c.ClientConfig.Auth.HasValue() && (c.APIKey != "" || c.User != "") {
		errs = append(errs, errors.New("auth: must not be set together with api_key or user"))
	}
	switch c.ClientConfig.Compression {
	case configcompression.TypeGzip, "none", "":
	default:
		errs = append(errs, errors.New("compression: must be gzip or none: Elasticsearch reads no other"))
	}
	if c.ClientConfig.Timeout != 0 {
		errs = append(errs, errors.New("timeout: must not be set: each kind of request has its own"))
	}
	return errors.Join(errs...)
}

// Client is a client and the connections it keeps.
type Client struct {
	*elastic.BaseClient
	http *http.Client
}

// Close lets the connections go.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// New makes a client. It sends nothing. Retrying is the caller's, who knows what
// may be repeated.
func (c *Config) New(ctx context.Context, extensions map[component.ID]component.Component, set component.TelemetrySettings) (*Client, error) {
	h, err := c.ClientConfig.ToClient(ctx, extensions, set)
	if err != nil {
		return nil, fmt.Errorf("making an HTTP client: %w", err)
	}
	base, err := elastic.NewBaseClient(elastic.Config{
		Addresses: c.Addresses(), CloudID: c.CloudID, APIKey: string(c.APIKey),
		Username: c.User, Password: string(c.Password),
		Transport: h.Transport, DisableRetry: true,
	})
	if err != nil {
		return nil, fmt.Errorf("making a client of Elasticsearch: %w", err)
	}
	return &Client{BaseClient: base, http: h}, nil
}
