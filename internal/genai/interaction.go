// Package genai reads the GenAI telemetry of real clients, spans and log
// records of any dialect, into one form: the Interaction.
package genai

import (
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/claudeaudit/claudeaudit/internal/conversation"
)

// Kind says what a span or log record is to the audit trail.
type Kind uint8

const (
	// KindNone has nothing to do with a model.
	KindNone Kind = iota
	// KindContext is no model call but may tell who called: an HTTP server
	// span, an agent or workflow span, or a tool run. Only the identity and the Who of the
	// Interaction are set, but for one case: Claude Code's interaction span also
	// has what the user typed, as the content of the calls below it. Every span that is
	// not a call is at least this when it carries a user, session or client address.
	KindContext
	// KindCall tells of one model call, ended.
	KindCall
	// KindPart tells a part of a call that another span or event tells the rest
	// of: a per-message log event, a Claude Code prompt, response or body event, the
	// content of a call.
	KindPart
	// KindUncorrelated is content of some call that nothing ties to it.
	KindUncorrelated
)

// Completeness says how much of a prompt or a response the telemetry tells.
type Completeness string

const (
	ContentNone             Completeness = "none"
	ContentFull             Completeness = "full"
	ContentPartial          Completeness = "partial"             // some texts are known to be missing
	ContentTruncated        Completeness = "truncated"           // cut at a size limit
	ContentTextOnly         Completeness = "text_only"           // the text of the answer, other blocks unknown
	ContentUserPromptOnly   Completeness = "user_prompt_only"    // what the user typed, not what was sent
	ContentUserPromptOfTurn Completeness = "user_prompt_of_turn" // as above, told for an earlier call of the turn
	ContentUnparsed         Completeness = "unparsed"            // present, but could not be read; see Interaction.Unparsed
)

// Evidence grades (design, invariant 7), weakest first.
const (
	EvidenceClientAsserted = "client_asserted"
	EvidenceSDK            = "sdk"
	EvidenceProvider       = "provider"
	EvidenceGateway        = "gateway"
)

// Who is what a span, event or its resource says of the caller. The rank of a
// value says how far it is to be preferred: lower is better, 0 means no value.
// Ranks are the same for every span and dialect (see the constants of who.go), so values
// of different spans of a trace can be compared; of equal ranks the nearer span's counts.
type Who struct {
	User        string
	UserRank    int
	Session     string
	SessionRank int
	Application string // resource service.name
	Address     string // client address, never the server's
	AgentName   string
	Department  string // resource or span attribute "department", "user.department", "enduser.department"
}

// Interaction is what one span or log record tells of a model call.
type Interaction struct {
	Kind     Kind
	Dialect  string // for example "semconv", "openinference", "traceloop.indexed", "claude_code.events"
	Scope    string // instrumentation scope name
	Evidence string // grade

	// Identity.
	TraceID      pcommon.TraceID
	SpanID       pcommon.SpanID
	ParentSpanID pcommon.SpanID
	ResponseID   string // the API's message id; never a made-up one
	RequestID    string // the API's request id
	// QuotedRequestIDs are request ids found in status and exception messages.
	QuotedRequestIDs []string
	PromptID         string // Claude Code prompt.id
	Sequence         int64  // Claude Code event.sequence, -1 when not told
	EventName        string // full name of the log event ("gen_ai.user.message", "claude_code.api_request")
	// OfParent says that a KindPart tells of the call of its parent span
	// (LiteLLM's raw_gen_ai_request), not of its own.
	OfParent bool
	// Half tells the two spans apart that Logfire makes of one streamed call:
	// "request" has the prompt, "response" has everything that came after. Empty
	// where one span tells the whole call.
	Half string
	// Claude says that the model is Claude, or may be: its name contains
	// "claude", or it isn't told, or the provider or the scope is Anthropic's.
	Claude bool

	Who Who

	Provider      string
	Operation     string
	RequestModel  string
	ResponseModel string

	PromptTokens, CompletionTokens, CacheReadTokens, CacheWriteTokens *int64

	Start, End time.Time
	LatencyMs  *float64

	Failed         bool
	ErrorType      string
	ErrorTypeExact bool // the API's own type ("rate_limit_error") rather than a client's exception class
	StopReason     string
	StopExact      bool   // Anthropic's own vocabulary rather than a normalised one
	StopClass      string // stop, length, tool_call, refusal, or ""

	Content              conversation.Conversation
	PromptCompleteness   Completeness
	ResponseCompleteness Completeness
	// Unparsed holds, per attribute or body that should have held messages and
	// could not be read, its key, its size in bytes and the SHA-256 of its bytes; never the bytes.
	Unparsed []Unparsed

	// Gateway is set when the gateway tells of the call.
	Gateway *Gateway

	// silent parts tell nothing of the conversation.
	silent bool
}

// Unparsed is evidence of content that could not be read.
type Unparsed struct {
	Key    string
	Bytes  int
	SHA256 string
	Reason string // a fixed vocabulary: "invalid_json", "too_deep", "too_large", "wrong_shape", "invalid_utf8", "invalid_encoding"
}
