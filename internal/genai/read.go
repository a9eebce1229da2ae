package genai

import (
	"strings"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/claudeaudit/claudeaudit/internal/anthropic"
	"github.com/claudeaudit/claudeaudit/internal/conversation"
	"github.com/claudeaudit/claudeaudit/internal/jcs"
)

// maxEventName bounds what can be the name of an event.
const maxEventName = 128

const pcommonStr = pcommon.ValueTypeStr

// Reader reads spans and log records, one after the other. What their content is read
// into is memory of the reader, which it uses again after Reset. It is for one
// goroutine at a time.
type Reader struct {
	mem     memory
	reading reader
}

// memory is what is read into, within limits.
type memory struct {
	Limits
	json     jcs.Parser
	parts    jcs.Slab[conversation.Part]
	messages jcs.Slab[conversation.Message]
}

// reader reads one span or log record.
type reader struct {
	mem    *memory
	a      attributes
	it     *Interaction
	prompt side
	answer side
}

// NewReader makes a reader. Zero limits mean DefaultLimits.
func NewReader(lim Limits) *Reader {
	return &Reader{mem: memory{Limits: lim.withDefaults()}}
}

// Reset takes back the memory of all content that was read; Conversation.Clone makes
// a copy that stays.
func (rd *Reader) Reset() {
	rd.reading.a.reset()
	rd.reading.it = nil
	rd.mem.json.Reset()
	rd.mem.parts.Reset()
	rd.mem.messages.Reset()
}

// begin makes the reader ready for the next span or log record.
func (rd *Reader) begin(it *Interaction, m pcommon.Map) *reader {
	r := &rd.reading
	r.mem, r.it = &rd.mem, it
	r.prompt, r.answer = side{}, side{}
	r.a.reset()
	r.a.read(m)
	return r
}

// ReadSpan is Reader.Span with memory of its own.
func ReadSpan(res Resource, scope pcommon.InstrumentationScope, span ptrace.Span, lim Limits) Interaction {
	var it Interaction
	NewReader(lim).Span(&it, &res, scope, span)
	return it
}

// ReadLog is Reader.Log with memory of its own.
func ReadLog(res Resource, scope pcommon.InstrumentationScope, rec plog.LogRecord, lim Limits) Interaction {
	var it Interaction
	NewReader(lim).Log(&it, &res, scope, rec)
	return it
}

// Span reads what a span tells into it. res is its resource. The
// result shares the span's strings. It never fails: what can't be read is named
// in Unparsed.
func (rd *Reader) Span(it *Interaction, res *Resource, scope pcommon.InstrumentationScope, span ptrace.Span) {
	*it = Interaction{
		Scope:        scope.Name(),
		TraceID:      span.TraceID(),
		SpanID:       span.SpanID(),
		ParentSpanID: span.ParentSpanID(),
		Sequence:     -1,
	}
	r := rd.begin(it, span.Attributes())
	it.Dialect, it.Kind = recogniseSpan(it.Scope, span, &r.a)
	claudeCode := it.Dialect == DialectClaudeCodeTraces
	it.Who.resource(res, claudeCode)
	it.Who.attributes(&r.a, claudeCode, span.Kind(), r.mem)
	if it.Kind == KindNone && it.Who.told() {
		it.Kind = KindContext
	}
	it.Start, it.End = timeOf(span.StartTimestamp()), timeOf(span.EndTimestamp())
	switch it.Kind {
	case KindCall, KindPart:
		r.spanCall(span)
	case KindContext:
		if claudeCode {
			r.claudeCodeInteraction()
		}
	}
	r.finish()
}

// Log reads what a log record tells into it; see Span. The times of an event are
// the end of the call it tells of; the start is known only where the event
// has a duration.
func (rd *Reader) Log(it *Interaction, res *Resource, scope pcommon.InstrumentationScope, rec plog.LogRecord) {
	*it = Interaction{
		Scope:    scope.Name(),
		TraceID:  rec.TraceID(),
		SpanID:   rec.SpanID(),
		Sequence: -1,
	}
	r := rd.begin(it, rec.Attributes())
	it.Dialect, it.EventName, it.Kind = recogniseLog(it.Scope, rec, &r.a)
	claudeCode := it.Dialect == DialectClaudeCodeEvents
	it.Who.resource(res, claudeCode)
	it.Who.attributes(&r.a, claudeCode, ptrace.SpanKindUnspecified, r.mem)
	if it.Kind == KindNone {
		return
	}
	it.End = eventTime(rec)
	switch it.Dialect {
	case DialectClaudeCodeEvents:
		r.claudeCodeEvent()
	case DialectOperationDetails:
		r.scalars()
		if it.Kind == KindPart {
			it.Failed = true
			it.ErrorType = r.a.text(keyExceptionType)
			r.quote(r.a.text(keyExceptionMessage))
		} else {
			it.Failed = r.a.text(keyErrorType) != ""
			r.errorType(ptrace.SpanEventSlice{}, false)
			r.semconv()
		}
	case DialectMessageEvents:
		r.provider()
		r.messageEvent(rec.Body())
	}
	r.finish()
}

