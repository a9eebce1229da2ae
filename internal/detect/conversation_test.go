package detect

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/claudeaudit/claudeaudit/internal/conversation"
	"github.com/claudeaudit/claudeaudit/internal/jcs"
)

func TestSegmentsOfAConversation(t *testing.T) {
	value := func(s string) jcs.Value {
		v, err := jcs.Parse(s, jcs.Limits{})
		require.NoError(t, err)
		return v
	}
	text := conversation.Text
	tests := []struct {
		name    string
		c       conversation.Conversation
		want    []Segment
		notText bool
	}{
		{name: "nothing"},
		{
			name: "texts with who wrote them",
			c: conversation.Conversation{
				System: []conversation.Part{text("be kind")},
				Messages: []conversation.Message{
					{Role: "user", Parts: []conversation.Part{text("one"), text("two")}},
					{Role: "assistant", Parts: []conversation.Part{{Type: conversation.PartReasoning, Value: jcs.String("hm")}, text("three")}},
					{Role: "system", Parts: []conversation.Part{text("four")}},
				},
				Output: []conversation.Message{{Role: "assistant", Parts: []conversation.Part{text("five")}}},
			},
			want: []Segment{
				{System, "be kind"}, {User, "one"}, {User, "two"}, {Assistant, "hm"}, {Assistant, "three"}, {System, "four"}, {Output, "five"},
			},
		},
		{
			name: "texts that were told with escapes",
			c: conversation.Conversation{Messages: []conversation.Message{{Role: "user", Parts: []conversation.Part{
				conversation.TextOf(value(`"a\nb"`)), conversation.TextOf(value(`"\u00e4\ud83d\ude00"`)),
			}}}},
			want: []Segment{{User, "a\nb"}, {User, "ä😀"}},
		},
		{
			name: "tools",
			c: conversation.Conversation{
				Messages: []conversation.Message{
					{Role: "assistant", Parts: []conversation.Part{{Type: conversation.PartToolCall, Value: value(`{"to":{"iban":"DE1","n":[1,2.50]},"ok":true,"x":null}`)}}},
					{Role: "user", Parts: []conversation.Part{{Type: conversation.PartToolCallResponse, Value: jcs.String("done")}}},
					{Role: "tool", Parts: []conversation.Part{{Type: conversation.PartToolCallResponse, Value: value(`[{"text":"a\tb"}]`)}}},
				},
				Output: []conversation.Message{{Role: "assistant", Parts: []conversation.Part{{Type: conversation.PartToolCall, Value: value(`{"q":"x"}`)}}}},
			},
			want: []Segment{{Assistant, "iban: DE1\nn: 1\nn: 2.50"}, {Tool, "done"}, {Tool, "text: a\tb"}, {Output, "q: x"}},
		},
		{
			name: "documents",
			c: conversation.Conversation{Messages: []conversation.Message{{Role: "user", Parts: []conversation.Part{
				{Type: conversation.PartBlob, MimeType: "text/plain", Data: "aGVsbG8="},
				{Type: conversation.PartOther, Kind: "document", Value: value(`{"title":"t"}`)},
				{Type: conversation.PartURI, URI: "https://example.org/?q=1"},
			}}}},
			want: []Segment{{Tool, "hello"}, {Tool, "title: t"}, {User, "https://example.org/?q=1"}},
		},
		{
			name: "what is no text",
			c: conversation.Conversation{Messages: []conversation.Message{{Role: "user", Parts: []conversation.Part{
				{Type: conversation.PartBlob, MimeType: "image/png", Data: "aGVsbG8="}, text("see"),
			}}}},
			want: []Segment{{User, "see"}}, notText: true,
		},
		{
			name: "a text document that is not base64",
			c: conversation.Conversation{Messages: []conversation.Message{{Role: "user", Parts: []conversation.Part{
				{Type: conversation.PartBlob, MimeType: "text/plain", Data: "%%%"},
			}}}},
			notText: true,
		},
		{
			name: "a file that is named only",
			c: conversation.Conversation{Messages: []conversation.Message{{Role: "user", Parts: []conversation.Part{
				{Type: conversation.PartFile, URI: "file_1"},
			}}}},
			notText: true,
		},
	}
	var texts Texts // one for all: nothing of the one before is left
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, notText := texts.Segments(&tt.c)
			require.Equal(t, tt.notText, notText)
			require.Len(t, got, len(tt.want))
			for i := range got {
				require.Equal(t, tt.want[i], got[i])
			}
		})
	}
}
