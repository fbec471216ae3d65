package walls

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"

	"github.com/courtroll/courtroll/internal/pgtest"
	"github.com/courtroll/courtroll/migrate"
	"github.com/courtroll/courtroll/tenancy"
)

// TestRaw_OtherSchema reads and writes a table that no policy is on, and that has
// the name of one that Verify has proven.
func TestRaw_OtherSchema(t *testing.T) {
	t.Parallel()
	b := ours.setup(t)
	b.exec(t, b.Owner, `CREATE SCHEMA archive`, `CREATE TABLE archive.books (LIKE books)`,
		`GRANT USAGE ON SCHEMA archive TO `+b.AppRole, `GRANT ALL ON archive.books TO `+b.AppRole)
	must(t, tenancy.Verify(t.Context(), b.app))
	acme := b.app.WithContext(b.acme)
	for _, statement := range []string{`SELECT * FROM archive.books`, `DELETE FROM archive.books`, `SELECT * FROM books, archive.books AS a`} {
		if err := acme.Exec(statement).Error; !errors.Is(err, tenancy.ErrOpaqueSQL) {
			t.Errorf("%s: got %v, want ErrOpaqueSQL", statement, err)
		}
	}
	must(t, acme.Exec(`SELECT * FROM books`).Error)
}

// TestRaw_TemporaryTable makes a table that would stand before the proven one of
// its name, for whoever gets the connection next.
func TestRaw_TemporaryTable(t *testing.T) {
	t.Parallel()
	b := ours.setup(t)
	b.seed(t)
	pool, err := b.app.DB()
	must(t, err)
	pool.SetMaxOpenConns(1)
	for _, statement := range []string{
		`SELECT * INTO pg_temp.books FROM books`, `WITH b AS (SELECT * FROM books) SELECT * INTO pg_temp.books FROM b`,
		`SELECT * INTO books FROM books`,
	} {
		if err := b.app.WithContext(b.acme).Exec(statement).Error; !errors.Is(err, tenancy.ErrOpaqueSQL) {
			t.Errorf("%s: got %v, want ErrOpaqueSQL", statement, err)
		}
	}
	var tenants []string
	must(t, b.app.WithContext(b.hal).Raw(`SELECT tenant_id FROM books`).Scan(&tenants).Error)
	if diff := cmp.Diff([]string{"hal", "hal"}, tenants); diff != "" {
		t.Errorf("hal's books: -want +got:\n%s", diff)
	}
}

// TestRaw_ProvenForATenant sends a text that was let through for a tenant, with
// no tenant to whom the policies could confine it.
func TestRaw_ProvenForATenant(t *testing.T) {
	t.Parallel()
	eachForm(t, forms, func(t *testing.T, f form) {
		b := f.setup(t)
		for name, run := range map[string]func(ctx context.Context) error{
			"Raw": func(ctx context.Context) error {
				return b.app.WithContext(ctx).Raw(`SELECT * FROM books WHERE title = ?`, "a").Find(&[]Book{}).Error
			},
			"Exec": func(ctx context.Context) error {
				return b.app.WithContext(ctx).Exec(`SELECT count(*) FROM books`).Error
			},
		} {
			must(t, run(b.acme))
			for _, c := range []struct {
				ctx  context.Context
				want error
			}{
				{t.Context(), tenancy.ErrNoTenant}, {tenancy.WithTenant(t.Context(), " "), tenancy.ErrNoTenant},
				{tenancy.AsSystem(t.Context(), ""), tenancy.ErrNoReason}, {b.hal, nil},
			} {
				if err := run(c.ctx); !errors.Is(err, c.want) {
					t.Errorf("%s: got %v, want %v", name, err, c.want)
				}
			}
		}
	})
}

const isOwn = `tenant_id = current_setting('courtroll.tenant_id', true)`

