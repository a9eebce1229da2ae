package index

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// Ledger is what the follower needs of a ledger's reader.
type Ledger interface {
	// Streams names the streams of the ledger.
	Streams() ([]string, error)
	// Size returns the number of entries of a stream: the sequence number of
	// the next one.
	Size(ctx context.Context, stream string) (uint64, error)
	// First returns the sequence number of a stream's first entry that was not
	// removed at the end of its retention, and the hour of the last one before.
	First(ctx context.Context, stream string) (uint64, time.Time, error)
	// Entries calls fn for the entries of a stream from the given sequence
	// number on, in order, up to what is durable now. The line is only good
	// until fn returns. An error of fn ends it and is returned as it is.
	Entries(ctx context.Context, stream string, from uint64, fn func(seq uint64, line []byte) error) error
}

// ErrBroken is returned when the ledger itself does not hold together: an
// entry is missing or does not follow the one before it. The index stops there.
var ErrBroken = errors.New("the ledger's chain is broken")

// Defaults of a Follower.
const (
	DefaultPoll         = time.Second
	DefaultBatchEntries = 10_000
	// maxBatchBytes bounds the lines of a batch. One line is at most 60 KiB.
	maxBatchBytes = 16 << 20
	// settleTime is the least time between two passes, so that a thousand
	// small deliveries don't make a thousand small transactions. With each entry that a
	// pass took it is longer: the more comes, the more of it can be taken together, a call's
	// beginning with its end, and the fewer pages of an index are written more than once.
	settleTime    = 50 * time.Millisecond
	settleByEntry = time.Millisecond
	maxSettleTime = time.Second
	minBackoff    = 250 * time.Millisecond
	maxBackoff    = 30 * time.Second
	// absences is in how many passes in a row the ledger must lack the entry
	// that the index took last before it counts as another ledger.
	absences   = 3
	pruneEvery = 10 * time.Minute
	pruneChunk = 1000
)

// Event tells an observer of a Follower what happened. Exactly one of the
// fields after Stream is set.
type Event struct {
	Stream string
	// Applied is a batch that was taken, and Cursor where that left the store.
	Applied *Applied
	Cursor  *Cursor
	// Diverged says why the stream is being rebuilt.
	Diverged error
	// Pruned is a number of records removed by age.
	Pruned int
}

// Follower keeps a store in step with a ledger. Live, catching up after
// downtime and rebuilding from nothing are the same: it reads each stream from
// the store's cursor on.
type Follower struct {
	Ledger Ledger
	Store  Store
	// Erasures is the log of holds and erasures, which may have no streams yet.
	// Nil for none.
	Erasures Ledger
	// Notify wakes it; without, it looks every Poll. May be nil.
	Notify <-chan struct{}
	Poll   time.Duration
	// BatchEntries bounds a transaction.
	BatchEntries int
	// Retention is how long records are kept; 0 keeps them.
	Retention time.Duration
	// Observe is told what happens, from the follower's goroutine. May be nil.
	Observe func(Event)
	// State is told the outcome of each pass: nil when the store has all
	// there was, or why it does not. May be nil.
	State func(error)

	absent    map[string]int
	forgotten map[string]uint64 // up to which entry of a stream
	took      int               // entries of the last pass
	erasing   *erasing
	now       func() time.Time
}

// Run follows until ctx is done, whatever fails; then it returns ctx's error.
// After a failure it waits, longer each time up to half a minute.
func (f *Follower) Run(ctx context.Context) error {
	poll := f.Poll
	if poll <= 0 {
		poll = DefaultPoll
	}
	backoff := minBackoff
	var pruned time.Time
	for {
		err := f.CatchUp(ctx)
		more := false
		if err == nil && f.Retention > 0 && f.clock().Sub(pruned) >= pruneEvery {
			more, err = f.prune(ctx)
			if err == nil && !more {
				pruned = f.clock()
			}
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if f.State != nil {
			f.State(err)
		}
		switch {
		case err != nil:
			// A wake-up doesn't shorten this wait: under load there is always one.
			if !sleep(ctx, backoff/2+rand.N(backoff), nil) {
				return ctx.Err()
			}
			backoff = min(2*backoff, maxBackoff)
			continue
		case more:
		default:
			if !sleep(ctx, min(settleTime+time.Duration(f.took)*settleByEntry, maxSettleTime), nil) || !sleep(ctx, poll, f.Notify) {
				return ctx.Err()
			}
		}
		backoff = minBackoff
	}
}

// sleep waits for d or a wake-up. It returns false when ctx is done.
func sleep(ctx context.Context, d time.Duration, wake <-chan struct{}) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
	case <-wake:
	}
	return true
}

func (f *Follower) clock() time.Time {
	if f.now != nil {
		return f.now()
	}
	return time.Now()
}

func (f *Follower) observe(e Event) {
	if f.Observe != nil {
		f.Observe(e)
	}
}

func (f *Follower) prune(ctx context.Context) (more bool, err error) {
	n, err := f.Store.Prune(ctx, f.clock().Add(-f.Retention), pruneChunk)
	if n > 0 {
		f.observe(Event{Pruned: n})
	}
	return n == pruneChunk, err
}

