package auditledgerexporter

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"go.uber.org/zap"

	"github.com/claudeaudit/claudeaudit/internal/seal"
)

type keys struct {
	checkpoint *seal.CheckpointKey
	content    *seal.Recipient
}

// loadKeys reads the keys, and makes those that are to be made and aren't there.
func loadKeys(cfg *Config, logger *zap.Logger) (keys, error) {
	var k keys
	if cfg.Keys.Generate {
		if err := generateKeys(cfg, logger); err != nil {
			return k, err
		}
	}
	var err error
	if k.checkpoint, err = seal.LoadCheckpointKey(cfg.checkpointKeyPath()); err != nil {
		return k, keyError("keys::checkpoint", err)
	}
	if k.content, err = seal.LoadRecipient(cfg.contentKeyPath()); err != nil {
		return k, keyError("keys::content", err)
	}
	return k, nil
}

func keyError(key string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: must be a key that `claudeaudit keygen` made: %w", key, err)
	}
	return fmt.Errorf("%s: %w", key, err)
}

func generateKeys(cfg *Config, logger *zap.Logger) error {
	missing := func(path string) (bool, error) {
		_, err := os.Stat(path)
		if errors.Is(err, fs.ErrNotExist) {
			return true, nil
		}
		return false, err
	}
	dir := cfg.keysDir()
	if cfg.Keys.Checkpoint == "" {
		path := cfg.checkpointKeyPath()
		gone, err := missing(path)
		if err != nil {
			return fmt.Errorf("keys::directory: %w", err)
		}
		if gone {
			if err := os.MkdirAll(dir, 0o700); err != nil {
				return fmt.Errorf("keys::directory: make the folder: %w", err)
			}
			k, err := seal.GenerateCheckpointKey("claudeaudit")
			if err != nil {
				return err
			}
			if err := seal.WriteCheckpointKey(k, path, filepath.Join(dir, "checkpoint.pub")); err != nil {
				return fmt.Errorf("keys::directory: write the checkpoint key: %w", err)
			}
			logger.Info("checkpoint key made", zap.String("path", path), zap.String("public", k.VerifierKey))
		}
	}
	if cfg.Keys.Content == "" {
		path := cfg.contentKeyPath()
		gone, err := missing(path)
		if err != nil {
			return fmt.Errorf("keys::directory: %w", err)
		}
		if gone {
			if err := os.MkdirAll(dir, 0o700); err != nil {
				return fmt.Errorf("keys::directory: make the folder: %w", err)
			}
			id, err := seal.GenerateIdentity()
			if err != nil {
				return err
			}
			identity := filepath.Join(dir, "content.identity")
			if err := seal.WriteContentKeys(id, identity, path); err != nil {
				return fmt.Errorf("keys::directory: write the content keys: %w", err)
			}
			logger.Info("content key made; whoever has the identity can read all content",
				zap.String("public", path), zap.String("identity", identity), zap.String("key_id", id.KeyID()))
		}
	}
	return nil
}