func eventTime(rec plog.LogRecord) time.Time {
	if t := rec.Timestamp(); t != 0 {
		return timeOf(t)
	}
	return timeOf(rec.ObservedTimestamp())
}

func timeOf(t pcommon.Timestamp) time.Time {
	if t == 0 {
		return time.Time{}
	}
	return t.AsTime()
}

// spanCall reads a span of a model call.
func (r *reader) spanCall(span ptrace.Span) {
	it := r.it
	r.scalars()
	if !it.Start.IsZero() && !it.End.Before(it.Start) {
		ms := float64(it.End.Sub(it.Start)) / float64(time.Millisecond)
		it.LatencyMs = &ms
	}
	it.Failed = span.Status().Code() == ptrace.StatusCodeError || r.a.text(keyErrorType) != "" ||
		it.Dialect == DialectClaudeCodeTraces && r.a.no(keySuccess)
	if it.Failed {
		r.errorType(span.Events(), true)
		r.quote(span.Status().Message())
		r.quote(r.a.text(keyErrorMessage))
		for _, e := range span.Events().All() {
			if e.Name() == "exception" {
				if v, ok := e.Attributes().Get("exception.message"); ok {
					r.quote(valueText(v))
				}
			}
		}
	}
	switch it.Dialect {
	case DialectClaudeCodeTraces:
		r.claudeCodeSpan()
	case DialectOpenInference:
		r.openInference()
	case DialectVercel:
		r.vercel()
	case DialectLiteLLM:
		r.liteLLM(span)
	case DialectTraceloopIndexed:
		// Either side may be told in the newer form already.
		r.semconv()
		r.indexedMessages()
	case DialectLogfire:
		r.logfire()
	case DialectPydanticAI:
		r.pydanticAI()
	case DialectLangfuse:
		r.langfuse()
	case DialectSpanEvents:
		r.spanEvents(span)
	default:
		r.semconv()
		// The oldest forms, beside newer names.
		if r.prompt.empty() && r.answer.empty() && hasContentEvents(span) {
			r.spanEvents(span)
		}
		r.indexedMessages()
		if r.a.has(keyLangfuseType) && r.prompt.empty() && r.answer.empty() {
			r.langfuse()
		}
	}
}

// scalars reads what most dialects have, under whichever name.
func (r *reader) scalars() {
	it, a := r.it, &r.a
	r.provider()
	it.Operation = a.text(keyOperation)
	it.RequestModel = a.first(requestModelKeys...)
	it.ResponseModel = a.first(responseModelKeys...)
	it.PromptTokens = a.count(promptTokenKeys...)
	it.CompletionTokens = a.count(outputTokenKeys...)
	it.CacheReadTokens = a.count(cacheReadKeys...)
	it.CacheWriteTokens = a.count(cacheWriteKeys...)
	it.RequestID = a.first(keyAnthropicRequestID, keyAWSRequestID)
	r.responseID(a.first(keyResponseID, keyVercelResponseID))
	r.it.setStopReason(a.first(keyStopReasonSDK, keyLLMFinishReason, keyVercelFinishReason))
	if it.StopReason == "" && a.has(keyFinishReasons) {
		r.it.setStopReason(firstReason(a.known[keyFinishReasons], r.mem))
	}
}

func (r *reader) provider() {
	r.it.Provider = r.a.first(providerKeys...)
}

// responseID takes an id for the API's message id, unless it is known to be
// something else: a request id, or one that the client made up.
func (r *reader) responseID(id string) {
	switch {
	case strings.HasPrefix(id, "req_"):
		if r.it.RequestID == "" {
			r.it.RequestID = id
		}
	case r.it.Dialect == DialectLiteLLM && !strings.HasPrefix(id, "msg_"):
	case strings.HasPrefix(id, "aitxt-"), strings.HasPrefix(id, "aiobj-"):
	case len(id) <= maxID:
		r.it.ResponseID = id
	}
}

// maxID bounds ids that are used for joining.
const maxID = 512

// anthropicStops is the API's own vocabulary. The normalised ones have none of
// these words.
var anthropicStops = map[string]bool{
	"end_turn": true, "max_tokens": true, "stop_sequence": true, "tool_use": true, "pause_turn": true,
	"refusal": true, "model_context_window_exceeded": true, "compaction": true,
}

// setStopReason takes a stop reason unless a more exact one is known.
func (it *Interaction) setStopReason(reason string) {
	if reason == "" || len(reason) > maxID {
		return
	}
	exact := anthropicStops[reason]
	if it.StopReason != "" && (it.StopExact || !exact) {
		return
	}
	it.StopReason, it.StopExact, it.StopClass = reason, exact, anthropic.StopClass(reason)
}

// firstReason reads gen_ai.response.finish_reasons: an array of strings, or a
// JSON string of one.
func firstReason(v pcommon.Value, mem *memory) string {
	switch v.Type() {
	case pcommon.ValueTypeSlice:
		for _, e := range v.Slice().All() {
			return valueText(e)
		}
	case pcommon.ValueTypeStr:
		s := v.Str()
		if !strings.HasPrefix(s, "[") {
			return s
		}
		if parsed, reason := parse(s, mem); reason == "" {
			return parsed.Index(0).Str()
		}
	default:
	}
	return ""
}

