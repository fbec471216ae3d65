package walls

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/courtroll/courtroll/audit"
	"github.com/courtroll/courtroll/internal/pgtest"
	"github.com/courtroll/courtroll/migrate"
	"github.com/courtroll/courtroll/models"
	"github.com/courtroll/courtroll/tenancy"
)

// TestSystem works across tenants, with the second login.
func TestSystem(t *testing.T) {
	t.Parallel()
	eachForm(t, forms, func(t *testing.T, f form) {
		b := f.setup(t)
		b.seed(t)
		system := b.app.WithContext(b.system)
		must(t, system.Create(&Book{TenantID: "acme", Title: "given"}).Error)
		must(t, system.Model(&Book{}).Where("title = ?", "a").Update("copies", 9).Error)
		must(t, system.Transaction(func(tx *gorm.DB) error {
			return tx.Where("title = ?", "b").Delete(&Book{}).Error
		}))
		var titles []string
		must(t, system.Model(&Book{}).Order("tenant_id, title").Pluck("tenant_id || ' ' || title || copies", &titles).Error)
		if diff := cmp.Diff([]string{"acme a9", "acme given0", "hal a9"}, titles); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
		var user string
		must(t, system.Raw("SELECT current_user").Scan(&user).Error)
		must(t, system.Connection(func(tx *gorm.DB) error { return tx.Raw("SELECT current_user").Scan(&user).Error }))
		if user != b.SystemRole {
			t.Errorf("a connection of system scope is one of %s", user)
		}
		// GORM would keep it by its text, and use it for a tenant's.
		if stmt, err := b.app.ConnPool.PrepareContext(b.system, "SELECT 1"); !errors.Is(err, tenancy.ErrSystemLogin) {
			t.Errorf("a prepared statement of system scope: %v, %v, want ErrSystemLogin", stmt, err)
		}
	})
}

// TestSystem_NoLogin has one login, from which row-level security hides everything.
func TestSystem_NoLogin(t *testing.T) {
	t.Parallel()
	eachForm(t, []form{ours, plain}, func(t *testing.T, f form) {
		b := f.setup(t)
		app := b.Open(f.dialector(b.AppDSN), nil)
		must(t, app.Use(tenancy.New(tenancy.Config{Rules: rules, RowLevelSecurity: true})))
		system := app.WithContext(b.system)
		var n int64
		for name, err := range map[string]error{
			"read": system.Find(&[]Book{}).Error, "create": system.Create(&Book{TenantID: "acme"}).Error, "raw": system.Exec("DELETE FROM books").Error,
			"row": system.Model(&Book{}).Select("count(*)").Row().Scan(&n),
		} {
			if !errors.Is(err, tenancy.ErrSystemLogin) {
				t.Errorf("%s: got %v, want ErrSystemLogin", name, err)
			}
		}
	})
}

func TestSystem_IsAHandleOfItsOwn(t *testing.T) {
	t.Parallel()
	b := ours.setup(t)
	app := b.Open(tenancy.Postgres(b.AppDSN), nil)
	for _, handle := range []*gorm.DB{app, b.app} {
		if err := app.Use(tenancy.New(tenancy.Config{Rules: rules, System: handle})); err == nil {
			t.Error("a handle with the plugin, or the app's own, is taken for that of the second login")
		}
	}
}

// TestSetRole becomes the system role from the app's login, past everything but the server.
func TestSetRole(t *testing.T) {
	t.Parallel()
	b := ours.setup(t)
	b.seed(t)
	for _, statement := range []string{"SET ROLE " + b.SystemRole, "SET SESSION AUTHORIZATION " + b.SystemRole, "SET ROLE " + b.OwnerRole} {
		if err := b.App.Exec(statement).Error; err == nil {
			t.Errorf("%s succeeded", statement)
		}
	}
	if err := b.App.Exec("SET row_security = off; SELECT * FROM books").Error; err == nil {
		t.Error("row-level security can be switched off")
	}
}

