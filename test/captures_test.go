package e2e

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/claudeaudit/claudeaudit/internal/otlpclient"
)

// expectation is a file of testdata/captures: what the records of a capture must say.
type expectation struct {
	Capture          string           `json:"capture"`
	Inputs           []input          `json:"inputs"`
	RecordCount      *int             `json:"record_count"`
	RecordCountAnyOf []int            `json:"record_count_any_of"`
	Records          []expectedRecord `json:"records"`
	NotRecords       []map[string]any `json:"not_records"`
}

type input struct {
	File   string `json:"file"`
	Signal string `json:"signal"`
}

type expectedRecord struct {
	Match struct {
		TraceID   string `json:"trace_id"`
		SpanID    string `json:"span_id"`
		RequestID string `json:"request_id"`
	} `json:"match"`
	SameCallSpans []string `json:"same_call_spans"`

	UserID        *string `json:"user_id"`
	SessionID     *string `json:"session_id"`
	ApplicationID *string `json:"application_id"`
	IPAddress     *string `json:"ip_address"`
	Model         *string `json:"model"`
	RequestModel  *string `json:"request_model"`

	PromptTokens             *int64 `json:"prompt_tokens"`
	CompletionTokens         *int64 `json:"completion_tokens"`
	CacheReadTokens          *int64 `json:"cache_read_tokens"`
	CacheReadTokensOptional  *int64 `json:"cache_read_tokens_optional"`
	CacheWriteTokens         *int64 `json:"cache_write_tokens"`
	CacheWriteTokensOptional *int64 `json:"cache_write_tokens_optional"`

	Status          string   `json:"status"`
	ErrorType       *string  `json:"error_type"`
	ErrorTypeAnyOf  []string `json:"error_type_any_of"`
	StopReason      *string  `json:"stop_reason"`
	StopReasonAnyOf []string `json:"stop_reason_any_of"`
	StopClass       *string  `json:"stop_class"`
	LatencyMs       *int64   `json:"latency_ms"`

	Content struct {
		Prompt   string `json:"prompt"`
		Response string `json:"response"`
	} `json:"content"`
	PromptMessages   []expectedMessage `json:"prompt_messages"`
	ResponseMessages []expectedMessage `json:"response_messages"`

	MustNotAppear []string `json:"must_not_appear_in_metadata"`
}

type expectedMessage struct {
	Role      string     `json:"role"`
	Texts     []string   `json:"texts"`
	Reasoning []string   `json:"reasoning"`
	ToolCalls []toolCall `json:"tool_calls"`
}

type toolCall struct {
	ID        string         `json:"id"`
	Name      string         `json:"name"`
	Arguments map[string]any `json:"arguments"`
}

func capturesDir(t *testing.T) string {
	t.Helper()
	return filepath.Join(repository(t), "testdata", "captures")
}

func expectations(t *testing.T) []expectation {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(capturesDir(t), "*.expect.json"))
	require.NoError(t, err)
	require.NotEmpty(t, files, "no captures")
	var out []expectation
	for _, file := range files {
		data, err := os.ReadFile(file)
		require.NoError(t, err)
		var e expectation
		require.NoError(t, json.Unmarshal(data, &e), file)
		out = append(out, e)
	}
	return out
}

// sendCaptures sends the files of the captures, one per request, in an order
// made of seed, and each over another transport than the one before.
func sendCaptures(t *testing.T, client *otlpclient.Client, captures []expectation, seed uint64) {
	t.Helper()
	var files []string
	for _, e := range captures {
		for _, in := range e.Inputs {
			files = append(files, in.File)
		}
	}
	rng := rand.New(rand.NewPCG(seed, seed))
	rng.Shuffle(len(files), func(i, j int) { files[i], files[j] = files[j], files[i] })
	for i, file := range files {
		payload, err := otlpclient.ReadFile(filepath.Join(capturesDir(t), file))
		require.NoError(t, err)
		via := otlpclient.Transports[(i+int(seed))%len(otlpclient.Transports)]
		require.NoError(t, client.Send(t.Context(), payload, via), "%s by %s", file, via)
	}
}

