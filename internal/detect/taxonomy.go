package detect

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Taxonomy says which data at which counts make which level.
type Taxonomy struct {
	Steps        []Step        `yaml:"steps"`
	Applications []Application `yaml:"applications"`
}

// Step is a condition that makes a level. A detection counts for it if its type
// or its category is named, its rule isn't excepted, and it is sure enough.
type Step struct {
	ID         string   `yaml:"id"`
	Level      string   `yaml:"level"`
	Types      []string `yaml:"types"`
	Categories []string `yaml:"categories"`
	// Except are types that don't count.
	Except []string `yaml:"except"`
	// Confidence is the least that counts; empty is medium.
	Confidence string `yaml:"confidence"`
	// Count is how many there must be; 0 is 1.
	Count int `yaml:"count"`
	// Distinct is how many different values there must be.
	Distinct int `yaml:"distinct"`
	// Kinds is how many different types there must be, all of them within
	// Within bytes of one another where that is given.
	Kinds int `yaml:"kinds"`
	// Near are types of which one must stand within Within bytes.
	Near   []string `yaml:"near"`
	Within int      `yaml:"within"`

	file string
	line int
}

// Application is what is different for some applications.
type Application struct {
	// Match is the application's id, or a pattern of path.Match.
	Match string `yaml:"match"`
	// Default is the level when nothing was found; only here or in a rule can
	// PUBLIC come from.
	Default string `yaml:"default"`
	// Disable lists steps that don't apply, or prefixes of their ids with ".*".
	Disable []string `yaml:"disable"`
	// Steps are added; one with an id that is there already replaces it.
	Steps []Step `yaml:"steps"`

	file string
	line int
}

func (s *ruleSet) addTaxonomy(name string, doc *yaml.Node, t Taxonomy) {
	lines := linesOf(doc, len(t.Steps), "taxonomy", "steps")
	for i, st := range t.Steps {
		st.file, st.line = name, lines[i]
		s.steps = slices.DeleteFunc(s.steps, func(o Step) bool { return o.ID == st.ID && st.ID != "" && o.file != name })
		s.steps = append(s.steps, st)
	}
	lines = linesOf(doc, len(t.Applications), "taxonomy", "applications")
	for i, a := range t.Applications {
		a.file, a.line = name, lines[i]
		for j := range a.Steps {
			a.Steps[j].file, a.Steps[j].line = name, lines[i]
		}
		s.apps = append(s.apps, a)
	}
}

// taxonomy is the compiled form: for each application pattern its own steps.
type taxonomy struct {
	steps []step
	apps  []appSteps
}

type appSteps struct {
	match, def string
	steps      []step
}

// step is a Step over the indexes of rules.
type step struct {
	id, level  string
	level0     int
	conf       Confidence
	count      int
	distinct   int
	kinds      int
	within     uint32
	rules      []bool // counts
	nearRules  []bool
	typeOfRule []uint16
}

