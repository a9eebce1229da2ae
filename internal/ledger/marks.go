package ledger

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"slices"
	"strings"
	"time"
)

// witnessFile is a witness's file as it was when the verification began.
type witnessFile struct {
	path    string
	file    *os.File
	size    int64
	origins map[string]bool
}

func (v *verifier) openWitnesses() (out []*witnessFile, err error) {
	defer func() {
		if err != nil {
			for _, w := range out {
				err = errors.Join(err, w.file.Close())
			}
		}
	}()
	for _, path := range v.opts.WitnessFiles {
		f, err := openRegular(path)
		if err != nil {
			return out, fmt.Errorf("witness file: %w", err)
		}
		out = append(out, &witnessFile{path: path, file: f, origins: map[string]bool{}})
		st, err := f.Stat()
		if err != nil {
			return out, fmt.Errorf("witness file: %w", err)
		}
		out[len(out)-1].size = st.Size()
		v.total += st.Size()
	}
	return out, nil
}

// notes yields the file's notes. A last one that is being written, or was torn
// by a crash, is no note.
func (w *witnessFile) notes(fn func(msg []byte, next int64) error) error {
	return readNotes(io.NewSectionReader(w.file, 0, w.size), fn)
}

// scanWitness checks the form and order of a witness's notes, and that their streams are there.
func (v *verifier) scanWitness(w *witnessFile) error {
	last := map[string]uint64{}
	var end int64
	n := 0
	err := w.notes(func(msg []byte, next int64) error {
		end = next
		n++
		text, _, _ := bytes.Cut(msg, []byte("\n\n"))
		c, err := parseCheckpointText(string(text) + "\n")
		if err != nil {
			v.problem(KindWitness, w.path, "", nil, "note %d: %v", n, err)
			return nil
		}
		prev, known := last[c.Origin]
		switch {
		case !known && v.streams[c.Origin] == nil:
			v.problem(KindNoStream, w.path, c.Origin, nil, "the witness has a checkpoint of %d entries of it, but nothing of it is there", c.Size)
		case known && c.Size == prev:
			v.problem(KindWitness, w.path, c.Origin, at(max(c.Size, 1)-1), "note %d: the checkpoint of size %d is there twice", n, c.Size)
		case known && c.Size < prev:
			v.problem(KindWitness, w.path, c.Origin, at(max(c.Size, 1)-1), "note %d: a checkpoint of size %d after one of %d: an old one was put in again, or the order was changed", n, c.Size, prev)
		}
		last[c.Origin] = max(prev, c.Size)
		w.origins[c.Origin] = true
		return nil
	})
	if errors.Is(err, errTorn) {
		// A writer at work or a crash leaves an unfinished note at the end; anything else is damage.
		tail := make([]byte, min(w.size-end, maxNote))
		if _, err := w.file.ReadAt(tail, end); err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("witness file: %w", err)
		}
		if w.size-end > maxNote || bytes.Count(tail, []byte("\n\n")) > 1 {
			v.problem(KindWitness, w.path, "", nil, "what follows byte %d is not a note", end)
		} else {
			v.note(KindTorn, w.path, "", nil, "note %d is not finished (%d bytes)", n+1, len(tail))
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("witness file: %w", err)
	}
	return nil
}

// marks are the sizes at which something signed says what the root is:
// checkpoints of the store, of the witnesses, and heads that claims name.
type marks struct {
	v *verifier
	s *streamCheck

	nextCP    func() (cpResult, bool)
	stopCP    func()
	cp        cpResult
	cpOK      bool
	err       error
	heads     []Checkpoint
	witnesses []*witnessCursor

	nextWit    func() (cosigned, bool)
	stopWit    func()
	wit        cosigned
	witOK      bool
	witErr     error
	cosigned   uint64 // newest size with a quorum
	cosignedAt time.Time

	ctx    context.Context
	stamps []stored

	store     uint64 // newest valid checkpoint of the store
	covered   uint64
	witnessed uint64
	headMax   uint64
}

type witnessCursor struct {
	path string
	// given are notes that don't have every checkpoint.
	given bool
	next  func() (witnessNote, bool)
	stop  func()
	cur   witnessNote
	ok    bool
	last  uint64 // newest valid
}

type witnessNote struct {
	cp  Checkpoint
	msg []byte
}

