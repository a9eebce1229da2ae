package ledger

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/claudeaudit/claudeaudit/internal/bucket"
)

func proofEnv(t testing.TB, n int) (*env, *Reader, string) {
	t.Helper()
	e := newEnv(t)
	l := e.open(t, func(o *Options) { o.SegmentEntries = 7 })
	for i := 0; i < n; i += 20 {
		var batch []Entry
		for j := i; j < min(i+20, n); j++ {
			batch = append(batch, testEntry(j))
		}
		_, err := l.Append(t.Context(), batch)
		require.NoError(t, err)
	}
	closeLog(t, l)
	r, err := OpenReader(e.dir)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.Close()) })
	return e, r, l.Origin()
}

func TestProofs(t *testing.T) {
	for _, n := range []int{1, 2, 3, 64, 101} {
		e, r, stream := proofEnv(t, n)
		lines := readStream(t, r, stream)
		for seq := range uint64(n) {
			text, err := Prove(t.Context(), r, stream, seq)
			require.NoError(t, err)
			p, err := CheckProof(text, newKey(t, "x").vkey, e.key.vkey)
			require.NoError(t, err)
			require.Equal(t, lines[seq], string(p.Line))
			require.Equal(t, seq, p.Seq)
			require.Equal(t, Checkpoint{Origin: stream, Size: uint64(n), Root: p.Checkpoint.Root}, p.Checkpoint)
			require.Equal(t, e.key.vkey, p.VerifierKey)
		}
	}
}

// An EntryProver makes the same proofs in one pass, in whatever order they are asked
// for, over blocks that lie in several segments and at the end in part.
func TestProverAgreesWithProve(t *testing.T) {
	for _, n := range []int{1, 255, 256, 257, 1100} {
		_, r, stream := proofEnv(t, n)
		lines := readStream(t, r, stream)
		p, err := r.NewProver(t.Context(), stream)
		require.NoError(t, err)
		for i := range 60 {
			seq := uint64(i*331) % uint64(n)
			want, err := Prove(t.Context(), r, stream, seq)
			require.NoError(t, err)
			got, err := p.Prove(t.Context(), seq, []byte(lines[seq]))
			require.NoError(t, err)
			require.Equal(t, string(want), string(got), "entry %d of %d", seq, n)
		}
		_, err = p.Prove(t.Context(), uint64(n), []byte(lines[0]))
		require.ErrorIs(t, err, ErrNotCovered)
		if n > 1 {
			_, err = p.Prove(t.Context(), 1, []byte(lines[0]))
			require.ErrorIs(t, err, ErrProof, "another entry's line")
		}
	}
}

func TestFindEvent(t *testing.T) {
	_, r, stream := proofEnv(t, 10)
	line, err := r.Entry(t.Context(), stream, 4)
	require.NoError(t, err)
	places, err := r.FindEvent(t.Context(), string(member(line, "event_id")))
	require.NoError(t, err)
	require.Equal(t, []Place{{stream, 4}}, places)
	places, err = r.FindEvent(t.Context(), "00000000-0000-0000-0000-000000000000")
	require.NoError(t, err)
	require.Empty(t, places)
	_, err = r.Entry(t.Context(), stream, 10)
	require.ErrorIs(t, err, bucket.ErrNotFound)
}

func TestProveWithoutACheckpoint(t *testing.T) {
	e := newEnv(t)
	l := e.open(t)
	appendN(t, l, 0, 1)
	r, err := OpenReader(e.dir)
	require.NoError(t, err)
	_, err = Prove(t.Context(), r, l.Origin(), 0)
	require.ErrorIs(t, err, ErrNotCovered)
	p, err := r.NewProver(t.Context(), l.Origin())
	require.NoError(t, err)
	_, err = p.Prove(t.Context(), 0, nil)
	require.ErrorIs(t, err, ErrNotCovered)
	require.NoError(t, r.Close())
	closeLog(t, l)
}

