package gateway

import (
	"context"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
)

// Where it is asked for, a call is a span of the application's trace, and upstream is told of it; else the client's own
// context passes as it is.
func TestSpans(t *testing.T) {
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	spans := tracetest.NewInMemoryExporter()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans))
	t.Cleanup(func() { require.NoError(t, provider.Shutdown(context.Background())) })
	ask := func(h *harness, prompt string) string {
		_, _, err := h.do(t, http.MethodPost, "/v1/messages", message(prompt, ""), "Traceparent", parent)
		require.NoError(t, err)
		h.sink.ended(t, 1)
		return h.fake.Records()[0].Headers["traceparent"]
	}
	require.Equal(t, parent, ask(newHarness(t, nil), "hi"))
	require.Empty(t, spans.GetSpans())

	for prompt, failed := range map[string]string{"hi": "", "[[fake: error=529]]": "overloaded_error"} {
		spans.Reset()
		sent := ask(newHarness(t, func(s *Settings) { s.Tracer = provider.Tracer("gateway") }), prompt)
		require.Len(t, spans.GetSpans(), 1)
		span := spans.GetSpans()[0]
		require.Equal(t, "chat claude-sonnet-4-5", span.Name)
		require.Equal(t, trace.SpanKindClient, span.SpanKind)
		require.Equal(t, "0af7651916cd43dd8448eb211c80319c", span.SpanContext.TraceID().String())
		require.Equal(t, "b7ad6b7169203331", span.Parent.SpanID().String())
		require.Equal(t, "00-0af7651916cd43dd8448eb211c80319c-"+span.SpanContext.SpanID().String()+"-01", sent)
		got := attribute.NewSet(span.Attributes...)
		value := func(key attribute.Key) string {
			v, _ := got.Value(key)
			return v.String()
		}
		require.Equal(t, "anthropic", value("gen_ai.provider.name"))
		require.Equal(t, failed, value("error.type"))
		require.Equal(t, failed != "", span.Status.Code == codes.Error)
		if failed == "" {
			require.NotEmpty(t, value("gen_ai.response.id"))
			require.NotEqual(t, "0", value("gen_ai.usage.output_tokens"))
		}
	}
}
