package identity

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/claudeaudit/claudeaudit/internal/audit"
	"github.com/claudeaudit/claudeaudit/internal/conversation"
	"github.com/claudeaudit/claudeaudit/internal/genai"
)

const (
	instrumentation = "opentelemetry.instrumentation.anthropic"
	otherClient     = "openinference.instrumentation.langchain"
	nativeSDK       = "com.anthropic.sdk.python"
)

var epoch = time.Unix(1_790_000_000, 0).UTC()

func seconds(s float64) time.Time { return epoch.Add(time.Duration(s * float64(time.Second))) }

// telling is a span or log record of a scenario.
type telling struct {
	genai.Interaction
	signal string
}

func tell(kind genai.Kind, signal string, trace, span, parent byte, change []func(*telling)) telling {
	t := telling{genai.Interaction{
		Kind: kind, Dialect: genai.DialectSemconv, Scope: instrumentation, Sequence: -1,
		Who: genai.Who{Application: "app"}, RequestModel: "claude-sonnet-4-5", Claude: true,
		Start: seconds(0), End: seconds(1),
	}, signal}
	if trace != 0 {
		t.TraceID = pcommon.TraceID{trace}
	}
	if span != 0 {
		t.SpanID = pcommon.SpanID{span}
	}
	if parent != 0 {
		t.ParentSpanID = pcommon.SpanID{parent}
	}
	for _, c := range change {
		c(&t)
	}
	if kind == genai.KindCall {
		ms := float64(t.End.Sub(t.Start).Milliseconds())
		t.LatencyMs = &ms
	}
	return t
}

func callSpan(trace, span, parent byte, change ...func(*telling)) telling {
	return tell(genai.KindCall, SignalSpan, trace, span, parent, change)
}

func callEvent(trace, span byte, change ...func(*telling)) telling {
	change = append([]func(*telling){func(t *telling) { t.EventName = "gen_ai.client.inference.operation.details" }}, change...)
	return tell(genai.KindCall, SignalLog, trace, span, 0, change)
}

func contextSpan(trace, span, parent byte, change ...func(*telling)) telling {
	change = append([]func(*telling){func(t *telling) { t.Scope, t.RequestModel = "http", "" }}, change...)
	return tell(genai.KindContext, SignalSpan, trace, span, parent, change)
}

func message(trace, span byte, text string, change ...func(*telling)) telling {
	change = append([]func(*telling){func(t *telling) {
		t.Dialect, t.EventName, t.RequestModel = genai.DialectMessageEvents, "gen_ai.user.message", ""
		say(text)(t)
	}}, change...)
	return tell(genai.KindPart, SignalLog, trace, span, 0, change)
}

func at(from, to float64) func(*telling) {
	return func(t *telling) { t.Start, t.End = seconds(from), seconds(to) }
}
func scope(s string) func(*telling)      { return func(t *telling) { t.Scope = s } }
func app(s string) func(*telling)        { return func(t *telling) { t.Who.Application = s } }
func model(s string) func(*telling)      { return func(t *telling) { t.RequestModel = s } }
func responseID(s string) func(*telling) { return func(t *telling) { t.ResponseID = s } }
func requestID(s string) func(*telling)  { return func(t *telling) { t.RequestID = s } }
func quotes(s ...string) func(*telling)  { return func(t *telling) { t.QuotedRequestIDs = s } }
func half(s string) func(*telling)       { return func(t *telling) { t.Half = s } }
func failed(t *telling)                  { t.Failed = true }
func user(s string) func(*telling)       { return func(t *telling) { t.Who.User, t.Who.UserRank = s, 20 } }

func say(text string) func(*telling) {
	return func(t *telling) {
		t.Content = conversation.Conversation{Messages: []conversation.Message{
			{Role: "user", Parts: []conversation.Part{conversation.Text(text)}},
		}}
		t.PromptCompleteness = genai.ContentFull
	}
}

// resolve hands tellings on, each in a request of its own, and returns the
// event_id of each.
func resolve(w *Window, tellings ...telling) []uuid.UUID {
	var out []uuid.UUID
	for _, t := range tellings {
		out = append(out, w.Resolve([]Item{NewItem(t.Interaction)}, t.signal).EventIDs...)
	}
	return out
}

// groups names the calls by letters, in the order in which they come up.
func groups(ids []uuid.UUID) string {
	var b strings.Builder
	letters := map[uuid.UUID]byte{uuid.Nil: '-'}
	for _, id := range ids {
		if _, ok := letters[id]; !ok {
			letters[id] = 'a' + byte(len(letters)-1)
		}
		b.WriteByte(letters[id])
	}
	return b.String()
}

