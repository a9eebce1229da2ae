package claudeauditprocessor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/exporter/exportertest"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/processor/processortest"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/metric/metricdata/metricdatatest"

	"github.com/claudeaudit/claudeaudit/exporter/auditledgerexporter"
	"github.com/claudeaudit/claudeaudit/internal/audit"
	"github.com/claudeaudit/claudeaudit/internal/pseudonym"
	"github.com/claudeaudit/claudeaudit/processor/claudeauditprocessor/internal/metadata"
	"github.com/claudeaudit/claudeaudit/processor/claudeauditprocessor/internal/metadatatest"
)

const captures = "../../testdata/captures"

type capture struct {
	name   string
	traces []ptrace.Traces
	logs   []plog.Logs
	// texts are what was said, and what the client's switch for content was meant to keep back.
	texts []string
}

func readCaptures(t testing.TB) []capture {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(captures, "*.expect.json"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	var out []capture
	for _, f := range files {
		out = append(out, readCapture(t, strings.TrimSuffix(filepath.Base(f), ".expect.json")))
	}
	return out
}

func readCapture(t testing.TB, name string) capture {
	t.Helper()
	type message struct {
		Texts, Reasoning []string
		ToolCalls        []struct{ Arguments json.RawMessage } `json:"tool_calls"`
	}
	var e struct {
		Inputs  []struct{ File, Signal string }
		Records []struct {
			Prompt   []message `json:"prompt_messages"`
			Response []message `json:"response_messages"`
			MustNot  []string  `json:"must_not_appear_in_metadata"`
		}
	}
	b, err := os.ReadFile(filepath.Join(captures, name+".expect.json"))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(b, &e))
	c := capture{name: name}
	for _, in := range e.Inputs {
		b, err := os.ReadFile(filepath.Join(captures, in.File))
		require.NoError(t, err)
		if in.Signal == "traces" {
			td, err := (&ptrace.JSONUnmarshaler{}).UnmarshalTraces(b)
			require.NoError(t, err)
			c.traces = append(c.traces, td)
		} else {
			ld, err := (&plog.JSONUnmarshaler{}).UnmarshalLogs(b)
			require.NoError(t, err)
			c.logs = append(c.logs, ld)
		}
	}
	for _, r := range e.Records {
		c.texts = append(c.texts, r.MustNot...)
		for _, m := range slices.Concat(r.Prompt, r.Response) {
			c.texts = append(append(c.texts, m.Texts...), m.Reasoning...)
			for _, call := range m.ToolCalls {
				var arguments any
				require.NoError(t, json.Unmarshal(call.Arguments, &arguments))
				c.texts = appendStrings(c.texts, arguments)
			}
		}
	}
	return c
}

// appendStrings appends the strings in a JSON value.
func appendStrings(dst []string, v any) []string {
	switch v := v.(type) {
	case string:
		dst = append(dst, v)
	case []any:
		for _, e := range v {
			dst = appendStrings(dst, e)
		}
	case map[string]any:
		for _, e := range v {
			dst = appendStrings(dst, e)
		}
	}
	return dst
}

// place is an attribute, or another text, of what came out.
type place struct{ where, text string }

// eachMap calls fn with every attribute map, and returns all other texts.
func eachMap(td []ptrace.Traces, ld []plog.Logs, fn func(where string, m pcommon.Map)) (other []place) {
	for _, td := range td {
		for _, rs := range td.ResourceSpans().All() {
			fn("resource", rs.Resource().Attributes())
			for _, ss := range rs.ScopeSpans().All() {
				fn("scope", ss.Scope().Attributes())
				for _, s := range ss.Spans().All() {
					other = append(other, place{"name", s.Name()}, place{"status", s.Status().Message()}, place{"trace state", s.TraceState().AsRaw()})
					fn("span", s.Attributes())
					for _, e := range s.Events().All() {
						other = append(other, place{"event name", e.Name()})
						fn("event "+e.Name(), e.Attributes())
					}
					for _, l := range s.Links().All() {
						fn("link", l.Attributes())
					}
				}
			}
		}
	}
	for _, ld := range ld {
		for _, rl := range ld.ResourceLogs().All() {
			fn("resource", rl.Resource().Attributes())
			for _, sl := range rl.ScopeLogs().All() {
				fn("scope", sl.Scope().Attributes())
				for _, r := range sl.LogRecords().All() {
					other = append(other, place{"body", r.Body().AsString()}, place{"event name", r.EventName()}, place{"severity", r.SeverityText()})
					fn("log record", r.Attributes())
				}
			}
		}
	}
	return other
}

