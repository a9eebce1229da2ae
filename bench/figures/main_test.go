package main

import (
	"bytes"
	"strings"
	"testing"
)

const output = `goos: linux
BenchmarkOurs/4KB-2         	 100	  200 ns/op	  300.0 MB/s	  10 B/op
BenchmarkOurs/4KB-2         	 100	  200 ns/op	  100.0 MB/s	  10 B/op
BenchmarkOurs/4KB-2         	 100	  200 ns/op	  200.0 MB/s	  10 B/op
BenchmarkBase/4KB           	 100	  200 ns/op	  400.0 MB/s
PASS
`

func TestFigures(t *testing.T) {
	for name, tc := range map[string]struct {
		in      string
		figure  figure
		want    string
		wantErr string
	}{
		"a ratio of medians": {
			in: output, figure: figure{what: "w", bench: "Ours/4KB", unit: "MB/s", base: "Base/4KB", reach: 0.5, form: percent},
			want: "w     200 MB/s  400 MB/s  50 %   ≥ 50 %",
		},
		"one that was missed": {
			in: output, figure: figure{what: "w", bench: "Ours/4KB", unit: "MB/s", base: "Base/4KB", reach: 2, form: times},
			want: "w     200 MB/s  400 MB/s  0.5×   ≥ 2×      missed",
		},
		"an upper bound": {
			in: output, figure: figure{what: "w", bench: "Ours/4KB", unit: "ns/op", reach: 100, most: true, form: plain},
			want: "w     200 ns/op  -     200    ≤ 100     missed",
		},
		"not measured": {
			in: output, figure: figure{what: "w", bench: "None", unit: "MB/s"}, wantErr: "not measured: None (MB/s)",
		},
		"not measured, as it may be": {
			in: output, figure: figure{what: "w", bench: "Ours/4KB", unit: "MB/s", base: "None", may: true}, want: "w     not measured",
		},
		"failed": {in: output + "FAIL\n", wantErr: "a benchmark failed"},
	} {
		t.Run(name, func(t *testing.T) {
			m, err := read(strings.NewReader(tc.in))
			var out bytes.Buffer
			if err == nil {
				err = m.print(&out, []figure{tc.figure})
			}
			if tc.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tc.wantErr) {
					t.Fatalf("error %v, want %q", err, tc.wantErr)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			lines := strings.Split(strings.TrimSpace(out.String()), "\n")
			if got := strings.TrimRight(lines[1], " "); got != tc.want {
				t.Errorf("got  %q\nwant %q", got, tc.want)
			}
		})
	}
}