// exactErrors are the error types of the API itself, as its own SDKs report them.
var exactErrors = map[string]bool{
	"invalid_request_error": true, "authentication_error": true, "billing_error": true, "permission_error": true,
	"not_found_error": true, "conflict_error": true, "request_too_large": true, "rate_limit_error": true,
	"api_error": true, "timeout_error": true, "overloaded_error": true, "connection_error": true,
}

// errorType reads the type of the error: error.type, else the type of the last
// exception, else the HTTP status.
func (r *reader) errorType(events ptrace.SpanEventSlice, hasEvents bool) {
	t := r.a.text(keyErrorType)
	if t == "" && hasEvents {
		for _, e := range events.All() {
			if e.Name() != "exception" {
				continue
			}
			if v, ok := e.Attributes().Get("exception.type"); ok && valueText(v) != "" {
				t = valueText(v)
			}
		}
	}
	for _, k := range []key{keyHTTPStatus, keyHTTPStatusOld, keyStatusCode} {
		if t != "" {
			break
		}
		if n := r.a.count(k); n != nil && *n >= 400 {
			t = r.a.text(k)
		}
	}
	r.it.ErrorType, r.it.ErrorTypeExact = t, exactErrors[t]
}

const (
	maxQuotes     = 8
	maxQuotedText = 64 << 10
)

// quote collects the API's request ids that a message quotes: a failed call has
// no message id, and this is what ties the spans that tell of it.
func (r *reader) quote(message string) {
	if len(message) > maxQuotedText {
		message = message[:maxQuotedText]
	}
	for len(r.it.QuotedRequestIDs) < maxQuotes {
		i := strings.Index(message, "req_")
		if i < 0 {
			return
		}
		end := i + len("req_")
		for end < len(message) && isIDChar(message[end]) {
			end++
		}
		if id := message[i:end]; len(id) > len("req_")+4 && (i == 0 || !isIDChar(message[i-1])) && !contains(r.it.QuotedRequestIDs, id) {
			r.it.QuotedRequestIDs = append(r.it.QuotedRequestIDs, id)
		}
		message = message[end:]
	}
}

func isIDChar(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-'
}

func contains(list []string, s string) bool {
	for _, e := range list {
		if e == s {
			return true
		}
	}
	return false
}

// finish brings the content into canonical form and says how complete it is.
func (r *reader) finish() {
	it := r.it
	it.Evidence = EvidenceClientAsserted
	if it.Dialect == DialectSDKNative {
		it.Evidence = EvidenceSDK
	}
	it.Claude = isClaude(it)
	if it.StopReason == "" && it.Kind != KindContext {
		for _, m := range it.Content.Output {
			r.it.setStopReason(m.FinishReason)
		}
	}
	r.prompt.drop(func() { it.Content.System, it.Content.Messages = nil, nil })
	r.answer.drop(func() { it.Content.Output = nil })
	gaps := it.Content.Normalize()
	// Claude Code takes the thinking out of every response that it logs.
	if it.Dialect != DialectClaudeCodeEvents {
		r.prompt.partial = r.prompt.partial || gaps.Prompt
		r.answer.partial = r.answer.partial || gaps.Output
	}
	if it.Kind == KindCall || it.Kind == KindPart && !perMessage(it) {
		r.prompt.partial = r.prompt.partial || resultWithoutCall(it.Content.Messages)
	}
	it.PromptCompleteness = r.prompt.completeness(len(it.Content.System) == 0 && len(it.Content.Messages) == 0)
	it.ResponseCompleteness = r.answer.completeness(len(it.Content.Output) == 0)
}

// perMessage reports whether an interaction holds one message of a prompt only.
func perMessage(it *Interaction) bool { return it.Dialect == DialectMessageEvents }

// resultWithoutCall reports whether a prompt has the result of a tool call but not
// the call. The API refuses such a prompt, so the telemetry left the call out.
func resultWithoutCall(messages []conversation.Message) bool {
	var calls callSet
	for i := range messages {
		for k := range messages[i].Parts {
			p := &messages[i].Parts[k]
			switch p.Type {
			case conversation.PartToolCall:
				calls.add(p.ID)
			case conversation.PartToolCallResponse:
				if _, ok := calls[p.ID]; !ok {
					return true
				}
			}
		}
	}
	return false
}

// Model returns the model that answered, else the one that was asked for.
func (it *Interaction) Model() string {
	if it.ResponseModel != "" {
		return it.ResponseModel
	}
	return it.RequestModel
}

func isClaude(it *Interaction) bool {
	model := it.Model()
	if model == "" || containsFold(model, "claude") || containsFold(it.RequestModel, "claude") {
		return true
	}
	return containsFold(it.Provider, "anthropic") || strings.HasPrefix(it.Scope, "com.anthropic.")
}

func containsFold(s, sub string) bool {
	return len(s) <= maxID && strings.Contains(strings.ToLower(s), sub)
}
