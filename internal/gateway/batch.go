package gateway

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"

	"github.com/claudeaudit/claudeaudit/internal/anthropic"
	"github.com/claudeaudit/claudeaudit/internal/audit"
	"github.com/claudeaudit/claudeaudit/internal/conversation"
	"github.com/claudeaudit/claudeaudit/internal/genai"
	"github.com/claudeaudit/claudeaudit/internal/jcs"
)

// Names of the operations on message batches.
const (
	batchPath    = "/v1/messages/batches"
	batchCreate  = "batches.create"
	batchResults = "batches.results"
	batchDelete  = "batches.delete"
)

const (
	// maxBatchRequests is the API's own bound.
	maxBatchRequests = 100_000
	// maxCustomID bounds what names a request of a batch; the API takes 64 characters.
	maxCustomID = 256
	// maxOpenBatches bounds the batches whose results are waited for.
	maxOpenBatches = 10_000
	// tellAtOnce and tellBytes bound the requests or results of a batch that are recorded at a time.
	tellAtOnce = 256
	tellBytes  = 8 << 20
)

// BatchResultsKept is how long the API keeps a batch's results. A request of which nothing
// was heard until then is closed as interrupted.
const BatchResultsKept = 29 * 24 * time.Hour

// Batch is a batch whose results have not all been recorded yet.
type Batch struct {
	ID      string
	Surface Surface
	// Call is the event_id of the call that made the batch. Those of its requests derive from
	// it, so that nothing else has to be kept to find their records again.
	Call  uuid.UUID
	Start time.Time
	Who   genai.Who

	assurance string
	// header is what the API needs to be asked about the batch: the client's own, in memory alone.
	header http.Header
	// mu guards told, the requests whose results have been recorded.
	mu   sync.Mutex
	told map[string]struct{}
}

// claim tells whether the result of a request has yet to be recorded, and takes it on.
func (b *Batch) claim(item string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, twice := b.told[item]; twice {
		return false
	}
	if b.told == nil {
		b.told = map[string]struct{}{}
	}
	b.told[strings.Clone(item)] = struct{}{} // what it was read from is not kept
	return true
}

// itemID is the event_id of a request of a batch.
func itemID(create uuid.UUID, item string) uuid.UUID {
	return uuid.NewHash(sha256.New(), create, []byte(item), 8)
}

// routeBatches reads the paths below /v1/messages/batches.
func routeBatches(method, path string) (operation, bool) {
	op := operation{activity: true, proto: protoBatchObject}
	rest := strings.TrimPrefix(path, batchPath)
	if rest == "" {
		switch method {
		case http.MethodPost:
			op.name, op.proto = batchCreate, protoBatch
			return op, true
		case http.MethodGet:
			op.name = "batches.list"
			return op, true
		}
		return operation{}, false
	}
	id, action, nested := strings.Cut(strings.TrimPrefix(rest, "/"), "/")
	if rest[0] != '/' || !plainSegment(id) {
		return operation{}, false
	}
	op.batch = id
	switch {
	case !nested && method == http.MethodGet:
		op.name = "batches.get"
	case !nested && method == http.MethodDelete:
		op.name, op.proto = batchDelete, protoNone
	case nested && action == "cancel" && method == http.MethodPost:
		op.name = "batches.cancel"
	case nested && action == "results" && method == http.MethodGet:
		op.name, op.proto = batchResults, protoResults
	default:
		return operation{}, false
	}
	return op, true
}

var errBatch = &apiError{
	http.StatusBadRequest, "invalid_request_error",
	"requests must be a list of 1 to " + strconv.Itoa(maxBatchRequests) + " requests, each with params and a custom_id of its own", 0,
}

// itemCost is about what a request of a batch takes in memory beside the body, until the batch is made.
const itemCost = 2 << 10

