package buckettest

import (
	"bytes"
	"crypto/md5"
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/claudeaudit/claudeaudit/internal/bucket"
)

// Account and key that Azurite publishes; the double takes any.
const (
	azureAccount = "devstoreaccount1"
	azureKey     = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)

// AzureConfig is the configuration of a container of Azurite or of the double.
func AzureConfig(endpoint, container string) bucket.Config {
	return bucket.Config{
		URL: "azure://" + azureAccount + "/" + container, Endpoint: endpoint + "/" + azureAccount,
		SecretAccessKey: azureKey, Timeout: 10 * time.Second,
	}
}

// azureDouble answers as Azure's documents say that a container with
// version-level immutability does ("Immutability policies", "Put Blob", "Set
// Blob Immutability Policy", "Blob service error codes"). No real Azure was reached.
type azureDouble struct {
	mu    sync.Mutex
	blobs map[string]*azureBlob   // current versions
	older map[string][]*azureBlob // the others
	count int
}

type azureBlob struct {
	id    string
	body  []byte
	until time.Time
	mode  string
	hold  bool
}

// StartAzureDouble starts the double. Every container exists.
func StartAzureDouble(t testing.TB) string {
	t.Helper()
	d := &azureDouble{blobs: map[string]*azureBlob{}, older: map[string][]*azureBlob{}}
	srv := httptest.NewServer(d)
	t.Cleanup(srv.Close)
	return srv.URL
}

func (d *azureDouble) fail(w http.ResponseWriter, status int, code string) {
	w.Header().Set("x-ms-error-code", code)
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	fmt.Fprintf(w, `<?xml version="1.0" encoding="utf-8"?><Error><Code>%s</Code><Message>%s</Message></Error>`, code, code)
}

func (d *azureDouble) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	defer d.mu.Unlock()
	w.Header().Set("Date", time.Now().UTC().Format(http.TimeFormat))
	w.Header().Set("x-ms-version", r.Header.Get("x-ms-version"))
	path := strings.TrimPrefix(r.URL.Path, "/"+azureAccount+"/")
	container, name, isBlob := strings.Cut(path, "/")
	q := r.URL.Query()
	if !isBlob || name == "" {
		if q.Get("comp") == "list" {
			d.list(w, container, q.Get("prefix"), q.Get("marker"), q.Get("include") == "versions")
			return
		}
		w.Header().Set("x-ms-immutable-storage-with-versioning-enabled", "true")
		return
	}
	b := d.blobs[path]
	old := -1
	if id := q.Get("versionid"); id != "" {
		if b != nil && b.id == id && r.Method == http.MethodDelete {
			d.fail(w, http.StatusForbidden, "OperationNotAllowedOnRootBlob")
			return
		}
		if b == nil || b.id != id {
			if old = slices.IndexFunc(d.older[path], func(v *azureBlob) bool { return v.id == id }); old < 0 {
				d.fail(w, http.StatusNotFound, "BlobNotFound")
				return
			}
			b = d.older[path][old]
		}
	}
	if b == nil && (r.Method != http.MethodPut || q.Get("comp") != "") {
		d.fail(w, http.StatusNotFound, "BlobNotFound")
		return
	}
	switch {
	case r.Method == http.MethodPut && q.Get("comp") == "immutabilityPolicies":
		until, err := http.ParseTime(r.Header.Get("x-ms-immutability-policy-until-date"))
		if err != nil {
			d.fail(w, http.StatusBadRequest, "InvalidHeaderValue")
			return
		}
		mode := r.Header.Get("x-ms-immutability-policy-mode")
		if b.mode == "locked" && (until.Before(b.until) || !strings.EqualFold(mode, "locked")) {
			d.fail(w, http.StatusConflict, "BlobImmutableDueToPolicy")
			return
		}
		b.until, b.mode = until, strings.ToLower(mode)
	case r.Method == http.MethodPut && q.Get("comp") == "legalhold":
		b.hold = r.Header.Get("x-ms-legal-hold") == "true"
		w.Header().Set("x-ms-legal-hold", fmt.Sprint(b.hold))
	case r.Method == http.MethodPut:
		d.put(w, r, path, b)
	case r.Method == http.MethodDelete:
		switch {
		case b.hold:
			d.fail(w, http.StatusConflict, "BlobImmutableDueToLegalHold")
		case b.until.After(time.Now()):
			d.fail(w, http.StatusConflict, "BlobImmutableDueToPolicy")
		case old >= 0:
			d.older[path] = slices.Delete(d.older[path], old, old+1)
			w.WriteHeader(http.StatusAccepted)
		default:
			delete(d.blobs, path)
			d.older[path] = append(d.older[path], b)
			w.WriteHeader(http.StatusAccepted)
		}
	default:
		d.get(w, r, b)
	}
}

