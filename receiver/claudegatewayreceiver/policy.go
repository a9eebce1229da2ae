package claudegatewayreceiver

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/claudeaudit/claudeaudit/internal/audit"
	"github.com/claudeaudit/claudeaudit/internal/detect"
	"github.com/claudeaudit/claudeaudit/internal/gateway"
	"github.com/claudeaudit/claudeaudit/internal/terminated"
)

// PolicyConfig decides what becomes of calls, before they are forwarded.
type PolicyConfig struct {
	// Shadow decides and records, and carries nothing out.
	Shadow bool `mapstructure:"shadow"`
	// Rules are looked at in turn; the severest of those that apply counts, and one that allows ends it.
	Rules []RuleConfig `mapstructure:"rules"`
	// Budgets bound what users and applications may use in a day, by UTC.
	Budgets []BudgetConfig `mapstructure:"budgets"`
	// RuleFiles are added to the built-in detection rules, as those of the claude_audit processor.
	RuleFiles []string `mapstructure:"rule_files"`
	// Directory keeps what a restart must not forget: terminated sessions, what budgets have counted.
	Directory string `mapstructure:"directory"`
	// Terminated says for how long sessions are terminated.
	Terminated TerminatedConfig `mapstructure:"terminated"`
}

// RuleConfig applies to calls that fit all of its conditions. An element of a list may end in *.
type RuleConfig struct {
	// Name is the flag that a record gets, as "policy.<name>", and what the record names.
	Name string `mapstructure:"name"`
	// Action is allow, flag, block or terminate.
	Action string `mapstructure:"action"`
	// On is request, a rule on what is asked, or response, one on what is answered; default request.
	On string `mapstructure:"on"`
	// Message is what the person sees whose call is blocked.
	Message string `mapstructure:"message"`
	// Applications, Users, Departments and Models of which one has to fit.
	Applications []string `mapstructure:"applications"`
	Users        []string `mapstructure:"users"`
	Departments  []string `mapstructure:"departments"`
	Models       []string `mapstructure:"models"`
	// Unverified fits calls whose user isn't verified.
	Unverified bool `mapstructure:"unverified"`
	// Flags are detection flags or detected types of which one has to be found.
	Flags []string `mapstructure:"flags"`
	// Classification is the lowest class of data that has to be found.
	Classification string `mapstructure:"classification"`
}

// BudgetConfig bounds what each user or application may use in a day.
type BudgetConfig struct {
	Name string `mapstructure:"name"`
	// Per is user or application.
	Per string `mapstructure:"per"`
	// Calls and Tokens are the bounds; 0 is none.
	Calls  int64 `mapstructure:"calls"`
	Tokens int64 `mapstructure:"tokens"`
}

// TerminatedConfig is about terminated sessions.
type TerminatedConfig struct {
	// Duration is how long a session stays terminated; default 24h.
	Duration time.Duration `mapstructure:"duration"`
}

// Values of on.
const (
	onRequest  = "request"
	onResponse = "response"
)

var actions = []string{string(gateway.Allow), string(gateway.Flag), string(gateway.Block), string(gateway.Terminate)}

func (c *PolicyConfig) check() []error {
	var errs []error
	bad := func(key, format string, args ...any) {
		errs = append(errs, fmt.Errorf("policy::%s: %w", key, fmt.Errorf(format, args...)))
	}
	names := map[string]bool{}
	name := func(key, name string) {
		switch {
		case name == "":
			bad(key+"::name", "must be set")
		case names[name]:
			bad(key+"::name", "must be another than %q, which is there already", name)
		}
		names[name] = true
	}
	for i, r := range c.Rules {
		key := fmt.Sprintf("rules[%d]", i)
		name(key, r.Name)
		if !slices.Contains(actions, r.Action) {
			bad(key+"::action", "must be one of %s, is %q", strings.Join(actions, ", "), r.Action)
		}
		switch r.On {
		case "", onRequest:
		case onResponse:
			if r.Action == string(gateway.Allow) {
				bad(key+"::action", "must be one of %s for a rule on responses", strings.Join(actions[1:], ", "))
			}
			if len(r.Flags) == 0 && r.Classification == "" {
				bad(key+"::flags", "must be set, or classification, for a rule on responses")
			}
		default:
			bad(key+"::on", "must be %s or %s, is %q", onRequest, onResponse, r.On)
		}
		if r.Classification != "" && audit.ClassificationLevel(r.Classification) == 0 {
			bad(key+"::classification", "must be one of %s, is %q", strings.Join(audit.Classifications, ", "), r.Classification)
		}
		if r.Action == string(gateway.Terminate) && c.Directory == "" {
			bad("directory", "must be set for a rule that terminates")
		}
	}
	if len(c.Budgets) > 0 && c.Directory == "" {
		bad("directory", "must be set for budgets")
	}
	for i, b := range c.Budgets {
		key := fmt.Sprintf("budgets[%d]", i)
		name(key, b.Name)
		if b.Per != "user" && b.Per != "application" {
			bad(key+"::per", "must be user or application, is %q", b.Per)
		}
		if b.Calls < 0 || b.Tokens < 0 || b.Calls == 0 && b.Tokens == 0 {
			bad(key, "must have calls or tokens, greater than 0")
		}
	}
	if c.Terminated.Duration <= 0 {
		bad("terminated::duration", "must be a positive duration such as 24h")
	}
	return errs
}

// sessionsIn is the folder of terminated sessions.
const sessionsIn = "terminated"

// policy is nil where nothing is to be decided. name is that of the gateway.
func (c *PolicyConfig) policy(name string) (gateway.Policy, error) {
	if len(c.Rules) == 0 && len(c.Budgets) == 0 {
		return nil, nil
	}
	set := gateway.RulesSettings{Shadow: c.Shadow}
	content := false
	for _, r := range c.Rules {
		content = content || len(r.Flags) > 0 || r.Classification != ""
		set.Rules = append(set.Rules, gateway.Rule{
			Name: r.Name, Action: gateway.Action(r.Action), Response: r.On == onResponse, Message: r.Message,
			Applications: r.Applications, Users: r.Users, Departments: r.Departments, Models: r.Models,
			Unverified: r.Unverified, Flags: r.Flags, Level: r.Classification,
		})
	}
	for _, b := range c.Budgets {
		set.Budgets = append(set.Budgets, gateway.Budget(b))
	}
	var err error
	if content {
		if set.Engine, err = detect.New(detect.Config{Files: c.RuleFiles}); err != nil {
			return nil, fmt.Errorf("rule_files: %w", err)
		}
		finds := set.Engine.Finds()
		for i := range set.Rules {
			if err := set.Rules[i].CheckFlags(finds); err != nil {
				return nil, fmt.Errorf("rules[%d]::%w", i, err)
			}
		}
	}
	if c.Directory != "" {
		if set.Terminated, err = terminated.Open(filepath.Join(c.Directory, sessionsIn), c.Terminated.Duration); err != nil {
			return nil, fmt.Errorf("directory: %w", err)
		}
	}
	if len(c.Budgets) > 0 {
		// A receiver's name has no character that a file's must not have, but for the slash before its own.
		if set.Usage, err = gateway.OpenUsage(filepath.Join(c.Directory, "budgets"), strings.ReplaceAll(name, "/", "-"), time.Now()); err != nil {
			return nil, fmt.Errorf("directory: %w", err)
		}
	}
	return gateway.NewRules(set), nil
}
