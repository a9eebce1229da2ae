package alive

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/claudeaudit/claudeaudit/internal/audit"
	"github.com/claudeaudit/claudeaudit/internal/bucket/buckettest"
	"github.com/claudeaudit/claudeaudit/internal/ledger"
	"github.com/claudeaudit/claudeaudit/internal/seal"
)

var noon = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

func TestGaps(t *testing.T) {
	type entry struct {
		operation string
		after     time.Duration // of noon
	}
	const m = time.Minute
	for _, tt := range []struct {
		name       string
		entries    []entry
		kinds      []string
		undeclared int
	}{
		{"it ran", []entry{{OpStart, 0}, {OpAlive, m}, {OpAlive, 2 * m}, {OpStop, 3 * m}}, nil, 0},
		{"a short stop", []entry{{OpStart, 0}, {OpStop, m}, {OpStart, 3 * m}}, nil, 0},
		{"a long stop is declared", []entry{{OpStart, 0}, {OpStop, m}, {OpStart, 600 * m}}, []string{Stopped}, 0},
		{"killed and started again at once", []entry{{OpStart, 0}, {OpAlive, m}, {OpStart, 2 * m}}, nil, 0},
		{"killed and away", []entry{{OpStart, 0}, {OpAlive, m}, {OpStart, 60 * m}}, []string{Killed}, 1},
		{"silent", []entry{{OpStart, 0}, {OpAlive, m}, {OpAlive, 60 * m}, {OpAlive, 61 * m}}, []string{Silent}, 1},
		{"silent before a stop", []entry{{OpStart, 0}, {OpStop, 60 * m}}, []string{Silent}, 1},
		{"just long enough", []entry{{OpStart, 0}, {OpAlive, 5 * m}}, nil, 0},
		{"the clock went back", []entry{{OpStart, 60 * m}, {OpAlive, m}, {OpAlive, 2 * m}}, []string{Back}, 1},
		{"calls' times don't count", []entry{{OpStart, 0}, {"chat", 300 * m}, {OpAlive, m}}, nil, 0},
		{"calls are no sign of life", []entry{{OpStart, 0}, {"chat", 5 * m}, {"chat", 10 * m}, {OpAlive, 15 * m}}, []string{Silent}, 1},
		{"the start was removed at the end of its retention", []entry{{OpAlive, 0}, {OpAlive, m}, {OpAlive, 60 * m}}, []string{Silent}, 1},
		{"a log that never said that it would tell", []entry{{"hold.add", 0}, {"prune", 6000 * m}}, nil, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := Gaps{Longest: 5 * m}
			for i, e := range tt.entries {
				r := audit.Record{EventID: uuid.New(), Kind: audit.KindSystem, Timestamp: noon.Add(e.after), Operation: e.operation}
				if e.operation == "chat" {
					r.Kind = audit.KindInteraction
				}
				if e.operation == OpStart {
					r.Details = []audit.Detail{{Name: detailInterval, Value: "1m0s"}}
				}
				g.Entry("s", uint64(i), r.AppendJSON(nil))
			}
			var kinds []string
			for i := range g.Found {
				kinds = append(kinds, g.Found[i].Kind)
				require.NotEmpty(t, g.Found[i].String())
			}
			require.Equal(t, tt.kinds, kinds)
			require.Equal(t, tt.undeclared, g.Undeclared)
			require.Equal(t, len(tt.kinds)-tt.undeclared, g.Declared)
		})
	}
	t.Run("what a sender calls so", func(t *testing.T) {
		var g Gaps
		r := audit.Record{EventID: uuid.New(), Kind: audit.KindInteraction, Timestamp: noon, Operation: OpStart, UserID: `"kind":"system"`}
		g.Entry("s", 0, r.AppendJSON(nil))
		require.Empty(t, g.Ran())
	})
	t.Run("a longer interval", func(t *testing.T) {
		g := Gaps{Longest: m}
		for i, at := range []time.Duration{0, 30 * m, 90 * m, 151 * m} {
			r := audit.Record{EventID: uuid.New(), Kind: audit.KindSystem, Timestamp: noon.Add(at), Operation: OpAlive}
			if i == 0 {
				r.Operation, r.Details = OpStart, []audit.Detail{{Name: detailInterval, Value: "30m0s"}}
			}
			g.Entry("s", uint64(i), r.AppendJSON(nil))
		}
		require.Len(t, g.Found, 1)
		require.Equal(t, uint64(3), g.Found[0].Seq)
	})
}

// run is a ledger's folder that writers with a clock of the test's write to.
type run struct {
	t    *testing.T
	dir  string
	key  *seal.CheckpointKey
	pub  string
	time time.Time
}

func newRun(t *testing.T) *run {
	dir := t.TempDir()
	r := &run{t: t, dir: filepath.Join(dir, "ledger"), pub: filepath.Join(dir, "checkpoint.pub"), time: noon}
	key, _, err := seal.EnsureCheckpointKey(filepath.Join(dir, "checkpoint.key"), r.pub, "claudeaudit")
	require.NoError(t, err)
	r.key = key
	return r
}

