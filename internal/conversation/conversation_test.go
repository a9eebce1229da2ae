package conversation

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	independent "github.com/gowebpki/jcs"
	"github.com/stretchr/testify/require"

	"github.com/claudeaudit/claudeaudit/internal/jcs"
)

func parse(t testing.TB, s string) jcs.Value {
	t.Helper()
	v, err := jcs.Parse(s, jcs.DefaultLimits)
	require.NoError(t, err)
	return v
}

func messages(t testing.TB, s string) []Message {
	t.Helper()
	m, err := ParseMessages(parse(t, s))
	require.NoError(t, err)
	return m
}

func sum(s string) string {
	h := sha256.Sum256([]byte(s))
	return hex.EncodeToString(h[:])
}

const pixel = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="

func pixelSum(t testing.TB) string {
	t.Helper()
	raw, err := base64.StdEncoding.DecodeString(pixel)
	require.NoError(t, err)
	return sum(string(raw))
}

// One conversation, as different clients tell it.
var tellings = []struct{ name, system, messages string }{
	{
		"semantic conventions",
		`[{"type":"text","content":"Be brief."}]`,
		`[{"role":"user","parts":[{"type":"text","content":"Weather in Zürich?\n\"now\""},{"type":"blob","modality":"image","mime_type":"image/png","content":"` + pixel + `"}],"name":null},
		  {"role":"assistant","parts":[{"type":"reasoning","content":"Look it up."},{"type":"text","content":"Let me see."},{"type":"tool_call","id":"t1","name":"get_weather","arguments":{"unit":"celsius","city":"Zürich"}},{"type":"tool_call","id":"t2","name":"now","arguments":{}}],"finish_reason":"tool_call"},
		  {"role":"user","parts":[{"type":"tool_call_response","id":"t1","response":[{"type":"text","text":"18 degrees"},{"type":"text","text":"cloudy"}]},{"type":"tool_call_response","id":"t2","response":"noon"},{"type":"text","content":"And tomorrow?"}]}]`,
	},
	{
		"system message first, arguments as text, results in messages of role tool",
		`[]`,
		`[{"role":"system","parts":[{"type":"text","content":"Be brief."}]},
		  {"role":"human","parts":[{"type":"text","text":"Weather in Z\u00fcrich?\n\"now\""},{"type":"uri","modality":"image","uri":"data:image/png;base64,` + strings.TrimRight(pixel, "=") + `"}]},
		  {"role":"ai","parts":[{"type":"thinking","content":"Look it up.","signature":"c2ln"},{"type":"text","content":"Let me see."},{"type":"tool_call","id":"t1","name":"get_weather","arguments":"{\"city\": \"Zürich\", \"unit\": \"celsius\"}"},{"type":"tool_call","id":"t2","name":"now"}],"finish_reason":"tool_use"},
		  {"role":"tool","parts":[{"type":"tool_call_response","id":"t1","result":"18 degrees\ncloudy"}]},
		  {"role":"tool","parts":[{"type":"tool_call_response","id":"t2","content":[{"text":"noon"}]}]},
		  {"role":"user","parts":[{"type":"text","content":""},{"type":"text","content":"And tomorrow?","cache_control":{"type":"ephemeral"}}]},
		  {"role":"assistant","parts":[]}]`,
	},
	{
		"chat completions",
		`"Be brief."`,
		`[{"role":"user","content":[{"type":"text","text":"Weather in Zürich?\n\"now\""},{"type":"image_url","image_url":{"url":"DATA:image/PNG;base64,` + strings.ReplaceAll(pixel, "=", "%3D") + `"}}]},
		  {"role":"assistant","content":[{"type":"reasoning","content":"Look it up."},{"type":"text","text":"Let me see."}],"tool_calls":[{"id":"t1","type":"function","function":{"name":"get_weather","arguments":"{\"city\":\"Zürich\",\"unit\":\"celsius\"}"}},{"id":"t2","type":"function","function":{"name":"now","arguments":""}}]},
		  {"role":"function","tool_call_id":"t1","content":"18 degrees\ncloudy"},
		  {"role":"tool","tool_call_id":"t2","content":"noon"},
		  {"role":"user","content":"And tomorrow?"}]`,
	},
}

