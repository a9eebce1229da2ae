package bucket

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"
)

// s3Store keeps objects in a bucket of S3 or of a server that speaks its
// protocol with Object Lock.
type s3Store struct {
	client    *s3.Client
	transport *http.Transport
	bucket    string
	prefix    string // "" or ends with "/"
	url       string
	mode      types.ObjectLockMode
	timeout   time.Duration
	firsts    firsts
}

// openS3 uses AWS's own chain of credentials and regions where cfg names none.
func openS3(ctx context.Context, cfg Config, name, prefix string) (*s3Store, error) {
	bounded, err := cfg.transport()
	if err != nil {
		return nil, err
	}
	client := awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
		t.Proxy, t.DialContext, t.TLSClientConfig = bounded.Proxy, bounded.DialContext, bounded.TLSClientConfig
		t.MaxIdleConns, t.MaxIdleConnsPerHost = bounded.MaxIdleConns, bounded.MaxIdleConnsPerHost
	})
	// The chain adds to this client, for example AWS_CA_BUNDLE.
	opts := []func(*config.LoadOptions) error{config.WithHTTPClient(client), config.WithRetryMaxAttempts(3)}
	if cfg.Region != "" {
		opts = append(opts, config.WithRegion(cfg.Region))
	}
	if cfg.Profile != "" {
		opts = append(opts, config.WithSharedConfigProfile(cfg.Profile))
	}
	if cfg.AccessKeyID != "" {
		opts = append(opts, config.WithCredentialsProvider(
			credentials.NewStaticCredentialsProvider(cfg.AccessKeyID, string(cfg.SecretAccessKey), string(cfg.SessionToken))))
	}
	ac, err := config.LoadDefaultConfig(ctx, opts...)
	if err != nil {
		return nil, fmt.Errorf("load AWS configuration: %w", err)
	}
	if ac.Region == "" {
		ac.Region = "us-east-1" // what servers that aren't AWS take
	}
	if c, ok := ac.HTTPClient.(*awshttp.BuildableClient); ok {
		client = c
	}
	transport := client.GetTransport()
	s := &s3Store{
		transport: transport, bucket: name, prefix: prefix, url: "s3://" + name + "/" + prefix,
		mode: types.ObjectLockModeCompliance, timeout: cfg.Timeout,
	}
	if cfg.Lock == LockGovernance {
		s.mode = types.ObjectLockModeGovernance
	}
	s.client = s3.NewFromConfig(ac, func(o *s3.Options) {
		o.HTTPClient = &http.Client{Transport: transport}
		if cfg.Endpoint != "" {
			o.BaseEndpoint = aws.String(cfg.Endpoint)
			o.UsePathStyle = true
		}
		if cfg.PathStyle {
			o.UsePathStyle = true
		}
		o.DisableLogOutputChecksumValidationSkipped = true
	})
	return s, nil
}

func (s *s3Store) URL() string { return s.url }

func (s *s3Store) Close() error {
	s.transport.CloseIdleConnections()
	return nil
}

// s3Error tells what an error of the SDK means.
func s3Error(err error) error {
	if err == nil {
		return nil
	}
	status := 0
	var re *awshttp.ResponseError
	if errors.As(err, &re) {
		status = re.HTTPStatusCode()
	}
	code := ""
	var ae smithy.APIError
	if errors.As(err, &ae) {
		code = ae.ErrorCode()
	}
	switch {
	case code == "NoSuchBucket":
		return err
	case code == "NoSuchKey", code == "NotFound", code == "NoSuchVersion", status == http.StatusNotFound:
		return fmt.Errorf("%w: %w", ErrNotFound, err)
	case code == "AccessDenied", status == http.StatusForbidden && code != "RequestTimeTooSkewed" && code != "InvalidAccessKeyId" && code != "SignatureDoesNotMatch":
		return fmt.Errorf("%w: %w", ErrDenied, err)
	case code == "RequestTimeTooSkewed":
		return fmt.Errorf("%w: %w", ErrClock, err)
	}
	return err
}

// missingLock says whether a put was refused because the bucket was made
// without object lock. The words differ: AWS and MinIO say InvalidRequest with
// "Bucket is missing Object Lock Configuration", VersityGW InvalidBucketObjectLockConfiguration.
func missingLock(err error) bool {
	var ae smithy.APIError
	if !errors.As(err, &ae) {
		return false
	}
	text := strings.ToLower(ae.ErrorCode() + " " + ae.ErrorMessage())
	return strings.Contains(text, "objectlockconfiguration") || strings.Contains(text, "object lock configuration")
}

