package witness

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(int) { http.DefaultTransport.(*http.Transport).CloseIdleConnections() }))
}

// testLog is a log whose leaves are numbers.
type testLog struct {
	origin string
	signer note.Signer
	vkey   string
	salt   string // tells two histories apart
}

func newTestLog(t *testing.T, origin string) *testLog {
	t.Helper()
	skey, vkey, err := note.GenerateKey(rand.Reader, origin)
	require.NoError(t, err)
	s, err := note.NewSigner(skey)
	require.NoError(t, err)
	return &testLog{origin: origin, signer: s, vkey: vkey}
}

func (l *testLog) hashes(n int) tlog.HashReaderFunc {
	var stored []tlog.Hash
	for i := range n {
		h, err := tlog.StoredHashes(int64(i), fmt.Appendf(nil, "%s %d", l.salt, i), tlog.HashReaderFunc(func(x []int64) ([]tlog.Hash, error) {
			out := make([]tlog.Hash, len(x))
			for i, j := range x {
				out[i] = stored[j]
			}
			return out, nil
		}))
		if err != nil {
			panic(err)
		}
		stored = append(stored, h...)
	}
	return func(x []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(x))
		for i, j := range x {
			out[i] = stored[j]
		}
		return out, nil
	}
}

func (l *testLog) checkpoint(t *testing.T, n int) []byte {
	t.Helper()
	root, err := tlog.TreeHash(int64(n), l.hashes(n))
	require.NoError(t, err)
	msg, err := note.Sign(&note.Note{Text: fmt.Sprintf("%s\n%d\n%s\n", l.origin, n, base64.StdEncoding.EncodeToString(root[:]))}, l.signer)
	require.NoError(t, err)
	return msg
}

func (l *testLog) prove(n int) func(context.Context, uint64) ([][32]byte, error) {
	return func(_ context.Context, old uint64) ([][32]byte, error) {
		p, err := tlog.ProveTree(int64(n), int64(old), l.hashes(n))
		out := make([][32]byte, len(p))
		for i := range p {
			out[i] = p[i]
		}
		return out, err
	}
}

func (l *testLog) body(t *testing.T, old, n int) string {
	t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "old %d\n", old)
	if old > 0 && old < n {
		p, err := l.prove(n)(t.Context(), uint64(old))
		require.NoError(t, err)
		for _, h := range p {
			fmt.Fprintln(&b, base64.StdEncoding.EncodeToString(h[:]))
		}
	}
	return b.String() + "\n" + string(l.checkpoint(t, n))
}

type memory struct {
	latest map[string]Checkpoint
	fail   error
}

func (m *memory) Latest(origin string) (Checkpoint, bool) {
	c, ok := m.latest[origin]
	return c, ok
}

func (m *memory) Add(_ context.Context, c Checkpoint) error {
	if m.fail == nil {
		m.latest[c.Origin] = c
	}
	return m.fail
}

func newServer(t *testing.T, logs ...string) (*httptest.Server, *Signer, *memory) {
	t.Helper()
	signer, err := GenerateSigner("witness.example.com")
	require.NoError(t, err)
	m := &memory{latest: map[string]Checkpoint{}}
	s, err := NewServer(signer, logs, m, func(string, Checkpoint, error) {})
	require.NoError(t, err)
	srv := httptest.NewServer(s)
	t.Cleanup(srv.Close)
	return srv, signer, m
}

