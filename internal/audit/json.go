package audit

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
	"unsafe"

	"github.com/google/uuid"

	"github.com/claudeaudit/claudeaudit/internal/jcs"
)

// timeFormat is RFC 3339 in UTC with all nine digits of a nanosecond, so that
// times compare as text.
const timeFormat = "2006-01-02T15:04:05.000000000Z"

// maxLine bounds a record's JSON: an entry of the ledger is at most 60 KiB.
const maxLine = 1 << 20

var recordLimits = jcs.Limits{MaxDepth: 8, MaxNodes: 1 << 15, MaxBytes: maxLine}

// ErrNotARecord is returned for JSON that is not an audit record.
var ErrNotARecord = errors.New("not an audit record")

// writer appends the members of a JSON object in canonical order; the caller
// calls its methods in the order of the names.
type writer struct {
	b     []byte
	first bool
}

func (w *writer) key(k string) {
	if !w.first {
		w.b = append(w.b, ',')
	}
	w.first = false
	w.b = append(w.b, '"')
	w.b = append(w.b, k...) // our own names need no escapes
	w.b = append(w.b, '"', ':')
}

// str writes a member that is left out when not known.
func (w *writer) str(k, v string) {
	if v != "" {
		w.key(k)
		w.b = jcs.AppendString(w.b, v)
	}
}

// reqStr writes a member that is null when not known.
func (w *writer) reqStr(k, v string) {
	w.key(k)
	if v == "" {
		w.b = append(w.b, "null"...)
		return
	}
	w.b = jcs.AppendString(w.b, v)
}

func (w *writer) int(k string, v int64) {
	w.key(k)
	w.b = jcs.AppendInt(w.b, v)
}

func (w *writer) optInt(k string, v *int64) {
	if v != nil {
		w.int(k, *v)
	}
}

func (w *writer) reqInt(k string, v *int64) {
	if v == nil {
		w.key(k)
		w.b = append(w.b, "null"...)
		return
	}
	w.int(k, *v)
}

func (w *writer) flag(k string, v bool) {
	if v {
		w.key(k)
		w.b = append(w.b, "true"...)
	}
}

func (w *writer) strs(k string, v []string) {
	if len(v) == 0 {
		return
	}
	w.key(k)
	w.b = append(w.b, '[')
	for i, s := range v {
		if i > 0 {
			w.b = append(w.b, ',')
		}
		w.b = jcs.AppendString(w.b, s)
	}
	w.b = append(w.b, ']')
}

// objects writes an array of objects, whose members write writes; left out when empty.
func objects[T any](w *writer, k string, items []T, write func(*T)) {
	if len(items) == 0 {
		return
	}
	w.key(k)
	for i := range items {
		w.b = append(w.b, "[,"[min(i, 1)], '{')
		w.first = true
		write(&items[i])
		w.close()
	}
	w.b = append(w.b, ']')
}

func (w *writer) open(k string) {
	w.key(k)
	w.b = append(w.b, '{')
	w.first = true
}

func (w *writer) close() {
	w.b = append(w.b, '}')
	w.first = false
}

// AppendBody appends the record's own members, in canonical form and order,
// without braces: what follows "_seq" in a line of the ledger.
func (r *Record) AppendBody(dst []byte, revision int64) []byte {
	w := writer{b: dst, first: true}
	r.appendMembers(&w, revision)
	return w.b
}

// AppendJSON appends the record as one canonical JSON object, with its place
// in the ledger when it has one.
func (r *Record) AppendJSON(dst []byte) []byte {
	w := writer{b: append(dst, '{'), first: true}
	if r.Log != "" {
		w.str("_log", r.Log)
		w.str("_prev", r.Prev)
		w.int("_seq", int64(r.Seq))
	}
	r.appendMembers(&w, r.Revision)
	return append(w.b, '}')
}

// MarshalJSON is AppendJSON for encoding/json.
func (r *Record) MarshalJSON() ([]byte, error) { return r.AppendJSON(nil), nil }

