package aggregate_test

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/mod/sumdb/note"

	"github.com/claudeaudit/claudeaudit/internal/aggregate"
	"github.com/claudeaudit/claudeaudit/internal/audit"
	"github.com/claudeaudit/claudeaudit/internal/ledger"
	"github.com/claudeaudit/claudeaudit/internal/stamp"
	"github.com/claudeaudit/claudeaudit/internal/stamp/stamptest"
	"github.com/claudeaudit/claudeaudit/internal/witness"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(int) { http.DefaultTransport.(*http.Transport).CloseIdleConnections() }))
}

type key struct {
	signer note.Signer
	vkey   string
}

func newKey(t *testing.T, name string) key {
	t.Helper()
	skey, vkey, err := note.GenerateKey(rand.Reader, name)
	require.NoError(t, err)
	s, err := note.NewSigner(skey)
	require.NoError(t, err)
	return key{s, vkey}
}

// witnesses are services with aggregates of their own.
type service struct {
	dir    string
	key    key // of the aggregate
	signer *witness.Signer
	url    string
	state  *aggregate.Log
	stop   func()
}

func startWitness(t *testing.T, s *service, logs ...string) {
	t.Helper()
	state, err := aggregate.Open(t.Context(), ledger.Options{Dir: s.dir, Signer: s.key.signer, VerifierKey: s.key.vkey, SegmentEntries: 4})
	require.NoError(t, err)
	srv, err := witness.NewServer(s.signer, logs, state, func(string, witness.Checkpoint, error) {})
	require.NoError(t, err)
	web := httptest.NewServer(srv)
	s.url, s.state = web.URL, state
	stopped := false
	s.stop = func() {
		if stopped {
			return
		}
		stopped = true
		web.Close()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		require.NoError(t, state.Close(ctx))
	}
	t.Cleanup(s.stop)
}

func newWitness(t *testing.T, name string, logs ...string) *service {
	t.Helper()
	signer, err := witness.GenerateSigner(name)
	require.NoError(t, err)
	s := &service{dir: filepath.Join(t.TempDir(), "ledger"), key: newKey(t, name), signer: signer}
	startWitness(t, s, logs...)
	return s
}

func openLedger(t *testing.T, dir string, k key, services ...*service) *ledger.Log {
	t.Helper()
	o := ledger.Options{Dir: dir, Origin: "example.com/log", Signer: k.signer, VerifierKey: k.vkey, SegmentEntries: 5, SegmentAge: time.Hour, CheckpointInterval: 1}
	for _, s := range services {
		c, err := witness.NewClient(s.url, s.signer.Verifier, 5*time.Second)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, c.Close()) })
		o.Witnesses = append(o.Witnesses, ledger.Cosigner{Client: c})
	}
	l, err := ledger.Open(t.Context(), o)
	require.NoError(t, err)
	return l
}

func closeLedger(t *testing.T, l *ledger.Log) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	require.NoError(t, l.Close(ctx))
}

func appendN(t *testing.T, l *ledger.Log, from, n int, salt string) {
	t.Helper()
	for i := from; i < from+n; i++ {
		sum := sha256.Sum256(fmt.Appendf(nil, "%s%d", salt, i))
		r := audit.Record{
			EventID: uuid.UUID(sum[:16]), Kind: audit.KindInteraction, Timestamp: time.Now(), Status: audit.StatusSuccess, UserID: fmt.Sprint(salt, i),
			Source: audit.Source{Digest: fmt.Sprintf("%x", sum[16:])},
		}
		r.Complete()
		e := ledger.Entry{ID: r.EventID, Time: r.Timestamp, Body: &r}
		copy(e.Digest[:], sum[16:])
		_, err := l.Append(t.Context(), []ledger.Entry{e})
		require.NoError(t, err)
	}
}

func awaitCheckpoint(t *testing.T, l *ledger.Log, size uint64) {
	t.Helper()
	require.Eventually(t, func() bool { return l.Stats().Checkpointed >= size }, 10*time.Second, time.Millisecond)
}

