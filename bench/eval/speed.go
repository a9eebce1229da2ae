package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"math"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/claudeaudit/claudeaudit/internal/detect"
)

// pieceBytes is the size of a long prompt.
const pieceBytes = 32 << 10

// workload is a set of texts that speed is measured on.
type workload struct {
	name  string
	texts []string
}

func (w workload) bytes() (n int) {
	for _, t := range w.texts {
		n += len(t)
	}
	return n
}

func (e *evaluation) workloads() []workload {
	texts := func(rows []row, keep func(*row) bool) (out []string) {
		for i := range rows {
			if keep(&rows[i]) {
				out = append(out, rows[i].Text)
			}
		}
		return out
	}
	all := func(*row) bool { return true }
	harmless := texts(e.corpus.benign, all)
	return []workload{
		{"harmless prompts, documents and code, joined to 32 KiB", pieces(harmless)},
		{"the same, one by one", harmless},
		{"lines with personal data", texts(e.corpus.personal, all)},
		{"lines with secrets", texts(e.corpus.secrets, all)},
		{"attacks", texts(e.corpus.injection, func(r *row) bool { return r.attack() && plain(r) })},
	}
}

// pieces joins texts and cuts the whole into pieces; what is left over is dropped.
func pieces(texts []string) (out []string) {
	whole := strings.Join(texts, "\n\n")
	for len(whole) >= pieceBytes {
		out = append(out, strings.ToValidUTF8(whole[:pieceBytes], ""))
		whole = whole[pieceBytes:]
	}
	return out
}

// cpu is the time that this process has computed.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err) // cannot be: the arguments are constants
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// rate is the bytes a second of computing of f over the texts: the median of
// five rounds, on one core. It is no number without texts.
func rate(ctx context.Context, w workload, f func(string)) (float64, error) {
	if w.bytes() == 0 {
		return math.NaN(), nil
	}
	const rounds, atLeast = 5, 300 * time.Millisecond
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	var rates []float64
	for round := range rounds + 1 {
		n, from := 0, cpu()
		for cpu()-from < atLeast {
			if err := ctx.Err(); err != nil {
				return 0, err
			}
			for _, t := range w.texts {
				f(t)
			}
			n += w.bytes()
		}
		if round > 0 { // the first warms up
			rates = append(rates, float64(n)/(cpu()-from).Seconds())
		}
	}
	slices.Sort(rates)
	return rates[rounds/2], nil
}

func (e *evaluation) scan(text string) {
	e.engine.Scan([]detect.Segment{{Text: text}}, detect.Scope{}, detect.Options{})
}

func speed(ctx context.Context, e *evaluation) error {
	e.heading("Speed")
	e.text("Bytes a second of computing on one core, with every default rule and nothing remembered of texts seen before; median of five rounds. SHA-256 over the same texts in the same run.")
	var rows [][]string
	for _, w := range e.workloads() {
		if len(w.texts) == 0 {
			continue
		}
		ours, err := rate(ctx, w, e.scan)
		if err != nil {
			return err
		}
		hash, err := rate(ctx, w, func(t string) { sha256.Sum256([]byte(t)) })
		if err != nil {
			return err
		}
		rows = append(rows, []string{w.name, fmt.Sprintf("%d KB", w.bytes()/1000), megabytes(ours), megabytes(hash), fmt.Sprintf("%.3f", ours/hash)})
	}
	e.table([]string{"texts", "size", "engine", "SHA-256", "of SHA-256"}, rows)
	return nil
}

func megabytes(perSecond float64) string {
	if math.IsNaN(perSecond) {
		return "-"
	}
	if perSecond < 1e6 {
		return fmt.Sprintf("%.3f MB/s", perSecond/1e6)
	}
	return fmt.Sprintf("%.1f MB/s", perSecond/1e6)
}
