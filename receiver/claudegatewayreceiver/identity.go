package claudegatewayreceiver

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"go.yaml.in/yaml/v3"

	"github.com/claudeaudit/claudeaudit/internal/gateway"
)

func (p *ProxiesConfig) prefixes() ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, text := range p.CIDRs {
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("must be networks such as 10.0.0.0/8: %w", err)
		}
		out = append(out, prefix)
	}
	return out, nil
}

// identity is the configuration as the gateway takes it. client fetches the keys of issuers.
func (c *Config) identity(ctx context.Context) (gateway.Identity, error) {
	id := &c.Identity
	out := gateway.Identity{
		RefuseAnonymous: c.Anonymous == anonymousRefuse, Authenticated: c.Server.Auth.HasValue(),
		TokenHeader:   http.CanonicalHeaderKey(id.Token.Header),
		AddressHeader: id.TrustedProxies.AddressHeader, ProxyUserHeader: id.TrustedProxies.UserHeader,
		UserHeader: id.UserHeader, SessionHeader: id.SessionHeader, ApplicationHeader: id.ApplicationHeader,
		ApplicationPath: id.ApplicationPath,
	}
	if id.Certificate != certificateNone {
		out.Certificate = id.Certificate
	}
	var err error
	if out.Proxies, err = id.TrustedProxies.prefixes(); err != nil {
		return out, err
	}
	if id.KeysFile != "" {
		if out.Keys, err = readKeys(id.KeysFile); err != nil {
			return out, fmt.Errorf("identity::keys_file: %w", err)
		}
	}
	if id.Token.Issuer != "" {
		out.Tokens = tokenVerifier(ctx, &id.Token)
	}
	return out, nil
}

// tokenVerifier checks tokens against the keys of their issuer, which are fetched when they are needed
// and again when a token names one that isn't known.
func tokenVerifier(ctx context.Context, cfg *TokenConfig) gateway.TokenVerifier {
	client := &http.Client{Timeout: 10 * time.Second}
	keys := oidc.NewRemoteKeySet(oidc.ClientContext(context.WithoutCancel(ctx), client), cfg.JWKSURL)
	verifier := oidc.NewVerifier(cfg.Issuer, keys, &oidc.Config{
		ClientID: cfg.Audience,
		SupportedSigningAlgs: []string{
			oidc.RS256, oidc.RS384, oidc.RS512, oidc.PS256, oidc.PS384, oidc.PS512, oidc.ES256, oidc.ES384, oidc.ES512, oidc.EdDSA,
		},
	})
	return func(ctx context.Context, token string) (gateway.Claims, error) {
		verified, err := verifier.Verify(ctx, token)
		if err != nil {
			return gateway.Claims{}, err
		}
		var claims map[string]any
		if err := verified.Claims(&claims); err != nil {
			return gateway.Claims{}, err
		}
		user, _ := claims[cfg.UserClaim].(string)
		if user == "" {
			return gateway.Claims{}, errors.New("the token names no user")
		}
		department, _ := claims[cfg.DepartmentClaim].(string)
		return gateway.Claims{User: user, Department: department}, nil
	}
}

// keyEntry is an entry of the keys file.
type keyEntry struct {
	SHA256      string `yaml:"sha256"`
	Application string `yaml:"application"`
	User        string `yaml:"user"`
	Department  string `yaml:"department"`
}

// readKeys reads the keys file, a YAML list.
func readKeys(path string) (map[[sha256.Size]byte]gateway.Key, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var entries []keyEntry
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	decoder.KnownFields(true)
	if err := decoder.Decode(&entries); err != nil {
		return nil, fmt.Errorf("%s: must be a list of keys: %w", path, err)
	}
	keys := make(map[[sha256.Size]byte]gateway.Key, len(entries))
	for i, e := range entries {
		var sum [sha256.Size]byte
		if n, err := hex.Decode(sum[:], []byte(e.SHA256)); err != nil || n != len(sum) || len(e.SHA256) != hex.EncodedLen(len(sum)) {
			return nil, fmt.Errorf("%s: [%d].sha256 must be the 64 hex digits of a key's SHA-256", path, i)
		}
		if e.Application == "" && e.User == "" {
			return nil, fmt.Errorf("%s: [%d] must have an application or a user", path, i)
		}
		if _, twice := keys[sum]; twice {
			return nil, fmt.Errorf("%s: [%d].sha256 is there twice", path, i)
		}
		keys[sum] = gateway.Key{Application: e.Application, User: e.User, Department: e.Department}
	}
	return keys, nil
}