// permutations calls fn with every order of 0…n-1.
func permutations(n int, fn func(order []int)) {
	order := make([]int, n)
	for i := range order {
		order[i] = i
	}
	var permute func(int)
	permute = func(k int) {
		if k == n {
			fn(order)
			return
		}
		for i := k; i < n; i++ {
			order[k], order[i] = order[i], order[k]
			permute(k + 1)
			order[k], order[i] = order[i], order[k]
		}
	}
	permute(0)
}

func TestWhichTellingsAreOneCall(t *testing.T) {
	const hours = 5 * 3600
	tests := []struct {
		name     string
		tellings []telling
		want     string // one letter for each telling, the same for the same call
		asTold   bool   // holds in this order only
		// inOrder holds in this order only, when there is a restart in between.
		inOrder bool
	}{
		// One span.
		{name: "the same span again", want: "aa", tellings: []telling{callSpan(1, 1, 0), callSpan(1, 1, 0)}},
		{name: "span and log event of one span", want: "aa", tellings: []telling{callSpan(1, 1, 0), callEvent(1, 1)}},
		{name: "the same span id in another trace", want: "ab", tellings: []telling{callSpan(1, 1, 0), callSpan(2, 1, 0)}},
		{name: "calls of other traces at the same time", want: "ab", tellings: []telling{callSpan(1, 1, 0), callSpan(2, 2, 0, scope(nativeSDK))}},

		// Twins by place: parent and child.
		{
			name: "twin as a child", want: "aa",
			tellings: []telling{callSpan(1, 1, 9), callSpan(1, 2, 1, scope(nativeSDK), at(0.1, 0.9))},
		},
		{
			name: "three layers of clients", want: "aaa", asTold: true,
			tellings: []telling{callSpan(1, 1, 9, scope(otherClient)), callSpan(1, 2, 1, at(0.1, 0.9)), callSpan(1, 3, 2, scope(nativeSDK), at(0.2, 0.8))},
		},
		{
			name: "clocks of parent and child a little apart", want: "aa",
			tellings: []telling{callSpan(1, 1, 9), callSpan(1, 2, 1, scope(nativeSDK), at(-0.5, 1.5))},
		},
		{
			name: "a child that ran after its parent", want: "ab",
			tellings: []telling{callSpan(1, 1, 9), callSpan(1, 2, 1, scope(nativeSDK), at(5, 6))},
		},
		{
			name: "a call of the same client below a call", want: "ab",
			tellings: []telling{callSpan(1, 1, 9), callSpan(1, 2, 1, at(0.1, 0.9))},
		},
		{
			name: "parent and child with different response ids", want: "ab",
			tellings: []telling{callSpan(1, 1, 9, responseID("msg_1")), callSpan(1, 2, 1, scope(nativeSDK), at(0.1, 0.9), responseID("msg_2"))},
		},
		{
			name: "parent and child with different request ids", want: "ab",
			tellings: []telling{callSpan(1, 1, 9, requestID("req_1")), callSpan(1, 2, 1, scope(nativeSDK), at(0.1, 0.9), requestID("req_2"))},
		},
		{
			name: "a grandchild is no twin", want: "ab",
			tellings: []telling{callSpan(1, 1, 9), callSpan(1, 2, 7, scope(nativeSDK), at(0.1, 0.9))},
		},

		// Retries.
		{
			name: "the try that failed is a call of its own", want: "aba",
			tellings: []telling{
				callSpan(1, 1, 9, at(0, 3)),
				callSpan(1, 2, 1, scope(nativeSDK), at(0.1, 0.9), failed),
				callSpan(1, 3, 1, scope(nativeSDK), at(2, 2.9)),
			},
		},
		{
			name: "tries under one parent that is no call", want: "abc",
			tellings: []telling{
				callSpan(1, 1, 9, at(0, 1), failed), callSpan(1, 2, 9, at(2, 3), failed), callSpan(1, 3, 9, at(4, 5)),
			},
		},
		{
			name: "all tries failed: the last is the parent's", want: "abb", asTold: true,
			tellings: []telling{
				callSpan(1, 2, 1, scope(nativeSDK), at(0.1, 0.9), failed),
				callSpan(1, 3, 1, scope(nativeSDK), at(2, 2.9), failed),
				callSpan(1, 1, 9, at(0, 3), failed),
			},
		},

		// Twins by place: siblings.
		{
			name: "the SDK's own span beside an instrumentation's", want: "aa",
			tellings: []telling{callSpan(1, 1, 9), callSpan(1, 2, 9, scope(nativeSDK), at(0.1, 0.9))},
		},
		{
			name: "siblings one after another", want: "abab",
			tellings: []telling{
				callSpan(1, 1, 9), callSpan(1, 3, 9, at(10, 11)),
				callSpan(1, 2, 9, scope(nativeSDK), at(0.1, 0.9)), callSpan(1, 4, 9, scope(nativeSDK), at(10.1, 10.9)),
			},
		},
		{
			name: "siblings of two instrumentations", want: "ab",
			tellings: []telling{callSpan(1, 1, 9), callSpan(1, 2, 9, scope(otherClient), at(0.1, 0.9))},
		},
		{
			name: "siblings with different models", want: "ab",
			tellings: []telling{callSpan(1, 1, 9), callSpan(1, 2, 9, scope(nativeSDK), at(0.1, 0.9), model("claude-haiku-4-5"))},
		},
		{
			name: "siblings of which one failed", want: "ab",
			tellings: []telling{callSpan(1, 1, 9), callSpan(1, 2, 9, scope(nativeSDK), at(0.1, 0.9), failed)},
		},
		{
			name: "spans without a parent are no siblings", want: "ab",
			tellings: []telling{callSpan(1, 1, 0), callSpan(1, 2, 0, scope(nativeSDK), at(0.1, 0.9))},
		},

		// Response ids.
		{
			name: "application and gateway", want: "aa",
			tellings: []telling{callSpan(1, 1, 0, responseID("msg_1")), callSpan(2, 2, 0, scope("litellm"), app("proxy"), responseID("msg_1"))},
		},
		{
			name: "the same instrumentation in application and gateway", want: "aa",
			tellings: []telling{callSpan(1, 1, 0, responseID("msg_1")), callSpan(2, 2, 0, app("proxy"), responseID("msg_1"))},
		},
		{
			name: "a cache answers with the same response", want: "ab",
			tellings: []telling{callSpan(1, 1, 0, responseID("msg_1")), callSpan(2, 2, 0, at(2, 2.1), responseID("msg_1"))},
		},
		{
			name: "the same response hours later", want: "ab",
			tellings: []telling{callSpan(1, 1, 0, responseID("msg_1")), callSpan(2, 2, 0, scope(otherClient), at(hours, hours+1), responseID("msg_1"))},
		},
		{
			name: "clocks of two hosts a minute apart", want: "aa",
			tellings: []telling{callSpan(1, 1, 0, responseID("msg_1")), callSpan(2, 2, 0, app("proxy"), at(60, 61), responseID("msg_1"))},
		},
		{
			name: "clocks of two hosts three minutes apart", want: "ab",
			tellings: []telling{callSpan(1, 1, 0, responseID("msg_1")), callSpan(2, 2, 0, app("proxy"), at(181, 182), responseID("msg_1"))},
		},
		{
			name: "a log event with the response id", want: "aa",
			tellings: []telling{callSpan(1, 1, 0, responseID("msg_1")), callEvent(0, 0, responseID("msg_1"))},
		},

		// Request ids.
		{
			name: "request id in common", want: "aa",
			tellings: []telling{callSpan(1, 1, 0, requestID("req_1"), failed), callSpan(2, 2, 0, app("proxy"), requestID("req_1"), failed)},
		},
		{
			name: "request id in common, other responses", want: "ab",
			tellings: []telling{
				callSpan(1, 1, 0, requestID("req_1"), responseID("msg_1")),
				callSpan(2, 2, 0, app("proxy"), requestID("req_1"), responseID("msg_2")),
			},
		},
		{
			name: "an error message quotes the request id", want: "aa",
			tellings: []telling{callSpan(1, 1, 0, failed, quotes("req_1")), callSpan(1, 2, 8, scope(nativeSDK), requestID("req_1"), failed)},
		},
		{
			name: "an error message quotes two", inOrder: true, want: "aa",
			tellings: []telling{callSpan(1, 2, 8, scope(nativeSDK), requestID("req_1"), failed), callSpan(1, 1, 0, failed, quotes("req_0", "req_1"))},
		},
		{
			name: "the same request id hours later", want: "ab",
			tellings: []telling{callSpan(1, 1, 0, requestID("req_1")), callSpan(2, 2, 0, app("proxy"), at(hours, hours+1), requestID("req_1"))},
		},

		// Logfire's halves of a stream.
		{
			name: "two halves of a stream", inOrder: true, want: "aa",
			tellings: []telling{callSpan(1, 1, 9, half("request"), say("hello"), at(0, 0.1)), callSpan(1, 2, 9, half("response"), say("hello"), at(0.2, 1))},
		},
		{
			name: "two streams of the same prompt", inOrder: true, want: "abab",
			tellings: []telling{
				callSpan(1, 1, 9, half("request"), say("hello"), at(0, 0.1)), callSpan(1, 3, 9, half("request"), say("hello"), at(20, 20.1)),
				callSpan(1, 2, 9, half("response"), say("hello"), at(0.2, 1)), callSpan(1, 4, 9, half("response"), say("hello"), at(20.2, 21)),
			},
		},
		{
			name: "halves of other prompts", want: "ab",
			tellings: []telling{callSpan(1, 1, 9, half("request"), say("hello")), callSpan(1, 2, 9, half("response"), say("goodbye"))},
		},
		{
			name: "halves of two applications", want: "ab",
			tellings: []telling{callSpan(1, 1, 9, half("request"), say("hello")), callSpan(2, 2, 9, half("response"), say("hello"), app("other"))},
		},

		// Parts.
		{
			name: "messages of a span", want: "aaa",
			tellings: []telling{message(1, 1, "hello"), callSpan(1, 1, 0), message(1, 1, "goodbye")},
		},
		{
			name: "messages of two spans", want: "ab",
			tellings: []telling{message(1, 1, "hello"), message(1, 2, "hello")},
		},
		{
			name: "a span that tells of its parent's call", want: "aa",
			tellings: []telling{
				callSpan(1, 1, 9, scope("litellm")),
				tell(genai.KindPart, SignalSpan, 1, 2, 1, []func(*telling){scope("litellm"), func(t *telling) { t.OfParent = true }}),
			},
		},
		{
			name: "a span that tells of its parent's call brings the response id", want: "aaa",
			tellings: []telling{
				callSpan(1, 1, 9, scope("litellm")),
				tell(genai.KindPart, SignalSpan, 1, 2, 1, []func(*telling){scope("litellm"), responseID("msg_1"), func(t *telling) { t.OfParent = true }}),
				callSpan(2, 3, 0, app("other"), responseID("msg_1")),
			},
			asTold: true,
		},

		// Without any id.
		{name: "an event without ids, again", want: "aa", tellings: []telling{callEvent(0, 0, say("hello")), callEvent(0, 0, say("hello"))}},
		{name: "events without ids that differ", want: "ab", tellings: []telling{callEvent(0, 0, say("hello")), callEvent(0, 0, say("goodbye"))}},
		{name: "messages without a span", want: "aab", tellings: []telling{message(0, 0, "hello"), message(0, 0, "hello"), message(0, 0, "goodbye")}},

		// No calls.
		{name: "spans around a call", want: "-a-", tellings: []telling{contextSpan(1, 8, 0), callSpan(1, 1, 8), contextSpan(1, 2, 1)}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.asTold {
				require.Equal(t, tt.want, groups(resolve(New(Options{}), tt.tellings...)))
				return
			}
			permutations(len(tt.tellings), func(order []int) {
				told := make([]telling, len(order))
				for i, j := range order {
					told[i] = tt.tellings[j]
				}
				ids := resolve(New(Options{}), told...)
				inOrder := make([]uuid.UUID, len(ids))
				for i, j := range order {
					inOrder[j] = ids[i]
				}
				require.Equal(t, tt.want, groups(inOrder), "told in the order %v", order)

				// The same in one request, as far as it is of one signal.
				if !slices.ContainsFunc(told, func(x telling) bool { return x.signal != told[0].signal }) {
					items := make([]Item, len(told))
					for i := range told {
						items[i] = NewItem(told[i].Interaction)
					}
					for i, id := range New(Options{}).Resolve(items, told[0].signal).EventIDs {
						inOrder[order[i]] = id
					}
					require.Equal(t, tt.want, groups(inOrder), "told in one request in the order %v", order)
				}

				// With a restart after each.
				if tt.inOrder && !slices.IsSorted(order) {
					return
				}
				ledger := newBook()
				for i, x := range told {
					w := New(Options{})
					for j := range ledger.order {
						w.Restore(&ledger.order[j])
					}
					res := w.Resolve([]Item{NewItem(x.Interaction)}, x.signal)
					ledger.append(t, res)
					inOrder[order[i]] = res.EventIDs[0]
				}
				require.Equal(t, tt.want, groups(inOrder), "told in the order %v, with restarts", order)
			})
		})
	}
}

