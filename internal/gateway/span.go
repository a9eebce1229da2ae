package gateway

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/claudeaudit/claudeaudit/internal/genai"
)

// traceContext is what traces have in common with those of other programs.
var traceContext = propagation.TraceContext{}

// startSpan begins the call's span, of the application's trace where the request names one. It holds no content, and nothing
// of who calls.
func (c *call) startSpan(ctx context.Context) context.Context {
	if c.g.set.Tracer == nil {
		return ctx
	}
	ctx = traceContext.Extract(ctx, propagation.HeaderCarrier(c.r.Header))
	name := c.op.name
	attrs := []attribute.KeyValue{
		attribute.String("gen_ai.operation.name", c.op.name),
		attribute.String("gen_ai.provider.name", provider(c.op.surface)),
		attribute.String("server.address", c.up.base.Hostname()),
	}
	if c.op.model != "" {
		name += " " + c.op.model
		attrs = append(attrs, attribute.String("gen_ai.request.model", c.op.model))
	}
	ctx, c.span = c.g.set.Tracer.Start(ctx, name, trace.WithSpanKind(trace.SpanKindClient), trace.WithTimestamp(c.start), trace.WithAttributes(attrs...))
	return ctx
}

// endSpan tells how the call ended.
func (c *call) endSpan(it *genai.Interaction) {
	if c.span == nil {
		return
	}
	for key, v := range map[string]string{
		"gen_ai.response.id": it.ResponseID, "gen_ai.response.model": it.ResponseModel, "anthropic.request.id": it.RequestID, "error.type": it.ErrorType,
	} {
		if v != "" {
			c.span.SetAttributes(attribute.String(key, v))
		}
	}
	if it.StopReason != "" {
		c.span.SetAttributes(attribute.StringSlice("gen_ai.response.finish_reasons", []string{it.StopReason}))
	}
	for key, v := range map[string]*int64{
		"gen_ai.usage.input_tokens": it.PromptTokens, "gen_ai.usage.output_tokens": it.CompletionTokens,
		"gen_ai.usage.cache_read.input_tokens": it.CacheReadTokens, "gen_ai.usage.cache_write.input_tokens": it.CacheWriteTokens,
		"http.response.status_code": it.Gateway.HTTPStatus,
	} {
		if v != nil {
			c.span.SetAttributes(attribute.Int64(key, *v))
		}
	}
	if it.ErrorType != "" {
		c.span.SetStatus(codes.Error, "")
	}
	c.span.End(trace.WithTimestamp(it.End))
}
