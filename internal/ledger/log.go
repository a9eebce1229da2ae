package ledger

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/mod/sumdb/note"

	"github.com/claudeaudit/claudeaudit/internal/bucket"
	"github.com/claudeaudit/claudeaudit/internal/durable"
)

var (
	// ErrFull says that there is no room: the spool's bound or the disk's. The
	// call may be repeated later; nothing of it was written.
	ErrFull = errors.New("ledger is full")
	// ErrUnavailable says that writing failed and may succeed later. Nothing of
	// the call counts as written.
	ErrUnavailable = errors.New("ledger is not writable")
	// ErrClosed says that the log was closed.
	ErrClosed = errors.New("ledger is closed")
	// ErrLocked says that another writer has the folder.
	ErrLocked = errors.New("another process writes this ledger")
	// ErrDamaged says that bytes that were durable once can't be read. The
	// writer does not start then, because it would go on without them.
	ErrDamaged = errors.New("ledger is damaged")
	// ErrInvalid says that an entry can't be stored, now or later.
	ErrInvalid = errors.New("invalid entry")
)

// Body appends the canonical JSON members of an entry that follow "_seq",
// without braces or a leading comma. It is called under the writer's lock.
type Body interface {
	AppendBody(dst []byte, revision int64) []byte
}

// Entry is one entry to append.
type Entry struct {
	ID [16]byte // event_id, as the body writes it
	// Digest of the observation, as the body writes it in source.digest. An
	// entry whose ID and Digest were seen before is a redelivery and is not
	// appended again. The zero digest is never a redelivery.
	Digest [16]byte
	Time   time.Time // of the event; extends the segment's retention
	Body   Body
	// Contents are sealed containers, at most 16; the body names the hex
	// SHA-256 of each in its content object.
	Contents [][]byte
	Class    string // retention class, "" is DefaultClass
}

// Options say where and how a log is written. Zero values have the defaults
// that their comments state.
type Options struct {
	// Dir is the ledger's folder: lock, write-ahead files and, without Store,
	// the store's objects.
	Dir string
	// Store keeps sealed objects; a LocalStore under Dir/store by default.
	Store bucket.Store
	// Origin is the log's name without the epoch, by default
	// "claudeaudit/<16 random hex digits>". Letters, digits and - _ . /
	Origin string
	// Instance names the writer in the claim; the host's name by default.
	Instance string
	// Signer signs checkpoints with the key whose public half is VerifierKey
	// (form name+hash+base64). Both are required. One that asks another machine
	// has SignContext(ctx, msg) as well; while it can't, what is sealed waits
	// without a checkpoint, and nothing leaves the write-ahead files.
	Signer      note.Signer
	VerifierKey string
	Witnesses   []Witness

	MaxSpoolBytes int64 // bound of the write-ahead files together, 1 GiB
	// MinFreeBytes is left free on the disk, 64 MiB but at most a tenth of the disk.
	MinFreeBytes       int64
	SegmentBytes       int           // bytes of lines that close a segment, 8 MiB
	SegmentEntries     int           // entries that close a segment, 16,384
	SegmentAge         time.Duration // age that closes a segment, 10 s
	CheckpointInterval time.Duration // least time between checkpoints, 1 s
	DedupEntries       int           // bound of the dedup window, 262,144
	DedupAge           time.Duration // bound of the dedup window, 24 h
	StoreTimeout       time.Duration // bound of one store or witness operation, 30 s
	// Retention returns until when objects of a class with events up to newest
	// are retained; nil: no retention. The class of claims and checkpoints, which
	// are needed as long as anything is, is "". A segment has the longest of its
	// entries' classes.
	Retention func(class string, newest time.Time) time.Time
	// State is told when sealing begins to fail, with the reason, and with nil
	// when it works again. It is called from the sealer's goroutine.
	State  func(error)
	Logger *zap.Logger

	hooks hooks
}

