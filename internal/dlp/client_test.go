package dlp

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/config/configopaque"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/claudeaudit/claudeaudit/internal/detect"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// secretText stands for what must not be seen anywhere else.
const secretText = "the password of the vault is Rumpelstilzchen"

// service is a double of a service.
func service(t testing.TB, handle http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(handle)
	t.Cleanup(s.Close)
	return s.URL
}

// client makes a client, and returns what it logs.
func client(t testing.TB, endpoint string, change func(*Config)) (*Client, *observer.ObservedLogs) {
	t.Helper()
	cfg := NewDefaultConfig()
	cfg.ClientConfig.Endpoint = endpoint
	if change != nil {
		change(&cfg)
	}
	require.NoError(t, cfg.Validate())
	set := componenttest.NewNopTelemetrySettings()
	core, logs := observer.New(zapcore.DebugLevel)
	set.Logger = zap.New(core)
	c, err := New(t.Context(), cfg, nil, set)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c, logs
}

func ask(t testing.TB, c *Client, texts ...string) (Result, error) {
	t.Helper()
	var segs []detect.Segment
	for _, text := range texts {
		segs = append(segs, detect.Segment{Text: text})
	}
	return c.Classify(t.Context(), segs, detect.Scope{Application: "desk", Model: "claude"})
}

func presidio(cfg *Config) { cfg.Protocol = ProtocolPresidio }

func answering(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) }
}

func TestPresidio(t *testing.T) {
	var got map[string]any
	var header http.Header
	url := service(t, func(w http.ResponseWriter, r *http.Request) {
		header = r.Header
		if err := json.NewDecoder(r.Body).Decode(&got); err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		_, _ = io.WriteString(w, `[
			{"entity_type":"EMAIL_ADDRESS","start":7,"end":20,"score":1.0,"analysis_explanation":{"pattern":"x"}},
			{"entity_type":"EMAIL_ADDRESS","start":25,"end":30,"score":0.5},
			{"entity_type":"PHONE_NUMBER","start":0,"end":3,"score":0.39},
			{"entity_type":"DATE_TIME","start":0,"end":3,"score":0.9},
			{"entity_type":"ACME_BADGE","start":0,"end":3,"score":0.6},
			{"entity_type":"ACME_PLANT","start":0,"end":3,"score":0.6},
			{"entity_type":"ACME_NOISE","start":0,"end":3,"score":0.6}]`)
	})
	c, _ := client(t, url, func(cfg *Config) {
		presidio(cfg)
		cfg.Language = "de"
		cfg.Types = map[string]string{"ACME_BADGE": "employee_id", "ACME_NOISE": ""}
		cfg.Levels = map[string]string{"acme_plant": "CONFIDENTIAL"}
		cfg.ClientConfig.Headers.Set("x-api-key", configopaque.String("k"))
	})
	res, err := ask(t, c, "Grüße: ä@example.org und noch eine Adresse, 36 Zeichen")
	require.NoError(t, err)
	require.Equal(t, map[string]any{"text": "Grüße: ä@example.org und noch eine Adresse, 36 Zeichen", "language": "de", "score_threshold": 0.4}, got)
	require.Equal(t, "k", header.Get("X-Api-Key"))
	require.Equal(t, "application/json", header.Get("Content-Type"))
	require.Equal(t, Result{
		Level: "CONFIDENTIAL",
		Detections: []detect.Detection{
			{Type: "acme_plant", Rule: "external.acme_plant", Confidence: "medium", Count: 1},
			{Type: "email", Rule: "external.email_address", Confidence: "high", Count: 2},
			{Type: "employee_id", Rule: "external.acme_badge", Confidence: "medium", Count: 1},
		},
	}, res)
}

