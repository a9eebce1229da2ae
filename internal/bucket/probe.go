package bucket

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"time"
)

// ProbeDir is where a probe puts its objects.
const ProbeDir = "v1/_probe/"

// probeRetention is how long a probe's object stays locked.
const probeRetention = time.Hour

// Report is what a probe found of a store and of what these credentials may do.
type Report struct {
	Settings
	Store     string // URL
	Key       string // of the object that was put to see; "" when nothing was
	Mode      string // of its retention, as the store shows it
	MayRead   bool
	MayList   bool
	MayDelete bool // right to delete, of which the lock made no use
}

// Probe puts an object under a retention of an hour and tries to undo it: the
// store has to show the lock and to refuse the deletion. The error is
// ErrNoLock when it doesn't.
func Probe(ctx context.Context, s Store) (Report, error) {
	r := Report{Store: s.URL()}
	var err error
	if r.Settings, err = s.Settings(ctx); err != nil {
		return r, fmt.Errorf("probe %s: %w", s.URL(), err)
	}
	switch {
	case r.Settings.Lock == None:
		return r, nil // a folder
	case r.Settings.Lock == Disabled:
		return r, fmt.Errorf("probe %s: %w: it was made without it; make a new one with object lock", s.URL(), ErrNoLock)
	case r.Versioning == Suspended:
		return r, fmt.Errorf("probe %s: %w: its versioning is suspended", s.URL(), ErrNoLock)
	}
	var id [16]byte
	if _, err := rand.Read(id[:]); err != nil {
		return r, fmt.Errorf("probe %s: %w", s.URL(), err)
	}
	now := time.Now().UTC()
	r.Key = ProbeDir + now.Format("dt=2006-01-02") + "/" + hex.EncodeToString(id[:]) + ".txt"
	body := []byte("Claude Audit put this at " + now.Format(time.RFC3339) + " to see whether the store locks objects.\n")
	err = s.Put(ctx, r.Key, body, PutOptions{ContentType: "text/plain; charset=utf-8", RetainUntil: now.Add(probeRetention)})
	if err != nil {
		return r, fmt.Errorf("probe %s: %w", s.URL(), err)
	}
	if l, err := s.Lock(ctx, r.Key); err == nil {
		r.Mode = l.Mode
	} else if !errors.Is(err, ErrDenied) {
		return r, fmt.Errorf("probe %s: %w", s.URL(), err)
	}
	switch err := s.Delete(ctx, r.Key); {
	case errors.Is(err, ErrLocked):
		r.MayDelete = true
	case errors.Is(err, ErrDenied):
	case err == nil:
		return r, fmt.Errorf("probe %s: %w: it took an object with a retention of %s and deleted it at once", s.URL(), ErrNoLock, probeRetention)
	default:
		return r, fmt.Errorf("probe %s: %w", s.URL(), err)
	}
	_, err = s.Get(ctx, r.Key, int64(len(body)))
	if r.MayRead = err == nil; err != nil && !errors.Is(err, ErrDenied) {
		return r, fmt.Errorf("probe %s: %w", s.URL(), err)
	}
	err = s.List(ctx, ProbeDir+now.Format("dt=2006-01-02")+"/", "", func(ObjectInfo) error { return errListed })
	if r.MayList = errors.Is(err, errListed) || err == nil; !r.MayList && !errors.Is(err, ErrDenied) {
		return r, fmt.Errorf("probe %s: %w", s.URL(), err)
	}
	return r, nil
}

var errListed = errors.New("listed")