// hooks replace operating system calls in tests.
type hooks struct {
	write func(f *os.File, b []byte, off int64) (int, error)
	sync  func(f *os.File) error
	free  func(path string) (free, total int64, err error)
	now   func() time.Time
	retry time.Duration // first pause of the sealer
	pause time.Duration // its longest
	kill  chan struct{} // ends the committer as a killed process would
}

func (o *Options) setDefaults() error {
	if o.Dir == "" {
		return errors.New("ledger options: Dir is required")
	}
	if o.Signer == nil || o.VerifierKey == "" {
		return errors.New("ledger options: Signer and VerifierKey are required")
	}
	v, err := note.NewVerifier(o.VerifierKey)
	if err != nil {
		return errors.New("ledger options: VerifierKey must be name+hash+base64")
	}
	// The hash is of name and public key.
	if v.Name() != o.Signer.Name() || v.KeyHash() != o.Signer.KeyHash() {
		return errors.New("ledger options: VerifierKey is not the public key of Signer")
	}
	if o.Origin != "" {
		if err := checkOrigin(o.Origin); err != nil {
			return fmt.Errorf("ledger options: Origin: %w", err)
		}
	}
	for name, n := range map[string]int64{
		"MaxSpoolBytes": o.MaxSpoolBytes, "MinFreeBytes": o.MinFreeBytes, "SegmentBytes": int64(o.SegmentBytes),
		"SegmentEntries": int64(o.SegmentEntries), "SegmentAge": int64(o.SegmentAge), "CheckpointInterval": int64(o.CheckpointInterval),
		"DedupEntries": int64(o.DedupEntries), "DedupAge": int64(o.DedupAge), "StoreTimeout": int64(o.StoreTimeout),
	} {
		if n < 0 {
			return fmt.Errorf("ledger options: %s must not be negative", name)
		}
	}
	setDefault(&o.MaxSpoolBytes, 1<<30)
	setDefault(&o.MinFreeBytes, 64<<20)
	setDefault(&o.SegmentBytes, 8<<20)
	setDefault(&o.SegmentEntries, 16384)
	setDefault(&o.SegmentAge, 10*time.Second)
	setDefault(&o.CheckpointInterval, time.Second)
	setDefault(&o.DedupEntries, 1<<18)
	setDefault(&o.DedupAge, 24*time.Hour)
	setDefault(&o.StoreTimeout, 30*time.Second)
	o.SegmentBytes = min(o.SegmentBytes, maxSegRaw/4)
	o.SegmentEntries = min(o.SegmentEntries, maxSegEntries/2)
	if o.Instance == "" {
		o.Instance, err = os.Hostname()
		if err != nil || o.Instance == "" {
			o.Instance = "unknown"
		}
	}
	for _, c := range o.Instance {
		if c < 0x21 || c > 0x7e {
			return errors.New("ledger options: Instance may hold only printable ASCII without spaces")
		}
	}
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	if o.hooks.write == nil {
		o.hooks.write = (*os.File).WriteAt
	}
	if o.hooks.sync == nil {
		o.hooks.sync = syncData
	}
	if o.hooks.free == nil {
		o.hooks.free = freeSpace
	}
	if o.hooks.now == nil {
		o.hooks.now = time.Now
	}
	setDefault(&o.hooks.retry, 100*time.Millisecond)
	setDefault(&o.hooks.pause, 30*time.Second)
	return nil
}

func setDefault[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}

// AppendResult says what became of a call's entries.
type AppendResult struct {
	// First is the sequence number of the call's first new entry; the others follow it.
	First      uint64
	Count      int // new entries
	Duplicates int // entries that were there before
}

// DefaultClass is the retention class of entries that name none.
const DefaultClass = "default"

const (
	// maxBatch is how many bytes gather before an append has to wait.
	maxBatch = 8 << 20
	// maxCall bounds the bytes of one Append.
	maxCall = 64 << 20
	// maxBacklog is how many closed write-ahead files may wait before age no longer closes one.
	maxBacklog = 64
	headLen    = 20
)

