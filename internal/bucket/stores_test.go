package bucket_test

import (
	"context"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/claudeaudit/claudeaudit/internal/bucket"
	"github.com/claudeaudit/claudeaudit/internal/bucket/buckettest"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(int) { http.DefaultTransport.(*http.Transport).CloseIdleConnections() }))
}

func TestLocalConforms(t *testing.T) {
	buckettest.Conformance(t, func(t *testing.T) bucket.Store { return bucket.NewLocal(t.TempDir()) })
}

var s3Servers = map[string]func(testing.TB) *buckettest.Server{"VersityGW": buckettest.StartVersityGW, "MinIO": buckettest.StartMinIO}

func TestS3Conforms(t *testing.T) {
	for name, start := range s3Servers {
		t.Run(name, func(t *testing.T) {
			srv := start(t)
			n := 0
			buckettest.Conformance(t, func(t *testing.T) bucket.Store {
				n++
				b := "conformance-" + string(rune('a'+n))
				srv.NewS3Bucket(b, true)
				c := srv.S3Config(b, "")
				c.URL += "/some/prefix"
				return buckettest.Open(t, c)
			})
		})
	}
}

func TestBucketWithoutLockIsRefused(t *testing.T) {
	for name, start := range s3Servers {
		t.Run(name, func(t *testing.T) {
			srv := start(t)
			srv.NewS3Bucket("plain", false)
			s := buckettest.Open(t, srv.S3Config("plain", ""))
			_, err := bucket.Probe(t.Context(), s)
			require.ErrorIs(t, err, bucket.ErrNoLock)
			err = s.Put(t.Context(), "v1/a", []byte("1"), bucket.PutOptions{RetainUntil: time.Now().Add(time.Hour)})
			require.ErrorIs(t, err, bucket.ErrNoLock)
		})
	}
}

func TestAzureConforms(t *testing.T) {
	buckettest.Conformance(t, func(t *testing.T) bucket.Store {
		c := buckettest.AzureConfig(buckettest.StartAzureDouble(t), "evidence")
		c.URL += "/some/prefix"
		return buckettest.Open(t, c)
	})
}

func TestGCSConforms(t *testing.T) {
	buckettest.Conformance(t, func(t *testing.T) bucket.Store {
		c := buckettest.GCSConfig(buckettest.StartGCSDouble(t), "evidence")
		c.URL += "/some/prefix"
		return buckettest.Open(t, c)
	})
}

// Azurite takes the lock's headers and ignores them.
func TestAzuriteIsRefused(t *testing.T) {
	srv := buckettest.StartAzurite(t)
	c := buckettest.AzureConfig(srv.URL, "evidence")
	buckettest.CreateAzureContainer(t, c)
	s := buckettest.Open(t, c)
	_, err := bucket.Probe(t.Context(), s)
	require.ErrorIs(t, err, bucket.ErrNoLock)
	err = s.Put(t.Context(), "v1/a", []byte("1"), bucket.PutOptions{RetainUntil: time.Now().Add(time.Hour)})
	require.ErrorIs(t, err, bucket.ErrNoLock)
	require.ErrorContains(t, err, "shows no retention")
}

// fake-gcs-server keeps a retention and deletes the object all the same.
func TestFakeGCSIsRefused(t *testing.T) {
	srv := buckettest.StartFakeGCS(t)
	buckettest.CreateGCSBucket(t, srv.URL, "evidence", true)
	s := buckettest.Open(t, buckettest.GCSConfig(srv.URL, "evidence"))
	_, err := bucket.Probe(t.Context(), s)
	require.ErrorIs(t, err, bucket.ErrNoLock)
	// Also where the bucket's settings may not be read, and everything looks well.
	_, err = bucket.Probe(t.Context(), silent{s})
	require.ErrorIs(t, err, bucket.ErrNoLock)
	require.ErrorContains(t, err, "deleted it at once")
}

// silent is a store of whose settings the credentials may read nothing.
type silent struct{ bucket.Store }

func (silent) Settings(context.Context) (bucket.Settings, error) {
	return bucket.Settings{Lock: bucket.Unknown, Versioning: bucket.Unknown}, nil
}