func TestEventIDs(t *testing.T) {
	id := resolve(New(Options{}), callSpan(1, 1, 0))[0]
	require.EqualValues(t, 8, id.Version(), "RFC 9562: made by the implementation's own rule")
	require.Equal(t, uuid.RFC4122, id.Variant())
	require.Equal(t, id, resolve(New(Options{}), callSpan(1, 1, 0))[0], "the same in every collector")
}

func TestCallerFromAncestors(t *testing.T) {
	root := contextSpan(1, 9, 0, func(t *telling) {
		t.Who.User, t.Who.UserRank = "carol", 21
		t.Who.Session, t.Who.SessionRank = "s-1", 20
		t.Who.Address = "203.0.113.77"
		t.Who.Department = "legal"
	})
	middle := contextSpan(1, 8, 9, func(t *telling) { t.Who.AgentName = "planner" })
	call := callSpan(1, 1, 8)
	permutations(3, func(order []int) {
		w := New(Options{})
		var entries []*audit.Record
		for _, i := range order {
			res := w.Resolve([]Item{NewItem([]telling{root, middle, call}[i].Interaction)}, SignalSpan)
			for _, o := range res.Observations {
				require.NotEmpty(t, o.Record.Source.Digest)
				o.Record.Revision = int64(len(entries) + 1)
				entries = append(entries, &o.Record)
			}
		}
		r := audit.Merge(entries)
		require.Equal(t, []string{"carol", "s-1", "203.0.113.77", "legal", "planner"},
			[]string{r.UserID, r.SessionID, r.IPAddress, r.Department, r.AgentName}, "in the order %v", order)
		require.Equal(t, audit.AssuranceAsserted, r.IdentityAssurance)
	})
}

