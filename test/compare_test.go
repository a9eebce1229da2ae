package e2e

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/stretchr/testify/require"
)

// compare gives what is wrong with a record, content and all.
func (c *collector) compare(want expectedRecord, got record) []string {
	c.t.Helper()
	wrong := compareFields(want, got)
	if incomplete := compareCompleteness(want, got); len(incomplete) > 0 {
		return append(wrong, incomplete...)
	}
	return append(wrong, c.compareContent(want, got)...)
}

// compareMetadata is compare without reading the content.
func compareMetadata(want expectedRecord, got record) []string {
	return append(compareFields(want, got), compareCompleteness(want, got)...)
}

// compareFields gives what is wrong with what a record says of a call.
func compareFields(want expectedRecord, got record) []string {
	var wrong []string
	differs := func(key string, want, got any) {
		wrong = append(wrong, fmt.Sprintf("%s is %v, wanted %v", key, got, want))
	}

	for _, f := range []struct {
		key   string
		want  *string
		anyOf []string
	}{
		{key: "user_id", want: want.UserID},
		{key: "session_id", want: want.SessionID},
		{key: "application_id", want: want.ApplicationID},
		{key: "ip_address", want: truncated(want.IPAddress)},
		{key: "model", want: want.Model},
		{key: "request_model", want: want.RequestModel},
		{key: "status", want: &want.Status},
		{key: "error_type", want: want.ErrorType, anyOf: want.ErrorTypeAnyOf},
		{key: "stop_reason", want: want.StopReason, anyOf: want.StopReasonAnyOf},
		{key: "stop_class", want: want.StopClass},
	} {
		value := got[f.key]
		switch {
		case f.want == nil && len(f.anyOf) == 0:
			if value != nil {
				differs(f.key, "null", value)
			}
		case f.want != nil && value == *f.want:
		case slices.Contains(f.anyOf, got.text(f.key)):
		case f.want == nil:
			differs(f.key, f.anyOf, value)
		default:
			differs(f.key, append([]string{*f.want}, f.anyOf...), value)
		}
	}

	for _, f := range []struct {
		key            string
		want, optional *int64
	}{
		{"prompt_tokens", want.PromptTokens, nil},
		{"completion_tokens", want.CompletionTokens, nil},
		{"cache_read_tokens", want.CacheReadTokens, want.CacheReadTokensOptional},
		{"cache_write_tokens", want.CacheWriteTokens, want.CacheWriteTokensOptional},
	} {
		value, present := got[f.key].(json.Number)
		switch {
		case !present && f.want != nil:
			differs(f.key, *f.want, "null")
		case present && f.want != nil && integer(value) == *f.want:
		case present && f.optional != nil && integer(value) == *f.optional:
		case present && f.want == nil:
			differs(f.key, "null", value)
		case present:
			differs(f.key, *f.want, value)
		}
	}
	if want.LatencyMs != nil {
		latency := integer(got["latency_ms"])
		if d := latency - *want.LatencyMs; got["latency_ms"] == nil || d < -1 || d > 1 {
			differs("latency_ms", *want.LatencyMs, got["latency_ms"])
		}
	}
	return wrong
}

// compareCompleteness gives what is wrong with how complete a record says that
// its content is, and with its hashes.
func compareCompleteness(want expectedRecord, got record) []string {
	var wrong []string
	completeness, _ := got["content"].(map[string]any)
	for side, wanted := range map[string]string{"prompt": want.Content.Prompt, "response": want.Content.Response} {
		told, _ := completeness[side].(string)
		if told == "" {
			told = "none"
		}
		if wanted == "uncorrelated" {
			wanted = "none"
		}
		if told != wanted {
			wrong = append(wrong, fmt.Sprintf("content.%s is %s, wanted %s", side, told, wanted))
		}
		if hash := got[side+"_hash"]; (hash == nil) != (wanted == "none") {
			wrong = append(wrong, fmt.Sprintf("%s_hash is %v with content %s", side, hash, wanted))
		}
	}
	return wrong
}

func (c *collector) compareContent(want expectedRecord, got record) []string {
	c.t.Helper()
	if want.Content.Prompt == "uncorrelated" {
		return nil
	}
	if want.Content.Prompt == "none" && want.Content.Response == "none" {
		return nil
	}
	var wrong []string
	prompt, response := c.content(got.text("event_id"))
	if difference := compareMessages(want.Content.Prompt, want.PromptMessages, prompt); difference != "" {
		wrong = append(wrong, "prompt: "+difference)
	}
	if difference := compareMessages(want.Content.Response, want.ResponseMessages, response); difference != "" {
		wrong = append(wrong, "response: "+difference)
	}
	return wrong
}

// message is a message of the canonical form.
type message struct {
	Role  string           `json:"role"`
	Parts []map[string]any `json:"parts"`
}

