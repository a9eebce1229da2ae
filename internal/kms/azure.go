package kms

import (
	"context"
	"crypto"
	"crypto/rsa"
	"errors"
	"fmt"
	"math/big"
	"net/http"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"
)

type azureKey struct {
	client        *azkeys.Client
	name, version string
}

// openAzure uses Azure's own chain of credentials.
func openAzure(r reference, t *http.Transport) (*azureKey, error) {
	co := azureOptions(t)
	cred, err := azidentity.NewDefaultAzureCredential(&azidentity.DefaultAzureCredentialOptions{ClientOptions: co})
	if err != nil {
		return nil, fmt.Errorf("load Azure credentials: %w", err)
	}
	return newAzure(r, cred, co)
}

func azureOptions(t *http.Transport) policy.ClientOptions {
	return policy.ClientOptions{
		Transport: &http.Client{Transport: t},
		Retry:     policy.RetryOptions{MaxRetries: attempts - 1, RetryDelay: firstPause, MaxRetryDelay: longestPause},
	}
}

func newAzure(r reference, cred azcore.TokenCredential, co policy.ClientOptions) (*azureKey, error) {
	c, err := azkeys.NewClient("https://"+r.host, cred, &azkeys.ClientOptions{ClientOptions: co})
	if err != nil {
		return nil, err
	}
	return &azureKey{c, r.name, r.version}, nil
}

func azureError(err error) error {
	var re *azcore.ResponseError
	if errors.As(err, &re) {
		return fmt.Errorf("%w: %d %s", ofStatus(re.StatusCode), re.StatusCode, re.ErrorCode) // the SDK's text is a page
	}
	var auth *azidentity.AuthenticationFailedError
	if errors.As(err, &auth) {
		return fmt.Errorf("%w: no token for the vault", ErrDenied)
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}

func (k *azureKey) public(ctx context.Context) (crypto.PublicKey, error) {
	out, err := k.client.GetKey(ctx, k.name, k.version, nil)
	if err != nil {
		return nil, azureError(err)
	}
	if out.Key == nil || out.Key.Kty == nil || *out.Key.Kty != azkeys.KeyTypeRSA && *out.Key.Kty != azkeys.KeyTypeRSAHSM {
		return nil, fmt.Errorf("%w: must be an RSA key", ErrKind)
	}
	e := new(big.Int).SetBytes(out.Key.E)
	if len(out.Key.N) == 0 || !e.IsInt64() || e.Int64() < 3 || e.Int64() > 1<<31-1 {
		return nil, fmt.Errorf("%w: its public key can't be read", ErrKind)
	}
	return &rsa.PublicKey{N: new(big.Int).SetBytes(out.Key.N), E: int(e.Int64())}, nil
}

func (k *azureKey) sign(context.Context, []byte) ([]byte, error) { return nil, errAzureSigning }

func (k *azureKey) decrypt(ctx context.Context, ciphertext []byte) ([]byte, error) {
	out, err := k.client.Decrypt(ctx, k.name, k.version, azkeys.KeyOperationParameters{
		Algorithm: to.Ptr(azkeys.EncryptionAlgorithmRSAOAEP256), Value: ciphertext,
	}, nil)
	if err != nil {
		return nil, azureError(err)
	}
	return out.Result, nil
}
