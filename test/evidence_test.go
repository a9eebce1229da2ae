package e2e

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/anthropics/anthropic-sdk-go"
	"github.com/anthropics/anthropic-sdk-go/option"
	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/claudeaudit/claudeaudit/internal/bucket/buckettest"
	"github.com/claudeaudit/claudeaudit/internal/otlpclient"
)

// startWitness starts the built witness, and gives its address and a function
// that ends it.
func startWitness(t *testing.T, dir, keys, log string, args ...string) (addr string, stop func()) {
	t.Helper()
	addr = freeAddr(t)
	cmd := exec.Command(program(t, "claudeaudit"), append([]string{"witness", "--dir", dir, "--keys", keys, "--listen", addr, "--log", log}, args...)...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	require.NoError(t, cmd.Start())
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
		require.NoError(t, cmd.Wait(), out.String())
	}
	t.Cleanup(stop)
	require.Eventually(t, func() bool {
		c, err := net.DialTimeout("tcp", addr, time.Second)
		if err != nil {
			return false
		}
		require.NoError(t, c.Close())
		return true
	}, 20*time.Second, 50*time.Millisecond)
	return addr, stop
}

// A witness under an identity of its own cosigns what the collector seals; an
// auditor asks for the quorum. Who has the collector's key and everything it
// wrote can't write another history that stands.
func TestWitnessedLedger(t *testing.T) {
	home := t.TempDir()
	keys := filepath.Join(home, "keys")
	mustRun(t, "keygen", "--dir", keys, "--only", "witness", "--name", "witness.example.com")
	writer := filepath.Join(home, "writer")
	mustRun(t, "keygen", "--dir", writer)
	addr, stop := startWitness(t, filepath.Join(home, "ledger"), keys, filepath.Join(writer, "checkpoint.pub"))
	ledgerSettings := map[string]any{
		"keys":    map[string]any{"directory": writer, "generate": false},
		"segment": map[string]any{"max_entries": 10, "max_age": "500ms"},
		"witness": map[string]any{"servers": []any{map[string]any{"url": "http://" + addr, "public_key": filepath.Join(keys, "witness.pub")}}},
		"origin":  "example.com/audit",
	}
	settings := map[string]any{"exporters": map[string]any{"audit_ledger": ledgerSettings}}
	c := newCollector(t, "local.yaml", settings)
	c.start()
	l := &load{acked: map[string]int{}}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	l.run(ctx, c.client(), 1)
	require.NotEmpty(t, l.acked)
	c.stop()

	policy := filepath.Join(home, "policy")
	read := func(path string) string {
		b, err := os.ReadFile(path)
		require.NoError(t, err)
		return strings.TrimSpace(string(b))
	}
	require.NoError(t, os.WriteFile(policy, []byte("log "+read(filepath.Join(writer, "checkpoint.pub"))+"\nwitness w "+read(filepath.Join(keys, "witness.pub"))+"\nquorum w\n"), 0o600))
	args := []string{"verify", filepath.Join(c.data, "ledger"), "--policy", policy, "--format", "json"}
	var report struct {
		Integrity string
		Entries   int
		Streams   []struct {
			Origin   string
			Cosigned int
		}
		Problems []struct{ Kind string }
	}
	require.NoError(t, json.Unmarshal([]byte(mustRun(t, args...)), &report))
	require.Equal(t, "intact", report.Integrity)
	require.Equal(t, report.Entries, report.Streams[0].Cosigned)
	require.Equal(t, "example.com/audit/1", report.Streams[0].Origin)

	// The witness's own log is a ledger like any other.
	stop()
	mustRun(t, "verify", filepath.Join(home, "ledger"), "--public-key", filepath.Join(keys, "checkpoint.pub"))
	mustRun(t, append(args, "--aggregate", filepath.Join(home, "ledger"))...)

	// The thief writes as many calls with the stolen key, under the same name, alone.
	delete(ledgerSettings, "witness")
	thief := newCollector(t, "local.yaml", settings)
	thief.start()
	var calls []call
	for range report.Entries {
		calls = append(calls, newCall("thief", "another history"))
	}
	require.NoError(t, thief.client().Send(t.Context(), traces(calls...), otlpclient.HTTPProtobuf))
	thief.stop()
	got := claudeaudit(t, "verify", filepath.Join(thief.data, "ledger"), "--policy", policy)
	require.Equal(t, 1, got.code, "%s", got)
	require.Contains(t, got.stdout, "missing-quorum")
	got = claudeaudit(t, "verify", filepath.Join(thief.data, "ledger"), "--public-key", filepath.Join(writer, "checkpoint.pub"), "--aggregate", filepath.Join(home, "ledger"))
	require.Equal(t, 1, got.code, "%s", got)
}

