package index

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	"github.com/claudeaudit/claudeaudit/internal/audit"
)

// Parsed is an entry with what it says. Copies of it have the same record, which is not changed: see Erase.
type Parsed struct {
	Entry
	Record *audit.Record
}

// ParseEntry reads an entry's line, whose memory the record shares: it must not change any more.
func ParseEntry(e Entry) (Parsed, error) {
	rec := new(audit.Record)
	if err := rec.Parse(e.Line); err != nil {
		return Parsed{}, fmt.Errorf("reading entry %d of %s: %w", e.Seq, e.Stream, err)
	}
	return Parsed{Entry: e, Record: rec}, nil
}

// Erase brings an entry into its erased form.
func (p *Parsed) Erase() {
	rec := *p.Record
	p.Line = EraseForm(&rec, p.Line)
	p.Record = &rec
}

// MergeParsed merges the entries of one logical record, of one event or of
// twins, whatever their order. It sorts entries into the order of the merge:
// by revision, then stream, then sequence number. The event_id is that of the
// entry with the smallest (stream, sequence number). Where an event has an entry in erased form,
// its others are brought into it. It panics on no entries.
func MergeParsed(entries []Parsed) audit.Record {
	if len(entries) == 1 {
		return audit.Merge([]*audit.Record{entries[0].Record})
	}
	eraseTogether(entries)
	slices.SortFunc(entries, func(a, b Parsed) int {
		return cmp.Or(cmp.Compare(a.Record.Revision, b.Record.Revision), cmp.Compare(a.Stream, b.Stream), cmp.Compare(a.Seq, b.Seq))
	})
	recs := make([]*audit.Record, len(entries))
	primary := &entries[0]
	for i := range entries {
		e := &entries[i]
		recs[i] = e.Record
		if cmp.Or(cmp.Compare(e.Stream, primary.Stream), cmp.Compare(e.Seq, primary.Seq)) < 0 {
			primary = e
		}
	}
	rec := audit.Merge(recs)
	rec.EventID = primary.Record.EventID
	return rec
}

// Place is where an entry lies.
type Place struct {
	Stream string
	Seq    uint64
}

// Compare orders places.
func (p Place) Compare(o Place) int {
	return cmp.Or(cmp.Compare(p.Stream, o.Stream), cmp.Compare(p.Seq, o.Seq))
}

// LeafHash returns the RFC 6962 leaf hash of a line.
func LeafHash(line []byte) [32]byte {
	h := sha256.New()
	h.Write([]byte{0})
	h.Write(line)
	var sum [32]byte
	h.Sum(sum[:0])
	return sum
}

var prevKey = []byte(`","_prev":"`)

// PrevHash returns the _prev member of a ledger line without parsing it: the
// members of the chain come first, and the bytes looked for can't occur inside
// a JSON string.
func PrevHash(line []byte) ([32]byte, error) {
	var sum [32]byte
	i := bytes.Index(line, prevKey)
	if i < 0 || len(line) < i+len(prevKey)+64 {
		return sum, fmt.Errorf("the line has no _prev")
	}
	if _, err := hex.Decode(sum[:], line[i+len(prevKey):i+len(prevKey)+64]); err != nil {
		return sum, fmt.Errorf("the line's _prev is not a hash")
	}
	return sum, nil
}

// UnixNano returns t as nanoseconds since 1970, held to what an int64 can say
// (years 1678 to 2261).
func UnixNano(t time.Time) int64 {
	switch {
	case t.Year() < 1678:
		return time.Date(1678, 1, 1, 0, 0, 0, 0, time.UTC).UnixNano()
	case t.Year() > 2261:
		return time.Date(2262, 1, 1, 0, 0, 0, 0, time.UTC).UnixNano() - 1
	}
	return t.UnixNano()
}

// FollowChain follows the chain from a cursor through the lines of a batch and
// returns the cursor behind them. known says that the cursor has the hash of an
// entry before; else the first line is taken as it is. Its error is ErrDiverged.
func FollowChain(c Cursor, known bool, lines []Line) (Cursor, error) {
	for i := range lines {
		l := &lines[i]
		if l.Seq != c.Next {
			return c, fmt.Errorf("%w: entry %d came where %d was due", ErrDiverged, l.Seq, c.Next)
		}
		if known || i > 0 {
			prev, err := PrevHash(l.Data)
			if err != nil {
				return c, fmt.Errorf("%w: entry %d: %w", ErrDiverged, l.Seq, err)
			}
			if prev != c.Last {
				return c, fmt.Errorf("%w: entry %d does not follow the entry before it", ErrDiverged, l.Seq)
			}
		}
		c.Next, c.Last = l.Seq+1, l.Leaf
	}
	return c, nil
}
