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
	Bedrock   Surface = "bedrock"
	Vertex    Surface = "vertex"
)

// protocol says how the bodies of an operation are read.
type protocol uint8

const (
	protoNone         protocol = iota // no conversation
	protoMessages                     // Messages API
	protoCount                        // count_tokens: a Messages request, a number for an answer
	protoConverse                     // Bedrock's Converse
	protoBedrockCount                 // Bedrock's CountTokens, around a request of one of the two
	protoComplete                     // the legacy completions: a prompt that is one text
	protoBatch                        // a list of Messages requests, answered by a batch
	protoBatchObject                  // no request; the answer holds batches
	protoResults                      // no request; a batch's results, in lines
	protoFile                         // an upload, multipart/form-data
)

// json tells whether requests are JSON.
func (p protocol) json() bool {
	switch p {
	case protoNone, protoBatchObject, protoResults, protoFile:
		return false
	}
	return true
}

// operation is one of the operations that are forwarded.
type operation struct {
	name    string // gen_ai.operation.name
	surface Surface
	proto   protocol
	model   string // from the path, where it stands there
	// batch is the id of the batch that it is about.
	batch string
	// activity operations are no calls of a model.
	activity bool
}

// route says which operation a request is, by the raw path as it came. Only what is on the
// list is forwarded: prompts travel on paths that nobody here has heard of yet. A path
// that isn't canonical (a doubled slash, an escape that needn't be) matches nothing:
// upstream might read it otherwise than we do.
func route(method, rawPath string) (operation, bool) {
	surface := surfaceOf(rawPath)
	var op operation
	var ok bool
	switch surface {
	case Foundry:
		op, ok = routeAnthropic(method, strings.TrimPrefix(rawPath, foundryPrefix))
	case Bedrock:
		op, ok = routeBedrock(method, rawPath)
	case Vertex:
		op, ok = routeVertex(method, rawPath)
	default:
		op, ok = routeAnthropic(method, rawPath)
	}
	op.surface = surface
	return op, ok
}

// What the paths of the surfaces begin with.
const (
	foundryPrefix = "/anthropic"
	bedrockPrefix = "/model/"
	vertexPrefix  = "/v1/projects/"
)

// surfaceOf is the surface that a path is of, on the list or not.
func surfaceOf(path string) Surface {
	switch {
	case strings.HasPrefix(path, foundryPrefix+"/"):
		return Foundry
	case strings.HasPrefix(path, bedrockPrefix), path == "/inference-profiles", path == "/foundation-models":
		return Bedrock
	case strings.HasPrefix(path, vertexPrefix):
		return Vertex
	}
	return Anthropic
}

// routeBedrock reads /model/{id}/{operation}. The id may be an ARN, whose colons and slashes are
// escaped; other escapes are not canonical.
func routeBedrock(method, path string) (operation, bool) {
	id, action, ok := strings.Cut(strings.TrimPrefix(path, bedrockPrefix), "/")
	if !ok || method != http.MethodPost {
		return operation{}, false
	}
	model := strings.NewReplacer("%3A", ":", "%2F", "/", "%3a", ":", "%2f", "/").Replace(id)
	for segment := range strings.SplitSeq(model, "/") {
		if !plainSegment(segment) {
			return operation{}, false
		}
	}
	switch action {
	case "invoke", "invoke-with-response-stream":
		return operation{name: "chat", proto: protoMessages, model: model}, true
	case "converse", "converse-stream":
		return operation{name: "chat", proto: protoConverse, model: model}, true
	case "count-tokens":
		return operation{name: "count_tokens", proto: protoBedrockCount, model: model}, true
	}
	return operation{}, false
}

// routeVertex reads /v1/projects/P/locations/L/publishers/anthropic/models/M:{operation}.
func routeVertex(method, path string) (operation, bool) {
	s := strings.Split(strings.TrimPrefix(path, vertexPrefix), "/")
	if method != http.MethodPost || len(s) != 7 || s[1] != "locations" || s[3] != "publishers" || s[4] != "anthropic" || s[5] != "models" ||
		!plainSegment(s[0]) || !plainSegment(s[2]) || !plainSegment(s[6]) {
		return operation{}, false
	}
	i := strings.LastIndexByte(s[6], ':')
	if i <= 0 {
		return operation{}, false
	}
	model, action := s[6][:i], s[6][i+1:]
	switch {
	case action == "rawPredict" && model == "count-tokens":
		return operation{name: "count_tokens", proto: protoCount}, true
	case action == "rawPredict", action == "streamRawPredict":
		return operation{name: "chat", proto: protoMessages, model: model}, true
	}
	return operation{}, false
}

func routeAnthropic(method, path string) (operation, bool) {
	switch {
	case method == http.MethodPost && path == "/v1/messages":
		return operation{name: "chat", proto: protoMessages}, true
	case method == http.MethodPost && path == "/v1/messages/count_tokens":
		return operation{name: "count_tokens", proto: protoCount}, true
	case method == http.MethodPost && path == "/v1/complete":
		return operation{name: "text_completion", proto: protoComplete}, true
	case path == batchPath || strings.HasPrefix(path, batchPath+"/"):
		return routeBatches(method, path)
	case path == filePath || strings.HasPrefix(path, filePath+"/"):
		return routeFiles(method, path)
	case method == http.MethodGet && path == "/v1/models":
		return operation{name: "models.list", activity: true}, true
	case method == http.MethodGet && isID(path, "/v1/models/"):
		return operation{name: "models.get", activity: true}, true
	}
	return operation{}, false
}

const filePath = "/v1/files"

func routeFiles(method, path string) (operation, bool) {
	op := operation{activity: true}
	rest := strings.TrimPrefix(path, filePath)
	id, content := strings.CutSuffix(rest, "/content")
	switch {
	case rest == "" && method == http.MethodPost:
		op.name, op.proto = "files.create", protoFile
	case rest == "" && method == http.MethodGet:
		op.name = "files.list"
	case !isID(id, "/"):
		return operation{}, false
	case content && method == http.MethodGet:
		op.name = "files.content"
	case !content && method == http.MethodGet:
		op.name = "files.get"
	case !content && method == http.MethodDelete:
		op.name = "files.delete"
	default:
		return operation{}, false
	}
	return op, true
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
