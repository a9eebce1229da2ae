package ledger

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"
)

// childWriter writes until it is killed and prints what was acknowledged.
func childWriter(t *testing.T, dir string) {
	keyFile := os.Getenv("LEDGER_TEST_KEY")
	b, err := os.ReadFile(keyFile)
	if errors.Is(err, fs.ErrNotExist) {
		skey, vkey, kerr := note.GenerateKey(rand.Reader, "test")
		require.NoError(t, kerr)
		b = []byte(skey + "\n" + vkey)
		require.NoError(t, os.WriteFile(keyFile+".tmp", b, 0o600))
		require.NoError(t, os.Rename(keyFile+".tmp", keyFile))
		err = nil
	}
	require.NoError(t, err)
	keys := strings.Split(string(b), "\n")
	signer, err := note.NewSigner(keys[0])
	require.NoError(t, err)
	w, err := NewFileWitness(os.Getenv("LEDGER_TEST_WITNESS"))
	require.NoError(t, err)
	l, err := Open(context.Background(), Options{
		Dir: dir, Signer: signer, VerifierKey: keys[1], Witnesses: []Witness{w},
		SegmentEntries: 50, SegmentAge: 5 * time.Millisecond, CheckpointInterval: time.Millisecond,
	})
	require.NoError(t, err)
	from, err := strconv.Atoi(os.Getenv("LEDGER_TEST_FROM"))
	require.NoError(t, err)
	var wg sync.WaitGroup
	var out sync.Mutex
	for w := range 8 {
		wg.Go(func() {
			for i := 0; ; i++ {
				n := from*100 + w*10_000 + i
				if _, err := l.Append(context.Background(), []Entry{testEntry(n, fmt.Appendf(nil, "content %d", n))}); err != nil {
					t.Error(err)
					return
				}
				out.Lock()
				fmt.Printf("acked entry %d\n", n)
				out.Unlock()
			}
		})
	}
	wg.Wait()
}
