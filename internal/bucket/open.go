package bucket

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/collector/config/configopaque"
)

// How a store locks what is put with a retention.
const (
	// LockCompliance can't be undone by anybody until it ends: S3 COMPLIANCE, Azure and GCS Locked.
	LockCompliance = "compliance"
	// LockGovernance can be undone by those who have a right of its own: for a
	// trial. S3 GOVERNANCE, Azure and GCS Unlocked.
	LockGovernance = "governance"
)

// DefaultTimeout bounds a call to a store on the network; a second for each MiB is added.
const DefaultTimeout = 30 * time.Second

// Config says where a store is and how to get in. In a configuration it is a
// block, or the URL alone.
type Config struct {
	// URL is s3://bucket/prefix, azure://account/container/prefix, gs://bucket/prefix, or the path of a
	// local folder. The options region, endpoint, path_style, lock and profile may follow as a query.
	URL string `mapstructure:"url"`
	// Region of an S3 bucket; by default AWS's own chain tells it.
	Region string `mapstructure:"region"`
	// Endpoint is the address of a server that is not the cloud's own, such as https://minio.example.com:9000.
	Endpoint string `mapstructure:"endpoint"`
	// PathStyle puts the bucket into the path instead of the host name; always so with an endpoint.
	PathStyle bool `mapstructure:"path_style"`
	// CAFile is a PEM file of certificates to trust besides the system's.
	CAFile string `mapstructure:"ca_file"`
	// Lock is compliance or governance; default compliance.
	Lock string `mapstructure:"lock"`
	// Timeout of one call; default 30s.
	Timeout time.Duration `mapstructure:"timeout"`

	// Profile of AWS's shared configuration files.
	Profile string `mapstructure:"profile"`
	// AccessKeyID and SecretAccessKey of S3; SecretAccessKey alone is an Azure account key. By
	// default each cloud's standard chain of credentials is used.
	AccessKeyID     string              `mapstructure:"access_key_id"`
	SecretAccessKey configopaque.String `mapstructure:"secret_access_key"`
	SessionToken    configopaque.String `mapstructure:"session_token"`
	// CredentialsFile is a Google service account's key file.
	CredentialsFile string `mapstructure:"credentials_file"`
}

// UnmarshalText takes a URL for the block.
func (c *Config) UnmarshalText(text []byte) error {
	*c = Config{URL: string(text)}
	return nil
}

// Kinds of store.
const (
	kindLocal = "local"
	kindS3    = "s3"
	kindAzure = "azure"
	kindGCS   = "gs"
)

type place struct {
	kind    string
	account string
	bucket  string
	prefix  string
	path    string
}

// parse reads the URL and takes the options of its query.
func (c *Config) parse() (place, error) {
	bad := func(format string, args ...any) (place, error) {
		return place{}, fmt.Errorf("url: must be s3://BUCKET/PREFIX, azure://ACCOUNT/CONTAINER/PREFIX, gs://BUCKET/PREFIX or a folder's path: "+format, args...)
	}
	if c.URL == "" {
		return bad("it is empty")
	}
	if !strings.Contains(c.URL, "://") {
		return place{kind: kindLocal, path: c.URL}, nil
	}
	u, err := url.Parse(c.URL)
	if err != nil {
		return bad("it can't be read")
	}
	if u.User != nil {
		return bad("it must not hold credentials")
	}
	for name, values := range u.Query() {
		v := values[len(values)-1]
		switch name {
		case "region":
			c.Region = v
		case "endpoint":
			c.Endpoint = v
		case "lock":
			c.Lock = v
		case "profile":
			c.Profile = v
		case "path_style":
			if c.PathStyle, err = strconv.ParseBool(v); err != nil {
				return bad("path_style must be true or false")
			}
		default:
			return bad("unknown option %q", name)
		}
	}
	p := place{bucket: u.Host, prefix: strings.Trim(u.Path, "/")}
	switch u.Scheme {
	case "file":
		if u.Host != "" || u.Path == "" {
			return bad("a folder is file:///PATH")
		}
		return place{kind: kindLocal, path: filepath.FromSlash(u.Path)}, nil
	case kindS3, kindGCS:
		p.kind = u.Scheme
	case kindAzure:
		p.kind, p.account = kindAzure, u.Host
		p.bucket, p.prefix, _ = strings.Cut(p.prefix, "/")
	default:
		return bad("scheme %q", u.Scheme)
	}
	if p.bucket == "" {
		return bad("it names no bucket")
	}
	if p.prefix != "" {
		if err := checkKey(p.prefix); err != nil {
			return bad("prefix %q", p.prefix)
		}
		p.prefix += "/"
	}
	return p, nil
}

