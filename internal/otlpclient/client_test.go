package otlpclient

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
	"go.uber.org/goleak"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/claudeaudit/claudeaudit/internal/freeport"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const oneSpan = `{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174","name":"chat"}]}]}]}`

func TestParseJSON(t *testing.T) {
	for name, tc := range map[string]struct {
		in      string
		signal  Signal
		items   int
		wantErr string
	}{
		"traces":     {in: oneSpan, signal: Traces, items: 1},
		"logs":       {in: `{"resourceLogs":[{"scopeLogs":[{"logRecords":[{},{}]}]}]}`, signal: Logs, items: 2},
		"both":       {in: `{"resourceLogs":[],"resourceSpans":[]}`, wantErr: "either resourceSpans or resourceLogs"},
		"neither":    {in: `{}`, wantErr: "either resourceSpans or resourceLogs"},
		"not JSON":   {in: `resourceSpans`, wantErr: "parse export request"},
		"wrong kind": {in: `{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"zz"}]}]}]}`, wantErr: "parse traces"},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := ParseJSON([]byte(tc.in))
			if tc.wantErr != "" {
				require.ErrorContains(t, err, tc.wantErr)
				return
			}
			require.NoError(t, err)
			require.Equal(t, tc.signal, p.Signal)
			require.Equal(t, tc.items, p.Items())
		})
	}
}

func TestReadFileNamesTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "bad.otlp.json")
	require.NoError(t, os.WriteFile(path, []byte(`{}`), 0o600))
	_, err := ReadFile(path)
	require.ErrorContains(t, err, path)
}

// httpServer answers every request with handler and gives a client for it.
func httpServer(t *testing.T, handler http.HandlerFunc) *Client {
	t.Helper()
	server := httptest.NewServer(handler)
	client, err := New(strings.TrimPrefix(server.URL, "http://"), "127.0.0.1:1")
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, client.Close())
		server.Close()
	})
	return client
}

func TestHTTPAnswers(t *testing.T) {
	protoStatus, err := proto.Marshal(&spb.Status{Code: int32(codes.Unavailable), Message: "ledger is full"})
	require.NoError(t, err)
	partial := ptraceotlp.NewExportResponse()
	partial.PartialSuccess().SetRejectedSpans(1)
	partial.PartialSuccess().SetErrorMessage("no")
	partialJSON, err := partial.MarshalJSON()
	require.NoError(t, err)

	for name, tc := range map[string]struct {
		status      int
		contentType string
		body        string
		header      string
		want        *Error
	}{
		"taken": {status: 200, contentType: "application/json", body: `{"partialSuccess":{}}`},
		"full": {
			status: 503, contentType: "application/x-protobuf", body: string(protoStatus), header: "7",
			want: &Error{Code: 503, Reason: "503 Service Unavailable", Message: "ledger is full", Retryable: true, RetryAfter: 7 * time.Second},
		},
		"bad request as JSON": {
			status: 400, contentType: "application/json", body: `{"code":3,"message":"bad body"}`,
			want: &Error{Code: 400, Reason: "400 Bad Request", Message: "bad body"},
		},
		"plain text": {
			status: 413, contentType: "text/plain", body: "too large\n",
			want: &Error{Code: 413, Reason: "413 Request Entity Too Large", Message: "too large"},
		},
		"partly taken": {
			status: 200, contentType: "application/json", body: string(partialJSON),
			want: &Error{Code: 200, Reason: "200 OK", Message: "1 items rejected: no"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			client := httpServer(t, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/v1/traces" || r.Header.Get("Content-Type") != "application/json" {
					w.WriteHeader(http.StatusNotFound)
					return
				}
				w.Header().Set("Content-Type", tc.contentType)
				if tc.header != "" {
					w.Header().Set("Retry-After", tc.header)
				}
				w.WriteHeader(tc.status)
				_, _ = w.Write([]byte(tc.body))
			})
			p, err := ParseJSON([]byte(oneSpan))
			require.NoError(t, err)
			err = client.Send(t.Context(), p, HTTPJSON)
			if tc.want == nil {
				require.NoError(t, err)
				return
			}
			var got *Error
			require.ErrorAs(t, err, &got)
			tc.want.Transport = HTTPJSON
			require.Equal(t, tc.want, got)
		})
	}
}

func TestNoAnswerIsRetryable(t *testing.T) {
	addr, err := freeport.Addr()
	require.NoError(t, err)
	client, err := New(addr, addr)
	require.NoError(t, err)
	defer func() { require.NoError(t, client.Close()) }()
	for _, via := range Transports {
		err := client.Send(t.Context(), FromTraces(ptrace.NewTraces()), via)
		var got *Error
		require.ErrorAs(t, err, &got)
		require.True(t, got.Retryable, via)
	}
}

func TestSendRetryingGoesOnUntilTaken(t *testing.T) {
	var calls atomic.Int32
	client := httpServer(t, func(w http.ResponseWriter, _ *http.Request) {
		if calls.Add(1) < 3 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Content-Type", "application/x-protobuf")
	})
	attempts, err := client.SendRetrying(t.Context(), FromLogs(plog.NewLogs()), HTTPProtobuf)
	require.NoError(t, err)
	require.Equal(t, 3, attempts)
}

func TestSendRetryingEndsWithItsContext(t *testing.T) {
	client := httpServer(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	ctx, cancel := context.WithTimeout(t.Context(), 250*time.Millisecond)
	defer cancel()
	_, err := client.SendRetrying(ctx, FromLogs(plog.NewLogs()), HTTPProtobuf)
	require.ErrorContains(t, err, "gave up after")
}

type grpcTraces struct {
	ptraceotlp.UnimplementedGRPCServer
	err   error
	spans atomic.Int64
}

func (s *grpcTraces) Export(_ context.Context, req ptraceotlp.ExportRequest) (ptraceotlp.ExportResponse, error) {
	s.spans.Add(int64(req.Traces().SpanCount()))
	return ptraceotlp.NewExportResponse(), s.err
}

type grpcLogs struct {
	plogotlp.UnimplementedGRPCServer
	records atomic.Int64
}

func (s *grpcLogs) Export(_ context.Context, req plogotlp.ExportRequest) (plogotlp.ExportResponse, error) {
	s.records.Add(int64(req.Logs().LogRecordCount()))
	return plogotlp.NewExportResponse(), nil
}

func TestGRPC(t *testing.T) {
	withDelay, err := status.New(codes.ResourceExhausted, "later").WithDetails(
		&errdetails.RetryInfo{RetryDelay: durationpb.New(2 * time.Second)})
	require.NoError(t, err)
	for name, tc := range map[string]struct {
		answer error
		want   *Error
	}{
		"taken":     {},
		"full":      {answer: status.Error(codes.Unavailable, "full"), want: &Error{Code: 14, Reason: "Unavailable", Message: "full", Retryable: true}},
		"exhausted": {answer: status.Error(codes.ResourceExhausted, "big"), want: &Error{Code: 8, Reason: "ResourceExhausted", Message: "big"}},
		"later":     {answer: withDelay.Err(), want: &Error{Code: 8, Reason: "ResourceExhausted", Message: "later", Retryable: true, RetryAfter: 2 * time.Second}},
		"bad":       {answer: status.Error(codes.InvalidArgument, "bad"), want: &Error{Code: 3, Reason: "InvalidArgument", Message: "bad"}},
	} {
		t.Run(name, func(t *testing.T) {
			traces, logs := &grpcTraces{err: tc.answer}, &grpcLogs{}
			server := grpc.NewServer()
			ptraceotlp.RegisterGRPCServer(server, traces)
			plogotlp.RegisterGRPCServer(server, logs)
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			served := make(chan error, 1)
			go func() { served <- server.Serve(listener) }()
			client, err := New("127.0.0.1:1", listener.Addr().String())
			require.NoError(t, err)
			defer func() {
				require.NoError(t, client.Close())
				server.Stop()
				require.NoError(t, <-served)
			}()

			ld := plog.NewLogs()
			ld.ResourceLogs().AppendEmpty().ScopeLogs().AppendEmpty().LogRecords().AppendEmpty()
			require.NoError(t, client.Send(t.Context(), FromLogs(ld), GRPC))
			require.EqualValues(t, 1, logs.records.Load())

			p, err := ParseJSON([]byte(oneSpan))
			require.NoError(t, err)
			err = client.Send(t.Context(), p, GRPC)
			require.EqualValues(t, 1, traces.spans.Load())
			if tc.want == nil {
				require.NoError(t, err)
				return
			}
			var got *Error
			require.ErrorAs(t, err, &got)
			tc.want.Transport = GRPC
			require.Equal(t, tc.want, got)
		})
	}
}