func TestContract(t *testing.T) {
	var got []contractRequest
	var mu sync.Mutex
	url := service(t, func(w http.ResponseWriter, r *http.Request) {
		var req contractRequest
		if err := json.NewDecoder(r.Body).Decode(&req); err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		mu.Lock()
		got = append(got, req)
		mu.Unlock()
		switch req.Origin {
		case "system":
			_, _ = io.WriteString(w, `{}`)
		case "user":
			_, _ = io.WriteString(w, `{"level":"INTERNAL","flags":["policy.b","policy.a"],"detections":[{"type":"badge","rule":"HR.Badge","confidence":"low","start":0,"end":1},{"type":"badge","rule":"HR.Badge","count":3}]}`)
		case "output":
			_, _ = io.WriteString(w, `{"level":"RESTRICTED","flags":["policy.a"],"detections":[{"type":"recipe","confidence":"high"}]}`)
		}
	})
	c, _ := client(t, url, nil)
	res, err := c.Classify(t.Context(), []detect.Segment{
		{Origin: detect.System, Text: "s"},
		{Origin: detect.User, Text: "u"},
		{Origin: detect.Tool, Text: " \n"}, // nothing to ask about
		{Origin: detect.Output, Text: "<o>"},
	}, detect.Scope{Application: "desk", Model: "claude"})
	require.NoError(t, err)
	slices.SortFunc(got, func(a, b contractRequest) int { return strings.Compare(a.Text, b.Text) })
	require.Equal(t, []contractRequest{
		{Version: 1, Origin: "output", Application: "desk", Model: "claude", Parts: 1, Text: "<o>"},
		{Version: 1, Origin: "system", Application: "desk", Model: "claude", Parts: 1, Text: "s"},
		{Version: 1, Origin: "user", Application: "desk", Model: "claude", Parts: 1, Text: "u"},
	}, got)
	require.Equal(t, Result{
		Level: "RESTRICTED",
		Flags: []string{"policy.a", "policy.b"},
		Detections: []detect.Detection{
			{Type: "badge", Rule: "external.hr.badge", Confidence: "medium", Count: 4},
			{Type: "recipe", Rule: "external.recipe", Confidence: "high", Count: 1},
		},
	}, res)
}

func TestOrigins(t *testing.T) {
	var n atomic.Int64
	url := service(t, func(w http.ResponseWriter, _ *http.Request) {
		n.Add(1)
		_, _ = io.WriteString(w, `{}`)
	})
	c, _ := client(t, url, func(cfg *Config) { cfg.Origins = []string{"user", "output"} })
	var segs []detect.Segment
	for o := detect.User; o <= detect.Output; o++ {
		segs = append(segs, detect.Segment{Origin: o, Text: "text of " + o.String()})
	}
	_, err := c.Classify(t.Context(), segs, detect.Scope{})
	require.NoError(t, err)
	require.EqualValues(t, 2, n.Load())
}

// findSecrets answers like Presidio, with every "#digits#" as an e-mail address.
func findSecrets(w http.ResponseWriter, r *http.Request) {
	var req presidioRequest
	if err := json.NewDecoder(r.Body).Decode(&req); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	found := []map[string]any{}
	text := []rune(req.Text)
	for i := 0; i < len(text); i++ {
		if text[i] != '#' {
			continue
		}
		j := i + 1
		for j < len(text) && text[j] >= '0' && text[j] <= '9' {
			j++
		}
		if j < len(text) && text[j] == '#' {
			found = append(found, map[string]any{"entity_type": "EMAIL_ADDRESS", "start": i, "end": j + 1, "score": 1})
			i = j
		}
	}
	_ = json.NewEncoder(w).Encode(found)
}

// What lies over a cut is found, and found once.
func TestLongText(t *testing.T) {
	url := service(t, findSecrets)
	c, _ := client(t, url, func(cfg *Config) {
		presidio(cfg)
		cfg.MaxTextBytes, cfg.OverlapBytes = 1024, 64
	})
	for shift := range 70 {
		text := strings.Repeat("ä", shift)
		n := 0
		for len(text) < 20_000 {
			text += fmt.Sprintf("ö#%010d# ", n) + strings.Repeat("x", n%50)
			n++
		}
		res, err := ask(t, c, text)
		require.NoError(t, err)
		require.Len(t, res.Detections, 1)
		require.Equal(t, n, res.Detections[0].Count, "shift %d", shift)
	}
}

