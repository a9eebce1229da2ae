// Package sweep reads a text once and tells, 64 bytes at a time, which bytes are
// digits, letters and so on, and where a keyword may begin. What it returns are
// bit masks, so that whoever looks for something in a text looks only where it
// can be and pays a few instructions for 64 bytes where it can't.
//
// A keyword is known by four of its bytes in a row, a gram. The grams of all
// keywords are marked in a [Table] by a hash; every position of a text is
// looked up there by itself. An automaton such as that of Aho and Corasick
// would have to look up each byte at an address that depends on the byte
// before, and the processor could only wait.
//
// On amd64 with AVX2 the work is done by vector instructions; elsewhere, and as
// the reference in tests, by portable code.
package sweep

import (
	"encoding/binary"
	"unsafe"
)

// Size is the number of bytes that a Block tells of.
const Size = 64

// Block tells of [Size] bytes of a text. Bit i of a mask is byte i.
type Block struct {
	Digit  uint64 // 0 to 9
	Letter uint64 // A to Z, a to z
	High   uint64 // 0x80 and more
	At     uint64 // @
	Escape uint64 // % & \, which begin escapes
	Extra  uint64 // + - / = _, which encodings use beside letters and digits
	Dot    uint64 // . and -
	Gram   uint64 // where a gram of the table begins, and some more
}

// tableBits is the base-2 logarithm of the number of entries of a table, a byte
// each: a bit each would take three instructions more at every position, and
// the look-ups don't wait for one another.
const tableBits = 18

// GramLen is the number of bytes in a gram.
const GramLen = 4

const hashFactor = 0x9E3779B1

// Table is a set of grams. An entry is 0 where there is none; else it tells some
// of them apart whose hashes begin alike.
type Table [1 << tableBits]uint8

// several marks an entry of more than one gram.
const several = 0xff

// Fold sets bit 5 of every byte of a gram, which makes ASCII letters lower case
// and can only make different bytes equal, never equal ones different.
func Fold(gram uint32) uint32 { return gram | 0x20202020 }

// Hash spreads a folded gram over 32 bits.
func Hash(gram uint32) uint32 { return gram * hashFactor }

// mark is what a gram's entry holds.
func mark(hash uint32) uint8 { return uint8(hash>>(32-tableBits-8))&0x7f | 1 }

// Add puts a folded gram into the table.
func (t *Table) Add(gram uint32) {
	h := Hash(gram)
	switch e := &t[h>>(32-tableBits)]; *e {
	case 0, mark(h):
		*e = mark(h)
	default:
		*e = several
	}
}

// Has tells whether a folded gram may be in the table, more surely than the mask
// of a Block.
func (t *Table) Has(gram uint32) bool {
	h := Hash(gram)
	e := t[h>>(32-tableBits)]
	return e == mark(h) || e == several
}

// Gram is the folded gram at text[i:i+GramLen].
func Gram(text string, i int) uint32 {
	return Fold(uint32(text[i]) | uint32(text[i+1])<<8 | uint32(text[i+2])<<16 | uint32(text[i+3])<<24)
}

// ahead is how far beyond a block its grams are read, rounded up.
const ahead = 8

// Text fills dst with the blocks of text from byte from on, as many as there
// are or as dst holds, and returns how many. Bits beyond the text are 0, as are
// those of grams that aren't wholly in it.
func Text(dst []Block, text string, from int, table *Table) int {
	if from >= len(text) {
		return 0
	}
	rest := text[from:]
	n := min(len(dst), (len(rest)+Size-1)/Size)
	whole := 0
	if len(rest) >= Size+ahead {
		whole = min(n, (len(rest)-ahead)/Size)
		blocks(dst[:whole], unsafe.Slice(unsafe.StringData(rest), len(rest)), table)
	}
	var last [Size + ahead]byte
	for k := whole; k < n; k++ {
		clear(last[:])
		piece := rest[k*Size:]
		copy(last[:], piece)
		blocks(dst[k:k+1], last[:], table)
		if len(piece) < Size {
			b, m := &dst[k], uint64(1)<<len(piece)-1
			b.Digit, b.Letter, b.High, b.At, b.Escape, b.Extra, b.Dot = b.Digit&m, b.Letter&m, b.High&m, b.At&m, b.Escape&m, b.Extra&m, b.Dot&m
		}
		if grams := len(piece) - GramLen + 1; grams < Size {
			dst[k].Gram &= uint64(1)<<max(grams, 0) - 1
		}
	}
	return n
}

// classes of bytes, for the portable code
const (
	digit = 1 << iota
	letter
	high
	at
	escape
	extra
	dot
)

var classOf = func() (t [256]uint8) {
	for c := range t {
		switch {
		case c >= '0' && c <= '9':
			t[c] = digit
		case c >= 'A' && c <= 'Z', c >= 'a' && c <= 'z':
			t[c] = letter
		case c >= 0x80:
			t[c] = high
		}
	}
	for set, class := range map[string]uint8{"@": at, `%&\`: escape, "+-/=_": extra, ".-": dot} {
		for _, c := range []byte(set) {
			t[c] |= class
		}
	}
	return t
}()

// rare are the classes that few bytes of a text are of.
const rare = (high | at | escape | extra | dot) * 0x0101010101010101

// portable is blocks in plain Go: data has ahead bytes beyond the last block.
func portable(dst []Block, data []byte, table *Table) {
	for k := range dst {
		var b Block
		in := (*[Size + ahead]byte)(data[k*Size:])
		next := binary.LittleEndian.Uint64(in[:]) | 0x2020202020202020
		for i := 0; i < Size; i += 8 {
			c := uint64(classOf[in[i]]) | uint64(classOf[in[i+1]])<<8 | uint64(classOf[in[i+2]])<<16 | uint64(classOf[in[i+3]])<<24 |
				uint64(classOf[in[i+4]])<<32 | uint64(classOf[in[i+5]])<<40 | uint64(classOf[in[i+6]])<<48 | uint64(classOf[in[i+7]])<<56
			b.Digit |= gather(c) << i
			b.Letter |= gather(c>>1) << i
			if c&rare != 0 {
				b.High |= gather(c>>2) << i
				b.At |= gather(c>>3) << i
				b.Escape |= gather(c>>4) << i
				b.Extra |= gather(c>>5) << i
				b.Dot |= gather(c>>6) << i
			}
			low := next
			next = binary.LittleEndian.Uint64(in[i+8:]) | 0x2020202020202020
			// no branch here: whether there is a gram can't be foreseen
			b.Gram |= (table.at(uint32(low)) | table.at(uint32(low>>8))<<1 | table.at(uint32(low>>16))<<2 | table.at(uint32(low>>24))<<3 |
				table.at(uint32(low>>32))<<4 | table.at(uint32(low>>40|next<<24))<<5 | table.at(uint32(low>>48|next<<16))<<6 |
				table.at(uint32(low>>56|next<<8))<<7) << i
		}
		dst[k] = b
	}
}

// at is 1 where the table has an entry for a folded gram, else 0.
func (t *Table) at(gram uint32) uint64 { return (uint64(t[Hash(gram)>>(32-tableBits)]) + 0xff) >> 8 }

// gather is the lowest bits of eight bytes, that of the first byte lowest.
func gather(x uint64) uint64 { return x & 0x0101010101010101 * 0x0102040810204080 >> 56 }
