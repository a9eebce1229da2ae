// Package buckettest has what tests of stores need: real S3 servers with
// Object Lock, emulators and doubles of the others, a proxy that fails on
// demand, and the suite that every store passes.
package buckettest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/claudeaudit/claudeaudit/internal/bucket"
	"github.com/claudeaudit/claudeaudit/internal/freeport"
)

// What is installed, by the ordinary clients of Go and npm. They are not
// dependencies: each is built once, in a folder of the user's cache.
const (
	versityGW     = "github.com/versity/versitygw/cmd/versitygw@v1.8.0"
	minIO         = "github.com/minio/minio@v0.0.0-20260212201848-7aac2a2c5b7c"
	fakeGCS       = "github.com/fsouza/fake-gcs-server@v1.56.1"
	azurite       = "azurite@3.37.0"
	startPatience = 60 * time.Second
)

// Access keys of the servers' owner.
const (
	RootKey    = "testaccess"
	RootSecret = "testsecret"
	region     = "us-east-1"
)

// home is where servers are installed: $OBJECTSTORE_HOME, or objectstore in the
// user's cache folder.
func home() (string, error) {
	if h := os.Getenv("OBJECTSTORE_HOME"); h != "" {
		return h, nil
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(cache, "objectstore"), nil
}

// Unavailable skips the test, or fails it when real parts are required.
func Unavailable(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv("CLAUDEAUDIT_E2E") == "required" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

var installing sync.Mutex

// Tool returns the path of a Go program that a test checks ours against, given as package@version.
func Tool(t testing.TB, module string) string {
	t.Helper()
	return installed(t, module)
}

// installed returns a program's path, building it at the first use where that
// is required, for it takes minutes.
func installed(t testing.TB, module string) string {
	t.Helper()
	path, version, _ := strings.Cut(module, "@")
	name := filepath.Base(path)
	dir, err := home()
	if err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(dir, "bin", name+"-"+version)
	installing.Lock()
	defer installing.Unlock()
	if _, err := os.Stat(bin); err == nil {
		return bin
	}
	if os.Getenv("CLAUDEAUDIT_E2E") != "required" {
		t.Skipf("%s is not installed (CLAUDEAUDIT_E2E=required installs it: go install %s, as %s)", name, module, bin)
	}
	t.Logf("building %s, once; this takes minutes", module)
	if err := os.MkdirAll(filepath.Dir(bin), 0o755); err != nil {
		t.Fatal(err)
	}
	tmp, err := os.MkdirTemp(dir, "build.")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(tmp)
	cmd := exec.Command("go", "install", "-ldflags=-s -w", module)
	cmd.Dir = tmp
	cmd.Env = append(os.Environ(), "GOBIN="+tmp, "GOFLAGS=", "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go install %s: %v\n%s", module, err, out)
	}
	if err := os.Rename(filepath.Join(tmp, name), bin); err != nil {
		t.Fatal(err)
	}
	return bin
}

// installedAzurite returns the path of Azurite's program.
func installedAzurite(t testing.TB) string {
	t.Helper()
	if _, err := exec.LookPath("node"); err != nil {
		Unavailable(t, "Azurite needs Node.js: %v", err)
	}
	dir, err := home()
	if err != nil {
		t.Fatal(err)
	}
	dir = filepath.Join(dir, strings.Replace(azurite, "@", "-", 1))
	js := filepath.Join(dir, "node_modules", "azurite", "dist", "src", "blob", "main.js")
	installing.Lock()
	defer installing.Unlock()
	if _, err := os.Stat(js); err == nil {
		return js
	}
	if os.Getenv("CLAUDEAUDIT_E2E") != "required" {
		t.Skipf("Azurite is not installed (CLAUDEAUDIT_E2E=required installs it: npm install --prefix %s %s)", dir, azurite)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "package.json"), []byte(`{"private":true}`), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("npm", "install", "--prefix", dir, "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error", azurite)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("npm install %s: %v\n%s", azurite, err, out)
	}
	return js
}

// Server is a program that was started for a test, on a port of its own.
type Server struct {
	URL  string
	Data string // its folder

	t      testing.TB
	name   string
	health string
	start  func(addr string) *exec.Cmd
	addr   string
	cmd    *exec.Cmd
	done   chan error
}

