package elasticsearch

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/claudeaudit/claudeaudit/internal/audit"
	"github.com/claudeaudit/claudeaudit/internal/index"
	"github.com/claudeaudit/claudeaudit/internal/jcs"
)

// dayFormat is how an index name ends.
const dayFormat = "2006.01.02"

// The days of records. A record that is dated before or after has the first or
// the last: nobody who sends dates of his own makes more indices than these.
var (
	firstDay = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	lastDay  = time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)
)

// dayOf returns the UTC day whose index holds a record of time t, in the order
// of index.UnixNano.
func dayOf(t time.Time) time.Time {
	switch {
	case t.Before(firstDay):
		return firstDay
	case t.After(lastDay):
		return lastDay
	}
	return t.UTC().Truncate(24 * time.Hour)
}

// role is what a document is for.
type role uint8

const (
	// shown documents are those that searches find, in the indices of days.
	shown role = iota
	// parked documents are of events that show under a twin.
	parked
	// dead documents are those that the server could not take.
	dead
)

// document is what the entries of an event, or of twins, say.
type document struct {
	event   uuid.UUID
	entries []index.Parsed // at least one; sorted as merged
	record  audit.Record
	role    role
	// head is the event that a parked one shows under, and time its time.
	head uuid.UUID
	time int64
	// reason why a document is dead.
	reason string
}

// newDocument merges entries into the document of an event. It sorts them.
func newDocument(event uuid.UUID, entries []index.Parsed) document {
	rec := index.MergeParsed(entries)
	rec.EventID = event
	return document{event: event, entries: entries, record: rec, time: index.UnixNano(rec.Timestamp)}
}

// own are the entries of the event itself, not of its twins.
func (d *document) own() []index.Parsed {
	var own []index.Parsed
	for _, e := range d.entries {
		if e.Record.EventID == d.event {
			own = append(own, e)
		}
	}
	return own
}

// joined says whether the document has entries of twins.
func (d *document) joined() bool {
	return slices.ContainsFunc(d.entries, func(e index.Parsed) bool { return e.Record.EventID != d.event })
}

// ids are those of the call that the event's own entries tell.
func (d *document) ids() []index.CallID {
	if !d.joined() {
		return index.AppendCallIDs(nil, &d.record)
	}
	own := d.own()
	if len(own) == 0 {
		return nil
	}
	rec := index.MergeParsed(own)
	return index.AppendCallIDs(nil, &rec)
}

