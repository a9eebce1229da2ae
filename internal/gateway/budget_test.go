package gateway

import (
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// What was used counts after a restart too, and no longer than its day.
func TestBudgetsSurviveRestart(t *testing.T) {
	dir := t.TempDir()
	now := time.Date(2026, 11, 24, 23, 0, 0, 0, time.UTC)
	start := func() *harness {
		usage, err := OpenUsage(dir, "claude_gateway", now)
		require.NoError(t, err)
		return newHarness(t, func(s *Settings) {
			s.Identity.UserHeader = "X-User"
			s.Policy = NewRules(RulesSettings{
				Budgets: []Budget{{Name: "calls", Per: "user", Calls: 2}, {Name: "tokens", Per: "user", Tokens: 300}},
				Usage:   usage, Now: func() time.Time { return now },
			})
		})
	}
	n := 0
	ask := func(h *harness, user, prompt string) int {
		resp, _, err := h.do(t, http.MethodPost, "/v1/messages", message(prompt, ""), "X-User", user)
		require.NoError(t, err)
		n++
		h.sink.ended(t, n)
		return resp.StatusCode
	}
	h := start()
	require.Equal(t, http.StatusOK, ask(h, "ana", "hi"))
	require.Equal(t, http.StatusOK, ask(h, "bo", "[[fake: tokens=400]]"))

	h, n = start(), 0 // nothing was closed: as after a kill
	require.Equal(t, http.StatusOK, ask(h, "ana", "hi"))
	require.Equal(t, http.StatusForbidden, ask(h, "ana", "hi"), "three calls")
	require.Equal(t, http.StatusForbidden, ask(h, "bo", "hi"), "more than its tokens")
	require.Equal(t, http.StatusOK, ask(h, "cy", "hi"))

	now = now.Add(2 * time.Hour)
	h, n = start(), 0
	require.Equal(t, http.StatusOK, ask(h, "ana", "hi"))
	require.Equal(t, http.StatusOK, ask(h, "bo", "hi"))
	data, err := os.ReadFile(filepath.Join(dir, "claude_gateway"))
	require.NoError(t, err)
	require.Len(t, data, 5*slotSize, "two of each of two budgets, behind the day")
	require.NotContains(t, string(data), "ana", "the file names a user")
}

// A call that can't be counted does not go on.
func TestBudgetThatCannotBeCounted(t *testing.T) {
	usage, err := OpenUsage(t.TempDir(), "u", time.Now())
	require.NoError(t, err)
	require.NoError(t, usage.file.Close())
	r := NewRules(RulesSettings{Budgets: []Budget{{Name: "b", Per: "application", Calls: 100}}, Usage: usage})
	d := r.Decide(t.Context(), &Call{Application: "a"})
	require.Equal(t, Block, d.Action)
	require.Contains(t, d.Reason, "can't be counted")
	require.Error(t, r.Ended(&Call{Application: "a"}, 7))
}

// Of many calls at a time exactly as many go on as the budget has.
func TestBudgetsAreExact(t *testing.T) {
	usage, err := OpenUsage(t.TempDir(), "u", time.Now())
	require.NoError(t, err)
	noon := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	r := NewRules(RulesSettings{Budgets: []Budget{{Name: "b", Per: "application", Calls: 100}}, Usage: usage, Now: func() time.Time { return noon }})
	var passed atomic.Int64
	var callers sync.WaitGroup
	for range 16 {
		callers.Go(func() {
			for range 50 {
				if r.Decide(t.Context(), &Call{Application: "a"}).Action == Allow {
					passed.Add(1)
				}
			}
		})
	}
	callers.Wait()
	require.EqualValues(t, 100, passed.Load())
	require.NoError(t, r.Close())
}

// A file that is something else is not written over; one that ends early has what it has.
func TestUsageFile(t *testing.T) {
	dir := t.TempDir()
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "other"), []byte("this is somebody's diary, and none of ours\n"), 0o600))
	_, err := OpenUsage(dir, "other", now)
	require.ErrorContains(t, err, "is not a file of what is used")

	u, err := OpenUsage(dir, "u", now)
	require.NoError(t, err)
	var k counterKey
	b := Budget{Name: "b"}
	require.NoError(t, u.add(k.of(&b, "ana"), used{calls: 7}))
	require.NoError(t, u.add(k.of(&b, "bo"), used{calls: 9}))
	require.NoError(t, u.Close())
	require.NoError(t, os.Truncate(filepath.Join(dir, "u"), 3*slotSize-5))
	u, err = OpenUsage(dir, "u", now)
	require.NoError(t, err)
	require.Equal(t, []used{{calls: 7}}, u.used)
	u.max = 1
	require.ErrorIs(t, u.add(k.of(&b, "cy"), used{calls: 1}), errCounters)
	require.NoError(t, u.Close())
}