func policy(t *testing.T, k key, quorum string, services ...*service) *witness.Policy {
	t.Helper()
	text := "log " + k.vkey + "\n"
	names := ""
	for i, s := range services {
		text += fmt.Sprintf("witness w%d %s\n", i, s.signer.Verifier)
		names += fmt.Sprintf(" w%d", i)
	}
	text += "group g " + quorum + names + "\nquorum g\n"
	p, err := witness.ParsePolicy(text)
	require.NoError(t, err)
	return p
}

func verify(t *testing.T, dir string, p *witness.Policy, aggregates ...*service) *ledger.Report {
	t.Helper()
	o := ledger.VerifyOptions{Dir: dir, Policy: p}
	for _, s := range aggregates {
		o.WitnessNotes = append(o.WitnessNotes, notes(t, s))
	}
	r, err := ledger.Verify(t.Context(), o)
	require.NoError(t, err)
	return r
}

// notes reads a witness's own log, which has to hold by itself.
func notes(t *testing.T, s *service) ledger.WitnessNotes {
	t.Helper()
	rep, err := ledger.Verify(t.Context(), ledger.VerifyOptions{Dir: s.dir, PublicKeys: []string{s.key.vkey}})
	require.NoError(t, err)
	require.Empty(t, rep.Problems)
	r, err := ledger.OpenReader(s.dir)
	require.NoError(t, err)
	defer func() { require.NoError(t, r.Close()) }()
	out := ledger.WitnessNotes{Name: s.dir}
	require.NoError(t, aggregate.Each(t.Context(), r, func(c witness.Checkpoint) error {
		out.Notes = append(out.Notes, c.Note())
		return nil
	}))
	return out
}

func kinds(r *ledger.Report) (out []string) {
	for _, p := range r.Problems {
		out = append(out, p.Kind)
	}
	return out
}

// An aggregate that was written anew with the witness's own key after a time
// stamp was got of it is told by the time stamp, and so is one that was cut.
func TestTimeStamps(t *testing.T) {
	tsa := stamptest.Start(t)
	k := newKey(t, "log")
	a := newWitness(t, "a.example.com", k.vkey)
	l := openLedger(t, filepath.Join(t.TempDir(), "ledger"), k, a)
	for i := range 6 {
		appendN(t, l, 5*i, 5, "")
		awaitCheckpoint(t, l, uint64(5*i+5))
	}
	closeLedger(t, l)
	c, err := stamp.NewClient(tsa.URL, 10*time.Second)
	require.NoError(t, err)
	defer func() { require.NoError(t, c.Close()) }()
	require.Eventually(t, func() bool { return a.state.Stats().Checkpointed >= 4 }, 10*time.Second, time.Millisecond)

	_, ok, err := a.state.Stamp(t.Context(), func(context.Context, []byte) ([]byte, error) { return nil, errors.New("away") })
	require.EqualError(t, err, "away")
	require.False(t, ok)
	var text []byte
	cp, ok, err := a.state.Stamp(t.Context(), func(ctx context.Context, b []byte) ([]byte, error) {
		text = b
		return c.Stamp(ctx, b)
	})
	require.NoError(t, err)
	require.True(t, ok)
	require.GreaterOrEqual(t, cp.Size, uint64(4))
	require.Equal(t, cp.Origin+"\n"+fmt.Sprint(cp.Size)+"\n"+base64.StdEncoding.EncodeToString(cp.Root[:])+"\n", string(text), "what anyone can take out of the checkpoint")
	_, ok, err = a.state.Stamp(t.Context(), c.Stamp)
	require.NoError(t, err)
	require.False(t, ok, "once a day")
	a.stop()

	policy := func(tsa string) *witness.Policy {
		p, err := witness.ParsePolicy("log " + a.key.vkey + "\n" + tsa + "quorum none\n")
		require.NoError(t, err)
		return p
	}
	good := policy("tsa daily " + tsa.RootText + "\n")
	check := func(dir string, p *witness.Policy) *ledger.Report {
		r, err := ledger.Verify(t.Context(), ledger.VerifyOptions{Dir: dir, Policy: p})
		require.NoError(t, err)
		return r
	}
	r := check(a.dir, good)
	require.Empty(t, r.Problems)
	s := r.Streams[0]
	require.Equal(t, []any{cp.Size, 1, "daily"}, []any{s.Stamped, s.Stamps, s.StampedBy})
	require.WithinDuration(t, time.Now(), s.StampedAt, time.Minute)
	r = check(a.dir, policy(""))
	require.Empty(t, r.Problems)
	require.Contains(t, r.Unchecked, "1 time stamps were not checked: the policy names no authority (tsa)")
	other := stamptest.Start(t)
	require.Equal(t, []string{ledger.KindTimestamp}, kinds(check(a.dir, policy("tsa daily "+other.RootText+"\n"))))
	for _, bad := range []string{"tsa daily", "tsa daily x", "tsa daily AAAA"} {
		_, err := witness.ParsePolicy("log " + a.key.vkey + "\n" + bad + "\nquorum none\n")
		require.ErrorContains(t, err, "line 2: ")
	}

	base := strings.TrimSuffix(cp.Origin, "/1")
	stamps := filepath.Join("store", "v1", filepath.FromSlash(cp.Origin), "tsr")
	for name, tt := range map[string]struct {
		entries int
		kind    string
	}{"written anew": {int(cp.Size) + 2, ledger.KindTimestamp}, "cut": {int(cp.Size) - 1, ledger.KindTruncated}} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "ledger")
			f, err := ledger.Open(t.Context(), ledger.Options{Dir: dir, Origin: base, Signer: a.key.signer, VerifierKey: a.key.vkey})
			require.NoError(t, err)
			appendN(t, f, 0, tt.entries, "another history ")
			closeLedger(t, f)
			require.Equal(t, cp.Origin, f.Origin())
			require.Empty(t, check(dir, good).Problems, "signed by the right key, it looks well")
			require.NoError(t, os.CopyFS(filepath.Join(dir, stamps), os.DirFS(filepath.Join(a.dir, stamps))))
			r := check(dir, good)
			require.Equal(t, ledger.Bad, r.Integrity)
			require.Equal(t, []string{tt.kind}, kinds(r))
		})
	}
}