// Who may only put can do nothing else, and a put whose answer got lost is
// told from one that another made. MinIO gets the policies that the documentation has.
func TestWriterMayOnlyWrite(t *testing.T) {
	minIO := func(file string) func(t *testing.T) (*buckettest.Server, bucket.Config) {
		return func(t *testing.T) (*buckettest.Server, bucket.Config) {
			policy, err := os.ReadFile("../../docs/iam/" + file)
			require.NoError(t, err)
			srv := buckettest.StartMinIO(t)
			srv.NewS3Bucket("evidence", true)
			srv.AssumeRole(t, strings.NewReplacer("acme-evidence", "evidence", "acme-content", "evidence", "acme-witness", "evidence").Replace(string(policy)))
			c := srv.S3Config("evidence", "")
			c.AccessKeyID, c.SecretAccessKey = "", "" // the standard chain's
			return srv, c
		}
	}
	for name, writer := range map[string]func(t *testing.T) (*buckettest.Server, bucket.Config){
		"VersityGW": func(t *testing.T) (*buckettest.Server, bucket.Config) {
			srv := buckettest.StartVersityGW(t)
			srv.NewS3Bucket("evidence", true)
			srv.CreateUser("writer", "writersecret")
			srv.SetBucketPolicy("evidence", buckettest.WriterPolicy("evidence", "writer"))
			c := srv.S3Config("evidence", "")
			c.AccessKeyID, c.SecretAccessKey = "writer", "writersecret"
			return srv, c
		},
		"MinIO":                          minIO("s3-writer.json"),
		"MinIO, the bucket of a witness": minIO("s3-witness.json"),
	} {
		t.Run(name, func(t *testing.T) {
			srv, c := writer(t)
			all := srv.S3Config("evidence", "")
			all.URL, c.URL = all.URL+"/claude", c.URL+"/claude"
			requireOnlyWrites(t, buckettest.Open(t, c), buckettest.Open(t, all))
			requireNoShortening(t, srv, c)
		})
	}
}

// requireNoShortening wants that the right to set a retention, which a put needs, takes none
// off: what the writer's credentials ask for past our own code is refused.
func requireNoShortening(t *testing.T, srv *buckettest.Server, c bucket.Config) {
	t.Helper()
	o := srv.S3Client().Options()
	o.Credentials = credentials.NewStaticCredentialsProvider(c.AccessKeyID, string(c.SecretAccessKey), "")
	if c.AccessKeyID == "" {
		o.Credentials = credentials.NewStaticCredentialsProvider(os.Getenv("AWS_ACCESS_KEY_ID"), os.Getenv("AWS_SECRET_ACCESS_KEY"), os.Getenv("AWS_SESSION_TOKEN"))
	}
	name, key := "evidence", "claude/v1/a"
	for _, mode := range []types.ObjectLockRetentionMode{types.ObjectLockRetentionModeCompliance, types.ObjectLockRetentionModeGovernance} {
		_, err := s3.New(o).PutObjectRetention(t.Context(), &s3.PutObjectRetentionInput{
			Bucket: &name, Key: &key, Retention: &types.ObjectLockRetention{Mode: mode, RetainUntilDate: aws.Time(time.Now().Add(time.Minute))},
		})
		var refused smithy.APIError
		require.ErrorAs(t, err, &refused, mode)
	}
	l, err := buckettest.Open(t, srv.S3Config(name, "")).Lock(t.Context(), key)
	require.NoError(t, err)
	require.Equal(t, "COMPLIANCE", l.Mode)
	require.True(t, l.RetainUntil.After(time.Now().Add(30*time.Minute)), l.RetainUntil)
}

