package index

import "context"

// maxBuffered bounds the lines that a Batcher holds.
const maxBuffered = 8 << 20

// Batcher gives entries to a store in batches.
type Batcher struct {
	Store Store

	batch    Batch
	buffered int
}

// Add takes the next entry of a stream, and keeps its line.
func (b *Batcher) Add(ctx context.Context, stream string, l Line) error {
	n := len(b.batch.Lines)
	if n > 0 && (b.batch.Stream != stream || n >= DefaultBatchEntries || b.buffered >= maxBuffered) {
		if err := b.Flush(ctx); err != nil {
			return err
		}
	}
	b.batch.Stream = stream
	b.batch.Lines = append(b.batch.Lines, l)
	b.buffered += len(l.Data)
	return nil
}

// Flush gives the store what it does not have yet.
func (b *Batcher) Flush(ctx context.Context) error {
	if len(b.batch.Lines) == 0 {
		return nil
	}
	_, err := b.Store.Apply(ctx, b.batch)
	b.batch.Lines, b.buffered = b.batch.Lines[:0], 0
	return err
}
