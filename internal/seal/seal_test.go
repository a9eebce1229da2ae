package seal

import (
	"bytes"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func newPair(t testing.TB) (*Recipient, *Identity) {
	t.Helper()
	id, err := GenerateIdentity()
	require.NoError(t, err)
	return id.Recipient(), id
}

func TestSealOpen(t *testing.T) {
	r, id := newPair(t)
	require.Equal(t, id.KeyID(), r.KeyID())
	require.Len(t, r.KeyID(), 16)
	for _, plain := range [][]byte{nil, []byte("x"), bytes.Repeat([]byte("content "), 1<<15)} {
		c, err := r.Seal(plain, []byte("event"))
		require.NoError(t, err)
		require.Len(t, c, len(plain)+Overhead)
		if len(plain) > 8 {
			require.NotContains(t, string(c), "content ")
		}
		h, err := ParseHeader(c)
		require.NoError(t, err)
		require.Equal(t, Header{KeyID: r.KeyID(), Suite: Suite}, h)
		got, err := id.Open(c, []byte("event"))
		require.NoError(t, err)
		require.True(t, bytes.Equal(plain, got))
	}
}

func TestOpenRefuses(t *testing.T) {
	r, id := newPair(t)
	other, _ := newPair(t)
	c, err := r.Seal([]byte("secret"), []byte("event"))
	require.NoError(t, err)
	foreign, err := other.Seal([]byte("secret"), []byte("event"))
	require.NoError(t, err)
	changed := func(i int) []byte { b := bytes.Clone(c); b[i] ^= 1; return b }
	for name, tc := range map[string]struct {
		container []byte
		aad       string
		want      error
	}{
		"another event":   {c, "event2", ErrOpen},
		"another key":     {foreign, "event", ErrWrongKey},
		"empty":           {nil, "event", ErrFormat},
		"cut":             {c[:len(c)-1], "event", ErrOpen},
		"cut to a header": {c[:Overhead-1], "event", ErrFormat},
		"magic":           {changed(0), "event", ErrFormat},
		"suite":           {changed(5), "event", ErrFormat},
		"key id":          {changed(11), "event", ErrWrongKey},
		"encapsulation":   {changed(headerLen - 1), "event", ErrOpen},
		"nonce":           {changed(headerLen), "event", ErrOpen},
		"ciphertext":      {changed(headerLen + nonceLen), "event", ErrOpen},
		"tag":             {changed(len(c) - 1), "event", ErrOpen},
		"longer":          {append(bytes.Clone(c), 0), "event", ErrOpen},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := id.Open(tc.container, []byte(tc.aad))
			require.ErrorIs(t, err, tc.want)
			require.Nil(t, got)
		})
	}
}

func TestEveryBitOfAContainerCounts(t *testing.T) {
	r, id := newPair(t)
	c, err := r.Seal([]byte("secret"), nil)
	require.NoError(t, err)
	for i := range c {
		for bit := range 8 {
			b := bytes.Clone(c)
			b[i] ^= 1 << bit
			_, err := id.Open(b, nil)
			require.Error(t, err, "byte %d bit %d", i, bit)
		}
	}
}

func TestEncapsulationIsReusedWithinBounds(t *testing.T) {
	r, id := newPair(t)
	now := time.Unix(1_800_000_000, 0)
	r.now = func() time.Time { return now }
	enc := func() string {
		c, err := r.Seal([]byte("x"), nil)
		require.NoError(t, err)
		_, err = id.Open(c, nil)
		require.NoError(t, err)
		return string(c[headerLen-encLen : headerLen])
	}
	first := enc()
	require.Equal(t, first, enc(), "reused")
	now = now.Add(MaxKeyAge)
	second := enc()
	require.NotEqual(t, first, second, "replaced by age")
	r.uses = MaxSealsPerKey
	require.NotEqual(t, second, enc(), "replaced by use")
	now = now.Add(-time.Hour)
	require.NotEqual(t, second, enc(), "replaced when the clock goes back")
}

func TestOpenRemembersBoundedKeys(t *testing.T) {
	r, id := newPair(t)
	var all [][]byte
	for range openCache + 10 {
		r.aead = nil
		c, err := r.Seal([]byte("x"), nil)
		require.NoError(t, err)
		all = append(all, c)
	}
	for range 2 {
		for _, c := range all {
			_, err := id.Open(c, nil)
			require.NoError(t, err)
		}
		require.Len(t, id.keys, openCache)
		require.Len(t, id.order, openCache)
	}
}

func TestConcurrentUse(t *testing.T) {
	r, id := newPair(t)
	var wg sync.WaitGroup
	nonces := make([]map[string]bool, 8)
	for w := range nonces {
		nonces[w] = map[string]bool{}
		wg.Go(func() {
			for range 200 {
				c, err := r.Seal([]byte("x"), nil)
				if err == nil {
					_, err = id.Open(c, nil)
				}
				if err != nil {
					t.Error(err)
					return
				}
				nonces[w][string(c[headerLen:headerLen+nonceLen])] = true
			}
		})
	}
	wg.Wait()
	all := map[string]bool{}
	for _, m := range nonces {
		for n := range m {
			all[n] = true
		}
	}
	require.Len(t, all, 8*200, "a nonce was used twice")
}

func FuzzOpen(f *testing.F) {
	r, id := newPair(f)
	c, err := r.Seal([]byte("secret"), nil)
	require.NoError(f, err)
	f.Add(c)
	f.Add([]byte(magic))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		if bytes.Equal(b, c) {
			return
		}
		if plain, err := id.Open(b, nil); err == nil {
			t.Fatalf("opened %x to %q", b, plain)
		}
	})
}

func BenchmarkSeal16KiB(b *testing.B) {
	r, _ := newPair(b)
	plain := make([]byte, 16<<10)
	b.SetBytes(int64(len(plain)))
	for b.Loop() {
		if _, err := r.Seal(plain, nil); err != nil {
			b.Fatal(err)
		}
	}
}