func TestTheNearerAndTheBetterUserCounts(t *testing.T) {
	who := func(name string, rank int) func(*telling) {
		return func(t *telling) { t.Who.User, t.Who.UserRank = name, rank }
	}
	tests := []struct {
		name              string
		call, near, far   func(*telling)
		want              string
		wantUserRankOrder int
	}{
		{name: "the call's own", call: who("own", 20), near: who("near", 20), far: who("far", 20), want: "own"},
		{name: "the nearer span's", call: who("", 0), near: who("near", 20), far: who("far", 20), want: "near"},
		{name: "a better attribute further up", call: who("own", 70), near: who("near", 60), far: who("far", 20), want: "far"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := New(Options{})
			res := w.Resolve([]Item{
				NewItem(contextSpan(1, 9, 0, tt.far).Interaction),
				NewItem(contextSpan(1, 8, 9, tt.near).Interaction),
				NewItem(callSpan(1, 1, 8, tt.call).Interaction),
			}, SignalSpan)
			require.Len(t, res.Observations, 1)
			require.Equal(t, tt.want, res.Observations[0].Record.UserID)
		})
	}
}

func TestAncestorsInACircle(t *testing.T) {
	w := New(Options{})
	res := w.Resolve([]Item{
		NewItem(contextSpan(1, 8, 9).Interaction), NewItem(contextSpan(1, 9, 8).Interaction),
		NewItem(callSpan(1, 1, 8).Interaction), NewItem(callSpan(1, 2, 2).Interaction),
	}, SignalSpan)
	require.Equal(t, "--ab", groups(res.EventIDs))
}

