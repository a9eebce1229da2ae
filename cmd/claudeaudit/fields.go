package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/claudeaudit/claudeaudit/internal/audit"
)

// field is a member of a record as text. text says that the value is one that
// others chose.
type field struct {
	name, value string
	text        bool
}

// fieldsOf lists a record's members, nested ones with a dot, always the same
// ones in the same order. Lists are joined with semicolons.
func fieldsOf(r *audit.Record) []field {
	text := func(name, value string) field { return field{name, value, true} }
	number := func(name string, n *int64) field {
		if n == nil {
			return field{name: name}
		}
		return field{name: name, value: strconv.FormatInt(*n, 10)}
	}
	var timestamp string
	if !r.Timestamp.IsZero() {
		timestamp = r.Timestamp.UTC().Format(time.RFC3339Nano)
	}
	detections := make([]string, len(r.Detections))
	for i, d := range r.Detections {
		detections[i] = fmt.Sprintf("%s=%d", d.Type, d.Count)
	}
	unparsed := make([]string, len(r.Unparsed))
	for i, u := range r.Unparsed {
		unparsed[i] = u.Key + "=" + u.Reason
	}
	return []field{
		text("event_id", r.EventID.String()),
		number("revision", &r.Revision),
		text("kind", r.Kind),
		text("timestamp", timestamp),
		text("status", r.Status),
		text("erased", r.Erased),
		text("user_id", r.UserID),
		text("identity_assurance", r.IdentityAssurance),
		text("session_id", r.SessionID),
		text("application_id", r.ApplicationID),
		text("department", r.Department),
		text("agent_name", r.AgentName),
		text("ip_address", r.IPAddress),
		text("provider", r.Provider),
		text("operation", r.Operation),
		text("model", r.Model),
		text("request_model", r.RequestModel),
		number("prompt_tokens", r.PromptTokens),
		number("completion_tokens", r.CompletionTokens),
		number("cache_read_tokens", r.CacheReadTokens),
		number("cache_write_tokens", r.CacheWriteTokens),
		number("latency_ms", r.LatencyMs),
		text("stop_reason", r.StopReason),
		text("stop_class", r.StopClass),
		text("error_type", r.ErrorType),
		text("ended", r.Call.Ended),
		number("http_status", r.Call.HTTPStatus),
		number("ttft_ms", r.Call.TTFTMs),
		number("response_bytes", r.Call.ResponseBytes),
		text("surface", r.Call.Surface),
		text("client_key", r.Call.ClientKey),
		text("policy_decision", r.Call.PolicyDecision),
		text("policy_rule", r.Call.PolicyRule),
		text("policy_reason", r.Call.PolicyReason),
		text("batch_id", r.Call.BatchID),
		text("batch_item", r.Call.BatchItem),
		text("data_classification", r.DataClassification),
		text("classification_basis", r.ClassificationBasis),
		text("policy_flags", strings.Join(r.PolicyFlags, ";")),
		text("detections", strings.Join(detections, ";")),
		text("missing", strings.Join(r.Missing, ";")),
		text("unparsed", strings.Join(unparsed, ";")),
		text("prompt_hash", r.PromptHash),
		text("response_hash", r.ResponseHash),
		text("request_sha256", r.Call.RequestSHA256),
		text("content.prompt", r.Content.Prompt),
		text("content.response", r.Content.Response),
		text("content.prompt_sha256", r.Content.PromptSHA256),
		text("content.response_sha256", r.Content.ResponseSHA256),
		text("content.key_id", r.Content.KeyID),
		text("content.suite", r.Content.Suite),
		text("response_id", r.ResponseID),
		text("request_id", r.RequestID),
		text("trace_id", r.TraceID),
		text("span_id", r.SpanID),
		text("source.dialect", r.Source.Dialect),
		text("source.evidence", r.Source.Evidence),
		text("source.signal", r.Source.Signal),
		text("source.scope", r.Source.Scope),
		text("source.spans", strings.Join(r.Source.Spans, ";")),
		text("source.events", strings.Join(r.Source.Events, ";")),
		text("retention.class", r.RetentionClass),
		text("retention.until", r.RetentionUntil),
		text("_log", r.Log),
		{name: "_seq", value: strconv.FormatUint(r.Seq, 10)},
		text("_prev", r.Prev),
	}
}
