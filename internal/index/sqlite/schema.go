package sqlite

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/uuid"
	sqlitedriver "modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/claudeaudit/claudeaudit/internal/audit"
	"github.com/claudeaudit/claudeaudit/internal/index"
)

// SchemaVersion is the version of the tables, kept in user_version. A file
// with another one is refused with index.ErrSchema; it is rebuilt from the
// ledger rather than migrated.
const SchemaVersion = 3

// applicationID marks the file as an index of Claude Audit ("CAud").
const applicationID = 0x43417564

// An entry's id is stream<<seqBits | seq, so entries of a stream are appended
// in order and ids tell the place.
const (
	seqBits    = 40
	maxSeq     = 1<<seqBits - 1
	maxStreams = 1 << 20
)

// The entries are the ledger's lines. A record row holds what queries filter
// and sort by; the record itself is merged from its entries when it is read, so
// it is stored once. A row's id is that of the entry that opened it here;
// further entries name it in entries.record. head is the id of the row of the
// logical record: the row's own, or that of its twin from another stream. more
// says that there are further entries or twins. flags holds the policy flags,
// each followed by a line feed.
//
// Values are kept as keys, 64 bits of their SHA-256 (of an event_id its first
// eight bytes): trees of short keys are a third of the size, and size is what
// writing costs. Whoever looks something up compares the value itself, so two
// values of one key are told apart.
//
// A user's or a session's records lie all over an index by (user, time): every
// batch would rewrite a page for each user of it, at any size. By (day, user,
// time) it rewrites those of its day. A query then goes along the days there
// are, which is a few microseconds for each.
//
// There are no twins in a single stream, so the indexes of response and request ids
// are made when the second stream comes. Most records tell of successful interactions,
// so status and kind are indexed for the others alone.
var schema = []string{
	`CREATE TABLE streams (
		id INTEGER PRIMARY KEY,
		name TEXT NOT NULL UNIQUE,
		next INTEGER NOT NULL,
		last BLOB NOT NULL,
		dropping INTEGER NOT NULL DEFAULT 0
	) STRICT`,
	`CREATE TABLE erasures (stream TEXT PRIMARY KEY, next INTEGER NOT NULL, last BLOB NOT NULL) STRICT, WITHOUT ROWID`,
	`CREATE TABLE horizon (only INTEGER PRIMARY KEY CHECK (only = 1), ts INTEGER NOT NULL) STRICT`,
	`CREATE TABLE entries (
		id INTEGER PRIMARY KEY,
		record INTEGER,
		line BLOB NOT NULL
	) STRICT`,
	`CREATE INDEX entries_more ON entries (record) WHERE record <> id`,
	`CREATE TABLE records (
		id INTEGER PRIMARY KEY,
		event BLOB NOT NULL,
		ts INTEGER NOT NULL,
		day INTEGER NOT NULL,
		kind INTEGER NOT NULL,
		status INTEGER NOT NULL,
		user INTEGER,
		session INTEGER,
		application INTEGER,
		model INTEGER,
		classification INTEGER,
		flags TEXT,
		head INTEGER NOT NULL,
		more INTEGER NOT NULL,
		event_key INTEGER NOT NULL,
		response INTEGER,
		request INTEGER
	) STRICT`,
	`CREATE TABLE days (day INTEGER PRIMARY KEY) STRICT`,
	`CREATE INDEX records_event ON records (event_key)`,
	`CREATE INDEX records_ts ON records (ts)`,
	`CREATE INDEX records_user ON records (day, user, ts) WHERE user IS NOT NULL`,
	`CREATE INDEX records_session ON records (day, session, ts) WHERE session IS NOT NULL`,
	`CREATE INDEX records_application ON records (application, ts) WHERE application IS NOT NULL`,
	`CREATE INDEX records_classification ON records (classification, ts) WHERE classification IS NOT NULL`,
	`CREATE INDEX records_status ON records (status, ts) WHERE ` + notSuccess,
	`CREATE INDEX records_kind ON records (kind, ts) WHERE ` + notInteraction,
	`CREATE INDEX records_twin ON records (head) WHERE head <> id`,
	`CREATE TABLE flags (
		flag INTEGER NOT NULL,
		ts INTEGER NOT NULL,
		record INTEGER NOT NULL,
		PRIMARY KEY (flag, ts, record)
	) STRICT, WITHOUT ROWID`,
}

// The conditions of the partial indexes; a query that goes along one repeats
// its condition.
var (
	notSuccess     = fmt.Sprintf("status <> %d", key(audit.StatusSuccess))
	notInteraction = fmt.Sprintf("kind <> %d", key(audit.KindInteraction))
)

// twinIndexes find the rows of an id, and of those the ones that are twins.
var twinIndexes = []string{
	`CREATE INDEX IF NOT EXISTS records_response ON records (response, head <> id) WHERE response IS NOT NULL`,
	`CREATE INDEX IF NOT EXISTS records_request ON records (request, head <> id) WHERE request IS NOT NULL`,
}

