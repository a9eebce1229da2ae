package e2e

import (
	"io"
	"net/http"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

// The product's own metrics are there, count what happened, and have no label
// that a client's data could fill.
func TestMetrics(t *testing.T) {
	c := newCollector(t, "local.yaml", nil)
	c.start()
	captures := expectations(t)
	sendCaptures(t, c.client(), captures, 1)
	c.requireCaptures(captures)

	resp, err := http.Get(c.metricsURL)
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, resp.StatusCode)
	text := string(body)

	samples := regexp.MustCompile(`(?m)^claudeaudit_\w+(\{[^}]*\})? \S+$`).FindAllString(text, -1)
	require.NotEmpty(t, samples, "no metric of our own:\n%s", clip(text))
	require.Less(t, len(samples), 200, "labels without a bound")
	for _, e := range captures {
		for _, r := range e.Records {
			for _, value := range []*string{r.UserID, r.SessionID} {
				if value != nil && len(*value) > 5 {
					require.NotContains(t, text, *value)
				}
			}
		}
	}
	for _, sample := range samples {
		t.Log(sample)
	}
}
