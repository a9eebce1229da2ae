package main

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// disguise is a way to hide what a text says from filters. The ways are those
// that public collections of attacks use.
type disguise struct {
	name string
	of   func(string) string
}

var disguiseWays = []disguise{
	{"base64", func(s string) string {
		return "Decode this base64 text and do what it says: " + base64.StdEncoding.EncodeToString([]byte(s))
	}},
	{"base64, nothing else", func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }},
	{"base64, twice", func(s string) string {
		return base64.StdEncoding.EncodeToString([]byte(base64.StdEncoding.EncodeToString([]byte(s))))
	}},
	{"rot13 in base64", func(s string) string { return base64.StdEncoding.EncodeToString([]byte(mapRunes(s, rot13))) }},
	{"reversed in base64", func(s string) string { return base64.StdEncoding.EncodeToString([]byte(reversed(s))) }},
	{"base64 in hex", func(s string) string {
		return hex.EncodeToString([]byte(base64.StdEncoding.EncodeToString([]byte(s))))
	}},
	{"hex", func(s string) string { return hex.EncodeToString([]byte(s)) }},
	{"rot13", func(s string) string { return mapRunes(s, rot13) }},
	{"leet", func(s string) string {
		return strings.NewReplacer("a", "4", "e", "3", "i", "1", "o", "0", "s", "5", "t", "7").Replace(s)
	}},
	{"homoglyphs", func(s string) string {
		return strings.NewReplacer("a", "а", "c", "с", "e", "е", "o", "о", "p", "р", "x", "х", "i", "і").Replace(s)
	}},
	{"full width", func(s string) string {
		return mapRunes(s, func(r rune) rune {
			if r > ' ' && r < 0x7f {
				return r + 0xfee0
			}
			return r
		})
	}},
	{"mathematical letters", func(s string) string {
		return mapRunes(s, func(r rune) rune {
			switch {
			case r >= 'a' && r <= 'z':
				return r - 'a' + 0x1d41a
			case r >= 'A' && r <= 'Z':
				return r - 'A' + 0x1d400
			}
			return r
		})
	}},
	{"zero-width", func(s string) string { return between(s, "\u200b") }},
	{"soft hyphens", func(s string) string { return between(s, "\u00ad") }},
	{"tags", func(s string) string {
		return "Hello there. " + mapRunes(s, func(r rune) rune {
			if r >= ' ' && r < 0x7f {
				return r + 0xe0000
			}
			return -1
		})
	}},
	{"bidi", func(s string) string { return "\u202e" + reversed(s) + "\u202c" }},
	{"spaced", func(s string) string {
		return strings.Join(strings.Split(strings.ReplaceAll(s, " ", "  "), ""), " ")
	}},
	{"reversed", reversed},
}

func mapRunes(s string, f func(rune) rune) string { return strings.Map(f, s) }

func rot13(r rune) rune {
	switch {
	case r >= 'a' && r <= 'z':
		return 'a' + (r-'a'+13)%26
	case r >= 'A' && r <= 'Z':
		return 'A' + (r-'A'+13)%26
	}
	return r
}

// between puts something between the letters of words.
func between(s, what string) string {
	var b strings.Builder
	prev := ' '
	for _, r := range s {
		if prev > ' ' && r > ' ' {
			b.WriteString(what)
		}
		b.WriteRune(r)
		prev = r
	}
	return b.String()
}

func reversed(s string) string {
	r := []rune(s)
	slices.Reverse(r)
	return string(r)
}

func disguises(_ context.Context, e *evaluation) error {
	e.heading("Disguised attacks")
	var injection, any tallies
	for i := range e.corpus.injection {
		if r := &e.corpus.injection[i]; r.Derived && strings.HasPrefix(r.Subtype, "obf_") {
			f := flags(e.engine, r.Text, r.origin())
			injection.at(r.Subtype).count(true, injected(f))
			any.at(r.Subtype).count(true, injected(f) || hasPrefix(f, "obfuscation."))
			if !injected(f) {
				e.miss(r.ID, r.Subtype+" flags "+strings.Join(f, " "))
			}
		}
	}
	slices.Sort(injection.names)
	var rows [][]string
	for _, n := range slices.Concat(injection.names, []string{"all"}) {
		i, a := injection.total(), any.total()
		if n != "all" {
			i, a = *injection.of[n], *any.of[n]
		}
		rows = append(rows, []string{n, fmt.Sprint(i.tp + i.fn), i.recall().String(), a.recall().String()})
	}
	if len(injection.names) > 0 {
		e.text("The lines that the corpus has disguised, by a flag of `prompt_injection.*`, and by that or one of `obfuscation.*`:")
		e.table([]string{"disguise", "lines", "`prompt_injection.*`", "or `obfuscation.*`"}, rows)
	}
	e.atLeast("disguised attacks of the corpus: recall", injection.total().recall(), 0.80)

	const longest = 2000
	var plainFound, harmless []*row
	attacks := 0
	for i := range e.corpus.injection {
		r := &e.corpus.injection[i]
		if !plain(r) || len(r.Text) > longest || !utf8.ValidString(r.Text) {
			continue
		}
		if !r.attack() {
			harmless = append(harmless, r)
			continue
		}
		attacks++
		if injected(flags(e.engine, r.Text, r.origin())) {
			plainFound = append(plainFound, r)
		}
	}
	for i := range e.corpus.benign {
		if r := &e.corpus.benign[i]; len(r.Text) <= longest && utf8.ValidString(r.Text) {
			harmless = append(harmless, r)
		}
	}
	e.text("Every plain attack up to %d bytes that is found as it is (%d of %d), disguised here in every way: the share that is still found. And harmless texts (%d) disguised in the same way, which must not become attacks; that they are disguised may be said.",
		longest, len(plainFound), attacks, len(harmless))
	rows = nil
	var all tally
	for _, way := range disguiseWays {
		var c, o tally
		for _, r := range plainFound {
			f := flags(e.engine, way.of(r.Text), r.origin())
			c.count(true, injected(f))
			o.count(true, hasPrefix(f, "obfuscation."))
			if !injected(f) {
				e.miss(r.ID, way.name+" hides it")
			}
		}
		for _, r := range harmless {
			found := injected(flags(e.engine, way.of(r.Text), r.origin()))
			c.count(false, found)
			if found {
				e.miss(r.ID, way.name+" makes it an attack")
			}
		}
		all.add(c)
		rows = append(rows, []string{way.name, c.recall().String(), o.recall().String(), c.alarms().percent()})
	}
	rows = append(rows, []string{"all", all.recall().String(), "", all.alarms().percent()})
	e.table([]string{"disguise", "found of those found plain", "with `obfuscation.*`", "harmless taken for attacks"}, rows)
	e.atLeast("disguised here: found of those found plain", all.recall(), 0.80)
	return nil
}
