// Package retention chooses by rules how long records are kept.
package retention

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// maxFile bounds a policy's file.
const maxFile = 1 << 20

// DefaultMax is the longest period that a class may have where the policy says no other.
const DefaultMax = "10y"

// Period is a length of calendar time: "6y", "18m" or "2190d".
type Period struct{ years, months, days int }

// ParsePeriod reads a period.
func ParsePeriod(s string) (Period, error) {
	bad := fmt.Errorf("period %q: must be a number of years, months or days such as 6y, 18m or 90d", s)
	if len(s) < 2 || len(s) > 6 {
		return Period{}, bad
	}
	n, err := strconv.ParseUint(s[:len(s)-1], 10, 16)
	if err != nil || n == 0 || strconv.FormatUint(n, 10) != s[:len(s)-1] {
		return Period{}, bad
	}
	switch s[len(s)-1] {
	case 'y':
		return Period{years: int(n)}, nil
	case 'm':
		return Period{months: int(n)}, nil
	case 'd':
		return Period{days: int(n)}, nil
	}
	return Period{}, bad
}

func (p Period) String() string {
	switch {
	case p.years > 0:
		return strconv.Itoa(p.years) + "y"
	case p.months > 0:
		return strconv.Itoa(p.months) + "m"
	}
	return strconv.Itoa(p.days) + "d"
}

// After is the time a period after t. A day that the month doesn't have is one
// of the next: longer, never shorter.
func (p Period) After(t time.Time) time.Time {
	return t.UTC().AddDate(p.years, p.months, p.days)
}

// compare compares lengths, from a day on which they are all defined.
func (p Period) compare(q Period) int {
	t := time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC)
	return p.After(t).Compare(q.After(t))
}

// What becomes of a request to erase somebody's content before its retention ends.
const (
	// EraseRefuse: a law demands the content.
	EraseRefuse = "refuse"
	// EraseDefer: the request is noted and done when the retention ends.
	EraseDefer = "defer"
	// EraseShred: the keys are destroyed at once.
	EraseShred = "shred"
)

// Class is a length of retention with its reason.
type Class struct {
	Name   string
	Period Period
	// Source is where the length comes from.
	Source string
	// Erase is refuse, defer or shred.
	Erase string
}

// Presets are the classes that need no definition. docs/retention.md has the
// legal sources at length.
var Presets = []Class{
	{"financial", Period{years: 7}, "financial services, 7 years: 18 U.S.C. § 1520 with 17 CFR 210.2-06 (audit records)", EraseRefuse},
	{"hipaa", Period{years: 6}, "HIPAA, 45 CFR 164.316(b)(2)(i): 6 years from creation or last effect", EraseRefuse},
	{"mifid2", Period{years: 5}, "MiFID II, Directive 2014/65/EU Art. 16(7): 5 years, up to 7 where the authority asks", EraseRefuse},
	{"sec17a4", Period{years: 6}, "SEC Rule 17a-4(a), 17 CFR 240.17a-4: 6 years; the storage of (f)", EraseRefuse},
	{"ukgdpr", Period{years: 6}, "UK GDPR Art. 5(1)(e) with the Limitation Act 1980 s. 5: 6 years, the time in which a claim can be made", EraseShred},
}

// Attributes of a record that rules go by.
type Attributes struct {
	Application, Department, Classification, Provider string
}

// Rule gives records a class. It applies when each of its conditions that is
// not empty has the record's value.
type Rule struct {
	Name           string   `yaml:"name"`
	Application    []string `yaml:"application"`
	Department     []string `yaml:"department"`
	Classification []string `yaml:"classification"`
	Provider       []string `yaml:"provider"`
	Class          string   `yaml:"class"`
}

func (r *Rule) applies(a Attributes) bool {
	for _, c := range []struct {
		values []string
		is     string
	}{{r.Application, a.Application}, {r.Department, a.Department}, {r.Classification, a.Classification}, {r.Provider, a.Provider}} {
		if len(c.values) > 0 && !slices.Contains(c.values, c.is) {
			return false
		}
	}
	return true
}

// Policy is a set of classes and rules. It is not changed after it was made.
type Policy struct {
	Default string
	Max     Period
	Rules   []Rule

	classes map[string]Class
	longest string
}

type policyFile struct {
	Default string               `yaml:"default"`
	Max     string               `yaml:"max_retention"`
	Classes map[string]fileClass `yaml:"classes"`
	Rules   []Rule               `yaml:"rules"`
}

type fileClass struct {
	Period string `yaml:"period"`
	Source string `yaml:"source"`
	Erase  string `yaml:"erase"`
}

// Load reads a policy's file.
func Load(path string) (*Policy, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("retention policy: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(b) > maxFile {
		err = fmt.Errorf("larger than %d bytes", maxFile)
	}
	var p *Policy
	if err == nil {
		p, err = Parse(b)
	}
	if err != nil {
		return nil, fmt.Errorf("retention policy %s: %w", path, err)
	}
	return p, nil
}

// Parse reads a policy in YAML. Its classes may redefine a preset only to
// something longer.
func Parse(b []byte) (*Policy, error) {
	var f policyFile
	d := yaml.NewDecoder(bytes.NewReader(b))
	d.KnownFields(true)
	if err := d.Decode(&f); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if d.Decode(new(any)) == nil {
		return nil, errors.New("more than one YAML document")
	}
	return f.policy()
}

