package audit

import (
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/collector/pdata/pcommon"
)

// A record travels through the pipeline as attributes of the span, span event
// or log record that told it. The names follow the OpenTelemetry Audit Logging
// draft where it has one; audit.<field> is the rest.
const (
	// AttrPrefix is what all of them start with. Attributes of this name that
	// come from outside are dropped.
	AttrPrefix = "audit."
	// AttrSchema marks a carrier of an observation.
	AttrSchema = "audit.schema"
	// AttrRecordID is the event_id. A carrier that has it without AttrSchema is
	// another telling of that record, with no observation of its own.
	AttrRecordID = "audit.record.id"
	// ObservationEvent names the span event or log record that carries an
	// observation of another span's call.
	ObservationEvent = "audit.observation"
)

// Attributes that hold the canonical content beside a record, and nowhere else.
const (
	AttrSystemInstructions = "gen_ai.system_instructions"
	AttrInputMessages      = "gen_ai.input.messages"
	AttrOutputMessages     = "gen_ai.output.messages"
)

var strAttrs = []struct {
	key   string
	field func(*Record) *string
}{
	{"audit.action", func(r *Record) *string { return &r.Operation }},
	{"audit.actor.id", func(r *Record) *string { return &r.UserID }},
	{"audit.agent_name", func(r *Record) *string { return &r.AgentName }},
	{"audit.batch_id", func(r *Record) *string { return &r.Call.BatchID }},
	{"audit.batch_item", func(r *Record) *string { return &r.Call.BatchItem }},
	{"audit.classification_basis", func(r *Record) *string { return &r.ClassificationBasis }},
	{"audit.client_key", func(r *Record) *string { return &r.Call.ClientKey }},
	{"audit.content.prompt", func(r *Record) *string { return &r.Content.Prompt }},
	{"audit.content.response", func(r *Record) *string { return &r.Content.Response }},
	{"audit.data_classification", func(r *Record) *string { return &r.DataClassification }},
	{"audit.department", func(r *Record) *string { return &r.Department }},
	{"audit.ended", func(r *Record) *string { return &r.Call.Ended }},
	{"audit.error_type", func(r *Record) *string { return &r.ErrorType }},
	{"audit.identity_assurance", func(r *Record) *string { return &r.IdentityAssurance }},
	{"audit.ip_address", func(r *Record) *string { return &r.IPAddress }},
	{"audit.kind", func(r *Record) *string { return &r.Kind }},
	{"audit.observation.dialect", func(r *Record) *string { return &r.Source.Dialect }},
	{"audit.observation.digest", func(r *Record) *string { return &r.Source.Digest }},
	{"audit.observation.evidence", func(r *Record) *string { return &r.Source.Evidence }},
	{"audit.observation.parent_span_id", func(r *Record) *string { return &r.Source.ParentSpanID }},
	{"audit.observation.prompt_id", func(r *Record) *string { return &r.Source.PromptID }},
	{"audit.observation.scope", func(r *Record) *string { return &r.Source.Scope }},
	{"audit.observation.signal", func(r *Record) *string { return &r.Source.Signal }},
	{"audit.outcome", func(r *Record) *string { return &r.Status }},
	{"audit.policy_decision", func(r *Record) *string { return &r.Call.PolicyDecision }},
	{"audit.policy_reason", func(r *Record) *string { return &r.Call.PolicyReason }},
	{"audit.policy_rule", func(r *Record) *string { return &r.Call.PolicyRule }},
	{"audit.prompt_hash", func(r *Record) *string { return &r.PromptHash }},
	{"audit.provider", func(r *Record) *string { return &r.Provider }},
	{"audit.request_id", func(r *Record) *string { return &r.RequestID }},
	{"audit.request_model", func(r *Record) *string { return &r.RequestModel }},
	{"audit.request_sha256", func(r *Record) *string { return &r.Call.RequestSHA256 }},
	{"audit.response_hash", func(r *Record) *string { return &r.ResponseHash }},
	{"audit.response_id", func(r *Record) *string { return &r.ResponseID }},
	{"audit.retention.class", func(r *Record) *string { return &r.RetentionClass }},
	{"audit.retention.until", func(r *Record) *string { return &r.RetentionUntil }},
	{"audit.session_id", func(r *Record) *string { return &r.SessionID }},
	{"audit.source.id", func(r *Record) *string { return &r.ApplicationID }},
	{"audit.span_id", func(r *Record) *string { return &r.SpanID }},
	{"audit.stop_class", func(r *Record) *string { return &r.StopClass }},
	{"audit.stop_reason", func(r *Record) *string { return &r.StopReason }},
	{"audit.surface", func(r *Record) *string { return &r.Call.Surface }},
	{"audit.target.id", func(r *Record) *string { return &r.Model }},
	{"audit.trace_id", func(r *Record) *string { return &r.TraceID }},
}

