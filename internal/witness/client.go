package witness

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/note"
)

// ErrStale says that the witness holds a later checkpoint of the log than the one it is given.
var ErrStale = errors.New("witness holds a later checkpoint")

const (
	// maxAnswer bounds what is read of an answer.
	maxAnswer = 64 << 10
	// maxOrigins bounds the sizes that a client remembers.
	maxOrigins = 1 << 16
	sizeType   = "text/x.tlog.size"
)

// Client asks one witness for cosignatures.
type Client struct {
	url       string
	verifier  *Verifier
	transport *http.Transport
	client    *http.Client

	mu    sync.Mutex
	sizes map[string]uint64 // by origin, as far as is known
}

// NewClient is for the witness with a key under an address, to which
// "/add-checkpoint" is added.
func NewClient(address string, v *Verifier, timeout time.Duration) (*Client, error) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil {
		return nil, errors.New("witness: the address must be such as https://witness.example.com")
	}
	t := http.DefaultTransport.(*http.Transport).Clone()
	return &Client{
		url: strings.TrimSuffix(address, "/") + "/add-checkpoint", verifier: v, transport: t,
		client: &http.Client{Transport: t, Timeout: timeout, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
		sizes:  map[string]uint64{},
	}, nil
}

// Name is the witness's address.
func (c *Client) Name() string { return c.url }

// Close frees connections.
func (c *Client) Close() error {
	c.transport.CloseIdleConnections()
	return nil
}

// KeyHash names the witness's key: 8 hex digits.
func (c *Client) KeyHash() string { return fmt.Sprintf("%08x", c.verifier.KeyHash()) }

// Add gives the witness a signed checkpoint and returns the note with its
// cosignature. prove returns the consistency proof from an older size.
func (c *Client) Add(ctx context.Context, origin string, size uint64, msg []byte, prove func(ctx context.Context, old uint64) ([][32]byte, error)) ([]byte, error) {
	for range 3 {
		c.mu.Lock()
		old := c.sizes[origin]
		c.mu.Unlock()
		if old > size {
			return nil, fmt.Errorf("witness %s: %w: of size %d", c.url, ErrStale, old)
		}
		var proof [][32]byte
		if old > 0 && old < size {
			var err error
			if proof, err = prove(ctx, old); err != nil {
				return nil, fmt.Errorf("witness %s: prove growth from %d to %d: %w", c.url, old, size, err)
			}
		}
		cosigned, known, err := c.post(ctx, old, proof, msg)
		if err != nil && !errors.Is(err, errConflict) {
			return nil, fmt.Errorf("witness %s: %w", c.url, err)
		}
		if err == nil {
			known = size
		}
		c.mu.Lock()
		if len(c.sizes) >= maxOrigins {
			clear(c.sizes)
		}
		c.sizes[origin] = known
		c.mu.Unlock()
		if err == nil {
			return cosigned, nil
		}
		if known == old {
			return nil, fmt.Errorf("witness %s: it holds another checkpoint of size %d: the log was forked", c.url, old)
		}
	}
	return nil, fmt.Errorf("witness %s: %w", c.url, errConflict)
}

var errConflict = errors.New("it holds another size of the log")

// post returns the cosigned note, or with errConflict the size that the witness holds.
func (c *Client) post(ctx context.Context, old uint64, proof [][32]byte, msg []byte) ([]byte, uint64, error) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "old %d\n", old)
	for _, h := range proof {
		b.WriteString(base64.StdEncoding.EncodeToString(h[:]) + "\n")
	}
	b.WriteByte('\n')
	b.Write(msg)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, &b)
	if err != nil {
		return nil, 0, err
	}
	req.Header.Set("Content-Type", "text/plain; charset=utf-8")
	resp, err := c.client.Do(req)
	if err != nil {
		return nil, 0, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return nil, 0, err
	}
	switch {
	case len(body) > maxAnswer:
		return nil, 0, errors.New("its answer is too long")
	case resp.StatusCode == http.StatusConflict:
		size, err := strconv.ParseUint(strings.TrimSuffix(string(body), "\n"), 10, 53)
		if err != nil || !strings.HasPrefix(resp.Header.Get("Content-Type"), sizeType) {
			return nil, 0, errors.New("its answer has no size")
		}
		return nil, size, errConflict
	case resp.StatusCode != http.StatusOK:
		return nil, 0, fmt.Errorf("it answers %d: %.200q", resp.StatusCode, body)
	}
	cosigned := append(bytes.Clone(msg), body...)
	n, err := note.Open(cosigned, note.VerifierList(c.verifier))
	if err != nil || len(n.Sigs) != 1 {
		return nil, 0, errors.New("its cosignature does not match its key")
	}
	return cosigned, 0, nil
}
