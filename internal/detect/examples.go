package detect

import "slices"

// FailedExample is an example of a rule that came out otherwise.
type FailedExample struct {
	Text string
	// Want is whether the rule had to match.
	Want bool
}

// TestRule runs a rule's examples through the whole engine. An example of what
// must match may be taken by another rule of the same type.
func (e *Engine) TestRule(r *Rule) []FailedExample {
	var failed []FailedExample
	for _, text := range r.Examples.Match {
		if !slices.ContainsFunc(e.scanText(Segment{Text: text}).counts, func(c ruleCount) bool {
			return e.rules[c.rule] == r || e.rules[c.rule].Type == r.Type
		}) {
			failed = append(failed, FailedExample{text, true})
		}
	}
	for _, text := range r.Examples.NoMatch {
		if slices.ContainsFunc(e.scanText(Segment{Text: text}).counts, func(c ruleCount) bool { return e.rules[c.rule] == r }) {
			failed = append(failed, FailedExample{text, false})
		}
	}
	return failed
}
