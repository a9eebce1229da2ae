package genai

import (
	"context"
	"time"
	"unsafe"

	"github.com/google/uuid"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/claudeaudit/claudeaudit/internal/conversation"
	"github.com/claudeaudit/claudeaudit/internal/jcs"
)

// DialectGateway is the dialect in which the gateway tells of the calls that pass
// through it: one log record before anything is forwarded, one for how the call ended,
// and one without an observation in between, which says what ids the API gave
// it. It is read only where WithGateway marks the context. An attribute or
// a scope of the same name that came in from outside means nothing.
const DialectGateway = "gateway"

type gatewayKey struct{}

// WithGateway marks what is consumed under ctx as told by the gateway of this process. No
// telemetry from outside can have the mark: it does not travel.
func WithGateway(ctx context.Context) context.Context {
	return context.WithValue(ctx, gatewayKey{}, true)
}

// FromGateway tells whether ctx has the mark of WithGateway.
func FromGateway(ctx context.Context) bool {
	marked, _ := ctx.Value(gatewayKey{}).(bool)
	return marked
}

// Gateway is what only the gateway knows of a call.
type Gateway struct {
	// CallID is the call's event_id.
	CallID uuid.UUID
	// Status is the record's status; "" for a telling that only names the ids.
	Status string
	// Activity says that this is no call of a model: a list of models, a file.
	Activity bool
	// Assurance is the record's identity_assurance.
	Assurance string
	// Flags are policy flags.
	Flags []string
	// Surface, Ended and the rest are those of audit.Call.
	Surface, Ended                           string
	HTTPStatus, TTFTMs, ResponseBytes        *int64
	RequestSHA256, ClientKey                 string
	BatchID, BatchItem                       string
	PolicyDecision, PolicyRule, PolicyReason string
}

// gatewayPrefix starts the names of the dialect's own attributes.
const gatewayPrefix = "claudeaudit.gateway."

// One table writes and reads the dialect. Fields that telemetry has too have the
// names of the OpenTelemetry conventions.
var gatewayStrings = []struct {
	key   string
	field func(*Interaction) *string
}{
	{gatewayPrefix + "status", func(it *Interaction) *string { return &it.Gateway.Status }},
	{gatewayPrefix + "surface", func(it *Interaction) *string { return &it.Gateway.Surface }},
	{gatewayPrefix + "ended", func(it *Interaction) *string { return &it.Gateway.Ended }},
	{gatewayPrefix + "request.sha256", func(it *Interaction) *string { return &it.Gateway.RequestSHA256 }},
	{gatewayPrefix + "client.key", func(it *Interaction) *string { return &it.Gateway.ClientKey }},
	{gatewayPrefix + "batch.id", func(it *Interaction) *string { return &it.Gateway.BatchID }},
	{gatewayPrefix + "batch.item", func(it *Interaction) *string { return &it.Gateway.BatchItem }},
	{gatewayPrefix + "policy.decision", func(it *Interaction) *string { return &it.Gateway.PolicyDecision }},
	{gatewayPrefix + "policy.rule", func(it *Interaction) *string { return &it.Gateway.PolicyRule }},
	{gatewayPrefix + "policy.reason", func(it *Interaction) *string { return &it.Gateway.PolicyReason }},
	{gatewayPrefix + "identity.assurance", func(it *Interaction) *string { return &it.Gateway.Assurance }},
	{gatewayPrefix + "prompt.completeness", func(it *Interaction) *string { return (*string)(&it.PromptCompleteness) }},
	{gatewayPrefix + "response.completeness", func(it *Interaction) *string { return (*string)(&it.ResponseCompleteness) }},
	{"service.name", func(it *Interaction) *string { return &it.Who.Application }},
	{"user.id", func(it *Interaction) *string { return &it.Who.User }},
	{"user.department", func(it *Interaction) *string { return &it.Who.Department }},
	{"session.id", func(it *Interaction) *string { return &it.Who.Session }},
	{"client.address", func(it *Interaction) *string { return &it.Who.Address }},
	{"gen_ai.agent.name", func(it *Interaction) *string { return &it.Who.AgentName }},
	{"gen_ai.provider.name", func(it *Interaction) *string { return &it.Provider }},
	{"gen_ai.operation.name", func(it *Interaction) *string { return &it.Operation }},
	{"gen_ai.request.model", func(it *Interaction) *string { return &it.RequestModel }},
	{"gen_ai.response.model", func(it *Interaction) *string { return &it.ResponseModel }},
	{"gen_ai.response.id", func(it *Interaction) *string { return &it.ResponseID }},
	{"anthropic.request.id", func(it *Interaction) *string { return &it.RequestID }},
	{"anthropic.message.stop_reason", func(it *Interaction) *string { return &it.StopReason }},
	{"error.type", func(it *Interaction) *string { return &it.ErrorType }},
}

