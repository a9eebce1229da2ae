package freeport_test

import (
	"net"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/claudeaudit/claudeaudit/internal/freeport"
)

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
