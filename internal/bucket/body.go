package bucket

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
)

// sameObject compares a stored object; ErrExists if it differs, ErrUnread if it can't be read.
func sameObject(ctx context.Context, s Store, key string, body []byte) error {
	info, err := s.Stat(ctx, key)
	if errors.Is(err, ErrDenied) {
		return ErrUnread
	}
	if err != nil {
		return fmt.Errorf("compare with the stored object: %w", err)
	}
	if info.Size != int64(len(body)) {
		return ErrExists
	}
	got, err := s.Get(ctx, key, info.Size)
	if errors.Is(err, ErrDenied) {
		return ErrUnread
	}
	if err != nil {
		return fmt.Errorf("compare with the stored object: %w", err)
	}
	if !bytes.Equal(got, body) {
		return ErrExists
	}
	return nil
}

// readBody reads and closes an object's body of at most limit bytes.
func readBody(r io.ReadCloser, key string, size, limit int64) ([]byte, error) {
	defer r.Close()
	if size > limit {
		return nil, fmt.Errorf("object has %d bytes, more than %d", size, limit)
	}
	b := bytes.NewBuffer(make([]byte, 0, max(size, 0)+bytes.MinRead))
	if _, err := b.ReadFrom(io.LimitReader(r, limit+1)); err != nil {
		return nil, fmt.Errorf("get %s: %w", key, err)
	}
	if int64(b.Len()) > limit {
		return nil, fmt.Errorf("object has more than %d bytes", limit)
	}
	return b.Bytes(), nil
}

// rangeBody reads and closes a body that has to have n bytes.
func rangeBody(r io.ReadCloser, key string, n int64) ([]byte, error) {
	defer r.Close()
	b := new(bytes.Buffer)
	if _, err := b.ReadFrom(io.LimitReader(r, n)); err != nil {
		return nil, fmt.Errorf("get %s: %w", key, err)
	}
	if int64(b.Len()) != n {
		return nil, fmt.Errorf("read object: %w", io.ErrUnexpectedEOF)
	}
	return b.Bytes(), nil
}

// emptyRange is what a range holds that HTTP can't ask for: nothing, within the object.
func emptyRange(ctx context.Context, s Store, key string, off, n int64) ([]byte, error) {
	if off >= 0 && n == 0 {
		info, err := s.Stat(ctx, key)
		if err != nil {
			return nil, err
		}
		if off <= info.Size {
			return []byte{}, nil
		}
	}
	return nil, fmt.Errorf("read object: %w", io.ErrUnexpectedEOF)
}
