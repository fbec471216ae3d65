package pgpipe_test

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/courtroll/courtroll/internal/pgpipe"
	"github.com/courtroll/courtroll/internal/pgtest"
)

// setup returns a pool of one connection, so that whatever one statement leaves
// meets the next, with two documents of acme's and one of hal's.
func setup(t *testing.T, mode string) *sql.DB {
	t.Helper()
	db := pgtest.New(t, schema)
	pool := openPipe(t, parse(t, db.AppDSN, mode))
	pool.SetMaxOpenConns(1)
	for i, tenant := range []string{"acme", "acme", "hal"} {
		_, err := pool.ExecContext(as(t.Context(), tenant), `INSERT INTO docs VALUES ($1, $2, 'x')`, i, tenant)
		must(t, err)
	}
	return pool
}

var modes = []string{"cache_statement", "cache_describe", "exec"}

// eachMode runs a test with each mode that a connection may have.
func eachMode(t *testing.T, test func(t *testing.T, mode string)) {
	t.Helper()
	for _, mode := range modes {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			test(t, mode)
		})
	}
}

// count returns how many documents a statement of the context sees.
func count(t *testing.T, ctx context.Context, on queryer, args ...any) int {
	t.Helper()
	query := `SELECT id FROM docs`
	if len(args) > 0 {
		query += ` WHERE id < $1`
	}
	rows, err := on.QueryContext(ctx, query, args...)
	must(t, err)
	defer rows.Close()
	n := 0
	for rows.Next() {
		n++
	}
	must(t, rows.Err())
	return n
}

// queryError runs a query to its end.
func queryError(ctx context.Context, on queryer, query string, args ...any) error {
	rows, err := on.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
	}
	return rows.Err()
}

// prepareError prepares a statement and drops it.
func prepareError(ctx context.Context, on interface {
	PrepareContext(ctx context.Context, query string) (*sql.Stmt, error)
}, query string) error {
	stmt, err := on.PrepareContext(ctx, query)
	if err == nil {
		defer stmt.Close()
	}
	return err
}

func TestConfines(t *testing.T) {
	t.Parallel()
	eachMode(t, func(t *testing.T, mode string) {
		pool := setup(t, mode)
		prepared, err := pool.PrepareContext(t.Context(), `SELECT count(*) FROM docs WHERE id < $1`)
		must(t, err)
		defer prepared.Close()
		acme, hal := as(t.Context(), "acme"), as(t.Context(), "hal")
		for range 3 {
			for _, c := range []struct {
				ctx  context.Context
				want int
			}{{acme, 2}, {hal, 1}, {t.Context(), 0}, {bound(t.Context(), pgpipe.Binding{System: true, Actor: "u"}), 0}} {
				var n int
				must(t, prepared.QueryRowContext(c.ctx, 9).Scan(&n))
				got := []int{count(t, c.ctx, pool), count(t, c.ctx, pool, 9), count(t, c.ctx, pool, pgx.QueryExecModeSimpleProtocol, 9), n}
				if diff := cmp.Diff(slices.Repeat([]int{c.want}, len(got)), got); diff != "" {
					t.Errorf("without arguments, with, simple, prepared: -want +got:\n%s", diff)
				}
			}
		}
	})
}

func TestConfinesWrites(t *testing.T) {
	t.Parallel()
	pool := setup(t, "cache_statement")
	acme, hal := as(t.Context(), "acme"), as(t.Context(), "hal")
	var refused *pgconn.PgError
	_, err := pool.ExecContext(acme, `INSERT INTO docs VALUES (9, 'hal', 'x')`)
	if !errors.As(err, &refused) || refused.Code != "42501" {
		t.Errorf("a row of another tenant: got %v, want 42501", err)
	}
	for _, c := range []struct {
		ctx   context.Context
		query string
		args  []any
		want  int64
	}{
		{hal, `UPDATE docs SET title = $1`, []any{"y"}, 1},
		{hal, `UPDATE docs SET title = 'z'; UPDATE docs SET title = 'zz'`, nil, 1},
		{t.Context(), `DELETE FROM docs`, nil, 0},
		{acme, `DELETE FROM docs`, nil, 2},
		{acme, `DELETE FROM docs WHERE id >= $1`, []any{0}, 0},
	} {
		result, err := pool.ExecContext(c.ctx, c.query, c.args...)
		must(t, err)
		if got, _ := result.RowsAffected(); got != c.want {
			t.Errorf("%s: %d rows affected, want %d", c.query, got, c.want)
		}
	}
	if n := count(t, hal, pool); n != 1 {
		t.Errorf("hal has %d documents left, want 1", n)
	}
}

