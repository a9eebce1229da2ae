// Package sqlite keeps the index in one SQLite file.
//
// One process writes (see Lock), any number read while it does: the file is in
// write-ahead mode. A commit is not forced to disk: after a power cut the last
// batches may be gone together with the cursor, and are taken from the ledger
// again.
package sqlite

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"runtime"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/claudeaudit/claudeaudit/internal/audit"
	"github.com/claudeaudit/claudeaudit/internal/index"
)

// Store is the database open for writing. Apply, DropStream and Prune are for
// one goroutine; queries for any.
type Store struct {
	*Reader
	db   *sql.DB
	conn *sql.Conn
	lock *Lock

	many, one statements
	find      *sql.Stmt // by keysPerLookup event ids

	updateRow, updateLine, deleteRow, deleteEntry, deleteFlag, rowByID, setCursor, addStream, addDay *sql.Stmt
	sharing                                                                                          map[string]*sql.Stmt // by the column of an id

	streams map[string]*stream
	horizon int64
	fatal   error
}

type stream struct {
	id       int64
	cursor   index.Cursor
	dropping bool
}

// statements insert a fixed number of rows each.
type statements struct {
	entries, records, flags *sql.Stmt
}

// rowsPerInsert is how many rows one statement inserts, keysPerLookup how many
// keys one looks up: the cost of a call is spread over them.
const (
	rowsPerInsert = 50
	keysPerLookup = 100
)

var _ index.Store = (*Store)(nil)

// Open opens the database at path for writing and makes it if there is none.
// It returns index.ErrLocked when another process has it open so,
// index.ErrSchema or index.ErrCorrupt when it has to be rebuilt.
func Open(ctx context.Context, path string) (*Store, error) {
	lock, err := TryLock(path)
	if err != nil {
		return nil, err
	}
	s, err := OpenLocked(ctx, path, lock)
	if err != nil {
		return nil, errors.Join(err, lock.Unlock())
	}
	return s, nil
}

// OpenOrRebuild is Open, but an index of another schema or a damaged one is
// removed and begun anew; rebuilt says why. What is no index is left alone.
func OpenOrRebuild(ctx context.Context, path string) (s *Store, rebuilt, err error) {
	lock, err := TryLock(path)
	if err != nil {
		return nil, nil, err
	}
	s, err = OpenLocked(ctx, path, lock)
	if errors.Is(err, index.ErrSchema) || errors.Is(err, index.ErrCorrupt) {
		rebuilt = err
		if err = Remove(path); err == nil {
			s, err = OpenLocked(ctx, path, lock)
		}
	}
	if err != nil {
		return nil, nil, errors.Join(err, lock.Unlock())
	}
	return s, rebuilt, nil
}

// OpenLocked is Open for a caller who holds the lock. Close releases it; when
// OpenLocked fails the caller keeps it.
func OpenLocked(ctx context.Context, path string, lock *Lock) (*Store, error) {
	// SQLite makes the file with the umask's rights, and its companions with
	// the file's. Who called when is for the owner's eyes.
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	switch {
	case err == nil:
		if err := f.Close(); err != nil {
			return nil, fmt.Errorf("creating the index: %w", err)
		}
	case !errors.Is(err, fs.ErrExist):
		return nil, fmt.Errorf("creating the index: %w", err)
	}
	db, err := sql.Open("sqlite", dsn(path, false, "busy_timeout(10000)"))
	if err != nil {
		return nil, fmt.Errorf("opening the index: %w", err)
	}
	s := &Store{db: db, lock: lock, streams: map[string]*stream{}, sharing: map[string]*sql.Stmt{}}
	if err := s.open(ctx, path); err != nil {
		s.lock = nil
		return nil, fmt.Errorf("opening the index %s: %w", path, errors.Join(err, s.Close()))
	}
	return s, nil
}

