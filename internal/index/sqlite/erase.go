package sqlite

import (
	"context"
	"fmt"

	"github.com/google/uuid"

	"github.com/claudeaudit/claudeaudit/internal/index"
)

// Erase implements index.Store. What is overwritten is gone from the file, and from
// the log beside it as soon as no reader holds that.
func (s *Store) Erase(ctx context.Context, events []uuid.UUID) error {
	if err := s.erase(ctx, events); err != nil {
		return fmt.Errorf("erasing %d events in the index: %w", len(events), err)
	}
	return nil
}

func (s *Store) erase(ctx context.Context, events []uuid.UUID) (err error) {
	changed := false
	err = s.transaction(ctx, func(ctx context.Context) error {
		found, err := s.findEvents(ctx, events)
		if err != nil {
			return err
		}
		var touched touched
		for _, event := range events {
			id, ok := found[event]
			if !ok {
				continue
			}
			did, err := s.eraseRecord(ctx, id, &touched)
			if err != nil {
				return err
			}
			changed = changed || did
		}
		if len(s.streams) < 2 {
			return nil
		}
		return s.joinTwins(ctx, &touched)
	})
	if err != nil {
		return err
	}
	if changed {
		// A reader of another process may keep some of the log; then it goes with the next one.
		for _, p := range []string{"busy_timeout = 0", "wal_checkpoint(TRUNCATE)", "busy_timeout = 10000"} {
			if err := s.pragma(ctx, p); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *Store) pragma(ctx context.Context, p string) error {
	if _, err := s.conn.ExecContext(ctx, "PRAGMA "+p); err != nil {
		return fmt.Errorf("setting %s: %w", p, classify(err))
	}
	return nil
}

// eraseRecord erases the entries of a row. did is false when they were erased
// before.
func (s *Store) eraseRecord(ctx context.Context, id int64, touched *touched) (did bool, err error) {
	old, err := scanRow(s.rowByID.QueryRowContext(ctx, id))
	if err != nil {
		return false, err
	}
	lines, err := loadOwn(ctx, s.conn, id)
	if err != nil {
		return false, err
	}
	entries, err := parseLines(ctx, newStreamNames(s.conn), lines)
	if err != nil {
		return false, err
	}
	for i := range entries {
		e := &entries[i]
		if e.Record.Erased != "" {
			continue
		}
		did = true
		e.Erase()
		if _, err := s.updateLine.ExecContext(ctx, pack(e.Line), lines[i].id); err != nil {
			return false, err
		}
	}
	if !did {
		return false, nil
	}
	rec := index.MergeParsed(entries)
	now := rowOf(&rec)
	now.id, now.event, now.head, now.more = old.id, old.event, old.head, old.more
	touched.tell(&rec)
	return true, s.replace(ctx, &old, &now)
}

// SetErasures implements index.Store.
func (s *Store) SetErasures(ctx context.Context, c index.Cursor) error {
	err := s.transaction(ctx, func(ctx context.Context) error {
		_, err := s.conn.ExecContext(ctx, "INSERT OR REPLACE INTO erasures (stream, next, last) VALUES (?, ?, ?)", c.Stream, int64(c.Next), c.Last[:])
		return err
	})
	if err != nil {
		return fmt.Errorf("noting how far the index was erased: %w", err)
	}
	return nil
}
