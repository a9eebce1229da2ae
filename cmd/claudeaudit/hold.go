package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/claudeaudit/claudeaudit/internal/audit"
	"github.com/claudeaudit/claudeaudit/internal/bucket"
	"github.com/claudeaudit/claudeaudit/internal/ledger"
	"github.com/claudeaudit/claudeaudit/internal/subject"
)

type queryFlags struct {
	q        subject.Query
	from, to string
}

func (f *queryFlags) add(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.StringVar(&f.q.User, "user", "", "`user` of the records")
	fs.StringVar(&f.q.Session, "session", "", "`session` of the records")
	fs.StringVar(&f.q.Application, "application", "", "`application` of the records")
	fs.StringVar(&f.q.Department, "department", "", "`department` of the records")
	fs.StringVar(&f.from, "from", "", "first `day` of the records, such as 2026-11-01")
	fs.StringVar(&f.to, "to", "", "last `day` of the records")
}

func (f *queryFlags) query() (subject.Query, error) {
	var err error
	if f.from != "" {
		if f.q.From, err = time.Parse(time.DateOnly, f.from); err != nil {
			return f.q, errors.New("--from: must be a day such as 2026-11-01")
		}
	}
	if f.to != "" {
		if f.q.To, err = time.Parse(time.DateOnly, f.to); err != nil {
			return f.q, errors.New("--to: must be a day such as 2026-11-30")
		}
		f.q.To = f.q.To.AddDate(0, 0, 1)
	}
	if f.q.Empty() {
		return f.q, errors.New("say which records: --user, --session, --application, --department, --from or --to")
	}
	return f.q, nil
}

func (a *app) newHold() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "hold",
		Short: "Keep records of a legal matter from being deleted or erased",
		Long: `Keep the records of a legal matter from being deleted, also after their
retention, and from being erased. A hold is an entry in the log of holds and
erasures (a data folder of its own, admin in the data folder: "claudeaudit verify
--data audit-data/admin" checks it),
and a legal hold on every object of the store that has a matching record. An
object holds other records too: that is meant so.`,
		Args: cobra.NoArgs,
	}
	cmd.AddCommand(a.newHoldAdd(), a.newHoldApply(), a.newHoldRemove(), a.newHoldList())
	return cmd
}

func (a *app) newHoldAdd() *cobra.Command {
	var f queryFlags
	var matter, by string
	cmd := &cobra.Command{
		Use:   "add",
		Short: "Put records under a legal hold",
		Long: `Put the records that match under a legal hold of a matter. The matter stands until
it is removed: no record that matches is erased, and "claudeaudit prune" deletes
none, whenever it came. Objects of records that come later get the store's own
hold from "claudeaudit hold apply", which is to be run regularly.`,
		Example: `  claudeaudit hold add --matter 2026-117 --by legal@example.org --user carol@example.org --from 2026-01-01`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			q, err := f.query()
			if err != nil {
				return err
			}
			if matter == "" || by == "" {
				return errors.New("--matter and --by must be given")
			}
			return a.holdAdd(cmd.Context(), matter, by, q)
		},
	}
	f.add(cmd)
	cmd.Flags().StringVar(&matter, "matter", "", "`name` of the matter")
	cmd.Flags().StringVar(&by, "by", "", "`person` who orders the hold")
	return cmd
}

func (a *app) holdAdd(ctx context.Context, matter, by string, q subject.Query) (err error) {
	p, l, err := a.where.openHeld(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	found, err := subject.Find(ctx, l.Reader, q.Matches)
	if err != nil {
		return err
	}
	objects, err := objectsOf(ctx, l.Reader, found)
	if err != nil {
		return err
	}
	query, err := json.Marshal(q)
	if err != nil {
		return err
	}
	gone, err := setHolds(ctx, p, l.store, opHoldAdd, map[string]string{
		"by": by, "matter": matter, "query": string(query), "records": strconv.Itoa(len(found.Events)),
	}, objects)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.out, "matter %s: %d records in %d objects are held%s\n", printable(matter), len(found.Events), len(objects)-gone, sayGone(gone))
	return err
}

// sayGone tells of content that was deleted before it could be held.
func sayGone(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("; %d containers of content were deleted before, at the end of their retention", n)
}

// setHold holds an object or releases it. Of content that was deleted at the end of
// its retention there is nothing to hold: gone. A segment has to be there.
func setHold(ctx context.Context, store bucket.Store, key string, hold bool) (gone bool, err error) {
	err = store.SetHold(ctx, key, hold)
	if errors.Is(err, bucket.ErrNotFound) && isContainer(key) {
		return true, nil
	}
	return false, err
}

