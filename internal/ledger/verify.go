package ledger

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/claudeaudit/claudeaudit/internal/bucket"
	"github.com/claudeaudit/claudeaudit/internal/witness"
)

// Verdict is what a verification found of one question.
type Verdict string

// Verdicts. Integrity is intact, bad or unchecked; completeness complete,
// incomplete or open: a tail that no checkpoint covers yet.
const (
	Intact     Verdict = "intact"
	Bad        Verdict = "bad"
	Unchecked  Verdict = "unchecked"
	Complete   Verdict = "complete"
	Incomplete Verdict = "incomplete"
	OpenTail   Verdict = "open"
)

// Kinds of a Problem.
const (
	KindForeign       = "foreign-object"     // an object that does not belong to the ledger
	KindClaim         = "claim"              // a stream without a valid claim
	KindKey           = "unknown-key"        // a claim with a key that is none of the given ones
	KindSegment       = "segment"            // a segment that can't be read or is not what its name says
	KindEntry         = "entry"              // a line that is malformed or not what its leaf hash says
	KindChain         = "chain"              // an entry that does not follow the one before
	KindMissing       = "missing-entries"    // a gap in the sequence
	KindOverlap       = "overlap"            // entries stored twice: a copy or a fork
	KindCheckpoint    = "checkpoint"         // a checkpoint that is malformed, not signed, or out of place
	KindNoCheckpoint  = "missing-checkpoint" // a checkpoint that was there is not
	KindRewritten     = "rewritten"          // the entries are not those that a checkpoint signed
	KindTruncated     = "truncated"          // the log is shorter than a checkpoint says
	KindWitness       = "witness"            // a witness file that is malformed or out of order
	KindNotWitnessed  = "missing-witness"    // a checkpoint that the witness has to have is not there
	KindNoStream      = "missing-stream"     // a stream that a witness or a claim names is not there
	KindContent       = "content"            // a content container that can't be read or was changed
	KindNoContent     = "missing-content"    // a content that an entry names is not there
	KindWAL           = "write-ahead"        // a write-ahead file that is damaged or contradicts the segments
	KindState         = "state"              // a state file of the writer that is damaged
	KindUncovered     = "uncovered-tail"     // completeness: entries under no checkpoint yet
	KindOverwritten   = "overwritten"        // an object of the store was written again or hidden; the first version counts
	KindTorn          = "torn-tail"          // completeness: an entry that was not written whole
	KindTimestamp     = "timestamp"          // a time stamp of other entries, or of no known authority
	KindQuorum        = "missing-quorum"     // too few witnesses cosigned
	KindPendingNotice = "pending"            // completeness: a checkpoint that is not witnessed yet
	KindPruned        = "pruned"             // a note about removed entries that the log of holds and erasures does not back
	KindLeft          = "unfinished-prune"   // completeness: objects of removed entries that are still there
)

// causes orders the kinds at one place: what causes others comes first.
var causes = []string{
	KindClaim, KindKey, KindPruned, KindSegment, KindMissing, KindOverlap, KindEntry, KindChain, KindNoContent, KindContent, KindCheckpoint,
	KindNoCheckpoint, KindRewritten, KindWAL, KindTruncated, KindState, KindWitness, KindNotWitnessed, KindTimestamp, KindQuorum, KindNoStream, KindForeign, KindOverwritten,
}

// Problem is one finding and its place.
type Problem struct {
	Kind   string  `json:"kind"`
	Object string  `json:"object,omitempty"` // key in the store, or path
	Stream string  `json:"stream,omitempty"`
	Seq    *uint64 `json:"seq,omitempty"` // first entry it is about
	Detail string  `json:"detail"`
}

func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.Kind)
	if p.Stream != "" {
		fmt.Fprintf(&b, " in %s", p.Stream)
	}
	if p.Seq != nil {
		fmt.Fprintf(&b, " at entry %d", *p.Seq)
	}
	if p.Object != "" {
		fmt.Fprintf(&b, " (%s)", p.Object)
	}
	return b.String() + ": " + p.Detail
}

// StreamReport says what was verified of a stream.
type StreamReport struct {
	Origin      string    `json:"origin"`
	VerifierKey string    `json:"verifier_key,omitempty"`
	Instance    string    `json:"instance,omitempty"`
	Created     time.Time `json:"created,omitzero"`
	// Pruned is how many entries were removed at the end of their retention. The
	// counts below have them.
	Pruned    uint64 `json:"pruned,omitzero"`
	Entries   uint64 `json:"entries"`   // with the write-ahead files
	Sealed    uint64 `json:"sealed"`    // in segments
	Covered   uint64 `json:"covered"`   // under a valid checkpoint, or the head that the next claim names
	Witnessed uint64 `json:"witnessed"` // under a checkpoint that a witness holds
	// Cosigned is how many are under a checkpoint with the policy's quorum of
	// cosignatures, and CosignedAt when the last of them was made.
	Cosigned   uint64    `json:"cosigned"`
	CosignedAt time.Time `json:"cosigned_at,omitzero"`
	// Stamped is how many the newest time stamp covers that one of the policy's
	// authorities made, and Stamps how many such there are.
	Stamped     uint64    `json:"stamped,omitzero"`
	StampedAt   time.Time `json:"stamped_at,omitzero"`
	StampedBy   string    `json:"stamped_by,omitzero"`
	Stamps      int       `json:"stamps,omitzero"`
	Segments    int       `json:"segments"`    //
	Checkpoints int       `json:"checkpoints"` // valid ones in the store
	Root        string    `json:"root"`        // hex, of Sealed entries
}

