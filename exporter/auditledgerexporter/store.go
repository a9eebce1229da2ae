package auditledgerexporter

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"

	"github.com/claudeaudit/claudeaudit/internal/audit"
	"github.com/claudeaudit/claudeaudit/internal/bucket"
	"github.com/claudeaudit/claudeaudit/internal/ledger"
	"github.com/claudeaudit/claudeaudit/internal/retention"
)

// probeTimeout bounds the probe of a store at the start. A store that doesn't
// answer then is probed before the first put.
const probeTimeout = 20 * time.Second

// location is where readers find the objects.
func (c *Config) location() ledger.Location {
	l := ledger.Location{Store: c.Store.Address()}
	if c.ContentStore.URL != "" {
		l.ContentStore = c.ContentStore.Address()
	}
	return l
}

// openStore opens what the configuration names, and probes it; nil for the
// ledger's own folder. A store that doesn't lock is refused, one that doesn't
// answer is tried again: what is acknowledged meanwhile waits on this disk.
func (e *ledgerExporter) openStore(ctx context.Context) (bucket.Store, error) {
	c := e.cfg
	if c.Store.URL == "" {
		return nil, nil
	}
	open := func(key string, cfg bucket.Config) (bucket.Store, error) {
		s, err := bucket.Open(ctx, cfg)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
		p := bucket.Probed(s, e.probed)
		e.closer = append(e.closer, p)
		probe, cancel := context.WithTimeout(ctx, probeTimeout)
		defer cancel()
		switch err := p.Probe(probe); {
		case err == nil:
		case errors.Is(err, bucket.ErrNoLock), errors.Is(err, bucket.ErrClock), errors.Is(err, bucket.ErrDenied):
			return nil, fmt.Errorf("%s: nothing was written but this try: %w", key, err)
		default:
			e.set.Logger.Error("the store does not answer; entries stay on this disk, and it is tried again", zap.String("store", s.URL()), zap.Error(err))
		}
		return p, nil
	}
	records, err := open("store", c.Store)
	if err != nil {
		return nil, err
	}
	stores := &ledger.Stores{Records: records}
	if c.ContentStore.URL != "" {
		if stores.Contents, err = open("content_store", c.ContentStore); err != nil {
			return nil, err
		}
	}
	if c.LocalCopy && c.Store.Remote() {
		stores.Copy = bucket.NewLocal(filepath.Join(c.Directory, "store"))
	}
	return stores, nil
}

// probed notes what a probe found for the ledger.
func (e *ledgerExporter) probed(r bucket.Report) {
	e.set.Logger.Info("store probed", zap.String("store", r.Store), zap.String("lock", r.Lock), zap.String("versioning", r.Versioning),
		zap.Bool("may_read", r.MayRead), zap.Bool("may_list", r.MayList), zap.Bool("may_delete", r.MayDelete))
	rec := audit.Record{
		EventID: uuid.New(), Kind: audit.KindSystem, Timestamp: time.Now().UTC(), Status: audit.StatusSuccess, Operation: "store.probe",
		Details: []audit.Detail{
			{Name: "default_retention", Value: r.DefaultRetention},
			{Name: "lock", Value: r.Lock},
			{Name: "lock_mode", Value: r.Mode},
			{Name: "may_delete", Value: strconv.FormatBool(r.MayDelete)},
			{Name: "may_list", Value: strconv.FormatBool(r.MayList)},
			{Name: "may_read", Value: strconv.FormatBool(r.MayRead)},
			{Name: "object", Value: r.Key},
			{Name: "store", Value: r.Store},
			{Name: "versioning", Value: r.Versioning},
		},
	}
	sum := sha256.Sum256(rec.AppendJSON(nil))
	rec.Source.Digest = hex.EncodeToString(sum[:16])
	rec.Complete()
	e.retain(&rec)
	e.noteMu.Lock()
	defer e.noteMu.Unlock()
	e.notes = append(e.notes, rec)
	e.noting.Store(true)
}

// flushNotes appends what waits; what there is no room for stays.
func (e *ledgerExporter) flushNotes(ctx context.Context) error {
	e.noteMu.Lock()
	defer e.noteMu.Unlock()
	var entries []ledger.Entry
	for i := range e.notes {
		entry, err := entryOf(&e.notes[i])
		if err != nil {
			return err
		}
		entries = append(entries, entry)
	}
	if len(entries) > 0 {
		if _, err := e.log.Append(ctx, entries); err != nil {
			return err
		}
	}
	e.notes = nil
	e.noting.Store(false)
	return nil
}

// retain gives a record its class, if there is a policy: the longer of the
// policy's and the one it came with.
func (e *ledgerExporter) retain(r *audit.Record) {
	if e.policy == nil {
		return
	}
	class, rule := e.policy.Choose(retention.Attributes{
		Application: r.ApplicationID, Department: r.Department, Classification: r.DataClassification, Provider: r.Provider,
	})
	if _, known := e.policy.Class(r.RetentionClass); known && e.policy.Longer(r.RetentionClass, class.Name) == r.RetentionClass && r.RetentionClass != class.Name {
		rule = "told with the record"
	} else {
		r.RetentionClass = class.Name
	}
	r.RetentionRule = rule
	at := r.Timestamp
	if now := time.Now(); at.Before(now) {
		at = now
	}
	// The day on which the lock has ended.
	r.RetentionUntil = e.policy.Until(r.RetentionClass, at).AddDate(0, 0, 1).Format(time.DateOnly)
}
