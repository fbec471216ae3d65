// Package pgpipe is pgx's driver for database/sql with one thing added: a
// statement carries the settings by which row-level security knows whose it is.
//
// They travel in front of the statement, in the same write and before the same
// Sync, as transaction-local settings: they cost no round trip, hold for the
// statement's own transaction alone, and leave nothing on a connection that goes
// back to a pool or through PgBouncer. All else is pgx's own: this package sees
// the frontend's messages on their way out, puts its own before them, and takes
// the answers to its own out of the server's.
package pgpipe

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/courtroll/courtroll/internal/suspension"
)

// Binding is what a statement is bound to. The zero value binds nothing, and
// sends nothing.
type Binding struct {
	Tenant string
	// System is a scope across tenants: no tenant is bound.
	System bool
	// Actor and Request are for triggers. They are bound with a tenant or a system
	// scope, never alone.
	Actor, Request string
	// admit is what is asked about the tenant, nil if nothing is: see [Admit].
	admit *question
}

func (b Binding) isZero() bool { return b.Tenant == "" && !b.System }

// BindFunc says what the statements of a context are bound to. Its error is
// that of the statement, which is not sent.
type BindFunc func(ctx context.Context) (Binding, error)

var (
	// ErrTransactionTenant is a statement whose context is of another tenant, or
	// of system scope, than the transaction that it is in.
	ErrTransactionTenant = errors.New("the transaction belongs to another tenant or scope: begin a transaction of its own for each")

	// ErrExecMode is a mode of pgx's in which nothing can be bound.
	ErrExecMode = errors.New("the query exec mode is not supported: use cache_statement (the default), or cache_describe or exec behind a pooler")

	// ErrSeveral is, on a pool of [Admit], a text of several statements, one of which
	// begins or ends a transaction, or goes back to a savepoint: those behind it would
	// run unasked.
	ErrSeveral = errors.New("the text is of several statements, one of which begins or ends a transaction, so that those behind it cannot be asked about: send them one by one")

	errLost = errors.New("the transaction could not be begun")

	errUnanswered = fmt.Errorf("the connection was lost before the statement was answered: %w", io.ErrUnexpectedEOF)
)

// Open returns a pool of connections that bind their statements. The config is
// one of [pgx.ParseConfig]; the options are those of pgx's own driver. Each
// connection is set up before it is used; setup may be nil.
func Open(config *pgx.ConnConfig, bind BindFunc, setup func(*pgx.Conn), options ...stdlib.OptionOpenDB) (*sql.DB, error) {
	config = config.Copy()
	if err := checkMode(config.DefaultQueryExecMode); err != nil {
		return nil, err
	}
	theirs := config.AfterNetConnect
	config.AfterNetConnect = func(ctx context.Context, c *pgconn.Config, conn net.Conn) (net.Conn, error) {
		if theirs != nil {
			var err error
			if conn, err = theirs(ctx, c, conn); err != nil {
				return conn, err
			}
		}
		return &link{Conn: conn}, nil
	}
	return sql.OpenDB(&connector{Connector: stdlib.GetConnector(*config, options...), bind: bind, setup: setup}), nil
}

func checkMode(mode pgx.QueryExecMode) error {
	switch mode {
	case pgx.QueryExecModeCacheStatement, pgx.QueryExecModeCacheDescribe, pgx.QueryExecModeExec:
		return nil
	}
	return fmt.Errorf("%s: %w", mode, ErrExecMode)
}

// Binds reports whether the pool is one of [Open].
func Binds(pool *sql.DB) bool {
	_, ok := pool.Driver().(boundDriver)
	return ok
}

// Admit makes each statement of a tenant ask, in the message that binds it, whether
// the tenant is suspended. It holds for all statements of the pool from now on, and
// reports false where the pool is none of [Open]. The function's name holds its schema.
func Admit(pool *sql.DB, function string, mode suspension.Mode) bool {
	driver, ok := pool.Driver().(boundDriver)
	if ok {
		driver.connector.admit.Store(newQuestion(function, mode))
	}
	return ok
}

type switching struct{}

// Switching returns a context that may change the tenant of a transaction: for
// the kit that tests isolation in a transaction which it rolls back.
func Switching(ctx context.Context) context.Context {
	return context.WithValue(ctx, switching{}, true)
}

// MaySwitch reports whether the context is one of [Switching].
func MaySwitch(ctx context.Context) bool { return ctx.Value(switching{}) != nil }

type connector struct {
	driver.Connector
	bind  BindFunc
	setup func(*pgx.Conn)
	admit atomic.Pointer[question] // nil: nobody is asked
}

// boundDriver tells the pools of this package from pgx's.
type boundDriver struct {
	driver.Driver
	connector *connector
}

// Driver implements [driver.Connector].
func (c *connector) Driver() driver.Driver { return boundDriver{c.Connector.Driver(), c} }

// Connect implements [driver.Connector].
func (c *connector) Connect(ctx context.Context) (driver.Conn, error) {
	inner, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	conn, ok := inner.(*stdlib.Conn)
	if !ok {
		return nil, errors.Join(fmt.Errorf("pgpipe: %T is not pgx's connection", inner), inner.Close())
	}
	wire, ok := conn.Conn().PgConn().Conn().(*link)
	if !ok {
		return nil, errors.Join(errors.New("pgpipe: an option replaced the connection's config"), inner.Close())
	}
	if c.setup != nil {
		c.setup(conn.Conn())
	}
	mode := conn.Conn().Config().DefaultQueryExecMode // an option may have changed it
	if err := checkMode(mode); err != nil {
		return nil, errors.Join(err, inner.Close())
	}
	wire.named = mode == pgx.QueryExecModeCacheStatement
	return &Conn{inner: conn, link: wire, bind: c.bind, admit: &c.admit}, nil
}
