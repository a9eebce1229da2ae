package kms

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	awskms "github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/stretchr/testify/require"

	"github.com/claudeaudit/claudeaudit/internal/bucket/buckettest"
	"github.com/claudeaudit/claudeaudit/internal/freeport"
)

const localKMS = "github.com/nsmithuk/local-kms@v0.0.0-20260228092603-2a5e92d09ab6"

// startTransit builds and starts kmstest/transit, where real parts are required, and gives its address.
func startTransit(t *testing.T) string {
	t.Helper()
	if os.Getenv("CLAUDEAUDIT_E2E") != "required" {
		t.Skip("CLAUDEAUDIT_VAULT is not the address of a Vault or OpenBao, with VAULT_TOKEN to it; CLAUDEAUDIT_E2E=required builds the transit engine and tests against that")
	}
	bin := filepath.Join(t.TempDir(), "transit")
	build := exec.Command("go", "build", "-o", bin, ".")
	build.Dir = filepath.Join("kmstest", "transit")
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)
	const token = "hvs.test"
	t.Setenv("VAULT_TOKEN", token)
	cmd := exec.Command(bin, "127.0.0.1:0", token)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	run(t, cmd)
	line, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err)
	return strings.TrimSpace(line)
}

// startLocalKMS starts local-kms, and gives the reference of an RSA key that it made there.
func startLocalKMS(t *testing.T) string {
	t.Helper()
	bin := buckettest.Tool(t, localKMS)
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	addr, err := freeport.Addr()
	require.NoError(t, err)
	_, port, err := net.SplitHostPort(addr)
	require.NoError(t, err)
	cmd := exec.Command(bin)
	cmd.Env = append(os.Environ(), "PORT="+port, "KMS_REGION=eu-central-1", "KMS_ACCOUNT_ID=111122223333", "KMS_DATA_PATH="+t.TempDir(), "KMS_SEED_PATH="+filepath.Join(t.TempDir(), "none"))
	run(t, cmd)
	endpoint := "http://127.0.0.1:" + port
	require.Eventually(t, func() bool {
		c, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err != nil {
			return false
		}
		return c.Close() == nil
	}, time.Minute, 20*time.Millisecond)
	client := awskms.New(awskms.Options{Region: "eu-central-1", BaseEndpoint: &endpoint, Credentials: credentials.NewStaticCredentialsProvider("AKIAEXAMPLE", "secret", "")})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	key, err := client.CreateKey(ctx, &awskms.CreateKeyInput{KeySpec: types.KeySpecRsa2048, KeyUsage: types.KeyUsageTypeEncryptDecrypt})
	require.NoError(t, err)
	return fmt.Sprintf("awskms:///%s?region=eu-central-1&endpoint=%s", aws.ToString(key.KeyMetadata.Arn), endpoint)
}

// run starts a server, and ends it with the test.
func run(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	cmd.Stderr = os.Stderr
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
}

// A real server: the Vault or OpenBao at $CLAUDEAUDIT_VAULT, with $VAULT_TOKEN and its transit
// engine on, or the engine alone, as kmstest/transit serves it. The test makes the keys that it uses.
func TestRealVault(t *testing.T) {
	address := os.Getenv("CLAUDEAUDIT_VAULT")
	if address == "" {
		address = startTransit(t)
	}
	signing := open(t, "hashivault://claudeaudit-test-ed25519?endpoint="+address, Signing)
	decrypting := open(t, "hashivault://claudeaudit-test-rsa?endpoint="+address, Decrypting)
	client := signing.service.(*vaultKey).client.Logical()
	for name, kind := range map[string]string{"claudeaudit-test-ed25519": "ed25519", "claudeaudit-test-rsa": "rsa-2048"} {
		_, err := client.WriteWithContext(t.Context(), "transit/keys/"+name, map[string]any{"type": kind})
		require.NoError(t, err)
	}
	signs(t, signing)
	decrypts(t, decrypting)

	_, err := open(t, "hashivault://claudeaudit-test-none?endpoint="+address, Signing).Public(t.Context())
	require.ErrorIs(t, err, ErrNoKey)
	_, err = open(t, "hashivault://claudeaudit-test-none?endpoint="+address, Signing).Sign(t.Context(), []byte("x"))
	require.Error(t, err)
	_, err = open(t, "hashivault://claudeaudit-test-rsa?endpoint="+address, Signing).Public(t.Context())
	require.ErrorIs(t, err, ErrKind)

	// A key that is rotated goes on under the version that the reference names.
	pinned := open(t, "hashivault://claudeaudit-test-ed25519?version=1&endpoint="+address, Signing)
	signs(t, pinned)
	_, err = client.WriteWithContext(t.Context(), "transit/keys/claudeaudit-test-ed25519/rotate", nil)
	require.NoError(t, err)
	signs(t, pinned)
	signs(t, open(t, "hashivault://claudeaudit-test-ed25519?endpoint="+address, Signing))

	file := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(file, []byte("hvs.wrong\n"), 0o600))
	_, err = open(t, "hashivault://claudeaudit-test-ed25519?token_file="+file+"&endpoint="+address, Signing).Sign(t.Context(), []byte("x"))
	require.ErrorIs(t, err, ErrDenied)
	require.NoError(t, os.WriteFile(file, []byte(os.Getenv("VAULT_TOKEN")+"\n"), 0o600))
	signs(t, open(t, "hashivault://claudeaudit-test-ed25519?version=2&token_file="+file+"&endpoint="+address, Signing))
}

// A server that speaks AWS's protocol and was not written here: local-kms has RSA keys, and none of Ed25519.
func TestLocalKMS(t *testing.T) {
	ref := startLocalKMS(t)
	k := open(t, ref, Decrypting)
	decrypts(t, k)
	_, err := open(t, ref, Signing).Sign(t.Context(), []byte("x"))
	require.Error(t, err)
}
