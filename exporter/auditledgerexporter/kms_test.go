package auditledgerexporter

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.yaml.in/yaml/v3"

	"github.com/claudeaudit/claudeaudit/internal/audit"
	"github.com/claudeaudit/claudeaudit/internal/bucket"
	"github.com/claudeaudit/claudeaudit/internal/keystore"
	"github.com/claudeaudit/claudeaudit/internal/kms"
	"github.com/claudeaudit/claudeaudit/internal/kms/kmstest"
	"github.com/claudeaudit/claudeaudit/internal/ledger"
	"github.com/claudeaudit/claudeaudit/internal/readmetest"
	"github.com/claudeaudit/claudeaudit/internal/seal"
)

// withService has both keys in a key management service, as keygen --kms leaves it.
func withService(t *testing.T, d *kmstest.Double) *Config {
	t.Helper()
	cfg := inFolder(t, func(c *Config) {
		c.Keys.Generate = false
		c.Keys.Checkpoint = d.SigningRef
		c.Segment.MaxEntries = 2
		c.Timeout = 5 * time.Second
	})
	cfg.Keys.Subjects = bucket.Config{URL: cfg.beside("subjects")}
	cp, err := seal.MakeServiceCheckpointKey(t.Context(), d.SigningRef, "claudeaudit")
	require.NoError(t, err)
	require.NoError(t, os.MkdirAll(cfg.keysDir(), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(cfg.keysDir(), "checkpoint.pub"), []byte(cp.VerifierKey+"\n"), 0o644))
	id, err := seal.OpenServiceIdentity(t.Context(), d.DecryptingRef)
	require.NoError(t, err)
	require.NoError(t, seal.WriteServiceIdentity(id, cfg.beside("reader", "content.identity"), cfg.contentKeyPath()))
	require.NoError(t, id.Close())
	require.NoError(t, cp.Close())
	return cfg
}

func lastStatus(h *host) componentstatus.Status {
	s := h.statuses()
	if len(s) == 0 {
		return componentstatus.StatusNone
	}
	return s[len(s)-1]
}

func verified(t *testing.T, cfg *Config) *ledger.Report {
	t.Helper()
	keys, err := seal.LoadVerifierKeys(filepath.Join(cfg.keysDir(), "checkpoint.pub"))
	require.NoError(t, err)
	r, err := ledger.Verify(t.Context(), ledger.VerifyOptions{Dir: cfg.Directory, PublicKeys: keys, WitnessFiles: cfg.witnessFiles()})
	require.NoError(t, err)
	require.Empty(t, r.Problems)
	return r
}

