package genai

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/claudeaudit/claudeaudit/internal/conversation"
)

// Spans of the clients of which there is no capture, written after the
// dialect reference.

type attrs = map[string]any

type fixture struct {
	name     string
	scope    string
	span     string
	kind     ptrace.SpanKind
	resource attrs
	attrs    attrs
	events   map[string]attrs
	failed   string // status message of an error
}

const (
	fixtureStart = 1_790_000_000_000_000_000
	fixtureEnd   = fixtureStart + 250_000_000
)

func (f fixture) build(t testing.TB) (pcommon.Map, pcommon.InstrumentationScope, ptrace.Span) {
	t.Helper()
	traces := ptrace.NewTraces()
	rs := traces.ResourceSpans().AppendEmpty()
	if f.resource == nil {
		f.resource = attrs{"service.name": "app"}
	}
	require.NoError(t, rs.Resource().Attributes().FromRaw(f.resource))
	ss := rs.ScopeSpans().AppendEmpty()
	ss.Scope().SetName(f.scope)
	span := ss.Spans().AppendEmpty()
	span.SetName(f.span)
	span.SetKind(f.kind)
	span.SetTraceID([16]byte{1})
	span.SetSpanID([8]byte{2})
	span.SetParentSpanID([8]byte{3})
	span.SetStartTimestamp(fixtureStart)
	span.SetEndTimestamp(fixtureEnd)
	require.NoError(t, span.Attributes().FromRaw(f.attrs))
	for name, a := range f.events {
		e := span.Events().AppendEmpty()
		e.SetName(name)
		require.NoError(t, e.Attributes().FromRaw(a))
	}
	if f.failed != "" {
		span.Status().SetCode(ptrace.StatusCodeError)
		span.Status().SetMessage(f.failed)
	}
	return rs.Resource().Attributes(), ss.Scope(), span
}

func (f fixture) read(t testing.TB) Interaction {
	t.Helper()
	res, scope, span := f.build(t)
	return ReadSpan(ReadResource(res), scope, span, DefaultLimits)
}

// weather is the conversation of the tool scenario's second call, in the stored form.
const weather = `[{"parts":[{"content":"What is the weather in Zurich?","type":"text"}],"role":"user"},` +
	`{"parts":[{"content":"Let me look that up.","type":"text"},` +
	`{"arguments":{"city":"Zurich"},"id":"toolu_1","name":"get_weather","type":"tool_call"}],"role":"assistant"},` +
	`{"parts":[{"id":"toolu_1","response":"18 degrees, cloudy","type":"tool_call_response"}],"role":"tool"}]`

const (
	paris       = `[{"parts":[{"content":"Paris.","type":"text"}],"role":"assistant"}]`
	weatherCall = `[{"parts":[{"content":"Let me look that up.","type":"text"},` +
		`{"arguments":{"city":"Zurich"},"id":"toolu_1","name":"get_weather","type":"tool_call"}],"role":"assistant"}]`
)

func stored(messages []conversation.Message) string {
	return string(conversation.AppendMessages(nil, messages, conversation.Stored))
}

func storedParts(parts []conversation.Part) string {
	return string(conversation.AppendParts(nil, parts, conversation.Stored))
}

func n(i int64) *int64 { return &i }

