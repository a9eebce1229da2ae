//go:generate go tool -modfile=../../tools/go.mod mdatagen metadata.yaml

// Package claudegatewayreceiver is the claude_gateway receiver: a gateway to Claude's
// APIs that records every call before it forwards it.
package claudegatewayreceiver
