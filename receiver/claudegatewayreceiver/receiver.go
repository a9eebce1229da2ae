package claudegatewayreceiver

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.opentelemetry.io/collector/config/confighttp"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/receiver"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"

	"github.com/claudeaudit/claudeaudit/internal/gateway"
	"github.com/claudeaudit/claudeaudit/receiver/claudegatewayreceiver/internal/metadata"
)

type gatewayReceiver struct {
	cfg  *Config
	set  receiver.Settings
	next consumer.Logs
	tb   *metadata.TelemetryBuilder

	gateway *gateway.Gateway
	server  *http.Server
	serving sync.WaitGroup
}

func newReceiver(set receiver.Settings, cfg *Config, next consumer.Logs) (*gatewayReceiver, error) {
	tb, err := metadata.NewTelemetryBuilder(set.TelemetrySettings)
	if err != nil {
		return nil, err
	}
	return &gatewayReceiver{cfg: cfg, set: set, next: next, tb: tb}, nil
}

// Start listens.
func (r *gatewayReceiver) Start(ctx context.Context, host component.Host) error {
	upstreams := map[gateway.Surface]*gateway.Upstream{}
	for _, u := range r.cfg.Upstreams.all() {
		if u.set.Endpoint == "" {
			continue
		}
		var err error
		if u.set.TLS, err = u.tls.LoadTLSConfig(ctx); err != nil {
			return fmt.Errorf("upstreams::%s::tls: %w", u.surface, err)
		}
		if u.surface == gateway.Bedrock {
			if u.set.Sign, err = r.cfg.Upstreams.Bedrock.signer(ctx); err != nil {
				return fmt.Errorf("upstreams::bedrock: %w", err)
			}
		}
		if u.surface == gateway.Vertex {
			if u.set.Tokens, err = r.cfg.Upstreams.Vertex.tokens(ctx); err != nil {
				return fmt.Errorf("upstreams::vertex: %w", err)
			}
		}
		if upstreams[u.surface], err = gateway.NewUpstream(u.set); err != nil {
			return fmt.Errorf("upstreams::%s::endpoint: %w", u.surface, err)
		}
	}
	identity, err := r.cfg.identity(ctx)
	if err != nil {
		return err
	}
	policy, err := r.cfg.Policy.policy(r.set.ID.String())
	if err != nil {
		return fmt.Errorf("policy::%w", err)
	}
	var tracer trace.Tracer
	if r.cfg.Tracing {
		tracer = metadata.Tracer(r.set.TelemetrySettings)
	}
	l, t := &r.cfg.Limits, &r.cfg.Timeouts
	r.gateway = gateway.New(gateway.Settings{
		Name: r.set.ID.String(), Next: r.next, Upstreams: upstreams,
		Limits: gateway.Limits{
			HeaderBytes: l.MaxHeaderBytes, RequestBytes: l.MaxRequestBytes, BatchBytes: l.MaxBatchBytes, BufferedBytes: l.MaxBufferedBytes, ResponseBytes: l.MaxResponseBytes,
			BodyTimeout: t.Body, HeaderTimeout: t.Header, IdleTimeout: t.Idle, WriteTimeout: t.Write,
			RecordTimeout: t.Record, PendingOutcomes: l.MaxPendingOutcomes,
		},
		Identity: identity, Policy: policy, BatchPoll: r.cfg.BatchPoll, PublicURL: strings.TrimSuffix(r.cfg.PublicURL, "/"),
		Drain: r.cfg.ClientGone == clientGoneDrain, Tracer: tracer, Logger: r.set.Logger, Metrics: (*metrics)(r.tb),
		Report: func(err error) {
			if err != nil {
				r.set.Logger.Error("calls can't be recorded; they are refused", zap.Error(err))
				componentstatus.ReportStatus(host, componentstatus.NewRecoverableErrorEvent(err))
				return
			}
			r.set.Logger.Info("calls can be recorded again")
			componentstatus.ReportStatus(host, componentstatus.NewEvent(componentstatus.StatusOK))
		},
	})
	if r.cfg.Ledger != "" {
		killed, batches, err := gateway.Unfinished(ctx, r.cfg.Ledger, r.set.ID.String(), time.Now())
		if err != nil {
			return fmt.Errorf("ledger: %w", err)
		}
		r.gateway.CloseKilled(ctx, killed)
		r.gateway.TakeBatches(batches)
	}
	// The server's own limit is for what lies around the body; the gateway's has the error that clients know.
	r.cfg.Server.MaxRequestBodySize = 1 << 40
	r.server, err = r.cfg.Server.ToServer(ctx, host.GetExtensions(), r.set.TelemetrySettings, r.gateway,
		confighttp.WithErrorHandler(func(w http.ResponseWriter, req *http.Request, _ string, _ int) { r.gateway.Unauthenticated(w, req) }))
	if err != nil {
		return err
	}
	listener, err := r.cfg.Server.ToListener(ctx)
	if err != nil {
		return fmt.Errorf("endpoint: %w", err)
	}
	listener = r.gateway.Attach(r.server, listener)
	r.set.Logger.Info("gateway listens", zap.String("endpoint", listener.Addr().String()))
	r.serving.Go(func() {
		if err := r.server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			componentstatus.ReportStatus(host, componentstatus.NewFatalErrorEvent(err))
		}
	})
	return nil
}

// Shutdown lets calls end for a while, then ends them, and waits for their records.
func (r *gatewayReceiver) Shutdown(ctx context.Context) error {
	r.tb.Shutdown()
	if r.gateway == nil {
		return nil
	}
	return errors.Join(r.endCalls(ctx), r.gateway.Shutdown(ctx))
}

func (r *gatewayReceiver) endCalls(ctx context.Context) error {
	if r.server == nil {
		return nil
	}
	drain, cancel := context.WithTimeout(ctx, r.cfg.Timeouts.Drain)
	defer cancel()
	err := r.server.Shutdown(drain)
	if err != nil {
		r.gateway.Abort()
		last, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		if err = r.server.Shutdown(last); err != nil {
			err = errors.Join(fmt.Errorf("end the calls that are under way: %w", err), r.server.Close())
		}
	}
	r.serving.Wait()
	return err
}

// metrics are the component's own.
type metrics metadata.TelemetryBuilder

func (m *metrics) builder() *metadata.TelemetryBuilder { return (*metadata.TelemetryBuilder)(m) }

func (m *metrics) Opened() { m.builder().GatewayOpen.Add(context.Background(), 1) }

func (m *metrics) Closed(surface gateway.Surface, ended string) {
	m.builder().GatewayOpen.Add(context.Background(), -1)
	m.builder().GatewayCalls.Add(context.Background(), 1, metric.WithAttributes(
		attribute.String("surface", string(surface)), attribute.String("ended", ended)))
}

func (m *metrics) Refused(reason string) {
	m.builder().GatewayRefused.Add(context.Background(), 1, metric.WithAttributes(attribute.String("error_type", reason)))
}

func (m *metrics) Blocked(rule string) {
	m.builder().GatewayBlocked.Add(context.Background(), 1, metric.WithAttributes(attribute.String("rule", rule)))
}

func (m *metrics) Recorded(d time.Duration) {
	m.builder().GatewayRecordDuration.Record(context.Background(), d.Seconds())
}

func (m *metrics) Unrecorded(what string) {
	m.builder().GatewayUnrecorded.Add(context.Background(), 1, metric.WithAttributes(attribute.String("event", what)))
}
