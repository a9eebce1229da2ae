package ledger

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"
	"golang.org/x/mod/sumdb/note"

	"github.com/claudeaudit/claudeaudit/internal/bucket"
	"github.com/claudeaudit/claudeaudit/internal/durable"
)

// Open recovers the folder's log and starts its writer. A torn tail is cut off
// (kept beside as wal/cut-….bin) and reported; everything acknowledged is there
// or the error is ErrDamaged. ErrLocked if another writer has the folder.
//
// A log goes on under its name as long as the write-ahead folder is intact and
// the key the same; otherwise a new epoch begins, whose claim names the head of
// the one before. Only then the store has to answer for Open to succeed.
func Open(ctx context.Context, opts Options) (*Log, error) {
	if err := opts.setDefaults(); err != nil {
		return nil, err
	}
	l := &Log{
		opts: opts, log: opts.Logger, store: opts.Store,
		room: make(chan struct{}), notify: make(chan struct{}),
		wake: make(chan struct{}, 1), gathered: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{}),
		win: newWindow(opts.DedupEntries, opts.DedupAge), timer: time.NewTimer(maxGather),
	}
	if l.store == nil {
		l.store = bucket.NewLocal(filepath.Join(opts.Dir, "store"))
	}
	if err := l.open(ctx); err != nil {
		return nil, fmt.Errorf("open ledger %s: %w", opts.Dir, errors.Join(err, l.release()))
	}
	go l.run()
	return l, nil
}

// release closes what open opened.
func (l *Log) release() error {
	var err error
	for _, f := range []*os.File{l.head, l.lock} {
		if f != nil {
			err = errors.Join(err, f.Close())
		}
	}
	return err
}

