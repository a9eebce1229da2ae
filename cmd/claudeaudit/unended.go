package main

import (
	"bytes"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/claudeaudit/claudeaudit/internal/audit"
	"github.com/claudeaudit/claudeaudit/internal/ledger"
)

const (
	// kindUnended is completeness's note of a call that began and never ended.
	kindUnended = "initiated-without-end"
	// maxUnended bounds the calls that are remembered at a time.
	maxUnended = 1 << 20
)

// unendedCalls finds the calls of which the ledger says that they began and not
// how they ended. Entries come in the order of the ledger, and a call's
// beginning before its end.
type unendedCalls struct {
	open map[uuid.UUID]begunCall
	// more are beginnings that were not remembered.
	more int
}

type begunCall struct {
	stream string
	seq    uint64
	at     time.Time
}

var (
	initiatedMember = []byte(`"status":"` + audit.StatusInitiated + `"`)
	eventIDMember   = []byte(`"event_id":"`)
)

// entry takes the next entry. Only those that may begin a call are parsed.
func (u *unendedCalls) entry(stream string, seq uint64, line []byte) {
	if bytes.Contains(line, initiatedMember) {
		r, err := audit.ParseRecord(line)
		if err != nil || r.Kind != audit.KindInteraction || r.Status != audit.StatusInitiated {
			return
		}
		if _, again := u.open[r.EventID]; again {
			return
		}
		if len(u.open) == maxUnended {
			u.more++
			return
		}
		if u.open == nil {
			u.open = map[uuid.UUID]begunCall{}
		}
		u.open[r.EventID] = begunCall{stream, seq, r.Timestamp}
		return
	}
	if len(u.open) == 0 {
		return
	}
	i := bytes.Index(line, eventIDMember)
	if i < 0 {
		return
	}
	rest := line[i+len(eventIDMember):]
	const uuidLen = 36
	if len(rest) < uuidLen {
		return
	}
	if id, err := uuid.ParseBytes(rest[:uuidLen]); err == nil {
		delete(u.open, id)
	}
}

// since returns how many calls began before a time and have no end, and a note
// for each of the first of them.
func (u *unendedCalls) since(before time.Time, limit int) (n int, notes []ledger.Problem) {
	for id, c := range u.open {
		if c.at.Before(before) {
			notes = append(notes, ledger.Problem{
				Kind: kindUnended, Stream: c.stream, Seq: &c.seq,
				Detail: "call " + id.String() + " began at " + c.at.UTC().Format(time.RFC3339) + ", and no entry says how it ended",
			})
		}
	}
	n = len(notes) + u.more
	slices.SortFunc(notes, func(a, b ledger.Problem) int {
		switch {
		case a.Stream != b.Stream && a.Stream < b.Stream:
			return -1
		case a.Stream != b.Stream:
			return 1
		case *a.Seq < *b.Seq:
			return -1
		}
		return 1
	})
	return n, notes[:min(len(notes), limit)]
}
