package main

import (
	"archive/zip"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/mod/sumdb/note"

	"github.com/claudeaudit/claudeaudit/internal/audit"
	"github.com/claudeaudit/claudeaudit/internal/bucket"
	"github.com/claudeaudit/claudeaudit/internal/index"
	"github.com/claudeaudit/claudeaudit/internal/keystore"
	"github.com/claudeaudit/claudeaudit/internal/ledger"
	"github.com/claudeaudit/claudeaudit/internal/retention"
	"github.com/claudeaudit/claudeaudit/internal/subject"
)

func (a *app) newSubject() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "subject",
		Short: "Requests of persons: export what is there of them, erase their content",
		Args:  cobra.NoArgs,
	}
	cmd.AddCommand(a.newSubjectExport(), a.newSubjectErase())
	return cmd
}

func (a *app) newSubjectExport() *cobra.Command {
	var output, identity, requester string
	cmd := &cobra.Command{
		Use:   "export USER",
		Short: "Write all that is there of a person",
		Long: `Write all records of a person into a zip file: as NDJSON and CSV, the entries
behind them with proofs, and a list of every file with its SHA-256. With
--identity it has the prompts and responses too; what was erased is said in its
place. The export is an entry in the log of holds and erasures.`,
		Example: `  claudeaudit subject export carol@example.org --output carol.zip --identity content.identity --requester dpo@example.org`,
		Args:    exactlyOne("USER"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if args[0] == "" {
				return errors.New("USER: must not be empty")
			}
			if output == "" || requester == "" {
				return errors.New("--output and --requester must be given")
			}
			return a.subjectExport(cmd.Context(), args[0], output, identity, requester)
		},
	}
	f := cmd.Flags()
	f.StringVarP(&output, "output", "o", "", "zip `file` to write; it must not be there")
	f.StringVar(&identity, "identity", "", "`file` with the content identity, or reference of the key in a service, to have prompts and responses")
	f.StringVar(&requester, "requester", "", "`person` who asks for it here")
	return cmd
}

func (a *app) subjectExport(ctx context.Context, user, output, identity, requester string) (err error) {
	p, l, err := a.where.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	var ring *keystore.Ring
	if identity != "" {
		opened, err := openRing(ctx, p, identity)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, opened.Close()) }()
		ring = opened.Ring
	}
	q := subject.Query{User: user}
	found, err := subject.Find(ctx, l.Reader, q.Matches)
	if err != nil {
		return err
	}
	if len(found.Events) == 0 {
		return negative{errors.New("the ledger has no record of this user")}
	}
	admin, err := openAdmin(ctx, p)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, admin.close()) }()
	// Before anything is shown.
	if err := admin.note(ctx, opExport, audit.StatusInitiated, map[string]string{
		"requester": requester, "records": strconv.Itoa(len(found.Events)), "content": strconv.FormatBool(ring != nil),
	}); err != nil {
		return err
	}
	out, err := os.OpenFile(output, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("--output: %w", err)
	}
	z := zip.NewWriter(out)
	c := &exportedCase{put: func(path string, b []byte) error {
		w, err := z.Create(path)
		if err != nil {
			return err
		}
		_, err = w.Write(b)
		return err
	}}
	err = a.writeCase(ctx, c, p, l.Reader, ring, found, q, "all records of one person")
	if err = errors.Join(err, z.Close(), out.Sync(), out.Close()); err != nil {
		return errors.Join(err, os.Remove(output))
	}
	b, err := os.ReadFile(output)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(b)
	return admin.note(ctx, opExport, audit.StatusSuccess, map[string]string{
		"requester": requester, "records": strconv.Itoa(len(found.Events)), "content": strconv.FormatBool(ring != nil), "sha256": hex.EncodeToString(sum[:]),
	})
}

type eraseOptions struct {
	user, basis, requester string
	approvers              []string
	retention, certificate string
	dryRun                 bool
}