// Check checks what needs no file and no network. Its errors begin with the key.
// It is not called Validate, because a block that is not there is in order.
func (c Config) Check() error {
	if _, err := c.parse(); err != nil {
		return err
	}
	var errs []error
	if c.Lock != "" && c.Lock != LockCompliance && c.Lock != LockGovernance {
		errs = append(errs, fmt.Errorf("lock: must be %s or %s", LockCompliance, LockGovernance))
	}
	if c.Timeout < 0 {
		errs = append(errs, errors.New("timeout: must be a positive duration such as 30s"))
	}
	if c.Endpoint != "" {
		u, err := url.Parse(c.Endpoint)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			errs = append(errs, errors.New("endpoint: must be an address such as https://minio.example.com:9000"))
		}
	}
	if (c.AccessKeyID != "" || c.SessionToken != "") && c.SecretAccessKey == "" {
		errs = append(errs, errors.New("secret_access_key: must be given with access_key_id"))
	}
	return errors.Join(errs...)
}

// Remote says whether the store is not a local folder.
func (c Config) Remote() bool {
	p, err := c.parse()
	return err == nil && p.kind != kindLocal
}

// Address is the URL with the options that another program needs to find the
// store, without credentials.
func (c Config) Address() string {
	base, _, _ := strings.Cut(c.URL, "?")
	if _, err := c.parse(); err != nil || !strings.Contains(base, "://") {
		return base
	}
	q := url.Values{}
	for name, v := range map[string]string{"region": c.Region, "endpoint": c.Endpoint} {
		if v != "" {
			q.Set(name, v)
		}
	}
	if c.PathStyle {
		q.Set("path_style", "true")
	}
	if len(q) == 0 {
		return base
	}
	return base + "?" + q.Encode()
}

// Open opens a store. It asks nothing of it yet.
func Open(ctx context.Context, c Config) (Store, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	p, err := c.parse()
	if err != nil {
		return nil, err
	}
	if c.Timeout == 0 {
		c.Timeout = DefaultTimeout
	}
	switch p.kind {
	case kindS3:
		return opened(openS3(ctx, c, p.bucket, p.prefix))
	case kindAzure:
		return opened(openAzure(c, p.account, p.bucket, p.prefix))
	case kindGCS:
		return opened(openGCS(ctx, c, p.bucket, p.prefix))
	default:
		return NewLocal(p.path), nil
	}
}

// opened keeps a nil pointer from becoming a Store.
func opened[S Store](s S, err error) (Store, error) {
	if err != nil {
		return nil, err
	}
	return s, nil
}

// transport has bounds on everything that can hang.
func (c Config) transport() (*http.Transport, error) {
	t := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSHandshakeTimeout:   10 * time.Second,
		ExpectContinueTimeout: time.Second,
		IdleConnTimeout:       90 * time.Second,
		MaxIdleConns:          64,
		MaxIdleConnsPerHost:   16,
		ForceAttemptHTTP2:     true,
	}
	if c.CAFile != "" {
		pem, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, fmt.Errorf("ca_file: %w", err)
		}
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool()
		}
		if !pool.AppendCertsFromPEM(pem) {
			return nil, errors.New("ca_file: must hold certificates in PEM form")
		}
		t.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	return t, nil
}