func TestEveryBitOfAProofCounts(t *testing.T) {
	e, r, stream := proofEnv(t, 11)
	text, err := Prove(t.Context(), r, stream, 3)
	require.NoError(t, err)
	for i := range text {
		for bit := range 8 {
			b := bytes.Clone(text)
			b[i] ^= 1 << bit
			_, err := CheckProof(b, e.key.vkey)
			require.ErrorIs(t, err, ErrProof, "byte %d bit %d", i, bit)
		}
	}
	_, err = CheckProof(text)
	require.ErrorIs(t, err, ErrProof)
	_, err = CheckProof(text, newKey(t, "test").vkey)
	require.ErrorIs(t, err, ErrProof)
	_, err = CheckProof(text, "x")
	require.ErrorContains(t, err, "must be name+hash+base64")
}

// tileReader reads an exported folder as an unrelated client would.
type tileReader struct{ dir string }

func (r tileReader) Height() int { return 8 }

func (r tileReader) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	out := make([][]byte, len(tiles))
	for i, t := range tiles {
		// tlog-tiles has no height in the path.
		p := strings.Replace(t.Path(), "tile/8/", "tile/", 1)
		b, err := os.ReadFile(filepath.Join(r.dir, filepath.FromSlash(p)))
		if err != nil {
			return nil, err
		}
		out[i] = b
	}
	return out, nil
}

func (r tileReader) SaveTiles([]tlog.Tile, [][]byte) {}

func TestExportTiles(t *testing.T) {
	for _, n := range []int{1, 256, 600} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			e, r, stream := proofEnv(t, n)
			dir := t.TempDir()
			size, minimum, err := ExportTiles(t.Context(), r, stream, dir)
			require.NoError(t, err)
			require.Equal(t, uint64(n), size)
			require.Zero(t, minimum)

			msg, err := os.ReadFile(filepath.Join(dir, "checkpoint"))
			require.NoError(t, err)
			v, err := note.NewVerifier(e.key.vkey)
			require.NoError(t, err)
			opened, err := note.Open(msg, note.VerifierList(v))
			require.NoError(t, err)
			f := strings.Split(opened.Text, "\n")
			root, err := tlog.ParseHash(f[2])
			require.NoError(t, err)
			tree := tlog.Tree{N: int64(n), Hash: root}
			hashes := tlog.TileHashReader(tree, tileReader{dir})
			lines := readStream(t, r, stream)
			var got []string
			for i := 0; len(got) < n; i++ {
				name := filepath.Join(dir, "tile", "entries", fmt.Sprintf("%03d", i))
				if w := n - len(got); w < tileWidth {
					name += fmt.Sprintf(".p/%d", w)
				}
				b, err := os.ReadFile(name)
				require.NoError(t, err)
				for len(b) > 0 {
					k := int(binary.BigEndian.Uint16(b))
					got = append(got, string(b[2:2+k]))
					b = b[2+k:]
				}
			}
			require.Equal(t, lines, got)
			for _, seq := range []int64{0, int64(n) / 2, int64(n) - 1} {
				p, err := tlog.ProveRecord(int64(n), seq, hashes)
				require.NoError(t, err)
				require.NoError(t, tlog.CheckRecord(p, int64(n), root, seq, tlog.RecordHash([]byte(lines[seq]))))
			}
		})
	}
}

func FuzzProof(f *testing.F) {
	e, r, stream := proofEnv(f, 5)
	text, err := Prove(f.Context(), r, stream, 3)
	require.NoError(f, err)
	f.Add(text)
	f.Add([]byte(proofMagic + "\nextra \nindex 0\n\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := CheckProof(b, e.key.vkey)
		if err != nil {
			require.ErrorIs(t, err, ErrProof)
			return
		}
		require.Equal(t, stream, p.Checkpoint.Origin)
	})
}

func FuzzCheckpoint(f *testing.F) {
	k := newKey(f, "test")
	msg, err := signCheckpoint(f.Context(), Checkpoint{Origin: "a/1", Size: 3}, k.signer)
	require.NoError(f, err)
	v, err := note.NewVerifier(k.vkey)
	require.NoError(f, err)
	claim, err := note.Sign(&note.Note{Text: Claim{Origin: "a/1", VerifierKey: k.vkey, Instance: "i", Created: time.Unix(0, 0).UTC()}.text()}, k.signer)
	require.NoError(f, err)
	_, err = parseClaim(claim)
	require.NoError(f, err)
	f.Add(msg)
	f.Add(claim)
	f.Add([]byte("a\n1\n" + base64.StdEncoding.EncodeToString(make([]byte, 32)) + "\n\n— test AAAA\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, err := ParseCheckpoint(b, note.VerifierList(v)); err == nil {
			require.Equal(t, "a/1", c.Origin)
		}
		if c, err := parseClaim(b); err == nil {
			require.Equal(t, c.text(), string(b[:len(c.text())]))
		}
		_ = readNotes(bytes.NewReader(b), func([]byte, int64) error { return nil })
		_, _ = parseClaimText(string(b))
	})
}