func startServer(t testing.TB, name, health string, start func(addr string) *exec.Cmd) *Server {
	t.Helper()
	addr, err := freeport.Addr()
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{URL: "http://" + addr, t: t, name: name, health: health, start: start, addr: addr}
	s.Start()
	t.Cleanup(s.Kill)
	return s
}

// Start starts the program again, after Kill, with the same data and address.
func (s *Server) Start() {
	s.t.Helper()
	s.cmd = s.start(s.addr)
	log, err := os.CreateTemp(s.t.TempDir(), s.name+".log")
	if err != nil {
		s.t.Fatal(err)
	}
	defer log.Close()
	s.cmd.Stdout, s.cmd.Stderr = log, log
	if err := s.cmd.Start(); err != nil {
		s.t.Fatalf("start %s: %v", s.name, err)
	}
	s.done = make(chan error, 1)
	go func(cmd *exec.Cmd, done chan<- error) { done <- cmd.Wait() }(s.cmd, s.done)
	client := http.Client{Timeout: time.Second}
	defer client.CloseIdleConnections()
	for deadline := time.Now().Add(startPatience); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		select {
		case err := <-s.done:
			out, _ := os.ReadFile(log.Name())
			s.t.Fatalf("%s ended: %v\n%s", s.name, err, out)
		default:
		}
		if resp, err := client.Get(s.URL + s.health); err == nil {
			resp.Body.Close()
			return
		}
	}
	s.t.Fatalf("%s did not answer within %v", s.name, startPatience)
}

// Kill ends the program with SIGKILL.
func (s *Server) Kill() {
	if s.cmd == nil {
		return
	}
	if err := s.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		s.t.Errorf("kill %s: %v", s.name, err)
	}
	<-s.done
	s.cmd = nil
}