func TestDialectsWithoutCaptures(t *testing.T) {
	brief := `[{"content":"Be brief.","type":"text"}]`
	tests := []struct {
		fixture
		want Interaction // of the content only the completeness
		// system, messages, output in the stored form; "" is not compared.
		system, messages, output string
	}{
		{
			fixture: fixture{
				name: "pydantic ai, arguments as text and results as result", scope: "pydantic-ai", span: "chat claude-sonnet-4-5", kind: ptrace.SpanKindClient,
				attrs: attrs{
					"gen_ai.operation.name": "chat", "gen_ai.provider.name": "anthropic", "gen_ai.request.model": "claude-sonnet-4-5",
					"gen_ai.response.model": "claude-sonnet-4-5-20250929", "gen_ai.response.id": "msg_1", "gen_ai.agent.name": "weatherman",
					"gen_ai.conversation.id": "conv-1", "gen_ai.usage.input_tokens": 33, "gen_ai.usage.output_tokens": 5,
					"gen_ai.usage.details.cache_read_input_tokens": 4, "gen_ai.usage.details.cache_creation_input_tokens": 0,
					"gen_ai.response.finish_reasons": []any{"stop"}, "gen_ai.system_instructions": `[{"type":"text","content":"Be brief."}]`,
					"gen_ai.input.messages": `[{"role":"user","parts":[{"type":"text","content":"What is the weather in Zurich?"}]},` +
						`{"role":"assistant","parts":[{"type":"text","content":"Let me look that up."},{"type":"tool_call","id":"toolu_1","name":"get_weather","arguments":"{\"city\":\"Zurich\"}"}]},` +
						`{"role":"user","parts":[{"type":"tool_call_response","id":"toolu_1","name":"get_weather","result":"18 degrees, cloudy"}]}]`,
					"gen_ai.output.messages": `[{"role":"assistant","parts":[{"type":"text","content":"Paris."}],"finish_reason":"stop"}]`,
					"logfire.msg":            "chat claude-sonnet-4-5",
				},
			},
			want: Interaction{
				Kind: KindCall, Dialect: DialectPydanticAI, ResponseID: "msg_1", Provider: "anthropic", RequestModel: "claude-sonnet-4-5",
				ResponseModel: "claude-sonnet-4-5-20250929", PromptTokens: n(33), CompletionTokens: n(5), CacheReadTokens: n(4), CacheWriteTokens: n(0),
				StopReason: "stop", StopClass: "stop", PromptCompleteness: ContentFull, ResponseCompleteness: ContentFull,
				Who: Who{Session: "conv-1", SessionRank: rankSpan + 1, AgentName: "weatherman"},
			},
			system: brief, messages: weather, output: paris,
		},
		{
			fixture: fixture{
				name: "pydantic ai with content off", scope: "pydantic-ai", span: "chat claude-sonnet-4-5",
				attrs: attrs{
					"gen_ai.operation.name": "chat", "gen_ai.request.model": "claude-sonnet-4-5", "gen_ai.system_instructions": `[{"type":"text"}]`,
					"gen_ai.input.messages": `[{"role":"user","parts":[{"type":"text"}]},{"role":"assistant","parts":[{"type":"text"},` +
						`{"type":"tool_call","id":"toolu_1","name":"get_weather"}]},{"role":"user","parts":[{"type":"tool_call_response","id":"toolu_1","name":"get_weather"}]}]`,
					"gen_ai.output.messages": `[{"role":"assistant","parts":[{"type":"tool_call","id":"toolu_2","name":"get_weather"}],"finish_reason":"tool_call"}]`,
				},
			},
			want: Interaction{
				Kind: KindCall, Dialect: DialectPydanticAI, RequestModel: "claude-sonnet-4-5", StopReason: "tool_call", StopClass: "tool_call",
				PromptCompleteness: ContentNone, ResponseCompleteness: ContentNone,
			},
			system: `[]`, messages: `[]`, output: `[]`,
		},
		{
			fixture: fixture{
				name: "pydantic ai, events as an attribute", scope: "pydantic-ai", span: "chat claude-sonnet-4-5",
				attrs: attrs{
					"gen_ai.operation.name": "chat", "gen_ai.request.model": "claude-sonnet-4-5",
					"events": `[{"event.name":"gen_ai.system.message","role":"system","content":"Be brief."},{"event.name":"gen_ai.user.message","role":"user","content":"What is the weather in Zurich?"},` +
						`{"event.name":"gen_ai.choice","index":0,"message":{"role":"assistant","content":"Paris."}}]`,
				},
			},
			want: Interaction{
				Kind: KindCall, Dialect: DialectPydanticAI, RequestModel: "claude-sonnet-4-5",
				PromptCompleteness: ContentFull, ResponseCompleteness: ContentFull,
			},
			system: brief, output: paris,
		},
		{
			fixture: fixture{
				name: "pydantic ai, a pending span is not a call", scope: "pydantic-ai", span: "chat claude-sonnet-4-5",
				attrs: attrs{"gen_ai.operation.name": "chat", "gen_ai.request.model": "claude-sonnet-4-5", "logfire.span_type": "pending_span"},
			},
			want: Interaction{Kind: KindContext, Dialect: DialectPydanticAI},
		},
		{
			fixture: fixture{
				name: "vercel 7", scope: "gen_ai", span: "chat claude-sonnet-4-5", kind: ptrace.SpanKindClient,
				attrs: attrs{
					"gen_ai.operation.name": "chat", "gen_ai.provider.name": "anthropic", "gen_ai.request.model": "claude-sonnet-4-5",
					"gen_ai.response.model": "claude-sonnet-4-5", "gen_ai.response.id": "msg_7", "gen_ai.usage.input_tokens": 13,
					"gen_ai.usage.output_tokens": 12, "gen_ai.usage.cache_read.input_tokens": 3, "gen_ai.usage.cache_creation.input_tokens": 2,
					"gen_ai.response.finish_reasons": []any{"tool-calls"}, "gen_ai.client.operation.duration": 0.2,
					"ai.settings.context.userId": "u-7", "ai.settings.context.sessionId": "s-7",
					"gen_ai.system_instructions": `[{"type":"text","content":"Be brief."}]`,
					"gen_ai.input.messages": `[{"role":"system","parts":[{"type":"text","content":"Be brief."}]},{"role":"user","parts":[{"type":"text","content":"What is the weather in Zurich?"}]},` +
						`{"role":"assistant","parts":[{"type":"text","content":"Let me look that up."},{"type":"tool_call","id":"toolu_1","name":"get_weather","arguments":{"city":"Zurich"}}]},` +
						`{"role":"tool","parts":[{"type":"tool_call_response","id":"toolu_1","response":"18 degrees, cloudy"}]}]`,
					"gen_ai.output.messages": `[{"role":"assistant","parts":[{"type":"text","content":"Let me look that up."},{"type":"tool_call","id":"toolu_1","name":"get_weather","arguments":{"city":"Zurich"}}],"finish_reason":"tool_call"}]`,
				},
			},
			want: Interaction{
				Kind: KindCall, Dialect: DialectSemconv, ResponseID: "msg_7", Provider: "anthropic", RequestModel: "claude-sonnet-4-5",
				ResponseModel: "claude-sonnet-4-5", PromptTokens: n(13), CompletionTokens: n(12), CacheReadTokens: n(3), CacheWriteTokens: n(2),
				StopReason: "tool-calls", StopClass: "tool_call", PromptCompleteness: ContentFull, ResponseCompleteness: ContentFull,
				Who: Who{User: "u-7", UserRank: rankSpan + 4, Session: "s-7", SessionRank: rankSpan + 4},
			},
			system: brief, messages: weather, output: weatherCall,
		},
		{
			fixture: fixture{
				name: "vercel 7, a failed call", scope: "gen_ai", span: "chat claude-sonnet-4-5", failed: "429 Too Many Requests",
				attrs: attrs{"gen_ai.operation.name": "chat", "gen_ai.request.model": "claude-sonnet-4-5", "http.response.status_code": 429},
			},
			want: Interaction{
				Kind: KindCall, Dialect: DialectSemconv, RequestModel: "claude-sonnet-4-5", Failed: true, ErrorType: "429",
				PromptCompleteness: ContentNone, ResponseCompleteness: ContentNone,
			},
		},
		{
			fixture: fixture{
				name: "vercel 7, agent", scope: "gen_ai", span: "invoke_agent claude-sonnet-4-5",
				attrs: attrs{"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "support"},
			},
			want: Interaction{Kind: KindContext, Dialect: DialectSemconv, Who: Who{AgentName: "support"}},
		},
		{
			fixture: fixture{
				name: "envoy ai gateway, semconv", scope: "envoyproxy/ai-gateway", span: "chat claude-sonnet-4-5",
				attrs: attrs{
					"gen_ai.operation.name": "chat", "gen_ai.provider.name": "anthropic", "gen_ai.request.model": "claude-sonnet-4-5", "session.id": "s-9",
					"gen_ai.response.finish_reasons": []any{"tool_use"},
					"gen_ai.input.messages": `[{"role":"user","parts":[{"type":"text","content":"What is the weather in Zurich?"}]},` +
						`{"role":"assistant","parts":[{"type":"text","content":"Let me look that up."},{"type":"tool_call","id":"toolu_1","name":"get_weather","arguments":"{\"city\":\"Zurich\"}"}]},` +
						`{"role":"tool","parts":[{"type":"tool_call_response","id":"toolu_1","content":"18 degrees, cloudy"}]}]`,
					"gen_ai.output.messages": `[{"role":"assistant","parts":[{"type":"text","content":"Let me look that up."},{"type":"tool_call","id":"toolu_1","name":"get_weather","arguments":"{\"city\":\"Zurich\"}"}],"finish_reason":"tool_use"}]`,
				},
			},
			want: Interaction{
				Kind: KindCall, Dialect: DialectSemconv, Provider: "anthropic", RequestModel: "claude-sonnet-4-5", StopReason: "tool_use", StopExact: true,
				StopClass: "tool_call", PromptCompleteness: ContentFull, ResponseCompleteness: ContentFull,
				Who: Who{Session: "s-9", SessionRank: rankSpan},
			},
			messages: weather, output: weatherCall,
		},
		{
			fixture: fixture{
				name: "envoy ai gateway leaves out images, thinking and results", scope: "envoyproxy/ai-gateway", span: "chat claude-sonnet-4-5",
				attrs: attrs{
					"gen_ai.operation.name": "chat", "gen_ai.request.model": "claude-sonnet-4-5",
					"gen_ai.input.messages":  `[{"role":"user","parts":[{"type":"image"},{"type":"text","content":"What is the weather in Zurich?"}]}]`,
					"gen_ai.output.messages": `[{"role":"assistant","parts":[{"type":"reasoning"},{"type":"text","content":"Paris."}]}]`,
				},
			},
			want: Interaction{
				Kind: KindCall, Dialect: DialectSemconv, RequestModel: "claude-sonnet-4-5",
				PromptCompleteness: ContentPartial, ResponseCompleteness: ContentPartial,
			},
			output: paris,
		},
		{
			fixture: fixture{
				name: "the SDK's own span, image", scope: "com.anthropic.sdk.python.bedrock", span: "anthropic.messages.create",
				attrs: attrs{
					"gen_ai.operation.name": "chat", "gen_ai.provider.name": "aws.bedrock", "gen_ai.request.model": "claude-sonnet-4-5",
					"gen_ai.input.messages": `[{"role":"user","parts":[{"type":"anthropic_image"},{"type":"text","content":"What is it?"}]}]`,
				},
			},
			want: Interaction{
				Kind: KindCall, Dialect: DialectSDKNative, Evidence: EvidenceSDK, Provider: "aws.bedrock", RequestModel: "claude-sonnet-4-5",
				PromptCompleteness: ContentPartial, ResponseCompleteness: ContentNone,
			},
			messages: `[{"parts":[{"type":"image"},{"content":"What is it?","type":"text"}],"role":"user"}]`,
		},
		{
			fixture: fixture{
				name: "the SDK's own span, cut", scope: "com.anthropic.sdk.typescript", span: "anthropic.messages.create",
				attrs: attrs{
					"gen_ai.operation.name": "chat", "gen_ai.request.model": "claude-sonnet-4-5", "anthropic.content.truncated": true,
					"gen_ai.input.messages": `[{"role":"user","parts":[{"type":"text","content":"What is it?`,
				},
			},
			want: Interaction{
				Kind: KindCall, Dialect: DialectSDKNative, Evidence: EvidenceSDK, RequestModel: "claude-sonnet-4-5",
				PromptCompleteness: ContentTruncated, ResponseCompleteness: ContentNone,
				Unparsed: []Unparsed{{Key: "gen_ai.input.messages", Reason: "invalid_json"}},
			},
		},
		{
			fixture: fixture{
				name: "the SDK's own span, count_tokens", scope: "com.anthropic.sdk.python", span: "anthropic.messages.count_tokens",
				attrs: attrs{"gen_ai.request.model": "claude-sonnet-4-5"},
			},
			want: Interaction{Kind: KindContext, Dialect: DialectSDKNative, Evidence: EvidenceSDK},
		},
		{
			fixture: fixture{
				name: "litellm", scope: "litellm", span: "litellm_request",
				attrs: attrs{
					"gen_ai.operation.name": "chat", "gen_ai.system": "anthropic", "gen_ai.request.model": "claude-sonnet-4-5", "gen_ai.response.model": "claude-sonnet-4-5-20250929",
					"gen_ai.response.id": "chatcmpl-0f", "gen_ai.usage.input_tokens": 258, "gen_ai.usage.output_tokens": 12, "llm.is_streaming": "False",
					"metadata.user_api_key_user_id": "alice@example.com", "metadata.user_api_key_alias": "billing-bot", "metadata.requester_ip_address": "198.51.100.7",
					"metadata.user_api_key_team_id": "", "llm.user": "u-1", "llm.request.type": "completion",
					"metadata.usage_object": "{'completion_tokens': 12, 'prompt_tokens': 258, 'total_tokens': 270, 'completion_tokens_details': None, " +
						"'prompt_tokens_details': PromptTokensDetailsWrapper(audio_tokens=None, cached_tokens=200), 'cache_creation_input_tokens': 40, 'cache_read_input_tokens': 200}",
					"gen_ai.response.finish_reasons": `["tool_calls"]`,
					"gen_ai.input.messages": `[{"role":"system","parts":[{"type":"text","text":"Be brief.","cache_control":{"type":"ephemeral"}}]},` +
						`{"role":"user","parts":[{"type":"text","content":"What is the weather in Zurich?"}]},` +
						`{"role":"assistant","parts":[{"type":"text","content":"Let me look that up."}],"tool_calls":[{"id":"toolu_1","type":"function","function":{"name":"get_weather","arguments":"{\"city\":\"Zurich\"}"}}]},` +
						`{"role":"tool","parts":[{"type":"text","content":"18 degrees, cloudy"}],"tool_call_id":"toolu_1"}]`,
					"gen_ai.output.messages":                      `[{"role":"assistant","parts":[{"type":"text","content":"Let me look that up."}],"finish_reason":"tool_calls"}]`,
					"gen_ai.completion.0.function_call.name":      "get_weather",
					"gen_ai.completion.0.function_call.arguments": `{"city":"Zurich"}`,
					"hidden_params":                               `{"additional_headers":{"x":"secret-header"}}`,
					"metadata.requester_metadata":                 "{'note': 'secret-note'}",
					"llm.request.functions.0.name":                "get_weather",
					"metadata.user_api_key_team_alias":            "",
					"gen_ai.cost.total_cost":                      0.01,
					"metadata.vector_store_request_metadata":      "",
					"metadata.prompt_management_metadata":         "",
					"metadata.applied_guardrails":                 "[]",
					"metadata.mcp_tool_call_metadata":             "",
					"metadata.spend_logs_metadata":                "",
					"metadata.requester_custom_headers":           "{}",
					"metadata.cold_storage_object_key":            "",
					"metadata.user_api_key_request_route":         "/chat/completions",
					"metadata.user_api_key_auth_metadata":         "{}",
					"metadata.user_api_key_budget_reset_at":       "",
					"metadata.user_api_key_max_budget":            "",
					"metadata.user_api_key_spend":                 0.0,
					"metadata.user_api_key_end_user_id":           "",
					"metadata.user_api_key_org_id":                "",
					"metadata.user_api_key_user_email":            "",
					"metadata.user_api_key_hash":                  "88dc28d0f030c55ed4ab77ed8faf098196cb1c05df778539800c9f1243fe6b4b",
				},
			},
			want: Interaction{
				Kind: KindCall, Dialect: DialectLiteLLM, Provider: "anthropic", RequestModel: "claude-sonnet-4-5", ResponseModel: "claude-sonnet-4-5-20250929",
				PromptTokens: n(258), CompletionTokens: n(12), CacheReadTokens: n(200), CacheWriteTokens: n(40), StopReason: "tool_calls", StopClass: "tool_call",
				PromptCompleteness: ContentFull, ResponseCompleteness: ContentPartial,
				Who: Who{User: "alice@example.com", UserRank: rankSpan + 6, Address: "198.51.100.7", AgentName: "billing-bot"},
			},
			system: brief, messages: weather,
			output: `[{"parts":[{"content":"Let me look that up.","type":"text"},{"arguments":{"city":"Zurich"},"id":"","name":"get_weather","type":"tool_call"}],"role":"assistant"}]`,
		},
		{
			fixture: fixture{
				name: "litellm, the request over the wire", scope: "litellm", span: "raw_gen_ai_request",
				attrs: attrs{
					"llm.anthropic.model": "claude-sonnet-4-5-20250929", "llm.anthropic.id": "msg_01", "llm.anthropic.stop_reason": "tool_use", "llm.anthropic.type": "message",
					"llm.anthropic.role": "assistant", "llm.anthropic.max_tokens": 256, "llm.anthropic.system": "[{'type': 'text', 'text': 'Be brief.', 'cache_control': {'type': 'ephemeral'}}]",
					"llm.anthropic.messages": "[{'role': 'user', 'content': [{'type': 'text', 'text': 'What is the weather in Zurich?'}]}, {'role': 'assistant', 'content': " +
						"[{'type': 'text', 'text': 'Let me look that up.'}, {'type': 'tool_use', 'id': 'toolu_1', 'name': 'get_weather', 'input': {'city': 'Zurich'}}]}, " +
						"{'role': 'user', 'content': [{'type': 'tool_result', 'tool_use_id': 'toolu_1', 'content': '18 degrees, cloudy'}]}]",
					"llm.anthropic.content":  "[{'type': 'text', 'text': 'Let me look that up.'}, {'type': 'tool_use', 'id': 'toolu_1', 'name': 'get_weather', 'input': {'city': 'Zurich'}}]",
					"llm.anthropic.usage":    "{'input_tokens': 18, 'cache_creation_input_tokens': 40, 'cache_read_input_tokens': 200, 'output_tokens': 12}",
					"llm.anthropic.metadata": "{'user_id': 'opaque-1'}",
				},
			},
			want: Interaction{
				Kind: KindPart, OfParent: true, Dialect: DialectLiteLLM, ResponseID: "msg_01", ResponseModel: "claude-sonnet-4-5-20250929",
				PromptTokens: n(258), CompletionTokens: n(12), CacheReadTokens: n(200), CacheWriteTokens: n(40),
				StopReason: "tool_use", StopExact: true, StopClass: "tool_call", PromptCompleteness: ContentFull, ResponseCompleteness: ContentFull,
				Who: Who{User: "opaque-1", UserRank: rankOpaque},
			},
			system: brief, messages: weather, output: weatherCall,
		},
		{
			fixture: fixture{
				name: "litellm with message logging off", scope: "litellm", span: "litellm_request",
				attrs: attrs{
					"gen_ai.system": "anthropic", "gen_ai.request.model": "claude-sonnet-4-5", "llm.request.type": "acompletion", "gen_ai.usage.input_tokens": 13,
					"gen_ai.response.id": "chatcmpl-1", "litellm.call_id": "8d4f",
				},
			},
			want: Interaction{
				Kind: KindCall, Dialect: DialectLiteLLM, Provider: "anthropic", RequestModel: "claude-sonnet-4-5", PromptTokens: n(13),
				PromptCompleteness: ContentNone, ResponseCompleteness: ContentNone,
			},
		},
		{
			fixture: fixture{
				name: "litellm, a failed call whose provider was never resolved", scope: "litellm", span: "litellm_request",
				failed: "litellm.RateLimitError: AnthropicException - {\"type\":\"error\",\"request_id\":\"req_011CABCDEF\"}",
				attrs: attrs{
					"gen_ai.operation.name": "chat", "gen_ai.system": "", "gen_ai.request.model": "anthropic/claude-sonnet-4-5", "error.type": "RateLimitError",
					"error.message": "also quotes req_011CABCDEF", "error.code": "429", "http.response.status_code": 429,
				},
			},
			want: Interaction{
				Kind: KindCall, Dialect: DialectLiteLLM, RequestModel: "anthropic/claude-sonnet-4-5", Failed: true, ErrorType: "RateLimitError",
				QuotedRequestIDs: []string{"req_011CABCDEF"}, PromptCompleteness: ContentNone, ResponseCompleteness: ContentNone,
			},
		},
		{
			fixture: fixture{
				name: "litellm, opted in to the conventions", scope: "litellm", span: "chat claude-sonnet-4-5", kind: ptrace.SpanKindClient,
				attrs: attrs{
					"gen_ai.operation.name": "chat", "gen_ai.provider.name": "anthropic", "gen_ai.request.model": "claude-sonnet-4-5", "gen_ai.response.id": "3f0c1c6e",
					"gen_ai.input.messages": `[{"role":"user","parts":[{"type":"text","content":"redacted-by-litellm"}]}]`,
				},
			},
			want: Interaction{
				Kind: KindCall, Dialect: DialectLiteLLM, Provider: "anthropic", RequestModel: "claude-sonnet-4-5",
				PromptCompleteness: ContentNone, ResponseCompleteness: ContentNone,
			},
			messages: `[]`,
		},
		{
			fixture: fixture{
				name: "a tool result whose call was left out", scope: "litellm", span: "chat claude-sonnet-4-5",
				attrs: attrs{
					"gen_ai.operation.name": "chat", "gen_ai.request.model": "claude-sonnet-4-5",
					"gen_ai.input.messages": `[{"role":"user","parts":[{"type":"text","content":"Hi"}]},{"role":"assistant","parts":[{"type":"text","content":"Let me see."}]},` +
						`{"role":"tool","parts":[{"type":"text","content":"18"}],"tool_call_id":"toolu_1"}]`,
				},
			},
			want: Interaction{
				Kind: KindCall, Dialect: DialectLiteLLM, RequestModel: "claude-sonnet-4-5", PromptCompleteness: ContentPartial, ResponseCompleteness: ContentNone,
			},
		},
		{
			fixture: fixture{
				name: "litellm, the proxy's own span", scope: "litellm", span: "Received Proxy Server Request",
				attrs: attrs{"http.method": "POST", "metadata.requester_ip_address": "198.51.100.7"},
			},
			want: Interaction{Kind: KindContext, Dialect: DialectLiteLLM, Who: Who{Address: "198.51.100.7"}},
		},
		{
			fixture: fixture{
				name: "logfire", scope: "logfire.anthropic", span: "Message with {request_data[model]!r}",
				attrs: attrs{
					"logfire.msg_template": "Message with {request_data[model]!r}", "logfire.msg": "Message with 'claude-sonnet-4-5'", "logfire.span_type": "span",
					"gen_ai.operation.name": "chat", "gen_ai.provider.name": "anthropic", "gen_ai.system": "anthropic", "gen_ai.request.model": "claude-sonnet-4-5",
					"gen_ai.response.model": "claude-sonnet-4-5-20250929", "gen_ai.response.id": "msg_5", "gen_ai.usage.input_tokens": 13, "gen_ai.usage.output_tokens": 12,
					"gen_ai.response.finish_reasons": `["tool_use"]`,
					"request_data": `{"model":"claude-sonnet-4-5","max_tokens":256,"system":"Be brief.","messages":[{"role":"user","content":"What is the weather in Zurich?"},` +
						`{"role":"assistant","content":[{"type":"text","text":"Let me look that up."},{"type":"tool_use","id":"toolu_1","name":"get_weather","input":{"city":"Zurich"}}]},` +
						`{"role":"user","content":[{"type":"tool_result","tool_use_id":"toolu_1","content":"18 degrees, cloudy"}]}]}`,
					"gen_ai.input.messages":  `[{"role":"user","parts":[{"type":"text","content":"What is the weather in Zurich?"}]}]`,
					"gen_ai.output.messages": `[{"role":"assistant","parts":[{"type":"text","content":"Let me look that up."},{"type":"tool_call","id":"toolu_1","name":"get_weather","arguments":{"city":"Zurich"}}],"finish_reason":"tool_use"}]`,
				},
			},
			want: Interaction{
				Kind: KindCall, Dialect: DialectLogfire, ResponseID: "msg_5", Provider: "anthropic", RequestModel: "claude-sonnet-4-5",
				ResponseModel: "claude-sonnet-4-5-20250929", PromptTokens: n(13), CompletionTokens: n(12), StopReason: "tool_use", StopExact: true, StopClass: "tool_call",
				PromptCompleteness: ContentFull, ResponseCompleteness: ContentFull,
			},
			system: brief, messages: weather, output: weatherCall,
		},
		{
			fixture: fixture{
				name: "logfire, the request half of a stream", scope: "logfire.anthropic", span: "Message with {request_data[model]!r}",
				attrs: attrs{
					"logfire.msg_template": "Message with {request_data[model]!r}", "logfire.span_type": "span", "gen_ai.operation.name": "chat", "gen_ai.request.model": "claude-sonnet-4-5",
					"request_data": `{"model":"claude-sonnet-4-5","stream":true}`, "gen_ai.system_instructions": `[{"type":"text","content":"Be brief."}]`,
					"gen_ai.input.messages": `[{"role":"user","parts":[{"type":"text","content":"Hi"}]}]`,
				},
			},
			want: Interaction{
				Kind: KindCall, Dialect: DialectLogfire, RequestModel: "claude-sonnet-4-5", Half: "request",
				PromptCompleteness: ContentFull, ResponseCompleteness: ContentNone,
			},
			system: brief, messages: `[{"parts":[{"content":"Hi","type":"text"}],"role":"user"}]`,
		},
		{
			fixture: fixture{
				name: "logfire, the response half of a stream", scope: "logfire.anthropic", span: "streaming response from {request_data[model]!r} took {duration:.2f}s",
				attrs: attrs{
					"logfire.msg_template": "streaming response from {request_data[model]!r} took {duration:.2f}s", "logfire.span_type": "log", "duration": 1.5,
					"gen_ai.operation.name": "chat", "gen_ai.request.model": "claude-sonnet-4-5", "gen_ai.usage.output_tokens": 3,
					"request_data":  `{"model":"claude-sonnet-4-5","stream":true,"system":"Be brief.","messages":[{"role":"user","content":"Hi"}]}`,
					"response_data": `{"combined_chunk_content":"Paris.","chunk_count":2}`,
				},
			},
			want: Interaction{
				Kind: KindCall, Dialect: DialectLogfire, RequestModel: "claude-sonnet-4-5", Half: "response", CompletionTokens: n(3),
				PromptCompleteness: ContentFull, ResponseCompleteness: ContentTextOnly,
			},
			system: brief, messages: `[{"parts":[{"content":"Hi","type":"text"}],"role":"user"}]`, output: paris,
		},
		{
			fixture: fixture{
				name: "langfuse", scope: "langfuse-sdk", span: "answer",
				attrs: attrs{
					"langfuse.observation.type": "generation", "langfuse.observation.model.name": "claude-sonnet-4-5", "langfuse.user.id": "u-3", "langfuse.session.id": "s-3",
					"langfuse.observation.input":         `[{"role":"system","content":"Be brief."},{"role":"user","content":"Hi"}]`,
					"langfuse.observation.output":        `{"role":"assistant","content":"Paris."}`,
					"langfuse.observation.usage_details": `{"input":10,"output":3,"cache_read_input_tokens":5}`,
				},
			},
			want: Interaction{
				Kind: KindCall, Dialect: DialectLangfuse, RequestModel: "claude-sonnet-4-5", ResponseModel: "claude-sonnet-4-5", PromptTokens: n(15),
				CompletionTokens: n(3), CacheReadTokens: n(5), PromptCompleteness: ContentFull, ResponseCompleteness: ContentFull,
				Who: Who{User: "u-3", UserRank: rankSpan + 2, Session: "s-3", SessionRank: rankSpan + 2},
			},
			system: brief, messages: `[{"parts":[{"content":"Hi","type":"text"}],"role":"user"}]`, output: paris,
		},
		{
			fixture: fixture{
				name: "openlit, content in span events", scope: "openlit", span: "chat claude-sonnet-4-5",
				attrs: attrs{
					"gen_ai.operation.name": "chat", "gen_ai.system": "anthropic", "gen_ai.request.model": "claude-sonnet-4-5", "gen_ai.user.id": "u-5", "gen_ai.session.id": "s-5",
				},
				events: map[string]attrs{
					"gen_ai.content.prompt":     {"gen_ai.prompt": `[{"role":"user","content":"Hi"}]`},
					"gen_ai.content.completion": {"gen_ai.completion": `[{"role":"assistant","content":"Paris."}]`},
				},
			},
			want: Interaction{
				Kind: KindCall, Dialect: DialectSemconv, Provider: "anthropic", RequestModel: "claude-sonnet-4-5",
				PromptCompleteness: ContentFull, ResponseCompleteness: ContentFull,
				Who: Who{User: "u-5", UserRank: rankSpan + 8, Session: "s-5", SessionRank: rankSpan + 7},
			},
			messages: `[{"parts":[{"content":"Hi","type":"text"}],"role":"user"}]`, output: paris,
		},
		{
			fixture: fixture{
				name: "content in two attributes", scope: "old", span: "completion",
				attrs: attrs{"gen_ai.request.model": "claude-2", "gen_ai.prompt": `[{"role":"user","content":"Hi"}]`, "gen_ai.completion": "Paris."},
			},
			want: Interaction{
				Kind: KindCall, Dialect: DialectSpanEvents, RequestModel: "claude-2",
				PromptCompleteness: ContentFull, ResponseCompleteness: ContentTextOnly,
			},
			output: paris,
		},
		{
			fixture: fixture{
				name: "azure, messages as span events", scope: "azure.ai.inference", span: "chat claude",
				attrs:  attrs{"gen_ai.operation.name": "chat", "gen_ai.request.model": "claude"},
				events: map[string]attrs{"gen_ai.choice": {"gen_ai.event.content": `{"message":{"content":"Paris."},"finish_reason":"stop","index":0}`}},
			},
			want: Interaction{
				Kind: KindCall, Dialect: DialectSemconv, RequestModel: "claude", StopReason: "stop", StopClass: "stop",
				PromptCompleteness: ContentNone, ResponseCompleteness: ContentFull,
			},
			output: paris,
		},
		{
			fixture: fixture{
				name: "another vendor's model", scope: "opentelemetry.instrumentation.openai_v2", span: "chat gpt-4o",
				attrs: attrs{"gen_ai.operation.name": "chat", "gen_ai.system": "openai", "gen_ai.request.model": "gpt-4o"},
			},
			want: Interaction{
				Kind: KindCall, Dialect: DialectSemconv, Provider: "openai", RequestModel: "gpt-4o",
				PromptCompleteness: ContentNone, ResponseCompleteness: ContentNone,
			},
		},
		{
			fixture: fixture{
				name: "sparse and huge indexes", scope: "opentelemetry.instrumentation.anthropic", span: "anthropic.chat",
				attrs: attrs{
					"llm.request.type": "chat", "gen_ai.prompt.10.role": "user", "gen_ai.prompt.10.content": "second", "gen_ai.prompt.9.role": "user", "gen_ai.prompt.9.content": "first",
					"gen_ai.prompt.999999999.role": "assistant", "gen_ai.prompt.999999999.content": "third", "gen_ai.prompt.99999999999999999999.content": "not an index",
				},
			},
			want: Interaction{Kind: KindCall, Dialect: DialectTraceloopIndexed, PromptCompleteness: ContentFull, ResponseCompleteness: ContentNone},
			messages: `[{"parts":[{"content":"first","type":"text"}],"role":"user"},{"parts":[{"content":"second","type":"text"}],"role":"user"},` +
				`{"parts":[{"content":"third","type":"text"}],"role":"assistant"}]`,
		},
		{
			fixture: fixture{
				name: "openinference, request cut by an attribute limit", scope: "openinference.instrumentation.anthropic", span: "messages.create",
				attrs: attrs{
					"openinference.span.kind": "LLM", "llm.model_name": "claude-sonnet-4-5", "input.mime_type": "application/json", "input.value": `{"model":"claude-sonnet-4-5","messages":[{"ro`,
					"llm.input_messages.0.message.role": "user", "llm.input_messages.0.message.content": "Hi",
				},
			},
			want: Interaction{
				Kind: KindCall, Dialect: DialectOpenInference, RequestModel: "claude-sonnet-4-5", ResponseModel: "claude-sonnet-4-5",
				PromptCompleteness: ContentTruncated, ResponseCompleteness: ContentNone, Unparsed: []Unparsed{{Key: "input.value", Reason: "invalid_json"}},
			},
			messages: `[{"parts":[{"content":"Hi","type":"text"}],"role":"user"}]`,
		},
		{
			fixture: fixture{
				name: "openinference, chat completions", scope: "openinference.instrumentation.openai", span: "ChatCompletion",
				attrs: attrs{
					"openinference.span.kind": "LLM", "llm.model_name": "claude-sonnet-4-5", "input.mime_type": "application/json", "output.mime_type": "application/json",
					"input.value": `{"model":"claude-sonnet-4-5","messages":[{"role":"system","content":"Be brief."},{"role":"user","content":"What is the weather in Zurich?"},` +
						`{"role":"assistant","content":"Let me look that up.","tool_calls":[{"id":"toolu_1","type":"function","function":{"name":"get_weather","arguments":"{\"city\":\"Zurich\"}"}}]},` +
						`{"role":"tool","tool_call_id":"toolu_1","content":"18 degrees, cloudy"}]}`,
					"output.value":                       `{"id":"chatcmpl-1","choices":[{"index":0,"finish_reason":"stop","message":{"role":"assistant","content":"Paris."}}]}`,
					"llm.output_messages.0.message.role": "assistant", "llm.output_messages.0.message.content": "Paris.",
					"llm.invocation_parameters": `{"metadata":{"user_id":"opaque-2"}}`,
				},
			},
			want: Interaction{
				Kind: KindCall, Dialect: DialectOpenInference, RequestModel: "claude-sonnet-4-5", ResponseModel: "claude-sonnet-4-5", ResponseID: "chatcmpl-1",
				PromptCompleteness: ContentFull, ResponseCompleteness: ContentFull, Who: Who{User: "opaque-2", UserRank: rankOpaque},
			},
			system: brief, messages: weather, output: paris,
		},
		{
			fixture: fixture{
				name: "openinference, hidden texts within messages", scope: "openinference.instrumentation.anthropic", span: "messages.create",
				attrs: attrs{
					"openinference.span.kind": "LLM", "llm.model_name": "claude-sonnet-4-5", "input.value": "__REDACTED__",
					"llm.input_messages.0.message.role": "user", "llm.input_messages.0.message.content": "__REDACTED__",
					"llm.invocation_parameters": `{"system":"Be brief."}`,
				},
			},
			want: Interaction{
				Kind: KindCall, Dialect: DialectOpenInference, RequestModel: "claude-sonnet-4-5", ResponseModel: "claude-sonnet-4-5",
				PromptCompleteness: ContentNone, ResponseCompleteness: ContentNone,
			},
			system: `[]`, messages: `[]`,
		},
		{
			fixture: fixture{
				name: "langchain dump without indexed messages", scope: "openinference.instrumentation.langchain", span: "ChatAnthropic",
				attrs: attrs{
					"openinference.span.kind": "LLM", "llm.model_name": "claude-sonnet-4-5", "input.mime_type": "application/json",
					"metadata": `{"thread_id":"thread-1"}`,
					"input.value": `{"messages":[[{"lc":1,"type":"constructor","id":["SystemMessage"],"kwargs":{"content":"Be brief.","type":"system"}},` +
						`{"lc":1,"type":"constructor","kwargs":{"content":"What is the weather in Zurich?","type":"human"}},` +
						`{"lc":1,"type":"constructor","kwargs":{"content":[{"type":"text","text":"Let me look that up."},{"type":"tool_use","id":"toolu_1","name":"get_weather","input":{"city":"Zurich"}}],` +
						`"type":"ai","id":"lc_1","tool_calls":[{"name":"get_weather","args":{"city":"Zurich"},"id":"toolu_1","type":"tool_call"}]}},` +
						`{"lc":1,"type":"constructor","kwargs":{"content":"18 degrees, cloudy","type":"tool","tool_call_id":"toolu_1"}}]]}`,
				},
			},
			want: Interaction{
				Kind: KindCall, Dialect: DialectOpenInference, RequestModel: "claude-sonnet-4-5", ResponseModel: "claude-sonnet-4-5",
				PromptCompleteness: ContentFull, ResponseCompleteness: ContentNone, Who: Who{Session: "thread-1", SessionRank: rankSpan + 9},
			},
			system: brief, messages: weather,
		},
		{
			fixture: fixture{
				name: "an http server span tells who called", scope: "http", span: "POST /chat", kind: ptrace.SpanKindServer,
				resource: attrs{"service.name": "app", "department": "finance", "user.id": "machine-user"},
				attrs:    attrs{"net.peer.ip": "203.0.113.9", "server.address": "api.anthropic.com", "enduser.id": "carol"},
			},
			want: Interaction{
				Kind: KindContext, Who: Who{User: "carol", UserRank: rankSpan + 1, Address: "203.0.113.9", Department: "finance"},
			},
		},
		{
			fixture: fixture{
				name: "the peer of a client span is the server", scope: "http", span: "POST", kind: ptrace.SpanKindClient,
				attrs: attrs{"net.peer.ip": "203.0.113.9", "server.address": "api.anthropic.com"},
			},
			want: Interaction{Kind: KindNone},
		},
		{
			fixture: fixture{
				name: "claude code, account and administrators' user", scope: scopeClaudeCodeTraces, span: "claude_code.llm_request",
				resource: attrs{"service.name": "claude-code", "enduser.id": "admin-set"},
				attrs: attrs{
					"span.type": "llm_request", "user.id": "installation", "user.email": "dora@example.com", "model": "claude-sonnet-4-5", "success": "false", "status_code": "529",
					"error": "Overloaded req_011OVERLOAD", "gen_ai.response.id": "req_011X", "input_tokens": "10", "cache_read_tokens": "5",
				},
			},
			want: Interaction{
				Kind: KindCall, Dialect: DialectClaudeCodeTraces, RequestModel: "claude-sonnet-4-5", RequestID: "req_011X", Failed: true, ErrorType: "529",
				QuotedRequestIDs: []string{"req_011OVERLOAD"}, PromptTokens: n(15), CacheReadTokens: n(5),
				PromptCompleteness: ContentNone, ResponseCompleteness: ContentNone, Who: Who{User: "dora@example.com", UserRank: rankVerifiedAccount},
			},
		},
		{
			fixture: fixture{
				name: "claude code, the installation is the last resort", scope: scopeClaudeCodeTraces, span: "claude_code.interaction",
				resource: attrs{"enduser.id": "admin-set"},
				attrs:    attrs{"span.type": "interaction", "user.id": "installation", "user_prompt": "Hi"},
			},
			want: Interaction{
				Kind: KindContext, Dialect: DialectClaudeCodeTraces, PromptCompleteness: ContentUserPromptOnly,
				Who: Who{User: "admin-set", UserRank: rankResource + 2},
			},
			messages: `[{"parts":[{"content":"Hi","type":"text"}],"role":"user"}]`,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := tt.read(t)
			if tt.system != "" {
				assert.JSONEq(t, tt.system, storedParts(got.Content.System))
			}
			if tt.messages != "" {
				assert.JSONEq(t, tt.messages, stored(got.Content.Messages))
			}
			if tt.output != "" {
				assert.JSONEq(t, tt.output, stored(got.Content.Output))
			}
			want := tt.want
			assert.Equal(t, tt.name != "another vendor's model", got.Claude)
			if want.Kind == KindCall || want.Kind == KindPart {
				checkTimes(t, got)
			} else {
				want.RequestModel, want.Provider = got.RequestModel, got.Provider
			}
			if want.Evidence == "" {
				want.Evidence = EvidenceClientAsserted
			}
			if want.Who.Application == "" {
				want.Who.Application = got.Who.Application
			}
			if want.PromptCompleteness == "" {
				want.PromptCompleteness = ContentNone
			}
			if want.ResponseCompleteness == "" {
				want.ResponseCompleteness = ContentNone
			}
			for i, u := range got.Unparsed {
				assert.Len(t, u.SHA256, 64)
				assert.Positive(t, u.Bytes)
				got.Unparsed[i].SHA256, got.Unparsed[i].Bytes = "", 0
			}
			// What the fixture itself sets.
			want.Scope, want.TraceID, want.SpanID, want.ParentSpanID, want.Sequence = got.Scope, got.TraceID, got.SpanID, got.ParentSpanID, -1
			want.Operation = got.Operation
			want.Content, want.Claude = got.Content, got.Claude
			want.Start, want.End, want.LatencyMs = got.Start, got.End, got.LatencyMs
			assert.Equal(t, want, got)
		})
	}
}

