package anthropic

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/claudeaudit/claudeaudit/internal/conversation"
	"github.com/claudeaudit/claudeaudit/internal/jcs"
)

func parse(t testing.TB, s string) jcs.Value {
	t.Helper()
	v, err := jcs.Parse(s, jcs.DefaultLimits)
	require.NoError(t, err)
	return v
}

// stored returns the canonical JSON of parts, as one user message's, after normalising.
func stored(parts []conversation.Part) string {
	c := conversation.Conversation{Messages: []conversation.Message{{Role: conversation.RoleUser, Parts: parts}}}
	c.Normalize()
	var all []conversation.Part
	for _, m := range c.Messages {
		all = append(all, m.Parts...)
	}
	return string(conversation.AppendParts(nil, all, conversation.Stored))
}

func TestBlocks(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"nothing", `null`, `[]`},
		{"number", `3`, `[]`},
		{"no blocks", `[]`, `[]`},
		{"plain text", `"hello"`, `[{"content":"hello","type":"text"}]`},
		{"one block by itself", `{"type":"text","text":"hello"}`, `[{"content":"hello","type":"text"}]`},
		{"strings among blocks", `["a",{"type":"text","text":"b"}]`, `[{"content":"a","type":"text"},{"content":"b","type":"text"}]`},
		{"block that is no object", `[7]`, `[{"type":"","value":7}]`},
		{"block without a type", `[{"text":"a"}]`, `[{"content":"a","type":"text"}]`},
		{"text", `[{"type":"text","text":"a","cache_control":{"type":"ephemeral"},"citations":[{"type":"char_location","cited_text":"q"}]}]`, `[{"content":"a","type":"text"}]`},
		{"empty text", `[{"type":"text","text":""}]`, `[]`},
		{"placeholder", `[{"type":"text","text":"<REDACTED>"},{"type":"thinking","thinking":"__REDACTED__"}]`, `[]`},
		{"thinking", `[{"type":"thinking","thinking":"hm","signature":"c2ln"}]`, `[{"content":"hm","type":"reasoning"}]`},
		{"thinking that isn't shown", `[{"type":"thinking","thinking":"","signature":"c2ln"}]`, `[]`},
		{"redacted thinking", `[{"type":"redacted_thinking","data":"ZW5j"}]`, `[{"data":"ZW5j","type":"redacted_thinking"}]`},
		{"image, base64", `[{"type":"image","source":{"type":"base64","media_type":"image/png","data":"AAAA"},"cache_control":null}]`, `[{"content":"AAAA","mime_type":"image/png","type":"blob"}]`},
		{"image, url", `[{"type":"image","source":{"type":"url","url":"https://example.com/i.png"}}]`, `[{"type":"uri","uri":"https://example.com/i.png"}]`},
		{"image, file", `[{"type":"image","source":{"type":"file","file_id":"file_1"}}]`, `[{"file_id":"file_1","type":"file"}]`},
		{"image, source unknown", `[{"type":"image","source":{"type":"moon","x":1}}]`, `[{"source":{"type":"moon","x":1},"type":"image"}]`},
		{"image without its source", `[{"type":"image"}]`, `[{"type":"image"}]`},
		{"document, base64", `[{"type":"document","source":{"type":"base64","media_type":"application/pdf","data":"AAAA"},"citations":{"enabled":true},"title":null}]`, `[{"content":"AAAA","mime_type":"application/pdf","type":"blob"}]`},
		{"document with title and context", `[{"type":"document","title":"Salaries","context":"HR","source":{"type":"url","url":"https://example.com/d.pdf"}}]`, `[{"context":"HR","title":"Salaries","type":"document"},{"type":"uri","uri":"https://example.com/d.pdf"}]`},
		{"document, file", `[{"type":"document","source":{"type":"file","file_id":"file_2"}}]`, `[{"file_id":"file_2","type":"file"}]`},
		{"document, text", `[{"type":"document","title":"T","source":{"type":"text","media_type":"text/plain","data":"words"}}]`, `[{"content":"words","title":"T","type":"document"}]`},
		{"document, content", `[{"type":"document","source":{"type":"content","content":[{"type":"text","text":"x","cache_control":{"type":"ephemeral"}}]},"cache_control":{"type":"ephemeral"}}]`, `[{"content":[{"text":"x","type":"text"}],"type":"document"}]`},
		{"document, content as text", `[{"type":"document","source":{"type":"content","content":"x"}}]`, `[{"content":"x","type":"document"}]`},
		{"document, source unknown", `[{"type":"document","title":"T","source":{"type":"moon"}}]`, `[{"source":{"type":"moon"},"title":"T","type":"document"}]`},
		{"search result", `[{"type":"search_result","source":"https://example.com","title":"T","content":[{"type":"text","text":"x"}],"citations":{"enabled":true}}]`, `[{"citations":{"enabled":true},"content":[{"text":"x","type":"text"}],"source":"https://example.com","title":"T","type":"search_result"}]`},
		{"tool use", `[{"type":"tool_use","id":"t1","name":"f","input":{"b":1,"a":2},"caller":{"type":"direct"}}]`, `[{"arguments":{"a":2,"b":1},"id":"t1","name":"f","type":"tool_call"}]`},
		{"tool use without input", `[{"type":"tool_use","id":"t1","name":"f"}]`, `[{"arguments":{},"id":"t1","name":"f","type":"tool_call"}]`},
		{"server tool use", `[{"type":"server_tool_use","id":"s1","name":"web_search","input":{"query":"q"}}]`, `[{"arguments":{"query":"q"},"id":"s1","name":"web_search","type":"tool_call"}]`},
		{"MCP tool use", `[{"type":"mcp_tool_use","id":"m1","name":"f","server_name":"s","input":{}}]`, `[{"arguments":{},"id":"m1","name":"f","type":"tool_call"}]`},
		{"tool result, text", `[{"type":"tool_result","tool_use_id":"t1","content":"r","is_error":true}]`, `[{"id":"t1","response":"r","type":"tool_call_response"}]`},
		{"tool result, texts", `[{"type":"tool_result","tool_use_id":"t1","content":[{"type":"text","text":"r"},{"type":"text","text":"s","cache_control":{}}]}]`, `[{"id":"t1","response":"r\ns","type":"tool_call_response"}]`},
		{"tool result, mixed", `[{"type":"tool_result","tool_use_id":"t1","content":[{"type":"text","text":"r"},{"type":"image","source":{"type":"url","url":"u"}}]}]`, `[{"id":"t1","response":[{"text":"r","type":"text"},{"source":{"type":"url","url":"u"},"type":"image"}],"type":"tool_call_response"}]`},
		{"tool result of nothing", `[{"type":"tool_result","tool_use_id":"t1"}]`, `[{"id":"t1","response":"","type":"tool_call_response"}]`},
		{"MCP tool result", `[{"type":"mcp_tool_result","tool_use_id":"m1","content":[{"type":"text","text":"r"}],"is_error":false}]`, `[{"id":"m1","response":"r","type":"tool_call_response"}]`},
		{"web search result", `[{"type":"web_search_tool_result","tool_use_id":"s1","content":[{"type":"web_search_result","url":"u","title":"t","encrypted_content":"e"}]}]`, `[{"content":[{"encrypted_content":"e","title":"t","type":"web_search_result","url":"u"}],"tool_use_id":"s1","type":"web_search_tool_result"}]`},
		{"web fetch result", `[{"type":"web_fetch_tool_result","tool_use_id":"s1","content":{"type":"web_fetch_result","url":"u"}}]`, `[{"content":{"type":"web_fetch_result","url":"u"},"tool_use_id":"s1","type":"web_fetch_tool_result"}]`},
		{"code execution result", `[{"type":"code_execution_tool_result","tool_use_id":"s1","content":{"stdout":"x"}}]`, `[{"content":{"stdout":"x"},"tool_use_id":"s1","type":"code_execution_tool_result"}]`},
		{"bash result", `[{"type":"bash_code_execution_tool_result","tool_use_id":"s1","content":{"stdout":"x"}}]`, `[{"content":{"stdout":"x"},"tool_use_id":"s1","type":"bash_code_execution_tool_result"}]`},
		{"editor result", `[{"type":"text_editor_code_execution_tool_result","tool_use_id":"s1","content":{}}]`, `[{"content":{},"tool_use_id":"s1","type":"text_editor_code_execution_tool_result"}]`},
		{"tool search result", `[{"type":"tool_search_tool_result","tool_use_id":"s1","content":{}}]`, `[{"content":{},"tool_use_id":"s1","type":"tool_search_tool_result"}]`},
		{"advisor result", `[{"type":"advisor_tool_result","tool_use_id":"s1","content":{"text":"x"}}]`, `[{"content":{"text":"x"},"tool_use_id":"s1","type":"advisor_tool_result"}]`},
		{"container upload", `[{"type":"container_upload","file_id":"file_3"}]`, `[{"file_id":"file_3","type":"file"}]`},
		{"compaction", `[{"type":"compaction","content":"summary","cache_control":{}}]`, `[{"content":"summary","type":"compaction"}]`},
		{"MCP tool listing", `[{"type":"mcp_tool_listing","server_name":"s","tools":[]}]`, `[{"server_name":"s","tools":[],"type":"mcp_tool_listing"}]`},
		{"tool addition", `[{"type":"tool_addition","tool":{"name":"f"}}]`, `[{"tool":{"name":"f"},"type":"tool_addition"}]`},
		{"tool removal", `[{"type":"tool_removal","tool_name":"f"}]`, `[{"tool_name":"f","type":"tool_removal"}]`},
		{"fallback", `[{"type":"fallback","from":{"model":"a"},"to":{"model":"b"}}]`, `[{"from":{"model":"a"},"to":{"model":"b"},"type":"fallback"}]`},
		{"of the future", `[{"type":"hologram","b":[1.0,{"z":1,"y":2}],"a":null}]`, `[{"a":null,"b":[1,{"y":2,"z":1}],"type":"hologram"}]`},
		{"text that isn't one", `[{"type":"text","text":7}]`, `[{"text":7,"type":"text"}]`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			require.Equal(t, tt.want, stored(ReadBlocks(parse(t, tt.in))))
		})
	}
}