// The canonical prompt of all of them, as it is documented.
func canonicalPrompt(blob string) string {
	return `{"messages":[` +
		`{"parts":[{"content":"Weather in Zürich?\n\"now\"","type":"text"},` + blob + `],"role":"user"},` +
		`{"parts":[{"content":"Look it up.","type":"reasoning"},{"content":"Let me see.","type":"text"},` +
		`{"arguments":{"city":"Zürich","unit":"celsius"},"id":"t1","name":"get_weather","type":"tool_call"},` +
		`{"arguments":{},"id":"t2","name":"now","type":"tool_call"}],"role":"assistant"},` +
		`{"parts":[{"id":"t1","response":"18 degrees\ncloudy","type":"tool_call_response"}],"role":"tool"},` +
		`{"parts":[{"id":"t2","response":"noon","type":"tool_call_response"}],"role":"tool"},` +
		`{"parts":[{"content":"And tomorrow?","type":"text"}],"role":"user"}` +
		`],"system":[{"content":"Be brief.","type":"text"}]}`
}

func TestSameConversationSameHash(t *testing.T) {
	hashed := canonicalPrompt(`{"mime_type":"image/png","sha256":"` + pixelSum(t) + `","type":"blob"}`)
	stored := canonicalPrompt(`{"content":"` + pixel + `","mime_type":"image/png","type":"blob"}`)
	for _, tt := range tellings {
		t.Run(tt.name, func(t *testing.T) {
			system, err := ParseParts(parse(t, tt.system))
			require.NoError(t, err)
			c := Conversation{System: system, Messages: messages(t, tt.messages)}
			require.Equal(t, Gaps{}, c.Normalize())
			got := string(AppendMessages([]byte(`{"messages":`), c.Messages, Stored))
			got = string(AppendParts([]byte(got+`,"system":`), c.System, Stored)) + "}"
			require.Equal(t, stored, got)
			require.Equal(t, sum(hashed), PromptHash(c.System, c.Messages))
			require.Equal(t, sum(hashed[len(`{"messages":`):strings.Index(hashed, `,"system":`)]), ResponseHash(c.Messages))

			back := Conversation{Messages: messages(t, string(AppendMessages(nil, c.Messages, Stored)))}
			back.System, err = ParseParts(parse(t, string(AppendParts(nil, c.System, Stored))))
			require.NoError(t, err)
			require.Equal(t, sum(hashed), PromptHash(back.System, back.Messages), "read back")
		})
	}
}

func TestNoContentNoHash(t *testing.T) {
	require.Empty(t, PromptHash(nil, nil))
	require.Empty(t, PromptHash([]Part{}, []Message{{Role: RoleUser}}))
	require.Empty(t, ResponseHash(nil))
	require.Empty(t, ResponseHash([]Message{{Role: RoleAssistant}}))
	require.NotEmpty(t, PromptHash([]Part{Text("x")}, nil))
	for _, placeholder := range []string{"<REDACTED>", "__REDACTED__"} {
		c := Conversation{
			System:   []Part{Text(placeholder)},
			Messages: []Message{{Role: RoleUser, Parts: []Part{Text(placeholder)}}},
			Output:   []Message{{Role: RoleAssistant, Parts: []Part{{Type: PartReasoning, Value: jcs.String(placeholder)}}}},
		}
		require.Equal(t, Gaps{Prompt: true, Output: true}, c.Normalize())
		require.False(t, c.HasPrompt())
		require.False(t, c.HasOutput())
		require.Empty(t, PromptHash(c.System, c.Messages))
		require.Empty(t, ResponseHash(c.Output))
	}
}

