package heap

import (
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
)

func TestPercent(t *testing.T) {
	for live, want := range map[uint64]int{
		0: maxPercent, 1 << 20: maxPercent, 16 << 20: 400, 32 << 20: 200, Room: 100, 10 * Room: 100,
	} {
		require.Equal(t, want, percent(live), "%d bytes", live)
	}
}

// The runtime packs objects of less than 16 bytes together, and finalizes none of them while one is in use.
func TestWatchIsNotTiny(t *testing.T) {
	require.GreaterOrEqual(t, unsafe.Sizeof(watch{}), uintptr(16))
}

// The pace follows what is alive, and is left alone where the environment sets it. It is the process's, so each case has one of its own.
func TestEase(t *testing.T) {
	if how := os.Getenv("CLAUDEAUDIT_TEST_EASE"); how != "" {
		Ease()
		if how == "alive" {
			kept := make([]byte, 2*Room)
			for i := range kept {
				kept[i] = 1
			}
			for deadline := time.Now().Add(10 * time.Second); gcPercent() != goPercent && time.Now().Before(deadline); {
				runtime.GC()
			}
			runtime.KeepAlive(kept)
		}
		_, _ = os.Stdout.WriteString("percent=" + strconv.Itoa(gcPercent()) + "\n")
		return
	}
	self, err := os.Executable()
	require.NoError(t, err)
	for name, tc := range map[string]struct {
		gogc, want string
	}{
		"small":                  {want: "percent=" + strconv.Itoa(maxPercent)},
		"alive":                  {want: "percent=100"},
		"set by the environment": {gogc: "250", want: "percent=250"},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), self, "-test.run", "^TestEase$")
			for _, e := range os.Environ() {
				if !strings.HasPrefix(e, "GOGC=") {
					cmd.Env = append(cmd.Env, e)
				}
			}
			cmd.Env = append(cmd.Env, "CLAUDEAUDIT_TEST_EASE="+name)
			if tc.gogc != "" {
				cmd.Env = append(cmd.Env, "GOGC="+tc.gogc)
			}
			out, err := cmd.CombinedOutput()
			require.NoError(t, err, "%s", out)
			require.Contains(t, string(out), tc.want+"\n")
		})
	}
}

func gcPercent() int {
	p := debug.SetGCPercent(goPercent)
	debug.SetGCPercent(p)
	return p
}