func checkTimes(t *testing.T, it Interaction) {
	t.Helper()
	end := time.Unix(0, fixtureEnd).UTC()
	assert.Equal(t, end, it.End)
	switch {
	case it.Half == "response":
		assert.InDelta(t, 1500, *it.LatencyMs, 1e-9)
		assert.Equal(t, end.Add(-1500*time.Millisecond), it.Start)
	case it.Half == "request" || it.Kind == KindPart:
		assert.Nil(t, it.LatencyMs)
	default:
		assert.InDelta(t, 250, *it.LatencyMs, 1e-9)
	}
}

// The conversations of the fixtures hash the same through every dialect.
func TestFixturesStripped(t *testing.T) {
	secret := "Zurich"
	for _, f := range []fixture{
		{scope: "pydantic-ai", span: "invoke_agent x", attrs: attrs{
			"gen_ai.operation.name": "invoke_agent", "pydantic_ai.all_messages": `[{"role":"user","parts":[{"type":"text","content":"Zurich"}]}]`,
			"final_result": "Zurich", "model_request_parameters": `{"x":"Zurich"}`, "gen_ai.agent.description": "Zurich",
		}, failed: "Zurich"},
		{scope: "pydantic-ai", span: "execute_tool x", attrs: attrs{
			"gen_ai.operation.name": "execute_tool", "gen_ai.tool.call.arguments": "Zurich", "gen_ai.tool.call.result": "Zurich", "tool_arguments": "Zurich", "tool_response": "Zurich",
			"logfire.msg": "running tool with Zurich",
		}},
		{scope: "litellm", span: "raw_gen_ai_request", attrs: attrs{
			"llm.anthropic.messages": "['Zurich']", "llm.anthropic.content": "Zurich", "llm.bedrock.prompt": "Zurich", "metadata.requester_metadata": "Zurich",
			"hidden_params": "Zurich", "gen_ai.completion.0.function_call.arguments": "Zurich",
		}},
		{scope: "langfuse-sdk", span: "x", attrs: attrs{
			"langfuse.observation.type": "generation", "langfuse.observation.input": "Zurich", "langfuse.observation.output": "Zurich", "langfuse.trace.input": "Zurich",
			"langfuse.observation.metadata.note": "Zurich", "langfuse.observation.status_message": "Zurich",
		}},
		{scope: "logfire.anthropic", span: "x", attrs: attrs{
			"logfire.msg_template": "x", "gen_ai.operation.name": "chat", "request_data": "Zurich", "response_data": attrs{"message": "Zurich"},
			"app.question": "Zurich " + string(make([]byte, maxUnknownText)), "app.structured": attrs{"q": "Zurich"},
		}},
		{scope: "openlit", span: "x", attrs: attrs{"gen_ai.operation.name": "chat"}, events: map[string]attrs{
			"gen_ai.content.prompt": {"gen_ai.prompt": "Zurich"}, "exception": {"exception.message": "Zurich", "exception.stacktrace": "Zurich", "exception.type": "E"},
			"other": {"gen_ai.input.messages": "Zurich"},
		}},
		{scope: "http", span: "POST", kind: ptrace.SpanKindServer, attrs: attrs{"user.id": "u", "gen_ai.prompt": "Zurich", "input.value": "Zurich", "http.route": "/chat"}},
	} {
		t.Run(f.scope+" "+f.span, func(t *testing.T) {
			res, scope, span := f.build(t)
			it := ReadSpan(ReadResource(res), scope, span, DefaultLimits)
			require.NotEqual(t, KindNone, it.Kind)
			StripSpan(span, it.Kind)
			left, err := json.Marshal(span.Attributes().AsRaw())
			require.NoError(t, err)
			assert.NotContains(t, string(left), secret)
			assert.NotContains(t, span.Status().Message(), secret)
			for _, e := range span.Events().All() {
				left, err := json.Marshal(e.Attributes().AsRaw())
				require.NoError(t, err)
				assert.NotContains(t, string(left), secret)
				if e.Name() == "exception" {
					_, kept := e.Attributes().Get("exception.type")
					assert.True(t, kept)
				}
			}
			// What a second reading sees is the same call, without content.
			again := ReadSpan(ReadResource(res), scope, span, DefaultLimits)
			assert.Equal(t, ContentNone, again.PromptCompleteness)
			assert.Equal(t, ContentNone, again.ResponseCompleteness)
		})
	}
}