func (a *app) newSubjectErase() *cobra.Command {
	var o eraseOptions
	cmd := &cobra.Command{
		Use:   "erase USER",
		Short: "Destroy the keys of a person's content, and erase the person in the index",
		Long: `Destroy the keys that a person's prompts and responses are encrypted to. The
ciphertext stays where it is locked, and nobody opens it any more; the records
stay without content, and the ledger verifies as before.

In the index the records lose what names the person: user, session, address,
department, agent, client key, batch item and prompt id. Event, hashes, tokens,
times, class and flags stay, and "erased" has the hash of the ledger's entry. The
erasure names the events in the log of holds and erasures, so an index that is
made anew has them so too. A collector that writes the index in SQLite is waited
for. The ledger's own entries are locked, and stay as they are.

Refused while a legal hold has a record of the person, and when a retention class
of the content says so; a class that defers is noted with the day on which the
request can be made again (--retention names the policy's file, for classes that
are no presets). Keys under which another person's content is too are left, and
said; so is content that was encrypted to the reader's key itself.

An index in Elasticsearch that other ledgers write too names the person by what
those tell, until "subject erase" is run with each of them: each has its own holds, keys and
log. Their streams are shown before and in the certificate, and the exit code is 1.

The request, and what became of it, is an entry in the log of holds and erasures,
under a name that only the certificate tells: a signed statement of which keys
were destroyed when, which is written to --certificate. Copies of the key store
have to be deleted as well: the certificate can't speak for them.

Exit code 1: refused, deferred, or done here while other ledgers still tell of the
person.`,
		Example: `  claudeaudit subject erase carol@example.org --basis "Art. 17 request of 2026-11-20" --requester dpo@example.org --approver counsel@example.org --approver cro@example.org --certificate carol.txt`,
		Args:    exactlyOne("USER"),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.user = args[0]
			if o.user == "" {
				return errors.New("USER: must not be empty")
			}
			if o.dryRun {
				return a.subjectErase(cmd.Context(), o)
			}
			if o.basis == "" || o.certificate == "" {
				return errors.New("--basis and --certificate must be given")
			}
			if err := twoApprovers(o.approvers, o.requester); err != nil {
				return err
			}
			return a.subjectErase(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.basis, "basis", "", "`reason` and reference of the request")
	f.StringVar(&o.requester, "requester", "", "`person` who asks for it here")
	f.StringArrayVar(&o.approvers, "approver", nil, "`person` who approved; twice")
	f.StringVar(&o.retention, "retention", "", "`file` of the retention policy")
	f.StringVar(&o.certificate, "certificate", "", "`file` to write the signed certificate to")
	f.BoolVar(&o.dryRun, "dry-run", false, "only show what would be done")
	return cmd
}

func (a *app) subjectErase(ctx context.Context, o eraseOptions) (err error) {
	p, err := a.where.find(ctx)
	if err != nil {
		return err
	}
	classOf := presetClass
	if o.retention != "" {
		policy, err := retention.Load(o.retention)
		if err != nil {
			return fmt.Errorf("--retention: %w", err)
		}
		classOf = policy.Class
	}
	l, err := openLedger(ctx, p.ledger)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	found, err := subject.Find(ctx, l.Reader, subject.Query{User: o.user}.Matches)
	if err != nil {
		return err
	}
	own, err := l.Streams()
	if err != nil {
		return err
	}
	others, err := findElsewhere(ctx, p, own, o.user, found.Events)
	if err != nil {
		return fmt.Errorf("looking in the index for what other ledgers tell of the person: %w", err)
	}
	switch {
	case len(found.Events) == 0 && others.records > 0:
		return negative{errors.New("the ledger has no record of this user; " + others.String())}
	case len(found.Events) == 0:
		return negative{errors.New("the ledger has no record of this user")}
	}
	e := &erasure{app: a, options: o, places: p, found: found, elsewhere: others}
	held, err := heldBy(ctx, p, l.Reader, found)
	if err != nil {
		return err
	}
	if held != "" {
		e.refused = "a record is under the legal hold of matter " + held
	}
	if e.refused == "" {
		e.byClass(classOf)
	}
	return e.run(ctx)
}

func presetClass(name string) (retention.Class, bool) {
	for _, c := range retention.Presets {
		if c.Name == name {
			return c, true
		}
	}
	return retention.Class{}, false
}

// heldBy returns a matter that holds one of the found records, "" if none does.
func heldBy(ctx context.Context, p places, l *ledger.Reader, found *subject.Found) (string, error) {
	holds, err := activeHolds(ctx, p)
	if err != nil || len(holds) == 0 {
		return "", err
	}
	mine := map[[16]byte]bool{}
	for _, id := range found.Events {
		mine[id] = true
	}
	for _, h := range holds {
		theirs, err := subject.Find(ctx, l, h.matches)
		if err != nil {
			return "", err
		}
		for _, id := range theirs.Events {
			if mine[id] {
				return h.Matter, nil
			}
		}
	}
	return "", nil
}

// erasure is a request and what becomes of it.
type erasure struct {
	app     *app
	options eraseOptions
	places  places
	found   *subject.Found
	// elsewhere is what stays in the index.
	elsewhere elsewhere

	refused  string // why
	deferred string // until, an RFC 3339 date
}

// byClass sees whether a retention class stands in the way.
func (e *erasure) byClass(classOf func(string) (retention.Class, bool)) {
	today := time.Now().UTC().Format(time.DateOnly)
	for _, c := range e.found.Classes {
		if c.Name == "" || c.Until != "" && c.Until <= today {
			continue
		}
		class, known := classOf(c.Name)
		switch {
		case known && class.Erase == retention.EraseShred:
		case known && class.Erase == retention.EraseRefuse:
			e.refused = fmt.Sprintf("content is kept as %s until %s: %s", c.Name, c.Until, class.Source)
			return
		default:
			e.deferred = max(e.deferred, c.Until)
		}
	}
}

func (e *erasure) run(ctx context.Context) (err error) {
	keys, err := openSubjectKeys(ctx, e.places)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, keys.Close()) }()
	var destroy, shared, other []string
	for _, k := range e.found.Keys {
		there, err := keystore.Has(ctx, keys, k.ID)
		switch {
		case err != nil:
			return err
		case !there: // destroyed before, or the reader's own key
			other = append(other, k.ID)
		case k.Others > 0:
			shared = append(shared, k.ID)
		default:
			destroy = append(destroy, k.ID)
		}
	}
	var b strings.Builder
	say := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	say("%d records, content under %d keys", len(e.found.Events), len(e.found.Keys))
	for _, c := range e.found.Classes {
		if c.Name == "" {
			say("  %d entries with content that no retention class locks", c.Entries)
			continue
		}
		say("  %d entries with content of class %q until %s", c.Entries, c.Name, c.Until)
	}
	say("  %d keys to destroy", len(destroy))
	if len(shared) > 0 {
		say("  %d keys are left: content of others is under them too", len(shared))
	}
	if len(other) > 0 {
		say("  %d keys are not in the key store: destroyed before, or the reader's own key", len(other))
	}
	if e.elsewhere.records > 0 {
		say("NOT ALL: %s; \"subject erase\" has to be run with each of them", e.elsewhere.String())
	}
	status := audit.StatusSuccess
	switch {
	case e.refused != "":
		status = audit.StatusBlocked
		say("REFUSED: %s", e.refused)
	case e.deferred != "":
		status = audit.StatusBlocked
		say("DEFERRED until %s", e.deferred)
	}
	if e.options.dryRun {
		say("nothing was done")
		if _, err := e.app.out.Write([]byte(b.String())); err != nil {
			return err
		}
		if status != audit.StatusSuccess {
			return negative{errSaid}
		}
		return nil
	}
	if err := e.carryOut(ctx, keys, destroy, shared, status, say); err != nil {
		return err
	}
	if _, err := e.app.out.Write([]byte(b.String())); err != nil {
		return err
	}
	if status != audit.StatusSuccess {
		return negative{errSaid}
	}
	if err := e.app.eraseIndex(ctx, e.places); err != nil {
		return err
	}
	if e.elsewhere.records > 0 {
		return negative{errSaid}
	}
	return nil
}

