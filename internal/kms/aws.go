package kms

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	awskms "github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/smithy-go"
)

type awsKey struct {
	client *awskms.Client
	id     string
}

func openAWS(ctx context.Context, r reference, t *http.Transport) (*awsKey, error) {
	opts := []func(*config.LoadOptions) error{config.WithRetryer(func() aws.Retryer {
		return retry.NewStandard(func(o *retry.StandardOptions) { o.MaxAttempts, o.MaxBackoff = attempts, longestPause })
	})}
	if r.region != "" {
		opts = append(opts, config.WithRegion(r.region))
	}
	if r.profile != "" {
		opts = append(opts, config.WithSharedConfigProfile(r.profile))
	}
	// The chain adds to this client, for example AWS_CA_BUNDLE.
	client := awshttp.NewBuildableClient().WithTransportOptions(func(own *http.Transport) {
		own.Proxy, own.DialContext, own.TLSHandshakeTimeout = t.Proxy, t.DialContext, t.TLSHandshakeTimeout
		own.DisableKeepAlives = true // a call every ten seconds at most: no connection is left behind
	})
	ac, err := config.LoadDefaultConfig(ctx, append(opts, config.WithHTTPClient(client))...)
	if err != nil {
		return nil, fmt.Errorf("load AWS configuration: %w", err)
	}
	if ac.Region == "" {
		return nil, fmt.Errorf("%w: it names no region, and neither does the AWS configuration: give the key's ARN, or ?region=", ErrReference)
	}
	return &awsKey{id: r.name, client: awskms.NewFromConfig(ac, func(o *awskms.Options) {
		if r.endpoint != "" {
			o.BaseEndpoint = &r.endpoint
		}
	})}, nil
}

func awsError(err error) error {
	var ae smithy.APIError
	if !errors.As(err, &ae) {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	short := fmt.Errorf("%s: %s", ae.ErrorCode(), ae.ErrorMessage())
	switch ae.ErrorCode() {
	case "AccessDeniedException", "UnrecognizedClientException", "InvalidClientTokenId", "InvalidSignatureException", "IncompleteSignature",
		"MissingAuthenticationToken", "ExpiredTokenException", "OptInRequired":
		return fmt.Errorf("%w: %w", ErrDenied, short)
	case "NotFoundException", "DisabledException", "KMSInvalidStateException":
		return fmt.Errorf("%w: %w", ErrNoKey, short)
	case "InvalidKeyUsageException", "UnsupportedOperationException":
		return fmt.Errorf("%w: %w", ErrKind, short)
	case "ThrottlingException", "LimitExceededException", "DependencyTimeoutException", "KeyUnavailableException", "KMSInternalException":
		return fmt.Errorf("%w: %w", ErrUnavailable, short)
	}
	status := 0
	var re *awshttp.ResponseError
	if errors.As(err, &re) {
		status = re.HTTPStatusCode()
	}
	return fmt.Errorf("%w: %w", ofStatus(status), short)
}

func (k *awsKey) public(ctx context.Context) (crypto.PublicKey, error) {
	out, err := k.client.GetPublicKey(ctx, &awskms.GetPublicKeyInput{KeyId: &k.id})
	if err != nil {
		return nil, awsError(err)
	}
	if len(out.EncryptionAlgorithms) > 0 && !slices.Contains(out.EncryptionAlgorithms, types.EncryptionAlgorithmSpecRsaesOaepSha256) {
		return nil, fmt.Errorf("%w: it does not do RSAES_OAEP_SHA_256", ErrKind)
	}
	return parseDER(out.PublicKey)
}

func (k *awsKey) sign(ctx context.Context, msg []byte) ([]byte, error) {
	out, err := k.client.Sign(ctx, &awskms.SignInput{
		KeyId: &k.id, Message: msg, MessageType: types.MessageTypeRaw, SigningAlgorithm: types.SigningAlgorithmSpecEd25519Sha512,
	})
	if err != nil {
		return nil, awsError(err)
	}
	return out.Signature, nil
}

func (k *awsKey) decrypt(ctx context.Context, ciphertext []byte) ([]byte, error) {
	out, err := k.client.Decrypt(ctx, &awskms.DecryptInput{
		KeyId: &k.id, CiphertextBlob: ciphertext, EncryptionAlgorithm: types.EncryptionAlgorithmSpecRsaesOaepSha256,
	})
	if err != nil {
		return nil, awsError(err)
	}
	return out.Plaintext, nil
}
