package claudegatewayreceiver

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/confmap"

	"github.com/claudeaudit/claudeaudit/internal/gateway"
	"github.com/claudeaudit/claudeaudit/internal/readmetest"
)

func load(t *testing.T, settings map[string]any) error {
	t.Helper()
	cfg := createDefaultConfig()
	if err := confmap.NewFromStringMap(settings).Unmarshal(cfg); err != nil {
		return err
	}
	return confmap.Validate(cfg)
}

// What can't work is refused with the name of the key.
func TestConfig(t *testing.T) {
	require.NoError(t, load(t, map[string]any{"anonymous": "allow"}))
	require.NoError(t, load(t, map[string]any{"identity": map[string]any{"keys_file": "keys.yaml"}}))
	rule := func(r map[string]any) map[string]any {
		return map[string]any{"anonymous": "allow", "policy": map[string]any{"rules": []any{r}}}
	}
	for name, tc := range map[string]struct {
		settings map[string]any
		want     string
	}{
		"nobody is known":          {map[string]any{}, "anonymous: must be allow"},
		"anonymous":                {map[string]any{"anonymous": "maybe"}, "anonymous: must be refuse or allow"},
		"unknown key":              {map[string]any{"upstreems": map[string]any{}}, "upstreems"},
		"unknown nested key":       {map[string]any{"anonymous": "allow", "upstreams": map[string]any{"anthropic": map[string]any{"endpiont": "x"}}}, "endpiont"},
		"no upstream":              {map[string]any{"anonymous": "allow", "upstreams": map[string]any{"anthropic": map[string]any{"endpoint": ""}}}, "upstreams: must have an endpoint"},
		"upstream with a user":     {map[string]any{"anonymous": "allow", "upstreams": map[string]any{"foundry": map[string]any{"endpoint": "https://a:b@c"}}}, "upstreams::foundry::endpoint"},
		"half of a key for AWS":    {map[string]any{"anonymous": "allow", "upstreams": map[string]any{"bedrock": map[string]any{"access_key_id": "a", "region": "r"}}}, "upstreams::bedrock::secret_access_key"},
		"two tokens for Vertex":    {map[string]any{"anonymous": "allow", "upstreams": map[string]any{"vertex": map[string]any{"endpoint": "https://h", "bearer_token": "t", "default_credentials": true}}}, "upstreams::vertex::bearer_token"},
		"write timeout":            {map[string]any{"anonymous": "allow", "write_timeout": "30s"}, "write_timeout: must be 0"},
		"decompression":            {map[string]any{"anonymous": "allow", "compression_algorithms": []any{"gzip"}}, "compression_algorithms: must be empty"},
		"client_gone":              {map[string]any{"anonymous": "allow", "client_gone": "shrug"}, "client_gone: must be cancel or drain"},
		"batch_poll":               {map[string]any{"anonymous": "allow", "batch_poll": "-1s"}, "batch_poll: must be 0"},
		"public_url":               {map[string]any{"anonymous": "allow", "public_url": "gateway:8787"}, "public_url: must be an http or https URL"},
		"limit":                    {map[string]any{"anonymous": "allow", "limits": map[string]any{"max_request_bytes": 0}}, "limits::max_request_bytes"},
		"buffer below one request": {map[string]any{"anonymous": "allow", "limits": map[string]any{"max_buffered_bytes": 1}}, "limits::max_buffered_bytes"},
		"timeout":                  {map[string]any{"anonymous": "allow", "timeouts": map[string]any{"idle": "-1s"}}, "timeouts::idle"},
		"certificate without CA":   {map[string]any{"identity": map[string]any{"certificate": "uri"}}, "identity::certificate"},
		"token without keys":       {map[string]any{"identity": map[string]any{"token": map[string]any{"issuer": "i", "audience": "a"}}}, "identity::token::jwks_url"},
		"proxy that is no network": {map[string]any{"anonymous": "allow", "identity": map[string]any{"trusted_proxies": map[string]any{"cidrs": []any{"10.0.0.1"}}}}, "identity::trusted_proxies::cidrs"},
		"user of no proxy":         {map[string]any{"identity": map[string]any{"trusted_proxies": map[string]any{"user_header": "X"}}}, "identity::trusted_proxies::user_header"},
		"rule without a name":      {rule(map[string]any{"action": "block"}), "policy::rules[0]::name"},
		"rule of another action":   {rule(map[string]any{"name": "n", "action": "shoot"}), "policy::rules[0]::action"},
		"rule of another class":    {rule(map[string]any{"name": "n", "action": "block", "classification": "SECRET"}), "policy::rules[0]::classification"},
		"termination nowhere":      {rule(map[string]any{"name": "n", "action": "terminate"}), "policy::directory"},
		"rule on nothing known":    {rule(map[string]any{"name": "n", "action": "block", "on": "answer"}), "policy::rules[0]::on"},
		"response that is allowed": {rule(map[string]any{"name": "n", "action": "allow", "on": "response", "flags": []any{"output.*"}}), "policy::rules[0]::action"},
		"response without a find":  {rule(map[string]any{"name": "n", "action": "block", "on": "response"}), "policy::rules[0]::flags"},
		"budget nowhere":           {map[string]any{"anonymous": "allow", "policy": map[string]any{"budgets": []any{map[string]any{"name": "n", "per": "user", "calls": 1}}}}, "policy::directory"},
		"budget of nothing":        {map[string]any{"anonymous": "allow", "policy": map[string]any{"budgets": []any{map[string]any{"name": "n", "per": "user"}}}}, "policy::budgets[0]"},
	} {
		t.Run(name, func(t *testing.T) { require.ErrorContains(t, load(t, tc.settings), tc.want) })
	}
}

