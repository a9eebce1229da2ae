package injection

import (
	"math/bits"

	"github.com/claudeaudit/claudeaudit/internal/detect/sweep"
)

// Places are where a text may hide what it says. They are gathered block by
// block from what package sweep tells, for a few instructions each; [Inspect]
// looks at them more closely.
type Places struct {
	at   [placeKinds][]stretch
	prev sweep.Block // the block before
	// runs of 2, 4, 8 and 16 bytes of encodings that end in the block before
	runs [4]uint64
	// letters and pairs of letters or digits that stand alone, in the block before
	single, pair uint64
	leet         int // in the block before
}

type stretch struct{ from, to int }

// kinds of places
const (
	placeHigh   = iota // bytes that aren't ASCII
	placeRun           // the first minRun of more letters and digits in a row
	placeSingle        // letters with one or two bytes between them
	placeLeet          // letters with digits between them
	placeEscape        // several of % \ &
	placePair          // pairs of letters or digits
	placeBinary        // hardly anything but digits
	placeMorse         // many dots and dashes
	placeKinds
)

// Reset makes the places those of a new text.
func (p *Places) Reset() {
	for k := range p.at {
		p.at[k] = p.at[k][:0]
	}
	p.prev, p.runs, p.single, p.pair, p.leet = sweep.Block{}, [4]uint64{}, 0, 0, 0
}

// mark notes the block at a place, together with the one before.
func (p *Places) mark(kind, at int) {
	const gap = 2 * sweep.Size
	list := p.at[kind]
	if n := len(list); n > 0 && at-list[n-1].to <= gap {
		list[n-1].to = at + sweep.Size
		return
	}
	p.at[kind] = append(list, stretch{max(0, at-sweep.Size), at + sweep.Size})
}

// up is x moved n bits on, filled from the block before.
func up(x, before uint64, n int) uint64 { return x<<n | before>>(64-n) }

// Add notes what is odd in blocks of the text, of which the first begins at byte
// at and follows those of the last call.
func (p *Places) Add(at int, blocks []sweep.Block) {
	for i := range blocks {
		b := &blocks[i]
		p.add(at+i*sweep.Size, b)
	}
}

func (p *Places) add(at int, b *sweep.Block) {
	prev := &p.prev
	if b.High != 0 {
		p.mark(placeHigh, at)
	}
	alnum, before := b.Letter|b.Digit, prev.Letter|prev.Digit

	// 16 letters and digits in a row: of 2, of 4, of 8
	r1 := alnum & up(alnum, before, 1)
	r2 := r1 & up(r1, p.runs[0], 2)
	r3 := r2 & up(r2, p.runs[1], 4)
	r4 := r3 & up(r3, p.runs[2], 8)
	for first := r4 &^ up(r4, p.runs[3], 1); first != 0; first &= first - 1 {
		end := at + bits.TrailingZeros64(first) + 1
		p.at[placeRun] = append(p.at[placeRun], stretch{end - minRun, end})
	}
	p.runs = [4]uint64{r1, r2, r3, r4}

	// a letter with nothing of words before and after; what follows the block is
	// not known and taken for nothing
	single := b.Letter &^ up(alnum|b.High, before|prev.High, 1) &^ ((alnum | b.High) >> 1)
	if single != 0 {
		two := single & up(single, p.single, 2)
		three := single & up(single, p.single, 3)
		if two&up(two, p.single&up(p.single, 0, 2), 4)|three&up(three, p.single&up(p.single, 0, 3), 6) != 0 {
			p.mark(placeSingle, at)
		}
	}
	p.single = single

	if digit := b.Digit | b.At; digit != 0 {
		d := prev.Digit | prev.At
		one := up(digit, d, 1)
		leet := b.Letter & (one&up(b.Letter, prev.Letter, 2) | one&up(digit, d, 2)&up(b.Letter, prev.Letter, 3))
		n := bits.OnesCount64(leet)
		if n+p.leet >= 2 {
			p.mark(placeLeet, at)
		}
		p.leet = n

		pair := alnum & up(alnum, before, 1) &^ up(alnum, before, 2) &^ (alnum >> 1)
		if four := pair & up(pair, p.pair, 3); four != 0 {
			if four&up(four, p.pair&up(p.pair, 0, 3), 6) != 0 {
				p.mark(placePair, at)
			}
		}
		p.pair = pair
		if bits.OnesCount64(b.Digit) >= 48 {
			p.mark(placeBinary, at)
		}
	} else {
		p.leet, p.pair = 0, 0
	}
	if b.Escape != 0 && bits.OnesCount64(b.Escape)+bits.OnesCount64(prev.Escape) >= 3 {
		p.mark(placeEscape, at)
	}
	if b.Letter|b.Digit == 0 && bits.OnesCount64(b.Dot) >= 24 {
		p.mark(placeMorse, at)
	}
	p.prev = *b
}

// Sweep makes the places those of a text that was not swept yet.
func (p *Places) Sweep(text string) {
	p.Reset()
	var blocks [16]sweep.Block
	for at := 0; at < len(text); at += len(blocks) * sweep.Size {
		p.Add(at, blocks[:sweep.Text(blocks[:], text, at, &noGrams)])
	}
}

var noGrams sweep.Table
