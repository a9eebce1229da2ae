package anthropic

import (
	"bytes"
	"errors"
)

// ErrEventTooLarge: an event of a stream is larger than the reader's limit.
var ErrEventTooLarge = errors.New("event larger than the limit")

// SSE takes the bytes of a text/event-stream as they come, in pieces of any
// size, and hands out its events. Lines end in LF, CRLF or CR; comments and fields that it
// doesn't know are passed over, as the standard (WHATWG HTML, 9.2.6) says.
type SSE struct {
	// MaxEvent bounds the data of one event, in bytes.
	MaxEvent int
	// Event is called with the name and the data of each event that has
	// data. The data is the caller's only until Event returns.
	Event func(name string, data []byte)

	line    []byte // the start of a line that isn't whole yet
	data    []byte
	name    string
	hasData bool
	cr      bool // the last byte was a CR, so that an LF belongs to it
	pending int
}

// Pending is how many of the bytes written are of an event that has no end yet.
func (s *SSE) Pending() int { return s.pending }

// Write takes the next bytes. It fails when an event is too large, and is of no
// use after that.
func (s *SSE) Write(p []byte) error {
	for len(p) > 0 {
		if s.cr {
			s.cr = false
			if p[0] == '\n' {
				if s.pending > 0 {
					s.pending++
				}
				p = p[1:]
				continue
			}
		}
		i := bytes.IndexAny(p, "\r\n")
		if i < 0 {
			s.pending += len(p)
			s.line = append(s.line, p...)
			if len(s.line)+len(s.data) > s.MaxEvent {
				return ErrEventTooLarge
			}
			return nil
		}
		line := p[:i]
		if len(s.line) > 0 {
			s.line = append(s.line, line...)
			line = s.line
		}
		s.cr = p[i] == '\r'
		s.pending += i + 1
		p = p[i+1:]
		if len(line)+len(s.data) > s.MaxEvent {
			return ErrEventTooLarge
		}
		s.take(line)
		s.line = s.line[:0]
	}
	return nil
}

func (s *SSE) take(line []byte) {
	if len(line) == 0 {
		if s.hasData {
			s.Event(s.name, s.data)
		}
		s.name, s.data, s.hasData, s.pending = "", s.data[:0], false, 0
		return
	}
	field, value, _ := bytes.Cut(line, []byte(":"))
	value = bytes.TrimPrefix(value, []byte(" "))
	switch string(field) {
	case "event":
		s.name = string(value)
	case "data":
		if s.hasData {
			s.data = append(s.data, '\n')
		}
		s.data = append(s.data, value...)
		s.hasData = true
	}
}
