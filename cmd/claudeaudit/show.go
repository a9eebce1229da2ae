package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/claudeaudit/claudeaudit/internal/audit"
	"github.com/claudeaudit/claudeaudit/internal/conversation"
	"github.com/claudeaudit/claudeaudit/internal/index"
	"github.com/claudeaudit/claudeaudit/internal/jcs"
	"github.com/claudeaudit/claudeaudit/internal/keystore"
	"github.com/claudeaudit/claudeaudit/internal/ledger"
	"github.com/claudeaudit/claudeaudit/internal/seal"
)

const formatText = "text"

// contentLimits bound what is opened: an exporter takes no more.
var contentLimits = jcs.Limits{MaxDepth: 512, MaxNodes: 1 << 24, MaxBytes: 1 << 30}

func (a *app) newShow() *cobra.Command {
	var withContent, withEntries bool
	var identity string
	format := choice{value: formatText, allowed: []string{formatText, formatJSON}}
	cmd := &cobra.Command{
		Use:   "show EVENT_ID",
		Short: "Show a record",
		Long: `Show the record of a call: the merge of all that was observed of it.

--entries shows each observation as it lies in the ledger. --content opens the
encrypted prompt and response with the identity, and prints them; with
--format json they are in the member content_raw.

Exit code 1: there is no such event.`,
		Example: `  claudeaudit show 6f1c2a34-8a1b-8c3d-9e4f-5a6b7c8d9e0f
  claudeaudit show 6f1c2a34-8a1b-8c3d-9e4f-5a6b7c8d9e0f --content --identity audit-data/keys/content.identity`,
		Args:              exactlyOne("EVENT_ID"),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			event, err := parseEvent(args[0])
			if err != nil {
				return err
			}
			if withContent && identity == "" {
				return errors.New("--content: --identity must name the file with the content identity, such as keys/content.identity in the data folder")
			}
			return a.show(cmd.Context(), event, showOptions{withEntries, withContent, identity, format.value})
		},
	}
	f := cmd.Flags()
	f.BoolVar(&withContent, "content", false, "open and print the prompt and the response")
	f.BoolVar(&withEntries, "entries", false, "print the ledger's entries behind the record")
	f.StringVar(&identity, "identity", "", "`file` with the content identity (secret key), or reference of the key in a service")
	addChoice(cmd, &format, "format", "output format")
	return cmd
}

// exactlyOne is cobra.ExactArgs(1) with a name.
func exactlyOne(name string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != 1 {
			return fmt.Errorf("%s takes one argument, %s; it got %d", cmd.CommandPath(), name, len(args))
		}
		return nil
	}
}

func parseEvent(s string) (uuid.UUID, error) {
	event, err := uuid.Parse(s)
	if err != nil || len(s) != 36 {
		return event, fmt.Errorf("EVENT_ID: must be a UUID such as 6f1c2a34-8a1b-8c3d-9e4f-5a6b7c8d9e0f, not %q", s)
	}
	return event, nil
}

type showOptions struct {
	entries, content bool
	identity         string
	format           string
}

func (a *app) show(ctx context.Context, event uuid.UUID, o showOptions) (err error) {
	p, err := a.where.find(ctx)
	if err != nil {
		return err
	}
	var identity *keystore.Ring
	if o.content {
		ring, err := openRing(ctx, p, o.identity)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, ring.Close()) }()
		identity = ring.Ring
	}
	r, err := openIndex(ctx, p)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	a.awaitIndex(ctx, p, r)
	found, err := r.Get(ctx, event)
	if errors.Is(err, index.ErrNotFound) {
		return negative{err}
	}
	if err != nil {
		return err
	}
	var content *opened
	if o.content {
		if content, err = openContent(ctx, p, found, identity); err != nil {
			return err
		}
	}
	if o.format == formatJSON {
		return writeJSON(a.out, found, o.entries, content)
	}
	return writeText(a.out, found, o.entries, content)
}

// opened is the decrypted content of a record. A part that the record has none
// of is Invalid.
type opened struct {
	prompt, response jcs.Value
}

// openContent reads the containers that the record names and opens them.
func openContent(ctx context.Context, p places, found index.Found, identity *keystore.Ring) (_ *opened, err error) {
	l, err := openLedger(ctx, p.ledger)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	var o opened
	c := found.Record.Content
	if c.PromptSHA256 != "" {
		o.prompt, err = openOne(ctx, l.Reader, found, "prompt", c.PromptSHA256, identity, audit.PromptAAD,
			func(r *audit.Record) string { return r.Content.PromptSHA256 })
		if err != nil {
			return nil, err
		}
	}
	if c.ResponseSHA256 != "" {
		o.response, err = openOne(ctx, l.Reader, found, "response", c.ResponseSHA256, identity, audit.ResponseAAD,
			func(r *audit.Record) string { return r.Content.ResponseSHA256 })
		if err != nil {
			return nil, err
		}
	}
	return &o, nil
}

