package ledger

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/claudeaudit/claudeaudit/internal/bucket"
	"github.com/claudeaudit/claudeaudit/internal/durable"
)

// Stores is one store over several: records in one, content in another, and a
// local copy of what is not content.
type Stores struct {
	// Records keeps claims, segments and checkpoints.
	Records bucket.Store
	// Contents keeps containers of content; nil: Records does.
	Contents bucket.Store
	// Copy gets everything but content as well, after Records has it; nil:
	// there is none. What the credentials may not read of Records is read of it.
	Copy bucket.Store
}

var _ bucket.Store = (*Stores)(nil)

// isContent says whether a key or prefix lies in a folder of containers.
func isContent(key string) bool {
	if strings.HasPrefix(key, claimsDir) || !strings.HasPrefix(key, "v1/") {
		return false
	}
	for part := range strings.SplitSeq(key, "/") {
		switch part {
		case "cnt":
			return true
		case "seg", "cp", "wit", "tsr", "pruned":
			return false
		}
	}
	return false
}

func (s *Stores) of(key string) bucket.Store {
	if s.Contents != nil && isContent(key) {
		return s.Contents
	}
	return s.Records
}

// read asks the store of a key, and the copy when that is not allowed.
func (s *Stores) read(key string, fn func(bucket.Store) error) error {
	err := fn(s.of(key))
	if s.Copy != nil && errors.Is(err, bucket.ErrDenied) && !isContent(key) {
		return fn(s.Copy)
	}
	return err
}

// URL implements bucket.Store.
func (s *Stores) URL() string { return s.Records.URL() }

// Put implements bucket.Store.
func (s *Stores) Put(ctx context.Context, key string, body []byte, opts bucket.PutOptions) error {
	copied := s.Copy != nil && !isContent(key)
	// A checkpoint is copied before: if its answer gets lost and the process
	// ends, a writer that may not list the store would not know that it has to give it to the witnesses.
	first := copied && strings.Contains(key, "/cp/")
	if first {
		if err := s.copy(ctx, key, body, opts); err != nil {
			return err
		}
	}
	err := s.of(key).Put(ctx, key, body, opts)
	if !copied || first || err != nil && !errors.Is(err, bucket.ErrUnread) {
		return err
	}
	if cerr := s.copy(ctx, key, body, opts); cerr != nil {
		return cerr
	}
	return err
}

// copy keeps the copy without a lock: it is for reading, and may be deleted.
func (s *Stores) copy(ctx context.Context, key string, body []byte, opts bucket.PutOptions) error {
	if err := s.Copy.Put(ctx, key, body, bucket.PutOptions{ContentType: opts.ContentType}); err != nil {
		return fmt.Errorf("local copy: %w", err)
	}
	return nil
}

// Get implements bucket.Store.
func (s *Stores) Get(ctx context.Context, key string, limit int64) (b []byte, err error) {
	err = s.read(key, func(t bucket.Store) error {
		b, err = t.Get(ctx, key, limit)
		return err
	})
	return b, err
}

// GetRange implements bucket.Store.
func (s *Stores) GetRange(ctx context.Context, key string, off, n int64) (b []byte, err error) {
	err = s.read(key, func(t bucket.Store) error {
		b, err = t.GetRange(ctx, key, off, n)
		return err
	})
	return b, err
}

// Stat implements bucket.Store.
func (s *Stores) Stat(ctx context.Context, key string) (info bucket.ObjectInfo, err error) {
	err = s.read(key, func(t bucket.Store) error {
		info, err = t.Stat(ctx, key)
		return err
	})
	return info, err
}

// List implements bucket.Store.
func (s *Stores) List(ctx context.Context, prefix, after string, fn func(bucket.ObjectInfo) error) error {
	records := func(fn func(bucket.ObjectInfo) error) error {
		return s.read("", func(t bucket.Store) error { return t.List(ctx, prefix, after, fn) })
	}
	switch {
	case isContent(prefix):
		return s.of(prefix).List(ctx, prefix, after, fn)
	case s.Contents == nil:
		return records(fn)
	case strings.Contains(prefix, "/seg/") || strings.Contains(prefix, "/cp/") || strings.Contains(prefix, "/wit/") || strings.Contains(prefix, "/tsr/") || strings.Contains(prefix, "/pruned/") || strings.HasPrefix(prefix, claimsDir):
		return records(fn)
	}
	return merged(records, func(fn func(bucket.ObjectInfo) error) error { return s.Contents.List(ctx, prefix, after, fn) }, fn)
}