func (p *pipeline) observations() []audit.Record {
	var out []audit.Record
	eachMap(p.spans.AllTraces(), p.records.AllLogs(), func(_ string, m pcommon.Map) {
		var r audit.Record
		if r.FromAttributes(m) {
			out = append(out, r)
		}
	})
	return out
}

func isContent(key string) bool {
	return key == audit.AttrSystemInstructions || key == audit.AttrInputMessages || key == audit.AttrOutputMessages
}

func TestContentStandsNowhereElse(t *testing.T) {
	// Shorter texts also are words of names and of ids.
	const least = 9
	for _, mode := range []ContentMode{ContentKeep, ContentDrop} {
		cfg := createDefaultConfig().(*Config)
		cfg.Content = mode
		p := start(t, cfg)
		for _, c := range readCaptures(t) {
			t.Run(string(mode)+"/"+c.name, func(t *testing.T) {
				p.spans.Reset()
				p.records.Reset()
				for _, td := range c.traces {
					require.NoError(t, p.traces.ConsumeTraces(t.Context(), td))
				}
				for _, ld := range c.logs {
					require.NoError(t, p.logs.ConsumeLogs(t.Context(), ld))
				}
				require.NotEmpty(t, p.observations())
				var places []place
				other := eachMap(p.spans.AllTraces(), p.records.AllLogs(), func(where string, m pcommon.Map) {
					_, carrier := m.Get(audit.AttrSchema)
					for k, v := range m.All() {
						if isContent(k) {
							require.Equal(t, ContentKeep, mode, "%s of %s", k, where)
							require.True(t, carrier, "%s of %s without a record", k, where)
							require.Equal(t, pcommon.ValueTypeStr, v.Type())
							continue
						}
						places = append(places, place{where + " " + k, v.AsString()})
					}
				})
				for _, at := range append(places, other...) {
					for _, text := range c.texts {
						if len(text) >= least {
							require.NotContains(t, at.text, text, at.where)
							quoted, err := json.Marshal(text)
							require.NoError(t, err)
							require.NotContains(t, at.text, strings.Trim(string(quoted), `"`), at.where)
						}
					}
				}
			})
		}
	}
}

func TestHashesStayWhenContentIsDropped(t *testing.T) {
	hashes := func(mode ContentMode) (out []string) {
		cfg := createDefaultConfig().(*Config)
		cfg.Content = mode
		p := start(t, cfg)
		p.sendTraces(t, readCapture(t, "openinference-multiturn").traces[0])
		for _, r := range p.observations() {
			require.NotEmpty(t, r.PromptHash)
			require.Equal(t, "full", r.Content.Prompt)
			out = append(out, r.EventID.String(), r.PromptHash, r.ResponseHash, r.Source.Digest)
		}
		return out
	}
	require.Equal(t, hashes(ContentKeep), hashes(ContentDrop))
}

// newCall is a span of a model call.
func newCall(change ...func(ptrace.ResourceSpans, ptrace.Span)) ptrace.Traces {
	td := ptrace.NewTraces()
	rs := td.ResourceSpans().AppendEmpty()
	rs.Resource().Attributes().PutStr("service.name", "invoice-assistant")
	ss := rs.ScopeSpans().AppendEmpty()
	ss.Scope().SetName("opentelemetry.instrumentation.genai.anthropic")
	s := ss.Spans().AppendEmpty()
	s.SetName("chat claude-sonnet-4-5")
	s.SetTraceID(pcommon.TraceID{1})
	s.SetSpanID(pcommon.SpanID{1})
	s.SetStartTimestamp(1_790_000_000_000_000_000)
	s.SetEndTimestamp(1_790_000_001_000_000_000)
	a := s.Attributes()
	a.PutStr("gen_ai.operation.name", "chat")
	a.PutStr("gen_ai.provider.name", "anthropic")
	a.PutStr("gen_ai.request.model", "claude-sonnet-4-5")
	a.PutStr("gen_ai.response.id", "msg_01")
	a.PutStr("user.id", "u-4711")
	a.PutStr("gen_ai.input.messages", `[{"role":"user","parts":[{"type":"text","content":"What is the IBAN of Ann?"}]}]`)
	for _, c := range change {
		c(rs, s)
	}
	return td
}