func TestMessagesAreJoined(t *testing.T) {
	w := New(Options{})
	var last Observation
	for i, text := range []string{"one", "two", "three"} {
		res := w.Resolve([]Item{NewItem(message(1, 1, text).Interaction)}, SignalLog)
		require.Len(t, res.Observations, 1)
		last = res.Observations[0]
		require.Equal(t, i+1, last.Record.Source.Parts)
		require.Contains(t, last.Content.Input, text)
		require.Equal(t, audit.StatusInitiated, last.Record.Status)
	}
	again := w.Resolve([]Item{NewItem(message(1, 1, "two").Interaction)}, SignalLog)
	require.Equal(t, last.Record.Source.Digest, again.Observations[0].Record.Source.Digest, "a message again tells nothing new")
}

// clock is a window's time.
type clock struct{ now time.Time }

func (c *clock) Now() time.Time { return c.now }

func TestMaxCalls(t *testing.T) {
	w := New(Options{MaxCalls: 3})
	first := resolve(w, callSpan(1, 1, 0, responseID("msg_1")))[0]
	for n := byte(2); n <= 3; n++ {
		resolve(w, callSpan(n, n, 0, responseID(fmt.Sprint("msg_", n))))
	}
	require.Equal(t, Stats{Calls: 3, Spans: 3}, w.Stats())
	require.Equal(t, first, resolve(w, callSpan(9, 9, 0, app("proxy"), responseID("msg_1")))[0], "told again, it stays")
	second := resolve(w, callSpan(4, 4, 0))
	require.EqualValues(t, 1, w.Stats().Evicted)
	require.Equal(t, 3, w.Stats().Calls)
	require.Equal(t, first, resolve(w, callSpan(8, 8, 0, app("other proxy"), responseID("msg_1")))[0])
	require.NotEqual(t, second, resolve(w, callSpan(7, 7, 0, app("proxy"), responseID("msg_2"))), "the oldest left")
	require.Equal(t, 3, w.Stats().Calls)
}

