package gateway

import (
	"slices"
	"unicode/utf8"

	"github.com/claudeaudit/claudeaudit/internal/audit"
	"github.com/claudeaudit/claudeaudit/internal/conversation"
	"github.com/claudeaudit/claudeaudit/internal/detect"
)

// Watch looks at one answer while it comes, for the rules that are about answers. It is of one goroutine.
type Watch struct {
	of    *Rules
	rules []*Rule // that have found nothing yet
	holds bool
	scope detect.Scope
	leak  *detect.Leak
	// window is the end of what was looked at: what is found can begin in it.
	window []byte
	// seen is what was found so far: a rule may ask for two things, which are apart.
	seen detect.Result
	// decided are the decisions since they were last taken.
	decided []Decision
}

const (
	// watchOverlap is how much of an answer is looked at again with what comes next of it, in bytes.
	watchOverlap = 1 << 10
	// watchPiece bounds what is looked at in one go.
	watchPiece = 64 << 10
	// watchSystem bounds how much of the system prompt is known, to be found in the answer.
	watchSystem = 64 << 10
)

// Watch takes the rules about answers that fit the call.
func (r *Rules) Watch(c *Call) *Watch {
	var w *Watch
	for i := range r.rules {
		rule := &r.rules[i]
		if !rule.Response || !rule.fits(c) {
			continue
		}
		if w == nil {
			w = &Watch{of: r, scope: detect.Scope{Application: c.Application, Model: c.Model}}
		}
		w.rules = append(w.rules, rule)
		w.holds = w.holds || severity[rule.Action] >= severity[Block] && !r.shadow
		if w.leak == nil && len(rule.Flags) > 0 && anyFits(rule.Flags, detect.FlagPromptLeak) {
			w.leak = detect.NewLeak(systemTexts(r, c.Conversation), watchSystem)
		}
	}
	return w
}

// systemTexts are the texts of a system prompt.
func systemTexts(r *Rules, c *conversation.Conversation) []string {
	texts := r.texts.Get().(*detect.Texts)
	defer r.texts.Put(texts)
	segments, _ := texts.Segments(c)
	var out []string
	for _, s := range segments {
		if s.Origin == detect.System {
			out = append(out, s.Text)
		}
	}
	return out
}

// Text looks at what comes next of the answer, in pieces of any size. Its time is linear in the
// text and, by a bound, in the number of pieces.
func (w *Watch) Text(s string) {
	for len(s) > 0 && len(w.rules) > 0 {
		n := min(len(s), watchPiece)
		w.window = append(w.window, s[:n]...)
		s = s[n:]
		window := text(w.window)
		res := w.of.engine.Scan([]detect.Segment{{Origin: detect.Output, Text: window}}, w.scope, detect.Options{Once: true})
		if w.leak.In(window) {
			res.Flags = append(res.Flags, detect.FlagPromptLeak)
		}
		w.look(&res)
		w.slide()
	}
}

// slide lets go of what need not be looked at again. It begins with a word where it can: the rest of one can look like
// something else.
func (w *Watch) slide() {
	over := len(w.window) - watchOverlap
	if over <= 0 {
		return
	}
	tail := w.window[over:]
	if i := slices.IndexFunc(tail[:watchOverlap/2], func(c byte) bool { return c == ' ' || c == '\n' }); i >= 0 {
		tail = tail[i+1:]
	}
	for len(tail) > 0 && !utf8.RuneStart(tail[0]) {
		tail = tail[1:]
	}
	w.window = append(w.window[:0], tail...)
}

// Whole looks at an answer that is there at once.
func (w *Watch) Whole(output []conversation.Message) {
	texts := w.of.texts.Get().(*detect.Texts)
	defer w.of.texts.Put(texts)
	segments, _ := texts.Segments(&conversation.Conversation{Output: output})
	for _, s := range segments {
		w.Text(s.Text)
		w.Text("\n")
	}
}

// look finds the rules that apply, each once.
func (w *Watch) look(res *detect.Result) {
	if audit.ClassificationLevel(res.Level) > audit.ClassificationLevel(w.seen.Level) {
		w.seen.Level = res.Level
	}
	for _, f := range res.Flags {
		if !slices.Contains(w.seen.Flags, f) {
			w.seen.Flags = append(w.seen.Flags, f)
		}
	}
	for _, d := range res.Detections {
		if !slices.ContainsFunc(w.seen.Detections, func(s detect.Detection) bool { return s.Type == d.Type }) {
			w.seen.Detections = append(w.seen.Detections, d)
		}
	}
	w.rules = slices.DeleteFunc(w.rules, func(rule *Rule) bool {
		reason, ok := rule.found(&w.seen)
		if !ok {
			return false
		}
		d := Decision{
			Action: rule.Action, Rule: rule.Name, Reason: "the answer: " + reason, Message: rule.message(),
			Shadow: w.of.shadow && rule.Action != Flag,
		}
		w.decided = append(w.decided, d)
		return true
	})
}

// unreadable decides, once, about an answer that can't be looked at: what might have to be cut is not passed on.
func (w *Watch) unreadable(why string) {
	rules := w.rules
	w.rules = nil
	for _, rule := range rules {
		if severity[rule.Action] >= severity[Block] {
			w.decided = append(w.decided, Decision{
				Action: Block, Rule: rule.Name, Reason: "the answer can't be looked at: " + why, Message: rule.message(), Shadow: w.of.shadow,
			})
			return
		}
	}
}

// take gives the decisions since the last time to the call, and says whether the answer is to be cut.
func (c *call) take() bool {
	w, cut := c.watch, false
	for _, d := range w.decided {
		if d.Action == Flag || d.Shadow {
			c.who.flags = append(c.who.flags, "policy."+d.Rule)
		} else {
			cut = true
		}
		if severity[d.Action] > severity[c.decision.Action] {
			c.decision = d
		}
	}
	w.decided = w.decided[:0]
	if cut {
		w.of.terminate(c.asked, &c.decision)
		c.g.set.Metrics.Blocked(c.decision.Rule)
	}
	return cut
}
