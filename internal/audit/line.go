package audit

import (
	"encoding/binary"
	"strings"
	"time"

	"github.com/google/uuid"
)

// maxPlainLine bounds a line that readLine reads; a longer one could have more values than recordLimits allow.
const maxPlainLine = 1 << 16

// readLine reads into r, which is zero, a record in the form in which nearly every line of a ledger is: canonical JSON as
// AppendJSON writes it, whose texts are ASCII without escapes. Anything else, be it wrong or only unknown here, it leaves to
// parseRecord, which takes longer; then r is of no use.
func (r *Record) readLine(s string) bool {
	if len(s) > maxPlainLine || !isPlain(s) {
		return false
	}
	l := line{s: s}
	return l.object(func(k string) bool { return l.member(r, k) }) && l.i == len(s) && r.EventID != uuid.Nil
}

// isPlain tells whether s is printable ASCII without a backslash.
func isPlain(s string) bool {
	const (
		ones  = 0x0101010101010101
		highs = 0x8080808080808080
	)
	if strings.IndexByte(s, '\\') >= 0 {
		return false
	}
	b := []byte(s)
	for ; len(b) >= 8; b = b[8:] {
		// A byte below 0x20 borrows, one from 0x80 on has its high bit set.
		if x := binary.LittleEndian.Uint64(b); (x-0x20*ones|x)&highs != 0 {
			return false
		}
	}
	for _, c := range b {
		if c < 0x20 || c >= 0x80 {
			return false
		}
	}
	return true
}

// line is a text that is being read. Its methods return false when what comes next is not of the form that they read.
type line struct {
	s string
	i int
}

func (l *line) take(c byte) bool {
	if l.i < len(l.s) && l.s[l.i] == c {
		l.i++
		return true
	}
	return false
}

func (l *line) word(w string) bool {
	if len(l.s)-l.i >= len(w) && l.s[l.i:l.i+len(w)] == w {
		l.i += len(w)
		return true
	}
	return false
}

func (l *line) text() (string, bool) {
	if !l.take('"') {
		return "", false
	}
	n := strings.IndexByte(l.s[l.i:], '"')
	if n < 0 {
		return "", false
	}
	text := l.s[l.i : l.i+n]
	l.i += n + 1
	return text, true
}

// maxDigits can't overflow an int64.
const maxDigits = 18

func (l *line) number() (int64, bool) {
	negative := l.take('-')
	from, n := l.i, int64(0)
	for l.i < len(l.s) && l.s[l.i] >= '0' && l.s[l.i] <= '9' && l.i-from <= maxDigits {
		n = 10*n + int64(l.s[l.i]-'0')
		l.i++
	}
	if negative {
		n = -n
	}
	digits := l.i - from
	return n, digits > 0 && digits <= maxDigits && (l.s[from] != '0' || digits == 1)
}

// object reads an object whose keys ascend; set reads the value of each.
func (l *line) object(set func(key string) bool) bool {
	if !l.take('{') {
		return false
	}
	if l.take('}') {
		return true
	}
	for last := ""; ; {
		k, ok := l.text()
		if !ok || k <= last || !l.take(':') || !set(k) {
			return false
		}
		last = k
		if !l.take(',') {
			return l.take('}')
		}
	}
}

func (l *line) array(add func() bool) bool {
	if !l.take('[') {
		return false
	}
	if l.take(']') {
		return true
	}
	for {
		if !add() {
			return false
		}
		if !l.take(',') {
			return l.take(']')
		}
	}
}

// str reads a text or null.
func (l *line) str(dst *string) (ok bool) {
	if l.word("null") {
		return true
	}
	*dst, ok = l.text()
	return ok
}

func (l *line) optInt(dst **int64) bool {
	if l.word("null") {
		return true
	}
	n, ok := l.number()
	*dst = &n
	return ok
}

func (l *line) rank(dst *int) bool {
	n, ok := l.number()
	*dst = int(n)
	return ok
}

func (l *line) yes(dst *bool) bool {
	*dst = true
	return l.word("true")
}

func (l *line) strs(dst *[]string) bool {
	return l.array(func() bool {
		s, ok := l.text()
		*dst = append(*dst, s)
		return ok
	})
}