func TestConverseBlocks(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"nothing", `null`, `[]`},
		{"plain text", `"hello"`, `[{"content":"hello","type":"text"}]`},
		{"one block by itself", `{"text":"hello"}`, `[{"content":"hello","type":"text"}]`},
		{"text and cache point", `[{"text":"a"},{"cachePoint":{"type":"default"}}]`, `[{"content":"a","type":"text"}]`},
		{"tool use", `[{"toolUse":{"toolUseId":"t1","name":"f","input":{"a":1}}}]`, `[{"arguments":{"a":1},"id":"t1","name":"f","type":"tool_call"}]`},
		{"tool result, text", `[{"toolResult":{"toolUseId":"t1","content":[{"text":"r"}],"status":"error"}}]`, `[{"id":"t1","response":"r","type":"tool_call_response"}]`},
		{"tool result, JSON", `[{"toolResult":{"toolUseId":"t1","content":[{"json":{"a":1}}]}}]`, `[{"id":"t1","response":[{"json":{"a":1}}],"type":"tool_call_response"}]`},
		{"image, bytes", `[{"image":{"format":"png","source":{"bytes":"AAAA"}}}]`, `[{"content":"AAAA","mime_type":"image/png","type":"blob"}]`},
		{"image, S3", `[{"image":{"format":"png","source":{"s3Location":{"uri":"s3://b/k"}}}}]`, `[{"type":"uri","uri":"s3://b/k"}]`},
		{"image without its source", `[{"image":{"format":"png"}}]`, `[{"format":"png","type":"image"}]`},
		{"video", `[{"video":{"format":"mp4","source":{"bytes":"AAAA"}}}]`, `[{"content":"AAAA","mime_type":"video/mp4","type":"blob"}]`},
		{"document, bytes", `[{"document":{"format":"pdf","name":"cv","source":{"bytes":"AAAA"}}}]`, `[{"title":"cv","type":"document"},{"content":"AAAA","mime_type":"application/pdf","type":"blob"}]`},
		{"document, unknown format", `[{"document":{"format":"xyz","source":{"bytes":"AAAA"}}}]`, `[{"content":"AAAA","mime_type":"","type":"blob"}]`},
		{"document, text", `[{"document":{"name":"cv","context":"c","source":{"text":"words"}}}]`, `[{"content":"words","context":"c","title":"cv","type":"document"}]`},
		{"document, content", `[{"document":{"source":{"content":[{"text":"words"}]}}}]`, `[{"content":[{"text":"words"}],"type":"document"}]`},
		{"document, source unknown", `[{"document":{"name":"cv","source":{"moon":1}}}]`, `[{"name":"cv","source":{"moon":1},"type":"document"}]`},
		{"reasoning", `[{"reasoningContent":{"reasoningText":{"text":"hm","signature":"s"}}}]`, `[{"content":"hm","type":"reasoning"}]`},
		{"reasoning, streamed", `[{"reasoningContent":{"text":"hm","signature":"s"}}]`, `[{"content":"hm","type":"reasoning"}]`},
		{"reasoning, redacted", `[{"reasoningContent":{"redactedContent":"ZW5j"}}]`, `[{"data":"ZW5j","type":"redacted_thinking"}]`},
		{"reasoning, unknown", `[{"reasoningContent":{"x":1}}]`, `[{"type":"reasoningContent","x":1}]`},
		{"guarded text", `[{"guardContent":{"text":{"text":"g","qualifiers":["query"]}}}]`, `[{"content":"g","type":"text"}]`},
		{"guarded image", `[{"guardContent":{"image":{"format":"jpeg","source":{"bytes":"AAAA"}}}}]`, `[{"content":"AAAA","mime_type":"image/jpeg","type":"blob"}]`},
		{"cited text", `[{"citationsContent":{"content":[{"text":"a"}],"citations":[{"title":"t"}]}}]`, `[{"content":"a","type":"text"}]`},
		{"of the future", `[{"hologram":{"x":1}},{"sound":7}]`, `[{"type":"hologram","x":1},{"type":"sound","value":7}]`},
		{"block that is no object", `[true]`, `[{"type":"","value":true}]`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			require.Equal(t, tt.want, stored(ReadConverseBlocks(parse(t, tt.in))))
		})
	}
}

