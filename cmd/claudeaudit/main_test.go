package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/mod/sumdb/note"

	"github.com/claudeaudit/claudeaudit/internal/audit"
	"github.com/claudeaudit/claudeaudit/internal/bucket"
	"github.com/claudeaudit/claudeaudit/internal/index"
	"github.com/claudeaudit/claudeaudit/internal/index/indextest"
	"github.com/claudeaudit/claudeaudit/internal/index/sqlite"
	"github.com/claudeaudit/claudeaudit/internal/keystore"
	"github.com/claudeaudit/claudeaudit/internal/kms/kmstest"
	"github.com/claudeaudit/claudeaudit/internal/ledger"
	"github.com/claudeaudit/claudeaudit/internal/seal"
)

var update = flag.Bool("update", false, "write the golden files")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type result struct {
	code        int
	out, stderr string
}

// runWith runs the command in process.
func runWith(t *testing.T, stdin string, args ...string) result {
	t.Helper()
	var out, stderr bytes.Buffer
	code := run(t.Context(), args, streams{in: strings.NewReader(stdin), out: &out, err: &stderr})
	return result{code, out.String(), stderr.String()}
}

// must runs the command and wants it to succeed in silence.
func must(t *testing.T, args ...string) string {
	t.Helper()
	r := runWith(t, "", args...)
	require.Equal(t, result{0, r.out, ""}, r)
	return r.out
}

// golden compares with a file of testdata, what changes from run to run taken out.
func golden(t *testing.T, name, got string) {
	t.Helper()
	for _, c := range []struct{ re, with string }{
		{`("_prev":"|_prev +)[0-9a-f]{64}`, "${1}PREV"},
		{`((prompt|response)_sha256"?:?"? *)[0-9a-f]{64}`, "${1}CIPHERTEXT"},
		{`(key_id"?:?"? *)[0-9a-f]{16}`, "${1}KEYID"},
	} {
		got = regexp.MustCompile(c.re).ReplaceAllString(got, c.with)
	}
	got = regexp.MustCompile(`\b\d+ bytes read in [0-9.]+m?s`).ReplaceAllString(got, "BYTES read in TIME")
	// The CSV's columns of the same.
	got = regexp.MustCompile(`(?m),[0-9a-f]{16},`).ReplaceAllString(got, ",KEYID,")
	got = regexp.MustCompile(`(?m)\b[0-9a-f]{64}\b`).ReplaceAllString(got, "HASH64")
	path := filepath.Join("testdata", name)
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(got), 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(want), got)
}

const (
	thePrompt   = `{"messages":[{"parts":[{"content":"What is the IBAN of Erika?","type":"text"}],"role":"user"},{"parts":[{"content":"Let me look.","type":"text"},{"arguments":{"name":"Erika"},"id":"toolu_1","name":"lookup","type":"tool_call"}],"role":"assistant"},{"parts":[{"id":"toolu_1","response":"DE02\n\u001b[31mred","type":"tool_call_response"}],"role":"tool"}],"system":[{"content":"You are a bank clerk.","type":"text"}]}`
	theResponse = `[{"parts":[{"content":"I can't tell you that.","type":"text"}],"role":"assistant"}]`
)

// fixture is a data folder with a ledger and an index.
type fixture struct {
	t    *testing.T
	dir  string
	log  *ledger.Log
	seal *seal.Recipient
	n    byte
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{t: t, dir: filepath.Join(t.TempDir(), "data")}
	must(t, "keygen", "--data", f.dir)
	var err error
	f.seal, err = seal.LoadRecipient(f.path("keys", "content.pub"))
	require.NoError(t, err)
	f.openLedger()
	return f
}

func (f *fixture) openLedger() {
	k, err := seal.LoadCheckpointKey(f.path("keys", "checkpoint.key"))
	require.NoError(f.t, err)
	w, err := ledger.NewFileWitness(f.path("witness", "checkpoints"))
	require.NoError(f.t, err)
	f.log, err = ledger.Open(f.t.Context(), ledger.Options{
		Dir: f.path("ledger"), Origin: "test/log", Signer: k.Signer, VerifierKey: k.VerifierKey, Witnesses: []ledger.Witness{w},
	})
	require.NoError(f.t, err)
	f.t.Cleanup(func() {
		f.closeLedger()
		require.NoError(f.t, w.Close())
	})
}

func (f *fixture) closeLedger() {
	if f.log != nil {
		require.NoError(f.t, f.log.Close(context.Background()))
		f.log = nil
	}
}

func (f *fixture) path(elem ...string) string {
	return filepath.Join(append([]string{f.dir}, elem...)...)
}

func (f *fixture) append(recs ...audit.Record) {
	f.t.Helper()
	for i := range recs {
		f.n++
		recs[i].Source.Digest = hex.EncodeToString(bytes.Repeat([]byte{f.n}, 16))
		_, err := f.log.Append(f.t.Context(), []ledger.Entry{f.entry(&recs[i])})
		require.NoError(f.t, err)
	}
}

