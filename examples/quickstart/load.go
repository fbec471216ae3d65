package main

import (
	"context"
	"fmt"
	"hash/fnv"
	"io"
	"time"

	"golang.org/x/sync/errgroup"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/courtroll/courtroll/audit"
	"github.com/courtroll/courtroll/examples/quickstart/wiki"
	"github.com/courtroll/courtroll/tenancy"
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

// apply makes one edit as its user, in its tenant: the page and the revision
// change together, or neither does, and so does the trail of both.
func apply(ctx context.Context, app *gorm.DB, e edit) error {
	ctx = audit.WithActor(tenancy.WithTenant(ctx, e.tenant()), e.actor())
	return app.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		page := wiki.Page{Title: e.Page, Namespace: e.Namespace, Length: e.Delta, Revisions: 1, EditedAt: e.Time}
		if err := updateOrCreate(tx, &page, e); err != nil {
			return err
		}
		return tx.Create(&wiki.Revision{PageID: page.ID, Comment: e.Comment, Delta: e.Delta,
			Minor: e.IsMinor, Robot: e.IsRobot, EditedAt: e.Time}).Error
	})
}

// updateOrCreate names no tenant: the plugin confines the update to the tenant
// of the context, and stamps it on the new page. The database does the adding,
// so no edit is lost, whoever else edits the page at the same time.
func updateOrCreate(tx *gorm.DB, page *wiki.Page, e edit) error {
	update := tx.Model(page).Clauses(clause.Returning{}).Where("title = ?", e.Page).Updates(map[string]any{
		"length": gorm.Expr("length + ?", e.Delta), "revisions": gorm.Expr("revisions + 1"), "edited_at": e.Time})
	if update.Error != nil || update.RowsAffected > 0 {
		return update.Error
	}
	return tx.Create(page).Error
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
