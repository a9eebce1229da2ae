// Package alive makes a ledger say when its writer ran: an entry when it starts,
// which tells when the one before ran last and whether that was stopped, one every interval
// while it runs, and one when it is stopped. So "nothing was called" and "nobody recorded" can be told
// apart. The times of calls can't do that: they are the clients'.
package alive

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"

	"github.com/claudeaudit/claudeaudit/internal/audit"
	"github.com/claudeaudit/claudeaudit/internal/durable"
	"github.com/claudeaudit/claudeaudit/internal/ledger"
)

// Operations of the entries.
const (
	OpStart = "ledger.start"
	OpAlive = "ledger.alive"
	OpStop  = "ledger.stop"
)

// Bounds of the interval.
const (
	MinInterval = time.Second
	MaxInterval = time.Hour
)

// Names of the details.
const (
	detailInterval = "interval"
	detailClean    = "previous_stopped"
	detailPrevious = "previous_at"
)

// stateFile is where the writer notes the last entry it wrote: in a bucket that
// it can't read, it could not look.
const stateFile = "alive"

const maxState = 4 << 10

type state struct {
	Stream    string    `json:"stream"`
	Next      uint64    `json:"next"` // size of the stream behind the entry
	At        time.Time `json:"at"`
	Operation string    `json:"operation"`
}

// Writer writes the entries.
type Writer struct {
	log      *ledger.Log
	dir      string
	interval time.Duration
	logger   *zap.Logger
	retain   func(*audit.Record)
	now      func() time.Time

	stop context.CancelFunc
	done sync.WaitGroup
	last ledger.Stats
}

// Start appends the entry of a start and goes on every interval. retain gives a
// record its retention class. What there is no room for is left out, and said in the log: it shows
// as a gap.
func Start(ctx context.Context, l *ledger.Log, dir string, interval time.Duration, retain func(*audit.Record), logger *zap.Logger) *Writer {
	w := &Writer{log: l, dir: dir, interval: interval, logger: logger, retain: retain, now: time.Now, last: l.Stats()}
	w.begin(ctx)
	ctx, w.stop = context.WithCancel(context.WithoutCancel(ctx))
	w.done.Go(func() {
		t := time.NewTicker(interval)
		defer t.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-t.C:
				w.beat(ctx)
			}
		}
	})
	return w
}

// Stop appends the entry of a stop. The log is still open.
func (w *Writer) Stop(ctx context.Context) {
	w.stop()
	w.done.Wait()
	w.write(ctx, OpStop, w.counts())
}

func (w *Writer) begin(ctx context.Context) {
	details := map[string]string{detailInterval: w.interval.String()}
	before, err := readState(w.dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		w.logger.Warn("when the ledger was written last is not known", zap.Error(err))
	default:
		details[detailPrevious] = before.At.UTC().Format(time.RFC3339Nano)
		clean := before.Operation == OpStop && before.Stream == w.log.Origin() && before.Next == w.log.Durable()
		details[detailClean] = strconv.FormatBool(clean)
	}
	w.write(ctx, OpStart, details)
}

func (w *Writer) beat(ctx context.Context) { w.write(ledger.Patient(ctx), OpAlive, w.counts()) }

// counts say what happened since the entry before.
func (w *Writer) counts() map[string]string {
	now := w.log.Stats()
	before := w.last
	w.last = now
	number := func(n uint64) string { return strconv.FormatUint(n, 10) }
	return map[string]string{
		detailInterval: w.interval.String(), "appended": number(now.Entries - before.Entries), "duplicates": number(now.Duplicates - before.Duplicates), "refused": number(now.Refused - before.Refused),
		"spool_bytes": strconv.FormatInt(now.SpoolBytes, 10),
	}
}

func (w *Writer) write(ctx context.Context, operation string, details map[string]string) {
	r := audit.Record{EventID: uuid.New(), Kind: audit.KindSystem, Timestamp: w.now().UTC(), Status: audit.StatusSuccess, Operation: operation}
	r.Details = audit.DetailsOf(details)
	// Nothing delivers it again, so the event's id tells it from all others.
	r.Source.Digest = strings.ReplaceAll(r.EventID.String(), "-", "")
	r.Complete()
	w.retain(&r)
	done, err := w.log.Append(ctx, []ledger.Entry{{ID: r.EventID, Digest: r.EventID, Time: r.Timestamp, Body: &r, Class: r.RetentionClass}})
	if err == nil {
		err = writeState(w.dir, state{w.log.Origin(), done.First + 1, r.Timestamp, operation})
	}
	if err != nil && ctx.Err() == nil {
		w.logger.Warn("the ledger does not say that it is being written", zap.String("entry", operation), zap.Error(err))
	}
}

func readState(dir string) (s state, err error) {
	path := filepath.Join(dir, stateFile)
	st, err := os.Stat(path)
	if err != nil {
		return s, err
	}
	if st.Size() > maxState {
		return s, fmt.Errorf("%s is larger than %d bytes", path, maxState)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(b, &s); err != nil {
		return s, fmt.Errorf("%s: %w", path, err)
	}
	return s, nil
}

func writeState(dir string, s state) error {
	b, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return durable.Replace(filepath.Join(dir, stateFile), append(b, '\n'))
}
