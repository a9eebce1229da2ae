package dlp

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/sony/gobreaker/v2"
	"go.opentelemetry.io/collector/component"
	"go.uber.org/zap"

	"github.com/claudeaudit/claudeaudit/internal/audit"
	"github.com/claudeaudit/claudeaudit/internal/detect"
)

// FlagUnavailable says that the service did not answer for all of a call, so that
// only the built-in engine's findings are complete.
const FlagUnavailable = "detection.external_unavailable"

// ErrUnavailable is the error of a call that the service did not answer for. It is
// worth another try.
var ErrUnavailable = errors.New("the external classifier did not answer")

var (
	// errAnswer is an answer that can't be read.
	errAnswer = errors.New("the answer is not what the protocol says")
	// errRejected is an answer that speaks of this text, not of the service's health.
	errRejected = errors.New("the request was rejected")
	// errBusy is no answer because the call's time was over before its turn came.
	errBusy = errors.New("the time for the call was over")
)

// Result is what a service says of a call.
type Result struct {
	// Level is the highest class that the service named or that Config.Levels gives
	// to what it found, "" for none.
	Level string
	// Detections have rules that begin with "external.".
	Detections []detect.Detection
	// Flags are the service's, FlagUnavailable and detect.FlagTruncated, sorted.
	Flags []string
}

// answer is what a service says of a piece.
type answer struct {
	level      string
	flags      []string
	detections []detect.Detection
}

// add counts a detection. Those of one type and rule are one.
func (a *answer) add(d detect.Detection) error {
	for i := range a.detections {
		o := &a.detections[i]
		if o.Type == d.Type && o.Rule == d.Rule {
			o.Count = min(o.Count+d.Count, maxCount)
			if order(d.Confidence) > order(o.Confidence) {
				o.Confidence = d.Confidence
			}
			return nil
		}
	}
	if len(a.detections) >= maxKinds {
		return fmt.Errorf("%w: more than %d kinds of detections", errAnswer, maxKinds)
	}
	a.detections = append(a.detections, d)
	return nil
}

func order(confidence string) int {
	return slices.Index([]string{detect.Low.String(), detect.Medium.String(), detect.High.String()}, confidence)
}

// Stats are numbers since the start.
type Stats struct {
	Requests int64 // sent
	Failures int64 // sent and not answered as the protocol says
	Skipped  int64 // not sent: the breaker was open, or no turn came in time
	Cached   int64 // answered from the cache
	Open     bool  // the breaker is open, or trying again
}

// Client asks a service. It may be used by many goroutines.
type Client struct {
	cfg     Config
	http    *http.Client
	breaker *gobreaker.CircuitBreaker[answer]
	slots   chan struct{}
	sends   [detect.Output + 1]bool
	log     *zap.Logger
	now     func() time.Time

	mu    sync.Mutex
	cache *simplelru.LRU[[sha256.Size]byte, cached]

	requests, failures, skipped, hits atomic.Int64
}

type cached struct {
	answer answer
	until  time.Time
}