// skew checks the clock of an answer.
func skew(md middleware.Metadata) error {
	server, ok := awsmiddleware.GetServerTime(md)
	if !ok {
		return nil
	}
	return checkSkew(server)
}

func (s *s3Store) key(key string) (*string, error) {
	if err := checkKey(key); err != nil {
		return nil, err
	}
	return aws.String(s.prefix + key), nil
}

func (s *s3Store) Put(ctx context.Context, key string, body []byte, opts PutOptions) error {
	k, err := s.key(key)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, sizedTimeout(s.timeout, int64(len(body))))
	defer cancel()
	sum := sha256.Sum256(body)
	sum64 := base64.StdEncoding.EncodeToString(sum[:])
	in := &s3.PutObjectInput{
		Bucket: &s.bucket, Key: k, Body: bytes.NewReader(body), ContentLength: aws.Int64(int64(len(body))),
		IfNoneMatch: aws.String("*"), ChecksumAlgorithm: types.ChecksumAlgorithmSha256, ChecksumSHA256: &sum64,
	}
	if opts.ContentType != "" {
		in.ContentType = &opts.ContentType
	}
	mode := ""
	if until := wholeSeconds(opts.RetainUntil); !until.IsZero() {
		in.ObjectLockMode, in.ObjectLockRetainUntilDate = s.mode, &until
		mode = string(s.mode)
	}
	if opts.Hold {
		in.ObjectLockLegalHoldStatus = types.ObjectLockLegalHoldStatusOn
	}
	out, err := s.client.PutObject(ctx, in)
	var version *string
	var unread error
	exists := false
	switch {
	case err == nil:
		if err := skew(out.ResultMetadata); err != nil {
			return fmt.Errorf("put %s: %w", key, err)
		}
		if got := aws.ToString(out.ChecksumSHA256); got != "" && got != sum64 {
			return fmt.Errorf("put %s: the store answers with another checksum", key)
		}
		version = out.VersionId
	case isPreconditionFailed(err):
		// Ours, when an earlier answer got lost; or another's.
		exists = true
		unread = sameObject(ctx, s, key, body)
		if unread != nil && !errors.Is(unread, ErrUnread) {
			return unread
		}
	case missingLock(err):
		return fmt.Errorf("put %s: %w: %w", key, ErrNoLock, err)
	default:
		return fmt.Errorf("put %s: %w", key, s3Error(err))
	}
	if mode == "" && !opts.Hold {
		return unread
	}
	if err := s.confirm(ctx, key, version, exists, opts, mode); err != nil {
		return err
	}
	return unread
}

func isPreconditionFailed(err error) bool {
	var re *awshttp.ResponseError
	return errors.As(err, &re) && re.HTTPStatusCode() == http.StatusPreconditionFailed
}

// confirm reads the lock back after a put, and lengthens it where the object existed before.
func (s *s3Store) confirm(ctx context.Context, key string, version *string, exists bool, opts PutOptions, mode string) error {
	read := func() (Lock, error) { return s.lock(ctx, key, version, opts.Hold) }
	l, err := read()
	if err != nil {
		return fmt.Errorf("read the lock of %s back: %w", key, err)
	}
	if exists {
		if l, err = lengthen(ctx, s, key, l, opts.RetainUntil, read); err != nil {
			return err
		}
	}
	if err := l.covers(opts, mode); err != nil {
		return fmt.Errorf("put %s: %w", key, err)
	}
	return nil
}

func (s *s3Store) Lock(ctx context.Context, key string) (Lock, error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	return s.lock(ctx, key, s.first(key), true)
}

