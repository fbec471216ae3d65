// Package stmtpool stands between the text that GORM builds for one statement
// and the connection that runs it. Both plugins hang their work on it, each on
// a hook of its own, so that the order in which an app installs them does not
// matter: the final text is always verified first and rewritten after that.
package stmtpool

import (
	"cmp"
	"context"
	"database/sql"
	"database/sql/driver"

	"gorm.io/gorm"
)

// Rewriter turns a statement into another that does the same and more. The
// new text returns the rows of the old one; where the old one returns none,
// it returns one row with the number of rows affected.
type Rewriter interface {
	// Rewrite is told whether the statement's rows are read.
	Rewrite(ctx context.Context, conn gorm.ConnPool, query string, args []any, returning bool) (string, []any, error)
	// Failed may replace the error of the rewritten statement.
	Failed(err error) error
}

// Pool is the connection pool of one statement while it runs.
type Pool struct {
	gorm.ConnPool
	// First may change the text before anyone else sees it, or refuse it; nil changes nothing.
	First func(query string, args []any) (string, []any, error)
	// Verify holds checks that refuse a text by an error.
	Verify []func(query string, args []any) error
	// Rewriter changes the verified text; nil changes nothing.
	Rewriter Rewriter
	// Reading is called where there are rows, before GORM reads them; nil is left out.
	Reading func()
	// Undo is called by [Close]; nil is left out.
	Undo func()
	// Explain may replace an error of the database's, before the rewriter does; nil
	// replaces none.
	Explain func(error) error
	// Err is the error that the database had, before anyone translated it.
	Err error

	owner  *gorm.Statement
	tx     gorm.TxCommitter // began by Begin
	base   gorm.ConnPool    // what tx was begun on
	checks [2]func(query string, args []any) error
	stuck  bool // in a query that has not returned
}

// Open returns the pool of db's statement and puts one there if there is none.
// It lasts until [Close]. A statement that runs while the text of another is
// built finds that one's pool, and gets one of its own.
func Open(db *gorm.DB) *Pool {
	conn := db.Statement.ConnPool
	if pool, ok := conn.(*Pool); ok {
		if pool.owner == db.Statement {
			return pool
		}
		conn = pool.ConnPool
	}
	pool := &Pool{ConnPool: conn, owner: db.Statement}
	pool.Verify = pool.checks[:0]
	db.Statement.ConnPool = pool
	return pool
}

// Of returns the open pool of a statement, nil if there is none.
func Of(stmt *gorm.Statement) *Pool {
	if pool, ok := stmt.ConnPool.(*Pool); ok && pool.owner == stmt {
		return pool
	}
	return nil
}

// InTransaction reports whether the statement runs in a transaction.
func (p *Pool) InTransaction() bool {
	_, ok := p.ConnPool.(gorm.TxCommitter)
	return ok
}

// Begin puts the statement into a transaction of its own, which [Close] ends,
// unless it is in one.
func (p *Pool) Begin(ctx context.Context) error {
	if p.InTransaction() {
		return nil
	}
	tx, err := Begin(ctx, p.ConnPool, nil)
	if err != nil {
		return err
	}
	committer, ok := tx.(gorm.TxCommitter)
	if !ok {
		return gorm.ErrInvalidTransaction
	}
	p.base, p.ConnPool, p.tx = p.ConnPool, tx, committer
	return nil
}

// Begin begins a transaction on a pool of any kind that GORM knows.
func Begin(ctx context.Context, pool gorm.ConnPool, options *sql.TxOptions) (gorm.ConnPool, error) {
	switch pool := pool.(type) {
	case gorm.ConnPoolBeginner:
		return pool.BeginTx(ctx, options)
	case gorm.TxBeginner:
		return pool.BeginTx(ctx, options)
	}
	return nil, gorm.ErrInvalidTransaction
}