// A witness writes its own log into a bucket of its own, locked; what it has there is
// what the collector's ledger is held against.
func TestWitnessInABucket(t *testing.T) {
	srv := buckettest.StartVersityGW(t)
	srv.NewS3Bucket("witness", true)
	asOwner(t)
	store := "s3://witness/aggregate?region=us-east-1&endpoint=" + srv.URL
	home := t.TempDir()
	keys, writer := filepath.Join(home, "keys"), filepath.Join(home, "writer")
	mustRun(t, "keygen", "--dir", keys, "--only", "witness", "--name", "witness.example.com")
	mustRun(t, "keygen", "--dir", writer)
	got := claudeaudit(t, "witness", "--dir", filepath.Join(home, "no"), "--keys", keys, "--log", filepath.Join(writer, "checkpoint.pub"), "--store", store)
	require.Equal(t, 2, got.code, "a bucket without a retention: %s", got)
	addr, stop := startWitness(t, filepath.Join(home, "ledger"), keys, filepath.Join(writer, "checkpoint.pub"), "--store", store, "--retention", "sec17a4")
	c := newCollector(t, "local.yaml", map[string]any{"exporters": map[string]any{"audit_ledger": map[string]any{
		"keys":    map[string]any{"directory": writer, "generate": false},
		"segment": map[string]any{"max_entries": 10, "max_age": "500ms"},
		"witness": map[string]any{"servers": []any{map[string]any{"url": "http://" + addr, "public_key": filepath.Join(keys, "witness.pub")}}},
	}}})
	c.start()
	for i := range 12 {
		require.NoError(t, c.client().Send(t.Context(), traces(newCall("carol", strconv.Itoa(i))), otlpclient.HTTPProtobuf))
	}
	c.stop()
	stop()
	mustRun(t, "verify", store, "--public-key", filepath.Join(keys, "checkpoint.pub"), "--locks")
	ledgerArgs := []string{"verify", filepath.Join(c.data, "ledger"), "--public-key", filepath.Join(writer, "checkpoint.pub"), "--aggregate", store}
	mustRun(t, ledgerArgs...)

	// Cut off behind the collector's back, with every copy that its host has.
	cut := copyEvidence(t, c.data)
	for _, f := range cut.checkpoints()[1:] {
		cut.remove(f)
	}
	for _, f := range cut.segments()[1:] {
		cut.remove(f)
	}
	for _, own := range []string{"witness", "ledger/wal"} {
		require.NoError(t, os.RemoveAll(filepath.Join(cut.data, own)))
	}
	ledgerArgs[1] = filepath.Join(cut.data, "ledger", "store")
	got = claudeaudit(t, ledgerArgs...)
	require.Equal(t, 1, got.code, "%s", got)
	require.Contains(t, got.stdout, "truncated")
}