func requireOnlyWrites(t *testing.T, s, owner bucket.Store) {
	t.Helper()
	ctx := t.Context()
	r, err := bucket.Probe(ctx, s)
	require.NoError(t, err)
	require.False(t, r.MayRead)
	require.False(t, r.MayList)
	require.False(t, r.MayDelete)
	require.Empty(t, r.Mode, "the mode was read back on the put; both locks together may not be read")

	until := time.Now().Add(time.Hour)
	opts := bucket.PutOptions{RetainUntil: until}
	require.NoError(t, s.Put(ctx, "v1/a", []byte("1"), opts))
	require.ErrorIs(t, s.Put(ctx, "v1/a", []byte("1"), opts), bucket.ErrUnread)
	require.ErrorIs(t, s.Put(ctx, "v1/a", []byte("2"), opts), bucket.ErrUnread)
	_, err = s.Get(ctx, "v1/a", 10)
	require.ErrorIs(t, err, bucket.ErrDenied)
	_, err = s.GetRange(ctx, "v1/a", 0, 1)
	require.ErrorIs(t, err, bucket.ErrDenied)
	_, err = s.Stat(ctx, "v1/a")
	require.ErrorIs(t, err, bucket.ErrDenied)
	require.ErrorIs(t, s.List(ctx, "", "", func(bucket.ObjectInfo) error { return nil }), bucket.ErrDenied)
	require.ErrorIs(t, s.Delete(ctx, "v1/a"), bucket.ErrDenied)
	require.ErrorIs(t, s.SetHold(ctx, "v1/a", true), bucket.ErrDenied)
	got, err := owner.Get(ctx, "v1/a", 10)
	require.NoError(t, err)
	require.Equal(t, "1", string(got))
	l, err := owner.Lock(ctx, "v1/a")
	require.NoError(t, err)
	require.False(t, l.RetainUntil.Before(until))
}

// What is written over an object, or hides it, is counted, and the first
// version is what is read.
func TestOverwrittenObjects(t *testing.T) {
	for name, start := range s3Servers {
		t.Run(name, func(t *testing.T) {
			srv := start(t)
			srv.NewS3Bucket("evidence", true)
			s := buckettest.Open(t, srv.S3Config("evidence", ""))
			ctx := t.Context()
			opts := bucket.PutOptions{RetainUntil: time.Now().Add(time.Hour)}
			for _, k := range []string{"v1/a", "v1/b", "v1/c", "v1/d", "v1/e", "v1/f"} {
				require.NoError(t, s.Put(ctx, k, []byte("first of "+k), opts))
			}
			srv.Overwrite("evidence", "v1/b", []byte("second"))
			srv.Hide("evidence", "v1/c")
			srv.Overwrite("evidence", "v1/d", []byte("second"))
			srv.Overwrite("evidence", "v1/d", []byte("third"))
			srv.Hide("evidence", "v1/d")
			srv.Overwrite("evidence", "v1/e", []byte("first of v1/e")) // a retry that a store took twice changes nothing
			srv.Overwrite("evidence", "v1/f", []byte("other of v1/f"))
			srv.Overwrite("evidence", "v1/f", []byte("first of v1/f"))
			// A reader that has not listed yet sees what the store shows.
			_, err := s.Get(ctx, "v1/c", 100)
			require.ErrorIs(t, err, bucket.ErrNotFound)
			var got []bucket.ObjectInfo
			require.NoError(t, s.List(ctx, "v1/", "", func(o bucket.ObjectInfo) error { got = append(got, o); return nil }))
			require.Equal(t, []bucket.ObjectInfo{
				{Key: "v1/a", Size: 13},
				{Key: "v1/b", Size: 13, Overwritten: 1},
				{Key: "v1/c", Size: 13, Overwritten: 1},
				{Key: "v1/d", Size: 13, Overwritten: 3},
				{Key: "v1/e", Size: 13},
				{Key: "v1/f", Size: 13, Overwritten: 2},
			}, got)
			for _, o := range got {
				b, err := s.Get(ctx, o.Key, 100)
				require.NoError(t, err)
				require.Equal(t, "first of "+o.Key, string(b))
				require.ErrorIs(t, s.Delete(ctx, o.Key), bucket.ErrLocked)
			}
		})
	}
}

