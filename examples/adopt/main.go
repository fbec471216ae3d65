// Adopt brings the tenant column to a table of a million invoices while an app that
// knows no tenants goes on reading and writing, protects it, and says for how long
// any statement of the app had to wait. Exit status 0 means that all held.
//
//	go run ./examples/adopt -rows 1000000
//
// It uses the PostgreSQL server of DATABASE_URL, or else starts a private one.
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
	"time"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"

	"github.com/courtroll/courtroll/examples/internal/demo"
	"github.com/courtroll/courtroll/migrate"
)

// Customer is a tenant's: its region is what the old version had of that.
type Customer struct {
	ID       int64
	TenantID string `gorm:"not null"`
	Region   string
}

// Invoice is its customer's tenant's.
type Invoice struct {
	ID         int64
	TenantID   string `gorm:"not null"`
	CustomerID int64
	Customer   *Customer
	Number     string `gorm:"uniqueIndex"`
}

func main() {
	rows := flag.Int("rows", 1_000_000, "invoices in the table")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Getenv("DATABASE_URL"), os.Stdout, *rows)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "adopt:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, url string, out io.Writer, rows int) (err error) {
	database, err := demo.Open(ctx, demo.Config{Name: "adopt", URL: url, System: true, Out: out})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, database.Close(ctx)) }()
	owner, err := gorm.Open(postgres.Open(database.OwnerDSN), demo.Silent())
	if err != nil {
		return err
	}
	defer demo.ClosePool(owner)
	app, err := gorm.Open(postgres.Open(database.SystemDSN), demo.Silent())
	if err != nil {
		return err
	}
	defer demo.ClosePool(app)
	if err := makeOldTables(ctx, owner, database.SystemRole, rows); err != nil {
		return err
	}
	// The old version has a login of its own, which is trusted for as long as it runs.
	m := migrate.New(owner, migrate.Config{AppRole: database.AppRole, TrustedRoles: []string{database.SystemRole},
		TableLockTimeout: 100 * time.Millisecond, Progress: newProgress(out)})
	return cutOver(ctx, m, owner, startLoad(ctx, app), out)
}

// cutOver adopts and protects under load, and looks at what came of it.
func cutOver(ctx context.Context, m *migrate.Migrator, owner *gorm.DB, l *load, out io.Writer) error {
	began := time.Now()
	for _, step := range []func() error{
		func() error { return adopt(ctx, m, &Customer{}, migrate.Adoption{SQL: "lower(region)"}) },
		func() error { return adopt(ctx, m, &Invoice{}, migrate.Adoption{Parent: "Customer"}) },
	} {
		if err := step(); err != nil {
			return errors.Join(err, l.end())
		}
	}
	took := time.Since(began)
	err := l.end()
	var wrong, total int64
	err = errors.Join(err, owner.WithContext(ctx).Raw(`SELECT count(*) FILTER (WHERE i.tenant_id <> lower(c.region)), count(*)
		FROM invoices i JOIN customers c ON c.id = i.customer_id`).Row().Scan(&wrong, &total))
	checks := demo.Checks{Out: out}
	checks.That(wrong == 0, "adopted %d invoices in %s: %d are another tenant's", total, took.Round(time.Second), wrong)
	checks.That(l.longest() < 2*time.Second, "%d statements of the app, none failed: the longest took %s", l.count(), l.longest().Round(time.Millisecond))
	_, upErr := m.Up(ctx)
	began = time.Now()
	done, protectErr := m.Protect(ctx, &Customer{}, &Invoice{})
	checks.That(protectErr == nil, "protected in %s, by %d statements", time.Since(began).Round(time.Millisecond), len(done.Changed))
	return errors.Join(err, upErr, protectErr, checks.Err())
}

func adopt(ctx context.Context, m *migrate.Migrator, model any, a migrate.Adoption) error {
	a.Pace = migrate.Pace{Rest: time.Millisecond}
	_, err := m.Adopt(ctx, model, a)
	return err
}
