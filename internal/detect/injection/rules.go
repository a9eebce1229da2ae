package injection

import (
	"strings"
	"unicode/utf8"
	"unsafe"
)

type scorer struct {
	text   string
	origin Origin
	z      tokenizer
	e      evidence

	// judge looks at the sentences of every window
	m         *Model
	judge     func()
	sentences []sentence
	feats     []uint32

	low   []byte // the window in lower case
	lowAt int    // its place in the text

	talkAt int // token that talked is of, plus one
	talked float32

	longer float32 // what the model's log-odds must be higher by, since the text is long

	// the features of a sentence count once: turn marks those that were seen
	turn uint8
	seen [ModelSize]uint8

	noLimits int // end of the first place where limits are denied
}

const reach = 9 // tokens between a verb and what it acts on

func (s *scorer) window() {
	t := s.z.toks
	s.talkAt = 0
	for i := range t {
		c := t[i].class
		if c&(cIgnore|cDrop) != 0 {
			s.override(i)
		}
		if c&cOff != 0 {
			s.switchedOff(i)
		} else if t[i].end-t[i].start == 3 && s.word(i) == "off" {
			if p := s.span(max(0, i-6), i); strings.Contains(p, "turn") || strings.Contains(p, "switch") || strings.Contains(p, "shut") {
				s.switchedOff(i)
			}
		}
		if c&(cModal|cGiven) != 0 {
			s.mayNot(i)
		}
		if c&(cReveal|cShow|cWhat) != 0 {
			s.topOf(i)
		}
		if c&cReply != 0 {
			s.prefix(i)
		}
		if c&(cInstr|cRule|cThing|cAll) != 0 {
			s.disclose(i)
		}
		if c&cGiven != 0 {
			s.told(i)
		}
		if c&cNew != 0 {
			s.fresh(i)
		}
		if c&(cFirst|cOnly) != 0 {
			s.priority(i)
		}
		if c&(cRule|cInstr|cFree|cLimit|cSafety|cJail|cHarm|cBound|cRefuse|cAI|cThreat|cOpposite|cMode) != 0 {
			s.persona(i)
		}
		if c&cSend != 0 {
			s.send(i)
		}
		if c&(cReveal|cShow) != 0 {
			s.hand(i)
		}
		if c&(cCovert|cExec|cAI|cUser) != 0 {
			s.abuse(i)
		}
	}
}

// around is the span of tokens of the sentence of token i, at most n each way.
func (s *scorer) around(i, before, after int) (int, int) {
	t := s.z.toks
	from, to := i, i+1
	for from > 0 && i-from < before && t[from-1].sentence == t[i].sentence {
		from--
	}
	for to < len(t) && to-i <= after && t[to].sentence == t[i].sentence {
		to++
	}
	return from, to
}

// near joins the classes of tokens [from, to).
func (s *scorer) near(from, to int) (c class) {
	for _, t := range s.z.toks[max(from, 0):min(to, len(s.z.toks))] {
		c |= t.class
	}
	return c
}

// position weighs whether token i is said to the model: 1 in the imperative, 0
// negated, little with another subject.
func (s *scorer) position(i int) float32 {
	t := s.z.toks
	if t[i].is(cForeign) {
		from, to := s.around(i, 4, 3)
		if c := s.near(from, i) | s.near(i+1, to); c&cNot != 0 && c&cForeign != 0 && s.near(from, to)&cNo == 0 {
			return 0.2
		}
		return 1
	}
	if i == 0 || t[i-1].sentence != t[i].sentence {
		return 1
	}
	p := t[i-1]
	if t[i].punct != 0 && t[i].punct != '\'' {
		return 1
	}
	switch {
	case p.is(cNot):
		return 0
	case p.is(cI|cThey|cThat) && !p.is(cYou):
		// "I ignore" but "you that ignore"
		return 0.2
	case p.is(cPolite | cYou | cAI | cSystem):
		if p.is(cYou) && i >= 2 && t[i-2].is(cAsk) {
			return 0.3
		}
		return 1
	case p.is(cTo):
		from, _ := s.around(i, 8, 0)
		c := s.near(from, i-1)
		switch {
		case c&cNot != 0 && c&cYou == 0, c&(cTalk|cAsk|cGuard) != 0, c&cThey != 0 && c&cYou == 0:
			return 0.2
		case c&(cYou|cYour|cAI) != 0:
			return 1
		case c&cI != 0:
			return 0.4
		}
		return 0.6
	case p.is(cModal):
		from, _ := s.around(i, 5, 0)
		c := s.near(from, i)
		switch {
		case c&(cI|cThey) != 0 && c&cYou == 0:
			return 0.2
		case c&(cYou|cAI|cSystem) != 0:
			return 1
		}
		return 0.6
	}
	// an adverb between
	from, _ := s.around(i, 3, 0)
	c := s.near(from, i)
	switch {
	case c&cNot != 0:
		return 0
	case c&(cI|cThey) != 0:
		return 0.25
	case c&(cPolite|cYou|cModal) != 0:
		return 0.9
	}
	return 0.6
}

// talk weighs down what is said about attacks rather than as one.
func (s *scorer) talk(i int) float32 {
	if s.talkAt != i+1 {
		s.talkAt, s.talked = i+1, s.weighTalk(i)
	}
	return s.talked
}

func (s *scorer) weighTalk(i int) float32 {
	t := s.z.toks
	from, to := s.around(i, 24, 12)
	w := float32(1)
	talks, asks := 0, 0
	for k := from; k < to; k++ {
		if t[k].is(cTalk) {
			talks++
		}
		if k < i && t[k].is(cGuard|cAsk) {
			asks++
		}
	}
	quoted := s.quoted(i)
	switch {
	case talks > 0 && quoted:
		w = 0.15
	case talks > 0:
		w = 0.35
	case asks > 0 && quoted:
		w = 0.4
	case asks > 0:
		w = 0.6
	case quoted && s.inTable(i):
		w = 0.5
	case quoted && s.origin == Tool:
		w = 0.7
	}
	// the sentences before and after
	far := 0
	for k := max(0, i-45); k < min(len(t), i+30); k++ {
		if t[k].is(cTalk) {
			far++
		}
	}
	switch {
	case far >= 2 && quoted:
		w = min(w, 0.3)
	case far >= 3:
		w = min(w, 0.5)
	case far >= 1 && quoted:
		w = min(w, 0.55)
	}
	return w
}

