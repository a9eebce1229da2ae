package genai

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/claudeaudit/claudeaudit/internal/conversation"
	"github.com/claudeaudit/claudeaudit/internal/jcs"
)

// Parts and messages of every shape, and what they are in the stored form.
func TestShapes(t *testing.T) {
	const (
		png  = "iVBORw0KGgo="
		blob = `[{"parts":[{"content":"iVBORw0KGgo=","mime_type":"image/png","type":"blob"}],"role":"user"}]`
		uri  = `[{"parts":[{"type":"uri","uri":"https://example.com/a.png"}],"role":"user"}]`
		file = `[{"parts":[{"file_id":"file_1","type":"file"}],"role":"user"}]`
		call = `[{"parts":[{"arguments":{"a":1},"id":"t1","name":"f","type":"tool_call"}],"role":"assistant"}]`
		// A call and its result.
		result = `[{"parts":[{"arguments":{},"id":"t1","name":"f","type":"tool_call"}],"role":"assistant"},` +
			`{"parts":[{"id":"t1","response":"18","type":"tool_call_response"}],"role":"tool"}]`
		callT1 = `{"role":"assistant","parts":[{"type":"tool_call","id":"t1","name":"f","arguments":{}}]},`
		lost   = `[{"parts":[{"type":"image"}],"role":"user"}]`
	)
	user := func(part string) string { return `[{"role":"user","content":[` + part + `]}]` }
	tests := []struct {
		name, in, want string
		complete       Completeness
	}{
		{"schema blob", user(`{"type":"blob","modality":"image","mime_type":"image/png","content":"` + png + `"}`), blob, ContentFull},
		{"logfire's blob", user(`{"type":"blob","media_type":"image/png","content":"` + png + `"}`), blob, ContentFull},
		{"schema uri", user(`{"type":"uri","modality":"image","uri":"https://example.com/a.png"}`), uri, ContentFull},
		{"schema file", user(`{"type":"file","modality":"document","file_id":"file_1"}`), file, ContentFull},
		{"anthropic image", user(`{"type":"image","source":{"type":"base64","media_type":"image/png","data":"` + png + `"}}`), blob, ContentFull},
		{"anthropic image by url", user(`{"type":"image","source":{"type":"url","url":"https://example.com/a.png"}}`), uri, ContentFull},
		{"chat completions image", user(`{"type":"image_url","image_url":{"url":"data:image/png;base64,` + png + `"}}`), blob, ContentFull},
		{"chat completions image by url", user(`{"type":"image_url","image_url":"https://example.com/a.png"}`), uri, ContentFull},
		{"chat completions file", user(`{"type":"file","file":{"file_id":"file_1"}}`), file, ContentFull},
		{"chat completions file as data", user(`{"type":"file","file":{"file_data":"data:image/png;base64,` + png + `"}}`), blob, ContentFull},
		{"vercel image", user(`{"type":"image","image":"` + png + `","mediaType":"image/png"}`), blob, ContentFull},
		{"vercel file", user(`{"type":"file","data":"` + png + `","mediaType":"image/png"}`), blob, ContentFull},
		{"vercel file by url", user(`{"type":"file","data":{"type":"url","url":"https://example.com/a.png"},"mediaType":"image/png"}`), uri, ContentFull},
		{"openinference image", user(`{"type":"image","image":{"image":{"url":"https://example.com/a.png"}}}`), uri, ContentFull},
		{"converse image", user(`{"image":{"format":"png","source":{"bytes":"` + png + `"}}}`), blob, ContentFull},
		{"an image without its bytes", user(`{"type":"image"}`), lost, ContentPartial},
		{"the SDK's image", user(`{"type":"anthropic_image"}`), lost, ContentPartial},
		{"a hidden image", user(`{"type":"image_url","image_url":{"url":"__REDACTED__"}},{"type":"text","text":"a"}`), `[{"parts":[{"type":"image"},{"content":"a","type":"text"}],"role":"user"}]`, ContentPartial},

		{"schema call", `[{"role":"assistant","parts":[{"type":"tool_call","id":"t1","name":"f","arguments":{"a":1}}]}]`, call, ContentFull},
		{"call with arguments as text", `[{"role":"assistant","parts":[{"type":"tool_call","id":"t1","name":"f","arguments":"{\"a\":1}"}]}]`, call, ContentFull},
		{"anthropic call", `[{"role":"assistant","content":[{"type":"tool_use","id":"t1","name":"f","input":{"a":1}}]}]`, call, ContentFull},
		{"converse call", `[{"role":"assistant","content":[{"toolUse":{"toolUseId":"t1","name":"f","input":{"a":1}}}]}]`, call, ContentFull},
		{"chat completions call", `[{"role":"assistant","content":null,"tool_calls":[{"id":"t1","type":"function","function":{"name":"f","arguments":"{\"a\":1}"}}]}]`, call, ContentFull},
		{"langchain call", `[{"type":"ai","data":{"content":"","type":"ai","tool_calls":[{"name":"f","args":{"a":1},"id":"t1","type":"tool_call"}]}}]`, call, ContentFull},
		{"vercel call", `[{"role":"assistant","content":[{"type":"tool-call","toolCallId":"t1","toolName":"f","input":{"a":1}}]}]`, call, ContentFull},
		{"a call told twice", `[{"role":"assistant","content":[{"type":"tool_use","id":"t1","name":"f","input":{"a":1}}],"tool_calls":[{"id":"t1","name":"f","args":{"a":1}}]}]`, call, ContentFull},

		{"schema result", `[` + callT1 + `{"role":"user","parts":[{"type":"tool_call_response","id":"t1","response":"18"}]}]`, result, ContentFull},
		{"result as result", `[` + callT1 + `{"role":"tool","parts":[{"type":"tool_call_response","id":"t1","result":"18"}]}]`, result, ContentFull},
		{"result as blocks", `[` + callT1 + `{"role":"user","parts":[{"type":"tool_call_response","id":"t1","response":[{"type":"text","text":"18"}]}]}]`, result, ContentFull},
		{"result as keyed blocks", `[` + callT1 + `{"role":"user","parts":[{"type":"tool_call_response","id":"t1","response":[{"text":"18"}]}]}]`, result, ContentFull},
		{"anthropic result", `[` + callT1 + `{"role":"user","content":[{"type":"tool_result","tool_use_id":"t1","content":"18"}]}]`, result, ContentFull},
		{"converse result", `[` + callT1 + `{"role":"user","content":[{"toolResult":{"toolUseId":"t1","content":[{"text":"18"}]}}]}]`, result, ContentFull},
		{"chat completions result", `[` + callT1 + `{"role":"tool","tool_call_id":"t1","content":"18"}]`, result, ContentFull},
		{"chat completions result in blocks", `[` + callT1 + `{"role":"tool","tool_call_id":"t1","content":[{"type":"text","text":"18"}]}]`, result, ContentFull},
		{"langchain result", `[` + callT1 + `{"lc":1,"type":"constructor","kwargs":{"type":"tool","tool_call_id":"t1","content":"18"}}]`, result, ContentFull},
		{"vercel result", `[` + callT1 + `{"role":"tool","content":[{"type":"tool-result","toolCallId":"t1","toolName":"f","output":{"type":"text","value":"18"}}]}]`, result, ContentFull},

		{
			"thinking of any shape", `[{"role":"assistant","content":[{"type":"thinking","thinking":"a","signature":"s"},{"type":"reasoning","content":"b"},{"type":"reasoning","text":"c"}]}]`,
			`[{"parts":[{"content":"a","type":"reasoning"},{"content":"b","type":"reasoning"},{"content":"c","type":"reasoning"}],"role":"assistant"}]`, ContentFull,
		},
		{
			"texts of any shape", `[{"role":"human","content":["a",{"text":"b"},{"type":"text","text":"c"},{"type":"text","content":"d"},{"type":"output_text","text":"e"},{"type":"text","content":""}]}]`,
			`[{"parts":[{"content":"a","type":"text"},{"content":"b","type":"text"},{"content":"c","type":"text"},{"content":"d","type":"text"},{"content":"e","type":"text"}],"role":"user"}]`, ContentFull,
		},
		{"one message", `{"role":"user","content":"a"}`, `[{"parts":[{"content":"a","type":"text"}],"role":"user"}]`, ContentFull},
		{"unknown types stay", user(`{"type":"compaction","id":"c","content":"x"}`), `[{"parts":[{"content":"x","id":"c","type":"compaction"}],"role":"user"}]`, ContentFull},
		{"a text kept back", user(`{"type":"text","text":"<REDACTED>"},{"type":"text","text":"a"}`), `[{"parts":[{"content":"a","type":"text"}],"role":"user"}]`, ContentPartial},
		{"nothing but hidden", user(`{"type":"image_url","image_url":{"url":"__REDACTED__"}},{"type":"text","text":"__REDACTED__"}`), `[]`, ContentNone},
		{"no messages", `[]`, `[]`, ContentNone},
		{"null", `null`, `[]`, ContentNone},
		{"not messages", `[1]`, `[]`, ContentUnparsed},
		{"a number", `1`, `[]`, ContentUnparsed},
		{"objects of another kind", `[{"x":1}]`, `[]`, ContentUnparsed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := fixture{scope: "x", span: "chat", attrs: attrs{"gen_ai.operation.name": "chat", "gen_ai.input.messages": tt.in}}
			it := f.read(t)
			assert.JSONEq(t, tt.want, stored(it.Content.Messages))
			assert.Equal(t, tt.complete, it.PromptCompleteness)
			if tt.complete == ContentUnparsed {
				require.Len(t, it.Unparsed, 1)
				assert.Equal(t, reasonWrongShape, it.Unparsed[0].Reason)
				return
			}
			assert.Empty(t, it.Unparsed)
			// The same, structured.
			v, reason := parse(tt.in, &memory{Limits: DefaultLimits})
			require.Empty(t, reason)
			if v.Len() > 0 {
				f.attrs["gen_ai.input.messages"] = raw(v)
				structured := f.read(t)
				assert.Equal(t, stored(it.Content.Messages), stored(structured.Content.Messages))
				assert.Equal(t, it.PromptCompleteness, structured.PromptCompleteness)
			}
		})
	}
}

