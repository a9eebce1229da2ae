// Package index is the query side of the audit trail: what a query may ask,
// what a store of records has to do, and the follower that keeps a store in
// step with the ledger.
//
// An index is a projection of the ledger. It holds the ledger's entries and,
// for every call, the merge of its entries; it can be deleted at any time and
// rebuilt from the ledger to the same answers. A store therefore keeps, in the
// same transaction as the data, a Cursor per stream: what it has taken so far
// and the hash of the last entry taken. Entries that do not continue the chain
// from there are refused with ErrDiverged, and the follower rebuilds that
// stream.
//
// The same call may have reached two writers. When both derived the same
// event_id, the record is the merge of the entries of both streams. When they
// did not, but both tell an id under which the provider knows the call, of its
// response or of its request, the events are one logical record (see Families for
// when an id joins): the event whose first entry has the smallest (stream,
// sequence number) is primary, search answers with the primary alone, and
// looking up any of the events gives the merge of all entries under the primary's
// event_id. Two events of one stream are never joined by an id that both tell:
// their writer saw both and kept them apart.
package index

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/claudeaudit/claudeaudit/internal/audit"
)

var (
	// ErrNotFound is returned by Get for an event the index does not hold.
	ErrNotFound = errors.New("no such event in the index")
	// ErrDiverged is returned by Apply when the entries do not continue what
	// the store has taken: another chain, a gap, or a repetition.
	ErrDiverged = errors.New("the ledger does not continue what the index holds")
	// ErrSchema is returned when a store was written with another schema. It
	// has to be rebuilt from the ledger.
	ErrSchema = errors.New("the index has another schema version")
	// ErrCorrupt is returned when a store can't be read any more. It has to be
	// rebuilt from the ledger.
	ErrCorrupt = errors.New("the index is damaged")
	// ErrForeign is returned when what lies at the index's place is something
	// else. It is left alone.
	ErrForeign = errors.New("this is no index of Claude Audit")
	// ErrQuery is wrapped by every error of a query that can't be answered as
	// it stands.
	ErrQuery = errors.New("invalid query")
	// ErrLocked is returned when another process writes the store.
	ErrLocked = errors.New("the index is being written by another process")
	// ErrNoIndex is returned when there is no index to read.
	ErrNoIndex = errors.New("there is no index")
)

// Limits of a query.
const (
	// DefaultLimit is the page size of a query that names none.
	DefaultLimit = 100
	// MaxLimit is the largest page. More is had page by page.
	MaxLimit = 1000
	// maxValueBytes bounds the length of a value a query compares with.
	maxValueBytes = 4096
)

// KindAll asks for records of every kind.
const KindAll = "all"

// Order of the records in an answer.
type Order uint8

const (
	// NewestFirst orders by timestamp, newest first; records of the same
	// nanosecond by event_id, largest first.
	NewestFirst Order = iota
	// OldestFirst is the reverse.
	OldestFirst
)

// Query asks for the records that match all its set fields. Values match
// exactly and case-sensitively; there is no search in text, because content is
// never in the index.
type Query struct {
	User           string
	Session        string
	Application    string
	Model          string
	Classification string
	Flag           string // a record with this policy flag
	Status         string
	// Kind of record; "" means interaction, KindAll every kind.
	Kind string
	// From and To bound the timestamp: From inclusive, To exclusive. Zero
	// means unbounded.
	From, To time.Time
	// Limit is the page size, at most MaxLimit; 0 means DefaultLimit.
	Limit int
	Order Order
	// After is the cursor of the page before, "" for the first.
	After string
}

// Normalize fills defaults and checks the query. Its errors wrap ErrQuery.
func (q *Query) Normalize() error {
	for _, f := range []struct{ name, value string }{
		{"user", q.User},
		{"session", q.Session},
		{"application", q.Application},
		{"model", q.Model},
		{"classification", q.Classification},
		{"flag", q.Flag},
		{"status", q.Status},
		{"kind", q.Kind},
	} {
		if len(f.value) > maxValueBytes {
			return fmt.Errorf("%w: %s must be at most %d bytes", ErrQuery, f.name, maxValueBytes)
		}
	}
	if q.Kind == "" {
		q.Kind = audit.KindInteraction
	}
	switch {
	case q.Limit == 0:
		q.Limit = DefaultLimit
	case q.Limit < 0 || q.Limit > MaxLimit:
		return fmt.Errorf("%w: limit must be between 1 and %d", ErrQuery, MaxLimit)
	}
	if !q.From.IsZero() && !q.To.IsZero() && !q.From.Before(q.To) {
		return fmt.Errorf("%w: from must be before to", ErrQuery)
	}
	if q.After != "" {
		if _, err := ParsePosition(q.After); err != nil {
			return err
		}
	}
	return nil
}

// Matches says whether a record is among those a normalized query asks for,
// but for its place among the pages.
func (q *Query) Matches(r *audit.Record) bool {
	for _, f := range []struct{ want, have string }{
		{q.User, r.UserID},
		{q.Session, r.SessionID},
		{q.Application, r.ApplicationID},
		{q.Model, r.Model},
		{q.Classification, r.DataClassification},
		{q.Status, r.Status},
	} {
		if f.want != "" && f.want != f.have {
			return false
		}
	}
	return (q.Kind == KindAll || q.Kind == r.Kind) &&
		(q.Flag == "" || slices.Contains(r.PolicyFlags, q.Flag)) &&
		(q.From.IsZero() || !r.Timestamp.Before(q.From)) &&
		(q.To.IsZero() || r.Timestamp.Before(q.To))
}

