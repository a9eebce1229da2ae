package dlp

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers/gorillamux"
	"github.com/stretchr/testify/require"

	"github.com/claudeaudit/claudeaudit/internal/detect"
)

// The published contract is a valid description, its examples fit it and are
// understood, and what the client sends is what it describes.
func TestOpenAPI(t *testing.T) {
	file, err := os.ReadFile("../../docs/external-classifier.openapi.yaml")
	require.NoError(t, err)
	doc, err := openapi3.NewLoader().LoadFromData(file)
	require.NoError(t, err)
	require.NoError(t, doc.Validate(t.Context()))
	doc.Servers = nil
	router, err := gorillamux.NewRouter(doc)
	require.NoError(t, err)
	post := doc.Paths.Find("/classify").Post
	example, err := json.Marshal(post.Responses.Status(http.StatusOK).Value.Content.Get("application/json").Example)
	require.NoError(t, err)

	asked := 0
	url := service(t, func(w http.ResponseWriter, r *http.Request) {
		asked++
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		route, params, err := router.FindRoute(r)
		if err != nil {
			t.Error(err)
			return
		}
		request := &openapi3filter.RequestValidationInput{Request: r, PathParams: params, Route: route}
		if err := openapi3filter.ValidateRequest(r.Context(), request); err != nil {
			t.Error(err)
		}
		header := http.Header{"Content-Type": {"application/json"}}
		response := &openapi3filter.ResponseValidationInput{RequestValidationInput: request, Status: http.StatusOK, Header: header}
		response.SetBodyBytes(example)
		if err := openapi3filter.ValidateResponse(r.Context(), response); err != nil {
			t.Error(err)
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(example)
	})
	c, _ := client(t, url+"/classify", func(cfg *Config) {
		cfg.MaxTextBytes, cfg.OverlapBytes, cfg.MaxConcurrent = 1024, 64, 1
	})
	request, err := json.Marshal(post.RequestBody.Value.Content.Get("application/json").Example)
	require.NoError(t, err)
	var req contractRequest
	require.NoError(t, json.Unmarshal(request, &req))
	for o := detect.User; o <= detect.Output; o++ {
		res, err := c.Classify(t.Context(), []detect.Segment{{Origin: o, Text: req.Text}}, detect.Scope{Application: req.Application, Model: req.Model})
		require.NoError(t, err)
		require.Equal(t, Result{
			Level: "CONFIDENTIAL", Flags: []string{"policy.customer_data"},
			Detections: []detect.Detection{{Type: "customer_number", Rule: "external.crm.customer", Confidence: "high", Count: 1}},
		}, res)
	}
	require.Equal(t, req, contractRequest{Version: contractVersion, Origin: "user", Application: req.Application, Model: req.Model, Parts: 1, Text: req.Text})
	_, err = ask(t, c, string(bytes.Repeat([]byte("a long text "), 200)))
	require.NoError(t, err)
	require.Greater(t, asked, 6)

	// the bounds that the client holds answers to are those of the description
	answer := doc.Components.Schemas["Answer"].Value
	require.EqualValues(t, maxFlags, *answer.Properties["flags"].Value.MaxItems)
	require.EqualValues(t, maxFindings, *answer.Properties["detections"].Value.MaxItems)
	require.EqualValues(t, maxName, *doc.Components.Schemas["Name"].Value.MaxLength)
	require.Equal(t, nameForm.String(), doc.Components.Schemas["Name"].Value.Pattern)
	require.Equal(t, flagForm.String(), answer.Properties["flags"].Value.Items.Value.Pattern)
	require.EqualValues(t, maxCount, *doc.Components.Schemas["Detection"].Value.Properties["count"].Value.Max)
}
