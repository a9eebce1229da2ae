package gateway

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/agnivade/levenshtein"
)

// onlyAnswers begins the flags that nothing but an answer raises.
const onlyAnswers = "output."

// CheckFlags refuses an element of Flags that fits nothing of what can be found: a rule that never applies would pass
// everything unnoticed. Its error names the element and what comes closest to it.
func (rule *Rule) CheckFlags(finds []string) error {
	if !rule.Response {
		finds = slices.DeleteFunc(slices.Clone(finds), func(f string) bool { return strings.HasPrefix(f, onlyAnswers) })
	}
	for i, pattern := range rule.Flags {
		if slices.ContainsFunc(finds, func(f string) bool { return anyFits(rule.Flags[i:i+1], f) }) {
			continue
		}
		if !rule.Response && strings.HasPrefix(pattern, onlyAnswers) {
			return fmt.Errorf("flags[%d]: %q is found in answers alone, so the rule needs on: response", i, pattern)
		}
		return fmt.Errorf("flags[%d]: %q is neither a flag nor a type of data that can be found; the closest are %s",
			i, pattern, strings.Join(closest(pattern, finds), ", "))
	}
	return nil
}

// suggested is how many names an error suggests.
const suggested = 3

// closest are the names, and patterns of groups of them, that it takes the fewest changes to get to.
func closest(s string, names []string) []string {
	names = slices.Clone(names)
	for _, n := range names {
		if group, _, ok := strings.Cut(n, "."); ok {
			names = append(names, group+".*")
		}
	}
	slices.Sort(names)
	names = slices.Compact(names)
	away := make(map[string]int, len(names))
	for _, n := range names {
		away[n] = levenshtein.ComputeDistance(s, n)
	}
	slices.SortStableFunc(names, func(a, b string) int { return cmp.Compare(away[a], away[b]) })
	return names[:min(suggested, len(names))]
}
