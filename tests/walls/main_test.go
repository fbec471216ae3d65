// Package walls tests the second and the third wall, row-level security and
// composite keys, together with the plugin and without it.
package walls

import (
	"context"
	"net/netip"
	"testing"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"

	"github.com/courtroll/courtroll/audit"
	"github.com/courtroll/courtroll/internal/pgtest"
	"github.com/courtroll/courtroll/migrate"
	"github.com/courtroll/courtroll/tenancy"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// Book belongs to a tenant, and refers to a shelf of the same one.
type Book struct {
	ID       int64
	TenantID string
	Title    string
	Copies   int
	ShelfID  *int64
	Shelf    *Shelf
}

// Shelf belongs to a tenant.
type Shelf struct {
	ID       int64
	TenantID string
	Name     string `gorm:"uniqueIndex"`
	Books    []Book
}

// Genre is shared.
type Genre struct {
	Code string `gorm:"primaryKey"`
}

var rules = tenancy.Rules{Models: []any{&Book{}, &Shelf{}}, Shared: []any{&Genre{}}}

var protected = pgtest.Template{Name: "protected", BuildFor: func(owner *gorm.DB, roles pgtest.Roles) error {
	ctx := context.Background()
	m := migrate.New(owner, migrate.Config{Rules: rules, AppRole: roles.AppRole, SystemRole: roles.SystemRole})
	if _, err := m.Up(ctx); err != nil {
		return err
	}
	if err := owner.AutoMigrate(&Shelf{}, &Book{}, &Genre{}); err != nil {
		return err
	}
	_, err := m.Protect(ctx)
	return err
}}

// bundle is a protected database with the app's handle on it.
type bundle struct {
	*pgtest.DB
	app       *gorm.DB
	super     *gorm.DB
	acme, hal context.Context
	system    context.Context
}

// form is a way in which an app can be put together.
type form struct {
	name      string
	dialector func(dsn string) gorm.Dialector
	audited   bool
}

var (
	ours        = form{name: "tenancy.Postgres", dialector: tenancy.Postgres}
	plain       = form{name: "postgres.Open", dialector: postgres.Open}
	oursAudited = form{"tenancy.Postgres, audited", tenancy.Postgres, true}
	forms       = []form{ours, plain, oursAudited, {"postgres.Open, audited", postgres.Open, true}}
)

func (f form) setup(t testing.TB) *bundle { return f.setupOn(t, nil) }

// eachForm runs a test with each way of putting an app together.
func eachForm(t *testing.T, forms []form, test func(t *testing.T, f form)) {
	t.Helper()
	for _, f := range forms {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			test(t, f)
		})
	}
}

// setupOn sets up with the app's DSN changed, as a proxy does.
func (f form) setupOn(t testing.TB, through func(dsn string) string) *bundle {
	t.Helper()
	db := pgtest.New(t, protected)
	dsn := db.AppDSN
	if through != nil {
		dsn = through(dsn)
	}
	b := newBundle(t, db)
	b.app = db.Open(f.dialector(dsn), &gorm.Config{TranslateError: true, DisableAutomaticPing: true})
	f.install(t, b.app, db)
	return b
}

func (f form) install(t testing.TB, app *gorm.DB, db *pgtest.DB) {
	t.Helper()
	config := tenancy.Config{Rules: rules, RowLevelSecurity: true, System: db.Open(f.dialector(db.SystemDSN), nil), RequireConfinedRole: true}
	must(t, app.Use(tenancy.New(config)))
	if f.audited {
		must(t, app.Use(audit.New(audit.Config{Rules: rules})))
	}
	must(t, tenancy.Verify(t.Context(), app))
}

func newBundle(t testing.TB, db *pgtest.DB) *bundle {
	ctx := actor(t.Context())
	return &bundle{
		DB: db, super: db.Open(postgres.Open(db.SuperDSN), nil),
		acme: tenancy.WithTenant(ctx, "acme"), hal: tenancy.WithTenant(ctx, "hal"), system: tenancy.AsSystem(ctx, "test"),
	}
}

func actor(ctx context.Context) context.Context {
	return audit.WithActor(ctx, audit.Actor{ID: "u_1", IP: netip.MustParseAddr("192.0.2.7"), RequestID: "r_1"})
}

// seed gives each tenant two books and a shelf.
func (b *bundle) seed(t testing.TB) {
	t.Helper()
	for _, tenant := range []string{"acme", "hal"} {
		shelf := Shelf{TenantID: tenant, Name: "top"}
		must(t, b.super.Create(&shelf).Error)
		must(t, b.super.Create(&[]Book{{TenantID: tenant, Title: "a", ShelfID: &shelf.ID}, {TenantID: tenant, Title: "b"}}).Error)
	}
}

// rows returns a tenant's rows as text, read by a superuser.
func (b *bundle) rows(t testing.TB, tenant string) (all []string) {
	t.Helper()
	must(t, b.super.Raw(`SELECT t FROM (SELECT books::text AS t FROM books WHERE tenant_id = ?
		UNION ALL SELECT shelves::text FROM shelves WHERE tenant_id = ?) x ORDER BY 1`, tenant, tenant).Scan(&all).Error)
	return all
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
