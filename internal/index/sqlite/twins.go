package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/claudeaudit/claudeaudit/internal/audit"
	"github.com/claudeaudit/claudeaudit/internal/index"
)

// touched is what a transaction changed that twins are found by: ids that events
// tell now or told before, and rows that have to be looked at whatever they tell.
type touched struct {
	ids  []index.CallID
	rows []int64
}

func (t *touched) tell(r *audit.Record) { t.ids = index.AppendCallIDs(t.ids, r) }

// joinTwins decides anew which of the touched events are one logical record with
// others.
func (s *Store) joinTwins(ctx context.Context, t *touched) error {
	v := newTwinView(s.conn)
	rows := t.rows
	seen := make(map[index.CallID]bool, len(t.ids))
	byColumn := map[string][]index.CallID{}
	for _, id := range t.ids {
		if !seen[id] {
			seen[id] = true
			byColumn[column(id)] = append(byColumn[column(id)], id)
		}
	}
	for _, column := range []string{"response", "request"} {
		shared, err := s.shared(ctx, column, byColumn[column])
		if err != nil {
			return err
		}
		for _, id := range shared {
			more, err := v.joinable(ctx, id)
			if err != nil {
				return err
			}
			rows = append(rows, more...)
		}
	}
	rows, err := v.withJoined(ctx, rows)
	if err != nil {
		return err
	}
	done := map[int64]bool{}
	for _, id := range rows {
		if done[id] {
			continue
		}
		m, err := v.member(ctx, id)
		if err != nil {
			return err
		}
		family, err := v.family(ctx, m)
		if err != nil {
			return err
		}
		for _, m := range family {
			done[m.id] = true
		}
		if err := s.settle(ctx, family); err != nil {
			return err
		}
	}
	return nil
}

// shared returns those of the ids of a column that several rows have, or one that is a
// twin. Of the others there is nothing to join.
func (s *Store) shared(ctx context.Context, column string, ids []index.CallID) ([]index.CallID, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	stmt := s.sharing[column]
	if stmt == nil {
		// Not before there are several streams: then there is the index.
		var err error
		stmt, err = s.conn.PrepareContext(ctx, fmt.Sprintf(`SELECT %[1]s FROM records INDEXED BY records_%[1]s WHERE %[1]s IN (%[2]s)
			GROUP BY %[1]s HAVING count(*) > 1 OR max(head <> id)`, column, strings.TrimSuffix(strings.Repeat("?,", keysPerLookup), ",")))
		if err != nil {
			return nil, fmt.Errorf("preparing a statement: %w", err)
		}
		s.sharing[column] = stmt
	}
	var out []index.CallID
	args := make([]any, keysPerLookup)
	keys := make(map[int64]bool, keysPerLookup)
	for part := range slices.Chunk(ids, keysPerLookup) {
		for i := range args {
			args[i] = key(part[min(i, len(part)-1)].Value()) // the last key fills up
		}
		rows, err := stmt.QueryContext(ctx, args...)
		if err != nil {
			return nil, err
		}
		clear(keys)
		if err := scanKeys(rows, keys); err != nil {
			return nil, err
		}
		for i, id := range part {
			if keys[args[i].(int64)] {
				out = append(out, id)
			}
		}
	}
	return out, nil
}

func scanKeys(rows *sql.Rows, keys map[int64]bool) error {
	defer func() { _ = rows.Close() }() // rows.Err tells what matters
	for rows.Next() {
		var k int64
		if err := rows.Scan(&k); err != nil {
			return err
		}
		keys[k] = true
	}
	return rows.Err()
}

// settle writes the rows of a family as what they are: the first as the head, with
// the entries of all, the others under it.
func (s *Store) settle(ctx context.Context, family []*member) error {
	head := family[0]
	var all []index.Parsed
	for _, m := range family {
		all = append(all, m.entries...)
		if m == head {
			continue
		}
		if err := s.settleRow(ctx, m, head.id, m.entries); err != nil {
			return err
		}
	}
	return s.settleRow(ctx, head, head.id, all)
}

// settleRow writes a row with the given head and the merge of the given entries.
func (s *Store) settleRow(ctx context.Context, m *member, head int64, entries []index.Parsed) error {
	more := len(entries) > 1
	rec := index.MergeParsed(slices.Clone(entries))
	now := rowOf(&rec)
	now.id, now.event, now.head, now.more, now.response, now.request = m.id, m.event, head, more, m.response, m.request
	return s.replace(ctx, &m.row, &now)
}

// member is a row with its own entries.
type member struct {
	row
	twin    index.Twin
	entries []index.Parsed
}

