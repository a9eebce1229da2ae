package bucket

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/claudeaudit/claudeaudit/internal/durable"
)

const (
	// tempDir holds files that are being written.
	tempDir = ".tmp"
	// locksDir holds the locks of the objects that have one, as JSON files of their names.
	locksDir = ".locks"
	// staleTemp is how old a file there must be to count as left by a crash.
	staleTemp = time.Hour
)

// Local keeps objects as read-only files under a folder. It refuses to
// overwrite them and to delete a locked one, but whoever owns the folder can:
// only checkpoints elsewhere tell then.
type Local struct {
	root  string
	clean sync.Once
	locks sync.Mutex
}

var _ Store = (*Local)(nil)

// NewLocal uses the folder root, which is made when first written to.
func NewLocal(root string) *Local {
	return &Local{root: filepath.Clean(root)}
}

// URL is the folder's path.
func (s *Local) URL() string { return s.root }

// Close does nothing.
func (s *Local) Close() error { return nil }

// Settings says that a folder locks nothing.
func (s *Local) Settings(context.Context) (Settings, error) {
	return Settings{Lock: None, Versioning: None}, nil
}

// Root is the store's folder.
func (s *Local) Root() string { return s.root }

func (s *Local) path(key string) (string, error) {
	if err := checkKey(key); err != nil {
		return "", err
	}
	return filepath.Join(s.root, filepath.FromSlash(key)), nil
}

// Put implements Store.
func (s *Local) Put(ctx context.Context, key string, body []byte, opts PutOptions) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	path, err := s.path(key)
	if err != nil {
		return err
	}
	if opts.Hold || !opts.RetainUntil.IsZero() {
		// Before the object, so that no crash leaves it without.
		if err := s.changeLock(key, func(l *Lock) {
			l.RetainUntil = maxTime(l.RetainUntil, wholeSeconds(opts.RetainUntil))
			l.Hold = l.Hold || opts.Hold
		}); err != nil {
			return err
		}
	}
	if err := s.same(path, body); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	err = s.write(path, body)
	if errors.Is(err, fs.ErrExist) {
		return s.same(path, body)
	}
	return err
}

