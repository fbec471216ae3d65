// Walls puts up row-level security and composite keys behind the tenancy plugin
// and then goes around the plugin: by SQL without a predicate, by the *sql.DB,
// by a reference to another tenant's row. Exit status 0 means that every wall held.
//
//	go run ./examples/walls
//
// It uses the PostgreSQL server of DATABASE_URL, in a database of its own, or
// else starts a private one, from binaries on this machine or with Docker.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"

	"github.com/courtroll/courtroll/examples/internal/demo"
	"github.com/courtroll/courtroll/migrate"
	"github.com/courtroll/courtroll/models"
	"github.com/courtroll/courtroll/tenancy"
)

// Project belongs to a tenant.
type Project struct {
	ID             int64
	TenantID, Name string
}

// Task belongs to a tenant, and to a project.
type Task struct {
	ID        int64
	TenantID  string
	ProjectID int64
	Project   *Project
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Getenv("DATABASE_URL"), os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "walls:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, url string, out io.Writer) (err error) {
	database, err := demo.Open(ctx, demo.Config{Name: "walls", URL: url, System: true, Out: out})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, database.Close(ctx)) }()
	rules := tenancy.Rules{Models: []any{&Project{}, &Task{}}}
	if err := prepare(ctx, database, rules); err != nil {
		return err
	}
	app, closeAll, err := open(database, rules)
	defer closeAll()
	if err != nil {
		return err
	}
	if err := tenancy.Verify(ctx, app); err != nil {
		return err
	}
	return attack(ctx, app, out)
}

// prepare makes the tables and the walls, as the owner.
func prepare(ctx context.Context, database *demo.Database, rules tenancy.Rules) error {
	owner, err := gorm.Open(postgres.Open(database.OwnerDSN), demo.Silent())
	if err != nil {
		return err
	}
	defer demo.ClosePool(owner)
	m := migrate.New(owner, migrate.Config{Rules: rules, AppRole: database.AppRole, SystemRole: database.SystemRole, TrustedRoles: database.TrustedRoles})
	if _, err := m.Up(ctx); err != nil {
		return err
	}
	if err := owner.AutoMigrate(rules.Models...); err != nil {
		return err
	}
	_, err = m.Protect(ctx)
	return err
}

// open logs in as the app, and as the role for work across tenants.
func open(database *demo.Database, rules tenancy.Rules) (app *gorm.DB, closeAll func(), err error) {
	app, appErr := gorm.Open(tenancy.Postgres(database.AppDSN), demo.Silent())
	system, systemErr := gorm.Open(tenancy.Postgres(database.SystemDSN), demo.Silent())
	closeAll = func() { demo.ClosePool(app); demo.ClosePool(system) }
	if err := errors.Join(appErr, systemErr); err != nil {
		return nil, closeAll, err
	}
	return app, closeAll, app.Use(tenancy.New(tenancy.Config{
		Rules: rules, RowLevelSecurity: true, RequireConfinedRole: true, System: system,
	}))
}

// attack seeds two tenants and goes from one to the other.
func attack(ctx context.Context, app *gorm.DB, out io.Writer) error {
	acme, hal := tenancy.WithTenant(ctx, "acme"), tenancy.WithTenant(ctx, "hal")
	system := tenancy.AsSystem(ctx, "a register of tenants, and a count")
	roof, ship := Project{Name: "roof"}, Project{Name: "ship"}
	if err := errors.Join(
		app.WithContext(system).Create(&models.NewTenant{ID: "acme", Name: "Acme", Slug: "acme-inc"}).Error,
		app.WithContext(acme).Create(&roof).Error, app.WithContext(hal).Create(&ship).Error,
	); err != nil {
		return err
	}
	pool, err := app.DB()
	if err != nil {
		return err
	}
	var byHand []Project
	rawErr := app.WithContext(acme).Raw("SELECT * FROM projects WHERE true OR name = ?", "x").Find(&byHand).Error
	var asTenant, asNobody, asSystem int64
	poolErr := errors.Join(pool.QueryRowContext(acme, "SELECT count(*) FROM projects").Scan(&asTenant),
		pool.QueryRowContext(ctx, "SELECT count(*) FROM projects").Scan(&asNobody),
		app.WithContext(system).Model(&Project{}).Count(&asSystem).Error)
	linkErr := app.WithContext(acme).Create(&Task{ProjectID: ship.ID}).Error
	switched := app.WithContext(acme).Transaction(func(tx *gorm.DB) error { return tx.WithContext(hal).Find(&byHand).Error })
	id, resolveErr := tenancy.Resolve(ctx, app, tenancy.BySlug("acme-inc"))
	held := true
	for _, c := range []struct {
		what string
		held bool
	}{
		{"SQL by hand without a predicate reads acme's one project", rawErr == nil && len(byHand) == 1 && byHand[0].Name == "roof"},
		{"the *sql.DB counts 1 project for acme, 0 without a tenant", poolErr == nil && asTenant == 1 && asNobody == 0},
		{"the system login counts 2 projects, one of each tenant", asSystem == 2},
		{"a task of acme's for hal's project is refused by the key", linkErr != nil},
		{"a transaction stays with its tenant", errors.Is(switched, tenancy.ErrTransactionTenant)},
		{"before there is a tenant, its slug resolves to its id", resolveErr == nil && id == "acme"},
	} {
		fmt.Fprintf(out, "%-6s %s\n", map[bool]string{true: "held", false: "FELL"}[c.held], c.what)
		held = held && c.held
	}
	if !held {
		return errors.Join(errors.New("a wall fell"), rawErr, poolErr, resolveErr)
	}
	fmt.Fprintln(out, "\nAll walls stood.")
	return nil
}
