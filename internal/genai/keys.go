package genai

import "strings"

// key names an attribute that some dialect uses. Attributes are looked up once
// per span, by one pass over them; see attributes.
type key uint8

const (
	_ key = iota

	// Who.
	keyUserID
	keyEnduserID
	keyUserEmail
	keyUserAccountUUID
	keyUserAccountID
	keyLangfuseUser
	keyVercelUser
	keyVercelContextUser
	keyTraceloopUser
	keyLiteLLMKeyUser
	keyLLMUser
	keyOpenLITUser
	keySessionID
	keyConversationID
	keyLangfuseSession
	keyVercelSession
	keyVercelContextSession
	keyTraceloopSession
	keyTraceloopThread
	keyOpenLITSession
	keyAgentName
	keyVercelFunction
	keyTraceloopWorkflow
	keyLiteLLMKeyAlias
	keyLiteLLMTeamAlias
	keyLiteLLMTeamID
	keyClientAddress
	keyNetPeerIP
	keyHTTPClientIP
	keyLiteLLMAddress
	keyDepartment
	keyUserDepartment
	keyEnduserDepartment
	keyMetadata

	// Recognition.
	keyOIKind
	keyOperationID
	keyLiteLLMCallID
	keyLLMRequestType
	keyLogfireTemplate
	keyLogfireSpanType
	keyLangfuseType
	keyOperation
	keySpanType
	keyEventName

	// Provider and models.
	keyProviderName
	keySystem
	keyLLMProvider
	keyLLMSystem
	keyVercelProvider
	keyRequestModel
	keyResponseModel
	keyLLMModelName
	keyLLMRequestModel
	keyLLMResponseModel
	keyVercelModelID
	keyVercelResponseModel
	keyLangfuseModel
	keyModel

	// Tokens.
	keyInputTokens
	keyPromptTokens
	keyLLMPromptTokens
	keyVercelInputTokens
	keyVercelPromptTokens
	keyOutputTokens
	keyCompletionTokens
	keyLLMCompletionTokens
	keyVercelOutputTokens
	keyVercelCompletionTokens
	keyCacheRead
	keyCacheReadOld
	keyCacheReadDetails
	keyLLMCacheRead
	keyCCCacheRead
	keyVercelCacheRead
	keyCacheWrite
	keyCacheCreation
	keyCacheCreationOld
	keyCacheCreationDetails
	keyLLMCacheWrite
	keyCCCacheCreation
	keyCCInputTokens
	keyCCOutputTokens
	keyLiteLLMUsage
	keyLangfuseUsage

	// Ids.
	keyResponseID
	keyVercelResponseID
	keyAnthropicRequestID
	keyRequestID
	keyAWSRequestID
	keyPromptID
	keyEventSequence

	// Outcome.
	keyErrorType
	keyErrorMessage
	keyHTTPStatus
	keyHTTPStatusOld
	keyStatusCode
	keySuccess
	keyStopReasonSDK
	keyStopReason
	keyFinishReasons
	keyLLMFinishReason
	keyVercelFinishReason
	keyDurationMs
	keyDuration
	keyEventTimestamp
	keyStream
	keyTruncated
	keyExceptionType
	keyExceptionMessage

	// Content.
	keySystemInstructions
	keyInputMessages
	keyOutputMessages
	keyPromptJSON
	keyCompletionJSON
	keyInputValue
	keyOutputValue
	keyInputMime
	keyOutputMime
	keyInvocationParameters
	keyVercelPromptMessages
	keyVercelPrompt
	keyVercelText
	keyVercelToolCalls
	keyVercelObject
	keyVercelReasoning
	keyVercelFiles
	keyVercelMetadata
	keyLangfuseInput
	keyLangfuseOutput
	keyRequestData
	keyResponseData
	keyFunctionCallName
	keyFunctionCallArguments
	keyLiteLLMUserMetadata
	keyEventContent
	keyEvents
	keyCCPrompt
	keyCCResponse
	keyCCBody
	keyCCBodyTruncated
	keyCCUserPrompt

	numKeys
)

