package ledger

import (
	"context"
	"iter"
	"sync"

	"github.com/claudeaudit/claudeaudit/internal/bucket"
)

// ordered applies f to the values of in with several goroutines and yields the
// results in the order of in. At most 2×workers results wait.
func ordered[In, Out any](ctx context.Context, workers int, in iter.Seq[In], f func(In) Out) iter.Seq[Out] {
	return func(yield func(Out) bool) {
		ctx, cancel := context.WithCancel(ctx)
		var wg sync.WaitGroup
		defer wg.Wait()
		defer cancel()
		type job struct {
			in  In
			out chan Out
		}
		jobs := make(chan job)
		queue := make(chan chan Out, 2*workers)
		wg.Go(func() {
			defer close(queue)
			defer close(jobs)
			for v := range in {
				j := job{v, make(chan Out, 1)}
				select {
				case queue <- j.out:
				case <-ctx.Done():
					return
				}
				select {
				case jobs <- j:
				case <-ctx.Done():
					close(j.out)
					return
				}
			}
		})
		for range workers {
			wg.Go(func() {
				for j := range jobs {
					j.out <- f(j.in)
				}
			})
		}
		for out := range queue {
			v, ok := <-out
			if !ok || !yield(v) {
				return
			}
		}
	}
}

// objects yields the objects under a prefix in order. *failed is the listing's error.
func objects(ctx context.Context, store bucket.Store, prefix, after string, failed *error) iter.Seq[bucket.ObjectInfo] {
	return func(yield func(bucket.ObjectInfo) bool) {
		err := store.List(ctx, prefix, after, func(o bucket.ObjectInfo) error {
			if !yield(o) {
				return errStop
			}
			return nil
		})
		if err != nil && err != errStop {
			*failed = err
		}
	}
}
