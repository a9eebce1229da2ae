package detect

import (
	"context"
	"fmt"
	"os"
	"sync/atomic"
	"time"
)

// Watcher holds the engine of a configuration and builds a new one when a rule
// file, a dictionary or a list of hashes changes. A set of files that can't be
// loaded leaves the engine as it is.
type Watcher struct {
	cfg      Config
	interval time.Duration
	loaded   func(*Engine, error)
	engine   atomic.Pointer[Engine]
	seen     string
}

// minInterval bounds how often files are looked at.
const minInterval = 100 * time.Millisecond

// NewWatcher builds the first engine; its errors are those of New. loaded is
// called after each later load, with the new engine or what was wrong; nil is
// nobody.
func NewWatcher(cfg Config, interval time.Duration, loaded func(*Engine, error)) (*Watcher, error) {
	if loaded == nil {
		loaded = func(*Engine, error) {}
	}
	if cfg.Baselines == nil {
		cfg.Baselines = NewBaselines(0)
	}
	w := &Watcher{cfg: cfg, interval: max(interval, minInterval), loaded: loaded}
	e, err := New(cfg)
	if err != nil {
		return nil, err
	}
	w.engine.Store(e)
	w.seen = state(e.files)
	return w, nil
}

// Engine is the current engine.
func (w *Watcher) Engine() *Engine { return w.engine.Load() }

// Run looks at the files until the context ends.
func (w *Watcher) Run(ctx context.Context) {
	tick := time.NewTicker(w.interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			w.look()
		}
	}
}

func (w *Watcher) look() {
	now := state(w.Engine().files)
	if now == w.seen {
		return
	}
	// what is being written now is loaded again when it is seen to have changed
	w.seen = now
	e, err := New(w.cfg)
	if err != nil {
		w.loaded(nil, fmt.Errorf("load the changed rules: %w", err))
		return
	}
	w.engine.Store(e)
	w.seen = state(e.files)
	w.loaded(e, nil)
}

// state tells changes of files by size, time and identity of what their names
// lead to.
func state(files []string) string {
	var b []byte
	for _, name := range files {
		info, err := os.Stat(name)
		if err != nil {
			b = append(b, "missing\n"...)
			continue
		}
		b = fmt.Appendf(b, "%d %d %s\n", info.Size(), info.ModTime().UnixNano(), info.Mode())
	}
	return string(b)
}
