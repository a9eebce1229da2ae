package detect

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/claudeaudit/claudeaudit/internal/cputime"
)

// prose is text without data, as prompts are: questions, an explanation, code.
const prose = `Could you explain how a garbage collector decides when to run, and what the trade-off between throughput and
latency looks like in practice? I have read that generational collectors rely on the observation that most objects die
young, but I don't quite see how write barriers fit into the picture. Please keep the answer short and give one example.

Sure. Think of the heap as two rooms. New objects are put into the small room, which is cleaned often; whatever survives
a few cleanings moves into the large room, which is cleaned rarely. A write barrier notes every time something in the
large room begins to point into the small one, so that the small room can be cleaned without looking through all of the
large one. Throughput suffers from the notes, latency gains from the smaller cleanings.

for i := range items {
	if items[i].Weight > limit {
		heavy = append(heavy, items[i])
	}
}

Les collines au-dessus de la ville étaient encore couvertes de brume quand nous avons repris la route vers le nord. Der
Zug hielt an jeder kleinen Station, und niemand stieg ein. Later that evening we found an inn with a garden, ordered
soup and bread, and talked about the plans for the rest of the week until the lamps went out.

`

func repeatTo(s string, n int) string { return strings.Repeat(s, n/len(s)+1)[:n] }

const withData = `Please reset the account of Mr. John Smith (john.smith@firma-beispiel.de, +49 30 901820, born on 12.03.1981).
His card 4111 1111 1111 1111 was charged on 2024-01-15 from 189.121.77.181; the token was ghp_aoe6drsbavq8wevxn3ndq198l0ymjp1m5gc0.
`

// fresh are texts as prompts hold them, in which nothing comes again every few
// lines: documentation and code of the standard library, conversations of the
// two, and configuration and logs that are made up.
func fresh(tb testing.TB) map[string]string {
	tb.Helper()
	out, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		tb.Skipf("go env GOROOT: %v: there is no text to measure with", err)
	}
	var code, prose strings.Builder
	for _, name := range []string{"net/http/server.go", "database/sql/sql.go", "encoding/json/decode.go", "go/build/build.go"} {
		b, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(out)), "src", name))
		if err != nil {
			tb.Skipf("%v: there is no text to measure with", err)
		}
		for line := range strings.Lines(string(b)) {
			if text, ok := strings.CutPrefix(strings.TrimSpace(line), "// "); ok {
				prose.WriteString(text + "\n")
			} else {
				code.WriteString(line)
			}
		}
	}
	var conversation, config, logs strings.Builder
	p, c := prose.String(), code.String()
	for i := 0; conversation.Len() < 32<<10; i++ {
		conversation.WriteString("Can you explain this to me, please?\n\n" + c[i*700:i*700+700] + "\n\nSure. " + p[i*500:i*500+500] + "\n\n")
	}
	r := rand.New(rand.NewPCG(7, 8))
	for i := 0; config.Len() < 32<<10; i++ {
		fmt.Fprintf(&config, "  {\"name\": \"service-%d\", \"replicas\": %d, \"enabled\": %t, \"limits\": {\"cpu\": \"%dm\", \"memory\": \"%dMi\"}, \"path\": \"/srv/%x\"},\n",
			i, r.IntN(9), r.IntN(2) == 0, r.IntN(4000), r.IntN(9000), r.Uint32())
		fmt.Fprintf(&logs, "2026-11-24T18:%02d:%02d.%03dZ INFO request handled method=GET path=/items/%d status=200 bytes=%d duration=%dms trace=%016x\n",
			r.IntN(60), r.IntN(60), r.IntN(1000), r.IntN(100000), r.IntN(1<<20), r.IntN(900), r.Uint64())
	}
	return map[string]string{
		"prose": p[:32<<10], "code": c[:32<<10], "conversation": conversation.String()[:32<<10], "json": config.String()[:32<<10], "logs": logs.String()[:min(32<<10, logs.Len())],
	}
}

// BenchmarkScan measures 32 KB texts with everything on. The metric sha256 is the
// rate as a share of bare SHA-256 over the same text in the same run.
func BenchmarkScan(b *testing.B) {
	texts := fresh(b)
	texts["hit-free"] = repeatTo(prose, 32<<10)
	texts["with data"] = repeatTo(prose, 31<<10) + repeatTo(withData, 1<<10)
	texts["nothing but data"] = repeatTo(withData, 32<<10)
	keywords := Config{Dictionaries: []Dictionary{{ID: "customer.codenames", Words: codenames(500)}}}
	for _, e := range []struct {
		name string
		cfg  Config
	}{{"all", Config{}}, {"without injection", Config{NoInjection: true}}, {"500 keywords more", keywords}} {
		e.cfg.CacheBytes = -1
		engine := newEngine(b, e.cfg)
		for _, name := range slices.Sorted(maps.Keys(texts)) {
			text := texts[name]
			b.Run(e.name+"/"+name, func(b *testing.B) {
				sha := cputime.Of(50, func() { sha256.Sum256([]byte(text)) })
				b.SetBytes(int64(len(text)))
				b.ReportAllocs()
				least := time.Duration(1 << 62)
				for b.Loop() {
					start := time.Now()
					engine.Scan([]Segment{{Text: text}}, Scope{}, Options{})
					least = min(least, time.Since(start))
				}
				b.ReportMetric(float64(sha)/float64(least), "sha256")
			})
		}
	}
}

// codenames are made-up words.
func codenames(n int) []string {
	syllables := []string{"bor", "zan", "qui", "tel", "mar", "vok", "lun", "dra", "pex", "sil", "gor", "fen"}
	var out []string
	for i := range n {
		out = append(out, fmt.Sprintf("%s%s%s project", syllables[i%12], syllables[i/12%12], syllables[(i*7+i/144)%12]))
	}
	return out
}

func BenchmarkNew(b *testing.B) {
	for b.Loop() {
		newEngine(b, Config{})
	}
}