// The examples of the README are taken as they stand: a configuration with its policy, a file of keys.
func TestExamplesOfTheReadmeAreValid(t *testing.T) {
	keys := 0
	for _, example := range readmetest.YAML(t, "README.md") {
		if strings.HasPrefix(example, "- ") { // a list, which no configuration is
			path := filepath.Join(t.TempDir(), "keys.yaml")
			require.NoError(t, os.WriteFile(path, []byte(example), 0o600))
			_, err := readKeys(path)
			require.NoError(t, err, example)
			keys++
			continue
		}
		for _, cfg := range readmetest.Configs(t, example, "receivers", NewFactory()) {
			cfg := cfg.(*Config)
			cfg.Policy.Directory = t.TempDir()
			policy, err := cfg.Policy.policy("claude_gateway")
			require.NoError(t, err, example)
			if policy != nil {
				require.NoError(t, policy.Close())
			}
		}
	}
	require.NotZero(t, keys)
}

// The README has every key of the configuration but those of the collector's own libraries, which it links.
func TestReadmeNamesEveryKey(t *testing.T) {
	text := readmetest.Text(t, "README.md")
	var keys func(prefix string, typ reflect.Type)
	keys = func(prefix string, typ reflect.Type) {
		for i := range typ.NumField() {
			f := typ.Field(i)
			name, _, _ := strings.Cut(f.Tag.Get("mapstructure"), ",")
			key := prefix + name
			switch {
			case name == "":
				require.Contains(t, text, "confighttp")
			case f.Type.Kind() == reflect.Struct && f.Type.PkgPath() == reflect.TypeFor[Config]().PkgPath():
				keys(key+"::", f.Type)
			case f.Type.Kind() == reflect.Slice && f.Type.Elem().Kind() == reflect.Struct:
				require.Contains(t, text, "| `"+key+"` |")
				for j := range f.Type.Elem().NumField() {
					require.True(t, strings.Contains(text, "`"+f.Type.Elem().Field(j).Tag.Get("mapstructure")), "the README tells of %s of %s", f.Type.Elem().Field(j).Name, key)
				}
			default:
				// Some keys share a line of the table, with one prefix or for every upstream.
				parent, last := "", key
				if i := strings.LastIndex(key, "::"); i >= 0 {
					parent, last = key[:i], key[i:]
				}
				of, _, _ := strings.Cut(parent, "::")
				require.True(t, strings.Contains(text, "`"+key+"`") || strings.Contains(text, "`"+of+"::*"+last+"`") ||
					strings.Contains(text, "`"+parent+"::") && strings.Contains(text, ", `"+last+"`"), "the README's table of keys has %s", key)
			}
		}
	}
	keys("", reflect.TypeFor[Config]())
}

// A rule on a flag that can't be found is refused when the rules are read, by its key.
func TestPolicyOnUnknownFlags(t *testing.T) {
	policy := func(rules ...RuleConfig) error {
		c := &PolicyConfig{Rules: rules}
		p, err := c.policy("claude_gateway")
		if err == nil {
			require.NoError(t, p.Close())
		}
		return err
	}
	require.NoError(t, policy(RuleConfig{Name: "a", Action: "block", Flags: []string{"prompt_injection.*"}}))
	err := policy(RuleConfig{Name: "a", Action: "block"}, RuleConfig{Name: "b", Action: "block", Flags: []string{"prompt_injection.*", "crdit_card"}})
	require.ErrorContains(t, err, `rules[1]::flags[1]: "crdit_card"`)
	require.ErrorContains(t, err, "closest are credit_card")
}

