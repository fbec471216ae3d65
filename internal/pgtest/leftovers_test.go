package pgtest_test

import (
	"context"
	"errors"
	"io"
	"net/url"
	"strings"
	"testing"
	"time"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/courtroll/courtroll/internal/pgtest"
)

// connect opens a handle to a server that a test started.
func connect(t *testing.T, dsn string) *gorm.DB {
	t.Helper()
	db, err := gorm.Open(postgres.Open(dsn), &gorm.Config{Logger: logger.Discard})
	noError(t, err)
	t.Cleanup(func() {
		pool, err := db.DB()
		noError(t, errors.Join(err, pool.Close()))
	})
	return db
}

// contents is what a server and one of its databases hold.
func contents(t *testing.T, db *gorm.DB) string {
	t.Helper()
	return scalar[string](t, db, `SELECT concat_ws(E'\n',
		(SELECT string_agg(concat_ws(' ', datname, datacl, datallowconn, shobj_description(oid, 'pg_database')), E'\n' ORDER BY datname) FROM pg_database),
		(SELECT string_agg(rolname, ' ' ORDER BY rolname) FROM pg_roles),
		(SELECT string_agg(concat_ws(' ', nspname, nspowner, nspacl), E'\n' ORDER BY nspname) FROM pg_namespace WHERE nspname !~ '^pg_(temp|toast_temp)'),
		(SELECT count(*) || ' relations' FROM pg_class),
		(SELECT count(*) || ' default privileges' FROM pg_default_acl))`)
}

func remains(t *testing.T, db *gorm.DB) string {
	t.Helper()
	return scalar[string](t, db, `SELECT coalesce(string_agg(name, ' ' ORDER BY name), '')
		FROM (SELECT datname FROM pg_database UNION ALL SELECT rolname FROM pg_roles) AS names(name) WHERE name LIKE 'courtroll%'`)
}

// named adds a database to a server, as a user would have one.
func named(t *testing.T, dsn, name string) string {
	t.Helper()
	noError(t, connect(t, dsn).Exec(`CREATE DATABASE `+name).Error)
	return strings.Replace(dsn, "/postgres?", "/"+name+"?", 1)
}

func TestNothingRemainsOnNamedServer(t *testing.T) {
	t.Parallel()
	super := startServer(t)
	dsn := named(t, super, "precious")
	precious := connect(t, dsn)
	noError(t, precious.Exec(`CREATE TABLE heirlooms (x int)`).Error)
	before := contents(t, precious)

	log, code := runOn(t, dsn, func(tb testing.TB) {
		db := newOn(tb, projects)
		noError(t, db.App.Create(&project{Name: "roof"}).Error)
		newOn(tb, pgtest.Template{})
		if !strings.HasPrefix(db.Name, "courtroll_test_") || !strings.HasPrefix(db.AppRole, "courtroll_test_") || !strings.HasPrefix(db.OwnerRole, "courtroll_test_") {
			t.Errorf("names are %s, %s, %s", db.Name, db.OwnerRole, db.AppRole)
		}
	})
	if log != "" || code != 0 {
		t.Errorf("code %d, log %s", code, log)
	}
	if after := contents(t, precious); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
}

func TestKeywordDSN(t *testing.T) {
	t.Parallel()
	u, err := url.Parse(startServer(t))
	noError(t, err)
	password, _ := u.User.Password()
	dsn := "host=" + u.Hostname() + " port=" + u.Port() + " user=" + u.User.Username() + " password=" + password + " dbname=postgres sslmode=disable"
	log, code := runOn(t, dsn, func(tb testing.TB) {
		db := newOn(tb, projects)
		noError(t, db.App.Create(&project{Name: "roof"}).Error)
		if got := scalar[string](tb, db.Open(postgres.Open(db.SuperDSN), nil), `SELECT current_database()`); got != db.Name {
			t.Errorf("got %s", got)
		}
	})
	if log != "" || code != 0 {
		t.Errorf("code %d, log %s", code, log)
	}
}