// The members stand in the order of RFC 8785: by UTF-16 code units of their
// names. TestCanonical holds this against an independent implementation.
func (r *Record) appendMembers(w *writer, revision int64) {
	w.str("agent_name", r.AgentName)
	w.reqStr("application_id", r.ApplicationID)
	w.str("batch_id", r.Call.BatchID)
	w.str("batch_item", r.Call.BatchItem)
	w.optInt("cache_read_tokens", r.CacheReadTokens)
	w.optInt("cache_write_tokens", r.CacheWriteTokens)
	w.str("classification_basis", r.ClassificationBasis)
	w.str("client_key", r.Call.ClientKey)
	w.reqInt("completion_tokens", r.CompletionTokens)
	if r.Content != (Content{}) {
		w.open("content")
		w.str("key_id", r.Content.KeyID)
		w.str("prompt", r.Content.Prompt)
		w.str("prompt_sha256", r.Content.PromptSHA256)
		w.str("response", r.Content.Response)
		w.str("response_sha256", r.Content.ResponseSHA256)
		w.str("suite", r.Content.Suite)
		w.close()
	}
	w.reqStr("data_classification", r.DataClassification)
	w.str("department", r.Department)
	if len(r.Details) > 0 {
		w.open("details")
		for _, d := range r.Details {
			w.str(d.Name, d.Value)
		}
		w.close()
	}
	objects(w, "detections", r.Detections, func(d *Detection) {
		w.str("confidence", d.Confidence)
		w.int("count", d.Count)
		w.str("rule", d.Rule)
		w.str("type", d.Type)
	})
	w.str("ended", r.Call.Ended)
	w.str("erased", r.Erased)
	w.str("error_type", r.ErrorType)
	w.key("event_id")
	w.b = append(w.b, '"')
	var id [36]byte
	encodeUUID(&id, r.EventID)
	w.b = append(w.b, id[:]...)
	w.b = append(w.b, '"')
	w.optInt("http_status", r.Call.HTTPStatus)
	w.str("identity_assurance", r.IdentityAssurance)
	w.str("ip_address", r.IPAddress)
	w.str("kind", r.Kind)
	w.reqInt("latency_ms", r.LatencyMs)
	w.strs("missing", r.Missing)
	w.reqStr("model", r.Model)
	w.str("operation", r.Operation)
	w.str("policy_decision", r.Call.PolicyDecision)
	w.strs("policy_flags", r.PolicyFlags)
	w.str("policy_reason", r.Call.PolicyReason)
	w.str("policy_rule", r.Call.PolicyRule)
	w.reqStr("prompt_hash", r.PromptHash)
	w.reqInt("prompt_tokens", r.PromptTokens)
	w.str("provider", r.Provider)
	w.str("request_id", r.RequestID)
	w.str("request_model", r.RequestModel)
	w.str("request_sha256", r.Call.RequestSHA256)
	w.optInt("response_bytes", r.Call.ResponseBytes)
	w.reqStr("response_hash", r.ResponseHash)
	w.str("response_id", r.ResponseID)
	if r.RetentionClass != "" {
		w.open("retention")
		w.str("class", r.RetentionClass)
		w.str("rule", r.RetentionRule)
		w.str("until", r.RetentionUntil)
		w.close()
	}
	w.int("revision", revision)
	w.str("schema", Schema)
	w.reqStr("session_id", r.SessionID)
	r.appendSource(w)
	w.str("span_id", r.SpanID)
	w.reqStr("status", r.Status)
	w.str("stop_class", r.StopClass)
	w.str("stop_reason", r.StopReason)
	w.str("surface", r.Call.Surface)
	w.key("timestamp")
	if r.Timestamp.IsZero() {
		w.b = append(w.b, "null"...)
	} else {
		w.b = append(w.b, '"')
		w.b = r.Timestamp.UTC().AppendFormat(w.b, timeFormat)
		w.b = append(w.b, '"')
	}
	w.str("trace_id", r.TraceID)
	w.optInt("ttft_ms", r.Call.TTFTMs)
	objects(w, "unparsed", r.Unparsed, func(u *Unparsed) {
		w.int("bytes", u.Bytes)
		w.str("key", u.Key)
		w.str("reason", u.Reason)
		w.str("sha256", u.SHA256)
	})
	w.reqStr("user_id", r.UserID)
}

