package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/claudeaudit/claudeaudit/internal/freeport"
)

func TestNoCollectorIsSaidClearly(t *testing.T) {
	addr, err := freeport.Addr()
	require.NoError(t, err)

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