// Azure and Google keep older versions without a marker: the same as with S3, and
// a deletion leaves none of them.
func TestVersionsOfAzureAndGCS(t *testing.T) {
	for name, start := range map[string]func(t *testing.T) (s bucket.Store, overwrite func(key, body string), hide func(key string)){
		"Azure": func(t *testing.T) (bucket.Store, func(string, string), func(string)) {
			at := buckettest.StartAzureDouble(t)
			return buckettest.Open(t, buckettest.AzureConfig(at, "evidence")),
				func(key, body string) { buckettest.OverwriteAzure(t, at, "evidence", key, body) },
				func(key string) { buckettest.HideAzure(t, at, "evidence", key) }
		},
		"Google": func(t *testing.T) (bucket.Store, func(string, string), func(string)) {
			at := buckettest.StartGCSDouble(t)
			return buckettest.Open(t, buckettest.GCSConfig(at, "evidence")),
				func(key, body string) { buckettest.OverwriteGCS(t, at, "evidence", key, body) },
				func(key string) { buckettest.HideGCS(t, at, "evidence", key) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, overwrite, hide := start(t)
			ctx := t.Context()
			for _, k := range []string{"v1/a", "v1/b", "v1/c", "v1/d", "v1/e", "v1/ee"} {
				require.NoError(t, s.Put(ctx, k, []byte("first of "+k), bucket.PutOptions{}))
			}
			overwrite("v1/b", "second")
			hide("v1/c")
			overwrite("v1/d", "second")
			overwrite("v1/d", "third")
			hide("v1/d")
			_, err := s.Get(ctx, "v1/c", 100)
			require.ErrorIs(t, err, bucket.ErrNotFound, "what the store shows one that has not listed yet")
			list := func() (got []bucket.ObjectInfo) {
				require.NoError(t, s.List(ctx, "v1/", "", func(o bucket.ObjectInfo) error { got = append(got, o); return nil }))
				return got
			}
			got := list()
			require.Equal(t, []bucket.ObjectInfo{
				{Key: "v1/a", Size: 13},
				{Key: "v1/b", Size: 13, Overwritten: 1},
				{Key: "v1/c", Size: 13, Overwritten: 1},
				{Key: "v1/d", Size: 13, Overwritten: 3},
				{Key: "v1/e", Size: 13},
				{Key: "v1/ee", Size: 14},
			}, got)
			for _, o := range got {
				b, err := s.Get(ctx, o.Key, 100)
				require.NoError(t, err)
				require.Equal(t, "first of "+o.Key, string(b))
				b, err = s.GetRange(ctx, o.Key, 9, 4)
				require.NoError(t, err)
				require.Equal(t, o.Key[:4], string(b))
				info, err := s.Stat(ctx, o.Key)
				require.NoError(t, err)
				require.Equal(t, o.Size, info.Size)
			}
			var after []string
			require.NoError(t, s.List(ctx, "v1/", "v1/c", func(o bucket.ObjectInfo) error { after = append(after, o.Key); return nil }))
			require.Equal(t, []string{"v1/d", "v1/e", "v1/ee"}, after)

			require.NoError(t, s.Delete(ctx, "v1/e"))
			for _, k := range []string{"v1/a", "v1/b", "v1/c", "v1/d"} {
				require.NoError(t, s.Delete(ctx, k))
				require.NoError(t, s.Delete(ctx, k), "again")
			}
			require.Equal(t, []bucket.ObjectInfo{{Key: "v1/ee", Size: 14}}, list(), "no version is left of the others, and one with a longer name is")

			// An older version that is locked keeps the object from being deleted.
			require.NoError(t, s.Put(ctx, "v1/locked", []byte("x"), bucket.PutOptions{RetainUntil: time.Now().Add(time.Hour)}))
			require.ErrorIs(t, s.Delete(ctx, "v1/locked"), bucket.ErrLocked)
		})
	}
}

