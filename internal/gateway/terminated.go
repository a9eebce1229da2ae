package gateway

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// Terminated keeps the sessions that were terminated, each in a file of its own, named by the
// session's hash: so they survive a restart, hold for every gateway that shares the folder, and are
// lifted by taking the file away. A nil Terminated has none.
type Terminated struct {
	dir   string
	lasts time.Duration
}

// NewTerminated keeps sessions terminated for a duration, in a folder that it makes.
func NewTerminated(dir string, lasts time.Duration) (*Terminated, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder of terminated sessions: %w", err)
	}
	return &Terminated{dir: dir, lasts: lasts}, nil
}

type termination struct {
	Session string    `json:"session"`
	Rule    string    `json:"rule"`
	Until   time.Time `json:"until"`
}

var errNoSession = errors.New("the call names no session")

func (t *Terminated) path(session string) string {
	sum := sha256.Sum256([]byte(session))
	return filepath.Join(t.dir, hex.EncodeToString(sum[:16])+".json")
}

// terminate makes the session's file durable.
func (t *Terminated) terminate(session, rule string, now time.Time) error {
	if t == nil || session == "" {
		return errNoSession
	}
	data, err := json.Marshal(termination{Session: session, Rule: rule, Until: now.Add(t.lasts).UTC()})
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(t.dir, "new-*")
	if err != nil {
		return err
	}
	_, err = f.Write(append(data, '\n'))
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), t.path(session))
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	d, err := os.Open(t.dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// terminated tells until when a session is terminated, and by which rule; the zero time when it
// isn't. A file that can't be read terminates: whoever can break one must not be let in by it.
func (t *Terminated) terminated(session string, now time.Time) (time.Time, string) {
	if t == nil || session == "" {
		return time.Time{}, ""
	}
	data, err := os.ReadFile(t.path(session))
	if errors.Is(err, os.ErrNotExist) {
		return time.Time{}, ""
	}
	var s termination
	if err == nil {
		err = json.Unmarshal(data, &s)
	}
	if err != nil {
		return now.Add(t.lasts), "terminated"
	}
	if !now.Before(s.Until) {
		// Expired; that it can't be taken away hurts nobody.
		_ = os.Remove(t.path(session))
		return time.Time{}, ""
	}
	return s.Until, s.Rule
}