// objectsOf are the objects that have the found entries and their content, each once.
func objectsOf(ctx context.Context, r *ledger.Reader, found *subject.Found) ([]string, error) {
	seen := map[string]bool{}
	for _, e := range found.Entries {
		keys, err := r.ObjectsOf(ctx, e.Stream, e.Seq)
		if err != nil {
			return nil, err
		}
		for _, k := range keys {
			seen[k] = true
		}
	}
	out := make([]string, 0, len(seen))
	for k := range seen {
		out = append(out, k)
	}
	slices.Sort(out)
	return out, nil
}

func (a *app) newHoldApply() *cobra.Command {
	var by string
	cmd := &cobra.Command{
		Use:   "apply",
		Short: "Hold what came since in the matters that stand",
		Long: `Set the store's legal hold on the objects of records that came since the holds
of the matters that stand were added. Run it regularly, more often than the
shortest retention. Without new objects it does nothing and writes no entry.`,
		Example: `  claudeaudit hold apply --by legal@example.org`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if by == "" {
				return errors.New("--by must be given")
			}
			return a.holdApply(cmd.Context(), by)
		},
	}
	cmd.Flags().StringVar(&by, "by", "", "`person` on whose order, or the name of the job")
	return cmd
}

func (a *app) holdApply(ctx context.Context, by string) (err error) {
	p, l, err := a.where.openHeld(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	holds, err := activeHolds(ctx, p)
	if err != nil {
		return err
	}
	objects, err := objectsOfHolds(ctx, l.Reader, holds)
	if err != nil {
		return err
	}
	var fresh []string
	for _, key := range objects {
		lock, err := l.store.Lock(ctx, key)
		if errors.Is(err, bucket.ErrNotFound) {
			continue // content that was deleted at the end of its retention
		}
		if err != nil {
			return err
		}
		if !lock.Hold {
			fresh = append(fresh, key)
		}
	}
	if len(fresh) > 0 {
		if _, err := setHolds(ctx, p, l.store, opHoldApply, map[string]string{"by": by, "matters": strconv.Itoa(len(holds))}, fresh); err != nil {
			return err
		}
	}
	_, err = fmt.Fprintf(a.out, "%d matters: %d objects more are held\n", len(holds), len(fresh))
	return err
}

// objectsOfHolds are the objects that have a record of any of the matters.
func objectsOfHolds(ctx context.Context, r *ledger.Reader, holds []*activeHold) ([]string, error) {
	if len(holds) == 0 {
		return nil, nil
	}
	found, err := subject.Find(ctx, r, func(rec *audit.Record) bool {
		return slices.ContainsFunc(holds, func(h *activeHold) bool { return h.matches(rec) })
	})
	if err != nil {
		return nil, err
	}
	return objectsOf(ctx, r, found)
}

// setHolds holds objects, with an entry before and one after, and returns how many
// were gone.
func setHolds(ctx context.Context, p places, store bucket.Store, operation string, details map[string]string, objects []string) (gone int, err error) {
	admin, err := openAdmin(ctx, p)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, admin.close()) }()
	sum := sha256.Sum256([]byte(strings.Join(objects, "\n")))
	details["objects"], details["objects_sha256"] = strconv.Itoa(len(objects)), hex.EncodeToString(sum[:])
	// The order before it is carried out: what is held is never held without a word.
	if err := admin.note(ctx, operation, audit.StatusInitiated, details); err != nil {
		return 0, err
	}
	for _, key := range objects {
		deleted, err := setHold(ctx, store, key, true)
		if err != nil {
			return gone, err
		}
		if deleted {
			gone++
		}
	}
	details["objects_gone"] = strconv.Itoa(gone)
	return gone, admin.note(ctx, operation, audit.StatusSuccess, details)
}

// activeHold is a hold that was not removed.
type activeHold struct {
	Matter  string          `json:"matter"`
	By      string          `json:"by"`
	Since   time.Time       `json:"since"`
	Queries []subject.Query `json:"queries"`
	Objects int             `json:"objects"`
}

