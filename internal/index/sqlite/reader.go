package sqlite

import (
	"bytes"
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	sqlitedriver "modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/claudeaudit/claudeaudit/internal/audit"
	"github.com/claudeaudit/claudeaudit/internal/index"
)

// maxReaders bounds the connections that answer queries at once.
const maxReaders = 4

// Reader answers queries from a database that it or another process may be
// writing. It is safe for concurrent use.
type Reader struct {
	db *sql.DB
}

var _ index.Searcher = (*Reader)(nil)

// OpenReader opens the database at path for reading alone. It returns
// index.ErrNoIndex, index.ErrSchema or index.ErrCorrupt when there is none, or
// none that can be read.
func OpenReader(ctx context.Context, path string) (*Reader, error) {
	if _, err := os.Stat(path); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("%w at %s", index.ErrNoIndex, path)
		}
		return nil, fmt.Errorf("opening the index: %w", err)
	}
	r, err := openReader(ctx, path, false)
	if unwritable(err) && quiet(path) {
		// Even a reader makes companion files of a database in write-ahead mode.
		// Where it may not, as on a medium that is read-only, and where nobody
		// else has, the file is read as one that does not change.
		r, err = openReader(ctx, path, true)
	}
	if err != nil {
		return nil, fmt.Errorf("opening the index %s: %w", path, err)
	}
	return r, nil
}

func openReader(ctx context.Context, path string, immutable bool) (*Reader, error) {
	name := dsn(path, true, "busy_timeout(5000)", "query_only(1)", "cache_size(-16384)", "temp_store(memory)")
	if immutable {
		name += "&immutable=1"
	}
	db, err := sql.Open("sqlite", name)
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(maxReaders)
	db.SetMaxIdleConns(maxReaders)
	empty, err := checkSchema(ctx, path, db)
	if err == nil && empty {
		err = fmt.Errorf("%w: the file is empty", index.ErrNoIndex)
	}
	if err != nil {
		_ = db.Close() // nothing was written
		return nil, err
	}
	return &Reader{db: db}, nil
}

// unwritable says whether an error comes from not being allowed to write.
func unwritable(err error) bool {
	var se *sqlitedriver.Error
	return errors.As(err, &se) && (se.Code()&0xff == sqlite3.SQLITE_READONLY || se.Code()&0xff == sqlite3.SQLITE_CANTOPEN)
}

// quiet says whether all of the database is in its file.
func quiet(path string) bool {
	st, err := os.Stat(path + "-wal")
	return errors.Is(err, fs.ErrNotExist) || err == nil && st.Size() == 0
}

// Close closes the connections.
func (r *Reader) Close() error { return r.db.Close() }

// plan is a query in SQL: the table and index it goes along, and the
// conditions.
type plan struct {
	from  string
	where []string
	args  []any
	// ts is the column that orders; it belongs to the index gone along.
	ts string
	// daily says that the index is gone along day by day.
	daily bool
}

func (p *plan) add(condition string, args ...any) {
	p.where = append(p.where, condition)
	p.args = append(p.args, args...)
}

// planFor chooses the index. SQLite's planner has no statistics on what is
// rare here, so the most selective field that is set decides: session, user,
// flag, rare status or kind, application, classification, time.
func planFor(q *index.Query) *plan {
	p := &plan{ts: "r.ts"}
	along := func(name string) { p.from = "records r INDEXED BY " + name }
	daily := func(name string) {
		p.daily = true
		p.from = "days d CROSS JOIN records r INDEXED BY " + name + " ON r.day = d.day"
		if !q.From.IsZero() {
			p.add("d.day >= ?", dayOf(index.UnixNano(q.From)))
		}
		if !q.To.IsZero() {
			p.add("d.day <= ?", dayOf(index.UnixNano(q.To)))
		}
	}
	flagged := false
	switch {
	case q.Session != "":
		daily("records_session")
	case q.User != "":
		daily("records_user")
	case q.Flag != "":
		flagged = true
		p.from = "flags f CROSS JOIN records r ON r.id = f.record"
		p.ts = "f.ts"
		p.add("f.flag = ?", key(q.Flag))
	case q.Status != "" && q.Status != audit.StatusSuccess:
		along("records_status")
		p.add("r." + notSuccess)
	case q.Kind != audit.KindInteraction && q.Kind != index.KindAll:
		along("records_kind")
		p.add("r." + notInteraction)
	case q.Application != "":
		along("records_application")
	case q.Classification != "":
		along("records_classification")
	default:
		along("records_ts")
	}
	for _, f := range []struct{ column, value string }{
		{"session", q.Session},
		{"user", q.User},
		{"application", q.Application},
		{"model", q.Model},
		{"classification", q.Classification},
		{"status", q.Status},
	} {
		if f.value != "" {
			p.add("r."+f.column+" = ?", key(f.value))
		}
	}
	if q.Kind != index.KindAll {
		p.add("r.kind = ?", key(q.Kind))
	}
	if q.Flag != "" && !flagged {
		p.add("instr(char(10) || r.flags, ?) > 0", "\n"+q.Flag+"\n")
	}
	if !q.From.IsZero() {
		p.add(p.ts+" >= ?", index.UnixNano(q.From))
	}
	if !q.To.IsZero() {
		p.add(p.ts+" < ?", index.UnixNano(q.To))
	}
	p.add("r.head = r.id")
	return p
}