func maxTime(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// write creates a read-only file, durable with its name; fs.ErrExist.
func (s *Local) write(path string, body []byte) error {
	return s.place(path, body, func(tmp string) error {
		// A hard link fails when the name exists, a rename would replace it.
		err := os.Link(tmp, path)
		if errors.Is(err, errors.ErrUnsupported) || errors.Is(err, fs.ErrPermission) {
			// A filesystem without hard links. The writer's lock keeps others out.
			err = os.Rename(tmp, path)
		}
		return err
	})
}

// place writes a file and gives it its name.
func (s *Local) place(path string, body []byte, name func(tmp string) error) error {
	dir := filepath.Dir(path)
	temps := filepath.Join(s.root, tempDir)
	for _, d := range []string{dir, temps} {
		if err := durable.MkdirAll(d); err != nil {
			return fmt.Errorf("make folder for object: %w", err)
		}
	}
	var err error
	s.clean.Do(func() { err = removeStale(temps) })
	if err != nil {
		return err
	}
	tmp, err := os.CreateTemp(temps, "put-")
	if err != nil {
		return fmt.Errorf("create object: %w", err)
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(body)
	if err == nil {
		err = tmp.Chmod(0o444)
	}
	if err == nil {
		err = tmp.Sync()
	}
	if err = errors.Join(err, tmp.Close()); err != nil {
		return fmt.Errorf("write object: %w", err)
	}
	if err := name(tmp.Name()); err != nil {
		return fmt.Errorf("name object: %w", err)
	}
	if err := durable.SyncDir(dir); err != nil {
		return fmt.Errorf("sync folder of object: %w", err)
	}
	return nil
}

// localLock is a lock's file.
type localLock struct {
	RetainUntil time.Time `json:"retain_until,omitzero"`
	Hold        bool      `json:"legal_hold,omitempty"`
}

// maxLockFile bounds what is read of a lock's file.
const maxLockFile = 4096

func (s *Local) lockPath(key string) (string, error) {
	if err := checkKey(key); err != nil {
		return "", err
	}
	return filepath.Join(s.root, locksDir, filepath.FromSlash(key)+".json"), nil
}

func (s *Local) readLock(key string) (Lock, error) {
	path, err := s.lockPath(key)
	if err != nil {
		return Lock{}, err
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Lock{}, nil
	}
	if err != nil {
		return Lock{}, fmt.Errorf("read lock: %w", notFound(err))
	}
	defer f.Close()
	var l localLock
	if err := json.NewDecoder(io.LimitReader(f, maxLockFile)).Decode(&l); err != nil {
		return Lock{}, fmt.Errorf("read lock of %s: %w", key, err)
	}
	out := Lock{RetainUntil: l.RetainUntil, Hold: l.Hold}
	if !l.RetainUntil.IsZero() {
		out.Mode = localMode
	}
	return out, nil
}

// localMode is the mode of a lock that this program alone respects.
const localMode = "folder"

// changeLock writes a lock anew.
func (s *Local) changeLock(key string, change func(*Lock)) error {
	s.locks.Lock()
	defer s.locks.Unlock()
	old, err := s.readLock(key)
	if err != nil {
		return err
	}
	l := old
	change(&l)
	if l.Hold == old.Hold && l.RetainUntil.Equal(old.RetainUntil) {
		return nil
	}
	path, err := s.lockPath(key)
	if err != nil {
		return err
	}
	b, err := json.Marshal(localLock{l.RetainUntil, l.Hold})
	if err != nil {
		return fmt.Errorf("write lock: %w", err)
	}
	return s.place(path, b, func(tmp string) error { return os.Rename(tmp, path) })
}

// Lock implements Store.
func (s *Local) Lock(ctx context.Context, key string) (Lock, error) {
	if _, err := s.Stat(ctx, key); err != nil {
		return Lock{}, err
	}
	s.locks.Lock()
	defer s.locks.Unlock()
	return s.readLock(key)
}

// Extend implements Store.
func (s *Local) Extend(ctx context.Context, key string, until time.Time) error {
	if _, err := s.Stat(ctx, key); err != nil {
		return err
	}
	return s.changeLock(key, func(l *Lock) { l.RetainUntil = maxTime(l.RetainUntil, wholeSeconds(until)) })
}

// SetHold implements Store.
func (s *Local) SetHold(ctx context.Context, key string, hold bool) error {
	if _, err := s.Stat(ctx, key); err != nil {
		return err
	}
	return s.changeLock(key, func(l *Lock) { l.Hold = hold })
}

// Delete implements Store.
func (s *Local) Delete(ctx context.Context, key string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	path, err := s.path(key)
	if err != nil {
		return err
	}
	lockPath, err := s.lockPath(key)
	if err != nil {
		return err
	}
	s.locks.Lock()
	defer s.locks.Unlock()
	l, err := s.readLock(key)
	if err != nil {
		return err
	}
	if l.Locked(time.Now()) {
		return fmt.Errorf("delete %s: %w", key, ErrLocked)
	}
	for _, p := range []string{path, lockPath} {
		if err := os.Remove(p); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("delete object: %w", err)
		}
	}
	if err := durable.SyncDir(filepath.Dir(path)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("delete object: %w", err)
	}
	return nil
}

// same returns nil if path holds body, fs.ErrNotExist if there is no such file, else ErrExists.
func (s *Local) same(path string, body []byte) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	same, err := holds(f, body)
	if err == nil && !same {
		err = ErrExists
	}
	return err
}

// Holds says whether an object is body. It reads it, and takes no memory for that.
func (s *Local) Holds(ctx context.Context, key string, body []byte) (bool, error) {
	f, _, err := s.open(ctx, key)
	if err != nil {
		return false, err
	}
	defer f.Close()
	return holds(f, body)
}

// pieces are what files are compared by.
var pieces = sync.Pool{New: func() any { return new([64 << 10]byte) }}

func holds(r io.Reader, body []byte) (bool, error) {
	piece := pieces.Get().(*[64 << 10]byte)
	defer pieces.Put(piece)
	for {
		n, err := r.Read(piece[:])
		if n > len(body) || !bytes.Equal(piece[:n], body[:n]) {
			return false, nil
		}
		body = body[n:]
		switch {
		case errors.Is(err, io.EOF):
			return len(body) == 0, nil
		case err != nil:
			return false, fmt.Errorf("read object: %w", err)
		}
	}
}

// removeStale removes what a crash left in the folder of unfinished objects.
func removeStale(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("list unfinished objects: %w", err)
	}
	for _, e := range entries {
		st, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) || err == nil && time.Since(st.ModTime()) < staleTemp {
			continue // another writer's
		}
		if err == nil {
			err = os.Remove(filepath.Join(dir, e.Name()))
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove unfinished object: %w", err)
		}
	}
	return nil
}

func notFound(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return ErrNotFound
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: %w", ErrDenied, err)
	}
	return err
}