// quoted tells that token i stands in quotation marks or backticks of its line.
func (s *scorer) quoted(i int) bool {
	at := int(s.z.toks[i].start)
	from := max(0, at-160)
	line := s.text[from:at]
	if k := strings.LastIndexByte(line, '\n'); k >= 0 {
		line = line[k+1:]
	}
	rest := s.text[at:min(len(s.text), at+200)]
	if k := strings.IndexByte(rest, '\n'); k >= 0 {
		rest = rest[:k]
	}
	if s.origin == Tool && isValue(line) {
		return false
	}
	switch {
	case strings.Count(line, `"`)%2 == 1 && strings.Contains(rest, `"`):
		return true
	case strings.Count(line, "`")%2 == 1 && strings.Contains(rest, "`"):
		return true
	case strings.Count(line, "“") > strings.Count(line, "”") && strings.Contains(rest, "”"):
		return true
	case strings.Count(line, "«") > strings.Count(line, "»"), strings.Count(line, "„") > strings.Count(line, "“"):
		return true
	}
	// single quotation marks open after a space
	open := strings.Count(line, " '") + strings.Count(line, "('")
	if strings.HasPrefix(line, "'") {
		open++
	}
	return open > 0 && strings.Contains(rest, "'")
}

// inTable tells that token i stands in a row of a table in Markdown.
func (s *scorer) inTable(i int) bool {
	at := int(s.z.toks[i].start)
	line := s.text[max(0, at-400):at]
	line = line[strings.LastIndexByte(line, '\n')+1:]
	return strings.HasPrefix(line, "|")
}

// isValue tells that a line ends in a quoted string that is a value of JSON or YAML:
// the quotation marks are those of the format, and nobody quotes.
func isValue(line string) bool {
	k := strings.LastIndexAny(line, "\"'")
	// marks within the value
	for k > 0 && (line[k-1] == '\\' || line[k] == '\'' && isWord(line[k-1])) {
		k = strings.LastIndexAny(line[:k], "\"'")
	}
	if k < 0 {
		return false
	}
	before := strings.TrimRight(line[:k], " \t")
	if before == "" {
		return k > 0 // an element of a list on an indented line
	}
	switch rest := before[:len(before)-1]; before[len(before)-1] {
	case '[', '{', '-':
		return true
	case ',':
		return strings.ContainsAny(rest, "\"'[{")
	case ':':
		// after a key: a quoted one, or one word
		key := strings.TrimLeft(rest, "- \t")
		return strings.HasSuffix(key, `"`) || strings.HasSuffix(key, "'") || !strings.ContainsAny(key, " \t")
	}
	return false
}

func isWord(c byte) bool { return c >= utf8.RuneSelf || wordByte[c] }

// override: a verb that sets aside, before something that steers the model.
func (s *scorer) override(i int) {
	t := s.z.toks
	from, to := s.around(i, 10, reach+5)
	strong := t[i].is(cIgnore)
	foreign := t[i].is(cForeign)
	object, at := class(0), -1
	var mods class
	for k := i + 1; k < to && k <= i+reach; k++ {
		c := t[k].class
		if k > i+1 && object == 0 && strings.IndexByte(",;:", t[k].punct) >= 0 && t[k].punct != 0 && s.near(i+1, k)&(cAll|cPrior) == 0 {
			break // what follows is another clause
		}
		if k > i+2 && object == 0 && t[k].punct == ',' && mods&cMy != 0 {
			break // "my previous email, the order …"
		}
		if o := c & (cInstr | cRule | cSafety | cLimit | cThing); o != 0 {
			// "previous system prompt", "safety rules": the last noun of the group counts, the others modify
			if object == 0 || k == at+1 {
				if object&cInstr == 0 || o&cInstr != 0 {
					mods |= object
					object, at = o, k
				}
				mods |= c
				continue
			}
			break
		}
		if at >= 0 && k > at+1 {
			break
		}
		mods |= c
	}
	if object == 0 && foreign {
		for k := i - 1; k >= from; k-- {
			if o := t[k].class & (cInstr | cRule | cSafety | cLimit | cThing); o != 0 {
				object, at = o, k
				mods |= s.near(max(from, k-5), k+1)
				break
			}
		}
	}
	if at > i {
		mods |= s.near(at+1, min(to, at+6)) & (cPrior | cGiven | cYou | cAI)
	}
	if object == 0 && !strong {
		return
	}
	factor := s.position(i)
	if factor == 0 {
		return
	}
	factor *= s.talk(i) * s.code(i)
	if strong && !foreign {
		// "ignores", "overriding", "was bypassed" tell of somebody
		if w := s.word(i); strings.HasSuffix(w, "ing") || strings.HasSuffix(w, "ed") || strings.HasSuffix(w, "s") && w != "bypass" {
			if s.near(from, i)&(cAI|cYou|cRole|cName) == 0 {
				factor *= 0.5
			} else {
				factor *= 0.85
			}
		}
	}
	end := t[i].end
	if at > i {
		end = t[at].end
	}
	yours := mods&(cYour|cAI|cYou) != 0
	w := float32(0)
	switch {
	case mods&cMy != 0 && mods&(cPrior|cYour) == 0 && (object&cInstr == 0 || !strong):
	case mods&cMy != 0 && strong && object&cInstr != 0 && s.near(i-4, i)&cI != 0 && s.near(i-3, i)&cModal != 0:
		w = 0.8 // said in the model's name
	case object&cInstr != 0 && strong:
		w = 0.65
		if mods&(cPrior|cAll|cGiven|cHidden) != 0 || yours || mods&(cSystem|cSafety) != 0 {
			w = 1.05
		}
	case object&cInstr != 0:
		w = 0.2
		if yours {
			w += 0.55
		}
		if mods&cSystem != 0 {
			w += 0.4
		}
		if mods&cPrior != 0 {
			w += 0.3
		}
		if mods&cAll != 0 {
			w += 0.2
		}
	case object&(cRule|cLimit|cSafety) != 0:
		if strong {
			w = 0.4
		} else if yours {
			w = 0.25
		}
		if yours {
			w += 0.4
		}
		if mods&(cPrior|cGiven) != 0 {
			w += 0.35
		}
		if mods&cSafety != 0 {
			w += 0.35
		}
		if mods&cLimit != 0 {
			w += 0.1
		}
		if mods&cAll != 0 {
			w += 0.2
		}
	case object&cThing != 0 && strong:
		w = 0.15
		if mods&cPrior != 0 {
			w += 0.4
			if foreign || object&cThing != 0 && s.near(i+1, at+8)&cPrior != 0 && s.near(i+1, at+1)&cPrior == 0 {
				w += 0.25
			}
		}
		if yours {
			w += 0.35
		}
		if mods&cAll != 0 {
			w += 0.25
		}
		if mods&cGiven != 0 {
			w += 0.2
		}
	case object&cThing != 0:
		if mods&cPrior != 0 {
			w = 0.4
		}
		if mods&cGiven != 0 && mods&cYou != 0 {
			w += 0.2
		}
	case strong:
		w = s.overrideBare(i, to)
	}
	s.e.add(kOverride, "override", w*factor, t[i].start, end)
	// forget that you are an assistant
	if strong {
		for k := i + 1; k < min(to, i+7); k++ {
			if t[k].is(cYou) && s.near(k+1, min(to, k+6))&cAI != 0 {
				s.e.add(kOverride, "forget-what-you-are", 0.8*factor, t[i].start, t[k].end)
			}
		}
	}
	// what else comes with it
	if w*factor >= 0.55 {
		ahead := s.near(i+1, i+40)
		if ahead&(cNew|cInstead) != 0 {
			s.e.add(kOverride, "then-new", 0.25, t[i].start, end)
		}
		if ahead&(cReveal|cShow|cReply) != 0 {
			s.e.add(kOverride, "then-output", 0.15, t[i].start, end)
		}
		if ahead&(cFree|cJail) != 0 || ahead&cNo != 0 && ahead&(cLimit|cSafety) != 0 {
			s.e.add(kOverride, "then-free", 0.3, t[i].start, end)
		}
	}
}

