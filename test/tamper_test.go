package e2e

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"

	"github.com/claudeaudit/claudeaudit/internal/otlpclient"
)

// evidence is a copy of a data folder that a test may damage.
type evidence struct {
	t    *testing.T
	data string
	orig string // the folder it was copied from
}

func copyEvidence(t *testing.T, orig string) evidence {
	t.Helper()
	e := evidence{t: t, data: filepath.Join(t.TempDir(), "audit-data"), orig: orig}
	e.restore()
	return e
}

// restore makes the copy as the original again.
func (e evidence) restore() {
	e.t.Helper()
	require.NoError(e.t, os.RemoveAll(e.data))
	require.NoError(e.t, filepath.WalkDir(e.orig, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(e.orig, path)
		if err != nil {
			return err
		}
		target := filepath.Join(e.data, rel)
		switch {
		case d.IsDir():
			return os.MkdirAll(target, 0o700)
		case d.Type().IsRegular():
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			return os.WriteFile(target, data, 0o600)
		default:
			return nil
		}
	}))
}

func (e evidence) verify(args ...string) result {
	e.t.Helper()
	from := time.Now()
	got := claudeaudit(e.t, append([]string{"verify", "--data", e.data}, args...)...)
	require.Less(e.t, time.Since(from), 30*time.Second, "verify took too long")
	return got
}

// files gives the files of a ledger whose path contains part, in order.
func (e evidence) files(ledger, part string) []string {
	e.t.Helper()
	var out []string
	require.NoError(e.t, filepath.WalkDir(filepath.Join(e.data, ledger), func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && strings.Contains(filepath.ToSlash(path), part) {
			out = append(out, path)
		}
		return err
	}))
	slices.Sort(out)
	require.NotEmpty(e.t, out, "no file with %q in its path", part)
	return out
}

// The ledgers of a data folder: of the calls, and of holds and erasures.
const (
	callsLedger = "ledger"
	adminLedger = "admin/ledger"
)

func (e evidence) segments() []string         { return e.files(callsLedger, "/seg/") }
func (e evidence) containers() []string       { return e.files(callsLedger, "/cnt/") }
func (e evidence) checkpoints() []string      { return e.files(callsLedger, "/cp/") }
func (e evidence) adminSegments() []string    { return e.files(adminLedger, "/seg/") }
func (e evidence) adminCheckpoints() []string { return e.files(adminLedger, "/cp/") }

func (e evidence) read(path string) []byte {
	e.t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(e.t, err)
	return data
}

func (e evidence) write(path string, data []byte) {
	e.t.Helper()
	require.NoError(e.t, os.WriteFile(path, data, 0o600))
}

func (e evidence) flip(path string, at int) {
	e.t.Helper()
	data := e.read(path)
	data[at] ^= 1
	e.write(path, data)
}

// editLines changes the lines inside of a segment and packs them again.
func (e evidence) editLines(path string, edit func(lines [][]byte) [][]byte) {
	e.t.Helper()
	decoder, err := zstd.NewReader(nil)
	require.NoError(e.t, err)
	defer decoder.Close()
	text, err := decoder.DecodeAll(e.read(path), nil)
	require.NoError(e.t, err)
	lines := bytes.SplitAfter(text, []byte("\n"))
	if len(lines[len(lines)-1]) == 0 {
		lines = lines[:len(lines)-1]
	}
	require.Greater(e.t, len(lines), 5, "a segment too small to be edited")
	encoder, err := zstd.NewWriter(nil)
	require.NoError(e.t, err)
	defer encoder.Close()
	e.write(path, encoder.EncodeAll(bytes.Join(edit(lines), nil), nil))
}

func middle(files []string) string { return files[len(files)/2] }

// tampered makes a ledger of several segments, stops the collector, and gives
// its data folder, with a log of holds. early is a copy as it was halfway.
func sealedLedger(t *testing.T) (data, early string) {
	t.Helper()
	c := newCollector(t, "local.yaml", smallSegments)
	holds := 0
	half := func(n int) {
		c.start()
		client := c.client()
		for i := range n {
			calls := []call{newCall("tamper", fmt.Sprint("prompt ", i)), newCall("tamper", fmt.Sprint("another ", i))}
			require.NoError(t, client.Send(t.Context(), traces(calls...), otlpclient.Transports[i%3]))
		}
		c.stop()
		for range 2 {
			holds++
			mustRun(t, "hold", "add", "--data", c.data, "--matter", fmt.Sprint(holds), "--by", "legal@example.org", "--user", fmt.Sprint("nobody ", holds))
		}
	}
	half(60)
	halfway := copyEvidence(t, c.data)
	half(60)
	c.verify()
	return c.data, halfway.data
}

