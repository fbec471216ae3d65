package migrate_test

import (
	"context"
	"database/sql"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"

	"github.com/courtroll/courtroll/internal/pgtest"
	"github.com/courtroll/courtroll/migrate"
)

// childVariable makes the test binary one instance of an app that starts: it
// migrates the database of that DSN, reports, and ends.
const childVariable = "COURTROLL_TEST_MIGRATE_DSN"

// childUps is how many Ups that instance starts together, 3 if it is empty.
const childUps = "COURTROLL_TEST_MIGRATE_UPS"

func TestMain(m *testing.M) {
	if dsn := os.Getenv(childVariable); dsn != "" {
		os.Exit(child(dsn))
	}
	if dsn := os.Getenv(retainVariable); dsn != "" {
		os.Exit(retainChild(dsn))
	}
	if job := os.Getenv(adoptVariable); job != "" {
		os.Exit(adoptChild(job))
	}
	pgtest.Main(m)
}

// bundle is what a test gets: a database of its own, in which nothing is made.
type bundle struct {
	*pgtest.DB
	owner *gorm.DB
	sql   *sql.DB
}

func setup(t testing.TB) *bundle {
	t.Helper()
	db := pgtest.New(t, pgtest.Template{})
	return &bundle{DB: db, owner: db.Owner, sql: pool(t, db.Owner)}
}

// with returns the bundle with an owner's handle that has a setting of its own.
func (b *bundle) with(t testing.TB, setting, value string) *bundle {
	t.Helper()
	cfg, err := pgx.ParseConfig(b.OwnerDSN)
	if err != nil {
		t.Fatal(err)
	}
	cfg.RuntimeParams[setting] = value
	conns := stdlib.OpenDB(*cfg)
	t.Cleanup(func() { conns.Close() })
	return &bundle{DB: b.DB, owner: b.Open(postgres.New(postgres.Config{Conn: conns}), nil), sql: conns}
}

func pool(t testing.TB, db *gorm.DB) *sql.DB {
	t.Helper()
	pool, err := db.DB()
	if err != nil {
		t.Fatal(err)
	}
	return pool
}

// up runs Up and fails the test if it fails.
func (b *bundle) up(t testing.TB) migrate.Result {
	t.Helper()
	result, err := migrate.New(b.owner, migrate.Config{}).Up(t.Context())
	if err != nil {
		t.Fatalf("Up: %v", err)
	}
	return result
}

func (b *bundle) exec(t testing.TB, statements ...string) {
	t.Helper()
	for _, statement := range statements {
		if _, err := b.sql.ExecContext(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}

// lines returns the rows of a query with one text column.
func (b *bundle) lines(t testing.TB, query string, args ...any) []string {
	t.Helper()
	rows, err := b.sql.QueryContext(t.Context(), query, args...)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	defer rows.Close()
	var list []string
	for rows.Next() {
		var line string
		if err := rows.Scan(&line); err != nil {
			t.Fatalf("%s: %v", query, err)
		}
		list = append(list, line)
	}
	if err := rows.Err(); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return list
}

// line returns the one row of a query with one text column.
func (b *bundle) line(t testing.TB, query string, args ...any) string {
	t.Helper()
	list := b.lines(t, query, args...)
	if len(list) != 1 {
		t.Fatalf("%s: got %d rows, want 1", query, len(list))
	}
	return list[0]
}

// catalogue describes all that DDL could have changed. The oids and
// transaction ids in it change if something is made again in the same shape.
func (b *bundle) catalogue(t testing.TB) string {
	t.Helper()
	return strings.Join(b.lines(t, `
		SELECT format('relation %s %s %s %s %s', oid, relname, relkind, relfilenode, xmin)
			FROM pg_class WHERE relnamespace = 'public'::regnamespace
		UNION ALL SELECT format('column %s %s %s %s %s %s', attrelid, attnum, attname, atttypid, attnotnull, xmin)
			FROM pg_attribute WHERE attrelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace)
		UNION ALL SELECT format('default %s %s %s', adrelid, adnum, pg_get_expr(adbin, adrelid))
			FROM pg_attrdef WHERE adrelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace)
		UNION ALL SELECT format('constraint %s %s %s %s', oid, conname, pg_get_constraintdef(oid), xmin)
			FROM pg_constraint WHERE connamespace = 'public'::regnamespace
		UNION ALL SELECT format('index %s %s %s %s', indexrelid, pg_get_indexdef(indexrelid), indisvalid, xmin)
			FROM pg_index WHERE indrelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace)
		UNION ALL SELECT format('function %s %s %s', oid, proname, xmin)
			FROM pg_proc WHERE pronamespace = 'public'::regnamespace
		UNION ALL SELECT format('trigger %s', tgname) FROM pg_trigger
		UNION ALL SELECT format('policy %s', polname) FROM pg_policy
		ORDER BY 1`), "\n")
}

// versions returns the recorded versions.
func (b *bundle) versions(t testing.TB) []string {
	t.Helper()
	return b.lines(t, `SELECT version::text FROM courtroll_migrations ORDER BY version`)
}

// advisoryLocks counts the advisory locks in the test's database, held or waited for.
func (b *bundle) advisoryLocks(t testing.TB) string {
	t.Helper()
	return b.line(t, `SELECT count(*)::text FROM pg_locks WHERE locktype = 'advisory'
		AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`)
}

// eventually waits until the condition holds.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("still not so: %s", what)
		}
	}
}

// onMessage returns a logger that calls do when a message is logged.
func onMessage(message string, do func()) *slog.Logger {
	return slog.New(hook{Handler: slog.DiscardHandler, message: message, do: do})
}

type hook struct {
	slog.Handler
	message string
	do      func()
}

func (hook) Enabled(context.Context, slog.Level) bool { return true }

func (h hook) Handle(_ context.Context, r slog.Record) error {
	if r.Message == h.message {
		h.do()
	}
	return nil
}
