package e2e

// smallSegments makes the ledger close its segments after a few entries, so
// that a short test has several.
var smallSegments = map[string]any{
	"exporters": map[string]any{"audit_ledger": map[string]any{
		"segment": map[string]any{"max_entries": 16, "max_age": "1s"},
	}},
}

// smallDisk lets the ledger use a small file system nearly to its end.
var smallDisk = map[string]any{
	"exporters": map[string]any{"audit_ledger": map[string]any{
		"spool": map[string]any{"min_free_bytes": 2 << 20},
	}},
}

// silent keeps the ledger from saying when it ran: the last of that is written when the
// index has stopped, which a test that compares to the last entry would see.
var silent = map[string]any{
	"exporters": map[string]any{"audit_ledger": map[string]any{"alive_interval": 0}},
}
