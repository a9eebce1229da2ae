package gateway

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"mime"
	"net/http"
	"strings"
	"unsafe"

	"github.com/andybalholm/brotli"
	"github.com/aws/aws-sdk-go-v2/aws/protocol/eventstream"
	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"

	"github.com/claudeaudit/claudeaudit/internal/anthropic"
	"github.com/claudeaudit/claudeaudit/internal/conversation"
	"github.com/claudeaudit/claudeaudit/internal/genai"
	"github.com/claudeaudit/claudeaudit/internal/jcs"
)

// answer is what was read of a response while it passed.
type answer struct {
	output       []conversation.Message
	info         anthropic.ResponseInfo
	completeness genai.Completeness
	unparsed     []genai.Unparsed
	// whole says that the answer has its end: a message_stop, all of a JSON text.
	whole bool
	// tokens is what count_tokens answered.
	tokens *int64
}

// observer reads along. It never fails and never holds a byte back: what it can't read it says
// in the answer.
type observer interface {
	// write takes bytes of the body as they came.
	write(p []byte)
	// id is the message's id, "" while it isn't known; settled says that waiting longer
	// for it is of no use.
	id() (id string, settled bool)
	// content tells whether anything of the answer itself was seen.
	content() bool
	// close ends the body, whole or not, and gives what was read.
	close(eof bool) answer
}

// newObserver chooses by what the response says it is.
func newObserver(c *call, resp *http.Response, max int) observer {
	op := &c.op
	media, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if err != nil {
		media = ""
	}
	var o observer
	switch {
	case (op.proto == protoNone || op.proto == protoBatchObject) && resp.StatusCode < 400:
		o = &blind{}
	case op.proto == protoResults && resp.StatusCode < 400:
		o = &resultsObserver{c: c, batch: c.g.batch(op.batch)}
	case media == "text/event-stream":
		o = newStreamObserver(max)
	case media == "application/vnd.amazon.eventstream":
		o = newFrameObserver(op.proto == protoConverse, max)
	default:
		o = &jsonObserver{proto: op.proto, status: resp.StatusCode, max: max}
	}
	if encoding := strings.ToLower(strings.TrimSpace(resp.Header.Get("Content-Encoding"))); encoding != "" && encoding != "identity" {
		return newDecoder(encoding, o)
	}
	return o
}

// blind sees nothing: what the operation answers is no conversation.
type blind struct{}

func (*blind) write([]byte)       {}
func (*blind) id() (string, bool) { return "", true }
func (*blind) content() bool      { return false }
func (*blind) close(bool) answer  { return answer{whole: true, completeness: genai.ContentNone} }

// jsonObserver reads a body that is one JSON text.
type jsonObserver struct {
	proto  protocol
	status int
	max    int
	buf    []byte
	size   int
	read   *answer
}

func (o *jsonObserver) write(p []byte) {
	o.size += len(p)
	if o.size <= o.max {
		o.buf = append(o.buf, p...)
	}
}

func (o *jsonObserver) content() bool { return len(o.buf) > 0 }

// id parses what there is. It is asked when the body is whole, as far as one can tell: of one that is compressed the last bytes
// may be missing.
func (o *jsonObserver) id() (string, bool) {
	if o.read == nil {
		a := o.parse()
		if !a.whole {
			return "", true
		}
		o.read = &a
	}
	return o.read.info.ID, true
}

// answer is what the body says, when it is at its end.
func (o *jsonObserver) answer() *answer {
	if o.read == nil {
		a := o.parse()
		o.read = &a
	}
	return o.read
}

func (o *jsonObserver) parse() answer {
	if o.size > o.max {
		return answer{completeness: genai.ContentTruncated, whole: true}
	}
	if o.size == 0 {
		return answer{completeness: genai.ContentNone, whole: true}
	}
	v, err := jcs.Parse(text(o.buf), jcs.DefaultLimits)
	if err != nil {
		return answer{completeness: genai.ContentUnparsed, unparsed: []genai.Unparsed{unparsed("response", o.buf, err)}}
	}
	a := answer{whole: true, completeness: genai.ContentNone}
	switch {
	case o.proto == protoCount || o.proto == protoBedrockCount:
		_, a.info = anthropic.ReadResponse(v)
		for _, key := range []string{"input_tokens", "inputTokens"} {
			if n, ok := v.Get(key).Int(); ok {
				a.tokens = &n
			}
		}
		return a
	case o.proto == protoComplete && o.status < 400:
		a.output, a.info = anthropic.ReadCompleteResponse(v)
	case o.proto == protoConverse && o.status < 400:
		a.output, a.info = anthropic.ReadConverseResponse(v)
	default:
		a.output, a.info = anthropic.ReadResponse(v)
	}
	if len(a.output) > 0 {
		a.completeness = genai.ContentFull
	}
	return a
}

