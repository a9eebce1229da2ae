package ledger

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/claudeaudit/claudeaudit/internal/bucket"
)

var (
	// ErrNoLedger says that a folder holds no ledger.
	ErrNoLedger = errors.New("no ledger here")
	// ErrGap says that an entry below the log's size is in no segment and no
	// write-ahead file.
	ErrGap = errors.New("entries are missing")
)

// Reader reads a ledger, whether or not a writer runs in this or another
// process: sealed segments, then the durable entries of the write-ahead files.
// It is safe for concurrent use.
type Reader struct {
	store  bucket.Store
	walDir string // "" without write-ahead files

	mu      sync.Mutex
	streams map[string]*streamView
	seg     *segment // the last one read
	segKey  string
	items   map[Hash]cntItem // of the container read last
	cntKey  string
}

// streamView is what a Reader remembers of a stream.
type streamView struct {
	segs   []segName // by first sequence number
	last   string    // greatest key listed
	follow *walFollower
}

// walFollower is a place in a write-ahead file.
type walFollower struct {
	file *os.File
	r    *walReader
	last walPlace // before the last entry that was read: whoever follows begins with the one they know
}

// OpenReader opens a ledger's folder, or the folder of its store alone.
func OpenReader(dir string) (*Reader, error) {
	isDir := func(path string) (bool, error) {
		st, err := os.Stat(path)
		if errors.Is(err, fs.ErrNotExist) {
			return false, nil
		}
		return err == nil && st.IsDir(), err
	}
	wal, err := isDir(filepath.Join(dir, "wal"))
	if err != nil {
		return nil, fmt.Errorf("open ledger: %w", err)
	}
	store, err := isDir(filepath.Join(dir, "store"))
	if err != nil {
		return nil, fmt.Errorf("open ledger: %w", err)
	}
	bare, err := isDir(filepath.Join(dir, "v1"))
	if err != nil {
		return nil, fmt.Errorf("open ledger: %w", err)
	}
	switch {
	case wal:
		return NewReader(bucket.NewLocal(filepath.Join(dir, "store")), filepath.Join(dir, "wal")), nil
	case store:
		return NewReader(bucket.NewLocal(filepath.Join(dir, "store")), ""), nil
	case bare:
		return NewReader(bucket.NewLocal(dir), ""), nil
	}
	return nil, fmt.Errorf("open ledger: %s: %w: neither wal, store nor v1 is in it", dir, ErrNoLedger)
}

// NewReader reads a store and, unless it is "", a folder of write-ahead files.
func NewReader(store bucket.Store, walDir string) *Reader {
	return &Reader{store: store, walDir: walDir, streams: map[string]*streamView{}}
}

// Close closes the files that the reader keeps open.
func (r *Reader) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var err error
	for _, v := range r.streams {
		if v.follow != nil {
			err = errors.Join(err, v.follow.file.Close())
		}
	}
	r.streams = map[string]*streamView{}
	return err
}