func (e *erasure) carryOut(ctx context.Context, keys bucket.Store, destroy, shared []string, status string, say func(string, ...any)) (err error) {
	o := e.options
	admin, err := openAdmin(ctx, e.places)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, admin.close()) }()
	// The log never names the person: who has the certificate can show that the entry is theirs.
	salt := make([]byte, 32)
	if _, err := rand.Read(salt); err != nil {
		return err
	}
	mac := hmac.New(sha256.New, salt)
	mac.Write([]byte(o.user))
	person := hex.EncodeToString(mac.Sum(nil))
	list := sha256.Sum256([]byte(strings.Join(destroy, "\n")))
	details := map[string]string{
		"subject": person, "basis": o.basis, "requester": o.requester, "approver_1": o.approvers[0], "approver_2": o.approvers[1],
		"records": strconv.Itoa(len(e.found.Events)), "keys": strconv.Itoa(len(destroy)), "keys_sha256": hex.EncodeToString(list[:]),
		"keys_shared": strconv.Itoa(len(shared)), "refused": e.refused, "deferred_until": e.deferred,
	}
	if e.elsewhere.records > 0 {
		details["records_elsewhere"] = strconv.Itoa(e.elsewhere.records)
	}
	if status != audit.StatusSuccess {
		return admin.note(ctx, opErase, status, details)
	}
	// The decision before the deed: what is gone is never gone without a word.
	if err := admin.note(ctx, opErase, audit.StatusInitiated, details); err != nil {
		return err
	}
	// Every index that reads the ledger and this log leaves the fields of these events out from here on.
	for part := range slices.Chunk(e.found.Events, index.EventsPerErasure) {
		named := index.EraseDetails(part)
		named["subject"] = person
		if err := admin.note(ctx, index.EraseOperation, audit.StatusSuccess, named); err != nil {
			return err
		}
	}
	for _, id := range destroy {
		if err := keystore.Destroy(ctx, keys, id); err != nil {
			return err
		}
	}
	text := fmt.Sprintf("Certificate of erasure, claudeaudit.erasure/1\nsubject %s\nsalt %s\nentry %s\nbasis %s\nrequester %s\napprovers %s, %s\nrecords %d\ndestroyed %s\n",
		strconv.Quote(o.user), hex.EncodeToString(salt), person, strconv.Quote(o.basis), strconv.Quote(o.requester), strconv.Quote(o.approvers[0]), strconv.Quote(o.approvers[1]),
		len(e.found.Events), time.Now().UTC().Format(time.RFC3339))
	for _, id := range destroy {
		text += "key " + id + "\n"
	}
	for _, id := range shared {
		text += "left " + id + "\n"
	}
	for _, s := range e.elsewhere.streams {
		text += "elsewhere " + s + "\n"
	}
	cert, err := note.Sign(&note.Note{Text: text}, admin.key.Signer)
	if err != nil {
		return fmt.Errorf("sign the certificate: %w", err)
	}
	sum := sha256.Sum256(cert)
	details["certificate_sha256"] = hex.EncodeToString(sum[:])
	if err := os.WriteFile(o.certificate, cert, 0o600); err != nil {
		return fmt.Errorf("--certificate: %w", err)
	}
	if err := admin.note(ctx, opErase, status, details); err != nil {
		return err
	}
	say("%d keys destroyed, %d records named for erasure in indices; the certificate is in %s", len(destroy), len(e.found.Events), printable(o.certificate))
	return nil
}
