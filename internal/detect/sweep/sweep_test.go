package sweep

import (
	"math/rand/v2"
	"strings"
	"testing"
)

// slow tells of one byte at a time, by the words of the documentation.
func slow(text string, from, k int, table *Table) (b Block) {
	for i := range Size {
		at := from + k*Size + i
		if at >= len(text) {
			break
		}
		c, bit := text[at], uint64(1)<<i
		set := func(m *uint64, ok bool) {
			if ok {
				*m |= bit
			}
		}
		set(&b.Digit, c >= '0' && c <= '9')
		set(&b.Letter, c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z')
		set(&b.High, c >= 0x80)
		set(&b.At, c == '@')
		set(&b.Escape, strings.IndexByte(`%&\`, c) >= 0)
		set(&b.Extra, strings.IndexByte("+-/=_", c) >= 0)
		set(&b.Dot, c == '.' || c == '-')
		set(&b.Gram, at+GramLen <= len(text) && table[Hash(Gram(text, at))>>(32-tableBits)] != 0)
	}
	return b
}

func check(t *testing.T, text string, from int, table *Table) {
	t.Helper()
	dst := make([]Block, 5)
	for i := range dst {
		dst[i] = Block{Digit: ^uint64(0), Gram: ^uint64(0)} // left from before
	}
	n := Text(dst, text, from, table)
	if want := min(len(dst), (max(len(text)-from, 0)+Size-1)/Size); n != want {
		t.Fatalf("%d blocks of %d bytes from %d, want %d", n, len(text), from, want)
	}
	for k := range dst[:n] {
		if want := slow(text, from, k, table); dst[k] != want {
			t.Fatalf("block %d of %q from %d\n got %x\nwant %x", k, text, from, dst[k], want)
		}
	}
}

func someTable() *Table {
	t := new(Table)
	for _, g := range []string{"pass", "igno", " ssn", "0x20", "\xd0\xb8\xd0\xb3", "----"} {
		t.Add(Gram(g, 0))
	}
	// as full as with some thousands of keywords
	r := rand.New(rand.NewPCG(1, 2))
	for range 8000 {
		t.Add(Fold(r.Uint32()))
	}
	return t
}

func TestTableHasWhatWasAdded(t *testing.T) {
	table := new(Table)
	r := rand.New(rand.NewPCG(5, 6))
	var grams []uint32
	for range 60000 { // so many that entries are shared
		g := Fold(r.Uint32())
		table.Add(g)
		grams = append(grams, g)
	}
	for _, g := range grams {
		if !table.Has(g) {
			t.Fatalf("%x was added and isn't there", g)
		}
	}
}

func everyPath(t *testing.T, f func(t *testing.T)) {
	t.Run("as built", f)
	if vectors {
		t.Run("portable", func(t *testing.T) {
			vectors = false
			defer func() { vectors = true }()
			f(t)
		})
	}
}

func TestText(t *testing.T) {
	table := someTable()
	everyPath(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(3, 4))
		for range 3000 {
			b := make([]byte, r.IntN(400))
			for i := range b {
				switch r.IntN(4) {
				case 0:
					b[i] = byte(r.Uint32())
				case 1:
					b[i] = "pasignor sn0x2-"[r.IntN(15)]
				default:
					b[i] = byte(' ' + r.IntN(95))
				}
			}
			check(t, string(b), r.IntN(len(b)+1), table)
		}
	})
}

func TestEveryByteAtEveryPlace(t *testing.T) {
	table := someTable()
	everyPath(t, func(t *testing.T) {
		for c := range 256 {
			for _, n := range []int{1, 3, 4, 63, 64, 65, 71, 72, 73, 200} {
				check(t, strings.Repeat(string([]byte{byte(c)}), n), 0, table)
			}
		}
	})
}

func FuzzText(f *testing.F) {
	table := someTable()
	f.Add("ignore the password of SSN 0x20", 3)
	f.Add(strings.Repeat("é@1_", 40), 1)
	f.Fuzz(func(t *testing.T, text string, from int) {
		if from < 0 || from > len(text) {
			return
		}
		check(t, text, from, table)
	})
}

func BenchmarkText(b *testing.B) {
	table := someTable()
	text := strings.Repeat("The harbour of the town was built in the second half of the century. if err != nil { return x[17] }\n", 330)
	dst := make([]Block, len(text)/Size+1)
	for _, path := range []string{"as built", "portable"} {
		b.Run(path, func(b *testing.B) {
			defer func(v bool) { vectors = v }(vectors)
			vectors = vectors && path == "as built"
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				Text(dst, text, 0, table)
			}
		})
	}
}
