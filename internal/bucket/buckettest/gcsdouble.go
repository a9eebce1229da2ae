package buckettest

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/claudeaudit/claudeaudit/internal/bucket"
)

// GCSConfig is the configuration of a bucket of fake-gcs-server or of the double.
func GCSConfig(endpoint, name string) bucket.Config {
	return bucket.Config{URL: "gs://" + name, Endpoint: endpoint, Timeout: 10 * time.Second}
}

// gcsDouble answers as Google's documents say that a bucket with object
// retention does ("Object Retention Lock", "Object holds", "Objects: insert",
// "HTTP status and error codes"). No real Google Cloud was reached.
type gcsDouble struct {
	mu      sync.Mutex
	objects map[string]*gcsObject   // live generations
	older   map[string][]*gcsObject // the others: the bucket has versioning
	count   int64
}

type gcsObject struct {
	generation int64
	deleted    time.Time
	body       []byte
	retention  *gcsRetention
	hold       bool
	created    time.Time
}

type gcsRetention struct {
	Mode            string    `json:"mode"`
	RetainUntilTime time.Time `json:"retainUntilTime"`
}

// StartGCSDouble starts the double. Every bucket exists.
func StartGCSDouble(t testing.TB) string {
	t.Helper()
	d := &gcsDouble{objects: map[string]*gcsObject{}, older: map[string][]*gcsObject{}}
	srv := httptest.NewServer(d)
	t.Cleanup(srv.Close)
	return srv.URL
}

func (d *gcsDouble) fail(w http.ResponseWriter, status int, reason, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"error": map[string]any{
		"code": status, "message": message, "errors": []any{map[string]any{"domain": "global", "reason": reason, "message": message}},
	}})
}

func (d *gcsDouble) json(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

func crc32c(b []byte) string {
	sum := binary.BigEndian.AppendUint32(nil, crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
	return base64.StdEncoding.EncodeToString(sum)
}

func (o *gcsObject) resource(bucketName, name string) map[string]any {
	m := map[string]any{
		"kind": "storage#object", "bucket": bucketName, "name": name, "size": fmt.Sprint(len(o.body)), "generation": fmt.Sprint(o.generation), "metageneration": "1",
		"crc32c": crc32c(o.body), "timeCreated": o.created.Format(time.RFC3339Nano), "temporaryHold": o.hold,
	}
	if o.retention != nil {
		m["retention"] = o.retention
	}
	if !o.deleted.IsZero() {
		m["timeDeleted"] = o.deleted.Format(time.RFC3339Nano)
	}
	return m
}

func (d *gcsDouble) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	defer d.mu.Unlock()
	q := r.URL.Query()
	upload := strings.HasPrefix(r.URL.Path, "/upload/")
	path := strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, "/upload"), "/storage/v1/b/")
	bucketName, rest, _ := strings.Cut(path, "/")
	name, isObject := strings.CutPrefix(rest, "o/")
	switch {
	case upload:
		d.insert(w, r, bucketName)
	case rest == "":
		d.json(w, map[string]any{"kind": "storage#bucket", "name": bucketName, "objectRetention": map[string]any{"mode": "Enabled"}, "versioning": map[string]any{"enabled": true}})
	case rest == "o":
		d.list(w, bucketName, q.Get("prefix"), max(q.Get("startOffset"), q.Get("pageToken")), q.Get("versions") == "true")
	case !isObject:
		d.fail(w, http.StatusNotFound, "notFound", "no such resource")
	default:
		d.object(w, r, bucketName, name)
	}
}

func (d *gcsDouble) insert(w http.ResponseWriter, r *http.Request, bucketName string) {
	_, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil {
		d.fail(w, http.StatusBadRequest, "invalid", "content type")
		return
	}
	parts := multipart.NewReader(r.Body, params["boundary"])
	var meta struct {
		Name          string        `json:"name"`
		CRC32C        string        `json:"crc32c"`
		TemporaryHold bool          `json:"temporaryHold"`
		Retention     *gcsRetention `json:"retention"`
	}
	p, err := parts.NextPart()
	if err == nil {
		err = json.NewDecoder(p).Decode(&meta)
	}
	var body []byte
	if err == nil {
		if p, err = parts.NextPart(); err == nil {
			body, err = io.ReadAll(p)
		}
	}
	if err != nil {
		d.fail(w, http.StatusBadRequest, "invalid", "body")
		return
	}
	path := bucketName + "/" + meta.Name
	old := d.objects[path]
	if old != nil {
		if r.URL.Query().Get("ifGenerationMatch") == "0" {
			d.fail(w, http.StatusPreconditionFailed, "conditionNotMet", "At least one of the pre-conditions you specified did not hold.")
			return
		}
		if !d.mayDelete(w, old) {
			return
		}
	}
	if meta.CRC32C != "" && meta.CRC32C != crc32c(body) {
		d.fail(w, http.StatusBadRequest, "invalid", "Provided CRC32C doesn't match calculated CRC32C.")
		return
	}
	if meta.Retention != nil && meta.Retention.RetainUntilTime.Before(time.Now()) {
		d.fail(w, http.StatusBadRequest, "invalid", "The retention expiration time must be in the future.")
		return
	}
	if old != nil {
		d.retire(path, old)
	}
	d.count++
	o := &gcsObject{generation: 1_790_000_000_000_000 + d.count, body: body, retention: meta.Retention, hold: meta.TemporaryHold, created: time.Now().UTC()}
	d.objects[path] = o
	d.json(w, o.resource(bucketName, meta.Name))
}