func TestCosigned(t *testing.T) {
	k := newKey(t, "log")
	a, b := newWitness(t, "a.example.com", k.vkey), newWitness(t, "b.example.com", k.vkey)
	dir := filepath.Join(t.TempDir(), "ledger")
	l := openLedger(t, dir, k, a, b)
	for i := range 4 {
		appendN(t, l, 5*i, 5, "")
		awaitCheckpoint(t, l, uint64(5*i+5))
	}
	closeLedger(t, l)

	// Both are started anew and know what they cosigned; so does the log, which forgot it.
	for _, s := range []*service{a, b} {
		s.stop()
		startWitness(t, s, k.vkey)
	}
	l = openLedger(t, dir, k, a, b)
	appendN(t, l, 20, 7, "")
	closeLedger(t, l)
	for _, quorum := range []string{"all", "any", "2"} {
		r := verify(t, dir, policy(t, k, quorum, a, b), a, b)
		require.Empty(t, r.Problems)
		require.Equal(t, ledger.Intact, r.Integrity)
		require.Equal(t, ledger.Complete, r.Completeness)
		require.Equal(t, uint64(27), r.Streams[0].Cosigned)
		require.WithinDuration(t, time.Now(), r.Streams[0].CosignedAt, time.Minute)
		require.Equal(t, uint64(27), r.Streams[0].Witnessed)
	}
	// One that nobody asked is missing.
	c := newWitness(t, "c.example.com", k.vkey)
	require.Contains(t, kinds(verify(t, dir, policy(t, k, "all", a, c))), ledger.KindQuorum)
	require.Empty(t, verify(t, dir, policy(t, k, "any", a, c)).Problems)
}

// One witness away: nothing is lost, the backlog waits, and when it is back all of it is cosigned.
func TestWitnessAway(t *testing.T) {
	k := newKey(t, "log")
	a := newWitness(t, "a.example.com", k.vkey)
	dir := filepath.Join(t.TempDir(), "ledger")
	l := openLedger(t, dir, k, a)
	appendN(t, l, 0, 5, "")
	awaitCheckpoint(t, l, 5)
	a.stop()
	appendN(t, l, 5, 11, "")
	require.Eventually(t, func() bool { return l.Stats().WitnessErrors > 0 }, 10*time.Second, time.Millisecond)
	require.Equal(t, uint64(16), l.Durable())
	require.Equal(t, uint64(5), l.Stats().Checkpointed)
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	require.Error(t, l.Close(ctx), "it says that it could not finish")
	startWitness(t, a, k.vkey)
	l = openLedger(t, dir, k, a)
	closeLedger(t, l)
	r := verify(t, dir, policy(t, k, "all", a), a)
	require.Empty(t, r.Problems)
	require.Equal(t, uint64(16), r.Streams[0].Cosigned)
}

