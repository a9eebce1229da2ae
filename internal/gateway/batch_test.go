package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/claudeaudit/claudeaudit/internal/audit"
	"github.com/claudeaudit/claudeaudit/internal/detect"
	"github.com/claudeaudit/claudeaudit/internal/fakeclaude"
	"github.com/claudeaudit/claudeaudit/internal/genai"
	"github.com/claudeaudit/claudeaudit/internal/jcs"
)

const batchOfThree = `{"requests":[
 {"custom_id":"good","params":{"model":"claude-sonnet-4-5","max_tokens":64,"messages":[{"role":"user","content":"one"}]}},
 {"custom_id":"failed","params":{"model":"claude-sonnet-4-5","max_tokens":64,"messages":[{"role":"user","content":"[[fake: error=529]]"}]}},
 {"custom_id":"also good","params":{"model":"claude-haiku-4-5","max_tokens":64,"messages":[{"role":"user","content":"two"}]}}]}`

type batchObject struct {
	ID     string `json:"id"`
	Status string `json:"processing_status"`
	URL    string `json:"results_url"`
}

func (h *harness) batch(t *testing.T, method, path, body string) batchObject {
	t.Helper()
	resp, got, err := h.do(t, method, path, body)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, resp.StatusCode, got)
	var b batchObject
	require.NoError(t, json.Unmarshal([]byte(got), &b))
	return b
}

// byItem are the tellings of a batch's requests.
func byItem(its []genai.Interaction) map[string][]genai.Interaction {
	out := map[string][]genai.Interaction{}
	for _, it := range its {
		if it.Gateway.BatchItem != "" {
			out[it.Gateway.BatchItem] = append(out[it.Gateway.BatchItem], it)
		}
	}
	return out
}

// Each request of a batch is a call: recorded before the batch goes upstream, and completed by its result,
// once, however often the results are fetched.
func TestBatch(t *testing.T) {
	for _, prefix := range []string{"", "/anthropic"} {
		h := newHarness(t, nil)
		h.sink.before = func(event string) {
			if event == eventInitiated && len(h.sink.events(eventInitiated)) == 0 {
				require.Empty(t, h.fake.Records(), "upstream before it was recorded")
			}
		}
		made := h.batch(t, http.MethodPost, prefix+"/v1/messages/batches", batchOfThree)
		require.Equal(t, batchOfThree, lastRequest(h.fake).Body)
		started := byItem(h.sink.events(eventInitiated))
		require.Len(t, started, 3)
		require.Equal(t, "one", started["good"][0].Content.Messages[0].Parts[0].Text())
		require.Equal(t, "claude-haiku-4-5", started["also good"][0].RequestModel)
		require.False(t, started["good"][0].Gateway.Activity)
		require.Empty(t, byItem(h.sink.events(eventEnded)))

		h.batch(t, http.MethodGet, prefix+"/v1/messages/batches/"+made.ID, "")
		ended := h.batch(t, http.MethodGet, prefix+"/v1/messages/batches/"+made.ID, "")
		require.Equal(t, "ended", ended.Status)
		require.Equal(t, h.url+prefix+"/v1/messages/batches/"+made.ID+"/results", ended.URL)

		path := strings.TrimPrefix(ended.URL, h.url)
		resp, first, err := h.do(t, http.MethodGet, path, "")
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, resp.StatusCode)
		direct := httptest.NewRecorder()
		h.fake.ServeHTTP(direct, h.request(t, http.MethodGet, path, ""))
		require.Len(t, strings.Split(strings.TrimSpace(first), "\n"), 3)
		require.Equal(t, direct.Body.String(), first, "byte for byte")
		_, _, err = h.do(t, http.MethodGet, path, "")
		require.NoError(t, err)

		results := byItem(h.sink.events(eventEnded))
		require.Len(t, results, 3)
		for item, its := range results {
			require.Len(t, its, 1, item)
			require.Equal(t, started[item][0].Gateway.CallID, its[0].Gateway.CallID)
			require.Equal(t, made.ID, its[0].Gateway.BatchID)
		}
		good := results["good"][0]
		require.Equal(t, audit.StatusSuccess, good.Gateway.Status)
		require.Equal(t, fakeclaude.DefaultText("one"), outputText(&good))
		require.Equal(t, "end_turn", good.StopReason)
		require.NotNil(t, good.PromptTokens)
		require.NotNil(t, good.CompletionTokens)
		require.NotEmpty(t, good.ResponseID)
		failed := results["failed"][0]
		require.Equal(t, audit.StatusError, failed.Gateway.Status)
		require.Equal(t, "overloaded_error", failed.ErrorType)
		require.Nil(t, h.gateway.batch(made.ID), "it is waited for no more")
	}
}

