package injection

// Overflow is how a text strains a model's window.
type Overflow struct {
	Tokens int64   // estimated from the bytes
	Repeat float64 // share of the text that repeats what came before, 0 to 1
}

const (
	// MinOverflow is the length in bytes from which repetition is measured.
	MinOverflow = 8 << 10
	shingle     = 8 // words
	maxShingles = 1 << 16
)

// Measure estimates a text's tokens and the share of its stretches of eight words
// that came before in it. Long texts are measured by every n-th such stretch,
// chosen by its hash so that repetitions are chosen again; time is linear, memory
// bounded. Text below [MinOverflow] has a repeat of 0.
func Measure(text string) Overflow {
	o := Overflow{Tokens: estimateTokens(text)}
	if len(text) < MinOverflow {
		return o
	}
	// one of 2^skip stretches is looked at
	skip := uint(0)
	for len(text)>>(3+skip) > maxShingles {
		skip++
	}
	var ring [shingle]uint64
	seen := make(map[uint64]struct{}, 1024)
	words, looked, again := 0, 0, 0
	for i := 0; i < len(text); {
		if text[i] <= ' ' {
			i++
			continue
		}
		h := uint64(14695981039346656037)
		j := i
		// an unbroken text has words of 16 bytes
		for j < len(text) && text[j] > ' ' && j-i < 16 {
			h = (h ^ uint64(text[j])) * 1099511628211
			j++
		}
		ring[words%shingle] = h
		words++
		i = j
		if words < shingle {
			continue
		}
		x := uint64(0)
		for k := range shingle {
			x = (x ^ ring[(words+k)%shingle]) * 0x9e3779b97f4a7c15
			x ^= x >> 31
		}
		if skip > 0 && x>>(64-skip) != 0 {
			continue
		}
		looked++
		if _, ok := seen[x]; ok {
			again++
		} else if len(seen) < maxShingles {
			seen[x] = struct{}{}
		}
	}
	switch {
	case looked > 0:
		o.Repeat = float64(again) / float64(looked)
	case words >= shingle:
		// so few different stretches that none is among those chosen
		o.Repeat = 1
	}
	return o
}

// estimateTokens counts four ASCII bytes, or one character of other scripts, as
// a token.
func estimateTokens(text string) int64 {
	ascii, other := 0, 0
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c < 0x80:
			ascii++
		case c >= 0xc0:
			other++
		}
	}
	return int64((ascii+3)/4 + other)
}

// Abnormal tells whether a text is a flood: most of it repeats itself, or it
// takes more than share of a window of that many tokens (0 means unknown).
func (o Overflow) Abnormal(window int64, share float64) bool {
	return o.Repeat >= 0.8 || window > 0 && float64(o.Tokens) > share*float64(window)
}
