package claudeauditprocessor

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/claudeaudit/claudeaudit/internal/audit"
	"github.com/claudeaudit/claudeaudit/internal/conversation"
	"github.com/claudeaudit/claudeaudit/internal/genai"
)

// gatewayCall is a call that the gateway is about to forward.
func gatewayCall() *genai.Interaction {
	return &genai.Interaction{
		Start: time.Unix(1_790_000_000, 0).UTC(), Operation: "chat", Provider: "anthropic", RequestModel: "claude-sonnet-4-5",
		Who: genai.Who{User: "u-4711", UserRank: 1, Session: "s-1", SessionRank: 2, Application: "invoice-assistant", Address: "192.0.2.7"},
		Content: conversation.Conversation{Messages: []conversation.Message{
			{Role: conversation.RoleUser, Parts: []conversation.Part{conversation.Text("Write to ann@example.com")}},
		}},
		PromptCompleteness: genai.ContentFull,
		Gateway:            &genai.Gateway{CallID: uuid.MustParse("01920000-0000-7000-8000-000000000001"), Status: audit.StatusInitiated, Assurance: audit.AssuranceVerified, Surface: "anthropic"},
	}
}

// gatewayLogs are what the gateway sends to tell of calls.
func gatewayLogs(told ...*genai.Interaction) plog.Logs {
	ld := plog.NewLogs()
	sl := ld.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty()
	sl.Scope().SetName("claude_gateway")
	for i, it := range told {
		genai.PutGateway(sl.LogRecords().AppendEmpty(), i, it)
	}
	return ld
}

// tell takes what a gateway tells, and returns whom it can tell the ids of the answers.
func (p *pipeline) tell(t *testing.T, told ...*genai.Interaction) *genai.Names {
	t.Helper()
	names := &genai.Names{}
	require.NoError(t, p.logs.ConsumeLogs(genai.WithGateway(t.Context(), genai.Told{Calls: told, Names: names}), gatewayLogs(told...)))
	return names
}

func TestGateway(t *testing.T) {
	cfg := createDefaultConfig().(*Config)
	cfg.Classification.Rules = []ClassificationRule{{audit.Restricted, []string{`attributes["gen_ai.request.model"] == "claude-opus-4-5"`}}}
	p := start(t, cfg)
	first, second := gatewayCall(), gatewayCall()
	second.Gateway.CallID, second.RequestModel = uuid.New(), "claude-opus-4-5"
	p.tell(t, first, second)
	got := p.observations()
	require.Len(t, got, 2)
	r := got[0]
	require.Equal(t, first.Gateway.CallID, r.EventID)
	require.Equal(t, audit.StatusInitiated, r.Status)
	require.Equal(t, []string{"u-4711", "s-1", "invoice-assistant", "claude-sonnet-4-5"}, []string{r.UserID, r.SessionID, r.ApplicationID, r.Model})
	require.Equal(t, audit.AssuranceVerified, r.IdentityAssurance)
	require.Equal(t, conversation.PromptHash(nil, first.Content.Messages), r.PromptHash)
	require.Equal(t, "email", r.Detections[0].Type)
	require.Equal(t, audit.Source{
		Dialect: genai.DialectGateway, Scope: "claude_gateway", Evidence: genai.EvidenceGateway, Signal: "log", Digest: r.Source.Digest, Rank: r.Source.Rank, UserRank: 2, SessionRank: 4, // twice those told: the spans around it stand between
	}, r.Source)
	require.Equal(t, audit.Restricted, got[1].DataClassification, "conditions see attributes")

	// What is told again after a failure is the same.
	p.tell(t, first)
	require.Equal(t, r, p.observations()[2])
	require.Equal(t, gatewayCall(), first, "what is told is not changed")
}

// The ids of an answer are known before anybody can have seen it: the client's telemetry finds the call.
func TestGatewayNamesAnAnswer(t *testing.T) {
	p := start(t, createDefaultConfig().(*Config))
	call := gatewayCall()
	names := p.tell(t, call)
	p.records.Reset()
	names.NameCall(call.Gateway.CallID, "msg_01", "")
	p.sendTraces(t, newCall())
	require.Equal(t, call.Gateway.CallID, one(t, p).EventID)
}

func TestGatewayIsNotForged(t *testing.T) {
	p := start(t, createDefaultConfig().(*Config))
	require.NoError(t, p.logs.ConsumeLogs(t.Context(), gatewayLogs(gatewayCall())))
	require.Empty(t, p.observations(), "without the mark it tells nothing")

	// A call of which nothing can be recorded must not be forwarded.
	for name, change := range map[string]func(pcommon.Map){
		"taken away": func(m pcommon.Map) { m.Clear() },
		"negative":   func(m pcommon.Map) { m.PutInt("claudeaudit.gateway.telling", -1) },
		"too large":  func(m pcommon.Map) { m.PutInt("claudeaudit.gateway.telling", 1) },
		"a text":     func(m pcommon.Map) { m.PutStr("claudeaudit.gateway.telling", "0") },
	} {
		t.Run(name, func(t *testing.T) {
			p.records.Reset()
			told := genai.Told{Calls: []*genai.Interaction{gatewayCall()}, Names: &genai.Names{}}
			ld := gatewayLogs(told.Calls...)
			change(ld.ResourceLogs().At(0).ScopeLogs().At(0).LogRecords().At(0).Attributes())
			require.ErrorIs(t, p.logs.ConsumeLogs(genai.WithGateway(context.Background(), told), ld), genai.ErrTelling)
			require.Empty(t, p.records.AllLogs())
		})
	}
	require.NoError(t, p.traces.ConsumeTraces(t.Context(), ptrace.NewTraces()), "it goes on")
}
