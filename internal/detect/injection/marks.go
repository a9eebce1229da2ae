package injection

import (
	"strings"
	"sync"
)

// mark is a piece of text that belongs to the frame of a conversation, or an
// image, and not into what somebody types.
type mark struct {
	text   string // lower case
	name   string
	weight float32
	kind   int
	line   bool // counts only at the beginning of a line
}

var marks = []mark{
	{"<|im_start|>", "chatml", 0.6, kTemplate, false},
	{"<|im_end|>", "chatml-end", 0.3, kTemplate, false},
	{"<|im_sep|>", "chatml-end", 0.3, kTemplate, false},
	{"<|system|>", "role-token", 0.6, kTemplate, false},
	{"<|user|>", "role-token", 0.5, kTemplate, false},
	{"<|assistant|>", "role-token", 0.5, kTemplate, false},
	{"<|endoftext|>", "end-token", 0.5, kTemplate, false},
	{"<|end|>", "end-token", 0.4, kTemplate, false},
	{"<|eot_id|>", "end-token", 0.5, kTemplate, false},
	{"<|start_header_id|>", "header-token", 0.6, kTemplate, false},
	{"<|begin_of_text|>", "begin-token", 0.5, kTemplate, false},
	{"<start_of_turn>", "turn-token", 0.6, kTemplate, false},
	{"<end_of_turn>", "turn-token", 0.4, kTemplate, false},
	{"[inst]", "inst", 0.5, kTemplate, false},
	{"[/inst]", "inst-end", 0.4, kTemplate, false},
	{"<<sys>>", "sys", 0.6, kTemplate, false},
	{"<</sys>>", "sys-end", 0.4, kTemplate, false},
	{"[system", "system-bracket", 0.45, kTemplate, false},
	{"[/system", "system-bracket-end", 0.4, kTemplate, false},
	{"[end_system", "system-bracket-end", 0.4, kTemplate, false},
	{"[admin", "admin-bracket", 0.35, kTemplate, false},
	{"[developer", "admin-bracket", 0.35, kTemplate, false},
	{"{{system", "system-brace", 0.5, kTemplate, false},
	{"{{/system", "system-brace-end", 0.4, kTemplate, false},
	{"{system:", "system-brace", 0.5, kTemplate, false},
	{"{#system", "system-brace", 0.5, kTemplate, false},
	{"<system>", "system-tag", 0.5, kTemplate, false},
	{"</system>", "system-tag-end", 0.5, kTemplate, false},
	{"<system_prompt>", "system-tag", 0.4, kTemplate, false},
	{"</system_prompt>", "system-tag-end", 0.4, kTemplate, false},
	{"<system-prompt>", "system-tag", 0.4, kTemplate, false},
	{"<admin>", "system-tag", 0.4, kTemplate, false},
	{"<instructions>", "instructions-tag", 0.1, kTemplate, false},
	{"</instructions>", "instructions-tag-end", 0.15, kTemplate, false},
	{"</user_input>", "input-tag-end", 0.5, kTemplate, false},
	{"</user_query>", "input-tag-end", 0.5, kTemplate, false},
	{"</user>", "input-tag-end", 0.3, kTemplate, false},
	{"</document>", "input-tag-end", 0.15, kTemplate, false},
	{"</context>", "input-tag-end", 0.15, kTemplate, false},
	{"### system:", "system-heading", 0.4, kTemplate, false},
	{"### system prompt", "system-heading", 0.3, kTemplate, false},
	{"### system\n", "system-heading", 0.35, kTemplate, false},
	{"###system:", "system-heading", 0.4, kTemplate, false},
	{"### instruction", "instruction-heading", 0.2, kTemplate, false},
	{"### response", "response-heading", 0.2, kTemplate, false},
	{"end of system prompt", "end-of-prompt", 0.7, kTemplate, false},
	{"end of prompt", "end-of-prompt", 0.5, kTemplate, false},
	{"end of instructions", "end-of-prompt", 0.4, kTemplate, false},
	{"end of user text", "end-of-input", 0.6, kTemplate, false},
	{"end of user message", "end-of-input", 0.6, kTemplate, false},
	{"system instruction:", "system-says", 0.35, kTemplate, false},
	{"<!-- ai", "note-to-model", 0.75, kAbuse, false},
	{"<!-- assistant", "note-to-model", 0.75, kAbuse, false},
	{"<!-- llm", "note-to-model", 0.75, kAbuse, false},
	{"to the language model", "note-to-model", 0.6, kAbuse, false},
	{"hello llm", "note-to-model", 0.6, kAbuse, false},
	{"end of user input", "end-of-input", 0.6, kTemplate, false},
	{"end user input", "end-of-input", 0.5, kTemplate, false},
	{"end system prompt", "end-of-prompt", 0.6, kTemplate, false},
	{"begin system prompt", "end-of-prompt", 0.5, kTemplate, false},
	{"end user ambiguity", "end-of-input", 0.6, kTemplate, false},
	{"system override", "system-says", 0.5, kTemplate, false},
	{"system update", "system-says", 0.2, kTemplate, false},
	{"system note", "system-says", 0.25, kTemplate, false},
	{"system notice", "system-says", 0.25, kTemplate, false},
	{"system:", "system-line", 0.35, kTemplate, true},
	{"developer note", "system-says", 0.25, kTemplate, false},
	{"note to ai", "note-to-model", 0.6, kAbuse, false},
	{"ai assistant reading", "note-to-model", 0.6, kAbuse, false},
	{"if you are an ai", "note-to-model", 0.5, kAbuse, false},
	{"if you are a language model", "note-to-model", 0.7, kAbuse, false},
	{"if you're an ai", "note-to-model", 0.5, kAbuse, false},
	{"dear assistant", "note-to-model", 0.5, kAbuse, false},
	{"attention ai", "note-to-model", 0.6, kAbuse, false},
	{"instructions for ai", "note-to-model", 0.5, kAbuse, false},
	{"inject:", "inject-label", 0.5, kAbuse, false},
	{"injection:", "inject-label", 0.5, kAbuse, false},
	{"[hidden", "hidden-label", 0.4, kAbuse, false},
	{"[[important", "hidden-label", 0.4, kAbuse, false},
	{"instruction:", "instruction-label", 0.25, kAbuse, false},
	{"following code", "insert-code", 0, kAbuse, false},
	{"code snippet", "insert-code", 0, kAbuse, false},
	{"code section", "insert-code", 0, kAbuse, false},
	{"code block", "insert-code", 0, kAbuse, false},
	{"code excerpt", "insert-code", 0, kAbuse, false},
	{"\"role\": \"system\"", "role-json", 0.4, kTemplate, false},
	{"\"role\":\"system\"", "role-json", 0.4, kTemplate, false},
	{"'role': 'system'", "role-json", 0.4, kTemplate, false},
	{"](http", "image", 0, kExfil, false},
	{"<img", "image", 0, kExfil, false},
}