func (s *ruleSet) compileTaxonomy() (*taxonomy, error) {
	t := &taxonomy{}
	types := map[string]uint16{}
	typeOf := make([]uint16, len(s.rules))
	for i, r := range s.rules {
		n, ok := types[r.Type]
		if !ok {
			n = uint16(len(types))
			types[r.Type] = n
		}
		typeOf[i] = n
	}
	ids := map[string]bool{}
	for _, st := range s.steps {
		if ids[st.ID] {
			return nil, fmt.Errorf("%s:%d: taxonomy: step %s is there twice", st.file, st.line, st.ID)
		}
		ids[st.ID] = true
	}
	compile := func(list []Step, off func(string) bool) ([]step, error) {
		var out []step
		for _, st := range list {
			c, err := s.compileStep(st, typeOf)
			if err != nil {
				return nil, fmt.Errorf("%s:%d: taxonomy: step %s: %w", st.file, st.line, st.ID, err)
			}
			if !off(st.ID) {
				out = append(out, c)
			}
		}
		for i, r := range s.rules {
			if r.Level == "" {
				continue
			}
			c := step{id: "rule", level: r.Level, level0: levelOf(r.Level), conf: Medium, count: 1, rules: make([]bool, len(s.rules)), typeOfRule: typeOf}
			c.rules[i] = true
			out = append(out, c)
		}
		// the highest first: the first that applies decides
		slices.SortStableFunc(out, func(a, b step) int { return cmp.Compare(b.level0, a.level0) })
		return out, nil
	}
	var err error
	if t.steps, err = compile(s.steps, s.isDisabled); err != nil {
		return nil, err
	}
	for _, a := range s.apps {
		where := fmt.Sprintf("%s:%d: taxonomy: application %q", a.file, a.line, a.Match)
		if _, err := path.Match(a.Match, ""); err != nil || a.Match == "" {
			return nil, fmt.Errorf("%s: not a pattern", where)
		}
		if a.Default != "" && levelOf(a.Default) == 0 {
			return nil, fmt.Errorf("%s: level %q is unknown", where, a.Default)
		}
		list := slices.Clone(s.steps)
		for _, st := range a.Steps {
			list = slices.DeleteFunc(list, func(o Step) bool { return o.ID == st.ID })
			list = append(list, st)
		}
		for _, id := range a.Disable {
			if !slices.ContainsFunc(list, func(st Step) bool { return disables(id, st.ID) }) {
				return nil, fmt.Errorf("%s: disable: there is no taxonomy step %q", where, id)
			}
		}
		own := ruleSet{disabled: a.Disable}
		steps, err := compile(list, func(id string) bool { return s.isDisabled(id) || own.isDisabled(id) })
		if err != nil {
			return nil, err
		}
		t.apps = append(t.apps, appSteps{match: a.Match, def: a.Default, steps: steps})
	}
	return t, nil
}

func (s *ruleSet) compileStep(st Step, typeOf []uint16) (step, error) {
	c := step{
		id: st.ID, level: st.Level, level0: levelOf(st.Level), conf: Medium, count: max(st.Count, 1),
		distinct: st.Distinct, kinds: st.Kinds, within: uint32(max(st.Within, 0)), rules: make([]bool, len(s.rules)), typeOfRule: typeOf,
	}
	if st.ID == "" {
		return c, fmt.Errorf("has no id")
	}
	if c.level0 == 0 {
		return c, fmt.Errorf("level %q is unknown", st.Level)
	}
	if st.Confidence != "" {
		var err error
		if c.conf, err = parseConfidence(st.Confidence); err != nil {
			return c, err
		}
	}
	if len(st.Types)+len(st.Categories) == 0 {
		return c, fmt.Errorf("names no types and no categories")
	}
	if len(st.Near) > 0 && st.Within <= 0 {
		return c, fmt.Errorf("near needs within")
	}
	for _, k := range st.Categories {
		if !slices.Contains(categories, k) {
			return c, fmt.Errorf("category %q is not one of %s", k, strings.Join(categories, ", "))
		}
	}
	if len(st.Near) > 0 {
		c.nearRules = make([]bool, len(s.rules))
	}
	for i, r := range s.rules {
		c.rules[i] = (slices.Contains(st.Types, r.Type) || slices.Contains(st.Categories, r.Category)) && !slices.Contains(st.Except, r.Type)
		if c.nearRules != nil {
			c.nearRules[i] = slices.Contains(st.Near, r.Type)
		}
	}
	return c, nil
}

// StepsOf are the steps of the taxonomy that matches of a rule count for, as
// text: level, id and what else the step asks.
func (e *Engine) StepsOf(r *Rule) []string {
	var out []string
	for i := range e.taxonomy.steps {
		st := &e.taxonomy.steps[i]
		if !st.rules[r.index] {
			continue
		}
		text := st.level + " by " + st.id + " (from " + st.conf.String() + " confidence"
		if st.count > 1 {
			text += fmt.Sprintf(", %d or more", st.count)
		}
		if st.distinct > 0 {
			text += fmt.Sprintf(", %d different values", st.distinct)
		}
		if st.kinds > 0 {
			text += fmt.Sprintf(", %d different types", st.kinds)
		}
		if st.nearRules != nil {
			text += ", near others"
		}
		if st.within > 0 {
			text += fmt.Sprintf(", within %d bytes", st.within)
		}
		out = append(out, text+")")
	}
	return out
}