func post(t *testing.T, url, body string) (int, string, http.Header) {
	t.Helper()
	resp, err := http.Post(url+"/add-checkpoint", "text/plain", strings.NewReader(body))
	require.NoError(t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(b), resp.Header
}

// The answers that C2SP tlog-witness asks for.
func TestServer(t *testing.T) {
	l, other := newTestLog(t, "example.com/log"), newTestLog(t, "example.com/other")
	srv, signer, m := newServer(t, l.vkey, other.vkey)
	accept := func(body string) {
		t.Helper()
		status, answer, _ := post(t, srv.URL, body)
		require.Equal(t, http.StatusOK, status, answer)
		_, msg, _ := strings.Cut(body, "\n\n")
		n, err := note.Open([]byte(msg+answer), note.VerifierList(signer.Verifier))
		require.NoError(t, err)
		require.Len(t, n.Sigs, 1)
		at, ok := signer.Time([]byte(msg + answer))
		require.True(t, ok)
		require.WithinDuration(t, time.Now(), at, time.Minute)
	}
	accept(l.body(t, 0, 5))
	accept(l.body(t, 5, 5))
	accept(l.body(t, 5, 12))
	accept(other.body(t, 0, 3))

	fork := &testLog{l.origin, l.signer, l.vkey, "fork"}
	theft := &testLog{l.origin, other.signer, other.vkey, ""}
	unknown := newTestLog(t, "example.com/log")
	swapped := strings.SplitN(l.body(t, 12, 20), "\n", 3)
	for name, tc := range map[string]struct {
		body   string
		status int
		answer string
	}{
		"another old size":         {l.body(t, 5, 14), 409, "12\n"},
		"from nothing again":       {l.body(t, 0, 14), 409, "12\n"},
		"unknown to the witness":   {strings.Replace(newBody(t, other, l, 4), "old 0", "old 2", 1), 409, "0\n"},
		"a fork of the same size":  {fork.body(t, 12, 12), 409, "12\n"},
		"a fork that grows":        {fork.body(t, 12, 14), 422, "does not hold"},
		"a proof too few":          {swapped[0] + "\n" + swapped[2], 422, "does not hold"},
		"a proof not asked for":    {strings.Replace(l.body(t, 12, 12), "\n\n", "\n"+base64.StdEncoding.EncodeToString(make([]byte, 32))+"\n\n", 1), 422, "does not hold"},
		"an unknown key":           {unknown.body(t, 12, 14), 403, "not signed by a known log"},
		"another known log's key":  {theft.body(t, 12, 14), 403, "another key"},
		"smaller than the old one": {strings.Replace(l.body(t, 0, 5), "old 0", "old 12", 1), 400, "greater"},
		"no checkpoint":            {"old 0\n", 400, "no empty line"},
		"no old":                   {"\n\n" + string(l.checkpoint(t, 13)), 400, "first line"},
		"a leading zero":           {"old 012\n\n" + string(l.checkpoint(t, 13)), 400, "first line"},
		"a malformed hash":         {"old 12\nxyz\n\n" + string(l.checkpoint(t, 13)), 400, "malformed hash"},
		"too many hashes":          {"old 12\n" + strings.Repeat(base64.StdEncoding.EncodeToString(make([]byte, 32))+"\n", 64) + "\n" + string(l.checkpoint(t, 13)), 400, "too many"},
		"a broken note":            {"old 12\n\nexample.com/log\n13\n", 400, "malformed checkpoint"},
		"a broken size":            {"old 12\n\nexample.com/log\n-1\nAAAA\n\n— a b\n", 400, "size"},
		"a broken root":            {"old 12\n\nexample.com/log\n13\nAAAA\n\n— a b\n", 400, "root"},
		"an altered checkpoint":    {strings.Replace(l.body(t, 12, 13), "\n13\n", "\n14\n", 1), 403, "not signed"},
		"too long":                 {"old 0\n\n" + strings.Repeat("x", maxRequest), 413, "too long"},
	} {
		t.Run(name, func(t *testing.T) {
			status, answer, h := post(t, srv.URL, tc.body)
			require.Equal(t, tc.status, status, answer)
			require.Contains(t, answer, tc.answer)
			if status == 409 {
				require.Equal(t, tc.answer, answer)
				require.Equal(t, "text/x.tlog.size", h.Get("Content-Type"))
			}
			require.Equal(t, uint64(12), m.latest[l.origin].Size, "nothing was taken")
		})
	}
	m.fail = errors.New("disk full")
	status, answer, _ := post(t, srv.URL, l.body(t, 12, 14))
	require.Equal(t, http.StatusServiceUnavailable, status)
	require.NotContains(t, answer, "disk full")
	m.fail = nil
	accept(l.body(t, 12, 14))

	for path, want := range map[string]int{"/add-checkpoint": 405, "/": 404, "/metrics": 404} {
		resp, err := http.Get(srv.URL + path)
		require.NoError(t, err)
		resp.Body.Close()
		require.Equal(t, want, resp.StatusCode)
	}
}

// newBody is a first request for an origin that no one gave the witness yet, signed by a known key.
func newBody(t *testing.T, key, like *testLog, n int) string {
	t.Helper()
	l := &testLog{like.origin + "/new", key.signer, key.vkey, ""}
	return l.body(t, 0, n)
}

func TestClient(t *testing.T) {
	l := newTestLog(t, "example.com/log")
	srv, signer, _ := newServer(t, l.vkey)
	c, err := NewClient(srv.URL+"/", signer.Verifier, time.Second)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	for _, n := range []int{3, 3, 4, 11, 64, 65} {
		msg := l.checkpoint(t, n)
		got, err := c.Add(t.Context(), l.origin, uint64(n), msg, l.prove(n))
		require.NoError(t, err)
		require.True(t, bytes.HasPrefix(got, msg))
		opened, err := note.Open(got, note.VerifierList(signer.Verifier))
		require.NoError(t, err)
		require.Len(t, opened.Sigs, 1)
	}
	// One that forgot the size learns it.
	again, err := NewClient(srv.URL, signer.Verifier, time.Second)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, again.Close()) })
	_, err = again.Add(t.Context(), l.origin, 70, l.checkpoint(t, 70), l.prove(70))
	require.NoError(t, err)
	// What the witness has is later, or another.
	old, err := NewClient(srv.URL, signer.Verifier, time.Second)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, old.Close()) })
	_, err = old.Add(t.Context(), l.origin, 60, l.checkpoint(t, 60), l.prove(60))
	require.ErrorIs(t, err, ErrStale)
	fork := &testLog{l.origin, l.signer, l.vkey, "fork"}
	_, err = again.Add(t.Context(), l.origin, 70, fork.checkpoint(t, 70), fork.prove(70))
	require.ErrorContains(t, err, "the log was forked")
	_, err = again.Add(t.Context(), l.origin, 72, fork.checkpoint(t, 72), fork.prove(72))
	require.ErrorContains(t, err, "422")

	// A cosignature of another key is none.
	stranger, err := GenerateSigner("witness.example.com")
	require.NoError(t, err)
	wrong, err := NewClient(srv.URL, stranger.Verifier, time.Second)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, wrong.Close()) })
	_, err = wrong.Add(t.Context(), l.origin, 80, l.checkpoint(t, 80), l.prove(80))
	require.ErrorContains(t, err, "does not match its key")

	for name, h := range map[string]http.HandlerFunc{
		"redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, srv.URL+"/add-checkpoint", http.StatusTemporaryRedirect)
		},
		"endless":       func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, maxAnswer+1)) },
		"409 and words": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(409); _, _ = io.WriteString(w, "no") },
		"nothing":       func(http.ResponseWriter, *http.Request) {},
		"hangs":         func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body); <-r.Context().Done() },
	} {
		t.Run(name, func(t *testing.T) {
			bad := httptest.NewServer(h)
			defer bad.Close()
			c, err := NewClient(bad.URL, signer.Verifier, 300*time.Millisecond)
			require.NoError(t, err)
			defer func() { require.NoError(t, c.Close()) }()
			_, err = c.Add(t.Context(), l.origin, 5, l.checkpoint(t, 5), l.prove(5))
			require.Error(t, err)
		})
	}
	for _, u := range []string{"", "witness", "ftp://x", "http://a:b@x"} {
		_, err := NewClient(u, signer.Verifier, time.Second)
		require.Error(t, err, u)
	}
}

