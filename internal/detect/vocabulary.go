package detect

import (
	"fmt"
	"slices"
	"strings"
)

// vocabulary collects the keywords of all rules and what they are for.
//
// A word in a rule is written as it reads: "passport" is the whole word,
// "ausweis*" also begins longer words, "*nummer" ends them, "*secret*" stands
// anywhere. In scripts that don't separate words, boundaries mean nothing, as
// only ASCII letters and digits count for them.
type vocabulary struct {
	index  map[keyword]int
	words  []keyword
	roles  []*role
	groups []string // keys of the groups
	// contexts has for each word the groups that it is in.
	contexts []bitset
}

func newVocabulary() *vocabulary { return &vocabulary{index: map[keyword]int{}} }

// parseWord reads a word as rules write it.
func parseWord(w string) (keyword, error) {
	k := keyword{left: true, right: true}
	t := w
	if s, ok := strings.CutPrefix(t, "*"); ok {
		t, k.left = s, false
	}
	if s, ok := strings.CutSuffix(t, "*"); ok {
		t, k.right = s, false
	}
	k.text = t
	if len(t) < minKeyword {
		return keyword{}, fmt.Errorf("word %q is shorter than %d bytes", w, minKeyword)
	}
	if len(t) > maxKeyword {
		return keyword{}, fmt.Errorf("word %q is longer than %d bytes", w, maxKeyword)
	}
	return k, nil
}

// maxKeyword keeps a keyword within what a scan knows ahead of a block.
const maxKeyword = 128

// add returns the roles of a word in all the ways it is written.
func (v *vocabulary) add(w string) ([]*role, error) {
	k, err := parseWord(w)
	if err != nil {
		return nil, err
	}
	var out []*role
	for _, form := range caseForms(k.text) {
		out = append(out, v.role(keyword{text: form, left: k.left, right: k.right}))
	}
	return out, nil
}

// literal returns the role of a text that may stand anywhere.
func (v *vocabulary) literal(w string) *role { return v.role(keyword{text: lowerASCII(w)}) }

func (v *vocabulary) role(k keyword) *role {
	i, ok := v.index[k]
	if !ok {
		i = len(v.words)
		v.index[k] = i
		v.words = append(v.words, k)
		v.roles = append(v.roles, &role{})
		v.contexts = append(v.contexts, nil)
	}
	return v.roles[i]
}

// group is the number of a set of context words.
func (v *vocabulary) group(words []string) (int, error) {
	words = slices.Clone(words)
	slices.Sort(words)
	words = slices.Compact(words)
	key := strings.Join(words, "\n")
	if i := slices.Index(v.groups, key); i >= 0 {
		return i, nil
	}
	n := len(v.groups)
	v.groups = append(v.groups, key)
	for _, w := range words {
		k, err := parseWord(w)
		if err != nil {
			return 0, fmt.Errorf("context: %w", err)
		}
		for _, form := range caseForms(k.text) {
			k.text = form
			v.role(k)
			v.contexts[v.index[k]].set(n)
		}
	}
	return n, nil
}