func TestReadRequest(t *testing.T) {
	c, info := ReadRequest(parse(t, `{
		"model":"claude-sonnet-4-5-20250929","max_tokens":1024,"stream":true,"metadata":{"user_id":"u-1"},
		"system":[{"type":"text","text":"Be brief.","cache_control":{"type":"ephemeral"}}],
		"messages":[{"role":"user","content":"Hi"},{"role":"system","content":"Now be long."}],
		"mcp_servers":[{"url":"https://example.com","authorization_token":"secret"}],"tools":[{"name":"f"}]
	}`))
	require.Equal(t, RequestInfo{Model: "claude-sonnet-4-5-20250929", UserID: "u-1", MaxTokens: 1024, Stream: true}, info)
	require.Equal(t, `[{"content":"Be brief.","type":"text"}]`, stored(c.System))
	require.Equal(t, `[{"parts":[{"content":"Hi","type":"text"}],"role":"user"},{"parts":[{"content":"Now be long.","type":"text"}],"role":"system"}]`,
		string(conversation.AppendMessages(nil, c.Messages, conversation.Stored)))

	c, info = ReadRequest(parse(t, `{"anthropic_version":"bedrock-2023-05-31","system":"S","messages":[]}`))
	require.Equal(t, RequestInfo{}, info)
	require.Equal(t, `[{"content":"S","type":"text"}]`, stored(c.System))
	require.Empty(t, c.Messages)
}

