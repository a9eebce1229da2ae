// Package pythonenv makes the Python environments of programs that the product is measured
// against and tested with, which exist only there, in the versions of requirements/. Nothing of
// the product runs in them.
package pythonenv

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

//go:embed requirements/*.txt
var requirements embed.FS

// Set is what an environment has: a file of requirements.
type Set string

const (
	// Detection has Presidio's analyzer and detect-secrets; 400 MB.
	Detection Set = "detection"
	// SDKs has the clients of Anthropic and AWS; 100 MB.
	SDKs Set = "sdks"
	// LiteLLM has LiteLLM's proxy; 700 MB.
	LiteLLM Set = "litellm"
)

// CacheVar is the environment variable that names the folder for the environments; the user's
// cache folder if it is not set.
const CacheVar = "CLAUDEAUDIT_CACHE"

// Python returns the path of an interpreter with what the set names. It installs
// that when it is not there, which takes a minute and the package index that
// pip is set up for. The error says what is missing.
func Python(ctx context.Context, set Set) (string, error) {
	required, err := requirements.ReadFile("requirements/" + string(set) + ".txt")
	if err != nil {
		return "", fmt.Errorf("read the Python requirements: %w", err)
	}
	base, err := exec.LookPath("python3")
	if err != nil {
		return "", errors.New("there is no python3")
	}
	cache := os.Getenv(CacheVar)
	if cache == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			return "", fmt.Errorf("find the cache folder: %w", err)
		}
		cache = filepath.Join(user, "claudeaudit")
	}
	version, err := exec.CommandContext(ctx, base, "--version").Output()
	if err != nil {
		return "", fmt.Errorf("ask %s for its version: %w", base, err)
	}
	sum := sha256.Sum256(append(version, required...))
	env := filepath.Join(cache, "python-"+string(set)+"-"+hex.EncodeToString(sum[:6]))
	python := filepath.Join(env, "bin", "python")
	if _, err := os.Stat(python); err == nil {
		return python, nil
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", fmt.Errorf("make the cache folder: %w", err)
	}
	// made beside and renamed, so that what is there is whole, whoever else makes it meanwhile
	made, err := os.MkdirTemp(cache, "making-")
	if err != nil {
		return "", fmt.Errorf("make the Python environment: %w", err)
	}
	defer os.RemoveAll(made)
	if err := run(ctx, base, "-m", "venv", made); err != nil {
		return "", fmt.Errorf("make the Python environment: %w", err)
	}
	list := filepath.Join(made, "requirements.txt")
	if err := os.WriteFile(list, required, 0o644); err != nil {
		return "", fmt.Errorf("make the Python environment: %w", err)
	}
	pip := []string{"-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary", ":all:", "-r", list}
	if err := run(ctx, filepath.Join(made, "bin", "python"), pip...); err != nil {
		return "", fmt.Errorf("install the Python requirements: %w", err)
	}
	if err := os.Rename(made, env); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", fmt.Errorf("put the Python environment in place: %w", err)
	}
	return python, nil
}

// run runs a command; its error is the command's last lines.
func run(ctx context.Context, name string, args ...string) error {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err == nil {
		return nil
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return fmt.Errorf("%w: %s", err, strings.Join(lines[max(0, len(lines)-3):], "; "))
}