// Spans that have nothing to do with a model, and the application's own
// attributes, stay as they are.
func TestStripLeavesOthersAlone(t *testing.T) {
	for _, f := range []fixture{
		{
			scope: "http", span: "GET", attrs: attrs{"http.route": "/x", "prompt": "a shell prompt", "body": "b", "exception.message": "m"}, failed: "boom",
			events: map[string]attrs{"exception": {"exception.message": "m", "exception.stacktrace": "s"}},
		},
		{
			scope: "http", span: "POST", kind: ptrace.SpanKindServer, attrs: attrs{"client.address": "192.0.2.1", "user.id": "u", "prompt": "x", "body": "b", "exception.message": "m"}, failed: "boom",
			events: map[string]attrs{"exception": {"exception.message": "m"}},
		},
	} {
		res, scope, span := f.build(t)
		before := ptrace.NewSpan()
		span.CopyTo(before)
		StripSpan(span, ReadSpan(ReadResource(res), scope, span, DefaultLimits).Kind)
		assert.Equal(t, before, span)
	}
}

func logRecord(t testing.TB, event string, body any, a attrs) plog.LogRecord {
	t.Helper()
	rec := plog.NewLogRecord()
	rec.SetEventName(event)
	require.NoError(t, rec.Body().FromRaw(body))
	require.NoError(t, rec.Attributes().FromRaw(a))
	rec.SetTimestamp(fixtureEnd)
	rec.SetTraceID([16]byte{1})
	rec.SetSpanID([8]byte{2})
	return rec
}