func TestMaxSpans(t *testing.T) {
	w := New(Options{MaxSpans: 10})
	for n := range 100 {
		resolve(w, contextSpan(byte(n+1), 1, 0, user("u")), contextSpan(byte(n+1), 2, 1))
		require.LessOrEqual(t, w.Stats().Spans, 10)
	}
	require.LessOrEqual(t, len(w.traceOf), 10)
}

func TestSpansOfOneTraceAreBounded(t *testing.T) {
	w := New(Options{MaxSpans: 10})
	items := make([]Item, 2*maxNodesOfTrace)
	for n := range items {
		in := contextSpan(1, 0, 0, user("u"))
		in.SpanID = pcommon.SpanID{1, byte(n >> 16), byte(n >> 8), byte(n)}
		items[n] = NewItem(in.Interaction)
	}
	w.Resolve(items, SignalSpan)
	require.LessOrEqual(t, w.Stats().Spans, maxNodesOfTrace)
}

func TestMaxContentBytes(t *testing.T) {
	const limit = 64 << 10
	w := New(Options{MaxContentBytes: limit})
	text := strings.Repeat("x", 1000)
	for n := range 200 {
		resolve(w, message(byte(n+1), 1, text))
		require.LessOrEqual(t, w.Stats().ContentBytes, int64(limit))
	}
	res := w.Resolve([]Item{NewItem(message(1, 1, "the second message").Interaction)}, SignalLog)
	r := res.Observations[0].Record
	require.Equal(t, string(genai.ContentPartial), r.Content.Prompt, "the first message is no longer at hand, and the record says so")
	require.Zero(t, r.Source.Parts)
	require.Contains(t, res.Observations[0].Content.Input, "the second message")
}

// What a request tells is in its observations, however small the window is.
func TestNothingOfARequestIsLost(t *testing.T) {
	text := strings.Repeat("x", 1000)
	for name, o := range map[string]Options{"content": {MaxContentBytes: 8 << 10}, "calls": {MaxCalls: 2}} {
		t.Run(name, func(t *testing.T) {
			w := New(o)
			var items []Item
			for n := range 40 {
				items = append(items, NewItem(message(byte(n%20+1), 1, fmt.Sprint(n, text)).Interaction))
			}
			var content strings.Builder
			res := w.Resolve(items, SignalLog)
			for _, o := range res.Observations {
				content.WriteString(o.Content.Input)
				require.NotEmpty(t, o.Record.PromptHash)
			}
			for n := range 40 {
				require.Contains(t, content.String(), fmt.Sprintf(`"%d%s"`, n, text))
			}
			again := w.Resolve(items, SignalLog)
			require.Len(t, again.Observations, len(res.Observations))
		})
	}
}

func TestTooManyMessages(t *testing.T) {
	w := New(Options{})
	items := make([]Item, maxParts+1)
	for n := range items {
		items[n] = NewItem(message(1, 1, strconv.Itoa(n)).Interaction)
	}
	res := w.Resolve(items, SignalLog)
	require.Len(t, res.Observations, 1)
	require.Equal(t, string(genai.ContentPartial), res.Observations[0].Record.Content.Prompt)
}

