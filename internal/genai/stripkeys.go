package genai

import "strings"

// What becomes of an attribute when content is taken out.
type verdictKind uint8

const (
	verdictUnknown verdictKind = iota // no table knows it
	verdictKeep                       // tells about the call
	verdictContent                    // can hold content
	verdictWrapper                    // can hold content on spans of GenAI clients
)

// genAINamespaces are those of GenAI clients. In them an attribute counts as content unless
// it is listed: what a new version adds must not leak. An entry that ends
// in "." lets everything below it stay.
var genAINamespaces = map[string][]string{
	"gen_ai.": {
		"gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.system", "gen_ai.usage.",
		"gen_ai.request.model", "gen_ai.request.max_tokens", "gen_ai.request.temperature", "gen_ai.request.top_p", "gen_ai.request.top_k",
		"gen_ai.request.stream", "gen_ai.request.is_stream", "gen_ai.request.seed", "gen_ai.request.choice.count", "gen_ai.request.id",
		"gen_ai.request.frequency_penalty", "gen_ai.request.presence_penalty", "gen_ai.request.reasoning.level", "gen_ai.request.type",
		"gen_ai.response.id", "gen_ai.response.model", "gen_ai.response.finish_reasons", "gen_ai.response.time_to_first_chunk",
		"gen_ai.response.service_tier", "gen_ai.response.system_fingerprint",
		"gen_ai.aggregated_usage.", "gen_ai.client.", "gen_ai.server.", "gen_ai.cost.", "gen_ai.conversation.id",
		"gen_ai.agent.id", "gen_ai.agent.name", "gen_ai.agent.version", "gen_ai.tool.name", "gen_ai.tool.type", "gen_ai.tool.call.id",
		"gen_ai.workflow.name", "gen_ai.workflow.nodes", "gen_ai.workflow.edges", "gen_ai.task.id", "gen_ai.task.name", "gen_ai.task.parent.id",
		"gen_ai.task.status", "gen_ai.task.type", "gen_ai.output.type", "gen_ai.token.type", "gen_ai.data_source.id", "gen_ai.user.id",
		"gen_ai.session.id", "gen_ai.environment", "gen_ai.application_name", "gen_ai.execute_tool.duration", "gen_ai.completion.index",
		"gen_ai.embeddings.dimension.count",
	},
	"llm.": {
		"llm.model_name", "llm.request.model_name", "llm.response.model_name", "llm.provider", "llm.system", "llm.token_count.", "llm.cost.",
		"llm.usage.", "llm.finish_reason", "llm.request.type", "llm.is_streaming", "llm.user", "llm.anthropic.id", "llm.anthropic.model",
		"llm.anthropic.stop_reason", "llm.anthropic.type", "llm.anthropic.role", "llm.anthropic.max_tokens", "llm.anthropic.stream",
	},
	"ai.": {
		"ai.operationId", "ai.model.", "ai.telemetry.", "ai.usage.", "ai.settings.maxRetries", "ai.settings.maxSteps",
		"ai.settings.maxOutputTokens", "ai.settings.maxTokens", "ai.settings.temperature", "ai.settings.topP", "ai.settings.topK",
		"ai.settings.context.userId", "ai.settings.context.sessionId", "ai.response.id", "ai.response.model",
		"ai.response.finishReason", "ai.response.timestamp", "ai.response.msToFirstChunk", "ai.response.msToFinish",
		"ai.response.avgOutputTokensPerSecond", "ai.response.avgCompletionTokensPerSecond", "ai.toolCall.id", "ai.toolCall.name", "ai.stream.",
	},
	"traceloop.": {
		"traceloop.workflow.name", "traceloop.span.kind", "traceloop.entity.name", "traceloop.entity.path", "traceloop.entity.version",
		"traceloop.association.properties.",
	},
	"openinference.": {"openinference.span.kind"},
	"langfuse.": {
		"langfuse.user.id", "langfuse.session.id", "langfuse.observation.type", "langfuse.observation.model.name", "langfuse.observation.level",
		"langfuse.observation.usage_details", "langfuse.observation.cost_details", "langfuse.observation.completion_start_time",
		"langfuse.environment", "langfuse.release", "langfuse.version", "langfuse.trace.name", "langfuse.internal.",
	},
	"litellm.": {"litellm.call_id", "litellm.version"},
	"anthropic.": {
		"anthropic.request.id", "anthropic.organization.id", "anthropic.workspace.id", "anthropic.message.stop_reason", "anthropic.beta",
		"anthropic.content.truncated", "anthropic.thinking.", "anthropic.usage.", "anthropic.response.service_tier",
	},
	"pydantic_ai.": {"pydantic_ai.new_message_index", "pydantic_ai.agent_name"},
	"mcp.":         {"mcp.method.name", "mcp.session.id", "mcp.protocol.version"},
}

