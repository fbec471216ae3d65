package pgpipe

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/courtroll/courtroll/internal/suspension"
)

// inner leaves the name Conn to pgx's method.
type inner = stdlib.Conn

// Conn is pgx's connection whose statements are bound. What is done with the
// *pgx.Conn that its method Conn returns is not.
type Conn struct {
	*inner
	link   *link
	bind   BindFunc
	admit  *atomic.Pointer[question]
	tx     *tx
	byHand *tx     // a transaction that was begun by a statement
	last   Binding // of the last statement, which may have begun one
}

var (
	_ driver.QueryerContext     = (*Conn)(nil)
	_ driver.ExecerContext      = (*Conn)(nil)
	_ driver.ConnPrepareContext = (*Conn)(nil)
	_ driver.ConnBeginTx        = (*Conn)(nil)
	_ driver.Pinger             = (*Conn)(nil)
	_ driver.SessionResetter    = (*Conn)(nil)
	_ driver.NamedValueChecker  = (*Conn)(nil)
)

// QueryContext implements [driver.QueryerContext].
func (c *Conn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	if err := c.arm(ctx, query, args); err != nil {
		return nil, err
	}
	defer c.disarm()
	rows, err := c.inner.QueryContext(ctx, query, args)
	return announced(ctx, rows), c.failed(err)
}

// ExecContext implements [driver.ExecerContext].
func (c *Conn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	if err := c.arm(ctx, query, args); err != nil {
		return nil, err
	}
	defer c.disarm()
	result, err := c.inner.ExecContext(ctx, query, args)
	return result, c.failed(err)
}

// Prepare implements [driver.Conn].
func (c *Conn) Prepare(query string) (driver.Stmt, error) {
	return c.PrepareContext(context.Background(), query)
}

// PrepareContext implements [driver.ConnPrepareContext]. Each run of the
// statement is bound to its own context, not to this one.
func (c *Conn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	if err := c.arm(ctx, query, nil); err != nil {
		return nil, err
	}
	defer c.disarm()
	theirs, err := c.inner.PrepareContext(ctx, query)
	if err != nil {
		return nil, c.failed(err)
	}
	prepared, ok := theirs.(*stdlib.Stmt)
	if !ok {
		return nil, errors.Join(fmt.Errorf("pgpipe: %T is not pgx's statement", theirs), theirs.Close())
	}
	return &stmt{Stmt: prepared, conn: c, query: query}, nil
}

type stmt struct {
	*stdlib.Stmt
	conn  *Conn
	query string
}

func (s *stmt) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	if err := s.conn.arm(ctx, s.query, args); err != nil {
		return nil, err
	}
	defer s.conn.disarm()
	rows, err := s.Stmt.QueryContext(ctx, args)
	return announced(ctx, rows), s.conn.failed(err)
}

func (s *stmt) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	if err := s.conn.arm(ctx, s.query, args); err != nil {
		return nil, err
	}
	defer s.conn.disarm()
	result, err := s.Stmt.ExecContext(ctx, args)
	return result, s.conn.failed(err)
}

// Conn returns pgx's connection, in the transaction that is open, if one is.
func (c *Conn) Conn() *pgx.Conn {
	if c.tx != nil {
		c.tx.begin()
	}
	return c.inner.Conn()
}

// arm makes what is written until [Conn.disarm] carry the context's binding, and
// the BEGIN of a transaction that has sent nothing yet.
func (c *Conn) arm(ctx context.Context, query string, args []driver.NamedValue) error {
	binding, err := c.bindingOf(ctx)
	if err != nil {
		return err
	}
	load := cargo{binding: binding, utility: ComesBeforeSnapshot(query)}
	if tx := c.current(); tx != nil {
		if load.binding, err = tx.join(ctx, binding); err != nil {
			return err
		}
		load.begin = tx.pending
	}
	if !c.link.named && !load.binding.isZero() && modeOf(args) == pgx.QueryExecModeDescribeExec {
		return ErrExecMode // its unnamed statement would be replaced by ours
	}
	if load.binding.admit != nil && endsWithin(query) {
		return ErrSeveral
	}
	if ReachesNoRow(query) {
		load.binding.admit = nil
	}
	c.last = load.binding
	if c.status() == 'E' { // the server takes nothing but the transaction's end
		load.binding = Binding{}
	}
	c.link.arm(load)
	return nil
}

// bindingOf returns the context's binding, with what is asked about its tenant.
func (c *Conn) bindingOf(ctx context.Context) (Binding, error) {
	b, err := c.bind(ctx)
	if b.Tenant != "" && !suspension.IsPast(ctx) {
		b.admit = c.admit.Load()
	}
	return b, err
}

