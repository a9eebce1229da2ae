package claudeauditprocessor

import (
	"context"
	"fmt"
	"sync"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.uber.org/zap"

	"github.com/claudeaudit/claudeaudit/internal/audit"
	"github.com/claudeaudit/claudeaudit/internal/detect"
	"github.com/claudeaudit/claudeaudit/internal/identity"
	"github.com/claudeaudit/claudeaudit/processor/claudeauditprocessor/internal/metadata"
)

// detector looks for sensitive data and attacks in what an observation tells. A
// nil detector finds nothing.
type detector struct {
	rules *detect.Watcher
	texts sync.Pool // of *detect.Texts
	tb    *metadata.TelemetryBuilder
	stop  context.CancelFunc
	done  chan struct{}
}

var (
	reloadDone   = metric.WithAttributeSet(attribute.NewSet(attribute.String("outcome", "success")))
	reloadFailed = metric.WithAttributeSet(attribute.NewSet(attribute.String("outcome", "failure")))
)

func startDetector(cfg *DetectionConfig, logger *zap.Logger, tb *metadata.TelemetryBuilder) (*detector, error) {
	if !cfg.Enabled {
		return nil, nil
	}
	d := &detector{tb: tb, done: make(chan struct{})}
	d.texts.New = func() any { return new(detect.Texts) }
	var err error
	d.rules, err = detect.NewWatcher(cfg.engine(), cfg.ReloadInterval, func(e *detect.Engine, err error) {
		if err != nil {
			tb.ProcessorRuleReloads.Add(context.Background(), 1, reloadFailed)
			logger.Error("changed detection rules can't be loaded; those from before stay in use", zap.Error(err))
			return
		}
		tb.ProcessorRuleReloads.Add(context.Background(), 1, reloadDone)
		logger.Info("detection rules loaded again", zap.Int("rules", len(e.Rules())))
	})
	if err != nil {
		return nil, fmt.Errorf("detection::rule_files: %w", err)
	}
	var ctx context.Context
	ctx, d.stop = context.WithCancel(context.Background())
	go func() {
		defer close(d.done)
		d.rules.Run(ctx)
	}()
	return d, nil
}

func (d *detector) shutdown() {
	if d != nil {
		d.stop()
		<-d.done
	}
}

// find gives the record what is found in the observation's texts, and returns the
// level that it makes, "" for none, and why. It reads what the telemetry tells, also
// where its content is not kept.
func (d *detector) find(ctx context.Context, o *identity.Observation) (level, basis string) {
	if d == nil {
		return "", ""
	}
	texts := d.texts.Get().(*detect.Texts)
	defer d.texts.Put(texts)
	segments, notText := texts.Segments(&o.Conversation)
	r := &o.Record
	scope := detect.Scope{Application: r.ApplicationID, Model: r.Model}
	if r.PromptTokens != nil {
		scope.PromptTokens = *r.PromptTokens
	}
	res := d.rules.Engine().Scan(segments, scope, detect.Options{})
	if notText {
		r.PolicyFlags = append(r.PolicyFlags, detect.FlagNotText)
	}
	r.PolicyFlags = append(r.PolicyFlags, res.Flags...)
	for _, f := range res.Detections {
		r.Detections = append(r.Detections, audit.Detection{Type: f.Type, Rule: f.Rule, Count: int64(f.Count), Confidence: f.Confidence})
	}
	if res.Truncated {
		d.tb.ProcessorDetectionTruncated.Add(ctx, 1)
	}
	return res.Level, res.Basis
}
