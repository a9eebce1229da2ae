package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/claudeaudit/claudeaudit/internal/otlpclient"
)

// settings parses what a test lays over a configuration file.
func settings(t *testing.T, text string) map[string]any {
	t.Helper()
	var out map[string]any
	require.NoError(t, yaml.Unmarshal([]byte(text), &out))
	return out
}

// Every configuration that is shipped starts, takes a capture, has its record,
// and ends when it is told to.
func TestEveryShippedConfigStarts(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(repository(t), "config", "*.yaml"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		if !strings.Contains(string(text), "audit_sqlite") {
			continue // started by the tests of Elasticsearch and Kafka
		}
		t.Run(filepath.Base(file), func(t *testing.T) {
			c := newCollector(t, filepath.Base(file), nil)
			c.env = append(c.env, "CLAUDEAUDIT_USER_KEY="+strings.Repeat("0123456789abcdef", 4))
			c.start()
			payload, err := otlpclient.ReadFile(filepath.Join(capturesDir(t), "otelgenai-plain.otlp.json"))
			require.NoError(t, err)
			require.NoError(t, c.client().Send(t.Context(), payload, otlpclient.HTTPJSON))
			got := c.awaitRecords(1)
			require.Len(t, got, 1)
			require.Equal(t, "success", got[0]["status"])
			c.stop()
			c.verify()
		})
	}
}

// What private.yaml promises: no content anywhere, no name of a user, the same
// pseudonym for the same user, the same hashes as with the content kept.
func TestPrivateConfig(t *testing.T) {
	key := "CLAUDEAUDIT_USER_KEY=" + strings.Repeat("0123456789abcdef", 4)
	send := func(configFile string) (*collector, []record) {
		c := newCollector(t, configFile, nil)
		c.env = append(c.env, key)
		c.start()
		sendCaptures(t, c.client(), only(expectations(t), "otelgenai-multiturn"), 1)
		records := c.awaitRecords(1)
		c.stop()
		return c, records
	}
	private, hidden := send("private.yaml")
	_, open := send("local.yaml")
	require.Len(t, hidden, len(open))
	for i := range hidden {
		require.Equal(t, open[i]["prompt_hash"], hidden[i]["prompt_hash"])
		require.Equal(t, open[i]["response_hash"], hidden[i]["response_hash"])
		require.NotEmpty(t, hidden[i].text("user_id"))
		require.NotEqual(t, open[i].text("user_id"), hidden[i].text("user_id"))
		require.Equal(t, hidden[0].text("user_id"), hidden[i].text("user_id"))
		require.Nil(t, hidden[i]["ip_address"])
		content, _ := hidden[i]["content"].(map[string]any)
		require.Nil(t, content["prompt_sha256"], "content is stored all the same")
		require.Nil(t, content["response_sha256"], "content is stored all the same")
		private.eachLine(func(line []byte) {
			require.NotContains(t, string(line), open[i].text("user_id"))
		})
	}
	private.requireNoContentOutside(only(expectations(t), "otelgenai-multiturn"))
}

func only(captures []expectation, name string) []expectation {
	for _, e := range captures {
		if e.Capture == name {
			return []expectation{e}
		}
	}
	return nil
}

// A configuration that can't work ends the process with an error that names the key.
func TestWrongConfiguration(t *testing.T) {
	for name, tc := range map[string]struct {
		settings string
		want     []string
	}{
		"unknown key of the processor":     {"processors: {claude_audit: {kontent: keep}}", []string{"claude_audit", "kontent"}},
		"unknown nested key":               {"processors: {claude_audit: {ip_address: {maks: full}}}", []string{"claude_audit", "maks"}},
		"content":                          {"processors: {claude_audit: {content: sometimes}}", []string{"claude_audit", "content", "keep", "drop"}},
		"pseudonyms of another kind":       {"processors: {claude_audit: {user_id: {pseudonymize: rot13}}}", []string{"claude_audit", "user_id", "pseudonymize", "hmac"}},
		"pseudonyms without a key":         {"processors: {claude_audit: {user_id: {pseudonymize: hmac}}}", []string{"claude_audit", "user_id", "key"}},
		"a key file that is not there":     {"processors: {claude_audit: {user_id: {pseudonymize: hmac, key_file: /nonexistent/key}}}", []string{"claude_audit", "key_file"}},
		"mask":                             {"processors: {claude_audit: {ip_address: {mask: blur}}}", []string{"claude_audit", "ip_address", "mask", "truncate"}},
		"classification level":             {"processors: {claude_audit: {classification: {default: SECRETISH}}}", []string{"claude_audit", "classification", "default"}},
		"classification rule":              {"processors: {claude_audit: {classification: {rules: [{level: RESTRICTED, conditions: ['this is no OTTL']}]}}}", []string{"claude_audit", "classification", "rules"}},
		"unknown key of the ledger":        {"exporters: {audit_ledger: {directroy: x}}", []string{"audit_ledger", "directroy"}},
		"ledger without a folder":          {"exporters: {audit_ledger: {directory: ''}}", []string{"audit_ledger", "directory"}},
		"unknown key of the index":         {"exporters: {audit_sqlite: {paht: x}}", []string{"audit_sqlite", "paht"}},
		"index without a file":             {"exporters: {audit_sqlite: {path: ''}}", []string{"audit_sqlite", "path"}},
		"index without a ledger":           {"exporters: {audit_sqlite: {ledger: ''}}", []string{"audit_sqlite", "ledger"}},
		"a folder that can't be written":   {"exporters: {audit_ledger: {directory: /proc/nonexistent, keys: {directory: ./keys}, witness: {files: [./checkpoints]}}}", []string{"audit_ledger", "directory", "/proc/nonexistent"}},
		"a text where a number must stand": {"exporters: {audit_ledger: {segment: {max_bytes: many}}}", []string{"audit_ledger", "max_bytes"}},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCollector(t, "local.yaml", settings(t, tc.settings))
			c.launch()
			require.NotZero(t, c.waitExit(30*time.Second), "it ended well")
			log := c.logText()
			for _, want := range tc.want {
				require.Contains(t, log, want)
			}
		})
	}
}

// A second collector on the same data folder must not write into the same stream.
func TestTwoWritersOnOneFolder(t *testing.T) {
	first := newCollector(t, "local.yaml", nil)
	first.start()
	second := newCollector(t, "local.yaml", nil)
	second.data = first.data
	second.launch()
	require.NotZero(t, second.waitExit(30*time.Second))
	require.Contains(t, second.logText(), "audit_ledger")

	sent := newCall("first", "still writing?")
	require.NoError(t, first.client().Send(t.Context(), traces(sent), otlpclient.GRPC))
	require.Equal(t, 1, first.entries()[sent.id()])
	first.stop()
	first.verify()
}

func removeIndex(t *testing.T, c *collector) {
	t.Helper()
	require.NoError(t, os.RemoveAll(filepath.Join(c.data, "index")))
}

// The index is a projection: deleted, it is made again from the ledger, by the
// collector as well as by the command, to the same answers.
func TestIndexIsRebuilt(t *testing.T) {
	c := newCollector(t, "local.yaml", nil)
	c.start()
	captures := expectations(t)
	sendCaptures(t, c.client(), captures, 1)
	before := c.requireCaptures(captures)
	c.stop()

	removeIndex(t, c)
	mustRun(t, "reindex", "--data", c.data)
	requireSameRecords(t, before, c.search())

	removeIndex(t, c)
	c.start()
	requireSameRecords(t, before, c.awaitSettled(len(before)))
	c.stop()
}