// Results that nobody fetches are fetched by the gateway; a batch that is deleted has its recorded before.
func TestBatchNobodyFetches(t *testing.T) {
	for name, by := range map[string]func(*harness, *Settings){
		"polled":  func(_ *harness, s *Settings) { s.BatchPoll = 5 * time.Millisecond },
		"deleted": func(*harness, *Settings) {},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t, func(s *Settings) { by(nil, s) })
			made := h.batch(t, http.MethodPost, "/v1/messages/batches", batchOfThree)
			if name == "deleted" {
				for range 2 {
					h.batch(t, http.MethodGet, "/v1/messages/batches/"+made.ID, "")
				}
				h.batch(t, http.MethodDelete, "/v1/messages/batches/"+made.ID, "")
			}
			require.Eventually(t, func() bool { return h.gateway.batch(made.ID) == nil }, 10*time.Second, 2*time.Millisecond)
			results := byItem(h.sink.events(eventEnded))
			require.Len(t, results, 3)
			for item, its := range results {
				require.Len(t, its, 1, item)
			}
		})
	}
}

// What becomes of a batch's requests when there is no batch.
func TestBatchThatIsNotMade(t *testing.T) {
	t.Run("canceled", func(t *testing.T) {
		h := newHarness(t, nil)
		made := h.batch(t, http.MethodPost, "/v1/messages/batches", batchOfThree)
		require.Equal(t, "canceling", h.batch(t, http.MethodPost, "/v1/messages/batches/"+made.ID+"/cancel", "").Status)
		for range 2 {
			h.batch(t, http.MethodGet, "/v1/messages/batches/"+made.ID, "")
		}
		_, _, err := h.do(t, http.MethodGet, "/v1/messages/batches/"+made.ID+"/results", "")
		require.NoError(t, err)
		for _, its := range byItem(h.sink.events(eventEnded)) {
			require.Equal(t, audit.StatusInterrupted, its[0].Gateway.Status)
			require.Equal(t, "batch_canceled", its[0].ErrorType)
		}
		require.Len(t, byItem(h.sink.events(eventEnded)), 3)
	})
	t.Run("refused by the API", func(t *testing.T) {
		h := newHarness(t, nil)
		resp, _, err := h.do(t, http.MethodPost, "/v1/messages/batches", batchOfThree, "Anthropic-Version", "1999-01-01")
		require.NoError(t, err)
		require.Equal(t, http.StatusBadRequest, resp.StatusCode)
		results := byItem(h.sink.ended(t, 4))
		require.Len(t, results, 3)
		require.Equal(t, "invalid_request_error", results["good"][0].ErrorType)
		require.Equal(t, audit.StatusError, results["good"][0].Gateway.Status)
	})
	t.Run("can't be recorded", func(t *testing.T) {
		h := newHarness(t, nil)
		h.sink.setFail(errors.New("disk full"))
		resp, _, err := h.do(t, http.MethodPost, "/v1/messages/batches", batchOfThree)
		require.NoError(t, err)
		require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
		require.Empty(t, h.fake.Records())
		h.sink.setFail(nil)
	})
	t.Run("blocked", func(t *testing.T) {
		engine, err := detect.New(detect.Config{})
		require.NoError(t, err)
		h := newHarness(t, func(s *Settings) {
			s.Policy = NewRules(RulesSettings{Engine: engine, Rules: []Rule{{Name: "keys", Action: Block, Level: audit.Classifications[len(audit.Classifications)-1]}}})
		})
		body := strings.Replace(batchOfThree, `"two"`, `"my card 4111 1111 1111 1111, ssn 536-90-4399, key AKIAIOSFODNN7EXAMPLQ"`, 1)
		resp, got, err := h.do(t, http.MethodPost, "/v1/messages/batches", body)
		require.NoError(t, err)
		require.Equal(t, http.StatusForbidden, resp.StatusCode, got)
		require.Contains(t, got, `"permission_error"`)
		require.Empty(t, h.fake.Records())
		its := h.sink.ended(t, 2)
		require.Len(t, byItem(its), 1)
		for _, it := range its {
			require.Equal(t, audit.StatusBlocked, it.Gateway.Status)
			require.Equal(t, audit.EndedPolicy, it.Gateway.Ended)
			require.Equal(t, "keys", it.Gateway.PolicyRule)
		}
	})
	for name, body := range map[string]string{
		"no list": `{"requests":{}}`, "empty": `{"requests":[]}`, "no custom_id": `{"requests":[{"params":{}}]}`,
		"no params": `{"requests":[{"custom_id":"a","params":[]}]}`,
		"twice":     `{"requests":[{"custom_id":"a","params":{}},{"custom_id":"a","params":{}}]}`,
		"too many":  `{"requests":[` + strings.Repeat(`0,`, maxBatchRequests) + `0]}`,
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t, nil)
			resp, got, err := h.do(t, http.MethodPost, "/v1/messages/batches", body)
			require.NoError(t, err)
			require.Equal(t, http.StatusBadRequest, resp.StatusCode)
			require.Contains(t, got, "custom_id")
			require.Empty(t, h.fake.Records())
			require.Equal(t, audit.StatusBlocked, h.sink.ended(t, 1)[0].Gateway.Status)
		})
	}
}

