// Package terminated keeps the sessions that a policy has terminated, each in a file of its own, named by
// the session's hash: so they survive a restart, hold for every gateway that shares the folder, and are lifted by
// whoever may write there.
package terminated

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/claudeaudit/claudeaudit/internal/durable"
)

// Store keeps terminated sessions. A nil Store has none.
type Store struct {
	dir   string
	lasts time.Duration
}

// Open keeps sessions terminated for a duration, in a folder that it makes.
func Open(dir string, lasts time.Duration) (*Store, error) {
	if err := durable.MkdirAll(dir); err != nil {
		return nil, fmt.Errorf("make the folder of terminated sessions: %w", err)
	}
	return &Store{dir: dir, lasts: lasts}, nil
}

// Session is one that is terminated.
type Session struct {
	Session string    `json:"session"`
	Rule    string    `json:"rule"`
	Since   time.Time `json:"since"`
	Until   time.Time `json:"until"`
}

// Errors.
var (
	ErrNoSession     = errors.New("the call names no session")
	ErrNotTerminated = errors.New("the session is not terminated")
)

const suffix = ".json"

func path(dir, session string) string {
	sum := sha256.Sum256([]byte(session))
	return filepath.Join(dir, hex.EncodeToString(sum[:16])+suffix)
}

// Terminate ends a session. It is durable when it returns.
func (s *Store) Terminate(session, rule string, now time.Time) error {
	if s == nil || session == "" {
		return ErrNoSession
	}
	data, err := json.Marshal(Session{Session: session, Rule: rule, Since: now.UTC(), Until: now.Add(s.lasts).UTC()})
	if err != nil {
		return err
	}
	return durable.Replace(path(s.dir, session), append(data, '\n'))
}

// Until tells until when a session is terminated, and by which rule; the zero time when it
// isn't. A file that can't be read terminates: whoever can break one must not be let in by it.
func (s *Store) Until(session string, now time.Time) (time.Time, string) {
	if s == nil || session == "" {
		return time.Time{}, ""
	}
	found, err := read(path(s.dir, session))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return time.Time{}, ""
	case err != nil:
		return now.Add(s.lasts), "terminated"
	case !now.Before(found.Until):
		// Expired; that it can't be taken away hurts nobody.
		_ = os.Remove(path(s.dir, session))
		return time.Time{}, ""
	}
	return found.Until, found.Rule
}

func read(file string) (Session, error) {
	var s Session
	data, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(data, &s)
	}
	return s, err
}

// List gives the sessions that are terminated now, those that end first before the others. A folder that isn't there
// has none.
func List(dir string, now time.Time) ([]Session, error) {
	files, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []Session
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), suffix) {
			continue
		}
		s, err := read(filepath.Join(dir, f.Name()))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue // lifted, or expired, meanwhile
		case err != nil:
			return nil, fmt.Errorf("%s: %w", f.Name(), err)
		case now.Before(s.Until):
			out = append(out, s)
		}
	}
	slices.SortFunc(out, func(a, b Session) int { return a.Until.Compare(b.Until) })
	return out, nil
}

// Find gives a session that is terminated now; its error is ErrNotTerminated when it isn't.
func Find(dir, session string, now time.Time) (Session, error) {
	s, err := read(path(dir, session))
	if errors.Is(err, fs.ErrNotExist) || err == nil && !now.Before(s.Until) {
		return Session{}, ErrNotTerminated
	}
	if err != nil {
		// It terminates all the same, so that it can be lifted.
		return Session{Session: session}, nil
	}
	return s, nil
}

// Lift ends the termination of a session: its next call is decided as any other.
func Lift(dir, session string) error {
	err := os.Remove(path(dir, session))
	if errors.Is(err, fs.ErrNotExist) {
		return ErrNotTerminated
	}
	if err != nil {
		return err
	}
	return durable.SyncDir(dir)
}
