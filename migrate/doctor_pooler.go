package migrate

import (
	"context"
	"crypto/rand"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// CodePoolerStatements is a login that prepares statements by name, behind a pooler that
// gives them away.
const CodePoolerStatements Code = "pooler-prepared-statements"

const (
	poolerTimeout = 2 * time.Second
	poolerRounds  = 6

	stateStatementExists  = "42P05"
	stateStatementMissing = "26000"
)

// pgxConn is what both our driver's connections and pgx's own have.
type pgxConn interface{ Conn() *pgx.Conn }

// unprepared runs each statement without a name. Behind a pooler in transaction mode a
// named one may be on another connection than the transaction.
type unprepared struct{ *sql.Tx }

func (u unprepared) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	return u.Tx.QueryContext(ctx, query, unnamed(args)...)
}

func (u unprepared) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	return u.Tx.QueryRowContext(ctx, query, unnamed(args)...)
}

func (u unprepared) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	return u.Tx.ExecContext(ctx, query, unnamed(args)...)
}

func unnamed(args []any) []any { return append([]any{pgx.QueryExecModeExec}, args...) }

// reader is the transaction as Doctor reads in it. Another driver than pgx's would not
// know the mode.
func reader(conn *sql.Conn, tx *sql.Tx) (r transaction) {
	r = tx
	_ = conn.Raw(func(c any) error {
		if _, ok := c.(pgxConn); ok {
			r = unprepared{tx}
		}
		return nil
	})
	return &memory{transaction: r, known: map[string][]string{}}
}

// memory keeps what was read: the checks ask for the same tables, indexes and functions,
// each for its own.
type memory struct {
	transaction
	known map[string][]string
}

func (m *memory) queryStrings(ctx context.Context, query string, args ...any) ([]string, error) {
	key := fmt.Sprintf("%s %q", query, args)
	if list, ok := m.known[key]; ok {
		return list, nil
	}
	list, err := queryStrings(ctx, m.transaction, query, args...)
	if err == nil {
		m.known[key] = list
	}
	return list, err
}

// ExecContext forgets: a setting changes what names mean.
func (m *memory) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	clear(m.known)
	return m.transaction.ExecContext(ctx, query, args...)
}

// checkPooler finds out whether the handle prepares statements by name behind a pooler
// that gives connections away after each transaction, and does not see to them. It goes by
// trial, for no pooler tells. Conn is outside of a transaction. The second connection is no
// one of the pool's, which may have no other. Where the trial takes too long, or is
// refused, nothing is found.
func (d *doctor) checkPooler(ctx context.Context, conn *sql.Conn) error {
	trial, cancel := context.WithTimeout(ctx, poolerTimeout)
	defer cancel()
	err := conn.Raw(func(c any) error {
		if p, ok := c.(pgxConn); ok {
			d.tryPooler(trial, p.Conn())
			if p.Conn().IsClosed() || p.Conn().PgConn().TxStatus() != 'I' {
				return driver.ErrBadConn // and the pool makes another
			}
		}
		return nil
	})
	if errors.Is(err, driver.ErrBadConn) {
		err = nil
	}
	return errors.Join(err, ctx.Err())
}

func (d *doctor) tryPooler(ctx context.Context, conn *pgx.Conn) {
	config := conn.Config()
	prepares := d.db.PrepareStmt || config.DefaultQueryExecMode == pgx.QueryExecModeCacheStatement
	splits := config.DefaultQueryExecMode == pgx.QueryExecModeDescribeExec // prepares in one trip, executes in the next
	if !prepares && !splits {
		return
	}
	first := &probe{PgConn: conn.PgConn()}
	if pid, err := first.begin(ctx); err != nil || pid == first.PID() || first.end(ctx) != nil {
		_ = first.end(ctx)
		return
	}
	other, err := pgconn.ConnectConfig(ctx, &config.Config)
	if err != nil {
		return
	}
	defer other.Close(ctx)
	shares, loses, err := share(ctx, first, &probe{PgConn: other})
	if err != nil || !shares || !loses && !splits {
		return
	}
	fix := "-- in the app's DSN: default_query_exec_mode=exec, or cache_describe; or in PgBouncer, from 1.21 on: max_prepared_statements"
	if splits {
		fix = "-- in the app's DSN: default_query_exec_mode=exec, or cache_describe"
	}
	if d.db.PrepareStmt {
		fix += "; and leave gorm.Config.PrepareStmt false"
	}
	d.report(Finding{CodePoolerStatements, SeverityError, "connection " + d.login + "@" + config.Database,
		"a pooler gives the server's connection to another client after each transaction, and the handle prepares statements on it: " +
			"they fail, or meet those of others, as soon as connections change hands", fix})
}

