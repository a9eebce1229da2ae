package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/mod/sumdb/note"

	"github.com/claudeaudit/claudeaudit/internal/alive"
	"github.com/claudeaudit/claudeaudit/internal/bucket"
	"github.com/claudeaudit/claudeaudit/internal/index"
	"github.com/claudeaudit/claudeaudit/internal/index/elasticsearch"
	"github.com/claudeaudit/claudeaudit/internal/index/sqlite"
	"github.com/claudeaudit/claudeaudit/internal/ledger"
	"github.com/claudeaudit/claudeaudit/internal/seal"
	"github.com/claudeaudit/claudeaudit/internal/witness"
)

// maxShown bounds the problems that are printed for people.
const maxShown = 20

// maxIndexFindings bounds what is kept of an index that differs.
const maxIndexFindings = 1000

type verifyOptions struct {
	path        string
	contents    string
	copyOnly    bool
	publicKeys  []string
	checkpoints []string
	index       string
	elsewhere   []string
	usage       []string
	proof       string
	policy      string
	admin       string
	adminKeys   []string
	aggregate   string
	locks       bool
	contentless bool
	sample      int
	unended     time.Duration
	longestGap  time.Duration
	format      string
}

func (a *app) newVerify() *cobra.Command {
	var o verifyOptions
	format := choice{value: formatText, allowed: []string{formatText, formatJSON}}
	cmd := &cobra.Command{
		Use:   "verify [PATH]",
		Short: "Verify a ledger",
		Long: `Verify a ledger: the claims of its streams, every name and count, the chain and
the tree of hashes, every checkpoint's signature, the copies of checkpoints
kept elsewhere, the encrypted content, and what is not sealed yet. It may run
while the collector writes.

There are two verdicts. Integrity: what is there was written so, in that order.
Completeness: nothing that was there is gone. Each is shown with what it rests
on. Integrity rests on the public key, so take it from somewhere that whoever
can change the ledger can't change; completeness on copies of checkpoints kept
in such a place.

Without PATH the ledger is that of the data folder or the configuration, with
keys/checkpoint.pub and witness/checkpoints. With PATH, a ledger's folder or
its store alone, they are taken from beside it when they are there. PATH may be
a bucket's URL: s3://BUCKET/PREFIX, azure://ACCOUNT/CONTAINER/PREFIX or
gs://BUCKET/PREFIX, with ?region=… or ?endpoint=… where needed; credentials are
found by each cloud's standard chain. A folder whose objects are in a bucket
says so, and the bucket is verified, with what is not sealed yet.

A call that began (status initiated) longer than --unended-after ago, and of
which no entry says how it ended, is counted and named, and completeness is
"incomplete": the collector or the caller stopped meanwhile, or its end was kept
from the ledger. What is there still holds, so that the exit code stays 0.

The collector's ledger says when it ran: an entry at each start and stop, and one
every minute. A time longer than --longest-gap of which it doesn't say so is counted
and named in the same way, unless it was stopped before: then it is shown, and is no
finding. The times of calls are their clients' and don't count.

--sample-content 100 reads the content of one container in a hundred, chosen by
its hash, and 0 of none; whether each is there, and what it holds, is always checked.

Exit codes: 0 everything holds; 1 evidence is bad; 2 it could not be checked,
for example without a public key. "open" completeness, a tail that no
checkpoint covers yet, is in order while the collector runs.

The log of holds and erasures is verified too, where it is: in the folder admin of
the data folder, with its key. --admin and --admin-key name others, and have to be
given with a bucket's URL. What is wrong with it is found and named like what is
wrong with the ledger.

Entries that were removed at the end of their retention ("claudeaudit prune
--log") are not missing when that log verifies and says so, and what stays of them
is what a checkpoint signs.

--index also compares the index: that it holds the ledger's entries and no
others, and that what searches go by is what they say. An index in Elasticsearch
(--config) is compared document by document and field by field; for that the
expected records are made in the folder for temporary files. Where collectors
with other ledgers write the same index, --elsewhere names their streams, which
are not checked then.

--usage holds the ledger against what the provider counted: a file with the Claude
API's usage report, as GET /v1/organizations/usage_report/messages answers it, of the
keys whose calls are recorded here, all its pages in one file or several. Tokens that
the provider counted and no record tells are calls that were dropped before they were
recorded, or that went around: completeness is "incomplete", and the exit code 1.
Calls within five minutes of a bucket's edge count for both sides of it, and a
message batch's for the day after its start.`,
		Example: `  claudeaudit verify
  claudeaudit verify /mnt/copy/ledger --public-key checkpoint.pub --checkpoints /mnt/witness/checkpoints
  claudeaudit verify s3://acme-evidence/claude?region=eu-central-1 --content-store s3://acme-content/claude --public-key checkpoint.pub
  claudeaudit verify --proof event.proof --public-key checkpoint.pub`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				o.path = args[0]
			}
			o.format = format.value
			if o.sample < 0 {
				return errors.New("--sample-content: must not be negative")
			}
			if o.unended < 0 {
				return errors.New("--unended-after: must not be negative")
			}
			if o.longestGap <= 0 {
				return errors.New("--longest-gap: must be positive")
			}
			if o.proof != "" {
				if o.path != "" || o.index != "" || len(o.checkpoints) > 0 || o.contentless || o.contents != "" || o.copyOnly || o.policy != "" || o.aggregate != "" || o.admin != "" || o.locks || len(o.usage) > 0 {
					return errors.New("--proof: a proof is verified by itself, with --public-key alone")
				}
				return a.verifyProof(cmd.Context(), o)
			}
			return a.verify(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.StringArrayVar(&o.publicKeys, "public-key", nil, "`file` with the checkpoint key's public half, or its text; may be repeated")
	f.StringArrayVar(&o.checkpoints, "checkpoints", nil, "`file` with copies of checkpoints kept elsewhere; may be repeated")
	f.StringVar(&o.index, "index", "", "also compare the index: this `file` (--index=FILE), or without a value that of the data folder")
	f.Lookup("index").NoOptDefVal = defaultIndex
	f.StringArrayVar(&o.elsewhere, "elsewhere", nil, "with --index: `stream` that another ledger has; may be repeated")
	f.StringArrayVar(&o.usage, "usage", nil, "`file` with the provider's usage report, to compare what it counted; may be repeated")
	f.StringVar(&o.proof, "proof", "", "verify this `file` of \"claudeaudit prove\" instead of a ledger; - is standard input")
	f.StringVar(&o.contents, "content-store", "", "`URL` of the store of the content, if not that of the rest")
	f.BoolVar(&o.copyOnly, "local-copy", false, "verify the copy in the ledger's folder, without content, instead of the bucket")
	f.StringVar(&o.policy, "policy", "", "`file` that says which keys sign, and which witnesses have to have cosigned (C2SP tlog-policy)")
	f.StringVar(&o.admin, "admin", "", "`folder` or URL of the log of holds and erasures, which says what was removed at the end of its retention")
	f.StringArrayVar(&o.adminKeys, "admin-key", nil, "`file` with that log's public key, or its text; may be repeated")
	f.StringVar(&o.aggregate, "aggregate", "", "also hold it against the log of a witness: its `folder` or URL, verified by itself before")
	f.BoolVar(&o.locks, "locks", false, "also ask a bucket for the lock of every object, and that what a matter holds is held")
	f.BoolVar(&o.contentless, "allow-missing-content", false, "accept that content is gone, as after its retention")
	f.IntVar(&o.sample, "sample-content", 1, "read the content of one container in this `many`; 1 reads all, 0 none")
	f.DurationVar(&o.unended, "unended-after", time.Hour, "`time` after which a call that began has to have ended")
	f.DurationVar(&o.longestGap, "longest-gap", 5*time.Minute, "longest `time` of which the ledger need not say that the collector ran")
	addChoice(cmd, &format, "format", "output format")
	return cmd
}

// kindTimeGap is completeness's note of a time of which the ledger doesn't say that its writer ran.
const kindTimeGap = "time-gap"

// defaultIndex stands for --index without a value.
const defaultIndex = "<default>"

// report is what verify finds, as --format json shows it.
type report struct {
	*ledger.Report
	Path       string   `json:"path"`
	PublicKeys []string `json:"public_keys"`
	KeysFrom   []string `json:"public_keys_from"`
	Witnesses  []string `json:"checkpoints_from"`
	Policy     string   `json:"policy,omitempty"`
	Locks      bool     `json:"locks_checked"`
	// Admin is the log of holds and erasures, where it is there.
	Admin *adminReport `json:"admin,omitempty"`
	// RemovalsFrom are the keys of the log that says which entries were removed.
	RemovalsFrom []string `json:"removals_from,omitempty"`
	// Unended are calls that began and of which no entry says how they ended.
	Unended int `json:"initiated_without_end"`
	// Ran says when the streams' writers ran, TimeGaps when they don't say so; UndeclaredGaps
	// counts those that were no stop.
	Ran            []alive.Ran `json:"ran"`
	TimeGaps       []alive.Gap `json:"time_gaps"`
	UndeclaredGaps int         `json:"undeclared_time_gaps"`
	// Shredded are contents whose key was destroyed.
	Shredded uint64       `json:"contents_shredded"`
	Index    *indexReport `json:"index,omitempty"`
	Usage    *usageReport `json:"usage,omitempty"`
	FirstBad *firstBad    `json:"first_bad,omitempty"`
}

// firstBad is the first bad place, and what is wrong there.
type firstBad struct {
	ledger.Problem
}

type indexReport struct {
	Path     string   `json:"path"`
	Verdict  string   `json:"verdict"` // holds, differs, unchecked
	Problems []string `json:"problems"`
	More     int      `json:"more_problems,omitempty"`
}

// evidence is what a verification is held against.
type evidence struct {
	dir       string       // or URL
	store     bucket.Store // nil: what dir has
	walDir    string       // with store
	keys      []string
	keysFrom  []string
	witnesses []string
	missing   []ledger.Problem // what ought to be there and is not
	at        places           // of the index
}

func (a *app) findEvidence(ctx context.Context, o verifyOptions) (evidence, error) {
	var e evidence
	var p places
	if o.path == "" {
		var err error
		if p, err = a.where.find(ctx); err != nil {
			return e, err
		}
		e.dir = p.ledger
	} else {
		e.dir = o.path
		if strings.Contains(o.path, "://") {
			return e, e.findBucket(ctx, o)
		}
		dir, err := filepath.Abs(o.path)
		if err != nil {
			return e, fmt.Errorf("PATH: %w", err)
		}
		if filepath.Base(dir) == "store" {
			dir = filepath.Dir(dir)
		}
		p = placesBeside(dir, filepath.Join(filepath.Dir(dir), "index", "audit.db"))
	}
	if err := e.findStore(ctx, o); err != nil {
		return e, err
	}
	e.at = p
	if err := e.findKeys(o, p); err != nil {
		return e, err
	}
	if len(o.checkpoints) > 0 {
		e.witnesses = o.checkpoints
		return e, nil
	}
	for _, w := range p.witness {
		_, err := os.Stat(w)
		switch {
		case err == nil:
			e.witnesses = append(e.witnesses, w)
		case !errors.Is(err, fs.ErrNotExist):
			return e, fmt.Errorf("copies of checkpoints: %w", err)
		case o.path == "":
			// The collector makes it at its first start.
			e.missing = append(e.missing, ledger.Problem{
				Kind: ledger.KindNotWitnessed, Object: w, Detail: "the file with copies of the checkpoints is not there",
			})
		}
	}
	return e, nil
}

// findBucket is for a ledger given by the URL of its store.
func (e *evidence) findBucket(ctx context.Context, o verifyOptions) (err error) {
	if o.copyOnly {
		return errors.New("--local-copy: PATH must be a ledger's folder")
	}
	e.witnesses = o.checkpoints
	if len(o.publicKeys) > 0 {
		if e.keys, e.keysFrom, err = loadPublicKeys(o.publicKeys); err != nil {
			return err
		}
	}
	e.store, err = openStores(ctx, ledger.Location{Store: o.path, ContentStore: o.contents})
	if err != nil {
		return fmt.Errorf("PATH: %w", err)
	}
	return nil
}

// findStore opens the bucket that a ledger's folder names.
func (e *evidence) findStore(ctx context.Context, o verifyOptions) error {
	loc, ok, err := ledger.ReadLocation(e.dir)
	switch {
	case err != nil:
		return err
	case !ok && o.contents != "":
		return errors.New("--content-store: the ledger's objects are in its folder")
	case !ok || o.copyOnly:
		return nil
	}
	if o.contents != "" {
		loc.ContentStore = o.contents
	}
	if e.store, err = openStores(ctx, loc); err != nil {
		return err
	}
	e.walDir = filepath.Join(e.dir, "wal")
	e.dir = loc.Store
	return nil
}

// reader reads the ledger.
func (e *evidence) reader() (*ledger.Reader, error) {
	if e.store != nil {
		return ledger.NewReader(e.store, e.walDir), nil
	}
	return ledger.OpenReader(e.dir)
}

// streams are those of the ledger.
func (e *evidence) streams() ([]string, error) {
	l, err := e.reader()
	if err != nil {
		return nil, err
	}
	streams, err := l.Streams()
	return streams, errors.Join(err, l.Close())
}

func (e *evidence) close() error {
	if e.store == nil {
		return nil
	}
	return e.store.Close()
}

func (e *evidence) findKeys(o verifyOptions, p places) error {
	named := o.publicKeys
	if len(named) == 0 {
		path := filepath.Join(p.keys, "checkpoint.pub")
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		named = []string{path}
	}
	var err error
	e.keys, e.keysFrom, err = loadPublicKeys(named)
	return err
}

// loadPublicKeys reads keys by file name or as text.
func loadPublicKeys(named []string) (keys, from []string, err error) {
	for _, k := range named {
		if _, err := note.NewVerifier(k); err == nil {
			keys, from = append(keys, k), append(from, "the command line")
			continue
		}
		loaded, err := seal.LoadVerifierKeys(k)
		if err != nil {
			return nil, nil, fmt.Errorf("--public-key: must be a file with a key that \"claudeaudit keygen\" made, or its text: %w", err)
		}
		keys = append(keys, loaded...)
		from = append(from, k)
	}
	return keys, from, nil
}

// options are those of a verification of the evidence.
func (e *evidence) options() ledger.VerifyOptions {
	opts := ledger.VerifyOptions{PublicKeys: e.keys, WitnessFiles: e.witnesses}
	if e.store != nil {
		opts.Store, opts.WALDir = e.store, e.walDir
	} else {
		opts.Dir = e.dir
	}
	return opts
}

func (a *app) verify(ctx context.Context, o verifyOptions) (err error) {
	e, err := a.findEvidence(ctx, o)
	defer func() { err = errors.Join(err, e.close()) }()
	if err != nil {
		return err
	}
	admin, err := e.verifyAdmin(ctx, o)
	if err != nil {
		return err
	}
	r := report{Path: e.dir, PublicKeys: e.keys, KeysFrom: e.keysFrom, Witnesses: e.witnesses}
	opts := e.options()
	opts.MissingContent, opts.ContentEvery, opts.Removals = o.contentless || o.copyOnly, o.sample, admin.removals
	if o.sample == 0 {
		opts.ContentEvery = -1
	}
	bar := newProgress(a.err, -1, "verifying", "bytes")
	var done int64
	if o.policy != "" {
		if opts.Policy, err = witness.LoadPolicy(o.policy); err != nil {
			return fmt.Errorf("--policy: %w", err)
		}
		r.KeysFrom = append(r.KeysFrom, o.policy)
		r.Policy = o.policy
	}
	if o.aggregate != "" {
		notes, err := readAggregate(ctx, o.aggregate)
		if err != nil {
			return fmt.Errorf("--aggregate: %w", err)
		}
		opts.WitnessNotes = append(opts.WitnessNotes, notes)
		r.Witnesses = append(r.Witnesses, o.aggregate)
	}
	opts.Progress = func(read, total int64) {
		bar.setTotal(total)
		bar.add(int(read - done))
		done = read
	}
	var check *indexCheck
	if o.index != "" {
		if o.index != defaultIndex {
			e.at.index, e.at.elastic = o.index, nil
		}
		if admin.bad() {
			r.Index = &indexReport{
				Path: e.at.where(), Verdict: verdictUnchecked,
				Problems: []string{"the log of holds and erasures does not verify, so what the index has to leave out is not known"},
			}
		} else {
			if check, err = newIndexCheck(ctx, e, &admin.events, o.elsewhere); err != nil {
				return err
			}
			defer func() { err = errors.Join(err, check.close()) }()
		}
	}
	var counted *usageCheck
	if len(o.usage) > 0 {
		if counted, err = newUsageCheck(ctx, e, o.usage); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, counted.close()) }()
	}
	var unended unendedCalls
	gaps := alive.Gaps{Longest: o.longestGap}
	opts.OnEntry = func(stream string, seq uint64, line []byte) error {
		unended.entry(stream, seq, line)
		gaps.Entry(stream, seq, line)
		if counted != nil {
			if err := counted.entry(ctx, stream, seq, line); err != nil {
				return err
			}
		}
		if check != nil {
			return check.entry(ctx, stream, seq, line)
		}
		return nil
	}
	shredded := func() (uint64, error) { return 0, nil }
	if admin.erased && e.at.subject != "" {
		shredded = countShredded(ctx, e.at, &opts)
	}
	r.Report, err = ledger.Verify(ctx, opts)
	bar.finish()
	if err != nil {
		return err
	}
	if r.Shredded, err = shredded(); err != nil {
		return err
	}
	admin.explain(&r)
	var notes []ledger.Problem
	if r.Unended, notes = unended.since(time.Now().Add(-o.unended), maxShown); r.Unended > 0 {
		r.Notes = append(r.Notes, notes...)
		r.Completeness = ledger.Incomplete
	}
	r.Ran, r.TimeGaps, r.UndeclaredGaps = gaps.Ran(), gaps.Found, gaps.Undeclared
	if gaps.Undeclared > 0 {
		r.Completeness = ledger.Incomplete
		for i := range gaps.Found {
			if g := &gaps.Found[i]; !g.Declared() {
				r.Notes = append(r.Notes, ledger.Problem{Kind: kindTimeGap, Stream: g.Stream, Seq: &g.Seq, Detail: g.String()})
			}
		}
	}
	if o.locks {
		if e.store == nil {
			return errors.New("--locks: a folder locks nothing; the ledger must be in a bucket")
		}
		if admin.bad() {
			r.Unchecked = append(r.Unchecked, "what matters hold: the log of holds and erasures does not verify")
		}
		unlocked, err := checkLocks(ctx, e, !admin.bad())
		if err != nil {
			return err
		}
		if len(unlocked) > 0 {
			r.Problems = append(r.Problems, unlocked...)
			r.Integrity = ledger.Bad
		}
		r.Locks = true
	}
	if len(e.missing) > 0 {
		r.Problems = append(r.Problems, e.missing...)
		r.Integrity, r.Completeness = ledger.Bad, ledger.Incomplete
	}
	if check != nil {
		if r.Index, err = check.finish(ctx); err != nil {
			return err
		}
	}
	if counted != nil {
		if r.Usage, err = counted.finish(ctx); err != nil {
			return fmt.Errorf("--usage: %w", err)
		}
		for _, b := range r.Usage.Missing {
			r.Completeness = ledger.Incomplete
			r.Notes = append(r.Notes, ledger.Problem{Kind: kindUsage, Detail: b.String()})
		}
	}
	if len(r.Problems) > 0 {
		r.FirstBad = &firstBad{r.Problems[0]}
	}
	if o.format == formatJSON {
		err = r.writeJSON(a)
	} else {
		err = r.writeText(a)
	}
	if err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	return r.outcome()
}

