package sqlite

import (
	"bytes"
	"fmt"
	"sync"

	"github.com/klauspost/compress/s2"

	"github.com/claudeaudit/claudeaudit/internal/index"
)

// maxLine bounds what a stored line is decoded to: the ledger's lines are at
// most 60 KiB.
const maxLine = 1 << 20

// dictionary holds what the ledger's lines have in common: the members of a
// record in canonical order with frequent values. Lines are compressed against
// it one by one, to a third of their size. It belongs to the file's format:
// another one needs another SchemaVersion.
const dictionary = `"agent_name":"cache_read_tokens":0,"cache_write_tokens":0,"detections":[{"confidence":"high","count":1,"type":"email"},` +
	`{"confidence":"low","count":2,"type":"iban"}],"error_type":"rate_limit_error","invalid_request_error","overloaded_error","api_error",` +
	`"kind":"access","activity","alert","system","latency_ms":null,"missing":["application_id","completion_tokens","data_classification",` +
	`"latency_ms","model","prompt_hash","prompt_tokens","response_hash","session_id","status","user_id"],"model":null,` +
	`"policy_flags":["content.unparsed","pii.email","record.incomplete"],"prompt_hash":null,"prompt_tokens":null,` +
	`"provider":"aws.bedrock","gcp.vertex_ai","openai","response_hash":null,"session_id":null,` +
	`"source":{"dialect":"claude_code.events","langfuse","litellm","logfire","openinference","python","traceloop.indexed","vercel",` +
	`"error_exact":true,"events":["claude_code.api_request","gen_ai.choice","gen_ai.client.inference.operation.details"],` +
	`"evidence":"client_asserted","gateway","provider","parent_span_id":"","prompt_id":"","sequence":1,"signal":"log","spans":["",` +
	`"stop_exact":true,"user_rank":2}},"status":"blocked","error","initiated","interrupted","stop_class":"length","refusal","tool_call",` +
	`"stop_reason":"max_tokens","stop_sequence","tool_use","unparsed":[{"bytes":1,"key":"","reason":"invalid_json","sha256":"` +
	`"user_id":null}` +
	`{"_log":"claudeaudit/0000000000000000/1","_prev":"0000000000000000000000000000000000000000000000000000000000000000","_seq":1000000,` +
	`"application_id":"app","cache_read_tokens":0,"cache_write_tokens":0,"classification_basis":"default","completion_tokens":100,` +
	`"content":{"key_id":"0000000000000000","prompt":"full","prompt_sha256":"0000000000000000000000000000000000000000000000000000000000000000",` +
	`"response":"full","response_sha256":"0000000000000000000000000000000000000000000000000000000000000000",` +
	`"suite":"hpke-x25519-hkdfsha256-aes256gcm"},"data_classification":"INTERNAL","PUBLIC","CONFIDENTIAL","RESTRICTED",` +
	`"event_id":"00000000-0000-8000-8000-000000000000","identity_assurance":"asserted","ip_address":"10.0.0.0","kind":"interaction",` +
	`"latency_ms":1000,"model":"claude-haiku-4-5-20251001","claude-opus-4-5-20251101","claude-sonnet-4-5-20250929","operation":"chat",` +
	`"prompt_hash":"0000000000000000000000000000000000000000000000000000000000000000","prompt_tokens":1000,"provider":"anthropic",` +
	`"request_id":"req_011","request_model":"claude-sonnet-4-5",` +
	`"response_hash":"0000000000000000000000000000000000000000000000000000000000000000","response_id":"msg_01",` +
	`"retention":{"class":"default","until":"2026-01-01"},"revision":1,"schema":"claudeaudit.record/1",` +
	`"session_id":"00000000-0000-4000-8000-000000000000","source":{"dialect":"semconv","digest":"00000000000000000000000000000000",` +
	`"evidence":"sdk","rank":2,"scope":"opentelemetry.instrumentation.anthropic","session_rank":1,"signal":"span","user_rank":1},` +
	`"span_id":"0000000000000000","status":"success","stop_class":"stop","stop_reason":"end_turn",` +
	`"timestamp":"2026-01-01T00:00:00.000000000Z","trace_id":"00000000000000000000000000000000","user_id":"user@example.com"}`

var lineDict = s2.MakeDict([]byte(dictionary), []byte(`{"_log":"`))

// scratch is room to compress a line in, which takes twice what comes of it.
var scratch = sync.Pool{New: func() any { return new([]byte) }}

// maxScratch bounds what an idle one may hold on to.
const maxScratch = 64 << 10

// pack compresses a line.
func pack(line []byte) []byte {
	buf := scratch.Get().(*[]byte)
	packed := lineDict.Encode(*buf, line)
	if cap(packed) <= maxScratch {
		*buf = packed[:cap(packed)]
	}
	out := bytes.Clone(packed)
	scratch.Put(buf)
	return out
}

// unpack is the reverse.
func unpack(b []byte) ([]byte, error) {
	n, err := s2.DecodedLen(b)
	if err == nil && n > maxLine {
		return nil, fmt.Errorf("%w: an entry of %d bytes", index.ErrCorrupt, n)
	}
	if err == nil {
		b, err = lineDict.Decode(nil, b)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: an entry can't be decompressed: %w", index.ErrCorrupt, err)
	}
	return b, nil
}
