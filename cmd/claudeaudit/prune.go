package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/claudeaudit/claudeaudit/internal/audit"
	"github.com/claudeaudit/claudeaudit/internal/bucket"
)

type pruneOptions struct {
	by, reason, policy string
	approvers          []string
	yes, dryRun, log   bool
}

func (o *pruneOptions) check() error {
	switch {
	case o.yes && o.dryRun:
		return errors.New("--dry-run: deletes nothing, and --yes does; give one")
	case o.yes && o.by == "":
		return errors.New("--by must be given with --yes")
	case !o.log && (len(o.approvers) > 0 || o.reason != "" || o.policy != ""):
		return errors.New("--approver, --reason and --policy are for --log")
	case o.log && o.yes && o.reason == "":
		return errors.New("--reason must be given with --log --yes")
	case o.log && o.yes:
		return twoApprovers(o.approvers, o.by)
	}
	return nil
}

func (a *app) newPrune() *cobra.Command {
	var o pruneOptions
	cmd := &cobra.Command{
		Use:   "prune",
		Short: "Delete what is over its retention",
		Long: `Delete the containers of encrypted content whose retention has ended, as the
store shows it, and that no matter holds, whether the store shows its hold yet
or the record came after. Entries, checkpoints and proofs stay:
"claudeaudit verify --allow-missing-content" accepts and counts what is gone.
Content that never had a retention is left.

--log also removes the oldest entries of the log, in whole segments, up to the
first of which anything is kept: a lock that has not ended, a hold of the store, a
matter, a record whose own retention goes on, or that is not under a checkpoint
and witnessed. Of the removed entries a note stays, with the hashes that the chain
and the tree of the others need: these verify and are proven as before, and so
is a proof that was given away. The ledger is verified first, and nothing is removed
of one that does not hold. Two persons besides the one who orders it have to
have approved. --policy asks for the witnesses that "claudeaudit verify --policy"
will ask for.

Without --yes it only shows what would be deleted, and until where. What was
deleted is an entry in the log of holds and erasures, made before the first
object goes. A prune that was interrupted is ended by the next. A lifecycle rule
of the bucket may delete content, but never segments: verify would say that they are missing.`,
		Example: `  claudeaudit prune
  claudeaudit prune --yes --by records@example.org
  claudeaudit prune --log --yes --by records@example.org --approver dpo@example.org --approver counsel@example.org --reason "sec17a4 ended"`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.check(); err != nil {
				return err
			}
			return a.prune(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.by, "by", "", "`person` who orders it")
	f.BoolVar(&o.yes, "yes", false, "delete")
	f.BoolVar(&o.dryRun, "dry-run", false, "show what would be deleted, as without --yes")
	f.BoolVar(&o.log, "log", false, "also remove the oldest entries of the log")
	f.StringArrayVar(&o.approvers, "approver", nil, "`person` who approved that entries of the log are removed; twice")
	f.StringVar(&o.reason, "reason", "", "`text` that says why entries of the log are removed")
	f.StringVar(&o.policy, "policy", "", "`file` that says which witnesses have to have cosigned what is removed")
	return cmd
}

func (a *app) prune(ctx context.Context, o pruneOptions) (err error) {
	p, l, err := a.where.openHeld(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	holds, err := activeHolds(ctx, p)
	if err != nil {
		return err
	}
	held, err := objectsOfHolds(ctx, l.Reader, holds)
	if err != nil {
		return err
	}
	if err := a.pruneContent(ctx, p, l.store, held, o); err != nil {
		return err
	}
	if o.log || !o.yes {
		return a.pruneLog(ctx, &logPruner{at: p, reader: l.Reader, store: l.store, held: held, now: time.Now()}, o)
	}
	return nil
}

func (a *app) pruneContent(ctx context.Context, p places, store bucket.Store, held []string, o pruneOptions) (err error) {
	ended, bytes, kept, err := endedContent(ctx, store, held, time.Now())
	if err != nil {
		return err
	}
	say := func(verb string) error {
		_, err := fmt.Fprintf(a.out, "%d containers with %d bytes of content %s, %d are kept\n", len(ended), bytes, verb, kept)
		return err
	}
	if !o.yes {
		return say("could be deleted (--yes)")
	}
	if len(ended) == 0 {
		return say("are deleted")
	}
	admin, err := openAdmin(ctx, p)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, admin.close()) }()
	sum := sha256.Sum256([]byte(strings.Join(ended, "\n")))
	details := map[string]string{"by": o.by, "objects": strconv.Itoa(len(ended)), "objects_sha256": hex.EncodeToString(sum[:])}
	if err := admin.note(ctx, opPrune, audit.StatusInitiated, details); err != nil {
		return err
	}
	for _, key := range ended {
		// The store looks at the lock again.
		if err := store.Delete(ctx, key); err != nil {
			return err
		}
	}
	if err := admin.note(ctx, opPrune, audit.StatusSuccess, details); err != nil {
		return err
	}
	return say("are deleted")
}

// endedContent lists the containers whose retention has ended, without those
// that a matter holds, also where the store does not show the hold yet; held is sorted.
func endedContent(ctx context.Context, store bucket.Store, held []string, now time.Time) (ended []string, bytes int64, kept int, err error) {
	err = store.List(ctx, "v1/", "", func(o bucket.ObjectInfo) error {
		if !isContainer(o.Key) {
			return nil
		}
		l, err := store.Lock(ctx, o.Key)
		if err != nil {
			return err
		}
		if _, meant := slices.BinarySearch(held, o.Key); meant || l.RetainUntil.IsZero() || l.Locked(now) {
			kept++
			return nil
		}
		ended = append(ended, o.Key)
		bytes += o.Size
		return nil
	})
	return ended, bytes, kept, err
}

// isContainer says whether an object holds content.
func isContainer(key string) bool {
	return slices.Contains(strings.Split(key, "/"), "cnt") && strings.HasSuffix(key, ".cnt")
}
