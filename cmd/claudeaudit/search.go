package main

import (
	"bufio"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/claudeaudit/claudeaudit/internal/alive"
	"github.com/claudeaudit/claudeaudit/internal/audit"
	"github.com/claudeaudit/claudeaudit/internal/index"
)

var (
	statuses = []string{audit.StatusInitiated, audit.StatusSuccess, audit.StatusError, audit.StatusBlocked, audit.StatusInterrupted}
	kinds    = []string{audit.KindInteraction, audit.KindAccess, audit.KindAlert, audit.KindActivity, audit.KindSystem, index.KindAll}
)

func (a *app) newSearch() *cobra.Command {
	var q index.Query
	var from, to string
	limit := index.DefaultLimit
	format := choice{value: formatTable, allowed: []string{formatTable, formatJSON, formatCSV}}
	classification := choice{allowed: audit.Classifications, upper: true}
	status := choice{allowed: statuses}
	kind := choice{value: audit.KindInteraction, allowed: kinds}
	cmd := &cobra.Command{
		Use:   "search",
		Short: "Find records, newest first",
		Long: `Find the records that match all the given flags, newest first.

Values match exactly. Content can't be searched: it is encrypted, and never in
the index.

Dates are RFC 3339 (2026-11-24T15:04:05Z) or days (2026-11-24, UTC). --from is
inclusive. --to is exclusive, but a day includes that day.

--format json is an array of records, one a line. --format csv is RFC 4180 with
a header; a text that a spreadsheet could take for a formula (=, +, -, @ first)
is preceded by an apostrophe.`,
		Example: `  claudeaudit search --user alice@example.com --from 2026-11-01 --to 2026-11-30
  claudeaudit search --classification RESTRICTED --flag pii.email --format csv --limit 0 > found.csv`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			q.Classification, q.Status, q.Kind = classification.value, status.value, kind.value
			var err error
			if q.From, err = parseDate(from, false); err != nil {
				return fmt.Errorf("--from: %w", err)
			}
			if q.To, err = parseDate(to, true); err != nil {
				return fmt.Errorf("--to: %w", err)
			}
			if limit < 0 {
				return errors.New("--limit: must be 0 (all) or greater")
			}
			if err := q.Normalize(); err != nil {
				return err
			}
			return a.search(cmd.Context(), q, limit, format.value)
		},
	}
	f := cmd.Flags()
	f.StringVar(&q.User, "user", "", "user `id`")
	f.StringVar(&q.Session, "session", "", "session `id`")
	f.StringVar(&q.Application, "application", "", "application `id`")
	f.StringVar(&q.Model, "model", "", "model `name`")
	f.StringVar(&from, "from", "", "`date` from which on, inclusive")
	f.StringVar(&to, "to", "", "`date` up to which; a day includes that day")
	f.StringVar(&q.Flag, "flag", "", "policy `flag`")
	f.IntVar(&limit, "limit", limit, "most `records` to show, 0 for all")
	addChoice(cmd, &classification, "classification", "data classification")
	addChoice(cmd, &status, "status", "status")
	addChoice(cmd, &kind, "kind", "kind of record")
	addChoice(cmd, &format, "format", "output format")
	for _, name := range []string{"user", "session", "application", "model", "from", "to", "flag", "limit"} {
		complete(cmd.RegisterFlagCompletionFunc(name, cobra.NoFileCompletions))
	}
	return cmd
}

// parseDate reads a flag's date. A day that ends a span is taken whole.
func parseDate(s string, end bool) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if t, err := time.Parse(time.DateOnly, s); err == nil {
		if end {
			t = t.AddDate(0, 0, 1)
		}
		return t, nil
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return time.Time{}, fmt.Errorf("must be a date such as 2026-11-24 or 2026-11-24T15:04:05Z, not %q", s)
	}
	return t.UTC(), nil
}

// indexPatience is how long the index is waited for: the collector that writes it lets a second's entries come together.
const indexPatience = 1500 * time.Millisecond

