package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/claudeaudit/claudeaudit/internal/audit"
	"github.com/claudeaudit/claudeaudit/internal/index"
	"github.com/claudeaudit/claudeaudit/internal/keystore"
	"github.com/claudeaudit/claudeaudit/internal/ledger"
	"github.com/claudeaudit/claudeaudit/internal/subject"
)

type exportOptions struct {
	tiles, stream  string
	caseDir, about string
	identity       string
}

func (a *app) newExport() *cobra.Command {
	var o exportOptions
	var f queryFlags
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Write evidence that others can read without this program",
		Long: `Write evidence that others can read without this program.

--case FOLDER writes the records that match: their entries as they lie in the
ledger (entries.ndjson), the records they merge to (records.ndjson, records.csv),
a proof for each entry that is under a checkpoint (proofs), the public keys, a
list of every file with its SHA-256, and a README that says how each is checked
with public tools. With --identity it also has the prompts and responses.

--tlog-tiles FOLDER writes a whole stream in the C2SP tlog-tiles form, which
unrelated programs check. Of a stream whose first entries were removed it writes
what that form asks of a pruned log: everything from the minimum index on, which is
the next multiple of 256.`,
		Example: `  claudeaudit export --case ./case-2026-117 --user carol@example.org --from 2026-01-01 --about "matter 2026-117"
  claudeaudit export --tlog-tiles ./tiles`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if (o.tiles == "") == (o.caseDir == "") {
				return errors.New("say what to write: either --case or --tlog-tiles")
			}
			if o.tiles != "" {
				return a.exportTiles(cmd.Context(), o)
			}
			q, err := f.query()
			if err != nil {
				return err
			}
			return a.exportCase(cmd.Context(), o, q)
		},
	}
	f.add(cmd)
	fs := cmd.Flags()
	fs.StringVar(&o.caseDir, "case", "", "`folder` to write a case to; it must not be there")
	fs.StringVar(&o.about, "about", "", "`text` that says what the case is, for its README")
	fs.StringVar(&o.identity, "identity", "", "`file` with the content identity, or reference of the key in a service, to have prompts and responses in the case")
	fs.StringVar(&o.tiles, "tlog-tiles", "", "`folder` to write a stream's tiles to; it must not be there")
	fs.StringVar(&o.stream, "stream", "", "`name` of the stream for --tlog-tiles, when there are several")
	complete(cmd.MarkFlagDirname("case"))
	complete(cmd.MarkFlagDirname("tlog-tiles"))
	return cmd
}

// newFolder makes a folder that is not there yet.
func newFolder(flag, dir string) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return fmt.Errorf("%s: %w", flag, err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return fmt.Errorf("%s: must be a folder that is not there yet: %w", flag, err)
	}
	return nil
}

func (a *app) exportTiles(ctx context.Context, o exportOptions) (err error) {
	_, l, err := a.where.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	if o.stream == "" {
		streams, err := l.Streams()
		if err != nil {
			return err
		}
		if len(streams) != 1 {
			return fmt.Errorf("--stream: must be one of %s", strings.Join(streams, ", "))
		}
		o.stream = streams[0]
	}
	if err := newFolder("--tlog-tiles", o.tiles); err != nil {
		return err
	}
	size, minimum, err := ledger.ExportTiles(ctx, l.Reader, o.stream, o.tiles)
	if err != nil {
		return err
	}
	text := fmt.Sprintf("%d entries of %s", size, printable(o.stream))
	if minimum > 0 {
		text += fmt.Sprintf("; minimum index %d, since entries before were removed", minimum)
	}
	_, err = fmt.Fprintln(a.out, text)
	return err
}

// caseReadme is the text beside a case's files.
//
//go:embed case_readme.txt
var caseReadme string

// exportedCase is a case while it is written.
type exportedCase struct {
	put   func(path string, b []byte) error
	files []caseFile
}

// inFolder puts files into a folder.
func inFolder(dir string) func(path string, b []byte) error {
	return func(path string, b []byte) error {
		name := filepath.Join(dir, filepath.FromSlash(path))
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			return err
		}
		return os.WriteFile(name, b, 0o600)
	}
}

type caseFile struct {
	Path   string `json:"path"`
	Bytes  int    `json:"bytes"`
	SHA256 string `json:"sha256"`
}

func (c *exportedCase) write(path string, b []byte) error {
	if err := c.put(path, b); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	sum := sha256.Sum256(b)
	c.files = append(c.files, caseFile{path, len(b), hex.EncodeToString(sum[:])})
	return nil
}

func (a *app) exportCase(ctx context.Context, o exportOptions, q subject.Query) (err error) {
	p, l, err := a.where.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	var ring *keystore.Ring
	if o.identity != "" {
		opened, err := openRing(ctx, p, o.identity)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, opened.Close()) }()
		ring = opened.Ring
	}
	found, err := subject.Find(ctx, l.Reader, q.Matches)
	if err != nil {
		return err
	}
	if len(found.Events) == 0 {
		return negative{errors.New("no record matches")}
	}
	if err := newFolder("--case", o.caseDir); err != nil {
		return err
	}
	c := &exportedCase{put: inFolder(o.caseDir)}
	return a.writeCase(ctx, c, p, l.Reader, ring, found, q, o.about)
}

