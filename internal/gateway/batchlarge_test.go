package gateway

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/claudeaudit/claudeaudit/internal/audit"
	"github.com/claudeaudit/claudeaudit/internal/fakeclaude"
	"github.com/claudeaudit/claudeaudit/internal/genai"
)

// tally counts what is told of the requests of a batch, and keeps none of it.
type tally struct {
	mu      sync.Mutex
	status  map[string]int // by status
	of      map[string]string
	hashed  int // initiated ones whose prompt was told
	largest int // tellings in one go
}

func (*tally) Capabilities() consumer.Capabilities { return consumer.Capabilities{} }

func (s *tally) ConsumeLogs(ctx context.Context, ld plog.Logs) error {
	sl := ld.ResourceLogs().At(0).ScopeLogs().At(0)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.largest = max(s.largest, sl.LogRecords().Len())
	told, _ := genai.FromGateway(ctx)
	for _, rec := range sl.LogRecords().All() {
		var it genai.Interaction
		if err := genai.ReadGateway(&it, told.Calls, sl.Scope(), rec); err != nil {
			return err
		}
		if it.Gateway.BatchItem == "" {
			continue
		}
		s.status[it.Gateway.Status]++
		if it.Gateway.Status == audit.StatusInitiated && len(it.Content.Messages) == 1 {
			s.hashed++
		}
		s.of[it.Gateway.BatchItem] = it.Gateway.Status
	}
	return nil
}

func (s *tally) count(status string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.status[status]
}

// As many requests as the API takes in one batch (100,000 with CLAUDEAUDIT_BATCH_REQUESTS=100000, fewer as a rule) are each recorded
// before the batch goes upstream, some at a time, and completed by their results.
func TestLargeBatch(t *testing.T) {
	n := 20_000
	if s := os.Getenv("CLAUDEAUDIT_BATCH_REQUESTS"); s != "" {
		var err error
		n, err = strconv.Atoi(s)
		require.NoError(t, err)
	}
	fake, err := fakeclaude.New(fakeclaude.Config{MaxBody: 256 << 20, Keep: -1})
	require.NoError(t, err)
	told := &tally{status: map[string]int{}, of: map[string]string{}}
	ahead := -1
	h := newHarnessBefore(t, fake, func(s *Settings) {
		s.Next = told
		s.Limits.BatchBytes, s.Limits.BufferedBytes = 256<<20, 1<<30
		s.Limits.BodyTimeout, s.Limits.HeaderTimeout, s.Limits.IdleTimeout = time.Minute, time.Minute, time.Minute
	}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			ahead = told.count(audit.StatusInitiated)
		}
		fake.ServeHTTP(w, r)
	}))
	var body strings.Builder
	body.WriteString(`{"requests":[`)
	for i := range n {
		if i > 0 {
			body.WriteByte(',')
		}
		fmt.Fprintf(&body, `{"custom_id":"request-%d","params":{"model":"claude-sonnet-4-5","max_tokens":64,"temperature":0,"system":"Be brief.",`+
			`"metadata":{"user_id":"u-%d"},"messages":[{"role":"user","content":[{"type":"text","text":"number %d"}]}]}}`, i, i%7, i)
	}
	body.WriteString(`]}`)
	b := h.batch(t, http.MethodPost, "/v1/messages/batches", body.String())
	require.Equal(t, n, ahead, "recorded before it was forwarded")
	require.Equal(t, n, told.hashed, "with what was asked")
	for b.Status != "ended" {
		b = h.batch(t, http.MethodGet, "/v1/messages/batches/"+b.ID, "")
	}
	resp, _, err := h.do(t, http.MethodGet, "/v1/messages/batches/"+b.ID+"/results", "")
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, resp.StatusCode)
	require.Equal(t, n, told.count(audit.StatusSuccess))
	require.Len(t, told.of, n)
	require.LessOrEqual(t, told.largest, tellAtOnce)
}

// A batch above the limit gets the API's own 413, and a record; nothing of it is forwarded.
func TestBatchAboveTheLimit(t *testing.T) {
	h := newHarness(t, nil) // 2 MiB
	batch := func(size int) string {
		return `{"requests":[{"custom_id":"a","params":{"messages":[{"role":"user","content":"` + strings.Repeat("x", size) + `"}]}}]}`
	}
	resp, got, err := h.do(t, http.MethodPost, "/v1/messages/batches", batch(3<<19)) // above that of a request
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, resp.StatusCode, got)
	h.sink.ended(t, 1)
	resp, got, err = h.do(t, http.MethodPost, "/v1/messages/batches", batch(2<<20))
	require.NoError(t, err)
	require.Equal(t, http.StatusRequestEntityTooLarge, resp.StatusCode)
	require.Contains(t, got, `"request_too_large"`)
	require.Len(t, h.fake.Records(), 2, "of the first")
	it := h.sink.ended(t, 2)[1]
	require.Equal(t, audit.StatusBlocked, it.Gateway.Status)
	require.Equal(t, "request_too_large", it.ErrorType)
	require.Equal(t, batchCreate, it.Operation)
}
