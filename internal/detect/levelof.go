package detect

import "path"

// LevelOf is the level that the taxonomy gives to a detection by itself, whoever
// made it, and the step that does. Steps that count values or ask what stands
// near don't apply, nor do levels of single rules. It is "" where none applies or
// no rule finds such a type.
func (e *Engine) LevelOf(d Detection, sc Scope) (level, step string) {
	conf, err := parseConfidence(d.Confidence)
	if err != nil {
		return "", ""
	}
	steps := e.taxonomy.steps
	for _, a := range e.taxonomy.apps {
		if ok, err := path.Match(a.match, sc.Application); err == nil && ok {
			steps = a.steps
			break
		}
	}
	for i := range steps {
		st := &steps[i]
		if st.id == "rule" || conf < st.conf || d.Count < st.count || st.distinct > 1 || st.kinds > 1 || st.nearRules != nil {
			continue
		}
		for _, r := range e.rules {
			if r.Type == d.Type && st.rules[r.index] {
				return st.level, st.id
			}
		}
	}
	return "", ""
}
