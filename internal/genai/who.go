package genai

import (
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

// Ranks of a user or session, best first. A value of a span, be it the call's own
// or an ancestor's, beats one of the resource; the opaque id that an
// application gives to the API for abuse control comes after both, and the
// random id of a Claude Code installation, which isn't a person, is the last.
const (
	rankVerifiedAccount = 10 // + place in the list: Claude Code's account
	rankSpan            = 20 // + place in the list: an attribute of a span or event
	rankResource        = 60 // + place in the list: an attribute of the resource
	rankOpaque          = 70 // metadata.user_id of the API request
	rankInstallation    = 80 // Claude Code's user.id
)

var (
	accountKeys = []key{keyUserEmail, keyUserAccountUUID, keyUserAccountID}
	userKeys    = []key{
		keyUserID, keyEnduserID, keyLangfuseUser, keyVercelUser, keyVercelContextUser, keyTraceloopUser,
		keyLiteLLMKeyUser, keyLLMUser, keyOpenLITUser,
	}
	sessionKeys = []key{
		keySessionID, keyConversationID, keyLangfuseSession, keyVercelSession, keyVercelContextSession,
		keyTraceloopSession, keyTraceloopThread, keyOpenLITSession,
	}
	// metadataSessions are members of OpenInference's metadata.
	metadataSessions = []string{"session_id", "thread_id"}
)

// Resource is what a resource tells of the caller. It is read once for all that
// belongs to it.
type Resource struct {
	application, department string
	user                    [3]string // user.email, user.id, enduser.id
	session                 [2]string // session.id, gen_ai.conversation.id
}

// ReadResource reads the attributes of a resource.
func ReadResource(m pcommon.Map) Resource {
	var r Resource
	for name, v := range m.All() {
		switch name {
		case "service.name":
			r.application = valueText(v)
		case "user.email":
			r.user[0] = valueText(v)
		case "user.id":
			r.user[1] = valueText(v)
		case "enduser.id":
			r.user[2] = valueText(v)
		case "session.id":
			r.session[0] = valueText(v)
		case "gen_ai.conversation.id":
			r.session[1] = valueText(v)
		case "department", "user.department", "enduser.department":
			if r.department == "" {
				r.department = valueText(v)
			}
		}
	}
	return r
}

// resource takes what the resource tells. An e-mail address there is the user's
// in Claude Code alone.
func (w *Who) resource(r *Resource, claudeCode bool) {
	w.Application, w.Department = r.application, r.department
	for i, s := range r.user {
		if i > 0 || claudeCode {
			w.user(s, rankResource+i)
		}
	}
	for i, s := range r.session {
		w.session(s, rankResource+i)
	}
}

func (w *Who) user(s string, rank int) {
	if s != "" && (w.UserRank == 0 || rank < w.UserRank) {
		w.User, w.UserRank = s, rank
	}
}

func (w *Who) session(s string, rank int) {
	if s != "" && (w.SessionRank == 0 || rank < w.SessionRank) {
		w.Session, w.SessionRank = s, rank
	}
}

// attributes is what a span's or an event's own attributes tell.
func (w *Who) attributes(a *attributes, claudeCode bool, kind ptrace.SpanKind, mem *memory) {
	if claudeCode {
		for i, k := range accountKeys {
			w.user(a.text(k), rankVerifiedAccount+i)
		}
		w.user(a.text(keyUserID), rankInstallation)
		w.user(a.text(keyEnduserID), rankSpan+1)
	} else {
		for i, k := range userKeys {
			w.user(a.text(k), rankSpan+i)
		}
	}
	for i, k := range sessionKeys {
		w.session(a.text(k), rankSpan+i)
	}
	if a.has(keyOIKind) && a.has(keyMetadata) && (w.SessionRank == 0 || w.SessionRank >= rankResource) {
		if v, _ := a.json(keyMetadata, mem); v.Len() > 0 {
			for i, name := range metadataSessions {
				w.session(v.Get(name).Str(), rankSpan+len(sessionKeys)+i)
			}
		}
	}
	w.AgentName = a.first(agentKeys...)
	if d := a.first(departmentKeys...); d != "" {
		w.Department = d
	}
	w.Address = a.first(keyClientAddress, keyLiteLLMAddress)
	// The peer is the caller only where the span is the server's.
	if w.Address == "" && kind == ptrace.SpanKindServer {
		w.Address = a.first(keyHTTPClientIP, keyNetPeerIP)
	}
}

func (w *Who) told() bool {
	return w.UserRank > 0 && w.UserRank < rankResource || w.SessionRank > 0 && w.SessionRank < rankResource ||
		w.Address != "" || w.AgentName != ""
}