func (v *verifier) newMarks(ctx context.Context, s *streamCheck, witnesses []*witnessFile) (*marks, error) {
	m := &marks{v: v, s: s, ctx: ctx, stamps: s.stamps}
	sortStamps(m.stamps)
	for _, h := range s.heads {
		if h.Size > 0 { // the empty tree says nothing
			m.heads = append(m.heads, h)
		}
	}
	slices.SortFunc(m.heads, func(a, b Checkpoint) int { return cmp.Compare(a.Size, b.Size) })
	for _, h := range m.heads {
		m.headMax = max(m.headMax, h.Size)
	}
	dir := "v1/" + s.Origin + "/cp/"
	type named struct {
		key  string
		size uint64
	}
	list := func(yield func(named) bool) {
		last, seen := uint64(0), false
		for o := range objects(ctx, v.store, dir, "", &m.err) {
			size, ok := parseCheckpointKey(o.Key[len(dir):])
			if !ok || size > s.newest { // stored since the verification began
				continue
			}
			if seen && size <= last {
				v.problem(KindCheckpoint, o.Key, s.Origin, at(max(size, 1)-1), "a checkpoint of %d entries has an earlier date: a copy, or moved", last)
				continue
			}
			last, seen = size, true
			if !yield(named{o.Key, size}) {
				return
			}
		}
	}
	m.nextCP, m.stopCP = iter.Pull(ordered(ctx, v.opts.Workers, list, func(n named) cpResult { return v.checkCheckpoint(ctx, s, n.key, n.size) }))
	m.advanceCP()
	m.nextWit, m.stopWit = iter.Pull(v.cosignedNotes(ctx, s, &m.witErr))
	m.wit, m.witOK = m.nextWit()
	for _, n := range v.opts.WitnessNotes {
		c := &witnessCursor{path: n.Name}
		c.next, c.stop = iter.Pull(v.givenNotes(s, n))
		c.advance()
		c.given = true
		m.witnesses = append(m.witnesses, c)
	}
	for _, w := range witnesses {
		c := &witnessCursor{path: w.path}
		c.next, c.stop = iter.Pull(v.witnessNotes(s, w))
		c.advance()
		m.witnesses = append(m.witnesses, c)
	}
	return m, nil
}

// witnessNotes yields a stream's notes in a witness's file, ascending.
func (v *verifier) witnessNotes(s *streamCheck, w *witnessFile) iter.Seq[witnessNote] {
	return func(yield func(witnessNote) bool) {
		if !w.origins[s.Origin] {
			return
		}
		head := []byte(s.Origin + "\n")
		last, seen := uint64(0), false
		err := w.notes(func(msg []byte, _ int64) error {
			v.read.Add(int64(len(msg)) / int64(max(1, len(v.streams))))
			if !bytes.HasPrefix(msg, head) {
				return nil
			}
			text, _, _ := bytes.Cut(msg, []byte("\n\n"))
			c, err := parseCheckpointText(string(text) + "\n")
			if err != nil || seen && c.Size <= last {
				return nil // reported by scanWitness
			}
			last, seen = c.Size, true
			if !yield(witnessNote{c, slices.Clone(msg)}) {
				return errStop
			}
			return nil
		})
		if err != nil && !errors.Is(err, errStop) && !errors.Is(err, errTorn) {
			v.problem(KindWitness, w.path, s.Origin, nil, "can't be read: %v", err)
		}
	}
}

func (c *witnessCursor) advance() { c.cur, c.ok = c.next() }
func (m *marks) advanceCP()       { m.cp, m.cpOK = m.nextCP() }

func (m *marks) stop() {
	m.stopCP()
	m.stopWit()
	for _, w := range m.witnesses {
		w.stop()
	}
}

// next is the size of the next mark, 0 if there is none.
func (m *marks) next() uint64 {
	n := uint64(maxSeq + 1)
	if m.cpOK {
		n = min(n, m.cp.size)
	}
	if m.witOK {
		n = min(n, m.wit.size)
	}
	if len(m.heads) > 0 {
		n = min(n, m.heads[0].Size)
	}
	if len(m.stamps) > 0 {
		n = min(n, m.stamps[0].size)
	}
	for _, w := range m.witnesses {
		if w.ok {
			n = min(n, w.cur.cp.Size)
		}
	}
	if n > maxSeq {
		return 0
	}
	return n
}

// takeAt removes the marks of one size.
func (m *marks) takeAt(size uint64) (cp *cpResult, heads []Checkpoint, seen []int) {
	if m.cpOK && m.cp.size == size {
		c := m.cp
		cp = &c
		m.advanceCP()
	}
	for len(m.heads) > 0 && m.heads[0].Size == size {
		heads = append(heads, m.heads[0])
		m.heads = m.heads[1:]
	}
	for i, w := range m.witnesses {
		if w.ok && w.cur.cp.Size == size {
			seen = append(seen, i)
		}
	}
	return cp, heads, seen
}

// check compares the tree with every mark of its size.
func (m *marks) check(s *streamCheck) { m.compare(s.tree.size, s.tree.root(), true) }

// pass takes the marks up to a size at which the tree is not known.
func (m *marks) pass(size uint64) {
	for n := m.next(); n != 0 && n <= size; n = m.next() {
		m.compare(n, Hash{}, false)
	}
}

