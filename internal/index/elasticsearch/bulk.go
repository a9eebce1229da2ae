package elasticsearch

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/elastic/go-elasticsearch/v8/esapi"
)

const (
	// bulkBytes and bulkItems bound one request.
	bulkBytes = 4 << 20
	bulkItems = 1000
	// itemTries is how often an item that was refused for now is sent again
	// before the batch is given back, to be tried again from the cursor.
	itemTries    = 12
	minItemRetry = 50 * time.Millisecond
	maxItemRetry = 5 * time.Second
)

// item is one write.
type item struct {
	index, id string
	// doc is what to write; nil removes the document.
	doc []byte
	// at is the state that is replaced, nil when there must be none.
	at *version

	conflict bool   // somebody else wrote it meanwhile
	refused  *Error // the server can never take it
	done     bool
}

// append adds the item to a request's body.
func (it *item) append(b []byte) []byte {
	op := "create"
	switch {
	case it.doc == nil:
		op = "delete"
	case it.at != nil:
		op = "index"
	}
	b = append(b, `{"`...)
	b = append(b, op...)
	b = append(b, `":{"_index":`...)
	b = strconv.AppendQuote(b, it.index) // both are ASCII of our own making
	b = append(b, `,"_id":`...)
	b = strconv.AppendQuote(b, it.id)
	if it.at != nil {
		b = append(b, `,"if_seq_no":`...)
		b = strconv.AppendInt(b, it.at.seqNo, 10)
		b = append(b, `,"if_primary_term":`...)
		b = strconv.AppendInt(b, it.at.term, 10)
	}
	b = append(b, "}}\n"...)
	if it.doc != nil {
		b = append(b, it.doc...)
		b = append(b, '\n')
	}
	return b
}

// lasting are the errors of an item that trying again does not mend: the
// document does not fit the mapping.
var lasting = []string{
	"document_parsing_exception", "mapper_parsing_exception", "strict_dynamic_mapping_exception",
	"illegal_argument_exception", "mapper_exception", "parsing_exception", "array_index_out_of_bounds_exception",
}

// bulk sends the items and tells in each how it ended. Items that were refused
// for now (429, 5xx, an index that can't be written), one by one or with their whole
// request (429), are sent again after a while; err says that some are left undone.
func (c connection) bulk(ctx context.Context, items []*item, refused func(retry int)) error {
	wait := minItemRetry
	for try := 1; ; try++ {
		var last *Error
		var again []*item
		for _, part := range parts(items) {
			e, left, err := c.bulkOnce(ctx, part)
			if err != nil {
				return fmt.Errorf("writing %d documents: %w", len(part), err)
			}
			if e != nil {
				last = e
			}
			again = append(again, left...)
		}
		if len(again) == 0 {
			return nil
		}
		if refused != nil {
			refused(len(again))
		}
		if try == itemTries {
			return fmt.Errorf("writing %d documents, of which %d were refused %d times: %w", len(items), len(again), try, last)
		}
		if err := pause(ctx, wait); err != nil {
			return err
		}
		wait = min(2*wait, maxItemRetry)
		items = again
	}
}

// parts divides items into requests.
func parts(items []*item) [][]*item {
	var out [][]*item
	for len(items) > 0 {
		n, size := 0, 0
		for n < len(items) && n < bulkItems && (n == 0 || size+len(items[n].doc) <= bulkBytes) {
			size += len(items[n].doc)
			n++
		}
		out = append(out, items[:n])
		items = items[n:]
	}
	return out
}

type bulkAnswer struct {
	Errors bool                    `json:"errors"`
	Items  []map[string]bulkResult `json:"items"`
}

type bulkResult struct {
	Status int    `json:"status"`
	Error  *cause `json:"error"`
}

// bulkOnce sends one request. left are the items to be sent again, and last the
// reason of one of them.
func (c connection) bulkOnce(ctx context.Context, items []*item) (last *Error, left []*item, err error) {
	size := 0
	for _, it := range items {
		size += len(it.doc) + 160
	}
	body := make([]byte, 0, size)
	for _, it := range items {
		body = it.append(body)
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	resp, err := esapi.BulkRequest{
		Body:       bytes.NewReader(body),
		FilterPath: []string{"errors", "items.*.status", "items.*.error.type", "items.*.error.reason", "items.*.error.caused_by.reason"},
	}.Do(ctx, c.client)
	if err != nil {
		return nil, nil, unreachable(err)
	}
	var answer bulkAnswer
	err = decode(resp.StatusCode, resp.Body, &answer)
	if errors.As(err, &last) && last.Status == http.StatusTooManyRequests {
		return last, items, nil // its queue or its memory is full, and it has looked at none of them
	}
	if err != nil {
		return nil, nil, err
	}
	if len(answer.Items) != len(items) {
		return nil, nil, fmt.Errorf("the server answered for %d of %d documents", len(answer.Items), len(items))
	}
	for i, it := range items {
		for _, r := range answer.Items[i] {
			if e := it.take(r); e != nil {
				last, left = e, append(left, it)
			}
		}
	}
	return last, left, nil
}

// take notes a result. It returns the reason when the item has to be sent
// again.
func (it *item) take(r bulkResult) *Error {
	switch {
	case r.Status >= 200 && r.Status < 300:
		it.done = true
		return nil
	case r.Status == http.StatusConflict, r.Status == http.StatusNotFound && it.at != nil && r.Error == nil:
		// A removal of what is gone answers 404 without an error.
		it.conflict = true
		return nil
	}
	e := &Error{Status: r.Status}
	if r.Error != nil {
		e = r.Error.asError(r.Status)
	}
	if r.Status == http.StatusBadRequest && slices.Contains(lasting, e.Type) {
		it.refused = e
		return nil
	}
	return e
}

// put writes one document of the index's own, replacing the state at, or none.
// It returns false when somebody else wrote it meanwhile.
func (c connection) put(ctx context.Context, index, id string, doc any, at *version) (bool, error) {
	path := "/" + index + "/_create/" + id
	if at != nil {
		path = fmt.Sprintf("/%s/_doc/%s?if_seq_no=%d&if_primary_term=%d", index, id, at.seqNo, at.term)
	}
	b, err := json.Marshal(doc)
	if err != nil {
		return false, fmt.Errorf("encoding a document: %w", err)
	}
	err = c.call(ctx, http.MethodPut, path, b, nil)
	var e *Error
	if errors.As(err, &e) && e.Status == http.StatusConflict {
		return false, nil
	}
	return err == nil, err
}
