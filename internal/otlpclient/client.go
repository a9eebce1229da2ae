package otlpclient

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// Transport is a way to send a payload.
type Transport string

const (
	HTTPProtobuf Transport = "http/protobuf"
	HTTPJSON     Transport = "http/json"
	GRPC         Transport = "grpc"
)

// Transports lists every transport.
var Transports = []Transport{HTTPProtobuf, HTTPJSON, GRPC}

const (
	maxReplyBytes   = 1 << 20
	maxMessageBytes = 256 << 20 // what this client is willing to send over gRPC
)

// Error is a refusal: an answer other than success, or none at all.
type Error struct {
	Transport Transport
	// Code is the HTTP status, or the gRPC code, or 0 when no answer came.
	Code int
	// Reason names the code ("503 Service Unavailable", "Unavailable").
	Reason string
	// Message is what the server said, or the error of the connection.
	Message string
	// Retryable is true when OTLP says that the same request may be sent again.
	Retryable bool
	// RetryAfter is how long the server asked to wait, 0 when it did not say.
	RetryAfter time.Duration
}

func (e *Error) Error() string {
	if e.Code == 0 {
		return fmt.Sprintf("%s: no answer: %s", e.Transport, e.Message)
	}
	return fmt.Sprintf("%s: %s: %s", e.Transport, e.Reason, e.Message)
}

// Client sends payloads to one collector. It is safe for concurrent use.
type Client struct {
	httpURL  string
	grpcAddr string
	http     *http.Client
	grpc     *grpc.ClientConn
}

// New makes a client for the collector at two addresses, host:port each, in
// plain text. No connection is made yet. Close it after use.
func New(httpAddr, grpcAddr string) (*Client, error) {
	conn, err := grpc.NewClient("passthrough:///"+grpcAddr,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallSendMsgSize(maxMessageBytes)))
	if err != nil {
		return nil, fmt.Errorf("make grpc client: %w", err)
	}
	return &Client{
		httpURL:  "http://" + httpAddr,
		grpcAddr: grpcAddr,
		http:     &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}},
		grpc:     conn,
	}, nil
}

// Close lets go of the connections.
func (c *Client) Close() error {
	c.http.CloseIdleConnections()
	if err := c.grpc.Close(); err != nil {
		return fmt.Errorf("close grpc client: %w", err)
	}
	return nil
}

// Send sends p once. A nil error means that the server took all of it; a
// refusal is an *Error.
func (c *Client) Send(ctx context.Context, p Payload, via Transport) error {
	if via == GRPC {
		return c.sendGRPC(ctx, p)
	}
	body, contentType, err := p.encode(via == HTTPJSON)
	if err != nil {
		return err
	}
	return c.post(ctx, p.Signal, body, contentType, via)
}

// SendRaw posts a body as it is, for what a well-behaved client would not send.
func (c *Client) SendRaw(ctx context.Context, signal Signal, body []byte, contentType string) error {
	via := HTTPProtobuf
	if contentType == "application/json" {
		via = HTTPJSON
	}
	return c.post(ctx, signal, body, contentType, via)
}

// SendRetrying sends p until it is taken, refused for good, or ctx ends. It
// waits as long as the server asks, else twice as long each time.
func (c *Client) SendRetrying(ctx context.Context, p Payload, via Transport) (attempts int, err error) {
	const firstWait, longestWait = 100 * time.Millisecond, 5 * time.Second
	wait := firstWait
	for {
		attempts++
		err = c.Send(ctx, p, via)
		var refused *Error
		if err == nil || !errors.As(err, &refused) || !refused.Retryable {
			return attempts, err
		}
		pause := max(wait, refused.RetryAfter)
		wait = min(2*wait, longestWait)
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return attempts, fmt.Errorf("gave up after %d attempts: %w", attempts, err)
		case <-timer.C:
		}
	}
}

