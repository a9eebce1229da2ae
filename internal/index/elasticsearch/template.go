package elasticsearch

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/claudeaudit/claudeaudit/internal/index"
)

// Schema is the version of the documents and their mapping. An index of another
// is not written to.
const Schema = 2

//go:embed template.json
var templateJSON []byte

// Template returns the index template's settings and mappings.
func Template() []byte { return templateJSON }

// auxMappings are the mappings of the indices that searches don't see.
const auxMappings = `{
  "dynamic": "strict",
  "_meta": { "schema": 2 },
  "properties": {
    "event_id": { "type": "keyword" },
    "head": { "type": "keyword" },
    "reason": { "type": "keyword", "index": false, "doc_values": false },
    "index": {
      "properties": {
        "entries": { "type": "object", "enabled": false },
        "events": { "type": "keyword" },
        "ids": { "type": "keyword" },
        "streams": { "type": "keyword" },
        "time": { "type": "long" }
      }
    }
  }
}`

const stateMappings = `{ "dynamic": false, "_meta": { "schema": 2 }, "properties": {} }`

// template is an index template as the server has it.
type template struct {
	Version  int             `json:"version"`
	Patterns []string        `json:"index_patterns"`
	Template json.RawMessage `json:"template"`
}

// settings that the configuration adds to the template's.
func (s *Store) settings() map[string]any {
	add := map[string]any{}
	if s.opts.Replicas != nil {
		add["index.number_of_replicas"] = *s.opts.Replicas
	}
	if s.ilm {
		add["index.lifecycle.name"] = s.names.prefix
		// The age is that of the day, not of the index: a rebuilt one is new.
		add["index.lifecycle.parse_origination_date"] = true
	}
	return add
}

// install puts the template, the lifecycle policy and the indices that aren't
// of a day in place.
func (s *Store) install(ctx context.Context) error {
	var have struct {
		Templates []struct {
			Template template `json:"index_template"`
		} `json:"index_templates"`
	}
	err := s.call(ctx, http.MethodGet, "/_index_template/"+s.names.template(), nil, &have)
	if err != nil && !hasStatus(err, http.StatusNotFound) {
		return fmt.Errorf("reading the index template: %w", err)
	}
	if len(have.Templates) > 0 && have.Templates[0].Template.Version > Schema {
		return fmt.Errorf("%w: its template has version %d, and this program knows %d", index.ErrSchema, have.Templates[0].Template.Version, Schema)
	}
	if !s.opts.KeepTemplate {
		if s.opts.Retention > 0 {
			if err := s.installPolicy(ctx); err != nil {
				return err
			}
		}
		if err := s.putTemplate(ctx); err != nil {
			return err
		}
	} else if len(have.Templates) == 0 {
		return fmt.Errorf("the index template %s is missing: install it, or let the exporter do it", s.names.template())
	}
	for _, aux := range []struct{ name, mappings string }{
		{s.names.dead(), auxMappings}, {s.names.state(), stateMappings}, {s.names.parked(), auxMappings},
	} {
		if err := s.createIndex(ctx, aux.name, aux.mappings); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) putTemplate(ctx context.Context) error {
	var t struct {
		Settings map[string]any  `json:"settings"`
		Mappings json.RawMessage `json:"mappings"`
	}
	if err := json.Unmarshal(templateJSON, &t); err != nil {
		return fmt.Errorf("reading the built-in template: %w", err)
	}
	for k, v := range s.settings() {
		t.Settings[k] = v
	}
	body := map[string]any{
		"index_patterns": []string{s.names.days()}, "priority": 500, "version": Schema, "template": t,
		"_meta": map[string]any{"managed_by": "claudeaudit"},
	}
	if err := s.call(ctx, http.MethodPut, "/_index_template/"+s.names.template(), body, nil); err != nil {
		return fmt.Errorf("installing the index template: %w", err)
	}
	return nil
}

// installPolicy makes a lifecycle policy where the cluster has lifecycle
// management. Where it hasn't, the store removes days itself.
func (s *Store) installPolicy(ctx context.Context) error {
	path := "/_ilm/policy/" + s.names.prefix
	err := s.call(ctx, http.MethodGet, path, nil, nil)
	if hasStatus(err, http.StatusBadRequest) || hasStatus(err, http.StatusMethodNotAllowed) {
		return nil // this cluster knows no such address
	}
	if err != nil && !hasStatus(err, http.StatusNotFound) {
		return fmt.Errorf("reading the lifecycle policy: %w", err)
	}
	// A day may be removed when its last record is past retention.
	age := s.opts.Retention + 24*time.Hour
	policy := map[string]any{"policy": map[string]any{"phases": map[string]any{
		"hot":    map[string]any{"min_age": "0ms", "actions": map[string]any{}},
		"delete": map[string]any{"min_age": fmt.Sprintf("%dh", int64(age.Hours())), "actions": map[string]any{"delete": map[string]any{}}},
	}}}
	if err := s.call(ctx, http.MethodPut, path, policy, nil); err != nil {
		return fmt.Errorf("installing the lifecycle policy: %w", err)
	}
	s.ilm = true
	return nil
}

// createIndex makes an index if there is none.
func (s *Store) createIndex(ctx context.Context, name, mappings string) error {
	err := s.call(ctx, http.MethodHead, "/"+name, nil, nil)
	if err == nil {
		return s.checkIndex(ctx, name)
	}
	if !hasStatus(err, http.StatusNotFound) {
		return fmt.Errorf("looking for index %s: %w", name, err)
	}
	body := map[string]any{}
	if mappings != "" {
		settings := map[string]any{"index.number_of_shards": 1}
		if s.opts.Replicas != nil {
			settings["index.number_of_replicas"] = *s.opts.Replicas
		}
		body["mappings"], body["settings"] = json.RawMessage(mappings), settings
	}
	err = s.call(ctx, http.MethodPut, "/"+name, body, nil)
	if err != nil && !hasType(err, "resource_already_exists_exception") {
		return fmt.Errorf("creating index %s: %w", name, err)
	}
	return s.checkIndex(ctx, name)
}

// checkIndex sees that an index has our mapping: without it the server would
// take anything for any field.
func (s *Store) checkIndex(ctx context.Context, name string) error {
	var m map[string]struct {
		Mappings struct {
			Meta struct {
				Schema int `json:"schema"`
			} `json:"_meta"`
		} `json:"mappings"`
	}
	if err := s.call(ctx, http.MethodGet, "/"+name+"/_mapping", nil, &m); err != nil {
		return fmt.Errorf("reading the mapping of index %s: %w", name, err)
	}
	if have := m[name].Mappings.Meta.Schema; have != Schema {
		return fmt.Errorf("%w: index %s has %d, and this program knows %d", index.ErrSchema, name, have, Schema)
	}
	return nil
}

// ensureDay makes the index of a day, once.
func (s *Store) ensureDay(ctx context.Context, name string) error {
	s.mu.Lock()
	known := s.ready[name]
	s.mu.Unlock()
	if known {
		return nil
	}
	if err := s.createIndex(ctx, name, ""); err != nil {
		return err
	}
	s.mu.Lock()
	s.ready[name] = true
	s.mu.Unlock()
	return nil
}