// newEvent is a log event that tells of a model call with its messages.
func newEvent(change ...func(plog.LogRecord)) plog.Logs {
	ld := plog.NewLogs()
	rl := ld.ResourceLogs().AppendEmpty()
	rl.Resource().Attributes().PutStr("service.name", "invoice-assistant")
	r := rl.ScopeLogs().AppendEmpty().LogRecords().AppendEmpty()
	r.SetEventName("gen_ai.client.inference.operation.details")
	r.SetTraceID(pcommon.TraceID{2})
	r.SetSpanID(pcommon.SpanID{2})
	r.SetTimestamp(1_790_000_001_000_000_000)
	r.SetSeverityNumber(plog.SeverityNumberInfo)
	a := r.Attributes()
	a.PutStr("gen_ai.operation.name", "chat")
	a.PutStr("gen_ai.request.model", "claude-sonnet-4-5")
	a.PutStr("gen_ai.input.messages", `[{"role":"user","parts":[{"type":"text","content":"What is the IBAN of Ann?"}]}]`)
	for _, c := range change {
		c(r)
	}
	return ld
}

func one(t testing.TB, p *pipeline) audit.Record {
	t.Helper()
	got := p.observations()
	require.Len(t, got, 1)
	return got[0]
}

func TestClaimedAttributesAreDropped(t *testing.T) {
	tel := componenttest.NewTelemetry()
	t.Cleanup(func() { require.NoError(t, tel.Shutdown(context.Background())) })
	p := startWith(t, createDefaultConfig().(*Config), metadatatest.NewSettings(tel))
	const claim = "claimed by the client"
	claims := func(m pcommon.Map) {
		m.PutStr(audit.AttrSchema, audit.Schema)
		m.PutStr(audit.AttrRecordID, "5f3c6f4e-0000-8000-8000-000000000000")
		m.PutStr("audit.actor.id", claim)
		m.PutStr("audit.observation.digest", strings.Repeat("0", 32))
		m.PutStr("audit.no.such.field", claim)
		m.PutStr("auditor", "stays")
	}
	places := 0
	td := newCall(func(rs ptrace.ResourceSpans, s ptrace.Span) {
		e := s.Events().AppendEmpty()
		e.SetName(audit.ObservationEvent)
		other := rs.ScopeSpans().At(0).Spans().AppendEmpty() // nothing to do with a model
		other.SetName("SELECT")
		for _, m := range []pcommon.Map{
			rs.Resource().Attributes(), rs.ScopeSpans().At(0).Scope().Attributes(), rs.ScopeSpans().At(0).Spans().At(0).Attributes(),
			e.Attributes(), s.Links().AppendEmpty().Attributes(), other.Attributes(),
		} {
			claims(m)
			places++
		}
	})
	ld := newEvent(func(r plog.LogRecord) { claims(r.Attributes()) })
	claims(ld.ResourceLogs().At(0).Resource().Attributes())
	claims(ld.ResourceLogs().At(0).ScopeLogs().At(0).Scope().Attributes())
	claims(ld.ResourceLogs().At(0).ScopeLogs().At(0).LogRecords().AppendEmpty().Attributes())
	places += 4

	p.sendTraces(t, td)
	p.sendLogs(t, ld)
	require.Len(t, p.observations(), 2, "one of the span, one of the event")
	kept := 0
	eachMap(p.spans.AllTraces(), p.records.AllLogs(), func(where string, m pcommon.Map) {
		for k, v := range m.All() {
			require.NotEqual(t, claim, v.AsString(), "%s of %s", k, where)
			if k == "auditor" {
				kept++
			}
		}
	})
	require.Equal(t, places, kept)
	metadatatest.AssertEqualProcessorClaimedAttributes(t, tel,
		[]metricdata.DataPoint[int64]{{Value: int64(5 * places)}}, metricdatatest.IgnoreTimestamp(), metricdatatest.IgnoreExemplars())
}