// Whatever is done to the stored ledger, verify says so, names a place and
// exits 1; with the damage repaired it exits 0 again.
func TestTampering(t *testing.T) {
	data, early := sealedLedger(t)
	otherKeys := t.TempDir()
	mustRun(t, "keygen", "--data", otherKeys)

	for name, tc := range map[string]struct {
		damage func(e evidence)
		args   []string
		// where is a part of the path of the damaged file that verify has to name, "" for damage that has no place
		where string
	}{
		"a bit flipped in a segment": {damage: func(e evidence) { p := middle(e.segments()); e.flip(p, len(e.read(p))/2) }, where: "seg/"},
		"a bit flipped at the start": {damage: func(e evidence) { e.flip(e.segments()[0], 0) }, where: "seg/"},
		"a bit flipped at the end":   {damage: func(e evidence) { p := middle(e.segments()); e.flip(p, len(e.read(p))-1) }, where: "seg/"},
		"a line changed": {damage: func(e evidence) {
			e.editLines(middle(e.segments()), func(lines [][]byte) [][]byte {
				lines[2] = bytes.Replace(lines[2], []byte("tamper"), []byte("nobody"), 1)
				return lines
			})
		}, where: "seg/"},
		"a line removed": {damage: func(e evidence) {
			e.editLines(middle(e.segments()), func(lines [][]byte) [][]byte { return slices.Delete(lines, 2, 3) })
		}, where: "seg/"},
		"a line doubled": {damage: func(e evidence) {
			e.editLines(middle(e.segments()), func(lines [][]byte) [][]byte { return slices.Insert(lines, 3, lines[2]) })
		}, where: "seg/"},
		"two lines swapped": {damage: func(e evidence) {
			e.editLines(middle(e.segments()), func(lines [][]byte) [][]byte {
				lines[1], lines[2] = lines[2], lines[1]
				return lines
			})
		}, where: "seg/"},
		"lines reversed": {damage: func(e evidence) {
			e.editLines(middle(e.segments()), func(lines [][]byte) [][]byte { slices.Reverse(lines); return lines })
		}, where: "seg/"},
		"the last line cut off": {damage: func(e evidence) {
			e.editLines(e.segments()[len(e.segments())-1], func(lines [][]byte) [][]byte { return lines[:len(lines)-1] })
		}, where: "seg/"},
		"a segment removed":              {damage: func(e evidence) { e.remove(middle(e.segments())) }},
		"the first one removed":          {damage: func(e evidence) { e.remove(e.segments()[0]) }},
		"the last one removed":           {damage: func(e evidence) { e.remove(e.segments()[len(e.segments())-1]) }},
		"two segments swapped":           {damage: func(e evidence) { e.swap(e.segments()[1], e.segments()[2]) }, where: "seg/"},
		"a segment doubled":              {damage: func(e evidence) { p := middle(e.segments()); e.write(p+".copy.ndjson.zst", e.read(p)) }},
		"a segment renamed":              {damage: func(e evidence) { p := middle(e.segments()); require.NoError(e.t, os.Rename(p, renamed(p))) }},
		"a segment cut":                  {damage: func(e evidence) { p := middle(e.segments()); e.write(p, e.read(p)[:len(e.read(p))/2]) }, where: "seg/"},
		"an empty segment":               {damage: func(e evidence) { e.write(middle(e.segments()), nil) }, where: "seg/"},
		"a segment of zeros":             {damage: func(e evidence) { p := middle(e.segments()); e.write(p, make([]byte, len(e.read(p)))) }, where: "seg/"},
		"garbage behind":                 {damage: func(e evidence) { p := middle(e.segments()); e.write(p, append(e.read(p), "garbage"...)) }, where: "seg/"},
		"a bit flipped in the content":   {damage: func(e evidence) { p := middle(e.containers()); e.flip(p, len(e.read(p))/2) }},
		"content removed":                {damage: func(e evidence) { e.remove(middle(e.containers())) }},
		"a checkpoint changed":           {damage: func(e evidence) { p := middle(e.checkpoints()); e.flip(p, len(e.read(p))/2) }},
		"a signature changed":            {damage: func(e evidence) { p := middle(e.checkpoints()); e.flip(p, len(e.read(p))-8) }},
		"an old checkpoint for the last": {damage: func(e evidence) { c := e.checkpoints(); e.write(c[len(c)-1], e.read(c[0])) }},
		"the whole ledger set back":      {damage: func(e evidence) { e.setBack(early, callsLedger) }},
		"a bit flipped in the log of holds": {
			damage: func(e evidence) { p := middle(e.adminSegments()); e.flip(p, len(e.read(p))/2) }, where: adminLedger + "/store/v1/",
		},
		"a segment of the log of holds removed": {
			damage: func(e evidence) { e.remove(middle(e.adminSegments())) }, where: "log of holds and erasures: entries",
		},
		"the last one of the log of holds removed": {
			damage: func(e evidence) { s := e.adminSegments(); e.remove(s[len(s)-1]) }, where: "log of holds and erasures: ",
		},
		"two segments of the log of holds swapped": {
			damage: func(e evidence) { s := e.adminSegments(); e.swap(s[0], s[1]) }, where: adminLedger + "/store/v1/",
		},
		"a checkpoint of the log of holds changed": {
			damage: func(e evidence) { p := middle(e.adminCheckpoints()); e.flip(p, len(e.read(p))/2) }, where: adminLedger + "/store/v1/",
		},
		"the log of holds set back": {
			damage: func(e evidence) { e.setBack(early, adminLedger) }, where: "log of holds and erasures: ",
		},
		"the log of holds damaged, with the index": {
			damage: func(e evidence) { p := middle(e.adminSegments()); e.flip(p, len(e.read(p))/2) }, args: []string{"--index"}, where: adminLedger + "/store/v1/",
		},
		"another key": {damage: func(evidence) {}, args: []string{"--public-key", filepath.Join(otherKeys, "keys", "checkpoint.pub")}},
	} {
		t.Run(name, func(t *testing.T) {
			e := copyEvidence(t, data)
			require.Zero(t, e.verify().code, "the copy does not verify before the damage")
			tc.damage(e)
			got := e.verify(tc.args...)
			require.Equal(t, 1, got.code, "%s", got)
			said := got.stdout + got.stderr
			require.NotEmpty(t, said)
			require.Contains(t, filepath.ToSlash(said), tc.where)
			got = e.verify(append(slices.Clone(tc.args), "--format", "json")...)
			require.Equal(t, 1, got.code, "%s", got)
			require.NotEmpty(t, decodeRecords(t, got.stdout))

			e.restore()
			got = e.verify()
			require.Zero(t, got.code, "after the repair: %s", got)
		})
	}

	t.Run("what could not be checked exits 2", func(t *testing.T) {
		got := claudeaudit(t, "verify", "--data", filepath.Join(t.TempDir(), "nothing here"))
		require.Equal(t, 2, got.code, "%s", got)
		got = claudeaudit(t, "verify", "--no-such-flag")
		require.Equal(t, 2, got.code, "%s", got)
	})
}

