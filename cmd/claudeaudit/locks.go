package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/claudeaudit/claudeaudit/internal/bucket"
	"github.com/claudeaudit/claudeaudit/internal/ledger"
	"github.com/claudeaudit/claudeaudit/internal/subject"
)

const (
	kindUnlocked = "unlocked"
	kindNotHeld  = "not-held"
	// lockWorkers is how many locks are asked for at a time, maxUnlocked how many findings are kept.
	lockWorkers = 16
	maxUnlocked = 1000
)

// checkLocks asks the store for the lock of every object. One whose retention
// has ended is in order; one that never had any is not, nor, if holds is set, one
// that a matter ought to hold.
func checkLocks(ctx context.Context, e evidence, holds bool) ([]ledger.Problem, error) {
	var held map[string]bool
	if holds {
		var err error
		if held, err = heldObjects(ctx, e); err != nil {
			return nil, err
		}
	}
	var mu sync.Mutex
	var found []ledger.Problem
	var failed error
	keys := make(chan string)
	var workers sync.WaitGroup
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for range lockWorkers {
		workers.Go(func() {
			for key := range keys {
				l, err := e.store.Lock(ctx, key)
				mu.Lock()
				switch {
				case err != nil && failed == nil:
					failed = fmt.Errorf("--locks: %w", err)
					cancel()
				case err != nil || len(found) >= maxUnlocked:
				case l.RetainUntil.IsZero() && !l.Hold:
					found = append(found, ledger.Problem{Kind: kindUnlocked, Object: key, Detail: "the store shows neither a retention nor a hold"})
				case held[key] && !l.Hold:
					found = append(found, ledger.Problem{Kind: kindNotHeld, Object: key, Detail: "a matter holds it, and the store shows no legal hold"})
				}
				mu.Unlock()
			}
		})
	}
	err := e.store.List(ctx, "", "", func(o bucket.ObjectInfo) error {
		if strings.HasPrefix(o.Key, bucket.ProbeDir) {
			return nil
		}
		select {
		case keys <- o.Key:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	})
	close(keys)
	workers.Wait()
	if failed != nil {
		return nil, failed
	}
	if err != nil {
		return nil, fmt.Errorf("--locks: %w", err)
	}
	slices.SortFunc(found, func(a, b ledger.Problem) int { return strings.Compare(a.Object, b.Object) })
	return found, nil
}

// heldObjects are the objects that the matters of the log of holds have.
func heldObjects(ctx context.Context, e evidence) (_ map[string]bool, err error) {
	held := map[string]bool{}
	if e.at.admin == "" {
		return held, nil
	}
	holds, err := activeHolds(ctx, e.at)
	if err != nil || len(holds) == 0 {
		return held, err
	}
	r := ledger.NewReader(e.store, filepath.Join(e.at.ledger, "wal"))
	defer func() { err = errors.Join(err, r.Close()) }()
	for _, h := range holds {
		found, err := subject.Find(ctx, r, h.matches)
		if err != nil {
			return nil, err
		}
		objects, err := objectsOf(ctx, r, found)
		if err != nil {
			return nil, err
		}
		for _, k := range objects {
			held[k] = true
		}
	}
	return held, nil
}
