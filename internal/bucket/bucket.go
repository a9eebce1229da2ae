// Package bucket keeps write-once objects in a local folder, S3, Azure Blob
// Storage or Google Cloud Storage, behind one interface.
//
// An object is created once and never changed: every put is conditional on the
// name being free. Retention and legal hold ride on the put, and a put with
// either succeeds only when the store shows them afterwards; so a bucket that
// was made without Object Lock, or a store that takes the headers and ignores
// them, is refused instead of looking healthy.
package bucket

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"
)

var (
	// ErrExists is returned by Put when the key holds other bytes.
	ErrExists = errors.New("object exists with other content")
	// ErrUnread is returned by Put when the key holds an object that these
	// credentials can't compare: theirs, if an answer got lost, or another's.
	ErrUnread = errors.New("object exists and may not be read")
	// ErrNotFound is returned when there is no object under the key.
	ErrNotFound = errors.New("object not found")
	// ErrDenied is returned when the credentials don't allow the operation, as
	// with a writer that may put but not read.
	ErrDenied = errors.New("operation not allowed by the store")
	// ErrNoLock says that the store does not keep objects locked: retrying
	// doesn't help, the bucket has to be made with object lock.
	ErrNoLock = errors.New("the store does not lock objects")
	// ErrLocked says that an object's retention or legal hold forbids its deletion.
	ErrLocked = errors.New("object is locked")
	// ErrClock says that this host's clock and the store's are apart, so that a
	// retention would end at a wrong time.
	ErrClock = errors.New("the clocks of host and store are too far apart")
)

// maxSkew is how far the clocks of host and store may be apart.
const maxSkew = 5 * time.Minute

// PutOptions say how an object is stored.
type PutOptions struct {
	ContentType string
	// RetainUntil is when the object may be deleted at the earliest; zero: no
	// retention. Fractions of a second are rounded up.
	RetainUntil time.Time
	// Hold puts the object under legal hold.
	Hold bool
}

// ObjectInfo describes an object.
type ObjectInfo struct {
	Key  string
	Size int64 // bytes
	// Overwritten counts what was written over the object or hides it: later
	// versions and delete markers, but not the same bytes again where the store
	// tells it. What Get returns is the first version.
	Overwritten int
}

// Lock is what keeps an object from being deleted.
type Lock struct {
	RetainUntil time.Time // zero: no retention
	// Mode is the store's own word: COMPLIANCE, GOVERNANCE, Locked, Unlocked; "" without retention.
	Mode string
	Hold bool
}

// Locked says whether the object can't be deleted at a time.
func (l Lock) Locked(at time.Time) bool { return l.Hold || l.RetainUntil.After(at) }

// Store keeps write-once objects. Keys are slash-separated paths. A Store is
// safe for concurrent use; its operations end when ctx does, and each call to
// a store on the network within a time-out of its own.
type Store interface {
	// URL names the store in messages, without credentials.
	URL() string
	// Put creates an object, durable when it returns. It never changes one: the
	// same bytes under the same key are a success, others ErrExists, ones that
	// can't be compared ErrUnread. The object has at least the retention and
	// hold asked for when it returns nil or ErrUnread; else the error is ErrNoLock.
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

	// Lock returns an object's lock.
	Lock(ctx context.Context, key string) (Lock, error)
	// Extend makes an object's retention last until a time at least. It never shortens one.
	Extend(ctx context.Context, key string, until time.Time) error
	// SetHold puts an object under legal hold or lifts it.
	SetHold(ctx context.Context, key string, hold bool) error
	// Delete removes an object with every version; ErrLocked. One that is not
	// there is no error.
	Delete(ctx context.Context, key string) error
	// Settings says what the store tells of itself.
	Settings(ctx context.Context) (Settings, error)
	// Close frees connections.
	Close() error
}