// The days that records are put to. What is outside is put to the first and
// last, so that no sender can make more of them than a century has.
var (
	firstDay = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).Unix() / secondsPerDay
	lastDay  = time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC).Unix() / secondsPerDay
)

const secondsPerDay = 86_400

// dayOf returns the day of a timestamp. It never falls as the timestamp rises.
func dayOf(ts int64) int64 {
	return min(max(ts/(secondsPerDay*int64(time.Second)), firstDay), lastDay)
}

// eventKey is what an event is looked up by.
func eventKey(event uuid.UUID) int64 {
	return int64(binary.BigEndian.Uint64(event[:8]))
}

// key is what a value is compared by in the database.
func key(value string) int64 {
	sum := sha256.Sum256([]byte(value))
	return int64(binary.BigEndian.Uint64(sum[:8]))
}

// optKey is the key of a value that may be unknown: nil, so that the partial
// indexes leave it out.
func optKey(value string) any {
	if value == "" {
		return nil
	}
	return key(value)
}

// column is where the key of an id is.
func column(id index.CallID) string {
	if id.IsRequest() {
		return "request"
	}
	return "response"
}

// dsn names the file to the driver. Everything that SQLite's URI syntax could
// read as its own is percent-encoded.
func dsn(path string, readOnly bool, pragmas ...string) string {
	q := url.Values{}
	for _, p := range pragmas {
		q.Add("_pragma", p)
	}
	if readOnly {
		q.Set("mode", "ro")
	}
	escaped := (&url.URL{Path: filepath.ToSlash(path)}).EscapedPath()
	escaped = strings.ReplaceAll(escaped, "#", "%23")
	return "file:" + escaped + "?" + q.Encode()
}

// checkSchema compares the file's marks with this version's. A file without
// tables is reported by empty.
func checkSchema(ctx context.Context, path string, q querier) (empty bool, err error) {
	if err := identify(path); err != nil {
		return false, err
	}
	var app, version, tables int64
	if err := q.QueryRowContext(ctx, "PRAGMA application_id").Scan(&app); err != nil {
		return false, classify(err)
	}
	if err := q.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version); err != nil {
		return false, classify(err)
	}
	if err := q.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_schema").Scan(&tables); err != nil {
		return false, classify(err)
	}
	switch {
	case app == 0 && version == 0 && tables == 0:
		return true, nil
	case app != applicationID:
		return false, fmt.Errorf("%w, but another database", index.ErrForeign)
	case version != SchemaVersion:
		return false, fmt.Errorf("%w: it has %d, this program has %d; rebuild it from the ledger with \"claudeaudit reindex\"",
			index.ErrSchema, version, SchemaVersion)
	}
	return false, nil
}

func createSchema(ctx context.Context, c *sql.Conn) error {
	statements := append([]string{"BEGIN IMMEDIATE"}, schema...)
	statements = append(statements,
		fmt.Sprintf("PRAGMA application_id = %d", applicationID),
		fmt.Sprintf("PRAGMA user_version = %d", SchemaVersion),
		"COMMIT")
	for _, s := range statements {
		if _, err := c.ExecContext(ctx, s); err != nil {
			_, _ = c.ExecContext(ctx, "ROLLBACK") // the error that matters is the first
			return fmt.Errorf("creating the tables: %w", classify(err))
		}
	}
	return nil
}

// querier is what *sql.DB, *sql.Conn and *sql.Tx have in common.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// classify wraps the driver's errors of a damaged file in index.ErrCorrupt.
func classify(err error) error {
	var se *sqlitedriver.Error
	if !errors.As(err, &se) {
		return err
	}
	switch se.Code() & 0xff {
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		return fmt.Errorf("%w: %w", index.ErrCorrupt, err)
	}
	return err
}

// Files returns the names of the files that make up the database at path.
func Files(path string) []string {
	return []string{path, path + "-wal", path + "-shm"}
}

// Remove deletes the database at path. The caller holds its Lock. A file that
// is no index is left there, with index.ErrForeign.
func Remove(path string) error {
	if err := identify(path); err != nil {
		return fmt.Errorf("removing the index: %w", err)
	}
	for _, f := range Files(path) {
		if err := os.Remove(f); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("removing the index: %w", err)
		}
	}
	return nil
}

// identify looks at the head of the file itself, which can be read when the
// database can't. No file and an empty one are fine.
func identify(path string) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // only read
	var head [100]byte
	switch n, err := io.ReadFull(f, head[:]); {
	case n == 0 && errors.Is(err, io.EOF):
		return nil
	case err != nil && !errors.Is(err, io.ErrUnexpectedEOF):
		return err
	}
	if !bytes.HasPrefix(head[:], []byte("SQLite format 3\x00")) {
		return fmt.Errorf("%w: %s", index.ErrForeign, path)
	}
	// A database whose tables were never made has no mark yet.
	if app := binary.BigEndian.Uint32(head[68:]); app != applicationID && app != 0 {
		return fmt.Errorf("%w, but another database: %s", index.ErrForeign, path)
	}
	return nil
}