func (f *fixture) entry(r *audit.Record) ledger.Entry {
	e := ledger.Entry{ID: r.EventID, Time: r.Timestamp, Body: r}
	_, err := hex.Decode(e.Digest[:], []byte(r.Source.Digest))
	require.NoError(f.t, err)
	return e
}

// appendWithContent appends a record whose content is sealed.
func (f *fixture) appendWithContent(r audit.Record) {
	f.t.Helper()
	f.n++
	r.Source.Digest = hex.EncodeToString(bytes.Repeat([]byte{f.n}, 16))
	prompt, err := f.seal.Seal([]byte(thePrompt), audit.PromptAAD(r.EventID))
	require.NoError(f.t, err)
	response, err := f.seal.Seal([]byte(theResponse), audit.ResponseAAD(r.EventID))
	require.NoError(f.t, err)
	sum := func(b []byte) string { s := sha256.Sum256(b); return hex.EncodeToString(s[:]) }
	r.Content = audit.Content{
		Prompt: "full", Response: "full", PromptSHA256: sum(prompt), ResponseSHA256: sum(response), KeyID: f.seal.KeyID(), Suite: seal.Suite,
	}
	e := f.entry(&r)
	e.Contents = [][]byte{prompt, response}
	_, err = f.log.Append(f.t.Context(), []ledger.Entry{e})
	require.NoError(f.t, err)
}

// fill appends the records that the tests look for, and indexes them.
func (f *fixture) fill() {
	f.t.Helper()
	f.append(
		indextest.Record(1),
		indextest.Record(2, func(r *audit.Record) {
			r.UserID, r.Status, r.ErrorType = "bob@example.com", audit.StatusError, "overloaded_error"
			r.ResponseHash, r.CompletionTokens, r.ResponseID = "", nil, ""
		}),
		indextest.Record(3, func(r *audit.Record) {
			r.UserID, r.ApplicationID = "=HYPERLINK(\"evil\")\x1b[31m", "a,\"b\""
			r.DataClassification, r.PolicyFlags = audit.Restricted, []string{"pii.email", "pii.iban"}
			r.Detections = []audit.Detection{{Type: "iban", Count: 2, Confidence: "high"}}
		}),
		indextest.Record(86400, func(r *audit.Record) { r.SessionID = "s2" }),
	)
	f.append(indextest.Record(4, func(r *audit.Record) {
		r.Status, r.UserID, r.ResponseID, r.ResponseHash, r.CompletionTokens, r.LatencyMs = audit.StatusInitiated, "", "", "", nil, nil
	}))
	f.appendWithContent(indextest.Record(4, func(r *audit.Record) { r.UserID = "carol@example.com" }))
	f.reindex()
}

func (f *fixture) reindex() {
	f.t.Helper()
	require.Contains(f.t, must(f.t, "reindex", "--data", f.dir), "entries indexed")
}

func TestSearch(t *testing.T) {
	f := newFixture(t)
	f.fill()
	for name, args := range map[string][]string{
		"search.table": {}, "search.json": {"--format", "json"}, "search.csv": {"--format", "csv"},
	} {
		golden(t, name, must(t, append([]string{"search", "--data", f.dir}, args...)...))
	}
	events := func(args ...string) []string {
		var recs []struct {
			EventID string `json:"event_id"`
		}
		out := must(t, append([]string{"search", "--data", f.dir, "--format", "json"}, args...)...)
		require.NoError(t, json.Unmarshal([]byte(out), &recs))
		var ids []string
		for _, r := range recs {
			ids = append(ids, strings.TrimLeft(r.EventID[:8], "0"))
		}
		return ids
	}
	for _, tt := range []struct {
		args []string
		want []string
	}{
		{nil, []string{"15180", "4", "3", "2", "1"}},
		{[]string{"--user", "bob@example.com"}, []string{"2"}},
		{[]string{"--session", "s2"}, []string{"15180"}},
		{[]string{"--application", "app"}, []string{"15180", "4", "2", "1"}},
		{[]string{"--classification", "restricted"}, []string{"3"}},
		{[]string{"--flag", "pii.iban"}, []string{"3"}},
		{[]string{"--status", "error"}, []string{"2"}},
		{[]string{"--kind", "access"}, nil},
		{[]string{"--from", "2026-11-24", "--to", "2026-11-24"}, []string{"4", "3", "2", "1"}},
		{[]string{"--from", "2026-11-25"}, []string{"15180"}},
		{[]string{"--from", "2026-11-24T00:00:02Z", "--to", "2026-11-24T01:00:03+01:00"}, []string{"2"}},
	} {
		require.Equal(t, tt.want, events(tt.args...), "%v", tt.args)
	}

	r := runWith(t, "", "search", "--data", f.dir, "--limit", "2", "--format", "csv")
	require.Equal(t, 0, r.code)
	require.Equal(t, "more records match than the 2 shown; --limit 0 shows all\n", r.stderr)
	rows, err := csv.NewReader(strings.NewReader(r.out)).ReadAll()
	require.NoError(t, err)
	require.Len(t, rows, 3)

	r = runWith(t, "", "search", "--data", f.dir, "--user", "nobody")
	require.Equal(t, result{0, "", "no records found\n"}, r)
	require.Equal(t, "[]\n", must(t, "search", "--data", f.dir, "--user", "nobody", "--format", "json"))
}