func TestReadResponse(t *testing.T) {
	out, info := ReadResponse(parse(t, `{
		"id":"msg_1","type":"message","role":"assistant","model":"claude-x","stop_reason":"tool_use","stop_sequence":null,
		"content":[{"type":"text","text":"Let me see."},{"type":"tool_use","id":"t1","name":"f","input":{}}],
		"usage":{"input_tokens":10,"cache_creation_input_tokens":5,"cache_read_input_tokens":null,"output_tokens":0,"service_tier":"standard"}
	}`))
	require.Len(t, out, 1)
	require.Equal(t, "assistant", out[0].Role)
	require.Equal(t, "tool_use", out[0].FinishReason)
	require.Equal(t, []string{"Let me see."}, conversation.Texts(out[0]))
	require.Equal(t, "msg_1", info.ID)
	require.Equal(t, "claude-x", info.Model)
	require.Equal(t, "tool_use", info.StopReason)
	require.Equal(t, int64(10), *info.Usage.InputTokens)
	require.Equal(t, int64(0), *info.Usage.OutputTokens)
	require.Equal(t, int64(5), *info.Usage.CacheWriteTokens)
	require.Nil(t, info.Usage.CacheReadTokens)
	require.Equal(t, int64(15), *info.Usage.PromptTokens())
	require.Nil(t, Usage{}.PromptTokens())

	out, info = ReadResponse(parse(t, `{"type":"error","error":{"type":"overloaded_error","message":"m"},"request_id":"req_1"}`))
	require.Empty(t, out)
	require.Equal(t, ResponseInfo{ErrorType: "overloaded_error", RequestID: "req_1"}, info)

	out, _ = ReadResponse(parse(t, `{"type":"message","content":[]}`))
	require.Empty(t, out)
}

