// Package tests holds what courtroll promises across its packages, tested
// against a real PostgreSQL as an app sees it.
package tests

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"

	"github.com/courtroll/courtroll/audit"
	"github.com/courtroll/courtroll/internal/pgtest"
	"github.com/courtroll/courtroll/migrate"
	"github.com/courtroll/courtroll/tenancy"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// Page is owned by a tenant, soft-deleted and linked to both other models.
type Page struct {
	ID        int64 `gorm:"primaryKey"`
	TenantID  string
	Title     string
	Views     int
	APIToken  string
	AuthorID  *int64
	Author    *Author
	Revisions []Revision
	UpdatedAt time.Time
	DeletedAt gorm.DeletedAt
}

// Author is owned by a tenant, deleted for good and keyed by the app.
type Author struct {
	ID       int64 `gorm:"primaryKey;autoIncrement:false"`
	TenantID string
	Email    string `gorm:"uniqueIndex:idx_authors_email"`
	Name     string
}

// Revision is owned by a tenant and has a composite key.
type Revision struct {
	TenantID string `gorm:"primaryKey"`
	PageID   int64  `gorm:"primaryKey;autoIncrement:false"`
	Number   int    `gorm:"primaryKey;autoIncrement:false"`
	Text     string
}

// Country is shared by all tenants.
type Country struct {
	Code string `gorm:"primaryKey"`
	Name string
}

var schema = pgtest.Template{Name: "schema", Build: func(owner *gorm.DB) error {
	if _, err := migrate.New(owner, migrate.Config{}).Up(context.Background()); err != nil {
		return err
	}
	return owner.AutoMigrate(&Author{}, &Page{}, &Revision{}, &Country{})
}}

var rules = tenancy.Rules{Models: []any{&Page{}, &Author{}, &Revision{}}, Shared: []any{&Country{}}}

// protect makes the walls of the database, as an app does after AutoMigrate.
func protect(owner *gorm.DB, roles pgtest.Roles, rules tenancy.Rules) error {
	m := migrate.New(owner, migrate.Config{Rules: rules, AppRole: roles.AppRole, SystemRole: roles.SystemRole})
	_, upErr := m.Up(context.Background())
	_, err := m.Protect(context.Background())
	return errors.Join(upErr, err)
}

// bundle is one test's database, reached as an app would, with a context for
// each of two tenants.
type bundle struct {
	*pgtest.DB
	app       *gorm.DB
	super     *gorm.DB // sees every row
	acme, hal context.Context
	system    context.Context
}

func setup(t *testing.T) *bundle {
	t.Helper()
	return setupWith(t, audit.Config{Rules: rules})
}

func setupWith(t *testing.T, config audit.Config) *bundle {
	t.Helper()
	db := pgtest.New(t, schema)
	use(t, db.App, tenancy.New(tenancy.Config{Rules: rules}))
	use(t, db.App, audit.New(config))
	return newBundle(t, db, db.App)
}

func newBundle(t *testing.T, db *pgtest.DB, app *gorm.DB) *bundle {
	ctx := audit.WithActor(t.Context(), audit.Actor{ID: "u_1", Name: "Ann", IP: netip.MustParseAddr("192.0.2.7"), RequestID: "r_1"})
	return &bundle{
		DB: db, app: app, super: db.Open(postgres.Open(db.SuperDSN), &gorm.Config{DisableAutomaticPing: true}),
		acme:   tenancy.WithTenant(ctx, "acme"),
		hal:    tenancy.WithTenant(ctx, "hal"),
		system: tenancy.AsSystem(ctx, "test"),
	}
}

func (b *bundle) as(ctx context.Context) *gorm.DB { return b.app.WithContext(ctx) }

func use(t *testing.T, db *gorm.DB, plugin gorm.Plugin) {
	t.Helper()
	must(t, db.Use(plugin))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