// openOne opens one container. It was sealed for the event of the entry that
// names it, which is a twin's when the record has twins.
func openOne(ctx context.Context, l *ledger.Reader, found index.Found, what, sum string, identity *keystore.Ring,
	aad func(uuid.UUID) []byte, of func(*audit.Record) string,
) (jcs.Value, error) {
	for _, e := range found.Entries {
		rec, err := audit.ParseRecord(e.Line)
		if err != nil || of(&rec) != sum {
			continue // the index read it before; another entry names the container
		}
		sealed, err := l.ContentOf(ctx, e.Stream, e.Seq, sum)
		if err != nil {
			return jcs.Value{}, fmt.Errorf("reading the %s from the ledger: %w", what, err)
		}
		plain, err := identity.Open(ctx, sealed, aad(rec.EventID))
		if errors.Is(err, seal.ErrWrongKey) {
			return jcs.Value{}, fmt.Errorf("--identity: it does not fit: the %s is sealed to key %s, and this is the identity of key %s: %w",
				what, rec.Content.KeyID, identity.KeyIDs(), err)
		}
		if errors.Is(err, keystore.ErrDestroyed) {
			return jcs.Value{}, fmt.Errorf("--identity: it does not fit: the %s is sealed to key %s, and this is the identity of key %s. If that was a subject's key, it was destroyed, and nobody opens it",
				what, rec.Content.KeyID, identity.KeyIDs())
		}
		if err != nil {
			return jcs.Value{}, fmt.Errorf("opening the %s: %w", what, err)
		}
		v, err := jcs.Parse(string(plain), contentLimits)
		if err != nil {
			return jcs.Value{}, fmt.Errorf("reading the opened %s: %w", what, err)
		}
		return v, nil
	}
	return jcs.Value{}, fmt.Errorf("the %s is named by no entry of the record", what)
}

// writeJSON writes the record as in search, with content_raw and entries
// as further members when asked for.
func writeJSON(w io.Writer, found index.Found, entries bool, content *opened) error {
	b := found.Record.AppendJSON(nil)
	b = b[:len(b)-1]
	if content != nil {
		b = append(b, `,"content_raw":{"system_instructions":`...)
		b = appendOr(b, content.prompt.Get("system"), "[]")
		b = append(b, `,"input_messages":`...)
		b = appendOr(b, content.prompt.Get("messages"), "[]")
		b = append(b, `,"output_messages":`...)
		b = appendOr(b, content.response, "[]")
		b = append(b, '}')
	}
	if entries {
		b = append(b, `,"entries":[`...)
		for i, e := range found.Entries {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(b, e.Line...)
		}
		b = append(b, ']')
	}
	_, err := w.Write(append(b, "}\n"...))
	return err
}

func appendOr(b []byte, v jcs.Value, fallback string) []byte {
	if v.Kind() == jcs.KindInvalid {
		return append(b, fallback...)
	}
	return v.Append(b)
}

func writeText(w io.Writer, found index.Found, entries bool, content *opened) error {
	var b strings.Builder
	fields := fieldsOf(&found.Record)
	width := 0
	for _, f := range fields {
		width = max(width, len(f.name))
	}
	for _, f := range fields {
		if f.value == "" && !isMissing(&found.Record, f.name) {
			continue
		}
		value := dash(f.value)
		if f.value == "" {
			value = "- (missing)"
		}
		fmt.Fprintf(&b, "%-*s  %s\n", width, f.name, value)
	}
	if entries {
		for i, e := range found.Entries {
			fmt.Fprintf(&b, "\nentry %d of %d, %s/%d\n%s\n", i+1, len(found.Entries), e.Stream, e.Seq, printable(string(e.Line)))
		}
	}
	if content != nil {
		if err := content.write(&b); err != nil {
			return err
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func isMissing(r *audit.Record, name string) bool {
	for _, m := range r.Missing {
		if m == name {
			return true
		}
	}
	return false
}

// write prints the content for people.
func (o *opened) write(b *strings.Builder) error {
	if o.prompt.Kind() == jcs.KindInvalid && o.response.Kind() == jcs.KindInvalid {
		b.WriteString("\nThe ledger holds no content of this call.\n")
		return nil
	}
	if system := o.prompt.Get("system"); system.Len() > 0 {
		parts, err := conversation.ParseParts(system)
		if err != nil {
			return fmt.Errorf("reading the system instructions: %w", err)
		}
		writeMessage(b, conversation.Message{Role: "system", Parts: parts})
	}
	for _, v := range []jcs.Value{o.prompt.Get("messages"), o.response} {
		if v.Kind() == jcs.KindInvalid {
			continue
		}
		messages, err := conversation.ParseMessages(v)
		if err != nil {
			return fmt.Errorf("reading the messages: %w", err)
		}
		for _, m := range messages {
			writeMessage(b, m)
		}
	}
	return nil
}

func writeMessage(b *strings.Builder, m conversation.Message) {
	fmt.Fprintf(b, "\n--- %s\n", printable(m.Role))
	for _, p := range m.Parts {
		switch p.Type {
		case conversation.PartText:
			b.WriteString(printableText(p.Text()))
		case conversation.PartReasoning:
			b.WriteString("[reasoning] " + printableText(p.Text()))
		case conversation.PartToolCall:
			fmt.Fprintf(b, "[tool call %s %s] %s", printable(p.Name), printable(p.ID), printable(string(p.Value.Append(nil))))
		case conversation.PartToolCallResponse:
			text := p.Value.Str()
			if p.Value.Kind() != jcs.KindString {
				text = string(p.Value.Append(nil))
			}
			fmt.Fprintf(b, "[tool result %s] %s", printable(p.ID), printableText(text))
		case conversation.PartBlob:
			fmt.Fprintf(b, "[%s, %d characters of base64]", printable(p.MimeType), len(p.Data))
		case conversation.PartURI:
			fmt.Fprintf(b, "[%s]", printable(p.URI))
		case conversation.PartFile:
			fmt.Fprintf(b, "[file %s]", printable(p.URI))
		default:
			fmt.Fprintf(b, "[%s] %s", printable(p.Kind), printable(string(p.Value.Append(nil))))
		}
		b.WriteByte('\n')
	}
}