func TestKeysFile(t *testing.T) {
	write := func(text string) string {
		path := filepath.Join(t.TempDir(), "keys.yaml")
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	const sum = "8f434346648f6b96df89dda901c5176b10a6d83961dd3c1ac88b59b2dc327aa4"
	keys, err := readKeys(write("- {sha256: " + sum + ", application: a, department: d}\n"))
	require.NoError(t, err)
	require.Len(t, keys, 1)
	for name, text := range map[string]string{
		"must be a list":            "sha256: x",
		"field secret not found":    "- {secret: x}",
		"must be the 64 hex digits": "- {sha256: 12, application: a}",
		"application or a user":     "- {sha256: " + sum + "}",
		"is there twice":            "- {sha256: " + sum + ", user: a}\n- {sha256: " + sum + ", user: b}",
	} {
		_, err := readKeys(write(text))
		require.ErrorContains(t, err, name)
	}
}

// issuer signs tokens, and shows the keys that it has now.
type issuer struct {
	keys map[string]*ecdsa.PrivateKey
}

func (i *issuer) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	var keys []any
	for id, key := range i.keys {
		point, err := key.PublicKey.Bytes() // 0x04, x, y
		if err != nil {
			http.Error(w, "no key", http.StatusInternalServerError)
			return
		}
		keys = append(keys, map[string]string{
			"kty": "EC", "crv": "P-256", "kid": id, "alg": "ES256", "use": "sig",
			"x": base64.RawURLEncoding.EncodeToString(point[1:33]), "y": base64.RawURLEncoding.EncodeToString(point[33:]),
		})
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"keys": keys}) // the client sees what is missing
}

func (i *issuer) token(t *testing.T, id string, claims map[string]any) string {
	t.Helper()
	part := func(v any) string {
		out, err := json.Marshal(v)
		require.NoError(t, err)
		return base64.RawURLEncoding.EncodeToString(out)
	}
	text := part(map[string]string{"alg": "ES256", "kid": id}) + "." + part(claims)
	sum := sha256.Sum256([]byte(text))
	r, s, err := ecdsa.Sign(rand.Reader, i.keys[id], sum[:])
	require.NoError(t, err)
	signature := make([]byte, 64)
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	return text + "." + base64.RawURLEncoding.EncodeToString(signature)
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	return key
}

// A token is checked against its issuer's keys, new ones too; one that is signed by another, is for somebody else, has
// expired or names nobody isn't taken.
func TestTokens(t *testing.T) {
	is := &issuer{keys: map[string]*ecdsa.PrivateKey{"1": newKey(t)}}
	server := httptest.NewServer(is)
	defer server.Close()
	verify := tokenVerifier(t.Context(), &TokenConfig{Issuer: "i", Audience: "a", JWKSURL: server.URL, UserClaim: "email", DepartmentClaim: "dep"})
	claims := func(change func(map[string]any)) map[string]any {
		c := map[string]any{"iss": "i", "aud": "a", "sub": "s", "email": "ana@example.org", "dep": "legal", "exp": time.Now().Add(time.Hour).Unix()}
		if change != nil {
			change(c)
		}
		return c
	}
	want := gateway.Claims{User: "ana@example.org", Department: "legal"}
	got, err := verify(t.Context(), is.token(t, "1", claims(nil)))
	require.NoError(t, err)
	require.Equal(t, want, got)

	is.keys = map[string]*ecdsa.PrivateKey{"2": newKey(t)} // rotated
	token := is.token(t, "2", claims(nil))
	require.Eventually(t, func() bool { // the end of the fetch before may not have been noticed yet
		got, err = verify(t.Context(), token)
		return err == nil
	}, 10*time.Second, time.Millisecond)
	require.Equal(t, want, got)

	other := &issuer{keys: map[string]*ecdsa.PrivateKey{"2": newKey(t)}}
	for name, token := range map[string]string{
		"another's signature": other.token(t, "2", claims(nil)),
		"another issuer":      is.token(t, "2", claims(func(c map[string]any) { c["iss"] = "j" })),
		"another audience":    is.token(t, "2", claims(func(c map[string]any) { c["aud"] = "b" })),
		"expired":             is.token(t, "2", claims(func(c map[string]any) { c["exp"] = time.Now().Add(-time.Hour).Unix() })),
		"nobody":              is.token(t, "2", claims(func(c map[string]any) { delete(c, "email") })),
		"empty":               "",
		"unsigned":            "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbmEifQ.",
	} {
		_, err := verify(t.Context(), token)
		require.Error(t, err, name)
	}
}
