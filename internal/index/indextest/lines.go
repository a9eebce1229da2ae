// Package indextest holds what every index store is tested with: a ledger in
// memory, a generator of records, and the conformance suite.
package indextest

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/claudeaudit/claudeaudit/internal/audit"
	"github.com/claudeaudit/claudeaudit/internal/index"
)

// Ledger is a ledger in memory. It is safe for concurrent use.
type Ledger struct {
	mu      sync.Mutex
	names   []string
	streams map[string]*Stream
	// Err, when set, is what reading fails with.
	err error
}

// NewLedger returns an empty ledger.
func NewLedger() *Ledger { return &Ledger{streams: map[string]*Stream{}} }

// Fail makes reading fail with err, or work again with nil.
func (l *Ledger) Fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.err = err
}

// Append appends an entry to a stream, which it makes when there is none.
func (l *Ledger) Append(stream string, rec audit.Record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s, ok := l.streams[stream]
	if !ok {
		s = NewStream(stream)
		l.streams[stream] = s
		l.names = append(l.names, stream)
	}
	s.lines = append(s.lines, s.Next(rec))
}

// Forget makes a stream that keeps no revisions: every
// entry is the first of its event.
func (l *Ledger) Forget(stream string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := NewStream(stream)
	s.Forget = true
	l.streams[stream] = s
	l.names = append(l.names, stream)
}

// Cut removes all but the first n entries of a stream and lets it go on with
// other ones.
func (l *Ledger) Cut(stream string, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.streams[stream]
	s.lines = s.lines[:n:n]
	s.seq = uint64(n)
	s.prev = sha256.Sum256([]byte("origin\n" + stream))
	if n > 0 {
		s.prev = s.lines[n-1].Leaf
	}
}

// Remove removes the entries before n, as at the end of their retention.
func (l *Ledger) Remove(stream string, n uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.streams[stream].first = n
}

// First implements index.Ledger.
func (l *Ledger) First(_ context.Context, stream string) (uint64, time.Time, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.streams[stream].first, Day.AddDate(1, 0, 0), l.err
}

// Replace puts other bytes in the place of an entry, without mending the chain.
func (l *Ledger) Replace(stream string, seq int, line []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.streams[stream].lines[seq].Data = line
}

// Line returns an entry's bytes.
func (l *Ledger) Line(stream string, seq int) []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.streams[stream].lines[seq].Data
}

// Streams implements index.Ledger.
func (l *Ledger) Streams() ([]string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string(nil), l.names...), l.err
}

// Size implements index.Ledger.
func (l *Ledger) Size(_ context.Context, stream string) (uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.streams[stream].seq, l.err
}

// Entries implements index.Ledger. The line it hands out is overwritten
// afterwards.
func (l *Ledger) Entries(ctx context.Context, stream string, from uint64, fn func(uint64, []byte) error) error {
	l.mu.Lock()
	lines, err := l.streams[stream].lines, l.err
	from = max(from, l.streams[stream].first)
	l.mu.Unlock()
	if err != nil {
		return err
	}
	var buf []byte
	for i := from; i < uint64(len(lines)); i++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		buf = append(buf[:0], lines[i].Data...)
		if err := fn(lines[i].Seq, buf); err != nil {
			return err
		}
		clear(buf)
	}
	return nil
}

// Stream makes the lines of one stream.
type Stream struct {
	name      string
	seq       uint64
	first     uint64 // entry that was not removed
	prev      [32]byte
	revisions map[uuid.UUID]int64
	lines     []index.Line
	// Forget keeps no revisions: every entry is the first of its event.
	Forget bool
}

// NewStream starts a stream.
func NewStream(name string) *Stream {
	return &Stream{name: name, prev: sha256.Sum256([]byte("origin\n" + name)), revisions: map[uuid.UUID]int64{}}
}

// Next returns the next line, for a record.
func (s *Stream) Next(rec audit.Record) index.Line {
	revision := int64(1)
	if !s.Forget {
		s.revisions[rec.EventID]++
		revision = s.revisions[rec.EventID]
	}
	b := make([]byte, 0, 1400)
	b = append(b, `{"_log":"`...)
	b = append(b, s.name...)
	b = append(b, `","_prev":"`...)
	b = hex.AppendEncode(b, s.prev[:])
	b = append(b, `","_seq":`...)
	b = strconv.AppendUint(b, s.seq, 10)
	b = append(b, ',')
	b = rec.AppendBody(b, revision)
	b = append(b, '}')
	l := index.Line{Seq: s.seq, Leaf: index.LeafHash(b), Data: b}
	s.seq++
	s.prev = l.Leaf
	return l
}

