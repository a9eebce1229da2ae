package ledger

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sort"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/claudeaudit/claudeaudit/internal/bucket"
	"github.com/claudeaudit/claudeaudit/internal/durable"
)

// sealer turns closed write-ahead files into objects, in order, and deletes
// them when a checkpoint that covers them is stored and witnessed. It tries
// for ever: nothing is given up.
type sealer struct {
	l      *Log
	wake   chan struct{}
	cancel context.CancelFunc
	done   chan struct{}

	mu      sync.Mutex
	queue   []*part // the oldest first
	put     int     // how many of them have their objects stored
	closing bool
	sealed  uint64
	covered uint64

	// Of the goroutine alone.
	tree     edge // after the last sealed part
	prev     Hash
	lastTime time.Time // of the last checkpoint
	// floor is the size of the newest checkpoint that a run before this one
	// gave away. After a crash before its write-ahead files were deleted they are
	// sealed again: a checkpoint in the midst of them would be an older one, which
	// a witness refuses.
	floor uint64
	// mark is the tree at the last witnessed checkpoint, and since the leaves
	// after it: what a proof of growth from there needs.
	mark  edge
	since []Hash
	// room is what the last container was made in: the next is as large, as a rule.
	room []byte
}

const (
	// yieldEvery is after how many entries sealing lets others have the processor.
	yieldEvery  = 16
	maxSince    = 1 << 20
	typeSegment = "application/zstd"
	typeCipher  = "application/octet-stream"
	typeNote    = "text/plain; charset=utf-8"
)

func (s *sealer) start(l *Log, tree edge, prev Hash, parts []*part) {
	ctx, cancel := context.WithCancel(context.Background())
	s.l, s.wake, s.cancel, s.done = l, make(chan struct{}, 1), cancel, make(chan struct{})
	s.tree, s.prev, s.queue = tree, prev, parts
	s.mark = tree.clone()
	s.sealed, s.covered = tree.size, tree.size
	go s.run(ctx)
}

func (s *sealer) push(p *part) {
	s.mu.Lock()
	s.queue = append(s.queue, p)
	s.mu.Unlock()
	s.poke()
}

func (s *sealer) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *sealer) backlog() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.queue)
}

func (s *sealer) progress() (sealed, covered uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sealed, s.covered
}

// close lets the queue run empty until ctx ends.
func (s *sealer) close(ctx context.Context) error {
	s.mu.Lock()
	s.closing = true
	s.mu.Unlock()
	s.poke()
	select {
	case <-s.done:
	case <-ctx.Done():
	}
	s.cancel()
	<-s.done
	s.mu.Lock()
	defer s.mu.Unlock()
	var err error
	for _, p := range s.queue {
		err = errors.Join(err, p.file.Close())
	}
	if n := len(s.queue); n > 0 {
		err = errors.Join(err, fmt.Errorf("%d write-ahead files are not in the store yet; they are sealed after the next start: %w", n, context.Cause(ctx)))
	}
	return err
}

func (s *sealer) run(ctx context.Context) {
	defer close(s.done)
	pause := time.Duration(0)
	filled := false
	for {
		s.mu.Lock()
		var next *part
		if s.put < len(s.queue) {
			next = s.queue[s.put]
		}
		ready, closing := s.put, s.closing
		s.mu.Unlock()

		due := s.l.opts.CheckpointInterval - time.Since(s.lastTime)
		var wait time.Duration
		var err error
		switch {
		case !filled:
			err = s.backfill(ctx)
			filled = err == nil
		case ready > 0 && s.tree.size >= s.floor && (due <= 0 || next == nil && closing):
			err = s.checkpoint(ctx, ready)
		case next != nil:
			err = s.sealPart(ctx, next)
		case closing:
			return
		case ready > 0 && s.tree.size >= s.floor:
			wait = due
		default:
			wait = time.Hour
		}
		if err != nil {
			if ctx.Err() != nil {
				return
			}
			s.l.state(err)
			pause = min(max(2*pause, s.l.opts.hooks.retry), s.l.opts.hooks.pause)
			wait = pause
		} else if wait == 0 {
			s.l.state(nil)
			pause = 0
			continue
		}
		if !s.sleep(ctx, wait, err == nil) {
			return
		}
	}
}