// Who has the log's key and owns its store and host can write another history,
// but not have it cosigned: neither by the protocol nor with old cosignatures.
func TestStolenKey(t *testing.T) {
	k := newKey(t, "log")
	a := newWitness(t, "a.example.com", k.vkey)
	dir := filepath.Join(t.TempDir(), "ledger")
	l := openLedger(t, dir, k, a)
	for i := range 3 {
		appendN(t, l, 5*i, 5, "")
		awaitCheckpoint(t, l, uint64(5*i+5))
	}
	closeLedger(t, l)
	p := policy(t, k, "all", a)
	require.Empty(t, verify(t, dir, p, a).Problems)

	forged := filepath.Join(t.TempDir(), "ledger")
	f := openLedger(t, forged, k) // the same name and key, and no witness
	appendN(t, f, 0, 15, "another history ")
	closeLedger(t, f)
	require.Equal(t, l.Origin(), f.Origin())
	t.Run("everything recomputed", func(t *testing.T) {
		r := verify(t, forged, p)
		require.Equal(t, ledger.Bad, r.Integrity)
		require.Contains(t, kinds(r), ledger.KindQuorum)
		require.Zero(t, r.Streams[0].Cosigned)
	})
	t.Run("against the witness's own log", func(t *testing.T) {
		r := verify(t, forged, nil, a)
		require.Equal(t, ledger.Bad, r.Integrity)
		require.NotEmpty(t, r.Problems)
	})
	t.Run("with the old cosignatures", func(t *testing.T) {
		wit := filepath.Join("store", "v1", "example.com", "log", "1", "wit")
		require.NoError(t, os.CopyFS(filepath.Join(forged, wit), os.DirFS(filepath.Join(dir, wit))))
		r := verify(t, forged, p)
		require.Equal(t, ledger.Bad, r.Integrity)
		require.Contains(t, kinds(r), ledger.KindRewritten)
	})
	t.Run("asking the witness", func(t *testing.T) {
		g := openLedger(t, filepath.Join(t.TempDir(), "ledger"), k, a)
		appendN(t, g, 0, 20, "another history ")
		require.Eventually(t, func() bool { return g.Stats().WitnessErrors > 0 }, 10*time.Second, time.Millisecond)
		require.Zero(t, g.Stats().Checkpointed)
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		require.Error(t, g.Close(ctx))
	})
	t.Run("cut short", func(t *testing.T) {
		short := filepath.Join(t.TempDir(), "ledger")
		require.NoError(t, os.CopyFS(short, os.DirFS(dir)))
		require.NoError(t, os.RemoveAll(filepath.Join(short, "wal")))
		for _, pattern := range []string{"seg/*/*/*0000000010-*", "cp/*/*0000000015.note", "wit/*/*0000000015-*"} {
			m, err := filepath.Glob(filepath.Join(short, "store/v1/example.com/log/1", pattern))
			require.NoError(t, err)
			require.Len(t, m, 1, pattern)
			require.NoError(t, os.Remove(m[0]))
		}
		// The bucket alone looks well: it is only shorter. The witness's own log tells.
		require.Empty(t, verify(t, short, p).Problems)
		r := verify(t, short, p, a)
		require.Equal(t, ledger.Bad, r.Integrity)
		require.Contains(t, kinds(r), ledger.KindTruncated)
		require.Equal(t, uint64(10), *r.Problems[0].Seq)
	})
	t.Run("a whole stream gone", func(t *testing.T) {
		other := filepath.Join(t.TempDir(), "ledger")
		o, err := ledger.Open(t.Context(), ledger.Options{Dir: other, Origin: "example.com/other", Signer: k.signer, VerifierKey: k.vkey})
		require.NoError(t, err)
		appendN(t, o, 0, 3, "")
		closeLedger(t, o)
		r := verify(t, other, nil, a)
		require.Contains(t, kinds(r), ledger.KindNoStream)
	})
}