// The one thing that is rewritten, wherever it stands, and nothing else.
func TestRewriteResultsURLs(t *testing.T) {
	const base = "http://gateway:8787/app/x"
	const to = base + "/v1/messages/batches/b1/results"
	for name, tc := range map[string]struct{ in, want string }{
		"a batch":          {`{"id":"b1", "results_url" : "https://api.anthropic.com/v1/messages/batches/b1/results","n":1.0e2}`, `{"id":"b1", "results_url" : "` + to + `","n":1.0e2}`},
		"in a list":        {`{"data":[{"results_url":"https://h/v1/messages/batches/b1/results"},{"results_url":null}]}`, `{"data":[{"results_url":"` + to + `"},{"results_url":null}]}`},
		"escaped":          {`{"results\u005furl":"https:\/\/h\/v1\/messages\/batches\/b1\/results?x=1"}`, `{"results\u005furl":"` + to + `"}`},
		"elsewhere":        {`{"results_url":"https://h/other"}`, `{"results_url":null}`},
		"a value, not key": {`["results_url","https://h/v1/messages/batches/b1/results"]`, `["results_url","https://h/v1/messages/batches/b1/results"]`},
		"ends in it":       {`"results_url"`, `"results_url"`},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := rewriteResultsURLs([]byte(tc.in), base)
			require.NoError(t, err)
			require.Equal(t, tc.want, string(got))
		})
	}
	_, err := rewriteResultsURLs([]byte(`{"results_url":"`), base)
	require.Error(t, err)
}