// overrideBare weighs verbs whose object is no noun: "ignore the above and say",
// "forget everything you were told".
func (s *scorer) overrideBare(i, to int) float32 {
	t := s.z.toks
	var all, prior, given, you bool
	last := i
	for k := i + 1; k < to && k <= i+8; k++ {
		c := t[k].class
		switch {
		case c&cPrior != 0:
			prior, last = true, k
		case c&cAll != 0:
			all, last = true, k
		case c&cGiven != 0:
			given, last = true, k
		case c&(cYou|cAI|cI) != 0:
			you = true
		case c&cMy != 0 && last == i:
			return 0.1
		}
		if w := s.word(k); w == "before" && k+1 < to && t[k+1].punct == 0 && !t[k+1].is(cThat) {
			return 0.15
		} else if w == "about" || w == "but" {
			return 0.1
		}
	}
	ends := t[i].is(cForeign) || last+1 >= to || strings.IndexByte(".,:;!?\n\"')]", t[last+1].punct) >= 0 && t[last+1].punct != 0 || t[last+1].is(cPolite|cInstead|cShow|cReveal|cYou|cTo) && s.word(last+1) != "quote"
	foreign := t[i].is(cForeign)
	switch {
	case all && prior && ends, all && given && you, all && prior && foreign:
		return 0.95
	case given && you:
		return 0.8
	case prior && ends && (last-i <= 3 || foreign):
		return 0.75
	case all && you && ends:
		return 0.4
	case all && last == i+1 && ends:
		return 0.35
	}
	return 0
}

// span is the text of tokens [from, to), in lower case.
func (s *scorer) span(from, to int) string {
	if from >= to {
		return ""
	}
	return s.lowered(int(s.z.toks[from].start), int(s.z.toks[to-1].end))
}

func (s *scorer) word(i int) string {
	t := s.z.toks[i]
	return s.lowered(int(t.start), int(min(t.end, t.start+maxWord)))
}

// lowered is text[from:to] in lower case, as far as it lies in the window. It
// holds until the next window.
func (s *scorer) lowered(from, to int) string {
	from, to = max(from-s.lowAt, 0), min(to-s.lowAt, len(s.low))
	if from >= to {
		return ""
	}
	return unsafe.String(&s.low[from], to-from)
}

// switchedOff: what holds the model back is said to be off.
func (s *scorer) switchedOff(i int) {
	t := s.z.toks
	from, to := s.around(i, 9, 7)
	c := s.near(from, to)
	if c&cNot != 0 && !t[i].is(cNot) && s.near(i-2, i)&cNot != 0 && c&cMode == 0 && s.near(i, i+1)&cIgnore == 0 && !strings.HasPrefix(s.word(i), "no") && !strings.HasPrefix(s.word(i), "do") {
		return
	}
	w := float32(0)
	if c&cInstr != 0 {
		w += 0.35
	} else if c&(cRule|cLimit) != 0 {
		w += 0.1
	}
	if c&cSafety != 0 {
		w += 0.35
	}
	if before := s.near(from, i); w == 0 && before&cPrior != 0 && (before&cThing != 0 || t[i].is(cForeign)) && (before&cAll != 0 || before&cThing != 0 && before&cWhat != 0 || strings.Contains(s.span(from, i), "said") || strings.Contains(s.span(from, i), "whatever")) {
		w = 0.35
	}
	if w == 0 && c&cYour != 0 && strings.Contains(s.span(from, i), "task") {
		w = 0.3
	}
	if w == 0 {
		return
	}
	if c&cYou != 0 && c&cAI != 0 {
		w += 0.1
	}
	if c&(cAI|cYou) != 0 && c&cLimit != 0 {
		w += 0.1
	}
	if c&cSafety != 0 && s.near(i-25, i+25)&(cYou|cYour|cAI|cReply|cFollow) != 0 {
		w += 0.1
	}
	if c&(cYour|cAI) != 0 || c&cYou != 0 && c&cSafety != 0 {
		w += 0.3
	}
	if c&cPrior != 0 {
		w += 0.3
	}
	if c&cSystem != 0 {
		w += 0.1
	}
	if w < 0.2 {
		return
	}
	f := s.talk(i) * s.code(i)
	if c&(cI|cThey) != 0 && c&(cYour|cYou|cAI) == 0 {
		f *= 0.6
	}
	if c&cAsk != 0 {
		f *= 0.5
	}
	s.e.add(kOverride, "switched-off", (w+0.2)*f, t[i].start, t[i].end)
}