func (l *line) member(r *Record, k string) (ok bool) {
	if f := r.strMember(k); f != nil {
		return l.str(f)
	}
	if f := r.intMember(k); f != nil {
		return l.optInt(f)
	}
	switch k {
	case "_seq":
		n, ok := l.number()
		r.Seq = uint64(n) // #nosec G115 -- of a negative one nothing is returned
		return ok && n >= 0
	case "revision":
		r.Revision, ok = l.number()
		return ok
	case "schema":
		return l.word(`"` + Schema + `"`)
	case "event_id":
		s, ok := l.text()
		if !ok {
			return false
		}
		id, err := uuid.Parse(s)
		r.EventID = id
		return err == nil
	case "timestamp":
		if l.word("null") {
			return true
		}
		s, ok := l.text()
		if !ok {
			return false
		}
		t, err := time.Parse(time.RFC3339Nano, s)
		r.Timestamp = t.UTC()
		return err == nil
	case "missing":
		return l.strs(&r.Missing)
	case "policy_flags":
		return l.strs(&r.PolicyFlags)
	case "content":
		return l.content(&r.Content)
	case "source":
		return l.source(&r.Source)
	case "retention":
		return l.object(func(k string) bool {
			switch k {
			case "class":
				return l.str(&r.RetentionClass)
			case "rule":
				return l.str(&r.RetentionRule)
			case "until":
				return l.str(&r.RetentionUntil)
			}
			return false
		})
	case "details":
		return l.object(func(k string) bool {
			s, ok := l.text()
			r.Details = append(r.Details, Detail{k, s})
			return ok
		})
	case "detections":
		return l.array(func() bool { return l.detection(r) })
	case "unparsed":
		return l.array(func() bool { return l.unparsed(r) })
	}
	return false
}

func (l *line) content(c *Content) bool {
	return l.object(func(k string) bool {
		switch k {
		case "key_id":
			return l.str(&c.KeyID)
		case "prompt":
			return l.str(&c.Prompt)
		case "prompt_sha256":
			return l.str(&c.PromptSHA256)
		case "response":
			return l.str(&c.Response)
		case "response_sha256":
			return l.str(&c.ResponseSHA256)
		case "suite":
			return l.str(&c.Suite)
		}
		return false
	})
}

func (l *line) source(s *Source) bool {
	return l.object(func(k string) bool {
		switch k {
		case "dialect":
			return l.str(&s.Dialect)
		case "digest":
			return l.str(&s.Digest)
		case "error_exact":
			return l.yes(&s.ErrorExact)
		case "events":
			return l.strs(&s.Events)
		case "evidence":
			return l.str(&s.Evidence)
		case "parent_span_id":
			return l.str(&s.ParentSpanID)
		case "parts":
			return l.rank(&s.Parts)
		case "prompt_id":
			return l.str(&s.PromptID)
		case "rank":
			return l.rank(&s.Rank)
		case "scope":
			return l.str(&s.Scope)
		case "sequence":
			return l.optInt(&s.Sequence)
		case "session_rank":
			return l.rank(&s.SessionRank)
		case "signal":
			return l.str(&s.Signal)
		case "spans":
			return l.strs(&s.Spans)
		case "stop_exact":
			return l.yes(&s.StopExact)
		case "user_rank":
			return l.rank(&s.UserRank)
		}
		return false
	})
}

func (l *line) detection(r *Record) bool {
	var d Detection
	counted := false
	ok := l.object(func(k string) (ok bool) {
		switch k {
		case "confidence":
			d.Confidence, ok = l.text()
		case "count":
			d.Count, ok = l.number()
			counted = true
		case "rule":
			d.Rule, ok = l.text()
		case "type":
			d.Type, ok = l.text()
		}
		return ok
	})
	r.Detections = append(r.Detections, d)
	return ok && counted
}

func (l *line) unparsed(r *Record) bool {
	var u Unparsed
	counted := false
	ok := l.object(func(k string) (ok bool) {
		switch k {
		case "bytes":
			u.Bytes, ok = l.number()
			counted = true
		case "key":
			u.Key, ok = l.text()
		case "reason":
			u.Reason, ok = l.text()
		case "sha256":
			u.SHA256, ok = l.text()
		}
		return ok
	})
	r.Unparsed = append(r.Unparsed, u)
	return ok && counted
}