func TestStructuredValues(t *testing.T) {
	read := func(v any, lim Limits) Interaction {
		res, scope, span := fixture{scope: "x", span: "chat", attrs: attrs{"gen_ai.operation.name": "chat", "gen_ai.input.messages": v}}.build(t)
		return ReadSpan(ReadResource(res), scope, span, lim)
	}
	t.Run("bytes become base64", func(t *testing.T) {
		it := read([]any{attrs{"role": "user", "parts": []any{attrs{"type": "blob", "mime_type": "image/png", "content": []byte("\x89PNG")}}}}, DefaultLimits)
		assert.Equal(t, "iVBORw==", it.Content.Messages[0].Parts[0].Data)
	})
	t.Run("numbers and truths in arguments", func(t *testing.T) {
		it := read([]any{attrs{"role": "assistant", "parts": []any{attrs{"type": "tool_call", "id": "1", "name": "f", "arguments": attrs{"i": int64(1), "f": 1.5, "b": true, "n": nil}}}}}, DefaultLimits)
		assert.Equal(t, `{"b":true,"f":1.5,"i":1,"n":null}`, string(it.Content.Messages[0].Parts[0].Value.Append(nil)))
	})
	for name, lim := range map[string]Limits{
		reasonTooDeep:  {MaxDepth: 2},
		ReasonTooLarge: {MaxNodes: 3},
	} {
		t.Run(name, func(t *testing.T) {
			it := read([]any{attrs{"role": "user", "parts": []any{attrs{"type": "text", "content": "x"}}}}, lim)
			require.Len(t, it.Unparsed, 1)
			assert.Equal(t, name, it.Unparsed[0].Reason)
			assert.Len(t, it.Unparsed[0].SHA256, 64)
			assert.Positive(t, it.Unparsed[0].Bytes)
			assert.Equal(t, ContentUnparsed, it.PromptCompleteness)
			assert.NotContains(t, it.Unparsed[0].SHA256, "x")
		})
	}
	t.Run("too many bytes", func(t *testing.T) {
		it := read([]any{attrs{"role": "user", "content": strings.Repeat("x", 100)}}, Limits{MaxContentBytes: 50})
		assert.Equal(t, ReasonTooLarge, it.Unparsed[0].Reason)
	})
	t.Run("too many messages", func(t *testing.T) {
		it := read([]any{attrs{"role": "user", "content": "a"}, attrs{"role": "user", "content": "b"}}, Limits{MaxMessages: 1})
		assert.Equal(t, ReasonTooLarge, it.Unparsed[0].Reason)
		assert.Equal(t, ContentUnparsed, it.PromptCompleteness)
	})
	t.Run("neither text nor structured", func(t *testing.T) {
		it := read(int64(1), DefaultLimits)
		assert.Equal(t, reasonWrongShape, it.Unparsed[0].Reason)
	})
	t.Run("the hash tells values apart", func(t *testing.T) {
		lim := Limits{MaxNodes: 1}
		a := read([]any{attrs{"content": "a"}}, lim).Unparsed[0].SHA256
		b := read([]any{attrs{"content": "b"}}, lim).Unparsed[0].SHA256
		assert.NotEqual(t, a, b)
		assert.Equal(t, a, read([]any{attrs{"content": "a"}}, lim).Unparsed[0].SHA256)
	})
}

