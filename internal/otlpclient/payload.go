// Package otlpclient sends traces and logs to a collector the three ways that
// OTLP knows, and tells a refusal that is worth a retry from one that is not.
// It stands behind the sample sender and the end-to-end tests.
package otlpclient

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
)

// Signal is what a payload holds.
type Signal string

const (
	Traces Signal = "traces"
	Logs   Signal = "logs"
)

// Payload is one export request.
type Payload struct {
	Signal Signal
	// traces or logs, by Signal
	traces ptraceotlp.ExportRequest
	logs   plogotlp.ExportRequest
}

// FromTraces makes a payload of td, which it takes over.
func FromTraces(td ptrace.Traces) Payload {
	return Payload{Signal: Traces, traces: ptraceotlp.NewExportRequestFromTraces(td)}
}

// FromLogs makes a payload of ld, which it takes over.
func FromLogs(ld plog.Logs) Payload {
	return Payload{Signal: Logs, logs: plogotlp.NewExportRequestFromLogs(ld)}
}

// ReadFile reads one export request in OTLP/JSON, with "resourceSpans" or
// "resourceLogs" at its top.
func ReadFile(path string) (Payload, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return Payload{}, fmt.Errorf("read export request: %w", err)
	}
	p, err := ParseJSON(data)
	if err != nil {
		return Payload{}, fmt.Errorf("%s: %w", path, err)
	}
	return p, nil
}

// ParseJSON reads an export request in OTLP/JSON.
func ParseJSON(data []byte) (Payload, error) {
	var top map[string]json.RawMessage
	if err := json.Unmarshal(bytes.TrimSpace(data), &top); err != nil {
		return Payload{}, fmt.Errorf("parse export request: %w", err)
	}
	_, traces := top["resourceSpans"]
	_, logs := top["resourceLogs"]
	switch {
	case traces && !logs:
		req := ptraceotlp.NewExportRequest()
		if err := req.UnmarshalJSON(data); err != nil {
			return Payload{}, fmt.Errorf("parse traces: %w", err)
		}
		return Payload{Signal: Traces, traces: req}, nil
	case logs && !traces:
		req := plogotlp.NewExportRequest()
		if err := req.UnmarshalJSON(data); err != nil {
			return Payload{}, fmt.Errorf("parse logs: %w", err)
		}
		return Payload{Signal: Logs, logs: req}, nil
	default:
		return Payload{}, errors.New("an export request has either resourceSpans or resourceLogs")
	}
}

// Items is the number of spans or log records.
func (p Payload) Items() int {
	if p.Signal == Traces {
		return p.traces.Traces().SpanCount()
	}
	return p.logs.Logs().LogRecordCount()
}

// encode gives the body of an HTTP request and its content type.
func (p Payload) encode(asJSON bool) (body []byte, contentType string, err error) {
	contentType = "application/x-protobuf"
	if asJSON {
		contentType = "application/json"
	}
	switch {
	case p.Signal == Traces && asJSON:
		body, err = p.traces.MarshalJSON()
	case p.Signal == Traces:
		body, err = p.traces.MarshalProto()
	case asJSON:
		body, err = p.logs.MarshalJSON()
	default:
		body, err = p.logs.MarshalProto()
	}
	if err != nil {
		return nil, "", fmt.Errorf("encode %s: %w", p.Signal, err)
	}
	return body, contentType, nil
}
