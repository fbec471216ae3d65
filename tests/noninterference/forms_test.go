package noninterference

import (
	"context"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/courtroll/courtroll/audit"
	"github.com/courtroll/courtroll/internal/pgtest"
	"github.com/courtroll/courtroll/internal/pgtest/bouncer"
	"github.com/courtroll/courtroll/tenancy"
)

// form is a way of keeping tenants apart in one database. The keys of
// migrate.Protect are there in all.
type form struct {
	name             string
	plugin, policies bool
	pooled           bool // PgBouncer gives all one connection, a transaction each
	share            int  // it runs one in so many of the programs
}

var (
	pluginAlone   = form{name: "plugin", plugin: true, share: 1}
	policiesAlone = form{name: "policies", policies: true, share: 3}
	both          = form{name: "both", plugin: true, policies: true, share: 3}
	pooled        = form{name: "pooled", plugin: true, policies: true, pooled: true, share: 3}

	forms = []form{pluginAlone, policiesAlone, both, pooled}
)

// site is where a tenant lives alone, with plain GORM: what a wall does to results
// is then a difference, also where it does it to a lone tenant.
type site struct {
	tenant string
	index  int
	*pgtest.DB
	super *gorm.DB
}

func openSites(t *testing.T) []site {
	t.Helper()
	sites := make([]site, len(tenants))
	for i, tenant := range tenants {
		db := pgtest.New(t, schema)
		must(t, setupJoin(db.App))
		s := site{tenant, i, db, superOf(db)}
		openAll(t, s.super)
		stampJoinRows(t, db.Owner, "'"+tenant+"'")
		sites[i] = s
	}
	return sites
}

func superOf(db *pgtest.DB) *gorm.DB { return db.Open(tenancy.Postgres(db.SuperDSN), nil) }

// openAll takes the policies out of force, and leaves the keys.
func openAll(t testing.TB, super *gorm.DB) {
	t.Helper()
	for _, table := range append([]string{"audit_logs", "tenants"}, tables...) {
		must(t, super.Exec("ALTER TABLE "+table+" NO FORCE ROW LEVEL SECURITY, DISABLE ROW LEVEL SECURITY").Error)
	}
}

// stampJoinRows makes the database fill in what plain GORM leaves out of the join
// rows that it makes itself.
func stampJoinRows(t testing.TB, owner *gorm.DB, tenant string) {
	t.Helper()
	must(t, owner.Exec(fmt.Sprintf(`
		CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.tenant_id = coalesce(nullif(NEW.tenant_id, ''), %s); RETURN NEW; END $$;
		CREATE TRIGGER stamp BEFORE INSERT ON team_tags FOR EACH ROW EXECUTE FUNCTION stamp()`, tenant)).Error)
}

// shared is the database of all tenants.
type shared struct {
	*pgtest.DB
	form    form
	super   *gorm.DB
	handles [2]*gorm.DB // without the audit plugin, and with it
}

func (f form) open(t *testing.T) *shared {
	t.Helper()
	db := pgtest.New(t, schema)
	s := &shared{DB: db, form: f, super: superOf(db)}
	if !f.policies {
		openAll(t, s.super)
	}
	if !f.plugin {
		stampJoinRows(t, db.Owner, "current_setting('courtroll.tenant_id')")
	}
	config, err := pgx.ParseConfig(f.login(t, db))
	must(t, err)
	if f.pooled {
		config.DefaultQueryExecMode = pgx.QueryExecModeExec
	}
	s.handles = f.handles(t, db, config)
	return s
}

func (f form) login(t *testing.T, db *pgtest.DB) (dsn string) {
	t.Helper()
	if f.pooled {
		return bouncer.Start(t, bouncer.Config{DSN: db.AppDSN}).DSN
	}
	return db.AppDSN
}

// handles opens an app's handles as the form has them, the second one audited.
func (f form) handles(t testing.TB, db *pgtest.DB, login *pgx.ConnConfig) [2]*gorm.DB {
	t.Helper()
	return [2]*gorm.DB{f.handle(t, db, login, false), f.handle(t, db, login, true)}
}

func (f form) handle(t testing.TB, db *pgtest.DB, login *pgx.ConnConfig, audited bool) *gorm.DB {
	t.Helper()
	app := db.Open(tenancy.PostgresConfig(login), &gorm.Config{TranslateError: true, Logger: logger.Discard})
	must(t, setupJoin(app))
	if audited {
		must(t, app.Use(audit.New(audit.Config{Rules: rules})))
	}
	if !f.plugin {
		return app
	}
	config := tenancy.Config{Rules: rules}
	if f.policies {
		config.RowLevelSecurity, config.RequireConfinedRole = true, true
		config.System = db.Open(tenancy.Postgres(db.SystemDSN), nil)
	}
	must(t, app.Use(tenancy.New(config)))
	must(t, tenancy.Verify(context.Background(), app))
	return app
}

// as returns a handle with the context of a tenant.
func (s *shared) as(tenant string, audited bool) *gorm.DB {
	app := s.handles[0]
	if audited {
		app = s.handles[1]
	}
	return app.WithContext(tenancy.WithTenant(context.Background(), tenant))
}

// tenantID is what operations have to fill in themselves.
func (s *shared) tenantID(tenant string) string {
	if s.form.plugin {
		return ""
	}
	return tenant
}