func FuzzSegment(f *testing.F) {
	b := newSegBuilder(7, Hash{1}, time.Unix(1_800_000_000, 0))
	for i := range 3 {
		line := fmt.Appendf(nil, `{"n":%d}`, i)
		b.add(line, leafHash(line))
	}
	b.refs = []contentRef{{line: 1}}
	cb := newCntBuilder("default", nil)
	cb.add(8, []byte("content"))
	cnt, ref := cb.finish(7, b.hour)
	body := b.finish([]containerRef{ref})
	_, err := parseSegment(body)
	require.NoError(f, err)
	f.Add(body)
	f.Add(cnt)
	f.Fuzz(func(t *testing.T, b []byte) {
		fixed := fixSums(b)
		for _, in := range [][]byte{b, fixed} {
			if s, err := parseSegment(in); err == nil {
				_ = s.lines(0, func(i uint32, line []byte) error {
					require.Less(t, i, s.count)
					_, _, _, _ = splitLine(line, linePrefix("a"))
					_, _, _, _ = observation(line)
					contentHashes(line, func([]byte) {})
					return nil
				})
			}
		}
		if at, err := cntIndexAt(b, int64(len(b))); err == nil {
			if c, err := parseContainer(b[at:], at); err == nil {
				for _, it := range c.items {
					_ = b[it.offset : it.offset+it.length]
				}
			}
		}
	})
}

// fixSums makes the checksums fit, so that fuzzing gets behind them.
func fixSums(b []byte) []byte {
	if len(b) < segTail {
		return b
	}
	b = bytes.Clone(b)
	at := len(b) - segTail
	binary.LittleEndian.PutUint32(b[len(b)-8:], checksum(b[:at]))
	binary.LittleEndian.PutUint32(b[len(b)-4:], checksum(b[at:len(b)-4]))
	return b
}

func FuzzWAL(f *testing.F) {
	h := walHeader{Format: walFormat, ID: "0102030405060708", Origin: "a/1", Key: "k", Hour: time.Unix(0, 0).UTC()}
	h.setEdge(edge{}, Hash{})
	head, err := h.encode()
	require.NoError(f, err)
	l := &Log{prefix: linePrefix("a/1"), win: newWindow(10, time.Hour), cur: &batch{}}
	l.opts.hooks.now = time.Now
	_, _, err = l.encode([]Entry{testEntry(0, []byte("c")), testEntry(1)})
	require.NoError(f, err)
	putBatch(l.cur.buf, [8]byte{1, 2, 3, 4, 5, 6, 7, 8}, int64(len(head)), 0, 2)
	whole := append(bytes.Clone(head), l.cur.buf...)
	n := 0
	r, err := newWalReader(bytes.NewReader(whole))
	require.NoError(f, err)
	for {
		if _, err := r.read(); err != nil {
			require.True(f, isEOF(err), "%v", err)
			break
		}
		n++
	}
	require.Equal(f, 2, n)
	f.Add(l.cur.buf, true)
	f.Add(whole, false)
	f.Fuzz(func(t *testing.T, b []byte, body bool) {
		if body { // behind a valid header
			b = append(bytes.Clone(head), b...)
			fixFrames(b[len(head):])
		}
		r, err := newWalReader(bytes.NewReader(b))
		if err != nil {
			return
		}
		for {
			e, err := r.read()
			if err != nil {
				break
			}
			require.Equal(t, len(e.line)+1, len(e.leafed))
			require.LessOrEqual(t, e.end, int64(len(b)))
		}
		_, err = r.followed()
		require.NoError(t, err)
	})
}

func fixFrames(b []byte) {
	for len(b) > frameHead {
		n := int(binary.LittleEndian.Uint32(b))
		if n > len(b)-frameHead {
			return
		}
		binary.LittleEndian.PutUint32(b[4:], frameCRC(b[:frameHead+n]))
		b = b[frameHead+n:]
	}
}