var intAttrs = []struct {
	key   string
	field func(*Record) **int64
}{
	{"audit.cache_read_tokens", func(r *Record) **int64 { return &r.CacheReadTokens }},
	{"audit.cache_write_tokens", func(r *Record) **int64 { return &r.CacheWriteTokens }},
	{"audit.completion_tokens", func(r *Record) **int64 { return &r.CompletionTokens }},
	{"audit.http_status", func(r *Record) **int64 { return &r.Call.HTTPStatus }},
	{"audit.latency_ms", func(r *Record) **int64 { return &r.LatencyMs }},
	{"audit.prompt_tokens", func(r *Record) **int64 { return &r.PromptTokens }},
	{"audit.response_bytes", func(r *Record) **int64 { return &r.Call.ResponseBytes }},
	{"audit.sequence.number", func(r *Record) **int64 { return &r.Source.Sequence }},
	{"audit.ttft_ms", func(r *Record) **int64 { return &r.Call.TTFTMs }},
}

var rankAttrs = []struct {
	key   string
	field func(*Record) *int
}{
	{"audit.observation.parts", func(r *Record) *int { return &r.Source.Parts }},
	{"audit.observation.rank", func(r *Record) *int { return &r.Source.Rank }},
	{"audit.observation.session_rank", func(r *Record) *int { return &r.Source.SessionRank }},
	{"audit.observation.user_rank", func(r *Record) *int { return &r.Source.UserRank }},
}

var listAttrs = []struct {
	key   string
	field func(*Record) *[]string
}{
	{"audit.missing", func(r *Record) *[]string { return &r.Missing }},
	{"audit.observation.events", func(r *Record) *[]string { return &r.Source.Events }},
	{"audit.observation.spans", func(r *Record) *[]string { return &r.Source.Spans }},
	{"audit.policy_flags", func(r *Record) *[]string { return &r.PolicyFlags }},
}

var boolAttrs = []struct {
	key   string
	field func(*Record) *bool
}{
	{"audit.observation.error_exact", func(r *Record) *bool { return &r.Source.ErrorExact }},
	{"audit.observation.stop_exact", func(r *Record) *bool { return &r.Source.StopExact }},
}

var (
	strAttrOf  = index(strAttrs, func(i int) string { return strAttrs[i].key })
	intAttrOf  = index(intAttrs, func(i int) string { return intAttrs[i].key })
	rankAttrOf = index(rankAttrs, func(i int) string { return rankAttrs[i].key })
	listAttrOf = index(listAttrs, func(i int) string { return listAttrs[i].key })
	boolAttrOf = index(boolAttrs, func(i int) string { return boolAttrs[i].key })
)

func index[T any](list []T, key func(int) string) map[string]int {
	m := make(map[string]int, len(list))
	for i := range list {
		m[key(i)] = i
	}
	return m
}