type listing func(fn func(bucket.ObjectInfo) error) error

// merged calls fn with the objects of two listings in the order of their keys.
func merged(a, b listing, fn func(bucket.ObjectInfo) error) error {
	errs := [2]error{}
	pull := func(i int, list listing) (func() (bucket.ObjectInfo, bool), func()) {
		return iter.Pull(func(yield func(bucket.ObjectInfo) bool) {
			err := list(func(o bucket.ObjectInfo) error {
				if !yield(o) {
					return errStop
				}
				return nil
			})
			if !errors.Is(err, errStop) {
				errs[i] = err
			}
		})
	}
	nextA, stopA := pull(0, a)
	defer stopA()
	nextB, stopB := pull(1, b)
	defer stopB()
	oa, okA := nextA()
	ob, okB := nextB()
	for okA || okB {
		if err := errors.Join(errs[:]...); err != nil {
			return err
		}
		var err error
		if okA && (!okB || cmp.Compare(oa.Key, ob.Key) <= 0) {
			err = fn(oa)
			oa, okA = nextA()
		} else {
			err = fn(ob)
			ob, okB = nextB()
		}
		if err != nil {
			return err
		}
	}
	return errors.Join(errs[:]...)
}

// Lock implements bucket.Store.
func (s *Stores) Lock(ctx context.Context, key string) (bucket.Lock, error) {
	return s.of(key).Lock(ctx, key)
}

// Extend implements bucket.Store.
func (s *Stores) Extend(ctx context.Context, key string, until time.Time) error {
	return s.of(key).Extend(ctx, key, until)
}

// SetHold implements bucket.Store.
func (s *Stores) SetHold(ctx context.Context, key string, hold bool) error {
	return s.of(key).SetHold(ctx, key, hold)
}

// Delete implements bucket.Store.
func (s *Stores) Delete(ctx context.Context, key string) error {
	if err := s.of(key).Delete(ctx, key); err != nil {
		return err
	}
	if s.Copy == nil || isContent(key) {
		return nil
	}
	return s.Copy.Delete(ctx, key)
}

// Settings implements bucket.Store.
func (s *Stores) Settings(ctx context.Context) (bucket.Settings, error) {
	return s.Records.Settings(ctx)
}

// Close closes all of them.
func (s *Stores) Close() error {
	var err error
	for _, t := range []bucket.Store{s.Records, s.Contents, s.Copy} {
		if t != nil {
			err = errors.Join(err, t.Close())
		}
	}
	return err
}

// Location says where the objects of a ledger are whose folder has only a copy
// of some, for those who are given the folder alone.
type Location struct {
	Store        string `json:"store"` // address, see bucket.Config
	ContentStore string `json:"content_store,omitempty"`
}

const (
	locationFile = "location.json"
	maxLocation  = 64 << 10
)

// WriteLocation notes the location in the ledger's folder.
func WriteLocation(dir string, l Location) error {
	b, err := json.MarshalIndent(l, "", "  ")
	if err != nil {
		return fmt.Errorf("note where the ledger's objects are: %w", err)
	}
	if err := durable.Replace(filepath.Join(dir, locationFile), append(b, '\n')); err != nil {
		return fmt.Errorf("note where the ledger's objects are: %w", err)
	}
	return nil
}

// ReadLocation returns what WriteLocation noted; ok is false without.
func ReadLocation(dir string) (l Location, ok bool, err error) {
	f, err := os.Open(filepath.Join(dir, locationFile))
	if errors.Is(err, fs.ErrNotExist) {
		return l, false, nil
	}
	if err != nil {
		return l, false, fmt.Errorf("read where the ledger's objects are: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxLocation))
	if err == nil {
		err = json.Unmarshal(b, &l)
	}
	if err != nil {
		return l, false, fmt.Errorf("read where the ledger's objects are: %s: %w", f.Name(), err)
	}
	return l, true, nil
}
