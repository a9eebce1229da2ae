package detect

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/claudeaudit/claudeaudit/config/rules"
)

// Categories of rules.
const (
	CategoryPersonal = "personal"
	CategoryHealth   = "health"
	CategorySecret   = "secret"
	CategoryBusiness = "business"
)

var categories = []string{CategoryPersonal, CategoryHealth, CategorySecret, CategoryBusiness}

// Rule says how to find one kind of data. Its match is what a pattern finds at
// one of its keywords, what a validator accepts, or else a keyword itself.
type Rule struct {
	ID string `yaml:"id"`
	// Type is what the data are, the same for all rules that find such.
	Type     string `yaml:"type"`
	Category string `yaml:"category"`
	// Description and Source tell people what it is and where its format is published.
	Description string `yaml:"description"`
	Source      string `yaml:"source"`
	// Level is the class that one match of at least medium confidence makes by
	// itself, whatever the taxonomy says of its type; usually empty.
	Level string `yaml:"level"`
	// Flag is a policy flag that a match raises.
	Flag string `yaml:"flag"`

	// Validator is the name of a built-in matcher.
	Validator string `yaml:"validator"`
	// Pattern is a regular expression (RE2 syntax). Its first group, if it has
	// one, is the value. It sees the window around a keyword only.
	Pattern string `yaml:"pattern"`
	// Preceded is a class of bytes and how many of them stand right before the
	// keyword, such as [0-9a-f]{32}: they are part of the value, and the pattern
	// begins at the keyword.
	Preceded string `yaml:"preceded"`
	// Window is how many bytes before and after the keyword the pattern sees;
	// without bytes before, it has to match from the keyword on.
	Window Window `yaml:"window"`
	// Keywords make the rule look. See vocabulary for how they are written; a
	// pattern's keywords may stand anywhere. "@name" is the word list of a name.
	Keywords []string `yaml:"keywords"`
	// CaseSensitive keywords match only as they are written.
	CaseSensitive bool `yaml:"case_sensitive"`

	// Confidence is that of a match by itself: low, medium, high, or empty if
	// it counts only with context.
	Confidence string `yaml:"confidence"`
	// Context are words nearby that make a match surer.
	Context Context `yaml:"context"`
	// Alone is the confidence of a match that is the whole text.
	Alone string `yaml:"alone"`
	// MinCount is how many matches a text must have; 0 is 1.
	MinCount int `yaml:"min_count"`
	// Entropy is the least Shannon entropy of the value, bits a character.
	Entropy float64 `yaml:"entropy"`
	// Length is the least length of the value, bytes.
	Length int `yaml:"length"`
	// Stop are texts that no value holds, in any case.
	Stop []string `yaml:"stop"`
	// Allow are patterns of values that are none.
	Allow []string `yaml:"allow"`
	// Priority decides between matches that overlap before all else; 0 by default.
	Priority int `yaml:"priority"`

	Examples Examples `yaml:"examples"`

	file string
	line int

	index       uint16
	group       int
	conf        Confidence
	contextConf Confidence
	alone       Confidence
	priority    int
	checked     bool
	long        bool
	// glued says that anything may stand behind a match: its beginning is
	// distinctive enough, and its length is known.
	glued        bool
	re           *regexp.Regexp
	sequences    []sequence // instead of re, where the pattern is that simple
	lead         *lead
	preceded     *run
	need         *need
	allow        []*regexp.Regexp
	validator    *validator
	contextWords []string
	keywords     []string
	exactCase    []string
}

// Window is a number of bytes around a keyword.
type Window struct {
	Before int `yaml:"before"`
	After  int `yaml:"after"`
}

// Context are corroborating words.
type Context struct {
	// Words are whole words, written as Keywords are.
	Words []string `yaml:"words"`
	// Before and After are how far from the match a word may stand, bytes; 0 is
	// DefaultBefore and DefaultAfter.
	Before int `yaml:"before"`
	After  int `yaml:"after"`
	// Confidence is that of a match with such a word.
	Confidence string `yaml:"confidence"`
}

// Default distances of context, and the longest.
const (
	DefaultBefore = 100
	DefaultAfter  = 50
	maxDistance   = 400
)

// Examples are texts that tests hold a rule to.
type Examples struct {
	Match   []string `yaml:"match"`
	NoMatch []string `yaml:"no_match"`
}