// parseBatch makes a call of each request of a batch. Of what is asked only the text is kept: each request is read again when it
// is needed, so that one is in memory at a time.
func (c *call) parseBatch() *apiError {
	seen := map[string]struct{}{}
	var parser jcs.Parser
	err := parser.Elements(text(c.body), "requests", jcs.DefaultLimits, func(raw string, request jcs.Value) error {
		item, params := strings.Clone(request.Get("custom_id").Str()), request.Get("params")
		if _, twice := seen[item]; twice || item == "" || len(item) > maxCustomID || params.Kind() != jcs.KindObject || len(c.items) == maxBatchRequests {
			return errBatch
		}
		if len(c.items)%tellAtOnce == 0 && !c.hold(itemCost*tellAtOnce) {
			return errOverloaded
		}
		seen[item] = struct{}{}
		i := &call{
			g: c.g, r: c.r, up: c.up, id: itemID(c.id, item), item: item, raw: raw, start: c.start, who: c.who, sha: c.sha,
			op: operation{name: "chat", surface: c.op.surface}, completeness: genai.ContentNone,
		}
		i.who.flags = slices.Clone(c.who.flags)
		i.readParams(params)
		i.op.model = strings.Clone(i.request.Model)
		if i.conv.HasPrompt() {
			i.completeness = genai.ContentFull
		}
		i.identifyBody()
		i.forget()
		c.items = append(c.items, i)
		return nil
	})
	var own *apiError
	switch {
	case errors.As(err, &own):
	case err != nil:
		c.completeness = genai.ContentUnparsed
		c.unparsed = append(c.unparsed, unparsed("request", c.body, err))
		own = errUnreadable
	case len(c.items) == 0:
		own = errBatch
	}
	if own != nil {
		c.items = nil
	}
	return own
}

func (c *call) readParams(params jcs.Value) {
	c.conv, c.request = anthropic.ReadRequest(params)
	c.conv.Normalize()
}

// recall reads a request of a batch again.
func (c *call) recall() {
	v, err := jcs.ParseStrict(c.raw, jcs.DefaultLimits)
	if err != nil {
		panic(err) // of a text that was read before: cannot be
	}
	c.readParams(v.Get("params"))
}

// forget lets go of what was read.
func (c *call) forget() {
	c.conv, c.request = conversation.Conversation{}, anthropic.RequestInfo{}
}

// decideItems asks the policy about each request of a batch. One that is blocked blocks the batch, and
// is recorded beside it.
func (c *call) decideItems() *apiError {
	if c.g.set.Policy == nil {
		return nil
	}
	for _, i := range c.items {
		i.recall()
		err := i.decide()
		if err == nil {
			i.forget()
			continue
		}
		it := i.initial()
		it.Gateway.Status, it.Gateway.Ended = audit.StatusBlocked, audit.EndedPolicy
		it.ErrorType, it.End = "policy_"+string(i.decision.Action), c.g.set.Now()
		it.Gateway.HTTPStatus = number(int64(err.status))
		c.items = nil // the others are no calls: they go nowhere
		c.decision, c.asked = i.decision, i.asked
		c.g.outcome(i, it)
		return err
	}
	return nil
}

// initiatedItems records the requests of a batch, some at a time.
func (g *Gateway) initiatedItems(c *call) error {
	var its []*genai.Interaction
	size, share := 0, len(c.body)/max(1, len(c.items))
	for n, i := range c.items {
		i.recall()
		it := i.initial()
		it.Gateway.Status = audit.StatusInitiated
		its = append(its, it)
		i.forget()
		i.raw = "" // recorded
		if size += share; len(its) < tellAtOnce && size < tellBytes && n < len(c.items)-1 {
			continue
		}
		if err := g.consume(c.r.Context(), eventInitiated, its...); err != nil {
			return err
		}
		its, size = its[:0], 0
	}
	return nil
}