func TestKeys(t *testing.T) {
	s, err := GenerateSigner("w.example.com")
	require.NoError(t, err)
	got, err := ParseSigner(s.Text() + "\n")
	require.NoError(t, err)
	require.Equal(t, s.Verifier.String(), got.Verifier.String())
	v, err := ParseVerifier(s.Verifier.String())
	require.NoError(t, err)
	line, err := s.Line("text\n")
	require.NoError(t, err)
	n, err := note.Open([]byte("text\n\n"+line), note.VerifierList(v))
	require.NoError(t, err)
	require.Len(t, n.Sigs, 1)
	require.NotContains(t, fmt.Sprintf("%v %+v %#v %s", s, s, s, s), s.Text()[len(s.Text())-20:])
	_, err = note.NewVerifier(s.Verifier.String())
	require.Error(t, err, "a cosignature key is no log key")
	for _, bad := range []string{"", "x", "w+00000000+AAAA", s.Text(), strings.Replace(s.Verifier.String(), "w.", "v.", 1), s.Verifier.String() + "A"} {
		_, err := ParseVerifier(bad)
		require.ErrorIs(t, err, ErrKey, bad)
	}
	for _, bad := range []string{"", s.Verifier.String(), "PRIVATE+KEY+a+b+c", s.Text()[:len(s.Text())-4]} {
		_, err := ParseSigner(bad)
		require.ErrorIs(t, err, ErrKey)
	}
	for _, name := range []string{"", "a b", "a+b", "a\nb"} {
		_, err := GenerateSigner(name)
		require.Error(t, err)
	}
}

