// Package rules holds the rules of detection that are built into the programs.
package rules

import "embed"

// Files are the rule files, by their names.
//
//go:embed *.yaml
var Files embed.FS