func readRecord(t testing.TB, scope string, rec plog.LogRecord) Interaction {
	t.Helper()
	s := pcommon.NewInstrumentationScope()
	s.SetName(scope)
	return ReadLog(Resource{}, s, rec, DefaultLimits)
}

func TestLogEvents(t *testing.T) {
	t.Run("the body as JSON text", func(t *testing.T) {
		it := readRecord(t, "x", logRecord(t, "gen_ai.user.message", `{"content":"Hi"}`, nil))
		assert.Equal(t, KindPart, it.Kind)
		assert.Equal(t, ContentFull, it.PromptCompleteness)
		assert.JSONEq(t, `[{"parts":[{"content":"Hi","type":"text"}],"role":"user"}]`, stored(it.Content.Messages))
	})
	t.Run("the body as text", func(t *testing.T) {
		it := readRecord(t, "x", logRecord(t, "gen_ai.user.message", "Hi", nil))
		assert.JSONEq(t, `[{"parts":[{"content":"Hi","type":"text"}],"role":"user"}]`, stored(it.Content.Messages))
	})
	t.Run("a body that is no JSON", func(t *testing.T) {
		it := readRecord(t, "x", logRecord(t, "gen_ai.user.message", `{"content":`, nil))
		assert.Equal(t, ContentUnparsed, it.PromptCompleteness)
		assert.Equal(t, "invalid_json", it.Unparsed[0].Reason)
		assert.Equal(t, "body", it.Unparsed[0].Key)
	})
	t.Run("litellm's content events", func(t *testing.T) {
		prompt := readRecord(t, "litellm", logRecord(t, "", attrs{"role": "user", "content": "Hi"}, attrs{"event_name": "gen_ai.content.prompt", "gen_ai.prompt": "Hi"}))
		answer := readRecord(t, "litellm", logRecord(t, "", attrs{"index": 0, "finish_reason": "stop", "message": attrs{"role": "assistant", "content": "Paris."}},
			attrs{"event_name": "gen_ai.content.completion"}))
		it := Join([]Interaction{prompt, answer})
		assert.Equal(t, ContentFull, it.PromptCompleteness)
		assert.Equal(t, ContentFull, it.ResponseCompleteness)
		assert.Equal(t, "stop", it.StopReason)
		assert.JSONEq(t, paris, stored(it.Content.Output))
	})
	t.Run("the exception of an operation", func(t *testing.T) {
		it := readRecord(t, "x", logRecord(t, "gen_ai.client.operation.exception", nil, attrs{"exception.type": "RateLimitError", "exception.message": "see req_011ABCDEF"}))
		assert.Equal(t, KindPart, it.Kind)
		assert.True(t, it.Failed)
		assert.Equal(t, "RateLimitError", it.ErrorType)
		assert.Equal(t, []string{"req_011ABCDEF"}, it.QuotedRequestIDs)
	})
	t.Run("content off: tool calls without arguments", func(t *testing.T) {
		it := readRecord(t, "opentelemetry.instrumentation.openai_v2", logRecord(t, "gen_ai.assistant.message",
			attrs{"tool_calls": []any{attrs{"id": "toolu_1", "type": "function", "function": attrs{"name": "get_weather"}}}}, nil))
		assert.Equal(t, ContentNone, it.PromptCompleteness)
		assert.Empty(t, it.Content.Messages)
	})
	t.Run("an event without ids", func(t *testing.T) {
		rec := logRecord(t, "gen_ai.user.message", attrs{"content": "Hi"}, nil)
		rec.SetSpanID([8]byte{})
		it := readRecord(t, "x", rec)
		assert.Equal(t, KindUncorrelated, it.Kind)
		assert.Equal(t, ContentFull, it.PromptCompleteness)
	})
	t.Run("a refusal", func(t *testing.T) {
		it := readRecord(t, scopeClaudeCodeEvents, logRecord(t, "", "claude_code.api_refusal", attrs{"event.name": "api_refusal", "request_id": "req_1", "event.sequence": "7", "prompt.id": "p"}))
		assert.Equal(t, KindPart, it.Kind)
		assert.Equal(t, "refusal", it.StopReason)
		assert.Equal(t, "refusal", it.StopClass)
		assert.Equal(t, int64(7), it.Sequence)
		assert.Equal(t, "req_1", it.RequestID)
	})
	t.Run("a request body in a file", func(t *testing.T) {
		it := readRecord(t, scopeClaudeCodeEvents, logRecord(t, "", "claude_code.api_request_body", attrs{"event.name": "api_request_body", "body_ref": "/tmp/body.json"}))
		assert.Equal(t, ContentNone, it.PromptCompleteness)
	})
	t.Run("a whole request body", func(t *testing.T) {
		it := readRecord(t, scopeClaudeCodeEvents, logRecord(t, "", "claude_code.api_request_body", attrs{
			"event.name": "api_request_body", "body": `{"model":"m","system":"Be brief.","messages":[{"role":"user","content":"Hi"}]}`,
		}))
		assert.Equal(t, ContentFull, it.PromptCompleteness)
		assert.JSONEq(t, `[{"content":"Be brief.","type":"text"}]`, storedParts(it.Content.System))
	})
	t.Run("any other log", func(t *testing.T) {
		it := readRecord(t, "app", logRecord(t, "", "hello", attrs{"user.id": "u"}))
		assert.Equal(t, KindNone, it.Kind)
	})
}

