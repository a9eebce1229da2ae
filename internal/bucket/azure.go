package bucket

import (
	"bytes"
	"context"
	"crypto/md5"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/streaming"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
)

// azureStore keeps objects in a container with version-level immutability.
type azureStore struct {
	client    *container.Client
	transport *http.Transport
	prefix    string
	url       string
	mode      blob.ImmutabilityPolicySetting
	timeout   time.Duration
	firsts    firsts
}

// openAzure uses Azure's own chain of credentials where cfg names no account key.
func openAzure(cfg Config, account, name, prefix string) (*azureStore, error) {
	transport, err := cfg.transport()
	if err != nil {
		return nil, err
	}
	endpoint := cfg.Endpoint
	if endpoint == "" {
		endpoint = "https://" + account + ".blob.core.windows.net"
	}
	url := strings.TrimSuffix(endpoint, "/") + "/" + name
	co := policy.ClientOptions{
		Transport: &http.Client{Transport: transport},
		Retry:     policy.RetryOptions{MaxRetries: 2, RetryDelay: 200 * time.Millisecond, MaxRetryDelay: 2 * time.Second},
	}
	s := &azureStore{
		transport: transport, prefix: prefix, url: "azure://" + account + "/" + name + "/" + prefix,
		mode: blob.ImmutabilityPolicySettingLocked, timeout: cfg.Timeout,
	}
	if cfg.Lock == LockGovernance {
		s.mode = blob.ImmutabilityPolicySettingUnlocked
	}
	if cfg.SecretAccessKey != "" {
		key, kerr := container.NewSharedKeyCredential(account, string(cfg.SecretAccessKey))
		if kerr != nil {
			return nil, errors.New("secret_access_key: must be the storage account's key in base64")
		}
		s.client, err = container.NewClientWithSharedKeyCredential(url, key, &container.ClientOptions{ClientOptions: co})
	} else {
		cred, cerr := azidentity.NewDefaultAzureCredential(&azidentity.DefaultAzureCredentialOptions{ClientOptions: co})
		if cerr != nil {
			return nil, fmt.Errorf("load Azure credentials: %w", cerr)
		}
		s.client, err = container.NewClient(url, cred, &container.ClientOptions{ClientOptions: co})
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", s.url, err)
	}
	return s, nil
}

func (s *azureStore) URL() string { return s.url }

func (s *azureStore) Close() error {
	s.transport.CloseIdleConnections()
	return nil
}

func azureError(err error) error {
	var re *azcore.ResponseError
	if !errors.As(err, &re) {
		return err
	}
	short := fmt.Errorf("%d %s", re.StatusCode, re.ErrorCode) // the SDK's text is a page
	switch {
	case re.ErrorCode == "ContainerNotFound":
		return short
	case re.StatusCode == http.StatusNotFound:
		return fmt.Errorf("%w: %w", ErrNotFound, short)
	case re.StatusCode == http.StatusForbidden:
		return fmt.Errorf("%w: %w", ErrDenied, short)
	case azureLocked(re):
		return fmt.Errorf("%w: %w", ErrLocked, short)
	}
	return short
}

// azureLocked: the two refusals that Azure documents for immutable blobs.
func azureLocked(re *azcore.ResponseError) bool {
	return re.StatusCode == http.StatusConflict &&
		(re.ErrorCode == "BlobImmutableDueToPolicy" || re.ErrorCode == "BlobImmutableDueToLegalHold")
}

func (s *azureStore) blob(key string) (*blockblob.Client, error) {
	if err := checkKey(key); err != nil {
		return nil, err
	}
	return s.client.NewBlockBlobClient(s.prefix + key), nil
}

// first is the blob's first version, where a listing found that something lies over it.
func (s *azureStore) first(key string) (*blockblob.Client, error) {
	b, err := s.blob(key)
	if err != nil {
		return nil, err
	}
	if id, ok := s.firsts.of(key); ok && id != "" {
		return b.WithVersionID(id)
	}
	return b, nil
}