// TestVerify_Policies has policies that hide the probe's rows and let others
// through: by another command, row, setting or time.
func TestVerify_Policies(t *testing.T) {
	t.Parallel()
	const floor = `tenant_id = (SELECT nullif(current_setting('courtroll.tenant_id', true), ''))`
	for name, c := range map[string]struct {
		policies []string
		want     error
	}{
		"each command": {[]string{`CREATE POLICY s ON books FOR SELECT USING (` + isOwn + `)`, `CREATE POLICY i ON books FOR INSERT WITH CHECK (` + isOwn + `)`,
			`CREATE POLICY u ON books FOR UPDATE USING (true)`, `CREATE POLICY d ON books FOR DELETE USING (true)`}, tenancy.ErrUnprotected},
		"moved away": {[]string{`CREATE POLICY s ON books FOR SELECT USING (` + isOwn + `)`, `CREATE POLICY i ON books FOR INSERT WITH CHECK (` + isOwn + `)`,
			`CREATE POLICY u ON books FOR UPDATE USING (` + isOwn + `) WITH CHECK (true)`}, tenancy.ErrUnprotected},
		"some rows":       {[]string{`CREATE POLICY a ON books USING (` + isOwn + ` OR copies > 100) WITH CHECK (` + isOwn + `)`}, tenancy.ErrUnprotected},
		"another setting": {[]string{`CREATE POLICY a ON books USING (` + isOwn + ` OR current_setting('courtroll.request_id', true) = 'r_1') WITH CHECK (` + isOwn + `)`}, tenancy.ErrUnprotected},
		"another table":   {[]string{`CREATE POLICY a ON books USING (` + isOwn + ` OR EXISTS (SELECT FROM shelves)) WITH CHECK (` + isOwn + `)`}, tenancy.ErrUnprotected},
		"an empty table that takes no row": {[]string{`DELETE FROM books`, `ALTER TABLE books ALTER shelf_id SET NOT NULL`,
			`CREATE POLICY s ON books FOR SELECT USING (current_setting('courtroll.tenant_id', true) <> '')`,
			`CREATE POLICY i ON books FOR INSERT WITH CHECK (` + isOwn + `)`, `CREATE POLICY d ON books FOR DELETE USING (` + isOwn + `)`}, tenancy.ErrUnprotected},
		"a floor with a hole": {[]string{`CREATE POLICY a ON books USING (true)`,
			`CREATE POLICY f ON books AS RESTRICTIVE USING (` + floor + ` OR copies > 100) WITH CHECK (` + floor + `)`}, tenancy.ErrUnprotected},
		"a floor that rows can be moved through": {[]string{`CREATE POLICY a ON books USING (true)`, `CREATE POLICY i ON books AS RESTRICTIVE FOR INSERT WITH CHECK (` + floor + `)`,
			`CREATE POLICY f ON books AS RESTRICTIVE USING (` + floor + `) WITH CHECK (true)`}, tenancy.ErrUnprotected},
		"a floor of one's own": {[]string{`CREATE POLICY a ON books USING (true)`, `CREATE POLICY f ON books AS RESTRICTIVE USING (` + floor + `)`}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := ours.setup(t)
			b.seed(t)
			b.exec(t, b.super, `DROP POLICY courtroll_floor ON books`, `DROP POLICY courtroll_app ON books`)
			b.exec(t, b.super, c.policies...)
			err := tenancy.Verify(t.Context(), b.app)
			var fault *tenancy.StatementError
			if !errors.Is(err, c.want) || c.want != nil && (!errors.As(err, &fault) || fault.Table != "books") {
				t.Errorf("got %v, want %v of books", err, c.want)
			}
		})
	}
}

// Away has a table that its name alone does not mean.
type Away struct {
	ID       int64
	TenantID string
}

// TableName implements [gorm.io/gorm/schema.Tabler].
func (Away) TableName() string { return "away.aways" }

func TestVerify_OutsideOfTheSearchPath(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t, protected)
	b := newBundle(t, db)
	b.exec(t, b.Owner, `CREATE SCHEMA away`, `CREATE TABLE away.aways (id bigserial PRIMARY KEY, tenant_id text)`,
		`GRANT USAGE ON SCHEMA away TO `+b.AppRole, `GRANT ALL ON away.aways TO `+b.AppRole)
	all := tenancy.Rules{Models: append([]any{&Away{}}, rules.Models...), Shared: rules.Shared}
	app := b.Open(tenancy.Postgres(b.AppDSN), nil)
	must(t, app.Use(tenancy.New(tenancy.Config{Rules: all, RowLevelSecurity: true})))
	if err := tenancy.Verify(t.Context(), app); !errors.Is(err, tenancy.ErrUnprotected) {
		t.Errorf("without a policy: got %v, want ErrUnprotected", err)
	}
	_, err := migrate.New(b.Owner, migrate.Config{Rules: all, AppRole: b.AppRole, SystemRole: b.SystemRole}).Protect(t.Context())
	must(t, err)
	must(t, tenancy.Verify(t.Context(), app))
	b.exec(t, b.Owner, `ALTER TABLE away.aways DROP COLUMN tenant_id CASCADE`)
	if err := tenancy.Verify(t.Context(), app); !errors.Is(err, tenancy.ErrTenantColumn) {
		t.Errorf("without the column: got %v, want ErrTenantColumn", err)
	}
}

// TestVerify_Stops cannot look at one table after another was opened: what was
// proven before must not count any more.
func TestVerify_Stops(t *testing.T) {
	t.Parallel()
	b := ours.setup(t)
	read := func() error { return b.app.WithContext(b.acme).Raw(`SELECT * FROM books`).Scan(&[]Book{}).Error }
	must(t, read())
	b.exec(t, b.super, `REVOKE SELECT ON shelves FROM `+b.AppRole, `ALTER TABLE books DISABLE ROW LEVEL SECURITY`)
	for range 10 { // the order of the tables differs
		if err := tenancy.Verify(t.Context(), b.app); err == nil {
			t.Fatal("Verify finds no fault")
		}
		if err := read(); !errors.Is(err, tenancy.ErrOpaqueSQL) {
			t.Fatalf("got %v, want ErrOpaqueSQL", err)
		}
	}
}

// Numbered has numbers for tenants.
type Numbered struct {
	ID       int64
	TenantID int64
}