// Dictionary is a customer's list of words, each a match of type Type.
type Dictionary struct {
	ID    string `yaml:"id"`
	Type  string `yaml:"type"`
	Level string `yaml:"level"`
	Flag  string `yaml:"flag"`
	// Words stand in the rule file, File names a text file with one a line,
	// relative to the rule file; # begins a comment.
	Words         []string `yaml:"words"`
	File          string   `yaml:"file"`
	CaseSensitive bool     `yaml:"case_sensitive"`
}

// ruleFile is a file of rules.
type ruleFile struct {
	Words        map[string][]string `yaml:"words"`
	Rules        []*Rule             `yaml:"rules"`
	Disable      []string            `yaml:"disable"`
	Dictionaries []Dictionary        `yaml:"dictionaries"`
	Hashes       []HashList          `yaml:"hashes"`
	Taxonomy     Taxonomy            `yaml:"taxonomy"`
}

// ruleSet is what all files say together.
type ruleSet struct {
	rules    []*Rule
	words    map[string][]string
	steps    []Step
	apps     []Application
	disabled []string
	hashes   *hashList
	files    []string // that were read, for the watcher
	off      []off    // what the files' lists of disabled ids say
}

// configured is where what a Config says itself comes from.
const configured = "configuration"

// UnknownIDError is an id, or a prefix with ".*", of what is to be left out that
// nothing has.
type UnknownIDError struct {
	ID string
	// Configured says that it is of Config.Disable, not of a rule file.
	Configured bool
}

func (e *UnknownIDError) Error() string {
	return fmt.Sprintf("there is no rule or taxonomy step %q", e.ID)
}

// off is an id, or prefix with ".*", that a file leaves out.
type off struct{ where, id string }

func (r *Rule) where() string {
	if r.line > 0 {
		return fmt.Sprintf("%s:%d", r.file, r.line)
	}
	return r.file
}

// Where is the file and line of the rule.
func (r *Rule) Where() string { return r.where() }

func load(cfg Config) (*ruleSet, error) {
	set := &ruleSet{words: map[string][]string{}, disabled: cfg.Disable}
	byID := map[string]*Rule{}
	if !cfg.NoDefaults {
		names, err := fs.Glob(rules.Files, "*.yaml")
		if err != nil {
			return nil, fmt.Errorf("list the embedded rules: %w", err)
		}
		for _, name := range names {
			data, err := rules.Files.ReadFile(name)
			if err != nil {
				return nil, fmt.Errorf("read the embedded rules: %w", err)
			}
			if err := set.add(name, "", data, byID); err != nil {
				return nil, err
			}
		}
	}
	for _, name := range cfg.Files {
		data, err := readBounded(name)
		if err != nil {
			return nil, fmt.Errorf("read the rules: %w", err)
		}
		set.files = append(set.files, name)
		if err := set.add(name, filepath.Dir(name), data, byID); err != nil {
			return nil, err
		}
	}
	for _, d := range cfg.Dictionaries {
		if err := set.dictionary(configured, 0, "", d, byID); err != nil {
			return nil, err
		}
	}
	if err := set.checkDisabled(cfg.Disable, byID); err != nil {
		return nil, err
	}
	for id, r := range byID {
		if !set.isDisabled(id) {
			set.rules = append(set.rules, r)
		}
	}
	slices.SortFunc(set.rules, func(a, b *Rule) int { return strings.Compare(a.ID, b.ID) })
	if len(set.rules) > math.MaxUint16 {
		return nil, fmt.Errorf("%d rules are more than %d", len(set.rules), math.MaxUint16)
	}
	for _, r := range set.rules {
		if err := r.compile(set.words); err != nil {
			return nil, fmt.Errorf("%s: rule %s: %w", r.where(), r.ID, err)
		}
	}
	return set, nil
}

func (s *ruleSet) isDisabled(id string) bool {
	return slices.ContainsFunc(s.disabled, func(d string) bool { return disables(d, id) })
}

// disables tells whether an entry of a list of disabled ids means this one.
func disables(entry, id string) bool {
	if p, ok := strings.CutSuffix(entry, ".*"); ok {
		return strings.HasPrefix(id, p+".")
	}
	return id == entry
}

