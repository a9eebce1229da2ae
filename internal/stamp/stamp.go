// Package stamp gets RFC 3161 time stamps of checkpoints from a time stamping
// authority, and checks them offline against certificates that are known.
package stamp

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/url"
	"time"

	"github.com/digitorus/pkcs7"
	"github.com/digitorus/timestamp"
)

// MaxSize bounds a stored time stamp.
const MaxSize = 64 << 10

var (
	// ErrStamp says that a time stamp can't be read, or is of something else.
	ErrStamp = errors.New("invalid time stamp")
	// ErrUntrusted says that none of the known authorities vouches for it.
	ErrUntrusted = errors.New("time stamp is of no known authority")
)

// Client asks one authority.
type Client struct {
	url       string
	transport *http.Transport
	client    *http.Client
}

// NewClient is for the authority at an address.
func NewClient(address string, timeout time.Duration) (*Client, error) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil {
		return nil, errors.New("must be an address such as https://tsa.example.com")
	}
	t := http.DefaultTransport.(*http.Transport).Clone()
	return &Client{address, t, &http.Client{Transport: t, Timeout: timeout}}, nil
}

// Close frees connections.
func (c *Client) Close() error {
	c.transport.CloseIdleConnections()
	return nil
}

// Stamp returns the authority's answer (TimeStampResp, DER) for a text. It has
// checked that the answer is for this text and for this request, not who gave it.
func (c *Client) Stamp(ctx context.Context, text []byte) ([]byte, error) {
	nonce, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 63))
	if err != nil {
		return nil, fmt.Errorf("time stamp: %w", err)
	}
	body, err := timestamp.CreateRequest(bytes.NewReader(text), &timestamp.RequestOptions{Hash: crypto.SHA256, Certificates: true, Nonce: nonce})
	if err != nil {
		return nil, fmt.Errorf("time stamp: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("time stamp: %w", err)
	}
	req.Header.Set("Content-Type", "application/timestamp-query")
	resp, err := c.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("time stamp: %w", err)
	}
	defer resp.Body.Close()
	der, err := io.ReadAll(io.LimitReader(resp.Body, MaxSize+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("time stamp: %w", err)
	case resp.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("time stamp: the authority answers %s", resp.Status)
	case len(der) > MaxSize:
		return nil, fmt.Errorf("time stamp: the authority's answer is longer than %d bytes", MaxSize)
	}
	ts, err := parse(der)
	if err != nil {
		return nil, err
	}
	if ts.Nonce == nil || ts.Nonce.Cmp(nonce) != 0 {
		return nil, fmt.Errorf("%w: the answer is to another request", ErrStamp)
	}
	return der, imprint(ts, text)
}

// parse reads an answer and checks its signature with the certificate in it.
func parse(der []byte) (ts *timestamp.Timestamp, err error) {
	defer func() {
		// What is stored may be anything, and the parser is not ours.
		if p := recover(); p != nil {
			ts, err = nil, fmt.Errorf("%w: it can't be parsed", ErrStamp)
		}
	}()
	if len(der) > MaxSize {
		return nil, fmt.Errorf("%w: longer than %d bytes", ErrStamp, MaxSize)
	}
	if ts, err = timestamp.ParseResponse(der); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrStamp, err)
	}
	if !ts.AddTSACertificate {
		return nil, fmt.Errorf("%w: it has no certificate", ErrStamp)
	}
	return ts, nil
}

func imprint(ts *timestamp.Timestamp, text []byte) error {
	if ts.HashAlgorithm != crypto.SHA256 {
		return fmt.Errorf("%w: its digest is not SHA-256", ErrStamp)
	}
	if sum := sha256.Sum256(text); !bytes.Equal(ts.HashedMessage, sum[:]) {
		return fmt.Errorf("%w: it is of another text", ErrStamp)
	}
	return nil
}

// Authority is a certificate that is believed: an authority's own, or that of who issued it.
type Authority struct {
	Name string
	cert *x509.Certificate
}

// ParseAuthority reads a certificate, base64 of DER.
func ParseAuthority(name, text string) (*Authority, error) {
	der, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil {
		return nil, errors.New("the certificate must be base64 of its DER form")
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, errors.New("the certificate can't be read")
	}
	return &Authority{name, cert}, nil
}

// tstInfo is id-ct-TSTInfo, what a time stamp's signature is over.
var tstInfo = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 1, 4}

// Check says when an authority saw a text. The authority's certificate has to
// have been valid then, and be for time stamps.
func Check(der, text []byte, authorities []*Authority) (at time.Time, by *Authority, err error) {
	ts, err := parse(der)
	if err != nil {
		return at, nil, err
	}
	if err := imprint(ts, text); err != nil {
		return at, nil, err
	}
	for _, a := range authorities {
		if err := vouches(ts, a); err == nil {
			return ts.Time.UTC(), a, nil
		}
	}
	return at, nil, ErrUntrusted
}

func vouches(ts *timestamp.Timestamp, a *Authority) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = ErrStamp
		}
	}()
	p7, err := pkcs7.Parse(ts.RawToken)
	if err != nil {
		return err
	}
	if p7.GetOnlySigner() == nil {
		return fmt.Errorf("%w: it has not one signer", ErrStamp)
	}
	var contentType asn1.ObjectIdentifier
	if err := p7.UnmarshalSignedAttribute(pkcs7.OIDAttributeContentType, &contentType); err != nil || !contentType.Equal(tstInfo) {
		return fmt.Errorf("%w: what was signed is no time stamp", ErrStamp)
	}
	roots, others := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(a.cert)
	for _, c := range p7.Certificates {
		others.AddCert(c)
	}
	return p7.VerifyWithOpts(x509.VerifyOptions{
		Roots: roots, Intermediates: others, CurrentTime: ts.Time, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageTimeStamping},
	})
}