// requireEmpty holds that nothing is left behind in a window.
func requireEmpty(t testing.TB, w *Window) {
	t.Helper()
	require.Zero(t, w.Stats().Calls)
	require.Zero(t, w.Stats().Spans)
	require.Zero(t, w.Stats().ContentBytes)
	require.Empty(t, w.byKey)
	require.Empty(t, w.under)
	require.Empty(t, w.turnOf)
	require.Empty(t, w.traceOf)
	require.Empty(t, w.nodeOf)
	require.Empty(t, w.prompts)
	w.begin() // the places of calls are free from the next request on
	for name, n := range map[string]int{
		"calls": w.calls.len(), "keys": w.keys.len(), "sources": w.sources.len(), "listed": w.listed.len(), "turns": w.turns.len(),
		"traces": w.traces.len(), "members": w.members.len(), "nodes": w.nodes.len(), "callers": w.callers.len(), "held": w.held.len(),
	} {
		require.Zero(t, n, name)
	}
	require.Zero(t, w.calls.count+w.turns.count+w.traces.count+w.held.count)
	require.Zero(t, w.calls.newest+w.calls.oldest+w.turns.newest+w.traces.newest+w.held.newest)
}

func TestTTL(t *testing.T) {
	c := &clock{epoch}
	w := New(Options{TTL: time.Hour, Now: c.Now})
	first := resolve(w, callSpan(1, 1, 0, responseID("msg_1")), contextSpan(1, 2, 0, user("u")), message(3, 3, "hello"))[0]
	c.now = c.now.Add(59 * time.Minute)
	require.Equal(t, first, resolve(w, callSpan(9, 9, 0, app("proxy"), responseID("msg_1")))[0])
	c.now = c.now.Add(59 * time.Minute)
	require.Equal(t, first, resolve(w, callSpan(8, 8, 0, app("other"), responseID("msg_1")))[0], "told an hour ago, but not unheard of")
	require.Equal(t, 1, w.Stats().Calls, "the message's call is gone")
	c.now = c.now.Add(61 * time.Minute)
	w.Resolve(nil, SignalSpan)
	requireEmpty(t, w)
	require.Zero(t, w.Stats().Evicted, "that is for calls that leave early")
}

func TestCapturesLeaveNothingBehind(t *testing.T) {
	c := &clock{epoch}
	w := New(Options{Now: c.Now})
	for _, name := range names(t) {
		_, all := load(t, name)
		send(t, w, newBook(), all, whole)
	}
	c.now = c.now.Add(25 * time.Hour)
	w.Resolve(nil, SignalLog)
	requireEmpty(t, w)
}

func TestCapturesInAWindowThatIsTooSmall(t *testing.T) {
	w := New(Options{MaxCalls: 2, MaxSpans: 2, MaxContentBytes: 2000})
	for _, name := range names(t) {
		_, all := load(t, name)
		send(t, w, newBook(), all, single)
		require.LessOrEqual(t, w.Stats().Calls, 2)
		require.LessOrEqual(t, len(w.byKey), 64)
	}
}

func TestConcurrentRequests(t *testing.T) {
	w := New(Options{MaxCalls: 64, MaxSpans: 64, MaxContentBytes: 32 << 10})
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for n := range 200 {
				trace := byte(n%16 + 1)
				resolve(w,
					contextSpan(trace, 9, 0, user("u")),
					callSpan(trace, byte(g+1), 9, responseID(fmt.Sprint("msg_", n%16))),
					message(trace, byte(n%8+1), strings.Repeat("x", n)))
				w.Stats()
			}
		})
	}
	wg.Wait()
	require.LessOrEqual(t, w.Stats().Calls, 64)
}