func TestCallBound(t *testing.T) {
	var sent atomic.Int64
	url := service(t, func(w http.ResponseWriter, r *http.Request) {
		var req contractRequest
		_ = json.NewDecoder(r.Body).Decode(&req)
		sent.Add(int64(len(req.Text)))
		_, _ = io.WriteString(w, `{}`)
	})
	c, _ := client(t, url, func(cfg *Config) { cfg.MaxCallBytes = 1024 })
	res, err := ask(t, c, strings.Repeat("ä", 400), strings.Repeat("b", 400), strings.Repeat("c", 400))
	require.NoError(t, err)
	require.Equal(t, []string{detect.FlagTruncated}, res.Flags)
	require.EqualValues(t, 1024, sent.Load())
}

// What a service can do wrong. Whatever it is, the result says so, and the error
// of a client that refuses quotes nothing.
func TestFaults(t *testing.T) {
	const echo = `"` + secretText + `"`
	status := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(code)
			_, _ = io.WriteString(w, echo)
		}
	}
	var elsewhere atomic.Int64
	other := service(t, func(w http.ResponseWriter, _ *http.Request) {
		elsewhere.Add(1)
		_, _ = io.WriteString(w, `{}`)
	})
	manyKinds := func(format, sep string) string {
		var parts []string
		for i := range maxKinds + 1 {
			parts = append(parts, fmt.Sprintf(format, i))
		}
		return strings.Join(parts, sep)
	}
	for name, tt := range map[string]struct {
		handle   http.HandlerFunc
		change   func(*Config)
		says     string
		rejected bool // speaks of the text only
	}{
		"500":              {handle: status(500), says: "status 500"},
		"401":              {handle: status(401), says: "status 401"},
		"404":              {handle: status(404), says: "status 404"},
		"429":              {handle: status(429), says: "status 429"},
		"204":              {handle: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }, says: "status 204"},
		"400":              {handle: status(400), says: "rejected with status 400", rejected: true},
		"413":              {handle: status(413), says: "rejected with status 413", rejected: true},
		"422":              {handle: status(422), says: "rejected with status 422", rejected: true},
		"redirect":         {handle: http.RedirectHandler(other, http.StatusTemporaryRedirect).ServeHTTP, says: "status 307"},
		"empty":            {handle: answering(""), says: "not the JSON"},
		"no JSON":          {handle: answering(secretText), says: "not the JSON"},
		"half an answer":   {handle: answering(`{"flags":[`), says: "not the JSON"},
		"two answers":      {handle: answering(`{}{}`), says: "not the JSON"},
		"another shape":    {handle: answering(`[]`), says: "not the JSON"},
		"unknown level":    {handle: answering(`{"level":` + echo + `}`), says: "unknown level"},
		"flag":             {handle: answering(`{"flags":[` + echo + `]}`), says: "flag that is no name"},
		"type":             {handle: answering(`{"detections":[{"type":` + echo + `}]}`), says: "no name"},
		"no type":          {handle: answering(`{"detections":[{}]}`), says: "no name"},
		"rule":             {handle: answering(`{"detections":[{"type":"a","rule":` + echo + `}]}`), says: "no name"},
		"confidence":       {handle: answering(`{"detections":[{"type":"a","confidence":` + echo + `}]}`), says: "unknown confidence"},
		"outside":          {handle: answering(`{"detections":[{"type":"a","start":0,"end":1000}]}`), says: "outside of the text"},
		"before":           {handle: answering(`{"detections":[{"type":"a","start":-1,"end":1}]}`), says: "outside of the text"},
		"end before start": {handle: answering(`{"detections":[{"type":"a","start":2,"end":1}]}`), says: "outside of the text"},
		"only start":       {handle: answering(`{"detections":[{"type":"a","start":2}]}`), says: "only one of start and end"},
		"place and count":  {handle: answering(`{"detections":[{"type":"a","start":2,"end":3,"count":2}]}`), says: "count"},
		"count":            {handle: answering(`{"detections":[{"type":"a","count":0}]}`), says: "count"},
		"many flags":       {handle: answering(`{"flags":["a"` + strings.Repeat(`,"a"`, maxFlags) + `]}`), says: "more than 32 flags"},
		"many detections":  {handle: answering(`{"detections":[{"type":"a"}` + strings.Repeat(`,{"type":"a"}`, maxFindings) + `]}`), says: "more than"},
		"many kinds":       {handle: answering(`{"detections":[` + manyKinds(`{"type":"a%d"}`, ",") + `]}`), says: "more than 256 kinds"},
		"huge": {handle: func(w http.ResponseWriter, _ *http.Request) {
			for range 64 {
				if _, err := io.WriteString(w, strings.Repeat(" ", 64<<10)); err != nil {
					return
				}
			}
		}, says: "longer than"},
		"slow": {
			handle: func(_ http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body) // so that the server notices when the client has gone
				<-r.Context().Done()
			},
			change: func(cfg *Config) { cfg.ClientConfig.Timeout = 20 * time.Millisecond }, says: "deadline exceeded",
		},
		"slow body": {
			handle: func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				_, _ = io.WriteString(w, `{"level":`)
				_ = http.NewResponseController(w).Flush()
				<-r.Context().Done()
			},
			change: func(cfg *Config) { cfg.ClientConfig.Timeout = 20 * time.Millisecond }, says: "deadline exceeded",
		},
		"hangs up": {handle: func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, says: "EOF"},
		"nobody there": {change: func(cfg *Config) {
			cfg.ClientConfig.Endpoint = "http://user:hunter2@127.0.0.1:1/classify?key=hunter2"
		}, says: "connection refused"},
		"presidio: an object":         {handle: answering(`{}`), change: presidio, says: "not the JSON"},
		"presidio: no place":          {handle: answering(`[{"entity_type":"A","score":1}]`), change: presidio, says: "without start"},
		"presidio: score":             {handle: answering(`[{"entity_type":"A","score":2,"start":0,"end":1}]`), change: presidio, says: "without start"},
		"presidio: outside":           {handle: answering(`[{"entity_type":"A","score":1,"start":0,"end":1000}]`), change: presidio, says: "outside"},
		"presidio: name":              {handle: answering(`[{"entity_type":` + echo + `,"score":1,"start":0,"end":1}]`), change: presidio, says: "no name"},
		"presidio: many findings":     {handle: answering(`[{}` + strings.Repeat(`,{}`, maxFindings) + `]`), change: presidio, says: "more than"},
		"presidio: many kinds":        {handle: answering(`[` + manyKinds(`{"entity_type":"A%d","score":1,"start":0,"end":1}`, ",") + `]`), change: presidio, says: "more than 256 kinds"},
		"presidio: error in Presidio": {handle: status(500), change: presidio, says: "status 500"},
	} {
		t.Run(name, func(t *testing.T) {
			handle := tt.handle
			if handle == nil {
				handle = status(500)
			}
			url := service(t, handle)
			build := func(failure OnFailure) (*Client, *observer.ObservedLogs) {
				return client(t, url, func(cfg *Config) {
					cfg.MaxAnswerBytes = 512 << 10
					cfg.OnFailure = failure
					cfg.Breaker.Failures = 2
					if tt.change != nil {
						tt.change(cfg)
					}
				})
			}
			c, logs := build(OnFailureFlag)
			res, err := ask(t, c, secretText)
			require.NoError(t, err)
			require.Equal(t, Result{Flags: []string{FlagUnavailable}}, res)
			require.Equal(t, Stats{Requests: 1, Failures: 1}, c.Stats())
			for range 3 {
				_, err = ask(t, c, secretText)
				require.NoError(t, err)
			}
			require.Equal(t, !tt.rejected, c.Stats().Open)
			if !tt.rejected {
				require.EqualValues(t, 2, c.Stats().Requests)
				require.EqualValues(t, 2, c.Stats().Skipped)
				require.Equal(t, 1, logs.FilterMessageSnippet("is not asked for a while").Len())
			}

			c, logs2 := build(OnFailureRefuse)
			_, err = ask(t, c, secretText)
			require.ErrorIs(t, err, ErrUnavailable)
			require.ErrorContains(t, err, tt.says)
			said := err.Error()
			for _, l := range append(logs.All(), logs2.All()...) {
				said += l.Message + fmt.Sprint(l.ContextMap())
			}
			require.NotContains(t, said, "Rumpelstilzchen")
			require.NotContains(t, said, "hunter2")
		})
	}
	require.Zero(t, elsewhere.Load(), "a text went where nobody configured")
}