// Report is the result of Verify.
type Report struct {
	Integrity Verdict `json:"integrity"`
	// Unchecked says what integrity rests on that was not checked.
	Unchecked []string `json:"unchecked,omitempty"`
	// Problems are integrity's, sorted by place: the first is the first bad place.
	Problems     []Problem `json:"problems"`
	MoreProblems int       `json:"more_problems,omitempty"` // beyond MaxProblems

	Completeness Verdict `json:"completeness"`
	// Notes are completeness's.
	Notes []Problem `json:"notes"`

	Streams      []StreamReport `json:"streams"`
	Entries      uint64         `json:"entries"`
	Contents     uint64         `json:"contents"`      // stored contents
	ContentsRead uint64         `json:"contents_read"` // whose bytes were hashed
	Missing      uint64         `json:"contents_missing"`
	Bytes        int64          `json:"bytes"` // read
	Elapsed      time.Duration  `json:"elapsed_ns"`
}

// VerifyOptions say what to verify and against what.
type VerifyOptions struct {
	// Dir is a ledger's folder, or the folder of its store alone. Or else Store
	// and, if they are there, the folder of the write-ahead files.
	Dir    string
	Store  bucket.Store
	WALDir string
	// PublicKeys are the verifier keys that may have signed. Without any, the
	// ledger's own claims are believed, and integrity is at best unchecked.
	PublicKeys []string
	// WitnessFiles are copies of checkpoints as FileWitness writes them.
	WitnessFiles []string
	// Policy says which keys may have signed, besides PublicKeys, and which
	// witnesses have to have cosigned; nil: no one has to.
	Policy *witness.Policy
	// WitnessNotes are cosigned checkpoints from elsewhere, such as a witness's own
	// log, of any stream and in any order within one that its sizes allow.
	WitnessNotes []WitnessNotes
	// Removals are the prefixes that may have been removed.
	Removals []Removal
	// ContentEvery reads the content of every nth container; 0 is 1, all;
	// negative: none. Indexes of containers are always checked.
	ContentEvery int
	// MissingContent accepts containers that are not there, as after their
	// retention, and counts them.
	MissingContent bool
	MaxProblems    int // that are kept, 1,000
	Workers        int // GOMAXPROCS
	// Progress is called now and then with the bytes read and to read.
	Progress func(done, total int64)
	// OnEntry is called with every valid entry, in order within a stream; line
	// is valid until it returns. Its error ends the verification.
	OnEntry func(stream string, seq uint64, line []byte) error
}

// Verify checks a ledger: claims, names, counts, chain, tree, every checkpoint,
// witness copies, content and write-ahead files. It may run while a writer
// does. The error is non-nil only if it could not be checked; what is wrong
// with the ledger is in the report.
func Verify(ctx context.Context, opts VerifyOptions) (*Report, error) {
	start := time.Now()
	v := &verifier{opts: opts, store: opts.Store, walDir: opts.WALDir, streams: map[string]*streamCheck{}}
	if opts.Dir != "" {
		r, err := OpenReader(opts.Dir)
		if err != nil {
			return nil, err
		}
		v.store, v.walDir = r.store, r.walDir
	}
	if v.store == nil {
		return nil, errors.New("verify: neither Dir nor Store is given")
	}
	if opts.Policy != nil {
		v.opts.PublicKeys = append(slices.Clone(opts.PublicKeys), opts.Policy.Logs...)
		opts.PublicKeys = v.opts.PublicKeys
	}
	setDefault(&v.opts.MaxProblems, 1000)
	setDefault(&v.opts.Workers, runtime.GOMAXPROCS(0))
	setDefault(&v.opts.ContentEvery, 1)
	for _, k := range opts.PublicKeys {
		if _, err := note.NewVerifier(k); err != nil {
			return nil, fmt.Errorf("verify: public key %q: must be name+hash+base64", k)
		}
	}
	if err := v.run(ctx); err != nil {
		return nil, fmt.Errorf("verify: %w", err)
	}
	return v.report(time.Since(start)), nil
}

type verifier struct {
	opts   VerifyOptions
	store  bucket.Store
	walDir string

	total   int64
	read    atomic.Int64
	shown   time.Time
	streams map[string]*streamCheck
	order   []string
	parts   []walPart // at the start
	badWAL  []badFile
	head    []byte // wal/durable at the start

	contents, contentsRead, contentsMissing atomic.Uint64

	mu       sync.Mutex
	problems []Problem
	more     int
	notes    []Problem
}

// streamCheck is the state of one stream's verification.
type streamCheck struct {
	StreamReport
	claim   *Claim
	keys    note.Verifiers
	trusted bool
	newest  uint64   // greatest size in a checkpoint's name at the start
	classes []string // of its containers
	notes   []uint64 // sizes of its pruned notes, ascending
	stamps  []stored
	// stampCount is kept when they are taken.
	stampCount int
	floor      uint64 // everything below was checkpointed and witnessed at the start
	hasFloor   bool
	heads      []Checkpoint // that later claims name
	tree       edge
	prev       Hash
	prevOK     bool // prev is known
	treeOK     bool // tree is that of all entries so far
	good       uint64
	rootBad    bool
	leftovers  int    // objects of removed entries
	leftover   string // the first of them
	lastKey    string
	lastHour   time.Time
}