func (s *Store) open(ctx context.Context, path string) (err error) {
	if s.conn, err = s.db.Conn(ctx); err != nil {
		return classify(err)
	}
	empty, err := checkSchema(ctx, path, s.conn)
	if err != nil {
		return err
	}
	if empty {
		// Before the write-ahead mode, so that the file itself bears the mark.
		if _, err := s.conn.ExecContext(ctx, "PRAGMA page_size = 4096"); err != nil {
			return fmt.Errorf("setting the page size: %w", classify(err))
		}
		if err := createSchema(ctx, s.conn); err != nil {
			return err
		}
	}
	for _, p := range []string{
		"journal_mode = WAL", "synchronous = NORMAL", "foreign_keys = OFF", "cache_size = -65536", "temp_store = MEMORY",
		// Without it parts of what was moved or deleted stay in the file until the place is needed, and an erasure would not reach them.
		"secure_delete = ON",
		// Random pages are rewritten by many transactions: the longer the log, the fewer copies of each are moved to the file.
		"wal_autocheckpoint = 32768", "journal_size_limit = 134217728",
	} {
		if _, err := s.conn.ExecContext(ctx, "PRAGMA "+p); err != nil {
			return fmt.Errorf("setting %s: %w", p, classify(err))
		}
	}
	if err := s.prepare(ctx); err != nil {
		return classify(err)
	}
	if err := s.loadState(ctx); err != nil {
		return classify(err)
	}
	s.Reader, err = OpenReader(ctx, path)
	return err
}

func tuples(columns, n int) string {
	one := "(" + strings.TrimSuffix(strings.Repeat("?,", columns), ",") + ")"
	return strings.TrimSuffix(strings.Repeat(one+",", n), ",")
}

const recordColumns = "id, event, ts, day, kind, status, user, session, application, model, classification, flags, head, more, event_key, response, request"

func (s *Store) prepare(ctx context.Context) error {
	keys := strings.TrimSuffix(strings.Repeat("?,", keysPerLookup), ",")
	type prepared struct {
		stmt  **sql.Stmt
		query string
	}
	list := []prepared{
		{&s.find, "SELECT id, event FROM records INDEXED BY records_event WHERE event_key IN (" + keys + ")"},
		{&s.rowByID, "SELECT " + recordColumns + " FROM records WHERE id = ?"},
		{&s.updateRow, `UPDATE records SET ts = ?, day = ?, kind = ?, status = ?, user = ?, session = ?, application = ?, model = ?,
			classification = ?, flags = ?, head = ?, more = ?, response = ?, request = ? WHERE id = ?`},
		{&s.updateLine, "UPDATE entries SET line = ? WHERE id = ?"},
		{&s.deleteRow, "DELETE FROM records WHERE id = ?"},
		{&s.deleteEntry, "DELETE FROM entries WHERE id = ?"},
		{&s.deleteFlag, "DELETE FROM flags WHERE flag = ? AND ts = ? AND record = ?"},
		{&s.addDay, "INSERT OR IGNORE INTO days (day) VALUES (?)"},
		{&s.setCursor, "UPDATE streams SET next = ?, last = ? WHERE id = ?"},
		{&s.addStream, "INSERT INTO streams (id, name, next, last) VALUES (?, ?, ?, ?)"},
	}
	for _, set := range []struct {
		to *statements
		n  int
	}{{&s.many, rowsPerInsert}, {&s.one, 1}} {
		list = append(list,
			prepared{&set.to.entries, "INSERT OR ROLLBACK INTO entries (id, record, line) VALUES " + tuples(3, set.n)},
			prepared{&set.to.records, "INSERT OR ROLLBACK INTO records (" + recordColumns + ") VALUES " + tuples(17, set.n)},
			prepared{&set.to.flags, "INSERT OR IGNORE INTO flags (flag, ts, record) VALUES " + tuples(3, set.n)},
		)
	}
	for _, p := range list {
		var err error
		if *p.stmt, err = s.conn.PrepareContext(ctx, p.query); err != nil {
			return fmt.Errorf("preparing a statement: %w", err)
		}
	}
	return nil
}

// noHorizon is before every record, also before those without a time.
const noHorizon int64 = math.MinInt64

// loadState reads the cursors and the horizon, which the writer keeps in
// memory.
func (s *Store) loadState(ctx context.Context) error {
	rows, err := s.conn.QueryContext(ctx, "SELECT id, name, next, last, dropping FROM streams")
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }() // rows.Err tells what matters
	streams := map[string]*stream{}
	for rows.Next() {
		st := &stream{}
		var next int64
		var last []byte
		if err := rows.Scan(&st.id, &st.cursor.Stream, &next, &last, &st.dropping); err != nil {
			return err
		}
		st.cursor.Next = uint64(next)
		copy(st.cursor.Last[:], last)
		streams[st.cursor.Stream] = st
	}
	if err := rows.Err(); err != nil {
		return err
	}
	var horizon int64
	err = s.conn.QueryRowContext(ctx, "SELECT coalesce(max(ts), ?) FROM horizon", noHorizon).Scan(&horizon)
	if err != nil {
		return err
	}
	s.streams, s.horizon = streams, horizon
	return nil
}

