// Package pgtest gives each test a PostgreSQL database of its own, with two
// logins: the role that owns it, and the role that an app would use, which owns
// nothing and which row-level security binds.
//
//	func TestMain(m *testing.M) { pgtest.Main(m) }
//
//	var schema = pgtest.Template{Name: "schema", Build: func(owner *gorm.DB) error {
//		return owner.AutoMigrate(&Project{})
//	}}
//
//	func TestProjects(t *testing.T) {
//		t.Parallel()
//		db := pgtest.New(t, schema)
//		db.App.Create(&Project{Name: "roof"})
//	}
//
// One server serves a test binary. It is looked for when the first test asks for
// a database: the one that COURTROLL_TEST_DSN names, a Docker container, or
// binaries installed on the machine, started privately. TEST_BACKEND=dsn, docker
// or local forces one. Without any a test fails; it is never skipped.
//
// On a server of COURTROLL_TEST_DSN, whose role must be a superuser, everything
// made is named courtroll_test_… and dropped at the end; what a killed run left
// is dropped by the next. The named database and template1 are never written to.
package pgtest

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"testing"

	"github.com/courtroll/courtroll/internal/pgtest/server"
)

const (
	dsnVariable     = "COURTROLL_TEST_DSN"
	backendVariable = "TEST_BACKEND"
)

// current is the harness of this test binary. It is the one piece of state of
// the package, because TestMain and the tests share nothing else.
var current = newHarness(os.Stderr, func() (server.Config, error) { return configFrom(os.Getenv) })

var errNoMain = errors.New("pgtest: no server without func TestMain(m *testing.M) { pgtest.Main(m) }")

// Main runs the tests, stops the server that they used, if any, and exits with
// the tests' code. Call it from TestMain, and from nowhere else.
func Main(m *testing.M) { os.Exit(current.main(m.Run)) }

// New makes a database from the template and returns logins to it. The zero
// Template gives an empty database. New fails the test where there is no server
// or where the template's Build failed.
//
// When the test ends the handles are closed and the database is dropped, unless
// the test failed: then it is kept and logged, on a server that outlives the run
// for a day.
func New(t testing.TB, template Template) *DB {
	t.Helper()
	return current.newDB(t, template)
}

// configFrom reads the environment: the order of backends for tests, or the one that is forced.
func configFrom(getenv func(string) string) (server.Config, error) {
	cfg := server.Config{
		Order:       server.Backends(),
		DSN:         getenv(dsnVariable),
		DSNVariable: dsnVariable,
	}
	switch forced := server.Backend(getenv(backendVariable)); forced {
	case "":
	case server.DSN, server.Docker, server.Local:
		cfg.Order = []server.Backend{forced}
	default:
		return cfg, fmt.Errorf("pgtest: %s=%q: use %s, %s or %s", backendVariable, forced, server.DSN, server.Docker, server.Local)
	}
	return cfg, nil
}

// main runs the tests between the moments when databases may be asked for.
func (h *harness) main(run func() int) int {
	defer h.stopOnSignal()()
	h.ready.Store(true)
	code := run()
	if err := h.stop(); err != nil {
		fmt.Fprintln(os.Stderr, "pgtest: stopping the server:", err)
		code = max(code, 1)
	}
	return code
}

// stopOnSignal stops the server when the run is interrupted, since nothing
// deferred runs then. The returned function ends the watch.
func (h *harness) stopOnSignal() (done func()) {
	signals, ended := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		select {
		case <-signals:
			_ = h.stop()
			os.Exit(130)
		case <-ended:
		}
	}()
	return func() {
		signal.Stop(signals)
		close(ended)
	}
}