var keyNames = [numKeys]string{
	keyUserID:               "user.id",
	keyEnduserID:            "enduser.id",
	keyUserEmail:            "user.email",
	keyUserAccountUUID:      "user.account_uuid",
	keyUserAccountID:        "user.account_id",
	keyLangfuseUser:         "langfuse.user.id",
	keyVercelUser:           "ai.telemetry.metadata.userId",
	keyVercelContextUser:    "ai.settings.context.userId",
	keyTraceloopUser:        "traceloop.association.properties.user_id",
	keyLiteLLMKeyUser:       "metadata.user_api_key_user_id",
	keyLLMUser:              "llm.user",
	keyOpenLITUser:          "gen_ai.user.id",
	keySessionID:            "session.id",
	keyConversationID:       "gen_ai.conversation.id",
	keyLangfuseSession:      "langfuse.session.id",
	keyVercelSession:        "ai.telemetry.metadata.sessionId",
	keyVercelContextSession: "ai.settings.context.sessionId",
	keyTraceloopSession:     "traceloop.association.properties.session_id",
	keyTraceloopThread:      "traceloop.association.properties.thread_id",
	keyOpenLITSession:       "gen_ai.session.id",
	keyAgentName:            "gen_ai.agent.name",
	keyVercelFunction:       "ai.telemetry.functionId",
	keyTraceloopWorkflow:    "traceloop.workflow.name",
	keyLiteLLMKeyAlias:      "metadata.user_api_key_alias",
	keyLiteLLMTeamAlias:     "metadata.user_api_key_team_alias",
	keyLiteLLMTeamID:        "metadata.user_api_key_team_id",
	keyClientAddress:        "client.address",
	keyNetPeerIP:            "net.peer.ip",
	keyHTTPClientIP:         "http.client_ip",
	keyLiteLLMAddress:       "metadata.requester_ip_address",
	keyDepartment:           "department",
	keyUserDepartment:       "user.department",
	keyEnduserDepartment:    "enduser.department",
	keyMetadata:             "metadata",

	keyOIKind:          "openinference.span.kind",
	keyOperationID:     "ai.operationId",
	keyLiteLLMCallID:   "litellm.call_id",
	keyLLMRequestType:  "llm.request.type",
	keyLogfireTemplate: "logfire.msg_template",
	keyLogfireSpanType: "logfire.span_type",
	keyLangfuseType:    "langfuse.observation.type",
	keyOperation:       "gen_ai.operation.name",
	keySpanType:        "span.type",
	keyEventName:       "event.name",

	keyProviderName:        "gen_ai.provider.name",
	keySystem:              "gen_ai.system",
	keyLLMProvider:         "llm.provider",
	keyLLMSystem:           "llm.system",
	keyVercelProvider:      "ai.model.provider",
	keyRequestModel:        "gen_ai.request.model",
	keyResponseModel:       "gen_ai.response.model",
	keyLLMModelName:        "llm.model_name",
	keyLLMRequestModel:     "llm.request.model_name",
	keyLLMResponseModel:    "llm.response.model_name",
	keyVercelModelID:       "ai.model.id",
	keyVercelResponseModel: "ai.response.model",
	keyLangfuseModel:       "langfuse.observation.model.name",
	keyModel:               "model",

	keyInputTokens:            "gen_ai.usage.input_tokens",
	keyPromptTokens:           "gen_ai.usage.prompt_tokens",
	keyLLMPromptTokens:        "llm.token_count.prompt",
	keyVercelInputTokens:      "ai.usage.inputTokens",
	keyVercelPromptTokens:     "ai.usage.promptTokens",
	keyOutputTokens:           "gen_ai.usage.output_tokens",
	keyCompletionTokens:       "gen_ai.usage.completion_tokens",
	keyLLMCompletionTokens:    "llm.token_count.completion",
	keyVercelOutputTokens:     "ai.usage.outputTokens",
	keyVercelCompletionTokens: "ai.usage.completionTokens",
	keyCacheRead:              "gen_ai.usage.cache_read.input_tokens",
	keyCacheReadOld:           "gen_ai.usage.cache_read_input_tokens",
	keyCacheReadDetails:       "gen_ai.usage.details.cache_read_input_tokens",
	keyLLMCacheRead:           "llm.token_count.prompt_details.cache_read",
	keyCCCacheRead:            "cache_read_tokens",
	keyVercelCacheRead:        "ai.usage.cachedInputTokens",
	keyCacheWrite:             "gen_ai.usage.cache_write.input_tokens",
	keyCacheCreation:          "gen_ai.usage.cache_creation.input_tokens",
	keyCacheCreationOld:       "gen_ai.usage.cache_creation_input_tokens",
	keyCacheCreationDetails:   "gen_ai.usage.details.cache_creation_input_tokens",
	keyLLMCacheWrite:          "llm.token_count.prompt_details.cache_write",
	keyCCCacheCreation:        "cache_creation_tokens",
	keyCCInputTokens:          "input_tokens",
	keyCCOutputTokens:         "output_tokens",
	keyLiteLLMUsage:           "metadata.usage_object",
	keyLangfuseUsage:          "langfuse.observation.usage_details",

	keyResponseID:         "gen_ai.response.id",
	keyVercelResponseID:   "ai.response.id",
	keyAnthropicRequestID: "anthropic.request.id",
	keyRequestID:          "request_id",
	keyAWSRequestID:       "aws.request_id",
	keyPromptID:           "prompt.id",
	keyEventSequence:      "event.sequence",

	keyErrorType:          "error.type",
	keyErrorMessage:       "error.message",
	keyHTTPStatus:         "http.response.status_code",
	keyHTTPStatusOld:      "http.status_code",
	keyStatusCode:         "status_code",
	keySuccess:            "success",
	keyStopReasonSDK:      "anthropic.message.stop_reason",
	keyStopReason:         "stop_reason",
	keyFinishReasons:      "gen_ai.response.finish_reasons",
	keyLLMFinishReason:    "llm.finish_reason",
	keyVercelFinishReason: "ai.response.finishReason",
	keyDurationMs:         "duration_ms",
	keyDuration:           "duration",
	keyEventTimestamp:     "event.timestamp",
	keyStream:             "gen_ai.request.stream",
	keyTruncated:          "anthropic.content.truncated",
	keyExceptionType:      "exception.type",
	keyExceptionMessage:   "exception.message",

	keySystemInstructions:    "gen_ai.system_instructions",
	keyInputMessages:         "gen_ai.input.messages",
	keyOutputMessages:        "gen_ai.output.messages",
	keyPromptJSON:            "gen_ai.prompt",
	keyCompletionJSON:        "gen_ai.completion",
	keyInputValue:            "input.value",
	keyOutputValue:           "output.value",
	keyInputMime:             "input.mime_type",
	keyOutputMime:            "output.mime_type",
	keyInvocationParameters:  "llm.invocation_parameters",
	keyVercelPromptMessages:  "ai.prompt.messages",
	keyVercelPrompt:          "ai.prompt",
	keyVercelText:            "ai.response.text",
	keyVercelToolCalls:       "ai.response.toolCalls",
	keyVercelObject:          "ai.response.object",
	keyVercelReasoning:       "ai.response.reasoning",
	keyVercelFiles:           "ai.response.files",
	keyVercelMetadata:        "ai.response.providerMetadata",
	keyLangfuseInput:         "langfuse.observation.input",
	keyLangfuseOutput:        "langfuse.observation.output",
	keyRequestData:           "request_data",
	keyResponseData:          "response_data",
	keyFunctionCallName:      "gen_ai.completion.0.function_call.name",
	keyFunctionCallArguments: "gen_ai.completion.0.function_call.arguments",
	keyLiteLLMUserMetadata:   "llm.anthropic.metadata",
	keyEventContent:          "gen_ai.event.content",
	keyEvents:                "events",
	keyCCPrompt:              "prompt",
	keyCCResponse:            "response",
	keyCCBody:                "body",
	keyCCBodyTruncated:       "body_truncated",
	keyCCUserPrompt:          "user_prompt",
}