// Close closes the database and releases the lock.
func (s *Store) Close() error {
	var errs []error
	if s.Reader != nil {
		errs = append(errs, s.Reader.Close())
	}
	if s.conn != nil {
		// Moves the log into the file, so that the file alone can be copied;
		// not waiting for readers of other processes, who may keep it from that.
		for _, p := range []string{"busy_timeout = 0", "wal_checkpoint(TRUNCATE)"} {
			_, _ = s.conn.ExecContext(context.Background(), "PRAGMA "+p)
		}
		errs = append(errs, s.conn.Close())
	}
	errs = append(errs, s.db.Close())
	if s.lock != nil {
		errs = append(errs, s.lock.Unlock())
		s.lock = nil
	}
	return errors.Join(errs...)
}

// transaction runs f in one. When it fails, what the writer keeps in memory is
// read again from the database, since f may have changed it.
//
// The context is looked at before and not within: an interrupted statement
// would only be rolled back, and a transaction is bounded by its batch.
func (s *Store) transaction(ctx context.Context, f func(ctx context.Context) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	ctx = context.WithoutCancel(ctx)
	if s.fatal != nil {
		// A reload after an earlier failure failed: try it again first.
		if err := s.loadState(ctx); err != nil {
			return classify(err)
		}
		s.fatal = nil
	}
	if _, err := s.conn.ExecContext(ctx, "BEGIN IMMEDIATE"); err != nil {
		return classify(err)
	}
	err := f(ctx)
	if err == nil {
		if _, err = s.conn.ExecContext(ctx, "COMMIT"); err == nil {
			return nil
		}
	}
	// Some errors (a full disk) roll back by themselves, and then ROLLBACK
	// says that there is no transaction; the first error is the one to tell.
	_, _ = s.conn.ExecContext(ctx, "ROLLBACK")
	if reload := s.loadState(ctx); reload != nil {
		s.fatal = reload
	}
	return classify(err)
}

// row is what the records table holds of a record. Keys of unknown values are
// nil, others int64.
type row struct {
	id             int64
	event          uuid.UUID
	ts, day        int64
	kind, status   int64
	user           any
	session        any
	application    any
	model          any
	classification any
	flags          string // each followed by "\n"
	head           int64
	more           bool
	// Of the row's own entries, also where its twins' are merged into it.
	response, request any
}

func rowOf(rec *audit.Record) row {
	var flags strings.Builder
	sorted := slices.Clone(rec.PolicyFlags)
	slices.Sort(sorted)
	for _, f := range slices.Compact(sorted) {
		flags.WriteString(f)
		flags.WriteByte('\n')
	}
	ts := index.UnixNano(rec.Timestamp)
	return row{
		event: rec.EventID, ts: ts, day: dayOf(ts), kind: key(rec.Kind), status: key(rec.Status),
		user: optKey(rec.UserID), session: optKey(rec.SessionID), application: optKey(rec.ApplicationID),
		model: optKey(rec.Model), classification: optKey(rec.DataClassification), flags: flags.String(),
		response: optKey(index.ResponseID(rec.ResponseID).Value()), request: optKey(index.RequestID(rec.RequestID).Value()),
	}
}

func optText(s string) any {
	if s == "" {
		return nil
	}
	return s
}

