package dlp

import (
	"strings"
	"unicode/utf8"

	"github.com/claudeaudit/claudeaudit/internal/detect"
)

// piece is the text of one request: a segment's text, or a part of it that
// overlaps its neighbours.
type piece struct {
	origin      detect.Origin
	text        string
	part, parts int
	// from and to are the bytes of text whose findings this piece counts: those
	// that begin there. Over the pieces of a segment they cover it once.
	from, to int
}

// cut makes the pieces of a call's texts. Texts of other origins and blank ones
// make none. It says whether text was left out because a call may send no more
// than limit bytes.
func cut(segs []detect.Segment, sends func(detect.Origin) bool, size, overlap, limit int) (pieces []piece, truncated bool) {
	for _, s := range segs {
		if !sends(s.Origin) || strings.TrimSpace(s.Text) == "" {
			continue
		}
		text := s.Text
		if len(text) > limit {
			text, truncated = text[:runeStart(text, limit)], true
		}
		limit -= len(text)
		pieces = appendPieces(pieces, s.Origin, text, size, overlap)
	}
	return pieces, truncated
}

// appendPieces cuts a text into pieces of at most size bytes. Neighbours share
// 2 × overlap bytes around the place where one stops counting and the next
// begins, so that what begins before it and is no longer than overlap ends within
// the first, and what begins after it has as much text before it in the second.
func appendPieces(pieces []piece, origin detect.Origin, text string, size, overlap int) []piece {
	first := len(pieces)
	border := 0 // where the next piece begins to count
	for start := 0; start < len(text); {
		end := len(text)
		if end-start > size {
			end = runeStart(text, start+size)
		}
		p := piece{origin: origin, text: text[start:end], from: border - start, to: end - start}
		start = end
		if end < len(text) {
			border = runeStart(text, end-overlap)
			p.to -= end - border
			start = runeStart(text, border-overlap)
		}
		pieces = append(pieces, p)
	}
	for i := range pieces[first:] {
		pieces[first+i].part, pieces[first+i].parts = i, len(pieces)-first
	}
	return pieces
}

// runeStart is the last beginning of a character at or before i.
func runeStart(s string, i int) int {
	if i <= 0 {
		return 0
	}
	for k := i; k > i-utf8.UTFMax && k > 0; k-- {
		if k == len(s) || utf8.RuneStart(s[k]) {
			return k
		}
	}
	return i
}
