package injection

import "strings"

// data looks at what the window's sentences, which came in as data, have the
// reader do: tools to be called, something to be done before or instead of the
// task, orders in the user's name. People who write to people seldom do so.
func (s *scorer) data() {
	for _, p := range s.sentences {
		if p.to-p.from < minSpan {
			continue
		}
		c := s.near(p.from, p.to)
		if c&(cExec|cSend|cShow|cReply|cGiven|cModal|cUser) == 0 {
			continue
		}
		text := s.span(p.from, p.to)
		add := func(name string, w float32) {
			t := s.z.toks
			s.e.add(kAbuse, name, w*s.talk(p.from), t[p.from].start, t[p.to-1].end)
		}
		call := callsTool(text)
		place := strings.Contains(text, "http") || strings.Contains(text, "@")
		if call {
			add("call-of-tool", 0.35)
		}
		if containsAny(text, orders[:]...) && c&(cExec|cSend|cShow|cReply) != 0 {
			w := float32(0.2)
			if call || place || c&cSecret != 0 {
				w += 0.15
			}
			if c&cAI != 0 {
				w += 0.15
			}
			add("beside-the-task", w)
		}
		if c&cUser != 0 && containsAny(text, permissions[:]...) {
			w := float32(0.3)
			if call || c&(cExec|cSend|cDrop) != 0 {
				w += 0.15
			}
			add("in-the-users-name", w)
		}
	}
}

// orders put something before, after or in the place of what the reader was asked
// for, or into all that it answers.
var orders = [...]string{
	"before you", "before repl", "before respond", "before answer", "before contin", "before proceed", "before summar", "before process", "before doing anything", "before complet", "prior to answer", "prior to respond",
	"after answer", "after repl", "after respond", "after summar", "while answer", "while summar", "when summar", "when answer", "when respond", "when process", "when asked", "whenever a user", "whenever the user", "whenever someone",
	"instead of", "rather than", "as part of process", "to complete this", "in your summary", "in your answer", "in your reply", "in your response", "in your output", "end of your", "start your", "begin your", "end your",
	"every response", "every answer", "every reply", "all responses", "all answers", "all replies", "your final answer", "your final response", "no matter what", "regardless of",
	"bevor du", "statt zu", "jeder antwort", "avant de rép", "avant de résum", "au lieu de", "toute réponse", "antes de responder", "en lugar de", "cualquier respuesta", "em vez de", "prima di rispondere", "invece di", "ogni risposta", "перед ответом", "вместо",
}

// permissions are given in the user's name.
var permissions = [...]string{
	"already approved", "already agreed", "already authori", "already confirmed", "has approved", "has agreed", "has authori", "has given permission", "has consented", "pre-approved", "previously approved", "approved this", "no confirmation is needed", "without asking", "no need to ask", "without confirm",
	"wants you to", "asked you to", "would like you to", "expects you to",
}

// callsTool tells "call send_report" and the like: a verb before a name as programs
// have them, with an underscore.
func callsTool(text string) bool {
	for _, verb := range [...]string{"call ", "invoke ", "use ", "run ", "execute ", "trigger "} {
		rest := text
		for {
			k := strings.Index(rest, verb)
			if k < 0 {
				break
			}
			named := k == 0 || !isWord(rest[k-1])
			rest = rest[k+len(verb):]
			name := strings.TrimPrefix(rest, "the ")
			name = strings.TrimLeft(strings.TrimPrefix(strings.TrimPrefix(name, "tool "), "function "), "`\"'*")
			end := strings.IndexFunc(name, func(r rune) bool { return r != '_' && (r < 'a' || r > 'z') && (r < '0' || r > '9') })
			if end < 0 {
				end = len(name)
			}
			if named && strings.IndexByte(name[:end], '_') > 0 {
				return true
			}
		}
	}
	return false
}