// TestConfinedRole logs in as roles that row-level security does not bind.
func TestConfinedRole(t *testing.T) {
	t.Parallel()
	b := ours.setup(t)
	for name, c := range map[string]struct {
		dsn  string
		want error
	}{"app": {b.AppDSN, nil}, "owner": {b.OwnerDSN, tenancy.ErrUnconfinedRole}, "superuser": {b.SuperDSN, tenancy.ErrUnconfinedRole}} {
		strict := b.Open(tenancy.Postgres(c.dsn), nil)
		if err := strict.Use(tenancy.New(tenancy.Config{Rules: rules, RequireConfinedRole: true})); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
		var heard warnings
		lax := b.Open(tenancy.Postgres(c.dsn), &gorm.Config{Logger: &heard})
		must(t, lax.Use(tenancy.New(tenancy.Config{Rules: rules, RowLevelSecurity: true})))
		if (len(heard.said) > 0) != (c.want != nil) {
			t.Errorf("%s: the logger heard %q", name, heard.said)
		}
		if err := tenancy.Verify(t.Context(), lax); !errors.Is(err, c.want) {
			t.Errorf("%s: Verify: got %v, want %v", name, err, c.want)
		}
	}
}

// warnings is a logger that keeps warnings.
type warnings struct {
	logger.Interface
	said []string
}

func (w *warnings) LogMode(logger.LogLevel) logger.Interface                                 { return w }
func (w *warnings) Warn(_ context.Context, text string, args ...any)                         { w.said = append(w.said, text) }
func (w *warnings) Error(context.Context, string, ...any)                                    {}
func (w *warnings) Info(context.Context, string, ...any)                                     {}
func (w *warnings) Trace(context.Context, time.Time, func() (sql string, rows int64), error) {}

// TestVerify_NotExpected has policies of which the config does not know.
func TestVerify_NotExpected(t *testing.T) {
	t.Parallel()
	b := ours.setup(t)
	app := b.Open(tenancy.Postgres(b.AppDSN), nil)
	must(t, app.Use(tenancy.New(tenancy.Config{Rules: rules})))
	if err := tenancy.Verify(t.Context(), app); !errors.Is(err, tenancy.ErrNotExpected) {
		t.Errorf("got %v, want ErrNotExpected", err)
	}
}

// TestVerify takes the second wall down in each way, and Verify has to see it.
func TestVerify(t *testing.T) {
	t.Parallel()
	for name, breach := range map[string]string{
		"off":             `ALTER TABLE books DISABLE ROW LEVEL SECURITY`,
		"no policy":       `DROP POLICY courtroll_tenant ON books; DROP POLICY courtroll_floor ON books; CREATE POLICY everyone ON books USING (true)`,
		"reads open":      `DROP POLICY courtroll_floor ON books; CREATE POLICY everyone ON books FOR SELECT USING (true)`,
		"writes open":     `DROP POLICY courtroll_floor ON books; CREATE POLICY everyone ON books FOR INSERT WITH CHECK (true)`,
		"another setting": `ALTER POLICY courtroll_floor ON books USING (tenant_id = current_user) WITH CHECK (true); ALTER POLICY courtroll_tenant ON books USING (tenant_id = current_user) WITH CHECK (true)`,
	} {
		for _, empty := range []bool{true, false} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				b := ours.setup(t)
				if !empty {
					b.seed(t)
				}
				names := strings.NewReplacer("courtroll_floor", policyOf(t, b, false), "courtroll_tenant", policyOf(t, b, true))
				must(t, b.super.Exec(names.Replace(breach)).Error)
				err := tenancy.Verify(t.Context(), b.app)
				var fault *tenancy.StatementError
				if !errors.Is(err, tenancy.ErrUnprotected) || !errors.As(err, &fault) || fault.Table != "books" {
					t.Errorf("got %v, want ErrUnprotected of books", err)
				}
				if strings.Contains(err.Error(), "shelves") {
					t.Errorf("a table that is protected is named: %v", err)
				}
			})
		}
	}
}