func TestSearchManyPages(t *testing.T) {
	f := newFixture(t)
	var entries []ledger.Entry
	for i := range 2500 {
		r := indextest.Record(i)
		entries = append(entries, f.entry(&r))
	}
	_, err := f.log.Append(t.Context(), entries)
	require.NoError(t, err)
	f.reindex()
	for limit, want := range map[string]int{"0": 2500, "1500": 1500, "2500": 2500, "3000": 2500, "1": 1} {
		r := runWith(t, "", "search", "--data", f.dir, "--limit", limit, "--format", "json")
		require.Equal(t, 0, r.code)
		var recs []json.RawMessage
		require.NoError(t, json.Unmarshal([]byte(r.out), &recs))
		require.Len(t, recs, want)
		require.Equal(t, want < 2500, r.stderr != "", limit)
	}
}

// The collector takes entries into the index some time after they are in the ledger.
func TestSearchAwaitsTheIndex(t *testing.T) {
	f := newFixture(t)
	f.fill()
	f.append(indextest.Record(10, func(r *audit.Record) { r.UserID = "late@example.com" }))
	follower, err := sqlite.Open(t.Context(), f.path("index", "audit.db"))
	require.NoError(t, err)
	reader, err := ledger.OpenReader(f.path("ledger"))
	require.NoError(t, err)
	caughtUp := make(chan error, 1)
	go func() { caughtUp <- (&index.Follower{Ledger: reader, Store: follower}).CatchUp(t.Context()) }()
	r := runWith(t, "", "search", "--data", f.dir, "--user", "late@example.com")
	require.NoError(t, errors.Join(<-caughtUp, follower.Close(), reader.Close()))
	require.Equal(t, 0, r.code)
	require.Empty(t, r.stderr)
	require.Contains(t, r.out, "late@example.com")
}

func TestSearchWarnsOfLag(t *testing.T) {
	f := newFixture(t)
	f.fill()
	f.append(indextest.Record(10))
	r := runWith(t, "", "search", "--data", f.dir, "--limit", "0")
	require.Equal(t, 0, r.code)
	require.Equal(t, "warning: the index lacks the last entry of the ledger\n", r.stderr)
	f.append(indextest.Record(11))
	r = runWith(t, "", "search", "--data", f.dir)
	require.Equal(t, "warning: the index lacks the last 2 entries of the ledger\n", r.stderr)
	f.reindex()
	must(t, "search", "--data", f.dir)
	f.closeLedger()
	must(t, "search", "--data", f.dir)
	require.NoError(t, os.Rename(f.path("ledger"), f.path("moved")))
	r = runWith(t, "", "search", "--data", f.dir)
	require.Equal(t, 0, r.code)
	require.Contains(t, r.stderr, "warning: can't tell whether the index is up to date")
}

func TestShow(t *testing.T) {
	f := newFixture(t)
	f.fill()
	event := indextest.EventID(4).String()
	identity := f.path("keys", "content.identity")
	golden(t, "show.text", must(t, "show", event, "--data", f.dir))
	golden(t, "show.json", must(t, "show", event, "--data", f.dir, "--format", "json"))
	golden(t, "show_entries.text", must(t, "show", event, "--data", f.dir, "--entries"))
	golden(t, "show_content.text", must(t, "show", event, "--data", f.dir, "--content", "--identity", identity))

	var rec struct {
		EventID    string `json:"event_id"`
		ContentRaw struct {
			System json.RawMessage `json:"system_instructions"`
			Input  json.RawMessage `json:"input_messages"`
			Output json.RawMessage `json:"output_messages"`
		} `json:"content_raw"`
		Entries []struct {
			Revision int `json:"revision"`
		} `json:"entries"`
	}
	out := must(t, "show", event, "--data", f.dir, "--content", "--identity", identity, "--format", "json", "--entries")
	require.NoError(t, json.Unmarshal([]byte(out), &rec))
	require.Equal(t, event, rec.EventID)
	require.JSONEq(t, `[{"content":"You are a bank clerk.","type":"text"}]`, string(rec.ContentRaw.System))
	require.JSONEq(t, theResponse, string(rec.ContentRaw.Output))
	require.Contains(t, string(rec.ContentRaw.Input), "What is the IBAN")
	require.Len(t, rec.Entries, 2)

	// Sealed or not, the same.
	f.closeLedger()
	require.Equal(t, out, must(t, "show", event, "--data", f.dir, "--content", "--identity", identity, "--format", "json", "--entries"))

	none := must(t, "show", indextest.EventID(1).String(), "--data", f.dir, "--content", "--identity", identity)
	require.Contains(t, none, "The ledger holds no content of this call.")

	other := t.TempDir()
	must(t, "keygen", "--dir", other, "--only", "content")
	r := runWith(t, "", "show", event, "--data", f.dir, "--content", "--identity", filepath.Join(other, "content.identity"))
	require.Equal(t, 2, r.code)
	require.Empty(t, r.out)
	require.Regexp(t, `--identity: it does not fit: the prompt is sealed to key [0-9a-f]{16}, and this is the identity of key [0-9a-f]{16}`, r.stderr)

	r = runWith(t, "", "show", event, "--data", f.dir, "--content", "--identity", f.path("keys", "content.pub"))
	require.Equal(t, 2, r.code)
	r = runWith(t, "", "show", indextest.EventID(99).String(), "--data", f.dir)
	require.Equal(t, 1, r.code)
	require.Contains(t, r.stderr, "no such event in the index")
}