const settings = `SELECT coalesce(current_setting('courtroll.tenant_id', true), ''),
	coalesce(current_setting('courtroll.actor_id', true), ''), coalesce(current_setting('courtroll.request_id', true), '')`

func settingsOf(t *testing.T, ctx context.Context, on interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}, args ...any) []string {
	t.Helper()
	got := make([]string, 3)
	must(t, on.QueryRowContext(ctx, settings, args...).Scan(&got[0], &got[1], &got[2]))
	return got
}

// TestEveryValue binds what could end a literal, and finds the same value bound by each protocol.
func TestEveryValue(t *testing.T) {
	t.Parallel()
	pool := setup(t, "cache_statement")
	for _, value := range []string{"acme", "it's", `back\slash`, `\'; DROP TABLE docs; --`, "$1", "ünïcödé 日本 😀", "line\nbreak\ttab", "''", `E'`, "\x7f"} {
		ctx := bound(t.Context(), pgpipe.Binding{Tenant: value, Actor: value + "a", Request: value + "r"})
		want := []string{value, value + "a", value + "r"}
		if diff := cmp.Diff(want, settingsOf(t, ctx, pool)); diff != "" {
			t.Errorf("extended protocol: -want +got:\n%s", diff)
		}
		if diff := cmp.Diff(want, settingsOf(t, ctx, pool, pgx.QueryExecModeSimpleProtocol)); diff != "" {
			t.Errorf("simple protocol: -want +got:\n%s", diff)
		}
		tx, err := pool.BeginTx(ctx, nil)
		must(t, err)
		_, err = tx.ExecContext(t.Context(), `SET LOCAL standard_conforming_strings = off; SET LOCAL client_encoding = SJIS`)
		must(t, err)
		_, err = tx.ExecContext(ctx, `SAVEPOINT a; SET LOCAL client_encoding = UTF8`)
		must(t, err)
		if diff := cmp.Diff(want, settingsOf(t, ctx, tx)); diff != "" {
			t.Errorf("after a simple query in a transaction: -want +got:\n%s", diff)
		}
		must(t, tx.Rollback())
	}
}

// TestLeavesNothing looks, after whatever can happen to a bound statement, for
// what it left on the connection.
func TestLeavesNothing(t *testing.T) {
	t.Parallel()
	eachMode(t, func(t *testing.T, mode string) {
		pool := setup(t, mode)
		acme := as(t.Context(), "acme")
		canceled, cancel := context.WithCancel(acme)
		cancel()
		inTx := func(end func(*sql.Tx) error, queries ...string) func() {
			return func() {
				tx, err := pool.BeginTx(acme, nil)
				must(t, err)
				for _, query := range queries {
					_, _ = tx.ExecContext(acme, query)
				}
				_ = end(tx)
			}
		}
		for name, do := range map[string]func(){
			"query":          func() { count(t, acme, pool, 1) },
			"exec":           func() { _, _ = pool.ExecContext(acme, `UPDATE docs SET title = 'x'`) },
			"error":          func() { _, _ = pool.ExecContext(acme, `SELECT $1::int / 0`, 1) },
			"syntax error":   func() { _, _ = pool.ExecContext(acme, `SELEC`) },
			"canceled":       func() { _, _ = pool.ExecContext(canceled, `SELECT 1`) },
			"not encodable":  func() { _, _ = pool.ExecContext(acme, `SELECT $1::int`, "x") },
			"early close":    func() { must(t, pool.QueryRowContext(acme, `SELECT generate_series(1, 9999)`).Scan(new(int))) },
			"commit":         inTx((*sql.Tx).Commit, `UPDATE docs SET title = 'x'`),
			"rollback":       inTx((*sql.Tx).Rollback, `UPDATE docs SET title = 'x'`),
			"failed":         inTx((*sql.Tx).Commit, `SELECT 1/0`),
			"nothing":        inTx((*sql.Tx).Commit),
			"savepoint":      inTx((*sql.Tx).Commit, `SAVEPOINT a`, `SELECT 1/0`, `ROLLBACK TO SAVEPOINT a`, `SELECT 1`),
			"own commit":     inTx((*sql.Tx).Commit, `COMMIT`, `SELECT 1`),
			"prepare failed": func() { _ = prepareError(acme, pool, `SELEC`) },
		} {
			do()
			if diff := cmp.Diff([]string{"", "", ""}, settingsOf(t, t.Context(), pool)); diff != "" {
				t.Errorf("after %s: -want +got:\n%s", name, diff)
			}
			if n := count(t, t.Context(), pool, 9); n != 0 {
				t.Errorf("after %s a context without a tenant sees %d documents", name, n)
			}
			if n := count(t, as(t.Context(), "hal"), pool, 9); n != 1 {
				t.Errorf("after %s hal sees %d documents, want 1", name, n)
			}
		}
	})
}