func FuzzRewriteResultsURLs(f *testing.F) {
	f.Add([]byte(`{"data":[{"results_url":"https://h/v1/messages/batches/b1/results"},{"results_url":null}]}`))
	f.Add([]byte(`{"results_url":{"results_url":"\""}}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		out, err := rewriteResultsURLs(in, "http://gateway")
		require.Equal(t, json.Valid(in), err == nil)
		if err != nil {
			return
		}
		require.True(t, json.Valid(out))
		again, err := rewriteResultsURLs(out, "http://gateway")
		require.NoError(t, err)
		require.Equal(t, string(out), string(again))
	})
}

// settled is a gateway whose settings are all that is of use.
func settled(t *testing.T) *Gateway {
	g := New(Settings{Limits: testLimits()})
	t.Cleanup(func() { require.NoError(t, g.Shutdown(context.Background())) })
	return g
}

// Results may come in any pieces, and may be broken.
func FuzzResults(f *testing.F) {
	f.Add([]byte(`{"custom_id":"a","result":{"type":"succeeded","message":{"content":[{"type":"text","text":"x"}]}}}`+"\n"+`{"custom_id":"b","result":{"type":"errored","error":{"type":"error","error":{"type":"x"}}}}`), uint8(7))
	f.Add([]byte("{\"custom_id\":\"a\",\"result\":{\"type\":\"expired\"}}\r\n\n{\n"), uint8(0))
	f.Fuzz(func(t *testing.T, data []byte, piece uint8) {
		read := func(n int) (int, bool, []string) {
			o := &resultsObserver{c: &call{g: settled(t)}, batch: &Batch{ID: "b"}}
			for rest := data; len(rest) > 0; {
				k := min(len(rest), n)
				o.write(rest[:k])
				rest = rest[k:]
				if len(o.its) > tellAtOnce/2 {
					o.its = nil
				}
			}
			o.line()
			var items []string
			for _, it := range o.its {
				items = append(items, it.Gateway.BatchItem+it.Gateway.Status+it.ErrorType)
			}
			return o.bad, o.skip, items
		}
		if bytes.Count(data, []byte{'\n'}) > tellAtOnce/2 {
			return
		}
		bad, skip, items := read(1 << 20)
		bad2, skip2, items2 := read(int(piece) + 1)
		require.Equal(t, bad, bad2)
		require.Equal(t, skip, skip2)
		require.Equal(t, items, items2)
	})
}

func FuzzBatchBody(f *testing.F) {
	f.Add([]byte(batchOfThree))
	f.Add([]byte(`{"requests":[{"custom_id":"","params":{"messages":[{"content":[null]}]}}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		v, err := jcs.ParseStrict(string(data), jcs.DefaultLimits)
		if err != nil {
			c := &call{g: settled(t), r: httptest.NewRequest(http.MethodPost, "/", nil), body: bytes.Clone(data)}
			require.NotNil(t, c.parseBatch(), "what is no JSON is no batch")
			return
		}
		c := &call{g: settled(t), r: httptest.NewRequest(http.MethodPost, "/", nil), body: bytes.Clone(data)}
		if err := c.parseBatch(); err == nil {
			require.Len(t, c.items, v.Get("requests").Len())
			for _, i := range c.items {
				i.recall()
			}
		}
	})
}

func form(t testing.TB, name, media string, data []byte) (body, contentType string) {
	t.Helper()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	p, err := w.CreatePart(map[string][]string{
		"Content-Disposition": {`form-data; name="file"; filename="` + name + `"`}, "Content-Type": {media},
	})
	require.NoError(t, err)
	_, err = p.Write(data)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return b.String(), w.FormDataContentType()
}

// An upload is recorded with what is in it before it goes upstream, as an activity.
func TestFiles(t *testing.T) {
	h := newHarness(t, nil)
	for i, tc := range []struct {
		name, media string
		data        []byte
		part        string
	}{
		{"report.txt", "text/plain", []byte("what it says"), "what it says"},
		{"a.png", "image/png", []byte("\x89PNG\r\n\x1a\n\x00"), ""},
	} {
		body, contentType := form(t, tc.name, tc.media, tc.data)
		resp, got, err := h.do(t, http.MethodPost, "/v1/files", body, "Content-Type", contentType)
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, resp.StatusCode, got)
		require.Equal(t, body, lastRequest(h.fake).Body)
		var file struct{ ID string }
		require.NoError(t, json.Unmarshal([]byte(got), &file))
		start := h.sink.events(eventInitiated)[i]
		require.True(t, start.Gateway.Activity)
		parts := start.Content.Messages[0].Parts
		require.Len(t, parts, 2)
		require.Equal(t, tc.name, parts[0].Value.Get("filename").Str())
		if tc.part != "" {
			require.Equal(t, tc.part, parts[1].Text())
		} else {
			require.Equal(t, tc.media, parts[1].MimeType)
		}
		it := h.sink.ended(t, i+1)[i]
		require.Equal(t, "files.create", it.Operation)
		require.Equal(t, audit.StatusSuccess, it.Gateway.Status)
		require.Equal(t, file.ID, it.ResponseID)
	}
	n := 2
	id := h.sink.events(eventEnded)[0].ResponseID
	for _, tc := range []struct{ method, path, op string }{
		{http.MethodGet, "/v1/files?limit=2", "files.list"},
		{http.MethodGet, "/v1/files/" + id, "files.get"},
		{http.MethodGet, "/v1/files/" + id + "/content", "files.content"},
		{http.MethodDelete, "/v1/files/" + id, "files.delete"},
	} {
		resp, got, err := h.do(t, tc.method, tc.path, "")
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, resp.StatusCode, got)
		n++
		it := h.sink.ended(t, n)[n-1]
		require.Equal(t, tc.op, it.Operation)
		require.True(t, it.Gateway.Activity)
	}
	for _, bad := range []struct{ body, contentType string }{
		{"--x\r\n\r\nno end", "multipart/form-data; boundary=x"},
		{"", "multipart/form-data; boundary=x"},
		{"{}", "application/json"},
		{strings.Repeat("--x\r\nContent-Disposition: form-data; name=a\r\n\r\n\r\n", maxFormParts+1) + "--x--\r\n", "multipart/form-data; boundary=x"},
		{"--x\r\nContent-Disposition: form-data; name=a\r\nContent-Transfer-Encoding: base64\r\n\r\nYQ==\r\n--x--\r\n", "multipart/form-data; boundary=x"},
	} {
		had := len(h.fake.Records())
		resp, _, err := h.do(t, http.MethodPost, "/v1/files", bad.body, "Content-Type", bad.contentType)
		require.NoError(t, err)
		require.GreaterOrEqual(t, resp.StatusCode, 400)
		require.Len(t, h.fake.Records(), had)
	}
}

