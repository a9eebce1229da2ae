package gateway

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws/protocol/eventstream"
	"github.com/stretchr/testify/require"

	"github.com/claudeaudit/claudeaudit/internal/audit"
	"github.com/claudeaudit/claudeaudit/internal/conversation"
	"github.com/claudeaudit/claudeaudit/internal/detect"
	"github.com/claudeaudit/claudeaudit/internal/fakeclaude"
	"github.com/claudeaudit/claudeaudit/internal/terminated"
)

// secret is a text that raises output.secret where it is answered.
const secret = "AKIAIOSFODNN7EXAMPLQ"

// answeringWith is a prompt that the fake answers with a text, in pieces of a few bytes.
func answeringWith(text, more string) string {
	return "[[fake: chunk=3 text='" + text + "' " + more + "]]"
}

func watching(t *testing.T, rule Rule, shadow bool) *harness {
	t.Helper()
	return watchingBefore(t, rule, shadow, func(fake http.Handler) http.Handler { return fake })
}

func watchingBefore(t *testing.T, rule Rule, shadow bool, upstream func(http.Handler) http.Handler) *harness {
	t.Helper()
	rule.Name, rule.Response = "the-rule", true
	dir := t.TempDir()
	fake, err := fakeclaude.New(fakeclaude.Config{LogBodyMax: -1})
	require.NoError(t, err)
	return newHarnessBefore(t, fake, func(s *Settings) {
		s.Upstreams[Bedrock] = s.Upstreams[Anthropic]
		sessions, err := terminated.Open(dir, time.Hour)
		require.NoError(t, err)
		s.Policy = NewRules(RulesSettings{Rules: []Rule{rule}, Engine: engine(t), Shadow: shadow, Terminated: sessions})
		s.Identity.SessionHeader = "X-Session-Id"
	}, upstream(fake))
}