func (o *jsonObserver) close(eof bool) answer {
	if !eof {
		// Half a JSON text: its bytes are evidence of what was passed on.
		a := answer{completeness: genai.ContentNone}
		if o.size > 0 {
			a.completeness = genai.ContentUnparsed
			a.unparsed = []genai.Unparsed{unparsed("response", o.buf, jcs.ErrInvalid)}
		}
		return a
	}
	return *o.answer()
}

// streamObserver reads server-sent events.
type streamObserver struct {
	sse    anthropic.SSE
	stream anthropic.Stream
	err    error
}

// maxEvent bounds one event of a stream: results of a web search come whole in one.
const maxEvent = 16 << 20

func newStreamObserver(max int) *streamObserver {
	o := &streamObserver{}
	o.stream.MaxBytes = max
	o.sse = anthropic.SSE{MaxEvent: min(maxEvent, max), Event: func(_ string, data []byte) { o.stream.Event(data) }}
	return o
}

func (o *streamObserver) write(p []byte) {
	if o.err == nil {
		o.err = o.sse.Write(p)
	}
}

func (o *streamObserver) id() (string, bool) {
	return o.stream.ID(), o.stream.Started || o.err != nil || o.stream.Stopped
}

func (o *streamObserver) content() bool { return o.stream.FirstDelta }

func (o *streamObserver) close(bool) answer {
	a := answer{whole: o.stream.Stopped}
	a.output, a.info = o.stream.Response()
	a.completeness = streamed(len(a.output) > 0, o.stream.Stopped, o.stream.Truncated || o.err != nil, o.stream.Unreadable > 0)
	return a
}

// frameObserver reads frames of an AWS event stream: of InvokeModelWithResponseStream, whose events hold
// those of the Messages API, or of ConverseStream.
type frameObserver struct {
	buf      []byte
	err      error
	messages *anthropic.Stream
	converse *anthropic.ConverseStream
}

const (
	minFrame = 16 // a prelude and two checksums
	maxFrame = 16 << 20
)

func newFrameObserver(converse bool, max int) *frameObserver {
	if converse {
		return &frameObserver{converse: &anthropic.ConverseStream{MaxBytes: max}}
	}
	return &frameObserver{messages: &anthropic.Stream{MaxBytes: max}}
}

var errFrame = errors.New("invalid frame")

func (o *frameObserver) write(p []byte) {
	if o.err != nil {
		return
	}
	o.buf = append(o.buf, p...)
	rest := o.buf
	for len(rest) >= minFrame {
		n := binary.BigEndian.Uint32(rest)
		if n < minFrame || n > maxFrame {
			o.err, o.buf = errFrame, nil
			return
		}
		if uint32(len(rest)) < n {
			break
		}
		message, err := eventstream.NewDecoder().Decode(bytes.NewReader(rest[:n]), nil)
		if err != nil {
			o.err, o.buf = errFrame, nil
			return
		}
		o.event(&message)
		rest = rest[n:]
	}
	if len(rest) < len(o.buf) {
		o.buf = append(o.buf[:0], rest...)
	}
}

func (o *frameObserver) event(m *eventstream.Message) {
	header := func(name string) string {
		if v := m.Headers.Get(name); v != nil {
			return v.String()
		}
		return ""
	}
	fail := func(kind string) {
		if kind == "" {
			kind = "internalServerException"
		}
		if o.converse != nil {
			o.converse.Fail(kind)
		} else {
			o.messages.Fail(kind)
		}
	}
	switch header(":message-type") {
	case "exception":
		fail(header(":exception-type"))
	case "error":
		fail(header(":error-code"))
	default:
		if o.converse != nil {
			o.converse.Event(header(":event-type"), m.Payload)
			return
		}
		v, err := jcs.Parse(text(m.Payload), jcs.DefaultLimits)
		if err != nil {
			o.messages.Unreadable++
			return
		}
		data, err := base64.StdEncoding.DecodeString(v.Get("bytes").Str())
		if err != nil {
			o.messages.Unreadable++
			return
		}
		o.messages.Event(data)
	}
}

func (o *frameObserver) id() (string, bool) {
	if o.converse != nil {
		return "", true // it has none
	}
	return o.messages.ID(), o.messages.Started || o.messages.Stopped || o.err != nil
}

func (o *frameObserver) content() bool {
	if o.converse != nil {
		return o.converse.FirstDelta
	}
	return o.messages.FirstDelta
}

func (o *frameObserver) close(bool) answer {
	var a answer
	var truncated bool
	var unreadable int
	if o.converse != nil {
		a.output, a.info = o.converse.Response()
		a.whole, truncated, unreadable = o.converse.Stopped, o.converse.Truncated, o.converse.Unreadable
	} else {
		a.output, a.info = o.messages.Response()
		a.whole, truncated, unreadable = o.messages.Stopped, o.messages.Truncated, o.messages.Unreadable
	}
	a.completeness = streamed(len(a.output) > 0, a.whole, truncated, o.err != nil || unreadable > 0)
	return a
}

