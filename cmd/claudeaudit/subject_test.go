package main

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/stretchr/testify/require"

	"github.com/claudeaudit/claudeaudit/internal/audit"
	"github.com/claudeaudit/claudeaudit/internal/bucket/buckettest"
	"github.com/claudeaudit/claudeaudit/internal/index/indextest"
	"github.com/claudeaudit/claudeaudit/internal/index/sqlite"
	"github.com/claudeaudit/claudeaudit/internal/keystore"
)

// An erasure says what other ledgers still tell of the person in an index that they
// share, and does not look like all was done.
func TestEraseInASharedIndex(t *testing.T) {
	carol := func(r *audit.Record) { r.UserID = "carol" }
	erase := func(f *fixture, args ...string) (result, string) {
		certificate := filepath.Join(t.TempDir(), "certificate")
		got := runWith(t, "", append([]string{
			"subject", "erase", "carol", "--data", f.dir, "--basis", "b", "--requester", "dpo", "--approver", "x", "--approver", "y", "--certificate", certificate,
		}, args...)...)
		b, err := os.ReadFile(certificate)
		if err != nil {
			require.ErrorIs(t, err, os.ErrNotExist)
		}
		return got, string(b)
	}
	for name, tt := range map[string]struct {
		others func(l *indextest.Ledger)
		want   string // of what is elsewhere, "" for nothing
		lines  string // of the certificate
	}{
		"another ledger's records": {
			others: func(l *indextest.Ledger) {
				l.Append("other/1", indextest.Record(11, carol))
				l.Append("other/1", indextest.Record(12, carol))
				l.Append("third/1", indextest.Record(13, carol))
				l.Append("third/1", indextest.Record(14))
			},
			want: "3 records of the person are in the index by other ledgers, whose streams are other/1, third/1", lines: "elsewhere other/1\nelsewhere third/1\n",
		},
		"a call that this ledger tells of too, without the person": {
			others: func(l *indextest.Ledger) { l.Append("other/1", indextest.Record(3, carol)) },
			want:   "1 records of the person are in the index by other ledgers, whose streams are other/1", lines: "elsewhere other/1\n",
		},
		"a call that both tell of": {others: func(l *indextest.Ledger) { l.Append("other/1", indextest.Record(1, carol)) }},
		"other persons":            {others: func(l *indextest.Ledger) { l.Append("other/1", indextest.Record(11)) }},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.append(indextest.Record(1, carol), indextest.Record(2), indextest.Record(3, func(r *audit.Record) { r.UserID = "" }))
			f.reindex()
			f.closeLedger()
			s, err := sqlite.Open(t.Context(), f.path("index", "audit.db"))
			require.NoError(t, err)
			others := indextest.NewLedger()
			tt.others(others)
			indextest.Apply(t, s, others)
			require.NoError(t, s.Close())

			dry, certificate := erase(f, "--dry-run")
			require.Zero(t, dry.code, dry.stderr)
			require.Empty(t, certificate)
			got, certificate := erase(f)
			require.Contains(t, got.out, "the person's fields are erased in the index")
			if tt.want == "" {
				require.Zero(t, got.code, got.stderr)
				require.NotContains(t, dry.out+got.out, "NOT ALL")
				require.NotContains(t, certificate, "elsewhere")
				require.Contains(t, runWith(t, "", "search", "--data", f.dir, "--user", "carol").stderr, "no records found")
				return
			}
			require.Equal(t, 1, got.code, got.stderr)
			for _, out := range []string{dry.out, got.out} {
				require.Contains(t, out, "NOT ALL: "+tt.want+"; \"subject erase\" has to be run with each of them")
			}
			require.Contains(t, certificate, "\n"+tt.lines)
		})
	}
	t.Run("of whom this ledger tells nothing", func(t *testing.T) {
		f := newFixture(t)
		f.append(indextest.Record(2))
		f.reindex()
		f.closeLedger()
		s, err := sqlite.Open(t.Context(), f.path("index", "audit.db"))
		require.NoError(t, err)
		others := indextest.NewLedger()
		others.Append("other/1", indextest.Record(11, carol))
		indextest.Apply(t, s, others)
		require.NoError(t, s.Close())
		got, _ := erase(f)
		require.Equal(t, 1, got.code)
		require.Contains(t, got.stderr, "the ledger has no record of this user; 1 records of the person are in the index by other ledgers, whose streams are other/1")
	})
}

// Keys in a bucket of their own, which keeps versions and has no lock: after the erasure
// no version of the person's key is left there, and another's is.
func TestEraseOfKeysInABucket(t *testing.T) {
	for name, start := range map[string]func(testing.TB) *buckettest.Server{"VersityGW": buckettest.StartVersityGW, "MinIO": buckettest.StartMinIO} {
		t.Run(name, func(t *testing.T) {
			srv := start(t)
			srv.NewS3Bucket("keys", false)
			bucketName := "keys"
			_, err := srv.S3Client().PutBucketVersioning(t.Context(), &s3.PutBucketVersioningInput{
				Bucket: &bucketName, VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatusEnabled},
			})
			require.NoError(t, err)
			f := newFixture(t)
			config := filepath.Join(t.TempDir(), "collector.yaml")
			require.NoError(t, os.WriteFile(config, fmt.Appendf(nil, `exporters:
  audit_ledger:
    directory: %s
    keys:
      subjects: {url: "s3://keys/claude", endpoint: %q, region: us-east-1, access_key_id: %s, secret_access_key: %s}
  audit_sqlite: {path: %s, ledger: %s}
`, f.path("ledger"), srv.URL, buckettest.RootKey, buckettest.RootSecret, f.path("index", "audit.db"), f.path("ledger")), 0o600))
			t.Setenv("AWS_ACCESS_KEY_ID", buckettest.RootKey)
			t.Setenv("AWS_SECRET_ACCESS_KEY", buckettest.RootSecret)
			c := srv.S3Config("keys", "")
			c.URL += "/claude"
			keys := buckettest.Open(t, c)
			writer := keystore.NewWriter(keys, f.seal)
			ids := map[string]string{}
			for i, user := range []string{"carol", "dave"} {
				f.seal, err = writer.For(t.Context(), "user:"+user)
				require.NoError(t, err)
				ids[user] = f.seal.KeyID()
				f.appendWithContent(indextest.Record(i, func(r *audit.Record) { r.UserID = user }))
			}
			f.closeLedger()
			must(t, "reindex", "--config", config)
			show := func(n int) result {
				return runWith(t, "", "show", indextest.EventID(n).String(), "--config", config, "--content", "--identity", f.path("keys", "content.identity"))
			}
			for n := range 2 {
				require.Contains(t, show(n).out, "What is the IBAN of Erika?", show(n).stderr)
			}
			must(t, "subject", "erase", "carol", "--config", config, "--basis", "b", "--requester", "dpo", "--approver", "x", "--approver", "y", "--certificate", filepath.Join(t.TempDir(), "c"))
			require.Contains(t, show(0).stderr, "nobody opens it")
			require.Contains(t, show(1).out, "What is the IBAN of Erika?")
			require.Contains(t, must(t, "verify", "--config", config), "2 shredded: their keys were destroyed")
			versions, err := srv.S3Client().ListObjectVersions(t.Context(), &s3.ListObjectVersionsInput{Bucket: &bucketName})
			require.NoError(t, err)
			require.Len(t, versions.Versions, 1, "the other person's key")
			require.Contains(t, *versions.Versions[0].Key, ids["dave"])
			require.Empty(t, versions.DeleteMarkers)
		})
	}
}
