package ledger

import (
	"context"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/claudeaudit/claudeaudit/internal/bucket"
)

// hiding is a store whose listings lack a segment for some times, as those over a folder may that is being written to.
type hiding struct {
	bucket.Store
	segment string // begins the segment's name
	times   atomic.Int64
}

func (s *hiding) List(ctx context.Context, prefix, after string, fn func(bucket.ObjectInfo) error) error {
	hide := s.times.Load() > 0
	return s.Store.List(ctx, prefix, after, func(o bucket.ObjectInfo) error {
		if hide && strings.Contains(o.Key, "/seg/") && strings.HasPrefix(o.Key[strings.LastIndexByte(o.Key, '/')+1:], s.segment) {
			s.times.Add(-1)
			return nil
		}
		return fn(o)
	})
}

func TestListingWithoutASegment(t *testing.T) {
	const each, segments = 3, 6
	e := newEnv(t)
	l := e.open(t, func(o *Options) { o.SegmentEntries = each })
	for i := range each * segments {
		_, err := l.Append(t.Context(), []Entry{testEntry(i)})
		require.NoError(t, err)
	}
	closeLog(t, l)

	for name, tc := range map[string]struct {
		segment string
		times   int64
		missing bool
	}{
		"shown at the second look":            {segment: "0000000000000006-", times: 1},
		"the first, shown at the second":      {segment: "0000000000000000-", times: 1},
		"one that is not there":               {segment: "0000000000000006-", times: 1 << 30, missing: true},
		"the last, which nothing comes after": {segment: "0000000000000015-", times: 1, missing: true},
	} {
		t.Run(name, func(t *testing.T) {
			s := &hiding{Store: bucket.NewLocal(filepath.Join(e.dir, "store")), segment: tc.segment}
			s.times.Store(tc.times)
			var got []uint64
			require.NoError(t, eachSegment(t.Context(), s, l.Origin(), "", 0, func(n segName) error {
				got = append(got, n.first)
				return nil
			}))
			if tc.missing {
				require.Len(t, got, segments-1)
			} else {
				require.Equal(t, []uint64{0, 3, 6, 9, 12, 15}, got)
			}
		})
	}

	t.Run("verified", func(t *testing.T) {
		s := &hiding{Store: bucket.NewLocal(filepath.Join(e.dir, "store")), segment: "0000000000000009-"}
		s.times.Store(2) // from the listing of all objects, and from that of the segments
		r := e.verify(t, func(o *VerifyOptions) { o.Dir, o.Store, o.WALDir = "", s, filepath.Join(e.dir, "wal") })
		requireIntact(t, r)
		require.EqualValues(t, each*segments, r.Entries)
		require.Zero(t, s.times.Load())

		s.times.Store(1 << 30)
		r = e.verify(t, func(o *VerifyOptions) { o.Dir, o.Store, o.WALDir = "", s, filepath.Join(e.dir, "wal") })
		require.Equal(t, KindMissing, r.Problems[0].Kind)
	})

	for name, times := range map[string]int64{"read": 1, "read, shown late": 2} {
		t.Run(name, func(t *testing.T) {
			s := &hiding{Store: bucket.NewLocal(filepath.Join(e.dir, "store")), segment: "0000000000000009-"}
			s.times.Store(times)
			r := NewReader(s, filepath.Join(e.dir, "wal"))
			n := 0
			require.NoError(t, r.Entries(t.Context(), l.Origin(), 0, func(uint64, []byte) error { n++; return nil }))
			require.Equal(t, each*segments, n)
			require.NoError(t, r.Close())
		})
	}
}
