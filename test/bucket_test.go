package e2e

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/claudeaudit/claudeaudit/internal/bucket"
	"github.com/claudeaudit/claudeaudit/internal/bucket/buckettest"
	"github.com/claudeaudit/claudeaudit/internal/otlpclient"
)

const writerSecret = "writersecret"

// bucketStore is the settings of a ledger in two buckets, with credentials that
// may only put.
func bucketStore(srv *buckettest.Server, via, lockedBuckets string) map[string]any {
	store := func(name string) map[string]any {
		return map[string]any{
			"url": "s3://" + name + "/claude", "endpoint": via, "region": "us-east-1", "timeout": "3s",
			"access_key_id": "writer", "secret_access_key": writerSecret,
		}
	}
	return map[string]any{"exporters": map[string]any{"audit_ledger": map[string]any{
		"store": store(lockedBuckets + "records"), "content_store": store(lockedBuckets + "content"),
		"retention": map[string]any{"class": "sec17a4"},
		"segment":   map[string]any{"max_entries": 20, "max_age": "1s"},
	}}}
}

func startEvidenceBuckets(t *testing.T) *buckettest.Server {
	t.Helper()
	srv := buckettest.StartVersityGW(t)
	srv.CreateUser("writer", writerSecret)
	for _, b := range []string{"records", "content"} {
		srv.NewS3Bucket(b, true)
		srv.SetBucketPolicy(b, buckettest.WriterPolicy(b, "writer"))
		srv.NewS3Bucket("plain-"+b, false)
		srv.SetBucketPolicy("plain-"+b, buckettest.WriterPolicy("plain-"+b, "writer"))
	}
	return srv
}

// asOwner gives the command the credentials of who may read.
func asOwner(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", buckettest.RootKey)
	t.Setenv("AWS_SECRET_ACCESS_KEY", buckettest.RootSecret)
	t.Setenv("AWS_REGION", "us-east-1")
}

// A collector with put-only credentials writes into locked buckets while they
// fail, are killed, and it is killed; whoever may read verifies the bucket alone
// and with the collector's folder, and the index follows.
func TestLedgerInBuckets(t *testing.T) {
	srv := startEvidenceBuckets(t)
	proxy := buckettest.NewProxy(t, srv.URL)
	c := newCollector(t, "local.yaml", bucketStore(srv, proxy.URL, ""))
	asOwner(t)
	l := &load{acked: map[string]int{}}
	for round, fault := range []buckettest.Fault{buckettest.Healthy, buckettest.Drop, buckettest.Status503, buckettest.Healthy} {
		proxy.Fail(buckettest.Healthy)
		c.start()
		proxy.Fail(fault)
		client, err := otlpclient.New(c.httpAddr, c.grpcAddr)
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			l.run(ctx, client, 2)
		}()
		time.Sleep(1500 * time.Millisecond)
		if round == 1 {
			srv.Kill()
			time.Sleep(500 * time.Millisecond)
			srv.Start()
		}
		c.kill()
		cancel()
		<-done
		require.NoError(t, client.Close())
		require.Empty(t, l.refused)
	}
	proxy.Fail(buckettest.Healthy)
	c.start()
	l.drain(t, c.client())
	require.NotEmpty(t, l.acked)
	c.requireExactlyOnce(l.acked)
	c.awaitRecords(len(l.acked))
	c.verify() // the bucket and what is not sealed yet
	c.stop()
	c.verify()

	// The auditor has the bucket, a public key and the witness's copies.
	url := "s3://records/claude?region=us-east-1&endpoint=" + srv.URL
	contents := "s3://content/claude?region=us-east-1&endpoint=" + srv.URL
	args := []string{
		"verify", url, "--content-store", contents, "--public-key", filepath.Join(c.data, "keys", "checkpoint.pub"),
		"--checkpoints", filepath.Join(c.data, "witness", "checkpoints"), "--format", "json",
	}
	var report struct {
		Integrity, Completeness string
		Entries                 int
		Contents                int
		Streams                 []struct{ Witnessed int }
	}
	require.NoError(t, json.Unmarshal([]byte(mustRun(t, args...)), &report))
	require.Equal(t, "intact", report.Integrity)
	require.Equal(t, "complete", report.Completeness)
	require.Len(t, report.Streams, 1)
	require.Equal(t, report.Entries, report.Streams[0].Witnessed)
	require.Positive(t, report.Contents)

	// What the store said of itself is in the ledger, once a start, with the retention.
	probes := 0
	c.eachLine(func(line []byte) {
		var r struct {
			Operation string
			Details   map[string]string
			Retention struct{ Class, Rule, Until string }
		}
		require.NoError(t, json.Unmarshal(line, &r))
		require.Equal(t, "sec17a4", r.Retention.Class)
		require.Equal(t, "default", r.Retention.Rule)
		require.NotEmpty(t, r.Retention.Until)
		if r.Operation == "store.probe" {
			probes++
			require.Equal(t, "false", r.Details["may_read"])
			require.Equal(t, "false", r.Details["may_delete"])
			require.NotEmpty(t, r.Details["object"])
		}
	})
	require.GreaterOrEqual(t, probes, 2*4)

	// One bit, behind the server's back.
	segs := filesUnder(t, filepath.Join(srv.Data, "objects", "records"), ".zst")
	require.NotEmpty(t, segs)
	flipFile(t, segs[0])
	got := claudeaudit(t, args...)
	require.Equal(t, 1, got.code, "%s", got)
	require.Contains(t, got.stdout, `"kind": "segment"`)
	flipFile(t, segs[0])
	require.Zero(t, claudeaudit(t, args...).code)

	// The locks, and a matter's holds, as the store shows them.
	mustRun(t, append(args, "--locks")...)
	mustRun(t, "hold", "add", "--data", c.data, "--matter", "m1", "--by", "legal", "--application", "e2e")
	mustRun(t, "verify", "--data", c.data, "--locks")
	owner := buckettest.Open(t, srv.S3Config("records", ""))
	key := "" // of a segment that is held; one of system entries alone is not
	require.NoError(t, owner.List(t.Context(), "claude/v1/", "", func(o bucket.ObjectInfo) error {
		if key != "" || !strings.HasSuffix(o.Key, ".zst") {
			return nil
		}
		lock, err := owner.Lock(t.Context(), o.Key)
		if lock.Hold {
			key = o.Key
		}
		return err
	}))
	require.NotEmpty(t, key)
	require.NoError(t, owner.SetHold(t.Context(), key, false))
	got = claudeaudit(t, "verify", "--data", c.data, "--locks")
	require.Equal(t, 1, got.code, "%s", got)
	require.Contains(t, got.stdout, "not-held")
	require.NoError(t, owner.SetHold(t.Context(), key, true))
	require.NoError(t, owner.Put(t.Context(), strings.Replace(key, ".zst", ".copy", 1), []byte("x"), bucket.PutOptions{}))
	got = claudeaudit(t, append(args, "--locks")...)
	require.Equal(t, 1, got.code, "%s", got)
	require.Contains(t, got.stdout, "unlocked")

	// A record's content is read from the bucket.
	records := c.search("--limit", "1")
	require.NotEmpty(t, records)
	shown := claudeaudit(t, "show", records[0].text("event_id"), "--data", c.data, "--content", "--identity", filepath.Join(c.data, "keys", "content.identity"))
	require.Zero(t, shown.code, "%s", shown)
	require.Contains(t, shown.stdout, "--- user")
}