// A person's keys are destroyed: nobody opens the content any more, the ledger
// verifies and counts it, others' content opens; a hold and a class of
// retention keep it from happening.
func TestErasure(t *testing.T) {
	c := newCollector(t, "local.yaml", smallSegments)
	c.start()
	client := c.client()
	secret := "the password of carol is hunter2"
	for i, u := range []string{"carol", "carol", "dave"} {
		require.NoError(t, client.Send(t.Context(), traces(newCall(u, secret+" "+strconv.Itoa(i))), otlpclient.HTTPJSON))
	}
	c.awaitRecords(3)
	c.stop()
	identity := filepath.Join(c.data, "keys", "content.identity")
	show := func(r record) result {
		return claudeaudit(t, "show", r.text("event_id"), "--data", c.data, "--content", "--identity", identity)
	}
	carol, dave := c.search("--user", "carol"), c.search("--user", "dave")
	require.Len(t, carol, 2)
	require.Len(t, dave, 1)
	for _, r := range append(carol, dave...) {
		require.Contains(t, show(r).stdout, secret)
	}
	certificate := filepath.Join(t.TempDir(), "certificate.txt")
	erase := func(args ...string) result {
		return claudeaudit(t, append([]string{
			"subject", "erase", "carol", "--data", c.data, "--basis", "Art. 17 request 4711", "--requester", "dpo@example.org",
			"--approver", "counsel@example.org", "--certificate", certificate,
		}, args...)...)
	}
	require.Equal(t, 2, erase().code, "one approver")
	require.Equal(t, 2, erase("--approver", "Counsel@example.org ").code, "the same person twice")
	require.Equal(t, 2, erase("--approver", "dpo@example.org").code, "who asks doesn't approve")

	// Held: refused, and the refusal is recorded.
	mustRun(t, "hold", "add", "--data", c.data, "--matter", "2026-117", "--by", "legal@example.org", "--application", "e2e")
	require.Contains(t, mustRun(t, "hold", "list", "--data", c.data), "2026-117")
	got := erase("--approver", "cro@example.org")
	require.Equal(t, 1, got.code, "%s", got)
	require.Contains(t, got.stdout, "REFUSED: a record is under the legal hold of matter 2026-117")
	require.Contains(t, show(carol[0]).stdout, secret)
	require.NoFileExists(t, certificate)
	c.verify()
	require.Equal(t, 2, claudeaudit(t, "hold", "remove", "--data", c.data, "--matter", "2026-117", "--requester", "a", "--approver", "b").code)
	mustRun(t, "hold", "remove", "--data", c.data, "--matter", "2026-117", "--requester", "legal@example.org", "--approver", "counsel@example.org", "--approver", "cro@example.org")
	require.Equal(t, "no hold\n", mustRun(t, "hold", "list", "--data", c.data))

	require.Contains(t, mustRun(t, "subject", "erase", "carol", "--data", c.data, "--dry-run"), "nothing was done")
	require.Contains(t, show(carol[0]).stdout, secret)
	got = erase("--approver", "cro@example.org")
	require.Zero(t, got.code, "%s", got)
	for _, r := range carol {
		got := show(r)
		require.Equal(t, 2, got.code)
		require.NotContains(t, got.stdout, secret)
		require.Contains(t, got.stderr, "nobody opens it")
	}
	require.Contains(t, show(dave[0]).stdout, secret)
	require.Empty(t, c.search("--user", "carol"))
	require.Equal(t, 1, claudeaudit(t, "subject", "erase", "nobody-known", "--data", c.data, "--dry-run").code)

	out := mustRun(t, "verify", "--data", c.data)
	require.Contains(t, out, "4 shredded: their keys were destroyed")
	require.Contains(t, out, "integrity     intact")
	mustRun(t, "verify", "--data", filepath.Join(c.data, "admin"))

	// What the law lets her ask for: her records, and that their content is gone.
	zipped := filepath.Join(t.TempDir(), "carol.zip")
	mustRun(t, "subject", "export", "carol", "--data", c.data, "--output", zipped, "--identity", identity, "--requester", "dpo@example.org")
	z, err := zip.OpenReader(zipped)
	require.NoError(t, err)
	defer z.Close()
	contents := 0
	for _, f := range z.File {
		r, err := f.Open()
		require.NoError(t, err)
		b, err := io.ReadAll(r)
		require.NoError(t, errors.Join(err, r.Close()))
		require.NotContains(t, string(b), secret, f.Name)
		require.NotContains(t, string(b), "dave", f.Name)
		if strings.HasPrefix(f.Name, "content/") {
			contents++
			require.Contains(t, string(b), "shredded")
		}
	}
	require.Equal(t, 4, contents)

	// The certificate is signed, and the log doesn't name the person.
	text, err := os.ReadFile(certificate)
	require.NoError(t, err)
	pub, err := os.ReadFile(filepath.Join(c.data, "admin", "keys", "checkpoint.pub"))
	require.NoError(t, err)
	v, err := note.NewVerifier(strings.TrimSpace(string(pub)))
	require.NoError(t, err)
	opened, err := note.Open(text, note.VerifierList(v))
	require.NoError(t, err)
	require.Contains(t, opened.Text, `subject "carol"`)
	require.Equal(t, 1, strings.Count(opened.Text, "\nkey "))
	for _, f := range filesUnder(t, filepath.Join(c.data, "admin"), ".wal") {
		b, err := os.ReadFile(f)
		require.NoError(t, err)
		require.NotContains(t, string(b), "carol")
	}
}

