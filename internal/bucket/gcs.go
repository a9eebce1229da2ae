package bucket

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"cloud.google.com/go/storage"
	"google.golang.org/api/googleapi"
	"google.golang.org/api/iterator"
	"google.golang.org/api/option"
	htransport "google.golang.org/api/transport/http"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// gcsStore keeps objects in a bucket of Google Cloud Storage that was made with
// object retention.
type gcsStore struct {
	client    *storage.Client
	transport *http.Transport
	bucket    *storage.BucketHandle
	prefix    string
	url       string
	mode      string
	timeout   time.Duration
	firsts    firsts
}

// openGCS uses Google's own chain of credentials. An endpoint that is not
// HTTPS is an emulator or a double, and gets none.
func openGCS(ctx context.Context, cfg Config, name, prefix string) (*gcsStore, error) {
	base, err := cfg.transport()
	if err != nil {
		return nil, err
	}
	var opts []option.ClientOption
	if cfg.Endpoint != "" {
		opts = append(opts, option.WithEndpoint(strings.TrimSuffix(cfg.Endpoint, "/")+"/storage/v1/"))
	}
	client := &http.Client{Transport: base}
	if !strings.HasPrefix(cfg.Endpoint, "http://") {
		auth := []option.ClientOption{option.WithScopes(storage.ScopeFullControl)}
		if cfg.CredentialsFile != "" {
			auth = append(auth, option.WithAuthCredentialsFile(option.ServiceAccount, cfg.CredentialsFile))
		}
		t, err := htransport.NewTransport(ctx, base, auth...)
		if err != nil {
			return nil, fmt.Errorf("load Google credentials: %w", err)
		}
		client.Transport = t
	}
	c, err := storage.NewClient(ctx, append(opts, option.WithHTTPClient(client), storage.WithJSONReads())...)
	if err != nil {
		return nil, fmt.Errorf("open gs://%s: %w", name, err)
	}
	s := &gcsStore{
		client: c, transport: base, bucket: c.Bucket(name).Retryer(storage.WithMaxAttempts(3)), prefix: prefix,
		url: "gs://" + name + "/" + prefix, mode: locked, timeout: cfg.Timeout,
	}
	if cfg.Lock == LockGovernance {
		s.mode = unlocked
	}
	return s, nil
}

func (s *gcsStore) URL() string { return s.url }

func (s *gcsStore) Close() error {
	err := s.client.Close()
	s.transport.CloseIdleConnections()
	return err
}

func gcsError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, storage.ErrObjectNotExist):
		return fmt.Errorf("%w: %w", ErrNotFound, err)
	case errors.Is(err, storage.ErrBucketNotExist):
		return err
	}
	var ge *googleapi.Error
	if !errors.As(err, &ge) || ge.Code != http.StatusForbidden {
		return err
	}
	if gcsLocked(ge) {
		return fmt.Errorf("%w: %w", ErrLocked, err)
	}
	return fmt.Errorf("%w: %w", ErrDenied, err)
}

// gcsLocked: the two refusals that Google documents for objects under
// retention and hold.
func gcsLocked(ge *googleapi.Error) bool {
	for _, item := range ge.Errors {
		if item.Reason == "retentionPolicyNotMet" || item.Reason == "objectUnderActiveHold" {
			return true
		}
	}
	return false
}

func (s *gcsStore) object(key string) (*storage.ObjectHandle, error) {
	if err := checkKey(key); err != nil {
		return nil, err
	}
	return s.bucket.Object(s.prefix + key), nil
}

// first is the object's first generation, where a listing found that something lies over it.
func (s *gcsStore) first(key string) (*storage.ObjectHandle, error) {
	o, err := s.object(key)
	if err != nil {
		return nil, err
	}
	id, ok := s.firsts.of(key)
	if !ok {
		return o, nil
	}
	generation, err := strconv.ParseInt(id, 10, 64)
	if err != nil {
		return nil, fmt.Errorf("generation of %s: %w", key, err)
	}
	return o.Generation(generation), nil
}