func TestVerify(t *testing.T) {
	f := newFixture(t)
	f.fill()
	r := runWith(t, "", "verify", "--data", f.dir)
	require.Equal(t, 0, r.code, r.stderr)
	require.Contains(t, r.out, "completeness  open")
	f.closeLedger()
	r = runWith(t, "", "verify", "--data", f.dir, "--index")
	require.Equal(t, 0, r.code, r.stderr)
	golden(t, "verify.text", strings.ReplaceAll(r.out, f.dir, "DATA"))

	type verdict struct {
		Integrity, Completeness string
		Entries                 int
		FirstBad                *struct {
			Kind, Object, Detail string
		} `json:"first_bad"`
		Index *struct {
			Verdict  string
			Problems []string
		}
		Streams []struct{ Origin string }
	}
	ask := func(code int, args ...string) verdict {
		t.Helper()
		r := runWith(t, "", append([]string{"verify", "--format", "json"}, args...)...)
		require.Equal(t, code, r.code, "%s%s", r.out, r.stderr)
		var v verdict
		require.NoError(t, json.Unmarshal([]byte(r.out), &v))
		return v
	}
	v := ask(0, "--data", f.dir)
	require.Equal(t, "intact", v.Integrity)
	require.Equal(t, "complete", v.Completeness)
	require.Equal(t, 6, v.Entries)
	require.Nil(t, v.FirstBad)

	// By path: the ledger's folder, its store, a copy elsewhere.
	key, witness := f.path("keys", "checkpoint.pub"), f.path("witness", "checkpoints")
	require.Equal(t, "intact", ask(0, f.path("ledger")).Integrity)
	require.Equal(t, "intact", ask(0, f.path("ledger", "store")).Integrity)
	elsewhere := filepath.Join(t.TempDir(), "copy")
	require.NoError(t, os.CopyFS(elsewhere, os.DirFS(f.path("ledger", "store"))))
	require.Equal(t, "unchecked", ask(2, elsewhere).Integrity)
	require.Equal(t, "intact", ask(0, elsewhere, "--public-key", key, "--checkpoints", witness).Integrity)
	text, err := os.ReadFile(key)
	require.NoError(t, err)
	require.Equal(t, "intact", ask(0, elsewhere, "--public-key", strings.TrimSpace(string(text))).Integrity)

	other := t.TempDir()
	must(t, "keygen", "--dir", other)
	v = ask(1, "--data", f.dir, "--public-key", filepath.Join(other, "checkpoint.pub"))
	require.Equal(t, "bad", v.Integrity)

	var segment string
	require.NoError(t, filepath.WalkDir(f.path("ledger"), func(path string, _ os.DirEntry, err error) error {
		if strings.HasSuffix(path, ".ndjson.zst") {
			segment = path
		}
		return err
	}))
	whole, err := os.ReadFile(segment)
	require.NoError(t, err)
	bad := bytes.Clone(whole)
	bad[len(bad)/2] ^= 1
	require.NoError(t, os.Chmod(segment, 0o600))
	require.NoError(t, os.WriteFile(segment, bad, 0o600))
	v = ask(1, "--data", f.dir)
	require.Equal(t, "bad", v.Integrity)
	require.Contains(t, v.FirstBad.Object, filepath.Base(segment))
	r = runWith(t, "", "verify", "--data", f.dir)
	require.Equal(t, 1, r.code)
	require.Contains(t, r.out, "first bad place: ")
	require.NoError(t, os.WriteFile(segment, whole, 0o600))
	ask(0, "--data", f.dir)

	// The copies of checkpoints that the collector keeps are gone.
	require.NoError(t, os.Rename(witness, witness+".away"))
	v = ask(1, "--data", f.dir)
	require.Equal(t, "bad", v.Integrity)
	require.Equal(t, witness, v.FirstBad.Object)
	require.NoError(t, os.Rename(witness+".away", witness))

	for _, args := range [][]string{
		{"--data", t.TempDir()},
		{t.TempDir()},
		{"ftp://bucket/ledger"},
		{f.path("ledger"), "--public-key", "/no/such/file"},
		{f.path("ledger"), "--public-key", f.path("keys", "checkpoint.key")},
		{f.path("ledger"), "--checkpoints", "/no/such/file"},
		{"a", "b"},
		{f.path("ledger"), "--index=/no/such/file"},
	} {
		r := runWith(t, "", append([]string{"verify"}, args...)...)
		require.Equal(t, 2, r.code, "%v: %s", args, r.out)
		require.NotEmpty(t, r.stderr)
	}
}