// compare takes the marks of one size. root is the entries' root there, if known.
func (m *marks) compare(size uint64, root Hash, known bool) {
	v, s := m.v, m.s
	cp, heads, seen := m.takeAt(size)
	m.takeCosigned(size, root, known)
	m.takeStamps(size, root, known)
	seq := at(max(size, 1) - 1)
	rewritten := func(object, who string) {
		if s.rootBad {
			return // the first one names the place; the others follow from it
		}
		s.rootBad = true
		v.problem(KindRewritten, object, s.Origin, at(s.good), "the entries between %d and %d are not those that %s signed", s.good, size-1, who)
	}
	stored := cp != nil
	if cp != nil && cp.ok {
		s.Checkpoints++
		m.store = max(m.store, size)
		if known && !strings.HasPrefix(cp.key, checkpointDir(s.Origin)+dayPath(s.lastHour)+"/") {
			v.problem(KindCheckpoint, cp.key, s.Origin, seq, "is not in the folder of its day, %s", dayPath(s.lastHour))
		}
		switch {
		case !known:
		case cp.cp.Root != root:
			rewritten(cp.key, "the checkpoint of size "+fmt.Sprint(size))
		default:
			s.good = size
			m.covered = size
		}
	}
	for _, h := range heads {
		switch {
		case !known:
		case h.Root != root:
			rewritten(claimKey(s.Origin), "the claim of the next stream")
		default:
			s.good = max(s.good, size)
			m.covered = max(m.covered, size)
		}
	}
	for _, i := range seen {
		w := m.witnesses[i]
		n := w.cur
		w.advance()
		if cp != nil && cp.ok && bytes.Equal(cp.msg, n.msg) {
			w.last = size
			if known && cp.cp.Root == root {
				m.witnessed = max(m.witnessed, size)
			}
			continue
		}
		if s.keys == nil {
			continue
		}
		got, err := ParseCheckpoint(n.msg, s.keys)
		if err != nil {
			v.problem(KindWitness, w.path, s.Origin, seq, "checkpoint of size %d: %v", size, err)
			continue
		}
		w.last = size
		if !stored {
			v.problem(KindNoCheckpoint, checkpointDir(s.Origin), s.Origin, seq, "the witness %s has the checkpoint of size %d, the store does not", w.path, size)
		}
		switch {
		case cp != nil && cp.ok && got.Root != cp.cp.Root:
			v.problem(KindWitness, w.path, s.Origin, at(s.good), "the witness has another checkpoint of size %d than the store: the log was forked or rewritten", size)
		case known && got.Root != root:
			rewritten(w.path, "the witnessed checkpoint of size "+fmt.Sprint(size))
		case known:
			m.witnessed = max(m.witnessed, size)
		}
	}
	// What lies below the write-ahead files was given to every witness.
	if cp == nil || !cp.ok {
		return
	}
	for i, w := range m.witnesses {
		if slices.Contains(seen, i) {
			continue
		}
		if w.given {
			continue // it has what it was asked for
		}
		if s.hasFloor && size <= s.floor || w.ok {
			v.problem(KindNotWitnessed, w.path, s.Origin, seq, "the checkpoint of size %d is not there", size)
		} else {
			v.note(KindPendingNotice, w.path, s.Origin, seq, "the checkpoint of size %d is not there (yet)", size)
		}
	}
}

func checkpointDir(origin string) string { return "v1/" + origin + "/cp/" }

// headCovers says whether a later claim names a head of that size or more.
func (m *marks) headCovers(size uint64) bool { return m.headMax >= size }

// finish takes the marks beyond the last segment.
func (m *marks) finish() {
	v, s := m.v, m.s
	told := false
	for n := m.next(); n != 0; n = m.next() {
		cp, heads, seen := m.takeAt(n)
		beyond := m.takeCosigned(n, Hash{}, false)
		stamped := m.takeStamps(n, Hash{}, false)
		if n <= s.Sealed { // the empty tree's
			continue
		}
		var object, who string
		switch {
		case cp != nil && cp.ok:
			object, who = cp.key, "a checkpoint"
		case len(heads) > 0:
			object, who = claimKey(s.Origin), "the claim of the next stream"
		case beyond != "":
			object, who = beyond, "a cosigned checkpoint"
		case stamped != "":
			object, who = stamped, "a time stamp"
		}
		for _, i := range seen {
			w := m.witnesses[i]
			msg := w.cur.msg
			w.advance()
			if s.keys == nil {
				continue
			}
			if _, err := ParseCheckpoint(msg, s.keys); err != nil {
				v.problem(KindWitness, w.path, s.Origin, at(n-1), "checkpoint of size %d: %v", n, err)
				continue
			}
			w.last = n
			if object == "" {
				object, who = w.path, "a witnessed checkpoint"
			}
		}
		if object != "" && !told {
			told = true
			v.problem(KindTruncated, object, s.Origin, at(s.Sealed), "%s says that there are %d entries, %d are sealed", who, n, s.Sealed)
		}
	}
}