// named is what the tables say of an attribute by its name.
type named struct {
	key     key // 0: it is of no use
	genAI   bool
	verdict verdictKind
}

// names are the attributes that a table knows by their whole name: one look here tells
// what would take several.
var names = func() map[string]named {
	m := make(map[string]named, 512)
	add := func(name string) named {
		n := m[name]
		n.genAI, n.verdict = isGenAIName(name), verdict(name)
		m[name] = n
		return n
	}
	for k, name := range keyNames {
		if name != "" {
			n := add(name)
			n.key = key(k)
			m[name] = n
		}
	}
	for name := range otherVerdicts {
		add(name)
	}
	for _, namespaces := range []map[string][]string{genAINamespaces, otherNamespaces} {
		for _, entries := range namespaces {
			for _, name := range entries {
				if !strings.HasSuffix(name, ".") {
					add(name)
				}
			}
		}
	}
	return m
}()

// The keys that tell the same thing in different dialects, best first.
var (
	promptTokenKeys = []key{keyInputTokens, keyPromptTokens, keyLLMPromptTokens, keyVercelInputTokens, keyVercelPromptTokens}
	outputTokenKeys = []key{keyOutputTokens, keyCompletionTokens, keyLLMCompletionTokens, keyVercelOutputTokens, keyVercelCompletionTokens}
	cacheReadKeys   = []key{keyCacheRead, keyCacheReadOld, keyCacheReadDetails, keyLLMCacheRead, keyCCCacheRead}
	cacheWriteKeys  = []key{keyCacheWrite, keyCacheCreation, keyCacheCreationOld, keyCacheCreationDetails, keyLLMCacheWrite, keyCCCacheCreation}

	requestModelKeys  = []key{keyRequestModel, keyLLMRequestModel, keyVercelModelID, keyLLMModelName, keyLangfuseModel}
	responseModelKeys = []key{keyResponseModel, keyLLMResponseModel, keyVercelResponseModel, keyLLMModelName, keyLangfuseModel}
	providerKeys      = []key{keyProviderName, keySystem, keyLLMProvider, keyLLMSystem, keyVercelProvider}

	agentKeys      = []key{keyAgentName, keyVercelFunction, keyTraceloopWorkflow, keyLiteLLMKeyAlias, keyLiteLLMTeamAlias, keyLiteLLMTeamID}
	departmentKeys = []key{keyDepartment, keyUserDepartment, keyEnduserDepartment}
)
