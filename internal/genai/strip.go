package genai

import (
	"strings"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

// StripSpan removes from a span whatever can hold content of a conversation, in
// every dialect: attributes, events, and messages of errors, which quote
// requests. kind is what ReadSpan said; a span that has nothing to do with a
// model (KindNone) stays as it is, and of one that is around a call (KindContext) only
// GenAI attributes are looked at, unless it is a wrapper of some GenAI client itself.
func StripSpan(span ptrace.Span, kind Kind) {
	if kind == KindNone {
		return
	}
	call := kind != KindContext
	wrapper := call || isWrapper(span)
	stripAttributes(span.Attributes(), span.Name(), call, wrapper)
	if wrapper {
		span.Status().SetMessage("")
	}
	span.Events().RemoveIf(func(e ptrace.SpanEvent) bool {
		if removedEvents[e.Name()] || messageEvents[e.Name()] != "" {
			return true
		}
		stripAttributes(e.Attributes(), span.Name(), call, wrapper)
		return false
	})
}

// StripLog removes content from a log record; see StripSpan.
func StripLog(rec plog.LogRecord, kind Kind) {
	if kind == KindNone {
		return
	}
	name := ""
	body := rec.Body()
	if body.Type() == pcommonStr && strings.HasPrefix(body.Str(), claudeCodePrefix) && len(body.Str()) <= maxEventName {
		name = body.Str() // the name of the event
	} else if kind != KindContext || body.Type() != pcommonStr {
		pcommon.NewValueEmpty().CopyTo(body)
	}
	if name == "" {
		if v, ok := rec.Attributes().Get("event.name"); ok && isClaudeCodeRecord(rec) {
			name = claudeCodePrefix + valueText(v)
		}
	}
	stripAttributes(rec.Attributes(), name, kind != KindContext, true)
}

// isClaudeCodeRecord reports whether a record without the event's name in its
// body is one of Claude Code's, by what all of those have.
func isClaudeCodeRecord(rec plog.LogRecord) bool {
	_, sequence := rec.Attributes().Get(keyNames[keyEventSequence])
	return sequence
}

// isWrapper reports whether a span is of some GenAI client.
func isWrapper(span ptrace.Span) bool {
	if strings.HasPrefix(span.Name(), claudeCodePrefix) {
		return true
	}
	for name := range span.Attributes().All() {
		if isGenAIName(name) {
			return true
		}
	}
	return false
}

// maxUnknownText is how long a text may be in an attribute of a call that no table
// knows. Identifiers are shorter, prompts longer.
const maxUnknownText = 512

func stripAttributes(m pcommon.Map, name string, call, wrapper bool) {
	claudeCode := strings.HasPrefix(name, claudeCodePrefix)
	m.RemoveIf(func(k string, v pcommon.Value) bool {
		known, ok := names[k]
		if !ok {
			known.verdict = verdict(k)
		}
		switch known.verdict {
		case verdictKeep:
			return false
		case verdictContent:
			return true
		case verdictWrapper:
			return wrapper
		}
		if claudeCode && claudeCodeContent[k] {
			return true
		}
		return call && isLong(v)
	})
}

func isLong(v pcommon.Value) bool {
	switch v.Type() {
	case pcommon.ValueTypeStr:
		return len(v.Str()) > maxUnknownText
	case pcommon.ValueTypeMap, pcommon.ValueTypeBytes:
		return true
	case pcommon.ValueTypeSlice:
		n := 0
		for _, e := range v.Slice().All() {
			if e.Type() != pcommonStr && valueText(e) == "" {
				return true
			}
			if n += len(valueText(e)); n > maxUnknownText {
				return true
			}
		}
	default:
	}
	return false
}
