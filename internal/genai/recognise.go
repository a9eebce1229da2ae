package genai

import (
	"strings"

	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

// Dialects, as they are named in Interaction.Dialect.
const (
	DialectClaudeCodeEvents = "claude_code.events"
	DialectClaudeCodeTraces = "claude_code.traces"
	DialectOpenInference    = "openinference"
	DialectVercel           = "vercel"
	DialectLiteLLM          = "litellm"
	DialectSDKNative        = "anthropic_sdk"
	DialectTraceloopIndexed = "traceloop.indexed"
	DialectLogfire          = "logfire"
	DialectMessageEvents    = "message_events"
	DialectOperationDetails = "operation_details"
	DialectPydanticAI       = "pydantic_ai"
	DialectSemconv          = "semconv"
	DialectLangfuse         = "langfuse"
	DialectSpanEvents       = "span_events"
)

const (
	scopeClaudeCodeEvents = "com.anthropic.claude_code.events"
	scopeClaudeCodeTraces = "com.anthropic.claude_code.tracing"
	scopeSDKPrefix        = "com.anthropic.sdk."
	scopePydanticAI       = "pydantic-ai"
	scopeLiteLLM          = "litellm"
	scopeBotocore         = "opentelemetry.instrumentation.botocore"
	scopeOpenAIV2         = "opentelemetry.instrumentation.openai_v2"
	scopeTraceloop        = "opentelemetry.instrumentation.anthropic"
	scopeTraceloopChain   = "opentelemetry.instrumentation.langchain"

	claudeCodePrefix = "claude_code."

	eventDetails           = "gen_ai.client.inference.operation.details"
	eventException         = "gen_ai.client.operation.exception"
	eventContentPrompt     = "gen_ai.content.prompt"
	eventContentCompletion = "gen_ai.content.completion"
	eventChoice            = "gen_ai.choice"

	liteLLMRequest    = "litellm_request"
	liteLLMRawRequest = "raw_gen_ai_request"
)

// messageEvents are the per-message events and the role of each message.
var messageEvents = map[string]string{
	"gen_ai.system.message":    "system",
	"gen_ai.user.message":      "user",
	"gen_ai.assistant.message": "assistant",
	"gen_ai.tool.message":      "tool",
	eventChoice:                "assistant",
}

// callOperations are the values of gen_ai.operation.name that are model calls.
// Agents, workflows, tasks, tools, retrieval and embeddings aren't.
func isCallOperation(op string) bool {
	return op == "chat" || op == "generate_content" || op == "text_completion"
}

// recogniseSpan says what dialect a span speaks and what it is. The first that
// fits wins, so the order matters. A span of a dialect that is no call is
// KindContext; one of no dialect KindNone.
func recogniseSpan(scope string, span ptrace.Span, a *attributes) (string, Kind) {
	operation := a.text(keyOperation)
	call := func(is bool) Kind {
		if is {
			return KindCall
		}
		return KindContext
	}
	switch {
	case scope == scopeClaudeCodeTraces:
		return DialectClaudeCodeTraces, call(a.text(keySpanType) == "llm_request" || span.Name() == "claude_code.llm_request")
	case a.has(keyOIKind):
		return DialectOpenInference, call(strings.EqualFold(a.text(keyOIKind), "LLM"))
	case a.has(keyOperationID):
		id := a.text(keyOperationID)
		return DialectVercel, call(strings.HasSuffix(id, ".doGenerate") || strings.HasSuffix(id, ".doStream"))
	case scope == scopeLiteLLM || a.has(keyLiteLLMCallID) || span.Name() == liteLLMRequest || span.Name() == liteLLMRawRequest:
		switch {
		case span.Name() == liteLLMRawRequest:
			return DialectLiteLLM, KindPart
		case span.Name() == liteLLMRequest:
			// Embeddings and the like have the same name.
			return DialectLiteLLM, call(isLiteLLMChat(operation, a))
		}
		return DialectLiteLLM, call(isCallOperation(operation))
	case strings.HasPrefix(scope, scopeSDKPrefix):
		// count_tokens has an operation of its own, but the name is the surer sign.
		return DialectSDKNative, call(!strings.Contains(span.Name(), "count_tokens") &&
			(span.Name() == "anthropic.messages.create" || isCallOperation(operation)))
	case a.has(keyLLMRequestType) || a.indexed.prompt && !a.has(keyInputMessages) && (operation == "" || isCallOperation(operation)):
		switch a.text(keyLLMRequestType) {
		case "embedding", "rerank":
			return DialectTraceloopIndexed, KindContext
		}
		return DialectTraceloopIndexed, KindCall
	case strings.HasPrefix(scope, "logfire") && (a.has(keyLogfireTemplate) || a.has(keyRequestData)):
		return DialectLogfire, call(operation == "chat" && a.text(keyLogfireSpanType) != "pending_span")
	case scope == scopePydanticAI:
		return DialectPydanticAI, call(isCallOperation(operation) && a.text(keyLogfireSpanType) != "pending_span")
	case operation != "":
		return DialectSemconv, call(isCallOperation(operation) && a.text(keyLogfireSpanType) != "pending_span")
	case a.has(keyLangfuseType):
		return DialectLangfuse, call(strings.EqualFold(a.text(keyLangfuseType), "generation"))
	case a.has(keyPromptJSON) || a.has(keyCompletionJSON) || hasContentEvents(span):
		return DialectSpanEvents, KindCall
	case a.anyGenAI:
		return DialectSemconv, KindContext
	}
	return "", KindNone
}

// isLiteLLMChat reports whether litellm_request is a conversation: with message
// logging off it has no operation, but a type of request.
func isLiteLLMChat(operation string, a *attributes) bool {
	if operation != "" {
		return isCallOperation(operation) || strings.Contains(operation, "completion")
	}
	kind := a.text(keyLLMRequestType)
	for _, other := range []string{"embedding", "rerank", "image", "speech", "transcription", "moderation"} {
		if strings.Contains(kind, other) {
			return false
		}
	}
	return true
}

func hasContentEvents(span ptrace.Span) bool {
	for _, e := range span.Events().All() {
		if name := e.Name(); strings.HasPrefix(name, "gen_ai.") && (isContentEvent(name) || messageEvents[name] != "") {
			return true
		}
	}
	return false
}

func isContentEvent(name string) bool {
	return name == eventContentPrompt || name == eventContentCompletion
}

// recogniseLog says what dialect a log record speaks, its event's full name, and
// what it is.
func recogniseLog(scope string, rec plog.LogRecord, a *attributes) (dialect, event string, kind Kind) {
	event = rec.EventName()
	if event == "" {
		event = a.text(keyEventName)
	}
	body := ""
	if rec.Body().Type() == pcommonStr {
		body = rec.Body().Str()
	}
	if scope == scopeClaudeCodeEvents || strings.HasPrefix(body, claudeCodePrefix) && len(body) <= maxEventName {
		if strings.HasPrefix(body, claudeCodePrefix) && len(body) <= maxEventName {
			event = body
		} else if event != "" && !strings.HasPrefix(event, claudeCodePrefix) {
			event = claudeCodePrefix + event
		}
		return DialectClaudeCodeEvents, event, claudeCodeKind(event)
	}
	if event == "" {
		// LiteLLM's name for it.
		if v, ok := rec.Attributes().Get("event_name"); ok {
			event = valueText(v)
		}
	}
	switch {
	case event == eventDetails:
		return DialectOperationDetails, event, KindCall
	case event == eventException:
		return DialectOperationDetails, event, KindPart
	case messageEvents[event] != "", isContentEvent(event):
		if rec.TraceID().IsEmpty() || rec.SpanID().IsEmpty() {
			return DialectMessageEvents, event, KindUncorrelated
		}
		return DialectMessageEvents, event, KindPart
	case a.anyGenAI:
		return DialectSemconv, event, KindContext
	}
	return "", event, KindNone
}
