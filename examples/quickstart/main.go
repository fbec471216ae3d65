// Quickstart replays real Wikipedia edits through GORM with courtroll's two
// plugins: each Wikipedia is a tenant, each edit a write by its user to a page.
// Then it shows the trail, tries to break in, and compares what the database
// holds with the file. Exit status 0 means that every check held.
//
//	go run ./examples/quickstart [-edits FILE] [-keep]
//
// It uses the PostgreSQL server of DATABASE_URL, in a database of its own, or
// else starts a private one, from binaries on this machine or with Docker.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/courtroll/courtroll/audit"
	"github.com/courtroll/courtroll/examples/internal/demo"
	"github.com/courtroll/courtroll/migrate"
	"github.com/courtroll/courtroll/models"
	"github.com/courtroll/courtroll/tenancy"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	signal.Ignore(syscall.SIGPIPE) // a pager that quits is an error of writing, which cleans up
	context.AfterFunc(ctx, stop)   // the first Ctrl-C cleans up, a second one does not wait for that
	if err := run(ctx, os.Args[1:], os.Getenv, os.Stdout); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "quickstart:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, getenv func(string) string, out io.Writer) (err error) {
	edits, keep, err := readInput(args, out)
	if err != nil {
		return err
	}
	database, err := demo.Open(ctx, demo.Config{Name: "quickstart", URL: getenv("DATABASE_URL"), Keep: keep, Out: out})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, database.Close(ctx)) }()
	db, err := open(database)
	defer db.close()
	if err == nil {
		err = prepare(ctx, db.owner, database.AppRole)
	}
	if err != nil {
		return err
	}
	return replay(ctx, db, edits, out)
}

// open connects twice: as the owner of the tables, for migrations, and as the
// role that the app runs as, with both plugins.
func open(database *demo.Database) (*handles, error) {
	owner, ownerErr := gorm.Open(postgres.Open(database.OwnerDSN), config())
	app, appErr := gorm.Open(postgres.Open(database.AppDSN), config())
	db := &handles{owner, app}
	if err := errors.Join(ownerErr, appErr); err != nil {
		return db, err
	}
	return db, errors.Join(app.Use(tenancy.New(tenancy.Config{})), app.Use(audit.New(audit.Config{})))
}

// prepare makes courtroll's tables and the app's own, and lets the app's role
// use them; of the audit trail it may neither change nor delete a row.
func prepare(ctx context.Context, owner *gorm.DB, appRole string) error {
	if _, err := migrate.New(owner, migrate.Config{}).Up(ctx); err != nil {
		return err
	}
	return errors.Join(owner.WithContext(ctx).AutoMigrate(&Page{}, &Revision{}), grant(ctx, owner, appRole))
}

// addTenants makes a tenant of each Wikipedia. That is work across tenants, so
// it says why, and the trail keeps the reason.
func addTenants(ctx context.Context, app *gorm.DB, ids []string) error {
	ctx = audit.WithActor(tenancy.AsSystem(ctx, "a tenant for each Wikipedia of the file"), setUp)
	tenants := make([]models.NewTenant, len(ids))
	for i, id := range ids {
		tenants[i] = models.NewTenant{ID: id, Name: id, Slug: slug(id)}
	}
	return app.WithContext(ctx).Create(&tenants).Error
}

// apply makes one edit as its user, in its tenant: the page and the revision
// change together, or neither does, and so does the trail of both.
func apply(ctx context.Context, app *gorm.DB, e edit) error {
	ctx = audit.WithActor(tenancy.WithTenant(ctx, e.tenant()), e.actor())
	return app.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		page := Page{Title: e.Page, Namespace: e.Namespace, Length: e.Delta, Revisions: 1, EditedAt: e.Time}
		if err := updateOrCreate(tx, &page, e); err != nil {
			return err
		}
		return tx.Create(&Revision{PageID: page.ID, Comment: e.Comment, Delta: e.Delta,
			Minor: e.IsMinor, Robot: e.IsRobot, EditedAt: e.Time}).Error
	})
}

// updateOrCreate names no tenant: the plugin confines the update to the tenant
// of the context, and stamps it on the new page. The database does the adding,
// so no edit is lost, whoever else edits the page at the same time.
func updateOrCreate(tx *gorm.DB, page *Page, e edit) error {
	update := tx.Model(page).Clauses(clause.Returning{}).Where("title = ?", e.Page).Updates(map[string]any{
		"length": gorm.Expr("length + ?", e.Delta), "revisions": gorm.Expr("revisions + 1"), "edited_at": e.Time})
	if update.Error != nil || update.RowsAffected > 0 {
		return update.Error
	}
	return tx.Create(page).Error
}
