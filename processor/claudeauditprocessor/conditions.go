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

// Flags of records for which a condition could not be evaluated: they count as if
// it applied.
const (
	flagConditionFailed = "classification.check_failed"
	flagPolicyFailed    = "policy.check_failed"
	// flagPolicy begins the flags of the company's own policies.
	flagPolicy = "policy."
)

// condition is an OTTL condition and what it gives to a record.
type condition[K any] struct {
	level int    // of a classification rule
	flag  string // of a policy
	key   string // in the configuration
	cond  *ottl.Condition[K]
}

// conditions are those of the configuration that apply to one signal:
// classification rules with the highest level first, and policies in their order.
type conditions[K any] struct {
	classes  []condition[K]
	policies []condition[K]
}

func (cs *conditions[K]) any() bool { return len(cs.classes)+len(cs.policies) > 0 }

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

// parseConditions takes those conditions that apply to the parser's signal;
// Validate has seen to it that each applies to one.
func parseConditions[K any](cfg *Config, p ottl.Parser[K]) (conditions[K], error) {
	var out conditions[K]
	parse := func(to *[]condition[K], block string, c condition[K], texts []string) error {
		of := c.key
		for i, text := range texts {
			c.key = fmt.Sprintf("%s.conditions[%d]", of, i)
			parsed, err := p.ParseConditions([]string{text})
			if err != nil {
				if err := checkCondition(text); err != nil {
					return fmt.Errorf("%s%s::conditions[%d]: %w", block, of, i, err)
				}
				continue
			}
			c.cond = parsed[0]
			*to = append(*to, c)
		}
		return nil
	}
	for level := len(audit.Classifications); level > 0; level-- {
		for i, r := range cfg.Classification.Rules {
			if audit.ClassificationLevel(r.Level) != level {
				continue
			}
			if err := parse(&out.classes, "classification::", condition[K]{level: level, key: fmt.Sprintf("rules[%d]", i)}, r.Conditions); err != nil {
				return out, err
			}
		}
	}
	for i, pol := range cfg.Policies {
		if err := parse(&out.policies, "", condition[K]{flag: flagPolicy + pol.Flag, key: fmt.Sprintf("policies[%d]", i)}, pol.Conditions); err != nil {
			return out, err
		}
	}
	return out, nil
}

// classify gives the record the level of the highest rule that applies, if one does.
func (cs *conditions[K]) classify(ctx context.Context, tc K, r *audit.Record) error {
	for _, c := range cs.classes {
		applies, err := c.applies(ctx, tc)
		if err != nil {
			r.PolicyFlags = append(r.PolicyFlags, flagConditionFailed)
		}
		if applies {
			r.DataClassification, r.ClassificationBasis = audit.Classifications[c.level-1], c.key
			return err
		}
	}
	return nil
}

// flag gives the record the flags of the policies that apply.
func (cs *conditions[K]) flag(ctx context.Context, tc K, r *audit.Record) error {
	var errs []error
	for _, c := range cs.policies {
		applies, err := c.applies(ctx, tc)
		if err != nil {
			errs = append(errs, err)
			r.PolicyFlags = append(r.PolicyFlags, flagPolicyFailed)
		}
		if applies {
			r.PolicyFlags = append(r.PolicyFlags, c.flag)
		}
	}
	return errors.Join(errs...)
}

// applies tells whether the condition does. One that fails counts as if it did;
// the error names the condition only, since its own may quote what it failed on.
func (c *condition[K]) applies(ctx context.Context, tc K) (bool, error) {
	ok, err := c.cond.Eval(ctx, tc)
	if err != nil {
		return true, errors.New(c.key)
	}
	return ok, nil
}