// badFile is a write-ahead file whose header can't be read.
type badFile struct {
	name  string
	first uint64 // of its name
	err   error
}

type walPart struct {
	name   string
	header walHeader
}

func (v *verifier) problem(kind, object, stream string, seq *uint64, format string, args ...any) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.problems) >= v.opts.MaxProblems {
		v.more++
		return
	}
	v.problems = append(v.problems, Problem{kind, object, stream, seq, fmt.Sprintf(format, args...)})
}

func (v *verifier) note(kind, object, stream string, seq *uint64, format string, args ...any) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.notes) < v.opts.MaxProblems {
		v.notes = append(v.notes, Problem{kind, object, stream, seq, fmt.Sprintf(format, args...)})
	}
}

func at(seq uint64) *uint64 { return &seq }

// run takes its snapshots in the opposite order of writing, so that what a
// running writer adds meanwhile never looks missing: write-ahead files,
// witnesses, checkpoints, then segments.
func (v *verifier) run(ctx context.Context) error {
	if err := v.snapshotWAL(); err != nil {
		return err
	}
	witnesses, err := v.openWitnesses()
	if err != nil {
		return err
	}
	defer func() {
		for _, w := range witnesses {
			_ = w.file.Close() // read only
		}
	}()
	if err := v.scan(ctx); err != nil {
		return err
	}
	if len(v.streams) == 0 && len(v.parts) == 0 {
		return fmt.Errorf("%w: it has no stream", ErrNoLedger)
	}
	for _, p := range v.parts {
		s := v.stream(p.header.Origin)
		if !s.hasFloor || p.header.First < s.floor {
			s.floor, s.hasFloor = p.header.First, true
		}
	}
	for _, w := range witnesses {
		if err := v.scanWitness(w); err != nil {
			return err
		}
	}
	v.scanNotes()
	for o := range v.streams {
		v.order = append(v.order, o)
	}
	sortOrigins(v.order)
	for _, o := range v.order {
		if err := v.checkClaim(ctx, v.streams[o]); err != nil {
			return err
		}
	}
	for _, o := range v.order {
		if c := v.streams[o].claim; c != nil && c.Previous.Origin != "" {
			if p := v.streams[c.Previous.Origin]; p != nil {
				p.heads = append(p.heads, c.Previous)
			} else {
				v.problem(KindNoStream, claimKey(o), c.Previous.Origin, nil, "%s follows it, but nothing of it is there", o)
			}
		}
	}
	for _, o := range v.order {
		if err := v.checkStream(ctx, v.streams[o], witnesses); err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
	}
	for _, b := range v.badWAL {
		v.problem(KindWAL, "wal/"+b.name, "", at(b.first), "header: %v", b.err)
	}
	v.progress(true)
	return nil
}

func (v *verifier) stream(origin string) *streamCheck {
	s := v.streams[origin]
	if s == nil {
		s = &streamCheck{treeOK: true}
		s.Origin = origin
		v.streams[origin] = s
	}
	return s
}

func (v *verifier) progress(force bool) {
	if v.opts.Progress != nil && (force || time.Since(v.shown) > 100*time.Millisecond) {
		v.shown = time.Now()
		done := v.read.Load()
		v.opts.Progress(done, max(v.total, done))
	}
}

