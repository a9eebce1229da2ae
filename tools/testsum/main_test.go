package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSummary(t *testing.T) {
	for name, tc := range map[string]struct {
		in   string
		want counts
		show string
	}{
		"a test and its subtest": {
			in: `{"Action":"pass","Package":"p","Test":"A/x"}
{"Action":"pass","Package":"p","Test":"A"}
{"Action":"pass","Package":"p","Elapsed":0.1}
`,
			want: counts{passed: 2}, show: "pass  p 0.1s\n",
		},
		"a failure shows its output": {
			in: `{"Action":"output","Package":"p","Test":"A","Output":"    a_test.go:3: no\n"}
{"Action":"fail","Package":"p","Test":"A"}
{"Action":"fail","Package":"p","Elapsed":0}
`,
			want: counts{failed: 1}, show: "    a_test.go:3: no\nfail  p 0.0s\n",
		},
		"a panic counts once and shows the unfinished test": {
			in: `{"Action":"output","Package":"p","Test":"A","Output":"panic: x\n"}
{"Action":"fail","Package":"p","Elapsed":0}
`,
			want: counts{failed: 1}, show: "panic: x\nfail  p 0.0s\n",
		},
		"a package that does not build": {
			in: `{"ImportPath":"p [p.test]","Action":"build-output","Output":"p.go:1: bad\n"}
{"ImportPath":"p [p.test]","Action":"build-fail"}
{"Action":"fail","Package":"p","Elapsed":0}
`,
			want: counts{failed: 1}, show: "p.go:1: bad\nfail  p 0.0s\n",
		},
		"a skip tells its reason": {
			in: `{"Action":"output","Package":"p","Test":"A","Output":"=== RUN   A\n"}
{"Action":"output","Package":"p","Test":"A","Output":"    a_test.go:9: needs root\n"}
{"Action":"output","Package":"p","Test":"A","Output":"--- SKIP: A (0.00s)\n"}
{"Action":"skip","Package":"p","Test":"A"}
{"Action":"pass","Package":"p","Elapsed":0}
`,
			want: counts{skipped: 1}, show: "pass  p 0.0s\nSKIP  p A: a_test.go:9: needs root\n",
		},
		"a package without tests is not shown": {in: `{"Action":"skip","Package":"p","Elapsed":0}` + "\n"},
		"other lines pass through":             {in: "go: downloading x\n", show: "go: downloading x\n"},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			s := newSummary(&out)
			if err := s.read(strings.NewReader(tc.in)); err != nil {
				t.Fatal(err)
			}
			if s.counts != tc.want {
				t.Errorf("counts %+v, want %+v", s.counts, tc.want)
			}
			if out.String() != tc.show {
				t.Errorf("shown %q, want %q", out.String(), tc.show)
			}
		})
	}
}

func TestAppendCounts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "counts")
	for range 2 {
		if err := appendCounts(path, counts{1, 2, 3}); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != "1 2 3\n1 2 3\n" {
		t.Errorf("got %q", got)
	}
}