// retire makes a live generation an older one.
func (d *gcsDouble) retire(path string, o *gcsObject) {
	o.deleted = time.Now().UTC()
	d.older[path] = append(d.older[path], o)
	delete(d.objects, path)
}

func (d *gcsDouble) mayDelete(w http.ResponseWriter, o *gcsObject) bool {
	switch {
	case o.hold:
		d.fail(w, http.StatusForbidden, "objectUnderActiveHold", "Object is under active Temporary hold and cannot be deleted, overwritten or archived until hold is removed.")
	case o.retention != nil && o.retention.RetainUntilTime.After(time.Now()):
		d.fail(w, http.StatusForbidden, "retentionPolicyNotMet", "Object is subject to object retention and cannot be deleted or overwritten.")
	default:
		return true
	}
	return false
}

func (d *gcsDouble) object(w http.ResponseWriter, r *http.Request, bucketName, name string) {
	path := bucketName + "/" + name
	o := d.objects[path]
	generation := r.URL.Query().Get("generation")
	if generation != "" && (o == nil || fmt.Sprint(o.generation) != generation) {
		o = nil
		for _, v := range d.older[path] {
			if fmt.Sprint(v.generation) == generation {
				o = v
			}
		}
	}
	if o == nil {
		d.fail(w, http.StatusNotFound, "notFound", "No such object: "+path)
		return
	}
	switch {
	case r.Method == http.MethodDelete:
		if !d.mayDelete(w, o) {
			return
		}
		switch {
		case generation == "":
			d.retire(path, o)
		case d.objects[path] == o:
			delete(d.objects, path)
		default:
			d.older[path] = slices.DeleteFunc(d.older[path], func(v *gcsObject) bool { return v == o })
		}
		w.WriteHeader(http.StatusNoContent)
	case r.Method == http.MethodPatch:
		var change struct {
			TemporaryHold *bool         `json:"temporaryHold"`
			Retention     *gcsRetention `json:"retention"`
		}
		if err := json.NewDecoder(r.Body).Decode(&change); err != nil {
			d.fail(w, http.StatusBadRequest, "invalid", "body")
			return
		}
		if n, old := change.Retention, o.retention; n != nil {
			if old != nil && old.Mode == "Locked" && (n.Mode != "Locked" || n.RetainUntilTime.Before(old.RetainUntilTime)) {
				d.fail(w, http.StatusForbidden, "forbidden", "Object retention is locked and cannot be shortened.")
				return
			}
			o.retention = n
		}
		if change.TemporaryHold != nil {
			o.hold = *change.TemporaryHold
		}
		d.json(w, o.resource(bucketName, name))
	case r.URL.Query().Get("alt") == "media":
		w.Header().Set("X-Goog-Hash", "crc32c="+crc32c(o.body))
		w.Header().Set("X-Goog-Generation", fmt.Sprint(o.generation))
		w.Header().Set("X-Goog-Metageneration", "1")
		w.Header().Set("Content-Type", "application/octet-stream")
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(o.body))
	default:
		d.json(w, o.resource(bucketName, name))
	}
}

func (d *gcsDouble) list(w http.ResponseWriter, bucketName, prefix, from string, versions bool) {
	var older map[string][]*gcsObject
	if versions {
		older = d.older
	}
	names, all := pageOf(d.objects, older, bucketName+"/", prefix, from)
	out := map[string]any{"kind": "storage#objects"}
	if len(names) > page {
		out["nextPageToken"], names = names[page], names[:page]
	}
	var items []any
	for _, n := range names {
		for _, o := range all[bucketName+"/"+n] {
			items = append(items, o.resource(bucketName, n))
		}
	}
	out["items"] = items
	d.json(w, out)
}

// OverwriteGCS writes a newer generation, as one with all rights and without the condition can.
func OverwriteGCS(t testing.TB, endpoint, bucketName, name, body string) {
	t.Helper()
	const boundary = "b"
	text := "--b\r\nContent-Type: application/json\r\n\r\n{\"name\":\"" + name + "\"}\r\n--b\r\nContent-Type: text/plain\r\n\r\n" + body + "\r\n--b--\r\n"
	send(t, http.MethodPost, endpoint+"/upload/storage/v1/b/"+bucketName+"/o", "multipart/related; boundary="+boundary, text)
}

// HideGCS deletes the live generation.
func HideGCS(t testing.TB, endpoint, bucketName, name string) {
	t.Helper()
	send(t, http.MethodDelete, endpoint+"/storage/v1/b/"+bucketName+"/o/"+name, "", "")
}

// OverwriteAzure writes a newer version.
func OverwriteAzure(t testing.TB, endpoint, container, name, body string) {
	t.Helper()
	send(t, http.MethodPut, endpoint+"/"+azureAccount+"/"+container+"/"+name, "text/plain", body)
}

// HideAzure deletes the current version.
func HideAzure(t testing.TB, endpoint, container, name string) {
	t.Helper()
	send(t, http.MethodDelete, endpoint+"/"+azureAccount+"/"+container+"/"+name, "", "")
}

func send(t testing.TB, method, url, contentType, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", contentType)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 300 {
		t.Fatalf("%s %s: %s", method, url, resp.Status)
	}
}