func (l *Log) open(ctx context.Context) (err error) {
	v, err := note.NewVerifier(l.opts.VerifierKey)
	if err != nil {
		return err
	}
	l.verifiers = note.VerifierList(v)
	if err := durable.MkdirAll(l.walDir()); err != nil {
		return fmt.Errorf("make write-ahead folder: %w", err)
	}
	if l.lock, err = os.OpenFile(filepath.Join(l.opts.Dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return fmt.Errorf("lock: %w", err)
	}
	if err := lockFile(l.lock); err != nil {
		return fmt.Errorf("lock: %w", err)
	}
	if l.head, err = os.OpenFile(filepath.Join(l.walDir(), walDurable), os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return fmt.Errorf("open count of durable entries: %w", err)
	}

	found, err := l.loadParts()
	if err != nil {
		return err
	}
	var open []*part
	defer func() {
		if err != nil {
			for _, p := range open {
				err = errors.Join(err, p.file.Close())
			}
		}
	}()
	for _, s := range found {
		open = append(open, s...)
	}
	var header walHeader
	var parts []*part // of the current stream, with entries
	if len(found) > 0 {
		parts = found[len(found)-1]
		header = parts[len(parts)-1].header
		l.setOrigin(header.Origin)
		if err := l.fillWindow(ctx, parts[0]); err != nil {
			l.log.Warn("Redeliveries of sealed entries may be appended again: the dedup window could not be rebuilt from the store", zap.Error(err))
		}
		if err := l.recover(parts); err != nil {
			return err
		}
	}
	why := l.epochEnds(ctx, header)
	if why != "" {
		if len(found) > 0 {
			l.log.Warn("A new epoch of the log begins", zap.String("reason", why), zap.String("previous", l.origin), zap.Uint64("entries", l.tree.size))
		}
		if header, err = l.newEpoch(ctx, found); err != nil {
			return fmt.Errorf("begin a new epoch: %w", err)
		}
		parts = nil
	} else {
		// Streams before this one are sealed; a crash left their files.
		if err := l.retire(ctx, found[:len(found)-1]); err != nil {
			return err
		}
	}

	header.Hour = maxTime(header.Hour, l.opts.hooks.now().UTC().Truncate(time.Hour))
	header.setEdge(l.tree, l.treePrev)
	if l.part, err = l.createPart(header); err != nil {
		return err
	}
	open = append(open, l.part)
	l.publish(l.tree.size)
	if why != "" {
		if err := l.retire(ctx, found); err != nil {
			return err
		}
	}

	first, firstPrev := l.tree.clone(), l.treePrev
	var queue []*part
	for i, p := range parts {
		if i == 0 {
			if first, firstPrev, err = p.header.edge(); err != nil {
				return err
			}
		}
		if p.count() == 0 {
			if p.path == l.part.path {
				err = p.file.Close() // replaced by the new one
			} else {
				err = l.removePart(p)
			}
			if err != nil {
				return err
			}
			continue
		}
		queue = append(queue, p)
		l.spool += p.size
	}
	l.spool += l.part.size
	l.start = l.tree.size
	l.next, l.prev, l.durable = l.tree.size, l.treePrev, l.tree.size
	l.cur = &batch{first: l.next, done: make(chan struct{})}
	l.seal.start(l, first, firstPrev, queue)
	return nil
}

func (l *Log) setOrigin(origin string) {
	l.origin, l.prefix = origin, linePrefix(origin)
}

// loadParts opens the write-ahead files, by stream in the order in which the
// streams follow each other, and within one by sequence number.
func (l *Log) loadParts() (streams [][]*part, err error) {
	entries, err := os.ReadDir(l.walDir())
	if err != nil {
		return nil, fmt.Errorf("list write-ahead files: %w", err)
	}
	var all []*part
	defer func() {
		if err != nil {
			for _, p := range all {
				err = errors.Join(err, p.file.Close())
			}
		}
	}()
	for _, e := range entries {
		path := filepath.Join(l.walDir(), e.Name())
		if strings.HasSuffix(e.Name(), walSuffix+".tmp") {
			if err := os.Remove(path); err != nil {
				return nil, fmt.Errorf("remove unfinished write-ahead file: %w", err)
			}
			continue
		}
		first, ok := parseWalName(e.Name())
		if !ok {
			continue
		}
		p := &part{path: path}
		if p.file, err = os.OpenFile(path, os.O_RDWR, 0); err != nil {
			return nil, fmt.Errorf("open write-ahead file: %w", err)
		}
		all = append(all, p)
		r, err := newWalReader(p.file)
		if err != nil {
			// A file gets its name only when its header is durable.
			return nil, fmt.Errorf("%w: header of write-ahead file %s: %w", ErrDamaged, e.Name(), err)
		}
		if r.header.First != first {
			return nil, fmt.Errorf("%w: write-ahead file %s begins at entry %d", ErrDamaged, e.Name(), r.header.First)
		}
		p.header, p.id, p.end = r.header, r.id, first
	}
	byOrigin := map[string][]*part{}
	followed := map[string]string{} // by which stream
	for _, p := range all {
		o := p.header.Origin
		byOrigin[o] = append(byOrigin[o], p)
		if p.header.After != "" {
			followed[p.header.After] = o
		}
	}
	// The one that nothing follows is the last.
	for len(byOrigin) > 0 {
		last := ""
		for o := range byOrigin {
			if next := followed[o]; byOrigin[next] == nil {
				if last != "" {
					return nil, fmt.Errorf("%w: write-ahead files of unrelated logs %q and %q", ErrDamaged, last, o)
				}
				last = o
			}
		}
		if last == "" {
			return nil, fmt.Errorf("%w: write-ahead files follow each other in a circle", ErrDamaged)
		}
		streams = append(streams, byOrigin[last])
		delete(byOrigin, last)
	}
	slices.Reverse(streams)
	return streams, nil
}

// recover reads the stream's parts, cuts a torn tail, and sets the log's head
// and window from them.
func (l *Log) recover(parts []*part) error {
	var err error
	if l.tree, l.treePrev, err = parts[0].header.edge(); err != nil {
		return fmt.Errorf("%w: header of write-ahead file: %w", ErrDamaged, err)
	}
	now := l.opts.hooks.now()
	for i, p := range parts {
		name := filepath.Base(p.path)
		limit, last := uint64(maxSeq), i == len(parts)-1
		if !last {
			limit = parts[i+1].header.First
		}
		if e, prev, err := p.header.edge(); err != nil || prev != l.treePrev || !slices.Equal(e.nodes, l.tree.nodes) || e.size != l.tree.size {
			return fmt.Errorf("%w: write-ahead file %s does not continue the one before", ErrDamaged, name)
		}
		r, err := scanPart(p.file, func(e *walEntry) error {
			if e.seq >= limit { // left by a write that failed
				return errStop
			}
			prev, seq, _, err := splitLine(e.line, l.prefix)
			if err != nil || prev != l.treePrev || seq != e.seq {
				return fmt.Errorf("%w: entry %d in %s does not continue the chain", ErrDamaged, e.seq, name)
			}
			l.treePrev = sha256.Sum256(e.leafed)
			l.tree.add(l.treePrev)
			_, _, revision, _ := observation(e.line)
			l.win.add(e.id, e.digest, e.seq+1, revision, now)
			p.end, p.size = e.seq+1, e.end
			p.lines += int64(len(e.line)) + 1
			return nil
		})
		if r == nil {
			return fmt.Errorf("write-ahead file %s: %w", name, err)
		}
		if p.count() == 0 {
			p.size = r.start
		}
		switch {
		case err == nil || errors.Is(err, errStop):
		case errors.Is(err, errTorn), errors.Is(err, errDamaged):
			if !last {
				if p.end == limit {
					break
				}
				return fmt.Errorf("%w: write-ahead file %s: %w; restore it from a copy", ErrDamaged, name, err)
			}
			if errors.Is(err, errDamaged) {
				more, ferr := r.followed()
				if ferr != nil {
					return ferr
				}
				if more {
					return fmt.Errorf("%w: write-ahead file %s: %w, and synced entries follow; restore it from a copy", ErrDamaged, name, err)
				}
			}
			if err := l.checkHead(); err != nil {
				return err
			}
			if err := l.cut(p, err); err != nil {
				return err
			}
		default:
			return fmt.Errorf("write-ahead file %s: %w", name, err)
		}
		if !last && p.end != limit {
			return fmt.Errorf("%w: write-ahead file %s ends at entry %d, the next begins at %d", ErrDamaged, name, p.end, limit)
		}
	}
	return l.checkHead()
}

// checkHead compares what was read with what was acknowledged.
func (l *Log) checkHead() error {
	b := make([]byte, headLen+1)
	n, err := l.head.ReadAt(b, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read count of durable entries: %w", err)
	}
	if acked, mine, ok := parseHead(b[:n], l.origin); ok && mine && acked > l.tree.size {
		return fmt.Errorf("%w: entries %d to %d were acknowledged and are not in the write-ahead files; restore them from a copy, or remove wal/%s to go on without them",
			ErrDamaged, l.tree.size, acked-1, walDurable)
	}
	return nil
}

// cut removes what follows the last whole entry of a part, and keeps it beside.
func (l *Log) cut(p *part, why error) error {
	st, err := p.file.Stat()
	if err != nil {
		return fmt.Errorf("cut torn tail: %w", err)
	}
	n := st.Size() - p.size
	tail := make([]byte, min(n, maxCall))
	if _, err := p.file.ReadAt(tail, p.size); err != nil {
		return fmt.Errorf("read torn tail: %w", err)
	}
	name := walCut + strconv.FormatUint(p.end, 10) + "-" + strconv.FormatInt(l.opts.hooks.now().UnixNano(), 10) + ".bin"
	if err := os.WriteFile(filepath.Join(l.walDir(), name), tail, 0o600); err != nil {
		return fmt.Errorf("keep torn tail: %w", err)
	}
	if err := l.pruneCuts(); err != nil {
		return err
	}
	if err := p.file.Truncate(p.size); err != nil {
		return fmt.Errorf("cut torn tail: %w", err)
	}
	if err := p.file.Sync(); err != nil {
		return fmt.Errorf("cut torn tail: %w", err)
	}
	l.stat.torn.Add(n)
	l.log.Warn("Cut the torn tail of the write-ahead file: an entry that was never acknowledged was not written whole",
		zap.String("file", filepath.Base(p.path)), zap.Uint64("next_entry", p.end), zap.Int64("bytes", n), zap.String("kept_as", name), zap.NamedError("reason", why))
	return nil
}

// pruneCuts keeps the newest torn tails.
func (l *Log) pruneCuts() error {
	const keep = 16
	names, err := filepath.Glob(filepath.Join(l.walDir(), walCut+"*.bin"))
	if err != nil {
		return err
	}
	stamp := func(name string) string { return name[strings.LastIndexByte(name, '-')+1:] }
	slices.SortFunc(names, func(a, b string) int { return strings.Compare(stamp(a), stamp(b)) })
	for _, name := range names[:max(0, len(names)-keep)] {
		if err := os.Remove(name); err != nil {
			return fmt.Errorf("remove old torn tail: %w", err)
		}
	}
	return nil
}

// epochEnds says why the stream of the write-ahead files can't go on, "" if it can.
func (l *Log) epochEnds(ctx context.Context, h walHeader) string {
	if h.Origin == "" {
		return "no state"
	}
	base, _, err := splitOrigin(h.Origin)
	if err != nil {
		return "no epoch in its name"
	}
	switch {
	case h.Key != l.opts.VerifierKey:
		return "another key"
	case l.opts.Origin != "" && l.opts.Origin != base:
		return "another name"
	}
	// A folder restored from an older copy must not write the same numbers again.
	ctx, cancel := context.WithTimeout(ctx, l.opts.StoreTimeout)
	defer cancel()
	newest, err := l.newestCheckpoint(ctx, h.Origin, h.Hour)
	if err != nil {
		l.log.Warn("Not checked whether the store is ahead of the write-ahead files", zap.Error(err))
	}
	if newest.Size > l.tree.size {
		return "the store holds later entries: the folder was restored from an older copy"
	}
	for _, w := range l.opts.Witnesses {
		size, err := w.Last(ctx, h.Origin)
		if err != nil {
			l.log.Warn("Not checked whether a witness is ahead of the write-ahead files", zap.String("witness", w.Name()), zap.Error(err))
		}
		if size > l.tree.size {
			return "a witness holds later checkpoints: the folder was restored from an older copy"
		}
	}
	return ""
}

// newestCheckpoint returns the stored checkpoint of the greatest size from the
// day of since on; the zero Checkpoint if there is none.
func (l *Log) newestCheckpoint(ctx context.Context, origin string, since time.Time) (Checkpoint, error) {
	dir := "v1/" + origin + "/cp/"
	after := dir
	if !since.IsZero() {
		after += dayPath(since)
	}
	var key string
	var size uint64
	err := l.store.List(ctx, dir, after, func(o bucket.ObjectInfo) error {
		if n, ok := parseCheckpointKey(o.Key[len(dir):]); ok && (key == "" || n > size) {
			key, size = o.Key, n
		}
		return nil
	})
	if err != nil || key == "" {
		return Checkpoint{}, err
	}
	msg, err := l.store.Get(ctx, key, maxNote)
	if err != nil {
		return Checkpoint{}, err
	}
	text, _, _ := strings.Cut(string(msg), "\n\n")
	c, err := parseCheckpointText(text + "\n")
	if err == nil && (c.Size != size || c.Origin != origin) {
		err = fmt.Errorf("%w: %s holds another", errCheckpoint, key)
	}
	return c, err
}

// newEpoch seals what the folder holds of the last stream, stores the claim of
// the next one and returns its first header.
func (l *Log) newEpoch(ctx context.Context, found [][]*part) (walHeader, error) {
	h := walHeader{Key: l.opts.VerifierKey, Instance: l.opts.Instance}
	var prev Checkpoint
	base := l.opts.Origin
	if l.origin != "" {
		if err := l.sealOld(ctx, found[len(found)-1]); err != nil {
			return h, err
		}
		prev = Checkpoint{Origin: l.origin, Size: l.tree.size, Root: l.tree.root()}
		h.After = l.origin
		if base == "" {
			var err error
			if base, _, err = splitOrigin(l.origin); err != nil {
				return h, err
			}
		}
	}
	base, epoch, last, err := l.nextEpoch(ctx, base)
	if err != nil {
		return h, err
	}
	if prev.Origin == "" && last != "" {
		if prev, err = l.newestCheckpoint(ctx, last, time.Time{}); err != nil {
			return h, fmt.Errorf("head of %s: %w", last, err)
		}
		if prev.Origin == "" {
			prev = Checkpoint{Origin: last, Root: (&edge{}).root()}
		}
	}
	for ; ; epoch++ {
		c := Claim{
			Origin: base + "/" + strconv.FormatUint(epoch, 10), VerifierKey: l.opts.VerifierKey, Instance: l.opts.Instance,
			Created: l.opts.hooks.now().UTC().Truncate(time.Second), Previous: prev,
		}
		if err := checkOrigin(c.Origin); err != nil {
			return h, err
		}
		msg, err := signNote(ctx, c.text(), l.opts.Signer)
		if err != nil {
			return h, fmt.Errorf("sign claim: %w", err)
		}
		put, cancel := context.WithTimeout(ctx, l.opts.StoreTimeout)
		err = l.store.Put(put, claimKey(c.Origin), msg, bucket.PutOptions{ContentType: typeNote, RetainUntil: l.retainUntil("")})
		cancel()
		if errors.Is(err, bucket.ErrExists) || errors.Is(err, bucket.ErrUnread) {
			continue // another writer's
		}
		if err != nil {
			return h, fmt.Errorf("store claim: %w", err)
		}
		l.setOrigin(c.Origin)
		h.Origin = c.Origin
		l.tree, l.treePrev = edge{}, originHash(c.Origin, c.VerifierKey)
		l.win.settle()
		for _, p := range found {
			for _, q := range p {
				h.Hour = maxTime(h.Hour, q.header.Hour)
			}
		}
		return h, nil
	}
}

// nextEpoch returns the base, the first epoch that may be free, and the last stream of the base.
func (l *Log) nextEpoch(ctx context.Context, base string) (string, uint64, string, error) {
	ctx, cancel := context.WithTimeout(ctx, l.opts.StoreTimeout)
	defer cancel()
	_, own := l.store.(*bucket.Local)
	if base == "" && !own {
		// Others may write to the same store: their logs are not ours to continue.
		base, err := randomBase()
		return base, 1, "", err
	}
	var epoch uint64
	last := ""
	err := l.store.List(ctx, claimsDir, "", func(o bucket.ObjectInfo) error {
		origin, ok := strings.CutSuffix(o.Key[len(claimsDir):], noteSuffix)
		b, n, err := splitOrigin(origin)
		if !ok || err != nil || base != "" && b != base {
			return nil
		}
		if last == "" || n > epoch {
			base, epoch, last = b, n, origin
		}
		return nil
	})
	if errors.Is(err, bucket.ErrDenied) {
		err = nil // each claim is tried until one is free
	}
	if err != nil {
		return "", 0, "", fmt.Errorf("list claims: %w", err)
	}
	if base == "" {
		base, err = randomBase()
	}
	return base, epoch + 1, last, err
}

func randomBase() (string, error) {
	var id [8]byte
	if _, err := rand.Read(id[:]); err != nil {
		return "", fmt.Errorf("name log: %w", err)
	}
	return fmt.Sprintf("claudeaudit/%x", id), nil
}

// sealOld stores the objects of a stream that does not go on. No checkpoint is
// signed for it: the next stream's claim names its head.
func (l *Log) sealOld(ctx context.Context, parts []*part) error {
	if len(parts) == 0 {
		return nil
	}
	tree, prev, err := parts[0].header.edge()
	if err != nil {
		return err
	}
	old := &Log{opts: l.opts, log: l.log, store: l.store, origin: parts[0].header.Origin}
	old.prefix = linePrefix(old.origin)
	s := &sealer{l: old, tree: tree, prev: prev}
	for _, p := range parts {
		if p.count() == 0 {
			continue
		}
		if err := s.sealPart(ctx, p); err != nil {
			return fmt.Errorf("seal the log before: %w", err)
		}
	}
	return nil
}

// retire deletes the files of streams that ended, which are sealed.
func (l *Log) retire(_ context.Context, streams [][]*part) error {
	for _, parts := range streams {
		for _, p := range parts {
			if err := l.removePart(p); err != nil {
				return fmt.Errorf("delete write-ahead file: %w", err)
			}
		}
	}
	return nil
}

// fillWindow reads the observations of the last sealed entries before p.
func (l *Log) fillWindow(ctx context.Context, p *part) error {
	ctx, cancel := context.WithTimeout(ctx, l.opts.StoreTimeout)
	defer cancel()
	now := l.opts.hooks.now()
	var names []segName
	err := eachSegment(ctx, l.store, l.origin, "v1/"+l.origin+"/seg/"+hourPath(now.Add(-l.opts.DedupAge)), 0, func(n segName) error {
		if n.first < p.header.First {
			names = append(names, n)
		}
		return nil
	})
	if err != nil {
		return err
	}
	have := uint64(0)
	from := len(names)
	for from > 0 && have < uint64(l.opts.DedupEntries) {
		from--
		have += uint64(names[from].count)
	}
	for _, n := range names[from:] {
		b, err := l.store.Get(ctx, n.key, maxSegFile)
		if err != nil {
			return err
		}
		seg, err := parseSegment(b)
		if err != nil {
			return err
		}
		at := n.hour.Add(time.Hour)
		if at.After(now) {
			at = now
		}
		if err := seg.lines(0, func(i uint32, line []byte) error {
			if id, digest, rev, ok := observation(line); ok {
				l.win.add(id, digest, n.first+uint64(i)+1, rev, at)
			}
			return nil
		}); err != nil {
			return err
		}
	}
	return nil
}
