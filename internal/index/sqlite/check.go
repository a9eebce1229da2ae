package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/claudeaudit/claudeaudit/internal/index"
)

// Finding is something in the database that is not as the ledger has it.
type Finding struct {
	// Place is that of the entry it is about; Stream is "" when it is none's.
	Place  index.Place
	Detail string
}

func (f Finding) String() string {
	if f.Place.Stream == "" {
		return f.Detail
	}
	return fmt.Sprintf("entry %d of %s: %s", f.Place.Seq, f.Place.Stream, f.Detail)
}

// Checker compares a database with the entries of a ledger: that it holds those
// and no others, and that what searches go by is what the entries say. It reads
// one state of the database, whatever is written meanwhile.
type Checker struct {
	tx      *sql.Tx
	found   func(Finding)
	streams map[string]*checkedStream
	erased  *index.Erased
	horizon int64
	days    map[int64]bool
	twins   bool // there are the indexes to find them by
}

type checkedStream struct {
	id    int64
	next  uint64 // the store's cursor
	first uint64 // of the ledger
	seen  uint64 // next entry to be told by Entry
}

// NewChecker starts a comparison; found is told what is wrong. erased are the
// events that the database has to have in erased form.
func (r *Reader) NewChecker(ctx context.Context, erased *index.Erased, found func(Finding)) (*Checker, error) {
	tx, err := r.db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return nil, fmt.Errorf("checking the index: %w", classify(err))
	}
	c := &Checker{tx: tx, found: found, erased: erased, streams: map[string]*checkedStream{}, days: map[int64]bool{}}
	if err := c.load(ctx); err != nil {
		return nil, fmt.Errorf("checking the index: %w", errors.Join(classify(err), c.Close()))
	}
	return c, nil
}

// Close ends the comparison.
func (c *Checker) Close() error { return c.tx.Rollback() }

func (c *Checker) load(ctx context.Context) error {
	rows, err := c.tx.QueryContext(ctx, "SELECT id, name, next FROM streams")
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }() // rows.Err tells what matters
	for rows.Next() {
		var name string
		var s checkedStream
		var next int64
		if err := rows.Scan(&s.id, &name, &next); err != nil {
			return err
		}
		s.next = uint64(next)
		c.streams[name] = &s
	}
	if err := rows.Err(); err != nil {
		return err
	}
	days, err := readIDs(ctx, c.tx, "SELECT day FROM days")
	if err != nil {
		return err
	}
	for _, d := range days {
		c.days[d] = true
	}
	n := 0
	if err := c.tx.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_schema WHERE name IN ('records_response', 'records_request')").Scan(&n); err != nil {
		return err
	}
	c.twins = n == len(twinIndexes)
	return c.tx.QueryRowContext(ctx, "SELECT coalesce(max(ts), ?) FROM horizon", noHorizon).Scan(&c.horizon)
}

// Begin says where a stream of the ledger begins: entries before were removed at
// the end of their retention, and the database may have none of them.
func (c *Checker) Begin(stream string, first uint64) {
	if s, ok := c.streams[stream]; ok {
		s.first, s.seen = first, max(s.seen, first)
	}
}

// Entry compares an entry of the ledger with the database's. It is called with
// all entries, in order within a stream, from one goroutine. Entries behind the
// store's cursor have not been taken yet, and are no finding.
func (c *Checker) Entry(ctx context.Context, stream string, seq uint64, line []byte) error {
	s, ok := c.streams[stream]
	if !ok || seq >= s.next {
		return nil
	}
	s.seen = seq + 1
	place := index.Place{Stream: stream, Seq: seq}
	var have []byte
	err := c.tx.QueryRowContext(ctx, "SELECT line FROM entries WHERE id = ?", entryID(s.id, seq)).Scan(&have)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		if !c.expired(line) {
			c.found(Finding{place, "the index lacks it"})
		}
		return nil
	case err != nil:
		return fmt.Errorf("checking the index: %w", classify(err))
	}
	have, err = unpack(have)
	switch want := c.erased.Form(line); {
	case err == nil && string(have) == string(want):
	case err == nil && string(have) == string(line):
		c.found(Finding{place, "the index still has what was erased of it"})
	default:
		c.found(Finding{place, "the index has it otherwise"})
	}
	return nil
}