func TestReadConverse(t *testing.T) {
	c, info := ReadConverseRequest(parse(t, `{"modelId":"anthropic.claude-x","system":[{"text":"S"}],"messages":[{"role":"user","content":[{"text":"Hi"}]}],"inferenceConfig":{"maxTokens":9}}`))
	require.Equal(t, RequestInfo{Model: "anthropic.claude-x", MaxTokens: 9}, info)
	require.Equal(t, `[{"content":"S","type":"text"}]`, stored(c.System))
	require.Equal(t, `[{"parts":[{"content":"Hi","type":"text"}],"role":"user"}]`, string(conversation.AppendMessages(nil, c.Messages, conversation.Stored)))

	out, res := ReadConverseResponse(parse(t, `{"output":{"message":{"role":"assistant","content":[{"text":"Hello"}]}},"stopReason":"end_turn","usage":{"inputTokens":3,"outputTokens":4,"cacheReadInputTokens":1},"metrics":{"latencyMs":5}}`))
	require.Len(t, out, 1)
	require.Equal(t, "assistant", out[0].Role)
	require.Equal(t, "end_turn", out[0].FinishReason)
	require.Equal(t, `[{"content":"Hello","type":"text"}]`, stored(out[0].Parts))
	require.Equal(t, "end_turn", res.StopReason)
	require.Equal(t, int64(4), *res.Usage.PromptTokens())
	require.Equal(t, int64(4), *res.Usage.OutputTokens)

	out, _ = ReadConverseResponse(parse(t, `{}`))
	require.Empty(t, out)
}