// Close gives db's statement its own pool back and ends the transaction of
// [Pool.Begin]: a failed COMMIT is the statement's error. Closing twice does nothing.
func Close(db *gorm.DB) {
	pool := Of(db.Statement)
	if pool != nil && pool.Undo != nil {
		pool.Undo()
	}
	switch {
	case pool == nil:
		return
	case pool.stuck:
		// A value panicked while it was encoded. database/sql keeps its lock on the
		// transaction then, and whoever ends it waits for ever.
		db.Statement.ConnPool = db.ConnPool
		return
	case pool.tx == nil:
		db.Statement.ConnPool = pool.ConnPool
		return
	case db.Error != nil:
		_ = pool.tx.Rollback()
	default:
		_ = db.AddError(pool.tx.Commit())
	}
	db.Statement.ConnPool = pool.base
}

func (p *Pool) prepare(ctx context.Context, query string, args []any, returning bool) (string, []any, error) {
	if p.First != nil {
		var err error
		if query, args, err = p.First(query, args); err != nil {
			return "", nil, err
		}
	}
	for _, verify := range p.Verify {
		if err := verify(query, args); err != nil {
			return "", nil, err
		}
	}
	if p.Rewriter == nil {
		return query, args, nil
	}
	return p.Rewriter.Rewrite(ctx, p.ConnPool, query, args, returning)
}

// ExecContext implements [gorm.ConnPool].
func (p *Pool) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	query, args, err := p.prepare(ctx, query, args, false)
	if err != nil {
		return nil, err
	}
	if p.Rewriter == nil {
		result, err := p.ConnPool.ExecContext(ctx, query, args...)
		return result, p.failed(err)
	}
	affected, err := p.count(ctx, query, args)
	if err != nil {
		return nil, p.failed(err)
	}
	return driver.RowsAffected(affected), nil
}

// count returns what a rewritten statement counted.
func (p *Pool) count(ctx context.Context, query string, args []any) (affected int64, err error) {
	p.stuck = true
	rows, err := p.ConnPool.QueryContext(ctx, query, args...)
	p.stuck = false
	return affected, scanFirst(rows, err, &affected)
}

// ScanRow reads the one value of the one row that a query returns; without a row
// it leaves it alone. Of a pool's QueryRowContext a row may come whose Scan panics:
// from GORM's prepared statements, where the preparing failed.
func ScanRow(ctx context.Context, conn gorm.ConnPool, value any, query string, args ...any) error {
	rows, err := conn.QueryContext(ctx, query, args...)
	return scanFirst(rows, err, value)
}

func scanFirst(rows *sql.Rows, err error, value any) error {
	if err != nil {
		return err
	}
	defer rows.Close() // after the one below: no effect
	if rows.Next() {
		err = rows.Scan(value)
	}
	return cmp.Or(err, rows.Err(), rows.Close())
}

// QueryContext implements [gorm.ConnPool].
func (p *Pool) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	query, args, err := p.prepare(ctx, query, args, true)
	if err != nil {
		return nil, err
	}
	p.stuck = true
	rows, err := p.ConnPool.QueryContext(ctx, query, args...)
	p.stuck = false
	if err == nil && p.Reading != nil {
		p.Reading()
	}
	return rows, p.failed(err)
}

func (p *Pool) failed(err error) error {
	if err != nil && p.Explain != nil {
		err = p.Explain(err)
	}
	p.Err = err
	if err != nil && p.Rewriter != nil {
		return p.Rewriter.Failed(err)
	}
	return err
}

// QueryRowContext implements [gorm.ConnPool]. A refusal is the error of the row's Scan.
func (p *Pool) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	query, args, err := p.prepare(ctx, query, args, true)
	if err != nil {
		return RefusedRow(err)
	}
	p.stuck = true
	row := p.ConnPool.QueryRowContext(ctx, query, args...)
	p.stuck = false
	return row
}

// RefusedRow is a row whose Scan returns err: database/sql makes such a row
// only where a connection could not be had.
func RefusedRow(err error) *sql.Row {
	db := sql.OpenDB(refusal{err})
	defer func() { _ = db.Close() }()
	return db.QueryRowContext(context.Background(), "")
}

type refusal struct{ err error }

func (r refusal) Connect(context.Context) (driver.Conn, error) { return nil, r.err }
func (r refusal) Driver() driver.Driver                        { return nil }