// fresh: new instructions, a new task.
func (s *scorer) fresh(i int) {
	t := s.z.toks
	_, to := s.around(i, 0, 3)
	for k := i + 1; k < to; k++ {
		switch w := s.word(k); {
		case t[k].is(cInstr), t[k].is(cRule) && t[k].is(cForeign):
		case w == "task", w == "job", w == "aufgabe", w == "tâche", w == "tarea", w == "tarefa", w == "compito", w == "задача", w == "任务", w == "タスク", w == "instruction", w == "directive", w == "rule", w == "rules", w == "order", w == "orders":
		default:
			continue
		}
		a, b := s.around(k, 6, 8)
		c := s.near(a, i) | s.near(k+1, b)
		w := float32(0.15)
		if t[k].is(cInstr) {
			w = 0.25
		}
		if s.near(i-2, i)&cYour != 0 {
			w += 0.3
		}
		if t[k].is(cForeign) && s.near(i-1, i)&cYour != 0 {
			w += 0.35
		}
		if s.near(k+1, k+4)&cSystem != 0 && containsAny(s.span(k+1, min(len(t), k+4)), "from") {
			w += 0.4
		}
		if c&(cFirst|cOff|cIgnore) != 0 || s.near(k+1, b)&cDrop != 0 && c&(cPrior|cYour|cHidden) != 0 {
			w += 0.4
		}
		if t[i].punct == ':' || t[i].punct == '[' || k+1 < len(t) && t[k+1].punct == ':' {
			w += 0.1
		}
		if c&(cMy|cThey|cUser) != 0 {
			w *= 0.5
		}
		if !t[k].is(cInstr) && s.near(a-20, b+20)&(cYour|cYou|cAI|cSystem) == 0 {
			w *= 0.5
		}
		s.e.add(kOverride, "new-instructions", w*s.talk(i), t[i].start, t[k].end)
		return
	}
}

// priority: the speaker's words stand above the system's.
func (s *scorer) priority(i int) {
	t := s.z.toks
	from, to := s.around(i, 10, 10)
	c := s.near(from, to)
	if t[i].is(cOnly) && s.near(i+1, i+2)&cFollow != 0 && i+2 < len(t) && s.word(i+2) == "me" && c&cYou != 0 {
		s.e.add(kOverride, "priority", 0.8*s.talk(i), t[i].start, t[i+2].end)
		return
	}
	if c&(cInstr|cRule|cThing|cSafety) == 0 {
		return
	}
	w := float32(0)
	switch {
	case t[i].is(cFirst) && c&(cMy|cUser) != 0 && c&(cSystem|cSafety|cAI|cLimit|cPrior) != 0:
		w = 0.9
	case t[i].is(cFirst) && c&cMy != 0 && c&(cInstr|cRule) != 0:
		w = 0.5
	case t[i].is(cOnly) && c&cFollow != 0 && c&cMy != 0 && c&(cInstr|cRule) != 0:
		w = 0.75
	case t[i].is(cOnly) && c&cFollow != 0 && c&cNew != 0 && c&cInstr != 0:
		w = 0.4
	}
	s.e.add(kOverride, "priority", w*s.talk(i), t[i].start, t[i].end)
}

// disclose: the model's own instructions are asked for. Token i is the object.
func (s *scorer) disclose(i int) {
	t := s.z.toks
	from, to := s.around(i, 10, 8)
	if t[i].is(cAll|cThing) && !t[i].is(cInstr) {
		s.discloseAbove(i, from, to)
		return
	}
	if !t[i].is(cInstr) && !t[i].is(cRule) {
		return
	}
	// the noun group the object ends
	g := i
	var own class
	for g > from && i-g < 5 && (t[g-1].is(cYour|cSystem|cHidden|cPrior|cAll|cMy|cInstr|cRule|cSafety|cAI|cNew|cLimit|cThing) || t[g].punct == 0 && len(s.word(g-1)) <= 3 && !t[g-1].is(cVerbs)) {
		g--
		own |= t[g].class
	}
	hidden := own&cHidden != 0 && containsAny(s.span(g, i), "hidden", "secret", "initial", "starting", "underlying", "internal", "confidential")
	after := s.near(i+1, min(to, i+7))
	// "instructions you were given", "rules that you got"
	given := after&cGiven != 0 && after&cYou != 0 || t[i].is(cForeign) && s.near(from, to)&cGiven != 0
	if own&cMy != 0 && !given && own&cYour == 0 {
		before := s.lowered(int(t[i].start)-60, int(t[i].start))
		if strings.Contains(before, "complete") || strings.Contains(before, "fill in") || strings.Contains(before, "finish this") || strings.Contains(before, "continue this") {
			s.e.add(kDisclose, "complete-my-instructions", 0.8*s.talk(i), t[g].start, t[i].end)
		}
		return
	}
	yours := own&cYour != 0
	for k := g; yours && s.origin == Tool && k < i; k++ {
		if t[k].is(cYour) && t[k+1].is(cAI) {
			yours = false // "your model's system prompt" is said to who runs it
		}
	}
	system := own&cSystem != 0 || t[i].is(cSystem) || strings.HasPrefix(s.word(i), "system") || strings.HasPrefix(s.word(i), "preprompt") || strings.Contains(s.word(i), "系统") || strings.Contains(s.word(i), "システム")
	o := float32(0)
	switch {
	case yours && system:
		o = 0.75
	case yours && own&(cHidden|cPrior) != 0:
		o = 0.6
	case yours:
		o = 0.4
	case given:
		o = 0.5
	case system && own&cHidden != 0:
		o = 0.5
	case hidden && s.near(from, to)&cYou != 0:
		o = 0.55
	case hidden:
		o = 0.45
	case system:
		o = 0.3
	case own&cHidden != 0 && s.near(from, to)&(cYou|cAI) != 0:
		o = 0.35
	case own&cPrior != 0 || after&cPrior != 0:
		o = 0.4
	case own&cHidden != 0:
		o = 0.3
	default:
		return
	}
	if s.origin == Tool && !yours && !given && s.near(i+1, min(to, i+4))&cYour != 0 && s.near(i+1, min(to, i+5))&cAI != 0 {
		o -= 0.2 // likewise "the system prompt of your model"
	}
	if !yours && containsAny(s.span(g, i), "its ", "their ", "his ", "her ") {
		o *= 0.5
	}
	if !t[i].is(cInstr) {
		if o *= 0.7; yours && to-from <= 6 {
			o += 0.1 // "tell me your rules", no more
		}
	}
	if given && yours {
		o += 0.2
	}
	// the verb, in this sentence or beside it
	v, name, at := float32(0), "", i
	look := func(a, b int, f float32) {
		for k := max(a, 0); k < min(b, len(t)); k++ {
			c := t[k].class
			if k >= g && k <= i && c&cReveal == 0 {
				continue
			}
			w := float32(0)
			switch {
			case c&cReveal != 0:
				w = 0.55 * s.position(k)
			case c&cShow != 0 && !(c&cMake != 0 && !yours && !given):
				w = 0.4 * s.position(k)
			case c&cWhat != 0 && (k < i || c&cForeign != 0):
				w = 0.35
			}
			if w*f > v {
				v, name, at = w*f, "ask", k
			}
		}
	}
	look(from, to, 1)
	if v == 0 {
		look(from-12, from, 0.6)
		look(to, to+8, 0.6)
	}
	if v == 0 && !(yours && (system || own&cHidden != 0)) {
		return
	}
	if !given && !system && own&(cHidden|cPrior) == 0 && i+1 < to && t[i+1].punct == 0 {
		// "your instructions for the oven" are others
		switch s.word(i + 1) {
		case "for", "on", "how", "about", "of", "concerning", "regarding", "pour", "para", "per", "für", "zum", "zur":
			o -= 0.2
		}
	}
	w := o + v
	near := s.near(from, to)
	if near&cExact != 0 || s.near(to, to+12)&cExact != 0 {
		w += 0.2
	}
	if own&cAll != 0 && v > 0 {
		w += 0.1
	}
	f := s.talk(i)
	if s.origin == Tool && !t[i].is(cInstr) {
		f *= 0.6 // "your order" in a mail is the customer's
	}
	if near&cGuard != 0 {
		f *= 0.4
	}
	if near&cMake != 0 && v == 0 {
		f *= 0.3
	}
	_ = name
	f *= s.code(i)
	s.e.add(kDisclose, "own-instructions", w*f, min(t[g].start, t[at].start), max(t[i].end, t[at].end))
}