// attributes of clients that have no namespace of their own.
var otherVerdicts = map[string]verdictKind{
	// OpenInference.
	"input.value": verdictContent, "output.value": verdictContent, "input.mime_type": verdictKeep, "output.mime_type": verdictKeep,
	"tool.name": verdictKeep, "tool.id": verdictKeep,
	"metadata": verdictWrapper, "tag.tags": verdictWrapper,
	// Logfire and Pydantic AI.
	"request_data": verdictContent, "response_data": verdictContent, "final_result": verdictContent, "all_messages_events": verdictContent,
	"all_messages": verdictContent, "model_request_parameters": verdictContent, "tool_arguments": verdictContent, "tool_response": verdictContent,
	"logfire.msg": verdictWrapper, "logfire.json_schema": verdictWrapper, "events": verdictWrapper, "prompt": verdictWrapper,
	// LiteLLM. hidden_params has headers and parameters of the request.
	"hidden_params": verdictContent, "litellm_params": verdictContent, "complete_input_dict": verdictContent,
	// Errors quote requests, traces of the stack show arguments.
	"exception.message": verdictWrapper, "exception.stacktrace": verdictWrapper, "error.message": verdictWrapper, "error.stack_trace": verdictWrapper,
	"error.information.error_message": verdictWrapper, "error.information.traceback": verdictWrapper,
}

// otherNamespaces are namespaces of clients with a common name, with what may stay in them.
var otherNamespaces = map[string][]string{
	"tool.":            {"tool.name", "tool.id"},
	"tool_call.":       {"tool_call.id", "tool_call.function.name"},
	"input.":           nil,
	"output.":          nil,
	"message.":         nil,
	"message_content.": nil,
	"messages.":        nil,
	"document.":        nil,
	"retrieval.":       nil,
	"reranker.":        {"reranker.model_name", "reranker.top_k"},
	"embedding.":       {"embedding.model_name"},
	"prompt.":          {"prompt.id"},
	"image.":           nil,
	"audio.":           nil,
	"metadata.": {
		"metadata.user_api_key_user_id", "metadata.user_api_key_alias", "metadata.user_api_key_team_id", "metadata.user_api_key_team_alias",
		"metadata.user_api_key_org_id", "metadata.user_api_key_hash", "metadata.user_api_key_end_user_id", "metadata.requester_ip_address",
		"metadata.usage_object",
	},
}

// claudeCodeContent are the attributes of Claude Code's events and spans that hold
// what was typed, answered, run or put out. Its names are common words, so
// they count on its own spans and events only.
var claudeCodeContent = map[string]bool{
	"prompt": true, "user_prompt": true, "response": true, "body": true, "body_ref": true, "error": true, "error_message": true,
	"tool_input": true, "tool_parameters": true, "tool_result": true, "tool_output": true, "full_command": true, "bash_command": true,
	"command": true, "output": true, "input": true, "content": true, "new_context": true, "system_prompt": true, "description": true,
	"file_path": true, "reason": true, "arguments": true, "result": true, "message": true, "hook_input": true, "hook_output": true,
	"system_prompt_preview": true, "system_reminders": true, "tools": true, "model_output": true, "user_system_prompt": true,
}

// removedEvents are the events of a span that are content and nothing else.
var removedEvents = map[string]bool{
	eventContentPrompt: true, eventContentCompletion: true, eventDetails: true, "tool.output": true,
	"gen_ai.evaluation.result": true,
}

// isGenAIName reports whether an attribute's name is in a namespace of GenAI clients.
func isGenAIName(name string) bool {
	switch name[:min(1, len(name))] {
	case "g", "l", "a", "t", "o", "p":
	default:
		return false
	}
	i := strings.IndexByte(name, '.')
	if i < 0 {
		return false
	}
	_, ok := genAINamespaces[name[:i+1]]
	return ok
}

func verdict(name string) verdictKind {
	if v, ok := otherVerdicts[name]; ok {
		return v
	}
	i := strings.IndexByte(name, '.')
	if i < 0 {
		return verdictUnknown
	}
	if keep, ok := genAINamespaces[name[:i+1]]; ok {
		if listed(name, keep) {
			return verdictKeep
		}
		return verdictContent
	}
	if keep, ok := otherNamespaces[name[:i+1]]; ok {
		if listed(name, keep) {
			return verdictKeep
		}
		return verdictWrapper
	}
	return verdictUnknown
}

func listed(name string, entries []string) bool {
	for _, e := range entries {
		if name == e || e[len(e)-1] == '.' && strings.HasPrefix(name, e) {
			return true
		}
	}
	return false
}
