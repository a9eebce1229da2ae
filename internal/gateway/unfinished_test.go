package gateway

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/claudeaudit/claudeaudit/internal/audit"
	"github.com/claudeaudit/claudeaudit/internal/genai"
	"github.com/claudeaudit/claudeaudit/internal/ledger"
	"github.com/claudeaudit/claudeaudit/internal/seal"
)

func TestUnfinished(t *testing.T) {
	const name = `claude_gateway/"one"`
	before := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	calls := map[string]uuid.UUID{}
	// told is an entry of the gateway's.
	told := func(call, status string, change func(*audit.Record)) audit.Record {
		if calls[call] == uuid.Nil {
			calls[call] = uuid.New()
		}
		r := audit.Record{
			EventID: calls[call], Kind: audit.KindInteraction, Timestamp: before.Add(-time.Hour), Status: status,
			UserID: call, Source: audit.Source{Dialect: genai.DialectGateway, Scope: name, Signal: "log"},
		}
		if change != nil {
			change(&r)
		}
		return r
	}
	item := func(call, create, status string) audit.Record {
		r := told(call, status, nil)
		r.EventID = itemID(calls[create], call)
		r.Call = audit.Call{BatchItem: call, RequestSHA256: "sha of " + create}
		return r
	}
	batch := func(call, operation, status, id string) audit.Record {
		return told(call, status, func(r *audit.Record) {
			r.Kind, r.Operation, r.Call.BatchID, r.Call.RequestSHA256 = audit.KindActivity, operation, id, "sha of "+call
		})
	}
	for title, tc := range map[string]struct {
		entries []audit.Record
		open    []string // users of the calls without an end
		batches []string
	}{
		"nothing": {},
		"a call without an end": {
			entries: []audit.Record{
				told("over", audit.StatusInitiated, nil), told("open", audit.StatusInitiated, nil), told("over", audit.StatusSuccess, nil),
			},
			open: []string{"open"},
		},
		"an end that stands before its beginning": {
			entries: []audit.Record{told("over", audit.StatusError, nil), told("over", audit.StatusInitiated, nil)},
		},
		"another gateway's, an SDK's and one that is under way": {
			entries: []audit.Record{
				told("other", audit.StatusInitiated, func(r *audit.Record) { r.Source.Scope = "claude_gateway" }),
				told("sdk", audit.StatusInitiated, func(r *audit.Record) { r.Source.Dialect = "semconv" }),
				told("now", audit.StatusInitiated, func(r *audit.Record) { r.Timestamp = before.Add(time.Second) }),
			},
		},
		"texts that look like members": {
			entries: []audit.Record{
				told(`","status":"initiated","x":"`, audit.StatusSuccess, nil),
				told(`"dialect":"gateway"`, audit.StatusInitiated, func(r *audit.Record) { r.Source.Dialect = "semconv" }),
				told(`"event_id":"`, audit.StatusInitiated, nil),
			},
			open: []string{`"event_id":"`},
		},
		"a batch whose results are to come, and one that was not made": {
			entries: []audit.Record{
				batch("create", batchCreate, audit.StatusInitiated, ""), item("a", "create", audit.StatusInitiated), item("b", "create", audit.StatusInitiated),
				batch("create", batchCreate, audit.StatusSuccess, "msgbatch_1"), item("b", "create", audit.StatusSuccess),
				batch("lost", batchCreate, audit.StatusInitiated, ""), item("c", "lost", audit.StatusInitiated),
			},
			open:    []string{"lost", "c"},
			batches: []string{"msgbatch_1"},
		},
		"a batch whose results are told": {
			entries: []audit.Record{
				batch("create", batchCreate, audit.StatusInitiated, ""), item("a", "create", audit.StatusInitiated),
				batch("create", batchCreate, audit.StatusSuccess, "msgbatch_1"), batch("fetch", batchResults, audit.StatusSuccess, "msgbatch_1"),
			},
			open: []string{"a"},
		},
	} {
		t.Run(title, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "ledger")
			open, batches, err := Unfinished(t.Context(), dir, name, before)
			require.NoError(t, err, "a ledger that isn't there yet")
			require.Empty(t, open)
			require.Empty(t, batches)

			k, err := seal.GenerateCheckpointKey("test")
			require.NoError(t, err)
			l, err := ledger.Open(t.Context(), ledger.Options{Dir: dir, Signer: k.Signer, VerifierKey: k.VerifierKey})
			require.NoError(t, err)
			defer func() { require.NoError(t, l.Close(context.Background())) }()
			for i := range tc.entries {
				_, err := l.Append(t.Context(), []ledger.Entry{{ID: tc.entries[i].EventID, Body: &tc.entries[i]}})
				require.NoError(t, err)
			}
			open, batches, err = Unfinished(t.Context(), dir, name, before)
			require.NoError(t, err)
			var users, ids []string
			for i := range open {
				users = append(users, open[i].UserID)
			}
			for _, b := range batches {
				ids = append(ids, b.ID)
			}
			require.ElementsMatch(t, tc.open, users)
			require.ElementsMatch(t, tc.batches, ids)
		})
	}
}
