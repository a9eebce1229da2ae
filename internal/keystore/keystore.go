// Package keystore keeps the keys that content is encrypted to, one per subject
// and day, where they can be deleted: apart from the write-once store of the
// content. A key that is destroyed here leaves ciphertext that nobody opens.
//
// The collector makes a key pair, encrypts to its public half, puts the private
// one into the store wrapped to the reader's public key and to a recovery key,
// and forgets it. So it can't open what it wrote, and a collector that lost its
// memory only makes new keys.
//
// The key that they are wrapped to may be one in a key management service. It is
// wrapped to without asking the service, and unwrapped by asking it.
package keystore

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/claudeaudit/claudeaudit/internal/bucket"
	"github.com/claudeaudit/claudeaudit/internal/seal"
)

// ErrDestroyed says that a key is not in the store: it was destroyed, or never there.
var ErrDestroyed = errors.New("the content's key is not there any more")

const (
	format = "claudeaudit.subjectkey/1"
	dir    = "v1/"
	suffix = ".json"
	// maxFile bounds a key's file, maxKeys the subjects that a writer remembers at a time.
	maxFile = 64 << 10
	maxKeys = 1 << 16
)

// file is a key in the store.
type file struct {
	Format string `json:"format"`
	KeyID  string `json:"key_id"`
	Day    string `json:"day"`
	Wraps  []wrap `json:"wraps"`
}

// wrap is the identity's text, encrypted.
type wrap struct {
	To     string `json:"to"`            // key id of the recipient
	Way    string `json:"way,omitempty"` // see seal.WrapHPKE
	Sealed string `json:"sealed"`        // base64
}

func path(keyID string) (string, error) {
	if len(keyID) != 16 {
		return "", fmt.Errorf("key id %q: must be 16 hex digits", keyID)
	}
	for _, c := range []byte(keyID) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return "", fmt.Errorf("key id %q: must be 16 hex digits", keyID)
		}
	}
	return dir + keyID[:2] + "/" + keyID + suffix, nil
}

func wrapAAD(keyID string) []byte { return []byte("claudeaudit subject key v1\n" + keyID) }

// Writer makes keys. It is safe for concurrent use.
type Writer struct {
	store bucket.Store
	to    []seal.Wrapper
	now   func() time.Time

	mu   sync.Mutex
	day  string
	keys map[string]*entry
}

type entry struct {
	mu  sync.Mutex
	key *seal.Recipient
}

// NewWriter wraps each key to all of the recipients.
func NewWriter(store bucket.Store, to ...seal.Wrapper) *Writer {
	return &Writer{store: store, to: to, now: time.Now, keys: map[string]*entry{}}
}

// For returns the public key of a subject for today. A new one is in the store,
// durable, when it returns.
func (w *Writer) For(ctx context.Context, subject string) (*seal.Recipient, error) {
	day := w.now().UTC().Format(time.DateOnly)
	w.mu.Lock()
	if day != w.day || len(w.keys) >= maxKeys {
		w.day, w.keys = day, map[string]*entry{}
	}
	e := w.keys[subject]
	if e == nil {
		e = &entry{}
		w.keys[subject] = e
	}
	w.mu.Unlock()
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.key != nil {
		return e.key, nil
	}
	key, err := w.make(ctx, day)
	if err != nil {
		return nil, fmt.Errorf("make a subject's content key: %w", err)
	}
	e.key = key
	return key, nil
}

func (w *Writer) make(ctx context.Context, day string) (*seal.Recipient, error) {
	id, err := seal.GenerateIdentity()
	if err != nil {
		return nil, err
	}
	text, err := id.Text()
	if err != nil {
		return nil, err
	}
	f := file{Format: format, KeyID: id.KeyID(), Day: day}
	for _, r := range w.to {
		way, sealed, err := r.Wrap(text, wrapAAD(f.KeyID))
		if err != nil {
			return nil, err
		}
		f.Wraps = append(f.Wraps, wrap{r.KeyID(), way, base64.StdEncoding.EncodeToString(sealed)})
	}
	b, err := json.Marshal(f)
	if err != nil {
		return nil, err
	}
	p, err := path(f.KeyID)
	if err != nil {
		return nil, err
	}
	if err := w.store.Put(ctx, p, b, bucket.PutOptions{ContentType: "application/json"}); err != nil {
		return nil, err
	}
	return id.Recipient(), nil
}

