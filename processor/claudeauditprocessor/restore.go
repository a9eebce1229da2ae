package claudeauditprocessor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"go.uber.org/zap"

	"github.com/claudeaudit/claudeaudit/internal/audit"
	"github.com/claudeaudit/claudeaudit/internal/ledger"
)

// entriesPerCall is how many entries a call has at the most, as a rule; so many
// more than calls are read of the ledger's tail.
const entriesPerCall = 3

// restore rebuilds the identity window from the ledger's tail. A ledger that
// isn't there yet is an empty one.
func (p *auditProcessor) restore(ctx context.Context) error {
	dir := p.cfg.IdentityWindow.Ledger
	if dir == "" {
		return nil
	}
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	start := time.Now()
	r, err := ledger.OpenReader(dir)
	if err != nil {
		return fmt.Errorf("identity_window::ledger: open the ledger: %w", err)
	}
	defer r.Close()
	streams, err := r.Streams()
	if err != nil {
		return fmt.Errorf("identity_window::ledger: list the ledger's streams: %w", err)
	}
	entries, unreadable := 0, 0
	for _, s := range streams {
		err := r.Tail(ctx, s, uint64(p.cfg.IdentityWindow.MaxCalls)*entriesPerCall, func(_ uint64, line []byte) error {
			entries++
			rec, err := audit.ParseRecord(line)
			if err != nil {
				unreadable++
				return nil
			}
			p.window.Restore(&rec)
			return nil
		})
		if err != nil {
			return fmt.Errorf("identity_window::ledger: read the ledger's tail: %w", err)
		}
	}
	p.logger.Info("identity window rebuilt from the ledger",
		zap.Int("entries", entries), zap.Int("calls", p.window.Stats().Calls),
		zap.Int("not_records", unreadable), zap.Duration("took", time.Since(start)))
	return nil
}