func TestSystemInstructions(t *testing.T) {
	for name, in := range map[string]any{
		"parts":             `[{"type":"text","content":"Be brief."}]`,
		"structured parts":  []any{attrs{"type": "text", "content": "Be brief."}},
		"a text":            "Be brief.",
		"a JSON text":       `"Be brief."`,
		"one part":          `{"type":"text","content":"Be brief."}`,
		"litellm, messages": `[{"role":"system","parts":[{"type":"text","content":"Be brief."}]}]`,
	} {
		t.Run(name, func(t *testing.T) {
			it := fixture{scope: "x", span: "chat", attrs: attrs{"gen_ai.operation.name": "chat", "gen_ai.system_instructions": in}}.read(t)
			assert.JSONEq(t, `[{"content":"Be brief.","type":"text"}]`, storedParts(it.Content.System))
			assert.Equal(t, ContentFull, it.PromptCompleteness)
			assert.Empty(t, it.Unparsed)
		})
	}
}

func TestNumbersOfAnyType(t *testing.T) {
	for name, v := range map[string]any{"an integer": int64(7), "a double": 7.0, "text": "7"} {
		t.Run(name, func(t *testing.T) {
			it := fixture{scope: "x", span: "chat", attrs: attrs{"gen_ai.operation.name": "chat", "gen_ai.usage.input_tokens": v}}.read(t)
			assert.Equal(t, n(7), it.PromptTokens)
		})
	}
	for name, v := range map[string]any{"negative": int64(-1), "a fraction": 1.5, "huge": 1e300, "empty": "", "a word": "x", "a list": []any{int64(1)}, "true": true} {
		t.Run(name, func(t *testing.T) {
			it := fixture{scope: "x", span: "chat", attrs: attrs{"gen_ai.operation.name": "chat", "gen_ai.usage.input_tokens": v}}.read(t)
			assert.Nil(t, it.PromptTokens)
		})
	}
}