// facts are what the texts of a call hold together.
type facts struct {
	counts []ruleCount // by rule
	order  []uint16    // rules that were found
	parts  []*partResult
}

// newFacts makes the facts of no text.
func newFacts(rules int) *facts { return &facts{counts: make([]ruleCount, rules)} }

// reset makes f the facts of no text.
func (f *facts) reset() {
	for _, i := range f.order {
		f.counts[i] = ruleCount{}
	}
	clear(f.parts)
	f.order, f.parts = f.order[:0], f.parts[:0]
}

func (f *facts) add(p *partResult) {
	if len(p.counts) == 0 {
		return
	}
	f.parts = append(f.parts, p)
	for _, c := range p.counts {
		t := &f.counts[c.rule]
		if t.count == 0 {
			f.order = append(f.order, c.rule)
		}
		t.count += c.count
		t.sure += c.sure
		t.conf = max(t.conf, c.conf)
	}
}

// judge applies the steps.
func (t *taxonomy) judge(rules []*Rule, f *facts, sc Scope) (level, basis string, detections []Detection) {
	steps, def := t.steps, ""
	for _, a := range t.apps {
		if ok, err := path.Match(a.match, sc.Application); err == nil && ok {
			steps, def = a.steps, a.def
			break
		}
	}
	slices.Sort(f.order)
	for _, i := range f.order {
		r, c := rules[i], f.counts[i]
		detections = append(detections, Detection{Type: r.Type, Rule: r.ID, Confidence: c.conf.String(), Count: int(c.count)})
	}
	if len(f.order) > 0 {
		for i := range steps {
			if rule, ok := steps[i].applies(f); ok {
				return steps[i].level, steps[i].id + ":" + rules[rule].ID, detections
			}
		}
	}
	if def != "" {
		return def, "application", detections
	}
	return "", "", detections
}

// applies says whether the step does, and names a rule for it.
func (st *step) applies(f *facts) (uint16, bool) {
	total, first, any := 0, uint16(0), false
	for _, i := range f.order {
		if !st.rules[i] || f.counts[i].conf < st.conf {
			continue
		}
		if !any {
			first, any = i, true
		}
		switch {
		case st.conf == Medium:
			total += int(f.counts[i].sure)
		default:
			total += int(f.counts[i].count)
		}
	}
	if !any || total < st.count {
		return 0, false
	}
	if st.distinct > 0 && !st.distinctValues(f) {
		return 0, false
	}
	if st.kinds > 0 && !st.differentKinds(f) {
		return 0, false
	}
	if st.nearRules != nil && !st.closeBy(f) {
		return 0, false
	}
	return first, true
}

func (st *step) counts(m match) bool { return st.rules[m.rule] && m.conf >= st.conf }

func (st *step) distinctValues(f *facts) bool {
	seen := map[uint64]bool{}
	for _, p := range f.parts {
		for _, m := range p.matches {
			if st.counts(m) {
				if seen[m.hash] = true; len(seen) >= st.distinct {
					return true
				}
			}
		}
	}
	return false
}

// differentKinds looks for kinds different types, in one text and within a
// distance where one is given.
func (st *step) differentKinds(f *facts) bool {
	seen := map[uint16]uint32{} // type to its last end
	for _, p := range f.parts {
		if st.within > 0 {
			clear(seen)
		}
		for _, m := range p.matches {
			if !st.counts(m) {
				continue
			}
			seen[st.typeOfRule[m.rule]] = m.end
			n := 0
			for _, end := range seen {
				if st.within == 0 || m.start <= end+st.within {
					n++
				}
			}
			if n >= st.kinds {
				return true
			}
		}
	}
	return false
}

// closeBy looks for a match with one of the near types within a distance.
func (st *step) closeBy(f *facts) bool {
	for _, p := range f.parts {
		lastA, lastB := int64(-1), int64(-1)
		for _, m := range p.matches {
			a, b := st.counts(m), st.nearRules[m.rule] && m.conf >= Low
			if a && lastB >= 0 && int64(m.start)-lastB <= int64(st.within) || b && lastA >= 0 && int64(m.start)-lastA <= int64(st.within) {
				return true
			}
			if a {
				lastA = int64(m.end)
			}
			if b {
				lastB = int64(m.end)
			}
		}
	}
	return false
}
