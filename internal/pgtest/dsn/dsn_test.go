package dsn_test

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/courtroll/courtroll/internal/pgtest/dsn"
)

// TestEdits reads what the edits made with the client that uses it.
func TestEdits(t *testing.T) {
	t.Parallel()
	for name, original := range map[string]string{
		"URL":                  "postgres://su:pw@host:5433/named?sslmode=require&connect_timeout=7",
		"URLWithAllInTheQuery": "postgresql://?host=/run&port=5433&user=su&password=pw&dbname=named&connect_timeout=7",
		"Keywords":             "host=/run port=5433 user=su password=pw dbname=named connect_timeout=7",
	} {
		for _, host := range []string{"127.0.0.1", "/tmp/a.socket"} {
			t.Run(name+"To"+strings.ReplaceAll(host, "/", "_"), func(t *testing.T) {
				t.Parallel()
				edited, err := dsn.WithAddress(original, host, 6432)
				noError(t, err)
				edited, err = dsn.WithLogin(edited, "app", `a@b \'c`)
				noError(t, err)
				edited, err = dsn.WithDatabase(edited, "db1")
				noError(t, err)
				cfg, err := pgx.ParseConfig(edited)
				noError(t, err)
				got := [...]string{cfg.Host, cfg.User, cfg.Password, cfg.Database}
				if got != [...]string{host, "app", `a@b \'c`, "db1"} || cfg.Port != 6432 || cfg.TLSConfig != nil || len(cfg.Fallbacks) != 0 {
					t.Errorf("%s gives %v", edited, got)
				}
				if cfg.ConnectTimeout.Seconds() != 7 {
					t.Errorf("%s lost the timeout", edited)
				}
			})
		}
	}

	t.Run("ErrURL", func(t *testing.T) {
		t.Parallel()
		if _, err := dsn.WithDatabase("postgres://%zz", "db1"); err == nil {
			t.Error("no error")
		}
	})
}

func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
