package ledger

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Stats is a snapshot of a log's counters and state.
type Stats struct {
	Origin string

	Entries    uint64        // appended since Open
	Bytes      uint64        // written to write-ahead files since Open
	Batches    uint64        // syncs since Open
	MaxBatch   uint64        // most entries that shared a sync
	SyncTime   time.Duration // of all batches together
	Duplicates uint64        // redelivered entries since Open
	Refused    uint64        // calls refused for want of room

	Durable      uint64 // size of the log
	Sealed       uint64 // entries in stored segments
	Checkpointed uint64 // entries under a stored and witnessed checkpoint

	SpoolBytes    int64 // in write-ahead files
	SpoolMaxBytes int64
	Backlog       int // closed write-ahead files that wait for the store

	WriteErrors, SyncErrors, SignErrors, StoreErrors, WitnessErrors uint64

	Rescued   uint64 // write-ahead files written anew after their name was gone
	TornBytes int64  // cut off at Open

	// LastError is the last failure, with its time; "" when none or the step succeeded since.
	LastError     string
	LastErrorTime time.Time
}

type stats struct {
	entries, bytes, batches, maxBatch, duplicates, refused                   atomic.Uint64
	writeErrors, syncErrors, signErrors, storeErrors, witnessErrors, rescued atomic.Uint64
	syncNanos, torn                                                          atomic.Int64
	lowSpool, lowDisk                                                        atomic.Bool

	mu     sync.Mutex
	errors map[string]failure
}

type failure struct {
	text   string
	at     time.Time
	logged time.Time
}

// Room says, with an error, that there is little of it left: nine tenths of the spool are used, or on the disk is less than twice of
// what has to stay free. Entries are still taken. It tells what the last append saw.
func (l *Log) Room() error {
	switch {
	case l.stat.lowDisk.Load():
		return errors.New("the disk is nearly full: less than twice of what has to stay free is left")
	case l.stat.lowSpool.Load():
		return errors.New("the spool is nearly full: nine tenths are waiting for the store")
	}
	return nil
}

func (s *stats) wrote(b *batch, took time.Duration) {
	s.entries.Add(uint64(len(b.leaves)))
	s.bytes.Add(uint64(len(b.buf)))
	s.batches.Add(1)
	s.syncNanos.Add(int64(took))
	if n := uint64(len(b.leaves)); n > s.maxBatch.Load() {
		s.maxBatch.Store(n) // only the committer stores
	}
	s.ok("write entries")
	s.ok("check free space")
}

// fail notes a step's failure and says whether to log it: at first and then
// every ten seconds.
func (s *stats) fail(step string, err error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.errors == nil {
		s.errors = map[string]failure{}
	}
	now := time.Now()
	f := failure{step + ": " + err.Error(), now, s.errors[step].logged}
	log := now.Sub(f.logged) > 10*time.Second
	if log {
		f.logged = now
	}
	s.errors[step] = f
	return log
}

func (s *stats) ok(step string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.errors, step)
}

// Stats returns the log's counters and state.
func (l *Log) Stats() Stats {
	l.mu.Lock()
	durable, spool := l.durable, l.spool
	l.mu.Unlock()
	s := &l.stat
	out := Stats{
		Origin:  l.origin,
		Entries: s.entries.Load(), Bytes: s.bytes.Load(), Batches: s.batches.Load(), MaxBatch: s.maxBatch.Load(),
		SyncTime: time.Duration(s.syncNanos.Load()), Duplicates: s.duplicates.Load(), Refused: s.refused.Load(),
		Durable: durable, SpoolBytes: spool, SpoolMaxBytes: l.opts.MaxSpoolBytes, Backlog: l.seal.backlog(),
		WriteErrors: s.writeErrors.Load(), SyncErrors: s.syncErrors.Load(), SignErrors: s.signErrors.Load(), StoreErrors: s.storeErrors.Load(), WitnessErrors: s.witnessErrors.Load(),
		Rescued: s.rescued.Load(), TornBytes: s.torn.Load(),
	}
	out.Sealed, out.Checkpointed = l.seal.progress()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.errors {
		if f.at.After(out.LastErrorTime) {
			out.LastError, out.LastErrorTime = f.text, f.at
		}
	}
	return out
}

func isEOF(err error) bool { return errors.Is(err, io.EOF) }

func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
