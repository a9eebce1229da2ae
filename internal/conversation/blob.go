package conversation

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"net/url"
	"strings"
)

// foldMimeType returns a media type without parameters, in lower case.
func foldMimeType(s string) string {
	s, _, _ = strings.Cut(s, ";")
	return strings.ToLower(strings.TrimSpace(s))
}

// DataURL reads a data: URL (RFC 2397). The data is canonical base64; when it can't be
// decoded, it is as told.
func DataURL(s string) (mime, data string, ok bool) {
	if len(s) < 5 || !strings.EqualFold(s[:5], "data:") {
		return "", "", false
	}
	head, body, found := strings.Cut(s[5:], ",")
	if !found {
		return "", "", false
	}
	mime = foldMimeType(head)
	if mime == "" {
		mime = "text/plain"
	}
	if i := strings.LastIndexByte(head, ';'); i >= 0 && strings.EqualFold(strings.TrimSpace(head[i+1:]), "base64") {
		text := body
		if strings.IndexByte(body, '%') >= 0 {
			if unescaped, err := url.PathUnescape(body); err == nil {
				text = unescaped
			}
		}
		if canonical, ok := canonicalBase64(text); ok {
			body = canonical
		}
		return mime, body, true
	}
	if unescaped, err := url.PathUnescape(body); err == nil {
		body = unescaped
	}
	return mime, base64.StdEncoding.EncodeToString([]byte(body)), true
}

// standard says which bytes the standard alphabet of base64 has.
var standard = func() (t [256]bool) {
	for _, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/") {
		t[c] = true
	}
	return t
}()

// isCanonicalBase64 reports whether s is base64 in the standard alphabet, padded,
// without white space.
func isCanonicalBase64(s string) bool {
	if len(s)%4 != 0 {
		return false
	}
	s = strings.TrimSuffix(strings.TrimSuffix(s, "="), "=")
	for i := range len(s) {
		if !standard[s[i]] {
			return false
		}
	}
	return true
}

// canonicalBase64 returns base64 of either alphabet, with or without padding and
// white space, in the standard alphabet with padding; false when s is neither.
func canonicalBase64(s string) (string, bool) {
	if isCanonicalBase64(s) {
		return s, true
	}
	buf := make([]byte, 0, len(s)+3)
	for i := range len(s) {
		switch c := s[i]; {
		case standard[c]:
			buf = append(buf, c)
		case c == '-':
			buf = append(buf, '+')
		case c == '_':
			buf = append(buf, '/')
		case c == ' ' || c == '\t' || c == '\r' || c == '\n':
		case c == '=' && strings.Trim(s[i:], "= \t\r\n") == "":
			return padBase64(buf)
		default:
			return "", false
		}
	}
	return padBase64(buf)
}

func padBase64(buf []byte) (string, bool) {
	switch len(buf) % 4 {
	case 1:
		return "", false
	case 2:
		buf = append(buf, "=="...)
	case 3:
		buf = append(buf, '=')
	}
	return string(buf), true
}

// blobChunk is how many characters of base64 are decoded at a time.
const blobChunk = 4096

// blobSum returns the hex SHA-256 of the bytes that data stands for; of data itself
// when it isn't base64.
func blobSum(data string) string {
	canonical, ok := canonicalBase64(data)
	h := sha256.New()
	var text [blobChunk]byte
	var decoded [blobChunk / 4 * 3]byte
	for i := 0; ok && i < len(canonical); i += blobChunk {
		n := copy(text[:], canonical[i:])
		var err error
		n, err = base64.StdEncoding.Decode(decoded[:], text[:n])
		ok = err == nil
		h.Write(decoded[:n])
	}
	var sum [sha256.Size]byte
	if !ok {
		sum = sha256.Sum256([]byte(data))
	} else {
		h.Sum(sum[:0])
	}
	return hex.EncodeToString(sum[:])
}
