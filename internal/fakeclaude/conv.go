package fakeclaude

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

// conv is what a reply is planned from, whatever the wire format was.
type conv struct {
	model       string
	stream      bool
	lastText    string // text blocks of the last user message, joined by "\n"
	toolResult  string // text of the tool results of the last message
	hasResult   bool
	rounds      int // tool results since the message that holds the directive
	directive   Directive
	chars       int // characters of text in the whole prompt
	cachedChars int // the part of them up to the last cache_control mark
	cacheKey    string
	tools       []toolDef
	forceTool   string // tool_choice: a name, or "*" for any
	thinking    bool
	schema      json.RawMessage // structured output
	stopSeqs    []string
	maxTokens   int
}

type toolDef struct {
	Name   string          `json:"name"`
	Type   string          `json:"type"`
	Schema json.RawMessage `json:"input_schema"`
}

type block map[string]json.RawMessage

func (b block) s(k string) string {
	var s string
	_ = json.Unmarshal(b[k], &s)
	return s
}

// blocks decodes content that is a string or a list of blocks.
func blocks(raw json.RawMessage) ([]block, error) {
	raw = bytes.TrimSpace(raw)
	if len(raw) == 0 || bytes.Equal(raw, []byte("null")) {
		return nil, nil
	}
	if raw[0] == '"' {
		var s string
		if err := json.Unmarshal(raw, &s); err != nil {
			return nil, err
		}
		t, _ := json.Marshal(s)
		return []block{{"type": json.RawMessage(`"text"`), "text": t}}, nil
	}
	var bs []block
	return bs, json.Unmarshal(raw, &bs)
}

func textOf(raw json.RawMessage) string {
	bs, _ := blocks(raw)
	var out []string
	for _, b := range bs {
		if t := b.s("text"); t != "" {
			out = append(out, t)
		}
	}
	return strings.Join(out, "\n")
}

type apiErr struct {
	status int
	typ    string
	msg    string
}

func bad(format string, a ...any) *apiErr {
	return &apiErr{400, "invalid_request_error", fmt.Sprintf(format, a...)}
}

var requestBlockTypes = map[string]bool{
	"text": true, "image": true, "document": true, "search_result": true, "thinking": true,
	"redacted_thinking": true, "tool_use": true, "tool_result": true, "server_tool_use": true,
	"web_search_tool_result": true, "web_fetch_tool_result": true, "code_execution_tool_result": true,
	"bash_code_execution_tool_result": true, "text_editor_code_execution_tool_result": true,
	"tool_search_tool_result": true, "container_upload": true, "advisor_tool_result": true,
	"mcp_tool_use": true, "mcp_tool_result": true, "compaction": true, "tool_addition": true,
	"tool_removal": true, "mcp_tool_listing": true, "fallback": true,
}

type messagesReq struct {
	Model     string          `json:"model"`
	MaxTokens *int            `json:"max_tokens"`
	Stream    bool            `json:"stream"`
	System    json.RawMessage `json:"system"`
	Messages  []struct {
		Role    string          `json:"role"`
		Content json.RawMessage `json:"content"`
	} `json:"messages"`
	Tools      []toolDef `json:"tools"`
	ToolChoice struct {
		Type string `json:"type"`
		Name string `json:"name"`
	} `json:"tool_choice"`
	Thinking struct {
		Type string `json:"type"`
	} `json:"thinking"`
	Stop         []string `json:"stop_sequences"`
	OutputConfig struct {
		Format struct {
			Schema json.RawMessage `json:"schema"`
		} `json:"format"`
	} `json:"output_config"`
	OutputFormat struct {
		Schema json.RawMessage `json:"schema"`
	} `json:"output_format"`
}

