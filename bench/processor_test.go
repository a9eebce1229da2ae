package bench

import (
	"context"
	"crypto/sha256"
	"testing"
	"time"

	"github.com/open-telemetry/opentelemetry-collector-contrib/processor/redactionprocessor"
	"github.com/open-telemetry/opentelemetry-collector-contrib/processor/transformprocessor"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/processor"
	"go.opentelemetry.io/collector/processor/processortest"

	"github.com/claudeaudit/claudeaudit/processor/claudeauditprocessor"
)

// What operators write today: hash the content with the transform processor,
// then look for ten kinds of values with the redaction processor.
var (
	transformConfig = map[string]any{
		"trace_statements": []any{map[string]any{
			"context": "span",
			"statements": []any{
				`set(attributes["audit.prompt_hash"], SHA256(attributes["gen_ai.input.messages"]))`,
				`set(attributes["audit.response_hash"], SHA256(attributes["gen_ai.output.messages"]))`,
			},
		}},
	}
	redactionConfig = map[string]any{
		"allow_all_keys": true,
		// With word boundaries, as it takes to leave longer numbers and names alone.
		"blocked_values": []any{
			`\b4[0-9]{12}(?:[0-9]{3})?\b`,                                        // Visa
			`\b5[1-5][0-9]{14}\b`,                                                // Mastercard
			`\b3[47][0-9]{13}\b`,                                                 // American Express
			`\b[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]{4}){3,7}\b`,                         // IBAN
			`\b[0-9]{3}-[0-9]{2}-[0-9]{4}\b`,                                     // US social security number
			`(?i)\b[a-z0-9._%+-]+@[a-z0-9.-]+\.[a-z]{2,}\b`,                      // e-mail
			`(?:\+|\b00)[1-9][0-9]{0,2}(?:[ ./-]?[0-9]{2,4}){2,4}\b`,             // telephone
			`\b(?:[0-9]{1,3}\.){3}[0-9]{1,3}\b`,                                  // IPv4
			`\b(?:AKIA|ASIA)[0-9A-Z]{16}\b`,                                      // AWS access key
			`(?i)\b(?:api[_-]?key|secret|token|password)\b["']?\s*[:=]\s*\S{8,}`, // secret in code
		},
	}
)

// start makes and starts a traces processor.
func start(b *testing.B, factory processor.Factory, config map[string]any, next consumer.Traces) processor.Traces {
	b.Helper()
	cfg := factory.CreateDefaultConfig()
	if err := confmap.NewFromStringMap(config).Unmarshal(cfg); err != nil {
		b.Fatal(err)
	}
	if err := confmap.Validate(cfg); err != nil {
		b.Fatal(err)
	}
	p, err := factory.CreateTraces(b.Context(), processortest.NewNopSettings(factory.Type()), cfg, next)
	if err != nil {
		b.Fatal(err)
	}
	if err := p.Start(b.Context(), componenttest.NewNopHost()); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := p.Shutdown(context.Background()); err != nil {
			b.Error(err)
		}
	})
	return p
}

// consume hands requests of fresh calls to p. Processors change what they get, so
// every iteration needs a copy of its own, which isn't part of the measurement. The
// clock is read here and not stopped by the benchmark's timer: that one reads the
// statistics of the memory each time and leaves the allocator without what it had at
// hand, which a collector never is.
func consume(b *testing.B, p consumer.Traces, size int, allNew bool) {
	b.Helper()
	template := request(size)
	var ids uint64
	var took time.Duration
	for b.Loop() {
		td := ptrace.NewTraces()
		template.CopyTo(td)
		identify(td, &ids, allNew)
		from := time.Now()
		if err := p.ConsumeTraces(b.Context(), td); err != nil {
			b.Fatal(err)
		}
		took += time.Since(from)
	}
	report(b, took, size)
}

// report reports what the time for all iterations makes.
func report(b *testing.B, took time.Duration, size int) {
	spans := float64(b.N * spansPerRequest)
	b.ReportMetric(float64(took.Nanoseconds())/float64(b.N), "ns/op")
	b.ReportMetric(spans*float64(size)/1e6/took.Seconds(), "MB/s")
	b.ReportMetric(spans/took.Seconds(), "spans/s")
}

func BenchmarkStock(b *testing.B) {
	eachSize(b, func(b *testing.B, size int) {
		redaction := start(b, redactionprocessor.NewFactory(), redactionConfig, consumertest.NewNop())
		consume(b, start(b, transformprocessor.NewFactory(), transformConfig, redaction), size, true)
	})
}

// BenchmarkClaudeAudit has every default rule on, and no text twice.
func BenchmarkClaudeAudit(b *testing.B) {
	eachSize(b, func(b *testing.B, size int) {
		consume(b, start(b, claudeauditprocessor.NewFactory(), map[string]any{}, consumertest.NewNop()), size, true)
	})
}

// BenchmarkResent is a conversation that goes on: all but its last message was
// there in the call before.
func BenchmarkResent(b *testing.B) {
	eachSize(b, func(b *testing.B, size int) {
		consume(b, start(b, claudeauditprocessor.NewFactory(), map[string]any{}, consumertest.NewNop()), size, false)
	})
}

// BenchmarkNoDetection is the processor without detection.
func BenchmarkNoDetection(b *testing.B) {
	off := map[string]any{"detection": map[string]any{"enabled": false}}
	eachSize(b, func(b *testing.B, size int) {
		consume(b, start(b, claudeauditprocessor.NewFactory(), off, consumertest.NewNop()), size, true)
	})
}

// BenchmarkSHA256 hashes the prompt texts and does nothing else.
func BenchmarkSHA256(b *testing.B) {
	eachSize(b, func(b *testing.B, size int) {
		system, turns := conversation(size)
		text := []byte(system)
		for _, turn := range turns {
			text = append(text, turn...)
		}
		var sum [sha256.Size]byte
		for b.Loop() {
			for range spansPerRequest {
				sum = sha256.Sum256(text)
			}
		}
		report(b, b.Elapsed(), size)
		_ = sum
	})
}
