// Package gateway records what passes between applications and Claude, while it
// passes. A request is recorded, durably, before its first byte goes upstream; the
// answer is read along and passed on as it comes; how the call ended is recorded
// after it. What can't be recorded isn't forwarded.
package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"
	"golang.org/x/sync/semaphore"

	"github.com/claudeaudit/claudeaudit/internal/genai"
)

// Settings make a Gateway.
type Settings struct {
	// Name is the instrumentation scope of what it tells: it says which gateway, of those that
	// write to one ledger, a record is from.
	Name string
	// Next takes the records. That it returns nil has to mean that the record is
	// durable.
	Next consumer.Logs
	// Upstreams are where the surfaces are served. A surface that has none is refused.
	Upstreams map[Surface]*Upstream
	Limits    Limits
	Identity  Identity
	// Policy decides what becomes of calls; nil forwards all that can be recorded.
	Policy Policy
	// BatchPoll is how often the results of batches are looked for that nobody fetches; 0 is never.
	BatchPoll time.Duration
	// PublicURL is what clients reach the gateway by; "" takes what they say.
	PublicURL string
	// Drain says that an answer is read to its end when its client has gone,
	// rather than cancelled.
	Drain bool
	// Tracer makes a span of each call, whose context goes upstream in place of the client's; nil makes none.
	Tracer  trace.Tracer
	Logger  *zap.Logger
	Metrics Metrics
	// Report is told when records can't be made any more, and with nil when they can again.
	Report func(error)
	// Now is the clock; default time.Now.
	Now func() time.Time
}

// Limits bound what a request can cost. All are to be set.
type Limits struct {
	// HeaderBytes of a request's line and headers.
	HeaderBytes int
	// RequestBytes of one request's body, BatchBytes of a batch's.
	RequestBytes, BatchBytes int64
	// BufferedBytes of the bodies of all requests that are held at a time.
	BufferedBytes int64
	// ResponseBytes of an answer's content that are kept for the record.
	ResponseBytes int
	// BodyTimeout is how long a client may send nothing of its body.
	BodyTimeout time.Duration
	// HeaderTimeout is how long upstream may take until its answer's headers.
	HeaderTimeout time.Duration
	// IdleTimeout is how long upstream may pause within an answer.
	IdleTimeout time.Duration
	// WriteTimeout is how long a client may not take what is sent to it.
	WriteTimeout time.Duration
	// RecordTimeout is how long a record may take.
	RecordTimeout time.Duration
	// PendingOutcomes are calls whose outcome waits to be recorded.
	PendingOutcomes int
}

// Metrics are told what happens. Every method may be called at the same time from many
// goroutines.
type Metrics interface {
	// Opened and Closed count calls under way.
	Opened()
	Closed(surface Surface, ended string)
	// Refused counts requests that were not forwarded, by the type of the error that they got.
	Refused(reason string)
	// Blocked counts calls that a rule blocked.
	Blocked(rule string)
	// Recorded is told how long it took until a call was durably recorded before it was
	// forwarded.
	Recorded(time.Duration)
	// Unrecorded counts records that could not be made.
	Unrecorded(what string)
}

// Gateway is an http.Handler.
type Gateway struct {
	set      Settings
	buffered *semaphore.Weighted
	names    genai.Names

	ended     chan ended     // outcomes that wait to be recorded
	outcomes  sync.WaitGroup // of those who record them
	stopping  chan struct{}
	stopOnce  sync.Once
	aborted   context.Context // ends when calls may go on no longer
	abort     context.CancelFunc
	refusing  atomic.Bool
	reportMu  sync.Mutex
	callsOpen sync.WaitGroup
	entry     sync.RWMutex
	stopped   bool // no request enters any more

	batchMu sync.Mutex
	batches map[string]*Batch // whose results are waited for, by their ids
}

// New makes a Gateway, which Shutdown ends.
func New(set Settings) *Gateway {
	if set.Now == nil {
		set.Now = time.Now
	}
	aborted, abort := context.WithCancel(context.Background())
	g := &Gateway{
		set:      set,
		buffered: semaphore.NewWeighted(set.Limits.BufferedBytes),
		ended:    make(chan ended, set.Limits.PendingOutcomes),
		stopping: make(chan struct{}),
		aborted:  aborted, abort: abort,
		batches: map[string]*Batch{},
	}
	for range recorders {
		g.outcomes.Go(g.recordEnded)
	}
	if set.BatchPoll > 0 {
		g.callsOpen.Go(g.pollBatches)
	}
	return g
}