// outcome is the exit code: bad evidence before what could not be checked.
func (r *report) outcome() error {
	switch {
	case r.Integrity == ledger.Bad, r.Completeness == ledger.Incomplete && len(r.Problems) > 0,
		r.Index != nil && r.Index.Verdict == verdictDiffers, r.Usage != nil && r.Usage.Verdict == verdictDiffers:
		return negative{errSaid}
	case r.Integrity != ledger.Intact:
		return errors.New("the ledger could not be checked: name the public key with --public-key")
	}
	return nil
}

func (r *report) writeJSON(a *app) error {
	if r.PublicKeys == nil {
		r.PublicKeys = []string{}
	}
	if r.KeysFrom == nil {
		r.KeysFrom = []string{}
	}
	if r.Witnesses == nil {
		r.Witnesses = []string{}
	}
	if r.Ran == nil {
		r.Ran = []alive.Ran{}
	}
	if r.TimeGaps == nil {
		r.TimeGaps = []alive.Gap{}
	}
	enc := json.NewEncoder(a.out)
	enc.SetIndent("", "  ")
	return enc.Encode(r)
}

func (r *report) writeText(a *app) error {
	var b strings.Builder
	say := func(format string, args ...any) { fmt.Fprintf(&b, format, args...) }
	say("ledger        %s\n", printable(r.Path))
	for _, s := range r.Streams {
		say("stream        %s: %d entries, %d sealed in %d segments, %d under %d checkpoints, %d witnessed\n",
			printable(s.Origin), s.Entries, s.Sealed, s.Segments, s.Covered, s.Checkpoints, s.Witnessed)
	}
	for _, s := range r.Streams {
		if s.Pruned > 0 {
			say("removed       %s: the first %d entries, at the end of their retention\n", printable(s.Origin), s.Pruned)
		}
	}
	if len(r.Streams) == 0 {
		say("stream        none\n")
	}
	if l := r.Admin; l != nil {
		say("holds log     %s: %d entries, %s", printable(l.Path), l.Entries, l.Integrity)
		if len(l.PublicKeys) > 0 {
			say("; its public key is in %s", printable(strings.Join(l.PublicKeys, ", ")))
		}
		say("\n")
	}
	say("content       %d, of which %d read", r.Contents, r.ContentsRead)
	if r.Missing > 0 {
		say(", %d gone", r.Missing)
	}
	if r.Shredded > 0 {
		say(", %d shredded: their keys were destroyed", r.Shredded)
	}
	say("\n\n")
	say("integrity     %s\n", r.Integrity)
	if len(r.KeysFrom) > 0 {
		say("  rests on    the public key in %s\n", printable(strings.Join(r.KeysFrom, ", ")))
	}
	if len(r.RemovalsFrom) > 0 {
		say("  rests on    the log of holds and erasures, for what was removed, and its public key in %s\n", printable(strings.Join(r.RemovalsFrom, ", ")))
	}
	if r.Policy != "" {
		for _, s := range r.Streams {
			say("  cosigned    %s: %d entries by the quorum of %s", printable(s.Origin), s.Cosigned, printable(r.Policy))
			if !s.CosignedAt.IsZero() {
				say(", last at %s", s.CosignedAt.Format(time.RFC3339))
			}
			say("\n")
		}
	}
	for _, s := range r.Streams {
		if s.Stamps > 0 {
			say("  stamped     %s: %d entries by %s at %s, %d time stamps in all\n", printable(s.Origin), s.Stamped, printable(s.StampedBy), s.StampedAt.Format(time.RFC3339), s.Stamps)
		}
	}
	for _, u := range r.Unchecked {
		say("  unchecked   %s\n", printable(u))
	}
	if r.Locks {
		say("  rests on    the locks that the store shows\n")
	}
	say("completeness  %s\n", r.Completeness)
	if r.Unended > 0 {
		say("  unended     %d calls began and have no end\n", r.Unended)
	}
	for _, ran := range r.Ran {
		until := "to"
		if ran.Stopped {
			until = "until it was stopped at"
		}
		say("  ran         %s: from %s %s %s\n", printable(ran.Stream), ran.From.Format(time.RFC3339), until, ran.Until.Format(time.RFC3339))
	}
	for i := range r.TimeGaps[:min(len(r.TimeGaps), maxShown)] {
		if g := &r.TimeGaps[i]; g.Declared() {
			say("  off         %s at entry %d: %s\n", printable(g.Stream), g.Seq, g.String())
		}
	}
	if r.UndeclaredGaps > 0 {
		say("  gaps        %d times of which nothing says that it ran\n", r.UndeclaredGaps)
	}
	if len(r.Witnesses) > 0 {
		say("  rests on    copies of checkpoints in %s\n", printable(strings.Join(r.Witnesses, ", ")))
	}
	for _, n := range r.Notes[:min(len(r.Notes), maxShown)] {
		say("  note        %s\n", printable(n.String()))
	}
	if u := r.Usage; u != nil {
		say("usage         %s: %d times of the provider's report, of %d the ledger has less than was counted", u.Verdict, u.Buckets, len(u.Missing))
		if u.Removed > 0 {
			say("; %d were not compared, since entries of then were removed", u.Removed)
		}
		if u.Why != "" {
			say("; %s", printable(u.Why))
		}
		say("\n")
	}
	if r.Index != nil {
		say("index         %s: %s\n", r.Index.Verdict, printable(r.Index.Path))
		for _, p := range r.Index.Problems[:min(len(r.Index.Problems), maxShown)] {
			say("  %-11s %s\n", r.Index.Verdict, printable(p))
		}
		if n := max(len(r.Index.Problems)-maxShown, 0) + r.Index.More; n > 0 {
			say("  and %d more\n", n)
		}
	}
	if len(r.Problems) > 0 {
		say("\nfirst bad place: %s\n", printable(r.Problems[0].String()))
		for _, p := range r.Problems[1:min(len(r.Problems), maxShown)] {
			say("  also: %s\n", printable(p.String()))
		}
		if n := max(len(r.Problems)-maxShown, 0) + r.MoreProblems; n > 0 {
			say("  and %d more\n", n)
		}
	}
	say("\n%d entries, %d bytes read in %s\n", r.Entries, r.Bytes, r.Elapsed.Round(time.Millisecond))
	_, err := a.out.Write([]byte(b.String()))
	return err
}