// The example of C2SP's specification of the signed message: header, time, then the note's text.
func TestSignedMessage(t *testing.T) {
	require.Equal(t, "cosignature/v1\ntime 1679315147\nexample.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n",
		string(signed(1679315147, []byte("example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"))))
}

func TestPolicy(t *testing.T) {
	l := newTestLog(t, "example.com/log")
	var w [3]*Signer
	for i := range w {
		var err error
		w[i], err = GenerateSigner(fmt.Sprintf("w%d", i))
		require.NoError(t, err)
	}
	text := fmt.Sprintf("# policy\nlog %s https://log.example.com\nwitness a %s\nwitness b %s https://b\nwitness c %s\ngroup two 2 a b c\n", l.vkey, w[0].Verifier, w[1].Verifier, w[2].Verifier)
	by := func(n ...int) func(*Verifier) bool {
		return func(v *Verifier) bool {
			for _, i := range n {
				if v.String() == w[i].Verifier.String() {
					return true
				}
			}
			return false
		}
	}
	for quorum, tc := range map[string]map[string]bool{
		"quorum two":                        {"0 1": true, "0 2": true, "1": false, "": false},
		"quorum a":                          {"0": true, "1 2": false},
		"quorum none":                       {"": true},
		"group all3 all a b c\nquorum all3": {"0 1 2": true, "0 1": false},
		"group one any a b\nquorum one":     {"1": true, "2": false},
		"group n all two a\nquorum n":       {"0 1": true, "1 2": false},
	} {
		p, err := ParsePolicy(text + quorum + "\n")
		require.NoError(t, err)
		require.Equal(t, []string{l.vkey}, p.Logs)
		require.Len(t, p.Witnesses, 3)
		require.Equal(t, quorum != "quorum none", p.HasQuorum())
		for who, want := range tc {
			var n []int
			for _, f := range strings.Fields(who) {
				n = append(n, int(f[0]-'0'))
			}
			require.Equal(t, want, p.Satisfied(by(n...)), "%s: %s", quorum, who)
		}
	}
	for bad, want := range map[string]string{
		"":                            "no quorum line",
		"quorum x":                    "x is not defined",
		"quorum none\nquorum a":       "once",
		"group g 4 a b c\nquorum g":   "threshold",
		"group g 0 a b c\nquorum g":   "threshold",
		"group g 2 a a\nquorum g":     "twice",
		"group g any z\nquorum g":     "z is not defined",
		"group a any b\nquorum none":  "taken",
		"group none any b\nquorum a":  "taken",
		"witness d x\nquorum none":    "witness d",
		"log x\nquorum none":          "log: must be",
		"mirror x\nquorum none":       `unknown item "mirror"`,
		"group g\nquorum none":        "must be: group",
		"witness d\nquorum none":      "must be: witness",
		"log a b c d e\nquorum none":  "must be: log",
		"quorum none none\nquorum no": "once",
	} {
		_, err := ParsePolicy(text + bad + "\n")
		require.ErrorContains(t, err, want, bad)
	}
	_, err := ParsePolicy("quorum none\n")
	require.ErrorContains(t, err, "names no log")
	path := filepath.Join(t.TempDir(), "policy")
	_, err = LoadPolicy(path)
	require.ErrorIs(t, err, os.ErrNotExist)
	require.NoError(t, os.WriteFile(path, []byte(text+"quorum two\n"), 0o600))
	_, err = LoadPolicy(path)
	require.NoError(t, err)
}

func FuzzServer(f *testing.F) {
	f.Add("old 0\n\nexample.com/log\n1\nAAAA\n\n— a b\n")
	f.Add("old 12\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n\nx\n13\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n\n— a b\n")
	f.Fuzz(func(t *testing.T, body string) {
		r, err := parseRequest([]byte(body))
		if err == nil {
			require.NotEmpty(t, r.cp.Origin)
			require.True(t, strings.HasPrefix(string(r.msg), r.cp.Text))
		}
		_, _ = ParsePolicy(body)
	})
}