// Ring opens content: with the identities themselves what is sealed to them,
// and what is sealed to a subject's key with that key. It is safe for concurrent use.
type Ring struct {
	identities []seal.Unwrapper
	store      bucket.Store // nil: none

	mu   sync.Mutex
	keys map[string]*seal.Identity
}

// NewRing uses identities, and a store unless it is nil.
func NewRing(store bucket.Store, identities ...seal.Unwrapper) *Ring {
	return &Ring{identities: identities, store: store, keys: map[string]*seal.Identity{}}
}

// KeyIDs names the identities.
func (r *Ring) KeyIDs() string {
	var ids []string
	for _, id := range r.identities {
		ids = append(ids, id.KeyID())
	}
	return strings.Join(ids, ", ")
}

// maxOpened bounds the unwrapped keys that a ring remembers.
const maxOpened = 1024

// Open opens a sealed container. Errors are those of seal.Identity.Open, and
// ErrDestroyed.
func (r *Ring) Open(ctx context.Context, container, aad []byte) ([]byte, error) {
	h, err := seal.ParseHeader(container)
	if err != nil {
		return nil, fmt.Errorf("open content: %w", err)
	}
	for _, own := range r.identities {
		if id, ok := own.(*seal.Identity); ok && id.KeyID() == h.KeyID {
			return id.Open(container, aad)
		}
	}
	if r.store == nil {
		return nil, fmt.Errorf("open content: %w: key %s", seal.ErrWrongKey, h.KeyID)
	}
	id, err := r.key(ctx, h.KeyID)
	if err != nil {
		return nil, fmt.Errorf("open content: %w", err)
	}
	return id.Open(container, aad)
}

func (r *Ring) key(ctx context.Context, keyID string) (*seal.Identity, error) {
	r.mu.Lock()
	id := r.keys[keyID]
	r.mu.Unlock()
	if id != nil {
		return id, nil
	}
	p, err := path(keyID)
	if err != nil {
		return nil, err
	}
	b, err := r.store.Get(ctx, p, maxFile)
	if errors.Is(err, bucket.ErrNotFound) {
		return nil, fmt.Errorf("%w: key %s", ErrDestroyed, keyID)
	}
	if err != nil {
		return nil, err
	}
	var f file
	if err := json.Unmarshal(b, &f); err != nil || f.Format != format || f.KeyID != keyID {
		return nil, fmt.Errorf("key %s: its file is damaged", keyID)
	}
	for _, own := range r.identities {
		i := slices.IndexFunc(f.Wraps, func(w wrap) bool { return w.To == own.KeyID() })
		if i < 0 {
			continue
		}
		sealed, err := base64.StdEncoding.Strict().DecodeString(f.Wraps[i].Sealed)
		if err != nil {
			return nil, fmt.Errorf("key %s: its file is damaged", keyID)
		}
		text, err := own.Unwrap(ctx, f.Wraps[i].Way, sealed, wrapAAD(keyID))
		if err != nil {
			return nil, fmt.Errorf("key %s: %w", keyID, err)
		}
		if id, err = seal.ParseIdentity(text); err != nil {
			return nil, fmt.Errorf("key %s: %w", keyID, err)
		}
		if id.KeyID() != keyID {
			return nil, fmt.Errorf("key %s: its file holds another key", keyID)
		}
		r.mu.Lock()
		if len(r.keys) >= maxOpened {
			clear(r.keys)
		}
		r.keys[keyID] = id
		r.mu.Unlock()
		return id, nil
	}
	return nil, fmt.Errorf("%w: key %s is wrapped to none of the identities", seal.ErrWrongKey, keyID)
}

// Has says whether a key is in the store.
func Has(ctx context.Context, store bucket.Store, keyID string) (bool, error) {
	p, err := path(keyID)
	if err != nil {
		return false, err
	}
	_, err = store.Stat(ctx, p)
	if errors.Is(err, bucket.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// Destroy deletes a key with every version of its file, and looks that it is
// gone. One that is not there is no error.
func Destroy(ctx context.Context, store bucket.Store, keyID string) error {
	p, err := path(keyID)
	if err != nil {
		return err
	}
	if err := store.Delete(ctx, p); err != nil {
		return fmt.Errorf("destroy key %s: %w", keyID, err)
	}
	there, err := Has(ctx, store, keyID)
	if err == nil && there {
		err = errors.New("it is still there")
	}
	if err != nil {
		return fmt.Errorf("destroy key %s: %w", keyID, err)
	}
	return nil
}