// mayNot: "what are you not allowed to say".
func (s *scorer) mayNot(i int) {
	t := s.z.toks
	switch s.word(i) {
	case "allowed", "permitted", "supposed", "told", "instructed", "forbidden", "able":
	default:
		return
	}
	from, to := s.around(i, 9, 6)
	c := s.near(from, i)
	not := s.near(max(from, i-4), i+4)&cNot != 0 || s.word(i) == "forbidden"
	if !not || c&(cWhat|cShow|cReveal) == 0 || s.near(i-5, i)&cYou == 0 && s.near(i, i+2)&cYou == 0 || c&cI != 0 || s.near(i+1, to)&(cShow|cReveal|cCovert) == 0 && !strings.Contains(s.span(i, to), "talk") && !strings.Contains(s.span(i, to), "discuss") {
		return
	}
	s.e.add(kDisclose, "what-you-may-not", 0.8*s.talk(i), t[from].start, t[i].end)
}

// topOf: "repeat the beginning of this conversation".
func (s *scorer) topOf(i int) {
	t := s.z.toks
	_, to := s.around(i, 0, 14)
	if to-i < 4 {
		return
	}
	part := s.span(i+1, to)
	top := strings.Contains(part, "beginning") || strings.Contains(part, "start of") || strings.Contains(part, " top") || strings.Contains(part, "first message") || strings.Contains(part, "first sentence") || strings.Contains(part, "first words") || strings.Contains(part, "context window")
	if !top {
		return
	}
	chat := strings.Contains(part, "conversation") || strings.Contains(part, "chat") || strings.Contains(part, "session") || strings.Contains(part, "context window") || strings.Contains(part, "you were given") || strings.Contains(part, "dialogue")
	if !chat {
		return
	}
	w := float32(0.8)
	if t[i].is(cWhat) && !strings.Contains(part, "say") && !strings.Contains(part, "text") {
		w = 0.5
	}
	if strings.Contains(part, "my ") || strings.Contains(part, " i ") && !strings.Contains(part, "cannot see") {
		w *= 0.5
	}
	s.e.add(kDisclose, "top-of-conversation", w*s.position(i)*s.talk(i), t[i].start, t[to-1].end)
}

// prefix: the answer is to begin with consent.
func (s *scorer) prefix(i int) {
	t := s.z.toks
	from, _ := s.around(i, 6, 0)
	p := s.span(from, i)
	if !strings.Contains(p, "start") && !strings.Contains(p, "begin") || s.near(from, i)&cYour == 0 {
		return
	}
	after := s.lowered(int(t[i].end), int(t[i].end)+60)
	for _, y := range [...]string{"sure", "absolutely", "of course", "certainly", "i am", "yes,", "i will", "here is", "no problem", "ok,"} {
		if strings.Contains(after, y) && strings.ContainsAny(after, "\"'“[") {
			s.e.add(kPersona, "begin-with-consent", 0.45*s.talk(i), t[from].start, t[i].end)
			return
		}
	}
}

// told: "what your makers instructed you to do".
func (s *scorer) told(i int) {
	t := s.z.toks
	if w := s.word(i); i >= 2 && t[i-1].is(cYou) && (w == "instructed" || w == "told" || w == "configured" || w == "prompted") && s.word(i-2) == "were" && i >= 3 && t[i-3].is(cAsk|cWhat) {
		_, to := s.around(i, 0, 20)
		w := float32(0.9)
		if s.near(i, to+10)&cExact != 0 || strings.Contains(s.span(i, min(len(t), to+8)), "exact") || strings.Contains(s.span(i, min(len(t), to+8)), "quote") {
			w += 0.25
		}
		s.e.add(kDisclose, "how-you-were-told", w*s.talk(i), t[i-2].start, t[i].end)
		return
	}
	if i+1 >= len(t) || !t[i+1].is(cYou) || s.word(i) == "gave" {
		return
	}
	from, _ := s.around(i, 8, 0)
	c := s.near(from, i)
	if c&cI != 0 || c&(cWhat|cAll|cInstr) == 0 {
		return
	}
	w := float32(0.35)
	if c&(cReveal|cShow) != 0 {
		w += 0.25
	}
	if c&(cAI|cYour|cThey) != 0 {
		w += 0.2
	}
	if c&cExact != 0 {
		w += 0.2
	}
	s.e.add(kDisclose, "what-you-were-told", w*s.talk(i), t[i].start, t[i+1].end)
}

