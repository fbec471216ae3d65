package performance

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"gorm.io/datatypes"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"

	"github.com/courtroll/courtroll/audit"
	"github.com/courtroll/courtroll/internal/pgtest"
	"github.com/courtroll/courtroll/internal/pgtest/wire"
	"github.com/courtroll/courtroll/migrate"
	"github.com/courtroll/courtroll/tenancy"
)

// Document has columns of the usual types.
type Document struct {
	ID        int64
	TenantID  string `gorm:"index"`
	Title     string
	Body      string
	Status    string
	Views     int
	Price     float64 `gorm:"type:numeric(10,2)"`
	Active    bool
	Data      datatypes.JSON
	CreatedAt time.Time
	UpdatedAt time.Time
}

var trailRules = tenancy.Rules{Models: []any{&Document{}}}

// trailForm is a way to leave a trail, with a database of its own.
type trailForm struct {
	name    string
	audited bool
	plugins bool // tenancy writes the predicate
	manual  bool // reads and entries written by hand

	database  *pgtest.DB
	dialector func(dsn string) gorm.Dialector
	use       []func() gorm.Plugin

	db      *gorm.DB // with the context of tenant and actor
	side    *gorm.DB // a superuser's, for whom no trigger fires
	entries int      // in audit_logs
	put     int64    // the row that was made to be deleted
}

func trailTemplate(name string, protect bool, triggers string) pgtest.Template {
	return pgtest.Template{Name: name, BuildFor: func(owner *gorm.DB, roles pgtest.Roles) error {
		ctx := context.Background()
		m := migrate.New(owner, migrate.Config{Rules: trailRules, AppRole: roles.AppRole})
		if _, err := m.Up(ctx); err != nil {
			return err
		}
		if err := owner.AutoMigrate(&Document{}); err != nil {
			return err
		}
		err := owner.Exec(`INSERT INTO documents (tenant_id, title, body, status, views, price, active, data, created_at, updated_at)
			SELECT 't' || n % ?, 'document', repeat('lorem ipsum dolor sit amet ', 8), 'draft', n, 12.5, true,
			'{"tags": ["a", "b"], "size": 12}', now(), now() FROM generate_series(1, ?) AS n`, tenants, tenants*bulk()).Error
		if err != nil {
			return err
		}
		if protect {
			if _, err := m.Protect(ctx); err != nil {
				return err
			}
		}
		if triggers == "" {
			triggers = `SELECT`
		}
		for _, statement := range []string{triggers, `ANALYZE documents`} {
			if err := owner.Session(&gorm.Session{}).Exec(statement).Error; err != nil {
				return err
			}
		}
		return nil
	}}
}

// openTrails returns the forms, plain GORM without a trail first.
func openTrails(t *testing.T) []*trailForm {
	t.Helper()
	bare := trailTemplate("trail", false, "")
	tenant := func() gorm.Plugin { return tenancy.New(tenancy.Config{Rules: trailRules, RowLevelSecurity: true}) }
	trail := func() gorm.Plugin { return audit.New(audit.Config{Rules: trailRules}) }
	forms := []*trailForm{
		{name: "no trail", database: pgtest.New(t, bare), dialector: postgres.Open},
		{name: "audit plugin", audited: true, database: pgtest.New(t, bare), dialector: postgres.Open, use: []func() gorm.Plugin{trail}},
		{
			name: "both plugins", audited: true, plugins: true, database: pgtest.New(t, trailTemplate("trail, protected", true, "")),
			dialector: tenancy.Postgres, use: []func() gorm.Plugin{tenant, trail},
		},
		{
			name: "statement trigger", audited: true, dialector: postgres.Open,
			database: pgtest.New(t, trailTemplate("trail, statement trigger", false, statementTriggers)),
		},
		{name: "row trigger", audited: true, database: pgtest.New(t, trailTemplate("trail, row trigger", false, rowTrigger)), dialector: postgres.Open},
		{name: "by hand", audited: true, manual: true, database: pgtest.New(t, bare), dialector: postgres.Open},
	}
	for _, f := range forms {
		f.side = f.database.Open(postgres.Open(f.database.SuperDSN), nil)
		single(t, f.side)
		for _, statement := range []string{
			`SET session_replication_role = replica`,
			fmt.Sprintf(`ALTER DATABASE %s SET app.actor_id = 'user_1'`, f.database.Name),
			fmt.Sprintf(`ALTER DATABASE %s SET app.ip = '192.0.2.7'`, f.database.Name),
			fmt.Sprintf(`ALTER DATABASE %s SET app.metadata = '{"actor_kind": "user", "request_id": "request_1"}'`, f.database.Name),
		} {
			must(t, f.side.Exec(statement).Error)
		}
	}
	return forms
}