func TestLogfireResponseData(t *testing.T) {
	read := func(response string) Interaction {
		return fixture{scope: "logfire.anthropic", span: "x", attrs: attrs{
			"logfire.msg_template": "x", "gen_ai.operation.name": "chat", "response_data": response,
			"request_data": `{"messages":[{"role":"user","content":"my [Scrubbed due to 'password']"}]}`, "gen_ai.input.messages": `[{"role":"user","parts":[{"type":"text","content":"my password"}]}]`,
		}}.read(t)
	}
	it := read(`{"message":{"role":"assistant","content":"Let me look that up.","tool_calls":[{"id":"toolu_1","function":{"name":"get_weather","arguments":"{\"input\":{\"city\":\"Zurich\"}}"}}]},` +
		`"usage":{"input_tokens":3,"output_tokens":4,"cache_read_input_tokens":2}}`)
	assert.JSONEq(t, weatherCall, stored(it.Content.Output))
	assert.Equal(t, ContentTextOnly, it.ResponseCompleteness)
	assert.Equal(t, n(5), it.PromptTokens)
	assert.Equal(t, n(2), it.CacheReadTokens)
	assert.JSONEq(t, `[{"parts":[{"content":"my password","type":"text"}],"role":"user"}]`, stored(it.Content.Messages), "the scrubbed request isn't taken")
	assert.Equal(t, ContentNone, read(`{"combined_chunk_content":"","chunk_count":0}`).ResponseCompleteness)
}