// PutAttributes writes the observation to the attributes of its carrier.
// Fields that are not known are left out.
func (r *Record) PutAttributes(m pcommon.Map) {
	m.EnsureCapacity(m.Len() + 44)
	m.PutStr(AttrSchema, Schema)
	m.PutStr(AttrRecordID, r.EventID.String())
	m.PutStr("audit.actor.type", "user")
	if !r.Timestamp.IsZero() {
		m.PutInt("audit.timestamp", r.Timestamp.UnixNano())
	}
	for i := range strAttrs {
		if v := *strAttrs[i].field(r); v != "" {
			m.PutStr(strAttrs[i].key, v)
		}
	}
	for i := range intAttrs {
		if v := *intAttrs[i].field(r); v != nil {
			m.PutInt(intAttrs[i].key, *v)
		}
	}
	for i := range rankAttrs {
		if v := *rankAttrs[i].field(r); v != 0 {
			m.PutInt(rankAttrs[i].key, int64(v))
		}
	}
	for i := range boolAttrs {
		if *boolAttrs[i].field(r) {
			m.PutBool(boolAttrs[i].key, true)
		}
	}
	for i := range listAttrs {
		if v := *listAttrs[i].field(r); len(v) > 0 {
			s := m.PutEmptySlice(listAttrs[i].key)
			s.EnsureCapacity(len(v))
			for _, e := range v {
				s.AppendEmpty().SetStr(e)
			}
		}
	}
	if len(r.Detections) > 0 {
		s := m.PutEmptySlice("audit.detections")
		for _, d := range r.Detections {
			e := s.AppendEmpty().SetEmptyMap()
			e.PutStr("type", d.Type)
			e.PutStr("rule", d.Rule)
			e.PutInt("count", d.Count)
			e.PutStr("confidence", d.Confidence)
		}
	}
	if len(r.Unparsed) > 0 {
		s := m.PutEmptySlice("audit.unparsed")
		for _, u := range r.Unparsed {
			e := s.AppendEmpty().SetEmptyMap()
			e.PutStr("key", u.Key)
			e.PutInt("bytes", u.Bytes)
			e.PutStr("sha256", u.SHA256)
			e.PutStr("reason", u.Reason)
		}
	}
}

// FromAttributes reads the observation that a carrier holds into r, which is
// zero. It is false when it holds none. Attributes of a type that PutAttributes doesn't write are
// ignored.
func (r *Record) FromAttributes(m pcommon.Map) bool {
	if v, found := m.Get(AttrSchema); !found || v.Str() != Schema {
		return false
	}
	for k, v := range m.All() {
		if len(k) < len(AttrPrefix) || k[:len(AttrPrefix)] != AttrPrefix {
			continue
		}
		r.setAttribute(k, v)
	}
	return r.EventID != uuid.Nil
}

func (r *Record) setAttribute(k string, v pcommon.Value) {
	switch v.Type() {
	case pcommon.ValueTypeStr:
		if i, ok := strAttrOf[k]; ok {
			*strAttrs[i].field(r) = v.Str()
		} else if k == AttrRecordID {
			if id, err := uuid.Parse(v.Str()); err == nil {
				r.EventID = id
			}
		}
	case pcommon.ValueTypeInt:
		n := v.Int()
		if i, ok := intAttrOf[k]; ok {
			*intAttrs[i].field(r) = &n
		} else if i, ok := rankAttrOf[k]; ok {
			*rankAttrs[i].field(r) = int(n)
		} else if k == "audit.timestamp" {
			r.Timestamp = time.Unix(0, n).UTC()
		}
	case pcommon.ValueTypeBool:
		if i, ok := boolAttrOf[k]; ok {
			*boolAttrs[i].field(r) = v.Bool()
		}
	case pcommon.ValueTypeSlice:
		r.setListAttribute(k, v.Slice())
	}
}

func (r *Record) setListAttribute(k string, s pcommon.Slice) {
	if i, ok := listAttrOf[k]; ok {
		list := make([]string, 0, s.Len())
		for _, e := range s.All() {
			list = append(list, e.Str())
		}
		*listAttrs[i].field(r) = list
		return
	}
	for _, e := range s.All() {
		if e.Type() != pcommon.ValueTypeMap {
			continue
		}
		m := e.Map()
		switch k {
		case "audit.detections":
			r.Detections = append(r.Detections, Detection{
				Type: mapStr(m, "type"), Rule: mapStr(m, "rule"), Count: mapInt(m, "count"), Confidence: mapStr(m, "confidence"),
			})
		case "audit.unparsed":
			r.Unparsed = append(r.Unparsed, Unparsed{
				Key: mapStr(m, "key"), Bytes: mapInt(m, "bytes"), SHA256: mapStr(m, "sha256"), Reason: mapStr(m, "reason"),
			})
		}
	}
}

func mapStr(m pcommon.Map, k string) string {
	if v, ok := m.Get(k); ok && v.Type() == pcommon.ValueTypeStr {
		return v.Str()
	}
	return ""
}

func mapInt(m pcommon.Map, k string) int64 {
	if v, ok := m.Get(k); ok && v.Type() == pcommon.ValueTypeInt {
		return v.Int()
	}
	return 0
}