// checkDisabled finds entries that leave nothing out: a rule misspelt there would
// stay on unnoticed.
func (s *ruleSet) checkDisabled(disable []string, byID map[string]*Rule) error {
	list := slices.Clone(s.off)
	for _, id := range disable {
		list = append(list, off{configured, id})
	}
	steps := slices.Clone(s.steps)
	for _, a := range s.apps {
		steps = append(steps, a.Steps...)
	}
	for _, o := range list {
		known := slices.ContainsFunc(steps, func(st Step) bool { return disables(o.id, st.ID) })
		for id := range byID {
			known = known || disables(o.id, id)
		}
		if !known {
			return fmt.Errorf("%s: disable: %w", o.where, &UnknownIDError{ID: o.id, Configured: o.where == configured})
		}
	}
	return nil
}

// maxRuleFile bounds a rule file, a dictionary and a list of hashes.
const maxRuleFile = 64 << 20

func readBounded(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxRuleFile+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxRuleFile {
		return nil, fmt.Errorf("%s is larger than %d bytes", name, maxRuleFile)
	}
	return data, nil
}

// add takes in one file.
func (s *ruleSet) add(name, dir string, data []byte, byID map[string]*Rule) error {
	var f ruleFile
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	if err := dec.Decode(&f); err != nil && !errors.Is(err, io.EOF) {
		return yamlError(name, err)
	}
	if err := dec.Decode(new(ruleFile)); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%s: more than one YAML document", name)
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return yamlError(name, err)
	}
	for list, words := range f.Words {
		s.words[list] = words
	}
	lines := linesOf(&doc, len(f.Rules), "rules")
	for i, r := range f.Rules {
		if r == nil {
			return fmt.Errorf("%s:%d: rule is empty", name, lines[i])
		}
		r.file, r.line = name, lines[i]
		if r.ID == "" {
			return fmt.Errorf("%s: rule has no id", r.where())
		}
		if old := byID[r.ID]; old != nil && old.file == name {
			return fmt.Errorf("%s: rule %s is there already in line %d", r.where(), r.ID, old.line)
		}
		byID[r.ID] = r
	}
	lines = linesOf(&doc, len(f.Dictionaries), "dictionaries")
	for i, d := range f.Dictionaries {
		if err := s.dictionary(name, lines[i], dir, d, byID); err != nil {
			return err
		}
	}
	lines = linesOf(&doc, len(f.Hashes), "hashes")
	for i, h := range f.Hashes {
		if err := s.addHashes(name, lines[i], dir, h, byID); err != nil {
			return fmt.Errorf("%s:%d: hashes %s: %w", name, lines[i], h.ID, err)
		}
	}
	s.disabled = append(s.disabled, f.Disable...)
	lines = linesOf(&doc, len(f.Disable), "disable")
	for i, id := range f.Disable {
		s.off = append(s.off, off{fmt.Sprintf("%s:%d", name, lines[i]), id})
	}
	s.addTaxonomy(name, &doc, f.Taxonomy)
	return nil
}

// yamlError names the file; the text of the YAML error names the line.
func yamlError(name string, err error) error {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	text = strings.TrimPrefix(text, "unmarshal errors:\n  ")
	text = strings.TrimPrefix(strings.ReplaceAll(text, "\n ", ";"), "line ")
	for _, t := range []string{"Rule", "ruleFile", "Window", "Context", "Examples", "Taxonomy", "Step", "Application", "Dictionary", "HashList", "Near"} {
		text = strings.ReplaceAll(text, " not found in type detect."+t, " is unknown")
	}
	return fmt.Errorf("%s:%s", name, text)
}

// linesOf are the lines of the n elements of a list of a document, as the decoder
// found it: also where an alias or a merge key leads to.
func linesOf(doc *yaml.Node, n int, keys ...string) []int {
	out := make([]int, n)
	node := doc
	if node.Kind == yaml.DocumentNode && len(node.Content) > 0 {
		node = node.Content[0]
	}
	for _, key := range keys {
		if node = valueOf(node, key, maxMerges); node == nil {
			return out
		}
	}
	node = resolved(node)
	for i := range out {
		out[i] = node.Line
		if node.Kind == yaml.SequenceNode && i < len(node.Content) {
			out[i] = node.Content[i].Line
		}
	}
	return out
}