func (r *Record) appendSource(w *writer) {
	s := &r.Source
	w.open("source")
	w.str("dialect", s.Dialect)
	w.str("digest", s.Digest)
	w.flag("error_exact", s.ErrorExact)
	w.strs("events", s.Events)
	w.str("evidence", s.Evidence)
	w.str("parent_span_id", s.ParentSpanID)
	if s.Parts > 0 {
		w.int("parts", int64(s.Parts))
	}
	w.str("prompt_id", s.PromptID)
	if s.Rank > 0 {
		w.int("rank", int64(s.Rank))
	}
	w.str("scope", s.Scope)
	w.optInt("sequence", s.Sequence)
	if s.SessionRank > 0 {
		w.int("session_rank", int64(s.SessionRank))
	}
	w.str("signal", s.Signal)
	w.strs("spans", s.Spans)
	w.flag("stop_exact", s.StopExact)
	if s.UserRank > 0 {
		w.int("user_rank", int64(s.UserRank))
	}
	w.close()
}

const hexDigits = "0123456789abcdef"

func encodeUUID(dst *[36]byte, id uuid.UUID) {
	j := 0
	for i, b := range id {
		if i == 4 || i == 6 || i == 8 || i == 10 {
			dst[j] = '-'
			j++
		}
		dst[j], dst[j+1] = hexDigits[b>>4], hexDigits[b&15]
		j += 2
	}
}

// parsers have memory to read lines into: a Record keeps their strings and none of their values.
var parsers = sync.Pool{New: func() any { return new(jcs.Parser) }}

// ParseRecord reads a line of the ledger, or a record as AppendJSON writes it.
// Members that it doesn't know are ignored: a later version may add some.
func ParseRecord(line []byte) (r Record, err error) {
	err = r.parse(string(line))
	return r, err
}

// Parse is ParseRecord, but the record, whose zero value it is called on, shares the memory of the line, which must not change any more.
func (r *Record) Parse(line []byte) error {
	return r.parse(unsafe.String(unsafe.SliceData(line), len(line)))
}

func (r *Record) parse(text string) error {
	if r.readLine(text) {
		return nil
	}
	var err error
	*r, err = parseRecord(text)
	return err
}

// parseRecord reads any JSON text of a record.
func parseRecord(text string) (Record, error) {
	p := parsers.Get().(*jcs.Parser)
	defer func() {
		p.Reset()
		parsers.Put(p)
	}()
	v, err := p.Parse(text, recordLimits)
	if err != nil {
		return Record{}, fmt.Errorf("%w: %w", ErrNotARecord, err)
	}
	if v.Kind() != jcs.KindObject {
		return Record{}, fmt.Errorf("%w: no JSON object", ErrNotARecord)
	}
	var r Record
	for k, m := range v.Members() {
		if err := r.setMember(k, m); err != nil {
			return Record{}, fmt.Errorf("%w: member %s: %w", ErrNotARecord, k, err)
		}
	}
	if r.EventID == uuid.Nil {
		return Record{}, fmt.Errorf("%w: no event_id", ErrNotARecord)
	}
	return r, nil
}

var errWrongType = errors.New("wrong type")

func setStr(dst *string, v jcs.Value) error {
	switch v.Kind() {
	case jcs.KindNull:
		*dst = ""
	case jcs.KindString:
		*dst = v.Str()
	default:
		return errWrongType
	}
	return nil
}

func setInt(dst **int64, v jcs.Value) error {
	if v.Kind() == jcs.KindNull {
		*dst = nil
		return nil
	}
	n, ok := v.Int()
	if !ok {
		return errWrongType
	}
	*dst = &n
	return nil
}