// ComesBeforeSnapshot reports whether a statement may have to come before the
// transaction has a snapshot: it sets the isolation level, or locks a table.
func ComesBeforeSnapshot(query string) bool {
	word := firstWord(query)
	return strings.EqualFold(word, "set") || strings.EqualFold(word, "lock")
}

func firstWord(query string) string {
	word, _, _ := strings.Cut(strings.TrimLeft(query[:min(len(query), 64)], " \t\r\n"), " ")
	return word
}

// ReachesNoRow reports whether a text is one statement that belongs to the transaction
// around the others: nobody is asked whether its tenant is suspended. GORM goes on
// after a SAVEPOINT that failed, with a transaction that says nothing but that.
func ReachesNoRow(query string) bool {
	word := strings.ToLower(firstWord(query))
	around := word == "set" || word == "lock" || word == "savepoint" || word == "release" || word == "rollback"
	return around && !strings.Contains(query, ";")
}

func (c *Conn) status() byte { return c.inner.Conn().PgConn().TxStatus() }

// current returns the transaction that a statement is in, also one that was
// begun by hand, nil if there is none.
func (c *Conn) current() *tx {
	switch {
	case c.tx != nil:
		return c.tx
	case c.status() == 'I':
		c.byHand = nil
	case c.byHand == nil:
		c.byHand = &tx{conn: c, binding: c.last}
	}
	return c.byHand
}

// modeOf returns the mode that pgx takes from the arguments, of several the last.
func modeOf(args []driver.NamedValue) (mode pgx.QueryExecMode) {
	for _, arg := range args {
		switch value := arg.Value.(type) {
		case pgx.QueryExecMode:
			mode = value
		case pgx.QueryRewriter, pgx.QueryResultFormats, pgx.QueryResultFormatsByOID:
		default:
			return mode
		}
	}
	return mode
}

func (c *Conn) disarm() {
	if begin, _ := c.link.unsent(); c.tx != nil && begin == "" {
		c.tx.pending = ""
	}
	c.link.arm(cargo{})
}

// failed makes the position of an error that in the caller's own text, and finds
// out whether it was the BEGIN that failed. An error upon which database/sql would
// send the statement once more is none where the server may have run it: pgx
// takes a connection that is lost before the answer to a simple query for one
// that was closed before.
func (c *Conn) failed(err error) error {
	if errors.Is(err, driver.ErrBadConn) && c.link.hasSent() {
		return errUnanswered
	}
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return err
	}
	begin, added := c.link.unsent()
	if pg.Position > int32(added) {
		pg.Position -= int32(added)
	}
	if c.tx != nil && c.tx.pending != "" && begin == "" {
		c.tx.lost = c.status() == 'I'
	}
	return suspension.Explain(err, c.link.isReadOnly())
}

// BeginTx implements [driver.ConnBeginTx]. The server hears of the transaction
// with its first statement.
func (c *Conn) BeginTx(ctx context.Context, options driver.TxOptions) (driver.Tx, error) {
	if c.inner.Conn().IsClosed() {
		return nil, driver.ErrBadConn
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	text, err := beginText(options)
	if err != nil {
		return nil, err
	}
	binding, err := c.bindingOf(ctx)
	if err != nil {
		return nil, err
	}
	if outer := c.current(); outer != nil { // which the server takes with a warning
		if binding, err = outer.join(ctx, binding); err != nil {
			return nil, err
		}
	}
	c.tx = &tx{conn: c, ctx: ctx, pending: text, binding: binding}
	return c.tx, nil
}

// Begin implements [driver.Conn].
func (c *Conn) Begin() (driver.Tx, error) {
	return c.BeginTx(context.Background(), driver.TxOptions{})
}

func beginText(options driver.TxOptions) (string, error) {
	text := "begin"
	switch sql.IsolationLevel(options.Isolation) {
	case sql.LevelDefault:
	case sql.LevelReadUncommitted:
		text += " isolation level read uncommitted"
	case sql.LevelReadCommitted:
		text += " isolation level read committed"
	case sql.LevelRepeatableRead, sql.LevelSnapshot:
		text += " isolation level repeatable read"
	case sql.LevelSerializable:
		text += " isolation level serializable"
	default:
		return "", fmt.Errorf("unsupported isolation: %v", options.Isolation)
	}
	if options.ReadOnly {
		text += " read only"
	}
	return text, nil
}
