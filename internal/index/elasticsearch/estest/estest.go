// Package estest gives tests a real Elasticsearch.
//
// The server that CLAUDEAUDIT_ELASTICSEARCH names is used when it is set.
// Otherwise one is started on a free port: the first time it is fetched through
// Maven, 0.9 GB, into the user's cache folder, which is done only when
// CLAUDEAUDIT_E2E=required says that the tests must not be skipped. It needs
// Java 17, Maven, curl and flock. The server is a genuine one, unmodified, that
// another product ships with a part of its modules: it lacks lifecycle
// management, ES|QL and the data stream API.
package estest

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	elastic "github.com/elastic/go-elasticsearch/v8"

	"github.com/claudeaudit/claudeaudit/internal/freeport"
)

//go:embed start.sh
var startScript []byte

//go:embed stop.sh
var stopScript []byte

//go:embed pom.xml
var pom []byte

const (
	urlVariable  = "CLAUDEAUDIT_ELASTICSEARCH"
	startTimeout = 15 * time.Minute // with the first download
	required     = "required"
)

// Server is a running Elasticsearch.
type Server struct {
	URL string
	// User and Password are those of the superuser, "" without security.
	User, Password string

	scripts string
	port    string
	pid     int
	args    []string
}

// Options of a server of a test's own.
type Options struct {
	Security bool
}

var shared struct {
	once   sync.Once
	server *Server
	err    error
}

// Main runs a package's tests and stops the server that they shared.
func Main(m *testing.M) int {
	code := m.Run()
	if s := shared.server; s != nil && s.scripts != "" {
		if err := s.remove(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	return code
}

// Shared returns the server that all tests of a package share; its tests run
// through Main. A test whose server can't be had is skipped, or fails where it
// is required.
func Shared(tb testing.TB) *Server {
	tb.Helper()
	if testing.Short() {
		tb.Skip("with -short no Elasticsearch is asked")
	}
	shared.once.Do(func() {
		if url := os.Getenv(urlVariable); url != "" {
			shared.server = &Server{URL: url}
			return
		}
		shared.server, shared.err = start(Options{})
	})
	giveUp(tb, shared.err)
	return shared.server
}

// Start starts a server for one test, which may kill it.
func Start(tb testing.TB, o Options) *Server {
	tb.Helper()
	if testing.Short() {
		tb.Skip("with -short no Elasticsearch is started")
	}
	s, err := start(o)
	giveUp(tb, err)
	tb.Cleanup(func() {
		if err := s.remove(); err != nil {
			tb.Error(err)
		}
	})
	return s
}

func giveUp(tb testing.TB, err error) {
	tb.Helper()
	switch {
	case err == nil:
	case os.Getenv("CLAUDEAUDIT_E2E") == required:
		tb.Fatalf("Elasticsearch is required and can't be had: %v", err)
	default:
		tb.Skipf("no Elasticsearch: %v", err)
	}
}

var errNotInstalled = errors.New("it is not installed; CLAUDEAUDIT_E2E=required fetches it")

func start(o Options) (*Server, error) {
	if os.Getenv("CLAUDEAUDIT_E2E") != required && !installed() {
		return nil, errNotInstalled
	}
	dir, err := os.MkdirTemp("", "estest")
	if err != nil {
		return nil, err
	}
	for name, content := range map[string][]byte{"start.sh": startScript, "stop.sh": stopScript, "pom.xml": pom} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o700); err != nil {
			return nil, err
		}
	}
	s := &Server{scripts: dir}
	if o.Security {
		s.args = append(s.args, "--security")
	}
	addr, err := freeport.Addr()
	if err != nil {
		return nil, err
	}
	if _, s.port, err = net.SplitHostPort(addr); err != nil {
		return nil, err
	}
	if err := s.launch(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return s, nil
}

func installed() bool {
	cache := os.Getenv("ES_TEST_CACHE")
	if cache == "" {
		base, err := os.UserCacheDir()
		if err != nil {
			return false
		}
		cache = filepath.Join(base, "elasticsearch-test")
	}
	found, err := filepath.Glob(filepath.Join(cache, "*", "lib", "elasticsearch-*.jar"))
	return err == nil && len(found) > 0
}

func (s *Server) launch(args ...string) error {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", append(append([]string{filepath.Join(s.scripts, "start.sh"), s.port}, s.args...), args...)...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("starting Elasticsearch: %w\n%s", err, errs.String())
	}
	lines := bufio.NewScanner(&out)
	for lines.Scan() {
		key, value, _ := strings.Cut(lines.Text(), "=")
		switch key {
		case "url":
			s.URL = value
		case "pid":
			pid, err := strconv.Atoi(value)
			if err != nil {
				return fmt.Errorf("starting Elasticsearch: its pid: %w", err)
			}
			s.pid = pid
		case "user":
			s.User = value
		case "password":
			s.Password = value
		}
	}
	return lines.Err()
}