const (
	verdictHolds     = "holds"
	verdictDiffers   = "differs"
	verdictUnchecked = "unchecked"
)

// checker compares an index while the ledger is verified.
type checker interface {
	Entry(ctx context.Context, stream string, seq uint64, line []byte) error
	Finish(ctx context.Context) error
}

type indexCheck struct {
	checker checker
	report  indexReport
	closers []func() error
	// stopped: the ledger's entries don't follow one another, and nothing can be compared.
	stopped bool
}

// entry compares the next entry of a stream.
func (c *indexCheck) entry(ctx context.Context, stream string, seq uint64, line []byte) error {
	if c.stopped {
		return nil
	}
	return c.compared(c.checker.Entry(ctx, stream, seq, line))
}

func (c *indexCheck) compared(err error) error {
	if errors.Is(err, index.ErrDiverged) {
		c.stopped = true
		c.report.Verdict, c.report.Problems, c.report.More = verdictUnchecked, []string{err.Error()}, 0
		return nil
	}
	return err
}

func (c *indexCheck) found(text string) {
	if len(c.report.Problems) == maxIndexFindings {
		c.report.More++
		return
	}
	c.report.Problems = append(c.report.Problems, text)
}

func newIndexCheck(ctx context.Context, e evidence, erased *index.Erased, elsewhere []string) (_ *indexCheck, err error) {
	c := &indexCheck{report: indexReport{Path: e.at.where(), Problems: []string{}}}
	defer func() {
		if err != nil {
			err = errors.Join(hint(err), c.close())
		}
	}()
	if e.at.elastic != nil {
		return c, c.openElastic(ctx, e, erased, elsewhere)
	}
	if len(elsewhere) > 0 {
		return nil, errors.New("--elsewhere: is for an index in Elasticsearch")
	}
	r, err := sqlite.OpenReader(ctx, e.at.index)
	if err != nil {
		return nil, err
	}
	c.closers = append(c.closers, r.Close)
	checker, err := r.NewChecker(ctx, erased, func(f sqlite.Finding) { c.found(f.String()) })
	if err != nil {
		return nil, err
	}
	c.closers = append(c.closers, checker.Close)
	c.checker = checker
	return c, c.begin(ctx, e, checker)
}

