package demo_test

import (
	"context"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/courtroll/courtroll/examples/internal/demo"
	"github.com/courtroll/courtroll/internal/pgtest"
	"github.com/courtroll/courtroll/internal/pgtest/server"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

const password = "canary-of-a-password"

// named is a database that DATABASE_URL may name, with a login to it. The role
// is called after the database, so that pgtest sweeps it after a killed run.
func named(t *testing.T, attributes string) (db *pgtest.DB, dsn string) {
	t.Helper()
	db = pgtest.New(t, pgtest.Template{})
	role := db.Name + "_login"
	exec(t, db.SuperDSN, `CREATE ROLE `+role+` LOGIN `+attributes+` PASSWORD '`+password+`'`,
		`GRANT CONNECT ON DATABASE `+db.Name+` TO `+role)
	t.Cleanup(func() { exec(t, db.SuperDSN, `DROP OWNED BY `+role, `DROP ROLE `+role) })
	dsn, err := demo.LoginDSN(db.SuperDSN, db.Name, role, password)
	noError(t, err)
	return db, dsn
}

func exec(t *testing.T, dsn string, statements ...string) {
	t.Helper()
	ctx := context.Background() // also in Cleanup
	conn, err := pgx.Connect(ctx, dsn)
	noError(t, err)
	defer conn.Close(ctx)
	for _, sql := range statements {
		_, err := conn.Exec(ctx, sql)
		noError(t, err)
	}
}

func query(t *testing.T, dsn, sql string, args ...any) (value string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	noError(t, err)
	defer conn.Close(t.Context())
	noError(t, conn.QueryRow(t.Context(), sql, args...).Scan(&value))
	return value
}

func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// leftovers counts databases and roles whose names start with prefix.
func leftovers(t *testing.T, dsn, prefix string) string {
	t.Helper()
	return query(t, dsn, `SELECT concat((SELECT count(*) FROM pg_database WHERE starts_with(datname, $1)), ' databases, ',
		(SELECT count(*) FROM pg_roles WHERE starts_with(rolname, $1)), ' roles')`, prefix)
}

func open(t *testing.T, cfg demo.Config) *demo.Database {
	t.Helper()
	if cfg.Out == nil {
		cfg.Out = io.Discard
	}
	cfg.Name = "demotest"
	d, err := demo.Open(t.Context(), cfg)
	noError(t, err)
	return d
}

func TestOpen(t *testing.T) {
	t.Parallel()
	for name, attributes := range map[string]string{"superuser": "SUPERUSER", "plain login": "CREATEDB CREATEROLE", "login that inherits nothing": "CREATEDB CREATEROLE NOINHERIT"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db, dsn := named(t, attributes)
			d := open(t, demo.Config{URL: dsn})
			if got := leftovers(t, db.SuperDSN, d.Name); got != "1 databases, 2 roles" {
				t.Errorf("made %s", got)
			}
			exec(t, d.OwnerDSN, `CREATE TABLE things (id int)`, `GRANT SELECT ON things TO `+d.AppRole)
			if got := query(t, d.AppDSN, `SELECT count(*)::text FROM things`); got != "0" {
				t.Errorf("the app reads %s rows", got)
			}
			if got := query(t, d.AppDSN, `SELECT concat_ws(' ', rolsuper, rolbypassrls, rolcreatedb, rolcreaterole,
				has_schema_privilege('public', 'CREATE'), pg_has_role($1, 'MEMBER'))
				FROM pg_roles WHERE rolname = current_user`, d.OwnerRole); got != "f f f f f f" {
				t.Errorf("the app's role is or may: %s", got)
			}
			noError(t, d.Close(t.Context()))
			if got := leftovers(t, db.SuperDSN, d.Name); got != "0 databases, 0 roles" {
				t.Errorf("left %s", got)
			}
		})
	}
}

