package bucket

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// What a store shows after a put has to be what the put asked for, or more.
func TestLockThatIsReadBack(t *testing.T) {
	until := time.Date(2033, 11, 29, 12, 0, 0, 500, time.UTC)
	whole := until.Truncate(time.Second).Add(time.Second)
	asked := PutOptions{RetainUntil: until}
	for _, tt := range []struct {
		name string
		lock Lock
		opts PutOptions
		mode string
		want string // of the error, "" for none
	}{
		{"as asked", Lock{Mode: compliance, RetainUntil: whole}, asked, compliance, ""},
		{"longer", Lock{Mode: compliance, RetainUntil: whole.AddDate(1, 0, 0)}, asked, compliance, ""},
		{"stricter", Lock{Mode: compliance, RetainUntil: whole}, asked, governance, ""},
		{"nothing asked", Lock{}, PutOptions{}, compliance, ""},
		{"held as well", Lock{Mode: compliance, RetainUntil: whole, Hold: true}, PutOptions{RetainUntil: until, Hold: true}, compliance, ""},
		{"none", Lock{}, asked, compliance, "shows no retention"},
		{"shorter by a second", Lock{Mode: compliance, RetainUntil: whole.Add(-time.Second)}, asked, compliance, "shows a retention until 2033-11-29T12:00:00Z instead of 2033-11-29T12:00:01Z"},
		{"shorter by years", Lock{Mode: compliance, RetainUntil: whole.AddDate(-6, 0, 0)}, asked, compliance, "instead of"},
		{"one that can be lifted", Lock{Mode: governance, RetainUntil: whole}, asked, compliance, "shows retention mode"},
		{"without the hold", Lock{Mode: compliance, RetainUntil: whole}, PutOptions{RetainUntil: until, Hold: true}, compliance, "shows no legal hold"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.lock.covers(tt.opts, tt.mode)
			if tt.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, ErrNoLock)
			require.ErrorContains(t, err, tt.want)
		})
	}
}