func TestProve(t *testing.T) {
	f := newFixture(t)
	f.fill()
	one, two := indextest.EventID(1).String(), indextest.EventID(4).String()
	f.closeLedger() // which checkpoints
	file := filepath.Join(t.TempDir(), "event.proof")
	require.Empty(t, must(t, "prove", two, "--data", f.dir, "--output", file))
	byIndex := must(t, "prove", two, "--data", f.dir)
	require.NoError(t, os.Rename(f.path("index"), f.path("no-index")))
	require.Equal(t, byIndex, must(t, "prove", two, "--data", f.dir), "without an index")
	require.NoError(t, os.Rename(f.path("no-index"), f.path("index")))

	// The proof and the key are all that is needed.
	key := filepath.Join(t.TempDir(), "key.pub")
	text, err := os.ReadFile(f.path("keys", "checkpoint.pub"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(key, text, 0o600))
	out := must(t, "verify", "--proof", file, "--public-key", key)
	require.Contains(t, out, "proven: entry 4 of test/log/1 is in the log of 6 entries that this key signed: claudeaudit+")
	require.Contains(t, out, "proven: entry 5 of test/log/1")
	require.Contains(t, out, `"event_id":"`+two+`"`)
	var proven []struct {
		Stream string
		Seq    int
		Entry  struct {
			EventID string `json:"event_id"`
		}
	}
	require.NoError(t, json.Unmarshal([]byte(must(t, "verify", "--proof", file, "--data", f.dir, "--format", "json")), &proven))
	require.Len(t, proven, 2)
	require.Equal(t, two, proven[1].Entry.EventID)
	r := runWith(t, must(t, "prove", two, "--revision", "2", "--data", f.dir), "verify", "--proof", "-", "--public-key", key, "--format", "json")
	require.Equal(t, 0, r.code)
	require.Equal(t, 1, strings.Count(r.out, two))

	proof, err := os.ReadFile(file)
	require.NoError(t, err)
	other := t.TempDir()
	must(t, "keygen", "--dir", other)
	bad := filepath.Join(t.TempDir(), "bad.proof")
	for name, b := range map[string][]byte{
		"cut": proof[:len(proof)-20], "empty": nil, "no proof": []byte("hello\n"), "garbage behind": append(bytes.Clone(proof), "x\n"...),
		"second changed": bytes.Replace(proof, []byte("\nindex 5\n"), []byte("\nindex 4\n"), 1),
	} {
		require.NoError(t, os.WriteFile(bad, b, 0o600))
		r := runWith(t, "", "verify", "--proof", bad, "--public-key", key)
		require.Equal(t, 1, r.code, name)
		require.Contains(t, r.stderr, "invalid proof", name)
		require.Empty(t, r.out)
	}
	r = runWith(t, "", "verify", "--proof", file, "--public-key", filepath.Join(other, "checkpoint.pub"))
	require.Equal(t, 1, r.code)
	for _, args := range [][]string{
		{"verify", "--proof", "/no/such/file", "--public-key", key},
		{"verify", "--proof", file, "--data", t.TempDir()},
		{"verify", f.dir, "--proof", file},
		{"prove", "x", "--data", f.dir},
		{"prove", one, "--data", t.TempDir()},
		{"prove", one, "--revision", "-1", "--data", f.dir},
	} {
		require.Equal(t, 2, runWith(t, "", args...).code, "%v", args)
	}
	for _, args := range [][]string{
		{"prove", indextest.EventID(77).String(), "--data", f.dir}, {"prove", one, "--revision", "9", "--data", f.dir},
	} {
		require.Equal(t, 1, runWith(t, "", args...).code, "%v", args)
	}
}

func FuzzSplitProofs(f *testing.F) {
	f.Add([]byte(proofStart + "x\n" + proofStart))
	f.Add([]byte("\n" + proofStart))
	f.Fuzz(func(t *testing.T, b []byte) {
		require.Equal(t, string(b), string(bytes.Join(splitProofs(b), nil)))
	})
}

func TestVerifyIndex(t *testing.T) {
	f := newFixture(t)
	f.fill()
	f.closeLedger()
	path := f.path("index", "audit.db")
	db, err := sql.Open("sqlite", path)
	require.NoError(t, err)
	// Somebody hides what they did.
	_, err = db.ExecContext(t.Context(), "DELETE FROM records WHERE id = (SELECT max(id) FROM records)")
	require.NoError(t, err)
	require.NoError(t, db.Close())
	r := runWith(t, "", "verify", "--data", f.dir)
	require.Equal(t, 0, r.code)
	r = runWith(t, "", "verify", "--data", f.dir, "--index="+path)
	require.Equal(t, 1, r.code)
	require.Contains(t, r.out, "index         differs")
	require.Contains(t, r.out, "integrity     intact")
	f.reindex()
	r = runWith(t, "", "verify", "--data", f.dir, "--index")
	require.Equal(t, 0, r.code)
	require.Contains(t, r.out, "index         holds")
}

func TestReindex(t *testing.T) {
	f := newFixture(t)
	f.fill()
	want := must(t, "search", "--data", f.dir, "--format", "json")
	// While the collector runs, not.
	s, err := sqlite.Open(t.Context(), f.path("index", "audit.db"))
	require.NoError(t, err)
	r := runWith(t, "", "reindex", "--data", f.dir)
	require.Equal(t, 2, r.code)
	require.Contains(t, r.stderr, "is the collector running?")
	require.NoError(t, s.Close())
	// From a damaged one, from nothing.
	require.NoError(t, os.Truncate(f.path("index", "audit.db"), 5000))
	r = runWith(t, "", "search", "--data", f.dir)
	require.Equal(t, 2, r.code)
	f.reindex()
	require.Equal(t, want, must(t, "search", "--data", f.dir, "--format", "json"))
	require.NoError(t, os.RemoveAll(f.path("index")))
	f.reindex()
	require.Equal(t, want, must(t, "search", "--data", f.dir, "--format", "json"))
	names, err := os.ReadDir(f.path("index"))
	require.NoError(t, err)
	for _, n := range names {
		require.NotContains(t, n.Name(), "rebuild")
	}
	r = runWith(t, "", "reindex", "--data", t.TempDir())
	require.Equal(t, 2, r.code)
	require.NoError(t, os.WriteFile(f.path("index", "audit.db"), []byte("somebody's notes"), 0o600))
	r = runWith(t, "", "reindex", "--data", f.dir)
	require.Equal(t, 2, r.code)
	require.Contains(t, r.stderr, "this is no index of Claude Audit")
}

func TestPlaces(t *testing.T) {
	f := newFixture(t)
	f.fill()
	want := must(t, "search", "--data", f.dir, "--format", "json")
	t.Setenv("CLAUDEAUDIT_DATA", f.dir)
	require.Equal(t, want, must(t, "search", "--format", "json"))

	write := func(text string) string {
		path := filepath.Join(t.TempDir(), "collector.yaml")
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	for name, text := range map[string]string{
		"env with default": "exporters:\n  audit_ledger:\n    directory: ${env:CLAUDEAUDIT_DATA:-./audit-data}/ledger\n  audit_sqlite:\n    path: ${env:CLAUDEAUDIT_DATA:-./audit-data}/index\n    ledger: ${env:CLAUDEAUDIT_DATA}/ledger\n",
		"default used":     "exporters:\n  audit_ledger/x:\n    directory: ${env:NO_SUCH_VARIABLE:-" + f.dir + "}/ledger\n  audit_sqlite/y:\n    path: " + f.dir + "/index/\n",
		"sqlite alone":     "exporters:\n  audit_sqlite:\n    path: " + f.path("index", "audit.db") + "\n    ledger: " + f.path("ledger") + "\n    retention_days: 5\n",
	} {
		require.Equal(t, want, must(t, "search", "--config", write(text), "--format", "json"), name)
	}
	for text, msg := range map[string]string{
		"exporters:\n  debug:\n": "it has no audit_ledger, audit_sqlite or audit_elasticsearch exporter",
		"receivers:\n":           "it has no audit_ledger, audit_sqlite or audit_elasticsearch exporter",
		"exporters:\n  audit_ledger/a:\n  audit_ledger/b:\n": "several audit_ledger exporters (audit_ledger/a, audit_ledger/b)",
		"exporters:\n  audit_sqlite:\n    path: [1]\n":       "exporters::audit_sqlite",
		"exporters: [":      "",
		"x: ${http:evil}\n": "",
	} {
		r := runWith(t, "", "search", "--config", write(text))
		require.Equal(t, 2, r.code, text)
		require.Contains(t, r.stderr, msg)
	}
	r := runWith(t, "", "search", "--config", "x", "--data", "y")
	require.Equal(t, 2, r.code)
}

func TestKeygen(t *testing.T) {
	dir := t.TempDir()
	out := must(t, "keygen", "--dir", filepath.Join(dir, "keys"), "--name", "node-7")
	require.Contains(t, out, "node-7+")
	require.NotContains(t, out, "PRIVATE")
	require.NotContains(t, out, "identity-v1")
	for name, mode := range map[string]os.FileMode{"checkpoint.key": 0o600, "content.identity": 0o600, "checkpoint.pub": 0o644, "content.pub": 0o644} {
		st, err := os.Stat(filepath.Join(dir, "keys", name))
		require.NoError(t, err)
		require.Equal(t, mode, st.Mode().Perm())
	}
	r := runWith(t, "", "keygen", "--dir", filepath.Join(dir, "keys"))
	require.Equal(t, 2, r.code)
	require.Contains(t, r.stderr, "keys are never overwritten")
	must(t, "keygen", "--dir", filepath.Join(dir, "c"), "--only", "checkpoint")
	must(t, "keygen", "--dir", filepath.Join(dir, "c"), "--only", "content")
	r = runWith(t, "", "keygen", "--dir", filepath.Join(dir, "d"), "--name", "a b")
	require.Equal(t, 2, r.code)
	require.Contains(t, r.stderr, "--name")
}

// Of keys in a service no secret is written, and the files work where keys do.
func TestKeygenOfKeysInAService(t *testing.T) {
	d := kmstest.NewVault(t)
	f := &fixture{t: t, dir: filepath.Join(t.TempDir(), "data")}
	require.Contains(t, must(t, "keygen", "--data", f.dir, "--name", "node-7", "--kms", d.SigningRef, "--kms", d.DecryptingRef), "node-7+")
	for name, want := range map[string]string{"checkpoint.key": d.SigningRef, "content.identity": d.DecryptingRef} {
		b, err := os.ReadFile(f.path("keys", name))
		require.NoError(t, err)
		require.Equal(t, want+"\n", string(b))
	}
	must(t, "keygen", "--dir", f.path("witness-keys"), "--only", "witness", "--name", "witness.example.com", "--kms", d.SigningRef, "--kms", d.SigningRef)
	w, err := seal.OpenCosigner(f.path("witness-keys", "witness.key"), f.path("witness-keys", "witness.pub"))
	require.NoError(t, err)
	line, err := w.Line("example.com/log/1\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n")
	require.NoError(t, err)
	_, err = note.Open([]byte("example.com/log/1\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n\n"+line), note.VerifierList(w.Verifier))
	require.NoError(t, err)

	// A ledger that is signed and read with them.
	public, err := seal.LoadWrapper(f.path("keys", "content.pub"))
	require.NoError(t, err)
	writer := keystore.NewWriter(bucket.NewLocal(f.path("subject-keys")), public)
	f.seal, err = writer.For(t.Context(), "user:u-1")
	require.NoError(t, err)
	f.openLedger()
	f.fill()
	f.closeLedger()
	r := runWith(t, "", "verify", "--data", f.dir)
	require.Equal(t, 0, r.code, r.stderr)
	for _, identity := range []string{d.DecryptingRef, f.path("keys", "content.identity")} {
		require.Contains(t, must(t, "show", indextest.EventID(4).String(), "--data", f.dir, "--content", "--identity", identity), "What is the IBAN of Erika?")
	}

	for name, tt := range map[string]struct {
		args []string
		want string
	}{
		"one of two":                {[]string{"--kms", d.SigningRef}, "--only all has 2 keys, 1 are named"},
		"no reference":              {[]string{"--only", "writer", "--kms", "arn:aws:kms"}, "checkpoint.key: invalid key reference"},
		"a key that can't decrypt":  {[]string{"--only", "reader", "--kms", d.SigningRef}, "wrong kind of key"},
		"a key that can't sign":     {[]string{"--only", "writer", "--kms", d.DecryptingRef}, "wrong kind of key"},
		"a service that can't sign": {[]string{"--only", "writer", "--kms", "azurekms://acme.vault.azure.net/checkpoint/0123"}, "Azure Key Vault has no Ed25519 keys"},
		"a name with a space":       {[]string{"--only", "writer", "--name", "a b", "--kms", d.SigningRef}, "must not be empty or hold spaces"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "keys")
			r := runWith(t, "", append([]string{"keygen", "--dir", dir}, tt.args...)...)
			require.Equal(t, 2, r.code)
			require.Contains(t, r.stderr, tt.want)
			found, err := filepath.Glob(filepath.Join(dir, "*"))
			require.NoError(t, err)
			require.Empty(t, found)
		})
	}
}

