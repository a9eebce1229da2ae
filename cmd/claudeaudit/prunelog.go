package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/claudeaudit/claudeaudit/internal/audit"
	"github.com/claudeaudit/claudeaudit/internal/bucket"
	"github.com/claudeaudit/claudeaudit/internal/index"
	"github.com/claudeaudit/claudeaudit/internal/ledger"
	"github.com/claudeaudit/claudeaudit/internal/witness"
)

// logPruner removes the oldest entries of a ledger.
type logPruner struct {
	at     places
	reader *ledger.Reader
	store  bucket.Store
	held   []string // objects of the matters that stand, sorted
	now    time.Time
}

// streamPrune is what would go of one stream.
type streamPrune struct {
	*ledger.Plan
	segments, containers int
	bytes                int64
	classes              map[string]bool
	until                string // last day of the removed entries' own retention
}

// plan finds what may go of a stream.
func (l *logPruner) plan(ctx context.Context, stream string, limit uint64) (*streamPrune, error) {
	s := &streamPrune{classes: map[string]bool{}}
	// What is counted goes as far as the plan does.
	type counted struct {
		end        uint64
		containers int
		bytes      int64
		classes    map[string]bool
		until      string
	}
	var all []counted
	var err error
	s.Plan, err = l.reader.PlanPrune(ctx, stream, limit, func(ctx context.Context, c *ledger.Candidate) (string, error) {
		n := counted{end: c.End, classes: map[string]bool{}}
		for i, key := range append([]string{c.Segment}, c.Containers...) {
			why, size, err := l.keeps(ctx, key)
			if errors.Is(err, bucket.ErrNotFound) && i > 0 {
				continue // content that went before
			}
			if err != nil || why != "" {
				return why, err
			}
			n.bytes += size
			if i > 0 {
				n.containers++
			}
		}
		why := ""
		err := c.Lines(func(seq uint64, line []byte) error {
			r, err := audit.ParseRecord(line)
			switch {
			case err != nil:
				why = fmt.Sprintf("entry %d is no record of this version", seq)
				return errSaid
			case r.RetentionUntil > l.now.UTC().Format(time.DateOnly):
				why = fmt.Sprintf("entry %d is kept until %s (%s)", seq, r.RetentionUntil, r.RetentionClass)
				return errSaid
			}
			n.until = max(n.until, r.RetentionUntil)
			if r.RetentionClass != "" {
				n.classes[r.RetentionClass] = true
			}
			return nil
		})
		if err != nil && !errors.Is(err, errSaid) {
			return "", err
		}
		if why == "" {
			all = append(all, n)
		}
		return why, nil
	})
	if err != nil {
		return nil, err
	}
	for _, n := range all {
		if n.end > s.Pruned.Size {
			break
		}
		s.segments++
		s.containers += n.containers
		s.bytes += n.bytes
		s.until = max(s.until, n.until)
		maps.Copy(s.classes, n.classes)
	}
	return s, nil
}

// keeps says what keeps an object from being removed, "" when nothing does.
func (l *logPruner) keeps(ctx context.Context, key string) (why string, size int64, err error) {
	info, err := l.store.Stat(ctx, key)
	if err != nil {
		return "", 0, err
	}
	lock, err := l.store.Lock(ctx, key)
	if err != nil {
		return "", 0, err
	}
	_, meant := slices.BinarySearch(l.held, key)
	switch {
	case lock.Hold:
		return key + " is under a legal hold", 0, nil
	case meant:
		return key + " is held by a matter", 0, nil
	case lock.RetainUntil.IsZero():
		return key + " never had a retention", 0, nil
	case lock.Locked(l.now):
		return key + " is locked until " + lock.RetainUntil.UTC().Format(time.RFC3339), 0, nil
	}
	return "", info.Size, nil
}

