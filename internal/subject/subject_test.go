package subject

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"

	"github.com/claudeaudit/claudeaudit/internal/audit"
	"github.com/claudeaudit/claudeaudit/internal/bucket"
	"github.com/claudeaudit/claudeaudit/internal/ledger"
)

func TestOf(t *testing.T) {
	require.Equal(t, "user:carol", Of(&audit.Record{UserID: "carol", SessionID: "s"}))
	require.Equal(t, "session:s", Of(&audit.Record{SessionID: "s"}))
	require.Equal(t, "nobody", Of(&audit.Record{}))
	require.NotEqual(t, Of(&audit.Record{UserID: "x"}), Of(&audit.Record{SessionID: "x"}))
}

func TestMatches(t *testing.T) {
	at := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	r := &audit.Record{UserID: "carol", SessionID: "s", ApplicationID: "app", Department: "d", Timestamp: at}
	for name, tc := range map[string]struct {
		q    Query
		want bool
	}{
		"user":          {Query{User: "carol"}, true},
		"another user":  {Query{User: "caro"}, false},
		"all":           {Query{User: "carol", Session: "s", Application: "app", Department: "d", From: at, To: at.Add(1)}, true},
		"one differs":   {Query{User: "carol", Department: "e"}, false},
		"before from":   {Query{From: at.Add(1)}, false},
		"to is outside": {Query{To: at}, false},
	} {
		require.Equal(t, tc.want, tc.q.Matches(r), name)
	}
	require.True(t, Query{}.Empty())
}

// A call that a second writer tells too, without the user, is the person's as well; an
// id that is no call's, or two calls of one writer, are not.
func TestFindTwins(t *testing.T) {
	skey, vkey, err := note.GenerateKey(rand.Reader, "test")
	require.NoError(t, err)
	signer, err := note.NewSigner(skey)
	require.NoError(t, err)
	store := bucket.NewLocal(filepath.Join(t.TempDir(), "store"))
	n := byte(0)
	write := func(origin string, recs ...audit.Record) {
		t.Helper()
		l, err := ledger.Open(t.Context(), ledger.Options{Dir: filepath.Join(t.TempDir(), "ledger"), Store: store, Origin: origin, Signer: signer, VerifierKey: vkey})
		require.NoError(t, err)
		for i := range recs {
			n++
			sum := sha256.Sum256([]byte{n})
			recs[i].Kind, recs[i].Source.Digest = audit.KindInteraction, hex.EncodeToString(sum[:16])
			e := ledger.Entry{ID: recs[i].EventID, Time: time.Now(), Body: &recs[i]}
			copy(e.Digest[:], sum[:])
			_, err := l.Append(t.Context(), []ledger.Entry{e})
			require.NoError(t, err)
		}
		require.NoError(t, l.Close(t.Context()))
	}
	of := func(event byte, user, response string) audit.Record {
		return audit.Record{EventID: uuid.UUID{event}, UserID: user, SessionID: "s", ResponseID: response}
	}
	by := func(event byte, user, response, request string) audit.Record {
		r := of(event, user, response)
		r.RequestID = "req_011CQ4NtYbDoBCcXk" + request
		return r
	}
	first := []audit.Record{
		by(5, "carol", "", "a"), by(6, "carol", "", "b"), of(1, "carol", "msg_1"), of(2, "carol", ""), of(3, "", "msg_1"), of(4, "carol", "chatcmpl-0"),
	}
	second := []audit.Record{
		by(14, "", "msg_a", "a"), by(15, "", "msg_b", "b"), of(11, "", "msg_1"), of(12, "", "msg_2"), of(13, "", ""),
	}
	third := []audit.Record{of(21, "", "msg_a"), by(22, "", "msg_c", "b")}
	for i := range byte(40) {
		second = append(second, of(100+i, "", "chatcmpl-0"))
	}
	write("test/a", first...)
	write("test/b", second...)
	write("test/c", third...)
	r := ledger.NewReader(store, "")
	got, err := Find(t.Context(), r, Query{User: "carol"}.Matches)
	require.NoError(t, err)
	require.Equal(t, []uuid.UUID{{5}, {6}, {1}, {2}, {4}, {11}, {14}, {21}}, got.Events)
	require.Len(t, got.Entries, 8)
	require.NoError(t, r.Close())
}

func TestFind(t *testing.T) {
	skey, vkey, err := note.GenerateKey(rand.Reader, "test")
	require.NoError(t, err)
	signer, err := note.NewSigner(skey)
	require.NoError(t, err)
	dir := filepath.Join(t.TempDir(), "ledger")
	l, err := ledger.Open(t.Context(), ledger.Options{Dir: dir, Signer: signer, VerifierKey: vkey})
	require.NoError(t, err)
	n := byte(0)
	add := func(event byte, r audit.Record) {
		t.Helper()
		n++
		r.EventID = uuid.UUID{event}
		r.Kind = audit.KindInteraction
		sum := sha256.Sum256([]byte{n})
		r.Source.Digest = hex.EncodeToString(sum[:16])
		e := ledger.Entry{ID: r.EventID, Time: time.Now(), Body: &r}
		copy(e.Digest[:], sum[:])
		_, err := l.Append(t.Context(), []ledger.Entry{e})
		require.NoError(t, err)
	}
	key := func(id string) audit.Content { return audit.Content{KeyID: id} }
	add(1, audit.Record{UserID: "carol", Content: key("k1"), RetentionClass: "hipaa", RetentionUntil: "2032-01-01"})
	// Content that came before the user was known, and the user by another observation.
	add(2, audit.Record{SessionID: "s", Content: key("k2")})
	add(2, audit.Record{UserID: "carol"})
	add(3, audit.Record{UserID: "dave", Content: key("k3")})
	add(4, audit.Record{SessionID: "s", Content: key("k2")}) // of somebody, under the session's key
	add(5, audit.Record{UserID: "carol", Content: key("k1"), RetentionClass: "hipaa", RetentionUntil: "2033-01-01"})
	r, err := ledger.OpenReader(dir)
	require.NoError(t, err)
	got, err := Find(t.Context(), r, Query{User: "carol"}.Matches)
	require.NoError(t, err)
	require.Equal(t, []uuid.UUID{{1}, {2}, {5}}, got.Events)
	require.Len(t, got.Entries, 4)
	require.Equal(t, []Key{{"k1", 2, 0}, {"k2", 1, 1}}, got.Keys)
	require.Equal(t, []Class{{"", 1, ""}, {"hipaa", 2, "2033-01-01"}}, got.Classes)
	none, err := Find(t.Context(), r, Query{User: "erin"}.Matches)
	require.NoError(t, err)
	require.Empty(t, none.Events)
	require.NoError(t, r.Close())
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	require.NoError(t, l.Close(ctx))
}
