package pgpipe

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
)

// inner leaves the name Conn to pgx's method.
type inner = stdlib.Conn

// Conn is pgx's connection whose statements are bound. What is done with the
// *pgx.Conn that its method Conn returns is not.
type Conn struct {
	*inner
	link *link
	bind BindFunc
	tx   *tx
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
	if err := c.arm(ctx, args, query == ""); err != nil {
		return nil, err
	}
	defer c.disarm()
	rows, err := c.inner.QueryContext(ctx, query, args)
	return rows, c.failed(err)
}

// ExecContext implements [driver.ExecerContext].
func (c *Conn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	if err := c.arm(ctx, args, len(args) == 0); err != nil {
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
	if err := c.arm(ctx, nil, false); err != nil {
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
	return &stmt{Stmt: prepared, conn: c}, nil
}

type stmt struct {
	*stdlib.Stmt
	conn *Conn
}

func (s *stmt) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	if err := s.conn.arm(ctx, args, false); err != nil {
		return nil, err
	}
	defer s.conn.disarm()
	rows, err := s.Stmt.QueryContext(ctx, args)
	return rows, s.conn.failed(err)
}

func (s *stmt) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	if err := s.conn.arm(ctx, args, false); err != nil {
		return nil, err
	}
	defer s.conn.disarm()
	result, err := s.Stmt.ExecContext(ctx, args)
	return result, s.conn.failed(err)
}

// arm makes what is written until [Conn.disarm] carry the context's binding, and
// the BEGIN of a transaction that has sent nothing yet. It is told whether pgx
// takes the simple protocol.
func (c *Conn) arm(ctx context.Context, args []driver.NamedValue, simple bool) error {
	binding, err := c.bind(ctx)
	if err != nil {
		return err
	}
	if c.tx != nil {
		if binding, err = c.tx.join(ctx, binding); err != nil {
			return err
		}
		if simple || hasMode(args, pgx.QueryExecModeSimpleProtocol) {
			if err := c.tx.begin(ctx); err != nil {
				return err
			}
		}
		c.link.begin = c.tx.pending
	}
	if !c.link.named && !binding.isZero() && hasMode(args, pgx.QueryExecModeDescribeExec) {
		return ErrExecMode // its unnamed statement would be replaced by ours
	}
	// In a failed transaction the server takes nothing but its end.
	if c.Conn().PgConn().TxStatus() != 'E' {
		c.link.binding = binding
	}
	return nil
}

func hasMode(args []driver.NamedValue, mode pgx.QueryExecMode) bool {
	for _, arg := range args {
		switch value := arg.Value.(type) {
		case pgx.QueryExecMode:
			return value == mode
		case pgx.QueryRewriter, pgx.QueryResultFormats, pgx.QueryResultFormatsByOID:
		default:
			return false
		}
	}
	return false
}

func (c *Conn) disarm() {
	if c.tx != nil && c.link.begin == "" {
		c.tx.pending = ""
	}
	c.link.binding, c.link.begin, c.link.added = Binding{}, "", 0
}

// failed makes the position of an error that in the caller's own text, and finds
// out whether it was the BEGIN that failed.
func (c *Conn) failed(err error) error {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return err
	}
	if added := int32(c.link.added); pg.Position > added {
		pg.Position -= added
	}
	if c.tx != nil && c.tx.pending != "" && c.link.begin == "" {
		c.tx.lost = c.Conn().PgConn().TxStatus() == 'I'
	}
	return err
}

// BeginTx implements [driver.ConnBeginTx]. The server hears of the transaction
// with its first statement.
func (c *Conn) BeginTx(ctx context.Context, options driver.TxOptions) (driver.Tx, error) {
	if c.Conn().IsClosed() {
		return nil, driver.ErrBadConn
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	text, err := beginText(options)
	if err != nil {
		return nil, err
	}
	binding, err := c.bind(ctx)
	if err != nil {
		return nil, err
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

// tx is a transaction, which belongs to one tenant.
type tx struct {
	conn    *Conn
	ctx     context.Context //nolint:containedctx // BeginTx's, as pgx's driver keeps it: Commit has none
	pending string          // the BEGIN that is not sent yet
	binding Binding
	lost    bool // the BEGIN failed: what follows would run outside of a transaction
}

// join returns what a statement in the transaction is bound to. One whose
// context names no tenant is the transaction's; the first that names one gives
// it to a transaction that has none.
func (t *tx) join(ctx context.Context, b Binding) (Binding, error) {
	switch {
	case t.lost:
		return b, errLost
	case b.isZero():
		return t.binding, nil
	case t.binding.isZero() || MaySwitch(ctx):
		t.binding = b
	case b.Tenant != t.binding.Tenant || b.System != t.binding.System:
		return b, ErrTransactionTenant
	}
	return b, nil
}

// begin begins the transaction for a simple query, in which the failure of one
// part would not keep the next from running.
func (t *tx) begin(ctx context.Context) error {
	if t.pending == "" {
		return nil
	}
	if _, err := t.conn.inner.ExecContext(ctx, t.pending, nil); err != nil {
		t.lost = true
		return err
	}
	t.pending = ""
	return nil
}

// Commit implements [driver.Tx].
func (t *tx) Commit() error {
	if t.lost {
		_ = t.end("rollback")
		return errLost
	}
	return t.end("commit")
}

// Rollback implements [driver.Tx].
func (t *tx) Rollback() error { return t.end("rollback") }

func (t *tx) end(command string) error {
	t.conn.tx = nil
	if t.pending != "" || t.lost {
		return nil
	}
	conn := t.conn.Conn()
	tag, err := conn.Exec(t.ctx, command)
	if err != nil {
		if conn.PgConn().TxStatus() != 'I' {
			closed, cancel := context.WithCancel(context.WithoutCancel(t.ctx))
			cancel()
			_ = conn.Close(closed) // and the server rolls back
		}
		return err
	}
	if command == "commit" && tag.String() == "ROLLBACK" {
		return pgx.ErrTxCommitRollback
	}
	return nil
}
