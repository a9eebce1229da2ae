package freeport_test

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/claudeaudit/claudeaudit/internal/freeport"
)

// asChild names the variable with which the test's own binary prints as many
// addresses as a process keeps, and stays until its input ends.
const asChild = "FREEPORT_TEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(asChild) == "" {
		os.Exit(m.Run())
	}
	for range freeport.Kept {
		addr, err := freeport.Addr()
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println(addr)
	}
	_, _ = os.Stdin.Read(make([]byte, 1))
}

func TestAddr(t *testing.T) {
	for range 20 {
		addr, err := freeport.Addr()
		require.NoError(t, err)
		host, port, err := net.SplitHostPort(addr)
		require.NoError(t, err)
		require.Equal(t, "127.0.0.1", host)
		n, err := strconv.Atoi(port)
		require.NoError(t, err)
		require.Less(t, n, 32_768, "the first port that Linux gives to clients")
		l, err := net.Listen("tcp", addr)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, l.Close()) })
	}
}

// TestNoAddressTwice asks for as many addresses as two processes keep. Drawn by
// chance alone, 31 of these pairs would be the same port.
func TestNoAddressTwice(t *testing.T) {
	given := map[string]bool{}
	for range 2 {
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), asChild+"=1")
		child.Stderr = os.Stderr
		stdin, err := child.StdinPipe()
		require.NoError(t, err)
		stdout, err := child.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, child.Start())
		t.Cleanup(func() {
			require.NoError(t, stdin.Close())
			require.NoError(t, child.Wait())
		})
		lines := bufio.NewScanner(stdout)
		for range freeport.Kept {
			require.True(t, lines.Scan(), "the child ended: %v", lines.Err())
			require.False(t, given[lines.Text()], "%s again", lines.Text())
			given[lines.Text()] = true
		}
	}
}

// TestAddressesComeBack asks for more addresses than there are ports.
func TestAddressesComeBack(t *testing.T) {
	for range 20_000 {
		_, err := freeport.Addr()
		require.NoError(t, err)
	}
}