// batch is what one write and sync make durable.
type batch struct {
	buf    []byte
	first  uint64
	leaves []Hash
	lines  int64 // bytes of lines
	window int   // entries added to the window
	calls  int
	urgent int // of calls, those that are not patient
	done   chan struct{}
	err    error // set before done is closed
}

// part is one write-ahead file: a segment to be.
type part struct {
	file   *os.File
	path   string
	header walHeader
	id     [8]byte
	end    uint64    // sequence number after the last durable entry
	size   int64     // durable bytes
	lines  int64     // bytes of lines
	opened time.Time // first write
	// suspect: a write or sync failed, so what the file holds after size, and
	// what the disk holds at all, is not known.
	suspect bool
}

func (p *part) count() uint64 { return p.end - p.header.First }

// Log is a ledger's writer. It is safe for concurrent use.
type Log struct {
	opts   Options
	log    *zap.Logger
	store  bucket.Store
	origin string
	prefix []byte
	start  uint64 // size at Open
	lock   *os.File
	head   *os.File // wal/durable

	verifiers note.Verifiers

	mu       sync.Mutex
	cur      *batch
	flushing *batch
	next     uint64 // head of the chain with what is being written
	prev     Hash
	durable  uint64
	win      *window
	spool    int64
	closed   bool
	room     chan struct{} // closed when cur is taken
	notify   chan struct{} // closed when durable grows
	waiting  atomic.Int32  // urgent calls in cur, or all when patience is at its end
	want     atomic.Int32  // urgent calls that the committer waits for, 0 when it doesn't

	// Of the committer alone.
	part     *part
	tree     edge // of what is durable
	treePrev Hash
	spare    []byte
	expect   int // calls that came together lately
	skip     int // commits that don't wait for more calls
	backoff  int
	fsyncAvg time.Duration
	timer    *time.Timer // of gather

	wake     chan struct{}
	gathered chan struct{} // as many calls as are wanted have come
	stop     chan struct{}
	done     chan struct{}

	seal    sealer
	failing bool // of the sealer alone
	stat    stats
}

// Origin is the stream's name.
func (l *Log) Origin() string { return l.origin }

// Durable is the number of entries that are synced.
func (l *Log) Durable() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.durable
}

// Notify returns a channel that is closed when more entries are durable than
// were at the call, or the log is closed. Call it before reading.
func (l *Log) Notify() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.notify
}

// patience is how long a patient call waits for a sync that it can share.
const patience = 5 * time.Millisecond

type patientKey struct{}

// Patient marks calls of Append that nobody waits for: they may take some milliseconds longer, so that
// they share the sync of a call that is waited for instead of being in its way.
func Patient(ctx context.Context) context.Context {
	return context.WithValue(ctx, patientKey{}, true)
}

func isPatient(ctx context.Context) bool {
	marked, _ := ctx.Value(patientKey{}).(bool)
	return marked
}

// Append adds entries in order and returns when they are synced: all of them or
// none. ErrFull and ErrUnavailable mean that the call may be repeated later,
// ErrInvalid that it never succeeds. When ctx ends first, its error is returned
// and the entries may or may not be there; repeating the call is safe.
func (l *Log) Append(ctx context.Context, entries []Entry) (AppendResult, error) {
	if err := checkEntries(entries); err != nil {
		return AppendResult{}, err
	}
	if len(entries) == 0 {
		return AppendResult{}, nil
	}
	b, res, err := l.enqueue(ctx, entries)
	if err != nil || b == nil {
		return res, err
	}
	select {
	case <-b.done:
		if b.err != nil {
			return AppendResult{}, b.err
		}
		return res, nil
	case <-ctx.Done():
		return AppendResult{}, fmt.Errorf("append to ledger: %w", context.Cause(ctx))
	}
}

