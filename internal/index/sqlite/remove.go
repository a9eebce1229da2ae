package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"time"

	"github.com/claudeaudit/claudeaudit/internal/index"
)

// chunk bounds the entries that one transaction of DropStream removes.
const chunk = 1000

// Prune implements index.Store. The file does not get smaller: the space is
// used for what comes.
func (s *Store) Prune(ctx context.Context, before time.Time, limit int) (int, error) {
	if limit < 1 {
		return 0, fmt.Errorf("pruning the index: the limit must be positive, not %d", limit)
	}
	ts := index.UnixNano(before)
	var pruned int
	err := s.transaction(ctx, func(ctx context.Context) error {
		if ts > s.horizon {
			if _, err := s.conn.ExecContext(ctx, "INSERT OR REPLACE INTO horizon (only, ts) VALUES (1, ?)", ts); err != nil {
				return err
			}
			s.horizon = ts
		}
		heads, err := readIDs(ctx, s.conn, "SELECT id FROM records INDEXED BY records_ts WHERE ts < ? AND head = id ORDER BY ts LIMIT ?", ts, limit)
		if err != nil {
			return err
		}
		for _, head := range heads {
			twins, err := s.twins(ctx, head)
			if err != nil {
				return err
			}
			for _, id := range append(twins, head) {
				if _, err := s.removeRecord(ctx, id); err != nil {
					return err
				}
			}
		}
		pruned = len(heads)
		if pruned < limit {
			_, err = s.conn.ExecContext(ctx, "DELETE FROM days WHERE day < ? AND day < (SELECT day FROM records INDEXED BY records_ts ORDER BY ts LIMIT 1)", dayOf(ts))
		}
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("pruning the index: %w", err)
	}
	return pruned, nil
}

func (s *Store) twins(ctx context.Context, head int64) ([]int64, error) {
	return readIDs(ctx, s.conn, "SELECT id FROM records INDEXED BY records_twin WHERE head = ? AND head <> id", head)
}

// removeRecord removes a row, its flags and its entries, and returns the row.
func (s *Store) removeRecord(ctx context.Context, id int64) (row, error) {
	r, err := scanRow(s.rowByID.QueryRowContext(ctx, id))
	if err != nil {
		return r, err
	}
	if err := r.eachFlag(func(flag string) error {
		_, err := s.deleteFlag.ExecContext(ctx, key(flag), r.ts, r.id)
		return err
	}); err != nil {
		return r, err
	}
	if _, err := s.deleteRow.ExecContext(ctx, id); err != nil {
		return r, err
	}
	if r.more {
		if _, err := s.conn.ExecContext(ctx, "DELETE FROM entries WHERE record = ? AND record <> id", id); err != nil {
			return r, err
		}
	}
	_, err = s.deleteEntry.ExecContext(ctx, id)
	return r, err
}

// DropStream implements index.Store.
func (s *Store) DropStream(ctx context.Context, name string) error {
	for {
		done, err := s.dropSome(ctx, name)
		if err != nil {
			return fmt.Errorf("removing stream %s from the index: %w", name, err)
		}
		if done {
			return nil
		}
	}
}

// dropSome removes a part of a stream. The first call marks the stream, so
// that nothing is taken into it, and nobody counts on its cursor, before the
// last has removed it.
func (s *Store) dropSome(ctx context.Context, name string) (done bool, err error) {
	err = s.transaction(ctx, func(ctx context.Context) error {
		st, ok := s.streams[name]
		if !ok {
			done = true
			return nil
		}
		if len(s.streams) == 1 {
			// Without a condition SQLite frees the tables' pages at once.
			for _, table := range []string{"flags", "records", "entries", "days", "streams"} {
				if _, err := s.conn.ExecContext(ctx, "DELETE FROM "+table); err != nil {
					return err
				}
			}
			delete(s.streams, name)
			done = true
			return nil
		}
		if !st.dropping {
			if _, err := s.conn.ExecContext(ctx, "UPDATE streams SET dropping = 1 WHERE id = ?", st.id); err != nil {
				return err
			}
			st.dropping = true
		}
		n, err := s.dropChunk(ctx, st.id, maxSeq)
		if err != nil || n > 0 {
			return err
		}
		if _, err := s.conn.ExecContext(ctx, "DELETE FROM streams WHERE id = ?", st.id); err != nil {
			return err
		}
		delete(s.streams, name)
		done = true
		return nil
	})
	return done, err
}

// Forget implements index.Store.
func (s *Store) Forget(ctx context.Context, name string, before uint64, _ time.Time) error {
	for n := 1; n > 0 && before > 0; {
		if err := s.transaction(ctx, func(ctx context.Context) (err error) {
			n = 0
			if st, ok := s.streams[name]; ok && !st.dropping {
				n, err = s.dropChunk(ctx, st.id, min(before-1, maxSeq))
			}
			return err
		}); err != nil {
			return fmt.Errorf("removing entries of %s from the index: %w", name, err)
		}
	}
	return nil
}

// dropChunk removes some entries of a stream up to one, with the records they
// tell of, and puts back what other entries tell of those records.
func (s *Store) dropChunk(ctx context.Context, stream int64, through uint64) (int, error) {
	first, last := entryID(stream, 0), entryID(stream, through)
	rows, err := s.conn.QueryContext(ctx, "SELECT id, record FROM entries WHERE id BETWEEN ? AND ? ORDER BY id LIMIT ?", first, last, chunk)
	if err != nil {
		return 0, err
	}
	var unreadable, records []int64
	n, err := scanOwners(rows, &unreadable, &records)
	if err != nil {
		return 0, err
	}
	for _, id := range unreadable {
		if _, err := s.deleteEntry.ExecContext(ctx, id); err != nil {
			return 0, err
		}
	}
	slices.Sort(records)
	var touched touched
	w := s.newWrites()
	names := newStreamNames(s.conn)
	for _, record := range slices.Compact(records) {
		lines, err := loadOwn(ctx, s.conn, record)
		if err != nil {
			return 0, err
		}
		if _, err := s.removeRecord(ctx, record); err != nil {
			return 0, err
		}
		whole, err := parseLines(ctx, names, lines)
		if err != nil {
			return 0, err
		}
		before := index.MergeParsed(whole)
		touched.tell(&before)
		lines = slices.DeleteFunc(lines, func(l storedLine) bool { return first <= l.id && l.id <= last })
		if len(lines) == 0 {
			continue
		}
		left, err := parseLines(ctx, names, lines)
		if err != nil {
			return 0, err
		}
		rec := index.MergeParsed(left)
		r := rowOf(&rec)
		r.id = lines[0].id
		for _, l := range lines {
			r.id = min(r.id, l.id)
		}
		r.head, r.more = r.id, len(lines) > 1
		for _, l := range lines {
			w.entry(l.id, r.id, pack(l.line))
		}
		if err := w.row(&r); err != nil {
			return 0, err
		}
		touched.tell(&rec)
	}
	if err := s.flush(ctx, w); err != nil || len(s.streams) == 1 {
		return n, err
	}
	return n, s.joinTwins(ctx, &touched)
}

// scanOwners reads (entry, record) pairs: entries of no record, and records.
func scanOwners(rows *sql.Rows, unreadable, records *[]int64) (int, error) {
	defer func() { _ = rows.Close() }() // rows.Err tells what matters
	n := 0
	for rows.Next() {
		var id int64
		var record sql.NullInt64
		if err := rows.Scan(&id, &record); err != nil {
			return 0, err
		}
		if record.Valid {
			*records = append(*records, record.Int64)
		} else {
			*unreadable = append(*unreadable, id)
		}
		n++
	}
	return n, rows.Err()
}