func (s *azureStore) Put(ctx context.Context, key string, body []byte, opts PutOptions) error {
	b, err := s.blob(key)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, sizedTimeout(s.timeout, int64(len(body))))
	defer cancel()
	sum := md5.Sum(body) // what the service compares the body with
	up := &blockblob.UploadOptions{
		AccessConditions: &blob.AccessConditions{ModifiedAccessConditions: &blob.ModifiedAccessConditions{IfNoneMatch: to.Ptr(azcore.ETagAny)}},
		HTTPHeaders:      &blob.HTTPHeaders{BlobContentType: to.Ptr(opts.ContentType), BlobContentMD5: sum[:]},

		TransactionalValidation: blob.TransferValidationTypeMD5(sum[:]),
	}
	mode := ""
	if until := wholeSeconds(opts.RetainUntil); !until.IsZero() {
		up.ImmutabilityPolicyExpiryTime, up.ImmutabilityPolicyMode = &until, &s.mode
		mode = string(s.mode)
	}
	if opts.Hold {
		up.LegalHold = to.Ptr(true)
	}
	out, err := b.Upload(ctx, streaming.NopCloser(bytes.NewReader(body)), up)
	var unread error
	exists := false
	var re *azcore.ResponseError
	switch {
	case err == nil:
		if out.Date != nil {
			if err := checkSkew(*out.Date); err != nil {
				return fmt.Errorf("put %s: %w", key, err)
			}
		}
	// An immutable blob refuses the put before the condition is looked at.
	case errors.As(err, &re) && (re.ErrorCode == "BlobAlreadyExists" || re.StatusCode == http.StatusPreconditionFailed || azureLocked(re)):
		exists = true
		unread = sameObject(ctx, s, key, body)
		if unread != nil && !errors.Is(unread, ErrUnread) {
			return unread
		}
	default:
		return fmt.Errorf("put %s: %w", key, azureError(err))
	}
	if mode == "" && !opts.Hold {
		return unread
	}
	read := func() (Lock, error) { return s.lock(ctx, b) }
	l, err := read()
	if err != nil {
		return fmt.Errorf("read the lock of %s back: %w", key, err)
	}
	if exists && unread == nil {
		if l, err = lengthen(ctx, s, key, l, opts.RetainUntil, read); err != nil {
			return err
		}
	}
	if err := l.covers(opts, mode); err != nil {
		return fmt.Errorf("put %s: %w", key, err)
	}
	return unread
}

func (s *azureStore) Lock(ctx context.Context, key string) (Lock, error) {
	b, err := s.first(key)
	if err != nil {
		return Lock{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	l, err := s.lock(ctx, b)
	if err != nil {
		return l, fmt.Errorf("read the lock of %s: %w", key, err)
	}
	return l, nil
}

func (s *azureStore) lock(ctx context.Context, b *blockblob.Client) (Lock, error) {
	p, err := b.GetProperties(ctx, nil)
	if err != nil {
		return Lock{}, azureError(err)
	}
	var l Lock
	if p.ImmutabilityPolicyExpiresOn != nil {
		l.RetainUntil = p.ImmutabilityPolicyExpiresOn.UTC()
	}
	if p.ImmutabilityPolicyMode != nil && !l.RetainUntil.IsZero() {
		// The service answers in lower case.
		l.Mode = locked
		if strings.EqualFold(string(*p.ImmutabilityPolicyMode), unlocked) {
			l.Mode = unlocked
		}
	}
	l.Hold = p.LegalHold != nil && *p.LegalHold
	return l, nil
}

func (s *azureStore) Extend(ctx context.Context, key string, until time.Time) error {
	b, err := s.first(key)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	l, err := s.lock(ctx, b)
	if err != nil {
		return fmt.Errorf("extend the retention of %s: %w", key, err)
	}
	until = wholeSeconds(until)
	if !l.RetainUntil.Before(until) {
		return nil
	}
	mode := s.mode
	if l.Mode == locked {
		mode = blob.ImmutabilityPolicySettingLocked
	}
	if _, err := b.BlobClient().SetImmutabilityPolicy(ctx, until, &blob.SetImmutabilityPolicyOptions{Mode: &mode}); err != nil {
		return fmt.Errorf("extend the retention of %s: %w", key, azureError(err))
	}
	return nil
}

func (s *azureStore) SetHold(ctx context.Context, key string, hold bool) error {
	b, err := s.first(key)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	if _, err := b.BlobClient().SetLegalHold(ctx, hold, nil); err != nil {
		return fmt.Errorf("set the legal hold of %s: %w", key, azureError(err))
	}
	l, err := s.lock(ctx, b)
	return confirmHold(key, hold, l, err)
}

func (s *azureStore) Get(ctx context.Context, key string, limit int64) ([]byte, error) {
	b, err := s.first(key)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, sizedTimeout(s.timeout, limit))
	defer cancel()
	out, err := b.DownloadStream(ctx, nil)
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", key, azureError(err))
	}
	size := int64(0)
	if out.ContentLength != nil {
		size = *out.ContentLength
	}
	return readBody(out.Body, key, size, limit)
}