// expired says whether an entry may be missing by its age.
func (c *Checker) expired(line []byte) bool {
	if c.horizon == noHorizon {
		return false
	}
	p, err := index.ParseEntry(index.Entry{Line: line})
	return err == nil && index.UnixNano(p.Record.Timestamp) < c.horizon
}

// Finish looks for what the ledger does not have, holds every record's row
// against its entries, and has SQLite check the file.
func (c *Checker) Finish(ctx context.Context) error {
	if err := c.finish(ctx); err != nil {
		return fmt.Errorf("checking the index: %w", classify(err))
	}
	return c.integrity(ctx)
}

func (c *Checker) finish(ctx context.Context) error {
	for name, s := range c.streams {
		for _, part := range []struct {
			from, to uint64
			what     string
		}{
			{0, s.first, "the ledger removed it at the end of its retention, and the index still has it"},
			{s.seen, maxSeq + 1, "the ledger lacks it"},
		} {
			if part.from == part.to {
				continue
			}
			extra, err := readIDs(ctx, c.tx, "SELECT id FROM entries WHERE id BETWEEN ? AND ? ORDER BY id LIMIT 1", entryID(s.id, part.from), entryID(s.id, part.to-1))
			if err != nil {
				return err
			}
			if len(extra) > 0 {
				c.found(Finding{index.Place{Stream: name, Seq: uint64(extra[0] & maxSeq)}, part.what})
			}
		}
	}
	names := newStreamNames(c.tx)
	var last, entries, flags int64 = -1, 0, 0
	for {
		page, err := c.page(ctx, last)
		if err != nil {
			return err
		}
		if len(page) == 0 {
			break
		}
		for _, r := range page {
			n, err := c.row(ctx, names, r)
			if err != nil {
				return err
			}
			entries += n
			_ = r.eachFlag(func(string) error { flags++; return nil })
			last = r.id
		}
	}
	if err := c.unjoined(ctx); err != nil {
		return err
	}
	for _, t := range []struct {
		query string
		want  int64
		what  string
	}{
		{"SELECT count(*) FROM entries WHERE record IS NOT NULL", entries, "entries"},
		{"SELECT count(*) FROM flags", flags, "flags"},
	} {
		var have int64
		if err := c.tx.QueryRowContext(ctx, t.query).Scan(&have); err != nil {
			return err
		}
		if have != t.want {
			c.found(Finding{Detail: fmt.Sprintf("it holds %d %s, and its records are of %d", have, t.what, t.want)})
		}
	}
	return nil
}

func (c *Checker) page(ctx context.Context, after int64) ([]row, error) {
	return readAll(ctx, c.tx, scanRow, "SELECT "+recordColumns+" FROM records WHERE id > ? ORDER BY id LIMIT 1000", after)
}

