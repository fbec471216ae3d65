package tenancy

import (
	"context"
	"database/sql"
	"strings"
	"sync"

	"gorm.io/gorm"

	"github.com/courtroll/courtroll/internal/pgpipe"
	"github.com/courtroll/courtroll/internal/stmtpool"
)

// router is the pool of a handle whose statements do not all run with one
// login, or that has to bind them itself because its driver does not.
type router struct {
	app    gorm.ConnPool
	system gorm.ConnPool // nil: there is one login
	binds  bool
}

var _ interface {
	gorm.ConnPool
	gorm.ConnPoolBeginner
	gorm.GetDBConnector
} = (*router)(nil)

// of returns the pool for a context.
func (r *router) of(ctx context.Context) (gorm.ConnPool, error) {
	if !isSystem(ctx) {
		return r.app, nil
	}
	if r.system == nil {
		return nil, &StatementError{Err: ErrSystemLogin}
	}
	return r.system, nil
}

func isSystem(ctx context.Context) bool {
	s := scopeOf(ctx)
	return s.system != nil && s.check() == nil
}

// unbound reports whether rows of the context would be read on a connection
// that nothing binds.
func (r *router) unbound(ctx context.Context) bool {
	b, err := bindingOf(ctx)
	return r.binds && (err != nil || b.Tenant != "")
}

// PrepareContext implements [gorm.ConnPool].
func (r *router) PrepareContext(ctx context.Context, query string) (*sql.Stmt, error) {
	if r.unbound(ctx) {
		return nil, &StatementError{Err: ErrNeedsTransaction}
	}
	if isSystem(ctx) { // it would be kept by its text, and found by statements of tenants
		return nil, &StatementError{Err: ErrSystemLogin}
	}
	return r.app.PrepareContext(ctx, query)
}

// ExecContext implements [gorm.ConnPool].
func (r *router) ExecContext(ctx context.Context, query string, args ...any) (result sql.Result, err error) {
	if r.unbound(ctx) {
		err := inTx(ctx, r, func(tx gorm.ConnPool) error {
			result, err = tx.ExecContext(ctx, query, args...)
			return err
		})
		return result, err
	}
	pool, err := r.of(ctx)
	if err != nil {
		return nil, err
	}
	return pool.ExecContext(ctx, query, args...)
}

func inTx(ctx context.Context, r *router, f func(gorm.ConnPool) error) error {
	tx, err := r.begin(ctx, nil)
	if err != nil {
		return err
	}
	if err := f(tx); err != nil {
		_ = tx.Rollback()
		return err
	}
	return tx.Commit()
}

// QueryContext implements [gorm.ConnPool].
func (r *router) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	if r.unbound(ctx) {
		return nil, &StatementError{Err: ErrNeedsTransaction}
	}
	pool, err := r.of(ctx)
	if err != nil {
		return nil, err
	}
	return pool.QueryContext(ctx, query, args...)
}

// QueryRowContext implements [gorm.ConnPool].
func (r *router) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	if r.unbound(ctx) {
		return stmtpool.RefusedRow(&StatementError{Err: ErrNeedsTransaction})
	}
	pool, err := r.of(ctx)
	if err != nil {
		return stmtpool.RefusedRow(err)
	}
	return pool.QueryRowContext(ctx, query, args...)
}

// BeginTx implements [gorm.ConnPoolBeginner].
func (r *router) BeginTx(ctx context.Context, options *sql.TxOptions) (gorm.ConnPool, error) {
	tx, err := r.begin(ctx, options)
	if err != nil {
		return nil, err
	}
	return tx, nil
}

func (r *router) begin(ctx context.Context, options *sql.TxOptions) (*routedTx, error) {
	pool, err := r.of(ctx)
	if err != nil {
		return nil, err
	}
	conn, err := stmtpool.Begin(ctx, pool, options)
	if err != nil {
		return nil, err
	}
	tx, ok := conn.(gorm.Tx)
	if !ok {
		return nil, gorm.ErrInvalidTransaction
	}
	t := &routedTx{Tx: tx, router: r, system: isSystem(ctx)}
	return t, t.join(ctx)
}

// GetDBConn implements [gorm.GetDBConnector] with the app's pool.
func (r *router) GetDBConn() (*sql.DB, error) { return sqlDB(r.app) }

// DBOf returns the pool that statements of the context run on.
func (r *router) DBOf(ctx context.Context) (*sql.DB, error) {
	pool, err := r.of(ctx)
	if err != nil {
		return nil, err
	}
	return sqlDB(pool)
}

func sqlDB(pool gorm.ConnPool) (*sql.DB, error) {
	return (&gorm.DB{Config: &gorm.Config{ConnPool: pool}}).DB()
}

// Ping lets [gorm.Open] and health checks ask for the app's connection.
func (r *router) Ping() error {
	db, err := r.GetDBConn()
	if err != nil {
		return err
	}
	return db.Ping() //nolint:noctx // as GORM asks it
}

