package ledger

import (
	"bytes"
	"context"
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
)

var (
	// ErrExists is returned by Put when the key holds other bytes.
	ErrExists = errors.New("object exists with other content")
	// ErrNotFound is returned when there is no object under the key.
	ErrNotFound = errors.New("object not found")
	// ErrDenied is returned when the credentials don't allow the operation, as
	// with a writer that may put but not read.
	ErrDenied = errors.New("operation not allowed by the store")
)

// PutOptions say how an object is stored.
type PutOptions struct {
	ContentType string
	// RetainUntil is when the object may be deleted at the earliest; zero: no retention.
	RetainUntil time.Time
}

// ObjectInfo describes an object.
type ObjectInfo struct {
	Key         string
	Size        int64 // bytes
	RetainUntil time.Time
}

// Store keeps write-once objects. Keys are slash-separated paths. A Store is
// safe for concurrent use; its operations end when ctx does.
type Store interface {
	// Put creates an object, durable when it returns. It never changes one: the
	// same bytes under the same key are a success, others ErrExists.
	Put(ctx context.Context, key string, body []byte, opts PutOptions) error
	// Get returns an object's bytes; ErrNotFound, ErrDenied, or an error if it
	// has more than limit bytes.
	Get(ctx context.Context, key string, limit int64) ([]byte, error)
	// GetRange returns n bytes at off; io.ErrUnexpectedEOF if there are fewer.
	GetRange(ctx context.Context, key string, off, n int64) ([]byte, error)
	// List calls fn with the objects whose keys start with prefix and sort
	// after after ("" for all), in the order of their keys. prefix is "" or ends with "/".
	List(ctx context.Context, prefix, after string, fn func(ObjectInfo) error) error
	// Stat describes an object; ErrNotFound.
	Stat(ctx context.Context, key string) (ObjectInfo, error)
}

const (
	// tempDir holds files that are being written.
	tempDir = ".tmp"
	// staleTemp is how old a file there must be to count as left by a crash.
	staleTemp = time.Hour
)

// LocalStore keeps objects as read-only files under a folder. It refuses to
// overwrite, but whoever owns the folder can: only checkpoints elsewhere tell
// then.
type LocalStore struct {
	root  string
	clean sync.Once
}

// NewLocalStore uses the folder root, which is made when first written to.
func NewLocalStore(root string) *LocalStore {
	return &LocalStore{root: filepath.Clean(root)}
}

// Root is the store's folder.
func (s *LocalStore) Root() string { return s.root }

func (s *LocalStore) path(key string) (string, error) {
	if !fs.ValidPath(key) || key == "." || strings.ContainsAny(key, "\\\x00") {
		return "", fmt.Errorf("invalid object key %q", key)
	}
	return filepath.Join(s.root, filepath.FromSlash(key)), nil
}

func (s *LocalStore) Put(ctx context.Context, key string, body []byte, _ PutOptions) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	path, err := s.path(key)
	if err != nil {
		return err
	}
	if err := s.same(path, body); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	dir := filepath.Dir(path)
	temps := filepath.Join(s.root, tempDir)
	for _, d := range []string{dir, temps} {
		if err := mkdirSync(d); err != nil {
			return fmt.Errorf("make folder for object: %w", err)
		}
	}
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
	// A hard link fails when the name exists, a rename would replace it.
	err = os.Link(tmp.Name(), path)
	switch {
	case errors.Is(err, fs.ErrExist):
		if err := s.same(path, body); err != nil {
			return err
		}
	case errors.Is(err, errors.ErrUnsupported) || errors.Is(err, fs.ErrPermission):
		// A filesystem without hard links. The writer's lock keeps others out.
		if err := os.Rename(tmp.Name(), path); err != nil {
			return fmt.Errorf("name object: %w", err)
		}
	case err != nil:
		return fmt.Errorf("name object: %w", err)
	}
	if err := syncDir(dir); err != nil {
		return fmt.Errorf("sync folder of object: %w", err)
	}
	return nil
}

// same returns nil if path holds body, fs.ErrNotExist if there is no such file, else ErrExists.
func (s *LocalStore) same(path string, body []byte) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	got, err := io.ReadAll(io.LimitReader(f, int64(len(body))+1))
	if err != nil {
		return fmt.Errorf("read object: %w", err)
	}
	if !bytes.Equal(got, body) {
		return ErrExists
	}
	return nil
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
			err = removeIfThere(filepath.Join(dir, e.Name()))
		}
		if err != nil {
			return fmt.Errorf("remove unfinished object: %w", err)
		}
	}
	return nil
}

// mkdirSync makes a folder and its parents, each durable.
func mkdirSync(dir string) error {
	if st, err := os.Stat(dir); err == nil {
		if !st.IsDir() {
			return fmt.Errorf("%s: not a folder", dir)
		}
		return nil
	}
	parent := filepath.Dir(dir)
	if parent != dir {
		if err := mkdirSync(parent); err != nil {
			return err
		}
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(parent)
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

func (s *LocalStore) Get(ctx context.Context, key string, limit int64) ([]byte, error) {
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

func (s *LocalStore) GetRange(ctx context.Context, key string, off, n int64) ([]byte, error) {
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

func (s *LocalStore) open(ctx context.Context, key string) (*os.File, int64, error) {
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

func (s *LocalStore) Stat(ctx context.Context, key string) (ObjectInfo, error) {
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

func (s *LocalStore) List(ctx context.Context, prefix, after string, fn func(ObjectInfo) error) error {
	dir := strings.TrimSuffix(prefix, "/")
	if dir != "" {
		if _, err := s.path(dir); err != nil {
			return err
		}
	}
	return s.walk(ctx, dir, after, fn)
}

func (s *LocalStore) walk(ctx context.Context, dir, after string, fn func(ObjectInfo) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	entries, err := os.ReadDir(filepath.Join(s.root, filepath.FromSlash(dir)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // a folder without objects, or removed meanwhile
	}
	if err != nil {
		return fmt.Errorf("list objects: %w", err)
	}
	// The order of keys, not of names: "a-b" sorts before "a/b".
	order := func(e fs.DirEntry) string {
		if e.IsDir() {
			return e.Name() + "/"
		}
		return e.Name()
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(order(a), order(b)) })
	for _, e := range entries {
		key := e.Name()
		if dir != "" {
			key = dir + "/" + key
		}
		if key == tempDir {
			continue
		}
		if e.IsDir() {
			// Skip a folder whose keys all sort before after.
			if p := key + "/"; p < after && !strings.HasPrefix(after, p) {
				continue
			}
			if err := s.walk(ctx, key, after, fn); err != nil {
				return err
			}
			continue
		}
		if key <= after {
			continue
		}
		st, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("list objects: %w", err)
		}
		if err := fn(ObjectInfo{Key: key, Size: st.Size()}); err != nil {
			return err
		}
	}
	return nil
}