func TestNormalize(t *testing.T) {
	tests := []struct {
		name     string
		in       string // messages
		system   string // system afterwards
		messages string // messages afterwards
		gap      bool
	}{
		{"empty", `[]`, `[]`, `[]`, false},
		{
			"system messages that lead are the system's, later ones stay",
			`[{"role":"System","parts":[{"type":"text","content":"a"}]},{"role":"developer","content":"b"},{"role":"user","content":"c"},{"role":"system","content":"d"}]`,
			`[{"content":"a","type":"text"},{"content":"b","type":"text"}]`,
			`[{"parts":[{"content":"c","type":"text"}],"role":"user"},{"parts":[{"content":"d","type":"text"}],"role":"system"}]`,
			false,
		},
		{
			"role names",
			`[{"role":"human","content":"a"},{"role":"AI","content":"b"},{"role":"model","content":"c"},{"role":"function","content":"d"},{"role":" Critic ","content":"e"},{"content":"f"}]`,
			`[]`,
			`[{"parts":[{"content":"a","type":"text"}],"role":"user"},{"parts":[{"content":"b","type":"text"}],"role":"assistant"},{"parts":[{"content":"c","type":"text"}],"role":"assistant"},{"parts":[{"content":"d","type":"text"}],"role":"tool"},{"parts":[{"content":"e","type":"text"}],"role":"critic"},{"parts":[{"content":"f","type":"text"}],"role":""}]`,
			false,
		},
		{
			"tool results between texts",
			`[{"role":"user","parts":["before",{"type":"tool_call_response","id":"1","response":"r"},"between",{"type":"tool_call_response","id":"2","response":{"a":[1.0]}}]}]`,
			`[]`,
			`[{"parts":[{"content":"before","type":"text"}],"role":"user"},{"parts":[{"id":"1","response":"r","type":"tool_call_response"}],"role":"tool"},{"parts":[{"content":"between","type":"text"}],"role":"user"},{"parts":[{"id":"2","response":{"a":[1]},"type":"tool_call_response"}],"role":"tool"}]`,
			false,
		},
		{
			"tool result of blocks that aren't only texts",
			`[{"role":"tool","parts":[{"type":"tool_call_response","id":"1","response":[{"type":"text","text":"t","cache_control":{}},{"type":"image","source":{"type":"url","url":"u"}}]}]}]`,
			`[]`,
			`[{"parts":[{"id":"1","response":[{"text":"t","type":"text"},{"source":{"type":"url","url":"u"},"type":"image"}],"type":"tool_call_response"}],"role":"tool"}]`,
			false,
		},
		{
			"tool result of nothing",
			`[{"role":"tool","parts":[{"type":"tool_call_response","id":"1","response":[]}]},{"role":"tool","parts":[{"type":"tool_call_response","id":"2","response":null}]},{"role":"tool","parts":[{"type":"tool_call_response","id":"3"}]}]`,
			`[]`,
			`[{"parts":[{"id":"1","response":"","type":"tool_call_response"}],"role":"tool"},{"parts":[{"id":"2","response":"","type":"tool_call_response"}],"role":"tool"},{"parts":[{"id":"3","response":"","type":"tool_call_response"}],"role":"tool"}]`,
			false,
		},
		{
			"a list of data that looks like blocks stays data",
			`[{"role":"tool","parts":[{"type":"tool_call_response","id":"1","response":[{"text":"t","n":1}]}]}]`,
			`[]`,
			`[{"parts":[{"id":"1","response":[{"n":1,"text":"t"}],"type":"tool_call_response"}],"role":"tool"}]`,
			false,
		},
		{
			"arguments",
			`[{"role":"assistant","parts":[{"type":"tool_call","arguments":" {\"b\":1,\"a\":2} "},{"type":"tool_call","arguments":"{\"b\":"},{"type":"tool_call","arguments":"[1]"},{"type":"tool_call","arguments":[1]},{"type":"tool_call","arguments":null},{"type":"server_tool_call","id":"s","name":"web_search","server_tool_call":{"query":"q"}}]}]`,
			`[]`,
			`[{"parts":[{"arguments":{"a":2,"b":1},"id":"","name":"","type":"tool_call"},{"arguments":"{\"b\":","id":"","name":"","type":"tool_call"},{"arguments":"[1]","id":"","name":"","type":"tool_call"},{"arguments":[1],"id":"","name":"","type":"tool_call"},{"arguments":{},"id":"","name":"","type":"tool_call"},{"arguments":{"query":"q"},"id":"s","name":"web_search","type":"tool_call"}],"role":"assistant"}]`,
			false,
		},
		{
			"unknown parts are kept with their members",
			`[{"role":"user","parts":[{"type":"compaction","id":"c","content":"summary","cache_control":{}},{"type":"file","file_id":"f","modality":"document"},{"type":"uri","uri":"https://example.com/a.png"},{"type":"audio","x":{"b":1,"a":2}},7,{"type":"text","content":{"odd":true}}]}]`,
			`[]`,
			`[{"parts":[{"content":"summary","id":"c","type":"compaction"},{"file_id":"f","type":"file"},{"type":"uri","uri":"https://example.com/a.png"},{"type":"audio","x":{"a":2,"b":1}},{"type":"","value":7},{"content":{"odd":true},"type":"text"}],"role":"user"}]`,
			false,
		},
		{
			"an image without its bytes is a gap, and stays",
			`[{"role":"user","parts":[{"type":"anthropic_image"},{"type":"text","content":"what is this?"}]}]`,
			`[]`,
			`[{"parts":[{"type":"anthropic_image"},{"content":"what is this?","type":"text"}],"role":"user"}]`,
			true,
		},
		{
			"a blob without its bytes is a gap, and stays",
			`[{"role":"user","parts":[{"type":"blob","mime_type":"image/png","content":""}]}]`,
			`[]`,
			`[{"parts":[{"mime_type":"image/png","type":"blob"}],"role":"user"}]`,
			true,
		},
		{
			"a text without its content is a gap",
			`[{"role":"user","parts":[{"type":"text"}]},{"role":"user","content":"x"}]`,
			`[]`,
			`[{"parts":[{"content":"x","type":"text"}],"role":"user"}]`,
			true,
		},
		{
			"a placeholder for arguments or a result is a gap",
			`[{"role":"assistant","parts":[{"type":"tool_call","id":"1","name":"f","arguments":"<REDACTED>"}]},{"role":"tool","parts":[{"type":"tool_call_response","id":"1","response":"__REDACTED__"}]}]`,
			`[]`,
			`[{"parts":[{"arguments":{},"id":"1","name":"f","type":"tool_call"}],"role":"assistant"},{"parts":[{"id":"1","response":"","type":"tool_call_response"}],"role":"tool"}]`,
			true,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := Conversation{Messages: messages(t, tt.in)}
			gaps := c.Normalize()
			require.Equal(t, tt.gap, gaps.Prompt)
			require.False(t, gaps.Output)
			require.JSONEq(t, tt.system, string(AppendParts(nil, c.System, Stored)))
			require.Equal(t, tt.messages, string(AppendMessages(nil, c.Messages, Stored)))
			c.Normalize()
			require.Equal(t, tt.messages, string(AppendMessages(nil, c.Messages, Stored)), "twice")
		})
	}
}

