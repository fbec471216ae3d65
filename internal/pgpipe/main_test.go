package pgpipe_test

import (
	"context"
	"database/sql"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"gorm.io/gorm"

	"github.com/courtroll/courtroll/internal/pgpipe"
	"github.com/courtroll/courtroll/internal/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

var schema = pgtest.Template{Name: "pipe", Build: func(owner *gorm.DB) error {
	for _, statement := range []string{
		`CREATE TABLE docs (id bigint PRIMARY KEY, tenant_id text NOT NULL, title text NOT NULL)`,
		`ALTER TABLE docs ENABLE ROW LEVEL SECURITY`,
		`ALTER TABLE docs FORCE ROW LEVEL SECURITY`,
		`CREATE POLICY own ON docs USING (tenant_id = (select nullif(current_setting('courtroll.tenant_id', true), '')))`,
		`CREATE TABLE plain (id bigint PRIMARY KEY, n bigint UNIQUE)`,
	} {
		if err := owner.Exec(statement).Error; err != nil {
			return err
		}
	}
	return nil
}}

type bindingKey struct{}

func as(ctx context.Context, tenant string) context.Context {
	return bound(ctx, pgpipe.Binding{Tenant: tenant, Actor: "u_1", Request: "r_1"})
}

func bound(ctx context.Context, b pgpipe.Binding) context.Context {
	return context.WithValue(ctx, bindingKey{}, b)
}

func bindingOf(ctx context.Context) (pgpipe.Binding, error) {
	b, _ := ctx.Value(bindingKey{}).(pgpipe.Binding)
	return b, nil
}

func parse(t testing.TB, dsn, mode string) *pgx.ConnConfig {
	t.Helper()
	config, err := pgx.ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	modes := map[string]pgx.QueryExecMode{
		"cache_statement": pgx.QueryExecModeCacheStatement, "cache_describe": pgx.QueryExecModeCacheDescribe, "exec": pgx.QueryExecModeExec,
	}
	config.DefaultQueryExecMode = modes[mode]
	config.StatementCacheCapacity = 5
	return config
}

func openPipe(t testing.TB, config *pgx.ConnConfig) *sql.DB {
	t.Helper()
	pool, err := pgpipe.Open(config, bindingOf, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pool.Close() })
	return pool
}

func openPGX(t testing.TB, config *pgx.ConnConfig) *sql.DB {
	t.Helper()
	pool := stdlib.OpenDB(*config)
	t.Cleanup(func() { _ = pool.Close() })
	return pool
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