func FuzzForm(f *testing.F) {
	body, _ := form(f, "a.txt", "text/plain", []byte("hello"))
	f.Add([]byte(body), strings.TrimPrefix(strings.SplitN(body, "\r\n", 2)[0], "--"))
	f.Add([]byte("--x\r\nContent-Disposition: form-data; name=\"\xff\"\r\n\r\n\xff\r\n--x--"), "x")
	f.Fuzz(func(t *testing.T, data []byte, boundary string) {
		parts, err := readForm(data, boundary)
		if err == nil {
			require.NotEmpty(t, parts)
			require.LessOrEqual(t, len(parts), 2*maxFormParts)
		}
	})
}

func TestComplete(t *testing.T) {
	h := newHarness(t, nil)
	for i, extra := range []string{"", `,"stream":true`} {
		const prompt = "\n\nHuman: hi\n\nAssistant:"
		body := `{"model":"claude-2.1","max_tokens_to_sample":9,"prompt":` + quote(prompt) + extra + `}`
		resp, got, err := h.do(t, http.MethodPost, "/v1/complete", body)
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, resp.StatusCode, got)
		it := h.sink.ended(t, i+1)[i]
		require.Equal(t, audit.StatusSuccess, it.Gateway.Status)
		require.Equal(t, audit.EndedComplete, it.Gateway.Ended)
		require.Equal(t, "stop_sequence", it.StopReason)
		require.Equal(t, " "+fakeclaude.DefaultText(prompt), outputText(&it))
		require.Equal(t, genai.ContentFull, it.ResponseCompleteness)
		require.NotEmpty(t, it.ResponseID)
		require.Equal(t, prompt, h.sink.events(eventInitiated)[i].Content.Messages[0].Parts[0].Text())
	}
}

// Paths beside those that are known are refused.
func TestBatchAndFilePaths(t *testing.T) {
	for _, tc := range []struct{ method, path string }{
		{http.MethodPut, "/v1/messages/batches"},
		{http.MethodGet, "/v1/messages/batches/"},
		{http.MethodPost, "/v1/messages/batches/b"},
		{http.MethodGet, "/v1/messages/batches/b/results/x"},
		{http.MethodGet, "/v1/messages/batches/../results"},
		{http.MethodGet, "/v1/messages/batches/b/other"},
		{http.MethodGet, "/v1/messages/batchesx"},
		{http.MethodPut, "/v1/files"},
		{http.MethodGet, "/v1/files/"},
		{http.MethodPost, "/v1/files/f"},
		{http.MethodGet, "/v1/files/f/content/x"},
		{http.MethodDelete, "/v1/files/f/content"},
		{http.MethodGet, "/v1/files/a%2Fb"},
	} {
		op, ok := route(tc.method, tc.path)
		require.False(t, ok, "%s %s %v", tc.method, tc.path, op)
	}
}