func (c *Client) post(ctx context.Context, signal Signal, body []byte, contentType string, via Transport) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.httpURL+"/v1/"+string(signal), bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("make request: %w", err)
	}
	req.Header.Set("Content-Type", contentType)
	resp, err := c.http.Do(req)
	if err != nil {
		return &Error{Transport: via, Message: err.Error(), Retryable: true}
	}
	defer resp.Body.Close()
	reply, err := io.ReadAll(io.LimitReader(resp.Body, maxReplyBytes))
	if err != nil {
		return &Error{Transport: via, Message: "read answer: " + err.Error(), Retryable: true}
	}
	if resp.StatusCode/100 != 2 {
		return &Error{
			Transport:  via,
			Code:       resp.StatusCode,
			Reason:     resp.Status,
			Message:    statusMessage(reply, resp.Header.Get("Content-Type")),
			Retryable:  retryableStatus(resp.StatusCode),
			RetryAfter: retryAfter(resp.Header.Get("Retry-After")),
		}
	}
	rejected, message, err := partialSuccess(reply, resp.Header.Get("Content-Type"), signal)
	if err != nil {
		return &Error{Transport: via, Code: resp.StatusCode, Reason: resp.Status, Message: err.Error()}
	}
	return rejection(via, resp.StatusCode, resp.Status, rejected, message)
}

func (c *Client) sendGRPC(ctx context.Context, p Payload) error {
	var rejected int64
	var message string
	var err error
	if p.Signal == Traces {
		var resp ptraceotlp.ExportResponse
		if resp, err = ptraceotlp.NewGRPCClient(c.grpc).Export(ctx, p.traces); err == nil {
			rejected, message = resp.PartialSuccess().RejectedSpans(), resp.PartialSuccess().ErrorMessage()
		}
	} else {
		var resp plogotlp.ExportResponse
		if resp, err = plogotlp.NewGRPCClient(c.grpc).Export(ctx, p.logs); err == nil {
			rejected, message = resp.PartialSuccess().RejectedLogRecords(), resp.PartialSuccess().ErrorMessage()
		}
	}
	if err != nil {
		st := status.Convert(err)
		retryInfo := retryDelay(st)
		return &Error{
			Transport:  GRPC,
			Code:       int(st.Code()),
			Reason:     st.Code().String(),
			Message:    st.Message(),
			Retryable:  retryableCode(st.Code(), retryInfo),
			RetryAfter: max(retryInfo, 0),
		}
	}
	return rejection(GRPC, int(codes.OK), codes.OK.String(), rejected, message)
}

func rejection(via Transport, code int, reason string, rejected int64, message string) error {
	if rejected == 0 {
		return nil
	}
	return &Error{
		Transport: via, Code: code, Reason: reason,
		Message: fmt.Sprintf("%d items rejected: %s", rejected, message),
	}
}

// retryableStatus is the list of the OTLP specification.
func retryableStatus(code int) bool {
	switch code {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	default:
		return false
	}
}

// retryableCode is the list of the OTLP specification, where ResourceExhausted
// may be sent again only when the server says when.
func retryableCode(code codes.Code, retryInfo time.Duration) bool {
	switch code {
	case codes.Canceled, codes.DeadlineExceeded, codes.Aborted, codes.OutOfRange, codes.Unavailable, codes.DataLoss:
		return true
	case codes.ResourceExhausted:
		return retryInfo >= 0
	default:
		return false
	}
}

func retryAfter(header string) time.Duration {
	if seconds, err := strconv.Atoi(header); err == nil && seconds > 0 {
		return time.Duration(seconds) * time.Second
	}
	return 0
}

// statusMessage reads the google.rpc.Status that an OTLP server answers with.
func statusMessage(body []byte, contentType string) string {
	var st spb.Status
	switch contentType {
	case "application/x-protobuf":
		if proto.Unmarshal(body, &st) == nil && st.GetMessage() != "" {
			return st.GetMessage()
		}
	case "application/json":
		if protojson.Unmarshal(body, &st) == nil && st.GetMessage() != "" {
			return st.GetMessage()
		}
	}
	return string(bytes.TrimSpace(body))
}

func partialSuccess(body []byte, contentType string, signal Signal) (rejected int64, message string, err error) {
	asJSON := contentType == "application/json"
	if signal == Traces {
		resp := ptraceotlp.NewExportResponse()
		if asJSON {
			err = resp.UnmarshalJSON(body)
		} else {
			err = resp.UnmarshalProto(body)
		}
		rejected, message = resp.PartialSuccess().RejectedSpans(), resp.PartialSuccess().ErrorMessage()
	} else {
		resp := plogotlp.NewExportResponse()
		if asJSON {
			err = resp.UnmarshalJSON(body)
		} else {
			err = resp.UnmarshalProto(body)
		}
		rejected, message = resp.PartialSuccess().RejectedLogRecords(), resp.PartialSuccess().ErrorMessage()
	}
	if err != nil {
		return 0, "", fmt.Errorf("parse answer: %w", err)
	}
	return rejected, message, nil
}