func TestOpenPrivilegeError(t *testing.T) {
	t.Parallel()
	for attributes, missing := range map[string][]string{
		"NOCREATEDB NOCREATEROLE": {"CREATEDB", "CREATEROLE"},
		"CREATEDB":                {"CREATEROLE"},
		"CREATEROLE":              {"CREATEDB"},
	} {
		t.Run(strings.Join(missing, " and "), func(t *testing.T) {
			t.Parallel()
			_, dsn := named(t, attributes)
			_, err := demo.Open(t.Context(), demo.Config{Name: "demotest", URL: dsn, Out: io.Discard})
			var lacks *demo.PrivilegeError
			if !errors.As(err, &lacks) || !slices.Equal(lacks.Missing, missing) {
				t.Fatalf("got %v, want %s missing", err, missing)
			}
			if !strings.Contains(err.Error(), "lacks "+strings.Join(missing, " and ")) || strings.Contains(err.Error(), password) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestClose: whatever ended the example's context, nothing stays.
func TestClose(t *testing.T) {
	t.Parallel()

	t.Run("after a cancellation", func(t *testing.T) {
		t.Parallel()
		db, dsn := named(t, "CREATEDB CREATEROLE")
		d := open(t, demo.Config{URL: dsn})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		noError(t, d.Close(ctx))
		if got := leftovers(t, db.SuperDSN, d.Name); got != "0 databases, 0 roles" {
			t.Errorf("left %s", got)
		}
	})

	t.Run("waits for a connection that is being closed", func(t *testing.T) {
		t.Parallel()
		db, dsn := named(t, "CREATEDB CREATEROLE")
		d := open(t, demo.Config{URL: dsn})
		conn, err := pgx.Connect(t.Context(), d.AppDSN)
		noError(t, err)
		time.AfterFunc(300*time.Millisecond, func() { _ = conn.Close(context.Background()) })
		noError(t, d.Close(t.Context()))
		if got := leftovers(t, db.SuperDSN, d.Name); got != "0 databases, 0 roles" {
			t.Errorf("left %s", got)
		}
	})

	t.Run("keeps on demand", func(t *testing.T) {
		t.Parallel()
		db, dsn := named(t, "CREATEDB CREATEROLE")
		var out strings.Builder
		d := open(t, demo.Config{URL: dsn, Keep: true, Out: &out})
		exec(t, d.OwnerDSN, `CREATE TABLE things AS SELECT 1 AS id`)
		noError(t, d.Close(t.Context()))
		kept, err := demo.LoginDSN(dsn, d.Name, db.Name+"_login", password)
		noError(t, err)
		if got := query(t, kept, `SELECT id::text FROM things`); got != "1" {
			t.Errorf("the login reads %s", got)
		}
		for _, secret := range []string{password, d.OwnerDSN, d.AppDSN} {
			if strings.Contains(out.String(), secret) {
				t.Error("a password was printed")
			}
		}
		runPrinted(t, dsn, out.String())
		if got := leftovers(t, db.SuperDSN, d.Name); got != "0 databases, 0 roles" {
			t.Errorf("the commands that were printed left %s", got)
		}
	})
}

// runPrinted runs the statements of the last line, as psql's -c would.
func runPrinted(t *testing.T, dsn, out string) {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(out), "\n")
	for _, argument := range strings.Split(lines[len(lines)-1], " -c ")[1:] {
		exec(t, dsn, strings.Trim(argument, "'"))
	}
}

func TestOpenCancelled(t *testing.T) {
	t.Parallel()
	db, dsn := named(t, "CREATEDB CREATEROLE")
	ctx, cancel := context.WithCancel(t.Context())
	// The line on the server is printed before anything is made.
	_, err := demo.Open(ctx, demo.Config{Name: "cancelled", URL: dsn, Out: writerFunc(cancel)})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if got := leftovers(t, db.SuperDSN, "courtroll_cancelled_"); got != "0 databases, 0 roles" {
		t.Errorf("left %s", got)
	}
}

type writerFunc func()

func (f writerFunc) Write(p []byte) (int, error) { f(); return len(p), nil }

func TestOpenKeepNeedsURL(t *testing.T) {
	t.Parallel()
	if _, err := demo.Open(t.Context(), demo.Config{Keep: true, Out: io.Discard}); !errors.Is(err, demo.ErrKeepNeedsURL) {
		t.Errorf("got %v", err)
	}
}

// TestOpenBadURL: no text quotes the password, and no other server is taken.
func TestOpenBadURL(t *testing.T) {
	t.Parallel()
	for _, dsn := range []string{
		"postgres://u:" + password + "@127.0.0.1:1/x?connect_timeout=2",
		"host=127.0.0.1 port=1 user=u connect_timeout=2 password=" + password,
		"postgres://u:" + password + "@127.0.0.1:port/x",
		"postgres://u:" + password + "@[::1/x",
		"mysql://u:" + password + "@127.0.0.1/x",
	} {
		_, err := demo.Open(t.Context(), demo.Config{Name: "demotest", URL: dsn, Out: io.Discard})
		if err == nil || !strings.Contains(err.Error(), "DATABASE_URL") || strings.Contains(err.Error(), password) {
			t.Errorf("got %v", err)
		}
	}
}

func TestLoginDSN(t *testing.T) {
	t.Parallel()
	for dsn, want := range map[string]string{
		"postgres://u:p@h:1/x": "postgres://role:secret@h:1/db",
		"postgresql://h/x?sslmode=disable&user=u&password=p&dbname=x": "postgresql://role:secret@h/db?sslmode=disable",
		"postgres:///x?host=/run":                                     "postgres://role:secret@/db?host=%2Frun",
		"host=h user=u":                                               "host=h user=u dbname=db user=role password=secret",
	} {
		got, err := demo.LoginDSN(dsn, "db", "role", "secret")
		if err != nil || got != want {
			t.Errorf("%s: got %s, %v, want %s", dsn, got, err, want)
		}
		cfg, err := pgx.ParseConfig(got)
		if err != nil || cfg.User != "role" || cfg.Password != "secret" || cfg.Database != "db" {
			t.Errorf("%s is not read as written: %v", got, err)
		}
	}
}

// TestOpenPrivate starts a server as an example without DATABASE_URL does.
func TestOpenPrivate(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	d, err := demo.Open(t.Context(), demo.Config{Name: "demotest", Out: &out})
	if none := (*server.StartError)(nil); errors.As(err, &none) && os.Getenv("COURTROLL_TEST_DSN") != "" {
		t.Skipf("this machine has a server by COURTROLL_TEST_DSN alone: %v", err)
	}
	noError(t, err)
	exec(t, d.OwnerDSN, `CREATE TABLE things (id int)`)
	noError(t, d.Close(t.Context()))
	if !strings.Contains("\n"+out.String(), "\nServer:   PostgreSQL ") { // a line on what a killed run left may come first
		t.Errorf("printed %s", out.String())
	}
	if _, err := pgx.Connect(t.Context(), d.OwnerDSN); err == nil {
		t.Error("the server still answers")
	}
}