func TestFailedTestKeepsItsDatabase(t *testing.T) {
	t.Parallel()
	dsn := startServer(t)
	admin := connect(t, dsn)
	var kept *pgtest.DB
	log, _ := runOn(t, dsn, func(tb testing.TB) {
		newOn(tb, projects)
		kept = newOn(tb, projects)
		noError(t, kept.App.Create(&project{Name: "evidence"}).Error)
		tb.Errorf("this test fails")
	})
	wantText(t, log, kept.SuperDSN)

	nothing := func(tb testing.TB) { newOn(tb, pgtest.Template{}) }
	runOn(t, dsn, nothing)
	if got := scalar[string](t, connect(t, kept.SuperDSN), `SELECT name FROM projects`); got != "evidence" {
		t.Errorf("got %s", got)
	}
	if got := remains(t, admin); strings.Count(got, " ") != 4 {
		t.Errorf("two databases and three roles should remain, not %s", got)
	}

	dayAgo := time.Now().Add(-25 * time.Hour).UTC().Format(time.RFC3339)
	for name := range strings.FieldsSeq(remains(t, admin)) {
		_ = admin.Exec(`COMMENT ON DATABASE ` + name + ` IS '` + pgtest.KeptMark + dayAgo + `'`) // some are roles
	}
	runOn(t, dsn, nothing)
	if got := remains(t, admin); got != "" {
		t.Errorf("after a day there is still %s", got)
	}
}

func TestFailedTestOnPrivateServer(t *testing.T) {
	t.Parallel()
	h := pgtest.NewHarness(io.Discard, privateServer())
	h.Main(func() int {
		var name string
		log := newRecorder().run(func(tb testing.TB) {
			name = h.New(tb, pgtest.Template{}).Name
			tb.Errorf("this test fails")
		})
		wantText(t, log, name)
		return 0
	})
}

// TestRunsAtOnce: a run that starts in another database of the same server
// leaves what the first one is using alone.
func TestRunsAtOnce(t *testing.T) {
	t.Parallel()
	dsn := startServer(t)
	admin := connect(t, dsn)
	runOn(t, dsn, func(tb testing.TB) {
		db := newOn(tb, projects)
		noError(t, db.App.Create(&project{Name: "roof"}).Error)
		log, code := runOn(t, named(t, dsn, "second"), func(tb testing.TB) { newOn(tb, projects) })
		if log != "" || code != 0 {
			t.Errorf("code %d, log %s", code, log)
		}
		noError(t, db.OpenApp(nil).Create(&project{Name: "wall"}).Error)
	})
	if got := remains(t, admin); got != "" {
		t.Errorf("%s remains", got)
	}
}

func TestKilledRunIsSwept(t *testing.T) {
	t.Parallel()
	dsn := startServer(t)
	admin := connect(t, dsn)
	killed, living := startChild(t, dsn), startChild(t, dsn)
	noError(t, killed.cmd.Process.Kill())
	_ = killed.cmd.Wait()
	waitUntil(t, func(ctx context.Context) bool {
		return scalar[int](t, admin.WithContext(ctx), `SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'`) == 1
	})
	if got := remains(t, admin); !strings.Contains(got, killed.run) {
		t.Fatalf("the killed run left nothing: %s", got)
	}
	runOn(t, dsn, func(tb testing.TB) { newOn(tb, pgtest.Template{}) })
	got := remains(t, admin)
	if strings.Contains(got, killed.run) || !strings.Contains(got, living.run) {
		t.Errorf("of %s (killed) and %s (living) there is %s", killed.run, living.run, got)
	}
}

func TestInterruptedRunCleansUp(t *testing.T) {
	t.Parallel()
	dsn := startServer(t)
	child := startChild(t, dsn)
	interrupt(t, child)
	if code := child.cmd.ProcessState.ExitCode(); code != 130 {
		t.Errorf("exit code %d", code)
	}
	if got := remains(t, connect(t, dsn)); got != "" {
		t.Errorf("%s remains", got)
	}
}

func TestErrNotSuperuser(t *testing.T) {
	t.Parallel()
	super := startServer(t)
	noError(t, connect(t, super).Exec(`CREATE ROLE modest LOGIN PASSWORD 'pw' CREATEDB CREATEROLE`).Error)
	dsn, err := pgtest.LoginDSN(super, "modest", "pw", "postgres")
	noError(t, err)
	log, _ := runOn(t, dsn, func(tb testing.TB) { newOn(tb, pgtest.Template{}) })
	wantText(t, log, "preparing PostgreSQL ", "not a superuser")
}
