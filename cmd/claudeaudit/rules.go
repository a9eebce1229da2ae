package main

import (
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/claudeaudit/claudeaudit/internal/detect"
)

func (a *app) newRules() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rules",
		Short: "Test, list and explain the rules of detection",
		Long: `Test, list and explain the rules that find data in prompts and responses: the
built-in ones and those of rule files (--rules). A rule of a file replaces the
one that has its id.`,
	}
	cmd.AddCommand(a.newRulesTest(), a.newRulesList(), a.newRulesExplain())
	return cmd
}

func (a *app) newRulesTest() *cobra.Command {
	var rules ruleFlags
	cmd := &cobra.Command{
		Use:   "test [FILE...]",
		Short: "Load the rules and run their examples",
		Long: `Load the rules, with those of the FILEs, and run the examples of every rule: what
must match and what must not.

Exit code 1: an example came out otherwise. 2: a file can't be loaded; the error
names file and line.`,
		RunE: func(_ *cobra.Command, args []string) error {
			rules.files = append(rules.files, args...)
			cfg := rules.config()
			cfg.NoInjection = true
			engine, err := detect.New(cfg)
			if err != nil {
				return err
			}
			examples, failed := 0, 0
			for _, r := range engine.Rules() {
				examples += len(r.Examples.Match) + len(r.Examples.NoMatch)
				for _, f := range engine.TestRule(r) {
					failed++
					wanted := "must match and doesn't"
					if !f.Want {
						wanted = "must not match and does"
					}
					if _, err := fmt.Fprintf(a.out, "%s: %s: %s: %s\n", r.Where(), r.ID, wanted, printable(f.Text)); err != nil {
						return err
					}
				}
			}
			if _, err := fmt.Fprintf(a.out, "%d rules, %d examples, %d failed\n", len(engine.Rules()), examples, failed); err != nil {
				return err
			}
			if failed > 0 {
				return negative{errSaid}
			}
			return nil
		},
	}
	rules.add(cmd)
	return cmd
}

func (a *app) newRulesList() *cobra.Command {
	var rules ruleFlags
	var category, kind string
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the rules",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			cfg := rules.config()
			cfg.NoInjection = true
			engine, err := detect.New(cfg)
			if err != nil {
				return err
			}
			w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "ID\tTYPE\tCATEGORY\tCONFIDENCE\tWITH CONTEXT\tDESCRIPTION")
			for _, r := range engine.Rules() {
				if category != "" && r.Category != category || kind != "" && r.Type != kind {
					continue
				}
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", r.ID, r.Type, r.Category, dash(r.Confidence), dash(r.Context.Confidence), r.Description)
			}
			return w.Flush()
		},
	}
	rules.add(cmd)
	cmd.Flags().StringVar(&category, "category", "", "only rules of this category (personal, health, secret, business)")
	cmd.Flags().StringVar(&kind, "type", "", "only rules that find this type")
	return cmd
}

func (a *app) newRulesExplain() *cobra.Command {
	var rules ruleFlags
	cmd := &cobra.Command{
		Use:   "explain RULE",
		Short: "Explain a rule: what it looks for, what makes it sure, which class it makes",
		Args:  cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			cfg := rules.config()
			cfg.NoInjection = true
			engine, err := detect.New(cfg)
			if err != nil {
				return err
			}
			r := engine.Rule(args[0])
			if r == nil {
				return negative{errors.New("there is no such rule; claudeaudit rules list shows all")}
			}
			return a.explain(engine, r)
		},
	}
	rules.add(cmd)
	return cmd
}

func (a *app) explain(engine *detect.Engine, r *detect.Rule) error {
	var b strings.Builder
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%-13s %s\n", name, value)
		}
	}
	line("rule", r.ID)
	line("defined in", r.Where())
	line("finds", r.Type+" ("+r.Category+"): "+r.Description)
	line("source", r.Source)
	line("validator", r.Validator)
	line("pattern", r.Pattern)
	line("keywords", strings.Join(r.Keywords, ", "))
	line("confidence", r.Confidence)
	line("alone", r.Alone)
	if len(r.Context.Words) > 0 {
		line("context", fmt.Sprintf("%s within %d bytes before or %d after makes it %s",
			strings.Join(r.Context.Words, ", "), r.Context.Before, r.Context.After, r.Context.Confidence))
	}
	if r.MinCount > 1 {
		line("min count", fmt.Sprint(r.MinCount))
	}
	line("flag", r.Flag)
	for _, s := range engine.StepsOf(r) {
		line("makes", s)
	}
	for _, e := range r.Examples.Match {
		line("matches", printable(e))
	}
	for _, e := range r.Examples.NoMatch {
		line("doesn't", printable(e))
	}
	_, err := fmt.Fprint(a.out, b.String())
	return err
}
