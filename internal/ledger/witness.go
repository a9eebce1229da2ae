package ledger

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/claudeaudit/claudeaudit/internal/durable"
	"github.com/claudeaudit/claudeaudit/internal/witness"
)

// ErrStale is returned by a witness that holds a later checkpoint of the stream.
var ErrStale = witness.ErrStale

// Witness keeps copies of checkpoints in a place that the log's writer can't
// rewrite. It is safe for concurrent use.
type Witness interface {
	// Name tells witnesses apart in messages.
	Name() string
	// Last returns the size of the stream's newest checkpoint there, 0 if none.
	Last(ctx context.Context, origin string) (uint64, error)
	// Add stores a signed checkpoint, durable when it returns. The newest again
	// is a success; a smaller one, or another of the same size, is ErrStale.
	// A witness that cosigns asks prove for the growth since an older size, and
	// returns the note with its signature; else the note is nil.
	Add(ctx context.Context, msg []byte, prove Prover) (cosigned []byte, err error)
	// Newest says that the witness needs the newest checkpoint alone, and doesn't
	// tell which one it has.
	Newest() bool
}

// Prover returns the RFC 6962 consistency proof from an older size of a log to
// that of the checkpoint at hand.
type Prover func(ctx context.Context, old uint64) ([]Hash, error)

// Cosigner is a witness on the network, see witness.Client.
type Cosigner struct{ *witness.Client }

var _ Witness = Cosigner{}

// Last is not told by the protocol.
func (Cosigner) Last(context.Context, string) (uint64, error) { return 0, nil }

// Newest implements Witness.
func (Cosigner) Newest() bool { return true }

// Add implements Witness.
func (c Cosigner) Add(ctx context.Context, msg []byte, prove Prover) ([]byte, error) {
	text, _, _ := strings.Cut(string(msg), "\n\n")
	cp, err := parseCheckpointText(text + "\n")
	if err != nil {
		return nil, err
	}
	return c.Client.Add(ctx, cp.Origin, cp.Size, msg, prove)
}

// FileWitness appends checkpoints to one file, a note and an empty line each.
// It guards against mistakes and against those who can write the ledger but
// not this file; let the file lie on another host or mount, or be append-only.
type FileWitness struct {
	path string

	mu   sync.Mutex
	file *os.File
	size int64
	last map[string]witnessed
}

type witnessed struct {
	size uint64
	text string
}

// NewFileWitness opens or makes the file. An unfinished last note, left by a
// crash, is cut off.
func NewFileWitness(path string) (*FileWitness, error) {
	w := &FileWitness{path: path}
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.open(); err != nil {
		return nil, err
	}
	return w, nil
}

func (w *FileWitness) open() error {
	if err := durable.MkdirAll(filepath.Dir(w.path)); err != nil {
		return fmt.Errorf("witness file: %w", err)
	}
	f, err := os.OpenFile(w.path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("witness file: %w", err)
	}
	last := map[string]witnessed{}
	var end int64
	err = readNotes(f, func(msg []byte, next int64) error {
		end = next
		// What is not a checkpoint here is the verifier's business.
		if text, _, ok := bytes.Cut(msg, []byte("\n\n")); ok {
			if c, err := parseCheckpointText(string(text) + "\n"); err == nil && c.Size >= last[c.Origin].size {
				last[c.Origin] = witnessed{c.Size, c.text()}
			}
		}
		return nil
	})
	if errors.Is(err, errTorn) {
		err = f.Truncate(end)
	}
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = durable.SyncDir(filepath.Dir(w.path))
	}
	if err != nil {
		return errors.Join(fmt.Errorf("witness file: %w", err), f.Close())
	}
	w.file, w.size, w.last = f, end, last
	return nil
}

// readNotes calls fn with each note of a witness file and the offset behind
// it. errTorn: the last one is not finished or too long.
func readNotes(src io.Reader, fn func(msg []byte, next int64) error) error {
	br := bufio.NewReaderSize(src, 64<<10)
	var msg []byte
	var at int64
	blanks := 0
	for {
		line, err := br.ReadSlice('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			if errors.Is(err, bufio.ErrBufferFull) {
				return errTorn
			}
			return fmt.Errorf("read notes: %w", err)
		}
		if err != nil { // the end
			if len(line) > 0 || len(msg) > 0 {
				return errTorn
			}
			return nil
		}
		at += int64(len(line))
		if len(line) == 1 {
			if blanks++; blanks == 2 {
				if err := fn(msg, at); err != nil {
					return err
				}
				msg, blanks = msg[:0], 0
				continue
			}
		}
		if msg = append(msg, line...); len(msg) > maxNote {
			return errTorn
		}
	}
}

// Name is the file's path.
func (w *FileWitness) Name() string { return w.path }

// Last implements Witness.
func (w *FileWitness) Last(_ context.Context, origin string) (uint64, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.file == nil {
		if err := w.open(); err != nil {
			return 0, err
		}
	}
	return w.last[origin].size, nil
}

// Add implements Witness.
func (w *FileWitness) Add(_ context.Context, msg []byte, _ Prover) ([]byte, error) {
	return nil, w.add(msg)
}

// Newest implements Witness: the file has every checkpoint.
func (w *FileWitness) Newest() bool { return false }

func (w *FileWitness) add(msg []byte) error {
	text, _, ok := strings.Cut(string(msg), "\n\n")
	if !ok {
		return fmt.Errorf("witness file: %w: malformed note", errCheckpoint)
	}
	c, err := parseCheckpointText(text + "\n")
	if err != nil {
		return fmt.Errorf("witness file: %w", err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.file == nil {
		if err := w.open(); err != nil {
			return err
		}
	}
	last, known := w.last[c.Origin]
	switch {
	case known && c.Size < last.size, known && c.Size == last.size && c.text() != last.text:
		return fmt.Errorf("witness file: %w: of size %d", ErrStale, last.size)
	case known && c.Size == last.size:
		return nil
	}
	block := append(append(make([]byte, 0, len(msg)+1), msg...), '\n')
	_, err = w.file.Write(block)
	if err == nil {
		err = w.file.Sync()
	}
	if err != nil {
		// What of it reached the disk is not known: cut it off, and read the file anew next time.
		err = errors.Join(err, w.file.Truncate(w.size), w.file.Close())
		w.file = nil
		return fmt.Errorf("witness file: %w", err)
	}
	w.size += int64(len(block))
	w.last[c.Origin] = witnessed{c.Size, c.text()}
	return nil
}

// Close closes the file.
func (w *FileWitness) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.file == nil {
		return nil
	}
	err := w.file.Close()
	w.file = nil
	return err
}