// The index loses what names an erased person, and keeps the records: when the
// collector is off and when it runs, in a rebuilt index, and in one that a backup put back.
func TestErasureInTheIndex(t *testing.T) {
	c := newCollector(t, "local.yaml", smallSegments)
	c.start()
	for _, u := range []string{"carol", "carol", "dave"} {
		require.NoError(t, c.client().Send(t.Context(), traces(newCall(u, "a prompt")), otlpclient.HTTPJSON))
	}
	c.awaitRecords(3)
	c.stop()
	carol := c.search("--user", "carol")
	erase := func() string {
		return mustRun(t, "subject", "erase", "carol", "--data", c.data, "--basis", "Art. 17 request 4711", "--requester", "dpo@example.org",
			"--approver", "counsel@example.org", "--approver", "cro@example.org", "--certificate", filepath.Join(t.TempDir(), "certificate.txt"))
	}
	database := filepath.Join(c.data, "index", "audit.db")
	backup, err := os.ReadFile(database)
	require.NoError(t, err)
	require.Contains(t, erase(), "the person's fields are erased in the index")
	requireErased(t, carol, func(args ...string) result { return claudeaudit(t, append(args, "--data", c.data)...) })
	require.Len(t, c.search("--user", "dave"), 1)

	// A backup of the index brings them back; verify says so.
	require.NoError(t, os.WriteFile(database, backup, 0o600))
	got := claudeaudit(t, "verify", "--index", "--data", c.data)
	require.Equal(t, 1, got.code, "%s", got)
	require.Equal(t, 2, strings.Count(got.stdout, "the index still has what was erased of it"), "%s", got)
	mustRun(t, "reindex", "--repair", "--data", c.data)
	requireErased(t, carol, func(args ...string) result { return claudeaudit(t, append(args, "--data", c.data)...) })
	require.Contains(t, mustRun(t, "reindex", "--repair", "--data", c.data), "nothing to repair")

	// A collector that starts with a backup erases by itself, and one that runs when it is asked to.
	require.NoError(t, os.WriteFile(database, backup, 0o600))
	c.start()
	require.Eventually(t, func() bool { return len(c.search("--user", "carol")) == 0 }, followTimeout, 100*time.Millisecond)
	require.NoError(t, c.client().Send(t.Context(), traces(newCall("carol", "later")), otlpclient.HTTPJSON))
	c.awaitRecords(1, "--user", "carol")
	carol = append(carol, c.search("--user", "carol")...)
	require.Contains(t, erase(), "the collector has erased the person's fields in the index")
	requireErased(t, carol, func(args ...string) result { return claudeaudit(t, append(args, "--data", c.data)...) })
	c.stop()
	mustRun(t, "reindex", "--data", c.data)
	requireErased(t, carol, func(args ...string) result { return claudeaudit(t, append(args, "--data", c.data)...) })
}

