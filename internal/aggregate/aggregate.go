// Package aggregate is a witness's own log: every checkpoint that it cosigned is
// an entry of a ledger under the witness's key, so that the order of all logs
// and the existence of each can be proven from one root.
package aggregate

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/claudeaudit/claudeaudit/internal/audit"
	"github.com/claudeaudit/claudeaudit/internal/ledger"
	"github.com/claudeaudit/claudeaudit/internal/witness"
)

// Operation is the operation of an aggregate's entries.
const Operation = "witness.checkpoint"

// Names of an entry's details.
const (
	detailCosignature = "cosignature"
	detailLogKey      = "log_key"
	detailOrigin      = "origin"
	detailRoot        = "root"
	detailSignature   = "signature"
	detailSize        = "size"
)

// Log is an aggregate. It implements witness.State.
type Log struct {
	log *ledger.Log

	mu     sync.Mutex
	latest map[string]witness.Checkpoint
}

var _ witness.State = (*Log)(nil)

// Open opens the ledger of a witness and reads what it cosigned before.
func Open(ctx context.Context, opts ledger.Options) (*Log, error) {
	l, err := ledger.Open(ctx, opts)
	if err != nil {
		return nil, err
	}
	a := &Log{log: l, latest: map[string]witness.Checkpoint{}}
	if err := a.load(ctx, opts.Dir); err != nil {
		return nil, errors.Join(err, l.Close(ctx))
	}
	return a, nil
}

func (a *Log) load(ctx context.Context, dir string) (err error) {
	r, err := ledger.OpenReader(dir)
	if err != nil {
		return fmt.Errorf("read the aggregate: %w", err)
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	return Each(ctx, r, func(c witness.Checkpoint) error {
		a.latest[c.Origin] = c
		return nil
	})
}

// Each calls fn with the checkpoints of an aggregate's ledger, in the order in which
// they were cosigned.
func Each(ctx context.Context, r *ledger.Reader, fn func(witness.Checkpoint) error) error {
	return r.All(ctx, func(p ledger.Place, line []byte) error {
		c, ok, err := Parse(line)
		if err != nil {
			return fmt.Errorf("entry %d of %s: %w", p.Seq, p.Stream, err)
		}
		if !ok {
			return nil
		}
		return fn(c)
	})
}

// Parse reads an entry; ok is false for one of another kind.
func Parse(line []byte) (c witness.Checkpoint, ok bool, err error) {
	r, err := audit.ParseRecord(line)
	if err != nil {
		return c, false, err
	}
	if r.Operation != Operation {
		return c, false, nil
	}
	d := r.DetailValues()
	c = witness.Checkpoint{
		Origin: d[detailOrigin], LogKey: d[detailLogKey], Signature: d[detailSignature] + "\n", Cosignature: d[detailCosignature] + "\n",
		Text: d[detailOrigin] + "\n" + d[detailSize] + "\n" + d[detailRoot] + "\n",
	}
	root, err := base64.StdEncoding.Strict().DecodeString(d[detailRoot])
	if err != nil || len(root) != len(c.Root) {
		return c, false, errors.New("malformed root")
	}
	copy(c.Root[:], root)
	if c.Size, err = strconv.ParseUint(d[detailSize], 10, 53); err != nil {
		return c, false, errors.New("malformed size")
	}
	return c, true, nil
}

// Latest implements witness.State.
func (a *Log) Latest(origin string) (witness.Checkpoint, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	c, ok := a.latest[origin]
	return c, ok
}

// Add implements witness.State.
func (a *Log) Add(ctx context.Context, c witness.Checkpoint) error {
	// What an entry doesn't keep, it can't give back.
	if c.Text != c.Origin+"\n"+strconv.FormatUint(c.Size, 10)+"\n"+base64.StdEncoding.EncodeToString(c.Root[:])+"\n" {
		return errors.New("checkpoints with extension lines are not kept")
	}
	for _, s := range []string{c.Origin, c.Signature, c.Cosignature, c.LogKey} {
		if len(s) > audit.MaxField {
			return fmt.Errorf("a line of the checkpoint has more than %d bytes", audit.MaxField)
		}
	}
	r := audit.Record{
		EventID: uuid.New(), Kind: audit.KindSystem, Timestamp: time.Now().UTC(), Status: audit.StatusSuccess, Operation: Operation,
		Details: []audit.Detail{
			{Name: detailCosignature, Value: strings.TrimSuffix(c.Cosignature, "\n")},
			{Name: detailLogKey, Value: c.LogKey},
			{Name: detailOrigin, Value: c.Origin},
			{Name: detailRoot, Value: base64.StdEncoding.EncodeToString(c.Root[:])},
			{Name: detailSignature, Value: strings.TrimSuffix(c.Signature, "\n")},
			{Name: detailSize, Value: strconv.FormatUint(c.Size, 10)},
		},
	}
	sum := sha256.Sum256([]byte(c.Text + c.Signature))
	r.Source.Digest = hex.EncodeToString(sum[:16])
	r.Complete()
	e := ledger.Entry{ID: r.EventID, Time: r.Timestamp, Body: &r}
	copy(e.Digest[:], sum[:])
	if _, err := a.log.Append(ctx, []ledger.Entry{e}); err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.latest[c.Origin] = c
	return nil
}

// Stamp gets a time stamp of the newest checkpoint that is stored, see ledger.Log.Stamp.
func (a *Log) Stamp(ctx context.Context, get func(ctx context.Context, text []byte) ([]byte, error)) (ledger.Checkpoint, bool, error) {
	return a.log.Stamp(ctx, get)
}

// Stats are those of the ledger.
func (a *Log) Stats() ledger.Stats { return a.log.Stats() }

// Close seals what is open.
func (a *Log) Close(ctx context.Context) error { return a.log.Close(ctx) }