// connectTrails opens the forms' handles, each on one connection through a
// proxy that delays each direction, or without one.
func connectTrails(t *testing.T, forms []*trailForm, delay time.Duration) []*trailForm {
	t.Helper()
	actor := audit.Actor{ID: "user_1", IP: netip.MustParseAddr("192.0.2.7"), RequestID: "request_1"}
	for _, f := range forms {
		dsn := f.database.AppDSN
		if delay > 0 {
			proxy := wire.Listen(t, dsn)
			proxy.Delay(delay)
			dsn = proxy.DSN()
		}
		handle := f.database.Open(f.dialector(dsn), nil)
		single(t, handle)
		for _, plugin := range f.use {
			must(t, handle.Use(plugin()))
		}
		f.db = handle.WithContext(audit.WithActor(tenancy.WithTenant(t.Context(), "t1"), actor))
		must(t, f.side.Exec(`UPDATE documents SET title = 'document'`).Error)
	}
	return forms
}

func single(t *testing.T, db *gorm.DB) {
	t.Helper()
	pool, err := db.DB()
	must(t, err)
	pool.SetMaxOpenConns(1)
}

// tidy brings the tables of all forms back to where they began.
func tidy(t *testing.T, forms []*trailForm) {
	t.Helper()
	for _, f := range forms {
		must(t, f.side.Exec(`TRUNCATE audit_logs`).Error)
		must(t, f.side.Exec(`VACUUM documents`).Error)
		f.entries = 0
	}
}

// prepare runs what belongs around an operation; of what is put it keeps the last key.
func (f *trailForm) prepare(t *testing.T, statement string) {
	t.Helper()
	if statement == "" {
		return
	}
	must(t, f.side.Exec(statement).Error)
	must(t, f.side.Raw(`SELECT max(id) FROM documents`).Scan(&f.put).Error)
}

// check demands an entry for each row that the operation changed.
func (f *trailForm) check(t *testing.T, op trailOperation) {
	t.Helper()
	if f.audited {
		f.entries += op.rows()
	}
	var got int
	must(t, f.side.Raw(`SELECT count(*) FROM audit_logs`).Scan(&got).Error)
	if got != f.entries {
		t.Fatalf("%s, %s: %d entries and not %d", op.name, f.name, got, f.entries)
	}
}

// summary is what the entries have in common in all forms, without times and numbers of transactions.
func (f *trailForm) summary(t *testing.T) (text string) {
	t.Helper()
	must(t, f.side.Raw(`SELECT string_agg(DISTINCT concat_ws(' ', actor_id, tenant_id, action, resource_type, ip_address,
		resource_id = coalesce(metadata #>> '{changes,id,new}', metadata #>> '{changes,id,old}', resource_id),
		(SELECT string_agg(k, ',' ORDER BY k) FROM jsonb_object_keys(metadata) AS k), metadata ->> 'request_id',
		(SELECT string_agg(k || ((metadata #> ARRAY['changes', k]) - CASE WHEN k IN ('id', 'views', 'created_at', 'updated_at', 'price')
			THEN ARRAY['old', 'new'] ELSE ARRAY[]::text[] END)::text, ', ' ORDER BY k) FROM jsonb_object_keys(metadata -> 'changes') AS k)), E'\n')
		FROM audit_logs`).Scan(&text).Error)
	return text
}