// CatchUp makes one pass over all streams and takes what is there, after it has
// erased what is to be. A stream that fails does not keep the others from being taken.
func (f *Follower) CatchUp(ctx context.Context) error {
	if err := f.Erase(ctx); err != nil {
		return err
	}
	streams, err := f.Ledger.Streams()
	if err != nil {
		return fmt.Errorf("listing the ledger's streams: %w", err)
	}
	cursors, err := f.Store.Cursors(ctx)
	if err != nil {
		return err
	}
	if f.absent == nil {
		f.absent, f.forgotten = map[string]int{}, map[string]uint64{}
	}
	f.took = 0
	var errs []error
	for _, stream := range streams {
		if err := ctx.Err(); err != nil {
			return err
		}
		cursor := Cursor{Stream: stream}
		if i := slices.IndexFunc(cursors, func(c Cursor) bool { return c.Stream == stream }); i >= 0 {
			cursor = cursors[i]
		}
		err := f.catchUpStream(ctx, cursor)
		if errors.Is(err, ErrDiverged) {
			f.observe(Event{Stream: stream, Diverged: err})
			delete(f.absent, stream)
			if err = f.Store.DropStream(ctx, stream); err == nil {
				err = f.catchUpStream(ctx, Cursor{Stream: stream})
			}
		}
		if err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Erase erases in the store what was recorded since, and nothing else.
func (f *Follower) Erase(ctx context.Context) error {
	if f.erasing == nil {
		f.erasing = &erasing{ledger: f.Erasures}
	}
	return f.erasing.read(ctx, f.Store)
}

// catchUpStream reads on from the cursor. It starts with the entry that was
// taken last, to see that this is still the ledger the store was made from.
func (f *Follower) catchUpStream(ctx context.Context, cursor Cursor) error {
	t := &taking{f: f, batch: Batch{Stream: cursor.Stream}, cursor: cursor, known: cursor.Next > 0, max: f.BatchEntries}
	if t.max <= 0 {
		t.max = DefaultBatchEntries
	}
	first, hour, err := f.Ledger.First(ctx, cursor.Stream)
	if err != nil {
		return fmt.Errorf("following %s: %w", cursor.Stream, err)
	}
	if first > f.forgotten[cursor.Stream] {
		if err := f.Store.Forget(ctx, cursor.Stream, first, hour); err != nil {
			return err
		}
		f.forgotten[cursor.Stream] = first
	}
	from := cursor.Next
	switch {
	case from > first && t.known:
		from--
		t.check = true
	case from < first:
		// What was removed before it was taken is passed over.
		from, t.known = first, false
	}
	err = f.Ledger.Entries(ctx, cursor.Stream, from, func(seq uint64, line []byte) error {
		return t.line(ctx, seq, line)
	})
	if err == nil || t.broken {
		// What came before a break holds together, and is taken.
		err = errors.Join(t.flush(ctx), err)
	}
	if err != nil {
		return fmt.Errorf("following %s from entry %d: %w", cursor.Stream, cursor.Next, err)
	}
	if t.check {
		f.absent[cursor.Stream]++
		if n := f.absent[cursor.Stream]; n < absences {
			return fmt.Errorf("following %s: the ledger lacks entry %d, which the index holds", cursor.Stream, from)
		}
		return fmt.Errorf("%w: %s has no entry %d any more", ErrDiverged, cursor.Stream, from)
	}
	delete(f.absent, cursor.Stream)
	return nil
}

// taking gathers the lines of a stream into batches.
type taking struct {
	f      *Follower
	batch  Batch
	bytes  int
	max    int
	cursor Cursor
	known  bool // cursor.Last is a hash
	check  bool // the next line is the one the store took last
	broken bool
}

func (t *taking) line(ctx context.Context, seq uint64, line []byte) error {
	leaf := LeafHash(line)
	if t.check {
		if seq != t.cursor.Next-1 || leaf != t.cursor.Last {
			return fmt.Errorf("%w: entry %d is not the one that was taken", ErrDiverged, t.cursor.Next-1)
		}
		t.check = false
		return nil
	}
	if !t.known {
		t.cursor.Next = seq
	} else {
		prev, err := PrevHash(line)
		if err != nil || seq != t.cursor.Next || prev != t.cursor.Last {
			t.broken = true
			return fmt.Errorf("%w at entry %d of %s", ErrBroken, t.cursor.Next, t.cursor.Stream)
		}
	}
	t.known = true
	t.cursor.Next, t.cursor.Last = seq+1, leaf
	t.batch.Lines = append(t.batch.Lines, Line{Seq: seq, Leaf: leaf, Data: bytes.Clone(t.f.erasing.erased.Form(line))})
	t.bytes += len(line)
	if len(t.batch.Lines) >= t.max || t.bytes >= maxBatchBytes {
		return t.flush(ctx)
	}
	return nil
}

func (t *taking) flush(ctx context.Context) error {
	if len(t.batch.Lines) == 0 {
		return nil
	}
	applied, err := t.f.Store.Apply(ctx, t.batch)
	if err != nil {
		return err
	}
	t.f.took += len(t.batch.Lines)
	t.batch.Lines, t.bytes = t.batch.Lines[:0], 0
	cursor := t.cursor
	t.f.observe(Event{Stream: t.batch.Stream, Applied: &applied, Cursor: &cursor})
	return nil
}

// Lag returns how many entries of the ledger the index has not taken yet.
func Lag(ctx context.Context, l Ledger, s Searcher) (uint64, error) {
	streams, err := l.Streams()
	if err != nil {
		return 0, fmt.Errorf("listing the ledger's streams: %w", err)
	}
	cursors, err := s.Cursors(ctx)
	if err != nil {
		return 0, err
	}
	var lag uint64
	for _, stream := range streams {
		size, err := l.Size(ctx, stream)
		if err != nil {
			return 0, fmt.Errorf("measuring stream %s: %w", stream, err)
		}
		var next uint64
		if i := slices.IndexFunc(cursors, func(c Cursor) bool { return c.Stream == stream }); i >= 0 {
			next = cursors[i].Next
		}
		first, _, err := l.First(ctx, stream)
		if err != nil {
			return 0, fmt.Errorf("measuring stream %s: %w", stream, err)
		}
		if next = max(next, first); size > next {
			lag += size - next
		}
	}
	return lag, nil
}