// A streamed answer is cut before what a rule is about has gone out whole: the client gets an error within the stream, in
// the surface's own form, upstream is cancelled, and the record says by which rule and how much was passed on.
func TestStreamedAnswerIsCut(t *testing.T) {
	before := strings.Repeat("all is well so far. ", 200) // more than is read at a time
	all := before + "the key is " + secret + " and so on"
	prompt := answeringWith(all, "")
	for name, tc := range map[string]struct {
		path, body string
		frames     bool
	}{
		"Messages": {path: "/v1/messages", body: message(prompt, `,"stream":true`)},
		"Messages, lines that end in CR LF, pieces of a byte": {
			path: "/v1/messages", body: message(answeringWith(all, "crlf split=1"), `,"stream":true`),
		},
		"Bedrock invoke": {
			path: "/model/anthropic.claude-sonnet-4-5-v1%3A0/invoke-with-response-stream", frames: true,
			body: strings.Replace(message(prompt, ""), `"model":"claude-sonnet-4-5"`, `"anthropic_version":"bedrock-2023-05-31"`, 1),
		},
		"Bedrock converse": {
			path: "/model/anthropic.claude-sonnet-4-5-v1%3A0/converse-stream", frames: true,
			body: `{"messages":[{"role":"user","content":[{"text":` + quote(prompt) + `}]}]}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := watching(t, Rule{Action: Block, Flags: []string{"output.*"}, Message: "not this"}, false)
			resp, body, err := h.do(t, http.MethodPost, tc.path, tc.body, "Authorization", "Bearer of-the-client")
			require.NoError(t, err, "the stream has no good end")
			require.Equal(t, http.StatusOK, resp.StatusCode)
			text := streamText(t, body, tc.frames)
			require.NotEmpty(t, text, "what came before was not passed on")
			require.True(t, strings.HasPrefix(all, text), "%q", text)
			require.NotContains(t, text, secret)
			require.NotContains(t, text, "so on")
			kind, said := streamError(t, body, tc.frames)
			if tc.frames {
				require.Equal(t, "validationException", kind)
			} else {
				require.Equal(t, "permission_error", kind)
			}
			require.Equal(t, "not this", said)

			it := h.sink.ended(t, 1)[0]
			require.Equal(t, audit.StatusBlocked, it.Gateway.Status)
			require.Equal(t, audit.EndedPolicy, it.Gateway.Ended)
			require.Equal(t, "policy_block", it.ErrorType)
			require.Equal(t, "the-rule", it.Gateway.PolicyRule)
			require.Equal(t, "the answer: output.secret", it.Gateway.PolicyReason)
			require.Equal(t, "block", it.Gateway.PolicyDecision)
			require.Positive(t, *it.Gateway.ResponseBytes)
			require.Less(t, *it.Gateway.ResponseBytes, int64(len(body)), "the error is not the answer's")
			require.Contains(t, it.Content.Output[0].Parts[0].Text(), secret, "the piece that was held back is evidence")
		})
	}
}

// An answer in one piece is replaced by an error.
func TestWholeAnswerIsReplaced(t *testing.T) {
	h := watching(t, Rule{Action: Block, Flags: []string{"output.secret"}}, false)
	resp, body, err := h.do(t, http.MethodPost, "/v1/messages", message(answeringWith("the key is "+secret, ""), ""))
	require.NoError(t, err)
	require.Equal(t, http.StatusForbidden, resp.StatusCode)
	require.Equal(t, "false", resp.Header.Get("X-Should-Retry"))
	requireAPIError(t, body, "permission_error")
	require.NotContains(t, body, secret)
	it := h.sink.ended(t, 1)[0]
	require.Equal(t, audit.StatusBlocked, it.Gateway.Status)
	require.Zero(t, *it.Gateway.ResponseBytes)
	require.Contains(t, it.Content.Output[0].Parts[0].Text(), secret)
	require.NotEmpty(t, it.ResponseID)

	_, body, err = h.do(t, http.MethodPost, "/v1/messages", message("hello", ""))
	require.NoError(t, err)
	require.Contains(t, body, "Reply", "another answer passes")
}

// What rules may cut and can't be looked at is not passed on; where nothing would be cut, it is.
func TestAnswerThatCannotBeLookedAt(t *testing.T) {
	compressed := "[[fake: gzip tokens=500]]"
	for _, shadow := range []bool{false, true} {
		h := watchingBefore(t, Rule{Action: Block, Flags: []string{"output.secret"}}, shadow, func(fake http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				r.Header.Set("Accept-Encoding", "gzip") // it compresses, whatever it is asked for
				fake.ServeHTTP(w, r)
			})
		})
		resp, _, err := h.do(t, http.MethodPost, "/v1/messages", message(compressed, ""))
		require.NoError(t, err)
		it := h.sink.ended(t, 1)[0]
		require.Contains(t, it.Gateway.PolicyReason, "can't be looked at")
		if shadow {
			require.Equal(t, http.StatusOK, resp.StatusCode)
			require.Equal(t, "shadow:block", it.Gateway.PolicyDecision)
			continue
		}
		require.Equal(t, http.StatusForbidden, resp.StatusCode)
		require.Equal(t, audit.StatusBlocked, it.Gateway.Status)
	}
}

// Upstream is asked for what can be looked at, and only where a rule is about the answer.
func TestWatchedAnswersAreAskedForPlain(t *testing.T) {
	for _, tc := range []struct {
		models []string
		want   string
	}{{nil, "identity"}, {[]string{"another-*"}, "gzip, br"}} {
		h := watching(t, Rule{Action: Block, Flags: []string{"output.secret"}, Models: tc.models}, false)
		_, _, err := h.do(t, http.MethodPost, "/v1/messages", message("hello", ""), "Accept-Encoding", "gzip, br")
		require.NoError(t, err)
		require.Equal(t, tc.want, h.fake.Records()[0].Headers["accept-encoding"])
	}
}

// A rule that flags, and one that is tried out, leave the answer as it is and say in the record what they found.
func TestAnswerIsFlagged(t *testing.T) {
	for name, tc := range map[string]struct {
		action Action
		shadow bool
		want   string
	}{
		"flag": {action: Flag, want: "flag"}, "shadow": {action: Block, shadow: true, want: "shadow:block"},
		"terminate, tried out": {action: Terminate, shadow: true, want: "shadow:terminate"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, more := range []string{"", `,"stream":true`} {
				h := watching(t, Rule{Action: tc.action, Flags: []string{"output.secret"}}, tc.shadow)
				_, body, err := h.do(t, http.MethodPost, "/v1/messages", message(answeringWith("it is "+secret+", yes", ""), more))
				require.NoError(t, err)
				text := body
				if more != "" {
					text = streamText(t, body, false)
				}
				require.Contains(t, text, secret+", yes")
				it := h.sink.ended(t, 1)[0]
				require.Equal(t, audit.StatusSuccess, it.Gateway.Status)
				require.Equal(t, tc.want, it.Gateway.PolicyDecision)
				require.Equal(t, []string{"policy.the-rule"}, it.Gateway.Flags)
			}
		})
	}
}

// A rule that terminates for an answer refuses the session's later calls.
func TestAnswerTerminatesSession(t *testing.T) {
	h := watching(t, Rule{Action: Terminate, Flags: []string{"output.secret"}}, false)
	_, body, err := h.do(t, http.MethodPost, "/v1/messages", message(answeringWith(secret, ""), `,"stream":true`), "X-Session-Id", "s-1")
	require.NoError(t, err)
	kind, _ := streamError(t, body, false)
	require.Equal(t, "permission_error", kind)
	resp, _, err := h.do(t, http.MethodPost, "/v1/messages", message(benign, ""), "X-Session-Id", "s-1")
	require.NoError(t, err)
	require.Equal(t, http.StatusForbidden, resp.StatusCode)
	resp, _, err = h.do(t, http.MethodPost, "/v1/messages", message(benign, ""), "X-Session-Id", "s-2")
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, resp.StatusCode)
}

// Arguments of tools, thinking and blocks that nobody knows are looked at too, and so is the system prompt's repetition.
func TestWhatIsLookedAt(t *testing.T) {
	system := "You are the assistant of the accounting department. Never tell anybody about the merger with Contoso, which is planned for the " +
		"second of May, nor about the salaries of the board, which are listed in the annex of this prompt."
	for name, tc := range map[string]struct{ prompt, more, flag string }{
		"a tool's arguments": {
			prompt: `[[fake: tool=save input='{"key":"` + secret + `"}']]`, flag: "output.secret",
			more: `,"tools":[{"name":"save","input_schema":{"type":"object"}}]`,
		},
		"thinking":          {prompt: "[[fake: thinking think='it is " + secret + " I think']]", flag: "output.secret"},
		"the system prompt": {prompt: answeringWith(system, ""), more: `,"system":` + quote(system), flag: detect.FlagPromptLeak},
	} {
		for _, stream := range []string{"", `,"stream":true`} {
			t.Run(name+stream, func(t *testing.T) {
				h := watching(t, Rule{Action: Block, Flags: []string{"output.*"}}, false)
				_, body, err := h.do(t, http.MethodPost, "/v1/messages", message(tc.prompt, tc.more+stream))
				require.NoError(t, err)
				require.NotContains(t, body, secret)
				it := h.sink.ended(t, 1)[0]
				require.Equal(t, audit.StatusBlocked, it.Gateway.Status)
				require.Equal(t, "the answer: "+tc.flag, it.Gateway.PolicyReason)
			})
		}
	}
}

// streamText is the text of a streamed answer, of either form, as a client reads it.
func streamText(t *testing.T, body string, frames bool) string {
	t.Helper()
	resp := &http.Response{StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"text/event-stream"}}}
	op := operation{proto: protoMessages}
	if frames {
		resp.Header.Set("Content-Type", "application/vnd.amazon.eventstream")
		if strings.Contains(body, "contentBlockDelta") {
			op.proto = protoConverse
		}
	}
	o := newObserver(&call{op: op}, resp, 1<<20)
	o.write([]byte(body))
	a := o.close(true)
	var text strings.Builder
	for _, m := range a.output {
		for i := range m.Parts {
			text.WriteString(m.Parts[i].Text())
		}
	}
	return text.String()
}

// streamError is the error that a streamed answer ends with.
func streamError(t *testing.T, body string, frames bool) (kind, message string) {
	t.Helper()
	var e struct {
		Error   struct{ Type, Message string } `json:"error"`
		Message string                         `json:"message"`
	}
	if !frames {
		_, data, ok := strings.Cut(body, "event: error\ndata: ")
		require.True(t, ok, "no error event: %s", body)
		require.True(t, strings.HasSuffix(data, "\n\n"))
		require.NoError(t, json.Unmarshal([]byte(data), &e))
		return e.Error.Type, e.Error.Message
	}
	r := strings.NewReader(body)
	for {
		m, err := eventstream.NewDecoder().Decode(r, nil)
		require.NoError(t, err)
		if v := m.Headers.Get(":exception-type"); v != nil {
			require.NoError(t, json.Unmarshal(bytes.Clone(m.Payload), &e))
			_, err := r.ReadByte()
			require.ErrorIs(t, err, io.EOF, "something follows the exception")
			return v.String(), e.Message
		}
	}
}

// What looking costs a piece of an answer, before it goes out.
func BenchmarkWatchPiece(b *testing.B) {
	e, err := detect.New(detect.Config{})
	require.NoError(b, err)
	r := NewRules(RulesSettings{Engine: e, Rules: []Rule{{Name: "r", Response: true, Action: Block, Flags: []string{"output.*"}}}})
	w := r.Watch(&Call{Conversation: &conversation.Conversation{}})
	words := strings.Fields(strings.Repeat("The capital of Norway is Oslo, which lies at the end of a fjord and has about seven hundred thousand inhabitants. ", 8))
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		w.Text(words[i%len(words)] + " ")
	}
	require.Len(b, w.rules, 1, "something was found, and the rest not looked at")
}
