package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/claudeaudit/claudeaudit/internal/anthropic"
	"github.com/claudeaudit/claudeaudit/internal/conversation"
	"github.com/claudeaudit/claudeaudit/internal/jcs"
)

// maxHashInput bounds a request or response, well above what the API takes.
const maxHashInput = 256 << 20

var hashLimits = jcs.Limits{MaxDepth: 512, MaxNodes: 1 << 24, MaxBytes: maxHashInput}

func (a *app) newHash() *cobra.Command {
	format := choice{value: formatText, allowed: []string{formatText, formatJSON}}
	cmd := &cobra.Command{
		Use:   "hash [FILE...]",
		Short: "Compute prompt_hash and response_hash of a request and a response",
		Long: `Compute the hashes that a record has of a call from the call's own JSON: bodies
of Messages API (also as InvokeModel on Bedrock, on Vertex AI and Foundry) or
Bedrock Converse requests and responses. Which is which is seen from the JSON.
Without a FILE, or with -, it is read from standard input.

A JSON object {"request": …, "response": …} holds both.

prompt_hash is the SHA-256 of the canonical (RFC 8785) form of the system
instructions and messages, response_hash that of the output messages. What has
no content has no hash: -, or null in JSON.

Exit code 1: there is neither a prompt nor a response to hash.`,
		Example: `  claudeaudit hash request.json response.json
  curl … | tee response.json | claudeaudit hash`,
		RunE: func(_ *cobra.Command, args []string) error {
			return a.hash(args, format.value)
		},
	}
	addChoice(cmd, &format, "format", "output format")
	return cmd
}

func (a *app) hash(files []string, format string) error {
	if len(files) == 0 {
		files = []string{"-"}
	}
	var h hashes
	for _, name := range files {
		if err := h.readFile(a.in, name); err != nil {
			return err
		}
	}
	prompt, response := h.sums()
	var err error
	if format == formatJSON {
		_, err = fmt.Fprintf(a.out, `{"prompt_hash":%s,"response_hash":%s}`+"\n", quoteOrNull(prompt), quoteOrNull(response))
	} else {
		_, err = fmt.Fprintf(a.out, "prompt_hash    %s\nresponse_hash  %s\n", dash(prompt), dash(response))
	}
	if err != nil {
		return err
	}
	if prompt == "" && response == "" {
		return negative{errors.New("there is neither a prompt nor a response to hash")}
	}
	return nil
}

func quoteOrNull(s string) string {
	if s == "" {
		return "null"
	}
	return `"` + s + `"`
}

// hashes gathers a conversation from requests and responses.
type hashes struct {
	prompt, response         conversation.Conversation
	promptFrom, responseFrom string // the file each is from
}

func (h *hashes) readFile(stdin io.Reader, name string) error {
	in, shown := stdin, "standard input"
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }() // only read
		in, shown = f, name
	}
	b, err := io.ReadAll(io.LimitReader(in, maxHashInput+1))
	if err != nil {
		return fmt.Errorf("reading %s: %w", shown, err)
	}
	v, err := jcs.Parse(string(b), hashLimits)
	if err != nil {
		return fmt.Errorf("%s: %w", shown, err)
	}
	request, response := v.Get("request"), v.Get("response")
	if request.Kind() == jcs.KindObject || response.Kind() == jcs.KindObject {
		for _, part := range []jcs.Value{request, response} {
			if part.Kind() != jcs.KindObject {
				continue
			}
			if err := h.add(part, shown); err != nil {
				return err
			}
		}
		return nil
	}
	return h.add(v, shown)
}

// add takes a body as the prompt or the response, and refuses a second one of
// the same.
func (h *hashes) add(v jcs.Value, from string) error {
	switch {
	case v.Get("messages").Kind() == jcs.KindArray:
		if h.promptFrom != "" {
			return fmt.Errorf("%s is a request, and so is %s", from, h.promptFrom)
		}
		h.promptFrom = from
		read := anthropic.ReadRequest
		if isConverse(v) {
			read = anthropic.ReadConverseRequest
		}
		h.prompt, _ = read(v)
	case v.Get("content").Kind() == jcs.KindArray, v.Get("output").Get("message").Kind() == jcs.KindObject:
		if h.responseFrom != "" {
			return fmt.Errorf("%s is a response, and so is %s", from, h.responseFrom)
		}
		h.responseFrom = from
		if v.Get("output").Kind() == jcs.KindObject {
			h.response.Output, _ = anthropic.ReadConverseResponse(v)
		} else {
			h.response.Output, _ = anthropic.ReadResponse(v)
		}
	default:
		return fmt.Errorf("%s: must be the JSON of a Messages API or Converse request (with messages) or response (with content)", from)
	}
	return nil
}

// isConverse tells a Converse request by its blocks, which have no type.
func isConverse(v jcs.Value) bool {
	for _, key := range []string{"inferenceConfig", "toolConfig", "modelId", "additionalModelRequestFields"} {
		if v.Get(key).Kind() != jcs.KindInvalid {
			return true
		}
	}
	for _, list := range []jcs.Value{v.Get("system"), v.Get("messages")} {
		for _, m := range list.Elems() {
			blocks := m.Get("content")
			if m.Get("role").Kind() == jcs.KindInvalid {
				if m.Kind() == jcs.KindObject {
					return m.Get("type").Kind() == jcs.KindInvalid
				}
				continue
			}
			for _, b := range blocks.Elems() {
				return b.Kind() == jcs.KindObject && b.Get("type").Kind() == jcs.KindInvalid
			}
		}
	}
	return false
}

// sums returns the hashes, "" for what has no content.
func (h *hashes) sums() (prompt, response string) {
	h.prompt.Normalize()
	h.response.Normalize()
	if h.prompt.HasPrompt() {
		prompt = conversation.PromptHash(h.prompt.System, h.prompt.Messages)
	}
	if h.response.HasOutput() {
		response = conversation.ResponseHash(h.response.Output)
	}
	return prompt, response
}
