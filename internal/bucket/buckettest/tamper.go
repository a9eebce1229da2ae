package buckettest

import (
	"bytes"
	"context"
	"net/http"
	"testing"
	"time"

	"cloud.google.com/go/storage"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"google.golang.org/api/option"

	"github.com/claudeaudit/claudeaudit/internal/bucket"
)

// Overwrite puts a newer version over an object, with the owner's rights.
func (s *Server) Overwrite(bucketName, key string, body []byte) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if _, err := s.S3Client().PutObject(ctx, &s3.PutObjectInput{Bucket: &bucketName, Key: &key, Body: bytes.NewReader(body)}); err != nil {
		s.t.Fatalf("overwrite %s: %v", key, err)
	}
}

// Hide deletes an object without naming a version, which leaves a delete marker.
func (s *Server) Hide(bucketName, key string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if _, err := s.S3Client().DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &bucketName, Key: &key}); err != nil {
		s.t.Fatalf("hide %s: %v", key, err)
	}
}

// CreateAzureContainer makes the container that a configuration names.
func CreateAzureContainer(t testing.TB, c bucket.Config) {
	t.Helper()
	cred, err := container.NewSharedKeyCredential(azureAccount, azureKey)
	if err != nil {
		t.Fatal(err)
	}
	name := c.URL[len("azure://"+azureAccount+"/"):]
	cc, err := container.NewClientWithSharedKeyCredential(c.Endpoint+"/"+name, cred, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if _, err := cc.Create(ctx, nil); err != nil {
		t.Fatalf("create container: %v", err)
	}
}

// CreateGCSBucket makes a bucket with or without object retention.
func CreateGCSBucket(t testing.TB, endpoint, name string, retention bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	transport := &http.Transport{DisableKeepAlives: true}
	c, err := storage.NewClient(ctx, option.WithEndpoint(endpoint+"/storage/v1/"), option.WithHTTPClient(&http.Client{Transport: transport}))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	b := c.Bucket(name)
	if retention {
		b = b.SetObjectRetention(true)
	}
	if err := b.Create(ctx, "test", nil); err != nil {
		t.Fatalf("create bucket: %v", err)
	}
}