// While the service is away, what is acknowledged stays on this disk, in and out
// of restarts, the component says so, and when the service is back everything
// comes under a checkpoint.
func TestServiceAway(t *testing.T) {
	d := kmstest.NewAWS(t) // internal/kms holds the services against each other
	cfg := withService(t, d)
	run := func(h *host) *ledgerExporter {
		e, err := newExporter(cfg, settings().TelemetrySettings)
		require.NoError(t, err)
		require.NoError(t, e.Start(t.Context(), h))
		return e
	}
	e := run(newHost())
	send := func(from, to byte) {
		for n := from; n <= to; n++ {
			require.NoError(t, e.consumeTraces(t.Context(), tracesOf(observation(n, 1))))
		}
	}
	covered := func(n uint64) func() bool { return func() bool { return e.log.Stats().Checkpointed >= n } }
	h := newHost()
	e.host = h
	send(1, 2)
	require.Eventually(t, covered(2), 10*time.Second, time.Millisecond)

	d.Fail(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	send(3, 8)
	require.Eventually(t, func() bool { return lastStatus(h) == componentstatus.StatusRecoverableError }, 20*time.Second, time.Millisecond)
	require.ErrorIs(t, h.events[len(h.events)-1].Err(), kms.ErrUnavailable)
	require.EqualValues(t, 2, e.log.Stats().Checkpointed)
	require.Positive(t, e.log.Stats().SignErrors)

	// A service that hangs does not hold a shutdown up.
	d.Fail(kmstest.Hang)
	end, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	require.ErrorContains(t, e.Shutdown(end), "they are sealed after the next start")
	require.Len(t, read(t, cfg), 8)

	d.Fail(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	h = newHost()
	e = run(h)
	send(9, 9)
	require.EqualValues(t, 2, e.log.Stats().Checkpointed)
	d.Fail(nil)
	require.Eventually(t, covered(8), 30*time.Second, time.Millisecond)
	require.NoError(t, e.Shutdown(t.Context()))
	if n := len(h.statuses()); n > 0 {
		require.Equal(t, componentstatus.StatusOK, lastStatus(h))
	}
	r := verified(t, cfg)
	require.Equal(t, ledger.Intact, r.Integrity)
	require.Equal(t, ledger.Complete, r.Completeness)
	require.EqualValues(t, 9, r.Entries)

	// The reader asks the service, by the file that names the key.
	id, err := seal.OpenIdentity(t.Context(), cfg.beside("reader", "content.identity"))
	require.NoError(t, err)
	defer func() { require.NoError(t, id.(*seal.ServiceIdentity).Close()) }()
	l, err := ledger.OpenReader(cfg.Directory)
	require.NoError(t, err)
	defer func() { require.NoError(t, l.Close()) }()
	store, err := bucket.Open(t.Context(), cfg.Keys.Subjects)
	require.NoError(t, err)
	got := read(t, cfg)[0]
	sealed, err := l.Content(got.Content.ResponseSHA256)
	require.NoError(t, err)
	plain, err := keystore.NewRing(store, id).Open(t.Context(), sealed, audit.ResponseAAD(got.EventID))
	require.NoError(t, err)
	require.Equal(t, outputMessages, string(plain))
	d.Fail(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	_, err = keystore.NewRing(store, id).Open(t.Context(), sealed, audit.ResponseAAD(got.EventID))
	require.ErrorIs(t, err, kms.ErrUnavailable)
}

func TestServiceKeysAreCheckedAtTheStart(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*testing.T, *kmstest.Double, *Config)
		want   string
	}{
		"refused": {func(_ *testing.T, d *kmstest.Double, _ *Config) {
			d.Fail(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) })
		}, "keys::checkpoint: sign with hashivault://checkpoint"},
		"another key under the name": {func(t *testing.T, d *kmstest.Double, _ *Config) {
			_, other, err := ed25519.GenerateKey(rand.Reader)
			require.NoError(t, err)
			d.Signing = other
		}, "its signature does not fit the public key that was noted"},
		"no public half": {func(t *testing.T, _ *kmstest.Double, c *Config) {
			require.NoError(t, os.Remove(filepath.Join(c.keysDir(), "checkpoint.pub")))
		}, "as `claudeaudit keygen --kms` writes it"},
		"a key file that names nothing": {func(t *testing.T, _ *kmstest.Double, c *Config) {
			c.Keys.Checkpoint = filepath.Join(c.keysDir(), "checkpoint.key")
			require.NoError(t, os.WriteFile(c.Keys.Checkpoint, []byte("awskms:///\n"), 0o600))
		}, "keys::checkpoint: checkpoint key: invalid key reference"},
		"content to the service's key itself": {func(_ *testing.T, _ *kmstest.Double, c *Config) {
			c.Keys.Subjects = bucket.Config{}
		}, "keys::subjects: must be given with a content key that is in a key management service"},
	} {
		t.Run(name, func(t *testing.T) {
			d := kmstest.NewVault(t)
			cfg := withService(t, d)
			tt.change(t, d, cfg)
			e, err := newExporter(cfg, settings().TelemetrySettings)
			require.NoError(t, err)
			err = e.Start(t.Context(), newHost())
			require.ErrorContains(t, err, tt.want)
			require.NotContains(t, err.Error(), kmstest.VaultToken)
			require.NoDirExists(t, cfg.Directory)
			require.NoError(t, e.Shutdown(t.Context()))
		})
	}
}

// The example of docs/kms.md is a configuration, and the policies of docs/iam can be read.
func TestDocumentation(t *testing.T) {
	docs := filepath.Join("..", "..", "docs")
	page := filepath.Join(docs, "kms.md")
	cfg := readmetest.Configs(t, readmetest.YAML(t, page)[0], "exporters", NewFactory())[0].(*Config)
	policies, err := filepath.Glob(filepath.Join(docs, "iam", "*.json"))
	require.NoError(t, err)
	require.NotEmpty(t, policies)
	for _, name := range policies {
		b, err := os.ReadFile(name)
		require.NoError(t, err)
		require.True(t, json.Valid(b), name)
	}
	roles, err := filepath.Glob(filepath.Join(docs, "iam", "*.yaml"))
	require.NoError(t, err)
	require.NotEmpty(t, roles)
	for _, name := range roles {
		var role struct {
			IncludedPermissions []string `yaml:"includedPermissions"`
		}
		require.NoError(t, yaml.Unmarshal([]byte(readmetest.Text(t, name)), &role), name)
		require.Contains(t, role.IncludedPermissions, "storage.buckets.get", name)
	}
	require.Contains(t, readmetest.Text(t, page), strings.TrimPrefix(cfg.Keys.Checkpoint, "awskms:///"))
}