func TestTransactionIsOfOneTenant(t *testing.T) {
	t.Parallel()
	pool := setup(t, "cache_statement")
	acme, hal := as(t.Context(), "acme"), as(t.Context(), "hal")
	system := bound(t.Context(), pgpipe.Binding{System: true})
	for _, c := range []struct {
		name         string
		begin, first context.Context
	}{{"Begun", acme, acme}, {"BegunWithout", t.Context(), acme}} {
		t.Run(c.name, func(t *testing.T) {
			tx, err := pool.BeginTx(c.begin, nil)
			must(t, err)
			defer tx.Rollback()
			if n := count(t, c.first, tx); n != 2 {
				t.Errorf("acme sees %d documents, want 2", n)
			}
			for _, other := range []context.Context{hal, system} {
				_, err := tx.ExecContext(other, `DELETE FROM docs`)
				if !errors.Is(err, pgpipe.ErrTransactionTenant) {
					t.Errorf("got %v, want ErrTransactionTenant", err)
				}
				if err := queryError(other, tx, `SELECT $1::int`, 1); !errors.Is(err, pgpipe.ErrTransactionTenant) {
					t.Errorf("got %v, want ErrTransactionTenant", err)
				}
			}
			if n := count(t, t.Context(), tx); n != 2 {
				t.Errorf("a context without tenant sees %d documents in acme's transaction, want 2", n)
			}
			again := bound(t.Context(), pgpipe.Binding{Tenant: "acme", Actor: "u_2"})
			if diff := cmp.Diff([]string{"acme", "u_2", ""}, settingsOf(t, again, tx)); diff != "" {
				t.Errorf("another actor: -want +got:\n%s", diff)
			}
			must(t, tx.Commit())
		})
	}
}

// TestBindsAgain changes the setting behind the driver's back: the next statement is bound nevertheless.
func TestBindsAgain(t *testing.T) {
	t.Parallel()
	pool := setup(t, "cache_statement")
	acme := as(t.Context(), "acme")
	tx, err := pool.BeginTx(acme, nil)
	must(t, err)
	for _, other := range []string{
		`SET LOCAL courtroll.tenant_id = 'hal'`, `SELECT set_config('courtroll.tenant_id', 'hal', true)`, `RESET courtroll.tenant_id`,
		`DO $$ BEGIN PERFORM set_config('courtroll.tenant_id', 'hal', false); END $$`, `SAVEPOINT a`, `SELECT 1/0`, `ROLLBACK TO SAVEPOINT a`,
	} {
		_, err := tx.ExecContext(acme, other)
		if other == `SELECT 1/0` {
			continue // in the failed transaction nothing can be asked
		}
		must(t, err)
		if diff := cmp.Diff([]string{"acme", "u_1", "r_1"}, settingsOf(t, acme, tx)); diff != "" {
			t.Errorf("after %s: -want +got:\n%s", other, diff)
		}
	}
	must(t, tx.Rollback())
}