// requireErased wants of an index that the records are there, and whose they were is not.
func requireErased(t *testing.T, records []record, cli func(args ...string) result) {
	t.Helper()
	none := func(args ...string) {
		t.Helper()
		got := cli(append([]string{"search", "--format", "json"}, args...)...)
		require.Zero(t, got.code, "%s", got)
		require.Empty(t, decodeRecords(t, got.stdout))
	}
	none("--user", "carol")
	for _, r := range records {
		if session := r.text("session_id"); session != "" {
			none("--session", session)
		}
		got := cli("show", r.text("event_id"), "--format", "json", "--entries")
		require.Zero(t, got.code, "%s", got)
		require.NotContains(t, got.stdout, "carol")
		shown := decodeRecords(t, got.stdout)[0]
		require.Len(t, shown.text("erased"), 64)
		for _, kept := range []string{"prompt_hash", "response_hash", "prompt_tokens", "timestamp", "data_classification", "application_id", "_log", "_prev"} {
			require.Equal(t, r[kept], shown[kept], kept)
		}
		require.Nil(t, shown["user_id"])
		require.Nil(t, shown["session_id"])
		require.NotContains(t, shown, "ip_address")
	}
	got := cli("verify", "--index")
	require.Zero(t, got.code, "%s", got)
	require.Contains(t, got.stdout, "index         holds")
}

// Content of a class that a law demands is not erased.
func TestErasureUnderRetention(t *testing.T) {
	settings := map[string]any{"exporters": map[string]any{"audit_ledger": map[string]any{"retention": map[string]any{"class": "sec17a4"}}}}
	c := newCollector(t, "local.yaml", settings)
	c.start()
	require.NoError(t, c.client().Send(t.Context(), traces(newCall("carol", "order 100 shares")), otlpclient.HTTPJSON))
	c.awaitRecords(1)
	c.stop()
	got := claudeaudit(t, "subject", "erase", "carol", "--data", c.data, "--basis", "request", "--requester", "a", "--approver", "b", "--approver", "c",
		"--certificate", filepath.Join(t.TempDir(), "x"))
	require.Equal(t, 1, got.code, "%s", got)
	require.Contains(t, got.stdout, "REFUSED: content is kept as sec17a4 until")
	require.Contains(t, mustRun(t, "show", c.search()[0].text("event_id"), "--data", c.data, "--content", "--identity", filepath.Join(c.data, "keys", "content.identity")), "order 100 shares")
	out := mustRun(t, "retention", "--data", c.data, "--class", "hipaa")
	require.Contains(t, out, "3 entries, 2 contents")
	require.Contains(t, out, "Nothing was locked.")
}

// A class of retention can put an erasure off: it is noted, with the day, and nothing is
// destroyed.
func TestErasureThatIsDeferred(t *testing.T) {
	policy := filepath.Join(t.TempDir(), "retention.yaml")
	require.NoError(t, os.WriteFile(policy, []byte("default: works\nclasses:\n  works: {period: 18m, source: works agreement, erase: defer}\n"), 0o600))
	c := newCollector(t, "local.yaml", map[string]any{"exporters": map[string]any{"audit_ledger": map[string]any{"retention": map[string]any{"file": policy}}}})
	c.start()
	require.NoError(t, c.client().Send(t.Context(), traces(newCall("carol", "a plan")), otlpclient.HTTPJSON))
	carol := c.awaitRecords(1)[0]
	c.stop()
	until := carol["retention"].(map[string]any)["until"].(string)
	certificate := filepath.Join(t.TempDir(), "certificate")
	got := claudeaudit(t, "subject", "erase", "carol", "--data", c.data, "--retention", policy, "--basis", "request", "--requester", "a", "--approver", "b", "--approver", "c",
		"--certificate", certificate)
	require.Equal(t, 1, got.code, "%s", got)
	require.Contains(t, got.stdout, "DEFERRED until "+until)
	require.NoFileExists(t, certificate)
	require.Contains(t, mustRun(t, "show", carol.text("event_id"), "--data", c.data, "--content", "--identity", filepath.Join(c.data, "keys", "content.identity")), "a plan")
	require.Len(t, c.search("--user", "carol"), 1)
	noted := 0
	eachLineOf(t, filepath.Join(c.data, adminLedger), func(line []byte) {
		var r struct {
			Operation, Status string
			Details           map[string]string
		}
		require.NoError(t, json.Unmarshal(line, &r))
		if r.Operation == "subject.erase" {
			noted++
			require.Equal(t, []string{"blocked", until, "request"}, []string{r.Status, r.Details["deferred_until"], r.Details["basis"]})
		}
	})
	require.Equal(t, 1, noted)
}

