package claudeauditprocessor

import (
	"context"
	"errors"
	"fmt"

	"github.com/open-telemetry/opentelemetry-collector-contrib/pkg/ottl"
	"github.com/open-telemetry/opentelemetry-collector-contrib/pkg/ottl/contexts/ottllog"
	"github.com/open-telemetry/opentelemetry-collector-contrib/pkg/ottl/contexts/ottlspan"
	"github.com/open-telemetry/opentelemetry-collector-contrib/pkg/ottl/ottlfuncs"
	"go.opentelemetry.io/collector/component"
	"go.uber.org/zap"

	"github.com/claudeaudit/claudeaudit/internal/audit"
)

// flagConditionFailed marks a record for which a condition could not be
// evaluated: it got the level of the condition's rule, not a lower one.
const flagConditionFailed = "classification.check_failed"

type condition[K any] struct {
	level int
	basis string
	cond  *ottl.Condition[K]
}

// conditions are the rules' conditions for one signal, highest level first.
type conditions[K any] []condition[K]

func spanParser(set component.TelemetrySettings) (ottl.Parser[*ottlspan.TransformContext], error) {
	return ottlspan.NewParser(ottlfuncs.StandardConverters[*ottlspan.TransformContext](), set)
}

func logParser(set component.TelemetrySettings) (ottl.Parser[*ottllog.TransformContext], error) {
	return ottllog.NewParser(ottlfuncs.StandardConverters[*ottllog.TransformContext](), set)
}

// checkCondition tells whether the text is a condition for at least one signal.
func checkCondition(text string) error {
	set := component.TelemetrySettings{Logger: zap.NewNop()}
	sp, err := spanParser(set)
	if err != nil {
		return fmt.Errorf("make the parser: %w", err)
	}
	_, spanErr := sp.ParseConditions([]string{text})
	if spanErr == nil {
		return nil
	}
	lp, err := logParser(set)
	if err != nil {
		return fmt.Errorf("make the parser: %w", err)
	}
	if _, logErr := lp.ParseConditions([]string{text}); logErr == nil {
		return nil
	}
	return spanErr
}

// parseConditions takes those conditions of the rules that apply to the
// parser's signal; Validate has seen to it that each applies to one.
func parseConditions[K any](rules []ClassificationRule, p ottl.Parser[K]) (conditions[K], error) {
	var out conditions[K]
	for level := len(audit.Classifications); level > 0; level-- {
		for i, r := range rules {
			if audit.ClassificationLevel(r.Level) != level {
				continue
			}
			for j, text := range r.Conditions {
				parsed, err := p.ParseConditions([]string{text})
				if err != nil {
					if err := checkCondition(text); err != nil {
						return nil, fmt.Errorf("classification::rules[%d]::conditions[%d]: %w", i, j, err)
					}
					continue
				}
				out = append(out, condition[K]{level, fmt.Sprintf("rules[%d].conditions[%d]", i, j), parsed[0]})
			}
		}
	}
	return out, nil
}

// classify sets the record's class: the highest of the rules that apply, else
// the default.
func (cs conditions[K]) classify(ctx context.Context, tc K, r *audit.Record, def string) error {
	r.DataClassification, r.ClassificationBasis = def, "default"
	var errs []error
	for _, c := range cs {
		ok, err := c.cond.Eval(ctx, tc)
		if err != nil {
			// The error may quote what it failed on.
			errs = append(errs, errors.New(c.basis))
			r.PolicyFlags = append(r.PolicyFlags, flagConditionFailed)
		}
		if ok || err != nil {
			r.DataClassification, r.ClassificationBasis = audit.Classifications[c.level-1], c.basis
			break
		}
	}
	return errors.Join(errs...)
}
