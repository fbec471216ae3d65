// Package pace sizes the batches of long operations by the time that they take.
package pace

import (
	"cmp"
	"context"
	"time"
)

// DefaultBatchTime is what [Pace.BatchTime] is unless it says otherwise.
const DefaultBatchTime = 100 * time.Millisecond

// Pace says how fast a long operation goes through a table. Its zero value leaves
// half of the time to others.
type Pace struct {
	// BatchTime is how long one batch should take, which is one transaction: for that
	// long its rows are locked. Batches grow and shrink towards it. Zero means
	// [DefaultBatchTime].
	BatchTime time.Duration
	// Rest is the pause after each batch. Zero means as long as the batch took; a
	// negative value means none.
	Rest time.Duration
}

// Batches is one operation's way through its table. It belongs to one goroutine.
type Batches struct {
	pace    Pace
	size    int64
	largest int64
}

// Batches starts with batches of the given size, which never grow beyond the largest.
func (p Pace) Batches(first, largest int64) *Batches {
	p.BatchTime = cmp.Or(p.BatchTime, DefaultBatchTime)
	return &Batches{pace: p, size: first, largest: largest}
}

// Size is how much the next batch takes, at least 1.
func (b *Batches) Size() int64 { return b.size }

// growth bounds how much larger a batch is than the one before: a few cheap rows
// say little of those that follow.
const growth = 2

// Done says how long a batch took, sizes the next one by it, and rests. The error is
// the context's.
func (b *Batches) Done(ctx context.Context, took time.Duration) error {
	b.Resize(took)
	return b.Rest(ctx, took)
}

// Resize sizes the next batch by how long one took.
func (b *Batches) Resize(took time.Duration) {
	next := float64(b.size) * float64(b.pace.BatchTime) / float64(max(took, time.Microsecond))
	b.size = max(1, min(int64(next), growth*b.size, b.largest))
}

// Rest is the pause after a batch that took so long. The error is the context's.
func (b *Batches) Rest(ctx context.Context, took time.Duration) error {
	pause := cmp.Or(b.pace.Rest, took)
	if pause <= 0 {
		return ctx.Err()
	}
	return Sleep(ctx, pause)
}

// Sleep waits for d, or for the end of the context, whose error it then returns.
func Sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
