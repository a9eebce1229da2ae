package elasticsearch

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"

	"github.com/elastic/go-elasticsearch/v8/esapi"
)

const (
	// maxAnswer bounds an answer of the server.
	maxAnswer = 256 << 20
	// maxReason bounds what is kept of the server's reason for refusing.
	maxReason = 1024
	// requestTimeout bounds one request.
	requestTimeout = 90 * time.Second
)

// Error is an error that the server answered with.
type Error struct {
	Status int    // HTTP status
	Type   string // such as index_not_found_exception
	Reason string
}

func (e *Error) Error() string {
	switch {
	case e.Type == "":
		return fmt.Sprintf("the server answered %d %s", e.Status, http.StatusText(e.Status))
	case e.Reason == "":
		return fmt.Sprintf("the server answered %d: %s", e.Status, e.Type)
	}
	return fmt.Sprintf("the server answered %d: %s: %s", e.Status, e.Type, e.Reason)
}

// cause is the error object of an answer.
type cause struct {
	Type     string `json:"type"`
	Reason   string `json:"reason"`
	CausedBy *cause `json:"caused_by"`
}

// UnmarshalJSON also reads the errors that are only text.
func (c *cause) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		return json.Unmarshal(b, &c.Reason)
	}
	type plain cause
	return json.Unmarshal(b, (*plain)(c))
}

func (c *cause) asError(status int) *Error {
	e := &Error{Status: status, Type: c.Type, Reason: c.Reason}
	if c.CausedBy != nil && c.CausedBy.Reason != "" {
		e.Reason += ": " + c.CausedBy.Reason
	}
	// The server likes to quote the value that it can't take.
	for _, quote := range []string{"Preview of field's value", "original value", "For input string"} {
		if i := strings.Index(e.Reason, quote); i >= 0 {
			e.Reason = strings.TrimRight(e.Reason[:i], " .:[")
		}
	}
	if len(e.Reason) > maxReason {
		e.Reason = strings.ToValidUTF8(e.Reason[:maxReason], "") + "…"
	}
	return e
}

func hasType(err error, types ...string) bool {
	var e *Error
	if errors.As(err, &e) {
		for _, t := range types {
			if e.Type == t {
				return true
			}
		}
	}
	return false
}

func hasStatus(err error, status int) bool {
	var e *Error
	return errors.As(err, &e) && e.Status == status
}

// connection speaks to the server.
type connection struct {
	client esapi.Transport
}

// callTries is how often a request is sent that the server can't serve for now,
// as while a new index starts. All requests may be repeated: those that write
// are conditional.
const callTries = 6

// call sends a request with a JSON body, or none, and decodes the answer into
// out, unless that is nil. An answer that isn't a success is an *Error.
func (c connection) call(ctx context.Context, method, path string, body, out any) error {
	var encoded []byte
	if b, ok := body.([]byte); ok {
		encoded = b
	} else if body != nil {
		var err error
		if encoded, err = json.Marshal(body); err != nil {
			return fmt.Errorf("encoding a request: %w", err)
		}
	}
	wait := minItemRetry
	for try := 1; ; try++ {
		err := c.callOnce(ctx, method, path, encoded, out)
		if try == callTries || !hasStatus(err, http.StatusServiceUnavailable) && !hasStatus(err, http.StatusTooManyRequests) {
			return err
		}
		if err := pause(ctx, wait); err != nil {
			return err
		}
		wait = min(2*wait, maxItemRetry)
	}
}

// pause waits for a time between half of d and one and a half.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d/2 + rand.N(d))
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

func (c connection) callOnce(ctx context.Context, method, path string, body []byte, out any) error {
	var reader io.Reader
	if body != nil {
		reader = bytes.NewReader(body)
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, path, reader)
	if err != nil {
		return fmt.Errorf("making a request: %w", err)
	}
	if reader != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.client.Perform(req)
	if err != nil {
		return unreachable(err)
	}
	return decode(resp.StatusCode, resp.Body, out)
}

// unreachable strips what a transport's error says of the address: it may hold
// a password.
func unreachable(err error) error {
	return fmt.Errorf("reaching Elasticsearch: %w", err)
}

func decode(status int, body io.ReadCloser, out any) error {
	if body == nil {
		body = http.NoBody
	}
	defer func() { _ = body.Close() }() // read to its end, or the request failed
	if status < 200 || status > 299 {
		b, err := io.ReadAll(io.LimitReader(body, 1<<20))
		if err != nil {
			return unreachable(err)
		}
		var said struct {
			Error cause `json:"error"`
		}
		if json.Unmarshal(b, &said) != nil {
			return &Error{Status: status}
		}
		return said.Error.asError(status)
	}
	if out == nil {
		_, err := io.Copy(io.Discard, io.LimitReader(body, maxAnswer))
		if err != nil {
			return unreachable(err)
		}
		return nil
	}
	b, err := io.ReadAll(io.LimitReader(body, maxAnswer+1))
	if err != nil {
		return unreachable(err)
	}
	if len(b) > maxAnswer {
		return fmt.Errorf("the server's answer is larger than %d bytes", maxAnswer)
	}
	if err := json.Unmarshal(b, out); err != nil {
		return fmt.Errorf("reading the server's answer: %w", err)
	}
	return nil
}