// twinView reads the rows around some ids, each once.
type twinView struct {
	q        querier
	names    *streamNames
	families *index.Families
	members  map[int64]*member
	byEvent  map[[16]byte]*member
}

func newTwinView(q querier) *twinView {
	v := &twinView{q: q, names: newStreamNames(q), members: map[int64]*member{}, byEvent: map[[16]byte]*member{}}
	v.families = index.NewFamilies(v.told)
	return v
}

func (v *twinView) member(ctx context.Context, id int64) (*member, error) {
	if m := v.members[id]; m != nil {
		return m, nil
	}
	r, err := scanRow(v.q.QueryRowContext(ctx, "SELECT "+recordColumns+" FROM records WHERE id = ?", id))
	if err != nil {
		return nil, err
	}
	return v.load(ctx, r)
}

func (v *twinView) load(ctx context.Context, r row) (*member, error) {
	if m := v.members[r.id]; m != nil {
		return m, nil
	}
	lines, err := loadOwn(ctx, v.q, r.id)
	if err != nil {
		return nil, err
	}
	m := &member{row: r}
	if m.entries, err = parseLines(ctx, v.names, lines); err != nil {
		return nil, err
	}
	m.twin = index.TwinOf(m.entries)
	v.members[r.id], v.byEvent[m.twin.Event] = m, m
	return m, nil
}

// told returns the events that tell an id.
func (v *twinView) told(ctx context.Context, id index.CallID) ([]index.Twin, error) {
	rows, err := v.rowsOf(ctx, id, "")
	if err != nil {
		return nil, err
	}
	if len(rows) > index.MaxTwins {
		return make([]index.Twin, len(rows)), nil
	}
	var twins []index.Twin
	for _, r := range rows {
		m, err := v.load(ctx, r)
		if err != nil {
			return nil, err
		}
		if slices.Contains(m.twin.IDs, id) { // else it tells another id of the same key
			twins = append(twins, m.twin)
		}
	}
	return twins, nil
}

// rowsOf returns rows that have the key of an id, one more than it can join if there
// are as many.
func (v *twinView) rowsOf(ctx context.Context, id index.CallID, and string) ([]row, error) {
	c := column(id)
	return readAll(ctx, v.q, scanRow, "SELECT "+recordColumns+" FROM records INDEXED BY records_"+c+" WHERE "+c+" = ?"+and+" ORDER BY id LIMIT ?",
		key(id.Value()), index.MaxTwins+1)
}

// joinable returns the rows that have to be looked at because of an id: those that
// tell it. Where it is told by more than it can join, those it may have joined before
// are enough, and those are few: where they are many, others joined them.
func (v *twinView) joinable(ctx context.Context, id index.CallID) ([]int64, error) {
	rows, err := v.rowsOf(ctx, id, "")
	if err != nil {
		return nil, err
	}
	if len(rows) > index.MaxTwins {
		if rows, err = v.rowsOf(ctx, id, " AND (head <> id) = 1"); err != nil || len(rows) > index.MaxTwins {
			return nil, err
		}
	}
	ids := make([]int64, len(rows))
	for i, r := range rows {
		ids[i] = r.id
	}
	return ids, nil
}

// withJoined adds the rows that are joined with the given ones now.
func (v *twinView) withJoined(ctx context.Context, rows []int64) ([]int64, error) {
	var out []int64
	seen := map[int64]bool{}
	add := func(id int64) {
		if !seen[id] {
			seen[id] = true
			out = append(out, id)
		}
	}
	for _, id := range rows {
		if seen[id] {
			continue
		}
		var head int64
		err := v.q.QueryRowContext(ctx, "SELECT head FROM records WHERE id = ?", id).Scan(&head)
		if errors.Is(err, sql.ErrNoRows) {
			continue
		}
		if err != nil {
			return nil, err
		}
		add(id)
		joined, err := readIDs(ctx, v.q, `SELECT id FROM records WHERE id = ?1
			UNION ALL SELECT id FROM records INDEXED BY records_twin WHERE head = ?1 AND head <> id`, head)
		if err != nil {
			return nil, err
		}
		for _, j := range joined {
			add(j)
		}
	}
	return out, nil
}

// family returns the rows that are one record with a row, the head first.
func (v *twinView) family(ctx context.Context, m *member) ([]*member, error) {
	twins, err := v.families.Of(ctx, m.twin)
	if err != nil {
		return nil, err
	}
	family := make([]*member, len(twins))
	for i, t := range twins {
		family[i] = v.byEvent[t.Event]
	}
	return family, nil
}