// Get implements Store.
func (s *Local) Get(ctx context.Context, key string, limit int64) ([]byte, error) {
	f, size, err := s.open(ctx, key)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if size > limit {
		return nil, fmt.Errorf("object has %d bytes, more than %d", size, limit)
	}
	b := make([]byte, size)
	if _, err := io.ReadFull(f, b); err != nil {
		return nil, fmt.Errorf("read object: %w", err)
	}
	return b, nil
}

// GetRange implements Store.
func (s *Local) GetRange(ctx context.Context, key string, off, n int64) ([]byte, error) {
	f, size, err := s.open(ctx, key)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if off < 0 || n < 0 || off > size || n > size-off {
		return nil, fmt.Errorf("read object: %w", io.ErrUnexpectedEOF)
	}
	b := make([]byte, n)
	if _, err := f.ReadAt(b, off); err != nil {
		return nil, fmt.Errorf("read object: %w", err)
	}
	return b, nil
}

func (s *Local) open(ctx context.Context, key string) (*os.File, int64, error) {
	if err := ctx.Err(); err != nil {
		return nil, 0, err
	}
	path, err := s.path(key)
	if err != nil {
		return nil, 0, err
	}
	st, err := os.Lstat(path)
	if err != nil {
		return nil, 0, notFound(err)
	}
	if !st.Mode().IsRegular() { // opening a pipe would block
		return nil, 0, errors.New("object is not a regular file")
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, notFound(err)
	}
	if st, err = f.Stat(); err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, st.Size(), nil
}

// Stat implements Store.
func (s *Local) Stat(ctx context.Context, key string) (ObjectInfo, error) {
	if err := ctx.Err(); err != nil {
		return ObjectInfo{}, err
	}
	path, err := s.path(key)
	if err != nil {
		return ObjectInfo{}, err
	}
	st, err := os.Lstat(path)
	if err != nil {
		return ObjectInfo{}, notFound(err)
	}
	return ObjectInfo{Key: key, Size: st.Size()}, nil
}

// List implements Store. Of objects that are put in the order of their keys while it runs, it lists none without
// those before.
func (s *Local) List(ctx context.Context, prefix, after string, fn func(ObjectInfo) error) error {
	if err := checkPrefix(prefix); err != nil {
		return err
	}
	// A folder is read in no order, and may or may not show what is made meanwhile: a file, and not one that was made
	// before. What was there before the reading began it shows, and so all that was put before the last object of now.
	last, err := s.last(ctx, prefix)
	if err != nil || last <= after {
		return err
	}
	return s.walk(ctx, prefix, after, last, fn)
}

// last is the last key under a prefix, "" when there is none.
func (s *Local) last(ctx context.Context, prefix string) (string, error) {
	entries, err := s.read(ctx, prefix)
	if err != nil {
		return "", err
	}
	for _, e := range slices.Backward(entries) {
		if !e.IsDir() {
			return e.key, nil
		}
		if key, err := s.last(ctx, e.key); err != nil || key != "" {
			return key, err
		}
	}
	return "", nil
}

// entry is an object, or a folder of objects.
type entry struct {
	fs.DirEntry
	key string // a folder's is the prefix of its objects, with the slash
}

// read returns what is in the folder of a prefix, in the order of the keys, which is not that of the names: "a-b" is
// before "a/b".
func (s *Local) read(ctx context.Context, prefix string) ([]entry, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	found, err := os.ReadDir(filepath.Join(s.root, filepath.FromSlash(prefix)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // a folder without objects, or removed meanwhile
	}
	if err != nil {
		return nil, fmt.Errorf("list objects: %w", err)
	}
	entries := make([]entry, 0, len(found))
	for _, f := range found {
		key := prefix + f.Name()
		if key == tempDir || key == locksDir {
			continue
		}
		if f.IsDir() {
			key += "/"
		}
		entries = append(entries, entry{f, key})
	}
	slices.SortFunc(entries, func(a, b entry) int { return strings.Compare(a.key, b.key) })
	return entries, nil
}

// walk calls fn with the objects whose keys are after after, up to last.
func (s *Local) walk(ctx context.Context, prefix, after, last string, fn func(ObjectInfo) error) error {
	entries, err := s.read(ctx, prefix)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.key > last {
			return nil
		}
		if e.IsDir() {
			// Skip a folder whose keys all sort before after.
			if e.key < after && !strings.HasPrefix(after, e.key) {
				continue
			}
			if err := s.walk(ctx, e.key, after, last, fn); err != nil {
				return err
			}
			continue
		}
		if e.key <= after {
			continue
		}
		st, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("list objects: %w", err)
		}
		if err := fn(ObjectInfo{Key: e.key, Size: st.Size()}); err != nil {
			return err
		}
	}
	return nil
}