// maxMerges bounds how deep maps are merged into another.
const maxMerges = 8

// valueOf is the value of a key of a map, nil if there is none. A key of the map
// itself counts before those of the maps that are merged into it.
func valueOf(node *yaml.Node, key string, depth int) *yaml.Node {
	node = resolved(node)
	if node.Kind != yaml.MappingNode || depth == 0 {
		return nil
	}
	var merged []*yaml.Node
	for i := 0; i+1 < len(node.Content); i += 2 {
		k, v := resolved(node.Content[i]), node.Content[i+1]
		switch {
		case k.Value == key:
			return v
		case k.Value == "<<":
			if r := resolved(v); r.Kind == yaml.SequenceNode {
				merged = append(merged, r.Content...)
			} else {
				merged = append(merged, r)
			}
		}
	}
	for _, m := range merged {
		if v := valueOf(m, key, depth-1); v != nil {
			return v
		}
	}
	return nil
}

// resolved is the node that an alias stands for, or the node itself.
func resolved(node *yaml.Node) *yaml.Node {
	if node.Kind == yaml.AliasNode {
		return node.Alias
	}
	return node
}

// dictionary adds a rule for a customer's list of words.
func (s *ruleSet) dictionary(file string, line int, dir string, d Dictionary, byID map[string]*Rule) error {
	r := &Rule{
		ID: d.ID, Type: d.Type, Category: CategoryBusiness, Level: d.Level, Flag: d.Flag, Keywords: d.Words,
		CaseSensitive: d.CaseSensitive, Confidence: "high", Description: "words of a dictionary", file: file, line: line,
	}
	if r.ID == "" {
		return fmt.Errorf("%s: dictionary has no id", r.where())
	}
	if r.Type == "" {
		r.Type = "dictionary"
	}
	if d.File != "" {
		name := d.File
		if !filepath.IsAbs(name) {
			name = filepath.Join(dir, name)
		}
		data, err := readBounded(name)
		if err != nil {
			return fmt.Errorf("%s: dictionary %s: %w", r.where(), r.ID, err)
		}
		s.files = append(s.files, name)
		for n, l := range strings.Split(string(data), "\n") {
			if l = strings.TrimSpace(l); l == "" || l[0] == '#' {
				continue
			}
			if _, err := parseWord(l); err != nil {
				return fmt.Errorf("%s:%d: %w", name, n+1, err)
			}
			r.Keywords = append(r.Keywords, l)
		}
	}
	byID[r.ID] = r
	return nil
}

func parseConfidence(s string) (Confidence, error) {
	for i, n := range confidenceNames {
		if n == s {
			return Confidence(i), nil
		}
	}
	return None, fmt.Errorf("confidence %q is not low, medium or high", s)
}

// expandLists replaces "@name" by the words of a list.
func expandLists(words []string, lists map[string][]string, depth int) ([]string, error) {
	var out []string
	for _, w := range words {
		name, ok := strings.CutPrefix(w, "@")
		if !ok {
			out = append(out, w)
			continue
		}
		list, ok := lists[name]
		if !ok {
			return nil, fmt.Errorf("there is no word list %q", name)
		}
		if depth == 0 {
			return nil, fmt.Errorf("word list %q is nested too deep", name)
		}
		more, err := expandLists(list, lists, depth-1)
		if err != nil {
			return nil, err
		}
		out = append(out, more...)
	}
	return out, nil
}