// lock reads retention and, if asked for, legal hold.
func (s *s3Store) lock(ctx context.Context, key string, version *string, hold bool) (Lock, error) {
	k, err := s.key(key)
	if err != nil {
		return Lock{}, err
	}
	var l Lock
	r, err := s.client.GetObjectRetention(ctx, &s3.GetObjectRetentionInput{Bucket: &s.bucket, Key: k, VersionId: version})
	switch {
	case err == nil && r.Retention != nil:
		l.Mode, l.RetainUntil = string(r.Retention.Mode), aws.ToTime(r.Retention.RetainUntilDate).UTC()
	case err != nil && !noLockSet(err):
		return l, s3Error(err)
	}
	if !hold {
		return l, nil
	}
	h, err := s.client.GetObjectLegalHold(ctx, &s3.GetObjectLegalHoldInput{Bucket: &s.bucket, Key: k, VersionId: version})
	switch {
	case err == nil && h.LegalHold != nil:
		l.Hold = h.LegalHold.Status == types.ObjectLockLegalHoldStatusOn
	case err != nil && !noLockSet(err):
		return l, s3Error(err)
	}
	return l, nil
}

// noLockSet says whether an object simply has none.
func noLockSet(err error) bool {
	var ae smithy.APIError
	return errors.As(err, &ae) && ae.ErrorCode() == "NoSuchObjectLockConfiguration"
}

func (s *s3Store) Extend(ctx context.Context, key string, until time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	k, err := s.key(key)
	if err != nil {
		return err
	}
	version := s.first(key)
	l, err := s.lock(ctx, key, version, false)
	if err != nil {
		return fmt.Errorf("extend the retention of %s: %w", key, err)
	}
	until = wholeSeconds(until)
	if !l.RetainUntil.Before(until) {
		return nil
	}
	mode := types.ObjectLockRetentionMode(s.mode)
	if l.Mode == compliance {
		mode = types.ObjectLockRetentionModeCompliance
	}
	if _, err := s.client.PutObjectRetention(ctx, &s3.PutObjectRetentionInput{
		Bucket: &s.bucket, Key: k, VersionId: version, ChecksumAlgorithm: types.ChecksumAlgorithmSha256,
		Retention: &types.ObjectLockRetention{Mode: mode, RetainUntilDate: &until},
	}); err != nil {
		return fmt.Errorf("extend the retention of %s: %w", key, s3Error(err))
	}
	return nil
}

func (s *s3Store) SetHold(ctx context.Context, key string, hold bool) error {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	k, err := s.key(key)
	if err != nil {
		return err
	}
	status := types.ObjectLockLegalHoldStatusOff
	if hold {
		status = types.ObjectLockLegalHoldStatusOn
	}
	version := s.first(key)
	if _, err := s.client.PutObjectLegalHold(ctx, &s3.PutObjectLegalHoldInput{
		Bucket: &s.bucket, Key: k, VersionId: version, ChecksumAlgorithm: types.ChecksumAlgorithmSha256,
		LegalHold: &types.ObjectLockLegalHold{Status: status},
	}); err != nil {
		return fmt.Errorf("set the legal hold of %s: %w", key, s3Error(err))
	}
	l, err := s.lock(ctx, key, version, true)
	return confirmHold(key, hold, l, err)
}

func (s *s3Store) Get(ctx context.Context, key string, limit int64) ([]byte, error) {
	k, err := s.key(key)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, sizedTimeout(s.timeout, limit))
	defer cancel()
	out, err := s.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &s.bucket, Key: k, VersionId: s.first(key), ChecksumMode: types.ChecksumModeEnabled})
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", key, s3Error(err))
	}
	return readBody(out.Body, key, aws.ToInt64(out.ContentLength), limit)
}

func (s *s3Store) GetRange(ctx context.Context, key string, off, n int64) ([]byte, error) {
	k, err := s.key(key)
	if err != nil {
		return nil, err
	}
	if off < 0 || n <= 0 {
		return emptyRange(ctx, s, key, off, n)
	}
	ctx, cancel := context.WithTimeout(ctx, sizedTimeout(s.timeout, n))
	defer cancel()
	out, err := s.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &s.bucket, Key: k, VersionId: s.first(key), Range: aws.String(httpRange(off, n))})
	if err != nil {
		var re *awshttp.ResponseError
		if errors.As(err, &re) && re.HTTPStatusCode() == http.StatusRequestedRangeNotSatisfiable {
			return nil, fmt.Errorf("read object: %w", io.ErrUnexpectedEOF)
		}
		return nil, fmt.Errorf("get %s: %w", key, s3Error(err))
	}
	return rangeBody(out.Body, key, n)
}

