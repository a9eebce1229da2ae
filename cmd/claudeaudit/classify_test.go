package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func runDetect(t *testing.T, in string, args ...string) (code int, out, errs string) {
	t.Helper()
	var o, e bytes.Buffer
	code = run(context.Background(), args, streams{in: strings.NewReader(in), out: &o, err: &e})
	return code, o.String(), e.String()
}

func TestClassify(t *testing.T) {
	const in = `{"id":"a","text":"hello"}

{"id":7,"text":"카드 4111 1111 1111 1111"}
{"id":null,"text":"key ghp_aoe6drsbavq8wevxn3ndq198l0ymjp1m5gc0","origin":"output"}
`
	code, out, errs := runDetect(t, in, "classify", "--default", "public")
	require.Equal(t, exitOK, code, errs)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	require.Len(t, lines, 3)
	require.JSONEq(t, `{"id":"a","classification":"PUBLIC","basis":"","flags":[],"types":[],"spans":[]}`, lines[0])
	require.JSONEq(t, `{"id":7,"classification":"RESTRICTED","basis":"restricted.payment:personal.card","flags":[],"types":["credit_card"],
		"spans":[{"start":7,"end":26,"type":"credit_card","rule":"personal.card"}]}`, lines[1])
	var last classifyOutput
	require.NoError(t, json.Unmarshal([]byte(lines[2]), &last))
	require.Equal(t, []string{"output.secret"}, last.Flags)
	require.NotContains(t, out, "ghp_")
}

func TestClassifyErrors(t *testing.T) {
	tests := map[string]struct{ in, want string }{
		"no json":   {"{\"id\":1,\"text\":\"x\"}\n4111 1111 1111 1111\n", "line 2 of the input: not a JSON object"},
		"no text":   {`{"id":1}`, `line 1 of the input: has no "text"`},
		"no origin": {`{"id":1,"text":"x","origin":"me"}`, "origin is not user"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			code, _, errs := runDetect(t, tt.in, "classify")
			require.Equal(t, exitFailed, code)
			require.Contains(t, errs, tt.want)
			require.NotContains(t, errs, "4111")
		})
	}
}

func TestRulesCommands(t *testing.T) {
	code, out, errs := runDetect(t, "", "rules", "test")
	require.Equal(t, exitOK, code, errs)
	require.Contains(t, out, ", 0 failed")

	code, out, _ = runDetect(t, "", "rules", "list", "--type", "iban")
	require.Equal(t, exitOK, code)
	require.Contains(t, out, "personal.iban")
	require.Equal(t, 2, strings.Count(out, "\n"))

	code, out, _ = runDetect(t, "", "rules", "explain", "personal.iban")
	require.Equal(t, exitOK, code)
	require.Contains(t, out, "RESTRICTED by restricted.payment")
	code, _, _ = runDetect(t, "", "rules", "explain", "no.such")
	require.Equal(t, exitNegative, code)

	own := filepath.Join(t.TempDir(), "own.yaml")
	require.NoError(t, os.WriteFile(own, []byte(`rules:
  - id: own.order
    type: order
    category: business
    pattern: 'ORD-[0-9]{6}'
    keywords: [ord-]
    confidence: high
    examples: {match: [ORD-12345], no_match: [ORD-123456]}
`), 0o600))
	code, out, _ = runDetect(t, "", "rules", "test", own)
	require.Equal(t, exitNegative, code)
	require.Contains(t, out, "own.yaml:2: own.order: must match and doesn't: ORD-12345")
	require.Contains(t, out, "must not match and does: ORD-123456")
	code, _, errs = runDetect(t, "", "rules", "test", own+"x")
	require.Equal(t, exitFailed, code)
	require.Contains(t, errs, "read the rules")
}