// probe is one of two clients of the pooler.
type probe struct{ *pgconn.PgConn }

// begin begins a transaction, and returns the process that serves it.
func (p *probe) begin(ctx context.Context) (uint32, error) {
	results, err := p.Exec(ctx, `BEGIN READ ONLY; SELECT pg_catalog.pg_backend_pid()`).ReadAll()
	if err != nil {
		return 0, err
	}
	pid, err := strconv.ParseUint(string(results[len(results)-1].Rows[0][0]), 10, 32)
	return uint32(pid), err
}

func (p *probe) run(ctx context.Context, statements string) error {
	_, err := p.Exec(ctx, statements).ReadAll()
	return err
}

func (p *probe) end(ctx context.Context) error {
	if p.IsClosed() || p.TxStatus() == 'I' {
		return nil
	}
	return p.run(ctx, `ROLLBACK`)
}

func (p *probe) prepare(ctx context.Context, name string) error {
	_, err := p.Prepare(ctx, name, `SELECT 1`, nil)
	return err
}

// share reports whether two clients, both connected, are served by one process in turn,
// and if so, whether one's statements are lost, or in the other's way. The first prepares a
// statement in each round, until the second is served by a process that has one.
func share(ctx context.Context, first, second *probe) (shares, loses bool, err error) {
	made := map[uint32]string{}
	defer func() {
		err = errors.Join(err, first.end(ctx), second.end(ctx))
		for _, name := range made { // no matter where they are
			_ = first.Deallocate(ctx, name)
		}
	}()
	for range poolerRounds {
		// One transaction more, so that the two do not alternate in step.
		if err := first.run(ctx, `SELECT 1`); err != nil {
			return false, false, err
		}
		name := "courtroll_" + strings.ToLower(rand.Text())
		pid, err := first.begin(ctx)
		if err == nil {
			made[pid] = name
			err = errors.Join(first.prepare(ctx, name), first.end(ctx))
		}
		if err != nil {
			return false, false, err
		}
		if pid, err = second.begin(ctx); err != nil {
			return false, false, err
		}
		if name, ok := made[pid]; ok {
			loses, err = collide(ctx, first, second, name)
			return true, loses, err
		}
		if err := second.end(ctx); err != nil {
			return false, false, err
		}
	}
	return false, false, nil
}

// collide prepares what the other client has prepared, in the same process. A pooler that
// keeps statements apart lets it, and still has the other's.
func collide(ctx context.Context, first, second *probe, name string) (loses bool, err error) {
	if err := second.run(ctx, `SAVEPOINT courtroll`); err != nil {
		return false, err
	}
	switch err := second.prepare(ctx, name); sqlState(err) {
	case "":
		if err != nil {
			return false, err
		}
	case stateStatementExists:
		return true, second.run(ctx, `ROLLBACK TO courtroll; DEALLOCATE `+ident(name))
	default:
		return false, err
	}
	if err := errors.Join(second.Deallocate(ctx, name), second.end(ctx)); err != nil {
		return false, err
	}
	err = first.ExecPrepared(ctx, name, nil, nil, nil).Read().Err
	if sqlState(err) == stateStatementMissing {
		return true, nil
	}
	return false, err
}
