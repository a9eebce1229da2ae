package index

import (
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/claudeaudit/claudeaudit/internal/audit"
)

func TestEraseDetails(t *testing.T) {
	for _, n := range []int{1, eventsPerDetail, eventsPerDetail + 1, EventsPerErasure} {
		var events []uuid.UUID
		r := audit.Record{EventID: uuid.New(), Kind: audit.KindSystem, Status: audit.StatusSuccess, Operation: EraseOperation}
		for range n {
			events = append(events, uuid.New())
		}
		for name, value := range EraseDetails(events) {
			r.Details = append(r.Details, audit.Detail{Name: name, Value: value})
		}
		r.Details = append(r.Details, audit.Detail{Name: "subject", Value: strings.Repeat("a", 64)})
		r.Complete()
		require.NotContains(t, r.PolicyFlags, audit.FlagFieldTooLong)
		line := r.AppendJSON(nil)
		require.Less(t, len(line), 20<<10)
		read, err := audit.ParseRecord(line)
		require.NoError(t, err)
		got, err := erasedBy(&read)
		require.NoError(t, err)
		require.ElementsMatch(t, events, got)
	}
}

func TestErasedBy(t *testing.T) {
	of := func(change func(*audit.Record)) audit.Record {
		r := audit.Record{Kind: audit.KindSystem, Status: audit.StatusSuccess, Operation: EraseOperation, Details: []audit.Detail{{Name: "events_00", Value: "AAAAAAAAAAAAAAAAAAAAAQ"}}}
		change(&r)
		return r
	}
	for _, tt := range []struct {
		name   string
		record audit.Record
		events int
		bad    bool
	}{
		{"an erasure", of(func(*audit.Record) {}), 1, false},
		{"one that was not carried out", of(func(r *audit.Record) { r.Status = audit.StatusInitiated }), 0, false},
		{"what a sender says", of(func(r *audit.Record) { r.Kind = audit.KindInteraction }), 0, false},
		{"another operation", of(func(r *audit.Record) { r.Operation = "subject.erase" }), 0, false},
		{"half an event", of(func(r *audit.Record) { r.Details[0].Value = "AAAA" }), 0, true},
		{"no base64", of(func(r *audit.Record) { r.Details[0].Value = "!" }), 0, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := erasedBy(&tt.record)
			require.Equal(t, tt.bad, err != nil)
			require.Len(t, got, tt.events)
		})
	}
}

func TestErasedForm(t *testing.T) {
	id, other := uuid.New(), uuid.New()
	var e Erased
	require.NoError(t, e.add([]uuid.UUID{id}))
	line := func(id uuid.UUID, details ...audit.Detail) []byte {
		r := audit.Record{EventID: id, Kind: audit.KindInteraction, UserID: "carol", Status: audit.StatusSuccess, Details: details}
		r.Complete()
		return r.AppendJSON(nil)
	}
	named := audit.Detail{Name: "event_id", Value: id.String()}
	for _, tt := range []struct {
		name   string
		line   []byte
		erased bool
	}{
		{"of the event", line(id), true},
		{"of another", line(other), false},
		{"of another, with the event in it", line(other, named), false},
		{"of the event, with another in it", line(id, audit.Detail{Name: "event_id", Value: other.String()}), true},
		{"no record", []byte(`{"event_id":"` + id.String() + `","kind":7}`), false},
		{"cut", []byte(`{"event_id":"`), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := e.Form(tt.line)
			if !tt.erased {
				require.Equal(t, string(tt.line), string(got))
				return
			}
			require.NotContains(t, string(got), "carol")
			require.Equal(t, string(got), string(e.Form(got)), "erased once")
			r, err := audit.ParseRecord(got)
			require.NoError(t, err)
			require.Equal(t, string(got), string(r.AppendJSON(nil)))
		})
	}
	var none *Erased
	require.Equal(t, "x", string(none.Form([]byte("x"))))
}
