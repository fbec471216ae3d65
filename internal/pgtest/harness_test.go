package pgtest_test

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/courtroll/courtroll/internal/pgtest"
	"github.com/courtroll/courtroll/internal/pgtest/server"
)

func TestConfigFrom(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		backend string
		order   []server.Backend
	}{
		"Default": {"", []server.Backend{server.DSN, server.Docker, server.Local}},
		"DSN":     {"dsn", []server.Backend{server.DSN}},
		"Docker":  {"docker", []server.Backend{server.Docker}},
		"Local":   {"local", []server.Backend{server.Local}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg, err := pgtest.ConfigFrom(environment{"TEST_BACKEND": c.backend, "COURTROLL_TEST_DSN": "postgres://x"}.get)
			noError(t, err)
			if len(cfg.Order) != len(c.order) || cfg.Order[0] != c.order[0] || cfg.DSN != "postgres://x" || cfg.DSNVariable != "COURTROLL_TEST_DSN" {
				t.Errorf("got %+v", cfg)
			}
		})
	}

	t.Run("ErrUnknownBackend", func(t *testing.T) {
		t.Parallel()
		_, err := pgtest.ConfigFrom(environment{"TEST_BACKEND": "podman"}.get)
		if err == nil {
			t.Fatal("no error")
		}
		wantText(t, err.Error(), `TEST_BACKEND="podman"`, "dsn", "docker", "local")
	})
}

type environment map[string]string

func (e environment) get(name string) string { return e[name] }

func TestMainStartsNoServerForNothing(t *testing.T) {
	t.Parallel()
	var output bytes.Buffer
	h := pgtest.NewHarness(&output, server.Config{Order: []server.Backend{"would fail"}})
	if code := h.Main(func() int { return 7 }); code != 7 || output.Len() != 0 {
		t.Errorf("code %d, output %q", code, output.String())
	}
}

func TestMainSaysWhichServer(t *testing.T) {
	t.Parallel()
	var output bytes.Buffer
	h := pgtest.NewHarness(&output, onServer(startServer(t)))
	h.Main(func() int {
		newRecorder().run(func(tb testing.TB) { h.New(tb, pgtest.Template{}); h.New(tb, projects) })
		return 0
	})
	if got := output.String(); strings.Count(got, "\n") != 1 || !strings.HasPrefix(got, "pgtest: PostgreSQL ") || !strings.HasSuffix(got, " from COURTROLL_TEST_DSN\n") {
		t.Errorf("got %q", got)
	}
}

// TestNoServer: every test that asks fails, with what to do about it.
func TestNoServer(t *testing.T) {
	t.Parallel()
	h := pgtest.NewHarness(io.Discard, server.Config{
		DSNVariable: "COURTROLL_TEST_DSN", DockerHost: "unix:///nonexistent/docker.sock", BinDir: "/nonexistent",
	})
	h.Main(func() int {
		for range 2 {
			r := newRecorder()
			log := r.run(func(tb testing.TB) { h.New(tb, pgtest.Template{}) })
			if !r.Failed() {
				t.Error("the test did not fail")
			}
			wantText(t, log, "COURTROLL_TEST_DSN is not set", "no Docker engine answers", "apt-get install postgresql-15")
		}
		return 0
	})
}

func TestNewOutsideOfMain(t *testing.T) {
	t.Parallel()
	h := pgtest.NewHarness(io.Discard, server.Config{})
	r := newRecorder()
	wantText(t, r.run(func(tb testing.TB) { h.New(tb, pgtest.Template{}) }), "pgtest.Main(m)")
	if !r.Failed() {
		t.Error("the test did not fail")
	}
}

func TestDSNs(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ dsn, login, database string }{
		"URL": {
			"postgres://su:pw@host:5433/named?sslmode=disable",
			"postgres://app:a%40b@host:5433/db1?sslmode=disable",
			"postgres://su:pw@host:5433/db1?sslmode=disable",
		},
		"URLWithAllInTheQuery": {
			"postgresql://?host=/run&user=su&password=pw&dbname=named",
			"postgresql://app:a%40b@/db1?host=%2Frun",
			"postgresql:///db1?host=%2Frun&password=pw&user=su",
		},
		"Keywords": {
			"host=/run user=su dbname=named",
			"host=/run user=su dbname=named dbname=db1 user=app password=a@b",
			"host=/run user=su dbname=named dbname=db1",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			login, err := pgtest.LoginDSN(c.dsn, "app", "a@b", "db1")
			noError(t, err)
			database, err := pgtest.DatabaseDSN(c.dsn, "db1")
			noError(t, err)
			if login != c.login || database != c.database {
				t.Errorf("got %s and %s", login, database)
			}
		})
	}
}