func checkEntries(entries []Entry) error {
	total := 0
	for i := range entries {
		e := &entries[i]
		if e.Body == nil {
			return fmt.Errorf("%w: no body", ErrInvalid)
		}
		if e.Class != "" {
			if err := checkClass(e.Class); err != nil {
				return fmt.Errorf("%w: %w", ErrInvalid, err)
			}
		}
		if len(e.Contents) > maxContents {
			return fmt.Errorf("%w: more than %d contents", ErrInvalid, maxContents)
		}
		n := 0
		for _, c := range e.Contents {
			n += len(c)
		}
		if n > MaxContent {
			return fmt.Errorf("%w: content has %d bytes, more than %d", ErrInvalid, n, MaxContent)
		}
		if total += n; total > maxCall {
			return fmt.Errorf("%w: the call's content has more than %d bytes", ErrInvalid, maxCall)
		}
	}
	return nil
}

// enqueue encodes the entries into the current batch and returns the batch to
// wait for, nil if all of them were durable before.
func (l *Log) enqueue(ctx context.Context, entries []Entry) (*batch, AppendResult, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		if l.closed {
			return nil, AppendResult{}, ErrClosed
		}
		held := l.spool + int64(len(l.cur.buf))
		l.stat.lowSpool.Store(held >= l.opts.MaxSpoolBytes/10*9)
		if held >= l.opts.MaxSpoolBytes {
			l.stat.refused.Add(1)
			return nil, AppendResult{}, fmt.Errorf("%w: %d bytes wait for the store, the bound is %d", ErrFull, held, l.opts.MaxSpoolBytes)
		}
		if len(l.cur.buf) < maxBatch {
			break
		}
		room := l.room
		l.mu.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
		}
		l.mu.Lock()
		if ctx.Err() != nil {
			return nil, AppendResult{}, fmt.Errorf("append to ledger: %w", context.Cause(ctx))
		}
	}
	res, dup, err := l.encode(entries)
	if err != nil {
		return nil, AppendResult{}, err
	}
	l.stat.duplicates.Add(uint64(res.Duplicates))
	b := l.cur
	if res.Count == 0 {
		// All of them are there already; wait only if they are not durable yet.
		switch {
		case dup <= l.durable:
			return nil, res, nil
		case l.flushing != nil && dup <= l.cur.first:
			return l.flushing, res, nil
		}
	}
	b.calls++
	if isPatient(ctx) && len(b.buf) < maxBatch {
		if b.calls == 1 {
			time.AfterFunc(patience, func() { l.hurry(b) })
		}
		return b, res, nil
	}
	b.urgent++
	l.waiting.Store(int32(b.urgent))
	if b.urgent == 1 {
		l.rouse()
	}
	if want := l.want.Load(); want > 0 && int32(b.urgent) >= want {
		select {
		case l.gathered <- struct{}{}:
		default:
		}
	}
	return b, res, nil
}

// hurry ends the patience of a batch's calls.
func (l *Log) hurry(b *batch) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cur == b && b.urgent == 0 {
		l.waiting.Store(int32(b.calls))
		l.rouse()
	}
}

// rouse wakes the committer.
func (l *Log) rouse() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// encode appends the entries to the current batch, all or none, and returns
// the size of the log that has all of the duplicates.
func (l *Log) encode(entries []Entry) (res AppendResult, dup uint64, err error) {
	b := l.cur
	now := l.opts.hooks.now()
	mark := struct {
		buf, leaves, window int
		lines               int64
		next                uint64
		prev                Hash
	}{len(b.buf), len(b.leaves), b.window, b.lines, l.next, l.prev}
	whole := false
	defer func() {
		if whole {
			return
		}
		l.win.undo(b.window - mark.window)
		b.buf, b.leaves, b.window, b.lines = b.buf[:mark.buf], b.leaves[:mark.leaves], mark.window, mark.lines
		l.next, l.prev = mark.next, mark.prev
	}()
	if len(b.buf) == 0 {
		b.buf = appendBatchFrame(b.buf)
	}
	res.First = l.next
	for i := range entries {
		e := &entries[i]
		if end, ok := l.win.find(e.ID, e.Digest); ok {
			res.Duplicates++
			dup = max(dup, end)
			continue
		}
		if err := l.encodeEntry(b, e); err != nil {
			return AppendResult{}, 0, err
		}
		l.win.add(e.ID, e.Digest, l.next+1, 0, now)
		b.window++
		l.next++
		res.Count++
		if len(b.buf)-mark.buf > maxCall {
			return AppendResult{}, 0, fmt.Errorf("%w: the call has more than %d bytes", ErrInvalid, maxCall)
		}
	}
	whole = res.Count > 0
	return res, dup, nil
}

