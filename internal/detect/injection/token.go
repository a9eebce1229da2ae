package injection

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// token is a word, or a word of the vocabulary in a script without spaces.
type token struct {
	start, end int32 // bytes of the text
	class      class
	entry      *entry // nil for words that are too long and those of scripts without spaces
	hash       uint32 // of the folded word, for the model
	sentence   int32  // number of the sentence within the window
	punct      byte   // what stands before it: 0 or the last of .,:;!?"'([{<>-\n and so on
}

func (t token) is(c class) bool { return t.class&c != 0 }

// foldTable maps the letters of Latin scripts to their base, 0 means keep.
var foldTable = func() (t [0x250]byte) {
	for r := rune(0xc0); r < 0x250; r++ {
		d := norm.NFD.String(string(r))
		if d[0] < utf8.RuneSelf {
			t[r] = byte(unicode.ToLower(rune(d[0])))
		}
	}
	return t
}()

// fold lower-cases a word and drops the accents of Latin letters.
func fold(w string) string { return string(appendFold(nil, w)) }

func appendFold(dst []byte, w string) []byte {
	for i := 0; i < len(w); {
		c := w[i]
		if c < utf8.RuneSelf {
			if c >= 'A' && c <= 'Z' {
				c += 'a' - 'A'
			}
			dst = append(dst, c)
			i++
			continue
		}
		r, n := utf8.DecodeRuneInString(w[i:])
		i += n
		switch {
		case r < 0x250 && foldTable[r] != 0:
			dst = append(dst, foldTable[r])
		case r == 'ß':
			dst = append(dst, 's', 's')
		case r == 'ё' || r == 'Ё':
			dst = utf8.AppendRune(dst, 'е')
		case r == '’' || r == 'ʼ':
			dst = append(dst, '\'')
		case r >= 0x300 && r < 0x370: // combining marks
		default:
			dst = utf8.AppendRune(dst, unicode.ToLower(r))
		}
	}
	return dst
}

// unspaced tells scripts that write no spaces between words.
func unspaced(r rune) bool {
	return r >= 0x3040 && r <= 0x30ff || r >= 0x3400 && r <= 0x9fff || r >= 0xf900 && r <= 0xfaff
}

func sortPhrases(list []phrase) {
	slices.SortStableFunc(list, func(a, b phrase) int {
		if len(a.rest) != len(b.rest) {
			return len(b.rest) - len(a.rest)
		}
		return len(b.rest[0]) - len(a.rest[0])
	})
}

const maxWord = 40 // bytes of a word that are looked at

// wordByte tells the ASCII bytes of words. An underscore parts words, as in
// ignore_previous_rules.
var wordByte = func() (t [128]bool) {
	for c := range t {
		t[c] = c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
	}
	return t
}()

// tokenizer turns a window of the text into tokens. It is used for one text.
type tokenizer struct {
	lex  *lexicon
	toks []token
	buf  []byte
}

// window appends the tokens of text[from:to].
func (z *tokenizer) window(text string, from, to int) {
	z.toks = z.toks[:0]
	sentence, punct := int32(0), byte('\n')
	if from > 0 {
		punct = 0
	}
	for i := from; i < to; {
		c := text[i]
		if c < utf8.RuneSelf {
			if !wordByte[c] {
				switch c {
				case ' ', '\t', '\r':
				case '\\':
					// an escape in JSON or code: of a new line, or of what ends none
					if i+1 < to && escaped(text[i+1]) {
						if text[i+1] == 'n' {
							sentence++
						}
						i++
					}
					punct = c
				case '.', '!', '?', ';':
					// a point within a token such as v2.1 ends no sentence
					if i+1 >= to || !(text[i+1] < utf8.RuneSelf && wordByte[text[i+1]]) {
						sentence++
					}
					punct = c
				case '\n':
					// wrapped lines go on: only an empty line or a line that does not begin with a lower-case letter starts anew
					if i+1 >= to || !(text[i+1] >= 'a' && text[i+1] <= 'z') {
						sentence++
					}
					punct = c
				default:
					punct = c
				}
				i++
				continue
			}
			j := i + 1
			for j < to && (text[j] >= utf8.RuneSelf && letterAt(text[j:]) || text[j] < utf8.RuneSelf && (wordByte[text[j]] || inWord(text, j, to))) {
				if text[j] >= utf8.RuneSelf {
					_, n := utf8.DecodeRuneInString(text[j:])
					j += n
				} else {
					j++
				}
			}
			z.word(text, i, min(j, to), sentence, punct)
			punct, i = 0, j
			continue
		}
		r, n := utf8.DecodeRuneInString(text[i:])
		switch {
		case unspaced(r):
			m := n
			for _, p := range z.lex.chars[r] {
				if strings.HasPrefix(text[i:to], p.rest[0]) {
					m = len(p.rest[0])
					z.toks = append(z.toks, token{start: int32(i), end: int32(i + m), class: p.class, hash: hashWord(p.rest[0]), sentence: sentence, punct: punct})
					punct = 0
					break
				}
			}
			i += m
		case r == '。' || r == '！' || r == '？' || r == '；':
			sentence++
			punct = '.'
			i += n
		case r == '“' || r == '”' || r == '«' || r == '»' || r == '「' || r == '」' || r == '„' || r == '‘':
			punct = '"'
			i += n
		case unicode.IsLetter(r):
			j := i + n
			for j < to {
				if text[j] < utf8.RuneSelf {
					if !wordByte[text[j]] && !inWord(text, j, to) {
						break
					}
					j++
					continue
				}
				if !letterAt(text[j:]) {
					break
				}
				_, m := utf8.DecodeRuneInString(text[j:])
				j += m
			}
			z.word(text, i, min(j, to), sentence, punct)
			punct, i = 0, j
		default:
			if r > 0x2000 {
				punct = '*'
			}
			i += n
		}
	}
}