// code weighs down what stands among the signs of a program.
func (s *scorer) code(i int) float32 {
	at := int(s.z.toks[i].start)
	part := s.text[max(0, at-120):min(len(s.text), at+120)]
	signs := 0
	for k := 0; k < len(part); k++ {
		switch part[k] {
		case '{', '}', '(', ')', ';', '=', '\\', '\t', '+', '_', '[', ']', '/':
			signs++
		}
	}
	quoted := s.quoted(i)
	if quoted {
		// an argument or element of a program's text
		before := s.text[max(0, at-160):at]
		if k := strings.LastIndexAny(before, "\"'`"); k > 0 {
			before = strings.TrimRight(before[:k], " ")
			line := before[strings.LastIndexByte(before, '\n')+1:]
			if before != "" && (strings.IndexByte("([=", before[len(before)-1]) >= 0 || before[len(before)-1] == ',' && strings.Count(line, "(") > strings.Count(line, ")")) {
				return 0.45
			}
		}
	}
	if signs*14 > len(part) {
		if quoted {
			return 0.45
		}
		return 0.65
	}
	return 1
}

func containsAny(s string, subs ...string) bool {
	for _, sub := range subs {
		if strings.Contains(s, sub) {
			return true
		}
	}
	return false
}

const cVerbs = cReveal | cShow | cWhat | cIgnore | cDrop | cMake | cGuard

// discloseAbove: "print everything above", "repeat the words before this".
func (s *scorer) discloseAbove(i, from, to int) {
	t := s.z.toks
	after := s.near(i+1, min(to, i+6))
	prior := false
	for k := max(from, i-1); k < min(to, i+6); k++ {
		if w := s.word(k); t[k].is(cPrior) && (t[k].is(cForeign) || w == "above" || w == "before" || w == "preceding" || w == "prior" || w == "earlier" || w == "so") {
			// "above the match", "before the first comma" are places in a text
			next := k + 1
			if w == "before" && s.origin == Tool && next < to && t[next].is(cYou) {
				continue // one step before another
			}
			if w != "so" && k >= i && next < to && t[next].punct == 0 && !t[next].is(cThat|cExact|cPolite|cTo|cAI|cThing|cYou) && !(next+1 < to && t[next+1].is(cThing|cInstr)) && !containsAny(s.word(next), "in", "as", "into", "verbatim") {
				continue
			}
			prior = true
		}
	}
	if !prior || after&cMy != 0 {
		return
	}
	for k := i - 1; k >= max(from, i-5); k-- {
		if !t[k].is(cReveal | cShow) {
			continue
		}
		w := float32(0.55)
		if t[k].is(cReveal) {
			w = 0.8
		}
		if t[i].is(cAll) || s.near(k, i)&cAll != 0 {
			w += 0.2
		}
		if s.near(i, to)&(cInstr|cYour|cExact) != 0 || strings.Contains(s.word(min(to-1, len(t)-1)), "line") {
			w += 0.2
		}
		if t[i].is(cThing) && !t[k].is(cReveal) {
			w -= 0.25
		}
		s.e.add(kDisclose, "everything-above", w*s.position(k)*s.talk(k)*s.code(k), t[k].start, t[i].end)
		return
	}
}