func (l *Log) encodeEntry(b *batch, e *Entry) error {
	at := len(b.buf)
	buf := append(b.buf, make([]byte, frameHead)...)
	buf = append(buf, 'E')
	buf = append(buf, e.ID[:]...)
	buf = append(buf, e.Digest[:]...)
	buf = binary.LittleEndian.AppendUint64(buf, uint64(e.Time.UnixNano()))
	buf = append(buf, byte(len(e.Class)))
	buf = append(buf, e.Class...)
	lenAt := len(buf)
	buf = append(buf, 0, 0, 0, 0, byte(len(e.Contents)))
	for _, c := range e.Contents {
		buf = binary.LittleEndian.AppendUint32(buf, uint32(len(c)))
	}
	leafAt := len(buf)
	buf = append(buf, 0)
	lineAt := len(buf)
	buf = append(buf, l.prefix...)
	buf = hex.AppendEncode(buf, l.prev[:])
	buf = append(buf, keySeq...)
	buf = strconv.AppendUint(buf, l.next, 10)
	buf = append(buf, ',')
	bodyAt := len(buf)
	buf = e.Body.AppendBody(buf, l.win.revision(e.ID))
	b.buf = buf[:at] // keeps what was grown if the entry is refused
	if len(buf) == bodyAt {
		return fmt.Errorf("%w: empty body", ErrInvalid)
	}
	buf = append(buf, '}')
	line := buf[lineAt:]
	if len(line) > MaxLine {
		return fmt.Errorf("%w: line has %d bytes, more than %d", ErrInvalid, len(line), MaxLine)
	}
	if bytes.IndexByte(line, '\n') >= 0 {
		return fmt.Errorf("%w: body has a line break", ErrInvalid)
	}
	binary.LittleEndian.PutUint32(buf[lenAt:], uint32(len(line)))
	l.prev = sha256.Sum256(buf[leafAt:])
	b.leaves = append(b.leaves, l.prev)
	b.lines += int64(len(line)) + 1
	for _, c := range e.Contents {
		buf = append(buf, c...)
	}
	finishFrame(buf, at)
	b.buf = buf
	return nil
}

// run is the committer.
func (l *Log) run() {
	defer close(l.done)
	age := time.NewTimer(time.Hour)
	defer age.Stop()
	for {
		if l.waiting.Load() == 0 {
			select {
			case <-l.wake:
			case <-age.C:
				if l.seal.backlog() >= maxBacklog {
					age.Reset(l.opts.SegmentAge)
				} else if err := l.rotate(); err != nil {
					l.failed("close write-ahead file", err)
					age.Reset(l.opts.SegmentAge)
				}
			case <-l.stop:
				l.finish()
				return
			case <-l.opts.hooks.kill:
				return
			}
			continue
		}
		l.commit()
		p := l.part
		if p.count() == 0 {
			age.Stop()
			continue
		}
		old := l.opts.hooks.now().Sub(p.opened)
		if p.lines < int64(l.opts.SegmentBytes) && p.size < 2*int64(l.opts.SegmentBytes) && p.count() < uint64(l.opts.SegmentEntries) &&
			(old < l.opts.SegmentAge || l.seal.backlog() >= maxBacklog) {
			age.Reset(max(l.opts.SegmentAge-old, time.Millisecond))
			continue
		}
		if err := l.rotate(); err != nil {
			l.failed("close write-ahead file", err)
		}
	}
}

// finish writes what waits and hands the last part to the sealer.
func (l *Log) finish() {
	pending := func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.cur.calls > 0
	}
	for pending() {
		l.commit()
	}
	if l.part.count() > 0 {
		if err := l.rotate(); err != nil {
			l.failed("close write-ahead file", err)
		}
	}
}