// snapshotWAL reads the headers of the write-ahead files.
func (v *verifier) snapshotWAL() error {
	if v.walDir == "" {
		return nil
	}
	entries, err := os.ReadDir(v.walDir)
	if err != nil {
		return fmt.Errorf("list write-ahead files: %w", err)
	}
	if v.head, err = readHead(v.walDir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	n := 0
	for _, e := range entries {
		name := e.Name()
		first, ok := parseWalName(name)
		if !ok {
			if name != walDurable && !strings.HasPrefix(name, walCut) && !strings.HasSuffix(name, walSuffix+".tmp") {
				v.problem(KindForeign, "wal/"+name, "", nil, "no file of the ledger has such a name")
			}
			continue
		}
		h, err := readWalHeader(filepath.Join(v.walDir, name))
		n++
		switch {
		case errors.Is(err, fs.ErrNotExist): // just sealed
		case errors.Is(err, errTorn), errors.Is(err, errDamaged):
			v.badWAL = append(v.badWAL, badFile{name, first, err})
		case err != nil:
			return err
		case walName(h.First) != name:
			v.problem(KindWAL, "wal/"+name, h.Origin, at(h.First), "begins at entry %d", h.First)
		default:
			v.parts = append(v.parts, walPart{name, h})
		}
	}
	if n == 0 {
		v.problem(KindState, "wal/", "", nil, "no write-ahead file is there; a writer always leaves one")
	}
	return nil
}

func readWalHeader(path string) (h walHeader, err error) {
	f, err := openRegular(path)
	if err != nil {
		return h, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	r, err := newWalReader(f)
	if err != nil {
		return h, err
	}
	return r.header, nil
}

// scan lists the whole store once: streams, foreign objects, bytes.
func (v *verifier) scan(ctx context.Context) error {
	classes := map[string]map[string]bool{}
	err := v.store.List(ctx, "", "", func(o bucket.ObjectInfo) error {
		v.total += o.Size
		if strings.HasPrefix(o.Key, bucket.ProbeDir) {
			return nil
		}
		origin, kind, rest, ok := splitKey(o.Key)
		if o.Overwritten > 0 {
			v.problem(KindOverwritten, o.Key, origin, nil, "%d later versions or delete markers lie over it; its first version was verified", o.Overwritten)
		}
		if !ok {
			v.problem(KindForeign, o.Key, "", nil, "no object of the ledger has such a name")
			return nil
		}
		s := v.stream(origin)
		switch kind {
		case "claim":
			ok = rest == ""
		case "seg":
			_, ok = parseSegKey(rest)
		case "cp":
			var size uint64
			if size, ok = parseCheckpointKey(rest); ok {
				s.newest = max(s.newest, size)
			}
		case "wit":
			_, ok = parseCosignedKey(rest)
		case "pruned":
			var size uint64
			if size, ok = parsePrunedKey(rest); ok {
				s.notes = append(s.notes, size)
			}
		case "tsr":
			var size uint64
			if size, ok = parseStampKey(rest); ok {
				s.stamps, s.stampCount = append(s.stamps, stored{o.Key, size}), s.stampCount+1
			}
		case "cnt":
			var class string
			if class, _, ok = parseCntKey(rest); ok {
				if classes[origin] == nil {
					classes[origin] = map[string]bool{}
				}
				classes[origin][class] = true
			}
		}
		if !ok {
			v.problem(KindForeign, o.Key, origin, nil, "no object of the ledger has such a name")
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("list objects: %w", err)
	}
	for o, set := range classes {
		for c := range set {
			v.streams[o].classes = append(v.streams[o].classes, c)
		}
	}
	return nil
}

// splitKey tells what kind of object a key names, and of which stream.
func splitKey(key string) (origin, kind, rest string, ok bool) {
	if o, found := strings.CutPrefix(key, claimsDir); found {
		o, found = strings.CutSuffix(o, noteSuffix)
		_, _, err := splitOrigin(o)
		return o, "claim", "", found && err == nil
	}
	key, found := strings.CutPrefix(key, "v1/")
	if !found {
		return "", "", "", false
	}
	parts := strings.Split(key, "/")
	for i, p := range parts {
		if p == "seg" || p == "cnt" || p == "cp" || p == "wit" || p == "tsr" || p == "pruned" {
			origin = strings.Join(parts[:i], "/")
			_, _, err := splitOrigin(origin)
			return origin, p, strings.Join(parts[i+1:], "/"), err == nil
		}
	}
	return "", "", "", false
}

func (v *verifier) get(ctx context.Context, key string, limit int64) ([]byte, error) {
	b, err := v.store.Get(ctx, key, limit)
	v.read.Add(int64(len(b)))
	return b, err
}

func (v *verifier) checkClaim(ctx context.Context, s *streamCheck) error {
	key := claimKey(s.Origin)
	msg, err := v.get(ctx, key, maxNote)
	if err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		v.problem(KindClaim, key, s.Origin, nil, "%v", err)
		return nil
	}
	c, err := parseClaim(msg)
	if err == nil && c.Origin != s.Origin {
		err = fmt.Errorf("%w: it is of %s", errClaim, c.Origin)
	}
	if err != nil {
		v.problem(KindClaim, key, s.Origin, nil, "%v", err)
		return nil
	}
	verifier, err := note.NewVerifier(c.VerifierKey)
	if err != nil {
		v.problem(KindClaim, key, s.Origin, nil, "%v", err)
		return nil
	}
	s.claim, s.keys = &c, note.VerifierList(verifier)
	s.VerifierKey, s.Instance, s.Created = c.VerifierKey, c.Instance, c.Created
	s.prev, s.prevOK = originHash(s.Origin, c.VerifierKey), true
	if len(v.opts.PublicKeys) > 0 && !slices.Contains(v.opts.PublicKeys, c.VerifierKey) {
		v.problem(KindKey, key, s.Origin, nil, "the stream is signed with key %s, which is not among the given ones", keyName(c.VerifierKey))
		return nil
	}
	s.trusted = true
	return nil
}

// keyName is a verifier key's name and hash.
func keyName(vkey string) string {
	parts := strings.SplitN(vkey, "+", 3)
	if len(parts) < 3 {
		return "?"
	}
	return parts[0] + "+" + parts[1]
}

// segResult is what is known of a segment after reading it.
type segResult struct {
	name   segName
	ok     bool
	prev   Hash // of its first line
	leaves []Hash
	refs   []containerRef
	hour   time.Time
	left   bool     // of removed entries
	lines  [][]byte // raw frames with a leading byte, only for OnEntry
}

// checkSegment reads one segment, in a worker.
func (v *verifier) checkSegment(ctx context.Context, s *streamCheck, n segName) (res segResult) {
	res = segResult{name: n, hour: n.hour}
	if res.left = n.end() <= s.Pruned; res.left {
		return res
	}
	first := at(n.first)
	fail := func(kind string, seq *uint64, format string, args ...any) segResult {
		v.problem(kind, n.key, s.Origin, seq, format, args...)
		return res
	}
	if n.size > maxSegFile {
		return fail(KindSegment, first, "has %d bytes, more than a segment can have", n.size)
	}
	b, err := v.get(ctx, n.key, maxSegFile)
	if err != nil {
		return fail(KindSegment, first, "can't be read: %v", err)
	}
	seg, err := parseSegment(b)
	if err != nil {
		return fail(KindSegment, first, "%v", err)
	}
	if seg.first != n.first || seg.count != n.count || !seg.hour.Equal(n.hour) {
		return fail(KindSegment, at(min(seg.first, n.first)), "holds entries %d to %d of %s, not what its name says",
			seg.first, seg.first+uint64(seg.count)-1, hourPath(seg.hour))
	}
	prefix := linePrefix(s.Origin)
	res.leaves = make([]Hash, 0, seg.count)
	res.prev, res.refs = seg.prev, seg.containers
	prev := seg.prev
	refs := seg.refs
	for i := range seg.frames {
		var buf []byte
		if v.opts.OnEntry == nil {
			buf = *frameBuffers.Get().(*[]byte)
		}
		raw, err := seg.frame(i, buf)
		if err != nil {
			return fail(KindSegment, at(n.first+uint64(len(res.leaves))), "%v", err)
		}
		end := len(res.leaves) + int(seg.frames[i].lines)
		for pos := 1; pos < len(raw); {
			seq := n.first + uint64(len(res.leaves))
			k := bytes.IndexByte(raw[pos:], '\n')
			if k < 0 || k > MaxLine || len(res.leaves) == end {
				return fail(KindSegment, at(seq), "frame %d has other lines than its index says", i)
			}
			line := raw[pos : pos+k]
			// The leaf hash is over a zero byte and the line: the byte before it is free.
			free := raw[pos-1]
			raw[pos-1] = 0
			leaf := sha256.Sum256(raw[pos-1 : pos+k])
			raw[pos-1] = free
			index := uint32(len(res.leaves))
			if leaf != seg.leaf(index) {
				return fail(KindEntry, at(seq), "the line's hash is not the leaf hash beside it")
			}
			linePrev, lineSeq, _, err := splitLine(line, prefix)
			switch {
			case err != nil:
				return fail(KindEntry, at(seq), "%v", err)
			case lineSeq != seq:
				return fail(KindEntry, at(seq), "its _seq is %d", lineSeq)
			case linePrev != prev:
				return fail(KindChain, at(seq), "its _prev is not the hash of the entry before")
			}
			var bad string
			if refs, bad = matchRefs(line, index, refs); bad != "" {
				return fail(KindNoContent, at(seq), "%s", bad)
			}
			prev = leaf
			res.leaves = append(res.leaves, leaf)
			pos += k + 1
		}
		if len(res.leaves) != end {
			return fail(KindSegment, at(n.first+uint64(len(res.leaves))), "frame %d has other lines than its index says", i)
		}
		if v.opts.OnEntry != nil {
			res.lines = append(res.lines, raw)
		} else {
			frameBuffers.Put(&raw)
		}
	}
	if root := treeRoot(res.leaves); fmt.Sprintf("%x", root[:8]) != n.root {
		return fail(KindSegment, first, "its lines' root begins with %x, not as its name says", root[:8])
	}
	res.ok = true
	v.checkContainers(ctx, s, seg)
	return res
}

var frameBuffers = sync.Pool{New: func() any { b := make([]byte, 0, frameRaw+1); return &b }}

// matchRefs compares the hashes that a line names with the references to stored
// content: each must have the other. It returns the references after the line.
func matchRefs(line []byte, index uint32, refs []contentRef) ([]contentRef, string) {
	n := 0
	for n < len(refs) && refs[n].line == index {
		n++
	}
	mine := refs[:n]
	if n == 0 && !bytes.Contains(line, []byte(`"content":{`)) {
		return refs, ""
	}
	bad := ""
	named := map[Hash]bool{}
	contentHashes(line, func(text []byte) {
		var h Hash
		if !decodeHex(h[:], text) {
			bad = "it names a content with a malformed hash"
			return
		}
		named[h] = true
		if !slices.ContainsFunc(mine, func(r contentRef) bool { return r.sha == h }) {
			bad = "it names a content that is not stored with it: " + string(text)
		}
	})
	for _, r := range mine {
		if !named[r.sha] && bad == "" {
			bad = "a content is stored with it that it does not name: " + hex.EncodeToString(r.sha[:])
		}
	}
	return refs[n:], bad
}

// checkContainers reads the containers that a segment names.
func (v *verifier) checkContainers(ctx context.Context, s *streamCheck, seg *segment) {
	first := at(seg.first)
	for i, c := range seg.containers {
		key := "v1/" + s.Origin + "/cnt/" + cntName(c, seg.first, seg.hour)
		v.contents.Add(uint64(c.items))
		fail := func(kind string, seq *uint64, format string, args ...any) {
			v.problem(kind, key, s.Origin, seq, format, args...)
		}
		// Which ones are sampled depends on their hash, so that it is the same each time.
		every := v.opts.ContentEvery
		whole := every == 1 || every > 1 && int(binary.BigEndian.Uint16(c.hash[:])) < 1<<16/every
		info, err := v.store.Stat(ctx, key)
		if errors.Is(err, bucket.ErrNotFound) {
			v.contentsMissing.Add(uint64(c.items))
			if !v.opts.MissingContent {
				fail(KindNoContent, first, "the container of %d contents is not there", c.items)
			}
			continue
		}
		if err == nil && (info.Size != int64(c.size) || info.Size > maxCntFile) {
			fail(KindContent, first, "has %d bytes instead of %d", info.Size, c.size)
			continue
		}
		var body []byte
		var cnt *container
		if err == nil && whole {
			body, err = v.get(ctx, key, info.Size)
		}
		switch {
		case err != nil:
		case whole:
			var from int64
			if from, err = cntIndexAt(body, int64(len(body))); err == nil {
				cnt, err = parseContainer(body[from:], from)
			}
			if err == nil && string(body[:len(cntMagic)]) != cntMagic {
				err = fmt.Errorf("%w: magic", errContainer)
			}
		default:
			cnt, err = readContainer(ctx, v.store, key, info.Size)
		}
		if err != nil {
			fail(KindContent, first, "%v", err)
			continue
		}
		if cnt.hash != c.hash || cnt.first != seg.first || cnt.class != c.class || !cnt.hour.Equal(seg.hour) || len(cnt.items) != int(c.items) {
			fail(KindContent, first, "is not the container that the segment names")
			continue
		}
		have := make(map[Hash]bool, len(cnt.items))
		for _, it := range cnt.items {
			have[it.sha] = true
			if whole {
				v.contentsRead.Add(1)
				if sha256.Sum256(body[it.offset:it.offset+it.length]) != it.sha {
					fail(KindContent, at(it.seq), "a content's hash is not %x", it.sha)
					break
				}
			}
		}
		for _, r := range seg.refs {
			if int(r.container) == i && !have[r.sha] {
				fail(KindNoContent, at(seg.first+uint64(r.line)), "content %x is not in its container", r.sha)
				break
			}
		}
	}
}

// cpResult is a checkpoint of the store after reading it.
type cpResult struct {
	key  string
	size uint64 // of its name
	ok   bool
	cp   Checkpoint
	msg  []byte
}

func (v *verifier) checkCheckpoint(ctx context.Context, s *streamCheck, key string, size uint64) (res cpResult) {
	res = cpResult{key: key, size: size}
	seq := at(max(size, 1) - 1)
	msg, err := v.get(ctx, key, maxNote)
	if err != nil {
		v.problem(KindCheckpoint, key, s.Origin, seq, "can't be read: %v", err)
		return res
	}
	if s.keys == nil {
		return res // its claim's problem
	}
	cp, err := ParseCheckpoint(msg, s.keys)
	switch {
	case err != nil:
		v.problem(KindCheckpoint, key, s.Origin, seq, "%v", err)
	case cp.Origin != s.Origin:
		v.problem(KindCheckpoint, key, s.Origin, seq, "is of %s", cp.Origin)
	case cp.Size != size:
		v.problem(KindCheckpoint, key, s.Origin, seq, "is of size %d: a copy of another checkpoint", cp.Size)
	default:
		res.ok, res.cp, res.msg = true, cp, msg
	}
	return res
}

// checkStream reads a stream's segments and compares them with everything that
// was signed about them.
func (v *verifier) checkStream(ctx context.Context, s *streamCheck, witnesses []*witnessFile) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := v.begin(ctx, s); err != nil {
		return err
	}
	marks, err := v.newMarks(ctx, s, witnesses)
	if err != nil {
		return err
	}
	defer marks.stop()
	v.checkBegin(s, marks)
	classes := newClassCursors(ctx, v, s)
	defer classes.stop()
	for try := 0; ; try++ {
		if err := v.segments(ctx, s, marks, classes); err != nil {
			return err
		}
		// A running writer may have sealed more since.
		again, err := v.checkWAL(ctx, s)
		if err != nil {
			return err
		}
		// What was durable at the start is read: the rest is a running writer's.
		if durable, mine, ok := parseHead(v.head, s.Origin); !again || ok && mine && s.tree.size >= durable {
			break
		}
		if try == 200 {
			v.problem(KindMissing, "", s.Origin, at(s.tree.size), "entries from %d on are in no segment and no write-ahead file", s.tree.size)
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	s.Sealed = s.tree.size
	if s.treeOK {
		s.Root = hexString(s.tree.root())
	}
	marks.finish()
	classes.finish()
	if err := errors.Join(marks.err, marks.witErr); err != nil {
		return err
	}
	v.checkTail(s, marks)
	return nil
}

// segments reads the segments after s.lastKey.
func (v *verifier) segments(ctx context.Context, s *streamCheck, marks *marks, classes *classCursors) error {
	after, next := s.lastKey, s.tree.size
	var failed error
	list := func(yield func(segName) bool) {
		err := eachSegment(ctx, v.store, s.Origin, after, next, func(n segName) error {
			if !yield(n) {
				return errStop
			}
			return nil
		})
		if err != nil && !errors.Is(err, errStop) {
			failed = err
		}
	}
	for res := range ordered(ctx, v.opts.Workers, list, func(n segName) segResult { return v.checkSegment(ctx, s, n) }) {
		if err := v.take(s, res, marks, classes); err != nil {
			return err
		}
		v.progress(false)
		if ctx.Err() != nil {
			break
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if failed != nil {
		return fmt.Errorf("list segments: %w", failed)
	}
	return nil
}

// take continues the stream with a segment.
func (v *verifier) take(s *streamCheck, res segResult, marks *marks, classes *classCursors) error {
	n := res.name
	s.lastKey = n.key
	if res.left {
		s.left(n.key)
		return nil
	}
	s.Segments++
	next := s.tree.size
	if n.hour.Before(s.lastHour) {
		v.problem(KindSegment, n.key, s.Origin, at(n.first), "its date is before that of the segment before")
	}
	s.lastHour = n.hour
	classes.expect(n, res)
	switch {
	case n.first < next:
		v.problem(KindOverlap, n.key, s.Origin, at(n.first), "entries %d to %d are in a segment before it as well", n.first, min(n.end(), next)-1)
		if n.end() <= next {
			return nil
		}
		s.treeOK, s.prevOK = false, false
	case n.first > next:
		v.problem(KindMissing, n.key, s.Origin, at(next), "entries %d to %d are in no segment", next, n.first-1)
		s.treeOK, s.prevOK = false, false
	case !res.ok:
		s.treeOK, s.prevOK = false, false
	}
	if !res.ok || !s.treeOK {
		// The entries are counted, but the tree over them is not known any more.
		if res.ok {
			v.link(s, res)
			s.prev, s.prevOK = res.leaves[len(res.leaves)-1], true
			if err := v.deliver(s, res); err != nil {
				return err
			}
		}
		s.tree = edge{size: n.end()}
		marks.pass(s.tree.size)
		return nil
	}
	v.link(s, res)
	for _, leaf := range res.leaves {
		s.tree.add(leaf)
		for s.tree.size == marks.next() {
			marks.check(s)
		}
	}
	s.prev, s.prevOK = res.leaves[len(res.leaves)-1], true
	return v.deliver(s, res)
}

func (v *verifier) link(s *streamCheck, res segResult) {
	if s.prevOK && res.prev != s.prev {
		v.problem(KindChain, res.name.key, s.Origin, at(res.name.first), "its _prev is not the hash of the entry before")
	}
}

func (v *verifier) deliver(s *streamCheck, res segResult) error {
	seq := res.name.first
	for _, raw := range res.lines {
		for rest := raw[1:]; len(rest) > 0; seq++ {
			k := bytes.IndexByte(rest, '\n')
			if err := v.opts.OnEntry(s.Origin, seq, rest[:k:k]); err != nil {
				return err
			}
			rest = rest[k+1:]
		}
	}
	return nil
}

// checkTail compares the stream's end with what has to cover it.
func (v *verifier) checkTail(s *streamCheck, m *marks) {
	covered := m.covered
	if s.hasFloor && m.store < s.floor && !m.headCovers(s.floor) {
		v.problem(KindNoCheckpoint, "v1/"+s.Origin+"/cp/", s.Origin, at(max(s.floor, 1)-1),
			"a checkpoint of %d entries or more was stored, the newest there is of %d", s.floor, m.store)
	}
	for _, w := range m.witnesses {
		if !w.given && s.hasFloor && w.last < s.floor && !m.headCovers(s.floor) {
			v.problem(KindNotWitnessed, w.path, s.Origin, at(max(s.floor, 1)-1),
				"the witness was given a checkpoint of %d entries or more, its newest is of %d", s.floor, w.last)
		}
	}
	s.Covered, s.Witnessed = covered, m.witnessed
	s.Cosigned, s.CosignedAt = m.cosigned, m.cosignedAt
	if p := v.opts.Policy; p != nil && p.HasQuorum() && s.Sealed > 0 && m.cosigned < m.store && !m.headCovers(m.store) {
		switch {
		case m.cosigned == 0 || s.hasFloor && m.cosigned < s.floor:
			v.problem(KindQuorum, cosignedDir(s.Origin), s.Origin, at(m.cosigned), "entries from %d on are under no checkpoint that enough witnesses cosigned", m.cosigned)
		default:
			v.note(KindPendingNotice, cosignedDir(s.Origin), s.Origin, at(m.cosigned), "entries from %d on are under no checkpoint that enough witnesses cosigned yet", m.cosigned)
		}
	}
	if s.leftovers > 0 {
		v.note(KindLeft, s.leftover, s.Origin, nil, "%d objects of the %d removed entries are still there: held, or the prune did not end", s.leftovers, s.Pruned)
	}
	if s.Entries > covered {
		v.note(KindUncovered, "", s.Origin, at(covered), "%d entries are under no checkpoint yet", s.Entries-covered)
	}
}

func (v *verifier) report(took time.Duration) *Report {
	r := &Report{
		Problems: append([]Problem{}, v.problems...), MoreProblems: v.more, Notes: append([]Problem{}, v.notes...), Bytes: v.read.Load(), Elapsed: took,
		Contents: v.contents.Load(), ContentsRead: v.contentsRead.Load(), Missing: v.contentsMissing.Load(),
	}
	place := map[string]int{}
	for i, o := range v.order {
		s := v.streams[o]
		place[o] = i + 1
		r.Streams = append(r.Streams, s.StreamReport)
		r.Entries += s.Entries
	}
	byPlace := func(a, b Problem) int {
		// Files that are of no stream come last.
		pa, pb := place[a.Stream], place[b.Stream]
		if pa == 0 {
			pa = len(place) + 1
		}
		if pb == 0 {
			pb = len(place) + 1
		}
		if pa != pb {
			return pa - pb
		}
		sa, sb := int64(-1), int64(-1)
		if a.Seq != nil {
			sa = int64(*a.Seq)
		}
		if b.Seq != nil {
			sb = int64(*b.Seq)
		}
		if sa != sb {
			if sa < sb {
				return -1
			}
			return 1
		}
		if c := slices.Index(causes, a.Kind) - slices.Index(causes, b.Kind); c != 0 {
			return c
		}
		return strings.Compare(a.Object, b.Object)
	}
	slices.SortStableFunc(r.Problems, byPlace)
	slices.SortStableFunc(r.Notes, byPlace)
	if len(v.opts.PublicKeys) == 0 {
		r.Unchecked = append(r.Unchecked, "no public key was given: signatures were checked with the keys that the ledger itself names")
	}
	if p := v.opts.Policy; len(v.opts.WitnessFiles) == 0 && len(v.opts.WitnessNotes) == 0 && (p == nil || !p.HasQuorum()) {
		r.Unchecked = append(r.Unchecked, "no witness file was given: a tail that was cut off together with its checkpoints would not be noticed")
	}
	if text, ok := v.uncheckedStamps(); ok {
		r.Unchecked = append(r.Unchecked, text)
	}
	switch {
	case len(r.Problems) > 0:
		r.Integrity = Bad
	case len(v.opts.PublicKeys) == 0:
		r.Integrity = Unchecked
	default:
		r.Integrity = Intact
	}
	r.Completeness = Complete
	for _, n := range r.Notes {
		if n.Kind == KindUncovered || n.Kind == KindPendingNotice {
			r.Completeness = OpenTail
		}
	}
	for _, n := range r.Notes {
		if n.Kind == KindTorn {
			r.Completeness = Incomplete
		}
	}
	for _, p := range r.Problems {
		switch p.Kind {
		case KindMissing, KindTruncated, KindNoStream, KindNoContent, KindNoCheckpoint, KindNotWitnessed, KindQuorum:
			r.Completeness = Incomplete
		}
	}
	return r
}

// listed is a pull cursor over a listing.
type listed struct {
	next func() (bucket.ObjectInfo, bool)
	stop func()
	cur  bucket.ObjectInfo
	ok   bool
	err  error
}

func newListed(ctx context.Context, store bucket.Store, prefix string) *listed {
	l := &listed{}
	l.next, l.stop = iter.Pull(objects(ctx, store, prefix, "", &l.err))
	l.advance()
	return l
}

func (l *listed) advance() { l.cur, l.ok = l.next() }

// classCursors walk the containers beside the segments, to find those that no
// segment names.
type classCursors struct {
	v  *verifier
	s  *streamCheck
	by map[string]*listed
}

func newClassCursors(ctx context.Context, v *verifier, s *streamCheck) *classCursors {
	c := &classCursors{v: v, s: s, by: map[string]*listed{}}
	for _, class := range s.classes {
		c.by[class] = newListed(ctx, v.store, "v1/"+s.Origin+"/cnt/"+class+"/")
	}
	return c
}

func (c *classCursors) stop() {
	for _, l := range c.by {
		l.stop()
	}
}

// expect passes the containers that sort before the next segment's.
func (c *classCursors) expect(n segName, res segResult) {
	for class, l := range c.by {
		mine := ""
		for _, ref := range res.refs {
			if ref.class == class {
				mine = "v1/" + c.s.Origin + "/cnt/" + cntName(ref, n.first, n.hour)
			}
		}
		dir := "v1/" + c.s.Origin + "/cnt/"
		for l.ok {
			_, first, ok := parseCntKey(l.cur.Key[len(dir):])
			if ok && first > n.first {
				break
			}
			switch {
			case !ok:
			case first < c.s.Pruned:
				c.s.left(l.cur.Key)
			// A segment that can't be read may have named it.
			case l.cur.Key != mine && (res.ok || first != n.first):
				c.foreign(l.cur.Key, first)
			}
			l.advance()
		}
	}
}

func (c *classCursors) foreign(key string, first uint64) {
	c.v.problem(KindForeign, key, c.s.Origin, at(first), "no segment names this container")
}

// finish looks at containers after the last segment: a crash, or a writer at
// work, leaves some whose segment is not stored yet.
func (c *classCursors) finish() {
	dir := "v1/" + c.s.Origin + "/cnt/"
	for _, l := range c.by {
		for ; l.ok; l.advance() {
			_, first, ok := parseCntKey(l.cur.Key[len(dir):])
			switch {
			case !ok:
			case first < c.s.Pruned:
				c.s.left(l.cur.Key)
			case first < c.s.Sealed || c.s.hasFloor && first > c.s.Entries:
				c.foreign(l.cur.Key, first)
			default:
				c.v.note(KindPendingNotice, l.cur.Key, c.s.Origin, at(first), "the segment of this container is not stored yet")
			}
		}
	}
}
