package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/courtroll/courtroll/audit"
	"github.com/courtroll/courtroll/lifecycle"
	"github.com/courtroll/courtroll/migrate"
	"github.com/courtroll/courtroll/models"
	"github.com/courtroll/courtroll/tenancy"
)

// App is an app's handle, with both plugins and behind all walls. What its log-in
// may do is what an app's may in production: it owns nothing.
type App struct {
	*gorm.DB

	Out      io.Writer
	Sessions Sessions

	database *Database
	system   *gorm.DB
}

// Run gives an example its app: on the server of cfg, with tables for the models,
// which examples/walls' walls are put up around. What was made is dropped at the end.
func Run(ctx context.Context, cfg Config, trail audit.Config, example func(context.Context, *App) error, tables ...any) (err error) {
	cfg.System = true
	database, err := Open(ctx, cfg)
	if err != nil {
		return err
	}
	a := &App{Out: cfg.Out, database: database}
	defer func() {
		ClosePool(a.DB)
		ClosePool(a.system)
		err = errors.Join(err, database.Close(ctx))
	}()
	trail.Models = tables
	if err := a.prepare(ctx, trail.Rules); err != nil {
		return err
	}
	if err := a.open(ctx, trail); err != nil {
		return err
	}
	return example(ctx, a)
}

// Register makes a tenant of each slug, with the e-mail domain slug.example. One in
// parentheses is inactive.
func (a *App) Register(ctx context.Context, slugs ...string) error {
	var tenants []models.NewTenant
	for _, slug := range slugs {
		name := strings.Trim(slug, "()")
		domain, active := name+".example", name == slug
		tenants = append(tenants, models.NewTenant{ID: name + "-id", Name: name, Slug: name, Domain: &domain, IsActive: &active})
	}
	return a.WithContext(tenancy.AsSystem(ctx, "the register of tenants")).Create(&tenants).Error
}

// AsOwner runs SQL as the owner of the tables, as what an app may not do.
func (a *App) AsOwner(ctx context.Context, sql string) error {
	return a.database.asOwner(ctx, func(owner *gorm.DB) error {
		pool, err := owner.DB()
		if err == nil { // GORM would look for parameters in the text
			_, err = pool.ExecContext(ctx, sql)
		}
		return err
	})
}

// ShowEvents prints the trail's events of an action, of all tenants and of none.
func (a *App) ShowEvents(ctx context.Context, action string) error {
	filter := audit.Filter{Action: action, OldestFirst: true}
	page, err := audit.List(tenancy.AsSystem(ctx, "to show the events"), a.DB, filter, "")
	fmt.Fprintln(a.Out, "\n# In the trail of all tenants:", action)
	for _, entry := range page.Entries {
		metadata, metadataErr := audit.ReadMetadata(entry)
		err = errors.Join(err, metadataErr)
		fmt.Fprintf(a.Out, "      %s  %-18s  tenant %-12s  actor %-16s  from %-13s  %s\n", metadata.Outcome,
			orDash(entry.ResourceID), orDash(entry.TenantID), orDash(entry.ActorID), orDash(entry.IPAddress), metadata.Data)
	}
	return err
}

func orDash(text *string) string {
	if text == nil {
		return "-"
	}
	return *text
}

// prepare makes tables and walls, as the owner.
func (a *App) prepare(ctx context.Context, rules tenancy.Rules) error {
	return a.database.asOwner(ctx, func(owner *gorm.DB) error {
		m := migrate.New(owner, migrate.Config{
			Rules: rules, AppRole: a.database.AppRole, SystemRole: a.database.SystemRole, TrustedRoles: a.database.TrustedRoles,
		})
		_, upErr := m.Up(ctx)
		if err := errors.Join(upErr, owner.AutoMigrate(rules.Models...)); err != nil {
			return err
		}
		_, appendErr := m.AppendOnly(ctx)
		_, protectErr := m.Protect(ctx)
		return errors.Join(appendErr, protectErr)
	})
}

// asOwner gives f the handle of the tables' owner, without plugins.
func (d *Database) asOwner(ctx context.Context, f func(owner *gorm.DB) error) error {
	owner, err := gorm.Open(postgres.Open(d.OwnerDSN), Silent())
	if err != nil {
		return err
	}
	defer ClosePool(owner)
	return f(owner.WithContext(ctx))
}

// open logs in as the app, and for system scope, and checks that nothing is forgotten.
func (a *App) open(ctx context.Context, trail audit.Config) (err error) {
	if a.system, err = gorm.Open(tenancy.Postgres(a.database.SystemDSN), Silent()); err != nil {
		return err
	}
	if a.DB, err = gorm.Open(tenancy.Postgres(a.database.AppDSN), Silent()); err != nil {
		return err
	}
	if err := a.Use(tenancy.New(tenancy.Config{
		Rules: trail.Rules, RowLevelSecurity: true, RequireConfinedRole: true, System: a.system, Suspended: tenancy.RefuseSuspended,
	})); err != nil {
		return err
	}
	if err := a.Use(audit.New(trail)); err != nil {
		return err
	}
	return errors.Join(tenancy.Verify(ctx, a.DB), audit.Verify(ctx, a.DB), lifecycle.Verify(ctx, a.DB))
}

// Silent keeps GORM from logging what is refused: it is shown in its place.
func Silent() *gorm.Config { return &gorm.Config{TranslateError: true, Logger: logger.Discard} }

// ClosePool ends a handle's connections, so that the database can be dropped.
func ClosePool(db *gorm.DB) {
	if db == nil {
		return
	}
	if pool, err := db.DB(); err == nil {
		_ = pool.Close()
	}
}