// content opens the content of an event with the embedded identity: the
// messages of the prompt, the system instructions as their first, and those of
// the answer.
func (c *collector) content(eventID string) (prompt, response []message) {
	c.t.Helper()
	out := mustRun(c.t, "show", eventID, "--data", c.data, "--format", "json",
		"--content", "--identity", filepath.Join(c.data, "keys", "content.identity"))
	var shown struct {
		Content struct {
			System   []map[string]any `json:"system_instructions"`
			Messages []message        `json:"input_messages"`
			Output   []message        `json:"output_messages"`
		} `json:"content_raw"`
	}
	require.NoError(c.t, json.Unmarshal([]byte(out), &shown), "%s", clip(out))
	if len(shown.Content.System) > 0 {
		prompt = append(prompt, message{Role: "system", Parts: shown.Content.System})
	}
	return append(prompt, shown.Content.Messages...), shown.Content.Output
}

// compareMessages compares roles, texts, reasoning and tool calls, in order.
func compareMessages(completeness string, want []expectedMessage, got []message) string {
	if completeness == "none" {
		want = nil
	}
	var wanted []expectedMessage
	for _, m := range want {
		m.Texts = nonEmpty(m.Texts)
		m.Reasoning = nonEmpty(m.Reasoning)
		if len(m.Texts)+len(m.Reasoning)+len(m.ToolCalls) > 0 {
			wanted = append(wanted, m)
		}
	}
	var found []expectedMessage
	for _, m := range got {
		found = append(found, readMessage(m))
	}
	if reflect.DeepEqual(wanted, found) {
		return ""
	}
	wantJSON, _ := json.Marshal(wanted)
	foundJSON, _ := json.Marshal(found)
	return fmt.Sprintf("messages are\n  %s\nwanted\n  %s", foundJSON, wantJSON)
}

func nonEmpty(texts []string) []string {
	var out []string
	for _, text := range texts {
		if text != "" {
			out = append(out, text)
		}
	}
	return out
}

func readMessage(m message) expectedMessage {
	out := expectedMessage{Role: m.Role}
	for _, part := range m.Parts {
		content, _ := part["content"].(string)
		switch part["type"] {
		case "text":
			out.Texts = append(out.Texts, content)
		case "reasoning":
			out.Reasoning = append(out.Reasoning, content)
		case "tool_call":
			id, _ := part["id"].(string)
			name, _ := part["name"].(string)
			arguments, _ := part["arguments"].(map[string]any)
			out.ToolCalls = append(out.ToolCalls, toolCall{ID: id, Name: name, Arguments: arguments})
		case "tool_call_response":
			if text, ok := part["response"].(string); ok {
				out.Texts = append(out.Texts, text)
			}
		}
	}
	return out
}

// truncated is an address as the mask "truncate" leaves it.
func truncated(address *string) *string {
	if address == nil {
		return nil
	}
	addr, err := netip.ParseAddr(*address)
	if err != nil {
		return address
	}
	bits := 24
	if addr.Is6() && !addr.Is4In6() {
		bits = 48
	}
	prefix, err := addr.Prefix(bits)
	if err != nil {
		return address
	}
	masked := prefix.Addr().String()
	return &masked
}

// requireNoContentOutside wants no text of a prompt or an answer, and nothing
// that leaked past a client's switch, in the ledger's lines, in any other file
// of the data folder, or in the log. Texts too short to tell from chance are left out.
func (c *collector) requireNoContentOutside(captures []expectation) {
	c.t.Helper()
	c.requireNowhere(contentOf(captures))
}

// contentOf are the texts of prompts and answers, and what leaked past a client's
// switch, each with its capture.
func contentOf(captures []expectation) map[string]string {
	const shortest = 12
	secrets := map[string]string{} // text → capture
	for _, e := range captures {
		for _, r := range e.Records {
			for _, text := range r.MustNotAppear {
				secrets[text] = e.Capture
			}
			for _, m := range slices.Concat(r.PromptMessages, r.ResponseMessages) {
				for _, text := range slices.Concat(m.Texts, m.Reasoning) {
					if len(text) >= shortest {
						secrets[text] = e.Capture
					}
				}
			}
		}
	}
	return secrets
}

// requireNowhere wants none of the texts, each with what it is of, in the ledger's
// lines, in any other file of the data folder, or in the log.
func (c *collector) requireNowhere(secrets map[string]string) {
	c.t.Helper()
	require.NotEmpty(c.t, secrets)
	check := func(where, haystack string) {
		for text, capture := range secrets {
			if i := strings.Index(haystack, text); i >= 0 {
				c.t.Errorf("%s holds a text of %s: %q", where, capture, haystack[max(0, i-40):min(len(haystack), i+len(text)+40)])
			}
		}
	}
	c.eachLine(func(line []byte) { check("a line of the ledger", string(line)) })
	check("the log", c.logText())
	require.NoError(c.t, filepath.WalkDir(c.data, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		check(path, string(data))
		return nil
	}))
}