// The open end of the ledger, after a kill: damage there is told as well, where
// it is not the torn tail that a crash leaves.
func TestTamperingWithTheOpenEnd(t *testing.T) {
	c := newCollector(t, "local.yaml", nil)
	c.start()
	client := c.client()
	for i := range 20 {
		require.NoError(t, client.Send(t.Context(), traces(newCall("wal", fmt.Sprint(i))), otlpclient.HTTPProtobuf))
	}
	c.kill()
	c.verify()

	for name, damage := range map[string]func(e evidence, wal string){
		"a bit flipped": func(e evidence, wal string) { e.flip(wal, len(e.read(wal))/3) },
		"zeros":         func(e evidence, wal string) { e.write(wal, append(make([]byte, 100), e.read(wal)[100:]...)) },
	} {
		t.Run(name, func(t *testing.T) {
			e := copyEvidence(t, c.data)
			wal := largest(t, e.files(callsLedger, "/wal/"))
			damage(e, wal)
			got := e.verify()
			require.Equal(t, 1, got.code, "%s", got)
			e.restore()
			require.Zero(t, e.verify().code)
		})
	}
}

func (e evidence) remove(path string) {
	e.t.Helper()
	require.NoError(e.t, os.Remove(path))
}

func (e evidence) swap(a, b string) {
	e.t.Helper()
	dataA, dataB := e.read(a), e.read(b)
	e.write(a, dataB)
	e.write(b, dataA)
}

// setBack replaces a folder of the evidence with an earlier state of it.
func (e evidence) setBack(early, folder string) {
	e.t.Helper()
	require.NoError(e.t, os.RemoveAll(filepath.Join(e.data, folder)))
	require.NoError(e.t, os.CopyFS(filepath.Join(e.data, folder), os.DirFS(filepath.Join(early, folder))))
}

// renamed gives a segment another root in its name.
func renamed(path string) string {
	base := filepath.Base(path)
	dot := strings.IndexByte(base, '.')
	last := byte('0')
	if base[dot-1] == '0' {
		last = '1'
	}
	return filepath.Join(filepath.Dir(path), base[:dot-1]+string(last)+base[dot:])
}

func largest(t *testing.T, files []string) string {
	t.Helper()
	var path string
	size := int64(-1)
	for _, file := range files {
		info, err := os.Stat(file)
		require.NoError(t, err)
		if info.Size() > size {
			path, size = file, info.Size()
		}
	}
	return path
}