func (s *gcsStore) Put(ctx context.Context, key string, body []byte, opts PutOptions) error {
	o, err := s.object(key)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, sizedTimeout(s.timeout, int64(len(body))))
	defer cancel()
	w := o.If(storage.Conditions{DoesNotExist: true}).NewWriter(ctx)
	w.ChunkSize = 0 // one request
	w.ContentType = opts.ContentType
	w.CRC32C, w.SendCRC32C = crc32.Checksum(body, castagnoli), true
	mode := ""
	if until := wholeSeconds(opts.RetainUntil); !until.IsZero() {
		mode = s.mode
		w.Retention = &storage.ObjectRetention{Mode: mode, RetainUntil: until}
	}
	w.TemporaryHold = opts.Hold
	_, err = w.Write(body)
	if cerr := w.Close(); err == nil {
		err = cerr
	}
	var l Lock
	var unread error
	var ge *googleapi.Error
	switch {
	case err == nil:
		// The answer is the object as it is stored: who may only create can read its lock here and nowhere else.
		l = lockOf(w.Attrs())
		if err := checkSkew(w.Attrs().Created); err != nil {
			return fmt.Errorf("put %s: %w", key, err)
		}
	case errors.As(err, &ge) && (ge.Code == http.StatusPreconditionFailed || ge.Code == http.StatusForbidden && gcsLocked(ge)):
		unread = sameObject(ctx, s, key, body)
		if unread != nil && !errors.Is(unread, ErrUnread) {
			return unread
		}
		if unread != nil {
			return unread // its lock can't be read either
		}
		if l, err = s.Lock(ctx, key); err != nil {
			return fmt.Errorf("read the lock of %s back: %w", key, err)
		}
		if l, err = lengthen(ctx, s, key, l, opts.RetainUntil, func() (Lock, error) { return s.Lock(ctx, key) }); err != nil {
			return err
		}
	case errors.As(err, &ge) && ge.Code == http.StatusBadRequest && strings.Contains(strings.ToLower(ge.Message), "retention"):
		return fmt.Errorf("put %s: %w: %w", key, ErrNoLock, err)
	default:
		return fmt.Errorf("put %s: %w", key, gcsError(err))
	}
	if mode == "" && !opts.Hold {
		return nil
	}
	if err := l.covers(opts, mode); err != nil {
		return fmt.Errorf("put %s: %w", key, err)
	}
	return nil
}

func lockOf(a *storage.ObjectAttrs) Lock {
	l := Lock{Hold: a.TemporaryHold || a.EventBasedHold}
	if a.Retention != nil {
		l.Mode, l.RetainUntil = a.Retention.Mode, a.Retention.RetainUntil.UTC()
	}
	if a.RetentionExpirationTime.After(l.RetainUntil) { // the bucket's own policy
		l.RetainUntil = a.RetentionExpirationTime.UTC()
	}
	return l
}

func (s *gcsStore) attrs(ctx context.Context, key string) (*storage.ObjectAttrs, error) {
	o, err := s.first(key)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	a, err := o.Attrs(ctx)
	if err != nil {
		return nil, fmt.Errorf("stat %s: %w", key, gcsError(err))
	}
	return a, nil
}

func (s *gcsStore) Lock(ctx context.Context, key string) (Lock, error) {
	a, err := s.attrs(ctx, key)
	if err != nil {
		return Lock{}, err
	}
	return lockOf(a), nil
}

func (s *gcsStore) Extend(ctx context.Context, key string, until time.Time) error {
	l, err := s.Lock(ctx, key)
	if err != nil {
		return fmt.Errorf("extend the retention of %s: %w", key, err)
	}
	until = wholeSeconds(until)
	if !l.RetainUntil.Before(until) {
		return nil
	}
	mode := s.mode
	if l.Mode == locked {
		mode = locked
	}
	o, err := s.first(key)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	if _, err := o.Update(ctx, storage.ObjectAttrsToUpdate{Retention: &storage.ObjectRetention{Mode: mode, RetainUntil: until}}); err != nil {
		return fmt.Errorf("extend the retention of %s: %w", key, gcsError(err))
	}
	return nil
}

func (s *gcsStore) SetHold(ctx context.Context, key string, hold bool) error {
	o, err := s.first(key)
	if err != nil {
		return err
	}
	call, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	if _, err := o.Update(call, storage.ObjectAttrsToUpdate{TemporaryHold: hold}); err != nil {
		return fmt.Errorf("set the legal hold of %s: %w", key, gcsError(err))
	}
	l, err := s.Lock(ctx, key)
	return confirmHold(key, hold, l, err)
}

func (s *gcsStore) Get(ctx context.Context, key string, limit int64) ([]byte, error) {
	o, err := s.first(key)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, sizedTimeout(s.timeout, limit))
	defer cancel()
	r, err := o.NewReader(ctx)
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", key, gcsError(err))
	}
	return readBody(r, key, r.Attrs.Size, limit)
}