// compile checks a rule and prepares it.
func (r *Rule) compile(lists map[string][]string) error {
	var err error
	if r.Type == "" {
		return errors.New("has no type")
	}
	if !slices.Contains(categories, r.Category) {
		return fmt.Errorf("category %q is not one of %s", r.Category, strings.Join(categories, ", "))
	}
	if r.Level != "" && levelOf(r.Level) == 0 {
		return fmt.Errorf("level %q is unknown", r.Level)
	}
	if r.conf, err = parseConfidence(r.Confidence); err != nil {
		return err
	}
	if r.contextConf, err = parseConfidence(r.Context.Confidence); err != nil {
		return fmt.Errorf("context: %w", err)
	}
	if r.alone, err = parseConfidence(r.Alone); err != nil {
		return fmt.Errorf("alone: %w", err)
	}
	if r.conf == None && r.contextConf == None && r.alone == None {
		return errors.New("has no confidence, with or without context")
	}
	if r.contextConf != None && len(r.Context.Words) == 0 {
		return errors.New("context has no words")
	}
	if r.Context.Before == 0 {
		r.Context.Before = DefaultBefore
	}
	if r.Context.After == 0 {
		r.Context.After = DefaultAfter
	}
	if r.Context.Before < 0 || r.Context.Before > maxDistance || r.Context.After < 0 || r.Context.After > maxDistance {
		return fmt.Errorf("context is farther than %d bytes", maxDistance)
	}
	if r.Window.Before < 0 || r.Window.Before > maxDistance || r.Window.After < 0 || r.Window.After > maxValue {
		return fmt.Errorf("window is larger than %d bytes before or %d after", maxDistance, maxValue)
	}
	if r.contextWords, err = expandLists(r.Context.Words, lists, 3); err != nil {
		return fmt.Errorf("context: %w", err)
	}
	if r.keywords, err = expandLists(r.Keywords, lists, 3); err != nil {
		return fmt.Errorf("keywords: %w", err)
	}
	r.priority = r.Priority
	for _, p := range r.Allow {
		re, err := regexp.Compile(p)
		if err != nil {
			return fmt.Errorf("allow: %w", err)
		}
		r.allow = append(r.allow, re)
	}
	for i, w := range r.Stop {
		r.Stop[i] = strings.ToLower(w)
	}
	switch {
	case r.Validator != "" && r.Pattern != "":
		return errors.New("has both a validator and a pattern")
	case r.Validator != "":
		r.validator = validators[r.Validator]
		if r.validator == nil {
			return fmt.Errorf("validator %q is unknown", r.Validator)
		}
		r.checked, r.long = r.validator.checked, r.validator.long
		if r.validator.keyword != nil && len(r.keywords) == 0 {
			return fmt.Errorf("validator %q needs keywords", r.Validator)
		}
	case r.Pattern != "":
		if err := r.compilePattern(); err != nil {
			return err
		}
		// a pattern that is sure by itself is as good as a checksum
		r.checked = r.conf == High
	default:
		if len(r.keywords) == 0 {
			return errors.New("has no validator, no pattern and no keywords")
		}
		if r.CaseSensitive {
			for _, w := range r.keywords {
				r.exactCase = append(r.exactCase, strings.Trim(w, "*"))
			}
		}
	}
	return nil
}

func (r *Rule) compilePattern() error {
	if len(r.keywords) == 0 {
		return errors.New("pattern needs keywords: it is only tried where one of them stands")
	}
	if r.Window.After == 0 {
		r.Window.After = defaultWindow
	}
	p := r.Pattern
	if r.Window.Before == 0 {
		p = `\A(?:` + p + `)`
	}
	parsed, err := syntax.Parse(p, syntax.Perl)
	if err != nil {
		return fmt.Errorf("pattern: %w", err)
	}
	if r.Preceded != "" {
		if r.Window.Before != 0 {
			return errors.New("preceded leaves no place for a window before the keyword")
		}
		if r.preceded, err = parseRun(r.Preceded); err != nil {
			return fmt.Errorf("preceded: %w", err)
		}
	}
	if parsed.MaxCap() > 1 {
		return errors.New("pattern has more than one group: write (?:…) for those that aren't the value")
	}
	if r.re, err = regexp.Compile(p); err != nil {
		return fmt.Errorf("pattern: %w", err)
	}
	if r.re.MatchString("") {
		return errors.New("pattern matches the empty text")
	}
	r.glued = r.Window.Before == 0 && r.preceded == nil && isDistinctive(prefixOf(parsed)) && endsFixed(parsed)
	r.need = needOf(parsed, r.keywords)
	if r.Window.Before == 0 {
		if r.sequences = sequencesOf(parsed); r.sequences == nil {
			r.lead = leadOf(parsed)
		}
	}
	for i, k := range r.keywords {
		// in a pattern's window the pattern says what stands beside the keyword
		if !strings.Contains(k, "*") {
			r.keywords[i] = "*" + k + "*"
			if len(k) == minKeyword && r.Window.Before == 0 && r.preceded == nil {
				r.keywords[i] = k + "*" // everywhere, three bytes are too many hits
			}
		}
	}
	return nil
}

