package pgpipe_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/courtroll/courtroll/internal/pgpipe"
	"github.com/courtroll/courtroll/internal/pgtest"
)

// number returns the one number that a query returns.
func number(t *testing.T, ctx context.Context, on interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}, query string, args ...any) (n int) {
	t.Helper()
	must(t, on.QueryRowContext(ctx, query, args...).Scan(&n))
	return n
}

// TestRawInTransaction reaches for pgx's connection before the transaction has
// sent anything: what it does there has to be in the transaction.
func TestRawInTransaction(t *testing.T) {
	t.Parallel()
	eachMode(t, func(t *testing.T, mode string) {
		pool := setup(t, mode)
		acme := as(t.Context(), "acme")
		conn, err := pool.Conn(acme)
		must(t, err)
		tx, err := conn.BeginTx(acme, nil)
		must(t, err)
		err = conn.Raw(func(c any) error {
			_, err := c.(interface{ Conn() *pgx.Conn }).Conn().CopyFrom(acme, pgx.Identifier{"plain"}, []string{"id"}, pgx.CopyFromRows([][]any{{1}, {2}}))
			return err
		})
		inside := number(t, acme, tx, `SELECT count(*) FROM plain WHERE id > $1`, 0)
		must(t, errors.Join(err, tx.Rollback(), conn.Close()))
		if after := number(t, acme, pool, `SELECT count(*) FROM plain`); inside != 2 || after != 0 {
			t.Errorf("%d rows in the transaction and %d after its rollback, want 2 and 0", inside, after)
		}
	})
}

// TestExecModes_Last gives several modes, of which pgx takes the last: a mode
// before it must not hide one in which nothing can be bound.
func TestExecModes_Last(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, pool string
		modes      []any
		want       error
	}{
		{"DescribeExec", "exec", []any{pgx.QueryExecModeExec, pgx.QueryExecModeDescribeExec}, pgpipe.ErrExecMode},
		{"NotDescribeExec", "exec", []any{pgx.QueryExecModeDescribeExec, pgx.QueryExecModeExec}, nil},
		{"Simple", "exec", []any{pgx.QueryExecModeDescribeExec, pgx.QueryExecModeSimpleProtocol}, nil},
		{"NamedDescribeExec", "cache_statement", []any{pgx.QueryExecModeExec, pgx.QueryExecModeDescribeExec}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			pool := setup(t, c.pool)
			acme := as(t.Context(), "acme")
			_, err := pool.ExecContext(acme, `INSERT INTO docs VALUES ($1, $2, $3)`, append(c.modes, 9, "acme", "x")...)
			if !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
			want := 3
			if c.want != nil {
				want = 2
			}
			if n := count(t, acme, pool); n != want {
				t.Errorf("acme has %d documents, want %d", n, want)
			}
		})
	}
}

// TestOptionsFirst begins transactions with statements whose arguments are no
// values but say how pgx sends them: whichever protocol that is, BEGIN goes first.
func TestOptionsFirst(t *testing.T) {
	t.Parallel()
	eachMode(t, func(t *testing.T, mode string) {
		pool := setup(t, mode)
		acme := as(t.Context(), "acme")
		for name, args := range map[string][]any{
			"Mode": {pgx.QueryExecModeExec}, "CacheMode": {pgx.QueryExecModeCacheStatement}, "Named": {pgx.NamedArgs{}},
			"TwoModes": {pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol},
		} {
			for _, end := range []func(*sql.Tx) error{(*sql.Tx).Rollback, (*sql.Tx).Commit} {
				tx, err := pool.BeginTx(acme, nil)
				must(t, err)
				if _, err = tx.ExecContext(acme, `INSERT INTO docs VALUES (9, 'acme', 'x')`, args...); err != nil {
					t.Errorf("%s: %v", name, err)
				}
				if err := end(tx); err != nil {
					t.Errorf("%s: the end of the transaction: %v", name, err)
				}
			}
			result, err := pool.ExecContext(acme, `DELETE FROM docs WHERE id = $1`, 9)
			must(t, err)
			if n, _ := result.RowsAffected(); n != 1 {
				t.Errorf("%s: %d rows are left of one that was committed", name, n)
			}
		}
	})
}

// talkative is a tracer that runs a statement of its own before each.
type talkative struct{}

