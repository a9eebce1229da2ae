// Package audit holds the audit record, its merge from observations, its
// canonical JSON and its form as attributes in the pipeline.
//
// A record is what the entries of one call say together; an entry of the
// ledger is one observation of a call, in the same form.
package audit

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/claudeaudit/claudeaudit/internal/jcs"
)

// Schema is the value of the record's "schema" member.
const Schema = "claudeaudit.record/1"

// Kinds of a record.
const (
	KindInteraction = "interaction"
	KindAccess      = "access"
	KindAlert       = "alert"
	// KindActivity is told by telemetry and is no model call, or none is known
	// for it yet: a prompt whose call hasn't been seen, content that nothing ties to a call.
	KindActivity = "activity"
	KindSystem   = "system"
)

// Statuses of a record.
const (
	StatusInitiated   = "initiated"
	StatusSuccess     = "success"
	StatusError       = "error"
	StatusBlocked     = "blocked"
	StatusInterrupted = "interrupted"
)

// Data classifications, lowest first.
const (
	Public       = "PUBLIC"
	Internal     = "INTERNAL"
	Confidential = "CONFIDENTIAL"
	Restricted   = "RESTRICTED"
)

// Classifications lists the levels, lowest first.
var Classifications = []string{Public, Internal, Confidential, Restricted}

// ClassificationLevel is a level's place in Classifications plus one; 0 for
// anything else.
func ClassificationLevel(level string) int {
	for i, l := range Classifications {
		if l == level {
			return i + 1
		}
	}
	return 0
}

// Identity assurance: how sure it is that the user is who the record says.
const (
	AssuranceVerified = "verified"
	AssuranceGateway  = "gateway"
	AssuranceAsserted = "asserted"
	AssuranceNone     = "none"
)

// FlagIncomplete marks a record in which a required field is null.
const FlagIncomplete = "record.incomplete"

// FlagUnparsed marks a record with content that was there and could not be read.
const FlagUnparsed = "content.unparsed"

// FlagIdentityClash marks a record whose caller was known to be one user and said to
// be another.
const FlagIdentityClash = "identity.clash"

// Detection is a kind of data that a rule found in the content. It never holds the value.
type Detection struct {
	Type       string
	Rule       string
	Count      int64
	Confidence string
}

// Detail is a named value of a record about the audit trail itself.
type Detail struct{ Name, Value string }

// DetailsOf returns named values as details, in the order of their names.
func DetailsOf(values map[string]string) []Detail {
	var out []Detail
	for _, name := range slices.Sorted(maps.Keys(values)) {
		out = append(out, Detail{name, values[name]})
	}
	return out
}

// DetailValues returns the values of the details by their names.
func (r *Record) DetailValues() map[string]string {
	values := make(map[string]string, len(r.Details))
	for _, d := range r.Details {
		values[d.Name] = d.Value
	}
	return values
}

// Content says how complete the told content is and where its ciphertext lies.
// Prompt and response can come from different observations, so each has its
// own address.
type Content struct {
	// Prompt is full, partial, truncated, user_prompt_only,
	// user_prompt_of_turn, unparsed or none.
	Prompt string
	// Response is full, partial, truncated, text_only, unparsed or none.
	Response string
	// PromptSHA256 and ResponseSHA256 are the lower-case hex SHA-256 of the
	// sealed containers that hold them: their address in the content store. ""
	// when nothing is stored.
	PromptSHA256   string
	ResponseSHA256 string
	KeyID          string // recipient key that the content key is wrapped to
	Suite          string // encryption suite
}

// Source says who told the observation and how good its evidence is.
type Source struct {
	Dialect  string
	Scope    string // instrumentation scope
	Evidence string // gateway, provider, sdk, client_asserted
	Signal   string // span, log
	// Digest identifies the observation, 32 hex digits: a redelivery of the
	// same data has the same.
	Digest       string
	ParentSpanID string
	PromptID     string // Claude Code prompt.id
	Sequence     *int64 // Claude Code event.sequence
	// Spans are the other spans of the call, "trace_id:span_id".
	Spans []string
	// Events are the names of the log events behind the observation.
	Events []string

	// Parts is how many messages that are told one by one are behind the
	// observation: of two, that with more is the later state of the same prompt. 0 for a telling of the whole.
	Parts int

	// Rank of the source: whose times, model and tokens the record takes. 1 is
	// best; 0 is unknown.
	Rank int
	// UserRank and SessionRank say which attribute a value came from; lower is better, 0 is unknown.
	UserRank    int
	SessionRank int
	// StopExact and ErrorExact: the API's own vocabulary, not a client's.
	StopExact  bool
	ErrorExact bool
}

