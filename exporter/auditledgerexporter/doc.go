//go:generate go tool -modfile=../../tools/go.mod mdatagen metadata.yaml

// Package auditledgerexporter appends audit records to the ledger. What it
// takes without an error is on disk.
package auditledgerexporter