func (a *app) pruneLog(ctx context.Context, l *logPruner, o pruneOptions) error {
	streams, err := l.reader.Streams()
	if err != nil {
		return err
	}
	limits := map[string]uint64{}
	if o.yes {
		if limits, err = a.verifiedBefore(ctx, o); err != nil {
			return err
		}
	}
	for _, stream := range streams {
		limit, limited := limits[stream]
		if !limited {
			limit = math.MaxUint64
		}
		s, err := l.plan(ctx, stream, limit)
		if err != nil {
			return err
		}
		if o.yes {
			err = a.removePrefix(ctx, l, s, o)
		} else {
			err = a.sayPlan(s)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (a *app) sayPlan(s *streamPrune) error {
	stream := printable(s.Pruned.Origin)
	n := s.Pruned.Size - s.From
	if n == 0 {
		_, err := fmt.Fprintf(a.out, "%s: no entry could be removed, it begins at entry %d; entry %d: %s\n", stream, s.From, s.Next, printable(s.Why))
		return err
	}
	_, err := fmt.Fprintf(a.out, "%s: %d entries in %d segments and %d containers, %d bytes, could be removed (--log --yes); it would begin at entry %d, after %s; entry %d: %s\n",
		stream, n, s.segments, s.containers, s.bytes, s.Pruned.Size, s.Pruned.Hour.Format(time.RFC3339), s.Next, printable(s.Why))
	return err
}

// verifiedBefore verifies the ledger: what does not hold is not removed, since
// it is what shows that. It returns how much of the streams the policy's quorum
// cosigned, if it has one.
func (a *app) verifiedBefore(ctx context.Context, o pruneOptions) (_ map[string]uint64, err error) {
	v := verifyOptions{policy: o.policy, contentless: true}
	e, err := a.findEvidence(ctx, v)
	defer func() { err = errors.Join(err, e.close()) }()
	if err != nil {
		return nil, err
	}
	opts := e.options()
	opts.MissingContent, opts.ContentEvery = true, -1
	if o.policy != "" {
		if opts.Policy, err = witness.LoadPolicy(o.policy); err != nil {
			return nil, fmt.Errorf("--policy: %w", err)
		}
	}
	admin, err := e.verifyAdmin(ctx, v)
	switch {
	case err != nil:
		return nil, err
	case admin.bad():
		return nil, negative{errors.New(admin.why + "; nothing was removed")}
	}
	opts.Removals = admin.removals
	rep, err := ledger.Verify(ctx, opts)
	if err != nil {
		return nil, err
	}
	switch {
	case len(e.missing) > 0:
		return nil, negative{fmt.Errorf("the ledger does not verify, nothing was removed: %s", e.missing[0])}
	case rep.Integrity == ledger.Bad:
		return nil, negative{fmt.Errorf("the ledger does not verify, nothing was removed: %s", rep.Problems[0])}
	case rep.Integrity != ledger.Intact:
		return nil, errors.New("the ledger could not be verified, nothing was removed: its public key is not in the keys' folder")
	}
	limits := map[string]uint64{}
	if opts.Policy != nil && opts.Policy.HasQuorum() {
		for _, s := range rep.Streams {
			limits[s.Origin] = s.Cosigned
		}
	}
	return limits, nil
}

// removePrefix removes what a plan says, and what an earlier one left.
func (a *app) removePrefix(ctx context.Context, l *logPruner, s *streamPrune, o pruneOptions) (err error) {
	begin := s.Pruned
	stores, err := l.stores()
	if err != nil {
		return err
	}
	defer func() {
		for _, c := range stores[1:] {
			err = errors.Join(err, c.Close())
		}
	}()
	again := begin.Size == s.From
	if again {
		left, err := l.left(ctx, stores, &begin)
		if err != nil {
			return err
		}
		if left == 0 {
			if begin.Size > 0 {
				if err := l.forgetInIndex(ctx, &begin); err != nil {
					return err
				}
			}
			_, err := fmt.Fprintf(a.out, "%s: no entry is removed, it begins at entry %d; entry %d: %s\n", printable(begin.Origin), s.From, s.Next, printable(s.Why))
			return err
		}
	}
	admin, err := openAdmin(ctx, l.at)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, admin.close()) }()
	root, digest := begin.Root(), begin.Digest()
	details := map[string]string{
		"by": o.by, "approver_1": o.approvers[0], "approver_2": o.approvers[1], "reason": o.reason,
		"stream": begin.Origin, "from": strconv.FormatUint(s.From, 10), "size": strconv.FormatUint(begin.Size, 10),
		"root": hex.EncodeToString(root[:]), "note_sha256": hex.EncodeToString(digest[:]),
		"classes": strings.Join(slices.Sorted(maps.Keys(s.classes)), ","), "retention_until": s.until,
	}
	// Said before it is done: what is missing is never missing without a word.
	if err := admin.note(ctx, opPruneLog, audit.StatusInitiated, details); err != nil {
		return err
	}
	var msg []byte
	if again {
		msg, err = l.store.Get(ctx, begin.Key(), ledger.MaxPrunedNote)
	} else {
		msg, err = begin.Sign(ctx, admin.key.Signer)
	}
	if err != nil {
		return err
	}
	until, err := l.noteUntil(ctx, begin.Origin)
	if err != nil {
		return err
	}
	for i, store := range stores {
		opts := bucket.PutOptions{ContentType: "text/plain; charset=utf-8"}
		if i == 0 {
			if again {
				continue
			}
			opts.RetainUntil = until
		}
		if err := store.Put(ctx, begin.Key(), msg, opts); err != nil {
			return fmt.Errorf("note of what is removed: %w", err)
		}
	}
	var objects, kept int
	for i, store := range stores {
		if err := ledger.RemovedObjects(ctx, store, begin.Origin, begin.Size, func(obj bucket.ObjectInfo) error {
			if i == 0 {
				switch why, _, err := l.keeps(ctx, obj.Key); {
				case errors.Is(err, bucket.ErrNotFound):
					return nil
				case err != nil:
					return err
				case why != "":
					kept++
					return nil
				}
				objects++
			}
			// The store looks at the lock again.
			return store.Delete(ctx, obj.Key)
		}); err != nil {
			return err
		}
	}
	details["objects"], details["objects_kept"] = strconv.Itoa(objects), strconv.Itoa(kept)
	if err := admin.note(ctx, opPruneLog, audit.StatusSuccess, details); err != nil {
		return err
	}
	if err := l.forgetInIndex(ctx, &begin); err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.out, "%s: %d entries in %d objects are removed, %d objects are kept; it begins at entry %d; entry %d: %s\n",
		printable(begin.Origin), begin.Size-s.From, objects, kept, begin.Size, s.Next, printable(s.Why))
	return err
}

