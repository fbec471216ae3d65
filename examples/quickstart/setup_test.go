package main

import (
	"bytes"
	"context"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"

	"github.com/courtroll/courtroll/audit"
	"github.com/courtroll/courtroll/examples/internal/demo"
	"github.com/courtroll/courtroll/examples/quickstart/sample"
	"github.com/courtroll/courtroll/examples/quickstart/wiki"
	"github.com/courtroll/courtroll/internal/pgtest"
	"github.com/courtroll/courtroll/migrate"
	"github.com/courtroll/courtroll/tenancy"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

const password = "canary-of-a-password"

// named is the database that DATABASE_URL names, with something in it, and the
// URL with a login that may make databases and roles, and nothing else.
func named(t *testing.T) (db *pgtest.DB, dsn string) {
	t.Helper()
	db = pgtest.New(t, pgtest.Template{})
	super := db.Open(postgres.Open(db.SuperDSN), nil)
	role := db.Name + "_login" // pgtest sweeps it by its name after a killed run
	exec(t, super, "CREATE TABLE bystanders AS SELECT generate_series(1, 10) AS id",
		"CREATE ROLE "+role+" LOGIN CREATEDB CREATEROLE PASSWORD '"+password+"'",
		"GRANT CONNECT ON DATABASE "+db.Name+" TO "+role, "GRANT ALL ON SCHEMA public TO "+role,
		"GRANT ALL ON bystanders TO "+role)
	t.Cleanup(func() {
		again := db.Open(postgres.Open(db.SuperDSN), nil)
		exec(t, again, "DROP OWNED BY "+role, "DROP ROLE "+role)
	})
	return db, withLogin(t, db.SuperDSN, role)
}

func withLogin(t *testing.T, dsn, role string) string {
	t.Helper()
	if !strings.Contains(dsn, "://") {
		return dsn + " user=" + role + " password=" + password
	}
	u, err := url.Parse(dsn)
	noError(t, err)
	u.User = url.UserPassword(role, password)
	return u.String()
}

func exec(t *testing.T, db *gorm.DB, statements ...string) {
	t.Helper()
	for _, sql := range statements {
		noError(t, db.Exec(sql).Error)
	}
}

func query[T any](t *testing.T, db *gorm.DB, sql string, args ...any) (value T) {
	t.Helper()
	noError(t, db.Raw(sql, args...).Scan(&value).Error)
	return value
}

func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// content is all that a database holds, as text: its catalogue with what was
// granted, and its rows with their versions.
func content(t *testing.T, db *pgtest.DB) string {
	t.Helper()
	super := db.Open(postgres.Open(db.SuperDSN), nil)
	return query[string](t, super, `SELECT concat_ws(' ',
		(SELECT string_agg(concat_ws(' ', xmin, ctid, id), ',' ORDER BY id) FROM bystanders),
		(SELECT md5(string_agg(concat_ws(' ', xmin, oid, relname, relacl), ',' ORDER BY oid)) FROM pg_class),
		(SELECT md5(string_agg(n::text, ',' ORDER BY oid)) FROM pg_namespace n),
		(SELECT md5(string_agg(concat_ws(' ', xmin, oid, proname), ',' ORDER BY oid)) FROM pg_proc))`)
}

// leftovers counts the databases and roles of a run of the quickstart.
func leftovers(t *testing.T, db *pgtest.DB, output string) string {
	t.Helper()
	found := regexp.MustCompile(`courtroll_quickstart_[0-9a-f]{8}`).FindString(output)
	if found == "" {
		t.Fatalf("no name of a database in: %s", output)
	}
	return query[string](t, db.Owner, `SELECT concat((SELECT count(*) FROM pg_database WHERE starts_with(datname, @name)), ' databases, ',
		(SELECT count(*) FROM pg_roles WHERE starts_with(rolname, @name)), ' roles')`, map[string]any{"name": found})
}

// quickstart runs the program with DATABASE_URL set to dsn.
func quickstart(ctx context.Context, dsn string, out io.Writer, args ...string) error {
	getenv := func(name string) string { return map[string]string{"DATABASE_URL": dsn}[name] }
	return run(ctx, args, getenv, out)
}

// someEdits writes the first edits of the sample to a file.
func someEdits(t *testing.T, n int) string {
	t.Helper()
	text, err := unpacked(bytes.NewReader(sample.Edits))
	noError(t, err)
	all, err := io.ReadAll(text)
	noError(t, err)
	return write(t, strings.Join(strings.SplitAfter(string(all), "\n")[:n], ""))
}

func write(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "edits.json")
	noError(t, os.WriteFile(name, []byte(text), 0o600))
	return name
}

// few are the edits that the template holds.
func few(t *testing.T) []edit {
	t.Helper()
	edits, err := fewEdits()
	noError(t, err)
	return edits
}

func fewEdits() ([]edit, error) {
	edits, err := readEdits("")
	if err != nil {
		return nil, err
	}
	return edits[:300], nil
}

// loaded has no walls, which would not let a test corrupt it: the owner is the app.
var loaded = pgtest.Template{Name: "loaded", Build: func(owner *gorm.DB) error {
	ctx := context.Background()
	edits, err := fewEdits()
	if err != nil {
		return err
	}
	if _, err := migrate.New(owner, migrate.Config{}).Up(ctx); err != nil {
		return err
	}
	if err := owner.AutoMigrate(wiki.Models()...); err != nil {
		return err
	}
	app, err := gorm.Open(postgres.New(postgres.Config{Conn: owner.ConnPool}), demo.Silent())
	if err == nil {
		err = app.Use(tenancy.New(tenancy.Config{}))
	}
	if err == nil {
		err = app.Use(audit.New(audit.Config{}))
	}
	if err == nil {
		err = addTenants(ctx, app, tenants(edits))
	}
	if err == nil {
		_, err = load(ctx, app, edits, io.Discard)
	}
	return err
}}