// recordItems records the endings of a batch's requests when the batch itself was not made, some at a time.
func (g *Gateway) recordItems(ctx context.Context, of *genai.Interaction, items []*call) {
	for some := range slices.Chunk(items, tellAtOnce) {
		its := make([]*genai.Interaction, 0, len(some))
		for _, i := range some {
			it := i.outcome(of.Gateway.Status, of.Gateway.Ended, of.ErrorType)
			it.ErrorTypeExact, it.Gateway.HTTPStatus = of.ErrorTypeExact, of.Gateway.HTTPStatus
			it.Gateway.ResponseBytes = nil
			if it.Gateway.Status == audit.StatusSuccess { // an answer that names no batch
				it.Gateway.Status, it.ErrorType = audit.StatusError, "batch_unknown"
			}
			its = append(its, it)
		}
		g.recordOutcome(ctx, its...)
	}
}

// batchAnswer reads an answer that can name a batch, whole, before it is passed on: so that the batch's
// name is durable before the client knows it, and so that its results can't be fetched around the gateway.
func (c *call) batchAnswer(resp *http.Response) {
	limit := int64(c.g.set.Limits.ResponseBytes)
	body, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if err == nil && int64(len(body)) > limit {
		err = errNotRewritten
	}
	var plain []byte
	if err == nil {
		plain, err = rewriteResultsURLs(body, c.ownBase())
	}
	if err != nil {
		// What isn't understood could lead around the gateway: none of it is passed on.
		resp.Body = errorBody{err}
		resp.ContentLength = -1
		resp.Header.Del("Content-Length")
		return
	}
	if c.op.name == batchCreate {
		c.made(plain)
	}
	resp.Body = io.NopCloser(bytes.NewReader(plain))
	resp.ContentLength = int64(len(plain))
	resp.Header.Set("Content-Length", strconv.Itoa(len(plain)))
}

type errorBody struct{ err error }

func (b errorBody) Read([]byte) (int, error) { return 0, b.err }
func (errorBody) Close() error               { return nil }

// made takes the batch on that the API has made.
func (c *call) made(body []byte) {
	v, err := jcs.Parse(text(body), jcs.DefaultLimits)
	id := v.Get("id").Str()
	if err != nil || !plainSegment(id) {
		return
	}
	c.op.batch = id
	header := http.Header{}
	for _, name := range []string{"X-Api-Key", "Api-Key", "Authorization", "Anthropic-Version", "Anthropic-Beta"} {
		if values, ok := c.r.Header[name]; ok {
			header[name] = values
		}
	}
	c.g.addBatch(&Batch{
		ID: id, Surface: c.op.surface, Call: c.id, Start: c.start, Who: c.who.Who, assurance: c.who.assurance, header: header,
	})
	it := c.identified()
	it.Gateway.Status = audit.StatusInitiated
	if err := c.g.consume(c.r.Context(), eventInitiated, it); err != nil {
		c.g.set.Metrics.Unrecorded(eventInitiated) // its outcome says it too, and is tried until it works
	}
	c.items = nil
}

func (g *Gateway) addBatch(b *Batch) {
	g.batchMu.Lock()
	defer g.batchMu.Unlock()
	if len(g.batches) >= maxOpenBatches {
		g.set.Logger.Error("too many batches wait for their results; this one's are not recorded until the next start", zap.String("batch", b.ID))
		return
	}
	g.batches[b.ID] = b
}

func (g *Gateway) batch(id string) *Batch {
	g.batchMu.Lock()
	defer g.batchMu.Unlock()
	return g.batches[id]
}

func (g *Gateway) dropBatch(id string) {
	g.batchMu.Lock()
	defer g.batchMu.Unlock()
	delete(g.batches, id)
}

// TakeBatches takes batches on that Unfinished found.
func (g *Gateway) TakeBatches(batches []*Batch) {
	for _, b := range batches {
		g.addBatch(b)
	}
}

// ownBase is the URL that the client reaches the gateway by, with what stands before the API's own paths.
func (c *call) ownBase() string {
	base := c.g.set.PublicURL
	if base == "" {
		base = "http://" + c.r.Host
		if c.r.TLS != nil {
			base = "https://" + c.r.Host
		}
	}
	path, _ := rawPath(c.r)
	before, _, _ := strings.Cut(path, batchPath)
	return base + before
}