// Who has the ledger, its content, the key store and the collector's own keys, and
// neither the reader's key nor the offline one for recovery, opens nothing.
func TestVaultOperatorAlone(t *testing.T) {
	recovery := t.TempDir()
	mustRun(t, "keygen", "--dir", recovery, "--only", "recovery")
	c := newCollector(t, "local.yaml", map[string]any{"exporters": map[string]any{"audit_ledger": map[string]any{
		"keys": map[string]any{"recovery": filepath.Join(recovery, "recovery.pub")},
	}}})
	c.start()
	secret := "the password of carol is hunter2"
	require.NoError(t, c.client().Send(t.Context(), traces(newCall("carol", secret)), otlpclient.HTTPJSON))
	carol := c.awaitRecords(1)[0]
	c.stop()
	keys := filepath.Join(c.data, "keys")
	identity := filepath.Join(t.TempDir(), "content.identity")
	require.NoError(t, os.Rename(filepath.Join(keys, "content.identity"), identity)) // as it is kept: elsewhere
	show := func(identity string) result {
		return claudeaudit(t, "show", carol.text("event_id"), "--data", c.data, "--content", "--identity", identity)
	}
	offline := filepath.Join(recovery, "recovery.identity")
	for _, holder := range []string{identity, offline} {
		require.Contains(t, show(holder).stdout, secret)
	}

	stranger := t.TempDir()
	mustRun(t, "keygen", "--dir", stranger, "--only", "content")
	tries := []string{filepath.Join(stranger, "content.identity")}
	for _, dir := range []string{keys, filepath.Join(c.data, "subject-keys")} {
		found := filesUnder(t, dir, "")
		require.NotEmpty(t, found)
		tries = append(tries, found...)
	}
	for _, try := range tries {
		got := show(try)
		require.Equal(t, 2, got.code, "%s: %s", try, got)
		require.NotContains(t, got.stdout+got.stderr, "hunter2", try)
	}
	c.requireNowhere(map[string]string{secret: "the prompt"})

	// After an erasure neither of the two who could opens it any more.
	mustRun(t, "subject", "erase", "carol", "--data", c.data, "--basis", "request", "--requester", "a", "--approver", "b", "--approver", "c", "--certificate", filepath.Join(t.TempDir(), "x"))
	for _, holder := range []string{identity, offline} {
		got := show(holder)
		require.Equal(t, 2, got.code, "%s", got)
		require.Contains(t, got.stderr, "nobody opens it")
	}
}

