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
	{what: "gateway's p50, 1 caller, over a bare proxy's that syncs, ms", bench: "GatewayAdded/callers=1", unit: "over-ms", reach: 0.3, most: true, form: plain},
	{what: "gateway's p50, 1 caller, of a bare proxy's", bench: "GatewayCalls/callers=1/gateway", unit: "p50-ms", base: "GatewayCalls/callers=1/proxy", form: times},
	{what: "gateway's p50, 1 caller, of direct", bench: "GatewayCalls/callers=1/gateway", unit: "p50-ms", base: "GatewayCalls/callers=1/direct", form: times},
	{what: "gateway's p99, 1 caller, of a bare proxy's", bench: "GatewayCalls/callers=1/gateway", unit: "p99-ms", base: "GatewayCalls/callers=1/proxy", form: times},
	{what: "gateway of a bare proxy, 32 callers", bench: "GatewayCalls/callers=32/gateway", unit: "calls/s", base: "GatewayCalls/callers=32/proxy", reach: 0.6, form: percent},
	{what: "gateway of direct, 32 callers", bench: "GatewayCalls/callers=32/gateway", unit: "calls/s", base: "GatewayCalls/callers=32/direct", form: percent},
	{what: "gateway's p99, 32 callers, of a bare proxy's", bench: "GatewayCalls/callers=32/gateway", unit: "p99-ms", base: "GatewayCalls/callers=32/proxy", form: times},
	{what: "gateway over LiteLLM, calls a second of CPU, 32 callers", bench: "GatewayCalls/callers=32/gateway", unit: "calls/cpu-s", base: "GatewayCalls/callers=32/litellm", reach: 20, may: true, form: times},
	{what: "gateway over LiteLLM, 32 callers", bench: "GatewayCalls/callers=32/gateway", unit: "calls/s", base: "GatewayCalls/callers=32/litellm", may: true, form: times},
	{what: "LiteLLM's p50, 1 caller, of the gateway's", bench: "GatewayCalls/callers=1/litellm", unit: "p50-ms", base: "GatewayCalls/callers=1/gateway", may: true, form: times},
	{what: "added to a chunk by the gateway over a bare proxy, p50, ms", bench: "GatewayChunksAdded", unit: "p50-ms", reach: 0.2, most: true, form: plain},
	{what: "memory of an open stream, KiB", bench: "GatewayMemory", unit: "KiB/stream", reach: 256, most: true, form: plain},
	{what: "search by user and dates in 1 million records, p95", bench: "Search/user_month", unit: "p95-ms", reach: 50, most: true, form: plain},
	{what: "writing to Elasticsearch of esutil.BulkIndexer alone", bench: "Bulk", unit: "docs/s", base: "Bulk", per: "indexer-docs/s", reach: 0.9, may: true, form: percent},
}