// state tells of a change between sealing and not.
func (l *Log) state(err error) {
	if failing := err != nil; l.opts.State != nil && failing != l.failing {
		l.failing = failing
		l.opts.State(err)
	}
}

// sleep waits; a poke ends it only if interruptible. False when ctx ended.
func (s *sealer) sleep(ctx context.Context, d time.Duration, interruptible bool) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	wake := s.wake
	if !interruptible {
		wake = nil
	}
	select {
	case <-ctx.Done():
		return false
	case <-wake:
	case <-t.C:
	}
	return ctx.Err() == nil
}

// sealPart stores a part's containers and segment.
func (s *sealer) sealPart(ctx context.Context, p *part) error {
	l := s.l
	objects, leaves, err := s.build(p)
	if err != nil {
		l.failed("seal write-ahead file", fmt.Errorf("%s: %w", filepath.Base(p.path), err))
		return err
	}
	l.stat.ok("seal write-ahead file")
	for _, o := range objects {
		if err := s.store(ctx, o); err != nil {
			l.stat.storeErrors.Add(1)
			l.failed("store object", fmt.Errorf("%s: %w", o.key, err))
			return err
		}
	}
	l.stat.ok("store object")
	for _, leaf := range leaves {
		s.tree.add(leaf)
	}
	if s.since = append(s.since, leaves...); len(s.since) > maxSince {
		s.mark, s.since = edge{}, nil // proofs are read from the store then
	}
	s.prev = leaves[len(leaves)-1]
	s.mu.Lock()
	s.put++
	s.sealed = s.tree.size
	s.mu.Unlock()
	return nil
}

type upload struct {
	key  string
	body []byte
	opts bucket.PutOptions
	// same says whether other bytes under the key mean the same; nil: never.
	same func(stored []byte) bool
}

// build reads a part again and makes its objects, the segment last. What it
// reads has to continue the chain of what was sealed before.
func (s *sealer) build(p *part) ([]upload, []Hash, error) {
	l := s.l
	first := p.header.First
	if first != s.tree.size {
		return nil, nil, fmt.Errorf("%w: starts at entry %d, %d is next", ErrDamaged, first, s.tree.size)
	}
	b := newSegBuilder(first, s.prev, p.header.Hour)
	b.leaves, b.raw = make([]Hash, 0, p.count()), make([]byte, 0, min(frameRaw, p.lines))
	prev := s.prev
	newest := map[string]time.Time{} // event of each class
	containers := map[string]*cntBuilder{}
	byClass := map[string][]contentRef{}
	r, err := scanPart(p.file, func(e *walEntry) error {
		if e.seq >= p.end { // left by a write that failed later
			return errStop
		}
		if e.seq%yieldEvery == 0 {
			runtime.Gosched() // calls that wait go first
		}
		linePrev, seq, _, err := splitLine(e.line, l.prefix)
		if err != nil || linePrev != prev || seq != e.seq {
			return fmt.Errorf("%w: entry %d does not continue the chain", ErrDamaged, e.seq)
		}
		leaf := sha256.Sum256(e.leafed)
		b.add(e.line, leaf)
		prev = leaf
		class := e.class
		if class == "" {
			class = DefaultClass
		}
		newest[class] = maxTime(newest[class], e.time)
		for _, c := range e.contents {
			if containers[class] == nil {
				var room []byte
				if len(containers) == 0 { // there is only one, as a rule
					room = s.roomFor(max(p.size-p.lines, 0))
				}
				containers[class] = newCntBuilder(class, room)
			}
			byClass[class] = append(byClass[class], contentRef{line: uint32(e.seq - first), sha: containers[class].add(e.seq, c)})
		}
		return nil
	})
	if errors.Is(err, errStop) || errors.Is(err, errTorn) {
		err = nil // what is missing shows in the count
	}
	if err != nil {
		return nil, nil, err
	}
	if got := first + uint64(len(b.leaves)); got != p.end {
		return nil, nil, fmt.Errorf("%w: %d entries instead of %d, read up to offset %d", ErrDamaged, len(b.leaves), p.count(), r.good)
	}

	// Each container as long as its class, the segment as long as the longest.
	retain := func(class string) time.Time {
		if l.opts.Retention == nil {
			return time.Time{}
		}
		return l.opts.Retention(class, maxTime(newest[class], l.opts.hooks.now()))
	}
	var longest time.Time
	for class := range newest {
		longest = maxTime(longest, retain(class))
	}
	dir := "v1/" + l.origin + "/"
	classes := make([]string, 0, len(containers))
	for class := range containers {
		classes = append(classes, class)
	}
	sort.Strings(classes)
	var objects []upload
	var refs []containerRef
	for i, class := range classes {
		body, ref := containers[class].finish(first, p.header.Hour)
		refs = append(refs, ref)
		objects = append(objects, upload{
			key: dir + "cnt/" + cntName(ref, first, p.header.Hour), body: body,
			opts: bucket.PutOptions{ContentType: typeCipher, RetainUntil: retain(class)},
		})
		for _, r := range byClass[class] {
			r.container = uint16(i)
			b.refs = append(b.refs, r)
		}
	}
	sort.SliceStable(b.refs, func(i, j int) bool { return b.refs[i].line < b.refs[j].line })
	leaves := b.leaves
	key := dir + "seg/" + b.name()
	objects = append(objects, upload{
		key: key, body: b.finish(refs),
		opts: bucket.PutOptions{ContentType: typeSegment, RetainUntil: longest},
		same: func(stored []byte) bool { return sameSegment(stored, leaves) },
	})
	return objects, leaves, nil
}

