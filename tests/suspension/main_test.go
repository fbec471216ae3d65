// Package suspension tests what becomes of the statements of a suspended tenant, with
// each way of putting an app together.
package suspension

import (
	"context"
	"fmt"
	"testing"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"

	"github.com/courtroll/courtroll/audit"
	"github.com/courtroll/courtroll/internal/pgtest"
	"github.com/courtroll/courtroll/migrate"
	"github.com/courtroll/courtroll/models"
	"github.com/courtroll/courtroll/tenancy"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// Shelf belongs to a tenant.
type Shelf struct {
	ID       int64
	TenantID string
	Name     string
	Books    []Book
}

// Book belongs to a tenant, and stands on a shelf.
type Book struct {
	ID       int64
	TenantID string
	Title    string
	Copies   int
	ShelfID  *int64
}

var rules = tenancy.Rules{Models: []any{&Shelf{}, &Book{}}}

// tables makes the tables, with walls around them or without.
func tables(walled bool) pgtest.Template {
	return pgtest.Template{Name: fmt.Sprint("suspension walled ", walled), BuildFor: func(owner *gorm.DB, roles pgtest.Roles) error {
		ctx := context.Background()
		m := migrate.New(owner, migrate.Config{Rules: rules, AppRole: roles.AppRole, SystemRole: roles.SystemRole})
		if _, err := m.Up(ctx); err != nil {
			return err
		}
		if err := owner.AutoMigrate(&Shelf{}, &Book{}); err != nil {
			return err
		}
		if !walled {
			return owner.Exec("GRANT EXECUTE ON FUNCTION " + models.AdmitFunction + " TO " + roles.AppRole).Error
		}
		_, err := m.Protect(ctx)
		return err
	}}
}

// form is a way in which an app can be put together.
type form struct {
	name      string
	dialector func(dsn string) gorm.Dialector
	walled    bool
	audited   bool
	prepared  bool
}

func (f form) isOurs() bool { return f.name[:7] == "tenancy" }

var forms = []form{
	{name: "tenancy.Postgres", dialector: tenancy.Postgres},
	{name: "tenancy.Postgres, walled, audited", dialector: tenancy.Postgres, walled: true, audited: true},
	{name: "tenancy.Postgres, walled, prepared", dialector: tenancy.Postgres, walled: true, prepared: true},
	{name: "postgres.Open", dialector: postgres.Open},
	{name: "postgres.Open, audited, prepared", dialector: postgres.Open, audited: true, prepared: true},
	{name: "postgres.Open, walled, audited", dialector: postgres.Open, walled: true, audited: true},
}

// bundle is a database with the app's handle on it, and two tenants, each with a
// shelf and two books.
type bundle struct {
	*pgtest.DB
	form  form
	app   *gorm.DB
	super *gorm.DB
	acme  context.Context
	hal   context.Context
}

func eachForm(t *testing.T, mode tenancy.Suspended, test func(t *testing.T, b *bundle)) {
	t.Helper()
	for _, f := range forms {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			test(t, setup(t, f, mode))
		})
	}
}

// setup opens the handle of an app with a database of its own.
func setup(t testing.TB, f form, mode tenancy.Suspended) *bundle {
	t.Helper()
	return f.on(t, pgtest.New(t, tables(f.walled)), mode, "")
}

// on opens the app's handle; dsn, where it is not empty, is the app's by a detour.
func (f form) on(t testing.TB, db *pgtest.DB, mode tenancy.Suspended, dsn string) *bundle {
	t.Helper()
	if dsn == "" {
		dsn = db.AppDSN
	}
	ctx := audit.WithActor(t.Context(), audit.Actor{ID: "u_1"})
	b := &bundle{
		DB: db, form: f, acme: tenancy.WithTenant(ctx, "acme"), hal: tenancy.WithTenant(ctx, "hal"),
		app:   db.Open(f.dialector(dsn), &gorm.Config{TranslateError: true, PrepareStmt: f.prepared, DisableAutomaticPing: true}),
		super: db.Open(postgres.Open(db.SuperDSN), nil),
	}
	config := tenancy.Config{Rules: rules, Suspended: mode}
	if f.walled {
		config.RowLevelSecurity, config.System = true, db.Open(f.dialector(db.SystemDSN), nil)
	}
	must(t, b.app.Use(tenancy.New(config)))
	if f.audited {
		must(t, b.app.Use(audit.New(audit.Config{Rules: rules})))
	}
	must(t, tenancy.Verify(ctx, b.app))
	b.seed(t)
	return b
}

func (b *bundle) seed(t testing.TB) {
	t.Helper()
	for _, tenant := range []string{"acme", "hal"} {
		must(t, b.super.Create(&models.NewTenant{ID: tenant, Name: tenant, Slug: tenant}).Error)
		shelf := Shelf{TenantID: tenant, Name: "top", Books: []Book{{TenantID: tenant, Title: "a"}, {TenantID: tenant, Title: "b"}}}
		must(t, b.super.Create(&shelf).Error)
	}
}

// suspend does it as another process would: by a committed UPDATE.
func (b *bundle) suspend(t testing.TB, suspended bool) {
	t.Helper()
	must(t, b.super.Exec(`UPDATE tenants SET is_active = ? WHERE id = 'acme'`, !suspended).Error)
}

// state is all rows, as a superuser sees them.
func (b *bundle) state(t testing.TB) (sum string) {
	t.Helper()
	must(t, b.super.Raw(`SELECT md5(string_agg(r, ' ' ORDER BY r)) FROM (SELECT xmin || shelves::text AS r FROM shelves
		UNION ALL SELECT xmin || books::text FROM books UNION ALL SELECT xmin || tenants::text FROM tenants
		UNION ALL SELECT xmin || audit_logs::text FROM audit_logs) x`).Scan(&sum).Error)
	return sum
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