var errNotRewritten = errors.New("the answer can't be read, and may lead around the gateway")

// rewriteResultsURLs puts base before the path of each results_url. All other bytes stay as they are.
func rewriteResultsURLs(body []byte, base string) ([]byte, error) {
	if !json.Valid(body) {
		return nil, errNotRewritten
	}
	var out []byte
	from := 0
	for i := 0; i < len(body); {
		if body[i] != '"' {
			i++
			continue
		}
		end := endOfString(body, i)
		key := string(body[i:end])
		i = skipSpace(body, end)
		if i >= len(body) || body[i] != ':' || unquote(key) != "results_url" {
			continue
		}
		i = skipSpace(body, i+1)
		if body[i] != '"' {
			continue // null
		}
		end = endOfString(body, i)
		value := "null" // no results that could be fetched here
		if u, err := url.Parse(unquote(string(body[i:end]))); err == nil {
			if at := strings.LastIndex(u.Path, batchPath+"/"); at >= 0 {
				if op, ok := routeBatches(http.MethodGet, u.Path[at:]); ok && op.name == batchResults {
					quoted, err := json.Marshal(base + u.Path[at:])
					if err != nil {
						return nil, err
					}
					value = string(quoted)
				}
			}
		}
		out = append(append(out, body[from:i]...), value...)
		from, i = end, end
	}
	return append(out, body[from:]...), nil
}

// endOfString is the place after a string of valid JSON that begins at i.
func endOfString(b []byte, i int) int {
	for i++; b[i] != '"'; i++ {
		if b[i] == '\\' {
			i++
		}
	}
	return i + 1
}

func skipSpace(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\t' || b[i] == '\n' || b[i] == '\r') {
		i++
	}
	return i
}

func unquote(quoted string) string {
	var s string
	if json.Unmarshal([]byte(quoted), &s) != nil {
		return ""
	}
	return s
}

// resultsObserver reads the results of a batch, a JSON text in each line, and records the end of each call that
// they are of. It waits until that is done: who fetches results can wait too.
type resultsObserver struct {
	c     *call
	batch *Batch // nil when the batch isn't known, or all of its results are recorded
	buf   []byte
	skip  bool // the rest of a line that is too long
	bad   int
	its   []*genai.Interaction
	size  int
}

func (o *resultsObserver) id() (string, bool) { return "", true }
func (o *resultsObserver) content() bool      { return false }

func (o *resultsObserver) write(p []byte) {
	if o.batch == nil {
		return
	}
	for len(p) > 0 {
		line, rest, whole := bytes.Cut(p, []byte{'\n'})
		p = rest
		if !o.skip {
			if o.skip = len(o.buf)+len(line) > o.c.g.set.Limits.ResponseBytes; o.skip {
				o.bad++
				o.buf = nil
			} else {
				o.buf = append(o.buf, line...)
			}
		}
		if whole {
			o.line()
		}
	}
}

// line reads the line that buf holds.
func (o *resultsObserver) line() {
	line := bytes.TrimSpace(o.buf)
	o.buf = nil // its memory is that of what was read of it
	if o.skip || len(line) == 0 {
		o.skip = false
		return
	}
	v, err := jcs.Parse(text(line), jcs.DefaultLimits)
	item, result := v.Get("custom_id").Str(), v.Get("result")
	if err != nil || item == "" || len(item) > maxCustomID || result.Get("type").Str() == "" {
		o.bad++
		return
	}
	if !o.batch.claim(item) {
		return
	}
	o.its = append(o.its, o.c.itemResult(o.batch, item, result))
	if o.size += len(line); len(o.its) >= tellAtOnce || o.size >= tellBytes {
		o.tell()
	}
}

