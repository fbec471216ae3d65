// Quickstart replays real Wikipedia edits through GORM with courtroll's two
// plugins and behind all its walls: each Wikipedia is a tenant, each edit a write
// by its user to a page. Then it shows the trail, tries to break in, compares what
// the database holds with the file, and has the database examined. Exit status 0
// means that every check held.
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

	"github.com/courtroll/courtroll/audit"
	"github.com/courtroll/courtroll/examples/internal/demo"
	"github.com/courtroll/courtroll/examples/quickstart/wiki"
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
	database, err := demo.Open(ctx, demo.Config{Name: "quickstart", URL: getenv("DATABASE_URL"), System: true, Keep: keep, Out: out})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, database.Close(ctx)) }()
	if err := prepare(ctx, database); err != nil {
		return err
	}
	db, err := open(ctx, database)
	defer db.close()
	if err != nil {
		return err
	}
	return replay(ctx, db, edits, out)
}

// prepare makes, as the owner, courtroll's tables and the app's own, and puts up the
// walls: the app's role sees one tenant at a time, and of the audit trail it may
// neither change nor delete a row.
func prepare(ctx context.Context, database *demo.Database) error {
	owner, err := gorm.Open(postgres.Open(database.OwnerDSN), demo.Silent())
	if err != nil {
		return err
	}
	defer demo.ClosePool(owner)
	m := migrate.New(owner, migrate.Config{AppRole: database.AppRole, SystemRole: database.SystemRole, TrustedRoles: database.TrustedRoles})
	_, upErr := m.Up(ctx)
	if err := errors.Join(upErr, owner.WithContext(ctx).AutoMigrate(wiki.Models()...)); err != nil {
		return err
	}
	_, appendErr := m.AppendOnly(ctx)
	_, protectErr := m.Protect(ctx, wiki.Models()...)
	return errors.Join(appendErr, protectErr)
}

// open logs in as the role that the app runs as, with both plugins, and as the one
// for work across tenants, and checks that nothing is forgotten.
func open(ctx context.Context, database *demo.Database) (*handles, error) {
	app, appErr := gorm.Open(tenancy.Postgres(database.AppDSN), demo.Silent())
	system, systemErr := gorm.Open(tenancy.Postgres(database.SystemDSN), demo.Silent())
	db := &handles{app, system}
	if err := errors.Join(appErr, systemErr); err != nil {
		return db, err
	}
	rules := tenancy.Rules{Models: wiki.Models()}
	if err := errors.Join(
		app.Use(tenancy.New(tenancy.Config{Rules: rules, RowLevelSecurity: true, RequireConfinedRole: true, System: system})),
		app.Use(audit.New(audit.Config{Rules: rules})),
	); err != nil {
		return db, err
	}
	return db, errors.Join(tenancy.Verify(ctx, app), audit.Verify(ctx, app))
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
