//go:generate go tool -modfile=../../tools/go.mod mdatagen metadata.yaml

// Package auditelasticsearchexporter keeps an index in Elasticsearch in step
// with the ledger.
package auditelasticsearchexporter
