package gateway

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/claudeaudit/claudeaudit/internal/durable"
)

// Budget bounds what each user or application may use in a day, by UTC.
type Budget struct {
	Name          string
	Per           string // user or application
	Calls, Tokens int64  // 0 is no bound
}

// maxCounters bounds how many users and applications are counted a day. Those beyond it are
// refused where there is a budget: who can't be counted can't be bounded.
const maxCounters = 1 << 20

// Usage counts what was used in a day, by budget and user or application. With a file it goes on after a restart: each change
// is written before the call that it is of goes on, and not synced, so that a process that is killed loses nothing, and a
// machine that fails what it had not written yet.
//
// The file has 32 bytes for the day and then as many for each counter, which are written in place: the first half of
// SHA-256(budget, 0, whose), the calls, the tokens.
type Usage struct {
	mu   sync.Mutex
	file *os.File // nil counts in memory alone
	max  int
	day  string
	slot map[counterKey]int
	used []used // by slot
}

type (
	counterKey [16]byte
	used       struct{ calls, tokens int64 }
)

const slotSize = 32

var errCounters = errors.New("as many are counted as can be")

// NewUsage counts in memory.
func NewUsage() *Usage { return &Usage{max: maxCounters, slot: map[counterKey]int{}} }

// OpenUsage counts in a file of a folder that it makes, and begins with what the file has of this day.
func OpenUsage(dir, name string, now time.Time) (*Usage, error) {
	if err := durable.MkdirAll(dir); err != nil {
		return nil, fmt.Errorf("make the folder of what is used: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the file of what is used: %w", err)
	}
	u := NewUsage()
	u.file = f
	if err := u.read(now); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", f.Name(), err), f.Close())
	}
	return u, nil
}

func dayOf(now time.Time) string { return now.UTC().Format(time.DateOnly) }

func head(day string) []byte {
	b := make([]byte, slotSize)
	copy(b, "claudeaudit.usage/1 "+day+"\n")
	return b
}

// read takes what the file has of the day of now. Half a counter at its end was being written when the machine failed.
func (u *Usage) read(now time.Time) error {
	data, err := io.ReadAll(io.LimitReader(u.file, slotSize*(1+int64(u.max))))
	if err != nil {
		return err
	}
	day := dayOf(now)
	if len(data) < slotSize || !bytes.Equal(data[:slotSize], head(day)) {
		if len(data) >= slotSize && !bytes.HasPrefix(data, []byte("claudeaudit.usage/1 ")) {
			return errors.New("is not a file of what is used")
		}
		return u.begin(day)
	}
	u.day = day
	for at := data[slotSize:]; len(at) >= slotSize; at = at[slotSize:] {
		u.slot[counterKey(at[:16])] = len(u.used)
		u.used = append(u.used, used{int64(binary.LittleEndian.Uint64(at[16:])), int64(binary.LittleEndian.Uint64(at[24:]))})
	}
	return nil
}

// begin begins a day.
func (u *Usage) begin(day string) error {
	clear(u.slot)
	u.used, u.day = u.used[:0], ""
	if u.file != nil {
		// In this order a day's counters never stand under another's name.
		if err := u.file.Truncate(0); err != nil {
			return err
		}
		if _, err := u.file.WriteAt(head(day), 0); err != nil {
			return err
		}
	}
	u.day = day
	return nil
}

func (u *Usage) today(now time.Time) error {
	if day := dayOf(now); day != u.day {
		return u.begin(day)
	}
	return nil
}

func (k *counterKey) of(b *Budget, who string) counterKey {
	sum := sha256.Sum256([]byte(b.Name + "\x00" + who))
	copy(k[:], sum[:])
	return *k
}

// add adds to a counter. The caller holds the lock.
func (u *Usage) add(k counterKey, n used) error {
	i, ok := u.slot[k]
	if !ok {
		if len(u.used) >= u.max {
			return errCounters
		}
		i = len(u.used)
		u.slot[k] = i
		u.used = append(u.used, used{})
	}
	u.used[i].calls += n.calls
	u.used[i].tokens += n.tokens
	if u.file == nil {
		return nil
	}
	var slot [slotSize]byte
	copy(slot[:], k[:])
	binary.LittleEndian.PutUint64(slot[16:], uint64(u.used[i].calls))
	binary.LittleEndian.PutUint64(slot[24:], uint64(u.used[i].tokens))
	_, err := u.file.WriteAt(slot[:], slotSize*(1+int64(i)))
	return err
}

// Close makes what was counted durable. Nothing may be counted any more.
func (u *Usage) Close() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.file == nil {
		return nil
	}
	return errors.Join(u.file.Sync(), u.file.Close())
}

func whose(b *Budget, c *Call) string {
	if b.Per == "user" {
		return c.User
	}
	return c.Application
}

// budget counts the call, unless a budget is used up or it can't be counted.
func (r *Rules) budget(c *Call) (Decision, bool) {
	if len(r.budgets) == 0 {
		return Decision{}, false
	}
	refuse := func(b *Budget, reason, message string) (Decision, bool) {
		return Decision{Action: Block, Rule: b.Name, Reason: reason, Message: message, Shadow: r.shadow}, true
	}
	u := r.usage
	u.mu.Lock()
	defer u.mu.Unlock()
	dayErr := u.today(r.now())
	var k counterKey
	for i := range r.budgets {
		b := &r.budgets[i]
		who := whose(b, c)
		if who == "" {
			continue
		}
		if dayErr != nil {
			return refuse(b, "what is used can't be counted: "+dayErr.Error(), "the audit gateway can't count what is used now")
		}
		slot, counted := u.slot[k.of(b, who)]
		if !counted {
			continue
		}
		if n := u.used[slot]; b.Calls > 0 && n.calls >= b.Calls || b.Tokens > 0 && n.tokens >= b.Tokens {
			return refuse(b, "the "+b.Per+"'s budget of the day is used up", "the budget "+b.Name+" of the day is used up")
		}
	}
	for i := range r.budgets {
		b := &r.budgets[i]
		if who := whose(b, c); who != "" {
			if err := u.add(k.of(b, who), used{calls: 1}); err != nil {
				return refuse(b, "what is used can't be counted: "+err.Error(), "the audit gateway can't count what is used now")
			}
		}
	}
	return Decision{}, false
}

// Ended adds the tokens of a call to its budgets. Its error says that they aren't counted for good.
func (r *Rules) Ended(c *Call, tokens int64) error {
	if len(r.budgets) == 0 || tokens == 0 {
		return nil
	}
	u := r.usage
	u.mu.Lock()
	defer u.mu.Unlock()
	if err := u.today(r.now()); err != nil {
		return err
	}
	var errs []error
	var k counterKey
	for i := range r.budgets {
		if who := whose(&r.budgets[i], c); who != "" {
			errs = append(errs, u.add(k.of(&r.budgets[i], who), used{tokens: tokens}))
		}
	}
	return errors.Join(errs...)
}