func (talkative) TraceQueryStart(ctx context.Context, conn *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	if ctx.Value(talkative{}) == nil {
		_, _ = conn.Exec(context.WithValue(ctx, talkative{}, true), `SET application_name = 'traced'`)
	}
	return ctx
}

func (talkative) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// TestTracer lets another statement take the BEGIN, and the binding before that of the one that is traced.
func TestTracer(t *testing.T) {
	t.Parallel()
	eachMode(t, func(t *testing.T, mode string) {
		db := pgtest.New(t, schema)
		config := parse(t, db.AppDSN, mode)
		config.Tracer = talkative{}
		pool := openPipe(t, config)
		pool.SetMaxOpenConns(1)
		acme := as(t.Context(), "acme")
		for i := range 2 {
			tx, err := pool.BeginTx(acme, nil)
			must(t, err)
			_, err = tx.ExecContext(acme, `INSERT INTO docs VALUES ($1, 'acme', current_setting('application_name'))`, i)
			must(t, err)
			if n := number(t, acme, tx, `SELECT count(*) FROM docs WHERE title = $1`, "traced"); n != 1 {
				t.Errorf("acme sees %d documents that its tracer's setting was written to, want 1", n)
			}
			must(t, tx.Rollback())
		}
		if n := count(t, acme, pool); n != 0 {
			t.Errorf("%d documents survived the rollback", n)
		}
	})
}

// TestResetSessionDeallocates drops the statement that binds between two of the pool's uses.
func TestResetSessionDeallocates(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t, schema)
	reset := stdlib.OptionResetSession(func(ctx context.Context, conn *pgx.Conn) error { return conn.DeallocateAll(ctx) })
	pool, err := pgpipe.Open(parse(t, db.AppDSN, "cache_statement"), bindingOf, nil, reset)
	must(t, err)
	defer pool.Close()
	pool.SetMaxOpenConns(1)
	for i := range 4 {
		_, err := pool.ExecContext(as(t.Context(), "acme"), fmt.Sprintf(`INSERT INTO docs VALUES (%d, $1, 'x')`, i), "acme")
		if err != nil {
			t.Errorf("statement %d: %v", i, err)
		}
	}
}

// TestBindsWithOneStatement fails in each protocol, over and over: the connection
// keeps one statement that binds, not one for each failure.
func TestBindsWithOneStatement(t *testing.T) {
	t.Parallel()
	pool := setup(t, "cache_statement")
	acme := as(t.Context(), "acme")
	for range 50 {
		_, simple := pool.ExecContext(acme, `SELEC`)
		_, extended := pool.ExecContext(acme, `SELECT 1 / $1::int`, 0)
		if simple == nil || extended == nil {
			t.Fatalf("got %v and %v, want errors", simple, extended)
		}
		if n := count(t, acme, pool, 9); n != 2 {
			t.Fatalf("acme sees %d documents, want 2", n)
		}
	}
	if n := number(t, acme, pool, `SELECT count(*) FROM pg_prepared_statements WHERE name LIKE 'courtroll\_bind%'`); n != 1 {
		t.Errorf("%d statements that bind are on the connection, want 1", n)
	}
}

// execPrepared prepares a statement, runs it and drops it.
func execPrepared(ctx context.Context, tx *sql.Tx, query string) error {
	prepared, err := tx.PrepareContext(ctx, query)
	if err != nil {
		return err
	}
	defer prepared.Close()
	_, err = prepared.ExecContext(ctx)
	return err
}

// TestSetTransactionFirst prepares what the server takes before any snapshot alone.
func TestSetTransactionFirst(t *testing.T) {
	t.Parallel()
	eachMode(t, func(t *testing.T, mode string) {
		pool := setup(t, mode)
		acme := as(t.Context(), "acme")
		tx, err := pool.BeginTx(acme, nil)
		must(t, err)
		defer tx.Rollback()
		if err := execPrepared(acme, tx, `SET TRANSACTION ISOLATION LEVEL SERIALIZABLE`); err != nil {
			t.Errorf("got %v, want no error: binding took a snapshot", err)
		}
		var level string
		must(t, tx.QueryRowContext(acme, `SHOW transaction_isolation`).Scan(&level))
		if level != "serializable" {
			t.Errorf("the isolation level is %s", level)
		}
		if n := count(t, acme, tx, 9); n != 2 {
			t.Errorf("acme sees %d documents, want 2", n)
		}
	})
}