func parseMessages(body []byte, needModel, needMax, strict bool) (*conv, *apiErr) {
	var m messagesReq
	if err := json.Unmarshal(body, &m); err != nil {
		if _, ok := err.(*json.SyntaxError); ok || len(bytes.TrimSpace(body)) == 0 {
			return nil, bad("The request body is not valid JSON: %v", err)
		}
		return nil, bad("%v", err)
	}
	if needModel && m.Model == "" {
		return nil, bad("model: Field required")
	}
	if needMax && m.MaxTokens == nil {
		return nil, bad("max_tokens: Field required")
	}
	if m.MaxTokens != nil && *m.MaxTokens < 1 && needMax {
		return nil, bad("max_tokens: must be greater than or equal to 1")
	}
	if len(m.Messages) == 0 {
		return nil, bad("messages: at least one message is required")
	}
	if m.Messages[0].Role != "user" {
		return nil, bad("messages: first message must use the \"user\" role")
	}
	c := &conv{
		model: m.Model, stream: m.Stream, tools: m.Tools, stopSeqs: m.Stop,
		thinking: m.Thinking.Type == "enabled" || m.Thinking.Type == "adaptive", schema: m.OutputConfig.Format.Schema,
	}
	if c.schema == nil {
		c.schema = m.OutputFormat.Schema
	}
	if m.MaxTokens != nil {
		c.maxTokens = *m.MaxTokens
	}
	switch m.ToolChoice.Type {
	case "tool":
		c.forceTool = m.ToolChoice.Name
	case "any":
		c.forceTool = "*"
	}
	var prefix bytes.Buffer
	mark := func(raw json.RawMessage) {
		if bytes.Contains(raw, []byte(`"cache_control"`)) {
			c.cachedChars = c.chars
			c.cacheKey = sha(prefix.Bytes())
		}
	}
	for _, t := range m.Tools {
		c.chars += len(t.Schema)
		prefix.Write(t.Schema)
	}
	if bs, err := blocks(m.System); err != nil {
		return nil, bad("system: %v", err)
	} else {
		for _, b := range bs {
			c.chars += len(b.s("text"))
			prefix.Write(b["text"])
		}
		mark(m.System)
	}
	for i, msg := range m.Messages {
		if msg.Role != "user" && msg.Role != "assistant" && (msg.Role != "system" || i == 0) {
			return nil, bad("messages.%d.role: Input should be 'user' or 'assistant'", i)
		}
		bs, err := blocks(msg.Content)
		if err != nil {
			return nil, bad("messages.%d.content: %v", i, err)
		}
		if len(bs) == 0 && i != len(m.Messages)-1 {
			return nil, bad("messages.%d: all messages must have non-empty content except for the optional final assistant message", i)
		}
		var texts []string
		var results []string
		for j, b := range bs {
			typ := b.s("type")
			if typ == "" {
				return nil, bad("messages.%d.content.%d.type: Field required", i, j)
			}
			if strict && !requestBlockTypes[typ] {
				return nil, bad("messages.%d.content.%d: Input tag '%s' found using 'type' does not match any of the expected tags", i, j, typ)
			}
			switch typ {
			case "text":
				t := b.s("text")
				c.chars += len(t)
				texts = append(texts, t)
			case "tool_result":
				t := textOf(b["content"])
				c.chars += len(t)
				results = append(results, t)
			default:
				c.chars += 64
			}
			prefix.WriteString(typ)
			prefix.Write(b["text"])
		}
		mark(msg.Content)
		if msg.Role == "user" {
			c.turn(texts, results)
		}
	}
	return c, nil
}

func (c *conv) turn(texts, results []string) {
	c.lastText = strings.Join(texts, "\n")
	c.toolResult = strings.Join(results, "\n")
	c.hasResult = len(results) > 0
	if c.hasResult {
		c.rounds++
	}
	if d, ok := FindDirective(c.lastText); ok {
		c.directive, c.rounds = d, 0
	} else if !c.hasResult {
		c.directive, c.rounds = nil, 0
	}
}