// gather waits a moment for as many calls as came together lately, so that
// they share a sync again: closed-loop writers would otherwise split into two
// halves that take turns. It gives up for a while when none comes. The moment is
// a sync's, which is longer when the processors are short: then a sync that is
// shared by more gives them back.
func (l *Log) gather() {
	first := int(l.waiting.Load())
	if first >= l.expect {
		l.backoff = 0
		return
	}
	if l.skip > 0 {
		l.skip--
		return
	}
	select {
	case <-l.gathered: // of a wait that was over
	default:
	}
	l.want.Store(int32(l.expect))
	if int(l.waiting.Load()) < l.expect {
		l.timer.Reset(min(l.fsyncAvg, maxGather))
		select {
		case <-l.gathered:
			l.timer.Stop()
		case <-l.timer.C:
		}
	}
	l.want.Store(0)
	if int(l.waiting.Load()) > first {
		l.backoff = 0
		return
	}
	l.backoff = min(l.backoff+1, 6)
	l.skip = 1 << l.backoff
}

// maxGather bounds how long calls are waited for.
const maxGather = 2 * time.Millisecond

// commit writes and syncs the current batch and answers its callers.
func (l *Log) commit() {
	l.gather()
	l.mu.Lock()
	b := l.cur
	l.cur = &batch{buf: l.spare[:0], first: l.next, done: make(chan struct{})}
	l.flushing = b
	l.waiting.Store(0)
	close(l.room)
	l.room = make(chan struct{})
	l.mu.Unlock()

	err := l.write(b)

	l.mu.Lock()
	l.flushing = nil
	var failed *batch
	if err == nil {
		l.durable = b.first + uint64(len(b.leaves))
		l.spool += int64(len(b.buf))
		close(l.notify)
		l.notify = make(chan struct{})
	} else {
		// What was encoded meanwhile continues the chain of what failed.
		if failed = l.cur; failed.calls > 0 {
			l.cur = &batch{buf: failed.buf[:0], done: make(chan struct{})}
		} else {
			failed = nil
		}
		l.win.undo(b.window)
		if failed != nil {
			l.win.undo(failed.window)
		}
		l.next, l.prev = l.tree.size, l.treePrev
		l.cur.first = l.next
		l.waiting.Store(0)
	}
	l.mu.Unlock()
	b.err = err
	close(b.done)
	if err == nil {
		// Nobody waits for the tree.
		for _, leaf := range b.leaves {
			l.tree.add(leaf)
		}
	}
	// Bursts differ, so the most that came together is forgotten by and by only.
	l.expect = max(b.urgent+int(l.waiting.Load()), l.expect-max(1, l.expect/8))
	if failed != nil {
		failed.err = err
		close(failed.done)
	}
	if cap(b.buf) <= 2*maxBatch {
		l.spare = b.buf
	} else {
		l.spare = nil
	}
}

// write makes the batch durable or leaves nothing of it that counts.
func (l *Log) write(b *batch) error {
	if err := l.ready(); err != nil {
		return err
	}
	p := l.part
	free, total, err := l.opts.hooks.free(l.opts.Dir)
	if err != nil {
		return l.refuse(err)
	}
	floor := min(l.opts.MinFreeBytes, total/10)
	l.stat.lowDisk.Store(free-int64(len(b.buf)) < 2*floor)
	if free-int64(len(b.buf)) < floor {
		l.stat.refused.Add(uint64(b.calls))
		l.failed("check free space", ErrFull)
		return fmt.Errorf("%w: %d bytes are free on the disk, %d have to stay free", ErrFull, free, floor)
	}
	putBatch(b.buf, p.id, p.size, b.first, len(b.leaves))
	start := time.Now()
	if n, err := l.opts.hooks.write(p.file, b.buf, p.size); err != nil || n != len(b.buf) {
		if err == nil {
			err = errors.New("short write")
		}
		l.stat.writeErrors.Add(1)
		if terr := p.file.Truncate(p.size); terr != nil {
			p.suspect = true
			err = errors.Join(err, terr)
		}
		return l.refuse(fmt.Errorf("write: %w", err))
	}
	if err := l.opts.hooks.sync(p.file); err != nil {
		l.stat.syncErrors.Add(1)
		p.suspect = true
		return l.refuse(fmt.Errorf("sync: %w", errors.Join(err, p.file.Truncate(p.size))))
	}
	took := time.Since(start)
	l.fsyncAvg += (took - l.fsyncAvg) / 8
	if gone, err := unlinked(p.file); err != nil || gone {
		if err == nil {
			err = l.rescue(b)
		}
		if err != nil {
			p.suspect = true
			return l.refuse(fmt.Errorf("write-ahead file lost its name: %w", errors.Join(err, p.file.Truncate(p.size))))
		}
	}
	p = l.part
	p.size += int64(len(b.buf))
	p.end += uint64(len(b.leaves))
	p.lines += b.lines
	l.treePrev = b.leaves[len(b.leaves)-1]
	l.publish(p.end)
	l.stat.wrote(b, took)
	return nil
}