// awaitIndex waits a moment until the index holds what the ledger does now, and says on standard
// error when it doesn't.
func (a *app) awaitIndex(ctx context.Context, p places, r index.Searcher) {
	lag, err := lagOf(ctx, p, r)
	switch {
	case err != nil:
		fmt.Fprintf(a.err, "warning: can't tell whether the index is up to date: %s\n", printable(err.Error()))
	case lag == 1:
		fmt.Fprintln(a.err, "warning: the index lacks the last entry of the ledger")
	case lag > 1:
		fmt.Fprintf(a.err, "warning: the index lacks the last %d entries of the ledger\n", lag)
	}
}

// lagOf is how many entries that the ledger has now the index lacks when it was waited for.
func lagOf(ctx context.Context, p places, r index.Searcher) (lag uint64, err error) {
	l, err := openLedger(ctx, p.ledger)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	now, err := snapshotOf(ctx, l)
	if err != nil {
		return 0, err
	}
	for end := time.Now().Add(indexPatience); ; {
		if lag, err = behind(ctx, now, r); err != nil || lag == 0 || time.Now().After(end) {
			return lag, err
		}
		select {
		case <-ctx.Done():
			return lag, ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// snapshot is a ledger as long as it was at one time.
type snapshot struct {
	index.Ledger
	sizes map[string]uint64
}

func snapshotOf(ctx context.Context, l index.Ledger) (snapshot, error) {
	s := snapshot{l, map[string]uint64{}}
	streams, err := l.Streams()
	if err != nil {
		return s, err
	}
	for _, stream := range streams {
		if s.sizes[stream], err = l.Size(ctx, stream); err != nil {
			return s, err
		}
	}
	return s, nil
}

func (s snapshot) Size(_ context.Context, stream string) (uint64, error) { return s.sizes[stream], nil }

func (s snapshot) Entries(ctx context.Context, stream string, from uint64, fn func(uint64, []byte) error) error {
	err := s.Ledger.Entries(ctx, stream, from, func(seq uint64, line []byte) error {
		if seq >= s.sizes[stream] {
			return errEnough
		}
		return fn(seq, line)
	})
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

var errEnough = errors.New("enough")

// maxLooked bounds the entries that behind looks at.
const maxLooked = 16

// behind is how many entries of the ledger the index lacks. Where it is a few, what the ledger
// says of itself is not counted: that it was stopped it says when the index was stopped before.
func behind(ctx context.Context, l index.Ledger, r index.Searcher) (uint64, error) {
	lag, err := index.Lag(ctx, l, r)
	if err != nil || lag == 0 || lag > maxLooked {
		return lag, err
	}
	cursors, err := r.Cursors(ctx)
	if err != nil {
		return 0, err
	}
	streams, err := l.Streams()
	if err != nil {
		return 0, err
	}
	lag = 0
	for _, stream := range streams {
		var next uint64
		if i := slices.IndexFunc(cursors, func(c index.Cursor) bool { return c.Stream == stream }); i >= 0 {
			next = cursors[i].Next
		}
		if err := l.Entries(ctx, stream, next, func(_ uint64, line []byte) error {
			if !alive.Is(line) {
				lag++
			}
			return nil
		}); err != nil {
			return 0, err
		}
	}
	return lag, nil
}

func (a *app) search(ctx context.Context, q index.Query, limit int, format string) (err error) {
	p, err := a.where.find(ctx)
	if err != nil {
		return err
	}
	r, err := openIndex(ctx, p)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	a.awaitIndex(ctx, p, r)

	w := bufio.NewWriterSize(a.out, 64<<10)
	out := newRecordWriter(w, a.out, format)
	found, more := 0, false
	for {
		q.Limit = index.MaxLimit
		if limit > 0 {
			q.Limit = min(limit-found, index.MaxLimit)
		}
		page, err := r.Search(ctx, q)
		if err != nil {
			return err
		}
		for i := range page.Records {
			if err := out.record(&page.Records[i]); err != nil {
				return fmt.Errorf("writing the records: %w", err)
			}
		}
		found += len(page.Records)
		if page.Next == "" {
			break
		}
		if limit > 0 && found >= limit {
			more = true
			break
		}
		q.After = page.Next
	}
	if err := errors.Join(out.end(), w.Flush()); err != nil {
		return fmt.Errorf("writing the records: %w", err)
	}
	switch {
	case found == 0 && format == formatTable:
		fmt.Fprintln(a.err, "no records found")
	case more:
		fmt.Fprintf(a.err, "more records match than the %d shown; --limit 0 shows all\n", found)
	}
	return nil
}

// recordWriter writes records in a format.
type recordWriter interface {
	record(r *audit.Record) error
	end() error
}

func newRecordWriter(w io.Writer, terminalOf io.Writer, format string) recordWriter {
	switch format {
	case formatJSON:
		return &jsonWriter{w: w}
	case formatCSV:
		c := csv.NewWriter(w)
		c.UseCRLF = true
		return &csvWriter{w: c}
	}
	width, _ := terminal(terminalOf)
	return &tableWriter{w: w, width: width}
}

// jsonWriter writes an array of records, one a line.
type jsonWriter struct {
	w   io.Writer
	n   int
	buf []byte
}

func (j *jsonWriter) record(r *audit.Record) error {
	j.buf = append(j.buf[:0], "[\n"...)
	if j.n > 0 {
		j.buf = append(j.buf[:0], ",\n"...)
	}
	j.n++
	j.buf = r.AppendJSON(j.buf)
	_, err := j.w.Write(j.buf)
	return err
}

func (j *jsonWriter) end() error {
	end := "\n]\n"
	if j.n == 0 {
		end = "[]\n"
	}
	_, err := io.WriteString(j.w, end)
	return err
}

// csvColumns are the columns of CSV: the record's members, nested ones with a dot.
var csvColumns = func() []string {
	names := []string{}
	for _, f := range fieldsOf(&audit.Record{}) {
		names = append(names, f.name)
	}
	return names
}()

type csvWriter struct {
	w      *csv.Writer
	headed bool
}

func (c *csvWriter) head() error {
	if c.headed {
		return nil
	}
	c.headed = true
	return c.w.Write(csvColumns)
}

func (c *csvWriter) record(r *audit.Record) error {
	if err := c.head(); err != nil {
		return err
	}
	fields := fieldsOf(r)
	cells := make([]string, len(fields))
	for i, f := range fields {
		cells[i] = f.value
		if f.text {
			cells[i] = noFormula(f.value)
		}
	}
	return c.w.Write(cells)
}

func (c *csvWriter) end() error {
	if err := c.head(); err != nil {
		return err
	}
	c.w.Flush()
	return c.w.Error()
}

// noFormula keeps a spreadsheet from taking a text that a caller chose for a
// formula.
func noFormula(s string) string {
	if s != "" && strings.ContainsRune("=+-@\t\r\n", rune(s[0])) {
		return "'" + s
	}
	return s
}

// maxTableRows bounds what is aligned together: a longer table has another
// header, and widths of its own.
const maxTableRows = 10_000

var searchColumns = []column{
	{title: "TIME"},
	{title: "USER", least: 10},
	{title: "APPLICATION", least: 8, drop: 2},
	{title: "MODEL", least: 8, drop: 1},
	{title: "CLASS", least: 4, drop: 4},
	{title: "STATUS", least: 7},
	{title: "IN", drop: 5, right: true},
	{title: "OUT", drop: 5, right: true},
	{title: "FLAGS", least: 6, drop: 3},
	{title: "EVENT"},
}

type tableWriter struct {
	w     io.Writer
	width int
	rows  [][]string
}

func (t *tableWriter) record(r *audit.Record) error {
	t.rows = append(t.rows, []string{
		r.Timestamp.UTC().Format("2006-01-02T15:04:05Z"), dash(r.UserID), dash(r.ApplicationID), dash(r.Model), dash(r.DataClassification),
		dash(r.Status), count(r.PromptTokens), count(r.CompletionTokens), dash(strings.Join(r.PolicyFlags, ",")), r.EventID.String(),
	})
	if len(t.rows) < maxTableRows {
		return nil
	}
	return t.end()
}

func (t *tableWriter) end() error {
	if len(t.rows) == 0 {
		return nil
	}
	rows := t.rows
	t.rows = nil
	return writeTable(t.w, searchColumns, rows, t.width)
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return printable(s)
}

func count(n *int64) string {
	if n == nil {
		return "-"
	}
	return strconv.FormatInt(*n, 10)
}