// StartVersityGW starts a real S3 server with Object Lock. It keeps objects as
// plain files under Data/objects.
func StartVersityGW(t testing.TB) *Server {
	t.Helper()
	bin := installed(t, versityGW)
	data := t.TempDir()
	for _, d := range []string{"objects", "versions", "iam"} {
		if err := os.MkdirAll(filepath.Join(data, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	s := startServer(t, "versitygw", "/health", func(addr string) *exec.Cmd {
		cmd := exec.Command(bin, "--port", addr, "--quiet", "--health", "/health", "--iam-dir", filepath.Join(data, "iam"), "--iam-cache-ttl", "1",
			"posix", "--versioning-dir", filepath.Join(data, "versions"), filepath.Join(data, "objects"))
		cmd.Env = append(os.Environ(), "ROOT_ACCESS_KEY="+RootKey, "ROOT_SECRET_KEY="+RootSecret)
		return cmd
	})
	s.Data = data
	return s
}

// CreateUser adds a VersityGW user without any right.
func (s *Server) CreateUser(key, secret string) {
	s.t.Helper()
	cmd := exec.Command(installed(s.t, versityGW), "admin", "--access", RootKey, "--secret", RootSecret, "--endpoint-url", s.URL,
		"create-user", "--access", key, "--secret", secret, "--role", "user")
	if out, err := cmd.CombinedOutput(); err != nil {
		s.t.Fatalf("versitygw admin create-user: %v\n%s", err, out)
	}
}

// AssumeRole makes credentials of MinIO that a policy restricts, and puts them into the
// environment, where the standard chain finds them.
func (s *Server) AssumeRole(t *testing.T, policy string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	client := sts.New(sts.Options{
		BaseEndpoint: &s.URL, Region: region, Credentials: credentials.NewStaticCredentialsProvider(RootKey, RootSecret, ""),
		HTTPClient: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}},
	})
	var out *sts.AssumeRoleOutput
	for {
		var err error
		out, err = client.AssumeRole(ctx, &sts.AssumeRoleInput{
			RoleArn: aws.String("arn:xxx:xxx:xxx:xxxx"), RoleSessionName: aws.String("writer"), Policy: &policy, DurationSeconds: aws.Int32(3600),
		})
		if err == nil {
			break
		}
		// It is healthy before it knows its users.
		if !strings.Contains(err.Error(), "Server not initialized") {
			t.Fatalf("assume a role: %v", err)
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Setenv("AWS_ACCESS_KEY_ID", *out.Credentials.AccessKeyId)
	t.Setenv("AWS_SECRET_ACCESS_KEY", *out.Credentials.SecretAccessKey)
	t.Setenv("AWS_SESSION_TOKEN", *out.Credentials.SessionToken)
}

// StartMinIO starts another real S3 server with Object Lock.
func StartMinIO(t testing.TB) *Server {
	t.Helper()
	bin := installed(t, minIO)
	data := t.TempDir()
	s := startServer(t, "minio", "/minio/health/live", func(addr string) *exec.Cmd {
		cmd := exec.Command(bin, "server", "--quiet", "--anonymous", "--address", addr, "--console-address", "127.0.0.1:0", data)
		cmd.Env = append(os.Environ(), "MINIO_ROOT_USER="+RootKey, "MINIO_ROOT_PASSWORD="+RootSecret, "MINIO_UPDATE=off", "MINIO_BROWSER=off")
		return cmd
	})
	s.Data = data
	return s
}

// StartAzurite starts the blob emulator, which accepts locks and ignores them.
func StartAzurite(t testing.TB) *Server {
	t.Helper()
	js := installedAzurite(t)
	data := t.TempDir()
	s := startServer(t, "azurite", "/", func(addr string) *exec.Cmd {
		host, port, _ := strings.Cut(addr, ":")
		return exec.Command("node", js, "--blobHost", host, "--blobPort", port, "--location", data, "--silent", "--disableTelemetry", "--skipApiVersionCheck")
	})
	s.Data = data
	return s
}

// StartFakeGCS starts the emulator of Google's store, which keeps locks and
// doesn't enforce them.
func StartFakeGCS(t testing.TB) *Server {
	t.Helper()
	bin := installed(t, fakeGCS)
	return startServer(t, "fake-gcs-server", "/_internal/healthcheck", func(addr string) *exec.Cmd {
		host, port, _ := strings.Cut(addr, ":")
		return exec.Command(bin, "-scheme", "http", "-host", host, "-port", port, "-public-host", addr, "-external-url", "http://"+addr,
			"-backend", "memory", "-log-level", "error")
	})
}

// S3Client is a client with the server owner's rights, to set buckets up and to tamper.
func (s *Server) S3Client() *s3.Client {
	return s3.New(s3.Options{
		BaseEndpoint: &s.URL, Region: region, UsePathStyle: true,
		Credentials: credentials.NewStaticCredentialsProvider(RootKey, RootSecret, ""),
		HTTPClient:  &http.Client{Transport: &http.Transport{DisableKeepAlives: true}},
	})
}

// NewS3Bucket makes a bucket with or without object lock.
func (s *Server) NewS3Bucket(name string, lock bool) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	in := &s3.CreateBucketInput{Bucket: &name}
	if lock {
		in.ObjectLockEnabledForBucket = aws.Bool(true)
	}
	if _, err := s.S3Client().CreateBucket(ctx, in); err != nil {
		s.t.Fatalf("create bucket %s: %v", name, err)
	}
}

// SetBucketPolicy lays a policy on a bucket.
func (s *Server) SetBucketPolicy(name, policy string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if _, err := s.S3Client().PutBucketPolicy(ctx, &s3.PutBucketPolicyInput{Bucket: &name, Policy: &policy}); err != nil {
		s.t.Fatalf("put policy of bucket %s: %v", name, err)
	}
}

// S3Config is the configuration of a bucket with the owner's rights, by way of
// an address such as that of a Proxy; "" is the server's own.
func (s *Server) S3Config(name, via string) bucket.Config {
	if via == "" {
		via = s.URL
	}
	return bucket.Config{
		URL: "s3://" + name, Endpoint: via, Region: region, AccessKeyID: RootKey, SecretAccessKey: RootSecret, Timeout: 10 * time.Second,
	}
}

// Open opens a store and closes it at the end of the test.
func Open(t testing.TB, c bucket.Config) bucket.Store {
	t.Helper()
	s, err := bucket.Open(context.Background(), c)
	if err != nil {
		t.Fatalf("open %s: %v", c.URL, err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close %s: %v", c.URL, err)
		}
	})
	return s
}

// WriterPolicy is the bucket policy of an identity that may put locked objects
// and read their locks, and nothing else.
func WriterPolicy(bucketName, user string) string {
	return fmt.Sprintf(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":[%q]},`+
		`"Action":["s3:PutObject","s3:PutObjectRetention","s3:GetObjectRetention"],"Resource":["arn:aws:s3:::%s/*"]}]}`, user, bucketName)
}