// Short has a column that takes short ids, and cuts the spaces at the end of long ones.
type Short struct {
	ID       int64
	TenantID string `gorm:"type:varchar(4)"`
}

// TestVerify_Protected has tables that Protect protects and that take no row of the probe's, or have many tenants.
func TestVerify_Protected(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		model      any
		statements []string
	}{
		"many numbered tenants": {&Numbered{}, []string{`INSERT INTO numbereds (tenant_id) SELECT generate_series(1, 40000)`}},
		"short tenants":         {&Short{}, nil},
		"a trigger that refuses unknown tenants": {&Shelf{}, []string{`CREATE FUNCTION known() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
			IF NOT EXISTS (SELECT FROM tenants WHERE id = NEW.tenant_id) THEN RAISE 'no such tenant'; END IF; RETURN NEW; END $$`,
			`CREATE TRIGGER known BEFORE INSERT ON shelves FOR EACH ROW EXECUTE FUNCTION known()`}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := pgtest.New(t, protected)
			b := newBundle(t, db)
			all := tenancy.Rules{Models: append([]any{c.model}, rules.Models...), Shared: rules.Shared}
			must(t, b.Owner.AutoMigrate(c.model))
			_, err := migrate.New(b.Owner, migrate.Config{Rules: all, AppRole: b.AppRole, SystemRole: b.SystemRole}).Protect(t.Context())
			must(t, err)
			b.exec(t, b.super, c.statements...)
			app := b.Open(tenancy.Postgres(b.AppDSN), nil)
			must(t, app.Use(tenancy.New(tenancy.Config{Rules: all, RowLevelSecurity: true})))
			if err := tenancy.Verify(t.Context(), app); err != nil {
				t.Errorf("got %v, want no fault", err)
			}
		})
	}
}

// TestTenantEndsInASpace has an id that varchar(n) cuts to another tenant's.
func TestTenantEndsInASpace(t *testing.T) {
	t.Parallel()
	b := ours.setup(t)
	must(t, b.Owner.AutoMigrate(&Short{}))
	app := b.Open(tenancy.Postgres(b.AppDSN), nil)
	must(t, app.Use(tenancy.New(tenancy.Config{Rules: tenancy.Rules{Models: []any{&Short{}}}})))
	padded := app.WithContext(tenancy.WithTenant(t.Context(), "acme "))
	for name, err := range map[string]error{
		"Create": padded.Create(&Short{}).Error, "Find": padded.Find(&[]Short{}).Error, "Delete": padded.Where("true").Delete(&Short{}).Error,
	} {
		if !errors.Is(err, tenancy.ErrTenantFormat) {
			t.Errorf("%s: got %v, want ErrTenantFormat", name, err)
		}
	}
	var n int64
	must(t, app.WithContext(b.acme).Model(&Short{}).Count(&n).Error)
	if n > 0 {
		t.Errorf("%d rows of another tenant's are acme's", n)
	}
}

// TestSystem_LogsInAsTheApp gives system scope a login from which everything is hidden, in silence.
func TestSystem_LogsInAsTheApp(t *testing.T) {
	t.Parallel()
	for _, f := range []form{ours, plain} {
		db := pgtest.New(t, protected)
		for dsn, refused := range map[string]bool{db.AppDSN: true, db.SystemDSN: false} {
			app, system := db.Open(f.dialector(db.AppDSN), nil), db.Open(f.dialector(dsn), nil)
			err := app.Use(tenancy.New(tenancy.Config{Rules: rules, RowLevelSecurity: true, System: system}))
			if (err != nil) != refused {
				t.Errorf("%s: Use: got %v, want an error: %t", f.name, err, refused)
			}
		}
	}
}

// TestTimeZone reads timestamps in the session's zone, as postgres.Open does, also beside an option that the app gives.
func TestTimeZone(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t, protected)
	dsn := db.AppDSN + "&TimeZone=Asia/Tokyo"
	config, err := pgx.ParseConfig(dsn)
	must(t, err)
	connected := false
	option := stdlib.OptionAfterConnect(func(context.Context, *pgx.Conn) error { connected = true; return nil })
	for name, dialector := range map[string]gorm.Dialector{
		"postgres.Open": postgres.Open(dsn), "Postgres": tenancy.Postgres(dsn), "PostgresConfig": tenancy.PostgresConfig(config),
		"AfterConnect": tenancy.PostgresConfig(config, option),
	} {
		var at time.Time
		must(t, db.Open(dialector, nil).Raw(`SELECT '2020-07-01 12:00'::timestamp`).Row().Scan(&at))
		if got := at.UTC().Format(time.DateTime); got != "2020-07-01 03:00:00" {
			t.Errorf("%s: got %s, want noon in Tokyo", name, got)
		}
	}
	if !connected {
		t.Error("the app's own option was not heeded")
	}
}

// exec runs statements on a handle.
func (b *bundle) exec(t testing.TB, db *gorm.DB, statements ...string) {
	t.Helper()
	for _, statement := range statements {
		must(t, db.Exec(statement).Error)
	}
}