func TestAddressMasks(t *testing.T) {
	hashed := regexp.MustCompile(`^fd[0-9a-f]{2}:[0-9a-f:]+$`)
	tests := []struct {
		mask          pseudonym.Mask
		address, want string
	}{
		{pseudonym.MaskTruncate, "203.0.113.77", "203.0.113.0"},
		{pseudonym.MaskTruncate, "2001:db8:1:2:3:4:5:6", "2001:db8:1::"},
		{pseudonym.MaskTruncate, "::ffff:203.0.113.77", "203.0.113.0"},
		{pseudonym.MaskTruncate, "not an address", ""},
		{pseudonym.MaskFull, "203.0.113.77", "203.0.113.77"},
		{pseudonym.MaskFull, "203.0.113.77:4711", "203.0.113.77"},
		{pseudonym.MaskDrop, "203.0.113.77", ""},
		{pseudonym.MaskHash, "203.0.113.77", "a pseudonym"},
	}
	for _, tt := range tests {
		t.Run(string(tt.mask)+" "+tt.address, func(t *testing.T) {
			cfg := createDefaultConfig().(*Config)
			cfg.IPAddress.Mask = tt.mask
			if tt.mask == pseudonym.MaskHash {
				cfg.IPAddress.Key = secret
			}
			p := start(t, cfg)
			td := p.sendTraces(t, newCall(func(_ ptrace.ResourceSpans, s ptrace.Span) { s.Attributes().PutStr("client.address", tt.address) }))
			got := one(t, p).IPAddress
			if tt.mask == pseudonym.MaskHash {
				require.Regexp(t, hashed, got)
			} else {
				require.Equal(t, tt.want, got)
			}
			_, there := td.ResourceSpans().At(0).ScopeSpans().At(0).Spans().At(0).Attributes().Get("client.address")
			require.Equal(t, tt.mask == pseudonym.MaskFull, there, "another exporter must not get what the record hides")
		})
	}
}

func TestPseudonyms(t *testing.T) {
	file := filepath.Join(t.TempDir(), "user.key")
	require.NoError(t, os.WriteFile(file, []byte(secret+"\n"), 0o600))
	ids := map[string]bool{}
	for _, user := range []UserIDConfig{
		{Pseudonymize: PseudonymizeHMAC, Key: secret},
		{Pseudonymize: PseudonymizeHMAC, KeyFile: file},
	} {
		cfg := createDefaultConfig().(*Config)
		cfg.UserID = user
		p := start(t, cfg)
		require.NoError(t, p.traces.ConsumeTraces(t.Context(), newCall(func(rs ptrace.ResourceSpans, _ ptrace.Span) {
			rs.Resource().Attributes().PutStr("enduser.id", "u-4711")
		})))
		require.NoError(t, p.logs.ConsumeLogs(t.Context(), newEvent(func(r plog.LogRecord) { r.Attributes().PutStr("enduser.id", "u-4711") })))
		for _, r := range p.observations() {
			require.True(t, strings.HasPrefix(r.UserID, pseudonym.Prefix), r.UserID)
			ids[r.UserID] = true
		}
		other := eachMap(p.spans.AllTraces(), p.records.AllLogs(), func(where string, m pcommon.Map) {
			for k, v := range m.All() {
				require.NotContains(t, v.AsString(), "u-4711", "%s of %s", k, where)
			}
		})
		require.NotEmpty(t, other)
		p.shutdown()
	}
	require.Len(t, ids, 1, "the same key makes the same pseudonym")
}