func boolInt(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

func (r *row) appendArgs(args []any) []any {
	return append(args, r.id, bytes.Clone(r.event[:]), r.ts, r.day, r.kind, r.status, r.user, r.session, r.application,
		r.model, r.classification, optText(r.flags), r.head, boolInt(r.more), eventKey(r.event), r.response, r.request)
}

func scanRow(sc scanner) (row, error) {
	var r row
	var event []byte
	var flags sql.NullString
	var derived int64 // event_key
	err := sc.Scan(&r.id, &event, &r.ts, &r.day, &r.kind, &r.status, &r.user, &r.session, &r.application, &r.model, &r.classification,
		&flags, &r.head, &r.more, &derived, &r.response, &r.request)
	copy(r.event[:], event)
	r.flags = flags.String
	return r, err
}

// eachFlag calls f for every flag of a row that shows in searches.
func (r *row) eachFlag(f func(flag string) error) error {
	if r.head != r.id {
		return nil
	}
	for flag := range strings.SplitSeq(r.flags, "\n") {
		if flag == "" {
			continue
		}
		if err := f(flag); err != nil {
			return err
		}
	}
	return nil
}

// inserter gathers rows for one statement.
type inserter struct {
	many, one *sql.Stmt
	columns   int
	args      []any
}

func (in *inserter) flush(ctx context.Context, final bool) error {
	full := in.columns * rowsPerInsert
	for len(in.args) >= full {
		runtime.Gosched() // the index can wait, calls in the same process can't
		if _, err := in.many.ExecContext(ctx, in.args[:full]...); err != nil {
			return err
		}
		in.args = in.args[full:]
	}
	if !final {
		return nil
	}
	for ; len(in.args) > 0; in.args = in.args[in.columns:] {
		if _, err := in.one.ExecContext(ctx, in.args[:in.columns]...); err != nil {
			return err
		}
	}
	return nil
}

// writes gathers what a batch inserts.
type writes struct {
	entries, records, flags inserter
	days                    map[int64]bool
}

func (s *Store) newWrites() *writes {
	return &writes{
		entries: inserter{many: s.many.entries, one: s.one.entries, columns: 3},
		records: inserter{many: s.many.records, one: s.one.records, columns: 17},
		flags:   inserter{many: s.many.flags, one: s.one.flags, columns: 3},
		days:    map[int64]bool{},
	}
}

func (w *writes) entry(id int64, record any, packed []byte) {
	w.entries.args = append(w.entries.args, id, record, packed)
}

func (w *writes) row(r *row) error {
	w.days[r.day] = true
	w.records.args = r.appendArgs(w.records.args)
	return r.eachFlag(func(flag string) error {
		w.flags.args = append(w.flags.args, key(flag), r.ts, r.id)
		return nil
	})
}

func (s *Store) flush(ctx context.Context, w *writes) error {
	for day := range w.days {
		if _, err := s.addDay.ExecContext(ctx, day); err != nil {
			return err
		}
	}
	if err := w.entries.flush(ctx, true); err != nil {
		return err
	}
	if err := w.records.flush(ctx, true); err != nil {
		return err
	}
	return w.flags.flush(ctx, true)
}

// replace writes a changed row over the old one.
func (s *Store) replace(ctx context.Context, old, now *row) error {
	if *old == *now {
		return nil
	}
	if old.day != now.day {
		if _, err := s.addDay.ExecContext(ctx, now.day); err != nil {
			return err
		}
	}
	if err := old.eachFlag(func(flag string) error {
		_, err := s.deleteFlag.ExecContext(ctx, key(flag), old.ts, old.id)
		return err
	}); err != nil {
		return err
	}
	if _, err := s.updateRow.ExecContext(ctx, now.ts, now.day, now.kind, now.status, now.user, now.session, now.application,
		now.model, now.classification, optText(now.flags), now.head, boolInt(now.more), now.response, now.request, now.id); err != nil {
		return err
	}
	return now.eachFlag(func(flag string) error {
		_, err := s.one.flags.ExecContext(ctx, key(flag), now.ts, now.id)
		return err
	})
}

// Apply implements index.Store.
func (s *Store) Apply(ctx context.Context, b index.Batch) (index.Applied, error) {
	var applied index.Applied
	if len(b.Lines) == 0 {
		return applied, nil
	}
	ready := readLinesOf(b)
	err := s.transaction(ctx, func(ctx context.Context) error {
		st, known := s.streams[b.Stream]
		if known && st.dropping {
			return fmt.Errorf("%w: stream %s is being removed", index.ErrDiverged, b.Stream)
		}
		if !known {
			st = &stream{id: s.nextStreamID(), cursor: index.Cursor{Stream: b.Stream, Next: b.Lines[0].Seq}}
			if st.id > maxStreams {
				return fmt.Errorf("the index holds %d streams, which is the most it can", maxStreams)
			}
		}
		cursor, err := index.FollowChain(st.cursor, known, b.Lines)
		if err == nil && cursor.Next > maxSeq {
			err = fmt.Errorf("%w: entry %d is more than the index can number", index.ErrDiverged, cursor.Next-1)
		}
		if err != nil {
			return err
		}
		// The stream's row comes first: entries are read back by its name.
		if known {
			_, err = s.setCursor.ExecContext(ctx, int64(cursor.Next), cursor.Last[:], st.id)
		} else {
			err = s.newStream(ctx, st.id, cursor)
		}
		if err != nil {
			return err
		}
		s.streams[b.Stream] = st
		applied, err = s.take(ctx, st, ready)
		if err != nil {
			return err
		}
		st.cursor = cursor
		return nil
	})
	if err != nil {
		return index.Applied{}, fmt.Errorf("applying entries %d to %d of %s: %w",
			b.Lines[0].Seq, b.Lines[len(b.Lines)-1].Seq, b.Stream, err)
	}
	return applied, nil
}

func (s *Store) newStream(ctx context.Context, id int64, c index.Cursor) error {
	if _, err := s.addStream.ExecContext(ctx, id, c.Stream, int64(c.Next), c.Last[:]); err != nil {
		return err
	}
	if len(s.streams) == 0 {
		return nil
	}
	for _, create := range twinIndexes {
		if _, err := s.conn.ExecContext(ctx, create); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) nextStreamID() int64 {
	var most int64
	for _, st := range s.streams {
		most = max(most, st.id)
	}
	return most + 1
}

// readyLine is a line read and packed.
type readyLine struct {
	parsed   index.Parsed
	packed   []byte
	readable bool
}

// readLinesOf reads and packs the lines of a batch, which is half the work of
// taking them, on all processors.
func readLinesOf(b index.Batch) []readyLine {
	ready := make([]readyLine, len(b.Lines))
	b.EachParsed(func(i int, p index.Parsed, err error) {
		ready[i] = readyLine{parsed: p, packed: pack(p.Line), readable: err == nil}
	})
	return ready
}

// ofEvent are the entries of a batch that are of one event.
type ofEvent struct {
	n       int
	entries []index.Parsed
}

// take inserts the entries of a batch and brings their records up to date.
func (s *Store) take(ctx context.Context, st *stream, lines []readyLine) (index.Applied, error) {
	applied := index.Applied{Entries: len(lines)}
	w := s.newWrites()
	byEvent := make(map[uuid.UUID]*ofEvent, len(lines))
	packed := make(map[uint64][]byte, len(lines))
	order := make([]uuid.UUID, 0, len(lines))
	for i := range lines {
		l := &lines[i]
		if !l.readable {
			// An entry that this version can't read is no part of a record, and
			// no reason to stop: it stays in the ledger, and here for a look.
			applied.Unreadable++
			w.entry(entryID(st.id, l.parsed.Seq), nil, l.packed)
			continue
		}
		packed[l.parsed.Seq] = l.packed
		event := l.parsed.Record.EventID
		if byEvent[event] == nil {
			byEvent[event] = &ofEvent{}
			order = append(order, event)
		}
		byEvent[event].n++
	}
	// Records are large: each is copied once, to its place among those of its event.
	room := make([]index.Parsed, len(packed))
	for i := range lines {
		if l := &lines[i]; l.readable {
			e := byEvent[l.parsed.Record.EventID]
			if e.entries == nil {
				e.entries, room = room[:0:e.n], room[e.n:]
			}
			e.entries = append(e.entries, l.parsed)
		}
	}
	existing, err := s.findEvents(ctx, order)
	if err != nil {
		return applied, err
	}
	several := len(s.streams) > 1 // there are no twins within a stream
	var touched touched
	for _, event := range order {
		entries := byEvent[event].entries
		if id, ok := existing[event]; ok {
			if err := s.extend(ctx, id, entries, &touched); err != nil {
				return applied, err
			}
			for _, e := range entries {
				w.entry(entryID(st.id, e.Seq), id, packed[e.Seq])
			}
			continue
		}
		r, rec := newRow(st.id, entries)
		if r.ts < s.horizon {
			applied.Expired += len(entries)
			continue
		}
		for _, e := range entries {
			w.entry(entryID(st.id, e.Seq), r.id, packed[e.Seq])
		}
		if err := w.row(&r); err != nil {
			return applied, err
		}
		if several {
			touched.tell(&rec)
		}
	}
	if err := s.flush(ctx, w); err != nil || !several {
		return applied, err
	}
	return applied, s.joinTwins(ctx, &touched)
}

func entryID(stream int64, seq uint64) int64 {
	return stream<<seqBits | int64(seq)
}

// newRow is the row of an event that is not in the index yet, and its record.
func newRow(stream int64, entries []index.Parsed) (row, audit.Record) {
	first := entries[0].Seq
	for _, e := range entries {
		first = min(first, e.Seq)
	}
	rec := index.MergeParsed(entries)
	r := rowOf(&rec)
	r.id = entryID(stream, first)
	r.head, r.more = r.id, len(entries) > 1
	return r, rec
}

// findEvents returns the ids of the rows of those events that have one.
func (s *Store) findEvents(ctx context.Context, events []uuid.UUID) (map[uuid.UUID]int64, error) {
	found := map[uuid.UUID]int64{}
	args := make([]any, keysPerLookup)
	for part := range slices.Chunk(events, keysPerLookup) {
		for i := range args {
			args[i] = eventKey(part[min(i, len(part)-1)]) // the last key fills up
		}
		rows, err := s.find.QueryContext(ctx, args...)
		if err != nil {
			return nil, err
		}
		if err := scanEvents(rows, part, found); err != nil {
			return nil, err
		}
	}
	return found, nil
}

func scanEvents(rows *sql.Rows, events []uuid.UUID, found map[uuid.UUID]int64) error {
	defer func() { _ = rows.Close() }() // rows.Err tells what matters
	var id int64
	var event sql.RawBytes
	for rows.Next() {
		if err := rows.Scan(&id, &event); err != nil {
			return err
		}
		var u uuid.UUID
		copy(u[:], event)
		if slices.Contains(events, u) {
			found[u] = id
		}
	}
	return rows.Err()
}

// extend merges further entries into the record of a row.
func (s *Store) extend(ctx context.Context, id int64, entries []index.Parsed, touched *touched) error {
	old, err := scanRow(s.rowByID.QueryRowContext(ctx, id))
	if err != nil {
		return err
	}
	lines, err := loadOwn(ctx, s.conn, id)
	if err != nil {
		return err
	}
	all, err := parseLines(ctx, newStreamNames(s.conn), lines)
	if err != nil {
		return err
	}
	before := index.MergeParsed(all)
	rec := index.MergeParsed(append(all, entries...))
	now := rowOf(&rec)
	now.id, now.event, now.head, now.more = old.id, old.event, old.head, true
	touched.tell(&before)
	touched.tell(&rec)
	if old.head != old.id {
		touched.rows = append(touched.rows, old.id)
	}
	return s.replace(ctx, &old, &now)
}

// Rebuild replaces the database at path by one that fill fills. It is made
// beside, and takes the place of the old one when it is whole; when fill fails
// the old one stays. index.ErrLocked says that another process has the database
// open for writing.
func Rebuild(ctx context.Context, path string, fill func(*Store) error) (err error) {
	lock, err := TryLock(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Unlock()) }()
	if err := identify(path); err != nil {
		return fmt.Errorf("rebuilding the index: %w", err)
	}
	beside := path + ".rebuild"
	if err := Remove(beside); err != nil { // what a rebuild left that was interrupted
		return err
	}
	s, err := Open(ctx, beside)
	if err != nil {
		return err
	}
	if err := errors.Join(fill(s), s.Close()); err != nil {
		return errors.Join(err, Remove(beside), os.Remove(beside+".lock"))
	}
	// A log that belongs to the old file must not come to lie beside the new
	// one, nor the new file lack its own.
	if st, err := os.Stat(beside + "-wal"); err == nil && st.Size() > 0 {
		return fmt.Errorf("rebuilding the index: %s has not been moved into its file", beside+"-wal")
	}
	if err := settleOld(ctx, path, lock); err != nil {
		return err
	}
	if err := os.Rename(beside, path); err != nil {
		return fmt.Errorf("rebuilding the index: %w", err)
	}
	for _, f := range append(Files(beside)[1:], beside+".lock") {
		if err := os.Remove(f); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("rebuilding the index: %w", err)
		}
	}
	return nil
}

// settleOld moves the old database's log into its file and removes the log. A
// database that can't be opened is removed whole.
func settleOld(ctx context.Context, path string, lock *Lock) error {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return Remove(path)
	}
	s, err := OpenLocked(ctx, path, lock)
	if err != nil {
		return Remove(path)
	}
	s.lock = nil // it is the caller's
	if err := s.Close(); err != nil {
		return err
	}
	for _, f := range Files(path)[1:] {
		if err := os.Remove(f); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("rebuilding the index: %w", err)
		}
	}
	return nil
}