// Calls that went around the recorder are in the provider's usage report, and verify
// says how much the ledger lacks.
func TestUsageThatNobodyRecorded(t *testing.T) {
	c, _, provider := newGateway(t, nil)
	c.start()
	var counted struct{ in, out int64 } // as the provider does, in what it answers
	ask := func(base string, n int) {
		client := anthropic.NewClient(option.WithBaseURL(base), option.WithAPIKey("k"), option.WithMaxRetries(0))
		for i := range n {
			params := anthropic.MessageNewParams{
				Model: "claude-sonnet-4-5", MaxTokens: 64,
				Messages: []anthropic.MessageParam{anthropic.NewUserMessage(anthropic.NewTextBlock("question " + strconv.Itoa(i)))},
			}
			m, err := client.Messages.New(t.Context(), params)
			require.NoError(t, err)
			u := m.Usage
			counted.in += u.InputTokens + u.CacheCreationInputTokens + u.CacheReadInputTokens
			counted.out += u.OutputTokens
		}
	}
	report := func() string {
		now := time.Now().UTC()
		text := fmt.Sprintf(`{"data":[{"starting_at":%q,"ending_at":%q,"results":[{"model":"claude-sonnet-4-5","uncached_input_tokens":%d,"output_tokens":%d}]}],"has_more":false}`,
			now.Add(-time.Hour).Format(time.RFC3339), now.Add(time.Hour).Format(time.RFC3339), counted.in, counted.out)
		path := filepath.Join(t.TempDir(), "usage.json")
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	ask(c.gateway, 5)
	c.awaitStatus(5, "success")
	require.Contains(t, mustRun(t, "verify", "--data", c.data, "--usage", report()), "usage         holds")

	in, out := counted.in, counted.out
	ask(provider, 2)
	got := claudeaudit(t, "verify", "--data", c.data, "--usage", report())
	require.Equal(t, 1, got.code, "%s", got)
	require.Contains(t, got.stdout, "completeness  incomplete")
	require.Contains(t, got.stdout, fmt.Sprintf("%d and %d more than the 5 calls that are recorded", counted.in-in, counted.out-out))
	c.stop()
}

// A case can be checked without the program: here with golang.org/x/mod alone.
func TestExportedCase(t *testing.T) {
	c := newCollector(t, "local.yaml", smallSegments)
	c.start()
	for i := range 5 {
		require.NoError(t, c.client().Send(t.Context(), traces(newCall("carol", "prompt "+strconv.Itoa(i)), newCall("dave", "other")), otlpclient.HTTPJSON))
	}
	c.awaitRecords(10)
	c.stop()
	dir := filepath.Join(t.TempDir(), "case")
	mustRun(t, "export", "--case", dir, "--data", c.data, "--user", "carol", "--about", "matter 1", "--identity", filepath.Join(c.data, "keys", "content.identity"))
	require.Equal(t, 2, claudeaudit(t, "export", "--case", dir, "--data", c.data, "--user", "carol").code, "the folder is there")
	require.Equal(t, 1, claudeaudit(t, "export", "--case", dir+"2", "--data", c.data, "--user", "nobody").code)
	read := func(path string) []byte {
		b, err := os.ReadFile(filepath.Join(dir, path))
		require.NoError(t, err)
		return b
	}
	require.Contains(t, string(read("README.txt")), "matter 1")
	require.Equal(t, 6, bytes.Count(read("records.csv"), []byte("\r\n")))
	require.NotContains(t, string(read("entries.ndjson")), "dave")
	require.Len(t, filesUnder(t, filepath.Join(dir, "content"), ".json"), 10)
	var manifest []struct{ Path, SHA256 string }
	require.NoError(t, json.Unmarshal(read("MANIFEST.json"), &manifest))
	require.Len(t, manifest, 5+10+5)

	v, err := note.NewVerifier(strings.TrimSpace(string(read("keys/checkpoint.pub"))))
	require.NoError(t, err)
	proofs := filesUnder(t, filepath.Join(dir, "proofs"), ".proof")
	require.Len(t, proofs, 5)
	for _, f := range proofs {
		b, err := os.ReadFile(f)
		require.NoError(t, err)
		head, cp, ok := strings.Cut(string(b), "\n\n")
		require.True(t, ok)
		lines := strings.Split(head, "\n")
		entry, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(lines[1], "extra "))
		require.NoError(t, err)
		require.Contains(t, string(read("entries.ndjson")), string(entry)+"\n")
		n, err := strconv.ParseInt(strings.TrimPrefix(lines[2], "index "), 10, 64)
		require.NoError(t, err)
		var p tlog.RecordProof
		for _, l := range lines[3:] {
			h, err := tlog.ParseHash(l)
			require.NoError(t, err)
			p = append(p, h)
		}
		signed, err := note.Open([]byte(cp), note.VerifierList(v))
		require.NoError(t, err)
		f := strings.Split(signed.Text, "\n")
		size, err := strconv.ParseInt(f[1], 10, 64)
		require.NoError(t, err)
		root, err := tlog.ParseHash(f[2])
		require.NoError(t, err)
		require.NoError(t, tlog.CheckRecord(p, size, root, n, tlog.RecordHash(entry)))
	}

	tiles := filepath.Join(t.TempDir(), "tiles")
	require.Contains(t, mustRun(t, "export", "--tlog-tiles", tiles, "--data", c.data), "entries of claudeaudit/")
	require.FileExists(t, filepath.Join(tiles, "checkpoint"))
	require.NotEmpty(t, filesUnder(t, filepath.Join(tiles, "tile", "entries", "000.p"), ""))
}