// TestLostTransaction fails a BEGIN: what would follow it must not run outside of a transaction.
func TestLostTransaction(t *testing.T) {
	t.Parallel()
	for name, first := range map[string]func(context.Context, *sql.Tx) error{
		"Query": func(ctx context.Context, tx *sql.Tx) error {
			return queryError(ctx, tx, `INSERT INTO docs VALUES (7, $1, 'x') RETURNING id`, "acme")
		},
		"Exec": func(ctx context.Context, tx *sql.Tx) error {
			_, err := tx.ExecContext(ctx, `INSERT INTO docs VALUES (7, $1, 'x')`, "acme")
			return err
		},
		"Simple": func(ctx context.Context, tx *sql.Tx) error {
			_, err := tx.ExecContext(ctx, `INSERT INTO docs VALUES (7, 'acme', 'x')`)
			return err
		},
		"Prepare": func(ctx context.Context, tx *sql.Tx) error {
			return prepareError(ctx, tx, `INSERT INTO docs VALUES (7, $1, 'x')`)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pool := setup(t, "cache_statement")
			acme := as(t.Context(), "acme")
			conn, err := pool.Conn(t.Context())
			must(t, err)
			var driverConn any
			must(t, conn.Raw(func(c any) error { driverConn = c; return nil }))
			tx, err := conn.BeginTx(acme, nil)
			must(t, err)
			pgpipe.SpoilBegin(driverConn)
			if err := first(acme, tx); err == nil {
				t.Error("the first statement succeeded without its transaction")
			}
			if _, err := tx.ExecContext(acme, `INSERT INTO docs VALUES (8, $1, 'x')`, "acme"); err == nil {
				t.Error("the next statement succeeded without its transaction")
			}
			if err := tx.Commit(); err == nil {
				t.Error("the transaction committed that never began")
			}
			must(t, conn.Close())
			if n := count(t, acme, pool); n != 2 {
				t.Errorf("acme has %d documents, want 2", n)
			}
		})
	}
}

func TestExecModes(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t, schema)
	for _, mode := range []pgx.QueryExecMode{pgx.QueryExecModeDescribeExec, pgx.QueryExecModeSimpleProtocol} {
		config := parse(t, db.AppDSN, "exec")
		config.DefaultQueryExecMode = mode
		if _, err := pgpipe.Open(config, bindingOf, nil); !errors.Is(err, pgpipe.ErrExecMode) {
			t.Errorf("%s: got %v, want ErrExecMode", mode, err)
		}
	}
	pool := openPipe(t, parse(t, db.AppDSN, "exec"))
	if err := queryError(as(t.Context(), "acme"), pool, `SELECT $1::int`, pgx.QueryExecModeDescribeExec, 1); !errors.Is(err, pgpipe.ErrExecMode) {
		t.Errorf("got %v, want ErrExecMode", err)
	}
}

func TestBindError(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t, schema)
	refused := errors.New("refused")
	pool, err := pgpipe.Open(parse(t, db.AppDSN, "cache_statement"), func(context.Context) (pgpipe.Binding, error) {
		return pgpipe.Binding{}, refused
	}, nil)
	must(t, err)
	defer pool.Close()
	_, execErr := pool.ExecContext(t.Context(), `SELECT 1`)
	_, beginErr := pool.BeginTx(t.Context(), nil)
	for _, err := range []error{
		execErr, queryError(t.Context(), pool, `SELECT 1`), beginErr, prepareError(t.Context(), pool, `SELECT 1`),
	} {
		if !errors.Is(err, refused) {
			t.Errorf("got %v, want that of the BindFunc", err)
		}
	}
}

func TestBinds(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t, schema)
	if !pgpipe.Binds(openPipe(t, parse(t, db.AppDSN, "exec"))) || pgpipe.Binds(stdlib.OpenDB(*parse(t, db.AppDSN, "exec"))) {
		t.Error("Binds does not tell the pools apart")
	}
}

// TestUnboundNeedsNoTransaction runs what cannot run in a transaction.
func TestUnboundNeedsNoTransaction(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t, schema)
	pool := openPipe(t, parse(t, db.OwnerDSN, "cache_statement"))
	_, err := pool.ExecContext(t.Context(), `CREATE INDEX CONCURRENTLY ON docs (title)`)
	must(t, err)
	_, err = pool.ExecContext(t.Context(), `VACUUM docs`)
	must(t, err)
}