// escaped tells letters that stand for white space after a backslash.
func escaped(c byte) bool { return c == 'n' || c == 't' || c == 'r' }

// inWord tells apostrophes, hyphens and points that join two word bytes.
func inWord(text string, j, to int) bool {
	switch text[j] {
	case '\'':
		return j+1 < to && text[j+1] < utf8.RuneSelf && wordByte[text[j+1]] && j+2 <= to
	case '-':
		return j+1 < to && text[j+1] < utf8.RuneSelf && wordByte[text[j+1]]
	}
	return false
}

// letterAt tells a letter of a script with spaces, or a combining mark or ’ that goes on with the word.
func letterAt(s string) bool {
	r, _ := utf8.DecodeRuneInString(s)
	if unspaced(r) {
		return false
	}
	return r == '’' || unicode.IsLetter(r) || r >= 0x300 && r < 0x370
}

func (z *tokenizer) word(text string, i, j int, sentence int32, punct byte) {
	w := text[i:j]
	if len(w) > maxWord {
		z.toks = append(z.toks, token{start: int32(i), end: int32(j), sentence: sentence, punct: punct})
		return
	}
	hash, marked := z.fold(w)
	e := z.lex.find(z.buf, hash)
	t := token{start: int32(i), end: int32(j), class: e.class, entry: e, hash: hash, sentence: sentence, punct: punct}
	if len(w) > 1 && w[0]-'A' <= 'Z'-'A' && w[1]-'A' <= 'Z'-'A' {
		t.class |= z.lex.exact[w]
	}
	if t.class == 0 && marked {
		// compounds as ignore-previous and l'ordre count by their parts
		if k := strings.IndexByte(w, '-'); k > 0 {
			z.word(text, i, i+k, sentence, punct)
			z.word(text, i+k+1, j, sentence, 0)
			return
		}
		if k := strings.IndexAny(w, "'’"); k > 0 && k <= 3 {
			_, n := utf8.DecodeRuneInString(w[k:])
			if k+n < len(w) {
				z.word(text, i+k+n, j, sentence, punct)
				return
			}
		} else if k > 3 {
			// the model's, users'
			h, _ := z.fold(w[:k])
			t.class = z.lex.find(z.buf, h).class
		}
	}
	z.toks = append(z.toks, t)
	if t.is(cTail) {
		z.join()
	}
}

// join looks whether the tokens so far end in a phrase, and marks its first
// token with the phrase's classes; the rest keeps its own.
func (z *tokenizer) join() {
	last := len(z.toks) - 1
	for k := last - 1; k >= 0 && k >= last-4; k-- {
		if z.toks[k].sentence != z.toks[last].sentence {
			return
		}
		e := z.toks[k].entry
		if e == nil {
			continue
		}
		for i := range e.phrases {
			p := &e.phrases[i]
			if len(p.hashes) != last-k {
				continue
			}
			ok := true
			for x, h := range p.hashes {
				ok = ok && z.toks[k+1+x].hash == h
			}
			if ok {
				z.toks[k].class |= p.class
			}
		}
	}
}

// fold makes z.buf the folded word and returns its hash, and whether it has
// hyphens or apostrophes.
func (z *tokenizer) fold(w string) (hash uint32, marked bool) {
	hash = 2166136261
	b := z.buf[:0]
	for i := 0; i < len(w); i++ {
		c := w[i]
		if c >= utf8.RuneSelf {
			z.buf = appendFold(z.buf[:0], w)
			return hashBytes(z.buf), true
		}
		if c-'A' <= 'Z'-'A' {
			c += 'a' - 'A'
		}
		marked = marked || c == '-' || c == '\''
		b = append(b, c)
		hash = (hash ^ uint32(c)) * 16777619
	}
	z.buf = b
	return hash, marked
}

func hashWord(s string) uint32 {
	h := uint32(2166136261)
	for i := 0; i < len(s); i++ {
		h = (h ^ uint32(s[i])) * 16777619
	}
	return h
}

func hashBytes(b []byte) uint32 {
	h := uint32(2166136261)
	for _, c := range b {
		h = (h ^ uint32(c)) * 16777619
	}
	return h
}