// persona: the model is to be another that nothing holds back. Evidence adds up
// over the text.
func (s *scorer) persona(i int) {
	t := s.z.toks
	c := t[i].class
	from, to := s.around(i, 14, 14)
	near := s.near(from, to)
	wide := s.near(i-40, i+40)
	f := s.talk(i)
	if f < 0.65 && near&(cYou|cRole) != 0 && near&cAsk == 0 && !s.quoted(i) {
		f = max(f, 0.65)
	}
	if near&cAsk != 0 && near&(cYou|cRole) == 0 {
		f *= 0.4
	}
	addressed := near&(cYou|cYour|cAI|cRole) != 0
	if s.origin == Tool && wide&(cYou|cYour|cRole|cI) == 0 {
		f *= 0.5 // a document about models
	}
	span := func(name string, w float32) { s.e.add(kPersona, name, w*f, t[i].start, t[i].end) }

	if c&cFree != 0 {
		switch {
		case near&cAI != 0 && near&(cYou|cRole|cYour|cMode|cName|cOpposite) != 0:
			span("unrestricted", 0.9)
		case s.near(i-3, i)&cYou != 0:
			span("unrestricted", 0.8)
		case s.near(i-2, i)&cI != 0 && wide&cReply != 0:
			span("unrestricted", 0.75)
		case near&(cAI|cMode) != 0 || near&cRole != 0 && near&cYou != 0:
			span("unrestricted", 0.65)
		case wide&(cAI|cRole|cYou) != 0:
			span("unrestricted", 0.4)
		default:
			span("unrestricted", 0.15)
		}
	}
	if c&(cLimit|cSafety) != 0 || c&(cRule|cInstr) != 0 {
		// no … restrictions, free from all filters, beyond ethics
		for k := i - 1; k >= max(from, i-8); k-- {
			if t[k].is(cNo) {
				w := float32(0.3)
				if near&cAI != 0 && (wide&(cYou|cYour|cRole|cName) != 0 || near&cSafety != 0) {
					w += 0.35
				}
				if near&(cRole|cName) != 0 || s.near(k-3, k)&cYou != 0 {
					w += 0.3
				}
				if s.near(k-5, k)&cYour != 0 && s.near(k-3, k)&cYou == 0 {
					w += 0.2
				}
				if near&(cYou|cYour) != 0 && near&(cReply|cFollow|cHarm) != 0 {
					w += 0.2
					if near&cAll != 0 {
						w += 0.2
					}
				}
				if s.near(k-3, k)&cI != 0 && wide&(cReply|cAI) != 0 {
					w += 0.3
				}
				if (k > 0 && t[k-1].is(cAI) || k > 1 && t[k-2].is(cAI)) && (c&cSafety != 0 || wide&(cYou|cYour|cRole|cReply) != 0) {
					w += 0.2
					if near&(cYou|cRole|cReply) != 0 {
						f = max(f, 0.8)
					}
				}
				if s.word(i) == "limitation" && s.near(k, i)&(cAll|cSafety) == 0 {
					break // the language of contracts
				}
				if !addressed && wide&cAI == 0 {
					w *= 0.5
				}
				if n := s.limits(k+1, min(to, k+10)); n >= 2 {
					w += 0.15
				}
				if s.noLimits > 0 && int(t[k].start) > s.noLimits {
					s.e.add(kPersona, "no-limits-again", 0.2*f, t[k].start, t[i].end)
				} else {
					s.noLimits = int(t[i].end)
				}
				if c&cSafety != 0 || s.near(k, to)&cSafety != 0 {
					w += 0.15
					if s.near(k, i)&cYour != 0 {
						w += 0.15
					}
				}
				if c&cInstr != 0 && s.near(k, i)&cPrior != 0 && s.near(k-3, k)&cYou != 0 {
					w += 0.2
				}
				if !addressed && wide&(cAI|cRole) != 0 {
					w += 0.15
				}
				span("no-limits", w)
				break
			}
		}
		if c&cSafety != 0 && near&cAI != 0 && near&cRole != 0 && s.near(max(from, i-5), i)&cNot != 0 && s.near(max(from, i-5), i)&(cGiven|cBound) != 0 {
			span("never-learned-limits", 0.75)
		}
		if c&(cSafety|cLimit) != 0 && near&cAI != 0 {
			after := s.lowered(int(t[i].end), int(t[i].end)+40)
			if strings.Contains(after, "removed") || strings.Contains(after, "deleted") || strings.Contains(after, "stripped") {
				span("no-limits", 0.75)
			}
		}
		if t[i].is(cForeign) && c&(cLimit|cSafety|cRule) != 0 && s.near(i+1, i+4)&cNo != 0 && near&(cAI|cYou|cRole) != 0 {
			span("no-limits", 0.5)
			if near&cAI != 0 {
				span("no-limits-model", 0.3)
			}
		}
		if near&cIgnore != 0 && c&(cSafety|cLimit) != 0 && near&(cRole|cAI) != 0 {
			span("limits-ignored", 0.3)
		}
	}
	if c&cBound != 0 && s.near(max(from, i-6), i)&(cNot|cNo) != 0 {
		if s.near(i+1, to)&(cRule|cInstr|cSafety|cLimit) != 0 || s.near(from, i)&cAI != 0 && s.near(i+1, to)&(cRule|cLimit) != 0 {
			w := float32(0.4)
			if wide&cAI != 0 {
				w += 0.3
			}
			if wide&cRole != 0 {
				w += 0.15
			}
			if s.near(i+1, to)&cYour != 0 && s.near(i-5, i)&cYou != 0 {
				w += 0.4
			}
			span("not-bound", w)
		} else if near&cAI != 0 && s.word(i) != "follow" && s.word(i) != "care" {
			span("not-bound", 0.3)
		}
	}
	if c&cJail != 0 {
		w := float32(0.45)
		if wide&(cYou|cAI) != 0 {
			w += 0.15
		}
		if near&(cRole|cSwitch) != 0 || near&cName != 0 || s.near(i-4, i)&cYou != 0 {
			w += 0.3
		}
		if near&cAsk != 0 {
			w *= 0.4
		}
		span("jailbreak-name", w)
	}
	if c&cMode != 0 && near&(cSwitch|cYou) != 0 && s.near(i-3, i)&(cJail|cHarm|cFree|cSystem) != 0 {
		w := float32(0.3)
		if wide&(cFree|cLimit|cSafety) != 0 || wide&cYour != 0 && wide&(cInstr|cRule) != 0 {
			w += 0.45
		}
		span("mode", w)
	}
	if c&cHarm != 0 && near&cFollow != 0 && near&cAll != 0 && near&cYou != 0 && containsAny(s.span(from, to), "no matter", "regardless", "even if") {
		s.e.add(kPersona, "every-request", 0.8, t[i].start, t[i].end)
	}
	if c&cHarm != 0 && wide&(cAI|cRole) != 0 && wide&cYou != 0 {
		switch {
		case near&(cNo|cAll) != 0 && near&(cReply|cFollow) != 0 && near&cYou != 0 && containsAny(s.span(from, to), "no matter", "regardless", "even if", "legal or", "whether"):
			span("harm-welcome", 0.8)
		case near&cNo != 0 && near&(cReply|cFollow|cShow) != 0:
			span("harm-welcome", 0.45)
		case near&(cReply|cRefuse) != 0:
			span("harm-welcome", 0.3)
		default:
			span("harm-welcome", 0.15)
		}
	}
	if c&cHarm != 0 && i+1 < len(t) && t[i+1].is(cAI) && near&(cRole|cYou) != 0 {
		span("evil-model", 0.4)
	}
	if c&cRefuse != 0 && s.near(max(from, i-4), i)&(cNot|cNo) != 0 {
		w := float32(0.3)
		if wide&cRole != 0 && wide&cAI != 0 {
			w += 0.2
		}
		span("never-refuse", w)
	}
	if c&cAI != 0 {
		if s.near(max(from, i-7), i)&cNot != 0 && near&cRole != 0 || strings.Contains(s.lowered(int(t[i].start)-40, int(t[i].start)), "no longer") {
			if near&(cYou|cRole) != 0 {
				span("not-the-model", 0.8)
			}
		}
		if near&(cSafety|cRule) != 0 && s.word(i) == "openai" || strings.HasPrefix(s.word(i), "openai'") {
			span("vendor-rules", 0.25)
		}
		if near&cRole != 0 && near&cYou != 0 {
			span("act-as-model", 0.15)
		}
		if near&cRole != 0 && near&cInstead != 0 {
			span("instead-of-model", 0.8)
		}
	}
	if c&cOpposite != 0 && wide&(cReply|cAI) != 0 && wide&cYou != 0 {
		span("two-answers", 0.25)
	}
	if c&cThreat != 0 && near&cRefuse != 0 && near&cYou != 0 {
		span("threat", 0.75)
	}
	if c&cThreat != 0 && wide&cYou != 0 && wide&(cRole|cAI) != 0 && wide&(cRefuse|cNot) != 0 {
		span("threat", 0.2)
	}
}