// The real captures go in, in any order and over every transport, and exactly
// the records of their expectations come out.
func TestCaptures(t *testing.T) {
	captures := expectations(t)
	for _, seed := range []uint64{1, 2, 3} {
		t.Run("order "+string(rune('0'+seed)), func(t *testing.T) {
			c := newCollector(t, "local.yaml", nil)
			c.start()
			sendCaptures(t, c.client(), captures, seed)
			c.requireCaptures(captures)
			c.stop()
			c.verify()
			c.requireNoContentOutside(captures)
		})
	}
}

// Each capture alone, as most users will see it first.
func TestEachCaptureAlone(t *testing.T) {
	captures := expectations(t)
	c := newCollector(t, "local.yaml", nil)
	sent := captures[:0:0]
	c.start()
	for _, e := range captures {
		sendCaptures(t, c.client(), []expectation{e}, 1)
		sent = append(sent, e)
	}
	c.requireCaptures(sent)
}

// Sent again in another order, with a restart between: nothing new, nothing changed.
func TestCapturesSentTwice(t *testing.T) {
	captures := expectations(t)
	c := newCollector(t, "local.yaml", nil)
	c.start()
	sendCaptures(t, c.client(), captures, 1)
	first := c.requireCaptures(captures)
	entries := c.lines()
	c.stop()
	c.verify()

	c.start()
	sendCaptures(t, c.client(), captures, 7)
	second := c.requireCaptures(captures)
	requireSameRecords(t, first, second)
	require.Equal(t, entries, c.lines(), "entries were added")
	c.kill()

	c.start()
	sendCaptures(t, c.client(), captures, 8)
	third := c.requireCaptures(captures)
	requireSameRecords(t, first, third)
	require.Equal(t, entries, c.lines(), "entries were added after a kill")
	c.stop()
	c.verify()
}

// A restart in the middle: the identity window has to be there again, for the
// other half of what was told before it.
func TestCapturesWithRestartInTheMiddle(t *testing.T) {
	captures := expectations(t)
	c := newCollector(t, "local.yaml", nil)
	for part := range 2 {
		c.start()
		for i, e := range captures {
			inputs := slices.Clone(e.Inputs)
			if i%2 == 1 {
				slices.Reverse(inputs)
			}
			// captures of one file all go in the first half
			if part >= len(inputs) {
				continue
			}
			e.Inputs = inputs[part : part+1]
			sendCaptures(t, c.client(), []expectation{e}, uint64(i))
		}
		if part == 0 {
			c.kill()
		}
	}
	c.requireCaptures(captures)
	c.stop()
	c.verify()
}

// All at once, each file three times: the two halves of a call meet in any way
// that they can.
func TestCapturesConcurrently(t *testing.T) {
	captures := expectations(t)
	c := newCollector(t, "local.yaml", nil)
	c.start()
	client := c.client()
	var senders sync.WaitGroup
	for _, e := range captures {
		for _, in := range e.Inputs {
			for _, via := range otlpclient.Transports {
				payload, err := otlpclient.ReadFile(filepath.Join(capturesDir(t), in.File))
				require.NoError(t, err)
				senders.Go(func() {
					if err := client.Send(t.Context(), payload, via); err != nil {
						t.Errorf("%s by %s: %v", in.File, via, err)
					}
				})
			}
		}
	}
	senders.Wait()
	c.requireCaptures(captures)
	digests := map[string]bool{}
	c.eachLine(func(line []byte) {
		var entry struct {
			Source struct {
				Digest string `json:"digest"`
			} `json:"source"`
		}
		require.NoError(t, json.Unmarshal(line, &entry))
		if entry.Source.Digest != "" && digests[entry.Source.Digest] {
			t.Errorf("the same observation twice: %s", line)
		}
		digests[entry.Source.Digest] = true
	})
	c.stop()
	c.verify()
}

