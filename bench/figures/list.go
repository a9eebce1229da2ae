package main

const (
	times   = "%.3g×"
	percent = "%.3g %%"
	plain   = "%.3g"
)

// figures are those that the design sets.
var figures = []figure{
	{what: "processor over the stock chain, 4 KB prompts", bench: "ClaudeAudit/4KB", unit: "MB/s", base: "Stock/4KB", reach: 50, form: times},
	{what: "processor over the stock chain, 32 KB prompts", bench: "ClaudeAudit/32KB", unit: "MB/s", base: "Stock/32KB", reach: 50, form: times},
	{what: "processor of bare SHA-256, 4 KB prompts", bench: "ClaudeAudit/4KB", unit: "MB/s", base: "SHA256/4KB", form: percent},
	{what: "processor of bare SHA-256, 32 KB prompts", bench: "ClaudeAudit/32KB", unit: "MB/s", base: "SHA256/32KB", reach: 0.12, form: percent},
	{what: "processor of bare SHA-256, 32 KB, history resent", bench: "Resent/32KB", unit: "MB/s", base: "SHA256/32KB", form: percent},
	{what: "processor of bare SHA-256, 32 KB, detection off", bench: "NoDetection/32KB", unit: "MB/s", base: "SHA256/32KB", form: percent},
	{what: "processor with 500 keywords of a customer over without, 32 KB", bench: "Dictionary/32KB", unit: "with-MB/s", base: "Dictionary/32KB", per: "without-MB/s", reach: 0.9, form: percent},
	{what: "ledger, 64 writers over one", bench: "Append/ledger/writers=64", unit: "entries/s", base: "Append/ledger/writers=1", reach: 20, form: times},
	{what: "ledger of bare grouped writes, 1 writer", bench: "Append/ledger/writers=1", unit: "entries/s", base: "Append/plain/writers=1", form: percent},
	{what: "ledger of bare grouped writes, 16 writers", bench: "Append/ledger/writers=16", unit: "entries/s", base: "Append/plain/writers=16", form: percent},
	{what: "ledger of bare grouped writes, 64 writers", bench: "Append/ledger/writers=64", unit: "entries/s", base: "Append/plain/writers=64", reach: 0.8, form: percent},
	{what: "verify, entries of 1 KB a second and core", bench: "Verify/ledger", unit: "entries/s", reach: 0.4e6, form: plain},
	{what: "verify of bare SHA-256", bench: "Verify/ledger", unit: "MB/s", base: "Verify/sha256", reach: 0.35, form: percent},
	{what: "sealed into a bucket of sealed into a folder", bench: "Seal/bucket", unit: "sealed-entries/s", base: "Seal/folder", form: percent},
	{what: "search by user and dates in 1 million records, p95", bench: "Search/user_month", unit: "p95-ms", reach: 50, most: true, form: plain},
}