func (o *resultsObserver) tell() {
	if len(o.its) > 0 {
		o.c.g.recordOutcome(context.WithoutCancel(o.c.r.Context()), o.its...)
	}
	o.its, o.size = nil, 0
}

func (o *resultsObserver) close(eof bool) answer {
	a := answer{whole: true, completeness: genai.ContentNone}
	if o.batch == nil {
		return a
	}
	if eof {
		o.line()
	}
	o.tell()
	if !eof || o.bad > 0 {
		a.whole = false
		return a
	}
	o.c.g.dropBatch(o.batch.ID)
	return a
}

// itemResult is how a request of a batch ended.
func (c *call) itemResult(b *Batch, item string, result jcs.Value) *genai.Interaction {
	it := &genai.Interaction{
		Start: b.Start, Operation: "chat", Provider: provider(b.Surface), Who: b.Who, ResponseCompleteness: genai.ContentNone,
		Gateway: &genai.Gateway{
			CallID: itemID(b.Call, item), Status: audit.StatusError, Ended: audit.EndedComplete, Assurance: b.assurance,
			Surface: string(b.Surface), BatchID: b.ID, BatchItem: item,
		},
	}
	switch kind := result.Get("type").Str(); kind {
	case "succeeded":
		output, info := anthropic.ReadResponse(result.Get("message"))
		it.Gateway.Status = audit.StatusSuccess
		it.ResponseID, it.ResponseModel, it.StopReason = info.ID, info.Model, info.StopReason
		it.PromptTokens, it.CompletionTokens = info.Usage.PromptTokens(), info.Usage.OutputTokens
		it.CacheReadTokens, it.CacheWriteTokens = info.Usage.CacheReadTokens, info.Usage.CacheWriteTokens
		it.Content.Output = output
		it.Content.Normalize()
		if len(output) > 0 {
			it.ResponseCompleteness = genai.ContentFull
		}
		if p := c.g.set.Policy; p != nil && it.PromptTokens != nil && it.CompletionTokens != nil {
			p.Ended(&Call{User: b.Who.User, Application: b.Who.Application}, *it.PromptTokens+*it.CompletionTokens)
		}
	case "errored":
		_, info := anthropic.ReadResponse(result.Get("error"))
		it.RequestID = info.RequestID
		it.ErrorType, it.ErrorTypeExact = info.ErrorType, true
		if it.ErrorType == "" {
			it.ErrorType = "api_error"
		}
	case "canceled", "expired":
		it.Gateway.Status, it.ErrorType = audit.StatusInterrupted, "batch_"+kind
	default:
		it.ErrorType = "batch_unknown_result"
	}
	return it
}

// pollBatches fetches the results of batches that nobody fetches, until the gateway stops.
func (g *Gateway) pollBatches() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		<-g.stopping
		cancel()
	}()
	tick := time.NewTicker(g.set.BatchPoll)
	defer tick.Stop()
	for {
		select {
		case <-g.stopping:
			return
		case <-tick.C:
		}
		g.batchMu.Lock()
		open := make([]*Batch, 0, len(g.batches))
		for _, b := range g.batches {
			open = append(open, b)
		}
		g.batchMu.Unlock()
		for _, b := range open {
			if ctx.Err() != nil {
				return
			}
			if g.set.Now().Sub(b.Start) > BatchResultsKept {
				g.dropBatch(b.ID) // its requests are closed at the next start
				continue
			}
			if err := g.pollBatch(ctx, b); err != nil && ctx.Err() == nil {
				g.set.Logger.Warn("the results of a batch can't be fetched; trying again", zap.String("batch", b.ID), zap.Error(err))
			}
		}
	}
}

// pollBatch records the results of a batch that has ended.
func (g *Gateway) pollBatch(ctx context.Context, b *Batch) error {
	up := g.set.Upstreams[b.Surface]
	if up == nil || up.credential == nil && firstHeader(b.header, "X-Api-Key", "Api-Key", "Authorization") == "" {
		return nil // nothing to ask with: a client of the gateway's has to fetch them
	}
	switch ended, err := g.batchEnded(ctx, up, b); {
	case err != nil:
		return err
	case !ended:
		return nil
	}
	return g.fetchResults(ctx, up, b)
}