// markOf finds the mark of a keyword by its index, nil for words.
var markOf = sync.OnceValue(func() []*mark {
	l := lex()
	out := make([]*mark, len(l.keys))
	for i, k := range l.keys {
		for j := range marks {
			if marks[j].text == k {
				out[i] = &marks[j]
			}
		}
	}
	return out
})

func (s *scorer) mark(m *mark, end int) {
	start := max(0, end-len(m.text))
	if m.name == "image" {
		if m.text[0] == ']' { // in Markdown what marks an image stands before its description
			k := strings.LastIndex(s.text[max(0, start-160):start], "![")
			if k < 0 {
				return
			}
			start, end = max(0, start-160)+k, start
		}
		s.image(start, end)
		return
	}
	if m.name == "insert-code" {
		s.insert(start, end)
		return
	}
	if m.line {
		if k := start - 1; k >= 0 && s.text[k] != '\n' && s.text[k] != '#' && s.text[k] != '*' && s.text[k] != '[' {
			return
		}
	}
	w := m.weight
	switch {
	case s.codeName(end):
		return
	case m.name == "end-of-prompt" && strings.TrimLeft(s.text[end:], " \t\n#*=->]!.") == "":
		w *= 0.3 // nothing follows that it could frame
	case start > 0 && (s.text[start-1] == '`' || s.text[start-1] == '"' || s.text[start-1] == '\''):
		w *= 0.3
	case strings.Count(s.text[max(0, start-2000):start], "```")%2 == 1:
		w *= 0.5
	}
	before := lower(s.text[max(0, start-160):start])
	for _, talk := range [...]string{"token", "template", "format", "delimiter", "attack", "injection", "such as", "for example", "e.g."} {
		if strings.Contains(before, talk) {
			w *= 0.4
			break
		}
	}
	s.e.add(m.kind, m.name, w, int32(start), int32(end))
}

