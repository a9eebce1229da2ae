package kms

import (
	"context"
	"crypto"
	"encoding/base64"
	"errors"
	"fmt"
	"hash/crc32"
	"net/http"
	"strings"
	"time"

	cloudkms "google.golang.org/api/cloudkms/v1"
	"google.golang.org/api/googleapi"
	"google.golang.org/api/option"
	htransport "google.golang.org/api/transport/http"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// gcpKey uses the REST client: that of gRPC would add several MB to the programs.
type gcpKey struct {
	versions *cloudkms.ProjectsLocationsKeyRingsCryptoKeysCryptoKeyVersionsService
	name     string
}

// openGCP uses Google's own chain of credentials. An endpoint that is not HTTPS
// is a double, and gets none.
func openGCP(r reference, base *http.Transport) (*gcpKey, error) {
	ctx := context.Background() // the credentials' own, as long as they live
	client := &http.Client{Transport: base}
	if !strings.HasPrefix(r.endpoint, "http://") {
		t, err := htransport.NewTransport(ctx, base, option.WithScopes(cloudkms.CloudkmsScope))
		if err != nil {
			return nil, fmt.Errorf("load Google credentials: %w", err)
		}
		client.Transport = t
	}
	opts := []option.ClientOption{option.WithHTTPClient(client)}
	if r.endpoint != "" {
		opts = append(opts, option.WithEndpoint(strings.TrimSuffix(r.endpoint, "/")+"/"))
	}
	s, err := cloudkms.NewService(ctx, opts...)
	if err != nil {
		return nil, err
	}
	return &gcpKey{s.Projects.Locations.KeyRings.CryptoKeys.CryptoKeyVersions, r.name}, nil
}

func gcpError(err error) error {
	var ge *googleapi.Error
	if !errors.As(err, &ge) {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	kind := ofStatus(ge.Code)
	// FAILED_PRECONDITION: the version is disabled or destroyed, or of another purpose.
	if ge.Code == http.StatusBadRequest && strings.Contains(ge.Message+ge.Body, "FAILED_PRECONDITION") {
		kind = ErrNoKey
	}
	return fmt.Errorf("%w: %d %s", kind, ge.Code, ge.Message)
}

// retried sends a request again that Google did not answer.
func retried[T any](ctx context.Context, send func(...googleapi.CallOption) (T, error)) (out T, err error) {
	for n := range attempts {
		if n > 0 {
			select {
			case <-ctx.Done():
			case <-time.After(firstPause << n):
			}
		}
		if out, err = send(); err == nil {
			return out, nil
		}
		if err = gcpError(err); !errors.Is(err, ErrUnavailable) || ctx.Err() != nil {
			break
		}
	}
	return out, err
}

func (k *gcpKey) public(ctx context.Context) (crypto.PublicKey, error) {
	out, err := retried(ctx, k.versions.GetPublicKey(k.name).Context(ctx).Do)
	if err != nil {
		return nil, err
	}
	if err := checkName(out.Name, k.name); err != nil {
		return nil, err
	}
	if crc(out.Pem) != out.PemCrc32c {
		return nil, errCRC
	}
	if strings.HasPrefix(out.Algorithm, "RSA_DECRYPT_") && !strings.HasSuffix(out.Algorithm, "_SHA256") {
		return nil, fmt.Errorf("%w: its algorithm is %s, must be one of RSA_DECRYPT_OAEP_…_SHA256", ErrKind, out.Algorithm)
	}
	return parsePEM(out.Pem)
}

var errCRC = fmt.Errorf("%w: a checksum does not match, the request or the answer was changed on its way", ErrUnavailable)

func crc(s string) int64 { return int64(crc32.Checksum([]byte(s), castagnoli)) }

func checkName(got, want string) error {
	if got != "" && got != want {
		return fmt.Errorf("%w: it answers for another key, %s", ErrRefused, got)
	}
	return nil
}

func (k *gcpKey) sign(ctx context.Context, msg []byte) ([]byte, error) {
	out, err := retried(ctx, k.versions.AsymmetricSign(k.name, &cloudkms.AsymmetricSignRequest{
		Data: base64.StdEncoding.EncodeToString(msg), DataCrc32c: crc(string(msg)),
	}).Context(ctx).Do)
	if err != nil {
		return nil, err
	}
	if err := checkName(out.Name, k.name); err != nil {
		return nil, err
	}
	sig, err := base64.StdEncoding.DecodeString(out.Signature)
	if err != nil || !out.VerifiedDataCrc32c || crc(string(sig)) != out.SignatureCrc32c {
		return nil, errCRC
	}
	return sig, nil
}

func (k *gcpKey) decrypt(ctx context.Context, ciphertext []byte) ([]byte, error) {
	out, err := retried(ctx, k.versions.AsymmetricDecrypt(k.name, &cloudkms.AsymmetricDecryptRequest{
		Ciphertext: base64.StdEncoding.EncodeToString(ciphertext), CiphertextCrc32c: crc(string(ciphertext)),
	}).Context(ctx).Do)
	if err != nil {
		return nil, err
	}
	plain, err := base64.StdEncoding.DecodeString(out.Plaintext)
	if err != nil || !out.VerifiedCiphertextCrc32c || crc(string(plain)) != out.PlaintextCrc32c {
		return nil, errCRC
	}
	return plain, nil
}