// Search implements index.Searcher.
func (r *Reader) Search(ctx context.Context, q index.Query) (index.Page, error) {
	if err := q.Normalize(); err != nil {
		return index.Page{}, err
	}
	p := planFor(&q)
	direction, before, beforeOrAt := "DESC", "<", "<="
	if q.Order == index.OldestFirst {
		direction, before, beforeOrAt = "ASC", ">", ">="
	}
	if q.After != "" {
		pos, err := index.ParsePosition(q.After)
		if err != nil {
			return index.Page{}, err
		}
		ts := pos.Time.UnixNano()
		p.add(p.ts+" "+beforeOrAt+" ?", ts)
		p.add("("+p.ts+" "+before+" ? OR r.event "+before+" ?)", ts, pos.Event[:])
		if p.daily {
			p.add("d.day "+beforeOrAt+" ?", dayOf(ts))
		}
	}
	order := p.ts + " " + direction + ", r.event " + direction
	if p.daily {
		order = "d.day " + direction + ", " + order
	}
	// The inner query finds and orders ids alone, so that lines are read for
	// the page only and never sorted.
	query := fmt.Sprintf(`SELECT s.id, s.ts, s.event, s.more, e.line FROM
		(SELECT r.id, %[1]s AS ts, r.event, r.more FROM %[2]s WHERE %[3]s ORDER BY %[4]s LIMIT ?) s
		CROSS JOIN entries e ON e.id = s.id`, p.ts, p.from, strings.Join(p.where, " AND "), order)
	p.args = append(p.args, q.Limit+1)

	tx, err := r.db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return index.Page{}, fmt.Errorf("searching the index: %w", classify(err))
	}
	defer func() { _ = tx.Rollback() }() // a read has nothing to commit
	hits, err := readHits(ctx, tx, query, p.args)
	if err != nil {
		return index.Page{}, fmt.Errorf("searching the index: %w", classify(err))
	}
	sortHits(hits, q.Order)

	var page index.Page
	if len(hits) > q.Limit {
		hits = hits[:q.Limit]
		page.Next = hits[q.Limit-1].position().String()
	}
	names := newStreamNames(tx)
	page.Records = make([]audit.Record, 0, len(hits))
	for _, h := range hits {
		var entries []index.Parsed
		if h.more {
			entries, err = loadLogical(ctx, tx, names, h.id)
		} else {
			entries, err = parseLines(ctx, names, []storedLine{{h.id, h.line}})
		}
		if err != nil {
			return index.Page{}, fmt.Errorf("searching the index: %w", classify(err))
		}
		// Keys are 64 bits of a hash: the values decide.
		if rec := index.MergeParsed(entries); q.Matches(&rec) {
			page.Records = append(page.Records, rec)
		}
	}
	return page, nil
}

// Get implements index.Searcher.
func (r *Reader) Get(ctx context.Context, event uuid.UUID) (index.Found, error) {
	tx, err := r.db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return index.Found{}, fmt.Errorf("looking up %s: %w", event, classify(err))
	}
	defer func() { _ = tx.Rollback() }() // a read has nothing to commit
	var head int64
	err = tx.QueryRowContext(ctx, "SELECT head FROM records WHERE event_key = ? AND event = ?", eventKey(event), event[:]).Scan(&head)
	if errors.Is(err, sql.ErrNoRows) {
		return index.Found{}, fmt.Errorf("%w: %s", index.ErrNotFound, event)
	}
	if err != nil {
		return index.Found{}, fmt.Errorf("looking up %s: %w", event, classify(err))
	}
	entries, err := loadLogical(ctx, tx, newStreamNames(tx), head)
	if err != nil {
		return index.Found{}, fmt.Errorf("looking up %s: %w", event, classify(err))
	}
	f := index.Found{Record: index.MergeParsed(entries)}
	for _, e := range entries {
		f.Entries = append(f.Entries, e.Entry)
	}
	return f, nil
}

// Cursors implements index.Searcher. A stream that is being dropped is not
// among them.
func (r *Reader) Cursors(ctx context.Context) ([]index.Cursor, error) {
	c, err := readAll(ctx, r.db, scanCursor, "SELECT name, next, last FROM streams WHERE dropping = 0 ORDER BY name")
	if err != nil {
		return nil, fmt.Errorf("reading the index's cursors: %w", classify(err))
	}
	return c, nil
}

// Erasures implements index.Searcher.
func (r *Reader) Erasures(ctx context.Context) ([]index.Cursor, error) {
	c, err := readAll(ctx, r.db, scanCursor, "SELECT stream, next, last FROM erasures ORDER BY stream")
	if err != nil {
		return nil, fmt.Errorf("reading how far the index was erased: %w", classify(err))
	}
	return c, nil
}

