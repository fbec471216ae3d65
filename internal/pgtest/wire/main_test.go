package wire_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/courtroll/courtroll/internal/pgtest"
	"github.com/courtroll/courtroll/internal/pgtest/wire"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

func setup(t *testing.T) *wire.Proxy {
	t.Helper()
	return wire.Listen(t, pgtest.New(t, pgtest.Template{}).AppDSN)
}

// connect logs in; modes of execution are pgx's.
func connect(t *testing.T, p *wire.Proxy, mode pgx.QueryExecMode) *pgx.Conn {
	t.Helper()
	cfg, err := pgx.ParseConfig(p.DSN())
	noError(t, err)
	cfg.DefaultQueryExecMode = mode
	conn, err := pgx.ConnectConfig(t.Context(), cfg)
	noError(t, err)
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func exec(t *testing.T, conn *pgx.Conn, sql string, args ...any) {
	t.Helper()
	_, err := conn.Exec(t.Context(), sql, args...)
	noError(t, err)
}

func execAll(t *testing.T, conn *pgx.Conn, batch *pgconn.Batch) {
	t.Helper()
	_, err := conn.PgConn().ExecBatch(t.Context(), batch).ReadAll()
	noError(t, err)
}

// batch is n statements.
func batch(n int) *pgconn.Batch {
	b := &pgconn.Batch{}
	for range n {
		b.ExecParams(`SELECT $1::text`, [][]byte{[]byte("x")}, nil, nil, nil)
	}
	return b
}

func wantTrips(t *testing.T, p *wire.Proxy, want int) {
	t.Helper()
	if got := p.RoundTrips(); got != want {
		t.Errorf("%d round trips, want %d: %q", got, want, p.Messages())
	}
}

func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