func TestOutputIsTheAssistants(t *testing.T) {
	c := Conversation{Output: []Message{{Parts: []Part{
		Text("a"), {Type: PartToolCallResponse, ID: "1", Value: jcs.String("r")}, Text("b"),
	}, FinishReason: "end_turn"}}}
	c.Normalize()
	require.Equal(t, `[{"parts":[{"content":"a","type":"text"}],"role":"assistant"},{"parts":[{"id":"1","response":"r","type":"tool_call_response"}],"role":"tool"},{"parts":[{"content":"b","type":"text"}],"role":"assistant"}]`,
		string(AppendMessages(nil, c.Output, Hashed)))
	require.Empty(t, c.Output[0].FinishReason)
	require.Equal(t, "end_turn", c.Output[2].FinishReason)
}

func TestTexts(t *testing.T) {
	m := messages(t, `[{"role":"user","parts":["a",{"type":"reasoning","content":"no"},{"type":"tool_call_response","response":"b"},{"type":"tool_call_response","response":[{"type":"text","text":"c"},{"type":"image"}]},{"type":"tool_call","arguments":{}}]}]`)
	require.Equal(t, []string{"a", "b", "c"}, Texts(m[0]))
}

func TestBlobsAreHashedByTheirBytes(t *testing.T) {
	raw := make([]byte, 10_000)
	for i := range raw {
		raw[i] = byte(i * 7)
	}
	std := base64.StdEncoding.EncodeToString(raw)
	wrapped := strings.Join(strings.SplitAfter(std, "A"), "\r\n ")
	tests := []struct {
		name, data, stored string
		sum                string
	}{
		{"standard", std, std, sum(string(raw))},
		{"without padding", strings.TrimRight(std, "="), std, sum(string(raw))},
		{"URL alphabet", base64.URLEncoding.EncodeToString(raw), std, sum(string(raw))},
		{"URL alphabet without padding", base64.RawURLEncoding.EncodeToString(raw), std, sum(string(raw))},
		{"with white space", wrapped + "\n", std, sum(string(raw))},
		{"data URL", "data:image/png;base64," + std, std, sum(string(raw))},
		{"not base64", "not base64!", "not base64!", sum("not base64!")},
		{"cut", "AAAAA", "AAAAA", sum("AAAAA")},
		{"padding inside", "AA==AAAA", "AA==AAAA", sum("AA==AAAA")},
		{"too much padding", "AAA==", "AAA=", sum("\x00\x00")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := Conversation{Messages: []Message{{Role: RoleUser, Parts: []Part{{Type: PartBlob, MimeType: "Image/PNG; q=1", Data: tt.data}}}}}
			require.Equal(t, Gaps{}, c.Normalize())
			require.Equal(t, `[{"content":"`+tt.stored+`","mime_type":"image/png","type":"blob"}]`, string(AppendParts(nil, c.Messages[0].Parts, Stored)))
			require.Equal(t, `[{"mime_type":"image/png","sha256":"`+tt.sum+`","type":"blob"}]`, string(AppendParts(nil, c.Messages[0].Parts, Hashed)))
		})
	}
}