func TestJoinTakesPartsInTheOrderOfTheirTimes(t *testing.T) {
	at := func(event string, body any, ns int64) Interaction {
		rec := logRecord(t, event, body, nil)
		rec.SetTimestamp(pcommon.Timestamp(ns))
		return readRecord(t, "opentelemetry.instrumentation.botocore.bedrock-runtime", rec)
	}
	parts := []Interaction{
		at("gen_ai.choice", attrs{"index": 0, "finish_reason": "end_turn", "message": attrs{"content": []any{attrs{"text": "Paris."}}}}, 60),
		at("gen_ai.user.message", attrs{"content": []any{attrs{"toolResult": attrs{"toolUseId": "toolu_1", "content": []any{attrs{"text": "18 degrees, cloudy"}}}}}}, 50),
		at("gen_ai.tool.message", attrs{"id": "toolu_1", "content": []any{attrs{"text": "18 degrees, cloudy"}}}, 40),
		at("gen_ai.assistant.message", attrs{"content": []any{attrs{"text": "Let me look that up."}, attrs{"toolUse": attrs{"toolUseId": "toolu_1", "name": "get_weather", "input": attrs{"city": "Zurich"}}}}}, 30),
		at("gen_ai.user.message", attrs{"content": []any{attrs{"text": "What is the weather in Zurich?"}}}, 20),
		at("gen_ai.system.message", attrs{"content": []any{attrs{"text": "Be brief."}}}, 10),
	}
	it := Join(parts)
	assert.Equal(t, KindPart, it.Kind)
	assert.JSONEq(t, `[{"content":"Be brief.","type":"text"}]`, storedParts(it.Content.System))
	assert.JSONEq(t, weather, stored(it.Content.Messages))
	assert.JSONEq(t, paris, stored(it.Content.Output))
	assert.Equal(t, "end_turn", it.StopReason)
	assert.Equal(t, ContentFull, it.PromptCompleteness)
	assert.Equal(t, ContentFull, it.ResponseCompleteness)
	assert.Equal(t, KindNone, Join(nil).Kind)

	assert.Equal(t, it, Join(append(parts, parts...)), "redelivered")

	parts = append(parts, at("gen_ai.user.message", nil, 55))
	assert.Equal(t, ContentPartial, Join(parts).PromptCompleteness, "a message that was kept back")
}