func TestSameConversationSameHash(t *testing.T) {
	request, _ := ReadRequest(parse(t, `{"system":"Be brief.","messages":[
		{"role":"user","content":[{"type":"text","text":"Weather?"},{"type":"image","source":{"type":"base64","media_type":"image/png","data":"AAEC"}}]},
		{"role":"assistant","content":[{"type":"thinking","thinking":"hm","signature":"s"},{"type":"text","text":"Let me see."},{"type":"tool_use","id":"t1","name":"f","input":{"city":"Zurich","unit":"celsius"}}]},
		{"role":"user","content":[{"type":"tool_result","tool_use_id":"t1","content":[{"type":"text","text":"18 degrees"}]},{"type":"text","text":"And?"}]}]}`))
	converse, _ := ReadConverseRequest(parse(t, `{"system":[{"text":"Be brief."},{"cachePoint":{"type":"default"}}],"messages":[
		{"role":"user","content":[{"text":"Weather?"},{"image":{"format":"png","source":{"bytes":"AAEC"}}}]},
		{"role":"assistant","content":[{"reasoningContent":{"reasoningText":{"text":"hm","signature":"s"}}},{"text":"Let me see."},{"toolUse":{"toolUseId":"t1","name":"f","input":{"unit":"celsius","city":"Zurich"}}}]},
		{"role":"user","content":[{"toolResult":{"toolUseId":"t1","content":[{"text":"18 degrees"}],"status":"success"}},{"text":"And?"}]}]}`))
	chat := conversation.Conversation{}
	var err error
	chat.Messages, err = conversation.ParseMessages(parse(t, `[
		{"role":"system","content":"Be brief."},
		{"role":"user","content":[{"type":"text","text":"Weather?"},{"type":"image_url","image_url":{"url":"data:image/png;base64,AAEC"}}]},
		{"role":"assistant","content":[{"type":"reasoning","content":"hm"},{"type":"text","text":"Let me see."}],"tool_calls":[{"id":"t1","type":"function","function":{"name":"f","arguments":"{\"city\":\"Zurich\",\"unit\":\"celsius\"}"}}]},
		{"role":"tool","tool_call_id":"t1","content":"18 degrees"},
		{"role":"user","content":"And?"}]`))
	require.NoError(t, err)
	semconv := conversation.Conversation{System: []conversation.Part{conversation.Text("Be brief.")}}
	semconv.Messages, err = conversation.ParseMessages(parse(t, `[
		{"role":"user","parts":[{"type":"text","content":"Weather?"},{"type":"blob","modality":"image","mime_type":"image/png","content":"AAEC"}]},
		{"role":"assistant","parts":[{"type":"reasoning","content":"hm"},{"type":"text","content":"Let me see."},{"type":"tool_call","id":"t1","name":"f","arguments":{"city":"Zurich","unit":"celsius"}}]},
		{"role":"user","parts":[{"type":"tool_call_response","id":"t1","response":[{"type":"text","text":"18 degrees"}]},{"type":"text","content":"And?"}]}]`))
	require.NoError(t, err)

	// Computed elsewhere: the SHA-256 of the prompt written by another JSON library with
	// sorted keys and no white space.
	const want = "e24441da179d30870fc8d5da99235e50d9cbaf654c6dc37dea46527038c159cb"
	for name, c := range map[string]conversation.Conversation{"Messages API": request, "Converse": converse, "chat completions": chat, "semantic conventions": semconv} {
		require.Equal(t, conversation.Gaps{}, c.Normalize(), name)
		require.Equal(t, want, conversation.PromptHash(c.System, c.Messages), name)
	}
}

func TestStopClass(t *testing.T) {
	tests := map[string]string{
		"end_turn": "stop", "stop_sequence": "stop", "stop": "stop", "STOP": "stop", "pause_turn": "stop",
		"max_tokens": "length", "length": "length", "model_context_window_exceeded": "length",
		"tool_use": "tool_call", "tool_call": "tool_call", "tool_calls": "tool_call", "tool-calls": "tool_call",
		"refusal": "refusal", "content-filter": "refusal", "content_filter": "refusal", "guardrail_intervened": "refusal",
		"": "", "compaction": "", "error": "", "unheard_of": "",
	}
	for reason, class := range tests {
		require.Equal(t, class, StopClass(reason), reason)
	}
}

func FuzzRead(f *testing.F) {
	f.Add(`{"system":"S","messages":[{"role":"user","content":[{"type":"document","title":"t","source":{"type":"content","content":[{"type":"text"}]}}]}],"content":[{"type":"tool_use"}]}`)
	f.Add(`{"output":{"message":{"role":"assistant","content":[{"text":"x","toolUse":{}},{"document":{"name":"n","source":{}}},{"guardContent":1}]}},"usage":{"inputTokens":-1}}`)
	f.Add(`{"content":[{"type":"blob","content":"AA"},{"type":"tool_call","arguments":"{}"},{"type":"text"}]}`)
	f.Fuzz(func(t *testing.T, s string) {
		v, err := jcs.Parse(s, jcs.DefaultLimits)
		if err != nil {
			return
		}
		for _, read := range []func(jcs.Value) (conversation.Conversation, RequestInfo){ReadRequest, ReadConverseRequest} {
			c, _ := read(v)
			c.Output, _ = ReadResponse(v)
			more, _ := ReadConverseResponse(v)
			c.Output = append(c.Output, more...)
			c.Output = append(c.Output, ReadConverseMessages(v)...)
			c.Output = append(c.Output, conversation.Message{Parts: ReadBlocks(v)}, conversation.Message{Parts: ReadConverseBlocks(v)})
			c.Normalize()
			stored := conversation.AppendMessages(nil, c.Output, conversation.Stored)
			back, err := conversation.ParseMessages(parse(t, string(stored)))
			require.NoError(t, err)
			require.Equal(t, conversation.ResponseHash(c.Output), conversation.ResponseHash(back))
			_ = conversation.PromptHash(c.System, c.Messages)
		}
	})
}