// batchCall is a call of the gateway's own.
func (g *Gateway) batchCall(ctx context.Context, up *Upstream, b *Batch, name, action string, proto protocol) (*call, error) {
	path := batchPath + "/" + b.ID + action
	if b.Surface == Foundry {
		path = foundryPrefix + path
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, path, http.NoBody)
	if err != nil {
		return nil, err
	}
	r.Header = b.header.Clone()
	if r.Header == nil {
		r.Header = http.Header{}
	}
	if r.Header.Get("Anthropic-Version") == "" {
		r.Header.Set("Anthropic-Version", "2023-06-01")
	}
	r.Header.Set("User-Agent", "claudeaudit-gateway")
	c := &call{g: g, w: discard{}, r: r, up: up, id: newCallID(), start: g.set.Now(), path: path}
	c.op = operation{name: name, surface: b.Surface, proto: proto, activity: true, batch: b.ID}
	c.who.assurance, c.who.Application = audit.AssuranceNone, g.set.Name
	return c, nil
}

func (g *Gateway) batchEnded(ctx context.Context, up *Upstream, b *Batch) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	c, err := g.batchCall(ctx, up, b, "batches.get", "", protoBatchObject)
	if err != nil {
		return false, err
	}
	req, err := c.upstreamRequest(ctx)
	if err != nil {
		return false, err
	}
	resp, err := up.transport.RoundTrip(req)
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return false, err
	}
	if resp.StatusCode != http.StatusOK {
		return false, errors.New("the API answers " + resp.Status)
	}
	v, err := jcs.Parse(text(body), jcs.DefaultLimits)
	return err == nil && v.Get("processing_status").Str() == "ended", err
}

// fetchResults fetches the results as a client would, and is recorded so.
func (g *Gateway) fetchResults(ctx context.Context, up *Upstream, b *Batch) (err error) {
	c, err := g.batchCall(ctx, up, b, batchResults, "/results", protoResults)
	if err != nil {
		return err
	}
	defer func() {
		if r := recover(); r != nil {
			if r != http.ErrAbortHandler {
				panic(r)
			}
			err = errors.New("the results broke off")
		}
	}()
	c.serve()
	if c.status != http.StatusOK {
		return errors.New("the results are answered with status " + strconv.Itoa(c.status))
	}
	return nil
}

// discard takes an answer that nobody waits for.
type discard struct{}

func (discard) Header() http.Header         { return http.Header{} }
func (discard) Write(p []byte) (int, error) { return len(p), nil }
func (discard) WriteHeader(int)             {}
func (discard) Flush()                      {}

// beforeDelete records a batch's results before they are gone.
func (c *call) beforeDelete() *apiError {
	b := c.g.batch(c.op.batch)
	if b == nil {
		return nil
	}
	header := http.Header{}
	for _, name := range []string{"X-Api-Key", "Api-Key", "Authorization", "Anthropic-Version", "Anthropic-Beta"} {
		if values, ok := c.r.Header[name]; ok {
			header[name] = values
		}
	}
	asking := &Batch{ID: b.ID, Surface: b.Surface, header: header}
	ended, err := c.g.batchEnded(c.r.Context(), c.up, asking)
	if err == nil && ended {
		err = c.g.fetchResults(c.r.Context(), c.up, asking)
	}
	if err != nil {
		c.g.set.Logger.Warn("the results of a batch can't be recorded, so it is not deleted", zap.String("batch", b.ID), zap.Error(err))
		return errKeepBatch
	}
	return nil
}

var errKeepBatch = &apiError{
	http.StatusServiceUnavailable, "api_error", "the batch's results can't be recorded now, so it was not deleted; try again", 2,
}