func TestHash(t *testing.T) {
	write := func(text string) string {
		path := filepath.Join(t.TempDir(), "body.json")
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	const (
		request  = `{"model":"claude-sonnet-4-5","system":"You are terse.","messages":[{"role":"user","content":"Hi"}]}`
		response = `{"id":"msg_1","type":"message","role":"assistant","content":[{"type":"text","text":"Hello"}],"stop_reason":"end_turn"}`
	)
	want := must(t, "hash", write(request), write(response))
	// Computed with another implementation: printf '%s' '{"messages":[{"parts":[{"content":"Hi","type":"text"}],"role":"user"}],"system":[{"content":"You are terse.","type":"text"}]}' | sha256sum
	sum := func(s string) string { h := sha256.Sum256([]byte(s)); return hex.EncodeToString(h[:]) }
	require.Equal(t, "prompt_hash    "+sum(`{"messages":[{"parts":[{"content":"Hi","type":"text"}],"role":"user"}],"system":[{"content":"You are terse.","type":"text"}]}`)+
		"\nresponse_hash  "+sum(`[{"parts":[{"content":"Hello","type":"text"}],"role":"assistant"}]`)+"\n", want)
	// The same through Converse, in one object, in another order, by standard input.
	require.Equal(t, want, must(t, "hash",
		write(`{"output":{"message":{"role":"assistant","content":[{"text":"Hello"}]}},"stopReason":"end_turn"}`),
		write(`{"system":[{"text":"You are terse."}],"messages":[{"role":"user","content":[{"text":"Hi"}]}]}`)))
	r := runWith(t, `{"request":`+request+`,"response":`+response+`}`, "hash")
	require.Equal(t, result{0, want, ""}, r)
	r = runWith(t, request, "hash", "--format", "json", "-")
	require.Equal(t, 0, r.code)
	require.Regexp(t, `^\{"prompt_hash":"[0-9a-f]{64}","response_hash":null\}\n$`, r.out)

	for name, args := range map[string][]string{
		"two requests": {write(request), write(request)}, "two responses": {write(response), write(response)},
		"no JSON": {write("{")}, "no body": {write(`{"a":1}`)}, "no object": {write(`[]`)}, "no file": {"/no/such/file"},
	} {
		r := runWith(t, "", append([]string{"hash"}, args...)...)
		require.Equal(t, 2, r.code, name)
		require.NotEmpty(t, r.stderr, name)
	}
	r = runWith(t, `{"messages":[]}`, "hash")
	require.Equal(t, 1, r.code)
	require.Equal(t, "prompt_hash    -\nresponse_hash  -\n", r.out)
}

func TestUsage(t *testing.T) {
	f := newFixture(t)
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"search", "--status", "fine"}, "must be one of initiated, success, error, blocked, interrupted"},
		{[]string{"search", "--classification", "SECRET"}, "must be one of PUBLIC, INTERNAL, CONFIDENTIAL, RESTRICTED"},
		{[]string{"search", "--format", "xml"}, "must be one of table, json, csv"},
		{[]string{"search", "--from", "yesterday"}, "--from: must be a date such as"},
		{[]string{"search", "--to", "2026-13-01"}, "--to: must be a date such as"},
		{[]string{"search", "--from", "2026-11-25", "--to", "2026-11-24"}, "from must be before to"},
		{[]string{"search", "--limit", "-1"}, "--limit: must be 0 (all) or greater"},
		{[]string{"search", "--nonsense"}, "unknown flag"},
		{[]string{"search", "extra"}, "unknown command"},
		{[]string{"nonsense"}, "unknown command"},
		{[]string{"show"}, "one argument, EVENT_ID"},
		{[]string{"show", "abc"}, "EVENT_ID: must be a UUID"},
		{[]string{"show", indextest.EventID(1).String(), "--content"}, "--identity must name"},
		{[]string{"search"}, "there is no index"},
		{[]string{"show", indextest.EventID(1).String()}, "there is no index"},
	} {
		r := runWith(t, "", append(tt.args, "--data", f.dir)...)
		require.Equal(t, 2, r.code, "%v", tt.args)
		require.Contains(t, r.stderr, tt.want, "%v", tt.args)
		require.Empty(t, r.out)
	}
}