// A bucket that was made without lock is refused, and says so.
func TestBucketWithoutLock(t *testing.T) {
	srv := startEvidenceBuckets(t)
	c := newCollector(t, "local.yaml", bucketStore(srv, srv.URL, "plain-"))
	c.launch()
	require.NotZero(t, c.waitExit(time.Minute))
	require.Contains(t, c.logText(), "store: nothing was written but this try")
	require.Contains(t, c.logText(), "the store does not lock objects")
	for _, b := range []string{"plain-records", "plain-content"} {
		// VersityGW keeps the object whose put it refuses.
		for _, f := range filesUnder(t, filepath.Join(srv.Data, "objects", b), "") {
			require.Contains(t, filepath.ToSlash(f), "/v1/_probe/", "the try is all that was written")
		}
	}
}

// A store that is down is no reason not to start: what is acknowledged waits
// on the disk, health says why, and it goes there when the store is back.
func TestStoreIsDownAtTheStart(t *testing.T) {
	srv := startEvidenceBuckets(t)
	proxy := buckettest.NewProxy(t, srv.URL)
	c := newCollector(t, "local.yaml", bucketStore(srv, proxy.URL, ""))
	c.start()
	c.kill()
	proxy.Script(func(*http.Request) buckettest.Fault { return buckettest.Status503 })
	c.start()
	l := &load{acked: map[string]int{}}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	l.run(ctx, c.client(), 1)
	require.NotEmpty(t, l.acked)
	c.requireExactlyOnce(l.acked)
	require.Contains(t, c.logText(), "the store does not answer")
	proxy.Fail(buckettest.Healthy)
	asOwner(t)
	require.Eventually(t, func() bool {
		return len(filesUnder(t, filepath.Join(srv.Data, "objects", "records"), ".zst")) > 0
	}, time.Minute, 200*time.Millisecond)
	c.stop()
	c.verify()
}

func filesUnder(t *testing.T, dir, suffix string) (out []string) {
	t.Helper()
	require.NoError(t, filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err == nil && info.Mode().IsRegular() && (suffix == "" || filepath.Ext(path) == suffix) {
			out = append(out, path)
		}
		return err
	}))
	return out
}

func flipFile(t *testing.T, path string) {
	t.Helper()
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	b[len(b)/3] ^= 1
	require.NoError(t, os.WriteFile(path, b, 0o600))
}