var gatewayInts = []struct {
	key   string
	field func(*Interaction) **int64
}{
	{gatewayPrefix + "ttft_ms", func(it *Interaction) **int64 { return &it.Gateway.TTFTMs }},
	{gatewayPrefix + "response.bytes", func(it *Interaction) **int64 { return &it.Gateway.ResponseBytes }},
	{"http.response.status_code", func(it *Interaction) **int64 { return &it.Gateway.HTTPStatus }},
	{"gen_ai.usage.input_tokens", func(it *Interaction) **int64 { return &it.PromptTokens }},
	{"gen_ai.usage.output_tokens", func(it *Interaction) **int64 { return &it.CompletionTokens }},
	{"gen_ai.usage.cache_read.input_tokens", func(it *Interaction) **int64 { return &it.CacheReadTokens }},
	{"gen_ai.usage.cache_write.input_tokens", func(it *Interaction) **int64 { return &it.CacheWriteTokens }},
}

const (
	gatewayCallID      = gatewayPrefix + "call.id"
	gatewayStart       = gatewayPrefix + "start"
	gatewayEnd         = gatewayPrefix + "end"
	gatewayUserRank    = gatewayPrefix + "user.rank"
	gatewaySessionRank = gatewayPrefix + "session.rank"
	gatewayActivity    = gatewayPrefix + "activity"
	gatewayFlags       = gatewayPrefix + "flags"
	gatewayUnparsed    = gatewayPrefix + "unparsed"
	gatewayErrorExact  = gatewayPrefix + "error.exact"
)

// gatewayAttributes is how many attributes a telling has, and the record that is made of it beside them, as a rule.
const gatewayAttributes = 96

// PutGateway writes what the gateway tells to a log record, for Reader.Gateway. it.Gateway must be
// set, and the content normalised.
func PutGateway(rec plog.LogRecord, it *Interaction) {
	m := rec.Attributes()
	if it.Gateway.Status == "" {
		m.EnsureCapacity(4) // names the ids alone
	} else {
		m.EnsureCapacity(gatewayAttributes)
	}
	m.PutStr(gatewayCallID, it.Gateway.CallID.String())
	for i := range gatewayStrings {
		if v := *gatewayStrings[i].field(it); v != "" {
			m.PutStr(gatewayStrings[i].key, v)
		}
	}
	for i := range gatewayInts {
		if v := *gatewayInts[i].field(it); v != nil {
			m.PutInt(gatewayInts[i].key, *v)
		}
	}
	if !it.Start.IsZero() {
		m.PutInt(gatewayStart, it.Start.UnixNano())
	}
	if !it.End.IsZero() {
		m.PutInt(gatewayEnd, it.End.UnixNano())
		rec.SetTimestamp(pcommon.NewTimestampFromTime(it.End))
	} else {
		rec.SetTimestamp(pcommon.NewTimestampFromTime(it.Start))
	}
	if it.Who.UserRank > 0 {
		m.PutInt(gatewayUserRank, int64(it.Who.UserRank))
	}
	if it.Who.SessionRank > 0 {
		m.PutInt(gatewaySessionRank, int64(it.Who.SessionRank))
	}
	if it.Gateway.Activity {
		m.PutBool(gatewayActivity, true)
	}
	if it.ErrorTypeExact {
		m.PutBool(gatewayErrorExact, true)
	}
	if len(it.Gateway.Flags) > 0 {
		s := m.PutEmptySlice(gatewayFlags)
		for _, f := range it.Gateway.Flags {
			s.AppendEmpty().SetStr(f)
		}
	}
	if len(it.Unparsed) > 0 {
		s := m.PutEmptySlice(gatewayUnparsed)
		for _, u := range it.Unparsed {
			e := s.AppendEmpty().SetEmptyMap()
			e.PutStr("key", u.Key)
			e.PutInt("bytes", int64(u.Bytes))
			e.PutStr("sha256", u.SHA256)
			e.PutStr("reason", u.Reason)
		}
	}
	c := &it.Content
	if len(c.System) > 0 {
		m.PutStr(keyNames[keySystemInstructions], written(conversation.AppendParts(nil, c.System, conversation.Stored)))
	}
	if len(c.Messages) > 0 {
		m.PutStr(keyNames[keyInputMessages], written(conversation.AppendMessages(nil, c.Messages, conversation.Stored)))
	}
	if len(c.Output) > 0 {
		m.PutStr(keyNames[keyOutputMessages], written(conversation.AppendMessages(nil, c.Output, conversation.Stored)))
	}
	if !it.TraceID.IsEmpty() {
		rec.SetTraceID(it.TraceID)
		rec.SetSpanID(it.ParentSpanID)
	}
}

