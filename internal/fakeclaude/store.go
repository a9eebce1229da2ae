package fakeclaude

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"strings"
	"time"
)

type batch struct {
	id       string
	created  time.Time
	polls    int
	canceled bool
	deleted  bool
	reqs     []batchReq
	ended    bool
}

type batchReq struct {
	CustomID string          `json:"custom_id"`
	Params   json.RawMessage `json:"params"`
}

type file struct {
	id, name, mime string
	data           []byte
	created        time.Time
}

func (s *Server) base(c *call) string {
	if s.cfg.PublicURL != "" {
		return strings.TrimRight(s.cfg.PublicURL, "/")
	}
	scheme := "http"
	if c.r.TLS != nil {
		scheme = "https"
	}
	return scheme + "://" + c.r.Host
}

func (s *Server) batchJSON(c *call, b *batch) map[string]any {
	m := map[string]any{
		"id": b.id, "type": "message_batch", "created_at": b.created.Format(time.RFC3339), "expires_at": b.created.Add(24 * time.Hour).Format(time.RFC3339),
		"archived_at": nil, "cancel_initiated_at": nil, "ended_at": nil, "results_url": nil, "processing_status": "in_progress",
	}
	cnt := map[string]any{"processing": len(b.reqs), "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0}
	if b.canceled {
		m["cancel_initiated_at"] = b.created.Format(time.RFC3339)
		m["processing_status"] = "canceling"
	}
	if b.ended {
		ok, bad := 0, 0
		for _, q := range b.reqs {
			if _, e := parseMessages(q.Params, true, true, s.cfg.Strict); e != nil {
				bad++
			} else {
				ok++
			}
		}
		if b.canceled {
			cnt = map[string]any{"processing": 0, "succeeded": 0, "errored": 0, "canceled": len(b.reqs), "expired": 0}
		} else {
			cnt = map[string]any{"processing": 0, "succeeded": ok, "errored": bad, "canceled": 0, "expired": 0}
		}
		m["processing_status"], m["ended_at"] = "ended", b.created.Add(time.Second).Format(time.RFC3339)
		m["results_url"] = s.base(c) + "/v1/messages/batches/" + b.id + "/results"
	}
	m["request_counts"] = cnt
	return m
}

func (s *Server) batches(c *call) {
	if e := version(c); e != nil {
		c.fail(e, nil)
		return
	}
	seg := strings.Split(strings.Trim(strings.TrimPrefix(c.r.URL.Path, "/anthropic"), "/"), "/")
	switch c.op {
	case "batches.create":
		var m struct {
			Requests []batchReq `json:"requests"`
		}
		if err := json.Unmarshal(c.body, &m); err != nil || len(m.Requests) == 0 {
			c.fail(bad("requests: Field required"), nil)
			return
		}
		seen := map[string]bool{}
		for i, q := range m.Requests {
			if q.CustomID == "" || seen[q.CustomID] {
				c.fail(bad("requests.%d.custom_id: missing or not unique", i), nil)
				return
			}
			seen[q.CustomID] = true
		}
		b := &batch{id: fmt.Sprintf("msgbatch_01Fake%014d", c.seq), created: time.Now().UTC(), reqs: m.Requests}
		s.mu.Lock()
		s.bat[b.id] = b
		s.bord = append(s.bord, b.id)
		s.mu.Unlock()
		c.res.MessageID = b.id
		c.json(200, s.batchJSON(c, b))
		return
	case "batches.list":
		l := []any{}
		s.mu.Lock()
		var bs []*batch
		for i := len(s.bord) - 1; i >= 0; i-- {
			if b := s.bat[s.bord[i]]; b != nil && !b.deleted {
				bs = append(bs, b)
			}
		}
		s.mu.Unlock()
		var first, last any
		for i, b := range bs {
			if i == 0 {
				first = b.id
			}
			last = b.id
			l = append(l, s.batchJSON(c, b))
		}
		c.json(200, map[string]any{"data": l, "has_more": false, "first_id": first, "last_id": last})
		return
	}
	s.mu.Lock()
	b := s.bat[seg[3]]
	if b == nil || b.deleted {
		s.mu.Unlock()
		c.fail(&apiErr{404, "not_found_error", "message batch not found"}, nil)
		return
	}
	c.res.MessageID = b.id
	switch c.op {
	case "batches.retrieve":
		b.polls++
		if b.polls > s.cfg.BatchPolls {
			b.ended = true
		}
	case "batches.cancel":
		b.canceled = true
	case "batches.delete":
		b.deleted = b.ended
	}
	s.mu.Unlock()
	switch c.op {
	case "batches.delete":
		if !b.ended {
			c.fail(bad("message batch is still processing"), nil)
			return
		}
		c.json(200, map[string]any{"id": b.id, "type": "message_batch_deleted"})
	case "batches.results":
		if !b.ended {
			c.fail(&apiErr{404, "not_found_error", "results are not available yet"}, nil)
			return
		}
		var out bytes.Buffer
		for i := len(b.reqs) - 1; i >= 0; i-- { // results come in any order
			q, rid := b.reqs[i], fmt.Sprintf("req_011Fake%s%04d", b.id[len(b.id)-12:], i) // each request of a batch has its own
			var res map[string]any
			cv, e := parseMessages(q.Params, true, true, s.cfg.Strict)
			switch {
			case b.canceled:
				res = map[string]any{"type": "canceled"}
			case e != nil:
				res = map[string]any{"type": "errored", "error": map[string]any{"type": "error", "error": map[string]any{"type": e.typ, "message": e.msg}, "request_id": rid}}
			default:
				p := s.plan(cv, nil, c.seq)
				if p.err != nil {
					res = map[string]any{"type": "errored", "error": map[string]any{"type": "error", "error": map[string]any{"type": p.err.typ, "message": p.err.msg}, "request_id": rid}}
					break
				}
				p.usage["service_tier"] = "batch"
				res = map[string]any{"type": "succeeded", "message": message(cv, p, fmt.Sprintf("msg_01Fake%s%04d", b.id[len(b.id)-12:], i))}
			}
			out.Write(mustJSON(map[string]any{"custom_id": q.CustomID, "result": res}))
			out.WriteByte('\n')
		}
		c.w.Header().Set("Content-Type", "application/x-jsonl")
		c.json(200, out.Bytes())
	default:
		c.json(200, s.batchJSON(c, b))
	}
}

func (f *file) json() map[string]any {
	return map[string]any{
		"id": f.id, "type": "file", "filename": f.name, "mime_type": f.mime, "size_bytes": len(f.data),
		"created_at": f.created.Format(time.RFC3339), "downloadable": false,
	}
}

func (s *Server) files(c *call) {
	seg := strings.Split(strings.Trim(strings.TrimPrefix(c.r.URL.Path, "/anthropic"), "/"), "/")
	switch c.op {
	case "files.create":
		_, ps, err := mime.ParseMediaType(c.r.Header.Get("Content-Type"))
		if err != nil {
			c.fail(bad("multipart/form-data expected"), nil)
			return
		}
		mr := multipart.NewReader(bytes.NewReader(c.body), ps["boundary"])
		for {
			p, err := mr.NextPart()
			if err != nil {
				c.fail(bad("file: Field required"), nil)
				return
			}
			if p.FormName() != "file" {
				continue
			}
			data, _ := io.ReadAll(p)
			f := &file{id: fmt.Sprintf("file_01Fake%016d", c.seq), name: p.FileName(), mime: p.Header.Get("Content-Type"), data: data, created: time.Now().UTC()}
			s.mu.Lock()
			s.fil[f.id] = f
			s.ford = append(s.ford, f.id)
			s.mu.Unlock()
			c.res.MessageID = f.id
			c.json(200, f.json())
			return
		}
	case "files.list":
		l := []any{}
		s.mu.Lock()
		for _, id := range s.ford {
			if f := s.fil[id]; f != nil {
				l = append(l, f.json())
			}
		}
		s.mu.Unlock()
		c.json(200, map[string]any{"data": l, "has_more": false, "first_id": nil, "last_id": nil})
		return
	}
	s.mu.Lock()
	f := s.fil[seg[2]]
	if f != nil && c.op == "files.delete" {
		delete(s.fil, f.id)
	}
	s.mu.Unlock()
	if f == nil {
		c.fail(&apiErr{404, "not_found_error", "File not found"}, nil)
		return
	}
	switch c.op {
	case "files.delete":
		c.json(200, map[string]any{"id": f.id, "type": "file_deleted"})
	case "files.content":
		c.w.Header().Set("Content-Type", f.mime)
		c.json(200, f.data)
	default:
		c.json(200, f.json())
	}
}
