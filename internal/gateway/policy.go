package gateway

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/claudeaudit/claudeaudit/internal/audit"
	"github.com/claudeaudit/claudeaudit/internal/conversation"
	"github.com/claudeaudit/claudeaudit/internal/detect"
	"github.com/claudeaudit/claudeaudit/internal/terminated"
)

// Action is what becomes of a call, the mildest first.
type Action string

// The actions.
const (
	Allow Action = "allow"
	Flag  Action = "flag"  // forward, with a flag in the record
	Block Action = "block" // answer with an error instead of forwarding
	// Terminate blocks, and refuses the session's later calls.
	Terminate Action = "terminate"
)

var severity = map[Action]int{Allow: 0, Flag: 1, Block: 2, Terminate: 3}

// Call is what a decision is made of: all that is known before anything is forwarded.
type Call struct {
	Surface                       Surface
	Operation, Model              string
	User, Assurance, Department   string
	Application, Session, Address string
	Conversation                  *conversation.Conversation
}

// Decision is what becomes of a call, and why.
type Decision struct {
	Action Action
	Rule   string
	// Reason is for the record; Message for the person whose call it is. Neither holds content.
	Reason, Message string
	// Shadow says that the decision is recorded and not carried out.
	Shadow bool
}

// Policy decides what becomes of calls.
type Policy interface {
	Decide(ctx context.Context, c *Call) Decision
	// Watch is what looks at the call's answer while it comes; nil when nothing is to.
	Watch(c *Call) *Watch
	// Ended tells of the tokens that a call took, as far as they are known.
	Ended(c *Call, tokens int64) error
	// Close is called when there are no more calls.
	Close() error
}

// Rule applies to calls that fit all of its conditions; an empty condition fits every call.
type Rule struct {
	Name   string
	Action Action
	// Response makes it a rule on what is answered, rather than on what is asked.
	Response bool
	// Message is for the person whose call it is; there is a default.
	Message string
	// Applications, Users, Departments and Models are lists of which one has to fit; * at the end of an
	// element stands for any rest.
	Applications, Users, Departments, Models []string
	// Unverified fits calls whose user is less sure than verified.
	Unverified bool
	// Flags are those of the detection engine, or detected types, of which one has to be found. A * at the end stands for
	// any rest.
	Flags []string
	// Level is the lowest class of data that has to be found.
	Level string
}

// Rules are a Policy.
type Rules struct {
	rules   []Rule
	budgets []Budget
	shadow  bool
	engine  *detect.Engine // nil where no rule looks at content
	texts   sync.Pool
	store   *terminated.Store
	usage   *Usage
	now     func() time.Time
}

// RulesSettings make Rules.
type RulesSettings struct {
	Rules   []Rule
	Budgets []Budget
	// Shadow decides and records, and carries nothing out.
	Shadow bool
	// Engine finds what rules ask for; needed when one has flags or a level.
	Engine *detect.Engine
	// Terminated keeps the sessions that were terminated; needed when a rule terminates.
	Terminated *terminated.Store
	// Usage counts for the budgets; default in memory.
	Usage *Usage
	Now   func() time.Time
}

// NewRules makes a Policy of rules.
func NewRules(set RulesSettings) *Rules {
	if set.Now == nil {
		set.Now = time.Now
	}
	if set.Usage == nil {
		set.Usage = NewUsage()
	}
	r := &Rules{
		rules: set.Rules, budgets: set.Budgets, shadow: set.Shadow, engine: set.Engine, store: set.Terminated, usage: set.Usage, now: set.Now,
	}
	r.texts.New = func() any { return new(detect.Texts) }
	return r
}

// Close makes what was counted durable.
func (r *Rules) Close() error { return r.usage.Close() }