// Ways a call through a gateway can end, in Call.Ended. EndedComplete says that
// the whole answer was passed on, be it an error's.
const (
	EndedComplete        = "complete"
	EndedUpstreamError   = "upstream_error"   // an error event within a streamed answer
	EndedUpstreamCut     = "upstream_cut"     // the answer, or the connection before it, broke off
	EndedUpstreamTimeout = "upstream_timeout" // nothing came for too long
	EndedClientGone      = "client_gone"      // the client left before the end
	EndedPolicy          = "policy"           // blocked, or cut by a rule
	EndedRefused         = "refused"          // the gateway takes no such request
	EndedShutdown        = "gateway_shutdown"
	EndedKilled          = "gateway_killed" // found without an end when the gateway started again
)

// Call is what a gateway tells of a call beside what telemetry tells.
type Call struct {
	Surface       string // anthropic, foundry, bedrock, vertex
	Ended         string // how it ended: one of the constants Ended…
	HTTPStatus    *int64 // of the answer that the client got
	TTFTMs        *int64 // from the request's arrival to the first byte of content, ms
	ResponseBytes *int64 // bytes of the answer's body that were passed on
	RequestSHA256 string // lower-case hex SHA-256 of the request's body, byte for byte
	ClientKey     string // "sha256:" and 12 hex digits of the SHA-256 of the client's credential
	BatchID       string // the batch that the call is a request of
	BatchItem     string // its custom_id

	PolicyDecision string // allow, flag, block, terminate; "shadow:" before it when it was not carried out
	PolicyRule     string // name of the rule that decided
	PolicyReason   string
}

// Unparsed is content that was there and could not be read: never its bytes.
type Unparsed struct {
	Key    string
	Bytes  int64
	SHA256 string
	Reason string
}

// Record is an audit record, or one observation of it. "" and nil mean not
// known: null in JSON where the field is required, else left out.
type Record struct {
	EventID   uuid.UUID
	Revision  int64 // 1 for a call's first entry; assigned by the ledger's writer
	Kind      string
	Timestamp time.Time // start of the call, UTC
	Status    string

	UserID             string
	SessionID          string
	ApplicationID      string
	Model              string
	PromptHash         string
	ResponseHash       string
	PromptTokens       *int64
	CompletionTokens   *int64
	LatencyMs          *int64
	DataClassification string

	// ClassificationBasis says why: "default", or which condition.
	ClassificationBasis string
	PolicyFlags         []string
	Detections          []Detection
	IPAddress           string
	ErrorType           string
	StopReason          string
	StopClass           string
	Provider            string
	Operation           string
	RequestModel        string
	ResponseID          string
	RequestID           string
	CacheReadTokens     *int64
	CacheWriteTokens    *int64
	TraceID             string
	SpanID              string
	IdentityAssurance   string
	Department          string
	AgentName           string
	Source              Source
	Content             Content
	Unparsed            []Unparsed
	RetentionClass      string
	RetentionUntil      string // RFC 3339 date
	RetentionRule       string // of the policy, by which the class was chosen
	// Details are what an entry of kind system or access tells besides, sorted by name.
	Details []Detail

	// Call is what only a gateway knows of a call, which passed through it.
	Call Call

	// Missing names the required fields that are null.
	Missing []string

	// Erased marks the form in which an index has a record whose person was erased:
	// the hash of the ledger's entry, lower-case hex. No entry of a ledger has it.
	Erased string

	// Place in the ledger, set when read from it.
	Log  string
	Seq  uint64
	Prev string
}

