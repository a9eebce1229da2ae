package ledger

import (
	"context"
	"errors"
	"iter"
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/claudeaudit/claudeaudit/internal/witness"
)

// WitnessNotes are cosigned checkpoints that were kept elsewhere.
type WitnessNotes struct {
	Name  string // in messages
	Notes [][]byte
}

// cosigned is a checkpoint of the store with a cosignature.
type cosigned struct {
	key  string
	size uint64
	msg  []byte
}

// cosignedNotes yields the stream's cosigned checkpoints in the store, by size.
func (v *verifier) cosignedNotes(ctx context.Context, s *streamCheck, failed *error) iter.Seq[cosigned] {
	dir := cosignedDir(s.Origin)
	list := func(yield func(cosigned) bool) {
		last := uint64(0)
		for o := range objects(ctx, v.store, dir, "", failed) {
			size, ok := parseCosignedKey(o.Key[len(dir):])
			if !ok || size > s.newest { // of a checkpoint that was stored since the verification began
				continue
			}
			if size < last {
				v.problem(KindWitness, o.Key, s.Origin, at(max(size, 1)-1), "a cosigned checkpoint of %d entries has an earlier date: a copy, or moved", last)
				continue
			}
			last = size
			if !yield(cosigned{key: o.Key, size: size}) {
				return
			}
		}
	}
	return ordered(ctx, v.opts.Workers, list, func(c cosigned) cosigned {
		var err error
		if c.msg, err = v.get(ctx, c.key, maxNote); err != nil {
			v.problem(KindWitness, c.key, s.Origin, at(max(c.size, 1)-1), "can't be read: %v", err)
		}
		return c
	})
}

// takeCosigned takes the cosigned checkpoints of one size and compares them with
// the tree, if it is known. It returns the name of one that the log signed.
func (m *marks) takeCosigned(size uint64, root Hash, known bool) (valid string) {
	v, s := m.v, m.s
	seq := at(max(size, 1) - 1)
	by := map[*witness.Verifier]bool{}
	var newest time.Time
	for m.witOK && m.wit.size <= size {
		c := m.wit
		m.wit, m.witOK = m.nextWit()
		if c.msg == nil || s.keys == nil {
			continue
		}
		cp, err := ParseCheckpoint(c.msg, s.keys)
		switch {
		case err != nil:
			v.problem(KindWitness, c.key, s.Origin, seq, "%v", err)
			continue
		case cp.Origin != s.Origin || cp.Size != c.size:
			v.problem(KindWitness, c.key, s.Origin, seq, "is of size %d of %s", cp.Size, cp.Origin)
			continue
		}
		valid = c.key
		if known && cp.Root != root {
			if !s.rootBad {
				s.rootBad = true
				v.problem(KindRewritten, c.key, s.Origin, at(s.good), "the entries between %d and %d are not those that a witness cosigned", s.good, size-1)
			}
			continue
		}
		if v.opts.Policy == nil {
			continue
		}
		for _, w := range v.opts.Policy.Witnesses {
			n, err := note.Open(c.msg, note.VerifierList(w))
			var forged *note.InvalidSignatureError
			switch {
			case errors.As(err, &forged):
				v.problem(KindWitness, c.key, s.Origin, seq, "the cosignature of %s does not match", w.Name())
			case err == nil && len(n.Sigs) > 0:
				by[w] = true
				if t, ok := w.Time(c.msg); ok && t.After(newest) {
					newest = t
				}
			}
		}
	}
	if p := v.opts.Policy; known && p != nil && p.HasQuorum() && len(by) > 0 && p.Satisfied(func(w *witness.Verifier) bool { return by[w] }) {
		m.cosigned, m.cosignedAt = size, newest
	}
	return valid
}

// scanNotes reports streams that only given notes know.
func (v *verifier) scanNotes() {
	for _, n := range v.opts.WitnessNotes {
		missing := map[string]uint64{}
		for _, msg := range n.Notes {
			text, _, _ := strings.Cut(string(msg), "\n\n")
			c, err := parseCheckpointText(text + "\n")
			if err != nil {
				v.problem(KindWitness, n.Name, "", nil, "%v", err)
				continue
			}
			if v.streams[c.Origin] == nil {
				missing[c.Origin] = max(missing[c.Origin], c.Size)
			}
		}
		for origin, size := range missing {
			v.problem(KindNoStream, n.Name, origin, nil, "the witness has a checkpoint of %d entries of it, but nothing of it is there", size)
		}
	}
}

// givenNotes yields a stream's given notes, by size.
func (v *verifier) givenNotes(s *streamCheck, n WitnessNotes) iter.Seq[witnessNote] {
	var mine []witnessNote
	for _, msg := range n.Notes {
		if !strings.HasPrefix(string(msg), s.Origin+"\n") {
			continue
		}
		text, _, _ := strings.Cut(string(msg), "\n\n")
		if c, err := parseCheckpointText(text + "\n"); err == nil { // else reported by scanNotes
			mine = append(mine, witnessNote{c, msg})
		}
	}
	slices.SortStableFunc(mine, func(a, b witnessNote) int {
		if a.cp.Size < b.cp.Size {
			return -1
		}
		if a.cp.Size > b.cp.Size {
			return 1
		}
		return 0
	})
	return slices.Values(mine)
}