func activeHolds(ctx context.Context, p places) ([]*activeHold, error) {
	by := map[string]*activeHold{}
	var order []string
	err := adminEntries(ctx, p, func(r *audit.Record, d map[string]string) error {
		switch r.Operation {
		case opHoldAdd:
			// Also one that was begun and not finished: it holds against erasure.
			var q subject.Query
			if err := json.Unmarshal([]byte(d["query"]), &q); err != nil {
				return fmt.Errorf("hold of matter %s: %w", d["matter"], err)
			}
			h := by[d["matter"]]
			if h == nil {
				h = &activeHold{Matter: d["matter"], By: d["by"], Since: r.Timestamp}
				by[d["matter"]] = h
				order = append(order, d["matter"])
			}
			if !slices.Contains(h.Queries, q) {
				h.Queries = append(h.Queries, q)
			}
			if r.Status == audit.StatusSuccess {
				n, err := strconv.Atoi(d["objects"])
				if err != nil {
					return fmt.Errorf("hold of matter %s: %w", d["matter"], err)
				}
				h.Objects = max(h.Objects, n)
			}
		case opHoldRemove:
			if r.Status == audit.StatusSuccess {
				delete(by, d["matter"])
				order = slices.DeleteFunc(order, func(m string) bool { return m == d["matter"] })
			}
		}
		return nil
	})
	out := make([]*activeHold, 0, len(order))
	for _, m := range order {
		out = append(out, by[m])
	}
	return out, err
}

func (a *app) newHoldRemove() *cobra.Command {
	var matter, requester string
	var approvers []string
	cmd := &cobra.Command{
		Use:   "remove",
		Short: "Release the legal hold of a matter",
		Long: `Release the legal hold of a matter: two persons besides the one who asks have to
have approved. An object that another matter holds stays held.`,
		Example: `  claudeaudit hold remove --matter 2026-117 --requester legal@example.org --approver counsel@example.org --approver cro@example.org`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if matter == "" {
				return errors.New("--matter must be given")
			}
			if err := twoApprovers(approvers, requester); err != nil {
				return err
			}
			return a.holdRemove(cmd.Context(), matter, requester, approvers)
		},
	}
	f := cmd.Flags()
	f.StringVar(&matter, "matter", "", "`name` of the matter")
	f.StringVar(&requester, "requester", "", "`person` who asks for it")
	f.StringArrayVar(&approvers, "approver", nil, "`person` who approved; twice")
	return cmd
}

func (a *app) holdRemove(ctx context.Context, matter, requester string, approvers []string) (err error) {
	p, l, err := a.where.openHeld(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	holds, err := activeHolds(ctx, p)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(holds, func(h *activeHold) bool { return h.Matter == matter })
	if i < 0 {
		return negative{fmt.Errorf("no hold of matter %s", matter)}
	}
	held := map[string]bool{}
	var mine []string
	for j, h := range holds {
		found, err := subject.Find(ctx, l.Reader, h.matches)
		if err != nil {
			return err
		}
		objects, err := objectsOf(ctx, l.Reader, found)
		if err != nil {
			return err
		}
		if j == i {
			mine = objects
			continue
		}
		for _, k := range objects {
			held[k] = true
		}
	}
	admin, err := openAdmin(ctx, p)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, admin.close()) }()
	details := map[string]string{"matter": matter, "requester": requester, "approver_1": approvers[0], "approver_2": approvers[1]}
	if err := admin.note(ctx, opHoldRemove, audit.StatusInitiated, details); err != nil {
		return err
	}
	released, gone := 0, 0
	for _, k := range mine {
		if held[k] {
			continue
		}
		deleted, err := setHold(ctx, l.store, k, false)
		if err != nil {
			return err
		}
		if deleted {
			gone++
		} else {
			released++
		}
	}
	details["objects"] = strconv.Itoa(released)
	if err := admin.note(ctx, opHoldRemove, audit.StatusSuccess, details); err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.out, "matter %s: %d objects are released, %d stay held by other matters%s\n", printable(matter), released, len(mine)-released-gone, sayGone(gone))
	return err
}

func (h *activeHold) matches(r *audit.Record) bool {
	return slices.ContainsFunc(h.Queries, func(q subject.Query) bool { return q.Matches(r) })
}

func (a *app) newHoldList() *cobra.Command {
	format := choice{value: formatText, allowed: []string{formatText, formatJSON}}
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the holds that are not released",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := a.where.find(cmd.Context())
			if err != nil {
				return err
			}
			holds, err := activeHolds(cmd.Context(), p)
			if err != nil {
				return err
			}
			if format.value == formatJSON {
				enc := json.NewEncoder(a.out)
				enc.SetIndent("", "  ")
				return enc.Encode(holds)
			}
			var b strings.Builder
			for _, h := range holds {
				queries, err := json.Marshal(h.Queries)
				if err != nil {
					return err
				}
				fmt.Fprintf(&b, "%s  since %s by %s  %d objects  %s\n", printable(h.Matter), h.Since.Format(time.RFC3339), printable(h.By), h.Objects, printable(string(queries)))
			}
			if len(holds) == 0 {
				b.WriteString("no hold\n")
			}
			_, err = io.WriteString(a.out, b.String())
			return err
		},
	}
	addChoice(cmd, &format, "format", "output format")
	return cmd
}