// roomFor is the room of the last container, which is stored, or a new one where that is too small or by far too large.
func (s *sealer) roomFor(n int64) []byte {
	if have := int64(cap(s.room)); have < n || have/4 > n {
		s.room = make([]byte, 0, n)
	}
	return s.room
}

var errStop = errors.New("stop")

func maxTime(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// sameSegment says whether a stored segment has these lines: another release
// may have compressed them differently before a crash.
func sameSegment(stored []byte, leaves []Hash) bool {
	seg, err := parseSegment(stored)
	if err != nil || int(seg.count) != len(leaves) {
		return false
	}
	err = seg.lines(0, func(i uint32, line []byte) error {
		if leafHash(line) != leaves[i] || seg.leaf(i) != leaves[i] {
			return errSegment
		}
		return nil
	})
	return err == nil
}

// store puts an object and reads it back.
func (s *sealer) store(ctx context.Context, o upload) error {
	// Put, read back, and a second for each MiB of either.
	ctx, cancel := context.WithTimeout(ctx, s.l.opts.StoreTimeout+2*time.Second*time.Duration(len(o.body)>>20))
	defer cancel()
	err := s.l.store.Put(ctx, o.key, o.body, o.opts)
	if errors.Is(err, bucket.ErrUnread) {
		// A writer that may not read tries again what it put before the answer got
		// lost: the name holds the bytes' hash or, of a checkpoint, a size that no
		// other writer of this stream signs. The verifier reads it.
		return nil
	}
	exists := errors.Is(err, bucket.ErrExists)
	if err != nil && !exists {
		return err
	}
	if local, ok := s.l.store.(*bucket.Local); ok {
		// A file of many megabytes, every few seconds, need not be had in memory twice.
		if same, err := local.Holds(ctx, o.key, o.body); err == nil && same {
			return nil
		}
	}
	got, gerr := s.l.store.Get(ctx, o.key, max(int64(len(o.body)), maxSegFile))
	switch {
	case errors.Is(gerr, bucket.ErrDenied) && !exists:
		// A writer that may not read: the size is all it can check.
		info, err := s.l.store.Stat(ctx, o.key)
		if err == nil && info.Size != int64(len(o.body)) {
			err = fmt.Errorf("stored object has %d bytes instead of %d", info.Size, len(o.body))
		}
		if errors.Is(err, bucket.ErrDenied) {
			err = nil
		}
		return err
	case gerr != nil:
		return fmt.Errorf("read back: %w", gerr)
	case !bytes.Equal(got, o.body) && (o.same == nil || !o.same(got)):
		if exists {
			return err
		}
		return errors.New("read back: the stored bytes differ")
	}
	return nil
}

// checkpoint covers the first n parts and deletes them.
func (s *sealer) checkpoint(ctx context.Context, n int) error {
	l := s.l
	s.mu.Lock()
	parts := s.queue[:n:n]
	s.mu.Unlock()
	c := Checkpoint{Origin: l.origin, Size: s.tree.size, Root: s.tree.root()}
	msg, err := l.putCheckpoint(ctx, c, parts[n-1].header.Hour)
	if err != nil {
		return err
	}
	if err := s.witness(ctx, c, msg, parts[n-1].header.Hour); err != nil {
		return err
	}
	s.lastTime = time.Now()
	s.mark, s.since = s.tree.clone(), s.since[:0]

	var freed int64
	for i, p := range parts {
		if err := l.removePart(p); err != nil {
			l.failed("delete write-ahead file", err)
			s.drop(i, c.Size, freed)
			return err
		}
		freed += p.size
	}
	if err := durable.SyncDir(l.walDir()); err != nil {
		l.failed("delete write-ahead file", err)
	}
	s.drop(n, c.Size, freed)
	l.stat.ok("delete write-ahead file")
	return nil
}

func (s *sealer) drop(n int, covered uint64, freed int64) {
	s.mu.Lock()
	s.queue = append([]*part(nil), s.queue[n:]...)
	s.put -= n
	s.covered = covered
	s.mu.Unlock()
	s.l.mu.Lock()
	s.l.spool -= freed
	s.l.mu.Unlock()
}

// removePart deletes a part's file, unless the name is another file's now.
func (l *Log) removePart(p *part) error {
	mine, err := p.file.Stat()
	if err != nil {
		return err
	}
	if at, err := os.Lstat(p.path); err == nil && os.SameFile(mine, at) {
		if err := os.Remove(p.path); err != nil {
			return err
		}
	}
	return p.file.Close()
}

// putCheckpoint signs and stores a checkpoint.
func (l *Log) putCheckpoint(ctx context.Context, c Checkpoint, hour time.Time) ([]byte, error) {
	msg, err := signCheckpoint(ctx, c, l.opts.Signer)
	if err != nil {
		l.stat.signErrors.Add(1)
		l.failed("sign checkpoint", err)
		return nil, err
	}
	l.stat.ok("sign checkpoint")
	key := checkpointKey(l.origin, hour, c.Size)
	o := upload{key: key, body: msg, opts: bucket.PutOptions{ContentType: typeNote, RetainUntil: l.retainUntil("")}}
	// A signer that is not deterministic signs anew after a crash.
	o.same = func(stored []byte) bool {
		got, err := ParseCheckpoint(stored, l.verifiers)
		return err == nil && got == c
	}
	if err := l.seal.store(ctx, o); err != nil {
		l.stat.storeErrors.Add(1)
		l.failed("store checkpoint", err)
		return nil, err
	}
	l.stat.ok("store checkpoint")
	return msg, nil
}

// retainUntil is until when something of a class that is written now is retained.
func (l *Log) retainUntil(class string) time.Time {
	if l.opts.Retention == nil {
		return time.Time{}
	}
	return l.opts.Retention(class, l.opts.hooks.now())
}

// witness gives a checkpoint to every witness, and stores what they cosigned.
func (s *sealer) witness(ctx context.Context, c Checkpoint, msg []byte, hour time.Time) error {
	l := s.l
	prove := func(ctx context.Context, old uint64) ([]Hash, error) { return s.prove(ctx, old, c.Size) }
	var all error
	for _, w := range l.opts.Witnesses {
		call, cancel := context.WithTimeout(ctx, l.opts.StoreTimeout)
		cosigned, err := w.Add(call, msg, prove)
		cancel()
		if err != nil {
			l.stat.witnessErrors.Add(1)
			all = errors.Join(all, fmt.Errorf("%s: %w", w.Name(), err))
			continue
		}
		if cosigned == nil {
			continue
		}
		o := upload{
			key: cosignedKey(l.origin, hour, c.Size, lastKeyHash(cosigned)), body: cosigned,
			opts: bucket.PutOptions{ContentType: typeNote, RetainUntil: l.retainUntil("")},
			// Asked again after a crash, a witness signs again at another time.
			same: func(stored []byte) bool {
				got, err := ParseCheckpoint(stored, l.verifiers)
				return err == nil && got == c
			},
		}
		if err := s.store(ctx, o); err != nil {
			l.stat.storeErrors.Add(1)
			all = errors.Join(all, fmt.Errorf("store what %s cosigned: %w", w.Name(), err))
		}
	}
	if all != nil {
		l.failed("witness checkpoint", all)
		return all
	}
	l.stat.ok("witness checkpoint")
	return nil
}

// prove makes the consistency proof between two sizes, of memory for growth
// since the last witnessed checkpoint, else of the stored leaf hashes.
func (s *sealer) prove(ctx context.Context, old, size uint64) ([]Hash, error) {
	if old == 0 || old == size {
		return nil, nil
	}
	var hashes tlog.HashReaderFunc
	if s.mark.size == old && old+uint64(len(s.since)) == size {
		hashes = func(indexes []int64) ([]tlog.Hash, error) { return growthHashes(&s.mark, s.since, indexes) }
	} else {
		r := NewReader(s.l.store, "")
		hashes = func(indexes []int64) ([]tlog.Hash, error) { return r.treeHashes(ctx, s.l.origin, indexes) }
	}
	proof, err := tlog.ProveTree(int64(size), int64(old), hashes)
	if err != nil {
		return nil, err
	}
	out := make([]Hash, len(proof))
	for i, h := range proof {
		out[i] = Hash(h)
	}
	return out, nil
}

// backfill gives every witness the stored checkpoints that it lacks: a crash
// may have come between store and witness, and a witness may be new.
func (s *sealer) backfill(ctx context.Context) error {
	l := s.l
	type behind struct {
		w    Witness
		last uint64
	}
	var todo []behind
	low := uint64(maxSeq)
	for _, w := range l.opts.Witnesses {
		if w.Newest() {
			continue
		}
		last, err := w.Last(ctx, l.origin)
		if err != nil {
			err = fmt.Errorf("%s: %w", w.Name(), err)
			l.stat.witnessErrors.Add(1)
			l.failed("witness checkpoint", err)
			return err
		}
		todo = append(todo, behind{w, last})
		s.floor = max(s.floor, last)
		low = min(low, last)
	}
	if len(todo) == 0 {
		return nil
	}
	dir := "v1/" + l.origin + "/cp/"
	err := l.store.List(ctx, dir, "", func(o bucket.ObjectInfo) error {
		size, ok := parseCheckpointKey(o.Key[len(dir):])
		if !ok || size <= low || size > s.tree.size && size > l.start {
			return nil
		}
		s.floor = max(s.floor, size)
		msg, err := l.store.Get(ctx, o.Key, maxNote)
		if err != nil {
			return err
		}
		// The copy on this host may have one whose put was not answered.
		if err := s.store(ctx, upload{key: o.Key, body: msg, opts: bucket.PutOptions{ContentType: typeNote, RetainUntil: l.retainUntil("")}}); err != nil {
			return err
		}
		for _, b := range todo {
			if size <= b.last {
				continue
			}
			if _, err := b.w.Add(ctx, msg, nil); err != nil {
				return fmt.Errorf("%s: %w", b.w.Name(), err)
			}
		}
		return nil
	})
	if errors.Is(err, bucket.ErrDenied) {
		l.log.Warn("The store can't be listed: older checkpoints are not given to the witnesses again", zap.Error(err))
		return nil
	}
	if err != nil {
		l.failed("witness checkpoint", err)
		return err
	}
	l.stat.ok("witness checkpoint")
	return nil
}