// policyOf returns the name of the app's policy on books that permits, or that restricts.
func policyOf(t *testing.T, b *bundle, permits bool) (name string) {
	t.Helper()
	must(t, b.super.Raw(`SELECT polname FROM pg_policy WHERE polrelid = 'books'::regclass AND polpermissive = ? AND polroles = ARRAY[?::regrole::oid]`,
		permits, b.AppRole).Scan(&name).Error)
	return name
}

// TestVerify_LeavesNothing proves tables of every kind and leaves no row.
func TestVerify_LeavesNothing(t *testing.T) {
	t.Parallel()
	for _, f := range forms {
		b := f.setup(t) // which verifies
		for _, table := range []string{"books", "shelves", "tenants", "audit_logs"} {
			var n int64
			must(t, b.super.Table(table).Count(&n).Error)
			if n > 0 {
				t.Errorf("%d rows are left in %s", n, table)
			}
		}
	}
}

func TestResolve(t *testing.T) {
	t.Parallel()
	b := ours.setup(t)
	domain, both, closed := "acme.example", "both.example", false
	for _, tenant := range []models.NewTenant{
		{ID: "t1", Name: "Acme", Slug: "acme", Domain: &domain}, {ID: "t2", Name: "Hal", Slug: "hal", Domain: &both},
		{ID: "t3", Name: "Ida", Slug: "ida", Domain: &both}, {ID: "t4", Name: "Old", Slug: "old", IsActive: &closed},
	} {
		must(t, b.super.Create(&tenant).Error)
	}
	for _, ctx := range []context.Context{t.Context(), b.hal, b.system} {
		for by, want := range map[tenancy.Lookup]string{
			tenancy.BySlug("acme"): "t1", tenancy.ByDomain("acme.example"): "t1", tenancy.ByID("t2"): "t2",
			tenancy.BySlug("ACME"): "", tenancy.BySlug("old"): "", tenancy.ByID("t4"): "", tenancy.ByID(""): "", tenancy.BySlug("none"): "",
			tenancy.ByDomain("both.example"): "", tenancy.BySlug("' OR true --"): "",
		} {
			got, err := tenancy.Resolve(ctx, b.app, by)
			if got != want || (want == "") != errors.Is(err, tenancy.ErrUnknownTenant) {
				t.Errorf("%v: got %q, %v; want %q", by, got, err, want)
			}
		}
	}
	_, unknown := tenancy.Resolve(t.Context(), b.app, tenancy.BySlug("none"))
	_, inactive := tenancy.Resolve(t.Context(), b.app, tenancy.BySlug("old"))
	if unknown.Error() != inactive.Error() {
		t.Errorf("an inactive tenant can be told from an unknown one: %v, %v", unknown, inactive)
	}
	var n int64
	if err := b.App.Model(&models.Tenant{}).Count(&n).Error; err != nil || n != 0 {
		t.Errorf("without a tenant the login reads %d tenants, %v", n, err)
	}
}