func (s *azureStore) GetRange(ctx context.Context, key string, off, n int64) ([]byte, error) {
	b, err := s.first(key)
	if err != nil {
		return nil, err
	}
	if off < 0 || n <= 0 {
		return emptyRange(ctx, s, key, off, n)
	}
	ctx, cancel := context.WithTimeout(ctx, sizedTimeout(s.timeout, n))
	defer cancel()
	out, err := b.DownloadStream(ctx, &blob.DownloadStreamOptions{Range: blob.HTTPRange{Offset: off, Count: n}})
	if err != nil {
		var re *azcore.ResponseError
		if errors.As(err, &re) && re.StatusCode == http.StatusRequestedRangeNotSatisfiable {
			return nil, fmt.Errorf("read object: %w", io.ErrUnexpectedEOF)
		}
		return nil, fmt.Errorf("get %s: %w", key, azureError(err))
	}
	return rangeBody(out.Body, key, n)
}

func (s *azureStore) Stat(ctx context.Context, key string) (ObjectInfo, error) {
	b, err := s.first(key)
	if err != nil {
		return ObjectInfo{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	p, err := b.GetProperties(ctx, nil)
	if err != nil {
		return ObjectInfo{}, fmt.Errorf("stat %s: %w", key, azureError(err))
	}
	info := ObjectInfo{Key: key}
	if p.ContentLength != nil {
		info.Size = *p.ContentLength
	}
	return info, nil
}

// List lists versions, as that of S3 does. A blob that was deleted over has no current one.
func (s *azureStore) List(ctx context.Context, prefix, after string, fn func(ObjectInfo) error) error {
	if err := checkPrefix(prefix); err != nil {
		return err
	}
	// A version's id is the time at which it was written, in one form.
	w := versionWalk{
		firsts: &s.firsts, url: s.url, prefix: s.prefix, after: after, fn: fn, current: true,
		older: func(v, than version) bool { return v.id < than.id },
	}
	if err := s.versions(ctx, s.prefix+prefix, w.add); err != nil {
		return err
	}
	return w.flush()
}

// versions calls fn with the versions of all blobs under a prefix; of an account
// without versioning with the blobs.
func (s *azureStore) versions(ctx context.Context, prefix string, fn func(version) error) error {
	opts := &container.ListBlobsFlatOptions{Prefix: to.Ptr(prefix), Include: container.ListBlobsInclude{Versions: true}}
	pager := s.client.NewListBlobsFlatPager(opts)
	for pager.More() {
		call, cancel := context.WithTimeout(ctx, s.timeout)
		page, err := pager.NextPage(call)
		cancel()
		if err != nil {
			return fmt.Errorf("list %s: %w", s.url+strings.TrimPrefix(prefix, s.prefix), azureError(err))
		}
		for _, item := range page.Segment.BlobItems {
			v := version{key: *item.Name, newest: item.VersionID == nil || item.IsCurrentVersion != nil && *item.IsCurrentVersion}
			if item.VersionID != nil {
				v.id = *item.VersionID
			}
			if item.Properties != nil && item.Properties.ContentLength != nil {
				v.size = *item.Properties.ContentLength
			}
			if err := fn(v); err != nil {
				return err
			}
		}
	}
	return nil
}

// Delete removes every version. Without an id the current one is deleted, which
// where there is versioning only makes it an older one.
func (s *azureStore) Delete(ctx context.Context, key string) error {
	b, err := s.blob(key)
	if err != nil {
		return err
	}
	remove := func(b *blockblob.Client) error {
		call, cancel := context.WithTimeout(ctx, s.timeout)
		defer cancel()
		_, err := b.Delete(call, nil)
		if err == nil {
			return nil
		}
		if err = azureError(err); errors.Is(err, ErrNotFound) {
			return nil
		}
		return fmt.Errorf("delete %s: %w", key, err)
	}
	if err := remove(b); err != nil {
		return err
	}
	var ids []string
	full := s.prefix + key
	if err := s.versions(ctx, full, func(v version) error {
		if v.key == full && v.id != "" {
			ids = append(ids, v.id)
		}
		return nil
	}); err != nil {
		return fmt.Errorf("delete %s: older versions may be left: %w", key, err)
	}
	for _, id := range ids {
		v, err := b.WithVersionID(id)
		if err == nil {
			err = remove(v)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *azureStore) Settings(ctx context.Context) (Settings, error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	out := Settings{Lock: Unknown, Versioning: Unknown}
	p, err := s.client.GetProperties(ctx, nil)
	if err != nil {
		if err = azureError(err); errors.Is(err, ErrDenied) {
			return out, nil
		}
		return out, fmt.Errorf("ask for the container's immutability: %w", err)
	}
	if p.Date != nil {
		if err := checkSkew(*p.Date); err != nil {
			return out, err
		}
	}
	out.Lock, out.Versioning = Disabled, Unknown
	if p.IsImmutableStorageWithVersioningEnabled != nil && *p.IsImmutableStorageWithVersioningEnabled {
		out.Lock, out.Versioning = Enabled, Enabled
	}
	return out, nil
}