// Generator makes records like those of a company: users with sessions of a
// dozen calls, few applications and models, some errors and flags.
type Generator struct {
	r     *rand.Rand
	users int
	now   time.Time
	step  time.Duration
	n     uint64
}

// NewGenerator returns a generator of records of that many users, step apart
// in time.
func NewGenerator(seed uint64, users int, start time.Time, step time.Duration) *Generator {
	return &Generator{r: rand.New(rand.NewPCG(seed, seed)), users: users, now: start, step: step}
}

// User returns the name of the i-th user.
func User(i int) string { return fmt.Sprintf("user%05d@example.com", i) }

var (
	models          = []string{"claude-opus-4-5-20251101", "claude-sonnet-4-5-20250929", "claude-haiku-4-5-20251001"}
	classifications = []string{"INTERNAL", "INTERNAL", "INTERNAL", "INTERNAL", "PUBLIC", "CONFIDENTIAL", "RESTRICTED"}
)

// Next returns the next record.
func (g *Generator) Next() audit.Record {
	g.n++
	g.now = g.now.Add(g.step)
	var id uuid.UUID
	binary.BigEndian.PutUint64(id[:8], g.r.Uint64())
	binary.BigEndian.PutUint64(id[8:], g.r.Uint64())
	id[6], id[8] = id[6]&0x0f|0x80, id[8]&0x3f|0x80
	hash := func() string {
		var b [32]byte
		for i := range 4 {
			binary.BigEndian.PutUint64(b[8*i:], g.r.Uint64())
		}
		return hex.EncodeToString(b[:])
	}
	ids := hash() + hash()
	user := g.r.IntN(g.users)
	tokens, out, latency := g.r.Int64N(20000), g.r.Int64N(4000), g.r.Int64N(30000)
	rec := audit.Record{
		EventID: id, Kind: audit.KindInteraction, Timestamp: g.now, Status: audit.StatusSuccess,
		UserID: User(user), SessionID: fmt.Sprintf("%016x-%04d", uint64(user)*0x9e3779b97f4a7c15, g.n/(12*uint64(g.users))),
		ApplicationID: fmt.Sprintf("app-%02d", g.r.IntN(40)), Model: models[g.r.IntN(len(models))],
		PromptHash: hash(), ResponseHash: hash(), PromptTokens: &tokens, CompletionTokens: &out, LatencyMs: &latency,
		DataClassification: classifications[g.r.IntN(len(classifications))], ClassificationBasis: "default",
		IPAddress: fmt.Sprintf("10.%d.%d.0", user>>8&255, user&255), StopReason: "end_turn", StopClass: "stop",
		Provider: "anthropic", Operation: "chat", RequestModel: "claude-sonnet-4-5",
		ResponseID: "msg_01" + ids[:22], RequestID: "req_011" + ids[22:44], TraceID: ids[44:76], SpanID: ids[76:92],
		IdentityAssurance: audit.AssuranceAsserted,
		Source: audit.Source{
			Dialect: "semconv", Scope: "opentelemetry.instrumentation.anthropic", Evidence: "sdk", Signal: "span",
			Digest: hash()[:32], Rank: 2, UserRank: 1, SessionRank: 1,
		},
		Content: audit.Content{
			Prompt: "full", Response: "full", PromptSHA256: hash(), ResponseSHA256: hash(), KeyID: "5a1c0ffee5a1c0ff",
			Suite: "hpke-x25519-hkdfsha256-aes256gcm",
		},
		RetentionClass: "default",
	}
	if g.r.IntN(50) == 0 {
		rec.Status, rec.ErrorType, rec.StopReason, rec.StopClass = audit.StatusError, "overloaded_error", "", ""
		rec.CompletionTokens, rec.ResponseHash = nil, ""
	}
	if g.r.IntN(10) == 0 {
		rec.PolicyFlags = append(rec.PolicyFlags, "pii.email")
	}
	rec.Complete()
	return rec
}
