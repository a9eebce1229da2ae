//go:generate go tool -modfile=../../tools/go.mod mdatagen metadata.yaml

// Package auditsqliteexporter keeps a SQLite index in step with the ledger.
package auditsqliteexporter