func TestDataURLs(t *testing.T) {
	tests := []struct {
		in, mime, data string
		ok             bool
	}{
		{"data:image/png;base64,AAAA", "image/png", "AAAA", true},
		{"data:text/plain;charset=utf-8;base64,AAA", "text/plain", "AAA=", true},
		{"data:,a%20b", "text/plain", base64.StdEncoding.EncodeToString([]byte("a b")), true},
		{"data:text/html,<p>%zz", "text/html", base64.StdEncoding.EncodeToString([]byte("<p>%zz")), true},
		{"data:image/png;base64,!", "image/png", "!", true},
		{"data:image/png;base64", "", "", false},
		{"https://example.com/", "", "", false},
		{"dat", "", "", false},
	}
	for _, tt := range tests {
		mime, data, ok := DataURL(tt.in)
		require.Equal(t, tt.ok, ok, tt.in)
		require.Equal(t, tt.mime, mime, tt.in)
		require.Equal(t, tt.data, data, tt.in)
	}
}

func TestHashIsThatOfTheFormWhateverItsLength(t *testing.T) {
	for _, unit := range []string{"a", "é", "€", "😀", "\"", "\n\x01", "\xff", "\x80\x80\x80\x80\x80", "ab\xf0\x9f\x98"} {
		for _, n := range []int{0, 1, flushAt - 1, flushAt, flushAt + 1, 3*flushAt + 7} {
			for pad := range 4 {
				text := strings.Repeat("x", pad) + strings.Repeat(unit, n/len(unit)+1)
				parts := []Part{Text(text), {Type: PartToolCallResponse, Value: jcs.String(text)}}
				form := AppendParts([]byte(`{"messages":[],"system":`), parts, Hashed)
				require.True(t, utf8.Valid(form))
				require.Equal(t, sum(string(form)+"}"), PromptHash(parts, nil))
			}
		}
	}
}

func TestParseRefusesWhatIsNoMessages(t *testing.T) {
	for _, in := range []string{`null`, `1`, `"text"`, `[1]`, `[{"role":"user"},[]]`, `[{"role":"user","parts":7}]`, `[{"role":"user","content":true}]`} {
		_, err := ParseMessages(parse(t, in))
		require.ErrorIs(t, err, ErrShape, in)
	}
	for _, in := range []string{`null`, `1`, `true`} {
		_, err := ParseParts(parse(t, in))
		require.ErrorIs(t, err, ErrShape, in)
	}
	_, err := ParseParts(jcs.Value{})
	require.ErrorIs(t, err, ErrShape)
	one, err := ParseMessages(parse(t, `{"role":"user","content":null}`))
	require.NoError(t, err)
	require.Equal(t, []Message{{Role: "user"}}, one)
}