// routedTx is a transaction of one tenant, or of system scope.
type routedTx struct {
	gorm.Tx
	router *router
	system bool // of the system login

	mu    sync.Mutex
	owner pgpipe.Binding
	bound pgpipe.Binding // what the server was told, where the driver tells it nothing
	doubt bool           // the next statement may change what the server was told
}

// join returns nil if a statement of the context may run in the transaction.
func (t *routedTx) join(ctx context.Context) error {
	b, err := bindingOf(ctx)
	none := pgpipe.Binding{}
	if err != nil || b == none {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case b.System && !t.system && t.owner == none:
		return ErrSystemLogin
	case b.System != t.system, t.owner != none && b.Tenant != t.owner.Tenant && !pgpipe.MaySwitch(ctx):
		return ErrTransactionTenant
	}
	t.owner = b
	return nil
}

// bind tells the server whose the next statement is, unless it knows. A
// rollback to a savepoint takes that back, and is let through in a transaction
// that has failed and takes nothing else.
func (t *routedTx) bind(ctx context.Context, query string) error {
	if err := t.join(ctx); err != nil || !t.router.binds {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	b, err := bindingOf(ctx)
	if err != nil {
		return err
	}
	if b == (pgpipe.Binding{}) {
		b = t.owner
	}
	switch {
	case isRollback(query):
		t.bound = pgpipe.Binding{}
		return nil
	case pgpipe.ComesBeforeSnapshot(query): // and before a SELECT of ours, which takes one
		return nil
	}
	if b != t.bound {
		_, err = t.Tx.ExecContext(ctx, pgpipe.BindSQL, b.Tenant, b.Actor, b.Request)
	}
	if t.bound = b; err != nil || t.doubt {
		t.bound, t.doubt = pgpipe.Binding{}, false
	}
	return err
}

// mistrust makes the statement after the next one be bound again.
func (t *routedTx) mistrust() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.doubt = true
}

func isRollback(query string) bool {
	const word = "rollback"
	query = strings.TrimSpace(query)
	return len(query) >= len(word) && strings.EqualFold(query[:len(word)], word)
}

// PrepareContext implements [gorm.ConnPool].
func (t *routedTx) PrepareContext(ctx context.Context, query string) (*sql.Stmt, error) {
	if err := t.bind(ctx, query); err != nil {
		return nil, err
	}
	return t.Tx.PrepareContext(ctx, query)
}

// ExecContext implements [gorm.ConnPool].
func (t *routedTx) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	if err := t.bind(ctx, query); err != nil {
		return nil, err
	}
	return t.Tx.ExecContext(ctx, query, args...)
}

// QueryContext implements [gorm.ConnPool].
func (t *routedTx) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	if err := t.bind(ctx, query); err != nil {
		return nil, err
	}
	return t.Tx.QueryContext(ctx, query, args...)
}

// QueryRowContext implements [gorm.ConnPool].
func (t *routedTx) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	if err := t.bind(ctx, query); err != nil {
		return stmtpool.RefusedRow(err)
	}
	return t.Tx.QueryRowContext(ctx, query, args...)
}

// StmtContext implements [gorm.Tx]. Where the binding fails the transaction has
// failed, and takes no statement.
func (t *routedTx) StmtContext(ctx context.Context, stmt *sql.Stmt) *sql.Stmt {
	_ = t.bind(ctx, "")
	return t.Tx.StmtContext(ctx, stmt)
}

// GetDBConn implements [gorm.GetDBConnector].
func (t *routedTx) GetDBConn() (*sql.DB, error) { return sqlDB(t.Tx) }

// route returns the pool for a statement: one of system scope runs with the
// system login, and only such a one. Prepared statements, which GORM keeps by
// their text, are not for it. A statement written by hand may change what the
// server was told.
func (p *Plugin) route(ctx context.Context, pool gorm.ConnPool, byHand bool) (gorm.ConnPool, error) {
	system := isSystem(ctx)
	if p.router == nil {
		if system && p.config.RowLevelSecurity {
			return pool, ErrSystemLogin
		}
		return pool, nil
	}
	under := pool
	if prepared, ok := pool.(*gorm.PreparedStmtTX); ok {
		under = prepared.Tx
	}
	_, isTx := under.(gorm.TxCommitter)
	tx, routed := under.(*routedTx)
	switch {
	case routed && byHand:
		tx.mistrust()
		fallthrough
	case routed:
		if system {
			pool = tx
		}
		return pool, tx.join(ctx)
	case system && (isTx || p.router.system == nil):
		return pool, ErrSystemLogin
	case system:
		return p.router, nil
	case p.router.binds:
		return p.binding(pool, under), nil
	}
	return pool, nil
}

// binding returns a pool that binds, for one of another plugin's choice or a
// connection that the caller took for himself.
func (p *Plugin) binding(pool, under gorm.ConnPool) gorm.ConnPool {
	switch conn := under.(type) {
	case *router, *gorm.PreparedStmtDB: // which is over the router
		return pool
	case gorm.Tx:
		return &routedTx{Tx: conn, router: p.router}
	}
	return &router{app: under, system: p.router.system, binds: true}
}