// Kill ends the server at once, as a crash does.
func (s *Server) Kill(tb testing.TB) {
	tb.Helper()
	p, err := os.FindProcess(s.pid)
	if err == nil {
		err = p.Signal(syscall.SIGKILL)
	}
	if err != nil {
		tb.Fatalf("killing Elasticsearch: %v", err)
	}
	// The last of its threads lets the port go, which is after the first is dead.
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		conn, err := net.DialTimeout("tcp", net.JoinHostPort("127.0.0.1", s.port), time.Second)
		if err != nil {
			return
		}
		_ = conn.Close() // only to see whether somebody is there
	}
	tb.Fatal("Elasticsearch lives after it was killed")
}

// Restart starts a killed server with its data. It may run beside the test.
func (s *Server) Restart(tb testing.TB) {
	tb.Helper()
	if err := s.launch("--keep"); err != nil {
		tb.Error(err)
	}
}

func (s *Server) remove() error {
	out, err := exec.Command("bash", filepath.Join(s.scripts, "stop.sh"), s.port).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("stopping Elasticsearch: %w\n%s", err, out)
	}
	return errors.Join(err, os.RemoveAll(s.scripts))
}

// Client returns a client of the server's superuser.
func (s *Server) Client(tb testing.TB) *elastic.BaseClient {
	tb.Helper()
	c, err := elastic.NewBaseClient(elastic.Config{
		Addresses: []string{s.URL}, Username: s.User, Password: s.Password, DisableRetry: true,
		CompressRequestBody: true, CompressRequestBodyLevel: 1, PoolCompressor: true,
	})
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

// Prefix returns a name that no other test's indices begin with, and removes
// those that do, and their template, after the test.
func (s *Server) Prefix(tb testing.TB) string {
	tb.Helper()
	var b [6]byte
	if _, err := rand.Read(b[:]); err != nil {
		tb.Fatal(err)
	}
	prefix := "t" + hex.EncodeToString(b[:])
	tb.Cleanup(func() {
		var have struct {
			Indices []struct {
				Name string `json:"name"`
			} `json:"indices"`
		}
		s.Do(tb, http.MethodGet, "/_resolve/index/"+prefix+"*", nil, &have)
		var names []string
		for _, i := range have.Indices {
			if names = append(names, i.Name); len(names) == 50 {
				s.Do(tb, http.MethodDelete, "/"+strings.Join(names, ","), nil, nil)
				names = nil
			}
		}
		if len(names) > 0 {
			s.Do(tb, http.MethodDelete, "/"+strings.Join(names, ","), nil, nil)
		}
		if status, b := s.try(tb, http.MethodDelete, "/_index_template/"+prefix+"*", nil); status > 299 && status != http.StatusNotFound {
			tb.Errorf("removing the test's index template: %d\n%s", status, b)
		}
	})
	return prefix
}

// Do sends a request as the superuser and decodes the answer, which has to be a
// success, into out unless that is nil.
func (s *Server) Do(tb testing.TB, method, path string, body, out any) {
	tb.Helper()
	status, b := s.try(tb, method, path, body)
	if status > 299 {
		tb.Fatalf("%s %s: %d\n%s", method, path, status, b)
	}
	if out != nil {
		if err := json.Unmarshal(b, out); err != nil {
			tb.Fatalf("%s %s: %v\n%s", method, path, err, b)
		}
	}
}

func (s *Server) try(tb testing.TB, method, path string, body any) (int, []byte) {
	tb.Helper()
	var reader io.Reader
	if raw, ok := body.(string); ok {
		reader = strings.NewReader(raw)
	} else if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			tb.Fatal(err)
		}
		reader = bytes.NewReader(b)
	}
	// Not the test's context: cleanups run when that is over.
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, s.URL+path, reader)
	if err != nil {
		tb.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if s.User != "" {
		req.SetBasicAuth(s.User, s.Password)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }() // read to its end
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		tb.Fatal(err)
	}
	return resp.StatusCode, b
}
