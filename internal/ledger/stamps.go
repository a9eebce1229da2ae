package ledger

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/claudeaudit/claudeaudit/internal/bucket"
	"github.com/claudeaudit/claudeaudit/internal/stamp"
)

const (
	stampSuffix = ".tsr"
	typeStamp   = "application/timestamp-reply"
)

func stampDir(origin string) string { return "v1/" + origin + "/tsr/" }

// stampKey is the name of the time stamp of a checkpoint, by the day on which it was got.
func stampKey(origin string, day time.Time, size uint64) string {
	return fmt.Sprintf("%s%s/%016d%s", stampDir(origin), dayPath(day), size, stampSuffix)
}

// parseStampKey reads "dt=…/<size>.tsr".
func parseStampKey(rest string) (size uint64, ok bool) {
	name, isStamp := strings.CutSuffix(rest, stampSuffix)
	if !isStamp {
		return 0, false
	}
	size, ok = parseCheckpointKey(name + noteSuffix)
	return size, ok && size > 0
}

// Stamp gives the text of the newest stored checkpoint (origin, size, root) to
// get, and stores the time stamp of it that get returns: once a day, and only
// of a checkpoint that has none. ok is false when there was nothing to do.
func (l *Log) Stamp(ctx context.Context, get func(ctx context.Context, text []byte) ([]byte, error)) (c Checkpoint, ok bool, err error) {
	today := l.opts.hooks.now().UTC()
	dir := stampDir(l.origin)
	done := false
	var last uint64
	if err := l.store.List(ctx, dir, "", func(o bucket.ObjectInfo) error {
		rest := o.Key[len(dir):]
		if size, ok := parseStampKey(rest); ok {
			last = max(last, size)
			done = done || strings.HasPrefix(rest, dayPath(today)+"/")
		}
		return nil
	}); err != nil {
		return c, false, fmt.Errorf("time stamp: %w", err)
	}
	if done {
		return c, false, nil
	}
	if c, err = l.newestCheckpoint(ctx, l.origin, time.Time{}); err != nil {
		return c, false, fmt.Errorf("time stamp: %w", err)
	}
	if c.Size <= last {
		return c, false, nil
	}
	der, err := get(ctx, []byte(c.text()))
	if err != nil {
		return c, false, err
	}
	key := stampKey(l.origin, today, c.Size)
	if err := l.store.Put(ctx, key, der, bucket.PutOptions{ContentType: typeStamp, RetainUntil: l.retainUntil("")}); err != nil {
		return c, false, fmt.Errorf("store the time stamp: %w", err)
	}
	return c, true, nil
}

// stored is a time stamp in the store.
type stored struct {
	key  string
	size uint64
}

// takeStamps holds the time stamps of one size against the tree, if it is known.
// It returns the name of one.
func (m *marks) takeStamps(size uint64, root Hash, known bool) (name string) {
	v, s := m.v, m.s
	for len(m.stamps) > 0 && m.stamps[0].size <= size {
		st := m.stamps[0]
		m.stamps = m.stamps[1:]
		name = st.key
		if !known || v.opts.Policy == nil || len(v.opts.Policy.Authorities) == 0 {
			continue
		}
		seq := at(max(size, 1) - 1)
		der, err := v.get(m.ctx, st.key, stamp.MaxSize)
		if err != nil {
			v.problem(KindTimestamp, st.key, s.Origin, seq, "can't be read: %v", err)
			continue
		}
		seen, by, err := stamp.Check(der, []byte(Checkpoint{s.Origin, size, root}.text()), v.opts.Policy.Authorities)
		if err != nil {
			v.problem(KindTimestamp, st.key, s.Origin, seq, "of the %d entries as they are now: %v", size, err)
			continue
		}
		s.Stamps++
		if size > s.Stamped {
			s.Stamped, s.StampedAt, s.StampedBy = size, seen, by.Name
		}
	}
	return name
}

// sortStamps is called when all are listed.
func sortStamps(all []stored) {
	slices.SortFunc(all, func(a, b stored) int {
		return cmp.Or(cmp.Compare(a.size, b.size), strings.Compare(a.key, b.key))
	})
}

// uncheckedStamps says that there are time stamps and nothing to check them with.
func (v *verifier) uncheckedStamps() (string, bool) {
	if p := v.opts.Policy; p != nil && len(p.Authorities) > 0 {
		return "", false
	}
	n := 0
	for _, s := range v.streams {
		n += s.stampCount
	}
	if n == 0 {
		return "", false
	}
	return strconv.Itoa(n) + " time stamps were not checked: the policy names no authority (tsa)", true
}