func TestCompletion(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish"} {
		require.NotEmpty(t, must(t, "completion", shell))
	}
	for _, tt := range []struct{ flag, want string }{
		{"--classification", "RESTRICTED"}, {"--status", "interrupted"}, {"--format", "csv"}, {"--kind", "activity"},
	} {
		r := runWith(t, "", "__complete", "search", tt.flag, "")
		require.Equal(t, 0, r.code)
		require.Contains(t, strings.Split(r.out, "\n"), tt.want)
	}
}

func TestTableFits(t *testing.T) {
	rows := [][]string{{
		"2026-11-24T00:00:01Z", "a.very.long.user.name@a.very.long.domain.example.com", "application-with-a-name", "claude-sonnet-4-5-20250929",
		"CONFIDENTIAL", "interrupted", "123456", "4096", "pii.email,pii.iban,record.incomplete", indextest.EventID(1).String(),
	}}
	for _, width := range []int{80, 100, 120, 160, 200, 300} {
		var b strings.Builder
		require.NoError(t, writeTable(&b, searchColumns, rows, width))
		for line := range strings.Lines(b.String()) {
			require.LessOrEqual(t, len([]rune(strings.TrimSuffix(line, "\n"))), width, line)
			require.True(t, strings.Contains(line, "EVENT") || strings.Contains(line, rows[0][9]))
		}
	}
}

func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		"plain ünïcödé 漢": "plain ünïcödé 漢", "\x1b[31mred": `\u001b[31mred`, "a\nb\tc": `a\nb\tc`, "\u202eabc": `\u202eabc`, "\xff": `\ufffd`,
	} {
		require.Equal(t, want, printable(in))
	}
}

func TestParseDate(t *testing.T) {
	day := time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		in   string
		end  bool
		want time.Time
	}{
		{"", true, time.Time{}},
		{"2026-11-24", false, day},
		{"2026-11-24", true, day.AddDate(0, 0, 1)},
		{"2026-11-24T01:00:00+01:00", true, day},
		{"2026-11-24T00:00:00.5Z", false, day.Add(time.Second / 2)},
	} {
		got, err := parseDate(tt.in, tt.end)
		require.NoError(t, err)
		require.True(t, tt.want.Equal(got), tt.in)
	}
}