// row compares a record's row and flags with its entries, and returns how many
// entries are its own.
func (c *Checker) row(ctx context.Context, names *streamNames, r row) (int64, error) {
	place := index.Place{Seq: uint64(r.id & maxSeq)}
	var err error
	if place.Stream, err = names.name(ctx, r.id>>seqBits); err != nil {
		return 0, err
	}
	own, err := loadOwn(ctx, c.tx, r.id)
	if errors.Is(err, index.ErrCorrupt) {
		c.found(Finding{place, "its record can't be read from its entries"})
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	var entries []index.Parsed
	if r.head == r.id {
		entries, err = loadLogical(ctx, c.tx, names, r.id)
	} else {
		entries, err = parseLines(ctx, names, own)
	}
	if errors.Is(err, index.ErrCorrupt) {
		c.found(Finding{place, "its record can't be read from its entries"})
		return int64(len(own)), nil
	}
	if err != nil {
		return 0, err
	}
	rec := index.MergeParsed(entries)
	want := rowOf(&rec)
	want.id, want.head, want.more = r.id, r.head, r.more
	// The event and the ids are the row's own, of its own entries.
	ownEntries, err := parseLines(ctx, names, own)
	if err != nil {
		return 0, err
	}
	ownRec := index.MergeParsed(ownEntries)
	ownRow := rowOf(&ownRec)
	want.event, want.response, want.request = ownRow.event, ownRow.response, ownRow.request
	if want != r || r.more != (len(entries) > 1) {
		c.found(Finding{place, "its record is not what its entries say"})
	}
	if !c.days[r.day] {
		c.found(Finding{place, "its record is not found by its day"})
	}
	if r.head != r.id {
		// A twin shows under its head; a row can't be hidden under just any.
		head := int64(-1)
		if c.twins {
			if head, err = c.head(ctx, newTwinView(c.tx), r.id); err != nil {
				return 0, err
			}
		}
		if head != r.head {
			c.found(Finding{place, "its record is hidden as a twin that it isn't"})
		}
	}
	return int64(len(own)), r.eachFlag(func(flag string) error {
		var n int
		err := c.tx.QueryRowContext(ctx, "SELECT count(*) FROM flags WHERE flag = ? AND ts = ? AND record = ?", key(flag), r.ts, r.id).Scan(&n)
		if err == nil && n != 1 {
			c.found(Finding{place, "its record is not found by its flags"})
		}
		return err
	})
}

// head is the row that a row's record shows under, -1 when that can't be told from
// the entries.
func (c *Checker) head(ctx context.Context, v *twinView, id int64) (int64, error) {
	m, err := v.member(ctx, id)
	var family []*member
	if err == nil {
		family, err = v.family(ctx, m)
	}
	if errors.Is(err, index.ErrCorrupt) {
		return -1, nil // told of where it lies
	}
	if err != nil {
		return 0, err
	}
	return family[0].id, nil
}

// unjoined looks for records that show for themselves and are of a call that
// another one shows.
func (c *Checker) unjoined(ctx context.Context) error {
	if !c.twins {
		return nil
	}
	names := newStreamNames(c.tx)
	for _, column := range []string{"response", "request"} {
		for last := int64(math.MinInt64); ; {
			keys, err := readIDs(ctx, c.tx, fmt.Sprintf(`SELECT %[1]s FROM records INDEXED BY records_%[1]s WHERE %[1]s > ?
				GROUP BY %[1]s HAVING count(*) BETWEEN 2 AND ? ORDER BY %[1]s LIMIT 1000`, column), last, index.MaxTwins)
			if err != nil {
				return err
			}
			if len(keys) == 0 {
				break
			}
			for _, key := range keys {
				last = key
				if err := c.unjoinedOf(ctx, names, column, key); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (c *Checker) unjoinedOf(ctx context.Context, names *streamNames, column string, key int64) error {
	rows, err := readIDs(ctx, c.tx, fmt.Sprintf("SELECT id FROM records INDEXED BY records_%[1]s WHERE %[1]s = ? AND (head <> id) = 0", column), key)
	if err != nil {
		return err
	}
	v := newTwinView(c.tx)
	for _, id := range rows {
		head, err := c.head(ctx, v, id)
		if err != nil {
			return err
		}
		if head == id || head == -1 {
			continue
		}
		stream, err := names.name(ctx, id>>seqBits)
		if err != nil {
			return err
		}
		c.found(Finding{index.Place{Stream: stream, Seq: uint64(id & maxSeq)}, "its record shows twice: it is not joined with its twin"})
	}
	return nil
}

// integrity has SQLite check the file: the trees, and that every index has what
// its table has.
func (c *Checker) integrity(ctx context.Context) error {
	rows, err := c.tx.QueryContext(ctx, "PRAGMA integrity_check(10)")
	if err != nil {
		return fmt.Errorf("checking the index: %w", classify(err))
	}
	defer func() { _ = rows.Close() }() // rows.Err tells what matters
	var said []string
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			return fmt.Errorf("checking the index: %w", classify(err))
		}
		said = append(said, s)
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("checking the index: %w", classify(err))
	}
	if !slices.Equal(said, []string{"ok"}) {
		for _, s := range said {
			c.found(Finding{Detail: s})
		}
	}
	return nil
}