// begin tells the checker where the streams begin.
func (c *indexCheck) begin(ctx context.Context, e evidence, checker *sqlite.Checker) error {
	l, err := e.reader()
	if errors.Is(err, ledger.ErrNoLedger) {
		return nil // the verification says it
	}
	if err != nil {
		return err
	}
	c.closers = append(c.closers, l.Close)
	streams, err := l.Streams()
	if err != nil {
		return err
	}
	for _, s := range streams {
		// A note that can't be read is the verifier's business.
		if first, _, err := l.First(ctx, s); err == nil {
			checker.Begin(s, first)
		}
	}
	return nil
}

func (c *indexCheck) openElastic(ctx context.Context, e evidence, erased *index.Erased, elsewhere []string) error {
	streams, err := e.streams()
	if err != nil {
		return err
	}
	r, err := openElastic(ctx, e.at.elastic)
	if err != nil {
		return err
	}
	c.closers = append(c.closers, r.Close)
	expected, err := newExpectedStore(ctx)
	if err != nil {
		return err
	}
	c.closers = append(c.closers, expected.Close)
	c.checker, err = r.NewChecker(ctx, elasticsearch.CheckOptions{
		Erased: erased, Expected: expected, Streams: streams, Elsewhere: elsewhere,
		Found: func(f elasticsearch.Finding) { c.found(f.String()) },
	})
	return err
}

func (c *indexCheck) finish(ctx context.Context) (*indexReport, error) {
	if !c.stopped {
		if err := c.compared(c.checker.Finish(ctx)); err != nil {
			return nil, err
		}
	}
	if c.stopped {
		return &c.report, nil
	}
	c.report.Verdict = verdictHolds
	if len(c.report.Problems) > 0 {
		c.report.Verdict = verdictDiffers
	}
	return &c.report, nil
}

// close closes in the reverse order of opening.
func (c *indexCheck) close() error {
	var errs []error
	for _, f := range slices.Backward(c.closers) {
		errs = append(errs, f())
	}
	c.closers = nil
	return errors.Join(errs...)
}
