package auditledgerexporter

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"go.uber.org/zap"

	"github.com/claudeaudit/claudeaudit/internal/bucket"
	"github.com/claudeaudit/claudeaudit/internal/keystore"
	"github.com/claudeaudit/claudeaudit/internal/kms"
	"github.com/claudeaudit/claudeaudit/internal/seal"
)

type keys struct {
	checkpoint *seal.CheckpointKey
	content    seal.Wrapper
}

// loadKeys reads the keys, and makes those that are to be made and aren't there.
func loadKeys(ctx context.Context, cfg *Config, logger *zap.Logger) (keys, error) {
	var k keys
	if cfg.Keys.Generate {
		if err := generateKeys(cfg, logger); err != nil {
			return k, err
		}
	}
	var err error
	if k.checkpoint, err = openCheckpointKey(cfg); err != nil {
		return k, keyError("keys::checkpoint", err)
	}
	switch err := k.checkpoint.Check(ctx); {
	case errors.Is(err, kms.ErrUnavailable):
		logger.Error("the checkpoint key can't be used yet; entries stay on this disk, and it is tried again", zap.Error(err))
	case err != nil:
		return k, fmt.Errorf("keys::checkpoint: %w", err)
	}
	if k.content, err = seal.LoadWrapper(cfg.contentKeyPath()); err != nil {
		return k, keyError("keys::content", err)
	}
	if _, ok := k.content.(*seal.Recipient); !ok && cfg.Keys.Subjects.URL == "" {
		return k, errors.New("keys::subjects: must be given with a content key that is in a key management service: it unwraps subjects' keys, content itself is not encrypted to it")
	}
	return k, nil
}

// openCheckpointKey takes a key in a service with the public half that keygen noted.
func openCheckpointKey(cfg *Config) (*seal.CheckpointKey, error) {
	if kms.IsReference(cfg.Keys.Checkpoint) {
		return seal.OpenCheckpointKey(cfg.Keys.Checkpoint, filepath.Join(cfg.keysDir(), "checkpoint.pub"))
	}
	return seal.LoadCheckpointKey(cfg.checkpointKeyPath())
}

// openKeys opens the store of subjects' keys, if there is to be one.
func (e *ledgerExporter) openKeys(ctx context.Context, k keys) error {
	c := e.cfg.Keys
	if c.Subjects.URL == "" {
		return nil
	}
	to := []seal.Wrapper{k.content}
	if c.Recovery != "" {
		r, err := seal.LoadWrapper(c.Recovery)
		if err != nil {
			return keyError("keys::recovery", err)
		}
		to = append(to, r)
	}
	s, err := bucket.Open(ctx, c.Subjects)
	if err != nil {
		return fmt.Errorf("keys::subjects: %w", err)
	}
	e.closer = append(e.closer, s)
	e.keys = keystore.NewWriter(s, to...)
	return nil
}

func keyError(key string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: must be a key that `claudeaudit keygen` made: %w", key, err)
	}
	return fmt.Errorf("%s: %w", key, err)
}

// generateKeys makes the keys that are not there, and the public half of a pair
// of which a first start that was killed left only the secret one.
func generateKeys(cfg *Config, logger *zap.Logger) error {
	dir := cfg.keysDir()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("keys::directory: make the folder: %w", err)
	}
	if cfg.Keys.Checkpoint == "" {
		path := cfg.checkpointKeyPath()
		k, made, err := seal.EnsureCheckpointKey(path, filepath.Join(dir, "checkpoint.pub"), "claudeaudit")
		if err != nil {
			return keyError("keys::checkpoint", err)
		}
		if made {
			logger.Info("checkpoint key made", zap.String("path", path), zap.String("public", k.VerifierKey))
		}
	}
	if cfg.Keys.Content == "" {
		identity, public := filepath.Join(dir, "content.identity"), cfg.contentKeyPath()
		r, made, err := seal.EnsureContentKeys(identity, public)
		if err != nil {
			return keyError("keys::content", err)
		}
		if made {
			logger.Info("content key made; whoever has the identity can read all content",
				zap.String("public", public), zap.String("identity", identity), zap.String("key_id", r.KeyID()))
		}
	}
	return nil
}