// Page is one page of an answer. It may hold fewer records than the limit and
// still have a next.
type Page struct {
	Records []audit.Record
	// Next is the After of the next page, "" when this is the last.
	Next string
}

// Entry is one entry of the ledger.
type Entry struct {
	Stream string
	Seq    uint64
	Line   []byte // as in the ledger, without the newline
}

// Found is a logical record and the entries it is the merge of, in the order
// of the merge.
type Found struct {
	Record  audit.Record
	Entries []Entry
}

// Cursor says what a store has taken of a stream.
type Cursor struct {
	Stream string
	// Next is the sequence number of the next entry to take.
	Next uint64
	// Last is the leaf hash of entry Next-1.
	Last [32]byte
}

// Line is one line of a batch with its leaf hash.
type Line struct {
	Seq  uint64
	Leaf [32]byte
	Data []byte
}

// Batch is a run of consecutive entries of one stream.
type Batch struct {
	Stream string
	Lines  []Line
}

const (
	// perWorker is how many lines are worth a goroutine.
	perWorker = 100
	// yieldEvery is after how many lines it lets others have the processor.
	yieldEvery = 16
)

// EachParsed parses the lines of a batch and calls fn with the place of each and
// what it says, on all processors. Of a line that can't be parsed the entry alone is set.
func (b *Batch) EachParsed(fn func(i int, p Parsed, err error)) {
	workers := max(1, min(runtime.GOMAXPROCS(0), len(b.Lines)/perWorker))
	size := (len(b.Lines) + workers - 1) / workers
	var wg sync.WaitGroup
	for first := 0; first < len(b.Lines); first += size {
		wg.Go(func() {
			for i := first; i < min(first+size, len(b.Lines)); i++ {
				if i%yieldEvery == 0 {
					runtime.Gosched() // what somebody waits for goes first
				}
				e := Entry{Stream: b.Stream, Seq: b.Lines[i].Seq, Line: b.Lines[i].Data}
				p, err := ParseEntry(e)
				if err != nil {
					p.Entry = e
				}
				fn(i, p, err)
			}
		})
	}
	wg.Wait()
}

// Applied says what Apply did with a batch.
type Applied struct {
	// Entries taken, all lines of the batch.
	Entries int
	// Unreadable entries, kept but no part of any record.
	Unreadable int
	// Expired entries, not kept because they are older than what was pruned.
	Expired int
}

// Searcher answers queries.
type Searcher interface {
	// Search returns one page of the records that match, merged. Errors that
	// are the query's wrap ErrQuery.
	Search(ctx context.Context, q Query) (Page, error)
	// Get returns the logical record an event belongs to, or ErrNotFound.
	Get(ctx context.Context, event uuid.UUID) (Found, error)
	// Cursors returns how far the store is in each stream, by name of stream.
	Cursors(ctx context.Context) ([]Cursor, error)
	// Erasures returns how far the store was erased by which streams of logs of
	// holds and erasures.
	Erasures(ctx context.Context) ([]Cursor, error)
	Close() error
}

// Store is an index that can be written. Writes come from one goroutine;
// queries may come from any.
type Store interface {
	Searcher
	// Apply takes a batch together with the cursor in one transaction. It
	// returns ErrDiverged, and takes nothing, when the first line is not the
	// next one or its _prev is not the cursor's hash, or when a later line does
	// not continue the one before. A stream the store does not know may begin
	// at any sequence number. A stream that is being dropped is refused with
	// ErrDiverged until DropStream has finished.
	Apply(ctx context.Context, b Batch) (Applied, error)
	// DropStream removes all entries of a stream and its cursor; records that
	// other streams tell of too are merged anew from what is left. It works in
	// bounded transactions, and may be called again after a failure.
	DropStream(ctx context.Context, stream string) error
	// Forget removes the entries of a stream with a smaller sequence number than
	// before, which the ledger does not have any more; records of which there are
	// other entries are merged anew from what is left. The cursor stays. The
	// removed entries were written before the end of the hour. It works in bounded
	// transactions, and may be called again after a failure.
	Forget(ctx context.Context, stream string, before uint64, hour time.Time) error
	// Prune removes records older than before, oldest first and with all their
	// entries, until limit are gone, and keeps entries of such records from being
	// taken later. It returns how many it removed: fewer than limit when none are
	// left. A store that keeps days apart removes whole days of UTC only: it
	// leaves the one that before lies in, and may remove more than limit.
	Prune(ctx context.Context, before time.Time, limit int) (int, error)
	// Erase brings the entries that the store has of the events into their erased
	// form, and their records with them. Entries of these events that are taken later have to come in that
	// form. It may be called again after a failure.
	Erase(ctx context.Context, events []uuid.UUID) error
	// SetErasures notes how far the store was erased by a stream.
	SetErasures(ctx context.Context, c Cursor) error
}