// left counts what an earlier prune left to be removed.
func (l *logPruner) left(ctx context.Context, stores []bucket.Store, begin *ledger.Pruned) (n int, err error) {
	if begin.Size == 0 {
		return 0, nil
	}
	for i, store := range stores {
		if err := ledger.RemovedObjects(ctx, store, begin.Origin, begin.Size, func(o bucket.ObjectInfo) error {
			if i == 0 {
				if why, _, err := l.keeps(ctx, o.Key); err != nil || why != "" {
					return err
				}
			}
			n++
			return nil
		}); err != nil {
			return 0, err
		}
	}
	return n, nil
}

// stores are the store and, of a ledger in a bucket, the copy in its folder.
func (l *logPruner) stores() ([]bucket.Store, error) {
	out := []bucket.Store{l.store}
	if _, remote, err := ledger.ReadLocation(l.at.ledger); err != nil || !remote {
		return out, err
	}
	dir := filepath.Join(l.at.ledger, "store")
	switch _, err := os.Stat(dir); {
	case errors.Is(err, fs.ErrNotExist):
		return out, nil
	case err != nil:
		return nil, fmt.Errorf("local copy: %w", err)
	}
	return append(out, bucket.NewLocal(dir)), nil
}

// noteUntil is how long the note is locked: as long from now as the newest
// checkpoint was from its day. Without the note what was removed would be missing.
func (l *logPruner) noteUntil(ctx context.Context, stream string) (time.Time, error) {
	key, err := l.reader.NewestCheckpointKey(ctx, stream)
	if err != nil || key == "" {
		return time.Time{}, err
	}
	lock, err := l.store.Lock(ctx, key)
	if err != nil || lock.RetainUntil.IsZero() {
		return time.Time{}, err
	}
	day, err := time.Parse("dt=2006-01-02", path.Base(path.Dir(key)))
	if err != nil {
		return time.Time{}, fmt.Errorf("checkpoint %s: %w", key, err)
	}
	return l.now.Add(lock.RetainUntil.Sub(day)), nil
}

// forgetInIndex takes the removed entries out of the index. One in SQLite that a
// collector writes is left to it.
func (l *logPruner) forgetInIndex(ctx context.Context, begin *ledger.Pruned) (err error) {
	s, err := openStore(ctx, l.at)
	switch {
	case errors.Is(err, errNotMade), errors.Is(err, index.ErrLocked):
		return nil
	case err != nil:
		return fmt.Errorf("the entries are removed of the ledger, not of the index: %w", hint(err))
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	return s.Forget(ctx, begin.Origin, begin.Size, begin.Hour)
}