func TestLargeConversationsTakeLinearTime(t *testing.T) {
	results := make([]Part, 200_000)
	for i := range results {
		results[i] = Part{Type: PartToolCallResponse, ID: fmt.Sprint(i), Value: jcs.String("r")}
		if i%2 == 0 {
			results[i] = Text("t")
		}
	}
	c := Conversation{Messages: []Message{
		{Role: RoleUser, Parts: results},
		{Role: RoleUser, Parts: []Part{Text(strings.Repeat("\x80\"", 10<<20)), {Type: PartBlob, Data: strings.Repeat("AA-_", 10<<20)}}},
	}}
	c.Normalize()
	PromptHash(c.System, c.Messages)
	require.Len(t, c.Messages, 200_001)
}

func FuzzParseMessages(f *testing.F) {
	for _, tt := range tellings {
		f.Add(tt.messages)
	}
	f.Add(`[{"role":"user","parts":[{"type":"blob","content":"data:x;base64,AA"},{"type":"uri","uri":"data:,%"},{"type":"text"},{"type":"","text":"x"},{"text":"y"},[],null]}]`)
	f.Add(`[{"content":[{"type":"image_url","image_url":{"url":"DATA:;BAse64,0000000%80000"}}]}]`)
	f.Add(`[{"role":"user","parts":[{"type":"blob","sha256":"aa"},{"type":"tool_call_response","response":[{"text":"a"},{"text":"b"}]}]}]`)
	f.Fuzz(func(t *testing.T, s string) {
		v, err := jcs.Parse(s, jcs.DefaultLimits)
		if err != nil {
			return
		}
		m, err := ParseMessages(v)
		if err != nil {
			require.ErrorIs(t, err, ErrShape)
			return
		}
		c := Conversation{Messages: m}
		c.Normalize()
		stored := AppendMessages(nil, c.Messages, Stored)
		canonical, err := independent.Transform(stored)
		require.NoError(t, err)
		require.Equal(t, string(canonical), string(stored), "canonical by construction")
		system := AppendParts(nil, c.System, Stored)
		hash := PromptHash(c.System, c.Messages)

		c.Normalize()
		require.Equal(t, string(stored), string(AppendMessages(nil, c.Messages, Stored)), "normalising twice")

		back := Conversation{}
		back.Messages, err = ParseMessages(parse(t, string(stored)))
		require.NoError(t, err)
		back.System, err = ParseParts(parse(t, string(system)))
		require.NoError(t, err)
		require.Equal(t, hash, PromptHash(back.System, back.Messages), "hash of what is read back")
		back.Normalize()
		require.Equal(t, hash, PromptHash(back.System, back.Messages), "hash of what is read back and normalised")
		hashed := append(AppendMessages([]byte(`{"messages":`), c.Messages, Hashed), `,"system":`...)
		hashed = append(AppendParts(hashed, c.System, Hashed), '}')
		if hash != "" {
			require.Equal(t, sum(string(hashed)), hash)
		}
		for _, m := range c.Messages {
			Texts(m)
		}
	})
}

func BenchmarkPrompt(b *testing.B) {
	for _, size := range []int{4 << 10, 32 << 10} {
		var text strings.Builder
		for i := 0; text.Len() < size; i++ {
			text.WriteString("lorem ipsum dolor sit amet, ")
			if i%3 == 2 {
				text.WriteByte('\n')
			}
		}
		src := `[{"role":"user","parts":[{"type":"text","content":` + string(jcs.AppendString(nil, text.String())) + `}]}]`
		b.Run(fmt.Sprintf("%dKB/parse+normalize+hash", size>>10), func(b *testing.B) {
			b.SetBytes(int64(len(src)))
			b.ReportAllocs()
			for b.Loop() {
				v, err := jcs.Parse(src, jcs.DefaultLimits)
				if err != nil {
					b.Fatal(err)
				}
				c := Conversation{}
				if c.Messages, err = ParseMessages(v); err != nil {
					b.Fatal(err)
				}
				c.Normalize()
				PromptHash(c.System, c.Messages)
			}
		})
		b.Run(fmt.Sprintf("%dKB/hash", size>>10), func(b *testing.B) {
			b.SetBytes(int64(len(src)))
			b.ReportAllocs()
			m := messages(b, src)
			for b.Loop() {
				PromptHash(nil, m)
			}
		})
		b.Run(fmt.Sprintf("%dKB/sha256", size>>10), func(b *testing.B) {
			b.SetBytes(int64(len(src)))
			for b.Loop() {
				_ = sha256.Sum256([]byte(src))
			}
		})
	}
}