// converse request -> conv
func parseConverse(model string, body []byte) (*conv, *apiErr) {
	var m struct {
		Messages []struct {
			Role    string                       `json:"role"`
			Content []map[string]json.RawMessage `json:"content"`
		} `json:"messages"`
		System []struct {
			Text string `json:"text"`
		} `json:"system"`
		InferenceConfig struct {
			MaxTokens     int      `json:"maxTokens"`
			StopSequences []string `json:"stopSequences"`
		} `json:"inferenceConfig"`
		ToolConfig struct {
			Tools []struct {
				ToolSpec struct {
					Name        string `json:"name"`
					InputSchema struct {
						JSON json.RawMessage `json:"json"`
					} `json:"inputSchema"`
				} `json:"toolSpec"`
			} `json:"tools"`
			ToolChoice map[string]struct {
				Name string `json:"name"`
			} `json:"toolChoice"`
		} `json:"toolConfig"`
		Additional struct {
			Thinking struct {
				Type string `json:"type"`
			} `json:"thinking"`
		} `json:"additionalModelRequestFields"`
	}
	if err := json.Unmarshal(body, &m); err != nil {
		return nil, bad("The request body is malformed: %v", err)
	}
	if len(m.Messages) == 0 || m.Messages[0].Role != "user" {
		return nil, bad("A conversation must start with a user message. Try again with a conversation that starts with a user message.")
	}
	c := &conv{
		model: model, stopSeqs: m.InferenceConfig.StopSequences, maxTokens: m.InferenceConfig.MaxTokens,
		thinking: m.Additional.Thinking.Type != "" && m.Additional.Thinking.Type != "disabled",
	}
	for _, s := range m.System {
		c.chars += len(s.Text)
	}
	for _, t := range m.ToolConfig.Tools {
		if t.ToolSpec.Name != "" {
			c.tools = append(c.tools, toolDef{Name: t.ToolSpec.Name, Schema: t.ToolSpec.InputSchema.JSON})
		}
	}
	if t, ok := m.ToolConfig.ToolChoice["tool"]; ok {
		c.forceTool = t.Name
	}
	if _, ok := m.ToolConfig.ToolChoice["any"]; ok {
		c.forceTool = "*"
	}
	for _, msg := range m.Messages {
		var texts, results []string
		for _, b := range msg.Content {
			if raw, ok := b["text"]; ok {
				var t string
				_ = json.Unmarshal(raw, &t)
				c.chars += len(t)
				texts = append(texts, t)
			}
			if raw, ok := b["toolResult"]; ok {
				var tr struct {
					Content []map[string]json.RawMessage `json:"content"`
				}
				_ = json.Unmarshal(raw, &tr)
				var parts []string
				for _, p := range tr.Content {
					if x, ok := p["text"]; ok {
						var t string
						_ = json.Unmarshal(x, &t)
						parts = append(parts, t)
					} else if x, ok := p["json"]; ok {
						parts = append(parts, string(x))
					}
				}
				results = append(results, strings.Join(parts, "\n"))
			}
		}
		if msg.Role == "user" {
			c.turn(texts, results)
		}
	}
	return c, nil
}

// sample builds the smallest value that fits a JSON schema.
func sample(raw json.RawMessage, depth int) any {
	var s struct {
		Type       any                        `json:"type"`
		Enum       []any                      `json:"enum"`
		Const      any                        `json:"const"`
		Properties map[string]json.RawMessage `json:"properties"`
		Required   []string                   `json:"required"`
		Items      json.RawMessage            `json:"items"`
	}
	_ = json.Unmarshal(raw, &s)
	if s.Const != nil {
		return s.Const
	}
	if len(s.Enum) > 0 {
		return s.Enum[0]
	}
	t, _ := s.Type.(string)
	if l, ok := s.Type.([]any); ok && len(l) > 0 {
		t, _ = l[0].(string)
	}
	switch t {
	case "string":
		return "sample"
	case "integer", "number":
		return 1
	case "boolean":
		return true
	case "array":
		return []any{}
	default:
		m := map[string]any{}
		if depth < 6 {
			for _, k := range s.Required {
				m[k] = sample(s.Properties[k], depth+1)
			}
		}
		return m
	}
}