// Of is the policy of one class for everything. max "" is DefaultMax.
func Of(class, maxPeriod string) (*Policy, error) {
	f := policyFile{Default: class, Max: maxPeriod}
	return f.policy()
}

func (f *policyFile) policy() (*Policy, error) {
	p := &Policy{Default: f.Default, Rules: f.Rules, classes: map[string]Class{}}
	for _, c := range Presets {
		p.classes[c.Name] = c
	}
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(f.Classes)) {
		c, err := f.Classes[name].class(name, p.classes)
		if err != nil {
			errs = append(errs, fmt.Errorf("classes: %s: %w", name, err))
			continue
		}
		p.classes[name] = c
	}
	var err error
	if p.Max, err = ParsePeriod(cmp.Or(f.Max, DefaultMax)); err != nil {
		errs = append(errs, fmt.Errorf("max_retention: %w", err))
	}
	used := map[string]string{}
	if f.Default == "" {
		errs = append(errs, errors.New("default: must name a class"))
	} else {
		used[f.Default] = "default"
	}
	for i, r := range f.Rules {
		at := fmt.Sprintf("rules[%d]", i)
		switch {
		case r.Name == "":
			errs = append(errs, fmt.Errorf("%s: name: must not be empty; records name the rule", at))
		case len(r.Application)+len(r.Department)+len(r.Classification)+len(r.Provider) == 0:
			errs = append(errs, fmt.Errorf("%s: must have a condition: application, department, classification or provider", at))
		case r.Class == "":
			errs = append(errs, fmt.Errorf("%s: class: must name a class", at))
		default:
			used[r.Class] = at + ": class"
		}
	}
	for _, name := range slices.Sorted(maps.Keys(used)) {
		c, ok := p.classes[name]
		switch {
		case !ok:
			errs = append(errs, fmt.Errorf("%s: class %q is not defined; the presets are %s", used[name], name, presetNames()))
		case p.Max != Period{} && c.Period.compare(p.Max) > 0:
			errs = append(errs, fmt.Errorf("%s: class %q keeps for %s, longer than max_retention %s: what is locked can't be undone", used[name], name, c.Period, p.Max))
		case p.longest == "" || c.Period.compare(p.classes[p.longest].Period) > 0:
			p.longest = name
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return p, nil
}

func (f fileClass) class(name string, presets map[string]Class) (Class, error) {
	period, err := ParsePeriod(f.Period)
	if err != nil {
		return Class{}, err
	}
	if name == "" || len(name) > 64 || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789_-") != "" || strings.ContainsRune("_-", rune(name[0])) {
		return Class{}, errors.New("the name may hold only lower-case letters, digits, - and _")
	}
	c := Class{Name: name, Period: period, Source: f.Source, Erase: cmp.Or(f.Erase, EraseDefer)}
	if c.Erase != EraseRefuse && c.Erase != EraseDefer && c.Erase != EraseShred {
		return Class{}, fmt.Errorf("erase: must be %s, %s or %s", EraseRefuse, EraseDefer, EraseShred)
	}
	if preset, ok := presets[name]; ok {
		if period.compare(preset.Period) < 0 {
			return Class{}, fmt.Errorf("period: %s is shorter than the preset's %s; give the class another name", period, preset.Period)
		}
		c.Source = cmp.Or(f.Source, preset.Source)
		c.Erase = cmp.Or(f.Erase, preset.Erase)
	}
	return c, nil
}

func presetNames() string {
	names := make([]string, len(Presets))
	for i, c := range Presets {
		names[i] = c.Name
	}
	return strings.Join(names, ", ")
}

// Class returns a class of the policy.
func (p *Policy) Class(name string) (Class, bool) {
	c, ok := p.classes[name]
	return c, ok
}

// Choose returns the longest of the classes that the rules give, and which rule
// gave it; the default, with rule "default", when none applies.
func (p *Policy) Choose(a Attributes) (class Class, rule string) {
	for i := range p.Rules {
		r := &p.Rules[i]
		if !r.applies(a) {
			continue
		}
		if c := p.classes[r.Class]; rule == "" || c.Period.compare(class.Period) > 0 {
			class, rule = c, r.Name
		}
	}
	if rule == "" {
		return p.classes[p.Default], "default"
	}
	return class, rule
}

// Until is when something of a class ends that happened at a time; a class that
// is not the policy's, and "", have the longest of all.
func (p *Policy) Until(class string, at time.Time) time.Time {
	c, ok := p.classes[class]
	if !ok {
		c = p.classes[p.longest]
	}
	return c.Period.After(at)
}

// InUse are the classes that the default and the rules name, the longest first.
func (p *Policy) InUse() []Class {
	names := map[string]bool{p.Default: true}
	for _, r := range p.Rules {
		names[r.Class] = true
	}
	var out []Class
	for _, n := range slices.Sorted(maps.Keys(names)) {
		out = append(out, p.classes[n])
	}
	slices.SortStableFunc(out, func(a, b Class) int { return b.Period.compare(a.Period) })
	return out
}

// Longer returns whichever of two classes of the policy ends later.
func (p *Policy) Longer(a, b string) string {
	ca, okA := p.classes[a]
	cb, okB := p.classes[b]
	switch {
	case !okA:
		return b
	case !okB || ca.Period.compare(cb.Period) >= 0:
		return a
	}
	return b
}