func httpRange(off, n int64) string {
	end := off + n - 1
	if end < off { // overflow
		end = 1<<63 - 1
	}
	return fmt.Sprintf("bytes=%d-%d", off, end)
}

func (s *s3Store) Stat(ctx context.Context, key string) (ObjectInfo, error) {
	k, err := s.key(key)
	if err != nil {
		return ObjectInfo{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	out, err := s.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &s.bucket, Key: k, VersionId: s.first(key)})
	if err != nil {
		return ObjectInfo{}, fmt.Errorf("stat %s: %w", key, s3Error(err))
	}
	return ObjectInfo{Key: key, Size: aws.ToInt64(out.ContentLength)}, nil
}

// first is the version to read: the first where others were written over it.
func (s *s3Store) first(key string) *string {
	if id, ok := s.firsts.of(key); ok {
		return &id
	}
	return nil
}

// List lists versions, so that nobody hides an object behind a newer version or
// a delete marker. Where that may not be asked, it lists what is newest.
func (s *s3Store) List(ctx context.Context, prefix, after string, fn func(ObjectInfo) error) error {
	if err := checkPrefix(prefix); err != nil {
		return err
	}
	v := versionWalk{firsts: &s.firsts, url: s.url, prefix: s.prefix, after: after, fn: fn}
	in := &s3.ListObjectVersionsInput{Bucket: &s.bucket, Prefix: aws.String(s.prefix + prefix)}
	if after != "" {
		in.KeyMarker = aws.String(s.prefix + after)
	}
	for page := 0; ; page++ {
		call, cancel := context.WithTimeout(ctx, s.timeout)
		out, err := s.client.ListObjectVersions(call, in)
		cancel()
		if err != nil {
			if err = s3Error(err); page == 0 && (errors.Is(err, ErrDenied) || notImplemented(err)) {
				return s.listNewest(ctx, prefix, after, fn)
			}
			return fmt.Errorf("list %s: %w", s.url+prefix, err)
		}
		for _, o := range s3Versions(out) {
			if err := v.add(o); err != nil {
				return err
			}
		}
		if !aws.ToBool(out.IsTruncated) {
			return v.flush()
		}
		if aws.ToString(out.NextKeyMarker) == aws.ToString(in.KeyMarker) && aws.ToString(out.NextVersionIdMarker) == aws.ToString(in.VersionIdMarker) {
			return fmt.Errorf("list %s: the store's listing does not go on", s.url+prefix)
		}
		in.KeyMarker, in.VersionIdMarker = out.NextKeyMarker, out.NextVersionIdMarker
	}
}

func notImplemented(err error) bool {
	var re *awshttp.ResponseError
	return errors.As(err, &re) && re.HTTPStatusCode() == http.StatusNotImplemented
}

// s3Versions are a page's versions, those of a key together and the newest first.
func s3Versions(out *s3.ListObjectVersionsOutput) []version {
	all := make([]version, 0, len(out.Versions)+len(out.DeleteMarkers))
	for _, o := range out.Versions {
		all = append(all, version{key: aws.ToString(o.Key), id: aws.ToString(o.VersionId), size: aws.ToInt64(o.Size), at: aws.ToTime(o.LastModified), sum: aws.ToString(o.ETag)})
	}
	for _, o := range out.DeleteMarkers {
		all = append(all, version{key: aws.ToString(o.Key), id: aws.ToString(o.VersionId), at: aws.ToTime(o.LastModified), marker: true})
	}
	if len(out.DeleteMarkers) > 0 {
		// The SDK gives the two apart; within a key the order of time is that of the store.
		sortVersions(all)
	}
	return all
}

// listNewest lists without versions.
func (s *s3Store) listNewest(ctx context.Context, prefix, after string, fn func(ObjectInfo) error) error {
	in := &s3.ListObjectsV2Input{Bucket: &s.bucket, Prefix: aws.String(s.prefix + prefix)}
	if after != "" {
		in.StartAfter = aws.String(s.prefix + after)
	}
	for {
		call, cancel := context.WithTimeout(ctx, s.timeout)
		out, err := s.client.ListObjectsV2(call, in)
		cancel()
		if err != nil {
			return fmt.Errorf("list %s: %w", s.url+prefix, s3Error(err))
		}
		for _, o := range out.Contents {
			key, ok := strings.CutPrefix(aws.ToString(o.Key), s.prefix)
			if !ok || key <= after {
				continue
			}
			if err := fn(ObjectInfo{Key: key, Size: aws.ToInt64(o.Size)}); err != nil {
				return err
			}
		}
		if !aws.ToBool(out.IsTruncated) || aws.ToString(out.NextContinuationToken) == "" {
			return nil
		}
		in.ContinuationToken = out.NextContinuationToken
	}
}