// required lists the required fields in the order of their names; present
// tells whether the record knows them.
var required = []struct {
	name    string
	present func(*Record) bool
}{
	{"application_id", func(r *Record) bool { return r.ApplicationID != "" }},
	{"completion_tokens", func(r *Record) bool { return r.CompletionTokens != nil }},
	{"data_classification", func(r *Record) bool { return r.DataClassification != "" }},
	{"latency_ms", func(r *Record) bool { return r.LatencyMs != nil }},
	{"model", func(r *Record) bool { return r.Model != "" }},
	{"prompt_hash", func(r *Record) bool { return r.PromptHash != "" }},
	{"prompt_tokens", func(r *Record) bool { return r.PromptTokens != nil }},
	{"response_hash", func(r *Record) bool { return r.ResponseHash != "" }},
	{"session_id", func(r *Record) bool { return r.SessionID != "" }},
	{"status", func(r *Record) bool { return r.Status != "" }},
	{"timestamp", func(r *Record) bool { return !r.Timestamp.IsZero() }},
	{"user_id", func(r *Record) bool { return r.UserID != "" }},
}

// FlagFieldTooLong marks a record in which a field was longer than MaxField and
// is given as its hash.
const FlagFieldTooLong = "record.field_too_long"

// Bounds of a record: an entry of the ledger is at most 60 KiB.
const (
	MaxField = 512 // bytes of a text field, as JSON writes them
	MaxItems = 32  // elements of a list
)

// tooLong tells whether JSON needs more than MaxField bytes for s.
func tooLong(s string) bool {
	if len(s) > MaxField || 6*len(s) <= MaxField { // an escape has six bytes at the most
		return len(s) > MaxField
	}
	return len(jcs.AppendString(make([]byte, 0, 6*MaxField+2), s)) > MaxField+2
}

func hashed(s string) string {
	sum := sha256.Sum256([]byte(s))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// bound replaces fields that are too long by their hash, and cuts lists.
func (r *Record) bound() (long bool) {
	for i := range strAttrs {
		if f := strAttrs[i].field(r); tooLong(*f) {
			*f, long = hashed(*f), true
		}
	}
	for i := range listAttrs {
		l := listAttrs[i].field(r)
		if len(*l) > MaxItems {
			*l, long = (*l)[:MaxItems:MaxItems], true
		}
		for j, e := range *l {
			if tooLong(e) {
				(*l)[j], long = hashed(e), true
			}
		}
	}
	if len(r.Unparsed) > MaxItems {
		r.Unparsed, long = r.Unparsed[:MaxItems:MaxItems], true
	}
	if len(r.Details) > MaxItems {
		r.Details, long = r.Details[:MaxItems:MaxItems], true
	}
	for i, d := range r.Details {
		if tooLong(d.Value) {
			r.Details[i].Value, long = hashed(d.Value), true
		}
	}
	for i, u := range r.Unparsed {
		if tooLong(u.Key) {
			r.Unparsed[i].Key, long = hashed(u.Key), true
		}
	}
	if len(r.Detections) > MaxItems {
		r.Detections, long = r.Detections[:MaxItems:MaxItems], true
	}
	return long
}

// Complete bounds the fields, sets Missing and the flags that follow from the
// record's own fields, and sorts the flags. Call it when the fields are final.
func (r *Record) Complete() {
	long := r.bound()
	r.Missing = r.Missing[:0]
	flags := r.PolicyFlags[:0:0]
	for _, f := range r.PolicyFlags {
		if f != FlagIncomplete && f != FlagUnparsed {
			flags = append(flags, f)
		}
	}
	if r.Kind == KindInteraction {
		for _, f := range required {
			if !f.present(r) && (r.Erased == "" || !erasable(f.name)) {
				r.Missing = append(r.Missing, f.name)
			}
		}
	}
	if len(r.Missing) > 0 {
		flags = append(flags, FlagIncomplete)
	}
	if len(r.Unparsed) > 0 {
		flags = append(flags, FlagUnparsed)
	}
	if long && !slices.Contains(flags, FlagFieldTooLong) {
		flags = append(flags, FlagFieldTooLong)
	}
	r.PolicyFlags = sortedUnique(flags)
}