func TestStartErrorsNameTheirKey(t *testing.T) {
	dir := t.TempDir()
	short := filepath.Join(dir, "short.key")
	require.NoError(t, os.WriteFile(short, []byte("too short"), 0o600))
	disables := filepath.Join(dir, "disables.yaml")
	require.NoError(t, os.WriteFile(disables, []byte("disable: [nope]\n"), 0o600))
	noLedger := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(noLedger, nil, 0o600))
	tests := []struct {
		name   string
		change func(*Config)
		want   string
	}{
		{"no key file", func(c *Config) {
			c.UserID = UserIDConfig{Pseudonymize: PseudonymizeHMAC, KeyFile: filepath.Join(dir, "none")}
		}, "user_id::key_file: "},
		{"short key", func(c *Config) {
			c.IPAddress = IPAddressConfig{Mask: pseudonym.MaskHash, KeyFile: short}
		}, "ip_address::key_file: the key must have at least 16 bytes"},
		{"ledger that is a file", func(c *Config) { c.IdentityWindow.Ledger = noLedger }, "identity_window::ledger: "},
		{"no rule file", func(c *Config) { c.Detection.RuleFiles = []string{filepath.Join(dir, "none.yaml")} }, "detection::rule_files: "},
		{"no rule of the id", func(c *Config) { c.Detection.Disable = []string{"personal.emial"} }, `detection::disable: there is no rule or taxonomy step "personal.emial"`},
		{"no rule of the id in a rule file", func(c *Config) { c.Detection.RuleFiles = []string{disables} }, "detection::rule_files: " + disables + `:1: disable: there is no rule or taxonomy step "nope"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg := createDefaultConfig().(*Config)
			tt.change(cfg)
			set := processortest.NewNopSettings(metadata.Type)
			set.ID = component.NewIDWithName(metadata.Type, "start")
			p := create(t, cfg, set)
			err := p.traces.Start(t.Context(), componenttest.NewNopHost())
			require.ErrorContains(t, err, tt.want)
			require.NotContains(t, err.Error(), "too short")
		})
	}
}

func TestClassification(t *testing.T) {
	const failing = `ParseJSON(attributes["no.such.attribute"])["a"] == 1`
	tests := []struct {
		name               string
		rules              []ClassificationRule
		span, log          string // levels
		spanBasis, logFlag string
		errors             int64
	}{
		{name: "no rules", span: audit.Internal, log: audit.Internal, spanBasis: "default"},
		{
			name:  "none applies",
			rules: []ClassificationRule{{audit.Restricted, []string{"false"}}},
			span:  audit.Internal, log: audit.Internal, spanBasis: "default",
		},
		{
			name: "the highest that applies",
			rules: []ClassificationRule{
				{audit.Public, []string{"true"}},
				{audit.Confidential, []string{"false", `IsMatch(attributes["gen_ai.input.messages"], "IBAN")`}},
				{audit.Restricted, []string{"false"}},
			},
			span: audit.Confidential, log: audit.Confidential, spanBasis: "rules[1].conditions[1]",
		},
		{
			name:  "lower than the default",
			rules: []ClassificationRule{{audit.Public, []string{"true"}}},
			span:  audit.Public, log: audit.Public, spanBasis: "rules[0].conditions[0]",
		},
		{
			name:  "over the record",
			rules: []ClassificationRule{{audit.Restricted, []string{`attributes["audit.source.id"] == "invoice-assistant"`}}},
			span:  audit.Restricted, log: audit.Restricted, spanBasis: "rules[0].conditions[0]",
		},
		{
			name:  "over the resource",
			rules: []ClassificationRule{{audit.Restricted, []string{`resource.attributes["service.name"] == "invoice-assistant"`}}},
			span:  audit.Restricted, log: audit.Restricted, spanBasis: "rules[0].conditions[0]",
		},
		{
			name:  "of spans only",
			rules: []ClassificationRule{{audit.Restricted, []string{`name == "chat claude-sonnet-4-5"`}}},
			span:  audit.Restricted, log: audit.Internal, spanBasis: "rules[0].conditions[0]",
		},
		{
			name:  "of log records only",
			rules: []ClassificationRule{{audit.Restricted, []string{`severity_number == SEVERITY_NUMBER_INFO`}}},
			span:  audit.Internal, log: audit.Restricted, spanBasis: "default",
		},
		{
			name: "a condition that can't be evaluated counts as if it applied",
			rules: []ClassificationRule{
				{audit.Confidential, []string{failing}},
				{audit.Public, []string{"true"}},
			},
			span: audit.Confidential, log: audit.Confidential, spanBasis: "rules[0].conditions[0]", logFlag: flagConditionFailed, errors: 2,
		},
		{
			name: "unless a higher one applies",
			rules: []ClassificationRule{
				{audit.Confidential, []string{failing}},
				{audit.Restricted, []string{"true"}},
			},
			span: audit.Restricted, log: audit.Restricted, spanBasis: "rules[1].conditions[0]",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tel := componenttest.NewTelemetry()
			t.Cleanup(func() { require.NoError(t, tel.Shutdown(context.Background())) })
			cfg := createDefaultConfig().(*Config)
			cfg.Classification.Rules, cfg.Detection.Enabled = tt.rules, false
			require.NoError(t, cfg.Validate())
			p := startWith(t, cfg, metadatatest.NewSettings(tel))
			p.sendTraces(t, newCall())
			p.sendLogs(t, newEvent())
			got := p.observations()
			require.Len(t, got, 2)
			span, log := got[0], got[1]
			require.Equal(t, tt.span, span.DataClassification)
			require.Equal(t, tt.log, log.DataClassification)
			require.Equal(t, tt.spanBasis, span.ClassificationBasis)
			require.Equal(t, tt.logFlag != "", slices.Contains(span.PolicyFlags, flagConditionFailed))
			require.Equal(t, tt.logFlag != "", slices.Contains(log.PolicyFlags, flagConditionFailed))
			if tt.errors > 0 {
				metadatatest.AssertEqualProcessorConditionErrors(t, tel, []metricdata.DataPoint[int64]{{Value: tt.errors}},
					metricdatatest.IgnoreTimestamp(), metricdatatest.IgnoreExemplars())
			}
		})
	}
}

func TestContentIsThereForConditionsAlsoWhenDropped(t *testing.T) {
	cfg := createDefaultConfig().(*Config)
	cfg.Content = ContentDrop
	cfg.Classification.Rules = []ClassificationRule{{audit.Restricted, []string{`IsMatch(attributes["gen_ai.input.messages"], "IBAN")`}}}
	p := start(t, cfg)
	p.sendTraces(t, newCall())
	require.Equal(t, audit.Restricted, one(t, p).DataClassification)
}

func TestModels(t *testing.T) {
	tests := []struct {
		model, provider string
		recorded        bool // with models: claude
	}{
		{"claude-opus-4-5", "anthropic", true},
		{"eu.anthropic.claude-sonnet-4-5-20250929-v1:0", "aws.bedrock", true},
		{"smart", "anthropic", true},
		{"", "", true},
		{"gpt-5", "openai", false},
		{"amazon.nova-pro-v1:0", "aws.bedrock", false},
	}
	for _, tt := range tests {
		t.Run(tt.model, func(t *testing.T) {
			set := func(a pcommon.Map) {
				a.PutStr("gen_ai.request.model", tt.model)
				a.PutStr("gen_ai.provider.name", tt.provider)
			}
			for models, want := range map[Models]bool{ModelsAll: true, ModelsClaude: tt.recorded} {
				cfg := createDefaultConfig().(*Config)
				cfg.Models = models
				p := start(t, cfg)
				td := p.sendTraces(t, newCall(func(_ ptrace.ResourceSpans, s ptrace.Span) { set(s.Attributes()) }))
				ld := p.sendLogs(t, newEvent(func(r plog.LogRecord) { set(r.Attributes()) }))
				n := 0
				if want {
					n = 2
				}
				require.Len(t, p.observations(), n, models)
				if !want {
					eachMap([]ptrace.Traces{td}, []plog.Logs{ld}, func(where string, m pcommon.Map) {
						for k, v := range m.All() {
							require.NotContains(t, v.AsString(), "IBAN", "%s of %s", k, where)
						}
					})
				}
			}
		})
	}
}

func TestWhatIsNoCallPassesUntouched(t *testing.T) {
	td := ptrace.NewTraces()
	s := td.ResourceSpans().AppendEmpty().ScopeSpans().AppendEmpty().Spans().AppendEmpty()
	s.SetName("SELECT")
	s.Status().SetMessage("timeout")
	s.Attributes().PutStr("db.query.text", strings.Repeat("SELECT * FROM t; ", 100))
	s.Attributes().PutStr("client.address", "203.0.113.77")
	s.Events().AppendEmpty().Attributes().PutStr("exception.message", "timeout")
	ld := plog.NewLogs()
	r := ld.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty().LogRecords().AppendEmpty()
	r.Body().SetStr("started")
	r.Attributes().PutEmptyMap("config").PutStr("a", "b")
	wantTraces, wantLogs := ptrace.NewTraces(), plog.NewLogs()
	td.CopyTo(wantTraces)
	ld.CopyTo(wantLogs)

	p := start(t, createDefaultConfig().(*Config))
	require.Equal(t, wantTraces, p.sendTraces(t, td))
	require.Equal(t, wantLogs, p.sendLogs(t, ld))
	require.Empty(t, p.observations())
}

func TestMetrics(t *testing.T) {
	tel := componenttest.NewTelemetry()
	t.Cleanup(func() { require.NoError(t, tel.Shutdown(context.Background())) })
	cfg := createDefaultConfig().(*Config)
	cfg.IdentityWindow.MaxCalls = 2
	p := startWith(t, cfg, metadatatest.NewSettings(tel))
	for n := range 3 {
		p.sendTraces(t, newCall(func(rs ptrace.ResourceSpans, s ptrace.Span) {
			s.SetTraceID(pcommon.TraceID{byte(n + 1)})
			s.Attributes().PutStr("gen_ai.response.id", fmt.Sprint("msg_", n))
			s.Attributes().PutStr("gen_ai.output.messages", "not JSON")
			s.SetParentSpanID(pcommon.SpanID{9})
			parent := rs.ScopeSpans().At(0).Spans().AppendEmpty()
			parent.SetTraceID(pcommon.TraceID{byte(n + 1)})
			parent.SetSpanID(pcommon.SpanID{9})
			parent.Attributes().PutStr("session.id", "s")
		}))
	}
	uncorrelated := plog.NewLogs()
	r := uncorrelated.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty().LogRecords().AppendEmpty()
	r.SetEventName("gen_ai.user.message")
	r.Body().SetEmptyMap().PutStr("content", "hello")
	p.sendLogs(t, uncorrelated)

	o := []metricdatatest.Option{metricdatatest.IgnoreTimestamp(), metricdatatest.IgnoreExemplars()}
	kind := func(k string) attribute.Set { return attribute.NewSet(attribute.String("kind", k)) }
	metadatatest.AssertEqualProcessorObservations(t, tel, []metricdata.DataPoint[int64]{
		{Attributes: kind("interaction"), Value: 3}, {Attributes: kind("activity"), Value: 1},
	}, o...)
	metadatatest.AssertEqualProcessorUnparsed(t, tel, []metricdata.DataPoint[int64]{{Value: 3}}, o...)
	metadatatest.AssertEqualProcessorWindowCalls(t, tel, []metricdata.DataPoint[int64]{{Value: 2}}, o...)
	metadatatest.AssertEqualProcessorWindowEvictions(t, tel, []metricdata.DataPoint[int64]{{Value: 1}}, o...)
	metadatatest.AssertEqualProcessorWindowContent(t, tel, []metricdata.DataPoint[int64]{{Value: 0}}, o...)
	spans, err := tel.GetMetric("claudeaudit_processor_window_spans")
	require.NoError(t, err)
	require.Positive(t, spans.Data.(metricdata.Gauge[int64]).DataPoints[0].Value)
}

func TestErrorsOfTheNextConsumerComeBack(t *testing.T) {
	// What the ledger refused is sent again: the observation is then the same.
	cfg := createDefaultConfig().(*Config)
	set := processortest.NewNopSettings(metadata.Type)
	set.ID = component.NewIDWithName(metadata.Type, "refused")
	p := startWith(t, cfg, set)
	refused := errors.New("ledger is full")
	refusing, err := NewFactory().CreateTraces(t.Context(), set, cfg, consumertest.NewErr(refused))
	require.NoError(t, err)
	require.ErrorIs(t, refusing.ConsumeTraces(t.Context(), newCall()), refused)
	p.sendTraces(t, newCall())
	first := one(t, p)
	p.sendTraces(t, newCall())
	require.Equal(t, first, one(t, p))
	require.NoError(t, refusing.Shutdown(context.Background()))
}

func TestWindowIsRebuiltFromTheLedger(t *testing.T) {
	ledgerConfig := auditledgerexporter.NewFactory().CreateDefaultConfig().(*auditledgerexporter.Config)
	ledgerConfig.Directory = filepath.Join(t.TempDir(), "ledger")
	ledgerConfig.Spool.MinFreeBytes = 1
	cfg := createDefaultConfig().(*Config)
	cfg.IdentityWindow.Ledger = ledgerConfig.Directory

	// run starts processor and ledger anew, and hands on.
	run := func(td ptrace.Traces) []audit.Record {
		p := start(t, cfg)
		f := auditledgerexporter.NewFactory()
		exp, err := f.CreateTraces(t.Context(), exportertest.NewNopSettings(f.Type()), ledgerConfig)
		require.NoError(t, err)
		require.NoError(t, exp.Start(t.Context(), componenttest.NewNopHost()))
		require.NoError(t, exp.ConsumeTraces(t.Context(), p.sendTraces(t, td)))
		require.NoError(t, exp.Shutdown(context.Background()))
		got := p.observations()
		p.shutdown()
		return got
	}
	half := func(scope string) ptrace.Traces {
		td := readCapture(t, "dupotelgenai-plain").traces[0]
		for _, rs := range td.ResourceSpans().All() {
			rs.ScopeSpans().RemoveIf(func(ss ptrace.ScopeSpans) bool { return ss.Scope().Name() != scope })
		}
		require.Equal(t, 1, td.SpanCount())
		return td
	}
	sdk, instrumentation := run(half("com.anthropic.sdk.python")), run(half("opentelemetry.instrumentation.genai.anthropic"))
	require.Len(t, sdk, 1)
	require.Len(t, instrumentation, 1)
	require.Equal(t, sdk[0].EventID, instrumentation[0].EventID, "the twin finds its call after a restart")
	again := run(half("com.anthropic.sdk.python"))
	require.Equal(t, sdk[0], again[0], "redelivered after two restarts")
}

func TestTwinsOfTwoSignals(t *testing.T) {
	p := start(t, createDefaultConfig().(*Config))
	p.sendTraces(t, newCall())
	p.sendLogs(t, newEvent(func(r plog.LogRecord) {
		r.SetTraceID(pcommon.TraceID{1})
		r.SetSpanID(pcommon.SpanID{1})
	}))
	got := p.observations()
	require.Len(t, got, 2)
	require.Equal(t, got[0].EventID, got[1].EventID)
	require.NotEqual(t, got[0].Source.Digest, got[1].Source.Digest)
	require.Equal(t, got[0].PromptHash, got[1].PromptHash)
}

func TestLimits(t *testing.T) {
	cfg := createDefaultConfig().(*Config)
	cfg.Limits.MaxContentBytes = 64
	p := start(t, cfg)
	td := p.sendTraces(t, newCall())
	got := one(t, p)
	require.Len(t, got.Unparsed, 1)
	require.Equal(t, "gen_ai.input.messages", got.Unparsed[0].Key)
	require.Equal(t, "too_large", got.Unparsed[0].Reason)
	require.Contains(t, got.PolicyFlags, audit.FlagUnparsed)
	_, there := td.ResourceSpans().At(0).ScopeSpans().At(0).Spans().At(0).Attributes().Get(audit.AttrInputMessages)
	require.False(t, there, "what isn't read isn't handed on")

	// Text that grows when it is written as JSON counts as it is written.
	p.shutdown()
	cfg.Limits.MaxContentBytes = 4096
	p = start(t, cfg)
	td = newCall()
	input := td.ResourceSpans().At(0).ScopeSpans().At(0).Spans().At(0).Attributes()
	input.Remove(audit.AttrInputMessages)
	part := input.PutEmptySlice(audit.AttrInputMessages).AppendEmpty().SetEmptyMap()
	part.PutStr("role", "user")
	text := part.PutEmptySlice("parts").AppendEmpty().SetEmptyMap()
	text.PutStr("type", "text")
	text.PutStr("content", strings.Repeat("\x01", 1000))
	td = p.sendTraces(t, td)
	got = one(t, p)
	require.Equal(t, "too_large", got.Unparsed[0].Reason)
	require.NotEmpty(t, got.PromptHash, "what was read is hashed")
	_, there = td.ResourceSpans().At(0).ScopeSpans().At(0).Spans().At(0).Attributes().Get(audit.AttrInputMessages)
	require.False(t, there)
}