// version identifies a state of a document.
type version struct {
	seqNo, term int64
}

// stored is a document as the server has it.
type stored struct {
	index, id string
	version   version
	source    json.RawMessage
}

type documentID struct {
	Index string `json:"_index"`
	ID    string `json:"_id"`
}

// idsPerRequest bounds the documents that are asked for at once.
const idsPerRequest = 500

// get returns those of the documents that are there, as they are now, refreshed
// or not.
func (c connection) get(ctx context.Context, ids []documentID) ([]stored, error) {
	var out []stored
	wait := minItemRetry
	for try := 1; len(ids) > 0; {
		n := min(len(ids), idsPerRequest)
		from := len(out)
		var answer struct {
			Docs []struct {
				documentID
				Found  bool            `json:"found"`
				SeqNo  int64           `json:"_seq_no"`
				Term   int64           `json:"_primary_term"`
				Source json.RawMessage `json:"_source"`
				Error  *cause          `json:"error"`
			} `json:"docs"`
		}
		err := c.call(ctx, http.MethodPost, "/_mget", map[string]any{"docs": ids[:n]}, &answer)
		if err != nil {
			return nil, fmt.Errorf("reading documents: %w", err)
		}
		var failed error
		for _, d := range answer.Docs {
			switch {
			case d.Error != nil && d.Error.Type != "index_not_found_exception":
				failed = fmt.Errorf("reading document %s: %w", d.ID, d.Error.asError(http.StatusServiceUnavailable))
			case d.Found:
				out = append(out, stored{d.Index, d.ID, version{d.SeqNo, d.Term}, d.Source})
			}
		}
		if failed == nil {
			ids, try, wait = ids[n:], 1, minItemRetry
			continue
		}
		// A new index that has not started yet.
		out = out[:from]
		if try++; try > callTries {
			return nil, failed
		}
		if err := pause(ctx, wait); err != nil {
			return nil, err
		}
		wait = min(2*wait, maxItemRetry)
	}
	return out, nil
}

type hit struct {
	documentID
	Source json.RawMessage   `json:"_source"`
	Sort   []json.RawMessage `json:"sort"`
	SeqNo  int64             `json:"_seq_no"`
	Term   int64             `json:"_primary_term"`
}

type searchAnswer struct {
	TimedOut bool   `json:"timed_out"`
	Took     int64  `json:"took"`
	PIT      string `json:"pit_id"`
	Shards   struct {
		Failed   int `json:"failed"`
		Failures []struct {
			Reason cause `json:"reason"`
		} `json:"failures"`
	} `json:"_shards"`
	Hits struct {
		Hits []hit `json:"hits"`
	} `json:"hits"`
	Aggregations map[string]struct {
		Buckets []struct {
			Key   string `json:"key"`
			Count int    `json:"doc_count"`
		} `json:"buckets"`
	} `json:"aggregations"`
}

// search searches indices, those that aren't there left out. An answer that is
// not of all shards is an error: it would pass for the whole.
func (c connection) search(ctx context.Context, indices []string, body map[string]any) (*searchAnswer, error) {
	path := "/_search"
	if len(indices) > 0 {
		path = "/" + strings.Join(indices, ",") + "/_search?ignore_unavailable=true&allow_no_indices=true&allow_partial_search_results=false"
	}
	var a searchAnswer
	if err := c.call(ctx, http.MethodPost, path, body, &a); err != nil {
		return nil, err
	}
	if a.TimedOut || a.Shards.Failed > 0 {
		err := errors.New("the server answered for a part of the index only")
		if len(a.Shards.Failures) > 0 {
			err = fmt.Errorf("%w: %w", err, a.Shards.Failures[0].Reason.asError(http.StatusServiceUnavailable))
		}
		return nil, err
	}
	return &a, nil
}

// refresh makes what was written visible to searches.
func (c connection) refresh(ctx context.Context, indices []string) error {
	if len(indices) == 0 {
		return nil
	}
	for len(indices) > 0 {
		n := min(len(indices), maxIndicesPerRequest)
		path := "/" + strings.Join(indices[:n], ",") + "/_refresh?ignore_unavailable=true&allow_no_indices=true"
		if err := c.call(ctx, http.MethodPost, path, nil, nil); err != nil {
			return fmt.Errorf("refreshing: %w", err)
		}
		indices = indices[n:]
	}
	return nil
}
