// Package foreignenv makes the environments of other programs that the product is measured
// against and tested with, which exist only there, in the versions that are pinned here: packages of
// Python in requirements/, modules of Node.js in modules/. Nothing of the product runs in them.
package foreignenv

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

//go:embed modules
var modules embed.FS

// PythonSet is what an environment of Python has: a file of requirements.
type PythonSet string

const (
	// Detection has Presidio's analyzer and detect-secrets; 400 MB.
	Detection PythonSet = "detection"
	// PythonSDKs has the clients of Anthropic and AWS; 100 MB.
	PythonSDKs PythonSet = "sdks"
	// LiteLLM has LiteLLM's proxy; 750 MB.
	LiteLLM PythonSet = "litellm"
)

// NodeSet is what an environment of Node.js has: a folder of modules/.
type NodeSet string

const (
	// NodeSDKs has the clients of Anthropic and AWS; 110 MB.
	NodeSDKs NodeSet = "sdks"
	// ClaudeCode has Claude Code; 240 MB.
	ClaudeCode NodeSet = "claude-code"
)

// CacheVar is the environment variable that names the folder for the environments; the user's
// cache folder if it is not set.
const CacheVar = "CLAUDEAUDIT_CACHE"

// Python returns the path of an interpreter with what the set names. It installs
// that when it is not there, which takes a minute and the package index that
// pip is set up for. The error says what is missing.
func Python(ctx context.Context, set PythonSet) (string, error) {
	base, err := exec.LookPath("python3")
	if err != nil {
		return "", errors.New("there is no python3")
	}
	version, err := exec.CommandContext(ctx, base, "--version").Output()
	if err != nil {
		return "", fmt.Errorf("ask %s for its version: %w", base, err)
	}
	required, err := requirements.ReadFile("requirements/" + string(set) + ".txt")
	if err != nil {
		return "", fmt.Errorf("read the Python requirements: %w", err)
	}
	dir, err := place("python-"+string(set), append(version, required...), func(dir string) error {
		if err := run(ctx, base, "-m", "venv", dir); err != nil {
			return err
		}
		list := filepath.Join(dir, "requirements.txt")
		if err := os.WriteFile(list, required, 0o644); err != nil {
			return err
		}
		return run(ctx, filepath.Join(dir, "bin", "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
			"--only-binary", ":all:", "-r", list)
	})
	return filepath.Join(dir, "bin", "python"), err
}

// Node returns a folder whose node_modules has what the set names. It installs that when it is not
// there, which takes half a minute and the registry that npm is set up for. The error says what is missing.
func Node(ctx context.Context, set NodeSet) (string, error) {
	for _, name := range []string{"node", "npm"} {
		if _, err := exec.LookPath(name); err != nil {
			return "", fmt.Errorf("there is no %s", name)
		}
	}
	files, err := fs.Sub(modules, "modules/"+string(set))
	if err != nil {
		return "", fmt.Errorf("read the list of modules: %w", err)
	}
	locked, err := fs.ReadFile(files, "package-lock.json")
	if err != nil {
		return "", fmt.Errorf("read the list of modules: %w", err)
	}
	return place("node-"+string(set), locked, func(dir string) error {
		if err := os.CopyFS(dir, files); err != nil {
			return err
		}
		return run(ctx, "npm", "ci", "--prefix", dir, "--ignore-scripts", "--no-audit", "--no-fund")
	})
}

// place returns the folder of an environment, and makes it when it is not there.
func place(name string, of []byte, install func(dir string) error) (string, error) {
	cache := os.Getenv(CacheVar)
	if cache == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			return "", fmt.Errorf("find the cache folder: %w", err)
		}
		cache = filepath.Join(user, "claudeaudit")
	}
	sum := sha256.Sum256(of)
	dir := filepath.Join(cache, name+"-"+hex.EncodeToString(sum[:6]))
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", fmt.Errorf("make the cache folder: %w", err)
	}
	// made beside and renamed, so that what is there is whole, whoever else makes it meanwhile
	made, err := os.MkdirTemp(cache, "making-")
	if err != nil {
		return "", fmt.Errorf("make the environment %s: %w", name, err)
	}
	defer os.RemoveAll(made)
	if err := install(made); err != nil {
		return "", fmt.Errorf("make the environment %s: %w", name, err)
	}
	if err := os.Rename(made, dir); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", fmt.Errorf("put the environment %s in place: %w", name, err)
	}
	return dir, nil
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