func TestLangfuseOutputs(t *testing.T) {
	for name, out := range map[string]string{
		"text":             "Paris.",
		"JSON text":        `"Paris."`,
		"message":          `{"role":"assistant","content":"Paris."}`,
		"messages":         `[{"role":"assistant","content":"Paris."}]`,
		"blocks":           `[{"type":"text","text":"Paris."}]`,
		"response":         `{"id":"msg_1","type":"message","role":"assistant","content":[{"type":"text","text":"Paris."}],"stop_reason":"end_turn"}`,
		"chat completions": `{"choices":[{"message":{"role":"assistant","content":"Paris."},"finish_reason":"stop"}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			it := fixture{scope: "langfuse-sdk", span: "x", attrs: attrs{
				"langfuse.observation.type": "generation", "langfuse.observation.output": out, "langfuse.observation.input": `{"messages":[{"role":"user","content":"Hi"}],"system":"Be brief."}`,
			}}.read(t)
			assert.JSONEq(t, paris, stored(it.Content.Output))
			assert.JSONEq(t, `[{"content":"Be brief.","type":"text"}]`, storedParts(it.Content.System))
			assert.Equal(t, ContentFull, it.PromptCompleteness)
			assert.NotEqual(t, ContentNone, it.ResponseCompleteness)
		})
	}
}

func TestJoinWholeParts(t *testing.T) {
	span := fixture{scope: "litellm", span: "raw_gen_ai_request", attrs: attrs{
		"llm.anthropic.system": "Be brief.", "llm.anthropic.messages": "[{'role': 'user', 'content': 'Hi'}]", "llm.anthropic.content": "[{'type': 'text', 'text': 'Paris.'}]", "llm.anthropic.role": "assistant",
	}}.read(t)
	it := Join([]Interaction{span})
	assert.JSONEq(t, `[{"content":"Be brief.","type":"text"}]`, storedParts(it.Content.System))
	assert.JSONEq(t, paris, stored(it.Content.Output))
	assert.Equal(t, ContentFull, it.PromptCompleteness)
	assert.Equal(t, ContentFull, it.ResponseCompleteness)
}

func TestTraceloopChoicesAreOneMessage(t *testing.T) {
	scope := "opentelemetry.instrumentation.anthropic"
	first := readRecord(t, scope, logRecord(t, "gen_ai.choice", attrs{"index": 0, "message": attrs{"content": "Let me look that up."}, "finish_reason": "tool_call"}, nil))
	second := readRecord(t, scope, logRecord(t, "gen_ai.choice", attrs{
		"index": 1, "message": attrs{"content": nil}, "finish_reason": "tool_call",
		"tool_calls": []any{attrs{"id": "toolu_1", "type": "function", "function": attrs{"name": "get_weather", "arguments": attrs{"city": "Zurich"}}}},
	}, nil))
	tools := readRecord(t, scope, logRecord(t, "gen_ai.user.message", attrs{"content": attrs{"tools": []any{attrs{"name": "get_weather"}}}}, nil))
	question := readRecord(t, scope, logRecord(t, "gen_ai.user.message", attrs{"content": "Hi"}, nil))
	it := Join([]Interaction{question, tools, first, second})
	assert.JSONEq(t, weatherCall, stored(it.Content.Output))
	assert.Equal(t, ContentFull, it.PromptCompleteness, "the definitions of tools are no message")
	assert.Equal(t, ContentFull, it.ResponseCompleteness)
	assert.JSONEq(t, weatherCall, stored(Join([]Interaction{first, second}).Content.Output), "Join leaves its parts alone")
}

func TestPlaceholdersAreNeverContent(t *testing.T) {
	for _, p := range []string{"<REDACTED>", "__REDACTED__"} {
		require.True(t, isPlaceholder(p))
		require.True(t, conversation.IsPlaceholder(p))
	}
}

// raw turns JSON into what an attribute is made of.
func raw(v jcs.Value) any {
	var out any
	if err := json.Unmarshal(v.Append(nil), &out); err != nil {
		panic(err)
	}
	return out
}