// Abort cancels the calls that are under way. They are recorded as interrupted by the gateway.
func (g *Gateway) Abort() { g.abort() }

// Shutdown waits until the outcomes of all calls are recorded, or ctx ends. No request may come
// any more.
func (g *Gateway) Shutdown(ctx context.Context) error {
	g.entry.Lock()
	g.stopped = true
	g.entry.Unlock()
	g.stopOnce.Do(func() {
		close(g.stopping)
		go func() {
			g.callsOpen.Wait()
			close(g.ended)
		}()
	})
	defer func() {
		for _, u := range g.set.Upstreams {
			u.close()
		}
	}()
	done := make(chan struct{})
	go func() {
		g.outcomes.Wait()
		close(done)
	}()
	select {
	case <-done:
		if g.set.Policy != nil {
			return g.set.Policy.Close()
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for the outcomes of calls: %w", ctx.Err())
	}
}

// Ready tells whether the last attempt to record something worked.
func (g *Gateway) Ready() bool { return !g.refusing.Load() }

// health keeps the component's status: it changes once each way.
func (g *Gateway) health(err error) {
	if g.refusing.Load() == (err != nil) {
		return
	}
	g.reportMu.Lock()
	defer g.reportMu.Unlock()
	if g.refusing.Load() == (err != nil) {
		return
	}
	g.refusing.Store(err != nil)
	g.set.Report(err)
}

var errClientGone = errors.New("the client has gone")

// ServeHTTP takes one request.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path, plain := rawPath(r)
	if r.Method == http.MethodHead && (path == "/" || g.set.Identity.ApplicationPath && strings.HasPrefix(path, applicationPrefix)) {
		return // Claude Code looks whether anyone is there, before it has a credential
	}
	c := &call{g: g, w: w, r: r, id: newCallID(), start: g.set.Now()}
	if !g.enter() {
		errShuttingDown.write(w, surfaceOf(path), c.id.String())
		return
	}
	defer g.callsOpen.Done()
	c.path = path
	if g.set.Identity.ApplicationPath {
		c.who.Application, c.path = applicationPath(path)
	}
	op, known := operation{name: "refused", activity: true, surface: surfaceOf(c.path)}, false
	if strings.HasPrefix(r.Header.Get("Authorization"), "AWS4-") {
		op.surface = Bedrock // whatever it asks for, it reads errors of AWS's shape
	}
	if plain {
		if o, ok := route(r.Method, c.path); ok {
			op, known = o, true
		}
	}
	c.op = op
	if err := c.identify(); err != nil {
		c.refuse(err)
		return
	}
	if g.headersTooLarge(r) {
		c.refuse(errHeaders)
		return
	}
	if !known {
		c.detail = r.Method + " " + cutText(path, 200)
		c.refuse(errNotAllowed)
		return
	}
	up := g.set.Upstreams[op.surface]
	if up == nil {
		c.refuse(errNoUpstream)
		return
	}
	c.up = up
	c.serve()
}

// Unauthenticated answers a request that the server's authenticator refused, and records that.
func (g *Gateway) Unauthenticated(w http.ResponseWriter, r *http.Request) {
	path, _ := rawPath(r)
	c := &call{g: g, w: w, r: r, id: newCallID(), start: g.set.Now(), op: operation{name: "refused", activity: true, surface: surfaceOf(path)}, unauthenticated: true}
	if !g.enter() {
		errShuttingDown.write(w, c.op.surface, c.id.String())
		return
	}
	defer g.callsOpen.Done()
	_ = c.identify() // it is refused, whoever it is
	c.refuse(errAnonymous)
}

// newCallID makes the id of a call, which is its event_id: a version 7 UUID.
func newCallID() uuid.UUID {
	id, err := uuid.NewV7()
	if err != nil {
		return uuid.New()
	}
	return id
}

func cutText(s string, n int) string {
	if len(s) > n {
		return s[:n]
	}
	return s
}