// streamed says how complete the content of a stream is.
func streamed(any, whole, truncated, broken bool) genai.Completeness {
	switch {
	case truncated:
		return genai.ContentTruncated
	case !any && !broken:
		return genai.ContentNone
	case !whole || broken:
		return genai.ContentPartial
	}
	return genai.ContentFull
}

// decoder gives an observer the plain bytes of a compressed body. It decodes in a goroutine
// of its own, one piece after the other: between them the inner observer is at rest.
type decoder struct {
	inner observer
	feed  feed
	done  chan struct{}
	dead  bool
	// What passed, as it came: evidence of what can't be decoded.
	size int
	sum  hash.Hash
	err  error // why it can't; the goroutine's until done
}

// feed hands pieces to the goroutine that decodes, and tells when it has made of one what it can.
type feed struct {
	more chan []byte
	idle chan struct{}
	rest []byte
	end  bool
}

func (f *feed) Read(p []byte) (int, error) {
	for len(f.rest) == 0 {
		if f.end {
			return 0, io.EOF
		}
		f.idle <- struct{}{}
		rest, ok := <-f.more
		f.rest, f.end = rest, !ok
	}
	n := copy(p, f.rest)
	f.rest = f.rest[n:]
	return n, nil
}

// maxDecoded bounds what a compressed answer may be decoded to, in bytes.
const maxDecoded = 256 << 20

func newDecoder(encoding string, inner observer) observer {
	d := &decoder{
		inner: inner, feed: feed{more: make(chan []byte), idle: make(chan struct{})}, done: make(chan struct{}), sum: sha256.New(),
	}
	go func() {
		defer close(d.done)
		plain, err := decompress(encoding, &d.feed)
		if err == nil {
			buf := make([]byte, 16<<10)
			for total := 0; err == nil && total < maxDecoded; {
				var n int
				n, err = plain.Read(buf)
				total += n
				inner.write(buf[:n])
			}
		}
		if !errors.Is(err, io.EOF) {
			d.err = err
		}
	}()
	d.rest()
	return d
}

// rest waits until the goroutine wants more, or has ended.
func (d *decoder) rest() {
	select {
	case <-d.feed.idle:
	case <-d.done:
		d.dead = true
	}
}

func decompress(encoding string, r io.Reader) (io.Reader, error) {
	switch encoding {
	case "gzip", "x-gzip":
		in := bufio.NewReader(r)
		z, err := gzip.NewReader(in)
		if err != nil {
			return nil, err
		}
		z.Multistream(false)
		return &gzipMembers{in, z}, nil
	case "zstd":
		return zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(8<<20), zstd.WithDecoderMaxMemory(64<<20))
	case "br":
		return brotli.NewReader(r), nil
	case "deflate":
		// Either of two formats goes by this name.
		head := make([]byte, 2)
		if _, err := io.ReadFull(r, head); err != nil {
			return nil, err
		}
		r = io.MultiReader(bytes.NewReader(head), r)
		if head[0]&0x0f == 8 && (int(head[0])<<8|int(head[1]))%31 == 0 {
			return zlib.NewReader(r)
		}
		return flate.NewReader(r), nil
	}
	return nil, http.ErrNotSupported
}

// gzipMembers reads one member after the other. A reader of several at once holds the end of one back until it has seen whether there is
// another.
type gzipMembers struct {
	in *bufio.Reader
	z  *gzip.Reader
}

func (g *gzipMembers) Read(p []byte) (int, error) {
	for {
		n, err := g.z.Read(p)
		if n > 0 && errors.Is(err, io.EOF) {
			return n, nil
		}
		if n > 0 || !errors.Is(err, io.EOF) {
			return n, err
		}
		if err := g.z.Reset(g.in); err != nil {
			return 0, err
		}
		g.z.Multistream(false)
	}
}

func (d *decoder) write(p []byte) {
	d.size += len(p)
	d.sum.Write(p)
	if !d.dead && len(p) > 0 {
		d.feed.more <- p // it waits for that
		d.rest()
	}
}

func (d *decoder) id() (string, bool) {
	id, settled := d.inner.id()
	return id, settled || d.dead
}

func (d *decoder) content() bool { return d.inner.content() }

func (d *decoder) close(eof bool) answer {
	close(d.feed.more)
	<-d.done
	a := d.inner.close(eof)
	if eof && d.err != nil && d.size > 0 {
		a.whole = false
		a.unparsed = append(a.unparsed, genai.Unparsed{
			Key: "response", Bytes: d.size, SHA256: hex.EncodeToString(d.sum.Sum(nil)), Reason: "invalid_encoding",
		})
		if a.completeness == genai.ContentNone {
			a.completeness = genai.ContentUnparsed
		}
	}
	return a
}

// whole tells whether an observer can read nothing before all of the body is there.
func whole(o observer) bool {
	if d, ok := o.(*decoder); ok {
		o = d.inner
	}
	_, ok := o.(*jsonObserver)
	return ok
}

// text is b as a string that shares its memory; b must not change any more.
func text(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	return unsafe.String(&b[0], len(b))
}