// TestRecord_WithoutTenant records a failed log-in, which is nobody's.
func TestRecord_WithoutTenant(t *testing.T) {
	t.Parallel()
	eachForm(t, []form{oursAudited, forms[3]}, func(t *testing.T, f form) {
		b := f.setup(t)
		event := audit.Event{Action: "user.login", ResourceType: "users", ResourceID: "ann", Outcome: audit.Failure}
		must(t, audit.Record(t.Context(), b.app, event))
		must(t, audit.Record(b.acme, b.app, event))
		must(t, audit.Record(b.system, b.app, event))
		must(t, b.app.WithContext(b.acme).Transaction(func(tx *gorm.DB) error { return audit.Record(b.acme, tx, event) }))
		var got []string
		must(t, b.super.Table("audit_logs").Where("action = ?", event.Action).Order("created_at").
			Pluck("coalesce(tenant_id, 'nobody') || ' ' || action || ' ' || (metadata->>'outcome')", &got).Error)
		want := []string{"nobody user.login failure", "acme user.login failure", "nobody user.login failure", "acme user.login failure"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
		page, err := audit.List(b.acme, b.app, audit.Filter{}, "")
		if err != nil || len(page.Entries) != 2 {
			t.Errorf("acme lists %d entries, %v; want its own 2", len(page.Entries), err)
		}
		all, err := audit.List(b.system, b.app, audit.Filter{}, "")
		if err != nil || len(all.Entries) != 5 { // with that of the system scope
			t.Errorf("system scope lists %d entries, %v; want 5", len(all.Entries), err)
		}
		direct := b.App.Exec(`INSERT INTO audit_logs (action, resource_type) VALUES ('x.y', 'z')`).Error
		if direct == nil {
			t.Error("the login writes an entry of nobody's by itself")
		}
	})
}

// TestTrigger reads in a trigger whose statement it is.
func TestTrigger(t *testing.T) {
	t.Parallel()
	eachForm(t, []form{ours, plain}, func(t *testing.T, f form) {
		b := f.setup(t)
		must(t, b.Owner.Exec(`CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
			NEW.title := concat_ws('|', current_setting('courtroll.tenant_id', true), current_setting('courtroll.actor_id', true),
				current_setting('courtroll.request_id', true)); RETURN NEW; END $$`).Error)
		must(t, b.Owner.Exec(`CREATE TRIGGER note BEFORE INSERT ON books FOR EACH ROW EXECUTE FUNCTION note()`).Error)
		other := audit.WithActor(b.acme, audit.Actor{ID: "u_2\x00", RequestID: "r_\xff2"})
		must(t, b.app.WithContext(b.acme).Transaction(func(tx *gorm.DB) error {
			return errors.Join(tx.Create(&Book{}).Error, tx.WithContext(other).Create(&Book{}).Error)
		}))
		must(t, b.app.WithContext(tenancy.WithTenant(t.Context(), "acme")).Create(&Book{}).Error)
		var titles []string
		must(t, b.super.Model(&Book{}).Order("id").Pluck("title", &titles).Error)
		if diff := cmp.Diff([]string{"acme|u_1|r_1", "acme|u_2\uFFFD|r_\uFFFD2", "acme||"}, titles); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	})
}

// TestUnbindableTenant has ids that no text of PostgreSQL's can hold.
func TestUnbindableTenant(t *testing.T) {
	t.Parallel()
	for _, f := range []form{ours, plain} {
		b := f.setup(t)
		for _, id := range []string{"a\x00b", "a\xff"} {
			if err := b.app.WithContext(tenancy.WithTenant(t.Context(), id)).Find(&[]Book{}).Error; !errors.Is(err, tenancy.ErrTenantFormat) {
				t.Errorf("%s: %q: got %v, want ErrTenantFormat", f.name, id, err)
			}
		}
	}
}

// TestMigrator runs GORM's migrator over the driver, where it sends what is special to it.
func TestMigrator(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t, pgtest.Template{})
	owner := db.Open(tenancy.Postgres(db.OwnerDSN), nil)
	_, err := migrate.New(owner, migrate.Config{}).Up(t.Context())
	must(t, err)
	for range 2 {
		must(t, owner.AutoMigrate(&Shelf{}, &Book{}, &Genre{}))
	}
	plainly := db.Open(postgres.Open(db.OwnerDSN), nil)
	columns := func(handle *gorm.DB) (all []string) {
		types, err := handle.Migrator().ColumnTypes(&Book{})
		must(t, err)
		for _, c := range types {
			unique, _ := c.Unique()
			nullable, _ := c.Nullable()
			all = append(all, c.Name()+" "+c.DatabaseTypeName()+" "+map[bool]string{true: "unique"}[unique]+map[bool]string{true: "null"}[nullable])
		}
		return all
	}
	if got, want := columns(owner), columns(plainly); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if !owner.Migrator().HasConstraint(&Shelf{}, "Books") || !owner.Migrator().HasIndex(&Shelf{}, "idx_shelves_name") {
		t.Error("the migrator does not see what it made")
	}
}
