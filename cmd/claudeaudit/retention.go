package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/claudeaudit/claudeaudit/internal/audit"
	"github.com/claudeaudit/claudeaudit/internal/ledger"
	"github.com/claudeaudit/claudeaudit/internal/retention"
)

type retentionOptions struct {
	file, class, max string
	attributes       retention.Attributes
	rules            bool
	format           string
}

func (a *app) newRetention() *cobra.Command {
	var o retentionOptions
	format := choice{value: formatText, allowed: []string{formatText, formatJSON}}
	cmd := &cobra.Command{
		Use:   "retention",
		Short: "Show what a retention policy would lock until when",
		Long: `Show what a retention policy would lock until when: its classes and rules, and
what each would get of the entries that are in the ledger now, as if they were
written at this moment. Nothing is locked or changed: a lock in a bucket can't be
undone, so look before.

The policy is a file, or one preset class. --policy-only leaves the ledger out;
with --application, --department, --classification or --provider the command
only tells the class of such a record.`,
		Example: `  claudeaudit retention --file config/retention.yaml
  claudeaudit retention --file config/retention.yaml --department trading --classification RESTRICTED`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.format = format.value
			return a.retention(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.file, "file", "", "policy `file`")
	f.StringVar(&o.class, "class", "", "one preset `class` for everything: financial, hipaa, mifid2, sec17a4, ukgdpr")
	f.StringVar(&o.max, "max", "", "longest `period` that is allowed, with --class (default "+retention.DefaultMax+")")
	f.StringVar(&o.attributes.Application, "application", "", "`application` of a record to try")
	f.StringVar(&o.attributes.Department, "department", "", "`department` of a record to try")
	f.StringVar(&o.attributes.Classification, "classification", "", "`classification` of a record to try")
	f.StringVar(&o.attributes.Provider, "provider", "", "`provider` of a record to try")
	f.BoolVar(&o.rules, "policy-only", false, "leave the ledger out")
	addChoice(cmd, &format, "format", "output format")
	complete(cmd.MarkFlagFilename("file", "yaml", "yml"))
	return cmd
}

// plan is what a policy would do.
type plan struct {
	Default string      `json:"default"`
	Max     string      `json:"max_retention"`
	Classes []planClass `json:"classes"`
	Rules   []planRule  `json:"rules"`
	Ledger  string      `json:"ledger,omitempty"`
	Entries uint64      `json:"entries"`
}

type planClass struct {
	Name    string `json:"name"`
	Period  string `json:"period"`
	Until   string `json:"until"` // of what is written now
	Erase   string `json:"erase"`
	Source  string `json:"source"`
	Entries uint64 `json:"entries"`
	Content uint64 `json:"contents"`
}

type planRule struct {
	Name    string `json:"name"`
	Class   string `json:"class"`
	When    string `json:"when"`
	Entries uint64 `json:"entries"`
}

func (a *app) retention(ctx context.Context, o retentionOptions) error {
	var p *retention.Policy
	var err error
	switch {
	case (o.file == "") == (o.class == ""):
		return errors.New("name a policy: either --file or --class")
	case o.file != "" && o.max != "":
		return errors.New("--max: the file has its own, max_retention")
	case o.file != "":
		p, err = retention.Load(o.file)
	default:
		p, err = retention.Of(o.class, o.max)
	}
	if err != nil {
		return err
	}
	now := time.Now().UTC()
	if o.attributes != (retention.Attributes{}) {
		c, rule := p.Choose(o.attributes)
		if o.format == formatJSON {
			return json.NewEncoder(a.out).Encode(map[string]string{
				"class": c.Name, "rule": rule, "period": c.Period.String(), "until": c.Period.After(now).Format(time.DateOnly), "erase": c.Erase, "source": c.Source,
			})
		}
		_, err := fmt.Fprintf(a.out, "%s, by rule %q: %s, until %s if written now\n%s\n", c.Name, rule, c.Period, c.Period.After(now).Format(time.DateOnly), c.Source)
		return err
	}
	out := newPlan(p, now)
	if !o.rules {
		where, err := a.where.find(ctx)
		if err != nil {
			return err
		}
		if err := out.count(ctx, p, where.ledger); err != nil {
			return err
		}
	}
	if o.format == formatJSON {
		enc := json.NewEncoder(a.out)
		enc.SetIndent("", "  ")
		return enc.Encode(out)
	}
	return out.write(a)
}

func newPlan(p *retention.Policy, now time.Time) *plan {
	out := &plan{Default: p.Default, Max: p.Max.String(), Rules: []planRule{}}
	for _, c := range p.InUse() {
		out.Classes = append(out.Classes, planClass{
			Name: c.Name, Period: c.Period.String(), Until: c.Period.After(now).Format(time.DateOnly), Erase: c.Erase, Source: c.Source,
		})
	}
	for _, r := range p.Rules {
		var when []string
		for _, c := range []struct {
			name   string
			values []string
		}{{"application", r.Application}, {"department", r.Department}, {"classification", r.Classification}, {"provider", r.Provider}} {
			if len(c.values) > 0 {
				when = append(when, c.name+" is "+strings.Join(c.values, " or "))
			}
		}
		out.Rules = append(out.Rules, planRule{Name: r.Name, Class: r.Class, When: strings.Join(when, ", ")})
	}
	out.Rules = append(out.Rules, planRule{Name: "default", Class: p.Default, When: "no other rule applies"})
	return out
}

// count goes over the ledger's entries. A ledger that isn't there has none.
func (o *plan) count(ctx context.Context, p *retention.Policy, dir string) (err error) {
	l, err := openLedger(ctx, dir)
	if errors.Is(err, ledger.ErrNoLedger) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	o.Ledger = dir
	return l.All(ctx, func(_ ledger.Place, line []byte) error {
		r, err := audit.ParseRecord(line)
		if err != nil {
			return nil // of another version: kept as the default
		}
		c, rule := p.Choose(retention.Attributes{
			Application: r.ApplicationID, Department: r.Department, Classification: r.DataClassification, Provider: r.Provider,
		})
		o.Entries++
		for i := range o.Classes {
			if o.Classes[i].Name == c.Name {
				o.Classes[i].Entries++
				for _, sum := range []string{r.Content.PromptSHA256, r.Content.ResponseSHA256} {
					if sum != "" {
						o.Classes[i].Content++
					}
				}
			}
		}
		if i := slices.IndexFunc(o.Rules, func(x planRule) bool { return x.Name == rule }); i >= 0 {
			o.Rules[i].Entries++
		}
		return nil
	})
}

func (o *plan) write(a *app) error {
	var b strings.Builder
	say := func(format string, args ...any) { fmt.Fprintf(&b, format, args...) }
	say("what is written now would be locked until\n")
	for _, c := range o.Classes {
		say("  %-16s %s  %4s  %8d entries, %d contents  (erasure: %s)\n                   %s\n",
			c.Name, c.Until, c.Period, c.Entries, c.Content, c.Erase, printable(cmp.Or(c.Source, "no source given")))
	}
	say("\nrules, of which the longest class wins\n")
	for _, r := range o.Rules {
		say("  %-24s %-16s %8d entries  %s\n", printable(r.Name), r.Class, r.Entries, printable(r.When))
	}
	say("\nno class may be longer than %s; a segment is locked as long as the longest class of its entries.\n", o.Max)
	if o.Ledger != "" {
		say("%d entries of %s were looked at. ", o.Entries, printable(o.Ledger))
	}
	say("Nothing was locked.\n")
	_, err := a.out.Write([]byte(b.String()))
	return err
}