// tellingOf makes a telling of six bytes, of few ids, so that they meet.
func tellingOf(b []byte) telling {
	kinds := []genai.Kind{genai.KindNone, genai.KindContext, genai.KindCall, genai.KindCall, genai.KindPart, genai.KindUncorrelated}
	signal := SignalSpan
	if b[0]&0x80 != 0 {
		signal = SignalLog
	}
	t := tell(kinds[int(b[0]&0x7f)%len(kinds)], signal, b[1]&3, b[1]>>2&7, b[1]>>5, nil)
	t.Scope = []string{instrumentation, otherClient, nativeSDK, ""}[b[2]&3]
	if n := b[2] >> 2 & 3; n > 0 {
		t.ResponseID = fmt.Sprint("msg_", n)
	}
	if n := b[2] >> 4 & 3; n > 0 {
		t.RequestID = fmt.Sprint("req_", n)
	}
	t.Half = []string{"", "", "request", "response"}[b[2]>>6]
	t.OfParent = b[3]&1 != 0
	t.Failed = b[3]&2 != 0
	at(float64(b[3]>>2), float64(b[3]>>2)+float64(b[4]&3))(&t)
	if b[4]&4 != 0 {
		say(strings.Repeat("x", int(b[4]>>3)))(&t)
	}
	if b[4]&0x80 != 0 {
		user("u")(&t)
	}
	if signal == SignalLog {
		t.EventName = []string{
			"gen_ai.user.message", "claude_code.user_prompt", "claude_code.api_request",
			"claude_code.api_request_body", "claude_code.api_response_body", "claude_code.assistant_response", "claude_code.api_error", "x",
		}[b[5]&7]
	}
	if b[5]&0x40 != 0 {
		t.Dialect, t.Sequence = "claude_code.events", int64(b[5]>>3&7)
		t.Who.Session, t.Who.SessionRank = "s", 20
		if b[5]&0x80 != 0 {
			t.PromptID = "p"
		}
	}
	return t
}

func FuzzResolve(f *testing.F) {
	f.Add([]byte("\x02\x05\x00\x00\x08\x00\x02\x29\x02\x00\x08\x00"), uint8(3))
	f.Add([]byte("\x84\x05\x00\x00\xfc\x00\x84\x05\x00\x00\xf4\x00"), uint8(1))
	f.Add([]byte("\x84\x00\x00\x00\x04\xc1\x82\x00\x10\x00\x04\xca\x84\x00\x10\x00\x04\xd5"), uint8(200))
	f.Fuzz(func(t *testing.T, data []byte, bound uint8) {
		c := &clock{epoch}
		n := int(bound) + 1
		w := New(Options{MaxCalls: n, MaxSpans: n, MaxContentBytes: int64(n) << 8, Now: c.Now})
		var told []telling
		for ; len(data) >= 6 && len(told) < 512; data = data[6:] {
			told = append(told, tellingOf(data[:6]))
		}
		for len(told) > 0 {
			k := 1 + int(bound)%3
			for k = min(k, len(told)); slices.ContainsFunc(told[:k], func(x telling) bool { return x.signal != told[0].signal }); k-- {
			}
			items := make([]Item, k)
			for i := range items {
				items[i] = NewItem(told[i].Interaction)
			}
			res := w.Resolve(items, told[0].signal)
			require.Len(t, res.EventIDs, k)
			own := map[int]bool{}
			for _, o := range res.Observations {
				require.GreaterOrEqual(t, o.Carrier, 0)
				require.Less(t, o.Carrier, k)
				require.Len(t, o.Record.Source.Digest, 32)
				require.NotEqual(t, uuid.Nil, o.Record.EventID)
				if o.Own {
					require.False(t, own[o.Carrier], "a carrier has one observation of its own")
					own[o.Carrier] = true
					require.Equal(t, res.EventIDs[o.Carrier], o.Record.EventID)
				}
			}
			for i := range items {
				if items[i].Kind == genai.KindCall || items[i].Kind == genai.KindUncorrelated {
					require.True(t, own[i], "every telling of a call is an observation")
				}
			}
			require.LessOrEqual(t, w.Stats().Calls, n)
			told = told[k:]
		}
		c.now = c.now.Add(25 * time.Hour)
		w.Resolve(nil, SignalSpan)
		requireEmpty(t, w)
	})
}

// BenchmarkResolve is of a full window: each request brings a call, the span
// around it and its twin.
func BenchmarkResolve(b *testing.B) {
	w := New(Options{})
	items := func(n int) []Item {
		root, call, twin := contextSpan(0, 9, 0, user("u-4711")), callSpan(0, 1, 9), callSpan(0, 2, 1, scope(nativeSDK), at(0.1, 0.9))
		out := make([]Item, 0, 3)
		for _, x := range []*telling{&root, &call, &twin} {
			x.TraceID = pcommon.TraceID{1, byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}
			if x.Kind == genai.KindCall {
				x.ResponseID = "msg_01FAKE" + strconv.Itoa(n)
			}
			out = append(out, Item{Interaction: x.Interaction})
		}
		return out
	}
	n := 0
	for ; n < 100_000; n++ {
		w.Resolve(items(n), SignalSpan)
	}
	b.ReportAllocs()
	start := n
	for b.Loop() {
		w.Resolve(items(n), SignalSpan)
		n++
	}
	b.ReportMetric(float64(n-start)/b.Elapsed().Seconds(), "calls/s")
}
