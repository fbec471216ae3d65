package migrate_test

import (
	"database/sql"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"

	"github.com/courtroll/courtroll/internal/pgtest/bouncer"
	"github.com/courtroll/courtroll/internal/pgtest/dsn"
	"github.com/courtroll/courtroll/migrate"
	"github.com/courtroll/courtroll/tenancy"
)

// TestDoctor_Pooler examines a sound database through poolers, by all kinds of handles.
func TestDoctor_Pooler(t *testing.T) {
	t.Parallel()
	p := newPatient(t)
	login := must(dsn.WithLogin(p.SuperDSN, p.names.Replace("{app}"), "test"))
	opened := map[string]string{
		"one":     bouncer.Start(t, bouncer.Config{DSN: login}).DSN,
		"three":   bouncer.Start(t, bouncer.Config{DSN: login, PoolSize: 3}).DSN,
		"session": bouncer.Start(t, bouncer.Config{DSN: login, PoolSize: 9, Mode: bouncer.Session}).DSN,
		"single":  bouncer.Start(t, bouncer.Config{DSN: login, Mode: bouncer.Session}).DSN,
		"direct":  login,
	}
	if b := bouncer.Start(t, bouncer.Config{DSN: login, MaxPreparedStatements: 50}); b.Prepares {
		opened["prepares"] = b.DSN
	}
	for _, test := range []struct {
		pooler string
		mode   pgx.QueryExecMode
		config gorm.Config
		ours   bool
		want   bool
	}{
		{pooler: "one", mode: pgx.QueryExecModeCacheStatement, want: true},
		{pooler: "one", mode: pgx.QueryExecModeCacheStatement, want: true, ours: true},
		{pooler: "three", mode: pgx.QueryExecModeCacheStatement, want: true},
		{pooler: "three", mode: pgx.QueryExecModeCacheStatement, want: true, ours: true},
		{pooler: "one", mode: pgx.QueryExecModeDescribeExec, want: true},
		{pooler: "one", mode: pgx.QueryExecModeExec, config: gorm.Config{PrepareStmt: true}, want: true},
		{pooler: "one", mode: pgx.QueryExecModeExec},
		{pooler: "one", mode: pgx.QueryExecModeExec, ours: true},
		{pooler: "three", mode: pgx.QueryExecModeCacheDescribe},
		{pooler: "three", mode: pgx.QueryExecModeCacheDescribe, ours: true},
		{pooler: "one", mode: pgx.QueryExecModeSimpleProtocol},
		{pooler: "session", mode: pgx.QueryExecModeCacheStatement},
		{pooler: "session", mode: pgx.QueryExecModeCacheStatement, ours: true},
		{pooler: "single", mode: pgx.QueryExecModeCacheStatement},
		{pooler: "direct", mode: pgx.QueryExecModeCacheStatement, config: gorm.Config{PrepareStmt: true}},
		{pooler: "prepares", mode: pgx.QueryExecModeCacheStatement},
		{pooler: "prepares", mode: pgx.QueryExecModeDescribeExec, want: true},
	} {
		if opened[test.pooler] == "" {
			continue
		}
		cfg := must(pgx.ParseConfig(opened[test.pooler]))
		cfg.DefaultQueryExecMode = test.mode
		db := openPooled(t, cfg, test.config, test.ours)
		found, err := migrate.Doctor(t.Context(), db, libraryModels...)
		if err != nil {
			t.Fatalf("%+v: %v", test, err)
		}
		is := len(found) == 1 && found[0].Code == migrate.CodePoolerStatements
		if is != test.want || len(found) > 1 {
			t.Errorf("%s, %s, %+v:\n%s", test.pooler, test.mode, test, listed(found))
		}
		if pool := pool(t, db); pool.Stats().InUse > 0 {
			t.Errorf("%+v: a connection was not given back", test)
		}
		pool(t, db).Close()
	}
}

// openPooled opens a handle with one connection, which has to do.
func openPooled(t *testing.T, cfg *pgx.ConnConfig, config gorm.Config, ours bool) *gorm.DB {
	t.Helper()
	dialector := tenancy.PostgresConfig(cfg)
	if !ours {
		dialector = postgres.New(postgres.Config{Conn: stdlibPool(t, cfg)})
	}
	db := must(gorm.Open(dialector, &config))
	pool(t, db).SetMaxOpenConns(1)
	if err := db.SetupJoinTable(&Book{}, "Tags", &BookTag{}); err != nil {
		t.Fatal(err)
	}
	return db
}

func stdlibPool(t *testing.T, cfg *pgx.ConnConfig) *sql.DB {
	conns := stdlib.OpenDB(*cfg)
	t.Cleanup(func() { conns.Close() })
	return conns
}
