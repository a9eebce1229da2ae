package elasticsearch

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/claudeaudit/claudeaudit/internal/audit"
	"github.com/claudeaudit/claudeaudit/internal/index/elasticsearch/estest"
	"github.com/claudeaudit/claudeaudit/internal/index/indextest"
)

// panel is what a panel of a dashboard asks.
type panel struct {
	title, query string
	// aggregations from the outermost inwards
	buckets, metrics []aggregation
}

type aggregation struct{ kind, field string }

func dashboard(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "..", "dashboards", name))
	require.NoError(t, err)
	return b
}

func kibanaPanels(t *testing.T) []panel {
	t.Helper()
	type reference struct {
		ID   string `json:"id"`
		Type string `json:"type"`
	}
	var panels []panel
	ids := map[string]bool{}
	var wanted []reference
	for line := range bytes.Lines(dashboard(t, "kibana.ndjson")) {
		var o struct {
			reference
			Attributes struct {
				Title     string `json:"title"`
				TimeField string `json:"timeFieldName"`
				VisState  string `json:"visState"`
				Panels    string `json:"panelsJSON"`
				Meta      struct {
					Source string `json:"searchSourceJSON"`
				} `json:"kibanaSavedObjectMeta"`
			} `json:"attributes"`
			References []reference `json:"references"`
		}
		require.NoError(t, json.Unmarshal(line, &o))
		ids[o.Type+o.ID] = true
		wanted = append(wanted, o.References...)
		switch o.Type {
		case "index-pattern":
			require.Equal(t, DefaultPrefix+"-*", o.Attributes.Title)
			require.Equal(t, "timestamp", o.Attributes.TimeField)
		case "visualization":
			var vis struct {
				Aggs []struct {
					Type   string `json:"type"`
					Schema string `json:"schema"`
					Params struct {
						Field string `json:"field"`
					} `json:"params"`
				} `json:"aggs"`
			}
			require.NoError(t, json.Unmarshal([]byte(o.Attributes.VisState), &vis))
			var source struct {
				Query struct {
					Query string `json:"query"`
				} `json:"query"`
			}
			require.NoError(t, json.Unmarshal([]byte(o.Attributes.Meta.Source), &source))
			p := panel{title: o.Attributes.Title, query: source.Query.Query}
			for _, a := range vis.Aggs {
				if a.Schema == "metric" {
					p.metrics = append(p.metrics, aggregation{a.Type, a.Params.Field})
				} else {
					p.buckets = append(p.buckets, aggregation{a.Type, a.Params.Field})
				}
			}
			panels = append(panels, p)
		case "dashboard":
			var list []any
			require.NoError(t, json.Unmarshal([]byte(o.Attributes.Panels), &list))
			require.Len(t, o.References, len(list))
		}
	}
	for _, w := range wanted {
		require.True(t, ids[w.Type+w.ID], "%s %s is referred to and is not there", w.Type, w.ID)
	}
	return panels
}

func grafanaPanels(t *testing.T) []panel {
	t.Helper()
	type agg struct {
		Type  string `json:"type"`
		Field string `json:"field"`
	}
	var d struct {
		Panels []struct {
			Title   string `json:"title"`
			Targets []struct {
				Query     string `json:"query"`
				TimeField string `json:"timeField"`
				Metrics   []agg  `json:"metrics"`
				Buckets   []agg  `json:"bucketAggs"`
			} `json:"targets"`
		} `json:"panels"`
	}
	require.NoError(t, json.Unmarshal(dashboard(t, "grafana.json"), &d))
	var panels []panel
	for _, p := range d.Panels {
		for _, target := range p.Targets {
			require.Equal(t, "timestamp", target.TimeField)
			out := panel{title: p.Title, query: target.Query}
			for _, a := range target.Metrics {
				out.metrics = append(out.metrics, aggregation{a.Type, a.Field})
			}
			for _, a := range target.Buckets {
				out.buckets = append(out.buckets, aggregation{a.Type, a.Field})
			}
			panels = append(panels, out)
		}
	}
	return panels
}

var queriedField = regexp.MustCompile(`([\w.@]+):`)

// Every field of the dashboards is in the template, with a type that does for
// what it is asked, and every panel's question has an answer from a real server.
func TestDashboards(t *testing.T) {
	fields := templateFields(t)
	kinds := map[string]string{"terms": "keyword", "sum": "long", "percentiles": "long", "date_histogram": "date"}
	all := map[string][]panel{"kibana": kibanaPanels(t), "grafana": grafanaPanels(t)}
	for name, panels := range all {
		require.GreaterOrEqual(t, len(panels), 10)
		for _, p := range panels {
			require.NotEmpty(t, p.metrics, p.title)
			for _, a := range append(p.buckets, p.metrics...) {
				if a.kind == "count" {
					continue
				}
				f, ok := fields[a.field]
				require.True(t, ok, "%s: %s: no field %s", name, p.title, a.field)
				if f.Type == "alias" {
					f = fields[f.Path]
				}
				require.Equal(t, kinds[a.kind], f.Type, "%s: %s: %s of %s", name, p.title, a.kind, a.field)
			}
			for _, m := range queriedField.FindAllStringSubmatch(p.query, -1) {
				require.Contains(t, fields, m[1], "%s: %s", name, p.title)
			}
		}
	}

	server := estest.Shared(t)
	s := openStore(t, server, server.Prefix(t))
	l := indextest.NewLedger()
	l.Append("a", indextest.Record(1, func(r *audit.Record) {
		r.Status, r.ErrorType, r.Department, r.PolicyFlags = audit.StatusError, "overloaded_error", "law", []string{"pii.email"}
		r.Detections = []audit.Detection{{Type: "email", Count: 1}}
	}))
	l.Append("a", indextest.Record(2, func(r *audit.Record) { r.UserID, r.Department = "", "law" }))
	l.Append("a", indextest.Record(3, func(r *audit.Record) { r.Department = "law" }))
	indextest.Apply(t, s, l)
	for name, panels := range all {
		for _, p := range panels {
			var aggs any
			for _, b := range append([]aggregation{}, append(p.metrics, p.buckets...)...) {
				if b.kind == "count" {
					continue
				}
				body := map[string]any{"field": b.field}
				if b.kind == "date_histogram" {
					body["fixed_interval"] = "1h"
				}
				one := map[string]any{b.kind: body}
				if aggs != nil && kinds[b.kind] != "long" {
					one["aggs"] = map[string]any{"inner": aggs}
				}
				aggs = one
			}
			body := map[string]any{"size": 0, "query": map[string]any{"query_string": map[string]any{"query": p.query}}}
			if aggs != nil {
				body["aggs"] = map[string]any{"outer": aggs}
			}
			var answer struct {
				Hits struct {
					Total struct {
						Value int `json:"value"`
					} `json:"total"`
				} `json:"hits"`
				Aggregations struct {
					Outer struct {
						Buckets []any `json:"buckets"`
					} `json:"outer"`
				} `json:"aggregations"`
			}
			server.Do(t, http.MethodPost, "/"+s.names.days()+"/_search", body, &answer)
			require.Positive(t, answer.Hits.Total.Value, "%s: %s finds nothing", name, p.title)
			if len(p.buckets) > 0 {
				require.NotEmpty(t, answer.Aggregations.Outer.Buckets, "%s: %s has no buckets", name, p.title)
			}
		}
	}
}