// written is b as a string that shares its memory; b must not change any more.
func written(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// Gateway reads what PutGateway wrote. Call it only where FromGateway says so. The scope's
// name is that of the gateway.
func (rd *Reader) Gateway(it *Interaction, _ *Resource, scope pcommon.InstrumentationScope, rec plog.LogRecord) {
	*it = Interaction{
		Kind: KindCall, Dialect: DialectGateway, Scope: scope.Name(), Evidence: EvidenceGateway, Claude: true, Sequence: -1,
		TraceID: rec.TraceID(), ParentSpanID: rec.SpanID(), Gateway: &Gateway{},
	}
	r := rd.begin(it, rec.Attributes())
	m := rec.Attributes()
	for i := range gatewayStrings {
		if v, ok := m.Get(gatewayStrings[i].key); ok {
			*gatewayStrings[i].field(it) = v.Str()
		}
	}
	for i := range gatewayInts {
		if v, ok := m.Get(gatewayInts[i].key); ok {
			n := v.Int()
			*gatewayInts[i].field(it) = &n
		}
	}
	for name, v := range m.All() {
		switch name {
		case gatewayCallID:
			// An id that can't be read stays zero: the window makes no record of it.
			it.Gateway.CallID, _ = uuid.Parse(v.Str())
		case gatewayStart:
			it.Start = time.Unix(0, v.Int()).UTC()
		case gatewayEnd:
			it.End = time.Unix(0, v.Int()).UTC()
		case gatewayUserRank:
			it.Who.UserRank = int(v.Int())
		case gatewaySessionRank:
			it.Who.SessionRank = int(v.Int())
		case gatewayActivity:
			it.Gateway.Activity = v.Bool()
		case gatewayErrorExact:
			it.ErrorTypeExact = v.Bool()
		case gatewayFlags:
			for _, e := range v.Slice().All() {
				it.Gateway.Flags = append(it.Gateway.Flags, e.Str())
			}
		case gatewayUnparsed:
			for _, e := range v.Slice().All() {
				it.Unparsed = append(it.Unparsed, readUnparsed(e.Map()))
			}
		}
	}
	it.Failed = it.ErrorType != ""
	if it.StopReason != "" {
		reason := it.StopReason
		it.StopReason = ""
		r.stopReason(reason)
	}
	if !it.Start.IsZero() && !it.End.IsZero() {
		ms := float64(it.End.Sub(it.Start)) / float64(time.Millisecond)
		it.LatencyMs = &ms
	}
	r.canonical()
}

// canonical reads content that stands in canonical form already.
func (r *reader) canonical() {
	c := &r.it.Content
	for _, a := range []struct {
		key  key
		s    *side
		take func(jcs.Value) error
	}{
		{keySystemInstructions, &r.prompt, func(v jcs.Value) (err error) { c.System, err = conversation.ParseParts(v); return err }},
		{keyInputMessages, &r.prompt, func(v jcs.Value) (err error) { c.Messages, err = conversation.ParseMessages(v); return err }},
		{keyOutputMessages, &r.answer, func(v jcs.Value) (err error) { c.Output, err = conversation.ParseMessages(v); return err }},
	} {
		if !r.a.has(a.key) {
			continue
		}
		v, err := r.mem.json.Parse(r.a.known[a.key].Str(), jcs.DefaultLimits)
		if err == nil {
			err = a.take(v)
		}
		if err != nil {
			r.unparsed(keyNames[a.key], r.a.known[a.key], reasonWrongShape, a.s)
		}
	}
	c.Normalize()
}

func readUnparsed(m pcommon.Map) Unparsed {
	var u Unparsed
	for name, v := range m.All() {
		switch name {
		case "key":
			u.Key = v.Str()
		case "bytes":
			u.Bytes = int(v.Int())
		case "sha256":
			u.SHA256 = v.Str()
		case "reason":
			u.Reason = v.Str()
		}
	}
	return u
}
