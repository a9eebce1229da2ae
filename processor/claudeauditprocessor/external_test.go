package claudeauditprocessor

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/config/configoptional"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/metric/metricdata/metricdatatest"

	"github.com/claudeaudit/claudeaudit/internal/audit"
	"github.com/claudeaudit/claudeaudit/internal/dlp"
	"github.com/claudeaudit/claudeaudit/processor/claudeauditprocessor/internal/metadatatest"
)

// classifier is a customer's service that knows recipes. While it is broken it
// answers nothing.
type classifier struct {
	url    string
	broken atomic.Bool
	asked  chan map[string]any
}

func newClassifier(t *testing.T) *classifier {
	t.Helper()
	c := &classifier{asked: make(chan map[string]any, 1000)}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c.broken.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		var req map[string]any
		if err := json.NewDecoder(r.Body).Decode(&req); err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		c.asked <- req
		if text, _ := req["text"].(string); strings.Contains(text, "the sauce") {
			_, _ = io.WriteString(w, `{"level":"CONFIDENTIAL","flags":["policy.recipe"],"detections":[{"type":"recipe","confidence":"high"}]}`)
			return
		}
		_, _ = io.WriteString(w, `{}`)
	}))
	t.Cleanup(s.Close)
	c.url = s.URL
	return c
}

func (c *classifier) config(change func(*dlp.Config)) *Config {
	cfg := createDefaultConfig().(*Config)
	ext := dlp.NewDefaultConfig()
	ext.ClientConfig.Endpoint = c.url
	if change != nil {
		change(&ext)
	}
	cfg.Detection.External = configoptional.Some(ext)
	return cfg
}

var (
	aboutSauce = []any{message("user", textPart("How is the sauce made?"))}
	answered   = []any{message("assistant", textPart("Slowly."))}
)

func TestExternalClassifier(t *testing.T) {
	c := newClassifier(t)
	p := start(t, c.config(nil))
	p.sendTraces(t, said(t, harmless, aboutSauce, answered))
	r := one(t, p)
	require.Equal(t, audit.Confidential, r.DataClassification)
	require.Equal(t, "external", r.ClassificationBasis)
	require.Contains(t, r.PolicyFlags, "policy.recipe")
	require.Contains(t, r.Detections, audit.Detection{Type: "recipe", Rule: "external.recipe", Count: 1, Confidence: "high"})

	origins := map[string]string{}
	for len(c.asked) > 0 {
		req := <-c.asked
		require.Equal(t, r.ApplicationID, req["application"])
		require.Equal(t, r.Model, req["model"])
		origins[req["origin"].(string)] = req["text"].(string)
	}
	require.Equal(t, map[string]string{"system": harmless, "user": "How is the sauce made?", "output": "Slowly."}, origins)

	// what the rules find is higher: it stays
	p.sendTraces(t, said(t, harmless, []any{message("user", textPart("Pay for the sauce to "+iban))}, answered))
	r = one(t, p)
	require.Equal(t, audit.Restricted, r.DataClassification)
	require.Equal(t, "restricted.payment:personal.iban", r.ClassificationBasis)
	require.Contains(t, r.PolicyFlags, "policy.recipe")
}

func TestExternalClassifierFails(t *testing.T) {
	t.Run("flag", func(t *testing.T) {
		tel := componenttest.NewTelemetry()
		t.Cleanup(func() { require.NoError(t, tel.Shutdown(context.Background())) })
		c := newClassifier(t)
		c.broken.Store(true)
		p := startWith(t, c.config(func(ext *dlp.Config) {
			ext.MaxConcurrent = 1
			ext.Breaker.Failures = 2
		}), metadatatest.NewSettings(tel))
		p.sendTraces(t, said(t, harmless, []any{message("user", textPart("Pay for the sauce to "+iban))}, answered))
		r := one(t, p)
		require.Equal(t, audit.Restricted, r.DataClassification)
		require.Contains(t, r.PolicyFlags, dlp.FlagUnavailable)
		answer := func(what string, n int64) metricdata.DataPoint[int64] {
			return metricdata.DataPoint[int64]{Attributes: attribute.NewSet(attribute.String("answer", what)), Value: n}
		}
		metadatatest.AssertEqualProcessorExternalTexts(t, tel, []metricdata.DataPoint[int64]{
			answer("answered", 0), answer("failed", 2), answer("skipped", 1), answer("remembered", 0),
		}, metricdatatest.IgnoreTimestamp())
		metadatatest.AssertEqualProcessorExternalOpen(t, tel, []metricdata.DataPoint[int64]{{Value: 1}}, metricdatatest.IgnoreTimestamp())
	})

	// Nothing goes on, and when the client sends again, the whole record comes.
	t.Run("refuse", func(t *testing.T) {
		c := newClassifier(t)
		cfg := c.config(func(ext *dlp.Config) { ext.OnFailure = dlp.OnFailureRefuse })
		p := start(t, cfg)
		c.broken.Store(true)
		err := p.traces.ConsumeTraces(t.Context(), said(t, harmless, aboutSauce, answered))
		require.ErrorIs(t, err, dlp.ErrUnavailable)
		require.NotContains(t, err.Error(), "sauce")
		require.Empty(t, p.spans.AllTraces())

		c.broken.Store(false)
		p.sendTraces(t, said(t, harmless, aboutSauce, answered))
		again := one(t, p)
		require.Equal(t, audit.Confidential, again.DataClassification)
		require.NotContains(t, again.PolicyFlags, dlp.FlagUnavailable)

		fresh := start(t, cfg)
		fresh.sendTraces(t, said(t, harmless, aboutSauce, answered))
		want := one(t, fresh)
		require.Equal(t, want, again)
	})
}

// Several calls of one request get their own results, and are asked about together.
func TestExternalClassifierOfManyCalls(t *testing.T) {
	c := newClassifier(t)
	p := start(t, c.config(nil))
	td := said(t, harmless, aboutSauce, answered)
	for i := range 20 {
		question := aboutSauce
		if i%2 == 0 {
			question = []any{message("user", textPart("What is a sonnet?"))}
		}
		other := said(t, harmless, question, answered)
		span := other.ResourceSpans().At(0).ScopeSpans().At(0).Spans().At(0)
		span.SetSpanID([8]byte{9, byte(i)})
		span.Attributes().Remove("gen_ai.response.id")
		other.ResourceSpans().MoveAndAppendTo(td.ResourceSpans())
	}
	out := p.sendTraces(t, td)
	levels := map[string]int{}
	for _, rs := range out.ResourceSpans().All() {
		for _, ss := range rs.ScopeSpans().All() {
			for _, s := range ss.Spans().All() {
				level, ok := s.Attributes().Get("audit.data_classification")
				require.True(t, ok)
				asked, _ := s.Attributes().Get("gen_ai.input.messages")
				if strings.Contains(asked.Str(), "the sauce") {
					require.Equal(t, audit.Confidential, level.Str())
				}
				levels[level.Str()]++
			}
		}
	}
	require.Equal(t, map[string]int{audit.Confidential: 11, audit.Internal: 10}, levels)
}
