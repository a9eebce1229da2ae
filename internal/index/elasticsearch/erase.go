package elasticsearch

import (
	"context"
	"encoding/hex"
	"fmt"
	"math"
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/claudeaudit/claudeaudit/internal/index"
)

// erasing stands for a batch where events are erased.
const erasing = math.MaxUint64 - 1

// Erase implements index.Store. The server keeps the versions that are written
// over until it merges the segments they are in.
func (s *Store) Erase(ctx context.Context, events []uuid.UUID) error {
	if err := s.erase(ctx, events); err != nil {
		return fmt.Errorf("erasing %d events in the index: %w", len(events), err)
	}
	return nil
}

func (s *Store) erase(ctx context.Context, events []uuid.UUID) error {
	// Days of before know no such field.
	field := map[string]any{"properties": map[string]any{"erased": map[string]any{"type": "keyword"}}}
	err := s.call(ctx, http.MethodPut, "/"+s.names.days()+"/_mapping?allow_no_indices=true&ignore_unavailable=true", field, nil)
	if err != nil && !hasStatus(err, http.StatusNotFound) {
		return fmt.Errorf("adding a field: %w", err)
	}
	if err := s.refresh(ctx, []string{s.names.days(), s.names.parked(), s.names.dead()}); err != nil {
		return err
	}
	j := &joins{s: s, stream: "erasures", from: erasing}
	if err := j.load(ctx); err != nil {
		return err
	}
	for range maxRounds {
		if len(events) == 0 {
			return j.run(ctx)
		}
		if events, err = s.eraseSome(ctx, j, events); err != nil {
			return err
		}
	}
	return errBusy
}

// eraseSome erases events, and returns those that others wrote meanwhile.
func (s *Store) eraseSome(ctx context.Context, j *joins, events []uuid.UUID) ([]uuid.UUID, error) {
	places, err := s.searchEvents(ctx, eventNames(events))
	if err != nil {
		return nil, err
	}
	days := map[uuid.UUID][]time.Time{}
	for _, p := range places {
		event, err := uuid.Parse(p.ID)
		if err != nil {
			continue // none of ours
		}
		if d, ok := s.names.dayNamed(p.Index); ok {
			days[event] = append(days[event], d)
		}
	}
	got, err := s.find(ctx, events, days, nil)
	if err != nil {
		return nil, err
	}
	c := &changes{}
	for _, event := range events {
		copies := readable(got[event])
		if len(copies) == 0 {
			continue
		}
		d := gather(event, copies, nil)
		for i := range d.entries {
			if e := &d.entries[i]; e.Record.EventID == event && e.Record.Erased == "" {
				e.Erase()
			}
		}
		role, head, at := d.role, d.head, d.time
		if d = newDocument(event, d.entries); role == parked {
			d.role, d.head, d.time = role, head, at
		}
		// Its head has its entries too.
		if err := j.note(ctx, rejoin(&d, copies)...); err != nil {
			return nil, err
		}
		c.settle(s.names, d, copies)
	}
	if err := s.carryOut(ctx, c); err != nil {
		return nil, err
	}
	if err := s.refresh(ctx, c.indices()); err != nil {
		return nil, err
	}
	again := c.conflicted()
	var left []uuid.UUID
	for _, event := range events {
		if again[event.String()] {
			left = append(left, event)
		}
	}
	return left, nil
}

// SetErasures implements index.Store.
func (s *Store) SetErasures(ctx context.Context, c index.Cursor) error {
	_, err := s.update(ctx, func(st *state) error {
		if st.Erasures == nil {
			st.Erasures = map[string]*streamState{}
		}
		if _, ok := st.Erasures[c.Stream]; !ok && len(st.Erasures) >= maxStreams {
			return fmt.Errorf("the index was erased by %d streams, which is the most it can", maxStreams)
		}
		st.Erasures[c.Stream] = &streamState{Next: c.Next, Last: hex.EncodeToString(c.Last[:])}
		return nil
	})
	if err != nil {
		return fmt.Errorf("noting how far the index was erased: %w", err)
	}
	return nil
}