// limits counts the words for limits in a span.
func (s *scorer) limits(from, to int) (n int) {
	for k := from; k < to; k++ {
		if s.z.toks[k].is(cLimit | cSafety | cRule) {
			n++
		}
	}
	return n
}

// send: what is known is carried to an address.
func (s *scorer) send(i int) {
	t := s.z.toks
	_, to := s.around(i, 0, 20)
	c := s.near(i+1, to)
	if c&(cSecret|cInstr) == 0 && c&cYour == 0 {
		return
	}
	rest := s.text[t[i].end:min(len(s.text), int(t[i].end)+260)]
	place := strings.Contains(rest, "http") || strings.Contains(rest, "@") || strings.Contains(rest, ".com") || strings.Contains(rest, "webhook")
	w := float32(0)
	if c&cSecret != 0 {
		w += 0.25
	}
	if c&(cInstr|cSystem) != 0 {
		w += 0.2
	}
	if place {
		w += 0.25
	}
	if strings.HasPrefix(s.word(i), "exfiltrat") {
		w += 0.4
	}
	if c&cYour != 0 {
		w += 0.05
	}
	if s.origin == Tool {
		w += 0.2
	}
	if c&cUser != 0 {
		w += 0.15
	}
	if c&cMy != 0 {
		w -= 0.3
	}
	s.e.add(kExfil, "send", w*s.position(i)*s.talk(i), t[i].start, t[i].end)
}

// hand: a user's data is to be shown by what speaks out of data.
func (s *scorer) hand(i int) {
	t := s.z.toks
	if t[i].is(cSend) {
		return
	}
	_, to := s.around(i, 0, 8)
	c := s.near(i+1, to)
	if c&cUser != 0 && c&cSecret != 0 {
		s.e.add(kExfil, "show-user-data", 0.4*s.position(i)*s.talk(i)*s.code(i), t[i].start, t[i].end)
	}
}

// abuse: data that speaks to the model and has it act.
func (s *scorer) abuse(i int) {
	t := s.z.toks
	c := t[i].class
	from, to := s.around(i, 10, 12)
	near := s.near(from, to)
	f := s.talk(i)
	if f < 0.1 {
		return
	}
	if c&cCovert != 0 {
		w := float32(0.3)
		if s.near(i, i+8)&cUser != 0 {
			w += 0.3
		}
		if s.sendsUser(i) {
			w *= 0.3
		}
		// what is done "silently" in a document is mostly said of a program
		if s.origin == Tool && (s.word(i) != "silently" || s.near(i-8, i+9)&(cSend|cUser) != 0) {
			w += 0.3
		}
		s.e.add(kAbuse, "covert", w*f, t[i].start, t[i].end)
	}
	if c&cExec != 0 && s.near(i+1, min(to, i+7))&(cTool|cSecret) != 0 {
		w := float32(0.1)
		if near&(cAll|cUser) != 0 {
			w += 0.1
		}
		if s.origin == Tool {
			w += 0.15
		}
		s.e.add(kAbuse, "act", w*s.position(i)*f, t[i].start, t[i].end)
	}
	if c&cAI != 0 {
		// "note to the assistant:", "important for AI agents:"
		if k := i + 1; k < len(t) && i > 0 {
			for k < len(t)-1 && k <= i+2 && t[k].punct == 0 && t[k].is(cAI|cSystem|cThey) {
				k++
			}
			sameLine := strings.IndexByte(s.text[t[i].end:t[k].start], '\n') < 0
			if p := s.span(max(0, i-3), i); sameLine && strings.IndexByte(":)-", t[k].punct) >= 0 && t[k].punct != 0 && containsAny(" "+p+" ", " to ", " for ", " dear ", " attention ", " hey ") {
				w := float32(0.35)
				if s.near(k, k+14)&(cModal|cSend|cExec|cCovert|cReply|cReveal|cAll) != 0 {
					w += 0.25
				}
				if s.origin == Tool {
					w += 0.2
				}
				s.e.add(kAbuse, "addressed-to-model", w*f, t[i].start, t[i].end)
			}
		}
		part := s.span(from, to)
		if containsAny(part, "reading this", "read this", "reads this", "processing this", "processes this", "summarises this", "summarizes this", "summarising this", "summarizing this", "parsing this", "evaluating this", "screening this", "analyzing this", "analysing this", "see this", "sees this") {
			w := float32(0.45)
			if near&(cModal|cCovert|cIgnore|cSend|cExec) != 0 || s.near(i, i+30)&(cCovert|cIgnore|cInstr) != 0 {
				w += 0.35
			}
			s.e.add(kAbuse, "speaks-to-reader", w*f, t[i].start, t[i].end)
		}
	}
	if c&cThing != 0 || c&cUser != 0 {
		if containsAny(s.span(from, to), "before you can do the task", "task that the user", "task the user gave", "task i gave you", "before you can solve", "before solving the task", "before you complete the") {
			s.e.add(kAbuse, "other-task-first", 0.8*f, t[i].start, t[i].end)
		}
	}
	if c&cAI != 0 && s.origin == Tool && s.addressed(i, to) {
		s.e.add(kAbuse, "speaks-to-model", 0.35*f, t[i].start, t[i].end)
	}
}

// sendsUser tells that what is not to be told is to do something: "don't tell users
// to restart". Nothing is kept from them.
func (s *scorer) sendsUser(i int) bool {
	t := s.z.toks
	for k := i + 1; k+1 < len(t) && k <= i+6; k++ {
		if t[k].is(cUser) {
			return t[k+1].is(cTo) && t[k+1].punct == 0
		}
	}
	return false
}

// addressed tells that token i, a name for models, is who is spoken to in what
// comes in as data: "assistant: send", "Claude, please", "agents must".
func (s *scorer) addressed(i, to int) bool {
	t := s.z.toks
	if i+1 >= to {
		return false
	}
	next := t[i+1]
	switch next.punct {
	case ',', ':':
		return next.is(cExec | cSend | cShow | cPolite | cYou | cIgnore | cReply | cModal)
	case 0:
		switch s.word(i + 1) {
		case "must", "should", "shall", "muss", "soll", "sollte", "doit", "debe", "deve", "должен":
			return true
		}
		return next.is(cPolite) && s.word(i+1) == "please"
	}
	return false
}