// writeCase writes the records that were found, with what proves them.
func (a *app) writeCase(ctx context.Context, c *exportedCase, p places, l *ledger.Reader, ring *keystore.Ring, found *subject.Found, q subject.Query, about string) error {
	bar := newProgress(a.err, int64(len(found.Entries)), "exporting", "entries")
	entries := map[uuid.UUID][]index.Parsed{}
	var lines []byte
	var uncovered int
	err := eachFound(ctx, l, found.Entries, func(at ledger.Place, line []byte, prover *ledger.EntryProver) error {
		bar.add(1)
		lines = append(append(lines, line...), '\n')
		e, err := index.ParseEntry(index.Entry{Stream: at.Stream, Seq: at.Seq, Line: bytes.Clone(line)})
		if err != nil {
			return err
		}
		entries[e.Record.EventID] = append(entries[e.Record.EventID], e)
		proof, err := prover.Prove(ctx, at.Seq, line)
		if errors.Is(err, ledger.ErrNotCovered) {
			uncovered++
			return nil
		}
		if err != nil {
			return err
		}
		if err := c.write(fmt.Sprintf("proofs/%s-%d.proof", e.Record.EventID, e.Record.Revision), proof); err != nil {
			return err
		}
		if ring != nil {
			return c.content(ctx, l, ring, &e)
		}
		return nil
	})
	if err != nil {
		return err
	}
	bar.finish()
	if err := c.write("entries.ndjson", lines); err != nil {
		return err
	}
	if err := c.records(found, entries); err != nil {
		return err
	}
	if err := c.keys(p); err != nil {
		return err
	}
	query, err := json.Marshal(q)
	if err != nil {
		return err
	}
	text := fmt.Sprintf("Case export\n===========\n\nWhat      %s\nRecords   %d calls in %d entries\nQuery     %s\nMade      %s\nNot yet under a checkpoint: %d entries\n\n%s",
		about, len(found.Events), len(found.Entries), query, time.Now().UTC().Format(time.RFC3339), uncovered, caseReadme)
	if err := c.write("README.txt", []byte(text)); err != nil {
		return err
	}
	slices.SortFunc(c.files, func(a, b caseFile) int { return strings.Compare(a.Path, b.Path) })
	manifest, err := json.MarshalIndent(c.files, "", "  ")
	if err != nil {
		return err
	}
	if err := c.write("MANIFEST.json", append(manifest, '\n')); err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.out, "%d records in %d entries, %d files; SHA-256 of MANIFEST.json: %s\n", len(found.Events), len(found.Entries), len(c.files), c.files[len(c.files)-1].SHA256)
	return err
}

// eachFound calls fn with the entries at some places, which are in the order of
// the ledger, and with what proves those of a stream: one pass over each stream.
func eachFound(ctx context.Context, l *ledger.Reader, at []ledger.Place, fn func(ledger.Place, []byte, *ledger.EntryProver) error) error {
	done := errors.New("done")
	for len(at) > 0 {
		stream := at[0].Stream
		prover, err := l.NewProver(ctx, stream)
		if err != nil {
			return err
		}
		err = l.Entries(ctx, stream, at[0].Seq, func(seq uint64, line []byte) error {
			if seq != at[0].Seq {
				return nil
			}
			if err := fn(at[0], line, prover); err != nil {
				return err
			}
			if at = at[1:]; len(at) == 0 || at[0].Stream != stream {
				return done
			}
			return nil
		})
		if err == nil {
			err = fmt.Errorf("%w: entry %d of %s", ledger.ErrGap, at[0].Seq, stream)
		}
		if !errors.Is(err, done) {
			return err
		}
	}
	return nil
}

// records writes what the entries merge to.
func (c *exportedCase) records(found *subject.Found, entries map[uuid.UUID][]index.Parsed) error {
	var nd, table strings.Builder
	w := &csvWriter{w: csv.NewWriter(&table)}
	w.w.UseCRLF = true
	for _, id := range found.Events {
		r := index.MergeParsed(entries[id])
		nd.Write(r.AppendJSON(nil))
		nd.WriteByte('\n')
		if err := w.record(&r); err != nil {
			return err
		}
	}
	if err := w.end(); err != nil {
		return err
	}
	return errors.Join(c.write("records.ndjson", []byte(nd.String())), c.write("records.csv", []byte(table.String())))
}

// keys copies the public keys that are at hand.
func (c *exportedCase) keys(p places) error {
	for name, path := range map[string]string{
		"checkpoint.pub": filepath.Join(p.keys, "checkpoint.pub"), "witness.pub": filepath.Join(p.keys, "witness.pub"),
		"admin.pub": filepath.Join(adminPlaces(p).keys, "checkpoint.pub"),
	} {
		f, err := os.Open(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		b, err := io.ReadAll(io.LimitReader(f, 64<<10))
		if err = errors.Join(err, f.Close()); err != nil {
			return err
		}
		if err := c.write("keys/"+name, b); err != nil {
			return err
		}
	}
	return nil
}

// content opens what an entry came with. What was shredded is said in its place.
func (c *exportedCase) content(ctx context.Context, l *ledger.Reader, ring *keystore.Ring, e *index.Parsed) error {
	for _, part := range []struct {
		name, sum string
		aad       func(uuid.UUID) []byte
	}{
		{"prompt", e.Record.Content.PromptSHA256, audit.PromptAAD},
		{"response", e.Record.Content.ResponseSHA256, audit.ResponseAAD},
	} {
		if part.sum == "" {
			continue
		}
		sealed, err := l.ContentOf(ctx, e.Stream, e.Seq, part.sum)
		if err != nil {
			return err
		}
		plain, err := ring.Open(ctx, sealed, part.aad(e.Record.EventID))
		if errors.Is(err, keystore.ErrDestroyed) {
			plain, err = []byte(`{"shredded":"the key of this content was destroyed"}`), nil
		}
		if err != nil {
			return fmt.Errorf("the %s of %s: %w", part.name, e.Record.EventID, err)
		}
		if err := c.write(fmt.Sprintf("content/%s-%d.%s.json", e.Record.EventID, e.Record.Revision, part.name), plain); err != nil {
			return err
		}
	}
	return nil
}