// codeName tells that what ends at byte end goes on as a name of a program:
// "[system_message(" is an element of a list.
func (s *scorer) codeName(end int) bool {
	return end+1 < len(s.text) && s.text[end] == '_' && s.text[end+1]-'a' <= 'z'-'a'
}

// image: a picture whose address has a place for what the model knows.
func (s *scorer) image(start, end int) {
	rest := s.text[end:min(len(s.text), end+400)]
	k := strings.Index(rest, "http")
	if k < 0 {
		return
	}
	url := rest[k:]
	if e := strings.IndexAny(url, ")\n\"' "); e >= 0 {
		url = url[:e]
	}
	q := strings.IndexByte(url, '?')
	open := strings.ContainsAny(url, "{}<>$[]") || strings.HasSuffix(url, "=") || strings.HasSuffix(rest[:k+len(url)], "=")
	u := lower(url)
	for _, w := range [...]string{"=data", "=secret", "=summary", "=conversation", "=chat", "=history", "=password", "=base64", "=prompt", "exfil", "=encoded", "your_"} {
		open = open || strings.Contains(u, w)
	}
	// a value in capitals is to be filled in
	for part := range strings.SplitSeq(url[max(0, q):], "&") {
		if k := strings.IndexByte(part, '='); k >= 0 && len(part)-k > 4 && strings.Contains(part[k:], "_") && strings.ToUpper(part[k:]) == part[k:] {
			open = true
		}
	}
	if !open {
		return
	}
	w := float32(0.45)
	if q >= 0 {
		w += 0.15
	}
	around := lower(s.text[max(0, start-240):min(len(s.text), end+400)])
	for _, t := range [...]string{"replace", "append", "encode", "insert", "render", "conversation", "history", "summary", "secret", "include", "fill"} {
		if strings.Contains(around, t) {
			w += 0.2
		}
	}
	s.e.add(kExfil, "image-with-place", min(w, 1.2), int32(start), int32(end))
}

// dangers are what code does that nobody asks to be put into an answer.
var dangers = [...]string{
	"socket.socket", "os.dup2", "/bin/sh", "/bin/bash -i", "pexpect", "ssh -", "subprocess.", "os.system", "os.remove", "rmtree", "rm -rf", "requests.post", "requests.get", "urllib", "while true", "clipboard", "pyperclip", "keylog", "pynput",
	"terminate()", ".kill(", "private_key", "/etc/passwd", "/etc/shadow", "eval(", "exec(", "base64 -d", "curl ", "wget ", "powershell", "victim", "attacker", "fork()", "cryptography.fernet", "netcat", "nc -e", "smtplib", "screenshot", "webcam", "getpass", "winreg", "crontab", "target_",
}

// insert: code that does harm is to be put into the answer.
func (s *scorer) insert(start, end int) {
	before := lower(s.text[max(0, start-120):start])
	if k := strings.LastIndexByte(before, '\n'); k >= 0 {
		before = before[k:]
	}
	put := false
	for _, w := range [...]string{"include", "includ", "insert", "integrat", "incorporat", "embed", "employ", "introduc", "add ", "append", "inclusion", "make the", "place ", "inject", "adopt", "use the", "attach"} {
		put = put || strings.Contains(before, w)
	}
	if !put {
		return
	}
	w := float32(0.3)
	around := before + lower(s.text[start:min(len(s.text), end+120)])
	for _, a := range [...]string{"your code", "your response", "your answer", "your implementation", "your solution", "elucidation", "your reply", "your codebase", "your program", "your script", "your output"} {
		if strings.Contains(around, a) {
			w += 0.2
			break
		}
	}
	code := lower(s.text[end:min(len(s.text), end+900)])
	n := 0
	for _, d := range dangers {
		if strings.Contains(code, d) {
			n++
		}
	}
	if n == 0 {
		return
	}
	s.e.add(kAbuse, "insert-code", w+0.25*float32(min(n, 3)), int32(start), int32(end))
}
