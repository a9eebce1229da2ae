package claudeauditprocessor

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/claudeaudit/claudeaudit/internal/audit"
	"github.com/claudeaudit/claudeaudit/internal/detect"
	"github.com/claudeaudit/claudeaudit/internal/dlp"
	"github.com/claudeaudit/claudeaudit/internal/identity"
	"github.com/claudeaudit/claudeaudit/processor/claudeauditprocessor/internal/metadata"
)

// detector looks for sensitive data and attacks in what an observation tells. A
// nil detector finds nothing.
type detector struct {
	rules    *detect.Watcher
	external *dlp.Client // nil if there is none
	texts    sync.Pool   // of *detect.Texts
	tb       *metadata.TelemetryBuilder
	stop     context.CancelFunc
	done     chan struct{}
}

var (
	reloadDone   = metric.WithAttributeSet(attribute.NewSet(attribute.String("outcome", "success")))
	reloadFailed = metric.WithAttributeSet(attribute.NewSet(attribute.String("outcome", "failure")))
)

func startDetector(ctx context.Context, cfg *DetectionConfig, host component.Host, set component.TelemetrySettings, tb *metadata.TelemetryBuilder) (*detector, error) {
	if !cfg.Enabled {
		return nil, nil
	}
	d := &detector{tb: tb, done: make(chan struct{})}
	d.texts.New = func() any { return new(detect.Texts) }
	logger := set.Logger
	var err error
	if ext := cfg.External.Get(); ext != nil {
		if d.external, err = dlp.New(ctx, *ext, host.GetExtensions(), set); err != nil {
			return nil, fmt.Errorf("detection::external: %w", err)
		}
		if err := d.observe(); err != nil {
			return nil, err
		}
	}
	d.rules, err = detect.NewWatcher(cfg.engine(), cfg.ReloadInterval, func(e *detect.Engine, err error) {
		if err != nil {
			tb.ProcessorRuleReloads.Add(context.Background(), 1, reloadFailed)
			logger.Error("changed detection rules can't be loaded; those from before stay in use", zap.Error(err))
			return
		}
		tb.ProcessorRuleReloads.Add(context.Background(), 1, reloadDone)
		logger.Info("detection rules loaded again", zap.Int("rules", len(e.Rules())))
	})
	if unknown := (*detect.UnknownIDError)(nil); errors.As(err, &unknown) && unknown.Configured {
		return nil, fmt.Errorf("detection::disable: %w", unknown)
	}
	if err != nil {
		return nil, fmt.Errorf("detection::rule_files: %w", err)
	}
	running, stop := context.WithCancel(context.Background())
	d.stop = stop
	go func() {
		defer close(d.done)
		d.rules.Run(running)
	}()
	return d, nil
}

// observe makes metrics of what the external classifier was asked.
func (d *detector) observe() error {
	answer := func(what string) metric.MeasurementOption {
		return metric.WithAttributeSet(attribute.NewSet(attribute.String("answer", what)))
	}
	answered, failed, skipped, remembered := answer("answered"), answer("failed"), answer("skipped"), answer("remembered")
	return errors.Join(
		d.tb.RegisterProcessorExternalTextsCallback(func(_ context.Context, o metric.Int64Observer) error {
			s := d.external.Stats()
			o.Observe(s.Requests-s.Failures, answered)
			o.Observe(s.Failures, failed)
			o.Observe(s.Skipped, skipped)
			o.Observe(s.Cached, remembered)
			return nil
		}),
		d.tb.RegisterProcessorExternalOpenCallback(func(_ context.Context, o metric.Int64Observer) error {
			open := int64(0)
			if d.external.Stats().Open {
				open = 1
			}
			o.Observe(open)
			return nil
		}),
	)
}

func (d *detector) shutdown() {
	if d != nil {
		d.stop()
		<-d.done
		if d.external != nil {
			d.external.Close()
		}
	}
}

// maxAsked is how many observations the external classifier is asked about at a
// time. How many requests it gets at a time is its configuration's.
const maxAsked = 16

// ask asks the external classifier about all observations of a request, before any
// of them is written. It returns a result for each, or nil if there is no such
// classifier. Its error, when the configuration refuses what the classifier did not
// answer for, is worth another try: the same observations come out of the same
// telemetry again.
func (d *detector) ask(ctx context.Context, observations []identity.Observation) ([]dlp.Result, error) {
	if d == nil || d.external == nil || len(observations) == 0 {
		return nil, nil
	}
	results := make([]dlp.Result, len(observations))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(maxAsked)
	for i := range observations {
		group.Go(func() error {
			o := &observations[i]
			texts := d.texts.Get().(*detect.Texts)
			defer d.texts.Put(texts)
			segments, _ := texts.Segments(&o.Conversation)
			var err error
			results[i], err = d.external.Classify(ctx, segments, scopeOf(&o.Record))
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return results, nil
}

func scopeOf(r *audit.Record) detect.Scope {
	scope := detect.Scope{Application: r.ApplicationID, Model: r.Model}
	if r.PromptTokens != nil {
		scope.PromptTokens = *r.PromptTokens
	}
	return scope
}

// find gives the record what is found in the observation's texts, by the rules and
// by the external classifier, if one was asked, and returns the level that it makes,
// "" for none, and why. It reads what the telemetry tells, also where its content is
// not kept.
func (d *detector) find(ctx context.Context, o *identity.Observation, external *dlp.Result) (level, basis string) {
	if d == nil {
		return "", ""
	}
	texts := d.texts.Get().(*detect.Texts)
	defer d.texts.Put(texts)
	segments, notText := texts.Segments(&o.Conversation)
	r := &o.Record
	scope, engine := scopeOf(r), d.rules.Engine()
	res := engine.Scan(segments, scope, detect.Options{})
	if res.Truncated {
		d.tb.ProcessorDetectionTruncated.Add(ctx, 1)
	}
	if external != nil {
		res = dlp.Merge(engine, scope, res, *external)
	}
	if notText {
		r.PolicyFlags = append(r.PolicyFlags, detect.FlagNotText)
	}
	r.PolicyFlags = append(r.PolicyFlags, res.Flags...)
	for _, f := range res.Detections {
		r.Detections = append(r.Detections, audit.Detection{Type: f.Type, Rule: f.Rule, Count: int64(f.Count), Confidence: f.Confidence})
	}
	return res.Level, res.Basis
}