func scanCursor(sc scanner) (c index.Cursor, err error) {
	var next int64
	var last []byte
	err = sc.Scan(&c.Stream, &next, &last)
	c.Next = uint64(next)
	copy(c.Last[:], last)
	return c, err
}

type hit struct {
	id, ts int64
	event  uuid.UUID
	more   bool
	line   []byte
}

func (h hit) position() index.Position {
	return index.Position{Time: unixTime(h.ts), Event: h.event}
}

func readHits(ctx context.Context, q querier, query string, args []any) ([]hit, error) {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }() // rows.Err tells what matters
	var hits []hit
	for rows.Next() {
		var h hit
		var event []byte
		var packed sql.RawBytes
		if err := rows.Scan(&h.id, &h.ts, &event, &h.more, &packed); err != nil {
			return nil, err
		}
		if h.line, err = unpack(packed); err != nil {
			return nil, err
		}
		copy(h.event[:], event)
		hits = append(hits, h)
	}
	return hits, rows.Err()
}

// storedLine is an entry as it lies in the database.
type storedLine struct {
	id   int64
	line []byte
}

// scanner is one row of an answer: *sql.Rows or *sql.Row.
type scanner interface{ Scan(...any) error }

// readAll runs a query and scans each of its rows.
func readAll[T any](ctx context.Context, q querier, scan func(scanner) (T, error), query string, args ...any) ([]T, error) {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }() // rows.Err tells what matters
	var out []T
	for rows.Next() {
		v, err := scan(rows)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, rows.Err()
}

func scanLine(sc scanner) (l storedLine, err error) {
	var packed sql.RawBytes
	if err := sc.Scan(&l.id, &packed); err != nil {
		return l, err
	}
	l.line, err = unpack(packed)
	return l, err
}

func scanID(sc scanner) (id int64, err error) {
	err = sc.Scan(&id)
	return id, err
}

// loadOwn returns the lines of one record row, its first and the further ones.
func loadOwn(ctx context.Context, q querier, id int64) ([]storedLine, error) {
	return readAll(ctx, q, scanLine,
		`SELECT id, line FROM entries WHERE id = ?1
		UNION ALL SELECT id, line FROM entries INDEXED BY entries_more WHERE record = ?1 AND record <> id`, id)
}

// loadLogical returns the entries of a logical record: of its own row and of
// its twins'.
func loadLogical(ctx context.Context, q querier, names *streamNames, head int64) ([]index.Parsed, error) {
	lines, err := loadOwn(ctx, q, head)
	if err != nil {
		return nil, err
	}
	twins, err := readIDs(ctx, q, "SELECT id FROM records INDEXED BY records_twin WHERE head = ? AND head <> id", head)
	if err != nil {
		return nil, err
	}
	for _, id := range twins {
		more, err := loadOwn(ctx, q, id)
		if err != nil {
			return nil, err
		}
		lines = append(lines, more...)
	}
	return parseLines(ctx, names, lines)
}

func parseLines(ctx context.Context, names *streamNames, lines []storedLine) ([]index.Parsed, error) {
	entries := make([]index.Parsed, 0, len(lines))
	for _, l := range lines {
		name, err := names.name(ctx, l.id>>seqBits)
		if err != nil {
			return nil, err
		}
		p, err := index.ParseEntry(index.Entry{Stream: name, Seq: uint64(l.id & maxSeq), Line: l.line})
		if err != nil {
			return nil, fmt.Errorf("%w: %w", index.ErrCorrupt, err)
		}
		entries = append(entries, p)
	}
	if len(entries) == 0 {
		return nil, fmt.Errorf("%w: a record has no entries", index.ErrCorrupt)
	}
	return entries, nil
}

func readIDs(ctx context.Context, q querier, query string, args ...any) ([]int64, error) {
	return readAll(ctx, q, scanID, query, args...)
}

// streamNames looks up names of streams within one transaction.
type streamNames struct {
	q     querier
	known map[int64]string
}

func newStreamNames(q querier) *streamNames {
	return &streamNames{q: q, known: map[int64]string{}}
}

func (n *streamNames) name(ctx context.Context, id int64) (string, error) {
	if name, ok := n.known[id]; ok {
		return name, nil
	}
	var name string
	err := n.q.QueryRowContext(ctx, "SELECT name FROM streams WHERE id = ?", id).Scan(&name)
	if errors.Is(err, sql.ErrNoRows) {
		return "", fmt.Errorf("%w: an entry names no stream", index.ErrCorrupt)
	}
	if err != nil {
		return "", err
	}
	n.known[id] = name
	return name, nil
}

func sortHits(hits []hit, order index.Order) {
	slices.SortFunc(hits, func(a, b hit) int {
		c := compareHits(a, b)
		if order == index.NewestFirst {
			return -c
		}
		return c
	})
}

func compareHits(a, b hit) int {
	return cmp.Or(cmp.Compare(a.ts, b.ts), bytes.Compare(a.event[:], b.event[:]))
}

func unixTime(ns int64) time.Time { return time.Unix(0, ns).UTC() }
