package gateway

import (
	"net/http"
	"strings"
)

// Surface is one of the places where Claude is served, each with its own protocol.
type Surface string

// The surfaces.
const (
	Anthropic Surface = "anthropic"
	Foundry   Surface = "foundry" // the Anthropic protocol below /anthropic
)

// protocol says how the bodies of an operation are read.
type protocol uint8

const (
	protoNone     protocol = iota // no conversation
	protoMessages                 // Messages API
	protoCount                    // count_tokens: a Messages request, a number for an answer
)

// operation is one of the operations that are forwarded.
type operation struct {
	name    string // gen_ai.operation.name
	surface Surface
	proto   protocol
	model   string // from the path, where it stands there
	// activity operations are no calls of a model.
	activity bool
}

// route says which operation a request is, by the raw path as it came. Only what is on the
// list is forwarded: prompts travel on paths that nobody here has heard of yet. A path
// that isn't canonical (a doubled slash, an escape that needn't be) matches nothing:
// upstream might read it otherwise than we do.
func route(method, rawPath string) (operation, bool) {
	surface := Anthropic
	path := rawPath
	if rest, ok := strings.CutPrefix(path, "/anthropic/"); ok {
		surface, path = Foundry, "/"+rest
	}
	op, ok := routeAnthropic(method, path)
	op.surface = surface
	return op, ok
}

func routeAnthropic(method, path string) (operation, bool) {
	switch {
	case method == http.MethodPost && path == "/v1/messages":
		return operation{name: "chat", proto: protoMessages}, true
	case method == http.MethodPost && path == "/v1/messages/count_tokens":
		return operation{name: "count_tokens", proto: protoCount}, true
	case method == http.MethodGet && path == "/v1/models":
		return operation{name: "models.list", activity: true}, true
	case method == http.MethodGet && isID(path, "/v1/models/"):
		return operation{name: "models.get", activity: true}, true
	}
	return operation{}, false
}

// isID tells whether path is prefix and one plain segment.
func isID(path, prefix string) bool {
	id, ok := strings.CutPrefix(path, prefix)
	return ok && plainSegment(id)
}

// maxSegment bounds an id in a path.
const maxSegment = 256

// plainSegment tells whether s is a path segment that nobody reads in two ways.
func plainSegment(s string) bool {
	if s == "" || len(s) > maxSegment || s == "." || s == ".." {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.' || c == '@' || c == ':') {
			return false
		}
	}
	return true
}

// rawPath is the path of the request as it came over the wire; false when the request's
// target is of another form, as a proxy's is.
func rawPath(r *http.Request) (string, bool) {
	path, _, _ := strings.Cut(r.RequestURI, "?")
	return path, strings.HasPrefix(path, "/")
}