// New makes a client of a valid configuration. The extensions are those of the
// host, for auth and middlewares; nil if there are none. It sends nothing yet.
func New(ctx context.Context, cfg Config, extensions map[component.ID]component.Component, set component.TelemetrySettings) (*Client, error) {
	c := &Client{cfg: cfg, slots: make(chan struct{}, cfg.MaxConcurrent), log: set.Logger, now: time.Now}
	var err error
	if c.http, err = cfg.ClientConfig.ToClient(ctx, extensions, set); err != nil {
		return nil, fmt.Errorf("set up the client of the external classifier: %w", err)
	}
	// a redirect would carry texts to a place that nobody configured
	c.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	for o := range c.sends {
		c.sends[o] = len(cfg.Origins) == 0 || slices.Contains(cfg.Origins, detect.Origin(o).String())
	}
	if cfg.Cache.Entries > 0 {
		if c.cache, err = simplelru.NewLRU[[sha256.Size]byte, cached](cfg.Cache.Entries, nil); err != nil {
			return nil, fmt.Errorf("make the cache of the external classifier: %w", err)
		}
	}
	c.breaker = gobreaker.NewCircuitBreaker[answer](gobreaker.Settings{
		Name:        "external classifier",
		MaxRequests: 1,
		Timeout:     cfg.Breaker.Open,
		ReadyToTrip: func(n gobreaker.Counts) bool { return int(n.ConsecutiveFailures) >= cfg.Breaker.Failures },
		IsExcluded:  func(err error) bool { return errors.Is(err, context.Canceled) || errors.Is(err, errRejected) },
		OnStateChange: func(_ string, from, to gobreaker.State) {
			switch {
			case to == gobreaker.StateOpen && from == gobreaker.StateClosed:
				c.log.Warn("The external classifier fails and is not asked for a while", zap.Int("failures", cfg.Breaker.Failures), zap.Duration("open", cfg.Breaker.Open))
			case to == gobreaker.StateClosed:
				c.log.Info("The external classifier answers again")
			}
		},
	})
	return c, nil
}

// Close ends idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Stats returns the numbers since the start.
func (c *Client) Stats() Stats {
	return Stats{
		Requests: c.requests.Load(), Failures: c.failures.Load(), Skipped: c.skipped.Load(), Cached: c.hits.Load(),
		Open: c.breaker.State() != gobreaker.StateClosed,
	}
}

// Classify asks about the texts of one call, each in a request of its own, long
// ones in several. What the service said of some texts counts even when it did not
// answer for others; then the result has FlagUnavailable, or, if the configuration
// refuses, the error wraps ErrUnavailable. When ctx ends, the error is its own.
func (c *Client) Classify(ctx context.Context, segs []detect.Segment, sc detect.Scope) (Result, error) {
	pieces, truncated := cut(segs, func(o detect.Origin) bool { return int(o) < len(c.sends) && c.sends[o] }, c.cfg.MaxTextBytes, c.cfg.OverlapBytes, c.cfg.MaxCallBytes)
	answers, err := c.ask(ctx, pieces, sc)
	if err != nil && ctx.Err() != nil {
		return Result{}, fmt.Errorf("ask the external classifier: %w", ctx.Err())
	}
	var res Result
	var sum answer
	for _, a := range answers {
		res.Level = higher(res.Level, a.level)
		res.Flags = append(res.Flags, a.flags...)
		for _, d := range a.detections {
			if err2 := sum.add(d); err2 != nil {
				err = cmp.Or(err, err2)
			}
		}
	}
	if err != nil {
		if c.cfg.OnFailure == OnFailureRefuse {
			return Result{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
		res.Flags = append(res.Flags, FlagUnavailable)
	}
	if truncated {
		res.Flags = append(res.Flags, detect.FlagTruncated)
	}
	slices.Sort(res.Flags)
	res.Flags = slices.Compact(res.Flags)
	slices.SortFunc(sum.detections, func(a, b detect.Detection) int {
		return cmp.Or(strings.Compare(a.Type, b.Type), strings.Compare(a.Rule, b.Rule))
	})
	res.Detections = sum.detections
	for _, d := range res.Detections {
		res.Level = higher(res.Level, c.cfg.Levels[d.Type])
	}
	return res, nil
}

func higher(a, b string) string {
	if audit.ClassificationLevel(b) > audit.ClassificationLevel(a) {
		return b
	}
	return a
}

// ask asks about pieces, several at a time. The answers are those that came; the
// error is one of those that did not.
func (c *Client) ask(ctx context.Context, pieces []piece, sc detect.Scope) ([]answer, error) {
	if len(pieces) == 0 {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, c.cfg.CallTimeout)
	defer cancel()
	var (
		answers = make([]answer, len(pieces))
		failed  atomic.Pointer[error]
		next    atomic.Int64
		wg      sync.WaitGroup
	)
	for range min(len(pieces), c.cfg.MaxConcurrent) {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(pieces) {
					return
				}
				a, err := c.askOnce(ctx, pieces[i], sc)
				if err == nil {
					answers[i] = a
					continue
				}
				failed.CompareAndSwap(nil, &err)
				if c.cfg.OnFailure == OnFailureRefuse {
					cancel() // the others' answers would be thrown away
				}
			}
		})
	}
	wg.Wait()
	if err := failed.Load(); err != nil {
		return answers, *err
	}
	return answers, nil
}

