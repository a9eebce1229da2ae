//go:generate go tool -modfile=../../tools/go.mod mdatagen metadata.yaml

// Package claudeauditprocessor makes audit records of model calls: one call,
// one event_id, whatever dialect of GenAI telemetry tells of it and however often.
package claudeauditprocessor
