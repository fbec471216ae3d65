// Package durability tests what a crash of the server leaves of changes and of
// their entries.
package durability

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/courtroll/courtroll/audit"
	"github.com/courtroll/courtroll/internal/pgtest/dsn"
	"github.com/courtroll/courtroll/internal/pgtest/server"
	"github.com/courtroll/courtroll/migrate"
	"github.com/courtroll/courtroll/tenancy"
)

// recovery is within which time a server that crashed takes connections again.
const recovery = 30 * time.Second

// Doc is what the tenants write.
type Doc struct {
	ID        int64 `gorm:"primaryKey;autoIncrement:false"`
	TenantID  string
	Title     string
	N         int
	Note      *string
	DeletedAt gorm.DeletedAt
}

var rules = tenancy.Rules{Models: []any{&Doc{}}}

// shadow makes a second trail, by a trigger that knows nothing of this library.
var shadow = []string{
	`CREATE SCHEMA shadow`,
	`CREATE TABLE shadow.log (seq bigserial, txid text, op text, old jsonb, new jsonb)`,
	`CREATE FUNCTION shadow.note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
		INSERT INTO shadow.log (txid, op, old, new) VALUES (pg_current_xact_id()::text, TG_OP, to_jsonb(OLD), to_jsonb(NEW));
		RETURN NULL; END $$`,
	`CREATE TRIGGER note AFTER INSERT OR UPDATE OR DELETE ON docs FOR EACH ROW EXECUTE FUNCTION shadow.note()`,
	`GRANT USAGE ON SCHEMA shadow TO app`,
	`GRANT INSERT ON shadow.log TO app`,
	`GRANT USAGE ON SEQUENCE shadow.log_seq_seq TO app`,
}

// private is a server that no other test is on, with the app's handles.
type private struct {
	t       *testing.T
	server  *server.Server
	super   string // its DSN
	handles map[string]*gorm.DB
}

func start(t *testing.T) *private {
	t.Helper()
	own, err := server.Start(t.Context(), server.Config{
		Order: []server.Backend{server.Local, server.Docker},
		// As in production: what is committed is on the disk.
		Settings: []string{"fsync=on", "synchronous_commit=on", "full_page_writes=on", "autovacuum=on", "deadlock_timeout=50ms"},
	})
	must(t, err)
	t.Cleanup(func() { must(t, own.Stop()) })
	p := &private{t: t, server: own, handles: map[string]*gorm.DB{}}
	p.super, err = dsn.WithDatabase(own.DSN, "durable")
	must(t, err)
	admin := open(t, postgres.Open(own.DSN))
	for _, statement := range []string{
		`CREATE ROLE own LOGIN PASSWORD 'own'`, `CREATE ROLE app LOGIN PASSWORD 'app'`, `CREATE ROLE sys LOGIN PASSWORD 'sys'`,
		`CREATE DATABASE durable OWNER own`,
	} {
		must(t, admin.Exec(statement).Error)
	}
	p.migrate(open(t, postgres.Open(p.login("own"))))
	for name, dialector := range map[string]func(dsn string) gorm.Dialector{"tenancy.Postgres": tenancy.Postgres, "postgres.Open": postgres.Open} {
		app := open(t, dialector(p.login("app")))
		system := open(t, dialector(p.login("sys")))
		must(t, app.Use(tenancy.New(tenancy.Config{Rules: rules, RowLevelSecurity: true, System: system, RequireConfinedRole: true})))
		must(t, app.Use(audit.New(audit.Config{Rules: rules})))
		must(t, tenancy.Verify(t.Context(), app))
		p.handles[name] = app
	}
	return p
}

func (p *private) migrate(owner *gorm.DB) {
	p.t.Helper()
	m := migrate.New(owner, migrate.Config{Rules: rules, AppRole: "app", SystemRole: "sys"})
	_, err := m.Up(p.t.Context())
	must(p.t, err)
	must(p.t, owner.AutoMigrate(&Doc{}))
	_, err = m.Protect(p.t.Context())
	must(p.t, err)
	for _, statement := range shadow {
		must(p.t, owner.Exec(statement).Error)
	}
}

func (p *private) login(role string) string {
	p.t.Helper()
	edited, err := dsn.WithLogin(p.super, role, role)
	must(p.t, err)
	return edited
}

// crash kills every process that the server has, its checkpointer and its
// writers among them, in the middle of whatever they do: what was in the memory
// that they share is lost. The postmaster, which never touches that memory, finds
// them gone and recovers from the log. crash returns when it takes connections again.
func (p *private) crash() {
	p.t.Helper()
	conn := p.connect()
	_, _ = conn.Exec(p.t.Context(), `DO $$ BEGIN
		EXECUTE format('COPY (SELECT 1) TO PROGRAM ''kill -9 %s''', (SELECT string_agg(pid::text, ' ' ORDER BY random()) FROM pg_stat_activity));
		PERFORM pg_sleep(10); END $$`)
	if !conn.IsClosed() {
		p.t.Error("the server did not crash")
	}
	_ = p.connect().Close(p.t.Context())
}

// connect waits for a server that recovers.
func (p *private) connect() *pgx.Conn {
	p.t.Helper()
	for deadline := time.Now().Add(recovery); ; time.Sleep(10 * time.Millisecond) {
		conn, err := pgx.Connect(p.t.Context(), p.super)
		if err == nil {
			return conn
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("the server does not come back: %v", err)
		}
	}
}

func open(t *testing.T, dialector gorm.Dialector) *gorm.DB {
	t.Helper()
	db, err := gorm.Open(dialector, &gorm.Config{TranslateError: true, Logger: logger.Discard})
	must(t, err)
	pool, err := db.DB()
	must(t, err)
	t.Cleanup(func() { _ = pool.Close() })
	return db
}

func as(ctx context.Context, tenant, request string) context.Context {
	return audit.WithActor(tenancy.WithTenant(ctx, tenant), audit.Actor{ID: "u_1", RequestID: request})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