const defaultWindow = 256

// isDistinctive says whether the beginning of a value tells it from all else.
func isDistinctive(prefix string) bool {
	return len(prefix) >= 4 && strings.ContainsAny(prefix, "_-.")
}

// endsFixed says whether a pattern ends in a number of bytes of a class that is
// fixed.
func endsFixed(re *syntax.Regexp) bool {
	for re.Op == syntax.OpConcat || re.Op == syntax.OpCapture {
		re = re.Sub[len(re.Sub)-1]
	}
	return re.Op == syntax.OpRepeat && re.Min == re.Max && re.Sub[0].Op == syntax.OpCharClass
}

// prefixOf is the literal with which all that a pattern matches begins.
func prefixOf(re *syntax.Regexp) string {
	for re.Op == syntax.OpConcat || re.Op == syntax.OpCapture {
		i := 0
		for i < len(re.Sub)-1 && re.Sub[i].Op == syntax.OpBeginText {
			i++
		}
		re = re.Sub[i]
	}
	if re.Op != syntax.OpLiteral || re.Flags&syntax.FoldCase != 0 {
		return ""
	}
	return string(re.Rune)
}

// need is what a text holds wherever a pattern matches in it: a literal that is no
// keyword, and so many bytes of a class in a row. Nothing is "" and 0. Where a
// keyword stands without the rest, and most do, a look for these is all it takes.
type need struct {
	literal string
	run     int
	class   [256]bool
}

// Shorter runs and literals are not worth a look.
const (
	minNeededRun     = 8
	minNeededLiteral = 6
)

func needOf(re *syntax.Regexp, keywords []string) *need {
	var n need
	switch re.Op {
	case syntax.OpConcat, syntax.OpCapture, syntax.OpPlus:
		for _, s := range re.Sub {
			n.more(needOf(s, keywords))
		}
	case syntax.OpAlternate:
		// the least of all
		for i, s := range re.Sub {
			m := needOf(s, keywords)
			if i == 0 {
				n.run, n.class = m.run, m.class
			}
			n.run = min(n.run, m.run)
			for b := range n.class {
				n.class[b] = n.class[b] || m.class[b]
			}
		}
		if n.run == 0 {
			n.class = [256]bool{}
		}
	case syntax.OpRepeat:
		if re.Min == 0 {
			break
		}
		if re.Sub[0].Op != syntax.OpCharClass {
			return needOf(re.Sub[0], keywords)
		}
		if re.Min >= minNeededRun {
			n.run = re.Min
			for c := re.Sub[0].Rune; len(c) > 0; c = c[2:] {
				for b := range n.class {
					// a character outside of ASCII is some bytes outside of ASCII
					n.class[b] = n.class[b] || b >= int(c[0]) && b <= int(c[1]) || b >= utf8.RuneSelf && c[1] >= utf8.RuneSelf
				}
			}
		}
	case syntax.OpLiteral:
		l := string(re.Rune)
		isKeyword := func(k string) bool {
			k = strings.ToLower(strings.Trim(k, "*"))
			return strings.Contains(k, strings.ToLower(l)) || strings.Contains(strings.ToLower(l), k)
		}
		if re.Flags&syntax.FoldCase == 0 && len(l) >= minNeededLiteral && !slices.ContainsFunc(keywords, isKeyword) {
			n.literal = l
		}
	}
	return &n
}

// more makes n what is needed where both are.
func (n *need) more(m *need) {
	if len(m.literal) > len(n.literal) {
		n.literal = m.literal
	}
	if m.run > n.run {
		n.run, n.class = m.run, m.class
	}
}

// in says whether a text may hold what is needed.
func (n *need) in(text string) bool {
	if n.literal != "" && !strings.Contains(text, n.literal) {
		return false
	}
	if n.run == 0 {
		return true
	}
	// A byte that isn't of the class rules out all runs that it would be in: it is
	// looked for from a run's end.
	for end := n.run - 1; end < len(text); {
		i := end
		for n.class[text[i]] {
			if i == end-n.run+1 {
				return true
			}
			i--
		}
		end = i + n.run
	}
	return false
}

