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

func (a *app) newPrune() *cobra.Command {
	var by string
	var yes bool
	cmd := &cobra.Command{
		Use:   "prune",
		Short: "Delete content whose retention has ended",
		Long: `Delete the containers of encrypted content whose retention has ended, as the
store shows it, and that no matter holds, whether the store shows its hold yet
or the record came after. Entries, checkpoints and proofs stay:
"claudeaudit verify --allow-missing-content" accepts and counts what is gone.
Content that never had a retention is left.

Without --yes it only shows what would be deleted. What was deleted is an entry
in the log of holds and erasures. A lifecycle rule of the bucket does the same
without an entry.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if yes && by == "" {
				return errors.New("--by must be given with --yes")
			}
			return a.prune(cmd.Context(), by, yes)
		},
	}
	cmd.Flags().StringVar(&by, "by", "", "`person` who orders it")
	cmd.Flags().BoolVar(&yes, "yes", false, "delete")
	return cmd
}

func (a *app) prune(ctx context.Context, by string, yes bool) (err error) {
	p, err := a.where.find(ctx)
	if err != nil {
		return err
	}
	r, store, err := openHeld(ctx, p)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close(), store.Close()) }()
	holds, err := activeHolds(ctx, p)
	if err != nil {
		return err
	}
	held, err := objectsOfHolds(ctx, r, holds)
	if err != nil {
		return err
	}
	ended, bytes, kept, err := endedContent(ctx, store, held, time.Now())
	if err != nil {
		return err
	}
	say := func(verb string) error {
		_, err := fmt.Fprintf(a.out, "%d containers with %d bytes of content %s, %d are kept\n", len(ended), bytes, verb, kept)
		return err
	}
	if !yes {
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
	details := map[string]string{"by": by, "objects": strconv.Itoa(len(ended)), "objects_sha256": hex.EncodeToString(sum[:])}
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