// publish tells readers how far the file may be read.
func (l *Log) publish(durable uint64) {
	if _, err := l.head.WriteAt(encodeHead(l.origin, durable), 0); err != nil {
		l.log.Warn("Readers lag: the count of durable entries could not be written", zap.Error(err))
	}
}

// The file wal/durable is the number of durable entries uint64, the first 8
// bytes of the SHA-256 of the stream's name, and the CRC32C of both. It is
// written after the sync and before the acknowledgement, and not synced itself.
func encodeHead(origin string, durable uint64) []byte {
	name := sha256.Sum256([]byte(origin))
	b := binary.LittleEndian.AppendUint64(make([]byte, 0, headLen), durable)
	b = append(b, name[:8]...)
	return binary.LittleEndian.AppendUint32(b, checksum(b))
}

// parseHead returns the count, and whether it is of this stream.
func parseHead(b []byte, origin string) (durable uint64, mine, ok bool) {
	if len(b) != headLen || checksum(b[:16]) != binary.LittleEndian.Uint32(b[16:]) {
		return 0, false, false
	}
	name := sha256.Sum256([]byte(origin))
	durable = binary.LittleEndian.Uint64(b)
	return durable, bytes.Equal(b[8:16], name[:8]), durable <= maxSeq
}

// refuse turns a failure into what callers are told.
func (l *Log) refuse(err error) error {
	l.failed("write entries", err)
	if diskFull(err) {
		return fmt.Errorf("%w: %w", ErrFull, err)
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}

func (l *Log) failed(what string, err error) {
	if l.stat.fail(what, err) {
		l.log.Error("Ledger failure", zap.String("step", what), zap.Error(err))
	}
}

// ready leaves l.part fit to be written to: trusted, and of the right day and hour.
func (l *Log) ready() error {
	p, hour := l.part, l.hour()
	if p.suspect || p.count() == 0 && !p.header.Hour.Equal(hour) || p.count() > 0 && dayPath(p.header.Hour) != dayPath(hour) {
		if err := l.rotate(); err != nil {
			return l.refuse(err)
		}
	}
	if l.part.count() == 0 {
		l.part.opened = l.opts.hooks.now()
	}
	return nil
}

// hour is the partition of what is written now. It never goes back.
func (l *Log) hour() time.Time {
	now := l.opts.hooks.now().UTC().Truncate(time.Hour)
	if now.Before(l.part.header.Hour) {
		return l.part.header.Hour
	}
	return now
}

// reverify reads the durable bytes of a suspect file from the disk.
func (l *Log) reverify(p *part) error {
	if err := p.file.Truncate(p.size); err != nil {
		return fmt.Errorf("cut what is not durable: %w", err)
	}
	if err := dropCache(p.file); err != nil {
		return fmt.Errorf("drop cached pages: %w", err)
	}
	end, err := scanPart(p.file, nil)
	if err != nil {
		return fmt.Errorf("read back: %w", err)
	}
	if end.next != p.end || end.pos != p.size {
		return fmt.Errorf("read back: %w: %d entries instead of %d", ErrDamaged, end.next-p.header.First, p.count())
	}
	return nil
}

// scanPart reads a whole write-ahead file.
func scanPart(f *os.File, fn func(*walEntry) error) (*walReader, error) {
	r, err := newWalReader(f)
	if err != nil {
		return nil, err
	}
	for {
		e, err := r.read()
		if err != nil {
			if isEOF(err) {
				err = nil
			}
			return r, err
		}
		if fn != nil {
			if err := fn(e); err != nil {
				return r, err
			}
		}
	}
}

// rotate closes the current part and opens the next. If that fails, the
// current part stays.
func (l *Log) rotate() error {
	old := l.part
	if old.suspect {
		if err := l.reverify(old); err != nil {
			return err
		}
	}
	h := old.header
	h.Hour = l.hour()
	h.setEdge(l.tree, l.treePrev)
	p, err := l.createPart(h)
	if err != nil {
		return err
	}
	l.part = p
	l.mu.Lock()
	l.spool += p.size
	if old.count() == 0 {
		l.spool -= old.size
	}
	l.mu.Unlock()
	if old.count() == 0 {
		return old.file.Close() // the new one took its name
	}
	l.seal.push(old)
	return nil
}

// createPart makes an empty write-ahead file, durable with its name.
func (l *Log) createPart(h walHeader) (*part, error) {
	p := &part{header: h, end: h.First, path: filepath.Join(l.walDir(), walName(h.First))}
	if _, err := rand.Read(p.id[:]); err != nil {
		return nil, fmt.Errorf("create write-ahead file: %w", err)
	}
	p.header.Format = walFormat
	p.header.ID = hex.EncodeToString(p.id[:])
	b, err := p.header.encode()
	if err != nil {
		return nil, err
	}
	if err := l.install(p, b); err != nil {
		return nil, fmt.Errorf("create write-ahead file: %w", err)
	}
	return p, nil
}

// install writes a part's bytes under its name.
func (l *Log) install(p *part, b []byte) error {
	tmp := p.path + ".tmp"
	f, err := os.OpenFile(tmp, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	n, err := l.opts.hooks.write(f, b, 0)
	if err == nil && n != len(b) {
		err = errors.New("short write")
	}
	if err == nil {
		err = l.opts.hooks.sync(f)
	}
	if err == nil {
		err = os.Rename(tmp, p.path)
	}
	if err == nil {
		err = durable.SyncDir(filepath.Dir(p.path))
	}
	if err != nil {
		return errors.Join(err, f.Close(), removeIfThere(tmp))
	}
	p.file, p.size = f, int64(len(b))
	return nil
}

// rescue writes the current part, whose name is gone, anew with the batch.
func (l *Log) rescue(b *batch) error {
	p := l.part
	all := make([]byte, p.size+int64(len(b.buf)))
	if _, err := p.file.ReadAt(all, 0); err != nil {
		return fmt.Errorf("read: %w", err)
	}
	q := *p
	if err := l.install(&q, all); err != nil {
		return err
	}
	q.size = p.size
	l.part = &q
	l.stat.rescued.Add(1)
	l.log.Error("The write-ahead file had been deleted or replaced; it was written anew, nothing is lost", zap.String("file", p.path))
	return p.file.Close()
}

func (l *Log) walDir() string { return filepath.Join(l.opts.Dir, "wal") }

// Close writes and seals what is open and stops. When ctx ends before the
// store has taken everything, the rest stays in the write-ahead files for the
// next Open, and the error says so.
func (l *Log) Close(ctx context.Context) error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return ErrClosed
	}
	l.closed = true
	l.mu.Unlock()
	close(l.stop)
	<-l.done
	err := l.seal.close(ctx)
	l.mu.Lock()
	close(l.notify)
	l.mu.Unlock()
	return errors.Join(err, l.part.file.Close(), l.head.Close(), l.lock.Close())
}