// Streams returns the names of the ledger's streams, by base and epoch.
func (r *Reader) Streams() ([]string, error) {
	var out []string
	err := r.store.List(context.Background(), claimsDir, "", func(o bucket.ObjectInfo) error {
		if origin, ok := strings.CutSuffix(o.Key[len(claimsDir):], noteSuffix); ok {
			if _, _, err := splitOrigin(origin); err == nil {
				out = append(out, origin)
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list streams: %w", err)
	}
	sortOrigins(out)
	return out, nil
}

func sortOrigins(origins []string) {
	slices.SortFunc(origins, func(a, b string) int {
		ba, ea, _ := splitOrigin(a)
		bb, eb, _ := splitOrigin(b)
		if c := strings.Compare(ba, bb); c != 0 {
			return c
		}
		switch {
		case ea < eb:
			return -1
		case ea > eb:
			return 1
		}
		return strings.Compare(a, b)
	})
}

// Size returns how many entries of the stream can be read now.
func (r *Reader) Size(ctx context.Context, stream string) (uint64, error) {
	if n, ok := r.durable(stream); ok {
		return n, nil
	}
	if err := r.list(ctx, stream); err != nil {
		return 0, err
	}
	end := uint64(0)
	r.mu.Lock()
	if v := r.view(stream); len(v.segs) > 0 {
		end = v.segs[len(v.segs)-1].end()
	}
	r.mu.Unlock()
	first, _, err := r.First(ctx, stream)
	if err != nil {
		return 0, err
	}
	end = max(end, first)
	for {
		f, err := r.openWAL(stream, end)
		if err != nil || f == nil {
			return end, err
		}
		n, err := f.deliver(end, maxSeq, func(uint64, []byte) error { return nil })
		err = errors.Join(err, f.file.Close())
		if err != nil || n == end {
			return end, err
		}
		end = n
	}
}

// All calls fn with all entries of all streams, as Entries does.
func (r *Reader) All(ctx context.Context, fn func(p Place, line []byte) error) error {
	streams, err := r.Streams()
	if err != nil {
		return err
	}
	for _, s := range streams {
		if err := r.Entries(ctx, s, 0, func(seq uint64, line []byte) error { return fn(Place{s, seq}, line) }); err != nil {
			return err
		}
	}
	return nil
}

// Entries calls fn with the stream's entries from from on, in order, each once,
// up to what is durable; those that were removed at the end of their retention are left out. line is valid until fn returns. An error of fn ends
// the call and is returned.
func (r *Reader) Entries(ctx context.Context, stream string, from uint64, fn func(seq uint64, line []byte) error) error {
	next := from
	const (
		patience = 400 // tries of 5 ms to see a file that is just being replaced
		pause    = 5 * time.Millisecond
	)
	for misses := 0; ; {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("read ledger: %w", context.Cause(ctx))
		}
		durable, known := r.durable(stream)
		if known && next >= durable {
			return nil
		}
		at := next
		err := r.step(ctx, stream, &next, durable, known, fn)
		if err != nil && !errors.Is(err, errMoved) {
			return err
		}
		if next > at {
			misses = 0
			continue
		}
		if !known && err == nil {
			return nil
		}
		switch misses++; {
		case misses > patience:
			return fmt.Errorf("read ledger: %w: entry %d of %s, which has %d", ErrGap, next, stream, durable)
		case misses == patience/2:
			r.listAnew(stream) // a listing may have lacked it
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// errMoved says that a file vanished or changed between two steps: look again.
var errMoved = errors.New("moved")

// step delivers what one place has from *next on.
func (r *Reader) step(ctx context.Context, stream string, next *uint64, durable uint64, known bool, fn func(uint64, []byte) error) error {
	if n, ok := r.find(stream, *next); ok {
		return r.fromSegment(ctx, n, next, fn)
	}
	bound := uint64(maxSeq)
	if known {
		bound = durable
	}
	at := *next
	err := r.fromWAL(stream, next, bound, fn)
	if err != nil || *next > at {
		return err
	}
	if err := r.list(ctx, stream); err != nil {
		return err
	}
	if n, ok := r.find(stream, *next); ok {
		return r.fromSegment(ctx, n, next, fn)
	}
	*next, err = r.skip(ctx, stream, at)
	return err
}

func (r *Reader) view(stream string) *streamView {
	v := r.streams[stream]
	if v == nil {
		v = &streamView{}
		r.streams[stream] = v
	}
	return v
}

// find returns the known segment that holds an entry.
func (r *Reader) find(stream string, seq uint64) (segName, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	segs := r.view(stream).segs
	i := sort.Search(len(segs), func(i int) bool { return segs[i].end() > seq })
	if i == len(segs) || segs[i].first > seq {
		return segName{}, false
	}
	return segs[i], true
}

// listAnew has the next list learn of all segments again.
func (r *Reader) listAnew(stream string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	v := r.view(stream)
	v.segs, v.last = nil, ""
}

// list learns of segments stored since the last call.
func (r *Reader) list(ctx context.Context, stream string) error {
	if checkOrigin(stream) != nil {
		return fmt.Errorf("read ledger: invalid stream name %q", stream)
	}
	r.mu.Lock()
	after, next := r.view(stream).last, uint64(0)
	if segs := r.view(stream).segs; len(segs) > 0 {
		next = segs[len(segs)-1].end()
	}
	r.mu.Unlock()
	var fresh []segName
	err := eachSegment(ctx, r.store, stream, after, next, func(n segName) error {
		fresh = append(fresh, n)
		return nil
	})
	if err != nil {
		return fmt.Errorf("list segments: %w", err)
	}
	if len(fresh) == 0 {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	v := r.view(stream)
	if v.last != after {
		return nil // another call was faster
	}
	v.last = fresh[len(fresh)-1].key
	v.segs = append(v.segs, fresh...)
	slices.SortStableFunc(v.segs, func(a, b segName) int { return cmp.Compare(a.first, b.first) })
	return nil
}

func (r *Reader) segment(ctx context.Context, n segName) (*segment, error) {
	r.mu.Lock()
	if r.segKey == n.key && r.seg != nil {
		defer r.mu.Unlock()
		return r.seg, nil
	}
	r.mu.Unlock()
	b, err := r.store.Get(ctx, n.key, maxSegFile)
	if errors.Is(err, bucket.ErrNotFound) {
		r.forget(n.key)
		err = errors.Join(err, errMoved)
	}
	if err != nil {
		return nil, fmt.Errorf("read segment %s: %w", n.key, err)
	}
	seg, err := parseSegment(b)
	if err == nil && (seg.first != n.first || seg.count != n.count) {
		err = fmt.Errorf("%w: not what its name says", errSegment)
	}
	if err != nil {
		return nil, fmt.Errorf("read segment %s: %w", n.key, err)
	}
	r.mu.Lock()
	r.seg, r.segKey = seg, n.key
	r.mu.Unlock()
	return seg, nil
}

func (r *Reader) fromSegment(ctx context.Context, n segName, next *uint64, fn func(uint64, []byte) error) error {
	seg, err := r.segment(ctx, n)
	if err != nil {
		return err
	}
	return seg.lines(uint32(*next-n.first), func(_ uint32, line []byte) error {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("read ledger: %w", context.Cause(ctx))
		}
		if err := fn(*next, line); err != nil {
			return err
		}
		*next++
		return nil
	})
}

// durable returns how far the write-ahead files of the stream may be read.
func (r *Reader) durable(stream string) (uint64, bool) {
	if r.walDir == "" {
		return 0, false
	}
	b, err := readHead(r.walDir)
	if err != nil {
		return 0, false
	}
	n, mine, ok := parseHead(b, stream)
	return n, ok && mine
}

// readHead reads wal/durable, of which only the right length is accepted.
func readHead(walDir string) (b []byte, err error) {
	f, err := openRegular(filepath.Join(walDir, walDurable))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	b = make([]byte, headLen+1)
	n, err := io.ReadFull(f, b)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, err
	}
	return b[:n], nil
}

// openRegular opens a file, and does not wait for the other end of a pipe.
func openRegular(path string) (*os.File, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	return os.Open(path)
}

// fromWAL delivers from the write-ahead file that holds *next.
func (r *Reader) fromWAL(stream string, next *uint64, bound uint64, fn func(uint64, []byte) error) (err error) {
	if r.walDir == "" {
		return nil
	}
	r.mu.Lock()
	v := r.view(stream)
	f := v.follow
	v.follow = nil
	r.mu.Unlock()
	defer func() {
		if f == nil {
			return
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		if v := r.view(stream); v.follow == nil && err == nil {
			v.follow = f
			return
		}
		err = errors.Join(err, f.file.Close())
	}()
	at := *next
	if f != nil && f.seek(at) {
		if *next, err = f.deliver(at, bound, fn); err != nil || *next > at {
			return err
		}
	}
	if f != nil {
		err = f.file.Close()
		f = nil
		if err != nil {
			return err
		}
	}
	if f, err = r.openWAL(stream, at); err != nil || f == nil {
		return err
	}
	*next, err = f.deliver(at, bound, fn)
	return err
}

// openWAL opens the stream's write-ahead file that may hold an entry, nil if there is none.
func (r *Reader) openWAL(stream string, seq uint64) (*walFollower, error) {
	if r.walDir == "" {
		return nil, nil
	}
	entries, err := os.ReadDir(r.walDir)
	if err != nil {
		return nil, fmt.Errorf("list write-ahead files: %w", err)
	}
	// The newest that begins at or before the entry. Files of another stream
	// may lie beside for a moment when an epoch ends.
	for _, e := range slices.Backward(entries) {
		first, ok := parseWalName(e.Name())
		if !ok || first > seq {
			continue
		}
		f, err := openRegular(filepath.Join(r.walDir, e.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			return nil, errMoved
		}
		if err != nil {
			return nil, fmt.Errorf("open write-ahead file: %w", err)
		}
		wr, err := newWalReader(f)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("write-ahead file %s: %w", e.Name(), err), f.Close())
		}
		if wr.header.Origin == stream {
			return &walFollower{file: f, r: wr}, nil
		}
		if err := f.Close(); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// seek says whether entries from seq on can be read from here.
func (f *walFollower) seek(seq uint64) bool {
	if f.last.pos > 0 && f.last.next == seq {
		f.r.walPlace = f.last
	}
	return f.r.next <= seq
}

// deliver calls fn with the file's entries in [from, bound) and returns the
// next sequence number.
func (f *walFollower) deliver(from, bound uint64, fn func(uint64, []byte) error) (uint64, error) {
	next := from
	// What was read ahead of bound may be cut off and written anew.
	defer func() { f.r.buf = f.r.buf[:0] }()
	for f.r.next < bound {
		before := f.r.walPlace
		e, err := f.r.read()
		if errors.Is(err, io.EOF) || errors.Is(err, errTorn) {
			return next, nil
		}
		if err != nil {
			if f.r.next < bound && bound != maxSeq {
				return next, fmt.Errorf("%w: write-ahead file: %w", ErrDamaged, err)
			}
			return next, nil // the tail that a crash left
		}
		f.last = before
		if e.seq < from {
			continue
		}
		if err := fn(e.seq, e.line); err != nil {
			return next, err
		}
		next = e.seq + 1
	}
	return next, nil
}

// Tail calls fn with the stream's last n entries that are durable at the call.
func (r *Reader) Tail(ctx context.Context, stream string, n uint64, fn func(seq uint64, line []byte) error) error {
	size, err := r.Size(ctx, stream)
	if err != nil {
		return err
	}
	return r.Entries(ctx, stream, size-min(n, size), fn)
}

// Entry returns a copy of one entry's line; bucket.ErrNotFound if the stream is
// shorter, ErrPruned if the entry was removed.
func (r *Reader) Entry(ctx context.Context, stream string, seq uint64) ([]byte, error) {
	var out []byte
	err := r.Entries(ctx, stream, seq, func(at uint64, line []byte) error {
		if at != seq {
			return fmt.Errorf("read ledger: entry %d of %s: %w", seq, stream, ErrPruned)
		}
		out = append([]byte(nil), line...)
		return errStop
	})
	if err != nil && !errors.Is(err, errStop) {
		return nil, err
	}
	if out == nil {
		return nil, fmt.Errorf("read ledger: %w: entry %d of %s", bucket.ErrNotFound, seq, stream)
	}
	return out, nil
}

// ObjectsOf returns the keys of the objects that have a sealed entry: its segment
// and the containers of its content. An entry that is not sealed has none yet.
func (r *Reader) ObjectsOf(ctx context.Context, stream string, seq uint64) ([]string, error) {
	n, ok := r.find(stream, seq)
	if !ok {
		if err := r.list(ctx, stream); err != nil {
			return nil, err
		}
		if n, ok = r.find(stream, seq); !ok {
			return nil, nil
		}
	}
	seg, err := r.segment(ctx, n)
	if err != nil {
		return nil, err
	}
	out := []string{n.key}
	for _, ref := range seg.refs {
		if ref.line != uint32(seq-n.first) {
			continue
		}
		key := "v1/" + stream + "/cnt/" + cntName(seg.containers[ref.container], seg.first, seg.hour)
		if !slices.Contains(out, key) {
			out = append(out, key)
		}
	}
	return out, nil
}

// ContentOf returns the sealed content with that hex SHA-256 that came with an
// entry; bucket.ErrNotFound if it is not there, for instance deleted.
func (r *Reader) ContentOf(ctx context.Context, stream string, seq uint64, sha256hex string) ([]byte, error) {
	sha, err := parseSHA(sha256hex)
	if err != nil {
		return nil, err
	}
	for range 3 {
		n, ok := r.find(stream, seq)
		if !ok {
			if err := r.list(ctx, stream); err != nil {
				return nil, err
			}
			n, ok = r.find(stream, seq)
		}
		if ok {
			return r.sealedContent(ctx, stream, n, uint32(seq-n.first), sha)
		}
		c, err := r.walContent(stream, sha)
		if err == nil || !errors.Is(err, bucket.ErrNotFound) && !errors.Is(err, errMoved) {
			return c, err
		}
	}
	return nil, fmt.Errorf("read content: %w", bucket.ErrNotFound)
}

func parseSHA(s string) (h Hash, err error) {
	if len(s) != 64 || !decodeHex(h[:], []byte(s)) {
		return h, errors.New("content address must be 64 lower-case hex digits")
	}
	return h, nil
}

func (r *Reader) sealedContent(ctx context.Context, stream string, n segName, line uint32, sha Hash) ([]byte, error) {
	seg, err := r.segment(ctx, n)
	if err != nil {
		return nil, err
	}
	for _, ref := range seg.refs {
		if ref.line == line && ref.sha == sha {
			c := seg.containers[ref.container]
			return r.fromContainer(ctx, "v1/"+stream+"/cnt/"+cntName(c, seg.first, seg.hour), int64(c.size), sha)
		}
	}
	return nil, fmt.Errorf("read content: %w", bucket.ErrNotFound)
}

// fromContainer reads one content and checks its hash.
func (r *Reader) fromContainer(ctx context.Context, key string, size int64, sha Hash) ([]byte, error) {
	items, err := r.contents(ctx, key, size)
	if err != nil {
		return nil, fmt.Errorf("read content container %s: %w", key, err)
	}
	it, ok := items[sha]
	if !ok {
		return nil, fmt.Errorf("read content: %w", bucket.ErrNotFound)
	}
	b, err := r.store.GetRange(ctx, key, int64(it.offset), int64(it.length))
	if err != nil {
		return nil, fmt.Errorf("read content container %s: %w", key, err)
	}
	if sha256.Sum256(b) != sha {
		return nil, fmt.Errorf("read content container %s: %w: the content's hash differs", key, errContainer)
	}
	return b, nil
}

// contents returns what a container has. The last one read is remembered, so that reading all
// of it reads its index once.
func (r *Reader) contents(ctx context.Context, key string, size int64) (map[Hash]cntItem, error) {
	r.mu.Lock()
	if r.cntKey == key && r.items != nil {
		defer r.mu.Unlock()
		return r.items, nil
	}
	r.mu.Unlock()
	c, err := readContainer(ctx, r.store, key, size)
	if err != nil {
		return nil, err
	}
	items := make(map[Hash]cntItem, len(c.items))
	for _, it := range c.items {
		items[it.sha] = it
	}
	r.mu.Lock()
	r.items, r.cntKey = items, key
	r.mu.Unlock()
	return items, nil
}

// readContainer reads a container's index.
func readContainer(ctx context.Context, store bucket.Store, key string, size int64) (*container, error) {
	if size < int64(cntTrailerLen) {
		return nil, fmt.Errorf("%w: length", errContainer)
	}
	tail, err := store.GetRange(ctx, key, size-int64(cntTrailerLen), int64(cntTrailerLen))
	if err != nil {
		return nil, err
	}
	at, err := cntIndexAt(tail, size)
	if err != nil {
		return nil, err
	}
	index, err := store.GetRange(ctx, key, at, size-at)
	if err != nil {
		return nil, err
	}
	return parseContainer(index, at)
}

// walContent looks for a content in the stream's write-ahead files.
func (r *Reader) walContent(stream string, sha Hash) ([]byte, error) {
	if r.walDir == "" {
		return nil, bucket.ErrNotFound
	}
	entries, err := os.ReadDir(r.walDir)
	if err != nil {
		return nil, fmt.Errorf("list write-ahead files: %w", err)
	}
	for _, e := range slices.Backward(entries) {
		if _, ok := parseWalName(e.Name()); !ok {
			continue
		}
		c, err := findInWAL(filepath.Join(r.walDir, e.Name()), stream, sha)
		if err == nil || !errors.Is(err, bucket.ErrNotFound) {
			return c, err
		}
	}
	return nil, bucket.ErrNotFound
}

func findInWAL(path, stream string, sha Hash) (found []byte, err error) {
	f, err := openRegular(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errMoved
	}
	if err != nil {
		return nil, fmt.Errorf("open write-ahead file: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	wr, err := newWalReader(f)
	if err != nil {
		return nil, fmt.Errorf("write-ahead file %s: %w", filepath.Base(path), err)
	}
	if stream != "" && wr.header.Origin != stream {
		return nil, bucket.ErrNotFound
	}
	for {
		e, err := wr.read()
		if err != nil { // what follows is not whole, and not acknowledged
			return nil, bucket.ErrNotFound
		}
		for _, c := range e.contents {
			if sha256.Sum256(c) == sha {
				return slices.Clone(c), nil
			}
		}
	}
}

// Content returns a sealed content by its hex SHA-256 alone: it searches the
// write-ahead files, then every container, the newest first. ContentOf is
// faster where the entry is known.
func (r *Reader) Content(sha256hex string) ([]byte, error) {
	ctx := context.Background()
	sha, err := parseSHA(sha256hex)
	if err != nil {
		return nil, err
	}
	if c, err := r.walContent("", sha); err == nil || !errors.Is(err, bucket.ErrNotFound) && !errors.Is(err, errMoved) {
		return c, err
	}
	streams, err := r.Streams()
	if err != nil {
		return nil, err
	}
	for _, stream := range slices.Backward(streams) {
		var found []bucket.ObjectInfo
		dir := "v1/" + stream + "/cnt/"
		if err := r.store.List(ctx, dir, "", func(o bucket.ObjectInfo) error {
			if _, _, ok := parseCntKey(o.Key[len(dir):]); ok {
				found = append(found, o)
			}
			return nil
		}); err != nil {
			return nil, fmt.Errorf("list content: %w", err)
		}
		for _, o := range slices.Backward(found) {
			c, err := r.fromContainer(ctx, o.Key, o.Size, sha)
			if err == nil || !errors.Is(err, bucket.ErrNotFound) {
				return c, err
			}
		}
	}
	return nil, fmt.Errorf("read content: %w: %s", bucket.ErrNotFound, hex.EncodeToString(sha[:4])+"…")
}
