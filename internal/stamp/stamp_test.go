package stamp_test

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/claudeaudit/claudeaudit/internal/stamp"
	"github.com/claudeaudit/claudeaudit/internal/stamp/stamptest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func client(t *testing.T, url string) *stamp.Client {
	t.Helper()
	c, err := stamp.NewClient(url, 10*time.Second)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c
}

func authority(t *testing.T, a *stamptest.TSA) *stamp.Authority {
	t.Helper()
	out, err := stamp.ParseAuthority("tsa", a.RootText)
	require.NoError(t, err)
	return out
}

func TestStamp(t *testing.T) {
	a, other := stamptest.Start(t), stamptest.Start(t)
	text := []byte("example.com/log/1\n5\nroot\n")
	der, err := client(t, a.URL).Stamp(t.Context(), text)
	require.NoError(t, err)
	require.NoError(t, a.Verify(t, der, text), "OpenSSL takes what was stored")

	at, by, err := stamp.Check(der, text, []*stamp.Authority{authority(t, other), authority(t, a)})
	require.NoError(t, err)
	require.WithinDuration(t, time.Now(), at, time.Minute)
	require.Equal(t, "tsa", by.Name)
	_, _, err = stamp.Check(der, append(text, '.'), []*stamp.Authority{authority(t, a)})
	require.ErrorIs(t, err, stamp.ErrStamp)
	_, _, err = stamp.Check(der, text, []*stamp.Authority{authority(t, other)})
	require.ErrorIs(t, err, stamp.ErrUntrusted)
	_, _, err = stamp.Check(der, text, nil)
	require.ErrorIs(t, err, stamp.ErrUntrusted)

	// No changed byte gives another time or another text.
	wrong := 0
	for i := range der {
		b := append([]byte(nil), der...)
		b[i] ^= 0x01
		got, _, err := stamp.Check(b, text, []*stamp.Authority{authority(t, a)})
		if err != nil {
			wrong++
			continue
		}
		require.Equal(t, at, got, "byte %d", i)
	}
	require.Greater(t, wrong, len(der)*3/4, "the rest is the root that came along, which is not the one that is believed")
	for n := range der {
		_, _, err := stamp.Check(der[:n], text, []*stamp.Authority{authority(t, a)})
		require.ErrorIs(t, err, stamp.ErrStamp)
	}
	_, _, err = stamp.Check(make([]byte, stamp.MaxSize+1), text, nil)
	require.ErrorIs(t, err, stamp.ErrStamp)

	// An old answer to another request.
	replay := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(der) }))
	defer replay.Close()
	_, err = client(t, replay.URL).Stamp(t.Context(), text)
	require.ErrorContains(t, err, "to another request")
}

func TestAuthorityThatFails(t *testing.T) {
	for name, h := range map[string]http.HandlerFunc{
		"answers 500": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) },
		"rubbish":     func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("rubbish")) },
		"too long":    func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, stamp.MaxSize+2)) },
	} {
		t.Run(name, func(t *testing.T) {
			srv := httptest.NewServer(h)
			defer srv.Close()
			_, err := client(t, srv.URL).Stamp(t.Context(), []byte("x"))
			require.Error(t, err)
		})
	}
	for _, bad := range []string{"", "tsa.example.com", "ftp://tsa.example.com", "https://user:secret@tsa.example.com"} {
		_, err := stamp.NewClient(bad, time.Second)
		require.ErrorContains(t, err, "must be an address")
	}
	for _, bad := range []string{"x", "AAAA"} {
		_, err := stamp.ParseAuthority("a", bad)
		require.Error(t, err)
	}
}