// An answer for some of the texts counts.
func TestPartialFailure(t *testing.T) {
	url := service(t, func(w http.ResponseWriter, r *http.Request) {
		var req contractRequest
		_ = json.NewDecoder(r.Body).Decode(&req)
		if req.Text == "bad" {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		_, _ = io.WriteString(w, `{"level":"RESTRICTED","detections":[{"type":"recipe"}]}`)
	})
	c, _ := client(t, url, nil)
	res, err := ask(t, c, "good", "bad", "fine")
	require.NoError(t, err)
	require.Equal(t, Result{
		Level: "RESTRICTED", Flags: []string{FlagUnavailable},
		Detections: []detect.Detection{{Type: "recipe", Rule: "external.recipe", Confidence: "medium", Count: 2}},
	}, res)

	c, _ = client(t, url, func(cfg *Config) { cfg.OnFailure = OnFailureRefuse })
	res, err = ask(t, c, "good", "bad", "fine")
	require.ErrorIs(t, err, ErrUnavailable)
	require.Empty(t, res)
}

// The breaker opens, tries one request when its time is over, stays open when
// that fails and closes when it is answered.
func TestBreaker(t *testing.T) {
	var requests atomic.Int64
	var healthy atomic.Bool
	url := service(t, func(w http.ResponseWriter, _ *http.Request) {
		requests.Add(1)
		if !healthy.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		_, _ = io.WriteString(w, `{}`)
	})
	const open = 100 * time.Millisecond
	c, logs := client(t, url, func(cfg *Config) {
		cfg.MaxConcurrent = 1
		cfg.Breaker = BreakerConfig{Failures: 3, Open: open}
	})
	texts := make([]string, 20)
	for i := range texts {
		texts[i] = fmt.Sprint("text ", i)
	}
	res, err := ask(t, c, texts...)
	require.NoError(t, err)
	require.Equal(t, []string{FlagUnavailable}, res.Flags)
	require.EqualValues(t, 3, requests.Load())
	require.Equal(t, Stats{Requests: 3, Failures: 3, Skipped: 17, Open: true}, c.Stats())

	// half open: one try, and open again
	require.Eventually(t, func() bool {
		_, err = ask(t, c, texts...)
		require.NoError(t, err)
		return requests.Load() > 3
	}, 5*time.Second, open/10)
	require.EqualValues(t, 4, requests.Load())

	healthy.Store(true)
	require.Eventually(t, func() bool {
		res, err = ask(t, c, texts...)
		require.NoError(t, err)
		return len(res.Flags) == 0
	}, 5*time.Second, open/10)
	require.False(t, c.Stats().Open)
	require.Equal(t, 1, logs.FilterMessage("The external classifier answers again").Len())
	require.Equal(t, 1, logs.FilterMessageSnippet("is not asked for a while").Len(), "once an outage, however often it is tried")
}

func TestConcurrencyIsBounded(t *testing.T) {
	const bound = 3
	var now, most atomic.Int64
	url := service(t, func(w http.ResponseWriter, _ *http.Request) {
		n := now.Add(1)
		defer now.Add(-1)
		for {
			m := most.Load()
			if n <= m || most.CompareAndSwap(m, n) {
				break
			}
		}
		time.Sleep(2 * time.Millisecond) // so that requests meet
		_, _ = io.WriteString(w, `{}`)
	})
	c, _ := client(t, url, func(cfg *Config) { cfg.MaxConcurrent = bound })
	var wg sync.WaitGroup
	for call := range 5 {
		wg.Go(func() {
			var segs []detect.Segment
			for i := range 10 {
				segs = append(segs, detect.Segment{Text: fmt.Sprint(call, i)})
			}
			if _, err := c.Classify(context.Background(), segs, detect.Scope{}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	require.EqualValues(t, bound, most.Load())
	require.EqualValues(t, 50, c.Stats().Requests)
}

// A call ends in its time however many texts it has, and that no turn came is no
// fault of the service.
func TestCallTimeout(t *testing.T) {
	release := make(chan struct{})
	url := service(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		select {
		case <-release:
		case <-r.Context().Done():
		}
		_, _ = io.WriteString(w, `{}`)
	})
	defer close(release)
	c, _ := client(t, url, func(cfg *Config) {
		cfg.MaxConcurrent = 1
		cfg.CallTimeout = 50 * time.Millisecond
	})
	from := time.Now()
	res, err := ask(t, c, "one", "two", "three")
	require.NoError(t, err)
	require.Equal(t, []string{FlagUnavailable}, res.Flags)
	require.Less(t, time.Since(from), c.cfg.ClientConfig.Timeout)
	require.Equal(t, Stats{Requests: 1, Failures: 1, Skipped: 2}, c.Stats())
}

func TestCancelled(t *testing.T) {
	entered := make(chan struct{}, 1)
	url := service(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		entered <- struct{}{}
		<-r.Context().Done()
	})
	c, _ := client(t, url, func(cfg *Config) { cfg.Breaker.Failures = 1 })
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-entered
		cancel()
	}()
	_, err := c.Classify(ctx, []detect.Segment{{Text: "text"}}, detect.Scope{})
	require.ErrorIs(t, err, context.Canceled)
	require.NotErrorIs(t, err, ErrUnavailable)
	require.False(t, c.Stats().Open, "it says nothing of the service")
}

func TestCache(t *testing.T) {
	var requests atomic.Int64
	var broken atomic.Bool
	url := service(t, func(w http.ResponseWriter, _ *http.Request) {
		requests.Add(1)
		if broken.Load() {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		_, _ = io.WriteString(w, `{"level":"INTERNAL","detections":[{"type":"recipe"}]}`)
	})
	c, _ := client(t, url, func(cfg *Config) {
		cfg.MaxConcurrent = 1 // so that the order is known
		cfg.Cache = CacheConfig{Entries: 2, TTL: time.Minute}
	})
	now := time.Unix(1_800_000_000, 0)
	c.now = func() time.Time { return now }

	first, err := ask(t, c, "one", "two")
	require.NoError(t, err)
	again, err := ask(t, c, "one", "two")
	require.NoError(t, err)
	require.Equal(t, first, again)
	require.EqualValues(t, 2, requests.Load())
	require.EqualValues(t, 2, c.Stats().Cached)

	// another application may be answered otherwise
	_, err = c.Classify(t.Context(), []detect.Segment{{Text: "one"}}, detect.Scope{Application: "other"})
	require.NoError(t, err)
	require.EqualValues(t, 3, requests.Load())

	// it was the oldest of three
	broken.Store(true)
	res, err := ask(t, c, "one")
	require.NoError(t, err)
	require.Equal(t, []string{FlagUnavailable}, res.Flags)

	// a failure is not remembered
	broken.Store(false)
	res, err = ask(t, c, "one")
	require.NoError(t, err)
	require.Empty(t, res.Flags)

	n := requests.Load()
	now = now.Add(time.Minute + 1)
	_, err = ask(t, c, "one")
	require.NoError(t, err)
	require.Equal(t, n+1, requests.Load())
}

// The same part at another place counts other findings: it is no repetition.
func TestCacheKeepsParts(t *testing.T) {
	url := service(t, findSecrets)
	c, _ := client(t, url, func(cfg *Config) {
		presidio(cfg)
		cfg.MaxTextBytes, cfg.OverlapBytes = 1024, 64
		cfg.MaxConcurrent = 1
	})
	for n := 100; n < 400; n += 7 {
		res, err := ask(t, c, strings.Repeat("#12345# ", n))
		require.NoError(t, err)
		require.Equal(t, n, res.Detections[0].Count)
	}
}