// askOnce asks about one piece, or remembers.
func (c *Client) askOnce(ctx context.Context, p piece, sc detect.Scope) (answer, error) {
	body, err := c.body(p, sc)
	if err != nil {
		return answer{}, err
	}
	// which findings count is part of the answer
	key := sha256.Sum256(binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(bytes.Clone(body), uint64(p.from)), uint64(p.to)))
	if a, ok := c.remembered(key); ok {
		c.hits.Add(1)
		return a, nil
	}
	if c.breaker.State() == gobreaker.StateOpen {
		c.skipped.Add(1)
		return answer{}, gobreaker.ErrOpenState
	}
	select {
	case c.slots <- struct{}{}:
		defer func() { <-c.slots }()
	case <-ctx.Done():
	}
	if ctx.Err() != nil {
		c.skipped.Add(1)
		return answer{}, errBusy
	}
	sent := false
	a, err := c.breaker.Execute(func() (answer, error) {
		sent = true
		c.requests.Add(1)
		return c.post(ctx, body, p)
	})
	switch {
	case err == nil:
		c.remember(key, a)
	case sent:
		c.failures.Add(1)
	default:
		c.skipped.Add(1)
	}
	return a, err
}

func (c *Client) body(p piece, sc detect.Scope) ([]byte, error) {
	v := contractBody(p, sc)
	if c.cfg.Protocol == ProtocolPresidio {
		v = c.presidioBody(p)
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, errors.New("the request can't be written as JSON")
	}
	return b.Bytes(), nil
}

// post sends a request and reads its answer. Its errors quote neither.
func (c *Client) post(ctx context.Context, body []byte, p piece) (answer, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.cfg.ClientConfig.Endpoint, bytes.NewReader(body))
	if err != nil {
		return answer{}, errors.New("the endpoint is not a URL")
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	res, err := c.http.Do(req)
	if err != nil {
		return answer{}, quiet(err)
	}
	defer res.Body.Close()
	got, err := io.ReadAll(io.LimitReader(res.Body, int64(c.cfg.MaxAnswerBytes)+1))
	if err != nil {
		return answer{}, fmt.Errorf("read the answer: %w", quiet(err))
	}
	switch {
	case res.StatusCode == http.StatusBadRequest || res.StatusCode == http.StatusRequestEntityTooLarge || res.StatusCode == http.StatusUnprocessableEntity:
		return answer{}, fmt.Errorf("%w with status %d", errRejected, res.StatusCode)
	case res.StatusCode != http.StatusOK:
		return answer{}, fmt.Errorf("status %d", res.StatusCode)
	case len(got) > c.cfg.MaxAnswerBytes:
		return answer{}, fmt.Errorf("%w: it is longer than %d bytes", errAnswer, c.cfg.MaxAnswerBytes)
	}
	if c.cfg.Protocol == ProtocolPresidio {
		return c.readPresidio(got, p)
	}
	return c.readContract(got, p)
}

// quiet takes the URL out of an error, which may hold a password.
func quiet(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	var n net.Error
	switch {
	case errors.Is(err, context.Canceled):
		return context.Canceled
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &n) && n.Timeout():
		return context.DeadlineExceeded
	}
	return err
}

func (c *Client) remembered(key [sha256.Size]byte) (answer, bool) {
	if c.cache == nil {
		return answer{}, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	got, ok := c.cache.Get(key)
	if ok && c.now().After(got.until) {
		c.cache.Remove(key)
		ok = false
	}
	return got.answer, ok
}

func (c *Client) remember(key [sha256.Size]byte, a answer) {
	if c.cache == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cache.Add(key, cached{a, c.now().Add(c.cfg.Cache.TTL)})
}
