package gateway

import (
	"encoding/json"
	"net/http"
	"strconv"
)

// apiError is an error that the gateway itself answers with, in the shape of the
// surface: the SDKs raise it as they raise one of the API.
type apiError struct {
	status int
	// kind is an error type of the Anthropic API.
	kind string
	// message is for the person who reads the client's log. It never holds content.
	message string
	// retry tells the client to send again after so many seconds; 0 says that sending
	// again is of no use.
	retry int
}

func (e *apiError) Error() string { return e.kind + ": " + e.message }

// Errors of the gateway's own.
var (
	errNotAllowed = &apiError{
		http.StatusNotFound, "not_found_error",
		"the audit gateway does not forward this method and path: it can't record what they carry", 0,
	}
	errNoUpstream = &apiError{http.StatusNotFound, "not_found_error", "this audit gateway has no upstream for this API", 0}
	errEncoding   = &apiError{
		http.StatusUnsupportedMediaType, "invalid_request_error",
		"the audit gateway takes request bodies without content-encoding only", 0,
	}
	errAnonymous = &apiError{
		http.StatusUnauthorized, "authentication_error",
		"the audit gateway does not know who calls: use the credential that was given to you for it", 0,
	}
	errBadToken      = &apiError{http.StatusUnauthorized, "authentication_error", "the token for the audit gateway is not valid", 0}
	errHeaders       = &apiError{http.StatusRequestHeaderFieldsTooLarge, "invalid_request_error", "the request's headers exceed the maximum size", 0}
	errTooLarge      = &apiError{http.StatusRequestEntityTooLarge, "request_too_large", "request exceeds the maximum size", 0}
	errBodySlow      = &apiError{http.StatusRequestTimeout, "timeout_error", "the request's body did not arrive in time", 0}
	errBodyCut       = &apiError{http.StatusBadRequest, "invalid_request_error", "the request's body ended early", 0}
	errOverloaded    = &apiError{529, "overloaded_error", "the audit gateway holds as much as it may; try again", 1}
	errNoAudit       = &apiError{http.StatusServiceUnavailable, "api_error", "the call can't be recorded now, so it was not forwarded; try again", 2}
	errUpstreamDown  = &apiError{http.StatusBadGateway, "api_error", "the API could not be reached through the audit gateway", 1}
	errUpstreamSlow  = &apiError{http.StatusGatewayTimeout, "timeout_error", "the API did not answer the audit gateway in time", 1}
	errShuttingDown  = &apiError{http.StatusServiceUnavailable, "api_error", "the audit gateway is shutting down; try again", 1}
	errUnreadable    = &apiError{http.StatusBadRequest, "invalid_request_error", "the request body is not valid JSON, or is ambiguous", 0}
	errBody          = &apiError{http.StatusBadRequest, "invalid_request_error", "this operation takes no request body", 0}
	errNoContentType = &apiError{http.StatusUnsupportedMediaType, "invalid_request_error", "content-type must be application/json", 0}
)

// on is the status that a surface has for the error.
func (e *apiError) on(surface Surface) int {
	if surface == Bedrock {
		status, _ := awsError(e.status)
		return status
	}
	return e.status
}

// write answers a request with the error.
func (e *apiError) write(w http.ResponseWriter, surface Surface, id string) {
	status, body := e.answer(w.Header(), surface, id)
	w.WriteHeader(status)
	_, _ = w.Write(body) // a client that has gone misses nothing that isn't recorded
}

// answer gives the error as an answer's status and body, and puts its headers into h.
func (e *apiError) answer(h http.Header, surface Surface, id string) (int, []byte) {
	h.Set("Content-Type", "application/json")
	if e.retry > 0 {
		h.Set("Retry-After", strconv.Itoa(e.retry))
		h.Set("X-Should-Retry", "true")
	} else {
		h.Set("X-Should-Retry", "false")
	}
	status := e.on(surface)
	var shape any = map[string]any{
		"type": "error", "error": map[string]string{"type": e.kind, "message": e.message}, "request_id": id,
	}
	switch surface {
	case Bedrock:
		_, name := awsError(e.status)
		h.Set("X-Amzn-Errortype", name)
		h.Set("X-Amzn-Requestid", id)
		shape = map[string]string{"message": e.message}
	case Vertex:
		if name, ok := googleStatus[status]; ok {
			shape = map[string]any{"error": map[string]any{"code": status, "message": e.message, "status": name}}
		}
	}
	body, err := json.Marshal(shape)
	if err != nil {
		panic(err) // of strings and numbers: cannot be
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	return status, body
}

// awsError is the status and the name that Bedrock has for an error.
func awsError(status int) (int, string) {
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound:
		// A model that isn't there is another matter: what the gateway doesn't forward is denied.
		return http.StatusForbidden, "AccessDeniedException"
	case http.StatusTooManyRequests:
		return status, "ThrottlingException"
	case http.StatusRequestTimeout, http.StatusGatewayTimeout:
		return http.StatusRequestTimeout, "ModelTimeoutException"
	case http.StatusBadGateway, http.StatusServiceUnavailable, 529:
		return http.StatusServiceUnavailable, "ServiceUnavailableException"
	}
	return http.StatusBadRequest, "ValidationException"
}

var googleStatus = map[int]string{
	http.StatusUnauthorized: "UNAUTHENTICATED", http.StatusForbidden: "PERMISSION_DENIED", http.StatusNotFound: "NOT_FOUND",
	http.StatusTooManyRequests: "RESOURCE_EXHAUSTED",
}