// Settings is what a store tells of itself. Unknown is what these credentials
// may not ask.
type Settings struct {
	Lock       string // enabled, disabled, unknown, none: a folder
	Versioning string // enabled, suspended, disabled, unknown, none
	// DefaultRetention is the bucket's own rule, such as "COMPLIANCE 1d"; "" without one.
	DefaultRetention string
}

// Values of Settings.
const (
	Enabled   = "enabled"
	Suspended = "suspended"
	Disabled  = "disabled"
	Unknown   = "unknown"
	None      = "none"
)

func checkKey(key string) error {
	if !fs.ValidPath(key) || key == "." || strings.ContainsAny(key, "\\\x00") {
		return fmt.Errorf("invalid object key %q", key)
	}
	return nil
}

// checkPrefix checks a listing's prefix.
func checkPrefix(prefix string) error {
	if prefix == "" {
		return nil
	}
	dir, ok := strings.CutSuffix(prefix, "/")
	if !ok {
		return fmt.Errorf("invalid prefix %q", prefix)
	}
	return checkKey(dir)
}

// wholeSeconds rounds a time up: stores keep seconds.
func wholeSeconds(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	u := t.UTC().Truncate(time.Second)
	if u.Before(t) {
		u = u.Add(time.Second)
	}
	return u
}

// confirmHold says whether an object's lock, read back after its hold was set, shows it.
func confirmHold(key string, hold bool, l Lock, err error) error {
	if err != nil {
		return fmt.Errorf("read the legal hold of %s back: %w", key, err)
	}
	if l.Hold != hold {
		return fmt.Errorf("legal hold of %s: %w: it shows %t after it was set to %t", key, ErrNoLock, l.Hold, hold)
	}
	return nil
}

// covers says whether a lock is what a put asked for.
func (l Lock) covers(opts PutOptions, mode string) error {
	until := wholeSeconds(opts.RetainUntil)
	switch {
	case !until.IsZero() && l.RetainUntil.IsZero():
		return fmt.Errorf("%w: it took the object and shows no retention", ErrNoLock)
	case !until.IsZero() && mode != "" && l.Mode != mode && l.Mode != strictest(mode):
		return fmt.Errorf("%w: it shows retention mode %q instead of %q", ErrNoLock, l.Mode, mode)
	case l.RetainUntil.Before(until):
		return fmt.Errorf("%w: it shows a retention until %s instead of %s", ErrNoLock, l.RetainUntil.Format(time.RFC3339), until.Format(time.RFC3339))
	case opts.Hold && !l.Hold:
		return fmt.Errorf("%w: it took the object and shows no legal hold", ErrNoLock)
	}
	return nil
}

// lengthen makes the retention of an object that existed before a put as long as the put
// asked for, and sets one where there is none: a store may be killed between writing an
// object and locking it. l is the lock it has, and read reads it again.
func lengthen(ctx context.Context, s Store, key string, l Lock, until time.Time, read func() (Lock, error)) (Lock, error) {
	if !l.RetainUntil.Before(wholeSeconds(until)) {
		return l, nil
	}
	if err := s.Extend(ctx, key, until); err != nil {
		return l, err
	}
	l, err := read()
	if err != nil {
		return l, fmt.Errorf("read the lock of %s back: %w", key, err)
	}
	return l, nil
}

// strictest is the mode that can't be undone, in the words of mode's store.
func strictest(mode string) string {
	if mode == governance {
		return compliance
	}
	return locked
}

func checkSkew(server time.Time) error {
	if server.IsZero() {
		return nil
	}
	if d := time.Since(server).Abs(); d > maxSkew {
		return fmt.Errorf("%w: %s, at most %s", ErrClock, d.Round(time.Second), maxSkew)
	}
	return nil
}

// sizedTimeout is a call's time-out: that of a small call, and a second for
// each MiB.
func sizedTimeout(base time.Duration, size int64) time.Duration {
	return base + time.Duration(size>>20)*time.Second
}