// requireSameRecords wants the same records, whatever their order.
func requireSameRecords(t *testing.T, want, got []record) {
	t.Helper()
	wanted, found := byEventID(t, want), byEventID(t, got)
	for id, text := range wanted {
		if found[id] != text {
			t.Errorf("a record changed from\n%s\nto\n%s", text, found[id])
		}
	}
	require.Len(t, found, len(wanted))
}

func byEventID(t *testing.T, records []record) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, r := range records {
		text, err := json.Marshal(r)
		require.NoError(t, err)
		out[r.text("event_id")] = string(text)
	}
	require.Len(t, out, len(records), "event ids are not unique")
	return out
}

// lines gives every line of the ledger that tells of a call.
func (c *collector) lines() []string {
	c.t.Helper()
	var out []string
	c.eachLine(func(line []byte) {
		var entry struct {
			Kind string `json:"kind"`
		}
		require.NoError(c.t, json.Unmarshal(line, &entry))
		if entry.Kind != "system" {
			out = append(out, string(line))
		}
	})
	return out
}

// requireCaptures wants exactly the records that the captures expect, in the
// index, and gives them.
func (c *collector) requireCaptures(captures []expectation) []record {
	c.t.Helper()
	least := 0
	for _, e := range captures {
		least += len(e.Records)
	}
	records := c.awaitSettled(least)
	requireExpected(c.t, captures, records, c.compare)
	return records
}

// requireExpected wants exactly the records that the captures expect; compare
// gives what is wrong with one.
func requireExpected(t *testing.T, captures []expectation, records []record, compare func(expectedRecord, record) []string) {
	t.Helper()
	for _, difference := range differences(t, captures, records, compare) {
		t.Error(difference)
	}
}

// differences are those between records and what the captures expect.
func differences(t *testing.T, captures []expectation, records []record, compare func(expectedRecord, record) []string) []string {
	t.Helper()
	var out []string
	differs := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	used := map[string]string{} // event id → capture
	for _, e := range captures {
		if e.RecordCount != nil {
			require.Len(t, e.Records, *e.RecordCount, "%s: the expectation contradicts itself", e.Capture)
		}
		for i, want := range e.Records {
			got := find(records, want)
			if got == nil {
				differs("%s: no record for call %d (%+v)", e.Capture, i, want.Match)
				continue
			}
			id := got.text("event_id")
			if other := used[id]; other != "" {
				differs("%s: call %d has the same record as a call of %s", e.Capture, i, other)
			}
			used[id] = e.Capture
			for _, difference := range compare(want, got) {
				differs("%s: call %d: %s", e.Capture, i, difference)
			}
		}
	}
	for _, r := range records {
		if used[r.text("event_id")] == "" {
			text, err := json.Marshal(r)
			require.NoError(t, err)
			differs("a record that no capture expects: %s", text)
		}
	}
	return out
}

// awaitSettled waits until the index has everything the ledger has, and gives
// its records, which must be n at least.
func (c *collector) awaitSettled(n int) []record {
	c.t.Helper()
	var records []record
	require.Eventually(c.t, func() bool {
		got := claudeaudit(c.t, c.searchArgs(nil)...)
		if got.code != 0 || got.stderr != "" { // there is no index, or it lacks entries
			return false
		}
		records = decodeRecords(c.t, got.stdout)
		return true
	}, followTimeout, 100*time.Millisecond, "the index never caught up with the ledger")
	if len(records) < n {
		c.t.Errorf("%d records, wanted at least %d", len(records), n)
	}
	return records
}

// find gives the record of an expected call: by its span, by another span of
// the same call, or by its request id.
func find(records []record, want expectedRecord) record {
	spans := []string{want.Match.SpanID}
	spans = append(spans, want.SameCallSpans...)
	for _, r := range records {
		if want.Match.RequestID != "" && r.text("request_id") == want.Match.RequestID {
			return r
		}
		if want.Match.SpanID != "" && slices.Contains(spans, r.text("span_id")) {
			return r
		}
	}
	return nil
}

func integer(v any) int64 {
	number, ok := v.(json.Number)
	if !ok {
		return 0
	}
	n, _ := number.Int64()
	return n
}