// Decide takes the severest of what applies.
func (r *Rules) Decide(_ context.Context, c *Call) Decision {
	if until, rule := r.store.Until(c.Session, r.now()); !until.IsZero() {
		return Decision{
			Action: Block, Rule: rule, Reason: "the session was terminated until " + until.UTC().Format(time.RFC3339),
			Message: "this session was ended by a policy of your organization", Shadow: r.shadow,
		}
	}
	best := Decision{Action: Allow}
	take := func(d Decision) {
		if severity[d.Action] > severity[best.Action] {
			d.Shadow = r.shadow && d.Action != Flag
			best = d
		}
	}
	var found *detect.Result
	for i := range r.rules {
		rule := &r.rules[i]
		if rule.Response {
			continue
		}
		if severity[rule.Action] <= severity[best.Action] && rule.Action != Allow || !rule.fits(c) {
			continue
		}
		reason := "rule"
		if len(rule.Flags) > 0 || rule.Level != "" {
			if found == nil {
				found = r.scan(c)
			}
			var ok bool
			if reason, ok = rule.found(found); !ok {
				continue
			}
		}
		if rule.Action == Allow {
			return Decision{Action: Allow, Rule: rule.Name, Reason: reason} // rules below it are passed over
		}
		take(Decision{Action: rule.Action, Rule: rule.Name, Reason: reason, Message: rule.message()})
	}
	if d, over := r.budget(c); over {
		take(d)
	}
	r.terminate(c, &best)
	return best
}

// terminate carries a decision out that ends the session.
func (r *Rules) terminate(c *Call, d *Decision) {
	if d.Action != Terminate || d.Shadow {
		return
	}
	if err := r.store.Terminate(c.Session, d.Rule, r.now()); err != nil {
		d.Reason += "; the session could not be terminated: " + err.Error()
	}
}

func (r *Rules) scan(c *Call) *detect.Result {
	if r.engine == nil {
		return &detect.Result{}
	}
	texts := r.texts.Get().(*detect.Texts)
	defer r.texts.Put(texts)
	segments, _ := texts.Segments(c.Conversation)
	res := r.engine.Scan(segments, detect.Scope{Application: c.Application, Model: c.Model}, detect.Options{})
	return &res
}

func (rule *Rule) fits(c *Call) bool {
	return anyFits(rule.Applications, c.Application) && anyFits(rule.Users, c.User) && anyFits(rule.Departments, c.Department) &&
		anyFits(rule.Models, c.Model) && (!rule.Unverified || c.Assurance != audit.AssuranceVerified)
}

// found tells whether what was found is what the rule is about, and names it.
func (rule *Rule) found(res *detect.Result) (string, bool) {
	if rule.Level != "" {
		if audit.ClassificationLevel(res.Level) < audit.ClassificationLevel(rule.Level) {
			return "", false
		}
		if len(rule.Flags) == 0 {
			return "data of class " + res.Level, true
		}
	}
	for _, f := range res.Flags {
		if anyFits(rule.Flags, f) {
			return f, true
		}
	}
	for _, d := range res.Detections {
		if anyFits(rule.Flags, d.Type) {
			return d.Type, true
		}
	}
	return "", false
}

func (rule *Rule) message() string {
	if rule.Message != "" {
		return rule.Message
	}
	return "blocked by the policy " + rule.Name + " of your organization"
}

// anyFits tells whether one of the patterns fits; none fits everything.
func anyFits(patterns []string, s string) bool {
	return len(patterns) == 0 || slices.ContainsFunc(patterns, func(p string) bool {
		if prefix, ok := strings.CutSuffix(p, "*"); ok {
			return strings.HasPrefix(s, prefix)
		}
		return s == p
	})
}

// decide asks the policy, and answers with an error where the call is not to be forwarded.
func (c *call) decide() *apiError {
	p := c.g.set.Policy
	if p == nil || c.op.activity && c.op.proto != protoFile {
		return nil
	}
	c.asked = &Call{
		Surface: c.op.surface, Operation: c.op.name, Model: c.op.model, User: c.who.User, Assurance: c.who.assurance,
		Department: c.who.Department, Application: c.who.Application, Session: c.who.Session, Address: c.who.Address,
		Conversation: &c.conv,
	}
	c.decision = p.Decide(c.r.Context(), c.asked)
	d := &c.decision
	if answers := c.op.proto == protoMessages || c.op.proto == protoConverse || c.op.proto == protoComplete; answers && (d.Shadow || severity[d.Action] < severity[Block]) {
		c.watch = p.Watch(c.asked)
	}
	c.asked.Conversation = nil // what is kept of the call until its end holds no content
	if d.Action == Flag || d.Shadow {
		c.who.flags = append(c.who.flags, "policy."+d.Rule)
	}
	if d.Shadow || severity[d.Action] < severity[Block] {
		return nil
	}
	c.detail = d.Reason
	return &apiError{http.StatusForbidden, "permission_error", d.Message, 0}
}