// lead is how a pattern begins: that many bytes of a literal, then at least so
// many bytes of a class. Most places where a short keyword stands fail it, at a
// fraction of what the regular expression takes.
type lead struct {
	skip, run int
	class     [256]bool
}

func leadOf(re *syntax.Regexp) *lead {
	var l lead
	var parts []*syntax.Regexp
	var flatten func(*syntax.Regexp)
	flatten = func(r *syntax.Regexp) {
		if r.Op == syntax.OpConcat || r.Op == syntax.OpCapture {
			for _, s := range r.Sub {
				flatten(s)
			}
			return
		}
		parts = append(parts, r)
	}
	flatten(re)
	for _, p := range parts {
		switch p.Op {
		case syntax.OpBeginText:
		case syntax.OpLiteral:
			for _, r := range p.Rune {
				if r >= 0x80 {
					return nil
				}
			}
			l.skip += len(p.Rune)
		case syntax.OpCharClass:
			l.skip++
			if p.Rune[len(p.Rune)-1] >= 0x80 {
				return nil
			}
		case syntax.OpRepeat:
			if p.Sub[0].Op != syntax.OpCharClass || p.Min < 4 {
				return nil
			}
			c := p.Sub[0].Rune
			for i := 0; i < len(c); i += 2 {
				for b := c[i]; b <= c[i+1]; b++ {
					if b >= 0x80 {
						return nil
					}
					l.class[b] = true
				}
			}
			l.run = p.Min
			return &l
		default:
			return nil
		}
	}
	return nil
}

// fits says whether text[at:] may match.
func (l *lead) fits(text string, at int) bool {
	if at += l.skip; at+l.run > len(text) {
		return false
	}
	for i := at; i < at+l.run; i++ {
		if !l.class[text[i]] {
			return false
		}
	}
	return true
}

// run is so many bytes of a class in a row.
type run struct {
	min, max int
	class    [256]bool
}

// parseRun reads a run as patterns write it.
func parseRun(text string) (*run, error) {
	re, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		return nil, err
	}
	if re.Op != syntax.OpRepeat || re.Sub[0].Op != syntax.OpCharClass || re.Min < 1 || re.Max < re.Min || re.Max > maxDistance {
		return nil, fmt.Errorf("%q is not a class of characters and at most %d of them: [0-9a-f]{32}", text, maxDistance)
	}
	n := &run{min: re.Min, max: re.Max}
	for c := re.Sub[0].Rune; len(c) > 0; c = c[2:] {
		if c[1] >= utf8.RuneSelf {
			return nil, fmt.Errorf("%q has characters that are not ASCII", text)
		}
		for b := c[0]; b <= c[1]; b++ {
			n.class[b] = true
		}
	}
	return n, nil
}

// before is where the run begins that ends at a place, -1 if its length is another.
func (n *run) before(text string, end int) int {
	least := max(0, end-n.max-1)
	i := end
	for i > least && n.class[text[i-1]] {
		i--
	}
	if l := end - i; l < n.min || l > n.max {
		return -1
	}
	return i
}

// anchorWords are the keywords that make the rule look.
func (r *Rule) anchorWords() []string {
	if r.validator != nil && r.validator.keyword == nil {
		return nil
	}
	return r.keywords
}

// accepts applies what a rule says of all its values.
func (r *Rule) accepts(value string) bool {
	if len(value) < r.Length {
		return false
	}
	if r.Entropy > 0 && entropy(value) < r.Entropy {
		return false
	}
	if len(r.Stop) > 0 {
		lower := strings.ToLower(value)
		if slices.ContainsFunc(r.Stop, func(w string) bool { return strings.Contains(lower, w) }) {
			return false
		}
	}
	if slices.ContainsFunc(r.allow, func(re *regexp.Regexp) bool { return re.MatchString(value) }) {
		return false
	}
	return r.Category != CategorySecret || r.long || r.validator != nil && r.validator.judges || !isPlaceholder(value)
}

// entropy is the Shannon entropy of the bytes of s, bits a byte.
func entropy(s string) float64 {
	if s == "" {
		return 0
	}
	var n [256]int
	for i := range len(s) {
		n[s[i]]++
	}
	e := 0.0
	for _, c := range n {
		if c > 0 {
			p := float64(c) / float64(len(s))
			e -= p * math.Log2(p)
		}
	}
	return e
}
