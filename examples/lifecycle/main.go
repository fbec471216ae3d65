// Lifecycle takes a tenant from its first day to its last: it is registered, works, is
// suspended, exported and deleted, and its trail stays. Exit status 0 means that all held.
//
//	go run ./examples/lifecycle
//
// It uses the PostgreSQL server of DATABASE_URL, or else starts a private one.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/courtroll/courtroll/audit"
	"github.com/courtroll/courtroll/examples/internal/demo"
	"github.com/courtroll/courtroll/lifecycle"
	"github.com/courtroll/courtroll/models"
	"github.com/courtroll/courtroll/tenancy"
)

func main() { demo.Main("lifecycle", audit.Config{}, run, &Project{}, &Task{}) }

// Project belongs to a tenant.
type Project struct {
	ID             int64
	TenantID, Name string `gorm:"not null"`
	Tasks          []Task
}

// Task is part of a project, and perhaps of another task.
type Task struct {
	ID             int64
	TenantID, Name string `gorm:"not null"`
	ProjectID      int64
	ParentID       *int64
	Parent         *Task
}

const tasks = 300

func run(ctx context.Context, app *demo.App) error {
	ctx = audit.WithActor(ctx, audit.Actor{ID: "ops"})
	system := tenancy.AsSystem(ctx, "customers come and go")
	checks := demo.Checks{Out: app.Out}
	for _, name := range []string{"acme", "hal"} {
		if err := onboard(ctx, system, app, name); err != nil {
			return err
		}
	}
	if err := errors.Join(suspend(ctx, system, app, &checks), export(system, app, &checks), remove(system, app, &checks)); err != nil {
		return err
	}
	if err := trail(ctx, app, &checks); err != nil {
		return err
	}
	return errors.Join(checks.Err(), app.ShowEvents(ctx, lifecycle.ActionDelete))
}

// onboard registers a tenant and gives it some work to do.
func onboard(ctx, system context.Context, app *demo.App, name string) error {
	tenant, err := lifecycle.Create(system, app.DB, models.NewTenant{ID: name, Name: name, Slug: name})
	if err != nil {
		return err
	}
	project := Project{Name: "roof", Tasks: make([]Task, tasks)}
	return app.WithContext(tenancy.WithTenant(ctx, tenant.ID)).Create(&project).Error
}

func suspend(ctx, system context.Context, app *demo.App, checks *demo.Checks) error {
	_, err := lifecycle.Delete(system, app.DB, "acme", lifecycle.Deletion{Reason: "too early"})
	checks.That(errors.Is(err, lifecycle.ErrNotSuspended), "an active tenant is not deleted: %v", err)
	if err := lifecycle.Suspend(system, app.DB, "acme"); err != nil {
		return err
	}
	err = app.WithContext(tenancy.WithTenant(ctx, "acme")).Find(&[]Project{}).Error
	checks.That(errors.Is(err, tenancy.ErrSuspended), "a suspended one is refused: %v", err)
	return nil
}

func export(system context.Context, app *demo.App, checks *demo.Checks) error {
	var file bytes.Buffer // a real app's is a file
	counts, err := lifecycle.Export(system, app.DB, "acme", &file, lifecycle.Options{})
	var rows int64
	for _, c := range counts {
		rows += c.Rows
	}
	first, _, _ := bytes.Cut(file.Bytes(), []byte("\n"))
	fmt.Fprintf(app.Out, "      %s\n", first)
	checks.That(rows == int64(bytes.Count(file.Bytes(), []byte("\n"))), "exported %v, a line each", counts)
	return err
}

func remove(system context.Context, app *demo.App, checks *demo.Checks) error {
	dry, err := lifecycle.Delete(system, app.DB, "acme", lifecycle.Deletion{DryRun: true})
	if err != nil {
		return err
	}
	done, err := lifecycle.Delete(system, app.DB, "acme", lifecycle.Deletion{Reason: "contract 4711 ended"})
	checks.That(err == nil && fmt.Sprint(dry) == fmt.Sprint(done), "deleted what the dry run said: %v", done)
	var left, others int64
	err = errors.Join(err, app.WithContext(system).Model(&Task{}).Where("tenant_id = ?", "acme").Count(&left).Error,
		app.WithContext(system).Model(&Task{}).Where("tenant_id = ?", "hal").Count(&others).Error)
	checks.That(left == 0 && others == tasks, "%d tasks are left of it, and %d of the other tenant", left, others)
	return err
}

// trail counts what the trail says of the tenant's tasks.
func trail(ctx context.Context, app *demo.App, checks *demo.Checks) (err error) {
	count := map[string]int64{}
	for _, action := range []string{"create", "delete"} {
		var n int64
		err = errors.Join(err, app.WithContext(tenancy.AsSystem(ctx, "to read the trail")).Model(&models.AuditLog{}).
			Where("tenant_id = ? AND resource_type = ? AND action = ?", "acme", "tasks", action).Count(&n).Error)
		count[action] = n
	}
	checks.That(count["create"] == tasks && count["delete"] == tasks, "the trail stays: of its tasks %v", count)
	return err
}