// streams are the streams of the entries, sorted.
func (d *document) streams() []string {
	var out []string
	for _, e := range d.entries {
		out = append(out, e.Stream)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// events are the events of the entries, the document's own first.
func (d *document) events() []string {
	var out []string
	for _, e := range d.entries {
		if e.Record.EventID != d.event {
			out = append(out, e.Record.EventID.String())
		}
	}
	slices.Sort(out)
	return append([]string{d.event.String()}, slices.Compact(out)...)
}

// append appends the document as it is written: always the same bytes for the
// same entries.
func (d *document) append(b []byte) []byte {
	single := len(d.entries) == 1 && d.role == shown
	if d.role == shown {
		from := len(b)
		b = d.record.AppendJSON(b)
		if single && (d.record.Log != d.entries[0].Stream || d.record.Seq != d.entries[0].Seq) ||
			single && !bytes.Equal(b[from:], d.entries[0].Line) {
			single = false
		}
		b = b[:len(b)-1]
		b = append(b, `,"_hash":"`...)
		if last := d.last(); last.Record.Erased != "" {
			b = append(b, last.Record.Erased...)
		} else {
			leaf := index.LeafHash(last.Line)
			b = hex.AppendEncode(b, leaf[:])
		}
		b = append(b, `","index":{`...)
	} else {
		b = append(b, `{"event_id":"`...)
		b = append(b, d.event.String()...)
		b = append(b, '"')
		if d.role == parked {
			b = append(b, `,"head":"`...)
			b = append(b, d.head.String()...)
			b = append(b, '"')
		} else {
			b = append(b, `,"reason":`...)
			b = jcs.AppendString(b, d.reason)
		}
		b = append(b, `,"index":{`...)
	}
	if !single {
		b = append(b, `"entries":[`...)
		for i, e := range d.entries {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(b, `{"stream":`...)
			b = jcs.AppendString(b, e.Stream)
			b = append(b, `,"seq":`...)
			b = strconv.AppendUint(b, e.Seq, 10)
			b = append(b, `,"line":`...)
			b = jcs.AppendString(b, string(e.Line))
			b = append(b, '}')
		}
		b = append(b, `],`...)
	}
	b = append(b, `"events":`...)
	b = appendStrings(b, d.events())
	if ids := d.ids(); len(ids) > 0 {
		b = append(b, `,"ids":`...)
		b = appendStrings(b, idNames(ids))
	}
	b = append(b, `,"streams":`...)
	b = appendStrings(b, d.streams())
	b = append(b, `,"time":`...)
	b = strconv.AppendInt(b, d.time, 10)
	return append(b, "}}"...)
}

// last is the entry whose place the record has: the one merged last.
func (d *document) last() *index.Parsed {
	for i := range d.entries {
		if e := &d.entries[i]; e.Stream == d.record.Log && e.Seq == d.record.Seq {
			return e
		}
	}
	return &d.entries[len(d.entries)-1]
}

// idNames are the ids as documents have them.
func idNames(ids []index.CallID) []string {
	out := make([]string, len(ids))
	for i, id := range ids {
		out[i] = id.String()
	}
	return out
}

func appendStrings(b []byte, list []string) []byte {
	b = append(b, '[')
	for i, s := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = jcs.AppendString(b, s)
	}
	return append(b, ']')
}

// source is what is read of a document, whatever its role.
type source struct {
	Event  string `json:"event_id"`
	Head   string `json:"head"`
	Reason string `json:"reason"`
	Log    string `json:"_log"` // place of the entry merged last
	Seq    uint64 `json:"_seq"`
	Index  struct {
		Entries []struct {
			Stream string `json:"stream"`
			Seq    uint64 `json:"seq"`
			Line   string `json:"line"`
		} `json:"entries"`
		Events []string `json:"events"`
		Time   int64    `json:"time"`
	} `json:"index"`
}

func readSource(raw []byte) (source, error) {
	var s source
	if err := json.Unmarshal(raw, &s); err != nil {
		return s, fmt.Errorf("%w: %w", index.ErrCorrupt, err)
	}
	return s, nil
}

// readDocument reads a document back. Its errors wrap index.ErrCorrupt: then it
// is not one that was written so.
func readDocument(raw []byte, r role) (document, error) {
	s, err := readSource(raw)
	if err != nil {
		return document{}, err
	}
	event, err := uuid.Parse(s.Event)
	if err != nil {
		return document{}, fmt.Errorf("%w: a document without an event_id", index.ErrCorrupt)
	}
	var entries []index.Parsed
	for _, e := range s.Index.Entries {
		p, err := index.ParseEntry(index.Entry{Stream: e.Stream, Seq: e.Seq, Line: []byte(e.Line)})
		if err != nil {
			return document{}, fmt.Errorf("%w: document %s: %w", index.ErrCorrupt, event, err)
		}
		entries = append(entries, p)
	}
	if len(s.Index.Entries) == 0 {
		rec, err := audit.ParseRecord(raw)
		if err != nil || rec.Log == "" {
			return document{}, fmt.Errorf("%w: document %s has no entries", index.ErrCorrupt, event)
		}
		line := rec.AppendJSON(nil)
		entries = []index.Parsed{{Entry: index.Entry{Stream: rec.Log, Seq: rec.Seq, Line: line}, Record: &rec}}
	}
	d := newDocument(event, entries)
	d.role = r
	switch r {
	case parked:
		if d.head, err = uuid.Parse(s.Head); err != nil {
			return document{}, fmt.Errorf("%w: document %s has no head", index.ErrCorrupt, event)
		}
		d.time = s.Index.Time
	case dead:
		d.reason = s.Reason
	case shown:
	}
	return d, nil
}

// union adds entries to others. An entry of the same place replaces the one
// that is there: the ledger has but one. What was erased stays so.
func union(have, more []index.Parsed) []index.Parsed {
	for _, e := range more {
		i := slices.IndexFunc(have, func(h index.Parsed) bool { return h.Seq == e.Seq && h.Stream == e.Stream })
		if i < 0 {
			have = append(have, e)
		} else if have[i].Record.Erased == "" {
			have[i] = e
		}
	}
	return have
}

// sameEntries says whether two sets of entries are equal.
func sameEntries(a, b []index.Parsed) bool {
	if len(a) != len(b) {
		return false
	}
	for _, e := range a {
		if !slices.ContainsFunc(b, func(o index.Parsed) bool {
			return o.Seq == e.Seq && o.Stream == e.Stream && bytes.Equal(o.Line, e.Line)
		}) {
			return false
		}
	}
	return true
}

// names of the indices.
type names struct{ prefix string }

func (n names) day(t time.Time) string { return n.prefix + "-" + dayOf(t).Format(dayFormat) }
func (n names) days() string           { return n.prefix + "-*" }
func (n names) template() string       { return n.prefix }
func (n names) state() string          { return n.prefix + ".state" }
func (n names) parked() string         { return n.prefix + ".twins" }
func (n names) dead() string           { return n.prefix + ".dead-letter" }

// dayNamed is the day of an index, false when it is none of ours.
func (n names) dayNamed(name string) (time.Time, bool) {
	rest, ok := strings.CutPrefix(name, n.prefix+"-")
	if !ok {
		return time.Time{}, false
	}
	t, err := time.Parse(dayFormat, rest)
	return t, err == nil
}

func (n names) roleOf(name string) role {
	switch name {
	case n.parked():
		return parked
	case n.dead():
		return dead
	}
	return shown
}

// index is where a document belongs.
func (n names) index(d *document) string {
	switch d.role {
	case parked:
		return n.parked()
	case dead:
		return n.dead()
	}
	return n.day(d.record.Timestamp)
}

func compareEvents(a, b uuid.UUID) int { return cmp.Compare(a.String(), b.String()) }
