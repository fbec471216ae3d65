package main

import (
	"context"
	"fmt"
	"hash/fnv"
	"io"
	"time"

	"golang.org/x/sync/errgroup"
	"gorm.io/gorm"
)

// workers is how many edits are made at a time. Each has a connection.
const workers = 8

// load makes all edits and returns the time that it took.
func load(ctx context.Context, app *gorm.DB, edits []edit, out io.Writer) (time.Duration, error) {
	pool, err := app.DB()
	if err != nil {
		return 0, err
	}
	pool.SetMaxIdleConns(workers) // of two, the default, most would be made anew for each edit
	step, finish := newProgress(out, len(edits))
	defer finish()
	start := time.Now()
	group, ctx := errgroup.WithContext(ctx)
	for _, queue := range queues(edits) {
		group.Go(func() error { return applyAll(ctx, app, queue, step) })
	}
	err = group.Wait()
	return time.Since(start), err
}

func applyAll(ctx context.Context, app *gorm.DB, edits []edit, step func()) error {
	for _, e := range edits {
		if err := apply(ctx, app, e); err != nil {
			return fmt.Errorf("making edit %d: %w", e.number, err)
		}
		step()
	}
	return nil
}

// queues gives each worker its edits. All edits of a page go to one worker, in
// the order of the file.
func queues(edits []edit) [workers][]edit {
	var all [workers][]edit
	for _, e := range edits {
		h := fnv.New32a()
		_, _ = io.WriteString(h, e.tenant()+"\n"+e.Page)
		i := h.Sum32() % workers
		all[i] = append(all[i], e)
	}
	return all
}