// open starts a writer that says that it runs only when the test has it do so.
func (r *run) open() (*ledger.Log, *Writer) {
	r.t.Helper()
	l, err := ledger.Open(r.t.Context(), ledger.Options{Dir: r.dir, Signer: r.key.Signer, VerifierKey: r.key.VerifierKey})
	require.NoError(r.t, err)
	w := &Writer{
		log: l, dir: r.dir, interval: time.Minute, logger: zap.NewNop(), retain: func(*audit.Record) {},
		now: func() time.Time { return r.time }, stop: func() {}, last: l.Stats(),
	}
	w.begin(r.t.Context())
	return l, w
}

func (r *run) close(l *ledger.Log) {
	r.t.Helper()
	require.NoError(r.t, l.Close(r.t.Context()))
}

func (r *run) starts() (out []map[string]string) {
	r.t.Helper()
	reader, err := ledger.OpenReader(r.dir)
	require.NoError(r.t, err)
	require.NoError(r.t, reader.All(r.t.Context(), func(_ ledger.Place, line []byte) error {
		rec, err := audit.ParseRecord(line)
		if err != nil || rec.Operation != OpStart {
			return err
		}
		d := map[string]string{}
		for _, x := range rec.Details {
			d[x.Name] = x.Value
		}
		out = append(out, d)
		return nil
	}))
	require.NoError(r.t, reader.Close())
	return out
}

// A stop, a kill and a silence are told apart, by this verifier and by the one
// that was written apart from it.
func TestWriterAndBothVerifiers(t *testing.T) {
	r := newRun(t)
	l, w := r.open()
	r.time = r.time.Add(time.Minute)
	w.beat(t.Context())
	r.time = r.time.Add(time.Minute)
	w.Stop(t.Context())
	r.close(l)

	r.time = r.time.Add(3 * time.Hour) // stopped
	l, w = r.open()
	r.time = r.time.Add(40 * time.Minute) // silent
	w.beat(t.Context())
	r.close(l) // as after a kill, but that the tail is sealed

	r.time = r.time.Add(time.Hour)
	l, w = r.open()
	w.Stop(t.Context())
	r.close(l)

	require.Equal(t, []map[string]string{
		{detailInterval: "1m0s"},
		{detailInterval: "1m0s", detailPrevious: "2026-11-24T12:02:00Z", detailClean: "true"},
		{detailInterval: "1m0s", detailPrevious: "2026-11-24T15:42:00Z", detailClean: "false"},
	}, r.starts())

	g := Gaps{Longest: 5 * time.Minute}
	rep, err := ledger.Verify(t.Context(), ledger.VerifyOptions{
		Dir: r.dir, PublicKeys: []string{r.key.VerifierKey},
		OnEntry: func(stream string, seq uint64, line []byte) error { g.Entry(stream, seq, line); return nil },
	})
	require.NoError(t, err)
	require.Equal(t, ledger.Intact, rep.Integrity)
	type found struct {
		Kind, Stream string
		Seq          uint64
	}
	var first []found
	for i := range g.Found {
		first = append(first, found{g.Found[i].Kind, g.Found[i].Stream, g.Found[i].Seq})
	}
	stream := rep.Streams[0].Origin
	require.Equal(t, []found{{Stopped, stream, 3}, {Silent, stream, 4}, {Killed, stream, 5}}, first)
	require.Equal(t, []Ran{{stream, noon, r.time, time.Minute, true}}, g.Ran())

	if err := exec.Command("python3", "-c", "import cryptography").Run(); err != nil {
		buckettest.Unavailable(t, "the second verifier needs python3 with the package cryptography: %v", err)
	}
	out, err := exec.Command("python3", "../../docs/verify/verify.py", filepath.Join(r.dir, "store"), "--key", r.pub).Output()
	require.NoError(t, err)
	var second struct {
		TimeGaps []found `json:"time_gaps"`
	}
	require.NoError(t, json.Unmarshal(out, &second))
	require.Equal(t, first, second.TimeGaps)
}

func TestStateThatCantBeRead(t *testing.T) {
	for name, text := range map[string]string{"damaged": "{", "long": string(make([]byte, maxState+1))} {
		t.Run(name, func(t *testing.T) {
			r := newRun(t)
			require.NoError(t, os.MkdirAll(r.dir, 0o700))
			require.NoError(t, os.WriteFile(filepath.Join(r.dir, stateFile), []byte(text), 0o600))
			l, _ := r.open()
			r.close(l)
			require.Equal(t, []map[string]string{{detailInterval: "1m0s"}}, r.starts(), "it says nothing that it doesn't know")
		})
	}
}

func TestEveryInterval(t *testing.T) {
	defer goleak.VerifyNone(t)
	r := newRun(t)
	l, err := ledger.Open(t.Context(), ledger.Options{Dir: r.dir, Signer: r.key.Signer, VerifierKey: r.key.VerifierKey})
	require.NoError(t, err)
	// Ends before the writer does: it goes on.
	ctx, cancel := context.WithCancel(t.Context())
	w := Start(ctx, l, r.dir, 20*time.Millisecond, func(*audit.Record) {}, zap.NewNop())
	cancel()
	require.Eventually(t, func() bool { return l.Durable() >= 3 }, 10*time.Second, time.Millisecond)
	w.Stop(t.Context())
	size := l.Durable()
	s, err := readState(r.dir)
	require.NoError(t, err)
	require.Equal(t, size, s.Next)
	require.Equal(t, OpStop, s.Operation)
	r.close(l)
}