// Delete removes every version, so that a delete marker doesn't stand for it.
func (s *s3Store) Delete(ctx context.Context, key string) error {
	if err := checkKey(key); err != nil {
		return err
	}
	full := s.prefix + key
	in := &s3.ListObjectVersionsInput{Bucket: &s.bucket, Prefix: &full}
	for {
		call, cancel := context.WithTimeout(ctx, s.timeout)
		out, err := s.client.ListObjectVersions(call, in)
		cancel()
		if err != nil {
			return fmt.Errorf("delete %s: %w", key, s3Error(err))
		}
		type version struct{ id, key string }
		var ids []version
		for _, o := range out.Versions {
			ids = append(ids, version{aws.ToString(o.VersionId), aws.ToString(o.Key)})
		}
		for _, o := range out.DeleteMarkers {
			ids = append(ids, version{aws.ToString(o.VersionId), aws.ToString(o.Key)})
		}
		for _, v := range ids {
			if v.key != full {
				continue
			}
			if err := s.deleteVersion(ctx, key, v.id); err != nil {
				return err
			}
		}
		if !aws.ToBool(out.IsTruncated) {
			return nil
		}
		in.KeyMarker, in.VersionIdMarker = out.NextKeyMarker, out.NextVersionIdMarker
	}
}

func (s *s3Store) deleteVersion(ctx context.Context, key, id string) error {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	k := s.prefix + key
	_, err := s.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &s.bucket, Key: &k, VersionId: &id})
	if err == nil {
		return nil
	}
	// The refusal's status differs between servers: the lock itself tells.
	if l, lerr := s.lock(ctx, key, &id, true); lerr == nil && l.Locked(time.Now()) {
		return fmt.Errorf("delete %s: %w: %w", key, ErrLocked, err)
	}
	if err = s3Error(err); errors.Is(err, ErrNotFound) {
		return nil
	}
	return fmt.Errorf("delete %s: %w", key, err)
}

func (s *s3Store) Settings(ctx context.Context) (Settings, error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	out := Settings{Lock: Unknown, Versioning: Unknown}
	l, err := s.client.GetObjectLockConfiguration(ctx, &s3.GetObjectLockConfigurationInput{Bucket: &s.bucket})
	var ae smithy.APIError
	switch {
	case err == nil:
		if err := skew(l.ResultMetadata); err != nil {
			return out, err
		}
		out.Lock = Disabled
		if c := l.ObjectLockConfiguration; c != nil && c.ObjectLockEnabled == types.ObjectLockEnabledEnabled {
			out.Lock = Enabled
			if c.Rule != nil && c.Rule.DefaultRetention != nil {
				out.DefaultRetention = defaultRetention(c.Rule.DefaultRetention)
			}
		}
	case errors.As(err, &ae) && ae.ErrorCode() == "ObjectLockConfigurationNotFoundError", missingLock(err):
		out.Lock = Disabled
	case errors.Is(s3Error(err), ErrDenied):
	default:
		return out, fmt.Errorf("ask for the bucket's object lock: %w", s3Error(err))
	}
	v, err := s.client.GetBucketVersioning(ctx, &s3.GetBucketVersioningInput{Bucket: &s.bucket})
	switch {
	case err == nil:
		switch v.Status {
		case types.BucketVersioningStatusEnabled:
			out.Versioning = Enabled
		case types.BucketVersioningStatusSuspended:
			out.Versioning = Suspended
		default:
			out.Versioning = Disabled
		}
	case errors.Is(s3Error(err), ErrDenied):
	default:
		return out, fmt.Errorf("ask for the bucket's versioning: %w", s3Error(err))
	}
	return out, nil
}

func defaultRetention(d *types.DefaultRetention) string {
	if d.Years != nil {
		return fmt.Sprintf("%s %dy", d.Mode, *d.Years)
	}
	return fmt.Sprintf("%s %dd", d.Mode, aws.ToInt32(d.Days))
}
