package genai

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
)

// DialectGateway is the dialect in which the gateway tells of the calls that pass
// through it: one log record before anything is forwarded, and one for how the call
// ended. What is told is not written into the log records: WithGateway hands it on beside
// them, as it is, and each stands for one telling. An attribute or
// a scope of the same name that came in from outside means nothing.
const DialectGateway = "gateway"

type gatewayKey struct{}

// Told is what the gateway tells at a time. Who reads it must not change the calls.
type Told struct {
	Calls []*Interaction
	// Names is for who wants to hear what ids the API gives the answers.
	Names *Names
}

// WithGateway marks what is consumed under ctx as told by the gateway of this process, and says what is told.
// No telemetry from outside can have the mark: it does not travel.
func WithGateway(ctx context.Context, told Told) context.Context {
	return context.WithValue(ctx, gatewayKey{}, told)
}

// FromGateway returns what WithGateway marked ctx with, and whether it has.
func FromGateway(ctx context.Context) (told Told, ok bool) {
	told, ok = ctx.Value(gatewayKey{}).(Told)
	return told, ok
}

// Namer hears what ids the API gave the answer to a call of the gateway's, "" for one that is not known.
type Namer interface {
	NameCall(call uuid.UUID, responseID, requestID string)
}

// Names passes on what ids the API gives the answers to a gateway's calls, before their clients can know them. All
// who have taken a telling of the gateway's hear it, past the pipeline: it makes no record. The zero value is ready.
type Names struct {
	mu     sync.RWMutex
	namers []Namer
}

// Tell has a namer told from now on. Again with the same one it changes nothing, and costs little.
func (n *Names) Tell(namer Namer) {
	n.mu.RLock()
	known := slices.Contains(n.namers, namer)
	n.mu.RUnlock()
	if known {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if !slices.Contains(n.namers, namer) {
		n.namers = append(n.namers, namer)
	}
}

// NameCall tells all namers.
func (n *Names) NameCall(call uuid.UUID, responseID, requestID string) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	for _, namer := range n.namers {
		namer.NameCall(call, responseID, requestID)
	}
}

// Gateway is what only the gateway knows of a call.
type Gateway struct {
	// CallID is the call's event_id.
	CallID uuid.UUID
	// Status is the record's status.
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

// gatewayTelling is the place among what is told that a log record stands for.
const gatewayTelling = "claudeaudit.gateway.telling"

// What conditions and other exporters find in a log record of the gateway's, under the names of the OpenTelemetry
// conventions.
var gatewayStrings = []struct {
	key   string
	field func(*Interaction) string
}{
	{"service.name", func(it *Interaction) string { return it.Who.Application }},
	{"user.id", func(it *Interaction) string { return it.Who.User }},
	{"user.department", func(it *Interaction) string { return it.Who.Department }},
	{"session.id", func(it *Interaction) string { return it.Who.Session }},
	{"client.address", func(it *Interaction) string { return it.Who.Address }},
	{"gen_ai.agent.name", func(it *Interaction) string { return it.Who.AgentName }},
	{"gen_ai.provider.name", func(it *Interaction) string { return it.Provider }},
	{"gen_ai.operation.name", func(it *Interaction) string { return it.Operation }},
	{"gen_ai.request.model", func(it *Interaction) string { return it.RequestModel }},
	{"gen_ai.response.model", func(it *Interaction) string { return it.ResponseModel }},
	{"gen_ai.response.id", func(it *Interaction) string { return it.ResponseID }},
	{"anthropic.request.id", func(it *Interaction) string { return it.RequestID }},
	{"anthropic.message.stop_reason", func(it *Interaction) string { return it.StopReason }},
	{"error.type", func(it *Interaction) string { return it.ErrorType }},
}

var gatewayInts = []struct {
	key   string
	field func(*Interaction) *int64
}{
	{"http.response.status_code", func(it *Interaction) *int64 { return it.Gateway.HTTPStatus }},
	{"gen_ai.usage.input_tokens", func(it *Interaction) *int64 { return it.PromptTokens }},
	{"gen_ai.usage.output_tokens", func(it *Interaction) *int64 { return it.CompletionTokens }},
	{"gen_ai.usage.cache_read.input_tokens", func(it *Interaction) *int64 { return it.CacheReadTokens }},
	{"gen_ai.usage.cache_write.input_tokens", func(it *Interaction) *int64 { return it.CacheWriteTokens }},
}

// gatewayAttributes is how many attributes a log record has, and the record that is made of it beside them, as a rule.
const gatewayAttributes = 64

// PutGateway makes a log record stand for the telling in the given place. it.Gateway must be set.
func PutGateway(rec plog.LogRecord, place int, it *Interaction) {
	m := rec.Attributes()
	m.EnsureCapacity(gatewayAttributes)
	m.PutInt(gatewayTelling, int64(place))
	for i := range gatewayStrings {
		if v := gatewayStrings[i].field(it); v != "" {
			m.PutStr(gatewayStrings[i].key, v)
		}
	}
	for i := range gatewayInts {
		if v := gatewayInts[i].field(it); v != nil {
			m.PutInt(gatewayInts[i].key, *v)
		}
	}
	if it.End.IsZero() {
		rec.SetTimestamp(pcommon.NewTimestampFromTime(it.Start))
	} else {
		rec.SetTimestamp(pcommon.NewTimestampFromTime(it.End))
	}
	if !it.TraceID.IsEmpty() {
		rec.SetTraceID(it.TraceID)
		rec.SetSpanID(it.ParentSpanID)
	}
}

// ErrTelling says that a log record of the gateway's stands for nothing that was told.
var ErrTelling = errors.New("a log record of the gateway's does not say what it stands for: a processor before this one has changed it")

// ReadGateway reads the telling that a log record stands for, of those there are. The content has to be
// normalised, and stays the gateway's. The scope's name is that of the gateway.
func ReadGateway(it *Interaction, told []*Interaction, scope pcommon.InstrumentationScope, rec plog.LogRecord) error {
	v, ok := rec.Attributes().Get(gatewayTelling)
	if !ok || v.Type() != pcommon.ValueTypeInt || v.Int() < 0 || v.Int() >= int64(len(told)) {
		return ErrTelling
	}
	*it = *told[v.Int()]
	it.Kind, it.Dialect, it.Scope, it.Evidence, it.Claude, it.Sequence = KindCall, DialectGateway, scope.Name(), EvidenceGateway, true, -1
	it.Unparsed = slices.Clip(it.Unparsed) // more may be found
	it.Failed = it.ErrorType != ""
	reason := it.StopReason
	it.StopReason = ""
	it.setStopReason(reason)
	if !it.Start.IsZero() && !it.End.IsZero() {
		ms := float64(it.End.Sub(it.Start)) / float64(time.Millisecond)
		it.LatencyMs = &ms
	}
	return nil
}