// TestLockFirst waits for a table: the transaction has to see what was committed
// until it got the lock, so that binding may take no snapshot before it.
func TestLockFirst(t *testing.T) {
	t.Parallel()
	eachMode(t, func(t *testing.T, mode string) {
		db := pgtest.New(t, schema)
		pool := openPipe(t, parse(t, db.AppDSN, mode))
		acme := as(t.Context(), "acme")
		holder := db.Owner.Begin()
		must(t, holder.Exec(`LOCK TABLE plain IN ACCESS EXCLUSIVE MODE`).Error)
		must(t, holder.Exec(`INSERT INTO plain VALUES (1, 1)`).Error)
		tx, err := pool.BeginTx(acme, &sql.TxOptions{Isolation: sql.LevelRepeatableRead})
		must(t, err)
		defer tx.Rollback()
		locked := make(chan error, 1)
		go func() { locked <- execPrepared(acme, tx, `LOCK TABLE plain IN EXCLUSIVE MODE`) }()
		for waits := false; !waits; time.Sleep(time.Millisecond) {
			must(t, holder.Raw(`SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND relation = 'plain'::regclass
				AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))`).Scan(&waits).Error)
		}
		must(t, errors.Join(holder.Commit().Error, <-locked))
		if n := number(t, acme, tx, `SELECT count(*) FROM plain WHERE id > $1`, 0); n != 1 {
			t.Errorf("the transaction sees %d rows, want 1: its snapshot is older than its lock", n)
		}
	})
}

// TestBeginTwice begins another tenant's transaction in one that is open on the
// same connection, which the server would take for one and the same.
func TestBeginTwice(t *testing.T) {
	t.Parallel()
	for name, first := range map[string]string{"Begun": `UPDATE docs SET title = 'y'`, "NothingSent": ""} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pool := setup(t, "cache_statement")
			acme, hal := as(t.Context(), "acme"), as(t.Context(), "hal")
			conn, err := pool.Conn(t.Context())
			must(t, err)
			defer conn.Close()
			tx, err := conn.BeginTx(acme, nil)
			must(t, err)
			defer tx.Rollback() // or Close waits for it
			if first != "" {
				_, err := tx.ExecContext(acme, first)
				must(t, err)
			}
			for _, other := range []context.Context{hal, bound(t.Context(), pgpipe.Binding{System: true})} {
				second, err := conn.BeginTx(other, nil)
				if !errors.Is(err, pgpipe.ErrTransactionTenant) {
					t.Errorf("got %v, want ErrTransactionTenant", err)
				}
				if err == nil {
					defer second.Rollback()
				}
			}
			if n := count(t, t.Context(), tx); n != 2 {
				t.Errorf("acme's transaction sees %d documents, want 2", n)
			}
			must(t, tx.Rollback())
			after, err := conn.BeginTx(hal, nil)
			must(t, err)
			defer after.Rollback()
			if n := count(t, hal, after); n != 1 {
				t.Errorf("hal's transaction after it sees %d documents, want 1", n)
			}
		})
	}
}

// TestBeginByHand begins by a statement, of which database/sql knows nothing.
func TestBeginByHand(t *testing.T) {
	t.Parallel()
	eachMode(t, func(t *testing.T, mode string) {
		pool := setup(t, mode)
		acme, hal := as(t.Context(), "acme"), as(t.Context(), "hal")
		conn, err := pool.Conn(t.Context())
		must(t, err)
		defer conn.Close()
		for _, end := range []string{`COMMIT`, `ROLLBACK`} {
			_, err = conn.ExecContext(acme, `BEGIN`)
			must(t, err)
			if n := count(t, t.Context(), conn, 9); n != 2 {
				t.Errorf("a context without tenant sees %d documents in acme's transaction, want 2", n)
			}
			_, simple := conn.ExecContext(hal, `DELETE FROM docs`)
			_, begin := conn.BeginTx(hal, nil)
			for _, err := range []error{simple, begin, queryError(hal, conn, `SELECT $1::int`, 1), prepareError(hal, conn, `SELECT 1`)} {
				if !errors.Is(err, pgpipe.ErrTransactionTenant) {
					t.Errorf("got %v, want ErrTransactionTenant", err)
				}
			}
			_, err = conn.ExecContext(acme, end)
			must(t, err)
			if n := count(t, hal, conn, 9); n != 1 {
				t.Errorf("after %s hal sees %d documents, want 1", end, n)
			}
		}
	})
}