func (s *gcsStore) GetRange(ctx context.Context, key string, off, n int64) ([]byte, error) {
	o, err := s.first(key)
	if err != nil {
		return nil, err
	}
	if off < 0 || n <= 0 {
		return emptyRange(ctx, s, key, off, n)
	}
	ctx, cancel := context.WithTimeout(ctx, sizedTimeout(s.timeout, n))
	defer cancel()
	r, err := o.NewRangeReader(ctx, off, n)
	if err != nil {
		var ge *googleapi.Error
		if errors.As(err, &ge) && ge.Code == http.StatusRequestedRangeNotSatisfiable {
			return nil, fmt.Errorf("read object: %w", io.ErrUnexpectedEOF)
		}
		return nil, fmt.Errorf("get %s: %w", key, gcsError(err))
	}
	return rangeBody(r, key, n)
}

func (s *gcsStore) Stat(ctx context.Context, key string) (ObjectInfo, error) {
	a, err := s.attrs(ctx, key)
	if err != nil {
		return ObjectInfo{}, err
	}
	return ObjectInfo{Key: key, Size: a.Size}, nil
}

// List lists generations, as that of S3 does versions. An object that was deleted over has no live one.
func (s *gcsStore) List(ctx context.Context, prefix, after string, fn func(ObjectInfo) error) error {
	if err := checkPrefix(prefix); err != nil {
		return err
	}
	w := versionWalk{
		firsts: &s.firsts, url: s.url, prefix: s.prefix, after: after, fn: fn, current: true,
		// Generations are numbers that grow.
		older: func(v, than version) bool {
			return len(v.id) < len(than.id) || len(v.id) == len(than.id) && v.id < than.id
		},
	}
	start := ""
	if after != "" {
		start = s.prefix + after // inclusive
	}
	if err := s.versions(ctx, s.prefix+prefix, start, w.add); err != nil {
		return err
	}
	return w.flush()
}

// versions calls fn with the generations of all objects under a prefix.
func (s *gcsStore) versions(ctx context.Context, prefix, start string, fn func(version) error) error {
	q := &storage.Query{Prefix: prefix, StartOffset: start, Versions: true}
	if err := q.SetAttrSelection([]string{"Name", "Size", "Generation", "Deleted"}); err != nil {
		return fmt.Errorf("list %s: %w", s.url, err)
	}
	token := ""
	for {
		// A page at a time, so that each call has a time-out and the whole has none.
		call, cancel := context.WithTimeout(ctx, s.timeout)
		var page []*storage.ObjectAttrs
		next, err := iterator.NewPager(s.bucket.Objects(call, q), 1000, token).NextPage(&page)
		cancel()
		if err != nil {
			return fmt.Errorf("list %s: %w", s.url+strings.TrimPrefix(prefix, s.prefix), gcsError(err))
		}
		for _, a := range page {
			if err := fn(version{key: a.Name, id: strconv.FormatInt(a.Generation, 10), size: a.Size, newest: a.Deleted.IsZero()}); err != nil {
				return err
			}
		}
		if token = next; token == "" {
			return nil
		}
	}
}

// Delete removes every generation: in a bucket with versioning a plain deletion
// would leave them.
func (s *gcsStore) Delete(ctx context.Context, key string) error {
	o, err := s.object(key)
	if err != nil {
		return err
	}
	var generations []int64
	full := s.prefix + key
	if err := s.versions(ctx, full, "", func(v version) error {
		n, err := strconv.ParseInt(v.id, 10, 64)
		if err == nil && v.key == full {
			generations = append(generations, n)
		}
		return err
	}); err != nil {
		return fmt.Errorf("delete %s: %w", key, err)
	}
	for _, n := range generations {
		call, cancel := context.WithTimeout(ctx, s.timeout)
		err := o.Generation(n).Delete(call)
		cancel()
		if err = gcsError(err); err != nil && !errors.Is(err, ErrNotFound) {
			return fmt.Errorf("delete %s: %w", key, err)
		}
	}
	return nil
}

func (s *gcsStore) Settings(ctx context.Context) (Settings, error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	out := Settings{Lock: Unknown, Versioning: Unknown}
	a, err := s.bucket.Attrs(ctx)
	if err != nil {
		if err = gcsError(err); errors.Is(err, ErrDenied) {
			return out, nil
		}
		return out, fmt.Errorf("ask for the bucket's object retention: %w", err)
	}
	out.Lock, out.Versioning = Disabled, Disabled
	if a.ObjectRetentionMode == "Enabled" {
		out.Lock = Enabled
	}
	if a.VersioningEnabled {
		out.Versioning = Enabled
	}
	if p := a.RetentionPolicy; p != nil {
		out.DefaultRetention = fmt.Sprintf("bucket policy %s", p.RetentionPeriod)
	}
	return out, nil
}