func (d *azureDouble) put(w http.ResponseWriter, r *http.Request, path string, old *azureBlob) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	sum := md5.Sum(body)
	if want := r.Header.Get("Content-MD5"); want != "" && want != base64.StdEncoding.EncodeToString(sum[:]) {
		d.fail(w, http.StatusBadRequest, "Md5Mismatch")
		return
	}
	if old != nil && r.Header.Get("If-None-Match") == "*" {
		d.fail(w, http.StatusConflict, "BlobAlreadyExists")
		return
	}
	d.count++
	b := &azureBlob{id: fmt.Sprintf("2026-11-24T10:00:00.%07dZ", d.count), body: body, hold: r.Header.Get("x-ms-legal-hold") == "true"}
	if text := r.Header.Get("x-ms-immutability-policy-until-date"); text != "" {
		if b.until, err = http.ParseTime(text); err != nil || b.until.Before(time.Now()) {
			d.fail(w, http.StatusBadRequest, "InvalidHeaderValue")
			return
		}
		b.mode = strings.ToLower(r.Header.Get("x-ms-immutability-policy-mode"))
	}
	if old != nil {
		d.older[path] = append(d.older[path], old)
	}
	d.blobs[path] = b
	w.WriteHeader(http.StatusCreated)
}

func (d *azureDouble) get(w http.ResponseWriter, r *http.Request, b *azureBlob) {
	h := w.Header()
	h.Set("x-ms-blob-type", "BlockBlob")
	h.Set("x-ms-legal-hold", fmt.Sprint(b.hold))
	if !b.until.IsZero() {
		h.Set("x-ms-immutability-policy-until-date", b.until.UTC().Format(http.TimeFormat))
		h.Set("x-ms-immutability-policy-mode", b.mode)
	}
	if ms := r.Header.Get("x-ms-range"); ms != "" {
		r.Header.Set("Range", ms)
	}
	if r.Method == http.MethodHead {
		h.Set("Content-Length", fmt.Sprint(len(b.body)))
		return
	}
	h.Set("Content-Type", "application/octet-stream")
	rec := httptest.NewRecorder()
	http.ServeContent(rec, r, "", time.Time{}, bytes.NewReader(b.body))
	if rec.Code == http.StatusRequestedRangeNotSatisfiable {
		d.fail(w, rec.Code, "InvalidRange")
		return
	}
	for k, v := range rec.Header() {
		h[k] = v
	}
	w.WriteHeader(rec.Code)
	_, _ = w.Write(rec.Body.Bytes())
}

// page is small so that listings have several.
const page = 4

func (d *azureDouble) list(w http.ResponseWriter, container, prefix, marker string, versions bool) {
	var older map[string][]*azureBlob
	if versions {
		older = d.older
	}
	names, all := pageOf(d.blobs, older, container+"/", prefix, marker)
	var x struct {
		XMLName xml.Name `xml:"EnumerationResults"`
		Blobs   struct {
			Blob []azureItem
		}
		NextMarker string
	}
	if len(names) > page {
		x.NextMarker, names = names[page], names[:page]
	}
	for _, n := range names {
		for _, b := range all[container+"/"+n] {
			item := azureItem{Name: n}
			if versions {
				item.VersionID, item.Current = b.id, d.blobs[container+"/"+n] == b
			}
			item.Properties.Length = int64(len(b.body))
			item.Properties.BlobType = "BlockBlob"
			x.Blobs.Blob = append(x.Blobs.Blob, item)
		}
	}
	w.Header().Set("Content-Type", "application/xml")
	_ = xml.NewEncoder(w).Encode(x)
}

type azureItem struct {
	Name       string
	VersionID  string `xml:"VersionId,omitempty"`
	Current    bool   `xml:"IsCurrentVersion,omitempty"`
	Properties struct {
		Length   int64 `xml:"Content-Length"`
		BlobType string
	}
}

// pageOf is the names of a bucket in order, from marker on, and by path all
// versions of each: the older ones, then the one that is there.
func pageOf[T any](live map[string]T, older map[string][]T, bucket, prefix, marker string) (names []string, all map[string][]T) {
	all = map[string][]T{}
	for path, v := range older {
		if len(v) > 0 {
			all[path] = slices.Clone(v)
		}
	}
	for path, o := range live {
		all[path] = append(all[path], o)
	}
	for path := range all {
		if n, ok := strings.CutPrefix(path, bucket); ok && strings.HasPrefix(n, prefix) && n >= marker {
			names = append(names, n)
		}
	}
	slices.Sort(names)
	return names, all
}
