package main

import (
	"bytes"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNoCollectorIsSaidClearly(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := listener.Addr().String()
	require.NoError(t, listener.Close())

	dir := t.TempDir()
	writeFile(t, dir, "one.otlp.json", `{"resourceSpans":[]}`)
	err = run(t.Context(), &bytes.Buffer{}, options{captures: dir, httpAddr: addr, grpcAddr: addr})
	require.ErrorContains(t, err, "no collector at "+addr)
	require.ErrorContains(t, err, "make run")
}

func TestEmptyFolderIsSaidClearly(t *testing.T) {
	dir := t.TempDir()
	err := run(t.Context(), &bytes.Buffer{}, options{captures: dir})
	require.ErrorContains(t, err, "no *.otlp.json in "+dir)
}

func writeFile(t *testing.T, dir, name, content string) {
	t.Helper()
	require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600))
}
