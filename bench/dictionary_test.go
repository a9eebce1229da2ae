package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/processor"

	"github.com/claudeaudit/claudeaudit/processor/claudeauditprocessor"
)

// companyWords are 500 words as a company has them: projects, customers, products,
// sites and systems. Two of them stand in the texts, each once in every 700 bytes.
func companyWords() []string {
	words := []string{"delivery notes", "Zürich warehouse", "invoice run"}
	add := func(formats []string, names ...string) {
		for _, n := range names {
			for _, f := range formats {
				words = append(words, fmt.Sprintf(f, n))
			}
		}
	}
	add([]string{"Project %s", "%s programme", "Operation %s", "%s launch"},
		"Heron", "Falcon", "Kestrel", "Osprey", "Merlin", "Condor", "Plover", "Bittern", "Avocet", "Curlew", "Dunlin", "Fulmar", "Gannet",
		"Jackdaw", "Lapwing", "Magpie", "Nightjar", "Petrel", "Redstart", "Siskin", "Tern", "Whimbrel", "Wigeon", "Wren", "Bunting")
	add([]string{"%s GmbH", "%s & Sons", "%s Holdings", "%s Logistics Ltd", "%s Partners"},
		"Hartmann", "Okafor", "Lindqvist", "Marchetti", "Dubois", "Novák", "Petrov", "Yamamoto", "Castellanos", "O'Brien", "Van Dijk",
		"Kowalski", "Andersen", "Fontaine", "Moreau", "Schäfer", "Takahashi", "Whitfield", "Zimmermann", "Abernathy")
	add([]string{"%sFlow", "%sGuard", "%sLink", "%sDesk", "%sVault", "%sPay", "%sTrack", "%sPilot", "%sCare", "%sBase"},
		"Aqua", "Terra", "Nova", "Omni", "Quanta", "Veri", "Solar", "Metro", "Opti", "Strato", "Lumi", "Cargo", "Medi", "Agro", "Fleet",
		"Harbour", "Polar", "Vector", "Zephyr", "Kilo")
	add([]string{"wh-eu-%s", "erp-%s-prod", "dc-%s.corp", "cost centre %s"},
		"0114", "0220", "0231", "0307", "0412", "0455", "0518", "0603", "0699", "0712", "0788", "0821", "0840", "0877", "0903", "0954",
		"1011", "1042", "1110", "1187", "1201", "1266", "1300", "1345", "1408")
	return words[:500]
}

// BenchmarkDictionary is the processor with 500 words of a company beside the one
// without, in turns, over the same texts.
func BenchmarkDictionary(b *testing.B) {
	rules := "dictionaries:\n  - id: company.words\n    type: company_word\n    level: CONFIDENTIAL\n    words:\n"
	for _, w := range companyWords() {
		rules += fmt.Sprintf("      - %q\n", w)
	}
	file := filepath.Join(b.TempDir(), "company.yaml")
	if err := os.WriteFile(file, []byte(rules), 0o600); err != nil {
		b.Fatal(err)
	}
	eachSize(b, func(b *testing.B, size int) {
		out := new(consumertest.TracesSink)
		words := map[string]any{"detection": map[string]any{"rule_files": []any{file}}}
		both := [2]processor.Traces{
			start(b, claudeauditprocessor.NewFactory(), words, out),
			start(b, claudeauditprocessor.NewFactory(), map[string]any{}, consumertest.NewNop()),
		}
		template := request(size)
		var ids uint64
		var took [2]time.Duration
		n := 0
		for b.Loop() {
			td := [2]ptrace.Traces{ptrace.NewTraces(), ptrace.NewTraces()}
			template.CopyTo(td[0])
			identify(td[0], &ids, true)
			td[0].CopyTo(td[1])
			n++
			for k := range both {
				k = (k + n) % 2 // whoever is first has to fetch the texts from farther away
				from := time.Now()
				if err := both[k].ConsumeTraces(b.Context(), td[k]); err != nil {
					b.Fatal(err)
				}
				took[k] += time.Since(from)
			}
			if ids == spansPerRequest {
				a := out.AllTraces()[0].ResourceSpans().At(0).ScopeSpans().At(0).Spans().At(0).Attributes()
				if found, ok := a.Get("audit.detections"); !ok || found.Slice().Len() != 1 {
					b.Fatalf("the words of the text weren't found: %v", a.AsRaw()["audit.detections"])
				}
			}
			out.Reset()
		}
		megabytes := float64(b.N*spansPerRequest*size) / 1e6
		b.ReportMetric(megabytes/took[0].Seconds(), "with-MB/s")
		b.ReportMetric(megabytes/took[1].Seconds(), "without-MB/s")
	})
}