func setRank(dst *int, v jcs.Value) error {
	n, ok := v.Int()
	if !ok {
		return errWrongType
	}
	*dst = int(n)
	return nil
}

func setStrs(dst *[]string, v jcs.Value) error {
	if v.Kind() != jcs.KindArray {
		return errWrongType
	}
	for _, e := range v.Elems() {
		if e.Kind() != jcs.KindString {
			return errWrongType
		}
		*dst = append(*dst, e.Str())
	}
	return nil
}

// strMember is the field of a member that is a plain string, nil of another.
func (r *Record) strMember(k string) *string {
	switch k {
	case "_log":
		return &r.Log
	case "_prev":
		return &r.Prev
	case "agent_name":
		return &r.AgentName
	case "application_id":
		return &r.ApplicationID
	case "batch_id":
		return &r.Call.BatchID
	case "batch_item":
		return &r.Call.BatchItem
	case "classification_basis":
		return &r.ClassificationBasis
	case "client_key":
		return &r.Call.ClientKey
	case "data_classification":
		return &r.DataClassification
	case "department":
		return &r.Department
	case "ended":
		return &r.Call.Ended
	case "erased":
		return &r.Erased
	case "error_type":
		return &r.ErrorType
	case "identity_assurance":
		return &r.IdentityAssurance
	case "ip_address":
		return &r.IPAddress
	case "kind":
		return &r.Kind
	case "model":
		return &r.Model
	case "operation":
		return &r.Operation
	case "policy_decision":
		return &r.Call.PolicyDecision
	case "policy_reason":
		return &r.Call.PolicyReason
	case "policy_rule":
		return &r.Call.PolicyRule
	case "prompt_hash":
		return &r.PromptHash
	case "provider":
		return &r.Provider
	case "request_id":
		return &r.RequestID
	case "request_model":
		return &r.RequestModel
	case "request_sha256":
		return &r.Call.RequestSHA256
	case "response_hash":
		return &r.ResponseHash
	case "response_id":
		return &r.ResponseID
	case "session_id":
		return &r.SessionID
	case "span_id":
		return &r.SpanID
	case "status":
		return &r.Status
	case "stop_class":
		return &r.StopClass
	case "stop_reason":
		return &r.StopReason
	case "surface":
		return &r.Call.Surface
	case "trace_id":
		return &r.TraceID
	case "user_id":
		return &r.UserID
	}
	return nil
}

// intMember is the field of a member that is an integer or null, nil of another.
func (r *Record) intMember(k string) **int64 {
	switch k {
	case "cache_read_tokens":
		return &r.CacheReadTokens
	case "cache_write_tokens":
		return &r.CacheWriteTokens
	case "completion_tokens":
		return &r.CompletionTokens
	case "http_status":
		return &r.Call.HTTPStatus
	case "latency_ms":
		return &r.LatencyMs
	case "prompt_tokens":
		return &r.PromptTokens
	case "response_bytes":
		return &r.Call.ResponseBytes
	case "ttft_ms":
		return &r.Call.TTFTMs
	}
	return nil
}

