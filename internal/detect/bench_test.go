package detect

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"
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

func BenchmarkScan(b *testing.B) {
	text := repeatTo(prose, 32<<10)
	mixed := repeatTo(prose, 31<<10) + repeatTo(withData, 1<<10)
	dense := repeatTo(withData, 32<<10)
	run := func(name, text string, cfg Config) {
		cfg.CacheBytes = -1
		e := newEngine(b, cfg)
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				e.Scan([]Segment{{Text: text}}, Scope{}, Options{})
			}
		})
	}
	b.Run("sha256", func(b *testing.B) {
		b.SetBytes(int64(len(text)))
		data := []byte(text)
		for b.Loop() {
			sha256.Sum256(data)
		}
	})
	run("prose", text, Config{})
	run("prose rules only", text, Config{NoInjection: true})
	run("mixed", mixed, Config{})
	run("mixed rules only", mixed, Config{NoInjection: true})
	run("dense", dense, Config{})
	run("dense rules only", dense, Config{NoInjection: true})
	run("500 keywords more rules only", text, Config{NoInjection: true, Dictionaries: []Dictionary{{ID: "customer.codenames", Words: codenames(500)}}})
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