func TestConfig(t *testing.T) {
	for name, tc := range map[string]struct {
		c    bucket.Config
		want string
	}{
		"s3":             {bucket.Config{URL: "s3://bucket/prefix?region=eu-central-1&path_style=true&endpoint=http://127.0.0.1:1"}, ""},
		"azure":          {bucket.Config{URL: "azure://account/container"}, ""},
		"gs":             {bucket.Config{URL: "gs://bucket"}, ""},
		"folder":         {bucket.Config{URL: "./audit-data/store"}, ""},
		"file":           {bucket.Config{URL: "file:///var/lib/store"}, ""},
		"empty":          {bucket.Config{}, "url: must be s3://BUCKET/PREFIX"},
		"scheme":         {bucket.Config{URL: "ftp://x/y"}, `scheme "ftp"`},
		"no bucket":      {bucket.Config{URL: "s3:///x"}, "names no bucket"},
		"no container":   {bucket.Config{URL: "azure://account"}, "names no bucket"},
		"credentials":    {bucket.Config{URL: "s3://key:secret@bucket"}, "must not hold credentials"},
		"option":         {bucket.Config{URL: "s3://bucket?acl=public"}, `unknown option "acl"`},
		"prefix":         {bucket.Config{URL: "s3://bucket/a/../b"}, "prefix"},
		"lock":           {bucket.Config{URL: "s3://bucket", Lock: "none"}, "lock: must be compliance or governance"},
		"endpoint":       {bucket.Config{URL: "s3://bucket", Endpoint: "127.0.0.1:9000"}, "endpoint: must be an address"},
		"key alone":      {bucket.Config{URL: "s3://bucket", AccessKeyID: "x"}, "secret_access_key: must be given"},
		"negative time":  {bucket.Config{URL: "s3://bucket", Timeout: -1}, "timeout: must be"},
		"file with host": {bucket.Config{URL: "file://host/x"}, "a folder is file:///PATH"},
	} {
		t.Run(name, func(t *testing.T) {
			err := tc.c.Check()
			if tc.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, tc.want)
			require.NotContains(t, err.Error(), "secret@")
		})
	}
	c := bucket.Config{URL: "s3://bucket/prefix?lock=governance", Region: "eu-central-1", Endpoint: "http://127.0.0.1:1", AccessKeyID: "k", SecretAccessKey: "s"}
	require.Equal(t, "s3://bucket/prefix?endpoint=http%3A%2F%2F127.0.0.1%3A1&region=eu-central-1", c.Address())
}

// Every way a store can fail ends within the time-out, and what was put in
// spite of it is there once.
func TestFaults(t *testing.T) {
	srv := buckettest.StartVersityGW(t)
	srv.NewS3Bucket("evidence", true)
	p := buckettest.NewProxy(t, srv.URL)
	c := srv.S3Config("evidence", p.URL)
	c.Timeout = 2 * time.Second
	s := buckettest.Open(t, c)
	body := []byte("the same body every time")
	for i, f := range []buckettest.Fault{
		buckettest.Status503, buckettest.Hang, buckettest.Drop, buckettest.BadAnswer, buckettest.Corrupt, buckettest.ReadOnly, buckettest.Full,
	} {
		t.Run(string(f), func(t *testing.T) {
			key := "v1/fault/" + string(rune('a'+i))
			opts := bucket.PutOptions{RetainUntil: time.Now().Add(time.Hour)}
			p.Fail(f)
			start := time.Now()
			err := s.Put(t.Context(), key, body, opts)
			require.Less(t, time.Since(start), 8*time.Second)
			require.Positive(t, p.Count(f))
			// A retry of the SDK's finds what the store took before.
			if f != buckettest.Drop && f != buckettest.BadAnswer {
				require.Error(t, err)
				require.NotErrorIs(t, err, bucket.ErrExists)
			}
			p.Fail(buckettest.Healthy)
			require.NoError(t, s.Put(t.Context(), key, body, opts))
			got, err := s.Get(t.Context(), key, 100)
			require.NoError(t, err)
			require.Equal(t, body, got)
		})
	}
	p.Fail(buckettest.WrongTime)
	err := s.Put(t.Context(), "v1/fault/time", body, bucket.PutOptions{RetainUntil: time.Now().Add(time.Hour)})
	require.ErrorIs(t, err, bucket.ErrClock, "whose lock would end at a wrong time")
	p.Fail(buckettest.BadRead)
	_, err = s.Get(t.Context(), "v1/fault/a", 100)
	require.Error(t, err, "a byte that was changed on its way is noticed")
}
