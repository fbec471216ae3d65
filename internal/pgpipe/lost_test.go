package pgpipe_test

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/courtroll/courtroll/internal/pgpipe"
	"github.com/courtroll/courtroll/internal/pgtest"
	"github.com/courtroll/courtroll/internal/pgtest/wire"
)

// TestRunsOnce loses the connection after the server has run a statement and
// before its answer is there. pgx takes the error of a simple query for one that
// came before anything was sent, upon which database/sql sends it once more.
func TestRunsOnce(t *testing.T) {
	t.Parallel()
	const delay = 200 * time.Millisecond
	for name, ctx := range map[string]context.Context{"Unbound": t.Context(), "Bound": as(t.Context(), "acme")} {
		for protocol, args := range map[string][]any{"Simple": nil, "SimpleByMode": {pgx.QueryExecModeSimpleProtocol}, "Extended": {pgx.QueryExecModeExec, 1}} {
			t.Run(name+protocol, func(t *testing.T) {
				t.Parallel()
				db := pgtest.New(t, schema)
				must(t, db.Owner.Exec(`CREATE TABLE runs (n int)`).Error)
				proxy := wire.Listen(t, db.AppDSN)
				pool := openPipe(t, parse(t, proxy.DSN(), "cache_statement"))
				must(t, pool.PingContext(t.Context()))
				text := `INSERT INTO runs VALUES (1)`
				if protocol == "Extended" {
					text = `INSERT INTO runs VALUES ($1)`
				}
				proxy.Delay(delay)
				result := make(chan error, 1)
				go func() {
					_, err := pool.ExecContext(ctx, text, args...)
					result <- err
				}()
				count := func() (n int) {
					must(t, db.Owner.Raw(`SELECT count(*) FROM runs`).Scan(&n).Error)
					return n
				}
				for count() == 0 {
					time.Sleep(time.Millisecond)
				}
				proxy.Break()
				proxy.Delay(0)
				proxy.Mend()
				if err := <-result; err == nil {
					t.Error("the statement claims to have succeeded, without an answer")
				} else if protocol != "Extended" && !errors.Is(err, io.ErrUnexpectedEOF) {
					t.Errorf("got %v, want an unexpected EOF", err)
				}
				if n := count(); n != 1 {
					t.Errorf("the statement ran %d times", n)
				}
				must(t, pool.PingContext(t.Context()))
			})
		}
	}
}

// TestRefusedArmsNothing refuses a transaction's only statement: its BEGIN must
// not go before what somebody else sends on the connection.
func TestRefusedArmsNothing(t *testing.T) {
	t.Parallel()
	pool := setup(t, "exec")
	acme := as(t.Context(), "acme")
	tx, err := pool.BeginTx(acme, nil)
	must(t, err)
	if err := queryError(acme, tx, `SELECT $1::int`, pgx.QueryExecModeDescribeExec, 1); !errors.Is(err, pgpipe.ErrExecMode) {
		t.Errorf("got %v, want ErrExecMode", err)
	}
	must(t, tx.Rollback())
	_, err = pool.ExecContext(t.Context(), `INSERT INTO plain VALUES ($1, $1)`, 1)
	must(t, err)
	var n int
	must(t, pool.QueryRowContext(t.Context(), `SELECT count(*) FROM plain WHERE id = $1`, 1).Scan(&n))
	if n != 1 {
		t.Error("the next statement was lost with a transaction that was not its own")
	}
}