func (r *Record) setMember(k string, v jcs.Value) error {
	if f := r.strMember(k); f != nil {
		return setStr(f, v)
	}
	if f := r.intMember(k); f != nil {
		return setInt(f, v)
	}
	switch k {
	case "_seq":
		n, ok := v.Int()
		if !ok || n < 0 {
			return errWrongType
		}
		r.Seq = uint64(n)
	case "revision":
		n, ok := v.Int()
		if !ok {
			return errWrongType
		}
		r.Revision = n
	case "schema":
		if v.Str() != Schema {
			return fmt.Errorf("must be %q", Schema)
		}
	case "event_id":
		id, err := uuid.Parse(v.Str())
		if err != nil {
			return errors.New("must be a UUID")
		}
		r.EventID = id
	case "timestamp":
		if v.IsNull() {
			return nil
		}
		t, err := time.Parse(time.RFC3339Nano, v.Str())
		if err != nil {
			return errors.New("must be an RFC 3339 time")
		}
		r.Timestamp = t.UTC()
	case "missing":
		return setStrs(&r.Missing, v)
	case "policy_flags":
		return setStrs(&r.PolicyFlags, v)
	case "content":
		return r.setContent(v)
	case "source":
		return r.setSource(v)
	case "retention":
		return errors.Join(optStr(&r.RetentionClass, v.Get("class")), optStr(&r.RetentionUntil, v.Get("until")), optStr(&r.RetentionRule, v.Get("rule")))
	case "details":
		if v.Kind() != jcs.KindObject {
			return errWrongType
		}
		for name, e := range v.Members() {
			if e.Kind() != jcs.KindString {
				return errWrongType
			}
			r.Details = append(r.Details, Detail{name, e.Str()})
		}
	case "detections":
		if v.Kind() != jcs.KindArray {
			return errWrongType
		}
		for _, e := range v.Elems() {
			n, ok := e.Get("count").Int()
			if !ok {
				return errWrongType
			}
			r.Detections = append(r.Detections, Detection{
				Type: e.Get("type").Str(), Rule: e.Get("rule").Str(), Count: n, Confidence: e.Get("confidence").Str(),
			})
		}
	case "unparsed":
		if v.Kind() != jcs.KindArray {
			return errWrongType
		}
		for _, e := range v.Elems() {
			n, ok := e.Get("bytes").Int()
			if !ok {
				return errWrongType
			}
			r.Unparsed = append(r.Unparsed, Unparsed{
				Key: e.Get("key").Str(), Bytes: n, SHA256: e.Get("sha256").Str(), Reason: e.Get("reason").Str(),
			})
		}
	}
	return nil
}

func optStr(dst *string, v jcs.Value) error {
	if v.Kind() == jcs.KindInvalid {
		return nil
	}
	return setStr(dst, v)
}

func (r *Record) setContent(v jcs.Value) error {
	if v.Kind() != jcs.KindObject {
		return errWrongType
	}
	c := &r.Content
	return errors.Join(
		optStr(&c.KeyID, v.Get("key_id")),
		optStr(&c.Prompt, v.Get("prompt")),
		optStr(&c.PromptSHA256, v.Get("prompt_sha256")),
		optStr(&c.Response, v.Get("response")),
		optStr(&c.ResponseSHA256, v.Get("response_sha256")),
		optStr(&c.Suite, v.Get("suite")),
	)
}

func (r *Record) setSource(v jcs.Value) error {
	if v.Kind() != jcs.KindObject {
		return errWrongType
	}
	s := &r.Source
	for k, m := range v.Members() {
		var err error
		switch k {
		case "dialect":
			err = setStr(&s.Dialect, m)
		case "digest":
			err = setStr(&s.Digest, m)
		case "error_exact":
			s.ErrorExact = m.Kind() == jcs.KindBool && m.Bool()
		case "events":
			err = setStrs(&s.Events, m)
		case "evidence":
			err = setStr(&s.Evidence, m)
		case "parent_span_id":
			err = setStr(&s.ParentSpanID, m)
		case "prompt_id":
			err = setStr(&s.PromptID, m)
		case "parts":
			err = setRank(&s.Parts, m)
		case "rank":
			err = setRank(&s.Rank, m)
		case "scope":
			err = setStr(&s.Scope, m)
		case "sequence":
			err = setInt(&s.Sequence, m)
		case "session_rank":
			err = setRank(&s.SessionRank, m)
		case "signal":
			err = setStr(&s.Signal, m)
		case "spans":
			err = setStrs(&s.Spans, m)
		case "stop_exact":
			s.StopExact = m.Kind() == jcs.KindBool && m.Bool()
		case "user_rank":
			err = setRank(&s.UserRank, m)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", k, err)
		}
	}
	return nil
}

func sortedUnique(s []string) []string {
	slices.Sort(s)
	return slices.Compact(s)
}
